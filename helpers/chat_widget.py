"""chat(): talk with an assistant in the notebook, in a widget that streams, stops, cites and adds up.

Here live ``Chat``, the thread in which each answer streams, and the widgets (ipywidgets, only what 7.7 has as well).
Not here: what an exchange looks like (``chat_view.py``), and making it from events (``chat_handler.py``).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import openai
from openai.types.conversations import Conversation

from helpers.chat_handler import ChatHandler, turns_of
from helpers.chat_view import (
    STYLE,
    Said,
    Turn,
    transcript_html,
    transcript_plain,
    turn_pieces,
    usage_text,
)
from helpers.citations import literal_html
from helpers.connection import asynchronous, synchronous
from helpers.diagrams import plain
from helpers.downloads import DownloadReport, download_files
from helpers.errors import ConfigurationError, RunFailed, Stopped, WorkshopError, explain
from helpers.handlers import failure_from
from helpers.run import AsyncRun, stream_run

__all__ = ["Chat", "chat"]

_LONGEST_QUESTION: Final = 100_000
_SHORTEST_INTERVAL_S: Final = 1 / 8
# Each update sends a piece anew; a Jupyter server drops output beyond 1,000,000 bytes a second.
_CHARACTERS_PER_S: Final = 50_000
# How long a stopped answer may take to end its connections before the chat goes on without it.
_STOP_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.2
# After Enter, a browser sends what was typed in a message of its own.
_ENTER_S: Final = 1.0
_NOTHING_NEW_S: Final = 0.25

_BUSY: Final = "One answer at a time: wait for this one, or press Stop."
_WIDGET_VIEW: Final = "application/vnd.jupyter.widget-view+json"
# What errors say for a cell, said for a chat.
_IN_A_CHAT: Final = (
    ("run the cell that creates it again", "start a new conversation"),
    ("Run the cell again", "Ask again"),
    ("run the cell again", "ask again"),
)


def chat(
    client: openai.OpenAI | openai.AsyncOpenAI,
    assistant: Mapping[str, Any],
    *,
    thread: Conversation | str | None = None,
    title: str | None = None,
    suggestions: Sequence[str] = (),
    download_to: str | os.PathLike[str] | None = "downloads",
    height: str = "460px",
    **more: Any,
) -> Chat:
    """Return a chat with an assistant; as the last line of a cell, it shows itself.

    Answers stream into it, with what the tools do, numbered citations, plots and files. Stop ends an answer at any
    moment, and the conversation goes on; only while a cell runs, a kernel does not hear the buttons. ``ask("…")`` sends a
    question from code. Where widgets are not drawn (a saved notebook, GitHub, a terminal), the conversation is there as
    text.

    Args:
        client: what ``connect()`` returned.
        assistant: an ``Assistant``, or any mapping of arguments of ``client.responses.create``.
        thread: a conversation (or its id) to go on with; without one, the first question creates one.
        title: what stands above it; without one, the assistant's name.
        suggestions: questions that can be asked with one click.
        download_to: the folder for files that code makes; ``None``: they are not downloaded.
        height: how high the conversation may grow before it scrolls, as CSS says it.
        **more: further arguments of ``stream_run``, such as ``max_output_tokens``.

    Raises:
        ConfigurationError: something that is no client, no assistant or no thread, or an argument that cannot be used.
        RunFailed: the messages of ``thread`` could not be read.

    Example:
        ::

            talk = chat(client, teacher, suggestions=["What is GPT-2?"])
            talk
    """
    return Chat(
        client,
        assistant,
        thread=thread,
        title=title,
        suggestions=suggestions,
        download_to=download_to,
        height=height,
        **more,
    )


class Chat:
    """A conversation with an assistant that shows itself; made by ``chat``.

    Attributes:
        title: what stands above it.
        assistant: whom it talks with.
    """

    def __init__(
        self,
        client: openai.OpenAI | openai.AsyncOpenAI,
        assistant: Mapping[str, Any],
        *,
        thread: Conversation | str | None = None,
        title: str | None = None,
        suggestions: Sequence[str] = (),
        download_to: str | os.PathLike[str] | None = "downloads",
        height: str = "460px",
        **more: Any,
    ) -> None:
        self._client = client
        self._worker = synchronous(client)
        # Never started: whatever is wrong with the arguments is said here, and not at the first question.
        stream_run(self._worker, assistant, thread, "?", ChatHandler(), **more)
        if isinstance(suggestions, str) or not all(
            isinstance(one, str) and one.strip() for one in suggestions
        ):
            raise ConfigurationError(
                'suggestions must be a list of questions, such as suggestions=["What is GPT-2?"].'
            )
        self.assistant = assistant
        self._name = plain(getattr(assistant, "name", "") or "assistant", 100)
        self.title = plain(title or f"Chat with {self._name}")
        self.suggestions = tuple(suggestions)
        self.height = height
        self._more = more
        self._download_to = download_to
        self._lock = threading.RLock()
        self._thread_id = thread.id if isinstance(thread, Conversation) else thread
        self._turns: list[Turn] = [] if thread is None else self._earlier_turns()
        self._before: list[Turn] = []
        self._answering: _Answering | None = None
        self._run: AsyncRun | None = None
        self._widgets: _Widgets | None = None
        self._display_ids: list[str] = []

    # -- talking ------------------------------------------------------------------------------------------------------

    def ask(self, question: str) -> Turn:
        """Send a question, wait for the end of the answer, and return both.

        Args:
            question: what to ask.

        Raises:
            ConfigurationError: an empty question.
            WorkshopError: the chat is in the middle of another answer.
            RunFailed: the answer failed. The chat shows why as well, and goes on.
            Stopped: you interrupted the cell. What had arrived is in the chat.
        """
        answering = self._start(question, announce=False)
        stopped = False
        try:
            # With a time limit, since without one Windows would not notice an interrupt.
            while not answering.over.wait(_LOOK_EVERY_S):
                pass
        except KeyboardInterrupt:
            stopped = True
            answering.stop()
            answering.over.wait(_STOP_S + 1)
        self._publish_transcript()
        turn = answering.turn
        if stopped:
            raise Stopped(
                f"You stopped the answer; the {len(turn.text):,} characters that had arrived are in the chat.",
                partial_text=turn.text,
            )
        if turn.error:
            raise RunFailed(turn.error, partial_text=turn.text)
        return turn

    def stop(self) -> None:
        """Stop the answer that is on its way, as the button does; what has arrived stays."""
        answering = self._answering
        if answering is not None:
            answering.stop()

    def new_conversation(self) -> None:
        """Begin a new conversation. The one before stays in the account until ``cleanup(client)``.

        Raises:
            WorkshopError: the chat is in the middle of an answer.
        """
        with self._lock:
            self._refuse_while_busy()
            self._before += self._turns
            self._turns = []
            self._thread_id = None
        self._show()
        self._publish_transcript()

    # -- what there is to know ----------------------------------------------------------------------------------------

    @property
    def turns(self) -> list[Turn]:
        """The questions of this conversation with their answers, oldest first; the last one may still grow."""
        with self._lock:
            return list(self._turns)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The same as values that fit into JSON: question, answer, status, tools, citations, files, tokens, price."""
        return [turn.data() for turn in self.turns]

    @property
    def busy(self) -> bool:
        """Whether an answer is on its way."""
        return self._answering is not None

    @property
    def thread(self) -> str | None:
        """The id of the conversation; ``None`` before the first question."""
        return self._thread_id

    @property
    def run(self) -> AsyncRun | None:
        """The last run, with its ``trace``; ``None`` before the first."""
        return self._run

    def totals(self) -> str:
        """Return what was used so far, in one line, with the conversations before this one."""
        with self._lock:
            turns = [turn for turn in (*self._before, *self._turns) if not turn.earlier]
        asked = f"{len(turns)} question{'' if len(turns) == 1 else 's'}"
        counted = [turn for turn in turns if turn.tokens]
        if not counted:
            return asked
        known = all(turn.price_usd is not None for turn in counted)
        price_usd = sum(turn.price_usd or 0.0 for turn in counted) if known else None
        estimated = any(turn.estimated for turn in counted)
        words = f"{asked} · {usage_text(sum(turn.tokens for turn in counted), price_usd, estimated)}"
        return f"{words} · estimated: recorded mode spends nothing" if estimated else words

    def __repr__(self) -> str:
        return transcript_plain(self.title, self.turns)

    # -- showing ------------------------------------------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        from IPython import display

        show: Any = display.display
        if _in_kernel():
            bundle: dict[str, Any] = {"text/plain": f"{self.title}: a widget. Its conversation is below."}
            try:
                if self._widgets is None:
                    self._widgets = _Widgets(self)
                    self._show()
                bundle[_WIDGET_VIEW] = {
                    "version_major": 2,
                    "version_minor": 0,
                    "model_id": self._widgets.root.model_id,
                }
            except ImportError:
                bundle["text/plain"] = (
                    f"{self.title}: to draw it, install ipywidgets (%pip install ipywidgets), restart the kernel and "
                    'run the cells again. Until then, ask("…") talks.'
                )
            show(bundle, raw=True)
        # An output of its own, because updating that of the widget would draw the widget anew.
        display_id = uuid.uuid4().hex
        show(self._transcript(), raw=True, display_id=display_id)
        self._display_ids.append(display_id)

    def _transcript(self) -> dict[str, str]:
        turns = self.turns
        return {
            "text/html": transcript_html(self.title, turns),
            "text/plain": transcript_plain(self.title, turns),
        }

    def _publish_transcript(self) -> None:
        if not self._display_ids:
            return
        from IPython import display

        show: Any = display.display
        bundle = self._transcript()
        for display_id in self._display_ids:
            show(bundle, raw=True, display_id=display_id, update=True)

    def _show(self) -> None:
        if self._widgets is not None:
            self._widgets.update()

    # -- how ----------------------------------------------------------------------------------------------------------

    def _refuse_while_busy(self) -> None:
        if self._answering is not None:
            raise WorkshopError(_BUSY)

    def _start(self, question: str, *, announce: bool = True) -> _Answering:
        if not isinstance(question, str) or not question.strip():
            raise ConfigurationError("The question is empty. Write at least a word.")
        if len(question) > _LONGEST_QUESTION:
            raise ConfigurationError(
                f"The question has {len(question):,} characters; at most {_LONGEST_QUESTION:,} fit. Shorten it."
            )
        with self._lock:
            self._refuse_while_busy()
            answering = self._answering = _Answering(self, question.strip(), announce)
            self._turns.append(answering.turn)
        self._show()
        answering.start()
        return answering

    def _note(self, answering: _Answering) -> None:
        """Take the state of an answer."""
        with self._lock:
            if self._answering is not answering:
                return  # stopped so long ago that the chat went on
            self._turns[-1] = answering.turn
            self._run = answering.run or self._run
            if not answering.turn.running:
                self._answering = None
        self._show()

    def _earlier_turns(self) -> list[Turn]:
        try:
            items = list(self._worker.conversations.items.list(str(self._thread_id), order="asc", limit=100))
            return turns_of(items, self._name)
        except openai.OpenAIError as error:
            failure = failure_from(error)
        raise failure


