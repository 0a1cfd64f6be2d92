"""Arguments: what a model's JSON becomes, and what it is told when it does not fit."""

import dataclasses
import datetime
import enum
import json
from collections.abc import Iterable
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, Field

from helpers.arguments import read_arguments
from helpers.errors import ArgumentsError
from helpers.schemas import arguments_of


class Unit(enum.Enum):
    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


@dataclasses.dataclass
class Order:
    item: str
    count: int = 1
    unit: Unit = Unit.CELSIUS
    note: str | None = "none"


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    lives: int = 1


class Node(BaseModel):
    name: str
    children: list["Node"] = []


def even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even")
    return value


def everything(
    text: str = "",
    limit: Annotated[int, Field(ge=1, le=10)] = 5,
    share: float = 0.5,
    exact: bool = False,
    unit: Unit = Unit.CELSIUS,
    kind: Literal["a", "b"] = "a",
    day: datetime.date | None = None,
    when: datetime.datetime | None = None,
    maybe: int | None = 7,
    order: Order | None = None,
    orders: list[Order] = [],  # noqa: B006 - never changed
    animal: Cat | Dog = Cat(),  # noqa: B008 - never changed
    tree: Node | None = None,
    pair: tuple[float, float] = (0, 0),
    tags: set[str] = frozenset(),
    numbers: Iterable[int] = (),
    word: Annotated[str, Field(min_length=2)] = "ab",
    twice: Annotated[int, AfterValidator(even)] = 2,
    either: int | str = 0,
): ...


EVERYTHING = arguments_of(everything, "everything", {})


def needs(query: str, limit: int = 3): ...


NEEDS = arguments_of(needs, "needs", {})


