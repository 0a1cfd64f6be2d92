"""What the client's own traffic shows: what was created, what it used, and whether the limit is reached.

Here live the event hooks that ``connect()`` gives to the HTTP client, and the transport that does the same for what is
answered in this process. They read answers that pass by and change nothing; a stream passes through without being held
back. Not here: showing or deleting (``ledger.py``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

import httpx2

from helpers.errors import SpendLimitReached
from helpers.interrupts import held_back
from helpers.ledger import Ledger
from helpers.models import token_price_usd, tool_price_usd
from helpers.streams import EventReader, Tee, is_event_stream, json_object, tee

__all__ = ["Watcher"]

_KIND_OF_OBJECT: Final = {
    "conversation": "conversation",
    "response": "response",
    "file": "file",
    "vector_store": "vector store",
    "container": "container",
}
_COLLECTIONS: Final = ("conversations", "responses", "files", "vector_stores", "containers")
_TERMINAL: Final = ("response.completed", "response.incomplete", "response.failed")
_ITEMS: Final = ("response.output_item.added", "response.output_item.done")
_TOLD: Final = ("response.created", *_TERMINAL, *_ITEMS)


class Watcher:
    """Event hooks for the HTTP client of one account.

    Args:
        ledger: where created things and their price are noted.
        limit_usd: refuse further model requests once this much was spent since now, in US dollars; ``None``: never.
    """

    def __init__(self, ledger: Ledger, limit_usd: float | None = None) -> None:
        self._ledger = ledger
        self._limit_usd = limit_usd
        self._start_usd = ledger.meter.price_usd

    def hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """Return the hooks for a synchronous client."""
        return {"request": [self.before], "response": [self.after]}

    def async_hooks(self) -> dict[str, list[Callable[..., Any]]]:
        """Return the hooks for an asynchronous client."""

        async def before(request: httpx2.Request) -> None:
            self.before(request)

        async def after(response: httpx2.Response) -> None:
            if is_event_stream(response):
                tee(response, self._reader(response))
            elif self._is_told(response):
                await response.aread()
                self._read_body(response)

        return {"request": [before], "response": [after]}

    def transport(self, inner: httpx2.BaseTransport) -> httpx2.BaseTransport:
        """Return a transport that does what the hooks do, and leaves no moment between creating and noting.

        Args:
            inner: a transport that answers in this process, at once.
        """
        return _NotingTransport(self, inner)

    def before(self, request: httpx2.Request) -> None:
        """Refuse a request that asks a model for an answer once the limit is reached.

        Raises:
            SpendLimitReached: the request was not sent.
        """
        if self._limit_usd is None or request.method != "POST" or not request.url.path.endswith("/responses"):
            return
        spent_usd = self._ledger.meter.price_usd - self._start_usd
        if spent_usd >= self._limit_usd:
            raise SpendLimitReached(
                f"The limit of ${self._limit_usd:.2f} is used up (${spent_usd:.4f} spent), so nothing was sent. "
                "Raise it with connect(limit_usd=…), or go on without spending: connect('recorded')."
            )

    def after(self, response: httpx2.Response) -> None:
        """Note what an answer says was created, deleted or used."""
        if is_event_stream(response):
            tee(response, self._reader(response))
        elif self._is_told(response):
            response.read()
            self._read_body(response)

    @staticmethod
    def _is_told(response: httpx2.Response) -> bool:
        """Whether the answer is a small JSON body that can tell of something created, deleted or used."""
        if response.status_code >= 400 or "json" not in response.headers.get("content-type", ""):
            return False
        parts = response.request.url.path.strip("/").split("/")
        for collection in _COLLECTIONS:
            if collection in parts:
                rest = parts[parts.index(collection) + 1 :]
                method = response.request.method
                if method == "DELETE":
                    return len(rest) == 1
                return not rest if method == "POST" else collection == "responses" and len(rest) == 1
        return False

    def _read_body(self, response: httpx2.Response) -> None:
        body = json_object(response.content)
        if response.request.method == "DELETE":
            # Taking a file out of a store is told in the same shape as deleting it, and the file is still there.
            only_taken_out = body.get("object") == "vector_store.file.deleted"
            if body.get("deleted") and isinstance(body.get("id"), str) and not only_taken_out:
                self._ledger.forget(body["id"])
            return
        kind = _KIND_OF_OBJECT.get(str(body.get("object")))
        if kind is None or not isinstance(body.get("id"), str):
            return
        created = response.request.method == "POST"
        if kind == "response":
            self._read_response(body, created)
        elif created and self._ledger.note(
            kind, body["id"], str(body.get("name") or body.get("filename") or "")
        ):
            self._charge_container(kind)

    def _read_response(self, body: dict[str, Any], created: bool) -> None:
        if created and body.get("store") is not False:
            self._ledger.note("response", body["id"])
        for item in body.get("output") or []:
            self._read_item(item)
        usage = body.get("usage")
        # A response that was only looked at, and made elsewhere, is neither ours to delete nor ours to pay.
        if (
            isinstance(usage, dict)
            and (created or self._ledger.has(body["id"]))
            and self._ledger.charge_once(body["id"])
        ):
            self._charge(body, usage)

    def _read_item(self, item: object) -> None:
        if not isinstance(item, dict) or not isinstance(item.get("container_id"), str):
            return
        if self._ledger.note("container", item["container_id"], "made by the code interpreter"):
            self._charge_container("container")

    def _charge_container(self, kind: str) -> None:
        if kind == "container":
            self._ledger.meter.price_usd += tool_price_usd("container_session")

    def _charge(self, body: dict[str, Any], usage: dict[str, Any]) -> None:
        meter = self._ledger.meter
        meter.responses += 1
        meter.tokens += int(usage.get("total_tokens") or 0)
        meter.estimated = meter.estimated or "workshop_source" in (body.get("metadata") or {})
        price_usd = token_price_usd(
            str(body.get("model")),
            input_tokens=int(usage.get("input_tokens") or 0),
            cached_tokens=int((usage.get("input_tokens_details") or {}).get("cached_tokens") or 0),
            output_tokens=int(usage.get("output_tokens") or 0),
        )
        if price_usd is None:
            meter.unpriced += 1
        else:
            meter.price_usd += price_usd
        searches = sum(item.get("type") == "file_search_call" for item in body.get("output") or [])
        meter.price_usd += searches * tool_price_usd("file_search_call")

    def _reader(self, response: httpx2.Response) -> EventReader:
        created = response.request.method == "POST"
        return EventReader(_TOLD.__contains__, lambda _, data: self.read_event(data, created))

    def read_event(self, data: bytes, created: bool) -> None:
        """Note what one server-sent event tells (the JSON of its ``data`` line)."""
        event = json_object(data)
        if isinstance(event.get("response"), dict) and isinstance(event["response"].get("id"), str):
            self._read_response(event["response"], created)
        self._read_item(event.get("item"))


class _NotingTransport(httpx2.BaseTransport):
    def __init__(self, watcher: Watcher, inner: httpx2.BaseTransport) -> None:
        self._watcher = watcher
        self._inner = inner

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self._watcher.before(request)
        response: httpx2.Response | None = None
        try:
            with contextlib.nullcontext() if _may_take_long(request) else held_back():
                response = self._inner.handle_request(request)
                self._watcher.after(response)
                if isinstance(response.stream, Tee):
                    response.stream.read_first()
        except BaseException:
            # Nobody gets it, so nobody else can close it: its conversation would stay busy.
            if response is not None:
                response.close()
            raise
        return response

    def close(self) -> None:
        self._inner.close()


def _may_take_long(request: httpx2.Request) -> bool:
    """Whether the answer may wait for code to run: a person must be able to interrupt that."""
    if request.method == "GET":
        return "/responses/" in request.url.path
    if request.method != "POST" or not request.url.path.endswith("/responses"):
        return False
    body = json_object(request.read())
    return not body.get("stream") and "code_interpreter" in str(body.get("tools"))
