"""The files of vector stores: attach, look, change, detach, one at a time or in batches; and their way into the index.

A file goes one state further each time somebody looks at it: it is parsed, cut and indexed then, or fails with a reason.
Nothing waits for a clock. Not here: the stores themselves (``vector_stores.py``), parsing, chunking and the index.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from helpers.local_api import ids, search
from helpers.local_api.checks import Fields, Query, page_body, required
from helpers.local_api.chunking import DEFAULT_OVERLAP_TOKENS, DEFAULT_SIZE_TOKENS, chunks
from helpers.local_api.errors import APIError, invalid, missing, not_found, shown
from helpers.local_api.files import Files, StoredFile
from helpers.local_api.filters import Attributes, read_attributes
from helpers.local_api.parsing import EXTENSIONS, ParseError, extension_of, parse
from helpers.local_api.state import State, Transaction

if TYPE_CHECKING:
    from helpers.local_api.app import App

TABLES: Final = (
    """create table if not exists vector_store_files (
        number integer primary key, store integer not null, file text not null, created_at integer not null,
        status text not null, error_code text, error_message text, usage_bytes integer not null,
        chunks integer not null, attributes text not null, size_tokens integer not null,
        overlap_tokens integer not null, batch text, unique (store, file)
    )""",
    "create index if not exists vector_store_files_of_batch on vector_store_files (batch)",
    "create index if not exists vector_store_files_waiting on vector_store_files (store, status)",
    """create table if not exists vector_store_batches (
        id text primary key, store integer not null, created_at integer not null, cancelled integer not null default 0
    )""",
)

_STATUSES: Final = ("in_progress", "completed", "failed", "cancelled")
_MOST_IN_BATCH: Final = 2_000
_POLLS: Final = 4
"""A store or a batch with many files is done after about so many looks, so that progress can be seen."""
_SIZE_TOKENS: Final = (100, 4096)
_PAGE_LIMITS: Final = (1, 100)
_USUAL_PAGE: Final = 20
_PAGE: Final = ("after", "before", "limit", "order")
_SUPPORTED: Final = "https://platform.openai.com/docs/assistants/tools/file-search/supported-files"

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Strategy:
    """How a file is cut into chunks."""

    size_tokens: int = DEFAULT_SIZE_TOKENS
    overlap_tokens: int = DEFAULT_OVERLAP_TOKENS

    @property
    def body(self) -> Body:
        """The strategy as the API shows it; ``auto`` is shown as what it stands for."""
        return {
            "type": "static",
            "static": {
                "max_chunk_size_tokens": self.size_tokens,
                "chunk_overlap_tokens": self.overlap_tokens,
            },
        }


@dataclass(frozen=True, slots=True)
class StoreFile:
    """A row of the table of files in stores."""

    file: str
    created_at: int
    status: str
    error_code: str | None
    error_message: str | None
    usage_bytes: int
    attributes: Attributes
    strategy: Strategy

    def body(self, store_id: str) -> Body:
        """The file as the API shows it."""
        return {
            "id": self.file,
            "object": "vector_store.file",
            "created_at": self.created_at,
            "vector_store_id": store_id,
            "status": self.status,
            "last_error": None
            if self.error_code is None
            else {"code": self.error_code, "message": self.error_message},
            "usage_bytes": self.usage_bytes,
            "attributes": self.attributes,
            "chunking_strategy": self.strategy.body,
        }


class VectorStoreFiles:
    """The routes under ``/vector_stores/{id}/files`` and ``/vector_stores/{id}/file_batches``.

    Args:
        state: where everything is kept. It must have been opened with :data:`TABLES`.
        files: the files that were uploaded.
        clock: gives the time in seconds since 1970.
    """

    number_of: Callable[[Transaction, str, bool], int]
    """Returns the number of a store: to look at (``False``), or to change it, which an expired one refuses (``True``).
    The room of the stores sets it."""

    def __init__(self, state: State, files: Files, clock: Callable[[], float]) -> None:
        self._state = state
        self._files = files
        self._clock = clock
        files.on_delete.append(_detach_everywhere)

    def add_to(self, app: App) -> None:
        """Add the routes to an application."""
        many = "/vector_stores/{}/files"
        one = "/vector_stores/{}/files/{}"
        batch = "/vector_stores/{}/file_batches/{}"
        listing = ("filter", *_PAGE)
        app.add("POST", many, lambda call: self.create(call.arguments[0], call.body))
        app.add("GET", many, lambda call: self.list_files(call.arguments[0], call.query), listing)
        app.add("GET", one, lambda call: self.retrieve(*call.arguments))
        app.add("POST", one, lambda call: self.update(call.arguments[0], call.arguments[1], call.body))
        app.add("DELETE", one, lambda call: self.delete(*call.arguments))
        app.add("GET", f"{one}/content", lambda call: self.content(*call.arguments))
        app.add(
            "POST",
            "/vector_stores/{}/file_batches",
            lambda call: self.create_batch(call.arguments[0], call.body),
        )
        app.add("GET", batch, lambda call: self.retrieve_batch(*call.arguments))
        app.add("POST", f"{batch}/cancel", lambda call: self.cancel_batch(*call.arguments))
        app.add(
            "GET",
            f"{batch}/files",
            lambda call: self.list_batch(call.arguments[0], call.arguments[1], call.query),
            listing,
        )

    # -- files --------------------------------------------------------------------------------------------------

    def create(self, store_id: str, body: Body) -> Body:
        """POST /vector_stores/{id}/files. A file that is there already is indexed anew."""
        fields = Fields(body)
        fields.only(("file_id", "attributes", "chunking_strategy"))
        file_id = str(required(fields.text("file_id"), "file_id"))
        attributes, strategy = read_attributes(fields) or {}, read_strategy(fields) or Strategy()
        with self._state.transaction() as transaction:
            store = self.number_of(transaction, store_id, True)
            file = self.searchable_file(transaction, file_id, "file_id")
            attach(transaction, store, file.id, int(self._clock()), attributes, strategy)
            return _existing(transaction, store, file_id, store_id).body(store_id)

    def list_files(self, store_id: str, query: Query) -> Body:
        """GET /vector_stores/{id}/files: newest first unless ``order=asc``; also lets the files get on."""
        paging, status = read_paging(query), query.choice("filter", _STATUSES)
        with self._state.transaction() as transaction:
            store = self.number_of(transaction, store_id, False)
        self.get_on(store)
        return self._page(store_id, store, paging, status, None)

    def retrieve(self, store_id: str, file_id: str) -> Body:
        """GET /vector_stores/{id}/files/{file}: also lets the file get on."""
        with self._state.transaction() as transaction:
            store = self.number_of(transaction, store_id, False)
            self._files.forget_expired(transaction)
            _existing(transaction, store, file_id, store_id)
        self._index(store, file_id)
        with self._state.transaction() as transaction:
            return _existing(transaction, store, file_id, store_id).body(store_id)

    def update(self, store_id: str, file_id: str, body: Body) -> Body:
        """POST /vector_stores/{id}/files/{file}: replaces the attributes."""
        fields = Fields(body)
        fields.only(("attributes",))
        if "attributes" not in body:
            raise missing("attributes")
        attributes = read_attributes(fields) or {}
        with self._state.transaction() as transaction:
            store = self.number_of(transaction, store_id, True)
            _existing(transaction, store, file_id, store_id)
            transaction.execute(
                "update vector_store_files set attributes = ? where store = ? and file = ?",
                (json.dumps(attributes), store, file_id),
            )
            return _existing(transaction, store, file_id, store_id).body(store_id)

    def delete(self, store_id: str, file_id: str) -> Body:
        """DELETE /vector_stores/{id}/files/{file}. The file itself stays."""
        with self._state.transaction() as transaction:
            store = self.number_of(transaction, store_id, False)
            _existing(transaction, store, file_id, store_id)
            _detach(transaction, store, file_id)
        return {"id": file_id, "object": "vector_store.file.deleted", "deleted": True}

    def content(self, store_id: str, file_id: str) -> Body:
        """GET /vector_stores/{id}/files/{file}/content: the text that was parsed."""
        with self._state.transaction() as transaction:
            store = self.number_of(transaction, store_id, False)
            _existing(transaction, store, file_id, store_id)
        self._index(store, file_id)
        with self._state.transaction() as transaction:
            _existing(transaction, store, file_id, store_id)
            text = search.text_of(transaction, store, file_id)
        return {
            "object": "vector_store.file_content.page",
            "data": [{"type": "text", "text": text}] if text else [],
            "has_more": False,
            "next_page": None,
        }

    # -- batches ------------------------------------------------------------------------------------------------

    def create_batch(self, store_id: str, body: Body) -> Body:
        """POST /vector_stores/{id}/file_batches: all files, or none if one cannot be attached."""
        fields = Fields(body)
        fields.only(("file_ids", "files", "attributes", "chunking_strategy"))
        wanted = _read_batch(fields)
        now = int(self._clock())
        with self._state.transaction() as transaction:
            store = self.number_of(transaction, store_id, True)
            batch_id = ids.numbered("vsfb", transaction.next_number("vsfb"))
            transaction.execute(
                "insert into vector_store_batches (id, store, created_at) values (?, ?, ?)",
                (batch_id, store, now),
            )
            for file_id, attributes, strategy in wanted:
                file = self.searchable_file(transaction, file_id, "file_ids")
                attach(transaction, store, file.id, now, attributes, strategy, batch_id)
            return _batch_body(transaction, store_id, store, batch_id)

    def retrieve_batch(self, store_id: str, batch_id: str) -> Body:
        """GET /vector_stores/{id}/file_batches/{batch}: also lets its files get on."""
        with self._state.transaction() as transaction:
            store = self.number_of(transaction, store_id, False)
            _batch_body(transaction, store_id, store, batch_id)
        self.get_on(store, batch=batch_id)
        with self._state.transaction() as transaction:
            return _batch_body(transaction, store_id, store, batch_id)

    def cancel_batch(self, store_id: str, batch_id: str) -> Body:
        """POST /vector_stores/{id}/file_batches/{batch}/cancel: what is indexed stays."""
        with self._state.transaction() as transaction:
            store = self.number_of(transaction, store_id, True)
            if _batch_body(transaction, store_id, store, batch_id)["status"] == "in_progress":
                transaction.execute("update vector_store_batches set cancelled = 1 where id = ?", (batch_id,))
                transaction.execute(
                    "update vector_store_files set status = 'cancelled' "
                    "where store = ? and batch = ? and status = 'in_progress'",
                    (store, batch_id),
                )
            return _batch_body(transaction, store_id, store, batch_id)

    def list_batch(self, store_id: str, batch_id: str, query: Query) -> Body:
        """GET /vector_stores/{id}/file_batches/{batch}/files."""
        paging, status = read_paging(query), query.choice("filter", _STATUSES)
        with self._state.transaction() as transaction:
            store = self.number_of(transaction, store_id, False)
            _batch_body(transaction, store_id, store, batch_id)
        self.get_on(store, batch=batch_id)
        return self._page(store_id, store, paging, status, batch_id)

    def _page(
        self, store_id: str, store: int, paging: Paging, status: str | None, batch_id: str | None
    ) -> Body:
        with self._state.transaction() as transaction:
            rows = transaction.execute(
                "select file from vector_store_files where store = ? and status = coalesce(?, status) "
                "and (? is null or batch = ?) order by number",
                (store, status, batch_id, batch_id),
            ).fetchall()
            chosen, has_more = page_of([row[0] for row in rows], paging, "File")
            files = [_existing(transaction, store, each, store_id).body(store_id) for each in chosen]
        return page_body(files, has_more=has_more)

    # -- for other rooms ----------------------------------------------------------------------------------------

    def searchable_file(self, transaction: Transaction, file_id: str, param: str) -> StoredFile:
        """Return a file that can be attached, or refuse: 404 if there is none, 400 for a type that is not searched."""
        file = self._files.find(transaction, file_id)
        if file is None:
            raise APIError(404, f"No such File object: {shown(file_id)}", param=param)
        extension = extension_of(file.filename)
        if extension not in EXTENSIONS:
            raise invalid(
                f"Files with extensions [{shown(extension) or 'none'}] are not supported for retrieval. See {_SUPPORTED}",
                param=param,
                code="unsupported_file",
            )
        return file

    def get_on(self, store: int, *, batch: str | None = None, to_the_end: bool = False) -> None:
        """Let the files of a store or of one batch get on: about a quarter of them, or all."""
        with self._state.transaction() as transaction:
            self._files.forget_expired(transaction)
            rows = transaction.execute(
                "select file, status from vector_store_files where store = ? and (? is null or batch = ?) order by number",
                (store, batch, batch),
            ).fetchall()
        waiting = [file for file, status in rows if status == "in_progress"]
        for file in waiting if to_the_end else waiting[: -(-len(rows) // _POLLS)]:
            self._index(store, file)

    def _index(self, store: int, file_id: str) -> None:
        """Parse, cut and index a file that waits for it. Interrupted, it waits on."""
        with self._state.transaction() as transaction:
            row = _waiting(transaction, store, file_id)
            file = self._files.find(transaction, file_id)
        if row is None or file is None:
            return
        try:
            document = parse(file.filename, self._files.content(file_id))
        except ParseError as error:
            with self._state.transaction() as transaction:
                if _waiting(transaction, store, file_id) == row:
                    transaction.execute(
                        "update vector_store_files set status = 'failed', error_code = ?, error_message = ? "
                        "where store = ? and file = ?",
                        (error.code, error.message, store, file_id),
                    )
            return
        with self._state.transaction() as transaction:
            # It may have been detached, cancelled or indexed while it was parsed.
            if _waiting(transaction, store, file_id) != row:
                return
            pieces = chunks(document, row.strategy.size_tokens, row.strategy.overlap_tokens)
            count, size = search.add(transaction, store, file_id, pieces)
            transaction.execute(
                "update vector_store_files set status = 'completed', chunks = ?, usage_bytes = ? "
                "where store = ? and file = ?",
                (count, size, store, file_id),
            )


# -- rows -----------------------------------------------------------------------------------------------------------


def attach(
    transaction: Transaction,
    store: int,
    file_id: str,
    created_at: int,
    attributes: Attributes,
    strategy: Strategy,
    batch: str | None = None,
) -> None:
    """Put a file into a store, where it waits to be indexed; what was there of it goes."""
    _detach(transaction, store, file_id)
    transaction.execute(
        "insert into vector_store_files (store, file, created_at, status, usage_bytes, chunks, attributes, size_tokens, "
        "overlap_tokens, batch) values (?, ?, ?, 'in_progress', 0, 0, ?, ?, ?, ?)",
        (
            store,
            file_id,
            created_at,
            json.dumps(attributes),
            strategy.size_tokens,
            strategy.overlap_tokens,
            batch,
        ),
    )


def _detach(transaction: Transaction, store: int, file_id: str) -> None:
    search.remove(transaction, store, file_id)
    transaction.execute("delete from vector_store_files where store = ? and file = ?", (store, file_id))


def _detach_everywhere(transaction: Transaction, file_id: str) -> None:
    rows = transaction.execute("select store from vector_store_files where file = ?", (file_id,)).fetchall()
    for (store,) in rows:
        _detach(transaction, store, file_id)


def _find(transaction: Transaction, store: int, file_id: str) -> StoreFile | None:
    row = transaction.execute(
        "select file, created_at, status, error_code, error_message, usage_bytes, attributes, size_tokens, "
        "overlap_tokens from vector_store_files where store = ? and file = ?",
        (store, file_id),
    ).fetchone()
    if row is None:
        return None
    return StoreFile(
        file=row[0],
        created_at=row[1],
        status=row[2],
        error_code=row[3],
        error_message=row[4],
        usage_bytes=row[5],
        attributes=json.loads(row[6]),
        strategy=Strategy(row[7], row[8]),
    )


def _waiting(transaction: Transaction, store: int, file_id: str) -> StoreFile | None:
    row = _find(transaction, store, file_id)
    return row if row is not None and row.status == "in_progress" else None


def _existing(transaction: Transaction, store: int, file_id: str, store_id: str) -> StoreFile:
    row = _find(transaction, store, file_id)
    if row is None:
        raise APIError(404, f"No file found with id '{shown(file_id)}' in vector store '{store_id}'.")
    return row


def counts(transaction: Transaction, where: str, values: Sequence[Any]) -> tuple[dict[str, int], int]:
    """Return how many files are in which state, and how many bytes they use together."""
    rows = transaction.execute(
        f"select status, count(*), sum(usage_bytes) from vector_store_files where {where} group by status",
        values,
    ).fetchall()
    found = {status: count for status, count, _ in rows}
    file_counts = {status: found.get(status, 0) for status in sorted(_STATUSES)}
    return {**file_counts, "total": sum(found.values())}, sum(row[2] for row in rows)


def _batch_body(transaction: Transaction, store_id: str, store: int, batch_id: str) -> Body:
    row = transaction.execute(
        "select created_at, cancelled from vector_store_batches where id = ? and store = ?", (batch_id, store)
    ).fetchone()
    if row is None:
        raise not_found("Vector store file batch", batch_id)
    file_counts, _ = counts(transaction, "store = ? and batch = ?", (store, batch_id))
    status = "in_progress" if file_counts["in_progress"] else "completed"
    return {
        "id": batch_id,
        "object": "vector_store.files_batch",
        "created_at": row[0],
        "vector_store_id": store_id,
        "status": "cancelled" if row[1] else status,
        "file_counts": file_counts,
    }


# -- requests -------------------------------------------------------------------------------------------------------


def read_strategy(fields: Fields) -> Strategy | None:
    """Read ``chunking_strategy``."""
    outer = fields.object("chunking_strategy")
    if outer is None:
        return None
    kind = required(outer.choice("type", ("auto", "static")), outer.name("type"))
    if kind == "auto":
        outer.only(("type",))
        return Strategy()
    outer.only(("type", "static"))
    static = required(outer.object("static"), outer.name("static"))
    static.only(("max_chunk_size_tokens", "chunk_overlap_tokens"))
    least, most = _SIZE_TOKENS
    size = required(
        static.integer("max_chunk_size_tokens", least=least, most=most), static.name("max_chunk_size_tokens")
    )
    overlap = required(static.integer("chunk_overlap_tokens", least=0), static.name("chunk_overlap_tokens"))
    if overlap * 2 > size:
        name = static.name("chunk_overlap_tokens")
        raise invalid(
            f"Invalid '{name}': {overlap} is more than half of 'max_chunk_size_tokens' ({size}). Use at most {size // 2}.",
            param=name,
            code="invalid_value",
        )
    return Strategy(size, overlap)


def read_file_ids(fields: Fields, *, most: int) -> list[str] | None:
    """Read ``file_ids``: each only once, in order."""
    values = fields.array("file_ids", of="strings")
    if values is None:
        return None
    for value in values:
        if not isinstance(value, str):
            raise fields.wrong_type("file_ids", "an array of strings")
    _check_number("file_ids", values, most)
    return list(dict.fromkeys(values))


def _read_batch(fields: Fields) -> list[tuple[str, Attributes, Strategy]]:
    """Return the files of a batch, each with its attributes and strategy."""
    file_ids, files = read_file_ids(fields, most=_MOST_IN_BATCH), fields.array("files")
    if (file_ids is None) == (files is None):
        raise invalid(
            "A batch needs either 'file_ids' or 'files', and not both.",
            param="file_ids",
            code="mutually_exclusive_parameters" if files is not None else "missing_required_parameter",
        )
    attributes, strategy = read_attributes(fields) or {}, read_strategy(fields) or Strategy()
    if files is None:
        wanted = [(file_id, attributes, strategy) for file_id in file_ids or []]
    else:
        _check_number("files", files, _MOST_IN_BATCH)
        wanted = []
        for index, value in enumerate(files):
            name = f"files[{index}]"
            each: Fields = required(Fields({name: value}).object(name), name)
            each.only(("file_id", "attributes", "chunking_strategy"))
            file_id = required(each.text("file_id"), each.name("file_id"))
            wanted.append((file_id, read_attributes(each) or {}, read_strategy(each) or Strategy()))
    if not wanted:
        name = "file_ids" if files is None else "files"
        raise invalid(
            f"Invalid '{name}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            param=name,
            code="empty_array",
        )
    return wanted


def _check_number(name: str, values: Sequence[Any], most: int) -> None:
    if len(values) > most:
        raise invalid(
            f"Invalid '{name}': array too long. Expected an array with maximum length {most}, but got an array with "
            f"length {len(values)} instead.",
            param=name,
            code="array_above_max_length",
        )


@dataclass(frozen=True, slots=True)
class Paging:
    """Which part of a list is wanted."""

    limit: int
    newest_first: bool
    after: str | None
    before: str | None


def read_paging(query: Query) -> Paging:
    """Read ``limit``, ``order``, ``after`` and ``before``."""
    least, most = _PAGE_LIMITS
    return Paging(
        limit=query.integer("limit", least=least, most=most) or _USUAL_PAGE,
        newest_first=query.choice("order", ("asc", "desc")) != "asc",
        after=query.text("after"),
        before=query.text("before"),
    )


def page_of(identifiers: Sequence[str], paging: Paging, what: str) -> tuple[Sequence[str], bool]:
    """Return the wanted part of a list, and whether there is more in that direction.

    Args:
        identifiers: all of them, the oldest first.
        paging: which part.
        what: what they are, for the refusal.
    """
    ordered = list(identifiers)[::-1] if paging.newest_first else list(identifiers)
    for cursor in (paging.after, paging.before):
        if cursor is not None and cursor not in ordered:
            raise not_found(what, cursor)
    if paging.after is not None:
        ordered = ordered[ordered.index(paging.after) + 1 :]
    if paging.before is not None:
        # The page before something ends right before it.
        ordered = ordered[: ordered.index(paging.before)] if paging.before in ordered else []
        if paging.after is None:
            return ordered[-paging.limit :], len(ordered) > paging.limit
    return ordered[: paging.limit], len(ordered) > paging.limit
