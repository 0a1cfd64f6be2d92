"""Show an answer from your files: the search, the passages that were read, and the answer with numbered citations.

Here live ``FileSearchHandler`` and what it shows of a search. Not here: the numbers and places of citations
(``citations.py``), drawing (``rendering.py``), and searching a store without a model, which is
``client.vector_stores.search``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from helpers.citations import (
    CitedText,
    Passage,
    excerpt,
    literal_markdown,
    number_citations,
    passages_in,
    shown_name,
)
from helpers.fields import at, text_at
from helpers.handlers import Text, TextDelta, TextHandler
from helpers.rendering import Block

__all__ = ["FileSearch", "FileSearchHandler"]

_RESULTS: Final = "file_search_call.results"
_MOST_PASSAGES_IN_LINES: Final = 5
_FIRST_LINES: Final = 3
_LINE_CHARACTERS: Final = 120
_UNFINISHED: Final = {
    "failed": "the search failed",
    "incomplete": "the search was not finished",
    "interrupted": "the search was not finished",
}
_RUNNING: Final = frozenset({"in_progress", "searching"})
_ENDINGS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})


# -- one search -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileSearch:
    """One search that the model asked for.

    Attributes:
        queries: what it searched for, in the model's words; several are searched at once.
        passages: what was found, best score first; ``None`` if the request did not include the results.
        status: ``"in_progress"``, ``"completed"``, ``"incomplete"``, ``"failed"``, or ``"interrupted"`` if the stream
            stopped before the search was over.
    """

    queries: tuple[str, ...] = ()
    passages: tuple[Passage, ...] | None = None
    status: str = "completed"

    def plain(self) -> str:
        """Return the search as a few lines of text: queries, then the best passages with their score."""
        lines = ["Searching your files …"]
        if self.status in _RUNNING:
            return lines[0]
        if self.queries:
            lines.append(f"  queries: {' · '.join(f'“{excerpt(query)}”' for query in self.queries)}")
        lines.append(f"  {self.outcome}")
        passages = self.passages or ()
        for passage in passages[:_MOST_PASSAGES_IN_LINES]:
            name = shown_name(passage.filename or passage.file_id)
            lines.append(f"    {name}{_score(passage)}: {excerpt(passage.text, _LINE_CHARACTERS)}")
        if len(passages) > _MOST_PASSAGES_IN_LINES:
            lines.append(f"    … and {len(passages) - _MOST_PASSAGES_IN_LINES} more")
        return "\n".join(lines)

    def markdown(self) -> str:
        """Return the search as Markdown, with the passages folded away.

        Queries, names and passages are shown as text, whatever is in them.
        """
        if self.status in _RUNNING:
            return "*Searching your files …*"
        queries = " · ".join(f"“{literal_markdown(excerpt(query))}”" for query in self.queries)
        headline = (
            f"Searched your files for {queries}: {self._outcome_markdown()}"
            if queries
            else f"Searched your files: {self._outcome_markdown()}"
        )
        if not self.passages:
            return headline
        # One block of HTML without an empty line: no renderer looks for Markdown or addresses inside of it.
        items = "\n".join(f"<li>{_passage_html(passage)}</li>" for passage in self.passages)
        return f"<details>\n<summary>{headline}</summary>\n<ol>\n{items}\n</ol>\n</details>"

    @property
    def outcome(self) -> str:
        """What came of it, in a few words, such as ``"read 4 passages from 2 files"``."""
        if self.status in _UNFINISHED:
            return _UNFINISHED[self.status]
        if self.passages is None:
            return f'the passages found are not in the response; to see them, add include=["{_RESULTS}"] to the request'
        if not self.passages:
            return "nothing was found in your files"
        count = len(self.passages)
        files = len({passage.file_id or passage.filename for passage in self.passages})
        return f"read {count} passage{_s(count)} from {files} file{_s(files)}"

    def _outcome_markdown(self) -> str:
        return self.outcome.replace(f'include=["{_RESULTS}"]', f'`include=["{_RESULTS}"]`')

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/markdown": self.markdown(), "text/plain": self.plain()}


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _score(passage: Passage) -> str:
    return "" if passage.score is None else f" (score {passage.score:.2f})"


def _passage_html(passage: Passage) -> str:
    name = literal_markdown(shown_name(passage.filename or passage.file_id))
    first = _first_lines(passage.text)
    lines = "".join(f"<br>{literal_markdown(line)}" for line in first)
    return f"<code>{name}</code>{_score(passage)}{lines}"


def _first_lines(text: str) -> list[str]:
    """Return the first lines of a passage that hold something, each cut to a readable length."""
    lines: list[str] = []
    # A passage has a few thousand characters; whatever is longer need not be split as a whole.
    for line in text[: 20 * _FIRST_LINES * _LINE_CHARACTERS].splitlines():
        if not line.strip():
            continue
        if len(lines) == _FIRST_LINES:
            return [*lines, "…"]
        lines.append(excerpt(line, _LINE_CHARACTERS))
    return lines


# -- the handler ------------------------------------------------------------------------------------------------------


class _State:
    """What the handler knows of one run."""

    def __init__(self) -> None:
        self.searches: dict[str, FileSearch] = {}
        self.blocks: dict[str, _SearchBlock] = {}
        self.cited: dict[int, CitedText] = {}
        self.complete: set[int] = set()
        self.changed: set[int] = set()
        self.finished: set[int] = set()


class FileSearchHandler(TextHandler):
    """Shows a search of your files as it happens, then the answer, with numbered citations and the list of files.

    The passages are shown if the request includes them; ``stream_run`` asks for what ``needs_include`` says. With a
    bare stream, write ``include=["file_search_call.results"]`` yourself.

    What stands in a file is shown as text: an instruction in it is for you to read, and nothing here follows it.

    Example:
        ::

            run = stream_run(client, librarian, thread, "Why not a textbook?", event_handler=FileSearchHandler())
            run.until_done()
    """

    needs_include: ClassVar[tuple[str, ...]] = (_RESULTS,)
    """What to ask for with ``include`` so that there is something to show; collected over all classes of a handler."""

    _files: _State | None = None
    _files_of: object = None

    # -- what there is to know ----------------------------------------------------------------------------------------

    @property
    def searches(self) -> list[FileSearch]:
        """The searches of this run, in the order in which they began."""
        return list(self._file_state().searches.values())

    @property
    def cited_texts(self) -> list[CitedText]:
        """The texts of this run with their numbered citations, in order; a file has one number in all of them."""
        return [self._cite(text) for text in self.texts]

    def shown_text(self, text: Text) -> str:
        """Return the text with its ``[1]``."""
        cited = self._cite(text)
        # A handler that this one is combined with gets a text in which its annotations still fit.
        marked = Text(
            cited.marked_text, type=text.type, item_id=text.item_id, content_index=text.content_index
        )
        marked.annotations = [_moved(annotation, cited) for annotation in text.annotations]
        return super().shown_text(marked)

    def text_block(self, text: Text) -> Block:
        """Return the block in which ``text`` is shown."""
        is_new = id(text) not in self._progress.blocks
        block = super().text_block(text)
        if is_new and self.renderer.mode == "lines":
            block = self._progress.blocks[id(text)] = _LinesWithMarkers(
                block, text, lambda: self._cite(text), self.renderer.block
            )
        return block

    # -- hooks --------------------------------------------------------------------------------------------------------

    def on_event(self, event: Any) -> None:
        """Show the searches of a response that came without the events of its searches."""
        super().on_event(event)
        kind = at(event, "type")
        if kind not in _ENDINGS:
            return
        output = at(at(event, "response"), "output")
        for number, item in enumerate(output if isinstance(output, list) else ()):
            if at(item, "type") == "file_search_call":
                key = self._key_of(item, number)
                search = self._file_state().searches.get(key)
                if search is None or search.status in _RUNNING:
                    self._show_search(key, item, over=kind == "response.completed")

    def on_tool_call_created(self, tool_call: Any) -> None:
        """Show that a search happens."""
        super().on_tool_call_created(tool_call)
        if at(tool_call, "type") == "file_search_call":
            self._show_search(self._key_of(tool_call, at(self.current_event, "output_index")), tool_call)

    def on_tool_call_done(self, tool_call: Any) -> None:
        """Show the queries and the passages, in the place where the search was announced."""
        super().on_tool_call_done(tool_call)
        if at(tool_call, "type") == "file_search_call":
            self._show_search(
                self._key_of(tool_call, at(self.current_event, "output_index")), tool_call, over=True
            )

    def on_text_delta(self, delta: TextDelta, snapshot: Text) -> None:
        """Show the piece; note a citation."""
        super().on_text_delta(delta, snapshot)
        if delta.annotations:
            self._file_state().changed.add(id(snapshot))
            block = self.text_block(snapshot)
            if isinstance(block, _LinesWithMarkers):
                block.cited()

    def on_text_done(self, text: Text) -> None:
        """Show the complete text with its ``[1]``."""
        super().on_text_done(text)
        state = self._file_state()
        state.complete.add(id(text))
        state.changed.discard(id(text))

    def on_text_restarted(self, text: Text) -> None:
        """Forget the numbers of a text that is given again in other words."""
        super().on_text_restarted(text)
        state = self._file_state()
        state.cited.pop(id(text), None)
        for noted in (state.complete, state.changed, state.finished):
            noted.discard(id(text))

    def on_message_done(self, message: Any) -> None:
        """Show the list of the files that the message cites."""
        super().on_message_done(message)
        self._finish_texts()

    def on_end(self) -> None:
        """Show what is still open; if no file is cited, say which ones were read."""
        state = self._file_state()
        for key, search in state.searches.items():
            if search.status in _RUNNING:
                state.searches[key] = FileSearch(search.queries, search.passages, "interrupted")
                state.blocks[key].show(state.searches[key])
        self._finish_texts()
        self._say_what_is_not_cited()
        super().on_end()

    # -- how ----------------------------------------------------------------------------------------------------------

    def _file_state(self) -> _State:
        # Made when it is needed and for each run anew: a handler may serve several, and a subclass may forget
        # super().__init__().
        if self._files is None or self._files_of is not self._progress:
            self._files, self._files_of = _State(), self._progress
        return self._files

    def _key_of(self, tool_call: Any, output_index: Any) -> str:
        identifier = text_at(tool_call, "id")
        # Some servers give no ids; the place of an item in its response names it as well.
        return identifier or f"response {len(self._progress.answers)}, output {output_index}"

    def _show_search(self, key: str, item: Any, *, over: bool = False) -> None:
        search = _search_in(item, over=over)
        state = self._file_state()
        state.searches[key] = search
        if key not in state.blocks:
            state.blocks[key] = _SearchBlock(self.renderer.block)
        state.blocks[key].show(search)

    def _results(self) -> list[Passage] | None:
        found = [search.passages for search in self._file_state().searches.values()]
        known = [passages for passages in found if passages is not None]
        return [passage for passages in known for passage in passages] if known else None

    def _cite(self, text: Text) -> CitedText:
        state = self._file_state()
        numbers: dict[str, int] = {}
        for earlier in self.texts:
            if earlier is text:
                break
            if id(earlier) in state.cited:
                numbers.update(state.cited[id(earlier)].numbers)
        cited = number_citations(text.value, text.annotations, self._results(), numbers=numbers)
        state.cited[id(text)] = cited
        return cited

    def _finish_texts(self) -> None:
        state = self._file_state()
        for text in self.texts:
            if id(text) in state.finished:
                continue
            state.finished.add(id(text))
            if text.annotations and (id(text) not in state.complete or id(text) in state.changed):
                # The text broke off, or its citations came after it.
                self.text_block(text).done(self.shown_text(text))
            cited = self._cite(text)
            if cited.citations:
                self._show_below(cited)

    def _say_what_is_not_cited(self) -> None:
        state = self._file_state()
        answered = any(text.value for text in self.texts if text.type == "output_text")
        searched = any(search.status == "completed" for search in state.searches.values())
        cites = any(cited.citations for cited in state.cited.values())
        if answered and searched and not cites and self.status in {"completed", "incomplete"}:
            results = self._results()
            if results is None:
                self.renderer.show({"text/markdown": _CITES_NONE, "text/plain": _CITES_NONE})
            elif results:
                self._show_below(number_citations("", (), results))

    def _show_below(self, cited: CitedText) -> None:
        plain = cited.files_plain()
        if self.renderer.mode == "lines":
            plain = f"\n{plain}"
        self.renderer.show({"text/markdown": cited.files_markdown(), "text/plain": plain})


_CITES_NONE: Final = "The answer cites no file."


def _search_in(item: Any, *, over: bool) -> FileSearch:
    queries, results = at(item, "queries"), at(item, "results")
    status = at(item, "status")
    if over and (not isinstance(status, str) or status in _RUNNING):
        status = "completed"
    return FileSearch(
        queries=tuple(query for query in queries if isinstance(query, str))
        if isinstance(queries, list)
        else (),
        passages=tuple(passages_in(results)) if isinstance(results, list) else None,
        status=status if isinstance(status, str) else "in_progress",
    )


def _moved(annotation: Any, cited: CitedText) -> Any:
    """Return ``annotation`` with the places that it has in the text with markers."""
    moved: dict[str, int] = {}
    for name in ("index", "start_index", "end_index"):
        place = at(annotation, name)
        if isinstance(place, int) and at(annotation, "type") != "file_path":
            # What ends where a marker stands does not grow around it; what begins there begins behind it.
            moved[name] = place + sum(
                len(insertion.value)
                for insertion in cited.insertions
                if insertion.position < place or (name != "end_index" and insertion.position == place)
            )
    if "start_index" in moved and "end_index" in moved:
        moved["end_index"] = max(moved["end_index"], moved["start_index"])
    if isinstance(annotation, dict):
        return {**annotation, **moved}
    copy = getattr(annotation, "model_copy", None)
    return copy(update=moved) if copy is not None else annotation


# -- blocks -----------------------------------------------------------------------------------------------------------


class _SearchBlock:
    """The place where one search is shown, first as going on and then as done."""

    def __init__(self, open_block: Callable[..., Block]) -> None:
        self._search = FileSearch(status="in_progress")
        self._block = open_block("search", to_markdown=lambda text: self._search.markdown())

    def show(self, search: FileSearch) -> None:
        self._search = search
        if search.status in _RUNNING:
            self._block.update(f"{search.plain()}\n")
        else:
            self._block.done(search.plain())


_MARKS: Final = re.compile(r"[`*_\[<$|\\&~#]|://|www\.")


class _LinesWithMarkers:
    """A block of plain lines in which a marker is written when its turn comes: what is written stays.

    A citation arrives where it belongs, but its marker may have to wait for the end of a link or a code block. Then the
    text waits with it. Where a citation comes too late, the text with its markers follows once more at the end.
    """

    def __init__(
        self, block: Block, text: Text, cite: Callable[[], CitedText], open_block: Callable[[], Block]
    ) -> None:
        self._block = block
        self._open_block = open_block
        self._final: str | None = None
        self._text = text
        self._cite = cite
        self._written: list[str] = []
        self._held = ""
        self._waits = False
        self._too_late = False

    def append(self, piece: str) -> None:
        self._held += piece
        if self._waits:
            self._settle(line_is_complete="\n" in piece)
        if not self._waits:
            self._write_held()

    def update(self, text: str) -> None:
        self._block.update(text)

    def done(self, text: str | None = None) -> None:
        if text is None:
            self._block.append(self._held)
        elif self._final not in {None, text}:
            # The last line is ended, so there is no going on with it.
            self._block = self._open_block()
        self._held = ""
        self._final = text if text is not None else self._final
        self._block.done(text)

    def cited(self) -> None:
        """Note that a citation has arrived."""
        self._waits = not self._too_late

    def _write(self, piece: str) -> None:
        self._written.append(piece)
        self._block.append(piece)

    def _write_held(self) -> None:
        # A marker moves back over white space, and into the last cell of a table's row.
        visible = self._held.rstrip()
        last_line = visible.rfind("\n") + 1
        end = last_line if visible.startswith("|", last_line) else len(visible)
        if end:
            self._write(self._held[:end])
            self._held = self._held[end:]

    def _settle(self, *, line_is_complete: bool) -> None:
        """Write the markers that wait, if nothing that is still to come can move them."""
        value = self._text.value
        last_line = value.rfind("\n") + 1
        line_is_plain = _MARKS.search(value, last_line) is None
        if not line_is_complete and not line_is_plain:
            return
        cited = self._cite()
        end = len(value) if line_is_plain else last_line
        if not all(insertion.settled and insertion.position < end for insertion in cited.insertions):
            return
        self._waits = False
        written, marked = "".join(self._written), cited.marked_text
        if not marked.startswith(written):
            self._too_late = True
            return
        last = cited.insertions[-1].position if cited.insertions else 0
        end_of_markers = max(len(written), len(marked) - (len(value) - last))
        self._write(marked[len(written) : end_of_markers])
        self._held = marked[end_of_markers:]
