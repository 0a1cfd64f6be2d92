"""From a function's signature to a JSON schema that OpenAI's strict mode takes.

Here lives the reading of types (Pydantic does it) and the rewriting of Pydantic's schema: closed objects, every property
required, nothing that strict mode does not know. What it cannot say is refused with a reason. Not here: what a model
sends (``arguments.py``), and calling the function (``functions.py``).
"""

from __future__ import annotations

import copy
import functools
import inspect
import json
import operator
import re
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from helpers.errors import ConfigurationError, redact

__all__ = ["Arguments", "arguments_of", "branches", "definition", "function_behind", "takes_null"]

# What strict mode knows, from "Supported schemas" in https://developers.openai.com/api/docs/guides/structured-outputs
# (read 2026-11-29). minLength, maxLength and uniqueItems are not in it.
_KEPT: Final[Mapping[str, tuple[str, ...]]] = {
    "string": ("pattern", "format"),
    "number": ("multipleOf", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"),
    "integer": ("multipleOf", "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"),
    "array": ("minItems", "maxItems"),
}
_FORMATS: Final = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
_LOOK_AROUND: Final = re.compile(r"\(\?(?:[=!]|<[=!])")
_MOST_LEVELS: Final = 10
_MOST_PROPERTIES: Final = 5_000
_MOST_ENUM_VALUES: Final = 1_000
_LONGEST_DEFAULT: Final = 60


@dataclass(frozen=True)
class Arguments:
    """The arguments of a function: what the model is told of them, and what checks them."""

    parameters: dict[str, Any]
    """The strict schema."""
    loose: dict[str, Any]
    """Pydantic's own schema, which still tells an optional property from one that may be null."""
    adapter: Any
    """A ``pydantic.TypeAdapter`` that turns a dict of arguments into checked ones."""


@dataclass(frozen=True)
class _Parameter:
    name: str
    annotation: Any
    is_required: bool
    default: Any


def arguments_of(function: Callable[..., Any], name: str, said: Mapping[str, str]) -> Arguments:
    """Return the arguments of a function: a strict schema, and what checks them.

    Args:
        function: what will be called, with keyword arguments only.
        name: how errors call it.
        said: what its docstring says of its parameters.

    Raises:
        ConfigurationError: which parameter strict mode cannot express, why, and what to write instead.
    """
    import pydantic
    import typing_extensions

    fields: dict[str, Any] = {}
    parameters = _parameters(function, name)
    for parameter in parameters:
        annotation = _described(parameter, name, said.get(parameter.name, ""))
        _check_type(parameter.name, annotation, name)
        kind = typing_extensions.Required if parameter.is_required else typing_extensions.NotRequired
        fields[parameter.name] = kind[annotation]
    # A TypedDict, not a model: any name is allowed in it, and what is absent stays absent, so that the function's own
    # default is used.
    make: Any = typing_extensions.TypedDict
    made = make("Arguments", fields)
    made.__pydantic_config__ = pydantic.ConfigDict(extra="forbid")
    adapter: Any = pydantic.TypeAdapter(made)
    loose = adapter.json_schema(schema_generator=_quiet_generator())
    strict = _Strict(loose, name).schema()
    for parameter in parameters:
        if not parameter.is_required:
            _tell_default(strict["properties"][parameter.name], parameter.default)
    return Arguments(strict, loose, adapter)


def function_behind(function: Callable[..., Any]) -> Any:
    """Return the function that holds the name, the docstring and the types: behind partials and ``__call__``."""
    found: Any = function
    while isinstance(found, functools.partial):
        found = found.func
    if not hasattr(found, "__name__") and not inspect.isroutine(found):
        found = type(found).__call__
    return found


# -- the signature --------------------------------------------------------------------------------------------------


def _parameters(function: Callable[..., Any], name: str) -> list[_Parameter]:
    try:
        signature = inspect.signature(function)
    except NameError as error:  # Python 3.14 looks annotations up here
        raise _unknown_type(name, str(error)) from None
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"Python does not tell the parameters of {name}. Write a function of your own that calls it."
        ) from None
    given = function.keywords if isinstance(function, functools.partial) else {}
    # What a partial has filled in is not the model's business.
    wanted = [parameter for parameter in signature.parameters.values() if parameter.name not in given]
    return [_checked_parameter(parameter, function, name) for parameter in wanted]


