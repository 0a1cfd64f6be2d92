"""The notebooks in a real browser: JupyterLab, Run All, and what a person then sees."""

from __future__ import annotations

import re
import time

import nbformat
import pytest

from tests.browser import choose, copy_project, launched, open_notebook, picture, running_lab, without_outputs
from tests.committed_outputs import NOTEBOOKS

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab on copies of the notebooks, with the helpers and the data beside them."""
    folder = tmp_path_factory.mktemp("lab")
    work = copy_project(folder)
    for path in NOTEBOOKS:
        nbformat.write(without_outputs(nbformat.read(path, as_version=4)), work / path.name)
    with running_lab(folder) as address:
        yield address, work


@pytest.fixture(scope="module")
def browser(chromium):
    with launched(chromium) as browser:
        yield browser


def saved_code_cells(path):
    """Return the code cells of the notebook once JupyterLab has saved it with the output of its last cell."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        if all(cell.execution_count for cell in cells):
            return cells
        time.sleep(0.2)
    raise AssertionError("not every cell was run and saved")


SEES_THE_END = """() => {
    const panel = document.querySelector('.jp-Notebook');
    const outer = panel && panel.querySelector('.jp-WindowedPanel-outer') || panel;
    if (outer) outer.scrollTop = outer.scrollHeight;
    return [...document.querySelectorAll('.jp-OutputArea-output pre')]
        .some(element => / · 0 left/.test(element.textContent));
}"""
LONGEST_RUN_S = 300  # answers come at the speed of a model here, and other things may run on the machine
IDLE_S = 15


def run_all(page):
    """Choose Run All Cells and wait for what the last cell, the clean-up, prints.

    JupyterLab now and then says idle before the kernel is connected, and then drops cells that are sent to it. A person
    who sees that nothing happens would choose Run All again, and so does this.
    """
    choose(page, "Run", "Run All Cells")
    end = time.monotonic() + LONGEST_RUN_S
    last_busy = time.monotonic()
    # JupyterLab draws only what is near the screen, so it is looked for at the end.
    while not page.evaluate(SEES_THE_END):
        now = time.monotonic()
        assert now < end, "the last cell did not run"
        if page.locator(".jp-Notebook-ExecutionIndicator").get_attribute("data-status") == "busy":
            last_busy = now
        elif now - last_busy > IDLE_S:
            choose(page, "Run", "Run All Cells")
            last_busy = now
        page.wait_for_timeout(500)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_run_all_in_jupyterlab_shows_answers_tables_and_drawings(lab, browser, path, tmp_path):
    address, work = lab
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    open_notebook(page, address, f"work/{path.name}")
    run_all(page)
    picture(page, f"{path.stem}-end", tmp_path)
    page.keyboard.press("Control+s")
    code = saved_code_cells(work / path.name)
    assert [cell.execution_count for cell in code[-3:]] == sorted(cell.execution_count for cell in code)[-3:]
    assert [output.evalue for cell in code for output in cell.outputs if output.output_type == "error"] == []

    page.locator(".jp-RenderedSVG img, .jp-RenderedSVG svg").first.scroll_into_view_if_needed()
    picture(page, f"{path.stem}-drawing", tmp_path)
    outside = [
        url
        for url in asked
        if not re.match(
            rf"{re.escape(address)}|data:|blob:|https://colab\.research\.google\.com/assets/", url
        )
    ]
    assert outside == [], "only the badge is fetched from elsewhere"
    page.close()
