"""A trace as a file: one JSON object in a line (JSONL), without keys, to keep, to compare or to load into a table.

Here live the fields of each line and the writing. Not here: what happened (``trace.py``).

The first line has ``"kind": "run"``: ``format`` (1), ``started_at`` (ISO 8601, UTC), ``assistant``, ``handler``, ``model``,
``status``, ``includes_text``, and with the text the ``question``.

Then comes a line for each step, in order. All of them have

==================  ==================================================================================================
``kind``            ``step``, or ``function`` for a function of yours that was called
``number``          counted from 1
``state``           see ``Step.state``
``what``            what happened, in words
``status``          see ``Step.status``
``response``        which response of the run it belongs to, from 1; ``null`` for what happened in your notebook
``response_id``     its id at the API; ``null`` likewise
``start_ms``        milliseconds from the start of the run
``duration_ms``     milliseconds; ``null`` if nobody watched
``price_usd``       US dollars; ``null`` if it has none
==================  ==================================================================================================

A ``function`` has ``name``, ``call_id``, ``outcome`` (see ``FunctionResult.status``), ``arguments_characters``,
``output_characters`` and ``output_shortened``. A ``step`` has those of ``name``, ``call_id``, ``error_code``, ``pieces``,
``characters``, ``citations``, ``queries``, ``passages``, ``images``, ``logs_characters`` and ``looks`` that are not empty; the one
that ends a response also has ``input_tokens``, ``cached_tokens``, ``output_tokens``, ``reasoning_tokens`` and
``total_tokens``. With the text, ``detail`` is there too.

The last line has ``"kind": "totals"``: the counts of steps, responses, functions and events, the tokens, the price, and
the times of all of them together.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from helpers.diagrams import plain
from helpers.errors import ConfigurationError, redact
from helpers.trace_rows import Row

__all__ = ["FORMAT", "rounded", "step_fields", "write_lines"]

FORMAT: Final = 1
_COUNTS: Final = {
    "name": "name",
    "call_id": "call_id",
    "code": "error_code",
    "pieces": "pieces",
    "characters": "characters",
    "citations": "citations",
    "queries": "queries",
    "passages": "passages",
    "images": "images",
    "logs": "logs_characters",
    "looks": "looks",
}


def step_fields(
    row: Row,
    *,
    number: int,
    what: str,
    status: str,
    duration_ms: float | None,
    price_usd: float | None,
    include_text: bool,
) -> dict[str, Any]:
    """Return the line of one step.

    Args:
        row: the step.
        number: counted from 1.
        what: what happened, in words.
        status: see ``Step.status``.
        duration_ms: milliseconds; ``None`` if nobody watched.
        price_usd: US dollars; ``None`` if it has none.
        include_text: whether ``detail`` is written.
    """
    record = row.record
    line: dict[str, Any] = {
        "kind": "function" if row.outcome else "step",
        "number": number,
        "state": row.state,
        "what": what,
        "status": status,
        "response": None if record is None else record.number,
        "response_id": None if record is None else plain(record.id, 100) or None,
        "start_ms": rounded(row.start, 3),
        "duration_ms": rounded(duration_ms, 3),
        "price_usd": rounded(price_usd, 9),
    }
    if row.outcome:
        line |= {
            "name": row.name,
            "call_id": row.call_id,
            "outcome": row.outcome,
            "arguments_characters": row.characters,
            "output_characters": row.output,
            "output_shortened": row.shortened,
        }
    else:
        # The words of a note or of a request are in ``what``, and name nothing.
        left_out = {"name"} if not row.is_item else set()
        line |= {
            name: value
            for field, name in _COUNTS.items()
            if (value := getattr(row, field)) and field not in left_out
        }
    if record is not None and record.end is row and record.usage is not None:
        names = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "total_tokens")
        line |= dict(zip(names, record.usage, strict=True))
    if include_text and row.detail:
        line["detail"] = row.detail
    return line


def rounded(value: float | None, digits: int) -> float | None:
    """Return a number with so many digits after the point, as it is written; ``None`` stays ``None``."""
    return None if value is None else round(value, digits)


def write_lines(path: str | Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    """Write ``lines`` to a JSONL file and return its path; the file is whole, or as it was before.

    Raises:
        ConfigurationError: another ending, a folder that does not exist, or a file that is no export of a trace.
    """
    path = Path(path)
    _refuse(path)
    text = "".join(f"{json.dumps(_without_keys(line), ensure_ascii=False)}\n" for line in lines)
    part = path.with_name(f".{path.name}.part")
    reason = ""
    try:
        # Written beside it and then renamed, so that a full disk does not cost the earlier export.
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        reason = error.strerror or type(error).__name__
    if reason:
        raise ConfigurationError(f"{path.name} could not be written ({reason}). Choose another place.")
    return path


def _refuse(path: Path) -> None:
    if path.suffix.lower() != ".jsonl":
        raise ConfigurationError(f"A trace is exported as .jsonl, not as {path.name!r}. Change the ending.")
    if not path.parent.is_dir():
        raise ConfigurationError(f"There is no folder {str(path.parent)!r}. Make it, or choose another one.")
    if path.is_dir():
        raise ConfigurationError(f"{path.name!r} is a folder. Choose another name.")
    if path.exists() and not _is_export(path):
        raise ConfigurationError(
            f"{path.name} is there already and is not an exported trace, so it was left as it is. Choose another name."
        )


def _is_export(path: Path) -> bool:
    """Whether the file holds nothing, or begins as an export does."""
    try:
        with path.open("rb") as file:
            first = file.readline(10_000)
    except OSError:
        return False
    if not first.strip():
        return path.stat().st_size == 0
    try:
        head = json.loads(first)
    except ValueError:
        return False
    return isinstance(head, dict) and head.get("kind") == "run" and "format" in head


def _without_keys(value: Any) -> Any:
    """Return ``value`` with every text in it redacted."""
    if isinstance(value, str):
        return redact(value)
    return (
        {name: _without_keys(inner) for name, inner in value.items()} if isinstance(value, Mapping) else value
    )
