"""What a chat shows of an exchange: the pieces, the words for what goes on, and that nothing of it acts."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.chat_view import (
    Called,
    Ran,
    Said,
    Searched,
    Turn,
    Used,
    doing,
    transcript_html,
    transcript_plain,
    turn_html,
    turn_pieces,
    turn_plain,
    usage_text,
)
from helpers.citations import Passage, number_citations
from helpers.code_interpreter import CodeCall, image_in
from helpers.downloads import DownloadedFile, DownloadReport, GeneratedFile
from helpers.file_search import FileSearch
from helpers.function_calling import FunctionCall
from helpers.functions import FunctionResult
from tests.html_safety import checked
from tests.test_citations import NASTY, cite
from tests.test_code_interpreter import PNG

CITED = number_citations(
    "It stops.", [cite(8, "overview")], [Passage("file-overview", "overview.md", "Scope.", 0.42)]
)
FULL = Turn(
    "Why?",
    "Librarian",
    parts=(
        Searched(FileSearch(("books", "limits"), (Passage("file-overview", "overview.md", "Scope.", 0.42),))),
        Ran(CodeCall("print(1)", "1", (image_in(PNG, "plot “Loss”"),))),
        Called(FunctionCall("call_1", "look_up", '{"topic": "GPT-2"}', "done", FunctionResult("call_1", "look_up", "{}", '{"size": "124M"}', printed="hm"))),
        Used("web_search_call"),
        Said(CITED.marked_text, cited=CITED),
    ),
    status="completed",
    marks=("recorded · for a test",),
    downloads=DownloadReport([DownloadedFile(GeneratedFile("a.csv", "cfile_1", "cntr_1"), "saved", Path("downloads/a.csv"), 12)], Path("downloads")),
    tokens=1234,
    price_usd=0.0004,
    estimated=True,
)  # fmt: skip


def test_a_turn_shows_everything_that_happened_in_order():
    page = checked(turn_html(FULL))
    order = [
        "You", "Why?", "Librarian",
        "Searched your files for “books” · “limits”: read 1 passage from 1 file", "overview.md (score 0.42)", "Scope.",
        "Ran code", "print(1)", "Output", "1", "2×3 PNG, plot “Loss”",
        'Called look_up(topic="GPT-2")', "The model gets", '"size": "124M"', "The function printed", "hm",
        "Searched the web",
        "It stops[1].", "Cited files", "[1] overview.md",
        "Files made by the code", "a.csv → downloads/a.csv (saved, 12 B)",
        "recorded · for a test", "≈ 1,234 tokens · ≈ $0.0004",
    ]  # fmt: skip
    place = 0
    for words in order:
        assert words in page.text[place:], words
        place = page.text.index(words, place)
    assert page.images == [PNG]


def test_the_plain_form_says_the_same():
    plain = turn_plain(FULL)
    for words in (
        "You: Why?",
        "Librarian:",
        "queries: “books” · “limits”",
        "    print(1)",
        "[image: 2×3 PNG, plot “Loss”]",
        'Calling look_up(topic="GPT-2")',
        "Searched the web",
        "It stops[1].",
        "[1] overview.md",
        "    a.csv → downloads/a.csv",
        "≈ 1,234 tokens",
    ):
        assert words in plain, words
    assert repr(FULL) == plain
    assert FULL._repr_html_() == turn_html(FULL)


def test_the_data_is_json_and_complete():
    data = json.loads(json.dumps(FULL.data()))
    assert data["question"] == "Why?"
    assert data["answer"] == "It stops[1]."
    assert [tool["tool"] for tool in data["tools"]] == [
        "file_search",
        "code_interpreter",
        "function",
        "web_search",
    ]
    assert data["tools"][1]["output"] == "1"
    assert data["tools"][2]["output"] == '{"size": "124M"}'
    assert data["citations"] == [{"number": 1, "file": "overview.md"}]
    assert [Path(path) for path in data["files"]] == [Path("downloads/a.csv")]
    assert (data["tokens"], data["price_usd"], data["estimated"]) == (1234, 0.0004, True)


RUNNING = FileSearch(status="in_progress")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((), "Waiting for the first sign of an answer …"),
        ((Said("a", complete=False),), "Writing …"),
        ((Said("a"),), "Thinking …"),
        ((Searched(RUNNING),), "Searching your files …"),
        ((Searched(FileSearch(("a",), ())),), "Thinking …"),
        ((Ran(CodeCall("a", status="in_progress")),), "Writing code …"),
        ((Ran(CodeCall("a", status="interpreting")),), "Running code …"),
        ((Ran(CodeCall("a", "")),), "Thinking …"),
        ((Called(FunctionCall("c", "look_up", '{"to')),), "Calling look_up …"),
        ((Called(FunctionCall("c", "look_up", "{}", "waiting")),), "Calling look_up …"),
        ((Called(FunctionCall("c", "f", "{}", "done", FunctionResult("c", "f", "{}", "1"))),), "Thinking …"),
        ((Used("web_search_call", "in_progress"),), "Searching the web …"),
        ((Used("shiny_new_call", "in_progress"),), "Using shiny new …"),
    ],
)
def test_it_says_what_goes_on(parts, words):
    turn = Turn("Why?", parts=parts)
    assert doing(turn) == words
    assert checked(turn_html(turn)).text.endswith(words)
    assert doing(replace(turn, status="stopping")) == "Stopping …"
    assert doing(replace(turn, status="completed")) == ""


def test_a_stopped_answer_keeps_what_came_and_says_so():
    turn = Turn("Why?", parts=(Said("Half an", complete=False),), status="stopped")
    assert "Half an" in checked(turn_html(turn)).text
    assert "you stopped the answer here" in turn_plain(turn)
    assert "you stopped the answer here" in turn_html(turn)


def test_an_error_is_one_sentence_and_more_than_a_colour():
    turn = Turn("Why?", parts=(Said("Half"),), status="failed", error="The key <b> is wrong.")
    page = turn_html(turn)
    assert "Error: The key <b> is wrong." in checked(page).text
    assert 'role="alert"' in page
    assert "Error: The key <b> is wrong." in turn_plain(turn)


def test_code_that_fails_and_functions_that_raise_are_told_in_words():
    call = FunctionCall(
        "c",
        "look_up",
        "{}",
        "raised",
        FunctionResult("c", "look_up", "{}", "{}", "raised", "It raised a KeyError."),
    )
    turn = Turn("Why?", parts=(Ran(CodeCall("1/0", "Traceback (most recent call last)\nZeroDivisionError: no")), Called(call)), status="completed")  # fmt: skip
    text = checked(turn_html(turn)).text
    assert "Ran code. The code raised an error: ZeroDivisionError: no" in text
    assert "Tried to call look_up() → It raised a KeyError. The model was told." in text
    unanswered = Turn(
        "Why?", parts=(Called(FunctionCall("c", "look_up", "{}", "unfinished")),), status="stopped"
    )
    assert "Did not call look_up()" in checked(turn_html(unanswered)).text


def test_a_refusal_is_told_as_one():
    turn = Turn("Why?", parts=(Said("No.", refusal=True),), status="completed")
    assert "The model declined to answer" in turn_html(turn)
    assert "The model declined to answer" in turn_plain(turn)


def test_only_the_piece_that_grows_is_another_one():
    before = turn_pieces(Turn("Why?", parts=(Ran(CodeCall("a", "b")), Said("One", complete=False))))
    after = turn_pieces(Turn("Why?", parts=(Ran(CodeCall("a", "b")), Said("One two", complete=False))))
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, True, False, True]


def with_everywhere(text):
    """A turn in which somebody else's text stands in every place that there is."""
    passage = Passage("file-1", text, text, 0.5)
    annotated = number_citations(text, [{**cite(0), "filename": text}], [{"file_id": "file-a", "filename": text, "text": text}])  # fmt: skip
    return Turn(
        text,
        text,
        parts=(
            Searched(FileSearch((text,), (passage,), text)),
            Ran(CodeCall(text, text, (replace(image_in(PNG), alt_text=text), image_in(f"https://evil.example/{text}", text)))),
            Ran(CodeCall(text, status="interpreting")),
            Called(FunctionCall("c", text, text, "raised", FunctionResult("c", text, text, text, "raised", text, printed=text, shortened=True))),
            Called(FunctionCall("c", text, json.dumps({text: text}), "done", FunctionResult("c", text, "{}", json.dumps([text])))),
            Called(FunctionCall("c", text, text, "waiting")),
            Used(text, text),
            Said(annotated.marked_text, cited=annotated),
            Said(text, complete=False, refusal=True),
        ),
        status="failed",
        error=text,
        marks=(text,),
        downloads=DownloadReport([DownloadedFile(GeneratedFile(text, "c", "b"), "failed", note=text)], Path("x"), [text]),
    )  # fmt: skip


