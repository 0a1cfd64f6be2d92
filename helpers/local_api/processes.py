"""Processes of this machine: starting one that outlives its thread, finding what it started, ending all of it.

Here live the thread that starts processes, the walk through ``/proc``, and the end of a whole tree of processes. Not
here: what runs in them (``kernel_process.py``) and what they may see (``bubblewrap.py``).
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

_SECONDS_FOR_A_TRIAL: Final = 20.0
_SECONDS_TO_DIE: Final = 5.0
_SECONDS_TO_STAND_STILL: Final = 1.0
_MOST_LOOKS: Final = 20


def trial_works(command: Sequence[str]) -> bool:
    """Run a command without an environment, input or output, and return whether it ended well within 20 seconds."""
    try:
        done = subprocess.run(
            command,
            env={"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS_FOR_A_TRIAL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


class _Starter:
    """One thread that starts processes and never ends.

    Linux ends a child that asked to die with its parent as soon as the *thread* that started it ends. A sandbox that
    a thread pool started would be gone with the pool.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._process = 0

    def __call__(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._lock:
            if (
                self._process != os.getpid()
            ):  # first use, or the first one after a fork, which takes no threads along
                self._queue = queue.SimpleQueue()
                threading.Thread(target=self._work, args=(self._queue,), daemon=True, name="starter").start()
                self._process = os.getpid()
        future: Future[subprocess.Popen[bytes]] = Future()
        self._queue.put((future, start))
        return future.result()

    @staticmethod
    def _work(tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]]) -> None:
        while True:
            future, start = tasks.get()
            try:
                future.set_result(start())
            except BaseException as error:  # noqa: BLE001 - it is raised in the thread that asked
                future.set_exception(error)
            del future, start


_start: Final = _Starter()


def start(
    command: Sequence[str], *, folder: Path, environment: dict[str, str], errors: Path
) -> subprocess.Popen[bytes]:
    """Start a program in a group of its own; what it writes to stderr goes to the file ``errors``.

    Its standard input is a pipe on which nothing is ever written: it closes when this process ends.
    """

    def starting() -> subprocess.Popen[bytes]:
        with errors.open("wb") as stderr:
            return subprocess.Popen(
                list(command),
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )

    return _start(starting)


def below(*pids: int) -> list[int]:
    """Return the processes that ``pids`` started, and those that these started. Empty where there is no ``/proc``."""
    children: dict[int, list[int]] = {}
    try:
        entries = os.listdir("/proc") if sys.platform == "linux" else []
    except OSError:
        entries = []
    for name in entries:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The name of the program stands in brackets and may hold spaces and brackets itself.
                parent = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):  # it ended meanwhile
            continue
        children.setdefault(parent, []).append(int(name))
    found: list[int] = []
    todo = list(pids)
    while todo:
        for child in children.pop(todo.pop(), ()):
            found.append(child)
            todo.append(child)
    return found


def resident_bytes(pids: Sequence[int]) -> int:
    """Return how much memory the processes hold, together: what they allocated, and what they share in memory.

    Pages of files are not counted; those that a fork shares with its parent count once for each of them.
    """
    return sum(_kilobytes(pid, "status", (b"RssAnon:", b"RssShmem:")) for pid in pids) << 10


def fair_bytes(pids: Sequence[int]) -> int:
    """Return how much memory the processes hold together, each shared page counted once. Slower, so for doubt only."""
    return sum(_kilobytes(pid, "smaps_rollup", (b"Pss_Anon:", b"Pss_Shmem:")) for pid in pids) << 10


def _kilobytes(pid: int, name: str, fields: tuple[bytes, ...]) -> int:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith(fields))
    except OSError:  # it ended meanwhile, or may not be looked at
        return 0


def hold(pid: int) -> None:
    """Stop what ``pid`` started, and itself unless it only waits for them, until ``let_go``. Linux only.

    Code that goes on unseen would fill the disk without a limit.
    """
    if sys.platform != "linux":
        return
    held: set[int] = set()
    if not _is_bubblewrap(pid):
        _signal({pid}, signal.SIGSTOP)
        held.add(pid)
    # What starts others all the time is looked for again, as often as there can be something new.
    for _ in range(_MOST_LOOKS):
        new = set(below(pid)) - held
        if not new:
            break
        _signal(new, signal.SIGSTOP)
        held |= new
    # A signal is there at once and obeyed a little later.
    last = time.monotonic() + _SECONDS_TO_STAND_STILL
    while any(_runs(pid) for pid in held) and time.monotonic() < last:
        time.sleep(0.001)


def let_go(pid: int) -> None:
    """Let everything that ``hold`` stopped go on."""
    if sys.platform == "linux":
        _signal({pid, *below(pid)}, signal.SIGCONT)


def _signal(pids: set[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _runs(pid: int) -> bool:
    return _state(pid) not in b"TtZX"


def _lives(pid: int) -> bool:
    return _state(pid) not in b"ZX"


def _state(pid: int) -> bytes:
    """Return the state of a process as one letter; ``X`` where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):  # it ended meanwhile
        return b"X"


def _is_bubblewrap(pid: int) -> bool:
    """Tell whether a process is bubblewrap, which must see that its parent ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().startswith("bwrap")
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that ``start`` returned and everything below it, and wait until it is gone."""
    # First of all: when the process is gone, nothing says any more what it had started.
    tree = below(process.pid) if process.poll() is None else []
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    if sys.platform == "win32":
        if process.poll() is None:
            subprocess.run(
                ["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False
            )
            process.kill()
        process.wait()
        return
    # The group first, in one step: a program that starts others all the time is in it as a whole.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    last = time.monotonic() + _SECONDS_TO_DIE
    ended = set(tree)
    # What left the group: stopped where it is found, looked for again until nothing new comes.
    while tree and time.monotonic() < last:
        newer = below(*tree)
        for pid in tree:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        ended.update(newer)
        tree = list(set(newer).difference(tree))
    process.wait()
    # A signal is there at once and obeyed a little later; whoever removes their folder wants to be alone in it.
    while any(_lives(pid) for pid in ended) and time.monotonic() < last:
        time.sleep(0.001)
