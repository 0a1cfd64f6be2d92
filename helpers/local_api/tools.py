"""Tools that a request may offer. Here, functions; the hosted tools add themselves when their rooms are built.

Here live the reading and checking of ``tools`` and ``tool_choice``. Not here: what a tool does in a response
(``players.py``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from helpers.local_api.checks import Fields, kind_of, listed
from helpers.local_api.errors import invalid, missing, not_built_yet, shown

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


def read_tools(values: list[Any] | None, path: str = "tools") -> list[Tool]:
    """Return the tools of a request as the API echoes them.

    Raises:
        APIError: 400 for a tool that OpenAI would refuse, 501 for one that is not built here yet.
    """
    tools = [_read_tool(value, f"{path}[{index}]") for index, value in enumerate(values or [])]
    return tools


def _read_tool(value: Any, path: str) -> Tool:
    if not isinstance(value, dict):
        raise invalid(
            f"Invalid type for '{path}': expected an object, but got {kind_of(value)} instead.",
            param=path,
            code="invalid_type",
        )
    fields = Fields(value, path)
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
    fields.only(("type", "name", "description", "parameters", "strict"))
    name = fields.text("name")
    if name is None:
        raise missing(fields.name("name"))
    if not NAME.fullmatch(name):
        raise invalid(
            f"Invalid '{fields.name('name')}': '{shown(name)}'. Expected 1 to 64 letters, digits, underscores or "
            "dashes.",
            param=fields.name("name"),
            code="invalid_value",
        )
    parameters = fields.object("parameters")
    strict = fields.boolean("strict")
    return {
        "type": "function",
        "name": name,
        "description": fields.text("description"),
        "parameters": None if parameters is None else dict(parameters.values),
        "strict": True if strict is None else strict,
    }


READERS: Final[dict[str, Callable[[Fields], Tool]]] = {"function": _read_function}
"""What reads each type of tool. A hosted tool's room adds its own."""

FORCEABLE: Final[set[str]] = set()
"""The types of tools whose use ``tool_choice`` can force. A hosted tool's room adds its own."""


def read_tool_choice(fields: Fields) -> str | dict[str, Any]:
    """Return the choice as the API echoes it. What forces a call waits for the rooms that make such calls.

    Raises:
        APIError: 400 for a choice that does not go with the tools, 501 for one that is not built here yet.
    """
    choice = fields.values.get("tool_choice")
    if choice is None:
        return "auto"
    offered = {tool.get("type") for tool in fields.array("tools") or [] if isinstance(tool, dict)}
    if isinstance(choice, dict) and choice.get("type") in FORCEABLE:
        Fields(choice, "tool_choice").only(("type",))
        if choice["type"] not in offered:
            raise invalid(
                f"Tool choice '{choice['type']}' not found in 'tools' parameter.", param="tool_choice"
            )
        return {"type": choice["type"]}
    if isinstance(choice, dict) or (choice == "required" and offered and not offered & FORCEABLE):
        raise not_built_yet("A 'tool_choice' that forces a call", param="tool_choice")
    if choice == "required" and not offered:
        raise invalid("Tool choice 'required' must be specified with 'tools' parameter.", param="tool_choice")
    if not isinstance(choice, str):
        raise fields.wrong_type("tool_choice", "one of an object or one of 'none', 'auto', or 'required'")
    return fields.choice("tool_choice", ("none", "auto", "required")) or "auto"
