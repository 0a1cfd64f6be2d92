"""Recordings: what a file may hold, and what is said about everything that it may not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from helpers.local_api.__main__ import main
from helpers.local_api.citing import PLACEHOLDER
from helpers.local_api.recordings import (
    RecordedWith,
    Source,
    normalised,
    read_file,
)
from helpers.local_api.turns import Call, Calls, Refuse, Run, Say, Search, Think, step_from_json, step_to_json
from tests.local_api.conftest import RECORDINGS, make_client

ROOT = Path(__file__).resolve().parents[2]
FILE = Path("turns.yaml")
HEAD = "source: authored\nexchanges:\n"


def read(text):
    return read_file(FILE, text if isinstance(text, bytes) else text.encode())


def good(text):
    exchanges, problems = read(text)
    assert [str(problem) for problem in problems] == []
    return exchanges


FULL = r"""
source: authored
recorded_with:
  instructions: |
    Be patient.
exchanges:
  - ask: |
      Why not just
      use a textbook?
    tools: [file_search]
    steps:
      - think: |
          Look first.
      - search: [building GPT-2 from scratch, limits of textbooks]
      - say: |
          A textbook stops where the shapes begin [overview.md].

          Second paragraph.
  - ask: When does the validation loss stop improving?
    tools: [code_interpreter]
    recorded_with: {model: gpt-6.2-sol}
    when:
      instructions: step by step
      description: "numbers"
      model: gpt-6.2-sol
    after: |
      What is the loss?
    steps:
      - run: |
          print(f"best_step={best['step']}")
        prints: 'best_step=(?P<step>\d+) best_loss=(?P<loss>[\d.]+)'
      - say: |
          It is lowest, {loss}, at step {step}. In code: `{x}`, and {"a": 1}, \frac{a}{b}.
  - ask: |
      How was GPT-2 released?
    tools: [duckduckgo_search, count]
    steps:
      - - call: duckduckgo_search
          with: {query: GPT-2 staged release 2019, max_results: 5, deep: {is_on: true, never: null, list: [1.5, a]}}
          prints: '(?P<year>\d{4})'
        - call: count
      - call: count
        with: {n: -3, year: "{year}"}
      - refuse: |
          I cannot say.
