"""What the client's own traffic shows: what was created, what it used, and whether the limit is reached.

Here live the HTTP clients that ``connect()`` gives to the SDK, its own ones with hooks that read what passes by, and the
transport that does the same for what is answered in this process. They change nothing, and a stream is not held back; but what is no answer of the API (the sign-in page of a network, say) is
refused, since the SDK would take it for one. Not here: showing or deleting (``ledger.py``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import httpx2
import openai

from helpers.errors import NotTheAPI, SpendLimitReached, explain_web_page, is_web_page
from helpers.interrupts import held_back
from helpers.ledger import Ledger
from helpers.models import token_price_usd, tool_price_usd
from helpers.streams import EventReader, Tee, json_object, tee

__all__ = ["AsyncWatchedClient", "WatchedClient", "Watcher"]

_KIND_OF_OBJECT: Final = {
    "conversation": "conversation",
    "response": "response",
    "file": "file",
    "vector_store": "vector store",
    "container": "container",
}
_KIND_OF_COLLECTION: Final = {
    "conversations": "conversation",
    "responses": "response",
    "files": "file",
    "vector_stores": "vector store",
    "containers": "container",
}
_TERMINAL: Final = ("response.completed", "response.incomplete", "response.failed")
_ITEMS: Final = ("response.output_item.added", "response.output_item.done")
_TOLD: Final = ("response.created", *_TERMINAL, *_ITEMS)
# A request that met one of these was not sent, or not to its end, so that nobody could do what it asks.
_NEVER_SENT: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.WriteError,
    httpx2.WriteTimeout,
)
_CREATION: Final = "workshop_creation"
_UNREADABLE: Final = (
    "The API's answer could not be read: it was damaged on the way, or something else answered in the API's place. Run the "
    "cell again; if it happens again, check the network and OPENAI_BASE_URL."
)


Hooks = Mapping[str, list[Callable[..., Any]]]
"""What an HTTP client calls before a request and after an answer; a watcher's own and those of others."""


