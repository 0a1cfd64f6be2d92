"""Attacks on the sandbox of the code interpreter, and the program that tries them all in one process.

``python -m tests.local_api.escapes auto|none FOLDER`` prints what came of each as JSON. It is a program, so that it can
run as another user and so that what it plants (a key in its environment, sockets, files) is nobody else's. Signals are
sent with number 0, which asks for the right to send and does no harm.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from helpers.local_api import processes
from helpers.local_api.folders import remove_folder
from helpers.local_api.sandbox import Limits, Sandbox

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-planted-in-the-environment"
LIMITS = Limits(time_s=20, memory_bytes=200 << 20, files=50, file_bytes=4 << 20, processes=16)

NO_FILE = "FileNotFoundError|PermissionError"
NO_RIGHT = "PermissionError|Operation not permitted|Permission denied"
NO_WRITE = "Read-only file system|Permission denied|No such file"
CALL = "import ctypes, os\nc = ctypes.CDLL(None, use_errno=True)\n"
NOT_DONE = "\nprint('GOT' if r >= 0 else os.strerror(ctypes.get_errno()))"


@dataclass(frozen=True)
class Attack:
    """Code, and what it must come to, as a pattern over its output and the reason of its end.

    Args:
        name: what is attacked.
        code: prints GOT where it came through. ``@NAME@`` stands for something planted.
        outcome: the pattern.
        without: the pattern without bubblewrap, where it is another one.
        ruins: whether the next attack needs a new Python.
    """

    name: str
    code: str
    outcome: str
    without: str = ""
    ruins: bool = False


ATTACKS = [
    # -- secrets ----------------------------------------------------------------------------------------------------
    Attack("its environment", "import os\nprint(dict(os.environ), open('/proc/self/environ').read())", "HOME"),
    Attack(
        "the environment of every process",
        "import glob\nfor name in glob.glob('/proc/*/environ') + glob.glob('/proc/*/task/*/environ'):\n"
        "    try: text = open(name).read()\n    except OSError: continue\n    print('GOT' if 'sk-planted' in text else 'nothing')",
        "nothing",
    ),
    Attack("the memory of the parent", "open('/proc/@PID@/mem', 'rb').read(1)\nprint('GOT')", NO_FILE),
    Attack("the working folder of the parent", "import os\nprint('GOT', os.listdir('/proc/@PID@/cwd'))", NO_FILE),
    Attack("the open files of the parent", "import os\nprint('GOT', os.readlink('/proc/@PID@/fd/1'))", NO_FILE),
    Attack("the root of process 1", "import os\nprint(os.listdir('/proc/1/root@FOLDER@'))\nprint('GOT')", NO_FILE),
    Attack("another container's folder", "print('GOT', open('@OTHER@/theirs.txt').read())", NO_FILE),
    Attack("a file beside the folder", "print('GOT', open('../secret.txt').read())", NO_FILE),
    Attack("a file by its path", "print('GOT', open('@FOLDER@/secret.txt').read())", NO_FILE),
    Attack("the repository", "print('GOT', open('@ROOT@/pyproject.toml').read())", NO_FILE),
    Attack("the helpers", "import sys\nsys.path.insert(0, '@ROOT@')\nimport helpers.errors\nprint('GOT')", "ModuleNotFoundError|" + NO_FILE),
    Attack("the home folder", "import os\nprint('GOT' if len(os.listdir('@HOME@')) > 1 else 'only what Python lies in')", NO_FILE + "|only what"),
    Attack("the passwords of the system", "print('GOT', open('/etc/shadow').read())", NO_FILE),
    Attack("a program that reads", "import subprocess\nprint(subprocess.run(['cat', '@FOLDER@/secret.txt'], capture_output=True))", "No such file|Permission denied"),
    # -- links --------------------------------------------------------------------------------------------------------
    Attack("a symbolic link out", "import os\nos.symlink('@FOLDER@/secret.txt', 'link')\ntry: print('GOT', open('link').read())\nfinally: os.remove('link')", NO_FILE),
    Attack("a hard link out", "import os\nos.link('@FOLDER@/secret.txt', 'hard')\nprint('GOT', open('hard').read())", "cross-device|" + NO_FILE),
    Attack("moving its own folder", "import os\nos.rename(os.getcwd(), os.getcwd() + '-moved')\nprint('GOT')", "OSError|" + NO_RIGHT),
    # -- writing ------------------------------------------------------------------------------------------------------
    Attack("writing beside the folder", "open('../planted', 'w')\nprint('GOT')", NO_WRITE),
    Attack("writing into the packages of Python", "import zmq\nopen(zmq.__file__, 'a').close()\nprint('GOT')", NO_WRITE),
    Attack("removing a file", "import os\nos.rename('@OTHER@/theirs.txt', '@OTHER@/theirs.txt.old')\nprint('GOT')", NO_FILE),
    Attack("writing into the system", "import os\nopen('/usr/planted', 'w').close()\nos.remove('/usr/planted')\nprint('GOT')", NO_WRITE),
    Attack("cutting a file", "import os\nos.truncate('@FOLDER@/secret.txt', 10)\nprint('GOT')", NO_WRITE),
    Attack("changing the rights of what is not its own", "import os\nos.chmod('@FOLDER@/secret.txt', 0o644)\nprint('GOT')", NO_FILE, "GOT"),
    Attack("settings of Linux", "import socket\nopen('/proc/sys/kernel/hostname', 'w').write(socket.gethostname())\nprint('GOT')", NO_WRITE),
    Attack("a device", "import os, stat\nos.mknod('disk', stat.S_IFBLK | 0o600, os.makedev(254, 0))\nprint('GOT')", NO_RIGHT),
    # -- the network ----------------------------------------------------------------------------------------------------
    Attack("IPv4", "import socket\nsocket.create_connection(('127.0.0.1', @PORT@), 2)\nprint('GOT')", "ConnectionRefusedError", NO_RIGHT),
    Attack("IPv6", "import socket\nsocket.create_connection(('::1', @PORT@), 2)\nprint('GOT')", "OSError|ConnectionRefusedError", NO_RIGHT),
    Attack("far away", "import socket\nsocket.create_connection(('192.0.2.1', 443), 2)\nprint('GOT')", "Network is unreachable", NO_RIGHT),
    Attack("UDP", "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.sendto(b'x', ('127.0.0.1', @PORT@))\nprint('sent into nothing')", "sent into nothing", NO_RIGHT),
    Attack("names of machines", "import socket\nprint('GOT', socket.gethostbyname('example.com'))", "gaierror", "gaierror|" + NO_RIGHT),
    Attack("raw packets", "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_RAW, 1)\nprint('GOT')", NO_RIGHT),
    Attack("frames", "import socket\nsocket.socket(17, socket.SOCK_RAW)\nprint('GOT')", NO_RIGHT),
    Attack("the host of a virtual machine", "import socket\nsocket.socket(40, socket.SOCK_STREAM)\nprint('GOT')", NO_RIGHT),
    Attack("ciphers of Linux", "import socket\nsocket.socket(38, socket.SOCK_SEQPACKET)\nprint('GOT')", NO_RIGHT),
    Attack("a socket without a path", "import socket\nsocket.socket(socket.AF_UNIX).connect('\\0' + '@ABSTRACT@')\nprint('GOT')", "ConnectionRefusedError|PermissionError"),
    Attack("a socket with a path", "import socket\nsocket.socket(socket.AF_UNIX).connect('@UNIX@')\nprint('GOT')", NO_FILE, "GOT"),
    # -- other processes --------------------------------------------------------------------------------------------------
    Attack("a signal to the parent", "import os\nos.kill(@PID@, 0)\nprint('GOT')", "ProcessLookupError|PermissionError"),
    Attack("a signal to the group of the parent", "import os\nos.killpg(@GROUP@, 0)\nprint('GOT')", "ProcessLookupError|PermissionError"),
    Attack("a signal to everybody", "import os\nos.kill(-1, 0)\nprint('GOT')", NO_RIGHT),
    Attack("a signal through a descriptor", "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(@PID@), 0)\nprint('GOT')", "ProcessLookupError|PermissionError"),
    Attack("tracing the parent", CALL + "r = c.ptrace(16, @PID@, 0, 0)" + NOT_DONE, NO_RIGHT),
    Attack("the memory of the parent, by a call", CALL + "b = ctypes.create_string_buffer(32)\nr = c.process_vm_readv(@PID@, b, 1, b, 1, 0)" + NOT_DONE, NO_RIGHT),
    Attack("the limits of the parent", "import resource\nprint('GOT', resource.prlimit(@PID@, resource.RLIMIT_NOFILE))", "ProcessLookupError|PermissionError"),
    Attack("its own limits", "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, 1 << 40))\nprint('GOT')", "ValueError|PermissionError"),
    # -- rights -----------------------------------------------------------------------------------------------------------
    Attack("another user", "import os\nos.setuid(1234)\nprint('GOT')", "OSError|" + NO_RIGHT),
    Attack("a program with another user's rights", "import subprocess\nprint(subprocess.run(['su', '-c', 'echo GOT'], capture_output=True, stdin=subprocess.DEVNULL).returncode or 'GOT')", r"^[1-9]|Error"),
    Attack("mounting", CALL + "r = c.mount(b'none', b'/nowhere', b'tmpfs', 0, None)" + NOT_DONE, NO_RIGHT),
    Attack("a user namespace", CALL + "r = c.unshare(0x10000000)" + NOT_DONE, NO_RIGHT),
    Attack("a user namespace, by a program", "import subprocess\nr = subprocess.run(['unshare', '-U', 'echo', 'GOT'], capture_output=True, text=True)\nprint(r.stdout, r.stderr)", NO_RIGHT),
    Attack("settings of Linux that run programs", "open('/proc/sys/kernel/core_pattern', 'r+').close()\nprint('GOT')", NO_WRITE),
    Attack("the keys of a system console", "open('/proc/sysrq-trigger', 'w').close()\nprint('GOT')", NO_WRITE),
    Attack("another root", "import os\nos.chroot('/usr')\nprint('GOT')", NO_RIGHT),
    Attack("the clock", "import time\ntime.clock_settime(time.CLOCK_REALTIME, time.time())\nprint('GOT')", NO_RIGHT),
    Attack("the name of the machine", "import socket\nsocket.sethostname(socket.gethostname())\nprint('GOT')", NO_RIGHT),
    Attack("programs in Linux", CALL + "r = c.syscall(321 if os.uname().machine == 'x86_64' else 280, 0, 0, 0)" + NOT_DONE, NO_RIGHT),
    # -- resources --------------------------------------------------------------------------------------------------------
    Attack("memory", "block = bytearray(1 << 40)\nprint('GOT')", "MemoryError"),
    Attack("memory of many processes", "import os, time\nfor _ in range(12):\n    if os.fork() == 0:\n        block = os.urandom(90 << 20); time.sleep(60); os._exit(0)\ntime.sleep(60)", "used more than 400 MB of memory"),
    Attack("memory that many processes share", "import os, mmap, time\nfor _ in range(12):\n    if os.fork() == 0:\n        m = mmap.mmap(-1, 90 << 20); m[:] = b'x' * len(m); time.sleep(60); os._exit(0)\ntime.sleep(60)", "used more than 400 MB of memory"),
    Attack("memory of no process", "import os\nos.memfd_create('x')\nprint('GOT')", NO_RIGHT),
    Attack("memory of no process, the old way", CALL + "r = c.shmget(0, 1 << 20, 0o1600)" + NOT_DONE, NO_RIGHT),
    Attack("shared memory", "with open('/dev/shm/x', 'wb', buffering=0) as f:\n    for _ in range(400): f.write(bytes(1 << 20))\nprint('GOT')", "File too large|No space", NO_RIGHT),
    Attack("open files", "kept = []\nwhile True: kept.append(open('/dev/null'))", "Too many open files"),
    Attack("a fork bomb", "import os, time\nfor _ in range(100):\n    if os.fork() == 0: time.sleep(60); os._exit(0)\ntime.sleep(60)", "more than 16 processes|BlockingIOError"),
    Attack("a fork bomb that leaves its group", "import os, time\nfor _ in range(100):\n    if os.fork() == 0:\n        os.setsid()\n        if os.fork(): os._exit(0)\n        time.sleep(60); os._exit(0)\ntime.sleep(60)", "more than 16 processes|BlockingIOError"),
    Attack("a full disk", "import time\nfor n in range(9): open(f'{n}', 'wb').write(bytes(1 << 20))\ntime.sleep(60)", "more than 4 MB of files"),
    Attack("a full disk, in the folder of the sockets", "import sys, os, time\nfor n in range(9): open(f'{os.path.dirname(sys.argv[0])}/{n}', 'wb').write(bytes(1 << 20))\ntime.sleep(60)", "more than 4 MB of files", ruins=True),
    Attack("a full disk, in a folder that is forbidden", "import os, time\nos.mkdir('d')\nfor n in range(9): open(f'd/{n}', 'wb').write(bytes(1 << 20))\nos.chmod('d', 0o300)\ntime.sleep(60)", "more than 4 MB of files"),
    Attack("many files", "import time\nfor n in range(90): open(f'{n}', 'w').close()\ntime.sleep(60)", "more than 50 files"),
    Attack("a huge file with nothing in it", "open('sparse', 'wb').truncate(1 << 50)\nprint('GOT')", "File too large"),
    Attack("folders in folders", "import os, time\nfor _ in range(40):\n    os.mkdir('d' * 200); os.chdir('d' * 200)\ntime.sleep(60)", "deeper than anybody can look", ruins=True),
    # -- its own kernel -----------------------------------------------------------------------------------------------------
    Attack("nonsense for its own kernel", "import os, socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(os.path.dirname(sys.argv[0]) + '/k-1')\ns.send(b'nonsense' * 99)\nprint('sent')", "sent"),
    Attack("files of its own kernel", "import os, sys\nfor n in ('kernel_guard.py', 'connection.json', 'settings.json'):\n    open(os.path.join(os.path.dirname(sys.argv[0]), n), 'w').write('GOT')\nos._exit(0)", "Python ended"),
    Attack(
        "somebody else's socket in the place of its own",
        "import os, stat, sys\nrun = os.path.dirname(sys.argv[0])\nfor n in '1234':\n    os.rename(f'{run}/k-{n}', f'{run}/old-{n}'); os.symlink('@UNIX@', f'{run}/k-{n}')\n"
        "for n in range(3, 200):\n    try:\n        if stat.S_ISSOCK(os.fstat(n).st_mode): os.close(n)\n    except OSError: pass\nos._exit(0) if os.fork() == 0 else os.wait()\nimport time\ntime.sleep(2)\nos._exit(0)",
        "Python",
    ),
]  # fmt: skip

LEFT_BEHIND = """
import os, subprocess, threading
def busy():
    while True: open('/dev/null').close()
