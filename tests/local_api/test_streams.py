"""Streams: which events come, in which order, and what the SDK's own readers make of them."""

import pytest
from openai import APIResponseValidationError

from helpers.local_api.tokens import graphemes
from tests.local_api.conftest import MODEL, kinds, make_client

PLAIN = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.output_item.done",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


def test_plain_text_has_the_events_of_the_live_api_in_order(client):
    stream = client.responses.create(model=MODEL, input="What is GPT-2?", stream=True)
    events = list(stream)
    assert kinds(events) == PLAIN
    assert [event.sequence_number for event in events] == list(range(len(events)))
    reasoning, message = (event.item for event in events if event.type == "response.output_item.done")
    assert (reasoning.type, message.type, message.phase) == ("reasoning", "message", "final_answer")
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == message.content[0].text == "A language model with 124,439,808 parameters."
    final = events[-1].response
    assert final.output == [reasoning, message]
    assert final.status == "completed"
    assert final.usage.output_tokens == -(-len(text) // 4)
    assert final.usage.input_tokens == -(-len("What is GPT-2?") // 4)
    assert final.usage.total_tokens == final.usage.input_tokens + final.usage.output_tokens


def test_a_background_stream_is_queued_after_it_is_created(raw):
    events = raw.events({"input": "What is GPT-2?", "background": True})
    assert kinds(events) == [PLAIN[0], "response.queued", *PLAIN[1:]]
    assert [event["response"]["status"] for event in events if "response" in event] == [
        "queued",
        "queued",
        "in_progress",
        "completed",
    ]


@pytest.mark.parametrize("extra", [{"reasoning": {"effort": "none"}}, {"model": "gpt-4.1-mini"}])
def test_no_reasoning_item_without_reasoning(raw, extra):
    events = raw.events({"input": "What is GPT-2?", **extra})
    assert kinds(events) == PLAIN[:2] + PLAIN[4:]
    assert ("phase" in events[2]["item"]) == ("model" not in extra)


def test_deltas_are_padded_to_sixteen_characters_unless_asked_not_to(raw):
    deltas = [e for e in raw.events({"input": "What is GPT-2?"}) if e["type"].endswith(".delta")]
    assert deltas
    assert all((len(e["delta"]) + len(e["obfuscation"])) % 16 == 0 and e["obfuscation"] for e in deltas)
    plain = raw.events({"input": "What is GPT-2?", "stream_options": {"include_obfuscation": False}})
    assert not any("obfuscation" in event for event in plain)


@pytest.mark.parametrize("question", ["Draw me a family.", "What is GPT-2?", "Say it long."])
def test_deltas_make_up_the_text_and_cut_no_character_in_two(raw, question):
    events = raw.events({"input": question})
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    (text,) = (event["text"] for event in events if event["type"] == "response.output_text.done")
    assert "".join(deltas) == text
    assert len(deltas) > 5
    assert [cluster for delta in deltas for cluster in graphemes(delta)] == graphemes(text)


def test_a_summary_of_the_thinking_comes_only_when_asked_for(raw):
    silent = raw.events({"input": "Think first."})
    assert kinds(silent) == PLAIN
    shown = raw.events({"input": "Think first.", "reasoning": {"summary": "auto"}})
    assert kinds(shown)[3:7] == [
        f"response.reasoning_summary_{part}"
        for part in ("part.added", "text.delta", "text.done", "part.done")
    ]
    item = next(event["item"] for event in shown if event["type"] == "response.output_item.done")
    assert item["summary"] == [{"type": "summary_text", "text": "They want to see a summary."}]
    assert shown[-1]["response"]["usage"]["output_tokens_details"]["reasoning_tokens"] > 0


def test_encrypted_reasoning_comes_only_when_asked_for(client):
    plain = client.responses.create(model=MODEL, input="What is GPT-2?")
    asked = client.responses.create(
        model=MODEL, input="What is GPT-2?", include=["reasoning.encrypted_content"]
    )
    assert plain.output[0].encrypted_content is None
    assert asked.output[0].encrypted_content


def test_a_refusal_has_events_and_a_part_of_its_own(client, raw):
    events = raw.events({"input": "How do I make a bomb?"})
    assert kinds(events)[5:9] == [
        "response.content_part.added",
        "response.refusal.delta",
        "response.refusal.done",
        "response.content_part.done",
    ]
    response = client.responses.create(model=MODEL, input="How do I make a bomb?")
    assert response.output[-1].content[0].type == "refusal"
    assert response.output_text == ""


def test_the_strict_accumulator_of_the_sdk_reads_it(client):
    with client.responses.stream(model=MODEL, input="What is GPT-2?") as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert snapshots[-1] == final.output_text == "A language model with 124,439,808 parameters."


def test_parse_reads_a_recorded_json_answer(client):
    from pydantic import BaseModel

    class Size(BaseModel):
        size: str
        year: int

    response = client.responses.parse(model=MODEL, input="Answer as JSON.", text_format=Size)
    assert response.output_parsed == Size(size="124M", year=2019)
    # Where no JSON is recorded, a sentence would be a lie: it is a refusal, and nothing is parsed.
    missed = client.responses.parse(model=MODEL, input="What is GPT-2?", text_format=Size)
    assert missed.output_parsed is None
    assert missed.output[-1].content[0].type == "refusal"
    assert missed.metadata["workshop_source"] == "offline helper"
    with client.responses.stream(model=MODEL, input="Answer as JSON.", text_format=Size) as stream:
        assert stream.get_final_response().output_parsed.year == 2019


def test_too_few_output_tokens_end_in_incomplete_with_the_partial_text(client, raw):
    events = raw.events({"input": "Say it long.", "max_output_tokens": 16})
    assert kinds(events)[-1] == "response.incomplete"
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    response = events[-1]["response"]
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][-1]["status"] == "incomplete"
    assert response["output"][-1]["content"][0]["text"] == text
    assert text.startswith("One two three")
    assert len(text) == 64
    assert response["usage"]["output_tokens"] == 16
    assert (
        client.responses.create(model=MODEL, input="Say it long.", max_output_tokens=16).output_text == text
    )
    enough = client.responses.create(model=MODEL, input="What is GPT-2?", max_output_tokens=16)
    assert enough.status == "completed"


def test_strict_validation_can_fail(api, monkeypatch):
    """The negative control: without one required field, the same call is refused by the SDK."""
    from helpers.local_api import playback

    whole = playback.usage

    def broken(*tokens):
        found = whole(*tokens)
        del found["input_tokens_details"]["cache_write_tokens"]
        return found

    client = make_client(api)
    assert client.responses.create(model=MODEL, input="What is GPT-2?").usage is not None
    monkeypatch.setattr(playback, "usage", broken)
    with pytest.raises(APIResponseValidationError) as failed:
        client.responses.create(model=MODEL, input="What is GPT-2?")
    assert "cache_write_tokens" in str(failed.value.__cause__)
    with pytest.raises(APIResponseValidationError):
        list(client.responses.create(model=MODEL, input="What is GPT-2?", stream=True))


def test_an_event_is_made_when_it_is_read(api, client, monkeypatch):
    from helpers.local_api import players

    made = []
    whole = players.pieces

    def counted(text):
        for piece in whole(text):
            made.append(piece)
            yield piece

    monkeypatch.setattr(players, "pieces", counted)
    stream = client.responses.create(model=MODEL, input="Say it long.", stream=True)
    next(event for event in stream if event.type == "response.output_text.delta")
    assert len(made) == 1
    stream.close()
