"""The first thing that runs inside a sandbox: it sets the limits of the process, then becomes an IPython kernel.

Here lives what must happen on the inner side: resource limits, rules that Linux keeps from then on, ending together with
the process that started it, and cutting long texts before they are sent. The sandbox copies this file beside the sockets and runs it there as a script,
so it imports nothing of this project. Not here: starting, watching and ending a sandbox (``kernel_process.py``).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

_KEPT_KINDS = ("text/plain", "image/png")
_LONGEST_IMAGE = 16 << 20
_MOST_LINES = 2_000
_MOST_OPEN_FILES = 1_024


def main() -> None:
    """Run a kernel with the settings in the file that the first argument names."""
    settings: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    # Before there is a second thread: Landlock's rules hold for the thread that asks for them and what comes from it.
    _keep_rules(settings["rules"])
    if settings.get("trial"):
        return
    _end_with_the_parent()
    # Building the list of fonts is slow the first time, and says so on stderr, where a learner would take it for theirs.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    from ipykernel.kernelapp import IPKernelApp

    _cut_long_messages(settings["message_chars"])
    if settings["rules"].get("system_calls"):
        _use_no_port(settings["pipe"])
    app: Any = IPKernelApp.instance()
    # A history on disk would be a file that nobody asked for.
    app.initialize(["-f", settings["connection_file"], "--HistoryManager.enabled=False"])
    _set_limits(settings)
    if settings["rules"].get("landlock"):
        app.shell.system = app.shell.system_raw  # the other way needs a terminal
    sys.argv[1:] = []
    app.start()


def _end_with_the_parent() -> None:
    """End when the other end of standard input closes, which it does when the starting process ends in any way."""
    lifeline = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def watch() -> None:
        # Nothing is ever written to it: reading returns at the end of the file only.
        while os.read(lifeline, 1):
            pass
        if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="lifeline").start()
    if sys.platform == "linux":
        import ctypes

        prctl = ctypes.CDLL(None, use_errno=True).prctl
        # The thread above cannot run while C code keeps the interpreter's lock, so the system is asked as well.
        prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG
        # Processes whose parent ended become children of this one, so that they are found and ended with it.
        prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _keep_rules(rules: dict[str, Any]) -> None:
    """Ask Linux to keep the rules of ``kernel_rules.py`` for this process and all that it starts. There is no way back."""
    if sys.platform != "linux" or not rules:
        return
    import ctypes
    import struct

    library = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: Any) -> int:
        result = int(getattr(library, name)(*arguments))
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    call("prctl", 38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS: without it, only root may ask
    # Root keeps its name and loses its rights over others, such as reading their environment.
    call("capset", struct.pack("Ii", 0x2008_0522, 0), bytes(24))
    landlock = rules.get("landlock")
    if landlock:
        head = struct.pack("QQQ", landlock["files"], landlock["network"], landlock["scopes"])
        ruleset = call("syscall", 444, head, ctypes.c_size_t(landlock["sizes"]), 0)
        for path, rights in landlock["paths"]:
            place = os.open(path, os.O_PATH)
            if not os.path.isdir(path):
                rights &= 0b111 | 1 << 14  # run, write, read, truncate: what can be done with a file
            call("syscall", 445, ruleset, 1, struct.pack("=Qi", rights, place), 0)
            os.close(place)
        call("syscall", 446, ruleset, 0)
        os.close(ruleset)
    instructions = rules.get("system_calls")
    if instructions:
        code = b"".join(struct.pack("HBBI", *each) for each in instructions)
        kept = ctypes.create_string_buffer(code, len(code))
        program = struct.pack("HxxxxxxQ", len(instructions), ctypes.addressof(kept))
        call("prctl", 22, 2, program, 0, 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def _set_limits(settings: dict[str, Any]) -> None:
    """Limit memory, file size and processes. Only here, after the kernel is up, is it known what the kernel itself needs."""
    if sys.platform == "win32":
        return
    import resource

    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _MOST_OPEN_FILES)
    _limit(resource.RLIMIT_FSIZE, settings["file_bytes"])
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + settings["memory_bytes"])
        _limit(resource.RLIMIT_NPROC, settings["processes"] + _tasks_of_this_user())


def _limit(what: int, most: int) -> None:
    import resource

    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(what, (most, most))


def _tasks_of_this_user() -> int:
    """Count the threads that the system counts against this user; in a sandbox, those of the sandbox."""
    count = 64  # room for the threads of the code's own processes
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            if entry.stat().st_uid == os.getuid():
                count += len(os.listdir(f"/proc/{entry.name}/task"))
        except OSError:  # it ended meanwhile
            continue
    return count


def _use_no_port(path: str) -> None:
    """Let the kernel hear its forked children through a socket with a path: where there is no network, no port is open."""
    import zmq

    bind_to_random_port, connect = zmq.Socket.bind_to_random_port, zmq.Socket.connect

    def bound(self: Any, address: str, *more: Any, **named: Any) -> Any:
        if address != "tcp://127.0.0.1":
            return bind_to_random_port(self, address, *more, **named)
        self.bind(f"ipc://{path}")
        return 0

    def connected(self: Any, address: str) -> Any:
        return connect(self, f"ipc://{path}" if address == "tcp://127.0.0.1:0" else address)

    setattr(zmq.Socket, "bind_to_random_port", bound)  # noqa: B010 - methods are not to be assigned, say the types
    setattr(zmq.Socket, "connect", connected)  # noqa: B010


def _cut_long_messages(limit: int) -> None:
    """Cut every text of a message to ``limit`` characters, so that 100 MB of output never leave this process."""
    from jupyter_client.session import Session

    serialize = Session.serialize

    def cut(self: Any, message: Any, *more: Any, **named: Any) -> Any:
        content = message.get("content")
        if isinstance(content, dict):
            lost = [0]
            content = {name: _shortened(value, limit, lost, name) for name, value in content.items()}
            if lost[0]:
                content["cut_chars"] = lost[0]
            message = {**message, "content": content}
        return serialize(self, message, *more, **named)

    setattr(Session, "serialize", cut)  # noqa: B010 - methods are not to be assigned, say the types


def _shortened(value: Any, limit: int, lost: list[int], name: str = "") -> Any:
    if isinstance(value, str):
        most = _LONGEST_IMAGE if name == "image/png" else limit
        if len(value) > most:
            lost[0] += len(value) - most
            value = "" if name == "image/png" else value[:most]
        # Half a character cannot be sent.
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        if name == "data":
            value = {kind: text for kind, text in value.items() if kind in _KEPT_KINDS}
        return {key: _shortened(part, limit, lost, str(key)) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shortened(part, limit, lost) for part in value[-_MOST_LINES:]]
    return value


if __name__ == "__main__":
    main()
