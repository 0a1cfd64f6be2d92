"""The code interpreter in responses: code runs once, when its event is read; events as live; what follows from it."""

from __future__ import annotations

import asyncio
import base64
import json
import threading

import openai
import pytest

from helpers.local_api import LocalAPI
from helpers.local_api.code_interpreter_tool import file_citations, filled
from helpers.local_api.turns import Say
from tests.local_api.conftest import DATA, MODEL, kinds, make_async_client, make_client, shape
from tests.local_api.kernels import PNG, InProcess

LIVE = json.loads((DATA / "real-streams" / "code_interpreter_image.json").read_text())[0]
CALL = "code_interpreter_call"
INCLUDE = "code_interpreter_call.outputs"

RECORDING = r"""
source: authored
exchanges:
  - ask: Create a chart of y=x^2 for x=-5 to 5
    tools: [code_interpreter]
    steps:
      - run: |
          from pathlib import Path
          Path("y_eq_x_squared_plot.png").write_bytes(b"png")
          show()
          print("'/mnt/data/y_eq_x_squared_plot.png'")
      - say: |
          Here’s the chart of y = x^2 for x from -5 to 5.
          Download the image: [Download the chart](sandbox:/mnt/data/y_eq_x_squared_plot.png)
  - ask: What is the lowest loss?
    tools: [code_interpreter]
    steps:
      - run: |
          from pathlib import Path
          losses = [float(line) for line in Path("log.csv").read_text().split()[1:]]
          print(f"best={min(losses)} rows={len(losses)}")
        prints: 'best=(?P<loss>[\d.]+) rows=(?P<rows>\d+)'
      - say: |
          It is {loss} of {rows} rows, {"json": 1}, `{loss}`, {other }.
  - ask: Repair it.
    tools: [code_interpreter]
    steps:
      - think: I try.
      - run: 1 / 0
      - run: |
          value = 42
          print(f"value={value}")
        prints: 'value=(?P<value>\d+)'
      - say: It is {value}.
  - ask: And now?
    tools: [code_interpreter]
    steps:
      - run: print(value + 1)
      - say: One more.
  - ask: Too long.
    tools: [code_interpreter]
    steps:
      - run: limit()
      - say: It was stopped.
  - ask: Wait.
    tools: [code_interpreter]
    steps:
      - run: |
          wait()
      - say: Never.
  - ask: Notes and log?
    tools: [code_interpreter, file_search]
    steps:
      - search: [expected loss]
      - run: |
          print("best=3.28")
        prints: 'best=(?P<loss>[\d.]+)'
      - say: |
          The log says {loss}, the notes 3.3 [notes.md].
  - ask: As JSON.
    tools: [code_interpreter]
    steps:
      - run: |
          print("n=7")
        prints: 'n=(?P<n>\d+)'
      - say: |
          {"n": {n}, "all": [{n},{n}]}
"""


@pytest.fixture(autouse=True)
def kernels():
    InProcess.made.clear()
    return InProcess.made


@pytest.fixture
def recordings(tmp_path):
    (tmp_path / "turns.yaml").write_text(RECORDING, encoding="utf-8")
    return tmp_path


@pytest.fixture
def api(recordings, clock):
    api = LocalAPI(recordings=recordings, clock=clock, kernels=InProcess)
    yield api
    api.close()


@pytest.fixture
def log(client):
    return upload(client, "log.csv", b"loss\n10.9\n3.28\n4.5\n")


def upload(client, name, content):
    return client.files.create(file=(name, content), purpose="user_data")


def tool(*files, **container):
    return {
        "type": "code_interpreter",
        "container": {"type": "auto", "file_ids": [file.id for file in files], **container},
    }


def ask(client, question, *files, **options):
    options = {"model": MODEL, "tools": [tool(*files)], **options}
    return client.responses.create(input=question, **options)


def calls_of(response):
    return [item for item in response.output if item.type == CALL]


def citations_of(response):
    return [
        each for item in response.output if item.type == "message" for each in item.content[0].annotations
    ]


# -- the events -----------------------------------------------------------------------------------------------------


