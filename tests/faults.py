"""The fault matrix: every fault at every stage of the course where it makes sense, and what a learner sees of it.

    python -m tests.faults                 try all cells, print the table (faults x stages) and what did not hold
    python -m tests.faults --write         also rewrite tests/data/faults/sentences.json: what the learner sees
    python -m tests.faults --only cut      only the cells with this in "stage / fault"
    python -m tests.faults --left-out      also say why a cell is left out

Here live the stages as scenes, the faults as data with what is expected of them, and what has to hold in every cell.
Not here: how a fault is made (``faulty.py``), and the tests themselves (``test_faults.py``).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import itertools
import json
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import openai
import pytest

from helpers import (
    Assistant,
    Stopped,
    ToolboxHandler,
    WorkshopError,
    cleanup,
    connect,
    download_files,
    explain,
    ledger,
    ledger_of,
    local_api,
    rounds,
    stream_run,
    upload_files,
    wait_for,
)
from helpers.rendering import LinesRenderer
from helpers.tables import Column, Table
from tests.faulty import PLANTED_KEY, TABLES, Fault, FaultyAPI
from tests.local_api.kernels import InProcess

DATA = Path(__file__).parent / "data" / "faults"
GOLDEN = DATA / "sentences.json"
DELTA = "response.output_text.delta"
NOTES = "# Notes\n\nA token is a piece of text: a short word, or a part of a longer one.\n"


# -- what is tried ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A fault as a row of the table.

    Attributes:
        kind: one of ``faulty.KINDS``.
        group: which stages it makes sense at (see ``why_left_out``).
        passes: what is expected if it happens once: that the learner gets everything all the same.
        harmless: whether that is expected as well if it happens always.
        but: the stages where another thing is expected, if it happens once and always.
        spreads: whether it then happens to every request.
        event: before which event it happens, if not in the middle of what the stage is about.
    """

    kind: str
    group: str
    passes: bool = True
    harmless: bool = False
    spreads: bool = False
    event: str = ""
    but: Mapping[str, tuple[bool, bool]] = field(default_factory=dict, hash=False)


WELL, ONCE = (True, True), (True, False)
STREAMED = ("text stream", "tool output")
# The SDK sends these again by itself, whatever kind of limit it is.
BARE = ("create", "upload", "attach", "parsing", "background poll", "download", "clean-up")

ROWS = (
    Row("no connection", "request", spreads=True),
    Row("answer lost", "request"),
    Row("no answer in time", "request"),
    Row("answer cut half-way", "cut body"),
    Row("upload cut half-way", "upload"),
    Row("web page of a proxy", "request"),
    Row("page of a filter", "request", passes=False),
    Row("sign-in page", "request", passes=False),
    Row("broken JSON", "body", passes=False),
    Row("wrong content type", "type", passes=False, but=dict.fromkeys(STREAMED, WELL)),
    Row("another JSON", "body", passes=False),
    Row("400", "request", passes=False),
    Row("400 busy", "conversation"),
    Row("401", "request", passes=False),
    Row("403", "request", passes=False),
    Row("404", "404", passes=False),
    Row("409", "request"),
    Row("429 with Retry-After", "request"),
    Row("429 an hour", "request", passes=False),
    Row("429", "request"),
    Row("429 no credit", "request", passes=False, but=dict.fromkeys(BARE, ONCE)),
    Row("500", "request"),
    Row("503", "request"),
    Row("cut", "event", but={"background stream": WELL}),
    Row("cut at once", "event", event="response.created"),
    Row("cut at the end", "event", harmless=True, event="response.completed"),
    Row("cut, and gone", "event", spreads=True),
    Row("cut for six minutes", "age", harmless=True),
    Row("stall", "event", but={"background stream": WELL}),
    Row("silent end", "event", but={"background stream": WELL}),
    Row("half an event", "event", but={"background stream": WELL}),
    Row("garbage", "event", but={"background stream": WELL}),
    Row("event twice", "event", harmless=True),
    Row("events from the begin", "event", harmless=True),
    Row("unknown events", "event", harmless=True),
    Row("unknown fields", "event", harmless=True),
    Row("error event, nested", "event"),
    Row("error event, flat", "event"),
    Row("error event, no credit", "event", passes=False),
    Row("response.failed", "event"),
    Row("response.failed, prompt", "event", passes=False),
    Row("response.incomplete, length", "event", passes=False),
    Row("response.incomplete, filter", "event", passes=False),
    # What searches no file says so in an answer.
    Row("files deleted", "files", passes=False, but={"clean-up": WELL, "file search": WELL}),
    Row("store deleted", "store", passes=False, but={"clean-up": WELL}),
    Row("container expired", "container", passes=False, but={"clean-up": WELL}),
    Row("thread deleted", "thread", passes=False, but={"clean-up": WELL}),
    Row("response deleted", "response", passes=False, but={"clean-up": WELL}),
)


