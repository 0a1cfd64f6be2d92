"""The local API says what OpenAI said, but for a table of differences that each have a reason."""

from __future__ import annotations

import copy
from typing import Any, get_args

import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from tests import real_streams
from tests.local_api.conftest import kinds
from tests.real_streams import (
    FILES,
    NEWER,
    REMAINING,
    SUBSTITUTES,
    Difference,
    compare,
    exchanges,
    is_newer,
    local_answers,
    reason,
    recorded_answers,
)

TIMES = {
    file: max(
        int(answer.events[0]["response"]["created_at"] if answer.events else answer.body.get("created_at", 0))
        for answer in recorded_answers(file)
        if not answer.events or "response" in answer.events[0]
    )
    for file in FILES
}


# -- what was recorded, and what the local API says ---------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES)
def test_every_recorded_exchange_is_answered_as_openai_did(file):
    found = real_streams.differences(file)
    unexplained = [each for each in found if not is_newer(each) and reason(each) is None]
    assert unexplained == []


def test_no_explanation_is_out_of_date():
    assert real_streams.out_of_date() == []


@pytest.mark.parametrize("file", FILES)
def test_the_events_come_in_the_recorded_order(file):
    for theirs, mine in zip(recorded_answers(file), local_answers(file), strict=True):
        assert mine.status == theirs.status
        order = kinds(mine.events)
        if file == "function_call":
            del order[2:4]  # a model that reasons shows it here
            assert kinds(mine.events)[2:4] == [
                "response.output_item.added",
                "response.output_item.done",
            ]
        assert order == kinds(theirs.events)


@pytest.mark.parametrize("file", ["file_search", "code_interpreter_image"])
def test_citations_stand_where_openai_put_them(file):
    def places(answers):
        return [
            (len(written), {name: each for name, each in annotation.items() if name.endswith("index")})
            for answer in answers
            for written, annotation in annotations(answer.events)
        ]

    assert places(recorded_answers(file))
    assert places(local_answers(file)) == places(recorded_answers(file))


def annotations(events):
    """Yield every annotation with the text that was written before it."""
    written = ""
    for event in events:
        if event["type"] == "response.output_text.delta":
            written += event["delta"]
        if event["type"] == "response.output_text.annotation.added":
            yield written, event["annotation"]


def test_a_substitute_is_asked_only_for_a_model_that_the_local_api_does_not_know(raw):
    asked = {
        exchange["request"]["body"]["model"]
        for file in FILES
        for exchange in exchanges(file)
        if exchange["request"]["path"] == "/v1/responses"
    }
    unknown = {model for model in asked if raw.get(f"/models/{model}").status_code == 404}
    assert unknown == set(SUBSTITUTES)


@pytest.mark.parametrize("newer", NEWER, ids=lambda newer: newer.where)
def test_a_newer_field_is_in_a_later_recording_or_in_the_types_of_the_sdk_and_in_no_older_one(newer):
    having = [file for file in FILES if any(has(body, newer.where) for body in responses(file))]
    assert not set(having) & set(newer.files)
    assert all(TIMES[old] < TIMES[new] for old in newer.files for new in having)
    if having:
        assert newer.seen == min(having, key=TIMES.__getitem__)
    else:
        assert newer.seen == "the types of the SDK"
        assert is_known_to_the_sdk(Response, newer.where.split(".")[1:])


def responses(file):
    for answer in recorded_answers(file):
        yield from (event["response"] for event in answer.events if "response" in event)
        if answer.request == "POST /responses" and answer.body:
            yield answer.body


def has(body, where):
    for name in where.split(".")[1:]:
        if not isinstance(body, dict) or name not in body:
            return False
        body = body[name]
    return True


def is_known_to_the_sdk(kind: Any, names: list[str]) -> bool:
    if not names:
        return True
    kinds = [kind, *get_args(kind)]
    models = [each for each in kinds if isinstance(each, type) and issubclass(each, BaseModel)]
    return any(
        is_known_to_the_sdk(model.model_fields[names[0]].annotation, names[1:])
        for model in models
        if names[0] in model.model_fields
    )


