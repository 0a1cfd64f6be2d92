"""Folders in which code may have written anything: what lies in them, and their removal.

Code is not trusted, so nothing here follows a link, goes down without an end, or stops at a folder that was forbidden.
Not here: which of these files the API shows (``container_files.py``), how many there may be (``sandbox.py``).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

LONGEST_PATH: Final = 2_000
"""Beyond so many characters below its folder, a path is no longer looked into."""


def sizes(folder: Path, most: int) -> dict[str, int]:
    """Return the bytes of everything below ``folder``, by its path; of ``most`` entries at most.

    A folder whose path below ``folder`` is longer than ``LONGEST_PATH`` is in it, and what is in that is not.
    """
    found: dict[str, int] = {}
    for path, status in entries(folder):
        found[path] = status.st_size if stat.S_ISREG(status.st_mode) else 0
        if len(found) >= most:
            break
    return found


def entries(folder: Path, passed_over: frozenset[str] = frozenset()) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path and the status of everything below ``folder``, each folder's content in the order of names.

    Args:
        folder: where to look.
        passed_over: names of folders whose content is left out.
    """
    longest = len(str(folder)) + LONGEST_PATH
    todo = [str(folder)]
    while todo:
        place = todo.pop()
        inner = []
        for entry in sorted(_scan(place), key=lambda entry: entry.name):
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:  # the code removed it while we looked
                continue
            yield entry.path, status
            if stat.S_ISDIR(status.st_mode) and entry.name not in passed_over and len(entry.path) <= longest:
                inner.append(entry.path)
        todo += reversed(inner)


# Of a folder with more entries than this, the rest is not looked at: there are too many anyway.
_MOST_ENTRIES: Final = 20_000


def _scan(place: str) -> list[os.DirEntry[str]]:
    for again in (True, False):
        with contextlib.suppress(OSError), os.scandir(place) as found:
            return [entry for entry, _ in zip(found, range(_MOST_ENTRIES), strict=False)]
        # Code can forbid to look into a folder and go on writing there.
        if again:
            _allow(place)
    return []


def _allow(place: str) -> None:
    """Give this user all rights in a folder of its own, if it is a folder and no link to one."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        opened = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.chmod(f"/proc/self/fd/{opened}", stat.S_IRWXU)
        finally:
            os.close(opened)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it. Nothing may run in it any more.

    However deep it is and whatever is forbidden in it: code can take away the right to look into a folder or to change
    it, and can make a path that is longer than the system takes, and so keep it on the disk.
    """
    if os.path.islink(folder) or not os.path.isdir(folder):
        return
    if os.open in os.supports_dir_fd:
        with contextlib.suppress(OSError):
            os.chmod(folder, stat.S_IRWXU)
            _empty(folder)

    def insist(function: Callable[..., Any], path: str, _: object) -> None:
        # Never above the folder: what it lies in belongs to others, too.
        inside = os.path.dirname(path) if path != str(folder) else path
        with contextlib.suppress(OSError):
            os.chmod(inside, stat.S_IRWXU)
            if not os.path.islink(path):
                os.chmod(path, stat.S_IRWXU)
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)

    shutil.rmtree(folder, onerror=insist)


def _empty(folder: Path) -> None:
    """Remove what is in a folder. Inner folders are moved up and so become shallow."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    top = os.open(folder, flags)
    try:
        number = 0
        todo = _sort_out(top)
        while todo:
            name = todo.pop()
            inner = os.open(name, flags, dir_fd=top)
            try:
                for each in _sort_out(inner):
                    number += 1
                    # A name that the code cannot have used before, or it is in the way and goes first.
                    moved = f".removed-{os.getpid()}-{number}-{os.urandom(4).hex()}"
                    os.rename(each, moved, src_dir_fd=inner, dst_dir_fd=top)
                    todo.append(moved)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def _sort_out(place: int) -> list[str]:
    """Remove what is no folder, and return the folders, with all rights in them."""
    folders = []
    for name in os.listdir(place):
        if stat.S_ISDIR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
            os.chmod(name, stat.S_IRWXU, dir_fd=place)
            folders.append(name)
        else:
            os.unlink(name, dir_fd=place)
    return folders
