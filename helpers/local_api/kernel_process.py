"""One kernel: its process, its private folder, its sockets.

Here lives everything between "start" and "it is gone, and nothing of it is left". The messages are those of Jupyter,
signed by ``jupyter_client``, over plain sockets: no event loop, so a notebook's own is not disturbed. Not here: what a
run of code is and what limits it has (``sandbox.py``).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from helpers.local_api import kernel_rules, processes
from helpers.local_api.bubblewrap import HOME, RUN, TEMPORARY, Bubblewrap, readable_paths
from helpers.local_api.folders import remove_folder

if TYPE_CHECKING:
    import zmq

_CHANNELS: Final = ("shell", "iopub", "stdin", "control", "hb")
_LARGEST_MESSAGE_BYTES: Final = 64 << 20
# The path of a socket may have 104 characters on macOS and 108 on Linux.
_LONGEST_PRIVATE_PATH: Final = 80
_SECONDS_TO_START: Final = 60.0
_SECONDS_BETWEEN_KNOCKS: Final = 0.02
_KEPT_BY_WINDOWS: Final = ("SYSTEMROOT", "SYSTEMDRIVE", "COMSPEC", "PATHEXT", "WINDIR")

Message = tuple[str, dict[str, Any]]


class KernelFailed(Exception):
    """The kernel did not start. Its text says why, as one sentence."""


class KernelProcess:
    """A running kernel.

    All methods but ``kill`` belong to one thread at a time.

    Args:
        folder: its working folder.
        settings: the limits, as ``kernel_guard.py`` reads them.
        bubblewrap: what shuts it in; ``None`` runs it beside this process.
        wanted: is asked while it starts; ``False`` gives up.

    Raises:
        KernelFailed: it does not start here.
    """

    def __init__(
        self,
        folder: Path,
        settings: dict[str, Any],
        bubblewrap: Bubblewrap | None,
        wanted: Callable[[], bool],
    ) -> None:
        import zmq
        from jupyter_client.session import Session

        self.private = _private_folder()
        self._process = None
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._context = zmq.Context()
        key = secrets.token_hex(32)
        # A session of its own: in a notebook the default settings are those of the notebook's kernel.
        self._session = Session(key=key.encode(), signature_scheme="hmac-sha256", username="code")
        try:
            inner_run, inner_home, inner_tmp = (
                (RUN, HOME, TEMPORARY)
                if bubblewrap
                else (str(self.private / "run"), str(self.private / "home"), str(self.private / "tmp"))
            )
            connection = _connection(inner_run, key)
            run = self.private / "run"
            (run / "connection.json").write_text(json.dumps(connection), encoding="utf-8")
            rules = _rules(folder, self.private, bubblewrap)
            settings = {
                **settings,
                "rules": rules,
                "connection_file": f"{inner_run}/connection.json",
                "pipe": f"{inner_run}/out",
            }
            (run / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
            shutil.copyfile(Path(__file__).with_name("kernel_guard.py"), run / "kernel_guard.py")
            _copy_font_list(self.private / "home")
            # -P: a file of the learner's that is called like a module must not replace it.
            program = [
                *(sys.executable, "-P", "-X", "frozen_modules=off"),
                *(f"{inner_run}/kernel_guard.py", f"{inner_run}/settings.json"),
            ]
            command = bubblewrap.command(folder, self.private, program) if bubblewrap else program
            self._process = processes.start(
                command,
                folder=folder,
                environment=_environment(inner_home, inner_tmp),
                errors=self.private / "errors.txt",
            )
            self._wait_until_it_listens(connection, wanted)
            self._connect(connection)
            self._wait_until_ready(wanted)
            self._own = len(processes.below(self._process.pid))
        except BaseException:
            self.close()
            raise

    def _connect(self, connection: dict[str, Any]) -> None:
        import zmq

        for name, kind in (("shell", zmq.DEALER), ("control", zmq.DEALER), ("iopub", zmq.SUB)):
            made = self._context.socket(kind)
            self._sockets[name] = made
            made.setsockopt(zmq.LINGER, 0)
            # Once only: code could put a link to somebody else's socket where this one was.
            made.setsockopt(zmq.RECONNECT_IVL, -1)
            # More than this no honest message has: the kernel cuts its own. Nothing larger is ever held here.
            made.setsockopt(zmq.MAXMSGSIZE, _LARGEST_MESSAGE_BYTES)
            if kind == zmq.SUB:
                made.setsockopt(zmq.SUBSCRIBE, b"")
            port = connection[f"{name}_port"]
            if connection["transport"] == "ipc":
                made.connect(f"ipc://{self.private / 'run'}/k-{port}")
            else:
                made.connect(f"tcp://127.0.0.1:{port}")

    def _wait_until_it_listens(self, connection: dict[str, Any], wanted: Callable[[], bool]) -> None:
        last = time.monotonic() + _SECONDS_TO_START
        for name in _CHANNELS:
            while not self._listens(connection, connection[f"{name}_port"]):
                self._check_the_start(last, wanted)
                time.sleep(_SECONDS_BETWEEN_KNOCKS)

    def _listens(self, connection: dict[str, Any], port: int) -> bool:
        """Knock once: without a listener a socket that connects only once would never be connected."""
        where: Any = ("127.0.0.1", port)
        family = socket.AF_INET
        if connection["transport"] == "ipc":
            where, family = f"{self.private / 'run'}/k-{port}", socket.AF_UNIX
        with socket.socket(family) as knocking, contextlib.suppress(OSError):
            knocking.settimeout(1)
            knocking.connect(where)
            return True
        return False

    def _check_the_start(self, last: float, wanted: Callable[[], bool]) -> None:
        if not wanted():
            raise KernelFailed("The container was closed while Python started.")
        if not self.alive():
            raise KernelFailed(f"Python did not start: {self._last_error()}")
        if time.monotonic() > last:
            raise KernelFailed("Python did not start within a minute; this machine may be too busy.")

    def _wait_until_ready(self, wanted: Callable[[], bool]) -> None:
        last = time.monotonic() + _SECONDS_TO_START
        answered = heard = False
        self.send("shell", "kernel_info_request", {})
        while not (answered and heard):
            # What was said on iopub before we were connected to it is lost, so the question is asked again.
            if answered:
                self.send("shell", "kernel_info_request", {})
            for channel, _ in self.messages(0.05):
                answered |= channel == "shell"
                heard |= channel == "iopub"
            self._check_the_start(last, wanted)

    def _last_error(self) -> str:
        text = (self.private / "errors.txt").read_text("utf-8", "replace").strip()
        return text.splitlines()[-1][:300] if text else "it ended at once and said nothing."

    def send(self, channel: str, kind: str, content: dict[str, Any]) -> str:
        """Send a message and return its id."""
        sent: dict[str, Any] = self._session.send(self._sockets[channel], kind, content) or {}
        return str(sent.get("header", {}).get("msg_id", ""))

    def messages(self, timeout_s: float) -> Iterator[Message]:
        """Yield the channel and the content of what has arrived; wait for the first one at most ``timeout_s``."""
        import zmq

        poller = zmq.Poller()
        for name in ("iopub", "shell", "control"):
            poller.register(self._sockets[name], zmq.POLLIN)
        ready = dict(poller.poll(int(timeout_s * 1000)))
        for name in ("iopub", "shell", "control"):
            if self._sockets[name] not in ready:
                continue
            # A bounded number, so that a flood of messages never keeps the caller from its clock.
            for _ in range(200):
                try:
                    _, message = self._session.recv(self._sockets[name])
                except (ValueError, TypeError, KeyError, RecursionError):
                    continue  # code in the sandbox can send nonsense on these sockets; nonsense is no output
                if message is None:
                    break
                yield name, message

    def interrupt(self) -> None:
        """Ask for a KeyboardInterrupt in the code. By message, as signals do not reach every namespace."""
        self.send("control", "interrupt_request", {})

    def alive(self) -> bool:
        """Tell whether it runs. No message says that a kernel was killed."""
        return self._process is not None and self._process.poll() is None

    def status(self) -> str:
        """Say how it ended."""
        code = self._process.poll() if self._process else None
        if code is None:
            return "no status"
        # bubblewrap reports a signal as 128 plus its number, as a shell does.
        number = -code if code < 0 else code - 128
        return f"signal {number}" if 0 < number < 65 else f"exit status {code}"

    def usage(self, many: int, much_bytes: int) -> tuple[int, int]:
        """Return how many processes the code has started, and the bytes of memory of all together.

        The memory is exact only where it may be more than ``much_bytes``; of more than ``many`` processes it is not
        looked at, because every moment counts then.
        """
        if self._process is None:
            return 0, 0
        found = processes.below(self._process.pid)
        number = max(0, len(found) - self._own)
        if number > many:
            return number, 0
        memory = processes.resident_bytes(found)
        return number, processes.fair_bytes(found) if memory > much_bytes else memory

    def hold(self) -> None:
        """Let everything that runs in it stand still until ``let_go``, where the system can do that."""
        if self._process is not None and self.alive():
            processes.hold(self._process.pid)

    def let_go(self) -> None:
        """Let what stands still go on."""
        if self._process is not None and self.alive():
            processes.let_go(self._process.pid)

    def kill(self) -> None:
        """End the process and everything that it started. May be called from any thread, more than once."""
        if self._process is not None:
            processes.end(self._process)

    def close(self) -> None:
        """End it and leave nothing: no process, no socket, no folder."""
        try:
            self.kill()
        finally:
            for made in self._sockets.values():
                made.close(linger=0)
            self._context.term()
            remove_folder(self.private)


def _private_folder() -> Path:
    base = tempfile.gettempdir()
    if os.name == "posix" and len(base) > _LONGEST_PRIVATE_PATH - 20:
        base = "/tmp"
    # Absolute and short: with a relative path the kernel and we would look for the sockets in different folders.
    private = Path(tempfile.mkdtemp(prefix="code-", dir=base)).resolve()
    for part in ("run", "home", "tmp"):
        (private / part).mkdir()
    return private


def _rules(folder: Path, private: Path, bubblewrap: Bubblewrap | None) -> kernel_rules.Rules:
    """Return what Linux is asked to refuse: with bubblewrap some system calls, without it files and the network too."""
    if sys.platform != "linux":
        return {}
    if bubblewrap:
        # There is no network to reach with these; the others are not kept apart by a namespace.
        families = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
        return kernel_rules.rules(readable=(), writable=(), families=families, spared=())
    return kernel_rules.rules(
        readable=(*readable_paths(), "/proc", "/dev/urandom", "/dev/random", "/dev/zero"),
        writable=(str(folder), *(str(private / part) for part in ("run", "home", "tmp")), "/dev/null"),
        families=(socket.AF_UNIX,),
        spared=(os.getpid(), -os.getpgrp()),
    )


def _connection(folder: str, key: str) -> dict[str, Any]:
    """Return what the kernel's connection file holds."""
    connection: dict[str, Any] = {"key": key, "signature_scheme": "hmac-sha256", "kernel_name": ""}
    if os.name == "posix":
        # Sockets in a folder, because TCP does not cross into a namespace without a network.
        ports = list(range(1, len(_CHANNELS) + 1))
        connection |= {"transport": "ipc", "ip": f"{folder}/k"}
    else:
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(socket.socket()) for _ in _CHANNELS]
            for one in held:
                one.bind(("127.0.0.1", 0))
            ports = [one.getsockname()[1] for one in held]
        connection |= {"transport": "tcp", "ip": "127.0.0.1"}
    return connection | {f"{name}_port": port for name, port in zip(_CHANNELS, ports, strict=True)}


