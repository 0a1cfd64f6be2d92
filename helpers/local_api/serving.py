"""The local API on a port of this machine, for clients in other processes and other languages.

Here live the HTTP server and what each key owns. A request goes through the same transport as inside a process, so the
answers are the same ones. HTTP is read and written by h11, as in the SDK's own client. Not here: what the answers say,
and the command line (``__main__.py``).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import hashlib
import json
import logging
import re
import secrets
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final

import h11
import httpx2

from helpers.local_api import RECORDINGS, LocalAPI
from helpers.local_api.app import check_key
from helpers.local_api.errors import APIError, invalid, shown
from helpers.local_api.multipart import LARGEST_FILE_BYTES
from helpers.local_api.recordings import Library
from helpers.local_api.transport import pause_for

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
"""The only hosts on which it listens, and the only names by which a request may call it."""
MOST_KEYS: Final = 64
"""How many keys can have something here at the same time."""

LEFT: Final = "(left before the end)"
"""What the log says of a request whose client was gone before it was answered in full."""

_IDLE_KEY_S: Final = 1800.0
_IDLE_CONNECTION_S: Final = 300.0
_NUMBERS_OF_A_KEY: Final = 1_000_000
_LONGEST_HEAD_BYTES: Final = 64 * 1024
_LARGEST_JSON_BYTES: Final = 64 * 1024 * 1024
_WAITING_BYTES: Final = 1024 * 1024
_BUFFER_BYTES: Final = 32 * 1024
# What is left of a refused request is read up to here, so that the client gets to see the refusal.
_MOST_DISCARDED_BYTES: Final = 2 * LARGEST_FILE_BYTES
_KEY_LIKE: Final = re.compile(r"sk-[^/]+")
_log = logging.getLogger(__name__)


class ServingError(Exception):
    """The port cannot be served. The message says what to do."""


# -- what each key owns ---------------------------------------------------------------------------------------------


@dataclass
class _Account:
    api: LocalAPI
    transport: httpx2.AsyncBaseTransport
    requests: int = 0
    last_used_s: float = 0.0


class Accounts:
    """One API for each key, made on first use: no key sees what another one made.

    Args:
        make: makes the API of a key; its argument is the number from which to count ids, so that no two keys have
            the same ones.
        most: how many keys can have one at the same time.
        idle_s: after how many seconds without a request a key's API may be closed for another key's.
        clock: gives seconds that only grow.
    """

    def __init__(
        self,
        make: Callable[[int], LocalAPI],
        most: int = MOST_KEYS,
        idle_s: float = _IDLE_KEY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._most = most
        self._idle_s = idle_s
        self._clock = clock
        self._made = 0
        # The keys themselves are not kept.
        self._accounts: dict[bytes, _Account] = {}

    @contextlib.contextmanager
    def use(self, authorization: str) -> Iterator[httpx2.AsyncBaseTransport]:
        """Give the transport to a key's API, and keep that API open while the block runs.

        Args:
            authorization: the header of a request.

        Raises:
            APIError: 401 if there is no key in it, or a wrong one; 429 if too many other keys are in use.
        """
        check_key(authorization)
        account = self._account(authorization)
        account.requests += 1
        try:
            yield account.transport
        finally:
            account.requests -= 1
            account.last_used_s = self._clock()

    def _account(self, authorization: str) -> _Account:
        name = hashlib.sha256(authorization.partition(" ")[2].strip().encode()).digest()
        account = self._accounts.get(name)
        if account is None:
            if len(self._accounts) >= self._most:
                self._close_one()
            api = self._make(self._made * _NUMBERS_OF_A_KEY + 1)
            self._made += 1
            account = self._accounts[name] = _Account(api, api.async_transport())
        return account

    def _close_one(self) -> None:
        """Close the API that nobody has used for the longest time, or refuse."""
        since = self._clock() - self._idle_s
        idle = [
            (account.last_used_s, name)
            for name, account in self._accounts.items()
            if not account.requests and account.last_used_s <= since
        ]
        if not idle:
            raise APIError(
                429,
                f"This server keeps what {self._most} keys made, and all of them were in use within the last "
                f"{self._idle_s / 60:.0f} minutes. Use one of those keys, or start the server with a larger --keys.",
                kind="requests",
                code="too_many_keys",
                retry=False,
            )
        self._accounts.pop(min(idle)[1]).api.close()

    def close(self) -> None:
        """Close all APIs: their kernels end, their state is removed."""
        while self._accounts:
            self._accounts.popitem()[1].api.close()


def accounts_for(most_keys: int = MOST_KEYS, *, recordings: Path | None = None, **settings: Any) -> Accounts:
    """Return accounts whose APIs read the recordings only once between them.

    Args:
        most_keys: how many keys can have one at the same time.
        recordings: the folder of recordings; without one, ``data/recordings``.
        settings: what else each :class:`LocalAPI` is made with.

    Raises:
        ValueError: an unknown pace.
    """
    pause_for(settings.get("pace", ""))  # now, and not at the first request
    library = Library(recordings or RECORDINGS)
    return Accounts(
        lambda first_number: LocalAPI(recordings=library, first_number=first_number, **settings), most_keys
    )


# -- one connection -------------------------------------------------------------------------------------------------


class _Body(httpx2.AsyncByteStream):
    """The body of a request, handed on while it arrives.

    Args:
        flow: pauses and resumes what arrives.
        largest_bytes: how much it may be; ``None`` for no limit, because whoever reads it has one.
        on_read: called when somebody begins to read it.
    """

    def __init__(
        self, flow: asyncio.Transport, largest_bytes: int | None, on_read: Callable[[], None]
    ) -> None:
        self._flow = flow
        self._largest_bytes = largest_bytes
        self._on_read = on_read
        self._parts: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._received_bytes = 0
        self._discarding = False
        self._news = asyncio.Event()
        self._ended = False

    def feed(self, part: bytes) -> None:
        """Take what arrived."""
        self._received_bytes += len(part)
        if not self._discarding:
            self._parts.append(part)
            self._waiting_bytes += len(part)
            if self._waiting_bytes > _WAITING_BYTES:
                self._flow.pause_reading()
        self._news.set()

    def end(self) -> None:
        """Know that nothing more will arrive."""
        self._ended = True
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._on_read()
        while True:
            while self._parts:
                part = self._parts.popleft()
                self._waiting_bytes -= len(part)
                if self._waiting_bytes <= _WAITING_BYTES:
                    self._flow.resume_reading()
                if self._largest_bytes is not None and self._received_bytes > self._largest_bytes:
                    raise APIError(
                        413,
                        f"The body of your request is too large: at most {self._largest_bytes} bytes. Upload long "
                        "texts as files.",
                        code="request_too_large",
                        retry=False,
                    )
                yield part
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()

    async def discard(self) -> bool:
        """Read what nobody wants; return whether the end was reached."""
        self._discarding = True
        self._parts.clear()
        self._waiting_bytes = 0
        self._flow.resume_reading()
        while not self._ended:
            if self._received_bytes > _MOST_DISCARDED_BYTES:
                return False
            self._news.clear()
            await self._news.wait()
        return True


class _Connection(asyncio.Protocol):
    """One connection: answers its requests one after the other, until either side has had enough."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_HEAD_BYTES)
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()
        self._body: _Body | None = None
        self._answering: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # Large buffers would take a whole stream at once, and a response would be complete before anybody read of it.
        transport.set_write_buffer_limits(high=_BUFFER_BYTES)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        self._server.connections.add(self)
        self._wait_for_request()

    def data_received(self, data: bytes) -> None:
        """Take what arrived."""
        self._http.receive_data(data)
        self._go_on()

    def eof_received(self) -> None:
        """Know that the client left. Whatever it still waited for is given up."""
        self._give_up()

    def connection_lost(self, error: Exception | None) -> None:
        """Know that the connection is gone."""
        self._server.connections.discard(self)
        self._stop_timer()
        self._writable.set()
        self._give_up()
        self._lost.set()

    def pause_writing(self) -> None:
        """Know that the client does not keep up."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Know that the client caught up."""
        self._writable.set()

    # -- reading

    def _go_on(self) -> None:
        """Do what follows from the bytes that are there."""
        while not self._transport.is_closing():
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._refuse_connection(error)
                return
            if event is h11.NEED_DATA:
                return
            if event is h11.PAUSED:
                # The next request is there already, and waits until this one is answered.
                self._transport.pause_reading()
                return
            if isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data) and self._body:
                self._body.feed(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage) and self._body:
                self._body.end()
            elif isinstance(event, h11.ConnectionClosed):
                return

    def _begin(self, request: h11.Request) -> None:
        self._stop_timer()
        headers = {name.decode("ascii"): value for name, value in request.headers}
        is_form = headers.get("content-type", b"").lower().startswith(b"multipart/form-data")
        # The reader of a form has limits of its own.
        self._body = _Body(self._transport, None if is_form else _LARGEST_JSON_BYTES, self._continue)
        self._answering = asyncio.get_running_loop().create_task(self._answer(request, self._body))

    def _continue(self) -> None:
        """Tell a client that waits for it to send the body (``Expect: 100-continue``)."""
        if self._http.they_are_waiting_for_100_continue:
            self._write(h11.InformationalResponse(status_code=100, headers=[]))

    def _give_up(self) -> None:
        if self._answering:
            self._answering.cancel()

    def _refuse_connection(self, error: h11.RemoteProtocolError) -> None:
        """Answer what is not HTTP, and close."""
        self._give_up()
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            refusal = APIError(error.error_status_hint, f"This is not a valid HTTP request: {error}.")
            self._write_at_once(refusal)
        self._transport.close()

    # -- answering

    async def _answer(self, request: h11.Request, body: _Body) -> None:
        method, path = request.method.decode("ascii"), request.target.decode("ascii").partition("?")[0]
        outcome, is_open = "", False
        try:
            try:
                _check_host(request)
                with self._server.accounts.use(_header(request, b"authorization")) as transport:
                    response = await transport.handle_async_request(_passed_on(request, body))
                    outcome = str(response.status_code)
                    await self._send(request, response, body)
            except APIError as error:
                outcome = str(error.status)
                self._write_at_once(error, with_body=method != "HEAD", whole=await self._read_rest(body))
            is_open = True
        except (asyncio.CancelledError, ConnectionError):
            outcome = f"{outcome} {LEFT}".strip()
            self._transport.abort()
        except Exception:  # noqa: BLE001 - it is logged, and other connections go on
            outcome = "failed"
            _log.exception("The server failed at %s %s", method, _shown_path(path))
            self._transport.abort()
        self._answering = None
        if self._server.log:
            self._server.log(f"{method} {_shown_path(path)} {outcome}")
        if is_open:
            self._next_request()

    async def _send(self, request: h11.Request, response: httpx2.Response, body: _Body) -> None:
        try:
            headers = [*response.headers.raw, (b"date", formatdate(usegmt=True).encode("ascii"))]
            if not await self._read_rest(body):
                headers.append((b"connection", b"close"))
            self._write(h11.Response(status_code=response.status_code, headers=headers))
            if request.method != b"HEAD":
                assert isinstance(response.stream, httpx2.AsyncByteStream)
                async for part in response.stream:
                    self._write(h11.Data(data=part))
                    await self._writable.wait()
            self._write(h11.EndOfMessage())
        finally:
            # A stream that was not sent to its end cancels its response.
            await response.aclose()

    async def _read_rest(self, body: _Body) -> bool:
        """Read what is left of a request, so that a further one can follow it; return whether one can."""
        # A client that was not told to send its body does not send it.
        return not self._http.they_are_waiting_for_100_continue and await body.discard()

    def _write(self, event: h11.Event) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("the client left")
        data = self._http.send(event)
        if data:
            self._transport.write(data)

    def _write_at_once(self, error: APIError, *, with_body: bool = True, whole: bool = False) -> None:
        """Write a whole answer that says what is wrong."""
        content = json.dumps(error.body).encode()
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(content))),
            ("date", formatdate(usegmt=True)),
            ("x-request-id", f"req_{secrets.token_hex(16)}"),
            *error.headers.items(),
            *([] if whole else [("connection", "close")]),
        ]
        self._write(h11.Response(status_code=error.status, headers=headers))
        if with_body:
            self._write(h11.Data(data=content))
        self._write(h11.EndOfMessage())

    def _next_request(self) -> None:
        self._body = None
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            self._transport.close()
            return
        self._http.start_next_cycle()
        self._wait_for_request()
        self._transport.resume_reading()
        self._go_on()

    # -- waiting

    def _wait_for_request(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_IDLE_CONNECTION_S, self._transport.close)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    async def close(self) -> None:
        """End the connection, and wait until what was under way is given up."""
        answering = self._answering
        self._transport.abort()
        await self._lost.wait()
        if answering:
            await asyncio.wait([answering])


