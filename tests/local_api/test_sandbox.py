"""The sandbox of the code interpreter: what code gets back, how it is stopped, and what it cannot reach.

Most tests run twice: with the isolation that this machine has, and without any. What only bubblewrap can refuse is
asserted where bubblewrap works; elsewhere the guarantee must say that it is not refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.local_api import bubblewrap, processes
from helpers.local_api.folders import remove_folder
from helpers.local_api.kernel_output import KernelOutput
from helpers.local_api.sandbox import CodeResult, Limits, Sandbox, guarantee

ROOT = Path(__file__).resolve().parents[2]
# Enough for a busy machine, and no test waits for it.
PATIENT = Limits(time_s=60)
# For the tests that do wait.
SHORT = Limits(time_s=0.5)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals, forks and resource limits are POSIX's")


@pytest.fixture(scope="module", params=["auto", "none"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One sandbox for all tests that can share one: each begins with a kernel that works."""
    with Sandbox(tmp_path_factory.mktemp("box"), PATIENT, isolation=request.param) as sandbox:
        yield sandbox


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Sandbox]]:
    with contextlib.ExitStack() as stack:

        def made(name: str = "box", limits: Limits = PATIENT, **options: object) -> Sandbox:
            return stack.enter_context(Sandbox(tmp_path / name, limits, **options))

        yield made


def shut_in() -> bool:
    return bubblewrap.find()[0] is not None


def works(sandbox: Sandbox) -> bool:
    return sandbox.run("print(6 * 7)").logs == "42\n"


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files in which nobody else makes any; its path is short, for the sockets' sake."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as name:
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


class TestOutput:
    def test_variables_stay_from_run_to_run(self, shared: Sandbox) -> None:
        shared.run("kept = 41")
        assert shared.run("kept + 1") == CodeResult("42", [], False, "")

    def test_streams_value_and_order(self, shared: Sandbox) -> None:
        result = shared.run(
            "import sys\nprint('one')\nprint('two', file=sys.stderr)\nprint('three')\n{'four': 4}"
        )
        assert sorted(result.logs.splitlines()) == ["one", "three", "two", "{'four': 4}"]
        assert result.logs.endswith("\n{'four': 4}")
        assert not result.failed

    def test_a_value_begins_a_line(self, shared: Sandbox) -> None:
        assert shared.run("print('no end', end='')\n7").logs == "no end\n7"

    def test_traceback_without_colours_after_the_output(self, shared: Sandbox) -> None:
        result = shared.run("print('before')\n1 / 0")
        assert result.logs.startswith("before\n---")
        assert result.logs.endswith("ZeroDivisionError: division by zero")
        assert "\x1b" not in result.logs
        assert result.failed
        assert result.why == ""

    def test_syntax_error(self, shared: Sandbox) -> None:
        result = shared.run("for in x:")
        assert "SyntaxError" in result.logs
        assert result.failed

    def test_what_a_program_prints(self, shared: Sandbox) -> None:
        # ipykernel reads it on a thread of its own: on a busy machine it can come after the end of the cell.
        runs = (shared.run("import os; os.system('echo from a program');").logs for _ in range(5))
        assert any("from a program" in logs for logs in runs)

    def test_unicode(self, shared: Sandbox) -> None:
        result = shared.run("print('Grüße, 你好, 😀, \\ud800')\n'é'")
        assert result.logs == "Grüße, 你好, 😀, ?\n'é'"
        assert shared.run("'\ud800'").logs == "'?'"

    def test_input_is_refused_at_once(self, shared: Sandbox) -> None:
        result = shared.run("name = input('Your name? ')")
        assert "StdinNotImplementedError" in result.logs
        assert "does not support input requests" in result.logs
        assert result.failed
        assert works(shared)

    def test_help_is_output(self, shared: Sandbox) -> None:
        assert "Docstring" in shared.run("print?").logs


