"""Runs that call functions: rounds, limits, retries, cut streams, cancelling, and conversations that are never stuck."""

import asyncio
import json
import threading

import httpx2
import openai
import pytest
from pydantic import BaseModel

from helpers import (
    Assistant,
    ConfigurationError,
    EventHandler,
    FunctionCallingHandler,
    RunFailed,
    Stopped,
    StreamInterrupted,
    TextHandler,
    WorkshopError,
    repair_thread,
    stream_run,
)
from helpers.rendering import LinesRenderer
from helpers.rounds import missing_outputs
from tests.served import KEY, body, call, message, problem, response, sent, served, stream_of

CONVERSATION = "conv_1"
FIRST = [{"type": "response.created"}, {"type": "response.in_progress"}]


def add(a: int, b: int) -> int:
    """Add two whole numbers.

    Args:
        a: the first one.
        b: the second one.
    """
    added.append((a, b))
    return a + b


added: list[tuple[int, int]] = []


@pytest.fixture(autouse=True)
def nothing_was_added_yet():
    added.clear()


CALCULATOR = Assistant("Calculator", "Use the tool.", model="gpt-6-luna", tools=[add])
TEACHER = Assistant("Teacher", "Explain.", model="gpt-6-luna")
CALL = call("add", '{"a":2,"b":3}')
ASKS = stream_of(*response(CALL, id="resp_1"))
ANSWERS = stream_of(*response(message("The sum is 5."), id="resp_2"))


class Noting(EventHandler):
    """Shows nothing, and notes the hooks and the pieces of text."""

    def __init__(self):
        super().__init__()
        self.called = []
        self.pieces = []

    def on_text_delta(self, delta, snapshot):
        self.pieces.append(delta.value)

    def on_text_restarted(self, text):
        self.called.append("restarted")
        self.pieces.clear()

    def on_retry(self, reason, wait_s):
        self.called.append("retry")

    def on_requires_action(self, calls):
        self.called.append(f"asks for {', '.join(each.name for each in calls)}")

    def on_function_done(self, result):
        self.called.append(f"{result.name} → {result.output}")

    def on_end(self):
        self.called.append("end")


def page(*items):
    """A page of a conversation's items, newest first."""
    listed = {"object": "list", "data": list(items), "has_more": False, "first_id": None, "last_id": None}
    return lambda: httpx2.Response(200, json=listed)


def cut(events, after):
    """A stream that ends in the middle: after so many events the connection is lost."""

    class Cut(httpx2.SyncByteStream, httpx2.AsyncByteStream):
        def __iter__(self):
            for event in events[:after]:
                yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            raise httpx2.ReadError("connection reset")

        async def __aiter__(self):
            for piece in self:
                yield piece

    return lambda: httpx2.Response(200, stream=Cut(), headers={"content-type": "text/event-stream"})


def as_json(value, status=200, headers=None):
    return lambda: httpx2.Response(status, json=value, headers=headers)


def paths(requests):
    return [f"{request.method} {request.url.path.removeprefix('/v1')}" for request in requests]


def patient(client, *arguments, **more):
    """A run that does not wait, and the list of how long it would have waited."""
    waits = []
    run = stream_run(client, *arguments, **more)
    run._sleep = waits.append
    return run, waits


# -- rounds -----------------------------------------------------------------------------------------------------------


def test_a_function_is_called_its_output_sent_and_the_answer_streamed_on():
    client, requests = served(ASKS, ANSWERS)
    run = stream_run(client, CALCULATOR, None, "What is 2 + 3?", event_handler=Noting()).until_done()
    assert added == [(2, 3)]
    assert run.text == "The sum is 5."
    assert run.status == "completed"
    assert run.handler.called == ["asks for add", "add → 5", "end"]
    first, second = map(sent, requests)
    assert first["tools"] == CALCULATOR["tools"] == second["tools"]
    assert second["input"] == [{"type": "function_call_output", "call_id": "call_1", "output": "5"}]
    assert second["previous_response_id"] == "resp_1"
    assert second["instructions"] == "Use the tool."
    assert [(each.name, each.status, each.output) for each in run.function_results] == [("add", "done", "5")]
    assert run.trace.tokens.total == 30
    assert run.unsent_outputs == []


def test_on_a_thread_only_the_outputs_are_sent_to_the_same_thread():
    client, requests = served(ASKS, ANSWERS)
    stream_run(client, CALCULATOR, CONVERSATION, "What is 2 + 3?", event_handler=Noting()).until_done()
    second = sent(requests[1])
    assert second["conversation"] == CONVERSATION
    assert "previous_response_id" not in second
    assert [item["type"] for item in second["input"]] == ["function_call_output"]
    assert len(requests) == 2


