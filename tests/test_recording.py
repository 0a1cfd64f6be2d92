"""Recording: the recorded real streams become recordings, nothing is held back, and what was not answered is said."""

import asyncio
import json
import re
from pathlib import Path

import httpx2
import openai
import pytest

from helpers.errors import redact
from helpers.local_api.__main__ import main as local_api
from helpers.local_api.captures import Captures
from helpers.local_api.recordings import Source, read_file
from helpers.local_api.turns import Call, Calls, Run, Say, Search
from helpers.recording import Recorder
from tests.served import COMPLETED, CREATED, DELTA, body, call, message, response, stream_of

STREAMS = Path(__file__).parent / "data" / "real-streams"
NOWHERE = Path("no recordings")


def as_it_comes(answer):
    """An answer whose body is not there before somebody reads it, cut anywhere, as over a network."""
    answer = answer() if callable(answer) else answer
    if not answer.is_closed:
        return answer
    pieces = (answer.content[at : at + 1000] for at in range(0, len(answer.content), 1000))
    return httpx2.Response(
        answer.status_code, content=pieces, headers={"content-type": answer.headers["content-type"]}
    )


class Recording:
    """A client whose server gives these answers in their order, and the file that is recorded to."""

    def __init__(self, folder, *answers, recordings=NOWHERE):
        self.path = folder / "captured.yaml"
        self.captures = Captures(self.path, recordings, redact)
        self.answers = list(answers)
        self.requests = []
        self.http = httpx2.Client(
            transport=httpx2.MockTransport(self.answer),
            event_hooks=Recorder(self.captures).hooks(),
            base_url="https://api.openai.com",
        )
        self.client = openai.OpenAI(
            api_key="sk-planted-0123456789", http_client=self.http, base_url="https://api.openai.com/v1"
        )

    def answer(self, request):
        self.requests.append(request)
        return as_it_comes(self.answers.pop(0))

    def exchanges(self):
        assert local_api(["check", str(self.path)]) == 0
        found, problems = read_file(self.path, self.path.read_bytes())
        assert problems == []
        return found

    @property
    def text(self):
        return self.path.read_text(encoding="utf-8") if self.path.exists() else ""


def replayed(folder, name):
    """A recording of everything that a file of real streams holds, sent as it was sent then."""
    exchanges = json.loads((STREAMS / f"{name}.json").read_text(encoding="utf-8"))
    answers = []
    for exchange in exchanges:
        answer = exchange["response"]
        if "sse" in answer["body"]:
            answers.append(stream_of(*answer["body"]["sse"]))
        else:
            answers.append(httpx2.Response(answer["status"], json=answer["body"]))
    recording = Recording(folder, *answers)
    for exchange in exchanges:
        sent = exchange["request"]
        content = {"json": sent["body"]} if isinstance(sent["body"], dict) else {"content": sent["body"]}
        recording.http.request(sent["method"], sent["path"], **content)
    return recording


# -- the recorded real streams --------------------------------------------------------------------------------------


def test_a_file_search_keeps_its_queries_and_its_citation(tmp_path):
    (exchange,) = replayed(tmp_path, "file_search").exchanges()
    assert exchange.ask == "What is the capital of France?"
    assert exchange.tools == {"file_search"}
    assert exchange.steps == (
        Search(["What is the capital of France?"]),
        Say("The capital of France is Paris [tmp8l5_2pzy.txt]."),
    )
    assert exchange.source == Source("captured", "gpt-4o-2024-08-06", "2025-12-04")
    assert (exchange.recorded_with.model, exchange.recorded_with.instructions) == (
        "gpt-4o",
        "You are a helpful assistant.",
    )


def test_a_passage_that_is_cited_several_times_at_one_place_is_cited_once(tmp_path):
    events, item = message("It stops there.")
    cite = {"type": "file_citation", "file_id": "file-1", "filename": "notes.md", "index": 14}
    item["content"][0]["annotations"] = [cite, cite, {**cite, "filename": "plan.md"}, cite]
    search = {"type": "file_search_call", "queries": ["x"], "status": "completed"}
    recording = Recording(
        tmp_path, httpx2.Response(200, json=response(([], search), (events, item))[-1]["response"])
    )
    tools = [{"type": "file_search", "vector_store_ids": ["vs_1"]}]
    recording.client.responses.create(model="gpt-6-luna", input="Where?", tools=tools)
    assert recording.exchanges()[0].steps[-1] == Say("It stops there [notes.md][plan.md].")


