"""The benchmarks still run. What they measure is read by people, and asserted by nobody."""

from __future__ import annotations

import pytest

from tests.benchmarks import handlers, ingest, recording, search, streams


@pytest.mark.parametrize(
    ("main", "arguments", "words"),
    [
        (handlers.main, ["--times", "1", "--deltas", "50"], ["x bare", "x openai"]),
        (ingest.main, ["--times", "1"], ["x bare", "x empty", "peak memory"]),
        (
            recording.main,
            ["--times", "1", "--deltas", "50", "--turns", "2"],
            ["first event", "all of 50", "x without"],
        ),
        (search.main, ["--chunks", "60", "--times", "2"], ["p50", "first event", "x the time"]),
        (
            streams.main,
            ["--deltas", "50", "--times", "1", "--streams", "5"],
            ["first event", "x memory", "at once"],
        ),
    ],
)
def test_it_runs_and_prints_its_numbers(capsys, main, arguments, words):
    main(arguments)
    printed = capsys.readouterr().out
    assert [word for word in words if word not in printed] == []