def why_left_out(row: Row, stage: str) -> str:
    """Return why a fault is not tried at a stage; empty if it is."""
    scene = SCENES[stage]
    if row.group in scene.groups:
        return ""
    same = "its request is the one of the text stream"
    if row.group == "404" and stage == "clean-up":
        return "what is gone counts as done: see the rows of what somebody deletes"
    if row.group in ("type", "body") and stage == "download":
        return "its answer is a file, of whatever type and content"
    if row.group in ("body", "cut body") and scene.events:
        return "its answer is a stream, which can be cut at an event"
    if row.group == "container" and stage == "code, auto":
        return "a new container is made for each question"
    return {
        "request": same,
        "404": same,
        "type": same,
        "upload": "nothing is uploaded",
        "event": "its answer is one piece of JSON, without events",
        "conversation": "it is asked on no conversation" if not scene.events else same,
        "files": "no uploaded file is needed any more",
        "store": "no vector store is needed",
        "container": "no container is needed",
        "age": "nothing becomes too old within six minutes",
        "thread": same if scene.events else "there is no thread",
        "response": "no response is asked for again",
    }[row.group]


# -- a stage as a scene -----------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What a learner sees, and what is there afterwards."""

    lines: list[str] = field(default_factory=list)
    """In order: what the helpers say meanwhile, and how it ended."""
    well: bool = True
    """Whether the learner got everything."""
    error: BaseException | None = None
    run: Any = None


added: list[tuple[int, int]] = []


def add(first: int, second: int) -> int:
    """Add two whole numbers.

    Args:
        first: the first one.
        second: the second one.
    """
    added.append((first, second))
    return first + second


TEACHER = Assistant("Teacher", "Be brief.", model="gpt-6-luna", effort="none")


class Watching(ToolboxHandler):
    """Shows everything, to a file in memory, and keeps the pieces of text as somebody would who shows them."""

    def __init__(self, client: Any, folder: Path) -> None:
        super().__init__(client, download_to=folder, renderer=LinesRenderer(io.StringIO()))
        self.pieces: dict[int, list[str]] = {}
        self.retries: list[str] = []
        self.answered: list[str] = []

    @property
    def printed(self) -> str:
        return str(self.renderer._out.getvalue())  # type: ignore[attr-defined]

    def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        super().on_text_delta(delta, snapshot)
        self.pieces.setdefault(id(snapshot), []).append(delta.value)

    def on_text_restarted(self, text: Any) -> None:
        super().on_text_restarted(text)
        self.pieces[id(text)] = []

    def on_retry(self, reason: str, wait_s: float) -> None:
        super().on_retry(reason, wait_s)
        self.retries.append(f"(again) {reason}")

    def on_function_done(self, result: Any) -> None:
        super().on_function_done(result)
        self.answered.append(result.call_id)


JSON = ("request", "404", "type", "body", "cut body")
"""What can happen to a request that is answered with JSON."""


