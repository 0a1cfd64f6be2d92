"""Anything that a stream can hold, through every handler: nothing of ours breaks, and the text is what was sent.

Here streams are made up: legal orders with whatever texts, citations and results, unknown events and fields among them,
parts left out as some servers do, repeats, and cuts. The faults of an API are in ``test_faults.py``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import (
    CodeInterpreterHandler,
    EventHandler,
    FileSearchHandler,
    FunctionCallingHandler,
    RunFailed,
    StreamInterrupted,
    TextHandler,
    ToolboxHandler,
)
from helpers.functions import FunctionResult
from helpers.rendering import LinesRenderer, MarkdownRenderer, Renderer, plain_text
from helpers.run import Run

Event = dict[str, Any]

HANDLERS = [
    EventHandler,
    TextHandler,
    FileSearchHandler,
    CodeInterpreterHandler,
    FunctionCallingHandler,
    ToolboxHandler,
]
RENDERERS = ["lines", "live lines", "markdown"]


class Screen:
    """A place to show things: what is on it afterwards can be looked at."""

    def __init__(self, kind: str) -> None:
        self.out = io.StringIO()
        self.displays: dict[str, dict[str, str]] = {}
        self._now_s = 0.0
        self.renderer: Renderer = (
            MarkdownRenderer(publish=self._publish, clock=self._clock)
            if kind == "markdown"
            else LinesRenderer(self.out, live=kind == "live lines")
        )

    def _publish(self, bundle: Any, display_id: str, update: bool) -> None:
        assert update == (display_id in self.displays)
        self.displays[display_id] = dict(bundle)

    def _clock(self) -> float:
        self._now_s += 0.05
        return self._now_s

    @property
    def shown(self) -> list[str]:
        """What is shown, as plain text: one piece for each display, or all lines."""
        if self.displays:
            return [bundle.get("text/plain", "") for bundle in self.displays.values()]
        return [self.out.getvalue()]


class Noting:
    """Mixed into a handler: keeps the pieces of each text."""

    pieces: dict[int, list[str]]
    ends: int

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.pieces, self.ends = {}, 0

    def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        super().on_text_delta(delta, snapshot)  # type: ignore[misc]
        self.pieces.setdefault(id(snapshot), []).append(delta.value)

    def on_text_restarted(self, text: Any) -> None:
        super().on_text_restarted(text)  # type: ignore[misc]
        self.pieces[id(text)] = []

    def on_end(self) -> None:
        super().on_end()  # type: ignore[misc]
        self.ends += 1


def noting(kind: type[EventHandler], screen: Screen) -> Any:
    return type(f"Noting{kind.__name__}", (Noting, kind), {})(renderer=screen.renderer)


# -- what a stream holds ----------------------------------------------------------------------------------------------

ODD_TEXTS = [
    "<script>alert(1)</script>",
    "```python\nwhile True: pass",
    "| a | b |\n|---|---|\n| 1 | 2",
    "[link](javascript:alert(1)) ![x](https://e.invalid/?q=1)",
    "\x1b[31mred\x1b[0m \r\n\x00\u2028\u202e",
    "👩‍👩‍👧 né́ العربية 𝔘𝔫𝔦",
    "$$x^2$$ \\begin{a} `` ` ``` ~~~",
    "\n\n\n   \n",
]
texts = st.text(max_size=40) | st.sampled_from(ODD_TEXTS)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
places = st.integers(-3, 60) | st.none()


def either(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What is usual in a field, mostly; and now and then anything."""
    return st.one_of(usual, usual, usual, json_values)


annotations = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("file_citation"),
            "file_id": st.sampled_from(["file-1", "file-2", ""]),
            "filename": either(texts),
            "index": either(places),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("container_file_citation"),
            "container_id": either(st.just("cntr_1")),
            "file_id": either(st.just("cfile_1")),
            "filename": either(texts),
            "start_index": either(places),
            "end_index": either(places),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("url_citation"),
            "url": either(st.just("https://e.invalid/")),
            "title": either(texts),
            "start_index": either(places),
            "end_index": either(places),
        }
    ),
    st.fixed_dictionaries({"type": either(st.just("dream"))}),
)


