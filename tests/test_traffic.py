"""The ledger and the meter fill themselves from the client's traffic, and cleaning up leaves nothing."""

import asyncio
import gc
import json
import signal

import httpx2
import openai
import pytest

from helpers import SpendLimitReached, cleanup, connect, ledger_of
from helpers.errors import NotTheAPI
from helpers.ledger import Account, ledger_for, register
from helpers.traffic import AsyncWatchedClient, WatchedClient, Watcher

USAGE = {
    "input_tokens": 1_000_000,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 1_000_000,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 2_000_000,
}  # $0.10 + $0.50 with gpt-6-luna


def response_body(id="resp_1", **changes):
    return {"id": id, "object": "response", "model": "gpt-6-luna", "store": True, "output": [], **changes}


def sse(*events):
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()


class Server:
    """Answers from a table of (method, path) and remembers what it was asked."""

    def __init__(self, table):
        self.table = table
        self.asked = []

    def __call__(self, request):
        path = request.url.path.removeprefix("/v1")
        self.asked.append((request.method, path))
        answer = self.table.get((request.method, path))
        if answer is None:
            answer = (
                404,
                {"error": {"message": "gone", "type": "invalid_request_error", "param": None, "code": None}},
            )
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx2.Response):
            return answer
        if isinstance(answer, bytes):
            chunks = [
                answer[at : at + 7] for at in range(0, len(answer), 7)
            ]  # cut anywhere, as a network does
            return httpx2.Response(
                200, content=iter(chunks), headers={"content-type": "text/event-stream; charset=utf-8"}
            )
        status, body = answer
        return httpx2.Response(status, json=body)


_fingerprints = iter(range(10_000))


def connected(table, limit_usd=None):
    server = Server(table)
    account = Account("live", "api.openai.com", f"test-{next(_fingerprints)}")
    watcher = Watcher(ledger_for(account), limit_usd)
    client = openai.OpenAI(
        api_key="sk-planted-0123456789",
        max_retries=0,
        http_client=WatchedClient(watcher, transport=httpx2.MockTransport(server)),
    )
    register(client, account)
    return client, server


def ids(client):
    return [(entry.kind, entry.id) for entry in ledger_of(client).entries]


def test_what_is_created_is_noted_and_what_is_deleted_is_forgotten():
    client, _ = connected(
        {
            ("POST", "/conversations"): (200, {"id": "conv_1", "object": "conversation"}),
            ("DELETE", "/conversations/conv_1"): (
                200,
                {"id": "conv_1", "object": "conversation.deleted", "deleted": True},
            ),
            ("POST", "/vector_stores"): (200, {"id": "vs_1", "object": "vector_store", "name": "Notes"}),
            ("POST", "/files"): (200, {"id": "file-1", "object": "file", "filename": "notes.md"}),
            ("POST", "/responses"): (200, response_body()),
        }
    )
    client.conversations.create()
    client.vector_stores.create(name="Notes")
    client.files.create(file=("notes.md", b"text"), purpose="assistants")
    client.with_options(timeout=3).responses.create(model="gpt-6-luna", input="Hello")
    assert ids(client) == [
        ("response", "resp_1"),
        ("conversation", "conv_1"),
        ("vector store", "vs_1"),
        ("file", "file-1"),
    ]
    assert "notes.md" in repr(ledger_of(client))
    client.conversations.delete("conv_1")
    assert ("conversation", "conv_1") not in ids(client)


def test_a_file_that_is_taken_out_of_a_store_is_still_there():
    taken_out = {"id": "file-1", "object": "vector_store.file.deleted", "deleted": True}
    client, _ = connected(
        {
            ("POST", "/files"): (200, {"id": "file-1", "object": "file", "filename": "notes.md"}),
            ("DELETE", "/vector_stores/vs_1/files/file-1"): (200, taken_out),
        }
    )
    client.files.create(file=("notes.md", b"text"), purpose="assistants")
    client.vector_stores.files.delete("file-1", vector_store_id="vs_1")
    assert ids(client) == [("file", "file-1")]


def test_looking_at_something_made_elsewhere_does_not_make_it_ours():
    client, server = connected(
        {
            ("GET", "/responses/resp_other"): (200, response_body("resp_other", usage=USAGE)),
            ("GET", "/vector_stores/vs_other"): (200, {"id": "vs_other", "object": "vector_store"}),
        }
    )
    client.responses.retrieve("resp_other")
    client.vector_stores.retrieve("vs_other")
    assert ids(client) == []
    assert ledger_of(client).meter.price_usd == 0
    server.asked.clear()
    cleanup(client)
    assert server.asked == []


