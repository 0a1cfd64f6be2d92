"""Ways out of the sandbox of the code interpreter: each is refused or contained, or the guarantee says that it is open.

The attacks are in ``escapes.py``. They run with what shuts code in here and without bubblewrap, as the user who runs the
tests and, if that is root, as an ordinary user too. Not here: how a run ends and what it gives back (``test_sandbox.py``).
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from helpers.local_api import LocalAPI, bubblewrap, kernel_rules
from helpers.local_api.folders import entries, remove_folder, sizes
from helpers.local_api.sandbox import Sandbox, guarantee
from tests.local_api.conftest import RECORDINGS, make_client
from tests.local_api.escapes import ATTACKS, KEY, ROOT

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="namespaces, Landlock and seccomp are Linux's"
)
NOBODY = 65534


@functools.cache
def ordinary_user() -> tuple[str, ...] | None:
    """The command that runs a program as an ordinary user; None where this user is one or cannot become one."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        return None
    change = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    if works((*change, sys.executable)):
        return change
    # Python lies in a home folder that nobody else may enter: show that part of it elsewhere, in the same place.
    home, python = Path.home(), Path(os.path.realpath(sys.executable))
    if not python.is_relative_to(home):
        return None
    part = home / python.relative_to(home).parts[0]
    script = (
        'kept=$(mktemp -d) && mount --bind "$1" "$kept" && mount -t tmpfs -o mode=755 none "$2" && mkdir "$1" && '
        'mount --move "$kept" "$1" && rmdir "$kept" && shift 2 && exec "$@"'
    )
    inside = ("unshare", "--mount", "sh", "-c", script, "sh", str(part), str(home), *change)
    return inside if works((*inside, sys.executable)) else None


def works(python: tuple[str, ...]) -> bool:
    """Whether this Python finds its own files and these."""
    program = "import subprocess, sys, tests.local_api.escapes\nsubprocess.run([sys.executable, '-c', 'import zmq'], check=True)"
    command = (*python, "-c", program)
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False).returncode == 0


WAYS = [(user, isolation) for user in ("me", "nobody") for isolation in ("auto", "none")]


def ways() -> list[tuple[str, str]]:
    """Who tries to come out of what. Root, and where it can be, nobody."""
    return [way for way in WAYS if way[0] == "me" or (sys.platform == "linux" and ordinary_user())]


