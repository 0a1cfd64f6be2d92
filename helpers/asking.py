"""Asking many questions: several at once, with progress, safe to interrupt and to go on with.

Here live the pool of workers, the file that keeps each result as it comes, and what to do when a question fails. It
knows nothing of what a question is but its ``id`` and its ``fingerprint``. Not here: what is asked, and what is made of
the answers (``evaluation.py``).
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import openai

from helpers.diagrams import plain
from helpers.errors import ConfigurationError, SpendLimitReached, Stopped, WorkshopError, explain
from helpers.rendering import make_renderer

__all__ = ["Asked", "Unanswered", "ask_all", "digest"]

_MOST_WORKERS: Final = 32
_FAILURES_IN_A_ROW: Final = 3
_LOOK_EVERY_S: Final = 0.5


class Askable(Protocol):
    """What can be asked."""

    @property
    def id(self) -> str:
        """Its name, different from all others."""

    @property
    def fingerprint(self) -> str:
        """Another one when the question or what is expected is another one."""


AnyQuestion = TypeVar("AnyQuestion", bound=Askable)


class Unanswered(Exception):
    """The API answered, and its answer says that it failed."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """A question that could not be asked, in words: the SDK's exception would hold the request, and with it the key."""

    reason: str
    ends_everything: bool
    limit_reached: bool = False


@dataclass
class Asked(Generic[AnyQuestion]):
    """What came back."""

    records: list[tuple[AnyQuestion, dict[str, Any]]]
    """Each question that was answered, in the order of the questions."""
    failures: list[tuple[str, str]]
    """The id of each question that was not, and why."""


