"""What the benchmarks share: a client on an API of its own, the corpus, and how numbers are printed."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import openai

from helpers.local_api import LocalAPI

CORPUS = Path(__file__).resolve().parents[2] / "data" / "gpt2"


def corpus() -> list[tuple[str, bytes]]:
    """Name and content of each text of the course."""
    return [(path.name, path.read_bytes()) for path in sorted(CORPUS.glob("*.md"))]


@contextlib.contextmanager
def client_and_api() -> Iterator[tuple[openai.OpenAI, LocalAPI]]:
    api = LocalAPI()
    client = openai.OpenAI(
        api_key="any",
        base_url="https://recorded.invalid/v1",
        http_client=httpx2.Client(transport=api.transport()),
    )
    yield client, api
    client.close()
    api.close()


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def median_ms(work: Callable[[], object], times: int) -> float:
    return 1000 * statistics.median(seconds(work) for _ in range(times))


def line(what: str, value: str, aim: str = "") -> None:
    print(f"{what:<66} {value:>16}  {aim}".rstrip())
