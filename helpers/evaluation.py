"""Is it any good? Questions with known answers, asked of a store or of an assistant, and reported as numbers.

Here live the two evaluations and their reports, with tables and plots. The formulas are in ``metrics.py``, the questions
in ``questions.py``, the asking of many at once in ``asking.py``. Not here: judging an answer's wording; that takes
people, or a second model that has been compared with people.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import openai
from openai.types import VectorStore
from openai.types.responses import Response

from helpers.asking import Unanswered, ask_all, digest
from helpers.diagrams import plain
from helpers.errors import ConfigurationError, WorkshopError, explain
from helpers.files import is_recorded
from helpers.metrics import (
    Interval,
    bootstrap_interval,
    citation_precision,
    citation_recall,
    figures_in,
    hit_at_k,
    key_facts_found,
    percentile,
    recall_at_k,
    reciprocal_rank_at_k,
    unsupported_figures,
)
from helpers.models import token_price_usd, tool_price_usd
from helpers.plots import STYLES, Plot, drawable, new_figure
from helpers.questions import Question, checked_questions, load_questions, needs_found
from helpers.tables import Column, Table

__all__ = [
    "AnswerReport",
    "AnswerRow",
    "Plot",
    "Question",
    "Result",
    "RetrievalReport",
    "RetrievalRow",
    "ThresholdSweep",
    "compare",
    "evaluate_answers",
    "evaluate_retrieval",
    "load_questions",
    "needs_found",
    "plot",
]

_MOST_RESULTS: Final = 50
_BEGINNING: Final = 300


# -- retrieval --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """One retrieved passage."""

    filename: str
    score: float
    """As the API gave it, from 0 to 1."""
    found: tuple[int, ...]
    """Which of the needed things stand in it; empty if it is not relevant."""
    beginning: str
    """Its first 300 characters."""

    @classmethod
    def of(cls, question: Question, filename: str, score: float, text: str) -> Result:
        """Return the result with what it gives to ``question``."""
        beginning = " ".join(text.split())[:_BEGINNING]
        return cls(filename, score, needs_found(question, filename, text), beginning)

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "filename": self.filename,
            "score": self.score,
            "found": list(self.found),
            "beginning": self.beginning,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Result:
        """Return what ``to_record`` made of it."""
        return cls(record["filename"], record["score"], tuple(record["found"]), record["beginning"])


@dataclass(frozen=True, slots=True)
class RetrievalRow:
    """One question and what the search returned for it."""

    question: Question
    results: tuple[Result, ...]
    latency_ms: float
    """From sending the request to having the answer; what the SDK waits before it tries again is in it."""

    @property
    def rank(self) -> int | None:
        """The place of the first relevant result, from 1; ``None`` if there is none."""
        return next((rank for rank, result in enumerate(self.results, start=1) if result.found), None)

    @property
    def ranking(self) -> list[tuple[int, ...]]:
        """What each result gives, as ``metrics.py`` wants it."""
        return [result.found for result in self.results]


class RetrievalReport:
    """How well a store finds what the questions need; shows itself as a table.

    Attributes:
        label: what it is called in a comparison.
        k: how many results were asked for.
        rows: one for each question that was asked.
        failures: the questions that could not be asked, with the reason.
    """

    def __init__(
        self,
        rows: Sequence[RetrievalRow],
        *,
        k: int,
        label: str,
        failures: Sequence[tuple[str, str]] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self.rows = list(rows)
        self.k = k
        self.label = label
        self.failures = list(failures)
        self._notes = list(notes)

    @property
    def answerable(self) -> list[RetrievalRow]:
        """The rows of the questions that the files answer. Only over these are the metrics averaged."""
        return [row for row in self.rows if row.question.answerable]

    @property
    def missed(self) -> list[RetrievalRow]:
        """The answerable questions for which nothing relevant was found. Read these before you tune anything."""
        return [row for row in self.answerable if row.rank is None]

    def hit_rate(self, k: int | None = None) -> Interval:
        """Share of answerable questions with a relevant result among the first ``k``, with a 95 % interval."""
        k = self._cut(k)
        return bootstrap_interval([hit_at_k(row.ranking, k) for row in self.answerable])

    def recall(self, k: int | None = None) -> Interval:
        """Share of the needed things among the first ``k`` results, averaged, with a 95 % interval."""
        k = self._cut(k)
        values = [recall_at_k(row.ranking, row.question.needs, k) for row in self.answerable]
        return bootstrap_interval(values)

    def mrr(self, k: int | None = None) -> Interval:
        """Mean reciprocal rank of the first relevant result within ``k``, with a 95 % interval."""
        return bootstrap_interval(list(self._reciprocal_ranks(self._cut(k)).values()))

    def latency_ms(self, share: float) -> float:
        """Return the latency, in milliseconds, that ``share`` of the searches did not exceed: 0.5 is the median."""
        return percentile([row.latency_ms for row in self.rows], share)

    def _reciprocal_ranks(self, k: int) -> dict[str, float]:
        return {row.question.id: reciprocal_rank_at_k(row.ranking, k) for row in self.answerable}

    def _cut(self, k: int | None) -> int:
        if k is None:
            return self.k
        if not 1 <= k <= self.k:
            raise ConfigurationError(f"k must be from 1 to {self.k}: this report holds that many results.")
        return k

    def threshold_sweep(self, thresholds: Sequence[float] | None = None) -> ThresholdSweep:
        """Return what each score threshold would have rejected. Nothing is asked again.

        Args:
            thresholds: scores from 0 to 1; without any, 0 to 1 in steps of 0.05, as far as there is anything to lose.
        """
        if thresholds is not None:
            return ThresholdSweep.of(self, thresholds)
        matter = [
            result.score
            for row in self.rows
            for result in row.results
            if result.found or not row.question.answerable
        ]
        last = min(20, math.floor(max(matter, default=0.0) * 20) + 1)
        return ThresholdSweep.of(self, [step / 20 for step in range(last + 1)])

    def by_kind(self) -> Table:
        """Return the metrics for each kind of question. The groups are small: read them as hints, not as results."""
        groups: dict[str, list[RetrievalRow]] = {}
        for row in self.answerable:
            groups.setdefault(row.question.kind, []).append(row)
        rows = []
        for kind, members in groups.items():
            part = RetrievalReport(members, k=self.k, label=kind)
            numbers = (part.hit_rate().mean, part.recall().mean, part.mrr().mean)
            rows.append((kind, str(len(members)), *(f"{number:.2f}" for number in numbers)))
        return Table(
            (
                Column("kind of question"),
                *_numbers("questions", f"hit rate@{self.k}", f"recall@{self.k}", f"MRR@{self.k}"),
            ),
            tuple(rows),
            f"{self.label}: by kind of question",
        )

    def table(self) -> Table:
        """Return one row for each question: where the first relevant result stood, and what came first."""
        rows = []
        for row in self.rows:
            first = row.results[0] if row.results else None
            wanted = (
                "–" if not row.question.answerable else ("not found" if row.rank is None else str(row.rank))
            )
            rows.append(
                (
                    row.question.id,
                    row.question.kind,
                    row.question.question,
                    wanted,
                    first.filename if first else "nothing",
                    f"{first.score:.3f}" if first else "",
                )
            )
        columns = (Column("id"), Column("kind"), Column("question"), *_numbers("rank of the first relevant"))
        return Table((*columns, Column("first result"), *_numbers("score")), tuple(rows), self.label)

    def _summary(self, k: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        head = ("questions", f"hit rate@{k}", f"recall@{k}", f"MRR@{k}", "median time", "95 % below")
        cells = (
            str(len(self.answerable)),
            str(self.hit_rate(k)),
            str(self.recall(k)),
            str(self.mrr(k)),
            _ms(self.latency_ms(0.5)),
            _ms(self.latency_ms(0.95)),
        )
        return head, cells

    def _to_plot(self, k: int) -> list[tuple[str, Interval]]:
        return [
            (f"hit rate@{k}", self.hit_rate(k)),
            (f"recall@{k}", self.recall(k)),
            (f"MRR@{k}", self.mrr(k)),
        ]

    def _paired(self, k: int) -> tuple[str, dict[str, float]]:
        return f"MRR@{k}", self._reciprocal_ranks(k)

    @property
    def notes(self) -> list[str]:
        """What one has to know to read the numbers."""
        return [*self._notes, *_failure_notes(self.failures)]

    def __repr__(self) -> str:
        return repr(compare([self]))

    def _repr_html_(self) -> str:
        return compare([self])._repr_html_()

    def to_markdown(self) -> str:
        """Return the summary as a Markdown table."""
        return compare([self]).to_markdown()


def evaluate_retrieval(
    client: openai.OpenAI,
    store: VectorStore | str,
    questions: Sequence[Question] | None = None,
    *,
    k: int = 5,
    label: str | None = None,
    filters: Mapping[str, Any] | None = None,
    ranking_options: Mapping[str, Any] | None = None,
    rewrite_query: bool | None = None,
    max_workers: int = 4,
    progress: bool = True,
    results_path: str | Path | None = None,
) -> RetrievalReport:
    """Ask a vector store all questions, without a model, and report how well it finds what they need.

    Args:
        client: what ``connect()`` returned.
        store: the store, or its id; every file in it should be ready.
        questions: without any, the workshop's own (``load_questions()``).
        k: how many results to ask for, 1 to 50. One run with a large k gives the metrics for each smaller one.
        label: what to call it in a comparison; without one, the chunk size, or the store's name.
        filters: see ``client.vector_stores.search``.
        ranking_options: see ``client.vector_stores.search``.
        rewrite_query: see ``client.vector_stores.search``.
        max_workers: how many searches to have under way at once, 1 to 32. Times are longer with many.
        progress: whether to show how far it is.
        results_path: a JSONL file to which each result is added as it comes. Run the same call again after an
            interrupt, and what is in there is not asked again, as long as the store, its files, the questions and the
            settings are the same.

    Raises:
        ConfigurationError: an empty store, no questions, or a number out of its range.
        WorkshopError: the API could not be asked any more; what was done is in ``results_path``.
        Stopped: you interrupted the cell.
    """
    chosen = checked_questions(questions)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= _MOST_RESULTS:
        raise ConfigurationError(f"k must be a whole number from 1 to {_MOST_RESULTS}.")
    options = {"filters": filters, "ranking_options": ranking_options, "rewrite_query": rewrite_query}
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    state = _store_state(client, store)

    def ask(question: Question) -> dict[str, Any]:
        start_s = time.perf_counter()
        found = client.vector_stores.search(state.id, query=question.question, max_num_results=k, **given)
        latency_ms = (time.perf_counter() - start_s) * 1000
        results = [
            Result.of(question, item.filename, item.score, "\n".join(part.text for part in item.content))
            for item in found.data
        ]
        return {"latency_ms": latency_ms, "results": [result.to_record() for result in results]}

    settings = {"what": "retrieval", **state.settings(client), "k": k, **given}
    asked = ask_all(chosen, ask, settings, results_path, max_workers, progress)
    rows = [
        RetrievalRow(question, tuple(map(Result.from_record, record["results"])), record["latency_ms"])
        for question, record in asked.records
    ]
    return RetrievalReport(
        rows,
        k=k,
        label=label or state.label,
        failures=asked.failures,
        notes=[_searched_by(client), *state.notes],
    )


def _searched_by(client: openai.OpenAI) -> str:
    if is_recorded(client):
        return (
            "Searched for real, by the API inside this notebook, which compares words (BM25). The numbers are about this "
            "search; OpenAI's also compares meanings and will differ."
        )
    return f"Searched by {client.base_url.host}."


@dataclass(frozen=True)
class _StoreState:
    """What a store holds at the moment, so that results of another state are not taken for results of this one."""

    id: str
    label: str
    fingerprint: str
    notes: tuple[str, ...]

    def settings(self, client: openai.OpenAI) -> dict[str, Any]:
        return {"server": client.base_url.host, "store": self.id, "files": self.fingerprint}


def _store_state(client: openai.OpenAI, store: VectorStore | str) -> _StoreState:
    _check_client(client)
    store_id = store.id if isinstance(store, VectorStore) else store
    if not isinstance(store_id, str) or not store_id:
        raise ConfigurationError("The second argument must be a vector store or its id.")
    found, files, failure = None, [], ""
    try:
        found = client.vector_stores.retrieve(store_id)
        files = list(client.vector_stores.files.list(store_id, limit=100))
    except openai.APIError as error:
        failure = explain(error)
    if (
        found is None or failure
    ):  # raised out here: the SDK's exception holds the request, and with it the key
        raise WorkshopError(failure)
    ready = [file for file in files if file.status == "completed"]
    if not ready:
        raise ConfigurationError(
            "No file in this store can be searched yet. Upload some: upload_files(client, store, …)."
        )
    cuts = set()
    for file in ready:
        strategy = file.chunking_strategy
        static = strategy.static if strategy is not None and strategy.type == "static" else None
        cuts.add((static.max_chunk_size_tokens, static.chunk_overlap_tokens) if static else None)
    cut = cuts.pop() if len(cuts) == 1 else None
    label = f"chunks of {cut[0]} tokens, {cut[1]} overlapping" if cut else (found.name or store_id)
    parsing = sum(file.status == "in_progress" for file in files)
    notes = (f"{parsing} of {len(files)} files were still being parsed.",) if parsing else ()
    # Ids alone would not do: recorded ones come from a counter, so another process has the same for other contents.
    contents = sorted(
        [file.id, file.usage_bytes, file.created_at, file.attributes or {}, file.chunking_strategy]
        for file in ready
    )
    return _StoreState(store_id, label, digest([found.created_at, contents]), notes)


# -- thresholds -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ThresholdPoint:
    """What happens if only results with at least this score count."""

    threshold: float
    rejected: int
    """Unanswerable questions for which nothing is left: rightly so."""
    lost: int
    """Answerable questions whose relevant results are all below the threshold, though there were some."""


@dataclass(frozen=True, repr=False)
class ThresholdSweep:
    """What a score threshold gains on unanswerable questions and costs on answerable ones; shows itself as a table."""

    label: str
    unanswerable: int
    """How many unanswerable questions there are."""
    found: int
    """How many answerable questions had a relevant result without a threshold."""
    points: tuple[ThresholdPoint, ...]

    @classmethod
    def of(cls, report: RetrievalReport, thresholds: Iterable[float]) -> ThresholdSweep:
        """Return the sweep over the results of ``report``."""
        best = [
            max((result.score for result in row.results), default=-math.inf)
            for row in report.rows
            if not row.question.answerable
        ]
        relevant = [
            max(result.score for result in row.results if result.found)
            for row in report.answerable
            if row.rank is not None
        ]
        points = tuple(
            ThresholdPoint(
                threshold,
                rejected=sum(score < threshold for score in best),
                lost=sum(score < threshold for score in relevant),
            )
            for threshold in sorted(set(thresholds))
        )
        return cls(report.label, len(best), len(relevant), points)

    def table(self) -> Table:
        """Return one row for each threshold."""
        rows = tuple(
            (
                f"{point.threshold:.2f}",
                f"{point.rejected} of {self.unanswerable}",
                f"{point.lost} of {self.found}",
            )
            for point in self.points
        )
        return Table(
            _numbers("score at least", "unanswerable, rejected", "answerable, lost"),
            rows,
            f"{self.label}: what a score threshold would do",
            (
                "Scores of two search engines are not comparable: a threshold found on one means nothing on another.",
            ),
        )

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def plot(self) -> Plot:
        """Draw both shares over the threshold."""
        figure, axes = new_figure()
        thresholds = [point.threshold for point in self.points]
        lines = (
            ("unanswerable questions rejected", [point.rejected for point in self.points], self.unanswerable),
            ("answerable questions lost", [point.lost for point in self.points], self.found),
        )
        for (name, counts, total), (marker, colour, style) in zip(lines, STYLES, strict=False):
            shares = [count / total if total else math.nan for count in counts]
            axes.plot(
                thresholds, shares, marker=marker, color=colour, linestyle=style, label=f"{name} (of {total})"
            )
        axes.set_xlabel("only results with at least this score count")
        axes.set_ylabel("share of questions")
        axes.set_title(drawable(plain(self.label, 80)))
        axes.set_ylim(-0.04, 1.04)
        axes.legend()
        told = "; ".join(
            f"at {point.threshold:.2f} {point.rejected} of {self.unanswerable} rejected and {point.lost} of {self.found} "
            "lost"
            for point in self.points
            if round(point.threshold * 100) % 20 == 0 or len(self.points) < 8
        )
        return Plot(
            figure,
            f"Line plot for {self.label}: unanswerable questions rejected and answerable ones lost, over the score "
            f"threshold: {told}.",
        )


# -- answers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One question and what the assistant answered."""

    question: Question
    answer: str
    status: str
    """``"completed"``, or ``"incomplete"`` if the answer was cut off."""
    cited: tuple[str, ...]
    """The names of the cited files, each once."""
    results: tuple[Result, ...]
    """What the assistant's searches returned."""
    unsupported: tuple[str, ...]
    """Numbers in the answer that stand in no retrieved passage and not in the question."""
    figures: int
    """How many different numbers the answer holds."""
    searches: int
    input_tokens: int
    output_tokens: int
    price_usd: float | None
    """Tokens and searches, in US dollars; ``None`` if the model's price is not known."""
    latency_ms: float
    source: str | None
    """``None`` for a model's own answer; else what it came from, such as ``"authored"`` or ``"offline helper"``."""

    @property
    def key_facts_share(self) -> float | None:
        """Share of the key facts that stand in the answer; ``None`` if the question has none."""
        found = key_facts_found(self.answer, self.question.key_facts)
        return sum(found) / len(found) if found else None

    @property
    def figures_share(self) -> float | None:
        """Share of the answer's numbers that stand in a passage; ``None`` if it has no number."""
        return 1 - len(self.unsupported) / self.figures if self.figures else None


