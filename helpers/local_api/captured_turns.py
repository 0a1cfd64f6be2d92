"""Captured turns: what a model did, read off the requests and answers that passed between a client and an API.

Here live the memory of conversations and responses (who asked what, after what), and the change from output items to
steps. A turn that needs several responses, because functions were called, becomes one. Not here: how a turn is told
apart from others with the same question (``captured_keys.py``), and the files (``captures.py``).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

from helpers.local_api.citing import citations, with_annotations
from helpers.local_api.items import Item, user_message
from helpers.local_api.turns import (
    CALL,
    OUTPUT,
    Call,
    Calls,
    Refuse,
    Run,
    Say,
    Search,
    Step,
    Think,
    TurnRequest,
)

TERMINAL: Final = ("completed", "failed", "incomplete", "cancelled")
_END_OF_TIME_S: Final = 2**32
_NO_STEP: Final = "it used {kind}, for which recordings have no step"
_BRACKETS: Final = (
    "its text holds [{name}], which a recording would take for a citation: write this one by hand"
)
# Where a notebook's own folder is the folder of the code, these paths are not needed; without bubblewrap they lead nowhere.
_MOUNTED: Final = re.compile(r"(?<=[\"'])/mnt/data/(?=[^\"'])")
_MOUNT: Final = re.compile(r"(?<=[\"'])/mnt/data/?(?=[\"'])")


class Unrecordable(Exception):
    """This turn cannot be written as a recording; the message says why, as half a sentence."""


@dataclass
class CapturedTurn:
    """A question, and all that a model did until its answer was complete.

    Attributes:
        requests: what was asked in each of its responses, with everything that the model could see.
        model: the model, as the API named it.
        date: the day of its first response, in UTC.
        steps: in order.
        outputs: what the code of a step printed, and what a function gave back: by the place of the step, and the
            place of the call among those of its step.
        waiting: the ids of the calls whose outputs are still to come.
    """

    requests: list[TurnRequest]
    model: str
    date: str
    steps: list[Step] = field(default_factory=list)
    outputs: dict[tuple[int, int], str] = field(default_factory=dict)
    waiting: tuple[str, ...] = ()

    @property
    def ask(self) -> str:
        """The question."""
        return self.requests[0].question or ""

    @property
    def earlier(self) -> list[str]:
        """The questions before it in the conversation, oldest first, without those that say nothing."""
        return [text for text in self.requests[0].earlier_questions if text.strip()]

    @property
    def offered(self) -> frozenset[str]:
        """The tools that were offered when the question was asked."""
        return self.requests[0].offered_tools

    @property
    def used(self) -> frozenset[str]:
        """The tools that its steps need."""
        found: set[str] = set()
        for step in self.steps:
            if isinstance(step, Search):
                found.add("file_search")
            elif isinstance(step, Run):
                found.add("code_interpreter")
            elif isinstance(step, Calls):
                found.update(call.name for call in step.calls)
        return frozenset(found)


@dataclass
class _Asked:
    """A request for a response, and what came before it."""

    request: TurnRequest
    own_items: list[Item]
    conversation_id: str | None
    context_is_known: bool
    ended: bool = False
    items: list[Item] = field(default_factory=list)


class Conversations:
    """Hears requests and answers, and makes turns of them.

    It remembers what it heard of each conversation, because a request holds only what is new in it.

    Args:
        on_turn: gets each turn when it is complete.
        on_miss: gets the question and the reason (half a sentence) of each turn that will not be recorded.
        lock: is held while something is heard; the two above are called with it.
    """

    def __init__(
        self,
        on_turn: Callable[[CapturedTurn], None],
        on_miss: Callable[[str, str], None],
        lock: AbstractContextManager[Any],
    ) -> None:
        self._on_turn = on_turn
        self._on_miss = on_miss
        self._conversations: dict[str, list[Item]] = {}
        self._asked: dict[str, _Asked] = {}
        self._calls: dict[str, CapturedTurn] = {}
        self._answered: set[str] = set()
        self._lock = lock

    def heard(
        self, method: str, path: Sequence[str], request: Mapping[str, Any], body: Mapping[str, Any]
    ) -> None:
        """Hear a request and its answer (see ``helpers.recording.Listener``)."""
        with self._lock:
            if path[0] == "conversations":
                self._heard_of_conversation(method, path, request, body)
            elif body.get("object") == "response" and isinstance(body.get("id"), str):
                if method == "POST" and len(path) == 1 and body["id"] not in self._asked:
                    self._asked[body["id"]] = self._read_request(request)
                if body.get("status") in TERMINAL:
                    self._end(body["id"], body)

    def missed(self, path: Sequence[str], request: Mapping[str, Any], response_id: str, why: str) -> None:
        """Hear that an answer did not come to its end."""
        with self._lock:
            asked = self._asked.get(response_id)
            if asked is None and request:
                asked = self._read_request(request)
            # A background response goes on without its stream: it is complete when somebody asks for it.
            if asked is None or asked.ended or (response_id and request.get("background")):
                return
            if response_id and not request:
                return  # a background response that is streamed again
            asked.ended = True
            self._miss(asked.request, why)

    def unanswered(self) -> list[CapturedTurn]:
        """Return the turns whose function calls got no output so far."""
        with self._lock:
            waiting = [turn for call_id, turn in self._calls.items() if call_id not in self._answered]
            return list({id(turn): turn for turn in waiting}.values())

    # -- conversations ------------------------------------------------------------------------------------------

    def _heard_of_conversation(
        self, method: str, path: Sequence[str], request: Mapping[str, Any], body: Mapping[str, Any]
    ) -> None:
        conversation_id = path[1] if len(path) > 1 else str(body.get("id"))
        if method == "POST" and len(path) == 1:
            self._conversations[conversation_id] = plain_items(request.get("items") or [])
        elif conversation_id not in self._conversations:
            return
        elif method == "POST" and path[2:] == ("items",):
            # The answer holds the same items, and their ids.
            added = body.get("data") or request.get("items") or []
            self._conversations[conversation_id] += plain_items(added)
        elif method == "DELETE" and len(path) == 4:
            kept = [item for item in self._conversations[conversation_id] if item.get("id") != path[3]]
            self._conversations[conversation_id] = kept

    # -- responses ----------------------------------------------------------------------------------------------

    def _read_request(self, request: Mapping[str, Any]) -> _Asked:
        conversation = request.get("conversation")
        if isinstance(conversation, Mapping):
            conversation = conversation.get("id")
        previous = request.get("previous_response_id")
        context: list[Item] | None = []
        if isinstance(conversation, str):
            context = self._conversations.get(conversation)
        elif isinstance(previous, str):
            context = self._asked[previous].items if previous in self._asked else None
        own = plain_items(request.get("input") or [])
        instructions = request.get("instructions")
        read = TurnRequest(
            items=[*(context or []), *own],
            model=str(request.get("model")),
            instructions=instructions if instructions and isinstance(instructions, str) else None,
            tools=_tools(request.get("tools")),
            tool_choice=_tool_choice(request.get("tool_choice")),
            metadata={
                name: text
                for name, text in _mapping(request.get("metadata")).items()
                if isinstance(text, str)
            },
            text_format=_mapping(_mapping(request.get("text")).get("format")) or {"type": "text"},
            parallel_tool_calls=request.get("parallel_tool_calls") is not False,
        )
        conversation_id = conversation if isinstance(conversation, str) else None
        return _Asked(read, own, conversation_id, context_is_known=context is not None)

    def _end(self, response_id: str, body: Mapping[str, Any]) -> None:
        asked = self._asked.get(response_id)
        if asked is None or asked.ended:
            return
        asked.ended = True
        status = body["status"]
        if status in ("completed", "incomplete"):
            new = [*asked.own_items, *plain_items(body.get("output") or [])]
            asked.items = [*asked.request.items, *new[len(asked.own_items) :]]
            if asked.conversation_id in self._conversations:
                self._conversations[asked.conversation_id] += new
        if status != "completed":
            details = _mapping(body.get("incomplete_details")) or _mapping(body.get("error"))
            reason = details.get("reason") or details.get("code")
            self._miss(asked.request, f"the response is {status}" + (f" ({reason})" if reason else ""))
            return
        try:
            self._continue_turn(asked, body)
        except Unrecordable as error:
            self._miss(asked.request, str(error))

    def _continue_turn(self, asked: _Asked, body: Mapping[str, Any]) -> None:
        request = asked.request
        if not request.question:
            known = "" if asked.context_is_known else ": its conversation was begun before the recording"
            raise Unrecordable(f"no message of a user was seen before it{known}")
        source = str(_mapping(body.get("metadata")).get("workshop_source", ""))
        if source == "offline helper":
            raise Unrecordable("the offline helper answered, and no model")
        turn = self._turn_for(request, body, source)
        steps, printed, waiting = steps_of(_dicts(body.get("output")))
        turn.outputs |= {(len(turn.steps) + place, 0): text for place, text in printed.items()}
        turn.steps += steps
        turn.waiting = waiting
        if waiting:
            self._calls |= dict.fromkeys(waiting, turn)
        elif not turn.steps or not isinstance(turn.steps[-1], Say | Refuse):
            raise Unrecordable("the answer holds no text")
        else:
            self._on_turn(turn)

    def _turn_for(self, request: TurnRequest, body: Mapping[str, Any], source: str) -> CapturedTurn:
        """Return the turn that a response goes on with, or a new one."""
        since = _since_question(request)
        outputs = {item["call_id"]: item["output"] for item in since if item["type"] == OUTPUT}
        if not outputs:
            if any(_holds_more_than_text(item) for item in since[:1]):
                raise Unrecordable("its question holds more than text")
            # Whoever pretends to be OpenAI here is named, so that nobody takes its words for a model's.
            own = f"{body.get('model')} of the recorded API, not OpenAI's"
            model = own if source else str(body.get("model"))
            return CapturedTurn([request], model, _day(body.get("created_at")))
        found = [turn for call_id, turn in self._calls.items() if call_id in outputs]
        # The last calls are the ones that this response goes on from; earlier ones have their outputs already.
        before = found[-1] if found else None
        if before is None or not set(before.waiting) <= set(outputs):
            raise Unrecordable("the function calls that it goes on from were not recorded")
        self._answered.update(before.waiting)
        # A copy: the same outputs can be sent again, and the model can go on in another way.
        return dataclasses.replace(
            before,
            requests=[*before.requests, request],
            steps=list(before.steps),
            outputs=before.outputs
            | {
                (len(before.steps) - 1, place): outputs[call_id]
                for place, call_id in enumerate(before.waiting)
            },
            waiting=(),
        )

    def _miss(self, request: TurnRequest, why: str) -> None:
        self._on_miss(request.question or "(no question)", why)


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is, and anything else as an empty one: what passes here is not ours to refuse."""
    return value if isinstance(value, Mapping) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list, and nothing of what is none."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _tools(tools: Any) -> list[dict[str, Any]]:
    """Return the tools of a request, those of chat completions in the form that they have here."""
    found = [tool for tool in _dicts(tools) if isinstance(tool.get("type"), str)]
    nested = [tool["function"] if isinstance(tool.get("function"), dict) else {} for tool in found]
    flat = [{**inner, **tool} for inner, tool in zip(nested, found, strict=True)]
    for tool in flat:
        if not isinstance(tool.get("description"), str):
            tool.pop("description", None)
    return [tool for tool in flat if tool["type"] != "function" or isinstance(tool.get("name"), str)]