@functools.cache
def outcomes(user: str, isolation: str) -> dict[str, dict[str, object]]:
    """What came of all attacks; tried once for all tests."""
    with tempfile.TemporaryDirectory(prefix="e-", dir="/tmp") as name:
        folder = Path(name, "planted")
        folder.mkdir()
        before = () if user == "me" else ordinary_user() or ()
        if before:
            os.chmod(name, 0o755)
            os.chown(folder, NOBODY, NOBODY)
        done = subprocess.run(
            [*before, sys.executable, "-m", "tests.local_api.escapes", isolation, str(folder)],
            cwd=ROOT,
            env={
                **{
                    "PATH": os.environ["PATH"],
                    "OPENAI_API_KEY": KEY,
                    "TMPDIR": name if not before else str(folder),
                },
                **{
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "HOME": os.path.expanduser("~") if not before else "/nonexistent",
                },
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, dict[str, object]] = json.loads(done.stdout)
        return found


@pytest.mark.parametrize(("user", "isolation"), ways())
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_no_way_out(attack, user, isolation):
    if not shut_in(isolation) and not kernel_rules.works():
        # Then nothing is tried, because it would succeed: this machine is the learner's.
        assert "no security boundary" in guarantee("none")
        return
    outcome = outcomes(user, isolation)[attack.name]
    said = f"{outcome['logs']}\n{outcome['why']}"
    assert KEY not in said
    assert outcome["goes_on"] == [], "nothing runs between two runs of code"
    if shut_in(isolation):
        assert re.search(attack.outcome, said), said
        assert "GOT" not in re.sub(r"(?m)^.*print\(.*$", "", said), said
        assert outcome["heard"] == ""
    else:
        pattern = attack.without or attack.outcome
        if attack.name == "a socket without a path" and kernel_rules.landlock_version() < 6:
            pattern = "GOT"
        assert re.search(pattern, said), said
        if "GOT" not in pattern:
            assert "GOT" not in re.sub(r"(?m)^.*print\(.*$", "", said), said
            assert outcome["heard"] == ""


def shut_in(isolation: str) -> bool:
    return isolation == "auto" and bubblewrap.find()[0] is not None


@pytest.mark.parametrize(("user", "isolation"), ways())
def test_afterwards_code_runs_and_nothing_is_left(user, isolation):
    if not shut_in(isolation) and not kernel_rules.works():
        assert "no security boundary" in guarantee("none")
        return
    found = outcomes(user, isolation)
    assert found["afterwards"]["logs"] == "42\n"
    assert ("Bubblewrap shuts" in str(found["afterwards"]["guarantee"])) == shut_in(isolation)
    left = found["left behind"]
    assert left["started"] >= 4
    assert left["goes_on"] == []
    assert left["outlives"] == []
    assert found["disk"]["secret"] == "the secret"
    assert [name for name in found["disk"]["left"] if name.startswith(("code-", "planted"))] == []


# -- what the API gives back of a folder in which code wrote anything ------------------------------------------------


@pytest.fixture
def api():
    api = LocalAPI(recordings=RECORDINGS)
    yield api
    api.close()


def run(api, container, code):
    """Run code in a container as a response does, and follow what it did to its files."""
    found = api._containers.use(container.id)
    result = api._containers.kernel(found).run(code)
    api._containers.files.collect(found.id, found.folder, result.images)
    return result


def test_links_pipes_and_odd_names_in_a_container_lead_nowhere(api, tmp_path):
    client = make_client(api)
    container = client.containers.create(name="odd")
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    result = run(
        api,
        container,
        f"import os\nos.symlink({str(secret)!r}, 'link.txt')\nos.symlink({str(tmp_path)!r}, 'folder')\nos.mkfifo('pipe.txt')\n"
        "open('two\\nlines <img src=x onerror=1>.txt', 'w').write('mine')\nopen('real.txt', 'w').write('mine')\n"
        "os.mkdir('d')\nopen('d/inner.txt', 'w').write('inner')\nopen(b'no text \\xff.txt', 'w').close()",
    )
    assert not result.failed, result.logs
    listed = {file.path: file for file in client.containers.files.list(container.id)}
    assert set(listed) == {
        f"/mnt/data/{name}" for name in ("two\nlines <img src=x onerror=1>.txt", "real.txt", "d/inner.txt")
    }
    odd = listed["/mnt/data/two\nlines <img src=x onerror=1>.txt"]
    assert client.containers.files.content.retrieve(odd.id, container_id=container.id).read() == b"mine"
    # Known by now, and then something else: by the file itself, and by the folder that it is in.
    run(
        api,
        container,
        f"import os\nos.remove('real.txt')\nos.symlink({str(secret)!r}, 'real.txt')\n"
        f"os.rename('d', 'e')\nos.symlink({str(tmp_path)!r}, 'd')\nopen('e/secret.txt', 'w').close()",
    )
    folder = api._containers.use(container.id).folder / "data"
    (tmp_path / "inner.txt").write_text("the secret")
    for name in ("real.txt", "d/inner.txt"):
        with pytest.raises(Exception, match="not found"):
            client.containers.files.content.retrieve(
                listed[f"/mnt/data/{name}"].id, container_id=container.id
            )
    assert (folder / "d").is_symlink()
    client.containers.delete(container.id)
    assert not folder.exists()
    assert secret.read_text() == (tmp_path / "inner.txt").read_text() == "the secret"


def test_a_file_that_became_a_link_is_not_removed_behind_it(api, tmp_path):
    client = make_client(api)
    container = client.containers.create(name="odd")
    run(api, container, "import os\nos.mkdir('d')\nopen('d/inner.txt', 'w').close()")
    (file,) = client.containers.files.list(container.id)
    (tmp_path / "inner.txt").write_text("theirs")
    api._containers.kernel(api._containers.use(container.id)).run(
        f"import os\nos.rename('d', 'e')\nos.symlink({str(tmp_path)!r}, 'd')"
    )
    client.containers.files.delete(file.id, container_id=container.id)
    assert (tmp_path / "inner.txt").read_text() == "theirs"
    assert list(client.containers.files.list(container.id)) == []


def test_deleting_a_container_ends_what_its_code_left_running(api):
    from tests.local_api.escapes import LEFT_BEHIND, started_by, state

    client = make_client(api)
    container = client.containers.create(name="busy")
    run(api, container, LEFT_BEHIND)
    left = started_by(api._containers.kernel(api._containers.use(container.id)))
    assert len(left) >= 4
    client.containers.delete(container.id)
    assert [pid for pid in left if state(pid) not in "ZX"] == []


# -- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_deeper_than_the_system_takes_is_seen_and_removed(tmp_path):
    box = tmp_path / "box"
    box.mkdir()
    at = os.open(box, os.O_RDONLY)
    for _ in range(600):
        os.mkdir("d" * 20, dir_fd=at)
        inner = os.open("d" * 20, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    found = sizes(box, 10_000)
    assert max(map(len, found)) > len(str(box)) + 2_000
    assert len(found) < 200
    assert len(list(entries(box))) == len(found)
    remove_folder(box)
    assert not box.exists()


def test_removing_a_folder_follows_no_link_and_minds_no_rights(tmp_path):
    box, theirs = tmp_path / "box", tmp_path / "theirs"
    (box / "a/b").mkdir(parents=True)
    theirs.mkdir()
    (theirs / "kept.txt").write_text("theirs")
    os.symlink(theirs, box / "a/link")
    os.link(theirs / "kept.txt", box / "a/b/hard")
    os.mkfifo(box / "a/pipe")
    for path in (box / "a/b", box / "a", box):
        path.chmod(0)
    remove_folder(box)
    assert not box.exists()
    assert (theirs / "kept.txt").read_text() == "theirs"
    assert (theirs / "kept.txt").stat().st_nlink == 1


def test_removing_a_folder_that_is_not_there_leaves_the_rights_of_what_it_lies_in(tmp_path):
    home = tmp_path / "home"
    (home / "box").mkdir(parents=True)
    home.chmod(0o755)
    for _ in range(2):
        remove_folder(home / "box")
        assert stat.S_IMODE(home.stat().st_mode) == 0o755
    (home / "box").symlink_to(tmp_path)
    remove_folder(home / "box")
    assert (home / "box").is_symlink()


# -- what holds where ---------------------------------------------------------------------------------------------------


def test_the_guarantee_says_what_holds_without_bubblewrap(monkeypatch):
    with_rules = guarantee("none")
    assert ("Linux keeps the code to rules" in with_rules) == kernel_rules.works()
    monkeypatch.setattr(kernel_rules, "works", lambda: False)
    text = guarantee("none")
    assert "a guard against accidents and no security boundary" in text
    assert "a key in them included" in text
    assert "use the network" in text


def test_without_any_rules_code_runs_and_its_environment_holds_no_key(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(kernel_rules, "rules", lambda **_: {})
    with Sandbox(tmp_path / "box", isolation="none") as sandbox:
        result = sandbox.run("import os\nprint(dict(os.environ))\nprint(6 * 7)")
    assert result.logs.endswith("42\n")
    assert KEY not in result.logs


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_program_for_system_calls_ends_and_jumps_only_forward_inside_itself(machine):
    program = kernel_rules.program(machine, [1, 2, 10, 16], [4711, -4711])
    assert len(program) < 4096
    for place, (code, yes, no, _) in enumerate(program):
        returns = code == 0x06
        assert returns or place + 1 + max(yes, no) < len(program)
    assert program[-1] == (0x06, 0, 0, 0x7FFF_0000)
