"""Walks a JSON schema and says where it breaks the rules of OpenAI's strict mode.

Written from the rules in https://developers.openai.com/api/docs/guides/structured-outputs, apart from the code that makes
the schemas, so that the two can disagree. The local API's own check is asked as well.
"""

import json

from helpers.local_api.schemas import problem_in

_COMMON = {"type", "description", "enum", "anyOf", "$ref", "$defs"}
_FOR_TYPE = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"pattern", "format"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "boolean": set(),
    "null": set(),
}
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
_PYTHON = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
    "object": dict,
    "array": list,
}


def problems(schema):
    """Return what is wrong with the parameters of a strict function; an empty list if nothing is."""
    if schema.get("type") != "object" or "anyOf" in schema:
        return ["$: the root must be an object"]
    json.dumps(schema, allow_nan=False)
    refusal = problem_in(schema, strict=True)
    return [*_walk(schema, "$", schema, 0), *([f"the local API: {refusal}"] if refusal else [])]


def _walk(node, where, root, level):
    if not isinstance(node, dict) or not node:
        yield f"{where}: no schema"
        return
    if "$ref" in node:
        if set(node) != {"$ref"}:
            yield f"{where}: {sorted(node)} beside $ref"
        if node["$ref"].removeprefix("#/$defs/") not in root.get("$defs", {}):
            yield f"{where}: {node['$ref']} leads nowhere"
        return
    if "anyOf" in node:
        if set(node) - {"anyOf", "description"}:
            yield f"{where}: {sorted(node)} beside anyOf"
        for place, option in enumerate(node["anyOf"]):
            yield from _walk(option, f"{where}|{place}", root, level)
        return
    kinds = node.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not kinds or not set(kinds) <= set(_FOR_TYPE):
        yield f"{where}: type {kinds}"
        return
    allowed = _COMMON.union(*(_FOR_TYPE[kind] for kind in kinds))
    if set(node) - allowed:
        yield f"{where}: {sorted(set(node) - allowed)} is not known to strict mode"
    if "$defs" in node and node is not root:
        yield f"{where}: $defs below the root"
    for value in node.get("enum", []):
        if not any(
            isinstance(value, _PYTHON[kind]) and (kind == "boolean") == isinstance(value, bool)
            for kind in kinds
        ):
            yield f"{where}: {value!r} is no {kinds}"
    if "format" in node and node["format"] not in _FORMATS:
        yield f"{where}: format {node['format']}"
    if (
        "(?=" in node.get("pattern", "")
        or "(?!" in node.get("pattern", "")
        or "(?<" in node.get("pattern", "")
    ):
        yield f"{where}: a pattern that looks around"
    if "array" in kinds:
        yield from _walk(node.get("items"), f"{where}[]", root, level)
    if "object" in kinds:
        properties = node.get("properties")
        if not isinstance(properties, dict) or node.get("additionalProperties") is not False:
            yield f"{where}: the object is open"
            return
        if list(properties) != node.get("required"):
            yield f"{where}: not every property is required"
        if level >= 10:
            yield f"{where}: more than ten levels"
            return
        for key, value in properties.items():
            yield from _walk(value, f"{where}.{key}", root, level + 1)
        for key, value in node.get("$defs", {}).items():
            yield from _walk(value, f"$defs.{key}", root, level)
