"""Bubblewrap: what a sandboxed program sees of this machine, and whether that works here.

Here live the command line that shuts a program in, and the trial that finds out once whether this machine can do it.
Not here: the program (``kernel_process.py``), its limits (``kernel_guard.py``).
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from helpers.local_api.processes import trial_works

DATA: Final = "/mnt/data"
HOME: Final = "/home/sandbox"
RUN: Final = "/run/kernel"
TEMPORARY: Final = "/tmp"

_SHARED_MEMORY_BYTES: Final = 256 << 20
# Nobody: not the owner of anything on this machine, as far as the code inside can see.
_USER: Final = "65534"
_SYSTEM: Final = ("/bin", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr")
_SETTINGS: Final = (
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
)
# Of an environment or an installation of Python, these; beside them may lie the learner's own work.
_PARTS_OF_PYTHON: Final = ("bin", "lib", "lib32", "lib64", "share", "pyvenv.cfg")
_PROJECT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Bubblewrap:
    """A bubblewrap that works on this machine.

    Args:
        program: its path.
        extras: options that not every version and not every machine has.
    """

    program: str
    extras: tuple[str, ...] = ()

    def command(self, folder: Path, private: Path, program: Sequence[str]) -> list[str]:
        """Return the command that runs ``program`` shut in.

        Args:
            folder: what it sees as its working folder, ``/mnt/data``.
            private: has the folders ``run``, ``home`` and ``tmp``, which it sees as ``/run/kernel``, ``/home/sandbox``
                and ``/tmp``.
            program: what to run.
        """
        return [
            self.program,
            *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
            *("--unshare-cgroup-try", "--hostname", "sandbox", "--uid", _USER, "--gid", _USER),
            *("--die-with-parent", "--cap-drop", "ALL", *self.extras),
            *_readable(),
            # Read-only: to Linux, a sandbox that root starts is root's, and could change settings of the whole machine.
            *("--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev"),
            *("--size", str(_SHARED_MEMORY_BYTES), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"),
            *("--bind", str(private / "run"), RUN, "--bind", str(private / "home"), HOME),
            *("--bind", str(private / "tmp"), TEMPORARY, "--bind", str(folder), DATA),
            *("--remount-ro", "/", "--chdir", DATA, "--"),
            *program,
        ]


@functools.cache
def find() -> tuple[Bubblewrap | None, str]:
    """Return a bubblewrap that works here, or ``None`` and the reason, as the end of a sentence."""
    if sys.platform != "linux":
        return None, "this system has no bubblewrap"
    program = shutil.which("bwrap")
    if program is None:
        return None, "bubblewrap is not installed here"
    # Without further user namespaces the code inside cannot reach parts of Linux that are meant for administrators.
    for extras in (("--disable-userns",), ()):
        found = Bubblewrap(program, extras)
        if _works(found):
            return found, ""
    return None, "bubblewrap is installed but may not make namespaces here"


def _works(found: Bubblewrap) -> bool:
    with tempfile.TemporaryDirectory(prefix="code-") as name:
        private = Path(name)
        for part in ("run", "home", "tmp", "data"):
            (private / part).mkdir()
        check = "import importlib.util as u, zmq; raise SystemExit(u.find_spec('ipykernel') is None)"
        command = found.command(private / "data", private, [sys.executable, "-P", "-c", check])
        return trial_works(command)


def readable_paths() -> list[str]:
    """Return what a sandbox may read: the system's programs and libraries, and Python with its packages."""
    return [path for path in (*_SYSTEM, *_SETTINGS, "/nix/store", *_python_paths()) if os.path.exists(path)]


@functools.cache
def _readable() -> tuple[str, ...]:
    """Return the options for what may be read (see ``readable_paths``)."""
    mounts: dict[str, tuple[str, ...]] = {}
    for path in _SYSTEM:
        if os.path.islink(path):
            mounts[path] = ("--symlink", os.readlink(path), path)
        elif os.path.isdir(path):
            mounts[path] = ("--ro-bind", path, path)
    for path in (*_SETTINGS, "/nix/store", *_python_paths()):
        if os.path.exists(path) and not _inside(path, mounts):
            mounts[path] = ("--ro-bind", path, path)
    project = str(_PROJECT)
    if _inside(project, mounts) and not project.endswith(("site-packages", "dist-packages")):
        # The repository lies in one of them: hide it. Sorted by path, what Python needs inside it comes after it.
        mounts = {path: options for path, options in mounts.items() if path != project}
        mounts[project] = ("--tmpfs", project, "--remount-ro", project)
        for path in _python_paths():
            if _inside(path, {project: ()}):
                mounts[path] = ("--ro-bind", path, path)
        if project in _python_paths():
            del mounts[project]
    return tuple(option for path in sorted(mounts) for option in mounts[path])


def _python_paths() -> list[str]:
    """Return the paths that the running Python and its packages are in, each parent before what lies in it."""
    prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    # The program is often a chain of links from environment to environment.
    program = sys.executable
    for _ in range(40):
        prefixes.add(os.path.dirname(os.path.dirname(program)))
        if not os.path.islink(program):
            break
        program = os.path.normpath(os.path.join(os.path.dirname(program), os.readlink(program)))
    prefixes |= {os.path.realpath(prefix) for prefix in prefixes}
    paths = {os.path.join(prefix, part) for prefix in prefixes if prefix != "/" for part in _PARTS_OF_PYTHON}
    paths |= {path for path in sys.path if path.endswith(("site-packages", "dist-packages"))}
    return sorted(path for path in paths if os.path.exists(path))


def _inside(path: str, mounts: dict[str, tuple[str, ...]]) -> bool:
    """Tell whether ``path`` is one of the mounted folders or lies in one."""
    return any(path == mount or path.startswith(mount.rstrip("/") + "/") for mount in mounts)