def _shown_path(path: str) -> str:
    """Return a path as it may stand in a log: a key can be put anywhere by mistake."""
    return shown(_KEY_LIKE.sub("[key]", path))


def _header(request: h11.Request, wanted: bytes) -> str:
    """Return a header of a request, empty if it is not there."""
    found = [value for name, value in request.headers if name == wanted]
    return found[0].decode("latin-1") if found else ""


def _check_host(request: h11.Request) -> None:
    """Refuse a request that called this machine by another name.

    A page in a browser can reach loopback under a name of its own (DNS rebinding); then the browser would let it read
    the answers. Neither are there any CORS headers.
    """
    host = _header(request, b"host").strip().lower()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name not in LOOPBACK:
        raise APIError(
            403,
            f"This server answers only to {' and '.join(LOOPBACK[:2])}, and the request was for the host "
            f"'{shown(host)}'. Use one of those names in the base URL.",
            code="host_not_allowed",
            retry=False,
        )


def _passed_on(request: h11.Request, body: _Body) -> httpx2.Request:
    """Return a request as the transport takes it."""
    try:
        url = httpx2.URL("http://localhost").copy_with(raw_path=bytes(request.target))
    except (httpx2.InvalidURL, ValueError):
        raise invalid(f"'{shown(request.target.decode('ascii'))}' is not a path.") from None
    return httpx2.Request(
        request.method.decode("ascii"), url, headers=request.headers.raw_items(), stream=body
    )


