"""From what a function returned to the text that a model gets.

Here lives the writing of results: a text as it is, everything else as JSON, tables as CSV, all of it without secrets and
cut to a size. What has no such form is refused with what to return instead. Not here: running the function
(``functions.py``).
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import inspect
import ipaddress
import json
import math
import os
import re
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, KeysView, Mapping, Set, ValuesView
from typing import Any, Final

from helpers.errors import WorkshopError, redact

__all__ = ["NOTHING_RETURNED", "NoOutput", "cut_text", "output_text", "whole_characters"]

NOTHING_RETURNED: Final = '{"result": null, "note": "The function ran to its end and returned nothing."}'
_DEEPEST: Final = 50
_MOST_DIGITS: Final = 1_000
# A text is cut before secrets are looked for, with this much more, so that a secret at the cut is still found whole.
_BEYOND: Final = 4_000
_HALF_CHARACTER: Final = re.compile("[\ud800-\udfff]")
_AS_TEXT: Final = (
    decimal.Decimal,
    fractions.Fraction,
    uuid.UUID,
    os.PathLike,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    datetime.timedelta,
    complex,
)


class NoOutput(WorkshopError):
    """A function returned something that has no text form. The text goes on after "the function returned "."""


def output_text(value: Any, most_characters: int) -> tuple[str, bool]:
    """Return a function's result as the text that the model gets, and whether it had to be shortened.

    A text stays as it is. Numbers, lists, dicts, dataclasses, Pydantic models, enums, dates, sets and arrays become JSON; a
    data frame becomes CSV below a line with its shape. Numbers that JSON does not have become ``"NaN"`` and
    ``"Infinity"``. ``None`` becomes ``NOTHING_RETURNED``, because a bare ``null`` reads as if nothing had been found.

    Args:
        value: what the function returned.
        most_characters: the output has at most that many. Lists and dicts end early then and say how much more there was;
            texts are cut at the end of a line or a word.

    Raises:
        NoOutput: for bytes, generators, functions, objects without a JSON form, and what contains itself.
    """
    if value is None:
        return NOTHING_RETURNED, False
    writer = _Writer(most_characters)
    plain = writer.plain(value)
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False, allow_nan=False)
    text, was_cut = cut_text(redact(text), most_characters)
    return text, was_cut or writer.shortened


def cut_text(text: str, most_characters: int, total: int | None = None) -> tuple[str, bool]:
    """Return a text with at most so many characters, cut at the end of a line or a word and marked, and whether it was cut.

    Args:
        text: the text, or its beginning.
        most_characters: of the result, the mark included.
        total: how long the whole text is, if ``text`` is only its beginning.
    """
    total = len(text) if total is None else max(total, len(text))
    if total <= most_characters:
        return text, False
    mark = f"\n[cut: this is the beginning of {total:,} characters]"
    room = max(0, most_characters - len(mark))
    near = max(0, room - max(room // 5, 1))
    place = max(text.rfind("\n", near, room), 0) or max(text.rfind(" ", near, room), 0) or room
    return (text[:place].rstrip() + mark)[:most_characters], True


def whole_characters(text: str) -> str:
    """Return a text without halves of characters (lone surrogates), which could not be sent."""
    return _HALF_CHARACTER.sub("\ufffd", text) if not text.isascii() else text


class _Writer:
    """Turns one value into what ``json.dumps`` takes, and stops when there is no more room."""

    def __init__(self, most_characters: int) -> None:
        self.shortened = False
        # A little less than there is, for the marks of what was left out.
        self._room = most_characters - min(200, most_characters // 5)
        self._most_characters = most_characters
        self._around: list[int] = []

    def plain(self, value: Any) -> Any:
        if isinstance(value, enum.Enum):
            return self.plain(value.value)
        if value is None or isinstance(value, bool | int | float | str):
            return self._scalar(value)
        if type(value).__name__ in ("NAType", "NaTType"):  # pandas: there is no value
            return None
        if isinstance(value, datetime.datetime | datetime.date | datetime.time):
            return self._text(value.isoformat())
        if isinstance(value, _AS_TEXT):
            return self._text(str(value))
        if id(value) in self._around:
            raise NoOutput("something that contains itself. Return a copy without the loop")
        if len(self._around) >= _DEEPEST:
            raise NoOutput(f"something nested deeper than {_DEEPEST} levels. Return something flatter")
        self._around.append(id(value))
        try:
            return self._collection(value)
        finally:
            self._around.pop()

    def _scalar(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, float) and not math.isfinite(value):
            value = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        elif isinstance(value, int) and not isinstance(value, bool):
            if value.bit_length() > _MOST_DIGITS * 10 // 3:
                raise NoOutput(
                    f"a number of more than {_MOST_DIGITS:,} digits. Return a rounded float, or less"
                )
            value = int(value)
        elif isinstance(value, float):
            value = float(value)
        self._room -= len(str(value)) + 2
        return value

    def _text(self, value: str) -> str:
        text = whole_characters(redact(str(value[: self._most_characters + _BEYOND])))
        limit = max(0, min(self._room + 2, self._most_characters) if self._around else self._most_characters)
        text, was_cut = cut_text(text, limit, len(value)) if len(value) > limit else (text, False)
        self.shortened |= was_cut
        self._room -= len(text) + 4
        return text

    def _collection(self, value: Any) -> Any:
        refused = _no_form(value)
        if refused:
            raise NoOutput(refused)
        dump = getattr(value, "model_dump", None)
        if callable(dump):
            return self.plain(_dumped(dump))
        if dataclasses.is_dataclass(value):
            fields = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
            return self._mapping(dict(fields))
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            return self._mapping(value._asdict())
        if isinstance(value, Mapping):
            return self._mapping(value)
        if isinstance(value, Set):
            return self._items(_sorted(value), len(value))
        if isinstance(value, list | tuple | deque | range | KeysView | ValuesView):
            return self._items(value, len(value))
        return self._from_library(value)

    def _mapping(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        written: dict[str, Any] = {}
        for number, (key, item) in enumerate(value.items()):
            if self._room <= 0:
                self.shortened = True
                written["[cut]"] = f"{len(value) - number:,} more"
                break
            name = self.plain(key)
            text = name if isinstance(name, str) else json.dumps(name, ensure_ascii=False)
            written[text] = self.plain(item)
        return written

    def _items(self, value: Iterable[Any], length: int) -> list[Any]:
        written: list[Any] = []
        for item in value:
            if self._room <= 0:
                self.shortened = True
                written.append(f"[cut: {length - len(written):,} more]")
                break
            written.append(self.plain(item))
        return written

    def _from_library(self, value: Any) -> Any:
        """Write what NumPy, pandas and their like return, known by what it can do: none of them is imported here."""
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple) and hasattr(value, "dtype") and hasattr(value, "tolist"):
            if not shape:
                return self._array_scalar(value)
            if hasattr(value, "index") and hasattr(value, "to_csv"):
                return self._table(value)
            return self._items(value, shape[0])
        if isinstance(shape, tuple) and (hasattr(value, "to_csv") or hasattr(value, "write_csv")):
            return self._table(value)
        raise NoOutput(
            f"a {type(value).__name__}, which has no JSON form. Return a text, a number, a list, a dict or a dataclass"
        )

    def _array_scalar(self, value: Any) -> Any:
        scalar = value.tolist()
        # NumPy gives times as nanoseconds, and what Python has no type for as it was.
        is_time = isinstance(scalar, int) and getattr(value.dtype, "kind", "") in ("m", "M")
        return self._text(str(value)) if is_time or type(scalar) is type(value) else self.plain(scalar)

    def _table(self, value: Any) -> str:
        rows = int(value.shape[0])
        # A row has at least two characters.
        most_rows = min(rows, max(1, self._room // 2))
        head = value.head(most_rows)
        if hasattr(head, "to_csv"):
            is_numbered = type(value.index).__name__ == "RangeIndex" and value.index.name is None
            csv = head.to_csv(index=not is_numbered, lineterminator="\n")
        else:
            csv = head.write_csv()
        lines = whole_characters(redact(str(csv))).splitlines()
        caption = f"{type(value).__name__}: {_counted(rows, 'row')}"
        if len(value.shape) > 1:
            caption += f", {_counted(int(value.shape[1]), 'column')}"
        kept: list[str] = []
        for line in lines:
            self._room -= len(line) + 2
            if self._room <= len(caption) and kept:
                break
            kept.append(line)
        shown = max(0, len(kept) - 1)
        if shown < rows:
            self.shortened = True
            caption += f" (cut: the first {shown:,} follow)"
        return "\n".join([caption, *kept])


def _no_form(value: Any) -> str:
    """Say why a value cannot be written and what to return instead; ``""`` if it can be tried."""
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes, and a model reads text. Return a text, or save a file and return its name"
    if inspect.iscoroutine(value):
        value.close()
        return "a coroutine that nobody awaited. Write await before the call"
    if inspect.isgenerator(value) or inspect.isasyncgen(value) or isinstance(value, Iterator):
        return f"a {type(value).__name__}, which gives its items only one by one. Return list(…) of it"
    if isinstance(value, type) or inspect.isroutine(value):
        what = "a class" if isinstance(value, type) else "a function"
        return f"{what}. Call it, and return what comes out"
    if isinstance(value, BaseException):
        return f"a {type(value).__name__} as a value. Raise it instead: raise {type(value).__name__}(…)"
    return ""


def _dumped(dump: Any) -> Any:
    try:
        return dump(mode="json")
    except Exception as error:  # noqa: BLE001 - a model's own serializer is anybody's code
        why = type(error).__name__
    raise NoOutput(f"a model that could not be written as JSON ({why}). Return a dict or a text")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _sorted(value: Set[Any]) -> list[Any]:
    """Return a set's items in an order that is the same each time."""
    try:
        return sorted(value)
    except TypeError:
        return sorted(value, key=lambda item: (type(item).__name__, str(item)))
