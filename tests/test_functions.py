"""Functions as tools: what a tool is, and that every call gets one answer, whatever the function does."""

import _thread
import asyncio
import contextvars
import copy
import functools
import json
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseFunctionToolCall

import helpers
from helpers import (
    ConfigurationError,
    FunctionResult,
    FunctionRunner,
    FunctionTool,
    WorkshopError,
    function_tool,
    functions,
)
from helpers.functions import ArgumentsError, FunctionRuns, not_run
from tests.strict_schema import problems

# How long a test waits at most for something that happens at once; reached only when the test fails.
PATIENCE_S = 30


def add(first: int, second: int = 1) -> int:
    """Add two whole numbers.

    Args:
        first: the one to start with.
        second: what to add.
    """
    return first + second


def divide(dividend: float, divisor: float) -> float:
    """Divide one number by another."""
    print("dividing", dividend)
    return dividend / divisor


async def add_later(first: int, second: int = 1) -> int:
    """Add two whole numbers, without haste."""
    await asyncio.sleep(0)
    return first + second


def call(name, arguments="{}", call_id=None):
    """Return a function call as the API sends it."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"type": "function_call", "call_id": call_id or f"call_{name}", "name": name, "arguments": text}


def one(function, arguments="{}", **settings):
    """Run one function once and return its result."""
    runner = FunctionRunner([function], **settings)
    (result,) = runner.run([call(runner.names[0], arguments)])
    return result


def made(body):
    """Return a function named ``made`` that does what ``body`` does."""

    def made() -> str:
        """Do as told."""
        return body()

    return made


def raises(error):
    def body():
        raise error

    return made(body)


# -- a tool ---------------------------------------------------------------------------------------------------------


def test_a_tool_is_what_travels():
    tool = function_tool(add)
    assert tool.param == {
        "type": "function",
        "name": "add",
        "description": "Add two whole numbers.",
        "parameters": {
            "type": "object",
            "properties": {
                "first": {"type": "integer", "description": "the one to start with."},
                "second": {"type": ["integer", "null"], "description": "what to add. Default: 1."},
            },
            "required": ["first", "second"],
            "additionalProperties": False,
        },
        "strict": True,
    }
    assert problems(tool.parameters) == []
    assert json.loads(json.dumps(tool.param)) == tool.param


def test_it_shows_itself_as_the_json_that_travels():
    assert json.loads(repr(function_tool(add).param)) == function_tool(add).param
    assert '\n  "strict": true\n' in repr(function_tool(add).param)


def test_it_shows_its_arguments_and_a_planted_tag_stays_text():
    def search(
        query: Annotated[str, "<b>bold</b>"],
        kind: Literal["news", "text"] | None = None,
        pages: list[int] = (),
    ):
        """Search <script>alert(1)</script>."""

    tool = function_tool(search)
    assert repr(tool).splitlines()[0] == "FunctionTool search: Search <script>alert(1)</script>."
    assert 'kind      "news" or "text" or null' in repr(tool)
    assert "array of integer or null" in repr(tool)
    assert "<script>" not in tool._repr_html_()
    assert "<b>" not in tool._repr_html_()


def test_nothing_that_it_hands_out_changes_it():
    tool = function_tool(add)
    tool.param["parameters"]["properties"].clear()
    tool.parameters["required"].clear()
    assert tool == function_tool(add)
    with pytest.raises(ConfigurationError, match="does not change"):
        tool.name = "subtract"
    with pytest.raises(ConfigurationError):
        del tool.name


def test_the_same_function_makes_the_same_tool():
    assert function_tool(add) == function_tool(add)
    assert len({function_tool(add), function_tool(add)}) == 1
    assert function_tool(add) != function_tool(add, description="Something else.")
    assert function_tool(add) != function_tool(add_later, name="add")
    assert function_tool(function_tool(add)) == function_tool(add)


def test_it_can_be_called_and_used_as_a_decorator():
    @function_tool
    def double(number: int) -> int:
        """Double it."""
        return number * 2

    assert isinstance(double, FunctionTool)
    assert double(4) == 8


def test_name_and_description_can_be_given():
    tool = function_tool(add, name="plus", description="  Add.\n  Always. ")
    assert (tool.name, tool.description) == ("plus", "Add.\nAlways.")
    again = function_tool(tool, name="sum-of")
    assert (again.name, again.description, again.function) == ("sum-of", "Add.\nAlways.", add)
    assert function_tool(lambda: 1, name="one", description="Return 1.").name == "one"


class Shop:
    """A shop with a memory."""

    def order(self, item: str) -> str:
        """Order something."""
        return item

    def __call__(self, item: str) -> str:
        return item


class Clerk:
    def __call__(self, item: str) -> str:
        """Sell something."""
        return item


@pytest.mark.parametrize(
    ("function", "name", "description"),
    [
        (Shop().order, "order", "Order something."),
        (functools.partial(Shop().order), "order", "Order something."),
        (functools.partial(add, second=3), "add", "Add two whole numbers."),
        (Shop(), "Shop", "A shop with a memory."),
        (Clerk(), "Clerk", "Sell something."),
        (functools.lru_cache(add), "add", "Add two whole numbers."),
    ],
    ids=["method", "partial of a method", "partial", "object", "object with a docstring", "wrapped"],
)
def test_what_else_is_a_function(function, name, description):
    tool = function_tool(function)
    assert (tool.name, tool.description) == (name, description)
    assert problems(tool.parameters) == []


def größe(a: int) -> int:
    """Measure."""
    return a


def silent(a: int) -> int:
    return a


def only_sections(a: int) -> int:
    """
    Args:
        a: a number.
    """
    return a


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"function": add, "name": "add numbers"}, "'add numbers' cannot be a function's name: letters"),
        ({"function": add, "name": ""}, "cannot be a function's name"),
        ({"function": add, "name": "a" * 65}, "at most 64"),
        ({"function": add, "name": "add\n"}, "cannot be a function's name"),
        ({"function": add, "name": 3}, "cannot be a function's name"),
        ({"function": größe}, "'größe' cannot be a function's name.*name=…"),
        ({"function": lambda: 1}, "A lambda has no name"),
        ({"function": silent}, "silent has no docstring, and its description is all that the model reads"),
        ({"function": only_sections}, "only_sections has no docstring"),
        ({"function": add, "description": " "}, "must be a text that is not empty"),
        ({"function": add, "description": 3}, "must be a text"),
        ({"function": add(1, 2)}, "made of a function, not of a int"),
        ({"function": "add"}, "not of the text 'add'"),
        ({"function": {"type": "function"}}, "not of a dict"),
        ({"function": Shop}, "Shop is a class"),
        ({"function": Shop.order}, r"Thing\(\)\.order"),
        ({"function": print}, r"takes \*args"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_a_tool_is_refused_in_words(arguments, why):
    with pytest.raises(ConfigurationError, match=why) as caught:
        function_tool(**arguments)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 260


def test_a_tool_is_stored_by_the_name_of_its_function():
    assert pickle.loads(pickle.dumps(function_tool(add, name="plus"))) == function_tool(add, name="plus")
    local = function_tool(made(str))
    with pytest.raises(ConfigurationError, match="made cannot be stored"):
        pickle.dumps(local)
    assert copy.deepcopy({"tool": local}) == {"tool": local}
    assert copy.copy(local) == local


def test_bind_gives_what_the_function_takes():
    assert function_tool(add).bind('{"first": "3", "second": null}') == {"first": 3}
    with pytest.raises(ArgumentsError, match="first is missing") as caught:
        function_tool(add).bind("{}")
    assert isinstance(caught.value, WorkshopError)


def test_a_function_written_in_a_notebook():
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    cell = '''
    from __future__ import annotations
    import enum
    from typing import Annotated
    from helpers import function_tool

    class Size(enum.Enum):
        SMALL = "124M"
        LARGE = "1.5B"

    def layers(size: Size, verbose: Annotated[bool, "Say more?"] = False) -> int:
        """Say how many layers a GPT-2 has."""
        return {"124M": 12, "1.5B": 48}[size.value] // (not verbose)
    '''
    shell.run_cell(textwrap.dedent(cell)).raise_error()
    tool = function_tool(shell.user_ns["layers"])
    assert tool.parameters["properties"]["size"]["enum"] == ["124M", "1.5B"]
    assert one(tool, {"size": "1.5B"}).output == "48"
    failed = one(tool, {"size": "1.5B", "verbose": True})
    assert failed.error == (
        "layers raised ZeroDivisionError: integer division or modulo by zero (line 12 of its cell)."
    )


# -- one call -------------------------------------------------------------------------------------------------------


def test_a_result_answers_its_call():
    result = one(add, {"first": 1})
    assert result == FunctionResult("call_add", "add", '{"first": 1}', "2", duration_ms=result.duration_ms)
    assert result.item() == {"type": "function_call_output", "call_id": "call_add", "output": "2"}
    assert result.duration_ms > 0


def test_a_call_can_be_an_object_of_the_sdk():
    item = ResponseFunctionToolCall(
        type="function_call", call_id="call_1", name="add", arguments='{"first": 1, "second": 2}', id="fc_1"
    )
    assert FunctionRunner([add]).run([item])[0].output == "3"


def told(result):
    """Return the error and the hint that the model gets."""
    output = json.loads(result.output)
    assert list(output) == ["error", "hint"]
    assert output["hint"]
    assert "Traceback" not in result.output
    assert "\n" not in result.error
    return output["error"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("", "first is missing"),
        ("{", "are not JSON"),
        ("[]", "are not a JSON object"),
        ('{"first": "x"}', 'first should be a whole number (it was "x")'),
        ('{"first": 1, "third": 2}', "third does not belong to add"),
        ('{"first": NaN}', "hold NaN"),
        ('{"first": 1, "first": 2}', "twice"),
        ('{"first": ' + "[" * 99_999, "nested deeper"),
        ('{"first": "' + "1" * 1_000_000 + '"}', "have 1,000,013 characters"),
    ],
    ids=lambda value: value[:30],
)
def test_wrong_arguments_become_an_output(arguments, error):
    result = one(add, arguments)
    assert result.status == "wrong_arguments"
    assert error in told(result)
    assert error in result.error
    assert "Call add again" in result.output


def test_an_exception_becomes_an_output_without_a_stack():
    result = one(divide, {"dividend": 1, "divisor": 0})
    line = next(
        number
        for number, text in enumerate(Path(__file__).read_text().splitlines(), 1)
        if "dividend / divisor" in text
    )
    assert result.status == "raised"
    assert told(result) == "divide raised ZeroDivisionError: float division by zero."
    assert result.error == (
        f"divide raised ZeroDivisionError: float division by zero (line {line} of test_functions.py)."
    )
    assert result.printed == "dividing 1.0\n"


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SystemExit(3), "made raised SystemExit: 3."),
        (KeyboardInterrupt(), "made raised KeyboardInterrupt."),
        (asyncio.CancelledError(), "made raised CancelledError."),
        (GeneratorExit(), "made raised GeneratorExit."),
        (MemoryError(), "made raised MemoryError."),
        (Mute(), "made raised Mute."),
        (ValueError("two\nlines"), "made raised ValueError: two lines."),
        (ConfigurationError("The name is empty."), "made failed: The name is empty."),
        (
            ExceptionGroup("several", [ValueError("one")]),
            "made raised ExceptionGroup: several (1 sub-exception).",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("kind", ["plain", "async", "task"])
def test_whatever_a_function_raises_is_its_own_failure(error, words, kind):
    async def body():
        """Do as told."""
        raise error

    function = raises(error) if kind == "plain" else function_tool(body, name="made")
    runner = FunctionRunner([function])
    (result,) = (
        asyncio.run(runner.run_async([call("made")])) if kind == "task" else runner.run([call("made")])
    )
    assert result.status == "raised"
    assert told(result) == words


def test_a_long_message_is_shortened():
    result = one(raises(ValueError("x" * 100_000)))
    assert len(result.output) < 1_000
    assert len(result.error) < 1_000


class Plain:
    pass


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"bytes", "made returned bytes"),
        (Plain(), "made returned a Plain, which has no JSON form"),
        ((number for number in [1]), r"made returned a generator"),
        (Mute(), "made returned a Mute as a value"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_result_that_cannot_be_sent(value, words):
    result = one(made(lambda: value))
    assert result.status == "wrong_result"
    assert words in result.error
    assert told(result) == "made ran, but its result cannot be sent."


def test_a_result_that_contains_itself():
    loop = []
    loop.append(loop)
    assert "contains itself" in one(made(lambda: loop)).error


def test_a_result_whose_words_raise():
    class Shy(dict):
        def items(self):
            raise RuntimeError("leave me alone")

    result = one(made(lambda: Shy(a=1)))
    assert result.status == "wrong_result"
    assert "RuntimeError: leave me alone" in result.error


@pytest.mark.parametrize(
    ("value", "output"),
    [
        ("As it is.", "As it is."),
        (None, '{"result": null, "note": "The function ran to its end and returned nothing."}'),
        ({"é": [1, float("nan")]}, '{"é": [1, "NaN"]}'),
    ],
    ids=str,
)
def test_results_become_text(value, output):
    assert one(made(lambda: value)).output == output


def test_a_long_output_is_cut_and_says_so():
    result = one(made(lambda: "A line of words.\n" * 10_000), most_characters=1_000)
    assert result.shortened
    assert result.status == "done"
    assert len(result.output) <= 1_000
    assert result.output.endswith("[cut: this is the beginning of 170,000 characters]")
    assert not one(made(lambda: "short")).shortened


def test_no_secret_comes_out_in_any_way(monkeypatch):
    secret = "planted-0123456789"
    monkeypatch.setenv("SERVICE_TOKEN", secret)

    def leak(how: str) -> object:
        """Leak something."""
        print("printed", secret)
        if how == "raise":
            raise ValueError(secret)
        return secret if how == "text" else {"deep": [secret]}

    for arguments in ({"how": "raise"}, {"how": "text"}, {"how": "json"}, {"how": secret}, {"what": secret}):
        assert "planted" not in repr(one(leak, arguments))
    assert one(leak, {"how": "text"}).output == "[secret]"
    assert one(leak, {"how": "text"}).printed == "printed [secret]\n"


def test_what_it_prints_stays_with_the_call(capsys):
    def say(word: str) -> None:
        """Say it."""
        print(word)
        both.wait(PATIENCE_S)
        print(word, file=sys.stderr)

    both = threading.Barrier(2)
    first, second = FunctionRunner([say]).run([call("say", {"word": "a"}), call("say", {"word": "b"})])
    print("shown")
    assert (first.printed, second.printed) == ("a\na\n", "b\nb\n")
    assert capsys.readouterr() == ("shown\n", "")


def test_it_sees_the_callers_context_variables():
    who = contextvars.ContextVar("who")
    who.set("the caller")

    def ask() -> str:
        """Ask who it is."""
        found = who.get()
        who.set("somebody else")
        return found

    async def ask_later() -> str:
        """Ask who it is."""
        return ask()

    runner = FunctionRunner([ask, ask_later])
    assert [result.output for result in runner.run([call("ask"), call("ask_later")])] == ["the caller"] * 2
    assert [result.output for result in asyncio.run(runner.run_async([call("ask"), call("ask_later")]))] == [
        "the caller"
    ] * 2
    assert who.get() == "the caller"


def test_arguments_are_data():
    def note(text: str) -> str:
        """Note it."""
        return text

    planted = "{__import__('os').abort()}"
    assert one(note, {"text": planted}).output == planted


# -- several calls --------------------------------------------------------------------------------------------------


def test_several_calls_run_at_the_same_time_and_come_back_in_order():
    def meet(number: int) -> int:
        """Wait for the others."""
        everybody.wait(PATIENCE_S)
        return number

    async def meet_later(number: int) -> int:
        """Wait for the others."""
        return meet(number)

    everybody = threading.Barrier(4)
    calls = [
        call(name, {"number": number}, f"call_{number}")
        for number, name in enumerate(["meet", "meet_later"] * 2)
    ]
    runs = FunctionRunner([meet, meet_later]).run(calls)
    assert [(result.call_id, result.output) for result in runs] == [(f"call_{n}", str(n)) for n in range(4)]
    assert not runs.interrupted
    assert runs.items()[0] == {"type": "function_call_output", "call_id": "call_0", "output": "0"}


@pytest.mark.parametrize("is_async", [False, True])
def test_twenty_calls_at_most_eight_at_once(is_async):
    running, most = 0, 0
    lock = threading.Lock()
    eight = threading.Barrier(8)

    def work(number: int) -> int:
        """Work."""
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if number < 8:
            eight.wait(PATIENCE_S)
        with lock:
            running -= 1
        return number

    calls = [call("work", {"number": number}, f"call_{number}") for number in range(20)]
    runner = FunctionRunner([work])
    runs = asyncio.run(runner.run_async(calls)) if is_async else runner.run(calls)
    assert [result.output for result in runs] == [str(number) for number in range(20)]
    assert most == 8


def test_every_call_has_an_answer_whatever_happens():
    runner = FunctionRunner([add, divide, raises(ValueError("no"))])
    calls = [
        call("add", {"first": 1}),
        call("made"),
        call("subtract"),
        call("divide", "{"),
        call("add", {"first": 2}, "call_add"),
        {"call_id": "call_bare", "name": "", "arguments": None},
    ]
    runs = runner.run(calls)
    assert [result.status for result in runs] == [
        "done",
        "raised",
        "unknown_function",
        "wrong_arguments",
        "done",
        "unknown_function",
    ]
    assert [result.call_id for result in runs] == [item["call_id"] for item in calls]
    assert told(runs[2]) == 'There is no function "subtract". The functions are: add, divide, made.'
    assert runner.names == ["add", "divide", "made"]


def test_results_show_themselves():
    runs = FunctionRunner([add]).run([call("add", {"first": 1}), call("<b>x</b>")])
    assert re.search(r"add +done +\d+ ms +2", repr(runs))
    assert "<b>" not in runs._repr_html_()
    assert runs[:1][0].output == "2"


def test_no_calls_no_results():
    assert list(FunctionRunner([]).run([])) == []
    assert list(asyncio.run(FunctionRunner([]).run_async([]))) == []


def test_an_answer_given_by_hand_is_taken_and_the_function_left_alone(monkeypatch):
    monkeypatch.setenv("SERVICE_TOKEN", "planted-0123456789")
    ran = []

    def note(text: str) -> str:
        """Note it."""
        ran.append(text)
        return text

    calls = [
        call("note", {"text": "a"}, "call_1"),
        call("note", {"text": "b"}, "call_2"),
        call("other", "{", "call_3"),
    ]
    runs = FunctionRunner([note]).run(
        calls, answered={"call_1": "by hand planted-0123456789", "call_3": "too"}
    )
    assert [(result.status, result.output) for result in runs] == [
        ("done", "by hand [secret]"),
        ("done", "b"),
        ("done", "too"),
    ]
    assert ran == ["b"]


@pytest.mark.parametrize(
    "item", [{"type": "message", "content": []}, {"name": "add", "arguments": "{}"}, "call_1", None], ids=str
)
def test_what_is_no_call_is_refused_before_anything_runs(item):
    ran = []
    runner = FunctionRunner([made(lambda: ran.append(1))])
    with pytest.raises(ConfigurationError, match="Only function calls can be run"):
        runner.run([call("made"), item])
    assert not ran


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"functions": [add, function_tool(divide, name="add")]}, "Two functions have the name add"),
        ({"functions": add}, "must be a list"),
        ({"functions": 3}, "must be a list"),
        ({"functions": [3]}, "made of a function"),
        ({"functions": [], "time_limit_s": 0}, "time_limit_s"),
        ({"functions": [], "time_limit_s": float("inf")}, "time_limit_s"),
        ({"functions": [], "time_limit_s": "30"}, "time_limit_s"),
        ({"functions": [], "time_limit_s": True}, "time_limit_s"),
        ({"functions": [], "most_characters": 10}, "most_characters"),
        ({"functions": [], "most_characters": 1e6}, "most_characters"),
    ],
    ids=str,
)
def test_bad_settings_are_refused(settings, why):
    with pytest.raises(ConfigurationError, match=why):
        FunctionRunner(**settings)


def test_the_same_function_twice_is_one():
    assert FunctionRunner([add, function_tool(add)]).names == ["add"]


def test_a_call_that_is_never_run_is_answered_too(monkeypatch):
    monkeypatch.setenv("SERVICE_TOKEN", "planted-0123456789")
    result = not_run(call("add", {"first": 1}), "The limit of 8 rounds\nis reached planted-0123456789.")
    assert told(result) == "The limit of 8 rounds is reached [secret]."
    assert (result.call_id, result.name, result.status) == ("call_add", "add", "not_run")
    assert result.error == "The limit of 8 rounds is reached [secret]."


def test_a_function_that_runs_functions():
    def outer() -> str:
        """Run another one."""
        print("outer")
        (result,) = FunctionRunner([divide]).run([call("divide", {"dividend": 1, "divisor": 2})])
        print("after")
        return f"{result.printed.strip()} gave {result.output}"

    result = one(outer)
    assert result.output == "dividing 1.0 gave 0.5"
    assert result.printed == "outer\nafter\n"


arguments_text = st.one_of(
    st.text(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["first", "second", "x"]), inner)
        ),
        max_leaves=6,
    ).map(json.dumps),
)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "add_later", "divide", "no such"]), arguments_text), max_size=4
    )
)
def test_any_arguments_give_one_result_for_each_call(wanted):
    calls = [call(name, text, f"call_{number}") for number, (name, text) in enumerate(wanted)]
    runs = FunctionRunner([add, add_later, divide]).run(calls)
    assert [result.call_id for result in runs] == [item["call_id"] for item in calls]
    for result in runs:
        result.output.encode()
        assert (result.status == "done") == (result.error == "")
        assert result.status in ("done", "wrong_arguments", "raised", "unknown_function")


# -- time -----------------------------------------------------------------------------------------------------------


class Hanging:
    """Functions that hang until they are let go."""

    def __init__(self):
        self.has_last_words = False
        self.started, self.let_go, self.ended = (threading.Event() for _ in range(3))
        self.later_started, self.later_cancelled = threading.Event(), threading.Event()

    def hang(self) -> str:
        """Hang."""
        print("before")
        self.started.set()
        self.let_go.wait(PATIENCE_S)
        if self.has_last_words:
            print("too late")
        self.ended.set()
        return "late"

    async def hang_later(self) -> str:
        """Hang."""
        self.later_started.set()
        try:
            await asyncio.sleep(PATIENCE_S)
        except asyncio.CancelledError:
            self.later_cancelled.set()
            raise
        return "late"


@pytest.fixture
def hanging():
    functions = Hanging()
    yield functions
    functions.let_go.set()


def threads(name="function "):
    """Return the threads in which functions run."""
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until a test's conditions are met; each one makes it a minute later."""
    conditions = []
    monkeypatch.setattr(functions, "_now_s", lambda: 60.0 * sum(condition() for condition in conditions))
    return conditions


