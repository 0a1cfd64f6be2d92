"""A JupyterLab and a Chromium for the tests that need a real browser."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from tests.committed_outputs import PROJECT, environment

TOKEN = "only-for-this-test"
# Where to keep the pictures; without it they go to the test's temporary folder.
PICTURES = os.environ.get("WORKSHOP_PICTURES")


def copy_project(folder: Path) -> Path:
    """Put the helpers and the data into ``folder``, and return a folder beside them for notebooks."""
    for name in ("helpers", "data"):
        shutil.copytree(
            PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "external")
        )
    work = folder / "work"
    work.mkdir()
    return work


@contextlib.contextmanager
def running_lab(folder: Path, **variables: str) -> Iterator[str]:
    """A JupyterLab on ``folder``; gives its address.

    Args:
        folder: what it shows.
        **variables: of the environment of its kernels.
    """
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
        **variables,
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
    command += ["--LabApp.expose_app_in_browser=True"]
    command += ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    env = {
        name: value for name, value in environment(**settings).items() if name not in ("CI", "PYTEST_VERSION")
    }
    log = (folder / "log.txt").open("w")
    server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{address}/api/status?token={TOKEN}", timeout=2).close()
                break
            except OSError:
                assert server.poll() is None, Path(log.name).read_text()
                assert time.monotonic() < deadline, Path(log.name).read_text()
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=20)
        log.close()


@contextlib.contextmanager
def launched(chromium: str) -> Iterator[Any]:
    """A Chromium without anything that asks the network by itself."""
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


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook as `python start.py` makes working copies: what is seen afterwards was made here."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def open_notebook(page: Any, address: str, path: str) -> None:
    """Open a notebook in a JupyterLab that forgets what was open before, and wait for its kernel."""
    page.goto(f"{address}/lab/tree/{path}?token={TOKEN}&reset", wait_until="domcontentloaded")
    page.get_by_role("heading", level=1).first.wait_for(timeout=60_000)
    page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for(timeout=60_000)


def choose(page: Any, menu: str, item: str) -> None:
    """Choose an item of a menu."""
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_role("menuitem", name=item, exact=True).click()


def run_command(page: Any, command: str, **arguments: Any) -> None:
    """Run one of JupyterLab's commands."""
    page.evaluate(
        "([command, arguments]) => window.jupyterapp.commands.execute(command, arguments)",
        [command, arguments],
    )


def picture(page: Any, name: str, tmp_path: Path) -> None:
    """Keep a picture of the page."""
    folder = Path(PICTURES) if PICTURES else tmp_path
    page.screenshot(path=str(folder / f"{name}.png"))
