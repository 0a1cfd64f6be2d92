"""Search: an index of chunks for each vector store, and the chunks that answer a query best.

The index is SQLite's FTS5 with BM25. Each store has its own, so that neither its scores nor its speed depend on other
stores. Here live the words of a query, the score, and what is stored of a chunk. Not here: which files a store has
(``vector_store_files.py``).
"""

from __future__ import annotations

import itertools
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from helpers.local_api.chunking import Chunk
from helpers.local_api.state import Transaction

TABLES: Final = (
    """create table if not exists chunks (
        id integer primary key, store integer not null, file text not null, start integer not null,
        text text not null, headings text not null
    )""",
    "create index if not exists chunks_of_file on chunks (store, file, id)",
)

HALF_SCORE: Final = 4.0
"""The BM25 sum that becomes a score of one half: ``score = sum / (sum + HALF_SCORE)``.

It is fixed, and nothing is divided by a query's best sum, so a score means the same for every query and a threshold can
turn a question away. Four is about what the best passage has for a question of ``data/questions.jsonl`` that the corpus
answers (median of the sums with the usual chunks: 3.7), so the scores of a corpus of that size lie around the middle.
"""

HEADINGS_WEIGHT: Final = 2.0
"""How much more a word counts in a heading than in the text."""

_COMMON_SHARE: Final = 10
"""Words in more than one chunk out of so many are left out, unless no other word of the query occurs."""

_SMALL_STORE: Final = 1_000
"""Up to so many chunks, a query of common words only is reckoned with a weight that is never zero."""

_LEAST_FTS5_WEIGHT: Final = 1e-6  # what FTS5 takes in the place of zero
_MOST_WORDS: Final = 256
_BATCH: Final = 256
# Scripts without spaces between words: each sign is a word of the index, and a query looks for pairs of them.
_SIGNS: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_SIGN: Final = re.compile(f"[{_SIGNS}]")
_SIGNS_AND_REST: Final = re.compile(f"[{_SIGNS}]+|[^{_SIGNS}]+")
_JOINERS: Final = frozenset("-_.'’·")
_LETTERS_AND_DIGITS: Final = re.compile(r"([^\W\d_]+)(\d+)")


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found. ``score`` is from 0 to 1."""

    chunk: int
    file: str
    text: str
    score: float


# -- the index ------------------------------------------------------------------------------------------------------


def create(transaction: Transaction, store: int) -> None:
    """Make the index of a new store."""
    # It keeps no text of its own: the table of chunks does.
    transaction.execute(
        f"create virtual table {_table(store)} using fts5(headings, text, content='', "
        "tokenize='porter unicode61 remove_diacritics 2')"
    )
    transaction.execute(
        f"insert into {_table(store)} ({_table(store)}, rank) values ('rank', 'bm25({HEADINGS_WEIGHT}, 1.0)')"
    )


def drop(transaction: Transaction, store: int) -> None:
    """Remove a store's index and chunks."""
    transaction.execute(f"drop table {_table(store)}")
    transaction.execute("delete from chunks where store = ?", (store,))


def add(transaction: Transaction, store: int, file: str, chunks: Iterable[Chunk]) -> tuple[int, int]:
    """Index the chunks of a file. What is there already is not touched.

    Returns:
        How many chunks there are, and how many bytes their texts have.
    """
    (last,) = transaction.execute("select coalesce(max(id), 0) from chunks").fetchone()
    number = int(last)
    count = size = 0
    for batch in _batches(chunks):
        rows = [
            (number + index, store, file, chunk.start, chunk.text, chunk.headings)
            for index, chunk in enumerate(batch, 1)
        ]
        transaction.execute_many("insert into chunks values (?, ?, ?, ?, ?, ?)", rows)
        transaction.execute_many(
            f"insert into {_table(store)} (rowid, headings, text) values (?, ?, ?)",
            [(row[0], searchable(row[5]), searchable(row[4])) for row in rows],
        )
        number += len(rows)
        count += len(rows)
        size += sum(len(chunk.text.encode()) for chunk in batch)
    return count, size


