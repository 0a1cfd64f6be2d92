"""Reading YAML strictly: text where text belongs, each mapping key once, every problem with its line.

YAML turns ``yes`` into true, ``3`` into a number and ``2026-11-23`` into a date. A teacher who writes a sentence means
a sentence, so this reader looks at what was written and says what to write instead. Not here: what a recording looks
like (``recordings.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import yaml

_TAG: Final = "tag:yaml.org,2002:"
_KINDS: Final[Mapping[str, str]] = {
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
    "timestamp": "a date",
    "seq": "a list",
    "map": "a mapping (key: value)",
    "str": "a text",
}
_SHOWN: Final = 60
_MOST_LEVELS: Final = 10


@dataclass(frozen=True, order=True)
class Problem:
    """Something that is wrong in a file, where, and what to write instead."""

    file: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Node:
    """A value in the file that was not looked at yet."""

    raw: yaml.Node

    @property
    def line(self) -> int:
        """The line on which it begins, from 1."""
        return int(self.raw.start_mark.line) + 1

    @property
    def kind(self) -> str:
        """What YAML takes it for: ``"str"``, ``"int"``, ``"seq"`` …"""
        return str(self.raw.tag).removeprefix(_TAG)

    @property
    def kind_in_words(self) -> str:
        """The same for a person."""
        return _KINDS.get(self.kind, f"a value with the tag {self.raw.tag}")

    @property
    def written(self) -> str:
        """A scalar as it stands in the file."""
        return self.raw.value if isinstance(self.raw.value, str) else ""


class Reader:
    """Reads values out of nodes and collects what is wrong, instead of stopping at the first problem.

    Args:
        file: only for the messages.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def problem(self, line: int, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(self.file, line, message))

    def document(self, content: bytes) -> Node | None:
        """Return the one document of a file; ``None`` if it cannot be read (the problem is noted)."""
        import yaml

        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            self.problem(line, "this is not UTF-8 text. Save the file again with the encoding UTF-8.")
            return None
        odd = yaml.reader.Reader.NON_PRINTABLE.search(text)
        if odd:
            line = text[: odd.start()].count("\n") + 1
            self.problem(line, f"the character {odd.group()!r} cannot stand in a YAML file. Remove it.")
            return None
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            raw = yaml.compose(text, Loader=loader)
        except yaml.MarkedYAMLError as error:
            self._syntax_problem(text, error)
            return None
        except RecursionError:
            self.problem(1, "this is nested too deeply. A recording needs four levels.")
            return None
        if raw is None:
            self.problem(1, "the file is empty. Begin with `source: authored` and a list of `exchanges`.")
            return None
        return Node(raw)

    def _syntax_problem(self, text: str, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        lines = text.splitlines()
        here = lines[line - 1] if 0 < line <= len(lines) else ""
        if "\t" in here[: len(here) - len(here.lstrip())]:
            hint = "it is indented with a tab. Use spaces."
        elif "expected a single document" in str(error):
            hint = "a second document begins here. Remove the line with `---`."
        else:
            hint = (
                f"this is not YAML ({error.problem or error.context}). Put a longer text into a block: `ask: |`, and "
                "the text indented on the next lines."
            )
        self.problem(line, hint)

    def mapping(self, node: Node, what: str, known: Collection[str]) -> dict[str, Node] | None:
        """Return the values of a mapping by key; keys that are unknown or doubled are noted and left out.

        Args:
            node: the value.
            what: its name in a message, such as ``"an exchange"``.
            known: the keys that it may have; empty for any.
        """
        if node.kind != "map":
            self.problem(node.line, f"{what} must be a mapping (key: value), not {node.kind_in_words}.")
            return None
        found: dict[str, Node] = {}
        for raw_key, raw_value in node.raw.value:
            key = Node(raw_key)
            name = key.written
            if key.kind != "str":
                self.problem(
                    key.line,
                    f"the key {name or '?'!r} must be a text, not {key.kind_in_words}. Put it in quotes.",
                )
            elif known and name not in known:
                self.problem(key.line, f"{what} has no {name!r}. It can have: {', '.join(known)}.")
            elif name in found:
                self.problem(key.line, f"{name!r} stands here twice. Keep one of the two.")
            else:
                found[name] = Node(raw_value)
        return found

    def sequence(self, node: Node, what: str, example: str) -> list[Node] | None:
        """Return the values of a list."""
        if node.kind != "seq":
            self.problem(
                node.line, f"{what} must be a list, not {node.kind_in_words}. Write it like this: {example}"
            )
            return None
        return [Node(raw) for raw in node.raw.value]

    def text(self, node: Node, what: str, *, may_be_empty: bool = False) -> str | None:
        """Return a text, without the line breaks at its end."""
        if node.kind != "str":
            if node.kind in {"map", "seq"}:
                instead = f"Begin a block with `{what}: |` and indent the text on the next lines."
            elif node.kind == "null":
                instead = f"Write the text after `{what}: |`, indented on the next lines."
            else:
                instead = f'Put it in quotes: {what}: "{node.written[:_SHOWN]}"'
            self.problem(node.line, f"{what} must be a text, not {node.kind_in_words}. {instead}")
            return None
        # "\ud83d\ude00" in double quotes gives two halves of one character.
        text = node.written.encode("utf-16", "surrogatepass").decode("utf-16", "replace").rstrip("\r\n")
        if not text.strip() and not may_be_empty:
            self.problem(node.line, f"{what} is empty. Write the text after `{what}: |`, or remove the line.")
            return None
        return text

    def texts(self, node: Node, what: str) -> list[str] | None:
        """Return a list of texts."""
        nodes = self.sequence(node, what, f"{what}: [one, another]")
        if nodes is None:
            return None
        texts = [self.text(each, f"each of {what}") for each in nodes]
        return [text for text in texts if text is not None]

    def json_value(self, node: Node, what: str, levels: int = _MOST_LEVELS) -> Any:
        """Return what a JSON argument can be: texts, numbers, true, false, null, lists and mappings of them."""
        kind, written = node.kind, node.written
        if kind in {"map", "seq"} and not levels:
            # An alias can also make a value hold itself.
            self.problem(
                node.line, f"{what} is nested more than {_MOST_LEVELS} levels deep. Make it flatter."
            )
            return None
        if kind == "map":
            pairs = self.mapping(node, what, ())
            return {key: self.json_value(value, what, levels - 1) for key, value in (pairs or {}).items()}
        if kind == "seq":
            return [self.json_value(Node(raw), what, levels - 1) for raw in node.raw.value]
        if kind in {"str", "null"}:
            return written if kind == "str" else None
        if kind in {"bool", "int", "float"}:
            import json

            try:
                # Only what reads the same in JSON: no `yes`, no 0x10, no 1_000, no .5
                return json.loads(written.lower() if kind == "bool" else written, parse_constant=_refused)
            except ValueError:
                pass
        self.problem(
            node.line,
            f'{written!r} is {node.kind_in_words} in YAML. If you mean the text, put it in quotes: "{written}"',
        )
        return None


def _refused(constant: str) -> Any:
    raise ValueError(constant)


def first_lines(problems: Sequence[Problem], count: int) -> str:
    """Return the first problems in one text, and how many more there are."""
    shown = " ".join(str(problem) for problem in problems[:count])
    more = len(problems) - count
    return shown if more <= 0 else f"{shown} (and {more} more)"
