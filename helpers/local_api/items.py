"""Items: what conversations, inputs and outputs are made of. Here, messages and reasoning.

Here live the reading of the items that a person sends, in the short and the long form, into the shape in which the
API keeps them. Rooms for further kinds (function calls, searches) add their reader to ``READERS``. Not here: making the
items of an answer (``players.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from helpers.local_api.checks import Fields, check_length, listed, object_at
from helpers.local_api.errors import invalid, missing, not_built_yet, shown

Item = dict[str, Any]

_ROLES: Final = ("assistant", "system", "developer", "user")
_MESSAGE_FIELDS: Final = ("type", "role", "content", "id", "status")
_PHASES: Final = ("commentary", "final_answer")
_INPUT_PARTS: Final = ("input_text", "input_image", "input_file")
_OUTPUT_PARTS: Final = ("output_text", "refusal")
# Each kind of annotation and the fields that it must have, with their type.
_ANNOTATIONS: Final[Mapping[str, Mapping[str, type]]] = {
    "file_citation": {"file_id": str, "filename": str, "index": int},
    "url_citation": {"url": str, "title": str, "start_index": int, "end_index": int},
    "container_file_citation": {
        "container_id": str,
        "file_id": str,
        "filename": str,
        "start_index": int,
        "end_index": int,
    },
    "file_path": {"file_id": str, "index": int},
}
# Kinds that OpenAI takes and this API does not read yet.
_LATER: Final = (
    "item_reference",
    "web_search_call",
    "computer_call",
    "computer_call_output",
    "image_generation_call",
    "local_shell_call",
    "local_shell_call_output",
    "mcp_call",
    "mcp_list_tools",
    "mcp_approval_request",
    "mcp_approval_response",
    "custom_tool_call",
    "custom_tool_call_output",
    "compaction",
)


def read_items(values: Sequence[Any], path: str, new_id: Callable[[str], str]) -> list[Item]:
    """Return items as the API keeps them.

    Args:
        values: what was sent.
        path: where, such as ``"input"`` or ``"items"``; for the messages of the refusals.
        new_id: makes an id from a prefix such as ``"msg"``. Ids that were sent are not kept: the same item can be sent
            twice.
    """
    return [_read_item(value, f"{path}[{index}]", new_id) for index, value in enumerate(values)]


def user_message(text: str, item_id: str) -> Item:
    """Return a user's message as the API keeps it."""
    return {
        "id": item_id,
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_text", "text": text}],
    }


def _read_item(value: Any, path: str, new_id: Callable[[str], str]) -> Item:
    fields = object_at(value, path, "an input item")
    kind = value.get("type", "message" if "role" in value else None)
    if isinstance(kind, str) and kind in _LATER and kind not in READERS:
        raise not_built_yet(f"The input item '{kind}'", param=path)
    if not isinstance(kind, str) or kind not in READERS:
        raise invalid(
            f"Invalid value: '{shown(kind) if isinstance(kind, str) else ''}'. Supported values are: "
            f"{listed(sorted(READERS))}.",
            param=path,
            code="invalid_value",
        )
    return READERS[kind](fields, new_id)


def _read_message(fields: Fields, new_id: Callable[[str], str]) -> Item:
    role = fields.values.get("role")
    if role not in _ROLES:
        raise invalid(
            f"Invalid value: '{shown(role) if isinstance(role, str) else ''}'. Supported values are: {listed(_ROLES)}.",
            param=fields.name("role"),
            code="invalid_value",
        )
    assistant = role == "assistant"
    fields.only((*_MESSAGE_FIELDS, "phase") if assistant else _MESSAGE_FIELDS)
    fields.text("id")
    fields.choice("status", ("in_progress", "completed", "incomplete"))
    message = {
        "id": new_id("msg"),
        "type": "message",
        "status": "completed",
        "role": role,
        "content": _read_content(fields, assistant=assistant),
    }
    phase = fields.choice("phase", _PHASES)
    if phase:
        message["phase"] = phase
    if role == "user" and not text_of(message).strip():
        name = fields.name("content")
        raise invalid(
            f"Invalid '{name}': empty string. Expected a message with at least one character.",
            param=name,
            code="empty_string",
        )
    return message


def _read_content(fields: Fields, *, assistant: bool) -> list[dict[str, Any]]:
    content, name = fields.values.get("content"), fields.name("content")
    if content is None:
        raise missing(name)
    if isinstance(content, str):
        check_length(content, name)
        return [_output_text(content, []) if assistant else {"type": "input_text", "text": content}]
    if not isinstance(content, list):
        raise fields.wrong_type("content", "one of a string or array of objects")
    return [_read_part(part, f"{name}[{index}]", assistant) for index, part in enumerate(content)]


