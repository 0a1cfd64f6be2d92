"""The file search tool in a response: reading it, carrying its searches out, and the events that show them.

A turn says what to search for; here the search is really done, before the first event, so that a stream which is read
again says the same. Not here: the index (``search.py``), the stores (``vector_stores.py``), and how citations are written
(``citing.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from helpers.local_api import items, tools
from helpers.local_api.checks import Fields, required
from helpers.local_api.citing import citations, with_annotations
from helpers.local_api.errors import invalid
from helpers.local_api.filters import read_filter
from helpers.local_api.items import Item
from helpers.local_api.players import PLAYERS, Event, Stage
from helpers.local_api.tokens import estimate
from helpers.local_api.turns import Say, Search, Step, Turn
from helpers.local_api.vector_stores import MOST_RESULTS, RANKERS, Passage, VectorStores, read_ranking

NAME: Final = "file_search"
INCLUDE: Final = "file_search_call.results"
_USUAL_RESULTS: Final = 20

Tool = Mapping[str, Any]


# -- what a request says --------------------------------------------------------------------------------------------


def _read_tool(fields: Fields) -> dict[str, Any]:
    """Return the tool as the API echoes it (tests/data/real-streams/file_search.json)."""
    fields.only(("type", "vector_store_ids", "filters", "max_num_results", "ranking_options"))
    name = fields.name("vector_store_ids")
    store_ids = required(fields.array("vector_store_ids", of="strings"), name)
    if not all(isinstance(store_id, str) for store_id in store_ids):
        raise fields.wrong_type("vector_store_ids", "an array of strings")
    if not store_ids:
        raise invalid(
            f"Invalid '{name}': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            param=name,
            code="empty_array",
        )
    ranker, threshold = read_ranking(fields, RANKERS)
    return {
        "type": NAME,
        "filters": read_filter(fields),
        "max_num_results": fields.integer("max_num_results", least=1, most=MOST_RESULTS) or _USUAL_RESULTS,
        "ranking_options": {"ranker": ranker, "score_threshold": threshold},
        "vector_store_ids": list(store_ids),
    }


def _read_call(fields: Fields, new_id: Callable[[str], str]) -> Item:
    """Return a call that is sent back as input, the way a history by hand does it."""
    fields.only(("type", "id", "queries", "status", "results"))
    fields.text("id")
    fields.choice("status", ("in_progress", "searching", "completed", "incomplete", "failed"))
    queries = required(fields.array("queries", of="strings"), fields.name("queries"))
    if not all(isinstance(query, str) for query in queries):
        raise fields.wrong_type("queries", "an array of strings")
    results = fields.array("results")
    for index, result in enumerate(results or []):
        name = f"{fields.name('results')}[{index}]"
        required(Fields({name: result}).object(name), name).only(
            ("file_id", "filename", "score", "text", "attributes")
        )
    return {
        "id": new_id("fs"),
        "type": "file_search_call",
        "status": "completed",
        "queries": queries,
        "results": results,
    }


tools.READERS[NAME] = _read_tool
items.READERS["file_search_call"] = _read_call


# -- the events -----------------------------------------------------------------------------------------------------


def _play_search(stage: Stage, step: Search, is_last: bool) -> Iterator[Event]:
    item = stage.new_item("fs", type="file_search_call", status="in_progress", queries=[], results=None)
    yield stage.added(dict(item))
    for kind in ("in_progress", "searching"):
        yield stage.about(item, f"response.file_search_call.{kind}")
    written = "\n".join(step.queries)
    if len(stage.spend(written)) < len(written):
        # The model was cut off while it wrote its queries.
        yield stage.done({**item, "status": "incomplete"})
        return
    yield stage.about(item, "response.file_search_call.completed")
    yield stage.done({**item, "status": "completed", "queries": step.queries, "results": step.results})


PLAYERS[Search] = _play_search


# -- the searches ---------------------------------------------------------------------------------------------------


class FileSearch:
    """Searches for a response.

    Args:
        stores: the vector stores.
    """

    def __init__(self, stores: VectorStores) -> None:
        self._stores = stores

    def check(self, offered: Sequence[Tool]) -> None:
        """Refuse a request whose tools name a store that is not there or expired."""
        self._stores.check(
            [store_id for tool in _searching(offered) for store_id in tool["vector_store_ids"]]
        )

    def passages(self, offered: Sequence[Tool], queries: Sequence[str]) -> list[Passage]:
        """Return what a search with the offered tools finds, best first."""
        found: dict[tuple[str, str], Passage] = {}
        most = 0
        for tool in _searching(offered):
            most = max(most, tool["max_num_results"])
            for passage in self._stores.find(
                tool["vector_store_ids"],
                queries,
                most=tool["max_num_results"],
                condition=tool["filters"],
                threshold=tool["ranking_options"]["score_threshold"],
            ):
                found.setdefault((passage.file_id, passage.text), passage)
        return sorted(found.values(), key=lambda passage: -passage.score)[:most]

    def carry_out(self, turn: Turn, offered: Sequence[Tool], *, show_results: bool) -> tuple[Turn, int]:
        """Do the searches of a turn.

        Args:
            turn: what the model does.
            offered: the tools of the request.
            show_results: whether the results are shown in the items.

        Returns:
            The turn with the results that are shown, and how many tokens the model read of all results.
        """
        steps: list[Step] = []
        tokens = 0
        for step in turn.steps:
            if isinstance(step, Search):
                found = self.passages(offered, step.queries)
                tokens += sum(estimate(passage.text) for passage in found)
                step = dataclasses.replace(
                    step, results=[_result(each) for each in found] if show_results else None
                )
            steps.append(step)
        return dataclasses.replace(turn, steps=steps), tokens

    def cite(
        self, steps: Sequence[Step], offered: Sequence[Tool], *, searched: Sequence[str] = ()
    ) -> tuple[list[Step], list[str]]:
        """Turn the citations in recorded texts into annotations.

        Args:
            steps: what the model does.
            offered: the tools of the request.
            searched: the queries of the searches before these steps.

        Returns:
            The steps, and the names of files that are cited and not in the offered stores.
        """
        if not any(isinstance(step, Say) and citations(step.text) for step in steps):
            return list(steps), []
        names: dict[str, str] = {}
        for tool in _searching(offered):
            for filename, file_id in self._stores.filenames(tool["vector_store_ids"]):
                names.setdefault(filename, file_id)
        cited: list[Step] = []
        missing: dict[str, None] = {}
        queries = list(searched)
        for step in steps:
            if isinstance(step, Search):
                queries += step.queries
            if isinstance(step, Say) and citations(step.text):
                if queries:
                    # Of several files with one name, the one that was found is meant.
                    for passage in reversed(self.passages(offered, queries)):
                        names[passage.filename] = passage.file_id
                missing.update(dict.fromkeys(name for name in citations(step.text) if name not in names))
                step = with_annotations(step, names)
            cited.append(step)
        return cited, list(missing)


def queries_in(context: Sequence[Item]) -> list[str]:
    """Return the queries of the searches among some items."""
    return [query for item in context if item.get("type") == "file_search_call" for query in item["queries"]]


def _searching(offered: Sequence[Tool]) -> list[Tool]:
    return [tool for tool in offered if tool["type"] == NAME]


def _result(passage: Passage) -> dict[str, Any]:
    return {
        "attributes": passage.attributes,
        "file_id": passage.file_id,
        "filename": passage.filename,
        "score": passage.score,
        "text": passage.text,
    }