threading.Thread(target=busy, daemon=True).start()
subprocess.Popen(['sh', '-c', 'trap "" HUP TERM INT; while true; do :; done'])
subprocess.Popen(['sh', '-c', 'while true; do :; done'], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True: pass
    os._exit(0)
"""


def main(isolation: str, folder: Path) -> None:
    """Plant, attack, and print the outcomes."""
    (folder / "secret.txt").write_text("the secret")
    other, box = folder / "other", folder / "box"
    other.mkdir()
    (other / "theirs.txt").write_text("the secret")
    heard: list[str] = []
    unix, abstract = str(folder / "s"), f"workshop-{os.getpid()}"
    tcp = listening(socket.AF_INET, ("127.0.0.1", 0), "IPv4", heard)
    port = tcp.getsockname()[1]
    listening(socket.AF_UNIX, "\0" + abstract, "abstract", heard)
    listening(socket.AF_UNIX, unix, "path", heard)
    planted = {
        **{"PID": os.getpid(), "GROUP": os.getpgrp(), "FOLDER": folder, "OTHER": other, "ROOT": ROOT},
        **{"HOME": os.path.expanduser("~"), "PORT": port, "UNIX": unix, "ABSTRACT": abstract},
    }
    outcomes = {}
    with Sandbox(box, LIMITS, isolation="none" if isolation == "none" else "auto") as sandbox:
        for attack in ATTACKS:
            code = attack.code
            for name, value in planted.items():
                code = code.replace(f"@{name}@", str(value))
            knock(unix, heard)
            heard.clear()
            result = sandbox.run(code)
            knock(unix, heard)
            outcomes[attack.name] = {
                "logs": result.logs[:3000] + result.logs[-3000:],
                "why": result.why,
                "heard": " ".join(heard[:-1]),
                "goes_on": [pid for pid in started_by(sandbox) if state(pid) not in "TZX"],
            }
            if attack.ruins:
                sandbox._state.drop()
            for path in box.iterdir():
                remove_folder(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        # The code of the next one runs, whatever all of these did.
        works = sandbox.run("print(6 * 7)").logs
        outcomes["afterwards"] = {"logs": works, "guarantee": sandbox.guarantee}
        sandbox.run(LEFT_BEHIND)
        left = started_by(sandbox)
        goes_on = [pid for pid in left if state(pid) not in "TZX"]
    ended = time.monotonic() + 10
    while any(state(pid) not in "ZX" for pid in left) and time.monotonic() < ended:
        time.sleep(0.01)
    outlives = [pid for pid in left if state(pid) not in "ZX"]
    outcomes["left behind"] = {"started": len(left), "goes_on": goes_on, "outlives": outlives}
    outcomes["disk"] = {"left": sorted(os.listdir(folder)), "secret": (folder / "secret.txt").read_text()}
    print(json.dumps(outcomes))


def knock(path: str, heard: list[str]) -> None:
    """Connect once, and wait until that was heard: whoever connected before was heard then too."""
    before = heard.count("path")
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(path)
        while heard.count("path") == before:
            time.sleep(0.001)


def started_by(sandbox: Sandbox) -> list[int]:
    """The processes of a sandbox, without bubblewrap itself, which waits outside."""
    kernel = sandbox._state.kernel
    if kernel is None or kernel._process is None:
        return []
    outer = kernel._process.pid
    found = processes.below(outer)
    return found if sandbox.guarantee.startswith("Bubblewrap") else [outer, *found]


def state(pid: int) -> str:
    """The state of a process as one letter; X when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def listening(family: int, where: object, name: str, heard: list[str]) -> socket.socket:
    """A server that notes each connection."""
    server = socket.socket(family)
    server.bind(where)
    server.listen()

    def accept() -> None:
        while True:
            server.accept()[0].close()
            heard.append(name)

    threading.Thread(target=accept, daemon=True).start()
    return server


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
