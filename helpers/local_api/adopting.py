"""Adopting captures: what a model answered goes in among the recordings, and what people wrote is kept.

New questions are added to a file of their own, ``<name>.captured.yaml``. A question that is recorded already is only
listed, unless replacing is asked for: then the old exchange is cut out of its file by its lines, so that everything
else in it, comments included, stays as a person wrote it. Files are written whole or not at all. Not here: capturing
(``captures.py``).
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from helpers.local_api.captures import key, write_whole
from helpers.local_api.matching import find_ties
from helpers.local_api.recording_text import content_of, exchange_text, file_text
from helpers.local_api.recordings import Exchange, Source, read_file, read_head, recording_files, shown_path
from helpers.local_api.turns import Run

SUFFIX: Final = ".captured.yaml"
_HEAD: Final = (
    "What a model answered, taken over from a capture. No person wrote these answers.",
    "README.md beside this file says how recordings work, and how to capture them anew.",
)
# What the code interpreter of the recorded API has, besides the standard library: matplotlib, and what it brings.
_THERE: Final = frozenset({"matplotlib", "mpl_toolkits", "numpy"})


class AdoptError(Exception):
    """Nothing was taken over, and no file was changed. The message says why and what to do."""


@dataclass
class Adoption:
    """What was taken over, and what was not.

    Attributes:
        added: new questions.
        replaced: questions whose exchange is now the captured one.
        kept: questions that are recorded already, with the place of the exchange that stays.
        unchanged: questions whose captured exchange is there already, word for word.
        left_out: questions that cannot be taken over, with the reason.
        with_code: how many of those that were taken over hold code.
        files: each changed file with its text before and after; ``None`` where there was or is none.
    """

    added: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    kept: list[tuple[str, str]] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    with_code: int = 0
    files: dict[Path, tuple[str | None, str | None]] = field(default_factory=dict)

    def diff(self) -> Iterator[str]:
        """Yield the lines of a unified diff of all changed files."""
        for path, (before, after) in sorted(self.files.items()):
            name = shown_path(path)
            yield from difflib.unified_diff(
                (before or "").splitlines(),
                (after or "").splitlines(),
                "/dev/null" if before is None else str(name),
                "/dev/null" if after is None else str(name),
                n=1,
                lineterm="",
            )


def adopt(captures: Sequence[Path], folder: Path, *, replace: bool = False) -> Adoption:
    """Take the exchanges of captures over into a folder of recordings.

    Args:
        captures: the files.
        folder: the recordings.
        replace: whether a captured exchange takes the place of one for the same question, tools and conditions.

    Raises:
        AdoptError: a file cannot be read, or the result would not be right; nothing was changed.
    """
    texts = {path: path.read_text(encoding="utf-8-sig") for path in recording_files(folder)}
    before = dict(texts)
    adoption = Adoption()
    for capture in captures:
        target = folder / f"{capture.stem.removesuffix('.captured')}{SUFFIX}"
        text = capture.read_text(encoding="utf-8-sig")
        for exchange in _read(capture, text):
            if _take_over(exchange, texts, replace, adoption):
                texts[target] = with_exchange(target, texts.get(target), exchange, like=text)
    problems = _problems(texts)
    if problems:
        raise AdoptError(f"Nothing was changed, because the recordings would be wrong: {problems[0]}")
    adoption.files = {
        path: (before.get(path), texts.get(path))
        for path in {**before, **texts}
        if before.get(path) != texts.get(path)
    }
    # What is new comes first: if this is interrupted, something is there twice, and nothing is lost.
    for path in sorted(adoption.files, key=lambda path: not path.name.endswith(SUFFIX)):
        if path in texts:
            write_whole(path, texts[path])
        else:
            os.remove(path)
    return adoption


def _take_over(exchange: Exchange, texts: dict[Path, str], replace: bool, adoption: Adoption) -> bool:
    """Make room for one exchange in the texts; return whether it belongs there, and note what becomes of it."""
    why = _why_not_playable(exchange)
    if why:
        adoption.left_out.append((exchange.ask, why))
        return False
    recorded = [(path, each) for path, text in texts.items() for each in _read(path, text)]
    same = [(path, each) for path, each in recorded if key(each) == key(exchange)]
    there = [(path, each) for path, each in same if _content(each) == _content(exchange)][:1]
    if there and (len(same) == 1 or not replace):
        adoption.unchanged.append(exchange.ask)
        return False
    if same and not replace:
        adoption.kept.append((exchange.ask, f"{same[0][0].name}:{same[0][1].line}"))
        return False
    others = [each for _, each in recorded if key(each) != key(exchange)]
    ties = sorted({*find_ties([*others, exchange])} - {*find_ties(others)})
    if ties:
        adoption.left_out.append((exchange.ask, ties[0].message.rstrip(".")))
        return False
    for path, old in [each for each in same if each not in there]:
        cut = without(path, texts[path], old)
        if cut is None:
            del texts[path]
        else:
            texts[path] = cut
    (adoption.replaced if same else adoption.added).append(exchange.ask)
    adoption.with_code += any(isinstance(step, Run) for step in exchange.steps)
    # It can be there already, beside the old one, where an earlier taking over was interrupted.
    return not there


@functools.lru_cache(maxsize=64)
def _read(path: Path, text: str) -> list[Exchange]:
    exchanges, problems = read_file(path, text.encode())
    if problems:
        raise AdoptError(f"Nothing was changed, because a file cannot be read: {problems[0]}")
    return exchanges


def _content(exchange: Exchange) -> tuple[object, ...]:
    """Return what an exchange says; on which day and by which model the same words were captured does not count."""
    return content_of(dataclasses.replace(exchange, source=Source(exchange.source.kind)))


def _problems(texts: dict[Path, str]) -> list[str]:
    exchanges, problems = [], []
    for path, text in texts.items():
        found, wrong = read_file(path, text.encode())
        exchanges += found
        problems += wrong
    return [str(problem) for problem in [*problems, *find_ties(exchanges)]]


def _why_not_playable(exchange: Exchange) -> str | None:
    """Return why an exchange would not play as it was captured: its code needs what is not there."""
    for step in exchange.steps:
        if isinstance(step, Run):
            missing = sorted(_imports(step.code) - _THERE - sys.stdlib_module_names)
            if missing:
                return f"its code imports {', '.join(missing)}, which the recorded code interpreter does not have"
    return None


def _imports(code: str) -> set[str]:
    """Return the names of the top-level modules that code imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


