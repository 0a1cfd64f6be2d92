"""Evaluations: what is asked, what is counted, what a report and a comparison say, and what they do not claim."""

import json
import re

import openai
import pytest

from helpers.assistant import Assistant
from helpers.errors import ConfigurationError, WorkshopError
from helpers.evaluation import (
    AnswerReport,
    Result,
    RetrievalReport,
    RetrievalRow,
    compare,
    evaluate_answers,
    evaluate_retrieval,
    plot,
)
from helpers.questions import Question, load_questions
from tests.store_server import STORE, StoreServer, api_error

SEARCH = "POST /vector_stores/*/search"
QUESTIONS = [
    Question("when", "When was it?", "a.md", "in May 2019", "2019", kind="number"),
    Question("who", "Who was it?", "b.md", ["by Ada Lovelace"], ["Ada"], kind="exact term"),
    Question("both", "When and who?", ["a.md", "b.md"], ["in May 2019", "by Ada Lovelace"], kind="two files"),
    Question("why", "Why was it?", answerable=False, kind="unanswerable"),
]
MAY = ("a.md", "It happened in May 2019.")
ADA = ("b.md", "It was done by Ada Lovelace.")
NOISE = ("c.md", "In May 2019 nothing happened.")
FOUND = {
    "When was it?": [(NOISE, 0.9), (MAY, 0.6)],
    "Who was it?": [(ADA, 0.8)],
    "When and who?": [(MAY, 0.5), (NOISE, 0.4), (NOISE, 0.4), (ADA, 0.3)],
    "Why was it?": [(NOISE, 0.35)],
}


def entry(id, size=800, overlap=400, **changes):
    return {
        "id": id,
        "object": "vector_store.file",
        "vector_store_id": STORE,
        "created_at": 1,
        "usage_bytes": 10,
        "status": "completed",
        "attributes": {},
        "chunking_strategy": {
            "type": "static",
            "static": {"max_chunk_size_tokens": size, "chunk_overlap_tokens": overlap},
        },
        **changes,
    }


@pytest.fixture
def server():
    server = StoreServer()
    server.attached = {"file-1": entry("file-1"), "file-2": entry("file-2")}
    server.search = lambda query, limit: [(name, score, text) for (name, text), score in FOUND[query]][:limit]
    return server


def evaluate(server, questions=QUESTIONS, **options):
    return evaluate_retrieval(server.client(), STORE, questions, **{"progress": False, **options})


# -- retrieval --------------------------------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_a_hand_count(server):
    report = evaluate(server)
    # when: rank 2. who: rank 1. both: rank 1, and the second half at rank 4. why: does not count.
    assert [row.rank for row in report.rows] == [2, 1, 1, None]
    assert report.hit_rate(1).mean == pytest.approx(2 / 3)
    assert report.hit_rate().mean == 1
    assert report.mrr().mean == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert report.recall(1).mean == pytest.approx((0 + 1 + 1 / 2) / 3)
    assert report.recall(5).mean == 1
    assert report.hit_rate().count == 3
    assert report.missed == []


def test_what_is_missed_can_be_looked_at(server):
    report = evaluate(server, k=1)
    assert [row.question.id for row in report.missed] == ["when"]
    assert report.missed[0].results[0].beginning == "In May 2019 nothing happened."


def test_the_search_gets_what_was_asked_for(server):
    bodies = []
    server.on(SEARCH, lambda request: bodies.append(json.loads(request.content)))
    filters = {"type": "eq", "key": "part", "value": 1}
    evaluate(
        server, QUESTIONS[:1], k=7, filters=filters, rewrite_query=False, ranking_options={"ranker": "none"}
    )
    assert bodies == [
        {
            "query": "When was it?",
            "max_num_results": 7,
            "filters": filters,
            "rewrite_query": False,
            "ranking_options": {"ranker": "none"},
        }
    ]


def test_the_label_says_how_the_files_were_cut(server):
    assert evaluate(server).label == "chunks of 800 tokens, 400 overlapping"
    server.attached["file-2"] = entry("file-2", 200, 100)
    assert evaluate(server).label == "Notes"
    assert evaluate(server, label="mine").label == "mine"


