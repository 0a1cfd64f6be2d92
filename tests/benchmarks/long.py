"""Long ones: a conversation of 1,000 turns, an answer of 20,000 deltas, 200 function calls in one run.

    python -m tests.benchmarks.long [--turns 1000] [--deltas 20000] [--calls 200] [--plot long.png]

What is read is a ratio: the last tenth against the first tenth. At 1.0 a turn (a delta, a call) takes as long, and
leaves as much in memory, as at the begin; where something is quadratic, the ratio is the length itself.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import openai

from helpers import Assistant, EventHandler, ToolboxHandler, connect, ledger, local_api, stream_run
from helpers.local_api import LocalAPI
from helpers.local_api.turns import Call, Calls, Say, Turn, TurnRequest
from helpers.rendering import LinesRenderer, MarkdownRenderer, Renderer
from tests.benchmarks.bench import line
from tests.served import message, response, stream_of

ASSISTANT = Assistant("Teacher", "Explain.", model="gpt-6-luna", effort="none")


@dataclass
class Course:
    """What each step of something long took, and how much it left in memory.

    Attributes:
        name: what it is.
        step: what one step is called.
        seconds: how long each step took.
        kilobytes: what was held in memory after each tenth, in addition to what was held before.
    """

    name: str
    step: str
    seconds: list[float] = field(default_factory=list)
    kilobytes: list[float] = field(default_factory=list)

    @property
    def time_ratio(self) -> float:
        """How much longer a step of the last tenth takes than one of the first tenth."""
        tenth = max(1, len(self.seconds) // 10)
        # The very first steps load and compile; they would make everything later look fast.
        first = statistics.median(self.seconds[tenth // 2 : tenth + tenth // 2])
        return statistics.median(self.seconds[-tenth:]) / first

    @property
    def memory_ratio(self) -> float:
        """How much more the last tenth leaves in memory than the second one (the first one loads modules)."""
        grown = [after - before for before, after in zip(self.kilobytes, self.kilobytes[1:], strict=False)]
        return grown[-1] / grown[0] if grown and grown[0] > 1 else 1.0


class Meter:
    """Notes the time of each step and the memory after each tenth."""

    def __init__(self, course: Course, steps: int) -> None:
        self._course = course
        self._every = max(1, steps // 10)
        self._count = 0
        self._last_s = 0.0

    def __enter__(self) -> Meter:
        gc.collect()
        tracemalloc.start()
        self._begin = tracemalloc.get_traced_memory()[0]
        self._last_s = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        tracemalloc.stop()

    def step(self) -> None:
        """Note that one more step is done."""
        now_s = time.perf_counter()
        self._course.seconds.append(now_s - self._last_s)
        self._count += 1
        if self._count % self._every == 0:
            gc.collect()
            held = tracemalloc.get_traced_memory()[0] - self._begin
            self._course.kilobytes.append(held / 1024)
        self._last_s = time.perf_counter()


class Model:
    """Plays the model: calls ``count`` as often as it is told to, then says something."""

    def __init__(self, calls: int = 0, at_once: bool = False) -> None:
        self.calls = calls
        self.at_once = at_once

    def next_turn(self, request: TurnRequest) -> Turn:
        done = len(request.answered_calls)
        left = self.calls - done
        if left > 0 and "count" in request.offered_tools:
            number = left if self.at_once else 1
            return Turn([Calls([Call("count", {"number": done + each}) for each in range(number)])])
        return Turn([Say(f"This is an answer of ordinary length to: {request.question}")])


@contextlib.contextmanager
def course_on(model: Model) -> Iterator[openai.OpenAI]:
    """A client as ``connect()`` makes it, on an API of its own."""
    api = LocalAPI(source=model)
    shared, ledgers = local_api.shared, dict(ledger._ledgers)
    local_api.shared = lambda: api
    ledger._ledgers.clear()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            client = connect("recorded")
        yield client
        client.close()
    finally:
        local_api.shared = shared
        ledger._ledgers.clear()
        ledger._ledgers.update(ledgers)
        api.close()


def counter(counted: list[int]) -> Callable[..., Any]:
    def count(number: int) -> str:
        """Count one further.

        Args:
            number: the number.
        """
        counted.append(number)
        return f"{number}"

    return count


# -- what is long -----------------------------------------------------------------------------------------------------


def turns(number: int) -> Course:
    """Ask so many questions in one conversation."""
    course = Course(f"{number:,} turns in one conversation", "turn")
    with course_on(Model()) as client:
        thread = client.conversations.create()
        with Meter(course, number) as meter:
            for turn in range(number):
                handler = ToolboxHandler(renderer=LinesRenderer(io.StringIO()))
                run = stream_run(client, ASSISTANT, thread, f"Question {turn}?", event_handler=handler)
                assert run.until_done().text.endswith(f"Question {turn}?")
                meter.step()
    return course


def deltas(number: int, renderer: str = "lines") -> Course:
    """Read one answer of so many deltas."""
    course = Course(f"an answer of {number:,} deltas, {renderer}", "delta")
    events = response(message("word " * number, pieces=number))
    answer = stream_of(*events)
    del events
    client = openai.OpenAI(
        api_key="any", http_client=httpx2.Client(transport=httpx2.MockTransport(lambda request: answer()))
    )
    kinds: dict[str, Callable[[], Renderer]] = {
        "lines": lambda: LinesRenderer(io.StringIO()),
        "live lines": lambda: LinesRenderer(io.StringIO(), live=True),
        "markdown": lambda: MarkdownRenderer(publish=lambda bundle, display_id, update: None),
    }
    handler = ToolboxHandler(renderer=kinds[renderer]())
    run = stream_run(client, ASSISTANT, None, "Hello", event_handler=handler)
    with Meter(course, number) as meter:
        for event in run:
            if event.type == "response.output_text.delta":
                meter.step()
    assert len(run.text) == 5 * number
    return course


def calls(number: int, *, at_once: bool) -> Course:
    """Call so many functions in one run, one in each response or all in one."""
    how = "all at once" if at_once else "one after another"
    course = Course(f"{number:,} function calls in one run, {how}", "call")
    counted: list[int] = []

    class Watching(ToolboxHandler):
        def on_function_done(self, result: Any) -> None:
            super().on_function_done(result)
            meter.step()

    with course_on(Model(number, at_once)) as client:
        thread = client.conversations.create()
        agent = ASSISTANT.with_tools(counter(counted))
        handler: EventHandler = Watching(renderer=LinesRenderer(io.StringIO()))
        with Meter(course, number) as meter:
            run = stream_run(client, agent, thread, "Count.", event_handler=handler, max_rounds=number + 1)
            run.until_done()
    assert sorted(counted) == list(range(number))
    return course


# -- what is printed --------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=1_000)
    parser.add_argument("--deltas", type=int, default=20_000)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--plot", type=Path, help="where to write a picture of it")
    options = parser.parse_args(arguments)
    courses = [
        turns(options.turns),
        *(deltas(options.deltas, kind) for kind in ("lines", "live lines", "markdown")),
        calls(options.calls, at_once=False),
        calls(options.calls, at_once=True),
    ]
    for course in courses:
        line(
            f"{course.name}: a {course.step}", f"{1e6 * statistics.median(course.seconds):,.0f} µs", "median"
        )
        line("  time, last tenth against the first", f"{course.time_ratio:.2f} x", "aim: within 1.5 x")
        line("  memory that stays, likewise", f"{course.memory_ratio:.2f} x", "aim: within 1.5 x")
    if options.plot:
        draw(courses, options.plot)


def draw(courses: Sequence[Course], path: Path) -> None:
    """Write a picture: time and memory along the way, each relative to its begin."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for course in courses:
        size = max(1, len(course.seconds) // 20)
        groups = [course.seconds[at : at + size] for at in range(0, len(course.seconds) - size + 1, size)]
        medians = [statistics.median(group) for group in groups]
        way = [100 * (number + 0.5) / len(medians) for number in range(len(medians))]
        left.plot(way, [each / statistics.median(medians[:3]) for each in medians], label=course.name)
        grown = [0.0, *course.kilobytes]
        right.plot(
            [100 * number / (len(grown) - 1) for number in range(len(grown))],
            [each / max(grown[-1], 1e-9) for each in grown],
            label=course.name,
        )
    left.set_title("Time of a step, relative to the first ones")
    right.set_title("Memory held, relative to the end")
    left.set_ylim(0, None)
    for axes in (left, right):
        axes.set_xlabel("of the way, %")
        axes.grid(alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
