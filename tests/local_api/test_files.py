"""Files: what a person notices of uploads, lists, downloads, expiry and deletion."""

from __future__ import annotations

import asyncio
import io
import json
import tracemalloc

import httpx2
import openai
import pytest

from helpers.local_api import LocalAPI, multipart
from helpers.local_api.files import safe_name
from tests.local_api.conftest import DATA, URL, make_async_client, make_client

RECORDED = json.loads((DATA / "real-streams" / "file_search.json").read_text())
FORM = "multipart/form-data; boundary=b"


def upload(client, name="notes.md", content=b"# Notes\n\nSome text.", **options):
    return client.files.create(file=(name, content), **{"purpose": "assistants", **options})


def part(name, content, filename=None):
    """One part of a form, between boundaries `b`."""
    file = b"" if filename is None else f'; filename="{filename}"'.encode()
    disposition = f'Content-Disposition: form-data; name="{name}"'.encode()
    return b"--b\r\n" + disposition + file + b"\r\n\r\n" + content + b"\r\n"


def send(raw, body, content_type=FORM):
    return raw.http.post("/files", content=body, headers={"content-type": content_type})


def test_an_upload_has_the_shape_of_the_live_one(raw):
    live = RECORDED[0]
    boundary = live["request"]["body"].split("\r\n")[0][2:]
    content_type = f"multipart/form-data; boundary={boundary}"
    response = send(raw, live["request"]["body"].encode(), content_type)
    mine, theirs = response.json(), live["response"]["body"]
    assert mine.keys() == theirs.keys()
    assert mine["id"].startswith("file-")
    assert len(mine["id"]) == len(theirs["id"])
    changing = {"id", "created_at"}
    assert {key: mine[key] for key in mine if key not in changing} == {
        key: theirs[key] for key in theirs if key not in changing
    }


def test_files_are_listed_looked_at_and_deleted(client):
    first, second, third = (
        upload(client, "1.md"),
        upload(client, "2.md", purpose="user_data"),
        upload(client, "3.md"),
    )
    assert client.files.retrieve(second.id) == second
    assert [file.id for file in client.files.list()] == [third.id, second.id, first.id]
    assert [file.id for file in client.files.list(order="asc")] == [first.id, second.id, third.id]
    assert [file.id for file in client.files.list(purpose="assistants")] == [third.id, first.id]
    page = client.files.list(order="asc", limit=1)
    assert (page.has_more, [file.id for file in page.data]) == (True, [first.id])
    assert [file.id for file in page] == [first.id, second.id, third.id]  # follows the pages
    deleted = client.files.delete(first.id)
    assert deleted.to_dict() == {"object": "file", "id": first.id, "deleted": True}
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {first.id}"):
        client.files.retrieve(first.id)
    assert [file.id for file in client.files.list()] == [third.id, second.id]
    with pytest.raises(openai.NotFoundError):
        client.files.list(after=first.id)


def test_content_is_given_back_only_for_purposes_that_openai_gives_back(client):
    content = bytes(range(256)) * 10_000
    file = upload(client, "data.jsonl", content, purpose="batch")
    assert client.files.content(file.id).content == content
    with pytest.raises(openai.BadRequestError, match="Not allowed to download files of purpose: assistants"):
        client.files.content(upload(client).id)


def test_files_expire(client, clock):
    file = upload(client, expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at == file.created_at + 3600
    kept = upload(client)
    clock.now += 3599
    assert client.files.retrieve(file.id) == file
    clock.now += 1
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    assert [each.id for each in client.files.list()] == [kept.id]


@pytest.mark.parametrize(
    ("expires_after", "words"),
    [
        ({"anchor": "created_at", "seconds": 3599}, ">= 3600"),
        ({"anchor": "created_at", "seconds": 2_592_001}, "<= 2592000"),
        ({"anchor": "last_active_at", "seconds": 3600}, "'created_at'"),
        ({"anchor": "created_at"}, "expires_after\\[seconds\\]"),
        ({"seconds": 3600}, "expires_after\\[anchor\\]"),
    ],
)
def test_bad_expiry_is_refused(client, expires_after, words):
    with pytest.raises(openai.BadRequestError, match=words):
        upload(client, expires_after=expires_after)


def test_an_empty_file_and_a_wrong_purpose_are_refused(client):
    with pytest.raises(openai.BadRequestError, match=r"File is empty\."):
        upload(client, content=b"")
    with pytest.raises(openai.BadRequestError, match="'answers'"):
        upload(client, purpose="answers")
    assert list(client.files.list()) == []


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("/etc/shadow.md", "shadow.md"),
        (r"C:\notes\week 1.md", "week 1.md"),
        ("..", "upload"),
        ("", "upload"),
        ("a\x00b\n.md", "ab.md"),
        ("\u202eevil.md", "evil.md"),
        ("日本語 🦆.md", "日本語 🦆.md"),
        ('quote"s.md', 'quote"s.md'),
        ("x" * 400 + ".md", "x" * 252 + ".md"),
    ],
)
def test_only_a_safe_base_name_is_kept(client, sent, kept):
    assert safe_name(sent) == kept
    if sent and "\x00" not in sent:  # The SDK itself sends neither.
        assert upload(client, sent).filename == kept