@pytest.mark.parametrize("is_async", [False, True])
def test_a_function_that_hangs_does_not_hold_up_the_others(hanging, clock, is_async, capsys):
    added = []

    def note(number: int) -> int:
        """Note it."""
        added.append(number)
        return number

    clock.append(lambda: hanging.started.is_set() and hanging.later_started.is_set() and len(added) == 2)
    runner = FunctionRunner([hanging.hang, hanging.hang_later, note], time_limit_s=30)
    calls = [
        call("hang"),
        call("note", {"number": 1}),
        call("hang_later"),
        call("note", {"number": 2}, "call_2"),
    ]
    runs = asyncio.run(runner.run_async(calls)) if is_async else runner.run(calls)
    assert [runs[place].status for place in (0, 2)] == ["timed_out", "timed_out"]
    assert [runs[place].output for place in (1, 3)] == ["1", "2"]
    assert told(runs[0]) == "hang did not finish within 30 seconds."
    assert "thrown away" in runs[0].error
    assert runs[0].printed == "before\n"
    assert not runs.interrupted
    # What it still does is seen by nobody.
    hanging.has_last_words = True
    hanging.let_go.set()
    assert hanging.ended.wait(PATIENCE_S)
    for thread in threads():
        thread.join(PATIENCE_S)
    assert runs[0].status == "timed_out"
    assert capsys.readouterr().out == ""


