"""Streams through the event handlers: real ones, broken ones, and ones that nobody has seen yet."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.errors import ConfigurationError, RunFailed, StreamInterrupted, WorkshopError
from helpers.handlers import EventHandler, TextHandler, failure_from
from helpers.rendering import LinesRenderer, MarkdownRenderer
from tests.served import message, response

STREAMS = Path(__file__).parent / "data" / "real-streams"
KEY = "sk-test-0123456789abcdefSECRET"


def exchanges(name: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((STREAMS / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def recorded(name: str, number: int = 0) -> list[dict[str, Any]]:
    """Return the events of the n-th streamed answer in a recording."""
    bodies = [exchange["response"]["body"] for exchange in exchanges(name)]
    events: list[dict[str, Any]] = [body["sse"] for body in bodies if "sse" in body][number]
    return events


ALL_STREAMS = [
    ("background_resume", 0),
    ("code_interpreter_image", 0),
    ("file_search", 0),
    ("function_call", 0),
    ("function_call", 1),
]


def final_text(events: list[dict[str, Any]]) -> str:
    output = events[-1]["response"]["output"]
    return "".join(
        part["text"]
        for item in output
        if item["type"] == "message"
        for part in item["content"]
        if "text" in part
    )


def sent_text(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


def frame(event: dict[str, Any]) -> bytes:
    return f"event: {event.get('type')}\ndata: {json.dumps(event)}\n\n".encode()


class Body(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A response body of server-sent events that can break off, and knows whether it was closed."""

    def __init__(self, events: list[dict[str, Any]], error: Exception | None = None) -> None:
        self.events = events
        self.error = error
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield from map(frame, self.events)
        if self.error is not None:
            raise self.error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for event in self.events:
            yield frame(event)
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


def answering(body: Body) -> Any:
    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=body)

    return httpx2.MockTransport(respond)


def client_for(body: Body) -> openai.OpenAI:
    return openai.OpenAI(
        api_key=KEY,
        base_url="https://api.invalid/v1",
        http_client=httpx2.Client(transport=answering(body)),
        max_retries=0,
    )


def async_client_for(body: Body) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key=KEY,
        base_url="https://api.invalid/v1",
        http_client=httpx2.AsyncClient(transport=answering(body)),
        max_retries=0,
    )


class Diary(EventHandler):
    """Writes down which hooks were called."""

    def __init__(self, **more: Any) -> None:
        super().__init__(renderer=LinesRenderer(io.StringIO()), **more)
        self.entries: list[str] = []
        self.seen: dict[str, list[Any]] = {}
        self.values: list[str] = []

    @property
    def shown(self) -> str:
        return str(self.renderer._out.getvalue())  # type: ignore[attr-defined]

    def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        super().on_text_delta(delta, snapshot)
        self._note("on_text_delta", delta)
        self.values.append(snapshot.value)

    def on_tool_call_delta(self, delta: Any, snapshot: Any) -> None:
        super().on_tool_call_delta(delta, snapshot)
        self._note("on_tool_call_delta", delta)
        self.values.append(getattr(snapshot, "code", None) or getattr(snapshot, "arguments", ""))

    def _note(self, name: str, *arguments: Any) -> None:
        self.entries.append(name)
        self.seen.setdefault(name, []).append(arguments[0] if len(arguments) == 1 else arguments)


def _noting(name: str) -> Any:
    def hook(self: Diary, *arguments: Any) -> None:
        getattr(super(Diary, self), name)(*arguments)
        self._note(name, *arguments)

    return hook


for _name in [name for name in vars(EventHandler) if name.startswith("on_")]:
    if _name not in vars(Diary):
        setattr(Diary, _name, _noting(_name))


def merged(entries: list[str], *without: str) -> list[str]:
    """Return the entries without repetitions next to each other."""
    kept = [entry for entry in entries if entry not in without]
    return [entry for before, entry in zip([None, *kept], kept, strict=False) if entry != before]


# -- real streams -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "number"), ALL_STREAMS)
@pytest.mark.parametrize("how", ["dicts", "create", "stream", "entered stream", "retrieve"])
def test_a_real_stream_arrives_whole(name: str, number: int, how: str) -> None:
    events = recorded(name, number)
    body = Body(events)
    client = client_for(body)
    handler = Diary()
    if how == "dicts":
        result = handler.follow(iter(events))
    elif how == "create":
        result = handler.follow(client.responses.create(model="gpt-6-luna", input="x", stream=True))
    elif how == "stream":
        result = handler.follow(client.responses.stream(model="gpt-6-luna", input="x"))
    elif how == "entered stream":
        with client.responses.stream(model="gpt-6-luna", input="x") as stream:
            result = handler.follow(stream)
    else:
        result = handler.follow(client.responses.retrieve("resp_1", stream=True))
    assert result is handler
    assert handler.text == final_text(events)
    assert "".join(handler.text_deltas) == final_text(events)
    assert handler.status == "completed"
    assert handler.get_final_run().id == events[-1]["response"]["id"]
    assert [event.type for event in handler.seen["on_event"]] == [event["type"] for event in events]
    assert handler.entries[-1] == "on_end"
    assert handler.entries.count("on_end") == 1
    assert "on_exception" not in handler.entries
    assert handler.shown == ""
    assert how == "dicts" or body.closed


