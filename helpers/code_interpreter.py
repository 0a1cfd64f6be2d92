"""Show an answer that runs code: the code while it is written, what it printed and drew, the answer, and its files.

Here live ``CodeInterpreterHandler`` and what it shows of one call. Not here: getting files out of a container
(``downloads.py``), containers themselves (``containers.py``), and drawing (``rendering.py``).
"""

from __future__ import annotations

import ast
import base64
import binascii
import os
import re
import struct
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import openai

from helpers import rendering
from helpers.citations import literal_markdown
from helpers.containers import container_problem
from helpers.diagrams import plain
from helpers.downloads import DownloadReport, GeneratedFile, download_files, files_made_in
from helpers.errors import ConfigurationError, explain
from helpers.fields import at, text_at
from helpers.handlers import ImageFile, Text, TextHandler, ToolCallDelta
from helpers.rendering import Block, MarkdownRenderer, Renderer, plain_text, safe_markdown

__all__ = ["CodeCall", "CodeImage", "CodeInterpreterHandler", "image_in"]

_OUTPUTS: Final = "code_interpreter_call.outputs"
_NO_OUTPUTS: Final = (
    "What the code printed and drew is not in the response; to see it, add "
    f'include=["{_OUTPUTS}"] to the request.'
)
_RUNNING: Final = frozenset({"in_progress", "interpreting"})
_ENDINGS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
_UNFINISHED: Final = {
    "failed": "The code was stopped, or could not be run.",
    "incomplete": "The code was not finished.",
    "interrupted": "The code was not finished.",
}
# The begin says what it is about, and the end holds the error.
_FIRST_CHARACTERS: Final = 8_000
_LAST_CHARACTERS: Final = 4_000
_LARGEST_IMAGE_BYTES: Final = 20_000_000
_INDENT: Final = "    "


# -- one call ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CodeImage:
    """An image that code drew.

    Attributes:
        alt_text: what it shows, as far as the code says it (title and axes), and its size.
        mime_type: such as ``"image/png"``; ``""`` if it could not be read or is only an address.
        data: the image itself; empty if there is none.
        width, height: in pixels; 0 if not known.
    """

    alt_text: str
    mime_type: str = ""
    data: bytes = b""
    width: int = 0
    height: int = 0

    def __repr__(self) -> str:
        return f"[image: {plain_text(self.alt_text)}]"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return (self.bundle(), {self.mime_type: {"alt": self.alt_text}} if self.mime_type else {})

    def bundle(self) -> dict[str, str]:
        """Return the image as MIME type to text, for a display."""
        shown = {"text/plain": repr(self)}
        if self.mime_type:
            shown[self.mime_type] = base64.b64encode(self.data).decode("ascii")
        return shown


@dataclass(frozen=True)
class CodeCall:
    """One piece of code that the model wrote and ran.

    Attributes:
        code: the code, with ``\\n`` at the end of each line.
        logs: what it printed, its last expression and its traceback; ``None`` if the request did not include it.
        images: what it drew.
        status: ``"in_progress"``, ``"interpreting"``, ``"completed"``, ``"incomplete"``, ``"failed"``, or
            ``"interrupted"`` if the stream stopped before the code was over.
        container_id: where it ran.
    """

    code: str = ""
    logs: str | None = None
    images: tuple[CodeImage, ...] = ()
    status: str = "completed"
    container_id: str = ""

    @property
    def error(self) -> str:
        """The last line of the traceback, such as ``"KeyError: 'loss'"``; ``""`` if the code did not raise."""
        if not self.logs or "Traceback (most recent call last)" not in self.logs:
            return ""
        lines = [line for line in readable_logs(self.logs).splitlines() if line.strip()]
        found = next((line for line in reversed(lines) if _ERROR_LINE.match(line)), "")
        return plain(found, 300)

    @property
    def headline(self) -> str:
        """What came out of it, in a few words, to stand above its output."""
        if self.status in _UNFINISHED:
            return _UNFINISHED[self.status]
        if self.logs is None and not self.images:
            return _NO_OUTPUTS
        if self.error:
            return f"The code raised an error: {self.error}"
        return "Output" if self.logs or self.images else "The code printed and drew nothing."

    def plain(self) -> str:
        """Return code and output as plain text, both indented."""
        parts = [
            "Code",
            _indented(plain_text(self.code)),
            self.output_plain(),
            *(f"{_INDENT}{image!r}" for image in self.images),
        ]
        return "\n".join(part for part in parts if part)

    def markdown(self) -> str:
        """Return code and output as Markdown, in which nothing that code or output hold is live."""
        images = "\n\n".join(f"*{literal_markdown(repr(image))}*" for image in self.images)
        return "\n\n".join(
            part for part in (fenced(self.code, "python"), self.output_markdown(), images) if part
        )

    def output_plain(self) -> str:
        """Return the output without images as plain text."""
        logs = shown_logs(self.logs or "")
        return "\n".join(part for part in (self.headline, _indented(logs)) if part)

    def output_markdown(self) -> str:
        """Return the output without images as Markdown."""
        headline = f"*{literal_markdown(self.headline)}*"
        logs = shown_logs(self.logs or "")
        return f"{headline}\n\n{fenced(logs, 'text')}" if logs else headline

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/markdown": self.markdown(), "text/plain": self.plain()}


