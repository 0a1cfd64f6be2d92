"""Function calls: items, events as live, choices, pairs of call and output, and answers that take numbers from outputs."""

import asyncio
import itertools
import json
import threading

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai._models import validate_type
from openai.types.conversations import ConversationItem
from openai.types.responses import Response, ResponseItem, ResponseStreamEvent

from helpers.local_api import LocalAPI
from helpers.local_api.function_calls import written
from helpers.local_api.turns import Call
from tests.local_api.conftest import (
    DATA,
    MODEL,
    Raw,
    kinds,
    make_async_client,
    make_client,
    parse_events,
    shape,
)
from tests.local_api.kernels import InProcess

LIVE = json.loads((DATA / "real-streams" / "function_call.json").read_text())
LIVE_CONVERSATION = json.loads((DATA / "real-streams" / "conversation_function_call.json").read_text())

RECORDING = r"""
source: authored
exchanges:
  - ask: What is 1231 * 2331? Use the multiply tool.
    tools: [multiply]
    steps:
      - call: multiply
        with: {a: 1231, b: 2331}
      - say: 1231 × 2331 = **2,869,461**
  - ask: Call get_conversation_code and reply with only the returned code.
    tools: [get_conversation_code]
    steps:
      - call: get_conversation_code
        prints: '(?P<code>TOOL-\S+)'
      - say: "{code}"
  - ask: Two cities?
    tools: [weather, convert]
    steps:
      - say: I will look.
      - - call: weather
          with: {city: Zürich}
          prints: '"degrees": (?P<first>-?\d+)'
        - call: weather
          with: {city: São Paulo}
          prints: '"degrees": (?P<second>-?\d+)'
      - call: convert
        with: {degrees: "{first}", note: "{first} and {second}"}
        prints: '(?P<fahrenheit>\d+) F'
      - say: |
          {first} and {second} degrees, {fahrenheit} F, {"json": {first}}, `{first}`.
  - ask: What does it cost?
    tools: [code_interpreter, file_search, cost]
    steps:
      - search: [expected loss]
      - think: Now the log.
      - run: |
          from pathlib import Path
          Path("table.csv").write_text("a,b")
          show()
          print("loss=3.28")
        prints: 'loss=(?P<loss>[\d.]+)'
      - call: cost
        with: {loss: "{loss}"}
        prints: 'hours=(?P<hours>[\d.]+)'
      - say: |
          {loss} after {hours} hours, [the table](sandbox:/mnt/data/table.csv), as expected [notes.md].
  - ask: Say first.
    tools: [weather]
    steps:
      - say: No call at all.
  - ask: Long arguments.
    tools: [weather]
    steps:
      - call: weather
        with: {city: one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen}
      - say: Done.
  - ask: Which tool?
    tools: [weather]
    when: {description: the weather}
    steps:
      - call: weather
        with: {city: Bern}
      - say: The weather.
  - ask: Which tool?
    tools: [search]
    when: {description: anything else}
    steps:
      - call: search
        with: {query: Bern}
      - say: The web.
"""


def function(name, description="", strict=None, **properties):
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    if strict:
        schema["additionalProperties"] = False
    return {
        "type": "function",
        "name": name,
        "description": description or None,
        "parameters": schema,
        "strict": strict,
    }


TEXT, NUMBER, INTEGER = {"type": "string"}, {"type": "number"}, {"type": "integer"}
MULTIPLY = function("multiply", a=INTEGER, b=INTEGER)
CODE = function("get_conversation_code", strict=False)
WEATHER = function(
    "weather", "Tells the weather of a city.", True, city=TEXT, unit={"type": ["string", "null"]}
)
CONVERT = function("convert", strict=True, note=TEXT, degrees=NUMBER)
COST = function("cost", loss=NUMBER)


@pytest.fixture
def recordings(tmp_path):
    (tmp_path / "turns.yaml").write_text(RECORDING, encoding="utf-8")
    return tmp_path


@pytest.fixture
def api(recordings, clock):
    InProcess.made.clear()
    api = LocalAPI(recordings=recordings, clock=clock, kernels=InProcess)
    yield api
    api.close()


def ask(client, question, *tools, **options):
    return client.responses.create(**{"model": MODEL, "input": question, "tools": list(tools), **options})


def calls_of(response):
    return [item for item in response.output if item.type == "function_call"]


def output(call, text="{}"):
    return {"type": "function_call_output", "call_id": getattr(call, "call_id", call), "output": text}


def call_item(call_id="call_1", name="weather", arguments="{}", **more):
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments, **more}


def items_of(client, conversation):
    return list(client.conversations.items.list(conversation.id, order="asc"))


# -- the live recordings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1])
def test_the_stream_is_that_of_the_live_recording(raw, number):
    """The events that OpenAI sent, apart from ids, times, padding, and fields that are newer than the recording."""
    live = LIVE[number]["response"]["body"]["sse"]
    body = LIVE[number]["request"]["body"]
    mine = raw.events({**body, "model": MODEL, "reasoning": {"effort": "none"}, "include": []})
    assert kinds(mine) == kinds(live)
    by_kind = {event["type"]: event for event in mine}
    for theirs in live:
        ours = by_kind[theirs["type"]]
        if "response" in theirs:
            assert ours["response"]["tools"] == theirs["response"]["tools"]
            assert ours["response"]["status"] == theirs["response"]["status"]
            assert shape(ours["response"]["output"]) == shape(theirs["response"]["output"])
            assert set(theirs["response"]) <= set(ours["response"])
            continue
        assert shape(ours) == shape(theirs), theirs["type"]
        if "item" in theirs:
            assert list(ours["item"]) == list(theirs["item"])
            assert len(ours["item"]["id"]) == len(theirs["item"]["id"])


