"""Recordings: the files in which a model's turns are written, and what can be wrong in them.

Here live the form of a file, its loading and its checks; ``data/recordings/README.md`` explains the form to people.
Files are read when they are first needed, and again when they have changed. Not here: choosing an exchange for a
question (``matching.py``).
"""

from __future__ import annotations

import ast
import datetime as dt
import functools
import os
import re
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from helpers.local_api.citing import CODE, PLACEHOLDER, citations, mistakes
from helpers.local_api.turns import Call, Calls, Refuse, Run, Say, Search, Step, Think
from helpers.local_api.yaml_nodes import Node, Problem, Reader

DEFAULT_MODEL: Final = "gpt-6-luna"

_FILE_KEYS: Final = ("source", "model", "date", "recorded_with", "exchanges")
_EXCHANGE_KEYS: Final = ("ask", "tools", "when", "after", "recorded_with", "model", "date", "steps")
_WHEN_KEYS: Final = ("description", "instructions", "model")
_STEP_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "say": ("say",),
    "refuse": ("refuse",),
    "think": ("think",),
    "search": ("search",),
    "run": ("run", "prints"),
    "call": ("call", "with", "prints"),
}
_ALL_STEP_KEYS: Final = tuple(dict.fromkeys(key for keys in _STEP_KEYS.values() for key in keys))
_SANDBOX_LINK: Final = re.compile(r"\]\(sandbox:/mnt/data/[^)\n]+\)")
_OTHER_LINK: Final = re.compile(r"\]\((?:sandbox:(?!/mnt/data/[^)])|/?mnt/data/)[^)\n]*\)")


@dataclass(frozen=True)
class Source:
    """Who wrote the turns of a file: people (``"authored"``), or a model on a day (``"captured"``)."""

    kind: str
    model: str | None = None
    date: str | None = None


@dataclass(frozen=True)
class RecordedWith:
    """The instructions and the model for which a turn was written."""

    instructions: str | None = None
    model: str = DEFAULT_MODEL


@dataclass(frozen=True)
class Exchange:
    """One question and the steps that answer it."""

    ask: str
    steps: tuple[Step, ...]
    file: Path
    line: int
    source: Source
    recorded_with: RecordedWith = RecordedWith()
    tools: frozenset[str] = frozenset()
    when: Mapping[str, str] = field(default_factory=dict)
    after: str | None = None

    @property
    def conditions(self) -> int:
        """How many conditions it has: each ``when``, and ``after``."""
        return len(self.when) + (self.after is not None)

    @property
    def place(self) -> str:
        """File and line, for messages."""
        return f"{self.file}:{self.line}"


@functools.lru_cache(maxsize=4096)  # every recorded question is compared at every request
def normalised(text: str) -> str:
    """Return a text as questions are compared: NFKC, case folded, white space joined, no punctuation at its end.

    Example:
        >>> normalised("  What is\\n GPT2?! ") == normalised("what is gpt2")
        True
    """
    folded = folded_text(text)
    end = len(folded)
    while end and (folded[end - 1].isspace() or unicodedata.category(folded[end - 1]).startswith("P")):
        end -= 1
    # A question that is nothing but punctuation stays what it is.
    return folded[:end] or folded


