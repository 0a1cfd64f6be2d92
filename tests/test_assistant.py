"""Assistants: what travels, what is refused, and that nothing changes behind your back."""

import copy
import functools
import pickle
import sys
import types

import pytest

from helpers import Assistant, ConfigurationError, function_tool
from tests.strict_schema import problems

SEARCH = {"type": "file_search", "vector_store_ids": ["vs_1"]}
PYTHON = {"type": "code_interpreter", "container": {"type": "auto"}}
BY_HAND = {"type": "function", "name": "lookup", "parameters": {"type": "object", "properties": {}}}


def lookup(word: str, limit: int = 3) -> str:
    """Look a word up."""
    return word * limit


def count(text: str) -> int:
    """Count the words."""
    return len(text.split())


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
        ({"tools": [3]}, "or a Python function, not int"),
        ({"tools": [len]}, "positional-only"),
        ({"tools": [lambda: 1]}, "A lambda has no name"),
        ({"tools": [print]}, r"takes \*args"),
        ({"tools": [lookup, BY_HAND]}, "A Python function and a tool dict have the name lookup"),
        (
            {"tools": [BY_HAND, {**BY_HAND, "description": "Other."}]},
            "Two different functions have the name lookup",
        ),
        (
            {"tools": [lookup, function_tool(count, name="lookup")]},
            "Two different functions have the name lookup",
        ),
        (
            {"tools": [lookup, function_tool(lookup, description="Other.")]},
            "Two different functions have the name",
        ),
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


# -- Python functions -----------------------------------------------------------------------------------------------


def test_a_function_travels_as_its_schema():
    agent = teacher(tools=[SEARCH, lookup])
    assert agent["tools"] == [SEARCH, function_tool(lookup).param]
    assert dict(agent)["tools"] == agent.tools
    assert problems(agent.tools[1]["parameters"]) == []
    assert agent.functions == [function_tool(lookup)]
    assert agent.functions[0].function is lookup
    assert teacher(tools=[SEARCH]).functions == []


def test_nothing_that_it_hands_out_changes_a_function():
    agent = teacher(tools=[lookup])
    agent["tools"][0]["parameters"]["properties"].clear()
    agent.tools[0]["name"] = "other"
    agent.functions.clear()
    assert agent == teacher(tools=[lookup])


def test_the_same_function_is_not_added_twice():
    agent = teacher().with_tools(lookup).with_tools(PYTHON, lookup, function_tool(lookup), count, count)
    assert [tool.get("name") or tool["type"] for tool in agent.tools] == [
        "lookup",
        "code_interpreter",
        "count",
    ]
    assert len(teacher(tools=[SEARCH, SEARCH, lookup, lookup]).tools) == 2


def test_two_of_one_name_are_refused_when_they_are_added_too():
    agent = teacher(tools=[lookup])
    for tool in (BY_HAND, function_tool(count, name="lookup")):
        with pytest.raises(ConfigurationError, match="have the name lookup"):
            agent.with_tools(tool)
    with pytest.raises(ConfigurationError, match="have the name lookup"):
        teacher(tools=[BY_HAND]).with_tools(lookup)


def test_two_local_functions_of_one_name_are_two():
    def made(times):
        def same(word: str) -> str:
            """Repeat it."""
            return word * times

        return same

    with pytest.raises(ConfigurationError, match="Two different functions have the name same"):
        teacher(tools=[made(1)]).with_tools(made(2))


def test_a_function_whose_cell_was_run_again_takes_the_place_of_the_older_one(monkeypatch):
    cell = 'def search(word: str) -> str:\n    "Search."\n    return {number!r}\n'
    notebook = types.ModuleType("a_notebook")
    monkeypatch.setitem(sys.modules, "a_notebook", notebook)
    exec(cell.format(number="1"), notebook.__dict__)
    agent = teacher(tools=[notebook.search, PYTHON])
    exec(cell.format(number="2"), notebook.__dict__)
    again = agent.with_tools(notebook.search)
    assert [tool.get("name") or tool["type"] for tool in again.tools] == ["search", "code_interpreter"]
    assert again.functions[0].function("") == "2"
    assert agent.functions[0].function("") == "1"


def test_methods_and_partials_can_be_tools():
    class Shop:
        def order(self, item: str) -> str:
            """Order something."""
            return item

    shop = Shop()
    agent = teacher(tools=[shop.order, functools.partial(lookup, limit=1)]).with_tools(shop.order)
    assert [tool.name for tool in agent.functions] == ["order", "lookup"]
    assert list(agent.functions[1].parameters["properties"]) == ["word"]


def test_an_assistant_shows_its_functions():
    agent = teacher(tools=[SEARCH, lookup, count])
    assert "file_search, lookup, count" in repr(agent)
    assert "file_search, lookup, count" in agent._repr_html_()


def test_variations_keep_the_functions():
    agent = teacher(tools=[lookup]).with_instructions("Be brief.").with_model("gpt-6.1-sol")
    assert agent.functions == [function_tool(lookup)]


def test_an_assistant_with_functions_can_be_copied_compared_and_stored():
    agent = teacher(tools=[SEARCH, lookup])
    assert agent == teacher(tools=[SEARCH, lookup])
    assert agent != teacher(tools=[SEARCH, count])
    assert agent != teacher(tools=[SEARCH, function_tool(lookup).param])
    assert hash(agent) == hash(teacher(tools=[SEARCH, lookup]))
    assert copy.deepcopy([agent]) == [agent]
    assert pickle.loads(pickle.dumps(agent)) == agent


def test_an_assistant_with_a_local_function_can_be_copied_but_not_stored():
    def local(word: str) -> str:
        """Repeat it."""
        return word

    agent = teacher(tools=[local])
    assert copy.deepcopy(agent) == agent
    with pytest.raises(ConfigurationError, match="local cannot be stored"):
        pickle.dumps(agent)
