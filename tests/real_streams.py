"""The local API beside the real one: every recorded exchange is played again, and what differs is named with a reason.

    python -m tests.real_streams    print the differences that remain, as Markdown

The model's part of a recording (queries, code and what came of it, calls, texts) becomes a recording of the local API;
then the recorded requests are sent, with the local ids in place of the recorded ones. Ids, times, the values of the
padding and where deltas are cut count as equal; whether they are there, and that an id means the same thing, does not.
Not here: the assertions (``tests/local_api/test_real_streams.py``).
"""

from __future__ import annotations

import base64
import difflib
import functools
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.local_api import LocalAPI
from tests.local_api.conftest import DATA, Clock, Raw, parse_events
from tests.local_api.kernels import Result

STREAMS = DATA / "real-streams"
FILES = sorted(path.stem for path in STREAMS.glob("*.json"))
DAY = "2026-11-23"
"""The day on which the requests are sent: models are shut down as time goes by."""

SUBSTITUTES = {"gpt-5.5": "gpt-5.6-luna"}
"""Models that the local API does not know, and which one is asked instead: the nearest with the same efforts and phases."""


@dataclass(frozen=True)
class Remaining:
    """A difference that remains, and why.

    Attributes:
        files: where it is seen.
        where: the field; ``response`` is a whole response, in a body or in an event.
        recorded: what OpenAI sent, as JSON; ``—`` for nothing, ``None`` for several values.
        local: what the local API sends, in the same way.
        why: the reason.
    """

    files: tuple[str, ...]
    where: str
    recorded: str | None
    local: str | None
    why: str


_NOTHING = "—"
_ALL = tuple(FILES)
_SNAPSHOT = (
    "OpenAI answers a model's general name with the dated copy behind it. `data/models.json` lists the general names; "
    "a date would be made up."
)
_ESTIMATE = "An estimate of 4 characters for each token, of what the local API sees. OpenAI also counts what it adds itself."
_NO_THOUGHT = (
    "This model did not think although it could. The local API shows a reasoning item for every model that reasons, so "
    "that learners meet one."
)
_RETENTION = (
    "OpenAI fills it in since spring 2026 (`conversation_function_call.json`); these recordings are older."
)

REMAINING: tuple[Remaining, ...] = (
    Remaining(
        _ALL,
        "response.metadata.workshop_source",
        _NOTHING,
        '"authored"',
        "It says that the text comes from a recording and not from a model.",
    ),
    Remaining(
        ("background_resume", "file_search"), "response.model", '"gpt-4o-2024-08-06"', '"gpt-4o"', _SNAPSHOT
    ),
    Remaining(("code_interpreter_image",), "response.model", '"gpt-5-2025-08-07"', '"gpt-5"', _SNAPSHOT),
    Remaining(
        ("conversation_function_call",), "response.model", '"gpt-4.1-2025-04-14"', '"gpt-4.1"', _SNAPSHOT
    ),
    Remaining(
        ("function_call",),
        "response.model",
        '"gpt-5.5-2026-04-23"',
        '"gpt-5.6-luna"',
        "The local API does not know gpt-5.5, so its successor is asked.",
    ),
    Remaining(
        ("function_call",),
        "response.top_p",
        "0.98",
        "1.0",
        "The usual value of gpt-5.5. Which one its successors have is not recorded.",
    ),
    Remaining(("function_call",), "events", _NOTHING, '"output_item.added (reasoning)"', _NO_THOUGHT),
    Remaining(("function_call",), "events", _NOTHING, '"output_item.done (reasoning)"', _NO_THOUGHT),
    Remaining(("function_call",), "response.output", _NOTHING, '"reasoning"', _NO_THOUGHT),
    Remaining(
        ("background_resume", "file_search"),
        "response.prompt_cache_retention",
        "null",
        '"in_memory"',
        _RETENTION,
    ),
    Remaining(
        ("background_resume",),
        "response.store",
        "false",
        "true",
        "The request does not say `store`, and in the other recordings it is true then. So it probably was made with an "
        "account for which OpenAI keeps nothing.",
    ),
    Remaining(_ALL, "response.usage.input_tokens", None, None, _ESTIMATE),
    Remaining(_ALL, "response.usage.output_tokens", None, None, _ESTIMATE),
    Remaining(_ALL, "response.usage.total_tokens", None, None, _ESTIMATE),
    Remaining(
        ("code_interpreter_image",),
        "response.usage.output_tokens_details.reasoning_tokens",
        "896",
        "0",
        "Only a thought that is recorded has tokens, and this one was not shown.",
    ),
)
"""A difference that is not here is a mistake, and so is one here that no longer exists."""


