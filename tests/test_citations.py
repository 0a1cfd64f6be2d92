"""Numbered citations: markers at the right place, one number for a file, and names and passages that stay text."""

from __future__ import annotations

import html.parser
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import mistune
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from openai.types.responses import Response
from openai.types.responses.response_output_text import AnnotationFileCitation

from helpers.citations import (
    CitedText,
    Passage,
    citations_in,
    citations_of,
    excerpt,
    literal_html,
    literal_markdown,
    number_citations,
    passages_in,
)
from helpers.rendering import safe_markdown

STREAMS = Path(__file__).parent / "data" / "real-streams"


def cite(index: Any, file: str = "a", **more: Any) -> dict[str, Any]:
    return {
        "type": "file_citation",
        "file_id": f"file-{file}",
        "filename": f"{file}.md",
        "index": index,
        **more,
    }


def at_bar(text: str) -> str:
    """Return the text with a marker for a citation that stands where ``text`` has its (first) ``¦``."""
    index = text.index("¦")
    return number_citations(text.replace("¦", "", 1), [cite(index)]).marked_text


def recorded_response(name: str) -> dict[str, Any]:
    exchanges = json.loads((STREAMS / f"{name}.json").read_text(encoding="utf-8"))
    streams = [
        exchange["response"]["body"]["sse"] for exchange in exchanges if "sse" in exchange["response"]["body"]
    ]
    response: dict[str, Any] = streams[0][-1]["response"]
    return response


