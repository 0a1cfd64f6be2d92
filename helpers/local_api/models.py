"""The models that this API has: those of ``data/models.json`` that are not shut down yet.

Here live the routes ``/models`` and ``/models/{id}`` and the facts that a request is checked against. Not here:
prices and replacements, which are for the front rooms.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from helpers.local_api.errors import APIError, shown

_FILE: Final = Path(__file__).resolve().parents[2] / "data" / "models.json"
# Families whose messages say whether they are the final answer (seen in real answers of gpt-5.5 and gpt-6-luna).
_WITH_PHASE: Final = ("gpt-5.5", "gpt-5.6", "gpt-6")


@dataclass(frozen=True, slots=True)
class Model:
    """What a request to a model is checked against."""

    id: str
    efforts: tuple[str, ...]
    """The reasoning efforts that it takes; empty for a model that does not reason."""
    shutdown_date: str | None

    @property
    def has_phase(self) -> bool:
        """Whether its messages carry ``phase``."""
        return self.id.startswith(_WITH_PHASE)

    @property
    def default_effort(self) -> str | None:
        """The effort when a request names none."""
        if not self.efforts:
            return None
        return "medium" if "medium" in self.efforts else self.efforts[0]


@functools.cache
def _catalogue() -> tuple[int, dict[str, Model]]:
    loaded = json.loads(_FILE.read_text(encoding="utf-8"))
    models = {
        row["id"]: Model(row["id"], tuple(row["efforts"]), row["shutdown_date"]) for row in loaded["models"]
    }
    checked = dt.datetime.fromisoformat(loaded["checked"]).replace(tzinfo=dt.UTC)
    return int(checked.timestamp()), models


class Models:
    """The models on a given day.

    Args:
        clock: gives the time in seconds since 1970; ``WORKSHOP_TODAY`` (YYYY-MM-DD) fixes the day instead.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    def _today(self) -> str:
        return os.environ.get("WORKSHOP_TODAY") or dt.datetime.fromtimestamp(self._clock(), dt.UTC).strftime(
            "%Y-%m-%d"
        )

    def _is_there(self, model: Model) -> bool:
        # Dates written YYYY-MM-DD compare as text.
        return model.shutdown_date is None or self._today() < model.shutdown_date

    def get(self, name: str) -> Model:
        """Return a model, or refuse with 404 ``model_not_found``: never heard of, or shut down."""
        model = _catalogue()[1].get(name)
        if model is None or not self._is_there(model):
            raise APIError(
                404,
                f"The model `{shown(name)}` does not exist or you do not have access to it.",
                param="model",
                code="model_not_found",
            )
        return model

    def body(self, name: str) -> dict[str, Any]:
        """Return a model as the API shows it.

        ``created`` is the day on which ``data/models.json`` was checked: when OpenAI made a model is not known here.
        """
        model = self.get(name)
        return {
            "id": model.id,
            "object": "model",
            "created": _catalogue()[0],
            "owned_by": "system",
            "shutdown_date": model.shutdown_date,
        }

    def list_body(self) -> dict[str, Any]:
        """Return all models that are there."""
        return {
            "object": "list",
            "data": [self.body(model.id) for model in _catalogue()[1].values() if self._is_there(model)],
        }
