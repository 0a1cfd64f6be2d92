"""Proposals: which numbers of a captured text come from code or functions, and the ``prints`` that takes them there.

A number that stands in a text and in an output before it becomes a place such as ``{loss}``, and the code or the call
gets a pattern that finds it by the words around it. Each pattern is tried on the output that it was made from, and is given
up if it does not give the same text again. A proposal is a guess: a person can change it. Not here: playing it
(``code_interpreter_tool.py``).
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from helpers.local_api.citing import CODE, PLACEHOLDER
from helpers.local_api.code_interpreter_tool import filled
from helpers.local_api.recordings import texts_with_places
from helpers.local_api.turns import Calls, Run, Say, Step

_NUMBER: Final = re.compile(r"(?<![\w.,])-?\d+(?:[.,]\d+)*(?:[eE][-+]?\d+)?(?![\w])")
_ANY_NUMBER: Final = r"-?[\d.,]*\d"
_ANY_POWER: Final = r"-?[\d.,]*\d(?:[eE][-+]?\d+)?"
# A number that stands alone; one that is part of a word, such as 124M, is a name.
_ALONE: Final = re.compile(r"((?<![\w.,])-?\d+(?:[.,]\d+)*(?!\w)|[ \t]+)")
# Numbers that are part of a name, a link or a list: GPT-2, 2019-02, a heading's "1.", what stands in code or in brackets.
_NOT_NUMBERS: Final = re.compile(
    r"\[[^\]\n]*\]\([^)\n]*\)|\[[^\]\n]*\.\w{1,5}\]|(?<!\d)\w-\d[\d.,]*|\d-\d[\d.,]*|^[ \t]*\d+[.)](?=\s)",
    re.MULTILINE,
)
_WORD: Final = re.compile(r"\w*[A-Za-z_]\w*", re.ASCII)
# What names the number behind it: a field of JSON, or words and a sign.
_LABEL: Final = re.compile(r"(?:\"[^\"\n]{1,40}\"|(?<!\w)[A-Za-z_][\w ]{0,30})[ ]*[:=][ ]*$")
_SMALL: Final = 100
_MOST_PLACES: Final = 12
_LONGEST_PROSE: Final = 200
_JSON_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_NEAR: Final = 40
_LONGEST_ANCHOR: Final = 30


Source = tuple[int, int]
"""Where an output comes from: the place of the step, and of the call among those of its step."""


@dataclass(frozen=True, order=True)
class _Place:
    """A number in an output."""

    source: Source
    start: int
    end: int


def propose(steps: Sequence[Step], outputs: Mapping[Source, str]) -> list[Step]:
    """Return the steps with ``prints`` patterns, and with places in the texts that repeat a number.

    Args:
        steps: as they were captured.
        outputs: what code printed and functions gave back.

    Example:
        >>> printed = "best_step=840 best_loss=3.28"
        >>> steps = propose([Run("…"), Say("It is lowest, 3.28, at step 840.")], {(0, 0): printed})
        >>> steps[1].text
        'It is lowest, {best_loss}, at step {best_step}.'
    """
    if any(_has_places(step) for step in steps):
        # With a pattern, its own braces would be taken for places.
        return list(steps)
    numbers = {source: _numbers_of(output, steps[source[0]]) for source, output in outputs.items()}
    found: dict[tuple[int, int], _Place] = {}
    for number, step in enumerate(steps):
        if isinstance(step, Say):
            earlier = [
                (_Place(source, each.start(), each.end()), outputs[source])
                for source, those in numbers.items()
                for each in those
                if source[0] < number
            ]
            for token in _numbers(step.text):
                place = _place(step.text, token, earlier)
                if place is not None:
                    found[number, token.start()] = place
    patterns, names = _patterns(_named(sorted(set(found.values())), outputs), outputs)
    values = {name: outputs[place.source][place.start : place.end] for place, name in names.items()}
    proposed = list(steps)
    used: set[str] = set()
    for number, step in enumerate(steps):
        if isinstance(step, Say):
            text, in_it = _with_places(step, number, found, names, values)
            proposed[number] = Say(text)
            used |= in_it
    for source, pattern in patterns.items():
        if used & {name for place, name in names.items() if place.source == source}:
            proposed[source[0]] = _with_pattern(proposed[source[0]], source[1], pattern)
    return proposed if used else list(steps)


def _with_pattern(step: Step, place: int, pattern: str) -> Step:
    if isinstance(step, Run):
        return dataclasses.replace(step, prints=pattern)
    assert isinstance(step, Calls)
    calls = list(step.calls)
    calls[place] = dataclasses.replace(calls[place], prints=pattern)
    return Calls(calls)


def _has_places(step: Step) -> bool:
    return any(PLACEHOLDER.search(CODE.sub("", text)) for text in texts_with_places(step))


def _numbers(text: str) -> Iterator[re.Match[str]]:
    """Yield the numbers of a text that say how much of something there is."""
    others = [found.span() for pattern in (CODE, _NOT_NUMBERS) for found in pattern.finditer(text)]
    for found in _NUMBER.finditer(text):
        if not any(start < found.end() and found.start() < end for start, end in others):
            yield found


# -- where a number comes from --------------------------------------------------------------------------------------


def _numbers_of(output: str, step: Step) -> list[re.Match[str]]:
    """Return the numbers of an output that may be taken from it.

    What a function gives back can be somebody's prose, such as the results of a search, and will be another one next
    time: of JSON only its own numbers count, and of other text only if it is short.
    """
    if isinstance(step, Run):
        return list(_NUMBER.finditer(output))
    try:
        json.loads(output)
    except ValueError:
        return list(_NUMBER.finditer(output)) if len(output) <= _LONGEST_PROSE else []
    texts = [found.span() for found in _JSON_TEXT.finditer(output)]
    return [
        found
        for found in _NUMBER.finditer(output)
        if not any(start < found.end() and found.start() < end for start, end in texts)
    ]


def _place(text: str, token: re.Match[str], places: Sequence[tuple[_Place, str]]) -> _Place | None:
    """Return the number in an output that a number in a text repeats.

    Of several, it is the one whose line has a word in common with the text, as near as possible; else the latest.

    Args:
        text: the text.
        token: the number in it.
        places: the numbers in outputs, each with the output.
    """
    near = _words(text, token.start(), token.end())
    likely: list[tuple[int, _Place]] = []
    # Small numbers meet by chance.
    is_small = token.group().isdecimal() and int(token.group()) < _SMALL
    for place, output in places:
        if output[place.start : place.end] == token.group():
            shared = near.keys() & _words(_line(output, place.start)).keys()
            distance = min((near[word] for word in shared), default=_NEAR)
            if distance < _NEAR or not is_small:
                likely.append((-distance, place))
    return max(likely)[1] if likely else None


def _line(text: str, position: int) -> str:
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    return text[start : len(text) if end < 0 else end]


def _words(text: str, start: int = 0, end: int = 0) -> dict[str, int]:
    """Return the words around a place of a text, and how far each is from it (less than forty characters)."""
    found: dict[str, int] = {}
    for word in _WORD.finditer(text):
        distance = min(abs(start - word.end()), abs(word.start() - end)) if end else 0
        for part in word.group().lower().split("_"):
            name = part.rstrip("s")
            if len(part) > 2 and distance < _NEAR:
                found[name] = min(distance, found.get(name, _NEAR))
    return found


def _named(places: Sequence[_Place], outputs: Mapping[Source, str]) -> dict[_Place, str]:
    """Return a name for each place: the word before the number on its line, else the one behind it."""
    names: dict[_Place, str] = {}
    for place in places:
        output = outputs[place.source]
        line_start = output.rfind("\n", 0, place.start) + 1
        before = _WORD.findall(output[line_start : place.start])
        behind = _WORD.findall(_line(output[place.end :], 0)[:_NEAR])
        wanted = (before[-1] if before else behind[0] if behind else "").strip("_").lower() or "number"
        wanted = f"n_{wanted}" if wanted[0].isdigit() else wanted
        name, count = wanted, 2
        while name in names.values():
            name, count = f"{wanted}_{count}", count + 1
        names[place] = name
    return names


# -- patterns -------------------------------------------------------------------------------------------------------


def _patterns(
    names: Mapping[_Place, str], outputs: Mapping[Source, str]
) -> tuple[dict[Source, str], dict[_Place, str]]:
    """Return a pattern for each output, and the places that they find again."""
    patterns: dict[Source, str] = {}
    kept: dict[_Place, str] = {}
    for source in dict.fromkeys(place.source for place in names):
        output, pattern = outputs[source], ""
        chosen: list[_Place] = []
        places = [place for place in names if place.source == source][:_MOST_PLACES]
        for place, following in itertools.zip_longest(places, places[1:]):
            is_last = following is None or "\n" in output[place.end : following.start]
            since = chosen[-1].end if chosen else 0
            for piece in _pieces(output, since, place, names[place], is_last):
                if _finds(f"{pattern}{piece}", [*chosen, place], names, output):
                    pattern += piece
                    chosen.append(place)
                    break
        if chosen:
            patterns[source] = pattern
            kept |= {place: names[place] for place in chosen}
    return patterns, kept


def _pieces(output: str, since: int, place: _Place, name: str, is_last: bool) -> Iterator[str]:
    """Yield ways to go on with a pattern up to one more number, the most general first.

    Args:
        output: what the code printed.
        since: how far the pattern goes so far; 0 at its beginning.
        place: the number.
        name: its name.
        is_last: whether no other number of its line is wanted.
    """
    line_start = output.rfind("\n", 0, place.start) + 1
    start = max(line_start, since)
    before = output[start : place.start]
    behind = _line(output[place.end :], 0)
    has_power = "e" in output[place.start : place.end].lower()
    group = f"(?P<{name}>{_ANY_POWER if has_power else _ANY_NUMBER})"
    goes_on = since > 0 and start == since and len(before) <= _LONGEST_ANCHOR
    gap = r"[\s\S]*?" if since else ""
    for general in (True, False):
        if goes_on:
            # The next number of the same line: what is between the two says where it is.
            yield f"{_as_pattern(before, general)}{group}"
            continue
        label = _LABEL.search(before)
        if label:
            yield f"{gap}{_as_pattern(label.group(), general)}{group}"
        anchor = _as_pattern(_last_words(before), general)
        if _WORD.search(before):
            yield f"{gap}{anchor}{group}"
        if _WORD.search(behind):
            yield f"{gap}{group}{_as_pattern(_first_words(behind), general)}"
    if not _WORD.search(before) and not goes_on and not since:
        # A line without words: it is found by its form.
        rest = f"{_as_pattern(behind, True)}$" if is_last else ""
        yield f"(?m)^{_as_pattern(before, True)}{group}{rest}"


def _last_words(text: str) -> str:
    """Return the end of a text that is anchor enough: up to thirty characters, from the beginning of a word."""
    if len(text) <= _LONGEST_ANCHOR:
        return text.lstrip()
    cut = text[-_LONGEST_ANCHOR:]
    blank = re.search(r"\s", cut)
    rest = cut[blank.end() :] if blank else cut
    return rest if _WORD.search(rest) else cut


def _first_words(text: str) -> str:
    found = re.match(r"\W*[A-Za-z_]\w*", text)
    return found.group() if found else ""


def _as_pattern(text: str, general: bool) -> str:
    """Return a pattern for a piece of output: blanks may be more, and if ``general`` any number stands for a number."""
    pieces: list[str] = []
    parts = _ALONE.split(text)
    for number, part in enumerate(parts):
        if number % 2 and part.isspace():
            # Numbers are often aligned, so the blanks beside them can be more or fewer.
            between_words = part == " " and bool(parts[number - 1]) and bool(parts[number + 1])
            pieces.append(" " if between_words else r"\s+")
        elif number % 2 and general:
            pieces.append(_ANY_NUMBER)
        else:
            pieces.append(re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", part))
    return "".join(pieces)


def _finds(pattern: str, places: Sequence[_Place], names: Mapping[_Place, str], output: str) -> bool:
    found = re.search(pattern, output)
    return found is not None and all(
        found.group(names[place]) == output[place.start : place.end] for place in places
    )


# -- texts ----------------------------------------------------------------------------------------------------------


def _with_places(
    step: Say,
    number: int,
    found: Mapping[tuple[int, int], _Place],
    names: Mapping[_Place, str],
    values: Mapping[str, str],
) -> tuple[str, set[str]]:
    """Return a text with places for its numbers, and their names; it is the same text again once they are filled in."""
    text, used = step.text, set()
    for token in reversed(list(_numbers(step.text))):
        place = found.get((number, token.start()))
        if place is None or place not in names:
            continue
        changed = f"{text[: token.start()]}{{{names[place]}}}{text[token.end() :]}"
        if filled(Say(changed), values).text == step.text:
            text = changed
            used.add(names[place])
    return text, used
