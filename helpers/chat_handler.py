"""A chat's event handler: the events of a run become the parts of a turn.

Here lives ``ChatHandler``, which shows nothing itself. Not here: what the parts look like (``chat_view.py``), and the
chat that draws them (``chat_widget.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from helpers.chat_view import Called, Part, Ran, Said, Searched, Turn, Used
from helpers.citations import CitedText, number_citations
from helpers.containers import container_problem
from helpers.downloads import DownloadReport
from helpers.fields import at, list_at, text_at
from helpers.file_search import FileSearch
from helpers.function_calling import FunctionCall, ToolboxHandler
from helpers.functions import FunctionResult
from helpers.handlers import Text, TextDelta, ToolCallDelta
from helpers.rendering import Mode

__all__ = ["ChatHandler", "turns_of"]

_INTERPRETING: Final = "response.code_interpreter_call.interpreting"


class _Nowhere:
    """A renderer, and its blocks: shows nothing."""

    mode: Mode = "markdown"

    def block(self, kind: str = "text", *, to_markdown: Callable[[str], str] | None = None) -> _Nowhere:
        return self

    def show(self, bundle: Mapping[str, str]) -> None:
        pass

    def footer(self, text: str) -> None:
        pass

    def append(self, piece: str) -> None:
        pass

    def update(self, text: str) -> None:
        pass

    def done(self, text: str | None = None) -> None:
        pass


class ChatHandler(ToolboxHandler):
    """Collects what a run does and says, in order, for a chat; it shows nothing itself.

    Args:
        changed: called whenever there is something new to show.

    Example:
        >>> handler = ChatHandler()
        >>> _ = handler.follow([
        ...     {"type": "response.output_text.delta", "delta": "hello", "item_id": "msg_1"},
        ...     {"type": "response.completed", "response": {"status": "completed"}},
        ... ])
        >>> handler.parts[0].text
        'hello'
    """

    def __init__(self, changed: Callable[[], None] | None = None) -> None:
        super().__init__(renderer=_Nowhere())
        self._changed = changed or (lambda: None)
        self.problem = ""
        """What to do about a failed run, if there is more to say than its error does."""
        self._complete: set[int] = set()

    # -- what there is to know ----------------------------------------------------------------------------------------

    @property
    def parts(self) -> tuple[Part, ...]:
        """What the run did and said so far, in order."""
        parts: list[Part] = []
        shown: set[str] = set()
        last = len(self._progress.answers)
        for number, answer in enumerate(self._progress.answers, start=1):
            texts = dict(answer.texts)
            for key, item in list(answer.items.items()):
                if text_at(item, "type") == "message":
                    for place in [place for place in texts if place[0] == key]:
                        parts.append(self._said(texts.pop(place)))
                    continue
                # As the handlers name an item without an id.
                name = key if text_at(item, "id") else f"response {number}, {key}"
                shown |= {name, self._key(item)}
                part = self._part(name, item)
                if part is not None:
                    parts.append(part)
            if number == last:
                # From a server that tells of its tool calls only at the end.
                parts += [Searched(each) for name, each in self._searches() if name not in shown]
                parts += [Ran(each) for name, each in self._code_calls() if name not in shown]
                parts += [Called(each) for each in self.function_calls if each.call_id not in shown]
            parts += [self._said(text) for text in texts.values()]
        return self._with_files(parts)

    def take_downloads(self, report: DownloadReport) -> None:
        """Note what was downloaded after the run: links in the answer then become paths on this computer."""
        self._code_state().downloads = report
        self._changed()

    # -- hooks --------------------------------------------------------------------------------------------------------

    def on_event(self, event: Any) -> None:
        """Note that code begins to run."""
        super().on_event(event)
        if at(event, "type") == _INTERPRETING:
            calls = self._code_state().calls
            key = self._call_key(text_at(event, "item_id") or f"output {at(event, 'output_index') or 0}")
            if key in calls:
                calls[key] = replace(calls[key], status="interpreting")
        self._changed()

    def on_text_done(self, text: Text) -> None:
        """Note that a text is complete."""
        super().on_text_done(text)
        self._complete.add(id(text))

    def on_text_delta(self, delta: TextDelta, snapshot: Text) -> None:
        """Tell of the piece."""
        super().on_text_delta(delta, snapshot)
        self._changed()

    def on_tool_call_delta(self, delta: ToolCallDelta, snapshot: Any) -> None:
        """Note the piece of code."""
        super().on_tool_call_delta(delta, snapshot)
        calls = self._code_state().calls
        key = self._call_key(delta.item_id)
        if key in calls:
            calls[key] = replace(calls[key], code=text_at(snapshot, "code"))
        self._changed()

    def on_tool_call_created(self, tool_call: Any) -> None:
        """Tell of the call."""
        super().on_tool_call_created(tool_call)
        self._changed()

    def on_tool_call_done(self, tool_call: Any) -> None:
        """Tell of what came of the call."""
        super().on_tool_call_done(tool_call)
        self._changed()

    def on_function_done(self, result: FunctionResult) -> None:
        """Tell of what came of a function call."""
        super().on_function_done(result)
        self._changed()

    def on_exception(self, exception: Exception) -> None:
        """Note what to do if the run failed because a container is gone."""
        super().on_exception(exception)
        self.problem = container_problem(exception)

    def on_end(self) -> None:
        """Tell that the run is over."""
        super().on_end()
        self._changed()

    # -- how ----------------------------------------------------------------------------------------------------------

    def _searches(self) -> list[tuple[str, FileSearch]]:
        return list(self._file_state().searches.items())

    def _code_calls(self) -> list[tuple[str, Any]]:
        return list(self._code_state().calls.items())

    def _part(self, name: str, item: Any) -> Part | None:
        kind = text_at(item, "type")
        if kind == "file_search_call":
            return Searched(self._file_state().searches.get(name, FileSearch(status="in_progress")))
        if kind == "code_interpreter_call":
            call = self._code_state().calls.get(name)
            return None if call is None else Ran(call)
        if kind == "function_call":
            return Called(self._function_call(item))
        if kind.endswith("_call"):
            return Used(kind, text_at(item, "status") or "completed")
        return None

    def _function_call(self, item: Any) -> FunctionCall:
        key, arguments = self._key(item), text_at(item, "arguments")
        known = self._function_state().calls.get(key) or FunctionCall(key, text_at(item, "name"))
        # While they are being written, the item knows more of the arguments.
        return replace(known, arguments=arguments) if len(arguments) > len(known.arguments) else known

    def _said(self, text: Text) -> Said:
        shown = self.shown_text(text)
        cited = self._file_state().cited.get(id(text))
        return Said(
            shown,
            complete=id(text) in self._complete or not self._progress.active,
            refusal=text.type == "refusal",
            cited=cited if cited is not None and cited.citations else None,
        )

    def _with_files(self, parts: list[Part]) -> tuple[Part, ...]:
        """Put the files that were read, but are not cited, below the last text of a run that is over."""
        said = [place for place, part in enumerate(parts) if isinstance(part, Said)]
        results = None if self._progress.active else self._results()
        if said and results and not any(part.cited for part in parts if isinstance(part, Said)):
            last = parts[said[-1]]
            assert isinstance(last, Said)
            parts[said[-1]] = replace(last, cited=number_citations("", (), results))
        return tuple(parts)


def turns_of(items: Iterable[Any], assistant: str) -> list[Turn]:
    """Return the exchanges that the items of a conversation hold, oldest first.

    Args:
        items: what ``client.conversations.items.list(…)`` gives, in ascending order.
        assistant: the assistant's name.
    """
    turns: list[Turn] = []
    parts: list[Part] = []
    outputs: dict[str, str] = {}
    items = list(items)
    for item in items:
        if text_at(item, "type") == "function_call_output":
            output = at(item, "output")
            outputs[text_at(item, "call_id")] = output if isinstance(output, str) else str(output)

    def close() -> None:
        if turns:
            turns[-1] = replace(turns[-1], parts=tuple(parts))
        parts.clear()

    for item in items:
        if text_at(item, "type") == "message" and at(item, "role") == "user":
            close()
            question = "".join(text_at(part, "text") for part in list_at(item, "content"))
            turns.append(Turn(question, assistant, status="completed", earlier=True))
        elif turns:
            part = _earlier_part(item, outputs)
            if part is not None:
                parts.append(part)
    close()
    return turns


def _earlier_part(item: Any, outputs: Mapping[str, str]) -> Part | None:
    kind = text_at(item, "type")
    if kind == "message" and at(item, "role") == "assistant":
        content = list_at(item, "content")
        refusal = "".join(text_at(part, "refusal") for part in content)
        text = "".join(text_at(part, "text") for part in content)
        annotations = [note for part in content for note in list_at(part, "annotations")]
        cited: CitedText = number_citations(text, annotations)
        return Said(
            cited.marked_text or refusal, refusal=bool(refusal), cited=cited if cited.citations else None
        )
    if kind == "function_call":
        call_id, name, arguments = (text_at(item, field) for field in ("call_id", "name", "arguments"))
        known = outputs.get(call_id)
        if known is None:
            return Called(FunctionCall(call_id, name, arguments, "unfinished"))
        return Called(
            FunctionCall(call_id, name, arguments, "done", FunctionResult(call_id, name, arguments, known))
        )
    return Used(kind) if kind.endswith("_call") else None