def test_without_storage_everything_is_sent_again():
    client, requests = served(ASKS, ANSWERS)
    run = stream_run(
        client, CALCULATOR, None, "What is 2 + 3?", event_handler=Noting(), store=False
    ).until_done()
    assert run.status == "completed"
    assert [item["type"] for item in sent(requests[1])["input"]] == [
        "message",
        "function_call",
        "function_call_output",
    ]
    assert "previous_response_id" not in sent(requests[1])


def test_parallel_calls_are_answered_in_the_order_of_the_calls():
    both = response(CALL, call("add", '{"a":1,"b":1}', "call_2", place=1))
    client, requests = served(stream_of(*both), ANSWERS)
    run = stream_run(client, CALCULATOR, None, "2 + 3 and 1 + 1?", event_handler=Noting()).until_done()
    assert [(item["call_id"], item["output"]) for item in sent(requests[1])["input"]] == [
        ("call_1", "5"),
        ("call_2", "2"),
    ]
    assert len(run.function_results) == 2


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "add"}])
def test_a_forced_call_is_forced_once(choice):
    client, requests = served(ASKS, ANSWERS)
    stream_run(client, CALCULATOR, None, "2 + 3?", event_handler=Noting(), tool_choice=choice).until_done()
    assert sent(requests[0])["tool_choice"] == choice
    assert "tool_choice" not in sent(requests[1])


def test_a_handler_can_answer_the_calls_itself():
    class ByHand(Noting):
        def on_requires_action(self, calls):
            self.submit_tool_outputs([{"call_id": calls[0].call_id, "output": {"sum": "five"}}])

    client, requests = served(ASKS, ANSWERS)
    stream_run(client, CALCULATOR, None, "2 + 3?", event_handler=ByHand()).until_done()
    assert added == []
    assert sent(requests[1])["input"][0]["output"] == '{"sum": "five"}'


def test_an_answer_to_a_call_that_nobody_asked_for_is_refused():
    class Wrong(Noting):
        def on_requires_action(self, calls):
            self.submit_tool_outputs([{"call_id": "call_of_somebody", "output": "5"}])

    client, _ = served(ASKS, ANSWERS)
    with pytest.raises(ConfigurationError, match="call_of_somebody"):
        stream_run(client, CALCULATOR, None, "2 + 3?", event_handler=Wrong()).until_done()


def test_an_unknown_function_is_told_to_the_model_and_the_answer_goes_on():
    client, requests = served(stream_of(*response(call("subtract", "{}"))), ANSWERS)
    run = stream_run(client, CALCULATOR, None, "2 - 3?", event_handler=Noting()).until_done()
    assert run.function_results[0].status == "unknown_function"
    assert "add" in sent(requests[1])["input"][0]["output"], "it says which functions there are"
    assert run.status == "completed"


def test_asynchronous_runs_do_the_same():
    answers = [ASKS, ANSWERS]
    requests = []

    def handler(request):
        requests.append(request)
        return answers.pop(0)()

    async def main():
        async with openai.AsyncOpenAI(
            api_key=KEY, http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(handler))
        ) as client:
            return await stream_run(client, CALCULATOR, None, "2 + 3?", event_handler=Noting()).until_done()

    run = asyncio.run(main())
    assert run.text == "The sum is 5."
    assert run.handler.called == ["asks for add", "add → 5", "end"]
    assert sent(requests[1])["previous_response_id"] == "resp_1"


# -- limits -----------------------------------------------------------------------------------------------------------


def test_a_model_that_calls_for_ever_ends_at_the_limit_and_the_thread_can_go_on():
    asks = iter(range(1, 100))

    def ask_again():
        number = next(asks)
        return stream_of(*response(call("add", '{"a":1,"b":1}', f"call_{number}"), id=f"resp_{number}"))()

    last = {
        "id": "fc_x",
        "type": "function_call",
        "call_id": "call_3",
        "name": "add",
        "arguments": "{}",
        "status": "completed",
    }
    client, requests = served(
        ask_again, ask_again, ask_again, page(last), as_json({"object": "list", "data": []})
    )
    run = stream_run(
        client, CALCULATOR, CONVERSATION, "Go on.", event_handler=Noting(), max_rounds=3
    ).until_done()
    assert run.status == "incomplete"
    assert run.handler.incomplete_reason == "max_rounds"
    assert "max_rounds" in run.handler.footer
    assert len(added) == 2, "the calls of the last response are not run"
    assert paths(requests)[:3] == ["POST /responses"] * 3
    assert paths(requests)[-1] == "POST /conversations/conv_1/items"
    answer = sent(requests[-1])["items"][0]
    assert (answer["type"], answer["call_id"]) == ("function_call_output", "call_3")
    assert "limit" in answer["output"]