# -- texts ----------------------------------------------------------------------------------------------------------


def without(path: Path, text: str, exchange: Exchange) -> str | None:
    """Return the text of a file without one of its exchanges; ``None`` if it was the only one.

    Comments and blank lines around it stay.

    Raises:
        AdoptError: its lines cannot be told from those of others.
    """
    others = list(_read(path, text))
    others.remove(exchange)
    if not others:
        return None
    lines = text.split("\n")
    start = _dash_line(lines, exchange.line - 1)
    later = [each.line - 1 for each in others if each.line > exchange.line]
    end = _dash_line(lines, min(later)) if later else _end_of_list(lines, start)
    column = len(lines[start]) - len(lines[start].lstrip())
    while end > start + 1 and _is_between(lines[end - 1], column):
        end -= 1
    if start and not lines[start - 1].strip() and (end == len(lines) or not lines[end].strip()):
        end += 1  # one blank line is enough where it was
    cut = "\n".join([*lines[:start], *lines[end:]])
    kept, problems = read_file(path, cut.encode())
    if problems or [content_of(each) for each in kept] != [content_of(each) for each in others]:
        raise AdoptError(
            f"Nothing was changed: the exchange at {path.name}:{exchange.line} cannot be cut out without harm to the "
            "rest of its file. Remove it by hand and take the capture over again."
        )
    return cut


def with_exchange(path: Path, text: str | None, exchange: Exchange, *, like: str) -> str:
    """Return the text of a file with one more exchange at the end of its list.

    Args:
        path: the file, for messages.
        text: what is in it; ``None`` if there is no such file yet.
        exchange: what to add.
        like: a file whose head a new one gets.
    """
    if text is None:
        return file_text(*read_head(path, like.encode()), [exchange], _HEAD)
    exchanges = _read(path, text)
    source, recorded_with = read_head(path, text.encode())
    lines = text.split("\n")
    start = _dash_line(lines, exchanges[-1].line - 1)
    dash = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
    end = _end_of_list(lines, start)
    while not lines[end - 1].strip():
        end -= 1
    added = exchange_text(exchange, source, recorded_with, dash)
    rest = lines[end:] if any(line.strip() for line in lines[end:]) else [""]
    return "\n".join([*lines[:end], "", added, *rest])


def _dash_line(lines: Sequence[str], line: int) -> int:
    """Return the line with the dash of the exchange whose fields begin on a line."""
    while line > 0 and not lines[line].lstrip().startswith("-"):
        line -= 1
    return line


def _end_of_list(lines: Sequence[str], start: int) -> int:
    """Return the line behind the list that an exchange belongs to: the next key of the file, or the end."""
    for number in range(start + 1, len(lines)):
        line = lines[number]
        if line and not line[0].isspace() and line[0] not in "#-":
            return number
    return len(lines)


def _is_between(line: str, column: int) -> bool:
    """Return whether a line at the end of an exchange is none of its own: blank, or a comment of the list."""
    stripped = line.lstrip()
    return not stripped or (stripped.startswith("#") and len(line) - len(stripped) <= column)
