"""The life of a response: background, cancel, resume, locks, and streams that nobody reads to their end."""

import asyncio
import gc

import openai
import pytest

from helpers.local_api import LocalAPI
from helpers.local_api.turns import Say, Turn
from tests.local_api.conftest import MODEL, RECORDINGS, make_async_client, make_client, parse_events

LONG = {"model": MODEL, "input": "Say it long."}


def ask(client, conversation, **options):
    return client.responses.create(**{**LONG, "conversation": conversation.id, **options})


def messages(client, conversation):
    return [item for item in client.conversations.items.list(conversation.id) if item.type == "message"]


# -- background -----------------------------------------------------------------------------------------------------


def test_each_look_at_a_background_response_moves_it_one_state_further(client, raw):
    conversation = client.conversations.create()
    response = ask(client, conversation, background=True)
    seen = [response.status]
    while seen[-1] in {"queued", "in_progress"}:
        answer = raw.get(f"/responses/{response.id}")
        assert ("openai-poll-after-ms" in answer.headers) == (answer.json()["status"] == "in_progress")
        seen.append(answer.json()["status"])
    assert seen == ["queued", "in_progress", "completed"]
    done = client.responses.retrieve(response.id)
    assert done.output_text.startswith("One two")
    assert done.background is True
    assert done.usage is not None
    assert done.completed_at is not None
    assert len(messages(client, conversation)) == 2
    assert client.responses.retrieve(response.id) == done


def test_a_queued_response_tells_when_to_ask_again(raw):
    answer = raw.post("/responses", {**LONG, "background": True})
    assert int(answer.headers["openai-poll-after-ms"]) >= 0
    assert answer.json()["output"] == []
    assert "openai-poll-after-ms" not in raw.post("/responses", LONG).headers


