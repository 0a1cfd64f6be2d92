"""The trace of a run: what happened, in order, with times, tokens and price.

Here stream events, snapshots from polling, results of functions and notes of our own become steps, and the steps
become a table. What is kept are counts and short names, never the text itself, so that a long answer takes no more
memory than a short one. Not here: what a step holds and its words (``trace_rows.py``), drawing (``diagrams.py``,
``trace_sequence.py``, ``trace_timeline.py``), the file (``trace_export.py``), what a token costs (``models.py``), and
getting the events (``run.py``).
"""

from __future__ import annotations

import functools
import html
import itertools
import math
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from helpers.diagrams import Diagram, State, plain, sequence_diagram, state_diagram
from helpers.fields import at, list_at, text_at
from helpers.models import prices_checked_on, tool_price_usd
from helpers.trace_export import FORMAT, rounded, step_fields, write_lines
from helpers.trace_rows import (
    BROKEN_ENDS,
    ENDS,
    LIMIT,
    RUNNING_FUNCTIONS,
    STATE_OF_ITEM,
    STATE_OF_NOTE,
    WHO,
    OutputItem,
    ResponseRecord,
    Row,
    count,
    milliseconds,
    outcome_words,
    short_words,
    words,
)
from helpers.trace_sequence import story_of
from helpers.trace_timeline import Bar, draw_timeline, lane_of, mark_of

if TYPE_CHECKING:
    from helpers.functions import FunctionResult
    from helpers.plots import Plot

__all__ = ["EventRun", "Step", "Trace", "Usage"]

# Which item an event without one belongs to, by how its type begins.
_FAMILIES: Final = (
    ("response.output_text.", "message"),
    ("response.refusal.", "message"),
    ("response.content_part.", "message"),
    ("response.reasoning", "reasoning"),
    ("response.file_search_call.", "file_search_call"),
    ("response.code_interpreter_call", "code_interpreter_call"),
    ("response.function_call_arguments.", "function_call"),
    ("response.web_search_call.", "web_search_call"),
    ("response.image_generation_call.", "image_generation_call"),
    ("response.mcp_call", "mcp_call"),
    ("response.mcp_list_tools.", "mcp_list_tools"),
    ("response.custom_tool_call_input.", "custom_tool_call"),
)
_WIDEST: Final = 64
_MOST_NAMES: Final = 20
_MOST_EVENT_RUNS: Final = 2_000
_FEW: Final = 32


@dataclass(frozen=True, slots=True)
class Usage:
    """How many tokens were used. ``cached`` is part of ``input``, ``reasoning`` is part of ``output``."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One row of a trace."""

    number: int
    """Counted from 1."""
    response: int | None
    """Which response of the run it belongs to, counted from 1; ``None`` for what happened in your notebook."""
    state: str
    """``asking``, ``created``, ``queued``, ``in_progress``, ``reasoning``, ``searching files``, ``writing code``,
    ``running code``, ``writing text``, ``calling functions``, ``searching the web``, ``using a tool``,
    ``running functions``, ``retrying``, ``resuming``, ``note``, or an end: ``completed``, ``incomplete``, ``failed``,
    ``cancelled``, ``interrupted``, ``limit reached``."""
    what: str
    """What happened, in words."""
    tokens: int | None
    """The response's tokens, in the row of its end; ``None`` elsewhere, because the API counts them per response."""
    start_ms: float
    """Milliseconds from the start of the run."""
    duration_ms: float | None
    """Milliseconds; ``None`` if nobody watched (what a polled response did is only seen when it is done)."""
    price_usd: float | None
    """US dollars: tokens in the row of the end, a search or a container in its own row; ``None`` if there is none."""
    status: str
    """``done``, ``running``, ``unfinished`` (the run ended before it did), ``failed`` or ``incomplete``.

    Of a function: ``failed`` if its output tells the model of a problem, ``unfinished`` if it was not run to its end.
    """


@dataclass(slots=True)
class EventRun:
    """Events of one type that followed each other, as they came: the raw side of a trace, without their content."""

    type: str
    count: int
    start_ms: float
    end_ms: float