@pytest.mark.parametrize(("name", "number"), ALL_STREAMS)
@pytest.mark.parametrize("how", ["create", "coroutine", "stream", "entered stream", "generator"])
def test_a_real_stream_arrives_whole_async(name: str, number: int, how: str) -> None:
    events = recorded(name, number)
    body = Body(events)

    async def generator() -> AsyncIterator[Any]:
        for event in events:
            yield event

    async def follow() -> Diary:
        client = async_client_for(body)
        handler = Diary()
        if how == "create":
            return await handler.follow(await client.responses.create(model="m", input="x", stream=True))
        if how == "coroutine":
            return await handler.follow(client.responses.create(model="m", input="x", stream=True))
        if how == "stream":
            return await handler.follow(client.responses.stream(model="m", input="x"))
        if how == "generator":
            return await handler.follow(generator())
        async with client.responses.stream(model="m", input="x") as stream:
            return await handler.follow(stream)

    handler = asyncio.run(follow())
    assert handler.text == final_text(events)
    assert handler.status == "completed"
    assert handler.entries.count("on_end") == 1
    assert how == "generator" or body.closed


def test_the_hooks_of_a_message_come_in_the_documented_order() -> None:
    handler = Diary().follow(recorded("function_call", 1))
    assert merged(handler.entries, "on_event") == [
        "on_run_step_created",
        "on_message_created",
        "on_text_created",
        *["on_text_delta", "on_message_delta", "on_run_step_delta"] * 14,
        "on_text_done",
        "on_message_done",
        "on_run_step_done",
        "on_end",
    ]
    # on_event comes before every other hook of its event.
    assert handler.entries[0] == "on_event"
    assert [text.value for text in handler.seen["on_text_done"]] == ["1231 × 2331 = **2,869,461**"]
    assert handler.get_final_messages()[0].content[0].text == "1231 × 2331 = **2,869,461**"  # type: ignore[union-attr]


def test_the_snapshot_of_a_text_holds_everything_so_far() -> None:
    handler = Diary().follow(recorded("background_resume"))
    assert handler.values == [
        "2",
        "2 +",
        "2 + ",
        "2 + 2",
        "2 + 2 equals",
        "2 + 2 equals ",
        "2 + 2 equals 4",
        "2 + 2 equals 4.",
    ]


def test_a_message_snapshot_grows_and_the_event_stays_as_it_came() -> None:
    class Reader(EventHandler):
        def __init__(self) -> None:
            super().__init__()
            self.snapshots: list[str] = []
            self.added: Any = None

        def on_event(self, event: Any) -> None:
            if event.type == "response.output_item.added":
                self.added = event.item

        def on_message_delta(self, delta: Any, snapshot: Any) -> None:
            self.snapshots.append(snapshot.content[0].text)

    handler = Reader().follow(recorded("background_resume"))
    assert handler.snapshots[-1] == "2 + 2 equals 4."
    assert handler.added.content == []


def test_a_search_and_its_citation() -> None:
    handler = Diary().follow(recorded("file_search"))
    assert merged(handler.entries, "on_event", "on_message_delta", "on_run_step_delta") == [
        "on_run_step_created",
        "on_tool_call_created",
        "on_tool_call_done",
        "on_run_step_done",
        "on_run_step_created",
        "on_message_created",
        "on_text_created",
        "on_text_delta",
        "on_citation",
        "on_text_delta",
        "on_text_done",
        "on_message_done",
        "on_run_step_done",
        "on_end",
    ]
    (call,) = handler.seen["on_tool_call_done"]
    assert (call.type, call.queries) == ("file_search_call", ["What is the capital of France?"])
    (citation,) = handler.seen["on_citation"]
    assert (citation.type, citation.filename) == ("file_citation", "tmp8l5_2pzy.txt")
    assert handler.citations == [citation]
    assert handler.seen["on_text_done"][0].annotations == [citation]
    assert [delta.annotations for delta in handler.seen["on_text_delta"] if delta.annotations] == [[citation]]


def test_code_arrives_piece_by_piece_then_its_image() -> None:
    handler = Diary().follow(recorded("code_interpreter_image"))
    (call,) = handler.seen["on_tool_call_done"]
    pieces = handler.seen["on_tool_call_delta"]
    assert len(pieces) > 200
    assert "".join(piece.value for piece in pieces) == call.code
    assert {(piece.type, piece.item_id) for piece in pieces} == {("code_interpreter_call", call.id)}
    assert handler.values[1].startswith(handler.values[0])
    assert call.code in handler.values
    (image,) = handler.seen["on_image_file_done"]
    assert image.url.startswith("data:image/png;base64,")
    assert handler.entries.index("on_tool_call_done") < handler.entries.index("on_image_file_done")
    assert [citation.filename for citation in handler.citations][-1] == "y_eq_x_squared_plot.png"
    # The event that announced the call is still as it came: a trace may have kept it.
    added = [event for event in handler.seen["on_event"] if event.type == "response.output_item.added"]
    assert added[1].item.code == ""