def test_code_keeps_what_it_does_and_links_to_its_files(tmp_path):
    (exchange,) = replayed(tmp_path, "code_interpreter_image").exchanges()
    run, said = exchange.steps
    assert isinstance(run, Run)
    assert "plt.subplots(figsize=(6, 4))" in run.code
    assert "out_path = 'y_eq_x_squared_plot.png'" in run.code, "the folder /mnt/data is not everywhere"
    assert "\r" not in run.code
    assert "[Download the chart](sandbox:/mnt/data/y_eq_x_squared_plot.png)" in said.text


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        (
            "function_call",
            (Calls([Call("multiply", {"a": 1231, "b": 2331})]), Say("1231 × 2331 = **2,869,461**")),
        ),
        ("conversation_function_call", (Calls([Call("get_conversation_code", {})]), Say("TOOL-PAI-5222"))),
        ("background_resume", (Say("2 + 2 equals 4."),)),
    ],
)
def test_a_turn_of_several_responses_or_streams_is_one_exchange(tmp_path, name, steps):
    recording = replayed(tmp_path, name)
    (exchange,) = recording.exchanges()
    assert exchange.steps == steps
    assert recording.captures.not_recorded == []


@pytest.mark.parametrize(
    "name",
    [
        "file_search",
        "code_interpreter_image",
        "function_call",
        "conversation_function_call",
        "background_resume",
    ],
)
def test_ids_times_usage_and_outputs_are_left_out(tmp_path, name):
    written = replayed(tmp_path, name).text.splitlines()
    text = "\n".join(line for line in written if not line.startswith("#"))
    content = (STREAMS / f"{name}.json").read_text(encoding="utf-8")
    ids = set(
        re.findall(r"\b(?:resp|msg|rs|fs|ci|fc|call|conv|cntr|cfile|vs)_[\w]{8,}|\bfile-\w{8,}", content)
    )
    assert ids
    assert [each for each in ids if each in text] == []
    assert not re.search(r"created_at|usage|tokens|encrypted|base64|\b17\d{8}\b", text)


# -- passing ----------------------------------------------------------------------------------------------------------


def test_everything_passes_unchanged_and_the_first_event_before_the_second_is_made(tmp_path):
    events = response(message("A token is a piece of text."))
    frames = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
    made = []

    def frames_one_by_one():
        for frame in frames:
            made.append(frame)
            yield frame

    answer = httpx2.Response(
        200,
        content=frames_one_by_one(),
        headers={"content-type": "text/event-stream", "x-request-id": "req_1"},
    )
    recording = Recording(tmp_path, answer)
    with recording.http.stream(
        "POST", "/v1/responses", json={"model": "gpt-6-luna", "input": "What is a token?", "stream": True}
    ) as passed:
        chunks = passed.iter_raw()
        assert next(chunks) == frames[0]
        assert made == frames[:1]
        assert list(chunks) == frames[1:]
        assert passed.headers["x-request-id"] == "req_1"
    assert recording.requests[0].headers["accept-encoding"] == "identity"
    assert recording.exchanges()[0].steps == (Say("A token is a piece of text."),)


def test_requests_about_other_things_are_left_alone(tmp_path):
    recording = Recording(tmp_path, httpx2.Response(200, json={"object": "list", "data": []}))
    recording.client.models.list()
    assert recording.requests[0].headers["accept-encoding"] != "identity"


