"""The notebooks as a learner meets them: shape, exercises, committed outputs, alone, twice, interrupted."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest

from tests import committed_outputs
from tests.committed_outputs import DAY, NOTEBOOKS, PROJECT
from tests.kernel import Kernel

pytestmark = pytest.mark.notebook
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
REPOSITORY = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]


def read(path):
    return nbformat.read(path, as_version=4)


def tagged(notebook, tag, kind="code"):
    return [
        cell for cell in notebook.cells if tag in cell.metadata.get("tags", []) and cell.cell_type == kind
    ]


def prose(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


# -- shape ----------------------------------------------------------------------------------------------------------


@each_notebook
def test_it_is_one_clean_run(path):
    notebook = read(path)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    for cell in code:
        errors = [output for output in cell.outputs if output.output_type == "error"]
        assert not errors or "raises-exception" in cell.metadata.get("tags", []), cell.id
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


@each_notebook
def test_its_headings_are_one_h1_and_skip_no_level(path):
    text = re.sub(r"```.*?```", "", prose(read(path)), flags=re.S)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text, flags=re.M)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    for before, after in itertools.pairwise(levels):
        assert after <= before + 1


@each_notebook
def test_it_has_every_part(path):
    text = prose(read(path))
    for part in (
        "By the end you can",
        "Time",
        "then | now",
        "Failure lab",
        "What just happened",
        "Clean up",
        "Recap",
    ):
        assert part.lower() in text.lower(), part
    code = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "code")
    assert "# @param" in code, "a form for the learner's own values"
    assert "cleanup(client)" in code


@each_notebook
def test_its_cells_are_short_and_its_words_plain(path):
    notebook = read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 20, cell.id
    assert not re.search(
        r"\b(simply|just|obviously|easy|easily)\b",
        re.sub(r"what just happened|why not just use", "", prose(notebook), flags=re.I),
    )


@each_notebook
def test_its_addresses_are_the_repository_s(path):
    notebook = read(path)
    everything = "\n".join(cell.source for cell in notebook.cells)
    assert f'REPOSITORY = "{REPOSITORY}"' in everything
    slug = REPOSITORY.removeprefix("https://github.com/")
    assert f"https://colab.research.google.com/github/{slug}/blob/main/notebooks/{path.name}" in everything
    for image in re.findall(r"!\[([^\]]*)\]\(", everything):
        assert len(image.split()) >= 2, "alternative text says what an image shows"


@each_notebook
def test_nothing_in_it_looks_like_a_key_or_a_machine(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\bsk-[A-Za-z0-9_-]{12,}", text)
    assert str(PROJECT) not in text
    assert str(Path.home()) not in text


# -- exercises ------------------------------------------------------------------------------------------------------


@each_notebook
def test_every_exercise_has_a_check_a_hint_and_a_solution(path):
    notebook = read(path)
    count = len(tagged(notebook, "exercise"))
    assert count >= 2
    assert len(tagged(notebook, "check")) == count
    assert len(tagged(notebook, "hint", "markdown")) == count
    solutions = tagged(notebook, "solution", "markdown")
    assert len(solutions) == count
    for cell in solutions:
        assert len(re.findall(r"^```python\n", cell.source, flags=re.M)) == 1
        assert cell.source.startswith("<details>")
        assert cell.source.endswith("</details>")


@each_notebook
def test_the_untouched_exercises_do_not_pass_their_checks(path):
    notebook = committed_outputs.run(read(path), allow_errors=True, WORKSHOP_CHECKS="raise")
    for cell in tagged(notebook, "check"):
        assert [output.ename for output in cell.outputs if output.output_type == "error"] == [
            "AssertionError"
        ], cell.id


@each_notebook
def test_the_folded_solutions_pass(path):
    notebook = read(path)
    for stub, solution in zip(
        tagged(notebook, "exercise"), tagged(notebook, "solution", "markdown"), strict=True
    ):
        stub.source = re.search(r"```python\n(.*?)```", solution.source, flags=re.S)[1]
    ran = committed_outputs.run(notebook, WORKSHOP_CHECKS="raise")
    for cell in tagged(ran, "check"):
        assert "✔" in "".join(output.get("text", "") for output in cell.outputs)


# -- running --------------------------------------------------------------------------------------------------------


@pytest.mark.pinned
@each_notebook
def test_the_committed_outputs_are_what_a_run_prints(path):
    assert committed_outputs.differences(path) == []


@pytest.mark.pinned
def test_a_changed_output_would_be_noticed():
    notebook = read(NOTEBOOKS[0])
    before = committed_outputs.comparable(notebook)
    printed = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    printed[0].outputs[0].text = "something else"
    assert committed_outputs.comparable(notebook) != before


@each_notebook
def test_it_runs_twice_in_a_row_in_one_kernel(path):
    notebook = read(path)
    again = [nbformat.from_dict(json.loads(json.dumps(cell))) for cell in notebook.cells]
    for cell in again:
        cell.id = f"again-{cell.id}"
    notebook.cells += again
    ran = committed_outputs.run(notebook)
    reports = [
        "".join(output.get("text", "") for output in cell.outputs)
        for cell in ran.cells
        if cell.cell_type == "code" and cell.source.endswith("cleanup(client)")
    ]
    assert len(reports) == 2
    assert all(report.endswith("0 left\n") for report in reports)


@each_notebook
def test_it_runs_alone_in_an_empty_folder_as_in_colab(path, tmp_path):
    """Only the .ipynb is there: the first cell fetches the rest from the address in WORKSHOP_REPOSITORY."""
    origin = tmp_path / "origin"
    left_behind = shutil.ignore_patterns(".*", "work", "wheels", "__pycache__", "*.egg-info", "external")
    shutil.copytree(PROJECT, origin, ignore=left_behind)
    git = [
        "git",
        "-c",
        "user.name=Test",
        "-c",
        "user.email=test@example.com",
        "-c",
        "init.defaultBranch=main",
    ]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "Copy"]):
        subprocess.run([*git, *command], cwd=origin, check=True)

    stub = tmp_path / "colab" / "google" / "colab"
    stub.mkdir(parents=True)
    (stub / "__init__.py").touch()
    (stub / "userdata.py").write_text(
        "class SecretNotFoundError(Exception): pass\ndef get(name): raise SecretNotFoundError(name)\n"
    )
    content = tmp_path / "content"
    content.mkdir()
    notebook = read(path)
    probe = nbformat.v4.new_code_cell("import helpers; print('helpers from', helpers.__file__)")
    notebook.cells = [nbformat.v4.new_code_cell("import google.colab"), *notebook.cells, probe]
    ran = committed_outputs.run(
        notebook,
        folder=content,
        WORKSHOP_REPOSITORY=origin.as_uri(),
        WORKSHOP_API="",
        PYTHONPATH=str(stub.parents[1]),
    )
    said = json.dumps(ran.cells, ensure_ascii=False)
    assert "recorded · no key found" in said
    assert "could not be read (SecretNotFoundError)" in said
    assert str(content / "agentic-retrieval-workshop" / "helpers") in ran.cells[-1].outputs[0].text


@pytest.fixture
def kernel():
    kernel = Kernel(WORKSHOP_PACE="human", WORKSHOP_DISPLAY="lines", PYTHONPATH=str(PROJECT))
    yield kernel
    kernel.close()


SETUP = """
from helpers import Assistant, EventHandler, cleanup, connect, ledger_of, stream_run
client = connect()
teacher = Assistant("Teacher", "You are a patient teaching assistant. Explain step by step, in plain words. "
                               "Use one example per idea.")
