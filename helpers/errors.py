"""One plain sentence for each thing that can go wrong, and what to do about it.

Here live the exceptions that the helpers raise, the translation of the SDK's errors into sentences, and the removal of
keys and other secrets from what is shown. Not here: retrying (``run.py``) and drawing (``rendering.py``).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import os
import re
import threading
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

import openai

__all__ = [
    "ArgumentsError",
    "ConfigurationError",
    "NotTheAPI",
    "RunFailed",
    "SpendLimitReached",
    "Stopped",
    "StreamInterrupted",
    "WorkshopError",
    "can_retry",
    "explain",
    "hide",
    "install_plain_errors",
    "redact",
    "retry_after_s",
    "what_it_is",
]

_KEY_LIKE: Final = re.compile(r"\bsk-[A-Za-z0-9_\-*.…]{3,}")
_SECRET_NAME: Final = re.compile(
    r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)$", re.IGNORECASE
)
_SHORTEST_SECRET: Final = 8
_BILLING_CODES: Final = frozenset(
    {
        "credit_balance_exhausted",
        "insufficient_quota",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
    }
)


class _Secrets:
    """What must not be shown: the values of this process that are secret by their names, and what was given to ``hide``.

    Reading the whole environment for every piece of text would cost more than the piece is worth, so the values are kept
    until the environment is another one. The comparison of two unchanged dicts takes microseconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[Any, Any] | None = None
        self._hidden: frozenset[str] = frozenset()
        self._marks: tuple[tuple[str, str], ...] = ()

    def hide(self, value: str) -> None:
        with self._lock:
            self._hidden |= {value}
            self._seen = None

    def marks(self) -> tuple[tuple[str, str], ...]:
        """Return each secret text and the mark that is shown instead, longest first."""
        # On CPython the variables lie in a dict that can be compared without decoding each of them.
        now = getattr(os.environ, "_data", os.environ)
        if self._seen is None or self._seen != now:
            with self._lock:
                seen = dict(now)
                self._marks = self._collect()
                self._seen = seen
        return self._marks

    def _collect(self) -> tuple[tuple[str, str], ...]:
        found = dict.fromkeys(self._hidden, "[key]")
        for name in list(os.environ):
            text = os.environ.get(name, "").strip()
            if len(text) >= _SHORTEST_SECRET and _SECRET_NAME.search(name):
                found.setdefault(text, "[key]" if name.upper() == "OPENAI_API_KEY" else "[secret]")
        for text, mark in list(found.items()):
            # The same text inside JSON, where line breaks and quotes are written in another way.
            for ascii_only in (True, False):
                found.setdefault(json.dumps(text, ensure_ascii=ascii_only)[1:-1], mark)
        return tuple(sorted(found.items(), key=lambda pair: -len(pair[0])))


_SECRETS: Final = _Secrets()


def redact(text: str) -> str:
    """Return ``text`` without keys and other secrets.

    Whatever starts with ``sk-``, the value of ``OPENAI_API_KEY`` and what was given to ``hide`` become ``[key]``. The
    value of every other environment variable whose name ends like a secret's (``…KEY``, ``…TOKEN``, ``…SECRET``,
    ``…PASSWORD``, ``…CREDENTIALS``) and that has at least 8 characters becomes ``[secret]``.

    Args:
        text: anything that is about to be shown, kept or sent.
    """
    for secret, mark in _SECRETS.marks():
        if secret in text:
            text = text.replace(secret, mark)
    return _KEY_LIKE.sub("[key]", text) if "sk-" in text else text


def hide(value: str) -> None:
    """Let ``redact`` take out a key that is not in the environment, such as the one in ``.env``.

    Args:
        value: the key. One with fewer than 8 characters is left alone: ordinary words would vanish with it.
    """
    text = value.strip()
    if len(text) >= _SHORTEST_SECRET:
        _SECRETS.hide(text)


