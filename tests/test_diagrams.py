"""Sequence diagrams as pictures: safe whatever the names are, readable, bounded, and in words as well."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.diagrams import Message, Participant, sequence_diagram
from helpers.errors import ConfigurationError
from tests.test_trace import luminance
from tests.test_trace_sequence import toolbox
from tests.traces import cut_and_resumed, function_run, loop, recorded, trace_of

SVG = "{http://www.w3.org/2000/svg}"
EVIL = '</text><script>alert(1)</script><image href="http://x"/> & "quoted" ; # %% -->> end \x00\x1b\u202e\ud800 <'
ROLES = ("person", "notebook", "function", "handler", "api", "tool")
KINDS = ("call", "reply", "failed", "note", "broken end")
RUNS = {
    "function": function_run,
    "toolbox": toolbox,
    "limit": lambda: loop(3),
    "resumed": cut_and_resumed,
    "code": lambda: trace_of(recorded("code_interpreter_image")),
}


def drawn(diagram):
    return ElementTree.fromstring(diagram.svg)


def one_of_each(text="text"):
    who = [Participant(f"{text} {role}", role, text) for role in ROLES]
    said = [
        Message(place, place + (kind not in ("note",)), text, kind, text, (f"{text}_hook", "on_end"), 3)
        for place, kind in enumerate(KINDS)
    ]
    parallel = [Message(1, 2, text, group=1), Message(2, 1, text, "reply", group=1)]
    return sequence_diagram(text, text, who, [*said, *parallel], text)


def test_the_drawing_is_safe_whatever_the_names_are():
    diagram = one_of_each(EVIL)
    tags = {element.tag.removeprefix(SVG) for element in drawn(diagram).iter()}
    assert tags <= {"svg", "title", "desc", "rect", "text", "tspan", "path", "polygon", "g"}
    names = {name for element in drawn(diagram).iter() for name in element.attrib}
    assert not {name for name in names if name.startswith("on") or "href" in name or name == "class"}
    assert "url(" not in diagram.svg
    assert not set('<&;#{}"\x00\u202e') & set(re.sub(r"-?->>|--x", "", diagram.mermaid))


def test_the_source_for_mermaid_says_the_same():
    diagram = function_run().sequence()
    lines = [line.strip() for line in diagram.mermaid.splitlines()]
    assert lines[0] == "sequenceDiagram"
    assert lines[2:7] == [
        "actor p0 as you",
        "participant p1 as multiply",
        "participant p2 as notebook",
        "participant p3 as handler",
        "participant p4 as API",
    ]
    arrows = [line for line in lines if re.match(r"p\d-", line)]
    assert arrows[0] == "p0->>p2: question ( What is 7 times 6? )"
    assert arrows[-1] == "p2-->>p0: answer (9 characters)"
    assert len(arrows) == 14
    assert "Note over p3: on_requires_action" in lines


def test_a_participant_called_end_does_not_end_the_mermaid_source():
    who = [Participant("end", "function"), Participant("", "function"), Participant("a,b;c-->d", "tool")]
    source = sequence_diagram("t", "", who, [Message(0, 1, "end;", "note"), Message(1, 2, "x")], "").mermaid
    assert [line.strip() for line in source.splitlines()[2:]] == [
        "participant p0 as end",
        "participant p1 as unnamed",
        "participant p2 as a b c d",
        "Note over p0,p1: end",
        "p1->>p2: x",
    ]


@pytest.mark.parametrize("name", RUNS)
def test_the_same_run_gives_the_same_bytes(name):
    first, second = RUNS[name]().sequence(), RUNS[name]().sequence()
    assert (first.svg, first.alt_text, first.mermaid) == (second.svg, second.alt_text, second.mermaid)


def test_the_words_name_every_participant_and_number_every_message():
    text = one_of_each("word").alt_text
    for role in ROLES:
        assert f"word {role} (word)" in text.splitlines()[0]
    assert [line.split(".")[0] for line in text.splitlines()[1:8]] == list("1234567")
    assert "a failure" in text
    assert "the end, too early" in text


def test_a_picture_brings_its_words_for_screen_readers():
    root = drawn(function_run().sequence())
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == "Messages of the run “What is 7 times 6?”"
    assert "8. multiply to notebook: output (2 characters, 480 ms)" in root.find(f"{SVG}desc").text


@pytest.mark.parametrize("name", RUNS)
def test_every_text_is_readable_on_its_own_ground(name):
    root = drawn(RUNS[name]().sequence())
    ground = next(root.iter(f"{SVG}rect"))
    assert ground.get("fill") == "#ffffff"
    assert float(ground.get("width")) >= float(root.get("width")) - 1
    fills = {
        element.get("fill")
        for element in root.iter()
        if element.get("fill", "none") != "none" and element.tag in (f"{SVG}rect", f"{SVG}path")
    }
    light = [colour for colour in fills if luminance(colour) > 0.5]
    for text in [*root.iter(f"{SVG}text"), *root.iter(f"{SVG}tspan")]:
        assert int(text.get("font-size")) >= 13
        for fill in light:
            assert (luminance(fill) + 0.05) / (luminance(text.get("fill")) + 0.05) >= 4.5


def boxes(root):
    """Return the grounds of the labels, the boxes of hooks and notes, as (left, top, right, bottom)."""
    found = []
    for rect in root.iter(f"{SVG}rect"):
        x, y, width, height = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
        if rect.get("fill") != "none" and width < 770 and (width, height) != (28, 17) and width > 5:
            found.append((x, y, x + width, y + height))
    for path in root.iter(f"{SVG}path"):
        if path.get("fill", "none") != "none":
            numbers = re.match(r"M([\d.]+) ([\d.]+)H([\d.]+)V([\d.]+)L([\d.]+) ([\d.]+)", path.get("d"))
            corner, top, right, _, _, bottom = (float(number) for number in numbers.groups())
            found.append((corner - 9, top, right, bottom))
    return found


@pytest.mark.parametrize("name", RUNS)
def test_labels_and_boxes_stay_inside_and_do_not_collide(name):
    root = drawn(RUNS[name]().sequence())
    width, height = float(root.get("width")), float(root.get("height"))
    assert width == 800
    legend = {id(rect) for group in root.iter(f"{SVG}g") for rect in group.iter()}
    assert legend
    placed = boxes(root)
    assert len(placed) > 10
    for left, top, right, bottom in placed:
        assert left >= -9
        assert right <= width
        assert top >= 0
        assert bottom <= height
    for one, other in itertools.combinations(placed, 2):
        apart_across = one[2] <= other[0] + 1 or other[2] <= one[0] + 1
        apart_down = one[3] <= other[1] + 1.5 or other[3] <= one[1] + 1.5
        assert apart_across or apart_down, (one, other)


def test_kinds_and_roles_can_be_told_apart_without_colours():
    def lines(who, said):
        svg = re.sub(r"#[0-9a-f]{6}", "", sequence_diagram("t", "", who, said, "").svg)
        return [line for line in svg.splitlines() if line.startswith(("<rect", "<path", "<polygon"))]

    frames = {tuple(lines([Participant("same", role)], [Message(0, 0, "", "note")])) for role in ROLES}
    assert len(frames) == len(ROLES)
    who = [Participant("same", "api"), Participant("same", "api")]
    assert len({tuple(lines(who, [Message(0, 1, "same", kind)])) for kind in KINDS}) == len(KINDS)


def test_of_a_long_run_the_middle_is_left_out_and_that_is_said():
    diagram = loop(300).sequence()
    height = float(drawn(diagram).get("height"))
    assert height < 3_600
    assert float(drawn(loop(1_000).sequence()).get("height")) == pytest.approx(height, abs=60)
    left_out = re.search(r"… ([\d,]+) more messages", diagram.alt_text)
    shown = re.findall(r"^\d+\. ", diagram.alt_text, re.M)
    assert len(shown) == 56
    total = re.search(r"([\d,]+) messages:", diagram.alt_text)[1].replace(",", "")
    assert int(left_out[1].replace(",", "")) + 56 == int(total)
    assert "more messages, left out here" in diagram.svg
    assert f"{total}. notebook to you: no answer" in diagram.alt_text
    assert "more messages" in diagram.mermaid


def test_long_names_are_shortened_to_fit_and_whole_in_the_words():
    name = "a_function_with_a_name_that_goes_on_and_on_and_on"
    diagram = sequence_diagram(
        "t", "", [Participant(name, "function"), Participant("API", "api")], [Message(0, 1, name * 5)], ""
    )
    assert f"participants: {name}, API" in diagram.alt_text
    assert any((element.text or "").endswith("…") for element in drawn(diagram).iter(f"{SVG}text"))


def test_short_diagrams_do_not_repeat_the_names_below():
    def heads(diagram):
        return [element.text for element in drawn(diagram).iter(f"{SVG}text")].count("API")

    who = [Participant("you", "person"), Participant("API", "api")]
    assert heads(sequence_diagram("t", "", who, [Message(0, 1, "a")] * 3, "")) == 1
    assert heads(sequence_diagram("t", "", who, [Message(0, 1, "a")] * 20, "")) == 2


def test_more_participants_than_there_is_room_for_are_refused():
    who = [Participant(str(number), "tool") for number in range(11)]
    with pytest.raises(ValueError, match="at most 10 participants"):
        sequence_diagram("t", "", who, [], "")


def test_it_shows_itself_with_its_words_and_saves_itself(tmp_path):
    diagram = function_run().sequence()
    data = diagram._repr_mimebundle_()
    assert set(data) == {"image/svg+xml", "text/plain"}
    assert data["text/plain"] == repr(diagram) == diagram.alt_text
    assert diagram.save(tmp_path / "run.svg").read_text(encoding="utf-8") == diagram.svg + "\n"
    with pytest.raises(ConfigurationError):
        diagram.save(tmp_path / "run.png")


TEXTS = st.text(max_size=30)


@settings(max_examples=80, deadline=None)
@given(
    names=st.lists(TEXTS, min_size=1, max_size=10),
    texts=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from(KINDS), TEXTS, st.integers(0, 2))
    ),
    title=TEXTS,
)
def test_whatever_is_said_it_is_well_formed_xml(names, texts, title):
    who = [Participant(name, ROLES[place % 6], name) for place, name in enumerate(names)]
    said = [
        Message(
            one % len(who),
            other % len(who),
            text,
            kind,
            text,
            (text,) if group else (),
            other % len(who),
            group,
        )
        for one, other, kind, text, group in texts
    ]
    diagram = sequence_diagram(title, title, who, said, title)
    ElementTree.fromstring(diagram.svg)
    diagram.mermaid.encode()
    diagram.alt_text.encode()
