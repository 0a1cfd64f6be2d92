"""Hostile texts in a real browser: everything that the helpers show, in JupyterLab and in nbconvert's HTML.

No script runs, no dialog opens, nothing is fetched from outside, and the text is there to be read. The texts and the
places are those of ``hostile.py``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.browser import choose, copy_project, launched, open_notebook, picture, running_lab
from tests.committed_outputs import PROJECT, environment
from tests.hostile import HOSTILE, MARK, PLACES

pytestmark = pytest.mark.browser
SETUP = """
import sys; sys.path[:0] = ["..", "."]
from IPython.display import display, publish_display_data
from hostile import HOSTILE, PLACES, events
import helpers
"""
SHOW = """
for name in {names}:
    for text in HOSTILE.values():
        made = PLACES[name](text)
        for one in made if isinstance(made, list) else [made]:
            publish_display_data(one) if isinstance(one, dict) else print(one) if isinstance(one, str) else display(one)
"""
# As a learner sees it: not what our renderers were asked to show, but what IPython and JupyterLab make of it.
FOLLOW = """
for text in HOSTILE.values():
    try:
        helpers.ToolboxHandler().follow(events(text))
    except helpers.WorkshopError as error:
        print(helpers.explain(error))
"""
RECORDED = """
from pathlib import Path
from helpers import Assistant, ToolboxHandler, connect, stream_run, upload_files
client = connect("recorded")
names = []
for number, text in enumerate(HOSTILE.values()):
    Path(f"hostile{number}.md").write_text("# Wombats dig\\n\\n" + text + " wombats dig burrows", encoding="utf-8", errors="replace")
    names.append(f"hostile{number}.md")
store = client.vector_stores.create(name=HOSTILE["image"])
display(upload_files(client, store, names))
def look_up(topic: str) -> list[str]:
    '''Look a topic up.

    Args:
        topic: what to look up.
    '''
    print(*HOSTILE.values())
    return list(HOSTILE.values())
search = {"type": "file_search", "vector_store_ids": [store.id]}
code = {"type": "code_interpreter", "container": {"type": "auto"}}
for tools in ([search], [look_up], [code]):
    agent = Assistant(HOSTILE["script"], HOSTILE["image"], model="gpt-6-luna", tools=tools)
    run = stream_run(client, agent, None, "Where do wombats dig? " + HOSTILE["script"], event_handler=ToolboxHandler()).until_done()
    display(run.trace, run.trace.diagram(), run.trace.sequence(), run.trace.timeline())
raise helpers.WorkshopError(HOSTILE["image"] + HOSTILE["terminal"])
"""

# Texts for a terminal and pictures, which are no pages; tables made by the same code as others; and what FOLLOW does.
LEFT_OUT = {
    *(name for name in PLACES if " in " in name),
    *(
        "Trace.export",
        "explain",
        "Plot",
        "ThresholdSweep",
        "compare",
        "RetrievalReport.table",
        "AnswerReport.table",
    ),
    *("chat_view.turn_html", "FunctionCall that failed"),
}


def notebook_of(names):
    cells = [new_markdown_cell("# Hostile"), new_code_cell(SETUP)]
    cells += [new_code_cell(SHOW.format(names=names[at : at + 4])) for at in range(0, len(names), 4)]
    cells += [new_code_cell(FOLLOW), new_code_cell(RECORDED)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A folder as `python start.py` makes it, with the notebook and its outputs."""
    from nbclient import NotebookClient

    folder = tmp_path_factory.mktemp("hostile")
    work = copy_project(folder)
    shutil.copy(PROJECT / "tests" / "hostile.py", work)
    notebook = notebook_of([name for name in PLACES if name not in LEFT_OUT])
    # In automation lines are shown; a person gets Markdown.
    env = {**environment(WORKSHOP_DISPLAY="markdown"), "WORKSHOP_STRICT": "0"}
    client = NotebookClient(
        notebook, timeout=300, allow_errors=True, resources={"metadata": {"path": str(work)}}
    )
    client.execute(env=env)
    nbformat.write(notebook, work / "hostile.ipynb")
    return folder, work, notebook


@pytest.fixture(scope="module")
def browser(chromium):
    with launched(chromium) as browser:
        yield browser


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 1400})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.asked, page.dialogs = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("dialog", lambda dialog: (page.dialogs.append(dialog.message), dialog.dismiss()))
    yield page
    context.close()


