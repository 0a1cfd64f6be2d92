"""Playback: the events of a response, made one at a time when they are read.

A script holds everything that the events follow from, so they can be made again: for a stream that is resumed, or by
another process that shares the state. Here is the order of the events around the items; not here: the items
themselves (``players.py``), and what is stored when (``responses.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from helpers.local_api import ids
from helpers.local_api.bodies import Body, new_body, tool_usage, usage
from helpers.local_api.errors import APIError
from helpers.local_api.players import PLAYERS, Carry, Event, RunCode, Stage, reasoning
from helpers.local_api.requests import MARKS, ResponseRequest
from helpers.local_api.turns import (
    Calls,
    Carried,
    Run,
    Search,
    Show,
    Step,
    Think,
    Turn,
    step_from_json,
    step_to_json,
)

TERMINAL: Final = frozenset({"completed", "failed", "incomplete", "cancelled"})
_STEPS: Final = ("steps", "otherwise")
TERMINAL_EVENTS: Final = frozenset({"response.completed", "response.failed", "response.incomplete"})


@dataclass(frozen=True)
class Script:
    """What the events of one response are made from. All of it can be kept as JSON.

    Attributes:
        body: the response before it begins.
        steps: what the model does.
        reasons: whether a reasoning item comes first.
        phase: whether messages carry ``phase``.
        encrypted: whether reasoning items carry ``encrypted_content``.
        obfuscation: whether deltas are padded.
        input_tokens: how many tokens the model read.
        container_id: where its code runs; empty if there is none.
        shows_outputs: whether the outputs of code are shown.
        otherwise: the one step that takes over if code does not print what is expected.
        other_marks: what is true of the source then.
        carried: what the responses before this one found.
    """

    body: Body
    steps: list[Step]
    reasons: bool
    phase: bool
    encrypted: bool
    obfuscation: bool
    input_tokens: int
    container_id: str = ""
    shows_outputs: bool = False
    otherwise: list[Step] = dataclasses.field(default_factory=list)
    other_marks: dict[str, str] = dataclasses.field(default_factory=dict)
    carried: Carried = dataclasses.field(default_factory=Carried)

    def to_json(self) -> dict[str, Any]:
        """Return the script as JSON."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in _STEPS:
            fields[name] = [step_to_json(step) for step in fields[name]]
        return {**fields, "carried": dataclasses.asdict(self.carried)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Script:
        """Return the script that :meth:`to_json` was asked of."""
        steps = {name: [step_from_json(step) for step in value.get(name, [])] for name in _STEPS}
        return cls(**{**value, **steps, "carried": Carried(**value.get("carried", {}))})


def write_script(
    request: ResponseRequest,
    turn: Turn,
    response_id: str,
    created_at: int,
    input_tokens: int,
    container_id: str = "",
) -> Script:
    """Return the script for a turn that answers a request."""
    # A background stream is not padded unless somebody asks (tests/data/real-streams/background_resume.json).
    usual = not request.background
    return Script(
        body=new_body(request, response_id, created_at, turn.marks),
        steps=list(turn.steps),
        reasons=request.effort not in (None, "none"),
        phase=request.model.has_phase,
        encrypted="reasoning.encrypted_content" in request.include,
        obfuscation=usual if request.obfuscation is None else request.obfuscation,
        input_tokens=input_tokens,
        container_id=container_id,
        shows_outputs="code_interpreter_call.outputs" in request.include,
        otherwise=[turn.otherwise.show] if turn.otherwise else [],
        other_marks=dict(turn.otherwise.marks) if turn.otherwise else {},
        carried=turn.carried,
    )


def play(
    script: Script,
    *,
    obfuscation: bool | None = None,
    run_code: RunCode | None = None,
    carry: Carry | None = None,
) -> Iterator[Event]:
    """Yield the events of a response, numbered from 0.

    Args:
        script: what to play.
        obfuscation: whether to pad the deltas; ``None`` for what the script says.
        run_code: runs the code of ``run`` steps; what ran before is not run again.
        carry: keeps what was found until a function call.
    """
    padded = script.obfuscation if obfuscation is None else obfuscation
    for number, event in enumerate(_events(script, padded, run_code, carry)):
        yield {**event, "sequence_number": number}


def _events(script: Script, padded: bool, run_code: RunCode | None, carry: Carry | None) -> Iterator[Event]:
    body, carried = script.body, script.carried
    stage = Stage(
        response_id=body["id"],
        shows_phase=script.phase,
        shows_summary=body["reasoning"]["summary"] is not None,
        shows_encrypted=script.encrypted,
        noise=ids.Noise(body["id"]) if padded else None,
        tokens_left=body["max_output_tokens"],
        run_code=run_code,
        container_id=script.container_id or carried.container_id,
        shows_outputs=script.shows_outputs,
        found=dict(carried.found),
        files=dict(carried.files),
        plots=list(carried.plots),
        tools=body["tools"],
        carry=carry,
        form=body["text"]["format"] if script.otherwise else None,
    )
    yield {"type": "response.created", "response": body}
    if body["background"]:
        yield {"type": "response.queued", "response": body}
    yield {"type": "response.in_progress", "response": {**body, "status": "in_progress"}}
    try:
        yield from _items(script, stage)
    except APIError as error:
        yield {"type": "response.failed", "response": failed_body(body, "server_error", error.message)}
        return
    status = "incomplete" if stage.is_cut else "completed"
    if stage.mismatch and script.otherwise:
        own = {key: value for key, value in body["metadata"].items() if key not in MARKS}
        body = {**body, "metadata": {**own, **script.other_marks}}
    final: Body = {
        **body,
        "status": status,
        "service_tier": "default",
        "output": stage.output,
        "tool_usage": tool_usage(),
        "usage": usage(script.input_tokens + stage.tokens_read, stage.output_tokens, stage.reasoning_tokens),
    }
    if stage.is_cut:
        final["incomplete_details"] = {"reason": "max_output_tokens"}
    yield {"type": f"response.{status}", "response": final}


def _items(script: Script, stage: Stage) -> Iterator[Event]:
    steps = list(enumerate(script.steps))
    if script.reasons:
        thought = ""
        if steps and isinstance(steps[0][1], Think):
            thought, steps = steps[0][1].text, steps[1:]
        yield from reasoning(stage, thought)
    while steps:
        (stage.position, step), *steps = steps
        if isinstance(step, Think) and not script.reasons:
            continue
        if stage.tokens_left == 0:
            stage.is_cut = True
        if stage.is_cut:
            return
        yield from PLAYERS[type(step)](stage, step, not steps)
        if stage.mismatch and not isinstance(step, Show):
            # From here on the recording would tell of something that did not happen.
            steps = [(-1, each) for each in script.otherwise] or steps
        if script.reasons and steps and _thinks_between(step, steps[0][1]):
            yield from reasoning(stage, "")


def _thinks_between(step: Step, following: Step) -> bool:
    """Return whether a model that reasons does so between two steps, as live."""
    if isinstance(following, Think):
        return False
    if isinstance(step, Search):
        return True
    # After code it reasons before it uses the next tool (tests/data/real-streams/code_interpreter_image.json).
    return isinstance(step, Run) and isinstance(following, Search | Run | Calls)


def failed_body(body: Body, code: str, message: str) -> Body:
    """Return the body of a response that ended with an error."""
    return {**body, "status": "failed", "output": [], "error": {"code": code, "message": message}}
