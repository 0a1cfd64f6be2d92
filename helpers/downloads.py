"""Download what the code interpreter wrote: from its container into a folder of yours.

Here live ``download_files`` and its report, and what makes a name from the service safe to use on this computer. Not
here: showing code and images while they come (``code_interpreter.py``), and containers themselves (``containers.py``).
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

import openai

from helpers.connection import synchronous
from helpers.diagrams import plain
from helpers.errors import ConfigurationError, explain, explain_web_page, is_web_page, redact
from helpers.fields import at, list_at, text_at
from helpers.tables import Column, Table, size_text

__all__ = [
    "DownloadReport",
    "DownloadedFile",
    "GeneratedFile",
    "download_files",
    "files_made_in",
    "safe_name",
]

Status = Literal["saved", "already there", "failed"]

_LARGEST_BYTES: Final = 100_000_000
_PIECE_BYTES: Final = 1 << 16
_NAME_BYTES: Final = 120
_MOST_NUMBERS: Final = 1_000
_MOST_LISTED: Final = 200
_ATTEMPTS: Final = 3
_COLUMNS: Final = (Column("file"), Column("size", is_number=True), Column("saved as"), Column("note"))


# -- what comes out ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GeneratedFile:
    """A file that the code interpreter made, still in its container.

    Attributes:
        name: its name as the service gives it; not to be trusted as a path.
        file_id: its id in the container, such as ``"cfile_…"``.
        container_id: the container that it is in, such as ``"cntr_…"``.
    """

    name: str
    file_id: str
    container_id: str


@dataclass(slots=True)
class DownloadedFile:
    """What became of one file."""

    source: GeneratedFile
    """Where it came from."""
    status: Status = "failed"
    """``"saved"``, ``"already there"`` (the same content under that name) or ``"failed"``."""
    path: Path | None = None
    """Where it is on this computer; ``None`` if it is not."""
    size_bytes: int | None = None
    note: str = ""
    """Why it failed, or what else there is to know, such as under which other name it was saved."""

    @property
    def link(self) -> str:
        """The path as the target of a Markdown link, relative to the working directory; ``""`` without a path."""
        return quote(_shown_path(self.path), safe="/~") if self.path is not None else ""


@dataclass(repr=False)
class DownloadReport:
    """What ``download_files`` did, one row for each file; shows itself as a table.

    Attributes:
        rows: every file, in the order in which the answer cites them.
        folder: where they went.
        notes: what else there is to know, such as a container that could not be looked into.
    """

    rows: list[DownloadedFile]
    folder: Path
    notes: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[Path]:
        """The files that are on this computer now, whether they were saved or were there already."""
        return [row.path for row in self.rows if row.path is not None]

    @property
    def failed(self) -> list[DownloadedFile]:
        """The files that could not be downloaded; each one's ``note`` says why."""
        return [row for row in self.rows if row.status == "failed"]

    def path_of(self, file_id: str) -> Path | None:
        """Return where the file with this id is on this computer, or ``None``."""
        return next((row.path for row in self.rows if row.source.file_id == file_id), None)

    def table(self) -> Table:
        """Return the report as a table."""
        rows = tuple(
            (
                row.source.name or "(no name)",
                "" if row.size_bytes is None else size_text(row.size_bytes),
                "" if row.path is None else _shown_path(row.path),
                row.note or row.status,
            )
            for row in self.rows
        )
        return Table(_COLUMNS, rows, f"Files from the code interpreter, in {self.folder}", tuple(self.notes))

    def summary(self) -> str:
        """Return the report as lines of text, one for each file."""
        lines = []
        for row in self.rows:
            name = plain(row.source.name, 120) or "(no name)"
            if row.path is None:
                lines.append(f"{name}: {plain(row.note, 300)}")
            else:
                size = "" if row.size_bytes is None else f", {size_text(row.size_bytes)}"
                lines.append(f"{name} → {_shown_path(row.path)} ({plain(row.note or row.status, 300)}{size})")
        return "\n".join([*lines, *(plain(note, 300) for note in self.notes)])

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return repr(self.table()) if self.rows else "\n".join(["No files were made.", *self.notes])

    def _repr_html_(self) -> str | None:
        return self.table()._repr_html_() if self.rows else None

    def to_markdown(self) -> str:
        """Return the report as a Markdown table."""
        return self.table().to_markdown()


