"""The gold questions: what a file of them may hold, what is relevant, and that the workshop's own fit the texts."""

import json
from collections import Counter

import pytest

from helpers.errors import ConfigurationError
from helpers.metrics import normalised
from helpers.models import DATA_FOLDER
from helpers.questions import Question, load_questions, needs_found

QUESTIONS = load_questions()
TEXTS = {
    path.name: normalised(path.read_text(encoding="utf-8")) for path in (DATA_FOLDER / "gpt2").glob("*.md")
}


ANSWERABLE = [question for question in QUESTIONS if question.answerable]


def ids(question):
    return question.id


# -- the workshop's own -------------------------------------------------------------------------------------------------


def test_there_are_enough_of_each_kind():
    kinds = Counter(question.kind for question in QUESTIONS)
    assert len(QUESTIONS) >= 40
    assert sum(not question.answerable for question in QUESTIONS) >= 6
    assert kinds["two files"] >= 4
    assert all(kinds[kind] >= 10 for kind in ("paraphrase", "exact term", "number"))
    assert len({question.question for question in QUESTIONS}) == len(QUESTIONS)


@pytest.mark.parametrize("question", ANSWERABLE, ids=ids)
def test_expected_passages_stand_in_the_texts_and_only_where_expected(question):
    assert question.key_facts
    for passages in question.expected_passages:
        for passage in passages:
            holding = {name for name, text in TEXTS.items() if normalised(passage) in text}
            assert holding, f"{passage!r} stands in no text"
            assert holding <= set(question.expected_files), f"{passage!r} also stands in {holding}"


@pytest.mark.parametrize("question", ANSWERABLE, ids=ids)
def test_every_expected_file_gives_something(question):
    for name in question.expected_files:
        assert needs_found(question, name, TEXTS[name])


@pytest.mark.parametrize("question", [q for q in QUESTIONS if q.kind == "two files"], ids=ids)
def test_neither_of_two_files_is_enough(question):
    for name in question.expected_files:
        assert len(needs_found(question, name, TEXTS[name])) < question.needs


@pytest.mark.parametrize("question", [q for q in QUESTIONS if q.kind == "paraphrase"], ids=ids)
def test_a_paraphrase_does_not_repeat_its_passages(question):
    asked = {word.strip("?,.") for word in normalised(question.question).split() if len(word) > 6}
    for passages in question.expected_passages:
        for passage in passages:
            assert len(asked & set(normalised(passage).split())) <= 1


@pytest.mark.parametrize(
    ("id", "words"),
    [
        ("dropout", ["dropout"]),
        ("human-feedback", ["human feedback", "rlhf"]),
        ("four-bit", ["4 bits", "4-bit", "quantis", "quantiz"]),
        ("rotary", ["rotary", " rope"]),
        ("electricity", ["kilowatt", "kwh", "electricity"]),
        ("web-service", ["deploy", "endpoint"]),
        ("beam-width", ["beam"]),
        ("gpt-4-size", ["gpt-4"]),
        ("refund", ["refund"]),
    ],
)
def test_what_is_unanswerable_stands_nowhere(id, words):
    assert id in {question.id for question in QUESTIONS if not question.answerable}
    for text in TEXTS.values():
        assert not [word for word in words if word in text]


def test_every_unanswerable_question_is_looked_for():
    (mark,) = [m for m in test_what_is_unanswerable_stands_nowhere.pytestmark if m.name == "parametrize"]
    assert {id for id, _ in mark.args[1]} == {q.id for q in QUESTIONS if not q.answerable}


# -- relevance ------------------------------------------------------------------------------------------------------------

QUESTION = Question("q", "When?", ["a.md", "b.md"], ["in 2019", ["in May", "in spring"]], ["2019"])


@pytest.mark.parametrize(
    ("filename", "text", "found"),
    [
        ("a.md", "It was in 2019, in  spring.", (0, 1)),
        ("b.md", "IN MAY.", (1,)),
        ("a.md", "It was in 2018.", ()),
        ("c.md", "It was in 2019, in spring.", ()),
    ],
)
def test_a_result_is_relevant_if_file_and_passage_fit(filename, text, found):
    assert needs_found(QUESTION, filename, text) == found


def test_without_passages_the_files_are_what_is_needed():
    question = Question("q", "When?", ("a.md", "b.md"))
    assert question.needs == 2
    assert needs_found(question, "b.md", "anything") == (1,)


def test_texts_and_lists_are_taken_alike():
    assert Question("q", "When?", "a.md", "in 2019", "2019") == Question(
        "q", "When?", ("a.md",), (("in 2019",),), (("2019",),)
    )


@pytest.mark.parametrize(
    "change", [{"question": "Why?"}, {"expected_passages": ["x"]}, {"expected_files": ["c"]}]
)
def test_another_question_has_another_fingerprint(change):
    fields = {"id": "q", "question": "When?", "expected_files": ["a.md"]}
    assert Question(**fields).fingerprint == Question(**fields).fingerprint
    assert Question(**{**fields, **change}).fingerprint != Question(**fields).fingerprint


# -- reading a file ---------------------------------------------------------------------------------------------------------


def test_a_teacher_can_write_short_lines(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(
        '{"id": "a", "question": "When?", "expected_files": ["a.md"], "expected_passages": ["in 2019"]}\n\n'
        '{"id": "b", "question": "Who?", "answerable": false}\n',
        encoding="utf-8",
    )
    first, second = load_questions(path)
    assert (first.needs, first.kind, second.answerable) == (1, "own", False)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2 is not JSON"),
        ("[]", "line 2: A question is a JSON object"),
        ('{"question": "When?", "expected_files": ["a"]}', "line 2: id, question and kind are texts"),
        ('{"id": "b", "question": "", "expected_files": ["a"]}', "needs an id and a question"),
        ('{"id": "b", "question": "When?"}', "needs expected_files"),
        (
            '{"id": "b", "question": "When?", "answerable": false, "key_facts": ["x"]}',
            "nothing can be expected",
        ),
        ('{"id": "b", "question": "When?", "expected_files": [1]}', "expected_files is a list of texts"),
        ('{"id": "b", "question": "When?", "expected_files": ["a"], "key_facts": [[]]}', "empty list"),
        ('{"id": "b", "question": "When?", "expected_file": ["a"]}', "no field 'expected_file'"),
        ('{"id": "b", "question": "When?", "answerable": "no"}', "true or false"),
        ('{"id": "a", "question": "When?", "expected_files": ["a"]}', "Two questions have the id 'a'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, words):
    path = tmp_path / "mine.jsonl"
    good = json.dumps({"id": "a", "question": "When?", "expected_files": ["a.md"]})
    path.write_text(f"{good}\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_questions(path)
    assert words in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_questions(tmp_path / "none.jsonl")
