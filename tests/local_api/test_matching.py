"""Matching: the rules, one by one, and the marks that say how far an answer is what was recorded."""

from pathlib import Path

import openai
import pytest

from helpers.local_api import LocalAPI
from helpers.local_api.matching import TieError, best, find_ties, next_steps, split_steps
from helpers.local_api.recordings import Exchange, RecordedWith, Source
from helpers.local_api.turns import Call, Calls, Run, Say, Search, Think, Turn, TurnRequest
from tests.local_api.conftest import MODEL, RECORDINGS, make_client

FUNCTION = {
    "type": "function",
    "name": "duckduckgo_search",
    "description": "Looks up stable facts on the web.",
    "parameters": {},
    "strict": False,
}


def exchange(answer, ask="What is it?", **fields):
    fields = {"file": Path("a.yaml"), "line": 1, "source": Source("authored"), **fields}
    fields["tools"] = frozenset(fields.get("tools", ()))
    return Exchange(ask=ask, steps=(Say(answer),), **fields)


def request(question="What is it?", before=(), **fields):
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        for text in (*before, question)
    ]
    fields["tools"] = [
        {"type": "function", "name": tool} if tool.islower() and tool not in HOSTED else {"type": tool}
        for tool in fields.pop("tools", ())
    ]
    return TurnRequest(items=items, model=fields.pop("model", MODEL), **fields)


HOSTED = {"file_search", "code_interpreter"}


def answer(exchanges, asked):
    found = best(exchanges, asked)
    return found and found.steps[0].text


def test_the_last_question_of_the_user_counts():
    exchanges = [exchange("one", "First?"), exchange("two", "Second?")]
    assert answer(exchanges, request("second", before=["First?"])) == "two"
    assert answer(exchanges, request("Third?")) is None
    assert best(exchanges, TurnRequest(items=[], model=MODEL)) is None
    after_answer = request("First?")
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Second?"}]}
    assert answer(exchanges, TurnRequest(items=[*after_answer.items, said], model=MODEL)) == "one"


def test_all_tools_of_an_exchange_must_be_offered():
    exchanges = [exchange("found", tools=["file_search"])]
    assert answer(exchanges, request()) is None
    assert answer(exchanges, request(tools=["file_search", "code_interpreter"])) == "found"
    assert answer(exchanges, request(tools=["file_search"], tool_choice="none")) is None


def test_a_function_is_offered_under_its_own_name():
    exchanges = [exchange("called", tools=["duckduckgo_search"])]
    assert answer(exchanges, request(tools=["duckduckgo_search"])) == "called"
    assert answer(exchanges, request(tools=["count"])) is None


@pytest.mark.parametrize(
    ("when", "fits", "other"),
    [
        ({"instructions": "A  Pirate"}, {"instructions": "You are a\npirate."}, {"instructions": "A poet."}),
        ({"model": "gpt-6.2-sol"}, {"model": "gpt-6.2-sol"}, {"model": "gpt-6.2"}),
        ({"description": "stable facts"}, {"metadata": {"description": "For STABLE facts"}}, {}),
        (
            {"instructions": "pirate", "model": "gpt-6.2-sol"},
            {"instructions": "pirate", "model": "gpt-6.2-sol"},
            {"instructions": "pirate"},
        ),
    ],
)
def test_every_when_must_be_true(when, fits, other):
    exchanges = [exchange("this", when=when)]
    assert answer(exchanges, request(**fits)) == "this"
    assert answer(exchanges, request(**other)) is None


def test_a_description_can_be_that_of_a_function():
    asked = TurnRequest(items=request().items, model=MODEL, tools=[FUNCTION])
    assert answer([exchange("this", when={"description": "stable facts"})], asked) == "this"
    assert answer([exchange("this", when={"description": "opinions"})], asked) is None


