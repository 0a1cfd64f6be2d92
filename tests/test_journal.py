"""The journal: one file for each process, found by others, spoiled by nothing, and no key in it."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import journal as module
from helpers.journal import Journal, journal_folder, left_behind

ACCOUNT = ("live", "api.openai.com", "0123456789ab")
PROJECT = Path(__file__).resolve().parents[1]


def process(folder, source, wait=True):
    """Run ``source`` in a process of its own, with a journal in ``folder``."""
    before = (
        "import sys\nfrom pathlib import Path\nfrom helpers.journal import Journal\n"
        f"account = {ACCOUNT!r}\njournal = Journal(Path({str(folder)!r}))\n"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", before + source],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if wait:
        started.communicate(timeout=60)
    return started


def ended(folder, *made, gone=()):
    """Leave in ``folder`` what a process leaves that made these files and ended."""
    journal = Journal(folder)
    for id, name in made:
        journal.made("file", id, name, ACCOUNT)
    for id in gone:
        journal.gone(id)
    if journal._file is not None:
        journal._file._close()  # what the end of a process does


def named(found):
    return [(line.kind, line.id, line.name) for journal in found for line in journal.lines]


def test_what_a_process_left_is_found_and_what_it_deleted_is_not(tmp_path):
    process(
        tmp_path,
        "journal.made('conversation', 'conv_1', '', account)\n"
        "journal.made('file', 'file-1', 'notes.md', account)\n"
        "journal.gone('conv_1')",
    )
    (found,) = left_behind(tmp_path)
    assert named([found]) == [("file", "file-1", "notes.md")]
    assert found.lines[0].account == ACCOUNT
    assert not found.running


def test_a_process_that_deleted_everything_leaves_no_file(tmp_path):
    ended(tmp_path, ("file-1", ""), gone=["file-1"])
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_still_runs_is_told_from_one_that_has_ended(tmp_path):
    waiting = process(
        tmp_path,
        "journal.made('file', 'file-1', '', account)\nprint('noted', flush=True)\nsys.stdin.read()",
        wait=False,
    )
    try:
        assert waiting.stdout.readline() == "noted\n"
        (found,) = left_behind(tmp_path)
        assert found.running
        assert found.process == waiting.pid
        assert named([found]) == [("file", "file-1", "")]
    finally:
        waiting.kill()
        waiting.communicate()
    assert [journal.running for journal in left_behind(tmp_path)] == [False]


def test_many_processes_at_once_lose_no_line(tmp_path):
    started = [
        process(
            tmp_path,
            f"for n in range(50): journal.made('file', f'file-{number}-{{n}}', 'x' * 60, account)",
            wait=False,
        )
        for number in range(2)
    ]
    for one in started:
        one.communicate(timeout=60)
    assert len({id for _, id, _ in named(left_behind(tmp_path))}) == 100


def test_a_fork_notes_what_it_makes_in_a_file_of_its_own(tmp_path):
    process(
        tmp_path,
        "import os\njournal.made('file', 'file-parent', '', account)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    journal.gone('file-parent')\n"  # it is its parent's to forget
        "    journal.made('file', 'file-child', '', account)\n"
        "    os._exit(0)\n"
        "os.waitpid(child, 0)",
    )
    found = left_behind(tmp_path)
    assert sorted(named(found)) == [("file", "file-child", ""), ("file", "file-parent", "")]
    assert len(found) == 2


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_torn_last_line_spoils_no_other(tmp_path, cut):
    ended(tmp_path, ("file-1", ""), ("file-2", ""))
    (path,) = tmp_path.glob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-cut])
    assert named(left_behind(tmp_path))[0] == ("file", "file-1", "")


def test_lines_that_are_none_of_ours_are_passed_over(tmp_path):
    (tmp_path / "1-a.jsonl").write_text(
        '{"journal": 1, "process": "x"}\n[1]\nnull\n{"made": 3}\n{"made": "file", "id": "f", "name": "", "at": 1}\n'
        '{"made": "file", "id": "f", "name": "", "account": ["live", "host"], "at": 1}\n\xff\n',
        encoding="latin-1",
    )
    assert left_behind(tmp_path) == []


def test_a_full_disk_is_told_once_and_stops_nothing(tmp_path, monkeypatch, capsys):
    journal = Journal(tmp_path)
    journal.made("file", "file-1", "", ACCOUNT)
    real = journal._file._file

    class Full:
        def write(self, data):
            real.write(data[:10])  # what still fitted
            raise OSError(28, "No space left on device")

    journal._file._file = Full()
    journal.made("file", "file-2", "", ACCOUNT)
    journal.made("file", "file-3", "", ACCOUNT)
    said = capsys.readouterr().err
    assert said.count("Warning") == 1
    assert "No space left on device" in said
    journal._file._file = real
    journal.made("file", "file-4", "", ACCOUNT)
    assert [id for _, id, _ in named(left_behind(tmp_path))] == ["file-1", "file-4"]
    journal.gone("file-1")
    journal.gone("file-4")
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_written_is_told_once_and_stops_nothing(tmp_path, capsys):
    in_the_way = tmp_path / "state"
    in_the_way.write_text("a file where the folder should be")
    journal = Journal(in_the_way / "journal")
    journal.made("file", "file-1", "", ACCOUNT)
    journal.made("file", "file-2", "", ACCOUNT)
    journal.gone("file-1")
    assert capsys.readouterr().err.count("cannot be noted") == 1


def test_no_name_brings_a_key_into_it_and_nobody_else_can_read_it(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.made("file", "file-1", "sk-planted-0123456789abcdef.md", ACCOUNT)
    (path,) = (tmp_path / "journal").iterdir()
    assert "planted" not in path.read_text()
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
    journal.gone("file-1")


def test_forgetting_keeps_the_rest_and_the_last_line_takes_the_file_along(tmp_path):
    ended(tmp_path, *((f"file-{number}", "ünï") for number in range(3)))
    (found,) = left_behind(tmp_path)
    found.forget(["file-1", "file-unknown"])
    assert named(left_behind(tmp_path)) == [("file", "file-0", "ünï"), ("file", "file-2", "ünï")]
    left_behind(tmp_path)[0].forget(["file-0", "file-2"])
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_anything_left_is_removed_but_not_one_that_was_just_made(tmp_path):
    (tmp_path / "1-a.jsonl").write_text(json.dumps({"journal": 1, "process": 1}) + "\n")
    just_made = tmp_path / "2-b.jsonl"
    just_made.touch()
    assert left_behind(tmp_path) == []
    assert list(tmp_path.iterdir()) == [just_made]
    os.utime(just_made, (0, 0))
    assert left_behind(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKSHOP_JOURNAL", "off")
    assert journal_folder() is None
    monkeypatch.setenv("WORKSHOP_JOURNAL", str(tmp_path))
    assert journal_folder() == tmp_path
    monkeypatch.delenv("WORKSHOP_JOURNAL")
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert journal_folder() == tmp_path / "state" / "agentic-retrieval-workshop" / "journal"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert re.search(r"\.local/state/agentic-retrieval-workshop/journal$", journal_folder().as_posix())
    assert left_behind(tmp_path / "nowhere") == []
