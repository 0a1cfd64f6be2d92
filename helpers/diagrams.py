"""Drawing: a path of states, or messages between participants, as a picture that reads in every notebook.

Here lives the layout: boxes, lifelines, arrows, rows, escaping, and the alternative text. A picture is plain SVG on its
own white ground, without scripts, fonts or references from outside, and the same input gives the same bytes. Not here:
what the states and messages of a run are; that is read off it by ``trace.py`` and ``trace_sequence.py``.
"""

from __future__ import annotations

import html
import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from helpers.errors import ConfigurationError, redact

__all__ = ["Diagram", "Message", "Participant", "State", "plain", "sequence_diagram", "state_diagram"]

Who = Literal["api", "model", "you", "end", "broken end"]
Role = Literal["person", "notebook", "function", "handler", "api", "tool"]
Kind = Literal["call", "reply", "failed", "note", "broken end"]

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
    parts = _opening(title, subtitle, alt_text, (footer_y if footer else footer_y - 24) + 18)
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


# -- sequence diagrams ------------------------------------------------------------------------------------------------

_GUTTER: Final = 30
_HEAD_TOP: Final = 72
_WIDEST_HEAD: Final = 124
_RIGHT: Final = _WIDTH - 6
_WIDEST_HOOKS: Final = 290
_WIDEST_LABEL: Final = 350
_LINE_HEIGHT: Final = 17
_MOST_MESSAGES: Final = 56
_LAST_MESSAGES: Final = 14
_MOST_PARTICIPANTS: Final = 10
_FEET_FROM: Final = 12
"""From so many messages on, the participants' names stand below them again."""
_ROLES: Final[dict[Role, Who]] = {
    "person": "end",
    "notebook": "you",
    "function": "you",
    "handler": "model",
    "api": "api",
    "tool": "api",
}
_ARROWS: Final[dict[Kind, str]] = {
    "call": "asks for something",
    "reply": "answers, or sends events",
    "failed": "tells of a failure",
    "note": "a note",
    "broken end": "the end, too early",
}


@dataclass(frozen=True, slots=True)
class Participant:
    """One lifeline of a sequence diagram."""

    name: str
    role: Role
    detail: str = ""
    """What stands below the name at the top of the lifeline; may be empty."""


@dataclass(frozen=True, slots=True)
class Message:
    """One arrow of a sequence diagram, or a note on a lifeline."""

    source: int
    """Who sends it: a place in the list of participants, from 0."""
    target: int
    """Who gets it; of a note, the last participant that it is about, which may be the sender."""
    text: str
    kind: Kind = "call"
    """``call`` is a solid arrow, ``reply`` a dashed one, ``failed`` a dashed one that ends in a cross; ``note`` and
    ``broken end`` are boxes."""
    detail: str = ""
    """A smaller line below the arrow; may be empty."""
    hooks: tuple[str, ...] = ()
    """Names that stand in a box on the lifeline of ``hooks_at``: what was called there because of it."""
    hooks_at: int = 0
    group: int = 0
    """Neighbours of one group other than 0 stand in a frame: they went on side by side."""


