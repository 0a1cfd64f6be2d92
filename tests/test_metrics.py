"""The metrics: against examples worked by hand, and against trec_eval through ir_measures."""

import math
import random

import ir_measures
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import RR, R, Success

from helpers.metrics import (
    bootstrap_interval,
    citation_precision,
    citation_recall,
    contains_passage,
    figures_in,
    hit_at_k,
    key_facts_found,
    normalised,
    percentile,
    recall_at_k,
    reciprocal_rank_at_k,
    unsupported_figures,
)

# -- retrieval, by hand -------------------------------------------------------------------------------------------------

# Two things are needed. Result 2 has the first, result 4 has both, the others have none.
RANKING = [(), (0,), (), (0, 1), ()]


@pytest.mark.parametrize(("k", "expected"), [(1, 0), (2, 1), (5, 1), (9, 1)])
def test_hit(k, expected):
    assert hit_at_k(RANKING, k) == expected


@pytest.mark.parametrize(("k", "expected"), [(1, 0), (2, 1 / 2), (3, 1 / 2), (4, 1)])
def test_recall(k, expected):
    assert recall_at_k(RANKING, 2, k) == expected


@pytest.mark.parametrize(("k", "expected"), [(1, 0), (2, 1 / 2), (5, 1 / 2)])
def test_reciprocal_rank(k, expected):
    assert reciprocal_rank_at_k(RANKING, k) == expected


def test_nothing_was_found():
    assert hit_at_k([], 5) == recall_at_k([], 1, 5) == reciprocal_rank_at_k([], 5) == 0


# -- retrieval, against trec_eval -----------------------------------------------------------------------------------------


@st.composite
def rankings(draw):
    """A question's ranking in which each needed thing stands in at most one result, and each result has at most one.

    That is the case in which things and documents are the same, and trec_eval can be asked.
    """
    needed = draw(st.integers(1, 5))
    length = draw(st.integers(1, 12))
    places = draw(st.lists(st.integers(0, length - 1), max_size=needed, unique=True))
    ranking = [()] * length
    for thing, place in enumerate(places):
        ranking[place] = (thing,)
    return needed, ranking


@given(st.lists(rankings(), min_size=1, max_size=6), st.sampled_from([1, 3, 5, 10]))
def test_metrics_agree_with_trec_eval(questions, k):
    qrels, run = [], []
    for number, (needed, ranking) in enumerate(questions):
        query = f"q{number}"
        qrels += [ir_measures.Qrel(query, f"thing {thing}", 1) for thing in range(needed)]
        for place, found in enumerate(ranking):
            name = f"thing {found[0]}" if found else f"other {place}"
            run.append(ir_measures.ScoredDoc(query, name, 100.0 - place))
    theirs = ir_measures.calc_aggregate([Success @ k, R @ k, RR @ k], qrels, run)

    def mean(values):
        return sum(values) / len(questions)

    assert mean([hit_at_k(ranking, k) for _, ranking in questions]) == pytest.approx(theirs[Success @ k])
    assert mean([recall_at_k(ranking, needed, k) for needed, ranking in questions]) == pytest.approx(
        theirs[R @ k]
    )
    assert mean([reciprocal_rank_at_k(ranking, k) for _, ranking in questions]) == pytest.approx(
        theirs[RR @ k]
    )


# -- uncertainty ----------------------------------------------------------------------------------------------------------


def test_an_interval_is_the_same_each_time():
    values = [0, 1, 1, 0, 1, 1, 1]
    assert bootstrap_interval(values) == bootstrap_interval(list(values))
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_an_interval_holds_the_mean_and_gets_narrower_with_more_questions():
    few, many = bootstrap_interval([0, 1] * 10), bootstrap_interval([0, 1] * 100)
    assert few.low < few.mean == 0.5 < few.high
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(math.sqrt(10), rel=0.25)


def test_an_interval_is_about_as_wide_as_theory_says():
    # 30 questions at 0.6: the standard error is sqrt(0.6 * 0.4 / 30), and 1.96 of them stand on each side.
    interval = bootstrap_interval([1] * 18 + [0] * 12)
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * math.sqrt(0.6 * 0.4 / 30), rel=0.15)