def test_the_stream_is_that_of_the_live_recording(raw, client):
    live = LIVE["response"]["body"]["sse"]
    request = {key: value for key, value in LIVE["request"]["body"].items() if value is not None}
    mine = raw.events({**request, "tool_choice": {"type": "code_interpreter"}, "model": "gpt-5.1"})
    assert kinds(mine) == [kind for kind in kinds(live) if "keepalive" not in kind]
    for kind in dict.fromkeys(kinds(live)):
        ours = next(event for event in mine if event["type"] == kind)
        theirs = next(event for event in live if event["type"] == kind)
        if "response" in theirs:
            assert ours["response"]["tools"] == theirs["response"]["tools"]
            continue
        assert shape(ours) == shape(theirs), kind
    ours, theirs = (
        next(
            event["item"]
            for event in events
            if event["type"].endswith("item.done") and "code" in event["item"]
        )
        for events in (mine, live)
    )
    assert shape(ours) == shape(theirs)
    assert ours["outputs"] == [
        {"type": "image", "url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"},
        {"type": "logs", "logs": "'/mnt/data/y_eq_x_squared_plot.png'\n"},
    ]
    annotations = [event for event in mine if event["type"].endswith("annotation.added")]
    assert [event["annotation_index"] for event in annotations] == [0, 1]
    plot, link = (event["annotation"] for event in annotations)
    assert shape(plot) == shape(live[-6]["annotation"])
    assert plot["filename"] == f"{plot['file_id']}.png"
    assert (plot["start_index"], plot["end_index"]) == (0, 0)
    text = mine[-1]["response"]["output"][-1]["content"][0]["text"]
    target = "sandbox:/mnt/data/y_eq_x_squared_plot.png"
    assert text[link["start_index"] : link["end_index"]] == target
    for each in (plot, link):
        content = client.containers.files.content.retrieve(each["file_id"], container_id=each["container_id"])
        assert content.read() == (PNG if each is plot else b"png")


def test_the_accumulator_of_the_sdk_takes_the_stream(client, log):
    with client.responses.stream(
        model=MODEL, input="What is the lowest loss?", tools=[tool(log)], include=[INCLUDE]
    ) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert final.output_text == 'It is 3.28 of 3 rows, {"json": 1}, `{loss}`, {other }.\n'.strip()
    code = "".join(event.delta for event in events if event.type == f"response.{CALL}_code.delta")
    (call,) = calls_of(final)
    assert call.code == code
    assert [output.logs for output in call.outputs] == ["best=3.28 rows=3\n"]
    assert all(event.obfuscation for event in events if event.type == f"response.{CALL}_code.delta")


def test_outputs_are_shown_only_if_they_are_asked_for(client, log):
    (hidden,) = calls_of(ask(client, "What is the lowest loss?", log))
    assert (hidden.outputs, hidden.status) == (None, "completed")
    (shown,) = calls_of(ask(client, "What is the lowest loss?", log, include=[INCLUDE]))
    assert [output.type for output in shown.outputs] == ["logs"]


def test_code_that_fails_and_its_repair_are_two_calls_in_one_container(client, kernels):
    response = ask(client, "Repair it.", include=[INCLUDE], reasoning={"effort": "low", "summary": "auto"})
    assert [item.type for item in response.output] == ["reasoning", CALL, "reasoning", CALL, "message"]
    first, second = calls_of(response)
    assert first.status == "completed"
    assert "ZeroDivisionError" in first.outputs[0].logs
    assert second.outputs[0].logs == "value=42\n"
    assert first.container_id == second.container_id
    assert response.output_text == "It is 42."
    assert len(kernels) == 1


def test_code_that_hits_a_limit_is_a_failed_call_that_says_why(client):
    (call,) = calls_of(ask(client, "Too long.", include=[INCLUDE]))
    assert call.status == "failed"
    assert "so it was stopped." in call.outputs[0].logs


def test_code_runs_when_its_event_is_read_and_once(client, kernels, log):
    stream = ask(client, "What is the lowest loss?", log, stream=True)
    for event in stream:
        if event.type == f"response.{CALL}.interpreting":
            assert kernels == []
        if event.type == f"response.{CALL}.completed":
            assert len(kernels[0].codes) == 1
    assert len(kernels[0].codes) == 1


