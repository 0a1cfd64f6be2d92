"""The state: one SQLite file that holds conversations, their items, and responses.

Without a path it lives in a temporary folder and is gone with the process. With one (``WORKSHOP_STATE``) it is kept,
and several processes can share it. Here are the tables, the transactions and who is still alive; not here: what a
route does with them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from helpers.local_api import ids

_VERSION: Final = 1
_BUSY_TIMEOUT_S: Final = 30.0
_SCHEMA: Final = """
create table counters (kind text primary key, value integer not null);
create table conversations (
    id text primary key, created_at integer not null, metadata text not null, deleted integer not null default 0
);
create table conversation_items (
    position integer primary key autoincrement, conversation_id text not null, id text not null, item text not null
);
create index items_of_conversation on conversation_items (conversation_id, position);
create table responses (
    id text primary key, status text not null, background integer not null, streamed integer not null,
    stored integer not null, conversation_id text, previous_response_id text, owner text not null,
    created_at real not null, body text not null, input_items text not null, script text not null,
    context_end integer not null
);
create index responses_of_conversation on responses (conversation_id, status);
"""
_RUNNING: Final = ("queued", "in_progress")

Item = dict[str, Any]


class StateError(Exception):
    """The file that should hold the state cannot be used. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row of the table of conversations."""

    id: str
    created_at: int
    metadata: dict[str, str]

    @property
    def body(self) -> dict[str, Any]:
        """The conversation as the API shows it."""
        return {
            "id": self.id,
            "object": "conversation",
            "created_at": self.created_at,
            "metadata": self.metadata,
        }


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A row of the table of responses.

    ``body`` is what the API shows; ``script`` is what the events are made from; ``context_end`` is the last position
    of its conversation that it could see.
    """

    id: str
    status: str
    background: bool
    streamed: bool
    stored: bool
    conversation_id: str | None
    previous_response_id: str | None
    owner: str
    created_at: float
    body: dict[str, Any]
    input_items: list[Item]
    script: dict[str, Any]
    context_end: int

    @property
    def running(self) -> bool:
        """Whether it is queued or in progress."""
        return self.status in _RUNNING


