"""Drawing: a path of states becomes a picture that reads in every notebook, in light and in dark.

Here lives the layout: boxes, arrows, rows, escaping, and the alternative text. A picture is plain SVG without scripts,
fonts or references from outside, and the same input gives the same bytes. Not here: what the states are and how long
they took; that is read off a run by ``trace.py``.
"""

from __future__ import annotations

import html
import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from helpers.errors import ConfigurationError, redact

__all__ = ["Diagram", "State", "plain", "state_diagram"]

Who = Literal["api", "model", "you", "end", "broken end"]

_WIDTH: Final = 800
_MARGIN: Final = 20
_COLUMNS: Final = 4
_BOX_WIDTH: Final = 166
_BOX_HEIGHT: Final = 78
_GAP: Final = (_WIDTH - 2 * _MARGIN - _COLUMNS * _BOX_WIDTH) / (_COLUMNS - 1)
_ROW_GAP: Final = 40
_TOP: Final = 74
_MOST_BOXES: Final = 48

_INK: Final = "#1f2328"
_SOFT_INK: Final = "#424a53"
_LINE: Final = "#57606a"
_FONT: Final = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
# Fill and frame. The kinds also differ in shape, so that nothing depends on telling colours apart.
_COLOURS: Final[dict[Who, tuple[str, str]]] = {
    "api": ("#ddf4ff", "#0969da"),
    "model": ("#fff8c5", "#9a6700"),
    "you": ("#f3f0ff", "#6639ba"),
    "end": ("#dafbe1", "#1a7f37"),
    "broken end": ("#ffebe9", "#cf222e"),
}
_LEGEND: Final[dict[Who, str]] = {
    "you": "your notebook",
    "api": "status at the API",
    "model": "the model at work",
    "end": "the end",
    "broken end": "the end, too early",
}

_BIDI_CONTROLS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")


def plain(text: object, limit: int = 200) -> str:
    """Return ``text`` as one short line that is safe to show: no keys, no control characters, no line breaks.

    Args:
        text: anything; names and messages that came from outside are what this is for.
        limit: how many characters to keep; a longer text ends in "…".
    """
    # Keys go before anything is cut, else half of one could stay behind.
    line = " ".join(redact(str(text)).split())
    kept = "".join(
        character
        for character in line
        if unicodedata.category(character) not in ("Cc", "Cs", "Cn") and character not in _BIDI_CONTROLS
    )
    return kept if len(kept) <= limit else f"{kept[: limit - 1].rstrip()}…"


@dataclass(frozen=True, slots=True)
class State:
    """One box of a state diagram."""

    name: str
    who: Who
    """Whose state it is: the API's status, the model at work, your notebook, or one of the two kinds of end."""
    time: str = ""
    """How long it took, ready to show, such as ``"12 ms"``; empty for a moment without length."""
    detail: str = ""


@dataclass(frozen=True, repr=False)
class Diagram:
    """A drawing that shows itself in a notebook, and as its alternative text where there are no pictures.

    Example:
        >>> diagram = state_diagram("A run", "", [State("created", "api", "3 ms"), State("completed", "end")], "")
        >>> print(diagram.alt_text)
        A run. It went through 2 states:
        1. created (3 ms)
        2. completed: the end
    """

    svg: str
    alt_text: str
    """What the drawing shows, in words."""
    mermaid: str
    """The source of the same drawing for mermaid, which GitHub's .md files and JupyterLab's text cells can draw."""

    def __repr__(self) -> str:
        return self.alt_text

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"image/svg+xml": self.svg, "text/plain": self.alt_text}

    def save(self, path: str | Path) -> Path:
        """Write the drawing to a file and return its path.

        Args:
            path: ends in ``.svg`` (the drawing), ``.mmd`` (mermaid source) or ``.txt`` (alternative text).

        Raises:
            ConfigurationError: for any other ending.
        """
        path = Path(path)
        texts = {".svg": self.svg, ".mmd": self.mermaid, ".txt": self.alt_text}
        if path.suffix.lower() not in texts:
            raise ConfigurationError(
                f"A diagram can be saved as .svg, .mmd or .txt, not as {path.name!r}. Change the ending."
            )
        path.write_text(texts[path.suffix.lower()] + "\n", encoding="utf-8")
        return path


