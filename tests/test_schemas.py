"""Schemas: what each signature becomes in strict mode, and what strict mode cannot say."""

import dataclasses
import datetime
import decimal
import enum
import functools
import pathlib
import sys
import textwrap
import typing
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Optional, TypeVar

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel
from typing_extensions import Doc, TypedDict

from helpers.errors import ConfigurationError
from helpers.schemas import arguments_of
from tests.strict_schema import problems


class Unit(enum.Enum):
    """A unit of temperature."""

    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Order:
    """What somebody wants."""

    item: str
    count: int = 1
    unit: Unit = Unit.CELSIUS


class Node(BaseModel):
    name: str
    children: list["Node"] = []
    parent: Optional["Node"] = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = Field(default_factory=list)


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Row(TypedDict):
    """One row."""

    step: int
    loss: NotRequired[float]


class Point(NamedTuple):
    x: float
    label: str


class NoMember(enum.Enum):
    pass


class Opaque:
    pass


def parameters(function, **said):
    return arguments_of(function, function.__name__, said).parameters


def schema_of(annotation, *, required=True):
    """Return the schema of one parameter with this type."""

    def function(value): ...

    function.__annotations__ = {"value": annotation}
    if not required:
        function.__defaults__ = (None,)
    found = parameters(function)
    assert problems(found) == []
    return found["properties"]["value"]


def test_a_whole_signature():
    def search(query: str, limit: int = 5, *, exact: bool = False):
        """Search."""

    assert parameters(search, query="What to look for.", limit="How many") == {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What to look for."},
            "limit": {"type": ["integer", "null"], "description": "How many. Default: 5."},
            "exact": {"type": ["boolean", "null"], "description": "Default: false."},
        },
        "required": ["query", "limit", "exact"],
        "additionalProperties": False,
    }


def test_a_function_without_parameters():
    def now(): ...

    assert parameters(now) == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (Optional[int], {"type": ["integer", "null"]}),  # noqa: UP045 - people write both
        (list[str] | None, {"type": ["array", "null"], "items": {"type": "string"}}),
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal["a"], {"type": "string", "enum": ["a"]}),
        (Literal[1, "a", None], {"type": ["integer", "string", "null"], "enum": [1, "a", None]}),
        (Level, {"type": "integer", "enum": [1, 2]}),
        (
            Unit,
            {
                "type": "string",
                "enum": ["celsius", "fahrenheit"],
                "description": "A unit of temperature.",
            },
        ),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (set[str], {"type": "array", "items": {"type": "string"}}),
        (frozenset[str], {"type": "array", "items": {"type": "string"}}),
        (Sequence[int], {"type": "array", "items": {"type": "integer"}}),
        (Iterable[int], {"type": "array", "items": {"type": "integer"}}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (
            tuple[float, float],
            {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        ),
        (datetime.date, {"type": "string", "format": "date"}),
        (datetime.datetime, {"type": "string", "format": "date-time"}),
        (datetime.time, {"type": "string", "format": "time"}),
        (datetime.timedelta, {"type": "string", "format": "duration"}),
        (uuid.UUID, {"type": "string", "format": "uuid"}),
        (pathlib.Path, {"type": "string"}),
        (decimal.Decimal, {"anyOf": [{"type": "number"}, {"type": "string"}]}),
        (Annotated[int, Field(ge=1, le=10)], {"type": "integer", "minimum": 1, "maximum": 10}),
        (Annotated[str, Field(pattern="^[a-z]+$")], {"type": "string", "pattern": "^[a-z]+$"}),
        (
            Annotated[list[int], Field(min_length=2)],
            {"type": "array", "items": {"type": "integer"}, "minItems": 2},
        ),
        # What strict mode does not know goes, and is checked when the function is called.
        (Annotated[str, Field(min_length=3, max_length=5)], {"type": "string"}),
        (Annotated[str, Field(json_schema_extra={"pattern": "^(?!x)"})], {"type": "string"}),
        (Annotated[int, Field(examples=[1], title="Number")], {"type": "integer"}),
        (Annotated[int, "How many"], {"type": "integer", "description": "How many"}),
        (Annotated[int, Doc("How many")], {"type": "integer", "description": "How many"}),
        (Annotated[int, Field(description="How many")], {"type": "integer", "description": "How many"}),
        (
            Annotated[int, Field(ge=1, description="How many")] | None,
            {"type": ["integer", "null"], "description": "How many", "minimum": 1},
        ),
    ],
    ids=str,
)
def test_types(annotation, schema):
    assert schema_of(annotation) == schema