def sequence_diagram(
    title: str, subtitle: str, participants: Sequence[Participant], messages: Sequence[Message], footer: str
) -> Diagram:
    """Draw who said what to whom, from the top to the bottom.

    Args:
        title: what the drawing is of. It, and every name and text, is escaped and shortened here.
        subtitle: a smaller line below it; may be empty.
        participants: from left to right, at most 10.
        messages: in order. Of more than 56 the middle ones are left out, and that is said.
        footer: a line at the bottom; may be empty.

    Raises:
        ValueError: more than 10 participants.

    Example:
        >>> who = [Participant("you", "person"), Participant("API", "api")]
        >>> said = [Message(0, 1, "question"), Message(1, 0, "answer", "reply")]
        >>> print(sequence_diagram("A talk", "", who, said, "").alt_text)
        A talk. 2 participants: you, API. 2 messages:
        1. you to API: question
        2. API to you: answer
    """
    if len(participants) > _MOST_PARTICIPANTS:
        raise ValueError(f"A sequence diagram has at most {_MOST_PARTICIPANTS} participants.")
    title, subtitle, footer = plain(title), plain(subtitle), plain(footer, 300)
    who = [Participant(plain(one.name, 60) or "?", one.role, plain(one.detail, 60)) for one in participants]
    numbered = [
        (
            number,
            replace(
                message,
                text=plain(message.text, 90),
                detail=plain(message.detail, 110),
                hooks=tuple(plain(hook, 60) for hook in message.hooks),
            ),
        )
        for number, message in enumerate(messages, start=1)
    ]
    left_out = max(0, len(numbered) - _MOST_MESSAGES)
    head = numbered[: _MOST_MESSAGES - _LAST_MESSAGES] if left_out else numbered
    tail = numbered[-_LAST_MESSAGES:] if left_out else []
    alt_text = _sequence_alt_text(title, subtitle, who, head, left_out, tail, footer)
    svg = _SequencePicture(who, len(numbered)).drawn(title, subtitle, head, left_out, tail, footer, alt_text)
    return Diagram(svg, alt_text, _sequence_mermaid(title, who, head, left_out, tail))


_Numbered: TypeAlias = Sequence[tuple[int, Message]]


def _sequence_alt_text(
    title: str,
    subtitle: str,
    who: Sequence[Participant],
    head: _Numbered,
    left_out: int,
    tail: _Numbered,
    footer: str,
) -> str:
    names = [one.name for one in who]
    known_as = [f"{one.name} ({one.detail})" if one.detail else one.name for one in who]

    def line(number: int, message: Message) -> str:
        start, end = names[message.source], names[message.target]
        between = f"{start} to {end}" if message.kind in ("call", "reply", "failed") else start
        detail = f" ({message.detail})" if message.detail else ""
        kind = {"failed": ", a failure", "broken end": ": the end, too early"}.get(message.kind, "")
        called = f"; {names[message.hooks_at]}: {', '.join(message.hooks)}" if message.hooks else ""
        return f"{number}. {between}: {message.text}{detail}{kind}{called}"

    total = len(head) + left_out + len(tail)
    lines = [
        f"{title}. {len(who)} participants: {', '.join(known_as)}. {total:,} message{'' if total == 1 else 's'}:"
    ]
    if not total:
        lines = [f"{title}. Nothing has happened yet."]
    lines += [line(*one) for one in head]
    if left_out:
        lines.append(f"… {left_out:,} more message{'' if left_out == 1 else 's'}")
    return "\n".join([*lines, *(line(*one) for one in tail), *(text for text in (subtitle, footer) if text)])


def _sequence_mermaid(
    title: str, who: Sequence[Participant], head: _Numbered, left_out: int, tail: _Numbered
) -> str:
    arrows = {"call": "->>", "reply": "-->>", "failed": "--x"}
    lines = ["sequenceDiagram", f"    accTitle: {_mermaid_words(title)}"]
    for place, one in enumerate(who):
        shape = "actor" if one.role == "person" else "participant"
        # Of a name only letters, digits, "_" and "." are left: nothing that could end it, or be a word of mermaid's.
        name = " ".join(re.sub(r"[^\w.]", " ", one.name).split()) or "unnamed"
        lines.append(f"    {shape} p{place} as {name}")

    def told(message: Message) -> Iterator[str]:
        text = _mermaid_words(f"{message.text} ({message.detail})" if message.detail else message.text)
        if message.kind in arrows:
            yield f"    p{message.source}{arrows[message.kind]}p{message.target}: {text}"
        else:
            first, last = sorted((message.source, message.target))
            over = f"p{first}" if first == last else f"p{first},p{last}"
            yield f"    Note over {over}: {'× ' if message.kind == 'broken end' else ''}{text}"
        if message.hooks:
            yield f"    Note over p{message.hooks_at}: {_mermaid_words(', '.join(message.hooks))}"

    for part in (head, tail):
        for group, neighbours in itertools.groupby(
            (message for _, message in part), key=lambda one: one.group
        ):
            members = [line for message in neighbours for line in told(message)]
            if group:
                members = ["    rect rgb(245, 245, 245)", *(f"    {line}" for line in members), "    end"]
            lines += members
        if part is head and left_out and who:
            lines.append(f"    Note over p0,p{len(who) - 1}: … {left_out:,} more messages")
    return "\n".join(lines)


