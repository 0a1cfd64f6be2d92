"""Recorded web searches: reading their file, and finding the one that fits a query.

In recorded mode nothing is asked of a search engine; the answer comes from ``data/web_search.json``, which people
wrote. Not here: the function that an assistant gets (``web_search.py``) and searching in files (the local API).
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from helpers.diagrams import plain
from helpers.errors import ConfigurationError
from helpers.models import DATA_FOLDER
from helpers.web_results import LONGEST_SNIPPET, LONGEST_TITLE, FoundPage, cleaned, safe_address

__all__ = ["Match", "RecordedSearch", "Recording", "best_match", "closest_queries", "load_recording"]

_PATH: Final = DATA_FOLDER / "web_search.json"
_CLOSE_ENOUGH: Final = 0.6
# How much the words of the recorded query count against the words of the question (the beta of an F measure): a
# question is a whole sentence, so that much of it is missing in a query says little.
_BETA: Final = 2.0
# The words in common must tell at least as much as one word that a quarter of the searches have.
_RARE: Final = 4

# Words that say how somebody asks and not what about.
_UNTELLING: Final = frozenset(
    re.findall(
        r"\w+",
        "a about all an and any are as at be been but by can could did do does find for from give had has have how i if in "
        "into is it its list many me much my new not of on or our please search should show so some tell than that the "
        "their them there these they this to us use want was we were what when where which who whose why will with "
        "would you your",
    )
)
_ENDING: Final = re.compile(r"(?:ations?|ions?|ings?|als?|ed|es|e|s)$")
_STEM: Final = 6


@dataclass(frozen=True, slots=True)
class RecordedSearch:
    """One recorded search: a query, other words for it, and the pages found."""

    query: str
    pages: tuple[FoundPage, ...]
    also: tuple[str, ...] = ()
    """Other wordings that mean the same search."""
    region: str | None = None
    """The only region that it answers, such as ``"de-de"``; ``None`` answers every region."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A file of recorded searches."""

    source: str
    """``authored`` if people wrote the results, ``captured`` if a search engine gave them."""
    checked: str
    """The day (YYYY-MM-DD) on which the facts were checked, or the results captured."""
    searches: tuple[RecordedSearch, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """A recorded search that fits a query."""

    search: RecordedSearch
    closeness: float
    """1.0 if the query is recorded as it is, else how close the words are, from 0 to 1."""


# -- finding --------------------------------------------------------------------------------------------------------


def best_match(query: str, region: str, searches: Sequence[RecordedSearch]) -> Match | None:
    """Return the recorded search that fits ``query``: the same words, else the closest ones, else ``None``.

    Args:
        query: what was asked; a whole question will do.
        region: such as ``"us-en"``; searches recorded for another region are left out.
        searches: what is recorded. The first of two equally close ones wins.
    """
    offered = [search for search in searches if search.region in (None, region)]
    asked = normalised(query)
    for search in offered:
        if asked in map(normalised, (search.query, *search.also)):
            return Match(search, 1.0)
    scores = _closeness(query, offered)
    best = max(range(len(offered)), key=scores.__getitem__, default=None)
    if best is None or scores[best] < _CLOSE_ENOUGH:
        return None
    # Only the same query counts as 1.
    return Match(offered[best], min(round(scores[best], 2), 0.99))


def closest_queries(query: str, searches: Sequence[RecordedSearch], most: int) -> list[str]:
    """Return up to ``most`` recorded queries, the closest to ``query`` first."""
    scores = _closeness(query, searches)
    ranked = sorted(range(len(searches)), key=scores.__getitem__, reverse=True)
    return [searches[index].query for index in ranked[:most]]


def normalised(query: str) -> str:
    """Return ``query`` as it is compared: case, kinds of white space and punctuation at the ends do not count."""
    folded = unicodedata.normalize("NFKC", query).casefold()
    return " ".join(folded.split()).strip(" .,;:!?\"'“”‘’")


def _closeness(query: str, searches: Sequence[RecordedSearch]) -> list[float]:
    """Return for each search how close its best wording is to ``query``, from 0 to 1.

    It is the F measure of the words in common (precision over the query, recall over the recorded wording, see
    https://nlp.stanford.edu/IR-book/html/htmledition/evaluation-of-unranked-retrieval-sets-1.html), each word weighted
    by how few of the recorded searches have it.
    """
    wordings = [[_stems(text) for text in (search.query, *search.also)] for search in searches]
    asked = _stems(query)

    def weight(stem: str) -> float:
        having = sum(any(stem in stems for stems in each) for each in wordings)
        return math.log(1 + len(wordings) / max(having, 1))

    weights = {stem: weight(stem) for stem in asked.union(*(stems for each in wordings for stems in each))}
    least = math.log(1 + min(_RARE, len(wordings)))

    def total(stems: frozenset[str]) -> float:
        return sum(weights[stem] for stem in stems)

    def score(stems: frozenset[str]) -> float:
        shared = total(stems & asked)
        if shared < least:
            return 0.0
        precision, recall = shared / total(asked), shared / total(stems)
        return (1 + _BETA**2) * precision * recall / (_BETA**2 * precision + recall)

    # GPT-3 and H200 are names: pages that never mention them do not answer a question about them.
    names = {stem for stem in asked if not stem.isalpha() and not stem.isdigit()}
    return [
        max(map(score, each)) if names <= _all_stems(search) else 0.0
        for search, each in zip(searches, wordings, strict=True)
    ]


def _all_stems(search: RecordedSearch) -> frozenset[str]:
    texts = [search.query, *search.also, *(f"{page.title} {page.snippet}" for page in search.pages)]
    return _stems(" ".join(texts))


def _stems(text: str) -> frozenset[str]:
    """Return how the telling words of ``text`` begin: ``staged``, ``stages`` and ``stage`` are one, GPT-2 is one word."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = [re.sub(r"[^\w]", "", word) for word in re.findall(r"\w+(?:[-.,'’]\w+)*", folded)]
    return frozenset(_stem(word) for word in words if word not in _UNTELLING)


def _stem(word: str) -> str:
    if not word.isalpha():
        return word.removesuffix("s")  # a name or a number, such as gpt2, 124m or (two) h100s
    shorter = _ENDING.sub("", word)
    return (shorter if len(shorter) >= 3 else word)[:_STEM]


# -- reading --------------------------------------------------------------------------------------------------------


def load_recording(path: str | Path | None = None) -> Recording:
    """Return the recorded searches in a JSON file.

    The file is an object with ``source`` (``"authored"`` or ``"captured"``), ``checked`` (YYYY-MM-DD), ``searches``
    and, if you like, ``about``. A search has a ``query``, ``results`` (each with ``title``, ``url`` and ``snippet``) and, if
    you like, ``also`` (a list of other wordings) and ``region``.

    Args:
        path: without one, the workshop's own, ``data/web_search.json``.

    Raises:
        ConfigurationError: the file cannot be read or is not of this form; it says where and what to write instead.
    """
    source = _PATH if path is None else Path(path)
    try:
        loaded = json.loads(source.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{source.name}, line {error.lineno}, is not JSON: {error.msg}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"The recorded searches in {plain(str(source), 120)} cannot be read ({type(error).__name__})."
        ) from None
    try:
        return _recording(loaded)
    except _Wrong as wrong:
        raise ConfigurationError(f"{source.name}: {wrong}") from None


class _Wrong(Exception):
    """What is wrong in a file of recorded searches."""


def _recording(loaded: Any) -> Recording:
    fields = _fields(loaded, "the file", ("source", "checked", "searches"), ("about",))
    if fields["source"] not in ("authored", "captured"):
        raise _Wrong("source must be 'authored' (people wrote the results) or 'captured'.")
    if not isinstance(fields["checked"], str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", fields["checked"]):
        raise _Wrong("checked must be a day such as '2026-11-23'.")
    if not isinstance(fields["searches"], list) or not fields["searches"]:
        raise _Wrong("searches must be a list with at least one search.")
    searches = tuple(
        _search(entry, f"search {number}") for number, entry in enumerate(fields["searches"], start=1)
    )
    seen: set[tuple[str, str | None]] = set()
    for search in searches:
        for wording in (search.query, *search.also):
            key = (normalised(wording), search.region)
            if key in seen:
                raise _Wrong(f"{plain(wording, 60)!r} is recorded twice. Keep one of them.")
            seen.add(key)
    return Recording(fields["source"], fields["checked"], searches)


def _search(entry: Any, where: str) -> RecordedSearch:
    fields = _fields(entry, where, ("query", "results"), ("also", "region"))
    query = _text(fields["query"], f"{where}: query", 300)
    where = f"{where} ({plain(query, 60)!r})"
    also, region, results = fields.get("also", []), fields.get("region"), fields["results"]
    if not isinstance(also, list):
        raise _Wrong(f"{where}: also must be a list of texts.")
    if region is not None and not (isinstance(region, str) and re.fullmatch(r"[a-z]{2}-[a-z]{2}", region)):
        raise _Wrong(f"{where}: region must look like 'us-en', or be left out.")
    if not isinstance(results, list) or not results:
        raise _Wrong(f"{where}: results must be a list with at least one page.")
    pages = tuple(_page(page, f"{where}, result {number}") for number, page in enumerate(results, start=1))
    if len({page.url for page in pages}) < len(pages):
        raise _Wrong(f"{where}: two results have the same url.")
    return RecordedSearch(query, pages, tuple(_text(text, f"{where}: also", 300) for text in also), region)


def _page(entry: Any, where: str) -> FoundPage:
    fields = _fields(entry, where, ("title", "url", "snippet"), ())
    url = _text(fields["url"], f"{where}: url", 2_000)
    if safe_address(url) != url:
        raise _Wrong(f"{where}: url must be a plain web address that begins with https://.")
    return FoundPage(
        _text(fields["title"], f"{where}: title", LONGEST_TITLE),
        url,
        _text(fields["snippet"], f"{where}: snippet", LONGEST_SNIPPET),
    )


def _fields(entry: Any, where: str, needed: Sequence[str], allowed: Sequence[str]) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise _Wrong(f"{where} must be an object, {{…}}.")
    missing = [name for name in needed if name not in entry]
    if missing:
        raise _Wrong(f"{where} needs {' and '.join(missing)}.")
    unknown = [name for name in entry if name not in (*needed, *allowed)]
    if unknown:
        raise _Wrong(
            f"{where} has a field {plain(unknown[0], 40)!r}; the fields are {', '.join((*needed, *allowed))}."
        )
    return entry


def _text(value: Any, where: str, longest: int) -> str:
    """Return a text that is exactly what a live search would have kept: one line, no HTML, not too long."""
    if not isinstance(value, str) or not value.strip():
        raise _Wrong(f"{where} must be a text.")
    if cleaned(value, longest) != value:
        raise _Wrong(
            f"{where} must be one line of at most {longest} characters, without HTML or spaces around it."
        )
    return value
