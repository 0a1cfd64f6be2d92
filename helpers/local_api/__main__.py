"""``python -m helpers.local_api check [folder]``: checks recordings and says what to write instead.

Here lives the command line of the local API. Not here: the checks themselves (``recordings.py``, ``matching.py``).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from helpers.local_api import RECORDINGS
from helpers.local_api.matching import find_ties
from helpers.local_api.recordings import Library, recording_files


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
    options = parser.parse_args(arguments)
    return check(options.folder)


if __name__ == "__main__":
    sys.exit(main())
