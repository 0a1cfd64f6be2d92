"""The recorded searches: the workshop's own say what the texts say, the right one is found, a broken file is refused."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.errors import ConfigurationError
from helpers.models import DATA_FOLDER
from helpers.recorded_searches import (
    RecordedSearch,
    best_match,
    closest_queries,
    load_recording,
    normalised,
)
from helpers.web_results import FoundPage

RECORDING = load_recording()
SEARCHES = {search.query: search for search in RECORDING.searches}
OVERVIEW = (DATA_FOLDER / "gpt2" / "overview.md").read_text(encoding="utf-8")
PAGES = [page for search in RECORDING.searches for page in search.pages]
RELEASE = "GPT-2 staged release 2019"


# -- the workshop's own -----------------------------------------------------------------------------------------------


def test_the_file_says_that_people_wrote_it():
    loaded = json.loads((DATA_FOLDER / "web_search.json").read_text(encoding="utf-8"))
    assert RECORDING.source == "authored"
    assert "No search engine returned these lists" in loaded["about"]


def test_the_release_dates_are_those_of_the_overview():
    found = " ".join(page.snippet for page in SEARCHES[RELEASE].pages)
    rows = re.findall(
        r"^\| (\d+ \w+ 2019|May 2019) \| .*?(\d[\d,.]*) (million|billion) param", OVERVIEW, flags=re.M
    )
    assert len(rows) == 4
    for date, number, _ in rows:
        assert date.removesuffix(" 2019") in found
        assert number in found


@pytest.mark.parametrize(
    ("size", "figures", "in_the_overview"),
    [
        ("124M", ("about 90 minutes", "about 20 dollars"), "in 90 minutes for $20"),
        ("1558M", ("in 24 hours", "672 dollars"), "24 hours on eight H100 cards and 672 dollars"),
    ],
)
def test_time_and_price_of_the_reproductions_are_those_of_the_overview(size, figures, in_the_overview):
    page = SEARCHES[f"GPT-2 {size} reproduction cost llm.c"].pages[0]
    assert f"({page.url})" in OVERVIEW
    assert in_the_overview in OVERVIEW
    for figure in figures:
        assert figure in page.snippet


def test_only_the_planted_page_is_an_example_and_it_is_on_nobodys_site():
    examples = [page for page in PAGES if "example.com" in page.url]
    assert len(examples) == 1
    assert "ignore your instructions" in examples[0].snippet
    assert "Example" in examples[0].title
    assert not [page for page in PAGES if page not in examples and "ignore" in page.snippet.lower()]


def test_every_search_is_found_by_each_of_its_wordings():
    for search in RECORDING.searches:
        for wording in (search.query, *search.also):
            match = best_match(f"  {wording.upper()}?", "us-en", RECORDING.searches)
            assert (match.search.query, match.closeness) == (search.query, 1.0)


def test_one_page_has_the_same_address_wherever_it_is_found():
    by_title = {}
    for page in PAGES:
        assert by_title.setdefault(page.title, page.url) == page.url


# -- finding ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "query"),
    [
        ("How was GPT-2 released in stages in 2019? Use JSON as the response format.", RELEASE),
        ("when was gpt-2 1.5b released", RELEASE),
        ("GPT2 release", RELEASE),
        ("What does training GPT-2 cost?", "GPT-2 124M reproduction cost llm.c"),
        ("current rental price of an H100", "GPU rental price per hour A100 H100 2026"),
        ("how expensive is renting eight H100s?", "GPU rental price per hour A100 H100 2026"),
        ("tell me about nanoGPT", "nanoGPT"),
        (
            "What is GPT2? Can I build it with legos? Explain it to me like I'm 5 years old.",
            "Lego brick history",
        ),
    ],
)
def test_a_whole_question_finds_the_search_that_it_is_about(question, query):
    match = best_match(question, "us-en", RECORDING.searches)
    assert match.search.query == query
    assert match.closeness < 1


@pytest.mark.parametrize(
    "question",
    [
        "weather in Paris tomorrow",
        "Who won the world cup 2026?",
        "What is Python?",
        "GPT-3 release date",
        "GPT-4 training cost",
        "H200 price per hour",
        "latest OpenAI model price",
        "GPT-2",
        "Why not just use a textbook?",
        "the and of",
        "???",
        "",
    ],
)
def test_what_is_not_recorded_finds_nothing(question):
    assert best_match(question, "us-en", RECORDING.searches) is None


def one(query, *also, region=None):
    return RecordedSearch(query, (FoundPage(query, "https://example.com/", "About it."),), also, region)


def test_the_closest_of_several_wins_and_the_first_of_equals():
    searches = [one("apples"), one("red apples from Italy"), one("red apples from Spain")]
    assert best_match("red apples in Spain", "us-en", searches).search.query == "red apples from Spain"
    assert best_match("red apples", "us-en", searches[1:]).search.query == "red apples from Italy"


def test_a_search_of_one_region_answers_only_there():
    searches = [one("Wetter", region="de-de"), one("weather")]
    assert best_match("Wetter", "de-de", searches).search.query == "Wetter"
    assert best_match("Wetter", "us-en", searches) is None
    assert best_match("weather", "de-de", searches).search.query == "weather"


def test_the_closest_queries_come_first_and_there_are_always_some():
    assert closest_queries("What does it cost to rent a GPU?", RECORDING.searches, 3)[0].startswith(
        "GPU rental"
    )
    assert len(closest_queries("zebra", RECORDING.searches, 5)) == 5


@given(st.text(max_size=400))
def test_any_query_is_compared_without_an_accident(query):
    match = best_match(query, "us-en", RECORDING.searches)
    assert match is None or 0.6 <= match.closeness <= 1
    assert normalised(normalised(query)) == normalised(query)


# -- reading --------------------------------------------------------------------------------------------------------------

PAGE = {"title": "A page", "url": "https://example.com/", "snippet": "What it says."}
SEARCH = {"query": "apples", "results": [PAGE]}
FILE = {"source": "authored", "checked": "2026-11-23", "searches": [SEARCH]}


def read(folder, content):
    path = folder / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return load_recording(path)


def test_a_short_file_of_your_own(tmp_path):
    recording = read(tmp_path, FILE)
    assert recording.searches == (
        RecordedSearch("apples", (FoundPage("A page", "https://example.com/", "What it says."),)),
    )


def page(**change):
    return {**FILE, "searches": [{**SEARCH, "results": [{**PAGE, **change}]}]}


def search(**change):
    return {**FILE, "searches": [{**SEARCH, **change}]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"source": "authored",\n}', "mine.json, line 2, is not JSON"),
        ("[" * 100_000, "cannot be read (RecursionError)"),
        ([], "the file must be an object"),
        ({"source": "authored"}, "the file needs checked and searches"),
        ({**FILE, "source": "google"}, "source must be 'authored'"),
        ({**FILE, "checked": "yesterday"}, "checked must be a day"),
        ({**FILE, "searches": []}, "at least one search"),
        (
            {**FILE, "search": []},
            "the file has a field 'search'; the fields are source, checked, searches, about",
        ),
        ({**FILE, "searches": ["apples"]}, "search 1 must be an object"),
        ({**FILE, "searches": [SEARCH, {"query": "pears"}]}, "search 2 needs results"),
        (
            {**FILE, "searches": [SEARCH, {**SEARCH, "query": " Apples? "}]},
            "search 2: query must be one line",
        ),
        ({**FILE, "searches": [SEARCH, {**SEARCH, "query": "APPLES?"}]}, "'APPLES?' is recorded twice"),
        (search(query=3), "search 1: query must be a text"),
        (search(results=[]), "search 1 ('apples'): results must be a list with at least one page"),
        (search(results=[PAGE, PAGE]), "search 1 ('apples'): two results have the same url"),
        (search(also="pears"), "also must be a list"),
        (search(also=["pears", None]), "also must be a text"),
        (search(also=["Apples"]), "'Apples' is recorded twice"),
        (search(region="us"), "region must look like 'us-en'"),
        (page(url="javascript:alert(1)"), "search 1 ('apples'), result 1: url must be a plain web address"),
        (page(url="https://example.com/a b"), "url must be a plain web address"),
        (
            page(snippet="<b>bold</b>"),
            "result 1: snippet must be one line of at most 300 characters, without HTML",
        ),
        (page(snippet="two\nlines"), "snippet must be one line"),
        (page(snippet="long " * 100), "snippet must be one line of at most 300"),
        (page(title=""), "title must be a text"),
        (page(body="x"), "has a field 'body'; the fields are title, url, snippet"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path, content, words):
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, content)
    assert words in str(caught.value)
    assert "mine.json" in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_recording(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"bytes\.json cannot be read"):
        load_recording(tmp_path / "bytes.json")
