"""A model's turn: what it is asked, and the steps that it takes.

This is the small interface behind which the model sits. Recordings are one source of turns; a chat server on this
machine can be another. Not here: where turns come from (``matching.py``, ``offline.py``) and how they become events
(``players.py``).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from helpers.local_api.items import Item, readable_text, text_of


@dataclass(frozen=True, slots=True)
class Say:
    """The model writes a message. ``annotations`` are as the API shows them, in the order of their places."""

    text: str
    annotations: list[dict[str, Any]] = dataclasses.field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Refuse:
    """The model writes a refusal instead of an answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Think:
    """What the model thinks; shown as a summary where a request asks for one."""

    text: str


@dataclass(frozen=True, slots=True)
class Search:
    """The model searches files with these queries. ``results`` are there after the search, if they are to be shown."""

    queries: list[str]
    results: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """The model runs Python code. ``prints`` is a pattern whose named groups later texts may use."""

    code: str
    prints: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """The model calls a function. ``prints`` is a pattern for its output; later texts may use its named groups."""

    name: str
    arguments: dict[str, Any]
    prints: str | None = None


@dataclass(frozen=True, slots=True)
class Calls:
    """The model calls functions, all at once if there are several, and waits for their outputs."""

    calls: list[Call]


@dataclass(frozen=True, slots=True)
class Show:
    """The offline helper shows what code printed, between two texts of its own. No recording says this.

    ``annotations`` belong to the opening; with ``refuses`` it is a refusal without the output.
    """

    opening: str
    closing: str
    annotations: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    refuses: bool = False


Step = Say | Refuse | Think | Search | Run | Calls | Show

STEP_NAMES: Final[Mapping[type[Any], str]] = {
    Say: "say",
    Refuse: "refuse",
    Think: "think",
    Search: "search",
    Run: "run",
    Calls: "call",
    Show: "show",
}
_STEP_TYPES: Final[Mapping[str, type[Any]]] = {name: kind for kind, name in STEP_NAMES.items()}


def step_to_json(step: Step) -> dict[str, Any]:
    """Return a step as JSON, to keep it with a response."""
    return {"kind": STEP_NAMES[type(step)], **dataclasses.asdict(step)}


def step_from_json(value: Mapping[str, Any]) -> Step:
    """Return the step that :func:`step_to_json` was given."""
    fields = {key: each for key, each in value.items() if key != "kind"}
    if value["kind"] == "call":
        fields["calls"] = [Call(**call) for call in fields["calls"]]
    step: Step = _STEP_TYPES[value["kind"]](**fields)
    return step


CALL: Final = "function_call"
OUTPUT: Final = "function_call_output"
# Functions of these names are not offered under them: the tools that OpenAI hosts are meant.
_HOSTED: Final = ("code_interpreter", "file_search")


@dataclass(frozen=True, slots=True)
class AnsweredCall:
    """A function call and its output, as text."""

    call_id: str
    name: str
    output: str