# -- places -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        # As the API sends it: before the full stop, with or without the space that the model left.
        ("The capital of France is Paris¦.", "The capital of France is Paris[1]."),
        ("for NLP tasks ¦.", "for NLP tasks [1]."),
        ("¦Paris", "[1]Paris"),
        ("Paris¦", "Paris[1]"),
        ("¦", "[1]"),
        # Other scripts: the index counts code points.
        ("东京是首都¦。", "东京是首都[1]。"),
        ("القاهرة هي العاصمة¦.", "القاهرة هي العاصمة[1]."),
        ("🎓🎓 Paris¦ 🎓", "🎓🎓 Paris[1] 🎓"),
        ("กรุงเทพ¦ฯ", "กรุงเทพ[1]ฯ"),
        # Inside of one visible character.
        ("Cafe¦\u0301.", "Cafe\u0301[1]."),
        ("👩¦\u200d🎓!", "👩\u200d🎓[1]!"),
        ("👍¦🏽!", "👍🏽[1]!"),
        ("❤¦\ufe0f!", "❤\ufe0f[1]!"),
        ("🇩¦🇪🇫🇷", "🇩🇪[1]🇫🇷"),
        ("🇩🇪¦🇫🇷", "🇩🇪[1]🇫🇷"),
        ("각¦ㄱ", "각[1]ㄱ"),
        ("\u1100¦\u1161\u11a8.", "\u1100\u1161\u11a8[1]."),
        ("नि¦", "नि[1]"),
        ("न¦ि.", "नि[1]."),
        ("\ud83d¦\ude00.", "\ud83d\ude00[1]."),
        # Inside of a line.
        ("`co¦de` x", "`code`[1] x"),
        ("`` a`¦b `` x", "`` a`b ``[1] x"),
        ("a ` b¦ c", "a ` b[1] c"),
        ("see [te¦xt](http://a.b) now", "see [text](http://a.b)[1] now"),
        ("see [text](http://a.b/¦c_(d)) now", "see [text](http://a.b/c_(d))[1] now"),
        ("see [text]¦(http://a.b) now", "see [text](http://a.b)[1] now"),
        ("see http://a.b/¦c.", "see http://a.b/c [1]."),
        ("see http://a.b/c¦, and", "see http://a.b/c [1], and"),
        ("(see www.a.b/c¦)", "(see www.a.b/c [1])"),
        ("as above ¦(chapter 2)", "as above [1] (chapter 2)"),
        ("$x¦^2$ is", "$x^2$[1] is"),
        ("it is $5 at first, ¦then $6", "it is $5 at first, [1]then $6"),
        (r"5 \¦* 3", r"5 \*[1] 3"),
        ("a &am¦p; b", "a &amp;[1] b"),
        ("a <b¦r> b", "a <br>[1] b"),
        ("snake_¦case", "snake_[1]case"),
        # Emphasis: a marker next to its marks, on the inside, would switch it off.
        ("**bold¦** x", "**bold**[1] x"),
        ("**bold*¦* x", "**bold**[1] x"),
        ("**bold**¦ x", "**bold**[1] x"),
        ("a **¦bold** x", "a [1]**bold** x"),
        ("a *¦*bold** x", "a [1]**bold** x"),
        ("a ¦**bold** x", "a [1]**bold** x"),
        ("a **bold and¦ strong** x", "a **bold and[1] strong** x"),
        ("a _it¦_ x", "a _it_[1] x"),
        ("a ~~old¦~~ x", "a ~~old~~[1] x"),
        ("**[text](http://a.b)¦** x", "**[text](http://a.b)**[1] x"),
        ("2 * 3¦ * 4", "2 * 3[1] * 4"),
        # The begin of a line belongs to the text before it.
        ("one\n¦two", "one[1]\ntwo"),
        ("one\n\n¦two", "one[1]\n\ntwo"),
        ("one\n¦\ntwo", "one[1]\n\ntwo"),
        ("one\n¦", "one[1]\n"),
        ("one\r\n¦two", "one[1]\r\ntwo"),
        ("one\r¦\ntwo", "one[1]\r\ntwo"),
        ("one  ¦\ntwo", "one[1]  \ntwo"),
        ("one\\¦\ntwo", "one[1]\\\ntwo"),
        ("- one\n- ¦two", "- one[1]\n- two"),
        ("- one¦\n- two", "- one[1]\n- two"),
        ("1¦. one", "1. one[1]"),
        ("> one\n> ¦two", "> one[1]\n> two"),
        ("¦# Title", "# Title[1]"),
        ("# Title¦", "# Title[1]"),
        ("## Title ##¦", "## Title[1] ##"),
        ("Title\n¦=====\ntext", "Title[1]\n=====\ntext"),
        ("one\n\n--¦-\n\ntwo", "one[1]\n\n---\n\ntwo"),
        ("---¦\ntwo", "---\n\n[1]\n\ntwo"),
        # Code and formulas of several lines.
        ("so:\n```py\nx = ¦1\n```\nthen", "so:\n```py\nx = 1\n```\n[1]\n\nthen"),
        ("so:\n```py\nx = 1\n```¦\n\nthen", "so:\n```py\nx = 1\n```\n[1]\n\nthen"),
        ("so:\n¦```py\nx = 1\n```", "so:[1]\n```py\nx = 1\n```"),
        ("so:\n```py\nx = 1\n```\n¦then", "so:\n```py\nx = 1\n```\n[1]\n\nthen"),
        ("~~~\n```\n¦\n~~~", "~~~\n```\n\n~~~\n[1]"),
        ("```py\nx = ¦1", "```py\nx = 1\n```\n[1]"),
        ("```py\nx = 1\n¦", "```py\nx = 1\n```\n[1]"),
        ("- a\n  ```\n  x¦\n  ```\n- b", "- a\n  ```\n  x\n  ```\n  [1]\n\n- b"),
        ("> ```\n> x¦\n> ```\n> so", "> ```\n> x\n> ```\n> [1]\n>\n> so"),
        ("> ```\n> x¦\nso", "> ```\n> x\n\n[1]\n\nso"),
        ("so:\n\n    x = ¦1\n    y = 2\n\nthen", "so:\n\n    x = 1\n    y = 2\n\n[1]\n\nthen"),
        ("$$\nx¦^2\n$$\nthen", "$$\nx^2\n$$\n\n[1]\n\nthen"),
        # Tables.
        ("| A | B |\n|---|---|\n| x¦ | y |", "| A | B |\n|---|---|\n| x[1] | y |"),
        ("| A | B |\n|---|---|\n| x ¦| y |", "| A | B |\n|---|---|\n| x[1] | y |"),
        ("| A | B |\n|---|---|\n| x |¦ y |", "| A | B |\n|---|---|\n| x[1] | y |"),
        ("| A | B |\n|---|---|\n| x | y |¦\nthen", "| A | B |\n|---|---|\n| x | y[1] |\nthen"),
        ("| A | B |\n|---|---|\n| x | y |\n¦| z | |", "| A | B |\n|---|---|\n| x | y[1] |\n| z | |"),
        ("| A | B |\n|--¦-|---|\n| x | y |", "| A | B[1] |\n|---|---|\n| x | y |"),
        ("| A | B |\n|---|---|\n| x | |¦", "| A | B |\n|---|---|\n| x[1] | |"),
        ("| A | B |\n|---|---|\n| a `x¦ y` | |", "| A | B |\n|---|---|\n| a `x y`[1] | |"),
        (r"| A |" + "\n|---|\n" + r"| a \|¦ b |", "| A |\n|---|\n" + r"| a \|[1] b |"),
        ("A | B\n---|---\nx | y¦", "A | B\n---|---\nx | y[1]"),
        ("| A |\n|---|\n| x |\n\n¦then", "| A |\n|---|\n| x[1] |\n\nthen"),
    ],
)
def test_the_place_of_a_marker(text: str, marked: str) -> None:
    assert at_bar(text) == marked


