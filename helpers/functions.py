"""Python functions as tools: the schema from the signature, checked arguments, and a result that a model can act on.

Here lives everything between a Python function and the two items of the API, ``function_call`` and
``function_call_output``. What goes wrong becomes an output as well, ``{"error": "…", "hint": "…"}``: what happened, and
what the model can do about it. Not here: sending the outputs and asking on (``run.py``), and showing them
(``function_calling.py``).
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import inspect
import json
import os
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, overload

from helpers.arguments import read_arguments
from helpers.docstrings import read_docstring
from helpers.errors import ArgumentsError, ConfigurationError, explain, redact
from helpers.fields import at, text_at
from helpers.outputs import NoOutput, cut_text, output_text, whole_characters
from helpers.printed import Printed, catching
from helpers.schemas import Arguments, arguments_of, function_behind
from helpers.tables import Column, Table

__all__ = [
    "ArgumentsError",
    "FunctionResult",
    "FunctionRunner",
    "FunctionRuns",
    "FunctionTool",
    "function_tool",
    "not_run",
]

# "The name of the function to be called. Must be a-z, A-Z, 0-9, or contain underscores and dashes, with a maximum length
# of 64" (https://github.com/openai/openai-openapi, FunctionObject).
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_AT_ONCE: Final = 8
# How long one wait may be, in seconds: as often is stop() looked at. And an interrupt does not end every wait: not on
# Windows, not one that begins at that very moment, and not a loop's whose kernel cancels the cell from a signal handler.
_LOOK_EVERY_S: Final = 0.1
_LEAST_CHARACTERS: Final = 200
_now_s: Callable[[], float] = time.perf_counter
_LONGEST_MESSAGE: Final = 500


# -- results --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FunctionResult:
    """What came of one function call."""

    call_id: str
    """Which call it answers."""
    name: str
    """The function's name, as the model wrote it."""
    arguments: str
    """The arguments, as the model wrote them."""
    output: str
    """What the model gets: the result as text or JSON, or what went wrong and what to do about it."""
    status: str = "done"
    """``done``, ``raised``, ``timed_out``, ``wrong_arguments``, ``unknown_function``, ``wrong_result``,
    ``interrupted`` or ``not_run``."""
    error: str = ""
    """One sentence for a person; ``""`` if all went well."""
    duration_ms: float = 0.0
    """Milliseconds."""
    printed: str = ""
    """What the function printed, without keys; it does not travel to the model."""
    shortened: bool = False
    """Whether the output was too long and was cut; the output says so."""

    def item(self) -> dict[str, Any]:
        """Return the input item that answers the call."""
        return {"type": "function_call_output", "call_id": self.call_id, "output": self.output}


class FunctionRuns(Sequence[FunctionResult]):
    """The results of one round of function calls: exactly one for each call, in the order of the calls.

    Attributes:
        interruption: the ``KeyboardInterrupt`` or ``asyncio.CancelledError`` that came meanwhile; ``None`` if none did.
            Send the outputs first, so that no call stays unanswered, and raise it again then. A cancellation was not
            taken back (``Task.uncancel``): raised again, ``asyncio.timeout`` and task groups see it as theirs.
        interrupted: whether that or ``stop()`` ended the round before all calls were done.
    """

    def __init__(
        self,
        results: Iterable[FunctionResult] = (),
        *,
        interrupted: bool = False,
        interruption: BaseException | None = None,
    ) -> None:
        self._results = tuple(results)
        self.interruption = interruption
        self.interrupted = interrupted or interruption is not None

    @overload
    def __getitem__(self, place: int) -> FunctionResult: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[FunctionResult]: ...
    def __getitem__(self, place: int | slice) -> FunctionResult | Sequence[FunctionResult]:
        return self._results[place]

    def __len__(self) -> int:
        return len(self._results)

    def items(self) -> list[dict[str, Any]]:
        """Return the input items that answer the calls, in their order."""
        return [result.item() for result in self._results]

    def _table(self) -> Table:
        columns = (
            Column("function"),
            Column("status"),
            Column("time", is_number=True, least_width=9),
            Column("output"),
        )
        rows = tuple(
            (result.name, result.status, f"{result.duration_ms:,.0f} ms", result.error or result.output)
            for result in self._results
        )
        return Table(columns, rows, notes=("You stopped it.",) if self.interrupted else ())

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