# -- which files ------------------------------------------------------------------------------------------------------


def files_made_in(source: Any) -> list[GeneratedFile]:
    """Return the files that the answer cites, each once, without asking the service.

    Args:
        source: a run, an event handler, a ``Response``, output items, or several of these.
    """
    found: dict[tuple[str, str], GeneratedFile] = {}
    for item in _items_of(source):
        for part in list_at(item, "content"):
            for annotation in list_at(part, "annotations"):
                if at(annotation, "type") != "container_file_citation":
                    continue
                made = GeneratedFile(
                    text_at(annotation, "filename"),
                    text_at(annotation, "file_id"),
                    text_at(annotation, "container_id"),
                )
                found.setdefault((made.container_id, made.file_id), made)
    return [made for made in found.values() if made.file_id and made.container_id]


def download_files(
    client: openai.OpenAI | openai.AsyncOpenAI,
    run_or_response: Any,
    folder: str | os.PathLike[str] = "downloads",
    *,
    overwrite: bool = False,
    limit_bytes: int = _LARGEST_BYTES,
) -> DownloadReport:
    """Download the files that the code interpreter made in a run.

    Do it right after the run: a container is gone 20 minutes after its last use, with everything in it. The files are
    those that the answer cites; where it cites none, those that the container lists as made by the assistant since
    the run began.

    A file keeps its name, without any folder in it. A file of yours with that name stays as it is: with the same
    content, the file counts as there already; with another one, the new file gets a number, and the report says so.

    Args:
        client: what ``connect()`` returned. An asynchronous one works too, without ``await``.
        run_or_response: a run, an event handler, a ``Response``, or several of them.
        folder: where to; it is made if it is not there. Nothing is ever written outside of it.
        overwrite: replace files of the same name.
        limit_bytes: a larger file is not downloaded (100 MB without it).

    Returns:
        A report with a row for each file; what failed has one sentence as its ``note``, and the others are there.

    Raises:
        ConfigurationError: the folder cannot be used, or the second argument is none of the above.

    Example:
        ::

            report = download_files(client, run)
            report.paths
    """
    _check_source(run_or_response)
    if isinstance(limit_bytes, bool) or not isinstance(limit_bytes, int) or limit_bytes <= 0:
        raise ConfigurationError("limit_bytes must be a number of bytes above 0, such as 100_000_000.")
    worker = synchronous(client)
    made = files_made_in(run_or_response)
    notes: list[str] = []
    cited = {file.container_id for file in made}
    since = _begin_of(run_or_response)
    for container_id in _containers_of(run_or_response):
        if container_id not in cited:
            listed, note = _listed(worker, container_id, since)
            made += listed
            notes += [note] if note else []
    report = DownloadReport([], Path(folder), notes)
    if made:
        _make_folder(report.folder)
    for file in made:
        report.rows.append(_download(worker, file, report.folder, overwrite, limit_bytes))
    return report


def _listed(client: openai.OpenAI, container_id: str, since: float) -> tuple[list[GeneratedFile], str]:
    """Return what the assistant made in a container since a moment (Unix seconds), and a note if that is not known."""
    found: list[GeneratedFile] = []
    try:
        for entry in client.containers.files.list(container_id, limit=100, order="asc"):
            # A server may leave things out, and this runs at the end of an answer, which must not be lost.
            if at(entry, "source") == "assistant" and (at(entry, "created_at") or 0) >= since:
                found.append(GeneratedFile(_base_name(text_at(entry, "path")), entry.id, container_id))
            if len(found) == _MOST_LISTED:
                return (
                    found,
                    f"The container {container_id} holds more files; these are the first {_MOST_LISTED}.",
                )
    except openai.APIError as error:
        return found, f"The container {container_id} could not be looked into: {_why(error, 'container')}"
    return found, ""


# -- one file ---------------------------------------------------------------------------------------------------------