def test_after_names_a_question_that_must_have_been_asked_before():
    exchanges = [exchange("again", after="My name is Ada."), exchange("first time")]
    assert answer(exchanges, request()) == "first time"
    assert answer(exchanges, request(before=["my name is ada"])) == "again"
    assert answer(exchanges, request(before=["my name is ada", "Something else"])) == "again"
    assert answer(exchanges[:1], request("My name is Ada.")) is None


def test_most_tools_win_then_most_conditions():
    exchanges = [
        exchange("plain"),
        exchange("when", when={"instructions": "pirate"}),
        exchange("tool", tools=["file_search"]),
        exchange("two tools", tools=["file_search", "code_interpreter"]),
    ]
    asked = {"instructions": "pirate"}
    assert answer(exchanges, request()) == "plain"
    assert answer(exchanges, request(**asked)) == "when"
    assert answer(exchanges, request(**asked, tools=["file_search"])) == "tool"
    assert answer(exchanges, request(**asked, tools=["file_search", "code_interpreter"])) == "two tools"


def test_a_tie_is_an_error_of_the_file():
    exchanges = [
        exchange("a", when={"instructions": "pirate"}, line=3),
        exchange("b", when={"model": MODEL}, line=9),
    ]
    assert answer(exchanges, request(instructions="poet")) == "b"
    with pytest.raises(TieError, match=r"a\.yaml:3 and a\.yaml:9"):
        best(exchanges, request(instructions="pirate"))


def test_ties_that_the_file_alone_shows():
    def ties(*exchanges):
        return [(problem.line, problem.message) for problem in find_ties(exchanges)]

    one, two = exchange("a", line=3), exchange("b", "what is IT", line=9)
    ((line, message),) = ties(one, two)
    assert line == 9
    assert "fits as well as a.yaml:3" in message
    assert ties(one, exchange("b", when={"model": "m"})) == []
    assert ties(exchange("a", when={"model": "m"}), exchange("b", when={"model": "n"})) == []
    assert len(ties(exchange("a", when={"model": "m"}), exchange("b", when={"model": "m"}))) == 1
    assert ties(one, exchange("b", after="Before?")) == []
    assert len(ties(exchange("a", after="Before?"), exchange("b", after="before"))) == 1
    files, code = exchange("a", tools=["file_search"]), exchange("b", tools=["code_interpreter"])
    assert "tools: [code_interpreter, file_search]" in ties(files, code)[0][1]
    assert ties(files, code, exchange("c", tools=["file_search", "code_interpreter"])) == []


def called(*names, answered=True):
    """The items of calls, and of their outputs."""
    calls = [
        {"type": "function_call", "call_id": f"call_{name}_{number}", "name": name, "arguments": "{}"}
        for number, name in enumerate(names)
    ]
    outputs = [
        {"type": "function_call_output", "call_id": call["call_id"], "output": f"from {call['name']}"}
        for call in calls
    ]
    return [*calls, *outputs[::-1]] if answered else calls


def test_it_goes_on_after_the_calls_that_have_their_outputs():
    a, b, c = Call("a", {}), Call("b", {}), Call("c", {})
    search, run, say = Search(["q"]), Run("x"), Say("done")
    whole = Exchange(
        "q", (search, Calls([a, b]), run, Calls([c]), say), Path("a.yaml"), 1, Source("authored")
    )

    def after(outputs, parallel=True):
        return next_steps(split_steps(whole, outputs)[1], parallel=parallel)

    assert after(0) == [search, Calls([a, b])]
    assert after(2) == [run, Calls([c])]
    assert after(3) == after(9) == [say]
    # One at a time, the second of two parallel calls comes in the next response.
    assert after(0, parallel=False) == [search, Calls([a])]
    assert after(1, parallel=False) == after(1) == [Calls([b])]
    assert split_steps(whole, 1)[0] == [search, Calls([a])]
    assert split_steps(whole, 3)[0] == [search, Calls([a, b]), run, Calls([c])]