def test_function_calls_ask_for_action_when_the_response_is_complete() -> None:
    handler = Diary().follow(recorded("function_call"))
    assert handler.entries[-2:] == ["on_requires_action", "on_end"]
    (calls,) = handler.seen["on_requires_action"]
    assert [(call.name, call.arguments) for call in calls] == [("multiply", '{"a":1231,"b":2331}')]
    assert handler.calls == calls
    assert handler.values[-1] == '{"a":1231,"b":2331}'


def test_a_run_of_two_responses_has_one_end() -> None:
    handler = Diary()
    with handler.running():
        for _ in handler.iterate(recorded("function_call", 0)):
            pass
        assert len(handler.calls) == 1
        for _ in handler.iterate(recorded("function_call", 1)):
            pass
        assert handler.calls == []
        assert "on_end" not in handler.entries
    assert handler.entries.count("on_end") == 1
    assert handler.text == "1231 × 2331 = **2,869,461**"


def test_the_texts_of_two_responses_are_kept_even_with_the_same_ids() -> None:
    events = recorded("background_resume")
    handler = Diary()
    with handler.running():
        for number in ("one", "two"):
            response = {**events[-1]["response"], "id": f"resp_{number}"}
            renamed = [
                {**event, "response": {**response, "status": event["response"]["status"]}}
                if "response" in event
                else event
                for event in events
            ]
            list(handler.iterate(renamed))
    assert handler.text == "2 + 2 equals 4.\n\n2 + 2 equals 4."


def test_a_handler_can_be_used_again() -> None:
    handler = Diary()
    handler.follow(recorded("function_call", 1))
    handler.follow(recorded("background_resume"))
    assert handler.text == "2 + 2 equals 4."
    assert handler.entries.count("on_end") == 2


def test_a_handler_in_the_middle_of_a_run_refuses_another() -> None:
    handler = Diary()
    events = handler.iterate(recorded("background_resume"))
    next(events)
    with pytest.raises(WorkshopError, match="middle of a run"):
        handler.follow(recorded("function_call", 1))
    with pytest.raises(WorkshopError, match="still being read"):
        handler.get_final_run()
    events.close()  # type: ignore[attr-defined]
    assert handler.status == "interrupted"
    assert handler.follow(recorded("background_resume")).status == "completed"


def test_a_stream_that_was_cut_goes_on_where_it_stopped() -> None:
    first, rest = recorded("background_resume", 0), recorded("background_resume", 1)
    handler = Diary()
    with handler.running():
        with contextlib.suppress(StreamInterrupted):
            list(handler.iterate(first[:9]))
        assert handler.text == "2 + 2"
        # This server sends everything after number 0 again.
        events = list(handler.iterate(rest))
    assert events[0].sequence_number == 9
    assert handler.text == "2 + 2 equals 4."
    assert handler.status == "completed"
    assert handler.entries.count("on_text_created") == 1
    assert "".join(handler.text_deltas) == "2 + 2 equals 4."


@pytest.mark.parametrize("start", range(17))
def test_a_stream_that_is_joined_late_still_gives_the_whole_text(start: int) -> None:
    handler = Diary().follow(recorded("background_resume")[start:])
    assert handler.text == "2 + 2 equals 4."
    assert handler.seen["on_text_done"][0].value == "2 + 2 equals 4."
    assert len(handler.get_final_messages()) == 1


# -- what goes wrong --------------------------------------------------------------------------------------------------


def reachable(error: BaseException) -> str:
    """Return everything that hangs on an exception, as text."""
    found: list[str] = []
    waiting: list[Any] = [error]
    seen: set[int] = set()
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or thing is None:
            continue
        seen.add(id(thing))
        found.append(repr(thing))
        if isinstance(thing, BaseException):
            waiting += [thing.__cause__, thing.__context__, thing.args, *getattr(thing, "__notes__", [])]
        if isinstance(thing, httpx2.Request):
            found.append(repr(thing.headers.raw))
        if isinstance(thing, dict):
            waiting += thing.values()
        elif isinstance(thing, (list, tuple, set)):
            waiting += thing
        elif hasattr(thing, "__dict__"):
            waiting.append(vars(thing))
    return "\n".join(found)


def test_the_search_for_the_key_would_find_it() -> None:
    client = client_for(Body([]))
    request = client._client.build_request(
        "GET", "https://api.invalid", headers={"Authorization": f"Bearer {KEY}"}
    )
    error = RunFailed("x")
    error.__context__ = openai.APIConnectionError(request=request)
    assert KEY in reachable(error)


