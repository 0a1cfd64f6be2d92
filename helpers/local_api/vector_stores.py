"""Vector stores: create, look, change, delete, expire, and search without a model.

Here live the routes under ``/vector_stores`` that are about a store as a whole. Not here: its files and batches
(``vector_store_files.py``), the index (``search.py``), and the tool that a model searches with
(``file_search_tool.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from helpers.local_api import ids, search
from helpers.local_api.checks import Fields, Query, page_body, required
from helpers.local_api.errors import APIError, invalid, not_found, shown, unsupported
from helpers.local_api.filters import Filter, fits, read_filter
from helpers.local_api.state import State, Transaction
from helpers.local_api.vector_store_files import (
    Strategy,
    VectorStoreFiles,
    attach,
    counts,
    page_of,
    read_file_ids,
    read_paging,
    read_strategy,
)

if TYPE_CHECKING:
    from helpers.local_api.app import App

TABLES: Final = (
    """create table if not exists vector_stores (
        number integer primary key, id text not null unique, name text not null, description text,
        metadata text not null, created_at integer not null, last_active_at integer not null, expires_days integer
    )""",
)

MOST_RESULTS: Final = 50
RANKERS: Final = ("auto", "default-2024-11-15")
_USUAL_RESULTS: Final = 10
_MOST_FILES_AT_ONCE: Final = 500
_LONGEST_EXPIRY_DAYS: Final = 365
_DAY_S: Final = 86_400
_PREFIX: Final = "vs_"
_PAGE: Final = ("after", "before", "limit", "order")

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Store:
    """A row of the table of vector stores. ``number`` names its index."""

    number: int
    id: str
    name: str
    description: str | None
    metadata: dict[str, str]
    created_at: int
    last_active_at: int
    expires_days: int | None

    @property
    def expires_at(self) -> int | None:
        """When it expires if nobody uses it, in seconds since 1970."""
        return None if self.expires_days is None else self.last_active_at + self.expires_days * _DAY_S


@dataclass(frozen=True, slots=True)
class Passage:
    """What a search found: a chunk of a file, with the file's name and attributes. ``score`` is from 0 to 1."""

    file_id: str
    filename: str
    score: float
    attributes: dict[str, Any]
    text: str


