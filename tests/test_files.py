"""Uploads: what is refused before anything is sent, what is shown, and what interrupts, repeats and failures leave."""

import os
import re

import httpx2
import openai
import pytest

from helpers.errors import ConfigurationError, Stopped, WorkshopError
from helpers.files import (
    UploadedFile,
    UploadReport,
    UploadUnfinished,
    is_recorded,
    upload_files,
    where_files_go,
)
from tests.store_server import STORE, StoreServer, api_error

UPLOAD = "POST /files"
ATTACH = "POST /vector_stores/*/files"
LOOK = "GET /vector_stores/*/files/*"


@pytest.fixture
def server():
    return StoreServer()


@pytest.fixture
def notes(tmp_path):
    """Three small files."""
    paths = [tmp_path / name for name in ("a.md", "b.md", "c.txt")]
    for number, path in enumerate(paths):
        path.write_bytes(f"# Note {number}\n".encode())
    return paths


def upload(server, paths, *more, **options):
    return upload_files(server.client(), STORE, paths, *more, **{"show": False, **options})


def refusal(server, paths, *more, **options):
    """Return the sentence with which an upload is refused, and check that nothing was sent."""
    with pytest.raises(ConfigurationError) as caught:
        upload(server, paths, *more, **options)
    assert server.requests == []
    return str(caught.value)


# -- it works -----------------------------------------------------------------------------------------------------------


def test_files_are_uploaded_attached_and_waited_for(server, notes):
    server.polls = 3
    report = upload(server, notes)
    assert [row.status for row in report.rows] == ["ready"] * 3
    assert report.failed == []
    assert report.file_ids == list(server.attached)
    assert {content for _, content in server.files.values()} == {path.read_bytes() for path in notes}
    assert server.count(LOOK) == 9


def test_a_single_path_will_do(server, notes):
    assert len(upload(server, notes[0]).ready) == len(upload(server, str(notes[1])).ready) == 1


def test_a_file_ends_by_itself(server, notes):
    upload(server, notes[:1])
    upload(server, notes[1:2], expires_after_days=1 / 24)
    assert list(server.expiry.values()) == [86_400, 3_600]


def test_a_store_object_is_as_good_as_its_id(server, notes):
    client = server.client()
    assert upload_files(client, client.vector_stores.retrieve(STORE), notes, show=False).store_id == STORE


def test_the_chunking_strategy_travels(server, notes):
    strategy = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 50}}
    upload(server, notes[:1], chunking_strategy=strategy)
    assert next(iter(server.attached.values()))["chunking_strategy"] == strategy


def test_the_content_is_whole_when_the_sdk_tries_again(server, notes):
    server.fail(UPLOAD, httpx2.Response(500, headers={"retry-after-ms": "1"}))
    upload_files(server.client(max_retries=1), STORE, notes[:1], show=False)
    assert server.count(UPLOAD) == 2
    assert [content for _, content in server.files.values()] == [notes[0].read_bytes()]


# -- attributes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"part": 1}, [1, 1]),
        ({"a.md": {"part": 1}, "b.md": {"part": 2}}, [1, 2]),
        ({"b.md": {"part": 2}}, [None, 2]),
        (lambda path: {"part": path.name}, ["a.md", "b.md"]),
        (None, [None, None]),
    ],
)
def test_attributes_for_all_files_for_each_or_from_a_function(server, notes, attributes, expected):
    upload(server, notes[:2], attributes)
    assert [entry["attributes"].get("part") for entry in server.attached.values()] == expected


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"x" * 65: 1}, "64 characters"),
        ({"topic": "x" * 257}, "256 characters"),
        ({"topic": None}, "number, a boolean or a text"),
        ({"score": float("nan")}, "number, a boolean or a text"),
        ({str(number): number for number in range(15)}, "16 fit"),
        ({"sha256": "abc"}, "Choose another name"),
        ({"a.md": {"part": 1}, "part": 2}, "mixes the two"),
        ({"z.md": {"part": 1}}, "no such file"),
        (["part"], "a dict"),
        (lambda path: None, "must be a dict"),
    ],
)
def test_attributes_that_do_not_fit_are_refused(server, notes, attributes, words):
    assert words in refusal(server, notes, attributes)