def test_cancel_is_for_background_responses_and_can_be_repeated(client):
    conversation = client.conversations.create()
    response = ask(client, conversation, background=True)
    client.responses.retrieve(response.id)
    for _ in range(2):
        assert client.responses.cancel(response.id).status == "cancelled"
    assert client.responses.retrieve(response.id).status == "cancelled"
    assert messages(client, conversation) == []
    assert ask(client, conversation).status == "completed"
    finished = ask(client, conversation)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(finished.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.cancel("resp_unknown")


def test_cancel_after_the_end_changes_nothing(client):
    response = client.responses.create(**LONG, background=True)
    for _ in range(2):
        response = client.responses.retrieve(response.id)
    assert client.responses.cancel(response.id) == response


def test_a_cancelled_stream_ends_without_completing(client):
    conversation = client.conversations.create()
    stream = ask(client, conversation, background=True, stream=True)
    first = next(stream)
    client.responses.cancel(first.response.id)
    assert "response.completed" not in [event.type for event in stream]
    assert client.responses.retrieve(first.response.id).status == "cancelled"
    assert messages(client, conversation) == []


def test_a_dropped_background_stream_can_be_resumed_both_ways(client, raw):
    whole = [event["type"] for event in raw.events({"input": "Say it long.", "background": True})]
    stream = client.responses.create(**LONG, background=True, stream=True)
    seen = [next(stream) for _ in range(10)]
    stream.close()
    response_id, last = seen[0].response.id, seen[-1].sequence_number
    rest = list(client.responses.retrieve(response_id, stream=True, starting_after=last))
    assert [event.sequence_number for event in rest] == list(range(last + 1, len(whole)))
    assert [event.type for event in [*seen, *rest]] == whole
    with client.responses.stream(response_id=response_id, starting_after=last) as again:
        assert [event.sequence_number for event in again] == list(range(last + 1, len(whole)))
        final = again.get_final_response()
    assert final.output_text == rest[-1].response.output_text
    assert list(client.responses.retrieve(response_id, stream=True, starting_after=10_000)) == []


def test_a_dropped_background_stream_goes_on_by_itself(client):
    conversation = client.conversations.create()
    stream = ask(client, conversation, background=True, stream=True)
    response_id = next(stream).response.id
    stream.close()
    assert client.responses.retrieve(response_id).status == "in_progress"
    assert client.responses.retrieve(response_id).status == "completed"
    assert len(messages(client, conversation)) == 2


def test_polling_and_reading_at_the_same_time_agree(client):
    conversation = client.conversations.create()
    stream = ask(client, conversation, background=True, stream=True)
    response_id = next(stream).response.id
    for _ in range(2):
        polled = client.responses.retrieve(response_id)
    events = list(stream)
    assert events[-1].response == polled
    assert len(messages(client, conversation)) == 2


def test_obfuscation_of_a_resumed_stream_is_off_unless_asked_for(raw):
    first = raw.events({"input": "Say it long.", "background": True})
    assert not any("obfuscation" in event for event in first)
    path = f"/responses/{first[0]['response']['id']}?stream=true&include_obfuscation=true"
    assert any("obfuscation" in event for event in parse_events(raw.get(path).text))


def test_what_cannot_be_streamed_again(client, clock):
    def refused(response_id):
        with pytest.raises(openai.BadRequestError) as error:
            client.responses.retrieve(response_id, stream=True)
        return error.value.message

    assert "was not created with background=true" in refused(client.responses.create(**LONG).id)
    assert "was not created with stream=true" in refused(client.responses.create(**LONG, background=True).id)
    stream = client.responses.create(**LONG, background=True, stream=True)
    response_id = next(stream).response.id
    clock.now += 301
    assert "more than 5 minutes old" in refused(response_id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_unknown", stream=True)


def test_what_is_not_stored_cannot_be_retrieved(client):
    conversation = client.conversations.create()
    response = ask(client, conversation, store=False)
    assert len(messages(client, conversation)) == 2
    for call in (
        lambda: client.responses.retrieve(response.id),
        lambda: client.responses.delete(response.id),
        lambda: client.responses.input_items.list(response.id),
        lambda: client.responses.create(**LONG, previous_response_id=response.id),
    ):
        with pytest.raises(openai.NotFoundError, match=response.id):
            call()


def test_a_deleted_response_is_gone_and_its_items_stay(client):
    conversation = client.conversations.create()
    response = ask(client, conversation)
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError, match=response.id):
        client.responses.retrieve(response.id)
    assert len(messages(client, conversation)) == 2
    running = ask(client, conversation, background=True)
    client.responses.delete(running.id)
    assert ask(client, conversation).status == "completed"


# -- locks ----------------------------------------------------------------------------------------------------------


def test_a_second_request_on_a_busy_conversation_is_refused(client, raw):
    conversation = client.conversations.create()
    stream = ask(client, conversation, stream=True)
    next(stream)
    status, error = raw.error("/responses", {**LONG, "conversation": conversation.id})
    assert status == 400
    assert error == {
        "message": "Another process is currently operating on this conversation. Please retry in a few seconds.",
        "type": "invalid_request_error",
        "param": "conversation",
        "code": "conversation_locked",
    }
    assert [event.type for event in stream][-1] == "response.completed"
    assert ask(client, conversation).status == "completed"


def test_refused_requests_let_a_background_response_get_on(client):
    conversation = client.conversations.create()
    abandoned = ask(client, conversation, background=True)
    for _ in range(2):
        with pytest.raises(openai.BadRequestError, match="Another process"):
            ask(client, conversation)
    assert ask(client, conversation).status == "completed"
    assert client.responses.retrieve(abandoned.id).status == "completed"
    assert len(messages(client, conversation)) == 4


def test_a_stream_that_a_variable_holds_but_nobody_reads_ends_by_itself_in_time(client, raw):
    conversation = client.conversations.create()
    stream = ask(client, conversation, stream=True)
    seen = [next(stream) for _ in range(8)]
    answers = [raw.post("/responses", {**LONG, "conversation": conversation.id}) for _ in range(6)]
    codes = [answer.json()["error"]["code"] for answer in answers if answer.status_code == 400]
    assert codes == ["conversation_locked"] * 3
    events = [*seen, *stream]
    assert events[-1].type == "response.completed"
    assert len(messages(client, conversation)) == 8


def test_reading_shows_that_somebody_is_still_there(client):
    conversation = client.conversations.create()
    stream = ask(client, conversation, stream=True)
    for event in stream:
        if event.type == "response.output_text.done":
            break
        with pytest.raises(openai.BadRequestError):
            ask(client, conversation)
    stream.close()


def test_what_was_added_while_a_turn_was_chosen_is_not_overlooked():
    class Interrupted:
        """A model that takes so long that somebody else has asked and got an answer meanwhile."""

        def next_turn(self, request):
            if request.question == "Slow":
                client.responses.create(model=MODEL, input="Fast", conversation=conversation.id)
            return Turn([Say(f"{len(request.items)} items")])

    api = LocalAPI(source=Interrupted())
    client = make_client(api)
    conversation = client.conversations.create()
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model=MODEL, input="Slow", conversation=conversation.id)
    assert refused.value.code == "conversation_locked"
    assert [item.content[0].text for item in messages(client, conversation)] == ["1 items", "Fast"]
    api.close()


def test_other_conversations_are_not_busy(client):
    busy, free = client.conversations.create(), client.conversations.create()
    stream = ask(client, busy, stream=True)
    next(stream)
    assert ask(client, free).status == "completed"
    assert client.responses.create(**LONG).status == "completed"
    stream.close()


# -- abandoned streams ----------------------------------------------------------------------------------------------


def close(stream):
    stream.close()


def forget(stream):
    pass


@pytest.mark.parametrize("leave", [close, forget])
@pytest.mark.parametrize("read", [0, 1, 10])
def test_leaving_a_stream_cancels_the_response_and_frees_the_conversation(client, raw, leave, read):
    conversation = client.conversations.create()

    def begin():
        stream = ask(client, conversation, stream=True)
        for _ in range(read):
            next(stream)
        leave(stream)

    begin()
    assert ask(client, conversation).status == "completed"
    assert len(messages(client, conversation)) == 2


