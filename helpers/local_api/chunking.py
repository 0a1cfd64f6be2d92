"""Chunking: a text cut into overlapping pieces, at places where a reader would cut as well.

A chunk is never longer than its size; the overlap is at most what was asked for, and begins with a paragraph, a line or
a word. Each chunk knows the headings that it stands under. Not here: reading the strategy from a request
(``vector_store_files.py``).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from helpers.local_api.parsing import Document, Heading
from helpers.local_api.tokens import CHARACTERS_PER_TOKEN, graphemes

DEFAULT_SIZE_TOKENS: Final = 800
DEFAULT_OVERLAP_TOKENS: Final = 400

# After these a chunk may end, the best first, each with the characters that stay with the chunk.
_ENDS: Final = (("\n\n",), ("\n",), (". ", "! ", "? ", "。", "！", "？"), (" ", "\t"))
_LONGEST_GRAPHEME: Final = 64


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a text: where it starts, what it says, and the titles above and inside it."""

    start: int
    text: str
    headings: str


def chunks(document: Document, size_tokens: int, overlap_tokens: int) -> Iterator[Chunk]:
    """Yield the chunks of a document, in order.

    Args:
        document: text and headings.
        size_tokens: how long a chunk may be; a token counts as four characters.
        overlap_tokens: how much of a chunk's end the next one may repeat; at most half of the size.
    """
    text = document.text
    starts = [heading.start for heading in document.headings]
    for start, end in _spans(
        text, starts, size_tokens * CHARACTERS_PER_TOKEN, overlap_tokens * CHARACTERS_PER_TOKEN
    ):
        piece = text[start:end]
        if piece.strip():
            yield Chunk(start, piece, heading_path(document.headings, starts, start, end))


def heading_path(headings: list[Heading], starts: list[int], start: int, end: int) -> str:
    """Return the titles that a piece of text stands under, the outermost first, and those that begin inside it.

    Example:
        >>> some = [Heading(0, 1, "GPT-2"), Heading(50, 2, "Loss"), Heading(90, 2, "Speed")]
        >>> heading_path(some, [0, 50, 90], 60, 100)
        'GPT-2 > Loss > Speed'
    """
    first_inside = bisect.bisect_right(starts, start)
    above: list[Heading] = []
    # Backwards from the piece: a heading is above it if no later one was as high.
    for heading in reversed(headings[max(0, first_inside - 1) : first_inside]):
        above.append(heading)
    index = first_inside - 2
    while above and above[-1].level > 1 and index >= 0:
        if headings[index].level < above[-1].level:
            above.append(headings[index])
        index -= 1
    inside = headings[first_inside : bisect.bisect_left(starts, end)]
    return " > ".join(heading.title for heading in [*reversed(above), *inside])


def _spans(text: str, heading_starts: list[int], size: int, overlap: int) -> Iterator[tuple[int, int]]:
    start = 0
    while True:
        limit = start + size
        if limit >= len(text):
            yield start, len(text)
            return
        # A chunk that ended any earlier would make the next one repeat most of it.
        end = _end(text, heading_starts, start + (size + overlap) // 2, limit)
        yield start, end
        start = max(start + 1, _next_start(text, end, overlap))


def _end(text: str, heading_starts: list[int], least: int, most: int) -> int:
    """Return the best place to end a chunk, after ``least`` and not after ``most``."""
    index = bisect.bisect_right(heading_starts, most) - 1
    if index >= 0 and heading_starts[index] > least:
        return heading_starts[index]
    for marks in _ENDS:
        found = max(
            text.rfind(mark, least, most) + len(mark) if text.rfind(mark, least, most) >= 0 else -1
            for mark in marks
        )
        if found > least:
            return found
    # No place at all: at least no character is cut in two.
    place = begin = max(least, most - _LONGEST_GRAPHEME)
    for cluster in graphemes(text[begin : most + _LONGEST_GRAPHEME]):
        if place + len(cluster) > most:
            break
        place += len(cluster)
    return place if place > least else most


def _next_start(text: str, end: int, overlap: int) -> int:
    """Return where the next chunk starts: at most ``overlap`` before ``end``, at the beginning of something."""
    if overlap == 0:
        return end
    least, most = end - overlap, end - overlap // 2
    for mark in ("\n\n", "\n", " "):
        found = text.find(mark, least, most)
        if found >= 0:
            return found + len(mark)
    place = max(0, least - _LONGEST_GRAPHEME)
    for cluster in graphemes(text[place:most]):
        if place >= least:
            break
        place += len(cluster)
    return place