def test_nothing_is_written_under_a_name_that_was_sent(client, tmp_path):
    upload(client, str(tmp_path / "evil.md"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_comes_back_byte_for_byte_however_it_is_cut(raw):
    content = b"\r\n--a no boundary\r\n--\r\n-" * 999 + b"\r\n--"
    body = part("purpose", b"batch") + part("file", content, "x.jsonl") + b"--b--\r\n"
    for size in (1, 7, 1000, len(body)):

        def pieces(size=size):
            for start in range(0, len(body), size):
                yield body[start : start + size]

        response = send(raw, pieces())
        assert response.status_code == 200, response.text
        assert response.json()["bytes"] == len(content)
        assert raw.get(f"/files/{response.json()['id']}/content").content == content


GOOD = part("purpose", b"assistants") + part("file", b"text", "a.md") + b"--b--\r\n"


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (GOOD[:-20], FORM, "ends in the middle"),
        (GOOD[:60], FORM, "ends in the middle"),
        (b"", FORM, "ends in the middle"),
        (GOOD, "multipart/form-data", "boundary"),
        (GOOD, "multipart/form-data; boundary=other", "begin with its boundary"),
        (GOOD.replace(b"--b--", b"--b!!"), FORM, "followed by something else"),
        (part("purpose", b"assistants") + b"--b--", FORM, "'file'"),
        (part("file", b"text", "a.md") + b"--b--", FORM, "'purpose'"),
        (part("purpose", b"assistants") + part("file", b"text") + b"--b--", FORM, "open"),
        (GOOD.replace(b"--b--", b"") + GOOD, FORM, "there twice"),
        (part("colour", b"red") + GOOD, FORM, "'colour'"),
        (b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n--b--", FORM, "no name"),
        (b"--b\r\n" + b"x" * 20_000, FORM, "headers without an end"),
        (part("purpose", b"x" * 70_000) + GOOD, FORM, "too long"),
    ],
)
def test_a_broken_form_is_a_400(raw, body, content_type, words):
    response = send(raw, body, content_type)
    assert response.status_code == 400
    assert words in response.json()["error"]["message"]
    assert raw.get("/files").json()["data"] == []


def test_a_file_that_shrinks_while_it_is_uploaded_is_a_400(raw):
    def pieces():
        yield GOOD

    request = raw.http.build_request(
        "POST",
        "/files",
        content=pieces(),
        headers={"content-type": FORM, "content-length": str(len(GOOD) + 5)},
    )
    response = raw.http.send(request)
    assert response.status_code == 400
    assert "change the file" in response.json()["error"]["message"]


def test_a_form_and_json_are_not_mixed_up(raw):
    assert send(raw, GOOD).status_code == 200
    for response in (
        raw.post("/files", {"purpose": "assistants"}),
        raw.http.post("/conversations", content=GOOD, headers={"content-type": FORM}),
    ):
        assert response.status_code == 400
        assert "form" in response.json()["error"]["message"]


def test_a_file_that_is_too_large_is_refused_before_it_is_read(raw):
    sent = []

    def pieces():
        sent.append(1)
        yield part("purpose", b"assistants")

    headers = {"content-type": FORM, "content-length": str(600 * 1024 * 1024)}
    request = raw.http.build_request("POST", "/files", content=pieces(), headers=headers)
    response = raw.http.send(request)
    assert response.status_code == 413
    assert "512 MB" in response.json()["error"]["message"]
    assert len(sent) <= 1


def test_a_file_without_a_length_is_refused_when_it_becomes_too_large(raw, monkeypatch):
    monkeypatch.setattr(multipart, "LARGEST_FILE_BYTES", 100_000)
    sent = []

    def pieces():
        yield part("purpose", b"assistants")
        yield part("file", b"", "a.md").removesuffix(b"\r\n")
        while True:  # It would never end by itself.
            sent.append(1)
            yield b"x" * 1000

    response = send(raw, pieces())
    assert response.status_code == 413
    assert len(sent) <= 102


def test_an_upload_is_not_held_in_memory(raw):
    size = 48 * 1024 * 1024

    def pieces():
        yield part("purpose", b"assistants")
        yield part("file", b"", "a.txt").removesuffix(b"\r\n")
        for _ in range(size // 65_536):
            yield bytes(65_536)
        yield b"\r\n--b--"

    tracemalloc.start()
    try:
        assert send(raw, pieces()).json()["bytes"] == size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size / 6


def test_async_uploads_and_downloads_work(api):
    async def run():
        client = make_async_client(api)
        content = b"line\n" * 300_000
        file = await client.files.create(file=("a.jsonl", io.BytesIO(content)), purpose="batch")
        downloaded = await client.files.content(file.id)
        assert downloaded.content == content
        assert [each.id async for each in client.files.list()] == [file.id]
        await client.close()

    asyncio.run(run())


def test_an_async_upload_that_is_too_large_is_not_read(api):
    sent = []

    async def pieces():
        sent.append(1)
        yield part("purpose", b"assistants")

    async def run():
        async with httpx2.AsyncClient(transport=api.async_transport(), base_url=URL) as http:
            headers = {"authorization": "Bearer any", "content-type": FORM, "content-length": str(600 << 20)}
            return await http.post("/files", content=pieces(), headers=headers)

    assert asyncio.run(run()).status_code == 413
    assert len(sent) <= 1


def test_a_second_run_has_the_same_ids(tmp_path):
    ids = []
    for _ in range(2):
        api = LocalAPI(recordings=tmp_path)
        client = make_client(api)
        ids.append([upload(client).id, client.vector_stores.create(name="a").id])
        api.close()
    assert ids[0] == ids[1]


def test_files_are_kept_with_the_state(tmp_path):
    api = LocalAPI(recordings=tmp_path, state=tmp_path / "state")
    client = make_client(api)
    file = upload(client, content=b"kept", purpose="batch")
    api.close()
    api = LocalAPI(recordings=tmp_path, state=tmp_path / "state")
    assert make_client(api).files.content(file.id).content == b"kept"
    api.close()


def test_an_upload_that_is_interrupted_leaves_nothing(raw):
    def pieces():
        yield part("purpose", b"assistants")
        yield part("file", b"x" * 3_000_000, "a.md")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        send(raw, pieces())
    assert raw.get("/files").json()["data"] == []
