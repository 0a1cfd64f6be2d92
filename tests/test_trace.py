"""Traces: what the table says, that its numbers are right, and that nothing that arrives can break it."""

from __future__ import annotations

import itertools
import json
import re
import weakref
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.diagrams import State, plain, state_diagram
from helpers.errors import ConfigurationError
from helpers.models import prices_checked_on
from helpers.trace import Trace, Usage
from tests.traces import (
    KEY,
    STREAMS,
    Clock,
    call_events,
    cut_and_resumed,
    event,
    function_run,
    loop,
    message_events,
    recorded,
    response,
    result,
    trace_of,
    usage,
)

SVG = "{http://www.w3.org/2000/svg}"


def states(trace):
    return [step.state for step in trace.steps]


def everything_shown(trace):
    shown = [repr(trace), trace._repr_html_()]
    for diagram in (trace.diagram(), trace.sequence()):
        shown += [diagram.svg, diagram.alt_text, diagram.mermaid]
    return "\n".join([*shown, repr(trace.steps), repr(trace.unknown_events)])


# -- the tables of real runs ----------------------------------------------------------------------------------------


def test_the_table_of_a_real_file_search():
    # 1,177 x $0.10 + 37 x $0.50 for a million tokens = $0.0001362, and $0.0025 for one search.
    assert repr(trace_of(recorded("file_search"))) == (
        f"""\
Trace · “What is GPT-2?” · Tutor · gpt-6-luna · completed
step  what happened                                            tokens        time      price
----  -------------------------------------------------------  ------  ----------  ---------
   1  sent the question and waited for the first sign                       10 ms
   2  response 1 was created                                                10 ms
   3  the model started                                                     10 ms
   4  searched the files for “What is the capital of France?”               50 ms  $0.002500
   5  wrote 7 pieces of text, 31 characters, 1 citation                    130 ms
   6  completed: read 1,177 tokens, wrote 37                    1,214        0 ms  $0.000136
----  -------------------------------------------------------  ------  ----------  ---------
      total                                                     1,214      210 ms  $0.002636
First text after 100 ms.
Price: $0.002636. For tools: $0.002500 for 1 file search. Prices checked on {prices_checked_on()}."""
    )


def test_the_table_of_a_real_code_interpreter_run():
    # 2,772 x $0.10 + 1,166 x $0.50 for a million tokens = $0.0008602, and at most $0.03 for the container.
    trace = trace_of(recorded("code_interpreter_image"))
    assert trace.price_usd == pytest.approx(0.0308602)
    assert trace.tokens == Usage(input=2772, cached=0, output=1166, reasoning=896, total=3938)
    assert [step.what for step in trace.steps] == [
        "sent the question and waited for the first sign",
        "response 1 was created",
        "the model started",
        "reasoned",
        "wrote code: 212 pieces, 614 characters",
        "ran the code: 1 image, 35 characters printed",
        "wrote 40 pieces of text, 133 characters, 2 citations",
        "completed: read 2,772 tokens, wrote 1,166 (896 to reason)",
    ]
    assert [step.price_usd for step in trace.steps if step.price_usd] == [0.03, pytest.approx(0.0008602)]
    assert "at most $0.030000 for 1 container" in repr(trace)


def test_the_table_of_a_real_function_call_shows_both_responses():
    trace = trace_of(recorded("function_call", 0), recorded("function_call", 1))
    # 58 x 0.10 + 23 x 0.50 = 17.3 and 94 x 0.10 + 18 x 0.50 = 18.4 millionths of a dollar.
    assert trace.price_usd == pytest.approx(35.7e-6)
    assert trace.tokens == Usage(input=152, cached=0, output=41, reasoning=0, total=193)
    assert [(step.response, step.state) for step in trace.steps] == [
        (None, "asking"),
        (1, "created"),
        (1, "in_progress"),
        (1, "calling functions"),
        (1, "completed"),
        (None, "asking"),
        (2, "created"),
        (2, "in_progress"),
        (2, "writing text"),
        (2, "completed"),
    ]
    assert trace.steps[3].what == "asked to call multiply, with 19 characters of arguments"
    assert [step.tokens for step in trace.steps if step.tokens] == [81, 112]
    assert " 193 " in repr(trace)
    assert "$0.000036" in repr(trace)


def test_a_real_background_run_shows_the_queue_and_counts_a_resumed_stream_once():
    once = trace_of(recorded("background_resume", 0))
    both = trace_of(recorded("background_resume", 0), recorded("background_resume", 1))
    assert states(once) == ["asking", "created", "queued", "in_progress", "writing text", "completed"]
    assert states(both) == states(once)
    assert both.tokens == once.tokens == Usage(input=15, cached=0, output=9, reasoning=0, total=24)
    assert both.steps[4].what == "wrote 8 pieces of text, 15 characters"
    assert "16 events arrived a second time" in repr(both)
    assert "a second time" not in repr(once)


def test_a_stream_cut_and_resumed_where_it_stopped_is_whole():
    events = recorded("background_resume")
    trace = Trace(clock=Clock(0.01))
    for item in events[:8]:
        trace.add(item)
    trace.note("Cut off", "the connection was lost")
    assert trace.status == "interrupted"
    trace.note("Resuming")
    for item in events[6:]:  # the service starts two events early
        trace.add(item)
    assert trace.status == "completed"
    assert "wrote 8 pieces of text, 15 characters" in [step.what for step in trace.steps]
    assert trace.tokens.total == 24


