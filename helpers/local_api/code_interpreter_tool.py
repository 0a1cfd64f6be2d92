"""The code interpreter in a response: reading the tool, running code when its event is read, and what follows from it.

Code runs once for each step of a response; its result is kept, so that a stream which is read again says the same. Here
are also the texts that depend on it: numbers that a recording takes from the output, links to files that were written,
and what is said instead if the output is not as recorded. Not here: containers (``containers.py``), the kernel
(``sandbox.py``).
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from helpers.local_api import items, tools
from helpers.local_api.checks import Fields, required
from helpers.local_api.citing import CODE, PLACEHOLDER
from helpers.local_api.container_files import MOUNTED_AT
from helpers.local_api.containers import (
    Container,
    Containers,
    Kernel,
    read_file_ids,
    read_memory_limit,
    read_network_policy,
)
from helpers.local_api.errors import invalid, not_found, shown, unsupported
from helpers.local_api.items import Item
from helpers.local_api.players import PLAYERS, CodeRun, Event, Stage, message, refusal
from helpers.local_api.schemas import misfit
from helpers.local_api.state import State, Transaction
from helpers.local_api.tokens import estimate, pieces
from helpers.local_api.turns import Run, Say, Show

NAME: Final = "code_interpreter"
INCLUDE: Final = "code_interpreter_call.outputs"
CALL: Final = "code_interpreter_call"
RUNS_NEXT: Final = "response.code_interpreter_call.interpreting"
"""After this event the code runs, so the next one can take a while."""
TABLES: Final = (
    """create table if not exists code_runs (
        response text not null, position integer not null, result text not null, unique (response, position)
    )""",
)
TABULAR: Final = (".csv", ".tsv", ".xlsx")

_AUTO_NAME: Final = "auto"
_LONGEST_SHOWN: Final = 8_000

Tool = Mapping[str, Any]


# -- what a request says --------------------------------------------------------------------------------------------


def _read_tool(fields: Fields) -> dict[str, Any]:
    """Return the tool as the API echoes it (tests/data/real-streams/code_interpreter_image.json)."""
    fields.only(("type", "container", "allowed_callers"))
    if fields.values.get("allowed_callers") not in (None, ["direct"]):
        raise unsupported(fields.name("allowed_callers"), "The recorded API does not have it.")
    value = required(fields.values.get("container"), fields.name("container"))
    if isinstance(value, str):
        return {"type": NAME, "container": fields.text("container")}
    if not isinstance(value, dict):
        raise fields.wrong_type("container", "one of a string or object")
    auto = Fields(value, fields.name("container"))
    auto.only(("type", "file_ids", "memory_limit", "network_policy"))
    container: dict[str, Any] = {"type": required(auto.choice("type", ("auto",)), auto.name("type"))}
    file_ids, memory_limit, policy = read_file_ids(auto), read_memory_limit(auto), read_network_policy(auto)
    if auto.values.get("file_ids") is not None:
        container["file_ids"] = file_ids
    if memory_limit:
        container["memory_limit"] = memory_limit
    if policy:
        container["network_policy"] = policy
    return {"type": NAME, "container": container}


def _read_call(fields: Fields, new_id: Callable[[str], str]) -> Item:
    """Return a call that is sent back as input, the way a history by hand does it."""
    fields.only(("type", "id", "code", "container_id", "outputs", "status"))
    fields.text("id")
    fields.choice("status", ("in_progress", "completed", "incomplete", "interpreting", "failed"))
    container_id = required(fields.text("container_id"), fields.name("container_id"))
    outputs = fields.array("outputs")
    for index, output in enumerate(outputs or []):
        name = f"{fields.name('outputs')}[{index}]"
        each = required(Fields({name: output}).object(name), name)
        kind = required(each.choice("type", ("image", "logs")), f"{name}.type")
        each.only(("type", "logs" if kind == "logs" else "url"))
        required(
            each.text("logs" if kind == "logs" else "url"), f"{name}.{'logs' if kind == 'logs' else 'url'}"
        )
    return {
        "id": new_id("ci"),
        "type": CALL,
        "status": "completed",
        "code": fields.text("code"),
        "container_id": container_id,
        "outputs": outputs,
    }


tools.READERS[NAME] = _read_tool
items.READERS[CALL] = _read_call


# -- texts that depend on code --------------------------------------------------------------------------------------


def filled(step: Say, found: Mapping[str, str]) -> Say:
    """Put what code printed into the places of a recorded text, and move the citations behind them along.

    Only names that were found are replaced, and nothing in `backticks`: other braces stay as they are.

    Example:
        >>> filled(Say('It is {loss} {"a": 1} `{loss}`.'), {"loss": "3.28"}).text
        'It is 3.28 {"a": 1} `{loss}`.'
    """
    if not found:
        return step
    code = [span.span() for span in CODE.finditer(step.text)]
    text, end = "", 0
    moved = [dict(each) for each in step.annotations]
    for place in PLACEHOLDER.finditer(step.text):
        inside_code = any(start < place.end() and place.start() < stop for start, stop in code)
        if place[1] not in found or inside_code:
            continue
        value = found[place[1]]
        text += step.text[end : place.start()] + value
        end = place.end()
        for annotation, original in zip(moved, step.annotations, strict=True):
            if original["index"] >= place.end():
                annotation["index"] += len(value) - len(place[0])
    return Say(text + step.text[end:], moved)


def file_citations(text: str, container_id: str, files: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return an annotation for every link to a file of the container; it covers the link's target, as live."""
    found = []
    for path, file_id in files.items():
        for written in dict.fromkeys((path, quote(path))):
            target = f"sandbox:{MOUNTED_AT}/{written}"
            for place in re.finditer(rf"(?<=\]\(){re.escape(target)}(?=\))", text):
                found.append(_citation(container_id, file_id, path.rpartition("/")[2], *place.span()))
    return sorted(found, key=lambda each: each["start_index"])