def _checked_parameter(parameter: inspect.Parameter, function: Callable[..., Any], name: str) -> _Parameter:
    what = f"The parameter {parameter.name} of {name}"
    if parameter.kind is parameter.VAR_POSITIONAL:
        raise ConfigurationError(
            f"{name} takes *{parameter.name}, and a model can only send arguments that have a name. Write a list, such as "
            f"{parameter.name}: list[str]; above a decorator's wrapper, write @functools.wraps(function)."
        )
    if parameter.kind is parameter.VAR_KEYWORD:
        raise ConfigurationError(
            f"{name} takes **{parameter.name}, and strict mode wants the name of every argument. Write each as a parameter "
            "of its own; above a decorator's wrapper, write @functools.wraps(function)."
        )
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise ConfigurationError(
            f"{what} is positional-only, and a model sends arguments by name. Write a function without the / in its "
            "signature."
        )
    if parameter.annotation is parameter.empty:
        if parameter.name in ("self", "cls"):
            raise ConfigurationError(
                f"{name} is a method without its object. Give it bound to one: Thing().{name}, not Thing.{name}."
            )
        raise ConfigurationError(
            f"{what} has no type, so the model cannot know what to send. Write one, such as {parameter.name}: str."
        )
    if type(parameter.default).__name__ == "FieldInfo":
        raise ConfigurationError(
            f"{what} has Field(…) as its default, which is also what your own calls get. Write "
            f"{parameter.name}: Annotated[its type, Field(…)], and the default after it."
        )
    return _Parameter(
        parameter.name,
        _looked_up(parameter, function, name),
        parameter.default is parameter.empty,
        parameter.default,
    )


def _looked_up(parameter: inspect.Parameter, function: Callable[..., Any], name: str) -> Any:
    """Return the annotation as a type: ``from __future__ import annotations`` makes texts of them."""
    behind = inspect.unwrap(function_behind(function))
    known: dict[str, Any] = getattr(behind, "__globals__", {})

    def holder() -> None:
        """Hold one annotation, because the others (the result's, say) may not be known at all."""

    holder.__annotations__ = {parameter.name: parameter.annotation}
    try:
        try:
            hints = typing.get_type_hints(holder, known, {}, include_extras=True)
        except NameError:
            hints = typing.get_type_hints(holder, known, _names_around(behind), include_extras=True)
    except NameError as error:
        raise _unknown_type(name, str(error)) from None
    except Exception as error:  # noqa: BLE001 - whatever is wrong with an annotation is told as that
        raise ConfigurationError(
            f"The type of the parameter {parameter.name} of {name} cannot be read ({type(error).__name__}: "
            f"{_one_line(str(error))}). Write one such as {parameter.name}: str."
        ) from None
    return hints[parameter.name]


def _names_around(behind: Any) -> dict[str, Any]:
    """Return the local names of the functions that are running and belong to the same module."""
    names: dict[str, Any] = {}
    frame = sys._getframe(1) if hasattr(sys, "_getframe") else None
    while frame is not None:
        if frame.f_globals is getattr(behind, "__globals__", None):
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names


def _unknown_type(name: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"A type in the signature of {name} is not known ({_one_line(why)}). Import or define it before the function, at "
        "the top of the file or in an earlier cell."
    )


# -- a parameter's type ---------------------------------------------------------------------------------------------


def _described(parameter: _Parameter, name: str, said: str) -> Any:
    """Return the type with its description as Pydantic wants it: a plain text in ``Annotated``, or the docstring's."""
    from pydantic import Field
    from pydantic.fields import FieldInfo

    annotation, metadata = parameter.annotation, []
    if typing.get_origin(annotation) is Annotated:
        annotation, *metadata = typing.get_args(annotation)
    description = ""
    kept: list[Any] = []
    for value in metadata:
        text = value if isinstance(value, str) else getattr(value, "documentation", None)  # PEP 727's Doc
        if isinstance(text, str):
            description = text
            continue
        if isinstance(value, FieldInfo):
            _check_field(parameter.name, value, name)
            description = value.description or description
        kept.append(value)
    # Last, because of two texts Pydantic takes the later one.
    text = inspect.cleandoc(description or said)
    if text:
        kept.append(Field(description=text))
    if not kept:
        return annotation
    return operator.getitem(typing.cast(Any, Annotated), (annotation, *kept))


