"""Annotations to numbered citations: ``[1]`` where the API says that it belongs, and the list of files below.

Here live the numbering, the search for a place where a marker breaks nothing, and the plain, Markdown and HTML forms.
All of it is pure: text in, text out. Not here: showing it while an answer streams (``file_search.py``).
"""

from __future__ import annotations

import html
import math
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from helpers.fields import at, list_at, text_at
from helpers.rendering import plain_text, safe_markdown

__all__ = [
    "Citation",
    "CitedText",
    "Insertion",
    "OtherCitation",
    "Passage",
    "citations_in",
    "citations_of",
    "excerpt",
    "literal_html",
    "literal_markdown",
    "number_citations",
    "passages_in",
    "shown_name",
]

_EXCERPT_CHARACTERS: Final = 160
_NAME_CHARACTERS: Final = 100


# -- what people get --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Passage:
    """A piece of a file that a file search found and the model got to read."""

    file_id: str
    filename: str
    text: str
    score: float | None = None
    """How well it fits the queries, from 0 to 1; ``None`` if the API sent no score."""

    def __repr__(self) -> str:
        score = None if self.score is None else round(self.score, 2)
        return f"Passage({self.filename!r}, score={score}, text={excerpt(self.text, 60)!r})"


@dataclass(frozen=True)
class Citation:
    """A place in an answer that refers to one of the files that were searched."""

    number: int
    """The number in the text, such as 1 for ``[1]``; a file keeps its number."""
    filename: str
    file_id: str
    index: int | None
    """Where the API puts it: before this character of the text, counted from 0; ``None`` if it did not say."""
    passages: tuple[Passage, ...] = ()
    """What was retrieved from the file, best score first. The API does not say which of them is meant, and quotes none."""

    def __repr__(self) -> str:
        read = f"{len(self.passages)} passage{'' if len(self.passages) == 1 else 's'}"
        return f"Citation([{self.number}] {self.filename!r}, {self.file_id!r}, index={self.index}, {read})"


@dataclass(frozen=True)
class OtherCitation:
    """An annotation that is not a citation of a searched file: a web page, or a file that the code interpreter made.

    Its text has a link already, so it gets no number.
    """

    type: str
    """Such as ``"url_citation"`` or ``"container_file_citation"``."""
    name: str
    """The title of the page or the name of the file."""
    address: str
    """The URL of the page or the id of the file."""
    start_index: int | None
    """The first character of the text that it covers; ``None`` if the API did not say."""
    end_index: int | None
    """The character after the last one that it covers."""
    annotation: Any = field(repr=False)
    """The annotation as the API sent it."""


@dataclass(frozen=True)
class Insertion:
    """One or more markers that stand at one place, such as ``[1][2]``."""

    position: int
    """Before which character of the text."""
    value: str
    """What is inserted: the markers, with a space, line breaks or a closed code fence where they need it."""
    settled: bool = True
    """Whether more text at the end could not move it any more."""