class Scene:
    """What a learner does at one stage; a subclass for each. ``act`` is the part in which the fault happens."""

    stage: ClassVar[str]
    groups: ClassVar[Sequence[str]] = JSON
    patient: ClassVar[bool] = True
    """Whether something is tried again here at all."""
    events: ClassVar[tuple[str, int]] | tuple[()] = ()
    """For a stream: before which event a fault happens, and how many of its type come before."""
    at_event: ClassVar[Sequence[str]] = ("event", "age")
    """Which groups of faults happen there; the others happen to the request."""

    def __init__(self, api: FaultyAPI, folder: Path, asynchronous: bool) -> None:
        self.api, self.folder, self.asynchronous = api, folder, asynchronous
        with _quiet():
            self.client: Any = connect("recorded", asynchronous=asynchronous)

    def prepare(self) -> None:
        """Do what comes before, while all is well."""

    def act(self) -> Outcome:
        """Do what the stage is about."""
        raise NotImplementedError

    def hold(self, outcome: Outcome, row: Row) -> None:
        """Check what has to hold for this stage alone."""

    # -- for the scenes

    def wait(self, thing: Any) -> Any:
        """Return a thing, after awaiting it where the client is an asynchronous one."""

        async def awaited() -> Any:
            return await thing

        return asyncio.run(awaited()) if self.asynchronous else thing

    def bare(self, call: Callable[[], Any]) -> Outcome:
        """Do a call of the SDK as it stands in a cell. In a notebook its errors show as ``explain`` says."""
        outcome = Outcome()
        try:
            outcome.run = self.wait(call())
        except Exception as error:  # noqa: BLE001 - whatever comes out is what the learner sees
            return _failed(outcome, error)
        outcome.lines.append("(done)")
        return outcome


def _failed(outcome: Outcome, error: BaseException) -> Outcome:
    outcome.well, outcome.error = False, error
    known = isinstance(error, WorkshopError | Stopped | openai.OpenAIError)
    outcome.lines.append(explain(error) if known else f"!! {type(error).__name__}: {error}")
    return outcome


@contextlib.contextmanager
def _quiet() -> Iterator[io.StringIO]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        yield out


class Connect(Scene):
    stage = "connect"
    patient = False  # it only looks, and says what it found

    def act(self) -> Outcome:
        with _quiet() as out:
            self.client = connect("recorded", asynchronous=self.asynchronous)
        warnings = [line for line in out.getvalue().splitlines() if line.startswith("Warning: ")]
        return Outcome(warnings or ["(connected)"], well=not warnings)


class Create(Scene):
    stage = "create"

    def act(self) -> Outcome:
        return self.bare(lambda: self.client.conversations.create())


class _Uploads(Scene):
    def prepare(self) -> None:
        self.store = self.wait(self.client.vector_stores.create(name="Notes"))
        self.paths = [self.folder / "notes.md", self.folder / "more.md"]
        for number, path in enumerate(self.paths):
            path.write_text(NOTES * (number + 1), encoding="utf-8")

    def act(self) -> Outcome:
        outcome = Outcome()
        try:
            report = upload_files(self.client, self.store, self.paths, show=False)
        except (Exception, Stopped) as error:  # noqa: BLE001 - as in Scene.bare
            return _failed(outcome, error)
        outcome.run = report
        outcome.well = not report.failed and len(report.ready) == 2
        outcome.lines += report.summary.splitlines()
        return outcome

    def hold(self, outcome: Outcome, row: Row) -> None:
        if row.kind == "store deleted":
            return
        with _quiet():
            report = upload_files(self.client, self.store, self.paths, show=False)
        assert len(report.ready) == 2, "running the cell again completes the upload"
        inside = self.wait(_listed(self.client.vector_stores.files, self.store.id, self.asynchronous))
        assert len(inside) == 2, "and no file is in the store twice"


def _listed(resource: Any, id: str, asynchronous: bool) -> Any:
    if not asynchronous:
        return list(resource.list(id))

    async def listed() -> list[Any]:
        return [each async for each in resource.list(id)]

    return listed()


class Upload(_Uploads):
    stage = "upload"
    groups = (*JSON, "upload", "store")


class Attach(_Uploads):
    stage = "attach"
    groups = (*JSON, "store", "files")


class Parsing(_Uploads):
    stage = "parsing"
    groups = (*JSON, "store", "files")