def _check_field(parameter: str, field: Any, name: str) -> None:
    if not field.is_required():
        raise ConfigurationError(
            f"The parameter {parameter} of {name} has its default inside Field(…), where Python does not look. Write it "
            "after the type: = …"
        )
    if field.alias or field.validation_alias:
        raise ConfigurationError(
            f"The parameter {parameter} of {name} has an alias, and the function would not get it. Give the parameter the "
            "name that the model shall see."
        )


def _check_type(parameter: str, annotation: Any, name: str) -> None:
    """Let Pydantic read one type, so that what it does not like has a parameter's name."""
    import pydantic
    from pydantic.errors import (
        PydanticInvalidForJsonSchema,
        PydanticSchemaGenerationError,
        PydanticUndefinedAnnotation,
        PydanticUserError,
    )

    what = f"The parameter {parameter} of {name}"
    try:
        pydantic.TypeAdapter(annotation).json_schema(schema_generator=_quiet_generator())
        return
    except PydanticUndefinedAnnotation as error:
        why, instead = f"has a type that is not known ({_one_line(str(error.name))})", "Define it before."
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError):
        shown = _type_name(annotation)
        if "callable" in shown.lower():
            why, instead = "is a function, and a model can only send data", "Take a name (str) instead."
        else:
            why = f"has the type {shown}, which a model cannot send"
            instead = f"Take texts, numbers, lists or a dataclass, or fill it in: functools.partial(…, {parameter}=…)."
    except PydanticUserError as error:
        if error.code == "typed-dict-version":
            why, instead = (
                "has a TypedDict of typing",
                "On this Python, import it from typing_extensions instead.",
            )
        else:
            why, instead = f"has a type that Pydantic does not take ({_one_line(str(error))})", "Change it."
    except Exception as error:  # noqa: BLE001 - the schema of a learner's own type is their code
        why = f"has a type without a schema ({type(error).__name__}: {_one_line(str(error))})"
        instead = "Take texts, numbers, lists or a dataclass."
    raise ConfigurationError(f"{what} {why}. {instead}")


@functools.cache
def _quiet_generator() -> Any:
    from pydantic.json_schema import GenerateJsonSchema

    class Quiet(GenerateJsonSchema):
        """Without warnings of defaults that have no JSON: defaults do not travel at all."""

        def __init__(self, *settings: Any, **more: Any) -> None:
            super().__init__(*settings, **more)
            self.ignored_warning_kinds = {"non-serializable-default", "skipped-choice"}

    return Quiet


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    if isinstance(annotation, type):
        return annotation.__name__
    return _one_line(str(annotation).replace("typing.", "").replace("collections.abc.", ""))


def _one_line(text: str, limit: int = 60) -> str:
    line = " ".join(text.split("\n\n")[0].split())
    return line if len(line) <= limit else f"{line[:limit]}…"


# -- the strict schema ----------------------------------------------------------------------------------------------