@dataclass(frozen=True)
class CitedText:
    """An answer with numbered citations, in three forms: ``plain()``, ``markdown()`` and ``html()``.

    Attributes:
        text: the text as the model wrote it.
        citations: the citations of files, in the order of the text; duplicates at one index are left out.
        others: citations of web pages and of files that the code interpreter made.
        insertions: what is put where to make ``marked_text``, in the order of the text.
        numbers: the number of each file, by file id (or name, where there is no id).
        read: the names of the files whose passages the model got, cited or not; ``None`` if that is not known.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    others: tuple[OtherCitation, ...] = ()
    insertions: tuple[Insertion, ...] = ()
    numbers: Mapping[str, int] = field(default_factory=dict)
    read: tuple[str, ...] | None = None

    @property
    def marked_text(self) -> str:
        """The text with its markers, and nothing below it."""
        pieces: list[str] = []
        done = 0
        for insertion in self.insertions:
            pieces += [self.text[done : insertion.position], insertion.value]
            done = insertion.position
        return "".join([*pieces, self.text[done:]])

    @property
    def files(self) -> tuple[Citation, ...]:
        """The first citation of each file, by number."""
        first: dict[int, Citation] = {}
        for citation in self.citations:
            first.setdefault(citation.number, citation)
        return tuple(first[number] for number in sorted(first))

    @property
    def not_cited(self) -> str:
        """One sentence if nothing is cited, such as ``"Read but not cited: overview.md"``; else ``""``."""
        if self.citations or self.read is None:
            return ""
        return f"Read but not cited: {', '.join(map(shown_name, self.read))}" if self.read else ""

    def plain(self) -> str:
        """Return the text with markers and the list of files below it, as plain text."""
        return _joined(_writable(plain_text(self.marked_text)), self.files_plain(), self._others_plain())

    def markdown(self) -> str:
        """Return the same as Markdown in which nothing that a model or a file wrote is live but http(s) links.

        The links are those in the model's own text, as ``safe_markdown`` leaves them.
        """
        return _joined(
            _writable(safe_markdown(self.marked_text)), self.files_markdown(), self._others_markdown()
        )

    def html(self) -> str:
        """Return the same as HTML. The text is shown as it was written, with its Markdown marks."""
        body = f'<div style="white-space: pre-wrap">{literal_html(self.marked_text)}</div>'
        return _joined(body, self.files_html(), self._others_html(), between="\n")

    def files_plain(self) -> str:
        """Return the list of files as plain text; what was read if none is cited; ``""`` if that is not known."""
        lines = []
        for name, citation in zip(self._names(), self.files, strict=True):
            lines.append(f"[{citation.number}] {name}")
            if citation.passages:
                best = citation.passages[0]
                lines.append(f"    {_best_passage(best)} “{excerpt(best.text)}”")
        if any(citation.passages for citation in self.files):
            lines.append(_WHICH_PASSAGE)
        return "\n".join(lines) or self.not_cited

    def files_markdown(self) -> str:
        """Return the list of files as Markdown, with names and passages as text."""
        lines = []
        for name, citation in zip(self._names(), self.files, strict=True):
            line = f"- [{citation.number}] {_name_markdown(name)}"
            if citation.passages:
                best = citation.passages[0]
                line += f"<br>{_best_passage(best)} “{literal_markdown(excerpt(best.text))}”"
            lines.append(line)
        if lines:
            note = f"\n\n{_WHICH_PASSAGE}" if any(citation.passages for citation in self.files) else ""
            return "**Cited files**\n\n" + "\n".join(lines) + note
        if self.not_cited and self.read:
            return f"Read but not cited: {', '.join(_name_markdown(shown_name(name)) for name in self.read)}"
        return ""

    def files_html(self) -> str:
        """Return the list of files as HTML, with names and passages as text."""
        items = []
        for name, citation in zip(self._names(), self.files, strict=True):
            item = f"[{citation.number}] <code>{literal_html(name)}</code>"
            if citation.passages:
                best = citation.passages[0]
                item += f"<br>{_best_passage(best)} <q>{literal_html(excerpt(best.text))}</q>"
            items.append(f"<li>{item}</li>")
        if items:
            note = f"\n<p>{_WHICH_PASSAGE}</p>" if any(citation.passages for citation in self.files) else ""
            return f"<p>Cited files</p>\n<ul>{''.join(items)}</ul>{note}"
        return f"<p>{literal_html(self.not_cited)}</p>" if self.not_cited else ""

    def _names(self) -> list[str]:
        """Return the names to show, with the id behind a name that two files have."""
        names = [shown_name(citation.filename or citation.file_id) for citation in self.files]
        return [
            f"{name} ({shown_name(citation.file_id)})" if names.count(name) > 1 and citation.file_id else name
            for name, citation in zip(names, self.files, strict=True)
        ]

    def _others_plain(self) -> str:
        return "\n".join(f"Also refers to: {_describe(other)}" for other in self.others)

    def _others_markdown(self) -> str:
        return "\n".join(f"- Also refers to: {literal_markdown(_describe(other))}" for other in self.others)

    def _others_html(self) -> str:
        items = [f"<li>Also refers to: {literal_html(_describe(other))}</li>" for other in self.others]
        return f"<ul>{''.join(items)}</ul>" if items else ""

    def __str__(self) -> str:
        return self.plain()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/markdown": self.markdown(), "text/plain": self.plain()}


def number_citations(
    text: str,
    annotations: Iterable[Any] | None,
    results: Iterable[Any] | None = None,
    *,
    numbers: Mapping[str, int] | None = None,
) -> CitedText:
    """Number the citations of a text and find the place of each marker.

    A marker goes to the ``index`` of its ``file_citation``, which counts the characters of the Python string (Unicode
    code points). The API does not document the unit. Recordings of real answers agree with code points and exclude
    bytes; none of them has a character outside the Basic Multilingual Plane, such as an emoji, before a citation.

    Where a marker at the index would break something, it is moved:

    ===================================================  =========================================================
    the index is                                         the marker goes
    ===================================================  =========================================================
    inside a fenced, indented or ``$$`` block            below the block, on a line of its own: inside, it would
                                                         become part of the code
    inside a code span, link, address, formula, tag,     behind it: inside, it would change what it says or where
    backslash escape or character entity                 it leads
    at or in an opening ``**``, ``*``, ``_`` or ``~~``   before the marks: next to them, they would not open
    at or in a closing one                               behind the marks, for the same reason
    in a table, outside a cell's text                    to the end of the cell before it; the row keeps its cells
    at the begin of a line, or in a blank line, a rule   to the end of the text before it, which is what it stands
    or the mark of a list, quotation or heading          for; a heading or a list keeps its mark
    between the parts of one visible character           behind the character
    beyond the end, negative, or not there at all        to the end of the text: the place is not known
    ===================================================  =========================================================

    Args:
        text: the text of one ``output_text`` part.
        annotations: its annotations: SDK objects or dicts, in any order, also with parts missing.
        results: what the file searches found (items of ``file_search_call.results``); ``None`` if that is not known.
        numbers: numbers that files got in earlier texts (``CitedText.numbers``); they are kept.

    Returns:
        The text with its citations. Nothing is fetched, and ``text`` itself is not changed.

    Example:
        >>> cited = number_citations(
        ...     "The capital of France is Paris.",
        ...     [{"type": "file_citation", "file_id": "file-1", "filename": "geo.txt", "index": 30}],
        ... )
        >>> print(cited)
        The capital of France is Paris[1].
        <BLANKLINE>
        [1] geo.txt
    """
    passages = None if results is None else passages_in(results)
    layout = _Layout(text)
    found: list[tuple[_Place, int | None, int, str, str]] = []
    others: list[OtherCitation] = []
    for order, annotation in enumerate(annotations or ()):
        if at(annotation, "type") != "file_citation":
            others.append(_other_citation(annotation))
            continue
        index = _number_at(annotation, "index")
        found.append(
            (
                layout.place(index),
                index,
                order,
                text_at(annotation, "file_id"),
                text_at(annotation, "filename"),
            )
        )
    found.sort(key=lambda each: (each[0].position, len(text) if each[1] is None else each[1], each[2]))

    given = dict(numbers or {})
    citations: dict[tuple[int, int | None], Citation] = {}
    at_places: dict[int, tuple[_Place, set[int]]] = {}
    for place, index, _, file_id, filename in found:
        number = given.setdefault(file_id or filename, max(given.values(), default=0) + 1)
        citations.setdefault(
            (number, index),
            Citation(number, filename, file_id, index, _passages_of(passages or (), file_id, filename)),
        )
        at_places.setdefault(place.position, (place, set()))[1].add(number)
    insertions = []
    for place, at_place in at_places.values():
        markers = "".join(f"[{number}]" for number in sorted(at_place))
        insertions.append(
            Insertion(place.position, f"{place.before}{markers}{place.after}", settled=place.settled)
        )
    read = None if passages is None else tuple(dict.fromkeys(p.filename or p.file_id for p in passages))
    return CitedText(text, tuple(citations.values()), tuple(others), tuple(insertions), given, read)


def citations_in(
    texts: Iterable[tuple[str, Iterable[Any]]], results: Iterable[Any] | None = None
) -> list[Citation]:
    """Return the numbered citations of several texts; a file has the same number in all of them.

    Args:
        texts: pairs of a text and its annotations.
        results: what the file searches found; ``None`` if that is not known.
    """
    results = None if results is None else list(results)
    citations: list[Citation] = []
    numbers: Mapping[str, int] = {}
    for text, in_text in texts:
        cited = number_citations(text, in_text, results, numbers=numbers)
        numbers = cited.numbers
        citations += cited.citations
    return citations


def citations_of(source: Any) -> list[Citation]:
    """Return the numbered citations of a response, of several, or of their output items.

    Args:
        source: a ``Response``, or a list of responses or output items: SDK objects or dicts.

    Example:
        >>> citations_of({"output": []})
        []
    """
    items = list(_items_of(source))
    searches = [item for item in items if at(item, "type") == "file_search_call"]
    results = [result for search in searches for result in list_at(search, "results")]
    known = any(at(search, "results") is not None for search in searches)
    texts = [
        (text_at(part, "text"), list_at(part, "annotations"))
        for item in items
        if at(item, "type") == "message"
        for part in list_at(item, "content")
        if at(part, "type") == "output_text"
    ]
    return citations_in(texts, results if known else None)


def passages_in(results: Iterable[Any]) -> list[Passage]:
    """Return the results of file searches as passages, best score first; the same passage once.

    Args:
        results: items of ``file_search_call.results`` or of ``client.vector_stores.search(…)``.
    """
    passages: dict[tuple[str, str, str], Passage] = {}
    for result in results:
        if isinstance(result, Passage):
            passage = result
        else:
            score = at(result, "score")
            passage = Passage(
                file_id=text_at(result, "file_id"),
                filename=text_at(result, "filename"),
                text=text_at(result, "text")
                or "\n".join(text_at(part, "text") for part in list_at(result, "content")),
                score=float(score) if isinstance(score, (int, float)) and math.isfinite(score) else None,
            )
        key = (passage.file_id, passage.filename, passage.text)
        if not any(key):
            continue
        known = passages.get(key)
        if known is None or _rank(passage) < _rank(known):
            passages[key] = passage
    return sorted(passages.values(), key=_rank)


def _rank(passage: Passage) -> float:
    return -passage.score if passage.score is not None else math.inf


def _passages_of(passages: Sequence[Passage], file_id: str, filename: str) -> tuple[Passage, ...]:
    if file_id:
        return tuple(passage for passage in passages if passage.file_id == file_id)
    return tuple(passage for passage in passages if filename and passage.filename == filename)


def _other_citation(annotation: Any) -> OtherCitation:
    return OtherCitation(
        type=text_at(annotation, "type"),
        name=text_at(annotation, "title") or text_at(annotation, "filename"),
        address=text_at(annotation, "url") or text_at(annotation, "file_id"),
        start_index=_number_at(annotation, "start_index"),
        end_index=_number_at(annotation, "end_index"),
        annotation=annotation,
    )


def _items_of(source: Any) -> Iterable[Any]:
    for thing in source if isinstance(source, (list, tuple)) else [source]:
        output = at(thing, "output")
        yield from output if isinstance(output, list) and at(thing, "type") is None else [thing]


# -- reading what many servers send -----------------------------------------------------------------------------------


def _number_at(thing: object, name: str) -> int | None:
    value = at(thing, name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# -- words and names as text ------------------------------------------------------------------------------------------

# They change the order of all that follows on the line: "exe.fdp" can be made to read "pdf.exe".
_MARKDOWN_SIGNS: Final = re.compile(r"[\\`*_{}\[\]<>#|~&$@^=!]|:(?=/)|(?<=/)/|(?<=www)\.", re.IGNORECASE)
# These get an element of their own. MathJax looks for $ and \ in the finished page, and some renderers make links of
# addresses after they have resolved the entities: what they look for must not stand in one piece of text.
_APART: Final = frozenset("\\$@:./")
_TAME_NAME: Final = re.compile(r"[^\W_][\w .,+()-]*")


def literal_markdown(text: str) -> str:
    r"""Return Markdown for inside a line that shows ``text`` as it is: no HTML, emphasis, link, image or formula.

    Example:
        >>> literal_markdown("*a* <b>")
        '&#42;a&#42; &#60;b&#62;'
    """

    def encode(match: re.Match[str]) -> str:
        entity = f"&#{ord(match[0])};"
        return f"<span>{entity}</span>" if match[0] in _APART else entity

    return _MARKDOWN_SIGNS.sub(encode, " ".join(_harmless(text).split()))


def literal_html(text: str) -> str:
    """Return HTML that shows ``text`` as it is, also where MathJax looks for formulas.

    Example:
        >>> literal_html("<b> for $5")
        '&lt;b&gt; for <span>&#36;</span>5'
    """
    escaped = html.escape(_harmless(text), quote=True)
    return escaped.replace("$", "<span>&#36;</span>").replace("\\", "<span>&#92;</span>")


def shown_name(name: str) -> str:
    """Return a file name as one line of text that is not too long to read; ``"(no name)"`` for an empty one."""
    name = " ".join(_harmless(name).split())
    if len(name) > _NAME_CHARACTERS:
        name = f"{name[: _NAME_CHARACTERS - 20]}…{name[-19:]}"
    return name or "(no name)"


def excerpt(text: str, characters: int = _EXCERPT_CHARACTERS) -> str:
    """Return the begin of ``text`` on one line, cut between words where that is possible.

    Args:
        text: a passage.
        characters: how long it may be, the ``…`` included.
    """
    # A line of `characters` can hold no more words than that, so there is no need to split a whole book.
    line = " ".join(_harmless(text[: characters * 20]).split(maxsplit=characters))
    if len(line) <= characters and len(text) <= characters * 20:
        return line
    cut = line.rfind(" ", characters // 2, characters)
    if cut < 0:
        cut = min(characters - 1, len(line))
        while 0 < cut < len(line) and _belong_together(line, cut):
            cut -= 1
    return line[:cut].rstrip() + "…"


def _harmless(text: str) -> str:
    return _writable(plain_text(text))


def _writable(text: str) -> str:
    """Return ``text`` without half characters, which no file and no screen takes."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _name_markdown(name: str) -> str:
    # Code, since that is the one place where no renderer makes a link of "readme.md" or "www.example.org".
    if _TAME_NAME.fullmatch(name):
        return f"`{name}`"
    return f"<code>{literal_markdown(name)}</code>"