def test_an_asynchronous_client_records_the_same(tmp_path):
    captures = Captures(tmp_path / "captured.yaml", NOWHERE, redact)
    stream = stream_of(*response(message("The tokenizer, Ada.")))().content

    async def chunks():
        yield stream[:100]
        yield stream[100:]

    answers = [
        httpx2.Response(
            200, json={"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}}
        ),
        httpx2.Response(200, content=chunks(), headers={"content-type": "text/event-stream"}),
        httpx2.Response(200, json=response(message("It is Ada."), id="resp_2")[-1]["response"]),
    ]

    async def chat():
        http = httpx2.AsyncClient(
            transport=httpx2.MockTransport(lambda _: answers.pop(0)),
            event_hooks=Recorder(captures).async_hooks(),
        )
        async with openai.AsyncOpenAI(api_key="any", http_client=http) as client:
            thread = (await client.conversations.create()).id
            stream = await client.responses.create(
                model="gpt-6-luna", conversation=thread, input="I am Ada. What first?", stream=True
            )
            assert [event.type async for event in stream][-1] == "response.completed"
            await client.responses.create(model="gpt-6-luna", conversation=thread, input="My name?")

    asyncio.run(chat())
    first, second = read_file(captures.path, captures.path.read_bytes())[0]
    assert (first.steps, first.after) == ((Say("The tokenizer, Ada."),), None)
    assert (second.steps, second.after) == ((Say("It is Ada."),), "I am Ada. What first?")


def test_a_background_response_is_recorded_when_somebody_finds_it_complete(tmp_path):
    queued = {**body("queued"), "background": True}
    done = response(message("Four."))[-1]["response"]
    answers = [queued, {**queued, "status": "in_progress"}, done, done]
    recording = Recording(tmp_path, *(httpx2.Response(200, json=answer) for answer in answers))
    created = recording.client.responses.create(model="gpt-6-luna", input="2 + 2?", background=True)
    for _ in range(3):
        recording.client.responses.retrieve(created.id)
    assert [each.steps for each in recording.exchanges()] == [(Say("Four."),)]


def test_a_number_of_an_output_becomes_a_place_in_the_text(tmp_path):
    code = {
        "id": "ci_1",
        "type": "code_interpreter_call",
        "status": "completed",
        "container_id": "cntr_1",
        "code": "print(f'best_loss={best}')",
        "outputs": [{"type": "logs", "logs": "best_loss=3.28\n"}],
    }
    asked = response(([], code), call("training_cost", '{"model": "gpt2"}'))[-1]["response"]
    answered = response(message("It is lowest, 3.28, and costs 20.50 dollars."), id="resp_2")[-1]["response"]
    recording = Recording(tmp_path, *(httpx2.Response(200, json=each) for each in (asked, answered)))
    tools = [
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "function", "name": "training_cost", "parameters": {}, "strict": False},
    ]
    recording.client.responses.create(model="gpt-6-luna", input="What does it cost?", tools=tools)
    recording.client.responses.create(
        model="gpt-6-luna",
        previous_response_id="resp_1",
        input=[{"type": "function_call_output", "call_id": "call_1", "output": '{"price_usd": 20.50}'}],
        tools=tools,
    )
    run, calls, said = recording.exchanges()[0].steps
    assert re.search(run.prints, "best_loss=2.75")["best_loss"] == "2.75"
    assert re.search(calls.calls[0].prints, '{"price_usd": 21.75}')["price_usd"] == "21.75"
    assert said.text == "It is lowest, {best_loss}, and costs {price_usd} dollars."


# -- what is not recorded -------------------------------------------------------------------------------------------

ERROR = {
    "type": "error",
    "sequence_number": 1,
    "error": {"type": "server_error", "code": "x", "message": "no"},
}
REFUSED = httpx2.Response(
    400, json={"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": None}}
)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            stream_of(
                CREATED,
                {"type": "response.failed", "response": body("failed", error={"code": "server_error"})},
            ),
            "the response is failed (server_error)",
        ),
        (
            stream_of(
                *response(
                    message("Half"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}
                )
            ),
            "the response is incomplete (max_output_tokens)",
        ),
        (stream_of(CREATED, DELTA), "its stream was not read to the end"),
        (stream_of(CREATED, ERROR), "the API sent an error in its stream"),
        (REFUSED, "the API refused it (status 400)"),
        (httpx2.Response(200, json=response(message(" "))[-1]["response"]), "the answer holds no text"),
        (
            httpx2.Response(200, json=body(output=[{"type": "web_search_call", "id": "ws_1"}])),
            "it used web_search_call, for which recordings have no step",
        ),
        (
            httpx2.Response(200, json=response(message("See [overview.md]."))[-1]["response"]),
            "its text holds [overview.md], which a recording would take for a citation: write this one by hand",
        ),
        (
            httpx2.Response(200, json=response(call("count", "[1]"))[-1]["response"]),
            "the arguments of count are not a JSON object",
        ),
        (
            httpx2.Response(200, json=response(call("count", "{}"))[-1]["response"]),
            "its function calls got no output",
        ),
        (
            httpx2.Response(
                200,
                json=response(message("An offline text."), metadata={"workshop_source": "offline helper"})[
                    -1
                ]["response"],
            ),
            "the offline helper answered, and no model",
        ),
    ],
)
def test_what_was_not_answered_to_the_end_is_not_recorded_and_said(tmp_path, answer, why):
    good = httpx2.Response(200, json=response(message("Yes."), id="resp_9")[-1]["response"])
    recording = Recording(tmp_path, answer, good)
    recording.http.post(
        "/v1/responses", json={"model": "gpt-6-luna", "input": "What is a token?", "stream": True}
    )
    assert recording.text == ""
    assert recording.captures.not_recorded == [f"What is a token?: {why}"]
    recording.client.responses.create(model="gpt-6-luna", input="Is it?")
    assert [each.ask for each in recording.exchanges()] == ["Is it?"]
    assert f"#   What is a token?: {why}" in recording.text.splitlines(), "the file says it as well"


