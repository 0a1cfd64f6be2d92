"""What handlers and runs cost on top of the SDK; and what importing the helpers costs on top of importing it.

    python -m tests.benchmarks.handlers [--times 7] [--deltas 2000] [--notebooks]

Ratios in one run on one machine. The stream comes from memory, so that nothing but reading it is measured.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx2
import nbformat
import openai

from helpers import Assistant, EventHandler, FunctionCallingHandler, TextHandler, ToolboxHandler, stream_run
from helpers.rendering import LinesRenderer
from tests.benchmarks.bench import line, median_ms
from tests.committed_outputs import NOTEBOOKS, PROJECT, environment
from tests.served import message, response, stream_of

ASSISTANT = Assistant("Teacher", "Explain.", model="gpt-6-luna")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--deltas", type=int, default=2000)
    parser.add_argument("--notebooks", action="store_true", help="also the notebooks against empty ones")
    options = parser.parse_args(arguments)
    per_event(options.times, options.deltas)
    imports(options.times)
    if options.notebooks:
        notebooks()


def per_event(times: int, deltas: int) -> None:
    """A text of many deltas: bare iteration, against a run with each kind of handler."""
    events = response(message("word " * deltas, pieces=deltas))
    answer = stream_of(*events)
    client = openai.OpenAI(
        api_key="any", http_client=httpx2.Client(transport=httpx2.MockTransport(lambda request: answer()))
    )

    def bare() -> None:
        for _ in client.responses.create(input="Hello", stream=True, **ASSISTANT):
            pass

    def run_with(make: Callable[[], EventHandler]) -> Callable[[], None]:
        return lambda: (
            stream_run(client, ASSISTANT, None, "Hello", event_handler=make()).until_done() and None
        )

    bare()
    base = median_ms(bare, times)
    line(f"bare SDK iteration, {len(events):,} events", f"{1000 * base / len(events):.0f} µs each")
    quiet = LinesRenderer(io.StringIO())
    kinds: dict[str, Callable[[], EventHandler]] = {
        "EventHandler": EventHandler,
        "TextHandler": lambda: TextHandler(renderer=quiet),
        "FunctionCallingHandler": lambda: FunctionCallingHandler(renderer=quiet),
        "ToolboxHandler": lambda: ToolboxHandler(renderer=quiet),
    }
    for name, make in kinds.items():
        taken = median_ms(run_with(make), times)
        line(f"stream_run with {name}", f"{taken / base:.2f} x bare", "aim: within 1.2 x")


def imports(times: int) -> None:
    """Importing the helpers, in fresh processes."""

    def python(code: str) -> Callable[[], None]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT) and None

    base = median_ms(python("import openai"), times)
    taken = median_ms(python("import openai, helpers"), times)
    line("import openai", f"{base:.0f} ms")
    line("import openai and helpers", f"{taken / base:.2f} x openai", "aim: within 1.2 x")
    used = median_ms(python("import openai; from helpers import connect, stream_run, Assistant"), times)
    line("the same, and its first names used", f"{used / base:.2f} x openai")


def notebooks() -> None:
    """All notebooks under nbmake, against as many empty ones with the same imports."""
    with tempfile.TemporaryDirectory() as folder:
        for path in NOTEBOOKS:
            empty = nbformat.v4.new_notebook(metadata=nbformat.read(path, as_version=4).metadata)
            code = f"import sys\nsys.path.insert(0, {str(PROJECT)!r})\nimport openai, ipywidgets\nfrom helpers import connect, stream_run"
            empty.cells = [nbformat.v4.new_code_cell(code)]
            nbformat.write(empty, Path(folder) / path.name)

        def nbmake(where: Path) -> Callable[[], None]:
            command = [sys.executable, "-m", "pytest", "-q", "--nbmake", str(where), "-p", "no:cacheprovider"]
            return lambda: (
                subprocess.run(command, check=True, cwd=PROJECT, env=environment(), capture_output=True)
                and None
            )

        base = median_ms(nbmake(Path(folder)), 1)
        taken = median_ms(nbmake(PROJECT / "notebooks"), 1)
    line(f"{len(NOTEBOOKS)} empty notebooks with the same imports", f"{base / 1000:.1f} s")
    line(f"the {len(NOTEBOOKS)} notebooks under nbmake", f"{taken / base:.2f} x empty", "aim: within 3 x")


if __name__ == "__main__":
    main()
