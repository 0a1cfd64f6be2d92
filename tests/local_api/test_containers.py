"""Containers: how they are made, what is in them, how long they live. No code runs here."""

from __future__ import annotations

import os

import openai
import pytest

from helpers.local_api import LocalAPI
from helpers.local_api.container_files import ContainerFiles
from tests.local_api.conftest import RECORDINGS, Raw, make_client
from tests.local_api.kernels import InProcess


@pytest.fixture
def api(clock):
    api = LocalAPI(recordings=RECORDINGS, clock=clock, kernels=InProcess)
    yield api
    api.close()


@pytest.fixture
def container(client):
    return client.containers.create(name="mine")


def upload(client, name="log.csv", content=b"step,loss\n0,10.9\n"):
    return client.files.create(file=(name, content), purpose="user_data")


def folder_of(api, container_id):
    return api._containers.find(container_id).folder / "data"


def test_a_container_is_made_seen_listed_and_deleted(client, clock):
    made = client.containers.create(
        name="mine", memory_limit="4g", expires_after={"anchor": "last_active_at", "minutes": 10}
    )
    assert made.to_dict() == {
        "id": made.id,
        "object": "container",
        "created_at": int(clock.now),
        "status": "running",
        "expires_after": {"anchor": "last_active_at", "minutes": 10},
        "last_active_at": int(clock.now),
        "memory_limit": "4g",
        "name": "mine",
        "network_policy": {"type": "disabled"},
    }
    assert made.id.startswith("cntr_")
    assert len(made.id) == 53
    assert client.containers.retrieve(made.id).to_dict() == made.to_dict()
    other = client.containers.create(name="other")
    assert (other.memory_limit, other.expires_after.minutes) == ("1g", 20)
    assert [each.id for each in client.containers.list()] == [other.id, made.id]
    assert [each.id for each in client.containers.list(order="asc", limit=1)] == [made.id, other.id]
    assert [each.id for each in client.containers.list(name="mine")] == [made.id]
    client.containers.delete(made.id)
    for again in (client.containers.delete, client.containers.retrieve, client.containers.files.list):
        with pytest.raises(openai.NotFoundError, match=f"Container with id '{made.id}' not found."):
            again(made.id)
    assert [each.id for each in client.containers.list()] == [other.id]


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "name", "Missing required parameter: 'name'"),
        ({"name": "a", "memory_limit": "2g"}, "memory_limit", "'1g', '4g', '16g', and '64g'"),
        (
            {"name": "a", "expires_after": {"anchor": "last_active_at", "minutes": 21}},
            "expires_after.minutes",
            "<= 20",
        ),
        (
            {"name": "a", "expires_after": {"anchor": "created_at", "minutes": 5}},
            "expires_after.anchor",
            "last_active_at",
        ),
        ({"name": "a", "file_ids": [1]}, "file_ids", "array of strings"),
        (
            {"name": "a", "network_policy": {"type": "allowlist", "allowed_domains": ["a.b"]}},
            "network_policy",
            "no network",
        ),
        ({"name": "a", "skills": [{"type": "skill_reference"}]}, "skills", "does not have it"),
        ({"name": "a", "nmae": "b"}, "nmae", "Unknown parameter"),
    ],
)
def test_a_wrong_container_is_refused(raw, body, param, words):
    status, error = raw.error("/containers", body)
    assert (status, error["param"]) == (400, param)
    assert words in error["message"]


def test_files_are_copied_into_a_container_under_their_names(client, api):
    first, second = upload(client), upload(client, content=b"other\n")
    container = client.containers.create(name="mine", file_ids=[first.id, second.id, first.id])
    files = list(client.containers.files.list(container.id, order="asc"))
    assert [file.path for file in files] == ["/mnt/data/log.csv", "/mnt/data/log-2.csv"]
    assert {(file.source, file.container_id, file.object) for file in files} == {
        ("user", container.id, "container.file")
    }
    assert [file.bytes for file in files] == [17, 6]
    assert all(file.id.startswith("cfile_") and len(file.id) == 38 for file in files)
    assert (folder_of(api, container.id) / "log-2.csv").read_bytes() == b"other\n"
    # What was uploaded can go; the copy stays.
    client.files.delete(first.id)
    content = client.containers.files.content.retrieve(files[0].id, container_id=container.id)
    assert content.read() == b"step,loss\n0,10.9\n"


