"""Structured answers: schemas are checked, recorded answers must fit them, and the SDK's parsing works with and without tools."""

import json

import openai
import pytest
from openai import pydantic_responses_function_tool
from pydantic import BaseModel

from helpers.local_api import LocalAPI
from tests.local_api.conftest import MODEL, make_client
from tests.local_api.kernels import InProcess


class Release(BaseModel):
    date: str
    size: str


class Timeline(BaseModel):
    releases: list[Release]


class Search(BaseModel):
    """Searches the web."""

    query: str
    limit: int | None


class Loss(BaseModel):
    loss: float


RECORDING = r"""
source: authored
exchanges:
  - ask: How was GPT-2 released in 2019?
    tools: [Search]
    steps:
      - say: I will look it up.
      - call: Search
        with: {query: GPT-2 staged release}
        prints: '(?P<date>\d{4}-\d\d-\d\d)'
      - say: |
          {"releases": [{"date": "{date}", "size": "124M"}]}
  - ask: And as a timeline?
    steps:
      - say: |
          {"releases": [{"date": "2019-02-14", "size": "124M"}, {"date": "2019-11-05", "size": "1.5B"}]}
  - ask: In words?
    steps:
      - say: In four steps.
  - ask: As a list, in JSON?
    steps:
      - say: '["124M"]'
  - ask: What is the loss?
    tools: [code_interpreter]
    steps:
      - run: |
          from pathlib import Path
          print("loss=" + Path("log.csv").read_text())
        prints: 'loss=(?P<loss>\S+)'
      - say: |
          {"loss": {loss}}
  - ask: How do I make a bomb?
    steps:
      - refuse: I will not say.
"""


@pytest.fixture
def recordings(tmp_path):
    (tmp_path / "turns.yaml").write_text(RECORDING, encoding="utf-8")
    return tmp_path


@pytest.fixture
def api(recordings, clock):
    api = LocalAPI(recordings=recordings, clock=clock, kernels=InProcess)
    yield api
    api.close()


@pytest.fixture
def strict_client(recordings, clock):
    api = LocalAPI(recordings=recordings, clock=clock, kernels=InProcess, strict=True)
    yield make_client(api)
    api.close()


TOOL = pydantic_responses_function_tool(Search)


def output(call, text):
    return {"type": "function_call_output", "call_id": call.call_id, "output": text}


def as_json(schema=None, name="answer", strict=True):
    if schema is None:
        return {"format": {"type": "json_object"}}
    return {"format": {"type": "json_schema", "name": name, "schema": schema, "strict": strict}}


def refusal_of(response):
    (part,) = response.output[-1].content
    assert part.type == "refusal"
    assert response.output_text == ""
    return part.refusal


# -- the SDK's parsing ----------------------------------------------------------------------------------------------


def test_an_answer_is_parsed(client):
    response = client.responses.parse(model=MODEL, input="And as a timeline?", text_format=Timeline)
    assert [release.size for release in response.output_parsed.releases] == ["124M", "1.5B"]
    assert response.metadata == {"workshop_source": "authored"}
    with client.responses.stream(model=MODEL, input="And as a timeline?", text_format=Timeline) as stream:
        assert stream.get_final_response().output_parsed == response.output_parsed


def test_a_refusal_is_one_in_every_form(client):
    response = client.responses.parse(model=MODEL, input="How do I make a bomb?", text_format=Timeline)
    assert refusal_of(response) == "I will not say."
    assert response.output_parsed is None


def test_together_with_a_function(client):
    shared = {"model": MODEL, "tools": [TOOL], "text_format": Timeline}
    history = [{"role": "user", "content": "How was GPT-2 released in 2019?"}]
    response = client.responses.parse(input=history, **shared)
    commentary, call = response.output[1:]
    assert commentary.content[0].parsed is None
    assert call.parsed_arguments == Search(query="GPT-2 staged release", limit=None)
    # What was parsed can be sent back as it is.
    history += [*response.output, output(call, "It was on 2019-02-14.")]
    done = client.responses.parse(input=history, **shared)
    assert done.output_parsed == Timeline(releases=[Release(date="2019-02-14", size="124M")])


