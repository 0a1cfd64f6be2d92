"""Assistant: a name, a description, instructions, a model and tools, kept in your code.

Here lives the configuration that travels with every request, and its checks. There is no assistant on the server any
more: the Assistants API was shut down on 2026-08-26. Not here: sending the request (``run.py``).
"""

from __future__ import annotations

import copy
import html
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from helpers.errors import ConfigurationError, without_controls
from helpers.functions import FunctionTool, function_tool
from helpers.models import default_model, model_facts

__all__ = ["Assistant", "ToolParam"]

ToolParam = Mapping[str, Any] | Callable[..., Any]

# The limits of the Assistants API's fields, kept because people know them; the description also has to fit into a
# metadata value, which holds 512 characters (openai 3.54.0, types/conversations/conversation.py).
_NAME_LIMIT: Final = 256
_DESCRIPTION_LIMIT: Final = 512
_INSTRUCTIONS_LIMIT: Final = 256_000
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_DEFAULT_EFFORT: Final = "low"

# What each tool needs besides its type (openai 3.54.0, types/responses/tool_param.py).
_TOOL_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "file_search": ("vector_store_ids",),
    "code_interpreter": ("container",),
    "function": ("name", "parameters"),
    "web_search": (),
}


class Assistant(Mapping[str, Any]):
    """An assistant: configuration that you keep in code and send with every request.

    It is an immutable mapping of exactly the arguments that ``client.responses.create`` takes, so
    ``client.responses.create(input="…", **assistant)`` works and ``dict(assistant)`` shows what travels.

    Args:
        name: what you call it; at most 256 characters.
        instructions: how it should behave; at most 256,000 characters.
        description: one line for people; at most 512 characters. It travels as metadata, the model does not read it.
        model: the model's name; without one, ``OPENAI_MODEL`` or the workshop's default.
        tools: tool dicts such as ``{"type": "file_search", "vector_store_ids": [store.id]}``, and Python functions: their
            signature and docstring become the schema that travels (see ``helpers.function_tool``), and ``stream_run``
            calls them.
        effort: how much a reasoning model thinks before it answers: ``"none"``, ``"minimal"``, ``"low"``,
            ``"medium"``, ``"high"``, ``"xhigh"`` or ``"max"``. Without one: ``"low"`` for a model that reasons.
        temperature: 0 to 2; sent only if you give it, because reasoning models refuse it unless effort is ``"none"``.

    Raises:
        ConfigurationError: one sentence that says which value cannot work, and why.

    Example:
        >>> poet = Assistant(name="Poet", instructions="Answer in two lines.", model="gpt-6-luna")
        >>> poet["instructions"]
        'Answer in two lines.'
        >>> poet.with_instructions("Answer in one line.")["instructions"]
        'Answer in one line.'
    """

    def __init__(
        self,
        name: str,
        instructions: str,
        *,
        description: str = "",
        model: str | None = None,
        tools: Sequence[ToolParam] = (),
        effort: str | None = None,
        temperature: float | None = None,
    ) -> None:
        checked_model = _text("model", model or default_model(), 128)
        fields = {
            "name": _text("name", name, _NAME_LIMIT),
            "instructions": _text("instructions", instructions, _INSTRUCTIONS_LIMIT),
            "description": _text("description", description, _DESCRIPTION_LIMIT, may_be_empty=True),
            "model": checked_model,
            "tools": _checked_tools(tools),
            "effort": _checked_effort(effort, checked_model),
            "temperature": _checked_temperature(temperature),
        }
        object.__setattr__(self, "_fields", fields)

    # -- what travels -------------------------------------------------------------------------------------------

    def _request(self) -> dict[str, Any]:
        fields = self._fields
        request: dict[str, Any] = {"model": fields["model"], "instructions": fields["instructions"]}
        if fields["effort"] is not None:
            request["reasoning"] = {"effort": fields["effort"]}
        if fields["temperature"] is not None:
            request["temperature"] = fields["temperature"]
        if fields["tools"]:
            # A copy each time: nobody can change an assistant through what it handed out.
            request["tools"] = self.tools
        request["metadata"] = {"assistant": fields["name"]}
        if fields["description"]:
            request["metadata"]["description"] = fields["description"]
        return request

    def __getitem__(self, key: str) -> Any:
        return self._request()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._request())

    def __len__(self) -> int:
        return len(self._request())

    # -- attributes ---------------------------------------------------------------------------------------------

    _fields: dict[str, Any]

    @property
    def name(self) -> str:
        """What you call it."""
        return str(self._fields["name"])

    @property
    def description(self) -> str:
        """One line for people; ``""`` if there is none."""
        return str(self._fields["description"])

    @property
    def instructions(self) -> str:
        """How it should behave."""
        return str(self._fields["instructions"])

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self._fields["model"])

    @property
    def effort(self) -> str | None:
        """How much it thinks before it answers; ``None`` for a model that does not reason."""
        effort: str | None = self._fields["effort"]
        return effort

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The tools as they travel: dicts (copies), a function's with its schema."""
        return [
            tool.param if isinstance(tool, FunctionTool) else copy.deepcopy(tool)
            for tool in self._fields["tools"]
        ]

    @property
    def functions(self) -> list[FunctionTool]:
        """The Python functions among the tools."""
        return [tool for tool in self._fields["tools"] if isinstance(tool, FunctionTool)]

    def __setattr__(self, key: str, value: object) -> None:
        raise ConfigurationError(
            f"An assistant does not change, so {key!r} was not set. Make another one: "
            "assistant.with_instructions(…), assistant.with_tools(…), assistant.with_model(…)."
        )

    def __delattr__(self, key: str) -> None:
        self.__setattr__(key, None)

    # -- variations ---------------------------------------------------------------------------------------------

    def _varied(self, **changes: Any) -> Assistant:
        fields = {**self._fields, **changes}
        return Assistant(fields.pop("name"), fields.pop("instructions"), **fields)

    def with_instructions(self, instructions: str) -> Assistant:
        """Return the same assistant with other instructions.

        Raises:
            ConfigurationError: if they are empty or too long.
        """
        return self._varied(instructions=instructions)

    def with_tools(self, *tools: ToolParam) -> Assistant:
        """Return the same assistant with these tools added to those that it has.

        A tool that it has already (an equal dict, the same function) is not added twice. A function that was defined
        again, because its cell was run again, takes the place of its older version.

        Raises:
            ConfigurationError: for an unknown type of tool, one that misses what it needs, a function that cannot be a
                tool, or two functions of one name.
        """
        return self._varied(tools=[*self._fields["tools"], *_checked_tools(tools)])

    def with_model(self, model: str, effort: str | None = None) -> Assistant:
        """Return the same assistant on another model (and effort, if you give one).

        Raises:
            ConfigurationError: if the name is empty, or the model does not know the effort.
        """
        return self._varied(model=model, effort=effort)

    # -- how it shows itself ------------------------------------------------------------------------------------

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("name", self.name)]
        if self.description:
            rows.append(("description", self.description))
        rows += [("instructions", self.instructions), ("model", self.model)]
        if self.effort:
            rows.append(("reasoning effort", self.effort))
        if self._fields["temperature"] is not None:
            rows.append(("temperature", str(self._fields["temperature"])))
        tools = ", ".join(tool.get("name") or tool["type"] for tool in self.tools)
        rows.append(("tools", tools or "none"))
        return rows

    def __repr__(self) -> str:
        width = max(len(label) for label, _ in self._rows())
        return "\n".join(
            ["Assistant", *(f"  {label.ljust(width)}  {_shortened(value)}" for label, value in self._rows())]
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left;vertical-align:top">{html.escape(label)}</th>'
            f'<td style="text-align:left;white-space:pre-wrap">{_html(_shortened(value, 2000))}</td></tr>'
            for label, value in self._rows()
        )
        return f"<table><caption>Assistant</caption><tbody>{rows}</tbody></table>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Assistant) and self._fields == other._fields

    def __hash__(self) -> int:
        return hash((self.name, self.instructions, self.model))

    def __copy__(self) -> Assistant:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Assistant:
        return self  # it does not change

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {**self._fields}
        return _rebuild, (fields.pop("name"), fields.pop("instructions"), fields)


