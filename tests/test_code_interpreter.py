"""The handler for the code interpreter: code as it is written, its output, images, the answer, and its files."""

from __future__ import annotations

import asyncio
import base64
import copy
import io
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import nbformat
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbclient import NotebookClient

from helpers.code_interpreter import (
    CodeCall,
    CodeInterpreterHandler,
    described,
    fenced,
    image_in,
    readable_logs,
    shown_logs,
    with_local_paths,
)
from helpers.downloads import DownloadedFile, DownloadReport, GeneratedFile
from helpers.errors import ConfigurationError, RunFailed, StreamInterrupted
from helpers.file_search import FileSearchHandler
from helpers.handlers import EventHandler, TextHandler
from helpers.rendering import LinesRenderer, MarkdownRenderer
from helpers.run import stream_run
from tests.test_citations import cite
from tests.test_downloads import BOX, ContainerServer
from tests.test_file_search import RESULTS, search_events

STREAM = (
    Path(__file__).resolve().parents[1] / "tests" / "data" / "real-streams" / "code_interpreter_image.json"
)
PNG = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAADCAYAAAC56t6BAAAAEklEQVR4nGNgYGD4z4AG8AtgAgAGAAEBvX7xGgAAAABJRU5ErkJggg=="
)
REAL_FILES = ("cfile_68dd937c234081919ee5238a16b4fd87", "cfile_68dd9381192c81918f24ee3f0294cce6")
REAL_BOX = "cntr_68dd936a4cfc81908bdd4f2a2f542b5c0a0e691ad2bfd833"


class ToolboxHandler(FileSearchHandler, CodeInterpreterHandler):
    """Both."""


class OtherWayRound(CodeInterpreterHandler, FileSearchHandler):
    """Both, with the other one first."""


def recorded() -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(STREAM.read_text(encoding="utf-8"))[0]["response"]["body"][
        "sse"
    ]
    return events


def logs(text: str) -> dict[str, Any]:
    return {"type": "logs", "logs": text}


def image(url: str = PNG) -> dict[str, Any]:
    return {"type": "image", "url": url}


