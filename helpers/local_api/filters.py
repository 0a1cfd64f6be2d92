"""Filters: conditions on the attributes of files, read from a request and tested.

``eq ne gt gte lt lte in nin`` compare one attribute; ``and`` and ``or`` combine. Not here: where attributes are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from helpers.local_api.checks import Fields, required
from helpers.local_api.errors import invalid

_COMPARISONS: Final = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin")
_COMPOUNDS: Final = ("and", "or")
_MOST_ATTRIBUTES: Final = 16
_LONGEST_KEY: Final = 64
_LONGEST_VALUE: Final = 512

Attributes = dict[str, str | float | bool]
Filter = dict[str, Any]


def read_attributes(fields: Fields, field: str = "attributes") -> Attributes | None:
    """Read up to 16 pairs: keys of up to 64 characters; texts of up to 512, numbers, or booleans."""
    pairs = fields.object(field)
    if pairs is None:
        return None
    name = fields.name(field)
    if len(pairs.values) > _MOST_ATTRIBUTES:
        raise invalid(
            f"Invalid '{name}': too many properties. Expected an object with at most {_MOST_ATTRIBUTES} properties, but "
            f"got an object with {len(pairs.values)} properties instead.",
            param=name,
            code="object_above_max_properties",
        )
    for key, value in pairs.values.items():
        if len(key) > _LONGEST_KEY:
            raise invalid(
                f"Invalid property name in '{name}': '{key[:3]}...{key[-3:]}' is too long. Expected a string with "
                f"maximum length {_LONGEST_KEY}, but got a string with length {len(key)} instead.",
                param=f"{name}.{key}",
                code="property_name_above_max_length",
            )
        if isinstance(value, str):
            pairs.text(key, longest=_LONGEST_VALUE)
        elif not isinstance(value, bool | int | float):
            raise pairs.wrong_type(key, "one of a string, number, or boolean")
    return dict(pairs.values)


def read_filter(fields: Fields, field: str = "filters") -> Filter | None:
    """Read a filter in the form in which the API echoes it."""
    inner = fields.object(field)
    return None if inner is None or inner.values == {} else _read(inner)


def _read(fields: Fields) -> Filter:
    kind = required(fields.choice("type", (*_COMPARISONS, *_COMPOUNDS)), fields.name("type"))
    if kind in _COMPOUNDS:
        fields.only(("type", "filters"))
        inner = required(fields.array("filters"), fields.name("filters"))
        if not inner:
            raise invalid(
                f"Invalid '{fields.name('filters')}': empty array. Expected an array with minimum length 1.",
                param=fields.name("filters"),
                code="empty_array",
            )
        filters = []
        for index, each in enumerate(inner):
            name = f"{fields.name('filters')}[{index}]"
            filters.append(_read(required(Fields({name: each}).object(name), name)))
        return {"type": kind, "filters": filters}
    fields.only(("type", "key", "value"))
    key = required(fields.text("key"), fields.name("key"))
    value = required(fields.values.get("value"), fields.name("value"))
    if kind in {"in", "nin"}:
        fields.array("value", of="strings or numbers")
        if not all(isinstance(each, str | bool | int | float) for each in value):
            raise fields.wrong_type("value", "an array of strings or numbers")
    elif not isinstance(value, str | bool | int | float):
        raise fields.wrong_type("value", "one of a string, number, or boolean")
    elif kind in {"gt", "gte", "lt", "lte"} and isinstance(value, bool):
        raise fields.wrong_type("value", "one of a string or number")
    return {"type": kind, "key": key, "value": value}


def fits(condition: Filter | None, attributes: Mapping[str, Any]) -> bool:
    """Return whether attributes meet a condition.

    Values of different kinds (a text and a number) are never equal and have no order. An attribute that is not there
    meets ``ne`` and ``nin`` and nothing else.

    Example:
        >>> fits({"type": "gte", "key": "week", "value": 2}, {"week": 3})
        True
    """
    if condition is None:
        return True
    kind = condition["type"]
    if kind == "and":
        return all(fits(each, attributes) for each in condition["filters"])
    if kind == "or":
        return any(fits(each, attributes) for each in condition["filters"])
    have, value = attributes.get(condition["key"]), condition["value"]
    if kind == "eq":
        return _equal(have, value)
    if kind == "ne":
        return not _equal(have, value)
    if kind == "in":
        return any(_equal(have, each) for each in value)
    if kind == "nin":
        return not any(_equal(have, each) for each in value)
    if have is None or _kind(have) != _kind(value) or isinstance(have, bool):
        return False
    return bool({"gt": have > value, "gte": have >= value, "lt": have < value, "lte": have <= value}[kind])


def _equal(have: Any, value: Any) -> bool:
    return have is not None and _kind(have) == _kind(value) and have == value


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"