# -- what is refused ------------------------------------------------------------------------------------------------------


def test_all_that_cannot_be_taken_is_named_at_once_and_nothing_is_sent(server, notes, tmp_path):
    (tmp_path / "empty.md").touch()
    (tmp_path / "log.csv").write_text("step,loss\n")
    (tmp_path / "sheet.XLSX").write_bytes(b"PK")
    (tmp_path / "photo.png").write_bytes(b"x")
    (tmp_path / "README").write_text("x")
    (tmp_path / "loop.md").symlink_to(tmp_path / "loop.md")
    (tmp_path / "nothing.md").symlink_to(tmp_path / "gone.md")
    names = [
        "empty.md",
        "log.csv",
        "sheet.XLSX",
        "photo.png",
        "README",
        "loop.md",
        "nothing.md",
        "missing.md",
    ]
    text = refusal(server, [notes[0], *(tmp_path / name for name in names), "https://a.b/c.md", "\0", 7])
    lines = text.splitlines()
    assert lines[0] == "Nothing was uploaded. Change the list of files:"
    assert len(lines) == 1 + len(names) + 3 + 1
    for name, words in [
        ("empty.md", "is empty"),
        ("log.csv", "The code interpreter does: that is notebook 3"),
        ("sheet.XLSX", "The code interpreter does: that is notebook 3"),
        ("photo.png", "no files of type .png"),
        ("README", "no files without an ending"),
        ("loop.md", "cannot be opened"),
        ("nothing.md", "a link to nothing"),
        ("missing.md", "does not exist here"),
        ("https://a.b/c.md", "download it first"),
    ]:
        assert any(name in line and words in line for line in lines), name
    assert ".md .pdf .php" in lines[-1]


def test_a_folder_is_refused_with_the_files_in_it(server, notes, tmp_path):
    (tmp_path / "photo.png").write_bytes(b"x")
    text = refusal(server, tmp_path)
    assert "is a folder. Name the files in it: a.md, b.md, c.txt." in text


def test_a_huge_file_is_refused_without_being_read(server, tmp_path, monkeypatch):
    huge = tmp_path / "huge.txt"
    with huge.open("wb") as file:
        file.truncate(600_000_000)  # no block of it is on the disk
    monkeypatch.setattr("helpers.files._Stamp.of", lambda path: pytest.fail("it was read"))
    assert "huge.txt has 600.0 MB; at most 512.0 MB fit" in refusal(server, huge)


def test_more_than_2000_files_are_refused(server, tmp_path):
    paths = []
    for number in range(2_001):
        paths.append(tmp_path / f"{number}.md")
        paths[-1].write_text("x")
    assert "2,001 files are too many for one call; at most 2,000 fit" in refusal(server, paths)


def test_a_long_list_of_refusals_ends(server, tmp_path):
    text = refusal(server, [tmp_path / f"{number}.md" for number in range(50)])
    assert "… and 30 more." in text
    assert len(text.splitlines()) == 22


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(server, tmp_path):
    os.mkfifo(tmp_path / "pipe.md")
    assert "not an ordinary file" in refusal(server, tmp_path / "pipe.md")


def test_a_file_that_may_not_be_read_is_refused(server, notes, monkeypatch):
    monkeypatch.setattr(
        "os.access", lambda path, mode: path != notes[0]
    )  # root may read whatever its mode says
    text = refusal(server, notes)
    assert "a.md cannot be read: permission denied" in text
    assert "b.md" not in text