@dataclass(frozen=True)
class TurnRequest:
    """What a model is asked: everything that it can see.

    ``items`` are those of the conversation (or of the previous responses) and of the request, oldest first.
    """

    items: Sequence[Item]
    model: str
    instructions: str | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: Any = "auto"
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)
    text_format: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"type": "text"})
    parallel_tool_calls: bool = True

    def _last_user_index(self) -> int | None:
        places = range(len(self.items) - 1, -1, -1)
        return next((index for index in places if _is_user_message(self.items[index])), None)

    @property
    def question(self) -> str | None:
        """The last message of the user; ``None`` if there is none."""
        index = self._last_user_index()
        return None if index is None else text_of(self.items[index])

    @property
    def earlier_questions(self) -> list[str]:
        """The user's messages before the last one, oldest first."""
        return [text_of(item) for item in self.items if _is_user_message(item)][:-1]

    @property
    def since_question(self) -> Sequence[Item]:
        """The items after the last message of the user."""
        index = self._last_user_index()
        return self.items if index is None else self.items[index + 1 :]

    @functools.cached_property
    def answered_calls(self) -> list[AnsweredCall]:
        """The function calls since the last message of the user that have their output, in the order of the calls."""
        outputs = {item["call_id"]: item for item in self.since_question if item.get("type") == OUTPUT}
        return [
            AnsweredCall(item["call_id"], item["name"], readable_text(outputs[item["call_id"]]))
            for item in self.since_question
            if item.get("type") == CALL and item["call_id"] in outputs
        ]

    @functools.cached_property
    def offered_tools(self) -> frozenset[str]:
        """The names of the tools that may be used: a function's own name, else the type, such as ``"file_search"``.

        A choice of one function says which tool comes first, not that no other may follow.
        """
        if self.tool_choice == "none":
            return frozenset()
        names = frozenset(tool_name(tool) for tool in self.tools)
        if not isinstance(self.tool_choice, dict) or self.tool_choice["type"] == "function":
            return names
        allowed = self.tool_choice.get("tools", [self.tool_choice])
        return names & {tool_name(tool) for tool in allowed}

    @property
    def forced_function(self) -> str | None:
        """The function that has to be called first, if the choice names one."""
        is_function = isinstance(self.tool_choice, dict) and self.tool_choice["type"] == "function"
        return str(self.tool_choice["name"]) if is_function else None

    @property
    def must_use_tool(self) -> bool:
        """Whether the model has to use a tool now: the choice forces one, and none was used since the question."""
        choice = self.tool_choice
        mode = choice.get("mode", "required") if isinstance(choice, dict) else choice
        return mode == "required" and not self.answered_calls

    @property
    def descriptions(self) -> list[str]:
        """Descriptions of functions that may be called, and the one of the assistant, which is in the metadata."""
        offered = self.offered_tools
        texts = [tool.get("description") for tool in self.tools if tool_name(tool) in offered]
        return [text for text in (*texts, self.metadata.get("description")) if text]

    @property
    def wants_json(self) -> bool:
        """Whether the answer must be JSON."""
        return self.text_format.get("type") != "text"


def tool_name(tool: Mapping[str, Any]) -> str:
    """Return the name under which a tool is offered: a function's own, else the type."""
    if tool["type"] != "function":
        return str(tool["type"])
    return f"function {tool['name']}" if tool["name"] in _HOSTED else str(tool["name"])


def _is_user_message(item: Item) -> bool:
    return item.get("type") == "message" and item.get("role") == "user"


@dataclass(frozen=True, slots=True)
class Otherwise:
    """What the offline helper says where a recording no longer fits, and the marks that are true then."""

    show: Show
    marks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Carried:
    """What the earlier responses of a turn found, for the texts that come after the output of a function.

    Attributes:
        found: what was found in outputs, by name.
        files: the files of the container after the last code, path to id.
        plots: plots that no message has mentioned yet.
        container_id: where the code ran; empty if none did.
    """

    found: dict[str, str] = dataclasses.field(default_factory=dict)
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    plots: list[str] = dataclasses.field(default_factory=list)
    container_id: str = ""


@dataclass(frozen=True)
class Turn:
    """What a model does, and where it comes from.

    Attributes:
        steps: in order. A turn ends where a function call waits for its output.
        marks: what is said about the source in ``response.metadata``: ``workshop_source`` and its companions. Empty
            for a real model.
        otherwise: what is said instead of the rest, if code does not print what a step expects.
        refusal: why the response is refused in that case; empty if ``otherwise`` is said.
        carried: what the responses before this one found.
    """

    steps: Sequence[Step]
    marks: Mapping[str, str] = dataclasses.field(default_factory=dict)
    otherwise: Otherwise | None = None
    refusal: str = ""
    carried: Carried = dataclasses.field(default_factory=Carried)


class TurnSource(Protocol):
    """Whatever plays the model."""

    def next_turn(self, request: TurnRequest) -> Turn:
        """Return what the model does next.

        Raises:
            APIError: if this source cannot answer, in the API's own terms.
        """
        ...
