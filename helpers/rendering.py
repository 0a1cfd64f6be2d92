"""Where a text goes while it streams: one Markdown display in a notebook, plain lines in a terminal and in CI.

Here live the choice between the two, the blocks that handlers write to, and what makes a model's text safe to show as
Markdown. Formatting (``safe_markdown``, ``plain_text``) is apart from output, so it is tested without a screen.
Not here: what to show and when (``handlers.py``).
"""

from __future__ import annotations

import os
import re
import string
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol, TextIO

from helpers.errors import ConfigurationError, without_controls

__all__ = [
    "Block",
    "LinesRenderer",
    "MarkdownRenderer",
    "Renderer",
    "display_mode",
    "make_renderer",
    "plain_text",
    "safe_markdown",
]

Mode = Literal["markdown", "lines"]
Publish = Callable[[Mapping[str, str], str, bool], None]
"""Shows a bundle (MIME type to text) under a display id; the flag says that it replaces what is there."""


class Block(Protocol):
    """A piece of output that grows or changes while a response streams."""

    def append(self, piece: str) -> None:
        """Add ``piece`` at the end."""

    def update(self, text: str) -> None:
        """Show ``text`` instead of what the block holds."""

    def done(self, text: str | None = None) -> None:
        """Show the final state; with ``text``, that is the final text. A block that never got text shows nothing."""


class Renderer(Protocol):
    """Where the output of one run goes. Blocks stand in the order in which they first show something."""

    mode: Mode

    def block(self, kind: str = "text", *, to_markdown: Callable[[str], str] | None = None) -> Block:
        """Open a block.

        Args:
            kind: what it is for, such as ``"text"``; two kinds never share a line.
            to_markdown: makes trusted Markdown of the block's text in a notebook. Without it the text counts as
                somebody else's: HTML and images in it are shown as text (``safe_markdown``).
        """

    def show(self, bundle: Mapping[str, str]) -> None:
        """Show a finished thing once, such as a picture: MIME type to text; ``text/plain`` is required."""

    def footer(self, text: str) -> None:
        """Show a remark about the run, below it and apart from its text."""


# -- which of the two -------------------------------------------------------------------------------------------------


def display_mode() -> Mode:
    """Return how text is shown here: ``"markdown"`` or ``"lines"``.

    ``WORKSHOP_DISPLAY`` decides if it says ``markdown`` or ``lines``. Otherwise a notebook (Jupyter, VS Code, Colab)
    gets Markdown, and a terminal, CI and pytest get lines.

    Raises:
        ConfigurationError: if ``WORKSHOP_DISPLAY`` says something else.
    """
    wanted = os.environ.get("WORKSHOP_DISPLAY", "").strip().lower() or "auto"
    if wanted == "markdown":
        return "markdown"
    if wanted == "lines":
        return "lines"
    if wanted != "auto":
        raise ConfigurationError(
            f"WORKSHOP_DISPLAY is {wanted!r}, which is not a way to show text. Set it to auto, markdown or lines."
        )
    return "markdown" if _in_notebook() and not _in_automation() else "lines"


def make_renderer() -> Renderer:
    """Return the renderer for this place (see ``display_mode``)."""
    # Without an IPython shell there is nothing that could draw Markdown, whatever the variable asks for.
    if display_mode() == "markdown" and _shell() is not None:
        return MarkdownRenderer()
    return LinesRenderer()


def _in_automation() -> bool:
    if os.environ.get("CI", "").strip().lower() not in {"", "0", "false"}:
        return True
    return "PYTEST_CURRENT_TEST" in os.environ or "PYTEST_VERSION" in os.environ


def _shell() -> Any:
    # A shell exists only if IPython is loaded already, so there is no need to import it to find out.
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def _in_notebook() -> bool:
    shell = _shell()
    return shell is not None and any(
        kind.__name__ == "ZMQInteractiveShell" or kind.__module__.startswith("google.colab")
        for kind in type(shell).__mro__
    )


# -- Markdown that updates in place -----------------------------------------------------------------------------------

_SHORTEST_INTERVAL_S: Final = 1 / 8
# Every update sends the whole text again, which would be quadratic: a Jupyter server drops output beyond 1,000,000
# bytes a second. With this budget a long text updates more slowly, and the bytes grow with time, not with its square.
_CHARACTERS_PER_S: Final = 50_000