@st.composite
def messages(draw: Any, place: int) -> tuple[list[Event], Event]:
    """The events of a message, and the message."""
    item = {
        "type": "message",
        "id": f"msg_{place}",
        "role": "assistant",
        "status": "completed",
        "content": [],
    }
    events: list[Event] = [{"type": "response.output_item.added", "output_index": place, "item": item}]
    content = []
    for index in range(draw(st.integers(1, 2))):
        about = {"item_id": item["id"], "output_index": place, "content_index": index}
        is_refusal = draw(st.sampled_from([False, False, False, True]))
        kind, name = ("refusal", "refusal") if is_refusal else ("output_text", "text")
        pieces = draw(st.lists(texts, max_size=6))
        cited = [] if is_refusal else draw(st.lists(annotations, max_size=3))
        part = {"type": kind, name: "", **({} if is_refusal else {"annotations": []})}
        whole = {**part, name: "".join(pieces), **({} if is_refusal else {"annotations": cited})}
        inside = [
            {"type": f"response.{kind}.delta", **about, "delta": piece, "logprobs": []} for piece in pieces
        ]
        end = 0
        for number, each in enumerate(cited):
            end = draw(st.integers(end, len(inside)))
            told = {
                "type": "response.output_text.annotation.added",
                **about,
                "annotation_index": number,
                "annotation": each,
            }
            inside.insert(end, told)
            end += 1
        events += [
            {"type": "response.content_part.added", **about, "part": part},
            *inside,
            {"type": f"response.{kind}.done", **about, name: whole[name]},
            {"type": "response.content_part.done", **about, "part": whole},
        ]
        content.append(whole)
    done = {**item, "content": content}
    return [*events, {"type": "response.output_item.done", "output_index": place, "item": done}], done


@st.composite
def searches(draw: Any, place: int) -> tuple[list[Event], Event]:
    result = st.fixed_dictionaries(
        {
            "file_id": either(st.sampled_from(["file-1", "file-2"])),
            "filename": either(texts),
            "score": either(st.floats(0, 1)),
            "text": either(texts),
        }
    )
    item = {"type": "file_search_call", "id": f"fs_{place}", "status": "in_progress", "queries": []}
    about = {"item_id": item["id"], "output_index": place}
    done = {
        **item,
        "status": draw(either(st.sampled_from(["completed", "failed", "incomplete"]))),
        "queries": draw(either(st.lists(texts, max_size=2))),
        "results": draw(either(st.none() | st.lists(result, max_size=7))),
    }
    return [
        {"type": "response.output_item.added", "output_index": place, "item": item},
        {"type": "response.file_search_call.in_progress", **about},
        {"type": "response.file_search_call.searching", **about},
        {"type": "response.file_search_call.completed", **about},
        {"type": "response.output_item.done", "output_index": place, "item": done},
    ], done


PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="


@st.composite
def codes(draw: Any, place: int) -> tuple[list[Event], Event]:
    output = st.one_of(
        st.fixed_dictionaries({"type": st.just("logs"), "logs": either(texts)}),
        st.fixed_dictionaries(
            {"type": st.just("image"), "url": either(st.sampled_from([PNG, "data:x", ""]))}
        ),
        json_values,
    )
    item = {
        "type": "code_interpreter_call",
        "id": f"ci_{place}",
        "status": "in_progress",
        "code": "",
        "container_id": draw(either(st.just("cntr_1"))),
        "outputs": [],
    }
    about = {"item_id": item["id"], "output_index": place}
    pieces = draw(st.lists(texts, max_size=4))
    done = {
        **item,
        "status": draw(either(st.sampled_from(["completed", "failed", "incomplete"]))),
        "code": draw(either(st.just("".join(pieces)))),
        "outputs": draw(either(st.none() | st.lists(output, max_size=3))),
    }
    return [
        {"type": "response.output_item.added", "output_index": place, "item": item},
        {"type": "response.code_interpreter_call.in_progress", **about},
        *({"type": "response.code_interpreter_call_code.delta", **about, "delta": piece} for piece in pieces),
        {"type": "response.code_interpreter_call_code.done", **about, "code": "".join(pieces)},
        {"type": "response.code_interpreter_call.interpreting", **about},
        {"type": "response.code_interpreter_call.completed", **about},
        {"type": "response.output_item.done", "output_index": place, "item": done},
    ], done


