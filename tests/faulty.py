"""A faulty API: the local API with a fault at any request, and at any event of a stream, that a test chooses.

Here live ``Fault``, which says what goes wrong where, and ``FaultyAPI``, which hands out transports like ``LocalAPI``.
A fault is what a client would meet: nothing waits, and nothing is random. Not here: what is tried with it (``faults.py``).
"""

from __future__ import annotations

import contextlib
import json
import re
import urllib.parse
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from helpers.local_api import LocalAPI

PLANTED_KEY = "sk-planted-0123456789abcdef"
"""Stands in bodies of errors, as a server may repeat a key; nobody may ever see it."""

_MOST_REQUESTS = 300

Event = dict[str, Any]


# -- where ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as far as it says which stage it belongs to."""

    method: str
    path: str
    query: str
    content: bytes

    @property
    def answers_calls(self) -> bool:
        """Whether it sends outputs of functions."""
        return b'"function_call_output"' in self.content

    def is_(self, method: str, pattern: str) -> bool:
        return self.method == method and re.fullmatch(rf"/v1{pattern}", self.path) is not None


def _asks(sent: Sent) -> bool:
    return sent.is_("POST", "/responses") and not sent.answers_calls


STAGES: Mapping[str, Callable[[Sent], bool]] = {
    "any": lambda sent: True,
    "connect": lambda sent: sent.is_("GET", "/models/.+"),
    "create": lambda sent: sent.is_("POST", "/conversations"),
    "upload": lambda sent: sent.is_("POST", "/files"),
    "attach": lambda sent: sent.is_("POST", "/vector_stores/[^/]+/files"),
    "parsing": lambda sent: sent.is_("GET", "/vector_stores/[^/]+/files/[^/]+"),
    "background poll": lambda sent: sent.is_("GET", "/responses/[^/]+") and "stream" not in sent.query,
    "text stream": _asks,
    "background stream": lambda sent: (
        _asks(sent) or (sent.is_("GET", "/responses/[^/]+") and "stream=true" in sent.query)
    ),
    "file search": _asks,
    "code": _asks,
    "code, auto": _asks,
    "function arguments": _asks,
    "tool output": lambda sent: sent.is_("POST", "/responses") and sent.answers_calls,
    "download": lambda sent: sent.is_("GET", "/containers/[^/]+/files/[^/]+/content"),
    "clean-up": lambda sent: sent.method == "DELETE",
}
"""Which requests belong to a stage."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, where, and how often.

    Attributes:
        kind: one of ``KINDS``.
        stage: one of ``STAGES``.
        event: the type of the event before which it happens; without one, it happens to the request as a whole.
        after: let so many of these requests pass first, or so many events of that type in each stream.
        times: how often it happens; ``None``: always.
        spreads: once it has happened, it happens to every request, of whatever stage, like a network that is gone.

    Example:
        >>> Fault("cut", stage="text stream", event="response.output_text.delta", after=3)
        Fault(kind='cut', stage='text stream', event='response.output_text.delta', after=3, times=1, spreads=False)
    """

    kind: str
    stage: str = "any"
    event: str = ""
    after: int = 0
    times: int | None = 1
    spreads: bool = False

    def __post_init__(self) -> None:
        kind = KINDS[self.kind]
        assert self.stage in STAGES, self.stage
        assert not self.event or kind.in_stream, f"{self.kind} does not happen at an event"


@dataclass(slots=True)
class _Armed:
    """A fault that waits for its moment."""

    fault: Fault
    passed: int = 0
    struck: int = 0

    @property
    def is_over(self) -> bool:
        return self.fault.times is not None and self.struck >= self.fault.times

    @property
    def happens_later(self) -> bool:
        """Whether it waits for an event of the stream that a request opens."""
        return bool(self.fault.event) and not self.has_spread

    @property
    def has_spread(self) -> bool:
        return self.fault.spreads and self.struck > 0

    def concerns(self, sent: Sent) -> bool:
        return self.has_spread or STAGES[self.fault.stage](sent)