def test_results_go_on_after_an_interrupt_and_only_for_the_same_store(server, tmp_path):
    path = tmp_path / "results.jsonl"

    whole = evaluate(server, results_path=tmp_path / "whole.jsonl")
    evaluate(server, QUESTIONS[:2], results_path=path)
    searches = server.count(SEARCH)
    report = evaluate(server, results_path=path, max_workers=1)
    assert server.count(SEARCH) == searches + 2
    assert str(report.mrr()) == str(whole.mrr())
    assert [row.results for row in report.rows] == [row.results for row in whole.rows]

    server.attached["file-2"]["usage_bytes"] = 11  # the store holds something else now
    evaluate(server, results_path=path)
    assert server.count(SEARCH) == searches + 2 + 4


def test_a_question_that_could_not_be_asked_is_in_no_number_and_named(server):
    server.fail(SEARCH, 500)
    report = evaluate(server, max_workers=1)
    assert [id for id, _ in report.failures] == ["when"]
    assert report.hit_rate().count == 2
    assert "1 questions could not be asked" not in repr(report)
    assert "1 question could not be asked and is in no number (when)" in repr(report)


def test_a_store_that_is_deleted_in_between_ends_it(server):
    server.fail(SEARCH, api_error(404, "No vector store found."))
    with pytest.raises(WorkshopError, match="may have been deleted"):
        evaluate(server)


def test_a_store_without_files_is_no_store_to_measure(server):
    server.attached = {"file-1": entry("file-1", status="in_progress")}
    with pytest.raises(ConfigurationError, match="Upload some"):
        evaluate(server)
    with pytest.raises(WorkshopError, match="may have been deleted") as caught:
        evaluate_retrieval(server.client(), "vs_9", QUESTIONS)
    assert caught.value.__context__ is None


def test_files_that_are_not_ready_are_mentioned(server):
    server.attached["file-2"]["status"] = "in_progress"
    assert "1 of 2 files were still being parsed" in repr(evaluate(server))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 0}, "from 1 to 50"),
        ({"k": 51}, "from 1 to 50"),
        ({"k": True}, "from 1 to 50"),
        ({"questions": []}, "list of Question objects"),
        ({"questions": ["When?"]}, "list of Question objects"),
        ({"questions": [QUESTIONS[0], QUESTIONS[0]]}, "id 'when'"),
        ({"max_workers": 0}, "max_workers"),
    ],
)
def test_arguments_that_cannot_work(server, options, words):
    with pytest.raises(ConfigurationError, match=words):
        evaluate(server, **options)
    assert server.count(SEARCH) == 0


def test_an_asynchronous_client_is_refused():
    client = openai.AsyncOpenAI(api_key="x", base_url="https://recorded.invalid/v1")
    with pytest.raises(ConfigurationError, match="synchronous"):
        evaluate_retrieval(client, STORE, QUESTIONS)
    with pytest.raises(ConfigurationError, match="synchronous"):
        evaluate_answers(client, {}, QUESTIONS)


def test_a_report_holds_smaller_k_but_no_larger_ones(server):
    with pytest.raises(ConfigurationError, match="from 1 to 5"):
        evaluate(server).hit_rate(6)


def test_each_kind_of_question_has_its_row(server):
    table = evaluate(server).by_kind()
    assert [row[:3] for row in table.rows] == [
        ("number", "1", "1.00"),
        ("exact term", "1", "1.00"),
        ("two files", "1", "1.00"),
    ]


def test_each_question_has_its_row(server):
    rows = {row[0]: row[3:] for row in evaluate(server).table().rows}
    assert rows["when"] == ("2", "c.md", "0.900")
    assert rows["why"] == ("–", "c.md", "0.350")
    server.search = lambda query, limit: []
    rows = {row[0]: row[3:] for row in evaluate(server).table().rows}
    assert rows["when"] == ("not found", "nothing", "")


@pytest.mark.parametrize(
    ("host", "words"), [("recorded.invalid", "BM25"), ("api.openai.com", "by api.openai.com")]
)
def test_it_says_who_searched(server, host, words):
    report = evaluate_retrieval(server.client(host), STORE, QUESTIONS, progress=False)
    assert words in repr(report)
    assert words in report._repr_html_()
    assert words.replace(".", "\\.") in report.to_markdown() or words in report.to_markdown()


# -- thresholds ---------------------------------------------------------------------------------------------------------------