class Poll(Scene):
    stage = "background poll"
    groups = (*JSON, "response")

    def prepare(self) -> None:
        self.thread = self.wait(self.client.conversations.create())
        self.response = self.wait(
            self.client.responses.create(
                input="Count to ten.", background=True, conversation=self.thread.id, **TEACHER
            )
        )

    def act(self) -> Outcome:
        outcome = Outcome()
        try:
            with _quiet():
                response = self.wait(wait_for(self.client, self.response))
        except (Exception, Stopped) as error:  # noqa: BLE001 - as in Scene.bare
            return _failed(outcome, error)
        outcome.run = response
        outcome.well = response.status == "completed"
        outcome.lines.append(f"({response.status})")
        return outcome

    def hold(self, outcome: Outcome, row: Row) -> None:
        if row.kind != "response deleted":
            with _quiet():
                again = self.wait(wait_for(self.client, self.response.id))
            assert again.output_text.startswith("One, two"), "looking again finds the answer"


class _Runs(Scene):
    """A question on a thread, streamed."""

    question: ClassVar[str]
    answer: ClassVar[str]
    groups = ("event",)
    background: ClassVar[bool] = False

    def assistant(self) -> Assistant:
        return TEACHER

    def prepare(self) -> None:
        self.thread = self.wait(self.client.conversations.create())
        self.agent = self.assistant()

    def ask(self, assistant: Assistant, question: str) -> Any:
        handler = Watching(self.client, self.folder / "downloads")
        more = {"background": True} if self.background else {}
        run = stream_run(self.client, assistant, self.thread, question, event_handler=handler, **more)
        run._sleep = _no_sleep_async if self.asynchronous else _no_sleep
        return run

    def act(self) -> Outcome:
        run = self.ask(self.agent, self.question)
        outcome = Outcome(run=run)
        error: BaseException | None = None
        try:
            self.wait(run.until_done())
        except Exception as problem:  # noqa: BLE001 - as in Scene.bare
            error = problem
        outcome.lines += _collapsed(run.handler.retries)
        if error is not None:
            return _failed(outcome, error)
        outcome.well = run.status == "completed"
        below = [line for line in run.handler.footer.splitlines() if not line.startswith("recorded ·")]
        outcome.lines += below or [f"({run.status})"]
        return outcome

    def hold(self, outcome: Outcome, row: Row) -> None:
        run, handler = outcome.run, outcome.run.handler
        if outcome.well and row.group != "files":
            assert run.text == self.answer, "the answer is complete"
            assert run.response.output_text == self.answer or run.function_results
        lost = [stream.text for stream in self.api.streams if stream.text not in run.text]
        assert lost == [], "nothing that had arrived is lost"
        shown = "\n\n".join(text for text in ("".join(pieces) for pieces in handler.pieces.values()) if text)
        assert shown == run.text, "no piece is told twice, and none is left out"
        assert "".join(run.handler.text_deltas).replace("\n\n", "") == run.text.replace("\n\n", "")
        if outcome.error is not None:
            assert getattr(outcome.error, "partial_text", run.text) == run.text
        assert len(handler.answered) == len(set(handler.answered)), "one result for each call"
        assert len(added) <= len(set(handler.answered)) <= 1, "no function runs twice for one call"
        first_line = self.answer[:20]
        assert handler.printed.count(first_line) <= 1, "nothing is shown twice"
        if row.kind != "thread deleted":
            again = self.ask(self.next_assistant(), "Are you still there?")
            self.wait(again.until_done())
            assert again.text == "Yes, I am still here.", "the conversation goes on"

    def next_assistant(self) -> Assistant:
        return self.agent


def _collapsed(lines: list[str]) -> list[str]:
    """Return lines that follow each other and differ at most in a number as one."""
    groups = [list(group) for _, group in itertools.groupby(lines, lambda line: re.sub(r"[\d,]+", "#", line))]
    return [
        group[0] if len(group) == 1 else group[-1].replace("(again)", f"(again, {len(group)} times)")
        for group in groups
    ]


def _no_sleep(seconds: float) -> None:
    return None


async def _no_sleep_async(seconds: float) -> None:
    return None


