"""Uploading your files into a vector store: checked before, watched while, safe to interrupt and to repeat.

Here live ``upload_files``, the checks of what file search can take, and the report of what became of each file. What is
uploaded notes itself in the ledger (``traffic.py``). Not here: searching (``evaluation.py``) and citing
(``citations.py``).
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import openai
from openai.types import VectorStore
from openai.types.vector_stores import VectorStoreFile

from helpers.diagrams import plain
from helpers.errors import ConfigurationError, Stopped, WorkshopError, explain
from helpers.rendering import Renderer, make_renderer
from helpers.tables import Column, Table, markdown_text, size_text

__all__ = [
    "SEARCHABLE_TYPES",
    "UploadReport",
    "UploadUnfinished",
    "UploadedFile",
    "is_recorded",
    "upload_files",
    "where_files_go",
]

# Limits and types: https://developers.openai.com/api/docs/guides/retrieval, checked 2026-11-23.
# fmt: off
SEARCHABLE_TYPES: Final = (
    ".c", ".cpp", ".cs", ".css", ".doc", ".docx", ".go", ".html", ".java", ".js", ".json", ".md", ".pdf", ".php",
    ".pptx", ".py", ".rb", ".sh", ".tex", ".ts", ".txt",
)
# fmt: on
"""The endings of the files that file search takes."""
_TABLES: Final = (".csv", ".tsv", ".xls", ".xlsx")
_LARGEST_BYTES: Final = 512_000_000
_MOST_FILES: Final = 2_000
_MOST_ATTRIBUTES: Final = 16
_LONGEST_KEY: Final = 64
# The SDK's types say 512 and the guide says 256: the smaller one is sure to fit.
_LONGEST_VALUE: Final = 256
_CHUNK_TOKENS: Final = (100, 4_096)
_EXPIRES_S: Final = (3_600, 2_592_000)

# What upload_files remembers about a file, on the file in the store itself, so that another kernel knows it too.
_DIGEST: Final = "sha256"
_SOURCE: Final = "source"

_DEFAULT_POLL_S: Final = 1.0
_LONGEST_POLL_S: Final = 30.0
_SHORTEST_POLL_S: Final = 0.01  # a server may suggest no pause at all; this one spares it the most eager loop
_LONGEST_REQUEST_S: Final = 600.0
_NAMES_SHOWN: Final = 10

Value = str | float | bool
Attributes = Mapping[str, Value] | Mapping[str, Mapping[str, Value]] | Callable[[Path], Mapping[str, Value]]
Status = Literal["waiting", "uploading", "parsing", "ready", "failed"]


# -- what comes out ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class UploadedFile:
    """What became of one file."""

    path: Path
    name: str
    """The name that citations show."""
    size_bytes: int
    status: Status = "waiting"
    """``"waiting"``, ``"uploading"``, ``"parsing"``, ``"ready"`` or ``"failed"``."""
    note: str = ""
    """Why it failed, or what else there is to know, such as ``"was there already"``."""
    file_id: str | None = None
    """Its id at the API; ``None`` if it has none."""


_COLUMNS: Final = (
    Column("file"),
    Column("size", is_number=True),
    Column("status"),
    Column("note"),
    Column("id"),
)


class UploadReport:
    """What ``upload_files`` did, one row for each file; shows itself as a table.

    Attributes:
        rows: every file, in the order in which you named them.
        store_id: the vector store that they are in.
        store_name: its name; ``""`` if it has none.
        where: one sentence that says where the files went.
    """

    def __init__(self, rows: list[UploadedFile], store_id: str, store_name: str, where: str) -> None:
        self.rows = rows
        self.store_id = store_id
        self.store_name = store_name
        self.where = where

    @property
    def ready(self) -> list[UploadedFile]:
        """The files that can be searched."""
        return [row for row in self.rows if row.status == "ready"]

    @property
    def failed(self) -> list[UploadedFile]:
        """The files that cannot be searched; each one's ``note`` says why."""
        return [row for row in self.rows if row.status == "failed"]

    @property
    def file_ids(self) -> list[str]:
        """The ids of the files that are ready."""
        return [row.file_id for row in self.ready if row.file_id is not None]

    @property
    def summary(self) -> str:
        """What was done, in one sentence, and one line for each file that failed."""
        ready = self.ready
        size = size_text(sum(row.size_bytes for row in ready))
        named = f": {_names([row.name for row in ready])}" if ready else ""
        into = f" in “{plain(self.store_name, 60)}”" if self.store_name else ""
        counted = f"{len(ready)} of {_count(len(self.rows), 'file')}"
        lines = [f"{counted} {'is' if len(ready) == 1 else 'are'} ready{into} ({size}){named}."]
        lines += [f"Failed: {plain(row.name, 80)}: {plain(row.note, 300)}" for row in self.failed]
        return "\n".join(lines)

    def table(self) -> Table:
        """Return the report as a table."""
        rows = tuple(
            (row.name, size_text(row.size_bytes), row.status, row.note, row.file_id or "")
            for row in self.rows
        )
        title = f"Files in “{plain(self.store_name, 60)}”" if self.store_name else "Files in the vector store"
        return Table(_COLUMNS, rows, f"{title} ({self.store_id})", (self.where,))

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_markdown(self) -> str:
        """Return the report as a Markdown table."""
        return self.table().to_markdown()


