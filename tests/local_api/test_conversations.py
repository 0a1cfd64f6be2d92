"""Conversations: their items, their order, and what a response reads from them and adds to them."""

import openai
import pytest

from tests.local_api.conftest import MODEL


def texts(client, conversation, **options):
    items = client.conversations.items.list(conversation.id, order="asc", **options)
    return [item.content[0].text for item in items if item.type == "message"]


def test_create_look_change_delete(client, clock):
    conversation = client.conversations.create(metadata={"course": "GPT-2"})
    assert conversation.id.startswith("conv_")
    assert conversation.created_at == int(clock.now)
    assert client.conversations.retrieve(conversation.id) == conversation
    changed = client.conversations.update(conversation.id, metadata={"course": "other"})
    assert changed.metadata == {"course": "other"}
    assert client.conversations.retrieve(conversation.id).metadata == {"course": "other"}
    deleted = client.conversations.delete(conversation.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (conversation.id, True, "conversation.deleted")
    for call in (
        lambda: client.conversations.retrieve(conversation.id),
        lambda: client.conversations.delete(conversation.id),
        lambda: client.conversations.items.list(conversation.id),
        lambda: client.responses.create(model=MODEL, input="What is GPT-2?", conversation=conversation.id),
    ):
        with pytest.raises(openai.NotFoundError, match=f"Conversation with id '{conversation.id}' not found"):
            call()


def test_messages_of_every_role_are_kept_in_the_shape_of_the_api(client):
    conversation = client.conversations.create(
        items=[
            {"role": "system", "content": "Be kind."},
            {
                "type": "message",
                "role": "developer",
                "content": [{"type": "input_text", "text": "Be short."}],
            },
            {"role": "user", "content": "Brick: token"},
            {"role": "assistant", "content": "Token: a brick.", "phase": "final_answer"},
        ]
    )
    items = list(client.conversations.items.list(conversation.id, order="asc"))
    assert [(item.role, item.status, item.content[0].type) for item in items] == [
        ("system", "completed", "input_text"),
        ("developer", "completed", "input_text"),
        ("user", "completed", "input_text"),
        ("assistant", "completed", "output_text"),
    ]
    assert items[3].content[0].annotations == []
    assert items[3].phase == "final_answer"
    assert len({item.id for item in items}) == 4
    assert all(item.id.startswith("msg_") for item in items)
    assert client.conversations.items.retrieve(items[2].id, conversation_id=conversation.id) == items[2]


def test_items_come_newest_first_in_pages(client):
    conversation = client.conversations.create()
    for start in (0, 20):
        created = client.conversations.items.create(
            conversation.id,
            items=[{"role": "user", "content": f"message {n}"} for n in range(start, start + 20)],
        )
        assert len(created.data) == 20
        assert (created.first_id, created.last_id) == (created.data[0].id, created.data[-1].id)
    page = client.conversations.items.list(conversation.id)
    assert [item.content[0].text for item in page.data] == [f"message {n}" for n in range(39, 19, -1)]
    assert page.has_more
    after = client.conversations.items.list(conversation.id, after=page.last_id, limit=100)
    assert [item.content[0].text for item in after.data] == [f"message {n}" for n in range(19, -1, -1)]
    assert not after.has_more
    assert texts(client, conversation, limit=7) == [f"message {n}" for n in range(40)]


def test_an_item_can_be_deleted(client):
    conversation = client.conversations.create(items=[{"role": "user", "content": text} for text in "abc"])
    middle = client.conversations.items.list(conversation.id).data[1]
    assert client.conversations.items.delete(middle.id, conversation_id=conversation.id) == conversation
    assert texts(client, conversation) == ["a", "c"]
    for call in (client.conversations.items.retrieve, client.conversations.items.delete):
        with pytest.raises(openai.NotFoundError, match=middle.id):
            call(middle.id, conversation_id=conversation.id)
    client.conversations.items.create(conversation.id, items=[{"role": "user", "content": "d"}])
    assert texts(client, conversation) == ["a", "c", "d"]


def test_input_and_output_join_the_conversation_when_the_response_is_complete(client):
    conversation = client.conversations.create()
    stream = client.responses.create(
        model=MODEL, input="What is GPT-2?", conversation=conversation.id, stream=True
    )
    for event in stream:
        if event.type == "response.output_text.done":
            assert texts(client, conversation) == []
    items = list(client.conversations.items.list(conversation.id, order="asc"))
    assert [item.type for item in items] == ["message", "reasoning", "message"]
    assert [item.id for item in items[1:]] == [item.id for item in event.response.output]
    (asked,) = client.responses.input_items.list(event.response.id).data
    assert asked.id == items[0].id
    assert event.response.conversation.id == conversation.id


def test_what_was_said_before_counts(client):
    conversation = client.conversations.create()

    def ask(question):
        return client.responses.create(
            model=MODEL, input=question, conversation={"id": conversation.id}
        ).output_text

    assert ask("What is my name?") == "You have not told me."
    assert ask("My name is Ada.") == "Hello, Ada."
    assert ask("What is my name?") == "Ada."


def test_a_chain_of_responses_remembers_as_well(client):
    first = client.responses.create(model=MODEL, input="My name is Ada.", instructions="Be brief.")
    second = client.responses.create(model=MODEL, input="What is my name?", previous_response_id=first.id)
    assert second.output_text == "Ada."
    assert second.previous_response_id == first.id
    assert second.instructions is None
    third = client.responses.create(model=MODEL, input="What is my name?", previous_response_id=second.id)
    assert third.output_text == "Ada."
    assert third.usage.input_tokens > second.usage.input_tokens > first.usage.input_tokens
    assert len(client.responses.input_items.list(third.id).data) == 1


def test_a_chain_can_leave_a_conversation(client):
    conversation = client.conversations.create()
    first = client.responses.create(model=MODEL, input="My name is Ada.", conversation=conversation.id)
    client.responses.create(model=MODEL, input="What is GPT-2?", conversation=conversation.id)
    branch = client.responses.create(model=MODEL, input="What is my name?", previous_response_id=first.id)
    assert branch.output_text == "Ada."
    assert len(texts(client, conversation)) == 4


def test_history_can_be_sent_by_hand(client):
    first = client.responses.create(model=MODEL, input="My name is Ada.")
    history = [
        {"role": "user", "content": "My name is Ada."},
        *first.output,
        {"role": "user", "content": "What is my name?"},
    ]
    again = client.responses.create(model=MODEL, input=history, store=False)
    assert again.output_text == "Ada."


def test_the_question_may_be_in_the_conversation_already(client):
    conversation = client.conversations.create(items=[{"role": "user", "content": "What is GPT-2?"}])
    response = client.responses.create(model=MODEL, input=[], conversation=conversation.id)
    assert response.output_text.startswith("A language model")
    assert client.responses.input_items.list(response.id).data == []
    assert len(texts(client, conversation)) == 2


def test_few_shot_messages_count_as_context(client):
    conversation = client.conversations.create(
        items=[
            {"role": "user", "content": "My name is Ada."},
            {"role": "assistant", "content": "Noted."},
        ]
    )
    response = client.responses.create(model=MODEL, input="What is my name?", conversation=conversation.id)
    assert response.output_text == "Ada."
    assert response.usage.input_tokens == 4 + 2 + 4


def test_deleting_a_conversation_keeps_the_responses(client):
    conversation = client.conversations.create()
    first = client.responses.create(model=MODEL, input="My name is Ada.", conversation=conversation.id)
    client.conversations.delete(conversation.id)
    assert client.responses.retrieve(first.id).output_text == "Hello, Ada."
    branch = client.responses.create(model=MODEL, input="What is my name?", previous_response_id=first.id)
    assert branch.output_text == "Ada."


def test_a_conversation_deleted_in_the_middle_of_an_answer_hurts_nobody(client):
    conversation = client.conversations.create()
    stream = client.responses.create(
        model=MODEL, input="What is GPT-2?", conversation=conversation.id, stream=True
    )
    next(stream)
    client.conversations.delete(conversation.id)
    assert [event.type for event in stream][-1] == "response.completed"


MANY = [{"role": "user", "content": "a"}] * 21
WRONG = [
    ("/conversations", {"items": MANY}, "items", "array_above_max_length"),
    ("/conversations", {"items": "a"}, "items", "invalid_type"),
    ("/conversations", {"items": [{"role": "user"}]}, "items[0].content", "missing_required_parameter"),
    ("/conversations", {"metadata": {"k": 1}}, "metadata.k", "invalid_type"),
    ("/conversations", {"name": "a"}, "name", "unknown_parameter"),
    ("/conversations/{}", {}, "metadata", "missing_required_parameter"),
    ("/conversations/{}", {"metadata": {"a": "b" * 513}}, "metadata.a", "string_above_max_length"),
    ("/conversations/{}/items", {}, "items", "missing_required_parameter"),
    ("/conversations/{}/items", {"items": []}, "items", "empty_array"),
    ("/conversations/{}/items", {"items": MANY}, "items", "array_above_max_length"),
    (
        "/conversations/{}/items",
        {"items": [{"role": "user", "content": " "}]},
        "items[0].content",
        "empty_string",
    ),
]


@pytest.mark.parametrize(("path", "body", "param", "code"), WRONG)
def test_a_wrong_request_changes_nothing(raw, path, body, param, code):
    conversation = raw.post("/conversations", {"items": MANY[:20]}).json()["id"]
    status, error = raw.error(path.format(conversation), body)
    assert (status, error["param"], error["code"]) == (400, param, code)
    assert raw.get(f"/conversations/{conversation}").json()["metadata"] == {}
    assert len(raw.get(f"/conversations/{conversation}/items?limit=100").json()["data"]) == 20


def test_an_empty_conversation_has_an_empty_page(raw):
    conversation = raw.post("/conversations").json()["id"]
    assert raw.get(f"/conversations/{conversation}/items").json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


def test_the_input_of_a_response_comes_in_pages_as_well(client):
    messages = [{"role": "user", "content": f"message {n}"} for n in range(30)]
    response = client.responses.create(model=MODEL, input=messages)
    newest_first = [item.content[0].text for item in client.responses.input_items.list(response.id, limit=7)]
    assert newest_first == [f"message {n}" for n in range(29, -1, -1)]
    page = client.responses.input_items.list(response.id, order="asc", limit=2)
    assert [item.content[0].text for item in page.data] == ["message 0", "message 1"]
    with pytest.raises(openai.NotFoundError, match="msg_unknown"):
        client.responses.input_items.list(response.id, after="msg_unknown")
