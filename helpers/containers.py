"""Containers for a person: look inside, notice that one is gone, get a fresh one with the files attached again.

Here live ``show_container``, ``fresh_container``, the table of what is visible where, and the price of a session. Not
here: downloading (``downloads.py``), and creating or deleting in itself, which is ``client.containers``.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import openai
from openai.types import ContainerCreateResponse, ContainerRetrieveResponse

from helpers.connection import synchronous
from helpers.diagrams import plain
from helpers.downloads import _base_name
from helpers.errors import ConfigurationError, WorkshopError, explain
from helpers.models import tool_price_usd
from helpers.tables import Column, Table, size_text

__all__ = [
    "ContainerFile",
    "ContainerView",
    "container_problem",
    "fresh_container",
    "session_price_usd",
    "show_container",
    "what_is_visible_where",
]

Container: TypeAlias = ContainerCreateResponse | ContainerRetrieveResponse

_DEFAULT_MINUTES: Final = 20
_GONE: Final = frozenset({"expired", "deleted", "failed"})
_MEMORY_GB: Final = {"1g": 1, "4g": 4, "16g": 16, "64g": 64}
_EXPIRED: Final = re.compile(
    r"Expected container_id|container\b.{0,120}\b(?:expired|not found|does not exist)|(?:expired|no such).{0,40}container",
    re.IGNORECASE | re.DOTALL,
)
_CONTAINER_ID: Final = re.compile(r"cntr_\w+")
_MADE_BY: Final = {"user": "you", "assistant": "the assistant's code"}


# -- looking inside ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ContainerFile:
    """A file in a container."""

    id: str
    """Such as ``"cfile_…"``."""
    path: str
    """Such as ``"/mnt/data/training_log.csv"``."""
    size_bytes: int | None
    source: str
    """``"user"`` or ``"assistant"``."""


@dataclass(frozen=True, repr=False)
class ContainerView:
    """What was in a container at one moment; shows itself as a table.

    Attributes:
        id: such as ``"cntr_…"``.
        name: the name that it was given.
        status: in the service's word, such as ``"running"`` or ``"active"``.
        files: what is in it.
        memory_limit: such as ``"1g"``.
        expires_at: when it is gone if nobody uses it until then; ``None`` if the service does not say. Looking at it
            counts as a use.
        price_usd: of a whole session of 20 minutes.
    """

    id: str
    name: str
    status: str
    files: tuple[ContainerFile, ...]
    memory_limit: str
    expires_at: dt.datetime | None
    idle_minutes: int
    price_usd: float | None

    def table(self) -> Table:
        """Return what is inside as a table."""
        rows = tuple(
            (
                file.path,
                "?" if file.size_bytes is None else size_text(file.size_bytes),
                _MADE_BY.get(file.source, file.source),
                file.id,
            )
            for file in self.files
        )
        columns = (Column("path"), Column("size", is_number=True), Column("made by"), Column("id"))
        title = f"Container “{plain(self.name, 60)}” ({self.id}), {self.status}"
        # No clock time here: the output of a cell should be the same in the next run.
        moment = " (expires_at has the moment)" if self.expires_at else ""
        notes = [
            f"It is gone {self.idle_minutes} minutes after its last use{moment}; looking at it counts as a use."
        ]
        if self.price_usd is not None:
            notes.append(
                f"At most ${self.price_usd:.2f} for a session of 20 minutes with {_MEMORY_GB[self.memory_limit]} GB of memory "
                "(live; recorded mode costs nothing)."
            )
        if not self.files:
            notes.insert(0, "There is no file in it.")
        return Table(columns, rows, title, tuple(notes))

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_markdown(self) -> str:
        """Return the table as Markdown."""
        return self.table().to_markdown()


def show_container(client: openai.OpenAI | openai.AsyncOpenAI, container: Any) -> ContainerView:
    """Return what is inside a container: each file with its path, size and who made it, and when it expires.

    Args:
        client: what ``connect()`` returned.
        container: a container, its id, or a code interpreter call (``container_id``).

    Raises:
        WorkshopError: it has expired, was deleted, or could not be asked for.
        ConfigurationError: ``container`` is none of the above.

    Example:
        ::

            show_container(client, run.handler.code_calls[-1].container_id)
    """
    worker = synchronous(client)
    container_id = _id_of(container)
    problem = ""
    try:
        found = worker.containers.retrieve(container_id)
        if found.status not in _GONE:
            files = tuple(_file(entry) for entry in worker.containers.files.list(container_id, limit=100))
            return _view(found, files)
        problem = _gone_sentence(container_id)
    except openai.APIError as error:
        problem = container_problem(error, container_id) or explain(error)
    # Raised here, so that the SDK's exception, which holds the request and with it the key, is not attached.
    raise WorkshopError(problem)


def _view(found: Container, files: tuple[ContainerFile, ...]) -> ContainerView:
    after = found.expires_after
    minutes = (after.minutes if after else None) or _DEFAULT_MINUTES
    last = found.last_active_at
    expires_at = dt.datetime.fromtimestamp(last + minutes * 60, dt.UTC) if last else None
    memory = found.memory_limit or "1g"
    price = session_price_usd(memory) if memory in _MEMORY_GB else None
    return ContainerView(found.id, found.name, found.status, files, memory, expires_at, minutes, price)


def _file(entry: Any) -> ContainerFile:
    size = getattr(entry, "bytes", None)
    return ContainerFile(entry.id, entry.path, size if isinstance(size, int) else None, entry.source or "?")


# -- a fresh one ------------------------------------------------------------------------------------------------------


def fresh_container(
    client: openai.OpenAI | openai.AsyncOpenAI,
    old: Any = None,
    *,
    file_ids: Sequence[str] = (),
    name: str = "workshop",
    memory_limit: str | None = None,
    show: bool = True,
) -> Container:
    """Return a container that works: ``old`` if it is still there, else a new one with the files attached again.

    A container that is gone cannot be brought back, and nothing says which files it had: that is why you name them. In
    one that is still there, files that are missing are attached.

    Args:
        client: what ``connect()`` returned.
        old: a container or its id; ``None`` for a new one in any case.
        file_ids: the uploaded files (``client.files.create``) that should be inside.
        name: for a new one.
        memory_limit: for a new one: ``"1g"``, ``"4g"``, ``"16g"`` or ``"64g"``; the service takes 1 GB without it.
        show: print one line that says what was done.

    Returns:
        The container; its ``id`` goes into ``{"type": "code_interpreter", "container": container.id}``.

    Raises:
        WorkshopError: the service refused, or one of the files is gone.
        ConfigurationError: an argument cannot work.

    Example:
        ::

            container = fresh_container(client, container, file_ids=[log.id])
    """
    worker = synchronous(client)
    wanted = _checked_file_ids(file_ids)
    if memory_limit is not None and memory_limit not in _MEMORY_GB:
        raise ConfigurationError(
            f"memory_limit must be one of {', '.join(_MEMORY_GB)}, not {memory_limit!r}."
        )
    old_id = None if old is None else _id_of(old)
    problem = ""
    try:
        there = None if old_id is None else _alive(worker, old_id)
        if there is not None:
            added = _attach_missing(worker, there.id, wanted)
            if show:
                also = f", and {_count(added, 'file')} attached" if added else ""
                print(f"The container {there.id} is still there{also}.")
            return there
        more: dict[str, Any] = {"memory_limit": memory_limit} if memory_limit else {}
        if wanted:
            more["file_ids"] = wanted
        made = worker.containers.create(
            name=name, expires_after={"anchor": "last_active_at", "minutes": _DEFAULT_MINUTES}, **more
        )
    except openai.NotFoundError as error:
        missing = [id for id in wanted if id in str(error)]
        problem = (
            f"The file {missing[0]} is not there any more. Upload it again and use its new id."
            if missing
            else f"{explain(error)}"
        )
    except openai.APIError as error:
        problem = explain(error)
    else:
        if show:
            print(_what_was_done(made.id, old_id, len(wanted)))
        return made
    raise WorkshopError(problem)


def _what_was_done(new_id: str, old_id: str | None, files: int) -> str:
    attached = f" with {_count(files, 'file')} attached{' again' if old_id else ''}" if files else ""
    if old_id is None:
        return f"Made the container {new_id}{attached}."
    return (
        f"The container {old_id} is gone (it expires after 20 minutes without use). Made {new_id}{attached}; what the "
        "code had written and its variables are lost."
    )


def _alive(client: openai.OpenAI, container_id: str) -> Container | None:
    """Return the container, or ``None`` if it has expired or was deleted."""
    try:
        found = client.containers.retrieve(container_id)
    except openai.APIStatusError as error:
        if container_problem(error, container_id):
            return None
        raise
    return None if found.status in _GONE else found


def _attach_missing(client: openai.OpenAI, container_id: str, file_ids: Sequence[str]) -> int:
    """Attach the files that are not inside, and return how many that were."""
    if not file_ids:
        return 0
    # Inside a container a file has another id; what stays is its name.
    inside = {_base_name(entry.path) for entry in client.containers.files.list(container_id, limit=100)}
    missing = [id for id in file_ids if _base_name(client.files.retrieve(id).filename) not in inside]
    for file_id in missing:
        client.containers.files.create(container_id, file_id=file_id)
    return len(missing)


def _checked_file_ids(file_ids: Sequence[str]) -> list[str]:
    if isinstance(file_ids, str):
        raise ConfigurationError("file_ids is a list, also for one file: file_ids=[log.id].")
    ids = [getattr(one, "id", one) for one in file_ids]
    for one in ids:
        if not isinstance(one, str) or not one.startswith("file"):
            raise ConfigurationError(
                f"file_ids holds ids of uploaded files such as 'file-…', not {plain(repr(one), 40)}. Upload the file "
                'with client.files.create(file=…, purpose="user_data") and use its id.'
            )
    return list(dict.fromkeys(ids))


# -- what goes wrong --------------------------------------------------------------------------------------------------


def container_problem(error: object, container_id: str = "") -> str:
    """Return one or two sentences if ``error`` says that a container is gone, else ``""``.

    A thread remembers its containers: once one has expired, the next question on the thread can fail with
    ``Expected container_id: cntr_…``.

    Args:
        error: an exception of the SDK or of the helpers, or a message.
        container_id: the container, if it is known that the request was about one.
    """
    status = getattr(error, "status_code", None)
    message = str(error)
    if not _EXPIRED.search(message) and not (container_id and status in {404, 410}):
        return ""
    found = _CONTAINER_ID.search(message)
    return _gone_sentence(found[0] if found else container_id)


def _gone_sentence(container_id: str) -> str:
    which = f"The container {container_id}" if container_id else "The container"
    return (
        f"{which} is gone: it expires after 20 minutes without use, or was deleted. Get one with "
        "fresh_container(client, file_ids=[…]), name it in the assistant's tool, and go on in a new conversation."
    )


def _id_of(container: Any) -> str:
    for value in (container, getattr(container, "container_id", None), getattr(container, "id", None)):
        if isinstance(value, str) and value.startswith("cntr_"):
            return value
    raise ConfigurationError(
        f"This must be a container or its id ('cntr_…'), not {plain(repr(container), 40)}. A code interpreter call "
        "names its container in container_id."
    )


def _count(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"


# -- what it costs, and who sees what ---------------------------------------------------------------------------------


def session_price_usd(memory_limit: str = "1g") -> float:
    """Return the price in US dollars of one session of a container, which is 20 minutes.

    Args:
        memory_limit: ``"1g"``, ``"4g"``, ``"16g"`` or ``"64g"``; the price goes by the gigabyte
            (https://developers.openai.com/api/docs/pricing).

    Raises:
        ConfigurationError: for any other memory limit.

    Example:
        >>> session_price_usd("4g")
        0.12
    """
    if memory_limit not in _MEMORY_GB:
        raise ConfigurationError(
            f"memory_limit must be one of {', '.join(_MEMORY_GB)}, not {memory_limit!r}."
        )
    return round(tool_price_usd("container_session") * _MEMORY_GB[memory_limit], 4)


def what_is_visible_where() -> Table:
    """Return a table: who can read a file, depending on where you put it, and for how long."""
    rows = (
        (
            "an uploaded file: client.files.create",
            "nobody yet: it lies in your account until something names its id",
            "until you delete it, or its expires_after",
        ),
        (
            'the assistant\'s tool: "container": {"type": "auto", "file_ids": […]}',
            "every thread on which this assistant runs; each gets a container of its own with a copy",
            "until 20 minutes without use; the next question gets a new container and a new copy",
        ),
        (
            'one message\'s container: client.containers.create(file_ids=[…]), then "container": container.id',
            "the runs that name this container, and no other thread",
            "until 20 minutes without use, then it cannot be brought back",
        ),
        (
            "what the code writes: /mnt/data and its variables",
            "later runs with the same container, and download_files",
            "as long as the container: download at once",
        ),
        (
            "a vector store: file_search",
            "the model, as passages that a search finds; the code interpreter cannot open it",
            "until you delete it, or its expires_after",
        ),
    )
    return Table(
        (Column("where it is"), Column("who can read it"), Column("for how long")),
        rows,
        "What is visible where",
    )