def test_a_model_without_a_price_makes_the_price_unknown_and_says_so():
    trace = trace_of(recorded("file_search", model=None))
    assert trace.price_usd is None
    assert trace.tokens.total == 1214
    said = " ".join(repr(trace).split())
    assert "Price: not known, because the price list has none for gpt-4o-2024-08-06." in said
    assert "$0.002500 for 1 file search" in said


def test_responses_that_were_not_streamed_are_two_rounds_too():
    bodies = [
        exchange["response"]["body"]
        for exchange in json.loads((STREAMS / "conversation_function_call.json").read_text(encoding="utf-8"))
    ]
    trace = Trace(clock=Clock(0.01))
    for body in bodies[1:3]:
        trace.add_response(body)
    assert states(trace) == [
        "asking",
        "calling functions",
        "completed",
        "asking",
        "writing text",
        "completed",
    ]
    assert (
        trace.steps[1].what
        == "asked to call get_conversation_code, with 2 characters of arguments (seen afterwards)"
    )
    assert trace.steps[1].duration_ms is None
    assert trace.tokens.input == 57 + 88


@pytest.mark.parametrize(
    "name", ["file_search", "code_interpreter_image", "function_call", "background_resume"]
)
def test_the_objects_of_the_sdk_and_their_dicts_give_the_same_table(name):
    events = recorded(name)
    body = "".join(f"event: {item['type']}\ndata: {json.dumps(item)}\n\n" for item in events).encode()
    headers = {"content-type": "text/event-stream"}
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=body, headers=headers))
    with (
        httpx2.Client(transport=transport) as http_client,
        openai.OpenAI(api_key=KEY, http_client=http_client) as client,
    ):
        objects = list(client.responses.create(model="gpt-6-luna", input="x", stream=True))
    assert not isinstance(objects[0], dict)
    assert repr(trace_of(objects)) == repr(trace_of(events))


# -- tokens and prices ----------------------------------------------------------------------------------------------


def test_cached_tokens_cost_less_worked_by_hand():
    trace = trace_of(message_events("Hi", tokens=usage(2_000, 300, cached=1_024, reasoning=128)))
    # 976 fresh x $0.10 + 1,024 cached x $0.01 + 300 written x $0.50, for a million: 97.6 + 10.24 + 150.
    assert trace.price_usd == pytest.approx(257.84e-6)
    assert trace.tokens == Usage(input=2000, cached=1024, output=300, reasoning=128, total=2300)
    assert trace.steps[-1].what == (
        "completed: read 2,000 tokens (1,024 from the cache), wrote 300 (128 to reason)"
    )


def test_the_steps_add_up_to_the_totals():
    trace = trace_of(
        recorded("file_search"), recorded("code_interpreter_image"), recorded("function_call"), step_s=0.5
    )
    assert sum(step.tokens or 0 for step in trace.steps) == trace.tokens.total == 1214 + 3938 + 81
    assert sum(step.price_usd or 0 for step in trace.steps) == pytest.approx(trace.price_usd)
    assert sum(step.duration_ms or 0 for step in trace.steps) == pytest.approx(trace.duration_ms)


def test_a_container_that_is_used_again_is_priced_once():
    first, second = recorded("code_interpreter_image"), recorded("code_interpreter_image")
    for item in second:
        if "response" in item:
            item["response"]["id"] = "resp_second"
    assert trace_of(first, second).price_usd == pytest.approx(0.03 + 2 * 0.0008602)


def test_what_is_not_known_yet_is_not_called_zero():
    trace = trace_of(message_events("Hel", "lo"))
    assert trace.price_usd is None
    assert trace.tokens == Usage()
    assert "not known, because the API counts tokens when an answer ends" in repr(trace)
    total = next(line for line in repr(trace).splitlines() if line.strip().startswith("total"))
    assert total.split() == ["total", "?", "50", "ms", "?"]


def test_an_answer_without_an_end_makes_the_price_a_lower_bound():
    trace = trace_of(message_events("Hi", tokens=usage(100, 10)), message_events("Hel", id="resp_2"))
    assert trace.tokens.total == 110
    assert "Price: at least $0.000015, because an answer that did not end is not counted." in " ".join(
        repr(trace).split()
    )


def test_a_very_small_price_is_not_shown_as_nothing():
    assert "<$0.000001" in repr(trace_of(message_events("Hi", tokens=usage(1, 0))))


def test_recorded_mode_is_marked_as_an_estimate_everywhere():
    trace = trace_of(
        message_events("Hi", tokens=usage(15, 9), metadata={"workshop_source": "authored", "mine": "kept"})
    )
    assert trace.estimated
    assert "≈ 24" in repr(trace)
    assert "≈ $0.000006" in repr(trace)
    assert "Estimated: this run was recorded, so nothing was spent" in repr(trace)
    assert "≈ 24 tokens · ≈ $0.000006 (estimated)" in trace.diagram().alt_text


def test_a_live_run_is_not_marked_as_an_estimate():
    trace = trace_of(message_events("Hi", tokens=usage(15, 9), metadata={"mine": "kept"}))
    assert not trace.estimated
    assert "≈" not in everything_shown(trace)
    assert "stimated" not in everything_shown(trace)


# -- times ----------------------------------------------------------------------------------------------------------