def test_a_background_response_runs_its_code_once_however_often_it_is_read(client, kernels, log):
    response = ask(client, "What is the lowest loss?", log, background=True, include=[INCLUDE])
    assert response.status == "queued"
    assert client.responses.retrieve(response.id).status == "in_progress"
    assert kernels == []
    done = client.responses.retrieve(response.id)
    assert done.status == "completed"
    assert "3.28" in done.output_text
    assert len(kernels[0].codes) == 1
    streamed = ask(client, "What is the lowest loss?", log, background=True, stream=True)
    events = list(streamed)
    again = list(
        client.responses.retrieve(
            events[0].response.id, stream=True, starting_after=events[5].sequence_number
        )
    )
    assert [event.to_dict() for event in again] == [event.to_dict() for event in events[6:]]
    assert sum(len(kernel.codes) for kernel in kernels) == 2


def test_a_resumed_stream_runs_the_code_that_was_not_reached(api, client, kernels, log):
    """Also async, where the first event that is sent comes after code that has to run."""
    stream = ask(client, "What is the lowest loss?", log, background=True, stream=True)
    response_id = next(stream).response.id
    for event in stream:
        if event.type == f"response.{CALL}.interpreting":
            break
    assert kernels == []

    async def resume():
        client = make_async_client(api)
        again = await client.responses.retrieve(
            response_id, stream=True, starting_after=event.sequence_number
        )
        found = [each async for each in again]
        await client.close()
        return found

    found = asyncio.run(resume())
    assert found[0].type == f"response.{CALL}.completed"
    assert found[-1].response.status == "completed"
    assert kernels[0].threads[0] != threading.main_thread().name


def test_what_is_not_stored_leaves_nothing(api, client, log):
    for options in ({"store": False}, {}):
        response = ask(client, "What is the lowest loss?", log, **options)
    client.responses.delete(response.id)
    with api._state.transaction() as transaction:
        assert transaction.execute("select count(*) from code_runs").fetchone() == (0,)


# -- containers -----------------------------------------------------------------------------------------------------


def test_auto_uses_the_container_of_the_conversation_again_while_it_lives(client, clock, log, kernels):
    conversation = client.conversations.create()
    first = calls_of(ask(client, "Repair it.", conversation=conversation.id))[0].container_id
    (again,) = calls_of(ask(client, "And now?", conversation=conversation.id, include=[INCLUDE]))
    assert (again.container_id, again.outputs[0].logs) == (first, "43\n")
    # A file that is asked for now is put into it.
    response = ask(client, "What is the lowest loss?", log, conversation=conversation.id)
    assert calls_of(response)[0].container_id == first
    assert [file.path for file in client.containers.files.list(first)] == ["/mnt/data/log.csv"]
    ask(client, "What is the lowest loss?", log, conversation=conversation.id)
    assert len(client.containers.files.list(first).data) == 1
    clock.now += 20 * 60
    (later,) = calls_of(ask(client, "And now?", conversation=conversation.id, include=[INCLUDE]))
    assert later.container_id != first
    assert "NameError" in later.outputs[0].logs
    assert kernels[0].closed
    assert client.containers.retrieve(first).status == "expired"


def test_auto_follows_the_chain_of_responses(client):
    first = ask(client, "Repair it.")
    second = ask(client, "And now?", previous_response_id=first.id)
    assert calls_of(second)[0].container_id == calls_of(first)[0].container_id
    other = ask(client, "Repair it.")
    assert calls_of(other)[0].container_id != calls_of(first)[0].container_id


def test_a_container_of_ones_own_is_used(client, log):
    container = client.containers.create(name="mine", file_ids=[log.id])
    mine = {"type": "code_interpreter", "container": container.id}
    response = ask(client, "What is the lowest loss?", tools=[mine])
    assert calls_of(response)[0].container_id == container.id
    assert response.tools[0].to_dict() == mine


def test_an_expired_container_is_refused_and_a_deleted_one_is_not_found(client, clock, raw):
    response = ask(client, "Repair it.")
    (*_, call) = calls_of(response)
    mine = {"type": "code_interpreter", "container": call.container_id}
    clock.now += 20 * 60
    with pytest.raises(
        openai.BadRequestError, match=f"Expected container_id: {call.container_id}"
    ) as refused:
        ask(client, "And now?", tools=[mine])
    assert refused.value.param == "tools[0].container"
    # So is a history by hand that still has its calls.
    history = [item.to_dict() for item in response.output if item.type != "reasoning"]
    with pytest.raises(openai.BadRequestError, match="Expected container_id: cntr_"):
        ask(client, [*history, {"role": "user", "content": "And now?"}])
    client.containers.delete(call.container_id)
    with pytest.raises(openai.NotFoundError, match="Container with id"):
        ask(client, "And now?", tools=[mine])