class TestPlots:
    @pytest.mark.parametrize("end", ["plt.show()", "fig", "print('drawn')"])
    def test_a_plot_is_one_png_without_warnings(self, shared: Sandbox, end: str) -> None:
        result = shared.run(
            f"import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 3, 2]);\n{end}"
        )
        assert not result.failed, result.logs
        assert result.images
        assert all(image.startswith(b"\x89PNG\r\n\x1a\n") for image in result.images)
        assert "arning" not in result.logs
        assert "font" not in result.logs
        assert "Figure" not in result.logs

    def test_a_plot_and_the_value_of_the_last_expression(self, shared: Sandbox) -> None:
        result = shared.run("import matplotlib.pyplot as plt\nplt.plot([1])\nplt.savefig('p.png')\n'p.png'")
        assert result.logs == "'p.png'"
        assert len(result.images) == 1
        assert (shared.folder / "p.png").read_bytes().startswith(b"\x89PNG")


class TestFiles:
    def test_files_go_in_and_out_and_nothing_else_is_there(self, make: Callable[..., Sandbox]) -> None:
        sandbox = make()
        sandbox.folder.mkdir()
        name = "a 'quoted' \"name\" ü.csv"
        (sandbox.folder / name).write_text("a,b\n1,2\n", encoding="utf-8")
        assert sandbox.run("import os; os.listdir()").logs == repr([name])
        result = sandbox.run(
            f"text = open({name!r}, encoding='utf-8').read()\nopen('copy of it', 'w').write(text);"
        )
        assert not result.failed, result.logs
        assert (sandbox.folder / "copy of it").read_text() == "a,b\n1,2\n"
        where = sandbox.run("print(os.getcwd())").logs.strip()
        assert where == ("/mnt/data" if shut_in() else str(sandbox.folder))

    def test_code_that_removes_its_own_files(self, shared: Sandbox) -> None:
        (shared.folder / "data.csv").write_text("a\n1\n")
        result = shared.run("import os\nfor n in os.listdir():\n    os.remove(n)\nopen('data.csv')")
        assert "FileNotFoundError" in result.logs
        assert os.listdir(shared.folder) == []
        assert works(shared)

    def test_too_many_files(self, make: Callable[..., Sandbox]) -> None:
        sandbox = make(limits=Limits(files=20, time_s=60))
        result = sandbox.run(
            "import time\nfor i in range(40):\n    open(f'{i}', 'w').close()\ntime.sleep(60)"
        )
        assert result.failed
        assert "more than 20 files" in result.why
        # Code that clears up is let through.
        assert not sandbox.run("import os\nfor n in os.listdir(): os.remove(n)").failed
        assert works(sandbox)

    def test_too_large_a_file_and_too_large_together(self, make: Callable[..., Sandbox]) -> None:
        sandbox = make(limits=Limits(file_bytes=1 << 20, time_s=60))
        assert (
            "File too large"
            in sandbox.run(
                "open('a', 'wb', buffering=0).write(bytes(900_000))\nopen('b', 'wb').truncate(1 << 40)"
            ).logs
        )
        result = sandbox.run("open('b', 'wb').write(bytes(900_000));")
        assert result.failed
        assert "more than 1 MB of files" in result.why
        assert works(sandbox)

    def test_what_was_given_does_not_count(self, make: Callable[..., Sandbox]) -> None:
        sandbox = make(limits=Limits(file_bytes=100_000, files=2, time_s=60))
        sandbox.folder.mkdir()
        for name in "abc":
            (sandbox.folder / name).write_bytes(bytes(200_000))
        assert sandbox.run("len(open('a', 'rb').read())") == CodeResult("200000", [], False, "")