def test_times_are_counted_from_the_start_in_milliseconds():
    clock = Clock()
    trace = Trace(clock=clock)
    for wait_s, item in zip(
        (0.3, 0.02, 0.5, 0.1, 0.1, 1.0, 0.05), message_events("", "Hi", tokens=usage(1, 1)), strict=True
    ):
        clock.now_s += wait_s
        trace.add(item)
    assert [(step.state, round(step.start_ms), round(step.duration_ms)) for step in trace.steps] == [
        ("asking", 0, 300),
        ("created", 300, 20),
        ("in_progress", 320, 500),
        ("writing text", 820, 1250),
        ("completed", 2070, 0),
    ]
    assert trace.duration_ms == pytest.approx(2070)
    assert trace.time_to_first_text_ms == pytest.approx(1020)  # the first piece was empty


def test_a_run_that_is_started_later_than_it_was_made_counts_from_then():
    clock = Clock()
    trace = Trace(clock=clock)
    clock.now_s += 60
    trace.start()
    clock.now_s += 0.25
    trace.add(message_events()[0])
    trace.start()  # too late to change anything
    assert trace.steps[0].duration_ms == pytest.approx(250)


def test_a_clock_that_is_set_back_makes_no_negative_times():
    clock = Clock()
    trace = Trace(clock=clock)
    for item in message_events("Hi", tokens=usage(1, 1)):
        clock.now_s -= 5
        trace.add(item)
    assert [step.duration_ms for step in trace.steps] == [0.0] * len(trace.steps)


def test_tables_that_differ_only_in_speed_differ_only_in_their_times():
    def without_times(step_s):
        trace = trace_of(recorded("code_interpreter_image"), step_s=step_s)
        shown = repr(trace) + trace._repr_html_() + trace.diagram().alt_text
        return re.sub(r" *\b[\d,]+ ms", "<time>", shown)

    assert without_times(0.0001) == without_times(3.0)


# -- polling, notes, ends -------------------------------------------------------------------------------------------


def test_polling_shows_each_status_once_and_how_often_it_was_looked_at():
    trace = Trace(clock=Clock(0.5))
    for status in ("queued", "queued", "queued", "in_progress"):
        trace.add_response(response(status))
    assert trace.status == "in_progress"
    text = {"type": "output_text", "text": "Hello there", "annotations": []}
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "id": "msg_1", "status": "completed", "content": [text]},
    ]
    for _ in range(2):  # looking again at a finished one changes nothing
        trace.add_response(response("completed", usage=usage(15, 9), output=output))
    assert [step.what for step in trace.steps] == [
        "sent the question and waited for the first sign",
        "waited in the queue (looked 3 times)",
        "the model was at work",
        "reasoned (seen afterwards)",
        "wrote 11 characters of text (seen afterwards)",
        "completed: read 15 tokens, wrote 9",
    ]
    assert [step.duration_ms for step in trace.steps] == [500, 1500, 500, None, None, 0]
    assert trace.status == "completed"
    assert trace.time_to_first_text_ms is None


def test_an_interrupt_keeps_what_had_arrived():
    trace = trace_of(message_events("Hel", "lo"))
    trace.note("Interrupted", "you stopped it")
    assert trace.status == "interrupted"
    assert trace.steps[-2].what == "wrote 2 pieces of text, 5 characters (unfinished)"
    assert trace.steps[-2].status == "unfinished"
    assert trace.steps[-1].what == "Interrupted: you stopped it"
    assert "5. interrupted (you stopped it): the end, too early" in trace.diagram().alt_text


def test_the_wait_before_a_new_attempt_is_time_spent_retrying():
    clock = Clock()
    trace = Trace(clock=clock)
    clock.now_s += 0.1
    trace.note("Retrying", "the conversation is still busy")
    clock.now_s += 0.25
    trace.note("Retrying", "the conversation is still busy")
    clock.now_s += 0.5
    trace.add(message_events()[0])
    assert [(step.state, round(step.duration_ms)) for step in trace.steps] == [
        ("asking", 100),
        ("retrying", 250),
        ("retrying", 500),
        ("created", 0),
    ]
    assert "2. retrying (750 ms, 2 times, the conversation is still busy)" in trace.diagram().alt_text


def test_a_function_that_ran_takes_the_time_between_the_responses():
    clock = Clock()
    trace = Trace(clock=clock)
    for item in recorded("function_call", 0):
        trace.add(item)
    clock.now_s += 2.0
    trace.note("function", "multiply")
    clock.now_s += 0.3
    for item in recorded("function_call", 1):
        trace.add(item)
    between = [(step.state, round(step.duration_ms)) for step in trace.steps[4:8]]
    assert between == [("completed", 0), ("running functions", 2000), ("asking", 300), ("created", 0)]
    assert trace.steps[5].what == "function: multiply"


def test_a_function_that_says_how_long_it_took_is_believed():
    clock = Clock()
    trace = Trace(clock=clock)
    for item in recorded("function_call", 0):
        trace.add(item)
    clock.now_s += 2.0
    trace.note("function", "multiply", duration_ms=500)
    assert trace.steps[-1].duration_ms == pytest.approx(500)


def test_other_notes_are_in_the_table_and_not_in_the_diagram():
    trace = trace_of(message_events("Hi"))
    trace.note("Saved a file", "plot.png")
    assert trace.steps[-1].what == "Saved a file: plot.png"
    assert "plot.png" not in trace.diagram().alt_text
    assert trace.status == "in_progress"


def test_a_request_that_was_refused_is_a_failed_run():
    trace = Trace()
    trace.note("Failed", "OpenAI does not accept this key.")
    assert trace.status == "failed"
    assert states(trace) == ["asking", "failed"]


def test_an_answer_that_stopped_early_says_why():
    ended = response("incomplete", incomplete_details={"reason": "max_output_tokens"}, usage=usage(10, 5))
    trace = trace_of([*message_events("Hi"), event("incomplete", response=ended)])
    assert trace.status == "incomplete"
    assert trace.steps[-1].what == "stopped early: max_output_tokens; read 10 tokens, wrote 5"
    assert "incomplete (max_output_tokens): the end, too early" in trace.diagram().alt_text