def _citation(container_id: str, file_id: str, filename: str, start: int, end: int) -> dict[str, Any]:
    return {
        "type": "container_file_citation",
        "container_id": container_id,
        "end_index": end,
        "file_id": file_id,
        "filename": filename,
        "start_index": start,
    }


def _closing_annotations(stage: Stage, text: str) -> list[dict[str, Any]]:
    """Return what comes after the last delta: plots that were shown since the last message, then links to files."""
    plots = [_citation(stage.container_id, plot, f"{plot}.png", 0, 0) for plot in stage.plots]
    stage.plots = []
    return [*plots, *file_citations(text, stage.container_id, stage.files)]


# -- the events -----------------------------------------------------------------------------------------------------


def _play_run(stage: Stage, step: Run, is_last: bool) -> Iterator[Event]:
    outputs: list[dict[str, str]] | None = [] if stage.shows_outputs else None
    item = stage.new_item(
        "ci", type=CALL, status="in_progress", code="", container_id=stage.container_id, outputs=outputs
    )
    yield stage.added(dict(item))
    yield stage.about(item, f"response.{CALL}.in_progress")
    code = stage.spend(step.code)
    for piece in pieces(code):
        yield stage.padded(stage.about(item, f"response.{CALL}_code.delta", delta=piece))
    if stage.is_cut:
        # The model was cut off while it wrote the code, so nothing runs.
        yield stage.done({**item, "status": "incomplete", "code": code})
        return
    yield stage.about(item, f"response.{CALL}_code.done", code=code)
    yield stage.about(item, RUNS_NEXT)
    assert stage.run_code is not None
    run = stage.run_code(stage.response_id, stage.position, stage.container_id, code)
    stage.tokens_read += estimate(run.logs)
    stage.files, stage.plots = run.files, [*stage.plots, *run.plots]
    stage.printed = run.logs
    groups = found_groups(step, run)
    stage.mismatch = groups is None
    stage.found |= groups or {}
    yield stage.about(item, f"response.{CALL}.completed")
    status = "failed" if run.broken else "completed"
    yield stage.done(
        {
            **item,
            "status": status,
            "code": code,
            "outputs": run.outputs if stage.shows_outputs else None,
        }
    )


