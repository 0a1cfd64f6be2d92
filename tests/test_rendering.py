"""How text reaches a screen: the two ways, their pace, and that a model's text does nothing but show."""

from __future__ import annotations

import html.parser
import io
import itertools
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mistune
import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbclient import NotebookClient

from helpers.errors import ConfigurationError
from helpers.rendering import (
    LinesRenderer,
    MarkdownRenderer,
    display_mode,
    make_renderer,
    plain_text,
    safe_markdown,
)

# -- which way --------------------------------------------------------------------------------------------------------


class ZMQInteractiveShell:
    """Stands for the shell of a Jupyter kernel."""


class ColabShell:
    """Stands for the shell of Google Colab."""


ColabShell.__module__ = "google.colab._shell"


class TerminalInteractiveShell:
    """Stands for the shell of IPython in a terminal."""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_up(shell: object = None, **environment: str) -> None:
        # In the test itself: pytest sets its variable anew for each phase.
        for name in ("CI", "PYTEST_CURRENT_TEST", "PYTEST_VERSION", "WORKSHOP_DISPLAY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))  # type: ignore[arg-type]
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return set_up


@pytest.mark.parametrize(
    ("shell", "environment", "mode"),
    [
        (None, {}, "lines"),
        (TerminalInteractiveShell(), {}, "lines"),
        (ZMQInteractiveShell(), {}, "markdown"),
        (type("Sub", (ZMQInteractiveShell,), {})(), {}, "markdown"),
        (ColabShell(), {}, "markdown"),
        (ZMQInteractiveShell(), {"CI": "true"}, "lines"),
        (ZMQInteractiveShell(), {"CI": "false"}, "markdown"),
        (ZMQInteractiveShell(), {"PYTEST_CURRENT_TEST": "x"}, "lines"),
        (ZMQInteractiveShell(), {"PYTEST_VERSION": "9"}, "lines"),
        (ZMQInteractiveShell(), {"CI": "true", "WORKSHOP_DISPLAY": "markdown"}, "markdown"),
        (ZMQInteractiveShell(), {"WORKSHOP_DISPLAY": " Lines "}, "lines"),
        (ZMQInteractiveShell(), {"WORKSHOP_DISPLAY": "auto"}, "markdown"),
        (ZMQInteractiveShell(), {"WORKSHOP_DISPLAY": ""}, "markdown"),
    ],
)
def test_the_place_decides_and_the_variable_wins(
    place: Any, shell: object, environment: dict[str, str], mode: str
) -> None:
    place(shell, **environment)
    assert display_mode() == mode
    assert make_renderer().mode == mode


def test_without_a_shell_markdown_cannot_be_drawn(place: Any) -> None:
    place(None, WORKSHOP_DISPLAY="markdown")
    assert make_renderer().mode == "lines"


def test_another_value_is_refused(place: Any) -> None:
    place(None, WORKSHOP_DISPLAY="html")
    with pytest.raises(ConfigurationError, match="auto, markdown or lines"):
        display_mode()


# -- Markdown that updates in place -----------------------------------------------------------------------------------


class Screen:
    """Takes what is published, and keeps the time."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.published: list[tuple[dict[str, str], str, bool]] = []

    def publish(self, bundle: Mapping[str, str], display_id: str, update: bool) -> None:
        self.published.append((dict(bundle), display_id, update))

    def renderer(self) -> MarkdownRenderer:
        return MarkdownRenderer(self.publish, lambda: self.now_s)

    @property
    def characters(self) -> int:
        return sum(len(value) for bundle, _, _ in self.published for value in bundle.values())


def stream_tokens(count: int, per_s: float) -> Screen:
    screen = Screen()
    block = screen.renderer().block()
    for number in range(count):
        block.append(f"token{number % 10} ")
        screen.now_s += 1 / per_s
    block.done()
    return screen


def test_one_display_is_updated_about_eight_times_a_second() -> None:
    screen = stream_tokens(300, per_s=100)  # three seconds
    assert 20 <= len(screen.published) <= 26
    first, *others = screen.published
    assert first[2] is False
    assert all(update for _, _, update in others)
    assert len({display_id for _, display_id, _ in screen.published}) == 1
    assert screen.published[-1][0]["text/plain"] == "".join(f"token{n % 10} " for n in range(300))
    assert screen.published[-1][0]["text/markdown"] == screen.published[-1][0]["text/plain"]


def test_an_instant_stream_costs_the_first_and_the_final_update() -> None:
    screen = stream_tokens(2_000, per_s=1e9)
    assert len(screen.published) == 2


def test_the_bytes_of_a_long_answer_grow_nearly_with_its_length() -> None:
    once, twice = stream_tokens(2_000, per_s=100), stream_tokens(4_000, per_s=100)
    per_token = sum(n * 7 for n in range(1, 2_001))
    assert once.characters < per_token / 10
    assert twice.characters / once.characters < 2.6
    # A Jupyter server drops output from 1,000,000 bytes a second on; a long one stays far below.
    long = stream_tokens(30_000, per_s=100)
    assert long.characters / 300 < 100_000


def test_nothing_is_shown_for_nothing() -> None:
    screen = Screen()
    block = screen.renderer().block()
    block.append("")
    block.done("")
    assert screen.published == []


def test_done_twice_shows_once_and_a_late_text_corrects() -> None:
    screen = Screen()
    block = screen.renderer().block()
    block.append("helo")
    block.done("hello")
    block.done()
    block.done("hello")
    assert [bundle["text/markdown"] for bundle, _, _ in screen.published] == ["helo", "hello"]


def test_update_replaces_and_to_markdown_is_trusted() -> None:
    screen = Screen()
    block = screen.renderer().block("details", to_markdown=lambda text: f"<details>{text}</details>")
    block.update("one")
    screen.now_s += 1
    block.update("two")
    assert [bundle["text/markdown"] for bundle, _, _ in screen.published] == [
        "<details>one</details>",
        "<details>two</details>",
    ]


def test_two_blocks_are_two_displays() -> None:
    screen = Screen()
    renderer = screen.renderer()
    for text in ("a", "b"):
        renderer.block().done(text)
    assert len({display_id for _, display_id, _ in screen.published}) == 2


def test_a_footer_is_a_display_of_its_own_and_literal() -> None:
    screen = Screen()
    screen.renderer().footer("offline helper · *not* a <model>\nsecond $1 line")
    ((bundle, _, update),) = screen.published
    assert update is False
    assert bundle["text/plain"] == "offline helper · *not* a <model>\nsecond $1 line"
    assert bundle["text/markdown"].startswith("> offline helper · \\*not\\* a &lt;model>  \n> second ")


NOTEBOOK = """
import time
from helpers.handlers import TextHandler
def event(piece):
    time.sleep(0.01)
    return {"type": "response.output_text.delta", "item_id": "msg_1", "delta": piece}
def stream():
    yield {"type": "response.created", "response": {"id": "resp_1", "metadata": METADATA}}
    for piece in ["**GPT-2** ", "is a ", "<model>. ", "```py", "thon\\nif a < b: pass", "\\n```"] * 5:
        yield event(piece)
    yield {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "metadata": METADATA}}
