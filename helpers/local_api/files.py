"""Files: upload, list, look, download, delete.

Here live the routes under ``/files`` and the bytes behind them, which are kept in the state and never under a name that
somebody sent. Not here: reading what is in a file (``parsing.py``), and the stores that search it
(``vector_stores.py``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from helpers.local_api import ids
from helpers.local_api.checks import Fields, Query, page_body, required
from helpers.local_api.errors import APIError, invalid, missing, shown
from helpers.local_api.multipart import Form
from helpers.local_api.state import State, Transaction

if TYPE_CHECKING:
    from helpers.local_api.app import App

TABLES: Final = (
    """create table if not exists files (
        number integer primary key, id text not null unique, filename text not null, purpose text not null,
        bytes integer not null, created_at integer not null, expires_at integer
    )""",
    "create index if not exists files_expiry on files (expires_at)",
    """create table if not exists file_parts (
        file text not null, position integer not null, content blob not null, unique (file, position)
    )""",
)

_PURPOSES: Final = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")
# OpenAI gives these back to nobody, so code that downloads them would only work here.
_NOT_DOWNLOADABLE: Final = ("assistants", "user_data", "vision")
_EXPIRY_S: Final = (3_600, 2_592_000)
_BATCH_EXPIRY_S: Final = 2_592_000
_MOST_LISTED: Final = 10_000
_PART_BYTES: Final = 1024 * 1024
_LONGEST_NAME: Final = 255

Body = dict[str, Any]
OnDelete = Callable[[Transaction, str], None]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A row of the table of files."""

    id: str
    filename: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int | None

    @property
    def body(self) -> Body:
        """The file as the API shows it."""
        return {
            "object": "file",
            "id": self.id,
            "purpose": self.purpose,
            "filename": self.filename,
            "bytes": self.bytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "status": "processed",
            "status_details": None,
        }


@dataclass(frozen=True)
class Download:
    """The content of a file on its way out."""

    filename: str
    size_bytes: int
    parts: Iterator[bytes]