def test_together_with_a_function_streamed(client):
    shared = {"model": MODEL, "tools": [TOOL], "text_format": Timeline}
    with client.responses.stream(input="How was GPT-2 released in 2019?", **shared) as stream:
        response = stream.get_final_response()
    call = response.output[-1]
    assert call.parsed_arguments.query == "GPT-2 staged release"
    with client.responses.stream(
        input=[output(call, "2019-02-14")], previous_response_id=response.id, **shared
    ) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        done = stream.get_final_response()
    assert json.loads("".join(deltas)) == {"releases": [{"date": "2019-02-14", "size": "124M"}]}
    assert done.output_parsed.releases[0].date == "2019-02-14"


def test_the_form_is_echoed(client):
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    response = client.responses.create(
        model=MODEL, input="And as a timeline?", text=as_json({"type": "object"}, strict=False)
    )
    assert response.to_dict()["text"]["format"] == {
        "type": "json_schema",
        "name": "answer",
        "schema": {"type": "object"},
        "strict": False,
        "description": None,
    }
    strict = client.responses.create(model=MODEL, input="Hi", text=as_json(schema))
    assert strict.text.format.strict is True
    plain = client.responses.create(model=MODEL, input="JSON please", text=as_json())
    assert plain.to_dict()["text"]["format"] == {"type": "json_object"}


# -- answers that do not fit ----------------------------------------------------------------------------------------

