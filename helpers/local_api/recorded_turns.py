"""Recorded turns: the source of turns that plays recordings in the place of a model.

It finds the exchange, says how far it is what was recorded, and leaves the rest to the offline helper. Not here: the
rules of finding (``matching.py``) and the form of the files (``recordings.py``).
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from helpers.local_api.citing import PLACEHOLDER
from helpers.local_api.code_interpreter_tool import CodeInterpreter
from helpers.local_api.errors import APIError
from helpers.local_api.file_search_tool import NAME as FILE_SEARCH
from helpers.local_api.file_search_tool import FileSearch
from helpers.local_api.matching import TieError, best, remaining_steps
from helpers.local_api.offline import OfflineHelper
from helpers.local_api.recordings import Exchange, Library
from helpers.local_api.turns import Calls, Refuse, Run, Say, Step, Turn, TurnRequest
from helpers.local_api.yaml_nodes import first_lines

_SHOWN_QUESTION: Final = 300
_LONGEST_MARK: Final = 512
_OTHER_OUTPUT: Final = "The code of the recorded answer did not print what its `prints` expects."


class RecordedTurns:
    """A source of turns that plays recordings, and leaves the rest to the offline helper.

    Args:
        recordings: the folder where they are, or a library that has read it.
        file_search: searches the vector stores that a request offers.
        code_interpreter: knows the tables that code would find.
        strict: refuse, instead of marking, whatever is not exactly as recorded (for tests).
    """

    def __init__(
        self,
        recordings: Path | Library,
        file_search: FileSearch,
        code_interpreter: CodeInterpreter,
        *,
        strict: bool = False,
    ) -> None:
        self._library = recordings if isinstance(recordings, Library) else Library(recordings)
        self._file_search = file_search
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
        steps = remaining_steps(exchange, request.outputs_since_question)
        if request.wants_json and not _answers_json(steps):
            if self._strict:
                raise self._refused(request, "The recorded answer is not JSON, which the request asks for.")
            return self._helper.next_turn(request, exchanges)
        if FILE_SEARCH in exchange.tools:
            steps, missing = self._file_search.cite(steps, request.tools)
            if missing:
                why = f"The recorded answer cites {', '.join(missing)}, and your vector stores have no such file."
                if self._strict:
                    raise self._refused(request, why)
                return self._helper.next_turn(request, exchanges, why)
        note = note_for(exchange, request)
        if note and self._strict:
            raise self._refused(request, note)
        if not any(isinstance(step, Run) and step.prints for step in steps):
            return Turn(steps, _marks(exchange, note))
        return Turn(
            steps,
            _marks(exchange, note),
            otherwise=self._helper.otherwise(request, exchanges),
            refusal=self._refused(request, _OTHER_OUTPUT).message if self._strict else "",
        )

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


def _answers_json(steps: Sequence[Step]) -> bool:
    """Return whether the answer among ``steps`` is JSON (a refusal, or a turn that only calls, is fine as well)."""
    for step in steps:
        if isinstance(step, Say):
            try:
                # A number from code stands there later.
                json.loads(PLACEHOLDER.sub("0", step.text))
            except ValueError:
                return False
    return any(isinstance(step, Say | Refuse | Calls) for step in steps)