def _download(
    client: openai.OpenAI, file: GeneratedFile, folder: Path, overwrite: bool, limit_bytes: int
) -> DownloadedFile:
    row = DownloadedFile(file)
    part: Path | None = None
    try:
        # In the same folder, so that giving it its name is one step: nobody ever sees half of a file under it.
        handle, part_name = tempfile.mkstemp(prefix="download-", suffix=".part", dir=folder)
        part = Path(part_name)
        with os.fdopen(handle, "wb") as out:
            row.note = _fetch(client, file, out, limit_bytes)
        if not row.note:
            row.size_bytes = part.stat().st_size
            _settle(part, folder, row, overwrite)
    except OSError as error:
        row.note = f"It could not be written: {redact(error.strerror or type(error).__name__)}."
    finally:
        if part is not None:
            with contextlib.suppress(OSError):  # gone: it has its name now
                part.unlink(missing_ok=True)
    return row


def _fetch(client: openai.OpenAI, file: GeneratedFile, out: Any, limit_bytes: int) -> str:
    """Write the content to ``out``; return why it failed, or ``""``."""
    import httpx2

    for _ in range(_ATTEMPTS):
        out.seek(0)
        out.truncate()
        try:
            return _copy(client, file, out, limit_bytes)
        except openai.APIError as error:
            return _why(error, "file")
        except httpx2.HTTPError:
            # Inside the body the SDK passes on what its HTTP library raises, and does not try again.
            continue
    return "The connection was lost in the middle of the file. Run the cell again."


def _copy(client: openai.OpenAI, file: GeneratedFile, out: Any, limit_bytes: int) -> str:
    received = 0
    with client.containers.files.content.with_streaming_response.retrieve(
        file.file_id, container_id=file.container_id
    ) as response:
        if is_web_page(response.headers) and not file.name.lower().endswith((".html", ".htm", ".xhtml")):
            return explain_web_page(response.status_code)
        for piece in response.iter_bytes(_PIECE_BYTES):
            received += len(piece)
            if received > limit_bytes:
                return (
                    f"It is larger than {size_text(limit_bytes)} and was not downloaded. "
                    "To get it all the same, raise limit_bytes."
                )
            out.write(piece)
    return ""


def _why(error: openai.APIError, what: Literal["file", "container"]) -> str:
    """Say why the service did not give a file or the list of a container, in one sentence or two."""
    status = error.status_code if isinstance(error, openai.APIStatusError) else 0
    if status in {404, 410} or (
        status == 400 and re.search(r"expired|container_id", str(error), re.IGNORECASE)
    ):
        again = "Ask again, so that it is made again, and download at once."
        if what == "file":
            return (
                "It is not there any more: a container is gone 20 minutes after its last use, with its files. "
                f"{again}"
            )
        return f"it has expired (20 minutes without use) or was deleted, and its files with it. {again}"
    return explain(error)


def _settle(part: Path, folder: Path, row: DownloadedFile, overwrite: bool) -> None:
    """Give a complete file its name, without touching one that is there unless ``overwrite`` says so."""
    name = safe_name(row.source.name)
    for number in range(1, _MOST_NUMBERS):
        target = folder / (name if number == 1 else _numbered(name, number))
        there = os.path.lexists(target)
        if there and target.is_file() and filecmp.cmp(part, target, shallow=False):
            row.status, row.path = "already there", target
            row.note = "" if number == 1 else f"already there, as {target.name}"
            return
        if there and overwrite and not target.is_dir():
            os.replace(part, target)  # a link with that name is replaced, not followed
            row.status, row.path = "saved", target
            row.note = f"took the place of the {name} that was there"
            return
        if not there and _claim(target):
            _move_onto_claim(part, target)
            row.status, row.path = "saved", target
            if number > 1:
                row.note = f"saved as {target.name}: another {name} is there already"
            elif name != row.source.name:
                row.note = "saved under a name that is safe here"
            return
    row.note = f"There are too many files named {name} already. Choose another folder."


def _claim(target: Path) -> bool:
    """Take a name for ourselves; ``False`` if somebody was faster."""
    try:
        target.open("xb").close()
    except FileExistsError:
        return False
    return True


def _move_onto_claim(part: Path, target: Path) -> None:
    try:
        os.replace(part, target)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):
        # mkstemp makes a file that only its owner reads; a download is an ordinary file.
        target.chmod(0o644)