class Files:
    """The routes under ``/files``.

    Args:
        state: where files are kept. It must have been opened with :data:`TABLES`.
        clock: gives the time in seconds since 1970.
    """

    def __init__(self, state: State, clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock
        self.on_delete: list[OnDelete] = []
        """What else has to go when a file goes; called inside the transaction."""

    def add_to(self, app: App) -> None:
        """Add the routes to an application."""
        app.add("POST", "/files", lambda call: self.create(call.form))
        app.add(
            "GET", "/files", lambda call: self.list_files(call.query), ("after", "limit", "order", "purpose")
        )
        app.add("GET", "/files/{}", lambda call: self.retrieve(call.arguments[0]))
        app.add("DELETE", "/files/{}", lambda call: self.delete(call.arguments[0]))
        app.add("GET", "/files/{}/content", lambda call: self.download(call.arguments[0]))

    # -- routes -------------------------------------------------------------------------------------------------

    def create(self, form: Form) -> Body:
        """POST /files."""
        fields = Fields({**form.fields, **form.files})
        fields.only(("file", "purpose", "expires_after[anchor]", "expires_after[seconds]"))
        if "file" in form.fields:
            raise invalid(
                "'file' must be a file, and not a text: open it with open(path, 'rb').", param="file"
            )
        upload = required(form.files.get("file"), "file")
        purpose = str(required(Fields(form.fields).choice("purpose", _PURPOSES), "purpose"))
        lifetime_s = _read_expiry(form.fields)
        if upload.size_bytes == 0:
            raise invalid("File is empty.", param="file")
        if lifetime_s is None and purpose == "batch":
            lifetime_s = _BATCH_EXPIRY_S
        now = int(self._clock())
        with self._state.transaction() as transaction:
            number = transaction.next_number("file")
            file = StoredFile(
                id=ids.file_id(number),
                filename=safe_name(upload.filename),
                purpose=purpose,
                bytes=upload.size_bytes,
                created_at=now,
                expires_at=None if lifetime_s is None else now + lifetime_s,
            )
            transaction.execute(
                "insert into files values (?, ?, ?, ?, ?, ?, ?)",
                (number, file.id, file.filename, file.purpose, file.bytes, file.created_at, file.expires_at),
            )
            position = 0
            while part := upload.content.read(_PART_BYTES):
                transaction.execute("insert into file_parts values (?, ?, ?)", (file.id, position, part))
                position += 1
        return file.body

    def list_files(self, query: Query) -> Body:
        """GET /files: newest first unless ``order=asc``."""
        limit = query.integer("limit", least=1, most=_MOST_LISTED) or _MOST_LISTED
        newest_first = query.choice("order", ("asc", "desc")) != "asc"
        purpose, after = query.text("purpose"), query.text("after")
        comparison, order = ("<", "desc") if newest_first else (">", "asc")
        condition, values = "1", []
        with self._state.transaction() as transaction:
            self.forget_expired(transaction)
            if after is not None:
                row = transaction.execute("select number from files where id = ?", (after,)).fetchone()
                if row is None:
                    raise _no_file(after)
                condition, values = f"number {comparison} ?", [row[0]]
            rows = transaction.execute(
                f"select {_COLUMNS} from files where {condition} and purpose = coalesce(?, purpose) "
                f"order by number {order} limit ?",
                (*values, purpose, limit + 1),
            ).fetchall()
        return page_body([StoredFile(*row).body for row in rows[:limit]], has_more=len(rows) > limit)

    def retrieve(self, file_id: str) -> Body:
        """GET /files/{id}."""
        with self._state.transaction() as transaction:
            return self.existing(transaction, file_id).body

    def download(self, file_id: str) -> Download:
        """GET /files/{id}/content: only for purposes that OpenAI gives back."""
        with self._state.transaction() as transaction:
            file = self.existing(transaction, file_id)
        if file.purpose in _NOT_DOWNLOADABLE:
            raise invalid(f"Not allowed to download files of purpose: {file.purpose}")
        return Download(file.filename, file.bytes, self.parts(file.id))

    def delete(self, file_id: str) -> Body:
        """DELETE /files/{id}: also takes it out of every vector store."""
        with self._state.transaction() as transaction:
            self._remove(transaction, self.existing(transaction, file_id).id)
        return {"object": "file", "id": file_id, "deleted": True}

    # -- for other rooms ----------------------------------------------------------------------------------------

    def existing(self, transaction: Transaction, file_id: str) -> StoredFile:
        """Return a file, or refuse with 404."""
        file = self.find(transaction, file_id)
        if file is None:
            raise _no_file(file_id)
        return file

    def find(self, transaction: Transaction, file_id: str) -> StoredFile | None:
        """Return a file, or ``None`` if there is none (any more)."""
        self.forget_expired(transaction)
        row = transaction.execute(f"select {_COLUMNS} from files where id = ?", (file_id,)).fetchone()
        return None if row is None else StoredFile(*row)

    def content(self, file_id: str) -> bytes:
        """Return all bytes of a file; none if it is gone."""
        return b"".join(self.parts(file_id))

    def forget_expired(self, transaction: Transaction) -> None:
        """Remove the files whose time is over."""
        rows: Sequence[tuple[str]] = transaction.execute(
            "select id from files where expires_at <= ?", (int(self._clock()),)
        ).fetchall()
        for (file_id,) in rows:
            self._remove(transaction, file_id)

    def _remove(self, transaction: Transaction, file_id: str) -> None:
        for on_delete in self.on_delete:
            on_delete(transaction, file_id)
        transaction.execute("delete from file_parts where file = ?", (file_id,))
        transaction.execute("delete from files where id = ?", (file_id,))

    def parts(self, file_id: str) -> Iterator[bytes]:
        """Yield the bytes of a file in parts; none if it is gone."""
        # One part at a time, and nobody else has to wait while it is read.
        position = 0
        while True:
            with self._state.transaction() as transaction:
                row = transaction.execute(
                    "select content from file_parts where file = ? and position = ?", (file_id, position)
                ).fetchone()
            if row is None:
                return
            yield row[0]
            position += 1


_COLUMNS: Final = "id, filename, purpose, bytes, created_at, expires_at"


def safe_name(name: str) -> str:
    """Return what may be kept of a file's name: no folders, no control characters, not longer than 255 characters.

    Example:
        >>> safe_name("../../etc/passwd"), safe_name("C:\\\\notes\\\\week 1.md"), safe_name("..")
        ('passwd', 'week 1.md', 'upload')
    """
    base = re.split(r"[/\\]", name)[-1]
    visible = "".join(character for character in base if unicodedata.category(character)[0] != "C")
    visible = visible.strip()
    if not visible.strip("."):
        return "upload"
    if len(visible) <= _LONGEST_NAME:
        return visible
    stem, dot, ending = visible.rpartition(".")
    kept = f"{dot}{ending}" if stem and len(ending) < 16 else ""
    return visible[: _LONGEST_NAME - len(kept)] + kept


def _read_expiry(fields: dict[str, str]) -> int | None:
    """Return after how many seconds a file expires, if the form says so."""
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    for name, value in (("expires_after[anchor]", anchor), ("expires_after[seconds]", seconds)):
        if value is None:
            raise missing(name)
    Fields(dict(fields)).choice("expires_after[anchor]", ("created_at",))
    least, most = _EXPIRY_S
    return Query({"expires_after[seconds]": [str(seconds)]}).integer(
        "expires_after[seconds]", least=least, most=most
    )


def _no_file(file_id: str) -> APIError:
    return APIError(404, f"No such File object: {shown(file_id)}", param="id")
