"""What recording costs on top of a live client: the first event, a whole stream, and a turn after many others.

    python -m tests.benchmarks.recording [--times 15] [--deltas 2000] [--turns 60]

Ratios in one run on one machine. The stream comes from memory, one event at a time, so that nothing but reading it is
measured: over a network the difference would vanish.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import httpx2
import openai

from helpers.errors import redact
from helpers.ledger import Ledger
from helpers.local_api import RECORDINGS
from helpers.local_api.captures import Captures
from helpers.recording import Recorder
from helpers.traffic import Watcher
from tests.benchmarks.bench import line, seconds
from tests.served import message, response

_numbers: Final = itertools.count(1)


def frames_of(events: Sequence[dict[str, Any]]) -> list[bytes]:
    """The events of the response ``resp_0`` as they are sent."""
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


def client_for(frames: Sequence[bytes], captures: Captures | None) -> openai.OpenAI:
    """A client as connect() makes it, whose server streams these frames; with captures, a recording one."""
    first, second, *others, last = frames

    def answer(request: httpx2.Request) -> httpx2.Response:
        # Each answer is a response of its own, or it would be recorded only once.
        own = f"resp_{next(_numbers)}_".encode()
        ends = [frame.replace(b'"resp_0"', b'"' + own + b'"') for frame in (first, second, last)]
        content = iter([*ends[:2], *others, ends[2]])
        return httpx2.Response(200, content=content, headers={"content-type": "text/event-stream"})

    watchers: list[Watcher | Recorder] = [Watcher(Ledger()), *([Recorder(captures)] if captures else [])]
    hooks = [watcher.hooks() for watcher in watchers]
    together = {kind: [hook for each in hooks for hook in each[kind]] for kind in ("request", "response")}
    return openai.OpenAI(
        api_key="any",
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer), event_hooks=together),
    )


def fastest_ms(works: Sequence[Callable[[], object]], times: int) -> list[float]:
    """The fastest time of each work; they take turns, so that a busy machine is busy for all of them."""
    rounds = [[1000 * seconds(work) for work in works] for _ in range(times + 1)]
    return [min(taken) for taken in zip(*rounds[1:], strict=True)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=15)
    parser.add_argument("--deltas", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=60, help="how many turns are in the file already")
    options = parser.parse_args(arguments)
    long = frames_of(response(message("word " * options.deltas, pieces=options.deltas), id="resp_0"))
    short = frames_of(response(message("Yes."), id="resp_0"))
    with tempfile.TemporaryDirectory() as folder:
        fresh, full = (
            Captures(Path(folder, f"{name}.yaml"), RECORDINGS, redact) for name in ("fresh", "full")
        )

        def ask(client: openai.OpenAI, question: str, *, only_first: bool = False) -> None:
            with client.responses.create(model="gpt-6-luna", input=question, stream=True) as stream:
                for _ in stream:
                    if only_first:
                        return

        plain, recording = client_for(long, None), client_for(long, fresh)
        crowded = client_for(long, full)
        small = client_for(short, full)
        for turn in range(options.turns):
            ask(small, f"Question {turn}?")
        for what, first in (("first event", True), (f"all of {options.deltas:,} deltas", False)):
            base, on, late = fastest_ms(
                [
                    lambda client=client, first=first: ask(client, "What?", only_first=first)
                    for client in (plain, recording, crowded)
                ],
                options.times,
            )
            line(f"{what}, without recording", f"{base:.2f} ms")
            line("  with recording", f"{on / base:.2f} x without", "aim: about 1 x")
            line(f"  with {options.turns} turns in the file already", f"{late / base:.2f} x without")
        assert fresh.recorded == 1
        assert full.recorded == options.turns + 1


if __name__ == "__main__":
    main()