# -- the comparison itself ----------------------------------------------------------------------------------------------


def changed(file, change):
    """Return what the comparison says of the recording itself after ``change`` was made to it."""
    recorded = recorded_answers(file)
    other = copy.deepcopy(recorded)
    change(other)
    return compare(file, recorded, other)


@pytest.mark.parametrize("file", FILES)
def test_a_recording_does_not_differ_from_itself(file):
    assert changed(file, lambda answers: None) == []


def set_annotation(answers):
    for event in answers[3].events:
        if event["type"].endswith("annotation.added"):
            event["annotation"]["index"] += 1


def drop_event(answers):
    del answers[3].events[6]
    for number, event in enumerate(answers[3].events):
        event["sequence_number"] = number


def late_annotation(answers):
    events = answers[3].events
    place = next(place for place, event in enumerate(events) if event["type"].endswith("annotation.added"))
    events[place], events[place + 1] = events[place + 1], events[place]
    for number, event in enumerate(events):
        event["sequence_number"] = number


def other_status(answers):
    answers[0] = real_streams.Answer(answers[0].request, 201, answers[0].body, [])


def other_file(answers):
    answers[4].body["id"] = answers[0].body["id"][:-1] + "X"


def other_type(answers):
    answers[1].body["usage_bytes"] = "0"


def missing_field(answers):
    del answers[5].body["deleted"]


def without_padding(answers):
    for event in answers[3].events:
        event.pop("obfuscation", None)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (set_annotation, "events[output_text.annotation.added].annotation.index"),
        (drop_event, "events"),
        (late_annotation, "events"),
        (other_status, "POST /files: status"),
        (other_file, "DELETE /files/{file}: body.id"),
        (other_type, "POST /vector_stores: body.usage_bytes"),
        (missing_field, "DELETE /vector_stores/{vs}: body.deleted"),
        (without_padding, "events[output_text.delta].obfuscation"),
    ],
)
def test_a_difference_is_noticed_and_named(change, where):
    found = changed("file_search", change)
    assert where in [each.where for each in found]
    assert all(reason(each) is None and not is_newer(each) for each in found)


def test_a_gap_in_the_numbers_of_the_events_is_noticed():
    def gap(answers):
        answers[0].events[-1]["sequence_number"] += 1

    with pytest.raises(AssertionError):
        changed("background_resume", gap)


def test_a_reason_does_not_cover_another_value():
    (row,) = [row for row in REMAINING if row.where == "response.store"]
    (file,) = row.files
    assert reason(Difference(file, row.where, "false", "true")) == row
    assert reason(Difference(file, row.where, "false", "null")) is None
    assert reason(Difference("file_search", row.where, "false", "true")) is None


def test_the_table_names_every_file_and_every_reason():
    table = real_streams.table()
    assert all(f"| {file} |" in table for file in FILES)
    assert all(f"| {row.why} |" in table for row in REMAINING)
    assert "no reason is known" not in table
    assert real_streams.main() == 0


def test_what_has_no_reason_stands_in_the_table(monkeypatch):
    kept = tuple(row for row in REMAINING if row.where != "response.store")
    monkeypatch.setattr(real_streams, "REMAINING", kept)
    assert real_streams.without_reason() == [
        Difference("background_resume", "response.store", "false", "true")
    ]
    assert "| background_resume | `response.store` | false | true | **no reason is known** |" in (
        real_streams.table()
    )
    assert real_streams.main() == 1


def test_a_reason_without_a_difference_is_named(monkeypatch):
    monkeypatch.setattr(
        real_streams,
        "REMAINING",
        (*REMAINING, real_streams.Remaining(("file_search",), "response.user", "null", '"me"', "Mended.")),
    )
    assert real_streams.out_of_date() == [("file_search", "response.user")]
    assert real_streams.main() == 1
