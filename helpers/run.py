"""A run: the assistant works on a thread until its answer is complete.

Here live ``stream_run``, which streams responses through an event handler and calls the assistant's functions in
between, and ``repair_thread``. What happens in which order is the plan in ``rounds.py``; here it meets the SDK. Not
here: what the events look like on the screen (``handlers.py``), the table of what happened (``trace.py``), and waiting
for a background response (``waiting.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, overload

import openai
from openai.types.conversations import Conversation
from openai.types.responses import Response
from pydantic import BaseModel, ValidationError

from helpers.citations import Citation, citations_in
from helpers.connection import synchronous
from helpers.errors import (
    ConfigurationError,
    RunFailed,
    Stopped,
    StreamInterrupted,
    WorkshopError,
    what_it_is,
)
from helpers.functions import FunctionResult, FunctionRunner, FunctionRuns
from helpers.handlers import EventHandler, TextHandler, failure_from
from helpers.models import default_model, model_facts
from helpers.rounds import CallFunctions, Cancelled, Course, Limits, Pause, Plan, Read, repair
from helpers.trace import Trace

__all__ = ["AsyncRun", "Run", "repair_thread", "stream_run"]

# Answering calls after an interrupt must not keep anybody waiting for the SDK's ten minutes.
_SETTLE_TIMEOUT_S: Final = 10.0


# -- a run ------------------------------------------------------------------------------------------------------------


class _BaseRun:
    """What a synchronous and an asynchronous run have in common."""

    def __init__(
        self,
        request: dict[str, Any],
        question: str,
        assistant: str,
        handler: EventHandler,
        *,
        functions: FunctionRunner | None = None,
        limits: Limits | None = None,
        text_format: type[BaseModel] | None = None,
    ) -> None:
        self.handler = handler
        self.trace = Trace(question=question, assistant=assistant, handler=type(handler).__name__)
        self._course = Course(request, handler, self.trace, limits or Limits())
        self._functions = functions or FunctionRunner(())
        self._text_format = text_format
        self._ended = False
        self._cancelled = False
        self._given_up = ""

    @property
    def text(self) -> str:
        """The answer's text so far; after a run that broke off, what had arrived."""
        return self.handler.text

    @property
    def status(self) -> str:
        """``"not_started"``, ``"in_progress"``, or how it ended (see ``EventHandler.status``).

        A run that reached a limit of ``stream_run`` is ``"incomplete"``; ``handler.incomplete_reason`` names the limit.
        """
        return self.handler.status

    @property
    def citations(self) -> list[Citation]:
        """The citations of files in the answer so far, numbered as they are shown."""
        found = [getattr(item, "results", None) for item in self.handler.output_items]
        known = [results for results in found if isinstance(results, list)]
        texts = [(text.value, text.annotations) for text in self.handler.texts]
        return citations_in(texts, [result for results in known for result in results] if known else None)

    @property
    def function_results(self) -> list[FunctionResult]:
        """What came of each function call of this run so far, in order."""
        return list(self._course.results)

    @property
    def unsent_outputs(self) -> list[dict[str, Any]]:
        """The outputs that the last response still waits for, as input items.

        Only a run without a thread that ended early has some (on a thread they are added to the conversation). Send
        them first if you go on with ``previous_response_id=run.response.id``.
        """
        return self._course.unsent_outputs

    @property
    def parsed(self) -> Any:
        """The answer as an object of ``text_format``; ``None`` if the model declined (``handler.refusal`` says why).

        Raises:
            WorkshopError: the run has no ``text_format``, or the answer does not fit it (it was cut, say).
        """
        if self._text_format is None:
            raise WorkshopError(
                "This run has no text_format. Give one: stream_run(…, text_format=YourModel)."
            )
        if self.handler.refusal:
            return None
        texts = [text.value for text in self.handler.texts if text.type == "output_text"]
        try:
            return self._text_format.model_validate_json(texts[-1] if texts else "")
        except ValidationError as error:
            count, first = error.error_count(), error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole text"
        raise WorkshopError(
            f"The answer is no {self._text_format.__name__} ({count} problem{'s' if count > 1 else ''}; the first is in "
            f"{where}: {first['msg']}). Look at run.text, and at run.status: an answer that was cut is no JSON."
        )

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

    def _check(self) -> None:
        if self._cancelled:
            raise Cancelled

    def _broke_off(self, failure: BaseException) -> None:
        if self._ended:
            return  # it had ended already: somebody only stopped reading
        if isinstance(failure, RunFailed) and not failure.partial_text:
            # What failed may have been another request than the one that brought the text.
            failure.partial_text = self.text
        if isinstance(failure, Cancelled):
            self.trace.note("Cancelled", "cancel() was called")
            self.handler._ends_early("cancelled")
        elif isinstance(failure, StreamInterrupted):
            self.trace.note("Cut off", str(failure))
        elif isinstance(failure, KeyboardInterrupt | asyncio.CancelledError | GeneratorExit):
            self.trace.note("Interrupted", "you stopped it")
        elif isinstance(failure, RunFailed):
            # The request was refused, or the SDK turned the error event into an exception: no event told of it.
            self.trace.note("Failed", str(failure))

    def _stopped(self) -> Stopped:
        arrived = len(self.text)
        rounds = self._course.rounds
        kept = (
            "Nothing was added to the thread."
            if not rounds
            else f"The {rounds} response{'s' if rounds > 1 else ''} before are in the thread, and their function calls "
            "are answered."
            if "conversation" in self._course.request
            else "The responses before it are kept."
        )
        return Stopped(
            f"You stopped the run; the {arrived:,} characters that had arrived are in its text. {kept}",
            partial_text=self.text,
        )

    def _left_running(self) -> str | None:
        """Return the id of a background response that goes on without us, to cancel it; the first time only."""
        response = self.handler.current_run
        if response is None or self._ended or not self._course.request.get("background"):
            return None
        if response.status not in ("queued", "in_progress") or response.id == self._given_up:
            return None
        self._given_up = response.id
        return response.id


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
        sleep: Callable[[float], object] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(request, question, assistant, handler, **more)
        # What is tried again is tried again in the plan, which shows it and does not repeat what cannot help.
        self._client = client.with_options(max_retries=0)
        self._sleep = sleep or (lambda seconds: time.sleep(seconds))
        self._events = self._stream()

    def __iter__(self) -> Iterator[Any]:
        events: Iterator[Any] = self._events
        return events

    @property
    def text_deltas(self) -> Iterator[str]:
        """The pieces of text: those that have arrived, then the others as they come.

        If an answer that was cut comes back in other words, its pieces follow as well.
        """
        number, is_over = 0, False
        while not is_over:
            is_over = next(self._events, None) is None
            pieces = self.handler._progress.pieces
            while number < len(pieces):
                yield pieces[number][2]
                number += 1

    def until_done(self) -> Self:
        """Read the run to its end, call the functions that it asks for, and return this run.

        Raises:
            RunFailed: the API ended the run with an error.
            StreamInterrupted: the stream stopped before the answer was complete, and asking again did not help.
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

    def cancel(self) -> None:
        """Stop the run at its next event, from a hook or from another thread; ``status`` is then ``"cancelled"``.

        What the model had asked your functions is answered, so that the conversation can go on. A function that runs
        is no longer waited for. A response in the background is cancelled at the API.
        """
        self._cancelled = True
        self._give_up_background()

    def close(self) -> None:
        """Stop reading and close the stream; a run that was not finished is given up."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stream(self) -> Generator[Any, None, None]:
        with self.handler.running():
            self.trace.start()
            try:
                yield from self._follow(self._course.run())
                self._ended = True
            except Cancelled as cancelled:
                self._broke_off(cancelled)
            except BaseException as failure:
                self._broke_off(failure)
                self._settle()
                raise
            self._settle()

    def _give_up_background(self) -> None:
        response_id = self._left_running()
        if response_id is not None:
            with contextlib.suppress(
                openai.APIError
            ):  # it ended meanwhile, and then there is nothing to cancel
                self._client.responses.cancel(response_id)

    def _settle(self) -> None:
        self._cancelled = False
        client, self._client = self._client, self._client.with_options(timeout=_SETTLE_TIMEOUT_S)
        try:
            self._give_up_background()
            for _ in self._follow(self._course.settle()):
                pass
        finally:
            self._client = client

    def _follow(self, plan: Plan) -> Generator[Any, None, None]:
        """Do what a plan asks for, and yield the events that it has read."""
        came: Any = None
        failure: RunFailed | None = None
        while True:
            if not isinstance(came, FunctionRuns):  # what functions gave back is noted first
                self._check()
            try:
                wanted = plan.send(came) if failure is None else plan.throw(failure)
            except StopIteration:
                return
            except KeyboardInterrupt:
                self._check()  # cancel() looks like an interrupt to functions
                raise
            came = failure = None
            self._check()
            try:
                if isinstance(wanted, Read):
                    # Closed here and now, whatever happens: a conversation is busy until its stream is closed.
                    with contextlib.closing(self.handler.iterate(wanted.stream)) as events:
                        for event in events:
                            self.trace.add(event)
                            yield event
                            self._check()
                elif isinstance(wanted, Pause):
                    self._sleep(wanted.seconds)
                elif isinstance(wanted, CallFunctions):
                    came = self._functions.run(
                        wanted.calls, answered=wanted.answered, stop=lambda: self._cancelled
                    )
                else:
                    came = wanted.work(self._client)
            except openai.APIError as error:
                failure = failure_from(error)
            except RunFailed as error:
                failure = error
            # The SDK's exception is gone here, and with it the request that holds the key.


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
        **more: Any,
    ) -> None:
        super().__init__(request, question, assistant, handler, **more)
        self._client = client.with_options(max_retries=0)
        self._sleep = sleep
        self._waiting: asyncio.Task[Any] | None = None
        self._events = self._stream()

    def __aiter__(self) -> AsyncIterator[Any]:
        events: AsyncIterator[Any] = self._events
        return events

    async def until_done(self) -> Self:
        """Read the run to its end, call the functions that it asks for, and return this run.

        If its task is cancelled, calls that wait for an output are answered first.

        Raises:
            RunFailed: the API ended the run with an error.
            StreamInterrupted: the stream stopped before the answer was complete, and asking again did not help.
        """
        try:
            async for _ in self._events:
                pass
        except KeyboardInterrupt:
            stopped = True
        else:
            stopped = False
        if stopped:
            raise self._stopped()
        return self

    def cancel(self) -> None:
        """Stop the run at once, from a hook or from another thread; ``status`` is then ``"cancelled"``.

        What the model had asked your functions is answered, so that the conversation can go on. A function that runs
        is no longer waited for.
        """
        self._cancelled = True
        waiting = self._waiting
        if waiting is not None:
            waiting.get_loop().call_soon_threadsafe(self._wake, waiting)

    def _wake(self, task: asyncio.Task[Any]) -> None:
        if self._waiting is task:  # it still waits for us, and not for something else of its own
            task.cancel()

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
                async with contextlib.aclosing(self._follow(self._course.run())) as events:
                    async for event in events:
                        yield event
                self._ended = True
            except Cancelled as cancelled:
                self._broke_off(cancelled)
            except BaseException as failure:
                self._broke_off(failure)
                await self._settle()
                raise
            await self._settle()

    async def _settle(self) -> None:
        self._cancelled = False
        response_id = self._left_running()
        if response_id is not None or self._course.pending:
            # To its end also if the task is cancelled once more meanwhile.
            await asyncio.shield(asyncio.ensure_future(self._answer_pending(response_id)))

    async def _answer_pending(self, response_id: str | None) -> None:
        client, self._client = self._client, self._client.with_options(timeout=_SETTLE_TIMEOUT_S)
        try:
            if response_id is not None:
                with contextlib.suppress(
                    openai.APIError
                ):  # it ended meanwhile, and then there is nothing to cancel
                    await self._client.responses.cancel(response_id)
            async for _ in self._follow(self._course.settle()):
                pass
        finally:
            self._client = client

    async def _follow(self, plan: Plan) -> Any:
        """Do what a plan asks for, and yield the events that it has read."""
        came: Any = None
        failure: RunFailed | None = None
        while True:
            if not isinstance(came, FunctionRuns):  # what functions gave back is noted first
                self._check()
            try:
                wanted = plan.send(came) if failure is None else plan.throw(failure)
            except StopIteration:
                return
            except (KeyboardInterrupt, asyncio.CancelledError) as error:
                if not self._cancelled:
                    raise
                raise self._was_cancelled(error) from None
            came = failure = None
            self._check()
            self._waiting = asyncio.current_task()
            try:
                if isinstance(wanted, Read):
                    # The end of a response that was waited for comes as a list.
                    stream = _one_by_one(wanted.stream) if isinstance(wanted.stream, list) else wanted.stream
                    async with contextlib.aclosing(self.handler.iterate(stream)) as events:
                        async for event in events:
                            self._waiting = None
                            self.trace.add(event)
                            yield event
                            self._check()
                            self._waiting = asyncio.current_task()
                elif isinstance(wanted, Pause):
                    await self._sleep(wanted.seconds)
                elif isinstance(wanted, CallFunctions):
                    came = await self._functions.run_async(
                        wanted.calls, answered=wanted.answered, stop=lambda: self._cancelled
                    )
                else:
                    came = wanted.work(self._client)
                    if inspect.isawaitable(came):
                        came = await came
            except openai.APIError as error:
                failure = failure_from(error)
            except RunFailed as error:
                failure = error
            except asyncio.CancelledError as error:
                if not self._cancelled:
                    raise
                raise self._was_cancelled(error) from None
            finally:
                self._waiting = None

    def _was_cancelled(self, error: BaseException) -> Cancelled:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None:
            task.uncancel()  # it was cancel(), which ends the run and not the task
        return Cancelled()


