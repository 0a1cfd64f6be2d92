"""What OpenAI's API has and this one has not: a table, made by asking this API for everything that the SDK can send.

Here live the reading of the SDK's source (routes) and types (fields and their values), the asking, and the Markdown of
``NOT_THERE.md``. It is for people who develop this API; nothing else imports it, and nothing is sent anywhere. Not here:
why something is refused, which each room says itself.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import httpx2
import openai
import typing_extensions
from openai._resource import SyncAPIResource

from helpers.local_api import LocalAPI
from helpers.local_api.containers import Kernel

RESOURCES: Final = ("responses", "conversations", "vector_stores", "files", "containers", "models")
"""What the course touches, each route by name. Of the rest only the number of routes is told."""

_MODEL: Final = "gpt-6-luna"
_BASE: Final[dict[str, dict[str, Any]]] = {
    # Without reasoning, because a model that reasons takes no temperature, live as here.
    "/responses": {"model": _MODEL, "input": "Hello.", "reasoning": {"effort": "none"}},
    "/responses/input_tokens": {"model": _MODEL, "input": "Hello."},
    "/conversations/{conversation_id}/items": {"items": [{"role": "user", "content": "Hello."}]},
    "/vector_stores/{vector_store_id}/search": {"query": "promised loss"},
    "/containers": {"name": "a"},
}
_NOT_FIELDS: Final = frozenset({"self", "return", "extra_headers", "extra_query", "extra_body", "timeout"})
_SENDS: Final = {
    "_get": "GET",
    "_get_api_list": "GET",
    "_post": "POST",
    "_put": "PUT",
    "_patch": "PATCH",
    "_delete": "DELETE",
}
_DEEPEST: Final = 3
# Only messages of the assistant have it, and the smallest message is one of the user.
_NOT_ASKED: Final = ("input[message].phase", "items[message].phase")
_YES: Final = "yes"


# -- what the SDK can send ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Route:
    """One route, as the SDK calls it.

    ``fields`` are those of a JSON body and ``query`` those of the address, each with its type.
    """

    call: str
    method: str
    path: str
    fields: Mapping[str, Any]
    query: Mapping[str, Any]


def sdk_routes(resource: str) -> list[Route]:
    """Return the routes of a resource of the SDK and of those inside it, such as ``"vector_stores"``."""
    client = openai.OpenAI(api_key="none", base_url="http://localhost")
    with client:
        found = functools.reduce(getattr, resource.split("."), client)
        return sorted(_routes_of(found, resource), key=lambda route: (route.path, route.method, route.call))


def top_resources() -> list[str]:
    """Return the names of all resources of the client; those of ``beta`` one by one."""
    with openai.OpenAI(api_key="none", base_url="http://localhost") as client:
        names = [name for name, _ in _inside(client)]
        beta = [f"beta.{name}" for name, _ in _inside(client.beta)]
    return sorted([*(name for name in names if name != "beta"), *beta])


def _inside(resource: Any) -> Iterator[tuple[str, Any]]:
    """Yield the resources inside a resource or a client, with their names."""
    for name, value in inspect.getmembers(type(resource)):
        if not name.startswith(("_", "with_")) and isinstance(value, functools.cached_property | property):
            inner = getattr(resource, name)
            if isinstance(inner, SyncAPIResource):
                yield name, inner


def _routes_of(resource: Any, name: str) -> Iterator[Route]:
    for inner_name, inner in _inside(resource):
        yield from _routes_of(inner, f"{name}.{inner_name}")
    for method_name, method in inspect.getmembers(type(resource), inspect.isfunction):
        if not method_name.startswith(("_", "with_")):
            yield from _routes_in(inspect.unwrap(method), f"{name}.{method_name}")


def _routes_in(method: Callable[..., Any], call: str) -> Iterator[Route]:
    """Yield the requests in the source of a method: ``self._post(path_template("/files/{file_id}", …), …)``."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr not in _SENDS or not node.args:
            continue
        path = node.args[0].args[0] if isinstance(node.args[0], ast.Call) else node.args[0]
        if not isinstance(path, ast.Constant) or not isinstance(path.value, str):
            continue
        verbs = [
            each.value.value
            for each in node.keywords
            if each.arg == "method" and isinstance(each.value, ast.Constant)
        ]
        http_method = str(verbs[0]).upper() if verbs else _SENDS[node.func.attr]
        hints = {
            name: kind for name, kind in typing.get_type_hints(method).items() if name not in _NOT_FIELDS
        }
        in_path = set(re.findall(r"{(\w+)}", path.value))
        in_query = {
            key
            for each in ast.walk(node)
            if isinstance(each, ast.keyword) and each.arg == "query"
            for key in _keys(each)
        }
        rest = {name: kind for name, kind in hints.items() if name not in in_path}
        query = {name: kind for name, kind in rest.items() if http_method == "GET" or name in in_query}
        fields = {name: kind for name, kind in rest.items() if name not in query}
        yield Route(call, http_method, path.value, fields, query)


