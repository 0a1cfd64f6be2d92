"""Search: any query, scores that mean the same for every query, filters, and the words that count."""

from __future__ import annotations

import itertools
import random

import hypothesis.strategies as st
import openai
import pytest
from hypothesis import HealthCheck, given, settings

from helpers.local_api.filters import fits
from helpers.local_api.search import HALF_SCORE, score_of, words

FILLER = "The usual words are here again and again, in every file of this store."


@pytest.fixture
def store(client):
    return client.vector_stores.create(name="a")


@pytest.fixture
def add(client, store):
    def add(name, text, **options):
        return client.vector_stores.files.upload_and_poll(
            vector_store_id=store.id, file=(name, text.encode()), **options
        )

    return add


@pytest.fixture
def find(client, store):
    def find(query, **options):
        return client.vector_stores.search(store.id, query=query, **options).data

    return find


def names(hits):
    return [hit.filename for hit in hits]


def test_a_result_has_the_shape_of_the_documentation(raw, store, add):
    file = add("a.md", "# Loss\n\nThe loss falls.", attributes={"week": 1})
    page = raw.post(f"/vector_stores/{store.id}/search", {"query": "loss"}).json()
    (result,) = page.pop("data")
    assert page == {
        "object": "vector_store.search_results.page",
        "search_query": ["loss"],
        "has_more": False,
        "next_page": None,
    }
    assert 0 < result.pop("score") < 1
    assert result == {
        "file_id": file.id,
        "filename": "a.md",
        "attributes": {"week": 1},
        "content": [{"type": "text", "text": "# Loss\n\nThe loss falls."}],
    }


ODD = [
    "",
    " \n\t",
    "?!…",
    '"',
    "'",
    '"unbalanced',
    'a " b " c',
    "C++",
    "C#/.NET?",
    "don't",
    "foo-bar",
    "text:loss",
    "headings : a",
    "NOT loss",
    "loss AND",
    "OR",
    "NEAR(loss falls)",
    "loss*",
    "^loss",
    "{loss}",
    "(loss",
    "+loss -falls",
    "🦆",
    "🦆 loss",
    "日本語の質問ですか",
    "Почему потери падают?",
    "लॉस क्यों गिरता है",
    "ทำไมค่าสูญเสียลดลง",
    "لماذا تنخفض الخسارة",
    "loss\x00falls",
    "\ufeffloss",
    "%_\\",
    "'; drop table chunks; --",
    "a" * 5000,
    "loss " * 5000,
    " ".join(f"word{number}" for number in range(5000)),
]


@pytest.mark.parametrize("query", ODD, ids=[repr(query)[:30] for query in ODD])
def test_any_query_is_accepted(find, add, query):
    add("a.md", "# Loss\n\nThe loss falls. It does not rise.")
    add("b.md", "Nothing of interest.")
    found = find(query)
    assert [hit.filename for hit in found if hit.filename != "a.md" or not 0 < hit.score < 1] in (
        [],
        ["b.md"],
    )
    if "loss" in query.replace("\x00", " ").casefold().split():
        assert names(found)[0] == "a.md"


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=60))
def test_any_text_at_all_is_accepted(find, add, client, store, query):
    if not client.vector_stores.retrieve(store.id).file_counts.total:
        add("a.md", "# Loss\n\nThe loss falls. GPT-2 は言語モデルです。")
    query = query.encode("utf-8", "ignore").decode()
    assert all(0 <= hit.score < 1 for hit in find(query))


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("GPT2", "It is GPT-2 that we build."),
        ("GPT-2", "It is GPT2 that we build."),
        ("gpt-2?", "It is GPT-2 that we build."),
        ("learning rates", "The learning-rate falls."),
        ("learning-rate", "Learning rates fall."),
        ("train_gpt2.py", "Run train_gpt2.py now."),
        ("train gpt2", "Run train_gpt2.py now."),
        ("naïve café", "A naive cafe."),
        ("モデル", "GPT-2は言語モデルです。"),
        ("言語モデルとは", "GPT-2は言語モデルです。"),
        ("语言", "这是一个语言模型。"),
        ("ภาษา", "แบบจำลองภาษาขนาดใหญ่"),
        ("ＧＰＴ", "It is GPT that we build."),
        ("потери", "Потери падают."),
        ("C++", "We write it in C."),
    ],
)
def test_words_are_found_however_they_are_written(find, add, query, text):
    add("a.md", text)
    add("b.md", "Something else altogether, unrelated.")
    assert names(find(query)) == ["a.md"]