class AnswerReport:
    """What an assistant answered, cited and used; shows itself as a table.

    Attributes:
        label: what it is called in a comparison.
        rows: one for each question that was asked.
        failures: the questions that could not be asked, with the reason.
    """

    def __init__(
        self,
        rows: Sequence[AnswerRow],
        *,
        label: str,
        failures: Sequence[tuple[str, str]] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self.rows = list(rows)
        self.label = label
        self.failures = list(failures)
        self._notes = list(notes)

    @property
    def answerable(self) -> list[AnswerRow]:
        """The rows of the questions that the files answer."""
        return [row for row in self.rows if row.question.answerable]

    @property
    def cited_although_unanswerable(self) -> list[AnswerRow]:
        """The unanswerable questions whose answer cites a file all the same. Read these."""
        return [row for row in self.rows if not row.question.answerable and row.cited]

    def citation_precision(self) -> Interval:
        """Share of cited files that were the right ones, over answerable questions with a citation."""
        return _average(citation_precision(row.cited, row.question.expected_files) for row in self.answerable)

    def citation_recall(self) -> Interval:
        """Share of the right files that were cited, over answerable questions."""
        return _average(citation_recall(row.cited, row.question.expected_files) for row in self.answerable)

    def passages_found(self) -> Interval:
        """Share of the needed things among all that was retrieved, over answerable questions."""
        return _average(
            recall_at_k([result.found for result in row.results], row.question.needs, len(row.results))
            for row in self.answerable
        )

    def figures_supported(self) -> Interval:
        """Share of an answer's numbers that stand in the retrieved passages, over answers with a number."""
        return _average(row.figures_share for row in self.rows)

    def key_facts(self) -> Interval:
        """Share of the key facts that stand in the answer word for word, over questions that have some."""
        return _average(row.key_facts_share for row in self.rows)

    @property
    def tokens(self) -> int:
        """All tokens, in and out."""
        return sum(row.input_tokens + row.output_tokens for row in self.rows)

    @property
    def price_usd(self) -> float | None:
        """The price in US dollars; ``None`` if the model's price is not known."""
        prices = [row.price_usd for row in self.rows if row.price_usd is not None]
        return sum(prices) if len(prices) == len(self.rows) else None

    @property
    def estimated(self) -> bool:
        """Whether tokens and price are estimates, because answers came from recordings."""
        return any(row.source is not None for row in self.rows)

    def latency_ms(self, share: float) -> float:
        """Return the time, in milliseconds, that ``share`` of the answers did not exceed: 0.5 is the median."""
        return percentile([row.latency_ms for row in self.rows], share)

    def table(self) -> Table:
        """Return one row for each question."""
        rows = tuple(
            (
                row.question.id,
                row.question.question,
                row.answer,
                ", ".join(row.cited) or "nothing",
                ", ".join(row.unsupported) or "none",
            )
            for row in self.rows
        )
        names = ("id", "question", "answer", "cited", "figures in no passage")
        return Table(tuple(Column(name) for name in names), rows, self.label)

    def _summary(self, k: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        about = "≈ " if self.estimated else ""
        price = self.price_usd
        unanswerable = sum(not row.question.answerable for row in self.rows)
        cells = {
            "questions": str(len(self.rows)),
            "citation precision": str(self.citation_precision()),
            "citation recall": str(self.citation_recall()),
            "passages retrieved": str(self.passages_found()),
            "figures in passages": str(self.figures_supported()),
            "key facts": str(self.key_facts()),
            "unanswerable, yet cited": f"{len(self.cited_although_unanswerable)} of {unanswerable}",
            "tokens": f"{about}{self.tokens:,}",
            "price": "?" if price is None else f"{about}${price:.4f}",
            "median time": _ms(self.latency_ms(0.5)),
            "95 % below": _ms(self.latency_ms(0.95)),
        }
        return tuple(cells), tuple(cells.values())

    def _to_plot(self, k: int) -> list[tuple[str, Interval]]:
        return [
            ("citation precision", self.citation_precision()),
            ("citation recall", self.citation_recall()),
            ("passages retrieved", self.passages_found()),
            ("figures in passages", self.figures_supported()),
        ]

    def _paired(self, k: int) -> tuple[str, dict[str, float]]:
        values = {
            row.question.id: citation_recall(row.cited, row.question.expected_files)
            for row in self.answerable
        }
        return "citation recall", {id: value for id, value in values.items() if value is not None}

    @property
    def notes(self) -> list[str]:
        """What one has to know to read the numbers."""
        sources = Counter(row.source for row in self.rows if row.source is not None)
        told = []
        if sources:
            counted = ", ".join(f"{count} {source}" for source, count in sorted(sources.items()))
            told.append(
                f"Recorded mode: {sum(sources.values())} of {len(self.rows)} answers are not a model's ({counted}). The "
                "searches, the citations' places and the counting are real; how well a model answers is not shown here. "
                "Tokens are estimated (4 characters are one), so the price is as well, and nothing was spent."
            )
        return [*told, *self._notes, *_failure_notes(self.failures)]

    def __repr__(self) -> str:
        return repr(compare([self]))

    def _repr_html_(self) -> str:
        return compare([self])._repr_html_()

    def to_markdown(self) -> str:
        """Return the summary as a Markdown table."""
        return compare([self]).to_markdown()


def evaluate_answers(
    client: openai.OpenAI,
    assistant: Mapping[str, Any],
    questions: Sequence[Question] | None = None,
    *,
    label: str | None = None,
    max_workers: int = 4,
    progress: bool = True,
    results_path: str | Path | None = None,
) -> AnswerReport:
    """Ask an assistant all questions, each by itself, and report what it cites, quotes and costs.

    It works with and without file search, so that you can put the two side by side. Nothing is kept on the server
    (``store=False``). In live mode it costs what so many answers cost; the report says how much it was.

    Args:
        client: what ``connect()`` returned.
        assistant: an ``Assistant``, or any mapping of arguments of ``client.responses.create``.
        questions: without any, the workshop's own (``load_questions()``).
        label: what to call it in a comparison; without one, the assistant's name.
        max_workers: how many answers to have under way at once, 1 to 32.
        progress: whether to show how far it is.
        results_path: a JSONL file to which each result is added as it comes; see ``evaluate_retrieval``.

    Raises:
        ConfigurationError: no questions, an assistant with functions (nobody would call them), or a number out of range.
        WorkshopError: the API could not be asked any more; what was done is in ``results_path``.
        SpendLimitReached: the limit given to ``connect(limit_usd=…)`` is used up.
        Stopped: you interrupted the cell.
    """
    chosen = checked_questions(questions)
    _check_client(client)
    if not isinstance(assistant, Mapping):
        raise ConfigurationError("The second argument must be an Assistant.")
    fixed = [name for name in ("input", "stream", "background", "conversation") if name in assistant]
    if fixed:
        raise ConfigurationError(
            f"Each question is asked by itself, so {fixed[0]!r} cannot be set. Leave it out."
        )
    request = {**assistant, "store": False}
    tools = [tool for tool in request.get("tools") or [] if isinstance(tool, Mapping)]
    if any(tool.get("type") == "function" for tool in tools):
        raise ConfigurationError("evaluate_answers calls no functions. Give it the assistant without them.")
    stores = [id for tool in tools if tool.get("type") == "file_search" for id in tool["vector_store_ids"]]
    if stores:
        include = [*(request.get("include") or []), "file_search_call.results"]
        request["include"] = list(dict.fromkeys(include))
    states = [_store_state(client, id) for id in stores]

    def ask(question: Question) -> dict[str, Any]:
        start_s = time.perf_counter()
        response = client.responses.create(**request, input=question.question)
        return _answer_record(question, response, (time.perf_counter() - start_s) * 1000)

    settings = {
        "what": "answers",
        "server": client.base_url.host,
        "stores": [state.settings(client) for state in states],
        "request": request,
    }
    asked = ask_all(chosen, ask, settings, results_path, max_workers, progress)
    rows = [_answer_row(question, record) for question, record in asked.records]
    notes = [note for state in states for note in state.notes]
    name = label or str(getattr(assistant, "name", "") or "assistant")
    return AnswerReport(rows, label=name, failures=asked.failures, notes=notes)


def _answer_record(question: Question, response: Response, latency_ms: float) -> dict[str, Any]:
    if response.status not in ("completed", "incomplete"):
        message = response.error.message if response.error else "it gave no reason"
        raise Unanswered(f"The response is {response.status}: {plain(message, 200)}")
    results: list[Result] = []
    passages: list[str] = []
    searches = 0
    for item in response.output:
        if item.type == "file_search_call":
            searches += 1
            for found in item.results or []:
                text = found.text or ""
                passages.append(text)
                results.append(Result.of(question, found.filename or "", found.score or 0.0, text))
    cited = [
        annotation.filename
        for item in response.output
        if item.type == "message"
        for part in item.content
        if part.type == "output_text"
        for annotation in part.annotations
        if annotation.type == "file_citation"
    ]
    answer = response.output_text
    usage = response.usage
    price_usd = None
    if usage is not None:
        price_usd = token_price_usd(
            response.model,
            input_tokens=usage.input_tokens,
            cached_tokens=usage.input_tokens_details.cached_tokens,
            output_tokens=usage.output_tokens,
        )
    if price_usd is not None:
        price_usd += searches * tool_price_usd("file_search_call")
    return {
        "answer": answer,
        "status": response.status,
        "cited": list(dict.fromkeys(cited)),
        "results": [result.to_record() for result in results],
        "unsupported": unsupported_figures(answer, passages, question.question),
        "figures": len(figures_in(answer)),
        "searches": searches,
        "input_tokens": usage.input_tokens if usage else 0,
        "output_tokens": usage.output_tokens if usage else 0,
        "price_usd": price_usd,
        "latency_ms": latency_ms,
        "source": (response.metadata or {}).get("workshop_source"),
    }


def _answer_row(question: Question, record: Mapping[str, Any]) -> AnswerRow:
    fields = dict(record)
    for name in ("cited", "unsupported"):
        fields[name] = tuple(fields[name])
    fields["results"] = tuple(map(Result.from_record, fields["results"]))
    return AnswerRow(question, **fields)


# -- comparing --------------------------------------------------------------------------------------------------------

Reports: TypeAlias = (
    Sequence[RetrievalReport]
    | Sequence[AnswerReport]
    | Mapping[str, RetrievalReport]
    | Mapping[str, AnswerReport]
)


def compare(reports: Reports) -> Table:
    """Return reports side by side, one row each; it shows itself as HTML in a notebook and as text elsewhere.

    In brackets stands the 95 % bootstrap interval over the questions. If all reports are about the same questions, the
    last column is the mean difference to the first report, question by question: if its interval does not hold 0, the
    difference is more than the luck of the questions. That is a sharper test than looking whether two intervals overlap.

    Args:
        reports: all of ``evaluate_retrieval`` or all of ``evaluate_answers``; a mapping gives them other labels.

    Raises:
        ConfigurationError: there is none, or they are of two kinds.
    """
    labelled = _labelled(reports)
    k = _common_k(labelled)
    head: tuple[str, ...] = ()
    rows: list[list[str]] = []
    for label, report in labelled:
        summary = report._summary(k)
        head = summary[0]
        rows.append([label, *summary[1]])
    columns = [Column("evaluation")] + [
        Column(name, is_number=True, least_width=11 if name in ("median time", "95 % below") else 0)
        for name in head
    ]
    paired = [report._paired(k) for _, report in labelled]
    name, first = paired[0]
    if len(paired) > 1 and all(set(metric) == set(first) for _, metric in paired):
        columns.append(Column(f"{name} against the first", is_number=True))
        for row, (_, metric) in zip(rows, paired, strict=True):
            difference = bootstrap_interval([metric[id] - first[id] for id in first])
            row.append("–" if row is rows[0] else _signed(difference))
    notes = ["In brackets: 95 % bootstrap interval over the questions."]
    notes += dict.fromkeys(note for _, report in labelled for note in report.notes)
    return Table(tuple(columns), tuple(map(tuple, rows)), notes=tuple(notes))


def plot(reports: Reports) -> Plot:
    """Draw reports side by side: one group for each report, with 95 % intervals.

    Args:
        reports: see ``compare``.

    Returns:
        A plot with alternative text; ``.figure`` is the matplotlib figure, ``.save(path)`` writes it.
    """
    labelled = _labelled(reports)
    k = _common_k(labelled)
    figure, axes = new_figure()
    metrics = [report._to_plot(k) for _, report in labelled]
    told = []
    for number, (marker, colour, _) in zip(range(len(metrics[0])), STYLES, strict=False):
        name = metrics[0][number][0]
        intervals = [row[number][1] for row in metrics]
        shift = (number - (len(metrics[0]) - 1) / 2) * 0.15
        axes.errorbar(
            [place + shift for place in range(len(intervals))],
            [interval.mean for interval in intervals],
            yerr=[
                [interval.mean - interval.low for interval in intervals],
                [interval.high - interval.mean for interval in intervals],
            ],
            fmt=marker,
            color=colour,
            markersize=8,
            capsize=4,
            label=name,
        )
    for (label, _), row in zip(labelled, metrics, strict=True):
        told.append(f"{label}: " + ", ".join(f"{name} {interval}" for name, interval in row))
    axes.set_xticks(range(len(labelled)), [drawable(_broken(plain(label, 60))) for label, _ in labelled])
    axes.set_xlim(-0.5, len(labelled) - 0.5)
    axes.set_ylim(-0.04, 1.04)
    axes.set_ylabel("mean over the questions, with 95 % interval")
    axes.legend()
    return Plot(
        figure,
        f"Plot of {len(labelled)} evaluation{'' if len(labelled) == 1 else 's'}, from 0 to 1, with 95 % intervals in "
        f"brackets. {'. '.join(told)}.",
    )


def _labelled(reports: Any) -> list[tuple[str, Any]]:
    if isinstance(reports, RetrievalReport | AnswerReport):
        reports = [reports]
    pairs = (
        list(reports.items())
        if isinstance(reports, Mapping)
        else [(getattr(report, "label", ""), report) for report in reports]
    )
    kinds = {type(report) for _, report in pairs}
    if not pairs or len(kinds) > 1 or not kinds <= {RetrievalReport, AnswerReport}:
        raise ConfigurationError(
            "Give one or more reports of one kind: all from evaluate_retrieval, or all from evaluate_answers."
        )
    return pairs


def _common_k(labelled: Sequence[tuple[str, Any]]) -> int:
    """Return the largest k that every report holds."""
    return min((report.k for _, report in labelled if isinstance(report, RetrievalReport)), default=0)


def _signed(interval: Interval) -> str:
    if not interval.count:
        return "–"
    return f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"


# -- small things -----------------------------------------------------------------------------------------------------


def _check_client(client: object) -> None:
    if not isinstance(client, openai.OpenAI):
        raise ConfigurationError(
            "Evaluations need a synchronous client. Use the one that connect() returns without asynchronous=True."
        )


def _average(values: Iterable[float | None]) -> Interval:
    return bootstrap_interval([value for value in values if value is not None])


def _numbers(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, is_number=True) for name in names)


def _ms(duration_ms: float) -> str:
    return "–" if math.isnan(duration_ms) else f"{duration_ms:,.0f} ms"


def _failure_notes(failures: Sequence[tuple[str, str]]) -> list[str]:
    if not failures:
        return []
    ids = ", ".join(id for id, _ in failures[:5]) + ("…" if len(failures) > 5 else "")
    counted = "1 question could" if len(failures) == 1 else f"{len(failures)} questions could"
    are = "is" if len(failures) == 1 else "are"
    return [f"{counted} not be asked and {are} in no number ({ids}): {failures[0][1]}"]


def _broken(label: str) -> str:
    """Return ``label`` in two lines if it has a comma, so that neighbours do not run into each other."""
    return label.replace(", ", ",\n", 1)
