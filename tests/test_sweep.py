"""The sweep: what a killed kernel left is found and removed, and nothing else is touched."""

import subprocess
import sys

import httpx2
import openai
import pytest

from helpers import connect, connection, ledger, ledger_of, sweep
from helpers.journal import Journal, left_behind
from helpers.ledger import Account, Entry, register
from helpers.sweep import Found, main
from tests.committed_outputs import PROJECT, environment
from tests.kernel import Kernel

KEY = "sk-planted-0123456789abcdef"
TAGGED = {"made_by": "agentic-retrieval-workshop"}


class OpenAI:
    """An account at a server, as far as a sweep looks at it; it remembers what was deleted."""

    def __init__(self):
        self.stores = []
        self.refused = set()
        self.missing = set()
        self.deleted = []

    def __call__(self, request):
        path = request.url.path.removeprefix("/v1/")
        if request.method == "DELETE":
            if path in self.refused | self.missing:
                error = {"message": "No.", "type": "server_error", "code": None, "param": None}
                return httpx2.Response(403 if path in self.refused else 404, json={"error": error})
            self.deleted.append(path)
            return httpx2.Response(200, json={"id": path.rpartition("/")[2], "object": "x", "deleted": True})
        listed = self.stores if path == "vector_stores" else []
        return httpx2.Response(200, json={"object": "list", "data": listed, "has_more": False})


def store(id, *, metadata=None, usage_bytes=0, created_at=0, status="completed"):
    counts = dict.fromkeys(("in_progress", "completed", "failed", "cancelled", "total"), 0)
    return {
        "id": id,
        "object": "vector_store",
        "name": f"Store {id}",
        "created_at": created_at,
        "usage_bytes": usage_bytes,
        "metadata": metadata or {},
        "status": status,
        "file_counts": counts,
        "last_active_at": created_at,
    }


@pytest.fixture
def journals(tmp_path, monkeypatch):
    folder = tmp_path / "journal"
    monkeypatch.setenv("WORKSHOP_JOURNAL", str(folder))
    return folder


@pytest.fixture
def live(monkeypatch, journals):
    """``connect()`` as in live mode, with an account behind it that is only looked at from here."""
    server = OpenAI()
    account = Account.of("live", "api.openai.com", KEY)

    def connected():
        client = openai.OpenAI(
            api_key=KEY,
            max_retries=0,
            http_client=httpx2.Client(transport=httpx2.MockTransport(server)),
        )
        register(client, account)
        return client

    monkeypatch.setattr(sweep, "connect", connected)
    return server


def left_by_an_ended_process(folder, *things, key=KEY):
    journal = Journal(folder)
    for kind, id in things:
        journal.made(kind, id, f"name of {id}", Account.of("live", "api.openai.com", key).as_tuple())
    journal._file._close()  # what the end of a process does


def unasked(question):
    raise AssertionError(f"asked: {question}")


def test_it_shows_what_is_there_with_age_and_cost_and_asks_before_it_removes(live, journals, capsys):
    live.stores = [store("vs_1", usage_bytes=2_000_000_000)]
    left_by_an_ended_process(journals, ("vector store", "vs_1"), ("conversation", "conv_1"))
    asked = []
    assert main(["sweep"], ask=lambda question: asked.append(question) or "n") == 1
    said = capsys.readouterr().out
    assert "name of conv_1" in said
    assert "under a minute" in said
    assert "at most $0.2000 a day" in said
    assert asked == ["Remove 1 conversation, 1 vector store? [y/N] "]
    assert live.deleted == []
    assert "Nothing was removed." in said

    assert main(["sweep"], ask=lambda question: "y") == 0
    assert live.deleted == ["conversations/conv_1", "vector_stores/vs_1"]
    assert list(journals.iterdir()) == []
    assert main(["sweep"], ask=unasked) == 0
    assert "Nothing is left" in capsys.readouterr().out


def test_nobody_there_to_answer_is_a_no(live, journals):
    left_by_an_ended_process(journals, ("file", "file-1"))

    def nobody(question):
        raise EOFError

    assert main(["sweep"], ask=nobody) == 1
    assert live.deleted == []


def test_listing_asks_nothing_and_removes_nothing(live, journals):
    left_by_an_ended_process(journals, ("file", "file-1"))
    assert main(["sweep", "--list"], ask=unasked) == 1
    assert live.deleted == []
    assert len(left_behind(journals)) == 1


def test_what_a_running_notebook_made_and_what_another_key_made_are_left_alone(live, journals, capsys):
    left_by_an_ended_process(journals, ("file", "file-mine"))
    left_by_an_ended_process(journals, ("file", "file-other"), key="sk-another-0123456789")
    running = Journal(journals)
    running.made("file", "file-in-use", "", Account.of("live", "api.openai.com", KEY).as_tuple())
    assert main(["sweep", "--yes"], ask=unasked) == 0
    assert live.deleted == ["files/file-mine"]
    said = capsys.readouterr().out
    assert "1 thing more belongs to a notebook that is still running" in said
    assert "1 thing more was made with another key" in said
    assert len(left_behind(journals)) == 2
    running.gone("file-in-use")


def test_a_tag_alone_is_shown_and_removed_only_when_asked_for(live, journals, capsys):
    live.stores = [
        store("vs_elsewhere", metadata=TAGGED),
        store("vs_untagged"),
        store("vs_other", metadata={"made_by": "somebody else"}),
        store("vs_expired", metadata=TAGGED, status="expired"),
    ]
    assert main(["sweep", "--yes"], ask=unasked) == 0
    said = capsys.readouterr().out
    assert "vs_elsewhere" in said
    assert "--tagged removes it too" in said
    assert not any(other in said for other in ("vs_untagged", "vs_other", "vs_expired"))
    assert live.deleted == []
    assert main(["sweep", "--yes", "--tagged"], ask=unasked) == 0
    assert live.deleted == ["vector_stores/vs_elsewhere"]