# -- one answer -------------------------------------------------------------------------------------------------------


class _Answering:
    """One question on its way, in a thread with an event loop of its own.

    Not in the callback of a click: as long as one runs, a kernel reads no other message, and so no click on Stop. An
    asynchronous run can be stopped at any moment, also while nothing comes and while code or a function runs.
    """

    def __init__(self, chat: Chat, question: str, announce: bool) -> None:
        self.turn = Turn(question, chat._name)
        self.run: AsyncRun | None = None
        self.over = threading.Event()
        self._chat = chat
        self._announce = announce
        self._handler = ChatHandler(self._changed)
        self._is_new = True
        self._pause_s = _SHORTEST_INTERVAL_S
        self._lock = threading.Lock()
        self._stopping = False
        self._wake: Callable[[], object] | None = None
        self._work: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        # With the context of whoever asks: ipykernel keeps in it to which cell an output belongs.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._main,), name="chat answer", daemon=True).start()

    def stop(self) -> None:
        """Stop it, from any thread. A second time does nothing: it must not disturb how the first one ends things."""
        with self._lock:
            if self._stopping:
                return
            self._stopping = True
            if self._wake is not None:
                self._wake()

    def _changed(self) -> None:
        self._is_new = True

    def _main(self) -> None:
        loop = asyncio.new_event_loop()
        try:
            try:
                loop.run_until_complete(self._answer())
            except BaseException as error:  # noqa: BLE001 - a function may raise anything; the chat goes on
                self._finish("failed", explain(error))
            self.over.set()
            if self._work is not None and not self._work.done():
                loop.run_until_complete(asyncio.wait({self._work}))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            self.over.set()
            loop.close()

    async def _answer(self) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        with self._lock:
            self._wake = functools.partial(loop.call_soon_threadsafe, stop.set)
            if self._stopping:
                stop.set()
        work = self._work = loop.create_task(self._converse())
        stopped = loop.create_task(stop.wait())
        give_up_at: float | None = None
        while not work.done():
            waiting: set[asyncio.Task[Any]] = {work} if give_up_at is not None else {work, stopped}
            await asyncio.wait(waiting, timeout=self._pause_s, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                break
            if stopped.done() and give_up_at is None:
                give_up_at = loop.time() + _STOP_S
                self._draw("stopping")
                work.cancel()
            elif give_up_at is not None and loop.time() > give_up_at:
                break
            elif self._is_new:
                self._draw("in_progress" if give_up_at is None else "stopping")
        stopped.cancel()
        with self._lock:
            self._wake = None
        error = None if not work.done() or work.cancelled() else work.exception()
        if give_up_at is not None and (error is not None or not work.done() or work.cancelled()):
            # However a run reports that it was cancelled, and whatever else went wrong while it ended.
            self._finish("stopped")
        elif error is None:
            self._finish(self._handler.status)
        else:
            self._finish("failed", f"{_said_in_a_chat(error)} {self._handler.problem}".strip())

    async def _converse(self) -> None:
        chat = self._chat
        async with asynchronous(chat._client) as client:
            if chat._thread_id is None:
                conversation = await client.conversations.create()
                chat._thread_id = conversation.id
            self.run = stream_run(
                client,
                chat.assistant,
                chat._thread_id,
                self.turn.question,
                event_handler=self._handler,
                **chat._more,
            )
            try:
                await self.run.until_done()
                interrupted = False
            except KeyboardInterrupt:
                # What a run raises if it was stopped while functions ran; it would end the event loop.
                interrupted = True
            finally:
                await self.run.close()
        if interrupted:
            raise asyncio.CancelledError
        if chat._download_to is not None and self._handler.code_calls:
            # In a thread, so that Stop works meanwhile as well.
            self._handler.take_downloads(await asyncio.to_thread(self._download))

    def _download(self) -> DownloadReport:
        chat = self._chat
        assert chat._download_to is not None
        try:
            return download_files(chat._worker, self._handler, chat._download_to)
        except ConfigurationError as error:
            # The answer is there and stays; what is wrong with the folder is said below it.
            return DownloadReport([], Path(chat._download_to), [explain(error)])

    def _draw(self, status: str, error: str = "") -> None:
        self._is_new = False
        handler, run = self._handler, self.run
        # Below an answer that was stopped or failed stands what happened in the chat's own words.
        own_words = status in ("in_progress", "stopping", "stopped", "failed")
        marks = handler.marks if own_words else handler.footer.splitlines()
        self.turn = replace(
            self.turn,
            parts=handler.parts,
            status=status,
            error=error,
            marks=tuple(marks),
            downloads=handler.downloads,
            tokens=0 if run is None else run.trace.tokens.total,
            price_usd=None if run is None else run.trace.price_usd,
            estimated=run is not None and run.trace.estimated,
        )
        last = self.turn.parts[-1] if self.turn.parts else None
        size = len(last.text) if isinstance(last, Said) else 0
        self._pause_s = max(_SHORTEST_INTERVAL_S, size / _CHARACTERS_PER_S)
        self._chat._note(self)

    def _finish(self, status: str, error: str = "") -> None:
        self._draw(status, error)
        if self._announce:
            self._chat._publish_transcript()


def _said_in_a_chat(error: BaseException) -> str:
    sentence = explain(error)
    for in_a_cell, in_a_chat in _IN_A_CHAT:
        sentence = sentence.replace(in_a_cell, in_a_chat)
    return sentence


# -- widgets ----------------------------------------------------------------------------------------------------------


def _in_kernel() -> bool:
    """Whether there is a frontend that may draw widgets."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class _Widgets:
    """The chat as widgets. ``update`` may be called from any thread."""

    def __init__(self, chat: Chat) -> None:
        import ipywidgets

        self._kit: Any = ipywidgets
        self._chat = chat
        self._lock = threading.RLock()
        self._shown: list[_TurnBox] = []
        self._was_busy = False
        self._draft = _Draft(self._send)
        kit = self._kit
        self._messages = kit.VBox([], layout=kit.Layout(flex="0 0 auto", width="auto"))
        # From the bottom up: so it stays at the end while an answer grows, without a script.
        scroll = kit.Box(
            [self._messages],
            layout=kit.Layout(
                display="flex", flex_flow="column-reverse", overflow="auto", max_height=chat.height
            ),
        )
        self._text = kit.Text(
            placeholder="Write a question, then Enter",
            description="Question",
            continuous_update=False,
            style={"description_width": "initial"},
            layout=kit.Layout(flex="1 1 260px", width="auto", min_width="200px"),
        )
        self._text.on_msg(self._draft.on_message)
        self._text.observe(self._draft.on_value, "value")
        self._send_button = self._button("Send", "paper-plane", "Send the question", self._on_send, "primary")
        self._stop_button = self._button("Stop", "stop", "Stop the answer", self._on_stop)
        self._new_button = self._button(
            "New conversation", "refresh", "Begin a new conversation", self._on_new, width="auto"
        )
        self._suggestions = [
            self._button(plain(one, 80), "", f"Ask: {plain(one)}", self._asks(one), width="auto")
            for one in chat.suggestions
        ]
        self._notice = kit.HTML()
        self._totals = kit.HTML(layout=kit.Layout(flex="1 1 auto"))
        head = kit.HTML(STYLE + self._head())

        def row(*parts: Any) -> Any:
            return kit.HBox(list(parts), layout=kit.Layout(align_items="center", flex_flow="row wrap"))

        controls = [row(self._text, self._send_button, self._stop_button), self._notice]
        if self._suggestions:
            controls.insert(0, row(*self._suggestions))
        foot = row(self._totals, self._new_button)
        bottom = kit.VBox(controls)
        self.root = kit.VBox([head, scroll, bottom, foot])
        for widget, names in (
            (self.root, ("wc-root", "wc-look")),
            (head, ("wc-head",)),
            (scroll, ("wc-messages",)),
            (bottom, ("wc-controls",)),
            (foot, ("wc-foot",)),
        ):
            for name in names:
                widget.add_class(name)

    def _head(self) -> str:
        assistant = self._chat.assistant
        about = [plain(getattr(assistant, "description", ""), 200), plain(assistant.get("model") or "", 60)]
        tools = [
            plain(tool.get("name") or tool.get("type"), 60).replace("_", " ")
            for tool in assistant.get("tools") or []
        ]
        about.append(", ".join(tools))
        words = " · ".join(word for word in about if word)
        return (
            f"<div><strong>{literal_html(self._chat.title)}</strong>"
            f'<div class="wc-aside">{literal_html(words)}</div></div>'
        )

    def _button(
        self,
        words: str,
        icon: str,
        tooltip: str,
        on_click: Callable[[Any], None],
        style: str = "",
        width: str = "96px",
    ) -> Any:
        button = self._kit.Button(
            description=words,
            icon=icon,
            tooltip=tooltip,
            button_style=style,
            layout=self._kit.Layout(width=width, flex="0 0 auto"),
        )
        button.on_click(on_click)
        return button

    # -- what a person does -------------------------------------------------------------------------------------------

    def _asks(self, question: str) -> Callable[[Any], None]:
        return lambda _: self._send(question)

    def _on_send(self, _: Any) -> None:
        self._send(self._text.value)

    def _on_stop(self, _: Any) -> None:
        self._chat.stop()
        self._stop_button.disabled = True

    def _on_new(self, _: Any) -> None:
        try:
            self._chat.new_conversation()
        except WorkshopError as refused:
            self._say(str(refused))

    def _send(self, question: str) -> None:
        if not question.strip():
            self._say("Write a question first.")
            return
        try:
            self._chat._start(question)
        except WorkshopError as refused:
            self._say(str(refused))
            return
        if self._text.value.strip() == question.strip():
            self._text.value = ""

    # -- what is shown ------------------------------------------------------------------------------------------------

    def _say(self, words: str) -> None:
        self._notice.value = f'<div class="wc-aside" role="status">{literal_html(words)}</div>'

    def update(self) -> None:
        """Show the chat as it is."""
        with self._lock:
            chat = self._chat
            turns, busy = chat.turns, chat.busy
            del self._shown[len(turns) :]
            for place, turn in enumerate(turns):
                if place < len(self._shown) and self._shown[place].question is not turn.question:
                    del self._shown[place:]
                if place == len(self._shown):
                    self._shown.append(_TurnBox(self._kit, turn))
                self._shown[place].update(turn)
            boxes = tuple(shown.box for shown in self._shown)
            if self._messages.children != boxes:
                self._messages.children = boxes
            for button in (self._send_button, self._new_button, *self._suggestions):
                button.disabled = busy
            stopping = bool(turns) and turns[-1].status == "stopping"
            self._stop_button.disabled = not busy or stopping
            self._stop_button.button_style = "danger" if busy and not stopping else ""
            if busy is not self._was_busy:
                self._was_busy = busy
                self._notice.value = ""
            self._totals.value = (
                f'<div class="wc-aside">{literal_html(chat.totals())}<br>'
                "<code>cleanup(client)</code> deletes the conversation.</div>"
            )


class _TurnBox:
    """The widgets of one turn: one for each piece, so that only what has changed is sent."""

    def __init__(self, kit: Any, turn: Turn) -> None:
        self._kit = kit
        self.question = turn.question
        self._turn: Turn | None = None
        self._head, self._below = kit.HTML(), kit.HTML()
        self._parts = kit.VBox([])
        self.box = kit.VBox([self._head, self._parts, self._below])

    def update(self, turn: Turn) -> None:
        """Show ``turn``."""
        if turn is self._turn:
            return
        self._turn = turn
        head, *parts, below = turn_pieces(turn)
        self._head.value = head
        widgets = list(self._parts.children[: len(parts)])
        for widget, part in zip(widgets, parts, strict=False):
            widget.value = part
        widgets += [self._kit.HTML(part) for part in parts[len(widgets) :]]
        if self._parts.children != tuple(widgets):
            self._parts.children = tuple(widgets)
        self._below.value = below


class _Draft:
    """Tells Enter from leaving the text box.

    A browser reports both in the same way, as a new value; for Enter it sends a message before. If the value is known
    already, because the box was left before, only the message comes.
    """

    def __init__(self, send: Callable[[str], None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._value = ""
        self._entered_at = float("-inf")

    def on_message(self, widget: Any, content: Any, buffers: Any) -> None:
        """Note that Enter was pressed."""
        if not isinstance(content, dict) or content.get("event") != "submit":
            return
        with self._lock:
            self._entered_at = time.monotonic()
            if self._value.strip():
                timer = threading.Timer(_NOTHING_NEW_S, contextvars.copy_context().run, [self._settle])
                timer.daemon = True
                timer.start()

    def on_value(self, change: Any) -> None:
        """Take a new value; it is a question if Enter was pressed right before."""
        with self._lock:
            self._value = str(change["new"])
            entered = time.monotonic() - self._entered_at < _ENTER_S
            if not self._value.strip() or not entered:
                return
            self._entered_at = float("-inf")
        self._send(self._value)

    def _settle(self) -> None:
        with self._lock:
            if self._entered_at == float("-inf") or not self._value.strip():
                return
            self._entered_at = float("-inf")
        self._send(self._value)
