"""The outputs that are committed with the notebooks: made by one clean recorded run, and compared with a fresh one.

    python -m tests.committed_outputs write [01 …]    run the notebooks and store their outputs
    python -m tests.committed_outputs check [01 …]    say where a fresh run differs

What differs from run to run by nature (times, durations, addresses in memory) is made equal before comparing; images
and drawings count by their presence and their alternative text.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

PROJECT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
DAY = "2026-11-23"
"""The day that the committed runs live in: shutdown dates of models count from it."""
PINNED_PYTHON = (3, 11)

_KEPT_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
_VARYING = (
    (re.compile(r"\b1[789]\d{8}(\.\d+)?\b"), "<time>"),
    (re.compile(r" *\b\d[\d,]*(\.\d+)? ?(ms|s)\b"), " <duration>"),
    (re.compile(r"(?<=recorded · )[^·]*(?=, nothing will be spent)"), "<why>"),
    (re.compile(r"^To go live: .*\n?", re.M), ""),
    (re.compile(r"0x[0-9a-f]{6,}"), "<address>"),
)


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a recorded kernel: no key, no network mode, one fixed day."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "WORKSHOP_"))
    }
    kept.pop("PYTEST_CURRENT_TEST", None)
    fixed = {
        "WORKSHOP_API": "recorded",
        "WORKSHOP_STRICT": "1",
        "WORKSHOP_TODAY": DAY,
        "WORKSHOP_DISPLAY": "markdown",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    return {**kept, **fixed, **changes}


def run(
    notebook: NotebookNode, *, folder: Path = PROJECT / "notebooks", allow_errors: bool = False, **env: str
) -> NotebookNode:
    """Run ``notebook`` from a fresh kernel in ``folder`` and return it with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed and ``allow_errors`` is false.
    """
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        allow_errors=allow_errors,
        shutdown_kernel="immediate",
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute(env=environment(**env))


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """Return ``notebook`` without what a run leaves in it beside the outputs."""
    notebook.metadata = NotebookNode(_KEPT_METADATA)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = NotebookNode({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            cell.outputs = _merged(cell.outputs)
    return notebook


def _merged(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join neighbouring pieces of one stream: how they were cut is a matter of timing."""
    merged: list[NotebookNode] = []
    for output in outputs:
        if (
            merged
            and output.output_type == "stream" == merged[-1].output_type
            and output.name == merged[-1].name
        ):
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def comparable(notebook: NotebookNode) -> list[str]:
    """Return the outputs as lines that are equal for two runs that show a person the same."""
    lines = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        lines.append(f"--- cell {cell.id} [{cell.execution_count}]")
        if "varies" in cell.metadata.get("tags", []):  # it describes the machine that it ran on
            lines.append(f"{len(_merged(cell.outputs))} outputs")
            continue
        for output in _merged(cell.outputs):
            lines += _output_lines(output)
    return lines


def _output_lines(output: NotebookNode) -> list[str]:
    if output.output_type == "stream":
        return [f"{output.name}: {line}" for line in _steady(output.text).splitlines()]
    if output.output_type == "error":
        return [f"error {output.ename}: {_steady(output.evalue)}"]
    lines = [f"{output.output_type}: {', '.join(sorted(output.data))}"]
    for kind, data in sorted(output.data.items()):
        if kind.startswith("text/"):
            text = data if isinstance(data, str) else "".join(data)
            lines += [f"  {kind}: {line}" for line in _steady(text).splitlines()]
    return lines


def _steady(text: str) -> str:
    for pattern, replacement in _VARYING:
        text = pattern.sub(replacement, text)
    return text


def differences(path: Path) -> list[str]:
    """Return the lines of a diff between the committed outputs of ``path`` and those of a fresh run."""
    committed = nbformat.read(path, as_version=4)
    fresh = run(nbformat.read(path, as_version=4))
    diff = difflib.unified_diff(
        comparable(committed), comparable(fresh), "committed", "fresh", n=1, lineterm=""
    )
    return list(diff)


def write(path: Path) -> None:
    """Run the notebook and store it with its outputs."""
    notebook = cleaned(run(nbformat.read(path, as_version=4)))
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def main(arguments: list[str]) -> int:
    """Do what the command line says and return its exit status."""
    if not arguments or arguments[0] not in ("write", "check"):
        print(__doc__)
        return 2
    wanted: list[Any] = [path for path in NOTEBOOKS if not arguments[1:] or path.name[:2] in arguments[1:]]
    status = 0
    for path in wanted:
        if arguments[0] == "write":
            write(path)
            print(f"{path.name}: written")
            continue
        found = differences(path)
        print("\n".join(found) if found else f"{path.name}: equal")
        status = status or int(bool(found))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
