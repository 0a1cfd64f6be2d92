"""The offline helper: it answers when no recording fits, and never pretends to be a model.

It says that the question is not in the recording, how to go live, and which questions are there, and it does what needs
no model: show passages that a search finds, describe a table, call a function whose only argument is a text. Not here:
deciding that nothing fits (``matching.py``).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from helpers.local_api.code_interpreter_tool import NAME as CODE_INTERPRETER
from helpers.local_api.code_interpreter_tool import CodeInterpreter, fenced
from helpers.local_api.file_search_tool import NAME as FILE_SEARCH
from helpers.local_api.file_search_tool import FileSearch, queries_in
from helpers.local_api.matching import after_holds, choice_holds, holds, offered, when_holds
from helpers.local_api.recordings import Exchange, normalised
from helpers.local_api.schemas import properties_of, required_in, takes
from helpers.local_api.search import words
from helpers.local_api.table_description import description_code
from helpers.local_api.turns import (
    AnsweredCall,
    Call,
    Calls,
    Otherwise,
    Refuse,
    Run,
    Say,
    Search,
    Show,
    Step,
    Turn,
    TurnRequest,
    tool_name,
)
from helpers.local_api.vector_stores import Passage

SOURCE: Final = "offline helper"
_SHOWN_QUESTIONS: Final = 8
_LONGEST_SHOWN: Final = 200
_LONGEST_QUERY: Final = 500
_SHOWN_PASSAGES: Final = 3
_LONGEST_QUOTE: Final = 300
_SHORTEST_QUOTE: Final = 20
_STEM: Final = 6
_LONGEST_MARK: Final = 512
_LONGEST_OUTPUT: Final = 2_000
_SHOWN_OUTPUTS: Final = 4
# What else a schema can say about a text; then a question is hardly what is meant.
_NOT_ANY_TEXT: Final = ("enum", "const", "pattern", "format")

Missed = Literal["files", "functions", "form"]
"""What a recorded answer does not fit: the learner's files, what functions gave back, or the form that was asked for."""

_MISS: Final = "This question is not in the recording, so there is no answer to show."
_UNUSABLE: Final[Mapping[Missed, str]] = {
    "files": "This question is in the recording, but its answer does not fit your files.",
    "functions": "This question is in the recording, but its answer does not fit what your functions gave back.",
    "form": "This question is in the recording, but its answer does not fit the form that you asked for.",
}
_WHO: Final = "I am the offline helper of the workshop, not a model: nothing was sent anywhere."
_WHO_AFTER_CALLS: Final = (
    "I am the offline helper of the workshop, not a model: apart from your functions, nothing was asked."
)
_TABLE: Final = "I ran code that describes the table `{name}`. It printed:"
_NO_LONGER: Final = "The recorded answer expects other output from its code."
_PRINTED: Final = (
    "This question is in the recording, but its answer does not fit what the code found in your files."
)
_FOUND: Final = "I searched your files for the words of your question. These passages fit best:"
_NOTHING_FOUND: Final = "I searched your files for the words of your question, and found none of them. The files may use other words."
_CALLED: Final = "I called the function `{name}`. Its output:"
_MORE_CALLS: Final = "There were {count} further calls."
_CANNOT_CALL: Final = (
    "Your request asks for a call of `{name}`. Without a model I can only call a function whose one required argument is "
    "any text, so I did not call it."
)
_CANNOT_USE_TOOL: Final = (
    "Your request asks for a tool. Without a model I can only search files, describe a table, or call a function whose one "
    "required argument is any text."
)
_HOW_TO_GO_LIVE: Final = "To ask your own questions, go live: put `OPENAI_API_KEY` in `.env` (or in Colab's secrets) and run `connect()` again."


