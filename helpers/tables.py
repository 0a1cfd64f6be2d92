"""Small tables that read everywhere: aligned text, HTML for a notebook, Markdown for a text cell.

Here lives ``Table``: cells are texts that are ready to show, and showing them is all it does. Not here: where the
numbers come from (``files.py``, ``evaluation.py``), and the table of a run (``trace.py``).
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from helpers.diagrams import plain
from helpers.errors import without_controls

__all__ = ["Column", "Table", "markdown_text", "size_text"]

_WIDEST: Final = 60
_LONGEST_CELL: Final = 400
_LONGEST_NOTE: Final = 1_000
_WIDEST_LINE: Final = 110


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a column."""

    name: str
    is_number: bool = False
    """Numbers stand on the right."""
    least_width: int = 0
    """In text, characters. For times, so that two tables which differ only in speed look alike."""


@dataclass(frozen=True, repr=False)
class Table:
    """A table that shows itself as HTML in a notebook and as text elsewhere.

    Example:
        >>> Table((Column("file"), Column("size", is_number=True)), (("a.md", "12 B"), ("long_name.md", "3 B")))
        file          size
        ------------  ----
        a.md          12 B
        long_name.md   3 B
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    notes: tuple[str, ...] = ()
    """Sentences that stand below the table."""

    def __repr__(self) -> str:
        head = tuple(plain(column.name, _LONGEST_CELL) for column in self.columns)
        rows = [tuple(plain(cell, _LONGEST_CELL) for cell in row) for row in self.rows]
        widths = [
            max(column.least_width, min(_WIDEST, max(len(row[place]) for row in [head, *rows])))
            for place, column in enumerate(self.columns)
        ]
        lines = [without_controls(self.caption)] if self.caption else []
        lines += self._text_row(head, widths)
        lines.append("  ".join("-" * width for width in widths))
        for row in rows:
            lines += self._text_row(row, widths)
        for note in self.notes:
            lines += textwrap.wrap(plain(note, _LONGEST_NOTE), _WIDEST_LINE)
        return "\n".join(lines)

    def _text_row(self, cells: Sequence[str], widths: Sequence[int]) -> list[str]:
        """Return the lines of one row: a long cell goes on below itself."""
        wrapped = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
        lines = []
        for number in range(max(len(parts) for parts in wrapped)):
            texts = [parts[number] if number < len(parts) else "" for parts in wrapped]
            shown = [
                text.rjust(width) if column.is_number else text.ljust(width)
                for text, width, column in zip(texts, widths, self.columns, strict=True)
            ]
            lines.append("  ".join(shown).rstrip())
        return lines

    def _repr_html_(self) -> str:
        # No colours: those of the reader's theme are the readable ones.
        def cells(tag: str, texts: Sequence[str], extra: str = "") -> str:
            return "".join(
                f'<{tag}{extra} style="text-align:{"right" if column.is_number else "left"};vertical-align:top">'
                f"{_html(plain(text, _LONGEST_CELL))}</{tag}>"
                for text, column in zip(texts, self.columns, strict=True)
            )

        head = cells("th", [column.name for column in self.columns], ' scope="col"')
        body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in self.rows)
        caption = (
            f'<caption style="text-align:left">{_html(without_controls(self.caption))}</caption>\n'
            if self.caption
            else ""
        )
        below = "<br>\n".join(_html(plain(note, _LONGEST_NOTE)) for note in self.notes)
        return (
            # The classes are what MathJax in Jupyter looks for; GitHub drops them, hence the care in _html().
            f'<div class="tex2jax_ignore mathjax_ignore">\n<table>\n{caption}<thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}\n</tbody>\n</table>\n" + (f"<p>{below}</p>\n" if below else "") + "</div>"
        )

    def to_markdown(self) -> str:
        """Return the table as Markdown, with the caption above and the notes below."""
        rule = ["---:" if column.is_number else "---" for column in self.columns]
        rows = [[column.name for column in self.columns], *self.rows]
        shown = ["| " + " | ".join(markdown_text(cell) for cell in row) + " |" for row in rows]
        shown.insert(1, "| " + " | ".join(rule) + " |")
        parts = [
            markdown_text(self.caption),
            "\n".join(shown),
            *(markdown_text(note, _LONGEST_NOTE) for note in self.notes),
        ]
        return "\n\n".join(part for part in parts if part)


def markdown_text(text: str, limit: int = _LONGEST_CELL) -> str:
    """Return Markdown that shows ``text`` as it is, on one line: a file's name must not become a link or a formula.

    Example:
        >>> print(markdown_text("a_b | $2"))
        a\\_b \\| <span>&#36;</span>2
    """
    escaped = re.sub(r"([\\`*_{}\[\]#+|~])", r"\\\1", plain(text, limit))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace("$", "<span>&#36;</span>")


def size_text(size_bytes: int) -> str:
    """Return a size for people; 1 kB is 1,000 bytes, as in OpenAI's limits and prices.

    Example:
        >>> size_text(18974)
        '19.0 kB'
    """
    if size_bytes < 1_000:
        return f"{size_bytes} B"
    for unit, factor in (("kB", 10**3), ("MB", 10**6)):
        if size_bytes < factor * 1_000:
            return f"{size_bytes / factor:,.1f} {unit}"
    return f"{size_bytes / 10**9:,.1f} GB"


def _html(text: str) -> str:
    """Escape ``text`` for HTML, and keep the signs apart that would begin a formula where mathematics is drawn."""
    escaped = html.escape(text, quote=True)
    return escaped.replace("$", "<span>$</span>").replace("\\", "<span>\\</span>")
