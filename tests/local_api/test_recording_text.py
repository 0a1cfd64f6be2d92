"""The text of recordings: what is written reads as the same exchanges, and looks as if a person had written it."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.local_api.recording_text import file_text
from helpers.local_api.recordings import Exchange, RecordedWith, Source, read_file
from helpers.local_api.turns import Call, Calls, Refuse, Run, Say, Search, Think

FILE = Path("turns.yaml")
CAPTURED = Source("captured", "gpt-6-luna-2026-10-01", "2026-11-23")
HEAD = RecordedWith("Be patient.\nBe kind.", "gpt-6-luna")

characters = st.characters(exclude_categories=["Cs"])
texts = (
    st.one_of(
        st.text(characters, min_size=1, max_size=60),
        st.text("ab \t\n\r#|>-:?'\"{}[]`\x85\u2028\x07é🙂\ufeff\\", min_size=1, max_size=40),
    )
    .map(lambda text: text.rstrip("\r\n"))
    .filter(lambda text: text.strip())
)
# Brackets and braces have a meaning of their own in what the model says; the tests of the recorder look at that.
said = texts.map(lambda text: text.translate(str.maketrans("[]{}【】", "()()()")))
words = st.text("abcdefgh_", min_size=1, max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
steps = st.one_of(
    st.builds(Think, texts),
    st.builds(Search, st.lists(texts, min_size=1, max_size=3)),
    st.builds(Run, st.sampled_from(["print(1)", "  \nx = 1", "x = '''\n  a\n'''", "\n\n# only this"])),
    st.builds(
        Run,
        st.just("print('loss=3.28')"),
        st.sampled_from([r"loss=(?P<loss>[\d.]+)", "it's (?P<a>.)", "a\tb"]),
    ),
    st.builds(
        Calls,
        st.lists(st.builds(Call, words, st.dictionaries(texts, values, max_size=3)), min_size=1, max_size=3),
    ),
    st.builds(Say, said),
)


def needs(steps):
    tools = set()
    for step in steps:
        tools |= {"file_search"} if isinstance(step, Search) else set()
        tools |= {"code_interpreter"} if isinstance(step, Run) else set()
        tools |= {call.name for call in step.calls} if isinstance(step, Calls) else set()
    return frozenset(tools)


@st.composite
def exchanges(draw):
    taken = (*draw(st.lists(steps, max_size=3)), draw(st.builds(Say, said) | st.builds(Refuse, texts)))
    return Exchange(
        ask=draw(texts),
        steps=taken,
        file=FILE,
        line=1,
        source=draw(st.sampled_from([CAPTURED, Source("captured", "another: model", "2026-11-30")])),
        recorded_with=draw(
            st.sampled_from([HEAD, RecordedWith(None, "gpt-6-luna"), RecordedWith("Yes", "gpt-6.2-sol")])
            | st.builds(RecordedWith, texts, st.just("gpt-6-luna"))
        ),
        tools=needs(taken) | draw(st.frozensets(words, max_size=2)),
        when=draw(st.dictionaries(st.sampled_from(["instructions", "description", "model"]), texts)),
        after=draw(st.none() | texts),
    )


def content(exchange):
    return (
        exchange.ask,
        exchange.steps,
        exchange.source,
        exchange.recorded_with,
        exchange.tools,
        dict(exchange.when),
        exchange.after,
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(exchanges(), min_size=1, max_size=3))
def test_what_is_written_reads_as_the_same_exchanges(written):
    text = file_text(CAPTURED, HEAD, written, ["What a model answered.", "And a second line."])
    read, problems = read_file(FILE, text.encode())
    assert [str(problem) for problem in problems] == []
    assert [content(each) for each in read] == [content(each) for each in written]
