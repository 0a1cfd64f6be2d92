"""Captured turns: citations go back into texts, and conversations are remembered as the API would."""

import datetime as dt
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.local_api.captured_turns import Conversations, portable_code, with_citations
from helpers.local_api.citing import citations, with_annotations
from helpers.local_api.turns import Say

NAMES = ["notes.md", "over view.md", "a.py"]
texts = st.text("ab .,(`\n\té🙂!", min_size=1, max_size=40).filter(
    lambda text: text.strip() and not citations(text)
)


@given(texts, st.lists(st.tuples(st.integers(0, 45), st.sampled_from(NAMES)), max_size=4))
def test_a_text_with_its_citations_says_the_same_again(text, places):
    places = sorted(places, key=lambda place: place[0])
    written = with_citations(text, places)
    if written is None:
        assert "`" in text or text.startswith("("), "only code, or a bracket, leaves no place for a citation"
        return
    played = with_annotations(Say(written), {name: f"file-{name}" for name in NAMES})
    assert played.text == text
    assert sorted(each["filename"] for each in played.annotations) == sorted(name for _, name in places)
    assert all(
        each["index"] <= place
        for each, place in zip(played.annotations, sorted(p for p, _ in places), strict=True)
    )


@pytest.mark.parametrize(
    ("text", "places", "written"),
    [
        ("It stops there.", [(14, "notes.md")], "It stops there [notes.md]."),
        ("It stops there.", [(15, "notes.md")], "It stops there. [notes.md]"),
        ("One. Two.", [(5, "notes.md")], "One. [notes.md] Two."),
        ("Both.", [(4, "notes.md"), (4, "a.py")], "Both [notes.md][a.py]."),
        ("Begin", [(0, "notes.md")], "[notes.md]Begin"),
        ("See `code` here", [(8, "notes.md")], "See [notes.md] `code` here"),
        ("Shapes first(see there)", [(12, "notes.md")], "Shapes [notes.md] first(see there)"),
    ],
)
def test_a_citation_stands_behind_what_it_supports(text, places, written):
    assert with_citations(text, places) == written
    assert with_annotations(Say(written), dict.fromkeys(NAMES, "")).text == text


def test_a_name_that_no_citation_can_have_is_refused():
    assert with_citations("It stops there.", [(14, "a,b.md")]) is None
    assert with_citations("It stops there.", [(14, "table.csv")]) is None


@pytest.mark.parametrize(
    ("code", "portable"),
    [
        ("open('/mnt/data/log.csv')", "open('log.csv')"),
        ('open(f"/mnt/data/{name}")', 'open(f"{name}")'),
        ("os.listdir('/mnt/data')", "os.listdir('.')"),
        ("os.listdir('/mnt/data/')", "os.listdir('.')"),
        ("print('sandbox:/mnt/data/x.csv')", "print('sandbox:/mnt/data/x.csv')"),
        ("a = 1\r\nb = 2\r\n", "a = 1\nb = 2"),
    ],
)
def test_code_runs_where_there_is_no_mnt_data(code, portable):
    assert portable_code(code) == portable


class Ears:
    """Hears made-up requests and answers."""

    def __init__(self):
        self.turns, self.missed = [], []
        self.conversations = Conversations(
            self.turns.append, lambda *each: self.missed.append(each), threading.Lock()
        )

    def respond(self, id, text="Yes.", *, calls=(), status="completed", output=..., **request):
        message = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
        made = [
            {"type": "function_call", "call_id": call, "name": "count", "arguments": "{}"} for call in calls
        ]
        body = {
            "id": id,
            "object": "response",
            "status": status,
            "model": "gpt-6-luna",
            "created_at": 1_795_000_000,
            "output": made or [message] if output is ... else output,
        }
        tools = [{"type": "function", "name": "count"}]
        self.conversations.heard(
            "POST", ("responses",), {"model": "gpt-6-luna", "tools": tools, **request}, body
        )
        return self


def output(call_id, text="3"):
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def test_a_conversation_remembers_what_was_added_to_it_and_forgets_what_was_deleted():
    ears = Ears()
    hear = ears.conversations.heard
    hear(
        "POST",
        ("conversations",),
        {"items": [{"role": "user", "content": "First?"}, {"role": "assistant", "content": "Yes."}]},
        {"id": "conv_1", "object": "conversation"},
    )
    item = {
        "id": "msg_9",
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "Second?"}],
    }
    hear("POST", ("conversations", "conv_1", "items"), {"items": [item]}, {"object": "list", "data": [item]})
    ears.respond("resp_1", conversation={"id": "conv_1"}, input=[])
    ears.respond("resp_2", conversation="conv_1", input="Third?")
    hear(
        "DELETE",
        ("conversations", "conv_1", "items", "msg_9"),
        {},
        {"id": "conv_1", "object": "conversation"},
    )
    ears.respond("resp_3", conversation="conv_1", input="Fourth?")
    assert [(turn.ask, turn.earlier) for turn in ears.turns] == [
        ("Second?", ["First?"]),
        ("Third?", ["First?", "Second?"]),
        ("Fourth?", ["First?", "Third?"]),
    ]


