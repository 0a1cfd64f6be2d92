"""Files of containers: what lies in a container's folder, and the ids under which the API shows it.

The folder is the truth: code writes, changes and deletes there, and :meth:`ContainerFiles.collect` follows. Code is not
trusted, so nothing here follows a link out of the folder. Plots that were shown lie apart, where code does not see them.
Not here: the life of a container and the routes (``containers.py``).
"""

from __future__ import annotations

import contextlib
import mimetypes
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from helpers.local_api import ids
from helpers.local_api.checks import Query, page_body
from helpers.local_api.errors import APIError, invalid, not_found
from helpers.local_api.files import Download, Files, StoredFile, safe_name
from helpers.local_api.folders import entries
from helpers.local_api.state import State, Transaction

TABLES: Final = (
    """create table if not exists container_files (
        number integer primary key, id text not null unique, container text not null, path text not null,
        source text not null, bytes integer not null, created_at integer not null, upload text,
        apart integer not null default 0, unique (container, path)
    )""",
)
MOUNTED_AT: Final = "/mnt/data"
"""Where a container's folder is, as the API and the code see it."""
_ENDINGS: Final = (
    "c cpp cs css csv doc docx gif go html java jpeg jpg js json jsonl log md parquet pdf php pkl png pptx py rb sh svg "
    "tar tex tsv ts txt webp xls xlsx xml yaml yml zip"
)
EXTENSIONS: Final = frozenset(f".{ending}" for ending in _ENDINGS.split())
"""File types that a container takes (https://developers.openai.com/api/docs/guides/tools-code-interpreter, and other
texts and tables that Python reads without help)."""

_DATA: Final = "data"
_APART: Final = "shown"
_PART_BYTES: Final = 1024 * 1024
_LONGEST_NAME_BYTES: Final = 255
_MOST_FILES: Final = 5_000
_NOT_SHOWN: Final = frozenset(
    {"__pycache__", ".ipynb_checkpoints", ".cache", ".config", ".ipython", ".local"}
)
_COLUMNS: Final = "id, container, path, source, bytes, created_at, upload, apart"

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ContainerFile:
    """A row of the table of container files. ``path`` is relative to the container's folder, with ``/``."""

    id: str
    container_id: str
    path: str
    source: str
    bytes: int
    created_at: int
    upload: str | None
    apart: int

    @property
    def filename(self) -> str:
        """The name without folders."""
        return self.path.rpartition("/")[2]

    @property
    def body(self) -> Body:
        """The file as the API shows it."""
        return {
            "id": self.id,
            "object": "container.file",
            "bytes": self.bytes,
            "container_id": self.container_id,
            "created_at": self.created_at,
            "path": f"{MOUNTED_AT}/{self.path}",
            "source": self.source,
        }


def data_folder(home: Path) -> Path:
    """Return the folder that a container's code sees, below the container's ``home``."""
    return home / _DATA