class _SequencePicture:
    """The SVG of a sequence diagram, built from the top to the bottom."""

    def __init__(self, who: Sequence[Participant], last_number: int) -> None:
        self.who = who
        self.gutter = float(max(_GUTTER, 8 + round(8.5 * len(str(last_number)))))
        gaps = max(1, len(who) - 1)
        room = _RIGHT - self.gutter
        # As wide as they can be with four pixels between two of them.
        self.head_width = min(float(_WIDEST_HEAD), (room - 4 * gaps) / (gaps + 1))
        self.spacing = (room - self.head_width) / gaps
        self.x = [self.gutter + self.head_width / 2 + place * self.spacing for place in range(len(who))]
        inner = self.head_width - 4
        self.names = [
            [
                *_wrapped(one.name, inner, 13, most=3),
                *(_wrapped(one.detail, inner, 13, most=2) if one.detail else []),
            ]
            for one in who
        ]
        self.head_height = 14 + _LINE_HEIGHT * max((len(lines) for lines in self.names), default=1)
        self.y = float(_HEAD_TOP + self.head_height + 12)
        self.parts: list[str] = []

    def drawn(
        self,
        title: str,
        subtitle: str,
        head: _Numbered,
        left_out: int,
        tail: _Numbered,
        footer: str,
        alt_text: str,
    ) -> str:
        self._messages(head)
        if left_out:
            words = f"… {left_out:,} more message{'' if left_out == 1 else 's'}, left out here …"
            self.y += 16
            width = _width_of(words, 14) + 6
            self.parts.append(
                f'<rect x="{(_WIDTH - width) / 2:g}" y="{self.y - 3:g}" width="{width:g}" height="20" fill="#ffffff"/>'
            )
            self.parts.append(_text(_WIDTH / 2, self.y + 12, words, 14, anchor="middle"))
            self.y += 34
        self._messages(tail)
        lines_end = self.y + 6
        kinds = {message.kind for _, message in (*head, *tail)}
        hooks = any(message.hooks for _, message in (*head, *tail))
        feet = len(head) + len(tail) >= _FEET_FROM
        self.y = lines_end + (self.head_height if feet else 0)
        self._legend(kinds, hooks)
        if footer:
            self.y += 28
            self.parts.append(_text(_MARGIN, self.y, _fitted(footer, _WIDTH - 2 * _MARGIN, 14), 14))
        height = self.y + 18
        lifelines = []
        if head:
            lifelines = [
                f'<path d="M{x:g} {_HEAD_TOP + self.head_height:g}V{lines_end:g}" stroke="#8c959f" '
                'stroke-width="1" stroke-dasharray="2 4"/>'
                for x in self.x
            ]
            for place in range(len(self.who)):
                lifelines.append(self._head(place, _HEAD_TOP))
                if feet:
                    lifelines.append(self._head(place, lines_end))
        return "\n".join(
            [
                *_opening(title, subtitle, alt_text, height),
                *lifelines,
                *(part for part in self.parts if part),
                "</svg>",
            ]
        )

    def _head(self, place: int, y: float) -> str:
        one, lines = self.who[place], self.names[place]
        x, width = self.x[place] - self.head_width / 2, self.head_width
        first = y + self.head_height / 2 - (len(lines) - 1) * _LINE_HEIGHT / 2 + 5
        texts = [
            _text(
                self.x[place],
                first + number * _LINE_HEIGHT,
                line,
                13,
                bold=self.head_width > 90,
                anchor="middle",
            )
            for number, line in enumerate(lines)
        ]
        return "\n".join([_role_frame(one.role, x, y, width, self.head_height), *texts])

    def _messages(self, numbered: _Numbered) -> None:
        for group, neighbours in itertools.groupby(numbered, key=lambda one: one[1].group):
            if not group:
                for number, message in neighbours:
                    self._message(number, message)
                continue
            # The frame comes first, so that it lies below what it frames; how large it is is known afterwards.
            place, top = len(self.parts), self.y
            self.parts.append("")
            self.y += 22
            left, right = float(_WIDTH), 0.0
            for number, message in neighbours:
                self._message(number, message)
                start, width = self._label_place(message)
                left = min(left, start, self.x[message.source], self.x[message.target])
                right = max(right, start + width, self.x[message.source], self.x[message.target])
            left, right = max(left - 14, self.gutter), min(right + 14, float(_RIGHT))
            self.parts[place] = (
                f'<rect x="{left:g}" y="{top:g}" width="{right - left:g}" height="{self.y - top:g}" rx="3" '
                f'fill="none" stroke="{_LINE}" stroke-dasharray="6 3"/>\n'
                + _text(
                    left + 8, top + 17, _fitted("side by side", right - left - 16, 13), 13, colour=_SOFT_INK
                )
            )
            self.y += 10

    def _message(self, number: int, message: Message) -> None:
        if message.kind in ("note", "broken end"):
            self._note(number, message)
        else:
            self._arrow(number, message)
        if message.hooks:
            self._hooks(message)

    def _arrow(self, number: int, message: Message) -> None:
        start, end = self.x[message.source], self.x[message.target]
        one_line = self._fits_one_line(message)
        self._label(message, self.y + 13, message.text, message.detail if one_line else "")
        self.y += 21
        if message.detail and not one_line:
            self._label(message, self.y + 18, "", message.detail)
        # After the labels, whose ground would cut off a part of the arrow's head.
        self.parts.append(_text(self.gutter - 6, self.y + 4, f"{number}", 13, colour=_SOFT_INK, anchor="end"))
        self.parts.append(_message_arrow(message.kind, start, end, self.y))
        self.y += 0 if one_line or not message.detail else 19
        self.y += 13

    def _fits_one_line(self, message: Message) -> bool:
        span = abs(self.x[message.source] - self.x[message.target])
        return _width_of(_joined(message.text, message.detail), 14) <= max(span - 20, _WIDEST_LABEL)

    def _label_place(self, message: Message, *parts: str) -> tuple[float, float]:
        """Return where the label of an arrow begins, and how wide it is: centred, but inside the picture."""
        one_line = [_joined(message.text, message.detail)]
        shown = parts or (one_line if self._fits_one_line(message) else (message.text, message.detail))
        width = min(max(_width_of(part, 14) for part in shown) + 6, _RIGHT - self.gutter)
        return self._clamped((self.x[message.source] + self.x[message.target]) / 2 - width / 2, width), width

    def _label(self, message: Message, y: float, text: str, detail: str) -> None:
        """Write a line above or below an arrow, with the lifelines kept off it."""
        x, width = self._label_place(message, _joined(text, detail))
        text = _fitted(text, width, 14)
        detail = _fitted(detail, width, 14) if not text else detail
        small = f'<tspan font-size="13" fill="{_SOFT_INK}">{_escaped(detail)}</tspan>' if detail else ""
        between = " · " if text and detail else ""
        self.parts.append(
            f'<rect x="{x:g}" y="{y - 13:g}" width="{width:g}" height="17" fill="#ffffff"/>\n'
            f'<text x="{x + width / 2:g}" y="{y:g}" font-size="14" fill="{_INK}" text-anchor="middle">'
            f"{_escaped(text)}{between}{small}</text>"
        )

    def _note(self, number: int, message: Message) -> None:
        first, last = sorted((message.source, message.target))
        words = ": ".join(part for part in (message.text, message.detail) if part)
        if message.kind == "broken end":
            words = f"× {words}"
        least = self.x[last] - self.x[first] + 44
        width = min(max(least, 420.0), _RIGHT - self.gutter)
        lines = _wrapped(words, width - 24, 14, most=3)
        width = max(least, max(_width_of(line, 14) for line in lines) + 24)
        x = self._clamped((self.x[first] + self.x[last]) / 2 - width / 2, width)
        height = 14 + _LINE_HEIGHT * len(lines)
        self.y += 4
        self.parts.append(
            _frame("broken end" if message.kind == "broken end" else "you", x, self.y, width, height)
        )
        self.parts.append(
            _text(self.gutter - 6, self.y + height / 2 + 4, f"{number}", 13, colour=_SOFT_INK, anchor="end")
        )
        for place, line in enumerate(lines):
            self.parts.append(_text(x + 14, self.y + 20 + place * _LINE_HEIGHT, line, 14))
        self.y += height + 12

    def _hooks(self, message: Message) -> None:
        lines: list[str] = []
        for hook in message.hooks:
            hook = _fitted(hook, _WIDEST_HOOKS - 16, 13)
            if lines and _width_of(f"{lines[-1]}, {hook}", 13) <= _WIDEST_HOOKS - 16:
                lines[-1] += f", {hook}"
            else:
                lines.append(hook)
        width = max(_width_of(line, 13) for line in lines) + 16
        height = 8 + _LINE_HEIGHT * len(lines)
        middle = self.x[message.hooks_at]
        x = self._clamped(middle - width / 2, width)
        top = self.y - 6
        self.parts.append(_role_frame("handler", x, top, width, height))
        for place, line in enumerate(lines):
            self.parts.append(
                _text(x + width / 2, top + 17 + place * _LINE_HEIGHT, line, 13, anchor="middle")
            )
        self.y += height + 8

    def _clamped(self, x: float, width: float) -> float:
        """Return ``x`` moved as far as something of this width needs to stay inside the picture."""
        return max(self.gutter, min(x, _RIGHT - width))

    def _legend(self, kinds: set[Kind], hooks: bool) -> None:
        entries: list[tuple[str, str]] = []
        y = self.y + 30
        for kind in _ARROWS:
            if kind not in kinds:
                continue
            if kind == "note":
                entries.append((_frame("you", 0, y - 13, 28, 17), _ARROWS[kind]))
            elif kind == "broken end":
                entries.append((_frame("broken end", 0, y - 13, 28, 17), _ARROWS[kind]))
            else:
                entries.append((_message_arrow(kind, 0, 32, y - 5), _ARROWS[kind]))
        if hooks:
            entries.append((_role_frame("handler", 0, y - 13, 28, 17), "hooks that were called"))
        x, row = float(_MARGIN), 0
        for sample, words in entries:
            width = 40 + _width_of(words, 14) + 18
            if x + width - 18 > _WIDTH - _MARGIN:
                x, row = float(_MARGIN), row + 1
            self.parts.append(f'<g transform="translate({x:g} {26 * row:g})">{sample}</g>')
            self.parts.append(_text(x + 40, y + 26 * row, words, 14, colour=_SOFT_INK))
            x += width
        if entries:
            self.y = y + 26 * row