def _best_passage(passage: Passage) -> str:
    score = f" (score {passage.score:.2f})" if passage.score is not None else ""
    return f"best passage found in it{score}:"


# The API does not quote. To call a passage the cited one would be a guess.
_WHICH_PASSAGE: Final = "A citation names a file and does not say which of its passages is meant."


def _describe(other: OtherCitation) -> str:
    kind = {
        "url_citation": "web page",
        "container_file_citation": "file made by the code interpreter",
        "file_path": "file",
    }.get(other.type, other.type.replace("_", " ") or "something unknown")
    name = shown_name(other.name or other.address)
    address = f", {shown_name(other.address)}" if other.type == "url_citation" and other.name else ""
    return f"{name} ({shown_name(kind)}{address})"


def _joined(*parts: str, between: str = "\n\n") -> str:
    return between.join(part for part in parts if part)


# -- where a marker may stand -----------------------------------------------------------------------------------------
#
# The same view of code, quotations and lists as safe_markdown in rendering.py, which the marked text goes through
# before it is shown. Where the two differ the text is still complete and safe: a marker stands in code.


@dataclass(frozen=True)
class _Place:
    position: int
    before: str = ""
    after: str = ""
    settled: bool = True


_QUOTE_MARKS: Final = re.compile(r"[ \t]*(?:>[ \t]?)*+")
_BLANK: Final = re.compile(r"(?:[ \t\r]*| {0,3}>[> \t\r]*)$")
_PREFIX: Final = re.compile(
    r"(?:[ \t]++|>|(?:[-*+]|\d{1,9}[.)])(?=[ \t]|$)|\[[ xX]\](?=[ \t])|#{1,6}(?=[ \t]|$))*+"
)
_FENCE: Final = re.compile(
    r"(?P<prefix>(?: ++|>|(?:[-*+]|\d{1,9}[.)])(?= ))*+)(?P<fence>`{3,}(?=[^`]*$)|~{3,})"
)
_LIST_MARKER: Final = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])(?:[ \t]|$)")
_CODE_IN_ITEM: Final = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])(?: {5,}|[ \t]*\t[ \t]+)\S")
_RULE: Final = re.compile(
    r"[ \t>]*(?:(?:-[ \t]*+){3,}|(?:\*[ \t]*+){3,}|(?:_[ \t]*+){3,}|=+[ \t]*|-+[ \t]*)$"
)
_TABLE_RULE: Final = re.compile(r"[ \t>]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*+\|?[ \t]*$")
_HEADING: Final = re.compile(r" {0,3}#{1,6}(?:[ \t]|$)")
_CLOSING_HASHES: Final = re.compile(r"[ \t]#+[ \t]*$")
_CELL_END: Final = re.compile(r"(?<!\\)(?:\\\\)*(\|)")