def test_without_a_thread_the_outputs_that_were_not_sent_can_be_sent_later():
    client, _ = served(ASKS)
    run = stream_run(client, CALCULATOR, None, "Go on.", event_handler=Noting(), max_rounds=1).until_done()
    assert run.status == "incomplete"
    assert [item["call_id"] for item in run.unsent_outputs] == ["call_1"]


@pytest.mark.parametrize(
    ("limits", "reason"), [({"max_tokens": 15}, "max_tokens"), ({"max_usd": 0.000001}, "max_usd")]
)
def test_a_limit_of_tokens_or_dollars_ends_the_run_before_the_next_request(limits, reason):
    client, requests = served(ASKS, ANSWERS)
    run = stream_run(client, CALCULATOR, None, "Go on.", event_handler=Noting(), **limits).until_done()
    assert (run.status, run.handler.incomplete_reason) == ("incomplete", reason)
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"max_rounds": 0}, "max_rounds must be"),
        ({"max_rounds": True}, "max_rounds must be"),
        ({"max_tokens": "many"}, "max_tokens must be"),
        ({"max_usd": -1}, "max_usd must be"),
        ({"max_retries": -1}, "max_retries must be"),
        ({"text_format": dict}, "pydantic.BaseModel"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(limits, sentence):
    client, requests = served(AssertionError("nothing may be sent"))
    with pytest.raises(ConfigurationError, match=sentence):
        stream_run(client, CALCULATOR, None, "Hello", **limits)
    assert requests == []


def test_a_limit_of_dollars_needs_a_known_price():
    client, _ = served(AssertionError("nothing may be sent"))
    with pytest.raises(ConfigurationError, match="price of somebody-s-model is not known"):
        stream_run(client, {"model": "somebody-s-model"}, None, "Hello", max_usd=1.0)


# -- trying again -----------------------------------------------------------------------------------------------------


def refused(status, code=None, headers=None, kind="invalid_request_error"):
    return as_json({"error": {"message": "No.", "type": kind, "param": None, "code": code}}, status, headers)


@pytest.mark.parametrize(
    ("refusal", "wait_s"),
    [
        (refused(429, "rate_limit_exceeded", {"retry-after": "7"}), 7.0),
        (refused(429, "rate_limit_exceeded", {"retry-after-ms": "250"}), 0.25),
        (refused(503, "server_is_overloaded"), None),
        (refused(500), None),
        (httpx2.ConnectError("no route"), None),
    ],
)
def test_what_passes_is_waited_for_and_tried_again(refusal, wait_s):
    client, requests = served(refusal, ANSWERS)
    run, waits = patient(client, TEACHER, None, "Hello", event_handler=Noting())
    assert run.until_done().text == "The sum is 5."
    assert len(waits) == 1
    assert waits[0] == wait_s if wait_s else 0.2 < waits[0] <= 0.5
    assert len(requests) == 2
    assert "retry" in run.handler.called
    assert "retrying" in [step.state for step in run.trace.steps]


@pytest.mark.parametrize(
    "refusal",
    [
        refused(401, "invalid_api_key"),
        refused(403),
        refused(404, "model_not_found"),
        refused(429, "credit_balance_exhausted", kind="insufficient_quota"),
        refused(429, "project_spend_limit_exceeded"),
        refused(500, None, {"x-should-retry": "false"}),
        refused(429, "rate_limit_exceeded", {"retry-after": "3600"}),
    ],
)
def test_what_does_not_pass_is_not_tried_again(refusal):
    client, requests = served(refusal, AssertionError("nothing more may be sent"))
    run, waits = patient(client, TEACHER, None, "Hello", event_handler=Noting())
    with pytest.raises(RunFailed):
        run.until_done()
    assert (len(requests), waits) == (1, [])


def test_a_fault_that_stays_ends_in_its_sentence():
    client, requests = served(refused(500))
    run, waits = patient(client, TEACHER, None, "Hello", event_handler=Noting(), max_retries=2)
    with pytest.raises(RunFailed, match="a problem of its own"):
        run.until_done()
    assert len(requests) == 3
    assert waits == sorted(waits), "longer each time"


def test_a_response_that_fails_on_the_way_is_asked_for_again():
    whole = response(message("The sum is 5."))
    failed = {
        "type": "response.failed",
        "response": body("failed", error={"code": "server_error", "message": "x"}),
    }
    client, requests = served(stream_of(*whole[:6], failed), ANSWERS)
    run, _ = patient(client, TEACHER, None, "Hello", event_handler=Noting())
    assert run.until_done().text == "The sum is 5."
    assert "".join(run.handler.pieces) == "The sum is 5."
    assert len(requests) == 2


# -- streams that are cut ---------------------------------------------------------------------------------------------

WHOLE = response(message("One two three four.", pieces=6), id="resp_1")
GONE = refused(404)


@pytest.mark.parametrize("after", range(1, len(WHOLE)))
def test_a_stream_cut_anywhere_is_asked_for_again_and_no_text_is_told_twice(after):
    again = stream_of(*response(message("One two three four.", pieces=3, item="msg_2"), id="resp_2"))
    client, _ = served(cut(WHOLE, after), GONE, again)
    run, _ = patient(client, TEACHER, None, "Count.", event_handler=Noting())
    run.until_done()
    assert run.text == "One two three four."
    assert "".join(run.handler.pieces) == "One two three four."
    assert "".join(run.handler.text_deltas) == "One two three four."
    assert "restarted" not in run.handler.called
    assert run.status == "completed"


@pytest.mark.parametrize("after", [5, 7, 9, 11])
def test_an_answer_that_comes_back_in_other_words_replaces_what_had_arrived(after):
    again = stream_of(*response(message("One, then two.", item="msg_2"), id="resp_2"))
    client, _ = served(cut(WHOLE, after), GONE, again)
    run, _ = patient(client, TEACHER, None, "Count.", event_handler=Noting())
    run.until_done()
    assert run.text == "".join(run.handler.pieces) == "".join(run.handler.text_deltas) == "One, then two."


@pytest.mark.parametrize("told", [True, False], ids=["all events", "no event says that a text is done"])
def test_an_answer_that_comes_back_shorter_is_only_that_short(told):
    again = response(message("One two", item="msg_2"), id="resp_2")
    if not told:
        again = [event for event in again if not event["type"].endswith((".done", "item.done"))]
    client, _ = served(cut(WHOLE, 9), GONE, stream_of(*again))
    run, _ = patient(client, TEACHER, None, "Count.", event_handler=Noting())
    run.until_done()
    assert run.text == "".join(run.handler.pieces) == "".join(run.handler.text_deltas) == "One two"


def test_whoever_reads_the_pieces_gets_all_of_an_answer_that_comes_back_in_other_words():
    again = stream_of(*response(message("One, then two.", item="msg_2"), id="resp_2"))
    client, _ = served(cut(WHOLE, 9), GONE, again)
    run, _ = patient(client, TEACHER, None, "Count.", event_handler=Noting())
    pieces = "".join(run.text_deltas)
    assert pieces.startswith("One two")
    assert pieces.endswith("One, then two.")
    assert "".join(run.handler.text_deltas) == run.text == "One, then two."


def test_what_had_arrived_is_in_the_exception_although_another_request_failed():
    client, _ = served(cut(WHOLE, 8), GONE, refused(403))
    run, _ = patient(client, TEACHER, None, "Count.", event_handler=Noting())
    with pytest.raises(RunFailed, match="refused this key") as caught:
        run.until_done()
    assert caught.value.partial_text == run.text
    assert len(run.text) > 3


def test_a_line_about_another_attempt_does_not_tell_the_learner_to_try_again(capsys):
    client, _ = served(refused(503, "server_is_overloaded"), cut(WHOLE, 9), GONE, stream_of(*WHOLE))
    run, _ = patient(client, TEACHER, None, "Count.", event_handler=TextHandler(renderer=LinesRenderer()))
    run.until_done()
    printed = capsys.readouterr().out
    assert printed.count("trying again in") == 2
    assert "a problem of its own (status 503)." in printed
    assert "Run the cell again" not in printed


def test_a_shorter_answer_after_a_cut_leaves_nothing_of_the_old_one():
    client, _ = served(
        cut(WHOLE, 8),
        GONE,
        stream_of(*response(CALL, id="resp_2")),
        stream_of(*response(message("5"), id="resp_3")),
    )
    run, _ = patient(client, CALCULATOR, None, "Count.", event_handler=Noting())
    run.until_done()
    assert run.text == "".join(run.handler.pieces) == "".join(run.handler.text_deltas) == "5"


def test_a_cut_answer_is_shown_once_and_a_line_says_that_it_was_asked_for_again(capsys):
    again = stream_of(*response(message("One two three four.", item="msg_2"), id="resp_2"))
    client, _ = served(cut(WHOLE, 9), GONE, again)
    run, _ = patient(client, TEACHER, None, "Count.", event_handler=TextHandler(renderer=LinesRenderer()))
    run.until_done()
    printed = capsys.readouterr().out
    assert printed.count("three") == 1
    assert "trying again" in printed


def test_an_answer_that_was_complete_when_the_stream_broke_is_taken_and_not_asked_for_again():
    finished = WHOLE[-1]["response"]
    client, requests = served(cut(WHOLE, 8), as_json(finished))
    run, _ = patient(client, TEACHER, CONVERSATION, "Count.", event_handler=Noting())
    run.until_done()
    assert paths(requests) == ["POST /responses", "GET /responses/resp_1"]
    assert "".join(run.handler.pieces) == run.text == "One two three four."
    assert run.status == "completed"
    assert run.trace.tokens.total == 15


def test_a_function_is_not_called_twice_when_the_answer_after_it_is_cut():
    end = response(message("The sum is 5."), id="resp_2")
    client, requests = served(
        ASKS, cut(end, 6), GONE, stream_of(*response(message("The sum is 5.", item="msg_9"), id="resp_3"))
    )
    run, _ = patient(client, CALCULATOR, None, "2 + 3?", event_handler=Noting())
    run.until_done()
    assert added == [(2, 3)]
    assert run.text == "The sum is 5."
    posts = [sent(request) for request in requests if request.method == "POST"]
    assert posts[1]["input"] == posts[2]["input"]


def test_a_background_stream_is_resumed_after_the_last_event():
    rest = [event for event in WHOLE if event["sequence_number"] > 6]
    client, requests = served(cut(WHOLE, 7), stream_of(*rest))
    run, waits = patient(client, TEACHER, None, "Count.", event_handler=Noting(), background=True)
    run.until_done()
    assert paths(requests) == ["POST /responses", "GET /responses/resp_1"]
    assert dict(requests[1].url.params) == {"starting_after": "6", "stream": "true"}
    assert "".join(run.handler.pieces) == run.text == "One two three four."
    assert waits == []
    assert "resuming" in [step.state for step in run.trace.steps]


def test_a_background_response_that_can_no_longer_be_streamed_is_waited_for():
    client, requests = served(
        cut(WHOLE, 7), refused(400), as_json(body("in_progress")), as_json(WHOLE[-1]["response"])
    )
    run, waits = patient(client, TEACHER, None, "Count.", event_handler=Noting(), background=True)
    run.until_done()
    assert "".join(run.handler.pieces) == run.text == "One two three four."
    assert len(waits) == 1
    assert len(requests) == 4


def test_a_background_response_whose_streams_are_cut_again_and_again_is_waited_for():
    client, requests = served(
        cut(WHOLE, 7), cut([], 0), cut([], 0), as_json(body("in_progress")), as_json(WHOLE[-1]["response"])
    )
    run, _ = patient(client, TEACHER, None, "Count.", event_handler=Noting(), background=True)
    run.until_done()
    assert "".join(run.handler.pieces) == run.text == "One two three four."
    assert [request.url.params.get("stream") for request in requests] == [None, "true", "true", None, None]


def test_looking_for_the_end_of_a_background_response_is_tried_again_too():
    client, _ = served(
        cut(WHOLE, 7), refused(400), httpx2.ConnectError("no route"), as_json(WHOLE[-1]["response"])
    )
    run, _ = patient(client, TEACHER, None, "Count.", event_handler=Noting(), background=True)
    assert run.until_done().text == "One two three four."
    client, _ = served(cut(WHOLE, 7), refused(400), httpx2.ConnectError("no route"))
    run, _ = patient(client, TEACHER, None, "Count.", event_handler=Noting(), background=True)
    with pytest.raises(StreamInterrupted, match="no connection") as caught:
        run.until_done()
    assert caught.value.partial_text == run.text != ""


@pytest.mark.parametrize("background", [True, False])
def test_an_asynchronous_run_takes_an_answer_that_it_only_sees_the_end_of(background):
    answers = [cut(WHOLE, 7), refused(400), as_json(WHOLE[-1]["response"])]
    if not background:
        del answers[1]

    async def main():
        async with openai.AsyncOpenAI(
            api_key=KEY,
            http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(lambda request: answers.pop(0)())),
        ) as client:
            run = stream_run(client, TEACHER, None, "Count.", event_handler=Noting(), background=background)
            return await run.until_done()

    run = asyncio.run(main())
    assert "".join(run.handler.pieces) == run.text == "One two three four."
    assert run.status == "completed"