@dataclass(frozen=True)
class Newer:
    """A field that the recordings of these files do not have yet, and where it is seen first."""

    files: tuple[str, ...]
    where: str
    seen: str


_IN_SDK = "the types of the SDK"
_BEFORE_2026 = ("code_interpreter_image", "file_search")
_REASONS = ("code_interpreter_image", "function_call")

NEWER: tuple[Newer, ...] = (
    Newer(("code_interpreter_image",), "response.prompt_cache_retention", "file_search"),
    Newer(_BEFORE_2026, "response.completed_at", "background_resume"),
    Newer(_BEFORE_2026, "response.frequency_penalty", "background_resume"),
    Newer(_BEFORE_2026, "response.presence_penalty", "background_resume"),
    Newer((*_BEFORE_2026, "background_resume"), "response.moderation", "conversation_function_call"),
    Newer(_ALL, "response.access_programs", _IN_SDK),
    Newer(_ALL, "response.tool_usage", _IN_SDK),
    Newer(_ALL, "response.usage.input_tokens_details.cache_write_tokens", _IN_SDK),
    Newer(_REASONS, "response.reasoning.context", _IN_SDK),
    Newer(_REASONS, "response.reasoning.mode", _IN_SDK),
)

_ID = re.compile(
    r"\b(resp|msg|rs|fc|fs|ci|call|conv|file|vs|vsfb|cntr|cfile)([-_])(?=\w*\d)[0-9A-Za-z]{16,}\b"
)


@dataclass(frozen=True, order=True)
class Difference:
    """One place in which the two answers differ; ``—`` for what is not there."""

    file: str
    where: str
    recorded: str
    local: str


@dataclass(frozen=True)
class Answer:
    """What came back for one request: ``events`` if it was a stream, else ``body``."""

    request: str
    status: int
    body: Any
    events: list[dict[str, Any]]


def exchanges(file: str) -> list[dict[str, Any]]:
    """Return the recorded requests and responses of a file, in order."""
    loaded: list[dict[str, Any]] = json.loads((STREAMS / f"{file}.json").read_text(encoding="utf-8"))
    return loaded


# -- the recording --------------------------------------------------------------------------------------------------


