"""Asking many questions: several at once, safe to interrupt, and what is kept is not asked again."""

import json
import threading
from dataclasses import dataclass

import httpx2
import openai
import pytest

from helpers.asking import Unanswered, ask_all, digest
from helpers.errors import ConfigurationError, SpendLimitReached, Stopped, WorkshopError


@dataclass(frozen=True)
class Item:
    id: str
    fingerprint: str = "1"


ITEMS = [Item(f"q{number}") for number in range(12)]
SETTINGS = {"what": "test", "k": 5}


def status_error(status, code=None, kind=None):
    request = httpx2.Request(
        "POST", "https://api.openai.com/v1/x", headers={"authorization": "Bearer sk-secret123"}
    )
    body = {"message": "It went wrong.", "code": code, "type": kind, "param": None}
    response = httpx2.Response(status, json={"error": body}, request=request)
    return openai.APIStatusError("It went wrong.", response=response, body=body)


class Asker:
    """Answers with the question's id; ``errors`` says for which ids it raises what."""

    def __init__(self, errors=None):
        self.errors = errors or {}
        self.asked = []

    def __call__(self, item):
        self.asked.append(item.id)
        if item.id in self.errors:
            raise self.errors[item.id]
        return {"answer": item.id}


def ask(asker, items=ITEMS, *, settings=SETTINGS, path=None, workers=1, progress=False):
    return ask_all(items, asker, settings, path, workers, progress)


def test_results_come_in_the_order_of_the_questions():
    asked = ask(Asker(), workers=4)
    assert [(item.id, record["answer"]) for item, record in asked.records] == [(i.id, i.id) for i in ITEMS]
    assert asked.failures == []


def test_several_are_under_way_at_once():
    barrier = threading.Barrier(3, timeout=10)  # nobody gets further until three have come

    def together(item):
        barrier.wait()
        return {}

    assert len(ask(together, ITEMS[:3], workers=3).records) == 3


@pytest.mark.parametrize("workers", [0, 33, 1.5, True, "4"])
def test_a_number_of_workers_that_cannot_be(workers):
    with pytest.raises(ConfigurationError, match="max_workers"):
        ask(Asker(), workers=workers)


# -- going on ---------------------------------------------------------------------------------------------------------------


def test_what_is_kept_is_not_asked_again(tmp_path):
    path = tmp_path / "work" / "results.jsonl"
    ask(Asker(), ITEMS[:5], path=path)
    again = Asker()
    asked = ask(again, path=path)
    assert again.asked == [item.id for item in ITEMS[5:]]
    assert [record["answer"] for _, record in asked.records] == [item.id for item in ITEMS]


@pytest.mark.parametrize(
    ("items", "settings"),
    [(ITEMS[:5], {**SETTINGS, "k": 6}), ([Item(item.id, "2") for item in ITEMS[:5]], SETTINGS)],
    ids=["other settings", "other questions"],
)
def test_results_of_something_else_do_not_count(tmp_path, items, settings):
    path = tmp_path / "results.jsonl"
    ask(Asker(), ITEMS[:5], path=path)
    again = Asker()
    ask(again, items, settings=settings, path=path)
    assert len(again.asked) == 5
    before = Asker()
    ask(before, ITEMS[:5], path=path)
    assert before.asked == [], "the first ones are still there"


def test_a_file_says_what_its_results_are_of(tmp_path):
    path = tmp_path / "results.jsonl"
    ask(Asker(), ITEMS[:2], path=path)
    ask(Asker(), ITEMS[:3], path=path)
    first, *rest = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert first["values"] == {"format": 1, **SETTINGS}
    assert [entry["id"] for entry in rest] == ["q0", "q1", "q2"]
    assert {entry["settings"] for entry in rest} == {first["settings"]}


def test_a_torn_line_is_asked_again_and_spoils_nothing(tmp_path):
    path = tmp_path / "results.jsonl"
    ask(Asker(), ITEMS[:3], path=path)
    path.write_bytes(path.read_bytes()[:-20])
    again = Asker()
    assert len(ask(again, ITEMS[:4], path=path).records) == 4
    assert again.asked == ["q2", "q3"]
    last = Asker()
    ask(last, ITEMS[:4], path=path)
    assert last.asked == []


@pytest.mark.parametrize("content", [b"# A notebook\n", b'{"cells": []}\n', b'"settings"\n', b"\xff\xfe\x00"])
def test_a_file_that_holds_something_else_stays_as_it_is(tmp_path, content):
    path = tmp_path / "precious"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="Choose another"):
        ask(Asker(), path=path)
    assert path.read_bytes() == content


