"""What a chat shows of one exchange: as HTML, as plain text, and as data.

Here live ``Turn`` (a question and what came of it, as far as it has come) and its forms. All of it is pure: nothing is
fetched, run or displayed, and whatever a model, a file or a function wrote is shown as text. Not here: reading events
(``chat_handler.py``), widgets and threads (``chat_widget.py``).
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from helpers.citations import CitedText, Passage, excerpt, literal_html, shown_name
from helpers.code_interpreter import CodeCall, shown_logs
from helpers.diagrams import plain
from helpers.downloads import DownloadReport
from helpers.file_search import FileSearch
from helpers.function_calling import FunctionCall
from helpers.markdown_html import code_html, markdown_html
from helpers.rendering import plain_text

__all__ = [
    "STYLE",
    "Called",
    "Part",
    "Ran",
    "Said",
    "Searched",
    "Turn",
    "Used",
    "doing",
    "transcript_html",
    "transcript_plain",
    "turn_html",
    "turn_pieces",
    "turn_plain",
    "usage_text",
]

_RUNNING: Final = frozenset({"in_progress", "searching", "interpreting"})
_BEFORE_ITS_RESULT: Final = frozenset({"writing", "waiting"})
_MOST_OUTPUT: Final = 2_000
_MOST_OUTCOME: Final = 120
_MOST_PASSAGES: Final = 8
# Saved notebooks hold the transcript; more than this in pictures, and only their alternative texts are kept.
_MOST_IMAGE_BYTES: Final = 1_500_000


# -- what happened ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """A text of the model."""

    text: str
    """As it is shown: with ``[1]`` for citations, and paths of downloaded files."""
    complete: bool = True
    refusal: bool = False
    cited: CitedText | None = None
    """The citations that are listed below it."""


@dataclass(frozen=True, slots=True)
class Searched:
    """A search of the files."""

    search: FileSearch


@dataclass(frozen=True, slots=True)
class Ran:
    """Code that the model wrote and ran."""

    call: CodeCall


@dataclass(frozen=True, slots=True)
class Called:
    """A call of a function of yours."""

    call: FunctionCall


@dataclass(frozen=True, slots=True)
class Used:
    """Another tool."""

    type: str
    """The item's type, such as ``"web_search_call"``."""
    status: str = "completed"


Part = Said | Searched | Ran | Called | Used


@dataclass(frozen=True, slots=True)
class Turn:
    """A question, and what came of it so far.

    In a notebook it shows itself like the chat does, elsewhere as text.
    """

    question: str
    assistant: str = "assistant"
    """The assistant's name."""
    parts: tuple[Part, ...] = ()
    """What the assistant did and said, in order."""
    status: str = "in_progress"
    """``in_progress``, ``stopping``, ``stopped`` (by you), ``failed``, or how the response ended: ``completed``,
    ``incomplete``, ``cancelled``."""
    error: str = ""
    """One sentence if it failed."""
    marks: tuple[str, ...] = ()
    """Where the answer came from, if not from a model now; and why it is incomplete."""
    downloads: DownloadReport | None = None
    """The files that code made, as far as they were downloaded."""
    tokens: int = 0
    """What the API counted; it counts when an answer ends."""
    price_usd: float | None = None
    """US dollars; ``None`` if it is not known."""
    estimated: bool = False
    """Whether tokens and price are estimates, as in recorded mode."""
    earlier: bool = False
    """Whether it was in the conversation before the chat began."""

    @property
    def text(self) -> str:
        """The answer as plain text."""
        return "\n\n".join(part.text for part in self.parts if isinstance(part, Said) and part.text)

    @property
    def running(self) -> bool:
        """Whether more will come."""
        return self.status in ("in_progress", "stopping")

    def data(self) -> dict[str, Any]:
        """Return the exchange as values that fit into JSON."""
        cited = [part.cited for part in self.parts if isinstance(part, Said) and part.cited is not None]
        files = {each.number: each.filename for one in cited for each in one.citations}
        return {
            "question": self.question,
            "answer": self.text,
            "status": self.status,
            "error": self.error,
            "tools": [tool for tool in map(_tool_data, self.parts) if tool],
            "citations": [{"number": number, "file": files[number]} for number in sorted(files)],
            "files": [str(path) for path in self.downloads.paths] if self.downloads else [],
            "marks": list(self.marks),
            "tokens": self.tokens,
            "price_usd": self.price_usd,
            "estimated": self.estimated,
        }

    def __repr__(self) -> str:
        return turn_plain(self)

    def _repr_html_(self) -> str:
        return turn_html(self)


