"""Ids that look like OpenAI's and are the same in every run.

An id is made from a number that the state counts up, so a second process that does the same prints the same ids.
What belongs to a response carries the response's first digits, as live. Not here: the counting (``state.py``).
"""

from __future__ import annotations

import hashlib
import random
from typing import Final

_SEED: Final = b"workshop"
_FAMILY_DIGITS: Final = 18
_LENGTHS: Final = {"cfile": 32, "cntr": 48, "conv": 48, "req": 32, "vs": 32, "vsfb": 32}
_USUAL_LENGTH: Final = 50
_FILE_LETTERS: Final = 22
_CALL_LETTERS: Final = 24
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _digits(*parts: object) -> str:
    return hashlib.sha256(_SEED + "/".join(map(str, parts)).encode()).hexdigest()


def numbered(prefix: str, number: int) -> str:
    """Return the id of the ``number``-th thing of its kind.

    Args:
        prefix: ``"resp"``, ``"conv"``, ``"msg"``, ``"req"`` …
        number: what the state counted.
    """
    return f"{prefix}_{_digits(prefix, number)[: _LENGTHS.get(prefix, _USUAL_LENGTH)]}"


def file_id(number: int) -> str:
    """Return the id of the ``number``-th file: a dash, and 22 letters and digits."""
    return f"file-{_mixed(_FILE_LETTERS, 'file', number)}"


def call_id(parent: str, position: int) -> str:
    """Return the id that pairs a function call with its output: 24 letters and digits.

    Args:
        parent: the id of the response.
        position: its place among the items of that response.
    """
    return f"call_{_mixed(_CALL_LETTERS, parent, 'call', position)}"


def _mixed(count: int, *parts: object) -> str:
    """Return ``count`` letters of both cases and digits."""
    value, letters = int(_digits(*parts), 16), []
    for _ in range(count):
        value, digit = divmod(value, len(_LETTERS))
        letters.append(_LETTERS[digit])
    return "".join(letters)


def within(parent: str, prefix: str, position: int | str) -> str:
    """Return the id of something that belongs to ``parent``, such as an item of a response.

    Args:
        parent: the id of the response.
        prefix: ``"msg"``, ``"rs"``, ``"fc"`` …
        position: its place among the things of that parent.
    """
    family = parent.partition("_")[2][:_FAMILY_DIGITS]
    return f"{prefix}_{family}{_digits(parent, prefix, position)[: _USUAL_LENGTH - len(family)]}"


class Noise:
    """The characters that pad a delta, so that its length does not tell what it says.

    Args:
        seed: a response's id; the same one gives the same noise.
    """

    _BLOCK: Final = 16
    _ROUND: Final = 251

    def __init__(self, seed: str) -> None:
        # Noise, not secrecy: nothing here crosses a network. Two rounds, so that every slice is whole.
        self._letters = "".join(random.Random(seed).choices(_LETTERS, k=self._ROUND)) * 2
        self._at = 0

    def beside(self, delta: str) -> str:
        """Return as many characters as bring ``delta`` to a multiple of 16, as the live API does."""
        start, length = self._at, self._BLOCK - len(delta) % self._BLOCK
        self._at = (start + length) % self._ROUND
        return self._letters[start : start + length]
