"""How fast a stream of the local API is, in the process and on a port, against the same events from memory.

    python -m tests.benchmarks.streams [--deltas 2000] [--times 9] [--streams 100]

All ratios are of one run on one machine, and read by the official SDK; nothing is asserted. The server on the port is a
process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import openai

from helpers.local_api import LocalAPI
from tests.benchmarks.bench import line
from tests.committed_outputs import PROJECT

LONG: dict[str, Any] = {"model": "gpt-6-luna", "input": "Write at length.", "stream": True}
SHORT = {**LONG, "input": "Write a little."}


class Frames(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """Events that are there already, one at a time, as a server sends them."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        self._frames = frames

    def __iter__(self) -> Iterator[bytes]:
        yield from self._frames

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for frame in self._frames:
            yield frame


def from_memory(api: LocalAPI, request: dict[str, Any]) -> httpx2.MockTransport:
    """A transport that answers everything with the events of one real stream."""
    with httpx2.Client(transport=api.transport(), headers={"authorization": "Bearer any"}) as http:
        text = http.post("http://localhost/v1/responses", json=request).text
    frames = [f"{each}\n\n".encode() for each in text.split("\n\n")[:-1]]
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return httpx2.MockTransport(lambda request: httpx2.Response(200, headers=headers, stream=Frames(frames)))


def sync_client(url: str, transport: httpx2.BaseTransport | None = None) -> openai.OpenAI:
    return openai.OpenAI(
        api_key="any", base_url=url, http_client=httpx2.Client(transport=transport, timeout=600)
    )


def async_client(url: str, transport: httpx2.AsyncBaseTransport | None = None) -> openai.AsyncOpenAI:
    limits = httpx2.Limits(max_connections=None)
    http = httpx2.AsyncClient(transport=transport, limits=limits, timeout=600)
    return openai.AsyncOpenAI(api_key="any", base_url=url, http_client=http)


def first_and_total_ms(client: openai.OpenAI) -> tuple[float, float]:
    """How long it takes to the first event and to the last one, in milliseconds."""
    started = time.perf_counter()
    stream = client.responses.create(**LONG)
    next(stream)
    first = time.perf_counter()
    for event in stream:
        last = event
    ended = time.perf_counter()
    assert last.type == "response.completed"
    return 1000 * (first - started), 1000 * (ended - started)


async def first_and_total_ms_async(
    client: openai.AsyncOpenAI, request: dict[str, Any] = LONG
) -> tuple[float, float]:
    started = time.perf_counter()
    stream = await client.responses.create(**request)
    await anext(stream)
    first = time.perf_counter()
    async for event in stream:
        last = event
    ended = time.perf_counter()
    assert last.type == "response.completed"
    return 1000 * (first - started), 1000 * (ended - started)


def medians(taken: Sequence[tuple[float, float]]) -> tuple[float, float]:
    firsts, totals = zip(*taken, strict=True)
    return statistics.median(firsts), statistics.median(totals)


@contextlib.contextmanager
def served(recordings: Path) -> Iterator[str]:
    """The API on a port, in a process of its own."""
    command = [sys.executable, "-m", "helpers.local_api", "--port", "0", "--recordings", str(recordings)]
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().split()[3]
        finally:
            process.terminate()


def one_at_a_time(clients: dict[str, openai.OpenAI], times: int) -> dict[str, tuple[float, float]]:
    """The medians of each client; they take turns, so that a slow moment of the machine meets all of them."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in clients}
    for _ in range(times + 1):
        for name, client in clients.items():
            taken[name].append(first_and_total_ms(client))
    return {name: medians(each[1:]) for name, each in taken.items()}


async def one_at_a_time_async(
    clients: dict[str, openai.AsyncOpenAI], times: int
) -> dict[str, tuple[float, float]]:
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in clients}
    for _ in range(times + 1):
        for name, client in clients.items():
            taken[name].append(await first_and_total_ms_async(client))
    return {name: medians(each[1:]) for name, each in taken.items()}


async def at_once_ms(client: openai.AsyncOpenAI, count: int) -> tuple[float, float]:
    """How long it takes until each of many streams has its first event, and until all of them are complete."""
    started = time.perf_counter()
    taken = await asyncio.gather(*(first_and_total_ms_async(client, SHORT) for _ in range(count)))
    ended = time.perf_counter()
    return max(first for first, _ in taken), 1000 * (ended - started)


def report(kind: str, found: dict[str, tuple[float, float]]) -> None:
    (_, (base_first, base_total)), *others = found.items()
    line(f"{kind}, from memory: first event", f"{base_first:.1f} ms")
    line("  all events", f"{base_total:.0f} ms")
    for name, (first, total) in others:
        aim = "aim: within 1.5 x" if name == "in the process" else ""
        line(f"  {name}: first event", f"{first / base_first:.2f} x memory", aim)
        line("    later than from memory by", f"{first - base_first:.1f} ms")
        line(f"  {name}: all events", f"{total / base_total:.2f} x memory", aim)


async def asynchronously(api: LocalAPI, url: str, times: int) -> None:
    clients = {
        "from memory": async_client("http://localhost/v1", from_memory(api, LONG)),
        "in the process": async_client("http://localhost/v1", api.async_transport()),
        "on a port": async_client(url),
    }
    report("async client", await one_at_a_time_async(clients, times))
    for client in clients.values():
        await client.close()


async def all_at_once(api: LocalAPI, url: str, count: int, deltas: int) -> None:
    clients = {
        "from memory": async_client("http://localhost/v1", from_memory(api, SHORT)),
        "in the process": async_client("http://localhost/v1", api.async_transport()),
        "on a port": async_client(url),
    }
    base = 0.0
    for name, client in clients.items():
        first, total = await at_once_ms(client, count)
        if name == "from memory":
            base = total
            line(
                f"{count} streams of {deltas:,} deltas at once, from memory: all complete",
                f"{base / 1000:.1f} s",
            )
        else:
            line(f"  {name}: all complete", f"{total / base:.2f} x memory")
            line("    until each has its first event", f"{100 * first / total:.0f} % of that")
        await client.close()


def recorded(question: str, words: int) -> str:
    text = " ".join(["word"] * words)
    return f"  - ask: |\n      {question}\n    steps:\n      - say: |\n          {text}\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--deltas", type=int, default=2000)
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument(
        "--streams", type=int, default=100, help="how many at once; each has a tenth of the deltas"
    )
    options = parser.parse_args(arguments)
    short = max(1, options.deltas // 10)
    with tempfile.TemporaryDirectory() as folder:
        recordings = Path(folder, "long.yaml")
        exchanges = recorded(LONG["input"], options.deltas) + recorded(SHORT["input"], short)
        recordings.write_text(f"source: authored\nexchanges:\n{exchanges}", encoding="utf-8")
        with contextlib.closing(LocalAPI(recordings=recordings)) as api, served(recordings) as url:
            clients = {
                "from memory": sync_client("http://localhost/v1", from_memory(api, LONG)),
                "in the process": sync_client("http://localhost/v1", api.transport()),
                "on a port": sync_client(url),
            }
            report(f"{options.deltas:,} deltas, client", one_at_a_time(clients, options.times))
            for client in clients.values():
                client.close()
            asyncio.run(asynchronously(api, url, options.times))
            asyncio.run(all_at_once(api, url, options.streams, short))


if __name__ == "__main__":
    main()