class WorkshopError(Exception):
    """A problem told in one or two sentences: what happened, and what to do.

    In a notebook it shows as that sentence, without a stack of the helpers' internals.
    """

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))

    def _render_traceback_(self) -> list[str]:
        # IPython asks an exception for this before it draws a traceback of its own.
        return [f"{type(self).__name__}: {without_controls(str(self))}"]


class ConfigurationError(WorkshopError):
    """Something was set up in a way that cannot work (a bad value, an unknown mode, a missing file)."""


class ArgumentsError(WorkshopError):
    """The arguments of a function call do not fit the function; the text tells a model what to send instead."""


class RunFailed(WorkshopError):
    """The API ended a run with an error.

    Attributes:
        code: the API's code, such as ``"server_error"`` or ``"conversation_locked"``; ``None`` if it sent none.
        partial_text: the text that had arrived before the error; ``""`` if none had.
        response_id: the id of the failed response, if it got one.
        can_retry: whether the same request may work if it is sent again.
        retry_after_s: how many seconds the API asks to wait before that; ``None`` if it does not say.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        partial_text: str = "",
        response_id: str | None = None,
        can_retry: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.partial_text = partial_text
        self.response_id = response_id
        self.can_retry = can_retry
        self.retry_after_s = retry_after_s


class StreamInterrupted(RunFailed):
    """The stream stopped before the response was complete: the connection was cut or timed out."""


class Stopped(KeyboardInterrupt):
    """You stopped a run. Like every interrupt it ends the cell; what had arrived by then is kept.

    Attributes:
        partial_text: the text that had arrived; ``""`` if none had.
    """

    def __init__(self, message: str, *, partial_text: str = "") -> None:
        super().__init__(redact(message))
        self.partial_text = partial_text

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {without_controls(str(self))}"]


class SpendLimitReached(WorkshopError, openai.OpenAIError):
    """The limit given to ``connect(limit_usd=…)`` is used up; no further request was sent.

    It is an ``openai.OpenAIError`` as well, because the SDK passes those on as they are and does not retry.
    """


_CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def without_controls(text: str) -> str:
    """Return ``text`` with ``�`` for each character that a terminal obeys or that turns the direction of what follows."""
    return _CONTROLS.sub("\ufffd", text)


class NotTheAPI(WorkshopError, openai.APIError):
    """What arrived is no answer of the API: the sign-in page of a network, the page of a filter, or damaged JSON.

    It is an ``openai.APIError`` as well: the SDK passes it on as it is, and whoever expects the API to fail expects it.
    """

    def __init__(self, message: str) -> None:
        # Without the request, which holds the key.
        openai.APIError.__init__(self, redact(message), cast(Any, None), body=None)


def what_it_is(value: object) -> str:
    """Return a few words for a value that should have been something else, such as ``"the class Shout"``."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"the text {value[:30]!r}" if isinstance(value, str) else f"a {type(value).__name__}"


def explain(error: BaseException) -> str:
    """Say in one or two sentences what an error means and what to do.

    Args:
        error: an exception of the OpenAI SDK, of these helpers, or any other.

    Returns:
        Plain text without a key, a request or a stack.

    Example:
        >>> explain(WorkshopError("The name is empty. Give the assistant a name."))
        'The name is empty. Give the assistant a name.'
    """
    return without_controls(_explained(error))


def _explained(error: BaseException) -> str:
    if isinstance(error, WorkshopError | Stopped):
        return str(error)
    if isinstance(error, openai.APIStatusError):
        return redact(_explain_status(error))
    if isinstance(error, openai.APITimeoutError):
        return "OpenAI did not answer in time. Run the cell again; if it happens often, look at https://status.openai.com."
    if isinstance(error, openai.APIConnectionError):
        return redact(_explain_connection(error))
    if isinstance(error, openai.APIError):
        return redact(_in_band(error.code, str(error.message)))
    if isinstance(error, openai.OpenAIError) and "api_key" in str(error).lower():
        return "There is no API key. Put OPENAI_API_KEY in .env and run connect() again, or use connect('recorded')."
    if isinstance(error, KeyboardInterrupt):
        return "You stopped it. Nothing is broken: run the cell again when you like."
    return redact(f"{type(error).__name__}: {error}".strip().removesuffix(":"))


