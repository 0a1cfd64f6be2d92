"""connect(): finds a key, chooses the mode, returns the client, and says in one line what it found.

Here live the search for a key, the choice between live, recorded and recording, and the making of the client. It is
the only front room that knows the local API. Not here: anything about what the client is used for.
"""

from __future__ import annotations

import os
import re
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, overload
from urllib.parse import urlsplit

import openai

from helpers.errors import ConfigurationError, explain, hide, install_plain_errors, redact
from helpers.journal import Journal, journal_folder
from helpers.ledger import THIS_PROCESS, Account, all_ledgers, ledger_for, register
from helpers.models import default_model, model_facts, shutdown_warning
from helpers.recording import Recorder
from helpers.shapes import Shapes
from helpers.traffic import AsyncWatchedClient, WatchedClient, Watcher

if TYPE_CHECKING:
    from helpers.local_api.captures import Captures

__all__ = ["connect", "current_mode", "run_summary"]

_MODES: Final = ("live", "recorded", "record")
_OPENAI_SERVER: Final = "https://api.openai.com/v1"
# A name that can never be looked up (RFC 2606), so that nothing recorded could reach a network even by accident.
_RECORDED_SERVER: Final = "https://recorded.invalid/v1"
_RECORDED_KEY: Final = "recorded-mode-needs-no-key"
_CHECK_TIMEOUT_S: Final = 10.0
_NO_KEY: Final = "no key found"
_journals: Final[dict[Path | None, Journal]] = {}
Mode = Literal["live", "recorded"]
_latest_mode: Mode | None = None
"""The mode of the last client that ``connect`` made in this process; ``None`` before the first."""


class _Watches(Protocol):
    """Whatever looks at a client's traffic."""

    def hooks(self) -> dict[str, list[Callable[..., Any]]]: ...
    def async_hooks(self) -> dict[str, list[Callable[..., Any]]]: ...


# By HTTP client, which is what the copies that with_options() makes of a client share.
_watchers: Final[weakref.WeakKeyDictionary[object, Sequence[_Watches]]] = weakref.WeakKeyDictionary()
# By file: a second connect() goes on in it.
_all_captures: Final[dict[Path, Captures]] = {}
_all_shapes: Final[dict[str, Shapes]] = {}


@dataclass(frozen=True)
class _Key:
    """A key and where it was found. Its ``repr`` never shows the value."""

    value: str
    found_in: str

    def __repr__(self) -> str:
        return f"<key from {self.found_in}>"


@overload
def connect(
    mode: str | None = None,
    limit_usd: float | None = None,
    *,
    ask: bool = False,
    asynchronous: Literal[False] = False,
) -> openai.OpenAI: ...
@overload
def connect(
    mode: str | None = None,
    limit_usd: float | None = None,
    *,
    ask: bool = False,
    asynchronous: Literal[True],
) -> openai.AsyncOpenAI: ...
def connect(
    mode: str | None = None,
    limit_usd: float | None = None,
    *,
    ask: bool = False,
    asynchronous: bool = False,
) -> openai.OpenAI | openai.AsyncOpenAI:
    """Return a client of the official SDK, live or recorded, and print one line about what was found.

    The key is looked for in this order: the environment variable ``OPENAI_API_KEY``, a file ``.env``, Colab's
    secrets, and, only with ``ask=True`` in a place where somebody can type, a prompt. Without a key the client
    answers from recordings in this process: no network, nothing is spent.

    Args:
        mode: ``"live"``, ``"recorded"``, or ``"record"``, which is live and writes what the model answers into a file
            (``WORKSHOP_RECORD_TO``, else one in ``data/recordings/captured/``); without one, ``WORKSHOP_API``, else
            whatever the key allows.
        limit_usd: in live mode, send no further model request once this many US dollars were spent since now. One
            answer that is under way is not cut off, so the last one can go over. It has no effect in recorded mode.
            Without it, ``WORKSHOP_LIMIT_USD``, which ``start.py run --limit`` sets.
        ask: whether to ask for a key when none is found.
        asynchronous: return an ``openai.AsyncOpenAI``.

    Raises:
        ConfigurationError: an unknown mode, ``"live"`` or ``"record"`` without a key, a key with characters that no key
            has, a limit that cannot be kept, or a file that cannot be recorded to.

    Example:
        >>> client = connect("recorded")  # doctest: +SKIP
        recorded · you asked for it, nothing will be spent · gpt-6-luna · openai 3.54.0
    """
    dotenv = _read_dotenv()
    hide(dotenv.get("OPENAI_API_KEY", ""))  # whoever reads the file finds it, in every mode
    for name in ("OPENAI_MODEL", "OPENAI_BASE_URL", "WORKSHOP_API"):
        if dotenv.get(name):
            os.environ.setdefault(name, dotenv[name])
    limit_usd = _checked_limit(limit_usd)
    wanted = _wanted_mode(mode)
    if wanted == "recorded":
        return _recorded(asynchronous, _why_recorded(mode, dotenv))
    key = _find_key(dotenv, ask=ask)
    if wanted in ("live", "record") and key is None:
        what = "Live mode" if wanted == "live" else "Recording"
        raise ConfigurationError(
            f"{what} needs a key and none was found. Put OPENAI_API_KEY in .env (or in Colab's secrets) and run this "
            "cell again, or use connect('recorded')."
        )
    if key is None:
        return _recorded(asynchronous, _NO_KEY)
    return _live(key, limit_usd, asynchronous, records=wanted == "record")


