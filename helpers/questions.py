"""Gold questions: questions whose answer is known, with the passages that an answer needs.

Here live ``Question``, the reading of a file of them, and what "relevant" means. Not here: asking them
(``evaluation.py``).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from helpers.asking import digest
from helpers.diagrams import plain
from helpers.errors import ConfigurationError
from helpers.metrics import contains_passage
from helpers.models import DATA_FOLDER

__all__ = ["Question", "checked_questions", "load_questions", "needs_found"]


@dataclass(frozen=True)
class Question:
    """A question whose answer is known. Make your own for your own files: they are worth more than any list of ours.

    Raises:
        ConfigurationError: the fields contradict each other.

    Example:
        >>> question = Question(
        ...     id="release",
        ...     question="When did the large model come out?",
        ...     expected_files=("overview.md",),
        ...     expected_passages=(("5 November 2019",),),
        ... )
        >>> question.needs
        1
    """

    id: str
    question: str
    expected_files: tuple[str, ...] = ()
    """The names of the files that the answer is in; empty if no file answers it."""
    expected_passages: tuple[tuple[str, ...], ...] = ()
    """What the answer needs: for each thing the passages, word for word, of which any one gives it."""
    key_facts: tuple[tuple[str, ...], ...] = ()
    """What a good answer says: for each fact its accepted wordings."""
    answerable: bool = True
    kind: str = "own"
    """A group for the report, such as ``"paraphrase"``."""

    def __post_init__(self) -> None:
        # A list, or a text on its own, is what one writes by hand; what is kept is always the same.
        object.__setattr__(self, "expected_files", _texts(self.expected_files, "expected_files"))
        for name in ("expected_passages", "key_facts"):
            object.__setattr__(self, name, _alternatives(getattr(self, name), name))
        problem = ""
        if not self.id or not self.question.strip():
            problem = "it needs an id and a question"
        elif self.answerable and not self.expected_files:
            problem = "it is answerable, so it needs expected_files"
        elif not self.answerable and (self.expected_files or self.expected_passages or self.key_facts):
            problem = "it is not answerable, so nothing can be expected"
        if problem:
            raise ConfigurationError(
                f"The question {plain(self.id or self.question, 60)!r} is wrong: {problem}."
            )

    @property
    def needs(self) -> int:
        """How many things the answer needs: the passages, or, where none is named, the files."""
        return len(self.expected_passages) or len(self.expected_files)

    @property
    def fingerprint(self) -> str:
        """Changes when the question or what is expected changes."""
        return digest([self.question, self.expected_files, self.expected_passages, self.key_facts])


def load_questions(path: str | Path | None = None) -> list[Question]:
    """Return the questions in a JSONL file (one JSON object per line).

    Fields: ``id``, ``question``, ``kind``, ``answerable``, ``expected_files`` (a list of names), ``expected_passages``
    and ``key_facts`` (lists whose entries are a text, or a list of texts of which any one will do).

    Args:
        path: without one, the workshop's own questions on the texts in ``data/gpt2``.

    Raises:
        ConfigurationError: the file is not there, or a line is not a question; it says which.
    """
    source = DATA_FOLDER / "questions.jsonl" if path is None else Path(path)
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"The questions in {plain(str(source), 120)} cannot be read ({type(error).__name__})."
        ) from None
    questions = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                questions.append(_question(json.loads(line)))
            except json.JSONDecodeError:
                raise ConfigurationError(f"{source.name}, line {number} is not JSON.") from None
            except ConfigurationError as error:
                raise ConfigurationError(f"{source.name}, line {number}: {error}") from None
    _check_ids(questions)
    return questions


_FIELDS: Final = (
    "id",
    "question",
    "kind",
    "answerable",
    "expected_files",
    "expected_passages",
    "key_facts",
)


def _question(fields: Any) -> Question:
    if not isinstance(fields, dict):
        raise ConfigurationError("A question is a JSON object, {…}.")
    unknown = set(fields) - set(_FIELDS)
    if unknown:
        raise ConfigurationError(f"There is no field {min(unknown)!r}; the fields are {', '.join(_FIELDS)}.")
    answerable = fields.get("answerable", True)
    texts = (fields.get("id"), fields.get("question"), fields.get("kind", "own"))
    if not isinstance(answerable, bool) or not all(isinstance(text, str) for text in texts):
        raise ConfigurationError("id, question and kind are texts, answerable is true or false.")
    return Question(**fields)


def _texts(value: Any, name: str) -> tuple[str, ...]:
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(
        isinstance(text, str) and text.strip() for text in texts
    ):
        raise ConfigurationError(f"{name} is a list of texts.")
    return tuple(texts)


def _alternatives(value: Any, name: str) -> tuple[tuple[str, ...], ...]:
    entries = (value,) if isinstance(value, str) else value
    if not isinstance(entries, list | tuple):
        raise ConfigurationError(f"{name} is a list.")
    found = tuple(_texts(entry, name) for entry in entries)
    if not all(found):
        raise ConfigurationError(f"{name} holds an empty list.")
    return found


def _check_ids(questions: Sequence[Question]) -> None:
    twice = [id for id, count in Counter(question.id for question in questions).items() if count > 1]
    if twice:
        raise ConfigurationError(f"Two questions have the id {twice[0]!r}. Give each one its own.")


def needs_found(question: Question, filename: str, text: str) -> tuple[int, ...]:
    """Return which of the things that ``question`` needs a retrieved text gives, as numbers from 0.

    This is what "relevant" means here: a result is relevant if it is from an expected file **and**, where the question
    names passages, contains one of them (white space, case and Unicode form aside; a chunk whose border cuts a passage
    contains it if it holds at least half of it, see ``contains_passage``). A question that names files only needs one
    result from each of them.

    Example:
        >>> question = Question("q", "When?", ("a.md",), (("in 2019",), ("in May", "in spring")))
        >>> needs_found(question, "a.md", "It was in  spring."), needs_found(question, "b.md", "It was in spring.")
        ((1,), ())
    """
    if filename not in question.expected_files:
        return ()
    if not question.expected_passages:
        return (question.expected_files.index(filename),)
    return tuple(
        number
        for number, passages in enumerate(question.expected_passages)
        if any(contains_passage(text, passage) for passage in passages)
    )


def checked_questions(questions: Sequence[Question] | None) -> list[Question]:
    """Return the questions, or the workshop's own if there are none.

    Raises:
        ConfigurationError: an empty list, something else in it, or an id that occurs twice.
    """
    chosen = load_questions() if questions is None else list(questions)
    if not chosen or not all(isinstance(question, Question) for question in chosen):
        raise ConfigurationError("questions is a list of Question objects, such as load_questions() returns.")
    _check_ids(chosen)
    return chosen
