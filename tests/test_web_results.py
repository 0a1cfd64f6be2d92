"""What is kept of a found page: no HTML, nothing invisible, only web addresses, no page twice."""

import json
import re
import unicodedata
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.web_results import FoundPage, cleaned, kept_pages, safe_address

# Pieces of which nasty texts are made; single characters almost never meet in a tag.
PIECES = st.sampled_from(
    [
        "<b>",
        "</b>",
        "<script>",
        "alert(1)",
        "</script>",
        "<!--",
        "-->",
        "<img src=x onerror=",
        ">",
        "<",
        "&lt;",
        "&gt;",
        "&amp;",
        "&#8203;",
        "\u200b",
        "\u202e",
        "\x00",
        "\x1b[31m",
        "\n",
        "\ud800",
        "a",
        " ",
        "é",
        "e\u0301",
        "x < y",
    ]
)
TEXTS = st.lists(PIECES, max_size=30).map("".join) | st.text()


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("The <b>GPT</b>-2 <strong>model</strong>", "The GPT-2 model"),
        ("one<br>two<p>three</p>", "one two three"),
        ("before<script>alert('x < y')</script>after", "before after"),
        ("before<!-- > hidden -->after", "before after"),
        ("&lt;b&gt;bold&lt;/b&gt; &amp; more", "bold & more"),
        ("&amp;lt;i&amp;gt;deep", "deep"),
        ("a\u200bb \u202ec\x00d\x1b[31m\n\te", "ab cd[31m e"),
        ("<\u200bimg src=x>seen", "seen"),
        ("loss < 3.3 and x<y", "loss < 3.3 and x< y"),
        ("cut off <img src=x", "cut off < img src=x"),
        ("  many \u00a0 spaces ", "many spaces"),
        (None, ""),
        (3, ""),
    ],
)
def test_a_text_becomes_one_plain_line(raw, kept):
    assert cleaned(raw, 200) == kept


@given(TEXTS, st.integers(min_value=2, max_value=60))
def test_a_cleaned_text_holds_no_tag_and_nothing_invisible(text, longest):
    result = cleaned(text, longest)
    assert len(result) <= longest
    assert not re.search(r"<[a-zA-Z/!]", result)
    assert not [c for c in result if unicodedata.category(c)[0] == "C"]
    assert result == " ".join(result.split())
    assert cleaned(result, longest) == result


def test_a_long_text_is_cut_between_words():
    result = cleaned("word " * 1_000_000, 22)
    assert result == "word word word word…"
    assert cleaned("x" * 50, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("https://example.com/a?b=c#d", "https://example.com/a?b=c#d"),
        ("HTTP://Example.COM:8080/A", "http://example.com:8080/A"),
        (' https://example.com/a b"<c> ', "https://example.com/a%20b%22%3Cc%3E"),
        ("https://example.com/Größe?q=ü", "https://example.com/Gr%C3%B6%C3%9Fe?q=%C3%BC"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://example.com/100%25", "https://example.com/100%25"),
        ("https://example.com/\u202egpj.exe", "https://example.com/gpj.exe"),
        ("javascript:alert(1)", ""),
        ("data:text/html,<b>", ""),
        ("ftp://example.com/", ""),
        ("//example.com/", ""),
        ("/relative", ""),
        ("https://", ""),
        ("https:///path", ""),
        ("https://bank.example@evil.example/", ""),
        ("https://example.com:port/", ""),
        ("https://[broken/", ""),
        ("https://exa mple.com/", ""),
        ("https://" + "a" * 80 + ".example/", ""),
        ("https://example.com/" + "a" * 2_000, ""),
        ("", ""),
        (None, ""),
        (b"https://example.com/", ""),
    ],
)
def test_only_web_addresses_pass(raw, kept):
    assert safe_address(raw) == kept


@given(st.text() | st.lists(PIECES, max_size=8).map(lambda parts: "https://example.com/" + "".join(parts)))
def test_an_address_that_passes_is_plain_and_stays_the_same(address):
    result = safe_address(address)
    if result:
        assert result.isascii()
        assert not re.search(r"[\s\"<>\\`]", result)
        assert urlsplit(result).scheme in ("http", "https")
        assert safe_address(result) == result


def result_of(title="Title", href="https://example.com/", body="Body"):
    return {"title": title, "href": href, "body": body}


def test_results_without_title_or_address_are_left_out_and_a_snippet_may_be_empty():
    raw = [
        result_of(title=""),
        result_of(title="<b></b>"),
        result_of(href=""),
        result_of(href="javascript:alert(1)"),
        {"title": "No address"},
        "not a result",
        None,
        result_of(body=None),
    ]
    assert kept_pages(raw) == [FoundPage("Title", "https://example.com/", "")]


def test_a_page_is_kept_once_whatever_its_address_looks_like():
    addresses = [
        "https://example.com/page",
        "http://www.example.com/page/",
        "https://EXAMPLE.com/page#part",
        "https://example.com/page?id=2",
        "https://example.com/Page",
    ]
    kept = kept_pages(result_of(title=str(n), href=address) for n, address in enumerate(addresses))
    assert [page.title for page in kept] == ["0", "3", "4"]


def test_long_titles_and_snippets_are_shortened():
    (page,) = kept_pages([result_of(title="t " * 500, body="s " * 500)])
    assert len(page.title) <= 150
    assert 250 < len(page.snippet) <= 300


@given(
    st.lists(st.dictionaries(st.sampled_from(["title", "href", "body"]), TEXTS | st.none() | st.integers()))
)
def test_whatever_comes_in_what_is_kept_is_json(raw):
    for page in kept_pages(raw):
        assert json.loads(json.dumps(page.as_dict()).encode("utf-8")) == page.as_dict()