def _keys(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if isinstance(each, ast.Dict):
            yield from (str(key.value) for key in each.keys if isinstance(key, ast.Constant))


# -- values of a type -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Value:
    """A value of a type: how to name it, and for an object its type, to look at its fields one by one."""

    label: str
    value: Any
    kind: Any = None


def _values(kind: Any, name: str, known: Mapping[str, Any]) -> Iterator[_Value]:
    """Yield one value for each thing that a type allows.

    Args:
        kind: a type as the SDK writes them.
        name: the field; ids are those of ``known``, by its name.
        known: things that are there.
    """
    kind = _plain(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        is_open = any(typing.get_origin(_plain(each)) is Literal for each in arguments)
        for each in arguments:
            if is_open and each is str:
                continue  # words that are known, and any other
            yield from _values(each, name, known)
    elif origin is Literal:
        for value in arguments:
            yield _Value(f"={str(value).lower() if isinstance(value, bool) else value}", value)
    elif typing_extensions.is_typeddict(kind):
        smallest = _smallest(kind, known)
        for word in _types_of(kind):
            yield _Value(f"[{word}]", {**smallest, "type": word}, kind)
        if not _types_of(kind):
            yield _Value("", smallest, kind)
    elif origin is not None and issubclass(origin, Mapping):
        yield _Value("", {})
    elif _is_list(kind):
        for each in _values(arguments[0], name, known):
            brackets = "" if each.label.startswith("[") else "[]"
            yield _Value(f"{brackets}{each.label}", [each.value], each.kind)
    elif kind in _SIMPLE:
        yield _Value("", known.get(name, _SIMPLE[kind]))


_SIMPLE: Final[dict[Any, Any]] = {str: "text", int: 1, float: 0.5, bool: True, object: {}}


def _plain(kind: Any) -> Any:
    """Return a type without the words around it that say nothing about its values."""
    while typing.get_origin(kind) in (typing.Annotated, typing.Required, typing.NotRequired):
        kind = typing.get_args(kind)[0]
    return kind


def _is_list(kind: Any) -> bool:
    origin = typing.get_origin(kind)
    if origin in (list, Iterable, Sequence):
        return True
    return getattr(origin or kind, "__name__", "") == "SequenceNotStr"


def _types_of(kind: Any) -> list[str]:
    """Return the words that the ``type`` of an object allows; they tell it from other objects."""
    return list(_words(_hints(kind).get("type", str)))


def _words(kind: Any) -> Iterator[str]:
    kind = _plain(kind)
    for each in typing.get_args(kind):
        if typing.get_origin(kind) is not Literal:
            yield from _words(each)
        elif isinstance(each, str):
            yield each


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    """Return the fields of an object with their types."""
    return typing_extensions.get_type_hints(kind, include_extras=True)


def _must_be_there(kind: Any, hint: Any) -> bool:
    # Not `__required_keys__`: it misses what is written as a text, as the SDK does.
    origin = typing.get_origin(hint)
    if kind.__total__:
        return origin is not typing.NotRequired
    return origin is typing.Required


def _smallest(kind: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with only the fields that must be there."""
    return {
        name: next(_values(hint, name, known), _Value("", None)).value
        for name, hint in sorted(_hints(kind).items())
        if _must_be_there(kind, hint)
    }


# -- asking ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Missing:
    """Something that is refused although the SDK can send it: what, with which status, and what the API says."""

    what: str
    status: int
    why: str


class Asker:
    """Asks an API of its own, in which there is one of each thing."""

    def __init__(self, api: LocalAPI) -> None:
        self._http = httpx2.Client(
            transport=api.transport(),
            base_url="http://localhost/v1",
            headers={"authorization": "Bearer none"},
        )
        file = self._http.post(
            "/files",
            files={"file": ("notes.md", b"The promised loss is 3.28.\n")},
            data={"purpose": "assistants"},
        ).json()["id"]
        store = self._post("/vector_stores", {"file_ids": [file]})
        batch = self._post(f"/vector_stores/{store}/file_batches", {"file_ids": [file]})
        conversation = self._post("/conversations", {})
        container = self._post("/containers", {"name": "a"})
        self.known: dict[str, Any] = {
            "file_id": file,
            "file_ids": file,
            "vector_store_id": store,
            "vector_store_ids": store,
            "batch_id": batch,
            "conversation_id": conversation,
            "conversation": conversation,
            "container": container,
            "container_id": container,
            "model": _MODEL,
            "code": "1",
            "parameters": {},
            "schema": {},
        }

    def _post(self, path: str, body: Mapping[str, Any]) -> str:
        return str(self._http.post(path, json=body).raise_for_status().json()["id"])

    def route(self, route: Route) -> str:
        """Return ``"yes"`` if a route is there, else the status that it answers with."""
        path = re.sub(r"{\w+}", "unknown", route.path)
        response = self._http.request(route.method, path, json={} if route.method == "POST" else None)
        code = response.json()["error"]["code"] if response.is_error else None
        is_there = response.status_code != 501 and code != "not_found"
        return _YES if is_there else str(response.status_code)

    def fields(self, route: Route) -> list[Missing]:
        """Return what a route refuses of the fields of its body and its query."""
        path = re.sub(r"{(\w+)}", lambda found: str(self.known.get(found[1], "unknown")), route.path)
        base = _BASE.get(route.path, {})

        def send_field(name: str, value: Any) -> httpx2.Response:
            return self._http.request(route.method, path, json={**base, name: value})

        def send_query(name: str, value: Any) -> httpx2.Response:
            text = str(value).lower() if isinstance(value, bool) else value
            return self._http.request(route.method, path, params={name: text}, json=base or None)

        missing: list[Missing] = []
        for name, kind in sorted(route.fields.items()):
            if name != "model":  # which models there are is in data/models.json
                missing += self._refused(name, name, kind, functools.partial(send_field, name))
        for name, kind in sorted(route.query.items()):
            missing += self._refused(f"?{name}", name, kind, functools.partial(send_query, name))
        return missing

    def _refused(
        self, path: str, name: str, kind: Any, send: Callable[[Any], httpx2.Response], depth: int = 0
    ) -> list[Missing]:
        """Return what is refused of a field: all of it, or some values, or fields inside it."""
        missing: list[Missing] = []
        whole = True
        for value in _values(kind, name, self.known):
            what = f"{path}{value.label}"
            found = _missing(what, name, send(value.value))
            inside = [found] if found else []
            if not found and value.kind is not None and depth < _DEEPEST:
                inside = self._refused_inside(what, value, send, depth)
            whole = whole and [each.what for each in inside] == [what]
            missing += inside
        if whole and missing and len({(each.status, each.why) for each in missing}) == 1:
            return [Missing(path, missing[0].status, missing[0].why)]
        return missing

    def _refused_inside(
        self, path: str, value: _Value, send: Callable[[Any], httpx2.Response], depth: int
    ) -> list[Missing]:
        is_list = isinstance(value.value, list)

        def send_inside(name: str, inner: Any) -> httpx2.Response:
            changed = {**(value.value[0] if is_list else value.value), name: inner}
            return send([changed] if is_list else changed)

        missing: list[Missing] = []
        hints = {name: kind for name, kind in sorted(_hints(value.kind).items()) if name != "type"}
        for name, kind in hints.items():
            if f"{path}.{name}" not in _NOT_ASKED:
                sender = functools.partial(send_inside, name)
                missing += self._refused(f"{path}.{name}", name, kind, sender, depth + 1)
        names = {each.what for each in missing}
        if names == {f"{path}.{name}" for name in hints} and len({each.why for each in missing}) == 1:
            # An object of which nothing is honoured; without a field in it, it asks for nothing.
            return [Missing(path, missing[0].status, missing[0].why)]
        return missing


def _missing(what: str, name: str, response: httpx2.Response) -> Missing | None:
    """Return what a refusal says, if it is one of this API's own and not one that OpenAI would give as well."""
    if not response.is_error:
        return None
    error = response.json()["error"]
    code, message = error["code"], error["message"]
    param = re.sub(r"\[\d+\]\Z", "", error["param"] or "").rpartition(".")[2]
    if response.status_code == 501:
        return Missing(what, 501, "It is not part of the recorded API yet.")
    if code == "unsupported_parameter" and "with this model" not in message:
        return Missing(what, 400, message.partition(". ")[2])
    if code == "unknown_parameter" and param == name:
        return Missing(what, 400, "It is not known here.")
    if code == "invalid_value" and (
        (param == name and "=" in what) or (param == "type" and what.endswith("]"))
    ):
        return Missing(what, 400, "It is not known here.")
    return None


# -- the table ------------------------------------------------------------------------------------------------------

_HEAD: Final = """\
# What the recorded API does not have

`python -m helpers.local_api missing` makes this page: it reads in the SDK (openai {version}) what OpenAI's API has, and
asks the recorded API for each of it. Do not change it by hand; after a change of the API:
`python -m helpers.local_api missing > helpers/local_api/NOT_THERE.md`.

Nothing is ignored. What is not here is refused: 501 for what this API may get one day, 400 for a field that it does not
honour, 404 for what OpenAI has shut down. A word in brackets is a `type`, as in `text.format[json_schema]`. There are no
WebSockets (`client.responses.connect()`, `client.realtime`).
"""


def _no_kernel(folder: Path, memory_bytes: int) -> Kernel:
    raise RuntimeError("Nothing is run for this table.")


def as_markdown() -> str:
    """Return the page ``NOT_THERE.md``. It takes a few seconds."""
    with contextlib.closing(LocalAPI(clock=lambda: 1_795_000_000.0, kernels=_no_kernel)) as api:
        asker = Asker(api)
        parts = [_HEAD.format(version=openai.__version__), "## Routes that the course touches\n"]
        answered: list[Route] = []
        rows = []
        for resource in RESOURCES:
            for route in sdk_routes(resource):
                answer = asker.route(route)
                rows.append((f"`client.{route.call}`", f"`{route.method} {route.path}`", answer))
                if answer == _YES:
                    answered.append(route)
        parts += [_table(("SDK", "route", "here"), rows), "## All other routes of the SDK\n"]
        parts.append(_table(("SDK", "routes", "here"), list(_other_rows(asker))))
        parts.append("## Fields of `POST /responses`\n")
        create = next(route for route in answered if route.call == "responses.create")
        found = asker.fields(create)
        parts.append(_table(("field", "here"), list(_field_rows(create, found))))
        parts.append("What is refused of it:\n")
        parts.append(_table(("field or value", "status", "why"), list(_rows(found))))
        parts.append("## Fields of the other routes\n")
        parts.append(
            "The items of conversations and `POST /responses/input_tokens` are refused what is refused above. Besides:\n"
        )
        same = {*found, *(replace(each, what=re.sub(r"\Ainput\[", "items[", each.what)) for each in found)}
        others = [
            (f"`{route.method} {route.path}`", *row)
            for route in answered
            if route is not create
            for row in _rows(each for each in asker.fields(route) if each not in same)
        ]
        parts.append(_table(("route", "field or value", "status", "why"), others))
    return "\n".join(parts)


def _other_rows(asker: Asker) -> Iterator[tuple[str, ...]]:
    for resource in top_resources():
        if resource in RESOURCES:
            continue
        answers = [asker.route(route) for route in sdk_routes(resource)]
        if answers:
            yield f"`client.{resource}`", str(len(answers)), ", ".join(sorted(set(answers)))


def _field_rows(route: Route, found: Sequence[Missing]) -> Iterator[tuple[str, ...]]:
    """Yield each field of a route with yes, no, or that a part of it is refused."""
    for name in sorted(route.fields):
        about = [each for each in found if re.match(rf"{name}\b", each.what)]
        if not about:
            yield f"`{name}`", _YES
        elif any(each.what == name for each in about):
            yield f"`{name}`", "no"
        else:
            yield f"`{name}`", "in part"


def _rows(found: Iterable[Missing]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each thing; values or types of one field that are refused for the same reason together."""
    together: dict[tuple[str, str, int, str], dict[str, None]] = {}
    for each in found:
        field, how, words = each.what, "", ""
        if "=" in field:
            field, how, words = field.partition("=")
        elif field.endswith("]") and not field.endswith("[]"):
            field, how, words = field[:-1].rpartition("[")
        together.setdefault((field, how, each.status, each.why), {})[words] = None
    for (field, how, status, why), values in together.items():
        named = ", ".join(f"`{value}`" for value in values if value)
        yield f"`{field}`{_HOWS[how]}{named}", str(status), why


_HOWS: Final = {"": "", "=": " = ", "[": " of type "}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
