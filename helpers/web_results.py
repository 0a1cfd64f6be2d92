"""What is kept of a page that a search found: a clean title, a safe address, a short snippet.

Everything here is pure text work on what strangers wrote. Not here: asking a search engine (``web_search.py``) and
the results that are recorded (``recorded_searches.py``).
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

__all__ = ["FoundPage", "cleaned", "kept_pages", "safe_address"]

LONGEST_TITLE: Final = 150
LONGEST_SNIPPET: Final = 300
_LONGEST_ADDRESS: Final = 2_000
_LONGEST_RAW: Final = 5_000

_HIDDEN_MARKUP: Final = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
# These stand inside a word or a sentence, so nothing takes their place; every other tag separates words.
_INLINE_TAG: Final = re.compile(
    r"</?(?:a|b|em|font|i|mark|span|strong|sub|sup|u|wbr)\b[^<>]*>", re.IGNORECASE
)
_TAG: Final = re.compile(r"<[a-zA-Z/!][^<>]*>")
_START_OF_A_TAG: Final = re.compile(r"<(?=[a-zA-Z/!])")
_HOST: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?")


@dataclass(frozen=True, slots=True)
class FoundPage:
    """One page that a search found."""

    title: str
    url: str
    snippet: str

    def as_dict(self) -> dict[str, str]:
        """Return the fields as a model gets them."""
        return {"title": self.title, "url": self.url, "snippet": self.snippet}


def kept_pages(raw: Iterable[object]) -> list[FoundPage]:
    """Return the pages that can be used among the results of ``ddgs``, in their order.

    Args:
        raw: mappings with ``title``, ``href`` and ``body``. What has no title or no web address is left out, and so
            is a page that came before under the same address.
    """
    pages: dict[str, FoundPage] = {}
    for result in raw:
        if not isinstance(result, Mapping):
            continue
        title = cleaned(result.get("title"), LONGEST_TITLE)
        url = safe_address(result.get("href"))
        if title and url:
            page = FoundPage(title, url, cleaned(result.get("body"), LONGEST_SNIPPET))
            pages.setdefault(_same_page(url), page)
    return list(pages.values())


def cleaned(text: object, longest: int) -> str:
    """Return ``text`` as one line without HTML, control or invisible characters.

    Args:
        text: what a search engine sent; anything that is not text becomes ``""``.
        longest: how many characters to keep. A longer text is cut between words and ends in "…".
    """
    if not isinstance(text, str):
        return ""
    text = text[:_LONGEST_RAW]
    before = None
    # An entity can hide a tag, and an invisible character can split one, so this goes on until nothing changes.
    while text != before:
        before = text
        text = _without_tags(_visible(html.unescape(text)))
    text = " ".join(_START_OF_A_TAG.sub("< ", unicodedata.normalize("NFC", text)).split())
    if len(text) <= longest:
        return text
    cut = text[: longest - 1]
    return f"{(cut.rsplit(' ', 1)[0] if ' ' in cut else cut).rstrip()}…"


def _without_tags(text: str) -> str:
    return _TAG.sub(" ", _INLINE_TAG.sub("", _HIDDEN_MARKUP.sub(" ", text)))


def _visible(text: str) -> str:
    # Category C: control, format (zero width, direction), surrogate, private, unassigned. White space is no loss.
    return "".join(
        " " if character.isspace() else character
        for character in text
        if character.isspace() or unicodedata.category(character)[0] != "C"
    )


def safe_address(address: object) -> str:
    """Return a web address in plain ASCII, or ``""`` for anything that is not one.

    Only ``http`` and ``https`` pass, with a host and without a user name: ``https://bank.example@evil.example`` looks
    like another site than it is.
    """
    if not isinstance(address, str):
        return ""
    try:
        parts = urlsplit(_visible(address).strip())
        host = (parts.hostname or "").encode("idna").decode("ascii")
        port = parts.port
    except ValueError:
        # A broken port or bracket, or a host that cannot be written (UnicodeError is a ValueError).
        return ""
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or not _HOST.fullmatch(host):
        return ""
    place = host if port is None else f"{host}:{port}"
    # A "%" stays: ddgs hands out addresses that are partly decoded, and nobody can tell which part.
    path, query, fragment = (
        quote(part, safe="%/:;@&=+$,!*'()~?") for part in (parts.path, parts.query, parts.fragment)
    )
    found = urlunsplit((parts.scheme, place, path, query, fragment))
    return found if len(found) <= _LONGEST_ADDRESS else ""


def _same_page(url: str) -> str:
    """Return what two addresses of one page have in common."""
    parts = urlsplit(url)
    return f"{parts.netloc.removeprefix('www.')}{parts.path.rstrip('/')}?{parts.query}"