def _joined(text: str, detail: str) -> str:
    return " · ".join(part for part in (text, detail) if part)


def _role_frame(role: Role, x: float, y: float, width: float, height: float) -> str:
    """Draw the frame of a participant; each role has a shape of its own."""
    fill, stroke = _COLOURS[_ROLES[role]]
    start = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    if role == "person":
        return f'{start} rx="{height / 2:g}" fill="#ffffff" stroke="{_INK}" stroke-width="2"/>'
    if role == "function":
        return f'{start} rx="0" fill="{fill}" stroke="{stroke}" stroke-width="1.5" stroke-dasharray="5 3"/>'
    if role == "handler":
        corner = min(9.0, height / 3)
        return (
            f'<path d="M{x + corner:g} {y:g}H{x + width:g}V{y + height - corner:g}L{x + width - corner:g} {y + height:g}'
            f'H{x:g}V{y + corner:g}Z" fill="{fill}" stroke="{stroke}" stroke-width="1.5"/>'
        )
    if role == "tool":
        sides = "".join(
            f'<path d="M{side:g} {y:g}V{y + height:g}" stroke="{stroke}" stroke-width="1.5"/>'
            for side in (x + 4, x + width - 4)
        )
        return f'{start} rx="0" fill="{fill}" stroke="{stroke}" stroke-width="1.5"/>{sides}'
    return _frame(_ROLES[role], x, y, width, height)


