"""start.py: the logic with a pretended pip and venv, and (mark ``install``) a few real installations."""

from __future__ import annotations

import argparse
import ast
import contextlib
import datetime
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import httpx2
import nbformat
import openai
import pytest
from packaging.requirements import Requirement

import start
from helpers.local_api import LocalAPI
from helpers.local_api.__main__ import main as local_api
from helpers.local_api.serving import serving

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
KEY = "sk-proj-this-must-never-be-shown"


class Machine:
    """Stands in for running programs: makes a pretended environment, answers for its Python and its pip."""

    def __init__(self, root: Path) -> None:
        self.project = start.Project(root, self)
        self.commands: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self.pip_says = "Successfully installed everything"
        self.pip_status = 0
        self.pip_raises: type[BaseException] | None = None
        self.python_says = HERE

    def __call__(self, command, *, folder, environment=None, on_text=None, timeout_s=None):
        words = [str(word) for word in command]
        self.commands.append(words)
        self.environments.append(dict(environment or {}))
        if words[1:3] == ["-m", "venv"]:
            python = start.Environment(Path(words[3]), ()).python
            python.parent.mkdir(parents=True)
            python.write_text("a pretended Python")
            return 0
        if not Path(words[0]).exists():
            raise FileNotFoundError(words[0])
        if words[1:3] == ["-I", "-S"]:
            on_text(self.python_says)
            return 0 if self.python_says else 1
        if words[1:3] == ["-m", "pip"]:
            if self.pip_raises is not None:
                raise self.pip_raises
            on_text(self.pip_says)
            return self.pip_status
        raise AssertionError(f"nobody expected {words}")

    def count(self, *words: str) -> int:
        return sum(command[1 : 1 + len(words)] == list(words) for command in self.commands)

    def set_up(self, environment=start.learner_environment, wheels=None) -> bool:
        return start.set_up(self.project, environment(self.project.root), wheels)


def notebook_text(*sources: str, tags: tuple[str, ...] = ()) -> str:
    cells = [nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)}) for source in sources]
    for cell in cells:
        cell.execution_count = 1
        cell.outputs = [nbformat.v4.new_output("stream", text="said before")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata=kernel))


@pytest.fixture
def root(tmp_path) -> Path:
    """A repository in small, in a folder whose name has a space and letters outside ASCII."""
    folder = tmp_path / "my wörkshop"
    (folder / "notebooks").mkdir(parents=True)
    for name in ("requirements.txt", "requirements-test.txt", "constraints.txt", "pyproject.toml"):
        (folder / name).write_text(f"# {name}\n")
    for name in ("01_first", "02_second"):
        (folder / "notebooks" / f"{name}.ipynb").write_text(notebook_text("print('hello')"), encoding="utf-8")
    return folder


@pytest.fixture
def machine(root) -> Machine:
    return Machine(root)


# -- setting up -----------------------------------------------------------------------------------------------------


def test_the_first_start_installs_and_the_second_does_not(machine, root):
    assert machine.set_up() is True
    (pip,) = [command for command in machine.commands if command[1:3] == ["-m", "pip"]]
    assert pip[3:] == ["install", "-r", str(root / "requirements.txt")]
    machine.commands.clear()
    assert machine.set_up() is False
    assert machine.count("-m") == 0


def test_changed_requirements_are_installed_into_the_same_environment(machine, root):
    machine.set_up()
    (root / "requirements.txt").write_text("another-package\n")
    assert machine.set_up() is True
    assert (machine.count("-m", "venv"), machine.count("-m", "pip")) == (1, 2)


def test_the_tests_have_an_environment_of_their_own_with_pins(machine, root):
    machine.set_up()
    learners = (root / ".venv" / start.STAMP).read_text()
    machine.set_up(start.test_environment)
    files = [str(root / name) for name in ("requirements.txt", "requirements-test.txt", "constraints.txt")]
    assert machine.commands[-1][3:] == ["install", "-r", files[0], "-r", files[1], "-c", files[2]]
    assert machine.commands[-1][0].startswith(str(root / ".venv-test"))
    assert (root / ".venv" / start.STAMP).read_text() == learners


def test_a_failed_installation_says_why_and_a_repeat_works(machine):
    machine.pip_says = (
        "Retrying ... Failed to establish a new connection: [Errno 101]\nERROR: No matching distribution"
    )
    machine.pip_status = 1
    with pytest.raises(start.Problem, match=r"no connection to the package index.*--wheels"):
        machine.set_up()
    machine.pip_status = 0
    assert machine.set_up() is True
    assert machine.count("-m", "venv") == 1
    assert machine.set_up() is False


def test_an_interrupted_installation_is_made_again(machine, root, capsys):
    machine.pip_raises = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        machine.set_up()
    half = root / ".venv" / "half a package"
    half.touch()
    machine.pip_raises = None
    assert machine.set_up() is True
    assert "interrupted" in capsys.readouterr().out
    assert not half.exists()


def test_a_moved_project_gets_a_new_environment(machine, root, capsys):
    machine.set_up()
    moved = root.with_name("elsewhere")
    root.rename(moved)
    machine.project.root = moved
    assert machine.set_up() is True
    assert "moved" in capsys.readouterr().out
    assert machine.count("-m", "venv") == 2
    assert {path.name for path in moved.glob(".venv*")} == {".venv", ".venv.lock"}


@pytest.mark.parametrize(("says", "reason"), [("", "no longer runs"), ("2.7", "has Python 2.7")])
def test_an_environment_whose_python_is_gone_or_another_is_made_again(machine, capsys, says, reason):
    machine.set_up()
    machine.python_says = says
    assert machine.set_up() is True
    assert reason in capsys.readouterr().out
    assert machine.count("-m", "venv") == 2


