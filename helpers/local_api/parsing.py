"""Parsing: the text of a file, and where its headings are.

Markdown, plain text, code, JSON, HTML, PDF, docx and pptx. What OpenAI takes and this does not (.doc) fails with a
sentence, and so does what is broken, encrypted, empty, or not what its name says. Not here: cutting the text into
chunks (``chunking.py``).
"""

from __future__ import annotations

import codecs
import contextlib
import io
import logging
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import PurePath
from typing import Final
from xml.etree import ElementTree

from helpers.local_api.tokens import CHARACTERS_PER_TOKEN

# fmt: off
EXTENSIONS: Final = (
    ".c", ".cpp", ".cs", ".css", ".doc", ".docx", ".go", ".html", ".java", ".js", ".json", ".md", ".pdf", ".php",
    ".pptx", ".py", ".rb", ".sh", ".tex", ".ts", ".txt",
)
# fmt: on
"""What a vector store takes (https://developers.openai.com/api/docs/guides/retrieval)."""

_MOST_TOKENS: Final = 5_000_000
MOST_CHARACTERS: Final = _MOST_TOKENS * CHARACTERS_PER_TOKEN

_MOST_UNZIPPED_BYTES: Final = 128 * 1024 * 1024
# How files begin that are no text, whatever their name says.
_MAGIC: Final = (
    b"%PDF-",
    b"PK\x03\x04",
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"\x1f\x8b",
    b"\x7fELF",
    b"\xd0\xcf\x11\xe0",
)
_UNWANTED: Final = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ufeff\ud800-\udfff]")


class ParseError(Exception):
    """A file whose text cannot be had.

    Args:
        code: OpenAI's word for it: ``"unsupported_file"`` or ``"invalid_file"``.
        message: one sentence.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading: where it starts in the text, how deep it is (1 is the top), and what it says."""

    start: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Document:
    """The text of a file and its headings, in order."""

    text: str
    headings: list[Heading] = field(default_factory=list)


def parse(filename: str, content: bytes) -> Document:
    """Return the text of a file; its name's ending says how it is read.

    Raises:
        ParseError: the text cannot be had.

    Example:
        >>> parse("notes.md", b"# Attention\\n\\nEach token looks back.").headings
        [Heading(start=0, level=1, title='Attention')]
    """
    extension = extension_of(filename)
    document = _PARSERS.get(extension, _parse_text)(content)
    if len(document.text) > MOST_CHARACTERS:
        raise _too_large()
    if not document.text.strip():
        raise ParseError("invalid_file", "The file could not be parsed because it is empty.")
    return document


def extension_of(filename: str) -> str:
    """Return the ending of a file's name in lower case with its dot, or ``""``."""
    return PurePath(filename).suffix.lower()


def _too_large() -> ParseError:
    return ParseError("invalid_file", "The file could not be parsed because it is too large.")


# -- text -----------------------------------------------------------------------------------------------------------


def _decoded(content: bytes) -> str:
    """Return the text of bytes in UTF-8 (ASCII included), or in UTF-16 if it begins with a byte order mark."""
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if not utf16 and (content.startswith(_MAGIC) or b"\0" in content):
        raise ParseError("unsupported_file", "The file type is not supported.")
    try:
        text = content.decode("utf-16" if utf16 else "utf-8")
    except UnicodeDecodeError:
        raise ParseError(
            "invalid_file", "The file could not be parsed because it is not text in UTF-8, UTF-16 or ASCII."
        ) from None
    return _tidy(text)


def _tidy(text: str) -> str:
    """Return a text with one kind of line end, and without what cannot be shown or stored."""
    return _UNWANTED.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _parse_text(content: bytes) -> Document:
    return Document(_decoded(content))


_LINE: Final = re.compile(r"[^\n]*\n?")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX: Final = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*\n?\Z")
_SETEXT: Final = re.compile(r" {0,3}(=+|-+)[ \t]*\n?\Z")