@pytest.mark.parametrize("index", [None, "3", 3.0, True, -1, -(10**30), 6, 10**30])
def test_an_unknown_place_is_the_end(index: Any) -> None:
    assert number_citations("Paris", [cite(index)]).marked_text == "Paris[1]"


def test_an_annotation_without_anything() -> None:
    cited = number_citations("Paris.", [{"type": "file_citation"}, {}, None, "x", 5])
    assert cited.marked_text == "Paris.[1]"
    assert cited.plain() == (
        "Paris.[1]\n\n[1] (no name)\n\n" + "\n".join(["Also refers to: (no name) (something unknown)"] * 4)
    )
    assert number_citations("Paris.", None).plain() == "Paris."


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_a_file_keeps_its_number_and_numbers_follow_the_text() -> None:
    # The annotations come in another order than their places.
    annotations = [cite(9, "c"), cite(3, "a"), cite(6, "b"), cite(12, "a")]
    cited = number_citations("one two three.", annotations)
    assert cited.marked_text == "one[1] tw[2]o t[3]hre[1]e."
    assert [(c.number, c.filename, c.index) for c in cited.citations] == [
        (1, "a.md", 3),
        (2, "b.md", 6),
        (3, "c.md", 9),
        (1, "a.md", 12),
    ]
    assert [c.filename for c in cited.files] == ["a.md", "b.md", "c.md"]


def test_several_at_one_place_and_duplicates_once() -> None:
    cited = number_citations("Paris.", [cite(2, "b"), cite(5), cite(5, "b"), cite(5), cite(5, "c")])
    assert cited.marked_text == "Pa[1]ris[1][2][3]."
    assert [(c.number, c.index) for c in cited.citations] == [(1, 2), (2, 5), (1, 5), (3, 5)]


def test_several_that_move_to_one_place() -> None:
    text = "```\none\ntwo\n```"
    cited = number_citations(text, [cite(5), cite(9), cite(10, "b")])
    assert cited.marked_text == text + "\n[1][2]"
    assert [c.index for c in cited.citations] == [5, 9, 10]


def test_two_files_of_one_name_are_two() -> None:
    cited = number_citations("ab", [cite(1), cite(2, file_id="file-other")])
    assert cited.marked_text == "a[1]b[2]"
    assert "[1] a.md (file-a)\n[2] a.md (file-other)" in cited.plain()


def test_numbers_go_on_in_the_next_text() -> None:
    first = [cite(3, "a"), cite(3, "b")]
    second = [cite(3, "c"), cite(3, "b")]
    citations = citations_in([("one", first), ("two", second)])
    assert [(c.number, c.filename) for c in citations] == [(1, "a.md"), (2, "b.md"), (3, "c.md"), (2, "b.md")]
    numbers = number_citations("one", first).numbers
    assert number_citations("two", second, numbers=numbers).marked_text == "two[2][3]"


# -- real answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_object", [False, True])
def test_a_real_answer(as_object: bool) -> None:
    body = recorded_response("file_search")
    # As the SDK does it: without validation, since the recording is older than some fields.
    citations = citations_of(Response.construct(**body) if as_object else body)
    assert [(c.number, c.filename, c.index, c.passages) for c in citations] == [
        (1, "tmp8l5_2pzy.txt", 30, ())
    ]
    part = body["output"][1]["content"][0]
    annotations = [AnnotationFileCitation(**part["annotations"][0])] if as_object else part["annotations"]
    cited = number_citations(part["text"], annotations)
    assert cited.plain() == "The capital of France is Paris[1].\n\n[1] tmp8l5_2pzy.txt"


