"""Reading streams as they pass: every byte arrives as it came, at once, and the end is told once."""

import asyncio
import gc
import json

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.streams import AsyncTee, EventReader, Tee, json_object

EVENTS = [
    ("response.created", {"n": 0}),
    ("response.output_text.delta", {"delta": "event: response.created\ndata: {}\n\n née 🙂\u2028"}),
    ("response.completed", {"n": 2, "text": "x" * 500}),
]
BYTES = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in EVENTS).encode()


def reader(seen, wants=lambda name: True):
    return EventReader(
        wants, lambda name, data: seen.append((name, json_object(data))), lambda: seen.append("end")
    )


@given(st.lists(st.integers(0, len(BYTES)), max_size=12), st.sampled_from([b"\n", b"\r\n"]))
def test_bytes_may_be_cut_anywhere(cuts, line_end):
    data = BYTES.replace(b"\n", line_end)
    places = sorted({0, *cuts, len(data)})
    seen = []
    stream = Tee(
        Source([data[a:b] for a, b in zip(places, [*places[1:], len(data)], strict=True)]), reader(seen)
    )
    assert b"".join(stream) == data
    assert seen == [*EVENTS, "end"]


class Source(httpx2.SyncByteStream):
    def __init__(self, chunks):
        self.chunks, self.given, self.closed = chunks, 0, 0

    def __iter__(self):
        for chunk in self.chunks:
            self.given += 1
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    def close(self):
        self.closed += 1


def test_a_chunk_passes_before_the_next_one_is_asked_for_and_only_wanted_data_is_parsed():
    source, seen = Source([BYTES, b"event: other\ndata: {not json}\n\n", b"event: more"]), []
    pieces = iter(Tee(source, reader(seen, {"response.completed"}.__contains__)))
    assert next(pieces) == BYTES
    assert source.given == 1
    assert seen == [EVENTS[2]]
    assert [*pieces] == source.chunks[1:]
    assert seen == [EVENTS[2], "end"]


@pytest.mark.parametrize("way", ["closed", "forgotten", "broken"])
def test_the_end_is_told_once_however_it_comes(way):
    seen = []
    source = Source([BYTES, ConnectionResetError("cut"), b""])
    tee = Tee(source, reader(seen, lambda name: False))
    pieces = iter(tee)
    next(pieces)
    if way == "broken":
        with pytest.raises(ConnectionResetError):
            next(pieces)
    if way == "forgotten":
        del pieces
        gc.collect()
    else:
        tee.close()
        tee.close()
    assert seen == ["end"]


def test_the_asynchronous_tee_does_the_same():
    class AsyncSource(httpx2.AsyncByteStream):
        async def __aiter__(self):
            for at in range(0, len(BYTES), 7):
                yield BYTES[at : at + 7]

        async def aclose(self):
            seen.append("closed")

    seen = []

    async def main():
        tee = AsyncTee(AsyncSource(), reader(seen))
        read = b"".join([chunk async for chunk in tee])
        await tee.aclose()
        return read

    assert asyncio.run(main()) == BYTES
    assert seen == [*EVENTS, "end", "closed"]
