"""What HTML may hold that is made of somebody else's text: a few tags, a few attributes, and nothing that acts."""

from __future__ import annotations

import html.parser
import re

TAGS = frozenset(
    [
        "a",
        "blockquote",
        "br",
        "code",
        "del",
        "details",
        "div",
        "em",
        "figcaption",
        "figure",
        "h4",
        "h5",
        "h6",
        "hr",
        "img",
        "li",
        "ol",
        "p",
        "pre",
        "q",
        "span",
        "strong",
        "summary",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
        "ul",
    ]
)
ATTRIBUTES = {
    "*": {"class", "style", "role"},
    "a": {"href", "title", "target", "rel"},
    "img": {"src", "alt"},
    "ol": {"start"},
    "th": {"scope"},
    "details": {"open"},
}
STYLES = {"white-space:pre-wrap", "text-align:left", "text-align:right", "text-align:center"}
VOID = {"br", "hr", "img"}


class Page(html.parser.HTMLParser):
    """A page that was checked while it was read.

    Attributes:
        text: what a person reads.
        links: where links lead.
        images: the addresses of images.
        problems: what should not be there.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.images: list[str] = []
        self.problems: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        if self._open:
            self.problems.append(f"never closed: {self._open}")

    def handle_starttag(self, tag, attributes):
        if tag not in TAGS:
            self.problems.append(f"<{tag}>")
        if tag not in VOID:
            self._open.append(tag)
        for name, value in attributes:
            self._check(tag, name, value or "")

    def _check(self, tag, name, value):
        if name not in ATTRIBUTES["*"] | ATTRIBUTES.get(tag, set()):
            self.problems.append(f"<{tag} {name}>")
        elif name == "style" and value not in STYLES:
            self.problems.append(f"style {value}")
        elif name == "class" and not re.fullmatch(
            r"(?:(?:wc-[a-z]+|tex2jax_ignore|mathjax_ignore) ?)+", value
        ):
            self.problems.append(f"class {value}")
        elif name == "href":
            self.links.append(value)
            if not re.match(r"(?:https?://|mailto:)", value, re.IGNORECASE):
                self.problems.append(f"link to {value}")
        elif name == "src":
            self.images.append(value)
            if not re.match(r"data:image/(?:png|jpeg|gif);base64,[A-Za-z0-9+/=]*\Z", value):
                self.problems.append(f"image from {value[:80]}")

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        self.text += data
        # MathJax looks for these in the finished page: each has to be a piece of text of its own.
        if len(data) > 1 and ("$" in data or "\\" in data):
            self.problems.append(f"a formula could begin in {data[:40]}")

    def handle_comment(self, data):
        self.problems.append(f"comment {data[:40]}")

    def handle_decl(self, decl):
        self.problems.append(f"declaration {decl[:40]}")

    def handle_pi(self, data):
        self.problems.append(f"instruction {data[:40]}")


def checked(source: str) -> Page:
    """Return the page, and fail if it holds something that may act."""
    page = Page(source)
    assert page.problems == [], page.problems
    return page
