"""The application: which request goes to which route, and how every answer looks from outside.

It knows nothing of a transport: bytes and headers go in, an answer comes out. The transport in this process uses it,
and a server on a port can use it as well. Not here: what the routes do.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from helpers.local_api import ids
from helpers.local_api.checks import Query
from helpers.local_api.conversations import Conversations
from helpers.local_api.errors import APIError, invalid, not_built_yet, shown
from helpers.local_api.files import Download
from helpers.local_api.models import Models
from helpers.local_api.multipart import Form, Receiver
from helpers.local_api.responses import Reading, Responses

_VERSION: Final = "2020-10-01"
_POLL_AFTER_MS: Final = "1"
_POLLED: Final = ("response", "vector_store", "vector_store.file", "vector_store.files_batch")
_WRONG_KEYS: Final = "sk-wrong"
_SHUT_DOWN: Final = (
    "The Assistants API was shut down on 2026-08-26. Use the Responses API (client.responses) and the Conversations API "
    "(client.conversations) instead."
)
_DEEPEST_JSON: Final = 100
_LIST: Final = ("after", "include", "limit", "order")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """A request as it came in.

    ``path`` is still percent-encoded; ``headers`` have names in lower case.
    """

    method: str
    path: str
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    content: bytes
    upload: Receiver | None = None
    """What a form was received with, in place of ``content``."""


@dataclass(frozen=True)
class Answer:
    """What goes out: JSON, the reading of a stream of events, or the content of a file."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    reading: Reading | None = None
    download: Download | None = None