def test_a_stream_that_is_cut_again_and_again_ends_in_a_sentence_and_keeps_the_text():
    client, _ = served(cut(WHOLE, 8))
    run, _ = patient(client, TEACHER, None, "Count.", event_handler=Noting(), store=False)
    with pytest.raises(StreamInterrupted, match="connection was lost") as caught:
        run.until_done()
    assert caught.value.partial_text == run.text
    assert len(run.text) > 3
    assert run.status == "interrupted"


# -- conversations are never stuck ------------------------------------------------------------------------------------

ASKED = CALL[1]


def test_an_interrupt_while_a_function_runs_answers_its_call():
    def impatient(a: int, b: int) -> int:
        """Add.

        Args:
            a: one.
            b: two.
        """
        raise AssertionError("replaced below")

    class Interrupted(Noting):
        def on_function_done(self, result):
            super().on_function_done(result)
            raise KeyboardInterrupt

    client, requests = served(ASKS, page(ASKED), as_json({"object": "list", "data": []}))
    run = stream_run(client, CALCULATOR, CONVERSATION, "2 + 3?", event_handler=Interrupted())
    with pytest.raises(Stopped, match="function calls are answered"):
        run.until_done()
    assert paths(requests) == [
        "POST /responses",
        "GET /conversations/conv_1/items",
        "POST /conversations/conv_1/items",
    ]
    assert sent(requests[-1])["items"] == [
        {"type": "function_call_output", "call_id": "call_1", "output": "5"}
    ]
    assert run.status == "interrupted"
    assert run.trace.status == "interrupted"


