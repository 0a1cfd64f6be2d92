"""What is known about models: names, prices, shutdown dates, and the default.

The facts are in ``data/models.json``, with their source and the day they were checked. Here is what reads them.
Not here: asking a server which models it has (``client.models``), and adding up a run (``trace.py``).
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from helpers.errors import ConfigurationError

__all__ = [
    "DATA_FOLDER",
    "ModelFacts",
    "ModelTable",
    "default_model",
    "model_facts",
    "model_table",
    "prices_checked_on",
    "shutdown_warning",
    "today",
    "token_price_usd",
]

DATA_FOLDER: Final = Path(__file__).resolve().parents[1] / "data"
_NEAR_DAYS: Final = 90


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The facts about one model.

    Prices are US dollars per one million tokens; ``None`` means that the source does not state them.
    """

    id: str
    input_usd: float | None
    cached_usd: float | None
    output_usd: float | None
    efforts: tuple[str, ...]
    """The reasoning efforts that it accepts; empty for a model that does not reason."""
    shutdown_date: dt.date | None
    replacement: str | None
    good_for: str


@functools.cache
def _catalogue() -> dict[str, Any]:
    path = DATA_FOLDER / "models.json"
    try:
        loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        loaded = {}
    if not loaded:
        raise ConfigurationError(
            "The folder data/ is not beside the folder helpers/. Get the whole repository: a copy of helpers/ alone "
            "is not enough."
        )
    return loaded


@functools.cache
def _facts() -> dict[str, ModelFacts]:
    found = {}
    for row in _catalogue()["models"]:
        date = row["shutdown_date"]
        found[row["id"]] = ModelFacts(
            id=row["id"],
            input_usd=row["input"],
            cached_usd=row["cached"],
            output_usd=row["output"],
            efforts=tuple(row["efforts"]),
            shutdown_date=dt.date.fromisoformat(date) if date else None,
            replacement=row["replacement"],
            good_for=row["good_for"],
        )
    return found


def today() -> dt.date:
    """Return the date that warnings go by: today in UTC, or ``WORKSHOP_TODAY`` (YYYY-MM-DD) in tests."""
    fixed = os.environ.get("WORKSHOP_TODAY")
    return dt.date.fromisoformat(fixed) if fixed else dt.datetime.now(dt.UTC).date()


def prices_checked_on() -> str:
    """Return the day (YYYY-MM-DD) on which the prices were last compared with their source."""
    return str(_catalogue()["checked"])


def default_model() -> str:
    """Return the model to use when a cell names none: ``OPENAI_MODEL``, else the workshop's default."""
    return os.environ.get("OPENAI_MODEL", "").strip() or str(_catalogue()["default"])


def model_facts(model: str) -> ModelFacts | None:
    """Return what is known about ``model``, or ``None`` for one that the table does not hold.

    A dated name such as ``gpt-4o-2024-08-06`` counts as its undated one.
    """
    facts = _facts()
    if model in facts:
        return facts[model]
    undated = [name for name in facts if model.startswith(f"{name}-20")]
    return facts[max(undated, key=len)] if undated else None


def shutdown_warning(model: str, shutdown_date: str | None = None) -> str | None:
    """Return one sentence if ``model`` is retired or about to be, else ``None``.

    Args:
        model: the model's name.
        shutdown_date: what the server says (``client.models.retrieve(model).shutdown_date``), which wins over
            the table; YYYY-MM-DD.
    """
    facts = model_facts(model)
    date = dt.date.fromisoformat(shutdown_date) if shutdown_date else (facts.shutdown_date if facts else None)
    if date is None or (date - today()).days > _NEAR_DAYS:
        return None
    instead = facts.replacement if facts and facts.replacement else str(_catalogue()["default"])
    when = f"was shut down on {date}" if date <= today() else f"will be shut down on {date}"
    return f"The model {model} {when}. Use {instead} instead (set OPENAI_MODEL)."


def token_price_usd(model: str, *, input_tokens: int, cached_tokens: int, output_tokens: int) -> float | None:
    """Return the price of a response's tokens in US dollars, or ``None`` if the model's price is not known.

    Formula: fresh input x input price + cached input x cached price + output x output price, each per one million
    tokens (https://developers.openai.com/api/docs/pricing). Where no cached price is stated, cached tokens count in
    full. Reasoning tokens are part of the output tokens.

    Args:
        model: the model's name.
        input_tokens: all input tokens, cached ones included.
        cached_tokens: how many of them came from the prompt cache.
        output_tokens: all output tokens.
    """
    facts = model_facts(model)
    if facts is None or facts.input_usd is None or facts.output_usd is None:
        return None
    cached_usd = facts.input_usd if facts.cached_usd is None else facts.cached_usd
    fresh = max(0, input_tokens - cached_tokens)
    return (
        fresh * facts.input_usd + cached_tokens * cached_usd + output_tokens * facts.output_usd
    ) / 1_000_000


def tool_price_usd(kind: str) -> float:
    """Return the price in US dollars of one unit of a hosted tool.

    Args:
        kind: ``"file_search_call"``, ``"container_session"`` or ``"vector_store_gb_day"``.

    Raises:
        KeyError: for any other word.
    """
    tools: Mapping[str, Mapping[str, float]] = _catalogue()["tools"]
    return float(tools[kind]["usd"])


class ModelTable:
    """A table of models, that shows itself as HTML in a notebook and as text elsewhere."""

    def __init__(self, rows: list[ModelFacts]) -> None:
        self.rows = rows

    def _cells(self) -> list[tuple[str, str, str, str, str, str]]:
        def usd(value: float | None) -> str:
            return "?" if value is None else f"{value:.2f}"

        return [
            (
                row.id,
                usd(row.input_usd),
                usd(row.output_usd),
                "yes" if row.efforts else "no",
                f"{row.shutdown_date} → {row.replacement}" if row.shutdown_date else "not announced",
                row.good_for,
            )
            for row in self.rows
        ]

    _HEAD = ("model", "$ in / 1M", "$ out / 1M", "reasons", "shutdown → replacement", "good for")

    def __repr__(self) -> str:
        rows = [self._HEAD, *self._cells()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self._HEAD))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:
        rows = [self._HEAD, tuple("---" for _ in self._HEAD), *self._cells()]
        return (
            "\n".join("| " + " | ".join(row) + " |" for row in rows)
            + f"\n\nPrices checked on {prices_checked_on()}."
        )


def model_table(include_retired: bool = False) -> ModelTable:
    """Return the models that the workshop knows, with prices and shutdown dates.

    Args:
        include_retired: also list those that are shut down already.
    """
    now = today()
    return ModelTable(
        [f for f in _facts().values() if include_retired or f.shutdown_date is None or f.shutdown_date > now]
    )
