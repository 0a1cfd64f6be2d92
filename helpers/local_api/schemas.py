"""JSON schemas: what strict mode takes, what becomes of a schema where ``strict`` is left out, and whether a text fits.

The words are those of OpenAI's refusals. The rules of strict mode:
https://developers.openai.com/api/docs/guides/structured-outputs. Not here: which field holds the schema (``tools.py``,
``requests.py``).
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from helpers.local_api.errors import shown

_TYPES: Final = ("array", "boolean", "integer", "null", "number", "object", "string")
_NOT_PERMITTED: Final = (
    "allOf",
    "contains",
    "default",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "maxProperties",
    "minProperties",
    "not",
    "oneOf",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
)
_REQUIRED: Final = (
    "'required' is required to be supplied and to be an array including every key in properties."
)
_LONGEST_PLACE: Final = 300
_LONGEST_REASON: Final = 300

Schema = Mapping[str, Any]
Place = tuple[str, ...]


# -- the rules ------------------------------------------------------------------------------------------------------


def problem_in(schema: Schema, *, strict: bool) -> str:
    """Return what OpenAI would say against a schema, or ``""``.

    Args:
        schema: for the arguments of a function, or for an answer.
        strict: whether the rules of strict mode count. Without them only the few that always count.

    Example:
        >>> problem_in({"type": "object", "properties": {}}, strict=True)
        "In context=(), 'additionalProperties' is required to be supplied and to be false."
    """
    if schema.get("type") != "object":
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{shown(schema.get('type'))}\"'."
    for place, node in _nodes(schema):
        problem = _strict_problem(node, schema) if strict else _array_problem(node)
        if problem:
            return f"In context={_shown_place(place)}, {problem}"
    return ""


def _shown_place(place: Place) -> str:
    text = repr(tuple(shown(step) for step in place))
    return text if len(text) <= _LONGEST_PLACE else f"{text[:_LONGEST_PLACE]}...)"


def _nodes(node: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield every schema inside a schema with its place, outermost first."""
    yield place, node
    if not isinstance(node, dict):
        return
    for name in ("properties", "$defs", "definitions"):
        if isinstance(node.get(name), dict):
            for key, inner in node[name].items():
                yield from _nodes(inner, (*place, name, key))
    for name in ("items", "additionalProperties"):
        if isinstance(node.get(name), dict):
            yield from _nodes(node[name], (*place, name))
    if isinstance(node.get("anyOf"), list):
        for index, inner in enumerate(node["anyOf"]):
            yield from _nodes(inner, (*place, "anyOf", str(index)))


def _array_problem(node: Any) -> str:
    is_array = isinstance(node, dict) and node.get("type") == "array"
    return (
        "array schema missing items."
        if is_array and "items" not in node and "prefixItems" not in node
        else ""
    )


def _strict_problem(node: Any, root: Schema) -> str:
    if not isinstance(node, dict):
        return "schema must have a 'type' key."
    if "$ref" in node:
        return _reference_problem(node, root)
    for keyword in _NOT_PERMITTED:
        if keyword in node:
            return f"'{keyword}' is not permitted."
    if "type" not in node:
        return "" if isinstance(node.get("anyOf"), list) else "schema must have a 'type' key."
    types = node["type"] if isinstance(node["type"], list) else [node["type"]]
    for kind in types or [None]:
        if kind not in _TYPES:
            return f"{shown(repr(kind))} is not valid under any of the given schemas."
    return (_object_problem(node) if "object" in types else "") or (
        "array schema missing items." if "array" in types and "items" not in node else ""
    )


def _reference_problem(node: Schema, root: Schema) -> str:
    siblings = sorted(key for key in node if key not in {"$ref", "$defs", "definitions"})
    if siblings:
        names = ", ".join(repr(shown(key)) for key in siblings[:5])
        return f"$ref cannot have keywords {{{names}}}."
    if _target(node["$ref"], root) is None:
        return f"reference to component '{shown(node['$ref'])}' which was not found in the schema."
    return ""


