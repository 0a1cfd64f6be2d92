"""Runs: streaming on a thread, waiting for a background response, and what a learner sees when it goes wrong."""

import asyncio

import httpx2
import openai
import pytest

from helpers import (
    Assistant,
    ConfigurationError,
    EventHandler,
    RunFailed,
    Stopped,
    StreamInterrupted,
    WorkshopError,
    stream_run,
    wait_for,
)
from helpers import run as run_module
from helpers.local_api import LocalAPI
from tests.committed_outputs import PROJECT
from tests.served import COMPLETED, CREATED, DELTA, KEY, body, problem, served, stream_of

QUESTION = "What is GPT-2? Can I build it with Legos?"
TEACHER = Assistant(
    "Teacher",
    "You are a patient teaching assistant. Explain step by step, in plain words. Use one example per idea.",
    model="gpt-6-luna",
)


class Quiet(EventHandler):
    """Shows nothing and remembers which hooks were called."""

    def __init__(self):
        super().__init__()
        self.called = []

    def on_exception(self, exception):
        self.called.append(type(exception).__name__)

    def on_end(self):
        self.called.append("end")


@pytest.fixture
def api():
    api = LocalAPI(recordings=PROJECT / "data" / "recordings", strict=True)
    yield api
    api.close()


@pytest.fixture
def client(api):
    with openai.OpenAI(
        api_key=KEY,
        base_url="https://recorded.invalid/v1",
        http_client=httpx2.Client(transport=api.transport()),
    ) as client:
        yield client


def reachable(error):
    """Everything that hangs on an exception, as text."""
    seen, todo, texts = set(), [error], []
    while todo:
        thing = todo.pop()
        if id(thing) in seen or thing is None:
            continue
        seen.add(id(thing))
        texts.append(repr(thing))
        texts.append(repr(getattr(thing, "headers", "")))
        if isinstance(thing, BaseException):
            todo += [thing.__cause__, thing.__context__, *thing.args, *vars(thing).values()]
    return " ".join(texts)


# -- stream_run -----------------------------------------------------------------------------------------------------


def test_a_run_keeps_text_response_trace_and_price(client):
    thread = client.conversations.create()
    run = stream_run(client, TEACHER, thread, QUESTION, event_handler=Quiet()).until_done()
    assert run.status == "completed"
    assert run.text.startswith("1. **GPT-2 is a language model**")
    assert run.response.output_text == run.text
    assert run.response.conversation.id == thread.id
    assert run.trace.tokens.total == run.response.usage.total_tokens
    assert run.price_usd == pytest.approx(
        (run.response.usage.input_tokens * 0.10 + run.response.usage.output_tokens * 0.50) / 1e6
    )
    assert run.handler.called == ["end"]
    assert "completed" in repr(run)


def test_the_four_ways_to_read_a_run_give_the_same_text(client):
    texts = [stream_run(client, TEACHER, None, QUESTION, event_handler=Quiet()).until_done().text]
    texts.append("".join(stream_run(client, TEACHER, None, QUESTION, event_handler=Quiet()).text_deltas))
    run = stream_run(client, TEACHER, None, QUESTION, event_handler=Quiet())
    deltas = [event.delta for event in run if event.type == "response.output_text.delta"]
    texts.append("".join(deltas))
    with stream_run(client, TEACHER, None, QUESTION, event_handler=Quiet()) as run:
        run.until_done()
    texts.append(run.text)
    assert len(set(texts)) == 1
    assert "".join(run.text_deltas) == texts[0], "after the run they are still there"


def test_leaving_the_with_block_early_frees_the_thread_and_adds_nothing(client):
    thread = client.conversations.create()
    with stream_run(client, TEACHER, thread, QUESTION, event_handler=Quiet()) as run:
        for event in run:
            if event.type == "response.output_text.delta":
                break
    assert run.status == "interrupted"
    assert len(run.text) > 0
    assert run.handler.called == ["end"]
    assert list(client.conversations.items.list(thread.id)) == []
    assert (
        stream_run(client, TEACHER, thread, QUESTION, event_handler=Quiet()).until_done().status
        == "completed"
    )


def test_without_a_question_the_last_message_of_the_thread_is_answered(client):
    message = {"type": "message", "role": "user", "content": "What does the MLP do?"}
    thread = client.conversations.create(items=[message])
    run = stream_run(client, TEACHER, thread.id, event_handler=Quiet()).until_done()
    assert "each token alone" in run.text


def test_more_arguments_travel_with_the_request(client):
    run = stream_run(
        client, TEACHER, None, QUESTION, event_handler=Quiet(), max_output_tokens=20
    ).until_done()
    assert run.status == "incomplete"
    assert run.handler.incomplete_reason == "max_output_tokens"
    assert 0 < len(run.text) < 200
    assert run.handler.called == ["end"]


def test_a_long_message_works(client):
    relaxed = LocalAPI(recordings=PROJECT / "data" / "recordings")
    with openai.OpenAI(api_key=KEY, http_client=httpx2.Client(transport=relaxed.transport())) as client:
        run = stream_run(client, TEACHER, None, "word " * 60_000, event_handler=Quiet()).until_done()
    relaxed.close()
    assert run.status == "completed"
    assert run.response.metadata["workshop_source"] == "offline helper"


