"""Transports: the way from the SDK's HTTP client to the application, without a network.

Here live the synchronous and the asynchronous transport and the writing of server-sent events. A stream is lazy: an
event is made when somebody reads it. Not here: what the answers say.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final
from urllib.parse import parse_qs, quote

import httpx2

from helpers.local_api.app import Answer, App, Call
from helpers.local_api.code_interpreter_tool import RUNS_NEXT
from helpers.local_api.multipart import Receiver
from helpers.local_api.players import Event
from helpers.local_api.responses import Reading, Waiting

_HUMAN_PAUSE_S: Final = 0.025
# One for all events: `json.dumps` would make one for each.
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class EventStream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """The bytes of a stream of events.

    Args:
        reading: gives the events.
        pause_s: how long to wait before each delta.
    """

    def __init__(self, reading: Reading, pause_s: float) -> None:
        self._reading = reading
        self._pause_s = pause_s

    def __iter__(self) -> Iterator[bytes]:
        try:
            for event in self._reading:
                if self._pause_s and event["type"].endswith(".delta"):
                    time.sleep(self._pause_s)
                yield frame(event)
        finally:
            self.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        import anyio

        runs_next = self._reading.runs_first
        try:
            while True:
                if runs_next:
                    # Code can take its time, and the event loop stays free meanwhile. Whoever gives up waiting closes
                    # the reading below, which interrupts the code.
                    event = await anyio.to_thread.run_sync(next, self._reading, None, abandon_on_cancel=True)
                else:
                    event = next(self._reading, None)
                if event is None:
                    return
                runs_next = event["type"] == RUNS_NEXT
                # Even a pause of nothing lets other streams go on, so that many at once are interleaved.
                await anyio.sleep(self._pause_s if event["type"].endswith(".delta") else 0)
                yield frame(event)
        finally:
            self.close()

    def close(self) -> None:
        """Stop reading; a response that nobody reads is cancelled."""
        self._reading.close()

    async def aclose(self) -> None:
        """Like :meth:`close`."""
        self.close()


class FileStream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """The bytes of a file, read while they are sent."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return self._parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


def frame(event: Event) -> bytes:
    """Return an event as it is sent."""
    return f"event: {event['type']}\ndata: {_encode(event)}\n\n".encode()


class Transport(httpx2.BaseTransport):
    """Takes the requests of a ``httpx2.Client`` to the application."""

    def __init__(self, app: Callable[[], App], pause_s: float) -> None:
        self._app = app
        self._pause_s = pause_s

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request."""
        app = self._app()
        upload = _receiver(request)
        if upload is None:
            request.read()
        else:
            stream = request.stream
            assert isinstance(stream, httpx2.SyncByteStream)
            with upload.closed_on_error():
                for chunk in stream:
                    if not upload.wants_more:
                        break
                    upload.feed(chunk)
        return _response(request, app.handle(_call(request, upload)), self._pause_s)


class AsyncTransport(httpx2.AsyncBaseTransport):
    """Takes the requests of a ``httpx2.AsyncClient`` to the application.

    A request is answered on the event loop, because nothing in it waits; only one that may wait for code goes to a
    thread.
    """

    def __init__(self, app: Callable[[], App], pause_s: float) -> None:
        self._app = app
        self._pause_s = pause_s

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request."""
        app = self._app()
        upload = _receiver(request)
        if upload is None:
            await request.aread()
        else:
            stream = request.stream
            assert isinstance(stream, httpx2.AsyncByteStream)
            with upload.closed_on_error():
                async for chunk in stream:
                    if not upload.wants_more:
                        break
                    upload.feed(chunk)
        call = _call(request, upload)
        answer = await _in_thread(app, call) if app.is_slow(call) else app.handle(call)
        return _response(request, answer, self._pause_s)


async def _in_thread(app: App, call: Call) -> Answer:
    import anyio

    with Waiting() as waiting:
        try:
            return await anyio.to_thread.run_sync(app.handle, call, abandon_on_cancel=True)
        except anyio.get_cancelled_exc_class():
            waiting.give_up()
            raise


def pause_for(pace: str) -> float:
    """Return how many seconds to wait before a delta: ``"human"`` looks like a model that writes, ``""`` is at once.

    Raises:
        ValueError: for any other word.
    """
    paces = {"": 0.0, "human": _HUMAN_PAUSE_S}
    if pace not in paces:
        raise ValueError(f"The pace {pace!r} is unknown. Set WORKSHOP_PACE to 'human', or leave it empty.")
    return paces[pace]


def _receiver(request: httpx2.Request) -> Receiver | None:
    """Return what receives an upload, so that a file is not read into memory; ``None`` for any other request."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return None
    return Receiver({name.lower(): value for name, value in request.headers.items()})


def _call(request: httpx2.Request, upload: Receiver | None) -> Call:
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    return Call(
        method=request.method,
        path=path,
        query=parse_qs(query, keep_blank_values=True),
        headers={name.lower(): value for name, value in request.headers.items()},
        content=b"" if upload else request.content,
        upload=upload,
    )


def _response(request: httpx2.Request, answer: Answer, pause_s: float) -> httpx2.Response:
    if answer.reading is not None:
        headers = {**answer.headers, "content-type": "text/event-stream; charset=utf-8"}
        return httpx2.Response(
            answer.status, headers=headers, stream=EventStream(answer.reading, pause_s), request=request
        )
    if answer.download is not None:
        headers = {
            **answer.headers,
            "content-type": "application/octet-stream",
            "content-length": str(answer.download.size_bytes),
            "content-disposition": f"attachment; filename*=UTF-8''{quote(answer.download.filename, safe='')}",
        }
        return httpx2.Response(
            answer.status, headers=headers, stream=FileStream(answer.download.parts), request=request
        )
    content = json.dumps(answer.body).encode()
    headers = {**answer.headers, "content-type": "application/json"}
    return httpx2.Response(answer.status, headers=headers, content=content, request=request)
