"""The optional download, against a stand-in for the hub and GitHub on this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from helpers import ConfigurationError, WorkshopError
from helpers.external import fetch_lecture

VIDEO = "https://www.youtube.com/watch?v=l8pRSuU81PU"


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            status, body = self.server.answer(parts.path, query)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def log_message(self, *arguments):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    server.rows = [
        {"url": VIDEO, "title": "GPT-2", "text": f"Piece {number} of it."} for number in range(150)
    ]
    server.rows.insert(
        3, {"url": "https://www.youtube.com/watch?v=other", "title": "Else", "text": "Another lecture."}
    )
    server.program = (200, b"import torch  # theirs\n")

    def answer(path, query):
        if path == "/splits":
            return 200, {"splits": [{"dataset": query["dataset"], "config": "default", "split": "train"}]}
        if path == "/rows":
            start = int(query["offset"])
            rows = server.rows[start : start + int(query["length"])]
            return 200, {"rows": [{"row_idx": start + at, "row": row} for at, row in enumerate(rows)]}
        return server.program

    server.answer = answer
    server.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fetch(server, folder):
    return fetch_lecture(folder, hub=server.address, raw=server.address)


def test_it_fetches_every_page_of_this_video_and_the_program(server, tmp_path):
    transcript, program = fetch(server, tmp_path / "external")
    text = transcript.read_text(encoding="utf-8")
    assert "Piece 0 of it." in text
    assert "Piece 149 of it." in text
    assert "Another lecture." not in text
    assert "https://huggingface.co/datasets/dwb2023/yt-transcripts-v3" in text
    assert program.read_text() == "import torch  # theirs\n"


def test_a_second_time_nothing_is_fetched(server, tmp_path):
    fetch(server, tmp_path)
    server.asked.clear()
    fetch(server, tmp_path)
    assert server.asked == []


def test_without_a_column_for_the_video_all_rows_are_kept(server, tmp_path):
    server.rows = [{"transcript": "One long piece."}, {"transcript": "And one more."}, {"number": 3}]
    assert "One long piece.\n\nAnd one more." in fetch(server, tmp_path)[0].read_text()


@pytest.mark.parametrize(
    ("program", "words"),
    [((404, b""), "the server answered 404"), ((200, b"x" * (20 * 1024 * 1024 + 1)), "larger than 20 MB")],
)
def test_a_failure_is_a_sentence_and_keeps_what_was_fetched(server, tmp_path, program, words):
    server.program = program
    with pytest.raises(WorkshopError, match=words):
        fetch(server, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lecture_transcript.md"]


def test_a_server_that_talks_nonsense_is_a_sentence(server, tmp_path):
    server.answer = lambda path, query: (200, b"<html>")
    with pytest.raises(WorkshopError, match="not JSON"):
        fetch(server, tmp_path)
    server.answer = lambda path, query: (200, {"splits": []})
    with pytest.raises(WorkshopError, match="offers no rows"):
        fetch(server, tmp_path)


def test_no_server_is_a_sentence(tmp_path):
    with pytest.raises(WorkshopError, match="The notebook works without it"):
        fetch_lecture(tmp_path, hub="http://127.0.0.1:9", raw="http://127.0.0.1:9")


def test_another_kind_of_address_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="not a web address"):
        fetch_lecture(tmp_path, hub="file:///etc")
