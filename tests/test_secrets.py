"""A key goes to the API and nowhere else: one is planted everywhere, and everything that is written is searched."""

import http.server
import json
import os
import re
import subprocess
import sys
import threading

import nbformat
import pytest

from helpers.local_api import bubblewrap
from tests import committed_outputs
from tests.committed_outputs import NOTEBOOKS, PROJECT, environment
from tests.observed import KEYS, colab, observed, project_with_dotenv

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# Where nothing is made up, everything that begins like a key; in tests, which plant keys, what is as long as a real one.
KEY_LIKE = re.compile(rb"\bsk-[A-Za-z0-9_-]{12,}")
LONG_KEY = re.compile(rb"\bsk-[A-Za-z0-9_-]{40,}")
OTHER_KEYS = re.compile(
    rb"\b(?:ghp|gho|ghs|github_pat)_[A-Za-z0-9_]{30,}|\bAKIA[0-9A-Z]{16}\b|\bhf_[A-Za-z0-9]{30,}"
    rb"|\bAIza[A-Za-z0-9_-]{35}|\bxox[abp]-[A-Za-z0-9-]{20,}|-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----"
)


# -- recorded ---------------------------------------------------------------------------------------------------------


@pytest.mark.notebook
@each_notebook
def test_no_planted_key_is_written_anywhere_by_a_recorded_run(path):
    seen = observed(path)
    assert "outputs" in seen.texts
    assert any("state.sqlite3" in name for name in seen.texts)
    found = [
        (name, place)
        for name, text in seen.texts.items()
        for place, key in KEYS.items()
        if key.encode() in text
    ]
    assert found == []


@pytest.mark.notebook
def test_the_run_had_the_keys_at_hand():
    """Else the test above would prove nothing."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("import os; print(os.environ['OPENAI_API_KEY'])")]
    )
    ran = committed_outputs.run(notebook, OPENAI_API_KEY=KEYS["environment"])
    assert KEYS["environment"] in json.dumps(ran)


# -- live, with a server that repeats the key in each error -----------------------------------------------------------


class Echo(http.server.BaseHTTPRequestHandler):
    """Lets things be created, and answers everything else with an error that holds the whole key."""

    statuses = (400, 401, 403, 404, 429, 500)
    asked = 0

    def do_GET(self):
        if "/models/" in self.path:
            return self.answer(
                200, {"id": self.path.rpartition("/")[2], "object": "model", "created": 0, "owned_by": "x"}
            )
        return self.refuse()

    def do_DELETE(self):
        return self.refuse()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        kind = {"conversations": "conversation", "vector_stores": "vector_store"}.get(
            self.path.rpartition("/")[2]
        )
        if kind:
            id = {"conversation": "conv_1", "vector_store": "vs_1"}[kind]
            return self.answer(
                200, {"id": id, "object": kind, "created_at": 0, "metadata": {}, "name": "Notes"}
            )
        if self.path.endswith("/responses") and b'"stream":true' in body:
            return self.break_off()
        return self.refuse()

    def words(self):
        return f"Something is wrong with {self.headers['authorization']}."

    def refuse(self):
        Echo.asked += 1
        status = self.statuses[Echo.asked % len(self.statuses)]
        error = {
            "message": self.words(),
            "type": "invalid_request_error",
            "code": None,
            "param": self.words(),
        }
        return self.answer(status, {"error": error})

    def break_off(self):
        started = {
            "id": "resp_1",
            "object": "response",
            "status": "in_progress",
            "output": [],
            "model": "gpt-6-luna",
        }
        events = [
            {"type": "response.created", "sequence_number": 0, "response": started},
            {
                "type": "error",
                "sequence_number": 1,
                "code": "bad",
                "message": self.words(),
                "param": self.words(),
            },
        ]
        data = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
        return self.answer(200, data, "text/event-stream")

    def answer(self, status, body, kind="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (
            ("content-type", kind),
            ("content-length", str(len(data))),
            ("x-should-retry", "false"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def echo():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


LOOK_AT_ERRORS = """
import traceback
import openai
from helpers import WorkshopError
from helpers.errors import Stopped
errors = []
def look(result):
    error = result.error_in_exec
    if error is None:
        return
    chain = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    first = chain[0]
    ours = isinstance(first, WorkshopError | Stopped)
    texts = [str(first), repr(first), repr(vars(first)), *traceback.format_exception(first, chain=True)]
    errors.append({
        "kind": type(first).__name__,
        "ours": ours,
        "holds the SDK's": any(isinstance(one, openai.OpenAIError) for one in chain[1:] if ours),
        "says the key": ours and any(KEY in text for text in texts),
    })
KEY = client.api_key
get_ipython().events.register("post_run_cell", look)
try:
    client.responses.create(input="Hello?", model="gpt-6-luna")
except openai.APIError as error:
    print("The server repeats the key:", KEY in str(error))