@pytest.mark.parametrize(
    "error",
    [
        {"type": "error", "code": "server_error", "message": f"Broke with {KEY}", "param": None},
        {"type": "error", "error": {"type": "x", "code": "server_error", "message": f"Broke with {KEY}"}},
    ],
    ids=["flat", "nested"],
)
def test_both_shapes_of_an_error_event_end_the_run_without_showing_a_key(error):
    told = {"code": "server_error", "message": f"Broke with {KEY}"}
    trace = trace_of([*message_events("Hi"), error, event("failed", response=response("failed", error=told))])
    assert trace.status == "failed"
    assert trace.steps[-2].what == "the API reported an error: server_error: Broke with [key]"
    assert trace.steps[-1].what == "failed: server_error: Broke with [key]"
    assert "planted" not in everything_shown(trace)
    assert trace.diagram().alt_text.count(". failed (") == 1  # two events, one state


def test_a_refusal_is_called_one():
    at = {"item_id": "msg_1", "output_index": 0}
    refused = [event("refusal.delta", delta=piece, **at) for piece in ("I can", "not")]
    assert trace_of([*message_events(), *refused]).steps[-1].what == (
        "declined to answer: wrote 2 pieces of text, 8 characters"
    )


def test_keys_in_what_people_typed_are_not_shown():
    trace = trace_of(message_events("Hi"), question=f"My key is {KEY}", assistant=KEY)
    trace.note("interrupted", KEY)
    trace.add({"type": f"response.{KEY}"})
    trace.add(event("output_item.added", output_index=7, item={"type": f"{KEY}_call", "id": "x_1"}))
    trace.add_response(response(KEY, model=KEY))
    assert "planted" not in everything_shown(trace)
    assert "[key]" in repr(trace)


# -- functions and limits -------------------------------------------------------------------------------------------


def test_the_table_of_a_run_with_a_function_shows_both_rounds_and_what_the_function_took():
    # 100 x $0.10 + 20 x $0.50 = 20 and 130 x $0.10 + 12 x $0.50 = 19 millionths of a dollar.
    assert repr(function_run()) == (
        f"""\
Trace · “What is 7 times 6?” · Tutor · gpt-6-luna · completed
step  what happened                                            tokens        time      price
----  -------------------------------------------------------  ------  ----------  ---------
   1  sent the question and waited for the first sign                       10 ms
   2  response 1 was created                                                10 ms
   3  the model started                                                     10 ms
   4  asked to call multiply, with 16 characters of arguments               50 ms
   5  completed: read 100 tokens, wrote 20                        120        0 ms  $0.000020
   6  ran multiply, 2 characters of output                                 480 ms
   7  sent 1 function output and waited                                     10 ms
   8  response 2 was created                                                10 ms
   9  the model started                                                     10 ms
  10  wrote 2 pieces of text, 9 characters                                  40 ms
  11  completed: read 130 tokens, wrote 12                        142        0 ms  $0.000019
----  -------------------------------------------------------  ------  ----------  ---------
      total                                                       262      660 ms  $0.000039
First text after 630 ms.
Price: $0.000039. Prices checked on {prices_checked_on()}."""
    )


def test_tokens_and_prices_add_up_over_many_rounds_of_functions():
    trace = loop(5)
    assert trace.tokens == Usage(input=500, cached=0, output=100, reasoning=0, total=600)
    assert [step.tokens for step in trace.steps if step.tokens] == [120] * 5
    assert trace.price_usd == pytest.approx(5 * 20e-6)
    assert sum(step.price_usd or 0 for step in trace.steps) == pytest.approx(trace.price_usd)


@pytest.mark.parametrize(
    ("more", "what", "status"),
    [
        ({}, "ran plus, 2 characters of output", "done"),
        (
            {"output": "x" * 8000, "shortened": True},
            "ran plus, 8,000 characters of output, cut to fit",
            "done",
        ),
        (
            {"status": "raised", "error": "plus raised KeyError: 'a'.", "output": "x" * 30},
            "ran plus (plus raised KeyError: 'a'), 30 characters of output",
            "failed",
        ),
        ({"status": "timed_out"}, "ran plus (timed out), 2 characters of output", "failed"),
        ({"status": "wrong_result"}, "ran plus (its result is no JSON), 2 characters of output", "failed"),
        (
            {"status": "wrong_arguments"},
            "did not run plus (wrong arguments), 2 characters of output",
            "failed",
        ),
        (
            {"status": "unknown_function", "error": "There is no function plus."},
            "did not run plus (There is no function plus), 2 characters of output",
            "failed",
        ),
        ({"status": "interrupted"}, "ran plus (interrupted), 2 characters of output", "unfinished"),
        ({"status": "not_run", "output": ""}, "did not run plus", "unfinished"),
        ({"status": "exploded_softly"}, "ran plus (exploded softly), 2 characters of output", "failed"),
    ],
)
def test_each_outcome_of_a_function_is_told_in_words(more, what, status):
    step = function_run(result("plus", **more)).steps[5]
    assert (step.state, step.what, step.status) == ("running functions", what, status)
    assert step.response is None