def _tool_choice(choice: Any) -> Any:
    """Return the choice as it is, if matching can read it, else ``"auto"``."""
    if not isinstance(choice, dict):
        return choice or "auto"
    if choice.get("type") == "allowed_tools":
        return {**choice, "tools": _tools(choice.get("tools"))}
    return choice if _tools([choice]) else "auto"


def _since_question(request: TurnRequest) -> list[Item]:
    """Return the items from the last message of the user on."""
    users = [index for index, item in enumerate(request.items) if item.get("role") == "user"]
    return list(request.items[users[-1] :]) if users else []


def _day(created_at: Any) -> str:
    """Return the day of a time in seconds since 1970; today if it is no time that a response can have."""
    is_time = isinstance(created_at, int | float) and 0 <= created_at < _END_OF_TIME_S
    moment = dt.datetime.fromtimestamp(created_at, dt.UTC) if is_time else dt.datetime.now(dt.UTC)
    return moment.date().isoformat()


def _output_text(output: Any) -> str:
    """Return the text of a function's output, which is a text or a list of parts."""
    if isinstance(output, str):
        return output
    return "\n".join(str(part["text"]) for part in _dicts(output) if "text" in part)


# -- items ----------------------------------------------------------------------------------------------------------


def plain_items(value: Any) -> list[Item]:
    """Return what was sent or answered as items, in the long form, with only what a recording needs.

    Example:
        >>> plain_items("Hello")[0]["content"]
        [{'type': 'input_text', 'text': 'Hello'}]
    """
    if isinstance(value, str):
        return [user_message(value, "")]
    items = []
    for item in _dicts(value):
        if "role" in item:
            content = item.get("content")
            parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else _dicts(content)
            items.append(
                {"type": "message", "role": item["role"], "id": item.get("id"), "content": _texts(parts)}
            )
        elif item.get("type") == CALL:
            names = {name: str(item.get(name, "")) for name in ("call_id", "name", "arguments")}
            items.append({"type": CALL, "id": item.get("id"), **names})
        elif item.get("type") == OUTPUT:
            text = _output_text(item.get("output"))
            items.append({"type": OUTPUT, "call_id": str(item.get("call_id", "")), "output": text})
        else:
            items.append({"type": str(item.get("type")), "id": item.get("id")})
    return items