def read(value, arguments=EVERYTHING, name="everything"):
    return read_arguments(value if isinstance(value, str) else json.dumps(value), arguments, name)


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        ({"text": "hello"}, {"text": "hello"}),
        ({"limit": "3"}, {"limit": 3}),
        ({"limit": 3.0}, {"limit": 3}),
        ({"share": "0.25"}, {"share": 0.25}),
        ({"share": 1}, {"share": 1.0}),
        ({"exact": "True"}, {"exact": True}),
        ({"unit": "fahrenheit"}, {"unit": Unit.FAHRENHEIT}),
        ({"day": "2019-02-14"}, {"day": datetime.date(2019, 2, 14)}),
        ({"when": "2019-02-14T09:00:00"}, {"when": datetime.datetime(2019, 2, 14, 9)}),
        ({"pair": [1, "2"]}, {"pair": (1.0, 2.0)}),
        ({"tags": ["a", "b", "a"]}, {"tags": {"a", "b"}}),
        ({"numbers": [1, "2"]}, {"numbers": [1, 2]}),
        ({"either": 3}, {"either": 3}),
        ({"either": "3"}, {"either": "3"}),
        ({"order": {"item": "tea"}}, {"order": Order("tea")}),
        ({"animal": {"kind": "dog", "lives": "2"}}, {"animal": Dog(lives=2)}),
        (
            {"tree": {"name": "a", "children": [{"name": "b"}]}},
            {"tree": Node(name="a", children=[Node(name="b")])},
        ),
    ],
    ids=str,
)
def test_what_is_meant_is_taken(sent, got):
    assert read(sent) == got


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        # Absent: the function's own default is used. None only where the type says so.
        ({"text": None, "limit": None, "unit": None, "orders": None}, {}),
        ({"maybe": None, "day": None}, {"maybe": None, "day": None}),
        (
            {"orders": [{"item": "tea", "count": None, "unit": None, "note": None}]},
            {"orders": [Order("tea", note=None)]},
        ),
        ({"animal": {"kind": "dog", "lives": None}}, {"animal": Dog()}),
        ({"animal": {"kind": None, "lives": 3}}, {"animal": Cat(lives=3)}),
        (
            {"tree": {"name": "a", "children": [{"name": "b", "children": None}]}},
            {"tree": Node(name="a", children=[Node(name="b")])},
        ),
        ("", {}),
        (" \n", {}),
        ("{}", {}),
    ],
    ids=str,
)
def test_null_stands_for_a_default(sent, got):
    assert read(sent) == got


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"text": 3}, "text should be a text (it was 3)"),
        ({"text": True}, "text should be a text (it was true)"),
        ({"limit": True}, "limit should be a whole number (it was true)"),
        ({"limit": "many"}, 'limit should be a whole number (it was "many")'),
        ({"limit": 3.5}, "limit should be a valid integer, got a number with a fractional part (it was 3.5)"),
        ({"limit": 11}, "limit should be less than or equal to 10 (it was 11)"),
        ({"limit": [1]}, "limit should be a valid integer (it was [1])"),
        ({"share": "nan"}, 'share should be a number (it was "nan")'),
        ({"share": "1e999"}, 'share should be a number (it was "1e999")'),
        ({"exact": 1}, "exact should be true or false (it was 1)"),
        ({"exact": "yes"}, 'exact should be true or false (it was "yes")'),
        ({"unit": "kelvin"}, "unit should be 'celsius' or 'fahrenheit' (it was \"kelvin\")"),
        ({"unit": 3}, "unit should be"),
        ({"kind": "c"}, "kind should be 'a' or 'b'"),
        ({"day": 0}, "day should be a date such as 2019-02-14 or null (it was 0)"),
        ({"day": "2019"}, "day should be a date such as 2019-02-14"),
        ({"day": "soon"}, "day should be a valid date"),
        ({"when": "1700000000"}, "when should be a date and time such as 2019-02-14T09:00:00"),
        ({"order": {"count": 2}}, "order.item is missing"),
        (
            {"order": {"item": "tea", "colour": "red"}},
            "order.colour does not belong to order, which takes: item, count, unit, note",
        ),
        ({"orders": [{"item": "tea"}, {"item": 3}]}, "orders[1].item should be a text (it was 3)"),
        ({"orders": {"item": "tea"}}, "orders should be a valid list"),
        ({"pair": [1]}, "pair[1] is missing"),
        ({"numbers": [1, "x"]}, 'numbers[1] should be a whole number (it was "x")'),
        ({"numbers": [1, None]}, "numbers[1] should be a valid integer (it was null)"),
        ({"word": "a"}, "word is not right: String should have at least 2 characters"),
        ({"twice": 3}, "twice is not right: must be even (it was 3)"),
        ({"colour": "red"}, "colour does not belong to everything, which takes: text, limit"),
        ({"tree": {"name": "a", "children": [{"name": 1}]}}, "tree.children[0].name should be a text"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_told_with_its_place(sent, told):
    with pytest.raises(ArgumentsError) as caught:
        read(sent)
    assert told in str(caught.value)
    assert "pydantic" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_problems_are_told_at_once():
    with pytest.raises(ArgumentsError) as caught:
        read({"limit": "x", "colour": 1}, NEEDS, "needs")
    assert str(caught.value) == (
        'The arguments of needs do not fit: limit should be a whole number (it was "x"); colour does not belong to needs, '
        "which takes: query, limit; query is missing."
    )


def test_but_not_a_hundred_of_them():
    with pytest.raises(ArgumentsError, match="and 95 more") as caught:
        read({f"colour_{number}": 1 for number in range(100)})
    assert len(str(caught.value)) < 3_000


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("{", "are not JSON"),
        ("{'text': 'a'}", "are not JSON"),
        ('{"text": "a",}', "are not JSON"),
        ('{"text": "a"} and more', "are not JSON"),
        ("__import__('os').abort()", "are not JSON"),
        ("[]", "are not a JSON object but []. Send an object such as"),
        ('"{}"', 'not a JSON object but "{}"'),
        ("null", "not a JSON object but null"),
        ("3", "not a JSON object but 3"),
        ('{"share": NaN}', "hold NaN"),
        ('{"share": -Infinity}', "hold -Infinity"),
        ('{"share": 1e999}', "too large"),
        ('{"limit": ' + "9" * 5_000 + "}", "a number of 5,000 digits"),
        ('{"text": "a", "text": "b"}', 'the key "text" twice'),
        ('{"order": {"item": "a", "item": "b"}}', 'the key "item" twice'),
        ("[" * 100_000, "nested deeper than 50"),
        ('{"text": ' + "[" * 60 + "]" * 60 + "}", "nested deeper than 50"),
        ('{"text": "\\ud800"}', "half of a character"),
        ('{"\\udfff": 1}', "half of a character"),
        ('{"text": "' + "x" * 1_000_000 + '"}', "have 1,000,012 characters, and at most 200,000 are read"),
    ],
    ids=lambda value: value[:30],
)
def test_what_is_no_json_object_with_one_meaning(sent, told):
    with pytest.raises(ArgumentsError) as caught:
        read(sent)
    assert told in str(caught.value)
    assert str(caught.value).startswith("The arguments of everything ")
    assert len(str(caught.value)) < 400