def current_mode() -> Mode:
    """Return the mode that this process works in, for functions which have no client.

    That is the mode of the last client that ``connect()`` made here. Before the first one it is what ``connect()``
    would choose without asking anybody, so Colab's secrets, which ask for access, are not looked at; a setting that
    ``connect()`` would refuse counts as recorded. Nothing is printed, changed or raised.
    """
    if _latest_mode is not None:
        return _latest_mode
    try:
        dotenv = _read_dotenv()
        # As in connect(), an empty variable of the environment is a decision and hides the one in .env.
        wanted = _wanted_mode(os.environ.get("WORKSHOP_API", dotenv.get("WORKSHOP_API", "")) or None)
        key = os.environ.get("OPENAI_API_KEY", "").strip() or dotenv.get("OPENAI_API_KEY", "")
        if key:
            _checked_key(key, "the environment or .env")
    except (ConfigurationError, OSError):
        return "recorded"
    return "live" if key and wanted != "recorded" else "recorded"


def _remember_mode(mode: Mode) -> None:
    global _latest_mode
    _latest_mode = mode


def _why_recorded(mode: str | None, dotenv: Mapping[str, str]) -> str:
    if mode is not None:
        return "you asked for it"
    has_key = os.environ.get("OPENAI_API_KEY", "").strip() or dotenv.get("OPENAI_API_KEY")
    return "WORKSHOP_API says so, your key is not used" if has_key else _NO_KEY


def _checked_limit(limit_usd: float | None) -> float | None:
    limit: object = limit_usd
    if limit_usd is None:
        text = os.environ.get("WORKSHOP_LIMIT_USD", "").strip()
        if not text:
            return None
        try:
            limit = float(text)
        except ValueError:
            limit = text
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < float("inf"):
        name = "WORKSHOP_LIMIT_USD" if limit_usd is None else "limit_usd"
        raise ConfigurationError(f"{name} must be a number of US dollars above 0, such as 0.50.")
    return float(limit)


def _wanted_mode(mode: str | None) -> str | None:
    source, value = (
        ("mode", mode) if mode is not None else ("WORKSHOP_API", os.environ.get("WORKSHOP_API", ""))
    )
    word = str(value).strip().lower()
    if not word and mode is None:
        return None
    if word == "local":
        raise ConfigurationError(
            "The local mode is not built yet. Use 'recorded' (no key needed) or 'live' (with a key)."
        )
    if word not in _MODES:
        raise ConfigurationError(f"Unknown {source} {value!r}. Use 'live', 'recorded' or 'record'.")
    return word


# -- the key --------------------------------------------------------------------------------------------------------