def test_a_history_by_hand_keeps_the_container(client):
    response = ask(client, "Repair it.", include=[INCLUDE])
    history = [item.to_dict() for item in response.output]
    (again,) = calls_of(ask(client, [*history, {"role": "user", "content": "And now?"}], include=[INCLUDE]))
    assert again.container_id == calls_of(response)[0].container_id
    assert again.outputs[0].logs == "43\n"


def test_calls_are_items_of_the_conversation_and_of_the_input(client):
    conversation = client.conversations.create()
    first = ask(client, "Repair it.", conversation=conversation.id)
    items = client.conversations.items.list(conversation.id, order="asc").data
    assert [item.type for item in items] == ["message", "reasoning", CALL, "reasoning", CALL, "message"]
    assert items[2].id == calls_of(first)[0].id
    history = [item.to_dict() for item in first.output]
    second = ask(client, [*history, {"role": "user", "content": "And now?"}])
    sent = client.responses.input_items.list(second.id, order="asc").data
    assert [item.type for item in sent][-1] == "message"
    assert [item.code for item in sent if item.type == CALL] == [call.code for call in calls_of(first)]


@pytest.mark.parametrize(
    ("container", "status", "param", "words"),
    [
        (None, 400, "tools[0].container", "Missing required parameter"),
        (3, 400, "tools[0].container", "one of a string or object"),
        ({}, 400, "tools[0].container.type", "Missing required parameter"),
        ({"type": "manual"}, 400, "tools[0].container.type", "'auto'"),
        ({"type": "auto", "memory_limit": "3g"}, 400, "tools[0].container.memory_limit", "'4g'"),
        ({"type": "auto", "file_ids": "file-1"}, 400, "tools[0].container.file_ids", "array of strings"),
        (
            {"type": "auto", "file_ids": ["file-1"]},
            404,
            "tools[0].container.file_ids",
            "No such File object: file-1",
        ),
        ({"type": "auto", "files": []}, 400, "tools[0].container.files", "Unknown parameter"),
        (
            {"type": "auto", "network_policy": {"type": "allowlist", "allowed_domains": []}},
            400,
            "tools[0].container.network_policy",
            "no network",
        ),
        ("cntr_1", 404, "tools[0].container", "Container with id 'cntr_1' not found."),
    ],
)
def test_a_wrong_tool_is_refused(raw, container, status, param, words):
    body = {"model": MODEL, "input": "Hi", "tools": [{"type": "code_interpreter", "container": container}]}
    found, error = raw.error("/responses", body)
    assert (found, error["param"]) == (status, param)
    assert words in error["message"]


def test_a_file_that_a_container_cannot_read_is_refused(client):
    film = upload(client, "film.mp4", b"1")
    with pytest.raises(
        openai.BadRequestError, match=r"\[\.mp4\].*not supported for code_interpreter"
    ) as refused:
        ask(client, "Hi", film)
    assert refused.value.code == "unsupported_file"


# -- what follows from the output -----------------------------------------------------------------------------------


def test_numbers_come_from_the_learners_own_file(client):
    other = upload(client, "log.csv", b"loss\n2.5\n")
    assert ask(client, "What is the lowest loss?", other).output_text.startswith("It is 2.5 of 1 rows")


def test_only_names_that_were_found_are_replaced_and_citations_move_along():
    step = Say("{a} {a} x{a} {b} {{a}} `{a}`.", [{"index": 3}, {"index": 7}, {"index": 9}])
    got = filled(step, {"a": "12345"})
    assert got.text == "12345 12345 x{a} {b} {{a}} `{a}`."
    assert [each["index"] for each in got.annotations] == [5, 11, 13]


def test_both_tools_in_one_exchange(client):
    store = client.vector_stores.create(name="notes")
    client.vector_stores.files.upload_and_poll(
        vector_store_id=store.id, file=("notes.md", b"The expected loss is 3.3, say the notes.")
    )
    search = {"type": "file_search", "vector_store_ids": [store.id]}
    response = ask(client, "Notes and log?", tools=[search, tool()])
    assert [item.type for item in response.output if item.type != "reasoning"] == [
        "file_search_call",
        CALL,
        "message",
    ]
    assert response.output_text == "The log says 3.28, the notes 3.3."
    (citation,) = citations_of(response)
    assert (citation.filename, response.output_text[citation.index :]) == ("notes.md", ".")