def test_the_arguments_come_in_the_pieces_of_the_live_recording(raw):
    live = LIVE[0]["response"]["body"]["sse"]
    mine = raw.events(
        {**LIVE[0]["request"]["body"], "model": MODEL, "reasoning": {"effort": "none"}, "include": []}
    )
    for ours, theirs in zip(mine, live, strict=True):
        for name in ("type", "delta", "arguments", "output_index", "sequence_number"):
            assert ours.get(name) == theirs.get(name)
        if "item" in theirs:
            assert ours["item"]["arguments"] == theirs["item"]["arguments"]
            assert len(ours["item"]["call_id"]) == len(theirs["item"]["call_id"])


def test_the_conversation_is_that_of_the_live_recording(raw):
    _, first, second, _ = LIVE_CONVERSATION
    conversation = raw.post("/conversations").json()["id"]
    body = {**first["request"]["body"], "conversation": conversation}
    mine = raw.post("/responses", body).json()
    theirs = first["response"]["body"]
    assert set(theirs) <= set(mine)
    assert shape(mine["output"]) == shape(theirs["output"])
    assert mine["tools"] == theirs["tools"]
    (call,) = mine["output"]
    assert (call["name"], call["arguments"], call["status"]) == ("get_conversation_code", "{}", "completed")
    answer = {**second["request"]["body"]["input"][0], "call_id": call["call_id"]}
    done = raw.post("/responses", {**body, "input": [answer]}).json()
    theirs = second["response"]["body"]
    assert shape(done["output"]) == shape(theirs["output"])
    assert done["output"][0]["content"] == theirs["output"][0]["content"]


def test_a_second_run_has_the_same_ids(recordings, clock):
    def ids():
        api = LocalAPI(recordings=recordings, clock=clock)
        client = make_client(api)
        (call,) = calls_of(ask(client, "What is 1231 * 2331? Use the multiply tool.", MULTIPLY))
        api.close()
        return call.id, call.call_id

    first = ids()
    assert first == ids()
    assert (first[0][:3], first[1][:5]) == ("fc_", "call_")
    assert first[1].removeprefix("call_").isalnum()


# -- a round trip, in every way -------------------------------------------------------------------------------------


def by_conversation(client, question, *tools, **options):
    conversation = client.conversations.create()
    response = ask(client, question, *tools, conversation=conversation.id, **options)
    return response, lambda items, **more: ask(
        client, items, *tools, **{"conversation": conversation.id, **options, **more}
    )


def by_previous_response(client, question, *tools, **options):
    response = ask(client, question, *tools, **options)
    last = [response]

    def go_on(items, **more):
        last[0] = ask(client, items, *tools, **{"previous_response_id": last[0].id, **options, **more})
        return last[0]

    return response, go_on


def by_hand(client, question, *tools, **options):
    history = [{"role": "user", "content": question}]
    options = {"store": False, **options}

    def go_on(items, **more):
        history.extend(items)
        response = ask(client, history, *tools, **{**options, **more})
        history.extend(response.output)
        return response

    return go_on([]), go_on


def by_plain_json(client, question, *tools, **options):
    history = [{"role": "user", "content": question}]

    def go_on(items, **more):
        history.extend(items)
        response = ask(client, history, *tools, **{"store": False, **options, **more})
        history.extend(item.to_dict() for item in response.output)
        return response

    return go_on([]), go_on


WAYS = [by_conversation, by_previous_response, by_hand, by_plain_json]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", [{}, {"include": ["reasoning.encrypted_content"]}])
def test_calls_their_outputs_and_the_answer(client, way, options):
    response, go_on = way(client, "Two cities?", WEATHER, CONVERT, **options)
    assert [item.type for item in response.output] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]
    assert response.status == "completed"
    message, *calls = response.output[1:]
    assert (message.phase, response.output_text) == ("commentary", "I will look.")
    assert [json.loads(call.arguments) for call in calls] == [
        {"city": "Zürich", "unit": None},
        {"city": "São Paulo", "unit": None},
    ]
    assert calls[0].arguments == '{"city":"Zürich","unit":null}'
    assert len({call.call_id for call in calls}) == len({call.id for call in calls}) == 2
    # The outputs may come in any order.
    response = go_on([output(calls[1], '{"degrees": 31}'), output(calls[0], '{"degrees": -4}')])
    (call,) = calls_of(response)
    # The schema wants the note first, and a number.
    assert call.arguments == '{"note":"-4 and 31","degrees":-4}'
    response = go_on([output(call, "25 F")])
    assert response.output_text == '-4 and 31 degrees, 25 F, {"json": -4}, `{first}`.'
    assert response.output[-1].phase == "final_answer"
    assert response.metadata == {"workshop_source": "authored"}


@pytest.mark.parametrize("way", WAYS)
def test_one_call_at_a_time_where_parallel_calls_are_forbidden(client, way):
    response, go_on = way(client, "Two cities?", WEATHER, CONVERT, parallel_tool_calls=False)
    assert response.parallel_tool_calls is False
    names = []
    for answer in ('{"degrees": 1}', '{"degrees": 2}', "33 F"):
        (call,) = calls_of(response)
        names.append(json.loads(call.arguments).get("city", call.name))
        response = go_on([output(call, answer)])
    assert names == ["Zürich", "São Paulo", "convert"]
    assert response.output_text.startswith("1 and 2 degrees, 33 F")