"""


def test_a_file_with_everything():
    first, second, third = good(FULL)
    assert first.ask == "Why not just\nuse a textbook?"
    assert first.steps == (
        Think("Look first."),
        Search(["building GPT-2 from scratch", "limits of textbooks"]),
        Say("A textbook stops where the shapes begin [overview.md].\n\nSecond paragraph."),
    )
    assert first.recorded_with == RecordedWith("Be patient.", "gpt-6-luna")
    assert (first.tools, first.conditions) == (frozenset({"file_search"}), 0)
    assert second.when == {
        "instructions": "step by step",
        "description": "numbers",
        "model": "gpt-6.2-sol",
    }
    assert (second.after, second.conditions) == ("What is the loss?", 4)
    assert second.recorded_with == RecordedWith("Be patient.", "gpt-6.2-sol")
    assert isinstance(second.steps[0], Run)
    assert second.steps[0].prints.startswith("best_step=(?P<step>")
    deep = {"is_on": True, "never": None, "list": [1.5, "a"]}
    arguments = {"query": "GPT-2 staged release 2019", "max_results": 5, "deep": deep}
    assert third.steps == (
        Calls([Call("duckduckgo_search", arguments, r"(?P<year>\d{4})"), Call("count", {})]),
        Calls([Call("count", {"n": -3, "year": "{year}"})]),
        Refuse("I cannot say."),
    )
    assert [each.line for each in (first, second, third)] == [7, 19, 34]
    for exchange in (first, second, third):
        assert tuple(step_from_json(step_to_json(step)) for step in exchange.steps) == exchange.steps


def test_who_answered_is_said_for_the_whole_file():
    (captured,) = good(
        "source: captured\nmodel: gpt-6-luna\ndate: 2026-11-20\nexchanges:\n- ask: Hi\n  steps:\n  - say: Hello\n"
    )
    assert captured.source == Source("captured", "gpt-6-luna", "2026-11-20")
    later, other = good(
        "source: captured\nmodel: gpt-6-luna\ndate: 2026-11-20\nexchanges:\n"
        "- ask: Hi\n  date: 2026-12-24\n  steps:\n  - say: Hello\n"
        "- ask: Ho\n  model: gpt-6.2-sol\n  date: 2026-12-25\n  steps:\n  - say: Hello\n"
    )
    assert later.source == Source("captured", "gpt-6-luna", "2026-12-24")
    assert other.source == Source("captured", "gpt-6.2-sol", "2026-12-25")
    assert good(HEAD + "- ask: Hi\n  steps:\n  - say: Hello\n")[0].source == Source("authored")


SAY = "    steps:\n      - say: |\n          Text.\n"
WRONG = [
    # (what is in the file, the line that is named, words of the message)
    ("", 1, "the file is empty"),
    ("just text", 1, "must be a mapping"),
    ("- a\n- b\n", 1, "must be a mapping (key: value), not a list"),
    ("exchanges:\n- ask: Hi\n  steps:\n  - say: Hello\n", 1, "there is no `source`"),
    (
        "source: me\nexchanges:\n- ask: Hi\n  steps:\n  - say: Hello\n",
        1,
        "'authored' or 'captured', not 'me'",
    ),
    (
        "source: authored\ndate: 2026-11-20\nexchanges:\n- ask: Hi\n  steps: [say: a]\n",
        2,
        "'date' belongs to",
    ),
    (HEAD + "- ask: Hi\n  model: gpt-6-luna\n  steps: [say: a]\n", 4, "'model' belongs to"),
    (
        "source: captured\nmodel: a\ndate: 2026-11-20\nexchanges:\n- ask: Hi\n  date: soon\n  steps: [say: a]\n",
        6,
        "date must be a day",
    ),
    ("source: captured\nexchanges:\n- ask: Hi\n  steps: [say: a]\n", 1, "also says model"),
    (
        "source: captured\nmodel: a\ndate: yesterday\nexchanges:\n- ask: Hi\n  steps: [say: a]\n",
        3,
        "a day like 2026-11-23",
    ),
    ("source: authored\n", 1, "there are no `exchanges`"),
    ("source: authored\nexchanges: []\n", 2, "the list of exchanges is empty"),
    ("source: authored\nexchanges:\n  ask: Hi\n", 3, "must be a list, not a mapping"),
    ("source: authored\nexchange:\n- ask: Hi\n", 2, "no 'exchange'. It can have: source"),
    (
        "source: authored\nsource: authored\nexchanges:\n- ask: Hi\n  steps: [say: a]\n",
        2,
        "stands here twice",
    ),
    (HEAD + "  - ask: Hi\n    ask: Ho\n" + SAY, 4, "'ask' stands here twice"),
    (HEAD + "  - ask: 42\n" + SAY, 3, 'ask must be a text, not a number. Put it in quotes: ask: "42"'),
    (HEAD + "  - ask: yes\n" + SAY, 3, 'not true or false. Put it in quotes: ask: "yes"'),
    (HEAD + "  - ask: 2026-11-23\n" + SAY, 3, "not a date"),
    (HEAD + "  - ask:\n" + SAY, 3, "not nothing. Write the text after `ask: |`"),
    (HEAD + "  - ask: ~\n" + SAY, 3, "not nothing"),
    (HEAD + "  - ask: ''\n" + SAY, 3, "ask is empty"),
    (HEAD + "  - ask: [a, b]\n" + SAY, 3, "not a list. Begin a block with `ask: |`"),
    (HEAD + "  - ask: {a: b}\n" + SAY, 3, "not a mapping"),
    (HEAD + "  - ask: !!binary aGk=\n" + SAY, 3, "a value with the tag"),
    (HEAD + "  - ask: What: is it?\n" + SAY, 3, "Put a longer text into a block: `ask: |`"),
    (HEAD + "  - Hi\n", 3, "an exchange must be a mapping"),
    (HEAD + SAY.replace("    steps", "  - steps"), 3, "this exchange has no 'ask'"),
    (HEAD + "  - ask: Hi\n", 3, "this exchange has no 'steps'"),
    (HEAD + "  - ask: Hi\n    steps: []\n", 4, "there are no steps"),
    (HEAD + "  - ask: Hi\n    steps:\n      say: a\n", 5, "steps must be a list"),
    (HEAD + "  - ask: Hi\n    answer: a\n" + SAY, 4, "an exchange has no 'answer'"),
    (HEAD + "  - ask: Hi\n    7: a\n" + SAY, 4, "the key '7' must be a text"),
    (HEAD + "  - ask: Hi\n    tools: file_search\n" + SAY, 4, "tools must be a list"),
    (HEAD + "  - ask: Hi\n    tools: [1]\n" + SAY, 4, "each of tools must be a text, not a number"),
    (HEAD + "  - ask: Hi\n    when: pirate\n" + SAY, 4, "when must be a mapping"),
    (HEAD + "  - ask: Hi\n    when: {mood: good}\n" + SAY, 4, "when has no 'mood'"),
    (HEAD + "  - ask: Hi\n    when: {model: 5}\n" + SAY, 4, "model must be a text"),
    (HEAD + "  - ask: Hi\n    after: 3\n" + SAY, 4, "after must be a text"),
    (HEAD + "  - ask: Hi\n    steps:\n      - say: 3.14\n", 5, "say must be a text, not a number"),
    (HEAD + "  - ask: Hi\n    steps:\n      - say: null\n", 5, "say must be a text, not nothing"),
    (HEAD + "  - ask: Hi\n    steps:\n      - says: a\n", 5, "a step has no 'says'"),
    (HEAD + "  - ask: Hi\n    steps:\n      - say: a\n        run: b\n", 5, "say and run in one"),
    (HEAD + "  - ask: Hi\n    steps:\n      - say: a\n        prints: b\n", 6, "does not belong to a `say`"),
    (HEAD + "  - ask: Hi\n    steps:\n      - {}\n", 5, "none of them"),
    (HEAD + "  - ask: Hi\n    steps:\n      - think: a\n", 5, "the last step must be `say`"),
    (
        HEAD + "  - ask: Hi\n    tools: [file_search]\n    steps:\n      - search: a\n      - say: b\n",
        6,
        "[one, another]",
    ),
    (
        HEAD + "  - ask: Hi\n    tools: [file_search]\n    steps:\n      - search: []\n      - say: b\n",
        6,
        "at least one",
    ),
    (
        HEAD + "  - ask: Hi\n    steps:\n      - search: [a]\n      - say: b\n",
        3,
        "needs `tools: [file_search]`",
    ),
    (
        HEAD + "  - ask: Hi\n    tools: [a]\n    steps:\n      - run: b\n      - say: b\n",
        3,
        "needs `tools: [a, code_interpreter]`",
    ),
    (HEAD + "  - ask: Hi\n    steps:\n      - call: count\n      - say: b\n", 3, "needs `tools: [count]`"),
    (
        HEAD
        + "  - ask: Hi\n    tools: [f]\n    steps:\n      - call: f\n        with: [a]\n      - say: b\n",
        7,
        "with must be a mapping",
    ),
    (
        HEAD
        + "  - ask: Hi\n    tools: [f]\n    steps:\n      - call: f\n        with: {day: 2026-11-23}\n      - say: b\n",
        7,
        "'2026-11-23' is a date in YAML. If you mean the text",
    ),
    (
        HEAD
        + "  - ask: Hi\n    tools: [f]\n    steps:\n      - call: f\n        with: {deep: yes}\n      - say: b\n",
        7,
        "'yes' is true or false in YAML",
    ),
    (
        HEAD + "  - ask: Hi\n    tools: [f]\n    steps:\n      - - with: {}\n      - say: b\n",
        6,
        "which function",
    ),
    (HEAD + "  - ask: Hi\n    steps:\n      - []\n      - say: b\n", 5, "this list of calls is empty"),
    (
        HEAD
        + "  - ask: Hi\n    tools: [code_interpreter]\n    steps:\n      - run: a\n        prints: '(a'\n      - say: b\n",
        7,
        "prints is not a regular expression",
    ),
    (
        HEAD
        + "  - ask: Hi\n    tools: [code_interpreter]\n    steps:\n      - run: a\n        prints: '(?P<loss>.)'\n"
        + "      - say: It is {los}.\n",
        8,
        "{los} is not a named group of an earlier `prints` (there: {loss})",
    ),
    (
        HEAD
        + "  - ask: Hi\n    tools: [f]\n    steps:\n      - call: f\n        prints: '(a'\n      - say: b\n",
        7,
        "prints is not a regular expression",
    ),
    (
        HEAD
        + "  - ask: Hi\n    tools: [f]\n    steps:\n      - call: f\n        prints: '(?P<loss>.)'\n"
        + "      - say: It is {los}.\n",
        8,
        "{los} is not a named group of an earlier `prints` (there: {loss})",
    ),
    (
        HEAD
        + "  - ask: Hi\n    tools: [f]\n    steps:\n      - call: f\n        prints: '(?P<loss>.)'\n"
        + "      - call: f\n        with: {deep: ['{los}']}\n      - say: b\n",
        8,
        "{los} is not a named group",
    ),
    (
        HEAD
        + "  - ask: Hi\n    tools: [f]\n    steps:\n      - call: f\n        prints: '(?P<loss>.)'\n"
        + "      - call: f\n        with: {a: {loss}}\n      - say: b\n",
        8,
        '{loss} is a mapping in YAML. Put the place in quotes: "{loss}".',
    ),
    (
        HEAD
        + "  - ask: Hi\n    tools: [f]\n    steps:\n      - - call: f\n          prints: '(?P<a>.)'\n"
        + "        - call: f\n          prints: '(?P<b>.)'\n      - say: '{a} {b} {c}'\n",
        10,
        "{c} is not a named group of an earlier `prints` (there: {a}, {b})",
    ),
    (
        HEAD
        + "  - ask: Hi\n    tools: [code_interpreter]\n    steps:\n      - run: |\n          a = 1\n          b = (\n"
        + "      - say: b\n",
        6,
        "run is not Python ('(' was never closed, line 2 of the code)",
    ),
    (
        HEAD + "  - ask: Hi\n    steps:\n      - say: '[a](sandbox:/mnt/data/a.csv)'\n",
        3,
        "links to a file that code writes, so it needs `tools: [code_interpreter]`",
    ),
    (
        HEAD
        + "  - ask: Hi\n    tools: [code_interpreter]\n    steps:\n      - say: '[a](/mnt/data/a.csv)'\n",
        3,
        "](/mnt/data/a.csv) leads nowhere. Link to a file that code wrote as [name](sandbox:/mnt/data/name).",
    ),
    (HEAD + "\t- ask: Hi\n", 3, "indented with a tab. Use spaces"),
    (HEAD + "  - ask: Hi\n" + SAY + "---\nsource: authored\n", 7, "a second document begins here"),
    (HEAD + "  - ask: 'Hi\n", 4, "this is not YAML"),
    (
        HEAD
        + "  - ask: Hi\n    tools: [f]\n    steps:\n      - call: f\n        with: &a {x: *a}\n      - say: b\n",
        7,
        "nested more than 10 levels",
    ),
    (b"source: authored\n# \xff\n", 2, "not UTF-8"),
    ("source: authored\n# \x07\n", 2, "cannot stand in a YAML file"),
    (
        "source: authored\nrecorded_with: calm\nexchanges:\n- ask: Hi\n  steps: [say: a]\n",
        2,
        "recorded_with must be",
    ),
    (
        "source: authored\nrecorded_with: {model: 6}\nexchanges:\n- ask: Hi\n  steps: [say: a]\n",
        2,
        "model must be",
    ),
]


@pytest.mark.parametrize("loader", ["C", "Python"])
@pytest.mark.parametrize(("text", "line", "words"), WRONG, ids=[f"{w[1]}: {w[2][:40]}" for w in WRONG])
def test_a_wrong_file_is_told_with_its_line_and_what_to_write(text, line, words, loader, monkeypatch):
    if loader == "Python":
        # Not every installation of PyYAML has the fast loader.
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    _, problems = read(text)
    assert problems, "nothing was found"
    found = [problem for problem in problems if words in problem.message]
    assert found, [str(problem) for problem in problems]
    assert found[0].line == line
    assert str(found[0]).startswith(f"turns.yaml:{line}: ")


def test_all_problems_of_a_file_are_told_at_once():
    _, problems = read(HEAD + "  - ask: 1\n    steps:\n      - say: 2\n      - says: 3\n  - ask: Hi\n")
    assert [problem.line for problem in problems] == [3, 5, 6, 7]


def test_braces_are_only_placeholders_where_something_prints():
    text = HEAD + "  - ask: Hi\n    steps:\n      - say: 'f\"{x}\" and {name} and {{a}}'\n"
    assert good(text)[0].steps == (Say('f"{x}" and {name} and {{a}}'),)
    assert PLACEHOLDER.findall('{loss} {"a": 1} {{no}} \\frac{no} x{no} ${no} {step}.') == ["loss", "step"]


def test_windows_files_and_a_byte_order_mark_are_fine():
    text = ("\ufeff" + HEAD + "  - ask: |\n      Hi\n" + SAY).replace("\n", "\r\n")
    (exchange,) = good(text)
    assert exchange.ask == "Hi"
    assert exchange.steps == (Say("Text."),)


def test_questions_are_compared_as_people_read_them():
    same = [
        "What is GPT2?",
        "what is gpt2",
        "  What\tis \n GPT2 ?!",
        "WHAT IS GPT2…",
        "Ｗhat is ＧＰＴ２？",
        "What is GPT2.",
    ]
    assert {normalised(text) for text in same} == {"what is gpt2"}
    assert normalised("Straße") == normalised("STRASSE")
    assert normalised("e\u0301") == normalised("é")
    assert normalised("What is GPT-2?") != normalised("What is GPT2?")
    assert normalised("?!") == "?!"
    assert normalised("C++") != normalised("C")


# -- the folder -----------------------------------------------------------------------------------------------------


def test_a_changed_file_is_read_again(tmp_path):
    from helpers.local_api import LocalAPI

    file = tmp_path / "one.yaml"

    def write(answer):
        file.write_text(HEAD + f"  - ask: Hi\n    steps:\n      - say: {answer}\n")

    write("first")
    api = LocalAPI(recordings=tmp_path)
    client = make_client(api)

    def ask():
        return client.responses.create(model="gpt-6-luna", input="Hi").output_text

    assert ask() == "first"
    write("second!")
    assert ask() == "second!"
    (tmp_path / "two.yml").write_text(HEAD + "  - ask: Ho\n    steps:\n      - say: third\n")
    assert client.responses.create(model="gpt-6-luna", input="ho").output_text == "third"
    file.unlink()
    assert "not in the recording" in ask()
    api.close()


def test_an_unchanged_file_is_not_read_again(tmp_path, monkeypatch):
    from helpers.local_api import recordings
    from helpers.local_api.recordings import Library

    (tmp_path / "one.yaml").write_text(HEAD + "  - ask: Hi\n" + SAY)
    library = Library(tmp_path)
    first = library.load()
    monkeypatch.setattr(recordings, "read_file", None)
    assert library.load() == first


def check(*arguments):
    return main(["check", *map(str, arguments)])


def test_the_checker_finds_nothing_in_the_recordings_of_the_tests(capsys):
    assert check(RECORDINGS) == 0
    assert capsys.readouterr().out == "2 files, 14 exchanges: no problems.\n"


def test_the_checker_prints_problems_with_file_and_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(HEAD + "  - ask: 1\n" + SAY)
    (tmp_path / "b.yaml").write_text((HEAD + "  - ask: Hi\n" + SAY) + "  - ask: hi!\n" + SAY)
    assert check(tmp_path) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("a.yaml:3: ask must be a text")
    assert lines[1].startswith(
        "b.yaml:7: this question fits as well as b.yaml:3. Give one of the two a `when`"
    )
    assert check(tmp_path / "a.yaml") == 1


def test_the_checker_says_so_if_there_is_nothing_to_check(tmp_path, capsys):
    assert check(tmp_path / "nowhere") == 1
    assert check(tmp_path) == 1
    out = capsys.readouterr().out
    assert "does not exist" in out
    assert "There are no recordings" in out


def test_the_checker_runs_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "helpers.local_api", "check"],
        cwd=ROOT,
        env={**os.environ, "WORKSHOP_RECORDINGS": str(RECORDINGS)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "2 files, 14 exchanges: no problems.\n"), done.stderr
    assert done.stderr == ""


def test_the_recordings_of_the_course_have_no_problems(capsys, monkeypatch):
    monkeypatch.delenv("WORKSHOP_RECORDINGS", raising=False)
    assert check() == 0, capsys.readouterr().out


def test_the_example_in_the_readme_is_a_recording_without_problems():
    readme = (ROOT / "data" / "recordings" / "README.md").read_text(encoding="utf-8")
    examples = [part.split("```")[0] for part in readme.split("```yaml\n")[1:]]
    assert len(examples) >= 2
    for example in examples:
        assert good(example)