def _target(reference: Any, root: Any) -> Any:
    """Return what a reference inside the same schema points to; ``None`` if there is nothing."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return None
    node = root
    for step in reference.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(node, dict) or key not in node:
            return None
        node = node[key]
    return node if isinstance(node, dict) else None


def _object_problem(node: Schema) -> str:
    properties, required = node.get("properties"), node.get("required")
    if not isinstance(properties, dict):
        return "object schema missing properties."
    if node.get("additionalProperties") is not False:
        return "'additionalProperties' is required to be supplied and to be false."
    if required is None and not properties:
        return ""
    if not isinstance(required, list):
        return _REQUIRED
    missing = [key for key in properties if key not in required]
    if missing:
        return f"{_REQUIRED} Missing '{shown(missing[0])}'."
    extra = [key for key in required if not isinstance(key, str) or key not in properties]
    return f"{_REQUIRED} Extra required key '{shown(extra[0])}' supplied." if extra else ""


# -- where ``strict`` is left out -----------------------------------------------------------------------------------


def normalised(schema: Schema) -> tuple[Schema, bool]:
    """Return what becomes of a function's schema where ``strict`` is left out, and whether it is strict then.

    Objects are closed and all their properties required; what cannot be strict even so stays as it is
    (https://developers.openai.com/api/docs/guides/function-calling, and tests/data/real-streams/function_call.json).

    Example:
        >>> normalised({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})[0]
        {'type': 'object', 'properties': {'n': {'type': 'integer'}}, 'required': ['n'], 'additionalProperties': False}
    """
    closed = copy.deepcopy(dict(schema))
    for _, node in _nodes(closed):
        if not isinstance(node, dict) or not isinstance(node.get("properties"), dict):
            continue
        node.setdefault("additionalProperties", False)
        if node["properties"]:
            node["required"] = list(node["properties"])
    return (schema, False) if problem_in(closed, strict=True) else (closed, True)


# -- arguments ------------------------------------------------------------------------------------------------------


def takes(schema: Any, kind: str) -> bool:
    """Return whether a schema takes values of a type such as ``"null"``, as far as it says so directly.

    Example:
        >>> takes({"anyOf": [{"type": "string"}, {"type": "null"}]}, "null")
        True
    """
    if not isinstance(schema, dict):
        return False
    types = schema.get("type")
    if types == kind or (isinstance(types, list) and kind in types):
        return True
    branches = schema.get("anyOf")
    return isinstance(branches, list) and any(takes(branch, kind) for branch in branches)


def properties_of(schema: Schema | None) -> dict[str, Any]:
    """Return the properties of an object's schema."""
    properties = (schema or {}).get("properties")
    return properties if isinstance(properties, dict) else {}


def required_in(schema: Schema | None) -> list[str]:
    """Return the names of the properties that must be there."""
    required = (schema or {}).get("required")
    return [name for name in required if isinstance(name, str)] if isinstance(required, list) else []


# -- answers --------------------------------------------------------------------------------------------------------


def schema_error(schema: Schema) -> str:
    """Return why something is no JSON schema at all, or ``""``."""
    # The library takes a moment to import, and few requests ask for a schema.
    import jsonschema

    try:
        jsonschema.Draft202012Validator.check_schema(dict(schema))
    except jsonschema.SchemaError as error:
        return f"{_cut(error.message)}."
    except RecursionError:
        return "it is nested too deeply."
    for _, node in _nodes(schema):
        if isinstance(node, dict) and "$ref" in node and _target(node["$ref"], schema) is None:
            return f"reference to component '{shown(node['$ref'])}' which was not found in the schema."
    return ""


def misfit(text: str, form: Mapping[str, Any]) -> str:
    """Return why a text is not an answer in the form that was asked for, or ``""``.

    Args:
        text: the whole answer.
        form: ``text.format`` of a request, checked.

    Example:
        >>> misfit("[1]", {"type": "json_object"})
        'it is JSON, but no object'
    """
    if form["type"] == "text":
        return ""
    try:
        value = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return "it is not JSON"
    if form["type"] == "json_object":
        return "" if isinstance(value, dict) else "it is JSON, but no object"
    return _schema_misfit(value, form)


def _schema_misfit(value: Any, form: Mapping[str, Any]) -> str:
    import jsonschema
    import referencing

    # A registry without a way to fetch anything: no schema may make this process open a connection.
    validator = jsonschema.Draft202012Validator(form["schema"], registry=referencing.Registry())
    try:
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
    except (RecursionError, re.error, referencing.exceptions.Unresolvable) as problem:
        return f"the schema '{form['name']}' cannot be followed ({type(problem).__name__})"
    if error is None:
        return ""
    return f"it does not fit the schema '{form['name']}': {_cut(error.message)} (at {_cut(error.json_path)})"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"


def _refused(constant: str) -> Any:
    raise ValueError(constant)
