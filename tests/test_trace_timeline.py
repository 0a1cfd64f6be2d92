"""Timelines: each step at its time in its lane, labels that do not collide, and the same in words."""

from __future__ import annotations

import io
import itertools
import re
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.errors import ConfigurationError
from helpers.plots import Plot
from helpers.trace import Trace
from tests.test_trace_sequence import toolbox
from tests.traces import (
    KEY,
    Clock,
    call_events,
    cut_and_resumed,
    function_run,
    loop,
    message_events,
    recorded,
    response,
    result,
    trace_of,
    usage,
)

RUNS = {
    "function": function_run,
    "toolbox": toolbox,
    "limit": lambda: loop(3),
    "resumed": cut_and_resumed,
    "code": lambda: trace_of(recorded("code_interpreter_image")),
    "search": lambda: trace_of(recorded("file_search")),
    "long": lambda: loop(200),
    "at once": lambda: trace_of(recorded("code_interpreter_image"), step_s=0.0),
}


def axes_of(plot):
    return plot.figure.axes[0]


def labels(plot):
    return {text.get_text(): text for text in axes_of(plot).texts}


def bars(plot):
    """Return the bars as (left, bottom, width, hatching), in the order in which they were drawn."""
    return [
        (bar.get_x(), bar.get_y(), bar.get_width(), bar.get_hatch())
        for container in axes_of(plot).containers
        for bar in container
    ]


def test_the_words_tell_each_step_with_its_lane_and_times():
    assert function_run().timeline().alt_text == (
        """\
Timeline of the run “What is 7 times 6?”: 11 steps in 660 ms.
you: 1 asking from 0 ms to 10 ms; 7 asking (1 function output) from 590 ms to 600 ms.
API: 2 created (response 1) from 10 ms to 20 ms; 3 in_progress from 20 ms to 30 ms; 5 completed (120 tokens) at 80 ms; \
8 created (response 2) from 600 ms to 610 ms; 9 in_progress from 610 ms to 620 ms; 11 completed (142 tokens), the end \
at 660 ms.
model: 4 calling functions (multiply) from 30 ms to 80 ms; 10 writing text (9 characters) from 620 ms to 660 ms.
tools: 6 multiply from 110 ms to 590 ms.
Total: 660 ms · 262 tokens · $0.000039"""
    )


def test_bars_are_where_and_as_long_as_their_steps():
    plot = function_run().timeline()
    assert [(round(left), round(width)) for left, _, width, _ in bars(plot)] == [
        *((0, 10), (590, 10)),
        *((10, 10), (20, 10), (600, 10), (610, 10)),
        *((30, 50), (620, 40)),
        (110, 480),
    ]
    assert axes_of(plot).get_xlabel() == "milliseconds since the start"
    assert [tick.get_text() for tick in axes_of(plot).get_yticklabels()] == ["you", "API", "model", "tools"]


def test_functions_that_ran_side_by_side_start_together_on_lines_of_their_own():
    plot = toolbox().timeline()
    ran = [(left, bottom, width) for left, bottom, width, _ in bars(plot) if round(width) in (1350, 300)]
    assert len(ran) == 2
    (left, bottom, _), (other_left, other_bottom, _) = ran
    assert left == pytest.approx(other_left)
    assert abs(bottom - other_bottom) >= 1
    names = {"duckduckgo_search", "count_parameters", "training_cost"}
    assert names <= {label.split()[-1] for label in labels(plot)}


def test_retries_and_failures_are_marked_by_more_than_colour():
    plot = toolbox().timeline()
    assert "↻ 2 retrying" in labels(plot)
    assert any(label.startswith("× ") and label.endswith("training_cost") for label in labels(plot))
    lengths = {round(width): hatching for _, _, width, hatching in bars(plot)}
    assert lengths[1350] == "\\\\\\"
    assert lengths[860] == "///"
    assert "xxx" in lengths.values()
    assert "training_cost (raised), failed from" in plot.alt_text
    limit = loop(2).timeline()
    assert any(label.startswith("× ") and label.endswith("limit reached") for label in labels(limit))
    assert "the end, too early at" in limit.alt_text


