"""The command line of the local API.

    python -m helpers.local_api --port 8080        serve it on this machine, until Ctrl+C
    python -m helpers.local_api check [folder]     check recordings and say what to write instead
    python -m helpers.local_api adopt captures …   take captured answers over into the recordings
    python -m helpers.local_api missing            a table of what OpenAI's API has and this one has not

Not here: the checks themselves (``recordings.py``, ``matching.py``), the taking over (``adopting.py``), the server
(``serving.py``), the table (``not_there.py``).
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers.local_api import RECORDINGS, settings
from helpers.local_api.adopting import AdoptError, adopt
from helpers.local_api.matching import find_ties
from helpers.local_api.recordings import Library, recording_files, shown_path

_SHOWN = 70


def check(folder: Path) -> int:
    """Check all recordings of a folder (or one file), print the problems, and return the exit status."""
    if not folder.exists():
        print(f"{folder} does not exist. Name the folder of the recordings, or one file.")
        return 1
    files = recording_files(folder)
    if not files:
        print(f"There are no recordings (*.yaml) in {folder}.")
        return 1
    exchanges, problems = Library(folder).load()
    for problem in sorted([*problems, *find_ties(exchanges)]):
        print(problem)
    if problems or find_ties(exchanges):
        return 1
    print(
        f"{len(files)} {_plural('file', files)}, {len(exchanges)} {_plural('exchange', exchanges)}: no problems."
    )
    return 0


def take_over(captures: Sequence[Path], folder: Path, replace: bool, lines: int) -> int:
    """Take captures over into the recordings, print what changed, and return the exit status."""
    missing = [str(path) for path in captures if not path.is_file()]
    if missing:
        print(f"There is no capture {', '.join(missing)}. WORKSHOP_API=record makes one.")
        return 1
    try:
        done = adopt(captures, folder, replace=replace)
    except AdoptError as error:
        print(error)
        return 1
    print(
        f"{len(done.added)} added · {len(done.replaced)} replaced · {len(done.kept)} kept · "
        f"{len(done.unchanged)} unchanged · {len(done.left_out)} left out"
    )
    for question, place in done.kept:
        print(f"  kept {place}: {_short(question)}")
    if done.kept:
        print("  These are recorded already; --replace takes the captured answers instead.")
    for question, why in done.left_out:
        print(f"  left out: {_short(question)}: {why}")
    if done.with_code:
        print(
            f"  {done.with_code} of them hold code that a model wrote, and it runs on every learner's machine: read it before "
            "you commit it."
        )
    diff = list(done.diff())
    for line in diff[:lines]:
        print(line)
    if len(diff) > lines:
        print(f"… and {len(diff) - lines} more lines (git diff {shown_path(folder)})")
    return 0


def _short(question: str) -> str:
    line = " ".join(question.split())
    return f"{line[:_SHOWN]}…" if len(line) > _SHOWN else line


def _plural(word: str, things: Sequence[object]) -> str:
    return word if len(things) == 1 else f"{word}s"


def serve(port: int, host: str, recordings: Path | None, most_keys: int, log: bool) -> int:
    """Serve the API until Ctrl+C; return the exit status."""
    from helpers.local_api import serving

    chosen = settings()
    if recordings is not None:
        chosen["recordings"] = recordings
    folder = chosen["recordings"]
    if folder is not None and not folder.exists():
        print(f"{folder} does not exist. Name the folder of the recordings, or one file.")
        return 1
    if os.environ.get("WORKSHOP_STATE", "").strip():
        print("WORKSHOP_STATE is not used here: what a key makes is kept until the server ends.")

    def started(url: str) -> None:
        print(
            f"recorded API on {url} · set OPENAI_BASE_URL to that and OPENAI_API_KEY to any word; each word has files "
            "and conversations of its own · Ctrl+C ends it",
            flush=True,
        )

    try:
        accounts = serving.accounts_for(most_keys, **chosen)
        server = serving.Server(accounts, functools.partial(print, flush=True) if log else None)
        serving.serve(server, port, host, started)
    except (serving.ServingError, ValueError) as error:
        print(error)
        return 1
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a port; give a number up to 65535, or 0 for a free one"
        )
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of keys; give 1 or more")
    return int(text)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.local_api",
        description="The recorded API of the workshop.",
        epilog="`--port N` alone means `serve --port N`.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser(
        "serve", help="serve the API on this machine, until Ctrl+C", allow_abbrev=False
    )
    server.add_argument("--port", type=_port, required=True, help="which one; 0 for a free one")
    server.add_argument(
        "--host", default="127.0.0.1", help="127.0.0.1, localhost or ::1: never another machine"
    )
    server.add_argument("--recordings", type=Path, metavar="FOLDER", help="without it, those of the workshop")
    server.add_argument(
        "--keys", type=_count, default=64, metavar="N", help="how many keys at the same time (64)"
    )
    server.add_argument("--log", action="store_true", help="print a line for each request, without its key")
    checker = commands.add_parser("check", help="check recordings and say what to write instead")
    default = Path(os.environ.get("WORKSHOP_RECORDINGS", "").strip() or RECORDINGS)
    checker.add_argument("folder", nargs="?", type=Path, default=default, help="a folder or one file")
    adopter = commands.add_parser("adopt", help="take captured answers over into the recordings")
    adopter.add_argument("captures", nargs="+", type=Path, help="files that WORKSHOP_API=record wrote")
    adopter.add_argument("--folder", type=Path, default=default, help="the folder of the recordings")
    adopter.add_argument("--replace", action="store_true", help="instead of answers to the same questions")
    adopter.add_argument("--lines", type=int, default=60, help="how much of the difference to show")
    commands.add_parser("missing", help="print what OpenAI's API has and this one has not, as Markdown")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0].startswith("--") and words[0] != "--help":
        words = ["serve", *words]
    options = build_parser().parse_args(words)
    if options.command == "serve":
        return serve(options.port, options.host, options.recordings, options.keys, options.log)
    if options.command == "missing":
        from helpers.local_api.not_there import as_markdown

        print(as_markdown(), end="")
        return 0
    if options.command == "adopt":
        return take_over(options.captures, options.folder, options.replace, options.lines)
    return check(options.folder)


if __name__ == "__main__":
    sys.exit(main())
