"""The state: gone with the process or kept, the same ids in every run, shared by processes, and their deaths."""

import subprocess
import sys
import textwrap
from pathlib import Path

import openai
import pytest

from helpers.local_api import LocalAPI, StateError
from helpers.local_api.state import State
from tests.local_api.conftest import MODEL, RECORDINGS, make_client

ROOT = Path(__file__).resolve().parents[2]
LONG = {"model": MODEL, "input": "Say it long."}

PRELUDE = """
import os, sys
import httpx2, openai
from pathlib import Path
from helpers.local_api import LocalAPI
state = Path(sys.argv[1]) if len(sys.argv) > 1 else None
api = LocalAPI(recordings=Path("tests/data/recordings"), state=state)
client = openai.OpenAI(api_key="any", base_url="https://recorded.invalid/v1", http_client=httpx2.Client(transport=api.transport()))
LONG = {"model": "gpt-6-luna", "input": "Say it long."}
"""


def run_python(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_second_process_prints_the_same_ids_and_leaves_nothing_behind():
    code = """
        conversation = client.conversations.create(items=[{"role": "user", "content": "a"}])
        response = client.responses.create(**LONG, conversation=conversation.id)
        print(conversation.id, response.id, response._request_id)
        print(*(item.id for item in client.conversations.items.list(conversation.id)))
        print(api._state._connection.execute("pragma database_list").fetchone()[2])
    """
    first, second = run_python(code), run_python(code)
    assert first[:-1] == second[:-1]
    assert len(set(first)) == len(first)
    folders = {Path(output[-1]).parent for output in (first, second)}
    assert len(folders) == 2
    assert not any(folder.exists() for folder in folders)
    conversation, response, request = first[:3]
    assert (len(conversation), len(response), len(request)) == (5 + 48, 5 + 50, 4 + 32)
    assert all(each.partition("_")[2].isalnum() for each in first[:-1])


def test_a_kept_state_is_there_for_the_next_process_and_ids_do_not_collide(tmp_path):
    kept = tmp_path / "new" / "state.sqlite3"
    code = """
        conversation = client.conversations.create()
        response = client.responses.create(**LONG, conversation=conversation.id)
        print(conversation.id, response.id)
    """
    first, second = run_python(code, kept), run_python(code, kept)
    assert not set(first) & set(second)
    api = LocalAPI(recordings=RECORDINGS, state=kept)
    client = make_client(api)
    for conversation, response in (first, second):
        assert client.conversations.retrieve(conversation).id == conversation
        assert client.responses.retrieve(response).status == "completed"
        assert len(client.conversations.items.list(conversation).data) == 3
    api.close()
    assert list((tmp_path / "new").glob("*-owners/*")) == []


def test_the_answer_of_a_process_that_died_ends_as_failed_and_frees_the_conversation(tmp_path):
    kept = tmp_path / "state.sqlite3"
    conversation, response = run_python(
        """
        conversation = client.conversations.create()
        stream = client.responses.create(**LONG, conversation=conversation.id, stream=True)
        created = next(stream)
        print(conversation.id, created.response.id, flush=True)
        os._exit(0)
        """,
        kept,
    )
    api = LocalAPI(recordings=RECORDINGS, state=kept)
    client = make_client(api)
    assert client.responses.create(**LONG, conversation=conversation).status == "completed"
    dead = client.responses.retrieve(response)
    assert dead.status == "failed"
    assert dead.error.code == "server_error"
    assert "ended before" in dead.error.message
    assert len(client.conversations.items.list(conversation).data) == 3
    api.close()


def test_a_background_response_outlives_the_process_that_asked(tmp_path):
    kept = tmp_path / "state.sqlite3"
    response, streamed = run_python(
        """
        response = client.responses.create(**LONG, background=True)
        stream = client.responses.create(**LONG, background=True, stream=True)
        seen = [next(stream) for _ in range(5)]
        print(response.id, seen[0].response.id, flush=True)
        os._exit(0)
        """,
        kept,
    )
    api = LocalAPI(recordings=RECORDINGS, state=kept)
    client = make_client(api)
    assert [client.responses.retrieve(response).status for _ in range(2)] == ["in_progress", "completed"]
    rest = list(client.responses.retrieve(streamed, stream=True, starting_after=4))
    assert rest[0].sequence_number == 5
    assert rest[-1].response.status == "completed"
    api.close()


def test_two_that_share_a_state_respect_each_others_locks(tmp_path):
    kept = tmp_path / "state.sqlite3"
    one, two = (LocalAPI(recordings=RECORDINGS, state=kept) for _ in range(2))
    first, second = make_client(one), make_client(two)
    conversation = first.conversations.create()
    stream = first.responses.create(**LONG, conversation=conversation.id, stream=True)
    response_id = next(stream).response.id
    assert second.responses.retrieve(response_id).status == "in_progress"
    for _ in range(5):
        with pytest.raises(openai.BadRequestError) as error:
            second.responses.create(**LONG, conversation=conversation.id)
        assert error.value.code == "conversation_locked"
    stream.close()
    assert second.responses.retrieve(response_id).status == "cancelled"
    assert second.responses.create(**LONG, conversation=conversation.id).status == "completed"
    for api in (one, two):
        api.close()


def items_of(state):
    with state.transaction() as transaction:
        return [item["id"] for item in transaction.items("conv_1")]


def change(state, *, add=(), delete=(), fail=False):
    with state.transaction() as transaction:
        for item_id in delete:
            transaction.delete_item("conv_1", item_id)
        transaction.add_items("conv_1", [{"id": item_id} for item_id in add])
        seen = [item["id"] for item in transaction.items("conv_1")]
        if fail:
            raise ZeroDivisionError
    return seen


def test_a_conversation_that_was_read_before_is_what_it_is_now_whoever_changed_it(tmp_path):
    path = tmp_path / "state.sqlite3"
    state, other = State(path), State(path)
    assert change(state, add="abc") == ["a", "b", "c"]
    assert items_of(state) == items_of(other) == ["a", "b", "c"]
    assert change(other, add="d", delete="a") == ["b", "c", "d"]
    assert items_of(state) == ["b", "c", "d"]
    change(other, delete="d")
    assert items_of(state) == ["b", "c"]
    change(state, add="e", delete="c")
    assert items_of(state) == items_of(other) == ["b", "e"]
    with pytest.raises(ZeroDivisionError):
        change(state, add="fg", fail=True)
    assert items_of(state) == ["b", "e"], "what was taken back is not remembered"
    change(other, add="hi")
    assert items_of(state) == ["b", "e", "h", "i"]
    read = items_of(state)
    with state.transaction() as transaction:
        transaction.items("conv_1").clear()
    assert items_of(state) == read
    for number in range(20):
        with state.transaction() as transaction:
            transaction.add_items(f"conv_{number + 2}", [{"id": "x"}])
            transaction.items(f"conv_{number + 2}")
    assert items_of(state) == read
    state.close()
    other.close()


def test_a_folder_holds_the_state_as_well(tmp_path):
    api = LocalAPI(recordings=RECORDINGS, state=tmp_path)
    api.close()
    assert (tmp_path / "state.sqlite3").exists()


@pytest.mark.parametrize("kind", ["text", "another database", "under a file"])
def test_a_file_that_is_no_state_is_refused_and_left_alone(tmp_path, kind):
    import sqlite3

    path = tmp_path / "mine"
    if kind == "another database":
        connection = sqlite3.connect(path)
        connection.execute("create table mine (a)")
        connection.close()
    else:
        path.write_text("my notes " * 200)
    before = path.read_bytes()
    with pytest.raises(StateError, match="Choose another path for WORKSHOP_STATE"):
        LocalAPI(recordings=RECORDINGS, state=path / "below" if kind == "under a file" else path)
    assert path.read_bytes()[100:] == before[100:]


def test_a_collected_api_leaves_no_folder_behind():
    api = LocalAPI(recordings=RECORDINGS)
    file = Path(api._state._connection.execute("pragma database_list").fetchone()[2])
    assert file.exists()
    del api
    import gc

    gc.collect()
    assert not file.parent.exists()