def look_at_everything(page, panel):
    """Scroll through it until nothing new comes, as JupyterLab draws only what is near the screen; open what is folded;
    move over everything. Give the text of all outputs."""
    page.locator(".jp-OutputArea-output").first.wait_for()
    return page.evaluate(
        """async (panel) => {
            const pause = () => new Promise(done => setTimeout(done, 40));
            const outer = document.querySelector(panel) || document.scrollingElement;
            const texts = [];
            const look = () => {
                const found = [...document.querySelectorAll('.jp-OutputArea-output')].filter(one => !one.seen);
                for (const one of found) {
                    one.seen = true;
                    one.querySelectorAll('details').forEach(each => { each.open = true; });
                    for (const each of one.querySelectorAll('*')) {
                        each.dispatchEvent(new MouseEvent('mouseover', {bubbles: true}));
                        each.dispatchEvent(new FocusEvent('focus'));
                    }
                    texts.push(one.innerText);
                }
                return found.length;
            };
            for (let found = 1; found;) {
                found = 0;
                for (let at = 0; at <= outer.scrollHeight; at += 4000) {
                    outer.scrollTop = at;
                    await pause();
                    found += look();
                }
            }
            outer.scrollTop = 3000;
            await pause();
            return texts.join('\\n');
        }""",
        panel,
    )


def assert_quiet(page, own):
    assert not page.evaluate("window.broken"), page.evaluate("window.broken")
    assert page.dialogs == []
    outside = [url for url in page.asked if not re.match(rf"{re.escape(own)}|data:|blob:", url)]
    assert outside == []
    assert (
        page.evaluate(
            "document.querySelectorAll('.jp-OutputArea-output iframe, .jp-OutputArea-output form').length"
        )
        == 0
    )
    live = page.evaluate(
        """() => [...document.querySelectorAll('.jp-OutputArea-output *')].filter(each =>
            [...each.attributes].some(one => one.name.startsWith('on') || /^\\s*javascript:/i.test(one.value))
        ).map(each => each.outerHTML.slice(0, 200))"""
    )
    assert live == []


def test_everything_is_shown_and_nothing_lives_in_jupyterlab(executed, page, tmp_path):
    folder, _, notebook = executed
    texts = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [
        output.evalue[:60] for cell in texts[:-1] for output in cell.outputs if output.output_type == "error"
    ] == []
    with running_lab(folder, WORKSHOP_STRICT="0") as address:
        open_notebook(page, address, "work/hostile.ipynb")
        before = look_at_everything(page, ".jp-WindowedPanel-outer")
        assert_quiet(page, address)
        # Outputs of a kernel that runs here are trusted, unlike those that were opened: now all of it is live.
        choose(page, "Run", "Run All Cells")
        busy = (
            "[...document.querySelectorAll('.jp-InputPrompt')].some(each => each.textContent.includes('*'))"
        )
        page.wait_for_function(f"() => {busy}")
        idle = "document.querySelector('.jp-Notebook-ExecutionIndicator').dataset.status === 'idle'"
        page.wait_for_function(f"() => {idle} && !{busy}", timeout=240_000)
        text = look_at_everything(page, ".jp-WindowedPanel-outer")
        picture(page, "hostile-lab", tmp_path)
        assert_quiet(page, address)
    for shown in (before, text):
        assert shown.count(MARK) > len(HOSTILE)
        for words in (
            "<script>window.broken='script'</script>",
            "onerror=",
            "javascript:",
            "delete_everything",
        ):
            assert words in shown, words


def test_everything_is_shown_and_nothing_lives_in_exported_html(executed, page, tmp_path):
    _, work, _ = executed
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "hostile.ipynb", "--output", "hostile.html"]
    subprocess.run(command, cwd=work, env=environment(), check=True, capture_output=True, timeout=120)
    # nbconvert's page itself asks for MathJax and RequireJS: that is its own, and it stays unanswered.
    page.route(re.compile(r"^https?://"), lambda route: route.abort())
    page.goto((work / "hostile.html").as_uri(), wait_until="domcontentloaded")
    text = look_at_everything(page, "no-panel")
    picture(page, "hostile-html", tmp_path)
    own = re.compile(r"https://(?:cdnjs\.cloudflare\.com|unpkg\.com|cdn\.jsdelivr\.net)/")
    page.asked[:] = [url for url in page.asked if not own.match(url)]
    assert_quiet(page, "file://")
    assert text.count(MARK) > len(HOSTILE)
    assert "<script>window.broken='script'</script>" in text