def test_functions_that_ran_side_by_side_overlap_and_the_longest_ends_last():
    names = ("short", "long", "middle")
    durations_ms = (100, 400, 200)
    results = [result(name, duration_ms) for name, duration_ms in zip(names, durations_ms, strict=True)]
    trace = function_run(*results, names=names)
    ran = [step for step in trace.steps if step.state == "running functions"]
    assert [step.what.split(",")[0] for step in ran] == ["ran short", "ran long", "ran middle"]
    assert len({round(step.start_ms, 6) for step in ran}) == 1
    assert [round(step.duration_ms) for step in ran] == [100, 400, 200]
    asked = next(step for step in trace.steps if step.what == "sent 3 function outputs and waited")
    assert asked.start_ms == pytest.approx(ran[1].start_ms + 400)
    assert "Up to 3 functions ran at the same time, so the times add up to more than the total." in repr(
        trace
    )
    assert "Up to" not in repr(function_run())


def test_the_state_of_functions_that_ran_side_by_side_takes_as_long_as_the_longest():
    trace = function_run(result("short", 100), result("long", 400), names=("short", "long"))
    assert "6. running functions (400 ms, 2 functions, short, long)" in trace.diagram().alt_text
    assert "4. calling functions (100 ms, 2 calls, short, long)" in trace.diagram().alt_text
    assert "7. asking (10 ms, 2 function outputs)" in trace.diagram().alt_text


def test_the_states_of_a_real_function_run_are_in_the_order_in_which_they_happened():
    trace = Trace(clock=Clock(0.01))
    for item in recorded("function_call", 0):
        trace.add(item)
    trace._clock.now_s += 0.3
    trace.add_function(result("multiply", 250))
    for item in recorded("function_call", 1):
        trace.add(item)
    assert states(trace) == [
        *("asking", "created", "in_progress", "calling functions", "completed", "running functions"),
        *("asking", "created", "in_progress", "writing text", "completed"),
    ]
    assert trace.tokens.total == 193


@pytest.mark.parametrize("duration_ms", [float("nan"), float("inf"), -5.0, 1e12])
def test_a_function_that_says_nonsense_about_its_time_breaks_nothing(duration_ms):
    step = function_run(result("multiply", duration_ms)).steps[5]
    assert 0 <= step.duration_ms <= 520
    assert step.start_ms >= 79.999


def test_a_limit_is_an_end_of_its_own_kind_and_the_run_is_incomplete():
    trace = loop(2)
    assert trace.status == "incomplete"
    last = trace.steps[-1]
    assert (last.state, last.status) == ("limit reached", "incomplete")
    assert last.what == "Limit reached: max_rounds=2: the answer is not complete"
    assert "limit reached (max_rounds=2: the answer is not complete): the end, too early" in (
        trace.diagram().alt_text
    )
    assert "incomplete" in repr(trace).splitlines()[0]


def test_a_request_with_outputs_that_has_to_be_sent_again_comes_before_the_retry():
    trace = Trace(clock=Clock(0.01))
    for item in call_events("plus"):
        trace.add(item)
    trace.add_function(result("plus", 5))
    trace.note("Retrying", "too many requests")
    for item in message_events("Hi", id="resp_2", tokens=usage(1, 1)):
        trace.add(item)
    assert states(trace)[4:9] == ["completed", "running functions", "asking", "retrying", "created"]
    assert trace.steps[6].what == "sent 1 function output and waited"


def test_resuming_ends_when_the_text_goes_on():
    trace = cut_and_resumed()
    step = next(step for step in trace.steps if step.state == "resuming")
    assert step.duration_ms == pytest.approx(20)  # from the cut on


def test_what_functions_got_and_gave_is_never_kept():
    trace = function_run(
        result("multiply", output="PLANTED output", printed="PLANTED print", error=f"It broke with {KEY}.")
    )
    assert "PLANTED" not in everything_shown(trace)
    assert "planted" not in everything_shown(trace)
    assert "[key]" in repr(trace)
    assert '"b"' not in everything_shown(trace)


def test_a_thousand_calls_can_be_shown():
    trace = loop(1_000)
    assert len(trace.steps) == 6 * 1_000 + 1
    assert len(trace.diagram().svg) < 80_000
    assert len(trace.sequence().svg) < 80_000


# -- the short way for pieces ---------------------------------------------------------------------------------------


def two_items_at_once():
    """Return a stream in which the pieces of two calls take turns, and one piece comes twice."""
    events = [*message_events()[:2]]
    for index in (0, 1):
        item = {"type": "function_call", "id": f"fc_{index}", "name": f"f{index}"}
        events.append(event("output_item.added", output_index=index, item=item))
    for number, (index, piece) in enumerate([(0, "ab"), (0, "c"), (1, "defg"), (1, ""), (1, "h"), (0, "ij")]):
        events.append(
            event(
                "function_call_arguments.delta",
                item_id=f"fc_{index}",
                output_index=index,
                delta=piece,
                sequence_number=10 + number,
            )
        )
    return [*events, events[-2], events[-1]]


@pytest.mark.parametrize(
    "events",
    [
        recorded("file_search"),
        recorded("code_interpreter_image"),
        [*recorded("background_resume", 0), *recorded("background_resume", 1)],
        two_items_at_once(),
    ],
    ids=["file search", "code interpreter", "resumed", "two items at once"],
)
def test_the_short_way_for_pieces_counts_as_the_long_way_does(events, monkeypatch):
    short = trace_of(events)
    monkeypatch.setattr(Trace, "_begin_series", lambda *_: None)
    long = trace_of(events)
    assert repr(short) == repr(long)
    assert short.steps == long.steps
    assert short.events == long.events
    assert short.events_seen == long.events_seen == len(events)
    assert short.sequence().alt_text == long.sequence().alt_text