def _rebuild(name: str, instructions: str, rest: dict[str, Any]) -> Assistant:
    return Assistant(name, instructions, **rest)


def _html(text: str) -> str:
    """Escape for HTML, and keep the signs apart that would begin a formula where mathematics is drawn."""
    return html.escape(text).replace("$", "<span>$</span>").replace("\\", "<span>\\</span>")


def _shortened(text: str, limit: int = 300) -> str:
    shown = without_controls(text[:limit])
    return shown if len(text) <= limit else f"{shown}… ({len(text):,} characters)"


def _text(what: str, value: object, limit: int, *, may_be_empty: bool = False) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(f"The {what} must be a text, not {type(value).__name__}. Put it in quotes.")
    text = value.strip()
    if not text and not may_be_empty:
        raise ConfigurationError(f"The {what} must not be empty. Write at least a word.")
    if len(text) > limit:
        raise ConfigurationError(
            f"The {what} has {len(text):,} characters; at most {limit:,} fit. Shorten it."
        )
    return text


def _checked_effort(effort: object, model: str) -> str | None:
    facts = model_facts(model)
    if effort is None:
        if facts is None or not facts.efforts:
            return None
        return _DEFAULT_EFFORT if _DEFAULT_EFFORT in facts.efforts else facts.efforts[0]
    if effort not in _EFFORTS:
        raise ConfigurationError(f"Unknown effort {effort!r}. Choose one of {', '.join(_EFFORTS)}.")
    if facts is not None and effort not in facts.efforts:
        known = f"knows {', '.join(facts.efforts)}" if facts.efforts else "does not reason: leave effort out"
        raise ConfigurationError(f"The model {model} has no effort {effort!r}; it {known}.")
    return str(effort)