class OfflineHelper:
    """Answers in the place of a model, and says so.

    Args:
        file_search: searches the vector stores that a request offers.
        code_interpreter: knows the tables that code would find.
    """

    def __init__(self, file_search: FileSearch, code_interpreter: CodeInterpreter) -> None:
        self._file_search = file_search
        self._code_interpreter = code_interpreter

    def next_turn(
        self,
        request: TurnRequest,
        exchanges: Sequence[Exchange],
        why: str = "",
        *,
        misses: Missed = "files",
    ) -> Turn:
        """Return what the helper does and says.

        Args:
            request: what was asked.
            exchanges: everything that is recorded.
            why: what is in the way of a recorded answer that would fit, if anything is.
            misses: what such an answer does not fit.
        """
        marks = {"workshop_source": SOURCE, **({"workshop_note": why[:_LONGEST_MARK]} if why else {})}
        answered = request.answered_calls
        query = self._query(request)
        call = None if answered else _call(request, query)
        if call:
            # What the search finds is shown together with the function's output, in the next response.
            search = [Search([query])] if FILE_SEARCH in _usable(request) and not request.wants_json else []
            return Turn([*search, Calls([call])], marks)
        opening, closing = self._texts(request, exchanges, why, misses)
        closing = f"{_outputs(answered)}{closing}"
        if request.wants_json:
            # Where JSON is asked for, a sentence would break the reader; a refusal is the honest form.
            return Turn([Refuse(f"{opening}{closing}")], marks)
        steps: list[Step] = []
        said = Say(opening)
        if FILE_SEARCH in _usable(request) and query:
            passages = self._file_search.passages(request.tools, [query])
            if query not in queries_in(request.since_question):
                steps.append(Search([query]))
            said = with_passages(opening, passages, "", query)
        table = self._table(request)
        if table is None:
            return Turn([*steps, Say(f"{said.text}{closing}", said.annotations)], marks)
        text = f"{said.text}\n\n{_TABLE.format(name=_as_code(table))}"
        steps += [Run(description_code(table)), Show(text, closing, said.annotations)]
        return Turn(steps, marks)

    def _cannot_be_forced(self, request: TurnRequest) -> str:
        """Return why the tool that the request asks for is not used, or ``""``."""
        if not request.must_use_tool:
            return ""
        if request.forced_function is not None:
            return _CANNOT_CALL.format(name=request.forced_function)
        searches = FILE_SEARCH in _usable(request) and self._query(request)
        return "" if searches or self._table(request) else _CANNOT_USE_TOOL

    def _query(self, request: TurnRequest) -> str:
        return (request.question or "").strip()[:_LONGEST_QUERY]

    def _table(self, request: TurnRequest) -> str | None:
        """Return the table to describe: the one that the question names, else the first; ``None`` without a table."""
        if CODE_INTERPRETER not in _usable(request) or request.question is None:
            return None
        tables = self._code_interpreter.tables(request.tools, request.items)
        named = [table for table in tables if table.lower() in request.question.lower()]
        return next(iter([*named, *tables]), None)

    def otherwise(self, request: TurnRequest, exchanges: Sequence[Exchange]) -> Otherwise:
        """Return what is said if the code of a recorded answer prints something else than it expects."""
        _, closing = self._texts(request, exchanges, _NO_LONGER)
        marks = {"workshop_source": SOURCE, "workshop_note": _NO_LONGER}
        opening = f"{_PRINTED} {_who(request)}"
        if request.wants_json:
            return Otherwise(Show(opening, closing, refuses=True), marks)
        return Otherwise(Show(f"{opening} The code printed:", closing), marks)

    def _texts(
        self, request: TurnRequest, exchanges: Sequence[Exchange], why: str, misses: Missed = "files"
    ) -> tuple[str, str]:
        """Return what comes before the passages found, and what comes after them."""
        if request.question is None:
            return f"There is no message of a user to answer here. {_HOW_TO_GO_LIVE}", ""
        opening = _paragraphs(
            f"{_UNUSABLE[misses] if why else _MISS} {_who(request)}",
            why or _condition_missed(request, exchanges),
            self._cannot_be_forced(request),
        )
        parts = ["", _HOW_TO_GO_LIVE]
        questions = fitting_questions(request, exchanges)
        if questions:
            lines = "\n".join(f"- {question}" for question in questions)
            parts.append(f"Recorded questions that fit here, closest first:\n\n{lines}")
        elif not exchanges:
            parts.append("There are no recordings in this folder at all.")
        else:
            parts.append("No recorded question fits the tools that were offered.")
        return opening, "\n\n" + _paragraphs(*parts)


