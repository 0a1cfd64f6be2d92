#!/usr/bin/env python3
"""Set up, start, run, test and check the workshop: one command each.

Here lives everything between a fresh machine and a running notebook: the environments (.venv for you, .venv-test for
the tests), the working copies of the notebooks, JupyterLab, the headless run, the wheels for a room without a network,
and the check-up. Standard library only, one file, so that it runs before anything is installed. Not here: anything
that a notebook imports (helpers/), and what the tests test (tests/).
"""

# Python older than 3.11 must be able to read this file and print one sentence: no newer syntax, and nothing newer at
# module level.
from __future__ import annotations

import argparse
import codecs
import contextlib
import dataclasses
import datetime
import errno
import hashlib
import importlib
import importlib.util
import json
import os
import platform
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import warnings
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

OLDEST_PYTHON = (3, 11)
NEWEST_TESTED_PYTHON = (3, 13)
# The committed outputs were made with this Python, on Linux, with the packages of constraints.txt.
PINNED_PYTHON = (3, 11)
LINUX = platform.system() == "Linux"
ROOT = Path(__file__).resolve().parent
COMMANDS = ("test", "run", "record", "reset", "pack", "doctor", "pin")
# What `record` may spend unless somebody says otherwise: all four notebooks cost less than half of it (README.md).
RECORDING_LIMIT_USD = 1.00
STAMP = "workshop.json"
MANIFEST = "manifest.json"
COPIES = ".copies.json"
# What a wheel of this project is built with; needed as wheels where there is no package index to fetch them from.
BUILD_REQUIREMENTS = ("setuptools>=77", "wheel")
# Of the environment's OpenAI settings nothing may reach a recorded run: neither the key nor another server or account.
OPENAI_SETTINGS = (
    "OPENAI_API_KEY",
    "OPENAI_ADMIN_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
    "OPENAI_WEBHOOK_SECRET",
)
PROXY_SETTINGS = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
# The discard port: nothing listens there, so a client that honours a proxy is refused at once.
DEAD_PROXY = "http://127.0.0.1:9"
LOOPBACK = "localhost,127.0.0.1,::1"


class Problem(Exception):
    """Something stops the command. Its text is one or two sentences: what happened, and what to do."""


# -- talking --------------------------------------------------------------------------------------------------------

_PLAIN_CHARACTERS = {"·": "-", "≈": "~", "…": "...", "→": "->", "’": "'"}
_SECRETS = (
    (re.compile(r"://[^/\s@]+@"), "://[hidden]@"),  # user and password in the address of an index or a proxy
    (re.compile(r"\bsk-[A-Za-z0-9_\-*.…]{3,}"), "[key]"),
)


