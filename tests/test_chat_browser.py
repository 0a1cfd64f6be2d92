"""The chat in a real browser: JupyterLab, a person who types, streams, stops and asks again, and hostile texts."""

from __future__ import annotations

import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.browser import copy_project, launched, open_notebook, picture, run_command, running_lab
from tests.committed_outputs import PROJECT

pytestmark = pytest.mark.browser
WAIT_MS = 60_000
SETUP = """
import sys; sys.path.insert(0, "..")
from pathlib import Path
from helpers import Assistant, chat, connect, upload_files
client = connect("recorded")
"""
CHAT = """
instructions = "Answer from the files, and run code where a number is needed."
talk = chat(client, Assistant("Teacher", instructions, model="gpt-6-luna", tools=tools), suggestions=["Say it short."])
talk
"""
NO_TOOLS = "tools = []"
CODE = 'tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]'
FILES = """
hostile = '''# Dangerous words

<img src=x onerror="window.broken='file'"><script>window.broken='script in a file'</script> dangerous words
'''
Path("dangerous.md").write_text(hostile)
store = client.vector_stores.create(name="<img src=x onerror=window.broken='store'>")
upload_files(client, store, ["../data/gpt2/overview.md", "../data/gpt2/lecture_notes.md", "dangerous.md"])
def look_up(topic: str) -> dict[str, str]:
    '''Look a topic up.

    Args:
        topic: what to look up.
    '''
    print("<img src=x onerror=window.broken='printed'>")
    return {"topic": topic, "html": "<script>window.broken='function'</script>"}
tools = [{"type": "file_search", "vector_store_ids": [store.id]}, {"type": "code_interpreter", "container": {"type": "auto"}}, look_up]
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    work = copy_project(folder)
    with running_lab(
        folder, WORKSHOP_RECORDINGS=str(PROJECT / "tests" / "data" / "chat-recordings")
    ) as address:
        yield address, work


@pytest.fixture(scope="module")
def browser(chromium):
    with launched(chromium) as browser:
        yield browser


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 1100})
    page.set_default_timeout(WAIT_MS)
    yield page
    page.close()


class ChatPage:
    """A notebook with a chat, as a person sees it."""

    def __init__(self, page, lab, name, *cells):
        self.page = page
        self.address, work = lab
        self.path = work / f"{name}.ipynb"
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = new_notebook(
            cells=[new_markdown_cell("# Chat"), *map(new_code_cell, cells)], metadata={"kernelspec": kernel}
        )
        nbformat.write(notebook, self.path)
        self.requests = []
        page.on("request", lambda request: self.requests.append(request.url))
        open_notebook(page, self.address, f"work/{name}.ipynb")
        self.run_cell(0)
        self.root.wait_for()

    def run_cell(self, number):
        self.page.locator(".jp-CodeCell .cm-content").nth(number).click()
        self.page.keyboard.press("Control+Enter")

    @property
    def root(self):
        return self.page.locator(".wc-root")

    @property
    def answers(self):
        return self.root.locator(".wc-answer")

    @property
    def box(self):
        return self.page.get_by_label("Question")

    def button(self, words):
        return self.root.get_by_role("button", name=words)

    def send(self, question):
        self.box.click()
        self.page.keyboard.type(question)
        self.page.keyboard.press("Enter")

    def wait_for_answer(self, number):
        """Wait until the answer to question ``number`` (from 1) is over."""
        self.root.locator(".wc-question").nth(number - 1).wait_for()
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('.wc-root button')].some(each => each.textContent.includes('Send') && !each.disabled)"
            " && !document.querySelector('.wc-root .wc-doing')"
        )

    def wait_for_text(self, words, least=0):
        """Wait until the last answer holds ``words`` and more than ``least`` characters; return how many it has."""
        found = self.page.wait_for_function(
            """([words, least]) => {
                const answers = document.querySelectorAll('.wc-root .wc-answer');
                const text = answers.length ? answers[answers.length - 1].textContent : '';
                return text.includes(words) && text.length > least && text.length;
            }""",
            arg=[words, least],
        )
        return found.json_value()

    def outside(self):
        allowed = rf"{re.escape(self.address)}/|data:|blob:"
        return [url for url in self.requests if not re.match(allowed, url)]


def test_an_answer_streams_stops_at_once_and_the_chat_goes_on(lab, page, tmp_path):
    talk = ChatPage(page, lab, "stop", SETUP + NO_TOOLS + CHAT, "1 + 1")
    assert talk.button("Stop").is_disabled()
    talk.send("Tell me a long story.")
    before = talk.wait_for_text("Once upon a time")
    assert talk.wait_for_text("Once upon a time", least=before + 20) > before
    picture(page, "chat-streaming", tmp_path)
    assert talk.button("Send").is_disabled()
    assert talk.box.input_value() == ""
    talk.button("Stop").click()
    talk.wait_for_answer(1)
    stopped = talk.answers.first.text_content()
    assert "The end of the long story" not in stopped
    assert "you stopped the answer here" in talk.root.text_content()
    picture(page, "chat-stopped", tmp_path)
    talk.button("Say it short.").click()
    talk.wait_for_answer(2)
    talk.wait_for_text("Short it is.")
    assert talk.answers.first.text_content() == stopped
    talk.box.click()
    page.keyboard.type("Tell me a long story.")
    page.keyboard.press("Shift+Enter")
    talk.wait_for_text("The end of the long story.")
    talk.wait_for_answer(3)
    assert page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts() == ["[1]:", "[ ]:"], (
        "no cell was run"
    )
    assert "3 questions · ≈" in talk.root.text_content()
    assert talk.button("Stop").is_disabled()
    picture(page, "chat-complete", tmp_path)
    assert talk.outside() == []


def test_stop_ends_code_that_runs_and_a_draft_waits(lab, page, tmp_path):
    talk = ChatPage(page, lab, "code", SETUP + CODE + CHAT)
    talk.send("Compute for a long time.")
    talk.root.get_by_text("Running code …").wait_for()
    talk.send("Plot the squares.")
    talk.root.get_by_text("One answer at a time: wait for this one, or press Stop.").wait_for()
    picture(page, "chat-running-code", tmp_path)
    talk.button("Stop").click()
    talk.wait_for_answer(1)
    assert talk.box.input_value() == "Plot the squares."
    talk.box.press("Enter")
    talk.wait_for_answer(2)
    talk.wait_for_text("The largest square is 81.")
    image = talk.root.locator("img")
    assert image.evaluate("each => each.complete && each.naturalWidth") > 100
    assert image.get_attribute("alt").endswith("plot “Squares”, x: n, y: n squared")
    assert "squares.csv → downloads/squares.csv" in talk.root.text_content()
    run_command(page, "apputils:change-theme", theme="JupyterLab Dark")
    page.locator("body[data-jp-theme-light='false']").wait_for(state="attached")
    picture(page, "chat-dark", tmp_path)
    run_command(page, "apputils:change-theme", theme="JupyterLab Light")
    page.locator("body[data-jp-theme-light='true']").wait_for(state="attached")


def test_nothing_that_a_model_a_file_or_a_function_wrote_acts(lab, page, tmp_path):
    talk = ChatPage(page, lab, "hostile", SETUP + FILES + CHAT)
    questions = [
        "Try to break out.",
        "What does the dangerous file say?",
        "Plot the squares.",
        "How large is GPT-2?",
        "<img src=x onerror=window.broken='question'>",
    ]
    for number, question in enumerate(questions, start=1):
        talk.send(question)
        talk.wait_for_answer(number)
        picture(page, f"chat-hostile-{number}", tmp_path)
    talk.root.locator("details").evaluate_all("all => all.forEach(each => { each.open = true })")
    picture(page, "chat-hostile-open", tmp_path)
    text = talk.root.text_content()
    for words in (
        '<script>window.broken = "script"</script>',
        "window.broken='file'",
        "window.broken='query'",
        "window.broken='log'",
        "window.broken='function'",
        "window.broken='printed'",
        "window.broken='argument'",
        "window.broken='question'",
    ):
        assert words in text
    assert page.evaluate("window.broken") is None
    assert talk.outside() == []
    sources = talk.root.locator("[src], [onerror], [ontoggle], script").evaluate_all(
        "all => all.map(each => each.getAttribute('src') || each.outerHTML)"
    )
    assert [source for source in sources if not source.startswith("data:image/png;base64,")] == []
    assert talk.root.locator("mjx-container").count() == 0


def test_the_chat_survives_a_reload_and_the_saved_file_reads_without_a_kernel(lab, page, tmp_path):
    talk = ChatPage(page, lab, "saved", SETUP + NO_TOOLS + CHAT, "talk.ask('Show me what you can write.')")
    talk.send("Say it short.")
    talk.wait_for_answer(1)
    talk.run_cell(1)
    talk.wait_for_answer(2)
    page.locator(".jp-OutputArea-executeResult .wc-turn").wait_for()
    picture(page, "chat-asked-from-code", tmp_path)
    transcript = page.locator(".wc-transcript")
    assert not transcript.is_visible()
    with page.expect_response(
        lambda response: response.request.method == "PUT" and "saved.ipynb" in response.url
    ):
        run_command(page, "docmanager:save")
    saved = nbformat.read(talk.path, as_version=4).cells[1].outputs[-1].data["text/html"]
    saved = saved if isinstance(saved, str) else "".join(saved)
    assert saved.index("Short it is.") < saved.index("A heading")

    page.reload(wait_until="domcontentloaded")
    talk.answers.nth(1).wait_for()
    assert not transcript.is_visible()
    talk.send("Say it short.")
    talk.wait_for_answer(3)

    run_command(page, "kernelmenu:shutdown")
    page.get_by_role("button", name="Shut Down").or_(
        page.locator(".jp-Notebook-ExecutionIndicator[data-status='unknown']")
    ).first.wait_for(state="attached")
    page.reload(wait_until="domcontentloaded")
    transcript.wait_for()
    assert "Short it is." in transcript.text_content()
    picture(page, "chat-saved", tmp_path)