# -- the server -----------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Server:
    """Serves APIs on a port of this machine.

    Args:
        accounts: the API of each key.
        log: gets one line for each request (method, path, status), never a key; without it, nothing is logged.

    Example:
        >>> async def main():
        ...     server = Server(accounts_for())
        ...     print(await server.start(8080))  # http://127.0.0.1:8080/v1
        ...     await server.close()
    """

    accounts: Accounts
    log: Callable[[str], None] | None = None
    connections: set[_Connection] = field(default_factory=set)
    _listening: asyncio.Server | None = None

    async def start(self, port: int, host: str = LOOPBACK[0]) -> str:
        """Begin to listen.

        Args:
            port: which one; 0 for a free one.
            host: one of :data:`LOOPBACK`.

        Returns:
            The base URL for a client.

        Raises:
            ServingError: another host, or a port that cannot be had.
        """
        if host not in LOOPBACK:
            raise ServingError(
                f"The recorded API can only be served on this machine itself (127.0.0.1), not on {host!r}: any key opens "
                "it, and it runs code. Leave --host out."
            )
        if host == "localhost":
            host = LOOPBACK[0]  # the name can stand for two addresses, and then port 0 for two ports
        loop = asyncio.get_running_loop()
        try:
            self._listening = await loop.create_server(lambda: _Connection(self), host, port, backlog=512)
        except (OSError, OverflowError) as error:
            raise ServingError(_why_no_port(error, port)) from None
        number = self._listening.sockets[0].getsockname()[1]
        return f"http://{'[::1]' if host == '::1' else host}:{number}/v1"

    async def close(self) -> None:
        """Stop listening, give up what is under way, and close all APIs."""
        if self._listening:
            # A client that was accepted just now must become a connection first: asyncio would forget its socket.
            for _ in range(3):
                await asyncio.sleep(0)
            self._listening.close()
        await asyncio.gather(*(connection.close() for connection in list(self.connections)))
        self.accounts.close()