def test_a_file_is_uploaded_looked_at_and_deleted(client, container, api):
    made = client.containers.files.create(container.id, file=("a b'\".csv", b"x\n1\n"))
    assert (made.path, made.bytes, made.source) == ("/mnt/data/a b'\".csv", 4, "user")
    assert client.containers.files.retrieve(made.id, container_id=container.id).path == made.path
    other = client.containers.files.create(container.id, file_id=upload(client).id)
    assert other.path == "/mnt/data/log.csv"
    assert [file.id for file in client.containers.files.list(container.id)] == [other.id, made.id]
    assert [file.id for file in client.containers.files.list(container.id, limit=1, order="asc")] == [
        made.id,
        other.id,
    ]
    assert [file.id for file in client.containers.files.list(container.id, after=other.id)] == [made.id]
    client.containers.files.delete(made.id, container_id=container.id)
    assert os.listdir(folder_of(api, container.id)) == ["log.csv"]
    for again in (
        client.containers.files.retrieve,
        client.containers.files.delete,
        client.containers.files.content.retrieve,
    ):
        with pytest.raises(openai.NotFoundError):
            again(made.id, container_id=container.id)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd.txt", "passwd.txt"),
        ("..\\..\\notes.md", "notes.md"),
        ("..", "upload"),
        ("a\u200bb.csv", "ab.csv"),
        ("é" * 200 + ".csv", "é" * 125 + ".csv"),
    ],
)
def test_a_name_cannot_lead_out_of_the_folder(client, api, container, sent, kept):
    made = client.containers.files.create(container.id, file_id=upload(client, sent).id)
    assert made.path == f"/mnt/data/{kept}"
    assert os.listdir(folder_of(api, container.id)) == [kept]


def test_files_that_cannot_be_used_are_refused(client, raw, container):
    film = upload(client, "film.mp4")
    for path, body, param in (
        ("/containers", {"name": "a", "file_ids": [film.id]}, "file_ids"),
        (f"/containers/{container.id}/files", {"file_id": film.id}, "file_id"),
    ):
        status, error = raw.error(path, body)
        assert (status, error["code"], error["param"]) == (400, "unsupported_file", param)
        assert "[.mp4]" in error["message"]
        status, error = raw.error(path, {**body, param: [film.id[:-1]] if param == "file_ids" else "file-1"})
        assert (status, error["param"]) == (404, param)
    with pytest.raises(openai.BadRequestError, match=r"\[\.mp4\]"):
        client.containers.files.create(container.id, file=("film.MP4", b"1"))
    assert [each.id for each in client.containers.list()] == [container.id]


def test_it_expires_after_20_minutes_without_use_and_cannot_be_revived(client, clock, api):
    container = client.containers.create(name="mine", file_ids=[upload(client).id])
    (file,) = client.containers.files.list(container.id)
    folder = folder_of(api, container.id)
    for use in (
        lambda: client.containers.retrieve(container.id),
        lambda: client.containers.files.list(container.id),
        lambda: client.containers.files.retrieve(file.id, container_id=container.id),
        lambda: client.containers.files.content.retrieve(file.id, container_id=container.id),
    ):
        clock.now += 19 * 60
        use()
    assert client.containers.retrieve(container.id).last_active_at == int(clock.now)
    clock.now += 20 * 60
    expired = client.containers.retrieve(container.id)
    assert expired.status == "expired"
    assert [each.status for each in client.containers.list()] == ["expired"]
    assert not folder.exists()
    with pytest.raises(openai.NotFoundError, match="is expired"):
        client.containers.files.list(container.id)
    with pytest.raises(openai.NotFoundError):
        client.containers.files.create(container.id, file=("a.csv", b"1"))
    client.containers.delete(container.id)
    with pytest.raises(openai.NotFoundError):
        client.containers.retrieve(container.id)