def test_what_has_a_default_may_be_null():
    assert schema_of(int, required=False) == {"type": ["integer", "null"]}
    assert schema_of(Literal["a", "b"], required=False) == {
        "type": ["string", "null"],
        "enum": ["a", "b", None],
    }
    assert schema_of(Cat | Dog, required=False)["anyOf"][-1] == {"type": "null"}


def test_nested_models_are_closed_too_and_their_defaults_become_null():
    def book(order: Order, rows: list[Row]): ...

    found = parameters(book, order="the order")
    assert problems(found) == []
    assert found["properties"]["order"] == {
        "description": "the order",
        "anyOf": [{"$ref": "#/$defs/Order"}],
    }
    assert found["$defs"]["Row"]["description"] == "One row."
    assert found["$defs"]["Order"]["properties"]["count"] == {"type": ["integer", "null"]}
    assert found["$defs"]["Row"]["required"] == ["step", "loss"]
    assert found["$defs"]["Row"]["properties"]["loss"] == {"type": ["number", "null"]}


def test_a_class_that_holds_itself():
    def plant(tree: Node, other: Annotated[Node, "Another one"]): ...

    found = parameters(plant)
    assert problems(found) == []
    assert found["$defs"]["Node"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}


class Nest(RootModel[list["Nest | int"]]):
    """A list in a list."""


def test_a_list_that_holds_itself():
    def flatten(nest: Nest, again: Annotated[Nest, "Another one"]): ...

    found = parameters(flatten)
    assert problems(found) == []
    assert found["$defs"]["Nest"]["items"]["anyOf"] == [{"$ref": "#/$defs/Nest"}, {"type": "integer"}]


def test_a_union_that_a_field_decides():
    def feed(animal: Annotated[Cat | Dog, Field(discriminator="kind")]): ...

    found = parameters(feed)
    assert problems(found) == []
    assert [option["$ref"] for option in found["properties"]["animal"]["anyOf"]] == [
        "#/$defs/Cat",
        "#/$defs/Dog",
    ]


def test_the_default_is_told_because_strict_mode_has_no_word_for_it():
    def function(
        text: str = "a",
        unit: Unit = Unit.CELSIUS,
        said: Annotated[int, "By default all"] = 3,
        long: str = "x" * 100,
        nothing: int | None = None,
        several: tuple[int, ...] = (1, 2),
    ): ...

    found = parameters(function)
    assert problems(found) == []
    assert {key: value.get("description") for key, value in found["properties"].items()} == {
        "text": 'Default: "a".',
        "unit": 'A unit of temperature. Default: "celsius".',
        "said": "By default all",
        "long": None,
        "nothing": None,
        "several": None,
    }


def test_a_secret_default_is_not_told(monkeypatch):
    monkeypatch.setenv("SERVICE_TOKEN", "planted-0123456789")

    def call(query: str, token: str = "planted-0123456789"): ...

    assert "planted" not in str(parameters(call))


def test_a_description_of_the_parameter_wins_over_the_docstring():
    def function(a: Annotated[int, "in the type"], b: int): ...

    found = parameters(function, a="in the docstring", b="in the docstring")["properties"]
    assert (found["a"]["description"], found["b"]["description"]) == ("in the type", "in the docstring")


def test_names_that_pydantic_has_itself_are_fine():
    def function(schema: int, model_config: str, copy: str, _hidden: int, json: int = 1): ...

    assert list(parameters(function)["properties"]) == ["schema", "model_config", "copy", "_hidden", "json"]