def _tool_data(part: Part) -> dict[str, Any]:
    match part:
        case Searched(search):
            return {"tool": "file_search", "queries": list(search.queries), "outcome": search.outcome}
        case Ran(call):
            return {
                "tool": "code_interpreter",
                "code": call.code,
                "output": call.logs or "",
                "images": [image.alt_text for image in call.images],
                "status": call.status,
            }
        case Called(call):
            return {
                "tool": "function",
                "name": call.name,
                "arguments": call.arguments,
                "output": call.result.output if call.result else "",
                "status": call.status,
            }
        case Used(kind, status):
            return {"tool": kind.removesuffix("_call"), "status": status}
        case _:
            return {}


def doing(turn: Turn) -> str:
    """Return what goes on just now, in a few words; ``""`` if the turn is over."""
    if turn.status == "stopping":
        return "Stopping …"
    if not turn.running:
        return ""
    match turn.parts[-1] if turn.parts else None:
        case None:
            return "Waiting for the first sign of an answer …"
        case Said(complete=False):
            return "Writing …"
        case Searched(search) if search.status in _RUNNING:
            return "Searching your files …"
        case Ran(call) if call.status == "interpreting":
            return "Running code …"
        case Ran(call) if call.status in _RUNNING:
            return "Writing code …"
        case Called(call) if call.status in _BEFORE_ITS_RESULT:
            return f"Calling {plain(call.name, 60) or 'a function'} …"
        case Used(kind, status) if status in _RUNNING:
            return f"{_tool_words(kind)} …"
    return "Thinking …"


# -- HTML -------------------------------------------------------------------------------------------------------------


def turn_pieces(turn: Turn) -> list[str]:
    """Return the turn as pieces of HTML: the question, each part, and what stands below.

    Cut like this so that a chat sends only what has changed.
    """
    question = (
        f'<div class="wc-question"><strong class="wc-who">You</strong>'
        f'<div style="white-space:pre-wrap">{literal_html(turn.question)}</div></div>'
        f'<div><strong class="wc-who">{literal_html(plain(turn.assistant, 100))}</strong></div>'
    )
    return [question, *map(_part_html, turn.parts), _below_html(turn)]


def turn_html(turn: Turn) -> str:
    """Return the turn as HTML that can stand alone; it needs no style, and uses the chat's where it is there."""
    return f'<div class="wc-turn wc-look tex2jax_ignore mathjax_ignore">{"".join(turn_pieces(turn))}</div>'


def transcript_html(title: str, turns: Sequence[Turn]) -> str:
    """Return a conversation as HTML, for where widgets are not drawn: a saved notebook, GitHub, nbconvert."""
    heading = f"<p><strong>{literal_html(plain(title))}</strong></p>"
    if not turns:
        return f'<div class="wc-transcript wc-look">{heading}<p>Nothing has been asked yet.</p></div>'
    left_bytes = _MOST_IMAGE_BYTES
    pieces: list[str] = []
    for turn in reversed(turns):
        shown = turn_html(turn)
        if "<img " in shown and len(shown) > left_bytes:
            shown = turn_html(_without_images(turn))
        else:
            left_bytes -= len(shown)
        pieces.insert(0, shown)
    return f'<div class="wc-transcript wc-look">{heading}{"<hr>".join(pieces)}</div>'


def _without_images(turn: Turn) -> Turn:
    parts: list[Part] = []
    for part in turn.parts:
        if isinstance(part, Ran):
            images = tuple(replace(image, mime_type="", data=b"") for image in part.call.images)
            part = Ran(replace(part.call, images=images))
        parts.append(part)
    return replace(turn, parts=tuple(parts))


def _part_html(part: Part) -> str:
    match part:
        case Said():
            return _said_html(part)
        case Searched(search):
            return _search_html(search)
        case Ran(call):
            return _code_call_html(call)
        case Called(call):
            return _function_html(call)
        case Used(kind, status):
            words = _tool_words(kind, done=status not in _RUNNING)
            return f'<div class="wc-tool">{literal_html(words)}</div>'


def _said_html(said: Said) -> str:
    body = markdown_html(said.text, streaming=not said.complete)
    declined = '<p class="wc-aside">The model declined to answer:</p>' if said.refusal else ""
    files = said.cited.files_html() if said.cited is not None else ""
    below = f'<div class="wc-cited">{files}</div>' if files else ""
    return f'<div class="wc-answer">{declined}{body}{below}</div>'