class TextStream(_Runs):
    stage = "text stream"
    groups = ("request", "404", "type", "event", "conversation", "thread")
    events = (DELTA, 3)
    question = "Count to ten."
    answer = (
        "One, two, three, four, five, six, seven, eight, nine, ten. And no further, since you asked for ten."
    )


class BackgroundStream(TextStream):
    stage = "background stream"
    groups = ("event", "age", "response")
    at_event = groups
    background = True


class FileSearch(_Runs):
    stage = "file search"
    groups = ("event", "store", "files")
    events = ("response.file_search_call.searching", 0)
    question = "What do the notes say about tokens?"
    answer = "It is in the notes: a piece of text. And a short word is often one token of its own."

    def assistant(self) -> Assistant:
        path = self.folder / "notes.md"
        path.write_text(NOTES, encoding="utf-8")
        store = self.wait(self.client.vector_stores.create(name="Notes"))
        with _quiet():
            upload_files(_synchronous(self.client), store, [path], show=False)
        return TEACHER.with_tools({"type": "file_search", "vector_store_ids": [store.id]})

    def next_assistant(self) -> Assistant:
        return TEACHER


def _synchronous(client: Any) -> openai.OpenAI:
    with _quiet():
        return client if isinstance(client, openai.OpenAI) else connect("recorded")


class Code(_Runs):
    stage = "code"
    groups = ("event", "container")
    events = ("response.code_interpreter_call_code.delta", 2)
    question = "Write a table, and say how many rows it has."
    answer = "It has 2 rows, and here is [the table](sandbox:/mnt/data/table.csv) for you."

    def assistant(self) -> Assistant:
        self.container = self.wait(self.client.containers.create(name="course"))
        return TEACHER.with_tools({"type": "code_interpreter", "container": self.container.id})

    def next_assistant(self) -> Assistant:
        return TEACHER


class AutoCode(Code):
    """Code in a container that the API makes by itself."""

    stage = "code, auto"
    groups = ("event",)

    def assistant(self) -> Assistant:
        return TEACHER.with_tools({"type": "code_interpreter", "container": {"type": "auto"}})


class Download(Code):
    stage = "download"
    groups = ("request", "404", "cut body", "container")
    events = ()

    def prepare(self) -> None:
        super().prepare()
        self.made = self.ask(self.agent, self.question)
        self.made.handler._download_to = None
        self.wait(self.made.until_done())

    def act(self) -> Outcome:
        outcome = Outcome()
        try:
            report = download_files(self.client, self.made, self.folder / "downloads")
        except (Exception, Stopped) as error:  # noqa: BLE001 - as in Scene.bare
            return _failed(outcome, error)
        outcome.well = not report.failed and len(report.paths) == 1
        outcome.lines += [re.sub(r"→ \S+/", "→ ", line) for line in report.summary().splitlines()]
        return outcome

    def hold(self, outcome: Outcome, row: Row) -> None:
        folder = self.folder / "downloads"
        assert [path.suffix for path in folder.iterdir()] in ([], [".csv"]), "no half file is left"
        if row.kind != "container expired":
            report = download_files(self.client, self.made, folder)
            assert report.paths[0].read_text() == "a,b\n1,2\n3,4\n", "running the cell again gets the file"


class Arguments(_Runs):
    stage = "function arguments"
    events = ("response.function_call_arguments.delta", 1)
    question = "What is two plus three?"
    answer = "It is 5, and it was your own function that added the two numbers."

    def assistant(self) -> Assistant:
        return TEACHER.with_tools(add)


class ToolOutput(Arguments):
    stage = "tool output"
    groups = ("request", "404", "type", "event", "conversation", "thread")
    events = (DELTA, 3)