def test_a_response_that_is_not_stored_needs_no_removal():
    client, _ = connected({("POST", "/responses"): (200, response_body(store=False))})
    client.responses.create(model="gpt-6-luna", input="Hello", store=False)
    assert ids(client) == []


def test_a_stream_is_read_as_it_passes_and_arrives_unchanged():
    item = {
        "id": "ci_1",
        "type": "code_interpreter_call",
        "container_id": "cntr_1",
        "status": "completed",
        "code": "1",
    }
    events = [
        {"type": "response.created", "sequence_number": 0, "response": response_body()},
        {
            "type": "response.output_text.delta",
            "sequence_number": 1,
            "delta": '"response.created" née 🙂\u2028',
        },
        {"type": "response.output_item.done", "sequence_number": 2, "output_index": 0, "item": item},
        {"type": "response.completed", "sequence_number": 3, "response": response_body(usage=USAGE)},
    ]
    client, _ = connected({("POST", "/responses"): sse(*events)})
    with client.responses.create(model="gpt-6-luna", input="Hello", stream=True) as stream:
        assert [event.type for event in stream] == [event["type"] for event in events]
    assert ids(client) == [("response", "resp_1"), ("container", "cntr_1")]
    meter = ledger_of(client).meter
    assert (meter.responses, meter.tokens) == (1, 2_000_000)
    assert meter.price_usd == pytest.approx(0.60 + 0.03)


