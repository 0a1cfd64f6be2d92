"""The offline helper: it answers when no recording fits, and never pretends to be a model.

It says that the question is not in the recording, how to go live, and which questions are there. Rooms add what it
can do with tools: show the passages found, describe a table. Not here: deciding that nothing fits (``matching.py``).
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

from helpers.local_api.matching import after_holds, holds, offered, when_holds
from helpers.local_api.recordings import Exchange, normalised
from helpers.local_api.turns import Refuse, Say, Turn, TurnRequest

SOURCE: Final = "offline helper"
_SHOWN_QUESTIONS: Final = 8
_LONGEST_SHOWN: Final = 200

_MISS: Final = (
    "This question is not in the recording, so there is no answer to show. I am the offline helper of the workshop, not "
    "a model: nothing was sent anywhere."
)
_HOW_TO_GO_LIVE: Final = "To ask your own questions, go live: put `OPENAI_API_KEY` in `.env` (or in Colab's secrets) and run `connect()` again."


class OfflineHelper:
    """Answers in the place of a model, and says so."""

    def next_turn(self, request: TurnRequest, exchanges: Sequence[Exchange]) -> Turn:
        """Return what the helper says.

        Args:
            request: what was asked.
            exchanges: everything that is recorded.
        """
        text = self._text(request, exchanges)
        # Where JSON is asked for, a sentence would break the reader; a refusal is the honest form.
        step = Refuse(text) if request.wants_json else Say(text)
        return Turn([step], {"workshop_source": SOURCE})

    def _text(self, request: TurnRequest, exchanges: Sequence[Exchange]) -> str:
        if request.question is None:
            return f"There is no message of a user to answer here. {_HOW_TO_GO_LIVE}"
        parts = [_MISS, _condition_missed(request, exchanges), _HOW_TO_GO_LIVE]
        questions = fitting_questions(request, exchanges)
        if questions:
            lines = "\n".join(f"- {question}" for question in questions)
            parts.append(f"Recorded questions that fit here, closest first:\n\n{lines}")
        elif not exchanges:
            parts.append("There are no recordings in this folder at all.")
        else:
            parts.append("No recorded question fits the tools that were offered.")
        return "\n\n".join(part for part in parts if part)


def fitting_questions(request: TurnRequest, exchanges: Sequence[Exchange]) -> list[str]:
    """Return up to eight recorded questions that would be answered here, closest to the question first."""
    asked = normalised(request.question or "")
    unique = {normalised(each.ask): each.ask for each in reversed(exchanges) if holds(each, request)}
    # The question itself can be among them, if its answer does not fit for another reason (it is no JSON).
    unique.pop(asked, None)
    ranked = sorted(unique, key=lambda ask: _closeness(asked, ask), reverse=True)
    return [_one_line(unique[ask]) for ask in ranked[:_SHOWN_QUESTIONS]]


def _closeness(asked: str, recorded: str) -> float:
    # Words in common say what it is about; the letters tell near misses apart. A very long message is not compared
    # whole: that would take minutes.
    asked = asked[: 4 * _LONGEST_SHOWN]
    words, others = set(asked.split()), set(recorded.split())
    shared = len(words & others) / max(1, len(words | others))
    return shared + difflib.SequenceMatcher(None, asked, recorded).ratio()


def _condition_missed(request: TurnRequest, exchanges: Sequence[Exchange]) -> str:
    """Return why a question that *is* recorded was not answered, or ``""``."""
    asked = normalised(request.question or "")
    same = [each for each in exchanges if normalised(each.ask) == asked]
    for each in same:
        if not offered(each, request):
            return f"It is recorded for an assistant that has the tools {', '.join(sorted(each.tools))}."
        if not when_holds(each, request):
            kinds = " and ".join({"description": "a description"}.get(kind, kind) for kind in each.when)
            return f"It is recorded, but for other {kinds}."
        if not after_holds(each, request):
            return f"It is recorded as a follow-up to this question: {_one_line(each.after or '')}"
    return "It is recorded, but its answer is not in the form that you asked for." if same else ""


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}…"