# -- what -------------------------------------------------------------------------------------------------------------


def body_of_error(message: str, code: str | None, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


@dataclass(frozen=True, slots=True)
class Kind:
    """A way in which something goes wrong. At most one of the first four says what happens to a request."""

    refuse: Callable[[httpx2.Request], Exception] | None = None
    """Raised in place of sending the request."""
    answer: Callable[[], httpx2.Response] | None = None
    """Given in place of the API's answer; the API never sees the request."""
    lose: Callable[[httpx2.Request], Exception] | None = None
    """Raised after the API did what was asked: its answer is lost."""
    spoil: Callable[[httpx2.Response], httpx2.Response] | None = None
    """What becomes of an answer that is no stream."""
    meanwhile: Callable[[FaultyAPI], None] | None = None
    """What somebody else does just before the request, or the event."""
    half_upload: bool = False
    """The connection breaks while the request is sent."""
    at_event: Callable[[_Spoiler, Event, bytes], Iterable[bytes]] | None = None
    """What is sent in place of an event; it may raise, or end the stream with ``_Ends``."""

    @property
    def in_stream(self) -> bool:
        return self.at_event is not None or self.meanwhile is not None


class _Ends(Exception):
    """The stream ends here."""


def _status(status: int, body: dict[str, Any], **headers: str) -> Kind:
    return Kind(
        answer=lambda: httpx2.Response(
            status, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
    )


_BAD_GATEWAY = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n"
    f"<hr><center>nginx</center>\r\n<!-- {PLANTED_KEY} -->\r\n</body>\r\n</html>\r\n"
)
_BLOCKED = (
    "<!DOCTYPE html>\n<html><head><title>Access denied</title><script>top.location='https://proxy.invalid'</script>"
    f"</head><body><h1>This site is blocked</h1><p>Policy 17, {PLANTED_KEY}.</p></body></html>"
)
_SIGN_IN = "<!DOCTYPE html><html><head><title>Welcome to the hotel's Wi-Fi</title></head><body><form>Room</form></body></html>"


def _page(status: int, text: str) -> Kind:
    return Kind(
        answer=lambda: httpx2.Response(
            status, content=text.encode(), headers={"content-type": "text/html; charset=utf-8"}
        )
    )


class _HalfBody(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """Half of a body, and then the connection is gone."""

    def __init__(self, content: bytes, request: httpx2.Request) -> None:
        self._half, self._request = content[: len(content) // 2], request

    def __iter__(self) -> Iterator[bytes]:
        yield self._half
        raise _cut_off(self._request)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._half
        raise _cut_off(self._request)


def _cut_off(request: httpx2.Request) -> Exception:
    return httpx2.RemoteProtocolError(
        "peer closed connection without sending complete message body (incomplete chunked read)",
        request=request,
    )


def _with_body(response: httpx2.Response, content: bytes | httpx2.SyncByteStream, **headers: str) -> Any:
    kept = {
        name: value
        for name, value in response.headers.items()
        if name.lower() not in ("content-length", "content-type")
    }
    kept["content-type"] = headers.get("content_type", response.headers.get("content-type", ""))
    more = {"content": content} if isinstance(content, bytes) else {"stream": content}
    return httpx2.Response(response.status_code, headers=kept, request=response.request, **more)


# -- at an event


def _cut(spoiler: _Spoiler, event: Event, frame: bytes) -> Iterable[bytes]:
    raise _cut_off(spoiler.request)


def _stall(spoiler: _Spoiler, event: Event, frame: bytes) -> Iterable[bytes]:
    raise httpx2.ReadTimeout("The read operation timed out", request=spoiler.request)


def _cut_and_late(spoiler: _Spoiler, event: Event, frame: bytes) -> Iterable[bytes]:
    """Cut, and nobody looks again for more than the five minutes in which a stream can be resumed."""
    spoiler._api.later(6 * 60)
    raise _cut_off(spoiler.request)


def _end_early(spoiler: _Spoiler, event: Event, frame: bytes) -> Iterable[bytes]:
    raise _Ends


def _half_event(spoiler: _Spoiler, event: Event, frame: bytes) -> Iterable[bytes]:
    """Half of the JSON of an event, as complete server-sent event."""
    return [frame.rstrip()[: len(frame) * 2 // 3] + b"\n\n"]


def _garbage(spoiler: _Spoiler, event: Event, frame: bytes) -> Iterable[bytes]:
    return [b"\xff\xfe\x00\x9f garbage\n\nevent: \xc3\x28\ndata: <html>\n\n"]


def _twice(spoiler: _Spoiler, event: Event, frame: bytes) -> Iterable[bytes]:
    return [frame, frame]


def _again_from_begin(spoiler: _Spoiler, event: Event, frame: bytes) -> Iterable[bytes]:
    """Everything that was sent so far once more, as a proxy does that repeats its buffer."""
    return [*spoiler.sent, frame]


def _unknown_event(spoiler: _Spoiler, event: Event, frame: bytes) -> Iterable[bytes]:
    strange = {
        "type": "response.dream.delta",
        "item_id": "dream_1",
        "output_index": 7,
        "delta": {"colour": "blue"},
        "response": {"id": None},
    }
    item = {
        "type": "response.output_item.added",
        "output_index": 99,
        "item": {"type": "dream", "id": "dream_1", "status": "in_progress", "content": [{"type": "blue"}]},
    }
    keep_alive = b": keep-alive\n\n"
    return [keep_alive, framed(strange), framed(item), framed({"type": "keepalive"}), framed({}), frame]


def _unknown_fields(spoiler: _Spoiler, event: Event, frame: bytes) -> Iterable[bytes]:
    more = {"brand_new": {"deep": [1, {"er": None}]}, "and_null": None}
    changed = {**event, **more}
    for name in ("item", "part", "response", "annotation"):
        if isinstance(changed.get(name), dict):
            changed[name] = {**changed[name], **more}
    return [framed(changed)]


def _error(spoiler: _Spoiler, code: str, *, nested: bool, message: str = "") -> Iterable[bytes]:
    said = message or f"The server had an error processing your request ({PLANTED_KEY}). Sorry about that!"
    error = {"type": "server_error", "code": code, "message": said, "param": None}
    if nested:
        # As in production, where response.failed comes after it.
        yield framed({"type": "error", "error": error, "sequence_number": spoiler.number})
        yield from _failed(spoiler, code, said)
    else:
        yield framed({**error, "type": "error", "sequence_number": spoiler.number})


def _failed(spoiler: _Spoiler, code: str, message: str = "") -> Iterable[bytes]:
    said = message or "The server had an error while processing your request. Sorry about that!"
    body = {**spoiler.response, "status": "failed", "error": {"code": code, "message": said}}
    yield framed({"type": "response.failed", "sequence_number": spoiler.number + 1, "response": body})


def _incomplete(spoiler: _Spoiler, reason: str) -> Iterable[bytes]:
    body = {
        **spoiler.response,
        "status": "incomplete",
        "incomplete_details": {"reason": reason},
        "output": [{**item, "status": "incomplete"} for item in spoiler.items.values()],
    }
    yield framed({"type": "response.incomplete", "sequence_number": spoiler.number, "response": body})


def _ending(make: Callable[[_Spoiler], Iterable[bytes]]) -> Kind:
    def at_event(spoiler: _Spoiler, event: Event, frame: bytes) -> Iterable[bytes]:
        yield from make(spoiler)
        raise _Ends

    return Kind(at_event=at_event)


# -- meanwhile


def _delete_all(path: str) -> Callable[[FaultyAPI], None]:
    def delete(api: FaultyAPI) -> None:
        for thing in api.get(path)["data"]:
            api.delete(f"{path}/{thing['id']}")

    return delete


KINDS: dict[str, Kind] = {
    # The network.
    "no connection": Kind(
        refuse=lambda request: httpx2.ConnectError("[Errno -3] Temporary failure in name resolution", request=request)
    ),
    "answer lost": Kind(
        lose=lambda request: httpx2.RemoteProtocolError("Server disconnected without sending a response.", request=request)
    ),
    "no answer in time": Kind(
        lose=lambda request: httpx2.ReadTimeout("The read operation timed out", request=request)
    ),
    "answer cut half-way": Kind(
        spoil=lambda response: _with_body(response, _HalfBody(response.content, response.request))
    ),
    "upload cut half-way": Kind(half_upload=True),
    # What is between.
    "web page of a proxy": _page(502, _BAD_GATEWAY),
    "page of a filter": _page(403, _BLOCKED),
    "sign-in page": _page(200, _SIGN_IN),
    "broken JSON": Kind(
        spoil=lambda response: _with_body(response, response.content[: len(response.content) // 2])
    ),
    "wrong content type": Kind(
        spoil=lambda response: _with_body(response, response.content, content_type="text/plain")
    ),
    "another JSON": Kind(spoil=lambda response: _with_body(response, b'{"status": "ok", "version": 3}')),
    # What the API says.
    "400": _status(400, body_of_error(f"Invalid value: '{PLANTED_KEY}'. Supported values are: 'y'.", "invalid_value")),
    "400 busy": _status(
        400,
        body_of_error(
            "Another process is currently operating on this conversation. Please retry in a few seconds.",
            "conversation_locked",
        ),
    ),
    "401": _status(
        401, body_of_error(f"Incorrect API key provided: {PLANTED_KEY}. Find yours on your account's page.", "invalid_api_key")
    ),
    "403": _status(403, body_of_error("Country, region, or territory not supported.", "unsupported_country_region_territory")),
    "404": _status(404, body_of_error("Nothing with id 'x_123' found.", None)),
    "409": _status(409, body_of_error("The object was modified at the same time.", None)),
    "429 with Retry-After": _status(429, body_of_error("Rate limit reached.", "rate_limit_exceeded", "requests"), retry_after="7"),
    "429 an hour": _status(429, body_of_error("Rate limit reached.", "rate_limit_exceeded", "requests"), retry_after="3600"),
    "429": _status(429, body_of_error("Rate limit reached.", "rate_limit_exceeded", "tokens")),
    "429 no credit": _status(
        429, body_of_error("You exceeded your current quota.", "credit_balance_exhausted", "insufficient_quota")
    ),
    "500": _status(500, body_of_error("The server had an error while processing your request.", None, "server_error")),
    "503": _status(503, body_of_error("The engine is currently overloaded.", "server_is_overloaded", "server_error")),
    # In a stream.
    "cut": Kind(at_event=_cut),
    "cut at once": Kind(at_event=_cut),
    "cut at the end": Kind(at_event=_cut),
    "cut, and gone": Kind(
        at_event=_cut,
        refuse=lambda request: httpx2.ConnectError("[Errno 101] Network is unreachable", request=request),
    ),
    "cut for six minutes": Kind(at_event=_cut_and_late),
    "stall": Kind(at_event=_stall),
    "silent end": Kind(at_event=_end_early),
    "half an event": Kind(at_event=_half_event),
    "garbage": Kind(at_event=_garbage),
    "event twice": Kind(at_event=_twice),
    "events from the begin": Kind(at_event=_again_from_begin),
    "unknown events": Kind(at_event=_unknown_event),
    "unknown fields": Kind(at_event=_unknown_fields),
    "error event, nested": _ending(lambda spoiler: _error(spoiler, "server_error", nested=True)),
    "error event, flat": _ending(lambda spoiler: _error(spoiler, "server_error", nested=False)),
    "error event, no credit": _ending(
        lambda spoiler: _error(spoiler, "credit_balance_exhausted", nested=True, message="No credit left.")
    ),
    "response.failed": _ending(lambda spoiler: _failed(spoiler, "server_error")),
    "response.failed, prompt": _ending(lambda spoiler: _failed(spoiler, "invalid_prompt", f"The prompt is not allowed: {PLANTED_KEY}.")),
    "response.incomplete, length": _ending(lambda spoiler: _incomplete(spoiler, "max_output_tokens")),
    "response.incomplete, filter": _ending(lambda spoiler: _incomplete(spoiler, "content_filter")),
    # What somebody else does meanwhile.
    "files deleted": Kind(meanwhile=_delete_all("/files")),
    "store deleted": Kind(meanwhile=_delete_all("/vector_stores")),
    "container expired": Kind(meanwhile=lambda api: api.later(21 * 60)),
    "thread deleted": Kind(
        meanwhile=lambda api: [api.delete(f"/conversations/{id}") for id in api.existing("conversation")] and None
    ),
    "response deleted": Kind(
        meanwhile=lambda api: [api.delete(f"/responses/{id}") for id in api.existing("response")] and None
    ),
}  # fmt: skip
"""Every kind of fault, by name."""


def framed(event: Event) -> bytes:
    return f"event: {event.get('type', '')}\ndata: {json.dumps(event)}\n\n".encode()


# -- the API ----------------------------------------------------------------------------------------------------------

TABLES = {
    "conversation": "select id from conversations where not deleted",
    "response": "select id from responses",
    "file": "select id from files",
    "vector store": "select id from vector_stores",
    "container": "select id from containers",
}
"""Where the local API keeps what an account can hold."""
PARTS = {
    "conversation item": "select id from conversation_items",
    "file content": "select file from file_parts",
    "file in a store": "select file from vector_store_files",
    "chunk": "select id from chunks",
    "file in a container": "select id from container_files",
    "result of code": "select response from code_runs",
}
"""Where it keeps what belongs to those."""


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass(slots=True)
class Delivered:
    """What reached the client of one stream."""

    text: str = ""
    types: list[str] = field(default_factory=list)


class FaultyAPI:
    """A local API in front of which something goes wrong.

    Args:
        **options: what ``LocalAPI`` takes.

    Attributes:
        requests: what was sent so far, as ``"POST /responses"``.
        streams: what was delivered of each stream so far.

    Example:
        >>> api = FaultyAPI()
        >>> api.arm(Fault("503", stage="upload", times=None))
        >>> api.close()
    """

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.local = LocalAPI(clock=self.clock, **options)
        self.requests: list[str] = []
        self.streams: list[Delivered] = []
        self._armed: list[_Armed] = []
        self._plain = httpx2.Client(
            transport=self.local.transport(),
            base_url="https://recorded.invalid/v1",
            headers={"authorization": "Bearer somebody-else"},
        )

    def arm(self, *faults: Fault) -> None:
        """Let these faults happen from now on, in place of those that were armed before."""
        self._armed = [_Armed(fault) for fault in faults]

    @property
    def struck(self) -> int:
        """How often one of the armed faults has happened."""
        return sum(armed.struck for armed in self._armed)

    def transport(self) -> httpx2.BaseTransport:
        return _Transport(self)

    def async_transport(self) -> httpx2.AsyncBaseTransport:
        return _AsyncTransport(self)

    @property
    def closed(self) -> bool:
        return self.local.closed

    def close(self) -> None:
        self._plain.close()
        self.local.close()

    # -- what a test looks at

    def existing(self, kind: str) -> list[str]:
        """Return the ids of what is there of a kind (see ``TABLES`` and ``PARTS``)."""
        statement = {**TABLES, **PARTS}[kind]
        with self.local._state.transaction() as transaction:
            return [str(row[0]) for row in transaction.execute(statement).fetchall()]

    def left(self) -> dict[str, list[str]]:
        """Return everything that is there, by kind; empty if nothing is."""
        found = {kind: self.existing(kind) for kind in (*TABLES, *PARTS)}
        return {kind: ids for kind, ids in found.items() if ids}

    # -- what somebody else does

    def get(self, path: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._plain.get(path).raise_for_status().json()
        return answer

    def delete(self, path: str) -> None:
        self._plain.delete(path).raise_for_status()

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.now_s += seconds

    # -- what happens to a request

    def _next(self, sent: Sent) -> _Armed | None:
        """Return the fault that happens to this request now, if one does."""
        self.requests.append(f"{sent.method} {sent.path.removeprefix('/v1')}")
        if len(self.requests) > _MOST_REQUESTS:
            raise KeyboardInterrupt("somebody asks again and again, without an end")
        for armed in self._armed:
            if armed.is_over or not armed.concerns(sent):
                continue
            if not armed.fault.event and armed.passed < armed.fault.after:
                armed.passed += 1
                continue
            if not armed.happens_later:
                armed.struck += 1
            return armed
        return None


def _sent(request: httpx2.Request) -> Sent:
    is_form = request.headers.get("content-type", "").startswith("multipart/")
    return Sent(
        request.method,
        urllib.parse.unquote(request.url.path),
        request.url.query.decode(),
        b"" if is_form else request.content,
    )


def _breaks_in_upload(request: httpx2.Request) -> Exception:
    return httpx2.WriteError("[Errno 32] Broken pipe", request=request)


def _before(api: FaultyAPI, armed: _Armed | None, request: httpx2.Request) -> httpx2.Response | None:
    """Do what happens before the request reaches the API. Returns an answer if it never does."""
    if armed is None or armed.happens_later:
        return None
    kind = KINDS[armed.fault.kind]
    if kind.meanwhile is not None:
        kind.meanwhile(api)
    if kind.refuse is not None:
        raise kind.refuse(request)
    if kind.answer is not None:
        answer = kind.answer()
        answer.request = request
        return answer
    return None


def _after(api: FaultyAPI, armed: _Armed | None, request: httpx2.Request, response: httpx2.Response) -> Any:
    """Return what the client gets of an answer that was read (or is a stream that is not)."""
    kind = None if armed is None or armed.happens_later else KINDS[armed.fault.kind]
    is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
    if kind is not None and kind.lose is not None:
        response.close() if not is_stream else response.stream.close()  # type: ignore[union-attr]
        raise kind.lose(request)
    if is_stream:
        spoiler = _Spoiler(api, armed if kind is None or kind.at_event else None, request)
        headers = dict(response.headers)
        if kind is KINDS["wrong content type"]:
            headers["content-type"] = "text/plain"
        return httpx2.Response(
            response.status_code,
            headers=headers,
            stream=_SpoiltStream(response.stream, spoiler),
            request=request,
        )
    return kind.spoil(response) if kind is not None and kind.spoil is not None else response


class _Transport(httpx2.BaseTransport):
    def __init__(self, api: FaultyAPI) -> None:
        self._api, self._inner = api, api.local.transport()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if not request.headers.get("content-type", "").startswith("multipart/"):
            request.read()
        armed = self._api._next(_sent(request))
        if armed is not None and KINDS[armed.fault.kind].half_upload:
            next(iter(request.stream))  # type: ignore[arg-type]
            raise _breaks_in_upload(request)
        answer = _before(self._api, armed, request)
        if answer is not None:
            return answer
        response = self._inner.handle_request(request)
        if not _flows(response):
            response.read()
        return _after(self._api, armed, request, response)


class _AsyncTransport(httpx2.AsyncBaseTransport):
    def __init__(self, api: FaultyAPI) -> None:
        self._api, self._inner = api, api.local.async_transport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if not request.headers.get("content-type", "").startswith("multipart/"):
            await request.aread()
        armed = self._api._next(_sent(request))
        if armed is not None and KINDS[armed.fault.kind].half_upload:
            async for _ in request.stream:  # type: ignore[union-attr]
                break
            raise _breaks_in_upload(request)
        answer = _before(self._api, armed, request)
        if answer is not None:
            return answer
        response = await self._inner.handle_async_request(request)
        if not _flows(response):
            await response.aread()
        return _after(self._api, armed, request, response)


def _flows(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").startswith("text/event-stream")


class _Spoiler:
    """Passes the events of one stream on, up to the one at which a fault happens."""

    def __init__(self, api: FaultyAPI, armed: _Armed | None, request: httpx2.Request) -> None:
        self.request = request
        self.response: dict[str, Any] = {}
        self.items: dict[str, dict[str, Any]] = {}
        self.number = 0
        self.sent: list[bytes] = []
        self._api = api
        self._armed = armed
        self._passed = 0
        self._last = -1
        self._delivered = Delivered()
        api.streams.append(self._delivered)

    def feed(self, frame: bytes) -> Iterator[bytes]:
        """Yield what is sent in place of a frame. Raises ``_Ends`` where the stream ends."""
        event: Event = json.loads(frame.partition(b"\ndata: ")[2])
        self.number = event["sequence_number"]
        for sent in self._instead(event, frame):
            self._deliver(sent)
            yield sent
        self.sent.append(frame)
        self._keep(event)

    def _instead(self, event: Event, frame: bytes) -> Iterable[bytes]:
        armed = self._armed
        if armed is None or armed.is_over:
            return [frame]
        fault = armed.fault
        if fault.event and event["type"] != fault.event:
            return [frame]
        if fault.event and self._passed < fault.after:
            self._passed += 1
            return [frame]
        kind = KINDS[fault.kind]
        if fault.event:
            armed.struck += 1
        if kind.meanwhile is not None:
            kind.meanwhile(self._api)
            return [frame]
        assert kind.at_event is not None
        return kind.at_event(self, event, frame)

    def _keep(self, event: Event) -> None:
        """Note how far the response is, for a fault that ends it with a body of its own."""
        if isinstance(event.get("response"), dict):
            self.response = event["response"]
        kind, item = event["type"], event.get("item")
        if isinstance(item, dict):
            self.items[item["id"]] = item
        elif kind == "response.output_text.delta":
            known = self.items.get(event["item_id"])
            if known is None:
                return  # a stream that was joined in the middle of a message
            text = (known["content"][0]["text"] if known["content"] else "") + event["delta"]
            part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
            self.items[event["item_id"]] = {**known, "content": [part]}
        elif kind in ("response.function_call_arguments.delta", "response.code_interpreter_call_code.delta"):
            known = self.items.get(event["item_id"])
            if known is None:
                return
            name = "arguments" if known["type"] == "function_call" else "code"
            self.items[event["item_id"]] = {**known, name: known[name] + event["delta"]}

    def _deliver(self, frame: bytes) -> None:
        with contextlib.suppress(ValueError):
            event = json.loads(frame.partition(b"\ndata: ")[2])
            kind = event.get("type", "")
            self._delivered.types.append(kind)
            if kind == "response.output_text.delta" and event["sequence_number"] > self._last:
                self._last = event["sequence_number"]
                self._delivered.text += event["delta"]


class _SpoiltStream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __init__(self, inner: Any, spoiler: _Spoiler) -> None:
        self._inner, self._spoiler = inner, spoiler

    def __iter__(self) -> Iterator[bytes]:
        try:
            for frame in self._inner:
                yield from self._spoiler.feed(frame)
        except _Ends:
            return
        finally:
            self.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for frame in self._inner:
                for sent in self._spoiler.feed(frame):
                    yield sent
        except _Ends:
            return
        finally:
            self.close()

    def close(self) -> None:
        self._inner.close()

    async def aclose(self) -> None:
        self._inner.close()