def test_a_container_is_noted_as_soon_as_its_code_is_announced():
    item = {
        "id": "ci_1",
        "type": "code_interpreter_call",
        "container_id": "cntr_1",
        "status": "in_progress",
        "code": "",
    }
    events = [
        {"type": "response.created", "sequence_number": 0, "response": response_body()},
        {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": item},
    ]
    client, _ = connected({("POST", "/responses"): sse(*events)})
    with client.responses.create(model="gpt-6-luna", input="Hello", stream=True) as stream:
        list(stream)  # cut here, as by an interrupt while the code runs
    assert ids(client) == [("response", "resp_1"), ("container", "cntr_1")]


class Interrupting(httpx2.BaseTransport):
    """Answers in this process, and is interrupted right after it has created something."""

    def __init__(self, answer):
        self.answer = answer
        self.closed = []

    def handle_request(self, request):
        response = self.answer(request)
        response.request = request
        close, stream = self.closed.append, response.stream

        class Stream(httpx2.SyncByteStream):
            def __iter__(self):
                yield from stream

            def close(self):
                close(request.url.path)

        response.stream = Stream()
        signal.raise_signal(signal.SIGINT)
        return response


def interrupted(table):
    transport = Interrupting(Server(table))
    account = Account("recorded", "test", f"test-{next(_fingerprints)}")
    watcher = Watcher(ledger_for(account))
    http_client = httpx2.Client(transport=watcher.transport(transport))
    client = openai.OpenAI(api_key="none", max_retries=0, http_client=http_client)
    register(client, account)
    return client, transport


def test_an_interrupt_waits_until_what_was_created_is_noted():
    client, _ = interrupted({("POST", "/conversations"): (200, {"id": "conv_1", "object": "conversation"})})
    with pytest.raises(KeyboardInterrupt):
        client.conversations.create()
    assert ids(client) == [("conversation", "conv_1")]


def test_a_stream_that_is_interrupted_before_anybody_has_it_is_noted_and_closed():
    events = [{"type": "response.created", "sequence_number": 0, "response": response_body()}]
    client, transport = interrupted({("POST", "/responses"): sse(*events, *events, *events)})
    with pytest.raises(KeyboardInterrupt):
        client.responses.create(model="gpt-6-luna", input="Hello", stream=True)
    assert ids(client) == [("response", "resp_1")]
    assert transport.closed == ["/v1/responses"]


def test_a_container_that_no_answer_named_is_cleaned_up_in_recorded_mode(capsys):
    client = connect("recorded")
    assistant = {
        "model": "gpt-6-luna",
        "instructions": "Use the python tool for every number. Say in plain words what it means.",
        "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}],
    }
    question = "Wait until the training has finished."
    stream = client.responses.create(input=question, stream=True, **assistant)
    stream.close()  # before it names its container
    there = [container.id for container in client.containers.list()]
    assert len(there) == 1
    assert not ledger_of(client).has(there[0])
    cleanup(client)
    assert list(client.containers.list()) == []
    client.close()


def test_a_response_that_is_polled_is_paid_once():
    done = (200, response_body(usage=USAGE, status="completed"))
    client, _ = connected(
        {("POST", "/responses"): (200, response_body(status="queued")), ("GET", "/responses/resp_1"): done}
    )
    client.responses.create(model="gpt-6-luna", input="Hello", background=True)
    for _ in range(3):
        client.responses.retrieve("resp_1")
    assert ledger_of(client).meter.price_usd == pytest.approx(0.60)


def test_file_searches_cost_a_quarter_of_a_cent_each():
    search = {"type": "file_search_call", "id": "fs_1", "status": "completed", "queries": []}
    client, _ = connected(
        {("POST", "/responses"): (200, response_body(usage=USAGE, output=[search, search]))}
    )
    client.responses.create(model="gpt-6-luna", input="Hello")
    assert ledger_of(client).meter.price_usd == pytest.approx(0.60 + 0.005)


def test_the_limit_stops_the_next_request_but_never_the_cleaning_up(capsys):
    client, server = connected(
        {
            ("POST", "/responses"): (200, response_body(usage=USAGE)),
            ("DELETE", "/responses/resp_1"): (200, {"id": "resp_1", "object": "response", "deleted": True}),
        },
        limit_usd=0.50,
    )
    client.responses.create(model="gpt-6-luna", input="Hello")
    sent = len(server.asked)
    with pytest.raises(SpendLimitReached, match=r"limit of \$0\.50 is used up") as caught:
        client.with_options(max_retries=2).responses.create(model="gpt-6-luna", input="Hello again")
    assert len(server.asked) == sent, "nothing may be sent once the limit is reached"
    assert "sk-planted" not in str(caught.value)
    cleanup(client)
    assert capsys.readouterr().out == "deleted 1 response · 0 left\n"


def test_cleanup_deletes_items_first_and_treats_404_as_done(capsys):
    item = {"id": "msg_1", "type": "message", "role": "user", "status": "completed", "content": []}
    table = {
        ("POST", "/conversations"): (200, {"id": "conv_1", "object": "conversation"}),
        ("POST", "/vector_stores"): (200, {"id": "vs_1", "object": "vector_store"}),
        ("GET", "/conversations/conv_1/items"): (
            200,
            {"object": "list", "data": [item], "has_more": False, "first_id": "msg_1", "last_id": "msg_1"},
        ),
        ("DELETE", "/conversations/conv_1/items/msg_1"): (200, {"id": "conv_1", "object": "conversation"}),
        ("DELETE", "/conversations/conv_1"): (
            200,
            {"id": "conv_1", "object": "conversation.deleted", "deleted": True},
        ),
    }
    client, server = connected(table)
    client.conversations.create()
    client.vector_stores.create()
    report = cleanup(client)
    assert capsys.readouterr().out == "deleted 1 conversation (1 item) · 1 already gone · 0 left\n"
    assert [entry.id for entry in report.already_gone] == ["vs_1"]
    deletions = [path for method, path in server.asked if method == "DELETE"]
    assert deletions[:2] == ["/conversations/conv_1/items/msg_1", "/conversations/conv_1"]
    assert ids(client) == []


def test_what_cannot_be_deleted_is_told_and_kept_for_the_next_try(capsys):
    refusal = {
        "error": {"message": "Not allowed", "type": "invalid_request_error", "param": None, "code": None}
    }
    client, server = connected(
        {
            ("POST", "/vector_stores"): (200, {"id": "vs_1", "object": "vector_store"}),
            ("DELETE", "/vector_stores/vs_1"): (403, refusal),
        }
    )
    client.vector_stores.create()
    cleanup(client)
    said = capsys.readouterr().out
    assert said.startswith("deleted nothing · 1 left\n")
    assert "still there: vector store vs_1: OpenAI refused this key: Not allowed." in said
    server.table["DELETE", "/vector_stores/vs_1"] = (
        200,
        {"id": "vs_1", "object": "vector_store.deleted", "deleted": True},
    )
    cleanup(client)
    assert capsys.readouterr().out == "deleted 1 vector store · 0 left\n"


def test_an_item_that_is_gone_does_not_pass_for_the_conversation(capsys):
    items = [{"id": f"msg_{number}", "type": "message", "role": "user", "content": []} for number in (1, 2)]
    page = {"object": "list", "data": items, "has_more": False, "first_id": "msg_1", "last_id": "msg_2"}
    gone = {"id": "conv_1", "object": "conversation.deleted", "deleted": True}
    client, server = connected(
        {
            ("POST", "/conversations"): (200, {"id": "conv_1", "object": "conversation"}),
            ("GET", "/conversations/conv_1/items"): (200, page),
            ("DELETE", "/conversations/conv_1/items/msg_2"): (
                200,
                {"id": "conv_1", "object": "conversation"},
            ),
            ("DELETE", "/conversations/conv_1"): (200, gone),
        }
    )
    client.conversations.create()
    cleanup(client)
    assert capsys.readouterr().out == "deleted 1 conversation (1 item) · 0 left\n"
    assert server.asked[-1] == ("DELETE", "/conversations/conv_1")


def test_a_response_that_cannot_be_deleted_is_told_with_the_reason_for_that(capsys):
    def refused(message):
        return (400, {"error": {"message": message, "type": "x", "param": None, "code": None}})

    client, _ = connected(
        {
            ("POST", "/responses"): (200, response_body()),
            ("DELETE", "/responses/resp_1"): refused("It is under review."),
            ("POST", "/responses/resp_1/cancel"): refused("Cannot cancel a synchronous response."),
        }
    )
    client.responses.create(model="gpt-6-luna", input="Hello")
    cleanup(client)
    assert "It is under review." in capsys.readouterr().out


def html(status=200):
    page = "<!DOCTYPE html><html>Welcome to the Wi-Fi</html>"
    return httpx2.Response(status, text=page, headers={"content-type": "text/html"})


@pytest.mark.parametrize("status", [200, 404])
def test_a_sign_in_page_does_not_pass_for_a_deletion(capsys, status):
    stored = ("POST", "/vector_stores"), (200, {"id": "vs_1", "object": "vector_store"})
    client, _ = connected(dict([stored, (("DELETE", "/vector_stores/vs_1"), html(status))]))
    client.vector_stores.create()
    cleanup(client)
    said = capsys.readouterr().out
    assert said.startswith("deleted nothing · 1 left\n  still there: vector store vs_1: A web page came")
    assert ids(client) == [("vector store", "vs_1")]


def text(content, kind="application/json"):
    return httpx2.Response(200, text=content, headers={"content-type": kind})


@pytest.mark.parametrize(
    "answer",
    [
        html(),
        text('{"id": "conv_1", "obj'),
        text('{"status": "ok"}'),
        text("[]"),
        text(""),
        text('{"id": "conv_1", "object": "conversation"}', "text/plain"),
    ],
    ids=["a web page", "half of an answer", "another service", "a list", "nothing", "another type"],
)
def test_what_is_no_answer_of_the_api_is_refused_in_a_sentence(answer):
    client, _ = connected({("POST", "/conversations"): answer})
    with pytest.raises(NotTheAPI, match=r"came in place of|could not be read"):
        client.conversations.create()


def test_answers_of_other_kinds_pass():
    empty = httpx2.Response(204)
    client, _ = connected(
        {
            ("DELETE", "/containers/cntr_1"): empty,
            ("GET", "/containers/cntr_1/files/cfile_1/content"): html(),
            ("GET", "/files/file-1/content"): text("just text", "text/plain"),
            ("POST", "/audio/transcriptions"): text("Hello.", "text/plain"),
        }
    )
    client.containers.delete("cntr_1")
    content = client.containers.files.content.retrieve("cfile_1", container_id="cntr_1")
    assert content.read().startswith(b"<!DOCTYPE")
    assert client.files.content("file-1").text == "just text"
    file = ("a.wav", b"RIFF")
    assert client.audio.transcriptions.create(file=file, model="x", response_format="text") == "Hello."


def test_a_stream_whose_type_a_proxy_changed_is_noted_all_the_same():
    events = sse({"type": "response.created", "sequence_number": 0, "response": response_body()})
    answer = httpx2.Response(200, content=iter([events]), headers={"content-type": "text/plain"})
    client, _ = connected({("POST", "/responses"): answer})
    stream = client.responses.create(model="gpt-6-luna", input="Hello", stream=True)
    assert [event.type for event in stream] == ["response.created"]
    assert ids(client) == [("response", "resp_1")]


def test_a_container_is_noted_as_soon_as_it_is_named():
    item = {"id": "ci_1", "type": "code_interpreter_call", "container_id": "cntr_1", "code": ""}
    events = [
        {"type": "response.created", "sequence_number": 0, "response": response_body()},
        {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": item},
    ]
    client, _ = connected({("POST", "/responses"): sse(*events)})
    list(client.responses.create(model="gpt-6-luna", input="Hello", stream=True))
    assert ids(client) == [("response", "resp_1"), ("container", "cntr_1")]


@pytest.mark.parametrize(
    ("answer", "is_perhaps_there"),
    [
        (httpx2.ReadTimeout("slow"), True),
        (httpx2.RemoteProtocolError("Server disconnected"), True),
        (httpx2.ConnectError("no route"), False),
        (httpx2.WriteError("Broken pipe"), False),
        ((403, {"error": {"message": "No.", "type": "x", "param": None, "code": None}}), False),
        (html(), False),
        (httpx2.Response(302, headers={"location": "https://portal.invalid/"}), False),
    ],
    ids=["timeout", "cut", "no connection", "half sent", "refused", "web page", "sent elsewhere"],
)
def test_what_was_created_and_never_answered_is_told_once(capsys, answer, is_perhaps_there):
    client, server = connected({("POST", "/conversations"): answer})
    server.table["GET", "/"] = html()
    with pytest.raises(openai.OpenAIError):
        client.conversations.create()
    assert ("perhaps there" in repr(ledger_of(client))) == is_perhaps_there
    cleanup(client)
    said = capsys.readouterr().out
    assert said.startswith("deleted nothing · 0 left\n")
    assert ("perhaps there: 1 conversation (the connection broke" in said) == is_perhaps_there
    cleanup(client)
    assert "perhaps" not in capsys.readouterr().out


@pytest.mark.parametrize("first", [True, False])
def test_a_stream_that_breaks_before_it_names_its_response_is_one_of_these(first):
    created = {"type": "response.created", "sequence_number": 0, "response": response_body()}
    client, _ = connected({("POST", "/responses"): sse(*[created] * first)})
    list(client.responses.create(model="gpt-6-luna", input="Hello", stream=True))
    assert ledger_of(client).unanswered == ([] if first else ["response"])
    list(client.responses.create(model="gpt-6-luna", input="Hello", stream=True, store=False))
    assert ledger_of(client).unanswered == ([] if first else ["response"]), (
        "one that is not stored is not there"
    )


def test_another_client_has_its_own_list_even_where_memory_is_used_again():
    client, _ = connected({("POST", "/conversations"): (200, {"id": "conv_1", "object": "conversation"})})
    client.conversations.create()
    del client
    gc.collect()
    for _ in range(20):
        stranger = openai.OpenAI(api_key="sk-planted-0123456789")
        assert len(ledger_of(stranger)) == 0
        stranger.close()


def test_the_asynchronous_hooks_note_the_same():
    events = [
        {"type": "response.created", "sequence_number": 0, "response": response_body()},
        {"type": "response.completed", "sequence_number": 1, "response": response_body(usage=USAGE)},
    ]
    account = Account("live", "api.openai.com", "async")
    watcher = Watcher(ledger_for(account), 0.50)

    async def handler(request):
        if request.url.path.endswith("/conversations"):
            return httpx2.Response(200, json={"id": "conv_1", "object": "conversation"})
        if request.url.path.endswith("/vector_stores"):
            raise httpx2.ConnectError("no route")
        if request.method == "GET":
            return html() if request.url.path.endswith("/files") else text("")

        async def chunks():
            yield sse(*events)

        return httpx2.Response(200, content=chunks(), headers={"content-type": "text/event-stream"})

    async def main():
        http_client = AsyncWatchedClient(watcher, transport=httpx2.MockTransport(handler))
        async with openai.AsyncOpenAI(api_key="sk-planted-0123456789", http_client=http_client) as client:
            register(client, account)
            await client.conversations.create()
            async with await client.responses.create(
                model="gpt-6-luna", input="Hello", stream=True
            ) as stream:
                assert [event.type async for event in stream] == ["response.created", "response.completed"]
            with pytest.raises(SpendLimitReached):
                await client.responses.create(model="gpt-6-luna", input="Hello")
            for path in ("/files", "/models/x"):
                with pytest.raises(NotTheAPI):
                    await client.get(path, cast_to=object)
            with pytest.raises(openai.APIConnectionError):
                await client.with_options(max_retries=0).vector_stores.create()
            assert ledger_of(client).unanswered == []
            return ids(client)

    assert asyncio.run(main()) == [("response", "resp_1"), ("conversation", "conv_1")]


def test_the_fingerprint_of_a_key_does_not_hold_the_key():
    account = Account.of("live", "api.openai.com", "sk-planted-0123456789")
    assert "planted" not in repr(account)
    assert account == Account.of("live", "api.openai.com", "sk-planted-0123456789")
    assert account != Account.of("live", "api.openai.com", "sk-another-0123456789")