@pytest.mark.parametrize("way", WAYS)
def test_search_code_and_a_function_in_one_turn(client, way):
    """What code found before the call is there after it: numbers, links to files, plots; and the file that was cited."""
    store = client.vector_stores.create(name="notes")
    client.vector_stores.files.upload_and_poll(
        vector_store_id=store.id, file=("notes.md", b"The expected loss is 3.3.")
    )
    tools = [
        {"type": "file_search", "vector_store_ids": [store.id]},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        COST,
    ]
    response, go_on = way(client, "What does it cost?", *tools)
    assert [item.type for item in response.output] == [
        "reasoning",
        "file_search_call",
        "reasoning",
        "code_interpreter_call",
        "reasoning",
        "function_call",
    ]
    (call,) = calls_of(response)
    assert call.arguments == '{"loss":3.28}'
    response = go_on([output(call, "hours=4.5")])
    text = response.output_text
    assert text == "3.28 after 4.5 hours, [the table](sandbox:/mnt/data/table.csv), as expected."
    citation, plot, link = response.output[-1].content[0].annotations
    assert (citation.type, citation.filename, text[citation.index :]) == ("file_citation", "notes.md", ".")
    assert plot.filename.endswith(".png")
    assert text[link.start_index : link.end_index] == "sandbox:/mnt/data/table.csv"
    content = client.containers.files.content.retrieve(link.file_id, container_id=link.container_id)
    assert content.read() == b"a,b"
    assert len(InProcess.made[0].codes) == 1


def test_what_was_found_is_still_there_in_another_process_that_shares_the_state(
    recordings, clock, tmp_path_factory
):
    state = tmp_path_factory.mktemp("state") / "state.sqlite3"
    tools = [
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "file_search", "vector_store_ids": []},
        COST,
    ]
    first = LocalAPI(recordings=recordings, clock=clock, state=state, kernels=InProcess)
    client = make_client(first)
    store = client.vector_stores.create(name="notes")
    client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("notes.md", b"Loss."))
    tools[1]["vector_store_ids"] = [store.id]
    response = ask(client, "What does it cost?", *tools)
    second = LocalAPI(recordings=recordings, clock=clock, state=state, kernels=InProcess)
    done = ask(
        make_client(second),
        [output(calls_of(response)[0], "hours=2")],
        *tools,
        previous_response_id=response.id,
    )
    assert done.output_text.startswith("3.28 after 2 hours")
    second.close()
    first.close()


def test_a_history_whose_values_nobody_kept_is_not_filled_with_empty_places(client):
    """The call was made by another process, so what its code printed is not known here."""
    store = client.vector_stores.create(name="notes")
    tools = [
        {"type": "file_search", "vector_store_ids": [store.id]},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        COST,
    ]
    history = [
        {"role": "user", "content": "What does it cost?"},
        call_item("call_theirs", "cost"),
        output("call_theirs", "hours=2"),
    ]
    response = ask(client, history, *tools)
    assert response.metadata["workshop_source"] == "offline helper"
    assert "is not there any more" in response.metadata["workshop_note"]
    assert "{loss}" not in response.output_text


# -- outputs that do not fit ----------------------------------------------------------------------------------------


def test_where_the_output_is_another_the_offline_helper_shows_it(client, recordings, clock):
    response, go_on = by_conversation(client, "Two cities?", WEATHER, CONVERT)
    first, second = calls_of(response)
    done = go_on([output(first, '{"error": "no network"}'), output(second, '{"degrees": 3}')])
    assert done.metadata["workshop_source"] == "offline helper"
    assert "another output of the function `weather`" in done.metadata["workshop_note"]
    text = done.output_text
    assert text.startswith(
        "This question is in the recording, but its answer does not fit what your functions gave back."
    )
    assert '```text\n{"error": "no network"}\n```' in text
    assert '```text\n{"degrees": 3}\n```' in text
    # The conversation goes on.
    assert (
        ask(client, "Say first.", WEATHER, conversation=done.conversation.id).output_text == "No call at all."
    )


def test_strictly_another_output_is_an_error(recordings, clock):
    api = LocalAPI(recordings=recordings, clock=clock, strict=True)
    response, go_on = by_conversation(make_client(api), "Two cities?", WEATHER, CONVERT)
    with pytest.raises(openai.BadRequestError, match="another output of the function `weather`") as refused:
        go_on([output(call, "broken") for call in calls_of(response)])
    assert refused.value.code == "workshop_strict"
    api.close()


def test_an_answer_that_does_not_look_at_the_output_plays_after_any(client):
    response, go_on = by_previous_response(client, "What is 1231 * 2331? Use the multiply tool.", MULTIPLY)
    assert "2,869,461" in go_on([output(calls_of(response)[0], "Traceback: no")]).output_text


def test_calls_that_the_recording_does_not_have_are_not_taken_for_it(client):
    history = [
        {"role": "user", "content": "Two cities?"},
        call_item(),
        output("call_1", '{"degrees": 1}'),
        call_item("call_2", "other"),
        output("call_2", "x"),
    ]
    response = ask(client, history, WEATHER, CONVERT)
    assert "not those of the recorded answer" in response.metadata["workshop_note"]