def state_diagram(title: str, subtitle: str, states: Sequence[State], footer: str) -> Diagram:
    """Draw ``states`` as a path, left to right and row by row.

    Args:
        title: what the drawing is of. It, and every name, is escaped and shortened here.
        subtitle: a smaller line below it; may be empty.
        states: in the order in which they were gone through. Of more than 48 the middle ones are left out.
        footer: a line below the boxes; may be empty.
    """
    title, subtitle, footer = plain(title), plain(subtitle), plain(footer, 300)
    numbered = [
        (str(number), State(plain(state.name, 60), state.who, plain(state.time, 20), plain(state.detail)))
        for number, state in enumerate(states, start=1)
    ]
    left_out = max(0, len(numbered) - _MOST_BOXES)
    if left_out:
        tail = 7
        head = _MOST_BOXES - tail - 1
        left_out = len(numbered) - head - tail
        gap = ("…", State(f"{left_out:,} more states", "api"))
        numbered = [*numbered[:head], gap, *numbered[-tail:]]
    alt_text = _alt_text(title, subtitle, numbered, len(states), footer)
    return Diagram(_svg(title, subtitle, numbered, footer, alt_text), alt_text, _mermaid(title, numbered))


def _alt_text(
    title: str, subtitle: str, numbered: Sequence[tuple[str, State]], count: int, footer: str
) -> str:
    lines = [f"{title}. It went through {count:,} state{'' if count == 1 else 's'}:"]
    if not numbered:
        lines = [f"{title}. Nothing has happened yet."]
    for number, state in numbered:
        words = ", ".join(part for part in (state.time, state.detail) if part)
        end = {"end": ": the end", "broken end": ": the end, too early"}.get(state.who, "")
        mark = f"{number}." if number.isdigit() else number
        lines.append(f"{mark} {state.name}{f' ({words})' if words else ''}{end}")
    return "\n".join([*lines, *(line for line in (subtitle, footer) if line)])


def _mermaid(title: str, numbered: Sequence[tuple[str, State]]) -> str:
    lines = ["stateDiagram-v2", "    direction LR", f"    accTitle: {_mermaid_words(title)}"]
    for place, (_, state) in enumerate(numbered, start=1):
        time = f" ({state.time})" if state.time else ""
        lines.append(f"    s{place} : {_mermaid_words(state.name + time)}")
    names = ["[*]", *(f"s{place}" for place in range(1, len(numbered) + 1))]
    if numbered and numbered[-1][1].who in ("end", "broken end"):
        names.append("[*]")
    lines += [f"    {before} --> {after}" for before, after in itertools.pairwise(names)]
    return "\n".join(lines)


def _mermaid_words(text: str) -> str:
    # Mermaid has no way to quote a label here, so that only what cannot be its syntax is left in.
    return " ".join(re.sub(r"[^\w\s.,()?!×…–-]", " ", text).split()) or "run"