def not_run(call: Any, why: str) -> FunctionResult:
    """Return an answer to a call that was never run, because a limit was reached or the run was stopped.

    Args:
        call: the ``function_call`` item.
        why: the reason, as a sentence that the model and a person can read.

    Example:
        >>> not_run({"call_id": "call_1", "name": "add", "arguments": "{}"}, "The limit of 8 rounds is reached.").output
        '{"error": "The limit of 8 rounds is reached.", "hint": "The function was not run. Answer without it."}'
    """
    reason = _one_line(why)
    return FunctionResult(
        text_at(call, "call_id"),
        text_at(call, "name"),
        _arguments_text(call),
        _problem(reason, "The function was not run. Answer without it."),
        status="not_run",
        error=reason,
    )


def _problem(error: str, hint: str) -> str:
    """Return the output that tells a model of a problem."""
    return json.dumps({"error": error, "hint": hint}, ensure_ascii=False)


# -- a function as a tool -------------------------------------------------------------------------------------------


class FunctionTool:
    """A Python function that a model can call: its name, its description, and a strict schema of its arguments.

    ``function_tool`` makes it. It does not change, and calling it calls the function.

    Attributes:
        name: what the model calls it.
        description: what the model reads to decide whether to call it.
        function: the function.
    """

    __slots__ = ("_arguments", "description", "function", "name")

    name: str
    description: str
    function: Callable[..., Any]
    _arguments: Arguments

    def __init__(
        self, name: str, description: str, function: Callable[..., Any], arguments: Arguments
    ) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "description", description)
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "_arguments", arguments)

    @property
    def parameters(self) -> dict[str, Any]:
        """The JSON schema of the arguments (a copy)."""
        return copy.deepcopy(self._arguments.parameters)

    @property
    def param(self) -> dict[str, Any]:
        """The tool as it travels with a request (a copy); it shows itself as JSON."""
        return _Param(
            type="function",
            name=self.name,
            description=self.description,
            parameters=self.parameters,
            strict=True,
        )

    @property
    def is_async(self) -> bool:
        """Whether it is an ``async def`` function."""
        return inspect.iscoroutinefunction(function_behind(self.function))

    def bind(self, arguments: str) -> dict[str, Any]:
        """Return the keyword arguments in a model's JSON, checked and converted to the types of the signature.

        Args:
            arguments: a JSON object as text. An argument that has a default may be absent or ``null``. ``"3"`` is taken
                for 3 where a number is wanted; ``true`` is not taken for 1, nor 1 for ``true`` (see ``arguments.py``).

        Raises:
            ArgumentsError: which argument is wrong, what was expected and what came.

        Example:
            >>> def add(first: int, second: int = 1) -> int:
            ...     "Add two whole numbers."
            ...     return first + second
            >>> function_tool(add).bind('{"first": "3", "second": null}')
            {'first': 3}
        """
        return read_arguments(arguments, self._arguments, self.name)

    def __call__(self, *positional: Any, **named: Any) -> Any:
        """Call the function, as if it were no tool."""
        return self.function(*positional, **named)

    def __setattr__(self, key: str, value: object) -> None:
        raise ConfigurationError(
            f"A tool does not change, so {key!r} was not set. Make another one: function_tool(function, name=…, "
            "description=…)."
        )

    def __delattr__(self, key: str) -> None:
        self.__setattr__(key, None)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, FunctionTool)
            and self.function == other.function
            and (self.name, self.description, self._arguments.parameters)
            == (other.name, other.description, other._arguments.parameters)
        )

    def __hash__(self) -> int:
        return hash((self.name, self.description))

    def __copy__(self) -> FunctionTool:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FunctionTool:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        behind = function_behind(self.function)
        if "<" in getattr(behind, "__qualname__", ""):
            raise ConfigurationError(
                f"{self.name} cannot be stored, because it was defined inside a function or as a lambda: only a function at "
                "the top of a file or a cell can be found again by its name."
            )
        return _made_again, (self.function, self.name, self.description)

    def _table(self) -> Table:
        rows = tuple(
            (name, _kind_text(schema), schema.get("description", ""))
            for name, schema in self._arguments.parameters["properties"].items()
        )
        columns = (Column("argument"), Column("type"), Column("description"))
        return Table(
            columns, rows or (("none", "", ""),), f"{self.name}: {' '.join(self.description.split())}"
        )

    def __repr__(self) -> str:
        return f"FunctionTool {self._table()!r}"

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


