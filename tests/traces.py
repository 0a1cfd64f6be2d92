"""Runs to make traces of: real recordings, short synthetic streams, and a clock that a test moves."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from helpers.functions import FunctionResult
from helpers.trace import Trace

STREAMS = Path(__file__).parent / "data" / "real-streams"
KEY = "sk-planted-0123456789abcdef"


class Clock:
    """A clock that goes on by ``step_s`` seconds whenever it is looked at, or as a test moves it."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.now_s = 1000.0
        self.step_s = step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


def recorded(name, number=0, model="gpt-6-luna"):
    """Return the events of the n-th stream of a real recording, as if ``model`` had answered."""
    bodies = [
        exchange["response"]["body"]
        for exchange in json.loads((STREAMS / f"{name}.json").read_text(encoding="utf-8"))
    ]
    events = [body["sse"] for body in bodies if "sse" in body][number]
    if model is not None:
        events = json.loads(json.dumps(events))
        for event in events:
            if "response" in event:
                event["response"]["model"] = model
    return events


def trace_of(*streams, step_s=0.01, question="What is GPT-2?", assistant="Tutor"):
    trace = Trace(question=question, assistant=assistant, clock=Clock(step_s))
    for event in itertools.chain(*streams):
        trace.add(event)
    return trace


def response(status, id="resp_1", **more):
    return {"id": id, "object": "response", "status": status, "model": "gpt-6-luna", "output": [], **more}


def event(kind, **more):
    return {"type": f"response.{kind}", **more}


def usage(read, written, cached=0, reasoning=0):
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": read + written,
    }


def message_events(*pieces, id="resp_1", tokens=None, **more):
    """Return the events of a short streamed answer; without ``tokens`` it has no end."""
    at = {"item_id": "msg_1", "output_index": 0}
    events = [
        event("created", response=response("in_progress", id, **more)),
        event("in_progress", response=response("in_progress", id, **more)),
        event("output_item.added", output_index=0, item={"type": "message", "id": "msg_1"}),
        *(event("output_text.delta", delta=piece, **at) for piece in pieces),
    ]
    if tokens is not None:
        done = {"type": "message", "id": "msg_1", "status": "completed"}
        events.append(event("output_item.done", output_index=0, item=done))
        events.append(event("completed", response=response("completed", id, usage=tokens, **more)))
    return events


def call_events(*names, id="resp_1", tokens=None):
    """Return the events of a response that asks for a call of each of ``names``, with 16 characters of arguments."""
    begun = response("in_progress", id)
    events = [event("created", response=begun), event("in_progress", response=begun)]
    for index, name in enumerate(names):
        item_id = f"fc_{id}_{index}"
        item = {"type": "function_call", "id": item_id, "call_id": f"call_{id}_{index}", "name": name}
        events.append(event("output_item.added", output_index=index, item={**item, "arguments": ""}))
        events += [
            event("function_call_arguments.delta", output_index=index, item_id=item_id, delta=piece)
            for piece in ('{"a":', ' 7, "b"', ": 6}")
        ]
        done = {**item, "arguments": '{"a": 7, "b": 6}', "status": "completed"}
        events.append(event("output_item.done", output_index=index, item=done))
    return [*events, event("completed", response=response("completed", id, usage=tokens or usage(100, 20)))]


def result(name, duration_ms=120.0, status="done", error="", output="42", **more):
    """Return what came of a call of ``name``."""
    return FunctionResult(
        call_id=f"call_{name}",
        name=name,
        arguments='{"a": 7, "b": 6}',
        output=output,
        status=status,
        error=error,
        duration_ms=duration_ms,
        **more,
    )


def relabelled(events, id):
    """Return the events as if they belonged to another response."""
    events = json.loads(json.dumps(events))
    for one in events:
        if "response" in one:
            one["response"]["id"] = id
    return events


def function_run(*results, names=("multiply",), waited_s=0.5, handler="FunctionCallingHandler"):
    """Return the trace of a run that calls functions, gives their results, and answers."""
    trace = Trace(question="What is 7 times 6?", assistant="Tutor", clock=Clock(0.01), handler=handler)
    for one in call_events(*names):
        trace.add(one)
    trace._clock.now_s += waited_s
    for one in results or (result("multiply", 480),):
        trace.add_function(one)
    for one in message_events("Forty", "-two", id="resp_2", tokens=usage(130, 12)):
        trace.add(one)
    return trace


def loop(rounds, *, limit=True):
    """Return the trace of a model that wants to search for ever, stopped after so many rounds."""
    trace = Trace(question="Go on for ever", assistant="Tutor", clock=Clock(0.01))
    for number in range(rounds):
        for one in call_events("web_search", id=f"resp_{number}"):
            trace.add(one)
        trace._clock.now_s += 0.1
        trace.add_function(result("web_search", 90))
    if limit:
        trace.note("Limit reached", f"max_rounds={rounds}: the answer is not complete")
    return trace


def cut_and_resumed():
    """Return the trace of a real background stream, cut after three pieces of text and taken up again."""
    trace = Trace(question="What is 7 times 6?", clock=Clock(0.01))
    events = recorded("background_resume")
    for one in events[:8]:
        trace.add(one)
    trace.note("Cut off", "the connection was lost")
    trace.note("Resuming", "after event 7")
    for one in events[8:]:
        trace.add(one)
    return trace