thread = client.conversations.create()
question = "What is GPT-2? Can I build it with Legos?"
class Pieces(EventHandler):
    def on_text_delta(self, delta, snapshot):
        print(delta.value, end="", flush=True)
"""


def test_an_interrupt_in_the_middle_of_a_stream_is_one_sentence_and_the_next_cell_runs(kernel):
    assert kernel.run(SETUP)[1] == ""
    text, error, shown = kernel.run(
        "run = stream_run(client, teacher, thread, question, event_handler=Pieces())\nrun.until_done()",
        interrupt_after="language",
    )
    assert "language" in text
    assert error == "Stopped"
    assert "\n" not in shown.strip()
    assert kernel.run("print(run.status, '|', len(run.text) > 10)")[0] == "interrupted | True\n"
    text, error, _ = kernel.run(
        "print(stream_run(client, teacher, thread, question, event_handler=Pieces()).until_done().status)"
    )
    assert error == ""
    assert text.endswith("completed\n")
    text, error, _ = kernel.run(
        "print(len(list(client.conversations.items.list(thread.id))))\ncleanup(client)"
    )
    assert error == ""
    assert text.splitlines()[0] == "3", "question, reasoning and answer of the second run only"
    assert text.endswith("0 left\n")


def test_an_interrupt_of_a_raw_stream_frees_the_conversation_too(kernel):
    assert kernel.run(SETUP)[1] == ""
    _, error, _ = kernel.run(
        "for event in client.responses.create(conversation=thread.id, input=question, stream=True, **teacher):\n"
        "    print(getattr(event, 'delta', ''), end='', flush=True)",
        interrupt_after="language",
    )
    assert error == "KeyboardInterrupt"
    text, error, shown = kernel.run(
        "print(stream_run(client, teacher, thread, question).until_done().status)"
    )
    assert (error, shown) == ("", "")
    assert text.endswith("completed\n")


def test_cells_run_out_of_order_give_the_ordinary_error_and_nothing_worse(kernel):
    assert kernel.run("stream_run(client, teacher, thread, 'Hello')")[1] == "NameError"
    assert kernel.run(SETUP)[1] == ""
    assert kernel.run(SETUP)[1] == ""


@each_notebook
def test_its_html_export_shows_text_tables_and_the_drawing(path, tmp_path):
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "html", "--output-dir", str(tmp_path), str(path)],
        check=True,
        capture_output=True,
    )
    page = (tmp_path / f"{path.stem}.html").read_text(encoding="utf-8")
    assert "<svg" in page or "image/svg+xml" in page
    assert page.count("<table") >= 3
    assert "written by hand" in page, "a reader of the page learns that the answers are authored"


def test_the_day_of_the_committed_runs_is_not_after_the_day_the_facts_were_checked():
    facts = json.loads((PROJECT / "data" / "models.json").read_text(encoding="utf-8"))
    assert facts["checked"] <= DAY
