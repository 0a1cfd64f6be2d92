"""The text of recordings: exchanges as the YAML that a person would write, and that reads as the same exchanges again.

Longer texts stand in ``|`` blocks, short ones in one line, and a text that a block cannot hold exactly (with other line
ends than ``\\n``, or characters that YAML does not show) in double quotes. Not here: reading it (``recordings.py``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from helpers.local_api.recordings import Exchange, RecordedWith, Source, read_file
from helpers.local_api.turns import Call, Calls, Refuse, Run, Say, Search, Step, Think
from helpers.local_api.yaml_nodes import Problem

DASH: Final = "  "
"""How far the dash of an exchange is indented in a file that is written here."""

_INDENT: Final = "  "
_WIDTH: Final = 110
# Line ends that are not "\n", and what YAML does not count as text (yaml.reader.Reader.NON_PRINTABLE).
_NOT_IN_BLOCK: Final = re.compile(
    "[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
# What needs no quotes: it begins with a letter and holds nothing that YAML reads as more than text.
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:[ .+/-]+[A-Za-z0-9_]+)*[.?]?")
_NOT_TEXT: Final = re.compile(r"(?i:y|n|yes|no|on|off|true|false|null|nan|inf)")


def file_text(
    source: Source, recorded_with: RecordedWith, exchanges: Sequence[Exchange], comments: Sequence[str] = ()
) -> str:
    """Return a whole file.

    Args:
        source: who said it, for the head of the file; exchanges may say another model and date.
        recorded_with: instructions and model for the head; exchanges may have other ones.
        exchanges: in order.
        comments: lines for the beginning of the file.
    """
    lines = [f"# {_NOT_IN_BLOCK.sub('?', comment)}".rstrip() for comment in comments]
    lines.append(f"source: {source.kind}")
    if source.kind == "captured":
        lines += [f"model: {inline(source.model or '')}", f"date: {source.date}"]
    fields = [f"model: {inline(recorded_with.model)}"]
    if recorded_with.instructions:
        fields.append(f"instructions: {block(recorded_with.instructions)}")
    lines += ["recorded_with:", *_below(fields), "exchanges:"]
    texts = [exchange_text(exchange, source, recorded_with) for exchange in exchanges]
    return "\n".join([*lines, "\n\n".join(texts)]) + "\n"


def exchange_text(exchange: Exchange, source: Source, recorded_with: RecordedWith, dash: str = DASH) -> str:
    """Return one exchange as it stands in the list of a file, without a line end behind it.

    Args:
        exchange: what to write.
        source: what the head of the file says; what is the same is not repeated.
        recorded_with: the same for the instructions and the model.
        dash: what is before the dash.
    """
    fields = [f"ask: {block(exchange.ask)}"]
    if exchange.tools:
        fields.append(f"tools: {_list(sorted(exchange.tools))}")
    if exchange.when:
        fields += _mapping("when", exchange.when)
    if exchange.after is not None:
        fields.append(f"after: {block(exchange.after)}")
    if exchange.source != source and exchange.source.kind == "captured":
        fields += [f"model: {inline(exchange.source.model or '')}", f"date: {exchange.source.date}"]
    fields += _mapping("recorded_with", _differences(exchange.recorded_with, recorded_with))
    fields.append("steps:")
    fields += _below([line for step in exchange.steps for line in _step_lines(step)])
    return "\n".join(f"{dash}{line}" if line else "" for line in _dashed(fields))


def _differences(recorded_with: RecordedWith, default: RecordedWith) -> dict[str, str]:
    found = {}
    if recorded_with.model != default.model:
        found["model"] = recorded_with.model
    if recorded_with.instructions != default.instructions:
        # An empty text takes back what the head of the file says.
        found["instructions"] = recorded_with.instructions or ""
    return found


def _mapping(name: str, values: Mapping[str, str]) -> list[str]:
    if not values:
        return []
    short = f"{name}: {{{', '.join(f'{key}: {inline(value)}' for key, value in values.items())}}}"
    if len(short) <= _WIDTH and not any("\n" in value for value in values.values()):
        return [short]
    return [f"{name}:", *_below([f"{key}: {block(value)}" for key, value in values.items()])]


def _below(fields: Sequence[str]) -> list[str]:
    """Return fields as lines that are indented below the key that they belong to."""
    return [f"{_INDENT}{line}" if line else "" for line in "\n".join(fields).split("\n")]


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(inline(text) for text in texts)}]"


# -- steps ----------------------------------------------------------------------------------------------------------


def _step_lines(step: Step) -> list[str]:
    """Return the lines of a step, the first one with its dash."""
    if isinstance(step, Calls):
        return _calls_lines(step.calls)
    fields: list[str] = []
    if isinstance(step, Search):
        short = f"search: {_list(step.queries)}"
        fields = [short] if len(short) <= _WIDTH else ["search:", *(f"  - {inline(q)}" for q in step.queries)]
    elif isinstance(step, Run):
        fields = [f"run: {block(step.code)}"]
        if step.prints is not None:
            fields.append(f"prints: {_single_quoted(step.prints)}")
    elif isinstance(step, Say | Refuse | Think):
        name = {Say: "say", Refuse: "refuse", Think: "think"}[type(step)]
        fields = [f"{name}: {block(step.text)}"]
    return _dashed(fields)


def _calls_lines(calls: Sequence[Call]) -> list[str]:
    each = [
        [
            f"call: {inline(call.name)}",
            *([f"with: {flow(call.arguments)}"] if call.arguments else []),
            *([f"prints: {_single_quoted(call.prints)}"] if call.prints is not None else []),
        ]
        for call in calls
    ]
    if len(each) == 1:
        return _dashed(each[0])
    return _dashed([line for fields in each for line in _dashed(fields)])


def _dashed(fields: Sequence[str]) -> list[str]:
    """Put a dash before the first line, and what belongs to it below it."""
    lines = "\n".join(fields).split("\n")
    return [f"- {lines[0]}", *(f"  {line}" if line else "" for line in lines[1:])]


# -- values ---------------------------------------------------------------------------------------------------------


def block(text: str) -> str:
    """Return a text as a ``|`` block, or in quotes if a block would not give it back exactly."""
    lines = text.split("\n")
    if _NOT_IN_BLOCK.search(text) or not text.strip() or text.endswith("\n"):
        return quoted(text)
    # Where the first line does not show the indentation, a number does.
    number = str(len(_INDENT)) if not lines[0] or lines[0][0] in " \t" else ""
    return "\n".join([f"|{number}", *_below(lines)])


def inline(text: str) -> str:
    """Return a text for a place in a line: plain if nothing in it has a meaning for YAML, else in quotes."""
    if _PLAIN.fullmatch(text) and not _NOT_TEXT.fullmatch(text):
        return text
    return quoted(text)


def quoted(text: str) -> str:
    """Return a text in double quotes, with every character that YAML reads in another way as an escape."""
    written = json.dumps(text, ensure_ascii=False)
    return _NOT_IN_BLOCK.sub(lambda found: _escape(found[0]), written.replace("\t", "\\t"))


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _single_quoted(text: str) -> str:
    if _NOT_IN_BLOCK.search(text) or "\n" in text or "\t" in text:
        return quoted(text)
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def flow(value: Any) -> str:
    """Return a JSON value in one line of YAML.

    Example:
        >>> flow({"query": "GPT-2 staged release", "max_results": 5, "exact": False})
        '{query: GPT-2 staged release, max_results: 5, exact: false}'
    """
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{inline(str(key))}: {flow(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(flow(each) for each in value)}]"
    if isinstance(value, str):
        return inline(value)
    if isinstance(value, float):
        # YAML takes 1e+22 for a text: a number has a point there.
        mantissa, mark, power = repr(value).partition("e")
        point = "" if "." in mantissa else ".0"
        return f"{mantissa}{point}{mark}{power}" if mark else repr(value)
    return json.dumps(value)


# -- proof ----------------------------------------------------------------------------------------------------------


def why_not_writable(exchange: Exchange) -> str | None:
    """Return why an exchange cannot be written as a recording (in the words of the checker), or ``None`` if it can."""
    text = file_text(exchange.source, exchange.recorded_with, [exchange])
    exchanges, problems = read_file(Path("captured"), text.encode())
    if problems:
        return _without_place(problems[0])
    return (
        None
        if [content_of(each) for each in exchanges] == [content_of(exchange)]
        else "YAML cannot hold its text"
    )


def _without_place(problem: Problem) -> str:
    return problem.message.rstrip(".")


def content_of(exchange: Exchange) -> tuple[object, ...]:
    """Return what an exchange says, without where it stands."""
    return (
        exchange.ask,
        exchange.steps,
        exchange.source,
        exchange.recorded_with,
        exchange.tools,
        dict(exchange.when),
        exchange.after,
    )
