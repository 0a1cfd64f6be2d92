"""The sandbox of one container: code goes in; its output, its plots and one sentence about its end come out.

Here live the limits, the run of a piece of code with all the ways in which it can end, and what the sandbox promises on
this machine. A kernel that was lost is replaced at the next run. Not here: the kernel's process (``kernel_process.py``),
what it may see (``bubblewrap.py``), the text of its output (``kernel_output.py``), the containers of the API.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from helpers.local_api import bubblewrap, kernel_rules
from helpers.local_api.folders import LONGEST_PATH, sizes
from helpers.local_api.kernel_output import KernelOutput

if TYPE_CHECKING:
    from helpers.local_api.kernel_process import KernelProcess

# Beyond this many times what is kept of it, output is no output any more but a mistake.
_OUTPUT_FACTOR: Final = 50
_MOST_MESSAGES: Final = 20_000
_SECONDS_TO_OBEY: Final = 2.0
_SECONDS_FOR_THE_REST: Final = 2.0
_SECONDS_BETWEEN_LOOKS: Final = 0.05
_LOST: Final = "Python had to be started anew, so its variables are gone."


@dataclass(frozen=True)
class Limits:
    """How much a piece of code may use.

    Args:
        time_s: seconds that one run may take.
        memory_bytes: what one process may allocate beyond what Python itself needs.
        output_chars: how much of the output is kept; far more than that stops the code.
        files: how many new files and folders there may be.
        file_bytes: how large new files may be, all together.
        processes: how many processes the code may have at a time.
    """

    time_s: float = 30.0
    memory_bytes: int = 1 << 30
    output_chars: int = 20_000
    files: int = 200
    file_bytes: int = 100 << 20
    processes: int = 64


@dataclass(frozen=True)
class CodeResult:
    """What came of a run.

    Args:
        logs: what the code printed, the value of its last expression, a traceback: in this order, as one text.
        images: its plots, as PNG.
        failed: whether it ended with an exception or at a limit.
        why: one plain sentence where a limit ended it or Python itself ended; else empty.
    """

    logs: str
    images: list[bytes]
    failed: bool
    why: str


class Sandbox:
    """Runs code in a folder, in one kernel that keeps its variables from run to run.

    It may be used from several threads; the runs come one after the other. The kernel starts with the first run.

    Args:
        folder: the working folder of the code. With bubblewrap the code sees it as ``/mnt/data``.
        limits: how much a run may use.
        isolation: ``"auto"`` uses bubblewrap where it works, ``"none"`` never does.

    Example:
        >>> with Sandbox(Path("box")) as sandbox:
        ...     sandbox.run("6 * 7").logs
        '42'
    """

    def __init__(
        self, folder: Path, limits: Limits = Limits(), *, isolation: Literal["auto", "none"] = "auto"
    ) -> None:
        self.folder = Path(folder).resolve()
        self.limits = limits
        self._isolation = isolation
        self._state = _State()
        # Also when nobody closes it, and at the end of this process.
        self._finalizer = weakref.finalize(self, _State.close, self._state)

    @property
    def guarantee(self) -> str:
        """What a sandbox on this machine keeps code from, in one to three sentences."""
        return guarantee(self._isolation)

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the kernel and everything that the code started. A run that goes on ends at once. The folder stays."""
        self._finalizer()

    def interrupt(self) -> None:
        """Stop the code that runs now, from another thread. Nothing happens if none does."""
        self._state.interrupted.set()

    async def run_async(self, code: str) -> CodeResult:
        """Like ``run``, without blocking the event loop; cancelling it stops the code."""
        task = asyncio.create_task(asyncio.to_thread(self.run, code))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self.interrupt()
            raise

    def run(self, code: str) -> CodeResult:
        """Run ``code`` and wait for its end. Whatever the code does, there is a result, and the next run works."""
        state = self._state
        with state.lock:
            if state.closed.is_set():
                return CodeResult("", [], True, "The container is closed, so the code was not run.")
            state.interrupted.clear()
            note = ""
            if state.kernel is not None and not state.kernel.alive():
                note = "Python had ended after the code before this. " + _LOST
                state.drop()
            if state.kernel is None:
                failure = self._start()
                if failure:
                    return CodeResult("", [], True, failure)
            kernel = state.kernel
            assert kernel is not None
            run = _Run(self, kernel)
            try:
                why = run.to_its_end(code)
            except BaseException:
                # Ctrl-C in the notebook, as a rule: the code must not go on unseen.
                run.stop()
                run.rest()
                if run.lost:
                    state.drop()
                raise
            if run.lost:
                state.drop()
            output = run.output
            failed = output.failed or bool(why)
            return CodeResult(output.text(), output.images, failed, " ".join(filter(None, (note, why))))

    def _start(self) -> str:
        """Start a kernel; return what went wrong."""
        try:
            from helpers.local_api.kernel_process import KernelFailed, KernelProcess

            found = bubblewrap.find()[0] if self._isolation == "auto" else None
            self.folder.mkdir(parents=True, exist_ok=True)
            settings = {
                "memory_bytes": self.limits.memory_bytes,
                "file_bytes": self.limits.file_bytes,
                "processes": self.limits.processes,
                "message_chars": self.limits.output_chars,
            }
            closed = self._state.closed
            try:
                self._state.kernel = KernelProcess(self.folder, settings, found, lambda: not closed.is_set())
            except KernelFailed as failure:
                return str(failure)
        except ImportError as error:
            return f"Code cannot run here: the package {error.name} is missing. Install it with: pip install ipykernel"
        except OSError as error:
            return f"Python could not be started: {error.strerror or error}."
        return ""