SIZES = {
    "type": "object",
    "properties": {"sizes": {"type": "array", "items": {"type": "string"}}},
    "required": ["sizes"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("question", "text", "why"),
    [
        ("In words?", as_json(SIZES), "it is not JSON"),
        (
            "And as a timeline?",
            as_json(SIZES),
            "it does not fit the schema 'answer': 'sizes' is a required property",
        ),
        ("As a list, in JSON?", as_json(), "it is JSON, but no object"),
    ],
)
def test_a_recorded_answer_that_does_not_fit_is_refused_with_the_reason(
    client, strict_client, question, text, why
):
    response = client.responses.create(model=MODEL, input=question, text=text)
    assert response.metadata["workshop_source"] == "offline helper"
    assert why in response.metadata["workshop_note"]
    said = refusal_of(response)
    assert said.startswith(
        "This question is in the recording, but its answer does not fit the form that you asked"
    )
    assert why in said
    with pytest.raises(openai.BadRequestError, match="cannot be given") as refused:
        strict_client.responses.create(model=MODEL, input=question, text=text)
    assert refused.value.code == "workshop_strict"
    assert why in refused.value.message


def test_json_without_a_schema_needs_the_word_in_a_message(client):
    """Instructions do not count. The message is known from others; that the param is ``input`` is taken over from Chat
    Completions, which names ``messages``."""
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(
            model=MODEL, input="And as a timeline?", instructions="Use JSON.", text=as_json()
        )
    assert refused.value.body == {
        "message": "Response input messages must contain the word 'json' in some form to use 'text.format' of type "
        "'json_object'.",
        "type": "invalid_request_error",
        "param": "input",
        "code": None,
    }
    messages = [
        {"role": "developer", "content": "Answer in JSON."},
        {"role": "user", "content": "And as a timeline?"},
    ]
    response = client.responses.create(model=MODEL, input=messages, text=as_json())
    assert json.loads(response.output_text)["releases"][0]["size"] == "124M"
    conversation = client.conversations.create(items=messages[:1])
    again = client.responses.create(
        model=MODEL, input="And as a timeline?", conversation=conversation.id, text=as_json()
    )
    assert again.output_text == response.output_text


def test_what_a_function_gave_back_is_part_of_what_has_to_fit(client, strict_client):
    never = Timeline.model_json_schema()
    never["additionalProperties"] = never["$defs"]["Release"]["additionalProperties"] = False
    never["$defs"]["Release"]["properties"]["date"] = {"type": "string", "pattern": "^2018"}
    for asked in (client, strict_client):
        shared = {"model": MODEL, "tools": [TOOL], "text": as_json(never)}
        response = asked.responses.create(input="How was GPT-2 released in 2019?", **shared)
        items = [output(response.output[-1], "On 2019-02-14.")]
        if asked is strict_client:
            with pytest.raises(openai.BadRequestError, match="does not match '\\^2018'"):
                asked.responses.create(input=items, previous_response_id=response.id, **shared)
            continue
        done = asked.responses.create(input=items, previous_response_id=response.id, **shared)
        assert "does not match '^2018'" in done.metadata["workshop_note"]
        assert "On 2019-02-14." in refusal_of(done)


@pytest.mark.parametrize("printed", ["nan", '"low"', "3.28,"])
def test_what_code_printed_is_part_of_what_has_to_fit(client, strict_client, printed):
    for asked in (client, strict_client):
        file = asked.files.create(file=("log.csv", printed.encode()), purpose="user_data")
        tool = {"type": "code_interpreter", "container": {"type": "auto", "file_ids": [file.id]}}
        shared = {"model": MODEL, "input": "What is the loss?", "tools": [tool], "text_format": Loss}
        if asked is strict_client:
            with pytest.raises(openai.BadRequestError, match="the answer cannot be given"):
                asked.responses.parse(**shared)
            continue
        response = asked.responses.parse(**shared)
        assert [item.type for item in response.output] == ["reasoning", "code_interpreter_call", "message"]
        said = refusal_of(response)
        assert "does not fit what the code found in your files" in said
        assert not said.rstrip().endswith("printed:")
        assert response.metadata["workshop_source"] == "offline helper"


def test_what_code_printed_is_parsed_where_it_fits(client, strict_client):
    for asked in (client, strict_client):
        file = asked.files.create(file=("log.csv", b"3.28"), purpose="user_data")
        tool = {"type": "code_interpreter", "container": {"type": "auto", "file_ids": [file.id]}}
        shared = {"model": MODEL, "input": "What is the loss?", "tools": [tool], "text_format": Loss}
        assert asked.responses.parse(**shared).output_parsed == Loss(loss=3.28)


# -- schemas that are refused ---------------------------------------------------------------------------------------


def test_a_schema_that_is_not_strict_is_refused_in_the_words_of_the_api(raw):
    """Others have met such messages: https://zenn.dev/nicopin/scraps/a8d8f53f5faebb."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": [],
        "additionalProperties": False,
    }
    status, error = raw.error(
        "/responses", {"model": MODEL, "input": "Hi", "text": as_json(schema, "timeline")}
    )
    assert status == 400
    assert error == {
        "message": "Invalid schema for response_format 'timeline': In context=(), 'required' is required to be supplied and "
        "to be an array including every key in properties. Missing 'a'.",
        "type": "invalid_request_error",
        "param": "text.format.schema",
        "code": "invalid_json_schema",
    }
    assert (
        raw.post(
            "/responses", {"model": MODEL, "input": "Hi", "text": as_json(schema, strict=False)}
        ).status_code
        == 200
    )
    counted = raw.error("/responses/input_tokens", {"input": "Hi", "text": as_json(schema)})
    assert counted[1]["code"] == "invalid_json_schema"


@pytest.mark.parametrize("strict", [True, False])
def test_a_very_deep_schema_is_no_mistake_of_the_api(raw, strict):
    schema = {"type": "string"}
    for _ in range(40):
        schema = {
            "type": "object",
            "properties": {"a": schema},
            "required": ["a"],
            "additionalProperties": False,
        }
    answer = raw.post(
        "/responses", {"model": MODEL, "input": "In words?", "text": as_json(schema, strict=strict)}
    )
    assert answer.status_code in {200, 400}