"""


def printed(cell: Any) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


@pytest.mark.parametrize("mode", ["markdown", "auto"])
def test_what_a_notebook_saves(monkeypatch: pytest.MonkeyPatch, mode: str, tmp_path: Path) -> None:
    monkeypatch.setenv("WORKSHOP_DISPLAY", mode)  # auto: this is pytest, so lines
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell("METADATA = {}\n" + NOTEBOOK),
        nbformat.v4.new_code_cell("TextHandler().follow(stream()).status"),
        nbformat.v4.new_code_cell("METADATA = {'workshop_source': 'authored'}"),
        nbformat.v4.new_code_cell("_ = TextHandler().follow(stream())"),
    ]
    client = NotebookClient(notebook, timeout=60, shutdown_kernel="immediate")
    client.execute(cwd=str(tmp_path))
    _, bare, _, marked = notebook.cells
    text = "**GPT-2** is a <model>. ```python\nif a < b: pass\n```" * 5
    if mode == "auto":
        assert {output.output_type for output in marked.outputs} == {"stream"}
        assert printed(bare) == text + "\n"
        assert printed(marked).startswith(text + "\nrecorded · written by hand")
        return
    assert [output.output_type for output in bare.outputs] == ["display_data", "execute_result"]
    assert bare.outputs[0].data["text/plain"] == text
    assert bare.outputs[0].data["text/markdown"] == safe_markdown(text)
    assert [output.output_type for output in marked.outputs] == ["display_data", "display_data"]
    assert marked.outputs[1].data["text/plain"].startswith("recorded · written by hand")
    nbformat.validate(notebook)


# -- plain lines ------------------------------------------------------------------------------------------------------


def test_whole_lines_outside_a_terminal() -> None:
    out = io.StringIO()
    block = LinesRenderer(out).block()
    states = []
    for piece in ["one ", "line\ntw", "o", "\n\nthr"]:
        block.append(piece)
        states.append(out.getvalue())
    block.done()
    assert states == ["", "one line\n", "one line\n", "one line\ntwo\n\n"]
    assert out.getvalue() == "one line\ntwo\n\nthr\n"


class Terminal(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.flushes = 0

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        self.flushes += 1


def test_pieces_as_they_come_in_a_terminal(place: Any) -> None:
    place(None)
    out = Terminal()
    block = LinesRenderer(out).block()
    block.append("on")
    assert (out.getvalue(), out.flushes) == ("on", 1)
    block.append("e")
    block.done("one")
    assert out.getvalue() == "one\n"


def test_a_terminal_in_ci_gets_whole_lines(place: Any) -> None:
    place(None, CI="1")
    out = Terminal()
    LinesRenderer(out).block().append("on")
    assert out.getvalue() == ""


def test_blocks_never_share_a_line() -> None:
    out = io.StringIO()
    renderer = LinesRenderer(out, live=True)
    answer, tool = renderer.block(), renderer.block("tool")
    answer.append("The ans")
    tool.append("searching")
    answer.append("wer")
    renderer.footer("the end")
    assert out.getvalue() == "The ans\nsearching\nwer\nthe end\n"


def test_a_changed_text_is_written_once_more_at_the_end() -> None:
    out = io.StringIO()
    block = LinesRenderer(out).block()
    block.append("It is so.")
    block.update("It is so. Really.")
    block.update("It is [1] so.")
    block.done()
    block.done()
    assert out.getvalue() == "It is so. Really.\nIt is [1] so.\n"


@pytest.mark.parametrize("text", ["a\n", "a", "\n", ""])
def test_a_block_ends_its_line(text: str) -> None:
    out = io.StringIO()
    LinesRenderer(out).block().done(text)
    assert out.getvalue() == (text if text.endswith("\n") or not text else text + "\n")


def test_a_picture_shows_its_alternative_text() -> None:
    out = io.StringIO()
    LinesRenderer(out).show({"image/png": "iVBOR", "text/plain": "a loss curve that falls"})
    assert out.getvalue() == "a loss curve that falls\n"


def test_a_terminal_obeys_nothing_in_a_text() -> None:
    out = io.StringIO()
    LinesRenderer(out).block().done("a\x1b[2Jb\x07\x9b31m\r\nc\td\x00")
    assert out.getvalue() == "a\ufffd[2Jb\ufffd\ufffd31m\nc\td\ufffd\n"
    assert plain_text("grüße 🎈 中文\n") == "grüße 🎈 中文\n"


def test_an_old_code_page_loses_a_character_and_not_the_answer() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="cp1252", newline="")
    LinesRenderer(out).block().done("grüße 🎈")
    out.flush()
    assert raw.getvalue().decode("cp1252") == "grüße ?\n"


# -- Markdown from somebody else --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "# Heading\n\nA **bold** and *soft* text with `code`.\n\n- one\n- two\n\n1. a\n2. b\n\n> quoted",
        "| a | b |\n|---|---|\n| 1 | `x` |",
        '[a page](https://example.com/a_b?c=d&e=f#g "title")',
        "[mail](mailto:a@b.c) [file](sandbox:/mnt/data/y.png) [there](#part) [near](../data/log.csv)",
        "[https://example.com](https://example.com) https://example.com/a_(b)",
        "Mathematics: $x^2 + y_i$ and $$\\frac{1}{2}$$",
        "$$\nE = mc^2\n$$",
        "```python\nif a < b and c > d: print('![x](http://e)', `$0.10`)\n```",
        "~~~~\n```\n<b>\n```\n~~~~",
        "    indented <code>\n\n    more",
        "text\n\n```html\n<script>alert(1)</script>\n```\n\ntext",
        "`<b>` and ``a ` b`` and `int | None`",
        "5 > 3, a & b, 100 %, a_b*c",
    ],
)
def test_harmless_markdown_stays_as_it_is(text: str) -> None:
    assert safe_markdown(text) == text


class Page(html.parser.HTMLParser):
    """What a page would do: its elements, and where they point."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.code = ""
        self.text = ""
        self.depth = 0
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.depth += tag == "code"

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag == "code"

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.depth:
            self.code += data


