"""Reading the arguments that a model wrote: from its JSON to the values that a function gets.

Here lives the check, strict where a slip would be silent and lenient where the meaning is plain, and the sentences that
tell a model what to send instead. Arguments are data: nothing in them is ever run. Not here: the schema
(``schemas.py``), and calling the function (``functions.py``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from helpers.errors import ArgumentsError
from helpers.schemas import Arguments, branches, takes_null

__all__ = ["read_arguments"]

_LONGEST: Final = 200_000
_DEEPEST: Final = 50
_MOST_PROBLEMS: Final = 5
_LONGEST_ECHO: Final = 60
_NUMBER: Final = re.compile(r"\s*[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\s*")
_DIGITS: Final = re.compile(r"\s*[+-]?\d+(?:\.\d+)?\s*")
_TIMES: Final = {
    "date": "a date such as 2019-02-14",
    "date-time": "a date and time such as 2019-02-14T09:00:00",
    "time": "a time such as 09:00:00",
}
_HALF_CHARACTER: Final = re.compile("[\ud800-\udfff]")


def read_arguments(text: str, arguments: Arguments, name: str) -> dict[str, Any]:
    """Return the keyword arguments in a model's JSON, checked and converted.

    A number in quotes is taken for a number and ``"true"`` for true where the type asks for one, because the meaning is
    plain. Not taken, although Python would: ``true`` for 1, ``1`` or ``"yes"`` for true, ``"nan"`` for a number, a number
    for a text or a date. ``null`` for an argument that has a default and cannot be ``None`` counts as absent.

    Args:
        text: the arguments as the model wrote them; nothing at all counts as ``{}``.
        arguments: what the function takes.
        name: the function's name.

    Raises:
        ArgumentsError: what is wrong with which argument, what was expected and what came.
    """
    reader = _Reader(arguments.loose, name)
    value = reader.object_in(text)
    cleaned = reader.cleaned(value)
    from pydantic import ValidationError

    checked: dict[str, Any] = {}
    place: list[str] = []
    try:
        checked = arguments.adapter.validate_python(cleaned)
        # Pydantic checks the items of an Iterable only when they are taken.
        for key, found in checked.items():
            if type(found).__name__ == "ValidatorIterator":
                place = [key]
                checked[key] = list(found)
    except ValidationError as error:
        reader.note_all(error, cleaned, place)
    reader.raise_problems()
    return checked


class _Reader:
    """Walks one value along Pydantic's schema and collects what is wrong, each with the place where it is."""

    def __init__(self, schema: dict[str, Any], name: str) -> None:
        self._schema = schema
        self._name = name
        self._problems: dict[str, str] = {}

    # -- from text to an object ---------------------------------------------------------------------------------

    def object_in(self, text: str) -> dict[str, Any]:
        if len(text) > _LONGEST:
            raise self._unreadable(
                f"have {len(text):,} characters, and at most {_LONGEST:,} are read. Send less"
            )
        if not text.strip():
            return {}
        why = ""
        try:
            value = json.loads(
                text,
                object_pairs_hook=self._pairs,
                parse_constant=_refused_constant,
                parse_float=_finite,
                parse_int=_whole,
            )
        except json.JSONDecodeError as error:
            near = text[max(0, error.pos - 15) : error.pos + 15]
            why = f"are not JSON: {error.msg} at character {error.pos:,} of {len(text):,}, near {_echo(near)}"
        except _Unreadable as error:
            why = str(error)
        except RecursionError:
            why = f"are nested deeper than {_DEEPEST} levels"
        if why:
            raise self._unreadable(f"{why}. Send one JSON object")
        if not isinstance(value, dict):
            raise self._unreadable(f"are not a JSON object but {_echo(value)}. Send {_example(self._schema)}")
        why = _odd_shape(value)
        if why:
            raise self._unreadable(why)
        return value

    def _pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise _Unreadable(f"hold the key {_echo(twice)} twice, so it is not clear which value counts")
        return found

    def _unreadable(self, why: str) -> ArgumentsError:
        return ArgumentsError(f"The arguments of {self._name} {why}.")

    # -- what Pydantic would let pass ---------------------------------------------------------------------------

    def cleaned(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return the value without the nulls that stand for a default; note what Pydantic would take too easily."""
        cleaned = self._clean(value, self._schema, "")
        assert isinstance(cleaned, dict)
        return cleaned

    def _clean(self, value: Any, schema: object, where: str) -> Any:
        fitting = branches(schema, self._schema)
        if isinstance(value, dict):
            objects = self._object_schemas(value, fitting)
            if len(objects) == 1:
                return self._clean_object(value, objects[0], where)
            # It could be several: only a null that stands for a default in each of them goes.
            return {
                key: item
                for key, item in value.items()
                if item is not None or not objects or not all(self._is_default(key, node) for node in objects)
            }
        if isinstance(value, list):
            arrays = [node for node in fitting if node.get("type") == "array"]
            return self._clean_array(value, arrays[0], where) if len(arrays) == 1 else value
        expected = _expected(value, fitting)
        if expected:
            self._note(where, f"should be {expected}", value)
        return value

    def _clean_object(self, value: dict[str, Any], schema: dict[str, Any], where: str) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        cleaned = {}
        for key, item in value.items():
            place = f"{where}.{key}" if where else key
            if key not in properties:
                if schema.get("additionalProperties", False) is False:
                    known = ", ".join(properties) or "none"
                    whose = where or self._name
                    self._note(place, f"does not belong to {whose}, which takes: {known}", None)
                cleaned[key] = item
            elif item is None and self._is_default(key, schema):
                continue
            else:
                cleaned[key] = self._clean(item, properties[key], place)
        return cleaned

    def _clean_array(self, value: list[Any], schema: dict[str, Any], where: str) -> list[Any]:
        first = schema.get("prefixItems") or []
        return [
            self._clean(
                item, first[place] if place < len(first) else schema.get("items"), f"{where}[{place}]"
            )
            for place, item in enumerate(value)
        ]

    def _is_default(self, key: str, schema: Mapping[str, Any]) -> bool:
        """Return whether ``null`` for this key can only stand for its default."""
        properties = schema.get("properties") or {}
        is_optional = key in properties and key not in schema.get("required", ())
        return is_optional and not takes_null(properties[key], self._schema)

    def _object_schemas(self, value: dict[str, Any], fitting: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the schemas that an object can be meant to fit."""
        objects = [node for node in fitting if node.get("type") == "object"]
        return objects if len(objects) < 2 else [node for node in objects if self._could_be(value, node)]

    def _could_be(self, value: dict[str, Any], node: dict[str, Any]) -> bool:
        properties = node.get("properties") or {}
        if not set(node.get("required", ())) <= set(value) <= set(properties):
            return False
        for key, item in value.items():
            choices = [
                choice
                for branch in branches(properties[key], self._schema)
                for choice in ([branch["const"]] if "const" in branch else branch.get("enum", []))
            ]
            if choices and item not in choices and item is not None:
                return False
        return True

    # -- what is wrong ------------------------------------------------------------------------------------------

    def note_all(self, error: Any, value: dict[str, Any], before: Sequence[str] = ()) -> None:
        """Note the problems that Pydantic found, each at the place that the model can see.

        ``before`` is the way to where Pydantic began.
        """
        for problem in error.errors(include_url=False, include_context=False):
            location = (*before, *problem["loc"])
            path, item = _place(location, value, is_missing=problem["type"] == "missing")
            where = _path(path)
            if problem["type"] == "missing":
                self._note(where, "is missing", None)
                continue
            if problem["type"] == "extra_forbidden":
                continue
            message = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
            if message.startswith("Input should"):
                self._note(where, message.removeprefix("Input "), item)
            else:
                self._note(where, f"is not right: {message}", item)

    def _note(self, where: str, what: str, value: Any) -> None:
        came = "" if value is None and not what.startswith("should") else f" (it was {_echo(value)})"
        self._problems.setdefault(where, f"{where or 'the whole'} {what}{came}")

    def raise_problems(self) -> None:
        problems = list(self._problems.values())
        if not problems:
            return
        more = len(problems) - _MOST_PROBLEMS
        told = "; ".join(problems[:_MOST_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
        raise ArgumentsError(f"The arguments of {self._name} do not fit: {told}.")


def _expected(value: Any, fitting: Sequence[Mapping[str, Any]]) -> str:
    """Return what a text, number or truth value should have been; ``""`` if it may be what it is.

    Only what Pydantic would convert without a word is looked at; the rest is for Pydantic to say.
    """
    kinds = {kind for node in fitting for kind in _kinds(node)}
    formats = {str(node.get("format")) for node in fitting if node.get("type") == "string"}
    a_text = _TIMES.get(min(formats, default=""), "a text") if len(formats) == 1 else "a text"
    if isinstance(value, bool):
        return "" if "boolean" in kinds or not kinds else _named(kinds, a_text)
    if isinstance(value, int | float):
        fits = kinds & {"integer", "number"} or not kinds & {"boolean", "string"}
        return "" if fits else _named(kinds, a_text)
    if not isinstance(value, str):
        return ""
    if "string" in kinds:
        # Pydantic reads digits as the seconds since 1970.
        return a_text if a_text != "a text" and _DIGITS.fullmatch(value) else ""
    if kinds & {"integer", "number"}:
        is_number = _NUMBER.fullmatch(value) and len(value) < 400 and math.isfinite(float(value))
        return "" if is_number else _named(kinds, a_text)
    if "boolean" in kinds:
        return "" if value.strip().lower() in ("true", "false") else _named(kinds, a_text)
    return ""


def _kinds(node: Mapping[str, Any]) -> list[str]:
    """Return the JSON types that a schema takes."""
    if "const" in node or "enum" in node:
        values = [node["const"]] if "const" in node else node["enum"]
        names = {bool: "boolean", int: "integer", float: "number", str: "string"}
        return [names[type(value)] for value in values if type(value) in names]
    kind = node.get("type")
    return [str(kind)] if kind else []


def _named(kinds: set[str], a_text: str) -> str:
    """Return the names of types as one would say them."""
    names = {
        "integer": "a whole number",
        "number": "a number",
        "string": a_text,
        "boolean": "true or false",
        "array": "a list",
        "object": "an object",
        "null": "null",
    }
    return " or ".join(name for kind, name in names.items() if kind in kinds)


def _place(location: Sequence[int | str], value: Any, *, is_missing: bool) -> tuple[list[int | str], Any]:
    """Return the part of Pydantic's location that is in the value (it also names branches of unions), and what is there."""
    path: list[int | str] = []
    for number, step in enumerate(location):
        is_item = isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value)
        if is_item or (isinstance(value, dict) and step in value):
            value = value[step]
        elif is_missing and number == len(location) - 1:
            value = None
        else:
            continue
        path.append(step)
    return path, value


def _path(steps: Sequence[int | str]) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return _shortened(text.removeprefix("."))


def _echo(value: Any) -> str:
    """Return a value as JSON, short enough to be read."""
    if isinstance(value, str) and len(value) > _LONGEST_ECHO:
        return f"{_echo(value[:_LONGEST_ECHO])} and so on"
    return _shortened(json.dumps(value, ensure_ascii=False, default=str))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_ECHO + 10 else f"{text[:_LONGEST_ECHO]}…"


def _example(schema: Mapping[str, Any]) -> str:
    keys = ", ".join(f'"{key}": …' for key in list(schema.get("properties") or {})[:3])
    return f"an object such as {{{keys}}}" if keys else "{}"


def _odd_shape(value: Any) -> str:
    """Say what makes a value useless although it is JSON; ``""`` if nothing does."""
    waiting = [(value, 1)]
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, str) and _HALF_CHARACTER.search(node):
            return "hold half of a character (a lone surrogate). Send whole characters"
        inner = [*node, *node.values()] if isinstance(node, dict) else node if isinstance(node, list) else []
        if inner and depth > _DEEPEST:
            return f"are nested deeper than {_DEEPEST} levels. Send one flat JSON object"
        waiting.extend((item, depth + 1) for item in inner)
    return ""


class _Unreadable(Exception):
    """Something in the JSON that has no one meaning; the text goes on after "The arguments of … "."""


def _refused_constant(name: str) -> Any:
    raise _Unreadable(f"hold {name}, which is no number in JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _Unreadable(f"hold a number that is too large ({text[:20]})")
    return value


def _whole(text: str) -> int:
    if len(text) > 300:
        raise _Unreadable(f"hold a number of {len(text):,} digits")
    return int(text)