@pytest.mark.parametrize("name", RUNS)
def test_labels_stay_inside_and_apart(name):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    plot = RUNS[name]().timeline()
    canvas = FigureCanvasAgg(plot.figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    width = plot.figure.bbox.width
    texts = [text for label, text in labels(plot).items() if "more steps" not in label]
    placed = [(text.get_text(), text.get_window_extent(renderer)) for text in texts]
    assert len(placed) >= 6
    for label, box in placed:
        assert box.x0 >= 0, label
        assert box.x1 <= width + 1, label
    for (one, box), (other, other_box) in itertools.combinations(placed, 2):
        assert not box.padded(-1).overlaps(other_box.padded(-1)), (one, other)
    for text in plot.figure.texts:
        assert text.get_window_extent(renderer).x1 <= width


def test_of_a_long_run_the_middle_is_left_out_and_that_is_said():
    plot = loop(400).timeline()
    assert "Left out: 2,357 steps in the middle." in plot.alt_text
    assert "… 2,357 more steps …" in labels(plot)
    assert plot.figure.get_size_inches()[1] < 14
    assert loop(2).timeline().alt_text.count("Left out") == 0


def test_steps_that_nobody_timed_are_told_and_not_drawn():
    trace = Trace(clock=Clock(0.5))
    trace.add_response(response("queued"))
    output = [{"type": "message", "id": "msg_1", "status": "completed", "content": []}]
    trace.add_response(response("completed", usage=usage(15, 9), output=output))
    plot = trace.timeline()
    assert "3 writing text (0 characters), not timed" in plot.alt_text
    assert not [label for label in labels(plot) if "writing text" in label]


def test_names_are_never_read_as_mathematics_and_missing_signs_warn_nobody():
    trace = Trace(question=r"Is $\frac{1}{$ or $x_2$ 模型? 🙂", clock=Clock(0.01))
    for one in call_events(r"$\broken{$", "函数"):
        trace.add(one)
    trace.add_function(result(r"$\broken{$", 5))
    trace.add_function(result("函数", 5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot = trace.timeline()
        plot.png()
    assert r"7 $\broken{$" in labels(plot)
    assert "8 □□" in labels(plot)
    assert "8 函数 from" in plot.alt_text


def test_a_key_is_not_shown():
    trace = trace_of(message_events("Hi"), question=f"My key is {KEY}")
    trace.note(f"Saved {KEY}", KEY)
    plot = trace.timeline()
    assert "planted" not in plot.alt_text + "".join(labels(plot))
    assert "planted" not in "".join(text.get_text() for text in plot.figure.texts)


def test_it_is_a_plot_that_shows_itself_once_on_white_with_its_words(tmp_path):
    plot = function_run().timeline()
    assert isinstance(plot, Plot)
    data, metadata = plot._repr_mimebundle_()
    assert data["text/plain"] == plot.alt_text == metadata["image/png"]["alt"]
    with Image.open(io.BytesIO(plot.png())) as picture:
        assert picture.convert("RGBA").getpixel((1, 1)) == (255, 255, 255, 255)
    with Image.open(plot.save(tmp_path / "run.png")) as picture:
        assert picture.text["Description"] == plot.alt_text
    with pytest.raises(ConfigurationError, match=r"\.png"):
        plot.save(tmp_path / "run.svg")


def test_the_same_run_gives_the_same_bytes():
    assert toolbox().timeline().png() == toolbox().timeline().png()


def test_two_runs_that_differ_only_in_speed_differ_only_in_their_times():
    def without_times(step_s):
        text = trace_of(recorded("code_interpreter_image"), step_s=step_s).timeline().alt_text
        return re.sub(r"\b[\d,]+ ms", "<time>", text)

    assert without_times(0.0001) == without_times(3.0)


def test_a_trace_of_nothing_can_be_drawn():
    plot = Trace().timeline()
    assert plot.alt_text == "Timeline of the run. Nothing has happened yet."
    assert plot.png().startswith(b"\x89PNG")


def test_nothing_heavy_is_imported_before_the_first_timeline():
    import subprocess
    import sys

    code = "import helpers.trace, sys; print({'matplotlib', 'numpy', 'IPython'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


@settings(max_examples=15, deadline=None)
@given(name=st.text(max_size=20), note=st.text(max_size=20), waits_s=st.lists(st.floats(0, 5), max_size=4))
def test_whatever_the_names_and_times_are_it_can_be_drawn(name, note, waits_s):
    trace = Trace(question=name, assistant=note, clock=Clock(0.0))
    for one in call_events(name, note):
        trace.add(one)
    for wait_s in waits_s:
        trace._clock.now_s += wait_s
        trace.add_function(result(name, wait_s * 1000))
        trace.note(note, name)
    assert trace.timeline().png()