def say(text: str = "") -> None:
    """Print ``text``, also on a console that does not know all of its characters."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        for character, plain in _PLAIN_CHARACTERS.items():
            text = text.replace(character, plain)
        text = text.encode("ascii", "replace").decode("ascii")
    print(text, flush=True)


def redact(text: str) -> str:
    """Return ``text`` without passwords in addresses and without anything that looks like a key."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def one_line(text: str, limit: int = 300) -> str:
    """Return ``text`` as one short line without secrets."""
    line = redact(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


# -- running other programs -----------------------------------------------------------------------------------------


def execute(
    command: Sequence[str | Path],
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    on_text: Callable[[str], object] | None = None,
    timeout_s: float | None = None,
) -> int:
    """Run a program to its end and return its exit status.

    Args:
        command: the program and its arguments.
        folder: the folder to run it in.
        environment: its environment variables; without them, those of this process.
        on_text: gets what it prints, in pieces, as it comes; without it, the program prints to this console.
        timeout_s: seconds after which the program is ended; its status is then not 0.
    """
    words = [str(word) for word in command]
    if on_text is None:
        with subprocess.Popen(words, cwd=folder, env=environment) as process:
            return _wait(process, timeout_s)
    # Nothing may wait for an answer that nobody sees the question of, so there is no standard input.
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    # In a thread, because a grandchild that outlives the program keeps the pipe open.
    reader = threading.Thread(target=_pass_on, args=(process.stdout, on_text), daemon=True)
    reader.start()
    try:
        return _wait(process, timeout_s)
    finally:
        reader.join(timeout=5)


def _pass_on(pipe: Any, on_text: Callable[[str], object]) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with pipe:
        # read1, unlike read, returns what is there: the dots of a test run show while it runs.
        for piece in iter(lambda: pipe.read1(65536), b""):
            on_text(decoder.decode(piece))


def _wait(process: subprocess.Popen[bytes], timeout_s: float | None = None) -> int:
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait() or 1
    except KeyboardInterrupt:
        # The program got the same Ctrl-C: let it end by itself first.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        _end(process)
        raise
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program: ask it to, then make it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclasses.dataclass
class Project:
    """The repository on this machine, and how programs are run in it (tests give another way)."""

    root: Path = ROOT
    execute: Callable[..., int] = execute

    @property
    def notebooks(self) -> Path:
        """The folder of the notebooks as they were published. Nothing here writes to it."""
        return self.root / "notebooks"

    @property
    def work(self) -> Path:
        """The folder of the learner's working copies."""
        return self.root / "work"

    def output_of(
        self, command: Sequence[str | Path], *, timeout_s: float = 60.0, **more: Any
    ) -> tuple[int, str]:
        """Run a program quietly; return its exit status and what it printed. A missing program is status 127."""
        pieces: list[str] = []
        try:
            status = self.execute(
                command, folder=self.root, on_text=pieces.append, timeout_s=timeout_s, **more
            )
        except OSError as error:
            return 127, str(error)
        return status, "".join(pieces).strip()


# -- environments ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Environment:
    """A virtual environment and what belongs in it.

    The tests have one of their own: they need pinned versions, and installing those into the learner's environment
    would change what the learner's notebooks run with, and whatever the learner added would disturb the comparison.
    """

    folder: Path
    requirements: tuple[Path, ...]
    constraints: Path | None = None

    @property
    def python(self) -> Path:
        """The environment's Python."""
        return (
            self.folder
            / ("Scripts" if os.name == "nt" else "bin")
            / ("python.exe" if os.name == "nt" else "python")
        )

    @property
    def log(self) -> Path:
        """What the last installation printed."""
        return self.folder / "install.log"


def learner_environment(root: Path) -> Environment:
    """The environment that JupyterLab and the notebooks run in."""
    return Environment(root / ".venv", (root / "requirements.txt",))


def test_environment(root: Path) -> Environment:
    """The environment that the tests run in: the versions that constraints.txt pins."""
    return Environment(
        root / ".venv-test",
        (root / "requirements.txt", root / "requirements-test.txt"),
        root / "constraints.txt",
    )


# pytest would take the function above for a test where a test module imports it.
test_environment.__test__ = False  # type: ignore[attr-defined]


def this_python() -> str:
    """Name what makes one Python environment unusable for another: version, kind, system, processor."""
    major, minor = sys.version_info[:2]
    return f"{sys.implementation.name} {major}.{minor} {platform.system()} {platform.machine()}"


def fingerprint(environment: Environment, root: Path) -> str:
    """Return a hash of everything that decides what is installed where."""
    digest = hashlib.sha256()
    files = [*environment.requirements, root / "pyproject.toml"]
    if environment.constraints is not None:
        files.append(environment.constraints)
    for path in files:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise Problem(
                f"The file {path.name} is missing beside start.py. Get the whole repository again: start.py alone is "
                "not enough."
            ) from None
        digest.update(path.name.encode() + b"\0" + content + b"\0")
    digest.update(f"{this_python()}\0{root}".encode())
    return digest.hexdigest()


def set_up(project: Project, environment: Environment, wheels: Path | None = None) -> bool:
    """Make the environment and install into it, unless that is done already.

    Args:
        project: where.
        environment: which.
        wheels: a folder made by ``start.py pack``; then nothing is fetched from a network.

    Returns:
        Whether anything had to be installed.

    Raises:
        Problem: it cannot be done; a repeat starts where this stopped.
    """
    wanted = fingerprint(environment, project.root)
    if wheels is not None:
        wheels = checked_wheels(wheels)
    if _is_ready(project, environment, wanted):
        return False
    with _lock(project.root):
        # Another start.py may have done it while this one waited.
        if _is_ready(project, environment, wanted):
            return False
        _make(project, environment)
        _install(project, environment, wheels, wanted)
    return True


def _is_ready(project: Project, environment: Environment, wanted: str) -> bool:
    record = _read_record(environment)
    if record.get("state") != "ready" or record.get("fingerprint") != wanted:
        return False
    return _python_of(project, environment) == _minor_version()


def _minor_version() -> str:
    major, minor = sys.version_info[:2]
    return f"{major}.{minor}"


def _python_of(project: Project, environment: Environment) -> str:
    """Return the version of the environment's Python, such as ``"3.11"``; ``""`` if it does not run."""
    status, text = project.output_of(
        [environment.python, "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    )
    return text if status == 0 else ""


def _read_record(environment: Environment) -> dict[str, Any]:
    """Return what start.py noted inside the environment; empty if it made none there, or it cannot be read."""
    try:
        record = json.loads((environment.folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(environment: Environment, root: Path, state: str, **more: str) -> None:
    """Note how far the environment is. ``ours`` allows a later start to delete it and make it again."""
    previous = _read_record(environment)
    record = {
        "ours": previous.get("ours", state == "making"),
        "root": str(root),
        "python": this_python(),
        "state": state,
        **more,
    }
    path = environment.folder / STAMP
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")
    os.replace(temporary, path)


def _make(project: Project, environment: Environment) -> None:
    """Leave a virtual environment of this Python at the environment's folder, keeping a usable one."""
    folder = environment.folder
    _clear_leftovers(folder)
    if folder.is_dir() and any(folder.iterdir()):
        reason = _why_unusable(project, environment)
        if not reason:
            return
        if not _read_record(environment).get("ours"):
            raise Problem(
                f"There is already a folder {folder.name} that start.py did not make, and {reason}. Rename or delete "
                "it and start again."
            )
        say(f"Making {folder.name} again: {reason}.")
        _remove(folder)
    _check_can_make_environments()
    try:
        folder.mkdir(exist_ok=True)
        _write_record(environment, project.root, "making")
    except OSError as error:
        raise _not_writable(folder.parent, error) from None
    say(f"Making the environment {folder.name} (Python {platform.python_version()}).")
    # The base Python, because this one may live in the very environment that was removed a moment ago.
    base = getattr(sys, "_base_executable", None) or sys.executable
    status, text = project.output_of(
        [base, "-m", "venv", folder], timeout_s=600, environment=_clean_environment()
    )
    if status != 0:
        raise Problem(
            f"The environment {folder.name} could not be made: {one_line(_last_line(text))} "
            f"{_venv_advice()}".strip()
        )
    _write_record(environment, project.root, "made")


def _why_unusable(project: Project, environment: Environment) -> str:
    """Return why an existing environment cannot be used, as half a sentence; ``""`` if it can."""
    record = _read_record(environment)
    if record:
        if record.get("root") != str(project.root):
            return "the folder of the project was moved"
        if record.get("state") in ("making", "installing"):
            return "the last installation was interrupted"
    version = _python_of(project, environment)
    if not version:
        return "its Python no longer runs"
    if version != _minor_version() or record.get("python", this_python()) != this_python():
        return f"it has Python {version} and you called start.py with Python {_minor_version()}"
    return ""


def _clear_leftovers(folder: Path) -> None:
    for leftover in folder.parent.glob(f"{folder.name}.old-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Delete an environment. Renamed first: where a file of it is in use, Windows refuses before anything is lost."""
    aside = folder.with_name(f"{folder.name}.old-{os.getpid()}")
    try:
        os.rename(folder, aside)
    except OSError as error:
        raise Problem(
            f"{folder.name} could not be replaced ({error.strerror}). Close JupyterLab, run `deactivate` if the "
            "environment is active, and start again."
        ) from None
    shutil.rmtree(aside, ignore_errors=True)


def _check_can_make_environments() -> None:
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise Problem(f"This Python cannot make environments: venv or ensurepip is missing. {_venv_advice()}")


def _venv_advice() -> str:
    if shutil.which("apt-get") is None:
        return "Install Python from https://www.python.org/downloads/ and start again."
    return f"On Debian and Ubuntu: sudo apt-get install python{_minor_version()}-venv. Then start again."


def _not_writable(folder: Path, error: OSError) -> Problem:
    if error.errno == errno.ENOSPC:
        return Problem("The disk is full. Make about 1 GB of room and start again.")
    return Problem(
        f"Nothing can be written to {folder} ({error.strerror}). Copy the project into a folder of your own, such as "
        "your home folder, and start it there."
    )


@contextlib.contextmanager
def _lock(root: Path) -> Iterator[None]:
    """Let one start.py at a time install here. The system frees the lock even if the process is killed."""
    try:
        file = (root / ".venv.lock").open("a+b")
    except OSError as error:
        raise _not_writable(root, error) from None
    with file:
        told = False
        while not _try_lock(file.fileno()):
            if not told:
                say("Another start.py is setting up here. Waiting for it to finish (Ctrl-C stops waiting).")
                told = True
            time.sleep(0.3)
        yield


def _try_lock(number: int) -> bool:
    """Return whether this process now holds the lock on an open file."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(number, 0, os.SEEK_SET)
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network file systems have no locks at all. Going on there is better than waiting for ever.
        return error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
    return True


# -- pip ------------------------------------------------------------------------------------------------------------


def _clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what would confuse another Python, and with ``more``."""
    environment = dict(os.environ)
    environment.pop("PYTHONHOME", None)
    return {**environment, **more}


def pip_environment(*, offline: bool = False) -> dict[str, str]:
    """Return the environment variables for pip.

    Args:
        offline: whether to ignore every index and folder that pip is configured with on this machine.
    """
    environment = _clean_environment(
        PYTHONIOENCODING="utf-8",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_NO_INPUT="1",
        PIP_USER="0",  # some machines are configured for --user, which an environment refuses
        PIP_NO_COLOR="1",
        PIP_PROGRESS_BAR="off",
    )
    if offline:
        for name in list(environment):
            if name.upper() in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT"):
                del environment[name]
        environment["PIP_CONFIG_FILE"] = os.devnull
    return environment


def _install(project: Project, environment: Environment, wheels: Path | None, wanted: str) -> None:
    arguments: list[str | Path] = ["install"]
    if wheels is not None:
        arguments += ["--no-index", "--find-links", wheels]
    for path in environment.requirements:
        arguments += ["-r", path]
    if environment.constraints is not None:
        arguments += ["-c", environment.constraints]
    source = f"from {wheels}" if wheels is not None else "(about 350 MB, a minute or two)"
    say(f"Installing the packages {source}. This happens once.")
    _write_record(environment, project.root, "installing")
    status, lines = _pip(project, environment, arguments, offline=wheels is not None)
    if status != 0:
        # pip fetches everything before it installs anything, so what is there is whole and a repeat goes on from it.
        _write_record(environment, project.root, "failed")
        raise Problem(f"{explain_pip(lines, offline=wheels is not None)} All of it is in {environment.log}.")
    _silence_news(environment)
    _write_record(environment, project.root, "ready", fingerprint=wanted)


def _pip(
    project: Project, environment: Environment, arguments: Sequence[str | Path], *, offline: bool = False
) -> tuple[int, list[str]]:
    """Run the environment's pip; return its status and what it printed, line by line, without secrets."""
    lines: list[str] = []
    with environment.log.open("w", encoding="utf-8") as log, _Progress() as progress:
        rest = ""

        def note(text: str) -> None:
            nonlocal rest
            *whole, rest = (rest + text).split("\n")
            for line in whole:
                line = redact(line.rstrip())
                lines.append(line)
                log.write(line + "\n")
                progress.show(line)

        status = project.execute(
            [environment.python, "-m", "pip", *arguments],
            folder=project.root,
            environment=pip_environment(offline=offline),
            on_text=note,
        )
        note("\n")
    return status, lines


class _Progress:
    """One line of the terminal that says what pip is doing; nothing where the output is not a terminal."""

    def __init__(self) -> None:
        self._shown = sys.stdout.isatty()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._write("")

    def show(self, line: str) -> None:
        words = line.split()
        if words and words[0] in ("Collecting", "Downloading", "Installing", "Building", "Processing"):
            self._write("  " + " ".join(words[:2]))

    def _write(self, text: str) -> None:
        if self._shown:
            width = max(20, shutil.get_terminal_size().columns - 1)
            plain = text[:width].encode("ascii", "replace").decode("ascii")
            sys.stdout.write("\r" + plain.ljust(width) + ("\r" if not text else ""))
            sys.stdout.flush()


_CERTIFICATE = ("certificate_verify_failed", "certificate verify failed", "sslcertverificationerror")
_NO_NETWORK = (
    "failed to establish a new connection",
    "nameresolutionerror",
    "name resolution",
    "getaddrinfo failed",
    "nodename nor servname",
    "network is unreachable",
    "no route to host",
    "connection refused",
    "connecttimeout",
    "connection timed out",
    "readtimeout",
    "read timed out",
    "remotedisconnected",
    "connection reset",
    "connection aborted",
)
_CERTIFICATE_ADVICE = (
    "Something on the way, often a company's TLS inspection, shows its own certificate. Point PIP_CERT and "
    "SSL_CERT_FILE at the company's certificate bundle (a .pem file; your IT knows it), or, where the system already "
    "trusts it, set PIP_USE_FEATURE=truststore. Then start again."
)


def explain_pip(lines: Sequence[str], *, offline: bool = False) -> str:
    """Say in one or two sentences why pip failed, and what to do.

    Args:
        lines: what pip printed.
        offline: whether it installed from a folder of wheels.
    """
    text = "\n".join(lines).lower()
    errors = [line for line in lines if line.lower().startswith("error:")]
    last = one_line(errors[-1] if errors else _last_line("\n".join(lines)))
    if any(sign in text for sign in _CERTIFICATE):
        return f"The packages could not be fetched: the certificate was not accepted. {_CERTIFICATE_ADVICE}"
    if "no space left on device" in text or "errno 28" in text:
        return "The disk is full. Make about 1 GB of room and start again."
    if "proxyerror" in text or "407 proxy" in text or "unable to connect to proxy" in text:
        return (
            "The packages could not be fetched: the proxy did not let pip through. Check HTTPS_PROXY and NO_PROXY "
            "(`python start.py doctor` looks at them) and start again."
        )
    if "401 client error" in text or "403 client error" in text or "401 error" in text:
        return f"The package index refused pip: {last} Check the index address and its password, then start again."
    if "long path support" in text:
        return (
            "A file name became too long for Windows. Move the project to a short path such as C:\\workshop, or turn "
            "on long paths (`python start.py doctor` says how), and start again."
        )
    if "permission denied" in text or "winerror 5" in text or "winerror 32" in text:
        return f"A file could not be written: {last} Close JupyterLab and start again."
    if any(sign in text for sign in _NO_NETWORK):
        return (
            "The packages could not be fetched: there is no connection to the package index. Connect and start again, "
            "or install from a folder of wheels: python start.py --wheels DIR."
        )
    if offline and "no matching distribution found" in text:
        return (
            f"The folder of wheels does not hold everything: {last} Make it again with `python start.py pack` from "
            "this version of the project."
        )
    return f"The packages could not be installed: {last} Start again to repeat it."


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "(it printed nothing)"


def _silence_news(environment: Environment) -> None:
    """Keep JupyterLab from asking a newcomer about news, and a room without a network from waiting for them."""
    folder = environment.folder / "etc" / "jupyter" / "labconfig"
    page = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    path = folder / "page_config.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(page, indent=1), encoding="utf-8")


# -- notebooks and working copies -----------------------------------------------------------------------------------


def all_notebooks(project: Project) -> list[Path]:
    """Return the published notebooks in their order."""
    found = sorted(project.notebooks.glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise Problem("There are no notebooks beside start.py. Get the whole repository again.")
    return found


def find_notebook(project: Project, wanted: str) -> Path:
    """Return the notebook that somebody means by ``"2"``, ``"02"``, ``"02_file_search"`` or a path to it."""
    notebooks = all_notebooks(project)
    name = Path(wanted).name
    if name.endswith(".ipynb"):
        name = name[: -len(".ipynb")]
    for path in notebooks:
        if (name.isdecimal() and int(name) == int(path.name[:2])) or name == path.stem:
            return path
    names = ", ".join(f"{path.stem[:2]} ({path.stem[3:].replace('_', ' ')})" for path in notebooks)
    if wanted in COMMANDS:
        raise Problem(f"Put the command first: python start.py {wanted}.")
    raise Problem(f"There is no notebook {wanted!r}. There are: {names}.")


def fresh_copy(notebook: Path) -> bytes:
    """Return a notebook as a learner should get it: its cells, without outputs.

    The outputs stay in notebooks/ (and on GitHub) for comparing. In the working copy they would hide which cells you
    have run, and would show a recorded run to somebody who is live.
    """
    content = notebook.read_bytes()
    try:
        document = json.loads(content.decode("utf-8"))
        for cell in document["cells"]:
            if cell["cell_type"] == "code":
                cell["outputs"] = []
                cell["execution_count"] = None
    except (ValueError, KeyError, TypeError):
        return content  # not a notebook that we understand: JupyterLab says what is wrong with it
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def make_copies(project: Project) -> list[str]:
    """Put a working copy of every notebook into work/. A copy that somebody changed is never overwritten.

    Returns:
        Sentences to show: notebooks that have a newer version than the learner's changed copy.
    """
    project.work.mkdir(exist_ok=True)
    made = _read_copies(project)
    notes = []
    for notebook in all_notebooks(project):
        fresh = fresh_copy(notebook)
        copy = project.work / notebook.name
        previous = made.get(notebook.name)
        if copy.exists():
            now = _sha256(copy.read_bytes())
            if now == _sha256(fresh):
                previous = now
            elif now == previous:
                _write_copy(copy, fresh)
                previous = now = _sha256(fresh)
            elif previous is not None and previous != _sha256(fresh):
                notes.append(
                    f"There is a newer version of {notebook.name} than the one that your copy came from. "
                    f"`python start.py reset {notebook.name[:2]}` gets it and keeps yours."
                )
        else:
            _write_copy(copy, fresh)
            previous = _sha256(fresh)
        if previous is not None:
            made[notebook.name] = previous
    _write_copies(project, made)
    return notes


def reset(project: Project, wanted: str, now: datetime.datetime | None = None) -> str:
    """Restore a working copy and keep what was there beside it; return a sentence that says so."""
    notebook = find_notebook(project, wanted)
    fresh = fresh_copy(notebook)
    copy = project.work / notebook.name
    project.work.mkdir(exist_ok=True)
    kept = ""
    if copy.exists():
        if copy.read_bytes() == fresh:
            return f"work/{copy.name} is as it came; there is nothing to restore."
        stamp = (now or datetime.datetime.now()).strftime("%Y%m%d-%H%M%S")
        aside = copy.with_name(f"{copy.stem}.edited-{stamp}.ipynb")
        number = 2
        while aside.exists():
            aside = copy.with_name(f"{copy.stem}.edited-{stamp}-{number}.ipynb")
            number += 1
        os.rename(copy, aside)
        kept = f" Yours is now work/{aside.name}."
    _write_copy(copy, fresh)
    _write_copies(project, {**_read_copies(project), notebook.name: _sha256(fresh)})
    return f"Restored work/{copy.name}.{kept} If it is open in JupyterLab, close its tab without saving and open it again."


def _write_copy(path: Path, content: bytes) -> None:
    # Through a second file: a full disk or a power cut must not leave half a notebook.
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _read_copies(project: Project) -> dict[str, str]:
    """Return the hash with which each working copy was made. Without a note, a copy counts as changed."""
    try:
        found = json.loads((project.work / COPIES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_copies(project: Project, made: Mapping[str, str]) -> None:
    (project.work / COPIES).write_text(json.dumps(made, indent=1), encoding="utf-8")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# -- JupyterLab -----------------------------------------------------------------------------------------------------


def open_notebook(project: Project, options: argparse.Namespace) -> int:
    """Set up, and open JupyterLab on a working copy."""
    notebook = find_notebook(project, options.notebook)
    environment = learner_environment(project.root)
    set_up(project, environment, options.wheels)
    for note in make_copies(project):
        say(note)
    if options.only_set_up:
        say(f"Ready. `python start.py {notebook.name[:2]}` opens work/{notebook.name}.")
        return 0
    port = free_port(options.port)
    page = quote(f"/lab/tree/work/{notebook.name}")
    token = secrets.token_hex(24)
    command = jupyter_command(project, environment, port, page)
    no_browser = options.no_browser or not has_browser()
    if no_browser:
        command.append("--no-browser")
    address = f"http://127.0.0.1:{port}{page}?token={token}"
    # The token goes through the environment, because everybody on the machine can read a command line.
    with subprocess.Popen(command, cwd=project.root, env=_clean_environment(JUPYTER_TOKEN=token)) as process:
        try:
            if _answers(port, process):
                say()
                say(
                    "Open this address in a browser:"
                    if no_browser
                    else "JupyterLab opens in your browser, at:"
                )
                say(f"  {address}")
                say("Ctrl-C here, twice, stops it.")
                say()
            return _wait_for_jupyter(process)
        finally:
            _end(process)


def jupyter_command(project: Project, environment: Environment, port: int, page: str) -> list[str]:
    """Return the command that starts JupyterLab on ``page``, quiet but for warnings."""
    command = [
        str(environment.python),
        "-m",
        "jupyterlab",
        f"--ServerApp.root_dir={project.root}",
        f"--LabApp.default_url={page}",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.base_url=/",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.log_level=WARN",
        "--LabApp.log_level=WARN",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # containers; JupyterLab refuses without it
    return command


def has_browser() -> bool:
    """Return whether this machine can show a web page in a window."""
    if LINUX and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "WSL_DISTRO_NAME")
    ):
        return False  # Python would offer a text browser such as w3m, which cannot show JupyterLab
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def free_port(wanted: int | None) -> int:
    """Return ``wanted`` if it is free, or without one the first free port from 8888 on."""
    for port in [wanted] if wanted else range(8888, 8938):
        with socket.socket() as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    if wanted:
        raise Problem(f"Port {wanted} is in use or not allowed. Choose another with --port, or leave it out.")
    raise Problem("No port from 8888 to 8937 is free. Choose one with --port.")


def _answers(port: int, process: subprocess.Popen[bytes], patience_s: float = 60.0) -> bool:
    """Wait until JupyterLab accepts connections; return False if it ended before."""
    end = time.monotonic() + patience_s
    while process.poll() is None and time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
        except OSError:
            time.sleep(0.1)
    return False


def _wait_for_jupyter(process: subprocess.Popen[bytes]) -> int:
    """Wait for JupyterLab's end. It gets Ctrl-C as well and asks its own question, so this process only waits."""
    while True:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            continue
        if status > 0:
            say(f"JupyterLab ended with status {status}; its last lines above say why.")
        return 1 if status > 0 else 0


# -- a headless run -------------------------------------------------------------------------------------------------


def recorded_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return ``environment`` so that nothing in it can reach OpenAI or change a recorded run."""
    kept = {name: value for name, value in environment.items() if name.upper() not in OPENAI_SETTINGS}
    # Empty, not absent: an absent one would be taken from .env.
    return {**kept, "WORKSHOP_API": "recorded", "OPENAI_MODEL": ""}


def run_all(project: Project, options: argparse.Namespace) -> int:
    """Execute notebooks headless, one line each."""
    wanted = [find_notebook(project, number) for number in options.notebooks] or all_notebooks(project)
    if options.live and not key_found_in(project.root):
        raise Problem(
            "A live run needs a key and none was found. Put OPENAI_API_KEY in .env, or leave out --live."
        )
    environment = learner_environment(project.root)
    set_up(project, environment, options.wheels)
    variables = _clean_environment(WORKSHOP_API="live")
    if not options.live:
        variables = recorded_environment(variables)
    command: list[str | Path] = [environment.python, Path(__file__).resolve(), "_run"]
    if options.limit is not None:
        command += ["--limit", str(options.limit)]
    return project.execute([*command, *wanted], folder=project.root, environment=variables)


def record(project: Project, options: argparse.Namespace) -> int:
    """Run notebooks live, write down what the model answers, and take it over into the recordings."""
    wanted = [find_notebook(project, number) for number in options.notebooks] or all_notebooks(project)
    # Absolute, because a notebook runs in a folder of its own.
    recordings = Path(
        os.environ.get("WORKSHOP_RECORDINGS") or project.root / "data" / "recordings"
    ).absolute()
    captured = recordings / "captured"
    environment = learner_environment(project.root)
    status = 0
    if options.no_run:
        set_up(project, environment, options.wheels)
    else:
        if not key_found_in(project.root):
            raise Problem("Recording needs a key and none was found. Put OPENAI_API_KEY in .env.")
        if not options.yes and not may_spend(len(wanted), options.limit):
            say("Nothing was run and nothing was spent.")
            return 1
        set_up(project, environment, options.wheels)
        command = [environment.python, Path(__file__).resolve(), "_run", "--limit", str(options.limit)]
        status = project.execute(
            [*command, "--record-to", captured, *wanted],
            folder=project.root,
            environment=_clean_environment(WORKSHOP_API="record", WORKSHOP_RECORDINGS=str(recordings)),
        )
    files = [captured / f"{path.stem}.yaml" for path in wanted]
    files = [path for path in files if path.is_file()]
    if not files:
        say(f"There is nothing to take over: no captured answers in {captured}.")
        return 1
    adopt = [environment.python, "-m", "helpers.local_api", "adopt", "--folder", recordings, *files]
    adopted = project.execute(
        [*adopt, *(["--replace"] if options.replace else [])],
        folder=project.root,
        environment=recorded_environment(_clean_environment()),
    )
    if not options.replace:
        say(
            "`python start.py record --no-run --replace` takes over the kept ones as well, and spends nothing."
        )
    return status or adopted


def may_spend(notebooks: int, limit_usd: float) -> bool:
    """Ask whether to run notebooks live; return the answer.

    Raises:
        Problem: nobody can answer here.
    """
    if not sys.stdin.isatty():
        raise Problem(
            "Recording runs the notebooks live and costs money, and nobody can be asked here. Add --yes if you mean it."
        )
    count = "1 notebook" if notebooks == 1 else f"{notebooks} notebooks"
    say(
        f"This runs {count} on OpenAI with your key. README.md says what each costs; it stops at ${limit_usd:.2f} "
        "(--limit)."
    )
    return input("Go on? [y/N] ").strip().lower() in ("y", "yes")


def run_in_environment(arguments: Sequence[str]) -> int:
    """Execute the notebooks of a command line; this part runs in the environment's own Python."""
    parser = argparse.ArgumentParser(prog="start.py _run", allow_abbrev=False)
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument("--limit", type=float)
    parser.add_argument("--record-to", type=Path)
    options = parser.parse_args(arguments)
    failed = 0
    about = ""
    spent_usd: float | None = 0.0
    width = max(len(path.stem) for path in options.notebooks)
    for path in options.notebooks:
        if options.limit is not None:
            if spent_usd is None or spent_usd >= options.limit:
                failed += 1
                spent = "an unknown part" if spent_usd is None else f"${spent_usd:.4f}"
                say(f"{path.stem:<{width}}  not run: {spent} of ${options.limit:.2f} is spent")
                continue
            # connect() reads it, so that the limit holds inside a notebook too.
            os.environ["WORKSHOP_LIMIT_USD"] = f"{options.limit - spent_usd:.6f}"
        if options.record_to is not None:
            os.environ["WORKSHOP_RECORD_TO"] = str(options.record_to.absolute() / f"{path.stem}.yaml")
        outcome = run_one(path)
        # A price that is not known must not count as nothing.
        spent_usd = None if spent_usd is None or outcome.price_usd is None else spent_usd + outcome.price_usd
        failed += outcome.error is not None
        about = "≈" if outcome.estimated else about
        say(f"{path.stem:<{width}}  {outcome.line()}")
        for line in outcome.more_lines():
            say(f"  {line}")
    if options.record_to is not None:
        say("The price is not known." if spent_usd is None else f"Spent: {about}${spent_usd:.4f}.")
    if failed:
        say(f"{failed} of {len(options.notebooks)} failed.")
    return 1 if failed else 0


@dataclasses.dataclass
class Outcome:
    """What a headless run of one notebook came to."""

    cells: int = 0
    seconds: float = 0.0
    error: str | None = None
    mode: str = "?"
    tokens: int | None = None
    price_usd: float | None = None
    estimated: bool = False
    left: list[str] = dataclasses.field(default_factory=list)
    captures: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def line(self) -> str:
        """The outcome in one line, without the notebook's name."""
        about = "≈" if self.estimated else ""
        tokens = "?" if self.tokens is None else f"{about}{self.tokens:,}"
        price = "?" if self.price_usd is None else f"{about}${self.price_usd:.4f}"
        word = "ok    " if self.error is None else "FAILED"
        text = f"{word}  {self.cells:>3} cells  {self.seconds:6.1f} s  {self.mode}  {tokens} tokens  {price}"
        return text if self.error is None else f"{text}  {self.error}"

    def more_lines(self) -> Iterator[str]:
        """What a run with a key leaves behind: recorded answers, and what is still in the account."""
        for capture in self.captures:
            count = "1 answer" if capture["recorded"] == 1 else f"{capture['recorded']} answers"
            yield one_line(f"recorded: {count}, in {capture['path']}")
            for reason in capture["not_recorded"]:
                yield one_line(f"not recorded: {reason}")
            if capture["trouble"]:
                yield one_line(f"TROUBLE: {capture['trouble']}")
        if self.captures or (self.left and self.mode == "live"):
            yield one_line(f"still in the account: {self.what_is_left()}")

    def what_is_left(self) -> str:
        """What the notebook made and did not remove; of what costs nothing more, only how many."""
        parts = []
        for kind in ("vector store", "container", "file"):
            parts += [each for each in self.left if each.startswith(f"{kind} ")]
        for kind in ("conversation", "response"):
            count = sum(each.startswith(f"{kind} ") for each in self.left)
            parts += [f"{count} {kind}{'' if count == 1 else 's'}"] if count else []
        return ", ".join(parts) or "nothing that this notebook made"


def run_one(path: Path) -> Outcome:
    """Execute one notebook in a kernel of its own, in the notebook's folder, and write nothing back."""
    # Only the environment's Python has these, and they come without complete types.
    nbformat: Any = importlib.import_module("nbformat")
    from nbclient import NotebookClient

    # zmq on Windows makes do without what this warning is about.
    warnings.filterwarnings("ignore", message="Proactor event loop")
    outcome = Outcome()
    started = time.monotonic()
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # noqa: BLE001 - nbformat raises whatever its JSON reader and its schema raise
        outcome.error = one_line(f"it is not a notebook: {error}")
        return outcome
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}})
    client.shutdown_kernel = "immediate"  # a graceful one now and then waits for seconds
    try:
        with client.setup_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            outcome.error = _execute_cells(client, notebook, outcome)
            outcome.seconds = time.monotonic() - started
            _add_summary(client, notebook, outcome)
    except (RuntimeError, KeyError, OSError) as error:
        outcome.error = one_line(f"the kernel did not start: {error}")
    return outcome


def _execute_cells(client: Any, notebook: Any, outcome: Outcome) -> str | None:
    """Execute the cells in their order and count them; return the first error as one line."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    number = 0
    try:
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type == "code" and cell.source.strip():
                number += 1
                client.execute_cell(cell, index)
                outcome.cells += 1
    except CellExecutionError as error:
        return one_line(f"cell [{number}]: {error.ename}: {error.evalue}")
    except CellTimeoutError:
        return f"cell [{number}]: it did not end within {client.timeout} s"
    except DeadKernelError:
        return f"cell [{number}]: the kernel died"
    return None


_SUMMARY_CELL = """
try:
    import helpers, json
    print("run_summary", json.dumps(helpers.run_summary()))
except (ImportError, AttributeError):
    print("run_summary", "{}")
"""


def _add_summary(client: Any, notebook: Any, outcome: Outcome) -> None:
    """Ask the notebook's own kernel what it used: mode, tokens and price, as the helpers counted them."""
    from nbclient.exceptions import CellControlSignal, DeadKernelError

    nbformat: Any = importlib.import_module("nbformat")
    cell = nbformat.v4.new_code_cell(_SUMMARY_CELL)
    notebook.cells.append(cell)
    try:
        client.execute_cell(cell, len(notebook.cells) - 1)
    except (CellControlSignal, DeadKernelError, RuntimeError):
        return  # no kernel to ask any more; the line then shows question marks
    printed = "".join(output.get("text", "") for output in cell.outputs)
    for line in printed.splitlines():
        if line.startswith("run_summary "):
            found = json.loads(line[len("run_summary ") :])
            outcome.mode = str(found.get("mode", "?"))
            outcome.tokens = found.get("tokens")
            outcome.price_usd = found.get("price_usd")
            outcome.estimated = bool(found.get("estimated"))
            outcome.left = [str(each) for each in found.get("left", [])]
            outcome.captures = list(found.get("captures", []))


# -- tests ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Missing:
    """Why a group of tests cannot run on this machine, and how to get it."""

    why: str
    how: str


def missing_groups(project: Project, python: Path | None = None) -> dict[str, Missing]:
    """Return the groups of tests that this machine cannot run.

    Args:
        project: where.
        python: the environment whose pip is asked whether packages can be fetched; without it, nobody asks.
    """
    missing = {}
    if find_chromium() is None:
        missing["browser"] = Missing(
            "no Chromium or Chrome here", "install Chromium (Debian: apt-get install chromium)"
        )
    if not can_unshare(project):
        missing["netns"] = Missing(
            "no Linux network namespaces here",
            "run on Linux where `unshare -rn true` works (in Docker: --security-opt seccomp=unconfined)",
        )
    why = why_not_pinned()
    if why is not None:
        missing["pinned"] = why
    if python is not None and not _index_answers(project, python):
        missing["install"] = Missing(
            "no package index can be reached", "connect to a network, or configure pip"
        )
    npm = shutil.which("npm")
    if npm is None:
        missing["node"] = Missing("no npm here", "install Node.js (Debian: apt-get install nodejs npm)")
    elif python is not None and not _npm_answers(project, npm):
        missing["node"] = Missing("no npm registry can be reached", "connect to a network, or configure npm")
    return missing


def why_not_pinned(installed: Callable[[str], str | None] | None = None) -> Missing | None:
    """Return why committed outputs cannot be compared here; ``None`` if they can.

    Args:
        installed: gives the installed version of a package; without it, only Python and the system are looked at.
    """
    how = f"python{'.'.join(map(str, PINNED_PYTHON))} start.py test, on Linux"
    if not LINUX or sys.version_info[:2] != PINNED_PYTHON:
        here = f"this is Python {_minor_version()} on {platform.system()}"
        return Missing(f"the committed outputs were made elsewhere; {here}", how)
    if installed is not None:
        for name, version in pinned_versions(ROOT / "constraints.txt").items():
            found = installed(name)
            if found is not None and found != version:
                return Missing(f"{name} is {found} and constraints.txt pins {version}", how)
    return None


def pinned_versions(constraints: Path) -> dict[str, str]:
    """Return the versions in a constraints file, by package name."""
    pairs = (
        line.split("==", 1) for line in constraints.read_text(encoding="utf-8").splitlines() if "==" in line
    )
    return {name.strip(): version.strip() for name, version in pairs if not name.startswith("#")}


def find_chromium() -> str | None:
    """Return the path of a Chromium, Chrome or Edge that is installed here; the tests never download one."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        found = shutil.which(name)
        if found:
            return found
    places: list[Path] = []
    if sys.platform == "darwin":
        for name in ("Google Chrome", "Chromium", "Microsoft Edge"):
            places.append(Path(f"/Applications/{name}.app/Contents/MacOS/{name}"))
    if os.name == "nt":
        for variable in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA"):
            folder = os.environ.get(variable)
            if folder:
                places.append(Path(folder, "Google", "Chrome", "Application", "chrome.exe"))
                places.append(Path(folder, "Microsoft", "Edge", "Application", "msedge.exe"))
    return next((str(path) for path in places if path.is_file()), None)


def can_unshare(project: Project) -> bool:
    """Return whether a program can be given a network of its own, with nothing but loopback in it."""
    if not LINUX or shutil.which("unshare") is None:
        return False
    status, _ = project.output_of([*namespace_command(project.root), "true"], timeout_s=20)
    return status == 0


def namespace_command(root: Path) -> list[str]:
    """Return what goes before a command so that it runs in a network of its own (Linux)."""
    return ["unshare", "-rn", sys.executable, str(root / "tests" / "isolation" / "namespace.py")]


def hook_environment(root: Path) -> dict[str, str]:
    """Return the environment variables that refuse the network where there are no namespaces.

    Two layers, because neither holds alone: an audit hook, loaded by every Python through ``sitecustomize``, refuses
    what goes through Python's sockets; dead proxies stop clients that bring their own, such as primp (Rust) in ddgs.
    """
    hook = str(root / "tests" / "isolation" / "hook")
    paths = [hook, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    variables = {"PYTHONPATH": os.pathsep.join(paths), "WORKSHOP_NETWORK": "hook"}
    for name in PROXY_SETTINGS:
        variables[name] = variables[name.lower()] = DEAD_PROXY
    variables["NO_PROXY"] = variables["no_proxy"] = LOOPBACK
    return variables


def _index_answers(project: Project, python: Path) -> bool:
    """Return whether pip, as it is configured here, can fetch a package."""
    with tempfile.TemporaryDirectory() as folder:
        # A small one. "download" also works where a system's Python refuses "install".
        options = ["--no-deps", "--retries", "0", "--timeout", "10", "--quiet", "--dest", folder]
        status, _ = project.output_of(
            [python, "-m", "pip", "download", *options, "typing_extensions"],
            environment=pip_environment(),
            timeout_s=60,
        )
    return status == 0


def _npm_answers(project: Project, npm: str) -> bool:
    """Return whether npm, as it is configured here, can ask its registry."""
    options = ["--fetch-retries=0", "--fetch-timeout=10000", "--loglevel=silent"]
    status, _ = project.output_of(
        [npm, "view", "openai", "version", *options], environment=_clean_environment(), timeout_s=60
    )
    return status == 0


@dataclasses.dataclass
class Step:
    """One program of the test run, and what came of it."""

    name: str
    command: list[str | Path]
    environment: dict[str, str]
    status: int | None = None
    last: str = ""

    @property
    def ok(self) -> bool:
        """Whether it ran and found nothing wrong."""
        return self.status == 0


def test_steps(
    project: Project, environment: Environment, options: argparse.Namespace, missing: Mapping[str, Missing]
) -> list[Step]:
    """Return the programs of a test run, in their order."""
    python = environment.python
    open_environment = _clean_environment(PYTHONUNBUFFERED="1", PYTHONIOENCODING="utf-8")
    recorded = recorded_environment(open_environment)
    if "netns" in missing:
        prefix: list[str | Path] = []
        isolated = {**recorded, **hook_environment(project.root)}
    else:
        prefix = list(namespace_command(project.root))
        isolated = {**recorded, "WORKSHOP_NETWORK": "namespace"}
    pytest: list[str | Path] = [python, "-m", "pytest", f"--left-out={','.join(missing)}"]
    if sys.stdout.isatty():
        pytest.append("--color=yes")
    if options.pytest_arguments:
        words = options.pytest_arguments
        chosen = [words[place + 1] for place, word in enumerate(words[:-1]) if word == "-m"]
        # The tests that install packages need the network that everything else is kept from.
        if any(re.search(r"(?<!not )\b(install|node)\b", expression) for expression in chosen):
            return [Step("pytest", [*pytest, *words], recorded)]
        return [Step("pytest", [*prefix, *pytest, *words], isolated)]
    steps = [
        Step("ruff check", [python, "-m", "ruff", "check", "."], recorded),
        Step("ruff format", [python, "-m", "ruff", "format", "--check", "."], recorded),
        Step("mypy", [python, "-m", "mypy"], recorded),
        Step("unit tests", [*prefix, *pytest, "-m", "not install and not node", "tests"], isolated),
    ]
    notebooks: list[str | Path] = [*pytest, "--nbmake", "--nbmake-timeout=300", project.notebooks]
    if options.live:
        steps.append(Step("notebooks, live", [*notebooks, "--live"], open_environment))
    else:
        steps.append(Step("notebooks", [*prefix, *notebooks], isolated))
    installing = [name for name in ("install", "node") if name not in missing]
    if installing:
        steps.append(Step("installing", [*pytest, "-m", " or ".join(installing), "tests"], recorded))
    return steps


test_steps.__test__ = False  # type: ignore[attr-defined]


def run_tests(project: Project, options: argparse.Namespace) -> int:
    """Run all tests that this machine can run, and say which it cannot."""
    if options.live and not key_found_in(project.root):
        raise Problem(
            "--live needs a key and none was found. Put OPENAI_API_KEY in .env, or leave out --live."
        )
    environment = test_environment(project.root)
    set_up(project, environment)
    missing = missing_groups(project, environment.python)
    for name, group in missing.items():
        say(f"Left out: {name} ({group.why}). To get it: {group.how}.")
    steps = test_steps(project, environment, options, missing)
    if options.pytest_arguments:
        # On this console, so that --pdb works.
        return int(project.execute(steps[0].command, folder=project.root, environment=steps[0].environment))
    for step in steps:
        say(f"\n== {step.name}")
        step.status, step.last = _run_step(project, step)
    say("\n== Summary")
    for step in steps:
        say(f"{'ok    ' if step.ok else 'FAILED'}  {step.name:<16} {step.last}")
    for name, group in missing.items():
        say(f"{'FAILED' if options.all else 'left out'}  {name} ({group.why})")
    if missing and options.all:
        say("--all asks for every group, and this machine cannot run the ones named above.")
    return 0 if all(step.ok for step in steps) and not (missing and options.all) else 1


def _run_step(project: Project, step: Step) -> tuple[int, str]:
    """Run one step in full view; return its status and its last telling line."""
    tail = ""

    def show(text: str) -> None:
        nonlocal tail
        tail = (tail + text)[-4000:]
        sys.stdout.write(text)
        sys.stdout.flush()

    status = project.execute(step.command, folder=project.root, environment=step.environment, on_text=show)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", tail)
    return status, one_line(_last_line(plain).strip("= "))


# -- wheels for a room without a network ----------------------------------------------------------------------------


def wheel_platform() -> dict[str, str]:
    """Name what wheels depend on."""
    return {
        "python": _minor_version(),
        "implementation": sys.implementation.name,
        "system": platform.system(),
        "machine": platform.machine().lower(),
        "libc": platform.libc_ver()[0] if platform.system() == "Linux" else "",
    }


def pack(project: Project, options: argparse.Namespace) -> int:
    """Put every wheel that an installation needs into a folder, with a list of what is in it."""
    folder: Path = options.folder.resolve()
    environment = learner_environment(project.root)
    with _lock(project.root):
        # Only its pip is needed, so an environment that is there already is left as it is.
        if not _python_of(project, environment) or _why_unusable(project, environment):
            _make(project, environment)
    folder.mkdir(parents=True, exist_ok=True)
    old = _read_manifest(folder).get("wheels", {})
    strangers = [path.name for path in folder.glob("*.whl") if path.name not in old]
    if strangers:
        raise Problem(
            f"{folder} holds wheels that start.py did not put there ({strangers[0]}). Choose another folder."
        )
    say(f"Collecting wheels in {folder}.")
    with tempfile.TemporaryDirectory(prefix=".pack-", dir=folder) as temporary:
        arguments: list[str | Path] = ["wheel", "--wheel-dir", temporary]
        arguments += ["-r", _requirements_without_project(project, Path(temporary))]
        arguments += ["-c", project.root / "constraints.txt", *BUILD_REQUIREMENTS]
        status, lines = _pip(project, environment, arguments)
        if status != 0:
            raise Problem(explain_pip(lines))
        new = sorted(Path(temporary).glob("*.whl"))
        for name in old:
            (folder / name).unlink(missing_ok=True)
        for path in new:
            os.replace(path, folder / path.name)
    manifest = {
        "about": "Wheels for `python start.py --wheels DIR`. They fit only the Python and the system named here.",
        **wheel_platform(),
        "requirements_sha256": _sha256((project.root / "requirements.txt").read_bytes()),
        "wheels": {path.name: _sha256((folder / path.name).read_bytes()) for path in new},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    size_mb = sum((folder / path.name).stat().st_size for path in new) / 1e6
    say(
        f"{len(new)} wheels, {size_mb:.0f} MB, for Python {_minor_version()} on {describe_platform(manifest)}."
    )
    say("Copy the project and this folder to the other machines, and there:")
    say(f"  python start.py --wheels {shlex.quote(folder.name)}")
    return 0


def _requirements_without_project(project: Project, folder: Path) -> Path:
    """Write requirements.txt without its last line: the project itself is installed from its own folder."""
    lines = (project.root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    path = folder / "requirements.txt"
    path.write_text("\n".join(line for line in lines if not line.startswith("-e ")), encoding="utf-8")
    return path


def describe_platform(manifest: Mapping[str, Any]) -> str:
    """Return system and processor of a manifest in words."""
    libc = f" ({manifest['libc']})" if manifest.get("libc") else ""
    return f"{manifest.get('system')} {manifest.get('machine')}{libc}"


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Problem(
            f"{folder / MANIFEST} cannot be read ({type(error).__name__}). Copy the folder again."
        ) from None
    return manifest if isinstance(manifest, dict) else {}


def checked_wheels(folder: Path) -> Path:
    """Return the absolute path of a folder of wheels after checking that it is whole and fits this machine."""
    folder = folder.expanduser().resolve()
    manifest = _read_manifest(folder)
    if not manifest:
        raise Problem(
            f"{folder} is not a folder of wheels: {MANIFEST} is missing. `python start.py pack` makes one."
        )
    here = wheel_platform()
    if any(manifest.get(name) != value for name, value in here.items()):
        raise Problem(
            f"These wheels are for Python {manifest.get('python')} on {describe_platform(manifest)}, and this is "
            f"Python {here['python']} on {describe_platform(here)}. Make them with the same Python on the same system."
        )
    for name, wanted in manifest.get("wheels", {}).items():
        try:
            found = _sha256((folder / Path(name).name).read_bytes())
        except OSError:
            raise Problem(f"{name} is missing in {folder}. Copy the folder again.") from None
        if found != wanted:
            raise Problem(f"{name} in {folder} is damaged. Copy the folder again.")
    return folder


# -- constraints ----------------------------------------------------------------------------------------------------

_CONSTRAINTS_HEADER = """\
# The versions that the tests ran with, made with Python {version} on {system}. `python start.py test` installs exactly
# these; the committed outputs of the notebooks are compared with them. Not for learners: .venv takes what
# requirements.txt allows. To refresh: python{minor} start.py pin, then python{minor} start.py test.
"""


def pin(project: Project) -> int:
    """Write constraints.txt anew: the newest versions that the requirements allow."""
    if sys.version_info[:2] != PINNED_PYTHON or not LINUX:
        raise Problem(f"Pins are made with Python {'.'.join(map(str, PINNED_PYTHON))} on Linux.")
    with tempfile.TemporaryDirectory() as temporary:
        environment = dataclasses.replace(
            test_environment(project.root), folder=Path(temporary, "environment"), constraints=None
        )
        _make(project, environment)
        _install(project, environment, None, fingerprint(environment, project.root))
        status, text = project.output_of(
            [environment.python, "-m", "pip", "freeze", "--exclude-editable"], environment=pip_environment()
        )
        if status != 0:
            raise Problem(f"pip could not list the packages: {one_line(_last_line(text))}")
    lines = [line for line in text.splitlines() if re.fullmatch(r"[A-Za-z0-9._-]+==[^\s@]+", line)]
    lines.sort(key=str.lower)  # versions of pip differ in their order
    header = _CONSTRAINTS_HEADER.format(
        version=platform.python_version(), system=platform.system(), minor=_minor_version()
    )
    (project.root / "constraints.txt").write_text(header + "\n".join(lines) + "\n", encoding="utf-8")
    say(f"constraints.txt now pins {len(lines)} packages.")
    return 0


# -- check-up -------------------------------------------------------------------------------------------------------

# "ok"; "note": something optional is missing; "problem": notebooks do not run like this.
OK, NOTE, PROBLEM = "ok", "note", "problem"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the check-up."""

    level: str
    text: str


def doctor(project: Project) -> int:
    """Check this machine, one line per check; return 1 if something stops the notebooks."""
    findings = []
    for check in CHECKS:
        for finding in check(project):
            findings.append(finding)
            say(f"{finding.level:<8} {redact(finding.text)}")
    problems = sum(finding.level == PROBLEM for finding in findings)
    say()
    if problems:
        say(f"{problems} problem{'s' if problems > 1 else ''} to solve; each line says how.")
    else:
        say("Nothing stops the notebooks.")
    return 1 if problems else 0


def check_python(project: Project) -> Iterator[Finding]:
    """The Python that start.py runs with."""
    version = platform.python_version()
    if sys.version_info[:2] > NEWEST_TESTED_PYTHON:
        newest = ".".join(map(str, NEWEST_TESTED_PYTHON))
        yield Finding(
            NOTE, f"Python {version} is newer than what was tested; if anything breaks, use {newest}."
        )
    elif sys.maxsize < 2**32:
        yield Finding(
            PROBLEM,
            f"Python {version} is a 32-bit one and some packages have no wheels for it; install the 64-bit one.",
        )
    else:
        yield Finding(OK, f"Python {version}")
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        level = NOTE if _python_of(project, learner_environment(project.root)) else PROBLEM
        yield Finding(level, f"venv or ensurepip is missing, so no environment can be made. {_venv_advice()}")
    else:
        yield Finding(OK, "venv and ensurepip are there")


def check_folder(project: Project) -> Iterator[Finding]:
    """Room and permission to write."""
    try:
        with tempfile.TemporaryFile(dir=project.root):
            pass
        yield Finding(OK, f"{project.root} can be written to")
    except OSError as error:
        yield Finding(PROBLEM, str(_not_writable(project.root, error)))
    free_gb = shutil.disk_usage(project.root).free / 1e9
    ready = _read_record(learner_environment(project.root)).get("state") == "ready"
    if free_gb < (0.2 if ready else 1.0):
        yield Finding(PROBLEM, f"only {free_gb:.1f} GB free on the disk; the packages need about 1 GB")
    else:
        yield Finding(OK, f"{free_gb:.0f} GB free on the disk")


_PACKAGES_CODE = """
import re, sys
from importlib.metadata import PackageNotFoundError, version
from packaging.requirements import Requirement
for line in open(sys.argv[1], encoding="utf-8"):
    line = line.split("#")[0].strip()
    if line.startswith("-e"):
        line = "agentic-retrieval-workshop"
    if not line:
        continue
    wanted = Requirement(line)
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        print(wanted.name, "is missing")
        continue
    if found not in wanted.specifier:
        print(wanted.name, found, "does not fit", wanted.specifier)
"""


def check_packages(project: Project) -> Iterator[Finding]:
    """What is installed in the learner's environment."""
    environment = learner_environment(project.root)
    state = _read_record(environment).get("state")
    if not environment.folder.exists():
        yield Finding(NOTE, "nothing is installed yet; `python start.py` does it")
        return
    if not _python_of(project, environment):
        yield Finding(PROBLEM, ".venv is there and its Python does not run; `python start.py` makes it again")
        return
    status, text = project.output_of(
        [environment.python, "-c", _PACKAGES_CODE, project.root / "requirements.txt"]
    )
    if state not in (None, "ready"):
        yield Finding(PROBLEM, "the packages are not all installed; `python start.py` completes it")
    elif status != 0 or text:
        what = one_line("; ".join(text.splitlines())) if status == 0 else "they cannot be listed"
        yield Finding(PROBLEM, f"packages: {what}. Delete the folder .venv and run `python start.py`")
    else:
        yield Finding(OK, "the packages of requirements.txt are installed")


def read_dotenv(root: Path) -> dict[str, str]:
    """Return the settings in .env, as far as a check-up needs them."""
    try:
        lines = (root / ".env").read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        match = re.match(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", line)
        if match:
            value = re.sub(r"(^|\s)#.*", "", match.group(2)).strip().strip("\"'").strip()
            if value:
                found[match.group(1)] = value
    return found


def setting(root: Path, name: str) -> str:
    """Return a setting of the environment, else of .env, else ``""``."""
    return os.environ.get(name, "").strip() or read_dotenv(root).get(name, "")


def key_found_in(root: Path) -> str:
    """Return where there is a key, in words; ``""`` if there is none."""
    if os.environ.get("OPENAI_API_KEY", "").strip():
        return "the environment"
    return ".env" if read_dotenv(root).get("OPENAI_API_KEY") else ""


def check_key(project: Project) -> Iterator[Finding]:
    """Whether there is a key. Its value is never shown."""
    place = key_found_in(project.root)
    if not place:
        yield Finding(
            NOTE, "no key found: the notebooks run in recorded mode, which needs none (to go live: .env)"
        )
    elif not re.fullmatch(r"[\x21-\x7e]+", setting(project.root, "OPENAI_API_KEY")):
        yield Finding(
            PROBLEM, f"the key in {place} holds a space or a character that no key has; copy it again"
        )
    else:
        yield Finding(OK, f"a key was found in {place} (not shown, not tried)")


_API_CODE = """
import sys
try:
    import openai
    with openai.DefaultHttpxClient(timeout=6.0) as client:
        print("status", client.get(sys.argv[1]).status_code)
except Exception as error:
    causes = []
    while error is not None and len(causes) < 8:
        causes.append(type(error).__name__ + ": " + str(error))
        error = error.__cause__ or error.__context__
    print("error", " / ".join(causes))
"""


def check_api(project: Project) -> Iterator[Finding]:
    """Whether OpenAI can be reached, with the very client that the notebooks use (no key is sent)."""
    server = setting(project.root, "OPENAI_BASE_URL") or "https://api.openai.com/v1"
    host = urlsplit(server).hostname or server
    level = PROBLEM if setting(project.root, "WORKSHOP_API") == "live" else NOTE
    environment = learner_environment(project.root)
    status, text = project.output_of(
        [environment.python, "-c", _API_CODE, server.rstrip("/") + "/models"], timeout_s=25
    )
    lower = text.lower()
    if status == 127:
        yield Finding(NOTE, f"{host}: asked only when the packages are installed; `python start.py` does it")
    elif text.startswith("status "):
        yield Finding(OK, f"{host} can be reached")
    elif any(sign in lower for sign in _CERTIFICATE):
        yield Finding(
            level,
            f"{host}: certificate verify failed. Something on the way, often a company's TLS inspection, shows its own "
            "certificate: point SSL_CERT_FILE at the company's certificate bundle. Recorded mode works without it.",
        )
    elif "socksio" in lower:
        yield Finding(level, f"{host}: the proxy is a SOCKS proxy; .venv needs `pip install socksio` for it.")
    elif "proxy" in lower:
        yield Finding(
            level, f"{host}: the proxy did not let the request through; check HTTPS_PROXY and NO_PROXY."
        )
    else:
        yield Finding(level, f"{host} cannot be reached from here. Recorded mode works without it.")


def check_index(project: Project) -> Iterator[Finding]:
    """Whether pip can fetch packages."""
    environment = learner_environment(project.root)
    python = environment.python
    if not _python_of(project, environment):
        python = Path(sys.executable)
    status, _ = project.output_of([python, "-m", "pip", "--version"])
    if status != 0:
        yield Finding(NOTE, "package index: asked only when there is a pip; `python start.py` brings one")
        return
    if _index_answers(project, python):
        yield Finding(OK, "pip can fetch packages")
        return
    installed = _read_record(environment).get("state") == "ready"
    yield Finding(
        NOTE if installed else PROBLEM,
        "pip cannot fetch packages"
        + (
            "; what is installed is enough."
            if installed
            else ": connect, or use `python start.py --wheels DIR`."
        ),
    )


def check_certificates(project: Project) -> Iterator[Finding]:
    """The certificates that TLS connections are checked against."""
    missing = [
        name
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        if os.environ.get(name) and not Path(os.environ[name]).exists()
    ]
    installed = _read_record(learner_environment(project.root)).get("state") == "ready"
    for name in missing:
        yield Finding(
            NOTE if installed else PROBLEM,
            f"{name} points at a file that does not exist; correct or unset it",
        )
    try:
        import ssl
    except ImportError:
        yield Finding(
            PROBLEM, "this Python was built without TLS (ssl); install Python from https://www.python.org"
        )
        return
    paths = ssl.get_default_verify_paths()
    count = ssl.create_default_context().cert_store_stats()["x509_ca"]
    if count or (paths.capath and Path(paths.capath).is_dir() and any(Path(paths.capath).iterdir())):
        yield Finding(OK, f"TLS trust store: {paths.cafile or paths.capath or 'of the system'}")
    elif not missing:
        yield Finding(
            NOTE,
            "this Python has no TLS trust store of its own; the packages bring one. On macOS run 'Install "
            "Certificates.command' in the folder of Python.",
        )


def check_proxies(project: Project) -> Iterator[Finding]:
    """The proxies of the environment, and whether anything answers there."""
    seen: dict[str, str] = {}
    for name in PROXY_SETTINGS:
        address = os.environ.get(name) or os.environ.get(name.lower())
        if address:
            seen.setdefault(address, name)
    if not seen:
        yield Finding(OK, "no proxy is set")
    for address, name in seen.items():
        parts = urlsplit(address if "://" in address else f"http://{address}")
        try:
            port = parts.port or (
                1080 if parts.scheme.startswith("socks") else 443 if parts.scheme == "https" else 80
            )
            with socket.create_connection((parts.hostname or "", port), timeout=3):
                yield Finding(OK, f"{name}: {parts.hostname}:{port} answers")
        except (OSError, ValueError):
            yield Finding(
                NOTE, f"{name}: nothing answers at {parts.hostname}; correct or unset it to go live"
            )


def check_text(project: Project) -> Iterator[Finding]:
    """Whether text in other scripts survives in files and on the console."""
    import locale

    names = {
        "file names": sys.getfilesystemencoding(),
        "the console": getattr(sys.stdout, "encoding", None) or "ascii",
        "files": locale.getpreferredencoding(False),
    }
    odd = {what: name for what, name in names.items() if codecs.lookup(name).name != "utf-8"}
    if odd:
        which = ", ".join(f"{what}: {name}" for what, name in odd.items())
        yield Finding(NOTE, f"not everything is UTF-8 ({which}); if letters look wrong, set PYTHONUTF8=1")
    else:
        yield Finding(OK, "text is UTF-8")


def check_paths(project: Project) -> Iterator[Finding]:
    """Windows refuses paths over 260 characters unless told otherwise."""
    if os.name != "nt":
        return
    if len(str(project.root)) < 90 or _long_paths_allowed():
        yield Finding(OK, "paths are short enough, or long ones are allowed")
    else:
        yield Finding(
            NOTE,
            "the project's path is long and Windows allows 260 characters: move it to a short path such as "
            "C:\\workshop, or turn on LongPathsEnabled (Settings, For developers)",
        )


def _long_paths_allowed() -> bool:
    if sys.platform == "win32":
        import winreg

        place = r"SYSTEM\CurrentControlSet\Control\FileSystem"
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as key:
                return bool(winreg.QueryValueEx(key, "LongPathsEnabled")[0])
        except OSError:
            return False
    else:
        return True


def check_extras(project: Project) -> Iterator[Finding]:
    """What makes it nicer or safer, and what only the tests use."""
    if has_browser():
        yield Finding(OK, "a browser can be opened")
    else:
        yield Finding(
            NOTE, "no browser on this machine: `python start.py` prints an address to open elsewhere"
        )
    if LINUX:
        if shutil.which("bwrap"):
            yield Finding(OK, "bubblewrap is there: recorded code runs inside it (notebook 3)")
        else:
            yield Finding(
                NOTE,
                "no bubblewrap: recorded code (notebook 3) runs without a sandbox (Debian: apt-get install bubblewrap)",
            )
    for name, group in missing_groups(project).items():
        yield Finding(NOTE, f"for developers: the {name} tests cannot run here ({group.why})")


CHECKS = (
    check_python,
    check_folder,
    check_packages,
    check_key,
    check_certificates,
    check_proxies,
    check_index,
    check_api,
    check_text,
    check_paths,
    check_extras,
)


# -- the command line -----------------------------------------------------------------------------------------------

_HELP = """\
  python start.py               set up once, then open notebook 1 in JupyterLab
  python start.py 02            ... notebook 2 (--no-browser, --port N, --wheels DIR, --only-set-up)
  python start.py run           run all notebooks without a browser, one line each (--live, --limit USD)
  python start.py record        run them live and record what the model answers (--replace, --limit USD, --yes)
  python start.py reset 01      restore notebook 1 and keep your copy of it
  python start.py doctor        check this machine and say what to do about each problem
  python start.py pack          a folder of wheels, for machines without a network
  python start.py test          all tests that this machine can run (--all, --live, or arguments for pytest)
  python start.py pin           for developers: write constraints.txt anew

You work in work/: copies of the notebooks that nothing here overwrites. Without a key everything is recorded and
free; with a key, `run` and `test` stay recorded unless you say --live. `record` is live, and asks first."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="start.py",
        usage="python start.py [notebook number | command] [options]",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="", help=argparse.SUPPRESS)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, prog=f"start.py {name}".replace(" open", ""), description=text, allow_abbrev=False
        )
        if name in ("open", "run", "record"):
            command.add_argument(
                "--wheels", type=Path, metavar="DIR", help="install from a folder made by pack"
            )
        return command

    command = add("open", "Set up once, then open a working copy of a notebook in JupyterLab.")
    command.add_argument("notebook", nargs="?", default="01", help="its number; 01 without one")
    command.add_argument("--no-browser", action="store_true", help="only print the address")
    command.add_argument(
        "--port", type=port_number, help="the port to listen on; without it, the first free one"
    )
    command.add_argument("--only-set-up", action="store_true", help="install and copy, open nothing")

    command = add(
        "test",
        "Run ruff, mypy, the unit tests, the notebooks and the installation tests. Recorded, even with a key, and "
        "without a network. Other arguments go to pytest, and then only pytest runs.",
    )
    command.add_argument("--all", action="store_true", help="a group that cannot run here is a failure (CI)")
    command.add_argument("--live", action="store_true", help="run the notebooks live; costs money")

    command = add("run", "Run notebooks without a browser and print one line each. Nothing is written back.")
    command.add_argument("notebooks", nargs="*", help="numbers; all without any")
    command.add_argument("--live", action="store_true", help="on OpenAI, with your key; costs money")
    command.add_argument(
        "--limit", type=us_dollars, metavar="USD", help="with --live: stop at this many US dollars"
    )

    command = add(
        "record",
        "Run notebooks live and record what the model answers, in data/recordings. New questions are added; answers that "
        "are there already stay unless you say --replace.",
    )
    command.add_argument("notebooks", nargs="*", help="numbers; all without any")
    command.add_argument(
        "--replace", action="store_true", help="instead of recorded answers to the same questions"
    )
    command.add_argument(
        "--limit",
        type=us_dollars,
        metavar="USD",
        default=RECORDING_LIMIT_USD,
        help=f"stop at this many US dollars; {RECORDING_LIMIT_USD:.2f} without it",
    )
    command.add_argument("--yes", action="store_true", help="do not ask before spending")
    command.add_argument(
        "--no-run", action="store_true", help="only take over what was recorded before; spends nothing"
    )

    command = add("reset", "Restore a working copy. Your own version stays beside it.")
    command.add_argument("notebook", help="its number")

    command = add(
        "pack", "Collect wheels, so that machines with this Python and system install without a network."
    )
    command.add_argument("folder", nargs="?", type=Path, default=ROOT / "wheels", help="wheels/ without one")

    add("doctor", "Check this machine. Exit status 1 if something stops the notebooks.")
    add("pin", "Write constraints.txt anew (for developers).")
    return parser


def port_number(text: str) -> int:
    """Read a port from the command line."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give a number from 1 to 65535")
    return int(text)


def us_dollars(text: str) -> float:
    """Read an amount of money from the command line."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount; give US dollars, such as 0.50")
    return value


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read a command line. Without a command it means: open a notebook."""
    words = list(arguments)
    if not words or words[0] not in (*COMMANDS, "-h", "--help"):
        words = ["open", *words]
    parser = build_parser()
    if words[0] == "test":
        options, rest = parser.parse_known_args(words)
        options.pytest_arguments = rest[1:] if rest[:1] == ["--"] else rest
    else:
        options = parser.parse_args(words)
    if options.command == "run" and options.limit is not None and not options.live:
        parser.error("--limit has a meaning only with --live: a recorded run spends nothing")
    return options


def main(arguments: Sequence[str] | None = None, project: Project | None = None) -> int:
    """Do what a command line asks for; return the exit status."""
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        print(
            f"The workshop needs Python {wanted} or newer, and this is Python {platform.python_version()}. Install a "
            "newer one from https://www.python.org/downloads/ and call start.py with it."
        )
        return 1
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    project = project or Project()
    try:
        if words[:1] == ["_run"]:
            return run_in_environment(words[1:])
        return _dispatch(project, parse(words))
    except Problem as problem:
        say(textwrap.fill(str(problem), 100, break_long_words=False, break_on_hyphens=False))
        return 1
    except KeyboardInterrupt:
        if words[:1] == ["_run"]:
            return 130  # the process that started this one says it
        say("\nStopped. Nothing is broken: run the same command again.")
        return 130
    except OSError as error:
        if error.errno == errno.ENOSPC:
            say("The disk is full. Make some room and start again.")
        else:
            say(
                one_line(
                    f"{error.filename or 'A file'}: {error.strerror or error}. `python start.py doctor` says more."
                )
            )
        return 1


def _dispatch(project: Project, options: argparse.Namespace) -> int:
    if options.command == "test":
        return run_tests(project, options)
    if options.command == "run":
        return run_all(project, options)
    if options.command == "record":
        return record(project, options)
    if options.command == "reset":
        say(reset(project, options.notebook))
        return 0
    if options.command == "pack":
        return pack(project, options)
    if options.command == "doctor":
        return doctor(project)
    if options.command == "pin":
        return pin(project)
    return open_notebook(project, options)


def _stop_on_request(*_: object) -> None:
    raise SystemExit(143)


if __name__ == "__main__":
    # Being ended by another program must end what was started here as well, and not only this process.
    signal.signal(signal.SIGTERM, _stop_on_request)
    sys.exit(main())