"""
TELL_ERRORS = (
    "import json, os, sys\nget_ipython().events.unregister('post_run_cell', look)\nprint(json.dumps(errors))"
)


def printed(cell, name="stdout"):
    return "".join(output.text for output in cell.outputs if output.get("name") == name)


@pytest.mark.notebook
@each_notebook
def test_a_live_run_that_fails_everywhere_says_the_key_nowhere(path, echo, tmp_path):
    place = list(KEYS)[NOTEBOOKS.index(path) % len(KEYS)]
    key = KEYS[place]
    project = project_with_dotenv(tmp_path, key if place == ".env" else "")
    notebook = nbformat.read(path, as_version=4)
    code = nbformat.v4.new_code_cell
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    (connects,) = [place for place, cell in enumerate(cells) if cell.source.endswith("client = connect()")]
    again = [part for cell in cells[connects + 1 :] for part in (cell, code("%tb"))]
    for cell in cells:
        cell.outputs = []
    notebook.cells = [
        code("import google.colab"),
        *cells[: connects + 1],
        code(LOOK_AT_ERRORS),
        *again,
        code(TELL_ERRORS),
    ]
    settings = {"OPENAI_API_KEY": key} if place == "environment" else {}
    ran = committed_outputs.run(
        notebook,
        folder=project / "notebooks",
        allow_errors=True,
        OPENAI_BASE_URL=echo,
        OPENAI_LOG="debug",  # what the SDK logs is shown below the cells
        WORKSHOP_API="live",
        WORKSHOP_JOURNAL=str(tmp_path / "journal"),
        PYTHONPATH=str(colab(tmp_path, key if place == "Colab" else "")),
        **settings,
    )
    assert "live · key from" in printed(ran.cells[connects + 1])
    assert printed(ran.cells[connects + 2]) == "The server repeats the key: True\n"
    assert "DEBUG" in printed(ran.cells[connects + 2], "stderr")
    errors = json.loads(printed(ran.cells[-1]))
    assert len(errors) > 5
    assert [error for error in errors if error["holds the SDK's"] or error["says the key"]] == []
    for cell in ran.cells:
        assert key not in json.dumps(cell.outputs), cell.source
    written = [file for file in (tmp_path / "journal").rglob("*") if file.is_file()]
    assert written != []
    assert not [file for file in written if key in file.read_text()]
    assert not [file for file in project.rglob("*.jsonl") if key in file.read_text()]


# -- the code interpreter ---------------------------------------------------------------------------------------------

LOOK_AROUND = """
import os, pathlib
found = ["its own environment"] if any("planted" in value for value in os.environ.values()) else []
for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
    try:
        if b"planted" in path.read_bytes():
            found.append(f"process {path.parent.name}")
    except OSError:
        pass
print("FOUND", found)
"""
RUN_IN_A_SANDBOX = """
import os, sys, tempfile
from pathlib import Path
from helpers.local_api import processes
from helpers.local_api.sandbox import Sandbox
with tempfile.TemporaryDirectory() as folder, Sandbox(Path(folder), isolation=sys.argv[1]) as sandbox:
    print(sandbox.run(sys.stdin.read()).logs)
    below = processes.below(os.getpid())
    print("CHILDREN", len(below) > 0, [pid for pid in below if b"planted" in Path(f"/proc/{pid}/environ").read_bytes()])
"""


def look_around(isolation):
    return subprocess.run(
        [sys.executable, "-c", RUN_IN_A_SANDBOX, isolation],
        input=LOOK_AROUND,
        env=environment(OPENAI_API_KEY=KEYS["environment"], PYTHONPATH=str(PROJECT)),
        capture_output=True,
        text=True,
        timeout=120,
    ).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_process_that_runs_code_was_given_the_key():
    said = look_around("none")
    assert "CHILDREN True []" in said
    assert "its own environment" not in said


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is Linux's")
def test_with_bubblewrap_code_sees_no_process_that_has_the_key():
    found = "FOUND []" in look_around("auto")
    assert found or bubblewrap.find()[0] is None


# -- what is committed ------------------------------------------------------------------------------------------------


def key_like_texts(content, *, in_tests):
    return (LONG_KEY if in_tests else KEY_LIKE).findall(content) + OTHER_KEYS.findall(content)


def tracked_files():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=True).stdout
    return [PROJECT / os.fsdecode(name) for name in listed.split(b"\0") if name]


def test_no_tracked_file_holds_what_looks_like_a_key():
    files = [file for file in tracked_files() if file.is_file()]
    assert {file.parts[-2] for file in files} >= {"notebooks", "recordings", "helpers"}
    found = {
        str(file): texts
        for file in files
        if (texts := key_like_texts(file.read_bytes(), in_tests=PROJECT / "tests" in file.parents))
    }
    assert found == {}


@pytest.mark.parametrize("in_tests", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        b"OPENAI_API_KEY=sk-proj-" + b"A1b2C3d4" * 6,
        b'"api_key": "sk-' + b"x" * 48 + b'"',
        b"ghp_" + b"a1" * 18,
        b"-----BEGIN " + b"PRIVATE KEY-----",
    ],
)
def test_a_key_in_a_file_would_be_noticed(text, in_tests):
    assert key_like_texts(b"some text\n" + text + b"\nmore", in_tests=in_tests) != []


def test_a_short_one_would_be_noticed_in_a_notebook():
    assert key_like_texts(b'"text": "sk-' + b"planted-0123" + b'"', in_tests=False) != []
