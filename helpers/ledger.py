"""The ledger: everything that your cells created in the account, and its removal.

Here live the list of created things, what they cost so far, and ``cleanup(client)``. The list fills itself:
``traffic.py`` reads it off the requests of the client that ``connect()`` returned. It is kept in memory, and in the
journal on disk (``journal.py``), without keys. ``python -m helpers.ledger sweep`` removes what killed kernels left
(``sweep.py``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import openai

from helpers.errors import explain, is_web_page, without_controls
from helpers.journal import Journal

__all__ = ["Account", "CleanupReport", "Entry", "Ledger", "Meter", "cleanup", "ledger_of"]

THIS_PROCESS: Final = "this process"
"""The server of an account that is gone with this process."""
_PERSON: Final = b"workshop-account"
# The order of removal: what points at other things goes before what it points at.
_KINDS: Final = ("response", "conversation", "vector store", "file", "container")
# The order in which a person reads them.
_SAID: Final = ("conversation", "vector store", "file", "container", "response")


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """Whose account something was created in: a mode, a server, and a fingerprint of the key.

    The fingerprint is the same in every process, so that a journal on disk can say "the same key". It has 48 bits: too
    few to tell one key from all others, and far too few to find a key that was drawn at random.
    """

    mode: str
    server: str
    fingerprint: str

    @classmethod
    def of(cls, mode: str, server: str, key: str) -> Account:
        """Return the account that ``key`` opens on ``server`` (a host name)."""
        digest = hashlib.blake2b(key.encode(), person=_PERSON, digest_size=6).hexdigest()
        return cls(mode, server, digest)

    def as_tuple(self) -> tuple[str, str, str]:
        """Return mode, server and fingerprint, as the journal holds them."""
        return self.mode, self.server, self.fingerprint


@dataclasses.dataclass(slots=True)
class Entry:
    """One created thing.

    ``kind`` is ``"response"``, ``"conversation"``, ``"vector store"``, ``"file"`` or ``"container"``.
    """

    kind: str
    id: str
    name: str = ""


@dataclasses.dataclass(slots=True)
class Meter:
    """What the requests of one account used so far.

    ``price_usd`` counts tokens, file searches and containers; ``unpriced`` counts the responses whose model has no
    known price. In recorded mode the tokens are estimates and nothing is spent.
    """

    responses: int = 0
    tokens: int = 0
    price_usd: float = 0.0
    unpriced: int = 0
    estimated: bool = False


class Ledger:
    """The things that one account holds because of this process; shows itself as a list.

    Args:
        account: whose things they are.
        journal: where they are noted on disk as well; without one, nowhere.
    """

    def __init__(self, account: Account | None = None, journal: Journal | None = None) -> None:
        self._account = account
        self._journal = journal
        self._entries: dict[str, Entry] = {}
        self._unanswered: dict[int, str] = {}
        self._sent = itertools.count(1)
        self._charged: set[str] = set()
        self._lock = threading.Lock()
        self.meter = Meter()

    def note(self, kind: str, id: str, name: str = "") -> bool:
        """Note a created thing. Returns whether it was new."""
        with self._lock:
            new = id not in self._entries
            if new:
                # On disk first: an interrupt in between leaves a line too many, which a sweep finds gone, and none too few.
                if self._journal is not None and self._account is not None:
                    self._journal.made(kind, id, name, self._account.as_tuple())
                self._entries[id] = Entry(kind, id, name)
            return new

    def forget(self, id: str) -> None:
        """Note that a thing is gone."""
        with self._lock:
            known = self._entries.pop(id, None)
            if known is not None and self._journal is not None:
                self._journal.gone(id)

    def sent(self, kind: str) -> int:
        """Note that the creation of a thing was asked for. Returns a number for ``answered``."""
        with self._lock:
            number = next(self._sent)
            self._unanswered[number] = kind
            return number

    def answered(self, number: int) -> None:
        """Note that it is known what became of a creation: the thing is noted, or was never made."""
        with self._lock:
            self._unanswered.pop(number, None)

    @property
    def unanswered(self) -> list[str]:
        """The kinds of the things that may be there without anybody knowing their ids: the answer was lost."""
        with self._lock:
            return sorted(self._unanswered.values(), key=_SAID.index)

    def has(self, id: str) -> bool:
        """Return whether the thing was created here and is still there."""
        return id in self._entries

    def charge_once(self, response_id: str) -> bool:
        """Return ``True`` the first time a response is named: it is then counted, however often it is looked at."""
        with self._lock:
            new = response_id not in self._charged
            self._charged.add(response_id)
            return new

    @property
    def entries(self) -> list[Entry]:
        """What is there, in the order in which it is best removed."""
        with self._lock:
            found = list(self._entries.values())
        return sorted(found, key=lambda entry: _KINDS.index(entry.kind))

    def __len__(self) -> int:
        return len(self._entries)

    def _take_unanswered(self) -> list[str]:
        taken = self.unanswered
        with self._lock:
            self._unanswered.clear()
        return taken

    def __repr__(self) -> str:
        perhaps = _perhaps(self.unanswered)
        if not self._entries:
            return "\n".join(["Nothing is there that these cells created.", *perhaps])
        lines = [f"  {entry.kind:<13} {entry.id}  {entry.name}".rstrip() for entry in self.entries]
        head = f"{count_kinds(entry.kind for entry in self.entries)} created by these cells:"
        return "\n".join([head, *lines, *perhaps])


_ledgers: dict[Account, Ledger] = {}
_accounts: weakref.WeakKeyDictionary[object, Account] = weakref.WeakKeyDictionary()


def register(client: openai.OpenAI | openai.AsyncOpenAI, account: Account) -> None:
    """Tie ``client`` (and the copies that ``with_options`` makes of it) to ``account``."""
    _accounts[_http_client(client)] = account


def ledger_for(account: Account, journal: Journal | None = None) -> Ledger:
    """Return the ledger of ``account``; it is made on first use, with ``journal``, and lives as long as the process."""
    return _ledgers.setdefault(account, Ledger(account, journal))


def all_ledgers() -> dict[Account, Ledger]:
    """Return every ledger of this process by account."""
    return dict(_ledgers)


def ledger_of(client: openai.OpenAI | openai.AsyncOpenAI) -> Ledger:
    """Return what ``client`` created so far.

    Args:
        client: a client that ``connect()`` returned; for any other one the list is empty.

    Example:
        >>> ledger_of(client)  # doctest: +SKIP
        1 conversation created by these cells:
          conversation  conv_…
    """
    account = account_of(client)
    return Ledger() if account is None else ledger_for(account)


def account_of(client: openai.OpenAI | openai.AsyncOpenAI) -> Account | None:
    """Return whose account ``client`` opens; ``None`` for one that ``connect()`` did not return."""
    return _accounts.get(_http_client(client))


def _http_client(client: openai.OpenAI | openai.AsyncOpenAI) -> object:
    # The HTTP client is what with_options() copies share; the SDK has no public name for it.
    return client._client


@dataclasses.dataclass(frozen=True)
class CleanupReport:
    """What ``cleanup`` did.

    ``deleted`` and ``already_gone`` hold the entries; ``left`` pairs each entry that is still there with the reason.
    """

    deleted: list[Entry]
    already_gone: list[Entry]
    left: list[tuple[Entry, str]]
    items: int = 0
    """How many conversation items were deleted with their conversations."""
    unanswered: list[str] = dataclasses.field(default_factory=list)
    """The kinds of things that may be there as well: the answer to their creation, with their id, was lost."""

    def __repr__(self) -> str:
        parts = [f"deleted {count_kinds((entry.kind for entry in self.deleted), self.items)}"]
        if self.already_gone:
            parts.append(f"{len(self.already_gone)} already gone")
        parts.append(f"{len(self.left)} left")
        lines = [" · ".join(parts)]
        lines += [f"  still there: {entry.kind} {entry.id}: {reason}" for entry, reason in self.left]
        lines += _perhaps(self.unanswered)
        return without_controls("\n".join(lines))

    def _ipython_display_(self) -> None:
        """Show nothing more: ``cleanup`` printed the report already."""


def cleanup(client: openai.OpenAI | openai.AsyncOpenAI) -> CleanupReport:
    """Delete everything that ``client`` created, say what was done, and what is left.

    A thing that is gone already counts as done. What cannot be deleted stays in the ledger, so that you can call
    this again. Items of a conversation are deleted before the conversation, because the API keeps them otherwise.

    Where the connection broke while something was created, nobody knows its id, and the API lists neither conversations
    nor responses. That is told, once: nothing is deleted that might be somebody else's.

    Args:
        client: a client that ``connect()`` returned. An asynchronous one works too, without ``await``.
    """
    from helpers.connection import synchronous  # here, because connecting needs the ledger

    ledger = ledger_of(client)
    worker = synchronous(client)
    for container in _untold_containers(worker):
        ledger.note("container", container, "made by the code interpreter")
    report = remove(worker, ledger.entries, ledger.forget)
    report = dataclasses.replace(report, unanswered=ledger._take_unanswered())
    print(report)
    return report


def _untold_containers(client: openai.OpenAI) -> list[str]:
    """Return containers that were made for an answer which was interrupted before it named them.

    Only where all that there is was made by this process: in an account, they may be anybody's. There they end by
    themselves, 20 minutes after their last use.
    """
    account = account_of(client)
    if account is None or account.server != THIS_PROCESS:
        return []
    return [container.id for container in client.containers.list(limit=100) if container.status == "running"]


def remove(client: openai.OpenAI, entries: Iterable[Entry], forget: Callable[[str], object]) -> CleanupReport:
    """Delete things, and call ``forget`` with the id of each one that is gone, at once."""
    deleted: list[Entry] = []
    gone: list[Entry] = []
    left: list[tuple[Entry, str]] = []
    items = 0
    for entry in sorted(entries, key=lambda entry: _KINDS.index(entry.kind)):
        try:
            if entry.kind == "conversation":
                items += _delete_items(client, entry.id)
            _delete(client, entry)
        except openai.NotFoundError as error:
            if is_web_page(error.response.headers):  # it is something on the way that knows nothing of it
                left.append((entry, explain(error)))
                continue
            gone.append(entry)
        except openai.OpenAIError as error:
            left.append((entry, explain(error)))
            continue
        else:
            deleted.append(entry)
        forget(entry.id)
    return CleanupReport(deleted, gone, left, items)


def _delete(client: openai.OpenAI, entry: Entry) -> None:
    remove: dict[str, Callable[[str], object]] = {
        "conversation": client.conversations.delete,
        "response": client.responses.delete,
        "vector store": client.vector_stores.delete,
        "file": client.files.delete,
        "container": client.containers.delete,
    }
    try:
        remove[entry.kind](entry.id)
    except openai.BadRequestError:
        if entry.kind != "response" or not _cancelled(client, entry.id):
            raise
        client.responses.delete(entry.id)


def _cancelled(client: openai.OpenAI, response_id: str) -> bool:
    """Stop a background response that is still running, and return whether it was one."""
    try:
        client.responses.cancel(response_id)
    except openai.BadRequestError:
        return False
    return True


def _delete_items(client: openai.OpenAI, conversation_id: str) -> int:
    count = 0
    for item in list(client.conversations.items.list(conversation_id, limit=100)):
        item_id = getattr(item, "id", None)
        if item_id:
            with contextlib.suppress(
                openai.NotFoundError
            ):  # gone meanwhile, and the conversation is still there
                client.conversations.items.delete(item_id, conversation_id=conversation_id)
                count += 1
    return count


_WHERE_IT_GOES: Final = {
    "conversation": "an empty conversation costs nothing",
    "vector store": "look at https://platform.openai.com/storage",
    "file": "look at https://platform.openai.com/storage; what upload_files sent expires by itself",
    "container": "a container is gone 20 minutes after its last use",
    "response": "responses are deleted after 30 days, and a container of theirs 20 minutes after its last use",
}


def _perhaps(kinds: Sequence[str]) -> list[str]:
    """Say what may be there without a known id; nothing if there is nothing."""
    return [
        f"  perhaps there: {count_kinds([kind] * count)} (the connection broke before its answer came; {_WHERE_IT_GOES[kind]})"
        for kind, count in Counter(kinds).items()
    ]


def count_kinds(kinds: Iterable[str], items: int = 0) -> str:
    """Say how many of each kind: ``"1 conversation (4 items), 3 files"``."""
    counts = Counter(kinds)
    if not counts:
        return "nothing"
    words = []
    for kind in sorted(counts, key=_SAID.index):
        number = counts[kind]
        word = f"{number} {kind}{'' if number == 1 else 's'}"
        if kind == "conversation" and items:
            word += f" ({items} item{'' if items == 1 else 's'})"
        words.append(word)
    return ", ".join(words)


if __name__ == "__main__":
    from helpers.sweep import main

    sys.exit(main(sys.argv[1:]))