# A renderer that passes HTML through, as the most careless of them do.
render = mistune.create_markdown(escape=False, plugins=["table", "url", "strikethrough"])
OF_MARKDOWN = {
    *[
        "p",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "ul",
        "ol",
        "li",
        "em",
        "strong",
        "del",
        "code",
        "pre",
        "blockquote",
        "a",
        "br",
        "hr",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    ],
    "span",
}


def page_of(text: str, **options: bool) -> Page:
    return Page(str(render(safe_markdown(text, **options))))


def assert_harmless(text: str) -> None:
    page = page_of(text)
    for tag, attributes in page.elements:
        assert tag in OF_MARKDOWN, (tag, safe_markdown(text))
        for name, value in attributes.items():
            assert name in {"href", "title", "class", "start", "style"}, (name, safe_markdown(text))
            if name == "href":
                assert value is not None
                scheme = value.split(":")[0].lower() if ":" in value else ""
                assert scheme in {"", "http", "https", "mailto", "sandbox", "ftp"}, value
            if name == "style":
                assert value is not None
                assert value.startswith("text-align:")
        if tag == "span":
            assert not attributes


NASTY = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!-- <b> -->",
    "<details open ontoggle=alert(1)>",
    "</div><iframe src=//evil>",
    "text <b\nonclick=x> text",
    "![x](http://evil.example/?q=secret)",
    "![x][r]\n\n[r]: http://evil.example/i.png",
    "![r]\n\n[r]: http://evil.example/i.png",
    "![a\nb](http://evil.example/i.png)",
    "[![x](http://evil.example/i.png)](https://a.b)",
    "![x](data:image/svg+xml;base64,AAAA)",
    "![x](/files/private.png)",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java&#115;cript:alert(1))",
    "[x](java\\script:alert(1))",
    "[x](\njavascript:alert(1))",
    "[x]( javascript:alert(1))",
    "[x](<javascript:alert(1)>)",
    "[x](data:text/html,<b>)",
    "[x](vbscript:x) [y](file:///etc/passwd) [z](command:run)",
    "[x]\n\n[x]: javascript:alert(1)",
    "[x][y]\n\n[y]:\njavascript:alert(1)",
    "> [y]: javascript:alert(1)\n\n[y]",
    "<javascript:alert(1)> <http://a.b/<b>>",
    # Text that only looks like code.
    "` <img src=x>",
    "`` <img src=x> `",
    "a ` b\nc `<img src=x>` d",
    "\\`<img src=x>\\`",
    "\\\\`<img src=x>` `",
    "http://a.b/`c <img src=x> `",
    "[x](http://a.b/`c) <img src=x> `d`",
    "[`](https://a.b) <img src=x> `",
    "| a | b |\n|---|---|\n| ` | x ` `<img src=x>` |",
    "| ` | <img src=x> ` |\n|---|---|\n| a | b |",
    "```\ncode\n```\n<img src=x>",
    "``` a`b\n<img src=x>\n```",
    "- a\n  ```\n<img src=x>\n  ```",
    "- ```\n<img src=x>\n```\n<img src=y>",
    "1. a\n\n    <img src=x>",
    "text\n    <img src=x>",
    "text\n14. a\n    ```\n<img src=x>\n    ```",
    "> ```\n<img src=x>",
    "> ```\n> a\n\n<img src=x>",
    ">\t<img src=x>",
    "> a\n>\t<img src=x>",
    "\u00a0\n    <img src=x>",
    "~~~\n<b>\n```\n~~~\n<img src=x>",
    "````\n```\n````\n<img src=x>",
    "```\n\t```\n<img src=x>",
    "    ```\n<img src=x>\n    ```\n<img src=y>",
    ">" * 5_000 + "<img src=x>",
    "$ ```\n<img src=x>\n``` $",
    "\\begin{a}\n```\n\\end{a}\n<img src=x>\n```",
    "``\\begin{a}`` `\\end{a}` `<img src=x>`",
    "$`$ <img src=x> `",
    # What marked, which JupyterLab uses, reads otherwise than the standard says.
    "_``a_ <img src=x>``",
    "_``a_`b`` `<img src=x>`",
    "~`<img src=x>`",
    "*`a ```` * <img src=x>`",
    "http://a.b/<c>` <img src=x>`",
    "```\ncode\n```~~~\n<img src=x>\n```",
    "[a ```](b)``` `c) <img src=x>`",
    "[a\n\n```\n]: b\n<img src=x>\n```",
    "\\http://a.b/`<img src=x>`",
    "$$\n`\n$$\n<img src=x> `",
]


