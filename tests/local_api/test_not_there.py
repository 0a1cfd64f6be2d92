"""The table of what is not there: what the SDK can send, what the API says to it, and that the page is up to date."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Required, TypedDict

import pytest
from openai import Omit

from helpers.local_api import __main__, not_there, requests
from helpers.local_api.not_there import Asker, Route, sdk_routes, top_resources

PAGE = Path(not_there.__file__).with_name("NOT_THERE.md")


@pytest.fixture
def asker(api):
    return Asker(api)


def create(**fields):
    return Route("responses.create", "POST", "/responses", fields, {})


def refused(asker, **fields):
    return {each.what: each.status for each in asker.fields(create(**fields))}


@pytest.mark.pinned
def test_the_page_is_up_to_date(capsys):
    assert __main__.main(["missing"]) == 0
    assert capsys.readouterr().out == PAGE.read_text(encoding="utf-8"), (
        "python -m helpers.local_api missing > helpers/local_api/NOT_THERE.md"
    )


def test_the_page_names_every_field_that_is_refused_outright():
    page = PAGE.read_text(encoding="utf-8")
    for name, why in requests._REFUSED.items():
        if name in {"frequency_penalty", "presence_penalty"}:
            continue  # of real answers; the SDK cannot send them
        assert f"| `{name}` | no |" in page
        assert f"| `{name}` | 400 | {why} |" in page


def test_routes_come_from_the_sdk():
    routes = {(route.call, route.method, route.path) for route in sdk_routes("vector_stores")}
    assert ("vector_stores.search", "POST", "/vector_stores/{vector_store_id}/search") in routes
    assert (
        "vector_stores.files.update",
        "POST",
        "/vector_stores/{vector_store_id}/files/{file_id}",
    ) in routes
    assert (
        "vector_stores.files.content",
        "GET",
        "/vector_stores/{vector_store_id}/files/{file_id}/content",
    ) in routes
    (items,) = (route for route in sdk_routes("conversations") if route.call == "conversations.items.create")
    assert (set(items.fields), set(items.query)) == ({"items"}, {"include"})
    assert {"responses", "beta.assistants", "beta.threads", "images"} <= set(top_resources())


def test_a_route_is_there_or_answers_with_a_status(asker):
    def answer(method, path):
        return asker.route(Route("x", method, path, {}, {}))

    assert answer("GET", "/responses/{response_id}") == "yes"
    assert answer("DELETE", "/vector_stores/{vector_store_id}/files/{file_id}") == "yes"
    assert answer("POST", "/files") == "yes"
    assert answer("POST", "/images/generations") == "501"
    assert answer("GET", "/assistants/{assistant_id}") == "404"


def test_all_routes_of_the_app_are_known_to_the_sdk(api):
    """Else this API would have something that OpenAI's has not."""
    known = {
        (route.method, re.sub(r"{\w+}", "{}", route.path))
        for resource in not_there.RESOURCES
        for route in sdk_routes(resource)
    }
    unknown = [
        (method, path.pattern)
        for method, path, _, _ in api._open_app()._routes
        if not any(method == verb and path.fullmatch(template) for verb, template in known)
    ]
    assert unknown == []


def test_fields_are_honoured_or_refused_as_a_whole_or_in_part(asker):
    found = refused(
        asker,
        store=bool | None | Omit,
        max_tool_calls=int | Omit,
        service_tier=Literal["auto", "flex"] | str,
        brand_new=str,
    )
    assert found == {"max_tool_calls": 400, "service_tier=flex": 400, "brand_new": 400}


class Inner(TypedDict, total=False):
    effort: Literal["none"]
    mode: Literal["standard", "pro"]
    brand_new: bool


class Named(TypedDict, total=False):
    type: Required[Literal["web_search"]]


class Function(TypedDict, total=False):
    type: Required[Literal["function"]]
    name: Required[str]
    brand_new: bool


class Options(TypedDict, total=False):
    completion_window: Literal["soonest", "2h"]


def test_it_looks_into_objects_and_lists(asker):
    found = refused(asker, reasoning=Inner, tools=Iterable[Named | Function], background_options=Options)
    assert found == {
        "reasoning.mode=pro": 400,
        "reasoning.brand_new": 400,
        "tools[web_search]": 501,
        "tools[function].brand_new": 400,
        "background_options": 400,
    }


def test_what_becomes_honoured_is_gone_from_the_table(asker, monkeypatch):
    assert "max_tool_calls" in refused(asker, max_tool_calls=int)
    rest = {name: why for name, why in requests._REFUSED.items() if name != "max_tool_calls"}
    monkeypatch.setattr(requests, "_REFUSED", rest)
    monkeypatch.setattr(requests, "_HONOURED", (*requests._HONOURED, "max_tool_calls"))
    assert refused(asker, max_tool_calls=int) == {}


def test_refusals_that_openai_would_give_as_well_are_not_in_it(asker):
    # A temperature for a model that reasons, and an id that nobody has.
    assert refused(asker, temperature=float, top_p=float, previous_response_id=str) == {}
