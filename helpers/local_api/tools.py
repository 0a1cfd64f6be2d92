"""Tools that a request may offer. Here, functions; the hosted tools add themselves when their rooms are built.

Here live the reading and checking of ``tools`` and ``tool_choice``. Not here: what a tool does in a response
(``players.py``, ``function_calls.py``), and the rules of schemas (``schemas.py``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from helpers.local_api.checks import Fields, listed, object_at, required
from helpers.local_api.errors import invalid, missing, not_built_yet, shown, unsupported
from helpers.local_api.schemas import normalised, problem_in

Tool = dict[str, Any]

NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Types that OpenAI has (openai 3.54.0, types/responses/tool_param.py) and this API has not built yet.
_LATER: Final = (
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
    "computer",
    "computer_use_preview",
    "mcp",
    "image_generation",
    "local_shell",
    "shell",
    "custom",
    "apply_patch",
    "tool_search",
    "namespace",
    "programmatic_tool_calling",
)


# What OpenAI's functions can have and these have not, with the values that ask for nothing.
_UNSUPPORTED: Final[Mapping[str, tuple[Any, ...]]] = {
    "allowed_callers": (None, ["direct"]),
    "async": (None, False),
    "defer_loading": (None, False),
    "output_schema": (None,),
}
_MOST_TOOLS: Final = 128


def read_tools(values: list[Any] | None, path: str = "tools") -> list[Tool]:
    """Return the tools of a request as the API echoes them.

    Raises:
        APIError: 400 for a tool that OpenAI would refuse, 501 for one that is not built here yet.
    """
    if values and len(values) > _MOST_TOOLS:
        raise invalid(
            f"Invalid '{path}': array too long. Expected an array with maximum length {_MOST_TOOLS}, but got an array "
            f"with length {len(values)} instead.",
            param=path,
            code="array_above_max_length",
        )
    tools = [_read_tool(value, f"{path}[{index}]") for index, value in enumerate(values or [])]
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        if tool.get("name") in seen:
            raise invalid(
                f"Invalid '{path}[{index}].name': there is another function named '{shown(tool['name'])}'. Each function "
                "needs a name of its own.",
                param=f"{path}[{index}].name",
                code="invalid_value",
            )
        if "name" in tool:
            seen.add(tool["name"])
    return tools


def _read_tool(value: Any, path: str) -> Tool:
    fields = object_at(value, path)
    kind = fields.text("type")
    if kind is None:
        raise missing(fields.name("type"))
    if kind in READERS:
        return READERS[kind](fields)
    if kind in _LATER:
        raise not_built_yet(f"The tool '{kind}'", param=path)
    raise invalid(
        f"Invalid value: '{shown(kind)}'. Supported values are: {listed(sorted({*READERS, *_LATER}))}.",
        param=fields.name("type"),
        code="invalid_value",
    )


def _read_function(fields: Fields) -> Tool:
    # The shape of Chat Completions has the name one level deeper, so OpenAI misses it here before anything else.
    name = fields.text("name")
    if name is None:
        raise missing(fields.name("name"))
    fields.only(("type", "name", "description", "parameters", "strict", *_UNSUPPORTED))
    for field, usual in _UNSUPPORTED.items():
        if fields.values.get(field) not in usual:
            raise unsupported(fields.name(field), "The recorded API does not have it.")
    if not NAME.fullmatch(name):
        raise invalid(
            f"Invalid '{fields.name('name')}': '{shown(name)}'. Expected 1 to 64 letters, digits, underscores or "
            "dashes.",
            param=fields.name("name"),
            code="invalid_value",
        )
    parameters, strict = _read_parameters(fields, name)
    return {
        "type": "function",
        "description": fields.text("description"),
        "name": name,
        "parameters": parameters,
        "strict": strict,
    }


def _read_parameters(fields: Fields, name: str) -> tuple[dict[str, Any] | None, bool]:
    """Return the schema of a function's arguments as the API echoes it, and whether it is strict."""
    parameters, strict = fields.object("parameters"), fields.boolean("strict")
    if parameters is None:
        return None, strict is not False
    problem = problem_in(parameters.values, strict=strict is True)
    if problem:
        raise invalid(
            f"Invalid schema for function '{name}': {problem}",
            param=fields.name("parameters"),
            code="invalid_function_parameters",
        )
    if strict is not None:
        return dict(parameters.values), strict
    schema, strict = normalised(parameters.values)
    return dict(schema), strict


READERS: Final[dict[str, Callable[[Fields], Tool]]] = {"function": _read_function}
"""What reads each type of tool. A hosted tool's room adds its own."""

_WORDS: Final = ("none", "auto", "required")


def read_tool_choice(fields: Fields) -> str | dict[str, Any]:
    """Return the choice as the API echoes it.

    Raises:
        APIError: 400 for a choice that does not go with the tools, 501 for one that is not built here yet.
    """
    choice = fields.values.get("tool_choice")
    if choice is None:
        return "auto"
    offered = [tool for tool in fields.array("tools") or [] if isinstance(tool, dict)]
    if isinstance(choice, dict):
        return _read_choice(Fields(choice, "tool_choice"), offered)
    if not isinstance(choice, str):
        raise fields.wrong_type("tool_choice", "one of an object or one of 'none', 'auto', or 'required'")
    word = fields.choice("tool_choice", _WORDS) or "auto"
    if word == "required" and not offered:
        raise invalid("Tool choice 'required' must be specified with 'tools' parameter.", param="tool_choice")
    return word


def _read_choice(choice: Fields, offered: list[Tool]) -> dict[str, Any]:
    kind = required(choice.text("type"), choice.name("type"))
    if kind != "allowed_tools":
        return _read_one_tool(choice, kind, offered)
    choice.only(("type", "mode", "tools"))
    mode = required(choice.choice("mode", ("auto", "required")), choice.name("mode"))
    name = choice.name("tools")
    values = required(choice.array("tools"), name)
    if not values:
        raise invalid(
            f"Invalid '{name}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            param=name,
            code="empty_array",
        )
    tools = []
    for index, value in enumerate(values):
        one = object_at(value, f"{name}[{index}]")
        tools.append(_read_one_tool(one, required(one.text("type"), one.name("type")), offered))
    return {"type": kind, "mode": mode, "tools": tools}


def _read_one_tool(choice: Fields, kind: str, offered: list[Tool]) -> dict[str, Any]:
    """Return a tool that is named by its type, or a function that is named by its name, if it is offered."""
    if kind in _LATER:
        raise not_built_yet(f"The tool choice '{kind}'", param="tool_choice")
    if kind not in READERS:
        known = sorted({"allowed_tools", *READERS, *_LATER})
        raise invalid(
            f"Invalid value: '{shown(kind)}'. Supported values are: {listed(known)}.",
            param=choice.name("type"),
            code="invalid_value",
        )
    chosen = {"type": kind}
    choice.only(("type", "name") if kind == "function" else ("type",))
    if kind == "function":
        chosen["name"] = required(choice.text("name"), choice.name("name"))
    if not any(chosen.items() <= _plain_items(tool) for tool in offered):
        raise invalid(
            f"Tool choice '{shown(chosen.get('name', kind))}' not found in 'tools' parameter.",
            param="tool_choice",
        )
    return chosen


def _plain_items(tool: Tool) -> set[tuple[str, str]]:
    return {(key, value) for key, value in tool.items() if isinstance(value, str)}
