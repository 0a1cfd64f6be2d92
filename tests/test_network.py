"""The tests run without a network: proved from inside a notebook's kernel, and each layer by itself.

The layers are start.py's (namespace, or hook and dead proxies) and live in tests/isolation. Under plain pytest, where
start.py isolated nothing, the kernel gets the second layer here.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import start

CANARY = start.ROOT / "tests" / "isolation" / "canary.py"
# An address that belongs to nobody (RFC 5737) and a name that exists: neither may be reached, or even waited for.
OUTSIDE = ("http://192.0.2.1/", "http://example.com/")
CLIENTS = ("urllib", "primp", "socket")


def isolated_environment() -> dict[str, str]:
    if os.environ.get("WORKSHOP_NETWORK"):
        return dict(os.environ)
    return {**os.environ, **start.hook_environment(start.ROOT)}


def without_proxies() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def canary_in_a_notebook(addresses: tuple[str, ...], folder: Path) -> dict[str, str]:
    """Run the canary as a cell of a notebook, in a kernel with the environment of an isolated run."""
    cell = nbformat.v4.new_code_cell(
        f"{CANARY.read_text(encoding='utf-8')}\nprint(json.dumps(outcomes({addresses!r})))"
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    client = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(folder)}})
    client.execute(env=isolated_environment())
    return json.loads("".join(output.text for output in cell.outputs if output.name == "stdout"))


@pytest.fixture
def local_server() -> Iterator[str]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.notebook
def test_a_notebook_reaches_nothing_outside(tmp_path):
    found = canary_in_a_notebook(OUTSIDE, tmp_path)
    assert set(found) == {f"{client} {address}" for client in CLIENTS for address in OUTSIDE}
    assert {attempt: outcome for attempt, outcome in found.items() if not outcome.startswith("refused")} == {}


@pytest.mark.notebook
def test_the_canary_can_fail(tmp_path, local_server):
    # The same canary in the same isolation, and a server that may be reached: it says so, so "refused" means refused.
    found = canary_in_a_notebook((local_server,), tmp_path)
    assert {outcome.split()[0] for outcome in found.values()} == {"reached"}
    assert len(found) == len(CLIENTS)


@pytest.mark.netns
def test_a_namespace_refuses_every_client():
    command = [*start.namespace_command(start.ROOT), sys.executable, str(CANARY), *OUTSIDE]
    found = json.loads(subprocess.check_output(command, env=without_proxies()))
    assert {attempt: outcome for attempt, outcome in found.items() if not outcome.startswith("refused")} == {}


@pytest.mark.netns
def test_the_hook_alone_does_not_hold_and_with_dead_proxies_it_does():
    # In a namespace of its own this machine gets a second address, with a server: an outside that can be reached.
    unshare = start.namespace_command(start.ROOT)
    command = [*unshare, "--address", "192.0.2.7", sys.executable, str(CANARY), "--serve", "192.0.2.7"]
    environment = {**without_proxies(), "PYTHONPATH": str(start.ROOT)}
    found = json.loads(subprocess.check_output(command, env=environment))

    def words(layer: str) -> dict[str, str]:
        return {attempt.split()[0]: outcome.split()[0] for attempt, outcome in found[layer].items()}

    assert words("open") == dict.fromkeys(CLIENTS, "reached")
    assert words("hook only") == {"urllib": "refused", "socket": "refused", "primp": "reached"}
    assert words("hook and dead proxies") == dict.fromkeys(CLIENTS, "refused")


TRIES = """
import asyncio, json, socket, sys

def tcp(host):
    with socket.socket() as one:
        one.settimeout(5)
        one.connect((host, 9))

def tcp_with_a_status(host):
    with socket.socket() as one:
        one.settimeout(5)
        return one.connect_ex((host, 9))

def udp(host):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", (host, 9))

found = {}
for text in json.loads(sys.argv[1]):
    try:
        eval(text)
        found[text] = "done"
    except Exception as error:
        found[text] = type(error).__name__
print(json.dumps(found))
"""


def test_the_hook_lets_loopback_through_and_nothing_else():
    allowed = [
        "tcp('127.0.0.1')",
        "tcp('localhost')",
        "udp('127.0.0.1')",
        "socket.getaddrinfo('localhost', 80)",
        "socket.getaddrinfo(None, 80)",
        "socket.getaddrinfo(b'127.0.0.1', 80)",
        "socket.gethostbyname('localhost')",
    ]
    refused = [
        "tcp('192.0.2.1')",
        "socket.getaddrinfo('2001:db8::1', 80)",
        "socket.getaddrinfo('::ffff:192.0.2.1', 80)",
        "tcp_with_a_status('192.0.2.1')",
        "udp('192.0.2.1')",
        "socket.getaddrinfo('example.com', 80)",
        "socket.getaddrinfo('localhost.example.com', 80)",
        "socket.gethostbyname('example.com')",
        "asyncio.run(asyncio.open_connection('example.com', 80))",
    ]
    command = [sys.executable, "-c", TRIES, json.dumps([*allowed, *refused])]
    environment = {**os.environ, **start.hook_environment(start.ROOT)}
    found = json.loads(subprocess.check_output(command, env=environment))
    # A closed port answers with a refusal of its own, which is another error.
    assert {text for text in allowed if found[text] == "NetworkRefused"} == set()
    assert {text for text in refused if found[text] != "NetworkRefused"} == set()


def test_the_environment_of_the_hook_keeps_what_was_on_the_path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "mine")
    paths = start.hook_environment(start.ROOT)["PYTHONPATH"].split(os.pathsep)
    assert paths[1:] == ["mine"]
    assert Path(paths[0], "sitecustomize.py").is_file()
