"""The API on a port: the official SDK over real sockets, what each key owns, disconnects, and HTTP that is not."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import httpx2
import openai
import pytest

from helpers.local_api import LocalAPI, __main__, serving
from helpers.local_api.errors import APIError
from tests.local_api.conftest import DATA, MODEL, make_client
from tests.local_api.kernels import InProcess

RECORDINGS = DATA / "other_clients.yaml"
LONG = {"model": MODEL, "input": "Say it long."}
# More than the buffers of both sides hold, so a server that is not read stops in the middle of its events.
LARGE_TEXT = "Answer well. " * 30_000
RECEIVE_BYTES = 64 * 1024
NOTES = ("notes.md", b"# Notes\n\nThe promised loss is 3.28.\n")
LOG = ("log.csv", b"step,loss\n10,4.5\n20,3.2\n30,3.4\n")


class Log:
    """Collects the lines of the server; a test can wait for one."""

    def __init__(self):
        self.lines = []
        self.changed = threading.Condition()

    def __call__(self, line):
        with self.changed:
            self.lines.append(line)
            self.changed.notify_all()

    def wait_for(self, text):
        with self.changed:
            found = self.changed.wait_for(lambda: any(text in line for line in self.lines), timeout=60)
        assert found, f"{text!r} is not in {self.lines}"


@pytest.fixture
def log():
    return Log()


@pytest.fixture
def url(log):
    with serving.serving(recordings=RECORDINGS, log=log) as url:
        yield url


@pytest.fixture
def client(url):
    with connect(url) as client:
        yield client


# A fixed buffer, because the system would let it grow with what arrives.
SMALL = {
    "socket_options": [(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)],
    "limits": httpx2.Limits(max_connections=None, max_keepalive_connections=None),
}


def connect(url, key="any", **options):
    http = httpx2.Client(transport=httpx2.HTTPTransport(**SMALL), timeout=60)
    return openai.OpenAI(
        base_url=url, api_key=key, http_client=http, _strict_response_validation=True, **options
    )


def connect_async(url, **options):
    http = httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(**SMALL), timeout=60)
    return openai.AsyncOpenAI(base_url=url, api_key="any", http_client=http, **options)


def address(url):
    return httpx2.URL(url).host, httpx2.URL(url).port


def exchange(url, request):
    """What the server answers to some bytes; the connection stays open on this side until it closes."""
    with socket.create_connection(address(url), timeout=60) as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(65536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return head.decode(), body


# -- the same API ---------------------------------------------------------------------------------------------------


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if not key.endswith("_at")}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def test_a_port_answers_as_the_process_does(client):
    def everything(client):
        conversation = client.conversations.create(metadata={"topic": "GPT-2"})
        events = list(client.responses.create(**LONG, conversation=conversation.id, stream=True))
        items = client.conversations.items.list(conversation.id, order="asc")
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(**LONG, prompt={"id": "x"})
        with pytest.raises(openai.NotFoundError) as unknown:
            client.conversations.retrieve("conv_unknown")
        answers = [conversation, *events, *items.data]
        return [without_times(each.to_dict()) for each in answers], refused.value.body, unknown.value.body

    with contextlib.closing(LocalAPI(recordings=RECORDINGS)) as api:
        inside = everything(make_client(api))
    assert everything(client) == inside


def test_file_search_with_an_upload(client):
    store = client.vector_stores.create(name="notes")
    client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=NOTES)
    response = client.responses.create(
        model=MODEL,
        input="Which loss do the notes promise?",
        tools=[{"type": "file_search", "vector_store_ids": [store.id]}],
        include=["file_search_call.results"],
    )
    call = next(item for item in response.output if item.type == "file_search_call")
    assert [result.filename for result in call.results] == ["notes.md"]
    (annotation,) = response.output[-1].content[0].annotations
    assert (annotation.type, annotation.filename) == ("file_citation", "notes.md")


def test_the_code_interpreter_and_a_download(url):
    with serving.serving(recordings=RECORDINGS, kernels=InProcess) as url, connect(url) as client:
        log = client.files.create(file=LOG, purpose="user_data")
        tool = {"type": "code_interpreter", "container": {"type": "auto", "file_ids": [log.id]}}
        stream = client.responses.create(
            model=MODEL, input="Which step of the log is the best?", tools=[tool], stream=True
        )
        *_, last = stream
        assert last.response.output_text == "Step 20, with a loss of 3.2."
        container = next(
            item for item in last.response.output if item.type == "code_interpreter_call"
        ).container_id
        (file,) = client.containers.files.list(container).data
        assert client.containers.files.content.retrieve(file.id, container_id=container).read() == LOG[1]


def test_a_large_upload_arrives_and_comes_back_byte_for_byte(client):
    content = os.urandom(3_000_000)
    file = client.files.create(file=("notes.bin", content), purpose="batch")
    assert file.bytes == len(content)
    assert client.files.content(file.id).read() == content


def test_the_async_client(url):
    async def main():
        async with connect_async(url) as client:
            store = await client.vector_stores.create()
            await client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=NOTES)
            async with client.responses.stream(
                model=MODEL,
                input="Which loss do the notes promise?",
                tools=[{"type": "file_search", "vector_store_ids": [store.id]}],
            ) as stream:
                events = [event.type async for event in stream]
                return events, (await stream.get_final_response()).output_text

    events, text = asyncio.run(main())
    assert events[0] == "response.created"
    assert events[-1] == "response.completed"
    assert text == "They promise a loss of 3.28."


def test_connections_are_used_again(url, monkeypatch):
    made = []
    whole = serving._Connection.connection_made
    monkeypatch.setattr(
        serving._Connection,
        "connection_made",
        lambda self, transport: (made.append(self), whole(self, transport)),
    )
    with connect(url) as client:
        for _ in range(3):
            client.models.list()
            list(client.responses.create(**LONG, stream=True))
    assert len(made) == 1


# -- many at once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [5, 50])
def test_async_streams_at_once_are_complete_and_interleaved(url, count):
    async def main():
        async with connect_async(url) as client:
            order = []

            async def one(name, stream):
                texts = []
                async for event in stream:
                    order.append(name)
                    if event.type == "response.output_text.delta":
                        texts.append(event.delta)
                return event.type, "".join(texts)

            request = {**LONG, "instructions": LARGE_TEXT, "stream": True}
            streams = await asyncio.gather(*(client.responses.create(**request) for _ in range(count)))
            firsts = [await anext(stream) for stream in streams]
            # The server holds all of them in the middle at the same time, by its own account.
            responses = await asyncio.gather(
                *(client.responses.retrieve(first.response.id) for first in firsts)
            )
            ends = await asyncio.gather(*(one(name, stream) for name, stream in enumerate(streams)))
            return [response.status for response in responses], ends, order

    statuses, ends, order = asyncio.run(main())
    assert statuses == ["in_progress"] * count
    assert {kind for kind, _ in ends} == {"response.completed"}
    (text,) = {text for _, text in ends}
    assert text.startswith("One two three")
    first_end = min(max(index for index, name in enumerate(order) if name == one) for one in range(count))
    assert set(order[:first_end]) == set(range(count))


def test_an_event_arrives_before_the_next_one_is_made(url):
    # With the buffers of both sides full of the first events, the last ones cannot have been made yet.
    async def main():
        async with connect_async(url) as client:
            stream = await client.responses.create(**LONG, instructions=LARGE_TEXT, stream=True)
            first = await anext(stream)
            status = (await client.responses.retrieve(first.response.id)).status
            kinds = [event.type async for event in stream]
            return first.type, status, kinds[-1], (await client.responses.retrieve(first.response.id)).status

    assert asyncio.run(main()) == ("response.created", "in_progress", "response.completed", "completed")


# -- clients that leave ---------------------------------------------------------------------------------------------


def test_a_client_that_leaves_cancels_its_response_and_frees_the_conversation(client, url, log):
    conversation = client.conversations.create()
    with connect(url) as other:
        stream = other.responses.create(
            **LONG, conversation=conversation.id, instructions=LARGE_TEXT, stream=True
        )
        response_id = next(stream).response.id
        stream.close()
        log.wait_for(f"/responses 200 {serving.LEFT}")
    assert client.responses.retrieve(response_id).status == "cancelled"
    assert client.conversations.items.list(conversation.id).data == []
    assert client.responses.create(**LONG, conversation=conversation.id).status == "completed"


def test_a_client_that_leaves_interrupts_the_code_that_it_waited_for(tmp_path, log):
    recordings = tmp_path / "waits.yaml"
    recordings.write_text(
        "source: authored\nexchanges:\n  - ask: |\n      Wait.\n    tools: [code_interpreter]\n    steps:\n"
        "      - run: |\n          wait()\n      - say: |\n          Done.\n"
    )
    body = {
        "model": MODEL,
        "input": "Wait.",
        "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}],
    }
    InProcess.made.clear()
    made = threading.Event()

    def kernel(folder, memory_bytes):
        found = InProcess(folder, memory_bytes)
        made.set()
        return found

    with serving.serving(recordings=recordings, kernels=kernel, log=log) as url:
        content = json.dumps(body).encode()
        with socket.create_connection(address(url), timeout=60) as connection:
            connection.sendall(
                b"POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer any\r\n"
                + f"Content-Length: {len(content)}\r\n\r\n".encode()
                + content
            )
            assert made.wait(60)
            assert InProcess.made[0].waiting.wait(60)
        log.wait_for(f"/responses {serving.LEFT}")
        assert InProcess.made[0].go_on.wait(60)
        assert InProcess.made[0].interrupted


def test_leaving_is_noticed_for_a_request_that_came_along_with_another(url, log):
    body = json.dumps({**LONG, "instructions": LARGE_TEXT, "stream": True}).encode()
    head = b"Host: localhost\r\nAuthorization: Bearer any\r\n"
    with socket.create_connection(address(url), timeout=60) as connection:
        connection.sendall(
            b"GET /v1/models HTTP/1.1\r\n%s\r\nPOST /v1/responses HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s"
            % (head, head, len(body), body)
        )
        received = b""
        while b"response.created" not in received:
            received += connection.recv(65536)
    log.wait_for(f"/responses 200 {serving.LEFT}")
    assert log.lines[0] == "GET /v1/models 200"


def test_ending_the_server_ends_streams_and_kernels():
    InProcess.made.clear()
    with serving.serving(recordings=RECORDINGS, kernels=InProcess) as url:
        client = connect(url, max_retries=0)
        log = client.files.create(file=LOG, purpose="user_data")
        tool = {"type": "code_interpreter", "container": {"type": "auto", "file_ids": [log.id]}}
        client.responses.create(model=MODEL, input="Which step of the log is the best?", tools=[tool])
        stream = client.responses.create(**LONG, instructions=LARGE_TEXT, stream=True)
        next(stream)
    assert [kernel.closed for kernel in InProcess.made] == [True]
    with pytest.raises(openai.APIConnectionError):
        list(stream)
    with pytest.raises(openai.APIConnectionError):
        client.models.list()
    client.close()


# -- what each key owns ---------------------------------------------------------------------------------------------


def test_keys_do_not_see_what_other_keys_made(url):
    with connect(url, "ada") as ada, connect(url, "grace") as grace:
        mine = ada.conversations.create()
        file = ada.files.create(file=NOTES, purpose="assistants")
        response = ada.responses.create(**LONG)
        # She makes as many things as the other one, so that equal ids would be found.
        others = grace.conversations.create(), grace.files.create(file=NOTES, purpose="assistants")
        assert {mine.id, file.id}.isdisjoint(each.id for each in others)
        grace.responses.create(**LONG)
        for call in (
            lambda: grace.conversations.retrieve(mine.id),
            lambda: grace.files.retrieve(file.id),
            lambda: grace.responses.retrieve(response.id),
            lambda: grace.responses.create(**LONG, previous_response_id=response.id),
        ):
            with pytest.raises(openai.NotFoundError):
                call()
        assert [each.id for each in grace.files.list()] == [others[1].id]
    with connect(url, "ada") as again:
        assert again.conversations.retrieve(mine.id) == mine


def test_a_key_is_needed_and_a_wrong_one_is_refused(url):
    with httpx2.Client() as bare:
        missing = bare.get(f"{url}/models")
    assert missing.status_code == 401
    assert "didn't provide an API key" in missing.json()["error"]["message"]
    with connect(url, "sk-wrong-one") as client, pytest.raises(openai.AuthenticationError) as refused:
        client.models.list()
    assert refused.value.code == "invalid_api_key"
    assert refused.value.request_id


class Made:
    """Makes APIs and remembers them."""

    def __init__(self):
        self.apis = []

    def __call__(self, first_number):
        self.apis.append(LocalAPI(recordings=RECORDINGS, first_number=first_number))
        return self.apis[-1]


def test_with_too_many_keys_the_one_that_was_idle_for_longest_makes_room(clock):
    made = Made()
    accounts = serving.Accounts(made, most=2, idle_s=60, clock=clock)

    def use(key):
        with accounts.use(f"Bearer {key}"):
            clock.now += 1

    use("first")
    use("second")
    with pytest.raises(APIError, match="keeps what 2 keys made") as refused, accounts.use("Bearer third"):
        pass
    assert (refused.value.status, refused.value.retry) == (429, False)
    clock.now += 59
    use("third")
    assert [api.closed for api in made.apis] == [True, False, False]
    clock.now += 3600
    with accounts.use("Bearer second"), accounts.use("Bearer third"), pytest.raises(APIError):
        use("fourth")
    clock.now += 60
    use("fourth")
    accounts.close()
    assert all(api.closed for api in made.apis)


def test_too_many_keys_are_told_so_by_the_sdk():
    with serving.serving(recordings=RECORDINGS, most_keys=1) as url:
        with connect(url, "ada") as client:
            client.models.list()
        with connect(url, "grace") as client, pytest.raises(openai.RateLimitError, match="larger --keys"):
            client.models.list()


# -- only this machine, and only programs ---------------------------------------------------------------------------


def can_connect(host, port):
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def test_it_listens_on_one_address_of_loopback_only(url):
    host, port = address(url)
    assert host == "127.0.0.1"
    assert can_connect(host, port)
    # A further address of loopback, and this machine's own one where it has any: what listens everywhere has both.
    assert not can_connect("127.0.0.2", port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # nothing is sent; it only chooses the address
        assert not can_connect(probe.getsockname()[0], port)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "example.com"])
def test_other_hosts_are_refused(host, capsys):
    assert __main__.main(["--port", "0", "--host", host]) == 1
    assert "only be served on this machine itself" in capsys.readouterr().out


@pytest.mark.parametrize(
    "host", ["rebound.example", "rebound.example:80", "127.0.0.1.example", "[::2]:80", "10.0.0.1"]
)
def test_a_request_for_another_host_name_is_refused(url, host):
    response = httpx2.get(f"{url}/models", headers={"host": host, "authorization": "Bearer any"})
    assert response.status_code == 403
    assert host.partition(":")[0] in response.json()["error"]["message"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:1234", "[::1]:80"])
def test_names_of_this_machine_are_answered(url, host):
    assert (
        httpx2.get(f"{url}/models", headers={"host": host, "authorization": "Bearer any"}).status_code == 200
    )


def test_pages_in_a_browser_get_no_permission(url):
    headers = {"origin": "https://example.com", "authorization": "Bearer any"}
    asked = httpx2.options(
        f"{url}/responses",
        headers={"origin": "https://example.com", "access-control-request-headers": "authorization"},
    )
    answered = httpx2.get(f"{url}/models", headers=headers)
    for response in (asked, answered):
        assert not [name for name in response.headers if name.lower().startswith("access-control")]
    assert asked.status_code == 401


# -- HTTP -----------------------------------------------------------------------------------------------------------


def refused(head, body):
    """The status and message of a refusal, after a look at its shape and that the connection ends with it."""
    assert "connection: close" in head.lower()
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return int(head.split()[1]), error["message"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"HELLO\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: many\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused_with_an_error_body(url, request_bytes):
    status, message = refused(*exchange(url, request_bytes))
    assert status == 400
    assert message.startswith("This is not a valid HTTP request")


def test_headers_without_an_end_are_refused(url):
    status, _ = refused(
        *exchange(url, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 70_000)
    )
    assert status == 431


def test_a_json_body_that_is_too_large_is_refused_and_read_to_its_end(url, monkeypatch):
    monkeypatch.setattr(serving, "_LARGEST_JSON_BYTES", 100_000)
    with connect(url, max_retries=0) as client:
        with pytest.raises(openai.APIStatusError, match="too large") as error:
            client.responses.create(model=MODEL, input="x" * 2_000_000)
        assert error.value.status_code == 413
        assert client.models.list().data


def test_a_form_that_is_broken_is_refused_and_read_to_its_end(url):
    form = {"content-type": "multipart/form-data", "authorization": "Bearer any"}
    response = httpx2.post(f"{url}/files", content=b"x" * 2_000_000, headers=form)
    assert response.status_code == 400
    assert "names no boundary" in response.json()["error"]["message"]


def test_an_upload_that_stops_in_the_middle_leaves_nothing(url, client, log):
    with socket.create_connection(address(url), timeout=60) as connection:
        connection.sendall(
            b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer any\r\nContent-Length: 1000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
            b'Content-Disposition: form-data; name="file"; filename="a.md"\r\n\r\nhalf'
        )
    log.wait_for(f"POST /v1/files {serving.LEFT}")
    assert client.files.list().data == []


def test_two_requests_at_once_are_answered_in_order(url):
    ask = b"GET /v1/%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer any\r\n%s\r\n"
    _, rest = exchange(
        url, ask % (b"models", b"") + ask % (b"conversations/conv_x", b"Connection: close\r\n")
    )
    first, _, second = rest.partition(b"HTTP/1.1 ")
    assert json.loads(first)["object"] == "list"
    assert second.startswith(b"404")
    assert b"conv_x" in second


def test_http_1_0_and_head(url):
    head, body = exchange(
        url, b"GET /v1/models HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer any\r\n\r\n"
    )
    assert " 200 " in head
    assert json.loads(body)["object"] == "list"
    answer = httpx2.head(f"{url}/models", headers={"authorization": "Bearer any"})
    assert (answer.status_code, answer.content) == (501, b"")


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(url):
    with socket.create_connection(address(url), timeout=60) as connection:
        connection.sendall(
            b"POST /v1/conversations HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer any\r\n"
            b"Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"{}")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_asks_before_it_sends_is_refused_at_once(url):
    head, body = exchange(
        url,
        b"POST /v1/conversations HTTP/1.1\r\nHost: rebound.example\r\nAuthorization: Bearer any\r\n"
        b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n",
    )
    assert refused(head, body)[0] == 403


def test_a_connection_that_says_nothing_is_closed_in_the_end(url, monkeypatch):
    monkeypatch.setattr(serving, "_IDLE_CONNECTION_S", 0.01)
    assert exchange(url, b"") == ("", b"")


def test_a_path_that_is_none_is_refused(url):
    head, body = exchange(
        url,
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer any\r\nConnection: close\r\n\r\n",
    )
    assert " 400 " in head
    assert "is not a path" in json.loads(body)["error"]["message"]


def test_a_mistake_of_the_server_closes_only_that_connection(url, client, log, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        patch.setattr(serving, "_passed_on", lambda *_: 1 / 0)
        with connect(url, max_retries=0) as other, pytest.raises(openai.APIConnectionError):
            other.models.list()
        log.wait_for("GET /v1/models failed")
    assert "ZeroDivisionError" in caplog.text
    assert client.models.list().data


def test_no_key_is_logged(url, log):
    key = "sk-secret-0123456789"
    with connect(url, key) as client:
        client.models.list()
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(key)
    assert log.lines == ["GET /v1/models 200", "GET /v1/models/[key] 404"]


# -- the command line -----------------------------------------------------------------------------------------------


def run(*words, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "helpers.local_api", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
    )


@pytest.mark.skipif(os.name == "nt", reason="a process of its own cannot be sent Ctrl+C there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", [[], ["serve"]])
def test_it_prints_one_line_and_ends_cleanly(command, number, tmp_path):
    settings = {"WORKSHOP_RECORDINGS": str(RECORDINGS), "TMPDIR": str(tmp_path)}
    with run(*command, "--port", "0", **settings) as process:
        line = process.stdout.readline()
        url = line.split()[3]
        with connect(url) as client:
            assert client.responses.create(**LONG).output_text.startswith("One two")
            stream = client.responses.create(**LONG, stream=True)
            next(stream)
            process.send_signal(number)
            rest = process.stdout.read()
            stream.close()
    assert "OPENAI_BASE_URL" in line
    assert "OPENAI_API_KEY" in line
    assert (rest, process.returncode) == ("", 0)
    assert list(tmp_path.iterdir()) == []


def test_the_recordings_of_these_tests_have_no_problems(capsys):
    assert __main__.main(["check", str(RECORDINGS)]) == 0, capsys.readouterr().out


def test_a_port_in_use_is_said_in_a_sentence(url, capsys):
    port = address(url)[1]
    assert __main__.main(["--port", str(port)]) == 1
    assert capsys.readouterr().out == (
        f"Port {port} is in use. Choose another one with --port, or --port 0 for a free one.\n"
    )


@pytest.mark.parametrize(
    "words", [["--port", "70000"], ["--port", "x"], ["--port", "0", "--keys", "0"], ["serve"]]
)
def test_what_cannot_be_meant_is_refused(words, capsys):
    with pytest.raises(SystemExit):
        __main__.main(words)
    assert "error:" in capsys.readouterr().err


def test_settings_that_cannot_be_used_are_said_before_it_serves(capsys, monkeypatch, tmp_path):
    assert __main__.main(["--port", "0", "--recordings", str(tmp_path / "nowhere")]) == 1
    assert "does not exist" in capsys.readouterr().out
    monkeypatch.setenv("WORKSHOP_PACE", "slow")
    assert __main__.main(["--port", "0"]) == 1
    assert "is unknown" in capsys.readouterr().out
