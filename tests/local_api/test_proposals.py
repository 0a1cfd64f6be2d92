"""Proposed patterns: they give the captured text again, and another output gives other numbers."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.local_api.code_interpreter_tool import filled
from helpers.local_api.proposals import propose
from helpers.local_api.turns import Call, Calls, Run, Say, Search


def proposed(output, text):
    run, said = propose([Run("…"), Say(text)], {(0, 0): output})
    return run.prints, said.text


@pytest.mark.parametrize(
    ("output", "text", "places", "other", "numbers"),
    [
        (
            "rows=97 best_step=840 best_loss=3.28 last_loss=3.31\n",
            "It is lowest, 3.28, at step 840, among 97 rows.",
            "It is lowest, {best_loss}, at step {best_step}, among {rows} rows.",
            "rows=3 best_step=20 best_loss=2.5 last_loss=9\n",
            {"rows": "3", "best_step": "20", "best_loss": "2.5"},
        ),
        (
            "  124M    124,439,808\n1558M  1,557,611,200\n",
            "The small one has 124,439,808 parameters.",
            "The small one has {n_124m} parameters.",
            "  124M    1,000\n1558M  2,000\n",
            {"n_124m": "1,000"},
        ),
        ("3.2841\n", "It is 3.2841.", "It is {number}.", "17\n", {"number": "17"}),
        (
            "(2, 12, 6.9868)",
            "The mean is 6.9868.",
            "The mean is {number}.",
            "(1, 5, -2.5)",
            {"number": "-2.5"},
        ),
        ("mean=1.5e-05", "It is 1.5e-05.", "It is {mean}.", "mean=2e+10", {"mean": "2e+10"}),
        (
            '{"price_usd": 20.5, "hours": 1250}',
            '{"cost": 20.5, "time": {"hours": 1250}}',
            '{"cost": {price_usd}, "time": {"hours": {hours}}}',
            '{"price_usd": 9, "hours": 4}',
            {"price_usd": "9", "hours": "4"},
        ),
        (
            "first line 100\nmedian 12,345 tokens\nslowest 999\n",
            "The slowest is 999, the median 12,345.",
            "The slowest is {slowest}, the median {median}.",
            "other\nmedian 7 tokens\nand slowest 5\n",
            {"median": "7", "slowest": "5"},
        ),
    ],
)
def test_a_number_is_found_by_the_words_around_it(output, text, places, other, numbers):
    pattern, said = proposed(output, text)
    assert said == places
    assert re.search(pattern, other).groupdict() == numbers


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("layers: 2 of 12", "GPT-2 is from 2019-02."),
        ("rows 3", "1. Three things:\n3. the last"),
        ("n=3", "It has 3 parts."),
        ("loss=3.28", "In code: `loss = 3.28`."),
        ("loss=3.28", "It is in [file 3.28](sandbox:/mnt/data/3.28.csv)."),
        ("loss=3.2841", "It is 3.28."),
        ("rows=1234", "There are 1,234 rows."),
        ("loss=3.28", "It is {loss}, 3.28."),
        ("", "It is 3.28."),
    ],
)
def test_what_is_no_repeated_number_stays_as_it_is(output, text):
    assert proposed(output, text) == (None, text)


def test_a_small_number_counts_where_a_word_goes_with_it():
    assert (
        proposed("functions: 14", "The program has 14 functions.")[1]
        == "The program has {functions} functions."
    )


def test_the_latest_output_with_a_word_in_common_is_meant():
    steps = [
        Run("a"),
        Search(["x"]),
        Calls([Call("cost", {}), Call("size", {})]),
        Say("The loss is 500, the size is 500, and both are 500."),
    ]
    outputs = {(0, 0): "loss: 500", (2, 0): "nothing", (2, 1): '{"size": 500}'}
    run, _, calls, said = propose(steps, outputs)
    assert said.text == "The loss is {loss}, the size is {size}, and both are {size}."
    assert run.prints
    assert [call.prints is not None for call in calls.calls] == [False, True]


def test_of_what_a_function_gives_back_prose_is_left_alone():
    found = '{"results": [{"title": "GPT-2 in 2019", "body": "1500 million parameters"}], "seconds": 4321}'
    steps = [
        Calls([Call("search", {})]),
        Say("In 2019, with 1500 million parameters, found in 4321 seconds."),
    ]
    calls, said = propose(steps, {(0, 0): found})
    assert said.text == "In 2019, with 1500 million parameters, found in {seconds} seconds."
    assert re.search(calls.calls[0].prints, '{"seconds": 7}')["seconds"] == "7"
    assert propose(steps, {(0, 0): "2019 and 1500 " * 30}) == steps


def test_an_output_that_comes_later_is_not_meant():
    steps = [Say("First I look at 500."), Run("a"), Say("Done.")]
    assert propose(steps, {(1, 0): "loss: 500"}) == steps


def test_braces_that_are_already_there_are_left_alone():
    steps = [Run("a"), Calls([Call("say", {"text": "{loss}"})]), Say("It is 3.28.")]
    assert propose(steps, {(0, 0): "loss=3.28"}) == steps


numbers = st.integers(0, 99999).map(str) | st.floats(-99, 99, allow_nan=False).map("{:.2f}".format)
lines = st.lists(
    st.tuples(st.sampled_from(["loss", "best step", "x=", "", "4k:", "(a[b]*"]), numbers).map(" ".join),
    max_size=6,
)


@given(
    lines.map("\n".join),
    st.lists(numbers | st.sampled_from(["loss", "best step", ".", "{", "`", "\n"]), max_size=8),
)
def test_filling_the_places_in_gives_the_captured_text_again(output, words):
    text = " ".join(["It is", *words])
    pattern, said = proposed(output, text)
    if pattern is None:
        assert said == text
    else:
        found = re.search(pattern, output).groupdict()
        assert filled(Say(said), found).text == text
