"""Tokens: an estimate of their number, and text cut into pieces that look like them.

There is no tokenizer here and none is wanted: a recorded answer costs nothing. What counts tokens for real is the
live API.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

CHARACTERS_PER_TOKEN: Final = 4
CONTEXT_TOKENS: Final = 1_050_000
"""How much a model reads at most; taken for every model (gpt-6-luna: https://developers.openai.com/api/docs/models)."""

_LONGEST_PIECE: Final = 12
_PIECE: Final = re.compile(r" ?[^\W\d_]+| ?\d+| ?[^\w\s]+|_+|\s+")
_DIGITS_TOGETHER: Final = 3

_ZERO_WIDTH_JOINER: Final = "\u200d"
_REGIONAL: Final = range(0x1F1E6, 0x1F200)
_SKIN_TONES: Final = range(0x1F3FB, 0x1F400)
_TAGS: Final = range(0xE0020, 0xE0080)
_HANGUL_LEADING: Final = range(0x1100, 0x1160)
_HANGUL_REST: Final = range(0x1160, 0x1200)


def estimate(text: str) -> int:
    """Return about how many tokens ``text`` has: one for every four characters, rounded up."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def graphemes(text: str) -> list[str]:
    """Return the characters as a person sees them: a letter with its accents, a flag, a family emoji stay whole.

    It follows the rules of Unicode's extended grapheme clusters as far as the standard library's data reach.
    """
    clusters: list[str] = []
    for character in text:
        if clusters and _continues(clusters[-1], character):
            clusters[-1] += character
        else:
            clusters.append(character)
    return clusters


def _continues(cluster: str, character: str) -> bool:
    last, point = cluster[-1], ord(character)
    if last == "\r":
        return character == "\n"
    if last == "\n":
        return False
    if character == _ZERO_WIDTH_JOINER or point in _SKIN_TONES or point in _TAGS:
        return True
    if unicodedata.category(character) in {"Mn", "Me", "Mc"}:
        return True
    if last == _ZERO_WIDTH_JOINER:
        return unicodedata.category(character).startswith("S")
    if point in _REGIONAL and ord(last) in _REGIONAL:
        # Flags are pairs: a third letter begins the next flag.
        return sum(ord(each) in _REGIONAL for each in cluster) % 2 == 1
    if point in _HANGUL_LEADING or point in _HANGUL_REST:
        return ord(last) in _HANGUL_LEADING or (point in _HANGUL_REST and ord(last) in _HANGUL_REST)
    return False


def pieces(text: str) -> Iterator[str]:
    """Yield ``text`` in pieces like a model's tokens: a word with the space before it, or a part of a long word.

    The pieces put together are exactly ``text``, and none ends inside a grapheme.

    Example:
        >>> list(pieces("GPT-2 learns, slowly."))
        ['GPT', '-', '2', ' learns', ',', ' slowly', '.']
    """
    if text.isascii() and "\r" not in text:
        for found in _PIECE.finditer(text):
            piece = found.group()
            if len(piece) <= _LONGEST_PIECE and not piece[-1].isdigit():
                yield piece
            else:
                yield from _short(list(piece))
        return
    word: list[str] = []
    kind = ""
    for cluster in graphemes(text):
        this = _kind(cluster)
        fits = this == kind or (word == [" "] and this != "space")
        if word and (not fits or this == "wide"):
            yield from _short(word)
            word = []
        word.append(cluster)
        kind = this
    yield from _short(word)


def _kind(cluster: str) -> str:
    first = cluster[0]
    if first.isspace():
        return "space"
    if first.isdigit():
        return "digit"
    if first.isalpha():
        # Scripts without spaces (Chinese, Japanese, Thai …) come sign by sign.
        return "wide" if unicodedata.category(first) == "Lo" else "letter"
    return "other"


def _short(word: list[str]) -> Iterator[str]:
    if not word:
        return
    length = _DIGITS_TOGETHER if word[-1].isdigit() else _LONGEST_PIECE
    start = 0
    # The space before a word belongs to its first piece.
    end = min(len(word), length + (word[0] == " " and len(word) > 1))
    while start < len(word):
        yield "".join(word[start:end])
        start, end = end, end + length


def cut(text: str, tokens: int) -> str:
    """Return the beginning of ``text`` that fits into ``tokens``, without cutting a grapheme in two."""
    limit = max(0, tokens) * CHARACTERS_PER_TOKEN
    if len(text) <= limit:
        return text
    kept, length = [], 0
    for cluster in graphemes(text[: limit + 1]):
        length += len(cluster)
        if length > limit:
            break
        kept.append(cluster)
    return "".join(kept)