def test_json_takes_its_numbers_too(client):
    response = ask(
        client,
        "As JSON.",
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
    )
    assert json.loads(response.output_text) == {"n": 7, "all": [7, 7]}


@pytest.mark.parametrize("stream", [False, True])
def test_where_the_output_is_another_the_offline_helper_shows_it(client, stream):
    other = upload(client, "log.csv", b"loss\n-1.5\n```\n")
    # The pattern wants a number without a sign; this fails even before that.
    response = ask(client, "What is the lowest loss?", other, stream=stream, metadata={"mine": "kept"})
    if stream:
        response = list(response)[-1].response
    assert response.metadata["workshop_source"] == "offline helper"
    assert response.metadata["mine"] == "kept"
    assert "expects other output" in response.metadata["workshop_note"]
    text = response.output_text
    assert "does not fit what the code found in your files" in text
    assert "ValueError: could not convert string to float: '```'" in text
    assert "OPENAI_API_KEY" in text
    # What was printed cannot end its own block.
    assert text.count("````") == 2
    assert [item.type for item in response.output if item.type != "reasoning"] == [CALL, "message"]


@pytest.mark.parametrize("options", [{}, {"stream": True}, {"background": True}])
def test_with_strict_that_is_an_error(recordings, clock, options):
    api = LocalAPI(recordings=recordings, clock=clock, strict=True, kernels=InProcess)
    client = make_client(api)
    good, bad = upload(client, "log.csv", b"loss\n3\n"), upload(client, "log.csv", b"loss\nx\n")
    conversation = client.conversations.create()
    with pytest.raises(
        openai.BadRequestError, match="did not print what the recorded answer expects"
    ) as refused:
        ask(client, "What is the lowest loss?", bad, conversation=conversation.id, **options)
    assert refused.value.code == "workshop_strict"
    assert "What is the lowest loss?" in str(refused.value)
    # The conversation is free, and what fits is answered, with code that ran once.
    InProcess.made.clear()
    done = ask(client, "What is the lowest loss?", good, conversation=conversation.id)
    assert "3.0 of 1 rows" in done.output_text
    assert [len(kernel.codes) for kernel in InProcess.made] == [1]
    api.close()


def test_links_to_files_are_found_whatever_their_names():
    files = {"a b.csv": "cfile_1", "out/t(1).csv": "cfile_2", "c.csv": "cfile_3"}
    text = "[x](sandbox:/mnt/data/a%20b.csv) [y](sandbox:/mnt/data/out/t(1).csv) ![z](sandbox:/mnt/data/a b.csv) c.csv"
    found = file_citations(text, "cntr_1", files)
    assert [(each["file_id"], each["filename"]) for each in found] == [
        ("cfile_1", "a b.csv"),
        ("cfile_2", "t(1).csv"),
        ("cfile_1", "a b.csv"),
    ]
    assert all(
        text[each["start_index"] : each["end_index"]].startswith("sandbox:/mnt/data/") for each in found
    )


# -- giving up ------------------------------------------------------------------------------------------------------


def test_an_abandoned_stream_runs_no_code_and_frees_the_conversation(client, kernels):
    conversation = client.conversations.create()
    with ask(client, "Wait.", conversation=conversation.id, stream=True) as stream:
        for event in stream:
            if event.type == f"response.{CALL}.interpreting":
                break
    assert kernels == []
    assert calls_of(ask(client, "Repair it.", conversation=conversation.id))


def test_cancelling_a_background_response_interrupts_its_code(client, kernels):
    response = ask(client, "Wait.", background=True)
    client.responses.retrieve(response.id)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(client.responses.retrieve(response.id)))
    thread.start()
    while not kernels:
        thread.join(0.01)
    assert kernels[0].waiting.wait(10)
    assert client.responses.cancel(response.id).status == "cancelled"
    thread.join(10)
    assert kernels[0].interrupted
    assert seen[0].status == "cancelled"