def _why_no_port(error: OSError | OverflowError, port: int) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"Port {port} is in use. Choose another one with --port, or --port 0 for a free one."
    if number == errno.EACCES:
        return f"Port {port} is not open to you. Choose one above 1023, or --port 0 for a free one."
    return f"Port {port} cannot be served ({error}). Choose another one with --port."


async def _serve(
    server: Server, port: int, host: str, on_start: Callable[[str], object], stop: asyncio.Event
) -> None:
    try:
        on_start(await server.start(port, host))
        await stop.wait()
    finally:
        await server.close()


def serve(server: Server, port: int, host: str, on_start: Callable[[str], object]) -> None:
    """Serve until Ctrl+C, or until the process is asked to end, and then close everything.

    Args:
        server: what to serve.
        port: which one; 0 for a free one.
        host: one of :data:`LOOPBACK`.
        on_start: gets the base URL.

    Raises:
        ServingError: another host, or a port that cannot be had.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        # Windows has no such handlers; there Ctrl+C interrupts asyncio.run.
        with contextlib.suppress(NotImplementedError):
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop.set)
        await _serve(server, port, host, on_start, stop)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())


@contextlib.contextmanager
def serving(
    port: int = 0, *, most_keys: int = MOST_KEYS, log: Callable[[str], None] | None = None, **settings: Any
) -> Iterator[str]:
    """Serve in a thread while the block runs.

    Args:
        port: which one; 0 for a free one.
        most_keys: how many keys can have something here at the same time.
        log: gets one line for each request.
        settings: what each :class:`LocalAPI` is made with.

    Yields:
        The base URL for a client.

    Raises:
        ServingError: a port that cannot be had.

    Example:
        >>> import openai
        >>> with serving() as url, openai.OpenAI(base_url=url, api_key="any") as client:
        ...     client.conversations.create().object
        'conversation'
    """
    server = Server(accounts_for(most_keys, **settings), log)
    started: concurrent.futures.Future[tuple[str, Callable[[], object]]] = concurrent.futures.Future()

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()

        def on_start(url: str) -> None:
            started.set_result((url, lambda: loop.call_soon_threadsafe(stop.set)))

        await _serve(server, port, LOOPBACK[0], on_start, stop)

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run, name="recorded API", daemon=True)
    thread.start()
    url, stop = started.result()
    try:
        yield url
    finally:
        stop()
        thread.join()
