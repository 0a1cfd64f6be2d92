"""Sequence diagrams of runs: who said what to whom, in which order, and that it is what the handlers really do."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from helpers.handlers import EventHandler
from helpers.trace import Trace
from tests.traces import (
    KEY,
    Clock,
    call_events,
    cut_and_resumed,
    event,
    function_run,
    loop,
    message_events,
    recorded,
    relabelled,
    response,
    result,
    trace_of,
    usage,
)

FOR_EVERYTHING = {
    "on_event",
    "on_run_step_created",
    "on_run_step_delta",
    "on_run_step_done",
    "on_message_delta",
}


def told(trace):
    """Return the numbered lines of the diagram's alternative text, without the numbers."""
    lines = trace.sequence().alt_text.splitlines()
    return [match[1] for line in lines if (match := re.match(r"\d+\. (.*)", line))]


def participants(trace):
    first = trace.sequence().alt_text.splitlines()[0]
    return re.search(r"\d+ participants: (.*?)\. \d", first)[1].split(", ")


def toolbox():
    """Return the trace of a run that retries, searches files, calls three functions, runs code and answers."""
    trace = Trace(
        question="Which loss do the notes predict, and what does the log show?",
        assistant="Toolbox",
        clock=Clock(0.004),
        handler="ToolboxHandler",
    )
    trace.note("Retrying", "the conversation is still busy with another answer; waiting 0.25 s")
    trace._clock.now_s += 0.25
    names = ("duckduckgo_search", "count_parameters", "training_cost")
    for one in [*recorded("file_search"), *call_events(*names, id="resp_2")]:
        trace.add(one)
    trace._clock.now_s += 1.4
    trace.add_function(result(names[0], 1350, output="x" * 8_000, shortened=True))
    trace.add_function(result(names[1], 12))
    trace.add_function(
        result(names[2], 300, status="raised", error="training_cost raised ZeroDivisionError.")
    )
    for one in relabelled(recorded("code_interpreter_image"), "resp_3"):
        trace.add(one)
    return trace


def test_a_run_with_a_function_is_told_from_the_question_to_the_answer():
    assert function_run().sequence().alt_text == (
        """\
Messages of the run “What is 7 times 6?”. 5 participants: you, multiply, notebook, handler (FunctionCallingHandler), API. 14 messages:
1. you to notebook: question (“What is 7 times 6?”)
2. notebook to API: request 1 (responses.create(…, stream=True))
3. API to handler: response.created, response.in_progress (response 1)
4. API to handler: function_call multiply (function_call_arguments.delta × 3, 16 characters); handler: on_tool_call_created, on_tool_call_delta × 3, on_tool_call_done
5. API to handler: response.completed (120 tokens); handler: on_requires_action
6. handler to notebook: 1 call to answer
7. notebook to multiply: call (16 characters of arguments)
8. multiply to notebook: output (2 characters, 480 ms)
9. notebook to handler: 1 result; handler: on_function_done
10. notebook to API: request 2 (1 function output)
11. API to handler: response.created, response.in_progress (response 2)
12. API to handler: message (output_text.delta × 2, 9 characters); handler: on_message_created, on_text_created, on_text_delta × 2, on_text_done, on_message_done
13. API to handler: response.completed (142 tokens); handler: on_end
14. notebook to you: answer (9 characters)
Tutor · gpt-6-luna
Total: 660 ms · 262 tokens · $0.000039"""
    )


class Counting(EventHandler):
    """Counts how often each hook is called."""

    def __init__(self):
        super().__init__()
        self.called = Counter()


def counting(name):
    def hook(self, *arguments):
        self.called[name] += 1

    return hook


for hook_name in [name for name in dir(EventHandler) if name.startswith("on_")]:
    if hook_name not in FOR_EVERYTHING:
        setattr(Counting, hook_name, counting(hook_name))