class _Strict:
    """Rewrites one schema of Pydantic's; ``where`` says in each step which parameter or field it is about."""

    def __init__(self, loose: dict[str, Any], name: str) -> None:
        self._loose = loose
        self._name = name
        self._definitions: dict[str, Any] = {}
        self._open: list[str] = []
        self._properties = 0
        self._enum_values = 0

    def schema(self) -> dict[str, Any]:
        root = self._object(self._loose, "")
        if self._definitions:
            root["$defs"] = self._definitions
        return root

    def _refuse(self, where: str, why: str, instead: str) -> ConfigurationError:
        return ConfigurationError(f"The parameter {where} of {self._name} {why}. {instead}")

    def _node(self, loose: object, where: str, level: int = 1) -> dict[str, Any]:
        if not isinstance(loose, dict):
            loose = {}
        if "$ref" in loose:
            return self._reference(loose, where, level)
        options = loose.get("anyOf") or loose.get("oneOf") or loose.get("allOf")
        described = _description(loose)
        if isinstance(options, list):
            if "allOf" in loose and len(options) != 1:
                raise self._refuse(
                    where, "has to fit several schemas at once", "Use one type that says it all."
                )
            if len(options) == 1:
                return {**self._node(options[0], where, level), **described}
            return _tidied({**described, "anyOf": [self._node(option, where, level) for option in options]})
        if "const" in loose or "enum" in loose:
            return {**self._enum(loose, where), **described}
        kind = loose.get("type")
        if kind == "object":
            return {**self._object(loose, where, level), **described}
        if kind == "array":
            return {"type": "array", **described, **self._array(loose, where, level)}
        if kind in ("string", "number", "integer", "boolean", "null"):
            return {"type": kind, **described, **self._limits(loose, where, kind)}
        raise self._refuse(
            where,
            "may be anything, and strict mode wants a type",
            "Write one, such as str, int or list[str].",
        )

    def _limits(self, loose: dict[str, Any], where: str, kind: str) -> dict[str, Any]:
        if loose.get("format") == "binary":
            raise self._refuse(
                where, "is bytes, and a model can only write text", "Take str, or a file's name."
            )
        kept = {key: loose[key] for key in _KEPT.get(kind, ()) if key in loose}
        if kept.get("format") not in _FORMATS:
            kept.pop("format", None)
        if _LOOK_AROUND.search(str(kept.get("pattern", ""))):
            kept.pop("pattern")
        return kept

    def _enum(self, loose: dict[str, Any], where: str) -> dict[str, Any]:
        values = [loose["const"]] if "const" in loose else list(loose["enum"])
        self._enum_values += len(values)
        if not values:
            raise self._refuse(where, "is an Enum without a member", "Give it members, or take str.")
        if self._enum_values > _MOST_ENUM_VALUES:
            raise self._refuse(
                where,
                f"brings the choices to more than {_MOST_ENUM_VALUES:,}",
                "Take str, and check it yourself.",
            )
        kinds = list(dict.fromkeys(_kind_of(value) for value in values))
        if any(kind in ("object", "array") for kind in kinds):
            raise self._refuse(
                where, "has choices that are no texts or numbers", "Name each choice with a text."
            )
        return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": values}

    def _array(self, loose: dict[str, Any], where: str, level: int) -> dict[str, Any]:
        limits = self._limits(loose, where, "array")
        first = loose.get("prefixItems")
        if first is None:
            items = loose.get("items")
            if not isinstance(items, dict) or not items:
                raise self._refuse(
                    where, "does not say what its items are", "Write it, such as list[str] or list[int]."
                )
            return {"items": self._node(items, f"{where}[]", level), **limits}
        kinds = [self._node(item, f"{where}[]", level) for item in first]
        if not kinds or any(kind != kinds[0] for kind in kinds) or "items" in loose:
            raise self._refuse(
                where,
                "is a tuple of several types, which strict mode cannot say",
                "Use a dataclass, or a list.",
            )
        return {"items": kinds[0], **limits}

    def _object(self, loose: dict[str, Any], where: str, level: int = 0) -> dict[str, Any]:
        if loose.get("additionalProperties", False) is not False or "patternProperties" in loose:
            raise self._refuse(
                where,
                "is a dict with free keys, which strict mode cannot say",
                "Name the keys in a dataclass, or take a list of dataclass objects, each with a name and a value.",
            )
        if level > _MOST_LEVELS:
            raise self._refuse(
                where, f"is nested deeper than the {_MOST_LEVELS} levels of strict mode", "Make it flatter."
            )
        properties: dict[str, Any] = {}
        for key, value in (loose.get("properties") or {}).items():
            self._properties += 1
            if self._properties > _MOST_PROPERTIES:
                raise self._refuse(
                    where, f"brings the fields to more than {_MOST_PROPERTIES:,}", "Leave some out."
                )
            strict = self._node(value, f"{where}.{key}" if where else key, level + 1)
            if key not in loose.get("required", ()) and not takes_null(value, self._loose):
                strict = _nullable(strict)
            properties[key] = strict
        return {
            "type": "object",
            **_description(loose),
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def _reference(self, loose: dict[str, Any], where: str, level: int) -> dict[str, Any]:
        reference = str(loose["$ref"])
        name = reference.rpartition("/")[2]
        target = definition(reference, self._loose)
        described = _description(loose)
        if name in self._open:  # it holds itself
            self._definitions.setdefault(name, {})
        elif name not in self._definitions:
            self._open.append(name)
            strict = self._node(target, where, level)
            self._open.remove(name)
            # Objects are named once and pointed to; a choice or a list reads better where it is used.
            if target.get("type") != "object" and name not in self._definitions:
                return {**strict, **described}
            self._definitions[name] = strict
        # Strict mode takes nothing beside "$ref".
        pointer = {"$ref": f"#/$defs/{name}"}
        return {**described, "anyOf": [pointer]} if described else pointer


def definition(reference: str, root: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reference such as ``#/$defs/Order`` points to; ``{}`` if there is nothing."""
    target = (root.get("$defs") or {}).get(reference.rpartition("/")[2])
    return target if isinstance(target, dict) else {}


def branches(schema: object, root: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the schemas of which a value has to fit one: references followed, unions opened."""
    found: list[dict[str, Any]] = []
    waiting, seen = [schema], set()
    while waiting:
        node = waiting.pop(0)
        if not isinstance(node, dict) or id(node) in seen:
            continue
        seen.add(id(node))
        inner = node.get("anyOf") or node.get("oneOf") or node.get("allOf")
        if "$ref" in node:
            waiting.append(definition(str(node["$ref"]), root))
        elif isinstance(inner, list):
            waiting.extend(inner)
        else:
            found.append(node)
    return found


def takes_null(schema: object, root: Mapping[str, Any]) -> bool:
    """Return whether ``null`` fits a schema."""
    return any(
        node.get("type") == "null"
        or None in node.get("enum", ())
        or ("const" in node and node["const"] is None)
        for node in branches(schema, root)
    )


def _nullable(strict: dict[str, Any]) -> dict[str, Any]:
    return _tidied(
        {
            **_description(strict),
            "anyOf": [
                *(strict["anyOf"] if "anyOf" in strict else [_without_description(strict)]),
                {"type": "null"},
            ],
        }
    )


def _tidied(strict: dict[str, Any]) -> dict[str, Any]:
    """Write "a text or null" the short way, as OpenAI's guides do: ``{"type": ["string", "null"]}``."""
    options = strict["anyOf"]
    others = [option for option in options if option != {"type": "null"}]
    if len(others) != 1 or len(options) != 2:
        return strict
    (other,) = others
    if not isinstance(other.get("type"), str | list) or other["type"] == "object":
        return strict
    kinds = [other["type"]] if isinstance(other["type"], str) else other["type"]
    # The outer description comes from the parameter, an inner one from the type.
    short = {**other, "type": [*kinds, "null"], **_description(strict)}
    if "enum" in short:
        short["enum"] = [*short["enum"], None]
    return short


def _description(schema: Mapping[str, Any]) -> dict[str, Any]:
    text = inspect.cleandoc(str(schema.get("description") or ""))
    return {"description": text} if text else {}


def _without_description(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "description"}


def _kind_of(value: object) -> str:
    for kind, name in (
        (bool, "boolean"),
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        (type(None), "null"),
    ):
        if isinstance(value, kind):
            return name
    return "array" if isinstance(value, list) else "object"


def _tell_default(strict: dict[str, Any], default: Any) -> None:
    """Tell the model what ``null`` stands for: strict mode has no ``default``."""
    if default is None or "default" in strict.get("description", "").lower():
        return
    value = getattr(default, "value", default)
    if not isinstance(value, str | int | float):
        return
    text = redact(json.dumps(value, ensure_ascii=False))
    if len(text) > _LONGEST_DEFAULT:
        return
    before = strict.get("description", "").rstrip()
    if before and before[-1] not in ".!?":
        before += "."
    described = {"description": f"{before} Default: {text}.".strip()}
    reordered = {**{key: strict[key] for key in ("type",) if key in strict}, **described}
    rest = copy.copy(strict)
    strict.clear()
    strict.update({**reordered, **{key: value for key, value in rest.items() if key not in reordered}})
