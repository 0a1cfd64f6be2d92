"""Captures: the file into which the turns of a recording client are written, after each turn and whole.

A capture is raw material: it lies beside the recordings and is not played until it is taken over (``adopting.py``).
Not here: what passes between client and API (``helpers/recording.py``), and how it becomes steps
(``captured_turns.py``).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from helpers.local_api.captured_keys import situation, tell_apart
from helpers.local_api.captured_turns import CapturedTurn, Conversations
from helpers.local_api.matching import TieError, best, find_ties
from helpers.local_api.recording_text import file_text, why_not_writable
from helpers.local_api.recordings import Exchange, Library, normalised, read_file
from helpers.local_api.turns import Call, Calls, Refuse, Run, Say, Search, Step, Think, TurnRequest

FOLDER: Final = "captured"
"""The folder in the folder of the recordings where captures are; nothing plays them there."""

_NO_OUTPUT: Final = "its function calls got no output"
_SHOWN: Final = 70

Redact = Callable[[str], str]


class CaptureError(Exception):
    """The capture cannot be written there. The message says why and what to do."""


def default_path(recordings: Path, environment: Mapping[str, str]) -> Path:
    """Return where to write: a file named after the notebook, or after the time where its name is not known.

    Args:
        recordings: the folder of the recordings.
        environment: where Jupyter says which notebook it runs (``JPY_SESSION_NAME``).
    """
    name = re.sub(r"[^\w.-]+", "_", Path(environment.get("JPY_SESSION_NAME", "")).stem)
    if not name or re.fullmatch(r"[0-9a-f_-]{32,}", name):
        name = f"session-{dt.datetime.now():%Y%m%d-%H%M%S}"
    return recordings / FOLDER / f"{name}.yaml"


class Captures:
    """Hears what passes (it is a ``helpers.recording.Listener``), and keeps the file up to date.

    What an earlier session wrote into the file stays, unless the same question is asked in the same way again.

    Args:
        path: the file, which may be there already.
        recordings: the folder of the recordings; a question that is recorded there lends its conditions.
        redact: takes keys out of a text.

    Raises:
        CaptureError: the file cannot be written, or it holds answers that were not captured.
    """

    def __init__(self, path: Path, recordings: Path, redact: Redact) -> None:
        self.path = path
        self._redact = redact
        self._library = Library(recordings)
        self._lock = threading.RLock()
        self._turns: list[CapturedTurn] = []
        self._missed: list[tuple[str, str]] = []
        self._left_out: list[tuple[str, str]] = []
        self._before = _read_before(path)
        self._conversations = Conversations(self._add, self._miss, self._lock)
        self.recorded = 0
        """How many turns of this session are in the file."""
        self.trouble = ""
        """Why the file could not be written the last time; empty if it could."""

    def heard(
        self, method: str, path: Sequence[str], request: Mapping[str, Any], body: Mapping[str, Any]
    ) -> None:
        """Hear a request and its answer."""
        self._conversations.heard(method, path, request, body)

    def missed(self, path: Sequence[str], request: Mapping[str, Any], response_id: str, why: str) -> None:
        """Hear that an answer did not come to its end."""
        self._conversations.missed(path, request, response_id, why)

    @property
    def not_recorded(self) -> list[str]:
        """What is not in the file, and why: a line for each question."""
        with self._lock:
            answered = {normalised(turn.ask) for turn in self._turns}
            # A question that failed first and was answered then is recorded.
            missed = [each for each in self._missed if normalised(each[0]) not in answered]
            known = {situation(turn) for turn in self._turns}
            waiting = [turn for turn in self._conversations.unanswered() if situation(turn) not in known]
            unanswered = [(turn.ask, _NO_OUTPUT) for turn in waiting]
            return list(
                dict.fromkeys(
                    f"{_shown(self._redact(question))}: {why}"
                    for question, why in [*missed, *self._left_out, *unanswered]
                )
            )

    # -- turns --------------------------------------------------------------------------------------------------

    def _miss(self, question: str, why: str) -> None:
        with self._lock:
            self._missed.append((question, why))

    def _add(self, turn: CapturedTurn) -> None:
        with self._lock:
            # Before anything is made of it: a pattern for an output would repeat words of it.
            turn.steps = [_redacted_step(step, self._redact) for step in turn.steps]
            turn.outputs = {place: self._redact(text) for place, text in turn.outputs.items()}
            self._turns.append(turn)
            self._left_out = []
            library, _ = self._library.load()
            apart = tell_apart(self._turns, library, lambda *each: self._left_out.append(each))
            exchanges = []
            for exchange in (redacted(each, self._redact) for each in apart):
                why = why_not_writable(exchange)
                if why is None:
                    exchanges.append(exchange)
                else:
                    self._left_out.append((exchange.ask, why))
            self.recorded = len(exchanges)
            if exchanges:
                self._write(self._with_earlier(exchanges))

    def _with_earlier(self, exchanges: Sequence[Exchange]) -> list[Exchange]:
        """Return the exchanges of earlier sessions that are not in the way of these, and these."""
        requests = [request for turn in self._turns for request in turn.requests]
        kept: list[Exchange] = []
        for earlier in self._before:
            together = [*kept, earlier, *exchanges]
            if any(key(earlier) == key(each) for each in exchanges) or find_ties(together):
                continue
            if not any(_answers(earlier, together, request) for request in requests):
                kept.append(earlier)
        return [*kept, *exchanges]

    def _write(self, exchanges: Sequence[Exchange]) -> None:
        source = _most_common([exchange.source for exchange in exchanges])
        recorded_with = _most_common([exchange.recorded_with for exchange in exchanges])
        text = file_text(source, recorded_with, exchanges, self._comments())
        try:
            write_whole(self.path, text)
        except OSError as error:
            # The notebook goes on: the answer that was paid for is more than its recording.
            self.trouble = f"{self.path} could not be written ({error.strerror})."
        else:
            self.trouble = ""

    def _comments(self) -> list[str]:
        comments = [
            "What a model answered, captured as it passed. Ids, times, usage and keys are left out.",
            f"It is played once it is taken over: python -m helpers.local_api adopt {_typed(self.path)}",
        ]
        if self.not_recorded:
            comments += ["Not recorded:", *(f"  {line}" for line in self.not_recorded)]
        return comments


def key(exchange: Exchange) -> tuple[object, ...]:
    """Return what must be equal for one exchange to take the place of another: question, tools and conditions."""
    when = {name: normalised(text) for name, text in exchange.when.items()}
    after = None if exchange.after is None else normalised(exchange.after)
    return normalised(exchange.ask), exchange.tools, tuple(sorted(when.items())), after


def redacted(exchange: Exchange, redact: Redact) -> Exchange:
    """Return an exchange in which no text holds a key."""
    instructions = exchange.recorded_with.instructions
    return dataclasses.replace(
        exchange,
        ask=redact(exchange.ask),
        steps=tuple(_redacted_step(step, redact) for step in exchange.steps),
        recorded_with=dataclasses.replace(
            exchange.recorded_with, instructions=None if instructions is None else redact(instructions)
        ),
        when={name: redact(text) for name, text in exchange.when.items()},
        after=None if exchange.after is None else redact(exchange.after),
    )


def _redacted_step(step: Step, redact: Redact) -> Step:
    if isinstance(step, Search):
        return Search([redact(query) for query in step.queries])
    if isinstance(step, Run):
        return Run(redact(step.code), step.prints)
    if isinstance(step, Calls):
        return Calls(
            [Call(call.name, _redacted_value(call.arguments, redact), call.prints) for call in step.calls]
        )
    if isinstance(step, Say | Refuse | Think):
        return type(step)(redact(step.text))
    return step


def _redacted_value(value: Any, redact: Redact) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_redacted_value(each, redact) for each in value]
    if isinstance(value, dict):
        return {redact(name): _redacted_value(each, redact) for name, each in value.items()}
    return value


def write_whole(path: Path, text: str) -> None:
    """Write a file so that whoever reads it, and whatever interrupts this, finds the old one or the new one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)


