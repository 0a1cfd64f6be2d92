"""The trace of a run: what happened, in order, with times, tokens and price.

Here stream events, snapshots from polling and notes of our own become steps, and the steps become a table. What is
kept are counts and short names, never the text itself, so that a long answer takes no more memory than a short one.
Not here: drawing (``diagrams.py``), what a token costs (``models.py``), and getting the events (``run.py``).
"""

from __future__ import annotations

import functools
import html
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from helpers.diagrams import Diagram, State, Who, plain, state_diagram
from helpers.models import prices_checked_on, token_price_usd, tool_price_usd

__all__ = ["EventRun", "Step", "Trace", "Usage"]

_ENDS: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})
_BROKEN_ENDS: Final = frozenset({"incomplete", "failed", "cancelled", "interrupted"})

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
_STATE_OF_ITEM: Final = {
    "message": "writing text",
    "reasoning": "reasoning",
    "file_search_call": "searching files",
    "code_interpreter_call": "writing code",
    "function_call": "calling functions",
    "web_search_call": "searching the web",
}
# How a note begins, and the state that it stands for. Any other note is a row of the table and no state.
_STATE_OF_NOTE: Final = (
    ("interrupt", "interrupted"),
    ("stop", "interrupted"),
    ("cut", "interrupted"),
    ("timed out", "interrupted"),
    ("cancel", "cancelled"),
    ("fail", "failed"),
    ("retr", "retrying"),
    ("resum", "resuming"),
    ("function", "running functions"),
)
_WHO: Final[dict[str, Who]] = {
    "asking": "you",
    "retrying": "you",
    "resuming": "you",
    "running functions": "you",
    "created": "api",
    "queued": "api",
    "in_progress": "api",
    "completed": "end",
    **dict.fromkeys(_BROKEN_ENDS, "broken end"),
}
_WIDEST: Final = 64
_MOST_NAMES: Final = 20
_MOST_EVENT_RUNS: Final = 2_000
# More than any model can read; a number beyond it is damage, and Python refuses to print very long ones.
_MOST_TOKENS: Final = 10**12


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
    ``cancelled``, ``interrupted``."""
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
    """``done``, ``running``, ``unfinished`` (the run ended before it did), ``failed`` or ``incomplete``."""


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
    still going on.

    Args:
        question: what was asked; shown above the table, shortened.
        assistant: the assistant's name.
        clock: returns the time in seconds, from any starting point.

    Example:
        >>> trace = Trace(question="Hello?")
        >>> trace.add({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}})
        >>> [step.state for step in trace.steps]
        ['asking', 'created']
    """

    def __init__(
        self, question: str = "", assistant: str = "", clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.question = plain(question)
        self.assistant = plain(assistant, 100)
        self._clock = clock
        self._start_s = clock()
        self._last_ms = 0.0
        self._first_text_ms: float | None = None
        self._status = "not_started"
        self._rows: list[_Row] = []
        self._responses: list[_Response] = []
        self._by_id: dict[str, _Response] = {}
        self._current: _Response | None = None
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
            self._last_ms = 0.0

    def add(self, event: object) -> None:
        """Take in one event of a stream. Events of unknown kinds are counted; nothing here raises.

        Args:
            event: an event object of the SDK, or the same as a dict.
        """
        now = self._now()
        kind = _get(event, "type")
        if not isinstance(kind, str):
            kind = "(no type)"
        self._note_event(kind, now)
        family = _family(kind)
        if family is None and not kind.startswith("response.output_item."):
            response = None if kind == "error" else _get(event, "response")
            if kind == "error":
                self._add_error(event, now)
            elif response is not None:
                self._add_response_event(kind, response, event, now)
            else:
                self._count_unknown(kind)
            return
        record = self._record_of_item(event, now)
        if record.repeats(event):
            self._repeated += 1
            return
        if self._status in ("not_started", "interrupted"):
            self._status = "in_progress"
        self._add_item_event(record, kind, family, event, now)

    def add_response(self, response: object) -> None:
        """Take in a response as it is seen from outside: from ``create`` without a stream, or from polling.

        Args:
            response: a ``Response`` of the SDK, or the same as a dict. Looking twice at an unchanged one is counted.
        """
        now = self._now()
        record = self._record_of(response, now)
        record.absorb(response)
        status = plain(_string(_get(response, "status")), 40)
        if not status:
            return
        if status in _ENDS:
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
                the run as ``interrupted``, "cancelled" as ``cancelled``, "failed" as ``failed``; "retrying",
                "resuming" and "function …" are states of their own; anything else is only a row of the table.
            detail: more of it, such as the function's name.
            duration_ms: how long it took until now, in milliseconds. Left out, it fills the time since the response
                ended, and is a moment without length while one is running. Retrying and resuming then go on until
                the next thing happens.
        """
        now = self._now()
        what = plain(what)
        words = what.lower()
        state = next((state for start, state in _STATE_OF_NOTE if words.startswith(start)), "note")
        last = self._rows[-1] if self._rows else self._open("asking", 0.0, None)
        start = last.last if last.closed else now
        if duration_ms is not None:
            start = max(0.0, now - max(0.0, duration_ms))
        row = self._open(state, start, None)
        row.last = max(start, now)
        row.closed = duration_ms is not None or state not in ("retrying", "resuming")
        row.name, row.detail = what, plain(detail)
        if state in _BROKEN_ENDS:
            self._status = state

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
        record.absorb(response)
        if record.repeats(event):
            self._repeated += 1
        state = kind.removeprefix("response.")
        if state in _ENDS:
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
        inner = _get(event, "error")
        inner = event if inner is None else inner
        record = self._current if self._current is not None else self._new_record(None, now)
        code, message = _string(_get(inner, "code")), _string(_get(inner, "message"))
        row = self._open("failed", now, record)
        row.name = "error"
        row.detail = plain(": ".join(part for part in (code, message) if part))
        row.closed = True
        self._status = "failed"

    def _finish(self, record: _Response, status: str, response: object, now: float) -> None:
        """Note the end of a response, and whatever its output tells that no event had told before."""
        for index, item in enumerate(_list(_get(response, "output"))):
            known = record.item(index, _get(item, "id"), _string(_get(item, "type")))
            if known is None:
                known = self._new_item(record, index, item, None, now)
                known.row.timed = False  # it happened at some time before now
            if _string(_get(item, "status")) in ("", "completed"):
                known.row.finished = True
            self._fill(known, item, done=True)
        self._status = status
        if record.end is not None and record.end.state == status:
            return
        row = record.end = self._open(status, now, record)
        row.closed = True
        if status == "failed":
            error = _get(response, "error")
            parts = (_string(_get(error, "code")), _string(_get(error, "message")))
            row.detail = plain(": ".join(part for part in parts if part))
        elif status == "incomplete":
            row.detail = plain(_string(_get(_get(response, "incomplete_details"), "reason")))

    # ---- responses

    def _record_of(self, response: object, now: float, *, new: bool = False) -> _Response:
        id = _string(_get(response, "id"))
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

    def _record_of_item(self, event: object, now: float) -> _Response:
        current = self._current
        if current is None:
            return self._new_record(None, now)
        if current.end is not None:
            # After the end only late news of a known item belongs to this response; else the next one has begun.
            id = _get(event, "item_id") or _get(_get(event, "item"), "id")
            if isinstance(id, str) and ("id", id) not in current.items:
                return self._new_record(None, now)
        return current

    def _new_record(self, id: str | None, now: float) -> _Response:
        last = self._rows[-1] if self._rows else None
        if last is None:
            self._open("asking", 0.0, None)
        elif last.closed:
            self._open("asking", last.last, None).name = "sent the next request and waited"
        record = _Response(number=len(self._responses) + 1, id=id or "")
        self._responses.append(record)
        if id:
            self._by_id[id] = record
        self._current = record
        if self._rows:
            self._rows[-1].last = now
        return record

    def _open(self, state: str, start_ms: float, record: _Response | None) -> _Row:
        row = _Row(state, start_ms, record)
        self._rows.append(row)
        return row

    # ---- items

    def _add_item_event(
        self, record: _Response, kind: str, family: str | None, event: object, now: float
    ) -> None:
        # Only these hold an item. Asking the many others for what they have not got is slow with the SDK's objects.
        item = _get(event, "item") if family is None else None
        id = _get(event, "item_id") if item is None else _get(item, "id")
        index = _get(event, "output_index")
        item_type = family or _string(_get(item, "type"))
        known = record.item(index, id, item_type)
        if known is None:
            known = self._new_item(record, index, item, id, now, item_type)
        if kind == "response.code_interpreter_call.interpreting":
            self._start_code(known, now)
        row = known.row
        row.last = now
        if kind.endswith(".delta"):
            delta = _get(event, "delta")
            row.pieces += 1
            if isinstance(delta, str):
                row.characters += len(delta)
                if delta and self._first_text_ms is None and item_type == "message":
                    self._first_text_ms = now
            if kind == "response.refusal.delta":
                row.refused = True
        elif kind == "response.output_text.annotation.added":
            row.citations += 1
        elif item is not None:
            done = kind == "response.output_item.done"
            self._fill(known, item, done=done)
            row.finished = row.finished or done

    def _new_item(
        self, record: _Response, index: object, item: object, id: object, now: float, item_type: str = ""
    ) -> _Item:
        item_type = item_type or _string(_get(item, "type"))
        row = self._open(_STATE_OF_ITEM.get(item_type, "using a tool"), now, record)
        row.is_item = True
        row.name = plain(_string(_get(item, "name")), 60)
        if not row.name and row.state == "using a tool":
            row.name = plain(item_type, 60).removesuffix("_call").replace("_", " ")
        return record.keep(_Item(item_type, row), index, id if item is None else _get(item, "id"))

    def _start_code(self, known: _Item, now: float) -> None:
        """The code is written and runs from now on: a step of its own."""
        if known.row.state != "writing code":
            return
        written = known.row
        written.finished, written.last = True, now
        known.written = written
        known.row = self._open("running code", now, written.record)
        known.row.is_item = True
        known.row.tool, written.tool = written.tool, ""

    def _fill(self, known: _Item, item: object, *, done: bool) -> None:
        """Take from an item what its events do not carry, and what was missed of them. Counts only grow."""
        row = known.row
        status = _string(_get(item, "status"))
        if status in ("failed", "incomplete"):
            row.failed = status
        row.name = row.name or plain(_string(_get(item, "name")), 60)
        if known.type == "message":
            parts = _list(_get(item, "content"))
            row.refused = row.refused or any(_get(part, "type") == "refusal" for part in parts)
            texts = [_string(_get(part, "text")) or _string(_get(part, "refusal")) for part in parts]
            row.characters = max(row.characters, sum(len(text) for text in texts))
            row.citations = max(row.citations, sum(len(_list(_get(part, "annotations"))) for part in parts))
        elif known.type == "reasoning":
            parts = [*_list(_get(item, "summary")), *_list(_get(item, "content"))]
            row.characters = max(row.characters, sum(len(_string(_get(part, "text"))) for part in parts))
        elif known.type == "function_call":
            row.characters = max(row.characters, len(_string(_get(item, "arguments"))))
        elif known.type == "file_search_call":
            queries = [query for query in _list(_get(item, "queries")) if isinstance(query, str)]
            if queries:
                row.queries, row.detail = len(queries), plain(queries[0], 80)
            row.passages = max(row.passages, len(_list(_get(item, "results"))))
            if done:
                row.tool = "file_search_call"
        elif known.type == "code_interpreter_call":
            self._fill_code(known, item)

    def _fill_code(self, known: _Item, item: object) -> None:
        row, written = known.row, known.written or known.row
        written.characters = max(written.characters, len(_string(_get(item, "code"))))
        container = _get(item, "container_id")
        if isinstance(container, str) and container and container not in self._containers:
            self._containers.add(container)
            row.tool = "container_session"
        outputs = _list(_get(item, "outputs"))
        row.images = max(row.images, sum(_get(output, "type") == "image" for output in outputs))
        row.logs = max(row.logs, sum(len(_string(_get(output, "logs"))) for output in outputs))

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

    def _row_status(self, place: int, row: _Row, last_end: int) -> str:
        if row.failed:
            return row.failed
        if row.state in ("failed", "incomplete"):
            return row.state
        if row.closed or row.finished:
            return "done"
        if row.is_item:
            return "unfinished" if place < last_end else "running"
        return "done" if place + 1 < len(self._rows) else "running"

    def _row_duration_ms(self, place: int, row: _Row) -> float | None:
        if not row.timed:
            return None
        end = row.last
        if not row.closed and place + 1 < len(self._rows):
            end = max(end, self._rows[place + 1].start)
        return max(0.0, end - row.start)

    @staticmethod
    def _counts_tokens(row: _Row) -> bool:
        return row.record is not None and row.record.end is row

    def _row_tokens(self, row: _Row) -> int | None:
        if row.record is None or row.record.usage is None or not self._counts_tokens(row):
            return None
        return row.record.usage[-1]

    def _row_price_usd(self, row: _Row) -> float | None:
        if row.tool:
            return tool_price_usd(row.tool)
        return row.record.price_usd if row.record is not None and self._counts_tokens(row) else None

    def _what(self, row: _Row, status: str) -> str:
        words = _words(row)
        if row.looks > 1:
            words += f" (looked {row.looks:,} times)"
        if row.is_item and status not in ("done", "running"):
            words += f" ({status})"
        if row.is_item and not row.timed:
            words += " (seen afterwards)"
        return words

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
                "–" if step.duration_ms is None else _ms(step.duration_ms),
                "" if step.price_usd is None else self._about(_usd(step.price_usd)),
            )
            for step in self.steps
        ]
        counted = any(response.usage is not None for response in self._responses)
        total = (
            "",
            "total",
            self._about(f"{self.tokens.total:,}") if counted else "?",
            _ms(self.duration_ms),
            "?" if self.price_usd is None else self._about(_usd(self.price_usd)),
        )
        return ("step", "what happened", "tokens", "time", "price"), rows, total, self._lines()

    def _heading(self) -> str:
        asked = f"“{plain(self.question, 80)}”" if self.question else ""
        return " · ".join(part for part in ("Trace", asked, self.assistant, self.model, self.status) if part)

    def _lines(self) -> list[str]:
        lines = []
        if self._first_text_ms is not None:
            lines.append(f"First text after {_ms(self._first_text_ms)}.")
        lines.append(self._price_line())
        if self._unknown:
            names = ", ".join(self._unknown)
            lines.append(
                f"Also received: {_count(sum(self._unknown.values()), 'event')} of a kind that this trace does not "
                f"know ({names})."
            )
        if self._repeated:
            lines.append(
                f"{_count(self._repeated, 'event')} arrived a second time, as after a resumed stream; "
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
            parts.append(f"{price} for {_count(searches, 'file search', 'file searches')}")
        containers = sum(row.tool == "container_session" for row in self._rows)
        if containers:
            price = self._about(_usd(containers * tool_price_usd("container_session")))
            parts.append(
                f"at most {price} for {_count(containers, 'container')} (a whole session; less if it was short or "
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
            boxes[-1].add(self._row_duration_ms(place, row), _short(row), moment=row.is_end)
        states = [box.drawn(last=place + 1 == len(boxes)) for place, box in enumerate(boxes)]
        title = f"States of the run “{plain(self.question, 70)}”" if self.question else "States of the run"
        subtitle = " · ".join(part for part in (self.assistant, self.model) if part)
        footer = [f"Total: {_ms(self.duration_ms)}"]
        if any(response.usage is not None for response in self._responses):
            footer.append(self._about(_count(self.tokens.total, "token")))
        if self.price_usd is not None:
            footer.append(self._about(_usd(self.price_usd)) + (" (estimated)" if self.estimated else ""))
        return state_diagram(title, subtitle, states, " · ".join(footer))


@dataclass(slots=True, eq=False)
class _Row:
    """One step while it grows: counts, and short texts that are safe to show."""

    state: str
    start: float
    record: _Response | None
    last: float = 0.0
    is_item: bool = False
    timed: bool = True
    closed: bool = False
    """It is over: what comes next does not make it longer."""
    finished: bool = False
    failed: str = ""
    name: str = ""
    detail: str = ""
    tool: str = ""
    """What it adds to the price beside tokens, as ``tool_price_usd`` calls it."""
    looks: int = 0
    pieces: int = 0
    characters: int = 0
    citations: int = 0
    queries: int = 0
    passages: int = 0
    images: int = 0
    logs: int = 0
    refused: bool = False

    def __post_init__(self) -> None:
        self.last = self.start

    @property
    def is_end(self) -> bool:
        return self.state in _ENDS or self.state in _BROKEN_ENDS


@dataclass(slots=True, eq=False)
class _Item:
    """An output item: the row that it writes to now and, for code that runs, the one where it was written."""

    type: str
    row: _Row
    written: _Row | None = None


@dataclass(slots=True, eq=False)
class _Response:
    """What is known about one response; the totals of a trace are sums over these."""

    number: int
    id: str = ""
    model: str = ""
    estimated: bool = False
    usage: tuple[int, int, int, int, int] | None = None
    """Tokens: input, cached, output, reasoning, total."""
    end: _Row | None = None
    states: set[str] = field(default_factory=set)
    items: dict[tuple[str, object], _Item] = field(default_factory=dict)
    last_sequence: int = -1
    replaying: bool = False

    def absorb(self, response: object) -> None:
        """Take over what a snapshot says. Token counts only grow, so that an older snapshot takes nothing back."""
        self.model = plain(_string(_get(response, "model")), 60) or self.model
        metadata = _get(response, "metadata")
        if isinstance(metadata, Mapping) and "workshop_source" in metadata:
            self.estimated = True
        usage = _get(response, "usage")
        told_input, told_output = _get(usage, "input_tokens"), _get(usage, "output_tokens")
        if not isinstance(told_input, int) and not isinstance(told_output, int):
            return
        read, written = _tokens(told_input), _tokens(told_output)
        found = (
            read,
            _tokens(_get(_get(usage, "input_tokens_details"), "cached_tokens")),
            written,
            _tokens(_get(_get(usage, "output_tokens_details"), "reasoning_tokens")),
            _tokens(_get(usage, "total_tokens")) or read + written,
        )
        before = self.usage or (0, 0, 0, 0, 0)
        a, b, c, d, e = (max(pair) for pair in zip(found, before, strict=True))
        self.usage = (a, b, c, d, e)

    def repeats(self, event: object) -> bool:
        """Whether ``event`` was received before: a resumed stream may begin a little earlier than the cut."""
        number = _get(event, "sequence_number")
        if not isinstance(number, int):
            return False
        if number > self.last_sequence:
            self.last_sequence = number
            self.replaying = False
        elif number < self.last_sequence:
            self.replaying = True
        return self.replaying

    @property
    def price_usd(self) -> float | None:
        """The price of the tokens in US dollars; ``None`` if they, or the model's prices, are not known."""
        if self.usage is None:
            return None
        read, cached, written, _, _ = self.usage
        return token_price_usd(self.model, input_tokens=read, cached_tokens=cached, output_tokens=written)

    def item(self, index: object, id: object, item_type: str) -> _Item | None:
        """Return the item that an event or a snapshot is about, or ``None`` if it is new."""
        known = self.items.get(("id", id)) if isinstance(id, str) else None
        if known is None and isinstance(index, int):
            # Some servers change an item's id on the way; its place in the output stays.
            known = self.items.get(("at", index))
            if known is not None and item_type and known.type != item_type:
                known = None
        return known

    def keep(self, item: _Item, index: object, id: object) -> _Item:
        """Remember where ``item`` is found again, and return it."""
        if isinstance(id, str):
            self.items["id", id] = item
        if isinstance(index, int):
            self.items["at", index] = item
        return item


@dataclass(slots=True)
class _Box:
    """Neighbouring rows of one state, which a diagram shows as one box."""

    state: str
    count: int = 0
    duration_ms: float | None = None
    moment: bool = False
    details: list[str] = field(default_factory=list)

    def add(self, duration_ms: float | None, detail: str, *, moment: bool) -> None:
        self.count += 1
        self.moment = moment
        if duration_ms is not None:
            self.duration_ms = (self.duration_ms or 0.0) + duration_ms
        if detail and detail not in self.details:
            self.details.append(detail)

    def drawn(self, *, last: bool) -> State:
        who = _WHO.get(self.state, "model")
        if who in ("end", "broken end") and not last:
            who = "api"  # a response ended here, and the run went on
        time_taken = "not timed" if self.duration_ms is None else _ms(self.duration_ms)
        details = [f"{self.count:,} times"] if self.count > 1 else []
        return State(self.state, who, "" if self.moment else time_taken, ", ".join([*details, *self.details]))


def _words(row: _Row) -> str:
    """Say what happened in a step, in the past tense."""
    size = _count(row.characters, "character")
    match row.state:
        case "asking":
            return row.name or "sent the question and waited for the first sign"
        case "created":
            return f"response {row.record.number if row.record else 1:,} was created"
        case "queued":
            return "waited in the queue"
        case "in_progress":
            return "the model was at work" if row.looks else "the model started"
        case "reasoning":
            return f"reasoned, {size} of summary" if row.characters else "reasoned"
        case "searching files":
            return _search_words(row)
        case "writing code":
            pieces = f"{_count(row.pieces, 'piece')}, " if row.pieces else ""
            ran = f"; ran it: {_outputs(row)}" if _outputs(row) else ""
            return f"wrote code: {pieces}{size}{ran}"
        case "running code":
            return f"ran the code: {_outputs(row)}" if _outputs(row) else "ran the code"
        case "writing text":
            return _text_words(row, size)
        case "calling functions":
            arguments = f", with {size} of arguments" if row.characters else ""
            return f"asked to call {row.name or 'a function'}{arguments}"
        case "searching the web":
            return "searched the web"
        case "using a tool":
            return f"used a tool: {row.name}" if row.name else "used a tool"
        case "completed" | "incomplete" | "failed" | "cancelled" if row.record is not None:
            return _end_words(row)
    if row.record is None:
        return f"{row.name}: {row.detail}" if row.detail else row.name
    return f"status: {row.state}"


def _search_words(row: _Row) -> str:
    words = "searched the files"
    if row.detail:
        words += f" for “{row.detail}”"
    if row.queries > 1:
        words += f" and {_count(row.queries - 1, 'more query', 'more queries')}"
    return f"{words}, {_count(row.passages, 'passage')} found" if row.passages else words


def _text_words(row: _Row, size: str) -> str:
    words = f"wrote {_count(row.pieces, 'piece')} of text, {size}" if row.pieces else f"wrote {size} of text"
    if row.citations:
        words += f", {_count(row.citations, 'citation')}"
    return f"declined to answer: {words}" if row.refused else words


def _end_words(row: _Row) -> str:
    words = {"incomplete": "stopped early", "failed": "failed"}.get(row.state, row.state)
    if row.name == "error":
        words = "the API reported an error"
    if row.detail:
        words += f": {row.detail}"
    record = row.record
    if record is None or record.end is not row or record.usage is None:
        return words
    read, cached, written, reasoning, _ = record.usage
    words += f"{';' if row.detail else ':'} read {_count(read, 'token')}"
    words += f" ({cached:,} from the cache)" if cached else ""
    words += f", wrote {written:,}"
    return words + (f" ({reasoning:,} to reason)" if reasoning else "")


def _outputs(row: _Row) -> str:
    parts = []
    if row.images:
        parts.append(_count(row.images, "image"))
    if row.logs:
        parts.append(f"{_count(row.logs, 'character')} printed")
    return ", ".join(parts)


def _short(row: _Row) -> str:
    """Say in two or three words what a box of the diagram should add to its state."""
    match row.state:
        case "created":
            return f"response {row.record.number:,}" if row.record else ""
        case "searching files":
            found = [_count(row.queries, "query", "queries")] if row.queries else []
            return ", ".join([*found, *([_count(row.passages, "passage")] if row.passages else [])])
        case "writing text" | "writing code":
            return _count(row.characters, "character")
        case "running code":
            return _count(row.images, "image") if row.images else _outputs(row)
        case "calling functions" | "using a tool":
            return row.name
        case "completed":
            if row.record is None or row.record.usage is None:
                return ""
            tokens = _count(row.record.usage[-1], "token")
            return f"≈ {tokens}" if row.record.estimated else tokens
        case "queued" | "in_progress":
            return f"looked {row.looks:,} times" if row.looks > 1 else ""
    return row.detail


def _get(value: object, name: str) -> Any:
    """Return a field of an SDK object or of a dict, or ``None``: a missing field is never an error here."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _tokens(value: object) -> int:
    return min(max(value, 0), _MOST_TOKENS) if isinstance(value, int) else 0


@functools.lru_cache(maxsize=256)
def _family(kind: str) -> str | None:
    return next((item_type for start, item_type in _FAMILIES if kind.startswith(start)), None)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def _ms(duration_ms: float) -> str:
    return f"{duration_ms:,.0f} ms"


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