def test_an_async_function_that_is_too_late_is_cancelled(hanging, clock):
    clock.append(hanging.later_started.is_set)
    (result,) = FunctionRunner([hanging.hang_later]).run([call("hang_later")])
    assert result.status == "timed_out"
    assert hanging.later_cancelled.wait(PATIENCE_S)


def test_more_hanging_functions_than_run_at_once(hanging, clock):
    started, added = [], []

    def hang() -> None:
        """Hang."""
        started.append(1)
        hanging.let_go.wait(PATIENCE_S)

    def note() -> None:
        """Note it."""
        added.append(1)

    clock += [lambda: len(started) >= 8, lambda: len(started) == 9 and bool(added)]
    calls = [call("hang", call_id=f"call_{number}") for number in range(9)]
    runs = FunctionRunner([hang, note]).run([*calls, call("note")])
    assert [result.status for result in runs[:9]] == ["timed_out"] * 9
    assert added == [1]


def test_an_async_function_that_blocks_does_not_hold_up_the_others(hanging, clock):
    done = threading.Event()

    async def block() -> None:
        """Block the loop."""
        hanging.started.set()
        hanging.let_go.wait(PATIENCE_S)

    async def quick() -> str:
        """Be quick."""
        done.set()
        return "in time"

    clock.append(lambda: hanging.started.is_set() and done.is_set())
    runs = FunctionRunner([block, quick]).run([call("block"), call("quick")])
    assert runs[0].status == "timed_out"
    assert done.is_set()