class _State:
    """What has to be closed. Apart from the sandbox, so that a sandbox that nobody holds can be collected."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.closed = threading.Event()
        self.interrupted = threading.Event()
        self.kernel: KernelProcess | None = None
        self.written: set[str] = set()
        self._process = os.getpid()

    def drop(self) -> None:
        kernel, self.kernel = self.kernel, None
        if kernel is not None:
            kernel.close()

    def close(self) -> None:
        if os.getpid() != self._process:
            return  # a fork has a copy of this; the kernel is its parent's
        self.closed.set()
        # Whoever waits for the kernel now sees it end, gives the lock back, and the rest can be cleared up.
        kernel = self.kernel
        if kernel is not None:
            kernel.kill()
        with self.lock:
            self.drop()


class _Run:
    """One run of code, from its start to one of its many ends."""

    def __init__(self, sandbox: Sandbox, kernel: KernelProcess) -> None:
        self.output = KernelOutput(sandbox.limits.output_chars)
        self.lost = False  # whether the kernel is of no use any more
        self._kernel = kernel
        self._state = sandbox._state
        self._limits = sandbox.limits
        self._folders = [sandbox.folder, kernel.private]
        self._id = ""
        self._too_deep = False
        self._replied = self._idle = False

    def to_its_end(self, code: str) -> str:
        """Run it; return a sentence if something else than the code ended it."""
        limits, state = self._limits, self._state
        self._kernel.let_go()
        before = self._files()
        given = {path: size for path, size in before.items() if path not in state.written}
        used_before = _used(before, given)
        for _ in self._kernel.messages(0):
            pass  # what threads of earlier code have printed since
        content = {
            # Half a character, as a broken file gives it, cannot be sent.
            **{
                "code": code.encode("utf-8", "replace").decode(),
                "silent": False,
                "store_history": True,
                "user_expressions": {},
            },
            **{"allow_stdin": False, "stop_on_error": False},
        }
        self._id = self._kernel.send("shell", "execute_request", content)
        last = time.monotonic() + limits.time_s
        look = 0.0
        why = ""
        while not self._done():
            self._read(_SECONDS_BETWEEN_LOOKS)
            now = time.monotonic()
            if self._done():
                break
            if state.closed.is_set():
                self.lost = True
                return "The container was closed while the code ran."
            if not self._kernel.alive():
                self.lost = True
                self._read(0)
                return f"Python ended in the middle of the code ({self._kernel.status()}). {_LOST}"
            if state.interrupted.is_set():
                why = "The code was interrupted."
            elif now > last:
                why = f"The code ran longer than {limits.time_s:g} seconds and was stopped."
            elif self._too_much_output():
                if self._is_over_anyway():
                    break
                why = self._output_sentence()
            if why:
                self.stop()
                break
            if now < look:
                continue
            much = 2 * limits.memory_bytes
            processes, memory = self._kernel.usage(limits.processes, much)
            if processes > limits.processes:
                self.lost = True
                self._kernel.kill()
                return f"The code started more than {limits.processes} processes, so all of them were ended. {_LOST}"
            # One process has its own limit; this is for many that share the work, and for room that their pages share.
            if memory > much:
                self.lost = True
                self._kernel.kill()
                return (
                    f"The code and the processes that it started used more than {_size(much)} of "
                    f"memory, so all of them were ended. {_LOST}"
                )
            why = self._too_many_files(self._files(), given, used_before)
            if why:
                if not self._is_over_anyway():
                    self.stop()
                break
            # Looking costs time of its own where there are many files.
            look = time.monotonic() + max(_SECONDS_BETWEEN_LOOKS, 10 * (time.monotonic() - now))
        if self.output.ended_python and not self.lost:
            # It says goodbye first and ends a little later, in the middle of whatever runs then.
            self.lost = True
            why = why or "The code ended Python."
        self.rest()
        after = self._files()
        state.written = {path for path in after if path not in given}
        why = why or self._too_many_files(after, given, used_before)
        return f"{why} {_LOST}" if why and self.lost else why

    def stop(self) -> None:
        """Ask the code to stop, and end the kernel if it does not."""
        if not self._kernel.alive():
            self.lost = True
            return
        self._kernel.interrupt()
        last = time.monotonic() + _SECONDS_TO_OBEY
        while not self._done() and time.monotonic() < last and self._kernel.alive():
            self._read(_SECONDS_BETWEEN_LOOKS)
        if not self._done() or not self._kernel.alive():
            self.lost = True
            self._kernel.kill()

    def rest(self) -> None:
        """Let nothing go on after the run: nobody would see what it uses."""
        if self.lost:
            self._kernel.kill()
        else:
            self._kernel.hold()

    def _is_over_anyway(self) -> bool:
        """Wait a moment for the end: an interrupt that comes right after it would hit the kernel itself."""
        for _ in range(3):
            if not self._done():
                self._read(_SECONDS_BETWEEN_LOOKS)
        return self._done()

    def _done(self) -> bool:
        return self._replied and self._idle

    def _read(self, timeout_s: float) -> None:
        """Take in what has arrived."""
        for channel, message in self._kernel.messages(timeout_s):
            parent = message.get("parent_header")
            if not isinstance(parent, dict) or parent.get("msg_id") != self._id:
                continue
            kind, content = message.get("msg_type"), message.get("content")
            if not isinstance(kind, str) or not isinstance(content, dict):
                continue
            if channel == "shell" and kind == "execute_reply":
                self._replied = True
                self.output.reply(content)
                self._wait_for_the_rest()
                return
            if channel == "iopub" and kind == "status":
                self._idle |= content.get("execution_state") == "idle"
            elif channel == "iopub":
                self.output.add(kind, content)

    def _wait_for_the_rest(self) -> None:
        """Read on until the kernel is idle. After a flood of output that message may be lost, so not for ever."""
        last = time.monotonic() + _SECONDS_FOR_THE_REST
        while not self._idle and time.monotonic() < last and self._kernel.alive():
            self._read(_SECONDS_BETWEEN_LOOKS)
        self._idle = True

    def _too_much_output(self) -> bool:
        most = _OUTPUT_FACTOR * self._limits.output_chars
        return self.output.chars > most or self.output.messages > _MOST_MESSAGES

    def _output_sentence(self) -> str:
        if self.output.messages > _MOST_MESSAGES:
            return "The code wrote to its output many thousand times and was stopped."
        return (
            f"The code printed more than {_OUTPUT_FACTOR * self._limits.output_chars:,} characters and was stopped; the "
            f"first {self._limits.output_chars:,} are kept."
        )

    def _files(self) -> dict[str, int]:
        # More than are needed to see that there are too many are not looked at.
        found: dict[str, int] = {}
        self._too_deep = False
        for folder in self._folders:
            part = sizes(folder, 20 * self._limits.files + 2_000)
            longest = len(str(folder)) + LONGEST_PATH
            self._too_deep = self._too_deep or any(len(path) > longest for path in part)
            found |= part
        return found

    def _too_many_files(self, now: dict[str, int], given: dict[str, int], before: tuple[int, int]) -> str:
        if self._too_deep:
            return "The code made folders in folders deeper than anybody can look and was stopped. Remove them first."
        number, size = _used(now, given)
        # Code that removes what earlier code wrote must be able to run.
        if number > self._limits.files and number > before[0]:
            return f"The code wrote more than {self._limits.files} files and was stopped. Remove some before you go on."
        if size > self._limits.file_bytes and size > before[1]:
            return (
                f"The code wrote more than {_size(self._limits.file_bytes)} of files and was stopped. Remove some before "
                "you go on."
            )
        return ""


def _used(files: dict[str, int], given: dict[str, int]) -> tuple[int, int]:
    """Return the number of files that are not among the given ones, and the bytes that code has added."""
    return (
        sum(path not in given for path in files),
        sum(max(0, size - given.get(path, 0)) for path, size in files.items()),
    )


def guarantee(isolation: Literal["auto", "none"] = "auto") -> str:
    """Say what a sandbox on this machine keeps code from."""
    found, reason = (
        bubblewrap.find() if isolation == "auto" else (None, "it was asked to do without bubblewrap")
    )
    if found is not None:
        text = (
            "Bubblewrap shuts the code in: no network, no process but its own, no key, and of this disk only its own "
            "folder, and Python and the system's programs to read. It still runs on this machine's Linux, so it is no "
            "protection against an attack on Linux itself."
        )
        return text + _root()
    if kernel_rules.works():
        text = (
            f"Linux keeps the code to rules, because {reason}: no network, no key, and of this disk only its own folder, and "
            "Python and the system's programs to read; it sees which processes run here, can change the rights of your "
            "files and reach programs that listen on a Unix socket, so this is no security boundary."
        )
        return f"{text} Time, memory, output, files and processes are limited.{_root()}"
    text = (
        f"This is a guard against accidents and no security boundary, because {reason}: the code can read and write your "
        "files, a key in them included, look into your other programs and use the network."
    )
    limited = {
        "linux": "time, memory, output, files and processes are limited.",
        "win32": "time, output and files are limited, memory is not.",
    }.get(sys.platform, "time, output and files are limited, memory and processes are not.")
    return f"{text} It is given no key and a folder of its own; {limited}"


def _root() -> str:
    if os.getuid() != 0:
        return ""
    return (
        " You are root, whom the limit on processes does not bind: they are counted, and ended when too many."
    )


def _size(number: int) -> str:
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)):
        if number >= size:
            return f"{number / size:.4g} {unit}"
    return f"{number} bytes"