class TestEnds:
    def test_endless_loop_is_interrupted_and_variables_stay(self, make: Callable[..., Sandbox]) -> None:
        sandbox = make(limits=SHORT)
        sandbox.run("kept = 1")
        result = sandbox.run("while True: pass")
        assert result.why == "The code ran longer than 0.5 seconds and was stopped."
        assert result.failed
        assert "KeyboardInterrupt" in result.logs
        assert sandbox.run("kept").logs == "1"

    def test_loop_that_ignores_the_interrupt_is_killed(self, make: Callable[..., Sandbox]) -> None:
        sandbox = make(limits=SHORT)
        result = sandbox.run(
            "import time\nprint('first')\nwhile True:\n    try: time.sleep(60)\n    except KeyboardInterrupt: pass"
        )
        assert "was stopped" in result.why
        assert "variables are gone" in result.why
        assert result.logs == "first\n"
        assert works(sandbox)

    @pytest.mark.parametrize(
        ("code", "how"),
        [
            ("import os; os._exit(3)", "exit status 3"),
            ("import os; os.kill(os.getpid(), 9)", "signal 9"),
            ("exit()", "The code ended Python."),
        ],
    )
    def test_a_kernel_that_ends(self, shared: Sandbox, code: str, how: str) -> None:
        result = shared.run(code)
        assert result.failed
        assert how in result.why
        assert "variables are gone" in result.why
        assert shared.run("print(6 * 7)") == CodeResult("42\n", [], False, "")

    def test_a_kernel_that_ends_between_two_runs_is_said(self, shared: Sandbox) -> None:
        shared.run("1")
        kernel = shared._state.kernel
        assert kernel is not None
        assert kernel._process is not None
        kernel.kill()
        result = shared.run("print(6 * 7)")
        assert result.logs == "42\n"
        assert not result.failed
        assert "variables are gone" in result.why

    def test_many_processes(self, make: Callable[..., Sandbox]) -> None:
        # A bomb with an end: at most 80 children that do nothing but wait.
        sandbox = make(limits=Limits(processes=20, time_s=60))
        result = sandbox.run(
            "import os, time\nfor _ in range(80):\n    if os.fork() == 0: time.sleep(50); os._exit(0)\ntime.sleep(50)"
        )
        assert result.failed
        assert "more than 20 processes" in result.why or "BlockingIOError" in result.logs
        assert works(sandbox)

    @pytest.mark.parametrize("isolation", ["auto", "none"])
    def test_nothing_that_the_code_started_outlives_the_sandbox(
        self, make: Callable[..., Sandbox], isolation: str
    ) -> None:
        sandbox = make(isolation=isolation)
        sandbox.run(
            "import subprocess\nsubprocess.Popen(['sleep', '60'])\nsubprocess.Popen(['sleep', '60'], start_new_session=True)\n"
            "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: os.execvp('sleep', ['sleep', '60'])\n    os._exit(0)"
        )
        kernel = sandbox._state.kernel
        assert kernel is not None
        assert kernel._process is not None
        started = processes.below(kernel._process.pid)
        assert len(started) >= 3
        sandbox.close()
        assert gone(started)
        assert kernel._process.returncode is not None

    def test_too_much_memory_is_an_exception_and_variables_stay(self, shared: Sandbox) -> None:
        shared.run("kept = 5")
        result = shared.run("huge = bytearray(5 * 10**9)")
        assert result.logs.endswith("MemoryError: ")
        assert result.failed
        assert shared.run("kept").logs == "5"

    def test_processes_that_share_memory_are_counted_fairly(self, make: Callable[..., Sandbox]) -> None:
        sandbox = make(limits=Limits(memory_bytes=200 << 20, time_s=60))
        result = sandbox.run(
            "import os, time\nblock = bytearray(os.urandom(1 << 20)) * 100\n"
            "pids = []\nfor _ in range(10):\n    pid = os.fork()\n    if pid == 0: time.sleep(0.3); os._exit(0)\n    pids.append(pid)\n"
            "for pid in pids: os.waitpid(pid, 0);\nprint('done')"
        )
        assert result == CodeResult("done\n", [], False, "")


