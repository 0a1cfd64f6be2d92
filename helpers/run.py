"""A run: the assistant works on a thread until its answer is complete.

Here live ``stream_run``, which streams a response through an event handler, and ``wait_for``, which polls a background
response to its end. Not here: what the events look like on the screen (``handlers.py``), and the table of what happened
(``trace.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, overload

import openai
from openai.types.conversations import Conversation
from openai.types.responses import Response

from helpers.citations import Citation, citations_in
from helpers.errors import ConfigurationError, RunFailed, Stopped, StreamInterrupted, WorkshopError, explain
from helpers.handlers import EventHandler, TextHandler, failure_from
from helpers.trace import Trace

__all__ = ["AsyncRun", "Run", "stream_run", "wait_for"]

_TERMINAL: Final = frozenset({"completed", "failed", "cancelled", "incomplete"})
# How long to wait before each new attempt on a conversation that is still busy with another answer, in seconds.
_BUSY_WAITS_S: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
# How long to wait between two looks at a background response if the server suggests nothing, in seconds.
_FIRST_POLL_S: Final = 0.5
_LONGEST_POLL_S: Final = 5.0


# -- streaming ------------------------------------------------------------------------------------------------------


class _BaseRun:
    """What a synchronous and an asynchronous run have in common."""

    def __init__(self, request: dict[str, Any], question: str, assistant: str, handler: EventHandler) -> None:
        self.handler = handler
        self.trace = Trace(question=question, assistant=assistant)
        self._request = request

    @property
    def text(self) -> str:
        """The answer's text so far; after a run that broke off, what had arrived."""
        return self.handler.text

    @property
    def status(self) -> str:
        """``"not_started"``, ``"in_progress"``, or how it ended (see ``EventHandler.status``)."""
        return self.handler.status

    @property
    def citations(self) -> list[Citation]:
        """The citations of files in the answer so far, numbered as they are shown."""
        found = [getattr(item, "results", None) for item in self.handler.output_items]
        known = [results for results in found if isinstance(results, list)]
        texts = [(text.value, text.annotations) for text in self.handler.texts]
        return citations_in(texts, [result for results in known for result in results] if known else None)

    @property
    def response(self) -> Response:
        """The response as the API sent it last.

        Raises:
            WorkshopError: if none has arrived yet.
        """
        response = self.handler.current_run
        if response is None:
            raise WorkshopError("No response has arrived yet. Call until_done() first.")
        return response

    @property
    def price_usd(self) -> float | None:
        """The price so far in US dollars; ``None`` if the model's price is not known. Estimated in recorded mode."""
        return self.trace.price_usd

    def __repr__(self) -> str:
        pieces = [
            f"run {self.status}",
            f"{len(self.text):,} characters",
            f"{self.trace.tokens.total:,} tokens",
        ]
        return " · ".join(pieces)

    def _busy(self, attempt: int) -> float:
        wait_s = _BUSY_WAITS_S[attempt]
        self.trace.note(
            "Retrying", f"the conversation is still busy with another answer; waiting {wait_s:g} s"
        )
        return wait_s

    def _broke_off(self, failure: BaseException) -> None:
        if self.trace.status in _TERMINAL:
            return  # it had ended already: somebody only stopped reading
        if isinstance(failure, StreamInterrupted):
            self.trace.note("Cut off", str(failure))
        elif isinstance(failure, KeyboardInterrupt | asyncio.CancelledError | GeneratorExit):
            self.trace.note("Interrupted", "you stopped it")
        elif isinstance(failure, RunFailed):
            # The request was refused, or the SDK turned the error event into an exception: no event told of it.
            self.trace.note("Failed", str(failure))

    def _stopped(self) -> Stopped:
        arrived = len(self.text)
        return Stopped(
            f"You stopped the run; the {arrived:,} characters that had arrived are in its text. "
            "Nothing was added to the thread.",
            partial_text=self.text,
        )