class CleanUp(Scene):
    stage = "clean-up"
    groups = (
        *[group for group in JSON if group != "404"],
        "files",
        "store",
        "container",
        "thread",
        "response",
    )

    def prepare(self) -> None:
        self.thread = self.wait(self.client.conversations.create())
        self.wait(self.client.responses.create(input="Count to ten.", conversation=self.thread.id, **TEACHER))
        self.wait(self.client.files.create(file=("a.txt", b"some text"), purpose="user_data"))
        self.wait(self.client.vector_stores.create(name="Notes"))
        self.wait(self.client.containers.create(name="course"))

    def act(self) -> Outcome:
        outcome = Outcome()
        try:
            with _quiet():
                report = cleanup(self.client)
        except (Exception, Stopped) as error:  # noqa: BLE001 - as in Scene.bare
            return _failed(outcome, error)
        outcome.well = not report.left
        outcome.lines += repr(report).splitlines()
        return outcome

    def hold(self, outcome: Outcome, row: Row) -> None:
        if outcome.well:
            assert _left(self.api, row) == {}, "what is said to be deleted is gone"


SCENES: Mapping[str, type[Scene]] = {
    scene.stage: scene
    for scene in (
        Connect, Create, Upload, Attach, Parsing, Poll, TextStream, BackgroundStream, FileSearch, Code, AutoCode,
        Arguments, ToolOutput, Download, CleanUp,
    )
}  # fmt: skip


# -- the cells --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """A fault at a stage."""

    row: Row
    stage: str

    @property
    def name(self) -> str:
        return f"{self.stage} / {self.row.kind}"

    def ends_well(self, times: int | None) -> bool:
        """Return whether the learner should get everything although the fault happens, once or always."""
        row = self.row
        if not SCENES[self.stage].patient:
            return row.harmless
        usual = (row.passes or row.harmless, row.harmless)
        return row.but.get(self.stage, usual)[0 if times == 1 else 1]

    def fault(self, times: int | None) -> Fault:
        scene = SCENES[self.stage]
        event, after = scene.events if scene.events and self.row.group in scene.at_event else ("", 0)
        if self.row.event:
            event, after = self.row.event, 0
        return Fault(
            self.row.kind, self.stage, event, after, times, spreads=self.row.spreads and times is None
        )


CELLS = tuple(Cell(row, stage) for stage in SCENES for row in ROWS if not why_left_out(row, stage))