def test_words_in_headings_count_more(find, add):
    add("heading.md", "# Dropout\n\nSome text about it, and a few more words.")
    add("text.md", "# Other\n\nSome text about dropout, and a few more.")
    assert names(find("dropout")) == ["heading.md", "text.md"]


def test_the_headings_above_a_chunk_are_searched_with_it(find, add):
    """The third chunk of a long section says nothing of its title, and is still found by it."""
    strategy = {"type": "static", "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 0}}
    add("a.md", f"# Warmup\n\n{FILLER * 20}\n\n# Decay\n\n{FILLER * 20}", chunking_strategy=strategy)
    found = find("warmup", max_num_results=50)
    assert len(found) > 3
    assert sum("Warmup" in hit.content[0].text for hit in found) == 1


def test_words_in_more_than_a_tenth_of_the_chunks_do_not_count(find, add):
    for number in range(20):
        extra = "common" if number < 3 else ""
        rare = "tenth" if number in (1, 7) else ""
        add(f"{number}.md", f"{FILLER} {extra} {rare} {'unique' * (number == 19)}")
    assert names(find("usual words common unique")) == ["19.md"]
    assert sorted(names(find("tenth unique"))) == [
        "1.md",
        "19.md",
        "7.md",
    ]  # two of twenty are a tenth, not more
    assert sorted(names(find("common"))) == ["0.md", "1.md", "2.md"]  # nothing else is left
    assert sorted(names(find("common nowhere"))) == ["0.md", "1.md", "2.md"]  # what does not occur is nothing


def test_scores_are_not_normalised_so_a_threshold_can_turn_a_question_away(find, add):
    for number in range(30):
        add(f"{number}.md", f"{FILLER} Topic{number} is about matter{number} and thing{number}.")
    good = find("What of topic7, matter7 and thing7?")
    poor = find("Who bakes bread in Paris, usual or again?")
    assert good[0].score > 0.5 > 0.1 > poor[0].score
    assert names(find("topic7 matter7 thing7", ranking_options={"score_threshold": 0.5})) == ["7.md"]
    assert find("Who bakes bread in Paris, usual or again?", ranking_options={"score_threshold": 0.1}) == []
    # One word more in the query leaves what the others give as it is.
    assert find("topic7 nowhere")[0].score == find("topic7")[0].score


def test_the_score_is_a_fixed_function():
    assert score_of(0) == 0
    assert score_of(HALF_SCORE) == 0.5
    assert [score_of(each) for each in (1, 2, 4, 12, 396)] == [0.2, 0.3333, 0.5, 0.75, 0.99]


def test_several_queries_are_merged_and_each_passage_is_there_once(find, add):
    for number in range(12):
        add(f"{number}.md", f"{FILLER} topic{number} and {'shared' * (number < 2)}")
    both = find(["topic3", "topic5", "topic3"])
    assert sorted(names(both)) == ["3.md", "5.md"]
    assert [hit.score for hit in both] == sorted([hit.score for hit in both], reverse=True)
    overlapping = find(["shared topic0", "shared topic1"])
    assert sorted(names(overlapping)) == ["0.md", "1.md"]
    best = {
        hit.filename: hit.score for query in ("shared topic0", "shared topic1") for hit in find(query)[:1]
    }
    assert {hit.filename: hit.score for hit in overlapping} == best
    assert names(find(["topic3", "topic5"], max_num_results=1)) == names(both)[:1]


def test_the_number_of_results_is_respected(find, add):
    for number in range(60):
        add(f"{number}.md", f"{number} words")
    assert len(find("words")) == 10
    assert len(find("words", max_num_results=50)) == 50
    for wrong in (0, 51):
        with pytest.raises(openai.BadRequestError, match="max_num_results"):
            find("words", max_num_results=wrong)


def test_other_stores_and_later_files_do_not_change_what_is_found(client, find, add):
    for number in range(5):
        add(f"{number}.md", f"{FILLER} topic{number}")
    before = find("topic3")
    other = client.vector_stores.create()
    client.vector_stores.files.upload_and_poll(vector_store_id=other.id, file=("x.md", b"topic3 " * 50))
    assert find("topic3") == before
    client.vector_stores.delete(other.id)
    assert find("topic3") == before


def test_a_removed_file_leaves_no_trace_in_the_scores(client, store, find, add):
    for number in range(5):
        add(f"{number}.md", f"{FILLER} topic{number}, 日本語 {number}")
    before = find("topic3")
    file = add("x.md", f"# Topic3 日本語\n\n{FILLER * 30} topic3")
    assert find("topic3") != before
    client.vector_stores.files.delete(file.id, vector_store_id=store.id)
    assert find("topic3") == before


def test_adding_a_file_does_not_index_the_others_anew(api, store, add, monkeypatch):
    add("a.md", FILLER * 200)
    indexed = []
    monkeypatch.setattr("helpers.local_api.search.searchable", lambda text: indexed.append(text) or text)
    add("b.md", "short")
    assert indexed == ["", "short"]


# -- filters ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def weeks(add):
    for week in range(1, 5):
        add(f"w{week}.md", "attention", attributes={"week": week, "unit": "ab"[week % 2], "new": week > 2})
    add("none.md", "attention")


def compare(kind, value, key="week"):
    return {"type": kind, "key": key, "value": value}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (compare("eq", 2), "2"),
        (compare("ne", 2), "134none"),
        (compare("gt", 2), "34"),
        (compare("gte", 2), "234"),
        (compare("lt", 2), "1"),
        (compare("lte", 2), "12"),
        (compare("in", [1, 4, 9]), "14"),
        (compare("nin", [1, 4]), "23none"),
        (compare("eq", "b", "unit"), "13"),
        (compare("gt", "a", "unit"), "13"),
        (compare("eq", True, "new"), "34"),
        (compare("eq", 1, "new"), ""),
        (compare("eq", "2"), ""),
        (compare("gt", "1"), ""),
        (compare("eq", 1, "nowhere"), ""),
        ({"type": "and", "filters": [compare("gt", 1), compare("eq", "b", "unit")]}, "3"),
        ({"type": "or", "filters": [compare("eq", 1), compare("eq", True, "new")]}, "134"),
        (
            {
                "type": "and",
                "filters": [
                    {"type": "or", "filters": [compare("lt", 2), compare("gt", 3)]},
                    compare("ne", 4),
                ],
            },
            "1",
        ),
    ],
)
def test_filters_choose_files_by_their_attributes(find, weeks, condition, expected):
    found = sorted(names(find("attention", filters=condition)))
    kept = [f"w{week}.md" for week in expected.replace("none", "")]
    assert found == sorted(kept + ["none.md"] * ("none" in expected))


