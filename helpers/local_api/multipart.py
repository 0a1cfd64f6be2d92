"""Multipart forms: an upload taken apart while it arrives, so that it is never in memory as a whole.

Here live the limits of an upload and everything that can be wrong with it on the way. Not here: what is done with a
file that has arrived (``files.py``).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import IO, Final

from helpers.local_api.errors import APIError, invalid

LARGEST_FILE_BYTES: Final = 512 * 1024 * 1024
"""How large one file may be (https://developers.openai.com/api/docs/guides/retrieval)."""

_IN_MEMORY_BYTES: Final = 1024 * 1024
_LONGEST_FIELD_BYTES: Final = 64 * 1024
_LONGEST_HEADERS_BYTES: Final = 16 * 1024
_MOST_PARTS: Final = 64
_END_OF_HEADERS: Final = b"\r\n\r\n"


@dataclass
class Upload:
    """A file that arrived. ``content`` is at its beginning; a large one is on disk."""

    filename: str
    content: IO[bytes]
    size_bytes: int = 0


@dataclass
class Form:
    """A form that arrived as a whole."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, Upload] = field(default_factory=dict)


@dataclass
class _Part:
    """The part that is arriving now: a file, or a field whose text is collected."""

    name: str
    upload: Upload | None
    text: bytearray = field(default_factory=bytearray)


class Receiver:
    """Takes the pieces of a multipart request as they come.

    Args:
        headers: those of the request, with names in lower case.

    Example:
        >>> receiver = Receiver({"content-type": "multipart/form-data; boundary=b"})
        >>> receiver.feed(b'--b\\r\\nContent-Disposition: form-data; name="purpose"\\r\\n\\r\\nassistants\\r\\n--b--')
        >>> receiver.form().fields
        {'purpose': 'assistants'}
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._form = Form()
        self._part: _Part | None = None
        self._buffer = bytearray()
        self._stage = "begin"
        self._parts = 0
        self._received = 0
        self._problem: APIError | None = None
        content_type = Message()
        content_type["content-type"] = headers.get("content-type", "")
        boundary = content_type.get_param("boundary")
        self._delimiter = b"\r\n--" + str(boundary or "").encode("utf-8", "surrogateescape")
        length = headers.get("content-length", "")
        self._announced = int(length) if length.isdecimal() else None
        if not boundary:
            self._problem = invalid("The multipart/form-data of your request names no boundary.")
        elif self._announced is not None and self._announced > LARGEST_FILE_BYTES + _IN_MEMORY_BYTES:
            self._problem = _too_large()

    @property
    def wants_more(self) -> bool:
        """Whether it makes sense to send more; after a problem it does not."""
        return self._problem is None

    def feed(self, chunk: bytes) -> None:
        """Take the next piece. It never raises: :meth:`form` says what was wrong."""
        view = memoryview(chunk)
        # A request that was read before comes in one piece; it is not copied as a whole.
        for start in range(0, len(view), _IN_MEMORY_BYTES):
            if self._problem:
                return
            piece = view[start : start + _IN_MEMORY_BYTES]
            self._received += len(piece)
            self._buffer += piece
            try:
                while self._step():
                    pass
            except APIError as problem:
                self._problem = problem
                self.close()

    def form(self) -> Form:
        """Return what arrived.

        Raises:
            APIError: 400 if the form is broken or not complete, 413 if a file is too large.
        """
        if self._problem:
            raise self._problem
        if self._announced is not None and self._received != self._announced:
            raise invalid(
                f"The request announced {self._announced} bytes and {self._received} arrived. Send it again; do not "
                "change the file while it is uploaded."
            )
        if self._stage != "end":
            raise invalid(
                "The multipart/form-data of your request ends in the middle. Send the whole file again."
            )
        for upload in self._form.files.values():
            upload.content.seek(0)
        return self._form

    @contextlib.contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Close it if what sends the pieces fails or is interrupted."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove what was kept of the files."""
        uploads = [
            *self._form.files.values(),
            *([self._part.upload] if self._part and self._part.upload else []),
        ]
        for upload in uploads:
            upload.content.close()

    def _step(self) -> bool:
        """Get on with what is in the buffer; return whether there may be more to do with it."""
        if self._stage == "begin":
            return self._begin()
        if self._stage == "delimiter":
            return self._after_delimiter()
        if self._stage == "headers":
            return self._headers()
        if self._stage == "content":
            return self._content()
        self._buffer.clear()  # What comes after the end is nobody's.
        return False

    def _begin(self) -> bool:
        # The first delimiter stands at the very beginning, without a line before it.
        first = self._delimiter[2:]
        if len(self._buffer) < len(first):
            return False
        if not self._buffer.startswith(first):
            raise invalid("The multipart/form-data of your request does not begin with its boundary.")
        del self._buffer[: len(first)]
        self._stage = "delimiter"
        return True

    def _after_delimiter(self) -> bool:
        if len(self._buffer) < 2:
            return False
        following = bytes(self._buffer[:2])
        if following not in (b"--", b"\r\n"):
            raise invalid(
                "A boundary in the multipart/form-data of your request is followed by something else."
            )
        del self._buffer[:2]
        self._stage = "end" if following == b"--" else "headers"
        return True

    def _headers(self) -> bool:
        # A part without headers would be an empty line at once.
        end = self._buffer.find(_END_OF_HEADERS)
        if end < 0:
            if len(self._buffer) > _LONGEST_HEADERS_BYTES:
                raise invalid("A part of the multipart/form-data of your request has headers without an end.")
            return False
        text = bytes(self._buffer[:end]).decode("utf-8", "replace")
        del self._buffer[: end + len(_END_OF_HEADERS)]
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise invalid(f"The multipart/form-data of your request has more than {_MOST_PARTS} parts.")
        self._part = _part_from(text)
        self._stage = "content"
        return True

    def _content(self) -> bool:
        end = self._buffer.find(self._delimiter)
        # The beginning of a delimiter may be at the end of what is there.
        safe = end if end >= 0 else len(self._buffer) - len(self._delimiter) + 1
        if safe > 0:
            with memoryview(self._buffer) as everything, everything[:safe] as piece:
                self._keep(piece)
            del self._buffer[:safe]
        if end < 0:
            return False
        del self._buffer[: len(self._delimiter)]
        self._finish_part()
        self._stage = "delimiter"
        return True

    def _keep(self, piece: memoryview) -> None:
        part = self._part
        assert part is not None
        if part.upload is None:
            part.text += piece
            size, most = len(part.text), _LONGEST_FIELD_BYTES
        else:
            part.upload.content.write(piece)
            part.upload.size_bytes += len(piece)
            size, most = part.upload.size_bytes, LARGEST_FILE_BYTES
        if size > most:
            raise _too_large() if part.upload else invalid(f"The field '{part.name[:64]}' is too long.")

    def _finish_part(self) -> None:
        part = self._part
        assert part is not None
        if part.name in self._form.fields or part.name in self._form.files:
            raise invalid(f"The field '{part.name[:64]}' is there twice.", param=part.name)
        if part.upload is None:
            self._form.fields[part.name] = part.text.decode("utf-8", "replace")
        else:
            self._form.files[part.name] = part.upload
        self._part = None


def _part_from(headers: str) -> _Part:
    message = Message()
    for line in headers.split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and name.strip().lower() == "content-disposition":
            message["content-disposition"] = value.strip()
    disposition = _parameters(message.get("content-disposition", ""))
    if "name" not in disposition:
        raise invalid("A part of the multipart/form-data of your request has no name.")
    if "filename" not in disposition:
        return _Part(disposition["name"], None)
    content = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - closed with the receiver
    return _Part(disposition["name"], Upload(disposition["filename"], content))


def _parameters(disposition: str) -> dict[str, str]:
    """Return the parameters of a Content-Disposition, as browsers and httpx write them: quotes are ``%22``."""
    found: dict[str, str] = {}
    rest = disposition.partition(";")[2]
    while rest:
        name, _, rest = rest.partition("=")
        rest = rest.lstrip()
        if rest.startswith('"'):
            value, _, rest = rest[1:].partition('"')
            rest = rest.partition(";")[2]
        else:
            value, _, rest = rest.partition(";")
            value = value.strip()
        for written, meant in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
            value = value.replace(written, meant)
        found[name.strip().lower()] = value
    return found


def _too_large() -> APIError:
    return APIError(
        413,
        f"The file is too large. One file can have at most {LARGEST_FILE_BYTES} bytes (512 MB): split it, and upload the "
        "parts.",
        param="file",
        code="file_too_large",
        retry=False,
    )