_ERROR_LINE: Final = re.compile(
    r"[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning|Iteration)\b(?::|\s*$)"
)
_COLOUR: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


def readable_logs(logs: str) -> str:
    """Return logs as a terminal would show them: without colour codes, and with progress bars as they ended.

    Example:
        >>> readable_logs("10%\\r100%\\n\\x1b[31mred\\x1b[0m")
        '100%\\nred'
    """
    text = _COLOUR.sub("", logs).replace("\r\n", "\n")
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return plain_text("\n".join(lines))


def shown_logs(logs: str) -> str:
    """Return readable logs, with the middle left out of long ones; a note says so."""
    text = readable_logs(logs).strip("\n")
    left_out = len(text) - _FIRST_CHARACTERS - _LAST_CHARACTERS
    if left_out <= 0:
        return text
    first, last = text[:_FIRST_CHARACTERS], text[-_LAST_CHARACTERS:]
    # Between lines, where there are some.
    first = first[: first.rfind("\n") + 1 or None].rstrip("\n")
    last = last[last.find("\n") + 1 :] if "\n" in last[:-1] else last
    left_out = len(text) - len(first) - len(last)
    return f"{first}\n\n… {left_out:,} of {len(text):,} characters are left out here …\n\n{last}"


def fenced(text: str, language: str) -> str:
    """Return Markdown that shows ``text`` as a block of code, whatever it holds; ``""`` for an empty text."""
    if not text.strip():
        return ""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    # Through safe_markdown for what renderers differ in: they disagree on where such a block ends.
    return safe_markdown(f"{fence}{language}\n{text}\n{fence}")


def _indented(text: str) -> str:
    lines = text.replace("\r\n", "\n").strip("\n").split("\n")
    return "\n".join(f"{_INDENT}{line}" if line.strip() else "" for line in lines) if text.strip() else ""


# -- images -----------------------------------------------------------------------------------------------------------


def image_in(url: str, alt_text: str = "drawn by the code") -> CodeImage:
    """Return the image that a ``data:`` address holds. Nothing is fetched: of another address, only the text is shown.

    Args:
        url: what the API sent.
        alt_text: what the image shows; its size is added.
    """
    if not url.startswith("data:"):
        return CodeImage(f"{alt_text}, at {plain(url, 200) or 'no address'}; it was not fetched")
    head, _, body = url.partition(",")
    if not head.endswith(";base64") or len(body) > _LARGEST_IMAGE_BYTES * 4 // 3:
        return CodeImage(f"{alt_text}; it is too large or of a kind that is not shown")
    try:
        data = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    # What the bytes are decides, not what the address says they are: an SVG can hold a script.
    for kind, mime_type, name in (
        (b"\x89PNG\r\n\x1a\n", "image/png", "PNG"),
        (b"\xff\xd8\xff", "image/jpeg", "JPEG"),
        (b"GIF8", "image/gif", "GIF"),
    ):
        if data.startswith(kind):
            width, height = _size_of(data, mime_type)
            size = f"{width}×{height} {name}" if width else name
            return CodeImage(f"{size}, {alt_text}", mime_type, data, width, height)
    return CodeImage(f"{alt_text}; it could not be read")