def _parse_markdown(content: bytes) -> Document:
    text = _decoded(content)
    headings: list[Heading] = []
    fence, before, before_start = "", "", 0
    for found in _LINE.finditer(text):
        line, start = found.group(), found.start()
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
                fence = ""
            line = ""  # Nothing in a block of code is a heading, nor the text of one.
        elif mark:
            fence, line = mark[1], ""
        elif atx := _ATX.match(line):
            if atx[2]:
                headings.append(Heading(start, len(atx[1]), atx[2].strip()))
            line = ""
        elif before.strip() and (underline := _SETEXT.match(line)) and not _starts_list_or_table(before):
            headings.append(Heading(before_start, 1 if underline[1][0] == "=" else 2, before.strip()))
            line = ""
        before, before_start = line, start
    return Document(text, headings)


def _starts_list_or_table(line: str) -> bool:
    return line.lstrip().startswith(("- ", "* ", "+ ", "|", ">"))


# -- HTML -----------------------------------------------------------------------------------------------------------

_SILENT: Final = frozenset(("script", "style", "template", "noscript", "svg"))
# fmt: off
_BLOCKS: Final = frozenset((
    "address", "article", "aside", "blockquote", "body", "br", "caption", "dd", "details", "div", "dl", "dt",
    "fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "li", "main", "nav", "ol", "option",
    "p", "pre", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
))
# fmt: on
_HTML_HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}


