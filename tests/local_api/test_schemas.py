"""Schemas: the rules of strict mode in OpenAI's words, schemas without ``strict``, and answers that must fit."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.local_api.schemas import misfit, normalised, problem_in, schema_error, takes
from tests.local_api.conftest import DATA, MODEL

TEXT = {"type": "string"}
NUMBER = {"type": "integer"}


def closed(properties, **more):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
        **more,
    }


GOOD = closed(
    {
        "query": {"type": "string", "description": "What to look for.", "minLength": 1},
        "limit": {"type": ["integer", "null"], "minimum": 1},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "tags": {"type": "array", "items": TEXT, "maxItems": 3},
        "deep": {"anyOf": [closed({"x": NUMBER}), {"type": "null"}]},
        "step": {"$ref": "#/$defs/Step"},
        "again": {"type": "array", "items": {"$ref": "#"}},
    },
    **{"$defs": {"Step": closed({"next": {"anyOf": [{"$ref": "#/$defs/Step"}, {"type": "null"}]}})}},
)

MISSING = "'required' is required to be supplied and to be an array including every key in properties."
# A schema, and what OpenAI says against it in strict mode.
WRONG = [
    ({}, "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'."),
    (TEXT, "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"string\"'."),
    ({"anyOf": [closed({})]}, "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'."),
    ({"type": "object"}, "In context=(), object schema missing properties."),
    (
        {"type": "object", "properties": {"a": TEXT}, "required": ["a"]},
        "In context=(), 'additionalProperties' is required to be supplied and to be false.",
    ),
    (
        closed({"a": TEXT}, additionalProperties=TEXT),
        "In context=(), 'additionalProperties' is required to be supplied and to be false.",
    ),
    (closed({"x": TEXT, "y": TEXT}, required=["x"]), f"In context=(), {MISSING} Missing 'y'."),
    (
        {"type": "object", "properties": {"a": TEXT}, "additionalProperties": False},
        f"In context=(), {MISSING}",
    ),
    (closed({"a": TEXT}, required=["a", "z"]), f"In context=(), {MISSING} Extra required key 'z' supplied."),
    (
        closed({"a": TEXT}, required=["a", ["b"]]),
        f"In context=(), {MISSING} Extra required key '['b']' supplied.",
    ),
    (closed({"a": TEXT}, required="a"), f"In context=(), {MISSING}"),
    (
        closed({"deep": {"type": "object", "properties": {}}}),
        "In context=('properties', 'deep'), 'additionalProperties' is required to be supplied and to be false.",
    ),
    (
        closed({"list": {"type": "array", "items": {"type": "object"}}}),
        "In context=('properties', 'list', 'items'), object schema missing properties.",
    ),
    (
        closed({"deep": {"anyOf": [{"type": "null"}, {"type": "object"}]}}),
        "In context=('properties', 'deep', 'anyOf', '1'), object schema missing properties.",
    ),
    (
        closed({}, **{"$defs": {"A": {"type": "object"}}}),
        "In context=('$defs', 'A'), object schema missing properties.",
    ),
    (closed({"a": {"type": "array"}}), "In context=('properties', 'a'), array schema missing items."),
    (closed({"a": {}}), "In context=('properties', 'a'), schema must have a 'type' key."),
    (closed({"a": True}), "In context=('properties', 'a'), schema must have a 'type' key."),
    (closed({"a": {"const": 1}}), "In context=('properties', 'a'), schema must have a 'type' key."),
    (
        closed({"a": {"type": "text"}}),
        "In context=('properties', 'a'), 'text' is not valid under any of the given schemas.",
    ),
    (
        closed({"a": {"type": []}}),
        "In context=('properties', 'a'), None is not valid under any of the given schemas.",
    ),
    (closed({}, oneOf=[TEXT]), "In context=(), 'oneOf' is not permitted."),
    (closed({"a": {**TEXT, "default": "b"}}), "In context=('properties', 'a'), 'default' is not permitted."),
    (
        closed({"a": {"type": "array", "items": TEXT, "uniqueItems": True}}),
        "In context=('properties', 'a'), 'uniqueItems' is not permitted.",
    ),
    (
        closed({"a": {"$ref": "#/$defs/A", "description": "b"}}, **{"$defs": {"A": TEXT}}),
        "In context=('properties', 'a'), $ref cannot have keywords {'description'}.",
    ),
    (
        closed({"a": {"$ref": "#/$defs/B"}}, **{"$defs": {"A": TEXT}}),
        "In context=('properties', 'a'), reference to component '#/$defs/B' which was not found in the schema.",
    ),
    (
        closed({"a": {"$ref": "https://example.org/schema.json"}}),
        "In context=('properties', 'a'), reference to component 'https://example.org/schema.json' which was not found in "
        "the schema.",
    ),
]


@pytest.mark.parametrize(("schema", "says"), WRONG, ids=[each[1][:60] for each in WRONG])
def test_strict_mode_says_what_is_wrong_and_where(schema, says):
    assert problem_in(schema, strict=True) == says


def test_strict_mode_takes_what_it_supports():
    assert problem_in(GOOD, strict=True) == ""
    # A function without arguments needs no list of them.
    assert problem_in({"type": "object", "properties": {}, "additionalProperties": False}, strict=True) == ""


def test_without_strict_mode_only_the_root_and_lists_are_looked_at():
    assert problem_in({"type": "object", "properties": {"a": {"default": 1}}}, strict=False) == ""
    assert "'type: \"None\"'" in problem_in({}, strict=False)
    assert problem_in(closed({"a": {"type": "array"}}, required=[]), strict=False) == (
        "In context=('properties', 'a'), array schema missing items."
    )


def test_a_message_stays_short_however_long_the_names_are():
    name = "n" * 100_000
    for schema in (closed({name: {}}), closed({name: TEXT}, required=[]), closed({"a": {"type": name}})):
        assert len(problem_in(schema, strict=True)) < 900


# -- where strict is left out ---------------------------------------------------------------------------------------


def test_the_schema_of_the_live_recording_becomes_what_the_live_api_made_of_it():
    exchange = json.loads((DATA / "real-streams" / "function_call.json").read_text())[0]
    (sent,) = exchange["request"]["body"]["tools"]
    (echoed,) = exchange["response"]["body"]["sse"][0]["response"]["tools"]
    schema, strict = normalised(sent["parameters"])
    assert (schema, strict) == (echoed["parameters"], echoed["strict"])


def test_optional_arguments_become_required():
    schema = {
        "type": "object",
        "properties": {"a": TEXT, "deep": {"type": "object", "properties": {"b": TEXT}}},
        "required": ["a"],
    }
    before = copy.deepcopy(schema)
    made, strict = normalised(schema)
    assert strict is True
    assert made["required"] == ["a", "deep"]
    assert made["properties"]["deep"]["required"] == ["b"]
    assert made["properties"]["deep"]["additionalProperties"] is False
    assert schema == before
    assert problem_in(made, strict=True) == ""


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {"a": TEXT}, "additionalProperties": True},
        {"type": "object", "properties": {"a": {"type": "object", "additionalProperties": NUMBER}}},
        {"type": "object", "properties": {"a": {**TEXT, "default": "b"}}},
        {"type": "object", "properties": {"a": {}}},
    ],
)
def test_what_cannot_be_strict_stays_as_it_is(schema):
    assert normalised(schema) == (schema, False)


def test_tools_are_echoed_as_they_count(client):
    loose = {"type": "object", "properties": {"a": {**TEXT, "default": "b"}}}
    response = client.responses.create(
        model=MODEL,
        input="What is GPT-2?",
        tools=[
            {"type": "function", "name": "strict", "parameters": closed({"a": TEXT}), "strict": True},
            {
                "type": "function",
                "name": "omitted",
                "parameters": {"type": "object", "properties": {"a": TEXT}},
            },
            {"type": "function", "name": "impossible", "parameters": loose},
            {"type": "function", "name": "loose", "parameters": loose, "strict": False},
            {"type": "function", "name": "none", "parameters": None, "strict": None},
        ],
    )
    echoed = {tool.name: (tool.parameters, tool.strict) for tool in response.tools}
    assert echoed == {
        "strict": (closed({"a": TEXT}), True),
        "omitted": (closed({"a": TEXT}), True),
        "impossible": (loose, False),
        "loose": (loose, False),
        "none": (None, True),
    }


def test_a_function_that_is_not_strict_is_refused_in_the_words_of_the_api(raw):
    """The body as others have met it: https://github.com/kevinwatt/mysql-mcp/issues/5 and
    https://github.com/lastmile-ai/openai-agents-mcp/issues/2."""
    loose = {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}
    tools = [
        {"type": "function", "name": "good", "parameters": loose},
        {"type": "function", "name": "bad", "parameters": loose, "strict": True},
    ]
    status, error = raw.error("/responses", {"model": MODEL, "input": "Hi", "tools": tools})
    assert status == 400
    assert error == {
        "message": "Invalid schema for function 'bad': In context=(), 'additionalProperties' is required to be supplied "
        "and to be false.",
        "type": "invalid_request_error",
        "param": "tools[1].parameters",
        "code": "invalid_function_parameters",
    }


