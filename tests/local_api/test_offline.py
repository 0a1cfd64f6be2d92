"""The offline helper: plain, useful, and never taken for a model."""

import pytest

from helpers.local_api import LocalAPI
from tests.local_api.conftest import MODEL, make_client

SEARCH = {"type": "function", "name": "duckduckgo_search", "parameters": {"type": "object"}, "strict": False}


def ask(client, question, **options):
    return client.responses.create(**{"model": MODEL, "input": question, **options})


def listed(text):
    return [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]


def test_it_says_what_it_is_how_to_go_live_and_what_is_there(client):
    response = ask(client, "What is GPT-3?")
    text = response.output_text
    assert response.metadata == {"workshop_source": "offline helper"}
    assert text.startswith("This question is not in the recording")
    assert "not a model" in text
    assert "OPENAI_API_KEY" in text
    assert "connect()" in text
    questions = listed(text)
    assert questions[0] == "What is GPT-2?"
    assert len(questions) == 8
    assert ask(client, questions[0]).metadata == {"workshop_source": "authored"}


def test_it_lists_only_what_would_be_answered_here(client):
    without = listed(ask(client, "Search it now").output_text)
    assert "Search it." not in without
    assert "Call it." not in without
    with_tool = listed(ask(client, "Call it now", tools=[SEARCH]).output_text)
    assert with_tool[0] == "Call it."


def test_questions_that_are_recorded_twice_are_listed_once(client):
    conversation = client.conversations.create(items=[{"role": "user", "content": "My name is Ada."}])
    questions = listed(ask(client, "What is my nickname?", conversation=conversation.id).output_text)
    assert questions.count("What is my name?") == 1


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("Search it.", "It is recorded for an assistant that has the tools file_search."),
        ("Call it.", "It is recorded for an assistant that has the tools duckduckgo_search."),
    ],
)
def test_it_says_why_a_recorded_question_was_not_answered(client, question, words):
    assert words in ask(client, question).output_text


def test_it_says_what_must_be_asked_first(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "source: authored\nexchanges:\n"
        "- ask: And then?\n  after: What first?\n  steps: [say: a]\n"
        "- ask: Who?\n  when: {instructions: pirate}\n  steps: [say: b]\n"
    )
    api = LocalAPI(recordings=tmp_path)
    client = make_client(api)
    assert (
        "It is recorded as a follow-up to this question: What first?" in ask(client, "And then?").output_text
    )
    assert "It is recorded, but for other instructions." in ask(client, "Who?").output_text
    assert "No recorded question fits" in ask(client, "Who?").output_text
    api.close()


def test_without_recordings_it_still_answers(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        api = LocalAPI(recordings=folder)
        assert "There are no recordings" in ask(make_client(api), "Hi").output_text
        api.close()


def test_without_a_question_it_says_so(client):
    response = ask(client, [{"role": "system", "content": "Be kind."}])
    assert response.output_text.startswith("There is no message of a user")
    assert response.metadata["workshop_source"] == "offline helper"


def test_a_long_strange_question_is_answered_at_once_and_not_repeated(client):
    for question in ("🦜" * 20_000, "a b " * 75_000, "\u0000'\"`$(rm)"):
        text = ask(client, question).output_text
        assert len(text) < 3000
        assert text.startswith("This question is not in the recording")


def test_it_streams_like_any_answer(client):
    with client.responses.stream(model=MODEL, input="Not recorded") as stream:
        final = stream.get_final_response()
    assert final.metadata["workshop_source"] == "offline helper"
    assert [item.type for item in final.output] == ["reasoning", "message"]


def test_its_answer_joins_the_conversation(client):
    conversation = client.conversations.create()
    ask(client, "Not recorded", conversation=conversation.id)
    assert len(client.conversations.items.list(conversation.id).data) == 3


def test_the_recordings_of_the_course_are_the_default():
    api = LocalAPI()
    questions = listed(ask(make_client(api), "What is GPT-3?").output_text)
    assert any("GPT2" in question for question in questions)
    api.close()