class TestFloods:
    def test_100_mb_in_one_piece(self, shared: Sandbox) -> None:
        self.check(shared, shared.run("print('x' * 10**8)"))

    def test_100_mb_in_many_pieces_is_stopped(self, shared: Sandbox) -> None:
        result = shared.run("import time\nfor _ in range(1000): print('x' * 10**5)\ntime.sleep(50)")
        self.check(shared, result)
        assert result.failed
        assert "printed more than 1,000,000 characters" in result.why

    def test_a_value_of_100_mb(self, shared: Sandbox) -> None:
        self.check(shared, shared.run("'x' * 10**8"))

    def test_the_end_of_a_traceback_is_kept(self, shared: Sandbox) -> None:
        result = shared.run("print('x' * 30_000)\n1 / 0")
        self.check(shared, result)
        assert result.logs.endswith("ZeroDivisionError: division by zero")

    @staticmethod
    def check(sandbox: Sandbox, result: CodeResult) -> None:
        assert len(result.logs) <= sandbox.limits.output_chars + 100
        assert "characters cut …" in result.logs
        assert works(sandbox)

    def test_images_beyond_the_limit_are_dropped_and_said(self) -> None:
        output = KernelOutput(1000)
        for _ in range(40):
            output.add("display_data", {"data": {"image/png": "iVBORw0KGgo="}})
        assert len(output.images) == 32
        assert output.text().count("no more images") == 1

    def test_nonsense_in_messages_is_no_output(self) -> None:
        output = KernelOutput(1000)
        for content in (
            {},
            {"text": 3},
            {"data": 3},
            {"data": {"image/png": 3, "text/plain": []}},
            {"traceback": 3},
        ):
            for kind in ("stream", "display_data", "error", "unknown"):
                output.add(kind, content)
        output.reply({"payload": [3, {"source": "page", "data": 3}]})
        assert set(output.text()) <= set(": \n")