CUTS = [
    ("silent", None),
    ("lost", httpx2.ReadError("connection reset by peer")),
    ("timeout", httpx2.ReadTimeout("timed out")),
]


@pytest.mark.parametrize(("kind", "error"), CUTS)
@pytest.mark.parametrize("how", ["create", "stream", "async"])
def test_a_cut_at_any_event_loses_nothing(kind: str, error: Exception | None, how: str) -> None:
    events = recorded("file_search")
    for end in range(len(events)):
        body = Body(events[:end], error)
        handler = Diary()

        def follow(body: Body = body, handler: Diary = handler) -> None:
            if how == "async":

                async def follow_async() -> None:
                    client = async_client_for(body)
                    await handler.follow(client.responses.create(model="m", input="x", stream=True))

                asyncio.run(follow_async())
                return
            client = client_for(body)
            if how == "create":
                handler.follow(client.responses.create(model="m", input="x", stream=True))
            else:
                handler.follow(client.responses.stream(model="m", input="x"))

        with pytest.raises(StreamInterrupted) as caught:
            follow()
        assert handler.text == caught.value.partial_text == sent_text(events[:end])
        assert caught.value.response_id == (events[0]["response"]["id"] if end else None)
        assert handler.status == "interrupted"
        expected = ["on_timeout"] if kind == "timeout" else []
        assert handler.entries[-2 - len(expected) :] == [*expected, "on_exception", "on_end"]
        assert handler.seen["on_exception"] == [caught.value]
        assert "interrupted · the answer is not complete" in handler.shown
        assert body.closed
        assert KEY not in reachable(caught.value)
        assert caught.value.__context__ is None
        assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(("name", "number"), ALL_STREAMS)
def test_an_event_that_is_sent_twice_is_told_once(name: str, number: int) -> None:
    events = recorded(name, number)
    once = Diary().follow(events)
    twice = Diary().follow([each for event in events for each in (event, event)])
    # Something on the way that sends all that it has kept once more, at each place.
    again = Diary().follow(
        [each for place in range(len(events)) for each in (*events[: place + 1], *events[:place])]
    )
    assert twice.entries == again.entries == once.entries
    assert twice.text == again.text == once.text


@pytest.mark.parametrize("numbers", ["all the same", "none", "from 0 for each item"])
def test_a_server_that_does_not_count_its_events_is_read_all_the_same(numbers: str) -> None:
    events = [dict(event) for event in recorded("background_resume")]
    number = 0
    for event in events:
        number = 0 if event["type"] == "response.output_item.added" else number + 1
        event["sequence_number"] = {"all the same": -1, "none": None}.get(numbers, number)
    handler = Diary().follow(events)
    assert handler.text == "2 + 2 equals 4."
    assert handler.status == "completed"


@pytest.mark.parametrize("garbage", [b"\xff\xfe\n\n", b'data: {"type": "response.\n\n', b"data: <html>\n\n"])
def test_garbage_in_a_stream_is_one_sentence_without_our_insides(garbage: bytes) -> None:
    class Damaged(Body):
        def __iter__(self) -> Iterator[bytes]:
            yield from map(frame, self.events)
            yield garbage

    body = Damaged(recorded("background_resume")[:9])
    handler = Diary()
    with pytest.raises(StreamInterrupted, match="damaged on the way") as caught:
        handler.follow(client_for(body).responses.create(model="m", input="x", stream=True))
    assert caught.value.partial_text == handler.text == "2 + 2"
    assert caught.value.can_retry
    assert "Error" not in str(caught.value)


def test_a_cut_after_the_last_event_does_not_matter() -> None:
    events = recorded("file_search")
    handler = Diary().follow(
        client_for(Body(events, httpx2.ReadError("reset"))).responses.create(
            model="m", input="x", stream=True
        )
    )
    assert handler.status == "completed"
    assert handler.text == final_text(events)


FLAT = {"type": "error", "code": "server_error", "message": "Oops", "param": None, "sequence_number": 13}
NESTED = {
    "type": "error",
    "error": {"type": "server_error", "code": "server_error", "message": "Oops", "param": None},
    "sequence_number": 13,
}


def failed(events: list[dict[str, Any]]) -> dict[str, Any]:
    response = {
        **events[0]["response"],
        "status": "failed",
        "error": {"code": "server_error", "message": "Oops"},
    }
    return {"type": "response.failed", "response": response, "sequence_number": 13}


