"""Matching: which recorded exchange answers a request.

The rules are those of ``data/recordings/README.md``, in five lines. Not here: the form of the files
(``recordings.py``), and what is done with the exchange that was found (``recorded_turns.py``).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

from helpers.local_api.recordings import Exchange, folded_text, normalised
from helpers.local_api.turns import Calls, Run, Search, Step, Think, TurnRequest
from helpers.local_api.yaml_nodes import Problem


class TieError(Exception):
    """Two exchanges fit a request equally well, which is an error of the file. The message says what to do."""


def holds(exchange: Exchange, request: TurnRequest) -> bool:
    """Return whether everything but the question fits: tools offered, ``when`` true, ``after`` asked before."""
    return (
        offered(exchange, request)
        and choice_holds(exchange, request)
        and when_holds(exchange, request)
        and after_holds(exchange, request)
    )


def offered(exchange: Exchange, request: TurnRequest) -> bool:
    """Return whether all tools of an exchange are offered, or are functions that were called for this question."""
    called = {call.name for call in request.answered_calls}
    return exchange.tools <= request.offered_tools | called


def choice_holds(exchange: Exchange, request: TurnRequest) -> bool:
    """Return whether an exchange does what ``tool_choice`` forces: it uses a tool, or begins with a call."""
    if request.forced_function is not None:
        first = next((step for step in exchange.steps if not isinstance(step, Think)), None)
        return isinstance(first, Calls) and {call.name for call in first.calls} == {request.forced_function}
    return not request.must_use_tool or any(isinstance(step, Search | Run | Calls) for step in exchange.steps)


def when_holds(exchange: Exchange, request: TurnRequest) -> bool:
    """Return whether every ``when`` of an exchange is true."""
    for kind, text in exchange.when.items():
        if kind == "model":
            if request.model != text:
                return False
            continue
        texts = [request.instructions or ""] if kind == "instructions" else request.descriptions
        if not any(folded_text(text) in folded_text(each) for each in texts):
            return False
    return True


def after_holds(exchange: Exchange, request: TurnRequest) -> bool:
    """Return whether the question named by ``after`` was asked earlier in the conversation."""
    if exchange.after is None:
        return True
    wanted = normalised(exchange.after)
    return any(normalised(question) == wanted for question in request.earlier_questions)


def best(exchanges: Sequence[Exchange], request: TurnRequest) -> Exchange | None:
    """Return the exchange that answers a request.

    Raises:
        TieError: two fit equally well.
    """
    if request.question is None:
        return None
    wanted = normalised(request.question)
    fitting = [each for each in exchanges if normalised(each.ask) == wanted and holds(each, request)]
    if not fitting:
        return None
    rank = max(_rank(each) for each in fitting)
    first, *others = [each for each in fitting if _rank(each) == rank]
    if others:
        raise TieError(
            f"Two recorded answers fit this question equally well: {first.place} and {others[0].place}. Give one of "
            "them a `when`, an `after` or other tools, or remove it."
        )
    return first


def _rank(exchange: Exchange) -> tuple[int, int]:
    return len(exchange.tools), exchange.conditions


def split_steps(exchange: Exchange, outputs: int) -> tuple[list[Step], list[Step]]:
    """Return the steps before and after the place where an exchange goes on.

    Args:
        exchange: the exchange.
        outputs: how many of its calls have their output. Of parallel calls, some can be in each part.
    """
    done: list[Step] = []
    left = list(exchange.steps)
    while outputs > 0 and any(isinstance(step, Calls) for step in left):
        step = left.pop(0)
        if not isinstance(step, Calls):
            done.append(step)
            continue
        answered, others = step.calls[:outputs], step.calls[outputs:]
        done.append(Calls(answered))
        if others:
            left.insert(0, Calls(others))
        outputs -= len(answered)
    return done, left


def next_steps(left: Sequence[Step], *, parallel: bool = True) -> list[Step]:
    """Return the steps of one response: up to and including the next call.

    ``search`` and ``run`` happen inside one response; only a ``call`` waits for the next request.

    Args:
        left: the steps that are left.
        parallel: whether several functions may be called at once.
    """
    steps: list[Step] = []
    for step in left:
        if isinstance(step, Calls):
            return [*steps, step if parallel else Calls(step.calls[:1])]
        steps.append(step)
    return steps


def find_ties(exchanges: Sequence[Exchange]) -> list[Problem]:
    """Return the pairs of exchanges that would fit equally well, as far as the files alone can tell.

    Two conditions with different texts are taken to exclude each other; whether they do shows only in use.
    """
    same: dict[str, list[Exchange]] = defaultdict(list)
    for exchange in exchanges:
        same[normalised(exchange.ask)].append(exchange)
    return [
        Problem(second.file, second.line, _tie_message(first, second))
        for group in same.values()
        for first, second in itertools.combinations(group, 2)
        if tie(first, second, group)
    ]


def tie(first: Exchange, second: Exchange, group: Sequence[Exchange]) -> bool:
    """Return whether two exchanges of one question fit equally well, as far as the files alone can tell.

    Args:
        first: one of them.
        second: the other one.
        group: all exchanges of the question; a third one can decide between the two.
    """
    if _rank(first) != _rank(second) or _conditions(first) != _conditions(second):
        return False
    # Where the tools of both are offered, an exchange for all of them would win over either.
    both = first.tools | second.tools
    return not any(
        len(first.tools) < len(each.tools)
        and each.tools <= both
        and _conditions(each).items() <= _conditions(first).items()
        for each in group
    )


def _tie_message(first: Exchange, second: Exchange) -> str:
    both = ", ".join(sorted(first.tools | second.tools))
    what_to_do = (
        "Give one of the two a `when`, an `after` or other tools, or remove it."
        if first.tools == second.tools
        else f"With all their tools offered neither wins: add an exchange with `tools: [{both}]`."
    )
    return f"this question fits as well as {first.place}. {what_to_do}"


def _conditions(exchange: Exchange) -> dict[str, str]:
    after = {} if exchange.after is None else {"after": normalised(exchange.after)}
    return {kind: folded_text(text) for kind, text in exchange.when.items()} | after