@pytest.mark.parametrize("text", NASTY)
def test_nothing_in_a_text_comes_to_life(text: str) -> None:
    assert_harmless(text)
    for prefix in ("- ", "> ", "1. ", "# ", "text\n", "| "):
        assert_harmless(prefix + text)
    assert_harmless(text + "\n\n" + text)


PIECES = st.sampled_from(
    [
        *[
            "`",
            "``",
            "```",
            "````",
            "~~~",
            "\n",
            "\n\n",
            " ",
            "    ",
            "\t",
            "> ",
            "- ",
            "1. ",
            "| ",
            "|---|---|\n",
        ],
        *[
            "\\",
            "$",
            "$$",
            "[",
            "]",
            "(",
            ")",
            "](",
            "]:",
            "![",
            "!",
            "<",
            "<img src=x>",
            "</code>",
            "<b>",
            "&lt;",
        ],
        *[
            "http://a.b/",
            "www.c.d",
            "javascript:x",
            "a",
            "b c",
            "*",
            "_",
            "\\begin{a}",
            "\\end{a}",
            "{",
            "}",
            ":",
            "é",
        ],
    ]
)


@settings(deadline=None, max_examples=1_500)
@given(st.lists(PIECES, max_size=30).map("".join))
def test_no_mixture_of_marks_comes_to_life(text: str) -> None:
    assert_harmless(text)


