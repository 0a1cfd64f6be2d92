"""Reading fields of what the API sends: SDK objects, or dicts from a recording.

Servers differ and fields come and go, so a missing field is ``None``, ``""`` or an empty list here and never an error.
Not here: what the fields mean.
"""

from __future__ import annotations

from typing import Any

__all__ = ["at", "list_at", "text_at"]


def at(thing: object, name: str) -> Any:
    """Return an attribute of an object or a key of a dict; ``None`` if it is not there."""
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def text_at(thing: object, name: str) -> str:
    """Return a field that is a text; ``""`` if it is something else or not there."""
    value = at(thing, name)
    return value if isinstance(value, str) else ""


def list_at(thing: object, name: str) -> list[Any]:
    """Return a field that is a list; an empty one if it is something else or not there."""
    value = at(thing, name)
    return value if isinstance(value, list) else []