def remove(transaction: Transaction, store: int, file: str) -> None:
    """Take the chunks of a file out of a store's index."""
    rows = transaction.execute(
        "select id, headings, text from chunks where store = ? and file = ?", (store, file)
    ).fetchall()
    # An index without texts has to be told what it forgets.
    transaction.execute_many(
        f"insert into {_table(store)} ({_table(store)}, rowid, headings, text) values ('delete', ?, ?, ?)",
        [(row[0], searchable(row[1]), searchable(row[2])) for row in rows],
    )
    transaction.execute("delete from chunks where store = ? and file = ?", (store, file))


def text_of(transaction: Transaction, store: int, file: str) -> str:
    """Return the text of a file, put together from its chunks without what they repeat."""
    pieces: list[str] = []
    end = 0
    for start, text in transaction.execute(
        "select start, text from chunks where store = ? and file = ? order by id", (store, file)
    ):
        pieces.append(text[end - start :] if start <= end else text)
        end = start + len(text)
    return "".join(pieces)


def _table(store: int) -> str:
    return f"chunks_of_store_{int(store)}"


def _batches(chunks: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    batch: list[Chunk] = []
    for chunk in chunks:
        batch.append(chunk)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


# -- searching ------------------------------------------------------------------------------------------------------


def search(
    transaction: Transaction,
    store: int,
    query: str,
    *,
    chunk_count: int,
    limit: int,
    files: Sequence[str] | None = None,
) -> list[Hit]:
    """Return the best chunks of a store for a query, best first.

    Args:
        transaction: holds the state.
        store: the store's number.
        query: any text at all.
        chunk_count: how many chunks the store has.
        limit: how many to return at most.
        files: only chunks of these files; ``None`` for all.
    """
    if files == []:
        return []
    rare, common = _by_frequency(transaction, store, words(query), chunk_count)
    if rare or chunk_count > _SMALL_STORE:
        sums = _sums(transaction, store, " OR ".join(rare or common), files, limit)
    else:
        sums = _smoothed_sums(transaction, store, common, files, chunk_count)[:limit]
    hits = []
    for chunk, bm25 in sums:
        file, text = transaction.execute("select file, text from chunks where id = ?", (chunk,)).fetchone()
        hits.append(Hit(chunk, file, text, score_of(bm25)))
    return hits


def score_of(bm25: float) -> float:
    """Return the score for a BM25 sum: from 0 (nothing) towards 1, one half at :data:`HALF_SCORE`."""
    return round(bm25 / (bm25 + HALF_SCORE), 4)


def _by_frequency(
    transaction: Transaction, store: int, words: Sequence[Sequence[str]], chunk_count: int
) -> tuple[list[str], list[str]]:
    """Return the words that occur, as FTS5 is asked for them: those that count, and those in too many chunks."""
    rare: list[str] = []
    common: list[str] = []
    most = chunk_count // _COMMON_SHARE
    for forms in words:
        expression = " OR ".join(f'"{form}"' for form in forms)
        # It stops counting where the answer is clear, so a very common word costs no more than a rare one.
        count = _count(transaction, store, expression, most + 1)
        if count:
            (common if count > most else rare).append(expression)
    return rare, common


def _count(transaction: Transaction, store: int, expression: str, most: int) -> int:
    (count,) = transaction.execute(
        f"select count(*) from (select 1 from {_table(store)} where {_table(store)} match ? limit ?)",
        (expression, most),
    ).fetchone()
    return int(count)


def _sums(
    transaction: Transaction, store: int, expression: str, files: Sequence[str] | None, limit: int
) -> list[tuple[int, float]]:
    """Return the best chunks with their BM25 sums, as FTS5 reckons them, best first."""
    if not expression:
        return []
    table = _table(store)
    join = f"join chunks on chunks.id = {table}.rowid" if files is not None else ""
    chosen = "and chunks.file in (select value from json_each(?))" if files is not None else ""
    rows = transaction.execute(
        f"select {table}.rowid, {table}.rank from {table} {join} where {table} match ? {chosen} order by rank limit ?",
        (expression, *([json.dumps(files)] if files is not None else []), limit),
    ).fetchall()
    return sorted(((chunk, -rank) for chunk, rank in rows), key=lambda row: (-row[1], row[0]))


def _smoothed_sums(
    transaction: Transaction,
    store: int,
    expressions: Sequence[str],
    files: Sequence[str] | None,
    chunk_count: int,
) -> list[tuple[int, float]]:
    """Return chunks with BM25 sums where every word is common, as in a store of a few chunks, best first.

    FTS5 gives a word in half of the chunks or more the weight zero, so in a small store it could tell nothing from
    nothing. Here its weight becomes ``ln(1 + (N - n + 0.5) / (n + 0.5))``, which is never zero.
    """
    table = _table(store)
    sums: dict[int, float] = {}
    for phrase in itertools.chain.from_iterable(each.split(" OR ") for each in expressions):
        rows = transaction.execute(
            f"select rowid, rank from {table} where {table} match ?", (phrase,)
        ).fetchall()
        if not rows:
            continue
        odds = (chunk_count - len(rows) + 0.5) / (len(rows) + 0.5)
        weight = math.log1p(odds) / max(math.log(odds), _LEAST_FTS5_WEIGHT)
        for chunk, rank in rows:
            sums[chunk] = sums.get(chunk, 0.0) - rank * weight
    if files is not None:
        chosen = transaction.execute(
            "select id from chunks where store = ? and file in (select value from json_each(?))",
            (store, json.dumps(files)),
        )
        sums = {chunk: sums[chunk] for (chunk,) in chosen if chunk in sums}
    return sorted(sums.items(), key=lambda row: (-row[1], row[0]))


def searchable(text: str) -> str:
    """Return a text as it is indexed: one form of each character, and signs of scripts without spaces apart.

    Example:
        >>> searchable("GPT-2は言語")
        'GPT-2 は  言  語 '
    """
    if text.isascii():
        return text
    return _SIGN.sub(r" \g<0> ", unicodedata.normalize("NFKC", text))


def words(query: str) -> list[list[str]]:
    """Return the words of a query, each with the forms in which it may be written, ready to be put in quotes.

    Example:
        >>> words("Is GPT-2 (C++) good?")
        [['is'], ['gpt 2', 'gpt2'], ['c'], ['good']]
    """
    found: dict[tuple[str, ...], None] = {}
    for word in _split(unicodedata.normalize("NFKC", query)):
        for piece in _SIGNS_AND_REST.findall(word):
            signs = [sign for sign in piece if sign.isalnum()] if _SIGN.match(piece) else []
            if signs:
                pairs = [f"{first} {second}" for first, second in itertools.pairwise(signs)]
                found.update(dict.fromkeys((pair,) for pair in pairs or signs))
            elif not _SIGN.match(piece):
                found.update(dict.fromkeys([_forms(piece)]))
        if len(found) >= _MOST_WORDS:
            break
    return [list(forms) for forms in list(found)[:_MOST_WORDS] if forms]


def _split(text: str) -> Iterator[str]:
    """Yield what stands between spaces and punctuation; hyphens, dots and apostrophes inside a word stay."""
    kept = "".join(
        character if unicodedata.category(character)[0] in "LNM" or character in _JOINERS else " "
        for character in text
    )
    yield from kept.split()


def _forms(word: str) -> tuple[str, ...]:
    """Return how a word may be written: ``train-time`` as two or one, ``GPT2`` also as ``GPT 2``."""
    folded = word.casefold()
    parts = [
        part
        for part in "".join(" " if character in _JOINERS else character for character in folded).split()
        if any(character.isalnum() for character in part)
    ]
    if not parts:
        return ()
    forms = [" ".join(parts)]
    if len(parts) > 1:
        forms.append("".join(parts))
    elif pair := _LETTERS_AND_DIGITS.fullmatch(parts[0]):
        forms.append(f"{pair[1]} {pair[2]}")
    return tuple(forms)
