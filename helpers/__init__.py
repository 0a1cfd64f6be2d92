"""What the notebooks import: connecting, assistants, event handlers, runs, traces, cleaning up.

Here are only the names; each one lives in the module that the table below says. They are loaded when they are first
used, so that ``import helpers`` costs next to nothing and touches no client, key or network.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from helpers.assistant import Assistant as Assistant
    from helpers.chat_widget import Chat as Chat
    from helpers.chat_widget import chat as chat
    from helpers.checks import check as check
    from helpers.code_interpreter import CodeInterpreterHandler as CodeInterpreterHandler
    from helpers.connection import connect as connect
    from helpers.connection import current_mode as current_mode
    from helpers.connection import run_summary as run_summary
    from helpers.containers import fresh_container as fresh_container
    from helpers.containers import session_price_usd as session_price_usd
    from helpers.containers import show_container as show_container
    from helpers.containers import what_is_visible_where as what_is_visible_where
    from helpers.downloads import DownloadReport as DownloadReport
    from helpers.downloads import download_files as download_files
    from helpers.errors import ConfigurationError as ConfigurationError
    from helpers.errors import RunFailed as RunFailed
    from helpers.errors import SpendLimitReached as SpendLimitReached
    from helpers.errors import Stopped as Stopped
    from helpers.errors import StreamInterrupted as StreamInterrupted
    from helpers.errors import WorkshopError as WorkshopError
    from helpers.errors import explain as explain
    from helpers.evaluation import compare as compare
    from helpers.evaluation import evaluate_answers as evaluate_answers
    from helpers.evaluation import evaluate_retrieval as evaluate_retrieval
    from helpers.evaluation import plot as plot
    from helpers.external import fetch_lecture as fetch_lecture
    from helpers.file_search import FileSearchHandler as FileSearchHandler
    from helpers.files import UploadReport as UploadReport
    from helpers.files import UploadUnfinished as UploadUnfinished
    from helpers.files import upload_files as upload_files
    from helpers.function_calling import FunctionCall as FunctionCall
    from helpers.function_calling import FunctionCallingHandler as FunctionCallingHandler
    from helpers.function_calling import ToolboxHandler as ToolboxHandler
    from helpers.functions import FunctionResult as FunctionResult
    from helpers.functions import FunctionRunner as FunctionRunner
    from helpers.functions import FunctionTool as FunctionTool
    from helpers.functions import function_tool as function_tool
    from helpers.gpt2 import count_parameters as count_parameters
    from helpers.gpt2 import training_cost as training_cost
    from helpers.handlers import EventHandler as EventHandler
    from helpers.handlers import TextHandler as TextHandler
    from helpers.ledger import cleanup as cleanup
    from helpers.ledger import ledger_of as ledger_of
    from helpers.models import default_model as default_model
    from helpers.models import model_table as model_table
    from helpers.questions import Question as Question
    from helpers.questions import load_questions as load_questions
    from helpers.run import AsyncRun as AsyncRun
    from helpers.run import Run as Run
    from helpers.run import repair_thread as repair_thread
    from helpers.run import stream_run as stream_run
    from helpers.trace import Trace as Trace
    from helpers.waiting import wait_for as wait_for
    from helpers.web_search import WebSearch as WebSearch
    from helpers.web_search import duckduckgo_search as duckduckgo_search
    from helpers.web_search import recorded_queries as recorded_queries

_HOMES = {
    "Assistant": "assistant",
    "AsyncRun": "run",
    "Chat": "chat_widget",
    "CodeInterpreterHandler": "code_interpreter",
    "ConfigurationError": "errors",
    "DownloadReport": "downloads",
    "EventHandler": "handlers",
    "FileSearchHandler": "file_search",
    "FunctionCall": "function_calling",
    "FunctionCallingHandler": "function_calling",
    "FunctionResult": "functions",
    "FunctionRunner": "functions",
    "FunctionTool": "functions",
    "Question": "questions",
    "Run": "run",
    "RunFailed": "errors",
    "SpendLimitReached": "errors",
    "Stopped": "errors",
    "StreamInterrupted": "errors",
    "TextHandler": "handlers",
    "ToolboxHandler": "function_calling",
    "Trace": "trace",
    "UploadReport": "files",
    "UploadUnfinished": "files",
    "WebSearch": "web_search",
    "WorkshopError": "errors",
    "chat": "chat_widget",
    "check": "checks",
    "cleanup": "ledger",
    "compare": "evaluation",
    "connect": "connection",
    "count_parameters": "gpt2",
    "current_mode": "connection",
    "default_model": "models",
    "download_files": "downloads",
    "duckduckgo_search": "web_search",
    "evaluate_answers": "evaluation",
    "evaluate_retrieval": "evaluation",
    "explain": "errors",
    "fetch_lecture": "external",
    "fresh_container": "containers",
    "function_tool": "functions",
    "ledger_of": "ledger",
    "load_questions": "questions",
    "model_table": "models",
    "plot": "evaluation",
    "recorded_queries": "web_search",
    "repair_thread": "run",
    "run_summary": "connection",
    "session_price_usd": "containers",
    "show_container": "containers",
    "stream_run": "run",
    "training_cost": "gpt2",
    "upload_files": "files",
    "wait_for": "waiting",
    "what_is_visible_where": "containers",
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