def _search_html(search: FileSearch) -> str:
    if search.status in _RUNNING:
        return ""  # what goes on is said below
    queries = " · ".join(f"“{literal_html(excerpt(query))}”" for query in search.queries)
    headline = f"Searched your files for {queries}" if queries else "Searched your files"
    headline = f"{headline}: {literal_html(search.outcome)}"
    if not search.passages:
        return f'<div class="wc-tool">{headline}</div>'
    items = "".join(f"<li>{_passage_html(passage)}</li>" for passage in search.passages[:_MOST_PASSAGES])
    left_out = len(search.passages) - _MOST_PASSAGES
    more = f"<p>… and {left_out} more</p>" if left_out > 0 else ""
    return _folded(headline, f"<ol>{items}</ol>{more}")


def _passage_html(passage: Passage) -> str:
    name = literal_html(shown_name(passage.filename or passage.file_id))
    score = "" if passage.score is None else f" (score {passage.score:.2f})"
    return f"<code>{name}</code>{score}<br>{literal_html(excerpt(passage.text, 240))}"


def _code_call_html(call: CodeCall) -> str:
    code = code_html(call.code, "python") if call.code.strip() else ""
    if call.status in _RUNNING:
        return _folded("Code", code, is_open=True) if code else ""
    logs = shown_logs(call.logs or "")
    output = code_html(logs) if logs else ""
    images = "".join(map(_image_html, call.images))
    headline = "Ran code" if call.headline == "Output" else f"Ran code. {call.headline}"
    shown = f'<p class="wc-aside">Output</p>{output}' if output else ""
    return _folded(literal_html(headline), f"{code}{shown}", is_open=True) + images


def _image_html(image: Any) -> str:
    words = literal_html(image.alt_text)
    if not image.mime_type or not image.data:
        return f'<p class="wc-aside">[image: {words}]</p>'
    # The type was read off the bytes (code_interpreter.image_in): PNG, JPEG or GIF, which hold no script.
    data = base64.b64encode(image.data).decode("ascii")
    alt = html.escape(plain(image.alt_text, 300), quote=True)
    return (
        f'<figure class="wc-figure"><img src="data:{image.mime_type};base64,{data}" alt="{alt}">'
        f"<figcaption>{words}</figcaption></figure>"
    )


def _function_html(call: FunctionCall) -> str:
    signature = f"<code>{literal_html(call.signature)}</code>"
    result = call.result
    if result is None:
        words = "Calls" if call.status in _BEFORE_ITS_RESULT else "Did not call"
        return f'<div class="wc-tool">{words} {signature}</div>'
    word = "Tried to call" if result.error else "Called"
    headline = f"{word} {signature} → {literal_html(excerpt(call.outcome, _MOST_OUTCOME))}"
    parts = [
        ("The model wrote", *_readable(call.arguments)),
        ("The model gets", *_readable(result.output)),
        ("The function printed, and the model does not see it", plain_text(result.printed), ""),
    ]
    body = "".join(
        f'<p class="wc-aside">{label}</p>{code_html(_cut(text), language)}'
        for label, text, language in parts
        if text.strip()
    )
    return _folded(headline, body)


def _readable(output: str) -> tuple[str, str]:
    """Return an output laid out for reading, and its language."""
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        return plain_text(output), ""
    if isinstance(value, dict | list):
        return plain_text(json.dumps(value, ensure_ascii=False, indent=2)), "json"
    return plain_text(output), ""


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_OUTPUT else f"{text[:_MOST_OUTPUT]}\n… ({len(text):,} characters)"


def _folded(headline: str, body: str, *, is_open: bool = False) -> str:
    if not body:
        return f'<div class="wc-tool">{headline}</div>'
    return (
        f'<details class="wc-tool"{" open" if is_open else ""}><summary>{headline}</summary>'
        f'<div class="wc-inside">{body}</div></details>'
    )


def _below_html(turn: Turn) -> str:
    if turn.running:
        return f'<div class="wc-doing" role="status">{literal_html(doing(turn))}</div>'
    pieces: list[str] = []
    if turn.downloads is not None and (turn.downloads.rows or turn.downloads.notes):
        lines = "".join(f"<li>{literal_html(line)}</li>" for line in turn.downloads.summary().splitlines())
        pieces.append(f'<div class="wc-files"><p>Files made by the code</p><ul>{lines}</ul></div>')
    if turn.error:
        pieces.append(
            f'<div class="wc-error" role="alert"><strong>Error:</strong> {literal_html(turn.error)}</div>'
        )
    notes = _notes(turn)
    if notes:
        lines = "<br>".join(map(literal_html, notes))
        pieces.append(f'<div class="wc-marks" role="note">{lines}</div>')
    return "".join(pieces)