class MarkdownRenderer:
    """Shows each block as one Markdown display that updates in place, at most eight times a second.

    Args:
        publish: how a bundle is shown; without one, through IPython.
        clock: seconds, for the pace of the updates.
    """

    mode: Mode = "markdown"

    def __init__(self, publish: Publish | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._publish = publish or _publish_with_ipython
        self._clock = clock

    def block(self, kind: str = "text", *, to_markdown: Callable[[str], str] | None = None) -> Block:
        """Open a display; it appears with its first text."""
        return _MarkdownBlock(self._publish, self._clock, to_markdown)

    def show(self, bundle: Mapping[str, str]) -> None:
        """Show a bundle as a display of its own."""
        self._publish(bundle, uuid.uuid4().hex, False)

    def footer(self, text: str) -> None:
        """Show ``text`` as a small quotation."""
        lines = [_literal_markdown(line) for line in plain_text(text).splitlines()]
        self.show({"text/markdown": "> " + "  \n> ".join(lines), "text/plain": plain_text(text)})


class _MarkdownBlock:
    def __init__(
        self, publish: Publish, clock: Callable[[], float], to_markdown: Callable[[str], str] | None
    ) -> None:
        self._publish = publish
        self._clock = clock
        self._to_markdown = to_markdown
        self._pieces: list[str] = []
        self._id = uuid.uuid4().hex
        self._shown = False
        self._next_s = float("-inf")
        self._final: str | None = None

    def append(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)
            self._draw_if_due()

    def update(self, text: str) -> None:
        self._pieces = [text]
        self._draw_if_due()

    def done(self, text: str | None = None) -> None:
        if text is not None:
            self._pieces = [text]
        final = "".join(self._pieces)
        if final != self._final and (final or self._shown):
            self._draw(final=True)
            self._final = final

    def _draw_if_due(self) -> None:
        if self._clock() >= self._next_s:
            self._draw(final=False)

    def _draw(self, *, final: bool) -> None:
        text = "".join(self._pieces)
        self._pieces = [text]
        if self._to_markdown is not None:
            markdown = self._to_markdown(text)
        else:
            markdown = safe_markdown(text, streaming=not final)
        bundle = {"text/markdown": markdown}
        if final:
            # Only what is saved needs the plain form as well; sending it each time would double the bytes.
            bundle["text/plain"] = plain_text(text)
        self._publish(bundle, self._id, self._shown)
        self._shown = True
        self._next_s = self._clock() + max(_SHORTEST_INTERVAL_S, len(markdown) / _CHARACTERS_PER_S)


def _publish_with_ipython(bundle: Mapping[str, str], display_id: str, update: bool) -> None:
    from IPython import display

    show: Callable[..., Any] = display.display
    show(dict(bundle), raw=True, display_id=display_id, update=update)


# -- plain lines ------------------------------------------------------------------------------------------------------


class LinesRenderer:
    """Writes plain text: piece by piece in a real terminal, in whole lines everywhere else.

    Args:
        out: where to; without one, ``sys.stdout`` as it is at the time.
        live: whether pieces are written as they come; without it, whether ``out`` is a terminal outside CI. Whole
            lines make the output of a run the same each time, however the text was cut into pieces.
    """

    mode: Mode = "lines"

    def __init__(self, out: TextIO | None = None, *, live: bool | None = None) -> None:
        self._out = out
        self._live = live
        self._writer: object = None
        # None: nothing of ours was written yet, and a handler may have printed by itself.
        self._at_line_start: bool | None = None

    @property
    def live(self) -> bool:
        """Whether pieces are written as they come."""
        if self._live is None:
            isatty = getattr(self._out or sys.stdout, "isatty", None)
            self._live = bool(isatty is not None and isatty()) and not _in_automation()
        return self._live

    def block(self, kind: str = "text", *, to_markdown: Callable[[str], str] | None = None) -> Block:
        """Open a block; ``to_markdown`` is not used."""
        return _LinesBlock(self)

    def show(self, bundle: Mapping[str, str]) -> None:
        """Write the bundle's ``text/plain``."""
        block = self.block()
        block.done(bundle["text/plain"])

    def footer(self, text: str) -> None:
        """Write ``text`` on lines of its own."""
        if self._at_line_start is None:
            # A handler of the learner's may have printed without a last newline.
            self.write("\n", self)
        self.block().done(text)

    def write(self, text: str, writer: object) -> None:
        """Write ``text``; a new writer starts on a new line."""
        text = plain_text(text)
        if not text:
            return
        if self._at_line_start is False and writer is not self._writer:
            text = "\n" + text
        self._writer = writer
        self._at_line_start = text.endswith("\n")
        out = self._out or sys.stdout
        encoding = getattr(out, "encoding", None) or "utf-8"
        # A terminal on an old code page would raise on the first emoji, in the middle of the answer.
        out.write(text.encode(encoding, "replace").decode(encoding))
        if self.live:
            out.flush()

    def end_line(self, writer: object) -> None:
        """End the line that ``writer`` has begun, if any."""
        if self._at_line_start is False and writer is self._writer:
            self.write("\n", writer)


class _LinesBlock:
    def __init__(self, renderer: LinesRenderer) -> None:
        self._renderer = renderer
        self._pieces: list[str] = []
        self._waiting: list[str] = []
        self._replacement: str | None = None

    def append(self, piece: str) -> None:
        if not piece:
            return
        self._pieces.append(piece)
        if self._renderer.live:
            self._renderer.write(piece, self)
            return
        self._waiting.append(piece)
        if "\n" in piece:
            lines, newline, rest = "".join(self._waiting).rpartition("\n")
            self._waiting = [rest] if rest else []
            self._renderer.write(lines + newline, self)

    def update(self, text: str) -> None:
        written = "".join(self._pieces)
        self._pieces = [written]
        if text.startswith(written):
            self._replacement = None
            self.append(text[len(written) :])
        else:
            # What stands on paper stays; the changed text follows at the end, once.
            self._replacement = text

    def done(self, text: str | None = None) -> None:
        if text is not None:
            self.update(text)
        if self._waiting:
            self._renderer.write("".join(self._waiting), self)
            self._waiting = []
        self._renderer.end_line(self)
        if self._replacement is not None:
            self._renderer.write(self._replacement, self)
            self._renderer.end_line(self)
            self._pieces, self._replacement = [self._replacement], None


def plain_text(text: str) -> str:
    """Return ``text`` without what a terminal or a page would obey: control characters become ``�``, CR becomes nothing.

    Those that turn the direction of what follows are among them: they could make a name or a piece of code look like
    another one. Text that runs from right to left needs none of them.

    Example:
        >>> plain_text("red: \\x1b[31m")
        'red: �[31m'
    """
    return without_controls(text).replace("\r", "")


# -- Markdown from somebody else --------------------------------------------------------------------------------------
#
# A model's answer is Markdown, and it may repeat whatever stood in a document or a web page. Shown as it is, an image
# in it would be fetched (and its address can carry data out), and HTML would be live. So everything outside code is
# made harmless, and code stays as it is. The hard part is to see code exactly where every renderer sees it: text that
# only we take for code would be live. Therefore nothing ambiguous is passed on: a backtick that does not belong to a
# code span becomes an entity, a fence gets blank lines around it, its lines never stand left of it, and it is closed.

_DOLLAR: Final = (
    "<span>&#36;</span>"  # an element of its own, since MathJax looks for $ in the page, not in the source
)
_MOST_QUOTATION_LEVELS: Final = 8

_FENCE: Final = re.compile(
    r"(?P<indent> *)(?P<marker>(?:[-*+]|\d{1,9}[.)]) {1,4})?(?P<fence>`{3,}(?=[^`]*$)|~{3,})(?P<info>.*)$"
)
_LIST_MARKER: Final = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])(?:[ \t]|$)")
_QUOTATION: Final = re.compile(r"( {0,3})> ?")
_OF_TABLE_RULES: Final = frozenset(
    " \t>|:*+-.)0123456789"
)  # a rule such as |---|:-:|, perhaps in a list or quotation
_LANGUAGE: Final = re.compile(r"\s*([\w+#.-]*)")
# marked (JupyterLab) looks for emphasis and links before it looks for a code span with more than two backticks.
_UNCLEAR_IN_LONG_SPAN: Final = re.compile(r"[*_~<\[\]!\\]")
_NEXT_BRACKET: Final = re.compile(r"(?:[^\\\[\]]|\\.)*[\[\]]")
_BACKTICKS: Final = re.compile(r"`+")
_BEGIN_OR_END: Final = re.compile(r"\\(?:begin|end)\{")
_ADDRESS: Final = re.compile(r"(?:https?://|ftp://|www\.)\S*", re.IGNORECASE)
_LINK_END: Final = re.compile(
    r"\]\( *"
    r"(?:https?://|mailto:|sandbox:/|\#|(?=[\w./~%-]+(?:\#[\w.-]*)?[ )]))"  # the last: a relative path, without ':'
    r"(?:[^\s`<>()\\$\[\]]|\([^\s`<>()\\$\[\]]*\))*"
    r'(?: +"[^"`<>\\$\[\]]*")? *\)',
    re.IGNORECASE,
)
_MATH: Final = re.compile(r"\$\$(?=[^$]*\S)[^$]+\$\$|\$(?=[^\s$])[^$]*(?<=[^\s$])\$(?!\d)")
_NOT_MATH: Final = re.compile(r"`|://|www\.|!\[|\]\(|\]:|^\d[\d.,]*\s+[^\W\d]{2,}")
# What JupyterLab takes for the begin or end of math, even inside a code span (@jupyterlab/rendermime, latex.ts).
_MATH_IN_CODE: Final = re.compile(r"\\begin|\\end|\\\\[()\[\]]|@@\d")


