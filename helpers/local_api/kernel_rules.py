"""Rules that Linux itself keeps for a kernel of the code interpreter: system calls it refuses, files it may not touch.

Here live the two lists, made as plain data (a seccomp program and a Landlock ruleset), and the trial that finds out once
whether this machine takes them. ``kernel_guard.py`` puts them in force inside the sandbox, and they hold for everything
that the code starts, root included. Not here: bubblewrap, which shuts code in further (``bubblewrap.py``).
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from helpers.local_api.processes import trial_works

# Numbers of Linux 6: asm/unistd_64.h (x86_64) and asm-generic/unistd.h (aarch64). Each opens a way out of a process, or
# to memory that no limit counts, or to a part of Linux that is meant for administrators.
_REFUSED: Final = {
    # other processes
    **{
        "ptrace": (101, 117),
        "process_vm_readv": (310, 270),
        "process_vm_writev": (311, 271),
        "kcmp": (312, 272),
    },
    **{"pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "rt_sigqueueinfo": (129, 138)},
    **{"rt_tgsigqueueinfo": (297, 240), "move_pages": (279, 239), "migrate_pages": (256, 238)},
    # memory that belongs to no process
    **{"memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196)},
    **{"shmctl": (31, 195), "semget": (64, 190), "semctl": (66, 191), "semop": (65, 193)},
    **{"semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188)},
    **{"msgctl": (71, 187), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219)},
    # other namespaces and file systems
    **{
        "unshare": (272, 97),
        "setns": (308, 268),
        "mount": (165, 40),
        "umount2": (166, 39),
        "chroot": (161, 51),
    },
    **{"pivot_root": (155, 41), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430)},
    **{"fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442)},
    **{"open_by_handle_at": (304, 265), "quotactl": (179, 60), "swapon": (167, 224), "swapoff": (168, 225)},
    # the machine
    **{"init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "acct": (163, 89)},
    **{"kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "syslog": (103, 116)},
    **{"settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171)},
    **{"clock_adjtime": (305, 266), "sethostname": (170, 161), "setdomainname": (171, 162)},
    **{"personality": (135, 92), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282)},
    **{"io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427)},
    **{"iopl": (172, None), "ioperm": (173, None)},
}
_CLONE, _CLONE3, _SOCKET = (56, 220), (435, 435), (41, 198)
_PRLIMIT, _SIGNALS = (302, 261), ((62, 129), (200, 130), (234, 131))
_MACHINES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_OTHER_NUMBERS_FROM: Final = 0x4000_0000  # x32, a second set of numbers for the calls of x86_64
_NAMESPACE_FLAGS: Final = 0x7E02_0000
_ERROR, _ALLOWED = 0x0005_0000, 0x7FFF_0000
_EPERM, _ENOSYS = 1, 38
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

# Landlock's rights (https://docs.kernel.org/userspace-api/landlock.html): those of a file, and all of version 3.
_READ: Final = 1 << 0 | 1 << 2 | 1 << 3
_WRITE: Final = sum(1 << bit for bit in (*range(15),) if bit not in (6, 11))  # all but making devices
_ALL: Final = (1 << 15) - 1
_OLDEST_LANDLOCK: Final = 3
_GUARD: Final = Path(__file__).with_name("kernel_guard.py")

Rules = dict[str, Any]
"""The rules as ``kernel_guard.py`` reads them, with ``system_calls`` and ``landlock``; either may be missing."""


def rules(
    *, readable: Sequence[str], writable: Sequence[str], families: Sequence[int], spared: Sequence[int]
) -> Rules:
    """Return the rules that this machine can keep; an empty dict where it can keep none.

    Args:
        readable: the files and folders that may be read. Empty: no rule about files, because something else guards them.
        writable: the folders in which everything may be done, and devices that may be written to.
        families: the address families that a socket may have (``socket.AF_UNIX`` …).
        spared: processes that get no signal: as negative numbers, groups.
    """
    made: Rules = {}
    if _tried("system_calls"):
        made["system_calls"] = program(platform.machine(), families, spared)
    if readable and _tried("landlock"):
        made["landlock"] = _ruleset(landlock_version(), readable, writable)
    return made


def works() -> bool:
    """Tell whether this machine keeps both kinds of rules."""
    return _tried("system_calls") and _tried("landlock")


def program(machine: str, families: Sequence[int], spared: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Return a seccomp program, one ``(code, jump if true, jump if false, value)`` for each instruction.

    Refused calls fail with "Operation not permitted"; nothing is ended by them.
    """
    which, architecture = _MACHINES[machine]
    refuse, unknown = (_RETURN, 0, 0, _ERROR | _EPERM), (_RETURN, 0, 0, _ERROR | _ENOSYS)
    # The numbers mean something else in programs of another architecture, such as 32-bit ones.
    made = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), refuse, (_LOAD, 0, 0, 0)]
    made += [(_AT_LEAST, 0, 1, _OTHER_NUMBERS_FROM), refuse]
    for numbers in _REFUSED.values():
        number = numbers[which]
        if number is not None:
            made += [(_EQUAL, 0, 1, number), refuse]
    # Its flags are where no program can look. The C library takes the older call when this one is unknown.
    made += [(_EQUAL, 0, 1, _CLONE3[which]), unknown]
    first = (_LOAD, 0, 0, 16)
    end = (_RETURN, 0, 0, _ALLOWED)
    made += _when(_CLONE[which], [first, (_ANY_BIT, 0, 1, _NAMESPACE_FLAGS), refuse, end])
    known = [part for family in families for part in ((_EQUAL, 0, 1, int(family)), end)]
    made += _when(_SOCKET[which], [first, *known, refuse])
    made += _when(_PRLIMIT[which], [first, (_EQUAL, 1, 0, 0), refuse, end])
    for numbers in _SIGNALS:
        # -1 is everybody.
        known = [part for pid in (-1, *spared) for part in ((_EQUAL, 0, 1, pid & 0xFFFF_FFFF), refuse)]
        made += _when(numbers[which], [first, *known, end])
    return [*made, end]