class Trace:
    """What happened in one run, which may have several responses.

    In a notebook it shows as a table, elsewhere as the same table in plain text. It can be looked at while the run is
    still going on. ``diagram()`` draws its states, ``sequence()`` who said what to whom, ``timeline()`` the time that
    each step took, and ``export(path)`` writes it to a file.

    Args:
        question: what was asked; shown above the table, shortened.
        assistant: the assistant's name.
        clock: returns the time in seconds, from any starting point.
        handler: the name of the event handler's class, for the sequence diagram.

    Example:
        >>> trace = Trace(question="Hello?")
        >>> trace.add({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}})
        >>> [step.state for step in trace.steps]
        ['asking', 'created']
    """

    def __init__(
        self,
        question: str = "",
        assistant: str = "",
        clock: Callable[[], float] = time.perf_counter,
        *,
        handler: str = "",
    ) -> None:
        self.question = plain(question)
        self.assistant = plain(assistant, 100)
        self.handler = plain(handler, 60)
        self._clock = clock
        self._start_s = clock()
        self._started_at_s = time.time()
        self._last_ms = 0.0
        self._first_text_ms: float | None = None
        self._status = "not_started"
        self._rows: list[Row] = []
        self._batches = 0
        self._running: list[Row] = []
        self._running_end = 0.0
        self._series: _Series | None = None
        self._responses: list[ResponseRecord] = []
        self._by_id: dict[str, ResponseRecord] = {}
        self._current: ResponseRecord | None = None
        self._containers: set[str] = set()
        self._unknown: dict[str, int] = {}
        self._repeated = 0
        self._events: list[EventRun] = []
        self._events_seen = 0

    # ---- taking in what happens

    def start(self) -> None:
        """Count the time from now, and not from when the trace was made. Does nothing once something has happened."""
        if not self._rows:
            self._start_s = self._clock()
            self._started_at_s = time.time()
            self._last_ms = 0.0

    def add(self, event: object) -> None:
        """Take in one event of a stream. Events of unknown kinds are counted; nothing here raises.

        Args:
            event: an event object of the SDK, or the same as a dict.
        """
        series = self._series
        if series is not None and self._goes_on(series, event):
            return
        self._series = None
        now = self._now()
        kind = at(event, "type")
        if not isinstance(kind, str):
            kind = "(no type)"
        self._note_event(kind, now)
        family = _family(kind)
        if family is None and not kind.startswith("response.output_item."):
            response = None if kind == "error" else at(event, "response")
            if kind == "error":
                self._add_error(event, now)
            elif response is not None:
                self._add_response_event(kind, response, event, now)
            else:
                self._count_unknown(kind)
            return
        record = self._record_of_item(event, now)
        record.streamed = True
        if record.repeats(event):
            self._repeated += 1
            return
        if self._status in ("not_started", "interrupted"):
            self._status = "in_progress"
        self._add_item_event(record, kind, family, event, now)

    def _goes_on(self, series: _Series, event: object) -> bool:
        """Take in one more piece of what the last event was a piece of; return ``False`` if it is anything else.

        Nearly all events of a stream are such pieces, so that this decides what a trace costs. Whatever else happens
        ends the series, hence all that ``add`` finds out about an event is known here.
        """
        fields = event if type(event) is dict else getattr(event, "__dict__", None)
        if type(fields) is not dict or fields.get("type") != series.kind:
            return False
        delta, number = fields.get("delta"), fields.get("sequence_number")
        if (
            fields.get("item_id") != series.item_id
            or fields.get("output_index") != series.index
            or type(delta) is not str
            or type(number) is not int
            or number <= series.record.last_sequence
        ):
            return False
        now = self._now()
        series.record.last_sequence = number
        series.record.replaying = False
        series.run.count += 1
        series.run.end_ms = now
        self._events_seen += 1
        row = series.row
        row.last = now
        row.pieces += 1
        if delta:
            row.characters += len(delta)
        else:
            row.blanks += 1
        return True

    def add_response(self, response: object) -> None:
        """Take in a response as it is seen from outside: from ``create`` without a stream, or from polling.

        Args:
            response: a ``Response`` of the SDK, or the same as a dict. Looking twice at an unchanged one is counted.
        """
        self._series = None
        now = self._now()
        record = self._record_of(response, now)
        record.absorb(response)
        status = plain(text_at(response, "status"), 40)
        if not status:
            return
        if status in ENDS:
            self._finish(record, status, response, now)
            return
        last = self._rows[-1] if self._rows else None
        if last is not None and last.record is record and last.state == status:
            last.last = now
        else:
            last = self._open(status, now, record)
        last.looks += 1
        self._status = status

    def note(self, what: str, detail: str = "", *, duration_ms: float | None = None) -> None:
        """Note something that happened on our side.

        Args:
            what: plain words. How they begin tells the state: "interrupted", "stopped", "cut off" and "timed out" end
                the run as ``interrupted``, "cancelled" as ``cancelled``, "failed" as ``failed``, and "limit reached" as
                ``limit reached``, with the status ``incomplete``; "retrying", "resuming" and "function …" are states
                of their own; anything else is only a row of the table.
            detail: more of it, such as the function's name.
            duration_ms: how long it took until now, in milliseconds. Left out, it fills the time since the response
                ended, and is a moment without length while one is running. Retrying and resuming then go on until
                the next thing happens.
        """
        self._series = None
        now = self._now()
        what = plain(what)
        beginning = what.lower()
        state = next((state for start, state in STATE_OF_NOTE if beginning.startswith(start)), "note")
        if not self._rows:
            self._open("asking", 0.0, None)
        elif state in ("retrying", "failed") and (
            self._rows[-1].state == "completed" or self._rows[-1].batch
        ):
            self._open_request()  # nothing else told of the request that did not work
        start = self._free_from() if self._rows[-1].closed else now
        if duration_ms is not None:
            start = max(0.0, now - _positive(duration_ms))
        row = self._open(state, start, None)
        row.last = max(start, now)
        row.closed = duration_ms is not None or state not in ("retrying", "resuming")
        row.name, row.detail = what, plain(detail)
        if state == "resuming":
            self._split_what_goes_on(row)
        if state in BROKEN_ENDS:
            self._status = "incomplete" if state == LIMIT else state

    def add_function(self, result: FunctionResult) -> None:
        """Take in what came of a function of yours, after it ran.

        The results of one response's calls are taken as begun together, so that the longest ends now; a function that
        waited for a free place looks a little earlier than it was.

        Args:
            result: one for each call, in the order of the calls. Kept of it are names, sizes, and the reason if it
                failed, shortened.
        """
        self._series = None
        now = self._now()
        if not self._rows:
            self._open("asking", 0.0, None)
        if not self._rows[-1].batch:
            self._batches += 1
            self._running = []
        row = self._open(RUNNING_FUNCTIONS, now, None)
        row.batch, row.closed = self._batches, True
        row.name = plain(result.name, 60)
        row.detail = plain(result.error, 120)
        row.call_id = plain(result.call_id, 100)
        row.outcome = plain(result.status, 40) or "done"
        row.took = _positive(result.duration_ms)
        row.characters, row.output = len(result.arguments), len(result.output)
        row.shortened = result.shortened
        self._running.append(row)
        self._running_end = now
        number = len(self._running)
        # Each result moves those before it. With many, that waits until somebody asks, or until there are twice as many.
        if number <= _FEW or number & (number - 1) == 0:
            self._move_together()

    def _move_together(self) -> None:
        before = self._rows[-len(self._running) - 1]
        start = max(before.last, self._running_end - max(each.took for each in self._running))
        for each in self._running:
            each.start, each.last = start, min(start + each.took, self._running_end)

    def _last_batch(self) -> list[Row]:
        """Return the steps of the functions that ran since anything else happened."""
        if not self._rows or not self._rows[-1].batch:
            return []
        self._move_together()
        return self._running

    def _free_from(self) -> float:
        """Return when the last step ended, in milliseconds; of functions that ran side by side, the longest."""
        return max((row.last for row in self._last_batch()), default=self._rows[-1].last)

    def _split_what_goes_on(self, note: Row) -> None:
        """Remember how far the unfinished steps were when a cut stream is taken up again."""
        record = self._current
        if record is None or record.end is not None:
            return
        for item in {id(known): known for known in record.items.values()}.values():
            row = item.row
            if not row.finished:
                row.parts.append(row.pieces)
                note.resumed.append((row, len(row.parts)))

    def _now(self) -> float:
        """Return the milliseconds since the start; they never go back, whatever the clock does."""
        self._last_ms = max(self._last_ms, (self._clock() - self._start_s) * 1000)
        return self._last_ms

    def _note_event(self, kind: str, now: float) -> None:
        self._events_seen += 1
        if self._events and self._events[-1].type == kind:
            self._events[-1].count += 1
            self._events[-1].end_ms = now
        elif len(self._events) < _MOST_EVENT_RUNS:
            self._events.append(EventRun(kind, 1, now, now))

    def _count_unknown(self, kind: str) -> None:
        name = plain(kind, 60)
        if name not in self._unknown and len(self._unknown) >= _MOST_NAMES:
            name = "others"
        self._unknown[name] = self._unknown.get(name, 0) + 1

    def _add_response_event(self, kind: str, response: object, event: object, now: float) -> None:
        record = self._record_of(response, now, new=kind == "response.created")
        record.streamed = True
        record.absorb(response)
        if record.repeats(event):
            self._repeated += 1
        state = kind.removeprefix("response.")
        if state in ENDS:
            self._finish(record, state, response, now)
        elif state in ("created", "queued", "in_progress"):
            if state not in record.states:
                record.states.add(state)
                self._open(state, now, record)
            if record.end is None:
                self._status = "queued" if state == "queued" else "in_progress"
        else:
            self._count_unknown(kind)

    def _add_error(self, event: object, now: float) -> None:
        # The documented event is flat; what really arrives has the same fields one level down.
        inner = at(event, "error")
        inner = event if inner is None else inner
        record = self._current if self._current is not None else self._new_record(None, now)
        record.streamed = True
        code, message = text_at(inner, "code"), text_at(inner, "message")
        row = self._open("failed", now, record)
        row.name = "error"
        row.detail = plain(": ".join(part for part in (code, message) if part))
        row.code = plain(code, 60)
        row.closed = True
        self._status = "failed"

    def _finish(self, record: ResponseRecord, status: str, response: object, now: float) -> None:
        """Note the end of a response, and whatever its output tells that no event had told before."""
        for index, item in enumerate(list_at(response, "output")):
            known = record.item(index, at(item, "id"), text_at(item, "type"))
            if known is None:
                known = self._new_item(record, index, item, None, now)
                known.row.timed = False  # it happened at some time before now
            if text_at(item, "status") in ("", "completed"):
                known.row.finished = True
            self._fill(known, item, done=True)
        self._status = status
        if record.end is not None and record.end.state == status:
            return
        row = record.end = self._open(status, now, record)
        row.closed = True
        if status == "failed":
            error = at(response, "error")
            parts = (text_at(error, "code"), text_at(error, "message"))
            row.detail = plain(": ".join(part for part in parts if part))
            row.code = plain(parts[0], 60)
        elif status == "incomplete":
            row.detail = row.code = plain(text_at(at(response, "incomplete_details"), "reason"), 60)

    # ---- responses

    def _record_of(self, response: object, now: float, *, new: bool = False) -> ResponseRecord:
        id = text_at(response, "id")
        current = self._current
        if id and id in self._by_id:
            self._current = self._by_id[id]
            return self._current
        # A stream that we joined late is known without its id until an event names it.
        if current is not None and current.end is None and not (id and current.id) and not new:
            current.id = current.id or id
            if id:
                self._by_id[id] = current
            return current
        return self._new_record(id, now)

    def _record_of_item(self, event: object, now: float) -> ResponseRecord:
        current = self._current
        if current is None:
            return self._new_record(None, now)
        if current.end is not None:
            # After the end only late news of a known item belongs to this response; else the next one has begun.
            id = at(event, "item_id") or at(at(event, "item"), "id")
            if isinstance(id, str) and ("id", id) not in current.items:
                return self._new_record(None, now)
        return current

    def _new_record(self, id: str | None, now: float) -> ResponseRecord:
        if not self._rows:
            self._open("asking", 0.0, None)
        elif self._rows[-1].closed:
            self._open_request()
        record = ResponseRecord(number=len(self._responses) + 1, id=id or "")
        self._responses.append(record)
        if id:
            self._by_id[id] = record
        self._current = record
        if self._rows:
            self._rows[-1].last = now
        return record

    def _open_request(self) -> None:
        answered = len(self._last_batch())
        row = self._open("asking", self._free_from(), None)
        row.detail = count(answered, "function output") if answered else ""
        row.name = f"sent {row.detail or 'the next request'} and waited"

    def _open(self, state: str, start_ms: float, record: ResponseRecord | None) -> Row:
        row = Row(state, start_ms, record)
        self._rows.append(row)
        return row

    # ---- items

    def _add_item_event(
        self, record: ResponseRecord, kind: str, family: str | None, event: object, now: float
    ) -> None:
        # Only these hold an item. Asking the many others for what they have not got is slow with the SDK's objects.
        item = at(event, "item") if family is None else None
        id = at(event, "item_id") if item is None else at(item, "id")
        index = at(event, "output_index")
        item_type = family or text_at(item, "type")
        known = record.item(index, id, item_type)
        if known is None:
            known = self._new_item(record, index, item, id, now, item_type)
        if kind == "response.code_interpreter_call.interpreting":
            self._start_code(known, now)
        row = known.row
        row.last = now
        note = self._rows[-1]
        if note.state == "resuming" and not note.closed:
            note.last, note.closed = now, True  # a step that was there before goes on
        if kind.endswith(".delta"):
            delta = at(event, "delta")
            row.pieces += 1
            if isinstance(delta, str) and delta:
                row.characters += len(delta)
                if self._first_text_ms is None and item_type == "message":
                    self._first_text_ms = now
            else:
                row.blanks += 1
            if kind == "response.refusal.delta":
                row.refused = True
            self._begin_series(record, kind, id, index, row)
        elif kind == "response.output_text.annotation.added":
            row.citations += 1
        elif item is not None:
            done = kind == "response.output_item.done"
            self._fill(known, item, done=done)
            row.finished = row.finished or done

    def _begin_series(self, record: ResponseRecord, kind: str, id: object, index: object, row: Row) -> None:
        """Let ``add`` take a short way as long as pieces of the same thing follow."""
        run = self._events[-1]
        if run.type == kind and record is self._current and record.end is None:
            waits_for_text = self._first_text_ms is None and row.state == "writing text"
            self._series = None if waits_for_text else _Series(record, kind, id, index, row, run)

    def _new_item(
        self, record: ResponseRecord, index: object, item: object, id: object, now: float, item_type: str = ""
    ) -> OutputItem:
        item_type = item_type or text_at(item, "type")
        row = self._open(STATE_OF_ITEM.get(item_type, "using a tool"), now, record)
        row.is_item = True
        row.name = plain(text_at(item, "name"), 60)
        row.call_id = plain(text_at(item, "call_id"), 100)
        if not row.name and row.state == "using a tool":
            row.name = plain(item_type, 60).removesuffix("_call").replace("_", " ")
        return record.keep(OutputItem(item_type, row), index, id if item is None else at(item, "id"))

    def _start_code(self, known: OutputItem, now: float) -> None:
        """The code is written and runs from now on: a step of its own."""
        if known.row.state != "writing code":
            return
        written = known.row
        written.finished, written.ran_apart, written.last = True, True, now
        known.written = written
        known.row = self._open("running code", now, written.record)
        known.row.is_item = True
        known.row.tool, written.tool = written.tool, ""

    def _fill(self, known: OutputItem, item: object, *, done: bool) -> None:
        """Take from an item what its events do not carry, and what was missed of them. Counts only grow."""
        row = known.row
        status = text_at(item, "status")
        if status in ("failed", "incomplete"):
            row.failed = status
        row.name = row.name or plain(text_at(item, "name"), 60)
        row.call_id = row.call_id or plain(text_at(item, "call_id"), 100)
        if known.type == "message":
            parts = list_at(item, "content")
            row.refused = row.refused or any(at(part, "type") == "refusal" for part in parts)
            texts = [text_at(part, "text") or text_at(part, "refusal") for part in parts]
            row.characters = max(row.characters, sum(len(text) for text in texts))
            row.citations = max(row.citations, sum(len(list_at(part, "annotations")) for part in parts))
        elif known.type == "reasoning":
            parts = [*list_at(item, "summary"), *list_at(item, "content")]
            row.characters = max(row.characters, sum(len(text_at(part, "text")) for part in parts))
        elif known.type == "function_call":
            row.characters = max(row.characters, len(text_at(item, "arguments")))
        elif known.type == "file_search_call":
            queries = [query for query in list_at(item, "queries") if isinstance(query, str)]
            if queries:
                row.queries, row.detail = len(queries), plain(queries[0], 80)
            row.passages = max(row.passages, len(list_at(item, "results")))
            if done:
                row.tool = "file_search_call"
        elif known.type == "code_interpreter_call":
            self._fill_code(known, item)

    def _fill_code(self, known: OutputItem, item: object) -> None:
        row, written = known.row, known.written or known.row
        written.characters = max(written.characters, len(text_at(item, "code")))
        container = at(item, "container_id")
        if isinstance(container, str) and container and container not in self._containers:
            self._containers.add(container)
            row.tool = "container_session"
        outputs = list_at(item, "outputs")
        row.images = max(row.images, sum(at(output, "type") == "image" for output in outputs))
        row.logs = max(row.logs, sum(len(text_at(output, "logs")) for output in outputs))

    # ---- what can be asked of it

    @property
    def steps(self) -> list[Step]:
        """What happened so far, in order. Their tokens and prices add up to those of the trace."""
        last_end = max((place for place, row in enumerate(self._rows) if row.is_end), default=-1)
        return [
            Step(
                number=place + 1,
                response=None if row.record is None else row.record.number,
                state=row.state,
                what=self._what(row, self._row_status(place, row, last_end)),
                tokens=self._row_tokens(row),
                start_ms=row.start,
                duration_ms=self._row_duration_ms(place, row),
                price_usd=self._row_price_usd(row),
                status=self._row_status(place, row, last_end),
            )
            for place, row in enumerate(self._rows)
        ]

    @property
    def tokens(self) -> Usage:
        """The tokens of all responses so far. The API tells them when a response ends."""
        columns = [response.usage for response in self._responses if response.usage is not None]
        return Usage(*(sum(column) for column in zip(*columns, strict=True))) if columns else Usage()

    @property
    def price_usd(self) -> float | None:
        """The price in US dollars: tokens, file searches and containers. ``None`` if the tokens or their price are not known."""
        prices = [response.price_usd for response in self._responses if response.usage is not None]
        if not prices or any(price is None for price in prices):
            return None
        return sum(price for price in prices if price is not None) + self._tools_usd

    @property
    def duration_ms(self) -> float:
        """Milliseconds from the start to the last thing that happened."""
        return max((row.last for row in self._rows), default=0.0)

    @property
    def time_to_first_text_ms(self) -> float | None:
        """Milliseconds from the start to the first piece of the answer's text; ``None`` if no text was streamed."""
        return self._first_text_ms

    @property
    def estimated(self) -> bool:
        """Whether tokens and price are estimates, as they are in recorded mode."""
        return any(response.estimated for response in self._responses)

    @property
    def status(self) -> str:
        """``not_started``, ``queued``, ``in_progress``, ``completed``, ``incomplete``, ``failed``, ``cancelled`` or ``interrupted``."""
        return self._status

    @property
    def model(self) -> str:
        """The model that answered last, as the API names it; empty before it does."""
        return next((response.model for response in reversed(self._responses) if response.model), "")

    @property
    def events(self) -> tuple[EventRun, ...]:
        """The stream's events in order, neighbours of one type together; at most 2,000 such groups."""
        return tuple(self._events)

    @property
    def events_seen(self) -> int:
        """How many events arrived, of all kinds."""
        return self._events_seen

    @property
    def unknown_events(self) -> dict[str, int]:
        """How many events arrived of each kind that the trace does not know."""
        return dict(self._unknown)

    @property
    def _tools_usd(self) -> float:
        return sum(tool_price_usd(row.tool) for row in self._rows if row.tool)

    # ---- one row

    def _row_status(self, place: int, row: Row, last_end: int) -> str:
        if row.failed:
            return row.failed
        if row.state in ("failed", "incomplete"):
            return row.state
        if row.state == LIMIT:
            return "incomplete"
        if row.outcome:
            return row.outcome_status
        if row.closed or row.finished:
            return "done"
        if row.is_item:
            return "unfinished" if place < last_end else "running"
        return "done" if place + 1 < len(self._rows) else "running"

    def _row_duration_ms(self, place: int, row: Row) -> float | None:
        if not row.timed:
            return None
        end = row.last
        if not row.closed and place + 1 < len(self._rows):
            end = max(end, self._rows[place + 1].start)
        return max(0.0, end - row.start)

    @staticmethod
    def _counts_tokens(row: Row) -> bool:
        return row.record is not None and row.record.end is row

    def _row_tokens(self, row: Row) -> int | None:
        if row.record is None or row.record.usage is None or not self._counts_tokens(row):
            return None
        return row.record.usage[-1]

    def _row_price_usd(self, row: Row) -> float | None:
        if row.tool:
            return tool_price_usd(row.tool)
        return row.record.price_usd if row.record is not None and self._counts_tokens(row) else None

    def _what(self, row: Row, status: str, *, with_text: bool = True) -> str:
        told = words(row, with_text=with_text)
        if row.looks > 1:
            told += f" (looked {row.looks:,} times)"
        if row.is_item and status not in ("done", "running"):
            told += f" ({status})"
        if row.is_item and not row.timed:
            told += " (seen afterwards)"
        return told

    # ---- showing it

    def __repr__(self) -> str:
        head, rows, total, lines = self._table()
        widths = [
            min(_WIDEST, max(len(cells[column]) for cells in (head, *rows, total)))
            for column in range(len(head))
        ]
        # Of one width whatever the times are, so that two runs which differ only in speed look alike.
        widths[3] = max(widths[3], 10)
        rule = "  ".join("-" * width for width in widths)
        table = [_aligned(cells, widths) for cells in (head, *rows, total)]
        below = [part for line in lines for part in textwrap.wrap(line, 110)]
        return "\n".join([self._heading(), table[0], rule, *table[1:-1], rule, table[-1], *below])

    def _repr_html_(self) -> str:
        # HTML, because it is what all of JupyterLab, VS Code, Colab and GitHub's preview draw as a table; in Markdown
        # the dollar signs would be read as mathematics. No colours: those of the reader's theme are the readable ones.
        head, rows, total, lines = self._table()
        sides = ("right", "left", "right", "right", "right")

        def cells(tag: str, texts: Sequence[str], extra: str = "") -> str:
            return "".join(
                f'<{tag}{extra} style="text-align:{side};vertical-align:top">{_html(text)}</{tag}>'
                for text, side in zip(texts, sides, strict=True)
            )

        columns = cells("th", head, ' scope="col"')
        body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
        totals = cells("th", total)
        below = "<br>\n".join(_html(line) for line in lines)
        return (
            # The classes are what MathJax in Jupyter looks for; GitHub drops them, hence the care in _html().
            '<div class="tex2jax_ignore mathjax_ignore">\n<table>\n'
            f'<caption style="text-align:left">{_html(self._heading())}</caption>\n'
            f"<thead><tr>{columns}</tr></thead>\n<tbody>\n{body}\n</tbody>\n<tfoot><tr>{totals}</tr></tfoot>\n"
            f"</table>\n<p>{below}</p>\n</div>"
        )

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]], tuple[str, ...], list[str]]:
        """Return the head, the rows, the totals, and the lines below, as texts."""
        rows: list[tuple[str, ...]] = [
            (
                str(step.number),
                step.what,
                "" if step.tokens is None else self._about(f"{step.tokens:,}"),
                "–" if step.duration_ms is None else milliseconds(step.duration_ms),
                "" if step.price_usd is None else self._about(_usd(step.price_usd)),
            )
            for step in self.steps
        ]
        counted = any(response.usage is not None for response in self._responses)
        total = (
            "",
            "total",
            self._about(f"{self.tokens.total:,}") if counted else "?",
            milliseconds(self.duration_ms),
            "?" if self.price_usd is None else self._about(_usd(self.price_usd)),
        )
        return ("step", "what happened", "tokens", "time", "price"), rows, total, self._lines()

    def _heading(self) -> str:
        asked = f"“{plain(self.question, 80)}”" if self.question else ""
        return " · ".join(part for part in ("Trace", asked, self.assistant, self.model, self.status) if part)

    def _lines(self) -> list[str]:
        lines = []
        if self._first_text_ms is not None:
            lines.append(f"First text after {milliseconds(self._first_text_ms)}.")
        together = [
            len(list(group)) for batch, group in itertools.groupby(row.batch for row in self._rows) if batch
        ]
        if max(together, default=0) > 1:
            lines.append(
                f"Up to {max(together):,} functions ran at the same time, so the times add up to more than the total."
            )
        lines.append(self._price_line())
        if self._unknown:
            names = ", ".join(self._unknown)
            lines.append(
                f"Also received: {count(sum(self._unknown.values()), 'event')} of a kind that this trace does not "
                f"know ({names})."
            )
        if self._repeated:
            lines.append(
                f"{count(self._repeated, 'event')} arrived a second time, as after a resumed stream; "
                "they count once."
            )
        return lines

    def _price_line(self) -> str:
        finished = [response for response in self._responses if response.usage is not None]
        unpriced = sorted(
            {response.model or "this model" for response in finished if response.price_usd is None}
        )
        price = self._about(_usd(self.price_usd or 0.0))
        if not finished:
            price = "not known, because the API counts tokens when an answer ends"
        elif unpriced:
            price = f"not known, because the price list has none for {', '.join(unpriced)}"
        elif len(finished) < len(self._responses):
            price = f"at least {price}, because an answer that did not end is not counted"
        sentences = [f"Price: {price}."]
        if self.estimated:
            sentences.append(
                "Estimated: this run was recorded, so nothing was spent, and 4 characters are taken as one token."
            )
        tools = self._tools()
        if tools:
            sentences.append(f"For tools: {tools}.")
        return " ".join([*sentences, f"Prices checked on {prices_checked_on()}."])

    def _tools(self) -> str:
        """Say which part of the price is not for tokens."""
        parts = []
        searches = sum(row.tool == "file_search_call" for row in self._rows)
        if searches:
            price = self._about(_usd(searches * tool_price_usd("file_search_call")))
            parts.append(f"{price} for {count(searches, 'file search', 'file searches')}")
        containers = sum(row.tool == "container_session" for row in self._rows)
        if containers:
            price = self._about(_usd(containers * tool_price_usd("container_session")))
            parts.append(
                f"at most {price} for {count(containers, 'container')} (a whole session; less if it was short or "
                "already running)"
            )
        return " and ".join(parts)

    def _about(self, text: str) -> str:
        return f"≈ {text}" if self.estimated else text

    def diagram(self) -> Diagram:
        """Draw the states that the run went through, and how long each took.

        Neighbours of one state are one box. The drawing shows itself in a notebook; ``.svg``, ``.alt_text``,
        ``.mermaid`` and ``.save(path)`` are there for other places.
        """
        boxes: list[_Box] = []
        for place, row in enumerate(self._rows):
            if row.state == "note":
                continue
            if not boxes or boxes[-1].state != row.state:
                boxes.append(_Box(row.state))
            boxes[-1].add(row.start, self._row_duration_ms(place, row), short_words(row), moment=row.is_end)
        states = [box.drawn(last=place + 1 == len(boxes)) for place, box in enumerate(boxes)]
        return state_diagram(self._title("States"), self._subtitle(), states, self._footer())

    def sequence(self) -> Diagram:
        """Draw who said what to whom: you, your notebook, the event handler, the API, and each tool and function.

        Shown are the requests, the events that came (many of a kind as one arrow, such as ``output_text.delta × 132``),
        the handler's hooks that they called, the functions that ran and their outputs, retries, and how it ended.
        ``on_event`` and the ``on_run_step_…`` hooks, which are called for everything, are left out. Of more than 56
        messages the middle ones are left out. ``.svg``, ``.alt_text``, ``.mermaid`` and ``.save(path)`` as for
        ``diagram()``.
        """
        durations = {id(row): self._row_duration_ms(place, row) for place, row in enumerate(self._rows)}
        participants, messages = story_of(
            self._rows,
            question=self.question,
            handler=self.handler,
            status=self._status,
            duration_ms=lambda row: durations.get(id(row)),
        )
        return sequence_diagram(
            self._title("Messages"), self._subtitle(), participants, messages, self._footer()
        )

    def timeline(self) -> Plot:
        """Draw how long each step took: a bar for each, in lanes for you, the API, the model and the tools.

        Functions that ran side by side stand below each other. Steps that nobody timed are named in the alternative
        text only; of more than 44 steps the middle ones are left out. ``.figure`` is the matplotlib figure, and
        ``.save(path)`` writes a PNG.
        """
        last_end = max((place for place, row in enumerate(self._rows) if row.is_end), default=-1)
        bars = []
        for place, row in enumerate(self._rows):
            duration_ms = self._row_duration_ms(place, row)
            status = self._row_status(place, row, last_end)
            bars.append(
                Bar(
                    place + 1,
                    lane_of(row),
                    row.name if row.outcome or row.state == "note" else row.state,
                    row.start,
                    None if duration_ms is None else row.start + duration_ms,
                    mark_of(row, status, last=place + 1 == len(self._rows)),
                    outcome_words(row) if row.outcome else "" if row.state == "note" else short_words(row),
                )
            )
        return draw_timeline(self._title("Timeline"), self._footer(), bars, self.duration_ms)

    def export(self, path: str | Path, *, include_text: bool = False) -> Path:
        """Write the trace to a file, one JSON object in a line (JSONL), without keys.

        The fields are described in ``trace_export.py``. Names, sizes, times, tokens, prices and the ids of responses
        and calls are written. What people, models and functions wrote is not kept by a trace, except for the
        beginnings that the table shows; these are written only if you ask for them.

        Args:
            path: ends in ``.jsonl``. An earlier export there is replaced.
            include_text: also write the question, the first query of a search and the reasons of failures, each
                shortened to at most 200 characters.

        Returns:
            The path.

        Raises:
            ConfigurationError: another ending, a folder that does not exist, or a file that is no export of a trace;
                what is there stays as it is.

        Example:
            ::

                run.trace.export("run.jsonl")
        """
        return write_lines(path, self._lines_to_export(include_text))

    def _lines_to_export(self, include_text: bool) -> list[dict[str, Any]]:
        last_end = max((place for place, row in enumerate(self._rows) if row.is_end), default=-1)
        head: dict[str, Any] = {
            "kind": "run",
            "format": FORMAT,
            "started_at": datetime.fromtimestamp(self._started_at_s, UTC).isoformat(timespec="milliseconds"),
            "assistant": self.assistant,
            "handler": self.handler,
            "model": self.model,
            "status": self._status,
            "includes_text": include_text,
        }
        if include_text:
            head["question"] = self.question
        steps = []
        for place, row in enumerate(self._rows):
            status = self._row_status(place, row, last_end)
            steps.append(
                step_fields(
                    row,
                    number=place + 1,
                    what=self._what(row, status, with_text=include_text),
                    status=status,
                    duration_ms=self._row_duration_ms(place, row),
                    price_usd=self._row_price_usd(row),
                    include_text=include_text,
                )
            )
        usage = self.tokens
        totals = {
            "kind": "totals",
            "steps": len(self._rows),
            "responses": len(self._responses),
            "functions": sum(bool(row.outcome) for row in self._rows),
            "events": self._events_seen,
            "unknown_events": sum(self._unknown.values()),
            "repeated_events": self._repeated,
            "input_tokens": usage.input,
            "cached_tokens": usage.cached,
            "output_tokens": usage.output,
            "reasoning_tokens": usage.reasoning,
            "total_tokens": usage.total,
            "price_usd": rounded(self.price_usd, 9),
            "estimated": self.estimated,
            "prices_checked_on": prices_checked_on(),
            "duration_ms": rounded(self.duration_ms, 3),
            "time_to_first_text_ms": rounded(self._first_text_ms, 3),
        }
        return [head, *steps, totals]

    def _title(self, what: str) -> str:
        return f"{what} of the run “{plain(self.question, 70)}”" if self.question else f"{what} of the run"

    def _subtitle(self) -> str:
        return " · ".join(part for part in (self.assistant, self.model) if part)

    def _footer(self) -> str:
        footer = [f"Total: {milliseconds(self.duration_ms)}"]
        if any(response.usage is not None for response in self._responses):
            footer.append(self._about(count(self.tokens.total, "token")))
        if self.price_usd is not None:
            footer.append(self._about(_usd(self.price_usd)) + (" (estimated)" if self.estimated else ""))
        return " · ".join(footer)


