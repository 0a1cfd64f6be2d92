"""What a docstring says: its description, and what it says of each parameter.

Here lives a small reader of the three styles that people write: Google's (``Args:``), NumPy's (underlined
``Parameters``) and reStructuredText's (``:param name:``). It only reads text. Not here: what becomes of it
(``schemas.py``).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from typing import Final

__all__ = ["read_docstring"]

_PARAMETER_HEADS: Final = frozenset(
    {"args", "arguments", "parameters", "params", "keyword args", "keyword arguments", "other parameters"}
)
_OTHER_HEADS: Final = frozenset(
    {
        "attributes",
        "example",
        "examples",
        "note",
        "notes",
        "raises",
        "references",
        "return",
        "returns",
        "see also",
        "todo",
        "warning",
        "warnings",
        "warns",
        "yield",
        "yields",
    }
)
# "name: what it is", "name (type): what it is"; the type may hold one pair of parentheses of its own.
_GOOGLE_ENTRY: Final = re.compile(r"\*{0,2}(\w+)\s*(?:\((?:[^()]|\([^()]*\))*\))?\s*:(?:\s+(.*)|$)")
# "name", "name : type", "first, second : type"
_NUMPY_ENTRY: Final = re.compile(r"\*{0,2}(\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
_FIELD: Final = re.compile(r"[:@](\w+)((?:\s+[^:]*)?):(?:\s+(.*)|$)")
_PARAMETER_FIELDS: Final = frozenset(
    {"param", "parameter", "arg", "argument", "key", "keyword", "kwarg", "kwparam"}
)
_OTHER_FIELDS: Final = frozenset(
    {
        "type",
        "return",
        "returns",
        "rtype",
        "raise",
        "raises",
        "except",
        "exception",
        "yield",
        "yields",
        "ytype",
    }
)
_LIST_ITEM: Final = re.compile(r"(?:[-*+•]|\d+[.)])\s")


def read_docstring(docstring: str | None, parameters: Collection[str] = ()) -> tuple[str, dict[str, str]]:
    """Return the description in a docstring, and what it says of each parameter.

    Args:
        docstring: the text; ``None`` or ``""`` if there is none.
        parameters: the names of the parameters; what is said of others is left out.

    Returns:
        The paragraphs before the first section, each on one line, and a dict from a parameter's name to its text.

    Example:
        >>> read_docstring("Add two numbers.\\n\\nArgs:\\n    a: the first one.", ["a"])
        ('Add two numbers.', {'a': 'the first one.'})
    """
    lines = inspect.cleandoc(docstring or "").splitlines()
    description: list[str] = []
    said: dict[str, list[str]] = {}
    place = 0
    while place < len(lines):
        head, length = _head(lines, place)
        if not head and not _field(lines[place]):
            if not said:
                description.append(lines[place])
            place += 1
            continue
        start = place + length
        place = _end_of_section(lines, start, is_underlined=length == 2) if head else place + 1
        if head and head not in _PARAMETER_HEADS:
            # A section about something else: what follows it is no description any more.
            said.setdefault("", [])
        elif head:
            entries = _numpy_entries if length == 2 else _google_entries
            said.setdefault("", [])
            said.update(entries(lines[start:place]))
        else:
            place = _read_field(lines, place - 1, said)
    texts = {name: _paragraphs(text, separator=" ") for name, text in said.items() if name in parameters}
    return _paragraphs(description), {name: text for name, text in texts.items() if text}


def _head(lines: list[str], place: int) -> tuple[str, int]:
    """Return the name of the section that begins here and how many lines its head has; ``""`` and 0 if none does."""
    line = lines[place]
    if not line or line[0].isspace():
        return "", 0
    below = lines[place + 1].strip() if place + 1 < len(lines) else ""
    name = line.strip().lower()
    if len(below) >= 3 and set(below) <= {"-", "="} and name in _PARAMETER_HEADS | _OTHER_HEADS:
        return name, 2
    name, colon, rest = name.partition(":")
    if colon and not rest and name in _PARAMETER_HEADS | _OTHER_HEADS:
        return name, 1
    return "", 0


def _end_of_section(lines: list[str], start: int, *, is_underlined: bool) -> int:
    """Return where the section that starts here ends.

    A section of Google's style ends with the first line that is not indented, one of NumPy's with the next head.
    """
    for place in range(start, len(lines)):
        line = lines[place]
        if _head(lines, place)[0] or _field(line):
            return place
        if not is_underlined and line and not line[0].isspace():
            return place
    return len(lines)


def _google_entries(lines: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    depth = min((_indent(line) for line in lines if line.strip()), default=0)
    current: list[str] = []
    for line in lines:
        entry = _GOOGLE_ENTRY.match(line.strip()) if _indent(line) == depth else None
        if entry:
            current = found[entry[1]] = [entry[2] or ""]
        else:
            current.append(line.strip())
    return found


def _numpy_entries(lines: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        entry = _NUMPY_ENTRY.match(line) if line and not line[0].isspace() else None
        if entry:
            current = []
            for name in entry[1].split(","):
                found[name.strip(" *")] = current
        else:
            current.append(line.strip())
    return found


def _field(line: str) -> re.Match[str] | None:
    match = _FIELD.match(line)
    return match if match and match[1].lower() in _PARAMETER_FIELDS | _OTHER_FIELDS else None


def _read_field(lines: list[str], place: int, said: dict[str, list[str]]) -> int:
    """Read one ``:param type name: text`` with the lines that belong to it; return where the next thing begins."""
    field = _field(lines[place])
    assert field is not None
    words = field[2].split()
    name = words[-1].lstrip("*") if words and field[1].lower() in _PARAMETER_FIELDS else ""
    text = said[name] = [field[3] or ""]
    place += 1
    while place < len(lines) and lines[place].strip() and not _field(lines[place]):
        text.append(lines[place].strip())
        place += 1
    return place


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _paragraphs(lines: list[str], separator: str = "\n\n") -> str:
    """Join lines to paragraphs of one line each; items of a list keep their lines, examples in code go."""
    paragraphs: list[str] = []
    current = ""
    in_example = False
    for line in [*lines, ""]:
        text = line.strip()
        if text.startswith(">>>"):
            in_example = True
        if not text:
            in_example = False
            if current:
                paragraphs.append(current)
            current = ""
        elif not in_example:
            joint = "\n" if _LIST_ITEM.match(text) else " "
            current = f"{current}{joint}{text}" if current else text
    return separator.join(paragraphs).replace("``", "`").strip()