def test_pieces_of_two_items_that_take_turns_are_counted_apart():
    trace = trace_of(two_items_at_once())
    assert [step.what for step in trace.steps[3:5]] == [
        "asked to call f0, with 5 characters of arguments",
        "asked to call f1, with 5 characters of arguments",
    ]
    assert "2 events arrived a second time" in repr(trace)


def test_the_short_way_is_taken_for_objects_of_the_sdk(monkeypatch):
    from openai.types.responses import ResponseTextDeltaEvent

    trace = trace_of(message_events("Once", " upon"))
    slow = []
    monkeypatch.setattr(Trace, "_note_event", lambda *_: slow.append(1))
    for number in range(50):
        trace.add(
            ResponseTextDeltaEvent.construct(
                type="response.output_text.delta",
                item_id="msg_1",
                output_index=0,
                content_index=0,
                delta=" a",
                sequence_number=number,
            )
        )
    assert slow == []
    assert trace.steps[-1].what == "wrote 52 pieces of text, 109 characters"


def test_a_note_between_two_pieces_is_where_it_happened():
    trace = trace_of(message_events("one", "two"))
    trace.note("Saved a file", "a.png")
    trace.add(event("output_text.delta", item_id="msg_1", output_index=0, delta="three"))
    assert [step.what for step in trace.steps[-2:]] == [
        "wrote 3 pieces of text, 11 characters",
        "Saved a file: a.png",
    ]


# -- what nobody expected -------------------------------------------------------------------------------------------


def test_events_of_unknown_kinds_are_counted_and_said():
    trace = trace_of(
        [
            *message_events("Hi"),
            {"type": "response.hologram.delta", "delta": "~"},
            {"type": "response.hologram.delta", "delta": "~"},
            {"no": "type"},
        ]
    )
    assert trace.unknown_events == {"response.hologram.delta": 2, "(no type)": 1}
    assert "Also received: 3 events of a kind that this trace does not know" in repr(trace)


def test_a_tool_that_is_new_is_shown_by_its_name():
    item = {"type": "quantum_search_call", "id": "q_1", "status": "completed"}
    trace = trace_of([*message_events(), event("output_item.done", output_index=1, item=item)])
    assert trace.steps[-1].what == "used a tool: quantum search"


def test_an_event_is_not_kept_and_a_long_answer_stays_small():
    class Delta:
        type = "response.output_text.delta"
        item_id = "msg_1"
        output_index = 0
        delta = "token "

    trace = trace_of(message_events())
    deltas = [Delta() for _ in range(20_000)]
    alive = [weakref.ref(delta) for delta in deltas]
    for delta in deltas:
        trace.add(delta)
    del deltas, delta
    assert [ref for ref in alive if ref() is not None] == []
    assert trace.steps[-1].what == "wrote 20,000 pieces of text, 120,000 characters"
    assert [(run.type, run.count) for run in trace.events[-1:]] == [("response.output_text.delta", 20_000)]
    assert trace.events_seen == 20_003


def test_the_list_of_events_stays_bounded_when_they_alternate():
    trace = trace_of([{"type": f"response.new.{number % 2}"} for number in range(10_000)])
    assert len(trace.events) <= 2_000
    assert trace.events_seen == 10_000


def test_very_many_unknown_kinds_do_not_fill_the_table():
    trace = trace_of([{"type": f"response.new.{number}"} for number in range(1_000)])
    assert sum(trace.unknown_events.values()) == 1_000
    assert len(repr(trace)) < 3_000


def test_a_trace_of_nothing_can_be_shown():
    trace = Trace()
    assert trace.steps == []
    assert trace.status == "not_started"
    assert "total" in repr(trace)
    assert "<table>" in trace._repr_html_()
    assert trace.diagram().alt_text.startswith("States of the run. Nothing has happened yet.")
    ElementTree.fromstring(trace.diagram().svg)


ALL_EVENTS = [
    recorded("file_search"),
    recorded("code_interpreter_image"),
    [*recorded("function_call", 0), *recorded("function_call", 1)],
    [*recorded("background_resume", 0), *recorded("background_resume", 1)],
]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_streams_cut_anywhere_never_raise_and_totals_never_shrink(data):
    events = data.draw(st.sampled_from(ALL_EVENTS))
    places = st.integers(0, len(events))
    cuts = data.draw(st.lists(st.tuples(places, places), min_size=1, max_size=4))
    trace = Trace(question="Cut", clock=Clock(0.001))
    tokens, price, duration = Usage(), 0.0, 0.0
    for start, end in cuts:
        for item in events[start:end]:
            trace.add(item)
            now = trace.tokens
            assert all(
                getattr(now, name) >= getattr(tokens, name)
                for name in ("input", "output", "reasoning", "total")
            )
            assert (trace.price_usd or 0.0) >= price
            assert trace.duration_ms >= duration
            tokens, price, duration = now, trace.price_usd or 0.0, trace.duration_ms
        trace.note(
            data.draw(st.sampled_from(["cut off", "retrying", "resuming", "limit reached", "function", "hm"]))
        )
        assert repr(trace)
        ElementTree.fromstring(trace.diagram().svg)
        ElementTree.fromstring(trace.sequence().svg)
    assert tokens.total <= sum(
        item["response"]["usage"]["total_tokens"] for item in events if item["type"] == "response.completed"
    )


