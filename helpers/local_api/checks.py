"""Checks of a request's fields, with OpenAI's words for what is wrong.

Here live the small tools: types, ranges, choices, metadata, query parameters. Not here: which fields a route has
(``requests.py``, ``conversations.py``).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from helpers.local_api.errors import invalid, missing, shown

LONGEST_TEXT: Final = 10 * 1024 * 1024
_METADATA_PAIRS: Final = 16
_METADATA_KEY_LENGTH: Final = 64
_METADATA_VALUE_LENGTH: Final = 512
_PAGE_LIMITS: Final = (1, 100)
_DEFAULT_PAGE: Final = 20


def kind_of(value: object) -> str:
    """Return OpenAI's word for the type of a JSON value, such as ``"an integer"``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    words = {
        str: "a string",
        int: "an integer",
        float: "a decimal number",
        list: "an array",
        dict: "an object",
    }
    return words.get(type(value), "something else")


def object_at(value: Any, path: str, expected: str = "an object") -> Fields:
    """Return the fields of an object in a list of the request, or refuse whatever else stands there.

    Args:
        value: what was sent.
        path: where, such as ``"tools[0]"``.
        expected: OpenAI's word for what belongs there.
    """
    if not isinstance(value, dict):
        raise invalid(
            f"Invalid type for '{path}': expected {expected}, but got {kind_of(value)} instead.",
            param=path,
            code="invalid_type",
        )
    return Fields(value, path)


def listed(values: Sequence[str], word: str = "and") -> str:
    """Return values in quotes with commas: ``'a', 'b', and 'c'``."""
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 3:
        return f" {word} ".join(quoted)
    return f"{', '.join(quoted[:-1])}, {word} {quoted[-1]}"


class Fields:
    """The fields of a JSON object, read one at a time. ``null`` counts as left out.

    Args:
        values: the object.
        path: where it is in the request, such as ``"reasoning"``; ``""`` for the body itself.
    """

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        self.values = values
        self._path = path

    def name(self, field: str) -> str:
        """Return the full name of a field, such as ``"reasoning.effort"``."""
        return f"{self._path}.{field}" if self._path else field

    def only(self, known: Iterable[str]) -> None:
        """Refuse the first field that is not known, and suggest one that is spelt almost like it."""
        names = set(known)
        for field in self.values:
            if field in names:
                continue
            # Only a name of about that length can be meant, and comparing a very long one would take long.
            candidates = sorted(name for name in names if abs(len(name) - len(field)) <= 2)
            close = difflib.get_close_matches(field, candidates, n=1, cutoff=0.8)
            hint = f" Did you mean '{close[0]}'?" if close and close[0] not in self.values else ""
            name = self.name(field)
            raise invalid(f"Unknown parameter: '{shown(name)}'.{hint}", param=name, code="unknown_parameter")

    def wrong_type(self, field: str, expected: str) -> Exception:
        """Return the refusal of a value of the wrong type."""
        name = self.name(field)
        return invalid(
            f"Invalid type for '{shown(name)}': expected {expected}, but got {kind_of(self.values[field])} instead.",
            param=name,
            code="invalid_type",
        )

    def text(self, field: str, *, longest: int = LONGEST_TEXT) -> str | None:
        """Read a string.

        Args:
            field: its name.
            longest: how many characters it may have.
        """
        value = self.values.get(field)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.wrong_type(field, "a string")
        check_length(value, self.name(field), longest)
        return value

    def boolean(self, field: str) -> bool | None:
        """Read ``true`` or ``false``."""
        value = self.values.get(field)
        if value is not None and not isinstance(value, bool):
            raise self.wrong_type(field, "a boolean")
        return value

    def integer(self, field: str, *, least: int, most: int | None = None) -> int | None:
        """Read a whole number from ``least`` to ``most``."""
        value = self.values.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong_type(field, "an integer")
        self._check_range(field, value, least, most, "integer")
        return value

    def number(self, field: str, *, least: float, most: float) -> float | None:
        """Read a number from ``least`` to ``most``."""
        value = self.values.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or value in (math.inf, -math.inf):
            raise self.wrong_type(field, "a decimal")
        self._check_range(field, value, least, most, "decimal")
        return float(value)

    def _check_range(self, field: str, value: float, least: float, most: float | None, what: str) -> None:
        name = self.name(field)
        for wrong, word, sign, bound in (
            (value < least, "below minimum", ">=", least),
            (most is not None and value > most, "above maximum", "<=", most),
        ):
            if wrong:
                raise invalid(
                    f"Invalid '{name}': {what} {word} value. Expected a value {sign} {bound}, but got {shown(value)} "
                    "instead.",
                    param=name,
                    code=f"{what}_{'below_min' if sign == '>=' else 'above_max'}_value",
                )

    def choice(self, field: str, values: Sequence[str]) -> str | None:
        """Read one of a few words."""
        value = self.values.get(field)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.wrong_type(field, f"one of {listed(values, 'or')}")
        if value not in values:
            raise invalid(
                f"Invalid value: '{shown(value)}'. Supported values are: {listed(values)}.",
                param=self.name(field),
                code="invalid_value",
            )
        return value

    def object(self, field: str) -> Fields | None:
        """Read an object inside this one."""
        value = self.values.get(field)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong_type(field, "an object")
        return Fields(value, self.name(field))

    def array(self, field: str, *, of: str = "objects") -> list[Any] | None:
        """Read a list."""
        value = self.values.get(field)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self.wrong_type(field, f"an array of {of}")
        return value

    def metadata(self, field: str = "metadata") -> dict[str, str] | None:
        """Read up to 16 pairs of texts: keys of up to 64 characters, values of up to 512."""
        pairs = self.object(field)
        if pairs is None:
            return None
        count = len(pairs.values)
        if count > _METADATA_PAIRS:
            raise invalid(
                f"Invalid '{field}': too many properties. Expected an object with at most {_METADATA_PAIRS} properties, "
                f"but got an object with {count} properties instead.",
                param=field,
                code="object_above_max_properties",
            )
        for key in pairs.values:
            if len(key) > _METADATA_KEY_LENGTH:
                raise invalid(
                    f"Invalid property name in '{field}': '{key[:3]}...{key[-3:]}' is too long. Expected a string with "
                    f"maximum length {_METADATA_KEY_LENGTH}, but got a string with length {len(key)} instead.",
                    param=f"{field}.{key}",
                    code="property_name_above_max_length",
                )
            if pairs.values[key] is None:
                raise pairs.wrong_type(key, "a string")
            pairs.text(key, longest=_METADATA_VALUE_LENGTH)
        return dict(pairs.values)