def safe_markdown(text: str, *, streaming: bool = False) -> str:
    r"""Return ``text`` as Markdown that shows what it says and does nothing else.

    HTML outside code becomes text; images and links with another scheme than http, https, mailto or sandbox become
    text; prices such as $0.10 are not taken for mathematics, ``$x^2$`` is. Inside code nothing changes, except that a
    mermaid block is shown and not drawn.

    Args:
        text: Markdown from a model, a document or a web page.
        streaming: whether more will come. Then the begin of a fence at the end is held back, so that nothing jumps.

    Example:
        >>> safe_markdown("a <b> and `<b>`")
        'a &lt;b> and `<b>`'
    """
    text = without_controls(text.replace("\r\n", "\n").replace("\r", "\n"))
    if streaming:
        text = re.sub(r"(?:`+|~+)\Z", "", text)
    return "\n".join(_safe_lines(text.split("\n"), level=0))


def _safe_lines(lines: list[str], level: int) -> list[str]:
    safe: list[str] = []
    table_lines = _lines_of_tables(lines)
    after_blank = True
    in_list = False
    number = 0
    while number < len(lines):
        line = lines[number]
        if not line.strip(" \t"):
            safe.append("")
            after_blank = True
            number += 1
            continue
        is_marker = _LIST_MARKER.match(line) is not None
        if is_marker:
            in_list = True
        elif after_blank and line[0] not in " \t":
            in_list = False
        fence = _FENCE.match(line)
        quotation = _QUOTATION.match(line)
        if fence:
            number = _copy_fence(lines, number, fence, safe)
            after_blank = True
            continue
        if quotation and level < _MOST_QUOTATION_LEVELS:
            number = _copy_quotation(lines, number, level, safe)
        elif after_blank and not in_list and _is_indented(line, level):
            number = _copy_indented_code(lines, number, level, safe)
        elif line.strip() == "$$" and (end := _end_of_math(lines, number)):
            safe.extend(_safe_math(math_line) for math_line in lines[number : end + 1])
            number = end + 1
        else:
            safe.append(_safe_inline(line, in_table=number in table_lines))
            number += 1
        after_blank = False
    return safe