def drawn_hooks(trace):
    counts = Counter()
    for line in told(trace):
        _, _, hooks = line.partition("; handler: ")
        for name, number in re.findall(r"\b(on_\w+)(?: × ([\d,]+))?", hooks):
            counts[name] += int((number or "1").replace(",", ""))
    return counts


WITH_EMPTY_PIECES = [
    *message_events("", "one", "", "two"),
    event("output_text.done", item_id="msg_1", output_index=0, content_index=0, text="onetwo"),
    *message_events(tokens=usage(1, 1))[3:],
]
REFUSAL = [
    *message_events()[:3],
    *(event("refusal.delta", item_id="msg_1", output_index=0, delta=piece) for piece in ("I can", "", "not")),
    event("refusal.done", item_id="msg_1", output_index=0, content_index=0, refusal="I cannot"),
    *message_events(tokens=usage(1, 1))[3:],
]


@pytest.mark.parametrize(
    "events",
    [
        recorded("file_search"),
        recorded("code_interpreter_image"),
        recorded("function_call", 0),
        recorded("function_call", 1),
        recorded("background_resume", 0),
        WITH_EMPTY_PIECES,
        call_events("plus", "minus"),
        REFUSAL,
    ],
    ids=[
        *("file search", "code interpreter", "function call", "after a function call", "background"),
        *("empty pieces", "parallel calls", "refusal"),
    ],
)
def test_the_hooks_that_are_drawn_are_those_that_a_handler_gets(events):
    handler, trace = Counting(), Trace(clock=Clock(0.01))
    for one in handler.iterate(events):
        trace.add(one)
    assert drawn_hooks(trace) == handler.called


def test_a_tool_at_the_api_is_asked_by_the_api_and_answers_it():
    lines = told(trace_of(recorded("code_interpreter_image")))
    start = lines.index("API to code interpreter: run the code")
    assert lines[start - 1].startswith(
        "API to handler: code_interpreter_call (code_interpreter_call_code.delta × 212"
    )
    assert lines[start + 1] == "code interpreter to API: 1 image, 35 characters printed"
    assert lines[start + 2].endswith("; handler: on_tool_call_done, on_image_file_done")
    assert "file search to API: done" in told(trace_of(recorded("file_search")))


def test_the_toolbox_names_every_tool_and_function_and_tells_of_the_retry():
    trace = toolbox()
    assert participants(trace) == [
        *("you", "duckduckgo_search", "count_parameters", "training_cost"),
        *("notebook", "handler (ToolboxHandler)", "API", "file search", "code interpreter"),
    ]
    lines = told(trace)
    retry = next(place for place, line in enumerate(lines) if "Retrying" in line)
    assert lines[retry - 1 : retry + 2] == [
        "notebook to API: request 1 (responses.create(…, stream=True))",
        "notebook: Retrying (the conversation is still busy with another answer; waiting 0.25 s)",
        "notebook to API: request 1 (once more)",
    ]
    assert (
        "API to handler: 3 function_calls: duckduckgo_search, count_parameters, training_cost "
        "(function_call_arguments.delta × 9); handler: on_tool_call_created × 3, on_tool_call_delta × 9, "
        "on_tool_call_done × 3"
    ) in lines
    calls = [line for line in lines if ": call (" in line]
    assert calls == [
        f"notebook to {name}: call (16 characters of arguments)"
        for name in ("duckduckgo_search", "count_parameters", "training_cost")
    ]
    assert "duckduckgo_search to notebook: output (8,000 characters, cut to fit, 1,350 ms)" in lines
    assert "training_cost to notebook: raised (2 characters, 300 ms), a failure" in lines
    assert "notebook to handler: 3 results; handler: on_function_done × 3" in lines
    assert "notebook to API: request 3 (3 function outputs)" in lines
    assert "side by side" in trace.sequence().svg
    assert "side by side" not in function_run().sequence().svg