def _size_of(data: bytes, mime_type: str) -> tuple[int, int]:
    if mime_type == "image/png" and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        return width, height
    if mime_type == "image/gif" and len(data) >= 10:
        width, height = struct.unpack("<HH", data[6:10])
        return width, height
    return 0, 0


_TITLES: Final = frozenset({"title", "set_title", "suptitle"})
_LABELS: Final = {"xlabel": "x", "set_xlabel": "x", "ylabel": "y", "set_ylabel": "y"}


def described(code: str, number: int = 1, total: int = 1) -> str:
    """Say what the code calls its plot: title and axes; the words stand in the code, so they are not a guess.

    Example:
        >>> described("plt.title('Loss')\\nplt.xlabel('step')")
        'plot “Loss”, x: step'
    """
    titles: list[str] = []
    labels: list[str] = []
    try:
        nodes = sorted(
            (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)),
            key=lambda node: (node.lineno, node.col_offset),
        )
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        nodes = []  # a line such as %matplotlib inline is no Python; then the plot has no name
    for node in nodes:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        first = node.args[0] if node.args else None
        if not isinstance(first, ast.Constant) or not isinstance(first.value, str) or not first.value.strip():
            continue
        if name in _TITLES:
            titles.append(plain(first.value, 120))
        elif name in _LABELS:
            labels.append(f"{_LABELS[name]}: {plain(first.value, 60)}")
    which = f"plot {number} of {total}" if total > 1 else "plot"
    if total > 1:
        # Which title belongs to which image is known only if there are as many.
        return (
            f"{which} “{titles[number - 1]}”" if len(titles) == total else f"{which} drawn by the code above"
        )
    shown = " / ".join(f"“{title}”" for title in titles[:4])
    named = ", ".join(part for part in (f"{which} {shown}" if shown else "", *dict.fromkeys(labels)) if part)
    if not named:
        return f"{which} drawn by the code above"
    return named if shown else f"{which}, {named}"


# -- the handler ------------------------------------------------------------------------------------------------------


class _State:
    """What the handler knows of one run."""

    def __init__(self) -> None:
        self.calls: dict[str, CodeCall] = {}
        self.code_blocks: dict[str, Block] = {}
        self.image_urls: dict[str, list[str]] = {}
        self.shown_images: dict[str, int] = {}
        self.began_at: float | None = None
        self.downloads: DownloadReport | None = None