def test_two_files_of_one_name_are_refused(server, notes, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.md").write_text("Something else.")
    assert "2 different files are named a.md" in refusal(server, [notes[0], tmp_path / "other" / "a.md"])


def test_a_file_named_twice_is_uploaded_once(server, notes, tmp_path):
    (tmp_path / "link.md").symlink_to(notes[0])
    report = upload(server, [notes[0], str(notes[0]), tmp_path / "." / "a.md", tmp_path / "link.md"])
    assert server.count(UPLOAD) == 1
    assert [(row.status, row.note) for row in report.rows] == [("ready", "named twice, uploaded once")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"paths": []}, "nothing to upload"),
        ({"paths": 3}, "list of files"),
        ({"store": "file-1"}, "vector store or its id"),
        ({"store": None}, "vector store or its id"),
        ({"deadline_s": 0}, "deadline_s"),
        ({"deadline_s": None}, "deadline_s"),
        ({"expires_after_days": 31}, "30 days"),
        ({"expires_after_days": 0.01}, "one hour"),
        ({"expires_after_days": "1"}, "30 days"),
        ({"chunking_strategy": {"type": "small"}}, "chunking_strategy is a dict"),
        ({"chunking_strategy": {"type": "static"}}, "from 100 to 4,096"),
        (
            {"chunking_strategy": {"type": "static", "static": {"max_chunk_size_tokens": 99}}},
            "from 100 to 4,096",
        ),
        (
            {
                "chunking_strategy": {
                    "type": "static",
                    "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 101},
                }
            },
            "half of the chunk size, here 100",
        ),
    ],
)
def test_arguments_that_cannot_work(server, notes, options, words):
    arguments = {"store": STORE, "paths": notes, **options}
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        upload_files(server.client(), arguments.pop("store"), arguments.pop("paths"), show=False, **arguments)
    assert server.requests == []


def test_an_asynchronous_client_is_refused(notes):
    client = openai.AsyncOpenAI(api_key="x", base_url="https://recorded.invalid/v1")
    with pytest.raises(ConfigurationError, match="synchronous"):
        upload_files(client, STORE, notes)


def test_a_store_that_is_gone_or_expired(server, notes):
    with pytest.raises(WorkshopError, match="run the cell that creates it again") as caught:
        upload_files(server.client(), "vs_9", notes, show=False)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "the SDK's exception would hold the request, and with it the key"
    server.store["status"] = "expired"
    with pytest.raises(WorkshopError, match="has expired"):
        upload(server, notes)
    assert server.count(UPLOAD) == 0


# -- repeating ------------------------------------------------------------------------------------------------------------


def test_the_same_content_is_not_sent_twice(server, notes):
    upload(server, notes)
    again = upload_files(server.client(), STORE, notes, show=False)  # another client, as in another kernel
    assert server.count(UPLOAD) == 3
    assert len(again.ready) == 3
    assert {row.note for row in again.rows} == {"was there already"}
    assert server.names == ["a.md", "b.md", "c.txt"]


def test_a_new_version_takes_the_place_of_the_old_one(server, notes):
    first = upload(server, notes)
    notes[0].write_text("# Better\n")
    second = upload(server, notes)
    assert second.rows[0].note == "takes the place of the version that was there"
    assert server.names == ["a.md", "b.md", "c.txt"]
    assert first.rows[0].file_id not in server.attached
    assert first.rows[0].file_id in server.files, "the file may be in use in another store"


def test_an_old_version_stays_until_the_new_one_is_ready(server, notes):
    first = upload(server, notes[:1])
    notes[0].write_text("# Worse\n")
    server.outcome["a.md"] = ("invalid_file", "")
    upload(server, notes[:1])
    assert first.rows[0].file_id in server.attached


def test_other_attributes_are_set_on_a_file_that_is_there(server, notes):
    upload(server, notes[:1], {"part": 1})
    report = upload(server, notes[:1], {"part": 2})
    entry = next(iter(server.attached.values()))
    assert entry["attributes"]["part"] == 2
    assert set(entry["attributes"]) == {"part", "sha256", "source"}
    assert report.rows[0].note == "was there already; its attributes are new"
    assert server.count(UPLOAD) == 1


def test_other_chunks_mean_another_upload(server, notes):
    small = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 100}}
    upload(server, notes[:1])
    upload(server, notes[:1], chunking_strategy=small)
    assert [entry["chunking_strategy"] for entry in server.attached.values()] == [small]
    upload(server, notes[:1], chunking_strategy=small)
    assert server.count(UPLOAD) == 2