# -- answers --------------------------------------------------------------------------------------------------------


def form(schema):
    return {"type": "json_schema", "name": "release", "schema": schema, "strict": False}


@pytest.mark.parametrize(
    ("text", "wanted", "words"),
    [
        ("anything", {"type": "text"}, ""),
        ('{"a": 1}', {"type": "json_object"}, ""),
        ("[1]", {"type": "json_object"}, "it is JSON, but no object"),
        ("{'a': 1}", {"type": "json_object"}, "it is not JSON"),
        ('{"a": NaN}', {"type": "json_object"}, "it is not JSON"),
        ("[" * 100_000, {"type": "json_object"}, "it is not JSON"),
        ('{"a": 1}', form(closed({"a": NUMBER})), ""),
        (
            '{"a": "1"}',
            form(closed({"a": NUMBER})),
            "does not fit the schema 'release': '1' is not of type 'integer' (at $.a)",
        ),
        ("{}", form(closed({"a": NUMBER})), "'a' is a required property (at $)"),
        (
            '{"a": 1, "b": 2}',
            form(closed({"a": NUMBER})),
            "Additional properties are not allowed ('b' was unexpected)",
        ),
        ('{"a": {"a": {}}}', form({"type": "object", "properties": {"a": {"$ref": "#"}}}), ""),
        (
            '{"a": 1}',
            form({"type": "object", "properties": {"a": {"$ref": "#"}}}),
            "1 is not of type 'object'",
        ),
        (
            '{"a": 1}',
            form({"type": "object", "allOf": [{"$ref": "https://example.org/a"}]}),
            "cannot be followed",
        ),
        (
            '{"a": 1}',
            form(
                {
                    "type": "object",
                    "properties": {"a": {"$ref": "#/$defs/a"}},
                    "$defs": {"a": {"$ref": "#/$defs/a"}},
                }
            ),
            "cannot be followed",
        ),
    ],
)
def test_an_answer_fits_or_it_is_said_why(text, wanted, words):
    why = misfit(text, wanted)
    assert bool(why) == bool(words)
    assert words in why
    assert len(why) < 1000