FIELDS = [
    *(
        "id",
        "type",
        "status",
        "item",
        "output",
        "content",
        "text",
        "usage",
        "input_tokens",
        "output_tokens",
        "delta",
    ),
    *(
        "code",
        "queries",
        "results",
        "outputs",
        "error",
        "message",
        "summary",
        "response",
        "metadata",
        "model",
        "name",
    ),
]
EVENT_FIELDS = [
    *("response", "item", "item_id", "output_index", "delta", "sequence_number", "error", "annotation"),
]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)
KINDS = [*sorted({item["type"] for events in ALL_EVENTS for item in events}), "error", "response.failed", ""]


@settings(max_examples=150, deadline=None)
@given(
    events=st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(KINDS) | JUNK},
            optional=dict.fromkeys(EVENT_FIELDS, JUNK),
        )
        | JUNK,
        max_size=8,
    ),
    snapshots=st.lists(JUNK, max_size=2),
    question=st.text(max_size=20),
)
def test_junk_never_raises_and_can_always_be_shown(events, snapshots, question):
    trace = Trace(question=question, assistant=question, clock=Clock(0.001))
    for junk in events:
        trace.add(junk)
    for junk in snapshots:
        trace.add_response(junk)
    trace.note(question, question)
    everything_shown(trace).encode()
    ElementTree.fromstring(trace.diagram().svg)
    ElementTree.fromstring(trace.sequence().svg)
    assert trace.events_seen == len(events)


# -- as HTML --------------------------------------------------------------------------------------------------------


class Cells(HTMLParser):
    """Collects the texts of the table's cells, row by row, and every tag."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.tags, self.styles = [], [], []
        self._cell = None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.styles += [value for name, value in attrs if name == "style"]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = ""

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1].append(self._cell)
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data


def test_the_html_table_says_what_the_text_says():
    trace = trace_of(recorded("file_search"))
    cells = Cells(trace._repr_html_())
    assert cells.rows[0] == ["step", "what happened", "tokens", "time", "price"]
    assert cells.rows[4] == [
        "4",
        "searched the files for “What is the capital of France?”",
        "",
        "50 ms",
        "$0.002500",
    ]
    assert cells.rows[-1] == ["", "total", "1,214", "210 ms", "$0.002636"]
    assert len(cells.rows) == len(trace.steps) + 2


def test_the_html_needs_nothing_that_a_previewer_takes_away():
    html = trace_of(recorded("code_interpreter_image"))._repr_html_()
    cells = Cells(html)
    assert set(cells.tags) <= {
        "div",
        "table",
        "caption",
        "thead",
        "tbody",
        "tfoot",
        "tr",
        "th",
        "td",
        "p",
        "br",
        "span",
    }
    # A colour of its own would be unreadable in one of light and dark.
    assert not any("color" in style or "background" in style for style in cells.styles)


def test_dollar_signs_and_backslashes_are_never_read_as_mathematics():
    trace = trace_of(recorded("file_search"), question=r"Is \(x\) $5 or $6? <b>&amp;")
    html = trace._repr_html_()
    assert "$" not in html.replace("<span>$</span>", "")
    assert "\\" not in html.replace("<span>\\</span>", "")
    assert "<b>" not in html
    assert "&lt;b&gt;&amp;amp;" in html


def test_notebooks_get_the_table_as_html_and_the_diagram_as_svg_each_with_text():
    from IPython.core.formatters import DisplayFormatter

    trace = trace_of(recorded("file_search"))
    formatter = DisplayFormatter()
    formatter.active_types = formatter.format_types
    table, _ = formatter.format(trace)
    drawing, _ = formatter.format(trace.diagram())
    assert set(table) == {"text/html", "text/plain"}
    assert table["text/plain"] == repr(trace)
    assert set(drawing) == {"image/svg+xml", "text/plain"}
    assert drawing["text/plain"] == trace.diagram().alt_text


# -- as a diagram ---------------------------------------------------------------------------------------------------


def drawn(diagram):
    return ElementTree.fromstring(diagram.svg)


def test_the_diagram_says_in_words_what_it_shows():
    diagram = trace_of(recorded("code_interpreter_image")).diagram()
    assert diagram.alt_text == (
        """\