def _copy_fence(lines: list[str], number: int, opening: re.Match[str], safe: list[str]) -> int:
    """Copy a fenced block to ``safe``, closed and set apart; return the number of the line after it."""
    prefix = opening["indent"] + (opening["marker"] or "")
    indent = " " * len(prefix)
    fence = opening["fence"]
    found = _LANGUAGE.match(opening["info"])
    language = found[1] if found else ""
    if language.lower() == "mermaid":
        language = "text"
    body: list[str] = []
    closing = re.compile(rf"[ \t]*{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$")
    number += 1
    while number < len(lines) and not closing.match(lines[number]):
        line = lines[number]
        content = line.lstrip(" \t")
        if indent and content:
            line = line[: len(line) - len(content)].expandtabs(4).ljust(len(indent)) + content
        body.append(line)
        number += 1
    if number >= len(lines) and body and not body[-1]:
        body.pop()  # the text ends inside the block, with a newline: that is not an empty line of code yet
    # Longer than anything in the code that could pass for its end: marked (JupyterLab) takes ```~~~ for one.
    runs = [len(line) - len(line.lstrip(fence[0])) for line in map(str.lstrip, body)]
    fence = fence[0] * max(len(fence), *(run + 1 for run in runs), 3)
    if safe and safe[-1]:
        safe.append("")
    safe += [f"{prefix}{fence}{language}", *body, f"{indent}{fence}"]
    number += 1
    if number < len(lines) and lines[number].strip(" \t"):
        safe.append("")
    return number


def _copy_quotation(lines: list[str], number: int, level: int, safe: list[str]) -> int:
    inner: list[str] = []
    while number < len(lines) and (quotation := _QUOTATION.match(lines[number])):
        inner.append(lines[number][quotation.end() :])
        number += 1
    safe.extend(f"> {line}" if line else ">" for line in _safe_lines(inner, level + 1))
    return number