def _who(request: TurnRequest) -> str:
    return _WHO_AFTER_CALLS if request.answered_calls else _WHO


def _usable(request: TurnRequest) -> frozenset[str]:
    """Return the names of the tools that the helper may use: if one function is forced, only that."""
    forced = request.forced_function
    return request.offered_tools if forced is None else frozenset((forced,))


def _call(request: TurnRequest, text: str) -> Call | None:
    """Return a call with the question as its argument, of the function that seems to be meant; ``None`` without one."""
    fitting = []
    for tool in request.tools:
        if text and tool["type"] == "function" and tool_name(tool) in _usable(request):
            arguments = _arguments(tool.get("parameters"), text)
            if arguments is not None:
                about = f"{tool['name'].replace('_', ' ')} {tool.get('description') or ''}"
                fitting.append((len(_stems(about) & _stems(text)), Call(tool["name"], arguments)))
    # The first of those that share most words with the question.
    return max(fitting, key=lambda each: each[0])[1] if fitting else None


def _arguments(schema: Mapping[str, Any] | None, text: str) -> dict[str, Any] | None:
    """Return a text as the one argument that a function needs; ``None`` if it needs something else.

    In a strict schema every argument is required, so one that may be null, or has a default, is not needed.

    Example:
        >>> query, limit = {"type": "string"}, {"type": ["integer", "null"]}
        >>> _arguments({"properties": {"query": query, "limit": limit}, "required": ["query", "limit"]}, "GPT-2")
        {'query': 'GPT-2', 'limit': None}
    """
    properties = properties_of(schema)
    arguments: dict[str, Any] = {}
    needed = []
    for name in required_in(schema):
        about = properties.get(name)
        if isinstance(about, dict) and "default" in about:
            arguments[name] = about["default"]
        elif takes(about, "null"):
            arguments[name] = None
        else:
            needed.append(name)
            arguments[name] = text
    if len(needed) != 1 or not _takes_any_text(properties.get(needed[0]), text):
        return None
    return arguments


def _takes_any_text(schema: Any, text: str) -> bool:
    if not isinstance(schema, dict) or schema.get("type") != "string":
        return False
    if any(keyword in schema for keyword in _NOT_ANY_TEXT):
        return False
    least, most = schema.get("minLength", 0), schema.get("maxLength", len(text))
    return isinstance(least, int) and isinstance(most, int) and least <= len(text) <= most


def _outputs(answered: Sequence[AnsweredCall]) -> str:
    """Return the outputs of functions as blocks of code, the last ones if there are many."""
    shown = answered[-_SHOWN_OUTPUTS:]
    more = len(answered) - len(shown)
    parts = [_MORE_CALLS.format(count=more)] if more else []
    for each in shown:
        block = fenced(each.output, _LONGEST_OUTPUT, "the rest is in the output of the function")
        parts.append(f"{_CALLED.format(name=each.name)}\n\n{block}")
    return "".join(f"\n\n{part}" for part in parts)


