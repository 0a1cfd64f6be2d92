"""Citations as recordings write them: ``[file.md]`` becomes an annotation, and goes out of the text.

Here live the form of a citation, what looks like one and is none, and the place of the annotation. Not here: which files
there are to cite (``file_search_tool.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from helpers.local_api.parsing import EXTENSIONS
from helpers.local_api.turns import Say

_ENDINGS: Final = "|".join(re.escape(extension) for extension in EXTENSIONS)
# A file's name alone in brackets, no link behind it; with the white space before it, which goes with it.
_CITATION: Final = re.compile(
    rf"(?:(?<=\S)[ \t]*(?:\n[ \t]*)?)?\[([^\[\]\n/\\,\s][^\[\]\n/\\,]*(?:{_ENDINGS})|[^\[\]\n/\\,\s](?:{_ENDINGS}))\](?!\()"
)
CODE: Final = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
"""Code in a text, which is left as it is."""

PLACEHOLDER: Final = re.compile(r"(?<![\w\\}{$])\{([A-Za-z_]\w*)\}")
"""A place for what code printed or a function gave back: ``{loss}``."""

_MISTAKES: Final = (
    (re.compile(r"【[^】\n]*】"), "Write the file's name in square brackets: [notes.md]."),
    (
        re.compile(rf"\[[^\[\]\n]*[/\\][^\[\]\n/\\]*(?:{_ENDINGS})\](?!\()"),
        "Cite the name without its folder: [notes.md].",
    ),
    (
        re.compile(rf"\[(?:[^\[\]\n]*(?:{_ENDINGS})\s*,[^\[\]\n]*)\](?!\()"),
        "Give each file its own brackets: [a.md][b.md].",
    ),
    (
        re.compile(rf"\[(?:\s+[^\[\]\n]*(?:{_ENDINGS})\s*|[^\[\]\n]*(?:{_ENDINGS})\s+)\](?!\()"),
        "Leave no space inside the brackets: [notes.md].",
    ),
    (
        re.compile(r"\[[\w .-]+\.(?:csv|tsv|xlsx?|ya?ml|ipynb|png|jpe?g|gif)\](?!\()", re.IGNORECASE),
        "Vector stores take no such files, so it cannot be cited. Put it in `backticks` if it is only a name.",
    ),
)


def _found(text: str) -> Iterator[re.Match[str]]:
    code = [found.span() for found in CODE.finditer(text)]
    for found in _CITATION.finditer(text):
        if not any(start < found.end() and found.start(1) < end for start, end in code):
            yield found


def citations(text: str) -> list[str]:
    """Return the names of the files that a recorded text cites, in order.

    Example:
        >>> citations("It stops there [overview.md]. `[not.md]`, [link.md](x) and [1] are none.")
        ['overview.md']
    """
    return [found[1] for found in _found(text)]


def mistakes(text: str) -> Iterator[str]:
    """Yield a sentence for everything that looks like a citation and is none.

    Example:
        >>> list(mistakes("See [data/notes.md]."))
        ['[data/notes.md] is no citation. Cite the name without its folder: [notes.md].']
    """
    prose = CODE.sub("", text)
    for pattern, what_to_do in _MISTAKES:
        for found in pattern.finditer(prose):
            yield f"{found[0]} is no citation. {what_to_do}"


def with_annotations(step: Say, names: Mapping[str, str]) -> Say:
    """Take the citations of known files out of a text, and note where they were.

    Args:
        step: the text as it was written.
        names: the files that can be cited: name to id. Other citations stay in the text.

    Returns:
        The text as the API sends it. An index counts characters (code points) before the place, as live.

    Example:
        >>> with_annotations(Say("It stops there [overview.md]."), {"overview.md": "file-1"}).annotations
        [{'type': 'file_citation', 'file_id': 'file-1', 'filename': 'overview.md', 'index': 14}]
    """
    pieces: list[str] = []
    annotations: list[dict[str, Any]] = list(step.annotations)
    length = end = 0
    for found in _found(step.text):
        if found[1] not in names:
            continue
        pieces.append(step.text[end : found.start()])
        length += len(pieces[-1])
        end = found.end()
        annotations.append(
            {"type": "file_citation", "file_id": names[found[1]], "filename": found[1], "index": length}
        )
    return Say("".join([*pieces, step.text[end:]]), annotations)