def _when(number: int, then: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    return [(_EQUAL, 0, len(then), number), *then]


def _ruleset(version: int, readable: Sequence[str], writable: Sequence[str]) -> Rules:
    paths = [(path, _READ) for path in readable] + [(path, _WRITE) for path in writable]
    return {
        "files": _ALL,
        # From version 4 TCP, from version 6 signals and sockets without a path to what is outside.
        "sizes": 8 if version < 4 else 16 if version < 6 else 24,
        "network": 0b11 if version >= 4 else 0,
        "scopes": 0b11 if version >= 6 else 0,
        "paths": [(path, rights) for path, rights in paths if os.path.exists(path)],
    }


def landlock_version() -> int:
    """Return the version of Landlock that runs here; 0 if there is none."""
    if sys.platform != "linux":
        return 0
    version = ctypes.CDLL(None, use_errno=True).syscall(444, None, ctypes.c_size_t(0), 1)
    return max(0, int(version))


@functools.cache
def _tried(kind: str) -> bool:
    """Find out in a process of its own, because such rules are never taken back."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES or sys.maxsize < 1 << 32:
        return False
    made: Rules = {}
    if kind == "system_calls":
        made["system_calls"] = program(platform.machine(), [1], [])
    elif landlock_version() >= _OLDEST_LANDLOCK:
        made["landlock"] = _ruleset(landlock_version(), ["/"], [])
    else:
        return False
    with tempfile.TemporaryDirectory(prefix="code-") as folder:
        settings = Path(folder, "settings.json")
        settings.write_text(json.dumps({"rules": made, "trial": True}), encoding="utf-8")
        return trial_works([sys.executable, "-P", "-S", str(_GUARD), str(settings)])