def _paragraphs(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def with_passages(opening: str, passages: Sequence[Passage], closing: str, query: str) -> Say:
    """Return a message that shows what a search found: up to three short quotes, each with its citation.

    A quote is shown as code, word for word: whatever a document says, it is neither formatted, nor loaded, nor obeyed.
    """
    if not passages:
        return Say(f"{opening}\n\n{_NOTHING_FOUND}{closing}")
    weights = _weights(query, passages)
    quotes: dict[str, Passage] = {}
    for passage in passages:
        if len(quotes) == _SHOWN_PASSAGES:
            break
        # Chunks overlap, so the best lines of two of them can be the same ones.
        quotes.setdefault(quote(passage.text, weights), passage)
    text, annotations = f"{opening}\n\n{_FOUND}\n", []
    for shown, passage in quotes.items():
        text += f"\n- `{_as_code(passage.filename)}`, score {passage.score:.2f}: `{shown}`"
        annotations.append(
            {
                "type": "file_citation",
                "file_id": passage.file_id,
                "filename": passage.filename,
                "index": len(text),
            }
        )
    return Say(f"{text}{closing}", annotations)


def quote(text: str, weights: Mapping[str, float]) -> str:
    """Return the part of a passage that says most about the query, on one line of up to 300 characters.

    Args:
        text: the passage.
        weights: how much each word of the query tells.
    """
    best, most = "", -1.0
    for paragraph in re.split(r"\n\s*\n|(?<=[.!?])\s+(?=[A-Z])", text):
        line = _as_code(paragraph)
        found = sum(weights[stem] for stem in weights.keys() & _stems(line))
        # A heading alone says too little to be a quote.
        if paragraph.lstrip().startswith("#") or len(line) < _SHORTEST_QUOTE:
            found /= 2
        if line and found > most:
            best, most = line, found
    if len(best) <= _LONGEST_QUOTE:
        return best
    return f"{best[:_LONGEST_QUOTE].rsplit(' ', 1)[0]}…"


def _weights(query: str, passages: Sequence[Passage]) -> dict[str, float]:
    """Return how much each word of a query tells: the fewer of the passages have it, the more."""
    stems = [_stems(passage.text) for passage in passages]
    return {stem: 1 / (1 + sum(stem in each for each in stems)) for stem in _stems(query)}


def _stems(text: str) -> set[str]:
    """Return how the words of a text begin, so that ``gradients`` is found in ``gradient``."""
    return {part[:_STEM] for forms in words(text) for part in forms[0].split() if len(part) > 2}


def _as_code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())


def fitting_questions(request: TurnRequest, exchanges: Sequence[Exchange]) -> list[str]:
    """Return up to eight recorded questions that would be answered here, closest to the question first."""
    asked = normalised(request.question or "")
    unique = {normalised(each.ask): each.ask for each in reversed(exchanges) if holds(each, request)}
    # The question itself can be among them, if its answer does not fit for another reason (it is no JSON).
    unique.pop(asked, None)
    ranked = sorted(unique, key=lambda ask: _closeness(asked, ask), reverse=True)
    return [_one_line(unique[ask]) for ask in ranked[:_SHOWN_QUESTIONS]]


def _closeness(asked: str, recorded: str) -> float:
    # Words in common say what it is about; the letters tell near misses apart. A very long message is not compared
    # whole: that would take minutes.
    asked = asked[: 4 * _LONGEST_SHOWN]
    words, others = set(asked.split()), set(recorded.split())
    shared = len(words & others) / max(1, len(words | others))
    return shared + difflib.SequenceMatcher(None, asked, recorded).ratio()


def _condition_missed(request: TurnRequest, exchanges: Sequence[Exchange]) -> str:
    """Return why a question that *is* recorded was not answered, or ``""``."""
    asked = normalised(request.question or "")
    same = [each for each in exchanges if normalised(each.ask) == asked]
    for each in same:
        if not offered(each, request):
            return f"It is recorded for an assistant that has the tools {', '.join(sorted(each.tools))}."
        if not choice_holds(each, request):
            return "It is recorded, but its answer does not begin with the tool that your request asks for."
        if not when_holds(each, request):
            kinds = " and ".join({"description": "a description"}.get(kind, kind) for kind in each.when)
            return f"It is recorded, but for other {kinds}."
        if not after_holds(each, request):
            return f"It is recorded as a follow-up to this question: {_one_line(each.after or '')}"
    return "It is recorded, but its answer is not in the form that you asked for." if same else ""


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}…"
