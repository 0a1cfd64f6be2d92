"""Show an answer that calls your functions: which function with which arguments, what it gave back, then the answer.

Here live ``FunctionCallingHandler``, what it shows of one call, and ``ToolboxHandler``, which shows all kinds of tools.
Not here: running a function (``functions.py``), sending its output and asking on (``run.py``).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from helpers.citations import excerpt, literal_html, literal_markdown
from helpers.code_interpreter import CodeInterpreterHandler
from helpers.fields import at, text_at
from helpers.file_search import FileSearchHandler
from helpers.functions import FunctionResult
from helpers.handlers import TextHandler
from helpers.rendering import Block, plain_text

__all__ = ["FunctionCall", "FunctionCallingHandler", "ToolboxHandler"]

_ARGUMENT_CHARACTERS: Final = 80
_LINE_CHARACTERS: Final = 160
_SHOWN_CHARACTERS: Final = 4_000
_MOST_ARGUMENTS: Final = 8
_EMPTY_LINE: Final = re.compile(r"\n(?=[ \t]*\n)")
_ENDINGS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})


# -- one call ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FunctionCall:
    """One call of a function that the model asked for.

    Attributes:
        call_id: the id that its output has to name.
        name: the function's name.
        arguments: as the model wrote them, usually a JSON object; a part of it while it is being written.
        status: ``"writing"``, ``"waiting"`` (the arguments are complete), ``"unfinished"`` (the run ended before it was
            answered), or the status of its result: ``"done"``, ``"raised"``, ``"timed_out"`` …
        result: what came of it; ``None`` until then.
    """

    call_id: str
    name: str
    arguments: str = ""
    status: str = "writing"
    result: FunctionResult | None = None

    @property
    def signature(self) -> str:
        """The call as one would write it in Python, shortened: ``search(query="GPT-2", region="us-en")``."""
        return f"{_one_line(self.name, 64)}({_shown_arguments(self.arguments)})"

    @property
    def outcome(self) -> str:
        """What came of it, in one line: the begin of the output, or what went wrong and that the model was told."""
        result = self.result
        if result is None:
            return {"writing": "…", "waiting": "…"}.get(self.status, "the run ended before it was called")
        if result.error:
            return f"{_one_line(result.error, 2_000)} The model was told."
        cut = " (cut, because it was too long)" if result.shortened else ""
        return f"{excerpt(result.output, _LINE_CHARACTERS) or 'an empty text'}{cut}"

    def plain(self) -> str:
        """Return call and outcome as two lines of plain text, and what the function printed."""
        lines = [f"Calling {self.signature}"]
        if self.status not in ("writing", "waiting"):
            lines.append(f"  {self.outcome_plain()}")
        return "\n".join(lines)

    def outcome_plain(self) -> str:
        """Return the outcome alone, for a line of its own, and what the function printed."""
        lines = [f"{_one_line(self.name, 64)} → {self.outcome}"]
        if self.result is not None and self.result.printed.strip():
            lines.append(
                f"{_one_line(self.name, 64)} printed: {excerpt(self.result.printed, _LINE_CHARACTERS)}"
            )
        return "\n".join(lines)

    def markdown(self) -> str:
        """Return the call as Markdown, with the output folded away. Nothing in it is live, whatever it holds."""
        if self.status == "writing":
            return f"*Calling {_code(self.name)} …*"
        if self.result is None:
            outcome = " …" if self.status == "waiting" else f": {literal_markdown(self.outcome)}"
            return f"Calling {_code(self.signature)}{outcome}"
        word = "Called" if not self.result.error else "Tried to call"
        tail = f": {literal_markdown(self.outcome)}"
        if not self.result.error:
            tail = f" → {_code(excerpt(self.result.output, _ARGUMENT_CHARACTERS) or 'an empty text')}"
        # One block of HTML without an empty line: no renderer looks for Markdown or addresses inside of it.
        parts = [f"<p>{label}</p>\n<pre>{_block(text)}</pre>" for label, text in self._folded()]
        headline = f"<summary>{word} {_code(self.signature)}{tail}</summary>"
        return "\n".join(["<details>", headline, *parts, "</details>"])

    def _folded(self) -> list[tuple[str, str]]:
        result = self.result
        assert result is not None
        parts = [("The model wrote:", _pretty(self.arguments)), ("The model gets:", _pretty(result.output))]
        if result.printed.strip():
            parts.append(("The function printed (the model does not see it):", result.printed))
        return [(label, text) for label, text in parts if text.strip()]

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/markdown": self.markdown(), "text/plain": self.plain()}


def _one_line(text: str, limit: int) -> str:
    return excerpt(plain_text(text), limit)


def _shown_arguments(arguments: str) -> str:
    try:
        values = json.loads(arguments) if len(arguments) <= 100_000 else None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        return _one_line(arguments, _ARGUMENT_CHARACTERS)
    shown = [
        f"{_one_line(str(name), 40)}={_shown_value(value)}"
        for name, value in values.items()
        if value is not None
    ]
    more = [f"… {len(shown) - _MOST_ARGUMENTS} more"] if len(shown) > _MOST_ARGUMENTS else []
    return ", ".join([*shown[:_MOST_ARGUMENTS], *more])


def _shown_value(value: object) -> str:
    return _one_line(json.dumps(value, ensure_ascii=False), _ARGUMENT_CHARACTERS)


def _pretty(text: str) -> str:
    """Return JSON with line breaks, and anything else as it is; shortened."""
    if len(text) <= 100_000:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict | list):
            text = json.dumps(value, indent=2, ensure_ascii=False)
    text = plain_text(text)
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[:_SHOWN_CHARACTERS]}\n… {len(text) - _SHOWN_CHARACTERS:,} more characters"


def _block(text: str) -> str:
    """Return HTML for inside ``<pre>``. An empty line would end the block for some renderers of Markdown."""
    return _EMPTY_LINE.sub("\n&#8203;", literal_html(text))


def _code(text: str) -> str:
    # In a line of Markdown, what stands between tags is Markdown as well.
    return f"<code>{literal_markdown(text)}</code>"


# -- the handlers -----------------------------------------------------------------------------------------------------


class _State:
    """What the handler knows of one run."""

    def __init__(self) -> None:
        self.calls: dict[str, FunctionCall] = {}
        self.blocks: dict[str, _CallBlock] = {}


class FunctionCallingHandler(TextHandler):
    """Shows each function call as it happens: name and arguments, then what it gave back or what went wrong.

    ``stream_run`` runs the functions. To answer calls yourself, override ``on_requires_action`` and call
    ``submit_tool_outputs``.

    What a function gives back is shown as text, whatever it holds: HTML and Markdown in it are not live, and an
    instruction in it is for you to read.

    Example:
        ::

            agent = teacher.with_tools(duckduckgo_search)
            run = stream_run(client, agent, thread, "Who made GPT-2?", event_handler=FunctionCallingHandler())
            run.until_done().handler.function_calls
    """

    # On the class, for a subclass that forgets super().__init__().
    _functions: _State | None = None
    _functions_of: object = None

    @property
    def function_calls(self) -> list[FunctionCall]:
        """The function calls of this run, in the order in which they began."""
        return list(self._function_state().calls.values())

    # -- hooks --------------------------------------------------------------------------------------------------------

    def on_event(self, event: Any) -> None:
        """Show the calls of a response that came without the events of its calls."""
        super().on_event(event)
        if at(event, "type") not in _ENDINGS:
            return
        output = at(at(event, "response"), "output")
        for item in output if isinstance(output, list) else ():
            if at(item, "type") == "function_call":
                known = self._function_state().calls.get(self._key(item))
                if known is None or known.status == "writing":
                    self._show(item, "waiting")

    def on_tool_call_created(self, tool_call: Any) -> None:
        """Show that a call is being written."""
        super().on_tool_call_created(tool_call)
        if at(tool_call, "type") == "function_call":
            self._show(tool_call, "writing")

    def on_tool_call_done(self, tool_call: Any) -> None:
        """Show the complete arguments."""
        super().on_tool_call_done(tool_call)
        if at(tool_call, "type") == "function_call":
            cut = text_at(tool_call, "status") == "incomplete"
            self._show(tool_call, "unfinished" if cut else "waiting")

    def on_function_done(self, result: FunctionResult) -> None:
        """Show what came of the call."""
        super().on_function_done(result)
        state = self._function_state()
        known = state.calls.get(result.call_id) or FunctionCall(result.call_id, result.name, result.arguments)
        self._put(
            result.call_id, FunctionCall(known.call_id, known.name, known.arguments, result.status, result)
        )

    def on_end(self) -> None:
        """Say of the calls that are still open that nobody answered them."""
        for key, call in self._function_state().calls.items():
            if call.status in ("writing", "waiting"):
                self._put(key, FunctionCall(call.call_id, call.name, call.arguments, "unfinished"))
        super().on_end()

    # -- how ----------------------------------------------------------------------------------------------------------

    def _function_state(self) -> _State:
        # Made when it is needed and for each run anew: a handler may serve several.
        if self._functions is None or self._functions_of is not self._progress:
            self._functions, self._functions_of = _State(), self._progress
        return self._functions

    def _key(self, item: Any) -> str:
        # Some servers give no ids; the place of a call among the others names it as well.
        return text_at(item, "call_id") or text_at(item, "id") or f"call {at(item, 'name')}"

    def _show(self, item: Any, status: str) -> None:
        key = self._key(item)
        arguments = text_at(item, "arguments")
        self._put(key, FunctionCall(key, text_at(item, "name"), arguments, status))

    def _put(self, key: str, call: FunctionCall) -> None:
        state = self._function_state()
        state.calls[key] = call
        if key not in state.blocks:
            state.blocks[key] = _CallBlock(self)
        state.blocks[key].show(call)


class _CallBlock:
    """The place where one call is shown: one display that changes in a notebook, two pieces of text elsewhere."""

    def __init__(self, handler: FunctionCallingHandler) -> None:
        self._renderer = handler.renderer
        self._call = FunctionCall("", "")
        self._block: Block | None = None
        self._announced = False

    def show(self, call: FunctionCall) -> None:
        """Show the call as it is now."""
        self._call = call
        if self._renderer.mode == "markdown":
            self._show_in_place()
        else:
            self._show_in_lines()

    def _show_in_place(self) -> None:
        if self._block is None:
            self._block = self._renderer.block("function", to_markdown=lambda text: self._call.markdown())
        if self._call.status in ("writing", "waiting"):
            self._block.update(self._call.plain())
        else:
            self._block.done(self._call.plain())

    def _show_in_lines(self) -> None:
        # Calls can be answered in another order than they were asked, so an outcome names its function again.
        if not self._announced and self._call.status != "writing":
            self._announced = True
            self._renderer.block("function").done(f"Calling {self._call.signature}")
        if self._call.status not in ("writing", "waiting"):
            self._renderer.block("function").done(self._call.outcome_plain())


class ToolboxHandler(FileSearchHandler, CodeInterpreterHandler, FunctionCallingHandler):
    """Shows everything: searches with citations, code with its output and files, and the calls of your functions.

    Args:
        client: what ``connect()`` returned; without one, files that code made are not downloaded.
        download_to: the folder for the files; ``None``: do not download.
        renderer: where output goes.

    Example:
        ::

            agent = librarian.with_tools({"type": "code_interpreter", "container": {"type": "auto"}}, duckduckgo_search)
            stream_run(client, agent, thread, question, event_handler=ToolboxHandler(client)).until_done()
    """