def test_a_function_that_was_not_called_has_a_note_and_no_arrow():
    trace = function_run(
        result("plus", 0, status="wrong_arguments", error="a is missing."),
        result("no_such", 0, status="unknown_function"),
        names=("plus", "no_such"),
    )
    assert participants(trace) == ["you", "notebook", "handler (FunctionCallingHandler)", "API"]
    assert "notebook: did not run plus (a is missing.)" in told(trace)
    assert "notebook: did not run no_such (unknown function)" in told(trace)
    assert "notebook to handler: 2 results; handler: on_function_done × 2" in told(trace)


def test_of_many_functions_the_later_ones_share_a_lifeline():
    names = [f"function_{number}" for number in range(9)]
    trace = function_run(*(result(name, 5) for name in names), names=names)
    assert participants(trace)[1:4] == ["function_0", "function_1", "other functions"]
    assert "notebook to other functions: call function_8 (16 characters of arguments)" in told(trace)


def test_of_many_tools_the_later_ones_share_a_lifeline():
    events = message_events()
    for number in range(9):
        item = {"type": f"tool_{number}_call", "id": f"t_{number}", "status": "completed"}
        events.append(event("output_item.done", output_index=number + 1, item=item))
    trace = trace_of(events)
    assert participants(trace)[-3:] == ["tool 0", "tool 1", "other tools"]


@pytest.mark.parametrize(
    ("note", "line", "hooks"),
    [
        ("Interrupted", "notebook: Interrupted (why): the end, too early", "on_end"),
        ("Cancelled", "notebook: Cancelled (why): the end, too early", "on_end"),
        ("Stopped after 5 s", "notebook: Stopped after 5 s (why): the end, too early", "on_end"),
        ("Limit reached", "notebook: Limit reached (why): the end, too early", "on_end"),
        ("Cut off", "notebook: Cut off (why): the end, too early", "on_exception, on_end"),
        ("Timed out", "notebook: Timed out (why): the end, too early", "on_timeout, on_exception, on_end"),
        ("Failed", "notebook: Failed (why): the end, too early", "on_exception, on_end"),
    ],
)
def test_each_way_to_end_too_early_is_told_with_the_hooks_that_it_calls(note, line, hooks):
    trace = trace_of(message_events("Hel", "lo"))
    trace.note(note, "why")
    assert told(trace)[-2:] == [
        f"{line}; handler: {hooks}",
        "notebook to you: what had arrived (5 characters)",
    ]
    assert "the end, too early" in trace.sequence().svg


def test_a_limit_after_a_function_leaves_no_answer():
    lines = told(loop(2))
    assert lines[-2].startswith("notebook: Limit reached (max_rounds=2: the answer is not complete)")
    assert lines[-1] == "notebook to you: no answer"


def test_a_failed_response_tells_of_the_error():
    error = {"code": "server_error", "message": f"Broke with {KEY}"}
    trace = trace_of([*message_events("Hi"), event("failed", response=response("failed", error=error))])
    assert told(trace)[-2:] == [
        "API to handler: response.failed (server_error: Broke with [key]), a failure; handler: on_exception, on_end",
        "notebook to you: what had arrived (2 characters)",
    ]


def test_a_request_that_was_refused_has_no_handler_and_no_answer():
    trace = Trace(question="Hello?")
    trace.note("Failed", "OpenAI does not accept this key.")
    assert participants(trace) == ["you", "notebook", "API"]
    assert told(trace) == [
        "you to notebook: question (“Hello?”)",
        "notebook to API: request 1 (responses.create(…))",
        "notebook: Failed (OpenAI does not accept this key.): the end, too early",
        "notebook to you: no answer",
    ]


def test_a_second_request_that_was_refused_is_there_too():
    trace = Trace(clock=Clock(0.01))
    for one in call_events("plus"):
        trace.add(one)
    trace.add_function(result("plus", 5))
    trace.note("Failed", "it broke")
    assert "notebook to API: request 2 (1 function output)" in told(trace)