def test_only_the_calls_since_the_last_question_count_and_only_with_their_output():
    asked = TurnRequest(items=[*called("old"), *request().items, *called("a", "b")], model=MODEL)
    assert [(each.name, each.output) for each in asked.answered_calls] == [("a", "from a"), ("b", "from b")]
    late = [*called("old", answered=False), *request().items, called("old")[1]]
    assert TurnRequest(items=late, model=MODEL).answered_calls == []
    waiting = TurnRequest(items=[*request().items, *called("a", answered=False)], model=MODEL)
    assert waiting.answered_calls == []


def forced(name):
    return {"type": "function", "name": name}


def allowed(mode, *tools):
    named = [forced(tool) if tool not in HOSTED else {"type": tool} for tool in tools]
    return {"type": "allowed_tools", "mode": mode, "tools": named}


@pytest.mark.parametrize(
    ("choice", "offered", "must"),
    [
        ("auto", {"a", "b", "file_search"}, False),
        ("none", set(), False),
        ("required", {"a", "b", "file_search"}, True),
        (forced("a"), {"a", "b", "file_search"}, True),
        ({"type": "file_search"}, {"file_search"}, True),
        (allowed("auto", "b", "file_search"), {"b", "file_search"}, False),
        (allowed("required", "b"), {"b"}, True),
    ],
)
def test_the_choice_says_which_tools_are_offered_and_whether_one_must_be_used(choice, offered, must):
    asked = request(tools=["a", "b", "file_search"], tool_choice=choice)
    assert asked.offered_tools == offered
    assert asked.must_use_tool is must
    after = TurnRequest(
        items=[*asked.items, *called("a")], model=MODEL, tools=asked.tools, tool_choice=choice
    )
    assert after.must_use_tool is False


def test_a_forced_function_plays_the_exchange_that_begins_with_it():
    def calling(name, *more):
        steps = (*more, Calls([Call(name, {})]), Say(name))
        return Exchange(
            "What is it?",
            steps,
            Path("a.yaml"),
            1,
            Source("authored"),
            tools=frozenset(("a", "b", "file_search")),
        )

    tools = ["a", "b", "file_search"]
    exchanges = [calling("a"), calling("b", Think("First b."))]
    for name in "ab":
        asked = request(tools=tools, tool_choice=forced(name))
        assert best(exchanges, asked).steps[-1] == Say(name)
    searching = [calling("a", Search(["q"]))]
    assert best(searching, request(tools=tools)) is searching[0]
    assert best(searching, request(tools=tools, tool_choice=forced("a"))) is None


def test_a_function_that_was_called_need_not_be_offered_again():
    exchanges = [exchange("called", tools=["a"])]
    items = [*request().items, *called("a")]
    assert answer(exchanges, TurnRequest(items=items, model=MODEL)) == "called"
    assert answer(exchanges, TurnRequest(items=items[:1], model=MODEL)) is None


def test_only_descriptions_of_functions_that_may_be_called_decide():
    exchanges = [exchange("this", when={"description": "stable facts"})]
    asked = {
        "items": request().items,
        "model": MODEL,
        "tools": [FUNCTION, {**FUNCTION, "name": "other", "description": "x"}],
    }
    assert answer(exchanges, TurnRequest(**asked)) == "this"
    assert answer(exchanges, TurnRequest(**asked, tool_choice=allowed("auto", "other"))) is None
    assert answer(exchanges, TurnRequest(**asked, tool_choice="none")) is None


def test_a_function_with_the_name_of_a_hosted_tool_is_not_taken_for_it():
    asked = TurnRequest(items=request().items, model=MODEL, tools=[{**FUNCTION, "name": "file_search"}])
    assert "file_search" not in asked.offered_tools


# -- marks ----------------------------------------------------------------------------------------------------------


def ask(client, question, **options):
    return client.responses.create(**{"model": MODEL, "input": question, **options})