def test_python_ends_although_a_function_hangs():
    program = """
        import threading
        from helpers import FunctionRunner

        def hang() -> None:
            "Hang for ever."
            while True:
                print("still here")
                threading.Event().wait(0.01)

        runs = FunctionRunner([hang], time_limit_s=0.1).run([{"call_id": "call_1", "name": "hang", "arguments": "{}"}])
        print(runs[0].status)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(helpers.__file__).parents[1],
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("timed_out\n", "", 0)


# -- interrupts -----------------------------------------------------------------------------------------------------


def interrupt():
    """Do what Ctrl-C and the stop button do."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    else:
        _thread.interrupt_main()


def test_an_interrupt_answers_every_call_and_does_not_raise(hanging):
    finished = threading.Event()

    def quick() -> str:
        """Be quick."""
        finished.set()
        return "in time"

    def stopper() -> str:
        """Stop everything."""
        finished.wait(PATIENCE_S)
        hanging.started.wait(PATIENCE_S)
        hanging.later_started.wait(PATIENCE_S)
        interrupt()
        hanging.let_go.wait(PATIENCE_S)
        return "never seen"

    runner = FunctionRunner([quick, stopper, hanging.hang, hanging.hang_later, add])
    calls = [call("quick"), call("stopper"), call("hang"), call("hang_later")]
    calls += [call("hang", call_id=f"call_{number}") for number in range(20)]
    runs = runner.run(calls)
    assert runs.interrupted
    assert isinstance(runs.interruption, KeyboardInterrupt)
    assert len(runs) == 24
    assert runs[1].status == runs[3].status == runs[23].status == "interrupted"
    assert runs[0].status in ("done", "interrupted")
    assert told(runs[1]) == "stopper was stopped by the user before it finished."
    assert runs[1].error == "You stopped it before stopper had finished."
    assert hanging.later_cancelled.wait(PATIENCE_S)
    # And the next round is as if nothing had been.
    assert runner.run([call("add", {"first": 1})])[0].output == "2"