def test_a_function_that_is_not_offered_any_more_is_not_called(client):
    response = ask(client, "Two cities?", WEATHER, CONVERT, parallel_tool_calls=False)
    (call,) = calls_of(response)
    done = ask(client, [output(call, '{"degrees": 1}')], CONVERT, previous_response_id=response.id)
    assert calls_of(done) == []
    assert "goes on with the function `weather`, which is not offered now" in done.metadata["workshop_note"]
    for options in (
        {"tools": [WEATHER]},
        {"tools": []},
        {"tools": [WEATHER, CONVERT], "tool_choice": "none"},
    ):
        done = client.responses.create(
            model=MODEL, input=[output(call, '{"degrees": 1}')], previous_response_id=response.id, **options
        )
        assert calls_of(done) == []
        assert done.metadata == {"workshop_source": "offline helper"}
        assert '{"degrees": 1}' in done.output_text


def test_functions_need_not_be_offered_again_to_get_the_answer(client):
    response = ask(client, "What is 1231 * 2331? Use the multiply tool.", MULTIPLY)
    done = ask(client, [output(calls_of(response)[0])], previous_response_id=response.id)
    assert "2,869,461" in done.output_text


# -- choices --------------------------------------------------------------------------------------------------------


def test_a_description_decides_which_function_is_called(client):
    search = function("search", "Finds anything else.", query=TEXT)
    vague = {**WEATHER, "description": "Does things."}
    assert [call.name for call in calls_of(ask(client, "Which tool?", WEATHER))] == ["weather"]
    assert [call.name for call in calls_of(ask(client, "Which tool?", vague, search))] == ["search"]


@pytest.mark.parametrize(
    ("choice", "calls"),
    [
        ("auto", ["weather", "weather"]),
        ("required", ["weather", "weather"]),
        ("none", []),
        ({"type": "function", "name": "weather"}, ["weather"]),
        (
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "weather"}, {"type": "function", "name": "convert"}],
            },
            ["weather", "weather"],
        ),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "convert"}]}, []),
    ],
)
def test_the_choice_is_echoed_and_honoured(client, choice, calls):
    response = ask(client, "Two cities?", WEATHER, CONVERT, tool_choice=choice)
    assert response.to_dict()["tool_choice"] == choice
    # Forced, a recorded answer that says something first is not played; the offline helper calls with the question.
    assert [call.name for call in calls_of(response)] == calls


def test_a_forced_function_plays_an_answer_that_begins_with_its_call(client):
    choice = {"type": "function", "name": "weather"}
    response = ask(client, "Long arguments.", WEATHER, CONVERT, tool_choice=choice)
    assert response.metadata == {"workshop_source": "authored"}
    done = ask(
        client,
        [output(calls_of(response)[0])],
        WEATHER,
        CONVERT,
        previous_response_id=response.id,
        tool_choice=choice,
    )
    assert done.output_text == "Done."


def test_required_needs_an_answer_that_uses_a_tool(client):
    response = ask(client, "Say first.", WEATHER, tool_choice="required")
    (call,) = calls_of(response)
    assert json.loads(call.arguments)["city"] == "Say first."
    assert response.metadata == {"workshop_source": "offline helper"}


# -- items ----------------------------------------------------------------------------------------------------------


def test_items_are_kept_in_the_shape_of_the_api(client):
    conversation = client.conversations.create(items=[call_item(id="fc_mine", status="completed")])
    added = client.conversations.items.create(
        conversation.id,
        items=[{**output("call_1", "18 C"), "id": "fc_other", "status": "completed"}],
    )
    call, answer = items_of(client, conversation)
    assert (call.type, call.call_id, call.name, call.arguments, call.status) == (
        "function_call",
        "call_1",
        "weather",
        "{}",
        "completed",
    )
    assert (answer.type, answer.call_id, answer.output, answer.status) == (
        "function_call_output",
        "call_1",
        "18 C",
        "completed",
    )
    assert added.data == [answer]
    assert len({"fc_mine", "fc_other", call.id, answer.id}) == 4
    for item in (call, answer):
        assert item.id.startswith("fc_")
        assert client.conversations.items.retrieve(item.id, conversation_id=conversation.id) == item


def test_an_output_may_be_a_list_of_texts(client, raw):
    parts = [{"type": "input_text", "text": '{"degrees": 5}'}, {"type": "input_text", "text": "é 🦜"}]
    response = ask(client, "Two cities?", WEATHER, CONVERT)
    first, second = calls_of(response)
    done = ask(
        client,
        [output(first, parts), output(second, parts)],
        WEATHER,
        CONVERT,
        previous_response_id=response.id,
    )
    assert json.loads(calls_of(done)[0].arguments)["degrees"] == 5
    kept = raw.get(f"/responses/{done.id}/input_items?order=asc").json()["data"]
    assert [item["output"] for item in kept] == [parts, parts]
    for item in kept:
        validate_type(type_=ResponseItem, value=item)