def ask_all(
    questions: Sequence[AnyQuestion],
    ask: Callable[[AnyQuestion], dict[str, Any]],
    settings: Mapping[str, Any],
    results_path: str | Path | None,
    max_workers: int,
    progress: bool,
) -> Asked[AnyQuestion]:
    """Ask all questions that have no result yet, several at once.

    Args:
        questions: what to ask.
        ask: asks one question and returns JSON values; it runs in a thread of its own.
        settings: JSON values; a result that was kept counts only for the same ones.
        results_path: where results are kept; ``None``: nowhere.
        max_workers: how many to have under way at once.
        progress: whether to show how far it is.

    Raises:
        WorkshopError: an error that every other question would meet as well, or three failures in a row.
        SpendLimitReached: the limit is used up.
        Stopped: the cell was interrupted.
    """
    if (
        isinstance(max_workers, bool)
        or not isinstance(max_workers, int)
        or not 1 <= max_workers <= _MOST_WORKERS
    ):
        raise ConfigurationError(f"max_workers must be a whole number from 1 to {_MOST_WORKERS}.")
    kept = None if results_path is None else _ResultsFile(Path(results_path), settings)
    done: dict[str, dict[str, Any]] = kept.load(questions) if kept else {}
    shown = _Progress(len(questions), len(done)) if progress else None
    left = iter([question for question in questions if question.id not in done])
    asking = _Asking(kept, done, shown)
    pool = concurrent.futures.ThreadPoolExecutor(max_workers, thread_name_prefix="evaluation")
    pending: dict[concurrent.futures.Future[dict[str, Any] | _Failure], AnyQuestion] = {}
    stopped = False
    try:
        while asking.ended_by is None:
            # Only as many as there are workers: none must be sent after the one that says that it makes no sense.
            for question in itertools.islice(left, max_workers - len(pending)):
                pending[pool.submit(_guarded, ask, question)] = question
            if not pending:
                break
            # With a time limit, since without one Windows would not notice an interrupt.
            finished, _ = concurrent.futures.wait(
                pending, timeout=_LOOK_EVERY_S, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in finished:
                asking.note(pending[future], future.result())
                del pending[future]
    except KeyboardInterrupt:
        stopped = True
    finally:
        # Whatever is under way ends by itself; nobody waits for it.
        pool.shutdown(wait=False, cancel_futures=True)
    for future, question in pending.items():  # what has come already is kept
        if future.done() and not future.cancelled():
            asking.note(question, future.result())
    if shown:
        shown.done(len(done), len(asking.failed))
    so_far = _so_far(len(done), len(questions), kept)
    if stopped:
        raise Stopped(f"You stopped the evaluation. {so_far}")
    if asking.ended_by is not None:
        kind = SpendLimitReached if asking.ended_by.limit_reached else WorkshopError
        raise kind(f"{asking.ended_by.reason} {so_far}")
    if not done:
        raise WorkshopError(f"No question could be asked. {list(asking.failed.values())[-1]}")
    records = [(question, done[question.id]) for question in questions if question.id in done]
    return Asked(records, list(asking.failed.items()))


class _Asking:
    """What came back so far, and whether it makes sense to go on."""

    def __init__(
        self, kept: _ResultsFile | None, done: dict[str, dict[str, Any]], shown: _Progress | None
    ) -> None:
        self.failed: dict[str, str] = {}
        self.ended_by: _Failure | None = None
        self._kept = kept
        self._done = done
        self._shown = shown
        self._failures_in_a_row = 0

    def note(self, question: Askable, outcome: dict[str, Any] | _Failure) -> None:
        """Note the outcome of one question; a second time changes nothing."""
        if question.id in self._done or question.id in self.failed:
            return
        if isinstance(outcome, _Failure):
            self.failed[question.id] = outcome.reason
            self._failures_in_a_row += 1
            if outcome.ends_everything or self._failures_in_a_row == _FAILURES_IN_A_ROW:
                self.ended_by = self.ended_by or outcome
            return
        self._failures_in_a_row = 0
        # On paper first: an interrupt right here must not lose a result that was paid for.
        if self._kept:
            self._kept.add(question, outcome)
        self._done[question.id] = outcome
        if self._shown:
            self._shown.update(len(self._done))


def _guarded(
    ask: Callable[[AnyQuestion], dict[str, Any]], question: AnyQuestion
) -> dict[str, Any] | _Failure:
    try:
        return ask(question)
    except SpendLimitReached as error:
        return _Failure(str(error), ends_everything=True, limit_reached=True)
    except Unanswered as error:
        return _Failure(str(error), ends_everything=False)
    except openai.APIError as error:
        return _Failure(explain(error), ends_everything=not _may_pass(error))


def _may_pass(error: openai.APIError) -> bool:
    """Return whether the next question may fare better."""
    if isinstance(error, openai.APIConnectionError):
        return True
    if not isinstance(error, openai.APIStatusError) or error.type == "insufficient_quota":
        return False
    return error.status_code in (408, 409, 429) or error.status_code >= 500


def _so_far(done: int, total: int, kept: _ResultsFile | None) -> str:
    told = f"{done} of {total} questions are done"
    if kept is None:
        return f"{told}, and nothing of it was kept. With results_path=… the next run would go on from there."
    return f"{told} and kept in {plain(str(kept.path), 120)}. Run the cell again to go on."


class _ResultsFile:
    """Results as JSON lines: one that names the settings, then one for each question.

    A line counts only for the same settings and the same question, so one file can hold many evaluations.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self._settings = json.loads(json.dumps({"format": 1, **settings}, default=_jsonable))
        self._id = digest(self._settings)
        self._announced = False

    def load(self, questions: Sequence[Askable]) -> dict[str, dict[str, Any]]:
        """Return what is there already, by question id. A line that was torn by an interrupt does not count.

        Raises:
            ConfigurationError: the file holds something else, which adding lines would spoil.
        """
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"results_path {plain(str(self.path), 120)} cannot be used ({type(error).__name__}). Choose another file."
            ) from None
        by_id = {question.id: question for question in questions}
        found = {}
        for number, line in enumerate(lines):
            entry = _json_or_none(line)
            if number == 0 and line.strip() and not (isinstance(entry, dict) and "settings" in entry):
                raise ConfigurationError(
                    f"results_path {plain(str(self.path), 120)} holds something else, which stays as it is. Choose another "
                    "file."
                )
            if not isinstance(entry, dict) or entry.get("settings") != self._id:
                continue
            self._announced = True
            question = by_id.get(str(entry.get("id")))
            if question is not None and entry.get("question") == question.fingerprint:
                found[question.id] = entry["record"]
        return found

    def add(self, question: Askable, record: Mapping[str, Any]) -> None:
        """Add one result at the end."""
        entries: list[dict[str, Any]] = []
        if not self._announced:
            entries.append({"settings": self._id, "values": self._settings})
        entries.append(
            {"settings": self._id, "id": question.id, "question": question.fingerprint, "record": record}
        )
        text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            size = file.seek(0, io.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":  # the last line was torn by an interrupt
                    text = "\n" + text
            file.write(text.encode())
        self._announced = True


class _Progress:
    """Says how many questions are done: one display that updates in place in a notebook, few lines elsewhere."""

    def __init__(self, total: int, taken: int) -> None:
        self._total = total
        self._taken = taken
        self._renderer = make_renderer()
        self._block = None
        self._said = 4 * taken // total
        if self._renderer.mode == "markdown":
            self._block = self._renderer.block("progress", to_markdown=lambda text: text)
            self.update(taken)

    def update(self, done: int) -> None:
        """Show that ``done`` questions are done."""
        if self._block is not None:
            filled = round(20 * done / self._total)
            self._block.update(f"`{'█' * filled}{'░' * (20 - filled)}` {done} of {self._total} questions")
        else:
            quarter = 4 * done // self._total
            if self._said < quarter < 4:  # so few lines, and the same ones however fast it goes
                self._renderer.show({"text/plain": f"{done} of {self._total} questions"})
            self._said = max(self._said, quarter)

    def done(self, done: int, failed: int) -> None:
        """Show the end."""
        text = f"{done} of {self._total} questions asked"
        if self._taken:
            text += f", {self._taken} of them in an earlier run"
        if failed:
            text += f"; {failed} could not be asked"
        if self._block is not None:
            self._block.done(text)
        else:
            self._renderer.show({"text/plain": text})


def digest(value: Any) -> str:
    """Return a short fingerprint of JSON values, SDK objects and tuples."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=_jsonable)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return value.to_dict() if isinstance(value, openai.BaseModel) else str(value)


def _json_or_none(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
