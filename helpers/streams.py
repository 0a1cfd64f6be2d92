"""Streams as they pass: reading server-sent events off the bytes of an answer without holding any of them back.

Here live the tees that the HTTP client's hooks put around an answer's stream, and the cutting of bytes into events.
Not here: what is made of an event (``traffic.py``, ``recording.py``, ``shapes.py``).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2

__all__ = ["AsyncTee", "EventReader", "Tee", "is_event_stream", "json_object", "tee"]


class EventReader:
    """Cuts bytes into server-sent events.

    Args:
        wants: whether events of a type are wanted; the data of all others is not looked at.
        on_event: gets the type and the data (bytes of JSON) of each event that is wanted.
        on_end: is called once when nothing more comes: the stream was read to its end, closed, or forgotten.
    """

    def __init__(
        self,
        wants: Callable[[str], bool],
        on_event: Callable[[str, bytes], None],
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self._wants = wants
        self._on_event = on_event
        self._on_end = on_end
        self._rest = b""
        self._type = ""
        self._wanted = False

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes; they may be cut anywhere."""
        *lines, self._rest = (self._rest + chunk).split(b"\n") if b"\n" in chunk else ([self._rest + chunk])
        for line in lines:
            if line.startswith(b"event:"):
                self._type = line[6:].strip().decode("utf-8", "replace")
                self._wanted = self._wants(self._type)
            elif self._wanted and line.startswith(b"data:"):
                self._on_event(self._type, line[5:].strip())

    def end(self) -> None:
        """Say that nothing more comes. A second time changes nothing."""
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()


class Tee(httpx2.SyncByteStream):
    """A stream that shows its bytes to a reader as they pass."""

    def __init__(self, stream: httpx2.SyncByteStream, reader: EventReader) -> None:
        self._stream = stream
        self._reader = reader
        self._chunks: Iterator[bytes] | None = None
        self._first: list[bytes] = []

    def read_first(self) -> None:
        """Read the first event now: it tells the response's id."""
        self._chunks = iter(self._stream)
        for chunk in self._chunks:
            self._reader.feed(chunk)
            self._first.append(chunk)
            if b"\n\n" in b"".join(self._first):
                break

    def __iter__(self) -> Iterator[bytes]:
        try:
            while self._first:
                yield self._first.pop(0)
            for chunk in self._chunks or self._stream:
                self._reader.feed(chunk)
                yield chunk
        finally:
            self._reader.end()

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()
        self._reader.end()


class AsyncTee(httpx2.AsyncByteStream):
    """The same for an asynchronous client."""

    def __init__(self, stream: Any, reader: EventReader) -> None:
        self._stream = stream
        self._reader = reader

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                self._reader.feed(chunk)
                yield chunk
        finally:
            self._reader.end()

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()
        self._reader.end()


def tee(response: httpx2.Response, reader: EventReader) -> None:
    """Let ``reader`` see the bytes of an answer whose body has not been read yet."""
    if isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = Tee(response.stream, reader)
    else:
        response.stream = AsyncTee(response.stream, reader)


def is_event_stream(response: httpx2.Response) -> bool:
    """Return whether an answer is a stream of server-sent events."""
    return response.headers.get("content-type", "").startswith("text/event-stream")


def json_object(data: bytes) -> dict[str, Any]:
    """Return the JSON object in ``data``, or an empty one: whatever else it is, the SDK reports it, not this."""
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