@pytest.mark.parametrize("nasty", NASTY)
def test_nothing_acts_wherever_it_stands(nasty):
    turn = with_everywhere(nasty)
    page = checked(transcript_html(nasty, [turn, replace(turn, status="in_progress")]))
    assert page.images == [PNG, PNG]
    turn_plain(turn)
    json.dumps(turn.data())


@settings(max_examples=80, deadline=None)
@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_nothing_acts_whatever_it_is(text):
    checked(turn_html(with_everywhere(text)))


def test_an_image_is_shown_for_what_its_bytes_are():
    svg = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>").decode()
    for url in (
        f"data:image/svg+xml;base64,{svg}",
        f"data:image/png;base64,{svg}",
        "https://evil.example/a.png",
    ):
        page = checked(
            turn_html(Turn("?", parts=(Ran(CodeCall("", "", (image_in(url),))),), status="completed"))
        )
        assert page.images == []
        assert "[image: " in page.text


def test_the_transcript_holds_all_turns_and_says_if_there_are_none():
    turns = [replace(FULL, question="First?"), replace(FULL, question="Second?")]
    text = checked(transcript_html("My <chat>", turns)).text
    assert text.index("My <chat>") < text.index("First?") < text.index("Second?")
    assert transcript_plain("My chat", turns).count("Librarian:") == 2
    assert "Nothing has been asked yet." in transcript_html("My chat", [])
    assert "Nothing has been asked yet." in transcript_plain("My chat", [])