class _Layout:
    """What stands where in a text, as far as a marker can break it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines: list[str] = []
        self._starts: list[int] = []
        self._kinds: list[str] = []
        self._blocks: dict[int, tuple[int, int, str, str]] = {}
        # One long line can hold many citations, so what is known of a line is kept.
        self._inlines: dict[int, _Inline] = {}
        self._contents: dict[int, tuple[int, int]] = {}
        self._row_cells: dict[int, list[tuple[int, int]]] = {}

    def place(self, index: int | None) -> _Place:
        """Return where a marker for ``index`` goes."""
        if not self._lines:
            self._read()
        size = len(self._text)
        position = size if index is None or index < 0 else min(index, size)
        return self._on_line(bisect_right(self._starts, position) - 1, position)

    # -- lines --------------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        self._lines = self._text.split("\n")
        start = 0
        for line in self._lines:
            self._starts.append(start)
            start += len(line) + 1
        self._kinds = ["text"] * len(self._lines)
        number = 0
        after_blank, in_list = True, False
        while number < len(self._lines):
            line = self._lines[number]
            if _BLANK.match(line):
                self._kinds[number] = "blank"
                after_blank = True
                number += 1
                continue
            is_fence = _FENCE.match(line)
            if not is_fence and after_blank and not in_list and _is_indented(line):
                number = self._read_indented(number)
                continue
            if _LIST_MARKER.match(line):
                in_list = True
            elif after_blank and line[0] not in " \t":
                in_list = False
            if is_fence:
                number = self._read_fence(number, is_fence)
                after_blank = True
                continue
            if _CODE_IN_ITEM.match(line):
                self._add_block(number, number, "", "")
                number += 1
                continue
            if line.strip() == "$$" and (end := self._math_end(number)):
                self._add_block(number, end, "", "")
                number = end + 1
                after_blank = False
                continue
            if "|" in line and _TABLE_RULE.match(line) and number and self._kinds[number - 1] == "text":
                number = self._read_table(number)
                after_blank = False
                continue
            if _RULE.match(line) and ("=" not in line or (number and self._kinds[number - 1] == "text")):
                self._kinds[number] = "rule"
            # Below a paragraph, an indented line belongs to it; below these, it is code.
            after_blank = self._kinds[number] == "rule" or _HEADING.match(line) is not None
            number += 1

    def _read_fence(self, first: int, opening: re.Match[str]) -> int:
        fence = opening["fence"]
        closing = re.compile(rf"[ \t>]*{re.escape(fence[0])}{{{len(fence)},}}[ \t\r]*$")
        quoted = ">" in opening["prefix"]
        # The lines of an item stand below its text, not below its mark.
        prefix = re.sub(r"[-*+.)\d]", " ", opening["prefix"])
        for number in range(first + 1, len(self._lines)):
            if quoted and not self._lines[number].lstrip(" \t").startswith(">"):
                # The quotation ends, and the code with it; what follows it is not a quotation any more.
                self._add_block(first, number - 1, "", "")
                return number
            if closing.match(self._lines[number]):
                self._add_block(first, number, prefix, "")
                return number + 1
        self._add_block(first, len(self._lines) - 1, prefix, fence)
        return len(self._lines)

    def _read_indented(self, first: int) -> int:
        last = first
        for number in range(first, len(self._lines)):
            line = self._lines[number]
            if line.strip(" \t\r"):
                if not _is_indented(line):
                    break
                last = number
        self._add_block(first, last, "", "")
        return last + 1

    def _math_end(self, start: int) -> int | None:
        for number in range(start + 1, len(self._lines)):
            line = self._lines[number].strip()
            if line == "$$":
                return number if number > start + 1 else None
            if not line or "$" in line or _FENCE.match(line):
                return None
        return None

    def _read_table(self, rule: int) -> int:
        if "|" not in self._lines[rule - 1]:
            return rule + 1
        self._kinds[rule - 1] = "row"
        self._kinds[rule] = "rule"
        number = rule + 1
        while number < len(self._lines):
            line = self._lines[number]
            if not line.strip("> \t\r") or "|" not in line or _FENCE.match(line):
                break
            self._kinds[number] = "row"
            number += 1
        return number

    def _add_block(self, first: int, last: int, prefix: str, fence: str) -> None:
        for number in range(first, last + 1):
            self._kinds[number] = "block"
            self._blocks[number] = (first, last, prefix, fence)

    # -- places -------------------------------------------------------------------------------------------------------

    def _on_line(self, number: int, position: int) -> _Place:
        kind = self._kinds[number]
        if kind == "block" and not (
            number == self._blocks[number][0] and position <= self._content(number)[0]
        ):
            return self._below(number)
        if kind in {"text", "row"} and position > self._content(number)[0]:
            return self._within(number, position)
        before = number - 1
        while before >= 0 and self._kinds[before] in {"blank", "rule"}:
            before -= 1
        if before >= 0:
            if self._kinds[before] == "block":
                return self._below(before)
            return self._within(before, self._content(before)[1])
        if kind == "block":
            return self._below(number)
        if kind == "rule":
            return self._below_line(number, number, "", "")
        begin, end = self._content(number)
        line_start = self._starts[number]
        if kind == "text" and begin > line_start and self._text[line_start:begin].strip(" \t"):
            return self._within(number, end)
        if kind == "row":
            return self._within(number, position)
        if kind == "blank":
            following = self._lines[number + 1] if number + 1 < len(self._lines) else ""
            return _Place(line_start, "", "\n" if following.strip(" \t\r") else "")
        return self._finish(position)

    def _content(self, number: int) -> tuple[int, int]:
        """Return where the text of a line begins, after its marks, and where it ends."""
        if number not in self._contents:
            self._contents[number] = self._find_content(number)
        return self._contents[number]

    def _find_content(self, number: int) -> tuple[int, int]:
        line, start = self._lines[number], self._starts[number]
        if self._kinds[number] == "row" and (cells := self._cells(number)):
            return cells[0][0], cells[-1][1]
        prefix = _PREFIX.match(line)
        begin = prefix.end() if prefix else 0
        content = line.rstrip(" \t\r")
        if content.endswith("\\") and number + 1 < len(self._lines):
            content = content[:-1].rstrip(" \t")  # a hard line break
        if prefix and "#" in prefix[0]:
            content = _CLOSING_HASHES.sub("", content)
        return start + begin, start + max(begin, len(content.rstrip(" \t")))

    def _below(self, number: int) -> _Place:
        return self._below_line(*self._blocks[number])

    def _below_line(self, first: int, last: int, prefix: str, fence: str) -> _Place:
        """Return a place on a new line below the lines from ``first`` to ``last``."""
        following = self._lines[last + 1] if last + 1 < len(self._lines) else ""
        settled = any(self._kinds[line] != "blank" for line in range(last + 1, len(self._kinds)))
        if fence:
            # A code block that is still open would take the marker as code: close it first.
            position = len(self._text)
            start_of_line = "" if position and self._text[-1] == "\n" else "\n"
            return _Place(position, f"{start_of_line}{prefix}{fence}\n{prefix}", "", settled=False)
        position = self._starts[last] + len(self._lines[last])
        if self._lines[last].endswith("\r"):
            position -= 1
        # Below a fence a new line is enough. Below other code only a blank line ends it for sure.
        fenced = _FENCE.match(self._lines[first]) is not None and first != last and self._is_closed(last)
        before = f"\n{prefix}" if fenced else "\n\n"
        after = f"\n{prefix}".rstrip(" \t") if following.strip("> \t\r") else ""
        return _Place(position, before, after, settled)

    def _is_closed(self, last: int) -> bool:
        return _FENCE.match(self._lines[last]) is not None

    def _within(self, number: int, position: int) -> _Place:
        begin, end = self._content(number)
        limit = end
        if self._kinds[number] == "row":
            position, limit = self._in_cell(number, position)
        elif position > end:
            # One space before the place is the model's own: "tasks [1]." More is a line break, or hides a mark.
            line_end = self._starts[number] + len(self._lines[number])
            if position > end + 1 or self._text[end:line_end].strip(" \t\r") or self._text[end] == "\r":
                position = end
            limit = max(position, end)
        inline = self._inlines.get(number)
        if inline is None:
            line = self._lines[number][: end - self._starts[number]]
            inline = self._inlines[number] = _Inline(line, begin - self._starts[number])
        offset = self._starts[number]
        for _ in range(8):
            moved = offset + inline.outside(position - offset)
            moved = min(max(moved, begin), max(limit, position))
            moved = _after_grapheme(self._text, moved)
            if moved == position:
                break
            position = moved
        return self._finish(position, after_address=inline.ends_address(position - offset))

    def _in_cell(self, number: int, position: int) -> tuple[int, int]:
        """Return the place for a marker in a row of a table, and where its cell's text ends."""
        cells = self._cells(number)
        if not cells:
            return position, position
        cell = cells[max(bisect_left(cells, (position, 0)) - 1, 0)]
        return min(position, cell[1]) if position > cell[0] else cell[1], cell[1]

    def _cells(self, number: int) -> list[tuple[int, int]]:
        """Return where the text of each cell begins and ends, without the cells that are empty."""
        if number not in self._row_cells:
            self._row_cells[number] = self._find_cells(number)
        return self._row_cells[number]

    def _find_cells(self, number: int) -> list[tuple[int, int]]:
        line, start = self._lines[number], self._starts[number]
        marks = _QUOTE_MARKS.match(line)
        cell_start = marks.end() if marks else 0
        cells: list[tuple[int, int]] = []
        for cell_end in [*(match.start(1) for match in _CELL_END.finditer(line)), len(line)]:
            content = line[cell_start:cell_end]
            stripped = content.strip(" \t\r")
            if stripped:
                begin = start + cell_start + len(content) - len(content.lstrip(" \t\r"))
                cells.append((begin, begin + len(stripped)))
            cell_start = cell_end + 1
        return cells

    def _finish(self, position: int, after_address: bool = False) -> _Place:
        # "[1](" would be a link to what stands in the parentheses, and an address goes on to the next space.
        after = " " if self._text[position : position + 1] == "(" else ""
        return _Place(position, " " if after_address else "", after)