def test_a_stream_that_somebody_closes_early_is_not_recorded(tmp_path):
    recording = Recording(tmp_path, stream_of(CREATED, DELTA, COMPLETED))
    with recording.http.stream(
        "POST", "/v1/responses", json={"model": "gpt-6-luna", "input": "Hello?", "stream": True}
    ):
        pass
    assert recording.captures.not_recorded == ["Hello?: its stream was not read to the end"]


def test_a_cancelled_response_is_not_recorded_and_a_later_answer_takes_the_note_back(tmp_path):
    queued = {**body("queued"), "background": True}
    recording = Recording(
        tmp_path,
        httpx2.Response(200, json=queued),
        httpx2.Response(200, json={**queued, "status": "cancelled"}),
        httpx2.Response(200, json=response(message("Once."), id="resp_2")[-1]["response"]),
    )
    created = recording.client.responses.create(model="gpt-6-luna", input="A story?", background=True)
    recording.client.responses.cancel(created.id)
    assert recording.captures.not_recorded == ["A story?: the response is cancelled"]
    recording.client.responses.create(model="gpt-6-luna", input="A story?")
    assert recording.captures.not_recorded == []
    assert len(recording.exchanges()) == 1


def test_answers_of_the_recorded_api_are_not_passed_off_as_openais(tmp_path):
    answer = response(message("By hand."), metadata={"workshop_source": "authored"})[-1]["response"]
    recording = Recording(tmp_path, httpx2.Response(200, json=answer))
    recording.client.responses.create(model="gpt-6-luna", input="Who says so?")
    assert recording.exchanges()[0].source.model == "gpt-6-luna of the recorded API, not OpenAI's"


# -- keys and disks -------------------------------------------------------------------------------------------------


def test_no_key_gets_into_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "an-odd-key-0123456789")
    both = "sk-planted-0123456789 an-odd-key-0123456789"
    code = {
        "id": "ci_1",
        "type": "code_interpreter_call",
        "status": "completed",
        "container_id": "cntr_1",
        "code": f"key = '{both}'",
        "outputs": [{"type": "logs", "logs": f"{both} has 54321 letters"}],
    }
    search = {
        "id": "fs_1",
        "type": "file_search_call",
        "status": "completed",
        "queries": [both],
        "results": None,
    }
    asked = response(([], search), ([], code), call("count", json.dumps({both: [both]})))[-1]["response"]
    answered = response(message(f"{both} has 54321 letters."), id="resp_2")[-1]["response"]
    refused = body("failed", "resp_3", error={"code": "x"})
    recording = Recording(tmp_path, *(httpx2.Response(200, json=each) for each in (asked, answered, refused)))
    question = f"What is {both}?"
    conversation = [
        {"role": "user", "content": question},
        *[{**item, "type": item["type"]} for item in asked["output"]],
        {"type": "function_call_output", "call_id": "call_1", "output": both},
    ]
    tools = [
        {"type": "function", "name": "count", "description": both, "parameters": {}, "strict": False},
        {"type": "file_search", "vector_store_ids": ["vs_1"]},
        {"type": "code_interpreter", "container": "cntr_1"},
    ]
    request = {"model": "gpt-6-luna", "instructions": f"Use {both}.", "tools": tools}
    recording.http.post("/v1/responses", json={**request, "input": question})
    recording.http.post("/v1/responses", json={**request, "input": conversation})
    recording.http.post("/v1/responses", json={**request, "input": f"Really {both}?"})
    (exchange,) = recording.exchanges()
    assert exchange.ask == "What is [key] [key]?"
    for text in (recording.text, str(recording.captures.not_recorded)):
        assert "planted" not in text
        assert "an-odd-key" not in text


def test_a_full_disk_is_told_and_the_answer_arrives_all_the_same(tmp_path, monkeypatch):
    answers = [
        httpx2.Response(200, json=response(message("Yes."), id=f"resp_{n}")[-1]["response"]) for n in (1, 2)
    ]
    recording = Recording(tmp_path, *answers)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", full)
        answer = recording.client.responses.create(model="gpt-6-luna", input="Is it?")
    assert answer.output_text == "Yes."
    assert recording.captures.trouble == f"{recording.path} could not be written (No space left on device)."
    recording.client.responses.create(model="gpt-6-luna", input="And now?")
    assert [each.ask for each in recording.exchanges()] == ["Is it?", "And now?"], "nothing is lost"
    assert recording.captures.trouble == ""