def test_a_saved_transcript_keeps_the_newest_pictures_and_names_the_others():
    large = replace(image_in(PNG), data=b"\x89PNG" + b"x" * 600_000, alt_text="a large plot")
    turn = Turn("?", parts=(Ran(CodeCall("", "", (large,))),), status="completed")
    shown = transcript_html("Chat", [turn] * 4)
    assert shown.count("<img ") == 1
    assert shown.count("a large plot") == 5  # three times in words, once in both
    assert len(shown) < 1_600_000


def test_long_outputs_are_cut_and_long_lists_end():
    passages = tuple(Passage("f", f"{number}.md", "text", 0.1) for number in range(20))
    call = FunctionCall("c", "f", "{}", "done", FunctionResult("c", "f", "{}", "x" * 50_000))
    page = checked(turn_html(Turn("?", parts=(Searched(FileSearch(("q",), passages)), Called(call)), status="completed")))  # fmt: skip
    assert "… and 12 more" in page.text
    assert "(50,000 characters)" in page.text
    assert len(page.text) < 4_000


@pytest.mark.parametrize(
    ("tokens", "price_usd", "estimated", "words"),
    [
        (1, None, False, "1 token"),
        (2_000, 0.0, False, "2,000 tokens · $0.0000"),
        (2_000, 0.00001, True, "≈ 2,000 tokens · ≈ <$0.0001"),
        (2_000, 1.5, False, "2,000 tokens · $1.5000"),
    ],
)
def test_usage_in_words(tokens, price_usd, estimated, words):
    assert usage_text(tokens, price_usd, estimated) == words