class ContainerFiles:
    """Keeps the files of containers.

    Args:
        state: opened with :data:`TABLES`.
        uploads: the files of the API, which can be copied into a container.
        clock: gives the time in seconds since 1970.
    """

    def __init__(self, state: State, uploads: Files, clock: Callable[[], float]) -> None:
        self._state = state
        self._uploads = uploads
        self._clock = clock

    # -- into the folder ----------------------------------------------------------------------------------------

    def check_uploads(self, file_ids: Sequence[Any], param: str) -> list[StoredFile]:
        """Return the files that are to be copied, or refuse: 404 for an unknown one, 400 for a type without use."""
        found = []
        with self._state.transaction() as transaction:
            for file_id in dict.fromkeys(file_ids):
                file = self._uploads.find(transaction, file_id)
                if file is None:
                    raise APIError(404, f"No such File object: {str(file_id)[:64]}", param=param)
                check_type(file.filename, param)
                found.append(file)
        return found

    def make_home(self, home: Path) -> None:
        """Make the folders of a new container."""
        for name in (_DATA, _APART):
            (home / name).mkdir(parents=True, exist_ok=True)

    def copy_uploads(self, container_id: str, home: Path, uploads: Sequence[StoredFile]) -> None:
        """Copy files of the API into a container, those that are not in it yet."""
        there = {file.upload for file in self.all(container_id)}
        for upload in uploads:
            if upload.id not in there:
                self._write(container_id, home, upload.filename, self._uploads.parts(upload.id), upload.id)

    def receive(self, container_id: str, home: Path, filename: str, content: IO[bytes]) -> Body:
        """Put an uploaded file into a container."""
        check_type(filename, "file")
        parts = iter(lambda: content.read(_PART_BYTES), b"")
        return self._write(container_id, home, filename, parts, None).body

    def _write(
        self, container_id: str, home: Path, filename: str, parts: Iterator[bytes], upload: str | None
    ) -> ContainerFile:
        folder = data_folder(home)
        for name in _names(filename):
            try:
                # Exclusively: never over another file, and never through a link that code has put there.
                target = (folder / name).open("xb")
                break
            except FileExistsError:
                continue
        size = 0
        with target:
            for part in parts:
                size += target.write(part)
        with self._state.transaction() as transaction:
            return self._add(transaction, container_id, name, "user", size, upload=upload)

    def _add(
        self,
        transaction: Transaction,
        container_id: str,
        path: str,
        source: str,
        size: int,
        *,
        upload: str | None = None,
        apart: bool = False,
    ) -> ContainerFile:
        number = transaction.next_number("cfile")
        file = ContainerFile(
            id=ids.numbered("cfile", number),
            container_id=container_id,
            path=path or f"{ids.numbered('cfile', number)}.png",
            source=source,
            bytes=size,
            created_at=int(self._clock()),
            upload=upload,
            apart=int(apart),
        )
        transaction.execute(
            f"insert into container_files (number, {_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                file.id,
                file.container_id,
                file.path,
                file.source,
                file.bytes,
                file.created_at,
                file.upload,
                file.apart,
            ),
        )
        return file

    # -- after code ran -----------------------------------------------------------------------------------------

    def collect(
        self, container_id: str, home: Path, images: Sequence[bytes]
    ) -> tuple[dict[str, str], list[str]]:
        """Follow what code did in the folder, and keep the plots that it showed.

        Returns:
            The id of every file in the folder by its path, and the ids of the plots.
        """
        sizes = dict(_regular_files(data_folder(home)))
        with self._state.transaction() as transaction:
            known = {file.path: file for file in self._rows(transaction, container_id) if not file.apart}
            for path, file in known.items():
                if path not in sizes:
                    transaction.execute("delete from container_files where id = ?", (file.id,))
                elif sizes[path] != file.bytes:
                    transaction.execute(
                        "update container_files set bytes = ? where id = ?", (sizes[path], file.id)
                    )
            files = {path: known[path].id for path in sizes if path in known}
            for path in sizes:
                if path not in files:
                    files[path] = self._add(transaction, container_id, path, "assistant", sizes[path]).id
            plots = [
                self._add(transaction, container_id, "", "assistant", len(image), apart=True)
                for image in images
            ]
        for plot, image in zip(plots, images, strict=True):
            (home / _APART / plot.path).write_bytes(image)
        return files, [plot.id for plot in plots]

    # -- out of the folder --------------------------------------------------------------------------------------

    def all(self, container_id: str) -> list[ContainerFile]:
        """Return the files of a container, oldest first."""
        with self._state.transaction() as transaction:
            return self._rows(transaction, container_id)

    def page(self, container_id: str, query: Query) -> Body:
        """Return a page of a container's files: newest first unless ``order=asc``."""
        after, limit, newest_first = query.page()
        files = self.all(container_id)[:: -1 if newest_first else 1]
        if after is not None:
            places = [index for index, file in enumerate(files) if file.id == after]
            if not places:
                raise not_found("Container file", after)
            files = files[places[0] + 1 :]
        return page_body([file.body for file in files[:limit]], has_more=len(files) > limit)

    def existing(self, container_id: str, file_id: str) -> ContainerFile:
        """Return a file of a container, or refuse with 404."""
        for file in self.all(container_id):
            if file.id == file_id:
                return file
        raise not_found("Container file", file_id)

    def download(self, home: Path, file: ContainerFile) -> Download:
        """Return the content of a file on its way out; 404 if it is gone or is no file any more."""
        try:
            content = _open_inside(home / (_APART if file.apart else _DATA), file.path)
        except OSError:
            raise not_found("Container file", file.id) from None
        size = os.fstat(content.fileno()).st_size
        return Download(file.filename, size, _parts(content, size))

    def delete(self, home: Path, file: ContainerFile) -> Body:
        """Remove a file from a container."""
        folder = home / (_APART if file.apart else _DATA)
        # Code may have removed or replaced it: then there is nothing of ours to remove.
        with contextlib.suppress(OSError):
            _remove_inside(folder, file.path)
        with self._state.transaction() as transaction:
            transaction.execute("delete from container_files where id = ?", (file.id,))
        return {"id": file.id, "object": "container.file.deleted", "deleted": True}

    def forget(self, transaction: Transaction, container_id: str) -> None:
        """Forget all files of a container."""
        transaction.execute("delete from container_files where container = ?", (container_id,))

    def _rows(self, transaction: Transaction, container_id: str) -> list[ContainerFile]:
        rows = transaction.execute(
            f"select {_COLUMNS} from container_files where container = ? order by number", (container_id,)
        )
        return [ContainerFile(*row) for row in rows]