@settings(deadline=None, max_examples=200)
@given(st.text(), st.booleans())
def test_any_text_can_be_shown(text: str, streaming: bool) -> None:
    assert_harmless(text)
    shown = page_of(text, streaming=streaming)
    assert all(tag in OF_MARKDOWN for tag, _ in shown.elements)


@pytest.mark.parametrize(
    "code",
    [
        "if a < b: print('<b>')",
        "<script>alert(1)</script>\n\n<img src=x>",
        "cost = '$0.10'  # and $0.50\n![x](http://e)",
        "def f():\n\treturn `x`\n\n\n    # deep",
    ],
)
@pytest.mark.parametrize(
    "around", ["```python\n{}\n```", "~~~\n{}\n~~~", "text\n```\n{}\n```\ntext", "```\n{}"]
)
def test_code_shows_unchanged(code: str, around: str) -> None:
    assert page_of(around.format(code)).code.rstrip("\n") == code


def test_code_in_a_list_stays_in_the_list() -> None:
    text = "1. First:\n   ```python\n   if a < b:\n       pass\n   ```\n2. Second:\n   - deep:\n     ```\n     <b>\n     ```\n"
    page = page_of(text)
    assert page.code == "if a < b:\n    pass\n<b>\n"
    assert [tag for tag, _ in page.elements].count("li") == 3