def _notes(turn: Turn) -> list[str]:
    notes = list(turn.marks)
    if turn.status == "stopped":
        notes.append("stopped · you stopped the answer here, so it is not complete")
    if turn.tokens:
        notes.append(usage_text(turn.tokens, turn.price_usd, turn.estimated))
    return notes


def usage_text(tokens: int, price_usd: float | None, estimated: bool) -> str:
    """Return tokens and price in a few words; a price in US dollars that is not known is left out.

    Example:
        >>> usage_text(1234, 0.00042, estimated=True)
        '≈ 1,234 tokens · ≈ $0.0004'
    """
    about = "≈ " if estimated else ""
    words = f"{about}{tokens:,} token{'' if tokens == 1 else 's'}"
    if price_usd is None:
        return words
    price = "<$0.0001" if 0 < price_usd < 0.000_05 else f"${price_usd:,.4f}"
    return f"{words} · {about}{price}"


def _tool_words(kind: str, *, done: bool = False) -> str:
    known = {
        "web_search_call": ("Searching the web", "Searched the web"),
        "image_generation_call": ("Making an image", "Made an image"),
        "file_search_call": ("Searching your files", "Searched your files"),
        "code_interpreter_call": ("Running code", "Ran code"),
    }
    name = plain(kind.removesuffix("_call").replace("_", " "), 60) or "a tool"
    return known.get(kind, (f"Using {name}", f"Used {name}"))[done]


# -- plain text -------------------------------------------------------------------------------------------------------


def turn_plain(turn: Turn) -> str:
    """Return the turn as plain text."""
    blocks = [f"You: {plain_text(turn.question)}", f"{plain(turn.assistant, 100)}:"]
    for part in turn.parts:
        shown = _part_plain(part)
        if shown:
            blocks.append(shown)
    if turn.downloads is not None and (turn.downloads.rows or turn.downloads.notes):
        blocks.append(f"Files made by the code\n{_indented(turn.downloads.summary())}")
    if turn.error:
        blocks.append(f"Error: {turn.error}")
    if turn.running:
        blocks.append(doing(turn))
    elif _notes(turn):
        blocks.append("\n".join(_notes(turn)))
    return plain_text("\n\n".join(blocks))


def transcript_plain(title: str, turns: Sequence[Turn]) -> str:
    """Return a conversation as plain text."""
    shown = "\n\n---\n\n".join(map(turn_plain, turns)) or "Nothing has been asked yet."
    return f"{plain(title)}\n\n{shown}"


def _part_plain(part: Part) -> str:
    match part:
        case Said(text, _, refusal, cited):
            files = cited.files_plain() if cited is not None else ""
            declined = "The model declined to answer:" if refusal else ""
            return "\n\n".join(piece for piece in (declined, plain_text(text), files) if piece)
        case Searched(search):
            return search.plain()
        case Ran(call):
            return call.plain()
        case Called(call):
            return call.plain()
        case Used(kind, status):
            return _tool_words(kind, done=status not in _RUNNING)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


# -- how it looks -----------------------------------------------------------------------------------------------------