def _checked_temperature(temperature: object) -> float | None:
    if temperature is None:
        return None
    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 <= temperature <= 2:
        raise ConfigurationError(f"The temperature must be a number from 0 to 2, not {temperature!r}.")
    return float(temperature)


def _checked_tools(tools: object) -> list[dict[str, Any] | FunctionTool]:
    if isinstance(tools, str | Mapping) or not isinstance(tools, Sequence):
        raise ConfigurationError('The tools must be a list, such as tools=[{"type": "code_interpreter", …}].')
    checked: list[dict[str, Any] | FunctionTool] = []
    for tool in tools:
        _add(checked, _checked_tool(tool))
    return checked


def _add(tools: list[dict[str, Any] | FunctionTool], tool: dict[str, Any] | FunctionTool) -> None:
    """Add a tool to a list that may have it already."""
    if tool in tools:
        return
    name = _function_name(tool)
    places = [place for place, other in enumerate(tools) if name and _function_name(other) == name]
    if not places:
        tools.append(tool)
        return
    other = tools[places[0]]
    if isinstance(tool, FunctionTool) and isinstance(other, FunctionTool) and _is_newer(tool, other):
        tools[places[0]] = tool
        return
    kinds = {isinstance(tool, FunctionTool), isinstance(other, FunctionTool)}
    what = "A Python function and a tool dict" if len(kinds) == 2 else "Two different functions"
    raise ConfigurationError(
        f"{what} have the name {name}, and a call would not say which one is meant. Leave one out, or give it another name: "
        "function_tool(function, name=…)."
    )


def _function_name(tool: dict[str, Any] | FunctionTool) -> str:
    if isinstance(tool, FunctionTool):
        return tool.name
    return str(tool.get("name")) if tool.get("type") == "function" else ""


def _is_newer(tool: FunctionTool, other: FunctionTool) -> bool:
    """Return whether a function is what its name stands for now, and the other one what it stood for before."""
    if tool.function is other.function:
        return False
    module, name = (getattr(tool.function, key, None) for key in ("__module__", "__qualname__"))
    is_same_place = module is not None and (module, name) == (
        getattr(other.function, "__module__", None),
        getattr(other.function, "__qualname__", None),
    )
    return is_same_place and getattr(sys.modules.get(str(module)), str(name), None) is tool.function


def _checked_tool(tool: object) -> dict[str, Any] | FunctionTool:
    if isinstance(tool, FunctionTool):
        return tool
    if callable(tool) and not isinstance(tool, Mapping):
        return function_tool(tool)
    if not isinstance(tool, Mapping):
        raise ConfigurationError(
            f"A tool is a dict such as {{'type': 'file_search', …}} or a Python function, not {type(tool).__name__}."
        )
    kind = tool.get("type")
    if kind == "retrieval":
        raise ConfigurationError("The tool 'retrieval' is now called 'file_search'. Use that name.")
    if kind not in _TOOL_NEEDS:
        raise ConfigurationError(
            f"Unknown tool type {kind!r}. The known ones are {', '.join(sorted(_TOOL_NEEDS))}."
        )
    missing = [need for need in _TOOL_NEEDS[str(kind)] if not tool.get(need)]
    if missing:
        raise ConfigurationError(
            f"The tool {kind!r} also needs {' and '.join(repr(need) for need in missing)}."
        )
    return copy.deepcopy(dict(tool))