def found_groups(step: Run, run: CodeRun) -> dict[str, str] | None:
    """Return the named groups that a pattern found in the output; ``None`` if it did not match."""
    if step.prints is None:
        return {}
    found = re.search(step.prints, run.logs)
    return None if found is None else {name: text or "" for name, text in found.groupdict().items()}


def _play_say(stage: Stage, step: Say, is_last: bool) -> Iterator[Event]:
    step = filled(step, stage.found)
    if is_last and stage.form and misfit(step.text, stage.form):
        # What code printed made it something else than was asked for, so it is not said.
        stage.mismatch = True
        return iter(())
    return message(stage, step.text, is_last, step.annotations, _closing_annotations(stage, step.text))


def _play_show(stage: Stage, step: Show, is_last: bool) -> Iterator[Event]:
    if step.refuses:
        return refusal(stage, f"{step.opening}{step.closing}", is_last)
    block = fenced(stage.printed, _LONGEST_SHOWN, "the rest is in the output of the code")
    text = f"{step.opening}\n\n{block}{step.closing}"
    return message(stage, text, is_last, step.annotations, _closing_annotations(stage, text))


def fenced(text: str, longest: int, rest: str) -> str:
    """Return an output as a block of code: whatever it says, it is neither formatted, nor loaded, nor obeyed.

    Args:
        text: the output.
        longest: how many characters of it are shown.
        rest: where the others are, such as ``"the rest is in the output of the code"``.
    """
    text = text.rstrip()
    if len(text) > longest:
        text = f"{text[:longest]}\n… ({rest})"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text or '(nothing)'}\n{fence}"


PLAYERS[Run] = _play_run
PLAYERS[Say] = _play_say
PLAYERS[Show] = _play_show


# -- running --------------------------------------------------------------------------------------------------------