def test_a_long_value_is_not_echoed_whole():
    with pytest.raises(ArgumentsError) as caught:
        read({"limit": "x" * 100_000})
    assert len(str(caught.value)) < 300


def test_a_secret_is_not_echoed(monkeypatch):
    monkeypatch.setenv("SERVICE_TOKEN", "planted-0123456789")
    with pytest.raises(ArgumentsError) as caught:
        read({"limit": "planted-0123456789"})
    assert "planted" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
arguments_like = st.dictionaries(
    st.sampled_from([*EVERYTHING.parameters["properties"], "item", "other"]), json_values, max_size=5
)


@settings(deadline=None)
@given(st.one_of(st.text(), json_values.map(json.dumps), arguments_like.map(json.dumps)))
def test_any_text_is_read_or_refused_in_words(text):
    found, refusal = {}, ""
    try:
        found = read(text)
    except ArgumentsError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith("The arguments of everything ")
    else:
        assert set(found) <= set(EVERYTHING.parameters["properties"])
        for key, kind in (("limit", int), ("text", str), ("exact", bool), ("unit", Unit)):
            assert type(found.get(key, None)) in (kind, type(None))


def what_strict_mode_allows(schema, root):
    """Return a strategy for the values that fit a strict schema: what a model can send at all."""
    if "$ref" in schema:
        return st.deferred(
            lambda: what_strict_mode_allows(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
        )
    if "anyOf" in schema:
        return st.one_of([what_strict_mode_allows(option, root) for option in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    return st.one_of([of_kind(kind, schema, root) for kind in kinds])


def of_kind(kind, schema, root):
    if kind == "object":
        return st.fixed_dictionaries(
            {key: what_strict_mode_allows(value, root) for key, value in schema["properties"].items()}
        )
    if kind == "array":
        least, most = schema.get("minItems", 0), schema.get("maxItems", 2)
        return st.lists(what_strict_mode_allows(schema["items"], root), min_size=least, max_size=most)
    texts = {"date": st.dates().map(str), "date-time": st.datetimes().map(lambda time: time.isoformat())}
    return {
        "string": texts.get(schema.get("format"), st.text(st.characters(codec="utf-8"))),
        "integer": st.integers(schema.get("minimum"), schema.get("maximum")),
        "number": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**9), 10**9),
        "boolean": st.booleans(),
        "null": st.none(),
    }[kind]


SENDABLE = EVERYTHING.parameters | {
    "properties": {
        key: value
        for key, value in EVERYTHING.parameters["properties"].items()
        if key not in ("word", "twice")  # these two are checked for more than strict mode can say
    }
}


@settings(deadline=None)
@given(what_strict_mode_allows(SENDABLE, SENDABLE))
def test_all_that_strict_mode_lets_a_model_send_is_taken(arguments):
    assert set(read(arguments)) <= set(arguments)


@settings(deadline=None)
@given(arguments_like)
def test_what_was_read_is_read_alike_again(arguments):
    """Conversion settles: the plain values that came out go in again unchanged."""
    try:
        found = read(arguments)
    except ArgumentsError:
        return
    plain = {key: found[key] for key in ("text", "limit", "share", "exact", "maybe") if key in found}
    assert read(plain) == plain