def test_about_95_of_100_intervals_hold_the_truth():
    draw = random.Random(7)
    held = 0
    for seed in range(200):
        values = [float(draw.random() < 0.7) for _ in range(50)]
        interval = bootstrap_interval(values, resamples=300, seed=seed)
        held += interval.low <= 0.7 <= interval.high
    assert 0.90 <= held / 200 <= 0.99


def test_equal_values_and_no_values():
    assert str(bootstrap_interval([1, 1, 1])) == "1.00 [1.00, 1.00]"
    assert str(bootstrap_interval([])) == "–"


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0, 1))
def test_percentiles_agree_with_numpy(values, share):
    assert percentile(values, share) == pytest.approx(float(numpy.percentile(values, share * 100)), abs=1e-6)


# -- passages ---------------------------------------------------------------------------------------------------------------


PASSAGE = "Dividing by eight brings the variance back to one"


@pytest.mark.parametrize(
    ("text", "contained"),
    [
        (f"First. {PASSAGE}. Last.", True),
        ("DIVIDING by\n\n  eight brings the\tvariance back to one", True),
        ("… and so on. Dividing by eight brings the variance", True),  # the chunk ends inside the passage
        ("eight brings the variance back to one. Next …", True),  # the chunk begins inside it
        ("… and so on. Dividing by eight", False),  # less than half
        ("eight brings the variance", False),  # neither its begin nor its end stands at a border
        ("The variance is one.", False),
        ("", False),
    ],
)
def test_a_chunk_contains_a_passage(text, contained):
    assert contains_passage(text, PASSAGE) is contained


def test_a_short_passage_must_be_whole():
    assert not contains_passage("It came out on 5 November", "5 November 2019")


def test_text_is_compared_in_one_form():
    assert normalised("Ａ  ﬁne\u00a0Day\n") == "a fine day"


# -- citations ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cited", "expected", "precision", "recall"),
    [
        (["a"], ["a"], 1, 1),
        (["a", "b"], ["a"], 1 / 2, 1),
        (["a"], ["a", "b"], 1, 1 / 2),
        (["b", "b", "a", "c"], ["a", "d"], 1 / 3, 1 / 2),
        ([], ["a"], None, 0),
        (["a"], [], 0, None),
    ],
)
def test_citations(cited, expected, precision, recall):
    assert citation_precision(cited, expected) == precision
    assert citation_recall(cited, expected) == recall


# -- figures and facts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        ("124,439,808 parameters", ["124439808"]),
        ("124 439 808 and 1\u202f024 and 1\u00a0024", ["124", "439", "808", "1024"]),
        ("0.50, 0.5 and .5", ["0.5"]),
        ("GPT-2, GPT‑2, gpt2, BF16 and llm.c", []),
        ("a 16-bit number, 40GB, 93ms", ["16", "40", "93"]),
        ("1. First\n2. Second\n   3) Third", []),
        ("It ends in 2019.", ["2019"]),
        ("see [1] and [12]", []),
        ("29.45 % of 1,2 and 3", ["29.45", "1", "2", "3"]),
        ("between 5 and 10", ["5", "10"]),
        ("version 3.54.0", ["3.54"]),
        ("", []),
    ],
)
def test_figures(text, figures):
    assert figures_in(text) == figures


def test_figures_that_no_passage_supports():
    passages = ["It has 124,439,808 parameters.", "3. Overfit one batch"]
    answer = "Step 3: 124439808 parameters, 12 layers, of the 5 that you asked about."
    assert unsupported_figures(answer, passages, "What are the 5 layers?") == ["12"]
    assert unsupported_figures("No number.", [], "") == []


def test_key_facts():
    answer = "There are 124439808 knobs; it  was RELEASED in stages."
    assert key_facts_found(answer, [["124,439,808"], ["all at once", "released in stages"], ["1542M"]]) == [
        True,
        True,
        False,
    ]
    assert key_facts_found(answer, []) == []
