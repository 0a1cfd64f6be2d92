"""Generated sequences of requests: every body and every event is valid, and no request ends in a 500."""

from __future__ import annotations

import pytest
from openai import APIResponseValidationError

from helpers.local_api import conversations, playback, players, responses, vector_stores
from helpers.local_api.app import App
from tests.local_api import sequences
from tests.local_api.sequences import SEQUENCES, STEPS, Sequence


@pytest.fixture(scope="module")
def counted():
    """What 200 sequences asked and were answered; the same sequences in each run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKSHOP_TODAY", sequences.DAY)
        sequences.run(again=True)
    print("\n".join(sequences.report()))
    return dict(Sequence.counted), dict(Sequence.answered), dict(Sequence.events)


def test_two_hundred_sequences_of_requests_are_answered_validly_and_without_a_500(counted):
    numbers, answered, _ = counted
    assert numbers["sequences"] >= SEQUENCES
    assert numbers["requests"] >= 10 * SEQUENCES
    assert {status for _, status in answered} == {200, 400, 404}


def test_the_sequences_reach_what_they_are_about(counted):
    _, answered, events = counted
    succeeded = {name for name, status in answered if status == 200}
    # OpenAI gives back no file of the purposes that are uploaded here; code's own files are read instead.
    assert {name for name, _ in answered} - succeeded == {"files.content"}
    for kind in ("file_search_call", "code_interpreter_call", "function_call_arguments", "refusal"):
        assert any(f".{kind}." in event for event in events), kind
    for event in ("completed", "incomplete", "queued", "output_text.annotation.added"):
        assert f"response.{event}" in events


def test_every_step_is_named_after_a_method_and_makes_a_known_thing():
    assert all(callable(getattr(Sequence, name)) for name in STEPS)
    assert {makes for makes, _ in STEPS.values() if makes} == set(sequences.NAMED)


# -- negative controls --------------------------------------------------------------------------------------------------


def fails(expected, match=None):
    with pytest.raises(expected, match=match):
        sequences.run(SEQUENCES, again=True, shrink=False)


def without(field, whole):
    """Return a function that leaves a field out of what ``whole`` returns."""

    def broken(*arguments, **options):
        return {name: each for name, each in whole(*arguments, **options).items() if name != field}

    return broken


def test_a_response_without_a_field_is_noticed(monkeypatch):
    monkeypatch.setattr(playback, "usage", without("total_tokens", playback.usage))
    fails(APIResponseValidationError)


def test_an_event_without_a_field_is_noticed(monkeypatch):
    whole = players.Stage.padded

    def broken(stage, event):
        return {name: each for name, each in whole(stage, event).items() if name != "item_id"}

    monkeypatch.setattr(players.Stage, "padded", broken)
    fails(APIResponseValidationError)


def test_a_wrong_body_of_another_route_is_noticed(monkeypatch):
    monkeypatch.setattr(
        conversations.Conversations, "retrieve", without("metadata", conversations.Conversations.retrieve)
    )
    fails((APIResponseValidationError, AssertionError))


def test_a_500_is_noticed(monkeypatch):
    def broken(stores, store_id, body):
        raise ZeroDivisionError

    monkeypatch.setattr(vector_stores.VectorStores, "search", broken)
    fails(AssertionError, match=r"vector_stores\.search: 500")


def test_a_gap_in_the_numbers_of_the_events_is_noticed(monkeypatch):
    whole = responses.play

    def skipping(script, **options):
        for event in whole(script, **options):
            number = event["sequence_number"]
            yield {**event, "sequence_number": number + (number > 2)}

    monkeypatch.setattr(responses, "play", skipping)
    fails(AssertionError)


def test_an_error_without_its_fields_is_noticed(monkeypatch):
    whole = App.handle

    def broken(app, call):
        answer = whole(app, call)
        if answer.status >= 400:
            del answer.body["error"]["code"]
        return answer

    monkeypatch.setattr(App, "handle", broken)
    fails(AssertionError)