def test_an_environment_of_somebody_else_is_used_and_never_deleted(machine, root):
    python = start.learner_environment(root).python
    python.parent.mkdir(parents=True)
    python.touch()
    theirs = root / ".venv" / "theirs"
    theirs.touch()
    assert machine.set_up() is True
    assert machine.count("-m", "venv") == 0
    machine.python_says = "2.7"
    with pytest.raises(start.Problem, match=r"\.venv that start.py did not make, and it has Python 2.7"):
        machine.set_up()
    assert theirs.exists()


def test_a_folder_that_cannot_be_written_to_is_one_sentence(machine, root):
    (
        root / ".venv.lock"
    ).mkdir()  # permissions do not bind the administrator, who runs the tests in containers
    with pytest.raises(
        start.Problem, match=r"Nothing can be written to .* Copy the project into a folder of your own"
    ):
        machine.set_up()


def test_a_python_without_ensurepip_names_the_package(machine, monkeypatch):
    found = start.importlib.util.find_spec
    monkeypatch.setattr(
        start.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else found(name)
    )
    monkeypatch.setattr(start.shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(start.Problem, match=f"apt-get install python{HERE}-venv"):
        machine.set_up()
    assert not (machine.project.root / ".venv").exists()


def test_one_start_at_a_time_installs(root):
    with start._lock(root), (root / ".venv.lock").open("a+b") as second:
        assert start._try_lock(second.fileno()) is False
    with (root / ".venv.lock").open("a+b") as second:
        assert start._try_lock(second.fileno()) is True


def test_the_one_that_waited_does_not_install_again(machine, monkeypatch):
    asked = []

    def other_start_finishes(number):
        asked.append(number)
        if len(asked) == 1:
            return False
        environment = start.learner_environment(machine.project.root)
        start._make(machine.project, environment)
        wanted = start.fingerprint(environment, machine.project.root)
        start._write_record(environment, machine.project.root, "ready", fingerprint=wanted)
        return True

    monkeypatch.setattr(start, "_try_lock", other_start_finishes)
    monkeypatch.setattr(start.time, "sleep", lambda seconds: None)
    assert machine.set_up() is False
    assert machine.count("-m", "pip") == 0


def test_a_missing_file_of_the_repository_is_one_sentence(machine, root):
    (root / "pyproject.toml").unlink()
    with pytest.raises(start.Problem, match=r"pyproject.toml is missing beside start.py"):
        machine.set_up()


def test_pip_gets_no_user_setting_and_offline_no_index(monkeypatch):
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "/somewhere")
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:secret@index.example")
    assert start.pip_environment()["PIP_USER"] == "0"
    assert start.pip_environment()["PIP_INDEX_URL"] == "https://me:secret@index.example"
    offline = start.pip_environment(offline=True)
    assert "PIP_INDEX_URL" not in offline
    assert "PIP_FIND_LINKS" not in offline
    assert offline["PIP_CONFIG_FILE"] == os.devnull


def test_a_password_in_the_index_address_is_neither_shown_nor_kept(machine, root):
    machine.pip_says = "Looking in indexes: https://me:geheim@index.example/simple\nERROR: https://me:geheim@index.example: 403 Client Error"
    machine.pip_status = 1
    with pytest.raises(start.Problem) as problem:
        machine.set_up()
    assert "403" in str(problem.value)
    assert "geheim" not in str(problem.value)
    assert "geheim" not in start.learner_environment(root).log.read_text()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]",
            "PIP_CERT and SSL_CERT_FILE",
        ),
        (
            "WARNING: Retrying after connection broken by 'ProxyError('Unable to connect to proxy'",
            "HTTPS_PROXY",
        ),
        ("NameResolutionError: Temporary failure in name resolution", "--wheels DIR"),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "disk is full",
        ),
        ("ERROR: Could not install packages: [WinError 5] Access is denied", "Close JupyterLab"),
        ("HINT: this system does not have Windows Long Path support enabled", "short path"),
        ("ERROR: Failed building wheel for something", "Failed building wheel for something"),
        ("", "it printed nothing"),
    ],
)
def test_what_pip_says_becomes_a_sentence_with_advice(line, told):
    assert told in start.explain_pip([line, "[notice] A new release of pip is available"][: 2 if line else 1])


# -- wheels ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def wheels(tmp_path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "thing-1-py3-none-any.whl").write_bytes(b"a wheel")
    listed = {"thing-1-py3-none-any.whl": start._sha256(b"a wheel")}
    (folder / start.MANIFEST).write_text(json.dumps({**start.wheel_platform(), "wheels": listed}))
    return folder


def test_wheels_are_the_only_source(machine, wheels):
    machine.set_up(wheels=wheels)
    assert machine.commands[-1][3:7] == ["install", "--no-index", "--find-links", str(wheels)]
    assert machine.environments[-1]["PIP_CONFIG_FILE"] == os.devnull


def change_manifest(folder: Path, **changes: str) -> None:
    path = folder / start.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda folder: change_manifest(folder, python="3.99"), "for Python 3.99 on .* and this is Python"),
        (lambda folder: change_manifest(folder, system="Plan9"), "on Plan9"),
        (lambda folder: (folder / start.MANIFEST).unlink(), "is not a folder of wheels"),
        (lambda folder: (folder / start.MANIFEST).write_text("{"), "cannot be read"),
        (lambda folder: (folder / "thing-1-py3-none-any.whl").write_bytes(b"half"), "is damaged"),
        (lambda folder: (folder / "thing-1-py3-none-any.whl").unlink(), "is missing in"),
    ],
)
def test_wheels_that_do_not_fit_are_refused_before_anything_happens(machine, wheels, harm, told):
    harm(wheels)
    with pytest.raises(start.Problem, match=told):
        machine.set_up(wheels=wheels)
    assert machine.commands == []


def test_pack_leaves_an_environment_that_the_next_start_goes_on_with(machine, tmp_path):
    start._make(machine.project, start.learner_environment(machine.project.root))
    assert machine.set_up() is True
    assert machine.count("-m", "venv") == 1