@pytest.mark.parametrize("is_async", [False, True])
def test_stop_ends_a_round(hanging, is_async):
    runner = FunctionRunner([hanging.hang, add])
    calls = [call("hang"), call("add", {"first": 1})]
    stop = hanging.started.is_set
    runs = asyncio.run(runner.run_async(calls, stop=stop)) if is_async else runner.run(calls, stop=stop)
    assert runs.interrupted
    assert runs.interruption is None
    assert runs[0].status == "interrupted"


def test_stop_before_the_first_call_runs_none():
    ran = []
    runs = FunctionRunner([made(lambda: ran.append(1))]).run([call("made")], stop=lambda: True)
    assert (runs[0].status, runs.interrupted, ran) == ("interrupted", True, [])


def test_stop_that_stays_false_changes_nothing():
    runs = FunctionRunner([add]).run([call("add", {"first": 1})], stop=lambda: False)
    assert (runs[0].status, runs.interrupted) == ("done", False)


def test_a_cancellation_answers_every_call_and_can_be_raised_again(hanging):
    async def main():
        runner = FunctionRunner([hanging.hang, hanging.hang_later, add])
        calls = [call("add", {"first": 1}), call("hang"), call("hang_later")]
        task = asyncio.create_task(runner.run_async(calls))
        await asyncio.to_thread(hanging.started.wait, PATIENCE_S)
        await asyncio.to_thread(hanging.later_started.wait, PATIENCE_S)
        task.cancel()
        runs = await task
        await asyncio.sleep(0)  # the cancelled function gets its turn
        return runs

    runs = asyncio.run(main())
    assert runs.interrupted
    assert isinstance(runs.interruption, asyncio.CancelledError)
    assert [result.status for result in runs][1:] == ["interrupted", "interrupted"]
    assert hanging.later_cancelled.is_set()


