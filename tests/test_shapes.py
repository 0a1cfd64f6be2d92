"""Shapes: types and names of fields are noted, and never a value."""

import asyncio
import json

import httpx2

from helpers import connect
from helpers.shapes import Shapes, field_names
from tests.served import COMPLETED, CREATED, DELTA, body, stream_of

VALUES = ["resp_1", "gpt-6-luna", "Half an answer", "msg_1", "secret-name", "secret-value"]


def noted(path):
    return json.loads(path.read_text(encoding="utf-8"))


def answer(request):
    if request.url.path.endswith("/models"):
        return httpx2.Response(
            200, json={"object": "list", "data": [{"id": "gpt-6-luna", "object": "model"}]}
        )
    if b"stream" in request.content:
        content = stream_of(CREATED, DELTA, COMPLETED)().content
        return httpx2.Response(200, content=iter([content]), headers={"content-type": "text/event-stream"})
    return httpx2.Response(200, json={**body(), "metadata": {"secret-name": "secret-value"}})


def test_events_and_objects_are_noted_by_name_and_add_up_over_sessions(tmp_path):
    path = tmp_path / "shapes.json"
    for request in ({"stream": True}, {}):
        http = httpx2.Client(
            transport=httpx2.MockTransport(answer),
            event_hooks=Shapes(path).hooks(),
            base_url="https://api.example",
        )
        http.post("/v1/responses", json=request)
        http.get("/v1/models")
    found = noted(path)
    assert set(found["events"]) == {"response.created", "response.output_text.delta", "response.completed"}
    assert found["events"]["response.output_text.delta"] == [
        "content_index",
        "delta",
        "item_id",
        "logprobs",
        "output_index",
        "sequence_number",
        "type",
    ]
    assert set(found["objects"]) == {"list", "response"}
    assert "metadata" in found["objects"]["response"]
    text = path.read_text()
    assert [value for value in VALUES if value in text] == []


def test_an_asynchronous_client_is_noted_as_well(tmp_path):
    async def chunks():
        yield stream_of(CREATED, DELTA, COMPLETED)().content

    def answer_later(request):
        return httpx2.Response(200, content=chunks(), headers={"content-type": "text/event-stream"})

    async def main():
        http = httpx2.AsyncClient(
            transport=httpx2.MockTransport(answer_later),
            event_hooks=Shapes(tmp_path / "s.json").async_hooks(),
        )
        async with http, http.stream("POST", "https://api.example/v1/responses", json={}) as response:
            return await response.aread()

    assert asyncio.run(main())
    assert len(noted(tmp_path / "s.json")["events"]) == 3


def test_objects_of_different_types_are_kept_apart_and_what_is_somebodys_own_is_not_entered():
    value = {
        "output": [{"type": "message", "role": "user"}, {"type": "function_call", "arguments": {"mine": 1}}],
        "tools": [{"type": "function", "parameters": {"properties": {"mine": {}}}}],
        "odd": {"type": "Not A Type Name", "x": 1},
    }
    assert set(field_names(value)) == {
        "output",
        "output[]<message>.type",
        "output[]<message>.role",
        "output[]<function_call>.type",
        "output[]<function_call>.arguments",
        "tools",
        "tools[]<function>.type",
        "tools[]<function>.parameters",
        "odd",
        "odd.type",
        "odd.x",
    }


def test_a_connected_client_notes_shapes_where_it_is_told_to(tmp_path, monkeypatch, capsys):
    path = tmp_path / "shapes.json"
    monkeypatch.setenv("WORKSHOP_SHAPES", str(path))
    client = connect("recorded")
    client.conversations.create()
    assert {"model", "conversation"} <= set(noted(path)["objects"])
    path.unlink()
    monkeypatch.delenv("WORKSHOP_SHAPES")
    connect("recorded").conversations.create()
    assert not path.exists()
