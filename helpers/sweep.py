"""The sweep: finds what a killed kernel left in the account, shows it, asks, and removes it.

    python -m helpers.ledger sweep              what the journals on this computer name
    python -m helpers.ledger sweep --list       only show it
    python -m helpers.ledger sweep --yes        without the question
    python -m helpers.ledger sweep --tagged     also what carries the workshop's tag and was made elsewhere

Here live the search (the journals, and the tag of vector stores), the list, the question and the exit status. Not
here: the journals (``journal.py``), and how a thing is deleted (``ledger.py``).
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import openai

from helpers.connection import connect
from helpers.diagrams import plain
from helpers.errors import ConfigurationError, explain
from helpers.journal import LeftBehind, Line, journal_folder, left_behind
from helpers.ledger import Account, CleanupReport, Entry, account_of, count_kinds, remove
from helpers.models import tool_price_usd
from helpers.tables import Column, Table, size_text

__all__ = ["TAG", "Found", "Search", "main", "search"]

TAG: Final = ("made_by", "agentic-retrieval-workshop")
"""The pair of metadata that the notebooks' vector stores carry."""
_GB: Final = 1e9
_COLUMNS: Final = (
    Column("what"),
    Column("id"),
    Column("name"),
    Column("age", is_number=True),
    Column("costs", is_number=True),
    Column("known from"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """One thing that may be removed.

    Attributes:
        entry: what it is.
        made_at: seconds since 1970; ``None`` if it is not known.
        size_bytes: of a vector store; ``None`` for all else, and for a store that the account does not list any more.
        known_from: ``"journal"`` or ``"tag"``.
    """

    entry: Entry
    made_at: float | None
    size_bytes: int | None = None
    known_from: str = "journal"

    @property
    def usd_per_day(self) -> float | None:
        """What it costs at most for each day that it stays; ``None`` for a vector store that is gone.

        Only storage in vector stores is billed by the day ($0.10 for each GB, the first GB of an account is free:
        https://developers.openai.com/api/docs/pricing).
        """
        if self.entry.kind != "vector store":
            return 0.0
        if self.size_bytes is None:
            return None
        return self.size_bytes / _GB * tool_price_usd("vector_store_gb_day")


@dataclasses.dataclass(frozen=True)
class Search:
    """What was found for one account.

    Attributes:
        left: made by workshop processes on this computer that have ended.
        tagged: made elsewhere, with the workshop's tag: by you on another computer, or by a colleague with the same key.
        in_use: how many things belong to processes on this computer that still run.
        other_accounts: how many things the journals name that were made with another key, server or mode.
    """

    left: list[Found]
    tagged: list[Found]
    in_use: int
    other_accounts: int

    def table(self, now_s: float | None = None) -> Table:
        """Return everything that may be removed as a table."""
        now_s = time.time() if now_s is None else now_s
        rows = tuple(
            (
                found.entry.kind,
                found.entry.id,
                plain(found.entry.name, 40),
                _age_text(found.made_at, now_s),
                _cost_text(found),
                found.known_from,
            )
            for found in [*self.left, *self.tagged]
        )
        return Table(_COLUMNS, rows, "Left in the account by the workshop", tuple(self.notes()))

    def notes(self) -> list[str]:
        """Return what else there is to know, one sentence each."""
        notes = []
        if self.in_use:
            notes.append(
                f"{_things(self.in_use)} more {'belongs' if self.in_use == 1 else 'belong'} to a notebook that is still "
                "running: left alone. Run cleanup(client) there."
            )
        if self.other_accounts:
            notes.append(
                f"{_things(self.other_accounts)} more {'was' if self.other_accounts == 1 else 'were'} made with another "
                "key, server or mode: left alone. Sweep again with that one."
            )
        return notes


# -- finding ----------------------------------------------------------------------------------------------------------


def search(client: openai.OpenAI, account: Account, journals: Sequence[LeftBehind]) -> Search:
    """Return what the workshop left in an account. Nothing is changed.

    Args:
        client: opens the account.
        account: which account that is.
        journals: what ``left_behind`` returned.
    """
    mine: dict[str, Line] = {}
    in_use: set[str] = set()
    others: set[str] = set()
    for journal in journals:
        for line in journal.lines:
            if line.account != account.as_tuple():
                others.add(line.id)
            elif journal.running:
                in_use.add(line.id)
            else:
                mine[line.id] = line
    stores = _stores(client)
    left = [
        Found(
            Entry(line.kind, line.id, line.name),
            line.made_at,
            stores[line.id].usage_bytes if line.id in stores else None,
        )
        for line in mine.values()
        if line.id not in in_use
    ]
    tagged = [
        Found(Entry("vector store", store.id, store.name or ""), store.created_at, store.usage_bytes, "tag")
        for store in stores.values()
        if store.id not in mine
        and store.id not in in_use
        and (store.metadata or {}).get(TAG[0]) == TAG[1]
        and store.status != "expired"
    ]
    return Search(left, tagged, len(in_use), len(others))


def _stores(client: openai.OpenAI) -> dict[str, openai.types.VectorStore]:
    """Return the vector stores of the account by id; conversations and responses cannot be listed."""
    return {store.id: store for store in client.vector_stores.list(limit=100)}


# -- the command ------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str], ask: Callable[[str], str] = input) -> int:
    """Do what the command line says and return the exit status: 0 when nothing is left that was to be removed.

    Args:
        arguments: without the name of the program.
        ask: puts a question to a person.
    """
    parser = argparse.ArgumentParser(
        prog="python -m helpers.ledger",
        description="Find what a killed notebook left in the account, and remove it. It asks first.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    sweep = commands.add_parser("sweep", help="find it, show it, ask, remove it")
    sweep.add_argument("--yes", action="store_true", help="remove it without asking")
    sweep.add_argument("--list", action="store_true", help="only show it")
    sweep.add_argument(
        "--tagged",
        action="store_true",
        help="also vector stores with the workshop's tag that were made elsewhere with this key: on another computer, "
        "in Colab, by a colleague",
    )
    options = parser.parse_args(arguments)
    try:
        return _sweep(options, ask)
    except ConfigurationError as error:
        problem = str(error)
    except (openai.OpenAIError, OSError) as error:
        problem = explain(error)
    print(problem)
    return 1


def _sweep(options: argparse.Namespace, ask: Callable[[str], str]) -> int:
    journals = left_behind(journal_folder())
    with connect() as client:
        account = account_of(client)
        assert account is not None  # connect() has just registered it
        found = search(client, account, journals)
        if not found.left and not found.tagged:
            print("\n".join(["Nothing is left that the workshop made.", *found.notes()]))
            return 0
        print(found.table())
        chosen = list(found.left)
        if found.tagged and not options.tagged:
            print(
                f"{count_kinds(one.entry.kind for one in found.tagged)} with the workshop's tag made elsewhere: left "
                "alone. Somebody may be working with it; --tagged removes it too."
            )
        if options.tagged:
            chosen += found.tagged
        if not chosen:
            return 0
        if options.list:
            return 1
        question = f"Remove {count_kinds(one.entry.kind for one in chosen)}? [y/N] "
        if not options.yes and not _agreed(question, ask):
            print("Nothing was removed.")
            return 1
        report = _remove(client, chosen, journals)
    print(report)
    return 1 if report.left else 0


def _remove(client: openai.OpenAI, chosen: Iterable[Found], journals: Sequence[LeftBehind]) -> CleanupReport:
    # Each at once: a sweep that is interrupted can be started again.
    def forget(id: str) -> None:
        for journal in journals:
            if not journal.running:
                journal.forget([id])

    return remove(client, [one.entry for one in chosen], forget)


def _agreed(question: str, ask: Callable[[str], str]) -> bool:
    try:
        return ask(question).strip().lower() in ("y", "yes")
    except EOFError:  # nobody is there to answer
        print()
        return False


# -- words ------------------------------------------------------------------------------------------------------------


def _age_text(made_at: float | None, now_s: float) -> str:
    if made_at is None:
        return "?"
    minutes = max(0.0, now_s - made_at) / 60
    for size, unit in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            return f"{minutes / size:.0f} {unit}{'' if round(minutes / size) == 1 else 's'}"
    return "under a minute"


def _cost_text(found: Found) -> str:
    usd = found.usd_per_day
    if usd is None:
        return "gone already"  # it is not among the stores of the account: it has expired, as a rule
    if not found.size_bytes:
        return "nothing"
    return f"at most ${usd:.4f} a day ({size_text(found.size_bytes)})"


def _things(number: int) -> str:
    return "1 thing" if number == 1 else f"{number} things"