def test_a_folder_is_no_place_for_results(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be used"):
        ask(Asker(), path=tmp_path)


# -- interrupts -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def interrupted(monkeypatch):
    """Interrupts the waiting after some rounds of it."""

    def after(rounds):
        import concurrent.futures

        wait, seen = concurrent.futures.wait, []

        def waiting(*arguments, **options):
            seen.append(1)
            if len(seen) > rounds:
                raise KeyboardInterrupt
            return wait(*arguments, **options)

        monkeypatch.setattr("concurrent.futures.wait", waiting)

    yield after
    monkeypatch.undo()


def test_an_interrupt_keeps_what_has_come_and_the_next_run_goes_on(tmp_path, interrupted, monkeypatch):
    path = tmp_path / "results.jsonl"
    gate = threading.Semaphore(4)  # four answers come, the fifth does not

    def slow(item):
        if not gate.acquire(timeout=10):
            raise AssertionError("nobody opened the gate")
        return {"answer": item.id}

    interrupted(4)
    with pytest.raises(Stopped) as caught:
        ask(slow, path=path)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert "You stopped the evaluation." in str(caught.value)
    assert "Run the cell again to go on." in str(caught.value)
    monkeypatch.undo()
    kept = {json.loads(line).get("id") for line in path.read_text(encoding="utf-8").splitlines()[1:]}
    assert 1 <= len(kept) <= 5
    gate.release(100)
    again = Asker()
    assert len(ask(again, path=path).records) == len(ITEMS)
    assert not kept & set(again.asked)


def test_an_interrupt_keeps_answers_that_nobody_has_looked_at_yet(tmp_path, monkeypatch):
    import concurrent.futures

    wait = concurrent.futures.wait

    def waiting(pending, **options):
        wait(pending)  # all answers are there, and then comes the interrupt
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.wait", waiting)
    path = tmp_path / "results.jsonl"
    with pytest.raises(Stopped, match="12 of 12 questions are done"):
        ask(Asker(), path=path, workers=12)
    monkeypatch.undo()
    again = Asker()
    ask(again, path=path)
    assert again.asked == []


def test_without_a_file_an_interrupt_says_that_nothing_is_kept(interrupted):
    interrupted(0)
    with pytest.raises(Stopped, match="results_path"):
        ask(Asker())


# -- failures -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [status_error(500), status_error(429), status_error(409), Unanswered("The response is failed.")]
)
def test_a_question_that_fails_is_left_out_and_asked_again(tmp_path, error):
    path = tmp_path / "results.jsonl"
    asked = ask(Asker({"q3": error}), path=path)
    assert len(asked.records) == 11
    assert [id for id, _ in asked.failures] == ["q3"]
    again = Asker()
    assert ask(again, path=path).failures == []
    assert again.asked == ["q3"]


@pytest.mark.parametrize(
    "error",
    [status_error(401), status_error(404), status_error(400), status_error(429, kind="insufficient_quota")],
)
def test_an_error_that_every_question_would_meet_ends_it(tmp_path, error):
    asker = Asker({"q3": error})
    with pytest.raises(
        WorkshopError, match=r"3 of 12 questions are done and kept in .*results\.jsonl"
    ) as caught:
        ask(asker, path=tmp_path / "results.jsonl")
    assert len(asker.asked) < len(ITEMS)
    assert "sk-secret" not in str(caught.value)
    assert caught.value.__context__ is None, "the SDK's exception would hold the request, and with it the key"


def test_three_failures_in_a_row_end_it():
    errors = {
        id: openai.APIConnectionError(request=status_error(500).request) for id in ("q1", "q4", "q5", "q6")
    }
    asker = Asker(errors)
    with pytest.raises(WorkshopError, match="no connection to OpenAI"):
        ask(asker)
    assert "q6" in asker.asked
    assert "q11" not in asker.asked


def test_the_spending_limit_ends_it():
    with pytest.raises(SpendLimitReached, match=r"The limit is used up\. 2 of 12"):
        ask(Asker({"q2": SpendLimitReached("The limit is used up.")}))


def test_if_nothing_could_be_asked_there_is_no_report():
    with pytest.raises(WorkshopError, match="No question could be asked"):
        ask(Asker({"q0": status_error(500)}), ITEMS[:1])


def test_a_mistake_in_our_code_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        ask(lambda item: 1 / 0)


# -- progress -------------------------------------------------------------------------------------------------------------


def test_few_lines_tell_how_far_it_is(capsys, tmp_path):
    path = tmp_path / "results.jsonl"
    ask(Asker(), ITEMS[:6], path=path)
    ask(Asker({"q11": status_error(500)}), path=path, progress=True)
    assert capsys.readouterr().out.splitlines() == [
        "9 of 12 questions",
        "11 of 12 questions asked, 6 of them in an earlier run; 1 could not be asked",
    ]


def test_a_notebook_gets_one_display(monkeypatch):
    from helpers import rendering

    published = []
    monkeypatch.setattr(
        "helpers.asking.make_renderer",
        lambda: rendering.MarkdownRenderer(
            lambda *bundle: published.append(bundle), clock=iter(range(10**6)).__next__
        ),
    )
    ask(Asker(), progress=True)
    assert len({id for _, id, _ in published}) == 1
    texts = [bundle["text/markdown"] for bundle, _, _ in published]
    assert texts[0] == "`░░░░░░░░░░░░░░░░░░░░` 0 of 12 questions"
    assert texts[6] == "`██████████░░░░░░░░░░` 6 of 12 questions"
    assert texts[-1] == "12 of 12 questions asked"


def test_a_digest_is_of_the_values():
    assert digest({"a": 1, "b": (2,)}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
