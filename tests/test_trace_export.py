"""A trace as JSONL: every line is what the trace says, nothing of a text or key is in it, and no file is lost."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from helpers.errors import ConfigurationError
from helpers.trace import Trace
from tests.test_trace_sequence import toolbox
from tests.traces import (
    KEY,
    Clock,
    call_events,
    event,
    loop,
    message_events,
    recorded,
    response,
    result,
    trace_of,
)


def exported(trace, path, **more):
    return [json.loads(line) for line in trace.export(path, **more).read_text(encoding="utf-8").splitlines()]


def test_there_is_a_line_for_the_run_for_each_step_and_for_the_totals(tmp_path):
    trace = toolbox()
    head, *steps, totals = exported(trace, tmp_path / "run.jsonl")
    assert head["started_at"].endswith("+00:00")
    del head["started_at"]
    assert head == {
        "kind": "run",
        "format": 1,
        "assistant": "Toolbox",
        "handler": "ToolboxHandler",
        "model": "gpt-6-luna",
        "status": "completed",
        "includes_text": False,
    }
    assert [step["number"] for step in steps] == list(range(1, len(trace.steps) + 1))
    for line, step in zip(steps, trace.steps, strict=True):
        assert (line["state"], line["status"], line["response"]) == (step.state, step.status, step.response)
        assert line["start_ms"] == pytest.approx(step.start_ms, abs=0.001)
        assert line["duration_ms"] == pytest.approx(step.duration_ms, abs=0.001)
        assert line["price_usd"] == (None if step.price_usd is None else pytest.approx(step.price_usd))
        assert line.get("total_tokens") == step.tokens
    assert totals["kind"] == "totals"
    assert totals["total_tokens"] == trace.tokens.total == sum(line.get("total_tokens", 0) for line in steps)
    assert totals["price_usd"] == pytest.approx(sum(line["price_usd"] or 0 for line in steps))
    assert (totals["steps"], totals["responses"], totals["functions"]) == (len(steps), 3, 3)
    assert totals["events"] == trace.events_seen


def test_a_function_has_its_sizes_and_what_came_of_it(tmp_path):
    lines = exported(toolbox(), tmp_path / "run.jsonl")
    first, _, last = [line for line in lines if line["kind"] == "function"]
    assert first | {"number": 0, "start_ms": 0} == {
        "kind": "function",
        "number": 0,
        "state": "running functions",
        "what": "ran duckduckgo_search, 8,000 characters of output, cut to fit",
        "status": "done",
        "response": None,
        "response_id": None,
        "start_ms": 0,
        "duration_ms": 1350.0,
        "price_usd": None,
        "name": "duckduckgo_search",
        "call_id": "call_duckduckgo_search",
        "outcome": "done",
        "arguments_characters": 16,
        "output_characters": 8000,
        "output_shortened": True,
    }
    assert (last["outcome"], last["status"]) == ("raised", "failed")
    assert last["what"] == "ran training_cost (raised), 2 characters of output"


def test_a_step_at_the_api_has_the_ids_that_the_api_knows_it_by(tmp_path):
    trace = Trace(clock=Clock(0.01))
    for one in call_events("plus", id="resp_seven"):
        trace.add(one)
    call = exported(trace, tmp_path / "run.jsonl")[4]
    assert (call["response_id"], call["call_id"], call["name"]) == ("resp_seven", "call_resp_seven_0", "plus")


def test_what_people_models_and_functions_wrote_is_left_out_unless_asked_for(tmp_path):
    def run():
        error = {"code": "server_error", "message": "PLANTED reason"}
        trace = trace_of(
            [*recorded("file_search"), *call_events("plus", id="resp_2")], question="PLANTED question"
        )
        trace.add_function(result("plus", status="raised", error="PLANTED error", output="SECRET out"))
        trace.note("Retrying", "PLANTED note")
        trace.add(event("failed", response=response("failed", "resp_3", error=error)))
        return trace

    without = run().export(tmp_path / "a.jsonl").read_text(encoding="utf-8")
    assert "PLANTED" not in without
    assert "capital of France" not in without
    assert '"what": "searched the files with 1 query"' in without
    assert '"what": "failed: server_error"' in without
    assert '"error_code": "server_error"' in without
    with_text = exported(run(), tmp_path / "b.jsonl", include_text=True)
    assert with_text[0]["question"] == "PLANTED question"
    details = [line["detail"] for line in with_text if "detail" in line]
    assert details == [
        "What is the capital of France?",
        "PLANTED error",
        "1 function output",
        "PLANTED note",
        "server_error: PLANTED reason",
    ]
    assert "SECRET" not in (tmp_path / "b.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize("include_text", [False, True])
def test_no_key_is_written(tmp_path, monkeypatch, include_text):
    monkeypatch.setenv("OPENAI_API_KEY", "plain-looking-key-1234")
    both = f"{KEY} plain-looking-key-1234"
    trace = Trace(question=both, assistant=both, clock=Clock(0.01), handler=both)
    trace.add(event("created", response=response("in_progress", KEY, model=both)))
    for one in call_events(both, id="resp_2"):
        trace.add(one)
    trace.add_function(replace(result(both, error=both, status="raised"), call_id=both))
    trace.note(both, both)
    text = trace.export(tmp_path / "run.jsonl", include_text=include_text).read_text(encoding="utf-8")
    assert "planted" not in text
    assert "plain-looking" not in text
    assert "[key]" in text


def test_a_second_export_replaces_the_first(tmp_path):
    path = tmp_path / "run.jsonl"
    trace = trace_of(message_events("Hi"))
    first = exported(trace, path)
    trace.note("Interrupted", "you stopped it")
    second = exported(trace, path)
    assert len(second) == len(first) + 1
    assert second[0]["status"] == "interrupted"
    assert [child.name for child in tmp_path.iterdir()] == ["run.jsonl"]


@pytest.mark.parametrize(
    "content", ['{"question": "What is GPT-2?"}\n', "not JSON\n", "[1]\n", "\n\n", "\ufeff", "5\n"]
)
def test_a_file_that_is_no_export_is_left_as_it_is(tmp_path, content):
    path = tmp_path / "questions.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(
        ConfigurationError, match=r"questions\.jsonl is there already and is not an exported trace"
    ):
        loop(1).export(path)
    assert path.read_text(encoding="utf-8") == content


def test_an_empty_file_is_filled(tmp_path):
    path = tmp_path / "run.jsonl"
    path.touch()
    assert exported(loop(1), path)


@pytest.mark.parametrize("name", ["run.json", "run.csv", "run", "run.jsonl.txt", ""])
def test_another_ending_is_refused(tmp_path, name):
    with pytest.raises(ConfigurationError, match=r"exported as \.jsonl"):
        loop(1).export(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_or_in_the_way_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match="There is no folder"):
        loop(1).export(tmp_path / "missing" / "run.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ConfigurationError, match="is a folder"):
        loop(1).export(tmp_path / "folder.jsonl")


def test_a_disk_that_is_full_leaves_the_earlier_export(tmp_path, monkeypatch):
    path = tmp_path / "run.jsonl"
    loop(1).export(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(ConfigurationError, match=r"run\.jsonl could not be written \(No space left"):
        loop(5).export(path)
    assert path.read_bytes() == before
    assert [child.name for child in tmp_path.iterdir()] == ["run.jsonl"]


def test_the_path_may_be_a_text_and_its_ending_in_capitals(tmp_path):
    assert loop(1).export(str(tmp_path / "RUN.JSONL")).name == "RUN.JSONL"


def test_every_line_is_one_line_whatever_the_names_are(tmp_path):
    name = "a\u2028b\nc\x85d \ud800 \u202e{}"
    trace = Trace(question=name, clock=Clock(0.01))
    for one in call_events(name):
        trace.add(one)
    trace.add_function(result(name))
    text = trace.export(tmp_path / "run.jsonl", include_text=True).read_text(encoding="utf-8")
    assert len(text.splitlines()) == len(trace.steps) + 2
    assert [json.loads(line) for line in text.splitlines()]


def test_a_thousand_rounds_and_a_trace_of_nothing_can_be_exported(tmp_path):
    assert len(exported(loop(1_000), tmp_path / "long.jsonl")) == 6_003
    assert [line["kind"] for line in exported(Trace(), tmp_path / "nothing.jsonl")] == ["run", "totals"]