class UploadUnfinished(WorkshopError):
    """The upload ended before every file was ready or had failed: the deadline passed, or the API could not be asked.

    Attributes:
        report: what was done until then.
    """

    def __init__(self, message: str, report: UploadReport) -> None:
        super().__init__(message)
        self.report = report


# -- where a file goes ------------------------------------------------------------------------------------------------


def is_recorded(client: openai.OpenAI | openai.AsyncOpenAI) -> bool:
    """Return whether ``client`` answers inside this process: a name ending in .invalid leads nowhere (RFC 2606)."""
    return client.base_url.host.endswith(".invalid")


def where_files_go(client: openai.OpenAI | openai.AsyncOpenAI, expires_after_days: float = 1) -> str:
    """Say in one sentence where an uploaded file goes with this client.

    Args:
        client: what ``connect()`` returned.
        expires_after_days: when the files are deleted by themselves.

    Example:
        >>> where_files_go(client)  # doctest: +SKIP
        'Recorded mode: the files stay where this notebook runs and are sent nowhere.'
    """
    if is_recorded(client):
        return "Recorded mode: the files stay where this notebook runs and are sent nowhere."
    host = client.base_url.host
    to = "OpenAI, into your account there" if host == "api.openai.com" else f"the server {host}"
    return (
        f"Live mode: the files are uploaded to {to}, and expire after {_days(expires_after_days)}. "
        "Upload only what may leave this computer."
    )


def _days(days: float) -> str:
    hours = days * 24
    if hours < 48 and hours != 24:
        return _count(round(hours), "hour")
    return f"{days:g} {'day' if days == 1 else 'days'}"


# -- the front door ---------------------------------------------------------------------------------------------------