def test_a_threshold_rejects_and_costs(server):
    sweep = evaluate(server).threshold_sweep([0, 0.35, 0.36, 0.55, 0.7, 1])
    # The unanswerable one has 0.35 at most; the best relevant ones are 0.6, 0.8 and 0.5.
    assert [(point.threshold, point.rejected, point.lost) for point in sweep.points] == [
        (0, 0, 0),
        (0.35, 0, 0),
        (0.36, 1, 0),
        (0.55, 1, 1),
        (0.7, 1, 2),
        (1, 1, 3),
    ]
    assert "1 of 1" in repr(sweep)
    assert "not comparable" in repr(sweep)


def test_the_thresholds_end_where_nothing_is_left_to_lose(server):
    sweep = evaluate(server).threshold_sweep()
    assert sweep.points[0].threshold == 0
    assert sweep.points[-1].threshold == 0.85, "the best score that matters is 0.8"
    assert (sweep.points[-1].rejected, sweep.points[-1].lost) == (1, 3)
    assert sweep.points[-2].lost < 3


def test_a_question_that_finds_nothing_is_rejected_at_once(server):
    server.search = lambda query, limit: []
    sweep = evaluate(server).threshold_sweep([0])
    assert (sweep.points[0].rejected, sweep.found) == (1, 0)


def test_the_plot_of_the_thresholds_tells_its_numbers(server):
    drawing = evaluate(server).threshold_sweep([0, 0.36, 0.7]).plot()
    assert "at 0.36 1 of 1 rejected and 0 of 3 lost" in drawing.alt_text
    assert len(drawing.figure.axes[0].get_lines()) == 2


# -- answers ----------------------------------------------------------------------------------------------------------------


def response(
    text, *, cited=(), results=None, metadata=None, status="completed", model="gpt-6-luna", error=None
):
    output = []
    if results is not None:
        found = [
            {"file_id": "file-1", "filename": name, "score": 0.5, "text": passage, "attributes": {}}
            for name, passage in results
        ]
        call = {
            "type": "file_search_call",
            "id": "fs_1",
            "status": "completed",
            "queries": ["x"],
            "results": found,
        }
        output.append(call)
    annotations = [
        {"type": "file_citation", "file_id": "file-1", "filename": name, "index": len(text)} for name in cited
    ]
    content = [{"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}]
    message = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": content,
    }
    usage = {
        "input_tokens": 1_000_000,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 1_000,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 1_001_000,
    }
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "model": model,
        "status": status,
        "error": error,
        "metadata": metadata or {},
        "output": [*output, message],
        "usage": usage,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }


LIBRARIAN = Assistant(
    name="Librarian", instructions="Answer.", tools=[{"type": "file_search", "vector_store_ids": [STORE]}]
)
ANSWERS = {
    "When was it?": response("In 2019, after 7 years.", cited=["a.md", "a.md", "c.md"], results=[MAY, NOISE]),
    "Who was it?": response("Ada did it.", cited=["b.md"], results=[ADA]),
    "When and who?": response("I do not know.", results=[MAY]),
    "Why was it?": response("Because of 42.", cited=["c.md"], results=[NOISE]),
}


def answers(server, assistant=LIBRARIAN, questions=QUESTIONS, **options):
    server.respond = lambda body: ANSWERS[body["input"]]
    return evaluate_answers(server.client(), assistant, questions, **{"progress": False, **options})


def test_citations_figures_and_facts_are_those_of_a_hand_count(server):
    report = answers(server)
    assert report.citation_precision().mean == pytest.approx((1 / 2 + 1) / 2)
    assert report.citation_precision().count == 2
    assert report.citation_recall().mean == pytest.approx((1 + 1 + 0) / 3)
    assert report.passages_found().mean == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert report.rows[0].unsupported == ("7",)
    assert report.figures_supported().mean == pytest.approx((1 / 2 + 0) / 2)
    assert report.key_facts().mean == 1
    assert [row.question.id for row in report.cited_although_unanswerable] == ["why"]


def test_tokens_and_price_are_counted(server):
    report = answers(server)
    assert report.tokens == 4 * 1_001_000
    # Per answer: 1M tokens in at $0.10, 1,000 out at $0.50 a million, one search at $0.0025.
    assert report.price_usd == pytest.approx(4 * (0.10 + 0.0005 + 0.0025))
    assert not report.estimated
    assert "$0.4120" in repr(report)
    assert "≈" not in repr(report)