@pytest.mark.parametrize(
    ("arguments", "more", "sentence"),
    [
        ((TEACHER, None, ""), {}, "The question is empty"),
        ((TEACHER, None, "  \n"), {}, "The question is empty"),
        ((TEACHER, None), {}, "neither a thread nor a question"),
        ((TEACHER, "What is GPT-2?"), {}, "must be a thread"),
        ((TEACHER, {"id": 1}, "Hello"), {}, "must be a thread"),
        (("Teacher", None, "Hello"), {}, "must be an Assistant"),
        ((TEACHER, None, "Hello"), {"instructions": "Other ones"}, "'instructions' came twice"),
        ((TEACHER, None, "Hello"), {"stream": True}, "always streams"),
        ((TEACHER, None, "Hello"), {"event_handler": Quiet}, "the class Quiet"),
        ((TEACHER, None, "Hello"), {"event_handler": print}, "must be an EventHandler"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(arguments, more, sentence):
    client, requests = served(AssertionError("nothing may be sent"))
    with pytest.raises(ConfigurationError, match=sentence):
        stream_run(client, *arguments, **more)
    assert requests == []


@pytest.mark.parametrize(
    ("answer", "kind", "words", "code"),
    [
        (problem(401, "invalid_api_key"), RunFailed, "does not accept this key", "invalid_api_key"),
        (problem(404, "model_not_found", "The model `x` does not exist"), RunFailed, "does not exist", "model_not_found"),
        (problem(429, "credit_balance_exhausted"), RunFailed, "no credit left", "credit_balance_exhausted"),
        (problem(500, None), RunFailed, "a problem of its own", None),
        (httpx2.ConnectError("no route"), StreamInterrupted, "no connection", None),
        (httpx2.ReadTimeout("slow"), StreamInterrupted, "did not answer in time", None),
        (stream_of(CREATED, DELTA), StreamInterrupted, "ended before the answer was complete", None),
        (stream_of(CREATED, DELTA, {"type": "error", "error": {"code": "server_error", "message": "x"}}), RunFailed, "problem of its own", "server_error"),
        (stream_of(CREATED, DELTA, {"type": "error", "code": "server_error", "message": "x", "param": None}), RunFailed, "problem of its own", "server_error"),
        (
            stream_of(CREATED, DELTA, {"type": "response.failed", "sequence_number": 2, "response": body("failed", error={"code": "server_error", "message": "x"})}),
            RunFailed,
            "problem of its own",
            "server_error",
        ),
    ],
)  # fmt: skip
def test_each_failure_is_one_sentence_without_the_key_and_keeps_the_text(
    monkeypatch, answer, kind, words, code
):
    monkeypatch.setattr(run_module.time, "sleep", lambda seconds: None)
    client, _ = served(answer)
    run = stream_run(client, TEACHER, None, "Hello", event_handler=Quiet())
    with pytest.raises(kind, match=words) as caught:
        run.until_done()
    assert caught.value.code == code
    assert caught.value.partial_text == run.text
    assert KEY not in reachable(caught.value)
    assert run.handler.called == [kind.__name__, "end"]
    assert run.status in ("failed", "interrupted")
    assert run.trace.status in ("failed", "interrupted")


def test_a_busy_conversation_is_tried_again_and_the_trace_tells(monkeypatch):
    client, requests = served(
        problem(400, "conversation_locked"),
        problem(400, "conversation_locked"),
        stream_of(CREATED, DELTA, COMPLETED),
    )
    waits = []
    run = run_module.Run(client, dict(TEACHER), "Hello", "Teacher", Quiet(), sleep=waits.append)
    assert run.until_done().text == "Half an answer"
    assert waits == [0.25, 0.5]
    assert len(requests) == 3
    assert [step.state for step in run.trace.steps].count("retrying") == 2


def test_a_conversation_that_stays_busy_ends_in_a_sentence():
    client, requests = served(problem(400, "conversation_locked"))
    run = run_module.Run(client, dict(TEACHER), "Hello", "Teacher", Quiet(), sleep=lambda seconds: None)
    with pytest.raises(RunFailed, match="still busy"):
        run.until_done()
    assert len(requests) == 6


def test_an_interrupt_is_one_sentence_and_keeps_what_had_arrived(client):
    class Impatient(Quiet):
        def on_text_delta(self, delta, snapshot):
            if len(snapshot.value) > 20:
                raise KeyboardInterrupt

    thread = client.conversations.create()
    run = stream_run(client, TEACHER, thread, QUESTION, event_handler=Impatient())
    with pytest.raises(Stopped, match="You stopped the run") as caught:
        run.until_done()
    assert caught.value.partial_text == run.text
    assert len(run.text) > 20
    assert run.trace.status == "interrupted"
    assert (
        stream_run(client, TEACHER, thread, QUESTION, event_handler=Quiet()).until_done().status
        == "completed"
    )


def test_a_mistake_in_a_learner_s_hook_comes_through_as_it_is(client):
    class Broken(Quiet):
        def on_text_delta(self, delta, snapshot):
            raise ZeroDivisionError("learner's own")

    thread = client.conversations.create()
    with pytest.raises(ZeroDivisionError, match="learner's own"):
        stream_run(client, TEACHER, thread, QUESTION, event_handler=Broken()).until_done()
    assert (
        stream_run(client, TEACHER, thread, QUESTION, event_handler=Quiet()).until_done().status
        == "completed"
    )


def test_one_handler_can_follow_one_run_after_another(client):
    handler = Quiet()
    first = stream_run(client, TEACHER, None, QUESTION, event_handler=handler).until_done().text
    second = stream_run(client, TEACHER, None, "What does the MLP do?", event_handler=handler).until_done()
    assert second.text != first
    assert not second.text.startswith(first)
    assert handler.called == ["end", "end"]


def test_asynchronous_runs_interleave_and_tell_the_same(api):
    async def main():
        http_client = httpx2.AsyncClient(transport=api.async_transport())
        async with openai.AsyncOpenAI(
            api_key=KEY, base_url="https://recorded.invalid/v1", http_client=http_client
        ) as client:
            runs = [stream_run(client, TEACHER, None, QUESTION, event_handler=Quiet()) for _ in range(5)]
            await asyncio.gather(*(run.until_done() for run in runs))
            async with stream_run(client, TEACHER, None, QUESTION, event_handler=Quiet()) as run:
                async for event in run:
                    if event.type == "response.output_text.delta":
                        break
            response = await client.responses.create(
                input="What does the MLP do?", background=True, **TEACHER
            )
            done = await wait_for(client, response, show=False)
            return runs, run, done

    runs, early, done = asyncio.run(main())
    assert {run.status for run in runs} == {"completed"}
    assert len({run.text for run in runs}) == 1
    assert early.status == "interrupted"
    assert done.status == "completed"


# -- wait_for -------------------------------------------------------------------------------------------------------


def test_waiting_says_each_status_once(client, capsys):
    response = client.responses.create(input="What does the MLP do?", background=True, **TEACHER)
    done = wait_for(client, response)
    assert capsys.readouterr().out == "queued → in_progress → completed\n"
    assert "each token alone" in done.output_text
    assert wait_for(client, done.id, show=False).status == "completed"
    assert capsys.readouterr().out == ""


def test_the_server_s_hint_says_how_long_to_wait(monkeypatch):
    waits = []
    monkeypatch.setattr(run_module.time, "sleep", waits.append)
    hinted = lambda: httpx2.Response(200, json=body("queued"), headers={"openai-poll-after-ms": "1500"})  # noqa: E731
    plain = lambda: httpx2.Response(200, json=body("in_progress"))  # noqa: E731
    client, _ = served(hinted, plain, plain, lambda: httpx2.Response(200, json=body()))
    wait_for(client, "resp_1", show=False)
    assert waits == [1.5, 0.75, 1.125]


def test_a_deadline_gives_up_waiting_and_says_how_to_go_on(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(run_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(run_module.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    client, _ = served(lambda: httpx2.Response(200, json=body("in_progress")))
    with pytest.raises(
        WorkshopError, match=r"still in_progress after 10 seconds.*client\.responses\.cancel\('resp_1'\)"
    ):
        wait_for(client, "resp_1", deadline_s=10, show=False)
    assert now[0] == pytest.approx(10)


def test_an_interrupt_cancels_the_response(client, monkeypatch):
    def interrupt(seconds):
        raise KeyboardInterrupt

    response = client.responses.create(input="What does the MLP do?", background=True, **TEACHER)
    monkeypatch.setattr(run_module.time, "sleep", interrupt)
    with pytest.raises(Stopped, match="the run was cancelled"):
        wait_for(client, response, show=False)
    assert client.responses.retrieve(response.id).status == "cancelled"


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (body("failed", error={"code": "server_error", "message": "Oops"}), "a problem of its own"),
        (
            body("incomplete", incomplete_details={"reason": "max_output_tokens"}),
            "ends early (max_output_tokens)",
        ),
        (body("cancelled"), "queued → cancelled"),
    ],
)
def test_another_end_than_completed_is_told_and_returned(capsys, end, words):
    client, _ = served(
        lambda: httpx2.Response(200, json=body("queued")), lambda: httpx2.Response(200, json=end)
    )
    assert wait_for(client, "resp_1").status == end["status"]
    assert words in capsys.readouterr().out


def test_a_lost_connection_says_that_the_run_goes_on():
    client, _ = served(httpx2.ConnectError("no route"))
    with pytest.raises(
        StreamInterrupted, match=r"The run itself goes on: wait_for\(client, 'resp_1'\)"
    ) as caught:
        wait_for(client, "resp_1", show=False)
    assert KEY not in reachable(caught.value)


@pytest.mark.parametrize("nothing", [None, "", 7, {"id": "resp_1"}])
def test_waiting_for_something_else_is_refused(nothing):
    client, _ = served(AssertionError("nothing may be sent"))
    with pytest.raises(ConfigurationError, match="takes a response or its id"):
        wait_for(client, nothing)