class WatchedClient(openai.DefaultHttpxClient):
    """The SDK's own HTTP client, with the hooks of a ``Watcher``."""

    def __init__(self, watcher: Watcher, event_hooks: Hooks | None = None, **options: Any) -> None:
        super().__init__(event_hooks=watcher.hooks() if event_hooks is None else event_hooks, **options)
        self._watcher = watcher

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request."""
        with self._watcher.sending(request):
            return super().send(request, **options)


class AsyncWatchedClient(openai.DefaultAsyncHttpxClient):
    """The SDK's own asynchronous HTTP client, with the hooks of a ``Watcher``."""

    def __init__(self, watcher: Watcher, event_hooks: Hooks | None = None, **options: Any) -> None:
        super().__init__(event_hooks=watcher.async_hooks() if event_hooks is None else event_hooks, **options)
        self._watcher = watcher

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request."""
        with self._watcher.sending(request):
            return await super().send(request, **options)


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
            if self._is_stream(response):
                tee(response, self._reader(response))
            elif self._is_read(response):
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
        """Refuse a request that asks a model for an answer once the limit is reached; note what it creates.

        Raises:
            SpendLimitReached: the request was not sent.
        """
        self._check_limit(request)
        kind = _created_by(request)
        if kind is not None:
            request.extensions[_CREATION] = self._ledger.sent(kind)

    def _check_limit(self, request: httpx2.Request) -> None:
        if self._limit_usd is None or request.method != "POST" or not request.url.path.endswith("/responses"):
            return
        spent_usd = self._ledger.meter.price_usd - self._start_usd
        if spent_usd >= self._limit_usd:
            raise SpendLimitReached(
                f"The limit of ${self._limit_usd:.2f} is used up (${spent_usd:.4f} spent), so nothing was sent. "
                "Raise it with connect(limit_usd=…), or go on without spending: connect('recorded')."
            )

    def after(self, response: httpx2.Response) -> None:
        """Note what an answer says was created, deleted or used.

        Raises:
            NotTheAPI: it is no answer of the API.
        """
        if self._is_stream(response):
            tee(response, self._reader(response))
        elif self._is_read(response):
            response.read()
            self._read_body(response)

    @contextlib.contextmanager
    def sending(self, request: httpx2.Request) -> Iterator[None]:
        """Note of a request that never reached the server that it created nothing."""
        try:
            yield
        except _NEVER_SENT:
            self._answered(request)
            raise

    def _answered(self, request: httpx2.Request) -> None:
        number = request.extensions.pop(_CREATION, None)
        if number is not None:
            self._ledger.answered(number)

    @staticmethod
    def _is_stream(response: httpx2.Response) -> bool:
        kind = response.headers.get("content-type", "")
        if kind.startswith("text/event-stream"):
            return True
        # A proxy may have changed the type of a stream; the SDK reads it all the same.
        was_wanted = response.is_success and _wants_stream(response.request)
        return was_wanted and not is_web_page(response.headers) and "json" not in kind

    def _is_read(self, response: httpx2.Response) -> bool:
        """Return whether the body is one to read: small, and able to tell something.

        Raises:
            NotTheAPI: a web page came in place of an answer.
        """
        if not response.is_success:
            if response.status_code >= 300:
                self._answered(response.request)  # refused, or sent on to another address
            return False
        if response.request.url.path.endswith("/content"):
            return False  # a file, of whatever type
        if is_web_page(response.headers):
            self._answered(response.request)
            raise NotTheAPI(explain_web_page(response.status_code))
        return bool(_parts_of(response.request))

    def _read_body(self, response: httpx2.Response) -> None:
        request = response.request
        body = json_object(response.content)
        self._note(request, body)
        # Where nothing is wanted, nothing has to come; else an answer is JSON, and one of the API's objects.
        is_needed = request.headers.get("accept", "") == "application/json" or bool(response.content)
        is_json = "json" in response.headers.get("content-type", "")
        if is_needed and not (is_json and ("id" in body or "object" in body or "data" in body)):
            raise NotTheAPI(_UNREADABLE)

    def _note(self, request: httpx2.Request, body: dict[str, Any]) -> None:
        collection, *rest = _parts_of(request)
        if request.method == "DELETE":
            # Only what was deleted itself: a file that is taken out of a store is still there.
            if body.get("deleted") and isinstance(body.get("id"), str) and len(rest) == 1:
                self._ledger.forget(body["id"])
            return
        created = request.method == "POST" and not rest
        kind = _KIND_OF_OBJECT.get(str(body.get("object")))
        if kind is None or not isinstance(body.get("id"), str):
            return
        if kind == "response":
            if created or (collection == "responses" and len(rest) == 1):
                self._read_response(body, created)
        elif created and self._ledger.note(
            kind, body["id"], str(body.get("name") or body.get("filename") or "")
        ):
            self._charge_container(kind)
        if created:
            self._answered(request)

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
        number = response.request.extensions.pop(_CREATION, None)
        created = response.request.method == "POST"
        return EventReader(_TOLD.__contains__, lambda _, data: self.read_event(data, created, number))

    def read_event(self, data: bytes, created: bool, number: int | None) -> None:
        """Note what one server-sent event tells.

        Args:
            data: the JSON of its ``data`` line.
            created: whether the stream is that of a new response.
            number: what ``Ledger.sent`` returned for that response, if it is not settled yet.
        """
        event = json_object(data)
        if isinstance(event.get("response"), dict) and isinstance(event["response"].get("id"), str):
            self._read_response(event["response"], created)
            if number is not None:
                self._ledger.answered(number)
        self._read_item(event.get("item"))


def _parts_of(request: httpx2.Request) -> list[str]:
    """Return the path of a request from its collection on, such as ``["files", "file-1"]``; empty for others."""
    parts = request.url.path.strip("/").split("/")
    places = [place for place, part in enumerate(parts) if part in _KIND_OF_COLLECTION or part == "models"]
    return parts[places[0] :] if places else []


def _created_by(request: httpx2.Request) -> str | None:
    """Return the kind of the thing that a request creates, if it creates one that stays."""
    parts = _parts_of(request)
    if request.method != "POST" or len(parts) != 1:
        return None
    if parts == ["responses"] and _body_of(request).get("store") is False:
        return None
    return _KIND_OF_COLLECTION.get(parts[0])


def _wants_stream(request: httpx2.Request) -> bool:
    parts = _parts_of(request)
    if parts[:1] != ["responses"]:
        return False
    return request.url.params.get("stream") == "true" or _body_of(request).get("stream") is True


def _body_of(request: httpx2.Request) -> dict[str, Any]:
    try:
        content = request.content
    except httpx2.RequestNotRead:
        return {}
    # A question can be long, and most requests say neither.
    return json_object(content) if b'"store"' in content or b'"stream"' in content else {}


class _NotingTransport(httpx2.BaseTransport):
    def __init__(self, watcher: Watcher, inner: httpx2.BaseTransport) -> None:
        self._watcher = watcher
        self._inner = inner

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self._watcher.before(request)
        response: httpx2.Response | None = None
        try:
            with contextlib.nullcontext() if _may_take_long(request) else held_back():
                with self._watcher.sending(request):
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
