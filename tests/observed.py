"""Each notebook run once with keys planted everywhere, and all that came of it: for the tests of clean-up and secrets.

The environment, ``.env`` and Colab's secrets each hold a key of their own; the state and the journal are kept on disk.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import nbformat

from tests import committed_outputs
from tests.committed_outputs import PROJECT

KEYS = {
    "environment": "sk-planted-in-the-environment-0123456789",
    ".env": "planted.in.dotenv.0123456789",  # nothing about it looks like a key
    "Colab": "sk-planted-in-colab-0123456789",
}

_BEFORE = """
import json, sys, types
import google.colab
from helpers import traffic
created = []
read_body = traffic.Watcher._read_body
def noting(self, response):
    if response.request.method == "POST":
        created.append(json.loads(response.content))
    return read_body(self, response)
traffic.Watcher._read_body = noting
"""
_BEFORE_CLEAN_UP = """
created += [container.to_dict() for container in client.containers.list()]
print(json.dumps([{name: one.get(name) for name in ("object", "id", "expires_at", "expires_after")} for one in created]))
"""
_AFTER = """
import os
from helpers.local_api import processes
below = processes.below(os.getpid())
print(json.dumps({
    "kinds": {kind: len(list(getattr(client, kind).list())) for kind in ("files", "vector_stores", "containers")},
    "processes": len(below),
    "folders": sorted(os.listdir(os.environ["TMPDIR"])),
}))
"""


@dataclasses.dataclass(frozen=True)
class Observed:
    """What one run of a notebook left behind.

    Attributes:
        created: the bodies of everything that was created, as the API answered.
        after: what the API says after clean-up, and the processes and temporary files that are still there.
        rows: how many rows each table of the API's state holds.
        texts: by name, everything that was written anywhere: outputs, exports, state, journal, log.
    """

    created: list[dict[str, Any]]
    after: dict[str, Any]
    rows: dict[str, int]
    texts: dict[str, bytes]


def project_with_dotenv(folder: Path, key: str) -> Path:
    """Make a folder that is the project for a notebook, except that its ``.env`` is another one."""
    project = folder / "project"
    (project / "notebooks").mkdir(parents=True)
    for name in ("helpers", "data"):
        (project / name).symlink_to(PROJECT / name)
    (project / ".env").write_text(f"OPENAI_API_KEY={key}\n", encoding="utf-8")
    return project


def colab(folder: Path, key: str) -> Path:
    """Make a stand-in for Colab's packages, with a secret, and return the folder to import it from."""
    package = folder / "colab" / "google" / "colab"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "userdata.py").write_text(f"def get(name): return {key!r}\n", encoding="utf-8")
    return folder / "colab"


@functools.cache
def observed(path: Path) -> Observed:
    """Run a notebook once, recorded, and return what it left; the second time, the same."""
    with tempfile.TemporaryDirectory(prefix="observed-") as name:
        folder = Path(name).resolve()
        return _observed(path, folder)


def _observed(path: Path, folder: Path) -> Observed:
    project = project_with_dotenv(folder, KEYS[".env"])
    temporary = folder / "tmp"
    temporary.mkdir()
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        cell.outputs = []  # what is searched is what this run writes
    (last,) = [place for place, cell in enumerate(cells) if cell.source.endswith("cleanup(client)")]
    code = nbformat.v4.new_code_cell
    cells = [
        cells[0],
        code(_BEFORE),
        *cells[1:last],
        code(_BEFORE_CLEAN_UP),
        cells[last],
        code(_AFTER),
    ]
    notebook.cells = cells
    ran = committed_outputs.run(
        notebook,
        folder=project / "notebooks",
        OPENAI_API_KEY=KEYS["environment"],
        WORKSHOP_STATE=str(folder / "state" / "state.sqlite3"),
        WORKSHOP_JOURNAL=str(folder / "journal"),
        PYTHONPATH=str(colab(folder, KEYS["Colab"])),
        PYTHONWARNINGS="ignore",
        TMPDIR=str(temporary),
    )
    texts = {"outputs": json.dumps(ran, ensure_ascii=False).encode()}
    for file in sorted(folder.rglob("*")):
        planted = file.name in (".env", "userdata.py") or "__pycache__" in file.parts
        if file.is_file() and not planted and "data" not in file.parts and "helpers" not in file.parts:
            texts[str(file.relative_to(folder))] = file.read_bytes()
    with sqlite3.connect(folder / "state" / "state.sqlite3") as state:
        names = [row[0] for row in state.execute("select name from sqlite_master where type = 'table'")]
        rows = {name: state.execute(f"select count(*) from {name}").fetchone()[0] for name in names}
        rows["conversations"] = state.execute(
            "select count(*) from conversations where not deleted"
        ).fetchone()[0]
    state.close()
    return Observed(_printed_json(ran.cells[-3]), _printed_json(ran.cells[-1]), rows, texts)


def _printed_json(cell: nbformat.NotebookNode) -> Any:
    """Return what a cell printed, as JSON. What it prints can arrive in several pieces."""
    return json.loads("".join(output.text for output in cell.outputs if output.get("name") == "stdout"))
