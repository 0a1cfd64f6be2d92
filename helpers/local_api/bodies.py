"""Bodies: a response as the API shows it, from the request that asked for it.

Here lives the shape of the ``Response`` object, after real answers of gpt-6-luna. Not here: what changes while it is
made (``playback.py``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from helpers.local_api.items import Item, readable_text
from helpers.local_api.requests import CountRequest, ResponseRequest
from helpers.local_api.tokens import estimate

Body = dict[str, Any]


def new_body(request: ResponseRequest, response_id: str, created_at: int, marks: Mapping[str, str]) -> Body:
    """Return the body of a response that has not begun.

    Args:
        request: what was asked.
        response_id: its id.
        created_at: seconds since 1970.
        marks: where the answer comes from, for the metadata.
    """
    body: Body = {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "status": "queued" if request.background else "in_progress",
        "access_programs": None,
        "background": request.background,
        "completed_at": None,
        "error": None,
        "frequency_penalty": 0.0,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": None,
        "model": request.model.id,
        "moderation": None,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls,
        "presence_penalty": 0.0,
        "previous_response_id": request.previous_response_id,
        "reasoning": {
            **({"context": "all_turns", "mode": "standard"} if request.model.efforts else {}),
            "effort": request.effort,
            "summary": request.summary,
        },
        **request.echoed,
        "service_tier": "auto",
        "store": request.store,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": request.text,
        "tool_choice": request.tool_choice,
        "tools": request.tools,
        "top_logprobs": 0,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": request.truncation,
        "usage": None,
        "metadata": {**request.metadata, **marks},
    }
    if request.conversation_id is not None:
        body["conversation"] = {"id": request.conversation_id}
    return body


def usage(input_tokens: int, output_tokens: int, reasoning_tokens: int) -> Body:
    """Return the tokens that a response used."""
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": reasoning_tokens},
        "total_tokens": input_tokens + output_tokens,
    }


def tool_usage() -> Body:
    """Return what the hosted tools used: nothing, because those that are counted here do not exist in this API."""
    return {
        "image_gen": {
            "input_tokens": 0,
            "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"image_tokens": 0, "text_tokens": 0},
            "total_tokens": 0,
        },
        "web_search": {"num_requests": 0},
    }


def count_input(request: ResponseRequest | CountRequest, items: Sequence[Item]) -> int:
    """Return about how many tokens a model reads for a request.

    Args:
        request: for instructions and tools.
        items: everything in its context, the input included.
    """
    texts = [readable_text(item) for item in items]
    if request.instructions:
        texts.append(request.instructions)
    if request.tools:
        texts.append(json.dumps(request.tools, ensure_ascii=False))
    return sum(estimate(text) for text in texts)
