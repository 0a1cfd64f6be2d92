"""Players: what turns each step of a turn into items and events.

Here live the players of messages, refusals and thinking. A room for search, code or functions adds its own to
``PLAYERS``; a step without a player is refused before a response begins. Not here: the events around a whole
response (``playback.py``).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from helpers.local_api import ids
from helpers.local_api.errors import not_built_yet
from helpers.local_api.tokens import cut, estimate, pieces
from helpers.local_api.turns import STEP_NAMES, Carried, Refuse, Say, Think

Event = dict[str, Any]


@dataclass(frozen=True)
class CodeRun:
    """What came of the code of one step. All of it can be kept as JSON.

    Attributes:
        logs: all that it printed.
        outputs: images and logs, as the API shows them.
        files: the id of each file in the folder then, by its path.
        plots: the ids of the plots that it showed, which are files as well.
        broken: whether a limit ended it, or its kernel died.
    """

    logs: str
    outputs: list[dict[str, str]]
    files: dict[str, str]
    plots: list[str]
    broken: bool = False


RunCode = Callable[[str, int, str, str], CodeRun]
"""Runs code: called with a response's id, the place of the step in it, a container's id, and the code."""

Carry = Callable[[str, Carried], None]
"""Keeps what was found until a function call for the response after it: called with the call's id."""


@dataclass
class Stage:
    """Where a response is being made: what players need to know, and the items that they have made so far.

    Attributes:
        response_id: whose items these are.
        shows_phase: whether messages say ``commentary`` or ``final_answer``.
        shows_summary: whether thinking is shown as a summary.
        shows_encrypted: whether reasoning items carry ``encrypted_content``.
        noise: pads the deltas; ``None`` for none.
        tokens_left: how many output tokens may still be made; ``None`` for no limit.
        run_code: runs code in the container ``container_id``.
        shows_outputs: whether the outputs of code are shown in the items.
        position: which of the response's steps is played.
        printed: what the last code printed.
        found: what was found in the output of code, by name.
        files: the files of the container after the last code, path to id.
        plots: plots that no message has mentioned yet.
        mismatch: whether the last code did not print what its step expects, or the answer does not fit because of it.
        tokens_read: how many further tokens the model read on the way.
        tools: the tools of the request.
        carry: keeps what was found until a function call.
        form: the form of an answer that is filled in here and must fit then; ``None`` if no answer has to be looked at.
    """

    response_id: str
    shows_phase: bool = False
    shows_summary: bool = False
    shows_encrypted: bool = False
    noise: ids.Noise | None = None
    tokens_left: int | None = None
    run_code: RunCode | None = None
    container_id: str = ""
    shows_outputs: bool = False
    position: int = 0
    printed: str = ""
    found: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    plots: list[str] = field(default_factory=list)
    mismatch: bool = False
    tokens_read: int = 0
    tools: Sequence[Mapping[str, Any]] = ()
    carry: Carry | None = None
    form: Mapping[str, Any] | None = None
    output: list[dict[str, Any]] = field(default_factory=list)
    output_tokens: int = 0
    reasoning_tokens: int = 0
    is_cut: bool = False

    @property
    def carried(self) -> Carried:
        """What was found until now."""
        return Carried(dict(self.found), dict(self.files), list(self.plots), self.container_id)

    def new_item(self, prefix: str, **fields: Any) -> dict[str, Any]:
        """Return a new item with its id; it joins the output when it is done."""
        return {"id": ids.within(self.response_id, prefix, len(self.output)), **fields}

    def added(self, item: Mapping[str, Any]) -> Event:
        """Return the event that announces an item."""
        return {"type": "response.output_item.added", "output_index": len(self.output), "item": item}

    def done(self, item: dict[str, Any]) -> Event:
        """Put a finished item into the output and return the event for it."""
        event = {"type": "response.output_item.done", "output_index": len(self.output), "item": item}
        self.output.append(item)
        return event

    def about(self, item: Mapping[str, Any], kind: str, **fields: Any) -> Event:
        """Return an event about the item that is being made."""
        return {"type": kind, "item_id": item["id"], "output_index": len(self.output), **fields}

    def padded(self, event: Event) -> Event:
        """Return a delta with its obfuscation, if there is to be one."""
        if self.noise:
            event["obfuscation"] = self.noise.beside(event["delta"])
        return event

    def spend(self, text: str) -> str:
        """Return what of ``text`` may still be written, and count its tokens."""
        kept = text if self.tokens_left is None else cut(text, self.tokens_left)
        if len(kept) < len(text):
            self.is_cut = True
        tokens = estimate(kept)
        self.output_tokens += tokens
        if self.tokens_left is not None:
            self.tokens_left -= tokens
        return kept


