"""Event handlers: what to do when something happens in a stream of the Responses API.

Here live ``EventHandler`` (hooks that you override, with the names known from the Assistants API), the reading of a
stream that loses nothing when it breaks, and ``TextHandler``, which shows the answer. Not here: how text is drawn
(``rendering.py``), and asking, answering function calls and asking on (``run.py``).
"""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeAlias, cast, overload

import openai
from openai.types.responses import (
    Response,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseStreamEvent,
)
from openai.types.responses.response_output_text import Annotation

from helpers.errors import (
    ConfigurationError,
    RunFailed,
    StreamInterrupted,
    WorkshopError,
    can_retry,
    explain,
    retry_after_s,
)
from helpers.fields import at, list_at, text_at
from helpers.functions import FunctionResult
from helpers.rendering import Block, Renderer, make_renderer

__all__ = [
    "EventHandler",
    "ImageFile",
    "Text",
    "TextDelta",
    "TextHandler",
    "ToolCallDelta",
    "failure_from",
]

SyncStream: TypeAlias = Iterable[Any] | AbstractContextManager[Iterable[Any]]
AsyncStream: TypeAlias = (
    AsyncIterable[Any] | AbstractAsyncContextManager[AsyncIterable[Any]] | Awaitable[AsyncIterable[Any]]
)


# -- what the hooks receive -------------------------------------------------------------------------------------------


class Text:
    """A text that is being written: the answer, a refusal or reasoning. It grows while the stream runs.

    Attributes:
        annotations: the citations in it so far, as the API sent them.
        type: ``"output_text"``, ``"refusal"`` or ``"reasoning"``.
        item_id: the id of the output item that it belongs to.
        content_index: which part of that item it is, from 0.

    Example:
        >>> Text("Once upon", item_id="msg_1").value
        'Once upon'
    """

    def __init__(
        self, value: str = "", *, type: str = "output_text", item_id: str = "", content_index: int = 0
    ) -> None:
        self._pieces = [value]
        self._restarts = 0
        self.annotations: list[Any] = []
        self.type = type
        self.item_id = item_id
        self.content_index = content_index

    @property
    def value(self) -> str:
        """All of the text that has arrived."""
        # Joined only when somebody looks, so that a long text costs no more per piece than a short one.
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    def _restart(self) -> None:
        self._pieces, self.annotations = [""], []
        self._restarts += 1

    def __repr__(self) -> str:
        return f"Text(value={self.value!r}, annotations={self.annotations!r})"


@dataclass(slots=True)
class TextDelta:
    """A piece of a text, as it arrives."""

    value: str
    """The piece; ``""`` if only a citation arrived."""
    annotations: list[Any] = field(default_factory=list)
    """The citations that arrived with it."""


@dataclass(slots=True)
class ToolCallDelta:
    """A piece of what a model writes for a tool: code, or a function's arguments."""

    type: str
    """The tool call's type, such as ``"code_interpreter_call"``."""
    item_id: str
    """The id of the tool call."""
    value: str
    """The piece."""


@dataclass(slots=True)
class ImageFile:
    """An image that a tool made."""

    url: str
    """Its address; usually a ``data:`` address that holds the image itself."""
    item_id: str
    """The id of the tool call that made it."""


# -- failures ---------------------------------------------------------------------------------------------------------


def failure_from(error: object, *, partial_text: str = "", response_id: str | None = None) -> RunFailed:
    """Return the one exception that the helpers raise, for any way in which a run can fail.

    It keeps nothing of ``error`` but words: an exception of the SDK holds its request, and with it the key. Raise it
    outside of the ``except`` block, otherwise Python attaches the SDK's exception to it.

    Args:
        error: an exception, or an error as the API sends it: an object or a dict with ``code`` and ``message``.
        partial_text: the text that had arrived.
        response_id: the id of the response, if it got one.

    Returns:
        A ``StreamInterrupted`` if the connection was lost or too slow, else a ``RunFailed``.

    Example:
        >>> print(failure_from({"code": "server_error", "message": "Oops"}))
        OpenAI had a problem of its own in the middle of the answer. Run the cell again.
    """
    if isinstance(error, (openai.APIConnectionError, OSError)):
        sentence = _explain_cut(error, partial_text)
        return StreamInterrupted(sentence, partial_text=partial_text, response_id=response_id, can_retry=True)
    if isinstance(error, openai.APIError):
        return RunFailed(
            explain(error),
            code=error.code,
            partial_text=partial_text,
            response_id=response_id,
            can_retry=can_retry(error),
            retry_after_s=retry_after_s(error),
        )
    if isinstance(error, BaseException):
        return RunFailed(explain(error), partial_text=partial_text, response_id=response_id)
    code, message = text_at(error, "code") or None, text_at(error, "message")
    # What the SDK raises for such an error inside a stream; the sentence for it then comes from the same place.
    as_raised = openai.APIError(message or "it gave no reason.", cast(Any, None), body={"code": code})
    return RunFailed(
        explain(as_raised),
        code=code,
        partial_text=partial_text,
        response_id=response_id,
        can_retry=can_retry(as_raised),
    )


def _explain_cut(error: Exception, partial_text: str) -> str:
    if not partial_text:
        if _is_timeout(error):
            return explain(openai.APITimeoutError(cast(Any, None)))
        if isinstance(error, OSError):
            return explain(openai.APIConnectionError(message=str(error), request=cast(Any, None)))
        return explain(error)
    happened = (
        "The API sent nothing more within the time limit, so the answer is not complete"
        if _is_timeout(error)
        else "The connection was lost in the middle of the answer"
    )
    return f"{happened} ({_arrived(partial_text)}). Run the cell again."


def _arrived(text: str) -> str:
    return f"{len(text):,} characters of it had arrived" if text else "nothing of it had arrived"


def _is_timeout(error: object) -> bool:
    return isinstance(error, (TimeoutError, openai.APITimeoutError))


# -- reading events ---------------------------------------------------------------------------------------------------


class _EventBox(openai.BaseModel):
    event: ResponseStreamEvent


class _AnnotationBox(openai.BaseModel):
    annotation: Annotation