def test_a_chain_of_responses_is_a_conversation_too():
    ears = Ears().respond("resp_1", input="First?")
    ears.respond("resp_2", input="Second?", previous_response_id="resp_1")
    ears.respond("resp_3", input="Third?", previous_response_id="resp_2")
    assert [turn.earlier for turn in ears.turns] == [[], ["First?"], ["First?", "Second?"]]


def test_what_did_not_complete_is_not_remembered_in_the_conversation():
    ears = Ears()
    ears.conversations.heard("POST", ("conversations",), {}, {"id": "conv_1", "object": "conversation"})
    ears.respond("resp_1", conversation="conv_1", input="Failed?", status="failed")
    ears.respond("resp_2", conversation="conv_1", input="And now?")
    assert ears.turns[0].earlier == []


def test_parallel_calls_and_rounds_make_one_turn():
    ears = Ears().respond("resp_1", calls=["call_1", "call_2"], input="How many?")
    ears.respond(
        "resp_2", calls=["call_3"], previous_response_id="resp_1", input=[output("call_1"), output("call_2")]
    )
    ears.respond("resp_3", "Three.", previous_response_id="resp_2", input=[output("call_3", "three")])
    (turn,) = ears.turns
    assert [len(getattr(step, "calls", "-")) for step in turn.steps] == [2, 1, 1]
    assert turn.outputs == {(0, 0): "3", (0, 1): "3", (1, 0): "three"}
    assert ears.conversations.unanswered() == []
    ears.respond("resp_4", calls=["call_4", "call_5"], input="And how many more?")
    assert [turn.ask for turn in ears.conversations.unanswered()] == ["And how many more?"]


def test_the_same_outputs_sent_again_are_another_answer_to_the_same_question():
    ears = Ears().respond("resp_1", calls=["call_1"], input="How many?")
    for number in (2, 3):
        ears.respond(
            f"resp_{number}", f"Answer {number}.", previous_response_id="resp_1", input=[output("call_1")]
        )
    assert [turn.steps[-1].text for turn in ears.turns] == ["Answer 2.", "Answer 3."]


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"conversation": "conv_0", "input": []}, "its conversation was begun before the recording"),
        ({"input": [output("call_9")]}, "no message of a user was seen"),
        (
            {"input": [{"role": "user", "content": "How many?"}, output("call_9")]},
            "the function calls that it goes on from were not recorded",
        ),
        (
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_image", "image_url": "https://x.example"}]}
                ]
            },
            "no message of a user was seen",
        ),
        (
            {
                "input": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_text", "text": "What is it?"},
                            {"type": "input_image", "image_url": "https://x.example"},
                        ],
                    }
                ]
            },
            "its question holds more than text",
        ),
    ],
)
def test_a_question_that_was_not_seen_whole_is_not_recorded(request_, why):
    ears = Ears().respond("resp_1", **request_)
    assert ears.turns == []
    assert why in ears.missed[0][1]


@pytest.mark.parametrize(
    "output",
    [
        None,
        "text",
        [None, "x", {}, {"type": "message", "content": None}],
        [{"type": "file_search_call", "queries": None}, {"type": "code_interpreter_call", "code": None}],
        [
            {"type": "reasoning", "summary": [None, {}]},
            {"type": "message", "content": ["x", {"type": "output_text"}]},
        ],
    ],
)
def test_an_answer_of_an_unknown_shape_breaks_nothing(output):
    ears = Ears().respond("resp_1", input="What?", output=output)
    assert ears.turns == []
    assert len(ears.missed) == 1


@pytest.mark.parametrize("created_at", [None, "soon", -1, 1e300, float("inf"), float("nan"), 253402300800])
def test_a_time_that_no_response_can_have_becomes_today(created_at):
    ears = Ears()
    body = {"id": "resp_1", "object": "response", "status": "completed", "created_at": created_at}
    message = {"type": "message", "content": [{"type": "output_text", "text": "Yes."}]}
    ears.conversations.heard("POST", ("responses",), {"input": "What?"}, {**body, "output": [message]})
    assert abs(dt.date.fromisoformat(ears.turns[0].date) - dt.datetime.now(dt.UTC).date()).days <= 1