class TestReach:
    """What code can get at. Refusals are bubblewrap's; without it the guarantee says that there are none."""

    def test_environment_holds_nothing_of_ours(
        self, shared: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in ("OPENAI_API_KEY", "WORKSHOP_PLANTED", "HTTPS_PROXY", "MY_PASSWORD", "JPY_PARENT_PID"):
            monkeypatch.setenv(name, "planted-secret")
        isolation = shared._isolation
        with Sandbox(tmp_path / "box", PATIENT, isolation=isolation) as sandbox:
            result = sandbox.run(
                "import os\nprint(dict(os.environ))\nprint(open('/proc/self/environ').read())"
            )
        assert not result.failed, result.logs
        assert "planted-secret" not in result.logs
        for name in ("OPENAI", "WORKSHOP", "PROXY", "JPY_PARENT_PID"):
            assert name not in result.logs

    def test_the_disk(self, make: Callable[..., Sandbox], tmp_path: Path) -> None:
        secret = tmp_path / "secret.txt"
        secret.write_text("planted-secret")
        sandbox = make()
        if not shut_in():
            assert "no security boundary" in sandbox.guarantee
            assert "can read and write the files" in sandbox.guarantee
            return
        link = sandbox.run(f"import os\nos.symlink({str(secret)!r}, 'link')\nopen('link').read()")
        assert "FileNotFoundError" in link.logs
        readable = (
            "/etc/passwd",
            "/etc/shadow",
            str(secret),
            str(ROOT / "pyproject.toml"),
            str(ROOT / "helpers/errors.py"),
        )
        for path in readable:
            result = sandbox.run(f"print(open({path!r}).read())")
            assert "FileNotFoundError" in result.logs, path
        for path in ("/planted", "/usr/planted", "/dev/planted", f"{sys.prefix}/lib/planted"):
            result = sandbox.run(f"open({path!r}, 'w')")
            assert "Read-only file system" in result.logs, path
        assert "ModuleNotFoundError" in sandbox.run("import helpers").logs
        assert "PermissionError" in sandbox.run("os.chroot('/')").logs

    def test_the_network(self, make: Callable[..., Sandbox]) -> None:
        sandbox = make()
        if not shut_in():
            assert "use its network" in sandbox.guarantee
            return
        import socket

        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            result = sandbox.run(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)")
        assert "ConnectionRefusedError" in result.logs
        assert sandbox.run("[name for _, name in socket.if_nameindex()]").logs == "['lo']"

    def test_other_processes(self, make: Callable[..., Sandbox]) -> None:
        sandbox = make()
        if not shut_in():
            assert "no security boundary" in sandbox.guarantee
            return
        result = sandbox.run(
            f"import os\nprint(sorted(int(n) for n in os.listdir('/proc') if n.isdigit()))\nos.kill({os.getpid()}, 0)"
        )
        assert result.logs.startswith("[1, 2")
        assert len(result.logs.splitlines()[0].split(",")) <= 3
        assert "ProcessLookupError" in result.logs

    def test_two_sandboxes_do_not_see_each_other(self, make: Callable[..., Sandbox]) -> None:
        one, two = make("one"), make("two")
        one.run("secret = 'of one'\nopen('mine.txt', 'w').write(secret);")
        assert "NameError" in two.run("secret").logs
        assert two.run("import os; os.listdir()").logs == "[]"
        if shut_in():
            assert "FileNotFoundError" in two.run(f"open({str(one.folder / 'mine.txt')!r})").logs

    def test_what_the_guarantee_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert ("Bubblewrap shuts the code in" in guarantee()) == shut_in()
        monkeypatch.setattr(shutil, "which", lambda _: None)
        bubblewrap.find.cache_clear()
        try:
            text = guarantee()
        finally:
            bubblewrap.find.cache_clear()
        assert "no security boundary" in text
        assert "no key" in text

    @pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is Linux's")
    def test_a_bubblewrap_that_fails_is_not_used_and_not_hidden(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        fake = tmp_path / "bwrap"
        fake.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
        fake.chmod(0o755)
        monkeypatch.setattr(shutil, "which", lambda _: str(fake))
        bubblewrap.find.cache_clear()
        try:
            with Sandbox(tmp_path / "box", PATIENT) as sandbox:
                assert "may not make namespaces here" in sandbox.guarantee
                assert works(sandbox)
        finally:
            bubblewrap.find.cache_clear()

    @pytest.mark.netns
    def test_inside_a_namespace_without_a_network(self, tmp_path: Path) -> None:
        program = (
            "import sys, pathlib\nfrom helpers.local_api.sandbox import Sandbox\n"
            "with Sandbox(pathlib.Path(sys.argv[1])) as s:\n    print(s.run('6 * 7').logs, s.guarantee)"
        )
        done = subprocess.run(
            ["unshare", "-rn", sys.executable, "-W", "error", "-c", program, str(tmp_path / "box")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stderr == ""
        assert done.stdout.startswith("42 ")
        assert ("Bubblewrap" in done.stdout) != ("no security boundary" in done.stdout)


class TestLife:
    def test_nothing_starts_before_the_first_run(self, tmp_path: Path, temporary: Path) -> None:
        with Sandbox(tmp_path / "box"):
            assert os.listdir(temporary) == []

    def test_interrupt_from_another_thread(self, make: Callable[..., Sandbox]) -> None:
        sandbox = make()
        sandbox.run("kept = 1")
        result = self.while_running(sandbox, sandbox.interrupt)
        assert result.why == "The code was interrupted."
        assert "KeyboardInterrupt" in result.logs
        assert sandbox.run("kept").logs == "1"

    def test_closing_while_code_runs(self, make: Callable[..., Sandbox], temporary: Path) -> None:
        sandbox = make()
        result = self.while_running(sandbox, sandbox.close)
        assert result.failed
        assert result.why == "The container was closed while the code ran."
        assert os.listdir(temporary) == []
        assert sandbox.run("1").why == "The container is closed, so the code was not run."

    @staticmethod
    def while_running(sandbox: Sandbox, act: Callable[[], None]) -> CodeResult:
        results: list[CodeResult] = []
        code = "open('begun', 'w').close()\nwhile True: pass"
        thread = threading.Thread(target=lambda: results.append(sandbox.run(code)))
        thread.start()
        while not (sandbox.folder / "begun").exists():
            time.sleep(0.01)
        act()
        thread.join(30)
        return results[0]

    # The interrupt is real, and can fall into the finalizer of whatever an earlier test left to the collector.
    @pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning")
    def test_ctrl_c_in_the_notebook_stops_the_code(self, make: Callable[..., Sandbox]) -> None:
        sandbox = make()
        sandbox.run("kept = 1")
        main = threading.get_ident()

        def press() -> None:
            while not (sandbox.folder / "begun").exists():
                time.sleep(0.01)
            signal.pthread_kill(main, signal.SIGINT)

        threading.Thread(target=press).start()
        with pytest.raises(KeyboardInterrupt):
            sandbox.run("open('begun', 'w').close()\nwhile True: pass")
        assert sandbox.run("kept").logs == "1"

    def test_many_threads_one_sandbox(self, shared: Sandbox) -> None:
        shared.run("count = 0")
        results: list[CodeResult] = []
        threads = [
            threading.Thread(target=lambda: results.append(shared.run("count += 1\nprint(count)")))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(int(result.logs) for result in results) == list(range(1, 9))

    def test_started_in_a_thread_that_ended(self, make: Callable[..., Sandbox]) -> None:
        sandbox = make()
        thread = threading.Thread(target=sandbox.run, args=("kept = 3",))
        thread.start()
        thread.join()
        assert sandbox.run("kept") == CodeResult("3", [], False, "")

    def test_in_a_running_event_loop(self, make: Callable[..., Sandbox]) -> None:
        sandbox = make()

        async def both() -> tuple[str, str]:
            return sandbox.run("1 + 1").logs, (await sandbox.run_async("2 + 2")).logs

        assert asyncio.run(both()) == ("2", "4")

    def test_nothing_is_left_of_a_closed_or_forgotten_sandbox(self, tmp_path: Path, temporary: Path) -> None:
        for forget in (False, True):
            sandbox = Sandbox(tmp_path / "box", PATIENT)
            # A folder that nobody may look into must not stay for that.
            sandbox.run(
                "import os\nos.makedirs(os.environ['TMPDIR'] + '/a/b')\nos.chmod(os.environ['TMPDIR'] + '/a', 0)"
            )
            kernel = sandbox._state.kernel
            assert kernel is not None
            if not forget:
                sandbox.close()
                sandbox.close()
            del sandbox
            gc.collect()
            assert not kernel.alive()
            assert os.listdir(temporary) == []

    def test_nothing_is_left_when_the_process_ends(self, tmp_path: Path, temporary: Path) -> None:
        program = (
            "import sys, pathlib\nfrom helpers.local_api.sandbox import Sandbox\n"
            "s = Sandbox(pathlib.Path(sys.argv[1]))\ns.run('1')\nprint(s._state.kernel._process.pid)"
        )
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-W", "error", "-c", program, str(tmp_path / "box")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stderr == ""
        assert gone([int(done.stdout)])
        assert os.listdir(temporary) == []

    @pytest.mark.parametrize("isolation", ["auto", "none"])
    def test_the_kernel_ends_with_a_process_that_is_killed(self, tmp_path: Path, isolation: str) -> None:
        program = (
            "import os, sys, pathlib\nfrom helpers.local_api.sandbox import Sandbox\n"
            f"s = Sandbox(pathlib.Path(sys.argv[1]), isolation={isolation!r})\ns.run('1')\n"
            "print(s._state.kernel._process.pid, s._state.kernel.private, flush=True)\nos.kill(os.getpid(), 9)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "box")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        pid, private = done.stdout.split()
        assert gone([int(pid)])
        remove_folder(Path(private))  # a killed process cannot clear up


def gone(pids: list[int]) -> bool:
    """Whether all of these processes end within a few seconds: they are reaped by init, not by us."""
    last = time.monotonic() + 10
    while any(alive(pid) for pid in pids):
        if time.monotonic() > last:
            return False
        time.sleep(0.01)
    return True


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
