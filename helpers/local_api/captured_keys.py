"""Telling captured turns apart: which tools, ``when`` and ``after`` each gets, so that each request finds its own.

The rules of finding are those of ``matching.py``, and here they are asked: conditions are added until every recorded
request is answered by the turn that answered it. Where a question is recorded already, the conditions that a person
gave it are kept. Not here: what the turns are (``captured_turns.py``).
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from helpers.local_api.captured_turns import CapturedTurn
from helpers.local_api.matching import TieError, best, holds, tie
from helpers.local_api.proposals import propose
from helpers.local_api.recording_text import content_of
from helpers.local_api.recordings import Exchange, RecordedWith, Source, folded_text, normalised
from helpers.local_api.turns import TurnRequest

SAME: Final = "another answer to the same request came later"
ALIKE: Final = "nothing that a recording can say tells it from a later one with the same question"
OTHER_TOOLS: Final = "not all of its tools were offered until its end"
_SHORTEST_SENTENCE: Final = 8

Miss = Callable[[str, str], None]


@dataclasses.dataclass(eq=False)
class _Candidate:
    """A turn and the exchange that it is to become."""

    turn: CapturedTurn
    exchange: Exchange

    @property
    def requests(self) -> list[TurnRequest]:
        """What the exchange has to answer."""
        return self.turn.requests

    def says_the_same(self, other: _Candidate) -> bool:
        """Return whether an answer of the one is also right for the other."""
        mine, others = self.exchange, other.exchange
        return (mine.steps, mine.recorded_with, mine.source) == (
            others.steps,
            others.recorded_with,
            others.source,
        )

    def is_same(self, other: _Candidate) -> bool:
        """Return whether the two are one exchange."""
        return content_of(self.exchange) == content_of(other.exchange)

    def with_fact(self, kind: str, value: Any) -> Exchange:
        """Return the exchange with one more condition (or, for ``tools``, with all that were offered)."""
        if kind in ("tools", "after"):
            return dataclasses.replace(self.exchange, **{kind: value})
        return dataclasses.replace(self.exchange, when={**self.exchange.when, kind: value})

    def facts(self, others: Sequence[TurnRequest]) -> list[tuple[str, Any]]:
        """Return what is true of its requests and not said yet, the most telling first."""
        request, exchange = self.turn.requests[0], self.exchange
        found: list[tuple[str, Any]] = []
        if request.instructions and "instructions" not in exchange.when:
            found.append(("instructions", _telling(request.instructions, others)))
        if exchange.after is None:
            found += [("after", text) for text in reversed(self.turn.earlier)]
        if self.turn.offered != exchange.tools:
            found.append(("tools", self.turn.offered))
        if "description" not in exchange.when:
            found += [("description", text) for text in request.descriptions if text.strip()]
        if "model" not in exchange.when:
            found.append(("model", request.model))
        return [
            (kind, value)
            for kind, value in found
            if all(holds(self.with_fact(kind, value), each) for each in self.requests)
        ]


def tell_apart(turns: Sequence[CapturedTurn], library: Sequence[Exchange], on_miss: Miss) -> list[Exchange]:
    """Return an exchange for every turn that can be told from the others.

    Args:
        turns: in the order in which they were captured. Of two answers to the same request the later one counts.
        library: what is recorded already; an exchange that would have answered a request lends its conditions.
        on_miss: gets the question of each turn that is left out, and the reason.
    """
    by_question: dict[str, list[_Candidate]] = defaultdict(list)
    for turn in _latest(turns):
        exchange = _first_exchange(turn, library)
        if not all(holds(exchange, request) for request in turn.requests):
            on_miss(turn.ask, OTHER_TOOLS)
            continue
        by_question[normalised(turn.ask)].append(_Candidate(turn, exchange))
    kept = [candidate for group in by_question.values() for candidate in _settled(group, on_miss)]
    order = {id(turn): place for place, turn in enumerate(turns)}
    kept.sort(key=lambda candidate: order[id(candidate.turn)])
    return [candidate.exchange for candidate in kept]


def _latest(turns: Sequence[CapturedTurn]) -> list[CapturedTurn]:
    latest: dict[Any, CapturedTurn] = {}
    for turn in turns:
        asked = situation(turn)
        # Out and in again, so that the order is that of the answers that count.
        latest.pop(asked, None)
        latest[asked] = turn
    return list(latest.values())


def situation(turn: CapturedTurn) -> Any:
    """Return all that can tell one request from another."""
    request = turn.requests[0]
    return (
        normalised(turn.ask),
        tuple(normalised(text) for text in turn.earlier),
        request.offered_tools,
        (request.must_use_tool, request.forced_function),
        folded_text(request.instructions or ""),
        request.model,
        tuple(folded_text(text) for text in request.descriptions),
        request.wants_json,
    )


def _first_exchange(turn: CapturedTurn, library: Sequence[Exchange]) -> Exchange:
    request = turn.requests[0]
    try:
        known = best(library, request)
    except TieError:
        known = None
    exchange = Exchange(
        ask=turn.ask.rstrip("\r\n"),
        steps=tuple(propose(turn.steps, turn.outputs)),
        file=Path("captured"),
        line=1,
        source=Source("captured", turn.model, turn.date),
        recorded_with=RecordedWith((request.instructions or "").rstrip("\r\n") or None, request.model),
        tools=turn.used,
        # Whether an answer would be the same without what was said before, nobody can see.
        after=turn.earlier[-1].rstrip("\r\n") if turn.earlier else None,
    )
    if known is None:
        return exchange
    lent = dataclasses.replace(
        exchange, tools=turn.used | known.tools, when=dict(known.when), after=known.after
    )
    return lent if all(holds(lent, each) for each in turn.requests) else exchange


def _settled(group: list[_Candidate], on_miss: Miss) -> list[_Candidate]:
    """Add conditions until each request of a group finds its own exchange; leave out what cannot be told apart."""
    group = list(group)
    while True:
        trouble = _trouble(group)
        if trouble is None:
            # Two turns that became one exchange need it only once.
            return [
                each
                for place, each in enumerate(group)
                if not any(each.is_same(later) for later in group[place + 1 :])
            ]
        candidate, rival = trouble
        if not _told_apart(candidate, rival, group):
            earlier = min(candidate, rival, key=group.index)
            on_miss(earlier.turn.ask, ALIKE)
            group.remove(earlier)


def _trouble(group: Sequence[_Candidate]) -> tuple[_Candidate, _Candidate] | None:
    """Return a candidate that does not answer one of its own requests, and the one that is in its way."""
    exchanges = [candidate.exchange for candidate in group]
    for candidate in group:
        for request in candidate.requests:
            for rival in group:
                if rival.is_same(candidate) or not holds(rival.exchange, request):
                    continue
                try:
                    winner = best([candidate.exchange, rival.exchange], request)
                except TieError:
                    return candidate, rival
                if winner is not candidate.exchange and not rival.says_the_same(candidate):
                    return candidate, rival
    for first, second in itertools.combinations(group, 2):
        if not first.is_same(second) and tie(first.exchange, second.exchange, exchanges):
            return first, second
    return None


def _told_apart(candidate: _Candidate, rival: _Candidate, group: Sequence[_Candidate]) -> bool:
    """Add one condition to one of the two; return whether there was one to add."""
    for one, other in ((rival, candidate), (candidate, rival)):
        # A condition that is not true of the other's request keeps this one away from it.
        others = [each for member in group if member is not one for each in member.requests]
        for kind, value in one.facts(others):
            changed = one.with_fact(kind, value)
            if not any(holds(changed, request) for request in other.requests):
                one.exchange = changed
                return True
    # What is left: the candidate's situation holds the rival's, so it must say more to win.
    for kind, value in candidate.facts(()):
        candidate.exchange = candidate.with_fact(kind, value)
        return True
    return False


def _telling(instructions: str, others: Sequence[TurnRequest]) -> str:
    """Return the first sentence that none of the other instructions hold; all of them if there is no such sentence."""
    held = [folded_text(request.instructions or "") for request in others]
    for sentence in re.split(r"(?<=[.!?])\s+|\n+", instructions):
        folded = folded_text(sentence)
        if len(folded) >= _SHORTEST_SENTENCE and not any(folded in each for each in held):
            return sentence.strip()
    return instructions.rstrip("\r\n")