class CodeInterpreterHandler(TextHandler):
    """Shows code as it is written, then what it printed and drew, then the answer; and gets the files that it made.

    With a client, the files are downloaded as soon as the run is over, and links to them in the answer become paths on
    this computer. Waiting would lose them: a container is gone 20 minutes after its last use. In plain lines, what is
    written stays; the paths stand below the answer. With an asynchronous client the download holds up the event loop.

    Nothing that code prints is live: HTML and Markdown in it are shown as text.

    Args:
        client: what ``connect()`` returned; without one, nothing is downloaded, and a line says how to.
        download_to: the folder for the files; ``None``: do not download.
        renderer: where output goes.

    Example:
        ::

            handler = CodeInterpreterHandler(client)
            run = stream_run(client, analyst, thread, "Plot the loss.", event_handler=handler).until_done()
            handler.downloads.paths
    """

    needs_include: ClassVar[tuple[str, ...]] = (_OUTPUTS,)
    """What to ask for with ``include`` so that there is something to show; collected over all classes of a handler."""

    # On the class, for a subclass that forgets super().__init__().
    _client: openai.OpenAI | openai.AsyncOpenAI | None = None
    _download_to: str | os.PathLike[str] | None = None
    _code: _State | None = None
    _code_of: object = None

    def __init__(
        self,
        client: openai.OpenAI | openai.AsyncOpenAI | None = None,
        *,
        download_to: str | os.PathLike[str] | None = "downloads",
        renderer: Renderer | None = None,
        **more: Any,
    ) -> None:
        super().__init__(renderer=renderer, **more)
        if client is not None and not isinstance(client, openai.OpenAI | openai.AsyncOpenAI):
            raise ConfigurationError(
                f"The first argument must be the client that connect() returned, not a {type(client).__name__}. "
                "Without one, nothing is downloaded."
            )
        self._client = client
        self._download_to = download_to

    # -- what there is to know ----------------------------------------------------------------------------------------

    @property
    def code_calls(self) -> list[CodeCall]:
        """The calls of the code interpreter in this run, in the order in which they began."""
        return list(self._code_state().calls.values())

    @property
    def generated_files(self) -> list[GeneratedFile]:
        """The files that the answer cites as made by code."""
        return files_made_in(self)

    @property
    def downloads(self) -> DownloadReport | None:
        """What was downloaded after the run; ``None`` if nothing was to be."""
        return self._code_state().downloads

    @property
    def began_at(self) -> float | None:
        """When the first response of this run was created: Unix seconds by the service's clock, ``None`` if unknown."""
        return self._code_state().began_at

    def shown_text(self, text: Text) -> str:
        """Return the text with the paths of downloaded files in place of ``sandbox:`` addresses."""
        report = self._code_state().downloads
        if report is None:
            return super().shown_text(text)
        linked = Text("", type=text.type, item_id=text.item_id, content_index=text.content_index)
        value, linked.annotations = with_local_paths(text.value, text.annotations, report)
        linked._pieces = [value]
        return super().shown_text(linked)

    # -- hooks --------------------------------------------------------------------------------------------------------

    def on_event(self, event: Any) -> None:
        """Note when the run began; show the calls of a response that came without the events of its calls."""
        super().on_event(event)
        kind = text_at(event, "type")
        if kind.endswith(".delta"):
            return  # most events; asking them for what they have not got is slow with the SDK's objects
        response = at(event, "response")
        state = self._code_state()
        if state.began_at is None:
            created = at(response, "created_at")
            state.began_at = float(created) if isinstance(created, int | float) else None
        if kind not in _ENDINGS:
            return
        output = at(response, "output")
        for number, item in enumerate(output if isinstance(output, list) else ()):
            if at(item, "type") == "code_interpreter_call":
                key = self._call_key(text_at(item, "id") or f"output {number}")
                known = state.calls.get(key)
                if known is None or known.status in _RUNNING:
                    self._show_done(key, item)
                    for url in list(state.image_urls.get(key, ())):
                        self.on_image_file_done(
                            ImageFile(url=url, item_id=text_at(item, "id") or f"output {number}")
                        )

    def on_tool_call_created(self, tool_call: Any) -> None:
        """Note the call; its code comes in pieces."""
        super().on_tool_call_created(tool_call)
        if at(tool_call, "type") == "code_interpreter_call":
            key = self._call_key(self._item_name(tool_call))
            call = CodeCall(
                _code_in(tool_call), status="in_progress", container_id=text_at(tool_call, "container_id")
            )
            self._code_state().calls.setdefault(key, call)
            if call.code:
                self._code_block(key).append(call.code)

    def on_tool_call_delta(self, delta: ToolCallDelta, snapshot: Any) -> None:
        """Show the piece of code."""
        super().on_tool_call_delta(delta, snapshot)
        if delta.type == "code_interpreter_call" and delta.value:
            self._code_block(self._call_key(delta.item_id)).append(delta.value)

    def on_tool_call_done(self, tool_call: Any) -> None:
        """Show the complete code, and what it printed."""
        super().on_tool_call_done(tool_call)
        if at(tool_call, "type") == "code_interpreter_call":
            self._show_done(self._call_key(self._item_name(tool_call)), tool_call)

    def on_image_file_done(self, image_file: ImageFile) -> None:
        """Show the image, with its alternative text."""
        super().on_image_file_done(image_file)
        state = self._code_state()
        key = self._call_key(image_file.item_id)
        if key not in state.calls:
            return  # drawn by another tool
        number = state.shown_images.get(key, 0)
        state.shown_images[key] = number + 1
        images = state.calls[key].images
        self._show_image(images[number] if number < len(images) else image_in(image_file.url))

    def on_exception(self, exception: Exception) -> None:
        """If the run failed because a container is gone, say what to do."""
        super().on_exception(exception)
        problem = container_problem(exception)
        if problem:
            self.renderer.footer(problem)

    def on_end(self) -> None:
        """Show what is still open; then get the files that the code made."""
        state = self._code_state()
        for key, call in state.calls.items():
            if call.status in _RUNNING:
                state.calls[key] = replace(call, status="interrupted")
                if key in state.code_blocks:
                    state.code_blocks[key].done()
                self._say(_UNFINISHED["interrupted"])
        self._get_files()
        super().on_end()

    # -- how ----------------------------------------------------------------------------------------------------------

    def _code_state(self) -> _State:
        # Made when it is needed and for each run anew: a handler may serve several.
        if self._code is None or self._code_of is not self._progress:
            self._code, self._code_of = _State(), self._progress
        return self._code

    def _item_name(self, tool_call: Any) -> str:
        return text_at(tool_call, "id") or f"output {at(self.current_event, 'output_index') or 0}"

    def _call_key(self, item_name: str) -> str:
        # Some servers give no ids; the place of an item in its response names it as well.
        if item_name.startswith("output "):
            return f"response {len(self._progress.answers)}, {item_name}"
        return item_name

    def _code_block(self, key: str) -> Block:
        blocks = self._code_state().code_blocks
        if key not in blocks:
            if self.renderer.mode == "lines":
                self.renderer.show({"text/plain": "Code"})
                blocks[key] = _IndentedBlock(self.renderer.block("code"))
            else:
                blocks[key] = self.renderer.block("code", to_markdown=lambda text: fenced(text, "python"))
        return blocks[key]

    def _show_done(self, key: str, item: Any) -> None:
        state = self._code_state()
        code = _code_in(item)
        outputs = at(item, "outputs")
        listed = outputs if isinstance(outputs, list) else []
        urls = [text_at(output, "url") for output in listed if at(output, "type") == "image"]
        logs = "\n".join(text_at(output, "logs") for output in listed if at(output, "type") == "logs")
        images = tuple(
            image_in(url, described(code, number, len(urls))) for number, url in enumerate(urls, start=1)
        )
        status = at(item, "status")
        call = CodeCall(
            code=code or (state.calls[key].code if key in state.calls else ""),
            logs=logs if isinstance(outputs, list) else None,
            images=images,
            status=status if isinstance(status, str) and status not in _RUNNING else "completed",
            container_id=text_at(item, "container_id"),
        )
        state.calls[key] = call
        state.image_urls[key] = urls
        if call.code:
            self._code_block(key).done(call.code)
        block = self.renderer.block("code output", to_markdown=lambda text: call.output_markdown())
        block.done(call.output_plain())

    def _show_image(self, image: CodeImage) -> None:
        renderer = self.renderer
        publishes = isinstance(renderer, MarkdownRenderer) and (
            renderer._publish is rendering._publish_with_ipython
        )
        if publishes and image.mime_type:
            # Renderer.show has no place for metadata, which is where a notebook keeps an alternative text.
            from IPython import display

            show: Any = display.display
            show(image.bundle(), metadata={image.mime_type: {"alt": image.alt_text}}, raw=True)
        elif renderer.mode == "lines":
            renderer.show({"text/plain": f"{_INDENT}{image!r}"})
        else:
            renderer.show(_with_markdown(image))

    def _say(self, text: str) -> None:
        self.renderer.show({"text/markdown": f"*{literal_markdown(text)}*", "text/plain": text})

    def _get_files(self) -> None:
        state = self._code_state()
        if not state.calls or self.status not in {"completed", "incomplete"}:
            return
        if self._client is None or self._download_to is None:
            files = self.generated_files
            if files:
                names = ", ".join(plain(file.name, 80) for file in files)
                self._say(
                    f"Files made by the code: {names}. Get them within 20 minutes: download_files(client, run)."
                )
            return
        try:
            report = download_files(self._client, self, self._download_to)
        except ConfigurationError as error:
            # The answer is there and stays; what is wrong with the folder is said below it.
            self._say(explain(error))
            return
        state.downloads = report
        if self.renderer.mode == "markdown":
            for text in self.texts:
                if any(report.path_of(text_at(one, "file_id")) for one in text.annotations):
                    self.text_block(text).done(self.shown_text(text))
        if report.rows or report.notes:
            summary = report.summary()
            shown = "\n".join(f"- {literal_markdown(line)}" for line in summary.splitlines())
            self.renderer.show(
                {
                    "text/markdown": f"**Files made by the code**\n\n{shown}",
                    "text/plain": f"Files made by the code\n{_indented(summary)}",
                }
            )