class _HTMLText(HTMLParser):
    """Collects the text that a reader of the page sees."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.headings: list[Heading] = []
        self._length = 0
        self._silent = 0
        self._verbatim = 0
        self._title: list[str] | None = None
        self._open_heading: tuple[int, int, int] | None = None

    def _put(self, text: str) -> None:
        self.pieces.append(text)
        self._length += len(text)

    def _break(self, newlines: int = 1) -> None:
        while self.pieces and self.pieces[-1] == " ":
            self._length -= len(self.pieces.pop())
        have = 0
        for piece in reversed(self.pieces):
            stripped = piece.rstrip("\n")
            have += len(piece) - len(stripped)
            if stripped:
                break
        if self._length:
            self._put("\n" * max(0, newlines - have))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag == "title":
            self._title = []
        elif tag in _HTML_HEADINGS:
            self._break(2)
            self._open_heading = (_HTML_HEADINGS[tag], self._length, len(self.pieces))
        elif tag in _BLOCKS:
            self._break(2 if tag in {"p", "pre", "table"} else 1)
            self._verbatim += tag == "pre"
            if tag == "li":
                self._put("- ")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self._break()

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == "title" and self._title is not None:
            title = " ".join("".join(self._title).split())
            if title:
                self.headings.insert(0, Heading(0, 0, title))
            self._title = None
        elif tag in _HTML_HEADINGS and self._open_heading:
            level, start, first = self._open_heading
            title = " ".join("".join(self.pieces[first:]).split())
            if title:
                self.headings.append(Heading(start, level, title))
            self._open_heading = None
            self._break(2)
        elif tag in _BLOCKS:
            self._verbatim = max(0, self._verbatim - (tag == "pre"))
            self._break()

    def handle_data(self, data: str) -> None:
        if self._title is not None:
            self._title.append(data)
        elif self._silent:
            return
        elif self._verbatim:
            self._put(data)
        else:
            words = data.split()
            if data[:1].isspace() and self.pieces and not self.pieces[-1].endswith((" ", "\n")):
                self._put(" ")
            if words:
                self._put(" ".join(words))
                if data[-1].isspace():
                    self._put(" ")


def _parse_html(content: bytes) -> Document:
    reader = _HTMLText()
    reader.feed(_decoded(content))
    reader.close()
    return Document("".join(reader.pieces), reader.headings)


# -- PDF ------------------------------------------------------------------------------------------------------------


def _parse_pdf(content: bytes) -> Document:
    # Only who has a PDF pays for the import.
    import pypdf

    broken = ParseError(
        "invalid_file", "The file could not be parsed because it is not a PDF that can be read."
    )
    encrypted = ParseError("invalid_file", "The file could not be parsed because it is encrypted.")
    with _quiet("pypdf"):
        try:
            reader = pypdf.PdfReader(io.BytesIO(content))
            if reader.is_encrypted and not reader.decrypt(""):
                raise encrypted
            pages, length = [], 0
            for page in reader.pages:
                pages.append(page.extract_text())
                length += len(pages[-1])
                if length > MOST_CHARACTERS:
                    raise _too_large()
        except ParseError:
            raise
        except pypdf.errors.DependencyError:
            # Some ciphers need a further package. For a learner the reason is the same.
            raise encrypted from None
        except Exception as error:
            # A broken PDF can break the reader anywhere: KeyError, TypeError, RecursionError and others were seen.
            raise broken from error
    return Document(_tidy("\n\n".join(pages)))


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library's warnings off the learner's screen: the outcome says what matters."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


# -- Office ---------------------------------------------------------------------------------------------------------

_WORD: Final = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_DRAWING: Final = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_WORD_HEADING: Final = re.compile(r"heading ?([1-9])|title", re.IGNORECASE)
_SLIDE: Final = re.compile(r"ppt/slides/slide(\d+)\.xml")


def _parse_docx(content: bytes) -> Document:
    (body,) = _office_parts(content, re.compile(r"word/document\.xml"))
    pieces: list[str] = []
    headings: list[Heading] = []
    start = 0
    for paragraph in body.iter(f"{_WORD}p"):
        text = "".join(_run_text(element) for element in paragraph.iter())
        style = paragraph.find(f"{_WORD}pPr/{_WORD}pStyle")
        found = _WORD_HEADING.fullmatch("" if style is None else style.get(f"{_WORD}val", ""))
        if found and text.strip():
            headings.append(Heading(start, int(found[1] or 1), text.strip()))
        pieces.append(f"{text}\n\n")
        start += len(pieces[-1])
    return Document("".join(pieces), headings)


def _run_text(element: ElementTree.Element) -> str:
    if element.tag == f"{_WORD}t":
        return _tidy(element.text or "")
    return {f"{_WORD}tab": "\t", f"{_WORD}br": "\n", f"{_WORD}cr": "\n"}.get(element.tag, "")


def _parse_pptx(content: bytes) -> Document:
    pieces: list[str] = []
    headings: list[Heading] = []
    start = 0
    for slide in _office_parts(content, _SLIDE):
        lines = [
            _tidy("".join(run.text or "" for run in paragraph.iter(f"{_DRAWING}t"))).strip()
            for paragraph in slide.iter(f"{_DRAWING}p")
        ]
        lines = [line for line in lines if line]
        if lines:
            headings.append(Heading(start, 1, lines[0]))
        pieces.append("\n".join(lines) + "\n\n")
        start += len(pieces[-1])
    return Document("".join(pieces), headings)


def _office_parts(content: bytes, name: re.Pattern[str]) -> list[ElementTree.Element]:
    """Return the parsed parts of an Office file whose name matches, in the order of their numbers."""
    broken = ParseError(
        "invalid_file", "The file could not be parsed because it is not an Office file that can be read."
    )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            wanted = [info for info in archive.infolist() if name.fullmatch(info.filename)]
            # What is packed small can be huge, and what it says about its size can be a lie: so both are limited.
            if sum(info.file_size for info in wanted) > _MOST_UNZIPPED_BYTES:
                raise _too_large()
            parts = []
            for info in sorted(
                wanted, key=lambda info: [int(number) for number in re.findall(r"\d+", info.filename)]
            ):
                with archive.open(info) as part:
                    xml = part.read(_MOST_UNZIPPED_BYTES + 1)
                if len(xml) > _MOST_UNZIPPED_BYTES:
                    raise _too_large()
                if b"<!DOCTYPE" in xml or b"<!ENTITY" in xml:
                    raise broken  # No Office program writes one, and it is the way to make a small file huge.
                parts.append(ElementTree.fromstring(xml))
    except (
        zipfile.BadZipFile,
        zlib.error,
        ElementTree.ParseError,
        RuntimeError,  # an encrypted part
        NotImplementedError,  # an unknown compression
        EOFError,
        OSError,
        ValueError,
    ):
        raise broken from None
    if not parts:
        raise broken
    return parts


def _parse_doc(content: bytes) -> Document:
    raise ParseError(
        "unsupported_file",
        "The file type is not supported by the recorded API. Save it as .docx, .pdf or .md, and upload that.",
    )


_PARSERS: Final[dict[str, Callable[[bytes], Document]]] = {
    ".md": _parse_markdown,
    ".html": _parse_html,
    ".pdf": _parse_pdf,
    ".docx": _parse_docx,
    ".pptx": _parse_pptx,
    ".doc": _parse_doc,
}