@pytest.mark.parametrize("shape", ["flat", "nested", "failed", "nested, then failed"])
@pytest.mark.parametrize("how", ["dicts", "create", "stream", "async"])
def test_every_shape_of_error_becomes_the_same_exception(shape: str, how: str) -> None:
    events = recorded("file_search")
    endings = {
        "flat": [FLAT],
        "nested": [NESTED],
        "failed": [failed(events)],
        "nested, then failed": [NESTED, failed(events)],
    }
    broken = [*events[:12], *endings[shape]]
    body = Body(broken)
    handler = Diary()

    def follow() -> None:
        if how == "dicts":
            handler.follow(broken)
        elif how == "create":
            handler.follow(client_for(body).responses.create(model="m", input="x", stream=True))
        elif how == "stream":
            handler.follow(client_for(body).responses.stream(model="m", input="x"))
        else:

            async def follow_async() -> None:
                await handler.follow(
                    async_client_for(body).responses.create(model="m", input="x", stream=True)
                )

            asyncio.run(follow_async())

    with pytest.raises(RunFailed) as caught:
        follow()
    error = caught.value
    assert type(error) is RunFailed
    assert str(error) == "OpenAI had a problem of its own in the middle of the answer. Run the cell again."
    assert error.code == "server_error"
    assert error.partial_text == handler.text == sent_text(events[:12]) != ""
    assert error.response_id == events[0]["response"]["id"]
    assert handler.status == "failed"
    assert handler.entries[-2:] == ["on_exception", "on_end"]
    assert "failed · the run ended with an error (server_error)" in handler.shown
    assert KEY not in reachable(error)
    assert how == "dicts" or body.closed


def test_an_error_without_a_code_still_says_something() -> None:
    nested = {"type": "error", "error": {"code": None, "message": "The model is tired"}}
    with pytest.raises(RunFailed, match=r"The API stopped the answer: The model is tired\."):
        Diary().follow([nested])
    with pytest.raises(RunFailed, match="gave no reason"):
        Diary().follow([{"type": "response.failed", "response": {"status": "failed"}}])


def test_a_stream_that_cannot_be_opened_becomes_one_sentence_without_the_key() -> None:
    def respond(request: httpx2.Request) -> httpx2.Response:
        body = {"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}}
        return httpx2.Response(401, json=body)

    client = openai.OpenAI(api_key=KEY, http_client=httpx2.Client(transport=httpx2.MockTransport(respond)))
    handler = Diary()
    with pytest.raises(RunFailed) as caught:
        handler.follow(client.responses.stream(model="m", input="x"))
    assert "does not accept this key" in str(caught.value)
    assert caught.value.code == "invalid_api_key"
    assert KEY not in reachable(caught.value)
    assert handler.entries == ["on_exception", "on_end"]
    assert handler.status == "failed"


def test_no_connection_at_all_is_one_sentence() -> None:
    def respond(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("no route to host")

    http_client = httpx2.Client(transport=httpx2.MockTransport(respond))
    client = openai.OpenAI(api_key=KEY, http_client=http_client, max_retries=0)
    with pytest.raises(StreamInterrupted, match="There is no connection to OpenAI") as caught:
        Diary().follow(client.responses.stream(model="m", input="x"))
    assert KEY not in reachable(caught.value)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("max_output_tokens", "limit of output tokens"),
        ("content_filter", "content filter"),
        ("moonrise", "moonrise"),
    ],
)
def test_an_incomplete_response_is_a_result_and_says_so(reason: str, words: str) -> None:
    events = recorded("file_search")
    response = {**events[0]["response"], "status": "incomplete", "incomplete_details": {"reason": reason}}
    handler = Diary().follow([*events[:12], {"type": "response.incomplete", "response": response}])
    assert handler.status == "incomplete"
    assert handler.incomplete_reason == reason
    assert handler.text == sent_text(events[:12])
    assert handler.entries[-1] == "on_end"
    assert "on_exception" not in handler.entries
    assert "incomplete · the answer ends early: " in handler.shown
    assert words in handler.shown


def test_an_incomplete_response_never_asks_for_a_half_written_function_call() -> None:
    events = recorded("function_call")
    response = {
        **events[-1]["response"],
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
    }
    handler = Diary().follow([*events[:8], {"type": "response.incomplete", "response": response}])
    assert handler.calls == []
    assert "on_requires_action" not in handler.entries


def test_a_cancelled_response_is_a_result() -> None:
    events = recorded("background_resume")
    response = {**events[0]["response"], "status": "cancelled"}
    handler = Diary().follow([*events[:8], {"type": "response.cancelled", "response": response}])
    assert handler.status == "cancelled"
    assert handler.text == "2 + "
    assert "cancelled · the answer is not complete" in handler.shown


def test_a_refusal_is_text_and_is_known_as_one() -> None:
    handler = Diary().follow(
        [
            {"type": "response.output_item.added", "item": {"type": "message", "id": "m", "content": []}},
            {
                "type": "response.content_part.added",
                "item_id": "m",
                "part": {"type": "refusal", "refusal": ""},
            },
            {"type": "response.refusal.delta", "item_id": "m", "delta": "I can"},
            {"type": "response.refusal.delta", "item_id": "m", "delta": "not."},
            {"type": "response.refusal.done", "item_id": "m", "refusal": "I cannot."},
            {"type": "response.completed", "response": {"status": "completed"}},
        ]
    )
    assert handler.text == handler.refusal == "I cannot."
    assert handler.seen["on_text_done"][0].type == "refusal"