_PASSING_CODES: Final = frozenset(
    {"server_error", "server_is_overloaded", "rate_limit_exceeded", "slow_down"}
)
_PASSING_STATUS: Final = frozenset({408, 409, 429})


def can_retry(error: openai.APIError) -> bool:
    """Return whether the same request may work if it is sent again.

    Yes for a lost connection, a conflict, too many requests and a fault of the server; no for a billing limit, which
    has the same status as too many requests, and for whatever the server says not to send again.
    """
    if error.code in _BILLING_CODES or error.type == "insufficient_quota":
        return False
    if isinstance(error, openai.APIStatusError):
        hint = error.response.headers.get("x-should-retry")
        if hint in ("true", "false"):
            return hint == "true"
        return error.status_code in _PASSING_STATUS or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError) or error.code in _PASSING_CODES


def retry_after_s(error: openai.APIError) -> float | None:
    """Return how many seconds the server asks to wait; ``None`` if it says nothing that can be read.

    The headers ``retry-after-ms`` and ``retry-after`` are read, the latter in seconds or as a date (RFC 9110, 10.2.3).
    """
    if not isinstance(error, openai.APIStatusError):
        return None
    headers = error.response.headers
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with contextlib.suppress(TypeError, ValueError):
            seconds = float(headers.get(name, "")) * unit_s
            if 0 <= seconds < float("inf"):
                return seconds
    with contextlib.suppress(TypeError, ValueError):
        when = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, (when - dt.datetime.now(when.tzinfo)).total_seconds())
    return None


def _explain_status(error: openai.APIStatusError) -> str:
    if is_web_page(error.response.headers):
        return explain_web_page(error.status_code)
    code, message = error.code, _message_of(error)
    if message.startswith("No tool output found for function call"):
        return (
            f"{_sentence(message)} The conversation waits for the result of a function that was never sent. Run "
            "helpers.repair_thread(client, thread) and ask again, or start a new conversation."
        )
    by_code: dict[str, str] = {
        "invalid_api_key": _WRONG_KEY,
        "model_not_found": (
            f"{_sentence(message)} Choose a model from helpers.model_table(), or unset OPENAI_MODEL."
        ),
        "conversation_locked": (
            "This conversation is still busy with another answer. Wait a moment and run the cell again, or start a "
            "new conversation."
        ),
        "context_length_exceeded": "The message is longer than the model can read. Shorten it, or split it up.",
        "string_above_max_length": f"{_sentence(message)} Shorten the text.",
        "not_built_yet": _sentence(message),
        "workshop_strict": _sentence(message),
    }
    if code in by_code:
        return by_code[code]
    if code in _BILLING_CODES or error.type == "insufficient_quota":
        return (
            "The account behind this key has no credit left or has reached its spending limit; trying again will not "
            "help. Add credit at https://platform.openai.com/settings/organization/billing, or use connect('recorded')."
        )
    by_status: dict[int, str] = {
        401: _WRONG_KEY,
        403: f"OpenAI refused this key: {_sentence(message)} Check the project's permissions and your region.",
        404: f"{_sentence(message)} It may have been deleted or may have expired: run the cell that creates it again.",
        409: "Two requests changed the same thing at once. Run the cell again.",
        413: "The request is too large for the API. Send less text, or a smaller file.",
        429: f"OpenAI is receiving too many requests from this account. {_when_again(error)}",
        501: _sentence(message),
    }
    if error.status_code in by_status:
        return by_status[error.status_code]
    if error.status_code >= 500:
        return f"OpenAI had a problem of its own (status {error.status_code}). Wait a minute and run the cell again."
    return f"The API refused the request: {_sentence(message)}"


