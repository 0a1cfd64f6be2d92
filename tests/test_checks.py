"""check(): what an exercise tells a learner."""

import pytest

from helpers import check


def test_a_solved_exercise_gets_a_tick(capsys, monkeypatch):
    monkeypatch.delenv("WORKSHOP_CHECKS", raising=False)
    assert check([1], "Not this.") is True
    assert capsys.readouterr().out == "✔ Done.\n"


def test_an_unsolved_one_gets_a_cross_and_the_hint(capsys, monkeypatch):
    monkeypatch.delenv("WORKSHOP_CHECKS", raising=False)
    assert check(None, "Look at the list again.") is False
    assert capsys.readouterr().out == "✘ Not yet. Look at the list again.\n"


def test_in_tests_an_unsolved_one_raises(monkeypatch):
    monkeypatch.setenv("WORKSHOP_CHECKS", "raise")
    with pytest.raises(AssertionError, match="Look at the list again"):
        check(False, "Look at the list again.")
    assert check(True, "Never shown.")
