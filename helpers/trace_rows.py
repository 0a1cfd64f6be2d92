"""What a trace keeps of a run: a row for each step, a record for each response, and the words for them.

Here live the counters that grow while events arrive, and the sentences and short words that are made of them. They
hold counts and short names, never the text of an answer, of a function's arguments or of its output. Not here: which
event changes which counter (``trace.py``), and drawing (``diagrams.py``, ``trace_sequence.py``, ``trace_timeline.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from helpers.diagrams import Who, plain
from helpers.fields import at, text_at
from helpers.models import token_price_usd

__all__ = [
    "BROKEN_ENDS",
    "ENDS",
    "LIMIT",
    "NOT_CALLED",
    "RUNNING_FUNCTIONS",
    "STATE_OF_ITEM",
    "STATE_OF_NOTE",
    "WHO",
    "OutputItem",
    "ResponseRecord",
    "Row",
    "count",
    "milliseconds",
    "outcome_words",
    "outputs_words",
    "short_words",
    "words",
]

LIMIT: Final = "limit reached"
RUNNING_FUNCTIONS: Final = "running functions"
ENDS: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})
BROKEN_ENDS: Final = frozenset({"incomplete", "failed", "cancelled", "interrupted", LIMIT})

STATE_OF_ITEM: Final = {
    "message": "writing text",
    "reasoning": "reasoning",
    "file_search_call": "searching files",
    "code_interpreter_call": "writing code",
    "function_call": "calling functions",
    "web_search_call": "searching the web",
}
# How a note begins, and the state that it stands for. Any other note is a row of the table and no state.
STATE_OF_NOTE: Final = (
    ("interrupt", "interrupted"),
    ("stop", "interrupted"),
    ("cut", "interrupted"),
    ("timed out", "interrupted"),
    ("limit", LIMIT),
    ("cancel", "cancelled"),
    ("fail", "failed"),
    ("retr", "retrying"),
    ("resum", "resuming"),
    ("function", RUNNING_FUNCTIONS),
)
WHO: Final[dict[str, Who]] = {
    "asking": "you",
    "retrying": "you",
    "resuming": "you",
    RUNNING_FUNCTIONS: "you",
    "created": "api",
    "queued": "api",
    "in_progress": "api",
    "completed": "end",
    **dict.fromkeys(BROKEN_ENDS, "broken end"),
}
# What can come of a function call beside "done", in words. Of those in the second set the function never began.
_OUTCOMES: Final = {
    "raised": "raised",
    "timed_out": "timed out",
    "wrong_arguments": "wrong arguments",
    "unknown_function": "unknown function",
    "wrong_result": "its result is no JSON",
    "interrupted": "interrupted",
    "not_run": "",
}
NOT_CALLED: Final = frozenset({"wrong_arguments", "unknown_function", "not_run"})
_UNFINISHED_OUTCOMES: Final = frozenset({"interrupted", "not_run"})
# More than any model can read; a number beyond it is damage, and Python refuses to print very long ones.
_MOST_TOKENS: Final = 10**12


@dataclass(slots=True, eq=False)
class Row:
    """One step while it grows: counts, and short texts that are safe to show. Times are in milliseconds."""

    state: str
    start: float
    record: ResponseRecord | None
    last: float = 0.0
    is_item: bool = False
    timed: bool = True
    closed: bool = False
    """It is over: what comes next does not make it longer."""
    finished: bool = False
    failed: str = ""
    name: str = ""
    detail: str = ""
    code: str = ""
    """The API's code of an error, such as ``server_error``; it is a part of ``detail`` as well."""
    tool: str = ""
    """What it adds to the price beside tokens, as ``tool_price_usd`` calls it."""
    looks: int = 0
    pieces: int = 0
    blanks: int = 0
    """How many of the pieces were empty."""
    characters: int = 0
    """Of the text, the code or the arguments."""
    citations: int = 0
    queries: int = 0
    passages: int = 0
    images: int = 0
    logs: int = 0
    """Characters that the code printed."""
    refused: bool = False
    ran_apart: bool = False
    """Of code: that it ran is a step of its own."""
    call_id: str = ""
    outcome: str = ""
    """Of a function that ran here: the status of its result; ``""`` for any other step."""
    batch: int = 0
    """Of a function that ran here: which round it belongs to, counted from 1."""
    took: float = 0.0
    """Of a function that ran here: milliseconds, as its result says."""
    output: int = 0
    """Of a function that ran here: characters of its output."""
    shortened: bool = False
    parts: list[int] = field(default_factory=list)
    """How many pieces there were each time the stream was cut and taken up again."""
    resumed: list[tuple[Row, int]] = field(default_factory=list)
    """Of a note that resumes a stream: the steps that were not finished, and which part of them came before."""

    def __post_init__(self) -> None:
        self.last = self.start

    @property
    def is_end(self) -> bool:
        """Whether a response, or the run, ends with it."""
        return self.state in ENDS or self.state in BROKEN_ENDS

    @property
    def outcome_status(self) -> str:
        """The status of a function that ran here: ``done``, ``failed`` or ``unfinished``."""
        if self.outcome == "done":
            return "done"
        return "unfinished" if self.outcome in _UNFINISHED_OUTCOMES else "failed"


