"""What the tests of the local API share: one API on the recordings of tests/data, and clients for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from helpers.local_api import LocalAPI

DATA = Path(__file__).resolve().parents[1] / "data"
RECORDINGS = DATA / "recordings"
MODEL = "gpt-6-luna"
URL = "https://recorded.invalid/v1"


class Clock:
    """A clock that only moves when a test says so."""

    def __init__(self) -> None:
        self.now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


def make_client(api: LocalAPI, *, strict: bool = True, max_retries: int = 2) -> openai.OpenAI:
    return openai.OpenAI(
        api_key="any",
        base_url=URL,
        http_client=httpx2.Client(transport=api.transport()),
        max_retries=max_retries,
        _strict_response_validation=strict,
    )


def make_async_client(api: LocalAPI) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key="any",
        base_url=URL,
        http_client=httpx2.AsyncClient(transport=api.async_transport()),
        _strict_response_validation=True,
    )


class Raw:
    """Requests without the SDK, for what the SDK would not send or would not show."""

    def __init__(self, api: LocalAPI) -> None:
        self.http = httpx2.Client(
            transport=api.transport(), base_url=URL, headers={"authorization": "Bearer any"}
        )

    def post(self, path: str, body: object = None, **options: object) -> httpx2.Response:
        return self.http.post(path, json={} if body is None else body, **options)

    def get(self, path: str, **options: object) -> httpx2.Response:
        return self.http.get(path, **options)

    def error(self, path: str, body: object) -> tuple[int, dict[str, object]]:
        """The status and the error of a request that must fail; checks the shape on the way."""
        response = self.post(path, body)
        assert response.status_code >= 400, response.text
        assert set(response.json()) == {"error"}
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
        return response.status_code, response.json()["error"]

    def events(self, body: dict[str, object]) -> list[dict[str, object]]:
        response = self.post("/responses", {"model": MODEL, "stream": True, **body})
        assert response.status_code == 200, response.text
        return parse_events(response.text)


def parse_events(text: str) -> list[dict[str, object]]:
    """The events of a stream, after checking that each frame names its own type."""
    events = []
    for frame in text.split("\n\n")[:-1]:
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def kinds(events: Iterable[Any]) -> list[str]:
    """Types in order; runs of one delta type count as one."""
    found: list[str] = []
    for event in events:
        kind = event["type"] if isinstance(event, dict) else event.type
        if not (found and found[-1] == kind and kind.endswith(".delta")):
            found.append(kind)
    return found


def shape(value: Any) -> Any:
    """The names and types of a JSON value, without its contents."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSHOP_TODAY", "2026-11-23")


@pytest.fixture
def api(clock: Clock) -> Iterator[LocalAPI]:
    api = LocalAPI(recordings=RECORDINGS, clock=clock)
    yield api
    api.close()


@pytest.fixture
def client(api: LocalAPI) -> openai.OpenAI:
    return make_client(api)


@pytest.fixture
def raw(api: LocalAPI) -> Raw:
    return Raw(api)