@st.composite
def calls(draw: Any, place: int) -> tuple[list[Event], Event]:
    arguments = draw(st.one_of(texts, json_values.map(json.dumps)))
    item = {
        "type": "function_call",
        "id": f"fc_{place}",
        "call_id": draw(either(st.just(f"call_{place}"))),
        "name": draw(either(texts)),
        "arguments": "",
        "status": "in_progress",
    }
    about = {"item_id": item["id"], "output_index": place}
    half = len(arguments) // 2
    done = {**item, "arguments": arguments, "status": draw(either(st.just("completed")))}
    return [
        {"type": "response.output_item.added", "output_index": place, "item": item},
        {"type": "response.function_call_arguments.delta", **about, "delta": arguments[:half]},
        {"type": "response.function_call_arguments.delta", **about, "delta": arguments[half:]},
        {"type": "response.function_call_arguments.done", **about, "arguments": arguments},
        {"type": "response.output_item.done", "output_index": place, "item": done},
    ], done


@st.composite
def others(draw: Any, place: int) -> tuple[list[Event], Event]:
    """Reasoning, and items of a type that nobody here knows."""
    kind = draw(st.sampled_from(["reasoning", "web_search_call", "dream", "mcp_call", "dream_call"]))
    item = {"type": kind, "id": f"it_{place}", "status": draw(either(st.just("completed")))}
    item |= draw(st.dictionaries(st.sampled_from(["content", "summary", "action", "input"]), json_values))
    about = {"item_id": item["id"], "output_index": place, "summary_index": 0}
    return [
        {"type": "response.output_item.added", "output_index": place, "item": item},
        {"type": "response.reasoning_summary_text.delta", **about, "delta": draw(either(texts))},
        {"type": f"response.{kind}.delta", **about, "delta": draw(json_values)},
        {"type": "response.output_item.done", "output_index": place, "item": item},
    ], item


strange_events = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["response.dream", "keepalive", "response.dream.delta", ""])}
    ),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(
                [
                    "response.dream.delta",
                    "response.audio.done",
                    "response.code_interpreter_call_code.delta",
                    "response.function_call_arguments.delta",
                ]
            ),
            "item_id": either(st.just("nobody")),
            "delta": json_values,
            "response": st.none(),
        }
    ),
)
LEFT_OUT = [
    "response.in_progress",
    "response.content_part.added",
    "response.content_part.done",
    "response.output_text.done",
    "response.refusal.done",
    "response.file_search_call.searching",
    "response.function_call_arguments.done",
]
"""What some servers do not send."""
KINDS = {"message": messages, "search": searches, "code": codes, "call": calls, "other": others}


@st.composite
def answers(draw: Any, kinds: tuple[str, ...] = tuple(KINDS), *, usual: bool = False) -> list[Event]:
    """The numbered events of one response; a usual one is complete, and no event is left out."""
    events: list[Event] = []
    output = []
    for place, kind in enumerate(draw(st.lists(st.sampled_from(kinds), max_size=4))):
        more, item = draw(KINDS[kind](place))
        events += more
        output.append(item)
    left_out = set() if usual else draw(st.sets(st.sampled_from(LEFT_OUT), max_size=3))
    events = [event for event in events if event["type"] not in left_out]
    for strange in draw(st.lists(strange_events, max_size=3)):
        events.insert(draw(st.integers(0, len(events))), strange)
    more_fields = draw(
        st.dictionaries(st.sampled_from(["brand_new", "obfuscation", "agent"]), json_values, max_size=2)
    )
    status = "completed" if usual else draw(st.sampled_from(["completed", "completed", "incomplete"]))
    body = {"id": "resp_1", "object": "response", "status": status, "output": output, **more_fields}
    body["metadata"] = draw(st.sampled_from([{}, {"workshop_source": "authored"}, None]))
    begin = {**body, "status": "in_progress", "output": []}
    events = [
        {"type": "response.created", "response": begin},
        {"type": "response.in_progress", "response": begin},
        *events,
        {"type": f"response.{status}", "response": body},
    ]
    return [
        {**more_fields, **event, "sequence_number": number, "type": event["type"]}
        for number, event in enumerate(events)
    ]


def sent_texts(events: list[Event]) -> list[str]:
    """The texts that the deltas of these events make up, one for each message."""
    found: dict[str, list[str]] = {}
    for event in events:
        if event["type"] in ("response.output_text.delta", "response.refusal.delta"):
            found.setdefault(event["item_id"], []).append(event["delta"])
    return [text for text in ("".join(pieces) for pieces in found.values()) if text]