def test_a_filter_finds_what_many_better_passages_would_hide(find, add):
    for number in range(60):
        add(f"{number}.md", "attention attention attention")
    add("last.md", f"attention {FILLER * 20}", attributes={"week": 9})
    assert names(find("attention", filters=compare("eq", 9), max_num_results=1)) == ["last.md"]


@pytest.mark.parametrize(
    "condition",
    [
        {"type": "like", "key": "a", "value": "b"},
        {"type": "eq", "key": "a"},
        {"type": "eq", "value": 1},
        {"key": "a", "value": 1},
        {"type": "eq", "key": 1, "value": 1},
        {"type": "eq", "key": "a", "value": [1]},
        {"type": "eq", "key": "a", "value": {"b": 1}},
        {"type": "in", "key": "a", "value": "b"},
        {"type": "in", "key": "a", "value": [None]},
        {"type": "gt", "key": "a", "value": True},
        {"type": "and", "filters": []},
        {"type": "and"},
        {"type": "or", "filters": [1]},
        {"type": "or", "filters": [None]},
        {"type": "eq", "key": "a", "value": 1, "filters": []},
        [],
        "eq",
    ],
)
def test_a_bad_filter_is_refused(raw, store, condition):
    status, error = raw.error(f"/vector_stores/{store.id}/search", {"query": "a", "filters": condition})
    assert status == 400
    assert "filters" in str(error["param"])


