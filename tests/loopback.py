"""The local API behind a socket on this machine, so that the SDK's own transport has something to talk to.

Small enough to be seen through: each request goes to a ``LocalAPI`` as it came, and each answer comes back piece by
piece. Not here: serving it to anybody else.
"""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator

import httpx2

from helpers.local_api import LocalAPI


@contextlib.contextmanager
def served(api: LocalAPI) -> Iterator[str]:
    """Serve an API on loopback while the block runs, and give its address, which ends in ``/v1``."""
    transport = api.transport()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            request = httpx2.Request(
                self.command,
                f"https://recorded.invalid{self.path}",
                headers=dict(self.headers),
                content=self.rfile.read(length),
            )
            response = transport.handle_request(request)
            self.send_response(response.status_code)
            for name, value in response.headers.items():
                if name not in ("content-length", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            try:
                for chunk in response.stream:
                    if chunk:
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                        self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # nobody listens any more
            finally:
                response.close()

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