def test_annotations_that_are_texts(tmp_path, monkeypatch):
    source = """
        from __future__ import annotations
        import enum

        def outer():
            class Colour(enum.Enum):
                RED = "red"

            def paint(what: str, colour: Colour, many: list[Colour] | None = None) -> NotKnownAtAll:
                ...

            return schema(paint)

        def plain(what: str, limit: int = 3) -> AlsoNotKnown:
            ...
    """
    (tmp_path / "written_later.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__("written_later")
    module.schema = parameters
    assert parameters(module.plain)["properties"]["limit"]["type"] == ["integer", "null"]
    assert module.outer()["properties"]["colour"] == {"type": "string", "enum": ["red"]}
    del sys.modules["written_later"]


def test_methods_partials_and_wrapped_functions():
    class Shop:
        def order(self, item: str, count: int = 1): ...

        @classmethod
        def open(cls, city: str): ...

        @staticmethod
        def close(city: str): ...

        def __call__(self, item: str): ...

    def note(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapper

    @note
    @functools.lru_cache
    def wrapped(city: str): ...

    def names(function):
        found = arguments_of(function, "name", {}).parameters
        assert problems(found) == []
        return list(found["properties"])

    assert names(Shop().order) == ["item", "count"]
    assert names(Shop.open) == ["city"]
    assert names(Shop.close) == ["city"]
    assert names(Shop()) == ["item"]
    assert names(wrapped) == ["city"]
    # What a partial has filled in is not the model's business.
    assert names(functools.partial(Shop().order, count=3)) == ["item"]
    assert names(functools.partial(Shop().order, "tea")) == ["count"]
    assert names(functools.partial(functools.partial(Shop().order, "tea"), count=2)) == []


T = TypeVar("T")


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (dict, "dict with free keys"),
        (dict[str, int], "dict with free keys"),
        (list[dict[str, str]], r"value\[\] .*free keys"),
        (Loose, "free keys"),
        (Any, "may be anything"),
        (object, "may be anything"),
        (T, "may be anything"),
        (list, "what its items are"),
        (list[Any], "what its items are"),
        (tuple, "what its items are"),
        (tuple[int, str], "tuple of several types"),
        (Point, "tuple of several types"),
        (bytes, "bytes"),
        (Callable[[int], str], "is a function"),
        (Callable | None, "is a function"),
        (Opaque, "type Opaque"),
        (type, "type type"),
        (NoMember, "without a member"),
        ("Nowhere", "not known"),
        ("1 +", "cannot be read"),
        (Annotated[int, Field(default=3)], "default inside Field"),
        (Annotated[int, Field(alias="other")], "alias"),
        (Literal[tuple(f"choice {number}" for number in range(1001))], "more than 1,000"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_strict_mode_cannot_say_is_refused_with_a_reason(annotation, why):
    with pytest.raises(ConfigurationError, match=why) as caught:
        schema_of(annotation)
    told = str(caught.value)
    assert "function" in told
    assert "\n" not in told
    assert len(told) < 260


def test_the_field_that_cannot_be_said_is_named():
    @dataclasses.dataclass
    class Extra:
        options: dict

    @dataclasses.dataclass
    class Outer:
        extras: list[Extra]

    def save(outer: Outer): ...

    with pytest.raises(ConfigurationError, match=r"The parameter outer\.extras\[\]\.options of save"):
        parameters(save)


def nested(levels):
    model: Any = Row
    for number in range(levels):
        model = TypedDict(f"Level{number}", {"inner": model})  # noqa: UP013 - made in a loop
    return model


def test_more_levels_than_strict_mode_has():
    assert schema_of(nested(8))
    with pytest.raises(ConfigurationError, match="deeper than the 10 levels"):
        schema_of(nested(11))


def test_more_fields_than_strict_mode_has():
    wide = TypedDict("Wide", {f"field_{number}": int for number in range(5_001)})
    with pytest.raises(ConfigurationError, match="more than 5,000"):
        schema_of(wide)


def positional_only(a: int, /): ...
def starred(*values: int): ...
def double_starred(**values: int): ...
def without_type(query, limit: int = 3): ...
def field_as_default(limit: int = Field(3, ge=1)): ...


class Thing:
    def do(self, what: str): ...


def unwrapped():
    def wrapper(*args, **kwargs): ...

    return wrapper


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (positional_only, "a of positional_only is positional-only"),
        (len, "positional-only"),
        (starred, r"takes \*values.*Write a list"),
        (double_starred, r"takes \*\*values"),
        (without_type, "query of without_type has no type.*query: str"),
        (field_as_default, r"Annotated\[its type, Field"),
        (Thing.do, r"Thing\(\)\.do"),
        (unwrapped(), r"@functools\.wraps"),
    ],
)
def test_signatures_that_are_refused(function, why):
    with pytest.raises(ConfigurationError, match=why) as caught:
        parameters(function)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 260


def test_a_typed_dict_of_typing_on_an_old_python():
    class Made(typing.TypedDict):
        step: int

    if sys.version_info >= (3, 12):
        assert schema_of(Made)
    else:
        with pytest.raises(ConfigurationError, match="typing_extensions"):
            schema_of(Made)


def test_a_union_of_what_can_be_said_and_what_cannot_is_what_can():
    assert schema_of(int | Callable[[], int]) == {"type": "integer"}
