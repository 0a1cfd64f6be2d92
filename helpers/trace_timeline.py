"""The steps of a run over time: one bar for each, in a lane for each of you, the API, the model and the tools.

Here lives the layout: which bars share a line, where a label fits, what is left out of a long run, and the alternative
text. Nothing depends on colour: each lane is named and has a hatching, and each bar has a number and a name. Not here:
what the steps are (``trace.py``), and how a plot shows itself (``plots.py``).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from helpers.diagrams import plain
from helpers.plots import Plot, new_figure
from helpers.trace_rows import BROKEN_ENDS, RUNNING_FUNCTIONS, WHO, Row, milliseconds

__all__ = ["Bar", "draw_timeline", "lane_of", "mark_of"]

Lane = Literal["you", "API", "model", "tools"]
Mark = Literal["", "end", "broken end", "failed", "retry"]

_MOST_BARS: Final = 44
_LAST_BARS: Final = 14
_WIDTH_IN: Final = 8.0
_LINE_IN: Final = 0.27
_LEFT_IN: Final = 0.72
_RIGHT_IN: Final = 0.2
_TOP_IN: Final = 0.78
_BOTTOM_IN: Final = 0.56
_POINTS_PER_INCH: Final = 72
_FONT: Final = "DejaVu Sans"
"""It comes with matplotlib, so that widths are the same everywhere."""
_FONT_POINTS: Final = 9.0
_TITLE_POINTS: Final = 12.0
# Fill, frame and hatching of a lane.
_LOOKS: Final[dict[Lane, tuple[str, str, str]]] = {
    "you": ("#f3f0ff", "#6639ba", ""),
    "API": ("#ddf4ff", "#0969da", "..."),
    "model": ("#fff8c5", "#9a6700", "///"),
    "tools": ("#dafbe1", "#1a7f37", "\\\\\\"),
}
_RETRY_HATCHING: Final = "xxx"
_SIGNS: Final[dict[Mark, str]] = {"broken end": "× ", "failed": "× ", "retry": "↻ "}


@dataclass(frozen=True, slots=True)
class Bar:
    """One step of a timeline. Times are in milliseconds from the start of the run."""

    number: int
    lane: Lane
    name: str
    start_ms: float
    end_ms: float | None
    """``None`` if nobody watched: it is told of below the bars and not drawn."""
    mark: Mark = ""
    detail: str = ""
    """For the alternative text only."""


_TOOL_STATES: Final = frozenset(
    {"searching files", "running code", "searching the web", "using a tool", RUNNING_FUNCTIONS}
)


def lane_of(row: Row) -> Lane:
    """Return in whose lane a step belongs."""
    if row.state in _TOOL_STATES:
        return "tools"
    if row.is_item:
        return "model"
    return "API" if row.record is not None or WHO.get(row.state) == "api" else "you"


def mark_of(row: Row, status: str, *, last: bool) -> Mark:
    """Return what is special about a step."""
    if row.is_end and last:
        return "broken end" if row.state in BROKEN_ENDS else "end"
    if row.state in ("retrying", "resuming"):
        return "retry"
    if row.state in BROKEN_ENDS or status == "failed":
        return "failed"
    return ""


def draw_timeline(title: str, subtitle: str, bars: Sequence[Bar], duration_ms: float) -> Plot:
    """Draw ``bars`` over time.

    Args:
        title: what the drawing is of. It, and every name, is shortened here, and nothing in it is read as mathematics.
        subtitle: a smaller line below it; may be empty.
        bars: in order. Of more than 44 the middle ones are left out, and that is said.
        duration_ms: how long the run took, in milliseconds.
    """
    title, subtitle = plain(title, 90), plain(subtitle, 110)
    bars = [replace(bar, name=plain(bar.name, 40), detail=plain(bar.detail, 80)) for bar in bars]
    head, tail = list(bars), []
    if len(bars) > _MOST_BARS:
        head, tail = list(bars[: _MOST_BARS - _LAST_BARS]), list(bars[-_LAST_BARS:])
    left_out = len(bars) - len(head) - len(tail)
    alt_text = _alt_text(title, subtitle, bars, [*head, *tail], left_out, duration_ms)
    return Plot(_figure(title, subtitle, head, tail, left_out, duration_ms), alt_text)


def _alt_text(
    title: str, subtitle: str, bars: Sequence[Bar], shown: Sequence[Bar], left_out: int, duration_ms: float
) -> str:
    if not bars:
        return f"{title}. Nothing has happened yet."
    lines = [f"{title}: {len(bars):,} step{'' if len(bars) == 1 else 's'} in {milliseconds(duration_ms)}."]
    for lane in _LOOKS:
        told = [_told(bar) for bar in shown if bar.lane == lane]
        if told:
            lines.append(f"{lane}: {'; '.join(told)}.")
    if left_out:
        lines.append(f"Left out: {left_out:,} steps in the middle.")
    return "\n".join([*lines, *([subtitle] if subtitle else [])])


def _told(bar: Bar) -> str:
    detail = f" ({bar.detail})" if bar.detail else ""
    kind = {"broken end": ", the end, too early", "end": ", the end", "failed": ", failed"}.get(bar.mark, "")
    if bar.end_ms is None:
        return f"{bar.number} {bar.name}{detail}{kind}, not timed"
    if bar.end_ms <= bar.start_ms or bar.mark in ("end", "broken end"):
        return f"{bar.number} {bar.name}{detail}{kind} at {milliseconds(bar.start_ms)}"
    times = f"{milliseconds(bar.start_ms)} to {milliseconds(bar.end_ms)}"
    return f"{bar.number} {bar.name}{detail}{kind} from {times}"


# -- layout -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Placed:
    """A bar with its place: the line in its lane, and where its label begins. Lengths are shares of the width."""

    bar: Bar
    start: float
    end: float
    label: str
    label_at: float
    inside: bool
    line: int = 0


def _placed(bar: Bar, scale_ms: float, width_of: Any, width_in: float) -> _Placed:
    """Find a place for the label: in the bar, or after it, or before it."""
    start = min(bar.start_ms / scale_ms, 1.0)
    end = start if bar.mark in ("end", "broken end") else min((bar.end_ms or 0.0) / scale_ms, 1.0)
    label = f"{_SIGNS.get(bar.mark, '')}{bar.number} {bar.name}"
    width = width_of(label) / width_in
    gap = (0.13 if bar.mark in ("end", "broken end") else 0.08) / width_in
    if width + 2 * gap <= end - start:
        return _Placed(bar, start, end, label, start + gap, True)
    if end + gap + width <= 1.0:
        return _Placed(bar, start, end, label, end + gap, False)
    if start - gap - width >= 0.0:
        return _Placed(bar, start, end, label, start - gap - width, False)
    return _Placed(bar, start, end, label, max(0.0, min(start + gap, 1.0 - width)), True)


def _lines(placed: Sequence[_Placed], width_of: Any, width_in: float) -> int:
    """Give each bar the first line of its lane in which neither it nor its label touches another; return how many."""
    taken: list[list[tuple[float, float]]] = []
    for one in placed:
        margin = 0.06 / width_in
        width = width_of(one.label) / width_in
        low = min(one.start, one.label_at) - margin
        high = max(one.end, one.label_at + width) + margin
        free = (
            line
            for line, others in enumerate(taken)
            if all(high <= start or low >= end for start, end in others)
        )
        one.line = next(free, len(taken))
        if one.line == len(taken):
            taken.append([])
        taken[one.line].append((low, high))
    return max(1, len(taken))


def _figure(
    title: str, subtitle: str, head: Sequence[Bar], tail: Sequence[Bar], left_out: int, duration_ms: float
) -> Any:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=_FONT, size=_FONT_POINTS)

    def width_of(text: str) -> float:
        points, _, _ = text_to_path.get_text_width_height_descent(_drawable(text), font, False)
        return float(points) / _POINTS_PER_INCH

    figure, axes = new_figure()
    shown = [bar for bar in (*head, *tail) if bar.end_ms is not None]
    scale_ms = max(duration_ms, *(bar.end_ms or 0.0 for bar in shown), 1.0) if shown else 1.0
    width_in = _WIDTH_IN - _LEFT_IN - _RIGHT_IN
    lanes: list[tuple[Lane, list[_Placed], int]] = []
    for lane in _LOOKS:
        placed = [_placed(bar, scale_ms, width_of, width_in) for bar in shown if bar.lane == lane]
        if placed:
            lanes.append((lane, placed, _lines(placed, width_of, width_in)))
    height_in = _LINE_IN * max(1.0, sum(lines + 0.5 for _, _, lines in lanes))
    whole_in = _TOP_IN + height_in + _BOTTOM_IN
    figure.set_layout_engine("none")
    figure.set_size_inches(_WIDTH_IN, whole_in)
    axes.set_position(
        (_LEFT_IN / _WIDTH_IN, _BOTTOM_IN / whole_in, width_in / _WIDTH_IN, height_in / whole_in)
    )
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#d0d7de")
    axes.spines["left"].set_visible(False)
    axes.set_xlim(0.0, scale_ms)
    axes.set_xlabel("milliseconds since the start")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.12g}")
    ticks, top = [], 0.0
    for number, (lane, placed, lines) in enumerate(lanes):
        bottom = top - (lines + 0.5)
        if number % 2 == 0:
            axes.axhspan(bottom, top, facecolor="#f6f8fa", zorder=0)
        for one in placed:
            _draw(axes, one, top - 0.25 - one.line - 0.5, scale_ms)
        ticks.append(((top + bottom) / 2, lane))
        top = bottom
    axes.set_ylim(top if lanes else -1.0, 0.0)
    axes.set_yticks([place for place, _ in ticks], [lane for _, lane in ticks], fontweight="bold")
    axes.tick_params(axis="y", length=0)
    if left_out:
        _draw_gap(axes, head, tail, left_out, top)
    top_edge = 1 - 0.3 / whole_in
    figure.text(
        0.02,
        top_edge,
        _fitted(title, width_of),
        fontsize=_TITLE_POINTS,
        fontfamily=_FONT,
        fontweight="bold",
        va="center",
        parse_math=False,
    )
    if subtitle:
        figure.text(
            0.02,
            1 - 0.56 / whole_in,
            _drawable(subtitle),
            fontsize=10,
            fontfamily=_FONT,
            va="center",
            color="#424a53",
            parse_math=False,
        )
    return figure


def _fitted(title: str, width_of: Any) -> str:
    """Return as much of the title as there is room for; it is larger and bolder than the labels."""
    room_in = (_WIDTH_IN - 0.4) * _FONT_POINTS / _TITLE_POINTS / 1.12
    shown = _drawable(title)
    while shown and width_of(shown) > room_in:
        shown = f"{shown.removesuffix('…')[:-1].rstrip()}…" if len(shown) > 2 else ""
    return shown


def _draw(axes: Any, one: _Placed, y: float, scale_ms: float) -> None:
    fill, frame, hatching = _LOOKS[one.bar.lane]
    start, end = one.start * scale_ms, one.end * scale_ms
    retry = one.bar.mark == "retry"
    if end - start > 0.004 * scale_ms:
        axes.barh(
            y,
            end - start,
            left=start,
            height=0.72,
            facecolor=fill,
            edgecolor=frame,
            hatch=_RETRY_HATCHING if retry else hatching,
            linewidth=1.2,
            linestyle="--" if one.bar.mark == "failed" else "-",
            clip_on=False,
            zorder=2,
        )
    else:
        # A moment, or too short to be seen as a bar.
        marker = {"end": "D", "broken end": "X", "failed": "X"}.get(one.bar.mark, "|")
        axes.plot(
            [start],
            [y],
            marker=marker,
            color=frame,
            markersize=9 if marker == "|" else 7,
            markeredgewidth=2.0 if marker == "|" else 1.0,
            clip_on=False,
            zorder=3,
        )
    ground = {"facecolor": "#ffffff", "edgecolor": "none", "pad": 1.2} if one.inside else None
    axes.text(
        one.label_at * scale_ms,
        y,
        _drawable(one.label),
        fontsize=_FONT_POINTS,
        fontfamily=_FONT,
        va="center",
        ha="left",
        color="#1f2328",
        bbox=ground,
        parse_math=False,
        zorder=4,
    )


def _draw_gap(axes: Any, head: Sequence[Bar], tail: Sequence[Bar], left_out: int, bottom: float) -> None:
    """Mark the time of the steps that are left out."""
    start = max((bar.end_ms or bar.start_ms for bar in head), default=0.0)
    end = max(start, tail[0].start_ms)
    axes.axvspan(start, end, facecolor="#eaeef2", edgecolor="#57606a", linestyle="--", zorder=1)
    axes.text(
        (start + end) / 2,
        bottom / 2,
        f"… {left_out:,} more steps …",
        fontsize=10,
        ha="center",
        va="center",
        bbox={"facecolor": "#ffffff", "edgecolor": "#8c959f"},
        zorder=5,
    )


@functools.lru_cache(maxsize=512)
def _drawable(text: str) -> str:
    """Return ``text`` with a box for each sign that matplotlib's own font lacks; it would warn of each in the notebook."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(family=_FONT)))
    return "".join(sign if font.get_char_index(ord(sign)) else "□" for sign in text)