def test_a_resumed_stream_shows_what_came_before_the_cut_and_what_came_after():
    lines = told(cut_and_resumed())
    assert lines[3:8] == [
        "API to handler: message (output_text.delta × 3); handler: on_message_created, on_text_created, "
        "on_text_delta × 3",
        "notebook: Cut off (the connection was lost)",
        "notebook: Resuming (after event 7)",
        "notebook to API: the rest of the stream (responses.retrieve(…, stream=True))",
        "API to handler: message (output_text.delta × 5, 15 characters); handler: on_text_delta × 5, on_text_done, "
        "on_message_done",
    ]
    assert lines[-1] == "notebook to you: answer (15 characters)"


def test_a_retry_that_did_not_begin_yet_is_a_request_that_waits():
    trace = Trace(clock=Clock(0.01))
    trace.note("Retrying", "busy")
    assert told(trace)[-2:] == ["notebook: Retrying (busy)", "notebook to API: request 1 (once more)"]


def test_a_polled_run_has_no_handler_and_counts_the_looks():
    trace = Trace(question="Hello?", clock=Clock(0.5))
    for status in ("queued", "queued", "in_progress"):
        trace.add_response(response(status))
    text = {"type": "output_text", "text": "Hello there", "annotations": []}
    output = [{"type": "message", "id": "msg_1", "status": "completed", "content": [text]}]
    trace.add_response(response("completed", usage=usage(15, 9), output=output))
    assert participants(trace) == ["you", "notebook", "API"]
    assert told(trace)[2:] == [
        "notebook to API: responses.retrieve(…) (2 times)",
        "API to notebook: status: queued (response 1)",
        "notebook to API: responses.retrieve(…) (1 time)",
        "API to notebook: status: in_progress (response 1)",
        "notebook to API: responses.retrieve(…)",
        "API to notebook: status: completed (24 tokens)",
        "notebook to you: answer (11 characters)",
    ]


def test_a_run_that_still_goes_on_has_no_end_yet():
    assert told(trace_of(message_events("Hel")))[-1].startswith(
        "API to handler: message (output_text.delta, 3"
    )


def test_a_note_of_your_own_stands_where_it_happened():
    trace = trace_of(message_events("Hi"))
    trace.note("Saved a file", "plot.png")
    assert told(trace)[-1] == "notebook: Saved a file (plot.png)"


def test_a_trace_of_nothing_can_be_drawn():
    assert Trace().sequence().alt_text == "Messages of the run. Nothing has happened yet.\nTotal: 0 ms"


def test_estimated_tokens_are_marked():
    trace = trace_of(message_events("Hi", tokens=usage(15, 9), metadata={"workshop_source": "authored"}))
    assert "response.completed (≈ 24 tokens)" in trace.sequence().alt_text


def test_two_runs_that_differ_only_in_speed_differ_only_in_their_times():
    def without_times(step_s):
        events = [*recorded("code_interpreter_image")]
        return re.sub(r" *\b[\d,]+ ms", "<time>", trace_of(events, step_s=step_s).sequence().alt_text)

    assert without_times(0.0001) == without_times(3.0)


def test_a_real_function_call_in_a_conversation_that_was_not_streamed():
    import json

    from tests.traces import STREAMS

    exchanges = json.loads((STREAMS / "conversation_function_call.json").read_text(encoding="utf-8"))
    bodies = [exchange["response"]["body"] for exchange in exchanges]
    trace = Trace(clock=Clock(0.01))
    trace.add_response(bodies[1])
    trace.add_function(result("get_conversation_code", 5))
    trace.add_response(bodies[2])
    assert participants(trace) == ["you", "get_conversation_code", "notebook", "API"]
    assert [line for line in told(trace) if "get_conversation_code" in line] == [
        "notebook to get_conversation_code: call (16 characters of arguments)",
        "get_conversation_code to notebook: output (2 characters, 5 ms)",
    ]