def call_events(code: str, outputs: Any, number: int = 0, pieces: int = 4) -> list[dict[str, Any]]:
    item = {
        "type": "code_interpreter_call",
        "id": f"ci_{number}",
        "status": "in_progress",
        "code": "",
        "container_id": BOX,
        "outputs": [],
    }
    where = {"item_id": item["id"], "output_index": number}
    size = max(1, len(code) // pieces)
    deltas = [
        {"type": "response.code_interpreter_call_code.delta", **where, "delta": code[place : place + size]}
        for place in range(0, len(code), size)
    ]
    done = {**item, "status": "completed", "code": code, "outputs": outputs}
    return [
        {"type": "response.output_item.added", "output_index": number, "item": item},
        {"type": "response.code_interpreter_call.in_progress", **where},
        *deltas,
        {"type": "response.code_interpreter_call_code.done", **where, "code": code},
        {"type": "response.code_interpreter_call.interpreting", **where},
        {"type": "response.code_interpreter_call.completed", **where},
        {"type": "response.output_item.done", "output_index": number, "item": done},
    ]


def text_events(text: str, annotations: list[dict[str, Any]], number: int = 5) -> list[dict[str, Any]]:
    where = {"item_id": f"msg_{number}", "output_index": number, "content_index": 0}
    message = {
        "type": "message",
        "id": f"msg_{number}",
        "role": "assistant",
        "status": "in_progress",
        "content": [],
    }
    part = {"type": "output_text", "text": text, "annotations": annotations}
    half = len(text) // 2
    return [
        {"type": "response.output_item.added", "output_index": number, "item": message},
        {"type": "response.content_part.added", **where, "part": {**part, "text": "", "annotations": []}},
        {"type": "response.output_text.delta", **where, "delta": text[:half]},
        {"type": "response.output_text.delta", **where, "delta": text[half:]},
        *(
            {"type": "response.output_text.annotation.added", **where, "annotation": annotation}
            for annotation in annotations
        ),
        {"type": "response.output_text.done", **where, "text": text},
        {"type": "response.content_part.done", **where, "part": part},
        {"type": "response.output_item.done", "output_index": number, "item": {**message, "content": [part]}},
    ]


CREATED = {
    "type": "response.created",
    "response": {"id": "resp_1", "status": "in_progress", "created_at": 1_500},
}
COMPLETED = {
    "type": "response.completed",
    "response": {"id": "resp_1", "status": "completed", "created_at": 1_500},
}


def made(text: str, name: str, file_id: str) -> dict[str, Any]:
    address = f"sandbox:/mnt/data/{name}"
    start = text.find(address)
    return {
        "type": "container_file_citation",
        "container_id": BOX,
        "file_id": file_id,
        "filename": name,
        "start_index": max(start, 0),
        "end_index": start + len(address) if start >= 0 else 0,
    }


def lines_of(
    events: list[Any], kind: type[EventHandler] = CodeInterpreterHandler, *, live: bool = False, **more: Any
) -> str:
    out = io.StringIO()
    kind(renderer=LinesRenderer(out, live=live), **more).follow(events)
    return out.getvalue()


class Screen:
    """A notebook's output: every state of each display, in order."""

    def __init__(self) -> None:
        self.displays: dict[str, list[Mapping[str, str]]] = {}

    def __call__(self, bundle: Mapping[str, str], display_id: str, update: bool) -> None:
        assert update == (display_id in self.displays)
        self.displays.setdefault(display_id, []).append(bundle)

    @property
    def last(self) -> list[Mapping[str, str]]:
        return [shown[-1] for shown in self.displays.values()]


def screen_of(events: list[Any], kind: type[EventHandler] = CodeInterpreterHandler, **more: Any) -> Screen:
    screen = Screen()
    kind(renderer=MarkdownRenderer(publish=screen, clock=iter(range(10**6)).__next__), **more).follow(events)
    return screen


# -- the real recording -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("live", [False, True])
def test_a_real_stream_in_lines(live: bool) -> None:
    shown = lines_of(recorded(), live=live)
    assert shown.startswith(
        "Code\n    import numpy as np\n    import matplotlib.pyplot as plt\n\n    # Data\n"
    )
    assert shown.endswith(
        "\n    out_path\n"
        "Output\n"
        "    '/mnt/data/y_eq_x_squared_plot.png'\n"
        "    [image: 1180×780 PNG, plot “Parabola y = x^2 for x in [-5, 5]”, x: x, y: y]\n"
        "Here’s the chart of y = x^2 for x from -5 to 5.  \n"
        "Download the image: [Download the chart](sandbox:/mnt/data/y_eq_x_squared_plot.png)\n"
        "Files made by the code: cfile_68dd937c234081919ee5238a16b4fd87.png, y_eq_x_squared_plot.png. "
        "Get them within 20 minutes: download_files(client, run).\n"
    )
    assert shown.count("import numpy") == 1


def test_a_real_stream_in_a_notebook() -> None:
    screen = screen_of(recorded())
    code, output, picture, text, files = screen.last
    assert code["text/markdown"].startswith("```python\nimport numpy as np\n")
    assert code["text/markdown"].endswith("\nout_path\n```")
    assert output["text/markdown"] == "*Output*\n\n```text\n'/mnt/data/y_eq_x_squared_plot.png'\n```"
    assert base64.b64decode(picture["image/png"]).startswith(b"\x89PNG")
    assert picture["text/plain"].startswith("[image: 1180×780 PNG, plot “Parabola")
    assert text["text/markdown"].startswith("Here’s the chart")
    assert "download" in files["text/plain"]
    states = next(iter(screen.displays.values()))
    assert len(states) > 100  # it grew while it was written
    assert all(state["text/markdown"].startswith("```python\n") for state in states)


def test_a_real_stream_asynchronously() -> None:
    async def events() -> AsyncIterator[Any]:
        for event in recorded():
            yield event

    out = io.StringIO()
    asyncio.run(CodeInterpreterHandler(renderer=LinesRenderer(out)).follow(events()))
    assert out.getvalue() == lines_of(recorded())


def test_code_is_there_before_it_has_run() -> None:
    out = io.StringIO()
    handler = CodeInterpreterHandler(renderer=LinesRenderer(out, live=True))
    for event in handler.iterate(recorded()):
        if event.type == "response.code_interpreter_call.interpreting":
            break
    assert "    out_path" in out.getvalue()
    assert "Output" not in out.getvalue()
    assert handler.code_calls[0].container_id == REAL_BOX


def real_server(answer: bytes = b"\x89PNG content") -> ContainerServer:
    server = ContainerServer()
    server.add_box(REAL_BOX)
    server.files[REAL_BOX] = {
        id: ("/mnt/data/x.png", answer + id.encode(), "assistant", 1) for id in REAL_FILES
    }
    return server


def test_the_files_of_a_real_stream_are_downloaded_and_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    handler_screen = screen_of(recorded(), client=real_server().client())
    text, files = handler_screen.last[-2:]
    assert text["text/markdown"].endswith("[Download the chart](downloads/y_eq_x_squared_plot.png)")
    assert text["text/plain"].endswith("[Download the chart](downloads/y_eq_x_squared_plot.png)")
    assert "y_eq_x_squared_plot.png → downloads/y_eq_x_squared_plot.png" in files["text/plain"]
    assert (tmp_path / "downloads" / "y_eq_x_squared_plot.png").read_bytes().startswith(b"\x89PNG")
    lines = lines_of(recorded(), client=real_server().client())
    assert "    y_eq_x_squared_plot.png → downloads/y_eq_x_squared_plot.png (already there" in lines


def test_files_without_a_citation_and_a_container_that_is_gone(tmp_path: Path) -> None:
    server = ContainerServer()
    server.put("cfile_1", "/mnt/data/new.csv", b"1")
    events = [CREATED, *call_events("1", []), *text_events("Done.", []), COMPLETED]
    shown = lines_of(events, client=server.client(), download_to=tmp_path)
    assert (tmp_path / "new.csv").read_bytes() == b"1"
    assert "new.csv" in shown
    del server.boxes[BOX]
    assert "has expired (20 minutes without use)" in lines_of(
        events, client=server.client(), download_to=tmp_path
    )


def test_a_folder_that_cannot_be_used_does_not_take_the_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    server = ContainerServer()
    server.put("cfile_1", "/mnt/data/new.csv", b"1")
    events = [CREATED, *call_events("1", []), *text_events("Done.", []), COMPLETED]
    shown = lines_of(events, client=server.client(), download_to=tmp_path / "file")
    assert "Done.\n" in shown
    assert "cannot be used" in shown


# -- what one call looks like -----------------------------------------------------------------------------------------


def test_several_calls_in_one_answer() -> None:
    events = [
        *call_events("x = 1\nx", [logs("1")], 0),
        *call_events("x + 1\r\nx", [logs("2")], 1),
        *text_events("Two.", []),
        COMPLETED,
    ]
    expected = "Code\n    x = 1\n    x\nOutput\n    1\nCode\n    x + 1\n    x\nOutput\n    2\nTwo.\n"
    assert lines_of(events) == lines_of(events, live=True) == expected
    assert [sorted(shown)[0] for shown in screen_of(events).last] == ["text/markdown"] * 5


@pytest.mark.parametrize("pieces", [1, 3, 100])
@pytest.mark.parametrize("live", [False, True])
def test_pieces_of_any_size_look_alike(pieces: int, live: bool) -> None:
    code = "def f():\r\n    return '\u2028'\r\n\r\nf()\r\n"
    shown = lines_of([*call_events(code, [], pieces=pieces), COMPLETED], live=live)
    assert shown == (
        "Code\n    def f():\n        return '\u2028'\n\n    f()\nThe code printed and drew nothing.\n"
    )


def test_without_include_it_says_how() -> None:
    shown = lines_of([*call_events("1", None), COMPLETED])
    assert 'add include=["code_interpreter_call.outputs"] to the request' in shown


def test_a_traceback() -> None:
    trace = "\x1b[31mTraceback (most recent call last)\x1b[0m:\n  File x\nKeyError: '<img src=x>'\n"
    screen = screen_of([*call_events("rows['loss']", [logs(trace)]), COMPLETED])
    output = screen.last[1]
    assert output["text/plain"].startswith("The code raised an error: KeyError: '<img src=x>'\n    Traceback")
    assert output["text/markdown"].split("\n\n")[0].startswith("*The code raised an error: KeyError")
    assert "<img" not in output["text/markdown"].split("```")[0]
    assert "\x1b" not in output["text/markdown"]


@pytest.mark.parametrize(
    "hostile",
    ["```\n<script>alert(1)</script>", "~~~\n![x](http://evil)", "````\n```\n# H", "```mermaid\ngraph"],
)
def test_nothing_that_code_or_logs_hold_is_live(hostile: str) -> None:
    for shown in (fenced(hostile, "text"), fenced(hostile, "python")):
        lines = shown.split("\n")
        fence = lines[0].rstrip("abcdefghijklmnopqrstuvwxyz")
        assert lines[-1] == fence
        assert not any(line.strip().startswith(fence) for line in lines[1:-1])


def test_long_logs_are_cut_with_a_note() -> None:
    text = "\n".join(f"line {number}" for number in range(10_000)) + "\nValueError: end"
    shown = shown_logs(text)
    assert len(shown) < 13_000
    assert shown.startswith("line 0\n")
    assert shown.endswith("ValueError: end")
    assert f"of {len(text):,} characters are left out here" in shown
    assert len(shown_logs("x" * 100_000)) < 13_000


def test_progress_bars_and_colours() -> None:
    assert readable_logs("1%\r50%\r100%\n\x1b[1mdone\x1b[0m\r\n") == "100%\ndone\n"


def test_images() -> None:
    picture = image_in(PNG, "plot")
    assert (picture.mime_type, picture.width, picture.height) == ("image/png", 2, 3)
    assert repr(picture) == "[image: 2×3 PNG, plot]"
    svg = base64.b64encode(b"<svg onload=alert(1)>").decode()
    for url in (
        f"data:image/svg+xml;base64,{svg}",
        f"data:image/png;base64,{svg}",
        "data:image/png;base64,%%%",
    ):
        assert image_in(url).mime_type == ""
    remote = image_in("https://evil.example/x.png")
    assert not remote.data
    assert "https://evil.example/x.png; it was not fetched" in repr(remote)


def test_every_image_is_told_of_and_shown() -> None:
    seen = []

    class Watching(CodeInterpreterHandler):
        def on_image_file_done(self, image_file: Any) -> None:
            seen.append(image_file.url)
            super().on_image_file_done(image_file)

    code = "plt.title('One')\nplt.show()\nplt.title('Two')"
    shown = lines_of([*call_events(code, [image(), image()]), COMPLETED], Watching)
    assert seen == [PNG, PNG]
    assert "plot 1 of 2 “One”" in shown
    assert "plot 2 of 2 “Two”" in shown


def test_the_words_for_a_plot_come_from_the_code() -> None:
    assert described("%matplotlib inline") == "plot drawn by the code above"
    assert described("fig.suptitle('A')\nax.set_ylabel('loss')") == "plot “A”, y: loss"


def test_a_response_that_came_without_its_events() -> None:
    item = {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "status": "completed",
        "code": "1 + 1",
        "container_id": BOX,
        "outputs": [logs("2"), image()],
    }
    end = copy.deepcopy(COMPLETED)
    end["response"]["output"] = [item]  # type: ignore[index]
    shown = lines_of([end])
    assert shown == "Code\n    1 + 1\nOutput\n    2\n    [image: 2×3 PNG, plot drawn by the code above]\n"


def test_a_stream_that_is_cut_in_the_middle_of_code() -> None:
    out = io.StringIO()
    handler = CodeInterpreterHandler(renderer=LinesRenderer(out))
    with pytest.raises(StreamInterrupted):
        handler.follow(call_events("x = 1\ny = 2", [])[:5])
    assert "    x = 1\n" in out.getvalue()
    assert "The code was not finished." in out.getvalue()
    assert handler.code_calls[0].status == "interrupted"


def test_an_expired_container_in_one_sentence() -> None:
    out = io.StringIO()
    handler = CodeInterpreterHandler(renderer=LinesRenderer(out))
    error = {"code": None, "message": f"Expected container_id: {BOX}"}
    with pytest.raises(RunFailed):
        handler.follow([{"type": "response.failed", "response": {"status": "failed", "error": error}}])
    assert f"The container {BOX} is gone" in out.getvalue()
    assert "fresh_container" in out.getvalue()


def test_a_handler_serves_several_runs_and_a_forgetful_subclass_works() -> None:
    class Forgetful(CodeInterpreterHandler):
        def __init__(self) -> None:
            pass

    handler = Forgetful()
    for code in ("1", "2"):
        handler.follow([*call_events(code, []), COMPLETED])
        assert [call.code for call in handler.code_calls] == [code]


def test_streams_without_code_look_as_ever() -> None:
    events = [CREATED, *text_events("Hello **you**.", []), COMPLETED]
    assert lines_of(events) == lines_of(events, TextHandler)
    assert screen_of(events).last == screen_of(events, TextHandler).last


def test_what_is_no_client() -> None:
    with pytest.raises(ConfigurationError, match="connect"):
        CodeInterpreterHandler("downloads")  # type: ignore[arg-type]


def test_a_call_shows_itself() -> None:
    call = CodeCall("print('<b>')", "<b>\n")
    assert call.plain() == "Code\n    print('<b>')\nOutput\n    <b>"
    assert call.markdown() == "```python\nprint('<b>')\n```\n\n*Output*\n\n```text\n<b>\n```"


def test_what_the_request_asks_for() -> None:
    sent = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content))
        body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in recorded())
        return httpx2.Response(200, text=body, headers={"content-type": "text/event-stream"})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    client = openai.OpenAI(api_key="not-a-key", base_url="https://api.test/v1", http_client=http)
    assistant = {
        "model": "m",
        "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}, {"type": "file_search"}],
    }
    handler = ToolboxHandler(renderer=LinesRenderer(io.StringIO()))
    stream_run(client, assistant, None, "Plot.", event_handler=handler).until_done()
    assert sorted(sent[0]["include"]) == ["code_interpreter_call.outputs", "file_search_call.results"]