class State:
    """Opens the file, hands out transactions, and knows which processes that share it are alive.

    Args:
        path: the file to keep, or a folder to put it in; ``None`` for a temporary one.
        tables: statements that make the tables of further rooms, if they are not there yet.
        first_number: from which to count things, if nothing was counted yet. Ids are made from these numbers.

    Raises:
        StateError: the file is no state of this workshop's.
    """

    def __init__(
        self, path: Path | None = None, tables: Sequence[str] = (), *, first_number: int = 1
    ) -> None:
        self.shared = path is not None
        self._first_number = first_number
        self._lock = threading.Lock()
        self._read = _ReadItems()
        temporary = None if path is not None else tempfile.mkdtemp(prefix="workshop-state-")
        file = Path(temporary, "state.sqlite3") if temporary else _file_at(Path(path or ""))
        try:
            self._connection = _opened(file, tables, durable=self.shared)
        except sqlite3.Error as error:
            if temporary:
                shutil.rmtree(temporary, ignore_errors=True)
            raise StateError(
                f"{file} cannot be used as the recorded API's state ({error}). Choose another path for WORKSHOP_STATE, "
                "or delete the file."
            ) from None
        owners = _Owners(file.with_name(f"{file.name}-owners")) if self.shared else None
        self._owners = owners
        self._close = weakref.finalize(self, _close, self._connection, temporary, owners, os.getpid())
        with self.transaction() as transaction:
            number = transaction.next_number("owner")
        self.owner = f"{number}-{ids.numbered('owner', number)[-8:]}"
        if owners:
            owners.enter(self.owner)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return not self._close.alive

    def close(self) -> None:
        """Close the file; a temporary one is removed. Closing twice is fine."""
        with self._lock:
            self._close()

    def is_alive(self, owner: str) -> bool:
        """Return whether the process (or the object in it) that calls itself ``owner`` still runs."""
        if owner == self.owner:
            return True
        return self._owners is not None and self._owners.is_alive(owner)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Do several things as one: all of them happen, or none.

        The lock is not re-entrant: whatever runs inside must use the transaction that it was given.
        """
        with self._lock:
            try:
                self._connection.execute("begin immediate")
                yield Transaction(self._connection, self._first_number, self._read)
                self._connection.execute("commit")
            except BaseException:
                # An interrupt can come at any point, so ask instead of keeping count.
                if self._connection.in_transaction:
                    self._connection.execute("rollback")
                raise

    @contextlib.contextmanager
    def transaction_if_free(self) -> Iterator[Transaction | None]:
        """Like :meth:`transaction`, but gives ``None`` at once if somebody in this process is inside one.

        It is for what may be called at any moment, by the garbage collector even inside a transaction.
        """
        if self._lock.locked():
            yield None
            return
        with self.transaction() as transaction:
            yield transaction


def _file_at(path: Path) -> Path:
    path = path.expanduser()
    file = path / "state.sqlite3" if path.is_dir() else path
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateError(
            f"{file.parent} cannot be made ({error.strerror}). Choose another path for WORKSHOP_STATE."
        ) from None
    return file.resolve()


def _opened(file: Path, tables: Sequence[str], *, durable: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("pragma journal_mode=wal")
        connection.execute(f"pragma synchronous={'normal' if durable else 'off'}")
        connection.execute("begin immediate")
        (version,) = connection.execute("pragma user_version").fetchone()
        (already_there,) = connection.execute("select count(*) from sqlite_master").fetchone()
        if version == 0 and already_there == 0:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                connection.execute(statement)
            connection.execute(f"pragma user_version={_VERSION}")
        elif version != _VERSION:
            raise sqlite3.DatabaseError("it is another program's, or of another version of this workshop")
        for statement in tables:
            connection.execute(statement)
        connection.execute("commit")
    except BaseException:
        connection.close()
        raise
    return connection


def _close(
    connection: sqlite3.Connection, temporary: str | None, owners: _Owners | None, process: int
) -> None:
    if os.getpid() != process:
        # A forked child has a copy of this object. The files belong to the parent.
        return
    connection.close()
    if owners:
        owners.leave()
    if temporary:
        shutil.rmtree(temporary, ignore_errors=True)


class Transaction:
    """What can be read and written while the state is held. One method for each thing that a route needs."""

    def __init__(self, connection: sqlite3.Connection, first_number: int, read: _ReadItems) -> None:
        self._first_number = first_number
        self._read = read
        self._items_as_committed = True
        self._run = connection.execute
        self._run_many = connection.executemany

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one SQL statement. It is for rooms that keep tables of their own in the state.

        Args:
            statement: with ``?`` for each parameter; what a person sent never stands in it.
            parameters: one value for each ``?``.
        """
        return self._run(statement, parameters)

    def execute_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one SQL statement for each row of parameters."""
        self._run_many(statement, rows)

    def next_number(self, kind: str) -> int:
        """Count one further thing of this kind and return its number."""
        (number,) = self._run(
            "insert into counters values (?, ?) on conflict (kind) do update set value = value + 1 returning value",
            (kind, self._first_number),
        ).fetchone()
        return int(number)

    # -- conversations ------------------------------------------------------------------------------------------

    def add_conversation(self, conversation: Conversation) -> None:
        """Store a new conversation."""
        self._run(
            "insert into conversations (id, created_at, metadata) values (?, ?, ?)",
            (conversation.id, conversation.created_at, json.dumps(conversation.metadata)),
        )

    def conversation(self, conversation_id: str) -> Conversation | None:
        """Return a conversation, or ``None`` if there is none or it was deleted."""
        row = self._run(
            "select id, created_at, metadata from conversations where id = ? and not deleted",
            (conversation_id,),
        ).fetchone()
        return None if row is None else Conversation(row[0], row[1], json.loads(row[2]))

    def set_conversation_metadata(self, conversation_id: str, metadata: dict[str, str]) -> None:
        """Replace a conversation's metadata."""
        self._run(
            "update conversations set metadata = ? where id = ?", (json.dumps(metadata), conversation_id)
        )

    def delete_conversation(self, conversation_id: str) -> None:
        """Delete a conversation. Its items stay, as live."""
        self._run("update conversations set deleted = 1 where id = ?", (conversation_id,))

    def add_items(self, conversation_id: str, items: Sequence[Item]) -> None:
        """Add items at the end of a conversation."""
        self._items_as_committed = False
        for item in items:
            self._run(
                "insert into conversation_items (conversation_id, id, item) values (?, ?, ?)",
                (conversation_id, item["id"], json.dumps(item)),
            )

    def items(self, conversation_id: str, up_to: int | None = None) -> list[Item]:
        """Return a conversation's items, oldest first, all or up to a position. Nobody changes them."""
        if up_to is not None or not self._items_as_committed:
            return self._items_between(conversation_id, 0, sqlite_max(up_to))
        count, last = self._run(
            "select count(*), coalesce(max(position), 0) from conversation_items where conversation_id = ?",
            (conversation_id,),
        ).fetchone()
        known, known_last = self._read.of(conversation_id)
        items = [*known, *self._items_between(conversation_id, known_last, last)]
        if len(items) != count:  # one of those that were known was deleted
            items = self._items_between(conversation_id, 0, last)
        self._read.keep(conversation_id, items, last)
        return list(items)

    def _items_between(self, conversation_id: str, after: int, up_to: int) -> list[Item]:
        rows = self._run(
            "select item from conversation_items where conversation_id = ? and position > ? and position <= ? "
            "order by position",
            (conversation_id, after, up_to),
        )
        items: list[Item] = json.loads(f"[{','.join(row[0] for row in rows)}]")
        return items

    def items_page(
        self, conversation_id: str, *, after: str | None, limit: int, newest_first: bool
    ) -> list[Item] | None:
        """Return up to ``limit`` items of a conversation; ``None`` if there is no item ``after``."""
        comparison, order, position = ("<", "desc", sqlite_max(None)) if newest_first else (">", "asc", -1)
        if after is not None:
            row = self._run(
                "select position from conversation_items where conversation_id = ? and id = ?",
                (conversation_id, after),
            ).fetchone()
            if row is None:
                return None
            position = row[0]
        rows = self._run(
            f"select item from conversation_items where conversation_id = ? and position {comparison} ? "
            f"order by position {order} limit ?",
            (conversation_id, position, limit),
        )
        return [json.loads(row[0]) for row in rows]

    def item(self, conversation_id: str, item_id: str) -> Item | None:
        """Return one item of a conversation."""
        row = self._run(
            "select item from conversation_items where conversation_id = ? and id = ?",
            (conversation_id, item_id),
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def delete_item(self, conversation_id: str, item_id: str) -> None:
        """Remove one item from a conversation."""
        self._items_as_committed = False
        self._run(
            "delete from conversation_items where conversation_id = ? and id = ?", (conversation_id, item_id)
        )

    def last_position(self, conversation_id: str) -> int:
        """Return the position of a conversation's newest item, 0 if it has none."""
        (position,) = self._run(
            "select coalesce(max(position), 0) from conversation_items where conversation_id = ?",
            (conversation_id,),
        ).fetchone()
        return int(position)

    # -- responses ----------------------------------------------------------------------------------------------

    _COLUMNS: Final = (
        "id, status, background, streamed, stored, conversation_id, previous_response_id, owner, created_at, body, "
        "input_items, script, context_end"
    )

    def add_response(self, response: StoredResponse) -> None:
        """Store a new response."""
        self._run(
            f"insert into responses ({self._COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                response.id,
                response.status,
                response.background,
                response.streamed,
                response.stored,
                response.conversation_id,
                response.previous_response_id,
                response.owner,
                response.created_at,
                json.dumps(response.body),
                json.dumps(response.input_items),
                json.dumps(response.script),
                response.context_end,
            ),
        )

    def response(self, response_id: str) -> StoredResponse | None:
        """Return a response, whether it may be retrieved or not."""
        row = self._run(f"select {self._COLUMNS} from responses where id = ?", (response_id,)).fetchone()
        return None if row is None else _stored_response(row)

    def status(self, response_id: str) -> str | None:
        """Return only the status of a response."""
        row = self._run("select status from responses where id = ?", (response_id,)).fetchone()
        return None if row is None else str(row[0])

    def running_in(self, conversation_id: str) -> StoredResponse | None:
        """Return the response that works on a conversation just now."""
        row = self._run(
            f"select {self._COLUMNS} from responses where conversation_id = ? and status in (?, ?)",
            (conversation_id, *_RUNNING),
        ).fetchone()
        return None if row is None else _stored_response(row)

    def set_response(self, response_id: str, body: dict[str, Any]) -> None:
        """Replace what the API shows of a response, and its status."""
        self._run(
            "update responses set status = ?, body = ? where id = ?",
            (body["status"], json.dumps(body), response_id),
        )

    def delete_response(self, response_id: str) -> None:
        """Remove a response."""
        self._run("delete from responses where id = ?", (response_id,))