# -- names ------------------------------------------------------------------------------------------------------------

_RESERVED: Final = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE)
_FORBIDDEN: Final = re.compile(r'[<>:"|?*\\/]')


def safe_name(name: str) -> str:
    """Return a file name that is harmless on every system, made of a name that a service sent.

    Only what stands behind the last ``/`` or ``\\`` counts. It never begins with a dot (a hidden file) or a dash (an
    option of a command), is never one of Windows' reserved names, and has at most 120 bytes with its ending.

    Example:
        >>> safe_name("../../.bashrc"), safe_name("CON.txt"), safe_name("loss curve.png")
        ('bashrc', '_CON.txt', 'loss curve.png')
    """
    name = unicodedata.normalize("NFC", _base_name(name).encode("utf-8", "replace").decode("utf-8"))
    # Controls, half characters, and the marks that make "gpj.exe" read as "exe.jpg".
    name = "".join(
        sign for sign in name if unicodedata.category(sign) not in {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}
    )
    name = " ".join(_FORBIDDEN.sub("_", name).split())
    name = name.lstrip(".-~ ").rstrip(". ")
    stem, dot, ending = name.rpartition(".")
    if not dot:
        stem, ending = name, ""
    ending = _cut(f".{ending}", 24) if ending else ""
    stem = _cut(stem, _NAME_BYTES - len(ending.encode()) - 1).rstrip(". ")
    name = f"{stem}{ending}".rstrip(". ") or "file"
    return f"_{name}" if _RESERVED.fullmatch(name.partition(".")[0].strip()) else name


def _base_name(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _cut(text: str, size_bytes: int) -> str:
    return text.encode()[:size_bytes].decode(errors="ignore")


def _numbered(name: str, number: int) -> str:
    stem, dot, ending = name.rpartition(".")
    return f"{stem}-{number}.{ending}" if dot and stem else f"{name}-{number}"


def _shown_path(path: Path | None) -> str:
    """Return the path relative to the working directory if it is inside of it, with forward slashes."""
    if path is None:
        return ""
    with contextlib.suppress(ValueError, OSError):
        return path.resolve().relative_to(Path.cwd().resolve()).as_posix()
    return path.as_posix()


def _make_folder(folder: Path) -> None:
    reason = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
    if reason:
        raise ConfigurationError(f"The folder {folder} cannot be used: {reason}. Choose another one.")


# -- reading runs, responses and items --------------------------------------------------------------------------------


def _check_source(source: Any) -> None:
    things = list(source) if isinstance(source, list | tuple) else [source]
    for thing in things:
        known = any(at(thing, name) is not None for name in ("handler", "output_items", "output", "type"))
        if not known or isinstance(thing, type):
            raise ConfigurationError(
                f"download_files takes a run or a response as its second argument, not a {type(thing).__name__}. "
                "Give it what stream_run(…).until_done() returned."
            )


def _items_of(source: Any) -> Iterator[Any]:
    for thing in source if isinstance(source, list | tuple) else [source]:
        handler = at(thing, "handler")
        items = at(thing if handler is None else handler, "output_items")
        if isinstance(items, list):
            yield from items
        elif isinstance(at(thing, "output"), list):
            yield from at(thing, "output")
        else:
            yield thing


def _containers_of(source: Any) -> list[str]:
    calls = (item for item in _items_of(source) if at(item, "type") == "code_interpreter_call")
    return [one for one in dict.fromkeys(text_at(call, "container_id") for call in calls) if one]


def _begin_of(source: Any) -> float:
    """Return when the run began, in Unix seconds by the service's clock; 0 if that is not known."""
    begins = []
    for thing in source if isinstance(source, list | tuple) else [source]:
        handler = at(thing, "handler")
        followed = thing if handler is None else handler
        begin = at(followed, "began_at")  # a CodeInterpreterHandler knows the first of several responses
        if begin is None:
            response = at(followed, "current_run")
            begin = at(thing if response is None else response, "created_at")
        begins.append(float(begin) if isinstance(begin, int | float) else 0.0)
    # The service counts in whole seconds.
    return float(int(min(begins, default=0.0)))
