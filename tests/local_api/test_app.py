"""The application: keys, routes, headers, models, and several things at once."""

import logging
import threading

import httpx2
import openai
import pytest

import helpers.local_api
from helpers.local_api import LocalAPI
from tests.local_api.conftest import MODEL, RECORDINGS, URL, make_client

GOOD = {"model": MODEL, "input": "What is GPT-2?"}


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer ", "Basic abc", "any"])
def test_without_a_key_it_is_401(raw, authorization):
    headers = {} if authorization is None else {"authorization": authorization}
    client = httpx2.Client(transport=raw.http._transport, base_url=URL)
    response = client.get("/models", headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_wrong_key_is_401_and_is_not_repeated(api):
    key = "sk-wrong-but-secret-0123456789"
    client = openai.OpenAI(api_key=key, base_url=URL, http_client=httpx2.Client(transport=api.transport()))
    with pytest.raises(openai.AuthenticationError) as error:
        client.responses.create(**GOOD)
    assert error.value.code == "invalid_api_key"
    assert error.value.body["message"] == (
        "Incorrect API key provided: sk-wrong***. You can find your API key at "
        "https://platform.openai.com/account/api-keys."
    )
    assert "secret" not in error.value.response.text


@pytest.mark.parametrize("path", ["/assistants", "/assistants/asst_1", "/threads", "/threads/t/runs/r"])
def test_the_assistants_api_is_gone(raw, path):
    for response in (raw.get(path), raw.post(path)):
        assert response.status_code == 404
        assert "shut down on 2026-08-26" in response.json()["error"]["message"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_old_calls_of_the_sdk_get_that_404(client):
    with pytest.raises(openai.NotFoundError, match="Use the Responses API"):
        client.beta.assistants.create(model=MODEL)
    with pytest.raises(openai.NotFoundError, match="Conversations API"):
        client.beta.threads.create()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/chat/completions"),
        ("GET", "/batches"),
        ("GET", "/responses"),
        ("PUT", "/models"),
        ("GET", "/"),
    ],
)
def test_other_routes_are_501_and_not_tried_again(raw, method, path):
    response = raw.http.request(method, path)
    assert response.status_code == 501
    assert response.headers["x-should-retry"] == "false"
    error = response.json()["error"]
    assert error["code"] == "not_built_yet"
    assert method in error["message"]


def test_the_sdk_asks_an_unbuilt_route_only_once(api):
    asked = []
    client = openai.OpenAI(
        api_key="any",
        base_url=URL,
        http_client=httpx2.Client(transport=api.transport(), event_hooks={"request": [asked.append]}),
    )
    with pytest.raises(openai.InternalServerError, match="not part of the recorded API yet"):
        client.batches.list()
    assert len(asked) == 1


def test_unknown_query_parameters_are_refused(raw):
    response = raw.get("/models?colour=red")
    assert response.status_code == 400
    assert "colour" in response.json()["error"]["message"]
    conversation = raw.post("/conversations").json()["id"]
    for query, words in (
        ("limit=0", ">= 1"),
        ("limit=101", "<= 100"),
        ("limit=many", "integer"),
        ("order=up", "'up'"),
    ):
        response = raw.get(f"/conversations/{conversation}/items?{query}")
        assert response.status_code == 400
        assert words in response.json()["error"]["message"]
    assert raw.get(f"/conversations/{conversation}/items?after=msg_1").status_code == 404


def test_every_answer_carries_the_headers_of_the_live_api(raw):
    answers = [raw.get("/models"), raw.post("/responses", {**GOOD, "stream": True}), raw.get("/nothing")]
    assert [answer.headers["content-type"] for answer in answers] == [
        "application/json",
        "text/event-stream; charset=utf-8",
        "application/json",
    ]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3
    for answer in answers:
        assert answer.headers["x-request-id"].startswith("req_")
        assert answer.headers["openai-version"] == "2020-10-01"
        assert int(answer.headers["openai-processing-ms"]) >= 0


def test_models_that_are_there(client):
    names = [model.id for model in client.models.list()]
    assert MODEL in names
    assert "gpt-4-turbo" not in names
    model = client.models.retrieve("gpt-4.1-mini")
    assert model.shutdown_date == "2027-01-14"
    assert client.models.retrieve(MODEL).shutdown_date is None
    for gone in ("gpt-4-turbo", "gpt-7"):
        with pytest.raises(openai.NotFoundError, match=f"`{gone}`") as error:
            client.models.retrieve(gone)
        assert error.value.code == "model_not_found"


