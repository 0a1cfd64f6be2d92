"""How fast a search is, how that grows with the store, and how long a response takes to its first event.

Run it by hand: ``python -m tests.benchmarks.search``. All numbers are of one run on one machine; nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
from collections.abc import Sequence

import openai

from tests.benchmarks.bench import CORPUS, client_and_api, corpus, line, median_ms, seconds

CHUNK_TOKENS = 200
_SENTENCES_OF_A_FILE = 4_000


def questions() -> list[str]:
    rows = (CORPUS.parent / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(row)["question"] for row in rows]


def synthetic(number: int) -> bytes:
    """A long text with the corpus's own words, as often as there, in another order."""
    random_source = random.Random(number)
    words = [word for _, content in corpus() for word in re.findall(r"\S+", content.decode())]
    sentences = [" ".join(random_source.choices(words, k=12)) + "." for _ in range(_SENTENCES_OF_A_FILE)]
    return "\n".join(sentences).encode()


def store_with(client: openai.OpenAI, chunk_count: int) -> str:
    """A store of about so many chunks."""
    store = client.vector_stores.create()
    strategy = {
        "type": "static",
        "static": {"max_chunk_size_tokens": CHUNK_TOKENS, "chunk_overlap_tokens": 0},
    }
    characters = chunk_count * CHUNK_TOKENS * 4 * 0.95
    number, taken = 0, 0
    while taken < characters:
        content = synthetic(number)[: int(characters - taken) + 1]
        client.vector_stores.files.upload_and_poll(
            vector_store_id=store.id, file=(f"{number}.md", content), chunking_strategy=strategy
        )
        number, taken = number + 1, taken + len(content)
    return store.id


def search_ms(client: openai.OpenAI, store_id: str) -> list[float]:
    """How long each question takes, in milliseconds, after one round to warm up."""

    def ask(question: str) -> object:
        return client.vector_stores.search(store_id, query=question)

    for question in questions():
        ask(question)
    return [1000 * seconds(lambda question=question: ask(question)) for question in questions()]


def first_event_ms(client: openai.OpenAI, tools: list[dict[str, object]]) -> float:
    """How long it takes to the first event of a streamed response."""

    def ask() -> None:
        stream = client.responses.create(
            model="gpt-6-luna", input="Which loss does it start at?", tools=tools, stream=True
        )
        next(iter(stream))
        stream.close()

    ask()
    return median_ms(ask, 15)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=10, help="how much larger the large store is")
    options = parser.parse_args(arguments)
    with client_and_api() as (client, _):
        medians = []
        for chunk_count in (options.chunks, options.chunks * options.times):
            store_id = store_with(client, chunk_count)
            taken = sorted(search_ms(client, store_id))
            medians.append(statistics.median(taken))
            aim = "aim: p50 under 20 ms" if chunk_count == 10_000 else ""
            line(f"search over about {chunk_count:,} chunks: p50", f"{medians[-1]:.1f} ms", aim)
            line("  p95", f"{taken[int(len(taken) * 0.95)]:.1f} ms")
            if len(medians) == 1:
                plain = first_event_ms(client, [])
                with_search = first_event_ms(
                    client, [{"type": "file_search", "vector_store_ids": [store_id]}]
                )
                line("  first event of a response, without a search", f"{plain:.1f} ms")
                line("  first event of a response that searches it", f"{with_search:.1f} ms")
        line(f"{options.times} x the chunks", f"{medians[1] / medians[0]:.1f} x the time")


if __name__ == "__main__":
    main()