@dataclass(slots=True, eq=False)
class _Series:
    """Pieces of one item that follow each other, and where they are counted."""

    record: ResponseRecord
    kind: str
    item_id: object
    index: object
    row: Row
    run: EventRun


@dataclass(slots=True)
class _Box:
    """Neighbouring rows of one state, which a diagram shows as one box."""

    state: str
    count: int = 0
    duration_ms: float | None = None
    end_ms: float = 0.0
    moment: bool = False
    details: list[str] = field(default_factory=list)

    def add(self, start_ms: float, duration_ms: float | None, detail: str, *, moment: bool) -> None:
        self.count += 1
        self.moment = moment
        if duration_ms is not None:
            # What went on at the same time, as functions do, counts once.
            end_ms = start_ms + duration_ms
            self.duration_ms = (self.duration_ms or 0.0) + max(0.0, end_ms - max(start_ms, self.end_ms))
            self.end_ms = max(self.end_ms, end_ms)
        if detail and detail not in self.details:
            self.details.append(detail)

    def drawn(self, *, last: bool) -> State:
        who = WHO.get(self.state, "model")
        if who in ("end", "broken end") and not last:
            who = "api"  # a response ended here, and the run went on
        time_taken = "not timed" if self.duration_ms is None else milliseconds(self.duration_ms)
        times = {RUNNING_FUNCTIONS: "functions", "calling functions": "calls"}.get(self.state, "times")
        details = [f"{self.count:,} {times}"] if self.count > 1 else []
        return State(self.state, who, "" if self.moment else time_taken, ", ".join([*details, *self.details]))


def _positive(duration_ms: float) -> float:
    return duration_ms if duration_ms > 0 and math.isfinite(duration_ms) else 0.0


@functools.lru_cache(maxsize=256)
def _family(kind: str) -> str | None:
    return next((item_type for start, item_type in _FAMILIES if kind.startswith(start)), None)


def _usd(price_usd: float) -> str:
    return "<$0.000001" if 0 < price_usd < 0.000_000_5 else f"${price_usd:,.6f}"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return one row of the text table; a long second cell goes on in further lines."""
    step, what, *numbers = cells
    first, *more = textwrap.wrap(what, widths[1]) or [""]
    right = [text.rjust(width) for text, width in zip(numbers, widths[2:], strict=True)]
    lines = ["  ".join([step.rjust(widths[0]), first.ljust(widths[1]), *right])]
    lines += [" " * (widths[0] + 2) + line for line in more]
    return "\n".join(line.rstrip() for line in lines)


def _html(text: str) -> str:
    """Escape ``text`` for HTML, and keep the signs apart that would begin a formula where mathematics is drawn."""
    escaped = html.escape(text, quote=True)
    return escaped.replace("$", "<span>$</span>").replace("\\", "<span>\\</span>")