def test_reasoning_is_no_part_of_the_text() -> None:
    handler = Diary().follow(
        [
            {"type": "response.output_item.added", "item": {"type": "reasoning", "id": "r", "summary": []}},
            {
                "type": "response.reasoning_summary_text.delta",
                "item_id": "r",
                "summary_index": 0,
                "delta": "Hm",
            },
            {
                "type": "response.reasoning_summary_text.delta",
                "item_id": "r",
                "summary_index": 0,
                "delta": "m.",
            },
            {"type": "response.completed", "response": {"status": "completed"}},
        ]
    )
    assert handler.text == ""
    assert [delta.value for delta, _ in handler.seen["on_reasoning_delta"]] == ["Hm", "m."]
    assert handler.seen["on_reasoning_delta"][-1][1].value == "Hmm."


STRANGE: list[Any] = [
    {"type": "response.telepathy.delta", "item_id": "x", "delta": "?"},
    {
        "type": "response.output_item.added",
        "output_index": 7,
        "item": {"type": "telepathy_call", "id": "t", "aim": {}},
    },
    {"type": "response.telepathy_call.delta", "item_id": "t", "delta": "psst"},
    {"type": "response.output_item.done", "output_index": 7, "item": {"type": "telepathy_call", "id": "t"}},
    {"type": "response.output_item.added", "item": {"type": "hologram", "id": "h"}},
    {"type": "response.output_item.added", "item": None},
    {"type": "response.output_item.done"},
    {"type": "response.output_text.delta"},
    {"type": "response.output_text.delta", "delta": None, "item_id": "m"},
    {
        "type": "response.output_text.annotation.added",
        "item_id": "m",
        "annotation": {"type": "tea_leaf", "cup": 3},
    },
    {"type": "response.output_text.annotation.added", "item_id": "m"},
    {"type": "response.content_part.added"},
    {"type": "response.content_part.done", "part": {"type": "smell"}},
    {"type": "response.function_call_arguments.delta", "item_id": "nobody", "delta": "{"},
    {"type": "response.in_progress"},
    {"type": "response.created", "response": None},
    {"type": None},
    {"type": 7},
    {},
    object(),
    None,
]


def test_what_nobody_knows_passes_through() -> None:
    handler = Diary().follow([*STRANGE, {"type": "response.completed", "response": {"status": "completed"}}])
    assert len(handler.seen["on_event"]) == len(STRANGE) + 1
    assert handler.status == "completed"
    (call,) = handler.seen["on_tool_call_created"]
    assert call.type == "telepathy_call"
    assert [(delta.type, delta.value) for delta in handler.seen["on_tool_call_delta"]] == [
        ("telepathy_call", "psst")
    ]
    assert handler.seen["on_citation"][0].type == "tea_leaf"
    assert len(handler.seen["on_run_step_created"]) == 2


@pytest.mark.parametrize(
    "strange", [event for event in STRANGE if isinstance(event, dict) and isinstance(event.get("type"), str)]
)
def test_each_strange_event_over_the_sdk_and_between_known_ones(strange: dict[str, Any]) -> None:
    events = recorded("file_search")
    body = Body([*events[:10], strange, *events[10:]])
    handler = Diary().follow(client_for(body).responses.create(model="m", input="x", stream=True))
    assert handler.text.endswith(final_text(events))
    assert handler.status == "completed"


class Trouble(Exception):
    """What a learner's hook raises."""


def hooks_of(name: str) -> list[str]:
    called = set(Diary().follow(recorded(name)).entries)
    return sorted(called - {"on_end"})


@pytest.mark.parametrize("exception", [Trouble, KeyboardInterrupt])
@pytest.mark.parametrize("hook", [*hooks_of("code_interpreter_image"), "on_requires_action"])
@pytest.mark.parametrize("how", ["sync", "async"])
def test_what_a_hook_raises_goes_on_unchanged(exception: type[BaseException], hook: str, how: str) -> None:
    raised = exception("mine")

    def explode(self: Any, *arguments: Any) -> None:
        raise raised

    exploding = type("Exploding", (Diary,), {hook: explode})()
    body = Body(recorded("function_call" if hook == "on_requires_action" else "code_interpreter_image"))

    def follow() -> None:
        if how == "sync":
            exploding.follow(client_for(body).responses.create(model="m", input="x", stream=True))
            return

        async def follow_async() -> None:
            await exploding.follow(async_client_for(body).responses.create(model="m", input="x", stream=True))

        asyncio.run(follow_async())

    with pytest.raises(exception) as caught:
        follow()
    assert caught.value is raised
    assert body.closed
    assert exploding.entries[-1] == "on_end"
    assert ("on_exception" in exploding.entries) == (exception is Trouble)
    assert exploding.status == ("completed" if hook == "on_requires_action" else "interrupted")
    # And the handler works again, for instance after the learner mended the hook.
    assert not exploding._progress.active