def _read_part(part: Any, path: str, assistant: bool) -> dict[str, Any]:
    fields = object_at(part, path)
    kind, known = part.get("type"), _OUTPUT_PARTS if assistant else _INPUT_PARTS
    if kind is None:
        raise missing(fields.name("type"))
    if kind not in known:
        raise invalid(
            f"Invalid value: '{shown(kind) if isinstance(kind, str) else ''}'. Supported values are: {listed(known)}.",
            param=path,
            code="invalid_value",
        )
    if kind in {"input_image", "input_file"}:
        raise not_built_yet(f"A message part of type '{kind}'", param=path)
    if kind == "refusal":
        fields.only(("type", "refusal"))
        return {"type": "refusal", "refusal": _needed_text(fields, "refusal")}
    if kind == "input_text":
        fields.only(("type", "text"))
        return {"type": "input_text", "text": _needed_text(fields, "text")}
    fields.only(("type", "text", "annotations", "logprobs"))
    fields.array("logprobs")
    return _output_text(_needed_text(fields, "text"), _read_annotations(fields))


def _output_text(text: str, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def _needed_text(fields: Fields, field: str) -> str:
    text = fields.text(field)
    if text is None:
        raise missing(fields.name(field))
    return text


def _read_annotations(fields: Fields) -> list[dict[str, Any]]:
    annotations = fields.array("annotations") or []
    for index, annotation in enumerate(annotations):
        needs = _ANNOTATIONS.get(annotation.get("type")) if _has_type(annotation) else None
        if needs is None or any(
            type(annotation.get(field)) is not expected for field, expected in needs.items()
        ):
            name = f"{fields.name('annotations')}[{index}]"
            raise invalid(
                f"Invalid value for '{name}': expected an annotation of type {listed(sorted(_ANNOTATIONS), 'or')} with "
                "all its fields.",
                param=name,
                code="invalid_value",
            )
    return [dict(annotation) for annotation in annotations]


def _has_type(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _read_reasoning(fields: Fields, new_id: Callable[[str], str]) -> Item:
    fields.only(("type", "id", "summary", "content", "encrypted_content", "status"))
    fields.text("id")
    fields.choice("status", ("in_progress", "completed", "incomplete"))
    summary = []
    for index, part in enumerate(fields.array("summary") or []):
        name = f"{fields.name('summary')}[{index}]"
        if not _has_type(part) or part["type"] != "summary_text":
            raise invalid(
                f"Invalid value for '{name}': expected a part of type 'summary_text'.",
                param=name,
                code="invalid_value",
            )
        summary.append({"type": "summary_text", "text": _needed_text(Fields(part, name), "text")})
    if fields.array("content"):
        raise not_built_yet("The content of a reasoning item", param=fields.name("content"))
    item: Item = {"id": new_id("rs"), "type": "reasoning", "summary": summary}
    encrypted = fields.text("encrypted_content")
    return item if encrypted is None else {**item, "encrypted_content": encrypted}


READERS: Final[dict[str, Callable[[Fields, Callable[[str], str]], Item]]] = {
    "message": _read_message,
    "reasoning": _read_reasoning,
}
"""What reads each kind of input item. A room adds its own."""


def text_of(item: Mapping[str, Any]) -> str:
    """Return what a message says; the texts of several parts on lines of their own."""
    parts = item.get("content")
    if item.get("type") != "message" or not isinstance(parts, list):
        return ""
    if len(parts) == 1 and isinstance(text := parts[0].get("text"), str):
        return text  # nearly all are like this, and a long conversation has many
    return "\n".join(str(part.get("text", part.get("refusal", ""))) for part in parts)


def readable_text(item: Mapping[str, Any]) -> str:
    """Return all of an item that a model would read, to estimate its tokens."""
    if item.get("type") == "message":
        return text_of(item)
    if item.get("type") == "reasoning":
        return "\n".join(part["text"] for part in item.get("summary", []))
    if item.get("type") == "function_call":
        return f"{item['name']}\n{item['arguments']}"
    if item.get("type") == "function_call_output":
        output = item["output"]
        return output if isinstance(output, str) else "\n".join(part["text"] for part in output)
    return "\n".join(
        value for key, value in item.items() if isinstance(value, str) and key not in {"id", "type"}
    )
