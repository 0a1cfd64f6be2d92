"""Requests for a response: every field of ``POST /responses``, checked, or refused by name.

Here lives what a request may say, in the order in which OpenAI looks at it. Nothing is ignored: a field that this API
does not honour is refused with a sentence. Not here: whether a conversation exists or is busy (``responses.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from helpers.local_api.checks import Fields, kind_of, listed, required
from helpers.local_api.errors import APIError, invalid, missing, shown, unsupported
from helpers.local_api.items import Item, read_items, user_message
from helpers.local_api.models import Model, Models
from helpers.local_api.schemas import problem_in, schema_error
from helpers.local_api.tools import NAME, Tool, read_tool_choice, read_tools

_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_SUMMARIES: Final = ("auto", "concise", "detailed")
_INCLUDES: Final = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
)
_LEAST_OUTPUT_TOKENS: Final = 16

# Fields that both OpenAI and this API have. `client.responses.create` knows them (openai 3.54.0).
_HONOURED: Final = (
    "background",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "metadata",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
    "user",
)
MARKS: Final = ("workshop_source", "workshop_captured", "workshop_note")
"""What this API says about an answer in its metadata (docs: ``data/recordings/README.md``)."""
_NOT_YET: Final = "The recorded API does not have it."
# Fields that OpenAI has and this API refuses, each with what to know about it.
_REFUSED: Final = {
    "access_programs": _NOT_YET,
    "background_options": f"{_NOT_YET} A background response is always done as soon as possible.",
    "context_management": _NOT_YET,
    "frequency_penalty": _NOT_YET,
    "image": _NOT_YET,
    "max_tool_calls": _NOT_YET,
    "moderation": _NOT_YET,
    "presence_penalty": _NOT_YET,
    "prompt": "OpenAI shuts prompt objects down on 2026-11-30. Keep the text in your code and send it as instructions.",
    "prompt_cache_options": f"{_NOT_YET} Nothing is cached here.",
    "top_logprobs": f"{_NOT_YET} A recording has no probabilities.",
}
_COUNTED: Final = (
    "conversation",
    "input",
    "instructions",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "reasoning",
    "text",
    "tool_choice",
    "tools",
    "truncation",
)


@dataclass(frozen=True)
class ResponseRequest:
    """A request for a response, checked. Fields are named as in the API; ``effort`` is the one that counts."""

    model: Model
    input_items: list[Item]
    instructions: str | None
    conversation_id: str | None
    previous_response_id: str | None
    metadata: dict[str, str]
    tools: list[Tool]
    tool_choice: str | dict[str, Any]
    parallel_tool_calls: bool
    text: dict[str, Any]
    effort: str | None
    summary: str | None
    temperature: float | None
    top_p: float | None
    max_output_tokens: int | None
    truncation: str
    store: bool
    background: bool
    stream: bool
    obfuscation: bool | None
    include: frozenset[str]
    echoed: dict[str, Any]
    """Fields that change nothing here and come back as they were sent."""


def read_request(body: dict[str, Any], models: Models, new_id: Callable[[str], str]) -> ResponseRequest:
    """Return a checked request.

    Args:
        body: the JSON object that was sent.
        models: the models that there are.
        new_id: makes the ids of the input items.

    Raises:
        APIError: the first thing that is wrong.
    """
    fields = Fields(body)
    _read_model_name(fields)
    _check_input_is_there(fields)
    _check_names(fields, _HONOURED)
    model = models.get(body["model"])
    input_items = _read_input(fields, new_id)
    stream = fields.boolean("stream") or False
    store = fields.boolean("store")
    background = fields.boolean("background") or False
    if background and store is False:
        raise invalid(
            "Background responses require 'store' to be true: what is not stored cannot be retrieved.",
            param="background",
        )
    effort, summary = _read_reasoning(fields, model)
    temperature, top_p = _read_sampling(fields, effort)
    request = ResponseRequest(
        model=model,
        input_items=input_items,
        instructions=fields.text("instructions"),
        conversation_id=_read_conversation(fields),
        previous_response_id=fields.text("previous_response_id"),
        metadata=_read_metadata(fields),
        tools=read_tools(fields.array("tools")),
        tool_choice=read_tool_choice(fields),
        parallel_tool_calls=fields.boolean("parallel_tool_calls") is not False,
        text=_read_text(fields),
        effort=effort,
        summary=summary,
        temperature=temperature,
        top_p=top_p,
        max_output_tokens=fields.integer("max_output_tokens", least=_LEAST_OUTPUT_TOKENS),
        truncation=fields.choice("truncation", ("auto", "disabled")) or "disabled",
        store=store is not False,
        background=background,
        stream=stream,
        obfuscation=_read_obfuscation(fields, stream),
        include=_read_include(fields),
        echoed=_read_echoed(fields, model),
    )
    _check_context_fields(request)
    return request


@dataclass(frozen=True)
class CountRequest:
    """A request to count input tokens, checked."""

    input_items: list[Item]
    instructions: str | None
    conversation_id: str | None
    previous_response_id: str | None
    tools: list[Tool]


def read_count_request(body: dict[str, Any], models: Models, new_id: Callable[[str], str]) -> CountRequest:
    """Return a checked request for ``POST /responses/input_tokens``; all its fields may be left out."""
    fields = Fields(body)
    _check_names(fields, _COUNTED, {"personality": _NOT_YET})
    name = fields.text("model")
    if name is not None:
        _read_reasoning(fields, models.get(name))
    elif fields.object("reasoning"):
        raise missing("model")
    fields.boolean("parallel_tool_calls")
    fields.choice("truncation", ("auto", "disabled"))
    _read_text(fields)
    read_tool_choice(fields)
    request = CountRequest(
        input_items=[] if body.get("input") is None else _read_input(fields, new_id),
        instructions=fields.text("instructions"),
        conversation_id=_read_conversation(fields),
        previous_response_id=fields.text("previous_response_id"),
        tools=read_tools(fields.array("tools")),
    )
    _check_one_context(request)
    return request


def _check_names(fields: Fields, honoured: tuple[str, ...], refused: dict[str, str] | None = None) -> None:
    refused = _REFUSED if refused is None else refused
    fields.only((*honoured, *refused))
    for name, why in refused.items():
        # The values that say "nothing" are no request for anything.
        if fields.values.get(name) not in (None, {}, []) and not _is_zero(fields.values[name]):
            raise unsupported(name, why)


def _is_zero(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


# -- model and input ------------------------------------------------------------------------------------------------


def _read_model_name(fields: Fields) -> str:
    if "model" not in fields.values:
        raise missing("model")
    if fields.values["model"] is None:
        raise fields.wrong_type("model", "a string")
    return str(required(fields.text("model"), "model"))


def _check_input_is_there(fields: Fields) -> None:
    # OpenAI wants the field even if a conversation holds the question: then it is an empty list.
    if "input" not in fields.values:
        raise missing("input")


def _read_input(fields: Fields, new_id: Callable[[str], str]) -> list[Item]:
    value = fields.values["input"]
    if isinstance(value, str):
        text = fields.text("input") or ""
        if not text.strip():
            raise invalid(
                "Invalid 'input': empty string. Expected a message with at least one character.",
                param="input",
                code="empty_string",
            )
        return [user_message(text, new_id("msg"))]
    if not isinstance(value, list):
        raise fields.wrong_type(
            "input", "a string" if value is None else "one of a string or array of input items"
        )
    return read_items(value, "input", new_id)


def _read_metadata(fields: Fields) -> dict[str, str]:
    pairs = fields.values.get("metadata")
    if isinstance(pairs, dict):
        # Only this API sets the marks, so those that come back with an earlier answer's metadata are not kept.
        own = {key: value for key, value in pairs.items() if key not in MARKS}
        return Fields({"metadata": own}).metadata() or {}
    return fields.metadata() or {}


def _read_conversation(fields: Fields) -> str | None:
    value = fields.values.get("conversation")
    if isinstance(value, dict):
        inner = Fields(value, "conversation")
        inner.only(("id",))
        return str(required(inner.text("id"), "conversation.id"))
    if value is not None and not isinstance(value, str):
        raise fields.wrong_type("conversation", "one of a string or object")
    return value


def _check_one_context(request: ResponseRequest | CountRequest) -> None:
    if request.conversation_id is not None and request.previous_response_id is not None:
        raise invalid(
            "Mutually exclusive parameters: 'conversation' and 'previous_response_id'. Ensure you are only providing "
            "one of: 'previous_response_id' or 'conversation'.",
            param="previous_response_id",
            code="mutually_exclusive_parameters",
        )


def _check_context_fields(request: ResponseRequest) -> None:
    _check_one_context(request)
    if not request.input_items and request.conversation_id is None and request.previous_response_id is None:
        raise invalid(
            "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation' must be provided.",
            code="missing_required_parameter",
        )


# -- how the model answers ------------------------------------------------------------------------------------------


def _read_reasoning(fields: Fields, model: Model) -> tuple[str | None, str | None]:
    """Return the effort that counts and the kind of summary."""
    reasoning = fields.object("reasoning")
    if reasoning is None:
        return model.default_effort, None
    reasoning.only(("effort", "summary", "generate_summary", "context", "mode"))
    effort, summary = reasoning.choice("effort", _EFFORTS), reasoning.choice("summary", _SUMMARIES)
    if reasoning.values.get("generate_summary") is not None:
        raise unsupported("reasoning.generate_summary", "It is now called 'reasoning.summary'.")
    for field, usual in (("context", ("auto", "all_turns")), ("mode", ("standard",))):
        value = reasoning.text(field)
        if value is not None and value not in usual:
            raise unsupported(f"reasoning.{field}", f"The recorded API knows only {listed(usual, 'or')}.")
    if not model.efforts and (effort or summary):
        name = f"reasoning.{'effort' if effort else 'summary'}"
        raise invalid(
            f"Unsupported parameter: '{name}' is not supported with this model.",
            param=name,
            code="unsupported_parameter",
        )
    if effort and effort not in model.efforts:
        raise invalid(
            f"Unsupported value: '{effort}' is not supported with the '{model.id}' model. Supported values are: "
            f"{listed(model.efforts)}.",
            param="reasoning.effort",
            code="unsupported_value",
        )
    return effort or model.default_effort, summary


def _read_sampling(fields: Fields, effort: str | None) -> tuple[float | None, float | None]:
    """Return ``temperature`` and ``top_p``, which a model refuses while it reasons."""
    values = (fields.number("temperature", least=0, most=2), fields.number("top_p", least=0, most=1))
    for name, value in zip(("temperature", "top_p"), values, strict=True):
        if value is not None and effort not in (None, "none"):
            raise invalid(
                f"Unsupported parameter: '{name}' is not supported with this model.",
                param=name,
                code="unsupported_parameter",
            )
    return values


def _read_text(fields: Fields) -> dict[str, Any]:
    answer: dict[str, Any] = {"format": {"type": "text"}, "verbosity": "medium"}
    text = fields.object("text")
    if text is None:
        return answer
    text.only(("format", "verbosity"))
    if text.choice("verbosity", ("low", "medium", "high")) not in (None, "medium"):
        raise unsupported(
            "text.verbosity", "A recorded answer has one length: leave it out, or say 'medium'."
        )
    form = text.object("format")
    if form is None:
        return answer
    kind = required(form.choice("type", ("json_object", "text", "json_schema")), "text.format.type")
    if kind == "json_schema":
        answer["format"] = _read_schema(form)
    else:
        form.only(("type",))
        answer["format"] = {"type": kind}
    return answer


def _read_schema(form: Fields) -> dict[str, Any]:
    form.only(("type", "name", "schema", "description", "strict"))
    name = required(form.text("name"), form.name("name"))
    if not NAME.fullmatch(name):
        raise invalid(
            f"Invalid '{form.name('name')}': '{shown(name)}'. Expected 1 to 64 letters, digits, underscores or dashes.",
            param=form.name("name"),
            code="invalid_value",
        )
    schema = required(form.object("schema"), form.name("schema")).values
    strict = form.boolean("strict") or False
    problem = problem_in(schema, strict=strict) or schema_error(schema)
    if problem:
        raise invalid(
            f"Invalid schema for response_format '{name}': {problem}",
            param=form.name("schema"),
            code="invalid_json_schema",
        )
    return {
        "type": "json_schema",
        "description": form.text("description"),
        "name": name,
        "schema": dict(schema),
        "strict": strict,
    }


def _read_obfuscation(fields: Fields, stream: bool) -> bool | None:
    options = fields.object("stream_options")
    if options is None:
        return None
    if not stream:
        raise invalid(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    options.only(("include_obfuscation",))
    return options.boolean("include_obfuscation")


def _read_include(fields: Fields) -> frozenset[str]:
    values = fields.array("include", of="strings") or []
    for index, value in enumerate(values):
        Fields({f"include[{index}]": value}).choice(f"include[{index}]", _INCLUDES)
        if value is None:
            raise invalid(
                f"Invalid type for 'include[{index}]': expected a string, but got {kind_of(value)} instead.",
                param=f"include[{index}]",
                code="invalid_type",
            )
    if "message.output_text.logprobs" in values:
        raise unsupported("include", "A recording has no logprobs.")
    return frozenset(values)


def _read_echoed(fields: Fields, model: Model) -> dict[str, Any]:
    retention = fields.choice("prompt_cache_retention", ("in_memory", "24h"))
    if retention == "in_memory" and model.has_phase:
        raise APIError(
            400,
            "This model is compatible only with 24h extended prompt caching.",
            param="prompt_cache_retention",
        )
    tier = fields.choice(
        "service_tier", ("auto", "default", "fast", "flex", "priority", "scale", "ultrafast")
    )
    if tier not in (None, "auto", "default"):
        raise unsupported(
            "service_tier", "The recorded API has one speed: 'auto' and 'default' are the same."
        )
    return {
        "prompt_cache_key": fields.text("prompt_cache_key"),
        "prompt_cache_retention": retention or ("24h" if model.has_phase else "in_memory"),
        "safety_identifier": fields.text("safety_identifier", longest=128),
        "user": fields.text("user"),
    }