REFUSED = [
    (call_item(call_id=None), "input[0].call_id", "missing_required_parameter", "Missing"),
    (call_item(call_id=""), "input[0].call_id", "empty_string", "minimum length 1"),
    (call_item(call_id="c" * 65), "input[0].call_id", "string_above_max_length", "maximum length 64"),
    (call_item(call_id=4), "input[0].call_id", "invalid_type", "expected a string, but got an integer"),
    (
        call_item(id="call_1"),
        "input[0].id",
        "invalid_value",
        "'call_1'. Expected an ID that begins with 'fc'.",
    ),
    (call_item(name=None), "input[0].name", "missing_required_parameter", "Missing"),
    (call_item(name="a b"), "input[0].name", "invalid_value", "pattern '^[a-zA-Z0-9_-]+$'"),
    (
        call_item(arguments={"a": 1}),
        "input[0].arguments",
        "invalid_type",
        "expected a string, but got an object",
    ),
    (call_item(arguments=None), "input[0].arguments", "missing_required_parameter", "Missing"),
    (call_item(status="done"), "input[0].status", "invalid_value", "'done'"),
    (call_item(colour="red"), "input[0].colour", "unknown_parameter", "Unknown parameter"),
    (call_item(parsed_arguments={}), "input[0].parsed_arguments", "unknown_parameter", "Unknown parameter"),
    (call_item(namespace="crm"), "input[0].namespace", "unsupported_parameter", "does not have it"),
    (call_item(**{"async": True}), "input[0].async", "unsupported_parameter", "does not have it"),
    (output(None), "input[0].call_id", "missing_required_parameter", "Missing"),
    ({**output("call_1"), "id": "call_1"}, "input[0].id", "invalid_value", "begins with 'fc'"),
    (output("call_1", None), "input[0].output", "missing_required_parameter", "Missing"),
    (output("call_1", {"a": 1}), "input[0].output", "invalid_type", "one of a string or array of objects"),
    (output("call_1", 4), "input[0].output", "invalid_type", "but got an integer"),
    (output("call_1", ["a"]), "input[0].output[0]", "invalid_type", "expected an object"),
    (output("call_1", [{"text": "a"}]), "input[0].output[0].type", "missing_required_parameter", "Missing"),
    (output("call_1", [{"type": "text"}]), "input[0].output[0]", "invalid_value", "'input_text'"),
    (
        output("call_1", [{"type": "input_text"}]),
        "input[0].output[0].text",
        "missing_required_parameter",
        "Mis",
    ),
]


@pytest.mark.parametrize(("item", "param", "code", "words"), REFUSED, ids=[str(r[1:3]) for r in REFUSED])
def test_a_wrong_item_is_refused_everywhere(raw, item, param, code, words):
    status, error = raw.error("/responses", {"model": MODEL, "input": [item]})
    assert (status, error["param"], error["code"]) == (400, param, code)
    assert words in error["message"]
    conversation = raw.post("/conversations").json()["id"]
    for path in ("/conversations", f"/conversations/{conversation}/items"):
        status, error = raw.error(path, {"items": [item]})
        assert (status, error["param"], error["code"]) == (400, param.replace("input", "items"), code)
    assert raw.get(f"/conversations/{conversation}/items").json()["data"] == []


@pytest.mark.parametrize("kind", ["input_image", "input_file"])
def test_pictures_and_files_in_outputs_are_not_built_yet(raw, kind):
    body = {"model": MODEL, "input": [call_item(), output("call_1", [{"type": kind}])]}
    assert raw.post("/responses", body).status_code == 501


# -- pairs ----------------------------------------------------------------------------------------------------------


def unanswered(call_id):
    return {
        "message": f"No tool output found for function call {call_id}.",
        "type": "invalid_request_error",
        "param": "input",
        "code": None,
    }


def test_a_call_without_output_is_refused_in_every_way(client, raw):
    """The body as others have met it: https://github.com/livekit/agents/issues/5092,
    https://github.com/router-for-me/CLIProxyAPI/issues/2368 (type, param and code are in the latter)."""
    conversation = client.conversations.create()
    response = ask(client, "Two cities?", WEATHER, CONVERT, conversation=conversation.id)
    first, second = calls_of(response)
    body = {"model": MODEL, "input": "Say first.", "tools": [WEATHER]}
    for more in ({"conversation": conversation.id}, {"previous_response_id": response.id}):
        assert raw.error("/responses", {**body, **more}) == (400, unanswered(first.call_id))
        half = [output(first, '{"degrees": 1}')]
        assert raw.error("/responses", {**body, **more, "input": half}) == (400, unanswered(second.call_id))
    by_hand = [{"role": "user", "content": "Hi"}, call_item("call_mine")]
    assert raw.error("/responses", {**body, "input": by_hand}) == (400, unanswered("call_mine"))
    # Nothing of what was refused is left.
    assert [item.type for item in items_of(client, conversation)] == [
        "message",
        "reasoning",
        "message",
        "function_call",
        "function_call",
    ]


def test_an_output_added_alone_repairs_a_stuck_conversation(client):
    conversation = client.conversations.create()
    response = ask(
        client, "What is 1231 * 2331? Use the multiply tool.", MULTIPLY, conversation=conversation.id
    )
    with pytest.raises(openai.BadRequestError, match="No tool output found for function call"):
        ask(client, "Say first.", WEATHER, conversation=conversation.id)
    client.conversations.items.create(conversation.id, items=[output(calls_of(response)[0], "2869461")])
    assert "2,869,461" in ask(client, [], MULTIPLY, conversation=conversation.id).output_text
    assert ask(client, "Say first.", WEATHER, conversation=conversation.id).output_text == "No call at all."


def test_deleting_the_call_also_repairs_it(client):
    conversation = client.conversations.create(items=[call_item()])
    (item,) = items_of(client, conversation)
    client.conversations.items.delete(item.id, conversation_id=conversation.id)
    assert ask(client, "Say first.", WEATHER, conversation=conversation.id).status == "completed"


def test_an_output_without_its_call_is_refused(client, raw):
    """The body as others have met it: https://github.com/microsoft/vscode/issues/320060."""
    conversation = client.conversations.create()
    for more in ({}, {"conversation": conversation.id}):
        status, error = raw.error("/responses", {"model": MODEL, "input": [output("call_no")], **more})
        assert status == 400
        assert error == {
            "message": "No tool call found for function call output with call_id call_no.",
            "type": "invalid_request_error",
            "param": "input",
            "code": None,
        }
    late = [output("call_1"), call_item("call_1")]
    assert raw.error("/responses", {"model": MODEL, "input": late})[0] == 400


