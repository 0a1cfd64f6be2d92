"""Vector stores and their files: states, errors, batches, expiry, parsing, chunking; through the SDK."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import json
import time

import openai
import pytest

from helpers.local_api import LocalAPI
from helpers.local_api.chunking import chunks
from helpers.local_api.parsing import EXTENSIONS, Document, ParseError, parse
from helpers.local_api.tokens import estimate, graphemes
from tests.local_api.conftest import DATA, make_async_client, make_client
from tests.local_api.documents import docx, encrypted_pdf, pdf, pptx, zipped

RECORDED = json.loads((DATA / "real-streams" / "file_search.json").read_text())
DAY_S = 86_400
LONG = "\n\n".join(
    f"## Part {part}\n\n" + " ".join(f"Sentence {part}.{number} says one thing." for number in range(60))
    for part in range(12)
)


@pytest.fixture
def store(client):
    return client.vector_stores.create(name="a")


def upload(client, name="notes.md", content=b"# Notes\n\nAttention looks back."):
    content = content.encode() if isinstance(content, str) else content
    return client.files.create(file=(name, content), purpose="assistants")


def add(client, store, name="notes.md", content=b"# Notes\n\nAttention looks back.", **options):
    content = content.encode() if isinstance(content, str) else content
    return client.vector_stores.files.upload_and_poll(
        vector_store_id=store.id, file=(name, content), **options
    )


def static(size, overlap):
    return {"type": "static", "static": {"max_chunk_size_tokens": size, "chunk_overlap_tokens": overlap}}


# -- stores -----------------------------------------------------------------------------------------------------------


def test_a_store_and_its_file_have_the_shape_of_the_live_ones(raw):
    """Names, order of states and values as OpenAI sent them; ids and times aside."""
    store = raw.post("/vector_stores", RECORDED[1]["request"]["body"]).json()
    live = RECORDED[1]["response"]["body"]
    changing = {"id", "created_at", "last_active_at", "vector_store_id"}
    assert {**store, **dict.fromkeys(changing, 0)} == {**live, **dict.fromkeys(changing, 0)}
    assert len(store["id"]) == len(live["id"])
    form = {"file": ("tmp.txt", b"Paris is the capital of France.")}
    file = raw.http.post("/files", data={"purpose": "assistants"}, files=form).json()
    response = raw.post(f"/vector_stores/{store['id']}/files", {"file_id": file["id"]})
    live = RECORDED[2]["response"]["body"]
    assert {**response.json(), **dict.fromkeys(changing, 0)} == {**live, **dict.fromkeys(changing, 0)}
    assert int(response.headers["openai-poll-after-ms"]) < 50
    deleted = raw.http.delete(f"/vector_stores/{store['id']}").json()
    assert {**deleted, "id": 0} == {**RECORDED[5]["response"]["body"], "id": 0}
    deleted = raw.http.delete(f"/files/{file['id']}").json()
    assert {**deleted, "id": 0} == {**RECORDED[4]["response"]["body"], "id": 0}


def test_stores_are_created_listed_changed_and_deleted(client, clock):
    stores = client.vector_stores
    first = stores.create(
        name="GPT-2",
        description="Notes",
        metadata={"week": "1"},
        expires_after={"anchor": "last_active_at", "days": 1},
    )
    assert (first.name, first.metadata, first.status) == ("GPT-2", {"week": "1"}, "completed")
    assert first.to_dict()["description"] == "Notes"
    assert first.expires_at == first.last_active_at + DAY_S
    second, third = stores.create(), stores.create(name="c")
    assert [each.id for each in stores.list()] == [third.id, second.id, first.id]
    assert [each.id for each in stores.list(order="asc", limit=1)] == [first.id, second.id, third.id]
    assert [each.id for each in stores.list(order="asc", after=first.id, limit=1).data] == [second.id]
    assert [each.id for each in stores.list(order="asc", before=third.id, limit=1).data] == [second.id]
    changed = stores.update(first.id, name="new", metadata={"week": "2"})
    assert (changed.name, changed.metadata) == ("new", {"week": "2"})
    assert stores.update(first.id, expires_after=None).expires_at is None
    assert stores.delete(first.id).to_dict() == {
        "id": first.id,
        "object": "vector_store.deleted",
        "deleted": True,
    }
    for call in (stores.retrieve, stores.delete):
        with pytest.raises(openai.NotFoundError, match=f"No vector store found with id '{first.id}'"):
            call(first.id)
    with pytest.raises(openai.NotFoundError):
        stores.search(first.id, query="a")
    with pytest.raises(openai.BadRequestError, match="begins with 'vs'"):
        stores.retrieve("file-1")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"colour": "red"}, "colour"),
        ({"file_ids": "file-1"}, "array"),
        ({"file_ids": [1]}, "strings"),
        ({"file_ids": [f"file-{number}" for number in range(501)]}, "500"),
        ({"expires_after": {"anchor": "created_at", "days": 1}}, "last_active_at"),
        ({"expires_after": {"anchor": "last_active_at", "days": 0}}, ">= 1"),
        ({"expires_after": {"anchor": "last_active_at"}}, "days"),
        ({"metadata": {"a": 1}}, "string"),
        ({"chunking_strategy": {"type": "clever"}}, "clever"),
        ({"chunking_strategy": {"type": "static"}}, "static"),
        ({"chunking_strategy": static(99, 0)}, ">= 100"),
        ({"chunking_strategy": static(4097, 0)}, "<= 4096"),
        ({"chunking_strategy": static(200, 101)}, "half"),
        ({"chunking_strategy": static(200, -1)}, ">= 0"),
        (
            {"chunking_strategy": {"type": "static", "static": {"max_chunk_size_tokens": 200}}},
            "chunk_overlap_tokens",
        ),
    ],
)
def test_a_bad_store_is_refused_by_name(raw, body, words):
    status, error = raw.error("/vector_stores", body)
    assert status == 400
    assert words in error["message"]
    assert raw.get("/vector_stores").json()["data"] == []


def test_a_store_expires_when_nobody_uses_it(client, clock):
    store = client.vector_stores.create(expires_after={"anchor": "last_active_at", "days": 1})
    add(client, store)
    clock.now += DAY_S - 1
    assert len(client.vector_stores.search(store.id, query="attention").data) == 1  # puts it off
    clock.now += DAY_S - 1
    assert client.vector_stores.retrieve(store.id).status == "completed"
    clock.now += 1
    assert client.vector_stores.retrieve(store.id).status == "expired"
    for use in (
        lambda: client.vector_stores.search(store.id, query="attention"),
        lambda: client.vector_stores.files.create(vector_store_id=store.id, file_id=upload(client).id),
        lambda: client.vector_stores.update(store.id, expires_after={"anchor": "last_active_at", "days": 9}),
    ):
        with pytest.raises(openai.BadRequestError, match="has expired"):
            use()
    # It can still be looked at and cleaned up.
    assert len(client.vector_stores.files.list(store.id).data) == 1
    assert client.vector_stores.update(store.id, name="old").status == "expired"
    assert client.vector_stores.delete(store.id).deleted


# -- files in stores ----------------------------------------------------------------------------------------------------


def test_a_file_goes_one_state_further_at_each_look(client, store):
    file = upload(client)
    files = client.vector_stores.files
    attached = files.create(vector_store_id=store.id, file_id=file.id, attributes={"week": 1, "new": True})
    assert (attached.status, attached.usage_bytes) == ("in_progress", 0)
    done = files.retrieve(file.id, vector_store_id=store.id)
    assert (done.status, done.last_error) == ("completed", None)
    assert done.usage_bytes == file.bytes
    assert done.attributes == {"week": 1.0, "new": True}
    assert done.chunking_strategy.to_dict() == static(800, 400)
    store = client.vector_stores.retrieve(store.id)
    assert store.usage_bytes == file.bytes
    assert store.file_counts.to_dict() == {
        "cancelled": 0,
        "completed": 1,
        "failed": 0,
        "in_progress": 0,
        "total": 1,
    }


def test_a_store_with_files_gets_ready_while_it_is_looked_at(client):
    files = [upload(client, f"{number}.md") for number in range(4)]
    store = client.vector_stores.create(file_ids=[file.id for file in files])
    seen = [(store.status, store.file_counts.completed)]
    while store.status == "in_progress":
        store = client.vector_stores.retrieve(store.id)
        seen.append((store.status, store.file_counts.completed))
    assert seen == [
        ("in_progress", 0),
        ("in_progress", 1),
        ("in_progress", 2),
        ("in_progress", 3),
        ("completed", 4),
    ]


def test_the_list_of_files_gets_on_as_well(client):
    store = client.vector_stores.create(file_ids=[upload(client).id, upload(client, "b.md").id])
    statuses = []
    while not statuses or "in_progress" in statuses[-1]:
        statuses.append([file.status for file in client.vector_stores.files.list(store.id, order="asc")])
    assert statuses == [["completed", "in_progress"], ["completed", "completed"]]


def test_the_polling_helpers_of_the_sdk_hardly_wait(client, store, monkeypatch):
    waited_s = []
    monkeypatch.setattr(time, "sleep", waited_s.append)
    done = [add(client, store, f"{number}.md", max_wait_seconds=20.0) for number in range(3)]
    batch = client.vector_stores.file_batches.upload_and_poll(
        store.id, files=[(f"b{number}.md", b"text") for number in range(12)]
    )
    assert {file.status for file in done} == {"completed"}
    assert (batch.status, batch.file_counts.completed) == ("completed", 12)
    assert sum(waited_s) < 0.05  # without a hint of the API, the SDK waits a second each time


def test_files_are_listed_with_filter_order_and_pages(client, store):
    good, other = add(client, store, "a.md"), add(client, store, "b.md")
    bad = add(client, store, "c.md", b"\x00")

    def listed(**options):
        return [file.id for file in client.vector_stores.files.list(store.id, **options)]

    assert listed() == [bad.id, other.id, good.id]
    assert listed(order="asc", limit=1) == [good.id, other.id, bad.id]
    assert listed(filter="completed") == [other.id, good.id]
    assert listed(filter="failed") == [bad.id]
    assert listed(filter="cancelled") == []
    page = client.vector_stores.files.list(store.id, order="asc", before=bad.id, limit=1)
    assert [file.id for file in page.data] == [other.id]
    with pytest.raises(openai.NotFoundError):
        listed(after="file-unknown")
    with pytest.raises(openai.BadRequestError, match="'ready'"):
        listed(filter="ready")


def test_attributes_are_replaced(client, store):
    file = add(client, store, attributes={"week": 1})
    changed = client.vector_stores.files.update(file.id, vector_store_id=store.id, attributes={"unit": "a"})
    assert changed.attributes == {"unit": "a"}
    assert changed.status == "completed"
    (found,) = client.vector_stores.search(store.id, query="attention").data
    assert found.attributes == {"unit": "a"}
    for attributes in (
        {f"k{n}": 1 for n in range(17)},
        {"k" * 65: 1},
        {"k": "v" * 513},
        {"k": [1]},
        {"k": None},
    ):
        with pytest.raises(openai.BadRequestError):
            client.vector_stores.files.update(file.id, vector_store_id=store.id, attributes=attributes)


def test_the_parsed_text_of_a_file_comes_back_whole(client, store):
    for size, overlap in ((100, 50), (100, 0), (4096, 2048), (150, 30)):
        file = add(client, store, "long.md", LONG, chunking_strategy=static(size, overlap))
        page = client.vector_stores.files.content(file.id, vector_store_id=store.id)
        assert page.object == "vector_store.file_content.page"
        assert "".join(part.text for part in page) == LONG


def test_a_detached_file_stays_a_file(client, store):
    file = add(client, store)
    deleted = client.vector_stores.files.delete(file.id, vector_store_id=store.id)
    assert deleted.to_dict() == {"id": file.id, "object": "vector_store.file.deleted", "deleted": True}
    assert client.vector_stores.search(store.id, query="attention").data == []
    assert client.vector_stores.retrieve(store.id).file_counts.total == 0
    assert client.files.retrieve(file.id).id == file.id
    with pytest.raises(openai.NotFoundError, match="No file found with id"):
        client.vector_stores.files.retrieve(file.id, vector_store_id=store.id)


def test_a_deleted_file_leaves_every_store(client, store):
    file, other = upload(client), client.vector_stores.create()
    for each in (store, other):
        client.vector_stores.files.create_and_poll(file.id, vector_store_id=each.id)
    client.files.delete(file.id)
    for each in (store, other):
        assert client.vector_stores.search(each.id, query="attention").data == []
        assert client.vector_stores.retrieve(each.id).file_counts.total == 0


def test_an_expired_file_leaves_its_store(client, clock):
    file = client.files.create(
        file=("a.md", b"attention"),
        purpose="assistants",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    store = client.vector_stores.create(file_ids=[file.id])
    assert len(client.vector_stores.search(store.id, query="attention").data) == 1
    clock.now += 3600
    assert client.vector_stores.search(store.id, query="attention").data == []
    assert client.vector_stores.retrieve(store.id).file_counts.total == 0


def test_a_file_that_goes_while_it_waits_does_not_stop_the_others(client):
    files = [upload(client, f"{number}.md") for number in range(3)]
    store = client.vector_stores.create(file_ids=[file.id for file in files])
    client.files.delete(files[1].id)
    assert len(client.vector_stores.search(store.id, query="attention").data) == 2


def test_the_same_file_attached_again_is_there_once(client, store):
    file = add(client, store, "long.md", LONG)
    before = client.vector_stores.search(store.id, query="Sentence 3.7", max_num_results=50).data
    again = client.vector_stores.files.create_and_poll(
        file.id, vector_store_id=store.id, chunking_strategy=static(100, 0), attributes={"week": 2}
    )
    assert (again.status, again.attributes) == ("completed", {"week": 2})
    after = client.vector_stores.search(store.id, query="Sentence 3.7", max_num_results=50).data
    assert len(client.vector_stores.files.list(store.id).data) == 1
    assert (
        max(len(hit.content[0].text) for hit in after)
        <= 400
        < max(len(hit.content[0].text) for hit in before)
    )


def test_two_stores_cut_one_file_in_their_own_ways(client):
    file = upload(client, "long.md", LONG)
    lengths = []
    for size in (100, 1000):
        store = client.vector_stores.create()
        client.vector_stores.files.create_and_poll(
            file.id, vector_store_id=store.id, chunking_strategy=static(size, size // 4)
        )
        found = client.vector_stores.search(store.id, query="Sentence 3.7", max_num_results=50).data
        lengths.append(max(estimate(hit.content[0].text) for hit in found))
    assert lengths[0] <= 100 < lengths[1] <= 1000


def test_files_that_are_not_there_are_404(client, store):
    with pytest.raises(openai.NotFoundError, match="No such File object: file-none"):
        client.vector_stores.files.create(vector_store_id=store.id, file_id="file-none")
    with pytest.raises(openai.NotFoundError, match="file-none"):
        client.vector_stores.create(file_ids=[upload(client).id, "file-none"])
    assert [each.id for each in client.vector_stores.list()] == [store.id]  # nothing half done


# -- types that are not taken, and files that cannot be read ------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["log.csv", "log.XLSX", "photo.png", "archive.zip", "Makefile", "notes.ipynb"]
)
def test_a_type_that_is_not_searched_is_refused_as_live(client, store, name):
    file = upload(client, name, b"step,loss\n1,2\n")
    extension = "." + name.rpartition(".")[2].lower() if "." in name else "none"
    words = rf"Files with extensions \[{extension}\] are not supported for retrieval"
    for attach in (
        lambda: client.vector_stores.files.create(vector_store_id=store.id, file_id=file.id),
        lambda: client.vector_stores.create(file_ids=[file.id]),
        lambda: client.vector_stores.file_batches.create(store.id, file_ids=[upload(client).id, file.id]),
    ):
        with pytest.raises(openai.BadRequestError, match=words) as caught:
            attach()
        assert caught.value.code == "unsupported_file"
    assert client.vector_stores.retrieve(store.id).file_counts.total == 0


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("binary.md", b"\x00\x01\x02" * 99, "unsupported_file", "not supported"),
        ("photo.md", b"\x89PNG\r\n\x1a\n" + b"x" * 99, "unsupported_file", "not supported"),
        ("paper.txt", pdf("A PDF"), "unsupported_file", "not supported"),
        ("old.doc", b"\xd0\xcf\x11\xe0" + b"x" * 99, "unsupported_file", ".docx"),
        ("latin.md", "Grüße".encode("latin-1"), "invalid_file", "UTF-8"),
        ("half.md", "\ufeffAb".encode("utf-16")[:-1], "invalid_file", "UTF-8"),
        ("blank.md", b" \n\t\n", "invalid_file", "empty"),
        ("empty.html", b"<html><script>alert(1)</script></html>", "invalid_file", "empty"),
        ("broken.pdf", b"%PDF-1.4\nnot really", "invalid_file", "PDF"),
        ("no.pdf", b"hello", "invalid_file", "PDF"),
        ("cut.pdf", pdf("A PDF")[:200], "invalid_file", ""),
        ("scan.pdf", pdf(""), "invalid_file", "empty"),
        ("secret.pdf", encrypted_pdf("Secret", "password"), "invalid_file", "encrypted"),
        ("broken.docx", b"PK\x03\x04 not a zip", "invalid_file", "Office"),
        ("other.docx", zipped({"a.txt": "text"}), "invalid_file", "Office"),
        ("xml.docx", zipped({"word/document.xml": "<w:document>"}), "invalid_file", "Office"),
        (
            "bomb.docx",
            zipped({"word/document.xml": '<!DOCTYPE a [<!ENTITY b "b">]><a>&b;</a>'}),
            "invalid_file",
            "Office",
        ),
        ("zip_bomb.docx", zipped({"word/document.xml": b" " * (129 << 20)}), "invalid_file", "too large"),
        ("empty.pptx", pptx([]), "invalid_file", "empty"),
    ],
)
def test_a_file_that_cannot_be_read_fails_with_a_reason(client, store, name, content, code, words):
    file = add(client, store, name, content)
    assert (file.status, file.last_error.code) == ("failed", code)
    assert words in file.last_error.message
    assert file.last_error.message.startswith("The file ")
    assert client.vector_stores.retrieve(store.id).file_counts.failed == 1
    assert client.vector_stores.search(store.id, query="text").data == []
    assert client.vector_stores.files.content(file.id, vector_store_id=store.id).data == []
    assert add(client, store).status == "completed"  # the others are not harmed


def test_a_text_of_more_than_five_million_tokens_fails(client, store, monkeypatch):
    monkeypatch.setattr("helpers.local_api.parsing.MOST_CHARACTERS", 1000)
    file = add(client, store, "big.txt", "word " * 201)
    assert file.last_error.message == "The file could not be parsed because it is too large."


def test_warnings_of_the_pdf_reader_stay_off_the_screen(client, store, capfd, caplog):
    with caplog.at_level("DEBUG"):
        add(client, store, "cut.pdf", pdf("one", "two")[:-40])
    assert (capfd.readouterr().err, [each for each in caplog.records if each.name.startswith("pypdf")]) == (
        "",
        [],
    )


# -- parsing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "ascii"])
def test_texts_in_their_usual_encodings_are_read(encoding):
    text = "Plain text" if encoding == "ascii" else "Grüße, 日本語, 🦆"
    assert parse("a.txt", f"{text}\r\nnext\rlast".encode(encoding)).text == f"{text}\nnext\nlast"


@pytest.mark.parametrize("extension", sorted(set(EXTENSIONS) - {".pdf", ".docx", ".pptx", ".doc", ".html"}))
def test_code_and_text_are_taken_as_they_are(client, store, extension):
    file = add(client, store, f"a{extension}", "int attention = 1; // { look back }")
    assert file.status == "completed"
    (found,) = client.vector_stores.search(store.id, query="attention").data
    assert found.content[0].text == "int attention = 1; // { look back }"


def test_headings_of_markdown():
    text = (
        "Intro\n=====\n\n## Loss ##\n\n```python\n# no heading\n```\n~~~\n# nor this\n~~~\n#no\n\nSpeed\n---\n"
        "- item\n---\n\n### C++ and `code`\n"
    )
    found = parse("a.md", text.encode()).headings
    assert [(heading.level, heading.title) for heading in found] == [
        (1, "Intro"),
        (2, "Loss"),
        (2, "Speed"),
        (3, "C++ and `code`"),
    ]
    assert [text[heading.start :].split("\n")[0] for heading in found] == [
        "Intro",
        "## Loss ##",
        "Speed",
        "### C++ and `code`",
    ]


def test_html_is_read_as_a_person_sees_it():
    page = (
        "<html><head><title>GPT-2 &amp; you</title><style>p {color: red}</style></head><body><h1>Loss</h1>"
        "<p>It <b>falls</b>\n and falls.</p><script>ignore();</script><ul><li>one<li>two</ul>"
        "<pre>a  b\n  c</pre><h2>Speed</h2>fast<br>faster <table><tr><td>x</td><td>y</td></tr></table></body>"
    )
    document = parse("a.html", page.encode())
    assert "It falls and falls." in document.text
    assert "a  b\n  c" in document.text
    assert "- one\n- two" in document.text
    assert "fast\nfaster" in document.text
    assert not [word for word in ("ignore", "color", "<", "&amp;") if word in document.text]
    assert [(heading.level, heading.title) for heading in document.headings] == [
        (0, "GPT-2 & you"),
        (1, "Loss"),
        (2, "Speed"),
    ]
    assert document.text[document.headings[2].start :].startswith("Speed")


def test_pdf_word_and_powerpoint_are_read(client, store):
    add(client, store, "paper.pdf", pdf("Pages about attention", "and about softmax"))
    add(client, store, "open.pdf", encrypted_pdf("Open to everyone about quantiles", ""))
    add(client, store, "notes.docx", docx([("Heading1", "Loss"), ("Normal", "It falls &amp; falls.")]))
    add(client, store, "talk.pptx", pptx(["Speed", "faster kernels"], ["Thanks"]))
    for query, name in (
        ("softmax", "paper.pdf"),
        ("quantiles", "open.pdf"),
        ("falls", "notes.docx"),
        ("kernels", "talk.pptx"),
    ):
        (found,) = client.vector_stores.search(store.id, query=query).data
        assert found.filename == name
    word = parse("a.docx", docx([("Heading1", "Loss"), ("Normal", "It falls."), ("Heading2", "Speed")]))
    assert [(heading.level, heading.title) for heading in word.headings] == [(1, "Loss"), (2, "Speed")]
    assert word.text[word.headings[1].start :].startswith("Speed")


# -- chunking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "overlap"), [(100, 0), (100, 50), (250, 100), (800, 400), (4096, 2048)])
@pytest.mark.parametrize(
    "text",
    [
        LONG,
        "word " * 5000,
        "x" * 20_000,
        "👩‍👩‍👧‍👦" * 900,
        "é" * 9000,
        "日本語の文章です。" * 900,
        "\n" * 3000 + "end",
        "a",
    ],
    ids=["markdown", "words", "one word", "families", "accents", "japanese", "lines", "short"],
)
def test_chunks_cover_the_text_and_keep_to_size_and_overlap(text, size, overlap):
    document = parse("a.md", text.encode())
    found = list(chunks(document, size, overlap))
    assert found[0].start <= len(text) - len(text.lstrip())
    assert found[-1].start + len(found[-1].text) == len(text)
    for chunk in found:
        assert estimate(chunk.text) <= size
        assert text[chunk.start :].startswith(chunk.text)
    for before, after in itertools.pairwise(found):
        end = before.start + len(before.text)
        assert before.start < after.start
        assert end - after.start <= overlap * 4
        assert not text[end : after.start].strip()
    assert len(found) <= 2 + len(text) / ((size - overlap) * 2)


@pytest.mark.parametrize("text", ["👩‍👩‍👧‍👦" * 300, "é" * 3000])
def test_no_chunk_cuts_a_character_in_two(text):
    whole = set(graphemes(text))
    for chunk in chunks(parse("a.txt", text.encode()), 100, 50):
        assert set(graphemes(chunk.text)) == whole


def test_chunks_end_at_headings_and_paragraphs_and_know_their_headings():
    parts = "\n\n".join(f"## Part {part}\n\n{'Some words here. ' * 20}" for part in range(8))
    document = parse("a.md", f"# Title\n\n{parts}".encode())
    found = list(chunks(document, 100, 0))
    assert all(chunk.text.startswith("#") for chunk in found)
    assert found[0].headings == "Title > Part 0"
    assert found[5].headings == "Title > Part 5"
    deep = Document("x" * 1000, parse("b.md", b"# A\n## B\n### C\n# D\n## E\n").headings)
    assert [chunk.headings for chunk in chunks(deep, 250, 0)] == ["A > B > C > D > E"]


def test_parse_says_what_is_wrong_as_an_error():
    with pytest.raises(ParseError, match="empty"):
        parse("a.md", b"")


# -- batches ----------------------------------------------------------------------------------------------------------


def test_batches_get_on_in_a_few_looks(client, store):
    ids = [upload(client, f"{number}.md").id for number in range(10)] + [upload(client, "bad.md", b"\x00").id]
    batches = client.vector_stores.file_batches
    batch = batches.create(store.id, file_ids=ids, attributes={"week": 1}, chunking_strategy=static(200, 100))
    seen = [batch.file_counts.in_progress]
    while batch.status == "in_progress":
        batch = batches.retrieve(batch.id, vector_store_id=store.id)
        seen.append(batch.file_counts.in_progress)
    assert seen == [11, 8, 5, 2, 0]
    assert (batch.status, batch.file_counts.completed, batch.file_counts.failed) == ("completed", 10, 1)
    assert batch.id.startswith("vsfb_")
    files = list(batches.list_files(batch.id, vector_store_id=store.id, order="asc"))
    assert [file.id for file in files] == ids
    assert files[0].attributes == {"week": 1}
    assert files[0].chunking_strategy.static.max_chunk_size_tokens == 200
    failed = batches.list_files(batch.id, vector_store_id=store.id, filter="failed").data
    assert [file.id for file in failed] == ids[-1:]


def test_files_of_a_batch_can_have_their_own_settings(client, store):
    first, second = upload(client, "1.md").id, upload(client, "2.md").id
    client.vector_stores.file_batches.create_and_poll(
        store.id,
        files=[
            {"file_id": first, "attributes": {"week": 1}},
            {"file_id": second, "chunking_strategy": static(100, 0)},
        ],
    )
    one = client.vector_stores.files.retrieve(first, vector_store_id=store.id)
    two = client.vector_stores.files.retrieve(second, vector_store_id=store.id)
    assert (one.attributes, one.chunking_strategy.static.max_chunk_size_tokens) == ({"week": 1}, 800)
    assert (two.attributes, two.chunking_strategy.static.max_chunk_size_tokens) == ({}, 100)


def test_a_cancelled_batch_keeps_what_is_done(client, store):
    ids = [upload(client, f"{number}.md").id for number in range(8)]
    batches = client.vector_stores.file_batches
    batch = batches.create(store.id, file_ids=ids)
    batches.retrieve(batch.id, vector_store_id=store.id)
    cancelled = batches.cancel(batch.id, vector_store_id=store.id)
    assert (cancelled.status, cancelled.file_counts.completed, cancelled.file_counts.cancelled) == (
        "cancelled",
        2,
        6,
    )
    assert batches.cancel(batch.id, vector_store_id=store.id) == cancelled
    assert len(client.vector_stores.search(store.id, query="attention").data) == 2
    with pytest.raises(openai.NotFoundError):
        batches.retrieve("vsfb_none", vector_store_id=store.id)


def test_two_thousand_files_are_taken_and_one_more_is_refused(client, store):
    file = upload(client)
    with pytest.raises(openai.BadRequestError, match="2000"):
        client.vector_stores.file_batches.create(store.id, file_ids=[f"file-{n}" for n in range(2001)])
    ids = [upload(client, f"{number}.md", b"short").id for number in range(200)]
    batch = client.vector_stores.file_batches.create_and_poll(store.id, file_ids=[*ids, *ids, file.id] * 4)
    assert batch.file_counts.completed == 201  # each only once


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"file_ids": []},
        {"files": []},
        {"file_ids": ["file-1"], "files": [{"file_id": "file-1"}]},
        {"files": [{"attributes": {}}]},
        {"files": ["file-1"]},
        {"files": [None]},
    ],
)
def test_a_bad_batch_is_refused(raw, store, body):
    status, _ = raw.error(f"/vector_stores/{store.id}/file_batches", body)
    assert status == 400


# -- other ways in ----------------------------------------------------------------------------------------------------


def test_the_async_client_gets_the_same(api):
    async def run():
        client = make_async_client(api)
        store = await client.vector_stores.create(name="a")
        batch = await client.vector_stores.file_batches.upload_and_poll(
            store.id, files=[("a.md", b"attention"), ("b.md", b"softmax")]
        )
        found = await client.vector_stores.search(store.id, query="softmax")
        await client.close()
        return batch.file_counts.completed, [hit.filename for hit in found.data]

    assert asyncio.run(run()) == (2, ["b.md"])


def test_two_processes_with_one_state_see_one_store(tmp_path):
    clients = []
    apis = [LocalAPI(recordings=tmp_path, state=tmp_path / "state") for _ in range(2)]
    clients = [make_client(api) for api in apis]
    store = clients[0].vector_stores.create(name="shared")
    add(clients[0], store)
    add(clients[1], store, "b.md", "softmax")
    for client in clients:
        assert client.vector_stores.retrieve(store.id).file_counts.completed == 2
        assert [hit.filename for hit in client.vector_stores.search(store.id, query="softmax").data] == [
            "b.md"
        ]
    for api in apis:
        api.close()


def test_many_threads_that_poll_one_store_index_each_file_once(api, client):
    ids = [upload(client, f"{number}.md", LONG).id for number in range(6)]
    store = client.vector_stores.create(file_ids=ids)
    alone = client.vector_stores.create(file_ids=ids)
    client.vector_stores.search(alone.id, query="a")
    clients = [make_client(api) for _ in range(4)]

    def poll(one):
        while one.vector_stores.retrieve(store.id).status == "in_progress":
            pass

    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(poll, clients))
    done, expected = (client.vector_stores.retrieve(each) for each in (store.id, alone.id))
    assert done.file_counts.completed == 6
    assert done.usage_bytes == expected.usage_bytes
    found = [
        [
            (hit.filename, hit.score, hit.content)
            for hit in client.vector_stores.search(each, query="Sentence 3.7").data
        ]
        for each in (store.id, alone.id)
    ]
    assert sorted(found[0], key=str) == sorted(found[1], key=str)