def with_local_paths(text: str, annotations: list[Any], report: DownloadReport) -> tuple[str, list[Any]]:
    """Put the path of each downloaded file in the place that its citation covers, exactly ``text[start:end]``.

    Args:
        text: the answer.
        annotations: its citations, SDK objects or dicts, of any type.
        report: where the files are.

    Returns:
        The text, and the citations with the places that they have in it.
    """
    spans: dict[tuple[int, int], str] = {}
    rows = {(row.source.container_id, row.source.file_id): row for row in report.rows}
    for annotation in annotations:
        row = rows.get((at(annotation, "container_id"), at(annotation, "file_id")))
        start, end = at(annotation, "start_index"), at(annotation, "end_index")
        if row is None or row.path is None or not isinstance(start, int) or not isinstance(end, int):
            continue
        # A plot is cited with 0 to 0; and a place that holds something else is not ours to change.
        if 0 <= start < end <= len(text) and text.startswith("sandbox:", start):
            spans.setdefault((start, end), row.link)
    pieces: list[str] = []
    changes: list[tuple[int, int, int]] = []  # start, end, new length
    done = 0
    for (start, end), link in sorted(spans.items()):
        if start >= done:
            pieces += [text[done:start], link]
            changes.append((start, end, len(link)))
            done = end
    return "".join([*pieces, text[done:]]), [_moved(annotation, changes) for annotation in annotations]


