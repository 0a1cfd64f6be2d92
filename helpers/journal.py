"""The journal: what was created, noted on disk, so that it is found again after a kernel was killed.

Here live the file of this process, the reading of the files that other processes left, and the place where they are.
There is one file for each process, so no two ever write to the same one; a lock on it says that its process still
runs. A line never holds a key, only a fingerprint of it. Not here: what is in the account (``ledger.py``), and
removing it (``sweep.py``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import socket
import sys
import threading
import time
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Final

from helpers.errors import redact

__all__ = ["Journal", "Line", "journal_folder", "left_behind"]

_OFF: Final = frozenset({"0", "off", "no", "none", "false"})
_FORMAT: Final = 1
# A byte far behind the end of every journal: on Windows nobody may read what somebody else has locked.
_LOCKED_BYTE: Final = 1 << 30
_LONGEST_NAME: Final = 80
_JUST_MADE_S: Final = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One thing that was created.

    Attributes:
        kind: ``"response"``, ``"conversation"``, ``"vector store"``, ``"file"`` or ``"container"``.
        id: at the API.
        name: for a person; may be empty.
        account: the mode, the server and the fingerprint of the key that it was made with.
        made_at: seconds since 1970.
    """

    kind: str
    id: str
    name: str
    account: tuple[str, str, str]
    made_at: float