def test_a_mistake_of_its_own_is_a_500_that_is_logged_and_not_tried_again(api, raw, monkeypatch, caplog):
    def broken(*_):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(helpers.local_api.conversations.Conversations, "create", broken)
    with caplog.at_level(logging.ERROR):
        response = raw.post("/conversations")
    assert response.status_code == 500
    assert response.headers["x-should-retry"] == "false"
    assert "ZeroDivisionError" in response.json()["error"]["message"]
    assert "oops" in caplog.text


def test_many_threads_at_once(api):
    """Eight threads stream, poll and chat on one API: each conversation has exactly its own items."""
    problems = []

    def learner(number):
        client = make_client(api)
        try:
            conversation = client.conversations.create(metadata={"learner": str(number)})
            client.responses.create(model=MODEL, input="My name is Ada.", conversation=conversation.id)
            stream = client.responses.create(
                model=MODEL, input="Say it long.", conversation=conversation.id, stream=True
            )
            texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
            assert "".join(texts).startswith("One two")
            background = client.responses.create(
                model=MODEL, input="What is my name?", conversation=conversation.id, background=True
            )
            while background.status in {"queued", "in_progress"}:
                background = client.responses.retrieve(background.id)
            assert background.output_text == "Ada."
            items = list(client.conversations.items.list(conversation.id))
            assert len(items) == 9
            assert len({item.id for item in items}) == 9
        except BaseException as error:  # noqa: BLE001 - a thread's failure would be lost otherwise
            problems.append(error)

    threads = [threading.Thread(target=learner, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_one_conversation_serves_one_of_many_threads_at_a_time(api):
    conversation = make_client(api).conversations.create()
    statuses = []

    def learner():
        try:
            make_client(api).responses.create(**GOOD, conversation=conversation.id)
            statuses.append("completed")
        except openai.BadRequestError as error:
            statuses.append(error.code)

    threads = [threading.Thread(target=learner) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {"completed", "conversation_locked"}
    items = list(make_client(api).conversations.items.list(conversation.id))
    assert len(items) == 3 * statuses.count("completed") > 0


def test_a_closed_api_says_so():
    api = LocalAPI(recordings=RECORDINGS)
    client = make_client(api)
    api.close()
    api.close()
    assert api.closed
    with pytest.raises(RuntimeError, match="recorded API was closed"):
        client.models.list()


def test_shared_is_one_for_the_process_and_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setattr(helpers.local_api, "_shared", None)
    for name in ("STATE", "PACE", "STRICT"):
        monkeypatch.delenv(f"WORKSHOP_{name}", raising=False)
    (tmp_path / "one.yaml").write_text("source: authored\nexchanges:\n- ask: Hi\n  steps:\n  - say: Hello.\n")
    monkeypatch.setenv("WORKSHOP_RECORDINGS", str(tmp_path))
    monkeypatch.setenv("WORKSHOP_STRICT", "1")
    monkeypatch.setenv("WORKSHOP_STATE", str(tmp_path / "kept.sqlite3"))
    api = helpers.local_api.shared()
    assert helpers.local_api.shared() is api
    client = make_client(api)
    assert client.responses.create(model=MODEL, input="hi").output_text == "Hello."
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(model=MODEL, input="ho")
    assert error.value.code == "workshop_strict"
    assert (tmp_path / "kept.sqlite3").exists()
    api.close()
    monkeypatch.setenv("WORKSHOP_STRICT", "0")
    reopened = helpers.local_api.shared()
    assert reopened is not api
    assert make_client(reopened).responses.create(model=MODEL, input="ho").status == "completed"
    reopened.close()


def test_the_first_line_tells_a_learner_not_to_read_on():
    assert helpers.local_api.__doc__.startswith("You never need to read this")


def test_it_knows_nothing_of_the_front_rooms():
    import ast
    from pathlib import Path

    allowed = {
        ("kernel_process.py", "socket"),  # a kernel is reached over a socket of this machine
        ("serving.py", "socket"),  # and so are clients of the served API
        ("not_there.py", "openai"),  # reads in the SDK's source what OpenAI's API has; it sends nothing
    }
    for file in Path(helpers.local_api.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith("helpers") or name.startswith("helpers.local_api"), (file, name)
                root = name.partition(".")[0]
                if (file.name, root) not in allowed:
                    assert root not in {"openai", "httpx", "requests", "urllib3", "socket"}, (file, name)