def test_async_the_event_loop_stays_free_and_cancelling_interrupts(api, kernels):
    async def main():
        client = make_async_client(api)
        task = asyncio.create_task(ask(client, "Wait."))
        while not (kernels and kernels[-1].waiting.is_set()):
            await asyncio.sleep(0.01)  # the loop goes on while the code runs
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert kernels[-1].interrupted

        async def read():
            async for _ in await ask(client, "Wait.", stream=True):
                pass

        task = asyncio.create_task(read())
        while not (len(kernels) == 2 and kernels[-1].waiting.is_set()):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert kernels[-1].interrupted
        response = await ask(client, "Repair it.")
        assert response.output_text == "It is 42."
        assert kernels[-1].threads[0] != threading.main_thread().name
        await client.close()

    asyncio.run(main())


def test_an_interrupt_of_the_cell_interrupts_the_code(client, kernels, monkeypatch):
    def interrupted(self, code):
        raise KeyboardInterrupt

    monkeypatch.setattr(InProcess, "run", interrupted)
    conversation = client.conversations.create()
    with pytest.raises(KeyboardInterrupt):
        ask(client, "Repair it.", conversation=conversation.id)
    assert kernels[0].interrupted
    monkeypatch.undo()
    assert ask(client, "Repair it.", conversation=conversation.id).output_text == "It is 42."


def test_closing_the_api_closes_the_kernels(recordings, clock, kernels):
    api = LocalAPI(recordings=recordings, clock=clock, kernels=InProcess)
    ask(make_client(api), "Repair it.")
    api.close()
    assert kernels[0].closed


def test_a_cut_while_code_is_written_runs_nothing(client, kernels):
    response = ask(client, "What is the lowest loss?", max_output_tokens=16, reasoning={"effort": "none"})
    assert response.status == "incomplete"
    assert calls_of(response)[0].status == "incomplete"
    assert kernels == []


# -- the offline helper ---------------------------------------------------------------------------------------------

TABLE = "step,loss,note\n0,10.9,a\n1,,b\n2,4.5\n3,3.28,c,d\n4,3.1,`e`\n"


@pytest.fixture(autouse=True)
def _no_windows(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")


def describe(client, content, name="my log's.csv", **options):
    file = upload(client, name, content if isinstance(content, bytes) else content.encode())
    return ask(client, "What is in it?", file, include=[INCLUDE], **options)


def test_it_describes_a_table_by_running_real_code(client):
    response = describe(client, TABLE)
    assert response.metadata == {"workshop_source": "offline helper"}
    (call,) = calls_of(response)
    text = response.output_text
    assert "I ran code that describes the table `my log's.csv`." in text
    assert f"my log's.csv: {len(TABLE)} bytes, 3 rows, 3 columns" in text
    assert "2 broken rows have another number of columns and were left out (rows 4, 5)." in text
    assert "- step: numbers from 0 to 4, mean 1.66667; 0 missing" in text
    assert "- loss: numbers from 3.1 to 10.9, mean 7; 1 missing" in text
    assert "- note: texts, such as '`e`', 'a', 'b'; 0 missing" in text
    assert "plt.show()" in call.code
    assert call.outputs[-1].logs in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("größe;wert\nä;1\n".encode("cp1252"), "It is not UTF-8, so it was read as Windows-1252"),
        ("a\tb\n1\t2\n3\t4\n".encode("utf-16"), "- b: numbers from 2 to 4"),
        (b"\xef\xbb\xbfa,b\n1,2\n", "- a: numbers from 1 to 1"),
        (b"PK\x03\x04zip", "cannot be read as a table: it is a ZIP archive or an Excel file"),
        (b"a,b\n\x00\x01", "it holds zero bytes, so it is no text"),
        (b"\n\n", "there is nothing in it"),
        (b'a,b\n"never closed\n', "- a: empty"),
        (b"a\nnan\ninf\n1e999\n2\n", "- a: 1 numbers and 2 texts"),
        (b"only\nwords\n", "No column holds only numbers, so there is no plot."),
    ],
)
def test_it_copes_with_tables_that_are_not_as_they_should_be(client, content, words):
    assert words in describe(client, content).output_text


def test_it_reads_only_the_beginning_of_a_very_large_table(client):
    response = describe(client, "a,b\n" + "1,2\n" * 320_000)
    assert "the first 300,000 rows" in response.output_text
    assert "It is large, so only its beginning was read." in response.output_text


