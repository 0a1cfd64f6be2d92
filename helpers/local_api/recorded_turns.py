"""Recorded turns: the source of turns that plays recordings in the place of a model.

It finds the exchange, says how far it is what was recorded, and leaves the rest to the offline helper. Not here: the
rules of finding (``matching.py``) and the form of the files (``recordings.py``).
"""

from __future__ import annotations

import dataclasses
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from helpers.local_api.citing import PLACEHOLDER
from helpers.local_api.code_interpreter_tool import CodeInterpreter, filled
from helpers.local_api.errors import APIError
from helpers.local_api.file_search_tool import NAME as FILE_SEARCH
from helpers.local_api.file_search_tool import FileSearch, queries_in
from helpers.local_api.function_calls import CarriedOver
from helpers.local_api.matching import TieError, best, next_steps, split_steps
from helpers.local_api.offline import Missed, OfflineHelper
from helpers.local_api.recordings import Exchange, Library, names_found
from helpers.local_api.schemas import misfit
from helpers.local_api.turns import (
    AnsweredCall,
    Calls,
    Carried,
    Run,
    Say,
    Step,
    Turn,
    TurnRequest,
)
from helpers.local_api.yaml_nodes import first_lines

_SHOWN_QUESTION: Final = 300
_LONGEST_MARK: Final = 512
_OTHER_OUTPUT: Final = "The code did not print what the recorded answer expects."
_OTHER_CALLS: Final = "The functions that were called are not those of the recorded answer."
_NOT_KEPT: Final = "What the recorded answer found before its function call is not there any more."


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a recorded answer that would fit cannot be given, and what it does not fit."""

    why: str
    misses: Missed


class RecordedTurns:
    """A source of turns that plays recordings, and leaves the rest to the offline helper.

    Args:
        recordings: the folder where they are, or a library that has read it.
        file_search: searches the vector stores that a request offers.
        code_interpreter: knows the tables that code would find.
        carried_over: what was found before a function call.
        strict: refuse, instead of marking, whatever is not exactly as recorded (for tests).
    """

    def __init__(
        self,
        recordings: Path | Library,
        file_search: FileSearch,
        code_interpreter: CodeInterpreter,
        carried_over: CarriedOver,
        *,
        strict: bool = False,
    ) -> None:
        self._library = recordings if isinstance(recordings, Library) else Library(recordings)
        self._file_search = file_search
        self._carried_over = carried_over
        self._helper = OfflineHelper(file_search, code_interpreter)
        self._strict = strict

    def next_turn(self, request: TurnRequest) -> Turn:
        """Return the recorded turn, or the offline helper's.

        Raises:
            APIError: a recording cannot be read, two fit equally well, or, if strict, none fits exactly.
        """
        exchanges, problems = self._library.load()
        if problems:
            raise _recording_error(f"The recordings cannot be read. {first_lines(problems, 3)}")
        try:
            exchange = best(exchanges, request)
        except TieError as error:
            raise _recording_error(str(error)) from None
        if exchange is None:
            if self._strict:
                raise self._refused(
                    request, "This question is not in the recordings, or not with these tools."
                )
            return self._helper.next_turn(request, exchanges)
        turn, obstacle = self._recorded(exchange, request)
        if obstacle:
            if self._strict:
                raise self._refused(request, obstacle.why)
            return self._helper.next_turn(request, exchanges, obstacle.why, misses=obstacle.misses)
        note = note_for(exchange, request)
        if note and self._strict:
            raise self._refused(request, note)
        turn = dataclasses.replace(turn, marks=_marks(exchange, note))
        if not _waits_for_code(turn.steps):
            return turn
        return dataclasses.replace(
            turn,
            otherwise=self._helper.otherwise(request, exchanges),
            refusal=self._refused(request, _OTHER_OUTPUT).message if self._strict else "",
        )

    def _recorded(self, exchange: Exchange, request: TurnRequest) -> tuple[Turn, Obstacle | None]:
        """Return what an exchange does next, and what is in its way, if anything is."""
        answered = request.answered_calls
        done, left = split_steps(exchange, len(answered))
        steps = next_steps(left, parallel=request.parallel_tool_calls)
        carried, why = self._carry(done, answered)
        why = why or _not_offered(steps, request)
        if why:
            return Turn([]), Obstacle(why, "functions")
        if request.wants_json:
            why = _wrong_form(steps, carried.found, request.text_format)
            if why:
                return Turn([]), Obstacle(f"The recorded answer cannot be given: {why}.", "form")
        if FILE_SEARCH in exchange.tools:
            searched = queries_in(request.since_question)
            steps, missing = self._file_search.cite(steps, request.tools, searched=searched)
            if missing:
                why = f"The recorded answer cites {', '.join(missing)}, and your vector stores have no such file."
                return Turn([]), Obstacle(why, "files")
        return Turn(steps, carried=carried), None

    def _carry(self, done: Sequence[Step], answered: Sequence[AnsweredCall]) -> tuple[Carried, str]:
        """Return what the steps before this response found, and what is in the way of going on, or ``""``."""
        calls = [call for step in done if isinstance(step, Calls) for call in step.calls]
        carried = self._carried_over.of([each.call_id for each in answered])
        found, unused = dict(carried.found), list(answered)
        for call in calls:
            answer = next((each for each in unused if each.name == call.name), None)
            if answer is None:
                return Carried(), _OTHER_CALLS
            unused.remove(answer)
            if call.prints is None:
                continue
            match = re.search(call.prints, answer.output)
            if match is None:
                return Carried(), f"The recorded answer expects another output of the function `{call.name}`."
            found |= {name: text or "" for name, text in match.groupdict().items()}
        if names_found(done) - found.keys():
            return Carried(), _NOT_KEPT
        return dataclasses.replace(carried, found=found), ""

    def _refused(self, request: TurnRequest, why: str) -> APIError:
        question = (request.question or "")[:_SHOWN_QUESTION]
        return APIError(
            400,
            f"{why} The question: {question!r}. The recordings: {self._library.folder}. (WORKSHOP_STRICT is set, so "
            "this is an error.)",
            kind="workshop_strict",
            code="workshop_strict",
            retry=False,
        )


def _recording_error(message: str) -> APIError:
    # Not a 5xx: the SDK would try again, and the file would be the same.
    return APIError(400, message, kind="recording_error", code="recording_error", retry=False)


def note_for(exchange: Exchange, request: TurnRequest) -> str | None:
    """Return what a learner should know about a recorded answer, or ``None`` if it is exactly what was recorded."""
    notes = []
    with_instructions = exchange.recorded_with.instructions
    if "instructions" not in exchange.when and _joined(with_instructions) != _joined(request.instructions):
        if request.instructions:
            other = "other ones" if with_instructions else "none"
            notes.append(f"Your instructions were not used: this answer was recorded with {other}.")
        else:
            notes.append("This answer was recorded with instructions; you sent none.")
    model = exchange.recorded_with.model
    if "model" not in exchange.when and request.model != model:
        notes.append(f"The model {request.model} was not used: this answer was recorded for {model}.")
    return " ".join(notes) or None


def _joined(text: str | None) -> str:
    return " ".join(unicodedata.normalize("NFKC", text or "").split())


def _marks(exchange: Exchange, note: str | None) -> dict[str, str]:
    marks = {"workshop_source": exchange.source.kind}
    if exchange.source.kind == "captured":
        marks["workshop_captured"] = f"{exchange.source.model}, {exchange.source.date}"
    return marks | ({"workshop_note": note[:_LONGEST_MARK]} if note else {})


def _not_offered(steps: Sequence[Step], request: TurnRequest) -> str:
    """Return which function has to be called next and is not offered, or ``""``."""
    for step in steps:
        for call in step.calls if isinstance(step, Calls) else []:
            if call.name not in request.offered_tools:
                return (
                    f"The recorded answer goes on with the function `{call.name}`, which is not offered now."
                )
    return ""


def _wrong_form(steps: Sequence[Step], found: Mapping[str, str], form: Mapping[str, Any]) -> str:
    """Return why the answer at the end of ``steps`` is not in the form asked for, or ``""``.

    A refusal, or a turn that ends with a call, is fine. Where code has yet to print a number, only the JSON is looked at.
    """
    answer = steps[-1]
    if not isinstance(answer, Say):
        return ""
    text = filled(answer, found).text
    return _not_json(PLACEHOLDER.sub("0", text)) if _waits_for_code(steps) else misfit(text, form)


def _waits_for_code(steps: Sequence[Step]) -> bool:
    """Return whether an answer depends on what code has yet to print."""
    return any(isinstance(step, Run) and step.prints for step in steps)


def _not_json(text: str) -> str:
    try:
        json.loads(text)
    except ValueError:
        return "it is not JSON"
    return ""