def test_leaving_the_loop_early_closes_the_stream_and_ends_the_run() -> None:
    body = Body(recorded("file_search"))
    handler = Diary()
    for event in handler.iterate(client_for(body).responses.create(model="m", input="x", stream=True)):
        if event.type == "response.output_text.delta":
            break
    assert body.closed
    assert handler.text == "The"
    assert handler.entries[-1] == "on_end"
    assert "on_exception" not in handler.entries
    assert handler.status == "interrupted"


def test_cancelling_the_task_closes_the_stream_and_ends_the_run() -> None:
    async def endless() -> AsyncIterator[Any]:
        try:
            for event in recorded("file_search")[:12]:
                yield event
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    closed: list[bool] = []
    handler = Diary()

    async def main() -> None:
        task = asyncio.create_task(handler.follow(endless()))
        while "on_text_delta" not in handler.entries:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert closed == [True]
    assert handler.status == "interrupted"
    assert handler.entries[-1] == "on_end"
    assert "on_exception" not in handler.entries


def test_an_exception_between_two_responses_reaches_the_hooks() -> None:
    handler = Diary()

    def call_the_function() -> None:
        with handler.running():
            list(handler.iterate(recorded("function_call")))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call_the_function()
    assert handler.entries[-2:] == ["on_exception", "on_end"]


@pytest.mark.parametrize(
    "thing", [openai.types.responses.Response.construct(id="resp_1"), {"id": "resp_1"}, "text", None, 7]
)
def test_what_is_no_stream_is_refused_with_advice(thing: Any) -> None:
    with pytest.raises(ConfigurationError, match="stream=True"):
        Diary().follow(thing)


def test_an_awaited_response_that_is_no_stream_is_refused_too() -> None:
    async def ask() -> Any:
        return openai.types.responses.Response.construct(id="resp_1")

    async def follow() -> None:
        await Diary().follow(ask())

    with pytest.raises(ConfigurationError, match="stream=True"):
        asyncio.run(follow())


def test_a_context_manager_is_left_again() -> None:
    left: list[str] = []

    @contextlib.contextmanager
    def lent() -> Iterator[list[dict[str, Any]]]:
        yield recorded("background_resume")
        left.append("yes")

    assert Diary().follow(lent()).text == "2 + 2 equals 4."
    assert left == ["yes"]


def test_an_async_hook_is_refused_where_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match="Write `def on_text_delta"):

        class Waiting(EventHandler):
            async def on_text_delta(self, delta: Any, snapshot: Any) -> None:  # type: ignore[override]
                pass


def test_a_handler_whose_init_forgets_the_base_works() -> None:
    class Counter(TextHandler):
        def __init__(self) -> None:
            self.pieces = 0

        def on_text_delta(self, delta: Any, snapshot: Any) -> None:
            self.pieces += 1

    assert Counter().follow(recorded("background_resume")).pieces == 8


def test_handlers_combine() -> None:
    class Shouting(TextHandler):
        def on_text_done(self, text: Any) -> None:
            super().on_text_done(text)
            heard.append(text.value.upper())

    class Counting(TextHandler):
        def __init__(self, *, unit: str, **more: Any) -> None:
            super().__init__(**more)
            self.unit = unit
            self.count = 0

        def on_text_delta(self, delta: Any, snapshot: Any) -> None:
            super().on_text_delta(delta, snapshot)
            self.count += 1

    class Both(Shouting, Counting):
        pass

    heard: list[str] = []
    out = io.StringIO()
    both = Both(unit="pieces", renderer=LinesRenderer(out)).follow(recorded("background_resume"))
    assert heard == ["2 + 2 EQUALS 4."]
    assert both.count == 8
    assert out.getvalue() == "2 + 2 equals 4.\n"  # shown once, though both show it


def test_failures_are_built_alike_from_any_source() -> None:
    assert failure_from({"code": "server_error", "message": "x"}, partial_text="ab").partial_text == "ab"
    assert type(failure_from(ConnectionResetError("reset"))) is StreamInterrupted
    assert "time limit" in str(failure_from(TimeoutError(), partial_text="ab"))
    assert str(failure_from(ValueError(f"bad {KEY}"))) == "ValueError: bad [key]"


# -- what a learner sees ----------------------------------------------------------------------------------------------


def marked(**metadata: str) -> list[dict[str, Any]]:
    return [
        {**event, "response": {**event["response"], "metadata": metadata}} if "response" in event else event
        for event in recorded("background_resume")
    ]


@pytest.mark.parametrize(
    ("metadata", "shown"),
    [
        ({}, ""),
        ({"assistant": "Poet"}, ""),
        (
            {"workshop_source": "authored"},
            "recorded · written by hand for this workshop (authored), not an OpenAI answer\n",
        ),
        (
            {"workshop_source": "captured", "workshop_captured": "gpt-6-luna, 2026-11-20"},
            "recorded · an earlier answer of a real model (gpt-6-luna, 2026-11-20)\n",
        ),
        (
            {"workshop_source": "offline helper", "workshop_note": "This question is not in the recording."},
            "offline helper · not a model\nThis question is not in the recording.\n",
        ),
    ],
)
def test_where_an_answer_came_from_stands_below_it(metadata: dict[str, str], shown: str) -> None:
    out = io.StringIO()
    handler = TextHandler(renderer=LinesRenderer(out)).follow(marked(**metadata))
    assert out.getvalue() == "2 + 2 equals 4.\n" + shown
    assert handler.text == "2 + 2 equals 4."
    assert handler.footer + "\n" * bool(shown) == shown


