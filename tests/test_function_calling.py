"""The handlers for functions: what is shown of a call and its outcome, alone and beside the other tools."""

import html
import io
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import Assistant, FunctionCallingHandler, FunctionResult, ToolboxHandler, stream_run
from helpers.function_calling import FunctionCall
from helpers.rendering import LinesRenderer, MarkdownRenderer
from tests.committed_outputs import PROJECT
from tests.served import call, message, numbered, response, served, stream_of

STREAMS = PROJECT / "tests" / "data" / "real-streams"
HOSTILE = "<img src=x onerror=alert(1)> `x` $x$ [a](javascript:b) \x1b[31m\n\n<script>alert(1)</script>"


class Screen:
    """Collects what a Markdown renderer shows: the last bundle of each display."""

    def __init__(self):
        self.shown = {}
        self.count = 0

    def __call__(self, bundle, display_id, update):
        self.shown[display_id] = dict(bundle)
        self.count += 1

    @property
    def markdown(self):
        return [bundle["text/markdown"] for bundle in self.shown.values() if "text/markdown" in bundle]


def followed(handler, *responses):
    for events in responses:
        handler.follow(events)
    return handler


def result(status="done", output="5", error="", **more):
    return FunctionResult("call_1", "add", '{"a":2,"b":3}', output, status, error, **more)


# -- one call ---------------------------------------------------------------------------------------------------------


def test_a_call_reads_like_python_and_its_outcome_like_a_result():
    done = FunctionCall("call_1", "add", '{"a":2,"b":3,"unit":null,"note":"two and three"}', "done", result())
    assert done.signature == 'add(a=2, b=3, note="two and three")'
    assert done.plain() == 'Calling add(a=2, b=3, note="two and three")\n  add → 5'


@pytest.mark.parametrize(
    ("call_", "words"),
    [
        (FunctionCall("c", "add", '{"a"', "writing"), "…"),
        (FunctionCall("c", "add", "{}", "unfinished"), "the run ended before it was called"),
        (
            FunctionCall("c", "add", "{}", "raised", result("raised", "{}", "add raised ValueError: no.")),
            "add raised ValueError: no. The model was told.",
        ),
        (FunctionCall("c", "add", "{}", "done", result(output="")), "an empty text"),
        (FunctionCall("c", "add", "{}", "done", result(output="x" * 50, shortened=True)), "cut, because it was too long"),
    ],
)  # fmt: skip
def test_every_outcome_has_its_words(call_, words):
    assert words in call_.outcome


def test_arguments_that_are_no_object_are_shown_as_they_came():
    assert FunctionCall("c", "add", "[1, 2", "waiting").signature == "add([1, 2)"


def test_a_megabyte_of_arguments_is_shown_in_a_line():
    shown = FunctionCall(
        "c", "add", json.dumps({"text": "word " * 200_000}), "done", result(output="y" * 10**6)
    )
    assert len(shown.plain()) < 500
    assert len(shown.markdown()) < 20_000


def test_many_arguments_are_counted_and_not_all_shown():
    shown = FunctionCall("c", "add", json.dumps({f"n{number}": number for number in range(30)})).signature
    assert shown.endswith("… 22 more)")


def test_what_a_function_printed_is_shown_and_said_to_stay_here():
    shown = FunctionCall("c", "add", "{}", "done", result(printed="checking\n"))
    assert "add printed: checking" in shown.plain()
    assert "the model does not see it" in shown.markdown()


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, attributes))


@pytest.mark.parametrize("status", ["writing", "waiting", "done", "raised", "unfinished"])
def test_nothing_that_a_model_or_a_function_wrote_is_live(status):
    came = None
    if status in ("done", "raised"):
        came = result(status, HOSTILE, HOSTILE if status == "raised" else "", printed=HOSTILE)
    shown = FunctionCall("c", HOSTILE, json.dumps({HOSTILE: HOSTILE}), status, came).markdown()
    assert {tag for tag, _ in Tags(shown).tags} <= {"details", "summary", "code", "p", "pre", "span"}
    assert all(not attributes for _, attributes in Tags(shown).tags)
    outside = re.sub(
        r"<pre>.*?</pre>", "", shown, flags=re.S
    )  # inside of it, in a block of HTML, is no Markdown
    assert "](javascript" not in outside
    assert "`" not in outside
    assert "\x1b" not in shown
    if came is not None:
        assert "\n\n" not in shown, "an empty line would end the block of HTML"


@given(st.text(), st.text(), st.text())
def test_no_text_breaks_out_of_the_folded_block(name, arguments, output):
    shown = FunctionCall("c", name, arguments, "done", result(output=output, printed=output)).markdown()
    assert shown.startswith("<details>\n<summary>")
    assert shown.endswith("</details>")
    assert shown.count("</details>") == 1
    assert not re.search(r"\n[ \t]*\n", shown)


# -- handlers ---------------------------------------------------------------------------------------------------------


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