@contextlib.contextmanager
def course(*, strict: bool = True) -> Iterator[tuple[FaultyAPI, Path]]:
    """Open an API of its own, to which ``connect()`` leads, in a process in which nothing waits."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    api = FaultyAPI(recordings=DATA / "recordings", strict=strict, kernels=InProcess)
    added.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_api, "shared", lambda: api)
        patch.setattr(ledger, "_ledgers", {})
        patch.setattr(time, "sleep", lambda seconds: None)
        patch.setattr(rounds.random, "uniform", lambda low, high: high)
        patch.setattr(openai._base_client.BaseClient, "_calculate_retry_timeout", lambda *a, **k: 0.0)
        patch.setenv("OPENAI_API_KEY", PLANTED_KEY)
        patch.setenv("OPENAI_MODEL", "gpt-6-luna")
        try:
            yield api, folder
        finally:
            api.close()
            shutil.rmtree(folder, ignore_errors=True)


def tried(cell: Cell, times: int | None, *, asynchronous: bool = False) -> list[str]:
    """Try a cell with its fault once or always, check all that has to hold, and return what the learner sees.

    Raises:
        AssertionError: something does not hold.
    """
    with course(strict=cell.row.group != "files") as (api, folder):
        scene = SCENES[cell.stage](api, folder, asynchronous)
        scene.prepare()
        api.streams.clear()
        api.arm(cell.fault(times))
        outcome = scene.act()
        outcome.lines = [_ID.sub("…", line) for line in outcome.lines]
        assert api.struck, "the fault happened"
        api.arm()
        check_words(outcome)
        expected = cell.ends_well(times)
        assert outcome.well == expected, f"it should {'' if expected else 'not '}end well: {outcome.lines}"
        scene.hold(outcome, cell.row)
        lost = _lost(scene)
        scene.wait(scene.client.models.retrieve("gpt-6-luna"))
        with _quiet():
            report = cleanup(scene.client)
        assert not report.left, "clean-up leaves nothing"
        assert set(report.unanswered) <= {kind for kind, _ in lost}, "clean-up says what nobody can know"
        for kind, id in lost:
            if id in api.existing(kind):  # clean-up finds a container that an answer made before it was cut
                api.delete(f"/{kind.replace(' ', '_')}s/{id}")
        assert _left(api, cell.row) == {}, "and nothing else is left"
        return outcome.lines


def _left(api: FaultyAPI, row: Row) -> dict[str, list[str]]:
    left = api.left()
    if row.kind == "thread deleted":
        # Whoever deletes a conversation without its items leaves them where nobody can reach them, as live.
        left.pop("conversation item", None)
    return left


def _lost(scene: Scene) -> list[tuple[str, str]]:
    """Return what is there and not in the ledger: only things whose answer never came, and the ledger knows of them."""
    ledger = ledger_of(scene.client)
    noted = {entry.id for entry in ledger.entries}
    missing = [(kind, id) for kind in TABLES for id in scene.api.existing(kind) if id not in noted]
    kinds = Counter(kind for kind, _ in missing)
    if isinstance(scene, AutoCode) and kinds["container"] <= kinds["response"]:
        del kinds["container"]  # made by the API for a response of which nobody knows
    assert kinds == Counter(ledger.unanswered), (
        f"everything that was created is in the ledger: {missing}, {ledger.unanswered}"
    )
    return missing


_ID = re.compile(r"\b(?:resp|conv|vs|cntr|msg)_\w+|\bfile-\w{20,}")
_INTERNAL = re.compile(
    r"Traceback|File \"|\.py\b|0x[0-9a-f]{6}|\b[a-z_]*httpx2?\b|\bopenai\.[A-Z_]|NoneType|object has no attribute"
    r"|\b(?!RunFailed|StreamInterrupted)[A-Z]\w*(?:Error|Exception|Timeout)\b|<[a-zA-Z!/]|\bself\b|Errno|Expecting value"
)


def check_words(outcome: Outcome) -> None:
    """Check that what a learner sees is a few plain sentences, with no key, no stack and nothing of our insides."""
    for line in outcome.lines:
        assert not line.startswith("!! "), f"an exception that nobody explained: {line}"
        assert not _INTERNAL.search(line), f"something of our insides: {line!r}"
        assert "sk-" not in line, f"a key: {line!r}"
        assert "\n" not in line, f"more than one line: {line!r}"
        assert 0 < len(line) < 500, f"not a sentence or two: {line!r}"
    if isinstance(outcome.error, WorkshopError | Stopped):
        assert outcome.lines[-1][-1] in ".!?)", f"no sentence: {outcome.lines[-1]!r}"
        assert PLANTED_KEY not in reachable(outcome.error), "the exception holds a key"


def reachable(error: BaseException) -> str:
    """Return everything that hangs on an exception, as text."""
    seen: set[int] = set()
    todo: list[Any] = [error]
    texts: list[str] = []
    while todo:
        thing = todo.pop()
        if id(thing) in seen or thing is None:
            continue
        seen.add(id(thing))
        texts += [repr(thing), repr(getattr(thing, "headers", ""))]
        if isinstance(thing, BaseException):
            todo += [thing.__cause__, thing.__context__, *thing.args, *vars(thing).values()]
    return " ".join(texts)


# -- the golden file --------------------------------------------------------------------------------------------------

Seen = dict[str, list[str]]
"""What a learner sees in a cell: lines for ``"once"`` and for ``"always"``."""


def seen_in(cell: Cell) -> Seen:
    """Try a cell both ways, and return what the learner sees."""
    return {"once": tried(cell, 1), "always": tried(cell, None)}


def golden() -> dict[str, dict[str, Seen]]:
    """Return what the learner is to see, by stage and fault."""
    stages: dict[str, dict[str, Seen]] = {}
    for stage, groups in json.loads(GOLDEN.read_text(encoding="utf-8")).items():
        for group in groups:
            for each in group["after"]:
                kind, _, how = each.rpartition(", ")
                stages.setdefault(stage, {}).setdefault(kind, {})[how] = group["sees"]
    return stages


def write_golden(seen: Mapping[Cell, Seen]) -> None:
    """Write what the learner sees, and after which faults, by stage: people read this file."""
    stages: dict[str, list[dict[str, list[str]]]] = {}
    for stage in SCENES:
        groups: dict[tuple[str, ...], list[str]] = {}
        for cell in CELLS:
            if cell.stage == stage:
                for how, lines in seen[cell].items():
                    groups.setdefault(tuple(lines), []).append(f"{cell.row.kind}, {how}")
        stages[stage] = [{"sees": list(lines), "after": after} for lines, after in groups.items()]
    text = json.dumps(stages, indent=1, ensure_ascii=False)
    GOLDEN.write_text(f"{text}\n", encoding="utf-8")


# -- the command ------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="rewrite the golden file (needs all cells)")
    parser.add_argument("--only", default="", metavar="WORDS", help="only cells with this in 'stage / fault'")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--left-out", action="store_true", help="say of each empty cell why it is empty")
    options = parser.parse_args(arguments)
    cells = [cell for cell in CELLS if options.only in cell.name]
    known = {} if options.write else golden()
    seen: dict[Cell, Seen] = {}
    problems: dict[Cell, list[str]] = {}
    for cell in cells:
        for word, times in (("once", 1), ("always", None)):
            why = ""
            try:
                lines = tried(cell, times)
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the table shows it
                why = _why(error)
            else:
                seen.setdefault(cell, {})[word] = lines
                if known and lines != known.get(cell.stage, {}).get(cell.row.kind, {}).get(word):
                    why = f"the learner sees something else than {GOLDEN.name} says: {lines}"
            if why:
                problems.setdefault(cell, []).append(f"{cell.name}, {word}: {why}")
        _show_progress(len(seen), len(cells))
    table = _table(cells, problems)
    print(table.to_markdown() if options.markdown else table)
    for why in itertools.chain(*problems.values()):
        print(why)
    if options.left_out:
        for row, stage in itertools.product(ROWS, SCENES):
            if reason := why_left_out(row, stage):
                print(f"left out: {stage} / {row.kind}: {reason}")
    if options.write and not problems and len(cells) == len(CELLS):
        write_golden(seen)
        print(f"wrote {GOLDEN.relative_to(Path.cwd()) if GOLDEN.is_relative_to(Path.cwd()) else GOLDEN.name}")
    return 1 if problems else 0


def _why(error: BaseException) -> str:
    said = str(error).strip()
    if isinstance(error, AssertionError):
        return (said or traceback.format_exc().strip().splitlines()[-3].strip()).splitlines()[0]
    return f"{type(error).__name__}: {said}"


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done} of {total} cells", end="\n" if done == total else "", file=sys.stderr, flush=True)


def _table(cells: Sequence[Cell], problems: Mapping[Cell, list[str]]) -> Table:
    """Return the matrix: in each cell how many of its two ways hold, and a dot where it is left out."""
    tried_cells = {(cell.row.kind, cell.stage): cell for cell in cells}
    rows = []
    for row in ROWS:
        marks = []
        for stage in SCENES:
            cell = tried_cells.get((row.kind, stage))
            failed = len(problems.get(cell, ())) if cell else 0
            marks.append("·" if cell is None else "✔" if not failed else f"{2 - failed}/2")
        if set(marks) != {"·"}:
            rows.append((row.kind, *marks))
    passed = [
        len([cell for cell in cells if cell.stage == stage and cell not in problems]) for stage in SCENES
    ]
    totals = [len([cell for cell in cells if cell.stage == stage]) for stage in SCENES]
    counts = [f"{good}/{total}" if total else "" for good, total in zip(passed, totals, strict=True)]
    rows.append(("passed / total", *counts))
    columns = (Column("fault"), *(Column(str(number)) for number in range(1, len(SCENES) + 1)))
    legend = " · ".join(f"{number} {stage}" for number, stage in enumerate(SCENES, 1))
    return Table(
        columns,
        tuple(rows),
        f"{sum(passed)} of {sum(totals)} cells hold (each with the fault once and always)",
        (
            f"Stages: {legend}",
            "A dot: left out, because the fault cannot happen there or is tried elsewhere.",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
