"""Function calls in a response: the two kinds of items, the events that show a call, and what pairs calls with outputs.

A call ends a response; the next one goes on when the output is there. What the first one found (numbers, files) is kept
with the call, so that the second one can speak of it. Not here: reading functions as tools (``tools.py``), and choosing
what is called (``recorded_turns.py``, ``offline.py``).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from helpers.local_api import ids, items
from helpers.local_api.checks import Fields, listed, object_at, required
from helpers.local_api.citing import PLACEHOLDER
from helpers.local_api.errors import invalid, missing, not_built_yet, shown, unsupported
from helpers.local_api.items import Item
from helpers.local_api.players import PLAYERS, Event, Stage
from helpers.local_api.schemas import Schema, properties_of, required_in, takes
from helpers.local_api.state import State
from helpers.local_api.tokens import pieces
from helpers.local_api.turns import CALL, OUTPUT, Call, Calls, Carried

TABLES: Final = ("create table if not exists carried (call_id text primary key, what text not null)",)

_LONGEST_ID: Final = 64
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_STATUSES: Final = ("in_progress", "completed", "incomplete")
_OUTPUT_PARTS: Final = ("input_text", "input_image", "input_file")
# What OpenAI's items can have and these have not, with the values that ask for nothing.
_UNSUPPORTED: Final[Mapping[str, tuple[Any, ...]]] = {
    "async": (None, False),
    "caller": (None, {"type": "direct"}),
    "namespace": (None,),
}


# -- what a request says --------------------------------------------------------------------------------------------


def _read_call(fields: Fields, new_id: Callable[[str], str]) -> Item:
    fields.only(("type", "id", "call_id", "name", "arguments", "status", "created_by", *_UNSUPPORTED))
    status = _read_common(fields)
    call_id = _read_call_id(fields)
    name = required(fields.text("name"), fields.name("name"))
    if not _NAME.fullmatch(name):
        raise invalid(
            f"Invalid '{fields.name('name')}': string does not match pattern. Expected a string that matches the "
            "pattern '^[a-zA-Z0-9_-]+$'.",
            param=fields.name("name"),
            code="invalid_value",
        )
    # What a model wrote need not be JSON, so nobody looks into it here.
    arguments = required(fields.text("arguments"), fields.name("arguments"))
    return {
        "id": new_id("fc"),
        "type": CALL,
        "status": status,
        "arguments": arguments,
        "call_id": call_id,
        "name": name,
    }


def _read_output(fields: Fields, new_id: Callable[[str], str]) -> Item:
    fields.only(("type", "id", "call_id", "output", "status", "created_by", "name", *_UNSUPPORTED))
    _read_common(fields)
    fields.text("name")
    call_id = _read_call_id(fields)
    output, name = fields.values.get("output"), fields.name("output")
    if output is None:
        raise missing(name)
    if isinstance(output, list):
        output = [_read_part(part, f"{name}[{index}]") for index, part in enumerate(output)]
    elif isinstance(output, str):
        fields.text("output")
    else:
        raise fields.wrong_type("output", "one of a string or array of objects")
    return {"id": new_id("fc"), "type": OUTPUT, "status": "completed", "call_id": call_id, "output": output}


def _read_common(fields: Fields) -> str:
    """Check what both kinds of items can have; return the status."""
    for field, usual in _UNSUPPORTED.items():
        if fields.values.get(field) not in usual:
            raise unsupported(fields.name(field), "The recorded API does not have it.")
    item_id = fields.text("id")
    if item_id is not None and not item_id.startswith("fc"):
        # Mostly a call_id that was put into the wrong field.
        raise invalid(
            f"Invalid '{fields.name('id')}': '{shown(item_id)}'. Expected an ID that begins with 'fc'.",
            param=fields.name("id"),
            code="invalid_value",
        )
    fields.text("created_by")
    return fields.choice("status", _STATUSES) or "completed"


def _read_call_id(fields: Fields) -> str:
    call_id = fields.text("call_id", longest=_LONGEST_ID)
    name = fields.name("call_id")
    if call_id is None:
        raise missing(name)
    if not call_id:
        raise invalid(
            f"Invalid '{name}': empty string. Expected a string with minimum length 1, but got an empty string "
            "instead.",
            param=name,
            code="empty_string",
        )
    return call_id


def _read_part(part: Any, path: str) -> dict[str, Any]:
    fields = object_at(part, path)
    kind = part.get("type")
    if kind is None:
        raise missing(fields.name("type"))
    if kind not in _OUTPUT_PARTS:
        raise invalid(
            f"Invalid value: '{shown(kind) if isinstance(kind, str) else ''}'. Supported values are: "
            f"{listed(_OUTPUT_PARTS)}.",
            param=path,
            code="invalid_value",
        )
    if kind != "input_text":
        raise not_built_yet(f"A function's output of type '{kind}'", param=path)
    fields.only(("type", "text"))
    return {"type": "input_text", "text": required(fields.text("text"), fields.name("text"))}


items.READERS[CALL] = _read_call
items.READERS[OUTPUT] = _read_output


# -- pairs ----------------------------------------------------------------------------------------------------------


def check_pairs(context: Sequence[Item]) -> None:
    """Refuse items in which a call has no output, an output has no call, or one of them is there twice.

    Args:
        context: all that a model would see, oldest first.

    Raises:
        APIError: OpenAI's 400. For an output that is there twice, only that others refuse it is known, not its words.
    """
    calls: dict[str, Item] = {}
    answered: set[str] = set()
    for item in context:
        if item.get("type") == CALL:
            if item["call_id"] in calls:
                # Items of the request have no id yet, so the first one says which it is.
                found = calls[item["call_id"]]["id"]
                raise _second_call(found if "_" in found else item["call_id"], "input")
            calls[item["call_id"]] = item
        elif item.get("type") == OUTPUT:
            if item["call_id"] in answered:
                raise _second_output(item["call_id"], "input")
            if item["call_id"] not in calls:
                raise _wrong_input(
                    f"No tool call found for function call output with call_id {item['call_id']}."
                )
            answered.add(item["call_id"])
    for call_id in calls:
        if call_id not in answered:
            raise _wrong_input(f"No tool output found for function call {call_id}.")


def check_can_be_added(there: Sequence[Item], new: Sequence[Item]) -> None:
    """Refuse what would leave a conversation stuck for ever: the same call again, or a second output for one call.

    A call without output, and an output without call, may be added: the other one can follow.

    Args:
        there: the items of the conversation.
        new: what is to be added.
    """
    seen = {(item["type"], item["call_id"]) for item in there if item["type"] in (CALL, OUTPUT)}
    for item in new:
        if item["type"] not in (CALL, OUTPUT):
            continue
        if (item["type"], item["call_id"]) in seen:
            raise (
                _second_call(item["call_id"], "items")
                if item["type"] == CALL
                else _second_output(item["call_id"], "items")
            )
        seen.add((item["type"], item["call_id"]))


def _wrong_input(message: str) -> Exception:
    return invalid(message, param="input")


def _second_call(item_id: str, param: str) -> Exception:
    return invalid(
        f"Duplicate item found with id {item_id}. Remove duplicate items from your input and try again.",
        param=param,
    )


def _second_output(call_id: str, param: str) -> Exception:
    return invalid(
        f"Duplicate function call output found for call_id {call_id}. Each function call has exactly one output.",
        param=param,
    )


# -- the events -----------------------------------------------------------------------------------------------------


def written(call: Call, found: Mapping[str, str], parameters: Schema | None, *, strict: bool) -> str:
    """Return the arguments of a call as a model writes them: without spaces, and in the order of the schema.

    Args:
        call: what is recorded. A text that is nothing but ``{name}`` becomes what was found under that name: a number
            where the schema wants one.
        found: what was found before, by name.
        parameters: the schema of the function, if it has one.
        strict: whether the schema is strict, so that arguments which may be null are written out.

    Example:
        >>> schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
        >>> written(Call("count", {"n": "{step}"}), {"step": "12"}, schema, strict=False)
        '{"n":12}'
    """
    properties = properties_of(parameters)
    arguments = {name: _filled(value, found, properties.get(name)) for name, value in call.arguments.items()}
    if strict:
        for name in required_in(parameters):
            if name not in arguments and takes(properties.get(name), "null"):
                arguments[name] = None
    order = {name: place for place, name in enumerate(properties)}
    ordered = sorted(arguments, key=lambda name: order.get(name, len(order)))
    return json.dumps({name: arguments[name] for name in ordered}, ensure_ascii=False, separators=(",", ":"))


def _filled(value: Any, found: Mapping[str, str], schema: Any = None) -> Any:
    if isinstance(value, dict):
        return {name: _filled(each, found) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, found) for each in value]
    if not isinstance(value, str) or not found:
        return value
    text = PLACEHOLDER.sub(lambda place: found.get(place[1], place[0]), value)
    is_number = takes(schema, "number") or takes(schema, "integer")
    if not is_number or takes(schema, "string") or not PLACEHOLDER.fullmatch(value):
        return text
    try:
        number = json.loads(text)
    except ValueError:
        return text
    return number if isinstance(number, int | float) else text


def _play_calls(stage: Stage, step: Calls, is_last: bool) -> Iterator[Event]:
    for call in step.calls:
        if stage.tokens_left == 0:
            stage.is_cut = True
        if stage.is_cut:
            return
        yield from _play_call(stage, call)


def _play_call(stage: Stage, call: Call) -> Iterator[Event]:
    call_id = ids.call_id(stage.response_id, len(stage.output))
    if stage.carry:
        stage.carry(call_id, stage.carried)
    item = stage.new_item(
        "fc", type=CALL, status="in_progress", arguments="", call_id=call_id, name=call.name
    )
    yield stage.added(dict(item))
    tool = next((tool for tool in stage.tools if tool.get("name") == call.name), {})
    arguments = stage.spend(
        written(call, stage.found, tool.get("parameters"), strict=tool.get("strict") is True)
    )
    for piece in pieces(arguments):
        yield stage.padded(stage.about(item, "response.function_call_arguments.delta", delta=piece))
    if stage.is_cut:
        # The model was cut off while it wrote: half of a JSON object is no argument.
        yield stage.done({**item, "status": "incomplete", "arguments": arguments})
        return
    yield stage.about(item, "response.function_call_arguments.done", arguments=arguments)
    yield stage.done({**item, "status": "completed", "arguments": arguments})


PLAYERS[Calls] = _play_calls


# -- what is kept with a call ---------------------------------------------------------------------------------------


class CarriedOver:
    """What the response that made a call had found until then.

    Args:
        state: opened with :data:`TABLES`.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    def keep(self, call_id: str, carried: Carried) -> None:
        """Keep something with a call; nothing is kept of nothing."""
        if carried == Carried():
            return
        with self._state.transaction() as transaction:
            transaction.execute(
                "insert or replace into carried values (?, ?)",
                (call_id, json.dumps(dataclasses.asdict(carried))),
            )

    def of(self, call_ids: Sequence[str]) -> Carried:
        """Return what was kept with the last of some calls with which anything was kept."""
        with self._state.transaction() as transaction:
            for call_id in reversed(call_ids):
                row = transaction.execute("select what from carried where call_id = ?", (call_id,)).fetchone()
                if row is not None:
                    return Carried(**json.loads(row[0]))
        return Carried()