def _index_at(thing: object, name: str) -> int:
    value = at(thing, name)
    return value if isinstance(value, int) else 0


_ENDINGS: Final = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
_WRITTEN_BY_MODEL: Final = {
    "function_call": "arguments",
    "mcp_call": "arguments",
    "code_interpreter_call": "code",
    "custom_tool_call": "input",
}
_INCOMPLETE: Final = {
    "max_output_tokens": "it reached the limit of output tokens; raise max_output_tokens, or ask for a shorter answer",
    "max_messages": "it reached the limit of messages",
    "content_filter": "the content filter stopped it",
    "steered": "a new instruction took its place",
    "max_rounds": "the assistant went on asking for functions; raise max_rounds, or say in the instructions when to stop",
    "max_tokens": "the run reached its limit of tokens; raise max_tokens, or ask for less",
    "max_usd": "the run reached its limit of US dollars; raise max_usd, or ask for less",
}
_SOURCES: Final = {
    "authored": "recorded · written by hand for this workshop (authored), not an OpenAI answer",
    "captured": "recorded · an earlier answer of a real model",
    "offline helper": "offline helper · not a model",
}


_BUSY: Final = "This handler is in the middle of a run. Read that one to its end, or make a new handler."


class _Answer:
    """What is known of one response: a run has several if functions are called."""

    def __init__(self) -> None:
        self.response_id = ""
        self.last_sequence = -1
        self.last_event: Any = None
        self.counts = True
        self.ended = False
        self.texts: dict[tuple[str, int], Text] = {}
        self.done: set[tuple[str, int]] = set()
        self.reasoning: dict[tuple[str, int], Text] = {}
        self.items: dict[str, Any] = {}
        self.messages: dict[str, Any] = {}
        self.calls: list[Any] = []
        self.earlier: list[Text] = []
        self.catching_up: dict[int, _CatchUp] = {}

    @property
    def all_texts(self) -> list[Text]:
        """Its texts, and those that had arrived before a cut and were not begun again yet."""
        return [*self.texts.values(), *self.earlier[len(self.texts) :]]


@dataclass(slots=True)
class _CatchUp:
    """A text that is sent again because its stream was cut: what had arrived is not told a second time."""

    known: str
    again: str = ""
    citations: int = 0


class _Progress:
    """What is known of one run."""

    def __init__(self, status: str = "not_started") -> None:
        self.active = False
        self.reading = False
        self.status = status
        self.event: Any = None
        self.response: Any = None
        self.incomplete_reason: str | None = None
        self.error_code: str | None = None
        self.timed_out = False
        self.replay_until: int | None = None
        self.submitted: dict[str, str] = {}
        self.answers = [_Answer()]
        self.current_text: Text | None = None
        # Only ever added to: with each piece the text that it belongs to, and how often that one had begun anew.
        self.pieces: list[tuple[Text, int, str]] = []
        self.marks: list[str] = []
        self.blocks: dict[int, Block] = {}