@given(
    st.dictionaries(
        st.sampled_from("ab"), st.one_of(st.booleans(), st.integers(-2, 2), st.sampled_from("xy"))
    ),
    st.sampled_from(["eq", "ne", "in", "nin"]),
    st.one_of(st.booleans(), st.integers(-2, 2), st.sampled_from("xy")),
)
def test_opposite_filters_are_opposite(attributes, kind, value):
    opposite = {"eq": "ne", "ne": "eq", "in": "nin", "nin": "in"}[kind]
    wanted = [value] if "in" in kind else value
    assert fits(compare(kind, wanted, "a"), attributes) is not fits(
        compare(opposite, wanted, "a"), attributes
    )


# -- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "query"),
        ({"query": None}, "query"),
        ({"query": 1}, "query"),
        ({"query": ["a", 1]}, "query"),
        ({"query": "a", "colour": "red"}, "colour"),
        ({"query": "a", "rewrite_query": True}, "rewrite_query"),
        ({"query": "a", "ranking_options": {"ranker": "best"}}, "best"),
        ({"query": "a", "ranking_options": {"score_threshold": 1.1}}, "<= 1"),
        (
            {"query": "a", "ranking_options": {"hybrid_search": {"embedding_weight": 1, "text_weight": 1}}},
            "not meanings",
        ),
    ],
)
def test_what_is_not_honoured_is_refused(raw, store, body, words):
    status, error = raw.error(f"/vector_stores/{store.id}/search", body)
    assert status == 400
    assert words in error["message"]


def test_options_without_an_effect_are_accepted(find, add):
    add("a.md", "attention")
    for ranker in ("none", "auto", "default-2024-11-15"):
        assert len(find("attention", ranking_options={"ranker": ranker}, rewrite_query=False)) == 1


def test_words_of_a_query():
    assert words("What's GPT-2's loss?") == [["what s", "whats"], ["gpt 2 s", "gpt2s"], ["loss"]]
    assert words("the THE The") == [["the"]]
    assert words("日本語") == [["日 本"], ["本 語"]]
    assert words("語") == [["語"]]
    assert words("---") == words("") == words("🦆") == []


def test_a_long_query_keeps_its_first_words(find, add):
    add("a.md", "first")
    shuffled = [f"w{number}" for number in range(3000)]
    random.Random(1).shuffle(shuffled)
    assert names(find("first " + " ".join(shuffled))) == ["a.md"]


def test_results_are_the_same_every_time(find, add):
    for number in range(12):
        add(f"{number}.md", "the same words in each of these files")
    runs = [names(find("words files", max_num_results=5)) for _ in range(5)]
    assert all(first == second for first, second in itertools.pairwise(runs))


def test_in_a_small_store_scores_still_tell_passages_apart(find, add):
    add("a.md", "Attention looks back at earlier tokens.")
    (alone,) = find("attention tokens")
    assert 0.05 < alone.score < 0.5
    add("b.md", "Tokens are numbers.")
    assert [hit.filename for hit in find("attention tokens")] == ["a.md", "b.md"]
    first, second = find("attention tokens")
    assert first.score > 2 * second.score > 0
    assert names(find("tokens attention", filters=compare("eq", 1))) == []
    assert find("attention tokens", filters=compare("ne", 1)) == [first, second]