CALCULATOR = Assistant("Calculator", "Use the tool.", model="gpt-6-luna", tools=[add])
BOTH = response(call("add", '{"a":2,"b":3}'), call("add", '{"a":1,"b":1}', "call_2", place=1))
ANSWER = response(message("5 and 2."), id="resp_2")


def test_in_a_notebook_each_call_is_one_display_that_ends_folded():
    screen = Screen()
    client, _ = served(stream_of(*BOTH), stream_of(*ANSWER))
    handler = FunctionCallingHandler(renderer=MarkdownRenderer(screen))
    stream_run(client, CALCULATOR, None, "Add.", event_handler=handler).until_done()
    calls = [shown for shown in screen.markdown if "add" in shown]
    assert len(calls) == 2
    assert all(shown.startswith("<details>") for shown in calls)
    assert "add(a=2, b=3)" in html.unescape(calls[0])


def test_in_lines_each_outcome_names_its_function_again():
    out = io.StringIO()
    client, _ = served(stream_of(*BOTH), stream_of(*ANSWER))
    handler = FunctionCallingHandler(renderer=LinesRenderer(out))
    stream_run(client, CALCULATOR, None, "Add.", event_handler=handler).until_done()
    assert out.getvalue().splitlines() == [
        "Calling add(a=2, b=3)",
        "Calling add(a=1, b=1)",
        "add → 5",
        "add → 2",
        "5 and 2.",
    ]


def test_a_bare_stream_shows_the_calls_and_that_nobody_answered_them():
    out = io.StringIO()
    handler = followed(FunctionCallingHandler(renderer=LinesRenderer(out)), BOTH)
    assert [each.status for each in handler.function_calls] == ["unfinished", "unfinished"]
    assert "the run ended before it was called" in out.getvalue()


def test_calls_whose_events_did_not_come_are_shown_all_the_same():
    out = io.StringIO()
    end = numbered([BOTH[0], BOTH[-1]])
    handler = followed(FunctionCallingHandler(renderer=LinesRenderer(out)), end)
    assert [each.name for each in handler.function_calls] == ["add", "add"]
    assert out.getvalue().count("Calling add") == 2


@pytest.mark.parametrize("name", ["function_call", "conversation_function_call"])
def test_real_recordings_are_shown(name):
    rounds = json.loads((STREAMS / f"{name}.json").read_text(encoding="utf-8"))
    out = io.StringIO()
    handler = FunctionCallingHandler(renderer=LinesRenderer(out))
    seen = []
    with handler.running():
        for exchange in rounds:
            answer = exchange["response"]["body"]
            events = answer.get("sse") if isinstance(answer, dict) else None
            if events is None and answer.get("object") == "response":
                events = [{"type": f"response.{answer['status']}", "response": answer}]
            if events:
                seen += [event.type for event in handler.iterate(events)]
    assert seen
    assert len(handler.function_calls) == 1
    assert f"Calling {handler.function_calls[0].name}(" in out.getvalue()
    assert handler.text in out.getvalue()


def test_one_handler_serves_one_run_after_another():
    handler = FunctionCallingHandler(renderer=LinesRenderer(io.StringIO()))
    followed(handler, BOTH)
    followed(handler, ANSWER)
    assert handler.function_calls == []


def test_the_toolbox_shows_all_kinds_of_tools_in_one_run():
    out = io.StringIO()
    recorded = json.loads((STREAMS / "file_search.json").read_text(encoding="utf-8"))
    search = next(
        each["response"]["body"]["sse"] for each in recorded if "sse" in (each["response"]["body"] or {})
    )
    recorded = json.loads((STREAMS / "code_interpreter_image.json").read_text(encoding="utf-8"))
    code = next(
        each["response"]["body"]["sse"] for each in recorded if "sse" in (each["response"]["body"] or {})
    )
    handler = ToolboxHandler(renderer=LinesRenderer(out))
    with handler.running():
        for events in (search, code, BOTH):
            for _ in handler.iterate(events):
                pass
        for each in handler.calls:
            handler.on_function_done(FunctionResult(each.call_id, each.name, each.arguments, "5"))
        for _ in handler.iterate(ANSWER):
            pass
    shown = out.getvalue()
    for words in ("Searching your files", "Calling add(a=2, b=3)", "add → 5", "5 and 2."):
        assert words in shown
    assert handler.searches
    assert handler.code_calls
    assert [each.status for each in handler.function_calls] == ["done", "done"]


def test_the_toolbox_asks_for_what_each_of_its_parts_shows():
    client, requests = served(stream_of(*ANSWER))
    agent = CALCULATOR.with_tools(
        {"type": "file_search", "vector_store_ids": ["vs_1"]},
        {"type": "code_interpreter", "container": {"type": "auto"}},
    )
    stream_run(
        client, agent, None, "Add.", event_handler=ToolboxHandler(renderer=LinesRenderer(io.StringIO()))
    ).until_done()
    assert set(json.loads(requests[0].content)["include"]) == {
        "file_search_call.results",
        "code_interpreter_call.outputs",
    }