def test_breaking_out_of_the_loop_cancels(client):
    conversation = client.conversations.create()
    with client.responses.stream(**LONG, conversation=conversation.id) as stream:
        for event in stream:
            if event.type == "response.created":
                response_id = event.response.id
            if event.type == "response.output_text.delta":
                break
        assert client.responses.retrieve(response_id).status == "in_progress"
    assert client.responses.retrieve(response_id).status == "cancelled"
    assert messages(client, conversation) == []
    assert ask(client, conversation).status == "completed"


def test_collecting_a_stream_cancels_it(client):
    stream = client.responses.create(**LONG, stream=True)
    response_id = next(stream).response.id
    del stream
    gc.collect()
    assert client.responses.retrieve(response_id).status == "cancelled"


def test_an_interrupt_in_the_middle_cancels(api, client, monkeypatch):
    from helpers.local_api import players

    whole = players.pieces

    def interrupted(text):
        for number, piece in enumerate(whole(text)):
            if number == 3:
                raise KeyboardInterrupt
            yield piece

    conversation = client.conversations.create()
    stream = ask(client, conversation, stream=True)
    response_id = next(stream).response.id
    monkeypatch.setattr(players, "pieces", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    monkeypatch.setattr(players, "pieces", whole)
    assert client.responses.retrieve(response_id).status == "cancelled"
    assert ask(client, conversation).status == "completed"
    monkeypatch.setattr(players, "pieces", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask(client, conversation)
    monkeypatch.setattr(players, "pieces", whole)
    assert ask(client, conversation).status == "completed"
    assert len(messages(client, conversation)) == 4


def test_a_stream_read_to_its_end_is_not_cancelled_by_closing_it(client):
    stream = client.responses.create(**LONG, stream=True)
    for event in stream:
        if event.type == "response.completed":
            break
    stream.close()
    assert client.responses.retrieve(event.response.id).status == "completed"


def test_closing_the_api_ends_what_is_being_streamed(tmp_path):
    kept = tmp_path / "state.sqlite3"
    api = LocalAPI(recordings=RECORDINGS, state=kept)
    stream = make_client(api).responses.create(**LONG, stream=True)
    response_id = next(stream).response.id
    api.close()
    again = LocalAPI(recordings=RECORDINGS, state=kept)
    assert make_client(again).responses.retrieve(response_id).status == "cancelled"
    again.close()
    del stream


# -- the same, asynchronously ---------------------------------------------------------------------------------------


def test_async_streams_are_complete_and_interleaved(api):
    async def main():
        client = make_async_client(api)
        order = []

        async def one(name):
            stream = await client.responses.create(**LONG, stream=True)
            texts = []
            async for event in stream:
                order.append(name)
                if event.type == "response.output_text.delta":
                    texts.append(event.delta)
            return "".join(texts)

        texts = await asyncio.gather(*(one(name) for name in range(20)))
        await client.close()
        return texts, order

    texts, order = asyncio.run(main())
    assert len(set(texts)) == 1
    assert texts[0].startswith("One two")
    # Each of the twenty was under way when the first one ended.
    first_end = min(max(index for index, name in enumerate(order) if name == one) for one in range(20))
    assert set(order[:first_end]) == set(range(20))


def test_leaving_an_async_stream_frees_the_conversation(api, client):
    conversation = client.conversations.create()

    async def leave(how):
        async_client = make_async_client(api)
        stream = await async_client.responses.create(**LONG, conversation=conversation.id, stream=True)
        created = await anext(stream)
        if how == "close":
            await stream.close()
        elif how == "break":
            async for event in stream:
                if event.type == "response.output_text.delta":
                    break
            await stream.close()
        elif how == "cancel":
            task = asyncio.ensure_future(_drain(stream))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif how == "forget":
            del stream
            gc.collect()
            await asyncio.sleep(0)
        response = await async_client.responses.retrieve(created.response.id)
        again = await async_client.responses.create(**LONG, conversation=conversation.id)
        await async_client.close()
        return response.status, again.status

    for how in ("close", "break", "cancel", "forget"):
        assert asyncio.run(leave(how)) == ("cancelled", "completed"), how


async def _drain(stream):
    async for _ in stream:
        pass


def test_async_background_and_resume(api):
    async def main():
        client = make_async_client(api)
        stream = await client.responses.create(**LONG, background=True, stream=True)
        seen = [await anext(stream) for _ in range(6)]
        await stream.close()
        async with client.responses.stream(response_id=seen[0].response.id, starting_after=5) as rest:
            numbers = [event.sequence_number async for event in rest]
            final = await rest.get_final_response()
        await client.close()
        return numbers, final

    numbers, final = asyncio.run(main())
    assert numbers[0] == 6
    assert final.status == "completed"


def test_a_human_pace_waits_before_deltas_only(monkeypatch):
    from helpers.local_api import transport

    waits = []
    monkeypatch.setattr(transport.time, "sleep", waits.append)
    api = LocalAPI(recordings=RECORDINGS, pace="human")
    events = list(make_client(api).responses.create(**LONG, stream=True))
    deltas = [event for event in events if event.type.endswith(".delta")]
    assert waits == [transport._HUMAN_PAUSE_S] * len(deltas)
    api.close()
    with pytest.raises(ValueError, match="is unknown"):
        LocalAPI(pace="slow")
