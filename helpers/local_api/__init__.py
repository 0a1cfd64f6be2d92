"""You never need to read this: it is an OpenAI API inside your Python process, for learning without a key.

``LocalAPI`` puts its rooms together and hands out transports for the SDK's HTTP client; ``shared`` is the one that
``helpers.connect()`` uses. It is an API and not a tape: conversations, responses, streams and errors are really made
here; only what the model says comes from ``data/recordings``. No network, ever.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict

from helpers.local_api import (
    code_interpreter_tool,
    container_files,
    containers,
    files,
    function_calls,
    search,
    vector_store_files,
    vector_stores,
)
from helpers.local_api.app import App
from helpers.local_api.conversations import Conversations
from helpers.local_api.file_search_tool import FileSearch
from helpers.local_api.models import Models
from helpers.local_api.recorded_turns import RecordedTurns
from helpers.local_api.responses import Responses
from helpers.local_api.state import State, StateError
from helpers.local_api.transport import AsyncTransport, Transport, pause_for

if TYPE_CHECKING:
    import httpx2

    from helpers.local_api.recordings import Library
    from helpers.local_api.turns import TurnSource

__all__ = ["RECORDINGS", "LocalAPI", "StateError", "recordings_folder", "settings", "shared"]

RECORDINGS: Final = Path(__file__).resolve().parents[2] / "data" / "recordings"


class LocalAPI:
    """An OpenAI API in this process.

    Args:
        recordings: the folder of recordings, or a library that several APIs share; without one, ``data/recordings``.
        state: the file that keeps the state and that processes can share; without one, a temporary file that is gone
            with this object.
        strict: whether a question that is not recorded exactly is an error.
        pace: ``"human"`` to stream at the speed of a model; ``""`` for at once.
        clock: gives the time in seconds since 1970.
        source: plays the model; without one, the recordings do.
        kernels: makes the kernel that runs code in a folder; without one, the sandbox of this machine.
        first_number: from which to count ids, so that those of two APIs can differ.

    Raises:
        StateError: the state's file cannot be used.
        ValueError: an unknown pace.

    Example:
        >>> import httpx2, openai
        >>> api = LocalAPI()
        >>> client = openai.OpenAI(
        ...     api_key="any", base_url="https://recorded.invalid/v1", http_client=httpx2.Client(transport=api.transport())
        ... )
        >>> client.conversations.create().object
        'conversation'
        >>> client.close(); api.close()
    """

    def __init__(
        self,
        *,
        recordings: Path | Library | None = None,
        state: Path | None = None,
        strict: bool = False,
        pace: str = "",
        clock: Callable[[], float] = time.time,
        source: TurnSource | None = None,
        kernels: containers.KernelFactory = containers.sandbox,
        first_number: int = 1,
    ) -> None:
        self._pause_s = pause_for(pace)
        self._state = State(
            state,
            (
                *files.TABLES,
                *search.TABLES,
                *vector_store_files.TABLES,
                *vector_stores.TABLES,
                *containers.TABLES,
                *container_files.TABLES,
                *code_interpreter_tool.TABLES,
                *function_calls.TABLES,
            ),
            first_number=first_number,
        )
        models = Models(clock)
        uploads = files.Files(self._state, clock)
        contents = vector_store_files.VectorStoreFiles(self._state, uploads, clock)
        stores = vector_stores.VectorStores(self._state, contents, clock)
        file_search = FileSearch(stores)
        inside = container_files.ContainerFiles(self._state, uploads, clock)
        self._containers = containers.Containers(self._state, inside, clock, kernels)
        code = code_interpreter_tool.CodeInterpreter(self._state, self._containers)
        carried_over = function_calls.CarriedOver(self._state)
        turns = source or RecordedTurns(
            recordings or RECORDINGS, file_search, code, carried_over, strict=strict
        )
        self._responses = Responses(self._state, turns, models, clock, file_search, code, carried_over)
        self._app = App(Conversations(self._state, clock), self._responses, models)
        for room in (uploads, stores, contents, self._containers):
            room.add_to(self._app)

    def transport(self) -> httpx2.BaseTransport:
        """Return a transport for a ``httpx2.Client``."""
        return Transport(self._open_app, self._pause_s)

    def async_transport(self) -> httpx2.AsyncBaseTransport:
        """Return a transport for a ``httpx2.AsyncClient``."""
        return AsyncTransport(self._open_app, self._pause_s)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._state.closed

    def close(self) -> None:
        """Cancel what is being streamed, end all kernels and close the state; a temporary one is removed.

        Closing twice is fine.
        """
        if not self.closed:
            self._responses.cancel_all()
            self._containers.close()
            self._state.close()

    def _open_app(self) -> App:
        if self.closed:
            raise RuntimeError("This recorded API was closed. Run connect() again.")
        return self._app


_shared_lock: Final = threading.Lock()
_shared: tuple[int, LocalAPI] | None = None


def shared() -> LocalAPI:
    """Return the one of this process, made on first use.

    It follows ``WORKSHOP_RECORDINGS``, ``WORKSHOP_STATE``, ``WORKSHOP_STRICT`` and ``WORKSHOP_PACE`` as they are then.

    Raises:
        StateError: ``WORKSHOP_STATE`` names a file that cannot be used.
        ValueError: ``WORKSHOP_PACE`` is an unknown word.
    """
    global _shared
    with _shared_lock:
        # A forked child makes its own: it must not touch the parent's file.
        if _shared is None or _shared[0] != os.getpid() or _shared[1].closed:
            api = LocalAPI(state=_path_from("WORKSHOP_STATE"), **settings())
            _shared = (os.getpid(), api)
        return _shared[1]


def recordings_folder() -> Path:
    """Return the folder of the recordings: ``WORKSHOP_RECORDINGS``, else ``data/recordings``."""
    return _path_from("WORKSHOP_RECORDINGS") or RECORDINGS


class Settings(TypedDict):
    """What the environment says about how the model is played."""

    recordings: Path | None
    strict: bool
    pace: str


def settings() -> Settings:
    """Return what ``WORKSHOP_RECORDINGS``, ``WORKSHOP_STRICT`` and ``WORKSHOP_PACE`` say, for a :class:`LocalAPI`."""
    return {
        "recordings": _path_from("WORKSHOP_RECORDINGS"),
        "strict": os.environ.get("WORKSHOP_STRICT", "").strip() == "1",
        "pace": os.environ.get("WORKSHOP_PACE", "").strip(),
    }


def _path_from(variable: str) -> Path | None:
    value = os.environ.get(variable, "").strip()
    return Path(value).expanduser() if value else None