def test_html_shows_as_text() -> None:
    assert "<b>bold</b> & <img src=x>" in page_of("Write <b>bold</b> & <img src=x>").text
    assert "![a cat](http://evil.example/cat.png)" in page_of("![a cat](http://evil.example/cat.png)").text
    assert "[x](javascript:alert(1))" in page_of("[x](javascript:alert(1))").text


@pytest.mark.parametrize(
    "text",
    [
        "It costs $0.10 per million, not $0.50.",
        "between $5 and $10, or $1,000",
        "$5 and $6",
        "a \\$5 and \\$6",
        "US$ 5 and US$ 6",
        "from $0.10 in / $0.50 out",
    ],
)
def test_prices_are_not_mathematics(text: str) -> None:
    assert "$" not in safe_markdown(text)
    assert page_of(text).text.strip() == text.replace("\\", "")


def test_mathematics_beside_prices() -> None:
    assert safe_markdown("$5 buys $x^2$, $a<b$") == "<span>&#36;</span>5 buys $x^2$, $a\\lt b$"


def test_a_diagram_is_shown_and_not_drawn() -> None:
    assert safe_markdown('```mermaid\ngraph LR\n  A@{ img: "http://evil" }\n```').startswith("```text\n")


@pytest.mark.parametrize("fence", ["```", "~~~~"])
def test_an_open_fence_is_closed_while_it_streams(fence: str) -> None:
    text = f"Look:\n\n{fence}python\nx = 1\nif x < 2:\n    pass\n{fence}\n\nDone."
    for end in range(text.index("x = 1"), text.index("\n\nDone.")):
        shown = safe_markdown(text[:end], streaming=True)
        assert shown.count(fence) == 2
        assert shown.endswith("\n" + fence)
    # A fence that has only begun is held back, so that no lone backtick flashes up.
    assert safe_markdown("Look:\n\n``", streaming=True) == "Look:\n\n"


def test_control_characters_and_line_ends() -> None:
    assert safe_markdown("a\r\nb\rc\x00\x1b") == "a\nb\nc\ufffd\ufffd"


@pytest.mark.parametrize(
    "unit",
    [
        "`",
        "` | ",
        "$",
        "$a ",
        "](",
        "![",
        "> ",
        "- ",
        "-",
        "```\n",
        "[x](a",
        "http://",
        "\\",
        "`a`",
        "h",
        "[",
        "[\\",
    ],
)
def test_long_and_hostile_texts_take_linear_steps(unit: str) -> None:
    # Measured in executed lines and not in seconds, so that a slow machine does not fail.
    def lines_executed(size: int) -> int:
        text = unit * (size // len(unit)) + "x"
        count = 0

        def trace(frame: Any, event: str, argument: Any) -> Any:
            nonlocal count
            count += 1
            return trace

        sys.settrace(trace)
        try:
            safe_markdown(text)
        finally:
            sys.settrace(None)
        return count

    assert lines_executed(8_000) < 2.5 * lines_executed(4_000) + 500


def test_split_streams_end_in_the_same_display() -> None:
    text = "A `b` <c>\n\n```\nd < e\n```\n"
    finals = set()
    for place in itertools.chain(range(len(text)), [len(text)]):
        screen = Screen()
        block = screen.renderer().block()
        for piece in (text[:place], text[place:]):
            block.append(piece)
            screen.now_s += 1
        block.done()
        finals.add(screen.published[-1][0]["text/markdown"])
    assert finals == {safe_markdown(text)}
