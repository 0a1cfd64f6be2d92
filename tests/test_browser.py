"""The notebooks in a real browser: JupyterLab, Run All, and what a person then sees."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

from tests.committed_outputs import NOTEBOOKS, PROJECT, environment

pytestmark = pytest.mark.browser
TOKEN = "only-for-this-test"
# Where to keep the pictures; without it they go to the test's temporary folder.
PICTURES = os.environ.get("WORKSHOP_PICTURES")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab on copies of the notebooks, with the helpers and the data beside them."""
    folder = tmp_path_factory.mktemp("lab")
    work = folder / "work"
    work.mkdir()
    for path in NOTEBOOKS:
        # Without outputs, as `python start.py` makes working copies: what is seen afterwards was made here.
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, work / path.name)
    for name in ("helpers", "data"):
        shutil.copytree(
            PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "external")
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data-dir"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "WORKSHOP_DISPLAY": "auto",
        "WORKSHOP_PACE": "human",
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        f"--port={port}",
        "--ServerApp.ip=127.0.0.1",
    ]
    command += [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}", "--allow-root"]
    command += ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    env = {
        name: value for name, value in environment(**settings).items() if name not in ("CI", "PYTEST_VERSION")
    }
    log = (folder / "log.txt").open("w")
    server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{address}/api/status?token={TOKEN}", timeout=2).close()
            break
        except OSError:
            assert server.poll() is None, Path(log.name).read_text()
            assert time.monotonic() < deadline, Path(log.name).read_text()
            time.sleep(0.2)
    yield address, work
    server.terminate()
    server.wait(timeout=20)
    log.close()


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-background-networking",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*flags, "--disable-component-update", "--no-first-run"]
        )
        yield browser
        browser.close()


def picture(page, name, tmp_path):
    folder = Path(PICTURES) if PICTURES else tmp_path
    page.screenshot(path=str(folder / f"{name}.png"))


def saved_code_cells(path):
    """Return the code cells of the notebook once JupyterLab has saved it with the output of its last cell."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        if all(cell.execution_count for cell in cells):
            return cells
        time.sleep(0.2)
    raise AssertionError("not every cell was run and saved")


def run_all(page):
    """Choose Run All Cells and wait for what the last cell, the clean-up, prints."""
    from playwright.sync_api import TimeoutError as PlaywrightTimeout

    page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for(timeout=60_000)
    for attempt in range(3):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        try:
            # JupyterLab draws only what is near the screen, so look for it at the end.
            page.wait_for_function(
                """() => {
                    const panel = document.querySelector('.jp-Notebook');
                    const outer = panel && panel.querySelector('.jp-WindowedPanel-outer') || panel;
                    if (outer) outer.scrollTop = outer.scrollHeight;
                    return [...document.querySelectorAll('.jp-OutputArea-output pre')]
                        .some(element => / · 0 left/.test(element.textContent));
                }""",
                timeout=60_000,
                polling=500,
            )
            return
        except PlaywrightTimeout:
            # JupyterLab now and then says idle before the kernel is connected, and then drops cells that are sent to
            # it; a person would choose Run All again.
            if attempt == 2:
                raise


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_run_all_in_jupyterlab_shows_answers_tables_and_drawings(lab, browser, path, tmp_path):
    address, work = lab
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/lab/tree/work/{path.name}?token={TOKEN}&reset", wait_until="domcontentloaded")
    page.get_by_role("heading", level=1).first.wait_for(timeout=60_000)
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
