"""The chat: asking, stopping in each phase, errors, the widgets, and what is left where widgets are not drawn."""

from __future__ import annotations

import _thread
import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import httpx2
import ipywidgets
import openai
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

import helpers.local_api
from helpers import (
    Assistant,
    ConfigurationError,
    RunFailed,
    Stopped,
    WorkshopError,
    cleanup,
    connect,
    ledger_of,
)
from helpers import chat as chat_function
from helpers.chat_view import Ran
from helpers.chat_widget import Chat, chat
from tests.committed_outputs import PROJECT, environment
from tests.html_safety import Page, checked
from tests.test_run import stream_of

RECORDINGS = PROJECT / "tests" / "data" / "chat-recordings"
INSTRUCTIONS = "Answer from the files, and run code where a number is needed."
WAIT_S = 20
KEY = "sk-planted-0123456789"
STORY = "Tell me a long story."


@pytest.fixture
def client(monkeypatch, tmp_path, capsys):
    """A recorded client with the recordings of these tests, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(helpers.local_api, "_shared", None)
    monkeypatch.setenv("WORKSHOP_RECORDINGS", str(RECORDINGS))
    client = connect("recorded")
    capsys.readouterr()
    yield client
    helpers.local_api.shared().close()


@pytest.fixture
def slow_client(monkeypatch, client):
    """The same, at the pace of a model: there is time to stop it."""
    helpers.local_api.shared().close()
    monkeypatch.setenv("WORKSHOP_PACE", "human")
    return connect("recorded")


def teacher(*tools):
    return Assistant("Teacher", INSTRUCTIONS, model="gpt-6-luna", tools=tools)


CODE = {"type": "code_interpreter", "container": {"type": "auto"}}


class Watched:
    """A chat that is watched: ``until`` waits for a moment in an answer without looking at a clock."""

    def __init__(self, talk):
        self.talk = talk
        self._changed = threading.Condition()
        note = talk._note

        def noted(answering):
            note(answering)
            with self._changed:
                self._changed.notify_all()

        talk._note = noted

    def until(self, holds):
        with self._changed:
            assert self._changed.wait_for(
                lambda: bool(self.talk.turns) and holds(self.talk.turns[-1]), WAIT_S
            )


def over(talk):
    """Wait until no answer is on its way."""
    answering = talk._answering
    if answering is not None:
        assert answering.over.wait(WAIT_S)
    return talk.turns[-1]


# -- asking -----------------------------------------------------------------------------------------------------------


def test_a_question_is_answered_and_kept(client):
    talk = chat(client, teacher())
    turn = talk.ask(" Say it short. ")
    assert (turn.question, turn.text, turn.status) == ("Say it short.", "Short it is.", "completed")
    assert talk.turns == [turn]
    assert not talk.busy
    assert turn.marks[0].startswith("recorded · written by hand")
    assert (turn.tokens > 0, turn.estimated) == (True, True)
    assert talk.run.trace.status == "completed"
    assert json.loads(json.dumps(talk.history))[0]["answer"] == "Short it is."
    assert "You: Say it short." in repr(talk)


def test_the_conversation_goes_on_and_is_in_the_ledger(client, capsys):
    talk = chat(client, teacher())
    assert talk.thread is None
    talk.ask("Say it short.")
    thread = talk.thread
    talk.ask(STORY)
    assert talk.thread == thread
    items = [item.role for item in client.conversations.items.list(thread) if item.type == "message"]
    assert sorted(items) == ["assistant", "assistant", "user", "user"]
    assert ledger_of(client).has(thread)
    assert thread in [entry.id for entry in cleanup(client).deleted]


def test_a_conversation_that_was_there_before_is_shown_and_goes_on(client):
    first = chat(client, teacher())
    first.ask("Say it short.")
    talk = chat(client, teacher(), thread=first.thread)
    assert [(turn.question, turn.text, turn.earlier) for turn in talk.turns] == [
        ("Say it short.", "Short it is.", True)
    ]
    talk.ask(STORY)
    assert talk.thread == first.thread
    assert talk.totals().startswith("1 question ·")


def test_totals_add_up_over_conversations(client):
    talk = chat(client, teacher())
    assert talk.totals() == "0 questions"
    one = talk.ask("Say it short.")
    talk.new_conversation()
    assert talk.turns == []
    assert talk.history == []
    assert talk.thread is None
    two = talk.ask("Say it short.")
    assert talk.totals().startswith(f"2 questions · ≈ {one.tokens + two.tokens:,} tokens · ≈ ")
    assert talk.totals().endswith("estimated: recorded mode spends nothing")


def test_files_and_plots_of_code_arrive(client, tmp_path):
    talk = chat(client, teacher(CODE))
    turn = talk.ask("Plot the squares.")
    ran, said = turn.parts
    assert isinstance(ran, Ran)
    assert [image.mime_type for image in ran.call.images] == ["image/png"]
    assert said.text == "The largest square is 81. The numbers are in [the table](downloads/squares.csv)."
    assert (tmp_path / "downloads" / "squares.csv").read_text().splitlines()[-1] == "9,81"
    assert talk.history[0]["files"][-1] == str(Path("downloads/squares.csv"))
    assert "<img src=x" in checked(turn._repr_html_()).text


def test_without_a_folder_nothing_is_downloaded_and_a_bad_folder_costs_no_answer(client, tmp_path):
    assert chat(client, teacher(CODE), download_to=None).ask("Plot the squares.").downloads is None
    (tmp_path / "taken").write_text("")
    turn = chat(client, teacher(CODE), download_to="taken").ask("Plot the squares.")
    assert turn.status == "completed"
    assert "The folder taken cannot be used" in turn.downloads.notes[0]


def test_functions_are_called_and_shown(client):
    def look_up(topic: str) -> dict[str, str]:
        """Look a topic up.

        Args:
            topic: what to look up.
        """
        return {"topic": topic, "size": "124M"}

    talk = chat(client, teacher(look_up))
    turn = talk.ask("How large is GPT-2?")
    called, said = turn.parts
    assert (called.call.name, called.call.status) == ("look_up", "done")
    assert "124M" in called.call.result.output
    assert said.text == "It is in the table."
    assert "<img src=x" in checked(turn._repr_html_()).text


def test_an_asynchronous_client_will_do_as_well(client):
    talk = chat(connect("recorded", asynchronous=True), teacher())
    assert talk.ask("Say it short.").text == "Short it is."


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["", "  \n", None, 7])
def test_an_empty_question_is_refused_and_leaves_no_trace(client, question):
    talk = chat(client, teacher())
    with pytest.raises(ConfigurationError, match="The question is empty"):
        talk.ask(question)
    assert talk.turns == []
    assert not talk.busy


def test_a_question_that_is_a_book_is_refused(client):
    with pytest.raises(ConfigurationError, match="at most 100,000 fit"):
        chat(client, teacher()).ask("x" * 100_001)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"assistant": "Teacher"}, "must be an Assistant"),
        ({"thread": 7}, "must be a thread"),
        ({"thread": "thread_1"}, "must be a thread"),
        ({"suggestions": "What is GPT-2?"}, "must be a list of questions"),
        ({"suggestions": ["", "x"]}, "must be a list of questions"),
        ({"instructions": "Other ones."}, "came twice"),
        ({"max_rounds": 0}, "max_rounds"),
    ],
)
def test_what_cannot_work_is_said_at_once(client, arguments, words):
    with pytest.raises(ConfigurationError, match=words):
        chat(client, **{"assistant": teacher(), **arguments})


def test_something_else_than_a_client_is_refused():
    with pytest.raises(ConfigurationError, match="must be the client that connect"):
        chat("sk-key", teacher())


def test_a_conversation_that_is_not_there_is_one_sentence(client):
    with pytest.raises(RunFailed, match="not found"):
        chat(client, teacher(), thread="conv_0000")


# -- what goes wrong --------------------------------------------------------------------------------------------------


class Served(httpx2.AsyncBaseTransport):
    """A server: gives its answers one after another. Callables are called, and may wait."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def handle_async_request(self, request):
        if request.url.path.endswith("/conversations"):
            return httpx2.Response(
                200, json={"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}}
            )
        if not request.url.path.endswith("/responses"):
            return httpx2.Response(200, json={"object": "list", "data": [], "has_more": False})
        answer = self.answers.pop(0)
        made = answer() if callable(answer) else answer
        return await made if asyncio.iscoroutine(made) else made


@pytest.fixture
def served(monkeypatch):
    """Make a chat with a server of its own, on which a key is used."""

    def make(*answers):
        transport = Served(*answers)

        def asynchronous(client):
            return openai.AsyncOpenAI(
                api_key=KEY, max_retries=0, http_client=httpx2.AsyncClient(transport=transport)
            )

        monkeypatch.setattr("helpers.chat_widget.asynchronous", asynchronous)
        return chat(openai.OpenAI(api_key=KEY), teacher(), max_retries=0)

    return make


def problem(status, code, message):
    return lambda: httpx2.Response(
        status, json={"error": {"message": message, "type": "t", "param": None, "code": code}}
    )


def body(status="completed"):
    return {"id": "resp_1", "object": "response", "status": status, "model": "gpt-6-luna", "output": []}


CREATED = {"type": "response.created", "response": body("in_progress")}
COMPLETED = {"type": "response.completed", "response": body()}


def delta(text):
    return {
        "type": "response.output_text.delta",
        "item_id": "msg_1",
        "output_index": 0,
        "content_index": 0,
        "delta": text,
    }


def test_an_error_is_one_sentence_in_the_chat_and_the_conversation_goes_on(served):
    talk = served(
        problem(401, "invalid_api_key", f"Incorrect API key provided: {KEY}."),
        stream_of(CREATED, delta("Half"), {"type": "error", "code": "server_error", "message": "Oops."}),
        stream_of(CREATED, delta("Here."), COMPLETED),
    )
    with pytest.raises(RunFailed, match="does not accept this key") as caught:
        talk.ask("One?")
    with pytest.raises(
        RunFailed, match=r"OpenAI had a problem of its own in the middle of the answer\. Ask again\."
    ) as half:
        talk.ask("Two?")
    assert half.value.partial_text == "Half"
    assert talk.ask("Three?").text == "Here."
    assert [turn.status for turn in talk.turns] == ["failed", "failed", "completed"]
    assert "does not accept this key" in talk.turns[0].error
    assert talk.turns[1].text == "Half"
    everything = f"{talk!r} {talk.history} {caught.value} {caught.value.__cause__} {caught.value.__context__}"
    assert KEY not in everything
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_deleted_conversation_is_told_as_that(client, capsys):
    talk = chat(client, teacher())
    talk.ask("Say it short.")
    cleanup(client)
    with pytest.raises(RunFailed, match="start a new conversation"):
        talk.ask("Say it short.")
    talk.new_conversation()
    assert talk.ask("Say it short.").status == "completed"


def test_an_answer_that_ends_early_says_why(served):
    event = {
        "type": "response.incomplete",
        "response": {**body("incomplete"), "incomplete_details": {"reason": "max_output_tokens"}},
    }
    turn = served(stream_of(CREATED, delta("Half"), event)).ask("One?")
    assert turn.status == "incomplete"
    assert any("limit of output tokens" in mark for mark in turn.marks)


def test_something_unexpected_is_a_sentence_too(client, monkeypatch):
    def broken(*arguments, **more):
        raise ZeroDivisionError("no")

    talk = chat(client, teacher())
    monkeypatch.setattr("helpers.chat_widget.stream_run", broken)
    with pytest.raises(RunFailed, match="ZeroDivisionError: no"):
        talk.ask("One?")
    monkeypatch.undo()
    assert not talk.busy


# -- stopping ---------------------------------------------------------------------------------------------------------


def test_stop_before_the_first_sign(served):
    asked = threading.Event()

    async def never():
        asked.set()
        await asyncio.Event().wait()

    talk = served(never, stream_of(CREATED, delta("Here."), COMPLETED))
    answering = talk._start("One?")
    assert asked.wait(WAIT_S)
    assert talk.busy
    talk.stop()
    assert over(talk).status == "stopped"
    assert answering.turn.parts == ()
    assert talk.ask("Two?").text == "Here."


def test_stop_in_the_middle_of_a_text(slow_client):
    talk = chat(slow_client, teacher())
    watched = Watched(talk)
    talk._start(STORY)
    watched.until(lambda turn: len(turn.text) > 20)
    talk.stop()
    talk.stop()
    turn = over(talk)
    assert turn.status == "stopped"
    assert turn.text.startswith("Once upon a time")
    assert "The end of the long story" not in turn.text
    assert talk.ask("Say it short.").text == "Short it is."
    said = [
        item.content[0].text
        for item in slow_client.conversations.items.list(talk.thread)
        if item.type == "message" and item.role == "assistant"
    ]
    assert said == ["Short it is."]


def test_stop_while_code_runs(client):
    talk = chat(client, teacher(CODE))
    watched = Watched(talk)
    talk._start("Compute for a long time.")
    watched.until(
        lambda turn: (
            bool(turn.parts)
            and isinstance(turn.parts[-1], Ran)
            and turn.parts[-1].call.status == "interpreting"
        )
    )
    talk.stop()
    turn = over(talk)
    assert turn.status == "stopped"
    assert "The code was not finished." in turn._repr_html_()
    assert talk.ask("Plot the squares.").status == "completed"


def test_stop_while_a_function_runs(client):
    running, go_on = threading.Event(), threading.Event()

    def look_up(topic: str) -> str:
        """Look a topic up.

        Args:
            topic: what to look up.
        """
        running.set()
        go_on.wait(WAIT_S)
        return "124M"

    talk = chat(client, teacher(look_up))
    talk._start("How large is GPT-2?")
    assert running.wait(WAIT_S)
    talk.stop()
    turn = over(talk)
    go_on.set()
    assert (turn.status, turn.error) == ("stopped", "")
    assert turn.parts[0].call.status == "interrupted"
    # The call was answered, else the conversation would refuse every further question.
    assert talk.ask("How large is GPT-2?").text == "It is in the table."


def test_an_answer_that_will_not_stop_is_left_behind(served, monkeypatch):
    monkeypatch.setattr("helpers.chat_widget._STOP_S", 0.05)
    begun = threading.Event()
    loops = []

    async def stubborn():
        loops.append((asyncio.get_running_loop(), asyncio.Event()))
        begun.set()
        while not loops[0][1].is_set():
            try:
                await loops[0][1].wait()
            except asyncio.CancelledError:
                continue
        return httpx2.Response(500)

    talk = served(stubborn, stream_of(CREATED, delta("Here."), COMPLETED))
    talk._start("One?")
    assert begun.wait(WAIT_S)
    talk.stop()
    assert over(talk).status == "stopped"
    assert talk.ask("Two?").text == "Here."
    loops[0][0].call_soon_threadsafe(loops[0][1].set)
    for thread in threading.enumerate():
        if thread.name == "chat answer":
            thread.join(WAIT_S)
    assert [turn.status for turn in talk.turns] == ["stopped", "completed"]


def test_an_interrupt_stops_a_question_that_was_asked_from_code(slow_client):
    talk = chat(slow_client, teacher())
    watched = Watched(talk)

    def interrupt():
        watched.until(lambda turn: len(turn.text) > 20)
        _thread.interrupt_main()

    threading.Thread(target=interrupt).start()
    with pytest.raises(Stopped) as caught:
        talk.ask(STORY)
    assert caught.value.partial_text == talk.turns[-1].text != ""
    assert talk.turns[-1].status == "stopped"
    assert talk.ask("Say it short.").text == "Short it is."


def test_only_one_answer_at_a_time(slow_client):
    talk = chat(slow_client, teacher())
    watched = Watched(talk)
    talk._start(STORY)
    watched.until(lambda turn: bool(turn.text))
    for attempt in (lambda: talk.ask("Say it short."), talk.new_conversation):
        with pytest.raises(WorkshopError, match="One answer at a time"):
            attempt()
    assert len(talk.turns) == 1
    talk.stop()
    over(talk)
    talk.stop()  # with nothing to stop, it does nothing
    talk.new_conversation()


def test_nothing_is_left_behind(client):
    talk = chat(client, teacher())
    talk.ask("Say it short.")
    for thread in threading.enumerate():
        if thread.name == "chat answer":
            assert thread.daemon
            thread.join(WAIT_S)
            assert not thread.is_alive()
    gone = weakref.ref(talk)
    del talk
    gc.collect()
    assert gone() is None


# -- widgets ----------------------------------------------------------------------------------------------------------


def widgets_of(talk):
    from helpers.chat_widget import _Widgets

    talk._widgets = _Widgets(talk)
    talk._show()
    return talk._widgets


def everything_in(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from everything_in(child)


def shown_text(widgets):
    return "\n".join(
        Page(part.value).text for part in everything_in(widgets.root) if isinstance(part, ipywidgets.HTML)
    )


def button(widgets, words):
    return next(
        part
        for part in everything_in(widgets.root)
        if isinstance(part, ipywidgets.Button) and part.description == words
    )


def type_and_enter(widgets, question):
    """What a browser sends: first that Enter was pressed, then the new value."""
    widgets._text._handle_custom_msg({"event": "submit"}, [])
    widgets._text.set_state({"value": question})


def leave_the_box(widgets, question):
    widgets._text.set_state({"value": question})


def test_enter_sends_what_was_typed(client):
    talk = chat(client, teacher())
    widgets = widgets_of(talk)
    type_and_enter(widgets, "Say it short.")
    assert over(talk).text == "Short it is."
    assert widgets._text.value == ""
    assert "Short it is." in shown_text(widgets)


def test_leaving_the_box_sends_nothing_and_enter_later_does(client):
    talk = chat(client, teacher())
    widgets = widgets_of(talk)
    started = threading.Event()
    start = talk._start

    def noted(question):
        answering = start(question)
        started.set()
        return answering

    talk._start = noted
    leave_the_box(widgets, "Say it short.")
    assert talk.turns == []
    widgets._text._handle_custom_msg({"event": "submit"}, [])  # the value is known, so no other message comes
    assert started.wait(WAIT_S)
    assert over(talk).text == "Short it is."
    assert len(talk.turns) == 1


def test_send_and_suggestions_ask(client):
    talk = chat(client, teacher(), suggestions=["Say it short.", "Show me what you can write."])
    widgets = widgets_of(talk)
    leave_the_box(widgets, STORY)
    button(widgets, "Send").click()
    assert over(talk).question == STORY
    leave_the_box(widgets, "a draft")
    button(widgets, "Say it short.").click()
    assert over(talk).text == "Short it is."
    assert widgets._text.value == "a draft"


def test_an_empty_box_asks_for_a_question(client):
    talk = chat(client, teacher())
    widgets = widgets_of(talk)
    button(widgets, "Send").click()
    assert talk.turns == []
    assert "Write a question first." in shown_text(widgets)


def test_buttons_say_what_can_be_done(slow_client):
    talk = chat(slow_client, teacher(), suggestions=["Say it short."])
    widgets = widgets_of(talk)
    watched = Watched(talk)

    def disabled():
        return [
            button(widgets, words).disabled for words in ("Send", "Stop", "New conversation", "Say it short.")
        ]

    assert disabled() == [False, True, False, False]
    type_and_enter(widgets, STORY)
    watched.until(lambda turn: bool(turn.text))
    assert disabled() == [True, False, True, True]
    type_and_enter(widgets, "Say it short.")
    assert "One answer at a time: wait for this one, or press Stop." in shown_text(widgets)
    assert widgets._text.value == "Say it short."
    button(widgets, "Stop").click()
    over(talk)
    assert disabled() == [False, True, False, False]
    assert "you stopped the answer here" in shown_text(widgets)
    assert "One answer at a time" not in shown_text(widgets)


def test_a_new_conversation_empties_the_chat(client):
    talk = chat(client, teacher())
    widgets = widgets_of(talk)
    talk.ask("Say it short.")
    assert "Short it is." in shown_text(widgets)
    button(widgets, "New conversation").click()
    assert "Short it is." not in shown_text(widgets)
    talk.ask(STORY)
    assert "Once upon a time" in shown_text(widgets)
    assert "Short it is." not in shown_text(widgets)


def test_only_what_changes_is_sent_again(client):
    talk = chat(client, teacher(CODE))
    widgets = widgets_of(talk)
    talk.ask("Plot the squares.")
    settled = [part for part in everything_in(widgets._messages) if isinstance(part, ipywidgets.HTML)]
    sent = []
    for part in settled:
        part.observe(lambda change: sent.append(change["owner"]), "value")
    talk.ask(STORY)
    assert sent == []
    assert [part for part in everything_in(widgets._messages) if isinstance(part, ipywidgets.HTML)][
        : len(settled)
    ] == settled


def test_updates_come_at_most_eight_times_a_second(slow_client):
    talk = chat(slow_client, teacher())
    draws = []
    note = talk._note
    talk._note = lambda answering: (draws.append(answering.turn.text), note(answering))
    talk.ask("Show me what you can write.")
    pieces = len(talk.run.handler.text_deltas)
    assert pieces > 40
    assert 3 < len(draws) < pieces / 2


def test_no_widget_holds_live_html_of_somebody_else(client):
    nasty = "<img src=x onerror=alert(1)>"
    talk = chat(
        client,
        Assistant(nasty, INSTRUCTIONS, description=nasty, model="gpt-6-luna", tools=[CODE]),
        title=nasty,
        suggestions=[nasty],
    )
    widgets = widgets_of(talk)
    talk.ask("Try to break out.")
    talk.ask("Plot the squares.")
    widgets._say(nasty)
    for part in everything_in(widgets.root):
        if isinstance(part, ipywidgets.HTML):
            checked(part.value.partition("</style>")[2] or part.value)
    assert "<script>window.broken" in shown_text(widgets)
    assert shown_text(widgets).count("onerror=") >= 5


def test_only_what_ipywidgets_7_has_is_used():
    source = (PROJECT / "helpers" / "chat_widget.py").read_text(encoding="utf-8")
    for newer in (
        "TagsInput",
        "titles=",
        "Stack(",
        "TimePicker",
        ".focus()",
        "tooltip=kit",
        "overflow_x",
        "overflow_y",
    ):
        assert newer not in source


# -- where widgets are not drawn ----------------------------------------------------------------------------------------

SETUP = """
import sys; sys.path.insert(0, {project!r})
from helpers import Assistant, chat, connect
client = connect("recorded")
talk = chat(client, Assistant("Teacher", {instructions!r}, model="gpt-6-luna"))
"""


def run_cells(tmp_path, *cells, **variables):
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    setup = SETUP.format(project=str(PROJECT), instructions=INSTRUCTIONS)
    notebook.cells.insert(0, new_code_cell(setup))
    client = NotebookClient(
        notebook,
        timeout=60,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute(env=environment(WORKSHOP_RECORDINGS=str(RECORDINGS), **variables))
    return [cell.outputs for cell in notebook.cells[1:]]


def test_a_run_without_a_screen_keeps_the_conversation_as_text(tmp_path):
    shown, asked, again = run_cells(
        tmp_path, "talk", "talk.ask('Say it short.')", "_ = talk.ask('Try to break out.')"
    )
    widget, transcript = shown
    assert widget.data["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert widget.data["text/plain"] == "Chat with Teacher: a widget. Its conversation is below."
    assert set(transcript.data) == {"text/html", "text/plain"}
    assert "You: Say it short." in transcript.data["text/plain"]
    page = checked(transcript.data["text/html"])
    assert page.text.index("Short it is.") < page.text.index("<script>window.broken")
    assert "Short it is." in asked[0].data["text/plain"]
    checked(asked[0].data["text/html"])
    assert again == []


def test_a_chat_that_talked_before_it_is_shown_shows_what_was_said(tmp_path):
    (shown,) = run_cells(tmp_path, "talk.ask('Say it short.')\ntalk")
    assert "Short it is." in shown[-1].data["text/html"]


def test_an_answer_that_streams_behind_the_cell_reaches_the_transcript(tmp_path):
    ask = "answering = talk._start('Say it short.')\nassert answering.over.wait(20)"
    shown, _ = run_cells(tmp_path, "talk", ask)
    assert "Short it is." in shown[-1].data["text/html"]


def test_without_ipywidgets_it_says_what_to_do_and_talks(tmp_path):
    shown, asked = run_cells(
        tmp_path, "import sys; sys.modules['ipywidgets'] = None\ntalk", "talk.ask('Say it short.')"
    )
    assert "application/vnd.jupyter.widget-view+json" not in shown[0].data
    assert "%pip install ipywidgets" in shown[0].data["text/plain"]
    assert "Short it is." in shown[1].data["text/plain"]
    assert "Short it is." in asked[0].data["text/plain"]


def test_in_a_terminal_it_is_text(client, monkeypatch, capsys):
    from IPython import display

    shown = []
    monkeypatch.setattr(display, "display", lambda bundle, **more: shown.append((bundle, more)))
    talk = chat(client, teacher())
    talk._ipython_display_()
    talk.ask("Say it short.")
    (first, _), (second, more) = shown
    assert "Nothing has been asked yet." in first["text/plain"]
    assert "Short it is." in second["text/plain"]
    assert more["update"] is True
    assert talk._widgets is None


# -- names ------------------------------------------------------------------------------------------------------------


def test_the_function_is_what_is_imported_in_any_order():
    assert chat_function is chat
    code = "import helpers.chat_widget, helpers.chat_view\nfrom helpers import Chat, chat\nassert callable(chat) and chat.__name__ == 'chat', chat"
    environment_ = {**os.environ, "PYTHONPATH": str(PROJECT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment_)
    assert issubclass(Chat, object)


def test_neither_importing_nor_asking_needs_ipywidgets():
    code = """
import sys
sys.modules["ipywidgets"] = None
from helpers import Assistant, chat, connect
talk = chat(connect("recorded"), Assistant("Teacher", "x", model="gpt-6-luna"))
print(talk.ask("Say it short.").text)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": str(PROJECT),
            "WORKSHOP_RECORDINGS": str(RECORDINGS),
            "WORKSHOP_STRICT": "0",
        },
    )
    assert ran.stdout.splitlines()[-1] == "Short it is."
