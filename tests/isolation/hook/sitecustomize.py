"""Refuses every connection and look-up that is not loopback, in each Python that has this folder on PYTHONPATH.

Python imports a module of this name when it starts, so notebook kernels and other children are covered as well. It
sees what goes through Python's own sockets. Clients that bring their own (Rust, C) are not seen: dead proxies in the
environment are for those (``hook_environment`` in start.py). ``connect`` with a name looks the name up before anybody is
asked; the connection itself is refused. An audit hook cannot be taken off again.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from typing import Any

_OWN_NAMES = frozenset({"", "localhost", "localhost.localdomain", socket.gethostname().lower()})
_WITH_ADDRESS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_WITH_NAME = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})


class NetworkRefused(PermissionError):
    """The tests run without a network, and something asked for it."""


def is_loopback(host: object) -> bool:
    """Return whether a host, a name or an address, is this machine's own."""
    if host is None:
        return True
    name = host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host)
    if name.lower() in _OWN_NAMES:
        return True
    try:
        address = ipaddress.ip_address(name.split("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    # 0.0.0.0 and :: mean "every address of mine" where a server binds, and loopback where a client connects.
    return bool(mapped.is_loopback or mapped.is_unspecified)


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise where an audit event means a way out of this machine."""
    if event in _WITH_ADDRESS:
        address = arguments[1]
        # Addresses of a file system (Unix sockets) are texts; those of a network are tuples.
        if isinstance(address, tuple) and not is_loopback(address[0]):
            raise NetworkRefused(f"no network in the tests: {event} to {address[0]}")
    elif event in _WITH_NAME and not is_loopback(arguments[0]):
        raise NetworkRefused(f"no network in the tests: {event} of {arguments[0]}")


sys.addaudithook(refuse)
