"""A stand-in for the sandbox: runs code in this process, in the container's folder. For tests of what is around it."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

PNG = b"\x89PNG\r\n\x1a\nnot a real picture"


@dataclass
class Result:
    logs: str
    images: list[bytes] = field(default_factory=list)
    failed: bool = False
    why: str = ""


class InProcess:
    """Names are kept between runs. ``show()`` shows a plot, ``wait()`` waits until it is interrupted, ``limit()`` hits one."""

    made: ClassVar[list[InProcess]] = []

    def __init__(self, folder: Path, memory_bytes: int) -> None:
        self.folder, self.memory_bytes = folder, memory_bytes
        self.codes: list[str] = []
        self.threads: list[str] = []
        self.images: list[bytes] = []
        self.why = ""
        self.closed = self.interrupted = False
        self.waiting, self.go_on = threading.Event(), threading.Event()
        self.names = {"show": lambda: self.images.append(PNG), "wait": self.wait, "limit": self.limit}
        self.made.append(self)

    def wait(self) -> None:
        self.waiting.set()
        assert self.go_on.wait(20), "nobody interrupted the code"
        raise KeyboardInterrupt

    def limit(self) -> None:
        self.why = "The code ran for more than 30 seconds, so it was stopped."
        raise TimeoutError

    def run(self, code: str) -> Result:
        self.codes.append(code)
        self.threads.append(threading.current_thread().name)
        self.images, self.why = [], ""
        before, printed, failed = os.getcwd(), io.StringIO(), False
        os.chdir(self.folder)
        try:
            with contextlib.redirect_stdout(printed):
                exec(code, self.names)
        except BaseException:  # noqa: BLE001 - whatever the code raises belongs into its output
            failed = True
            printed.write(traceback.format_exc())
        finally:
            os.chdir(before)
        return Result(printed.getvalue(), self.images, failed, self.why)

    def interrupt(self) -> None:
        self.interrupted = True
        self.go_on.set()

    def close(self) -> None:
        self.closed = True
        self.go_on.set()
