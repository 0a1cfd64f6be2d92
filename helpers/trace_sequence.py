"""The steps of a run as messages: who asked whom for what, and what came back.

Here the rows of a trace become the participants and messages of a sequence diagram: you, the notebook, the event
handler, the API, and each tool and function that was used. Which hooks were called follows from the events, by the
rules of ``handlers.py``. Not here: what a row holds (``trace_rows.py``) and what a message looks like (``diagrams.py``).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from helpers.diagrams import Kind, Message, Participant, Role, plain
from helpers.trace_rows import (
    LIMIT,
    NOT_CALLED,
    Row,
    count,
    milliseconds,
    outcome_words,
    outputs_words,
)

__all__ = ["story_of"]

_MOST_FUNCTIONS: Final = 3
_MOST_TOOLS: Final = 3
_STATUS_STATES: Final = frozenset({"created", "queued", "in_progress"})
# The tool at the API that a step is about.
_TOOLS: Final = {
    "searching files": "file search",
    "running code": "code interpreter",
    "searching the web": "web search",
}


def story_of(
    rows: Sequence[Row],
    *,
    question: str,
    handler: str,
    status: str,
    duration_ms: Callable[[Row], float | None],
) -> tuple[list[Participant], list[Message]]:
    """Return the participants and the messages of a run.

    Args:
        rows: the steps, in order.
        question: what was asked; may be empty.
        handler: the name of the handler's class; may be empty.
        status: the trace's status.
        duration_ms: returns how long a step took, in milliseconds; ``None`` if that is not known.
    """
    if not rows:
        return [], []
    teller = _Teller(rows, handler, duration_ms)
    teller.tell(question, status)
    return teller.participants, teller.messages


class _Teller:
    def __init__(self, rows: Sequence[Row], handler: str, duration_ms: Callable[[Row], float | None]) -> None:
        self.rows = rows
        self.duration_ms = duration_ms
        self.messages: list[Message] = []
        self.requests = 0
        self.groups = 0
        functions = _named(
            (row.name for row in rows if row.outcome and row.outcome not in NOT_CALLED),
            _MOST_FUNCTIONS,
            "other functions",
        )
        tools = _named((name for row in rows if (name := _tool(row))), _MOST_TOOLS, "other tools")
        # Polling has no handler; nothing has called one either if no event has come yet.
        self.streamed = any(row.record is not None and row.record.streamed for row in rows)
        self.participants = [Participant("you", "person")]
        self.functions = self._places(functions, "function")
        self.notebook = self._join(Participant("notebook", "notebook"))
        self.handler = self.notebook
        if self.streamed:
            self.handler = self._join(Participant("handler", "handler", handler))
        self.api = self._join(Participant("API", "api"))
        self.tools = self._places(tools, "tool")

    def _join(self, participant: Participant) -> int:
        self.participants.append(participant)
        return len(self.participants) - 1

    def _places(self, names: dict[str, str], role: Role) -> dict[str, int]:
        """Return the lifeline of each name; those beyond the limit share one."""
        places: dict[str, int] = {}
        for shown in dict.fromkeys(names.values()):
            places[shown] = self._join(Participant(shown, role))
        return {name: places[shown] for name, shown in names.items()}

    def _say(
        self,
        source: int,
        target: int,
        text: str,
        kind: Kind = "call",
        detail: str = "",
        *,
        hooks: Sequence[str] = (),
        group: int = 0,
    ) -> None:
        called = tuple(hooks) if self.streamed else ()
        self.messages.append(Message(source, target, text, kind, detail, called, self.handler, group))

    # ---- from the first row to the last

    def tell(self, question: str, status: str) -> None:
        self._say(0, self.notebook, "question", detail=f"“{plain(question, 60)}”" if question else "")
        asked_again = ""
        place = 0
        while place < len(self.rows):
            row = self.rows[place]
            if asked_again and row.state not in ("retrying", "resuming", "note"):
                self._request(asked_again)
                asked_again = ""
            neighbours = self._neighbours(place)
            if row.state == "asking":
                self._request(row.detail)
            elif row.state in ("retrying", "resuming"):
                self._note(row)
                asked_again = row.state
                if row.resumed:
                    self._request(asked_again)
                    asked_again = ""
                    for item, part in row.resumed:
                        self._item(item, part)
            elif row.batch:
                self._functions(neighbours)
            elif len(neighbours) > 1 and row.state == "calling functions":
                self._parallel_calls(neighbours)
            elif row.is_item:
                self._item(row, 0)
            elif row.is_end:
                self._end(row, last=place + len(neighbours) == len(self.rows))
            elif row.state in _STATUS_STATES or row.record is not None:
                self._status(neighbours)
            else:
                self._note(row)
            place += len(neighbours)
        if asked_again:
            self._request(asked_again)
        if self.rows[-1].is_end:
            self._answer(status)

    def _neighbours(self, place: int) -> list[Row]:
        """Return the row at ``place``, and those after it that belong into one message with it."""
        row = self.rows[place]
        rest = self.rows[place:]
        if row.batch:
            return list(itertools.takewhile(lambda other: other.batch == row.batch, rest))
        if row.state == "calling functions" and row.record is not None and row.record.streamed:
            return list(
                itertools.takewhile(
                    lambda other: other.state == row.state and other.record is row.record and not other.parts,
                    rest,
                )
            ) or [row]
        if row.state in _STATUS_STATES and not row.looks:
            return list(
                itertools.takewhile(
                    lambda other: (
                        other.state in _STATUS_STATES and other.record is row.record and not other.looks
                    ),
                    rest,
                )
            )
        return [row]

    def _request(self, detail: str) -> None:
        if detail == "resuming":
            self._say(
                self.notebook, self.api, "the rest of the stream", detail="responses.retrieve(…, stream=True)"
            )
            return
        again = detail == "retrying" and self.requests > 0
        self.requests += not again
        if again:
            detail = "once more"
        elif self.requests == 1:
            detail = "responses.create(…, stream=True)" if self.streamed else "responses.create(…)"
        self._say(self.notebook, self.api, f"request {self.requests:,}", detail=detail)

    def _status(self, rows: list[Row]) -> None:
        row = rows[0]
        number = f"response {row.record.number:,}" if row.record is not None else ""
        if row.looks:
            self._say(self.notebook, self.api, "responses.retrieve(…)", detail=count(row.looks, "time"))
            self._say(self.api, self.notebook, f"status: {row.state}", "reply", number)
            return
        names = ", ".join(f"response.{row.state}" for row in rows)
        queued = next((row for row in rows if row.state == "queued"), None)
        waited = self.duration_ms(queued) if queued is not None else None
        wait = f"{milliseconds(waited)} in the queue" if waited is not None else ""
        self._say(self.api, self.handler, names, "reply", ", ".join(part for part in (number, wait) if part))

    def _note(self, row: Row) -> None:
        self._say(self.notebook, self.notebook, row.name or row.state, "note", row.detail)

    # ---- items

    def _item(self, row: Row, part: int) -> None:
        """Tell of an output item, or of what came of it after the ``part``-th time that its stream was cut."""
        tool = self.tools.get(_tool(row))
        last = part == len(row.parts)
        if tool is not None and part == 0:
            self._say(self.api, tool, _to_tool(row))
            if last and (row.finished or row.failed):
                self._say(tool, self.api, *_from_tool(row))
        if row.record is None or not row.record.streamed:
            return
        counts = [0, *row.parts, row.pieces]
        pieces = counts[part + 1] - counts[part]
        complete = last and row.finished
        if part and not pieces and not complete:
            return
        text, detail = _events(row, pieces, last=last)
        self._say(
            self.api,
            self.handler,
            text,
            "failed" if complete and row.failed else "reply",
            detail,
            hooks=_hooks(row, pieces, first=part == 0, last=last),
        )

    def _parallel_calls(self, rows: list[Row]) -> None:
        done = [row for row in rows if row.finished]
        pieces = sum(row.pieces for row in rows)
        told = sum(max(0, row.pieces - row.blanks) for row in rows)
        hooks = [_times("on_tool_call_created", len(rows))]
        hooks += [_times("on_tool_call_delta", told)] if told else []
        hooks += [_times("on_tool_call_done", len(done))] if done else []
        names = ", ".join(
            _times(name, number) for name, number in Counter(row.name or "?" for row in rows).items()
        )
        events = [_times(_DELTAS["calling functions"], pieces)] if pieces else []
        self._say(
            self.api,
            self.handler,
            f"{len(rows):,} function_calls: {names}",
            "reply",
            ", ".join(events),
            hooks=hooks,
        )

    # ---- functions

    def _functions(self, rows: list[Row]) -> None:
        if self.streamed:
            self._say(self.handler, self.notebook, count(len(rows), "call") + " to answer", "reply")
        called = [row for row in rows if row.outcome not in NOT_CALLED]
        self.groups += 1
        group = self.groups if len(called) > 1 else 0
        for row in called:
            place = self.functions[row.name]
            shared = self.participants[place].name != row.name
            size = f"{count(row.characters, 'character')} of arguments"
            self._say(
                self.notebook, place, f"call {row.name}" if shared else "call", "call", size, group=group
            )
        for row in called:
            taken = self.duration_ms(row)
            detail = ", ".join(
                part
                for part in (
                    f"{count(row.output, 'character')}{', cut to fit' if row.shortened else ''}",
                    milliseconds(taken) if taken is not None else "",
                )
                if part
            )
            why = outcome_words(row)
            self._say(
                self.functions[row.name],
                self.notebook,
                why or "output",
                "failed" if why else "reply",
                detail,
                group=group,
            )
        for row in rows:
            if row.outcome in NOT_CALLED:
                why = row.detail or outcome_words(row)
                self._say(
                    self.notebook, self.notebook, f"did not run {row.name or 'a function'}", "note", why
                )
        if self.streamed:
            self._say(
                self.notebook,
                self.handler,
                count(len(rows), "result"),
                hooks=[_times("on_function_done", len(rows))],
            )

    # ---- ends

    def _end(self, row: Row, *, last: bool) -> None:
        record = row.record
        if record is None:
            # After a cut that is not the last word, the run goes on.
            kind: Kind = "broken end" if last else "note"
            hooks = _last_hooks(row) if last else []
            self._say(self.notebook, self.api, row.name or row.state, kind, row.detail, hooks=hooks)
            return
        listener = self.handler if record.streamed else self.notebook
        detail = row.detail
        if record.end is row and record.usage is not None:
            tokens = count(record.usage[-1], "token")
            detail = ", ".join(
                part for part in (detail, f"≈ {tokens}" if record.estimated else tokens) if part
            )
        if row.name == "error":
            name = "error"
        else:
            name = f"response.{row.state}" if record.streamed else f"status: {row.state}"
        hooks = []
        if row.state == "completed" and any(item.type == "function_call" for item in record.items.values()):
            hooks.append("on_requires_action")
        if last:
            hooks += _last_hooks(row)
        if not record.streamed:
            self._say(self.notebook, self.api, "responses.retrieve(…)")
        self._say(
            self.api, listener, name, "reply" if row.state == "completed" else "failed", detail, hooks=hooks
        )

    def _answer(self, status: str) -> None:
        texts = [row for row in self.rows if row.state == "writing text" and row.is_item]
        if not texts:
            self._say(self.notebook, 0, "no answer", "reply")
            return
        whole = status == "completed" and self.rows[-1].state != LIMIT
        # Of a complete run the last message is the answer; of a broken one all that had arrived is what there is.
        shown = texts[-1:] if whole else texts
        size = count(sum(row.characters for row in shown), "character")
        citations = sum(row.citations for row in shown)
        detail = f"{size}, {count(citations, 'citation')}" if citations else size
        self._say(self.notebook, 0, "answer" if whole else "what had arrived", "reply", detail)


def _named(names: Iterable[str], most: int, others: str) -> dict[str, str]:
    """Return each name with the lifeline that it gets: its own, or a common one for those beyond the limit."""
    found = list(dict.fromkeys(names))
    kept = found if len(found) <= most else found[: most - 1]
    return {name: name or "unnamed" if name in kept else others for name in found}


def _tool(row: Row) -> str:
    if row.state == "using a tool":
        return row.name or "a tool"
    if row.state == "writing code" and outputs_words(row):
        return "code interpreter"  # nothing told when it began to run
    return _TOOLS.get(row.state, "") if row.is_item else ""


def _to_tool(row: Row) -> str:
    if row.queries:
        return count(row.queries, "query", "queries")
    return "run the code" if row.state in ("running code", "writing code") else "use it"


def _from_tool(row: Row) -> tuple[str, Kind]:
    if row.failed:
        return row.failed, "failed"
    if row.passages:
        return count(row.passages, "passage"), "reply"
    return outputs_words(row) or "done", "reply"


# -- events and hooks -------------------------------------------------------------------------------------------------

_DELTAS: Final = {
    "writing text": "output_text.delta",
    "writing code": "code_interpreter_call_code.delta",
    "calling functions": "function_call_arguments.delta",
    "reasoning": "reasoning_summary_text.delta",
}
_ITEMS: Final = {
    "writing text": "message",
    "writing code": "code_interpreter_call",
    "running code": "code_interpreter_call",
    "calling functions": "function_call",
    "searching files": "file_search_call",
    "searching the web": "web_search_call",
}


def _events(row: Row, pieces: int, *, last: bool) -> tuple[str, str]:
    """Name an item, and the events that told of it with the size of what they brought."""
    item = _ITEMS.get(row.state, row.name or row.state)
    if row.state == "calling functions":
        item = f"function_call {row.name}".rstrip()
    delta = "refusal.delta" if row.refused else _DELTAS.get(row.state, "…delta")
    told = [_times(delta, pieces)] if pieces else []
    if last and row.characters:
        told.append(count(row.characters, "character"))
    if last and row.citations:
        told.append(count(row.citations, "citation"))
    if last and row.state == "searching files" and row.passages:
        told.append(count(row.passages, "passage"))
    if last and row.state == "running code" and outputs_words(row):
        told.append(outputs_words(row))
    return item, ", ".join(told)


def _hooks(row: Row, pieces: int, *, first: bool, last: bool) -> list[str]:
    """Name the hooks that an item's events called; ``pieces`` of it came in this part of the stream."""
    told = max(0, pieces - row.blanks) if last else pieces
    done = last and row.finished
    match row.state:
        case "reasoning":
            return [_times("on_reasoning_delta", pieces)] if pieces else []
        case "writing text":
            cited = row.citations if last else 0
            names = ["on_message_created"] if first else []
            if first and (pieces or row.characters):
                names.append("on_text_created")
            if told + cited:
                names.append(_times("on_text_delta", told + cited))
            if cited:
                names.append(_times("on_citation", cited))
            return [*names, "on_text_done", "on_message_done"] if done else names
        case "running code":
            names = []
        case _:
            names = ["on_tool_call_created"] if first else []
            if told:
                names.append(_times("on_tool_call_delta", told))
            if row.state == "writing code" and row.ran_apart:
                return names
    if done:
        names.append("on_tool_call_done")
        if row.images:
            names.append(_times("on_image_file_done", row.images))
    return names


def _last_hooks(row: Row) -> list[str]:
    """Name the hooks that end a run, by how it ended."""
    beginning = row.name.lower()
    broke = row.state == "failed" or beginning.startswith(("cut", "timed out"))
    names = ["on_timeout"] if beginning.startswith("timed out") else []
    return [*names, *(["on_exception"] if broke else []), "on_end"]


def _times(name: str, number: int) -> str:
    return name if number == 1 else f"{name} × {number:,}"