def test_an_interrupt_in_the_answer_after_a_function_adds_its_output_to_the_thread():
    class Interrupted(Noting):
        def on_text_delta(self, delta, snapshot):
            raise KeyboardInterrupt

    client, requests = served(ASKS, ANSWERS, page(ASKED), as_json({"object": "list", "data": []}))
    with pytest.raises(Stopped):
        stream_run(client, CALCULATOR, CONVERSATION, "2 + 3?", event_handler=Interrupted()).until_done()
    assert sent(requests[-1])["items"][0]["call_id"] == "call_1"


def test_an_output_that_is_there_already_is_not_added_again():
    class Broken(Noting):
        def on_text_delta(self, delta, snapshot):
            raise ZeroDivisionError

    there = {
        "id": "x",
        "type": "function_call_output",
        "call_id": "call_1",
        "output": "5",
        "status": "completed",
    }
    client, requests = served(ASKS, ANSWERS, page(there, ASKED))
    with pytest.raises(ZeroDivisionError):
        stream_run(client, CALCULATOR, CONVERSATION, "2 + 3?", event_handler=Broken()).until_done()
    assert paths(requests)[-1] == "GET /conversations/conv_1/items"


def test_calls_of_an_incomplete_response_are_answered_too():
    short = response(CALL, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    client, requests = served(stream_of(*short), page(ASKED), as_json({"object": "list", "data": []}))
    run = stream_run(client, CALCULATOR, CONVERSATION, "2 + 3?", event_handler=Noting()).until_done()
    assert run.status == "incomplete"
    assert added == []
    assert sent(requests[-1])["items"][0]["call_id"] == "call_1"


def test_calls_that_cannot_be_answered_are_told_in_the_trace():
    class Interrupted(Noting):
        def on_function_done(self, result):
            raise KeyboardInterrupt

    client, _ = served(ASKS, httpx2.ConnectError("no route"))
    run = stream_run(client, CALCULATOR, CONVERSATION, "2 + 3?", event_handler=Interrupted())
    with pytest.raises(Stopped):
        run.until_done()
    assert "Left open" in repr(run.trace)


STUCK = problem(400, None, "No tool output found for function call call_1.")


def test_a_stuck_conversation_is_mended_before_the_question_is_asked():
    client, requests = served(STUCK, page(ASKED), as_json({"object": "list", "data": []}), ANSWERS)
    run = stream_run(client, CALCULATOR, CONVERSATION, "Again?", event_handler=Noting()).until_done()
    assert run.status == "completed"
    assert paths(requests)[0] == paths(requests)[-1] == "POST /responses"
    assert "interrupted" in sent(requests[2])["items"][0]["output"]
    assert "Repaired" in repr(run.trace)


def test_mending_by_hand_answers_every_call_that_has_no_output():
    items = [
        {"id": "3", "type": "function_call", "call_id": "call_3", "name": "add", "arguments": "{}"},
        {"id": "2", "type": "function_call_output", "call_id": "call_2", "output": "5"},
        {"id": "1", "type": "function_call", "call_id": "call_2", "name": "add", "arguments": "{}"},
        {"id": "0", "type": "function_call", "call_id": "call_0", "name": "add", "arguments": "{}"},
    ]
    assert [item["call_id"] for item in missing_outputs(items)] == ["call_0", "call_3"]
    client, requests = served(page(*items), as_json({"object": "list", "data": []}))
    assert repair_thread(client, CONVERSATION) == 2
    assert len(requests) == 2
    with pytest.raises(ConfigurationError, match="must be a thread"):
        repair_thread(client, 7)


# -- cancelling -------------------------------------------------------------------------------------------------------


def test_cancelling_from_a_hook_ends_the_run_and_the_cell_goes_on():
    class Enough(Noting):
        def on_text_delta(self, delta, snapshot):
            super().on_text_delta(delta, snapshot)
            run.cancel()

    client, _ = served(stream_of(*WHOLE))
    run = stream_run(client, TEACHER, None, "Count.", event_handler=Enough())
    assert run.until_done() is run
    assert (run.status, run.trace.status) == ("cancelled", "cancelled")
    assert len(run.handler.pieces) == 1
    assert "cancelled" in run.handler.footer


def test_cancelling_while_a_function_runs_does_not_wait_for_it():
    started, released = threading.Event(), threading.Event()

    def slow() -> str:
        """Wait for somebody."""
        started.set()
        released.wait(30)
        return "late"

    def stop():
        started.wait(30)
        run.cancel()

    waiting = Assistant("Waiting", "Wait.", model="gpt-6-luna", tools=[slow])
    client, requests = served(
        stream_of(*response(call("slow", "{}"))),
        page({**ASKED, "name": "slow"}),
        as_json({"object": "list", "data": []}),
    )
    run = stream_run(client, waiting, CONVERSATION, "Wait.", event_handler=Noting())
    stopper = threading.Thread(target=stop)
    stopper.start()
    run.until_done()
    stopper.join()
    assert not released.is_set()
    released.set()
    assert run.status == "cancelled"
    assert sent(requests[-1])["items"][0]["call_id"] == "call_1"


@pytest.mark.parametrize("how", ["sync", "async"])
def test_cancelling_between_two_functions_keeps_what_the_first_gave_back(how):
    first_done, started, released = (threading.Event() for _ in range(3))

    def quick() -> str:
        """Answer at once."""
        first_done.set()
        return "early"

    def slow() -> str:
        """Wait for somebody."""
        first_done.wait(30)
        started.set()
        released.wait(30)
        return "late"

    def stop():
        started.wait(30)
        run.cancel()

    two = response(call("quick", "{}", "call_1"), call("slow", "{}", "call_2", place=1))
    asked = [{**two[-1]["response"]["output"][place]} for place in (1, 0)]
    answers = [stream_of(*two), page(*asked), as_json({"object": "list", "data": []})]
    requests = []

    def handler(request):
        requests.append(request)
        return answers.pop(0)()

    waiting = Assistant("Waiting", "Wait.", model="gpt-6-luna", tools=[quick, slow])
    transport = httpx2.MockTransport(handler)
    stopper = threading.Thread(target=stop)
    if how == "sync":
        client = openai.OpenAI(api_key=KEY, http_client=httpx2.Client(transport=transport))
        run = stream_run(client, waiting, CONVERSATION, "Wait.", event_handler=Noting())
        stopper.start()
        run.until_done()
    else:
        client = openai.AsyncOpenAI(api_key=KEY, http_client=httpx2.AsyncClient(transport=transport))
        run = stream_run(client, waiting, CONVERSATION, "Wait.", event_handler=Noting())
        stopper.start()
        asyncio.run(run.until_done())
    stopper.join()
    released.set()
    assert run.status == "cancelled"
    assert [(each.name, each.status) for each in run.function_results] == [
        ("quick", "done"),
        ("slow", "interrupted"),
    ]
    assert sent(requests[-1])["items"][0]["output"] == "early"


def test_a_background_response_is_cancelled_at_the_api():
    class Enough(Noting):
        def on_text_delta(self, delta, snapshot):
            run.cancel()

    client, requests = served(stream_of(*WHOLE), as_json(body("cancelled")))
    run = stream_run(client, TEACHER, None, "Count.", event_handler=Enough(), background=True)
    run.until_done()
    assert paths(requests) == ["POST /responses", "POST /responses/resp_1/cancel"]


def test_an_interrupted_background_response_is_cancelled_at_the_api():
    class Interrupted(Noting):
        def on_text_delta(self, delta, snapshot):
            raise KeyboardInterrupt

    client, requests = served(stream_of(*WHOLE), as_json(body("cancelled")))
    with pytest.raises(Stopped):
        stream_run(client, TEACHER, None, "Count.", event_handler=Interrupted(), background=True).until_done()
    assert paths(requests)[-1] == "POST /responses/resp_1/cancel"


class Stalled(httpx2.AsyncByteStream):
    """A stream that sends a few events and then nothing."""

    def __init__(self, events):
        self.events = events
        self.closed = False

    async def __aiter__(self):
        try:
            for event in self.events:
                yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            await asyncio.Event().wait()
        finally:
            self.closed = True


@pytest.mark.parametrize("how", ["cancel", "task"])
def test_an_asynchronous_run_stops_at_once_even_if_nothing_arrives(how):
    stream = Stalled(response(message("The sum is 5."), id="resp_2")[:6])
    answers = [
        ASKS,
        lambda: httpx2.Response(200, stream=stream, headers={"content-type": "text/event-stream"}),
        page(ASKED),
        as_json({"object": "list", "data": []}),
    ]
    requests = []

    def handler(request):
        requests.append(request)
        return answers.pop(0)()

    async def main():
        arrived = asyncio.Event()

        class Arrived(Noting):
            def on_text_delta(self, delta, snapshot):
                arrived.set()

        async with openai.AsyncOpenAI(
            api_key=KEY, http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(handler))
        ) as client:
            run = stream_run(client, CALCULATOR, CONVERSATION, "2 + 3?", event_handler=Arrived())
            task = asyncio.create_task(run.until_done())
            await arrived.wait()
            await asyncio.sleep(0)
            if how == "cancel":
                run.cancel()
                assert await task is run
            else:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            return run

    run = asyncio.run(asyncio.wait_for(main(), 30))
    assert run.status == ("cancelled" if how == "cancel" else "interrupted")
    assert stream.closed
    assert sent(requests[-1])["items"][0] == {
        "type": "function_call_output",
        "call_id": "call_1",
        "output": "5",
    }