def check_length(text: str, name: str, longest: int = LONGEST_TEXT) -> None:
    """Refuse a text of more than ``longest`` characters."""
    if len(text) > longest:
        raise invalid(
            f"Invalid '{shown(name)}': string too long. Expected a string with maximum length {longest}, but got a "
            f"string with length {len(text)} instead.",
            param=name,
            code="string_above_max_length",
        )


class Query:
    """The query parameters of a request, read one at a time.

    Args:
        values: name to values; a list may be sent as ``name`` or ``name[]``.
    """

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        self._values = {name.removesuffix("[]"): list(each) for name, each in values.items()}

    def only(self, *known: str) -> None:
        """Refuse a parameter that the route does not have."""
        Fields(self._values).only(known)

    def text(self, name: str) -> str | None:
        """Return a parameter as it was sent."""
        return self._values[name][-1] if self._values.get(name) else None

    def choice(self, name: str, values: Sequence[str]) -> str | None:
        """Read one of a few words."""
        return Fields({name: self.text(name)}).choice(name, values)

    def integer(self, name: str, *, least: int, most: int | None = None) -> int | None:
        """Read a whole number."""
        text = self.text(name)
        if text is None:
            return None
        try:
            value: int | str = int(text)
        except ValueError:
            value = text
        return Fields({name: value}).integer(name, least=least, most=most)

    def boolean(self, name: str) -> bool | None:
        """Read ``true`` or ``false``."""
        text = self.text(name)
        words: dict[str, bool] = {"true": True, "1": True, "false": False, "0": False}
        return None if text is None else Fields({name: words.get(text.lower(), text)}).boolean(name)

    def page(self) -> tuple[str | None, int, bool]:
        """Read what every list takes: ``after``, ``limit`` (1 to 100), ``order`` (newest first unless ``asc``)."""
        least, most = _PAGE_LIMITS
        limit = self.integer("limit", least=least, most=most)
        return (
            self.text("after"),
            _DEFAULT_PAGE if limit is None else limit,
            self.choice("order", ("asc", "desc")) != "asc",
        )


def required(value: Any, name: str) -> Any:
    """Return ``value``, or refuse the request if it was left out."""
    if value is None:
        raise missing(name)
    return value


def page_body(items: Sequence[Mapping[str, Any]], has_more: bool) -> dict[str, Any]:
    """Return a list in the API's shape."""
    return {
        "object": "list",
        "data": list(items),
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more,
    }
