"""A server that gives answers one after another, and the events that they are made of."""

from __future__ import annotations

import json

import httpx2
import openai

KEY = "sk-planted-0123456789"


def served(*answers):
    """A client whose server gives these answers, one after another (the last one for ever)."""
    waiting = list(answers)
    requests = []

    def handler(request):
        requests.append(request)
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    client = openai.OpenAI(
        api_key=KEY, max_retries=0, http_client=httpx2.Client(transport=httpx2.MockTransport(handler))
    )
    return client, requests


def problem(status, code, message="Something."):
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return lambda: httpx2.Response(status, json=body)


def stream_of(*events):
    data = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
    return lambda: httpx2.Response(200, content=data.encode(), headers={"content-type": "text/event-stream"})


def body(status="completed", id="resp_1", **more):
    return {"id": id, "object": "response", "status": status, "model": "gpt-6-luna", "output": [], **more}


CREATED = {"type": "response.created", "sequence_number": 0, "response": body("in_progress")}
DELTA = {
    "type": "response.output_text.delta",
    "sequence_number": 1,
    "item_id": "msg_1",
    "output_index": 0,
    "content_index": 0,
    "delta": "Half an answer",
    "logprobs": [],
}
COMPLETED = {"type": "response.completed", "sequence_number": 2, "response": body()}


def message(text, *, pieces=4, item="msg_1", place=0, first=2):
    """The events of a message, in ``pieces`` pieces of about the same length."""
    size = -(-len(text) // pieces)
    part = {"type": "output_text", "text": "", "annotations": []}
    done = {
        "id": item,
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{**part, "text": text}],
    }
    about = {"item_id": item, "output_index": place, "content_index": 0}
    events = [
        {
            "type": "response.output_item.added",
            "output_index": place,
            "item": {**done, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **about, "part": part},
        *(
            {"type": "response.output_text.delta", **about, "delta": text[at : at + size], "logprobs": []}
            for at in range(0, len(text), size)
        ),
        {"type": "response.output_text.done", **about, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **about, "part": {**part, "text": text}},
        {"type": "response.output_item.done", "output_index": place, "item": done},
    ]
    return numbered(events, first), done


def call(name, arguments, call_id="call_1", *, place=0, first=2):
    """The events of a function call."""
    item = {
        "id": f"fc_{call_id}",
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": "completed",
    }
    about = {"item_id": item["id"], "output_index": place}
    half = len(arguments) // 2
    events = [
        {
            "type": "response.output_item.added",
            "output_index": place,
            "item": {**item, "arguments": "", "status": "in_progress"},
        },
        {"type": "response.function_call_arguments.delta", **about, "delta": arguments[:half]},
        {"type": "response.function_call_arguments.delta", **about, "delta": arguments[half:]},
        {"type": "response.function_call_arguments.done", **about, "arguments": arguments},
        {"type": "response.output_item.done", "output_index": place, "item": item},
    ]
    return numbered(events, first), item


def numbered(events, first=0):
    return [{**event, "sequence_number": number} for number, event in enumerate(events, first)]


def response(*parts, id="resp_1", usage=(10, 5), status="completed", **more):
    """All events of a response that consists of these parts."""
    events, output = [], []
    for part_events, item in parts:
        events += part_events
        output.append(item)
    read, written = usage
    tokens = {
        "input_tokens": read,
        "output_tokens": written,
        "total_tokens": read + written,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    begin = [
        {"type": "response.created", "response": body("in_progress", id)},
        {"type": "response.in_progress", "response": body("in_progress", id)},
    ]
    end = {
        "type": f"response.{status}",
        "response": {**body(status, id, **more), "output": output, "usage": tokens},
    }
    return numbered([*begin, *events, end])


def sent(request):
    """The JSON body of a request."""
    return json.loads(request.content)