def test_files_of_the_code_interpreter_are_listed_and_leave_the_text_alone() -> None:
    part = recorded_response("code_interpreter_image")["output"][-1]["content"][0]
    cited = number_citations(part["text"], part["annotations"])
    assert cited.marked_text == part["text"]
    assert cited.citations == ()
    assert [(other.name, other.start_index, other.end_index) for other in cited.others] == [
        ("cfile_68dd937c234081919ee5238a16b4fd87.png", 0, 0),
        ("y_eq_x_squared_plot.png", 91, 132),
    ]
    # The text has a ’ before it, three bytes in UTF-8: the index counts characters.
    assert part["text"][91:132] == "sandbox:/mnt/data/y_eq_x_squared_plot.png"
    assert "y_eq_x_squared_plot.png (file made by the code interpreter)" in cited.plain()


def test_a_web_citation_is_listed_as_text() -> None:
    annotation = {
        "type": "url_citation",
        "url": "https://a.example/?q=1",
        "title": "A *page*",
        "start_index": 0,
        "end_index": 4,
    }
    cited = number_citations("See this.", [annotation, cite(8)])
    assert cited.marked_text == "See this[1]."
    assert (cited.others[0].start_index, cited.others[0].end_index) == (0, 4)
    assert "A *page* (web page, https://a.example/?q=1)" in cited.plain()
    page = rendered(cited.markdown())
    assert "A *page* (web page, https://a.example/?q=1)" in page.text
    assert "a" not in page.tags


def test_several_responses_and_bare_items() -> None:
    def response(text: str, file: str) -> dict[str, Any]:
        search = {"type": "file_search_call", "results": [result(file, 0.5, f"from {file}")]}
        part = {"type": "output_text", "text": text, "annotations": [cite(len(text), file)]}
        return {"output": [search, {"type": "message", "content": [part]}]}

    first, second = response("one", "a"), response("two", "b")
    expected = [(1, "a.md", "from a"), (2, "b.md", "from b")]
    for source in ([first, second], [*first["output"], *second["output"]]):
        assert [(c.number, c.filename, c.passages[0].text) for c in citations_of(source)] == expected
    assert citations_of(None) == []
    assert citations_of({"output": None}) == []


# -- passages ---------------------------------------------------------------------------------------------------------


def result(file: str, score: float | None, text: str) -> dict[str, Any]:
    return {"file_id": f"file-{file}", "filename": f"{file}.md", "score": score, "text": text}


def test_the_best_passage_of_a_file_is_shown_and_marked_as_a_guess() -> None:
    results = [
        result("a", 0.3, "weak"),
        result("b", 0.99, "other"),
        result("a", 0.8, "strong"),
        result("a", 0.8, "strong"),
    ]
    cited = number_citations("Paris.", [cite(5)], results)
    assert [p.text for p in cited.citations[0].passages] == ["strong", "weak"]
    for shown in (cited.plain(), rendered(cited.markdown()).text, rendered_html(cited.html()).text):
        assert "best passage found in it (score 0.80):" in shown
        assert "strong" in shown
        assert "other" not in shown
        assert "does not say which of its passages is meant" in shown


def test_results_of_a_direct_search_count_as_well() -> None:
    found = passages_in(
        [
            {
                "file_id": "file-a",
                "filename": "a.md",
                "score": 0.5,
                "content": [{"type": "text", "text": "one"}],
            }
        ]
    )
    assert found == [Passage("file-a", "a.md", "one", 0.5)]


def test_passages_with_parts_missing_are_last_and_do_not_break() -> None:
    found = passages_in([{}, {"score": float("nan"), "text": "x"}, {"score": "0.4"}, result("a", 0.1, "y")])
    assert [p.text for p in found] == ["y", "x"]


def test_read_but_not_cited() -> None:
    results = [result("overview", 0.2, "x"), result("notes", 0.9, "y"), result("notes", 0.8, "z")]
    cited = number_citations("I do not know.", [], results)
    assert cited.plain() == "I do not know.\n\nRead but not cited: notes.md, overview.md"
    assert rendered(cited.markdown()).text == "I do not know. Read but not cited: notes.md, overview.md"
    assert "Read but not cited: notes.md, overview.md" in cited.html()
    for not_known in (None, []):
        assert number_citations("I do not know.", [], not_known).plain() == "I do not know."


def test_an_excerpt_is_one_line_and_ends_between_words() -> None:
    assert excerpt("a\n\n  b\tc") == "a b c"
    assert excerpt("one two three", 9) == "one two…"
    assert excerpt("x" * 50, 10) == "x" * 9 + "…"
    assert len(excerpt("word " * 10_000)) <= 160
    assert excerpt("👩\u200d🎓" * 20, 10) == "👩\u200d🎓" * 3 + "…"