class _ReadItems:
    """The items of the conversations that were read last, so that a long one is not read as a whole for each turn."""

    _MOST: Final = 8

    def __init__(self) -> None:
        self._known: dict[str, tuple[list[Item], int]] = {}

    def of(self, conversation_id: str) -> tuple[list[Item], int]:
        """Return the items that are known of a conversation, and the position of the last one."""
        return self._known.get(conversation_id, ([], 0))

    def keep(self, conversation_id: str, items: list[Item], last: int) -> None:
        """Keep the items of a conversation, all up to the position ``last``."""
        self._known.pop(conversation_id, None)
        self._known[conversation_id] = (items, last)
        while len(self._known) > self._MOST:
            del self._known[next(iter(self._known))]


def _stored_response(row: Sequence[Any]) -> StoredResponse:
    return StoredResponse(
        id=row[0],
        status=row[1],
        background=bool(row[2]),
        streamed=bool(row[3]),
        stored=bool(row[4]),
        conversation_id=row[5],
        previous_response_id=row[6],
        owner=row[7],
        created_at=row[8],
        body=json.loads(row[9]),
        input_items=json.loads(row[10]),
        script=json.loads(row[11]),
        context_end=row[12],
    )


def sqlite_max(position: int | None) -> int:
    """Return ``position``, or the largest number that SQLite knows for ``None``."""
    return 2**63 - 1 if position is None else position


class _Owners:
    """Who shares the state: each holds a lock on a file of its own, which the system takes back when it dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine: IO[bytes] | None = None

    def enter(self, owner: str) -> None:
        """Take the lock of a new owner."""
        try:
            self._folder.mkdir(exist_ok=True)
            self._mine = (self._folder / owner).open("wb")
        except OSError as error:
            raise StateError(
                f"{self._folder} cannot be written ({error.strerror}). Choose another path for WORKSHOP_STATE."
            ) from None
        _lock_file(self._mine)

    def leave(self) -> None:
        """Give the lock back."""
        if self._mine:
            self._mine.close()
            Path(self._mine.name).unlink(missing_ok=True)

    def is_alive(self, owner: str) -> bool:
        """Return whether somebody holds the lock of an owner."""
        path = self._folder / owner
        try:
            with path.open("rb+") as file:
                if not _lock_file(file):
                    return True
            path.unlink(missing_ok=True)
        except OSError:
            # Somebody else found it dead at the same time, or it left by itself.
            return False
        return False


def _lock_file(file: IO[bytes]) -> bool:
    """Take the lock of a file if nobody has it; it is given back when the file is closed or the process ends."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
