"""Markdown from somebody else as HTML that shows it and does nothing else.

Here lives ``markdown_html``: a parser (mistune) says what a model's text is made of, and each kind of piece is written
here, as one of a few tags with attributes that were checked. No HTML of the text, no image and no formula becomes live.
Not here: Markdown for a notebook's own renderer (``rendering.safe_markdown``), and what is made of it (``chat_view.py``).
"""

from __future__ import annotations

import functools
import html
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast
from urllib.parse import unquote

from helpers.citations import literal_html

__all__ = ["code_html", "markdown_html"]

# Longer than any answer; what is longer is shown as plain text, since a parser can take its time with it.
_MOST_CHARACTERS: Final = 120_000
_MOST_HIGHLIGHTED: Final = 20_000
_ENTITY: Final = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_ADDRESS: Final = re.compile(r"(?:https?://|mailto:)[^\s<>\"'`\\\x00-\x1f\x7f]+", re.IGNORECASE)
_LANGUAGE: Final = re.compile(r"\s*([\w+#.-]{1,32})")
_HALF_A_MARK: Final = re.compile(r"(?:`+|~+|\*+|_+|!?\[)\Z")

Token = Mapping[str, Any]


def markdown_html(text: str, *, streaming: bool = False) -> str:
    """Return Markdown as HTML.

    Known are paragraphs, headings, lists, quotations, tables, code, emphasis and links. A link leads to an http(s) or
    mail address and opens in a new tab; another target is shown as text, and so is the address of an image, which is
    never loaded. HTML and formulas are shown as they were written.

    Args:
        text: Markdown from a model, a document or a web page.
        streaming: whether more will come. Then half a mark at the end is held back, so that nothing jumps.

    Example:
        >>> markdown_html("**Hi** <b>")
        '<p><strong>Hi</strong> &lt;b&gt;</p>'
    """
    if streaming:
        text = _HALF_A_MARK.sub("", text)
    if len(text) > _MOST_CHARACTERS:
        return _as_written(text)
    try:
        return _blocks(_parser()(text.replace("\x00", "\ufffd"))).strip("\n")
    except Exception:  # noqa: BLE001 - an answer must be shown, whatever it does to a parser
        return _as_written(text)


def code_html(code: str, language: str = "") -> str:
    """Return code as HTML, with its keywords, strings, comments, numbers and names in spans if the language is known.

    Args:
        code: the code.
        language: such as ``"python"``; ``""`` for text.

    Example:
        >>> code_html("x = 1", "python")
        '<pre class="wc-code"><code>x = <span class="wc-number">1</span></code></pre>'
    """
    return f'<pre class="wc-code"><code>{_highlighted(code, language)}</code></pre>'


def _as_written(text: str) -> str:
    return f'<div class="wc-plain" style="white-space:pre-wrap">{literal_html(text)}</div>'


@functools.cache
def _parser() -> Callable[[str], list[Token]]:
    import mistune

    markdown = mistune.create_markdown(renderer=None, plugins=["table", "strikethrough", "task_lists"])
    # "[1]: https://…" in an answer would make a link of each of our [1].
    markdown.block.rules.remove("ref_link")
    return cast(Callable[[str], list[Token]], markdown)


# -- blocks -----------------------------------------------------------------------------------------------------------


def _blocks(tokens: Iterable[Token]) -> str:
    return "".join(_block(token) for token in tokens)


def _block(token: Token) -> str:
    kind = token.get("type")
    writer = _BLOCKS.get(str(kind))
    if writer is not None:
        return writer(token)
    # Whatever a newer parser may find: what it holds is shown.
    return f"<p>{literal_html(str(token['raw']))}</p>\n" if "raw" in token else _children(token)


def _children(token: Token) -> str:
    children = token.get("children")
    return _blocks(children) if isinstance(children, list) else ""


def _attributes(token: Token) -> Mapping[str, Any]:
    attributes = token.get("attrs")
    return attributes if isinstance(attributes, Mapping) else {}


def _wrapped(tag: str) -> Callable[[Token], str]:
    return lambda token: f"<{tag}>{_children(token)}</{tag}>\n"


def _paragraph(token: Token) -> str:
    return f"<p>{_inline(token)}</p>\n"


def _heading(token: Token) -> str:
    level = _attributes(token).get("level")
    # Below the headings of the page that it stands in.
    tag = f"h{min(6, 3 + level)}" if isinstance(level, int) and level > 0 else "h6"
    return f"<{tag}><strong>{_inline(token)}</strong></{tag}>\n"


def _code(token: Token) -> str:
    language = _LANGUAGE.match(str(_attributes(token).get("info") or ""))
    return code_html(str(token.get("raw", "")).rstrip("\n"), language[1] if language else "") + "\n"


