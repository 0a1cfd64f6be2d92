"""Outputs: what a model gets of what a function returned, how long it is, and what has no text."""

import asyncio
import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import uuid
from collections import OrderedDict, deque, namedtuple

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel

from helpers.outputs import NOTHING_RETURNED, NoOutput, cut_text, output_text


class Unit(enum.Enum):
    CELSIUS = "celsius"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Point:
    x: float
    inner: object = None


class Hit(BaseModel):
    title: str
    day: datetime.date


class Hits(RootModel[list[Hit]]):
    pass


Pair = namedtuple("Pair", "first second")


def written(value, most_characters=20_000):
    return output_text(value, most_characters)[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('As it is: "é" 中\n{}', 'As it is: "é" 中\n{}'),
        ("", ""),
        (None, NOTHING_RETURNED),
        (True, "true"),
        (3, "3"),
        (0.5, "0.5"),
        (math.nan, "NaN"),
        ([math.nan, math.inf, -math.inf], '["NaN", "Infinity", "-Infinity"]'),
        ({"a": [1, None, "é"]}, '{"a": [1, null, "é"]}'),
        ((1, 2), "[1, 2]"),
        (deque([1]), "[1]"),
        (range(3), "[0, 1, 2]"),
        ({"b": 1}.values(), "[1]"),
        ({3, 1, 2}, "[1, 2, 3]"),
        ({"a", 1}, '[1, "a"]'),
        (OrderedDict(a=1), '{"a": 1}'),
        (
            {1: "a", None: "b", (1, 2): "c", Unit.CELSIUS: "d"},
            '{"1": "a", "null": "b", "[1, 2]": "c", "celsius": "d"}',
        ),
        (Unit.CELSIUS, "celsius"),
        ([Level.LOW, Unit.CELSIUS], '[1, "celsius"]'),
        (Point(1.5, Point(2, [Unit.CELSIUS])), '{"x": 1.5, "inner": {"x": 2, "inner": ["celsius"]}}'),
        (Pair(1, "b"), '{"first": 1, "second": "b"}'),
        (Hit(title="a", day="2019-02-14"), '{"title": "a", "day": "2019-02-14"}'),
        (Hits([Hit(title="a", day="2019-02-14")]), '[{"title": "a", "day": "2019-02-14"}]'),
        (datetime.date(2019, 2, 14), "2019-02-14"),
        ([datetime.datetime(2019, 2, 14, 9)], '["2019-02-14T09:00:00"]'),
        (datetime.timedelta(hours=3), "3:00:00"),
        (decimal.Decimal("1.10"), "1.10"),
        ([pathlib.PurePosixPath("a/b"), uuid.UUID(int=0)], '["a/b", "00000000-0000-0000-0000-000000000000"]'),
        (numpy.float64(2.5), "2.5"),
        (numpy.int32(3), "3"),
        (numpy.bool_(True), "true"),
        (numpy.float32("nan"), "NaN"),
        (numpy.array([[1, 2], [3, 4]]), "[[1, 2], [3, 4]]"),
        (numpy.array(5), "5"),
        (numpy.datetime64("2019-02-14"), "2019-02-14"),
        (numpy.longdouble(1.5), "1.5"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_the_model_gets(value, text):
    assert output_text(value, 20_000) == (text, False)


class Table:
    """What pandas' DataFrame does, as far as it is used."""

    columns = ("step", "loss")

    def __init__(self, rows):
        self.rows = rows
        self.shape = (len(rows), 2)
        self.index = type("RangeIndex", (), {"name": None})()

    def head(self, count):
        return Table(self.rows[:count])

    def to_csv(self, *, index, lineterminator):
        assert not index
        return lineterminator.join(["step,loss", *(f"{step},{loss}" for step, loss in self.rows), ""])


def test_a_data_frame_is_csv_below_its_shape():
    assert written(Table([(1, 0.5), (2, 0.25)])) == "Table: 2 rows, 2 columns\nstep,loss\n1,0.5\n2,0.25"


def test_a_long_data_frame_ends_at_a_row_and_says_so():
    text, shortened = output_text(Table([(step, 0.5) for step in range(10_000)]), 500)
    lines = text.splitlines()
    assert shortened
    assert len(text) <= 500
    assert lines[0].startswith("Table: 10,000 rows, 2 columns (cut: the first ")
    assert f"the first {len(lines) - 2} follow" in lines[0]
    assert lines[-1] == f"{len(lines) - 3},0.5"


def test_a_data_frame_of_polars():
    class Frame(Table):
        def head(self, count):
            return self

        def write_csv(self):
            return super().to_csv(index=False, lineterminator="\n")

        to_csv = property()

    assert written(Frame([(1, 0.5)])) == "Frame: 1 row, 2 columns\nstep,loss\n1,0.5"


class Silent:
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


def endless():
    loop = {"name": "a"}
    loop["self"] = [loop]
    return loop


def deep():
    value = []
    for _ in range(1_000):
        value = [value]
    return value


async def coroutine(): ...


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"bytes", "^bytes.*Return a text"),
        ([bytearray(b"x")], "^bytes"),
        (endless(), "contains itself"),
        (deep(), "nested deeper"),
        ((number for number in [1]), r"a generator.*list\(…\)"),
        (map(str, [1]), r"a map.*list\(…\)"),
        (coroutine(), "await"),
        (len, "a function. Call it"),
        (Point, "a class"),
        (ValueError("x"), r"raise ValueError\(…\)"),
        (object(), "a object, which has no JSON form"),
        (Silent(), "a Silent"),
        ({"a": [Silent()]}, "a Silent"),
        (asyncio, "a module"),
        (10**5_000, "digits"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_text_is_refused_with_what_to_return(value, why):
    with pytest.raises(NoOutput, match=why):
        output_text(value, 20_000)


def test_a_model_that_cannot_be_written():
    class Holder(BaseModel):
        model_config = {"arbitrary_types_allowed": True}
        thing: Silent

    with pytest.raises(NoOutput, match="could not be written as JSON"):
        output_text(Holder(thing=Silent()), 20_000)


def test_a_long_text_is_cut_at_a_line_and_says_so():
    text, shortened = output_text("A line of words.\n" * 10_000, 1_000)
    assert shortened
    assert len(text) <= 1_000
    *lines, mark = text.splitlines()
    assert mark == "[cut: this is the beginning of 170,000 characters]"
    assert set(lines) == {"A line of words."}


def test_a_long_list_ends_early_and_stays_json():
    text, shortened = output_text(
        [{"title": f"Hit {number}", "body": "words " * 20} for number in range(1_000)], 2_000
    )
    assert shortened
    assert len(text) <= 2_000
    *hits, mark = json.loads(text)
    assert mark == f"[cut: {1_000 - len(hits)} more]"
    assert all(hit["title"].startswith("Hit ") for hit in hits)


def test_a_long_dict_and_a_long_array_end_early_too():
    found = json.loads(written({f"key {number}": number for number in range(1_000)}, 500))
    assert found["[cut]"] == f"{1_000 - len(found) + 1} more"
    *numbers, mark = json.loads(written(numpy.arange(1_000_000), 500))
    assert mark == f"[cut: {1_000_000 - len(numbers):,} more]"


def test_a_long_text_inside_is_cut_and_the_rest_stays():
    found = json.loads(written({"title": "a", "body": "word " * 10_000}, 1_000))
    assert found["title"] == "a"
    assert found["body"].endswith("[cut: this is the beginning of 50,000 characters]")


def test_secrets_do_not_travel(monkeypatch):
    secret = 'planted-"0123456789"\nsecond line'
    monkeypatch.setenv("SERVICE_PASSWORD", secret)
    for value in (secret, [secret], {secret: 1}, Point(0, secret), Table([(1, "planted")])):
        assert "0123456789" not in written(value)
    assert written([secret]) == '["[secret]"]'


@pytest.mark.parametrize("before", range(460, 520))
def test_a_secret_at_the_cut_is_not_halved(before, monkeypatch):
    monkeypatch.setenv("SERVICE_TOKEN", "planted" * 5)
    assert "planted" not in written("x" * before + "planted" * 5 + "y" * 1_000, 500)
    assert "planted" not in written(["x" * before + "planted" * 5 + "y" * 1_000], 500)


def test_halves_of_characters_become_whole_ones():
    assert written("a\ud800b") == "a\ufffdb"
    assert written(["a\ud800b"]).encode() == '["a\ufffdb"]'.encode()


def test_cut_text_leaves_a_short_one_alone():
    assert cut_text("short", 200) == ("short", False)
    assert cut_text("x" * 1_000, 200)[0].startswith("x" * 100)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.dates()
    | st.decimals()
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers() | st.none(), inner)
        | st.tuples(inner, inner)
        | st.builds(Point, st.floats(), inner)
    ),
    max_leaves=40,
)


@settings(deadline=None)
@given(values, st.integers(200, 2_000))
def test_any_value_is_written_within_the_limit_or_refused(value, most_characters):
    try:
        text, _ = output_text(value, most_characters)
    except NoOutput:
        return
    assert len(text) <= most_characters
    text.encode()