# Colours come from the theme: JupyterLab's variables, then Colab's, then half transparent greys, which suit any
# background. Nothing is told by colour alone. The last rule hides the transcript where the chat itself is drawn.
STYLE: Final = """<style>
.wc-look {
  --wc-line: var(--jp-border-color2, var(--colab-border-color, rgba(128, 128, 128, .35)));
  --wc-shade: rgba(128, 128, 128, .10);
}
.wc-root {
  border: 1px solid var(--wc-line); border-radius: 8px; max-width: 880px; overflow: hidden;
}
.wc-root .wc-head, .wc-root .wc-foot { background: var(--wc-shade); padding: 6px 12px; margin: 0; }
.wc-root .wc-messages { padding: 4px 12px; margin: 0; overflow-x: hidden; }
.wc-root .wc-controls { padding: 6px 10px; margin: 0; border-top: 1px solid var(--wc-line); }
.wc-root .widget-html, .wc-root .widget-html-content { width: auto; height: auto; margin: 0; overflow: visible; }
.wc-root .widget-html-content { line-height: 1.5; font-size: var(--jp-content-font-size1, 14px); flex: 1 1 auto; min-width: 0; }
.wc-look .wc-who { font-weight: 600; font-size: .85em; display: block; }
.wc-look .wc-question {
  background: rgba(33, 150, 243, .16); border-radius: 10px; padding: 6px 12px;
  margin: 10px 0 8px auto; width: fit-content; max-width: 80%; overflow-wrap: anywhere;
}
.wc-look .wc-answer { overflow-wrap: anywhere; }
.wc-look .wc-answer p, .wc-look .wc-answer ul, .wc-look .wc-answer ol { margin: .4em 0; }
.wc-look .wc-answer ul, .wc-look .wc-answer ol, .wc-look .wc-inside ol, .wc-look .wc-files ul { padding-left: 1.6em; }
.wc-look .wc-answer h4 { font-size: 1.15em; } .wc-look .wc-answer h5 { font-size: 1.07em; } .wc-look .wc-answer h6 { font-size: 1em; }
.wc-look h4, .wc-look h5, .wc-look h6 { margin: .7em 0 .3em; font-weight: 600; }
.wc-look .wc-answer a { color: var(--jp-content-link-color, inherit); text-decoration: underline; }
.wc-look blockquote { border-left: 3px solid var(--wc-line); margin: .4em 0; padding: 0 0 0 .8em; }
.wc-look code { font-family: var(--jp-code-font-family, monospace); font-size: .92em; background: var(--wc-shade); padding: 0 3px; border-radius: 3px; color: inherit; }
.wc-look pre.wc-code {
  background: var(--wc-shade); border: 1px solid var(--wc-line); border-radius: 4px; padding: 6px 10px; margin: .4em 0;
  overflow: auto; max-height: 320px; line-height: 1.35; color: inherit;
}
.wc-look pre.wc-code code { background: none; padding: 0; white-space: pre; }
.wc-look .wc-table { overflow-x: auto; }
.wc-look table { border-collapse: collapse; margin: .4em 0; font-size: .95em; }
.wc-look th, .wc-look td { border: 1px solid var(--wc-line); padding: 3px 8px; text-align: left; }
.wc-look .wc-tool { border-left: 3px solid var(--wc-line); padding: 1px 0 1px 10px; margin: 6px 0; font-size: .92em; overflow-wrap: anywhere; }
.wc-look .wc-tool summary { cursor: pointer; color: inherit; }
.wc-look .wc-figure { margin: 8px 0; }
.wc-look .wc-figure img { max-width: min(100%, 620px); height: auto; background: #fff; border-radius: 4px; display: block; }
.wc-look .wc-figure figcaption, .wc-look .wc-aside, .wc-look .wc-marks, .wc-look .wc-cited, .wc-look .wc-files { font-size: .88em; color: inherit; opacity: .8; margin: 2px 0; }
.wc-look .wc-cited p, .wc-look .wc-files p { margin: .3em 0 0; font-weight: 600; }
.wc-look .wc-cited ul, .wc-look .wc-files ul { margin: .1em 0; }
.wc-look .wc-cited ul + p { font-weight: normal; }
.wc-look .wc-marks { border-top: 1px dashed var(--wc-line); margin: 6px 0 10px; padding-top: 3px; }
.wc-look .wc-error { border: 1px solid var(--jp-error-color1, #c62828); border-radius: 6px; padding: 5px 10px; margin: 8px 0; }
.wc-look .wc-doing { font-style: italic; margin: 6px 0 10px; }
@media (prefers-reduced-motion: no-preference) {
  .wc-look .wc-doing { animation: wc-pulse 1.6s ease-in-out infinite; }
  @keyframes wc-pulse { 50% { opacity: .65; } }
}
.wc-look .wc-keyword { color: var(--jp-mirror-editor-keyword-color, inherit); font-weight: 600; }
.wc-look .wc-string { color: var(--jp-mirror-editor-string-color, inherit); }
.wc-look .wc-comment { color: var(--jp-mirror-editor-comment-color, inherit); font-style: italic; }
.wc-look .wc-number { color: var(--jp-mirror-editor-number-color, inherit); }
.wc-look .wc-name { color: var(--jp-mirror-editor-def-color, inherit); }
.wc-look .wc-builtin { color: var(--jp-mirror-editor-builtin-color, inherit); }
.jp-OutputArea:has(.wc-root) > .jp-OutputArea-child:has(.wc-transcript), .output:has(.wc-root) > .output_area:has(.wc-transcript),
#output-area:has(.wc-root) .wc-transcript, .cell_container:has(.wc-root) .wc-transcript { display: none; }
</style>"""