def check_type(filename: str, param: str) -> None:
    """Refuse a file that a container cannot read, by the ending of its name."""
    ending = os.path.splitext(filename)[1].lower()
    if ending and ending not in EXTENSIONS:
        kind = mimetypes.guess_type(filename)[0] or "application/octet-stream"
        raise APIError(
            400,
            f"Files with extensions [{ending[:16]}] ({kind}) are not supported for code_interpreter. Supported are: "
            f"{', '.join(sorted(EXTENSIONS))}.",
            param=param,
            code="unsupported_file",
        )


def _names(filename: str) -> Iterator[str]:
    """Yield names for a file until one is free: ``log.csv``, ``log-2.csv``, ``log-3.csv`` …"""
    stem, ending = os.path.splitext(safe_name(filename))
    ending = ending if len(ending.encode()) <= 16 else ""
    number = 1
    while True:
        suffix = "" if number == 1 else f"-{number}"
        room = _LONGEST_NAME_BYTES - len((suffix + ending).encode())
        short = stem.encode()[:room].decode("utf-8", "ignore")
        yield f"{short}{suffix}{ending}"
        number += 1
        if number > _MOST_FILES:
            raise invalid(
                f"There are too many files with the name {stem[:64]!r} in this container.", param="file"
            )


def _regular_files(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield path and size of every regular file in a folder; links, pipes and devices are passed over."""
    count = 0
    for path, status in entries(folder, _NOT_SHOWN):
        relative = Path(path).relative_to(folder).as_posix()
        try:
            relative.encode()
        except UnicodeEncodeError:
            continue  # Its name is no text, so that no API could show it.
        if stat.S_ISREG(status.st_mode):
            yield relative, status.st_size
            count += 1
            if count >= _MOST_FILES:
                return


@contextlib.contextmanager
def _folder_inside(folder: Path, path: str) -> Iterator[tuple[int, str]]:
    """Open the folder in which ``path`` lies, without following a link on the way; give it and the last name.

    Raises:
        OSError: there is none.
    """
    *parents, name = path.split("/")
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for parent in parents:
            inner = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        yield at, name
    finally:
        os.close(at)


def _open_inside(folder: Path, path: str) -> IO[bytes]:
    """Open a regular file below a folder without following a link on the way.

    Raises:
        OSError: there is none.
    """
    if os.open not in os.supports_dir_fd:
        # Windows: the sandbox is no boundary there (see sandbox.py), and links need a privilege.
        inside = (folder / path).resolve()
        if not inside.is_relative_to(folder.resolve()) or not inside.is_file():
            raise FileNotFoundError(path)
        return inside.open("rb")
    with _folder_inside(folder, path) as (at, name):
        # Not blocking, so that a pipe with this name cannot hold us.
        opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise FileNotFoundError(path)
    return os.fdopen(opened, "rb")


def _remove_inside(folder: Path, path: str) -> None:
    """Remove a regular file below a folder without following a link on the way, also if one is put there just now.

    Raises:
        OSError: there is none.
    """
    if os.open not in os.supports_dir_fd:
        _open_inside(folder, path).close()
        (folder / path).unlink()
        return
    with _folder_inside(folder, path) as (at, name):
        if not stat.S_ISREG(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            raise FileNotFoundError(path)
        os.unlink(name, dir_fd=at)


def _parts(content: IO[bytes], size: int) -> Iterator[bytes]:
    """Yield exactly ``size`` bytes: what was announced, even if code writes to the file just now."""
    with content:
        left = size
        while left:
            part = content.read(min(_PART_BYTES, left)) or bytes(min(_PART_BYTES, left))
            left -= len(part)
            yield part