def test_an_unknown_price_is_not_made_up(server):
    report = answers(server, questions=QUESTIONS[:1])
    assert report.price_usd is not None
    ANSWER = response("x", model="somebody-elses")
    server.respond = lambda body: ANSWER
    report = evaluate_answers(server.client(), {"model": "somebody-elses"}, QUESTIONS[:1], progress=False)
    assert report.price_usd is None
    assert "?" in repr(report)


def test_each_question_is_asked_by_itself_and_nothing_is_kept(server):
    bodies = []
    server.on("POST /responses", lambda request: bodies.append(json.loads(request.content)))
    answers(server)
    assert {body["input"] for body in bodies} == set(FOUND)
    assert all(body["store"] is False for body in bodies)
    assert all(body["include"] == ["file_search_call.results"] for body in bodies)
    assert all("conversation" not in body for body in bodies)


def test_without_files_there_is_nothing_to_cite(server):
    server.respond = lambda body: response("It was in 2019.")
    plain = Assistant(name="No files", instructions="Answer.")
    report = evaluate_answers(server.client(), plain, QUESTIONS, progress=False)
    assert report.label == "No files"
    assert report.citation_precision().count == 0
    assert report.citation_recall().mean == 0
    assert report.figures_supported().mean == 0
    assert not any("vector_stores" in route for route in server.requests)


def test_recorded_answers_are_marked_and_nothing_is_claimed(server):
    marks = iter(["authored", "offline helper", "offline helper", "authored"])
    server.respond = lambda body: response("x", metadata={"workshop_source": next(marks)})
    report = evaluate_answers(server.client("recorded.invalid"), LIBRARIAN, QUESTIONS, progress=False)
    text = repr(report)
    assert report.estimated
    assert "4 of 4 answers are not a model's (2 authored, 2 offline helper)" in re.sub(r"\s+", " ", text)
    assert "how well a model answers is not shown here" in re.sub(r"\s+", " ", text)
    assert "≈ $" in text


def test_an_answer_that_failed_is_left_out(server):
    broken = response("", status="failed", error={"code": "server_error", "message": "Oops"})
    server.respond = lambda body: broken if body["input"] == "Who was it?" else ANSWERS[body["input"]]
    report = evaluate_answers(server.client(), LIBRARIAN, QUESTIONS, progress=False)
    assert report.failures == [("who", "The response is failed: Oops")]
    assert len(report.rows) == 3


def test_answers_are_kept_and_not_paid_for_twice(server, tmp_path):
    path = tmp_path / "answers.jsonl"
    first = answers(server, results_path=path)
    asked = server.count("POST /responses")
    second = answers(server, results_path=path)
    assert server.count("POST /responses") == asked
    assert repr(first.table()) == repr(second.table())
    assert first.rows == second.rows
    answers(server, LIBRARIAN.with_instructions("Answer in French."), results_path=path)
    assert server.count("POST /responses") == 2 * asked


@pytest.mark.parametrize(
    ("assistant", "words"),
    [
        ("Librarian", "must be an Assistant"),
        ({"tools": [{"type": "function", "name": "f", "parameters": {}}]}, "calls no functions"),
        ({"stream": True}, "'stream' cannot be set"),
        ({"conversation": "conv_1"}, "'conversation' cannot be set"),
    ],
)
def test_assistants_that_cannot_be_evaluated(server, assistant, words):
    with pytest.raises(ConfigurationError, match=words):
        answers(server, assistant)


def test_each_answer_has_its_row(server):
    rows = {row[0]: row[2:] for row in answers(server).table().rows}
    assert rows["when"] == ("In 2019, after 7 years.", "a.md, c.md", "7")
    assert rows["both"] == ("I do not know.", "nothing", "none")


# -- comparing --------------------------------------------------------------------------------------------------------------


def retrieval_report(label, ranks, k=5):
    """A report in which the first relevant result stood at these ranks; 0: nowhere."""
    rows = []
    for number, rank in enumerate(ranks):
        question = Question(f"q{number}", "When?", "a.md", kind="number")
        results = [Result("a.md", 0.5, (0,) if place == rank else (), "") for place in range(1, k + 1)]
        rows.append(RetrievalRow(question, tuple(results), 3.0 + number))
    return RetrievalReport(rows, k=k, label=label, notes=[f"About {label}."])