def test_a_failed_file_is_tried_again_and_its_remains_are_removed(server, notes):
    server.outcome["a.md"] = ("server_error", "")
    upload(server, notes[:1])
    server.outcome.clear()
    assert len(upload(server, notes[:1]).ready) == 1
    assert len(server.attached) == len(server.files) == 1


@pytest.mark.parametrize("attributes", [None, {"source": "a.md"}])
def test_a_file_that_somebody_else_put_there_is_left_alone(server, notes, attributes):
    server.files["file-x"] = ("a.md", b"other")
    server.attached["file-x"] = {
        **{"id": "file-x", "object": "vector_store.file", "vector_store_id": STORE, "created_at": 1},
        **{"usage_bytes": 1, "status": "completed", "attributes": attributes},
    }
    upload(server, notes[:1])
    assert "file-x" in server.attached


# -- failing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("unsupported_file", "File search cannot read files of this kind."),
        ("invalid_file", "may be damaged, encrypted, or not what its ending says"),
        ("server_error", "OpenAI had a problem of its own"),
    ],
)
def test_a_file_that_cannot_be_parsed_fails_alone_and_says_why(server, notes, code, words):
    server.outcome["b.md"] = (code, "The file is strange.")
    report = upload(server, notes)
    assert [row.name for row in report.failed] == ["b.md"]
    assert words in report.failed[0].note
    assert "The file is strange." in report.failed[0].note
    assert len(report.file_ids) == 2
    assert "Failed: b.md" in report.summary


def test_a_file_that_the_api_refuses_fails_alone(server, notes):
    server.fail(UPLOAD, 413)
    report = upload(server, notes)
    assert [row.status for row in report.rows] == ["failed", "ready", "ready"]


def test_a_file_that_cannot_be_attached_leaves_nothing_behind(server, notes):
    server.fail(ATTACH, 400)
    report = upload(server, notes[:1])
    assert (report.rows[0].status, report.rows[0].file_id) == ("failed", None)
    assert server.files == {}


@pytest.mark.parametrize("moment", [UPLOAD, "GET /vector_stores/*/files"])
def test_an_error_that_every_file_would_meet_ends_the_upload(server, notes, moment):
    server.fail(moment, api_error(401, code="invalid_api_key"))
    with pytest.raises(UploadUnfinished, match="does not accept this key") as caught:
        upload(server, notes)
    assert "Not uploaded: a.md, b.md, c.txt" in str(caught.value)
    assert caught.value.__context__ is None
    assert server.files == {}


def test_a_lost_connection_says_what_is_done_and_the_next_call_goes_on(server, notes):
    server.hooks[UPLOAD] = lambda request: (
        server.count(UPLOAD) == 2 and server.fail(UPLOAD, httpx2.ConnectError("no route"))
    )
    with pytest.raises(UploadUnfinished) as caught:
        upload(server, notes)
    assert "There is no connection" in str(caught.value)
    assert [row.status for row in caught.value.report.rows] == ["parsing", "waiting", "waiting"]
    server.hooks.clear()
    assert len(upload(server, notes).ready) == 3
    assert server.names == ["a.md", "b.md", "c.txt"]
    assert len(server.files) == 3, "nothing was sent twice"


def test_a_store_that_is_deleted_in_between(server, notes):
    server.fail(ATTACH, 404)
    with pytest.raises(UploadUnfinished, match="Not uploaded"):
        upload(server, notes[:1])
    assert server.files == {}


def test_a_file_that_disappears_from_the_store(server, notes):
    server.on(LOOK, lambda request: server.attached.clear())
    report = upload(server, notes[:1])
    assert "not in the store any more" in report.failed[0].note


@pytest.mark.parametrize("text", ["# Longer than it was\n", "# Eton 0\n"])
def test_a_file_that_changes_while_it_is_uploaded_fails_and_is_not_attached(server, notes, text):
    def change(request):
        if server.count(UPLOAD) == 1:
            status = notes[0].stat()
            notes[0].write_bytes(text.encode())
            os.utime(notes[0], ns=(status.st_atime_ns, status.st_mtime_ns))  # the clock alone would not tell

    server.on(UPLOAD, change)
    report = upload(server, notes[:2])
    assert [row.status for row in report.rows] == ["failed", "ready"]
    assert "changed while it was uploaded" in report.rows[0].note
    assert server.names == ["b.md"]
    assert len(server.files) == 1