def folded_text(text: str) -> str:
    """Return a text after NFKC, case folding and joining of white space."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


# -- one file -------------------------------------------------------------------------------------------------------


def read_file(path: Path, content: bytes) -> tuple[list[Exchange], list[Problem]]:
    """Return the exchanges of a file, and everything that is wrong in it.

    Args:
        path: only for the messages.
        content: the bytes of the file.
    """
    reader = Reader(path)
    document = reader.document(content)
    top = None if document is None else reader.mapping(document, "the file", _FILE_KEYS)
    if document is None or top is None:
        return [], reader.problems
    source, default = _read_head(reader, top, document.line)
    if "exchanges" not in top:
        reader.problem(document.line, "there are no `exchanges`. Add the list, with at least one `- ask: |`.")
        return [], reader.problems
    nodes = reader.sequence(
        top["exchanges"], "exchanges", "exchanges: and then `- ask: |` for each question."
    )
    if nodes == []:
        reader.problem(top["exchanges"].line, "the list of exchanges is empty. Add at least one `- ask: |`.")
    exchanges = [_read_exchange(reader, node, source, default) for node in nodes or []]
    return [exchange for exchange in exchanges if exchange], sorted(reader.problems)


def read_head(path: Path, content: bytes) -> tuple[Source, RecordedWith]:
    """Return what the head of a file without problems says about all of its exchanges."""
    reader = Reader(path)
    document = reader.document(content)
    top = (None if document is None else reader.mapping(document, "the file", _FILE_KEYS)) or {}
    return _read_head(reader, top, 1)


def _read_head(reader: Reader, top: Mapping[str, Node], line: int) -> tuple[Source, RecordedWith]:
    source, default = _read_source(reader, top, line), RecordedWith()
    if "recorded_with" in top:
        default = _read_recorded_with(reader, top["recorded_with"], default)
    return source, default


def _read_source(reader: Reader, top: Mapping[str, Node], line: int) -> Source:
    node = top.get("source")
    kind = None if node is None else reader.text(node, "source")
    if node is None:
        reader.problem(line, "there is no `source`. Write `source: authored` if people wrote these answers.")
    elif kind is not None and kind not in {"authored", "captured"}:
        reader.problem(node.line, f"source is 'authored' or 'captured', not {kind!r}.")
    if kind != "captured":
        for name in ("model", "date"):
            if name in top:
                reader.problem(top[name].line, f"{name!r} belongs to `source: captured` only. Remove it.")
        return Source("authored")
    model = reader.text(top["model"], "model") if "model" in top else None
    date = _read_date(reader, top["date"]) if "date" in top else None
    for name in ("model", "date"):
        if name not in top:
            reader.problem(
                line, f"a captured file also says {name}: which model answered, and when (YYYY-MM-DD)."
            )
    return Source("captured", model, date)


def _read_own_source(reader: Reader, fields: Mapping[str, Node], source: Source) -> Source:
    """Return the source of one exchange: that of its file, with its own model and date if it has them."""
    if source.kind != "captured":
        for name in ("model", "date"):
            if name in fields:
                reader.problem(fields[name].line, f"{name!r} belongs to `source: captured` only. Remove it.")
        return source
    model = reader.text(fields["model"], "model") if "model" in fields else source.model
    date = _read_date(reader, fields["date"]) if "date" in fields else source.date
    return Source("captured", model, date)


def _read_date(reader: Reader, node: Node) -> str | None:
    try:
        # A date may stand without quotes here: nothing else is meant.
        return dt.date.fromisoformat(node.written).isoformat()
    except ValueError:
        reader.problem(node.line, f"date must be a day like 2026-11-23, not {node.written!r}.")
        return None


def _read_recorded_with(reader: Reader, node: Node, default: RecordedWith) -> RecordedWith:
    fields = reader.mapping(node, "recorded_with", ("instructions", "model")) or {}
    instructions, model = default.instructions, default.model
    if "instructions" in fields:
        instructions = reader.text(fields["instructions"], "instructions", may_be_empty=True) or None
    if "model" in fields:
        model = reader.text(fields["model"], "model") or model
    return RecordedWith(instructions, model)


def _read_exchange(reader: Reader, node: Node, source: Source, default: RecordedWith) -> Exchange | None:
    fields = reader.mapping(node, "an exchange", _EXCHANGE_KEYS)
    if fields is None:
        return None
    for name in ("ask", "steps"):
        if name not in fields:
            reader.problem(node.line, f"this exchange has no {name!r}. Add `{name}:`.")
    ask = reader.text(fields["ask"], "ask") if "ask" in fields else None
    steps = _read_steps(reader, fields["steps"]) if "steps" in fields else []
    tools = reader.texts(fields["tools"], "tools") if "tools" in fields else []
    after = reader.text(fields["after"], "after") if "after" in fields else None
    when = _read_when(reader, fields["when"]) if "when" in fields else {}
    recorded_with = default
    if "recorded_with" in fields:
        recorded_with = _read_recorded_with(reader, fields["recorded_with"], default)
    source = _read_own_source(reader, fields, source)
    _check_tools(reader, node, steps, tools or [])
    _check_citations(reader, node, steps, tools or [])
    if ask is None:
        return None
    return Exchange(
        ask=ask,
        steps=tuple(steps),
        file=reader.file,
        line=node.line,
        source=source,
        recorded_with=recorded_with,
        tools=frozenset(tools or []),
        when=when,
        after=after,
    )


def _read_when(reader: Reader, node: Node) -> dict[str, str]:
    fields = reader.mapping(node, "when", _WHEN_KEYS) or {}
    texts = {name: reader.text(value, name) for name, value in fields.items()}
    return {name: text for name, text in texts.items() if text is not None}


def _check_tools(reader: Reader, node: Node, steps: Sequence[Step], tools: Sequence[str]) -> None:
    needed: list[str] = []
    for step in steps:
        if isinstance(step, Search):
            needed.append("file_search")
        elif isinstance(step, Run):
            needed.append("code_interpreter")
        elif isinstance(step, Calls):
            needed.extend(call.name for call in step.calls)
    for tool in dict.fromkeys(needed):
        if tool not in tools:
            reader.problem(
                node.line, f"this exchange uses {tool!r}, so it needs `tools: [{', '.join([*tools, tool])}]`."
            )


def _check_citations(reader: Reader, node: Node, steps: Sequence[Step], tools: Sequence[str]) -> None:
    for step in steps:
        if not isinstance(step, Say):
            continue
        prose = CODE.sub("", step.text)
        if _SANDBOX_LINK.search(prose) and "code_interpreter" not in tools:
            reader.problem(
                node.line,
                "this exchange links to a file that code writes, so it needs `tools: [code_interpreter]`.",
            )
        for found in _OTHER_LINK.finditer(prose):
            reader.problem(
                node.line,
                f"{found[0]} leads nowhere. Link to a file that code wrote as [name](sandbox:/mnt/data/name).",
            )
        if "file_search" in tools:
            for mistake in mistakes(step.text):
                reader.problem(node.line, mistake)
        elif not tools and citations(step.text):
            reader.problem(
                node.line,
                f"this exchange cites [{citations(step.text)[0]}], so it needs `tools: [file_search]`. Put the name in "
                "`backticks` if it is no citation.",
            )


# -- steps ----------------------------------------------------------------------------------------------------------


def _read_steps(reader: Reader, node: Node) -> list[Step]:
    nodes = reader.sequence(node, "steps", "steps: and then `- say: |`.")
    if nodes == []:
        reader.problem(node.line, "there are no steps. Add at least `- say: |`.")
    steps: list[Step] = []
    names: set[str] = set()
    for each in nodes or []:
        step = _read_step(reader, each)
        if step is None:
            continue
        for text in texts_with_places(step):
            _check_placeholders(reader, each, text, names, steps)
        for name in _unquoted_places(step, names):
            reader.problem(
                each.line, f'{{{name}}} is a mapping in YAML. Put the place in quotes: "{{{name}}}".'
            )
        names |= names_found([step])
        steps.append(step)
    if steps and len(steps) == len(nodes or []) and not isinstance(steps[-1], Say | Refuse):
        reader.problem(node.line, "the last step must be `say` (or `refuse`): the model's answer.")
    return steps


def _read_step(reader: Reader, node: Node) -> Step | None:
    if node.kind == "seq":
        calls = [_read_call(reader, each) for each in reader.sequence(node, "a parallel call", "") or []]
        if not calls:
            reader.problem(node.line, "this list of calls is empty. Add `- call: name`.")
        return Calls([call for call in calls if call]) if any(calls) else None
    before = len(reader.problems)
    fields = reader.mapping(node, "a step", _ALL_STEP_KEYS)
    if fields is None:
        return None
    kinds = [kind for kind in _STEP_KEYS if kind in fields]
    if not kinds and len(reader.problems) > before:
        return None
    if len(kinds) != 1:
        found = f"{' and '.join(kinds)} in one" if kinds else "none of them"
        reader.problem(
            node.line,
            f"a step is one of {', '.join(_STEP_KEYS)}; this has {found}. Begin each step with its own dash.",
        )
        return None
    (kind,) = kinds
    if kind == "call":
        call = _read_call(reader, node)
        return Calls([call]) if call else None
    for name in fields:
        if name not in _STEP_KEYS[kind]:
            reader.problem(fields[name].line, f"{name!r} does not belong to a `{kind}` step. Remove it.")
    value = fields[kind]
    if kind == "search":
        queries = reader.texts(value, "search")
        if queries == []:
            reader.problem(value.line, "search needs at least one query: `search: [what to look for]`.")
        return Search(queries) if queries else None
    text = reader.text(value, kind)
    if text is None:
        return None
    if kind == "run":
        _check_code(reader, value, text)
        return Run(text, _read_pattern(reader, fields["prints"]) if "prints" in fields else None)
    if kind == "say":
        return Say(text)
    return Refuse(text) if kind == "refuse" else Think(text)


def _read_call(reader: Reader, node: Node) -> Call | None:
    fields = reader.mapping(node, "a call", _STEP_KEYS["call"])
    if fields is None:
        return None
    if "call" not in fields:
        reader.problem(node.line, "this call does not say which function. Add `call: name`.")
        return None
    name = reader.text(fields["call"], "call")
    arguments = {}
    if "with" in fields:
        if fields["with"].kind == "map":
            arguments = reader.json_value(fields["with"], "with")
        else:
            reader.problem(
                fields["with"].line,
                f"with must be a mapping such as {{query: GPT-2}}, not {fields['with'].kind_in_words}.",
            )
    prints = _read_pattern(reader, fields["prints"]) if "prints" in fields else None
    return Call(name, arguments, prints) if name else None


def _check_code(reader: Reader, node: Node, code: str) -> None:
    try:
        ast.parse(code)
    except SyntaxError as error:
        # The text of a block begins on the line after its `|`.
        where = f", line {error.lineno} of the code" if error.lineno else ""
        reader.problem(
            node.line, f"run is not Python ({error.msg}{where}). Write `run: |` and the code below it."
        )
    except (ValueError, RecursionError, MemoryError) as error:
        reader.problem(node.line, f"run is not Python ({error}).")


def _read_pattern(reader: Reader, node: Node) -> str | None:
    pattern = reader.text(node, "prints")
    if pattern is None:
        return None
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        reader.problem(
            node.line,
            f"prints is not a regular expression ({error}). Put it in single quotes: prints: 'loss=(?P<loss>.+)'",
        )
        return None
    return pattern


def _patterns(step: Step) -> list[str]:
    """Return the patterns of a step: one for code, one for each call that has one."""
    if isinstance(step, Run):
        return [step.prints] if step.prints else []
    calls = step.calls if isinstance(step, Calls) else []
    return [call.prints for call in calls if call.prints]


def names_found(steps: Iterable[Step]) -> set[str]:
    """Return the names of the groups that the patterns of some steps have."""
    return {name for step in steps for pattern in _patterns(step) for name in re.compile(pattern).groupindex}


def texts_with_places(step: Step) -> list[str]:
    """Return the texts of a step in which something can be filled in."""
    if isinstance(step, Say):
        return [step.text]
    calls = step.calls if isinstance(step, Calls) else []
    return [text for call in calls for text in _texts_in(call.arguments)]


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts_in(each)


def _unquoted_places(step: Step, names: set[str]) -> Iterator[str]:
    """Yield the names that stand in braces without quotes in the arguments of a call, which YAML reads as mappings."""
    layer: list[Any] = [call.arguments for call in step.calls] if isinstance(step, Calls) else []
    while layer:
        inner = [each for value in layer for each in (value.values() if isinstance(value, dict) else value)]
        layer = [each for each in inner if isinstance(each, dict | list)]
        mappings = [each for each in layer if isinstance(each, dict)]
        yield from (name for each in mappings for name in each if each == {name: None} and name in names)


def _check_placeholders(
    reader: Reader, node: Node, text: str, names: set[str], before: Sequence[Step]
) -> None:
    # Without a pattern nothing is replaced, so braces are only braces: JSON, code, formulas.
    if not any(_patterns(step) for step in before):
        return
    for found in PLACEHOLDER.finditer(CODE.sub("", text)):
        if found[1] not in names:
            known = ", ".join(f"{{{name}}}" for name in sorted(names)) or "none"
            reader.problem(
                node.line,
                f"{found[0]} is not a named group of an earlier `prints` (there: {known}). Name a group "
                f"(?P<{found[1]}>…), or put braces that are meant as such in `backticks`.",
            )


# -- a folder -------------------------------------------------------------------------------------------------------


class Library:
    """The recordings of a folder; files are read again when they have changed.

    Args:
        folder: where the ``*.yaml`` files are. It may be missing: then there are no recordings.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._files: dict[Path, tuple[tuple[int, int], list[Exchange], list[Problem]]] = {}

    def load(self) -> tuple[list[Exchange], list[Problem]]:
        """Return all exchanges, in the order of the files' names, and all problems.

        Ties are not among them: whether two exchanges fit equally well can depend on the request.
        """
        with self._lock:
            found = dict(self._read())
            self._files = found
        exchanges = [exchange for _, each, _ in found.values() for exchange in each]
        problems = [problem for _, _, each in found.values() for problem in each]
        return exchanges, problems

    def _read(self) -> Iterator[tuple[Path, tuple[tuple[int, int], list[Exchange], list[Problem]]]]:
        for path in recording_files(self.folder):
            try:
                stat = path.stat()
                stamp = (stat.st_mtime_ns, stat.st_size)
                known = self._files.get(path)
                if known is None or known[0] != stamp:
                    known = (stamp, *read_file(shown_path(path), path.read_bytes()))
                yield path, known
            except OSError as error:
                problem = Problem(shown_path(path), 1, f"the file cannot be read ({error.strerror}).")
                yield path, ((0, 0), [], [problem])


def recording_files(folder: Path) -> list[Path]:
    """Return the recordings of a folder in the order of their names; a file counts as a folder of one."""
    if folder.is_file():
        return [folder]
    return sorted(path for pattern in ("*.yaml", "*.yml") for path in folder.glob(pattern) if path.is_file())


def shown_path(path: Path) -> Path:
    """Return the path as a person would type it: from where they are, if it is below."""
    try:
        return path.resolve().relative_to(Path(os.getcwd()).resolve())
    except (ValueError, OSError):
        return path