@dataclass(slots=True, eq=False)
class OutputItem:
    """An output item: the row that it writes to now and, for code that runs, the one where it was written."""

    type: str
    row: Row
    written: Row | None = None


@dataclass(slots=True, eq=False)
class ResponseRecord:
    """What is known about one response; the totals of a trace are sums over these."""

    number: int
    id: str = ""
    model: str = ""
    estimated: bool = False
    usage: tuple[int, int, int, int, int] | None = None
    """Tokens: input, cached, output, reasoning, total."""
    end: Row | None = None
    streamed: bool = False
    """Whether events told of it; else it was seen by polling."""
    states: set[str] = field(default_factory=set)
    items: dict[tuple[str, object], OutputItem] = field(default_factory=dict)
    last_sequence: int = -1
    replaying: bool = False

    def absorb(self, response: object) -> None:
        """Take over what a snapshot says. Token counts only grow, so that an older snapshot takes nothing back."""
        self.model = plain(text_at(response, "model"), 60) or self.model
        metadata = at(response, "metadata")
        if isinstance(metadata, Mapping) and "workshop_source" in metadata:
            self.estimated = True
        usage = at(response, "usage")
        told_input, told_output = at(usage, "input_tokens"), at(usage, "output_tokens")
        if not isinstance(told_input, int) and not isinstance(told_output, int):
            return
        read, written = _tokens(told_input), _tokens(told_output)
        found = (
            read,
            _tokens(at(at(usage, "input_tokens_details"), "cached_tokens")),
            written,
            _tokens(at(at(usage, "output_tokens_details"), "reasoning_tokens")),
            _tokens(at(usage, "total_tokens")) or read + written,
        )
        before = self.usage or (0, 0, 0, 0, 0)
        a, b, c, d, e = (max(pair) for pair in zip(found, before, strict=True))
        self.usage = (a, b, c, d, e)

    def repeats(self, event: object) -> bool:
        """Whether ``event`` was received before: a resumed stream may begin a little earlier than the cut."""
        number = at(event, "sequence_number")
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

    def item(self, index: object, id: object, item_type: str) -> OutputItem | None:
        """Return the item that an event or a snapshot is about, or ``None`` if it is new."""
        known = self.items.get(("id", id)) if isinstance(id, str) else None
        if known is None and isinstance(index, int):
            # Some servers change an item's id on the way; its place in the output stays.
            known = self.items.get(("at", index))
            if known is not None and item_type and known.type != item_type:
                known = None
        return known

    def keep(self, item: OutputItem, index: object, id: object) -> OutputItem:
        """Remember where ``item`` is found again, and return it."""
        if isinstance(id, str):
            self.items["id", id] = item
        if isinstance(index, int):
            self.items["at", index] = item
        return item


def _tokens(value: object) -> int:
    return min(max(value, 0), _MOST_TOKENS) if isinstance(value, int) else 0


# -- a step in words --------------------------------------------------------------------------------------------------


