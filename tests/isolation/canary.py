"""Tries to reach addresses with three clients and prints, as one JSON line, what came of each attempt.

    python canary.py http://192.0.2.1/ …      {"urllib http://…": "refused …", "primp http://…": …, "socket http://…": …}
    python canary.py --serve 192.0.2.7        starts a server there and tries it openly, and with each layer of isolation

An attempt is ``reached``, ``refused`` (at once, with the error) or ``no answer`` (it went out and waited). The text of
this file also runs as a cell of a notebook. Not here: what the outcome should be (tests/test_network.py).
"""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from urllib.parse import urlsplit

PATIENCE_S = 5


def with_urllib(address):
    with urllib.request.urlopen(address, timeout=PATIENCE_S) as response:
        return response.status


def with_primp(address):
    import primp  # the Rust client of ddgs

    return primp.Client(timeout=PATIENCE_S).get(address).status_code


def with_socket(address):
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=PATIENCE_S):
        return "connected"


def attempt(client, address):
    try:
        return f"reached ({client(address)})"
    except ImportError:
        raise
    except Exception as error:  # noqa: BLE001 - every client has errors of its own, and each is the answer here
        told = f"{type(error).__name__}: {error}"
        waited = "timeout" in told.lower() or "timed out" in told.lower()
        return f"no answer ({told})" if waited else f"refused ({told})"


def outcomes(addresses):
    clients = {"urllib": with_urllib, "primp": with_primp, "socket": with_socket}
    return {
        f"{name} {address}": attempt(client, address)
        for address in addresses
        for name, client in clients.items()
    }


def serve_and_try(host):
    import http.server
    import threading

    import start

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer((host, 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    both = start.hook_environment(start.ROOT)
    layers = {
        "open": {},
        "hook only": {"PYTHONPATH": both["PYTHONPATH"]},
        "hook and dead proxies": both,
    }
    command = [sys.executable, __file__, f"http://{host}:{server.server_port}/"]
    return {
        name: json.loads(subprocess.check_output(command, env={**os.environ, **layer}))
        for name, layer in layers.items()
    }


if __name__ == "__main__" and sys.argv[1:2] == ["--serve"]:
    print(json.dumps(serve_and_try(sys.argv[2])))
elif __name__ == "__main__" and "__file__" in globals():
    print(json.dumps(outcomes(sys.argv[1:])))