def test_a_time_limit_around_it_still_works_when_the_cancellation_is_raised_again(hanging):
    sent = []

    async def main():
        async with asyncio.timeout(0.05):
            runs = await FunctionRunner([hanging.hang]).run_async([call("hang")])
            await asyncio.sleep(0)  # awaiting goes on working: this is where the outputs would be sent
            sent.extend(runs.items())
            raise runs.interruption

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert [item["call_id"] for item in sent] == ["call_hang"]


# -- on a running loop ----------------------------------------------------------------------------------------------


def test_async_functions_run_on_the_loop_that_is_there_and_the_others_beside_it():
    async def main():
        loop = asyncio.get_running_loop()
        here = threading.current_thread()
        came = asyncio.Event()

        async def on_the_loop() -> bool:
            """Look where it runs."""
            came.set()
            return asyncio.get_running_loop() is loop

        def beside() -> bool:
            """Look where it runs; it needs the loop to be free."""
            asyncio.run_coroutine_threadsafe(came.wait(), loop).result(PATIENCE_S)
            return threading.current_thread() is not here

        runs = await FunctionRunner([beside, on_the_loop]).run_async([call("beside"), call("on_the_loop")])
        return [result.output for result in runs]

    assert asyncio.run(main()) == ["true", "true"]