def test_a_tagged_store_of_a_running_notebook_is_left_alone(live, journals):
    live.stores = [store("vs_1", metadata=TAGGED)]
    running = Journal(journals)
    running.made("vector store", "vs_1", "", Account.of("live", "api.openai.com", KEY).as_tuple())
    assert main(["sweep", "--yes", "--tagged"], ask=unasked) == 0
    assert live.deleted == []
    running.gone("vs_1")


def test_a_store_that_has_expired_meanwhile_is_shown_as_gone_and_forgotten(live, journals, capsys):
    live.missing.add("vector_stores/vs_old")
    left_by_an_ended_process(journals, ("vector store", "vs_old"))
    assert main(["sweep", "--yes"]) == 0
    said = capsys.readouterr().out
    assert "gone already" in said
    assert "deleted nothing · 1 already gone · 0 left" in said
    assert list(journals.iterdir()) == []


def test_what_could_not_be_removed_is_told_and_found_again(live, journals, capsys):
    live.refused.add("files/file-1")
    left_by_an_ended_process(journals, ("file", "file-1"), ("file", "file-2"))
    assert main(["sweep", "--yes"]) == 1
    assert "still there: file file-1" in capsys.readouterr().out
    live.refused.clear()
    assert main(["sweep", "--yes"]) == 0
    assert live.deleted == ["files/file-2", "files/file-1"]


def test_a_wrong_command_line_is_refused(capsys):
    with pytest.raises(SystemExit) as refused:
        main([])
    assert refused.value.code == 2


def test_a_store_costs_by_its_size_and_everything_else_nothing():
    assert Found(Entry("vector store", "vs_1"), 0.0, 500_000_000).usd_per_day == pytest.approx(0.05)
    assert Found(Entry("vector store", "vs_1"), 0.0).usd_per_day is None
    assert Found(Entry("conversation", "conv_1"), 0.0).usd_per_day == 0


def test_recorded_mode_without_a_kept_state_needs_no_journal(journals, capsys):
    with connect("recorded") as client:
        thread = client.conversations.create()
        assert not journals.exists()
        client.conversations.delete(thread.id)


def test_live_mode_notes_what_it_creates(journals, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(connection, "_check_model", lambda client: None)
    monkeypatch.setattr(connection, "_latest_mode", None)
    monkeypatch.setattr(connection, "_journals", {})
    monkeypatch.setattr(ledger, "_ledgers", {})
    with connect("live") as client:
        ledger_of(client).note("conversation", "conv_1")
        (found,) = left_behind(journals)
        assert [line.id for line in found.lines] == ["conv_1"]
        assert found.running
        assert KEY not in found.path.read_text()
        ledger_of(client).forget("conv_1")
    assert list(journals.iterdir()) == []


# -- a kernel that was killed -----------------------------------------------------------------------------------------

MAKE = """
import sys
from helpers import Assistant, EventHandler, connect, stream_run, upload_files
client = connect()
store = client.vector_stores.create(name="Left behind")
upload_files(client, store, ["data/gpt2/overview.md"], show=False)
container = client.containers.create(name="Left behind")
thread = client.conversations.create()
teacher = Assistant("Teacher", "You are a patient teaching assistant. Explain step by step, in plain words. "
                               "Use one example per idea.")
class Pieces(EventHandler):
    def on_text_delta(self, delta, snapshot):
        print(delta.value, end="", flush=True)
stream_run(client, teacher, thread, "What is GPT-2? Can I build it with Legos?", event_handler=Pieces()).until_done()
"""


@pytest.mark.notebook
def test_after_a_killed_kernel_exactly_what_it_made_is_removed(tmp_path):
    settings = {
        "WORKSHOP_STATE": str(tmp_path / "state.sqlite3"),
        "WORKSHOP_JOURNAL": str(tmp_path / "journal"),
        "WORKSHOP_PACE": "human",
        "WORKSHOP_DISPLAY": "lines",
        "PYTHONPATH": str(PROJECT),
    }
    other = Kernel(folder=PROJECT, **settings)
    killed = Kernel(folder=PROJECT, **settings)
    try:
        kept = (
            "from helpers import connect\nclient = connect()\nkept = client.vector_stores.create(name='Kept')"
        )
        assert other.run(kept)[1] == ""
        text, *_ = killed.run(MAKE, kill_after="language")
        assert "language" in text

        command = [sys.executable, "-m", "helpers.ledger", "sweep"]
        swept = subprocess.run(
            [*command, "--yes"], cwd=PROJECT, env=environment(**settings), capture_output=True, text=True
        )
        assert swept.returncode == 0, swept.stdout + swept.stderr
        assert (
            "deleted 1 conversation, 1 vector store, 1 file, 1 container, 1 response · 0 left" in swept.stdout
        )
        assert "Kept" not in swept.stdout
        assert "1 thing more belongs to a notebook that is still running" in swept.stdout

        left = other.run(
            "print([store.name for store in client.vector_stores.list()], len(list(client.files.list())), "
            "[c.status for c in client.containers.list()])"
        )
        assert left[0] == "['Kept'] 0 []\n"
        assert other.run("from helpers import cleanup\ncleanup(client)")[0].endswith("0 left\n")
        assert list((tmp_path / "journal").iterdir()) == []
    finally:
        killed.close()
        other.close()
