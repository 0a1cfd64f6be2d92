"""Brings loopback up in a new network namespace and then becomes the command that follows.

Used as ``unshare -rn python namespace.py [--address 192.0.2.7] command …``: a new namespace has a loopback device that
is down and nothing else, and kernels talk over it. Standard library only, so that neither ``ip`` nor root is needed.
With ``--address``, loopback gets one more address, which a test can use as a stand-in for the outside.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import sys

SIOCSIFFLAGS = 0x8914
SIOCSIFADDR = 0x8916
IFF_UP = 0x1


def bring_up(name: str) -> None:
    """Switch a network device on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", name.encode(), IFF_UP)
        fcntl.ioctl(control, SIOCSIFFLAGS, request)


def add_address(name: str, address: str) -> None:
    """Give a network device an address; ``lo:1`` is a further one of ``lo``."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        packed = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
        fcntl.ioctl(control, SIOCSIFADDR, struct.pack("16s16s", name.encode(), packed))


def main(words: list[str]) -> None:
    """Bring loopback up, add the address if one is given, and become the command."""
    bring_up("lo")
    if words[:1] == ["--address"]:
        add_address("lo:1", words[1])
        words = words[2:]
    os.execvp(words[0], words)


if __name__ == "__main__":
    main(sys.argv[1:])