def _message_arrow(kind: Kind, start: float, end: float, y: float) -> str:
    side = 1 if end >= start else -1
    dashes = "" if kind == "call" else ' stroke-dasharray="7 4"'
    stop = end - side * (8 if kind == "call" else 12 if kind == "failed" else 2)
    line = f'<path d="M{start:g} {y:g}H{stop:g}" fill="none" stroke="{_INK}" stroke-width="1.5"{dashes}/>'
    back = end - side * 10
    if kind == "call":
        return (
            line
            + f'<polygon points="{back:g},{y - 5:g} {end - side:g},{y:g} {back:g},{y + 5:g}" fill="{_INK}"/>'
        )
    if kind == "failed":
        near, far = end - side * 3, end - side * 13
        head = f"M{far:g} {y - 5:g}L{near:g} {y + 5:g}M{far:g} {y + 5:g}L{near:g} {y - 5:g}"
        return line + f'<path d="{head}" fill="none" stroke="{_INK}" stroke-width="2.2"/>'
    head = f"M{back:g} {y - 5:g}L{end - side:g} {y:g}L{back:g} {y + 5:g}"
    return line + f'<path d="{head}" fill="none" stroke="{_INK}" stroke-width="1.5"/>'


def _wrapped(text: str, width: float, size: int, *, most: int) -> list[str]:
    """Cut ``text`` into at most ``most`` lines of this width: at spaces, underscores, capitals where it can be done."""
    lines = [""]
    for piece in re.split(r"(?<=[\s_])(?=[^\s_])|(?<=[a-z])(?=[A-Z])", text):
        while piece:
            if _width_of((lines[-1] + piece).rstrip(), size) <= width:
                lines[-1] += piece
                break
            if lines[-1]:
                lines.append("")
                continue
            kept = len(piece)
            while kept > 1 and _width_of(piece[:kept], size) > width:
                kept -= 1
            lines[-1], piece = piece[:kept], piece[kept:]
    lines = [line.strip() for line in lines if line.strip()]
    if len(lines) > most:
        # One line that is too long is what _fitted() shortens, with an ellipsis.
        lines[most - 1] = _fitted("".join(lines[most - 1 :]), width, size)
    return lines[:most] or [""]


