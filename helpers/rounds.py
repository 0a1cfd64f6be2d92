"""The course of a run: ask, read, call functions, ask on; and what to do when something goes wrong on the way.

Here lives the plan, apart from any input and output: it yields what is to be done next and is sent what came of it,
so that the synchronous and the asynchronous run (``run.py``) follow the very same one. Not here: how functions are
called (``functions.py``), and how a stream is read (``handlers.py``).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from helpers.errors import RunFailed, StreamInterrupted
from helpers.fields import at, list_at, text_at
from helpers.functions import FunctionResult, FunctionRuns, not_run
from helpers.handlers import EventHandler
from helpers.trace import Trace
from helpers.waiting import FIRST_POLL_S, TERMINAL, next_poll_s

__all__ = [
    "Ask",
    "CallFunctions",
    "Cancelled",
    "Course",
    "Limits",
    "Pause",
    "Plan",
    "Read",
    "missing_outputs",
    "repair",
]

# How long to wait before each new attempt on a conversation that is still busy with another answer, in seconds.
_BUSY_WAITS_S: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 8.0
# A server that asks to wait longer than this is not waited for: the SDK draws the line there as well.
_LONGEST_HINT_S: Final = 120.0
# A response whose stream was cut may still be on its way to its end; it is looked for so many times.
_LOOKS_S: Final = (0.0, 0.5, 1.0)
_ITEMS_AT_ONCE: Final = 20
_PAGE: Final = 100
_INTERRUPTED_OUTPUT: Final = "This call was interrupted before it had a result."


# -- what a plan asks for ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a request. ``work`` is called with the client; with an asynchronous one its result is awaited."""

    work: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Read:
    """Read a stream (or a list of events) to its end, through the handler."""

    stream: Any


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CallFunctions:
    """Call functions; ``answered`` are the outputs that somebody gave by hand, by ``call_id``."""

    calls: Sequence[Any]
    answered: Mapping[str, str]


Plan = Generator[Ask | Read | Pause | CallFunctions, Any, None]
"""Yields what is to be done, and is sent what came of it. Of what goes wrong, it is thrown ``RunFailed``."""


class Cancelled(Exception):
    """``cancel()`` was called. Nobody outside of a run sees it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a run may go. ``None`` means: no limit."""

    max_rounds: int = 10
    """How many responses it may have. One that calls no function needs one."""
    max_tokens: int | None = None
    """No further response after so many tokens, input and output of all responses together."""
    max_usd: float | None = None
    """No further response after so many US dollars."""
    max_retries: int = 3
    """How often each request is sent again after a passing fault."""

    def reached(self, rounds: int, trace: Trace) -> tuple[str, str] | None:
        """Return the limit that forbids a further response, as its name and a sentence; ``None`` if there is none."""
        if rounds >= self.max_rounds:
            return "max_rounds", f"max_rounds={self.max_rounds}: the assistant still asked for functions"
        if self.max_tokens is not None and trace.tokens.total >= self.max_tokens:
            return "max_tokens", f"max_tokens={self.max_tokens:,}: {trace.tokens.total:,} were used"
        if self.max_usd is not None and (trace.price_usd or 0.0) >= self.max_usd:
            return "max_usd", f"max_usd={self.max_usd:g}: ${trace.price_usd:.6f} were spent"
        return None


