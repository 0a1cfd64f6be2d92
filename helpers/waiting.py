"""Waiting for a background response: look, wait as long as the server suggests, look again, until it has ended.

Here lives ``wait_for``. Not here: streaming a response (``run.py``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from typing import Any, Final, overload

import openai
from openai.types.responses import Response

from helpers.errors import (
    ConfigurationError,
    RunFailed,
    Stopped,
    StreamInterrupted,
    WorkshopError,
    explain,
    what_it_is,
)
from helpers.handlers import failure_from

__all__ = ["FIRST_POLL_S", "TERMINAL", "next_poll_s", "wait_for"]

TERMINAL: Final = frozenset({"completed", "failed", "cancelled", "incomplete"})
# How long to wait between two looks at a background response if the server suggests nothing, in seconds.
FIRST_POLL_S: Final = 0.5
_LONGEST_POLL_S: Final = 5.0


def next_poll_s(wait_s: float) -> float:
    """Return how long to wait after a wait of so many seconds: half as long again, five seconds at most."""
    return min(wait_s * 1.5, _LONGEST_POLL_S)


@overload
def wait_for(
    client: openai.OpenAI,
    response: Response | str,
    *,
    deadline_s: float = 600.0,
    show: bool = True,
) -> Response: ...
@overload
def wait_for(
    client: openai.AsyncOpenAI,
    response: Response | str,
    *,
    deadline_s: float = 600.0,
    show: bool = True,
) -> Coroutine[Any, Any, Response]: ...
def wait_for(
    client: openai.OpenAI | openai.AsyncOpenAI,
    response: Response | str,
    *,
    deadline_s: float = 600.0,
    show: bool = True,
) -> Response | Coroutine[Any, Any, Response]:
    """Poll a background response until it ends, and return it.

    It waits as long as the server suggests (the header ``openai-poll-after-ms``), else half a second at first and five
    at most. If you interrupt the cell, the response is cancelled.

    Args:
        client: what ``connect()`` returned; with an ``AsyncOpenAI`` client, ``await wait_for(…)``.
        response: the response, or its id.
        deadline_s: give up waiting after this many seconds. The response itself goes on.
        show: print each new status.

    Returns:
        The response with ``status`` ``"completed"``, ``"failed"``, ``"cancelled"`` or ``"incomplete"``.

    Raises:
        RunFailed: it could not be asked for (it was deleted, there is no network).
        WorkshopError: it had not ended by the deadline.
        Stopped: you interrupted the cell; the response was cancelled.
    """
    waiting = _Waiting(response, deadline_s, show)
    if isinstance(client, openai.AsyncOpenAI):
        return _wait_async(client, waiting)
    return _wait(client, waiting)


class _Waiting:
    """The state of one wait: what was seen last, what was said, when to give up."""

    def __init__(self, response: Response | str, deadline_s: float, show: bool) -> None:
        if not isinstance(response, Response | str) or (isinstance(response, str) and not response.strip()):
            raise ConfigurationError(
                f"wait_for takes a response or its id, not {what_it_is(response)}. Start one with "
                "client.responses.create(…, background=True)."
            )
        self.id = response if isinstance(response, str) else response.id
        self.last: Response | None = None
        self._said = ""
        self._show = show
        self._deadline_s = deadline_s
        self._start = time.monotonic()
        self._next_s = FIRST_POLL_S
        self._first = (response.status or "") if isinstance(response, Response) else ""

    def begin(self) -> None:
        """Say the status that is known. From here on, an interrupt cancels the response."""
        self._say(self._first)

    def saw(self, response: Response, headers: Mapping[str, str]) -> float | None:
        """Note an answer; return how many seconds to wait before the next look, or ``None`` if it was the last."""
        self.last = response
        self._say(response.status or "")
        if response.status in TERMINAL:
            self._end()
            return None
        hint = headers.get("openai-poll-after-ms", "")
        wait_s = int(hint) / 1000 if hint.isdigit() else self._next_s
        self._next_s = next_poll_s(self._next_s)
        left_s = self._deadline_s - (time.monotonic() - self._start)
        if left_s <= 0:
            self._end()
            raise WorkshopError(
                f"The run is still {response.status} after {self._deadline_s:g} seconds. It goes on: call wait_for again "
                f"later, or stop it with client.responses.cancel({self.id!r})."
            )
        return min(wait_s, left_s)

    def _say(self, status: str) -> None:
        if self._show and status and status != self._said:
            print(f" → {status}" if self._said else status, end="", flush=True)
        self._said = status or self._said

    def _end(self) -> None:
        if not self._show:
            return
        print()
        last = self.last
        if last is not None and last.status == "failed":
            print(explain(failure_from(last.error or {"message": "it gave no reason."})))
        elif last is not None and last.status == "incomplete":
            reason = last.incomplete_details.reason if last.incomplete_details else None
            print(
                f"The answer ends early ({reason or 'no reason given'}); what there is of it is in output_text."
            )

    def failed(self, failure: RunFailed) -> RunFailed:
        """Return ``failure`` with the advice that fits to waiting."""
        if isinstance(failure, StreamInterrupted):
            return StreamInterrupted(
                f"{failure} The run itself goes on: wait_for(client, {self.id!r}) looks again."
            )
        return failure

    def stopped(self, failure: RunFailed | None) -> Stopped:
        """Return what to raise for an interrupt, after an attempt to cancel the response."""
        self._end()
        if failure is None:
            return Stopped("You stopped waiting, and the run was cancelled.")
        return Stopped(f"You stopped waiting. The run {self.id} could not be cancelled: {failure}")


def _wait(client: openai.OpenAI, waiting: _Waiting) -> Response:
    stopped = False
    try:
        waiting.begin()
        while True:
            wait_s = waiting.saw(*_look(client, waiting))
            if wait_s is None:
                break
            time.sleep(wait_s)
    except KeyboardInterrupt:
        stopped = True
    if stopped:
        failure = None
        try:
            client.responses.cancel(waiting.id)
        except openai.APIError as error:
            failure = failure_from(error)
        raise waiting.stopped(failure)
    assert waiting.last is not None
    return waiting.last


def _look(client: openai.OpenAI, waiting: _Waiting) -> tuple[Response, Mapping[str, str]]:
    try:
        raw = client.responses.with_raw_response.retrieve(waiting.id)
        return raw.parse(), raw.headers
    except openai.APIError as error:
        failure = failure_from(error)
    raise waiting.failed(failure)


async def _wait_async(client: openai.AsyncOpenAI, waiting: _Waiting) -> Response:
    cancelled: asyncio.CancelledError | None = None
    try:
        waiting.begin()
        while True:
            wait_s = waiting.saw(*await _look_async(client, waiting))
            if wait_s is None:
                break
            await asyncio.sleep(wait_s)
    except asyncio.CancelledError as error:
        cancelled = error
    if cancelled is not None:
        try:
            await client.responses.cancel(waiting.id)
        finally:
            raise cancelled
    assert waiting.last is not None
    return waiting.last


async def _look_async(client: openai.AsyncOpenAI, waiting: _Waiting) -> tuple[Response, Mapping[str, str]]:
    try:
        raw = await client.responses.with_raw_response.retrieve(waiting.id)
        return raw.parse(), raw.headers
    except openai.APIError as error:
        failure = failure_from(error)
    raise waiting.failed(failure)