def test_no_schema_makes_this_process_open_a_connection(monkeypatch):
    import urllib.request

    monkeypatch.setattr(urllib.request, "urlopen", None)
    assert "cannot be followed" in misfit(
        "{}", form({"type": "object", "allOf": [{"$ref": "https://a.org/b"}]})
    )


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "object", "properties": []}, "is not of type 'object'"),
        (
            {"type": "object", "properties": {"a": {"type": "text"}}},
            "'text' is not valid under any of the given schemas",
        ),
        ({"type": "object", "properties": {"a": {"pattern": "("}}}, "is not a 'regex'"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}, "which was not found"),
        ({"type": "object", "required": [["a"]]}, "is not of type 'string'"),
    ],
)
def test_what_is_no_schema_is_refused_before_an_answer_has_to_fit_it(raw, schema, words):
    assert words in schema_error(schema)
    status, error = raw.error(
        "/responses",
        {"model": MODEL, "input": "Answer as JSON.", "text": {"format": form(schema)}},
    )
    assert (status, error["param"], error["code"]) == (400, "text.format.schema", "invalid_json_schema")
    assert error["message"].startswith("Invalid schema for response_format 'release': ")
    assert words in error["message"]


def test_a_type_may_be_one_of_several():
    assert takes({"type": "string"}, "string")
    assert takes({"type": ["string", "null"]}, "null")
    assert takes({"anyOf": [{"type": "string"}, {"type": "null"}]}, "null")
    assert not takes({"type": "string"}, "null")
    assert not takes(True, "null")


# -- generated schemas ----------------------------------------------------------------------------------------------

WORDS = [
    "type",
    "properties",
    "required",
    "items",
    "anyOf",
    "$ref",
    "$defs",
    "additionalProperties",
    "enum",
    "a",
    "pattern",
]
ANY_SCHEMA = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["object", "array", "string", "a", "#", "#/$defs/a", "("]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(schema=st.dictionaries(st.sampled_from(WORDS), ANY_SCHEMA, max_size=6), value=ANY_SCHEMA)
def test_no_generated_schema_breaks_anything(schema, value):
    schema = {"type": "object", **schema}
    for strict in (True, False):
        assert isinstance(problem_in(schema, strict=strict), str)
    made, strict = normalised(schema)
    assert not strict or problem_in(made, strict=True) == ""
    if not schema_error(schema):
        assert isinstance(misfit(json.dumps(value), form(schema)), str)