def _moved(annotation: Any, changes: list[tuple[int, int, int]]) -> Any:
    moved: dict[str, int] = {}
    for name in ("index", "start_index", "end_index"):
        place = at(annotation, name)
        if not isinstance(place, int) or at(annotation, "type") == "file_path":
            continue
        shift = 0
        for start, end, length in changes:
            if place >= end:
                shift += length - (end - start)
            elif place > start:
                shift += length - (place - start)  # inside of what was replaced: to its end
        moved[name] = place + shift
    if isinstance(annotation, dict):
        return {**annotation, **moved}
    copy = getattr(annotation, "model_copy", None)
    return copy(update=moved) if copy is not None and moved else annotation


class _IndentedBlock:
    """A block of plain lines that stand a little to the right, however they are cut into pieces."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._written: list[str] = []
        self._at_line_start = True
        self._held = ""
        self._closed = False

    def append(self, piece: str) -> None:
        piece = (self._held + piece).replace("\r\n", "\n")
        self._held = "\r" if piece.endswith("\r") else ""
        piece = piece.removesuffix("\r")
        shown = []
        # Not splitlines(): it also cuts at signs that may stand inside a line of code.
        for line in re.findall(r"[^\n]*\n|[^\n]+", piece):
            if self._at_line_start and line.strip("\n"):
                shown.append(_INDENT)
            shown.append(line)
            self._at_line_start = line.endswith("\n")
        self._written.append(piece)
        self._block.append("".join(shown))

    def update(self, text: str) -> None:
        written, text = "".join(self._written), text.replace("\r\n", "\n")
        if text.startswith(written):
            self.append(text[len(written) :])
        else:
            self._written = [text]
            self._block.update(_indented(text))

    def done(self, text: str | None = None) -> None:
        if text is not None:
            self.update(text)
        self._block.done()


def _with_markdown(image: CodeImage) -> dict[str, str]:
    shown = image.bundle()
    if not image.mime_type:
        shown["text/markdown"] = f"*{literal_markdown(repr(image))}*"
    return shown


def _code_in(item: Any) -> str:
    code = at(item, "code")
    return code.replace("\r\n", "\n") if isinstance(code, str) else ""