class EventHandler:
    """Hooks that are called while a response streams. Make a subclass and override the ones that you need.

    The names and signatures are those of the Assistants API's ``AssistantEventHandler``, as far as they still make
    sense. Hooks are plain functions, also with an ``AsyncOpenAI`` client. Call ``super()`` in each hook of a class
    that others may combine with theirs.

    For each event, ``on_event`` comes first. A message then goes like this::

        on_run_step_created · on_message_created
            on_text_created
                on_text_delta · on_message_delta · on_run_step_delta       (once for each piece)
                on_citation                                                (after its on_text_delta)
            on_text_done
        on_message_done · on_run_step_done

    and a tool call like this::

        on_run_step_created · on_tool_call_created
            on_tool_call_delta · on_run_step_delta                         (once for each piece)
        on_tool_call_done · on_image_file_done · on_run_step_done

    How a run ends:

    ============================================  =====================================================
    what happens                                  what is called, in this order
    ============================================  =====================================================
    the response is complete                      ``on_end``
    it is complete and asks for function calls    ``on_requires_action``; ``on_end`` when the run ends
    it is incomplete or cancelled                 ``on_end``; no exception, see ``status``
    the API reports an error                      ``on_exception``, ``on_end``; ``RunFailed`` is raised
    the connection breaks, or the stream ends     ``on_exception``, ``on_end``; ``StreamInterrupted``
    before the response does                      is raised
    a time limit passes                           ``on_timeout``, ``on_exception``, ``on_end``;
                                                  ``StreamInterrupted`` is raised
    a hook raises                                 ``on_exception``, ``on_end``; its exception goes on
    you interrupt it, leave the loop early, or    ``on_end``
    the task is cancelled
    ============================================  =====================================================

    In each case the stream is closed first, and ``text`` holds what had arrived (so does the exception, as
    ``partial_text``). ``on_end`` comes exactly once in each run.

    Args:
        renderer: where output goes; without one, what suits the place (``helpers.rendering.make_renderer``).

    Example:
        >>> class Shout(EventHandler):
        ...     def on_text_delta(self, delta, snapshot):
        ...         print(delta.value.upper(), end="")
        >>> events = [
        ...     {"type": "response.output_text.delta", "delta": "hel", "item_id": "msg_1"},
        ...     {"type": "response.output_text.delta", "delta": "lo", "item_id": "msg_1"},
        ...     {"type": "response.completed", "response": {"status": "completed"}},
        ... ]
        >>> Shout().follow(events).text
        HELLO'hello'
    """

    _progress: _Progress
    _renderer: Renderer | None
    _given_renderer: Renderer | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make a handler that has not started."""
        # Made here and not in __init__: a subclass whose __init__ forgets super().__init__() works all the same.
        handler = super().__new__(cls)
        handler._progress = _Progress()
        handler._renderer = handler._given_renderer = None
        return handler

    def __init__(self, *, renderer: Renderer | None = None, **more: Any) -> None:
        super().__init__(**more)
        self._renderer = self._given_renderer = renderer

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        for name, member in vars(cls).items():
            if name.startswith("on_") and inspect.iscoroutinefunction(member):
                raise ConfigurationError(
                    f"{cls.__name__}.{name} is an `async def`, and nobody would await it. Write `def {name}(…)`: hooks "
                    "are plain functions, also with an AsyncOpenAI client."
                )

    # -- hooks ----------------------------------------------------------------------------------------------------

    def on_event(self, event: Any) -> None:
        """Called for every event of the stream, also for those that nothing here knows, before any other hook.

        Args:
            event: the SDK's object; ``event.type`` says what it is.
        """

    def on_text_created(self, text: Text) -> None:
        """Called when a text begins. ``text`` is empty and grows with each piece."""

    def on_text_delta(self, delta: TextDelta, snapshot: Text) -> None:
        """Called when a piece of text arrives.

        Args:
            delta: the piece, ``delta.value``.
            snapshot: all of this text so far, ``snapshot.value``.
        """

    def on_text_done(self, text: Text) -> None:
        """Called when a text is complete."""

    def on_tool_call_created(self, tool_call: Any) -> None:
        """Called when the model begins to use a tool.

        Args:
            tool_call: the output item, such as a ``function_call``, ``file_search_call`` or ``code_interpreter_call``
                (``tool_call.type``); most of it is still empty.
        """

    def on_tool_call_delta(self, delta: ToolCallDelta, snapshot: Any) -> None:
        """Called when a piece of code or of a function's arguments arrives.

        Args:
            delta: the piece, ``delta.value``.
            snapshot: the tool call so far, such as ``snapshot.code`` or ``snapshot.arguments``.
        """

    def on_tool_call_done(self, tool_call: Any) -> None:
        """Called when a tool call is complete: queries, code, arguments, and results where the request includes them."""

    def on_message_created(self, message: ResponseOutputMessage) -> None:
        """Called when the model begins a message."""

    def on_message_delta(self, delta: TextDelta, snapshot: ResponseOutputMessage) -> None:
        """Called when a piece of a message arrives, after ``on_text_delta``; ``snapshot`` is the message so far."""

    def on_message_done(self, message: ResponseOutputMessage) -> None:
        """Called when a message is complete."""

    def on_image_file_done(self, image_file: ImageFile) -> None:
        """Called for each image in a tool call's output, after ``on_tool_call_done``."""

    def on_run_step_created(self, run_step: Any) -> None:
        """Called when an output item begins: a message, a tool call, reasoning or something newer."""

    def on_run_step_delta(self, delta: TextDelta | ToolCallDelta, snapshot: Any) -> None:
        """Called when a piece of an output item arrives, after the hook for its kind."""

    def on_run_step_done(self, run_step: Any) -> None:
        """Called when an output item is complete."""

    def on_requires_action(self, calls: list[ResponseFunctionToolCall]) -> None:
        """Called when a response is complete and waits for the results of functions.

        Args:
            calls: one or more ``function_call`` items; each wants a ``function_call_output`` with its ``call_id``.

        ``stream_run`` answers them with the assistant's Python functions. To answer some or all of them yourself,
        call ``submit_tool_outputs`` in here.
        """

    def on_function_done(self, result: FunctionResult) -> None:
        """Called when a function of yours was run for the model, once for each call, in the order of the calls.

        Args:
            result: what came of it: ``result.output`` is what the model gets, ``result.error`` what went wrong.
        """

    def on_retry(self, reason: str, wait_s: float) -> None:
        """Called when the run tries again: the service was busy, or the stream of an answer was cut.

        Args:
            reason: what happened, in a sentence.
            wait_s: how long it waits before, in seconds.
        """

    def on_text_restarted(self, text: Text) -> None:
        """Called when an answer that was cut is given again in other words: what had arrived of it no longer counts.

        If it is given again in the same words, nobody needs to know: the text goes on where it was cut.

        Args:
            text: the text, empty again.
        """

    def on_citation(self, citation: Any) -> None:
        """Called when a citation arrives, at the place in the text where it belongs or after it.

        Args:
            citation: a ``file_citation``, ``container_file_citation``, ``url_citation`` or something newer
                (``citation.type``). The text that it stands in is ``self.current_text``.
        """

    def on_reasoning_delta(self, delta: TextDelta, snapshot: Text) -> None:
        """Called when a piece of the model's reasoning, or of its summary, arrives."""

    def on_exception(self, exception: Exception) -> None:
        """Called when the run ends with an exception, after the stream was closed. The exception goes on afterwards.

        Not called for an interrupt (``KeyboardInterrupt``) or when the loop is left early.
        """

    def on_timeout(self) -> None:
        """Called before ``on_exception`` if what went wrong was a time limit."""

    def on_end(self) -> None:
        """Called once at the end of each run, however it ends. Shows ``footer``, if there is something to say."""
        if self.footer:
            self.renderer.footer(self.footer)

    # -- what there is to know --------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """How far the run is.

        ``"not_started"``, ``"in_progress"``, ``"completed"``, ``"incomplete"``, ``"failed"``, ``"cancelled"``, or
        ``"interrupted"`` if the stream stopped before the response was complete.
        """
        return self._progress.status

    @property
    def incomplete_reason(self) -> str | None:
        """Why the response is incomplete, in the API's word, such as ``"max_output_tokens"``; else ``None``."""
        return self._progress.incomplete_reason

    @property
    def current_event(self) -> Any:
        """The event that is being handled, or the last one; ``None`` before the first."""
        return self._progress.event

    @property
    def current_run(self) -> Response | None:
        """The response as the API last sent it, or ``None`` if it did not send one yet."""
        return cast("Response | None", self._progress.response)

    @property
    def current_text(self) -> Text | None:
        """The text that was last written to, or ``None``."""
        return self._progress.current_text

    @property
    def text(self) -> str:
        """All text that has arrived in this run, refusals included; messages are a blank line apart."""
        messages: list[str] = []
        for answer in self._progress.answers:
            parts: dict[str, list[str]] = {}
            for text in answer.all_texts:
                parts.setdefault(text.item_id, []).append(text.value)
            messages += ["".join(values) for values in parts.values()]
        return "\n\n".join(message for message in messages if message)

    @property
    def refusal(self) -> str:
        """What the model said instead of an answer when it declined; ``""`` if it did not."""
        return "".join(text.value for text in self.texts if text.type == "refusal")

    @property
    def text_deltas(self) -> list[str]:
        """The pieces of text of this run, in the order in which they arrived."""
        return [piece for text, time, piece in self._progress.pieces if time == text._restarts]

    @property
    def citations(self) -> list[Any]:
        """The citations of this run, in the order of the texts."""
        return [citation for text in self.texts for citation in text.annotations]

    @property
    def calls(self) -> list[ResponseFunctionToolCall]:
        """The function calls that the last response waits for; empty while it streams and if there are none."""
        return list(self._progress.answers[-1].calls)

    @property
    def marks(self) -> list[str]:
        """Where the answers came from, if not from a model now: sentences made of ``response.metadata``."""
        return list(self._progress.marks)

    @property
    def footer(self) -> str:
        """What to show below the answer: ``marks``, and one line if it did not end well; ``""`` if all is well."""
        progress = self._progress
        lines = list(progress.marks)
        if progress.status == "incomplete":
            reason = progress.incomplete_reason or "the API gave no reason"
            lines.append(f"incomplete · the answer ends early: {_INCOMPLETE.get(reason, reason)}")
        elif progress.status == "failed":
            code = f" ({progress.error_code})" if progress.error_code else ""
            lines.append(f"failed · the run ended with an error{code}; the answer is not complete")
        elif progress.status == "cancelled":
            lines.append("cancelled · the answer is not complete")
        elif progress.status == "interrupted":
            lines.append("interrupted · the answer is not complete")
        return "\n".join(lines)

    @property
    def renderer(self) -> Renderer:
        """Where this handler's output goes."""
        if self._renderer is None:
            self._renderer = make_renderer()
        return self._renderer

    def submit_tool_outputs(self, outputs: Iterable[Mapping[str, Any]]) -> None:
        """Answer function calls of the last response yourself; ``stream_run`` sends them and streams on.

        Calls that you do not answer are answered by the assistant's Python functions.

        Args:
            outputs: one dict for each answer: ``{"call_id": call.call_id, "output": "…"}``. An output that is not a
                text is written as JSON.

        Raises:
            ConfigurationError: an answer without ``call_id``, or to a call that this response does not wait for.
        """
        waiting = [call.call_id for call in self.calls]
        for output in outputs:
            call_id = output.get("call_id") or output.get("tool_call_id")
            if call_id not in waiting:
                raise ConfigurationError(
                    f"No function call with the id {call_id!r} waits for an output. Take call_id from the calls that "
                    "on_requires_action gets."
                )
            value = output.get("output", "")
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            self._progress.submitted[str(call_id)] = text

    def get_final_run(self) -> Response:
        """Return the response of the run (the last one, if there were several).

        Raises:
            WorkshopError: if the stream is still being read, or no response arrived.
        """
        self.until_done()
        if self.current_run is None:
            raise WorkshopError("No response has arrived yet. Call follow(stream) first.")
        return self.current_run

    def get_final_messages(self) -> list[ResponseOutputMessage]:
        """Return the messages of the run that were completed, oldest first.

        Raises:
            WorkshopError: if the stream is still being read.
        """
        self.until_done()
        return [message for answer in self._progress.answers for message in answer.messages.values()]

    def until_done(self) -> Self:
        """Return this handler when the run is over, which after ``follow(stream)`` it is.

        Raises:
            WorkshopError: if the stream is still being read.
        """
        if self._progress.active:
            raise WorkshopError(
                "The stream is still being read. Go on with the loop that reads it, or call until_done() of the run."
            )
        return self

    @property
    def texts(self) -> list[Text]:
        """The texts of this run, refusals included, in the order in which they began."""
        return [text for answer in self._progress.answers for text in answer.all_texts]

    @property
    def output_items(self) -> list[Any]:
        """The output items of this run as far as they have arrived: messages, tool calls, reasoning."""
        return [item for answer in self._progress.answers for item in answer.items.values()]

    # -- following a stream -----------------------------------------------------------------------------------------

    @overload
    def follow(self, stream: AsyncStream) -> Coroutine[Any, Any, Self]: ...
    @overload
    def follow(self, stream: SyncStream) -> Self: ...
    def follow(self, stream: SyncStream | AsyncStream) -> Self | Coroutine[Any, Any, Self]:
        """Read a stream to its end, call the hooks, and close it.

        Args:
            stream: what ``client.responses.create(…, stream=True)``, ``client.responses.stream(…)`` or
                ``client.responses.retrieve(…, stream=True)`` give, or any iterable of events (SDK objects or dicts).
                With an ``AsyncOpenAI`` client: ``await handler.follow(…)``.

        Returns:
            This handler; of an async stream, something to await that gives it.

        Raises:
            RunFailed: if the API reports an error.
            StreamInterrupted: if the stream stops before the response is complete.
            ConfigurationError: if ``stream`` is not a stream.
        """
        if _is_async(stream):
            return self._follow_async(cast(AsyncStream, stream))
        for _ in self.iterate(cast(SyncStream, stream)):
            pass
        return self

    async def _follow_async(self, stream: AsyncStream) -> Self:
        async for _ in self.iterate(stream):
            pass
        return self

    @overload
    def iterate(self, stream: AsyncStream) -> AsyncGenerator[Any, None]: ...
    @overload
    def iterate(self, stream: SyncStream) -> Generator[Any, None, None]: ...
    def iterate(
        self, stream: SyncStream | AsyncStream
    ) -> Generator[Any, None, None] | AsyncGenerator[Any, None]:
        """Read a stream and yield each event, after its hooks were called.

        Alone it is a whole run, like ``follow``. Inside ``with handler.running():`` it is one part of a run: call it
        for one response after another, or again for the rest of one whose stream was cut; events that were seen
        already are then left out.

        Args:
            stream: as for ``follow``.

        Raises:
            RunFailed: if the API reports an error; the event that says so is yielded first.
            StreamInterrupted: if the stream stops before the response is complete.
        """
        if not inspect.isawaitable(stream):
            _refuse_what_is_no_stream(stream)
        return self._iterate_async(stream) if _is_async(stream) else self._iterate(stream)

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Open a run: everything that is streamed inside belongs to it, and ``on_end`` is called once, after it.

        Whatever is raised inside goes to ``on_timeout`` and ``on_exception`` first, whether it comes from a stream, a
        request or a function.

        Raises:
            WorkshopError: if this handler is in the middle of a run.

        Example:
            ::

                with handler.running():
                    while True:
                        stream = client.responses.create(…, stream=True)
                        for event in handler.iterate(stream):
                            …
                        if not handler.calls:
                            break
        """
        if self._progress.active:
            raise WorkshopError(_BUSY)
        progress = self._progress = _Progress("in_progress")
        progress.active = True
        self._renderer = self._given_renderer
        try:
            yield self
        except Exception as error:
            if progress.status == "in_progress":
                reported = isinstance(error, openai.APIStatusError) or type(error) is RunFailed
                progress.status = "failed" if reported else "interrupted"
            try:
                if _is_timeout(error) or (progress.timed_out and isinstance(error, StreamInterrupted)):
                    self.on_timeout()
            finally:
                self.on_exception(error)
            raise
        finally:
            if progress.status == "in_progress":
                progress.status = "interrupted"
            progress.active = False
            self.on_end()

    def _iterate(self, source: Any) -> Generator[Any, None, None]:
        with contextlib.nullcontext() if self._may_join() else self.running():
            yield from self._read(source)

    def _may_join(self) -> bool:
        """Return whether a run is open that has no stream at the moment."""
        return self._progress.active and not self._progress.reading

    def _read(self, source: Any) -> Generator[Any, None, None]:
        self._begin_stream()
        stream: Any = None
        events: Any = None
        leave: Any = None
        try:
            failure: RunFailed | None = None
            try:
                if not hasattr(source, "__iter__"):
                    stream = source.__enter__()
                    leave = source.__exit__
                else:
                    stream = source
                events = iter(stream)
            except WorkshopError:
                raise
            except Exception as error:  # noqa: BLE001, raised below as one of ours, without the SDK's attached
                failure = self._reading_failed(error)
            while failure is None:
                try:
                    raw = next(events)
                except StopIteration:
                    failure = self._stream_ended()
                    break
                except Exception as error:  # noqa: BLE001, as above
                    failure = self._reading_failed(error)
                    break
                event = self._accept(raw)
                if event is not None:
                    yield event
                    failure = self._failure_in(event)
            if failure is not None:
                raise failure
        finally:
            self._progress.reading = False
            # What cannot be closed cleanly has nothing more to tell, and must not hide how the run ended.
            for thing in (events, stream):
                with contextlib.suppress(Exception):
                    close = getattr(thing, "close", None)
                    if close is not None:
                        close()
            if leave is not None:
                with contextlib.suppress(Exception):
                    leave(None, None, None)

    async def _iterate_async(self, source: Any) -> AsyncGenerator[Any, None]:
        with contextlib.nullcontext() if self._may_join() else self.running():
            async with contextlib.aclosing(self._read_async(source)) as events:
                async for event in events:
                    yield event

    async def _read_async(self, source: Any) -> Any:
        self._begin_stream()
        stream: Any = None
        events: Any = None
        leave: Any = None
        try:
            failure: RunFailed | None = None
            try:
                if inspect.isawaitable(source):
                    source = await source
                    _refuse_what_is_no_stream(source)
                if not hasattr(source, "__aiter__"):
                    stream = await source.__aenter__()
                    leave = source.__aexit__
                else:
                    stream = source
                events = aiter(stream)
            except WorkshopError:
                raise
            except Exception as error:  # noqa: BLE001, raised below as one of ours, without the SDK's attached
                failure = self._reading_failed(error)
            while failure is None:
                try:
                    raw = await anext(events)
                except StopAsyncIteration:
                    failure = self._stream_ended()
                    break
                except Exception as error:  # noqa: BLE001, as above
                    failure = self._reading_failed(error)
                    break
                event = self._accept(raw)
                if event is not None:
                    yield event
                    failure = self._failure_in(event)
            if failure is not None:
                raise failure
        finally:
            self._progress.reading = False
            for thing in (events, stream):
                with contextlib.suppress(Exception):  # as in _read
                    close = getattr(thing, "aclose", None) or getattr(thing, "close", None)
                    if close is not None:
                        closing = close()
                        if inspect.isawaitable(closing):
                            await closing
            if leave is not None:
                with contextlib.suppress(Exception):
                    await leave(None, None, None)

    # -- one stream after another -----------------------------------------------------------------------------------

    def _begin_stream(self) -> None:
        progress = self._progress
        answer = progress.answers[-1]
        progress.reading = True
        progress.timed_out = False
        progress.status = "in_progress"
        progress.incomplete_reason = progress.error_code = None
        if answer.ended:
            progress.answers.append(_Answer())
            progress.replay_until = None
        else:
            # The rest of a response whose stream was cut: a server may send again what was seen already.
            progress.replay_until = answer.last_sequence if answer.last_sequence >= 0 else None

    def _accept(self, raw: Any) -> Any:
        """Call the hooks for one event; return it as an SDK object, or ``None`` if it was seen already."""
        event = _EventBox.construct(event=raw).event if isinstance(raw, dict) else raw
        progress = self._progress
        kind = text_at(event, "type")
        answer = progress.answers[-1]
        # Deltas carry no response, and asking the SDK's objects for what they have not got is slow.
        response_id = "" if kind.endswith(".delta") else text_at(at(event, "response"), "id")
        if response_id and response_id != answer.response_id:
            if answer.response_id:
                answer = _Answer()
                progress.answers.append(answer)
                progress.replay_until = None
            answer.response_id = response_id
        sequence = at(event, "sequence_number")
        if isinstance(sequence, int):
            if self._was_seen(event, sequence, answer):
                return None
            answer.last_sequence = max(answer.last_sequence, sequence)
            answer.last_event = event
        progress.event = event
        # The state first, so that on_event of a learner sees `status` and `current_run` as the event says.
        if kind in _ENDINGS or kind in {"response.created", "response.queued", "response.in_progress"}:
            self._note_response(kind, event, answer)
        elif kind == "error":
            answer.ended = True
            progress.status = "failed"
            progress.error_code = text_at(at(event, "error") or event, "code") or None
        self.on_event(event)
        reaction = _REACTIONS.get(kind)
        if reaction is not None:
            reaction(self, event, answer)
        elif kind.endswith(".delta"):
            self._tool_piece(event, answer)
        return event

    def _was_seen(self, event: Any, sequence: int, answer: _Answer) -> bool:
        """Return whether an event came before: after a cut, or because something on the way sends it once more."""
        until = self._progress.replay_until
        if until is not None and sequence <= until:
            return True
        if answer.last_event is None or sequence > answer.last_sequence:
            return False
        if sequence == answer.last_sequence and event != answer.last_event:
            answer.counts = False  # a server that gives every event the same number
        return answer.counts

    def _note_response(self, kind: str, event: Any, answer: _Answer) -> None:
        progress = self._progress
        response = at(event, "response")
        if response is None:
            response_metadata: Any = None
        else:
            progress.response = response
            response_metadata = at(response, "metadata")
        for mark in _marks_in(response_metadata):
            if mark not in progress.marks:
                progress.marks.append(mark)
        if kind in _ENDINGS:
            answer.ended = True
            progress.status = _ENDINGS[kind]
            if kind == "response.incomplete":
                reason = text_at(at(response, "incomplete_details"), "reason")
                progress.incomplete_reason = reason or "unknown"
            if kind == "response.failed":
                progress.error_code = text_at(at(response, "error"), "code") or None

    def _reading_failed(self, error: Exception) -> RunFailed | None:
        """Return what to raise for an error of the stream itself; ``None`` if the response had ended before it."""
        progress = self._progress
        answer = progress.answers[-1]
        if answer.ended:
            return None
        progress.timed_out = _is_timeout(error)
        known = isinstance(error, (openai.APIError, OSError))
        failure = (
            failure_from(error, partial_text=self.text, response_id=answer.response_id or None)
            if known
            else StreamInterrupted(
                f"What the API sent was damaged on the way, so the answer is not complete ({_arrived(self.text)}). Run the "
                "cell again.",
                partial_text=self.text,
                response_id=answer.response_id or None,
                can_retry=True,
            )
        )
        if isinstance(failure, StreamInterrupted):
            progress.status = "interrupted"
        else:
            # The API has spoken: nothing more will come of this response.
            answer.ended = True
            progress.status = "failed"
            progress.error_code = failure.code
        return failure

    def _stream_ended(self) -> RunFailed | None:
        progress = self._progress
        answer = progress.answers[-1]
        if answer.ended:
            return None
        progress.status = "interrupted"
        arrived = self.text
        return StreamInterrupted(
            f"The stream ended before the answer was complete ({_arrived(arrived)}). Run the cell again.",
            partial_text=arrived,
            response_id=answer.response_id or None,
            can_retry=True,
        )

    def _failure_in(self, event: Any) -> RunFailed | None:
        kind = text_at(event, "type")
        if kind == "error":
            # Flat as documented, or nested as the service sends it.
            error = at(event, "error") or event
        elif kind == "response.failed":
            error = at(at(event, "response"), "error")
        else:
            return None
        response_id = self._progress.answers[-1].response_id or None
        return failure_from(error, partial_text=self.text, response_id=response_id)

    def _restart(self) -> None:
        """Forget the response whose stream was cut: it is asked for again, and its texts go on where they were."""
        cut = self._progress.answers.pop()
        again = _Answer()
        again.earlier = cut.all_texts
        self._progress.answers.append(again)

    def _take_submitted(self) -> dict[str, str]:
        """Return what ``submit_tool_outputs`` was given since the last time, by ``call_id``."""
        submitted, self._progress.submitted = self._progress.submitted, {}
        return submitted

    def _last_sequence(self) -> int:
        """Return the number of the last event of the response; -1 if none had one."""
        return self._progress.answers[-1].last_sequence

    def _goes_on(self) -> None:
        """Note that the run goes on after a response: its functions are called next."""
        self._progress.status = "in_progress"

    def _ends_early(self, status: str, reason: str | None = None) -> None:
        """Note that the run ends before its answer is complete, although no event says so."""
        self._progress.status = status
        self._progress.incomplete_reason = reason

    # -- what each event means ----------------------------------------------------------------------------------------

    def _item_added(self, event: Any, answer: _Answer) -> None:
        item = _copy_of(at(event, "item"))
        if item is None:
            return
        answer.items[_item_key(event, item)] = item
        self.on_run_step_created(item)
        if at(item, "type") == "message":
            self.on_message_created(item)
        elif _is_tool_call(item):
            self.on_tool_call_created(item)

    def _item_done(self, event: Any, answer: _Answer) -> None:
        item = at(event, "item")
        if item is None:
            return
        key = _item_key(event, item)
        answer.items[key] = item
        if at(item, "type") == "message":
            self._complete_message(item, key, answer)
            self.on_message_done(item)
        elif _is_tool_call(item):
            self.on_tool_call_done(item)
            for output in list_at(item, "outputs"):
                if at(output, "type") == "image":
                    self.on_image_file_done(ImageFile(url=text_at(output, "url"), item_id=key))
        self.on_run_step_done(item)

    def _complete_message(self, message: Any, key: str, answer: _Answer) -> None:
        """Note a complete message, and tell of what it holds that no event told."""
        answer.messages[key] = message
        for index, part in enumerate(list_at(message, "content")):
            if at(part, "type") in {"output_text", "refusal"}:
                self._text_complete(part, key, index, answer)

    def _part_added(self, event: Any, answer: _Answer) -> None:
        kind = text_at(at(event, "part"), "type")
        if kind in {"output_text", "refusal"}:
            self._open_text(_item_key(event), _index_at(event, "content_index"), kind, answer)

    def _part_done(self, event: Any, answer: _Answer) -> None:
        part = at(event, "part")
        if at(part, "type") in {"output_text", "refusal"}:
            self._text_complete(part, _item_key(event), _index_at(event, "content_index"), answer)

    def _open_text(self, key: str, index: int, kind: str, answer: _Answer) -> Text:
        text = answer.texts.get((key, index))
        if text is None and len(answer.texts) < len(answer.earlier):
            # Sent again after a cut: the same text goes on, and whoever shows it need not begin anew.
            text = answer.texts[key, index] = answer.earlier[len(answer.texts)]
            text.type, text.item_id, text.content_index = kind, key, index
            answer.catching_up[id(text)] = _CatchUp(text.value)
            self._progress.current_text = text
        elif text is None:
            text = Text(type=kind, item_id=key, content_index=index)
            answer.texts[key, index] = text
            self._progress.current_text = text
            self.on_text_created(text)
        else:
            self._progress.current_text = text
        return text

    def _text_piece(self, event: Any, answer: _Answer) -> None:
        piece = text_at(event, "delta")
        kind = "refusal" if event.type == "response.refusal.delta" else "output_text"
        text = self._open_text(_item_key(event), _index_at(event, "content_index"), kind, answer)
        if answer.catching_up:
            piece = self._what_is_new(piece, text, answer)
        if piece:
            self._add_piece(piece, text, answer)

    def _add_piece(self, piece: str, text: Text, answer: _Answer) -> None:
        text._pieces.append(piece)
        self._progress.pieces.append((text, text._restarts, piece))
        self._tell_of_piece(TextDelta(piece), text, answer)

    def _what_is_new(self, piece: str, text: Text, answer: _Answer) -> str:
        """Return what of a piece was not told before the stream was cut."""
        catching_up = answer.catching_up.get(id(text))
        if catching_up is None:
            return piece
        catching_up.again += piece
        known, again = catching_up.known, catching_up.again
        if known.startswith(again):
            return ""
        del answer.catching_up[id(text)]
        if again.startswith(known):
            return again[len(known) :]
        self._forget_from(text, answer)
        return again

    def _catch_up(self, answer: _Answer) -> None:
        """Take texts that were given again, and of which nobody said that they are complete, as far as they came."""
        for text in list(answer.texts.values()):
            catching_up = answer.catching_up.pop(id(text), None)
            if catching_up is not None and catching_up.again != catching_up.known:
                self._forget_from(text, answer)
                if catching_up.again:
                    self._add_piece(catching_up.again, text, answer)

    def _forget_from(self, text: Text, answer: _Answer) -> None:
        """Empty a text that is given again in other words, and those after it that were not begun again."""
        place = next(
            (place for place, each in enumerate(answer.earlier) if each is text), len(answer.earlier)
        )
        begun = {id(each) for each in answer.texts.values()}
        for each in answer.earlier[place:]:
            if each is text or id(each) not in begun:
                answer.catching_up.pop(id(each), None)
                each._restart()
                self.on_text_restarted(each)

    def _tell_of_piece(self, delta: TextDelta, text: Text, answer: _Answer) -> None:
        self.on_text_delta(delta, text)
        item = answer.items.get(text.item_id)
        if item is None:
            return
        kind = type(self)
        if (
            kind.on_message_delta is not EventHandler.on_message_delta
            or kind.on_run_step_delta is not EventHandler.on_run_step_delta
        ):
            # Only for those who look: bringing the message up to date for each piece is not free.
            _put_texts_into(item, [part for part in answer.texts.values() if part.item_id == text.item_id])
        self.on_message_delta(delta, item)
        self.on_run_step_delta(delta, item)

    def _text_done(self, event: Any, answer: _Answer) -> None:
        self._text_complete(event, _item_key(event), _index_at(event, "content_index"), answer)

    def _text_complete(self, holder: Any, key: str, index: int, answer: _Answer) -> None:
        """Take the whole text from where the API repeats it; the first time, tell that it is done."""
        refusal = at(holder, "refusal")
        kind = "refusal" if isinstance(refusal, str) else "output_text"
        whole = refusal if isinstance(refusal, str) else at(holder, "text")
        text = self._open_text(key, index, kind, answer)
        catching_up = answer.catching_up.pop(id(text), None) if isinstance(whole, str) else None
        if catching_up is not None and not whole.startswith(text.value):
            self._forget_from(text, answer)
        if isinstance(whole, str) and whole:
            if whole.startswith(text.value) and len(whole) > len(text.value):
                # What no event told, because the stream was joined late or cut.
                self._add_piece(whole[len(text.value) :], text, answer)
            text._pieces = [whole]
        for annotation in list_at(holder, "annotations")[len(text.annotations) :]:
            self._tell_of_citation(annotation, text, answer)
        if (key, index) not in answer.done:
            answer.done.add((key, index))
            self.on_text_done(text)

    def _annotation_added(self, event: Any, answer: _Answer) -> None:
        annotation = at(event, "annotation")
        if annotation is not None:
            text = self._open_text(_item_key(event), _index_at(event, "content_index"), "output_text", answer)
            catching_up = answer.catching_up.get(id(text))
            if catching_up is not None:
                catching_up.citations += 1
                if catching_up.citations <= len(text.annotations):
                    return  # it was told before the cut
            self._tell_of_citation(annotation, text, answer)

    def _tell_of_citation(self, annotation: Any, text: Text, answer: _Answer) -> None:
        if isinstance(annotation, dict):
            annotation = _AnnotationBox.construct(annotation=annotation).annotation
        text.annotations.append(annotation)
        self._tell_of_piece(TextDelta("", [annotation]), text, answer)
        self.on_citation(annotation)

    def _reasoning_piece(self, event: Any, answer: _Answer) -> None:
        index = _index_at(event, "summary_index") or _index_at(event, "content_index")
        key = (_item_key(event), index)
        text = answer.reasoning.setdefault(key, Text(type="reasoning", item_id=key[0], content_index=index))
        piece = text_at(event, "delta")
        text._pieces.append(piece)
        delta = TextDelta(piece)
        self.on_reasoning_delta(delta, text)
        item = answer.items.get(key[0])
        if item is not None:
            self.on_run_step_delta(delta, item)

    def _tool_piece(self, event: Any, answer: _Answer) -> None:
        key = _item_key(event)
        tool_call = answer.items.get(key)
        piece = text_at(event, "delta")
        if tool_call is None or not piece or not _is_tool_call(tool_call):
            return
        kind = text_at(tool_call, "type")
        written = _WRITTEN_BY_MODEL.get(kind)
        if written is not None and not isinstance(tool_call, dict):
            setattr(tool_call, written, text_at(tool_call, written) + piece)
        delta = ToolCallDelta(type=kind, item_id=key, value=piece)
        self.on_tool_call_delta(delta, tool_call)
        self.on_run_step_delta(delta, tool_call)

    def _response_ended(self, event: Any, answer: _Answer) -> None:
        response = at(event, "response")
        output = list_at(response, "output")
        if len(answer.earlier) > len(answer.texts):
            # Asked again after a cut, the model wrote less.
            self._forget_from(answer.earlier[len(answer.texts)], answer)
            del answer.earlier[len(answer.texts) :]
        for number, item in enumerate(output):
            key = text_at(item, "id") or f"output {number}"
            if at(item, "type") == "message" and key not in answer.messages:
                # Its events did not come: a stream that was joined late, or a server that sends only the end.
                self._complete_message(item, key, answer)
        if event.type in ("response.completed", "response.incomplete"):
            self._catch_up(answer)
        if event.type == "response.completed":
            candidates = output or list(answer.items.values())
            answer.calls = [item for item in candidates if at(item, "type") == "function_call"]
            if answer.calls:
                self.on_requires_action(list(answer.calls))


_REACTIONS: Final[dict[str, Callable[[EventHandler, Any, _Answer], None]]] = {
    "response.output_item.added": EventHandler._item_added,
    "response.output_item.done": EventHandler._item_done,
    "response.content_part.added": EventHandler._part_added,
    "response.content_part.done": EventHandler._part_done,
    "response.output_text.delta": EventHandler._text_piece,
    "response.output_text.done": EventHandler._text_done,
    "response.output_text.annotation.added": EventHandler._annotation_added,
    "response.refusal.delta": EventHandler._text_piece,
    "response.refusal.done": EventHandler._text_done,
    "response.reasoning_text.delta": EventHandler._reasoning_piece,
    "response.reasoning_summary_text.delta": EventHandler._reasoning_piece,
    **dict.fromkeys(_ENDINGS, EventHandler._response_ended),
}


def _is_async(stream: object) -> bool:
    return (
        hasattr(stream, "__aiter__") or hasattr(stream, "__aenter__") or inspect.isawaitable(stream)
    ) and not hasattr(stream, "__iter__")


def _refuse_what_is_no_stream(stream: object) -> None:
    if isinstance(stream, (openai.BaseModel, dict, str, bytes)) or not any(
        hasattr(stream, name) for name in ("__iter__", "__enter__", "__aiter__", "__aenter__")
    ):
        raise ConfigurationError(
            f"A handler follows a stream, and this is a {type(stream).__name__}. Ask for a stream: "
            "client.responses.create(…, stream=True)."
        )


def _item_key(event: Any, item: Any = None) -> str:
    """Return what names an output item: its id, or its place for a server that gives it none."""
    identifier = text_at(event, "item_id") if item is None else text_at(item, "id")
    return identifier or f"output {_index_at(event, 'output_index')}"


def _is_tool_call(item: Any) -> bool:
    return text_at(item, "type").endswith("_call")


def _copy_of(item: Any) -> Any:
    # The snapshot grows; the event, which a trace may keep, must stay as it came.
    return item.model_copy() if isinstance(item, openai.BaseModel) else item


def _put_texts_into(message: Any, texts: list[Text]) -> None:
    parts: list[Any] = []
    for text in texts:
        name = "refusal" if text.type == "refusal" else "text"
        part = {"type": text.type, name: text.value, "annotations": list(text.annotations)}
        parts.append(part)
    if not isinstance(message, dict):
        message.content = ResponseOutputMessage.construct(content=parts).content


def _marks_in(metadata: Any) -> list[str]:
    """Return the marks of the recorded API as sentences; nothing for a live response."""
    source = text_at(metadata, "workshop_source")
    if not source:
        return []
    captured = text_at(metadata, "workshop_captured")
    note = text_at(metadata, "workshop_note")
    mark = _SOURCES.get(source, f"recorded · {source}")
    marks = [f"{mark} ({captured})" if captured else mark]
    if note:
        marks.append(note)
    return marks


def _is_json(text: str) -> bool:
    """Whether a whole text is a JSON object or array, as structured answers are."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


