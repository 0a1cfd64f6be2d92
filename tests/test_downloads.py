"""Downloads of what code wrote: which files, under which names, and what happens when something is in the way."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.downloads import download_files, files_made_in, safe_name
from helpers.errors import ConfigurationError

BOX = "cntr_1"


def refusal(status: int, message: str) -> httpx2.Response:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    return httpx2.Response(status, json=body, headers={"x-should-retry": "false"})


class ContainerServer:
    """A stand-in for the routes of containers; ``boxes[id]`` is a container, ``files[id][file_id]`` what is in it."""

    def __init__(self) -> None:
        self.boxes: dict[str, dict[str, Any]] = {}
        self.files: dict[str, dict[str, tuple[str, bytes, str, int]]] = {}
        self.uploads = {"file-1": "log.csv", "file-2": "script.py"}
        self.answers: dict[str, Any] = {}
        self.requests: list[str] = []
        self.add_box(BOX)

    def add_box(self, id: str, **more: Any) -> dict[str, Any]:
        box = {
            "id": id,
            "object": "container",
            "name": "box",
            "status": "running",
            "created_at": 1_000,
            "last_active_at": 1_000,
            "expires_after": {"anchor": "last_active_at", "minutes": 20},
            "memory_limit": "1g",
            **more,
        }
        self.boxes[id] = box
        self.files[id] = {}
        return box

    def put(
        self, id: str, path: str, content: bytes = b"x", source: str = "assistant", created_at: int = 2_000
    ) -> None:
        self.files[BOX][id] = (path, content, source, created_at)

    def client(self) -> openai.OpenAI:
        http = httpx2.Client(transport=httpx2.MockTransport(self))
        return openai.OpenAI(
            api_key="not-a-key", base_url="https://api.test/v1", http_client=http, max_retries=0
        )

    def _entry(self, box: str, id: str) -> dict[str, Any]:
        path, content, source, created_at = self.files[box][id]
        return {
            "id": id,
            "object": "container.file",
            "container_id": box,
            "path": path,
            "bytes": len(content),
            "source": source,
            "created_at": created_at,
        }

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path.removeprefix("/v1")
        route = f"{request.method} {path}"
        self.requests.append(route)
        if route in self.answers:
            answer = self.answers[route]
            made: httpx2.Response = answer() if callable(answer) else answer
            return made
        if found := re.fullmatch(r"GET /files/(.+)", route):
            if found[1] not in self.uploads:
                return refusal(404, f"No such File object: {found[1]}")
            return httpx2.Response(200, json={"id": found[1], "filename": self.uploads[found[1]]})
        if route == "POST /containers":
            import json

            sent = json.loads(request.content)
            for id in sent.get("file_ids", []):
                if id not in self.uploads:
                    return refusal(404, f"No such File object: {id}")
            box = self.add_box(f"cntr_new{len(self.boxes)}", name=sent["name"])
            for id in sent.get("file_ids", []):
                self.files[box["id"]][f"c{id}"] = (f"/mnt/data/{self.uploads[id]}", b"x", "user", 1)
            return httpx2.Response(200, json=box)
        parts = path.split("/")[2:]
        if parts[0] not in self.boxes:
            return refusal(404, f"Container with id '{parts[0]}' not found.")
        if len(parts) == 1:
            return httpx2.Response(200, json=self.boxes[parts[0]])
        if len(parts) == 2 and request.method == "POST":
            import json

            id = json.loads(request.content)["file_id"]
            self.files[parts[0]][f"c{id}"] = (f"/mnt/data/{self.uploads[id]}", b"x", "user", 1)
            return httpx2.Response(200, json=self._entry(parts[0], f"c{id}"))
        if len(parts) == 2:
            entries = [self._entry(parts[0], id) for id in self.files[parts[0]]]
            return httpx2.Response(200, json={"object": "list", "data": entries, "has_more": False})
        if parts[2] not in self.files[parts[0]]:
            return refusal(404, "Container file not found.")
        return httpx2.Response(200, content=self.files[parts[0]][parts[2]][1])


@pytest.fixture
def server() -> ContainerServer:
    return ContainerServer()


def cited(*files: tuple[str, str], created_at: int = 1_500) -> dict[str, Any]:
    annotations = [
        {
            "type": "container_file_citation",
            "container_id": BOX,
            "file_id": id,
            "filename": name,
            "start_index": 0,
            "end_index": 0,
        }
        for id, name in files
    ]
    part = {"type": "output_text", "text": "Done.", "annotations": annotations}
    call = {"type": "code_interpreter_call", "id": "ci_1", "container_id": BOX, "code": "1", "outputs": []}
    return {"created_at": created_at, "output": [call, {"type": "message", "content": [part]}]}


def test_cited_files_arrive(server: ContainerServer, tmp_path: Path) -> None:
    server.put("cfile_1", "/mnt/data/a.csv", b"1,2\n")
    server.put("cfile_2", "/mnt/data/b.png", b"\x89PNG")
    report = download_files(
        server.client(),
        cited(("cfile_1", "a.csv"), ("cfile_2", "b.png"), ("cfile_1", "a.csv")),
        tmp_path / "out",
    )
    assert report.paths == [tmp_path / "out" / "a.csv", tmp_path / "out" / "b.png"]
    assert [path.read_bytes() for path in report.paths] == [b"1,2\n", b"\x89PNG"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.csv", "b.png"]
    assert "a.csv" in repr(report)
    assert "saved" in repr(report)


def test_without_a_citation_the_container_is_asked_for_what_was_made_since(
    server: ContainerServer, tmp_path: Path
) -> None:
    server.put("cfile_1", "/mnt/data/log.csv", source="user")
    server.put("cfile_2", "/mnt/data/before.csv", created_at=1_499)
    server.put("cfile_3", "/mnt/data/new.csv", created_at=1_500)
    assert [path.name for path in download_files(server.client(), cited(), tmp_path).paths] == ["new.csv"]


def test_a_container_that_is_gone_is_said_once(server: ContainerServer, tmp_path: Path) -> None:
    del server.boxes[BOX]
    report = download_files(server.client(), cited(), tmp_path)
    assert report.paths == []
    assert "expired (20 minutes without use)" in report.notes[0]
    assert "expired" in repr(report)


def test_one_file_that_is_gone_does_not_stop_the_others(server: ContainerServer, tmp_path: Path) -> None:
    server.put("cfile_2", "/mnt/data/b.csv", b"b")
    server.put("cfile_3", "/mnt/data/c.csv", b"c")
    server.answers[f"GET /containers/{BOX}/files/cfile_3/content"] = refusal(400, "Container is expired.")
    report = download_files(
        server.client(), cited(("cfile_1", "a.csv"), ("cfile_2", "b.csv"), ("cfile_3", "c.csv")), tmp_path
    )
    assert report.paths == [tmp_path / "b.csv"]
    assert [row.source.name for row in report.failed] == ["a.csv", "c.csv"]
    assert all("20 minutes after its last use" in row.note for row in report.failed)
    assert [path.name for path in tmp_path.iterdir()] == ["b.csv"]


def test_a_file_that_is_there_stays(server: ContainerServer, tmp_path: Path) -> None:
    server.put("cfile_1", "/mnt/data/a.csv", b"new")
    (tmp_path / "a.csv").write_bytes(b"mine")
    answer = cited(("cfile_1", "a.csv"))
    first = download_files(server.client(), answer, tmp_path)
    assert (tmp_path / "a.csv").read_bytes() == b"mine"
    assert first.paths == [tmp_path / "a-2.csv"]
    assert "another a.csv is there already" in repr(first)
    again = download_files(server.client(), answer, tmp_path)
    assert again.paths == [tmp_path / "a-2.csv"]
    assert again.rows[0].status == "already there"
    replaced = download_files(server.client(), answer, tmp_path, overwrite=True)
    assert (tmp_path / "a.csv").read_bytes() == b"new"
    assert "took the place" in replaced.rows[0].note
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2.csv", "a.csv"]


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights on Windows")
def test_a_link_in_the_folder_is_not_followed(server: ContainerServer, tmp_path: Path) -> None:
    server.put("cfile_1", "/mnt/data/a.csv", b"new")
    (tmp_path / "outside").write_bytes(b"mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.csv").symlink_to(tmp_path / "outside")
    download_files(server.client(), cited(("cfile_1", "a.csv")), folder, overwrite=True)
    assert (tmp_path / "outside").read_bytes() == b"mine"
    assert (folder / "a.csv").read_bytes() == b"new"
    assert not (folder / "a.csv").is_symlink()


def test_names_cannot_leave_the_folder(server: ContainerServer, tmp_path: Path) -> None:
    names = ["../../evil.txt", "/etc/passwd", "..\\..\\evil2.txt", ".bashrc", "NUL", "a\x00b", "", "c:d.txt"]
    for number, name in enumerate(names):
        server.put(f"cfile_{number}", name, str(number).encode())
    folder = tmp_path / "deep" / "folder"
    report = download_files(
        server.client(), cited(*((f"cfile_{number}", name) for number, name in enumerate(names))), folder
    )
    assert len(report.paths) == len(names) == len(list(folder.iterdir()))
    assert all(path.parent == folder and not path.name.startswith(".") for path in report.paths)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["folder"]


def test_a_file_that_is_too_large(server: ContainerServer, tmp_path: Path) -> None:
    server.put("cfile_1", "/mnt/data/a.csv", b"x" * 2_000)
    report = download_files(server.client(), cited(("cfile_1", "a.csv")), tmp_path, limit_bytes=1_999)
    assert "larger than 2.0 kB" in report.rows[0].note
    assert list(tmp_path.iterdir()) == []


class Broken(httpx2.SyncByteStream):
    def __iter__(self) -> Any:
        yield b"x" * 70_000
        raise httpx2.ReadError("gone")


def test_a_connection_that_breaks_is_tried_again_and_then_told(
    server: ContainerServer, tmp_path: Path
) -> None:
    route = f"GET /containers/{BOX}/files/cfile_1/content"
    server.put("cfile_1", "/mnt/data/a.csv")
    server.answers[route] = lambda: httpx2.Response(200, stream=Broken())
    report = download_files(server.client(), cited(("cfile_1", "a.csv")), tmp_path)
    assert "connection was lost" in report.rows[0].note
    assert server.requests.count(route) == 3
    assert list(tmp_path.iterdir()) == []

    answers = [httpx2.Response(200, stream=Broken()), httpx2.Response(200, content=b"whole")]
    server.answers[route] = lambda: answers.pop(0)
    report = download_files(server.client(), cited(("cfile_1", "a.csv")), tmp_path)
    assert [path.read_bytes() for path in report.paths] == [b"whole"], "and nothing of the first try is in it"


def test_a_sign_in_page_is_not_saved_as_the_file(server: ContainerServer, tmp_path: Path) -> None:
    page = {"content": b"<html>Welcome</html>", "headers": {"content-type": "text/html"}}
    for id, name in (("cfile_1", "a.csv"), ("cfile_2", "page.html")):
        server.put(id, f"/mnt/data/{name}")
        server.answers[f"GET /containers/{BOX}/files/{id}/content"] = lambda: httpx2.Response(200, **page)
    report = download_files(server.client(), cited(("cfile_1", "a.csv"), ("cfile_2", "page.html")), tmp_path)
    assert "web page came in place" in report.rows[0].note
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"], "which the code may have made"


def test_what_cannot_work_is_said(server: ContainerServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        download_files(server.client(), cited(("cfile_1", "a")), tmp_path / "file")
    with pytest.raises(ConfigurationError, match="a run or a response"):
        download_files(server.client(), "resp_1", tmp_path)
    with pytest.raises(ConfigurationError, match="limit_bytes"):
        download_files(server.client(), cited(), tmp_path, limit_bytes=0)
    with pytest.raises(ConfigurationError, match="connect"):
        download_files("client", cited(), tmp_path)  # type: ignore[arg-type]


def test_an_answer_without_files(server: ContainerServer, tmp_path: Path) -> None:
    report = download_files(server.client(), {"output": []}, tmp_path / "none")
    assert repr(report) == "No files were made."
    assert not (tmp_path / "none").exists()
    assert server.requests == []


def test_an_asynchronous_client(
    server: ContainerServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put("cfile_1", "/mnt/data/a.csv", b"a")
    monkeypatch.setattr("helpers.connection.synchronous_twin", lambda client: server.client())
    client = openai.AsyncOpenAI(api_key="not-a-key", base_url="https://api.test/v1")
    assert download_files(client, cited(("cfile_1", "a.csv")), tmp_path).paths == [tmp_path / "a.csv"]


def test_files_of_an_answer() -> None:
    assert [file.name for file in files_made_in(cited(("cfile_1", "a"), ("cfile_1", "a"), ("", "b")))] == [
        "a"
    ]


@given(
    st.one_of(
        st.text(max_size=300), st.from_regex(r"(?i)(con|nul|lpt1|\.+|[/\\. ~-]+)[. \w/\\]*", fullmatch=True)
    )
)
def test_a_safe_name_is_safe(name: str) -> None:
    safe = safe_name(name)
    assert safe
    assert len(safe.encode()) <= 121
    assert not re.search(r'[/\\<>:"|?*\x00-\x1f\x7f]', safe)
    assert safe[0] not in ".- ~"
    assert safe[-1] not in ". "
    assert safe.partition(".")[0].strip().upper() not in {"CON", "NUL", "PRN", "AUX", "COM1", "LPT1"}
    assert safe_name(safe) == safe