def _read_dotenv() -> Mapping[str, str]:
    """Return what the nearest ``.env`` says: in this folder, a folder above it, or the project's root."""
    from dotenv import dotenv_values

    here = Path.cwd()
    for folder in (here, *here.parents[:3], Path(__file__).resolve().parents[1]):
        path = folder / ".env"
        if path.is_file():
            try:
                values = dotenv_values(path, encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(
                    f"The file .env could not be read ({type(error).__name__}). Save it again as UTF-8 text."
                ) from None
            return {name: value.strip() for name, value in values.items() if value and value.strip()}
    return {}


def _find_key(dotenv: Mapping[str, str], *, ask: bool) -> _Key | None:
    places = (
        ("the environment", os.environ.get("OPENAI_API_KEY", "")),
        (".env", dotenv.get("OPENAI_API_KEY", "")),
    )
    for place, value in places:
        if value.strip():
            return _checked_key(value, place)
    value = _colab_secret()
    if value:
        return _checked_key(value, "Colab's secrets")
    if ask and _can_type():
        from getpass import getpass

        value = getpass("OpenAI API key (nothing is shown; leave it empty for recorded mode): ").strip()
        if value:
            return _checked_key(value, "what you typed")
    return None


def _checked_key(value: str, place: str) -> _Key:
    text = value.strip().strip("\"'“”‘’").strip()
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ConfigurationError(
            f"The key in {place} holds a space or a character that no key has. Copy it again, without quotes around it."
        )
    hide(text)
    return _Key(text, place)


def _colab_secret() -> str:
    """Return the Colab secret ``OPENAI_API_KEY``, or ``""`` outside Colab and where it cannot be read."""
    if "google.colab" not in sys.modules:
        return ""
    try:
        from google.colab import userdata

        return str(userdata.get("OPENAI_API_KEY") or "").strip()
    except Exception as error:  # noqa: BLE001 - not granted, not found, timed out: each version of Colab has its own
        print(
            f"Colab's secret OPENAI_API_KEY could not be read ({type(error).__name__}); going on without it."
        )
        return ""


def _can_type() -> bool:
    """Return whether somebody can answer a prompt: a notebook that allows input, or a terminal."""
    if os.environ.get("CI") or os.environ.get("PYTEST_CURRENT_TEST"):
        return False
    try:
        from IPython import get_ipython
    except ImportError:
        return sys.stdin.isatty()
    shell: Any = get_ipython()
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return sys.stdin.isatty()
    return bool(getattr(kernel, "_allow_stdin", False))


# -- the clients ----------------------------------------------------------------------------------------------------


def _recorded(asynchronous: bool, why: str) -> openai.OpenAI | openai.AsyncOpenAI:
    install_plain_errors()
    client = _recorded_client(asynchronous)
    _remember_mode("recorded")
    _say("recorded", f"{why}, nothing will be spent")
    if why == _NO_KEY:
        print("To go live: put OPENAI_API_KEY in .env (or in Colab's secrets) and run this cell again.")
    _check_model(synchronous(client))
    return client


def _recorded_client(asynchronous: bool) -> openai.OpenAI | openai.AsyncOpenAI:
    import httpx2

    from helpers import local_api

    try:
        api = local_api.shared()
    except (local_api.StateError, ValueError) as error:
        # Both come from the WORKSHOP_… variables that a person set, and say which one and why.
        raise ConfigurationError(str(error)) from None
    state = _kept_state()
    account = Account.of("recorded", state or THIS_PROCESS, _RECORDED_KEY)
    watcher = Watcher(ledger_for(account, _journal() if state else None))
    client: openai.OpenAI | openai.AsyncOpenAI
    # trust_env is off: a proxy of the environment has no part in what never leaves the process.
    if asynchronous:
        client = openai.AsyncOpenAI(
            api_key=_RECORDED_KEY,
            base_url=_RECORDED_SERVER,
            http_client=AsyncWatchedClient(
                watcher,
                _async_hooks([watcher, *_shapes()]),
                transport=api.async_transport(),
                trust_env=False,
            ),
        )
    else:
        client = openai.OpenAI(
            api_key=_RECORDED_KEY,
            base_url=_RECORDED_SERVER,
            http_client=httpx2.Client(
                transport=watcher.transport(api.transport()), event_hooks=_hooks(_shapes()), trust_env=False
            ),
        )
    register(client, account)
    return client


def _kept_state() -> str:
    """Return the file that keeps what recorded mode made; ``""`` if it is gone with this process."""
    value = os.environ.get("WORKSHOP_STATE", "").strip()
    return str(Path(value).expanduser().resolve()) if value else ""


def _journal() -> Journal:
    """Return the journal of this process for the folder that is set now."""
    folder = journal_folder()
    return _journals.setdefault(folder, Journal(folder))


def _live(
    key: _Key, limit_usd: float | None, asynchronous: bool, *, records: bool
) -> openai.OpenAI | openai.AsyncOpenAI:
    server = os.environ.get("OPENAI_BASE_URL", "").strip() or _OPENAI_SERVER
    host = urlsplit(server).hostname
    if not host:
        raise ConfigurationError(
            "OPENAI_BASE_URL is not an address. It looks like https://api.openai.com/v1."
        )
    facts = model_facts(default_model())
    if limit_usd is not None and (facts is None or facts.input_usd is None):
        raise ConfigurationError(
            f"The price of {default_model()} is not known here, so limit_usd could not be kept. Choose a model from "
            "helpers.model_table(), or leave limit_usd out."
        )
    account = Account.of("live", host, key.value)
    captures = _captures() if records else None
    watchers: list[_Watches] = [Watcher(ledger_for(account, _journal()), limit_usd), *_shapes()]
    if captures is not None:
        watchers.append(Recorder(captures))
    client = _live_client(key.value, server, watchers, asynchronous)
    install_plain_errors()
    register(client, account)
    _remember_mode("live")
    details = [f"key from {key.found_in}"]
    if host != urlsplit(_OPENAI_SERVER).hostname:
        details.append(f"server {host}")
    if limit_usd is not None:
        details.append(f"stops at ${limit_usd:.2f}")
    if captures is not None:
        details.append(f"writes to {_from_here(captures.path)}")
    _say("live" if captures is None else "recording", ", ".join(details))
    _check_model(synchronous(client))
    return client


def _live_client(
    key: str, server: str, watchers: Sequence[_Watches], asynchronous: bool
) -> openai.OpenAI | openai.AsyncOpenAI:
    # The SDK's own HTTP client, so that the environment's proxies and certificates keep working.
    watcher = next(each for each in watchers if isinstance(each, Watcher))
    client: openai.OpenAI | openai.AsyncOpenAI
    if asynchronous:
        client = openai.AsyncOpenAI(
            api_key=key,
            base_url=server,
            http_client=AsyncWatchedClient(watcher, _async_hooks(watchers)),
        )
    else:
        client = openai.OpenAI(
            api_key=key, base_url=server, http_client=WatchedClient(watcher, _hooks(watchers))
        )
    _watchers[client._client] = watchers
    return client


def _shapes() -> list[Shapes]:
    """Return what notes the shapes of answers, where somebody asked for it."""
    path = os.environ.get("WORKSHOP_SHAPES", "").strip()
    return [_all_shapes.setdefault(path, Shapes(Path(path)))] if path else []


def _hooks(watchers: Sequence[_Watches]) -> dict[str, list[Callable[..., Any]]]:
    return _together([watcher.hooks() for watcher in watchers])


def _async_hooks(watchers: Sequence[_Watches]) -> dict[str, list[Callable[..., Any]]]:
    return _together([watcher.async_hooks() for watcher in watchers])


def _together(hooks: Sequence[dict[str, list[Callable[..., Any]]]]) -> dict[str, list[Callable[..., Any]]]:
    """Return the hooks of all watchers, one after the other."""
    return {kind: [function for each in hooks for function in each[kind]] for kind in ("request", "response")}


def _captures() -> Captures:
    """Return what writes captured answers, to the file that was asked for; the same one as before if there is one."""
    from helpers import local_api
    from helpers.local_api.captures import CaptureError, Captures, default_path

    named = os.environ.get("WORKSHOP_RECORD_TO", "").strip()
    recordings = local_api.recordings_folder()
    # The second connect() of a session goes on in the first one's file, also where its name holds the time.
    running = [captures for captures in _all_captures.values() if not named]
    path = Path(named).expanduser() if named else default_path(recordings, os.environ)
    path = running[-1].path if running else path.absolute()
    if path not in _all_captures:
        try:
            _all_captures[path] = Captures(path, recordings, redact)
        except CaptureError as error:
            raise ConfigurationError(str(error)) from None
    return _all_captures[path]


def _from_here(path: Path) -> str:
    """Return a path as a person would type it: from where they are, if it is below."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def synchronous(client: openai.OpenAI | openai.AsyncOpenAI) -> openai.OpenAI:
    """Return ``client`` itself if it is synchronous, else a synchronous one for the same account.

    Raises:
        ConfigurationError: it is no client.
    """
    return client if isinstance(client, openai.OpenAI) else synchronous_twin(client)


def synchronous_twin(client: openai.AsyncOpenAI) -> openai.OpenAI:
    """Return a new synchronous client for the same account as ``client``."""
    twin = _twin(client, asynchronous=False)
    assert isinstance(twin, openai.OpenAI)
    return twin


def asynchronous(client: openai.OpenAI | openai.AsyncOpenAI) -> openai.AsyncOpenAI:
    """Return a new asynchronous client for the same account as ``client``, with its ledger and its spend limit.

    It is a new one even if ``client`` is asynchronous: the connections of such a client belong to the event loop that
    opened them. Close it on the loop that used it: ``async with asynchronous(client) as own: …``.

    Raises:
        ConfigurationError: it is no client.
    """
    twin = _twin(client, asynchronous=True)
    assert isinstance(twin, openai.AsyncOpenAI)
    return twin


def _twin(client: object, asynchronous: bool) -> openai.OpenAI | openai.AsyncOpenAI:
    if not isinstance(client, openai.OpenAI | openai.AsyncOpenAI):
        raise ConfigurationError(
            f"The first argument must be the client that connect() returned, not a {type(client).__name__}."
        )
    if str(client.base_url).startswith(_RECORDED_SERVER):
        return _recorded_client(asynchronous)
    host = urlsplit(str(client.base_url)).hostname or ""
    account = Account.of("live", host, client.api_key)
    # The same watchers, so that what both spend counts towards one limit, and both are recorded.
    watchers = _watchers.get(client._client) or [Watcher(ledger_for(account, _journal()))]
    made = _live_client(client.api_key, str(client.base_url), watchers, asynchronous)
    register(made, account)
    return made.with_options(
        organization=client.organization,
        project=client.project,
        timeout=client.timeout,
        max_retries=client.max_retries,
    )


# -- what is said ---------------------------------------------------------------------------------------------------


def _say(mode: str, found: str) -> None:
    print(redact(f"{mode} · {found} · {default_model()} · openai {openai.__version__}"))


def _check_model(client: openai.OpenAI) -> None:
    """Ask the server for the default model (free of charge), and warn in one line of whatever will not work."""
    model = default_model()
    announced = None
    try:
        found = client.with_options(timeout=_CHECK_TIMEOUT_S, max_retries=0).models.retrieve(model)
        announced = getattr(found, "shutdown_date", None)
    except openai.OpenAIError as error:
        retired = shutdown_warning(model)
        print(f"Warning: {retired or explain(error)}")
        return
    warning = shutdown_warning(model, announced)
    if warning:
        print(f"Warning: {warning}")


def run_summary() -> dict[str, Any]:
    """Return what this process used so far, for ``start.py run``.

    Returns:
        ``mode`` (``"live"``, ``"recorded"``, ``"live and recorded"`` or ``"none"``), ``responses``, ``tokens``,
        ``price_usd`` (``None`` if the price of some model is not known), ``estimated``, ``left`` (kind and id of all
        that is still in the accounts), and ``captures`` (``path``, ``recorded``, ``not_recorded`` and ``trouble`` of each
        file that was recorded to).
    """
    ledgers = all_ledgers()
    meters = [ledger.meter for ledger in ledgers.values()]
    return {
        "mode": " and ".join(sorted({account.mode for account in ledgers})) or "none",
        "responses": sum(meter.responses for meter in meters),
        "tokens": sum(meter.tokens for meter in meters),
        "price_usd": None
        if any(meter.unpriced for meter in meters)
        else sum(meter.price_usd for meter in meters),
        "estimated": any(meter.estimated for meter in meters),
        "left": [f"{entry.kind} {entry.id}" for ledger in ledgers.values() for entry in ledger.entries],
        "captures": [
            {
                "path": str(captures.path),
                "recorded": captures.recorded,
                "not_recorded": captures.not_recorded,
                "trouble": captures.trouble,
            }
            for captures in _all_captures.values()
        ],
    }