States of the run “What is GPT-2?”. It went through 8 states:
1. asking (10 ms)
2. created (10 ms, response 1)
3. in_progress (10 ms)
4. reasoning (20 ms)
5. writing code (2,150 ms, 614 characters)
6. running code (30 ms, 1 image)
7. writing text (470 ms, 133 characters)
8. completed (3,938 tokens): the end
Tutor · gpt-6-luna
Total: 2,700 ms · 3,938 tokens · $0.030860"""
    )
    assert repr(diagram) == diagram.alt_text


def test_the_drawing_shows_every_state_with_its_time():
    diagram = trace_of(recorded("file_search")).diagram()
    texts = [element.text for element in drawn(diagram).iter(f"{SVG}text")]
    for wanted in ("searching files", "1 query", "50 ms", "writing text", "completed", "1,214 tokens"):
        assert wanted in texts
    assert drawn(diagram).find(f"{SVG}title").text == "States of the run “What is GPT-2?”"
    assert "4. searching files (50 ms, 1 query)" in drawn(diagram).find(f"{SVG}desc").text
    assert drawn(diagram).get("role") == "img"


def test_the_drawing_is_the_same_each_time():
    assert (
        trace_of(recorded("function_call")).diagram().svg == trace_of(recorded("function_call")).diagram().svg
    )


def many_rounds(number):
    return itertools.chain.from_iterable(
        message_events("Hi", id=f"resp_{place}", tokens=usage(1, 1)) for place in range(number)
    )


@pytest.mark.parametrize("rounds", [1, 2, 3, 9, 40])
def test_boxes_stay_inside_and_apart_in_however_many_rows(rounds):
    root = drawn(trace_of(many_rounds(rounds)).diagram())
    width, height = float(root.get("width")), float(root.get("height"))
    boxes = [
        tuple(float(rect.get(name)) for name in ("x", "y", "width", "height"))
        for rect in root.iter(f"{SVG}rect")
        if rect.get("width") == "166"
    ]
    assert len(boxes) == min(48, 5 * rounds)
    for x, y, wide, high in boxes:
        assert x >= 0
        assert y >= 0
        assert x + wide <= width
        assert y + high <= height
    for (x, y, wide, high), (other_x, other_y, _, _) in itertools.combinations(boxes, 2):
        assert abs(x - other_x) >= wide or abs(y - other_y) >= high


def test_of_very_many_states_the_middle_ones_are_left_out_and_that_is_said():
    diagram = trace_of(many_rounds(40)).diagram()
    assert "It went through 200 states:" in diagram.alt_text
    assert "… 153 more states" in diagram.alt_text
    assert "200. completed (2 tokens): the end" in diagram.alt_text


def test_the_drawing_is_safe_whatever_the_names_are():
    evil = '</text><script>alert(1)</script><image href="http://x"/> & "quoted" \x00\x1b\u202e\ud800 end'
    item = {"type": "function_call", "id": "fc_1", "name": evil}
    trace = trace_of(
        [*message_events(), event("output_item.added", output_index=1, item=item)],
        question=evil,
        assistant=evil,
    )
    trace.note("interrupted", evil)
    diagram = trace.diagram()
    tags = {element.tag.removeprefix(SVG) for element in drawn(diagram).iter()}
    assert tags <= {"svg", "title", "desc", "rect", "text", "path", "polygon"}
    names = {name for element in drawn(diagram).iter() for name in element.attrib}
    assert not {name for name in names if name.startswith("on") or "href" in name or name == "class"}
    assert "url(" not in diagram.svg
    assert "<script" not in trace._repr_html_()
    assert '"' not in diagram.mermaid
    assert not set("<>&;{}\x00\u202e") & set(diagram.mermaid.replace("-->", ""))


def luminance(colour):
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def one_of_each():
    kinds = ("you", "api", "model", "end", "broken end")
    return state_diagram("All kinds", "", [State("same name", who, "1 ms") for who in kinds], "")


def test_the_drawing_brings_its_own_background_and_every_text_is_readable_on_it():
    root = drawn(one_of_each())
    backgrounds = {rect.get("fill") for rect in root.iter(f"{SVG}rect") if rect.get("fill") != "none"}
    first = next(root.iter(f"{SVG}rect"))
    assert first.get("fill") == "#ffffff"
    assert float(first.get("width")) >= float(root.get("width")) - 1
    fills = [
        colour for colour in backgrounds if luminance(colour) > 0.5
    ]  # without the narrow bar at the side
    assert len(fills) == 6
    for text in root.iter(f"{SVG}text"):
        assert int(text.get("font-size")) >= 13
        for fill in fills:
            lighter, darker = luminance(fill) + 0.05, luminance(text.get("fill")) + 0.05
            assert lighter / darker >= 4.5


def test_kinds_of_boxes_can_be_told_apart_without_colours():
    svg = re.sub(r"#[0-9a-f]{6}", "", one_of_each().svg)
    frames = [
        re.sub(r' (x|y)="[^"]*"', "", "".join(re.findall(r"<rect[^>]*>", line)))
        for line in svg.splitlines()
        if 'width="166"' in line
    ]
    assert len(frames) == len(set(frames)) == 5


def test_long_names_are_shortened_so_that_they_fit_their_box():
    long = "a_function_with_a_name_that_goes_on_and_on"
    item = {"type": "function_call", "id": "fc_1", "name": long}
    diagram = trace_of([*message_events(), event("output_item.added", output_index=1, item=item)]).diagram()
    assert long in diagram.alt_text
    shown = [element.text for element in drawn(diagram).iter(f"{SVG}text")]
    assert any(text.startswith("a_function") and text.endswith("…") and len(text) < 30 for text in shown)


def test_the_mermaid_source_names_the_same_states_in_the_same_order():
    lines = trace_of(recorded("file_search")).diagram().mermaid.splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert "    s4 : searching files (50 ms)" in lines
    assert [line.strip() for line in lines if "-->" in line] == [
        "[*] --> s1",
        *(f"s{place} --> s{place + 1}" for place in range(1, 6)),
        "s6 --> [*]",
    ]


def test_a_diagram_can_be_saved_in_three_forms_and_refuses_others(tmp_path):
    diagram = trace_of(recorded("file_search")).diagram()
    assert diagram.save(tmp_path / "run.svg").read_text(encoding="utf-8") == diagram.svg + "\n"
    assert diagram.save(str(tmp_path / "run.mmd")).read_text(encoding="utf-8").startswith("stateDiagram-v2")
    assert diagram.save(tmp_path / "run.TXT").read_text(encoding="utf-8") == diagram.alt_text + "\n"
    with pytest.raises(ConfigurationError, match=r"saved as \.svg, \.mmd or \.txt, not as 'run\.png'"):
        diagram.save(tmp_path / "run.png")
    assert not (tmp_path / "run.png").exists()


def test_plain_makes_one_short_line_of_anything():
    assert plain("two\nlines\tand \x1b[31mred\u202e") == "two lines and [31mred"
    assert plain("x" * 50, 10) == "x" * 9 + "…"
    assert plain(f"{' ' * 5_000}{KEY}") == "[key]"