def test_it_says_that_it_cannot_read_excel_if_it_cannot(client, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    response = describe(client, b"PK", name="sheet.xlsx")
    assert (
        "reading Excel needs openpyxl, which is not installed here. Save the sheet as CSV."
        in response.output_text
    )


def test_it_takes_the_table_that_is_named_and_those_in_the_container(client):
    files = [upload(client, name, b"n\n1\n") for name in ("a.csv", "b.tsv", "c.txt")]
    assert "the table `a.csv`" in ask(client, "Look.", *files).output_text
    response = ask(client, "Look at B.TSV!", *files)
    assert "the table `b.tsv`" in response.output_text
    (call,) = calls_of(response)
    mine = {"type": "code_interpreter", "container": call.container_id}
    assert "the table `b.tsv`" in ask(client, "And b.tsv?", tools=[mine]).output_text
    assert calls_of(ask(client, "Look.", files[2])) == []


def test_it_searches_and_describes_if_both_are_there(client):
    store = client.vector_stores.create(name="notes")
    client.vector_stores.files.upload_and_poll(
        vector_store_id=store.id, file=("notes.md", b"Zebras eat a lot of grass.")
    )
    search = {"type": "file_search", "vector_store_ids": [store.id]}
    file = upload(client, "t.csv", b"n\n1\n")
    response = ask(client, "zebras?", tools=[search, tool(file)])
    assert [item.type for item in response.output if item.type != "reasoning"] == [
        "file_search_call",
        CALL,
        "message",
    ]
    (citation,) = citations_of(response)
    assert response.output_text[: citation.index].endswith("`Zebras eat a lot of grass.`")
    assert "n: numbers from 1 to 1" in response.output_text


# -- in the real sandbox --------------------------------------------------------------------------------------------


def test_all_of_it_in_the_real_sandbox(tmp_path, clock):
    (tmp_path / "turns.yaml").write_text(REAL, encoding="utf-8")
    api = LocalAPI(recordings=tmp_path, clock=clock)
    client = make_client(api)
    file = upload(client, "my log.csv", b"loss\n10.9\n3.28\n")
    conversation = client.conversations.create()
    response = ask(client, "Plot it.", file, conversation=conversation.id, include=[INCLUDE])
    (call,) = calls_of(response)
    assert [output.type for output in call.outputs] == ["image", "logs"]
    picture = base64.b64decode(call.outputs[0].url.removeprefix("data:image/png;base64,"))
    assert picture.startswith(b"\x89PNG")
    assert call.outputs[1].logs.strip() == "rows=2\n'done'"
    assert response.output_text == "2 rows: [table](sandbox:/mnt/data/out.csv)"
    plot, table = citations_of(response)
    content = client.containers.files.content.retrieve
    assert content(plot.file_id, container_id=call.container_id).read() == picture
    assert content(table.file_id, container_id=call.container_id).read() == b"rows\n2\n"
    paths = {file.path: file.source for file in client.containers.files.list(call.container_id)}
    assert paths == {
        "/mnt/data/my log.csv": "user",
        "/mnt/data/out.csv": "assistant",
        f"/mnt/data/{plot.file_id}.png": "assistant",
    }
    # The offline helper's code runs there as well, and names are kept between the two.
    helped = ask(client, "What is in my log.csv?", file, conversation=conversation.id, include=[INCLUDE])
    assert "- loss: numbers from 3.28 to 10.9, mean 7.09; 0 missing" in helped.output_text
    assert [output.type for output in calls_of(helped)[0].outputs] == ["image", "logs"]
    again = ask(client, "Still there?", conversation=conversation.id)
    assert again.output_text == "2 rows."
    api.close()


REAL = r"""
source: authored
exchanges:
  - ask: Plot it.
    tools: [code_interpreter]
    steps:
      - run: |
          import csv
          import matplotlib.pyplot as plt
          with open("my log.csv") as file:
              rows = [float(row["loss"]) for row in csv.DictReader(file)]
          print(f"rows={len(rows)}")
          with open("out.csv", "w") as file:
              file.write(f"rows\n{len(rows)}\n")
          plt.plot(rows)
          plt.show()
          "done"
        prints: 'rows=(?P<rows>\d+)'
      - say: |
          {rows} rows: [table](sandbox:/mnt/data/out.csv)
  - ask: Still there?
    tools: [code_interpreter]
    steps:
      - run: len(rows)
        prints: '(?P<rows>\d+)'
      - say: |
          {rows} rows.
"""