@dataclass(frozen=True)
class Parsed:
    """A request after its route was found."""

    arguments: tuple[str, ...]
    query: Query
    content: bytes
    upload: Receiver | None

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object that was sent."""
        if self.upload:
            raise invalid("This route takes a JSON body, and the request is a form (multipart/form-data).")
        return _json_object(self.content)

    @property
    def form(self) -> Form:
        """The form that was sent."""
        if self.upload is None:
            raise invalid("This route takes a form with a file (multipart/form-data).")
        return self.upload.form()


Route = Callable[[Parsed], Any]


class App:
    """Answers requests.

    Args:
        conversations: the routes under ``/conversations``.
        responses: the routes under ``/responses``.
        models: the routes under ``/models``.
    """

    def __init__(self, conversations: Conversations, responses: Responses, models: Models) -> None:
        self._responses = responses
        self._numbers = itertools.count(1)
        self._routes: list[tuple[str, re.Pattern[str], Route, tuple[str, ...]]] = []
        self._add_conversations(conversations)
        self._add_responses(responses)
        self.add("GET", "/models", lambda call: models.list_body())
        self.add("GET", "/models/{}", lambda call: models.body(call.arguments[0]))

    def add(self, method: str, path: str, route: Route, query: tuple[str, ...] = ()) -> None:
        """Add a route. Rooms call this for theirs.

        Args:
            method: ``"GET"``, ``"POST"`` …
            path: after ``/v1``; ``{}`` stands for one argument.
            route: gets the request and returns JSON, or the reading of a stream.
            query: the query parameters that it knows; others are refused.
        """
        pattern = re.compile(re.escape(path).replace(r"\{\}", "([^/]+)"))
        self._routes.append((method, pattern, route, query))

    def _add_conversations(self, routes: Conversations) -> None:
        one, items, item = "/conversations/{}", "/conversations/{}/items", "/conversations/{}/items/{}"
        self.add("POST", "/conversations", lambda call: routes.create(call.body))
        self.add("GET", one, lambda call: routes.retrieve(call.arguments[0]))
        self.add("POST", one, lambda call: routes.update(call.arguments[0], call.body))
        self.add("DELETE", one, lambda call: routes.delete(call.arguments[0]))
        self.add("POST", items, lambda call: routes.create_items(call.arguments[0], call.body), ("include",))
        self.add("GET", items, lambda call: routes.list_items(call.arguments[0], call.query), _LIST)
        self.add("GET", item, lambda call: routes.retrieve_item(*_two(call.arguments)), ("include",))
        self.add("DELETE", item, lambda call: routes.delete_item(*_two(call.arguments)))

    def _add_responses(self, routes: Responses) -> None:
        one, items = "/responses/{}", "/responses/{}/input_items"
        again = ("include", "include_obfuscation", "starting_after", "stream")
        self.add("POST", "/responses/input_tokens", lambda call: routes.count_input_tokens(call.body))
        self.add("POST", "/responses", lambda call: routes.create(call.body))
        self.add("GET", one, lambda call: routes.retrieve(call.arguments[0], call.query), again)
        self.add("DELETE", one, lambda call: routes.delete(call.arguments[0]))
        self.add("POST", f"{one}/cancel", lambda call: routes.cancel(call.arguments[0]))
        self.add("GET", items, lambda call: routes.input_items(call.arguments[0], call.query), _LIST)

    def is_slow(self, call: Call) -> bool:
        """Return whether an answer may have to wait, for code that runs or for a file that is copied."""
        path = call.path.rstrip("/")
        if "/containers" in path or b"code_interpreter" in call.content:
            return True
        if call.method == "POST" and self._responses.code_is_running:
            # It may find its conversation busy with that, and wait for it.
            return True
        found = re.search(r"/responses/([^/]+)\Z", path)
        return bool(found and call.method == "GET" and self._responses.waits_for_code(found[1]))

    def handle(self, call: Call) -> Answer:
        """Answer a request. It never raises, except for an interrupt."""
        started = time.perf_counter()
        self._responses.sweep()
        try:
            answer = _answer(self._dispatch(call))
        except APIError as error:
            answer = Answer(error.status, error.headers, error.body)
        except Exception as error:  # noqa: BLE001
            # A server would answer 500 and log it, and so does this one. The SDK must not try it again.
            _log.exception("The recorded API failed at %s %s", call.method, call.path)
            answer = _bug(error)
        finally:
            if call.upload:
                call.upload.close()
            self._responses.sweep()
        answer.headers.update(
            {
                "x-request-id": ids.numbered("req", next(self._numbers)),
                "openai-version": _VERSION,
                "openai-processing-ms": str(int((time.perf_counter() - started) * 1000)),
            }
        )
        return answer

    def _dispatch(self, call: Call) -> Any:
        check_key(call.headers.get("authorization", ""))
        path = re.sub(r"\A/v1(?=/|\Z)", "", call.path).rstrip("/")
        for method, pattern, route, known in self._routes:
            found = pattern.fullmatch(path)
            if found and method == call.method:
                query = Query(call.query)
                query.only(*known)
                arguments = tuple(unquote(each) for each in found.groups())
                return route(Parsed(arguments, query, call.content, call.upload))
        if re.match(r"/(assistants|threads)(/|\Z)", path):
            raise APIError(404, _SHUT_DOWN, code="not_found")
        raise not_built_yet(f"{call.method} {shown(unquote(path) or '/')}")


def _two(arguments: tuple[str, ...]) -> tuple[str, str]:
    first, second = arguments
    return first, second


def _answer(result: Any) -> Answer:
    if isinstance(result, Reading):
        return Answer(200, reading=result)
    if isinstance(result, Download):
        return Answer(200, download=result)
    waiting = isinstance(result, dict) and result.get("status") in {"queued", "in_progress"}
    is_polled = waiting and result.get("object") in _POLLED
    return Answer(200, {"openai-poll-after-ms": _POLL_AFTER_MS} if is_polled else {}, result)


def _bug(error: Exception) -> Answer:
    message = f"The recorded API made a mistake of its own ({type(error).__name__}). Please report it."
    wrapped = APIError(500, message, kind="server_error", code="server_error", retry=False)
    return Answer(500, wrapped.headers, wrapped.body)


def check_key(authorization: str) -> None:
    """Refuse a request without a key, or with one that stands for a wrong one.

    Args:
        authorization: the header.

    Raises:
        APIError: 401.
    """
    scheme, _, key = authorization.partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise APIError(
            401,
            "You didn't provide an API key. Send it in the Authorization header: Bearer YOUR_KEY.",
        )
    if key.startswith(_WRONG_KEYS):
        raise APIError(
            401,
            f"Incorrect API key provided: {_WRONG_KEYS}***. You can find your API key at "
            "https://platform.openai.com/account/api-keys.",
            code="invalid_api_key",
        )


def _json_object(content: bytes) -> dict[str, Any]:
    try:
        text = content.decode("utf-8")
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite) if content else {}
        if b"\\ud" in content.lower():
            # Half of a character cannot be stored or sent on.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise invalid(
            "We could not parse the JSON body of your request. The body must be one valid JSON object in UTF-8."
        ) from None
    if not isinstance(value, dict):
        raise invalid("The JSON body of your request must be an object.")
    if _is_deeper_than(_DEEPEST_JSON, value):
        raise invalid(f"The JSON body of your request is nested deeper than {_DEEPEST_JSON} levels.")
    return value


def _is_deeper_than(levels: int, value: Any) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not layer:
            return False
    return True


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large")
    return number