# -- the course of a run ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Course:
    """One run on its way: what it asked, what still waits for an output, and what has been answered.

    Attributes:
        request: the arguments of the first ``client.responses.create``, without ``stream``.
        handler: the event handler that reads the streams.
        trace: notes what happens.
        limits: how far it may go.
        rounds: how many responses were read to their end.
        results: what came of each function call so far, in order.
        pending: the calls of the last response whose outputs no response has taken yet.
    """

    request: dict[str, Any]
    handler: EventHandler
    trace: Trace
    limits: Limits
    rounds: int = 0
    results: list[FunctionResult] = field(default_factory=list)
    pending: list[Any] = field(default_factory=list)
    _history: list[Any] = field(default_factory=list)
    _repaired: bool = False

    @property
    def unsent_outputs(self) -> list[dict[str, Any]]:
        """The outputs that the last response still waits for, as input items."""
        known = {result.call_id: result for result in self.results}
        return [
            (known.get(text_at(call, "call_id")) or not_run(call, _INTERRUPTED_OUTPUT)).item()
            for call in self.pending
        ]

    def run(self) -> Plan:
        """Ask until the answer needs no further function, or a limit is reached.

        Raises:
            RunFailed: the API ended the run with an error that does not pass.
            StreamInterrupted: the stream was cut, and neither resuming nor asking again helped.
            KeyboardInterrupt: functions were interrupted.
            asyncio.CancelledError: the task was cancelled while functions ran.
        """
        request = dict(self.request)
        self._history = list(_as_items(request.get("input")))
        while True:
            yield from self._respond(request)
            self.rounds += 1
            self.pending = self.handler.calls or self._left_calls()
            if not self.handler.calls:
                return
            self.handler._goes_on()
            reached = self.limits.reached(self.rounds, self.trace)
            if reached is not None:
                self._end_at_limit(*reached)
                return
            runs: FunctionRuns = yield CallFunctions(self.pending, self.handler._take_submitted())
            for result in runs:
                self._note_result(result)
            if runs.interrupted:
                # Whatever it was: a task that was cancelled must not end with a KeyboardInterrupt.
                raise runs.interruption or KeyboardInterrupt()
            request = self._next_request(request, [result.item() for result in runs])

    def _note_result(self, result: FunctionResult) -> None:
        self.results.append(result)
        self.trace.add_function(result)
        self.handler.on_function_done(result)

    def _left_calls(self) -> list[Any]:
        """Return the calls of a response that ended too early: nobody will run them, but they want an answer."""
        if self.handler.status != "incomplete":
            return []
        output = list_at(self.handler.current_run, "output")
        return [item for item in output if at(item, "type") == "function_call"]

    def _end_at_limit(self, name: str, sentence: str) -> None:
        self.trace.note("Limit reached", sentence)
        self.handler._ends_early("incomplete", name)
        for call in self.pending:
            self.results.append(not_run(call, "The run reached its limit before this call; it was not run."))

    def _next_request(self, request: Mapping[str, Any], outputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the request that sends outputs and asks on."""
        more = {key: value for key, value in request.items() if key not in ("input", "previous_response_id")}
        response = self.handler.current_run
        choice = more.get("tool_choice")
        if choice == "required" or isinstance(choice, Mapping):
            # It was obeyed. Sent again, it would force a call in every round, for ever.
            del more["tool_choice"]
        if "conversation" in more:
            return {**more, "input": outputs}
        if more.get("store") is False:
            # The API keeps nothing, so everything is sent again, as it came.
            self._history += [_as_sent(item) for item in list_at(response, "output")]
            self._history += outputs
            return {**more, "input": list(self._history)}
        return {**more, "input": outputs, "previous_response_id": text_at(response, "id")}

    # -- one response, whatever it takes ------------------------------------------------------------------------------

    def _respond(self, request: Mapping[str, Any]) -> Plan:
        attempt = 0
        stream = yield from self._open(request)
        while True:
            try:
                yield Read(stream)
                return
            except RunFailed as error:
                failure = error
            if not failure.can_retry or attempt >= self.limits.max_retries:
                raise failure
            stream = yield from self._again(request, failure, attempt)
            attempt += 1

    def _open(self, request: Mapping[str, Any]) -> Generator[Any, Any, Any]:
        """Ask for a response; wait and ask again where that can help. Returns the stream."""
        busy = attempt = 0
        while True:
            try:
                return (yield Ask(lambda client: client.responses.create(**request, stream=True)))
            except RunFailed as error:
                failure = error
            if failure.code == "conversation_locked" and busy < len(_BUSY_WAITS_S):
                wait_s = _BUSY_WAITS_S[busy]
                busy += 1
            elif self._is_stuck(failure, request):
                yield from self._repair(request)
                continue
            elif failure.can_retry and attempt < self.limits.max_retries:
                wait_s = _wait_s(failure, attempt)
                attempt += 1
            else:
                raise failure
            if wait_s > _LONGEST_HINT_S:
                raise failure
            yield from self._wait(failure, wait_s)

    def _wait(self, failure: RunFailed, wait_s: float) -> Plan:
        reason = (
            "the conversation is still busy with another answer"
            if failure.code == "conversation_locked"
            else _what_happened(failure)
        )
        self.trace.note("Retrying", f"{reason}; waiting {wait_s:.2g} s")
        self.handler.on_retry(reason, wait_s)
        yield Pause(wait_s)

    def _is_stuck(self, failure: RunFailed, request: Mapping[str, Any]) -> bool:
        """Whether the conversation waits for outputs that never came, and that was not mended yet."""
        return (
            not self._repaired
            and self.rounds == 0
            and "conversation" in request
            and "No tool output found for function call" in str(failure)
        )

    def _repair(self, request: Mapping[str, Any]) -> Plan:
        self._repaired = True
        yield from repair(_conversation_of(request))
        self.trace.note("Repaired", "earlier function calls of this conversation had no output")

    def _again(
        self, request: Mapping[str, Any], failure: RunFailed, attempt: int
    ) -> Generator[Any, Any, Any]:
        """Return a stream that goes on where one was cut, or gives the answer anew."""
        response_id = failure.response_id if request.get("store") is not False else None
        if isinstance(failure, StreamInterrupted) and response_id:
            if request.get("background"):
                is_last = attempt + 1 >= self.limits.max_retries
                stream = yield from self._resume(response_id, failure, is_last=is_last)
            else:
                stream = yield from self._finished(response_id)
            if stream is not None:
                return stream
        self.handler._restart()
        yield from self._wait(failure, _wait_s(failure, attempt))
        return (yield from self._open(request))

    def _resume(self, response_id: str, failure: RunFailed, *, is_last: bool) -> Generator[Any, Any, Any]:
        """Join a background response again after the last event that arrived; the last time, wait for its end."""
        after = self.handler._last_sequence()
        self.trace.note("Resuming", f"the stream was cut; going on after event {after}")
        self.handler.on_retry(_what_happened(failure), 0.0)
        if is_last:
            # Its streams are cut again and again, but it gets on by itself.
            return (yield from self._ended(response_id))
        try:
            return (
                yield Ask(
                    lambda client: client.responses.retrieve(
                        response_id, stream=True, **({"starting_after": after} if after >= 0 else {})
                    )
                )
            )
        except RunFailed as error:
            refused = error
        if refused.can_retry:
            return None
        # It can no longer be streamed (it is more than five minutes old, say), but it can be waited for.
        return (yield from self._ended(response_id))

    def _ended(self, response_id: str) -> Generator[Any, Any, Any]:
        """Look at a background response until it has ended; ``None`` if it has not after ten minutes."""
        failures = 0
        for wait_s in _polls_s():
            try:
                response = yield Ask(lambda client: client.responses.retrieve(response_id))
            except RunFailed as error:
                failures += 1
                if not error.can_retry or failures > self.limits.max_retries:
                    raise
            else:
                if text_at(response, "status") in TERMINAL:
                    return [_end_of(response)]
            yield Pause(wait_s)
        return None

    def _finished(self, response_id: str) -> Generator[Any, Any, Any]:
        """Look whether a response whose stream was cut came to its end all the same; ``None`` if it did not."""
        for wait_s in _LOOKS_S:
            if wait_s:
                yield Pause(wait_s)
            try:
                response = yield Ask(lambda client: client.responses.retrieve(response_id))
            except RunFailed:
                return None
            status = text_at(response, "status")
            if status in ("completed", "incomplete"):
                self.trace.note("Resuming", "the stream was cut, but the answer was complete")
                return [_end_of(response)]
            if status in TERMINAL:
                return None
        return None

    # -- an end before the end ----------------------------------------------------------------------------------------

    def settle(self) -> Plan:
        """Answer what a conversation still waits for, so that it is not stuck. Looks first what is there.

        What is not answered (there is no network, say) is told in the trace; ``repair_thread`` does it later.
        """
        if not self.pending or "conversation" not in self.request:
            return
        outputs = {output["call_id"]: output["output"] for output in self.unsent_outputs}
        try:
            yield from repair(_conversation_of(self.request), outputs)
        except RunFailed as error:
            self.trace.note("Left open", f"function calls of this conversation have no output: {error}")
        else:
            self.pending = []


def repair(conversation_id: str, outputs: Mapping[str, str] | None = None) -> Generator[Any, Any, int]:
    """Answer every function call of a conversation that has no output. Returns how many.

    Args:
        conversation_id: which one.
        outputs: what to answer, by ``call_id``; without one, that the call was interrupted. Given, only these calls
            are looked at, and only the newest hundred items.
    """
    items: list[Any] = []
    after: str | None = None
    while True:
        page = yield from _patiently(_page_of(conversation_id, after))
        items += page.data
        if outputs is not None or not getattr(page, "has_more", False) or not page.data:
            break
        after = page.data[-1].id
    answers = missing_outputs(items, outputs)
    for start in range(0, len(answers), _ITEMS_AT_ONCE):
        yield from _patiently(_adding(conversation_id, answers[start : start + _ITEMS_AT_ONCE]))
    return len(answers)


def _page_of(conversation_id: str, after: str | None) -> Callable[[Any], Any]:
    more = {"after": after} if after else {}
    return lambda client: client.conversations.items.list(conversation_id, limit=_PAGE, order="desc", **more)


def _adding(conversation_id: str, items: list[dict[str, Any]]) -> Callable[[Any], Any]:
    return lambda client: client.conversations.items.create(conversation_id, items=items)


def missing_outputs(items: Iterable[Any], outputs: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the input items that answer every function call among ``items`` that has no output.

    Args:
        items: the items of a conversation, newest first.
        outputs: what to answer, by ``call_id``; calls that are not in it are left alone if it is given.
    """
    items = list(items)
    answered = {text_at(item, "call_id") for item in items if at(item, "type") == "function_call_output"}
    calls = [item for item in reversed(items) if at(item, "type") == "function_call"]
    open_calls = {
        text_at(call, "call_id"): call for call in calls if text_at(call, "call_id") not in answered
    }
    if outputs is not None:
        return [
            {"type": "function_call_output", "call_id": call_id, "output": outputs[call_id]}
            for call_id in open_calls
            if call_id in outputs
        ]
    return [not_run(call, _INTERRUPTED_OUTPUT).item() for call in open_calls.values()]


def _patiently(work: Callable[[Any], Any]) -> Generator[Any, Any, Any]:
    """Ask; while the conversation is busy with the answer that was left, wait and ask again."""
    for wait_s in (*_BUSY_WAITS_S, None):
        try:
            return (yield Ask(work))
        except RunFailed as error:
            failure = error
        if wait_s is None or failure.code != "conversation_locked":
            break
        yield Pause(wait_s)
    raise failure


# -- small things -----------------------------------------------------------------------------------------------------


def _what_happened(failure: RunFailed) -> str:
    """Return the first sentence of a failure: the next one says what to do, and here it is done already."""
    return re.split(r"(?<=[.!?])\s", str(failure), maxsplit=1)[0]


def _wait_s(failure: RunFailed, attempt: int) -> float:
    """Return how long to wait: what the server says, else longer each time, and not the same for a whole room."""
    if failure.retry_after_s is not None:
        return failure.retry_after_s
    return float(min(_FIRST_WAIT_S * 2**attempt, _LONGEST_WAIT_S) * random.uniform(0.75, 1.0))


def _polls_s() -> Iterable[float]:
    """Yield the seconds between looks at a background response: ten minutes in all."""
    wait_s, total_s = FIRST_POLL_S, 0.0
    while total_s < 600:
        yield wait_s
        total_s += wait_s
        wait_s = next_poll_s(wait_s)


def _conversation_of(request: Mapping[str, Any]) -> str:
    conversation = request["conversation"]
    return conversation if isinstance(conversation, str) else text_at(conversation, "id")


def _end_of(response: Any) -> dict[str, Any]:
    """Return the event that would have told of the end of a response."""
    return {"type": f"response.{text_at(response, 'status')}", "response": response}


def _as_items(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    return list(value or [])


def _as_sent(item: Any) -> Any:
    """Return an output item as an input item."""
    if isinstance(item, dict):
        return item
    dumped: dict[str, Any] = json.loads(item.model_dump_json(exclude_none=True))
    return dumped