def _texts(parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"type": part.get("type", "input_text"), "text": clean(part.get("text", part.get("refusal", "")))}
        for part in parts
    ]


def _holds_more_than_text(item: Item) -> bool:
    return any(part["type"] not in ("input_text", "output_text", "refusal") for part in item["content"])


def clean(text: Any) -> str:
    """Return a text in which no half of a character is left, so that it can be written as UTF-8."""
    return str(text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# -- steps ----------------------------------------------------------------------------------------------------------


def steps_of(output: Sequence[Mapping[str, Any]]) -> tuple[list[Step], dict[int, str], tuple[str, ...]]:
    """Return the steps of a response's output, what its code printed by step, and the ids of the calls that wait.

    Raises:
        Unrecordable: an item, or something in it, has no place in a recording.
    """
    steps: list[Step] = []
    printed: dict[int, str] = {}
    calls: list[Call] = []
    waiting: list[str] = []
    for item in output:
        kind = item.get("type")
        if kind == "reasoning":
            steps += _thoughts(item)
        elif kind == "file_search_call":
            written = item.get("queries")
            queries = (
                [clean(query) for query in written if str(query).strip()] if isinstance(written, list) else []
            )
            steps += [Search(queries)] if queries else []
        elif kind == "code_interpreter_call":
            if str(item.get("code") or "").strip():
                printed[len(steps)] = _logs(item)
                steps.append(Run(portable_code(clean(item["code"]))))
        elif kind == "function_call":
            calls.append(_call(item))
            waiting.append(str(item.get("call_id")))
        elif kind == "message":
            steps += _messages(item)
        else:
            raise Unrecordable(_NO_STEP.format(kind=kind))
    # All calls of a response wait together for their outputs, and nothing can come behind them.
    return [*steps, *([Calls(calls)] if calls else [])], printed, tuple(waiting)


def _thoughts(item: Mapping[str, Any]) -> list[Step]:
    parts = [part.get("text") for part in _dicts(item.get("summary"))]
    text = clean("\n\n".join(str(part) for part in parts if part)).rstrip("\r\n")
    return [Think(text)] if text.strip() else []


def _logs(item: Mapping[str, Any]) -> str:
    outputs = [output for output in _dicts(item.get("outputs")) if output.get("type") == "logs"]
    return clean("\n".join(str(output.get("logs", "")) for output in outputs))


def portable_code(code: str) -> str:
    r"""Return code with plain line ends, and without the folder ``/mnt/data`` in front of files.

    Files are in the working folder of the code wherever it is played, and ``/mnt/data`` is not everywhere.

    Example:
        >>> portable_code("open('/mnt/data/a.csv')\r\n")
        "open('a.csv')"
    """
    code = code.replace("\r\n", "\n").replace("\r", "\n")
    return _MOUNT.sub(".", _MOUNTED.sub("", code)).rstrip("\n")


def _call(item: Mapping[str, Any]) -> Call:
    name, written = str(item.get("name")), str(item.get("arguments") or "{}")
    try:
        arguments = json.loads(written)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        raise Unrecordable(f"the arguments of {name} are not a JSON object")
    return Call(name, arguments)


def _messages(item: Mapping[str, Any]) -> list[Step]:
    steps: list[Step] = []
    for part in _dicts(item.get("content")):
        if part.get("type") == "refusal" and str(part.get("refusal") or "").strip():
            steps.append(Refuse(clean(part["refusal"]).rstrip("\r\n")))
        elif part.get("type") == "output_text" and str(part.get("text") or "").strip():
            steps.append(_said(part))
    return steps


def _said(part: Mapping[str, Any]) -> Say:
    """Return a text with its citations written back into it."""
    text = clean(part["text"]).rstrip("\r\n")
    if citations(text):
        raise Unrecordable(_BRACKETS.format(name=citations(text)[0]))
    places = [
        (annotation["index"], str(annotation.get("filename")))
        for annotation in _dicts(part.get("annotations"))
        if annotation.get("type") == "file_citation" and isinstance(annotation.get("index"), int)
    ]
    # The same passage can be cited several times at one place; once says it.
    written = with_citations(text, sorted(dict.fromkeys(places), key=lambda place: place[0]))
    if written is None:
        names = ", ".join(dict.fromkeys(name for _, name in places))
        raise Unrecordable(f"the citations of {names} cannot be written into its text")
    return Say(written)


def with_citations(text: str, places: Sequence[tuple[int, str]]) -> str | None:
    """Write citations into a text so that the recording says the same text again, with them at their places.

    Args:
        text: as the API sent it.
        places: index and file name of each citation, in order.

    Returns:
        The text as a recording has it; ``None`` if that cannot be written. Where a citation cannot stand at its place
        (in code, or before a round bracket), it stands at the end of the nearest word before.

    Example:
        >>> with_citations("It stops there.", [(14, "overview.md")])
        'It stops there [overview.md].'
    """
    settled: list[tuple[int, str]] = []
    for place, name in places:
        for candidate in _places(text, place):
            tried = [*settled, (candidate, name)]
            if _says_the_same(text, tried):
                settled = tried
                break
        else:
            return None
    return _inserted(text, settled)


def _places(text: str, place: int) -> list[int]:
    """Return where a citation may stand: at its place, else at the ends of the words before it, else at the start."""
    first = len(text[: max(0, place)].rstrip()) or max(0, min(place, len(text)))
    before = [found.end() for found in re.finditer(r"\S+", text[:first])]
    return [first, *reversed(before), 0]


def _inserted(text: str, places: Sequence[tuple[int, str]]) -> str:
    pieces, end = [], 0
    for place, name in sorted(places, key=lambda each: each[0]):
        pieces.append(text[end:place])
        # The blank goes with the citation when it is taken out again; a second citation has none.
        blank = " " if place > end and not text[place - 1].isspace() else ""
        pieces.append(f"{blank}[{name}]")
        end = place
    return "".join([*pieces, text[end:]])


def _says_the_same(text: str, places: Sequence[tuple[int, str]]) -> bool:
    written = _inserted(text, places)
    names = [name for _, name in sorted(places, key=lambda each: each[0])]
    played = with_annotations(Say(written), dict.fromkeys(names, ""))
    return played.text == text and [each["filename"] for each in played.annotations] == names