class _Param(dict[str, Any]):
    """A tool's dict, shown as the JSON that travels."""

    def __repr__(self) -> str:
        return json.dumps(self, indent=2, ensure_ascii=False)


def _made_again(function: Callable[..., Any], name: str, description: str) -> FunctionTool:
    return function_tool(function, name=name, description=description)


def _kind_text(schema: Mapping[str, Any]) -> str:
    """Return a schema's type in a few words."""
    if "enum" in schema:
        return " or ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind_text(option) for option in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return " or ".join(
        f"array of {_kind_text(schema['items'])}" if kind == "array" else str(kind) for kind in kinds
    )


def function_tool(
    function: Callable[..., Any], *, name: str | None = None, description: str | None = None
) -> FunctionTool:
    """Make a tool of a Python function: the schema from its signature, the descriptions from its docstring.

    The description is the docstring up to its first section; what the sections ``Args``, ``Parameters`` or ``:param:``
    say goes to the arguments, and so does a plain text or ``Field(description=…)`` in ``Annotated``. The schema is one for
    OpenAI's strict mode: an argument with a default is one that may be ``null``.

    Args:
        function: a function, a method of an object, a partial or an object with ``__call__``; plain or ``async``.
        name: what the model calls it; without one, the function's own name.
        description: what the model reads to decide whether to call it; without one, the docstring.

    Raises:
        ConfigurationError: a name that the API does not take, no description, or a parameter that strict mode cannot
            express (which one, why, and what to write instead).

    Example:
        >>> def add(first: int, second: int = 1) -> int:
        ...     "Add two whole numbers."
        ...     return first + second
        >>> function_tool(add).parameters["properties"]["second"]
        {'type': ['integer', 'null'], 'description': 'Default: 1.'}
    """
    if isinstance(function, FunctionTool):
        if name is None and description is None:
            return function
        name = function.name if name is None else name
        description = function.description if description is None else description
        function = function.function
    if not callable(function):
        raise ConfigurationError(
            f"A tool is made of a function, not of {_what_it_is(function)}. Give the function itself, without ()."
        )
    if inspect.isclass(function):
        raise ConfigurationError(
            f"{function.__name__} is a class. Write a function that makes an object of it and returns what the model shall "
            "know."
        )
    behind = function_behind(function)
    named = _checked_name(name, function, behind)
    said = inspect.getdoc(behind if hasattr(function, "__name__") else _documented(function, behind))
    try:
        parameters = list(inspect.signature(function).parameters)
    except (NameError, TypeError, ValueError):
        parameters = []  # arguments_of says what is wrong
    summary, by_parameter = read_docstring(said, parameters)
    described = _checked_description(description, summary, named)
    return FunctionTool(named, described, function, arguments_of(function, named, by_parameter))


def _documented(function: Any, behind: Any) -> Any:
    """Return where the docstring is: a partial has its function's, an object that of ``__call__`` or its class."""
    if isinstance(function, functools.partial) or getattr(behind, "__doc__", None):
        return behind
    return type(function)


def _checked_name(name: object, function: Any, behind: Any) -> str:
    if name is None:
        found = getattr(function, "__name__", None) or getattr(behind, "__name__", "")
        name = type(function).__name__ if found == "__call__" else found
        if name == "<lambda>":
            raise ConfigurationError(
                "A lambda has no name and no docstring, and the model goes by both. Write it with def."
            )
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{str(name)[:70]!r} cannot be a function's name: letters from a to z, digits, _ and - are allowed, at most 64. "
            "Give another one: function_tool(function, name=…)."
        )
    return name


def _checked_description(description: object, summary: str, name: str) -> str:
    if description is not None and (not isinstance(description, str) or not description.strip()):
        raise ConfigurationError(f"The description of {name} must be a text that is not empty.")
    text = inspect.cleandoc(description).strip() if isinstance(description, str) else summary
    if not text:
        raise ConfigurationError(
            f"{name} has no docstring, and its description is all that the model reads to decide when to call it. Write one "
            "line that says what it does and when it helps, or give description=…."
        )
    return text