def _when_again(error: openai.APIStatusError) -> str:
    wait_s = retry_after_s(error) or 0.0
    if wait_s <= 90:
        return "Wait a minute and run the cell again."
    minutes = math.ceil(wait_s / 60)
    shown = f"{minutes} minutes" if minutes < 120 else f"{math.ceil(minutes / 60)} hours"
    return f"It asks to wait {shown}: run the cell again then."


_WRONG_KEY: Final = (
    "OpenAI does not accept this key (it is wrong, or was revoked). Make a new one at "
    "https://platform.openai.com/api-keys and put it in .env, or use connect('recorded')."
)


def is_web_page(headers: Mapping[str, str]) -> bool:
    """Return whether an answer with these headers is meant for a browser, which no answer of the API is."""
    return headers.get("content-type", "").lower().startswith(("text/html", "application/xhtml"))


def explain_web_page(status: int) -> str:
    """Say what it means that a web page came in place of an answer of the API.

    Args:
        status: the HTTP status that came with it.
    """
    if status >= 500:
        return (
            f"OpenAI, or a proxy on the way to it, had a problem of its own (status {status}). Wait a minute and run the "
            "cell again."
        )
    return (
        "A web page came in place of the API's answer: the sign-in page of a network, or a proxy or filter that does not "
        "let the request through. Open a browser and look, or go on without the network: connect('recorded')."
    )


def _explain_connection(error: openai.APIConnectionError) -> str:
    # The text of the underlying error tells a proxy from a certificate from no network at all.
    causes: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < 6:
        causes.append(f"{type(cause).__name__} {cause}".lower())
        cause = cause.__cause__ or cause.__context__
    text = " ".join(causes)
    if "certificate" in text or "ssl" in text:
        return (
            "The secure connection to OpenAI could not be checked: something on the way (often a company's TLS "
            "inspection) shows its own certificate. Point SSL_CERT_FILE at your company's certificate bundle, or use "
            "connect('recorded'). `python start.py doctor` says more."
        )
    if "proxy" in text:
        return (
            "The proxy did not let the request through. Check HTTPS_PROXY and NO_PROXY, or use connect('recorded'). "
            "`python start.py doctor` says more."
        )
    return (
        "There is no connection to OpenAI. Check the network and run the cell again, or go on without one: "
        "connect('recorded')."
    )


def _in_band(code: str | None, message: str) -> str:
    """Explain an error that arrived inside a stream, where there is no status code."""
    if code in _BILLING_CODES:
        return (
            "The account behind this key has no credit left or has reached its spending limit; trying again will not "
            "help. Add credit at https://platform.openai.com/settings/organization/billing, or use connect('recorded')."
        )
    if code in {"server_error", "server_is_overloaded"}:
        return "OpenAI had a problem of its own in the middle of the answer. Run the cell again."
    if code in {"rate_limit_exceeded", "slow_down"}:
        return (
            "OpenAI is receiving too many requests from this account. Wait a minute and run the cell again."
        )
    return f"The API stopped the answer: {_sentence(message)}"


def _message_of(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        if isinstance(inner, dict) and isinstance(inner.get("message"), str):
            return str(inner["message"])
    return str(error.message)


def _sentence(text: str) -> str:
    """Make ``text`` one line that ends like a sentence."""
    text = " ".join(text.split())
    return text if not text or text[-1] in ".!?" else f"{text}."


def install_plain_errors() -> bool:
    """In a notebook, show an SDK error as one sentence and not as a stack of the SDK's internals.

    Returns:
        Whether there was an IPython shell to do it in. ``%tb`` is not affected in plain Python.
    """
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell: Any = get_ipython()
    if shell is None:
        return False

    def show(
        shell: Any, kind: type[BaseException], error: BaseException, trace: Any, tb_offset: Any = None
    ) -> Any:
        lines = [f"{kind.__name__}: {explain(error)}"]
        show_traceback: Callable[..., None] = shell._showtraceback
        show_traceback(kind, explain(error), lines)
        return lines

    shell.set_custom_exc((openai.OpenAIError,), show)
    return True
