"""What a function prints while it runs, caught for that one call.

Here lives a stand-in for ``sys.stdout`` and ``sys.stderr`` that is there only while functions run. It asks a context
variable whose text it is: that of a call goes to the call, everything else goes where it always went. Not here: what is
done with the text (``functions.py``).
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Final

from helpers.errors import redact
from helpers.outputs import cut_text, whole_characters

__all__ = ["Printed", "catching"]

_MOST_CHARACTERS: Final = 10_000
# Kept beyond that, so that a secret at the end is found whole before the text is cut.
_BEYOND: Final = 4_000


class Printed:
    """What one call printed, up to a limit.

    Once ``close`` was called, everything that comes later is thrown away: a call that took too long has had its say.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pieces: list[str] = []
        self._kept = 0
        self._total = 0
        self._is_closed = False

    def write(self, text: str) -> int:
        """Keep a text, as a file would."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock:
            if not self._is_closed:
                self._total += len(text)
                piece = text[: _MOST_CHARACTERS + _BEYOND - self._kept]
                if piece:
                    self._kept += len(piece)
                    self._pieces.append(piece)
        return len(text)

    def close(self) -> str:
        """Return what was printed, without secrets and cut if it is long, and keep nothing more."""
        with self._lock:
            self._is_closed = True
            text, total = "".join(self._pieces), self._total
        text = whole_characters(redact(text))
        return cut_text(text, _MOST_CHARACTERS, total if total > _MOST_CHARACTERS else None)[0]


_WHOSE: Final[ContextVar[Printed | None]] = ContextVar("whose_print", default=None)
_STREAMS: Final = ("stdout", "stderr")


class _Router:
    """Stands in for one stream; whatever it is asked besides writing, the stream beneath answers."""

    def __init__(self, beneath: Any) -> None:
        self.beneath = beneath

    def write(self, text: str) -> int:
        printed = _WHOSE.get()
        if printed is not None:
            return printed.write(text)
        return 0 if self.beneath is None else int(self.beneath.write(text) or 0)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if _WHOSE.get() is None and self.beneath is not None:
            self.beneath.flush()

    def __getattr__(self, name: str) -> Any:
        if name == "beneath":  # asked for by a copy that has nothing in it yet
            raise AttributeError(name)
        return getattr(self.beneath, name)


_LOCK: Final = threading.Lock()
_users = 0


@contextlib.contextmanager
def catching(printed: Printed) -> Iterator[None]:
    """While this block runs, let what its thread or task prints go to ``printed``.

    A function that outlives its time limit is still in the block, and so is what it prints then.
    """
    _install()
    token = _WHOSE.set(printed)
    try:
        yield
    finally:
        _WHOSE.reset(token)
        _uninstall()


def _install() -> None:
    global _users
    with _LOCK:
        _users += 1
        for name in _STREAMS:
            # Somebody may have put another stream there in the meantime, as redirect_stdout does.
            if not isinstance(getattr(sys, name), _Router):
                setattr(sys, name, _Router(getattr(sys, name)))


def _uninstall() -> None:
    global _users
    with _LOCK:
        _users -= 1
        for name in _STREAMS:
            stream = getattr(sys, name)
            # If it is not ours, it is theirs who put it there, and they take it away.
            if _users == 0 and isinstance(stream, _Router):
                setattr(sys, name, stream.beneath)