def upload_files(
    client: openai.OpenAI,
    store: VectorStore | str,
    paths: str | Path | Iterable[str | Path],
    attributes: Attributes | None = None,
    *,
    chunking_strategy: Mapping[str, Any] | None = None,
    deadline_s: float = 300.0,
    expires_after_days: float = 1,
    show: bool = True,
) -> UploadReport:
    """Upload files into a vector store, wait until they can be searched, and show how far each one is.

    Everything that the service cannot take is refused before anything is uploaded, all of it in one error: a store
    with half of the files would answer, and nobody would notice what is missing. What fails later, when the service
    parses a file, fails for that file alone and is in the report.

    You can repeat the call. A file that is in the store already, with the same name and content, is not sent again,
    from whichever kernel it came; a new version of it takes the place of the old one. If you interrupt it or the
    deadline passes, the same call goes on where it stopped.

    Args:
        client: what ``connect()`` returned.
        store: a vector store, or its id.
        paths: the files, up to 2,000, each at most 512 MB, of a type in ``SEARCHABLE_TYPES``.
        attributes: what a search can filter by: a mapping for all files; ``{file name: mapping}``; or a function that
            gets the path and returns a mapping. At most 14 keys of 64 characters; values are numbers, booleans or
            texts of at most 256 characters.
        chunking_strategy: how the files are cut, such as ``{"type": "static", "static": {"max_chunk_size_tokens": 400,
            "chunk_overlap_tokens": 200}}``; without one, the service's default (800 tokens, 400 of them overlapping).
        deadline_s: give up waiting after so many seconds; a request that is under way is let finish.
        expires_after_days: the uploaded files delete themselves after this time, from one hour (1/24) to 30 days.
        show: whether to show the progress.

    Returns:
        A report with a row for each file. Look at ``report.failed``.

    Raises:
        ConfigurationError: something cannot be uploaded; nothing was.
        UploadUnfinished: the deadline passed, or the API could not be asked any more.
        WorkshopError: there is no such store, or it has expired.
        Stopped: you interrupted the cell.

    Example:
        ::

            report = upload_files(client, store, ["data/gpt2/overview.md", "data/gpt2/plain_c.md"])
            report.ready[0].file_id
    """
    if not isinstance(client, openai.OpenAI):
        raise ConfigurationError(
            "upload_files needs a synchronous client. Use the one that connect() returns without asynchronous=True."
        )
    store_id = _store_id(store)
    chunking = _checked_chunking(chunking_strategy)
    expires_s = _checked_expiry(expires_after_days)
    if isinstance(deadline_s, bool) or not isinstance(deadline_s, int | float) or not deadline_s > 0:
        raise ConfigurationError("deadline_s must be a number of seconds above 0, such as 300.")
    rows = _checked_files(paths)
    wanted = _checked_attributes(attributes, rows)
    found = _store(client, store_id)
    report = UploadReport(rows, store_id, found.name or "", where_files_go(client, expires_after_days))
    upload = _Upload(client, report, wanted, chunking, expires_s, deadline_s, show)
    stopped = False
    try:
        upload.run()
    except KeyboardInterrupt:
        stopped = True
    if stopped:  # raised out here, so that it does not carry the stack of the place where it happened
        raise upload.stopped()
    return report


# -- what is refused --------------------------------------------------------------------------------------------------


def _store_id(store: object) -> str:
    if isinstance(store, VectorStore):
        return store.id
    if isinstance(store, str) and store.startswith("vs_"):
        return store
    raise ConfigurationError(
        f"The second argument must be a vector store or its id, not {plain(repr(store), 40)}. Make one with "
        "client.vector_stores.create(name=…)."
    )


def _store(client: openai.OpenAI, store_id: str) -> VectorStore:
    """Return the store as it is now.

    Raises:
        WorkshopError: there is none, or it has expired.
    """
    found: VectorStore | None = None
    failure = ""
    try:
        found = client.vector_stores.retrieve(store_id)
    except openai.APIError as error:
        failure = explain(error)
    if found is None:  # raised out here: the SDK's exception holds the request, and with it the key
        raise WorkshopError(failure)
    if found.status == "expired":
        raise WorkshopError("This vector store has expired. Run the cell that creates it again.")
    return found