class VectorStores:
    """The routes under ``/vector_stores``, except those of files and batches.

    Args:
        state: where stores are kept. It must have been opened with :data:`TABLES`.
        contents: the files of the stores.
        clock: gives the time in seconds since 1970.
    """

    def __init__(self, state: State, contents: VectorStoreFiles, clock: Callable[[], float]) -> None:
        self._state = state
        self._contents = contents
        self._clock = clock
        contents.number_of = self.number_of

    def add_to(self, app: App) -> None:
        """Add the routes to an application."""
        one = "/vector_stores/{}"
        app.add("POST", "/vector_stores", lambda call: self.create(call.body))
        app.add("GET", "/vector_stores", lambda call: self.list_stores(call.query), _PAGE)
        app.add("GET", one, lambda call: self.retrieve(call.arguments[0]))
        app.add("POST", one, lambda call: self.update(call.arguments[0], call.body))
        app.add("DELETE", one, lambda call: self.delete(call.arguments[0]))
        app.add("POST", f"{one}/search", lambda call: self.search(call.arguments[0], call.body))

    # -- routes -------------------------------------------------------------------------------------------------

    def create(self, body: Body) -> Body:
        """POST /vector_stores."""
        fields = Fields(body)
        fields.only(("name", "description", "file_ids", "expires_after", "metadata", "chunking_strategy"))
        name, description = fields.text("name") or "", fields.text("description")
        file_ids = read_file_ids(fields, most=_MOST_FILES_AT_ONCE) or []
        expires_days = _read_expiry(fields)
        metadata = fields.metadata() or {}
        strategy = read_strategy(fields) or Strategy()
        now = int(self._clock())
        with self._state.transaction() as transaction:
            number = transaction.next_number("vs")
            store = Store(
                number, ids.numbered("vs", number), name, description, metadata, now, now, expires_days
            )
            transaction.execute(
                "insert into vector_stores values (?, ?, ?, ?, ?, ?, ?, ?)",
                (number, store.id, name, description, json.dumps(metadata), now, now, expires_days),
            )
            search.create(transaction, number)
            for file_id in file_ids:
                file = self._contents.searchable_file(transaction, file_id, "file_ids")
                attach(transaction, number, file.id, now, {}, strategy)
            return self._body(transaction, store)

    def list_stores(self, query: Query) -> Body:
        """GET /vector_stores: newest first unless ``order=asc``."""
        paging = read_paging(query)
        with self._state.transaction() as transaction:
            rows = transaction.execute("select id from vector_stores order by number").fetchall()
            chosen, has_more = page_of([row[0] for row in rows], paging, "Vector store")
            return page_body(
                [self._body(transaction, self.existing(transaction, each)) for each in chosen],
                has_more=has_more,
            )

    def retrieve(self, store_id: str) -> Body:
        """GET /vector_stores/{id}: also lets its files get on."""
        with self._state.transaction() as transaction:
            store = self.existing(transaction, store_id)
        if not self._is_expired(store):
            self._contents.get_on(store.number)
        with self._state.transaction() as transaction:
            return self._body(transaction, self.existing(transaction, store_id))

    def update(self, store_id: str, body: Body) -> Body:
        """POST /vector_stores/{id}: replaces what is sent."""
        fields = Fields(body)
        fields.only(("name", "expires_after", "metadata"))
        name, metadata, expires_days = fields.text("name"), fields.metadata(), _read_expiry(fields)
        with self._state.transaction() as transaction:
            store = self.existing(transaction, store_id)
            if "expires_after" in body:
                self._check_not_expired(store)
                transaction.execute(
                    "update vector_stores set expires_days = ? where number = ?", (expires_days, store.number)
                )
            if name is not None:
                transaction.execute(
                    "update vector_stores set name = ? where number = ?", (name, store.number)
                )
            if "metadata" in body:
                transaction.execute(
                    "update vector_stores set metadata = ? where number = ?",
                    (json.dumps(metadata or {}), store.number),
                )
            return self._body(transaction, self.existing(transaction, store_id))

    def delete(self, store_id: str) -> Body:
        """DELETE /vector_stores/{id}. The files themselves stay."""
        with self._state.transaction() as transaction:
            store = self.existing(transaction, store_id)
            search.drop(transaction, store.number)
            for table in ("vector_store_files", "vector_store_batches"):
                transaction.execute(f"delete from {table} where store = ?", (store.number,))
            transaction.execute("delete from vector_stores where number = ?", (store.number,))
        return {"id": store_id, "object": "vector_store.deleted", "deleted": True}

    def search(self, store_id: str, body: Body) -> Body:
        """POST /vector_stores/{id}/search."""
        fields = Fields(body)
        fields.only(("query", "filters", "max_num_results", "ranking_options", "rewrite_query"))
        queries = _read_queries(fields)
        if fields.boolean("rewrite_query"):
            raise unsupported(
                "rewrite_query",
                "The recorded API searches your words as they are: leave it out, or write them anew.",
            )
        most = fields.integer("max_num_results", least=1, most=MOST_RESULTS) or _USUAL_RESULTS
        condition = read_filter(fields)
        _, threshold = read_ranking(fields, ("none", *RANKERS))
        passages = self.find([store_id], queries, most=most, condition=condition, threshold=threshold)
        return {
            "object": "vector_store.search_results.page",
            "search_query": queries,
            "data": [
                {
                    "file_id": passage.file_id,
                    "filename": passage.filename,
                    "score": passage.score,
                    "attributes": passage.attributes,
                    "content": [{"type": "text", "text": passage.text}],
                }
                for passage in passages
            ],
            "has_more": False,
            "next_page": None,
        }

    # -- for other rooms ----------------------------------------------------------------------------------------

    def existing(self, transaction: Transaction, store_id: str) -> Store:
        """Return a store, expired or not, or refuse with 404."""
        if not store_id.startswith(_PREFIX):
            raise invalid(
                f"Invalid 'vector_store_id': '{shown(store_id)}'. Expected an ID that begins with 'vs'.",
                param="vector_store_id",
                code="invalid_value",
            )
        row = transaction.execute("select * from vector_stores where id = ?", (store_id,)).fetchone()
        if row is None:
            raise APIError(404, f"No vector store found with id '{shown(store_id)}'.")
        number, store_id, name, description, metadata, created_at, last_active_at, expires_days = row
        return Store(
            number,
            store_id,
            name,
            description,
            json.loads(metadata),
            created_at,
            last_active_at,
            expires_days,
        )

    def number_of(self, transaction: Transaction, store_id: str, for_use: bool) -> int:
        """Return the number of a store. To use it puts its expiry off.

        Raises:
            APIError: 404 if there is none, 400 if it is to be used and expired.
        """
        store = self.existing(transaction, store_id)
        if for_use:
            self._check_not_expired(store)
            transaction.execute(
                "update vector_stores set last_active_at = ? where number = ?",
                (int(self._clock()), store.number),
            )
        return store.number

    def check(self, store_ids: Sequence[str]) -> None:
        """Refuse a response that names a store which is not there or expired."""
        with self._state.transaction() as transaction:
            for store_id in store_ids:
                try:
                    self._check_not_expired(self.existing(transaction, store_id))
                except APIError as error:
                    # In a response OpenAI says it in other words than on the store's own routes.
                    raise not_found("Vector store", store_id) if error.status == 404 else error from None

    def filenames(self, store_ids: Sequence[str]) -> list[tuple[str, str]]:
        """Return name and id of every file that can be searched in some stores, the latest first."""
        found: list[tuple[str, str]] = []
        for store_id in dict.fromkeys(store_ids):
            number = self._ready(store_id)
            with self._state.transaction() as transaction:
                found += transaction.execute(
                    "select files.filename, files.id from vector_store_files join files on files.id = file "
                    "where store = ? and vector_store_files.status = 'completed' "
                    "order by vector_store_files.number desc",
                    (number,),
                ).fetchall()
        return found

    def find(
        self,
        store_ids: Sequence[str],
        queries: Sequence[str],
        *,
        most: int,
        condition: Filter | None = None,
        threshold: float = 0.0,
    ) -> list[Passage]:
        """Search some stores with some queries; the best passages of all, each only once, the best first.

        Raises:
            APIError: a store is not there, or expired.
        """
        best: dict[tuple[str, str], Passage] = {}
        for store_id in dict.fromkeys(store_ids):
            number = self._ready(store_id)
            with self._state.transaction() as transaction:
                # It may have been deleted since it was made ready.
                self.existing(transaction, store_id)
                found = _find(transaction, number, queries, most, condition)
            for passage in found:
                key = (passage.file_id, passage.text)
                if passage.score >= threshold and (key not in best or best[key].score < passage.score):
                    best[key] = passage
        return sorted(best.values(), key=lambda passage: -passage.score)[:most]

    def _ready(self, store_id: str) -> int:
        """Return the number of a store, after letting all its files get on to the end."""
        with self._state.transaction() as transaction:
            number = self.number_of(transaction, store_id, True)
        self._contents.get_on(number, to_the_end=True)
        return number

    def _is_expired(self, store: Store) -> bool:
        return store.expires_at is not None and store.expires_at <= self._clock()

    def _check_not_expired(self, store: Store) -> None:
        if self._is_expired(store):
            raise invalid(
                f"Vector store '{store.id}' has expired. Create a new one, and add the files to it.",
                code="vector_store_expired",
            )

    def _body(self, transaction: Transaction, store: Store) -> Body:
        file_counts, usage_bytes = counts(transaction, "store = ?", (store.number,))
        status = "in_progress" if file_counts["in_progress"] else "completed"
        return {
            "id": store.id,
            "object": "vector_store",
            "created_at": store.created_at,
            "name": store.name,
            "description": store.description,
            "usage_bytes": usage_bytes,
            "file_counts": file_counts,
            "status": "expired" if self._is_expired(store) else status,
            "expires_after": None
            if store.expires_days is None
            else {"anchor": "last_active_at", "days": store.expires_days},
            "expires_at": store.expires_at,
            "last_active_at": store.last_active_at,
            "metadata": store.metadata,
        }


