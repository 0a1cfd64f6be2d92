"""Taking captures over: what people wrote stays as they wrote it, unless it is replaced on purpose."""

import os

import pytest

from helpers.local_api import RECORDINGS
from helpers.local_api.__main__ import main
from helpers.local_api.adopting import AdoptError, adopt, with_exchange, without
from helpers.local_api.captures import key
from helpers.local_api.recording_text import content_of
from helpers.local_api.recordings import read_file

AUTHORED = """\
# Written by hand.
source: authored
recorded_with:
  instructions: |
    Be kind.
exchanges:
  # -- tokens ------------
  - ask: |
      What is a token?
    steps:
      - say: |
          A piece of text.
          # not a comment, a heading

  # -- code --------------
  - ask: |
      How many rows?   # part of the question
    tools: [code_interpreter]
    steps:
      - run: |
          # a comment of the code
          print("rows=3")
        prints: 'rows=(?P<rows>\\d+)'
      - say: |
          There are {rows}.
    # a comment inside

  - ask: |
      Why?
    after: |
      What is a token?
    steps:
      - say: Because.
"""
CAPTURED = """\
# What a model answered.
source: captured
model: gpt-6-luna-2026-10-01
date: 2026-11-23
recorded_with:
  model: gpt-6-luna
  instructions: |
    Be kind.
exchanges:
  - ask: |
      what is a TOKEN
    steps:
      - say: |
          The smallest brick.

  - ask: |
      Why?
    after: |
      What is a token?
    recorded_with: {instructions: Be brief.}
    steps:
      - say: |
          So it is.

  - ask: |
      Something new?
    steps:
      - say: |
          Yes.
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "captured").mkdir()
    (tmp_path / "01_first.yaml").write_text(AUTHORED)
    (tmp_path / "captured" / "01_first.yaml").write_text(CAPTURED)
    return tmp_path


def run(folder, *, replace=False, name="01_first"):
    return adopt([folder / "captured" / f"{name}.yaml"], folder, replace=replace)


def answers(folder):
    assert main(["check", str(folder)]) == 0
    found = {}
    for path in folder.glob("*.yaml"):
        for each in read_file(path, path.read_bytes())[0]:
            found[key(each)[0]] = (each.source.kind, each.steps[-1].text, path.name)
    return found


def test_without_replace_only_new_questions_are_added_and_the_others_are_listed(folder):
    done = run(folder)
    assert done.added == ["Something new?"]
    assert done.kept == [("what is a TOKEN", "01_first.yaml:8"), ("Why?", "01_first.yaml:28")]
    assert (folder / "01_first.yaml").read_text() == AUTHORED
    assert answers(folder)["something new"] == ("captured", "Yes.", "01_first.captured.yaml")
    assert answers(folder)["what is a token"][0] == "authored"


def test_with_replace_exactly_the_lines_of_the_old_answers_go(folder):
    done = run(folder, replace=True)
    assert (done.added, done.replaced, done.kept) == (["Something new?"], ["what is a TOKEN", "Why?"], [])
    assert (folder / "01_first.yaml").read_text() == (
        AUTHORED[: AUTHORED.index("  - ask: |\n      What is a token?")]
        + AUTHORED[AUTHORED.index("\n  # -- code") : AUTHORED.index("\n  - ask: |\n      Why?")]
    )
    assert answers(folder) == {
        "what is a token": ("captured", "The smallest brick.", "01_first.captured.yaml"),
        "how many rows? # part of the question": ("authored", "There are {rows}.", "01_first.yaml"),
        "why": ("captured", "So it is.", "01_first.captured.yaml"),
        "something new": ("captured", "Yes.", "01_first.captured.yaml"),
    }


def test_a_second_time_changes_nothing(folder):
    run(folder, replace=True)
    before = {path: path.read_bytes() for path in folder.glob("*.yaml")}
    done = run(folder, replace=True)
    assert len(done.unchanged) == 3
    assert done.files == {}
    assert {path: path.read_bytes() for path in folder.glob("*.yaml")} == before


def test_a_later_capture_keeps_its_own_model_and_day_and_what_a_person_changed(folder):
    run(folder, replace=True)
    target = folder / "01_first.captured.yaml"
    target.write_text(target.read_text().replace("exchanges:\n", "exchanges:\n  # my note\n"))
    later = (
        CAPTURED.replace("2026-11-23", "2026-12-24")
        .replace("2026-10-01", "2026-12-01")
        .replace("Yes.", "No.")
    )
    (folder / "captured" / "01_first.yaml").write_text(later)
    assert len(run(folder).kept) == 1, "captured answers are not replaced by accident either"
    assert run(folder, replace=True).replaced == ["Something new?"]
    sources = {each.ask: each.source for each in read_file(target, target.read_bytes())[0]}
    assert (sources["Why?"].model, sources["Why?"].date) == ("gpt-6-luna-2026-10-01", "2026-11-23")
    assert (sources["Something new?"].model, sources["Something new?"].date) == (
        "gpt-6-luna-2026-12-01",
        "2026-12-24",
    )
    assert "  # my note\n" in target.read_text()


def test_a_file_whose_last_answer_is_replaced_goes_away(folder):
    (folder / "01_first.yaml").unlink()
    (folder / "02_other.yaml").write_text(
        "source: authored\nexchanges:\n  - ask: Something new?\n    steps:\n      - say: Old.\n"
    )
    done = run(folder, replace=True)
    assert done.files[folder / "02_other.yaml"][1] is None
    assert sorted(path.name for path in folder.glob("*.yaml")) == ["01_first.captured.yaml"]


def test_a_file_whose_lines_cannot_be_told_apart_is_left_alone(folder):
    text = "source: authored\nexchanges: [{ask: Something new?, steps: [{say: Old.}]}, {ask: B?, steps: [{say: C}]}]\n"
    (folder / "02_flow.yaml").write_text(text)
    with pytest.raises(AdoptError, match=r"02_flow\.yaml:2 cannot be cut out without harm.*by hand"):
        run(folder, replace=True)
    assert (folder / "02_flow.yaml").read_text() == text
    assert sorted(path.name for path in folder.glob("*.yaml")) == ["01_first.yaml", "02_flow.yaml"]


def test_recordings_that_cannot_be_read_are_left_alone(folder):
    (folder / "02_broken.yaml").write_text("source: authored\n")
    with pytest.raises(AdoptError, match="Nothing was changed"):
        run(folder)
    assert not (folder / "01_first.captured.yaml").exists()


def test_an_answer_that_would_fit_as_well_as_another_is_left_out(folder):
    (folder / "02_tools.yaml").write_text(
        "source: authored\nexchanges:\n"
        "  - ask: Something new?\n    tools: [file_search]\n    steps:\n      - say: Old.\n"
    )
    capture = folder / "captured" / "03_tools.yaml"
    capture.write_text(
        CAPTURED.split("exchanges:")[0]
        + "exchanges:\n  - ask: Something new?\n    tools: [count]\n    steps:\n      - say: New.\n"
    )
    ((question, why),) = run(folder, name="03_tools").left_out
    assert question == "Something new?"
    assert "neither wins" in why
    assert main(["check", str(folder)]) == 0


@pytest.mark.parametrize(("module", "missing"), [("numpy", False), ("csv", False), ("pandas", True)])
def test_code_that_the_recorded_code_interpreter_cannot_run_is_left_out(folder, module, missing):
    capture = folder / "captured" / "03_code.yaml"
    capture.write_text(
        CAPTURED.split("exchanges:")[0]
        + "exchanges:\n  - ask: Rows?\n    tools: [code_interpreter]\n    steps:\n"
        + f"      - run: |\n          from {module} import core\n      - say: Many.\n"
    )
    done = run(folder, name="03_code")
    assert bool(done.left_out) is missing
    assert not missing or "imports pandas" in done.left_out[0][1]
    assert done.with_code == (0 if missing else 1)


@pytest.mark.parametrize("writes", [1, 2])
def test_an_interrupt_at_any_moment_loses_no_answer(folder, monkeypatch, writes):
    replace, count = os.replace, iter(range(10))

    def cut_off(source, target):
        if next(count) == writes - 1:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run(folder, replace=True)
    asked = {key(each)[0] for path in folder.glob("*.yaml") for each in read_file(path, path.read_bytes())[0]}
    assert {"what is a token", "why", "how many rows? # part of the question"} <= asked
    run(folder, replace=True)
    assert answers(folder)["why"][0] == "captured"


def test_the_command_shows_what_it_did(folder, capsys):
    command = ["adopt", str(folder / "captured" / "01_first.yaml"), "--folder", str(folder)]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("1 added · 0 replaced · 2 kept · 0 unchanged · 0 left out\n")
    assert "  kept 01_first.yaml:28: Why?\n" in shown
    assert "+      Something new?\n" in shown
    assert main([*command, "--replace", "--lines", "5"]) == 0
    shown = capsys.readouterr().out
    assert "0 added · 2 replaced · 0 kept · 1 unchanged" in shown
    assert "more lines (git diff" in shown
    capture = folder / "captured" / "03_code.yaml"
    capture.write_text(
        CAPTURED.split("exchanges:")[0]
        + "exchanges:\n  - ask: Rows?\n    tools: [code_interpreter]\n    steps:\n"
        "      - run: print(3)\n      - say: Three.\n"
    )
    assert main(["adopt", str(capture), "--folder", str(folder)]) == 0
    assert "1 of them hold code that a model wrote" in capsys.readouterr().out
    assert main(["adopt", str(folder / "nothing.yaml")]) == 1
    assert "There is no capture" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_each_exchange_of_the_workshops_own_files_can_be_cut_out_and_put_in(path):
    text = path.read_text(encoding="utf-8")
    exchanges, _ = read_file(path, text.encode())

    def comments_of_the_list(text):
        return [
            line for line in text.splitlines() if line.lstrip().startswith("# --") or line.startswith("#")
        ]

    for place, exchange in enumerate(exchanges):
        cut = without(path, text, exchange)
        rest, problems = read_file(path, cut.encode())
        assert problems == []
        assert [each.ask for each in rest] == [each.ask for each in exchanges if each is not exchange]
        assert comments_of_the_list(cut) == comments_of_the_list(text)
        assert "\n\n\n" not in cut
        again, problems = read_file(path, with_exchange(path, cut, exchange, like=text).encode())
        assert problems == []
        assert content_of(again[-1]) == content_of(exchanges[place])