def reasoning(stage: Stage, thought: str) -> Iterator[Event]:
    """Play a reasoning item, with a summary if there is a thought and somebody asked for it."""
    before = stage.output_tokens
    thought = stage.spend(thought)
    stage.reasoning_tokens += stage.output_tokens - before
    item = stage.new_item("rs", type="reasoning", summary=[])
    if stage.shows_encrypted:
        # Opaque, as live, and there is nothing in it.
        digest = hashlib.sha512(item["id"].encode()).digest()
        item["encrypted_content"] = f"gAAAAA{base64.urlsafe_b64encode(digest).decode()}"
    yield stage.added(dict(item))
    if thought and stage.shows_summary:
        part = {"type": "summary_text", "text": ""}
        yield stage.about(item, "response.reasoning_summary_part.added", summary_index=0, part=part)
        for piece in pieces(thought):
            delta = stage.about(item, "response.reasoning_summary_text.delta", summary_index=0, delta=piece)
            yield stage.padded(delta)
        part = {"type": "summary_text", "text": thought}
        yield stage.about(item, "response.reasoning_summary_text.done", summary_index=0, text=thought)
        yield stage.about(item, "response.reasoning_summary_part.done", summary_index=0, part=part)
        item["summary"] = [part]
    yield stage.done(item)


def _think(stage: Stage, step: Think, is_last: bool) -> Iterator[Event]:
    return reasoning(stage, step.text)


def message(
    stage: Stage,
    text: str,
    is_last: bool,
    annotations: Sequence[dict[str, Any]] = (),
    closing: Sequence[dict[str, Any]] = (),
) -> Iterator[Event]:
    """Play a message: ``annotations`` at their places, ``closing`` ones after the last delta, both as live."""
    extra: dict[str, Any] = {"annotations": [], "logprobs": []}
    return _message(stage, text, is_last, "output_text", "text", extra, annotations, closing)


def refusal(stage: Stage, text: str, is_last: bool) -> Iterator[Event]:
    """Play a refusal."""
    return _message(stage, text, is_last, "refusal", "refusal", {})


def _say(stage: Stage, step: Say, is_last: bool) -> Iterator[Event]:
    return message(stage, step.text, is_last, step.annotations)


def _refuse(stage: Stage, step: Refuse, is_last: bool) -> Iterator[Event]:
    return refusal(stage, step.text, is_last)


def _message(
    stage: Stage,
    text: str,
    is_last: bool,
    kind: str,
    field_name: str,
    extra: dict[str, Any],
    annotations: Sequence[dict[str, Any]] = (),
    closing: Sequence[dict[str, Any]] = (),
) -> Iterator[Event]:
    text = stage.spend(text)
    # An annotation belongs to what was written before it.
    annotations = [each for each in annotations if each["index"] <= len(text)]
    closing = [each for each in closing if each["end_index"] <= len(text)]
    phase = {"phase": "final_answer" if is_last else "commentary"} if stage.shows_phase else {}
    item = stage.new_item("msg", type="message", status="in_progress", content=[], **phase, role="assistant")
    # Only texts carry logprobs, in the part and in each event about it.
    logprobs: dict[str, Any] = {"logprobs": []} if kind == "output_text" else {}
    yield stage.added(dict(item))

    def about(event: str, **fields: Any) -> Event:
        return stage.about(item, f"response.{event}", content_index=0, **fields)

    yield about("content_part.added", part={"type": kind, field_name: "", **extra})
    start = 0
    for number, annotation in enumerate([*annotations, None]):
        end = len(text) if annotation is None else annotation["index"]
        for piece in pieces(text[start:end]):
            yield stage.padded(about(f"{kind}.delta", delta=piece, **logprobs))
        start = end
        if annotation is not None:
            yield about(f"{kind}.annotation.added", annotation_index=number, annotation=annotation)
    for number, annotation in enumerate(closing, len(annotations)):
        yield about(f"{kind}.annotation.added", annotation_index=number, annotation=annotation)
    annotations = [*annotations, *closing]
    part = {"type": kind, field_name: text, **extra}
    if annotations:
        part["annotations"] = annotations
    yield about(f"{kind}.done", **{field_name: text}, **logprobs)
    yield about("content_part.done", part=part)
    yield stage.done({**item, "status": "incomplete" if stage.is_cut else "completed", "content": [part]})


Player = Callable[[Stage, Any, bool], Iterator[Event]]

PLAYERS: Final[dict[type[Any], Player]] = {Say: _say, Refuse: _refuse, Think: _think}
"""What plays each kind of step: called with the stage, the step, and whether it is the last one. Rooms add theirs."""


def check_playable(steps: list[Any]) -> None:
    """Refuse steps that no room plays yet, before anything was begun."""
    for step in steps:
        if type(step) not in PLAYERS:
            raise not_built_yet(f"A recorded `{STEP_NAMES[type(step)]}` step")