def _checked_chunking(strategy: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if strategy is None:
        return None
    if not isinstance(strategy, Mapping) or strategy.get("type") not in ("auto", "static"):
        raise ConfigurationError(
            'chunking_strategy is a dict: {"type": "auto"}, or {"type": "static", "static": '
            '{"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}}.'
        )
    if strategy["type"] == "static":
        static = strategy.get("static")
        sizes = static if isinstance(static, Mapping) else {}
        size, overlap = sizes.get("max_chunk_size_tokens"), sizes.get("chunk_overlap_tokens")
        smallest, largest = _CHUNK_TOKENS
        if not isinstance(size, int) or not smallest <= size <= largest:
            raise ConfigurationError(f"max_chunk_size_tokens must be from {smallest} to {largest:,}.")
        if not isinstance(overlap, int) or not 0 <= overlap <= size // 2:
            raise ConfigurationError(
                f"chunk_overlap_tokens must be from 0 to half of the chunk size, here {size // 2}."
            )
    return dict(strategy)


def _checked_expiry(days: float) -> int:
    shortest, longest = _EXPIRES_S
    is_number = isinstance(days, int | float) and math.isfinite(days)
    seconds = round(days * 86_400) if is_number else 0
    if not shortest <= seconds <= longest:
        raise ConfigurationError("expires_after_days must be from 1/24 (one hour) to 30 days.")
    return seconds


def _checked_files(paths: object) -> list[UploadedFile]:
    """Return a row for each different file.

    Raises:
        ConfigurationError: lists everything in ``paths`` that file search cannot take.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    if not isinstance(paths, Iterable):
        raise ConfigurationError('paths is a list of files, such as ["data/gpt2/overview.md"].')
    listed = list(paths)
    if not listed:
        raise ConfigurationError("The list of files is empty, so there is nothing to upload. Name a file.")
    rows: dict[str, UploadedFile] = {}
    refusals: list[str] = []
    types_matter = False
    for item in listed:
        if not isinstance(item, str | Path):
            refusals.append(f"{plain(repr(item), 60)} is not a path.")
            continue
        # A wrong character in a path is an OSError or a ValueError (a null byte), depending on where it is noticed.
        try:
            path = Path(item).expanduser()
            status = path.stat()
            same = os.path.realpath(path)
        except (OSError, ValueError, RuntimeError) as error:
            refusals.append(_why_not_found(str(item), error))
            continue
        if same in rows:
            rows[same].note = "named twice, uploaded once"
            continue
        refusal, of_type = _refusal(path, status)
        if refusal:
            refusals.append(refusal)
            types_matter = types_matter or of_type
        else:
            rows[same] = UploadedFile(path, path.name, status.st_size)
    refusals += _same_names(rows.values())
    if len(rows) > _MOST_FILES:
        refusals.append(f"{len(rows):,} files are too many for one call; at most {_MOST_FILES:,} fit.")
    if refusals:
        raise ConfigurationError(_told(refusals, types_matter))
    return list(rows.values())


def _why_not_found(item: str, error: Exception) -> str:
    name = plain(item, 120)
    if item.startswith(("http://", "https://")):
        return f"{name} is an address: download it first, then name the file."
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        link = os.path.islink(item)
        return f"{name} is a link to nothing." if link else f"{name} does not exist here."
    if isinstance(error, PermissionError):
        return f"{name} cannot be read: permission denied."
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "not a path"
    return f"{name} cannot be opened: {reason.lower()}."


def _refusal(path: Path, status: os.stat_result) -> tuple[str, bool]:
    """Return why ``path`` cannot be uploaded (``""`` if it can), and whether it is for its type."""
    name = plain(str(path), 120)
    if stat.S_ISDIR(status.st_mode):
        return f"{name} is a folder. {_inside(path)}", False
    if not stat.S_ISREG(status.st_mode):
        return f"{name} is not an ordinary file.", False
    try:
        path.name.encode()
    except UnicodeEncodeError:
        return f"{name} has a name that is not valid text. Rename it.", False
    ending = path.suffix.lower()
    if ending in _TABLES:
        return (
            f"{name}: file search takes no tables. The code interpreter does: that is notebook 3.",
            False,
        )
    if ending not in SEARCHABLE_TYPES:
        of = f"files of type {ending}" if ending else "files without an ending"
        return f"{name}: file search takes no {of}.", True
    if status.st_size == 0:
        return f"{name} is empty.", False
    if status.st_size > _LARGEST_BYTES:
        return (
            f"{name} has {size_text(status.st_size)}; at most {size_text(_LARGEST_BYTES)} fit. Split it.",
            False,
        )
    if not os.access(path, os.R_OK):
        return f"{name} cannot be read: permission denied.", False
    return "", False


def _inside(folder: Path) -> str:
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in SEARCHABLE_TYPES)
    except OSError:
        names = []
    if not names:
        return "Name the files in it; none of them is of a type that file search takes."
    return f"Name the files in it: {_names(names)}."


def _same_names(rows: Iterable[UploadedFile]) -> list[str]:
    by_name: dict[str, list[UploadedFile]] = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    return [
        f"{len(group)} different files are named {plain(name, 80)}; citations show the name alone, so nobody could tell "
        "them apart. Rename one."
        for name, group in by_name.items()
        if len(group) > 1
    ]


def _told(refusals: list[str], types_matter: bool) -> str:
    more = [f"… and {len(refusals) - 20} more."] if len(refusals) > 20 else []
    shown = [f"  {refusal}" for refusal in [*refusals[:20], *more]]
    if types_matter:
        shown.append(f"File search takes {' '.join(SEARCHABLE_TYPES)}")
    return "\n".join(["Nothing was uploaded. Change the list of files:", *shown])


def _checked_attributes(
    attributes: Attributes | None, rows: Sequence[UploadedFile]
) -> list[dict[str, Value]]:
    """Return the attributes of each row, as they were asked for."""
    per_file: list[Mapping[str, Any]]
    if attributes is None:
        per_file = [{} for _ in rows]
    elif callable(attributes):
        per_file = [attributes(row.path) for row in rows]
    elif isinstance(attributes, Mapping):
        per_file = _attributes_by_name(attributes, rows)
    else:
        raise ConfigurationError("attributes is a dict, or a function that gets a path and returns a dict.")
    return [_checked_for_one(found, row.name) for found, row in zip(per_file, rows, strict=True)]


def _attributes_by_name(
    attributes: Mapping[str, Any], rows: Sequence[UploadedFile]
) -> list[Mapping[str, Any]]:
    nested = [key for key, value in attributes.items() if isinstance(value, Mapping)]
    if not nested:
        return [attributes for _ in rows]
    if len(nested) < len(attributes):
        raise ConfigurationError(
            "attributes is either one dict for all files or {file name: dict}; this one mixes the two."
        )
    names = {row.name for row in rows}
    unknown = [plain(key, 60) for key in nested if key not in names]
    if unknown:
        raise ConfigurationError(
            f"attributes names {_names(unknown)}, and there is no such file in the list ({_names(sorted(names))})."
        )
    return [attributes.get(row.name, {}) for row in rows]


def _checked_for_one(attributes: object, name: str) -> dict[str, Value]:
    file = plain(name, 60)
    if not isinstance(attributes, Mapping):
        raise ConfigurationError(f"The attributes of {file} must be a dict, not {type(attributes).__name__}.")
    own = [key for key in (_DIGEST, _SOURCE) if key in attributes]
    if own:
        raise ConfigurationError(
            f"The attribute {own[0]!r} of {file} is one that upload_files sets itself. Choose another name for it."
        )
    if len(attributes) > _MOST_ATTRIBUTES - 2:
        raise ConfigurationError(
            f"{file} has {len(attributes)} attributes; {_MOST_ATTRIBUTES} fit, and upload_files needs two of them."
        )
    for key, value in attributes.items():
        shown = plain(repr(key), 80)
        if not isinstance(key, str) or not 0 < len(key) <= _LONGEST_KEY:
            raise ConfigurationError(
                f"The attribute name {shown} of {file} must be a text of 1 to {_LONGEST_KEY} characters."
            )
        number = isinstance(value, int | float) and math.isfinite(value)
        text = isinstance(value, str) and len(value) <= _LONGEST_VALUE
        if not number and not text:
            raise ConfigurationError(
                f"The attribute {shown} of {file} must be a number, a boolean or a text of at most {_LONGEST_VALUE} "
                "characters."
            )
    return dict(attributes)


# -- doing it ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What a file is at one moment. Two equal stamps: it did not change in between."""

    size_bytes: int
    modified_ns: int
    digest: str

    @classmethod
    def of(cls, path: Path) -> _Stamp:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            return cls(status.st_size, status.st_mtime_ns, hashlib.file_digest(file, "sha256").hexdigest())


class _GivenUp(Exception):
    """Nothing more can be asked of the API; the text says why."""


class _Upload:
    """One call of ``upload_files``: what is there, what is under way, and until when."""

    def __init__(
        self,
        client: openai.OpenAI,
        report: UploadReport,
        wanted: Sequence[dict[str, Value]],
        chunking: dict[str, Any] | None,
        expires_s: int,
        deadline_s: float,
        show: bool,
    ) -> None:
        self._client = client
        self._report = report
        self._wanted = wanted
        self._chunking = chunking
        self._expires_s = expires_s
        self._deadline_s = deadline_s
        self._end_s = time.monotonic() + deadline_s
        self._progress = _Progress(report) if show else None
        self._there: dict[str, list[VectorStoreFile]] = {}
        self._older: dict[str, list[str]] = {}
        self._loose: str | None = None
        """A file that is uploaded and not in the store yet."""

    def run(self) -> None:
        """Upload what is missing and wait for the rest.

        Raises:
            UploadUnfinished: the deadline passed, or the API could not be asked.
        """
        given_up = ""
        try:
            self._draw()
            self._look_what_is_there()
            for row, wanted in zip(self._report.rows, self._wanted, strict=True):
                self._in_time()
                self._put(row, wanted)
            self._wait()
        except _GivenUp as reason:
            given_up = str(reason)
        finally:
            if self._progress is not None:
                self._progress.done()
        if given_up:
            raise UploadUnfinished(f"{given_up} {self._so_far()}", self._report)

    def stopped(self) -> Stopped:
        """Return what to raise for an interrupt, after an attempt to remove what hangs between."""
        extra = ""
        if self._loose is not None:
            try:
                self._drop()
            except _GivenUp:
                extra = f" The file {self._loose} could not be deleted; it expires by itself."
        return Stopped(f"You stopped the upload. {self._so_far()}{extra}")

    # -- what is there already

    def _look_what_is_there(self) -> None:
        found = self._ask(
            lambda: list(self._client.vector_stores.files.list(self._report.store_id, limit=100)),
        )
        for entry in found:
            attributes = entry.attributes or {}
            source = attributes.get(_SOURCE)
            # Both attributes: a file that somebody attached by hand, with a "source" of their own, is none of ours.
            if isinstance(source, str) and isinstance(attributes.get(_DIGEST), str):
                self._there.setdefault(source, []).append(entry)

    def _put(self, row: UploadedFile, wanted: dict[str, Value]) -> None:
        """Bring one file into the store, unless it is there."""
        try:
            stamp = _Stamp.of(row.path)
        except OSError as error:
            return self._fail(row, _why_not_found(str(row.path), error))
        row.size_bytes = stamp.size_bytes
        everything = {**wanted, _DIGEST: stamp.digest, _SOURCE: row.name}
        older = []
        for entry in self._there.get(row.name, []):
            usable = entry.status in ("completed", "in_progress") and self._cut_as_wanted(entry)
            if usable and (entry.attributes or {}).get(_DIGEST) == stamp.digest:
                return self._keep(row, entry, everything)
            if entry.status in ("failed", "cancelled"):
                self._remove(entry.id)
            else:
                older.append(entry.id)
        self._older[row.name] = older
        return self._send(row, stamp, everything)

    def _cut_as_wanted(self, entry: VectorStoreFile) -> bool:
        if self._chunking is None or self._chunking["type"] != "static":
            return True
        strategy = entry.chunking_strategy
        if strategy is None or strategy.type != "static":
            return False
        have = (strategy.static.max_chunk_size_tokens, strategy.static.chunk_overlap_tokens)
        static = self._chunking["static"]
        return have == (static["max_chunk_size_tokens"], static["chunk_overlap_tokens"])

    def _keep(self, row: UploadedFile, entry: VectorStoreFile, wanted: dict[str, Value]) -> None:
        row.file_id = entry.id
        row.note = "was there already"
        if entry.attributes != wanted:
            self._ask(
                lambda: self._client.vector_stores.files.update(
                    entry.id, vector_store_id=self._report.store_id, attributes=wanted
                )
            )
            row.note = "was there already; its attributes are new"
        self._saw(row, entry)

    # -- sending

    def _send(self, row: UploadedFile, stamp: _Stamp, attributes: dict[str, Value]) -> None:
        self._set(row, "uploading")
        error = None
        try:
            self._loose = self._upload(row)
        except openai.APIError as failure:
            error = _Refusal.of(failure)
        except OSError as failure:
            return self._fail(row, _why_not_found(str(row.path), failure))
        if self._changed(row.path, stamp):
            self._drop()
            return self._fail(row, "It changed while it was uploaded. Save it, and run the cell again.")
        if error is not None:
            return self._refused(row, error)
        row.file_id = self._loose
        try:
            entry = self._attach(attributes)
        except openai.APIError as failure:
            error = _Refusal.of(failure)
        if error is not None:
            row.file_id = None
            self._drop()
            return self._refused(row, error)
        self._loose = None
        self._saw(row, entry)
        return None

    def _upload(self, row: UploadedFile) -> str:
        with row.path.open("rb") as content:
            return self._client.files.create(
                file=(row.name, content),
                purpose="assistants",
                expires_after={"anchor": "created_at", "seconds": self._expires_s},
                timeout=self._request_timeout_s(),
            ).id

    def _attach(self, attributes: dict[str, Value]) -> VectorStoreFile:
        assert self._loose is not None
        chunking: Any = openai.omit if self._chunking is None else self._chunking
        return self._client.vector_stores.files.create(
            self._report.store_id,
            file_id=self._loose,
            attributes=attributes,
            chunking_strategy=chunking,
            timeout=self._request_timeout_s(),
        )

    def _changed(self, path: Path, stamp: _Stamp) -> bool:
        try:
            return _Stamp.of(path) != stamp
        except OSError:
            return True

    def _drop(self) -> None:
        """Delete the file that is uploaded and not known to be in the store."""
        if self._loose is not None:
            # Out of the store as well: the answer may have been lost, and not the request.
            self._remove(self._loose)
            self._loose = None

    def _remove(self, file_id: str, *, keep_file: bool = False) -> None:
        """Take a file out of the store, and delete it; what is gone already counts as done."""
        store_id = self._report.store_id
        self._ask(
            lambda: self._client.vector_stores.files.delete(file_id, vector_store_id=store_id), gone=True
        )
        if not keep_file:
            self._ask(lambda: self._client.files.delete(file_id), gone=True)

    # -- waiting

    def _wait(self) -> None:
        """Look at each file that is being parsed, as often as the server suggests, until none is left."""
        while True:
            pending = [row for row in self._report.rows if row.status == "parsing"]
            if not pending:
                return
            wait_s = _LONGEST_POLL_S
            for row in pending:
                self._in_time()
                wait_s = min(wait_s, self._look(row))
            if any(row.status == "parsing" for row in pending):
                left_s = self._end_s - time.monotonic()
                time.sleep(max(0.0, min(max(wait_s, _SHORTEST_POLL_S), left_s)))

    def _look(self, row: UploadedFile) -> float:
        """Look at one file; return how many seconds to wait before the next look."""
        assert row.file_id is not None
        file_id = row.file_id
        raw = self._ask(
            lambda: self._client.vector_stores.files.with_raw_response.retrieve(
                file_id, vector_store_id=self._report.store_id, timeout=self._request_timeout_s()
            ),
            gone=True,
        )
        if raw is None:
            self._fail(row, "It is not in the store any more: somebody removed it, or the store is gone.")
            return _LONGEST_POLL_S
        self._saw(row, raw.parse())
        hint = raw.headers.get("openai-poll-after-ms", "")
        return int(hint) / 1000 if hint.isdecimal() and len(hint) < 10 else _DEFAULT_POLL_S

    def _saw(self, row: UploadedFile, entry: VectorStoreFile) -> None:
        """Note what the API says about a file in the store."""
        if entry.status == "completed":
            self._replace_older(row)
            self._set(row, "ready")
        elif entry.status == "in_progress":
            self._set(row, "parsing")
        else:
            self._fail(row, _plain_failure(entry, recorded=is_recorded(self._client)))

    def _replace_older(self, row: UploadedFile) -> None:
        # Out of the store, so that no search finds the old text; the file itself may be in use in another store.
        for file_id in self._older.pop(row.name, []):
            self._remove(file_id, keep_file=True)
            row.note = "takes the place of the version that was there"

    # -- failing

    def _ask(self, question: Callable[[], Any], *, gone: bool = False) -> Any:
        """Return what the API answers; ``None`` if it says that the thing is not there and ``gone`` allows it.

        Raises:
            _GivenUp: it could not be asked, or did not want to.
        """
        reason = ""
        try:
            return question()
        except openai.NotFoundError as error:
            reason = explain(error)
            if gone:
                return None
        except openai.APIError as error:
            reason = explain(error)
        raise _GivenUp(reason)

    def _refused(self, row: UploadedFile, error: _Refusal) -> None:
        """Fail the file if the error is about it; give up if every other file would fare the same."""
        if error.is_about_the_file:
            return self._fail(row, error.reason)
        row.status = "waiting"
        raise _GivenUp(error.reason)

    def _fail(self, row: UploadedFile, why: str) -> None:
        row.note = why
        self._set(row, "failed")

    def _set(self, row: UploadedFile, status: Status) -> None:
        if row.status != status:
            row.status = status
            self._draw(row)

    def _draw(self, row: UploadedFile | None = None) -> None:
        if self._progress is not None:
            self._progress.draw(row)

    # -- time

    def _in_time(self) -> None:
        if time.monotonic() >= self._end_s:
            raise _GivenUp(f"The files are not ready after {self._deadline_s:g} seconds.")

    def _request_timeout_s(self) -> float:
        return min(_LONGEST_REQUEST_S, max(1.0, self._end_s - time.monotonic()))

    def _so_far(self) -> str:
        groups: dict[str, list[str]] = {}
        words = {"waiting": "not uploaded", "uploading": "not uploaded", "parsing": "still being parsed"}
        for row in self._report.rows:
            groups.setdefault(words.get(row.status, row.status), []).append(row.name)
        order = ("ready", "still being parsed", "failed", "not uploaded")
        told = [f"{group}: {_names(groups[group])}" for group in order if group in groups]
        return f"{_capital('; '.join(told))}. Run the cell again to go on: what is there is not sent twice."


@dataclass(frozen=True, slots=True)
class _Refusal:
    """An error of the API in words, without the SDK's exception: that one holds the request, and with it the key."""

    reason: str
    is_about_the_file: bool

    @classmethod
    def of(cls, error: openai.APIError) -> _Refusal:
        status = error.status_code if isinstance(error, openai.APIStatusError) else 0
        return cls(explain(error), status in (400, 413, 415, 422))


def _plain_failure(entry: VectorStoreFile, *, recorded: bool) -> str:
    if entry.status == "cancelled":
        return "The parsing was cancelled."
    if entry.last_error is None:
        return "The service could not parse it and gave no reason."
    who = "The API inside this notebook" if recorded else "OpenAI"
    by_code = {
        "unsupported_file": "File search cannot read files of this kind.",
        "invalid_file": "It could not be read: it may be damaged, encrypted, or not what its ending says.",
        "server_error": f"{who} had a problem of its own. Run the cell again.",
    }
    words = by_code.get(entry.last_error.code, "The service could not parse it.")
    message = plain(entry.last_error.message, 200)
    return f"{words} The service says: {message}" if message else words


# -- showing it -------------------------------------------------------------------------------------------------------


class _Progress:
    """Shows how far each file is: one display that updates in place in a notebook, a line per change elsewhere."""

    def __init__(self, report: UploadReport) -> None:
        self._report = report
        self._renderer: Renderer = make_renderer()
        self._done = False
        self._block = None
        if self._renderer.mode == "markdown":
            self._block = self._renderer.block("upload", to_markdown=lambda _: self._markdown())
        else:
            self._line(report.where)

    def draw(self, row: UploadedFile | None) -> None:
        """Show the state; ``row`` is the file whose status is new."""
        if self._block is not None:
            self._block.update(self._text())
        elif row is not None:
            note = f" ({plain(row.note, 300)})" if row.note else ""
            self._line(f"{plain(row.name, 80)}: {row.status}{note}")

    def done(self) -> None:
        """Show the final state: a summary, since the report itself is the table."""
        self._done = True
        if self._block is not None:
            self._block.done(self._text())
        else:
            self._line(self._report.summary)

    def _line(self, text: str) -> None:
        self._renderer.show({"text/plain": text})

    def _text(self) -> str:
        return f"{self._report.where}\n{self._report.summary}" if self._done else repr(self._report)

    def _markdown(self) -> str:
        if not self._done:
            return self._report.to_markdown()
        return "\n\n".join(markdown_text(line, 1_000) for line in self._text().splitlines())


def _names(names: Sequence[str]) -> str:
    shown = [plain(name, 80) for name in names[:_NAMES_SHOWN]]
    if len(names) > _NAMES_SHOWN:
        return f"{', '.join(shown)} and {len(names) - _NAMES_SHOWN:,} more"
    return ", ".join(shown)


def _count(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