def test_what_was_recorded_exactly_has_only_its_source(client):
    assert ask(client, "What is GPT-2?").metadata == {"workshop_source": "authored"}
    assert ask(client, "Were you really asked?").metadata == {
        "workshop_source": "captured",
        "workshop_captured": "gpt-6-luna, 2026-11-20",
    }
    librarian = ask(client, "Who are you?", instructions="  You are\na librarian. ")
    assert librarian.metadata == {"workshop_source": "authored"}


@pytest.mark.parametrize(
    ("question", "options", "note"),
    [
        (
            "Who are you?",
            {"instructions": "You are a poet."},
            "Your instructions were not used: this answer was recorded with other ones.",
        ),
        (
            "What is GPT-2?",
            {"instructions": "You are a poet."},
            "Your instructions were not used: this answer was recorded with none.",
        ),
        ("Who are you?", {}, "This answer was recorded with instructions; you sent none."),
        (
            "What is GPT-2?",
            {"model": "gpt-6.2-sol"},
            "The model gpt-6.2-sol was not used: this answer was recorded for gpt-6-luna.",
        ),
        (
            "What is GPT-2?",
            {"model": "gpt-6.2-sol", "instructions": "a"},
            "Your instructions were not used: this answer was recorded with none. "
            "The model gpt-6.2-sol was not used: this answer was recorded for gpt-6-luna.",
        ),
    ],
)
def test_what_was_not_used_is_said_in_the_metadata_and_never_in_the_text(client, question, options, note):
    response = ask(client, question, **options)
    assert response.metadata["workshop_note"] == note
    assert note not in response.output_text
    strict = LocalAPI(recordings=RECORDINGS, strict=True)
    with pytest.raises(openai.BadRequestError) as error:
        ask(make_client(strict), question, **options)
    assert error.value.code == "workshop_strict"
    assert note in error.value.message
    assert question in error.value.message
    assert str(RECORDINGS) in error.value.message
    strict.close()


def test_instructions_that_a_when_asked_for_need_no_note(client):
    response = ask(client, "Who are you?", instructions="You are a pirate from Bremen.")
    assert response.output_text == "Arr."
    assert response.metadata == {"workshop_source": "authored"}


def test_strict_lets_pass_what_was_recorded_exactly():
    api = LocalAPI(recordings=RECORDINGS, strict=True)
    client = make_client(api)
    assert ask(client, "What is GPT-2?").status == "completed"
    assert ask(client, "Who are you?", instructions="You are a pirate.").output_text == "Arr."
    with pytest.raises(openai.BadRequestError, match="not in the recordings") as error:
        ask(client, "What is a transformer?")
    assert error.value.code == "workshop_strict"
    assert "'What is a transformer?'" in error.value.message
    schema = {"format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}}
    with pytest.raises(openai.BadRequestError, match="not JSON"):
        ask(client, "What is GPT-2?", text=schema)
    api.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("source: authored\nexchanges:\n- ask: 4\n", "bad.yaml:3: ask must be a text"),
        (
            "source: authored\nexchanges:\n- ask: Hi\n  steps: [say: a]\n- ask: hi\n  steps: [say: b]\n",
            "bad.yaml:3 and",
        ),
    ],
)
def test_a_broken_recording_is_a_clear_error(tmp_path, text, words):
    (tmp_path / "bad.yaml").write_text(text)
    api = LocalAPI(recordings=tmp_path)
    with pytest.raises(openai.BadRequestError) as error:
        ask(make_client(api), "Hi")
    assert error.value.code == "recording_error"
    assert words in error.value.message
    api.close()


def test_another_source_of_turns_can_play_the_model():
    class Parrot:
        def next_turn(self, request):
            return Turn([Say(f"You said: {request.question}")])

    api = LocalAPI(source=Parrot())
    response = ask(make_client(api), "Hello")
    assert response.output_text == "You said: Hello"
    assert response.metadata == {}
    api.close()


def test_recorded_with_is_none_and_the_default_model_unless_said():
    assert RecordedWith() == RecordedWith(None, MODEL)
