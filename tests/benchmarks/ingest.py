"""How fast files get into a vector store, compared with bare FTS5, and how much memory that takes.

Run it by hand: ``python -m tests.benchmarks.ingest``. All ratios are of one run on one machine; nothing is asserted.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import openai

from helpers.local_api.chunking import DEFAULT_OVERLAP_TOKENS, DEFAULT_SIZE_TOKENS, chunks
from helpers.local_api.parsing import parse
from tests.benchmarks.bench import client_and_api, corpus, line, seconds


def all_chunks() -> list[list[tuple[str, str]]]:
    """Headings and text of the corpus's chunks, file by file."""
    return [
        [
            (chunk.headings, chunk.text)
            for chunk in chunks(parse(name, content), DEFAULT_SIZE_TOKENS, DEFAULT_OVERLAP_TOKENS)
        ]
        for name, content in corpus()
    ]


def bare_fts5(files: list[list[tuple[str, str]]], times: int) -> float:
    """Seconds for inserting chunks that are there already into a plain FTS5 table, a transaction for each file."""
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder, "bare.sqlite3"), isolation_level=None)
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=off")
        connection.execute(
            "create virtual table bare using fts5(headings, text, tokenize='porter unicode61 remove_diacritics 2')"
        )

        def insert() -> None:
            for rows in files * times:
                connection.execute("begin")
                connection.executemany("insert into bare values (?, ?)", rows)
                connection.execute("commit")

        taken = seconds(insert)
        connection.close()
    return taken


def upload(client: openai.OpenAI, times: int) -> list[str]:
    return [
        client.files.create(file=(f"{number}-{name}", content), purpose="assistants").id
        for number in range(times)
        for name, content in corpus()
    ]


def peak_mb(times: int) -> float:
    """The most memory that Python holds while the corpus is taken in ``times`` times."""
    with client_and_api() as (client, _):
        store = client.vector_stores.create()
        ids = upload(client, times)
        tracemalloc.start()
        client.vector_stores.file_batches.create_and_poll(store.id, file_ids=ids)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak / 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100, help="how many times the corpus is taken in")
    times = parser.parse_args(arguments).times
    files = all_chunks()
    count = times * sum(len(each) for each in files)
    bare_s = bare_fts5(files, times)
    with client_and_api() as (client, _):
        store = client.vector_stores.create()
        ids: list[str] = []
        upload_s = seconds(lambda: ids.extend(upload(client, times)))
        index_s = seconds(
            lambda: [
                client.vector_stores.file_batches.create_and_poll(
                    store.id, file_ids=ids[start : start + 2000]
                )
                for start in range(0, len(ids), 2000)
            ]
        )
        assert client.vector_stores.retrieve(store.id).file_counts.completed == len(ids)
        name, content = corpus()[0]

        def add(store_id: str) -> None:
            client.vector_stores.files.upload_and_poll(vector_store_id=store_id, file=(name, content))

        large_s = min(seconds(lambda: add(store.id)) for _ in range(5))
        empty_s = min(seconds(lambda: add(client.vector_stores.create().id)) for _ in range(5))
    line(f"{len(files) * times:,} files, {count:,} chunks: bare FTS5 inserts", f"{bare_s:.2f} s")
    line("  parse, cut and index them in a store", f"{index_s / bare_s:.2f} x bare", "aim: within 2 x")
    line("  the uploads before it", f"{upload_s / bare_s:.2f} x bare")
    line(
        f"one more file in a store of {count:,} chunks", f"{large_s / empty_s:.2f} x empty", "aim: about 1 x"
    )
    few = max(1, times // 10)
    line(
        f"peak memory, {times} times the corpus",
        f"{peak_mb(times) / peak_mb(few):.2f} x {few} times",
        "aim: about 1 x",
    )


if __name__ == "__main__":
    main()