def _environment(home: str, temporary: str) -> dict[str, str]:
    """Return all that the kernel's environment holds: nothing of this process's own, in which there may be a key."""
    environment = {
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.defpath]),
        "HOME": home,
        "TMPDIR": temporary,
        "LANG": "C.UTF-8",
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "IPYTHONDIR": f"{home}/ipython",
        "JUPYTER_CONFIG_DIR": f"{home}/jupyter",
        "JUPYTER_DATA_DIR": f"{home}/jupyter",
        "JUPYTER_RUNTIME_DIR": f"{home}/jupyter",
        "MPLCONFIGDIR": f"{home}/matplotlib",
        # Each thread of a numeric library reserves address space, which the limit on memory counts.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
    if os.name == "nt":
        environment |= {"TEMP": temporary, "TMP": temporary, "USERPROFILE": home}
        environment |= {name: os.environ[name] for name in _KEPT_BY_WINDOWS if name in os.environ}
    return environment


def _copy_font_list(home: Path) -> None:
    """Give the kernel the list of fonts that matplotlib made for this user, if it has: making one takes seconds."""
    (home / "matplotlib").mkdir()
    caches = [os.environ.get("MPLCONFIGDIR", ""), os.path.expanduser("~/.matplotlib")]
    caches.append(
        os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "matplotlib")
    )
    for cache in filter(None, caches):
        for path in Path(cache).glob("fontlist-*.json"):
            # Without the list the first plot takes longer, and that is all.
            with contextlib.suppress(OSError):
                shutil.copyfile(path, home / "matplotlib" / path.name)
