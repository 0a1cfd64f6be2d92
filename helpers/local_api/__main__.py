"""``python -m helpers.local_api check [folder]``: checks recordings and says what to write instead.

With ``adopt`` it takes captured answers over into the recordings. Here lives the command line of the local API. Not
here: the checks themselves (``recordings.py``, ``matching.py``), and the taking over (``adopting.py``).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers.local_api import RECORDINGS
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.local_api", description="The recorded API of the workshop."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    checker = commands.add_parser("check", help="check recordings and say what to write instead")
    default = Path(os.environ.get("WORKSHOP_RECORDINGS", "").strip() or RECORDINGS)
    checker.add_argument("folder", nargs="?", type=Path, default=default, help="a folder or one file")
    adopter = commands.add_parser("adopt", help="take captured answers over into the recordings")
    adopter.add_argument("captures", nargs="+", type=Path, help="files that WORKSHOP_API=record wrote")
    adopter.add_argument("--folder", type=Path, default=default, help="the folder of the recordings")
    adopter.add_argument("--replace", action="store_true", help="instead of answers to the same questions")
    adopter.add_argument("--lines", type=int, default=60, help="how much of the difference to show")
    options = parser.parse_args(arguments)
    if options.command == "adopt":
        return take_over(options.captures, options.folder, options.replace, options.lines)
    return check(options.folder)


if __name__ == "__main__":
    sys.exit(main())