def _find(
    transaction: Transaction, store: int, queries: Sequence[str], most: int, condition: Filter | None
) -> list[Passage]:
    rows = transaction.execute(
        "select file, filename, attributes, chunks from vector_store_files join files on files.id = file "
        "where store = ? and vector_store_files.status = 'completed'",
        (store,),
    ).fetchall()
    about = {file: (filename, json.loads(attributes)) for file, filename, attributes, _ in rows}
    chosen = [file for file, (_, attributes) in about.items() if fits(condition, attributes)]
    passages = []
    for query in dict.fromkeys(queries):
        hits = search.search(
            transaction,
            store,
            query,
            chunk_count=sum(row[3] for row in rows),
            limit=most,
            files=None if condition is None else chosen,
        )
        for hit in hits:
            filename, attributes = about[hit.file]
            passages.append(Passage(hit.file, filename, hit.score, attributes, hit.text.strip()))
    return passages


def read_ranking(fields: Fields, rankers: Sequence[str]) -> tuple[str, float]:
    """Read ``ranking_options``: the ranker, which changes nothing here, and the least score.

    Raises:
        APIError: also for ``hybrid_search``, because nothing here searches by meaning.
    """
    options = fields.object("ranking_options")
    if options is None:
        return "auto", 0.0
    options.only(("ranker", "score_threshold", "hybrid_search"))
    if options.values.get("hybrid_search") is not None:
        raise unsupported(
            options.name("hybrid_search"), "The recorded API searches words, not meanings: leave it out."
        )
    ranker = options.choice("ranker", rankers) or "auto"
    return ranker, options.number("score_threshold", least=0, most=1) or 0.0


def _read_queries(fields: Fields) -> list[str]:
    value = required(fields.values.get("query"), "query")
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise fields.wrong_type("query", "one of a string or array of strings")
    return list(value)


def _read_expiry(fields: Fields) -> int | None:
    """Return after how many days without use a store expires."""
    expires_after = fields.object("expires_after")
    if expires_after is None:
        return None
    expires_after.only(("anchor", "days"))
    required(expires_after.choice("anchor", ("last_active_at",)), "expires_after.anchor")
    days = required(expires_after.integer("days", least=1, most=_LONGEST_EXPIRY_DAYS), "expires_after.days")
    return int(days)