# -- names and passages are text --------------------------------------------------------------------------------------

NASTY = [
    "<script>alert(1)</script>.md",
    '"><img src=x onerror=alert(1)>.md',
    "![x](http://evil.example/a.png)",
    "[click](http://evil.example)",
    "[click](javascript:alert(1))",
    "http://evil.example/?data=1",
    "www.evil.example",
    "me@evil.example",
    "<http://evil.example>",
    "`code` *bold* __b__ ~~s~~ | cell |",
    "$x^2$ \\(y\\) \\begin{x} @@0@@",
    "&lt;b&gt; &copy;",
    "[1]: http://evil.example",
    "</code></details></li><h1>x</h1>",
    "a#b{c}d.md",
]


class Page(html.parser.HTMLParser):
    """The tags and the visible text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.code: list[str] = []
        self._pieces: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]
        if tag == "code":
            self.code.append("")
        if tag not in {"br", "img", "hr", "input"}:
            self._open.append(tag)
        if tag in {"p", "li", "br", "div"}:
            self._pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "code" in self._open:
            self.code[-1] += data
        self._pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self._pieces).split())


def rendered_html(source: str) -> Page:
    page = Page()
    page.feed(source)
    page.close()
    return page


_markdown = mistune.create_markdown(
    escape=False, plugins=["table", "url", "strikethrough", "math", "footnotes", "task_lists"]
)


def rendered(source: str) -> Page:
    return rendered_html(str(_markdown(source)))


@pytest.mark.parametrize("nasty", NASTY)
def test_nasty_names_and_passages_are_shown_as_they_are(nasty: str) -> None:
    results = [{"file_id": "file-a", "filename": nasty, "score": 0.5, "text": nasty}]
    annotation = cite(5, filename=nasty)
    other = {"type": "url_citation", "url": nasty, "title": nasty}
    cited = number_citations("Paris.", [annotation, other], results)
    not_cited = number_citations("Paris.", [], results)
    for page in (
        rendered(cited.markdown()),
        rendered_html(cited.html()),
        rendered(not_cited.markdown()),
        rendered_html(not_cited.html()),
    ):
        assert page.tags <= {"p", "ul", "li", "br", "strong", "code", "span", "q", "div"}
        assert page.links == []
        assert " ".join(nasty.split()) in page.text
    for source in (cited.markdown(), cited.html()):
        # MathJax looks for these in the text of the finished page, outside of code.
        assert "$" not in source
        assert "\\" not in source
    assert nasty in cited.plain()


def test_names_that_would_spoil_a_line() -> None:
    cited = number_citations("a", [cite(1, filename="\x1b[31m\u202efdp.exe\n\n# x\r.md")])
    assert cited.plain() == "a[1]\n\n[1] �[31m�fdp.exe # x.md"
    long = number_citations("a", [cite(1, filename="x" * 5000 + ".md")]).plain()
    assert len(long) < 200
    assert long.endswith(".md")
    number_citations("\ud83d", [cite(1, filename="\ud83d")]).plain().encode()
    number_citations("\ud83d", [cite(1, filename="\ud83d")]).markdown().encode()
    number_citations("\ud83d", [cite(1, filename="\ud83d")]).html().encode()


def test_html_shows_the_text_as_written() -> None:
    cited = number_citations("<b>Paris</b> costs $5", [cite(12)])
    page = rendered_html(cited.html())
    assert page.text.startswith("<b>Paris</b>[1] costs $5")
    assert "b" not in page.tags


def test_what_a_notebook_shows() -> None:
    cited = number_citations("Paris.", [cite(5)])
    assert cited._repr_mimebundle_() == {"text/markdown": cited.markdown(), "text/plain": cited.plain()}
    assert str(cited) == cited.plain()
    assert repr(cited.citations[0]) == "Citation([1] 'a.md', 'file-a', index=5, 0 passages)"


@settings(deadline=None)
@given(st.text())
def test_literal_forms_show_any_text(text: str) -> None:
    wanted = " ".join(text.split())
    for shown in (rendered_html(literal_html(text)).text, rendered("x " + literal_markdown(text)).text[2:]):
        for word in wanted.split():
            if word.isascii() and word.isprintable():
                assert word in shown


# -- any text, any annotations ----------------------------------------------------------------------------------------

FRAGMENTS = st.sampled_from(
    [
        "word", "two words", " ", "  ", "\n", "\n\n", "\r\n", "**", "*", "_", "~~", "`", "``", "```", "```py\n", "\n```\n",
        "~~~\n", "    code", "\t", "- ", "1. ", "> ", "# ", " #", "[", "]", "(", ")", "![", "](", "[t](http://a.b)",
        "https://a.b/c", "www.a.b", "| a | b |", "\n|---|---|\n", "|", "---", "===", "$", "$$", "\n$$\n", "\\", "\\*",
        "&amp;", "&", "<b>", "<", ">", ".", "…", "é", "e\u0301", "👩\u200d🎓", "🇩🇪", "\u200d", "东京", "العربية", "\ud83d",
        "각", "\u1100\u1161", "[1]",
    ]
)  # fmt: skip
TEXTS = st.one_of(
    st.lists(FRAGMENTS, max_size=25).map("".join), st.text(st.characters(exclude_categories=()), max_size=60)
)
ANNOTATIONS = st.lists(
    st.one_of(
        st.builds(cite, st.integers(-3, 80), st.sampled_from("abc")),
        st.fixed_dictionaries(
            {"type": st.sampled_from(["file_citation", "url_citation", "container_file_citation", "new", None])},
            optional={
                "index": st.one_of(st.none(), st.integers(), st.text(max_size=3), st.floats()),
                "start_index": st.one_of(st.none(), st.integers(), st.text(max_size=3)),
                "end_index": st.integers(),
                "filename": st.one_of(st.none(), st.sampled_from(NASTY), st.text(max_size=8)),
                "file_id": st.one_of(st.none(), st.text(max_size=3)),
                "url": st.text(max_size=8),
                "title": st.one_of(st.none(), st.text(max_size=8)),
            },
        ),
        st.none(),
        st.integers(),
    ),
    max_size=6,
)  # fmt: skip


def without_insertions(cited: CitedText) -> str:
    marked = cited.marked_text
    for insertion in reversed(cited.insertions):
        # Everything before it is unmoved when one starts from the end.
        begin = insertion.position + sum(
            len(earlier.value) for earlier in cited.insertions if earlier.position < insertion.position
        )
        assert marked.startswith(insertion.value, begin)
        marked = marked[:begin] + marked[begin + len(insertion.value) :]
    return marked


@settings(max_examples=300, deadline=None)
@given(TEXTS, ANNOTATIONS)
def test_without_its_markers_a_text_is_what_it_was(text: str, annotations: list[Any]) -> None:
    cited = number_citations(text, annotations)
    assert without_insertions(cited) == text
    assert cited.text == text
    numbers = {citation.number for citation in cited.citations}
    assert numbers == set(range(1, len(numbers) + 1))
    for number in numbers:
        assert any(f"[{number}]" in insertion.value for insertion in cited.insertions)
    cited.plain().encode()
    cited.markdown().encode()
    cited.html().encode()


# Code inside a list or a quotation is seen differently by each renderer. A marker in there is shown, but as code.
CONTAINER = re.compile(r"(?m)^[ \t]*(?:[>\-*+]|\d+\.)")
CODE = re.compile(r"`{3}|~{3}| {4}|\t")


@settings(max_examples=300, deadline=None)
@given(TEXTS.filter(lambda text: "[1]" not in text), st.integers(0, 80))
@example("`a`\n| a | b |\n|---|---|\n| `x | y` |", 30)
@example("``", 1)
@example("https://a.b/c**", 1)
@example("\n    code", 0)
@example("`\\```py", 2)
def test_a_marker_is_never_part_of_code_and_never_a_link(text: str, index: int) -> None:
    assume(not (CONTAINER.search(text) and CODE.search(text)))
    assume(not re.search("\r(?!\n)", text))  # nobody's line end any more
    assume(not re.search("[\ud800-\udfff]", text))  # the renderer of this test cannot take them
    assume(not re.search(r"(?:://|www\.)[^\s]*[<\[]", text))  # a link that is glued to another one
    before = rendered(safe_markdown(text))
    after = rendered(safe_markdown(number_citations(text, [cite(index)]).marked_text))
    assert after.code == before.code
    # Where an address ends, and the punctuation of the sentence begins, each renderer decides for itself.
    links = [
        [re.split(r"[^\w./:-]", unquote(link))[0].rstrip("._") for link in page.links]
        for page in (before, after)
    ]
    assert links[0] == links[1]