handler_kinds = st.sampled_from(HANDLERS)
renderer_kinds = st.sampled_from(RENDERERS)


def check(handler: Any, events: list[Event]) -> None:
    """Check that a handler has told exactly the text that these events hold."""
    wanted = sent_texts(events)
    assert handler.text == "\n\n".join(wanted)
    assert "".join(handler.text_deltas) == "".join(wanted)
    for text in handler.texts:
        assert "".join(handler.pieces.get(id(text), [])) == text.value
    assert handler.ends == 1


# -- the tests --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=80)
@given(answers(), handler_kinds, renderer_kinds)
def test_whatever_arrives_the_text_is_what_was_sent(
    events: list[Event], kind: type[EventHandler], renderer: str
) -> None:
    handler = noting(kind, Screen(renderer))
    handler.follow(events)
    check(handler, events)
    assert handler.status == events[-1]["response"]["status"]
    _look_at_everything(handler)


def _look_at_everything(handler: Any) -> None:
    """What a person may look at after a run must not break either."""
    for name in ("searches", "cited_texts", "code_calls", "function_calls", "generated_files", "citations"):
        for each in getattr(handler, name, []):
            repr(each)
            for form in ("plain", "markdown"):
                made = getattr(each, form, None)
                if callable(made):
                    assert isinstance(made(), str)
    repr(handler.footer)
    handler.get_final_messages()


@settings(deadline=None, max_examples=50)
@given(answers(), handler_kinds, renderer_kinds, st.data())
def test_after_a_cut_what_had_arrived_is_there_and_nothing_else_is_raised(
    events: list[Event], kind: type[EventHandler], renderer: str, data: Any
) -> None:
    arrived = events[: data.draw(st.integers(0, len(events) - 1))]
    error = data.draw(st.sampled_from([None, OSError("reset"), TimeoutError("slow"), ValueError("garbage")]))
    handler = noting(kind, Screen(renderer))
    with pytest.raises(StreamInterrupted) as caught:
        handler.follow(_breaking(arrived, error))
    assert caught.value.partial_text == handler.text
    check(handler, arrived)
    _look_at_everything(handler)


def _breaking(events: list[Event], error: Exception | None) -> Iterator[Event]:
    yield from events
    if error is not None:
        raise error


@settings(deadline=None, max_examples=50)
@given(answers(), handler_kinds, renderer_kinds, st.data())
def test_events_that_are_repeated_are_told_once(
    events: list[Event], kind: type[EventHandler], renderer: str, data: Any
) -> None:
    repeated = list(events)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(repeated) - 1))
        end = data.draw(st.integers(start + 1, len(repeated)))
        if repeated[end - 1] is events[-1]:
            continue
        repeated[end:end] = repeated[start:end]
    handler = noting(kind, Screen(renderer))
    handler.follow(repeated)
    check(handler, events)


@settings(deadline=None, max_examples=50)
@given(answers(), handler_kinds, renderer_kinds, st.data())
def test_a_stream_that_is_resumed_anywhere_gives_the_text_once(
    events: list[Event], kind: type[EventHandler], renderer: str, data: Any
) -> None:
    cut = data.draw(st.integers(0, len(events) - 1))
    # A server may begin again at any event before the cut.
    again = data.draw(st.integers(0, cut))
    handler = noting(kind, Screen(renderer))
    with handler.running():
        with pytest.raises(StreamInterrupted):
            list(handler.iterate(events[:cut]))
        list(handler.iterate(events[again:]))
    check(handler, events)
    assert handler.status == events[-1]["response"]["status"]


class Scripted:
    """A client that gives these streams, one after another, and knows no response by its id."""

    def __init__(self, streams: list[Iterator[Event]]) -> None:
        self.responses = self
        self._streams = streams

    def with_options(self, **options: Any) -> Scripted:
        return self

    def create(self, **request: Any) -> Iterator[Event]:
        return self._streams.pop(0)

    def retrieve(self, response_id: str) -> Any:
        raise openai.APIConnectionError(request=None)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=80)