async def _one_by_one(events: list[Any]) -> AsyncIterator[Any]:
    for event in events:
        yield event


# -- starting one -----------------------------------------------------------------------------------------------------


@overload
def stream_run(
    client: openai.OpenAI,
    assistant: Mapping[str, Any],
    thread: Conversation | str | None,
    question: str | Sequence[Mapping[str, Any]] | None = None,
    event_handler: EventHandler | None = None,
    *,
    text_format: type[BaseModel] | None = None,
    max_rounds: int = 10,
    max_tokens: int | None = None,
    max_usd: float | None = None,
    max_retries: int = 3,
    function_timeout_s: float = 30.0,
    **more: Any,
) -> Run: ...
@overload
def stream_run(
    client: openai.AsyncOpenAI,
    assistant: Mapping[str, Any],
    thread: Conversation | str | None,
    question: str | Sequence[Mapping[str, Any]] | None = None,
    event_handler: EventHandler | None = None,
    *,
    text_format: type[BaseModel] | None = None,
    max_rounds: int = 10,
    max_tokens: int | None = None,
    max_usd: float | None = None,
    max_retries: int = 3,
    function_timeout_s: float = 30.0,
    **more: Any,
) -> AsyncRun: ...
def stream_run(
    client: openai.OpenAI | openai.AsyncOpenAI,
    assistant: Mapping[str, Any],
    thread: Conversation | str | None,
    question: str | Sequence[Mapping[str, Any]] | None = None,
    event_handler: EventHandler | None = None,
    *,
    text_format: type[BaseModel] | None = None,
    max_rounds: int = 10,
    max_tokens: int | None = None,
    max_usd: float | None = None,
    max_retries: int = 3,
    function_timeout_s: float = 30.0,
    **more: Any,
) -> Run | AsyncRun:
    """Let an assistant answer on a thread, streamed through an event handler, with your functions called on the way.

    When the model asks for functions, they are run, their outputs are sent, and the answer streams on, until there is
    no call left. Every call gets an output, whatever happens, so that a conversation is never stuck. (A ``tool_choice``
    that forces a call holds for the first response only; else the run could not end.)

    What passes is waited for: a busy conversation, too many requests, a fault of the server. A stream that is cut is
    resumed if the response runs in the background, and else asked for again: text that had arrived is not told twice,
    and no function is called twice for one call.

    Args:
        client: what ``connect()`` returned.
        assistant: an ``Assistant``, or any mapping of arguments of ``client.responses.create``.
        thread: a conversation or its id; ``None`` for a question that nothing remembers.
        question: a text, or a list of input items; without one, the last message of the thread is answered.
        event_handler: without one, ``TextHandler()``, which shows the answer.
        text_format: a Pydantic model that the answer has to fit; ``run.parsed`` is then an object of it.
        max_rounds: at most so many responses. A run that reaches this or another limit is ``"incomplete"``.
        max_tokens: no further response once so many tokens were used.
        max_usd: no further response once so many US dollars were spent.
        max_retries: how often a request is sent again after a passing fault.
        function_timeout_s: how many seconds a function may take.
        **more: further arguments of ``client.responses.create``, such as ``include``, ``max_output_tokens``,
            ``tool_choice``, ``background`` or ``previous_response_id``.

    Returns:
        A run that has not started: call ``until_done()``, loop over it, or use it in a ``with`` block.

    Raises:
        ConfigurationError: an empty question, something that is no thread, a limit that cannot be kept, or an argument
            that was given twice.

    Example:
        ::

            run = stream_run(client, agent, thread, "How large is GPT-2?", event_handler=ToolboxHandler(), max_rounds=6)
            run.until_done()
    """
    request = _request(assistant, thread, question, more)
    if text_format is not None:
        request["text"] = {**request.get("text", {}), "format": _format_of(text_format)}
    name = str(getattr(assistant, "name", "") or "assistant")
    handler = TextHandler() if event_handler is None else event_handler
    if not isinstance(handler, EventHandler):
        raise ConfigurationError(
            f"event_handler must be an EventHandler object, not {what_it_is(handler)}. "
            "Make a subclass of helpers.EventHandler and pass an object of it: event_handler=Shout()."
        )
    include = _included(handler, request)
    if include:
        request["include"] = include
    settings: dict[str, Any] = {
        "functions": FunctionRunner(getattr(assistant, "functions", ()), time_limit_s=function_timeout_s),
        "limits": _limits(max_rounds, max_tokens, max_usd, max_retries, str(request.get("model", ""))),
        "text_format": text_format,
    }
    asked = question if isinstance(question, str) else ""
    if isinstance(client, openai.AsyncOpenAI):
        return AsyncRun(client, request, asked, name, handler, **settings)
    return Run(client, request, asked, name, handler, **settings)


