"""OpenAI's SDK for Node against the served API. npm installs it, pinned, into a temporary folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import start
from helpers.local_api import serving
from tests.local_api.conftest import DATA
from tests.local_api.test_serving import LARGE_TEXT, Log

pytestmark = pytest.mark.node
PROGRAM = DATA / "node"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the program, the SDK, and the Node that the SDK asks for."""
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "client.mjs"):
        shutil.copy(PROGRAM / name, folder)
    npm = shutil.which("npm")
    assert npm, "a test with the mark `node` ran although there is no npm here"
    command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, start.redact(done.stderr)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)  # 200 MB that nobody looks at again


@pytest.fixture(scope="module")
def log() -> Log:
    return Log()


@pytest.fixture(scope="module")
def seen(installed: Path, log: Log) -> dict[str, Any]:
    """What the program saw."""
    program = "node.exe" if os.name == "nt" else "node"
    with serving.serving(recordings=DATA / "other_clients.yaml", log=log) as url:
        done = subprocess.run(
            [installed / "node_modules" / "node" / "bin" / program, "client.mjs"],
            cwd=installed,
            env={**os.environ, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": "node"},
            input=LARGE_TEXT,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        if done.returncode == 0:
            log.wait_for(f"POST /v1/responses 200 {serving.LEFT}")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_stream_arrives_event_by_event(seen):
    events = seen["stream"]["events"]
    assert events[:2] == ["response.created", "response.in_progress"]
    assert events[-1] == "response.completed"
    assert events.count("response.output_text.delta") > 20
    assert seen["stream"]["text"].startswith("One two three")


def test_its_stream_helper_puts_the_response_together(seen):
    assert seen["helper"]["status"] == "completed"
    assert seen["helper"]["text"] == seen["helper"]["written"] == seen["stream"]["text"]


def test_it_uploads_searches_and_cites_a_file(seen):
    assert seen["fileSearch"] == {
        "status": "completed",
        "found": ["notes.md"],
        "text": "They promise a loss of 3.28.",
        "cited": ["notes.md"],
    }


def test_a_refusal_is_its_own_kind_of_error(seen):
    assert seen["refusal"] == {
        "name": "BadRequestError",
        "status": 400,
        "param": "max_tool_calls",
        "code": "unsupported_parameter",
    }


def test_leaving_a_stream_is_noticed(seen, log):
    assert seen["left"] == "response.created"
    assert [line for line in log.lines if serving.LEFT in line] == [f"POST /v1/responses 200 {serving.LEFT}"]


def test_it_ran_on_the_node_that_is_pinned(seen):
    pinned = json.loads((PROGRAM / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert seen["version"] == pinned["node"]