def test_files_that_code_wrote_are_found_and_nothing_outside_is(client, api, container, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "own.txt").write_text("secret")
    folder = folder_of(api, container.id)
    (folder / "out").mkdir()
    (folder / "out" / "table.csv").write_text("a\n")
    (folder / "link.txt").symlink_to(secret)
    (folder / "away").symlink_to(tmp_path / "inner")
    os.mkfifo(folder / "pipe.txt")
    files = api._containers.files
    assert isinstance(files, ContainerFiles)
    found, plots = files.collect(container.id, folder.parent, [b"png"])
    assert list(found) == ["out/table.csv"]
    listed = {file.id: file for file in client.containers.files.list(container.id)}
    assert listed.keys() == {*found.values(), *plots}
    assert listed[plots[0]].path == f"/mnt/data/{plots[0]}.png"
    assert listed[plots[0]].source == "assistant"
    assert "secret.txt" not in os.listdir(folder)
    assert client.containers.files.content.retrieve(plots[0], container_id=container.id).read() == b"png"
    # A file that was there, and is a link now, or lies behind one, is gone for the API.
    (folder / "out" / "table.csv").unlink()
    (folder / "out" / "table.csv").symlink_to(secret)
    with pytest.raises(openai.NotFoundError):
        client.containers.files.content.retrieve(found["out/table.csv"], container_id=container.id)
    (folder / "out" / "table.csv").unlink()
    (folder / "out").rmdir()
    (tmp_path / "inner" / "table.csv").write_text("secret")
    (folder / "out").symlink_to(tmp_path / "inner")
    with pytest.raises(openai.NotFoundError):
        client.containers.files.content.retrieve(found["out/table.csv"], container_id=container.id)
    client.containers.files.delete(found["out/table.csv"], container_id=container.id)
    assert (tmp_path / "inner" / "table.csv").exists()


def test_code_that_removes_and_changes_files_is_followed(client, api, container):
    client.containers.files.create(container.id, file=("a.csv", b"1"))
    kept = client.containers.files.create(container.id, file=("b.csv", b"1"))
    folder = folder_of(api, container.id)
    (folder / "a.csv").unlink()
    (folder / "b.csv").write_text("longer")
    api._containers.files.collect(container.id, folder.parent, [])
    (file,) = client.containers.files.list(container.id)
    assert (file.id, file.bytes, file.source) == (kept.id, 6, "user")


def test_containers_of_a_dead_process_are_expired(tmp_path, clock):
    """Two APIs that share a state stand for two processes."""
    first = LocalAPI(recordings=RECORDINGS, state=tmp_path / "s.db", clock=clock, kernels=InProcess)
    second = LocalAPI(recordings=RECORDINGS, state=tmp_path / "s.db", clock=clock, kernels=InProcess)
    made = make_client(first).containers.create(name="mine")
    folder = folder_of(first, made.id)
    assert make_client(second).containers.retrieve(made.id).status == "running"
    # The first one dies without a word: what is left is its lock, which the system takes back.
    first._state._owners._mine.close()
    assert make_client(second).containers.retrieve(made.id).status == "expired"
    assert not folder.exists()
    first.close()
    second.close()


def test_closing_the_api_removes_everything(clock):
    api = LocalAPI(recordings=RECORDINGS, clock=clock, kernels=InProcess)
    made = make_client(api).containers.create(name="mine")
    folder = folder_of(api, made.id)
    assert folder.exists()
    api.close()
    api.close()
    assert not folder.exists()


def test_a_form_without_a_file_is_refused(api, container):
    raw = Raw(api)
    response = raw.http.post(f"/containers/{container.id}/files", data={"file": "text"}, files={})
    assert response.status_code == 400
    response = raw.http.post(
        f"/containers/{container.id}/files", data={"file": "text"}, files={"other": ("a.csv", b"1")}
    )
    assert response.status_code == 400
