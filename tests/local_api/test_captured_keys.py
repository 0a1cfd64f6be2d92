"""Telling captured turns apart: each recorded request finds its own answer, with as few conditions as that takes."""

from pathlib import Path

import pytest

from helpers.local_api.captured_keys import ALIKE, OTHER_TOOLS, tell_apart
from helpers.local_api.captured_turns import CapturedTurn
from helpers.local_api.items import user_message
from helpers.local_api.matching import best, find_ties
from helpers.local_api.recordings import Exchange, Source
from helpers.local_api.turns import Call, Calls, Run, Say, Search, TurnRequest

STEPS = {
    "file_search": Search(["x"]),
    "code_interpreter": Run("print(1)"),
    "count": Calls([Call("count", {})]),
}


def turn(
    answer,
    ask="What is it?",
    *,
    earlier=(),
    offered=(),
    uses=(),
    instructions=None,
    model="gpt-6-luna",
    **more,
):
    request = TurnRequest(
        items=[user_message(text, "") for text in (*earlier, ask)],
        model=model,
        instructions=instructions,
        tools=[
            {"type": "function", "name": name}
            if name not in ("file_search", "code_interpreter")
            else {"type": name}
            for name in (offered or uses)
        ],
        **more,
    )
    return CapturedTurn([request], model, "2026-11-23", [*(STEPS[name] for name in uses), Say(answer)])


def apart(*turns, library=()):
    missed = []
    exchanges = tell_apart(turns, library, lambda *each: missed.append(each))
    assert find_ties(exchanges) == []
    return exchanges, missed


def told(*turns, library=()):
    """Check that every request finds the answer that it got, and return the exchanges."""
    exchanges, missed = apart(*turns, library=library)
    assert missed == []
    for each in turns:
        assert best(exchanges, each.requests[0]).steps == tuple(each.steps)
    return exchanges


def test_one_answer_needs_no_condition():
    (exchange,) = told(turn("Yes.", offered=["file_search"], instructions="Be brief."))
    assert (exchange.tools, dict(exchange.when), exchange.after) == (frozenset(), {}, None)


def test_other_instructions_are_told_by_the_sentence_that_only_they_have():
    first, second = told(
        turn("Long.", instructions="You teach. Be thorough."),
        turn("Short.", instructions="You teach. Be brief."),
    )
    assert dict(first.when) == {}
    assert dict(second.when) == {"instructions": "Be brief."}


@pytest.mark.parametrize("order", [1, -1])
def test_instructions_that_hold_the_others_win_over_them(order):
    turns = [
        turn("Short.", instructions="Be brief."),
        turn("Long.", instructions="Be brief. But explain each word."),
    ]
    told(*turns[::order])


@pytest.mark.parametrize("order", [1, -1])
def test_a_question_in_a_conversation_and_alone(order):
    turns = [turn("Ada.", earlier=["I am Ada."]), turn("I do not know.")]
    exchanges = told(*turns[::order])
    assert {exchange.after for exchange in exchanges} == {"I am Ada.", None}


@pytest.mark.parametrize(
    "turns",
    [
        [turn("a"), turn("b", uses=["file_search"])],
        [turn("a", offered=["file_search"]), turn("b", uses=["file_search", "count"]), turn("c")],
        [turn("a", uses=["file_search"]), turn("b", uses=["code_interpreter"])],
        [turn("a", offered=["file_search"]), turn("b")],
        [turn("a", earlier=["One?"]), turn("b", earlier=["One?", "Two?"]), turn("c")],
        [turn("a", model="gpt-6.2-sol"), turn("b")],
        [turn("a", instructions="Be brief."), turn("b", earlier=["One?"]), turn("c", uses=["count"])],
        [turn("a", uses=["count"], metadata={"description": "Counts."}), turn("b", uses=["count"])],
        [
            turn(f"{n}{tools}{words}", earlier=["One?"][:n], offered=tools, instructions=words)
            for n in range(2)
            for tools in (["file_search"], ["count"], ["file_search", "count"])
            for words in (None, "Be brief.", "Be kind. Be brief.")
        ],
    ],
)
def test_many_ways_of_asking_the_same(turns):
    told(*turns)
    told(*reversed(turns))


def test_of_two_answers_to_the_same_request_the_later_one_counts():
    exchanges, missed = apart(turn("First."), turn("Second."))
    assert [exchange.steps for exchange in exchanges] == [(Say("Second."),)]
    assert missed == []


def test_what_no_single_condition_tells_apart_is_said():
    turns = [turn("a", earlier=["One?"]), turn("b", earlier=["One?", "Two?"]), turn("c", earlier=["Two?"])]
    exchanges, missed = apart(*turns)
    assert missed == [("What is it?", ALIKE)]
    assert [each.steps for each in exchanges] == [(Say("a"),), (Say("c"),)]
    assert best(exchanges, turns[0].requests[0]).steps == (Say("a"),)
    assert best(exchanges, turns[2].requests[0]).steps == (Say("c"),)


def test_what_only_the_form_of_the_answer_tells_apart_is_said():
    as_json = {"text_format": {"type": "json_schema", "schema": {}}}
    exchanges, missed = apart(turn("{}", **as_json), turn("Words."))
    assert [exchange.steps for exchange in exchanges] == [(Say("Words."),)]
    assert missed == [("What is it?", ALIKE)]


def test_the_same_answer_in_two_ways_needs_one_exchange():
    exchanges = told(turn("Yes.", offered=["file_search"]), turn("Yes."))
    assert len(exchanges) == 1


def test_an_answer_whose_tools_went_away_is_said():
    changed = turn("Yes.", uses=["file_search"])
    changed.requests.append(TurnRequest(items=changed.requests[0].items, model="gpt-6-luna"))
    assert apart(changed) == ([], [("What is it?", OTHER_TOOLS)])


# -- what is recorded already ---------------------------------------------------------------------------------------


def recorded(ask="What is it?", **more):
    return Exchange(
        ask=ask, steps=(Say("By hand."),), file=Path("a.yaml"), line=3, source=Source("authored"), **more
    )


def test_a_recorded_question_lends_its_conditions_so_that_its_answer_can_be_replaced():
    mine = recorded(tools=frozenset({"file_search"}), when={"instructions": "kind"}, after="One?")
    (exchange,) = told(
        turn("Yes.", earlier=["One?", "Two?"], offered=["file_search", "count"], instructions="Be kind."),
        library=[mine],
    )
    assert (exchange.tools, exchange.when, exchange.after) == (mine.tools, mine.when, mine.after)


def test_a_recorded_question_that_does_not_fit_lends_nothing():
    (exchange,) = told(
        turn("Yes.", earlier=["One?"], instructions="Be kind."),
        library=[recorded(when={"instructions": "brief"})],
    )
    assert (dict(exchange.when), exchange.after) == ({}, "One?")


def test_lent_conditions_are_not_enough_for_two_different_answers():
    exchanges = told(
        turn("Yes.", earlier=["One?"]),
        turn("No."),
        turn("Maybe.", instructions="Doubt all."),
        library=[recorded()],
    )
    assert len(exchanges) == 3