def journal_folder() -> Path | None:
    """Return the folder of the journals; ``None`` if ``WORKSHOP_JOURNAL`` is ``off``.

    ``WORKSHOP_JOURNAL`` names another folder. Without it, it is where this system keeps the state of programs for each
    user (on Linux ``XDG_STATE_HOME``, else ``~/.local/state``).
    """
    wanted = os.environ.get("WORKSHOP_JOURNAL", "").strip()
    if wanted.lower() in _OFF:
        return None
    if wanted:
        return Path(wanted).expanduser().absolute()
    name = "agentic-retrieval-workshop"
    try:
        home = Path.home()
    except RuntimeError:  # there is no home folder
        return None
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "") or str(home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(home / "Library" / "Application Support")
    else:
        base = os.environ.get("XDG_STATE_HOME", "") or str(home / ".local" / "state")
    return Path(base) / name / "journal"


# -- writing ----------------------------------------------------------------------------------------------------------


class Journal:
    """The journal of this process. It is written to before anything else can happen to a thing that was created.

    A journal that cannot be written never stops a notebook: it says so once, and the ledger in memory goes on.

    Args:
        folder: where the files are; without one nothing is written.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._file: _OwnFile | None = None
        self._open: set[str] = set()
        self._said = folder is None
        self._process = os.getpid()

    def made(self, kind: str, id: str, name: str, account: tuple[str, str, str]) -> None:
        """Note that something was created."""
        with self._lock:
            if self._process != os.getpid():
                # A forked child writes a file of its own: what its parent made is in its parent's.
                self._file, self._open, self._process = None, set(), os.getpid()
            line = {
                "made": kind,
                "id": id,
                "name": redact(name)[:_LONGEST_NAME],
                "account": account,
                "at": round(time.time(), 3),
            }
            if self._write(line):
                self._open.add(id)

    def gone(self, id: str) -> None:
        """Note that something was deleted. With the last thing the file goes as well."""
        with self._lock:
            if self._process != os.getpid() or id not in self._open:
                return
            self._open.discard(id)
            if self._open:
                self._write({"gone": id})
            elif self._file is not None:
                self._file.remove()
                self._file = None

    def _write(self, line: dict[str, Any]) -> bool:
        if self._folder is None:
            return False
        problem = ""
        try:
            if self._file is None:
                self._file = _OwnFile(self._folder)
            self._file.append(line)
        except OSError as error:
            problem = error.strerror or type(error).__name__
        if problem and not self._said:
            self._said = True
            print(
                f"Warning: what is created cannot be noted in {self._folder} ({problem}). cleanup(client) works all the "
                "same; only after a killed kernel nothing will know what is left. WORKSHOP_JOURNAL names another folder.",
                file=sys.stderr,
            )
        return not problem


class _OwnFile:
    """The file of this process, and the lock that says that it still runs."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = folder / f"{os.getpid()}-{secrets.token_hex(6)}.jsonl"
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
        # It is held as long as the process lives, and not inherited by the programs that it starts.
        self._file = os.fdopen(os.open(self.path, flags, 0o600), "r+b", buffering=0)
        self._torn = False
        self._close = weakref.finalize(self, _close_own, self._file, self.path, os.getpid())
        try:
            locked = _lock(self._file)
            self.append({"journal": _FORMAT, "process": os.getpid(), "host": _host(), "locked": locked})
        except OSError:
            self.remove()
            raise

    def append(self, line: dict[str, Any]) -> None:
        """Write one line in one step; half a line, on a full disk, spoils no other."""
        data = json.dumps(line, ensure_ascii=True).encode() + b"\n"
        if self._torn:
            data = b"\n" + data
        self._torn = True
        if self._file.write(data) != len(data):
            raise OSError("the disk is full")
        self._torn = False

    def remove(self) -> None:
        """Close and delete it."""
        self._close.detach()
        self._file.close()
        self.path.unlink(missing_ok=True)


def _close_own(file: IO[bytes], path: Path, process: int) -> None:
    # At the end of the process. What is noted stays noted: it is still in the account.
    if os.getpid() == process:
        file.close()


def _host() -> str:
    return socket.gethostname()


def _lock(file: Any) -> bool:
    """Take the lock of a file. Returns whether nobody else has it.

    Raises:
        OSError: this file system has no locks.
    """
    if sys.platform == "win32":
        import msvcrt

        file.seek(_LOCKED_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            file.seek(0)
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# -- reading ----------------------------------------------------------------------------------------------------------


class LeftBehind:
    """The journal of a process that has ended, or of one that still runs.

    Attributes:
        lines: what it created and did not delete.
        running: whether the process still runs; what it created is in use then.
        process: its number, for a person.
    """

    def __init__(self, path: Path, lines: Iterable[Line], running: bool, process: int) -> None:
        self.path = path
        self.lines = list(lines)
        self.running = running
        self.process = process

    def forget(self, ids: Iterable[str]) -> None:
        """Take out what is gone; the file goes with the last line.

        Raises:
            OSError: the folder cannot be written.
        """
        gone = set(ids)
        if not any(line.id in gone for line in self.lines):
            return
        self.lines = [line for line in self.lines if line.id not in gone]
        if not self.lines:
            self.path.unlink(missing_ok=True)
            return
        text = "".join(
            json.dumps(
                {"made": one.kind, "id": one.id, "name": one.name, "account": one.account, "at": one.made_at}
            )
            + "\n"
            for one in self.lines
        )
        # Whole or not at all: what is not written here would never be found again.
        new = self.path.with_suffix(".new")
        try:
            new.write_text(text, encoding="ascii")
            new.chmod(0o600)
            os.replace(new, self.path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise


def left_behind(folder: Path | None) -> list[LeftBehind]:
    """Return the journals in ``folder``, oldest first. Files without anything left are removed; torn lines are skipped.

    Raises:
        OSError: the folder is there and cannot be read.
    """
    if folder is None or not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.glob("*.jsonl"), key=lambda path: (_age(path), path.name)):
        try:
            with path.open("rb+") as file:
                free = _is_free(file)
                lines, head = _read(file.read())
        except FileNotFoundError:  # its process has just removed it
            continue
        if not head and not lines and time.time() - _age(path) < _JUST_MADE_S:
            continue  # its process has just made it, and is about to lock it
        running = not free or (head.get("locked") is False and _runs_here(head))
        process = head.get("process")
        if lines or running:
            found.append(LeftBehind(path, lines, running, process if isinstance(process, int) else 0))
        else:
            path.unlink(missing_ok=True)
    return found


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _is_free(file: IO[bytes]) -> bool:
    try:
        return _lock(file)  # given back when the file is closed
    except OSError:
        return True


def _runs_here(head: dict[str, Any]) -> bool:
    """Guess, where there are no locks, whether a process runs by looking for its number."""
    if head.get("host") != _host():
        return False
    if sys.platform == "win32":
        return True
    try:
        os.kill(int(head["process"]), 0)
    except (ProcessLookupError, KeyError, TypeError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _read(content: bytes) -> tuple[list[Line], dict[str, Any]]:
    head: dict[str, Any] = {}
    there: dict[str, Line] = {}
    for raw in content.split(b"\n"):
        try:
            value = json.loads(raw)
        except ValueError:
            continue  # empty, or torn: the process was killed, or the disk was full, in the middle of it
        if not isinstance(value, dict):
            continue
        if "journal" in value:
            head = value
        elif isinstance(value.get("gone"), str):
            there.pop(value["gone"], None)
        else:
            line = _line_of(value)
            if line is not None:
                there[line.id] = line
    return list(there.values()), head


def _line_of(value: dict[str, Any]) -> Line | None:
    account, made_at = value.get("account"), value.get("at")
    texts = [value.get("made"), value.get("id"), value.get("name")]
    if not all(isinstance(text, str) for text in texts) or not isinstance(made_at, int | float):
        return None
    if not isinstance(account, list) or len(account) != 3 or not all(isinstance(a, str) for a in account):
        return None
    kind, id, name = (str(text) for text in texts)
    mode, server, fingerprint = account
    return Line(kind, id, name, (mode, server, fingerprint), float(made_at))
