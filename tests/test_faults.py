"""Every fault at every stage: what a learner sees, and what has to hold afterwards (the cells are in ``faults.py``)."""

import itertools

import httpx2
import openai
import pytest

from helpers import EventHandler, RunFailed, errors, rounds
from helpers.ledger import Ledger
from helpers.rounds import Course
from helpers.traffic import Watcher
from tests import faults
from tests.faults import CELLS, ROWS, SCENES, TEACHER, Cell, golden, main, seen_in, tried, why_left_out
from tests.faulty import KINDS, Fault, FaultyAPI

SENTENCES = golden()
BY_NAME = {cell.name: cell for cell in CELLS}

ASYNCHRONOUS = tuple(
    BY_NAME[f"{stage} / {kind}"]
    for stage, kind in itertools.product(
        ("create", "background poll", "text stream", "background stream", "code", "function arguments", "tool output"),
        (
            "no connection", "answer lost", "sign-in page", "429 with Retry-After", "cut", "cut, and gone", "stall",
            "half an event", "event twice", "error event, nested", "error event, flat", "response.incomplete, length",
        ),
    )
    if f"{stage} / {kind}" in BY_NAME
)  # fmt: skip


def name_of(cell: Cell) -> str:
    return cell.name


@pytest.mark.parametrize("cell", CELLS, ids=name_of)
def test_a_fault_loses_nothing_leaves_nothing_and_is_told_in_a_sentence(cell):
    assert seen_in(cell) == SENTENCES[cell.stage][cell.row.kind], (
        "python -m tests.faults --write rewrites the file, if this is meant"
    )


@pytest.mark.parametrize("cell", ASYNCHRONOUS, ids=name_of)
def test_an_asynchronous_client_fares_the_same(cell):
    known = SENTENCES[cell.stage][cell.row.kind]
    assert tried(cell, 1, asynchronous=True) == known["once"]
    assert tried(cell, None, asynchronous=True) == known["always"]


# -- the matrix -------------------------------------------------------------------------------------------------------


def test_every_fault_is_tried_and_every_gap_has_a_reason():
    assert {row.kind for row in ROWS} == set(KINDS)
    assert {cell.row.kind for cell in CELLS} == set(KINDS)
    gaps = [(row, stage) for row in ROWS for stage in SCENES if why_left_out(row, stage)]
    assert len(CELLS) + len(gaps) == len(ROWS) * len(SCENES)
    assert len(CELLS) >= 60


def test_the_file_of_sentences_holds_the_cells_and_no_others():
    assert {(stage, kind) for stage, kinds in SENTENCES.items() for kind in kinds} == {
        (cell.stage, cell.row.kind) for cell in CELLS
    }


def stop(*arguments):
    yield from ()


def forget_all(handler):
    handler._progress.answers[-1] = type(handler._progress.answers[-1])()


@pytest.mark.parametrize(
    ("name", "where", "broken"),
    [
        ("text stream / event twice", EventHandler, {"_was_seen": lambda *_: False}),
        ("text stream / cut", EventHandler, {"_restart": forget_all}),
        ("text stream / 500", rounds, {"_FIRST_WAIT_S": 1000.0, "_LONGEST_WAIT_S": 1000.0}),
        ("text stream / response.failed, prompt", errors, {"redact": lambda text: text}),
        ("tool output / 403", Course, {"settle": stop, "_is_stuck": lambda *_: False}),
        ("code, auto / cut", Watcher, {"_read_item": lambda *_: None}),
        ("create / 500", Ledger, {"note": lambda *_: False}),
        ("create / answer lost", Ledger, {"sent": lambda *_: 0}),
        ("create / sign-in page", Watcher, {"_is_read": lambda *_: False}),
        ("clean-up / sign-in page", Watcher, {"_is_read": lambda *_: False}),
    ],
)
def test_the_matrix_notices_what_is_broken(monkeypatch, name, where, broken):
    for what, instead in broken.items():
        monkeypatch.setattr(where, what, instead)
    with pytest.raises((AssertionError, RunFailed)):
        seen_in(BY_NAME[name])


def test_the_command_prints_the_table_and_what_does_not_hold(monkeypatch, capsys):
    assert main(["--only", "upload / 50", "--left-out"]) == 0
    printed = capsys.readouterr().out
    assert "2 of 2 cells hold" in printed
    assert "left out: connect / cut: its answer is one piece of JSON" in printed
    monkeypatch.setattr(errors, "redact", lambda text: text)
    assert main(["--only", "create / 400", "--markdown"]) == 1
    printed = capsys.readouterr().out
    assert "0 of 1 cells hold" in printed
    assert "create / 400, once: a key" in printed


# -- the faulty API ---------------------------------------------------------------------------------------------------


@pytest.fixture
def api():
    api = FaultyAPI(recordings=faults.DATA / "recordings", strict=True)
    yield api
    api.close()


@pytest.fixture
def client(api):
    with openai.OpenAI(
        api_key="any",
        base_url="https://recorded.invalid/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=api.transport()),
    ) as client:
        yield client


def test_without_a_fault_it_is_the_local_api(api, client):
    stream = client.responses.create(input="Count to ten.", stream=True, **TEACHER)
    assert [event.type for event in stream][-1] == "response.completed"
    assert api.requests == ["POST /responses"]
    assert api.streams[0].text.startswith("One, two")


def test_a_fault_happens_as_often_as_it_says_and_from_when_it_says(api, client):
    api.arm(Fault("500", stage="create", after=1, times=2))
    statuses = []
    for _ in range(5):
        try:
            client.conversations.create()
        except openai.InternalServerError as error:
            statuses.append(error.status_code)
        else:
            statuses.append(200)
    assert statuses == [200, 500, 500, 200, 200]
    assert api.struck == 2
    assert len(api.existing("conversation")) == 3, "the API never saw the others"


def test_a_fault_at_an_event_happens_before_that_event(api, client):
    api.arm(Fault("silent end", stage="text stream", event="response.output_text.delta", after=2))
    stream = client.responses.create(input="Count to ten.", stream=True, **TEACHER)
    assert [event.type for event in stream].count("response.output_text.delta") == 2
    stream = client.responses.create(input="Count to ten.", stream=True, **TEACHER)
    assert [event.type for event in stream][-1] == "response.completed"


def test_a_lost_answer_is_lost_after_the_work_was_done(api, client):
    api.arm(Fault("answer lost", stage="create"))
    with pytest.raises(openai.APIConnectionError):
        client.conversations.create()
    assert len(api.existing("conversation")) == 1


def test_a_network_that_is_gone_is_gone_for_everybody(api, client):
    api.arm(Fault("no connection", stage="create", times=None, spreads=True))
    client.models.retrieve("gpt-6-luna")
    for request in (client.conversations.create, client.models.list):
        with pytest.raises(openai.APIConnectionError):
            request()
    api.arm()
    client.models.list()