def words(row: Row, *, with_text: bool = True) -> str:
    """Say what happened in a step, in the past tense.

    Args:
        row: the step.
        with_text: whether to quote what people, models and functions wrote; else errors are told by their codes.
    """
    size = count(row.characters, "character")
    detail = row.detail if with_text else row.code
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
            return _search_words(row, detail)
        case "writing code":
            pieces = f"{count(row.pieces, 'piece')}, " if row.pieces else ""
            ran = f"; ran it: {outputs_words(row)}" if outputs_words(row) else ""
            return f"wrote code: {pieces}{size}{ran}"
        case "running code":
            return f"ran the code: {outputs_words(row)}" if outputs_words(row) else "ran the code"
        case "writing text":
            return _text_words(row, size)
        case "calling functions":
            arguments = f", with {size} of arguments" if row.characters else ""
            return f"asked to call {row.name or 'a function'}{arguments}"
        case "searching the web":
            return "searched the web"
        case "using a tool":
            return f"used a tool: {row.name}" if row.name else "used a tool"
        case "running functions" if row.outcome:
            return _function_words(row, detail)
        case "completed" | "incomplete" | "failed" | "cancelled" if row.record is not None:
            return _end_words(row, detail)
    if row.record is None:
        return f"{row.name}: {detail}" if detail else row.name
    return f"status: {row.state}"


def _search_words(row: Row, detail: str) -> str:
    told = "searched the files"
    if detail:
        told += f" for “{detail}”"
        if row.queries > 1:
            told += f" and {count(row.queries - 1, 'more query', 'more queries')}"
    elif row.queries:
        told += f" with {count(row.queries, 'query', 'queries')}"
    return f"{told}, {count(row.passages, 'passage')} found" if row.passages else told


def _text_words(row: Row, size: str) -> str:
    told = f"wrote {count(row.pieces, 'piece')} of text, {size}" if row.pieces else f"wrote {size} of text"
    if row.citations:
        told += f", {count(row.citations, 'citation')}"
    return f"declined to answer: {told}" if row.refused else told


def outcome_words(row: Row) -> str:
    """Say in two or three words what came of a function call; ``""`` if all went well."""
    return "" if row.outcome == "done" else _OUTCOMES.get(row.outcome, row.outcome.replace("_", " "))


def _function_words(row: Row, detail: str) -> str:
    told = f"{'did not run' if row.outcome in NOT_CALLED else 'ran'} {row.name or 'a function'}"
    why = detail.rstrip(".") or outcome_words(row)
    if why:
        told += f" ({why})"
    if row.outcome == "not_run" and not row.output:
        return told
    told += f", {count(row.output, 'character')} of output"
    return f"{told}, cut to fit" if row.shortened else told


def _end_words(row: Row, detail: str) -> str:
    told = {"incomplete": "stopped early", "failed": "failed"}.get(row.state, row.state)
    if row.name == "error":
        told = "the API reported an error"
    if detail:
        told += f": {detail}"
    record = row.record
    if record is None or record.end is not row or record.usage is None:
        return told
    read, cached, written, reasoning, _ = record.usage
    told += f"{';' if detail else ':'} read {count(read, 'token')}"
    told += f" ({cached:,} from the cache)" if cached else ""
    told += f", wrote {written:,}"
    return told + (f" ({reasoning:,} to reason)" if reasoning else "")


def outputs_words(row: Row) -> str:
    """Say what code that ran gave back; ``""`` if nothing is known of it."""
    parts = []
    if row.images:
        parts.append(count(row.images, "image"))
    if row.logs:
        parts.append(f"{count(row.logs, 'character')} printed")
    return ", ".join(parts)


def short_words(row: Row) -> str:
    """Say in two or three words what a box of a diagram should add to its state."""
    match row.state:
        case "created":
            return f"response {row.record.number:,}" if row.record else ""
        case "searching files":
            found = [count(row.queries, "query", "queries")] if row.queries else []
            return ", ".join([*found, *([count(row.passages, "passage")] if row.passages else [])])
        case "writing text" | "writing code":
            return count(row.characters, "character")
        case "running code":
            return count(row.images, "image") if row.images else outputs_words(row)
        case "calling functions" | "using a tool":
            return row.name
        case "running functions" if row.outcome:
            why = outcome_words(row) or ("not run" if row.outcome == "not_run" else "")
            return f"{row.name} ({why})" if why else row.name
        case "completed":
            if row.record is None or row.record.usage is None:
                return ""
            tokens = count(row.record.usage[-1], "token")
            return f"≈ {tokens}" if row.record.estimated else tokens
        case "queued" | "in_progress":
            return f"looked {row.looks:,} times" if row.looks > 1 else ""
    return row.detail


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun, such as ``"2 images"``."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def milliseconds(duration_ms: float) -> str:
    """Return a duration as it is shown, such as ``"1,204 ms"``."""
    return f"{duration_ms:,.0f} ms"
