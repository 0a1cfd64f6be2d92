"""Assistants: what travels, what is refused, and that nothing changes behind your back."""

import copy
import pickle

import pytest

from helpers import Assistant, ConfigurationError

SEARCH = {"type": "file_search", "vector_store_ids": ["vs_1"]}
PYTHON = {"type": "code_interpreter", "container": {"type": "auto"}}


@pytest.fixture(autouse=True)
def _default_model(monkeypatch):
    monkeypatch.delenv("OPENAI_MODEL", raising=False)


def teacher(**changes):
    return Assistant(**{"name": "Teacher", "instructions": "Explain step by step.", **changes})


def test_it_is_exactly_the_arguments_of_a_request():
    assert dict(teacher(description="For beginners.")) == {
        "model": "gpt-6-luna",
        "instructions": "Explain step by step.",
        "reasoning": {"effort": "low"},
        "metadata": {"assistant": "Teacher", "description": "For beginners."},
    }


def test_double_star_gives_these_arguments():
    def create(**arguments):
        return arguments

    assert create(input="Hello", **teacher())["model"] == "gpt-6-luna"
    with pytest.raises(TypeError, match="instructions"):
        create(instructions="Other ones.", **teacher())


def test_no_temperature_unless_asked():
    assert "temperature" not in teacher()
    assert teacher(temperature=0)["temperature"] == 0.0


def test_a_model_that_does_not_reason_gets_no_effort():
    assert "reasoning" not in teacher(model="gpt-4.1-mini")
    assert "reasoning" not in teacher(model="a-model-of-another-server")
    assert teacher(model="a-model-of-another-server", effort="high")["reasoning"] == {"effort": "high"}


def test_the_environment_chooses_the_model(monkeypatch):
    monkeypatch.setenv("OPENAI_MODEL", " gpt-6.1-terra ")
    assert teacher().model == "gpt-6.1-terra"
    assert teacher(model="gpt-6-luna").model == "gpt-6-luna"


def test_with_tools_adds_and_does_not_double():
    agent = teacher().with_tools(SEARCH).with_tools(PYTHON, SEARCH)
    assert [tool["type"] for tool in agent["tools"]] == ["file_search", "code_interpreter"]
    assert "tools" not in teacher()


def test_variations_leave_the_first_one_alone():
    first = teacher()
    second = first.with_instructions("Be brief.").with_model("gpt-6.1-sol", effort="high")
    assert (first.instructions, first.model, first.effort) == ("Explain step by step.", "gpt-6-luna", "low")
    assert (second.instructions, second.model, second.effort) == ("Be brief.", "gpt-6.1-sol", "high")
    assert second.name == first.name


def test_nothing_that_it_hands_out_changes_it():
    agent = teacher(tools=[SEARCH])
    agent["tools"][0]["vector_store_ids"].append("vs_2")
    agent.tools.clear()
    agent["metadata"]["assistant"] = "Somebody else"
    assert agent["tools"] == [SEARCH]
    assert agent["metadata"] == {"assistant": "Teacher"}
    with pytest.raises(ConfigurationError, match="with_instructions"):
        agent.name = "Somebody else"
    with pytest.raises(ConfigurationError):
        del agent.name


def test_a_tool_that_you_change_later_does_not_change_it():
    tool = copy.deepcopy(SEARCH)
    agent = teacher(tools=[tool])
    tool["vector_store_ids"].append("vs_2")
    assert agent["tools"] == [SEARCH]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"instructions": ""}, "instructions must not be empty"),
        ({"instructions": " \n"}, "instructions must not be empty"),
        ({"instructions": "x" * 256_001}, "at most 256,000"),
        ({"instructions": None}, "must be a text"),
        ({"name": ""}, "name must not be empty"),
        ({"name": "n" * 257}, "at most 256"),
        ({"name": 7}, "must be a text"),
        ({"description": "d" * 513}, "at most 512"),
        ({"tools": [{"type": "telescope"}]}, "Unknown tool type 'telescope'"),
        ({"tools": [{"type": "retrieval"}]}, "now called 'file_search'"),
        ({"tools": [{"type": "file_search"}]}, "vector_store_ids"),
        ({"tools": [{"type": "code_interpreter"}]}, "container"),
        ({"tools": {"type": "file_search"}}, "must be a list"),
        ({"tools": "file_search"}, "must be a list"),
        ({"tools": ["file_search"]}, "A tool is a dict"),
        ({"tools": [len]}, "notebook 4"),
        ({"effort": "huge"}, "Unknown effort"),
        ({"effort": "none", "model": "gpt-6.2-sol"}, "has no effort 'none'"),
        ({"effort": "low", "model": "gpt-4o"}, "does not reason"),
        ({"temperature": 3}, "from 0 to 2"),
        ({"temperature": True}, "from 0 to 2"),
    ],
)
def test_bad_values_are_refused_in_one_sentence(changes, sentence):
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        teacher(**changes)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_it_shows_itself_and_a_planted_tag_stays_text():
    agent = teacher(name="<script>alert(1)</script>", description="For beginners.", tools=[SEARCH])
    shown = agent._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "For beginners." in shown
    assert "file_search" in shown
    assert "Explain step by step." in repr(agent)


def test_it_can_be_copied_compared_and_stored():
    agent = teacher(tools=[SEARCH], temperature=0.5, effort="none")
    assert copy.deepcopy(agent) == agent
    assert pickle.loads(pickle.dumps(agent)) == agent
    assert {agent: 1}[teacher(tools=[SEARCH], temperature=0.5, effort="none")] == 1
    assert agent != teacher()