def _is_indented(line: str) -> bool:
    return line.expandtabs(4).startswith("    ")


# -- inside a line ----------------------------------------------------------------------------------------------------

_ATOM: Final = re.compile(
    r"""
    (?P<escape>\\[!-/:-@\[-`{-~])
    | (?P<code>`+)
    | (?P<link>!?\[(?:[^\[\]\\]|\\.|\[[^\[\]]*+\])*+\]\((?:[^()\\]|\\.|\([^()]*+\))*+\))
    | (?P<address>(?:https?://|ftp://|www\.)[^\s<]+)
    | (?P<tag><[^<>]{1,1000}>)
    | (?P<entity>&(?:\#\d{1,7}|\#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});)
    | (?P<math>\$\$[^$]+\$\$|\$(?=[^\s$])[^$]*(?<=[^\s$])\$(?!\d))
    """,
    re.VERBOSE | re.IGNORECASE,
)
_PRICE: Final = re.compile(r"\$\d[\d.,]*\s+[^\W\d]{2,}")
_BACKTICKS: Final = re.compile(r"`+")
_EMPHASIS: Final = re.compile(r"(\*+|_+|~~+)")
_AFTER_ADDRESS: Final = ".,;:!?'\"*_~`|]}"


class _Inline:
    """The parts of a line that a marker must not stand in.

    Args:
        line: the line, without its end.
        begin: where its text begins, after the marks of a list, a quotation or a heading.
    """

    def __init__(self, line: str, begin: int) -> None:
        self._line = line
        self._atoms: list[tuple[int, int]] = []
        self._address_ends: list[tuple[int, int]] = []
        self._marks: list[tuple[int, int, bool]] = []  # where from, where to, whether it opens
        self._read_atoms(begin)
        self._read_emphasis(begin)
        self._atom_starts = [start for start, _ in self._atoms]
        self._mark_starts = [start for start, _, _ in self._marks]

    def outside(self, position: int) -> int:
        """Return ``position``, or where to go from it."""
        number = bisect_left(self._atom_starts, position) - 1
        if number >= 0 and position < self._atoms[number][1]:
            return self._atoms[number][1]
        if self._line[max(position - 1, 0) : position + 1] == "``":
            # Of a run that is cut in two, one part might begin or end code.
            run = _BACKTICKS.match(self._line, position)
            return run.end() if run else position
        # Two runs of marks can meet here. One that opens may have a marker before it, one that closes behind it.
        number = bisect_right(self._mark_starts, position) - 1
        for start, end, opens in reversed(self._marks[max(number - 1, 0) : number + 1]):
            if opens and start < position <= end:
                return start
            if not opens and start <= position < end:
                return end
        return position

    def ends_address(self, position: int) -> bool:
        """Return whether a bare web address ends here, or the punctuation directly behind it."""
        number = bisect_right(self._address_ends, (position, len(self._line))) - 1
        return number >= 0 and position <= self._address_ends[number][1]

    def _read_atoms(self, begin: int) -> None:
        line = self._line
        runs: dict[int, list[int]] = {}
        for run in _BACKTICKS.finditer(line, begin):
            runs.setdefault(len(run[0]), []).append(run.start())
        position = begin
        while match := _ATOM.search(line, position):
            start, end = match.span()
            position = end
            if match["code"]:
                same = runs.get(end - start, [])
                following = bisect_left(same, end)
                if following == len(same):
                    # No code, but cut in two it might become some.
                    self._atoms.append((start, end))
                    continue
                end = position = same[following] + end - start
            elif match["address"]:
                whole_end = end
                end = position = start + len(_without_punctuation(match[0]))
                # Punctuation behind an address ends it only where a space follows.
                self._address_ends.append((end, whole_end))
            elif match["math"] and _PRICE.match(match[0]):
                position = start + 1
                continue
            self._atoms.append((start, end))

    def _read_emphasis(self, begin: int) -> None:
        line = self._line
        open_marks: dict[str, int] = {}
        loose: list[tuple[int, int]] = []  # marks that neither open nor close anything
        number = 0
        for match in _EMPHASIS.finditer(line, begin):
            start, end = match.span()
            while number < len(self._atoms) and self._atoms[number][1] <= start:
                number += 1
            if number < len(self._atoms) and self._atoms[number][0] < end:
                continue
            before = line[start - 1] if start > 0 else " "
            after = line[end] if end < len(line) else " "
            mark = match[0][0]
            opens, closes = _flanking(mark, before, after)
            if closes and open_marks.get(mark):
                open_marks[mark] -= 1
                self._marks.append((start, end, False))
            elif opens:
                open_marks[mark] = open_marks.get(mark, 0) + 1
                self._marks.append((start, end, True))
            elif end - start > 1:
                loose.append((start, end))
        self._atoms = sorted([*self._atoms, *loose])