# -- both tools -------------------------------------------------------------------------------------------------------

ANSWER = "The notes say 3.3. The log shows it: [loss](sandbox:/mnt/data/loss.csv), as expected. More."
CITATIONS = [
    cite(ANSWER.index(". The log"), "overview"),
    made(ANSWER, "plot.png", "cfile_0"),
    made(ANSWER, "loss.csv", "cfile_1"),
    cite(ANSWER.index(", as"), "notes"),
    cite(ANSWER.index(". More"), "overview"),
]


@pytest.mark.parametrize("kind", [ToolboxHandler, OtherWayRound])
def test_both_tools_in_one_answer(
    kind: type[EventHandler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = ContainerServer()
    server.put("cfile_0", "/mnt/data/plot.png", b"p")
    server.put("cfile_1", "/mnt/data/loss.csv", b"1")
    events = [
        CREATED,
        *search_events(RESULTS, "loss", number=0),
        *call_events("rows", [logs("3.2"), image()], 1),
        *text_events(ANSWER, CITATIONS),
        COMPLETED,
    ]
    screen = screen_of(events, kind, client=server.client())
    shown = [bundle["text/plain"] for bundle in screen.last]
    assert [text.partition("\n")[0][:20] for text in shown[:4]] == [
        "Searching your files",
        "rows",
        "Output",
        "[image: 2×3 PNG, plo",
    ]
    assert shown[4] == (
        "The notes say 3.3[1]. The log shows it: [loss](downloads/loss.csv)[2], as expected[1]. More."
    )
    assert any("[1] overview.md" in text for text in shown[5:])
    assert "loss.csv → downloads/loss.csv" in "\n".join(shown[5:])
    assert (tmp_path / "downloads" / "loss.csv").read_bytes() == b"1"


@pytest.mark.parametrize("live", [False, True])
def test_both_tools_in_lines(live: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    server = ContainerServer()
    server.put("cfile_0", "/mnt/data/plot.png", b"p")
    events = [*call_events("rows", [logs("3.2")], 1), *text_events(ANSWER, CITATIONS), COMPLETED]
    shown = lines_of(events, ToolboxHandler, live=live, client=server.client())
    # What is written stays: the answer comes once with its numbers, the paths and what is missing stand below.
    assert shown.count("[loss](sandbox:/mnt/data/loss.csv)[2], as expected[1]. More.\n") == 1
    assert "    plot.png → downloads/plot.png (saved, 1 B)\n" in shown
    assert "    loss.csv: It is not there any more" in shown


def report_of(*ids: str) -> DownloadReport:
    rows = [
        DownloadedFile(GeneratedFile(f"{id}.csv", id, BOX), "saved", Path("downloads") / f"{id} ü.csv", 1)
        for id in ids
    ]
    return DownloadReport(rows, Path("downloads"))


@given(st.lists(st.one_of(st.text(max_size=12), st.sampled_from(["🙂", "a", "b", "c"])), max_size=8))
def test_exactly_the_cited_places_are_replaced(parts: list[str]) -> None:
    text, annotations, expected = "", [], ""
    for part in parts:
        if part in {"a", "b", "c"}:
            address = f"sandbox:/mnt/data/{part}.csv"
            annotation = {
                **made("", part, part),
                "start_index": len(text),
                "end_index": len(text) + len(address),
            }
            annotations.append(annotation)
            text += address
            expected += f"downloads/{part}%20%C3%BC.csv" if part != "c" else address
        else:
            annotations.append({"type": "file_citation", "file_id": "f", "index": len(text)})
            text += part
            expected += part
    shown, moved = with_local_paths(text, annotations, report_of("a", "b"))
    assert shown == expected
    for before, after in zip(annotations, moved, strict=True):
        if before["type"] == "file_citation":
            # What stands behind the place is the same text as before.
            rest, _ = with_local_paths(
                text[before["index"] :],
                [
                    {
                        **one,
                        "start_index": one["start_index"] - before["index"],
                        "end_index": one["end_index"] - before["index"],
                    }
                    for one in annotations
                    if one.get("start_index", -1) >= before["index"]
                ],
                report_of("a", "b"),
            )
            assert shown[after["index"] :] == rest
        elif before["file_id"] != "c":
            assert shown[after["start_index"] : after["end_index"]].startswith("downloads/")


@pytest.mark.parametrize(("start", "end"), [(0, 0), (-1, 5), (3, 2), (0, 999), (None, 4), (1, 8)])
def test_places_that_are_wrong_change_nothing(start: Any, end: Any) -> None:
    annotation = {**made("", "a", "a"), "start_index": start, "end_index": end}
    assert with_local_paths("sandbox:/x", [annotation], report_of("a"))[0] == "sandbox:/x"


# -- what a notebook saves --------------------------------------------------------------------------------------------

CELL = """
import json
from helpers.code_interpreter import CodeInterpreterHandler
events = json.load(open({path!r}, encoding="utf-8"))[0]["response"]["body"]["sse"]
_ = CodeInterpreterHandler().follow(events)
"""


def test_what_a_notebook_saves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORKSHOP_DISPLAY", "markdown")
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(CELL.format(path=str(STREAM))) for _ in range(2)]
    NotebookClient(notebook, timeout=60, shutdown_kernel="immediate").execute(cwd=str(tmp_path))
    nbformat.validate(notebook)
    first, second = (cell.outputs for cell in notebook.cells)
    assert [output.data for output in first] == [output.data for output in second]
    assert {output.output_type for output in first} == {"display_data"}
    assert len(first) == 5
    picture = first[2]
    assert base64.b64decode(picture.data["image/png"]).startswith(b"\x89PNG")
    assert picture.metadata["image/png"]["alt"].startswith("1180×780 PNG, plot “Parabola")