def test_a_file_that_is_cut_off_while_it_is_sent(server, notes):
    def cut(request):
        notes[0].write_text("")
        raise httpx2.WriteError("Too little data for declared Content-Length")

    server.on(UPLOAD, cut)
    report = upload(server, notes[:1])
    assert "changed while it was uploaded" in report.failed[0].note


def test_a_file_that_is_deleted_after_the_check(server, notes):
    server.on("GET /vector_stores/*", lambda request: notes[1].unlink())
    report = upload(server, notes)
    assert [row.status for row in report.rows] == ["ready", "failed", "ready"]
    assert "does not exist here" in report.rows[1].note


# -- time and interrupts ----------------------------------------------------------------------------------------------------


def test_the_deadline_ends_the_waiting_and_the_next_call_goes_on(server, notes):
    server.polls = 10**9
    with pytest.raises(UploadUnfinished, match=r"not ready after 0\.1 seconds") as caught:
        upload(server, notes, deadline_s=0.1)
    assert "Still being parsed: a.md, b.md, c.txt" in str(caught.value)
    server.left = dict.fromkeys(server.left, 0)
    assert len(upload(server, notes).ready) == 3
    assert server.count(UPLOAD) == 3


def test_it_waits_as_long_as_the_server_suggests(server, notes, monkeypatch):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    server.polls = 4
    answers = iter(["700", "", "999999"])

    def look(request, store, id):
        body = StoreServer.look(server, request, store, id)
        hint = next(answers, "0")
        return httpx2.Response(200, json=body, headers={"openai-poll-after-ms": hint} if hint else {})

    server.look = look
    upload(server, notes[:1])
    assert waits[:2] == [0.7, 1.0]
    assert waits[2] <= 30


@pytest.mark.parametrize("moment", [UPLOAD, ATTACH, LOOK])
def test_an_interrupt_says_what_is_done_and_nothing_hangs_between(server, notes, moment):
    server.polls = 2
    seen = []

    def interrupt(request):
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt

    server.on(moment, interrupt)
    with pytest.raises(Stopped) as caught:
        upload(server, notes)
    assert "You stopped the upload." in str(caught.value)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert caught.value.__context__ is None
    assert set(server.files) == set(server.attached), "no file is uploaded and in no store"
    server.hooks.clear()
    assert len(upload(server, notes).ready) == 3
    assert server.names == ["a.md", "b.md", "c.txt"]


@pytest.mark.parametrize(
    "error", [httpx2.ReadTimeout("late"), KeyboardInterrupt()], ids=["lost answer", "interrupt"]
)
def test_an_attachment_whose_answer_is_lost_leaves_nothing_behind(server, notes, error):
    attach = server.attach

    def attach_and_lose_the_answer(request, store):
        attach(request, store)
        raise error

    server.attach = attach_and_lose_the_answer
    with pytest.raises((UploadUnfinished, Stopped)):
        upload(server, notes[:1])
    assert server.attached == server.files == {}


def test_an_interrupt_during_a_pause(server, notes, monkeypatch):
    def interrupt(seconds):
        raise KeyboardInterrupt

    server.polls = 2
    monkeypatch.setattr("time.sleep", interrupt)
    with pytest.raises(Stopped, match=r"Still being parsed: a\.md"):
        upload(server, notes[:1])


# -- what is shown ------------------------------------------------------------------------------------------------------