def _list(token: Token) -> str:
    attributes = _attributes(token)
    if not attributes.get("ordered"):
        return f"<ul>\n{_children(token)}</ul>\n"
    start = attributes.get("start")
    shown = f' start="{start:d}"' if isinstance(start, int) and 1 < start < 10**9 else ""
    return f"<ol{shown}>\n{_children(token)}</ol>\n"


def _task(token: Token) -> str:
    done = "done: " if _attributes(token).get("checked") else "to do: "
    return f"<li>{done}{_children(token)}</li>\n"


def _table(token: Token) -> str:
    return f'<div class="wc-table"><table>{_children(token)}</table></div>\n'


def _table_head(token: Token) -> str:
    return f"<thead><tr>{_children(token)}</tr></thead>\n"


def _table_cell(token: Token) -> str:
    attributes = _attributes(token)
    tag = 'th scope="col"' if attributes.get("head") else "td"
    align = attributes.get("align")
    style = f' style="text-align:{align}"' if align in ("left", "right", "center") else ""
    return f"<{tag}{style}>{_inline(token)}</{tag[:2]}>"


def _block_html(token: Token) -> str:
    return f'<p style="white-space:pre-wrap">{literal_html(str(token.get("raw", "")).strip())}</p>\n'


_BLOCKS: Final[dict[str, Callable[[Token], str]]] = {
    "blank_line": lambda token: "",
    "paragraph": _paragraph,
    "block_text": lambda token: _inline(token),
    "heading": _heading,
    "thematic_break": lambda token: "<hr>\n",
    "block_code": _code,
    "block_quote": _wrapped("blockquote"),
    "block_html": _block_html,
    "list": _list,
    "list_item": _wrapped("li"),
    "task_list_item": _task,
    "table": _table,
    "table_head": _table_head,
    "table_body": _wrapped("tbody"),
    "table_row": _wrapped("tr"),
    "table_cell": _table_cell,
}


# -- inside a line ----------------------------------------------------------------------------------------------------


def _inline(token: Token) -> str:
    if "raw" in token and "children" not in token:
        return _text(token)
    children = token.get("children")
    return "".join(map(_span, children)) if isinstance(children, list) else ""


def _span(token: Token) -> str:
    writer = _SPANS.get(str(token.get("type")))
    return _inline(token) if writer is None else writer(token)


def _around(tag: str) -> Callable[[Token], str]:
    return lambda token: f"<{tag}>{_inline(token)}</{tag}>"


def _text(token: Token) -> str:
    return literal_html(_ENTITY.sub(lambda entity: html.unescape(entity[0]), str(token.get("raw", ""))))


def _raw(token: Token) -> str:
    return literal_html(str(token.get("raw", "")))


def _code_span(token: Token) -> str:
    return f"<code>{_raw(token)}</code>"


def _link(token: Token) -> str:
    shown = _inline(token)
    url = str(_attributes(token).get("url") or "")
    if _ADDRESS.fullmatch(url):
        address = html.escape(url, quote=True)
        return f'<a href="{address}" title="{address}" target="_blank" rel="noopener noreferrer nofollow">{shown}</a>'
    return f"{shown} (<code>{literal_html(unquote(url))}</code>)" if url else shown


def _image(token: Token) -> str:
    url = literal_html(unquote(str(_attributes(token).get("url") or "")))
    return f'<span class="wc-aside">[image, not loaded: {_inline(token)} <code>{url}</code>]</span>'


_SPANS: Final[dict[str, Callable[[Token], str]]] = {
    "text": _text,
    "emphasis": _around("em"),
    "strong": _around("strong"),
    "strikethrough": _around("del"),
    "codespan": _code_span,
    "link": _link,
    "image": _image,
    "linebreak": lambda token: "<br>\n",
    "softbreak": lambda token: "\n",
    "inline_html": _raw,
}


# -- code -------------------------------------------------------------------------------------------------------------

# How the names of Pygments' token types begin, and the class that they get here.
_CLASSES: Final = (
    ("Token.Comment", "comment"),
    ("Token.Keyword", "keyword"),
    ("Token.Operator.Word", "keyword"),
    ("Token.Literal.String", "string"),
    ("Token.Literal.Number", "number"),
    ("Token.Name.Function", "name"),
    ("Token.Name.Class", "name"),
    ("Token.Name.Decorator", "name"),
    ("Token.Name.Builtin", "builtin"),
)


def _highlighted(code: str, language: str) -> str:
    if not language or len(code) > _MOST_HIGHLIGHTED:
        return literal_html(code)
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return literal_html(code)
    pieces: list[str] = []
    for name, tokens in itertools.groupby(lexer.get_tokens(code), key=lambda token: _class_of(str(token[0]))):
        shown = literal_html("".join(piece for _, piece in tokens))
        pieces.append(f'<span class="wc-{name}">{shown}</span>' if name else shown)
    return "".join(pieces)


@functools.lru_cache(maxsize=256)
def _class_of(kind: str) -> str:
    return next((name for start, name in _CLASSES if kind.startswith(start)), "")