def test_wheels_of_somebody_else_stop_pack(machine, tmp_path):
    (tmp_path / "stranger-1-py3-none-any.whl").touch()
    with pytest.raises(start.Problem, match="Choose another folder"):
        start.pack(machine.project, argparse.Namespace(folder=tmp_path))
    assert (tmp_path / "stranger-1-py3-none-any.whl").exists()


# -- notebooks and working copies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["2", "02", "02_second", "notebooks/02_second.ipynb"])
def test_a_notebook_is_found_by_number_or_name(machine, wanted):
    assert start.find_notebook(machine.project, wanted).name == "02_second.ipynb"


@pytest.mark.parametrize("wanted", ["3", "0", "second", "", "²"])
def test_an_unknown_notebook_lists_the_ones_there_are(machine, wanted):
    with pytest.raises(start.Problem, match=r"There are: 01 \(first\), 02 \(second\)\."):
        start.find_notebook(machine.project, wanted)


def test_a_working_copy_has_the_cells_without_outputs(machine, root):
    start.make_copies(machine.project)
    original = nbformat.read(root / "notebooks" / "01_first.ipynb", as_version=4)
    copy = nbformat.read(root / "work" / "01_first.ipynb", as_version=4)
    nbformat.validate(copy)
    assert [cell.source for cell in copy.cells] == [cell.source for cell in original.cells]
    assert [(cell.outputs, cell.execution_count) for cell in copy.cells] == [([], None)]


def test_a_changed_copy_is_never_overwritten(machine, root):
    start.make_copies(machine.project)
    copy = root / "work" / "01_first.ipynb"
    copy.write_text("mine")
    assert start.make_copies(machine.project) == []
    (root / "notebooks" / "01_first.ipynb").write_text(notebook_text("print('newer')"))
    (note,) = start.make_copies(machine.project)
    assert "start.py reset 01" in note
    assert copy.read_text() == "mine"


def test_an_unchanged_copy_follows_its_notebook(machine, root):
    start.make_copies(machine.project)
    (root / "notebooks" / "01_first.ipynb").write_text(notebook_text("print('newer')"))
    assert start.make_copies(machine.project) == []
    assert "newer" in (root / "work" / "01_first.ipynb").read_text()


def test_without_the_note_of_what_was_copied_a_copy_counts_as_changed(machine, root):
    start.make_copies(machine.project)
    (root / "work" / start.COPIES).write_text("not even JSON")
    (root / "notebooks" / "01_first.ipynb").write_text(notebook_text("print('newer')"))
    start.make_copies(machine.project)
    assert "newer" not in (root / "work" / "01_first.ipynb").read_text()


def test_reset_restores_and_keeps_what_was_there(machine, root):
    start.make_copies(machine.project)
    copy = root / "work" / "01_first.ipynb"
    noon = datetime.datetime(2026, 11, 23, 12, 0, 0)
    for text in ("first try", "second try"):
        copy.write_text(text)
        start.reset(machine.project, "1", noon)
    kept = sorted((root / "work").glob("01_first.edited-*.ipynb"))
    assert [path.name for path in kept] == [
        "01_first.edited-20261123-120000-2.ipynb",
        "01_first.edited-20261123-120000.ipynb",
    ]
    assert {path.read_text() for path in kept} == {"first try", "second try"}
    assert copy.read_bytes() == start.fresh_copy(root / "notebooks" / "01_first.ipynb")


def test_reset_of_an_untouched_or_missing_copy_keeps_nothing_aside(machine, root):
    assert "Restored" in start.reset(machine.project, "02")
    assert "nothing to restore" in start.reset(machine.project, "02")
    assert [path.name for path in (root / "work").glob("*.ipynb")] == ["02_second.ipynb"]


# -- JupyterLab -----------------------------------------------------------------------------------------------------


def test_a_port_in_use_is_passed_over_or_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert start.free_port(None) != port
        with pytest.raises(start.Problem, match=f"Port {port} is in use"):
            start.free_port(port)