@pytest.mark.parametrize("how", ["cancel", "task", "time limit"])
def test_an_asynchronous_run_that_ends_while_a_function_runs(how):
    started = asyncio.Event()

    async def slow() -> str:
        """Wait for nothing."""
        started.set()
        await asyncio.Event().wait()
        return "never"

    waiting = Assistant("Waiting", "Wait.", model="gpt-6-luna", tools=[slow])
    answers = [
        stream_of(*response(call("slow", "{}"))),
        page({**ASKED, "name": "slow"}),
        as_json({"object": "list", "data": []}),
    ]
    requests = []

    def handler(request):
        requests.append(request)
        return answers.pop(0)()

    async def expire(limit):
        await started.wait()
        limit.reschedule(asyncio.get_running_loop().time())

    async def follow(run):
        async with asyncio.timeout(None) as limit:
            expiring = asyncio.ensure_future(expire(limit)) if how == "time limit" else None
            await run.until_done()
        assert expiring is None
        return asyncio.current_task().cancelling()

    async def main():
        async with openai.AsyncOpenAI(
            api_key=KEY, http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(handler))
        ) as client:
            run = stream_run(client, waiting, CONVERSATION, "Wait.", event_handler=Noting())
            task = asyncio.create_task(follow(run))
            await started.wait()
            if how == "cancel":
                run.cancel()
                assert await task == 0, "the task itself is not cancelled"
            else:
                if how == "task":
                    task.cancel()
                with pytest.raises(TimeoutError if how == "time limit" else asyncio.CancelledError):
                    await task
            return run

    run = asyncio.run(asyncio.wait_for(main(), 30))
    assert run.status == ("cancelled" if how == "cancel" else "interrupted")
    assert sent(requests[-1])["items"][0]["call_id"] == "call_1"


