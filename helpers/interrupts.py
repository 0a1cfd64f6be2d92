"""Interrupts that wait a moment: what is created must be noted before an interrupt may end the cell.

Here lives ``held_back``. Not here: what an interrupt does to a run (``run.py``) or to an upload (``files.py``).
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["held_back"]


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let an interrupt that arrives inside take effect at the end of the block.

    Only for what takes milliseconds. Outside of the main thread, where no interrupt arrives, it does nothing.

    Example:
        >>> with held_back():
        ...     pass  # create, and note what was created
    """
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield
        return
    arrived: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: arrived.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if arrived:
            usual(*arrived[0])