SMALL, LARGE = retrieval_report("small", [1, 1, 2, 0]), retrieval_report("large", [1, 1, 1, 2])


def test_reports_stand_side_by_side():
    table = compare([SMALL, LARGE])
    assert [row[0] for row in table.rows] == ["small", "large"]
    assert [row[2].split()[0] for row in table.rows] == ["0.75", "1.00"]
    assert table.rows[0][5] == "4 ms"
    assert "About small." in repr(table)
    assert "| small |" in table.to_markdown()
    assert '<th scope="col"' in table._repr_html_()


def test_the_difference_is_taken_question_by_question():
    table = compare([SMALL, LARGE])
    assert table.columns[-1].name == "MRR@5 against the first"
    assert [row[-1].split()[0] for row in table.rows] == ["–", "+0.25"]
    # Every question gets better by the same amount: the interval has no width, though both rates scatter.
    worse, better = retrieval_report("worse", [2] * 4), retrieval_report("better", [1] * 4)
    assert compare([worse, better]).rows[1][-1] == "+0.50 [+0.50, +0.50]"


def test_other_questions_are_not_compared_one_by_one():
    table = compare([SMALL, retrieval_report("other", [1, 1])])
    assert "against the first" not in table.columns[-1].name


def test_reports_are_compared_at_the_k_that_both_have():
    table = compare([SMALL, retrieval_report("three", [1, 1, 1, 3], k=3)])
    assert "hit rate@3" in [column.name for column in table.columns]


def test_a_mapping_gives_other_labels():
    assert [row[0] for row in compare({"A": SMALL, "B": LARGE}).rows] == ["A", "B"]


def test_answers_are_compared_as_well(server):
    report = answers(server)
    table = compare({"A": report, "B": report})
    assert table.columns[-1].name == "citation recall against the first"
    assert table.rows[1][-1] == "+0.00 [+0.00, +0.00]"


@pytest.mark.parametrize("reports", [[], [SMALL, AnswerReport([], label="x")], ["small"], {}])
def test_what_cannot_be_compared(reports):
    for front_door in (compare, plot):
        with pytest.raises(ConfigurationError, match="of one kind"):
            front_door(reports)


def test_the_plot_tells_its_numbers():
    drawing = plot([SMALL, LARGE])
    assert "small: hit rate@5 0.75 [0.25, 1.00]" in drawing.alt_text
    assert "large: hit rate@5 1.00 [1.00, 1.00]" in drawing.alt_text
    axes = drawing.figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["small", "large"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["hit rate@5", "recall@5", "MRR@5"]
    assert drawing.png().startswith(b"\x89PNG")


def test_metrics_differ_by_more_than_colour():
    axes = plot([SMALL]).figure.axes[0]
    markers = {line.get_marker() for line in axes.get_lines() if line.get_marker() not in ("_", "None", "")}
    assert {"o", "s", "^"} <= markers


def test_two_runs_differ_only_in_their_times():
    fast, slow = retrieval_report("r", [1, 2]), retrieval_report("r", [1, 2])
    slow.rows = [RetrievalRow(row.question, row.results, 12_345.0) for row in slow.rows]
    hide = re.compile(r" *\b\d[\d,]*(\.\d+)? ?ms\b")
    assert hide.sub(" <time>", repr(fast)) == hide.sub(" <time>", repr(slow))


# -- on the local API -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library():
    """The workshop's texts in a store of the local API."""
    from helpers import cleanup, connect
    from helpers.files import upload_files
    from helpers.models import DATA_FOLDER

    client = connect("recorded")
    store = client.vector_stores.create(name="GPT-2")
    upload_files(client, store, sorted((DATA_FOLDER / "gpt2").glob("*.md")), show=False)
    yield client, store
    cleanup(client)


def test_the_local_search_finds_what_stands_in_the_texts(library):
    report = evaluate_retrieval(*library, progress=False, k=10)
    assert len(report.rows) == len(load_questions())
    exact = [row for row in report.answerable if row.question.kind == "exact term"]
    assert sum(row.rank is not None for row in exact) / len(exact) >= 0.8
    assert report.hit_rate().mean > 0.5
    again = evaluate_retrieval(*library, progress=False, k=10, max_workers=1)
    assert [row.results for row in again.rows] == [row.results for row in report.rows]
