"""Recording: hands on what passes between the client and the live API, complete, each request with its answer.

Here live the event hooks that ``connect("record")`` adds to the HTTP client. Nothing is changed and nothing is held
back: a stream is read while it passes. Not here: what becomes of it, which is the listener's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import httpx2

from helpers.streams import EventReader, is_event_stream, json_object, tee

__all__ = ["Listener", "Recorder"]

_COLLECTIONS: Final = ("conversations", "responses")
_TERMINAL: Final = ("response.completed", "response.incomplete", "response.failed")
_WANTED: Final = ("response.created", *_TERMINAL, "error")


class Listener(Protocol):
    """Whoever makes something of what passes. Requests and bodies are JSON objects."""

    def heard(
        self, method: str, path: Sequence[str], request: Mapping[str, Any], body: Mapping[str, Any]
    ) -> None:
        """Hear a request and its answer; for a stream, at its first event and again at its last one.

        Args:
            method: such as ``"POST"``.
            path: its parts from the collection on, such as ``("responses", "resp_1", "cancel")``.
            request: the request's body; empty if it has none.
            body: the answer's body, or the response that an event of a stream holds.
        """
        ...

    def missed(self, path: Sequence[str], request: Mapping[str, Any], response_id: str, why: str) -> None:
        """Hear that a model's answer did not come to its end, and why (half a sentence)."""
        ...


class Recorder:
    """Event hooks for the HTTP client, that let a listener hear every model turn and every conversation.

    Args:
        listener: hears it, in the thread in which it passes.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """Return the hooks for a synchronous client."""
        return {"request": [self.before], "response": [self.after]}

    def async_hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """Return the hooks for an asynchronous client."""

        async def before(request: httpx2.Request) -> None:
            self.before(request)

        async def after(response: httpx2.Response) -> None:
            path = _path(response.request)
            if path and not is_event_stream(response):
                await response.aread()
            self._listen(path, response)

        return {"request": [before], "response": [after]}

    def before(self, request: httpx2.Request) -> None:
        """Ask for an answer that is not compressed, so that it can be read as it passes."""
        if _path(request):
            request.headers["accept-encoding"] = "identity"

    def after(self, response: httpx2.Response) -> None:
        """Let the listener hear an answer, or the events of a stream while they pass."""
        path = _path(response.request)
        if path and not is_event_stream(response):
            response.read()
        self._listen(path, response)

    def _listen(self, path: tuple[str, ...], response: httpx2.Response) -> None:
        if not path:
            return
        method, request = response.request.method, _request_body(response.request)
        if is_event_stream(response):
            tee(response, _reader(self._listener, method, path, request))
        elif response.status_code >= 400:
            if path == ("responses",) and method == "POST":
                self._listener.missed(
                    path, request, "", f"the API refused it (status {response.status_code})"
                )
        else:
            self._listener.heard(method, path, request, json_object(response.content))


def _reader(
    listener: Listener, method: str, path: tuple[str, ...], request: Mapping[str, Any]
) -> EventReader:
    response_id, why, ended = "", "its stream was not read to the end", False

    def on_event(kind: str, data: bytes) -> None:
        nonlocal response_id, why, ended
        event = json_object(data)
        if kind == "error":
            why = "the API sent an error in its stream"
        elif isinstance(event.get("response"), dict):
            response_id = str(event["response"].get("id"))
            ended = ended or kind in _TERMINAL
            listener.heard(method, path, request, event["response"])

    def on_end() -> None:
        if not ended:
            listener.missed(path, request, response_id, why)

    return EventReader(_WANTED.__contains__, on_event, on_end)


def _path(request: httpx2.Request) -> tuple[str, ...]:
    """Return the parts of the path from the collection on; empty if it is about something else."""
    parts = request.url.path.strip("/").split("/")
    for collection in _COLLECTIONS:
        if collection in parts:
            return tuple(parts[parts.index(collection) :])
    return ()


def _request_body(request: httpx2.Request) -> dict[str, Any]:
    if "json" not in request.headers.get("content-type", ""):
        return {}
    return json_object(request.content)