def _flanking(mark: str, before: str, after: str) -> tuple[bool, bool]:
    """Return whether a run of marks can open and can close emphasis (CommonMark 0.31, 6.2)."""
    space_before, space_after = before.isspace(), after.isspace()
    sign_before, sign_after = (unicodedata.category(sign)[0] in "PS" for sign in (before, after))
    left = not space_after and (not sign_after or space_before or sign_before)
    right = not space_before and (not sign_before or space_after or sign_after)
    if mark == "_":
        return left and (not right or sign_before), right and (not left or sign_after)
    return left, right


def _without_punctuation(address: str) -> str:
    """Return the address without what belongs to the sentence around it."""
    unopened = address.count(")") - address.count("(")
    end = len(address)
    while end:
        last = address[end - 1]
        if last == ")" and unopened > 0:
            unopened -= 1
        elif last not in _AFTER_ADDRESS:
            break
        end -= 1
    return address[:end]


# -- visible characters -----------------------------------------------------------------------------------------------


_MOST_PARTS: Final = 100
"""No writing puts more on one letter. Text that is made to look broken must not take long."""


def _after_grapheme(text: str, position: int) -> int:
    """Return the end of the visible character that ``position`` is inside of; ``position`` if it is between two."""
    for _ in range(_MOST_PARTS):
        if not 0 < position < len(text) or not _belong_together(text, position):
            break
        position += 1
    return position


