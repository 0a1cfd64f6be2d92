"""Shapes: which events passed by and which fields they had, by name. Never a value.

Here live the event hooks that note this, for a comparison of the live API with the recorded one (``tests/drift.py``).
They are used only where ``WORKSHOP_SHAPES`` names a file. Not here: the comparison.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx2

from helpers.streams import EventReader, is_event_stream, json_object, tee

__all__ = ["Shapes", "field_names"]

# What is below these is somebody's own: its names say something about them, and nothing about the API.
_OWN: Final = frozenset(
    {"arguments", "attributes", "filters", "metadata", "output_schema", "parameters", "properties", "schema"}
)
_TYPE_NAME: Final = re.compile(r"[a-z][a-z0-9_.]{0,60}")


class Shapes:
    """Event hooks for the HTTP client, that note types and field names in a file.

    What the file holds already stays, so that several notebooks can add to one.

    Args:
        path: a JSON file: ``{"events": {type: [field, …]}, "objects": {object: [field, …]}}``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: dict[str, dict[str, set[str]]] = {"events": {}, "objects": {}}
        if path.is_file():
            for kind, found in json.loads(path.read_text(encoding="utf-8")).items():
                self._seen[kind] = {name: set(fields) for name, fields in found.items()}

    def hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """Return the hooks for a synchronous client."""
        return {"request": [], "response": [self.after]}

    def async_hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """Return the hooks for an asynchronous client."""

        async def after(response: httpx2.Response) -> None:
            if self._is_told(response) and not is_event_stream(response):
                await response.aread()
            self._look(response)

        return {"request": [], "response": [after]}

    def after(self, response: httpx2.Response) -> None:
        """Note the shape of an answer, or of the events of a stream while they pass."""
        if self._is_told(response) and not is_event_stream(response):
            response.read()
        self._look(response)

    @staticmethod
    def _is_told(response: httpx2.Response) -> bool:
        kind = response.headers.get("content-type", "")
        return response.status_code < 400 and ("json" in kind or is_event_stream(response))

    def _look(self, response: httpx2.Response) -> None:
        if not self._is_told(response):
            return
        if is_event_stream(response):
            noted: dict[str, set[str]] = {}

            def on_event(kind: str, data: bytes) -> None:
                noted.setdefault(kind, set()).update(field_names(json_object(data)))

            tee(response, EventReader(lambda _: True, on_event, lambda: self._note("events", noted)))
            return
        body = json_object(response.content)
        if isinstance(body.get("object"), str):
            self._note("objects", {body["object"]: set(field_names(body))})

    def _note(self, kind: str, noted: dict[str, set[str]]) -> None:
        with self._lock:
            before = sum(map(len, self._seen[kind].values())) + len(self._seen[kind])
            for name, fields in noted.items():
                self._seen[kind].setdefault(name, set()).update(fields)
            if sum(map(len, self._seen[kind].values())) + len(self._seen[kind]) > before:
                self._write()

    def _write(self) -> None:
        sorted_out = {
            kind: {name: sorted(fields) for name, fields in sorted(found.items())}
            for kind, found in self._seen.items()
        }
        temporary = self._path.with_name(f".{self._path.name}.new")
        temporary.write_text(json.dumps(sorted_out, indent=1), encoding="utf-8")
        os.replace(temporary, self._path)


def field_names(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield the names of all fields of a JSON value, with the way to each.

    An object that says its ``type`` has it in the way, because objects of different types stand in one list.

    Example:
        >>> sorted(field_names({"item": {"type": "message", "id": "msg_1"}, "metadata": {"mine": "secret"}}))
        ['item', 'item<message>.id', 'item<message>.type', 'metadata']
    """
    if isinstance(value, list):
        for each in value:
            yield from field_names(each, f"{prefix}[]")
    elif isinstance(value, dict):
        kind = value.get("type")
        if prefix and isinstance(kind, str) and _TYPE_NAME.fullmatch(kind):
            prefix = f"{prefix}<{kind}>"
        for name, each in value.items():
            way = f"{prefix}.{name}" if prefix else str(name)
            yield way
            if name not in _OWN:
                yield from field_names(each, way)