class TextHandler(EventHandler):
    """Shows the answer while it streams: Markdown that updates in place in a notebook, lines elsewhere.

    Example:
        ::

            TextHandler().follow(client.responses.create(input="What is GPT-2?", stream=True, **assistant))
    """

    def text_block(self, text: Text) -> Block:
        """Return the block in which ``text`` is shown, for a subclass that adds to it."""
        blocks = self._progress.blocks
        if id(text) not in blocks:
            blocks[id(text)] = self.renderer.block("text")
        return blocks[id(text)]

    def shown_text(self, text: Text) -> str:
        """Return the Markdown to show for a complete text; a subclass may add to it, such as numbers for citations."""
        if self.renderer.mode == "markdown" and _is_json(text.value):
            return f"```json\n{text.value}\n```"
        return text.value

    def on_text_delta(self, delta: TextDelta, snapshot: Text) -> None:
        """Show the piece."""
        super().on_text_delta(delta, snapshot)
        if delta.value:
            self.text_block(snapshot).append(delta.value)

    def on_text_done(self, text: Text) -> None:
        """Show the complete text."""
        super().on_text_done(text)
        self.text_block(text).done(self.shown_text(text))

    def on_retry(self, reason: str, wait_s: float) -> None:
        """Say that the run tries again, and why."""
        super().on_retry(reason, wait_s)
        waiting = f"trying again in {wait_s:.2g} s" if wait_s else "trying again"
        self.renderer.footer(f"{waiting} · {reason}")

    def on_text_restarted(self, text: Text) -> None:
        """Show the text anew: in its place in a notebook, below what stands there elsewhere."""
        super().on_text_restarted(text)
        block = self._progress.blocks.get(id(text))
        if block is None:
            return
        if self.renderer.mode == "markdown":
            block.update("")
        else:
            block.done()
            del self._progress.blocks[id(text)]

    def on_end(self) -> None:
        """Show the last pieces of a text that did not come to its end, then the footer."""
        for block in self._progress.blocks.values():
            block.done()
        super().on_end()
