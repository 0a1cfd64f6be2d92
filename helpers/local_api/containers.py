"""Containers: folders in which code runs, how long they live, and the routes under ``/containers``.

A container expires when nobody used it for 20 minutes: its files and its kernel are gone then, and it cannot be revived,
as live. It also expires with the process that made it. Not here: what is in the folder (``container_files.py``), the
kernel (``sandbox.py``), and how a response uses both (``code_interpreter_tool.py``).
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from helpers.local_api import ids
from helpers.local_api.checks import Fields, Query, page_body, required
from helpers.local_api.container_files import ContainerFiles, data_folder
from helpers.local_api.errors import APIError, invalid, not_found, shown, unsupported
from helpers.local_api.files import Download, StoredFile
from helpers.local_api.folders import remove_folder
from helpers.local_api.state import State, Transaction

if TYPE_CHECKING:
    from helpers.local_api.app import App, Parsed

TABLES: Final = (
    """create table if not exists containers (
        number integer primary key, id text not null unique, name text not null, status text not null,
        created_at integer not null, last_active_at real not null, minutes integer not null,
        memory_limit text not null, owner text not null, home text not null
    )""",
)
MEMORY_BYTES: Final = {"1g": 1 << 30, "4g": 4 << 30, "16g": 16 << 30, "64g": 64 << 30}

_HOME_PREFIX: Final = "workshop-container-"
_MOST_MINUTES: Final = 20
_MEMORY: Final = "1g"
_LONGEST_NAME: Final = 256
_COLUMNS: Final = "id, name, status, created_at, last_active_at, minutes, memory_limit, owner, home"
_NO_NETWORK: Final = "Code in the recorded API has no network. Leave it out, or say {'type': 'disabled'}."

Body = dict[str, Any]


class CodeResult(Protocol):
    """What came of some code (see ``sandbox.py``)."""

    @property
    def logs(self) -> str:
        """All that it printed, with the last expression and tracebacks."""
        ...

    @property
    def images(self) -> list[bytes]:
        """The plots that it showed, as PNG."""
        ...

    @property
    def failed(self) -> bool:
        """Whether it ended with an exception or at a limit."""
        ...

    @property
    def why(self) -> str:
        """A sentence if a limit ended it; else empty."""
        ...


class Kernel(Protocol):
    """What runs code in a folder (see ``sandbox.py``)."""

    def run(self, code: str) -> CodeResult:
        """Run code and wait for it."""
        ...

    def interrupt(self) -> None:
        """End the code that runs, from another thread."""
        ...

    def close(self) -> None:
        """End the kernel."""
        ...


KernelFactory = Callable[[Path, int], Kernel]
"""Makes the kernel for a folder, with so many bytes of memory."""


def sandbox(folder: Path, memory_bytes: int) -> Kernel:
    """Return the real kernel for a folder. ``WORKSHOP_CODE_SECONDS`` says how long one piece of code may run."""
    from helpers.local_api.sandbox import Limits, Sandbox

    limits = Limits(memory_bytes=memory_bytes)
    try:
        time_s = float(os.environ.get("WORKSHOP_CODE_SECONDS", ""))
    except ValueError:
        return Sandbox(folder, limits)
    if math.isnan(time_s):
        return Sandbox(folder, limits)
    return Sandbox(folder, replace(limits, time_s=min(max(time_s, 0.5), 600.0)))


@dataclass(frozen=True, slots=True)
class Container:
    """A row of the table of containers."""

    id: str
    name: str
    status: str
    created_at: int
    last_active_at: float
    minutes: int
    memory_limit: str
    owner: str
    home: str

    @property
    def folder(self) -> Path:
        """Where its folders are on this machine."""
        return Path(self.home)

    @property
    def body(self) -> Body:
        """The container as the API shows it."""
        return {
            "id": self.id,
            "object": "container",
            "created_at": self.created_at,
            "status": self.status,
            "expires_after": {"anchor": "last_active_at", "minutes": self.minutes},
            "last_active_at": int(self.last_active_at),
            "memory_limit": self.memory_limit,
            "name": self.name,
            "network_policy": {"type": "disabled"},
        }


class Containers:
    """The routes under ``/containers``, and the kernels.

    Args:
        state: opened with :data:`TABLES`.
        files: keeps the files of containers.
        clock: gives the time in seconds since 1970.
        kernels: makes the kernel for a folder.
    """

    def __init__(
        self,
        state: State,
        files: ContainerFiles,
        clock: Callable[[], float],
        kernels: KernelFactory = sandbox,
    ) -> None:
        self.files = files
        self._state = state
        self._clock = clock
        self._make_kernel = kernels
        self._running: dict[str, Kernel] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._homes: list[str] = []
        self._close = weakref.finalize(self, _close_all, self._running, self._homes, os.getpid())

    def add_to(self, app: App) -> None:
        """Add the routes to an application."""
        one, files = "/containers/{}", "/containers/{}/files"
        page = ("after", "limit", "order")
        app.add("POST", "/containers", lambda call: self.create(call.body))
        app.add("GET", "/containers", lambda call: self.list_containers(call.query), (*page, "name"))
        app.add("GET", one, lambda call: self.retrieve(call.arguments[0]))
        app.add("DELETE", one, lambda call: self.delete(call.arguments[0]))
        app.add("POST", files, self._create_file)
        app.add("GET", files, lambda call: self.list_files(call.arguments[0], call.query), page)
        app.add("GET", f"{files}/{{}}", lambda call: self.retrieve_file(*call.arguments))
        app.add("GET", f"{files}/{{}}/content", lambda call: self.download_file(*call.arguments))
        app.add("DELETE", f"{files}/{{}}", lambda call: self.delete_file(*call.arguments))

    # -- routes -------------------------------------------------------------------------------------------------

    def create(self, body: Body) -> Body:
        """POST /containers."""
        fields = Fields(body)
        fields.only(("name", "expires_after", "file_ids", "memory_limit", "network_policy", "skills"))
        name = required(fields.text("name", longest=_LONGEST_NAME), "name")
        if fields.values.get("skills"):
            raise unsupported("skills", "The recorded API does not have it.")
        read_network_policy(fields)
        return self.make(
            name,
            read_file_ids(fields),
            memory_limit=read_memory_limit(fields),
            minutes=_read_minutes(fields),
            param="file_ids",
        ).body

    def list_containers(self, query: Query) -> Body:
        """GET /containers: newest first unless ``order=asc``."""
        self.bury_expired()
        after, limit, newest_first = query.page()
        with self._state.transaction() as transaction:
            rows = transaction.execute(f"select {_COLUMNS} from containers order by number").fetchall()
        found = [Container(*row) for row in rows][:: -1 if newest_first else 1]
        if after is not None:
            places = [index for index, each in enumerate(found) if each.id == after]
            if not places:
                raise not_found("Container", after)
            found = found[places[0] + 1 :]
        name = query.text("name")
        if name is not None:
            found = [each for each in found if each.name == name]
        return page_body([each.body for each in found[:limit]], has_more=len(found) > limit)

    def retrieve(self, container_id: str) -> Body:
        """GET /containers/{id}: an expired one can still be seen."""
        container = self.find(container_id)
        if container is None:
            raise not_found("Container", container_id)
        return self.use(container_id).body if container.status == "running" else container.body

    def delete(self, container_id: str) -> Body:
        """DELETE /containers/{id}: with its files and its kernel."""
        if self.find(container_id) is None:
            raise not_found("Container", container_id)
        self._bury(container_id, deleted=True)
        return {"id": container_id, "object": "container.deleted", "deleted": True}

    def list_files(self, container_id: str, query: Query) -> Body:
        """GET /containers/{id}/files."""
        return self.files.page(self.use(container_id).id, query)

    def retrieve_file(self, container_id: str, file_id: str) -> Body:
        """GET /containers/{id}/files/{id}."""
        return self.files.existing(self.use(container_id).id, file_id).body

    def download_file(self, container_id: str, file_id: str) -> Download:
        """GET /containers/{id}/files/{id}/content."""
        container = self.use(container_id)
        return self.files.download(container.folder, self.files.existing(container.id, file_id))

    def delete_file(self, container_id: str, file_id: str) -> Body:
        """DELETE /containers/{id}/files/{id}."""
        container = self.use(container_id)
        return self.files.delete(container.folder, self.files.existing(container.id, file_id))

    def _create_file(self, call: Parsed) -> Body:
        """POST /containers/{id}/files: a form with the file, or JSON with the id of one that was uploaded."""
        container = self.use(call.arguments[0])
        if call.upload is None:
            fields = Fields(call.body)
            fields.only(("file_id",))
            file_id = required(fields.text("file_id"), "file_id")
            uploads = self.files.check_uploads([file_id], "file_id")
            self.files.copy_uploads(container.id, container.folder, uploads)
            return next(each.body for each in self.files.all(container.id) if each.upload == file_id)
        form = call.form
        Fields({**form.fields, **form.files}).only(("file",))
        if "file" in form.fields:
            raise invalid(
                "'file' must be a file, and not a text: open it with open(path, 'rb').", param="file"
            )
        upload = required(form.files.get("file"), "file")
        return self.files.receive(container.id, container.folder, upload.filename, upload.content)

    # -- life ---------------------------------------------------------------------------------------------------

    def make(
        self,
        name: str,
        file_ids: Sequence[str],
        *,
        memory_limit: str | None = None,
        minutes: int | None = None,
        param: str,
    ) -> Container:
        """Make a container with copies of files in it."""
        uploads: list[StoredFile] = self.files.check_uploads(file_ids, param)
        now = self._clock()
        with self._state.transaction() as transaction:
            number = transaction.next_number("cntr")
        container = Container(
            id=ids.numbered("cntr", number),
            name=name,
            status="running",
            created_at=int(now),
            last_active_at=now,
            minutes=minutes or _MOST_MINUTES,
            memory_limit=memory_limit or _MEMORY,
            owner=self._state.owner,
            home=tempfile.mkdtemp(prefix=_HOME_PREFIX),
        )
        self._homes.append(container.home)
        try:
            self.files.make_home(container.folder)
            with self._state.transaction() as transaction:
                transaction.execute(
                    f"insert into containers (number, {_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        number,
                        container.id,
                        container.name,
                        container.status,
                        container.created_at,
                        container.last_active_at,
                        container.minutes,
                        container.memory_limit,
                        container.owner,
                        container.home,
                    ),
                )
            self.files.copy_uploads(container.id, container.folder, uploads)
        except BaseException:
            self._bury(container.id, deleted=True)
            remove_folder(container.folder)
            raise
        return container

    def find(self, container_id: str) -> Container | None:
        """Return a container, running or expired; ``None`` if there is none."""
        self.bury_expired()
        with self._state.transaction() as transaction:
            return _container(transaction, container_id)

    def use(self, container_id: str) -> Container:
        """Return a running container and note that it was used just now; refuse with 404 if it cannot be used."""
        container = self.find(container_id)
        if container is None:
            raise not_found("Container", container_id)
        if container.status != "running":
            raise APIError(404, f"Container with id '{shown(container_id)}' is expired. Its files are gone.")
        with self._state.transaction() as transaction:
            transaction.execute(
                "update containers set last_active_at = ? where id = ?", (self._clock(), container_id)
            )
            return _container(transaction, container_id) or container

    def bury_expired(self) -> None:
        """Let those containers expire whose time is over, or whose process is gone."""
        now = self._clock()
        with self._state.transaction() as transaction:
            rows = transaction.execute(
                "select id, last_active_at + 60 * minutes, owner from containers where status = 'running'"
            ).fetchall()
        for container_id, end, owner in rows:
            if end <= now or not self._state.is_alive(owner):
                self._bury(container_id, deleted=False)

    def _bury(self, container_id: str, *, deleted: bool) -> None:
        with self._state.transaction() as transaction:
            container = _container(transaction, container_id)
            self.files.forget(transaction, container_id)
            if deleted:
                transaction.execute("delete from containers where id = ?", (container_id,))
            else:
                transaction.execute("update containers set status = 'expired' where id = ?", (container_id,))
        with self._lock:
            kernel = self._running.pop(container_id, None)
        if kernel:
            kernel.close()
        # The path comes from a file that several processes share, so it is not taken on trust.
        if container and Path(container.home).name.startswith(_HOME_PREFIX):
            remove_folder(container.folder)
            with contextlib.suppress(ValueError):
                self._homes.remove(container.home)

    def close(self) -> None:
        """End all kernels and remove all folders of this process. Closing twice is fine."""
        with self._state.transaction() as transaction:
            transaction.execute(
                "update containers set status = 'expired' where owner = ?", (self._state.owner,)
            )
        self._close()

    # -- kernels ------------------------------------------------------------------------------------------------

    def kernel(self, container: Container) -> Kernel:
        """Return the kernel of a container; it starts with the first code."""
        with self._lock:
            if container.id not in self._running:
                folder = data_folder(container.folder)
                self._running[container.id] = self._make_kernel(folder, MEMORY_BYTES[container.memory_limit])
            return self._running[container.id]

    def turn_of(self, container_id: str) -> threading.Lock:
        """Return the lock that says whose code a container runs: one at a time."""
        with self._lock:
            return self._locks.setdefault(container_id, threading.Lock())


def _close_all(kernels: dict[str, Kernel], homes: list[str], process: int) -> None:
    if os.getpid() != process:
        # A forked child has a copy of this. Kernels and folders belong to the parent.
        return
    try:
        while kernels:
            kernels.popitem()[1].close()
    finally:
        while homes:
            remove_folder(Path(homes.pop()))


def _container(transaction: Transaction, container_id: str) -> Container | None:
    row = transaction.execute(f"select {_COLUMNS} from containers where id = ?", (container_id,)).fetchone()
    return None if row is None else Container(*row)


# -- what requests say ----------------------------------------------------------------------------------------------


def read_file_ids(fields: Fields) -> list[str]:
    """Return the ids of the files that are to be copied into a container."""
    file_ids = fields.array("file_ids", of="strings") or []
    if not all(isinstance(file_id, str) for file_id in file_ids):
        raise fields.wrong_type("file_ids", "an array of strings")
    return file_ids


def read_memory_limit(fields: Fields) -> str | None:
    """Return the memory that a container is to have, if it is said."""
    return fields.choice("memory_limit", tuple(MEMORY_BYTES))


def read_network_policy(fields: Fields) -> dict[str, str] | None:
    """Return the network policy; only none at all can be asked for."""
    policy = fields.object("network_policy")
    if policy is None:
        return None
    if required(policy.choice("type", ("allowlist", "disabled")), policy.name("type")) == "allowlist":
        raise unsupported(fields.name("network_policy"), _NO_NETWORK)
    policy.only(("type",))
    return {"type": "disabled"}


def _read_minutes(fields: Fields) -> int | None:
    expiry = fields.object("expires_after")
    if expiry is None:
        return None
    expiry.only(("anchor", "minutes"))
    required(expiry.choice("anchor", ("last_active_at",)), expiry.name("anchor"))
    minutes = expiry.integer("minutes", least=1, most=_MOST_MINUTES)
    return int(required(minutes, expiry.name("minutes")))