def test_no_display_means_no_browser_even_where_a_text_browser_is(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "WSL_DISTRO_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(start, "LINUX", True)
    monkeypatch.setattr(start.webbrowser, "get", lambda: "w3m")
    assert start.has_browser() is False
    monkeypatch.setenv("DISPLAY", ":0")
    assert start.has_browser() is True


# -- the headless run -----------------------------------------------------------------------------------------------


@pytest.mark.notebook
def test_a_run_counts_cells_and_names_the_cell_that_failed(tmp_path):
    for name, sources in {
        "fine": ["import os", "assert os.path.samefile('.', os.path.dirname('fine.ipynb') or '.')"],
        "broken": ["x = 1", "raise ValueError('the reason\\nsecond line')", "never = 1"],
    }.items():
        (tmp_path / f"{name}.ipynb").write_text(notebook_text(*sources))
    (tmp_path / "meant.ipynb").write_text(notebook_text("1/0", tags=("raises-exception",)))
    (tmp_path / "no notebook.ipynb").write_text("[]")
    before = (tmp_path / "fine.ipynb").read_bytes()
    fine, broken, meant, no_notebook = (
        start.run_one(tmp_path / f"{name}.ipynb") for name in ("fine", "broken", "meant", "no notebook")
    )
    assert (fine.error, fine.cells) == (None, 2)
    assert (broken.error, broken.cells) == ("cell [2]: ValueError: the reason second line", 1)
    assert (meant.error, meant.cells) == (None, 1)
    assert no_notebook.error.startswith("it is not a notebook")
    assert (tmp_path / "fine.ipynb").read_bytes() == before


def test_a_run_stops_before_the_next_notebook_when_the_limit_is_reached(monkeypatch, capsys):
    limits = []

    def pretended(path):
        limits.append(os.environ["WORKSHOP_LIMIT_USD"])
        return start.Outcome(cells=3, seconds=1.0, mode="live", tokens=1000, price_usd=0.06)

    monkeypatch.setenv("WORKSHOP_LIMIT_USD", "")
    monkeypatch.setattr(start, "run_one", pretended)
    assert start.run_in_environment(["--limit", "0.10", "a.ipynb", "b.ipynb", "c.ipynb"]) == 1
    assert limits == ["0.100000", "0.040000"]
    lines = capsys.readouterr().out.splitlines()
    assert "not run: $0.1200 of $0.10 is spent" in lines[2]
    assert lines[3] == "1 of 3 failed."


def test_a_price_that_is_not_known_stops_a_run_with_a_limit(monkeypatch, capsys):
    monkeypatch.setenv("WORKSHOP_LIMIT_USD", "")
    monkeypatch.setattr(start, "run_one", lambda path: start.Outcome(mode="live", price_usd=None))
    assert start.run_in_environment(["--limit", "0.10", "a.ipynb", "b.ipynb"]) == 1
    assert "not run: an unknown part of $0.10 is spent" in capsys.readouterr().out
    assert start.run_in_environment(["a.ipynb", "b.ipynb"]) == 0


def test_a_line_shows_estimates_as_estimates_and_what_is_unknown_as_unknown():
    line = start.Outcome(cells=3, mode="recorded", tokens=1234, price_usd=0.002, estimated=True).line()
    assert "≈1,234 tokens" in line
    assert "≈$0.0020" in line
    assert start.Outcome(cells=3).line().endswith("?  ? tokens  ?")


def run_options(*words: str) -> argparse.Namespace:
    return start.parse(["run", *words])


def test_a_run_is_recorded_with_a_key_and_live_only_when_asked(machine, monkeypatch, root):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://somewhere.example")
    machine.set_up()
    ran = []
    monkeypatch.setattr(
        machine.project,
        "execute",
        lambda command, *, environment=None, **more: note(command, environment, more),
    )

    def note(command, environment, more):
        if "_run" not in command:
            return Machine.__call__(machine, command, environment=environment, **more)
        ran.append((command, environment))
        return 0

    start.run_all(machine.project, run_options())
    start.run_all(machine.project, run_options("2", "--live", "--limit", "0.5"))
    (recorded, recorded_environment), (live, live_environment) = ran
    assert [Path(word).name for word in recorded[3:]] == ["01_first.ipynb", "02_second.ipynb"]
    assert recorded_environment["WORKSHOP_API"] == "recorded"
    assert not [name for name in recorded_environment if name in start.OPENAI_SETTINGS]
    assert [str(word) for word in live[3:5]] == ["--limit", "0.5"]
    assert live_environment["WORKSHOP_API"] == "live"
    assert live_environment["OPENAI_API_KEY"] == KEY


@pytest.mark.parametrize("command", ["run", "test"])
def test_live_without_a_key_is_refused_before_anything_happens(machine, monkeypatch, command):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    options = start.parse([command, "--live"])
    with pytest.raises(start.Problem, match="needs a key and none was found"):
        (start.run_all if command == "run" else start.run_tests)(machine.project, options)
    assert machine.commands == []


# -- recording ------------------------------------------------------------------------------------------------------


def record_options(*words: str) -> argparse.Namespace:
    return start.parse(["record", *words])


@pytest.fixture
def recorder(machine, monkeypatch, root):
    """A machine on which running notebooks writes captures, and what was run on it."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("WORKSHOP_RECORDINGS", raising=False)
    machine.ran = []

    def execute(command, *, environment=None, **more):
        words = [str(word) for word in command]
        if "_run" in words:
            folder = Path(words[words.index("--record-to") + 1])
            folder.mkdir(parents=True)
            (folder / "01_first.yaml").write_text("captured")
        elif "adopt" not in words:
            return Machine.__call__(machine, command, environment=environment, **more)
        machine.ran.append((words, environment))
        return 0

    monkeypatch.setattr(machine.project, "execute", execute)
    return machine


def test_recording_runs_live_and_takes_over_what_was_captured(recorder, root, capsys):
    assert start.record(recorder.project, record_options("1", "--yes", "--limit", "0.5")) == 0
    (run, run_environment), (adopt, adopt_environment) = recorder.ran
    recordings = root / "data" / "recordings"
    assert run[2:7] == ["_run", "--limit", "0.5", "--record-to", str(recordings / "captured")]
    assert [Path(word).name for word in run[7:]] == ["01_first.ipynb"]
    assert (run_environment["WORKSHOP_API"], run_environment["OPENAI_API_KEY"]) == ("record", KEY)
    assert adopt[1:] == [
        "-m",
        "helpers.local_api",
        "adopt",
        "--folder",
        str(recordings),
        str(recordings / "captured" / "01_first.yaml"),
    ]
    assert KEY not in adopt_environment.values()
    assert "--no-run --replace" in capsys.readouterr().out
    start.record(recorder.project, record_options("--no-run", "--replace"))
    assert recorder.ran[-1][0][-1] == "--replace"
    assert len(recorder.ran) == 3, "nothing ran live a second time"


def test_recording_without_a_key_is_refused_in_a_sentence_before_anything_happens(machine, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(start.Problem, match="Recording needs a key and none was found") as refused:
        start.record(machine.project, record_options("--yes"))
    assert machine.commands == []
    assert str(refused.value).count(". ") <= 1


def test_taking_over_alone_needs_no_key_but_something_to_take_over(recorder, monkeypatch, capsys):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert start.record(recorder.project, record_options("--no-run")) == 1
    assert "nothing to take over" in capsys.readouterr().out
    assert recorder.ran == []


@pytest.mark.parametrize(("answer", "runs"), [("y", True), ("YES ", True), ("", False), ("no", False)])
def test_recording_asks_before_it_spends(recorder, monkeypatch, capsys, answer, runs):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    assert start.record(recorder.project, record_options()) == (0 if runs else 1)
    shown = capsys.readouterr().out
    assert "This runs 2 notebooks on OpenAI with your key" in shown
    assert "it stops at $1.00" in shown
    assert ("nothing was spent" in shown) is not runs
    assert bool(recorder.ran) is runs


def test_recording_does_not_spend_where_nobody_can_be_asked(recorder, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(start.Problem, match="Add --yes if you mean it"):
        start.record(recorder.project, record_options())
    assert recorder.ran == []


def test_each_notebook_is_recorded_to_a_file_of_its_own_and_all_is_told(monkeypatch, capsys, tmp_path):
    files = []

    def pretended(path):
        files.append(os.environ["WORKSHOP_RECORD_TO"])
        return start.Outcome(
            cells=3,
            mode="live",
            tokens=9,
            price_usd=0.05,
            left=[
                "response resp_1",
                "conversation conv_1",
                "file file-1",
                "vector store vs_1",
                "response resp_2",
            ],
            captures=[{"path": files[-1], "recorded": 2, "not_recorded": ["Why?: no"], "trouble": ""}],
        )

    monkeypatch.setenv("WORKSHOP_RECORD_TO", "")
    monkeypatch.setenv("WORKSHOP_LIMIT_USD", "")
    monkeypatch.setattr(start, "run_one", pretended)
    folder = tmp_path / "captured"
    assert start.run_in_environment(["--limit", "1", "--record-to", str(folder), "a.ipynb", "b.ipynb"]) == 0
    assert files == [str(folder / "a.yaml"), str(folder / "b.yaml")]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:4] == [
        f"  recorded: 2 answers, in {folder / 'a.yaml'}",
        "  not recorded: Why?: no",
        "  still in the account: vector store vs_1, file file-1, 1 conversation, 2 responses",
    ]
    assert lines[-1] == "Spent: $0.1000."


ASKING = """
from helpers import cleanup, connect
client = connect()
store = client.vector_stores.create(name="left behind")
print(client.responses.create(model="gpt-6-luna", input="What is a token?").output_text)
client.responses.create(model="gpt-6-luna", input="Not in the recordings?")
""".strip().split("\n")


@pytest.mark.notebook
def test_a_notebook_is_recorded_from_a_served_api_and_plays_back(monkeypatch, capsys, tmp_path):
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    (recordings / "01_asking.yaml").write_text(
        "source: authored\nexchanges:\n  - ask: What is a token?\n    steps:\n      - say: A piece of text.\n"
    )
    notebook = tmp_path / "01_asking.ipynb"
    notebook.write_text(notebook_text(*ASKING))
    for name, value in {"OPENAI_API_KEY": KEY, "WORKSHOP_API": "record", "WORKSHOP_STRICT": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WORKSHOP_RECORDINGS", str(recordings))
    monkeypatch.setenv("WORKSHOP_RECORD_TO", "")
    monkeypatch.setenv("WORKSHOP_LIMIT_USD", "")
    with serving(recordings=recordings) as address:
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        command = ["--limit", "1", "--record-to", str(recordings / "captured"), str(notebook)]
        assert start.run_in_environment(command) == 0, capsys.readouterr().out
    shown = capsys.readouterr().out
    assert "recorded: 1 answer, in" in shown
    assert "not recorded: Not in the recordings?: the offline helper answered, and no model" in shown
    assert re.search(r"still in the account: vector store vs_\w+, 2 responses", shown)
    assert re.search(r"^Spent: ≈\$0\.0\d+\.$", shown, re.MULTILINE)
    captured = recordings / "captured" / "01_asking.yaml"
    assert KEY not in captured.read_text()
    assert local_api(["adopt", "--replace", "--folder", str(recordings), str(captured)]) == 0
    assert "1 replaced" in capsys.readouterr().out
    assert [path.name for path in recordings.glob("*.yaml")] == ["01_asking.captured.yaml"]
    with played_back(recordings) as client:
        answer = client.responses.create(model="gpt-6-luna", input="What is a token?")
    assert answer.output_text == "A piece of text."
    assert answer.metadata["workshop_source"] == "captured"


@contextlib.contextmanager
def played_back(recordings):
    api = LocalAPI(recordings=recordings, strict=True)
    with openai.OpenAI(
        api_key="any",
        base_url="https://recorded.invalid/v1",
        http_client=httpx2.Client(transport=api.transport()),
    ) as client:
        yield client
    api.close()


# -- the test run ---------------------------------------------------------------------------------------------------


def steps(machine: Machine, *words: str, missing: tuple[str, ...] = ()) -> dict[str, start.Step]:
    groups = {name: start.Missing("why", "how") for name in missing}
    environment = start.test_environment(machine.project.root)
    found = start.test_steps(machine.project, environment, start.parse(["test", *words]), groups)
    return {step.name: step for step in found}


def test_every_step_is_recorded_even_with_a_key(machine, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("WORKSHOP_API", "live")
    found = steps(machine)
    assert list(found) == ["ruff check", "ruff format", "mypy", "unit tests", "notebooks", "installing"]
    assert {step.environment["WORKSHOP_API"] for step in found.values()} == {"recorded"}
    assert KEY not in json.dumps([step.environment for step in found.values()])


def test_only_the_notebooks_go_live(machine, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    found = steps(machine, "--live")
    assert [name for name, step in found.items() if KEY in step.environment.values()] == ["notebooks, live"]
    assert "--live" in found["notebooks, live"].command
    assert "unshare" not in found["notebooks, live"].command


def test_pytest_runs_in_a_namespace_or_behind_the_hook_and_the_installations_outside(machine):
    found = steps(machine)
    for name in ("unit tests", "notebooks"):
        assert found[name].command[:2] == ["unshare", "-rn"]
        assert found[name].environment["WORKSHOP_NETWORK"] == "namespace"
    assert "install or node" in found["installing"].command
    assert "unshare" not in found["installing"].command
    found = steps(machine, missing=("netns",))
    for name in ("unit tests", "notebooks"):
        assert "unshare" not in found[name].command
        assert found[name].environment["HTTPS_PROXY"] == start.DEAD_PROXY
        assert found[name].environment["WORKSHOP_NETWORK"] == "hook"
    assert found["installing"].environment.get("HTTPS_PROXY") == os.environ.get("HTTPS_PROXY")


@pytest.mark.parametrize(
    ("words", "isolated"),
    [
        (["-k", "something", "tests/test_start.py"], True),
        (["-m", "not install"], True),
        (["-m", "install"], False),
        (["-m", "install and netns", "-x"], False),
        (["-m", "node"], False),
        (["-m", "not install and not node"], True),
    ],
)
def test_arguments_for_pytest_run_only_pytest(machine, words, isolated):
    found = steps(machine, *words)
    assert list(found) == ["pytest"]
    assert found["pytest"].command[-len(words) :] == words
    assert (found["pytest"].command[0] == "unshare") is isolated


@pytest.mark.parametrize(
    ("missing", "expression"),
    [((), "install or node"), (("node",), "install"), (("install",), "node"), (("install", "node"), None)],
)
def test_what_installs_packages_runs_as_far_as_it_can(machine, missing, expression):
    found = steps(machine, missing=missing)
    assert ("installing" in found) is (expression is not None)
    if expression:
        assert expression in found["installing"].command


@pytest.mark.parametrize(
    ("npm", "answers", "why"),
    [(None, True, "no npm here"), ("npm", False, "no npm registry can be reached"), ("npm", True, None)],
)
def test_the_node_tests_need_npm_and_its_registry(machine, monkeypatch, npm, answers, why):
    def pretended(command, **_):
        return int(command[0] == "npm" and not answers)

    monkeypatch.setattr(start.shutil, "which", lambda name: npm if name == "npm" else None)
    machine.project.execute = pretended
    found = start.missing_groups(machine.project, Path("python"))
    assert (found["node"].why if "node" in found else None) == why


def run_the_tests(machine, monkeypatch, *words, missing=(), failing=""):
    groups = {name: start.Missing("not here", "get it") for name in missing}
    monkeypatch.setattr(start, "set_up", lambda *_: False)
    monkeypatch.setattr(start, "missing_groups", lambda *_: groups)

    def pretended(command, *, on_text, **_):
        bad = bool(failing) and failing in " ".join(map(str, command))
        on_text("...\n\x1b[31m== 1 failed ==\x1b[0m\n" if bad else "== 2 passed ==\n")
        return int(bad)

    machine.project.execute = pretended
    return start.run_tests(machine.project, start.parse(["test", *words]))


def test_a_good_run_ends_with_a_line_for_each_step(machine, monkeypatch, capsys):
    assert run_the_tests(machine, monkeypatch) == 0
    summary = capsys.readouterr().out.split("== Summary\n")[1].splitlines()
    assert [line.split("  ")[0] for line in summary] == ["ok"] * 6
    assert summary[3].split() == ["ok", "unit", "tests", "2", "passed"]


@pytest.mark.parametrize("failing", ["ruff check", "mypy", "not install", "nbmake", "-m install"])
def test_any_failed_step_fails_the_run(machine, monkeypatch, capsys, failing):
    assert run_the_tests(machine, monkeypatch, failing=failing) == 1
    out = capsys.readouterr().out
    assert len(re.findall(r"^FAILED .* 1 failed$", out, flags=re.M)) == 1


def test_a_missing_group_is_one_line_and_with_all_a_failure(machine, monkeypatch, capsys):
    assert run_the_tests(machine, monkeypatch, missing=("browser",)) == 0
    out = capsys.readouterr().out
    assert "Left out: browser (not here). To get it: get it." in out
    assert run_the_tests(machine, monkeypatch, "--all", missing=("browser",)) == 1
    assert "FAILED  browser (not here)" in capsys.readouterr().out


def test_outputs_are_compared_only_with_the_pinned_python_and_packages(monkeypatch):
    monkeypatch.setattr(start, "LINUX", True)
    monkeypatch.setattr(start, "PINNED_PYTHON", sys.version_info[:2])
    pins = start.pinned_versions(start.ROOT / "constraints.txt")
    assert start.why_not_pinned(pins.get) is None
    assert start.why_not_pinned(lambda name: None) is None
    assert "openai is 0.1" in start.why_not_pinned({**pins, "openai": "0.1"}.get).why
    monkeypatch.setattr(start, "PINNED_PYTHON", (3, 99))
    assert "made elsewhere" in start.why_not_pinned().why


def normal(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_pins_hold_what_the_requirements_ask_for():
    pins = {
        normal(name): version
        for name, version in start.pinned_versions(start.ROOT / "constraints.txt").items()
    }
    for name in ("requirements.txt", "requirements-test.txt"):
        for line in (start.ROOT / name).read_text(encoding="utf-8").splitlines():
            text = line.split("#")[0].strip()
            if text and not text.startswith("-e"):
                wanted = Requirement(text)
                pinned = pins.get(normal(wanted.name))
                assert pinned is not None, f"{wanted.name}: python{start.PINNED_PYTHON[1]} start.py pin"
                assert pinned in wanted.specifier


def test_the_pins_are_versions_and_nothing_of_one_machine():
    for line in (start.ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[0-9][^\s@/]*", line), line


def test_plain_pytest_is_recorded_with_a_key_in_the_environment(tmp_path):
    path = tmp_path / "test_asks.py"
    path.write_text(
        "import os\n"
        "def test_what_a_kernel_would_inherit():\n"
        "    assert 'OPENAI_API_KEY' not in os.environ\n"
        "    assert (os.environ['WORKSHOP_API'], os.environ['WORKSHOP_STRICT']) == ('recorded', '1')\n"
        "    assert 'WORKSHOP_STATE' not in os.environ\n"
    )
    mine = {**os.environ, "OPENAI_API_KEY": KEY, "WORKSHOP_API": "live", "WORKSHOP_STATE": "state.db"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]

    def status(*words: str) -> int:
        return subprocess.run(
            [*command, *words], cwd=start.ROOT, env=mine, stdout=subprocess.DEVNULL
        ).returncode

    # The test is outside the repository, so its conftest is named; the next test shows that notebooks/ finds it.
    assert status("-p", "conftest") == 0
    assert status("--noconftest") == 1, "a run that is not recorded would be noticed"


def test_the_conftest_of_the_root_counts_for_the_notebooks():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--collect-only", "--nbmake"]
    found = subprocess.run(
        [*command, "--left-out=", "notebooks"], cwd=start.ROOT, capture_output=True, text=True
    )
    assert "unrecognized arguments" not in found.stderr
    assert ".ipynb" in found.stdout


# -- the check-up ---------------------------------------------------------------------------------------------------


def findings(check, machine) -> list[str]:
    return [f"{finding.level}: {finding.text}" for finding in check(machine.project)]


@pytest.fixture
def no_settings(monkeypatch):
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith(("OPENAI_", "WORKSHOP_", "SSL_CERT")):
            monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_settings")
def test_doctor_finds_a_key_and_never_shows_it(machine, root, monkeypatch):
    (found,) = findings(start.check_key, machine)
    assert found.startswith("note: no key found")
    (root / ".env").write_text(f"# mine\nexport OPENAI_API_KEY = '{KEY}' # work\n")
    (found,) = findings(start.check_key, machine)
    assert found == "ok: a key was found in .env (not shown, not tried)"
    monkeypatch.setenv("OPENAI_API_KEY", KEY + " copied badly")
    (found,) = findings(start.check_key, machine)
    assert found.startswith("problem: the key in the environment holds a space")
    assert KEY not in found


@pytest.mark.usefixtures("no_settings")
def test_doctor_tells_a_dead_proxy_from_a_living_one_and_hides_its_password(machine, monkeypatch, capsys):
    assert findings(start.check_proxies, machine) == ["ok: no proxy is set"]
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        port = proxy.getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:geheim@127.0.0.1:{port}")
        (found,) = findings(start.check_proxies, machine)
        assert found.startswith("note: HTTPS_PROXY: nothing answers at 127.0.0.1")
        proxy.listen()
        (found,) = findings(start.check_proxies, machine)
        assert found == f"ok: HTTPS_PROXY: 127.0.0.1:{port} answers"
    assert "geheim" not in found


@pytest.mark.usefixtures("no_settings")
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("status 401", "ok: api.openai.com can be reached"),
        ("error ConnectError: [SSL: CERTIFICATE_VERIFY_FAILED]", "note: .*point SSL_CERT_FILE"),
        ("error ProxyError: 407", "note: .*check HTTPS_PROXY"),
        ("error ImportError: the 'socksio' package", "note: .*pip install socksio"),
        ("error ConnectError: Network is unreachable", "note: .*cannot be reached"),
    ],
)
def test_doctor_explains_what_is_between_here_and_openai(machine, monkeypatch, answer, told):
    machine.project.execute = lambda command, *, on_text, **_: on_text(answer) or 0
    (found,) = findings(start.check_api, machine)
    assert re.match(told, found)
    monkeypatch.setenv("WORKSHOP_API", "live")
    (found,) = findings(start.check_api, machine)
    assert found.startswith("ok" if "401" in answer else "problem")


@pytest.mark.usefixtures("no_settings")
def test_doctor_notices_a_certificate_file_that_is_not_there(machine, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere.pem"))
    assert (
        "problem: SSL_CERT_FILE points at a file that does not exist"
        in findings(start.check_certificates, machine)[0]
    )


def test_doctor_ends_with_1_only_for_problems(machine, monkeypatch, capsys):
    def check_notes(project):
        yield start.Finding(start.NOTE, f"something optional {KEY}")

    def check_problem(project):
        yield start.Finding(start.PROBLEM, "something needed")

    monkeypatch.setattr(start, "CHECKS", (check_notes,))
    assert start.doctor(machine.project) == 0
    monkeypatch.setattr(start, "CHECKS", (check_notes, check_problem))
    assert start.doctor(machine.project) == 1
    out = capsys.readouterr().out
    assert "1 problem to solve" in out
    assert KEY not in out


def test_doctor_says_what_is_wrong_with_the_packages(machine, root):
    assert findings(start.check_packages, machine)[0].startswith("note: nothing is installed yet")
    machine.pip_raises = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        machine.set_up()
    machine.project.execute = answers({"-I": (0, HERE), "-c": (0, "")})
    assert findings(start.check_packages, machine)[0].startswith(
        "problem: the packages are not all installed"
    )
    start._write_record(start.learner_environment(root), root, "ready")
    assert findings(start.check_packages, machine)[0].startswith("ok")
    machine.project.execute = answers({"-I": (0, HERE), "-c": (0, "openai is missing")})
    assert findings(start.check_packages, machine)[0].startswith(
        "problem: packages: openai is missing. Delete"
    )
    machine.project.execute = answers({"-I": (1, "")})
    assert "its Python does not run" in findings(start.check_packages, machine)[0]


def answers(by_option):
    """Return a way to run programs that answers by the first option of the Python that is called."""

    def pretended(command, *, on_text, **_):
        status, text = by_option[command[1]]
        on_text(text)
        return status

    return pretended


def test_doctor_compares_the_packages_with_the_requirements(root):
    (root / "requirements.txt").write_text("pytest<10 # fine\nnbmake>=999\nno-such-package-at-all\n-e .\n")
    project = start.Project(root)
    _, text = project.output_of([sys.executable, "-c", start._PACKAGES_CODE, root / "requirements.txt"])
    assert re.search(r"^nbmake [\d.]+ does not fit >=999\nno-such-package-at-all is missing$", text)


# -- the command line -----------------------------------------------------------------------------------------------


def test_without_a_command_it_opens_a_notebook():
    assert (start.parse([]).command, start.parse([]).notebook) == ("open", "01")
    options = start.parse(["02", "--no-browser", "--port", "9000"])
    assert (options.notebook, options.no_browser, options.port) == ("02", True, 9000)


@pytest.mark.parametrize(
    "words",
    [
        ["--port", "0"],
        ["--port", "http"],
        ["run", "--live", "--limit", "-1"],
        ["run", "--limit", "1"],
        ["--nope"],
    ],
)
def test_a_command_line_that_makes_no_sense_ends_with_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        start.main(words)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (start.Problem("One sentence."), 1, "One sentence."),
        (KeyboardInterrupt(), 130, "Stopped."),
        (PermissionError(13, "Permission denied", "work/x.ipynb"), 1, "work/x.ipynb: Permission denied"),
        (OSError(28, "No space left on device"), 1, "The disk is full."),
    ],
)
def test_every_end_is_a_line_and_a_status(machine, monkeypatch, capsys, error, status, told):
    def pretended(*_):
        raise error

    monkeypatch.setattr(start, "_dispatch", pretended)
    assert start.main(["doctor"], machine.project) == status
    assert capsys.readouterr().out.strip().startswith(told)


def test_an_old_python_can_read_the_file_and_gets_one_sentence(monkeypatch, capsys):
    text = Path(start.__file__).read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 8))
    monkeypatch.setattr(start, "OLDEST_PYTHON", (9, 9))
    assert start.main([]) == 1
    out = capsys.readouterr().out
    assert out.startswith("The workshop needs Python 9.9 or newer")
    assert out.count("\n") == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437"])
def test_a_console_that_lacks_characters_does_not_stop_it(encoding):
    code = "import start; start.say('a · b ≈ c → д')"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    shown = subprocess.run([sys.executable, "-c", code], cwd=start.ROOT, env=environment, capture_output=True)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(b"a - b ~ c -> ?")


def test_a_program_that_hangs_is_ended_and_one_that_is_missing_has_a_status():
    project = start.Project()
    status, _ = project.output_of([sys.executable, "-c", "import time; time.sleep(600)"], timeout_s=0.3)
    assert status != 0
    assert project.output_of(["no-such-program-at-all"])[0] == 127
    words = [sys.executable, "-c", "print('grüße'); raise SystemExit(3)"]
    status, text = project.output_of(words, environment={**os.environ, "PYTHONIOENCODING": "utf-8"})
    assert (status, text) == (3, "grüße")


# -- real installations ---------------------------------------------------------------------------------------------


def copy_of_the_repository(folder: Path) -> Path:
    """Copy what a clone would hold: what git knows, or without git everything but what start.py makes."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=start.ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0 and "start.py" in listed.stdout:
        for name in filter(None, listed.stdout.split("\0")):
            if (start.ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(start.ROOT / name, folder / name)
    else:
        made_here = shutil.ignore_patterns(
            ".git",
            ".venv*",
            ".env",
            "work",
            "wheels",
            "downloads",
            "__pycache__",
            ".*_cache",
            "*.egg-info",
            "build",
        )
        shutil.copytree(start.ROOT, folder, ignore=made_here, dirs_exist_ok=True)
    return folder


def start_py(folder: Path, *words: str, prefix: tuple[str, ...] = ()) -> str:
    done = subprocess.run(
        [*prefix, sys.executable, "start.py", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=quiet_environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def quiet_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"}


def python_in(folder: Path, code: str) -> str:
    python = start.learner_environment(folder).python
    return subprocess.check_output([python, "-c", code], cwd=folder, text=True).strip()


def end_with_children(process: subprocess.Popen[str]) -> None:
    if os.name == "nt":  # there is no signal that start.py could pass on
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], check=True)
    else:
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    folder = copy_of_the_repository(tmp_path_factory.mktemp("fresh clöne") / "the workshop")
    start_py(folder, "--only-set-up")
    return folder


@pytest.mark.install
def test_a_fresh_clone_is_set_up_and_a_second_start_installs_nothing(installed):
    where = python_in(installed, "import helpers, jupyterlab, nbmake; print(helpers.__file__)")
    assert Path(where) == installed.resolve() / "helpers" / "__init__.py"
    log = start.learner_environment(installed).log
    before = log.stat().st_mtime_ns
    assert "Installing" not in start_py(installed, "--only-set-up")
    assert log.stat().st_mtime_ns == before
    assert {path.name for path in (installed / "work").glob("*.ipynb")} == {
        path.name for path in (installed / "notebooks").glob("*.ipynb")
    }


@pytest.mark.install
def test_the_printed_address_opens_the_working_copy(installed):
    process = subprocess.Popen(
        [sys.executable, "start.py", "--no-browser"],
        cwd=installed,
        env=quiet_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    )
    try:
        assert process.stdout is not None
        printed = []
        for line in process.stdout:
            printed.append(line)
            if "token=" in line:
                break
        address = printed[-1].strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/lab/tree/work/01_\w+\.ipynb\?token=\w+", address), (
            printed
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(address.replace("/lab/tree/", "/api/contents/")) as answer:
            assert json.load(answer)["type"] == "notebook"
    finally:
        end_with_children(process)


@pytest.mark.install
def test_an_installation_that_was_cut_off_is_repaired(installed):
    environment = start.learner_environment(installed)
    package = Path(python_in(installed, "import openai; print(openai.__file__)"))
    package.unlink()
    start._write_record(environment, installed, "installing")
    assert "interrupted" in start_py(installed, "--only-set-up")
    python_in(installed, "import openai, helpers")


@pytest.mark.install
@pytest.mark.netns
def test_packed_wheels_install_where_there_is_no_network(installed, tmp_path):
    wheels = tmp_path / "wheels"
    assert "for Python" in start_py(installed, "pack", str(wheels))
    listed = json.loads((wheels / start.MANIFEST).read_text())["wheels"]
    assert set(listed) == {path.name for path in wheels.glob("*.whl")}
    assert not [name for name in listed if name.startswith("agentic_retrieval_workshop")]
    other = copy_of_the_repository(tmp_path / "other machine")
    no_network = tuple(start.namespace_command(start.ROOT))
    start_py(other, "--only-set-up", "--wheels", str(wheels), prefix=no_network)
    pins = start.pinned_versions(start.ROOT / "constraints.txt")
    assert python_in(other, "import openai, helpers; print(openai.__version__)") == pins["openai"]