def _answers(exchange: Exchange, exchanges: Sequence[Exchange], request: TurnRequest) -> bool:
    """Return whether an exchange would answer a request, or stop anything from answering it."""
    try:
        return best(exchanges, request) is exchange
    except TieError:
        return True


def _read_before(path: Path) -> list[Exchange]:
    if path.suffix not in (".yaml", ".yml"):
        raise CaptureError(f"Recordings are YAML, so name a file that ends in .yaml, not {path.name}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(13, "Permission denied")
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise CaptureError(
            f"Nothing can be written to {path} ({error.strerror}). Name another file in WORKSHOP_RECORD_TO."
        ) from None
    if not content:
        return []
    exchanges, problems = read_file(path, content)
    if problems:
        raise CaptureError(
            f"{path} is there and cannot be read: {problems[0].message} Name another file in WORKSHOP_RECORD_TO."
        )
    if any(exchange.source.kind != "captured" for exchange in exchanges):
        raise CaptureError(
            f"{path} holds answers that people wrote. Name another file in WORKSHOP_RECORD_TO: nothing is mixed."
        )
    return exchanges


def _most_common(values: Sequence[Any]) -> Any:
    return Counter(values).most_common(1)[0][0]


def _typed(path: Path) -> Path:
    """Return the path as it would be typed in the project's folder, as far as that can be told."""
    try:
        return path.resolve().relative_to(Path(__file__).resolve().parents[2])
    except ValueError:
        return Path(path.name)


def _shown(question: str) -> str:
    line = " ".join(question.split())
    return f"{line[:_SHOWN]}…" if len(line) > _SHOWN else line