@given(answers(("message", "search", "code", "other")), handler_kinds, renderer_kinds, st.data())
def test_after_a_cut_and_a_repeat_the_text_is_there_exactly_once(
    events: list[Event], kind: type[EventHandler], renderer: str, data: Any
) -> None:
    screen = Screen(renderer)
    handler = noting(kind, screen)
    cuts = data.draw(st.lists(st.integers(0, len(events) - 1), min_size=1, max_size=3))
    streams = [_breaking(_renamed(events[:cut], number), OSError("reset")) for number, cut in enumerate(cuts)]
    last = _renamed(events, len(cuts))
    run = Run(
        Scripted([*streams, iter(last)]),  # type: ignore[arg-type]
        {"input": "Hello"},
        "Hello",
        "Teacher",
        handler,
        sleep=lambda seconds: None,
    )
    run.until_done()
    check(handler, last)
    assert run.text == handler.text
    repr(run.trace)


def _renamed(events: list[Event], number: int) -> list[Event]:
    """The same events as those of another response: every id is a new one."""
    text = json.dumps(events)
    for prefix in ("resp_", "msg_", "fs_", "ci_", "it_"):
        text = text.replace(f'"{prefix}', f'"{prefix}{number}x')
    renamed: list[Event] = json.loads(text)
    return renamed


@settings(deadline=None, max_examples=50)
@given(answers(("message",)), answers(("message",)), handler_kinds, renderer_kinds, st.data())
def test_an_answer_that_comes_back_in_other_words_is_the_only_one_that_stays(
    first: list[Event], second: list[Event], kind: type[EventHandler], renderer: str, data: Any
) -> None:
    handler = noting(kind, Screen(renderer))
    cut = data.draw(st.integers(0, len(first) - 1))
    streams = [_breaking(_renamed(first[:cut], 1), OSError("reset")), iter(_renamed(second, 2))]
    run = Run(
        Scripted(streams),  # type: ignore[arg-type]
        {"input": "Hello"},
        "Hello",
        "Teacher",
        handler,
        sleep=lambda seconds: None,
    )
    run.until_done()
    check(handler, second)


errors = st.one_of(
    st.fixed_dictionaries({"type": st.just("error"), "error": json_values}),
    st.fixed_dictionaries(
        {"type": st.just("error"), "code": json_values, "message": json_values, "param": json_values}
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("response.failed"),
            "response": st.fixed_dictionaries({"id": st.just("resp_1"), "error": json_values}),
        }
    ),
)


@settings(deadline=None, max_examples=40)
@given(answers(), errors, handler_kinds, renderer_kinds, st.data())
def test_an_error_of_any_shape_is_one_exception_with_what_had_arrived(
    events: list[Event], error: Event, kind: type[EventHandler], renderer: str, data: Any
) -> None:
    arrived = events[: data.draw(st.integers(0, len(events) - 1))]
    handler = noting(kind, Screen(renderer))
    with pytest.raises(RunFailed) as caught:
        handler.follow([*arrived, error])
    assert caught.value.partial_text == handler.text
    assert str(caught.value)
    check(handler, arrived)


@settings(deadline=None, max_examples=40)
@given(
    answers(("call", "message")),
    st.lists(
        st.builds(
            FunctionResult,
            call_id=st.sampled_from(["call_0", "call_1", "nobody"]),
            name=texts,
            arguments=texts,
            output=texts | json_values.map(json.dumps),
            status=st.sampled_from(["done", "raised", "timed_out", "dream"]),
            error=texts,
            printed=texts,
            shortened=st.booleans(),
        ),
        max_size=3,
    ),
    st.sampled_from([FunctionCallingHandler, ToolboxHandler]),
    renderer_kinds,
)
def test_whatever_functions_give_back_is_shown(
    events: list[Event], results: list[FunctionResult], kind: type[EventHandler], renderer: str
) -> None:
    handler = noting(kind, Screen(renderer))
    with handler.running():
        list(handler.iterate(events))
        for result in results:
            handler.on_function_done(result)
    check(handler, events)
    _look_at_everything(handler)


@settings(deadline=None, max_examples=50)
@given(answers(("message",), usual=True), renderer_kinds)
def test_the_whole_text_is_on_the_screen(events: list[Event], renderer: str) -> None:
    screen = Screen(renderer)
    handler = noting(TextHandler, screen)
    handler.follow(events)
    for text in handler.texts:
        if renderer == "markdown":
            assert plain_text(text.value) in screen.shown or not text.value
        else:
            assert plain_text(text.value) in screen.shown[0]