def _is_indented(line: str, level: int) -> bool:
    # Inside a quotation a tab is narrower than four columns.
    return line.startswith("    ") or (level == 0 and line.startswith("\t"))


def _copy_indented_code(lines: list[str], number: int, level: int, safe: list[str]) -> int:
    while number < len(lines):
        line = lines[number]
        if line.strip(" \t") and not _is_indented(line, level):
            break
        safe.append(line if line.strip(" \t") else "")
        number += 1
    return number


def _lines_of_tables(lines: list[str]) -> set[int]:
    """Return the numbers of all lines that may belong to a table: there a ``|`` ends a cell, and so a code span."""
    found: set[int] = set()
    start = 0
    for number in range(len(lines) + 1):
        if number == len(lines) or not lines[number].strip(" \t"):
            if any("-" in line and _OF_TABLE_RULES.issuperset(line) for line in lines[start:number]):
                found.update(range(start, number))
            start = number + 1
    return found


def _end_of_math(lines: list[str], start: int) -> int | None:
    for number in range(start + 1, len(lines)):
        line = lines[number].strip()
        if line == "$$":
            return number if number > start + 1 else None
        if not line or "$" in line or _NOT_MATH.search(line) or _FENCE.match(line):
            return None
    return None


def _safe_math(formula: str) -> str:
    return formula.replace("<", r"\lt ")


def _safe_inline(line: str, *, in_table: bool) -> str:
    safe: list[str] = []
    position = 0
    address_end = 0
    while position < len(line):
        plain = _PLAIN_RUN.match(line, position)
        if plain:
            taken, shown = len(plain[0]), plain[0]
        elif position < address_end and line[position] in _ENCODED:
            taken, shown = 1, _ENCODED[line[position]]
        else:
            address = _ADDRESS.match(line, position)
            if address:
                address_end = max(address_end, address.end())
            taken, shown = _next_inline(line, position, in_table)
        safe.append(shown)
        position += taken
    return "".join(safe)


_PLAIN_RUN: Final = re.compile(r"[^\\`<$!\[\]~hHfFwW]+")
_ESCAPED: Final = {"`": "&#96;", "<": "&lt;", "$": _DOLLAR, "\\": "&#92;"}
# Some renderers make a link of an address and everything up to the next space: no code may seem to begin in there.
_ENCODED: Final = {"`": "%60", "$": "%24", "\\": "%5C"}


def _next_inline(line: str, position: int, in_table: bool) -> tuple[int, str]:
    """Return how many characters of ``line`` to take at ``position``, and what to show for them."""
    character = line[position]
    following = line[position + 1 : position + 2]
    if character == "\\":
        if _BEGIN_OR_END.match(line, position) or not following:
            return 1, "&#92;"
        if following not in string.punctuation:
            return 1, character
        return 2, _ESCAPED.get(following, character + following)
    if character == "`":
        return _code_span(line, position, in_table)
    if character == "<":
        return 1, "&lt;"
    if character == "$":
        math = _MATH.match(line, position)
        if math and not _NOT_MATH.search(math[0].strip("$")):
            return len(math[0]), _safe_math(math[0])
        return 1, _DOLLAR
    if character == "~" and following == "`":
        return 1, "&#126;"  # marked (JupyterLab) would take the two for one run of text
    if character == "!" and following == "[":
        return 2, "!&#91;"
    if character == "[" and not _NEXT_BRACKET.match(line, position + 1):
        return 1, "&#91;"  # marked would look for the other bracket in the lines below, even in code
    if character == "]" and following == ":":
        return 2, "]&#58;"
    if character == "]" and following == "(":
        link = _LINK_END.match(line, position)
        return (len(link[0]), link[0]) if link else (2, "]&#40;")
    return 1, character


def _code_span(line: str, position: int, in_table: bool) -> tuple[int, str]:
    runs = _BACKTICKS.finditer(line, position)
    opening = next(runs)[0]
    for closing in runs:
        if closing[0] == opening:
            span = line[position : closing.end()]
            if (in_table and "|" in span) or _MATH_IN_CODE.search(span):
                break
            if span.count("`") > 2 and _UNCLEAR_IN_LONG_SPAN.search(span):
                break
            return len(span), span
    return len(opening), "&#96;" * len(opening)


def _literal_markdown(line: str) -> str:
    """Return Markdown that shows ``line`` as it is."""
    line = re.sub(r"([\\`*_{}\[\]#+|~])", r"\\\1", line)
    return line.replace("&", "&amp;").replace("<", "&lt;").replace("$", _DOLLAR)
