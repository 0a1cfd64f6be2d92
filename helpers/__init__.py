"""What the notebooks import: connecting, assistants, event handlers, runs, traces, cleaning up.

Here are only the names; each one lives in the module that the table below says. They are loaded when they are first
used, so that ``import helpers`` costs next to nothing and touches no client, key or network.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helpers.assistant import Assistant as Assistant
    from helpers.checks import check as check
    from helpers.connection import connect as connect
    from helpers.connection import run_summary as run_summary
    from helpers.errors import ConfigurationError as ConfigurationError
    from helpers.errors import RunFailed as RunFailed
    from helpers.errors import SpendLimitReached as SpendLimitReached
    from helpers.errors import Stopped as Stopped
    from helpers.errors import StreamInterrupted as StreamInterrupted
    from helpers.errors import WorkshopError as WorkshopError
    from helpers.errors import explain as explain
    from helpers.handlers import EventHandler as EventHandler
    from helpers.handlers import TextHandler as TextHandler
    from helpers.ledger import cleanup as cleanup
    from helpers.ledger import ledger_of as ledger_of
    from helpers.models import default_model as default_model
    from helpers.models import model_table as model_table
    from helpers.run import AsyncRun as AsyncRun
    from helpers.run import Run as Run
    from helpers.run import stream_run as stream_run
    from helpers.run import wait_for as wait_for
    from helpers.trace import Trace as Trace

_HOMES = {
    "Assistant": "assistant",
    "AsyncRun": "run",
    "ConfigurationError": "errors",
    "EventHandler": "handlers",
    "Run": "run",
    "RunFailed": "errors",
    "SpendLimitReached": "errors",
    "Stopped": "errors",
    "StreamInterrupted": "errors",
    "TextHandler": "handlers",
    "Trace": "trace",
    "WorkshopError": "errors",
    "check": "checks",
    "cleanup": "ledger",
    "connect": "connection",
    "default_model": "models",
    "explain": "errors",
    "ledger_of": "ledger",
    "model_table": "models",
    "run_summary": "connection",
    "stream_run": "run",
    "wait_for": "run",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'helpers' has no attribute {name!r}. It has: {', '.join(__all__)}.")
    value = getattr(importlib.import_module(f"helpers.{_HOMES[name]}"), name)
    globals()[name] = value  # found once, then an ordinary attribute
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
