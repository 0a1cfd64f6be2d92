"""What a kernel says while code runs, as the text and the images that the API gives.

Here live the joining of streams, values and tracebacks into one text, and its cut. Nothing that is cut is held. Not
here: where the messages come from (``kernel_process.py``), and when the code is stopped (``sandbox.py``).
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final

_MOST_IMAGES: Final = 32
_MOST_IMAGE_BYTES: Final = 32 << 20
_PNG: Final = b"\x89PNG\r\n\x1a\n"
# Colours and cursor movements, as terminals understand them.
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


class KernelOutput:
    """Collects the output of one run.

    Args:
        most: how many characters of it are kept.

    Attributes:
        images: the images, as PNG.
        failed: whether the code ended with an exception.
        ended_python: whether the code asked Python to end, with ``exit()``.
        chars: how many characters the code has printed, kept or not, without those of its last expression and of a
            traceback: with these it is over anyway.
        messages: how many messages there were.
    """

    def __init__(self, most: int) -> None:
        self.images: list[bytes] = []
        self.failed = False
        self.ended_python = False
        self.chars = 0
        self.messages = 0
        self._most = most
        self._pieces: list[str] = []
        self._kept = 0
        self._cut = 0
        self._last = ""
        self._error = ""
        self._image_bytes = 0

    def add(self, kind: str, content: dict[str, Any]) -> None:
        """Take in a message from the kernel's output channel."""
        self.messages += 1
        if kind == "stream":
            text, cut = _text(content.get("text")), _number(content.get("cut_chars"))
            self.chars += len(text) + cut
            self._write(text, cut)
        elif kind in ("execute_result", "display_data"):
            self._show(content)
        elif kind == "error":
            self._fail(content)

    def reply(self, content: dict[str, Any]) -> None:
        """Take in the kernel's answer at the end of a run."""
        if content.get("status") == "error" and not self.failed:  # as a rule the output channel has said it
            self._fail(content)
        payload = content.get("payload")
        for part in payload if isinstance(payload, list) else ():
            if isinstance(part, dict) and part.get("source") == "ask_exit":
                self.ended_python = True
            # What `name?` shows would open in a pager.
            if isinstance(part, dict) and part.get("source") == "page" and isinstance(part.get("data"), dict):
                self._write_line(_ESCAPES.sub("", _text(part["data"].get("text/plain"))), 0)

    def text(self) -> str:
        """Return the output; where it was cut there is a line that says so, and the end of a traceback is kept."""
        text = "".join(self._pieces)
        if not self._cut:
            return text
        end = self._error[-(self._most // 4) :] if self._error else ""
        start = text[: self._most - len(end)]
        cut = self._cut + len(text) - len(start) - len(end)
        return f"{start}\n… {cut:,} characters cut …\n{end}"

    def _show(self, content: dict[str, Any]) -> None:
        data = content.get("data")
        if not isinstance(data, dict):
            return
        if "image/png" in data and self._add_image(data["image/png"]):
            return
        if "text/plain" in data:
            self._write_line(_ESCAPES.sub("", _text(data["text/plain"])), _number(content.get("cut_chars")))

    def _add_image(self, encoded: object) -> bool:
        if not isinstance(encoded, str):
            return False
        try:
            image = base64.b64decode(encoded)
        except (binascii.Error, ValueError):
            return False
        if not image.startswith(_PNG):
            return False
        self._image_bytes += len(image)
        if len(self.images) < _MOST_IMAGES and self._image_bytes <= _MOST_IMAGE_BYTES:
            self.images.append(image)
        elif self._last != "images":
            self._write_line("… no more images are kept …\n", 0)
            self._last = "images"
        return True

    def _fail(self, content: dict[str, Any]) -> None:
        self.failed = True
        lines = content.get("traceback")
        text = "\n".join(map(_text, lines)) if isinstance(lines, list) else ""
        text = text or f"{_text(content.get('ename'))}: {_text(content.get('evalue'))}"
        self._error = _ESCAPES.sub("", text)
        self._write_line(self._error, _number(content.get("cut_chars")))

    def _write_line(self, text: str, cut: int) -> None:
        """Write ``text`` at the start of a line."""
        if self._last and not self._last.endswith("\n"):
            self._write("\n", 0)
        self._write(text, cut)

    def _write(self, text: str, cut: int) -> None:
        if not text:
            return
        kept = text[: max(0, self._most - self._kept)]
        self._kept += len(kept)
        self._cut += len(text) - len(kept) + cut
        if kept:
            self._pieces.append(kept)
        self._last = text[-1]


def _text(value: object) -> str:
    """Return ``value`` if it is a text, without halves of characters, which no file and no response can hold."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) and 0 < value < 1 << 60 else 0