def _what_it_is(value: object) -> str:
    return f"the text {value[:30]!r}" if isinstance(value, str) else f"a {type(value).__name__}"


# -- running --------------------------------------------------------------------------------------------------------


class FunctionRunner:
    """Runs the functions that a model calls, several at once, and answers every call whatever happens.

    Args:
        functions: functions or tools.
        time_limit_s: how many seconds one call may take. A function cannot be killed: one that takes longer is answered as
            timed out, goes on in a background thread that does not keep Python from ending, and its result is dropped.
        most_characters: how long an output may be; a longer one is cut, and says so.

    Raises:
        ConfigurationError: something that is no function or cannot be a tool, two functions of one name, or a limit that
            is none.

    Example:
        >>> def add(first: int, second: int) -> int:
        ...     "Add two whole numbers."
        ...     return first + second
        >>> call = {"call_id": "call_1", "name": "add", "arguments": '{"first": 1, "second": 2}'}
        >>> FunctionRunner([add]).run([call])[0].output
        '3'
    """

    def __init__(
        self,
        functions: Iterable[FunctionTool | Callable[..., Any]],
        *,
        time_limit_s: float = 30.0,
        most_characters: int = 20_000,
    ) -> None:
        self._tools: dict[str, FunctionTool] = {}
        if callable(functions) or not isinstance(functions, Iterable):
            raise ConfigurationError("The functions must be a list, such as FunctionRunner([lookup]).")
        for function in functions:
            tool = function_tool(function)
            if self._tools.setdefault(tool.name, tool) != tool:
                raise ConfigurationError(
                    f"Two functions have the name {tool.name}, and a call would not say which one is meant. Give one of "
                    "them another name: function_tool(function, name=…)."
                )
        if (
            isinstance(time_limit_s, bool)
            or not isinstance(time_limit_s, int | float)
            or not 0 < time_limit_s < threading.TIMEOUT_MAX
        ):
            raise ConfigurationError("time_limit_s must be a number of seconds above 0, such as 30.")
        if (
            isinstance(most_characters, bool)
            or not isinstance(most_characters, int)
            or most_characters < _LEAST_CHARACTERS
        ):
            raise ConfigurationError(
                f"most_characters must be a whole number from {_LEAST_CHARACTERS} up, such as 20_000."
            )
        self.time_limit_s = float(time_limit_s)
        self.most_characters = most_characters

    @property
    def names(self) -> list[str]:
        """The functions' names, in the order in which they were given."""
        return list(self._tools)

    def run(
        self,
        calls: Sequence[Any],
        *,
        answered: Mapping[str, str] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> FunctionRuns:
        """Run function calls, up to eight at once, and return one result for each.

        Each call has a thread of its own with a copy of the caller's context variables; an ``async`` function gets an
        event loop of its own in there. An interrupt (Ctrl-C, the stop button) does not raise: the calls that are not done
        by then are answered as interrupted, and ``interruption`` holds what to raise once the answers are sent.

        Args:
            calls: ``function_call`` items, as SDK objects or dicts.
            answered: outputs that somebody gave already, by ``call_id``; these calls are not run.
            stop: looked at ten times a second; once it returns true, the rest is answered as interrupted.

        Raises:
            ConfigurationError: something in ``calls`` is no function call. Nothing was run then.
        """
        batch: _Batch | None = None
        interruption: BaseException | None = None
        try:
            batch = _ThreadBatch(self, calls, answered or {}, stop)
            batch.run()
        except KeyboardInterrupt as error:
            interruption = error.with_traceback(None)
        while True:
            try:
                batch = batch or _ThreadBatch(self, calls, answered or {}, stop)
                return batch.finish(interruption)
            except KeyboardInterrupt as error:  # a second one: the answers still have to be made
                interruption = error.with_traceback(None)

    async def run_async(
        self,
        calls: Sequence[Any],
        *,
        answered: Mapping[str, str] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> FunctionRuns:
        """Do what ``run`` does, with ``async`` functions as tasks of the running event loop.

        A cancellation does not raise either, for the same reason: raise ``interruption`` when the answers are sent. An
        ``async`` function that never awaits holds the whole loop, the time limit included.

        Args:
            calls: ``function_call`` items, as SDK objects or dicts.
            answered: outputs that somebody gave already, by ``call_id``; these calls are not run.
            stop: looked at ten times a second; once it returns true, the rest is answered as interrupted.

        Raises:
            ConfigurationError: something in ``calls`` is no function call. Nothing was run then.
        """
        batch = _LoopBatch(self, calls, answered or {}, stop)
        interruption: BaseException | None = None
        try:
            await batch.run()
        except (asyncio.CancelledError, KeyboardInterrupt) as error:
            interruption = error.with_traceback(None)
        return batch.finish(interruption)

    def _tool(self, name: str) -> FunctionTool | None:
        return self._tools.get(name)

    def _unknown(self, name: str) -> tuple[str, str]:
        known = ", ".join(self._tools) or "none"
        return (
            f"There is no function {_shown(name)}. The functions are: {known}.",
            "Call one of these by its exact name, or answer without a function.",
        )


class _Job:
    """One call on its way to its result. The first result counts: a late one is thrown away."""

    def __init__(self, call: Any, runner: FunctionRunner) -> None:
        self.call_id = text_at(call, "call_id")
        self.name = text_at(call, "name")
        if not self.call_id or at(call, "type") not in (None, "function_call"):
            raise ConfigurationError(
                "Only function calls can be run: items of type function_call with a call_id, a name and arguments, as in "
                "response.output."
            )
        self.arguments = _arguments_text(call)
        self.tool = runner._tool(self.name)
        self.cancel: Callable[[], Any] = _nothing
        self.started_s = 0.0
        self.was_started = False
        self._runner = runner
        self._printed = Printed()
        self._context = contextvars.copy_context()
        # A list with room for one: append and index are atomic, and no lock can be left held by an interrupt.
        self._results: deque[FunctionResult] = deque()

    @property
    def is_done(self) -> bool:
        return bool(self._results)

    @property
    def result(self) -> FunctionResult:
        return self._results[0]

    def settle(self, status: str, output: str, error: str = "", *, shortened: bool = False) -> None:
        """Give the call its result, unless it has one."""
        took_s = _now_s() - self.started_s if self.was_started else 0.0
        if self.is_done:
            return
        self._results.append(
            FunctionResult(
                self.call_id,
                self.name,
                whole_characters(redact(self.arguments)),
                output,
                status,
                error,
                took_s * 1000,
                self._printed.close(),
                shortened,
            )
        )

    def fail(self, status: str, error: str, hint: str, *, told: str = "") -> None:
        """Give the call a result that says what went wrong: ``told`` to a person, if it is more than the model needs."""
        line = _one_line(error)
        self.settle(status, _problem(line, hint), _one_line(told) or line)

    # -- what happens in the thread or task ---------------------------------------------------------------------

    def context(self) -> contextvars.Context:
        return self._context

    def work(self) -> None:
        """Run the call in this thread, up to its result."""
        with catching(self._printed):
            arguments = self._bound()
            if arguments is None or self.is_done:
                return
            assert self.tool is not None
            try:
                value = self.tool.function(**arguments)
                if inspect.isawaitable(value):
                    # It settles the result itself: closing the loop may take longer than the function.
                    asyncio.run(self._awaited(value))
                    return
            except BaseException as error:  # noqa: BLE001 - also SystemExit: whatever a function raises is its result
                self._raised(error)
                return
            self._returned(value)

    async def work_async(self) -> None:
        """Run the call in this task, up to its result."""
        with catching(self._printed):
            arguments = self._bound()
            if arguments is None or self.is_done:
                return
            assert self.tool is not None
            await self._awaited(functools.partial(self.tool.function, **arguments))

    async def _awaited(self, value: Awaitable[Any] | Callable[[], Awaitable[Any]]) -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        self.cancel = functools.partial(loop.call_soon_threadsafe, task.cancel)
        if self.is_done:
            task.cancel()  # it was given up before there was something to cancel
        try:
            returned = await (value() if callable(value) else value)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and task.cancelling():
                raise  # it was us: too late, or interrupted
            self._raised(error)
            return
        self._returned(returned)

    def _bound(self) -> dict[str, Any] | None:
        assert self.tool is not None
        try:
            return self.tool.bind(self.arguments)
        except ArgumentsError as error:
            self.fail("wrong_arguments", str(error), f"Call {self.name} again with arguments that fit.")
        except BaseException as error:  # noqa: BLE001 - a validator of the function's own types is anybody's code
            self._raised(error)
        return None

    def _raised(self, error: BaseException) -> None:
        said = _said(error)
        what = "raised" if said.startswith(type(error).__name__) else "failed:"
        place = _place_of(error, self.tool)
        self.fail(
            "raised",
            f"{self.name} {what} {said}",
            "Change the arguments if the error says so; otherwise answer without this function.",
            told=f"{self.name} {what} {said.removesuffix('.')}{place}.",
        )

    def _returned(self, value: Any) -> None:
        try:
            output, shortened = output_text(value, self._runner.most_characters)
        except NoOutput as error:
            self._wrong_result(str(error))
        except BaseException as error:  # noqa: BLE001 - a property or __str__ of anybody's object
            self._wrong_result(f"something that could not be written: {_said(error).removesuffix('.')}")
        else:
            self.settle("done", output, shortened=shortened)

    def _wrong_result(self, what: str) -> None:
        error = f"{self.name} returned {what}."
        self.fail(
            "wrong_result",
            f"{self.name} ran, but its result cannot be sent.",
            "Do not call it again with the same arguments; answer without its result.",
            told=error,
        )

    # -- what ends it from outside ------------------------------------------------------------------------------

    def time_out(self) -> None:
        limit_s = self._runner.time_limit_s
        limit = f"{limit_s:g} second{'' if limit_s == 1 else 's'}"
        self.fail(
            "timed_out",
            f"{self.name} did not finish within {limit}.",
            "It may still have an effect. Ask for less at once, or answer without it.",
            told=f"{self.name} did not finish within {limit}. What it returns later is thrown away.",
        )
        self.stop()

    def interrupt(self) -> None:
        name = self.name if self.tool else _shown(self.name)
        self.fail(
            "interrupted",
            f"{name} was stopped by the user before it finished.",
            "Its result is not known. Do not assume that it worked.",
            told=f"You stopped it before {name} had finished.",
        )
        self.stop()

    def stop(self) -> None:
        try:
            self.cancel()
        except RuntimeError:
            return  # its loop is closed already: it has ended


def _nothing() -> None:
    return None


class _Batch:
    """The calls of one round: which ones wait, which ones run, and which ones have taken too long."""

    def __init__(
        self,
        runner: FunctionRunner,
        calls: Sequence[Any],
        answered: Mapping[str, str],
        stop: Callable[[], bool] | None,
    ) -> None:
        self._time_limit_s = runner.time_limit_s
        self._stop = stop
        self._was_stopped = False
        self._jobs = [_Job(call, runner) for call in calls]
        self._waiting: deque[_Job] = deque()
        self._running: list[_Job] = []
        for job in self._jobs:
            if job.call_id in answered:
                given = answered[job.call_id]
                text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, default=str)
                job.settle("done", whole_characters(redact(text)))
            elif job.tool is None:
                job.fail("unknown_function", *runner._unknown(job.name))
            else:
                self._waiting.append(job)

    def _start(self, job: _Job) -> None:
        """Begin with a call and return at once."""
        raise NotImplementedError

    def _step(self) -> float | None:
        """Give up what is late and start what can start.

        Returns:
            How many seconds to wait for news at most; ``None`` if there is nothing left to wait for.
        """
        if self._stop is not None and self._stop():
            self._was_stopped = True
            return None
        now_s = _now_s()
        for job in self._running:
            if not job.is_done and now_s - job.started_s >= self._time_limit_s:
                job.time_out()
        self._running = [job for job in self._running if not job.is_done]
        while self._waiting and len(self._running) < _MOST_AT_ONCE:
            job = self._waiting.popleft()
            job.started_s, job.was_started = _now_s(), True
            self._running.append(job)
            self._start(job)
        if not self._running:
            return None
        oldest_s = min(job.started_s for job in self._running)
        due_s = oldest_s + self._time_limit_s - _now_s()
        return min(max(0.0, due_s), _LOOK_EVERY_S)

    def finish(self, interruption: BaseException | None) -> FunctionRuns:
        """Answer what has no answer, and return all results."""
        interrupted = False
        for job in self._jobs:
            if not job.is_done:
                interrupted = True
                job.interrupt()
        return FunctionRuns(
            [job.result for job in self._jobs],
            interrupted=interrupted and self._was_stopped,
            interruption=interruption,
        )


class _ThreadBatch(_Batch):
    """A round whose calls run in threads, waited for in this one."""

    def __init__(
        self,
        runner: FunctionRunner,
        calls: Sequence[Any],
        answered: Mapping[str, str],
        stop: Callable[[], bool] | None,
    ) -> None:
        super().__init__(runner, calls, answered, stop)
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()

    def run(self) -> None:
        while (wait_s := self._step()) is not None:
            try:
                self._news.get(timeout=wait_s)
            except queue.Empty:
                continue

    def _start(self, job: _Job) -> None:
        _in_thread(job, functools.partial(self._news.put, None))


class _LoopBatch(_Batch):
    """A round whose ``async`` functions are tasks of the running loop; the others run in threads."""

    def __init__(
        self,
        runner: FunctionRunner,
        calls: Sequence[Any],
        answered: Mapping[str, str],
        stop: Callable[[], bool] | None,
    ) -> None:
        super().__init__(runner, calls, answered, stop)
        self._loop = asyncio.get_running_loop()
        self._news = self._loop.create_future()

    async def run(self) -> None:
        while (wait_s := self._step()) is not None:
            await asyncio.wait([self._news], timeout=wait_s)
            if self._news.done():
                self._news = self._loop.create_future()

    def _start(self, job: _Job) -> None:
        if job.tool is None or not job.tool.is_async:
            _in_thread(job, self._tell_from_thread)
            return
        task = self._loop.create_task(job.work_async(), name=job.name, context=job.context())
        # The loop itself holds its tasks only weakly.
        _TASKS.add(task)
        task.add_done_callback(_TASKS.discard)
        task.add_done_callback(lambda _: self._tell())

    def _tell(self) -> None:
        if not self._news.done():
            self._news.set_result(None)

    def _tell_from_thread(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._tell)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more


_TASKS: Final[set[asyncio.Task[None]]] = set()


def _in_thread(job: _Job, tell: Callable[[], None]) -> None:
    """Run a call in a thread that does not keep Python from ending, and tell when it has a result."""

    def work() -> None:
        try:
            job.context().run(job.work)
        finally:
            tell()

    try:
        threading.Thread(target=work, name=f"function {job.name}", daemon=True).start()
    except RuntimeError as error:
        job.fail("raised", f"{job.name} could not be started: {error}.", "Answer without this function.")


# -- words ----------------------------------------------------------------------------------------------------------


def _arguments_text(call: Any) -> str:
    value = at(call, "arguments")
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _one_line(text: str) -> str:
    line = whole_characters(redact(" ".join(text.split())))
    return cut_text(line, _LONGEST_MESSAGE)[0].replace("\n", " ")


def _shown(name: str) -> str:
    return json.dumps(name[:64], ensure_ascii=False)


def _said(error: BaseException) -> str:
    """Return an exception as "Type: message.", also if its own ``__str__`` raises."""
    try:
        text = explain(error) if not isinstance(error, KeyboardInterrupt) else "KeyboardInterrupt"
    except Exception:  # noqa: BLE001 - a __str__ that raises
        text = type(error).__name__
    text = " ".join(text.split())
    return text if text[-1:] in ".!?" else f"{text}."


def _place_of(error: BaseException, tool: FunctionTool | None) -> str:
    """Say in which line of the function's own file an exception came up; ``""`` if that is not known."""
    code = getattr(inspect.unwrap(function_behind(tool.function)), "__code__", None) if tool else None
    line, trace = 0, error.__traceback__
    while trace is not None:
        if code is not None and trace.tb_frame.f_code.co_filename == code.co_filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    if not line or code is None:
        return ""
    file = os.path.basename(code.co_filename)
    is_cell = file.startswith("<") or "ipykernel" in code.co_filename
    return f" (line {line} of its cell)" if is_cell else f" (line {line} of {file})"