def test_a_second_output_for_one_call_is_refused(client, raw):
    """That OpenAI refuses it is known, its words are not (https://github.com/NousResearch/hermes-agent/issues/102629)."""
    twice = [call_item(), output("call_1", "a"), output("call_1", "b")]
    status, error = raw.error("/responses", {"model": MODEL, "input": twice})
    assert (status, error["param"]) == (400, "input")
    assert "Duplicate function call output" in error["message"]
    conversation = client.conversations.create(items=twice[:2])
    # Where it would be stuck for ever, it is refused before.
    for item in (twice[0], twice[2]):
        status, error = raw.error(f"/conversations/{conversation.id}/items", {"items": [item]})
        assert (status, error["param"]) == (400, "items")
    assert raw.error("/conversations", {"items": twice})[0] == 400
    assert ask(client, "Say first.", WEATHER, conversation=conversation.id).output_text == "No call at all."


def test_a_call_that_is_there_twice_is_refused(client, raw):
    """As https://github.com/MacPaw/OpenAI/issues/432: the call is in the previous response and in the input."""
    response = ask(client, "What is 1231 * 2331? Use the multiply tool.", MULTIPLY)
    (call,) = calls_of(response)
    status, error = raw.error(
        "/responses",
        {
            "model": MODEL,
            "tools": [MULTIPLY],
            "previous_response_id": response.id,
            "input": [call.to_dict(), output(call, "1")],
        },
    )
    assert (status, error["param"]) == (400, "input")
    assert error["message"].startswith("Duplicate item found with id fc_")


# -- streams --------------------------------------------------------------------------------------------------------


def test_the_accumulator_of_the_sdk_takes_the_stream(client):
    with client.responses.stream(model=MODEL, input="Two cities?", tools=[WEATHER, CONVERT]) as stream:
        events = list(stream)
        final = stream.get_final_response()
    snapshots = [event.snapshot for event in events if event.type == "response.function_call_arguments.delta"]
    assert snapshots[-1] == calls_of(final)[1].arguments
    done = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert [event.arguments for event in done] == [call.arguments for call in calls_of(final)]