def recording(recorded: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the model did in some recorded exchanges, as a recording of the local API."""
    turns: list[dict[str, Any]] = []
    for exchange in recorded:
        request, output = exchange["request"], _output(exchange["response"]["body"])
        if request["method"] != "POST" or not output:
            continue
        last = request["body"]["input"][-1]
        if last.get("role") == "user":
            turns.append(_turn(request["body"], last["content"]))
        turns[-1]["steps"] += [step for item in output for step in _steps(item)]
    return {"source": "authored", "exchanges": turns}


def _output(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the items of an answer, streamed or not; none if it is not the answer of a model."""
    return list((body["sse"][-1]["response"] if "sse" in body else body).get("output", []))


def _turn(body: dict[str, Any], question: str) -> dict[str, Any]:
    written_for = {"model": SUBSTITUTES.get(body["model"], body["model"])}
    if body.get("instructions"):
        written_for["instructions"] = body["instructions"]
    tools = [tool.get("name", tool["type"]) for tool in body.get("tools", [])]
    offered = {"tools": tools} if tools else {}
    return {"ask": question, "recorded_with": written_for, **offered, "steps": []}


def _steps(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if item["type"] == "message":
        yield {"say": _with_citations(item["content"][0])}
    elif item["type"] == "file_search_call":
        yield {"search": item["queries"]}
    elif item["type"] == "code_interpreter_call":
        yield {"run": item["code"]}
    elif item["type"] == "function_call":
        arguments = json.loads(item["arguments"])
        yield {"call": item["name"], **({"with": arguments} if arguments else {})}
    else:
        assert item["type"] == "reasoning", item["type"]
        assert item["summary"] == []


def _with_citations(part: dict[str, Any]) -> str:
    """Return a text with its citations written the way a recording writes them."""
    text: str = part["text"]
    for annotation in reversed(part["annotations"]):
        if annotation["type"] == "file_citation":
            place = annotation["index"]
            text = f"{text[:place]} [{annotation['filename']}]{text[place:]}"
    return text


class RecordedKernel:
    """A kernel whose code gives what it gave when it was recorded, and leaves the files to which the answer links."""

    def __init__(self, items: list[dict[str, Any]], folder: Path) -> None:
        self._outputs = {item["code"]: item["outputs"] for item in items if "code" in item}
        self._files = [
            annotation["filename"]
            for item in items
            for part in item.get("content", [])
            for annotation in part["annotations"]
            if annotation["type"] == "container_file_citation" and annotation["end_index"]
        ]
        self._folder = folder

    def run(self, code: str) -> Result:
        """Return the recorded result of ``code``."""
        for name in self._files:
            (self._folder / name).write_bytes(b"a file")
        outputs = self._outputs[code]
        images = [each["url"].partition(",")[2] for each in outputs if each["type"] == "image"]
        logs = "".join(each["logs"] for each in outputs if each["type"] == "logs")
        return Result(logs, [base64.b64decode(image) for image in images])

    def interrupt(self) -> None:
        """End nothing: nothing runs."""

    def close(self) -> None:
        """Close nothing."""


# -- playing --------------------------------------------------------------------------------------------------------


def recorded_answers(file: str) -> list[Answer]:
    """Return what OpenAI sent."""
    found = []
    for exchange in exchanges(file):
        request, response = exchange["request"], exchange["response"]
        body = response["body"]
        events = body.get("sse", [])
        found.append(Answer(_name(request), response["status"], None if events else body, events))
    return found


def local_answers(file: str) -> list[Answer]:
    """Play the requests of a file on a local API of its own, and return what it sent."""
    recorded = exchanges(file)
    items = [item for exchange in recorded for item in _output(exchange["response"]["body"])]
    found: list[Answer] = []
    with tempfile.TemporaryDirectory() as folder:
        # JSON is YAML.
        Path(folder, "turns.yaml").write_text(json.dumps(recording(recorded)), encoding="utf-8")
        api = LocalAPI(
            recordings=Path(folder),
            clock=Clock(),
            kernels=lambda inside, _: RecordedKernel(items, inside),
        )
        raw = Raw(api)
        try:
            for number, exchange in enumerate(recorded):
                mine = {name: each for each, name in _ids(found).items()}
                theirs = _ids(recorded_answers(file)[:number])
                known = {each: mine[name] for each, name in theirs.items() if name in mine}
                found.append(_send(raw, exchange["request"], known))
        finally:
            raw.http.close()
            api.close()
    return found


def _send(raw: Raw, request: dict[str, Any], known: dict[str, str]) -> Answer:
    """Send a recorded request, with the ids that the local API gave instead of the recorded ones."""
    body, path = request["body"], _localized(request["path"], known).removeprefix("/v1")
    if isinstance(body, dict):
        body = json.loads(_localized(json.dumps(body), known))
        if "model" in body:
            body["model"] = SUBSTITUTES.get(body["model"], body["model"])
        response = raw.http.request(request["method"], path, json=body)
    elif body:
        boundary = body.partition("\r\n")[0].removeprefix("--")
        response = raw.http.request(
            request["method"],
            path,
            content=body.encode(),
            headers={"content-type": f"multipart/form-data; boundary={boundary}"},
        )
    else:
        response = raw.http.request(request["method"], path)
    streamed = response.headers["content-type"].startswith("text/event-stream")
    return Answer(
        _name(request),
        response.status_code,
        None if streamed else response.json(),
        parse_events(response.text) if streamed else [],
    )


def _name(request: dict[str, Any]) -> str:
    path = _ID.sub(r"{\1}", request["path"]).removeprefix("/v1")
    return f"{request['method']} {path.partition('?')[0]}"


def _localized(text: str, known: dict[str, str]) -> str:
    return _ID.sub(lambda found: known.get(found[0], found[0]), text)


# -- comparing ------------------------------------------------------------------------------------------------------


def _ids(answers: list[Answer]) -> dict[str, str]:
    """Return the ids in some answers, each with a name that says which of its kind it is: ``msg 1``."""
    names: dict[str, str] = {}
    counts: dict[str, int] = {}
    for answer in answers:
        for found in _ID.finditer(json.dumps([answer.body, answer.events])):
            if found[0] not in names:
                counts[found[1]] = counts.get(found[1], 0) + 1
                names[found[0]] = f"<{found[1]}{found[2]} {counts[found[1]]}, {len(found[0])} characters>"
    return names


def _comparable(value: Any, ids: dict[str, str], key: str = "") -> Any:
    """Return a value in which ids, times and what is random are named instead of shown."""
    if isinstance(value, dict):
        return {name: _comparable(each, ids, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_comparable(each, ids) for each in value]
    if key.endswith("_at") and isinstance(value, int):
        return "<time>"
    if key in {"obfuscation", "encrypted_content"} and value:
        return f"<{key}>"
    return _ID.sub(lambda found: ids[found[0]], value) if isinstance(value, str) else value


def _merged(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events with each run of deltas as one, and without numbers, which are looked at on the way."""
    first = events[0]["sequence_number"]
    places: dict[str, int] = {}
    merged: list[dict[str, Any]] = []
    for number, event in enumerate(events, first):
        assert event["sequence_number"] == number, event
        event = {name: value for name, value in event.items() if name != "sequence_number"}
        if "output_index" in event:
            item_id = event["item"]["id"] if "item" in event else event["item_id"]
            assert event.pop("output_index") == places.setdefault(item_id, len(places)), event
        if merged and event["type"] == merged[-1]["type"] and "delta" in event:
            assert set(event) == set(merged[-1]), event
            event["delta"] = merged.pop()["delta"] + event["delta"]
        merged.append(event)
    merged[0]["sequence_number"] = first
    return merged


def _label(value: Any) -> str:
    """Return by what two parts of a list are taken for each other."""
    if not isinstance(value, dict):
        return json.dumps(value)
    kind = str(value.get("type", "")).removeprefix("response.")
    return f"{kind} ({value['item']['type']})" if "item" in value else kind


def _differences(path: str, recorded: Any, local: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(recorded, dict) and isinstance(local, dict):
        for name in dict.fromkeys([*recorded, *local]):
            place = f"{path}.{name}" if path else name
            if name not in local:
                yield place, recorded[name], ...
            elif name not in recorded:
                yield place, ..., local[name]
            else:
                yield from _differences(place, recorded[name], local[name])
    elif isinstance(recorded, list) and isinstance(local, list):
        theirs, mine = [_label(each) for each in recorded], [_label(each) for each in local]
        for what, start, stop, begin, end in difflib.SequenceMatcher(
            None, theirs, mine, autojunk=False
        ).get_opcodes():
            if what == "equal":
                for one, other in zip(recorded[start:stop], local[begin:end], strict=True):
                    yield from _differences(f"{path}[{_label(one)}]", one, other)
                continue
            for label in theirs[start:stop]:
                yield path, label, ...
            for label in mine[begin:end]:
                yield path, ..., label
    elif type(recorded) is not type(local) or recorded != local:
        yield path, recorded, local


def _shown(value: Any) -> str:
    if value is ...:
        return _NOTHING
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:99]}…"


def compare(file: str, recorded: list[Answer], local: list[Answer]) -> list[Difference]:
    """Return where two lists of answers to the same requests differ, each place once."""
    theirs, mine = _ids(recorded), _ids(local)
    found: dict[Difference, None] = {}
    for one, other in zip(recorded, local, strict=True):
        pairs = [(f"{one.request}: status", one.status, other.status)] if one.status != other.status else []
        if one.events and other.events:
            pairs += _differences(
                "events",
                _comparable(_merged(one.events), theirs),
                _comparable(_merged(other.events), mine),
            )
        else:
            pairs += _differences(
                f"{one.request}: body",
                _comparable(one.body, theirs),
                _comparable(other.body, mine),
            )
        for where, ours, its in pairs:
            # A response is the same thing wherever it is shown.
            place = re.sub(r"^(events\[[\w.]+\]\.response|POST /responses: body)\b", "response", where)
            found[Difference(file, place, _shown(ours), _shown(its))] = None
    return list(found)


@functools.cache
def differences(file: str) -> list[Difference]:
    """Return where the local API differs from the recordings of a file."""
    return compare(file, recorded_answers(file), local_answers(file))


# -- the table ------------------------------------------------------------------------------------------------------


def is_newer(found: Difference) -> bool:
    """Return whether it is a field that is newer than the recording."""
    return found.recorded == _NOTHING and any(
        found.file in newer.files and found.where == newer.where for newer in NEWER
    )


def reason(found: Difference) -> Remaining | None:
    """Return the row that explains a difference, if there is one."""
    for row in REMAINING:
        if found.file in row.files and found.where == row.where:
            values = zip((row.recorded, row.local), (found.recorded, found.local), strict=True)
            if all(known is None or known == value for known, value in values):
                return row
    return None


def without_reason() -> list[Difference]:
    """Return the differences that nobody has explained."""
    return [
        each for file in FILES for each in differences(file) if not is_newer(each) and reason(each) is None
    ]


def out_of_date() -> list[tuple[str, str]]:
    """Return the file and field of every explanation for which there is no difference any more."""
    found = [each for file in FILES for each in differences(file)]
    explained = {(each.file, row) for each in found if (row := reason(each))}
    newer = {(each.file, each.where) for each in found if is_newer(each)}
    return [
        *((file, row.where) for row in REMAINING for file in row.files if (file, row) not in explained),
        *((file, row.where) for row in NEWER for file in row.files if (file, row.where) not in newer),
    ]


def table() -> str:
    """Return what was compared and what differs, as Markdown."""
    lines = ["| file | exchanges | events | differences | newer fields |", "|---|---|---|---|---|"]
    for file in FILES:
        answers, found = recorded_answers(file), differences(file)
        newer = sum(is_newer(each) for each in found)
        events = sum(len(answer.events) for answer in answers)
        lines.append(f"| {file} | {len(answers)} | {events} | {len(found) - newer} | {newer} |")
    lines += ["", "| file | what | recorded | local | why |", "|---|---|---|---|---|"]
    for row in REMAINING:
        seen = [each for file in row.files for each in differences(file) if reason(each) == row]
        recorded = ", ".join(dict.fromkeys(each.recorded for each in seen))
        local = ", ".join(dict.fromkeys(each.local for each in seen))
        lines.append(f"| {_files(row.files)} | `{row.where}` | {recorded} | {local} | {row.why} |")
    lines += [
        f"| {each.file} | `{each.where}` | {each.recorded} | {each.local} | **no reason is known** |"
        for each in without_reason()
    ]
    lines += ["", "| not yet in | newer field | seen first in |", "|---|---|---|"]
    lines += [f"| {_files(row.files)} | `{row.where}` | {row.seen} |" for row in NEWER]
    return "\n".join(lines)


def _files(files: tuple[str, ...]) -> str:
    return "all" if files == _ALL else ", ".join(files)


def main() -> int:
    """Print the table; return 1 if it has a difference without a reason, or a reason without a difference."""
    os.environ["WORKSHOP_TODAY"] = DAY
    print(table())
    for file, where in out_of_date():
        print(f"\nNo longer different, so take it out of the table: {where} in {file}")
    return int(bool(without_reason() or out_of_date()))


if __name__ == "__main__":
    sys.exit(main())