def _limits(
    max_rounds: object, max_tokens: object, max_usd: object, max_retries: object, model: str
) -> Limits:
    for name, value, least in (
        ("max_rounds", max_rounds, 1),
        ("max_tokens", max_tokens, 1),
        ("max_retries", max_retries, 0),
    ):
        if name == "max_tokens" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigurationError(f"{name} must be a whole number from {least} on, not {value!r}.")
    if max_usd is not None:
        if (
            isinstance(max_usd, bool)
            or not isinstance(max_usd, int | float)
            or not 0 < max_usd < float("inf")
        ):
            raise ConfigurationError("max_usd must be a number of US dollars above 0, such as 0.05.")
        facts = model_facts(model or default_model())
        if facts is None or facts.input_usd is None:
            raise ConfigurationError(
                f"The price of {model} is not known here, so max_usd could not be kept. Choose a model from "
                "helpers.model_table(), or use max_tokens."
            )
    return Limits(max_rounds, max_tokens, max_usd, max_retries)  # type: ignore[arg-type]  # checked above


def _format_of(text_format: object) -> dict[str, Any]:
    """Return ``text.format`` for a Pydantic model."""
    if not isinstance(text_format, type) or not issubclass(text_format, BaseModel):
        raise ConfigurationError(
            f"text_format must be a class that inherits from pydantic.BaseModel, not {what_it_is(text_format)}."
        )
    # The SDK writes a strict schema of a model for a function, and it is the same one for an answer.
    tool = openai.pydantic_responses_function_tool(text_format)
    return {
        "type": "json_schema",
        "name": text_format.__name__[:64],
        "schema": tool["parameters"],
        "strict": True,
    }