def test_the_footer_of_a_handler_that_prints_by_itself_has_its_own_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Shout(EventHandler):
        def on_text_delta(self, delta: Any, snapshot: Any) -> None:
            print(delta.value.upper(), end="")

    Shout().follow(marked(workshop_source="offline helper"))
    assert capsys.readouterr().out == "2 + 2 EQUALS 4.\noffline helper · not a model\n"


def test_each_mark_of_a_run_is_shown_once() -> None:
    handler = Diary()
    with handler.running():
        list(handler.iterate(marked(workshop_source="authored")))
        list(handler.iterate(marked(workshop_source="authored")))
        list(handler.iterate(marked(workshop_source="offline helper")))
    assert handler.shown.count("recorded ·") == 1
    assert handler.shown.count("offline helper ·") == 1


def test_what_arrived_before_a_cut_is_shown() -> None:
    out = io.StringIO()
    with pytest.raises(StreamInterrupted):
        TextHandler(renderer=LinesRenderer(out)).follow(recorded("background_resume")[:9])
    assert out.getvalue() == "2 + 2\ninterrupted · the answer is not complete\n"


# -- anything that can happen -----------------------------------------------------------------------------------------


def split_at(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(edges)]


def stream_of(texts: list[list[str]]) -> list[dict[str, Any]]:
    """Return the events of a response with one message for each list of pieces."""
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {"id": "resp_1", "output": []}}]
    output = []
    for number, pieces in enumerate(texts):
        place = {"item_id": f"msg_{number}", "output_index": number, "content_index": 0}
        part = {"type": "output_text", "text": "".join(pieces), "annotations": []}
        message = {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed"}
        output.append({**message, "content": [part]})
        events += [
            {
                "type": "response.output_item.added",
                "output_index": number,
                "item": {**message, "content": []},
            },
            {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
            *({"type": "response.output_text.delta", **place, "delta": piece} for piece in pieces),
            {"type": "response.output_text.done", **place, "text": part["text"]},
            {"type": "response.content_part.done", **place, "part": part},
            {"type": "response.output_item.done", "output_index": number, "item": output[-1]},
        ]
    completed = {"id": "resp_1", "status": "completed", "output": output}
    return [*events, {"type": "response.completed", "response": completed}]


messages = st.lists(
    st.tuples(st.text(max_size=60), st.lists(st.integers(0, 10_000), max_size=8)).map(
        lambda pair: split_at(*pair)
    ),
    max_size=3,
)


@settings(deadline=None, max_examples=60)
@given(messages, st.integers(0, 10_000))
def test_any_split_and_any_cut_keep_the_text(texts: list[list[str]], cut: int) -> None:
    events = stream_of(texts)
    out = io.StringIO()
    handler = TextHandler(renderer=LinesRenderer(out, live=False)).follow(events)
    whole = ["".join(pieces) for pieces in texts]
    assert handler.text == "\n\n".join(text for text in whole if text)
    assert "".join(handler.text_deltas) == "".join(whole)

    end = cut % len(events)
    broken = Diary()
    with pytest.raises(StreamInterrupted) as caught:
        broken.follow(events[:end])
    assert "".join(broken.text_deltas) == sent_text(events[:end])
    assert caught.value.partial_text == broken.text
    assert broken.text.replace("\n\n", "") == sent_text(events[:end]).replace("\n\n", "")
    assert broken.entries.count("on_end") == 1


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=80), st.lists(st.integers(0, 10_000), max_size=12))
def test_the_output_in_lines_does_not_depend_on_the_split(text: str, places: list[int]) -> None:
    def shown(pieces: list[str]) -> str:
        out = io.StringIO()
        TextHandler(renderer=LinesRenderer(out, live=False)).follow(stream_of([pieces]))
        return out.getvalue()

    assert shown(split_at(text, places)) == shown([text])


def test_an_answer_that_is_json_is_shown_as_a_block_of_code_and_stays_what_it_is():
    shown = {}
    screen = MarkdownRenderer(lambda bundle, display_id, update: shown.update({display_id: bundle}))
    answer = '{"releases": [{"source": "https://openai.com/a"}]}'
    handler = TextHandler(renderer=screen)
    handler.follow(response(message(answer)))
    (bundle,) = shown.values()
    assert bundle["text/markdown"] == f"```json\n{answer}\n```"
    assert handler.text == answer
    assert (
        TextHandler(renderer=screen).follow(response(message("[1] is a citation"))).text
        == "[1] is a citation"
    )
    assert "```" not in list(shown.values())[-1]["text/markdown"]