def test_run_works_where_a_loop_is_running_already():
    """As in a notebook, where a cell runs on the kernel's loop."""

    async def cell():
        return FunctionRunner([add_later]).run([call("add_later", {"first": 1})])[0].output

    assert asyncio.run(cell()) == "2"


def test_a_plain_function_that_returns_something_to_await():
    def later() -> object:
        """Return a coroutine."""
        return add_later(1, 1)

    runner = FunctionRunner([later])
    assert runner.run([call("later")])[0].output == "2"
    assert asyncio.run(runner.run_async([call("later")]))[0].output == "2"


def test_the_outcome_is_the_same_on_a_loop():
    runner = FunctionRunner([add, divide, add_later])
    calls = [
        call("add", "{"),
        call("divide", {"dividend": 1, "divisor": 0}),
        call("nothing"),
        call("add_later", {"first": 1}),
    ]
    plain, on_loop = runner.run(calls), asyncio.run(runner.run_async(calls))
    assert [(result.status, result.output, result.error, result.printed) for result in plain] == [
        (result.status, result.output, result.error, result.printed) for result in on_loop
    ]


def test_function_runs_can_be_made_by_hand():
    result = not_run(call("add"), "No.")
    assert list(FunctionRuns([result])) == [result]
    assert FunctionRuns(interruption=KeyboardInterrupt()).interrupted