def test_lines_tell_each_step(server, notes, capsys):
    server.outcome["b.md"] = ("invalid_file", "")
    upload(server, notes[:2], show=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Live mode: the files are uploaded to OpenAI, into your account there")
    assert lines[1:6] == [
        "a.md: uploading",
        "a.md: parsing",
        "b.md: uploading",
        "b.md: parsing",
        "a.md: ready",
    ]
    assert lines[6].startswith("b.md: failed (It could not be read")
    assert lines[7] == "1 of 2 files is ready in “Notes” (9 B): a.md."
    assert lines[8].startswith("Failed: b.md: It could not be read")


def test_nothing_is_shown_if_nothing_should(server, notes, capsys):
    upload(server, notes, show=False)
    assert capsys.readouterr().out == ""


def test_a_notebook_gets_one_display_that_ends_as_a_summary(server, notes, monkeypatch):
    from helpers import rendering

    published = []
    monkeypatch.setattr(
        "helpers.files.make_renderer",
        lambda: rendering.MarkdownRenderer(
            lambda *bundle: published.append(bundle), clock=iter(range(10**6)).__next__
        ),
    )
    server.polls = 2
    upload(server, notes, show=True)
    assert len({id for _, id, _ in published}) == 1, "one display"
    assert [update for _, _, update in published] == [False] + [True] * (len(published) - 1)
    shown = [bundle["text/markdown"] for bundle, _, _ in published]
    assert any("| a.md | 9 B | uploading |" in text for text in shown)
    assert any("| a.md | 9 B | parsing |" in text for text in shown)
    assert "3 of 3 files are ready" in shown[-1]
    assert "|" not in shown[-1]
    assert "3 of 3 files are ready in “Notes”" in published[-1][0]["text/plain"]


def test_an_interrupted_display_is_not_left_in_the_middle(server, notes, capsys):
    def interrupt(request):
        raise KeyboardInterrupt

    server.on(ATTACH, interrupt)
    with pytest.raises(Stopped):
        upload(server, notes, show=True)
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 of 3 files are ready")


def test_a_report_shows_itself_as_a_table(server, notes):
    report = upload(server, notes[:1])
    assert "a.md" in repr(report)
    assert "<td" in report._repr_html_()
    assert "| a.md |" in report.to_markdown()


def test_a_name_cannot_do_anything(tmp_path):
    name = "<img src=x>|$1.md"  # some systems allow such a name
    row = UploadedFile(tmp_path / "x.md", name, 1, "failed", note="<script>", file_id="file-1")
    report = UploadReport([row], STORE, "<b>", "Nowhere.")
    for shown in (report._repr_html_(), report.to_markdown()):
        assert "<img" not in shown
        assert "<script" not in shown
        assert "<b>" not in shown
    assert "\\|" in report.to_markdown()


@pytest.mark.parametrize(
    ("host", "days", "words"),
    [
        ("recorded.invalid", 1, "are sent nowhere"),
        ("api.openai.com", 1, "to OpenAI, into your account there, and expire after 1 day."),
        ("api.openai.com", 7, "expire after 7 days"),
        ("api.openai.com", 1 / 24, "expire after 1 hour."),
        ("example.org", 1, "the server example.org"),
    ],
)
def test_it_says_where_files_go(server, host, days, words):
    client = server.client(host)
    assert words in where_files_go(client, days)
    assert is_recorded(client) == (host == "recorded.invalid")


# -- on the local API -----------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    from helpers import connect

    return connect("recorded")


def test_the_ledger_knows_what_was_uploaded(recorded, notes):
    from helpers import cleanup, ledger_of

    cleanup(recorded)
    store = recorded.vector_stores.create(name="Notes")
    report = upload_files(recorded, store, notes, {"part": 1}, show=False)
    assert len(report.ready) == 3
    kinds = [entry.kind for entry in ledger_of(recorded).entries]
    assert kinds == ["vector store", "file", "file", "file"]
    again = upload_files(recorded, store, notes, {"part": 1}, show=False)
    assert again.file_ids == report.file_ids
    assert len(ledger_of(recorded).entries) == 4
    cleanup(recorded)
    assert len(ledger_of(recorded)) == 0


def test_a_file_that_is_none_fails_on_the_local_api(recorded, tmp_path):
    from helpers import cleanup

    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    (tmp_path / "good.md").write_text("# Fine\n")
    store = recorded.vector_stores.create(name="Notes")
    report = upload_files(recorded, store, [tmp_path / "broken.pdf", tmp_path / "good.md"], show=False)
    assert [row.name for row in report.failed] == ["broken.pdf"]
    assert report.failed[0].note
    assert [row.name for row in report.ready] == ["good.md"]
    cleanup(recorded)