def _request(
    assistant: Mapping[str, Any],
    thread: Conversation | str | None,
    question: str | Sequence[Mapping[str, Any]] | None,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    if not isinstance(assistant, Mapping):
        raise ConfigurationError(f"The second argument must be an Assistant, not {what_it_is(assistant)}.")
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
        f"The third argument must be a thread from client.conversations.create() or its id, not {what_it_is(thread)}. "
        "For a question that nothing remembers, write None."
    )


# -- mending ----------------------------------------------------------------------------------------------------------


@overload
def repair_thread(client: openai.OpenAI, thread: Conversation | str) -> int: ...
@overload
def repair_thread(client: openai.AsyncOpenAI, thread: Conversation | str) -> Coroutine[Any, Any, int]: ...
def repair_thread(
    client: openai.OpenAI | openai.AsyncOpenAI, thread: Conversation | str
) -> int | Coroutine[Any, Any, int]:
    """Answer every function call of a thread that never got an output, and return how many there were.

    A conversation with such a call refuses each new question ("No tool output found for function call …"). It happens
    when a loop by hand is interrupted, or a kernel dies; ``stream_run`` leaves none behind, and mends what it finds.

    Args:
        client: what ``connect()`` returned; with an ``AsyncOpenAI`` client, ``await repair_thread(…)``.
        thread: the conversation or its id.

    Raises:
        RunFailed: the conversation could not be read or added to.
        ConfigurationError: ``thread`` is no thread.

    Example:
        ::

            repair_thread(client, thread)
    """
    plan = repair(_thread_id(thread))
    if isinstance(client, openai.AsyncOpenAI):
        return _mend_async(client, plan)
    return _mend(synchronous(client), plan)


def _mend(client: openai.OpenAI, plan: Generator[Any, Any, int]) -> int:
    came: Any = None
    failure: RunFailed | None = None
    while True:
        try:
            wanted = plan.send(came) if failure is None else plan.throw(failure)
        except StopIteration as end:
            return int(end.value)
        came = failure = None
        try:
            if isinstance(wanted, Pause):
                time.sleep(wanted.seconds)
            else:
                came = wanted.work(client)
        except openai.APIError as error:
            failure = failure_from(error)


async def _mend_async(client: openai.AsyncOpenAI, plan: Generator[Any, Any, int]) -> int:
    came: Any = None
    failure: RunFailed | None = None
    while True:
        try:
            wanted = plan.send(came) if failure is None else plan.throw(failure)
        except StopIteration as end:
            return int(end.value)
        came = failure = None
        try:
            if isinstance(wanted, Pause):
                await asyncio.sleep(wanted.seconds)
            else:
                came = await wanted.work(client)
        except openai.APIError as error:
            failure = failure_from(error)
