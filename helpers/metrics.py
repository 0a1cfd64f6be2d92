"""Retrieval and answer metrics as small pure functions: lists go in, a number comes out.

Each one says its formula and where it comes from, and is checked against hand-worked examples and against trec_eval.
Not here: asking a store or a model, and showing what came out of it (``evaluation.py``).
"""

from __future__ import annotations

import math
import random
import re
import statistics
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

__all__ = [
    "Interval",
    "bootstrap_interval",
    "citation_precision",
    "citation_recall",
    "contains_passage",
    "figures_in",
    "hit_at_k",
    "key_facts_found",
    "normalised",
    "percentile",
    "recall_at_k",
    "reciprocal_rank_at_k",
    "unsupported_figures",
]

# A chunk's border may cut a passage. Less than this would be found by chance.
_SHORTEST_PART: Final = 20


# -- text -------------------------------------------------------------------------------------------------------------


def normalised(text: str) -> str:
    """Return ``text`` as it is compared: Unicode NFKC, case folded, every run of white space one space.

    Example:
        >>> normalised("Weight  decay\\n of ０.1")
        'weight decay of 0.1'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def contains_passage(text: str, passage: str) -> bool:
    """Return whether a retrieved ``text`` contains ``passage``, white space, case and Unicode form aside.

    The text is a chunk, and a chunk's border may cut a passage. So a text that begins or ends inside the passage
    contains it as well, if it holds at least half of the passage's characters and at least 20 of them.

    Example:
        >>> contains_passage("... that is 16\\nbytes, so 2.0 GB", "That is 16 bytes")
        True
    """
    whole, part = normalised(text), normalised(passage)
    if part in whole:
        return True
    shortest = max(_SHORTEST_PART, math.ceil(len(part) / 2))
    return any(
        whole.endswith(part[:length]) or whole.startswith(part[-length:])
        for length in range(shortest, len(part))
    )


# -- retrieval --------------------------------------------------------------------------------------------------------
#
# A ranking is one collection for each result, best result first. It holds which of the things that the question needs
# stand in that result, numbered from 0; a result that is not relevant is an empty collection.

Ranking = Sequence[Collection[int]]


def hit_at_k(ranking: Ranking, k: int) -> float:
    """Return 1 if there is a relevant result among the first ``k``, else 0. Averaged over questions: the hit rate.

    Formula: hit@k = 1 if any of results 1..k is relevant. trec_eval calls it ``success_k``.

    Example:
        >>> hit_at_k([set(), {0}, set()], k=1), hit_at_k([set(), {0}, set()], k=2)
        (0.0, 1.0)
    """
    return float(any(ranking[:k]))


def recall_at_k(ranking: Ranking, needed: int, k: int) -> float:
    """Return which share of the ``needed`` things stands somewhere in the first ``k`` results.

    Formula: recall@k = |needed things in results 1..k| / |needed things|; Manning, Raghavan and Schütze, *Introduction
    to Information Retrieval* (2008), chapter 8. For a question that needs one thing it equals hit@k.

    Args:
        ranking: for each result, the numbers (from 0) of the needed things in it.
        needed: how many things the question needs, at least 1.
        k: how many results to look at.

    Example:
        >>> recall_at_k([{0}, set(), {0}], needed=2, k=3)
        0.5
    """
    found: set[int] = set().union(*ranking[:k])
    return len(found) / needed


def reciprocal_rank_at_k(ranking: Ranking, k: int) -> float:
    """Return 1 divided by the rank of the first relevant result, or 0 if none is among the first ``k``.

    Formula: RR@k = 1 / min{rank ≤ k : result relevant}. Averaged over questions it is the mean reciprocal rank (MRR);
    Voorhees, *The TREC-8 Question Answering Track Report* (1999).

    Example:
        >>> reciprocal_rank_at_k([set(), {0}, {1}], k=5)
        0.5
    """
    for rank, found in enumerate(ranking[:k], start=1):
        if found:
            return 1 / rank
    return 0.0


# -- uncertainty ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over questions with its confidence interval.

    ``mean``, ``low`` and ``high`` are ``nan`` if there was no question to average.
    """

    mean: float
    low: float
    high: float
    count: int
    """Over how many questions the mean was taken."""

    def __str__(self) -> str:
        if not self.count:
            return "–"
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def bootstrap_interval(
    values: Sequence[float], *, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> Interval:
    """Return the mean of ``values`` and its percentile bootstrap interval.

    Method: draw as many values as there are, with replacement, take the mean, repeat, and cut off the same share at
    both ends; Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), chapter 13. If all values are equal the
    interval has no width: then remember that up to about 3 of n further questions could still differ ("rule of
    three", Hanley and Lippman-Hand, JAMA 249 (1983)).

    Args:
        values: one value per question, such as 0 and 1 for hits.
        confidence: how much of the resampled means the interval holds, between 0 and 1.
        resamples: how often to draw.
        seed: the same seed and values give the same interval.

    Example:
        >>> bootstrap_interval([0, 1, 1, 1, 0, 1, 1, 0, 1, 1])
        Interval(mean=0.7, low=0.4, high=1.0, count=10)
    """
    count = len(values)
    if not count:
        return Interval(math.nan, math.nan, math.nan, 0)
    draw = random.Random(seed)
    means = [statistics.fmean(draw.choices(values, k=count)) for _ in range(resamples)]
    tail = (1 - confidence) / 2
    return Interval(statistics.fmean(values), percentile(means, tail), percentile(means, 1 - tail), count)


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value below which ``share`` (0 to 1) of ``values`` lies; ``nan`` if there is none.

    Between two values it is interpolated linearly, as NumPy does by default (Hyndman and Fan's type 7).

    Example:
        >>> percentile([1, 2, 3, 4], 0.5)
        2.5
    """
    ordered = sorted(values)
    if not ordered:
        return math.nan
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


# -- answers ----------------------------------------------------------------------------------------------------------


def citation_precision(cited: Collection[str], expected: Collection[str]) -> float | None:
    """Return which share of the cited files were the right ones; ``None`` if nothing was cited.

    Formula: |cited ∩ expected| / |cited|, each file counted once. The idea is that of Gao and others, *Enabling Large
    Language Models to Generate Text with Citations* (arXiv 2305.14627), coarser: it compares files and not statements,
    because an API citation names a file and quotes nothing.

    Example:
        >>> citation_precision(["overview.md", "plain_c.md", "overview.md"], ["overview.md"])
        0.5
    """
    distinct = set(cited)
    return len(distinct & set(expected)) / len(distinct) if distinct else None


def citation_recall(cited: Collection[str], expected: Collection[str]) -> float | None:
    """Return which share of the right files was cited; ``None`` if no file is right (an unanswerable question).

    Formula: |cited ∩ expected| / |expected|, each file counted once.

    Example:
        >>> citation_recall(["overview.md"], ["overview.md", "plain_c.md"])
        0.5
    """
    wanted = set(expected)
    return len(set(cited) & wanted) / len(wanted) if wanted else None


def key_facts_found(answer: str, key_facts: Sequence[Sequence[str]]) -> list[bool]:
    """Return for each key fact whether ``answer`` contains one of its wordings.

    It compares characters, not meaning (white space, case, Unicode form and the commas in numbers aside): a fact told
    in other words counts as missing. Take it as a lower bound.

    Args:
        answer: the answer's text.
        key_facts: for each fact its accepted wordings.

    Example:
        >>> key_facts_found("It has 124439808 parameters.", [["124,439,808"], ["12 layers", "twelve layers"]])
        [True, False]
    """
    text = _without_separators(normalised(answer))
    return [any(_without_separators(normalised(wording)) in text for wording in fact) for fact in key_facts]


_SEPARATED: Final = re.compile(r"(?<=\d)[,\u202f\u00a0\u2009'’](?=\d{3}(?!\d))")
# Not in a word or a name (gpt2, GPT-2), and not the rest of a longer number.
_FIGURE: Final = re.compile(r"(?<![^\W\d])(?<![^\W\d][-\u2010])(?<![\d.])(?:\d+(?:\.\d+)?|\.\d+)")
_LIST_NUMBER: Final = re.compile(r"^[ \t]*(?:>[ \t]*)*(?:#+[ \t]*)?\d{1,2}[.)][ \t]", re.MULTILINE)
_MARKER: Final = re.compile(r"\[\d{1,3}\]")


def _without_separators(text: str) -> str:
    """Return ``text`` with 1,024 written as 1024."""
    return _SEPARATED.sub("", text)


def figures_in(text: str) -> list[str]:
    """Return the numbers in ``text``, each once, in order, in one spelling: without separators and trailing zeros.

    Numbers in names ("GPT-2", "gpt2"), numbers of a list's entries ("1. …") and citation markers ("[1]") do not
    count; neither do numbers in words.

    Example:
        >>> figures_in("1. GPT-2 has 124,439,808 parameters [1], 12 layers and a decay of 0.10.")
        ['124439808', '12', '0.1']
    """
    plain = _MARKER.sub(" ", _LIST_NUMBER.sub(" ", text))
    # Separators first: NFKC would turn the narrow space in 1 024 into a plain one.
    plain = unicodedata.normalize("NFKC", _without_separators(plain))
    return list(dict.fromkeys(_one_spelling(found) for found in _FIGURE.findall(plain)))


def _one_spelling(figure: str) -> str:
    exact = Decimal(figure).normalize()
    return f"{exact:f}"


def unsupported_figures(answer: str, passages: Iterable[str], question: str = "") -> list[str]:
    """Return the numbers of ``answer`` that stand neither in the retrieved ``passages`` nor in the ``question``.

    A number that the model worked out or rounded is among them: that is a reason to look, not yet an error.

    Example:
        >>> unsupported_figures("It took 90 minutes on 8 cards.", ["about 90 minutes"])
        ['8']
    """
    known = set(figures_in(question))
    for passage in passages:
        known.update(figures_in(passage))
        known.update(_list_numbers(passage))
    return [figure for figure in figures_in(answer) if figure not in known]


def _list_numbers(text: str) -> list[str]:
    # In a source "3. Overfit one batch" does support "step 3".
    return [_one_spelling(re.sub(r"\D", "", found)) for found in _LIST_NUMBER.findall(text)]