# -- shared by both --------------------------------------------------------------------------------------------------


def _opening(title: str, subtitle: str, alt_text: str, height: float) -> list[str]:
    """Return how every drawing begins: its names for screen readers, its ground, its title."""
    description = alt_text.replace("\n", ". ").replace(":. ", ": ")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{_escaped(title)}" '
        f'width="{_WIDTH}" height="{height:g}" viewBox="0 0 {_WIDTH} {height:g}" '
        f'style="max-width:100%;height:auto" font-family="{_escaped(_FONT)}">',
        f"<title>{_escaped(title)}</title>",
        f"<desc>{_escaped(description)}</desc>",
        f'<rect x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1:g}" rx="8" fill="#ffffff" stroke="#d0d7de"/>',
        _text(_MARGIN, 32, _fitted(title, _WIDTH - 2 * _MARGIN, 17, bold=True), 17, bold=True),
    ]
    if subtitle:
        parts.append(_text(_MARGIN, 54, _fitted(subtitle, _WIDTH - 2 * _MARGIN, 14), 14, colour=_SOFT_INK))
    return parts


def _text(
    x: float,
    y: float,
    text: str,
    size: int,
    *,
    bold: bool = False,
    colour: str = _INK,
    anchor: Literal["start", "middle", "end"] = "start",
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