def test_each_call_has_its_events_and_its_place(raw):
    events = raw.events({"input": "Two cities?", "tools": [WEATHER, CONVERT]})
    one = [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]
    assert kinds(events)[-9:] == [*one, *one, "response.completed"]
    for event in events:
        validate_type(type_=ResponseStreamEvent, value=event)
        if event["type"].endswith("arguments.delta"):
            assert (len(event["delta"]) + len(event["obfuscation"])) % 16 == 0
    added = [event["output_index"] for event in events if event["type"] == "response.output_item.added"]
    assert added == [0, 1, 2, 3]
    response = events[-1]["response"]
    for event in events:
        if "item_id" in event:
            assert response["output"][event["output_index"]]["id"] == event["item_id"]
    spent = sum(-(-len(item.get("arguments", "")) // 4) for item in response["output"])
    assert response["usage"]["output_tokens"] == spent + -(-len("I will look.") // 4)


def test_too_few_output_tokens_cut_the_arguments(client, raw):
    events = raw.events({"input": "Long arguments.", "tools": [WEATHER], "max_output_tokens": 16})
    assert kinds(events)[-3:] == [
        "response.function_call_arguments.delta",
        "response.output_item.done",
        "response.incomplete",
    ]
    response = events[-1]["response"]
    validate_type(type_=Response, value=response)
    call = response["output"][-1]
    assert (response["incomplete_details"], call["status"]) == ({"reason": "max_output_tokens"}, "incomplete")
    assert call["arguments"] == '{"city":"one two three four five six seven eight nine ten eleven'
    assert response["usage"]["output_tokens"] == 16
    # It is a call that nobody answered, like any other.
    with pytest.raises(openai.BadRequestError, match="No tool output found"):
        ask(client, "Say first.", WEATHER, previous_response_id=response["id"])
    ask(client, [output(call["call_id"], "cut off")], WEATHER, previous_response_id=response["id"])


def test_tokens_of_calls_and_outputs_are_read(client):
    response = ask(client, "What is 1231 * 2331? Use the multiply tool.", MULTIPLY)
    (call,) = calls_of(response)
    count = client.responses.input_tokens.count(
        model=MODEL, previous_response_id=response.id, input=[output(call, "a" * 400)], tools=[MULTIPLY]
    ).input_tokens
    done = ask(client, [output(call, "a" * 400)], MULTIPLY, previous_response_id=response.id)
    assert done.usage.input_tokens == count
    without = client.responses.input_tokens.count(model=MODEL, input="a", tools=[MULTIPLY]).input_tokens
    assert count > without + 100
    listed = client.responses.input_items.list(done.id).data
    assert [item.type for item in listed] == ["function_call_output"]


@pytest.mark.parametrize("leave", ["close", "forget"])
def test_a_stream_left_in_the_middle_of_the_arguments_adds_nothing(client, leave):
    conversation = client.conversations.create()

    def begin():
        stream = ask(client, "Long arguments.", WEATHER, conversation=conversation.id, stream=True)
        for event in stream:
            if event.type == "response.function_call_arguments.delta":
                break
        if leave == "close":
            stream.close()

    begin()
    assert items_of(client, conversation) == []
    assert ask(client, "Say first.", WEATHER, conversation=conversation.id).output_text == "No call at all."


def test_background_responses_call_too(client):
    conversation = client.conversations.create()
    response = ask(client, "Two cities?", WEATHER, CONVERT, conversation=conversation.id, background=True)
    seen = [response.status]
    while response.status in {"queued", "in_progress"}:
        response = client.responses.retrieve(response.id)
        seen.append(response.status)
    assert seen == ["queued", "in_progress", "completed"]
    outputs = [output(call, '{"degrees": 8}') for call in calls_of(response)]
    stream = ask(
        client,
        outputs,
        WEATHER,
        CONVERT,
        conversation=conversation.id,
        background=True,
        stream=True,
    )
    begun = list(itertools.islice(stream, 6))
    stream.close()
    response_id, last = begun[0].response.id, begun[-1].sequence_number
    rest = list(client.responses.retrieve(response_id, stream=True, starting_after=last))
    (call,) = calls_of(rest[-1].response)
    assert json.loads(call.arguments)["degrees"] == 8
    again = [event.type for event in client.responses.retrieve(response_id, stream=True)]
    assert again == [event.type for event in [*begun, *rest]]
    cancelled = ask(client, [output(call, "1 F")], WEATHER, conversation=conversation.id, background=True)
    client.responses.cancel(cancelled.id)
    # The output went with it, so the call waits again.
    with pytest.raises(openai.BadRequestError, match="No tool output found"):
        ask(client, [], WEATHER, conversation=conversation.id)


def test_the_same_with_the_asynchronous_client(api):
    async def main():
        client = make_async_client(api)
        conversation = await client.conversations.create()
        shared = {"model": MODEL, "tools": [WEATHER, CONVERT], "conversation": conversation.id}
        items, text = "Two cities?", ""
        while not text:
            stream = await client.responses.create(**shared, input=items, stream=True)
            async for event in stream:
                if event.type == "response.completed":
                    calls = calls_of(event.response)
                    text = "" if calls else event.response.output_text
            items = [output(call, '{"degrees": 7} 45 F') for call in calls]
        await client.close()
        return text

    assert asyncio.run(main()).startswith("7 and 7 degrees, 45 F")


# -- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    ["not JSON {", "", "x" * 1_000_000, "é 👩‍🚀 \u0000 '\"`", "[" * 10_000, '{"a": NaN}'],
    ids=["not JSON", "empty", "1 MB", "unicode", "deep", "NaN"],
)
def test_any_text_may_stand_in_the_arguments_and_the_output_of_a_replayed_call(client, arguments):
    history = [
        {"role": "user", "content": "What is 1231 * 2331? Use the multiply tool."},
        call_item(name="multiply", arguments=arguments),
        output("call_1", arguments),
    ]
    conversation = client.conversations.create(items=history)
    for options in ({"input": history}, {"input": [], "conversation": conversation.id}):
        assert (
            "2,869,461"
            in ask(client, **{"question": options.pop("input")}, **options, tools=[MULTIPLY]).output_text
        )
    kept = items_of(client, conversation)
    assert (kept[1].arguments, kept[2].output) == (arguments, arguments)


def test_twenty_parallel_calls(tmp_path, clock):
    calls = "\n".join(
        f"{'- - ' if number == 0 else '  - '}call: f\n    with: {{n: {number}}}\n    prints: 'is (?P<n{number}>\\d+)'"
        for number in range(20)
    )
    steps = "\n".join(f"      {line}" for line in calls.splitlines())
    say = ", ".join(f"{{n{number}}}" for number in range(20))
    (tmp_path / "a.yaml").write_text(
        f"source: authored\nexchanges:\n  - ask: All.\n    tools: [f]\n    steps:\n{steps}\n      - say: '{say}'\n"
    )
    api = LocalAPI(recordings=tmp_path, clock=clock)
    client = make_client(api)
    tool = function("f", n=INTEGER)
    response = ask(client, "All.", tool)
    assert len({call.call_id for call in calls_of(response)}) == 20
    outputs = [output(call, f"is {json.loads(call.arguments)['n'] + 100}") for call in calls_of(response)]
    done = ask(client, outputs[::-1], tool, previous_response_id=response.id)
    assert done.output_text == ", ".join(str(number) for number in range(100, 120))
    api.close()


def test_two_hundred_rounds(tmp_path, clock):
    calls = "".join(f"      - call: f\n        with: {{n: {number}}}\n" for number in range(200))
    (tmp_path / "a.yaml").write_text(
        f"source: authored\nexchanges:\n  - ask: On and on.\n    tools: [f]\n    steps:\n{calls}      - say: Enough.\n"
    )
    api = LocalAPI(recordings=tmp_path, clock=clock)
    client = make_client(api, strict=False)
    conversation = client.conversations.create()
    tool, items, rounds = function("f", n=INTEGER), "On and on.", 0
    while True:
        response = ask(client, items, tool, conversation=conversation.id)
        if not calls_of(response):
            break
        (call,) = calls_of(response)
        assert json.loads(call.arguments) == {"n": rounds}
        items, rounds = [output(call)], rounds + 1
    assert (rounds, response.output_text) == (200, "Enough.")
    api.close()


def test_two_threads_cannot_answer_one_call_twice(api, client):
    conversation = client.conversations.create()
    response = ask(
        client, "What is 1231 * 2331? Use the multiply tool.", MULTIPLY, conversation=conversation.id
    )
    (call,) = calls_of(response)
    outcomes, ready = [], threading.Barrier(4)

    def answer():
        mine = make_client(api)
        ready.wait()
        try:
            outcomes.append(ask(mine, [output(call, "1")], MULTIPLY, conversation=conversation.id).status)
        except openai.BadRequestError as error:
            outcomes.append(error.code or "refused")

    threads = [threading.Thread(target=answer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("completed") == 1
    assert set(outcomes) <= {"completed", "conversation_locked", "refused"}
    kept = [item.type for item in items_of(client, conversation)]
    assert kept.count("function_call_output") == 1


def test_arguments_are_written_as_a_model_writes_them():
    schema = {
        "type": "object",
        "properties": {"b": TEXT, "a": {"type": ["integer", "null"]}},
        "required": ["b", "a"],
    }

    def arguments(found=(), strict=True, parameters=schema, **given):
        return written(Call("f", given), dict(found), parameters, strict=strict)

    assert arguments(a=1, b="é") == '{"b":"é","a":1}'
    assert arguments(b="x") == '{"b":"x","a":null}'
    assert arguments(b="x", strict=False) == '{"b":"x"}'
    assert arguments(c=1, b="x", parameters=None, strict=False) == '{"c":1,"b":"x"}'
    found = {"n": "12", "t": 'a "quote"'}
    assert arguments(found, b="{n}", a="{n}") == '{"b":"12","a":12}'
    assert arguments(found, b="{t} {n} {x}", a="{t}") == r'{"b":"a \"quote\" 12 {x}","a":"a \"quote\""}'
    assert arguments(found, b=["{n}", {"k": "{t}"}]) == r'{"b":["12",{"k":"a \"quote\""}],"a":null}'
    assert arguments(b="{n}") == '{"b":"{n}","a":null}'


# -- generated sequences --------------------------------------------------------------------------------------------

TOOL_SETS = st.lists(
    st.sampled_from([MULTIPLY, CODE, WEATHER, CONVERT]), max_size=4, unique_by=lambda tool: tool["name"]
)
CHOICES = st.sampled_from(
    [
        "auto",
        "none",
        "required",
        {"type": "function", "name": "weather"},
        {"type": "function", "name": "convert"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]},
        {"type": "file_search"},
    ]
)
OUTPUTS = st.sampled_from(['{"degrees": 4}', "7 F", "TOOL-1", "", "```", '{"error": "no"}']) | st.text(
    max_size=9
)
STEP = st.fixed_dictionaries(
    {
        "say": st.sampled_from(["Two cities?", "Which tool?", "Long arguments.", "anything", None]),
        "answer": st.sampled_from(["all", "all", "all", "some", "none", "twice", "wrong"]),
        "output": OUTPUTS,
        "tools": TOOL_SETS,
        "tool_choice": CHOICES,
        "parallel_tool_calls": st.booleans(),
        "stream": st.booleans(),
        "how": st.sampled_from(["conversation", "previous", "hand", "repair"]),
        "max_output_tokens": st.none() | st.just(16),
        "text": st.sampled_from(
            [{}, {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}}]
        ),
    }
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "turns.yaml").write_text(RECORDING, encoding="utf-8")
    api = LocalAPI(recordings=folder, kernels=InProcess)
    yield Raw(api)
    api.close()


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEP, min_size=1, max_size=6))
def test_no_sequence_of_calls_and_outputs_ends_in_a_500(world, steps):
    conversation = world.post("/conversations").json()["id"]
    previous, history, calls = None, [], []
    for step in steps:
        if calls and step["how"] == "repair":
            added = world.post(
                f"/conversations/{conversation}/items", {"items": [output(call["call_id"]) for call in calls]}
            )
            assert added.status_code in {200, 400}
        amount = {"all": len(calls), "some": 1, "none": 0, "twice": len(calls), "wrong": 0}[step["answer"]]
        items = [output(call["call_id"], step["output"]) for call in calls[:amount]]
        items += items[:1] if step["answer"] == "twice" else []
        items += [output("call_wrong")] if step["answer"] == "wrong" else []
        items += [{"role": "user", "content": step["say"]}] if step["say"] else []
        body = {
            name: step[name]
            for name in ("tools", "tool_choice", "parallel_tool_calls", "stream", "max_output_tokens", "text")
        }
        if step["how"] == "previous" and previous:
            body["previous_response_id"] = previous
        elif step["how"] == "hand":
            items = [*history, *items]
        else:
            body["conversation"] = conversation
        answer = world.post("/responses", {"model": MODEL, "input": items, **body})
        assert answer.status_code in {200, 400, 404}, answer.text
        if answer.status_code != 200:
            assert answer.json()["error"]["message"]
            continue
        if step["stream"]:
            events = parse_events(answer.text)
            for event in events:
                validate_type(type_=ResponseStreamEvent, value=event)
            response = events[-1]["response"]
        else:
            response = answer.json()
        validate_type(type_=Response, value=response)
        previous, history = (
            response["id"],
            [*items, *response["output"]] if step["how"] == "hand" else history,
        )
        calls = [item for item in response["output"] if item["type"] == "function_call"]
        offered = {tool["name"] for tool in step["tools"]}
        assert {call["name"] for call in calls} <= offered
        if step["tool_choice"] == "none":
            assert calls == []
        if not step["parallel_tool_calls"]:
            assert len(calls) <= 1
    listed = world.get(f"/conversations/{conversation}/items?order=asc&limit=100").json()["data"]
    for item in listed:
        validate_type(type_=ConversationItem, value=item)