class Run(_BaseRun):
    """One run of an assistant. It starts when you first read from it; ``until_done()`` reads it to its end.

    Attributes:
        handler: the event handler that it feeds.
        trace: what happened, as a table; ``trace.diagram()`` draws it.
    """

    def __init__(
        self,
        client: openai.OpenAI,
        request: dict[str, Any],
        question: str,
        assistant: str,
        handler: EventHandler,
        *,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(request, question, assistant, handler)
        self._client = client
        self._sleep = sleep
        self._events = self._stream()

    def __iter__(self) -> Iterator[Any]:
        events: Iterator[Any] = self._events
        return events

    @property
    def text_deltas(self) -> Iterator[str]:
        """The pieces of text: those that have arrived, then the others as they come."""
        number = 0
        while True:
            pieces = self.handler.text_deltas
            yield from pieces[number:]
            number = len(pieces)
            if next(self._events, None) is None:
                yield from self.handler.text_deltas[number:]
                return

    def until_done(self) -> Self:
        """Read the stream to its end, and return this run.

        Raises:
            RunFailed: the API ended the run with an error.
            StreamInterrupted: the stream stopped before the answer was complete.
            Stopped: you interrupted the cell.
        """
        try:
            for _ in self._events:
                pass
        except KeyboardInterrupt:
            stopped = True
        else:
            stopped = False
        if stopped:  # raised out here, so that it does not carry the stack of the place where it happened
            raise self._stopped()
        return self

    def close(self) -> None:
        """Stop reading and close the stream; a run that was not finished is given up."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stream(self) -> Any:
        with self.handler.running():
            self.trace.start()
            try:
                for event in self.handler.iterate(self._open()):
                    self.trace.add(event)
                    yield event
            except BaseException as failure:
                self._broke_off(failure)
                raise

    def _open(self) -> openai.Stream[Any]:
        attempt = 0
        while True:
            try:
                stream: openai.Stream[Any] = self._client.responses.create(**self._request, stream=True)
                return stream
            except openai.APIError as error:
                failure = failure_from(error)
            # The SDK's exception is gone here, and with it the request that holds the key.
            if failure.code != "conversation_locked" or attempt == len(_BUSY_WAITS_S):
                raise failure
            self._sleep(self._busy(attempt))
            attempt += 1


class AsyncRun(_BaseRun):
    """One run of an assistant with an ``AsyncOpenAI`` client: ``await run.until_done()``, or ``async for event in run``.

    Attributes:
        handler: the event handler that it feeds.
        trace: what happened, as a table; ``trace.diagram()`` draws it.
    """

    def __init__(
        self,
        client: openai.AsyncOpenAI,
        request: dict[str, Any],
        question: str,
        assistant: str,
        handler: EventHandler,
        *,
        sleep: Callable[[float], Coroutine[Any, Any, object]] = asyncio.sleep,
    ) -> None:
        super().__init__(request, question, assistant, handler)
        self._client = client
        self._sleep = sleep
        self._events = self._stream()

    def __aiter__(self) -> AsyncIterator[Any]:
        events: AsyncIterator[Any] = self._events
        return events

    async def until_done(self) -> Self:
        """Read the stream to its end, and return this run.

        Raises:
            RunFailed: the API ended the run with an error.
            StreamInterrupted: the stream stopped before the answer was complete.
        """
        async for _ in self._events:
            pass
        return self

    async def close(self) -> None:
        """Stop reading and close the stream; a run that was not finished is given up."""
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _stream(self) -> Any:
        with self.handler.running():
            self.trace.start()
            try:
                async with contextlib.aclosing(self.handler.iterate(await self._open())) as events:
                    async for event in events:
                        self.trace.add(event)
                        yield event
            except BaseException as failure:
                self._broke_off(failure)
                raise

    async def _open(self) -> openai.AsyncStream[Any]:
        attempt = 0
        while True:
            try:
                stream: openai.AsyncStream[Any] = await self._client.responses.create(
                    **self._request, stream=True
                )
                return stream
            except openai.APIError as error:
                failure = failure_from(error)
            if failure.code != "conversation_locked" or attempt == len(_BUSY_WAITS_S):
                raise failure
            await self._sleep(self._busy(attempt))
            attempt += 1


@overload
def stream_run(
    client: openai.OpenAI,
    assistant: Mapping[str, Any],
    thread: Conversation | str | None,
    question: str | Sequence[Mapping[str, Any]] | None = None,
    event_handler: EventHandler | None = None,
    **more: Any,
) -> Run: ...
@overload
def stream_run(
    client: openai.AsyncOpenAI,
    assistant: Mapping[str, Any],
    thread: Conversation | str | None,
    question: str | Sequence[Mapping[str, Any]] | None = None,
    event_handler: EventHandler | None = None,
    **more: Any,
) -> AsyncRun: ...
def stream_run(
    client: openai.OpenAI | openai.AsyncOpenAI,
    assistant: Mapping[str, Any],
    thread: Conversation | str | None,
    question: str | Sequence[Mapping[str, Any]] | None = None,
    event_handler: EventHandler | None = None,
    **more: Any,
) -> Run | AsyncRun:
    """Let an assistant answer on a thread, streamed through an event handler.

    Args:
        client: what ``connect()`` returned.
        assistant: an ``Assistant``, or any mapping of arguments of ``client.responses.create``.
        thread: a conversation or its id; ``None`` for a question that nothing remembers.
        question: a text, or a list of input items; without one, the last message of the thread is answered.
        event_handler: without one, ``TextHandler()``, which shows the answer.
        **more: further arguments of ``client.responses.create``, such as ``include`` or ``max_output_tokens``.

    Returns:
        A run that has not started: call ``until_done()``, loop over it, or use it in a ``with`` block. If the
        conversation is still busy with another answer, it waits and tries again, for about eight seconds in all.

    Raises:
        ConfigurationError: an empty question, something that is no thread, or an argument that was given twice.

    Example:
        ::

            run = stream_run(client, teacher, thread, "What is GPT-2?", event_handler=Shout()).until_done()
    """
    request = _request(assistant, thread, question, more)
    name = str(getattr(assistant, "name", "") or "assistant")
    handler = TextHandler() if event_handler is None else event_handler
    if not isinstance(handler, EventHandler):
        raise ConfigurationError(
            f"event_handler must be an EventHandler object, not {_what_it_is(handler)}. "
            "Make a subclass of helpers.EventHandler and pass an object of it: event_handler=Shout()."
        )
    include = _included(handler, request)
    if include:
        request["include"] = include
    asked = question if isinstance(question, str) else ""
    if isinstance(client, openai.AsyncOpenAI):
        return AsyncRun(client, request, asked, name, handler)
    return Run(client, request, asked, name, handler)


def _request(
    assistant: Mapping[str, Any],
    thread: Conversation | str | None,
    question: str | Sequence[Mapping[str, Any]] | None,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    if not isinstance(assistant, Mapping):
        raise ConfigurationError(f"The second argument must be an Assistant, not {_what_it_is(assistant)}.")
    request = dict(assistant)
    if thread is not None:
        request["conversation"] = _thread_id(thread)
    if isinstance(question, str) and not question.strip():
        raise ConfigurationError("The question is empty. Write at least a word.")
    if question is None and thread is None and "previous_response_id" not in more:
        raise ConfigurationError("There is neither a thread nor a question, so there is nothing to answer.")
    # Empty, not left out, when the thread's last message is the question: the API wants the field to be there.
    request["input"] = question if isinstance(question, str) else list(question or [])
    if "stream" in more:
        raise ConfigurationError("stream_run always streams: leave out stream=….")
    twice = [name for name in more if name in request]
    if twice:
        raise ConfigurationError(
            f"{' and '.join(repr(name) for name in twice)} came twice: from the assistant (or the thread) and as an "
            "argument. Make a variation of the assistant instead, such as assistant.with_instructions(…)."
        )
    return {**request, **more}


def _included(handler: EventHandler, request: Mapping[str, Any]) -> list[str]:
    """Return what to ask for with ``include``: what the caller wants, and what the handler needs to show these tools."""
    include = list(request.get("include") or [])
    tools = {str(tool.get("type")) for tool in request.get("tools") or [] if isinstance(tool, Mapping)}
    for kind in type(handler).__mro__:
        for value in vars(kind).get("needs_include", ()):
            # "file_search_call.results" makes sense only where the tool "file_search" is offered.
            if value not in include and value.partition("_call.")[0] in tools:
                include.append(value)
    return include


def _thread_id(thread: object) -> str:
    if isinstance(thread, str) and thread.startswith("conv"):
        return thread
    if isinstance(thread, Conversation):
        return thread.id
    raise ConfigurationError(
        f"The third argument must be a thread from client.conversations.create() or its id, not {_what_it_is(thread)}. "
        "For a question that nothing remembers, write None."
    )


def _what_it_is(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"the text {value[:30]!r}" if isinstance(value, str) else f"a {type(value).__name__}"


# -- waiting for a background response --------------------------------------------------------------------------------


@overload
def wait_for(
    client: openai.OpenAI,
    response: Response | str,
    *,
    deadline_s: float = 600.0,
    show: bool = True,
) -> Response: ...
@overload
def wait_for(
    client: openai.AsyncOpenAI,
    response: Response | str,
    *,
    deadline_s: float = 600.0,
    show: bool = True,
) -> Coroutine[Any, Any, Response]: ...
def wait_for(
    client: openai.OpenAI | openai.AsyncOpenAI,
    response: Response | str,
    *,
    deadline_s: float = 600.0,
    show: bool = True,
) -> Response | Coroutine[Any, Any, Response]:
    """Poll a background response until it ends, and return it.

    It waits as long as the server suggests (the header ``openai-poll-after-ms``), else half a second at first and five
    at most. If you interrupt the cell, the response is cancelled.

    Args:
        client: what ``connect()`` returned; with an ``AsyncOpenAI`` client, ``await wait_for(…)``.
        response: the response, or its id.
        deadline_s: give up waiting after this many seconds. The response itself goes on.
        show: print each new status.

    Returns:
        The response with ``status`` ``"completed"``, ``"failed"``, ``"cancelled"`` or ``"incomplete"``.

    Raises:
        RunFailed: it could not be asked for (it was deleted, there is no network).
        WorkshopError: it had not ended by the deadline.
        Stopped: you interrupted the cell; the response was cancelled.
    """
    waiting = _Waiting(response, deadline_s, show)
    if isinstance(client, openai.AsyncOpenAI):
        return _wait_async(client, waiting)
    return _wait(client, waiting)


class _Waiting:
    """The state of one wait: what was seen last, what was said, when to give up."""

    def __init__(self, response: Response | str, deadline_s: float, show: bool) -> None:
        if not isinstance(response, Response | str) or (isinstance(response, str) and not response.strip()):
            raise ConfigurationError(
                f"wait_for takes a response or its id, not {_what_it_is(response)}. Start one with "
                "client.responses.create(…, background=True)."
            )
        self.id = response if isinstance(response, str) else response.id
        self.last: Response | None = None
        self._said = ""
        self._show = show
        self._deadline_s = deadline_s
        self._start = time.monotonic()
        self._next_s = _FIRST_POLL_S
        if isinstance(response, Response):
            self._say(response.status or "")

    def saw(self, response: Response, headers: Mapping[str, str]) -> float | None:
        """Note an answer; return how many seconds to wait before the next look, or ``None`` if it was the last."""
        self.last = response
        self._say(response.status or "")
        if response.status in _TERMINAL:
            self._end()
            return None
        hint = headers.get("openai-poll-after-ms", "")
        wait_s = int(hint) / 1000 if hint.isdigit() else self._next_s
        self._next_s = min(self._next_s * 1.5, _LONGEST_POLL_S)
        left_s = self._deadline_s - (time.monotonic() - self._start)
        if left_s <= 0:
            self._end()
            raise WorkshopError(
                f"The run is still {response.status} after {self._deadline_s:g} seconds. It goes on: call wait_for again "
                f"later, or stop it with client.responses.cancel({self.id!r})."
            )
        return min(wait_s, left_s)

    def _say(self, status: str) -> None:
        if self._show and status and status != self._said:
            print(f" → {status}" if self._said else status, end="", flush=True)
        self._said = status or self._said

    def _end(self) -> None:
        if not self._show:
            return
        print()
        last = self.last
        if last is not None and last.status == "failed":
            print(explain(failure_from(last.error or {"message": "it gave no reason."})))
        elif last is not None and last.status == "incomplete":
            reason = last.incomplete_details.reason if last.incomplete_details else None
            print(
                f"The answer ends early ({reason or 'no reason given'}); what there is of it is in output_text."
            )

    def failed(self, failure: RunFailed) -> RunFailed:
        """Return ``failure`` with the advice that fits to waiting."""
        if isinstance(failure, StreamInterrupted):
            return StreamInterrupted(
                f"{failure} The run itself goes on: wait_for(client, {self.id!r}) looks again."
            )
        return failure

    def stopped(self, failure: RunFailed | None) -> Stopped:
        """Return what to raise for an interrupt, after an attempt to cancel the response."""
        self._end()
        if failure is None:
            return Stopped("You stopped waiting, and the run was cancelled.")
        return Stopped(f"You stopped waiting. The run {self.id} could not be cancelled: {failure}")


def _wait(client: openai.OpenAI, waiting: _Waiting) -> Response:
    stopped = False
    try:
        while True:
            wait_s = waiting.saw(*_look(client, waiting))
            if wait_s is None:
                break
            time.sleep(wait_s)
    except KeyboardInterrupt:
        stopped = True
    if stopped:
        failure = None
        try:
            client.responses.cancel(waiting.id)
        except openai.APIError as error:
            failure = failure_from(error)
        raise waiting.stopped(failure)
    assert waiting.last is not None
    return waiting.last


def _look(client: openai.OpenAI, waiting: _Waiting) -> tuple[Response, Mapping[str, str]]:
    try:
        raw = client.responses.with_raw_response.retrieve(waiting.id)
        return raw.parse(), raw.headers
    except openai.APIError as error:
        failure = failure_from(error)
    raise waiting.failed(failure)


async def _wait_async(client: openai.AsyncOpenAI, waiting: _Waiting) -> Response:
    cancelled: asyncio.CancelledError | None = None
    try:
        while True:
            wait_s = waiting.saw(*await _look_async(client, waiting))
            if wait_s is None:
                break
            await asyncio.sleep(wait_s)
    except asyncio.CancelledError as error:
        cancelled = error
    if cancelled is not None:
        try:
            await client.responses.cancel(waiting.id)
        finally:
            raise cancelled
    assert waiting.last is not None
    return waiting.last


async def _look_async(client: openai.AsyncOpenAI, waiting: _Waiting) -> tuple[Response, Mapping[str, str]]:
    try:
        raw = await client.responses.with_raw_response.retrieve(waiting.id)
        return raw.parse(), raw.headers
    except openai.APIError as error:
        failure = failure_from(error)
    raise waiting.failed(failure)
