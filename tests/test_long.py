"""Long conversations, answers and runs: a step at the end is no more work, and leaves no more behind, than one at the begin.

Work is counted here (calls of functions, characters that are joined), because a clock would make these tests depend on
the machine. The times are in ``benchmarks/long.py``.
"""

from __future__ import annotations

import gc
import io
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
import pytest

from helpers import EventHandler, TextHandler, ToolboxHandler, stream_run
from helpers.handlers import Text
from helpers.rendering import LinesRenderer, MarkdownRenderer
from helpers.trace import Trace
from tests.benchmarks import long
from tests.benchmarks.long import ASSISTANT, RENDERERS, Model, course_on
from tests.served import message, response, stream_of


class Work:
    """How many functions were called, ours, Python's and C's."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            self.calls += 1


@contextmanager
def counted() -> Iterator[Work]:
    """Count the work inside, in this thread."""
    work = Work()
    # What the collector does meanwhile is nobody's work.
    gc.disable()
    sys.setprofile(work)
    try:
        yield work
    finally:
        sys.setprofile(None)
        gc.enable()


def ask(client: openai.OpenAI, thread: Any, question: str, **more: Any) -> Any:
    handler = ToolboxHandler(renderer=LinesRenderer(io.StringIO()))
    return stream_run(client, ASSISTANT, thread, question, event_handler=handler, **more).until_done()


# -- turns ------------------------------------------------------------------------------------------------------------


def test_a_turn_costs_next_to_nothing_more_for_each_item_that_a_conversation_has():
    items = [{"type": "message", "role": "user", "content": f"Item {number}."} for number in range(20)]
    with course_on(Model()) as client:
        thread, full = client.conversations.create(), client.conversations.create()
        for _ in range(50):
            client.conversations.items.create(full.id, items=items)
        work = []
        for each in (thread, full):
            ask(client, each, "Once, so that everything is loaded?")
            with counted() as turn:
                ask(client, each, "And once more?")
            work.append(turn.calls)
    more = (work[1] - work[0]) / 1000
    # Its tokens are estimated for the response's usage: that is all that is left to do for an item that was seen before.
    assert more < 16, f"{more} calls for each item, beside {work[0]:,} for the turn"


def test_what_a_turn_leaves_in_memory_does_not_grow():
    check_memory(long.turns(80, memory=True))


def check_memory(course: long.Course) -> None:
    """Check that the last tenths of something leave no more than the first ones."""
    held = course.kilobytes
    begin, end = held[4] - held[0], held[9] - held[5]
    assert end < 1.5 * begin + 64, f"kilobytes after each tenth: {held}"


# -- deltas -----------------------------------------------------------------------------------------------------------


def served_answer(pieces: int) -> openai.OpenAI:
    answer = stream_of(*response(message("word " * pieces, pieces=pieces)))
    return openai.OpenAI(
        api_key="any", http_client=httpx2.Client(transport=httpx2.MockTransport(lambda request: answer()))
    )


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("kind", [EventHandler, TextHandler, ToolboxHandler])
def test_the_last_delta_of_a_long_answer_is_as_much_work_as_the_first(kind, renderer):
    run = stream_run(
        served_answer(2_400), ASSISTANT, None, "Hello", event_handler=kind(renderer=still(renderer))
    )
    events = iter(run)
    work = []
    for _ in range(3):
        for _ in range(100):
            next(events)
        with counted() as some:
            for _ in range(400):
                next(events)
        work.append(some.calls)
        for _ in range(300):
            next(events)
    assert max(work) < 1.1 * min(work), work
    run.until_done()
    assert len(run.text) == 12_000


def still(kind: str) -> Any:
    """A renderer; for Markdown one whose clock stands still, so that it draws at the begin and at the end only."""
    if kind == "markdown":
        return MarkdownRenderer(publish=lambda bundle, display_id, update: None, clock=lambda: 0.0)
    return RENDERERS[kind]()


@pytest.mark.parametrize("renderer", RENDERERS)
def test_a_long_answer_is_put_together_a_few_times_and_not_for_each_delta(monkeypatch, renderer):
    joined = []
    value = Text.value.fget

    def watched(text: Text) -> str:
        is_new = len(text._pieces) > 1
        whole = value(text)
        joined.append(len(whole) if is_new else 0)
        return whole

    monkeypatch.setattr(Text, "value", property(watched))
    client = served_answer(2_000)
    run = stream_run(client, ASSISTANT, None, "Hello", event_handler=ToolboxHandler(renderer=still(renderer)))
    run.until_done()
    assert sum(joined) < 3 * 10_000, f"{sum(joined):,} characters were joined for a text of 10,000"


def test_reading_piece_by_piece_copies_nothing(monkeypatch):
    copies = []
    text_deltas = EventHandler.text_deltas.fget
    monkeypatch.setattr(
        EventHandler, "text_deltas", property(lambda handler: copies.append(1) or text_deltas(handler))
    )
    run = stream_run(served_answer(500), ASSISTANT, None, "Hello", event_handler=EventHandler())
    assert "".join(run.text_deltas) == "word " * 500
    assert copies == []


def test_what_a_delta_leaves_in_memory_does_not_grow():
    for renderer in RENDERERS:
        check_memory(long.deltas(2_000, renderer, memory=True))


# -- function calls ---------------------------------------------------------------------------------------------------


def test_the_last_function_call_of_a_long_run_is_as_much_work_as_the_first():
    numbers: list[int] = []

    class Watching(ToolboxHandler):
        def on_function_done(self, result: Any) -> None:
            super().on_function_done(result)
            numbers.append(here.calls)

    with course_on(Model(90)) as client:
        agent = ASSISTANT.with_tools(long.counter([]))
        thread = client.conversations.create()
        handler = Watching(renderer=LinesRenderer(io.StringIO()))
        with counted() as here:
            stream_run(client, agent, thread, "Count.", event_handler=handler, max_rounds=91).until_done()
    work = [after - before for before, after in itertools.pairwise(numbers)]
    first, last = sum(work[10:20]), sum(work[-10:])
    assert last < 1.3 * first, (first, last)


def test_what_a_function_call_leaves_in_memory_does_not_grow():
    check_memory(long.calls(60, at_once=False, memory=True))


def test_many_calls_at_once_are_each_noted_with_as_much_work(monkeypatch):
    moved: list[int] = []
    together = Trace._move_together
    monkeypatch.setattr(
        Trace, "_move_together", lambda trace: moved.append(len(trace._running)) or together(trace)
    )
    course = long.calls(200, at_once=True)
    assert len(course.seconds) == 200
    assert sum(moved) < 10 * 200, f"{sum(moved):,} steps were moved for 200 calls"


# -- the benchmark ----------------------------------------------------------------------------------------------------


def test_the_benchmark_prints_its_ratios_and_draws_them(capsys, tmp_path):
    plot = tmp_path / "long.png"
    long.main(["--turns", "20", "--deltas", "40", "--calls", "10", "--plot", str(plot)])
    printed = capsys.readouterr().out
    assert printed.count("time, last tenth against the first") == 6
    assert plot.read_bytes().startswith(b"\x89PNG")