# -- structured answers -----------------------------------------------------------------------------------------------


class Sum(BaseModel):
    """A sum."""

    numbers: list[int]
    total: int


def test_a_structured_answer_comes_back_as_an_object_also_with_functions():
    client, requests = served(ASKS, stream_of(*response(message('{"numbers":[2,3],"total":5}'), id="resp_2")))
    run = stream_run(client, CALCULATOR, None, "2 + 3?", event_handler=Noting(), text_format=Sum).until_done()
    assert run.parsed == Sum(numbers=[2, 3], total=5)
    wanted = sent(requests[0])["text"]["format"]
    assert (wanted["type"], wanted["name"], wanted["strict"]) == ("json_schema", "Sum", True)
    assert wanted["schema"]["additionalProperties"] is False
    assert sent(requests[1])["text"]["format"] == wanted


@pytest.mark.parametrize("text", ['{"numbers":[2,3]}', '{"numbers":[2', "The sum is 5."])
def test_an_answer_that_does_not_fit_is_one_sentence(text):
    client, _ = served(stream_of(*response(message(text))))
    run = stream_run(client, TEACHER, None, "2 + 3?", event_handler=Noting(), text_format=Sum).until_done()
    with pytest.raises(WorkshopError, match="The answer is no Sum"):
        _ = run.parsed
    assert run.text == text


def test_without_a_format_there_is_nothing_parsed():
    client, _ = served(ANSWERS)
    run = stream_run(client, TEACHER, None, "2 + 3?", event_handler=Noting()).until_done()
    with pytest.raises(WorkshopError, match="text_format"):
        _ = run.parsed


# -- the handler that shows it ----------------------------------------------------------------------------------------


def test_the_handler_shows_call_and_outcome(capsys):
    client, _ = served(ASKS, ANSWERS)
    handler = FunctionCallingHandler(renderer=LinesRenderer())
    stream_run(client, CALCULATOR, None, "2 + 3?", event_handler=handler).until_done()
    assert capsys.readouterr().out.splitlines() == ["Calling add(a=2, b=3)", "add → 5", "The sum is 5."]
    assert [(each.name, each.status) for each in handler.function_calls] == [("add", "done")]
