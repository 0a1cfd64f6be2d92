"""Tables read in text, HTML and Markdown, and what stands in a cell does nothing else."""

import pytest

from helpers.tables import Column, Table, markdown_text, size_text

TABLE = Table(
    (Column("file"), Column("size", is_number=True, least_width=6)),
    (("a.md", "12 B"), ("long_name.md", "3 B")),
    "Two files",
    ("They are small.",),
)


def test_text_is_aligned_and_numbers_stand_on_the_right():
    assert repr(TABLE).splitlines() == [
        "Two files",
        "file            size",
        "------------  ------",
        "a.md            12 B",
        "long_name.md     3 B",
        "They are small.",
    ]


def test_a_long_cell_goes_on_below_itself():
    table = Table((Column("note"), Column("n", is_number=True)), (("word " * 30, "1"),))
    lines = repr(table).splitlines()
    assert max(map(len, lines)) <= 63
    assert [line.endswith("1") for line in lines[2:]] == [True, False, False]


def test_html_has_heads_and_a_caption():
    html = TABLE._repr_html_()
    assert '<th scope="col" style="text-align:right;vertical-align:top">size</th>' in html
    assert "<caption" in html
    assert "They are small." in html


def test_markdown_is_a_table():
    assert TABLE.to_markdown().splitlines() == [
        "Two files",
        "",
        "| file | size |",
        "| --- | ---: |",
        "| a.md | 12 B |",
        "| long\\_name.md | 3 B |",
        "",
        "They are small.",
    ]


@pytest.mark.parametrize("hostile", ["<b>x</b>", "a | b", "$x$", "[x](y)", "`x`", "two\nlines"])
def test_a_cell_cannot_do_anything(hostile):
    table = Table((Column("a"),), ((hostile,),))
    assert "<b>" not in table._repr_html_()
    assert "$x$" not in table._repr_html_()
    line = table.to_markdown().splitlines()[-1]
    assert line.count("|") - line.count("\\|") == 2
    assert "<b>" not in line
    assert "$x$" not in line
    assert "](" not in line.replace("\\](", "")


def test_markdown_text_stays_on_one_line():
    assert markdown_text("a\n\n# b") == "a \\# b"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (512_000_000, "512.0 MB"), (2_500_000_000, "2.5 GB")],
)
def test_sizes(size, text):
    assert size_text(size) == text