class CodeInterpreter:
    """Runs code for responses.

    Args:
        state: opened with :data:`TABLES`.
        containers: where code runs.
    """

    def __init__(self, state: State, containers: Containers) -> None:
        self._state = state
        self._containers = containers
        self._working: dict[str, Kernel] = {}

    def check(self, offered: Sequence[Tool], input_items: Sequence[Item]) -> None:
        """Refuse a request whose container or files are not there.

        An expired container is refused as live when it is named, or in a call that was sent back by hand
        (https://github.com/pydantic/pydantic-ai/issues/7461).
        """
        using = _using(offered)
        if len(using) > 1:
            raise invalid("Only one 'code_interpreter' tool can be offered.", param="tools")
        for index, tool in enumerate(offered):
            if tool["type"] != NAME:
                continue
            name, container = f"tools[{index}].container", tool["container"]
            if isinstance(container, str):
                self._check_running(container, name)
            else:
                self._containers.files.check_uploads(container.get("file_ids", []), f"{name}.file_ids")
        for index, item in enumerate(input_items):
            if item["type"] == CALL:
                self._check_running(item["container_id"], f"input[{index}].container_id")

    def _check_running(self, container_id: str, param: str) -> None:
        found = self._containers.find(container_id)
        if found is None:
            error = not_found("Container", container_id)
            error.param = param
            raise error
        if found.status != "running":
            raise invalid(
                f"Expected container_id: {shown(container_id)} to be running, but it is expired. Its files are gone; use "
                "a new container.",
                param=param,
            )

    def container(self, offered: Sequence[Tool], context: Sequence[Item]) -> Container:
        """Return the container for a response: the one that is named, one used before that still runs, or a new one.

        Args:
            offered: the tools of the request.
            context: the items that the model can see, oldest first.
        """
        (tool,) = _using(offered)
        wanted = tool["container"]
        if isinstance(wanted, str):
            return self._containers.use(wanted)
        file_ids = wanted.get("file_ids", [])
        memory_limit = wanted.get("memory_limit")
        param = "tools[0].container.file_ids"
        earlier = self._earlier(context, memory_limit)
        if earlier is None:
            return self._containers.make(_AUTO_NAME, file_ids, memory_limit=memory_limit, param=param)
        container = self._containers.use(earlier.id)
        uploads = self._containers.files.check_uploads(file_ids, param)
        self._containers.files.copy_uploads(container.id, container.folder, uploads)
        return container

    def _earlier(self, context: Sequence[Item], memory_limit: str | None) -> Container | None:
        ids = dict.fromkeys(item["container_id"] for item in reversed(context) if item.get("type") == CALL)
        for container_id in ids:
            found = self._containers.find(container_id)
            if found and found.status == "running" and memory_limit in (None, found.memory_limit):
                return found
        return None

    def tables(self, offered: Sequence[Tool], context: Sequence[Item]) -> list[str]:
        """Return the names of the tables that code would find in its folder, those of this request first."""
        using = _using(offered)
        if not using:
            return []
        wanted = using[0]["container"]
        container: Container | None
        names: list[str] = []
        if isinstance(wanted, str):
            container = self._containers.find(wanted)
        else:
            uploads = self._containers.files.check_uploads(wanted.get("file_ids", []), "tools")
            names = [upload.filename for upload in uploads]
            container = self._earlier(context, wanted.get("memory_limit"))
        if container and container.status == "running":
            there = self._containers.files.all(container.id)
            ids = set() if isinstance(wanted, str) else set(wanted.get("file_ids", []))
            # In a container that is used again, a file may have another name than the one that it was uploaded with.
            names = [file.path for file in there if file.upload in ids] or names
            names += [file.path for file in reversed(there) if not file.apart]
        return [name for name in dict.fromkeys(names) if name.lower().endswith(TABULAR)]

    def run(self, response_id: str, position: int, container_id: str, code: str) -> CodeRun:
        """Run the code of one step of a response, or return what came of it when it ran before.

        Args:
            response_id: whose code it is.
            position: which of its steps.
            container_id: where to run it.
            code: the code.
        """
        with self._containers.turn_of(container_id):
            known = self._known(response_id, position)
            if known:
                return known
            container = self._containers.use(container_id)
            kernel = self._containers.kernel(container)
            self._working[response_id] = kernel
            try:
                result = kernel.run(code)
            except BaseException:
                # An interrupt of the cell must not leave the code running.
                kernel.interrupt()
                raise
            finally:
                self._working.pop(response_id, None)
            self._containers.use(container_id)
            files, plots = self._containers.files.collect(container_id, container.folder, result.images)
            logs = (
                result.logs
                if not result.why or result.why in result.logs
                else _joined(result.logs, result.why)
            )
            images = [
                {"type": "image", "url": f"data:image/png;base64,{base64.b64encode(image).decode()}"}
                for image in result.images
            ]
            run = CodeRun(
                logs=logs,
                outputs=[*images, *([{"type": "logs", "logs": logs}] if logs else [])],
                files=files,
                plots=plots,
                broken=result.failed and bool(result.why),
            )
            with self._state.transaction() as transaction:
                transaction.execute(
                    "insert or replace into code_runs values (?, ?, ?)",
                    (response_id, position, json.dumps(dataclasses.asdict(run))),
                )
            return run

    def _known(self, response_id: str, position: int) -> CodeRun | None:
        with self._state.transaction() as transaction:
            row = transaction.execute(
                "select result from code_runs where response = ? and position = ?", (response_id, position)
            ).fetchone()
        return None if row is None else CodeRun(**json.loads(row[0]))

    @property
    def busy(self) -> bool:
        """Whether code runs just now."""
        return bool(self._working)

    def forget(self, transaction: Transaction, response_id: str) -> None:
        """Forget what came of the code of a response that is not kept."""
        transaction.execute("delete from code_runs where response = ?", (response_id,))

    def interrupt(self, response_id: str) -> None:
        """End the code that runs for a response just now, if any. It can be called from any thread, at any moment."""
        kernel = self._working.get(response_id)
        if kernel is not None:
            kernel.interrupt()


def _joined(logs: str, why: str) -> str:
    return f"{logs.rstrip()}\n{why}" if logs.strip() else why


def _using(offered: Sequence[Tool]) -> list[Tool]:
    return [tool for tool in offered if tool["type"] == NAME]