def _svg(title: str, subtitle: str, numbered: Sequence[tuple[str, State]], footer: str, alt_text: str) -> str:
    rows = max(1, -(-len(numbered) // _COLUMNS))
    boxes_end = _TOP + rows * _BOX_HEIGHT + (rows - 1) * _ROW_GAP
    if not numbered:
        boxes_end = _TOP + 10
    legend = [who for who in _LEGEND if any(state.who == who for _, state in numbered)]
    footer_y = boxes_end + (62 if legend else 30)
    height = (footer_y if footer else footer_y - 24) + 18
    description = alt_text.replace("\n", ". ").replace(":. ", ": ")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{_escaped(title)}" '
        f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'style="max-width:100%" font-family="{_escaped(_FONT)}">',
        f"<title>{_escaped(title)}</title>",
        f"<desc>{_escaped(description)}</desc>",
        f'<rect x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="8" fill="#ffffff" stroke="#d0d7de"/>',
        _text(_MARGIN, 32, _fitted(title, _WIDTH - 2 * _MARGIN, 17, bold=True), 17, bold=True),
    ]
    if subtitle:
        parts.append(_text(_MARGIN, 54, _fitted(subtitle, _WIDTH - 2 * _MARGIN, 14), 14, colour=_SOFT_INK))
    parts += [_arrow(place) for place in range(1, len(numbered))]
    parts += [_box(place, number, state) for place, (number, state) in enumerate(numbered)]
    x = float(_MARGIN)
    for who in legend:
        parts.append(_frame(who, x, boxes_end + 22, 28, 18))
        parts.append(_text(x + 36, boxes_end + 36, _LEGEND[who], 14, colour=_SOFT_INK))
        x += 36 + _width_of(_LEGEND[who], 14) + 22
    if footer:
        parts.append(_text(_MARGIN, footer_y, _fitted(footer, _WIDTH - 2 * _MARGIN, 14), 14))
    return "\n".join([*parts, "</svg>"])


def _corner(place: int) -> tuple[float, float]:
    """Return the upper left corner of the box at ``place`` (from 0)."""
    row, column = divmod(place, _COLUMNS)
    return _MARGIN + column * (_BOX_WIDTH + _GAP), _TOP + row * (_BOX_HEIGHT + _ROW_GAP)


def _box(place: int, number: str, state: State) -> str:
    x, y = _corner(place)
    inner = _BOX_WIDTH - 24
    size = next((size for size in (16, 14) if _width_of(state.name, size, bold=True) <= inner), 13)
    parts = [
        _frame(state.who, x, y, _BOX_WIDTH, _BOX_HEIGHT),
        _text(x + 12, y + 22, number, 13, colour=_SOFT_INK),
        _text(x + _BOX_WIDTH - 12, y + 22, state.time, 13, colour=_SOFT_INK, anchor="end"),
        _text(x + 12, y + 45, _fitted(state.name, inner, size, bold=True), size, bold=True),
    ]
    if state.detail:
        parts.append(_text(x + 12, y + 65, _fitted(state.detail, inner, 13), 13, colour=_SOFT_INK))
    return "\n".join(part for part in parts if part)


def _frame(who: Who, x: float, y: float, width: float, height: float) -> str:
    fill, stroke = _COLOURS[who]

    def rect(inset: float, radius: float, extra: str = "", paint: str = fill) -> str:
        return (
            f'<rect x="{x + inset:g}" y="{y + inset:g}" width="{width - 2 * inset:g}" '
            f'height="{height - 2 * inset:g}" rx="{radius:g}" fill="{paint}" stroke="{stroke}"{extra}/>'
        )

    if who == "api":
        return rect(0, min(20, height / 2), ' stroke-width="1.5"')
    if who == "model":
        return rect(0, 3, ' stroke-width="1.5"')
    if who == "you":
        bar = f'<rect x="{x:g}" y="{y:g}" width="5" height="{height:g}" fill="{stroke}"/>'
        return rect(0, 0, ' stroke-width="1.5"') + bar
    if who == "end":
        return rect(0, 6, ' stroke-width="1.5"') + rect(4, 3, ' stroke-width="1.5"', "none")
    return rect(0, 6, ' stroke-width="3" stroke-dasharray="7 4"')


def _arrow(place: int) -> str:
    """Draw the arrow from the box before ``place`` to the one at it; at the end of a row it goes round the corner."""
    from_x, from_y = _corner(place - 1)
    to_x, to_y = _corner(place)
    if from_y == to_y:
        middle = to_y + _BOX_HEIGHT / 2
        line = f"M{from_x + _BOX_WIDTH:g} {middle:g}H{to_x - 8:g}"
        head = f"{to_x - 10:g},{middle - 5:g} {to_x - 1:g},{middle:g} {to_x - 10:g},{middle + 5:g}"
    else:
        start, target = from_x + _BOX_WIDTH / 2, to_x + _BOX_WIDTH / 2
        bend = from_y + _BOX_HEIGHT + _ROW_GAP / 2
        line = f"M{start:g} {from_y + _BOX_HEIGHT:g}V{bend:g}H{target:g}V{to_y - 8:g}"
        head = f"{target - 5:g},{to_y - 10:g} {target:g},{to_y - 1:g} {target + 5:g},{to_y - 10:g}"
    return f'<path d="{line}" fill="none" stroke="{_LINE}" stroke-width="1.5"/><polygon points="{head}" fill="{_LINE}"/>'


def _text(
    x: float,
    y: float,
    text: str,
    size: int,
    *,
    bold: bool = False,
    colour: str = _INK,
    anchor: Literal["start", "end"] = "start",
) -> str:
    if not text:
        return ""
    weight = ' font-weight="600"' if bold else ""
    side = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}"{weight}{side}>{_escaped(text)}</text>'
    )


def _width_of(text: str, size: int, *, bold: bool = False) -> float:
    """Estimate how wide ``text`` is drawn, in pixels. The font is the reader's own, so this errs on the wide side."""
    return size * sum(_width_in_ems(character) for character in text) * (1.08 if bold else 1.0)


def _width_in_ems(character: str) -> float:
    if unicodedata.east_asian_width(character) in ("W", "F"):
        return 1.05
    if character in " iljtfrI.,:;'|!()[]·":
        return 0.38
    if character in "mwMW@%—…":
        return 0.98
    return 0.74 if character.isupper() else 0.63


def _fitted(text: str, width: float, size: int, *, bold: bool = False) -> str:
    if _width_of(text, size, bold=bold) <= width:
        return text
    while text and _width_of(f"{text}…", size, bold=bold) > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _escaped(text: str) -> str:
    return html.escape(text, quote=True)