def _belong_together(text: str, position: int) -> bool:
    before, after = text[position - 1], text[position]
    if after < "\u0300" or before == "\n":
        return False
    if after in "\u200c\u200d" or unicodedata.category(after) in {"Mn", "Mc", "Me"}:
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":
        return True  # a skin tone, or a tag of a flag
    if before == "\u200d":
        return unicodedata.category(after) in {"So", "Sk", "Sm", "Po"}
    if _is_flag_letter(before) and _is_flag_letter(after):
        start = position - 1
        while start > max(0, position - 2 * _MOST_PARTS) and _is_flag_letter(text[start - 1]):
            start -= 1
        return (position - start) % 2 == 1
    if "\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff":
        return True
    return _jamo_join(before, after)


def _is_flag_letter(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _jamo_join(before: str, after: str) -> bool:
    """Return whether two Korean letters are parts of one syllable."""
    leading = "\u1100" <= before <= "\u115f"
    vowel = "\u1160" <= before <= "\u11a7"
    trailing = "\u11a8" <= before <= "\u11ff"
    syllable = _is_syllable(before)
    open_syllable = syllable and (ord(before) - 0xAC00) % 28 == 0
    if "\u1100" <= after <= "\u115f" or _is_syllable(after):
        return leading
    if "\u1160" <= after <= "\u11a7":
        return leading or vowel or open_syllable
    return "\u11a8" <= after <= "\u11ff" and (vowel or trailing or syllable)


def _is_syllable(character: str) -> bool:
    """Return whether ``character`` is a composed Korean syllable."""
    return "\uac00" <= character <= "\ud7a3"
