"""Capturing: what is played on the local API while a client records plays back the same, from the recording alone."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import httpx2
import openai
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from helpers.errors import redact
from helpers.local_api import LocalAPI
from helpers.local_api.__main__ import main
from helpers.local_api.captures import CaptureError, Captures, default_path, write_whole
from helpers.local_api.recording_text import file_text
from helpers.local_api.recordings import Exchange, RecordedWith, Source, read_file
from helpers.local_api.turns import Call, Calls, Refuse, Run, Say, Search
from helpers.recording import Recorder
from tests.local_api.conftest import URL
from tests.local_api.kernels import InProcess

AUTHORED = Source("authored")
WAYS = ["plain", "stream", "background"]
PLAIN = RecordedWith()
NOTES = {"notes.md": "# Notes\n\nThe loss falls.", "overview.md": "# Overview\n\nShapes first."}


def function(name, description="Counts."):
    parameters = {"type": "object", "properties": {}, "required": [], "additionalProperties": True}
    return {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": parameters,
        "strict": False,
    }


class Session:
    """A client of a local API on some recordings, that records if it is told where to."""

    def __init__(self, recordings: Path, record_to: Path | None = None, *, strict=False, library=None):
        self.api = LocalAPI(recordings=recordings, kernels=InProcess, strict=strict)
        self.captures = record_to and Captures(record_to, library or Path("nowhere"), redact)
        hooks = Recorder(self.captures).hooks() if self.captures else {}
        http = httpx2.Client(transport=self.api.transport(), event_hooks=hooks)
        self.client = openai.OpenAI(api_key="any", base_url=URL, http_client=http, max_retries=0)
        self._store = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        self.api.close()

    @property
    def store(self):
        if not self._store:
            store = self.client.vector_stores.create()
            for name, text in NOTES.items():
                file = self.client.files.create(file=(name, text.encode()), purpose="assistants")
                self.client.vector_stores.files.create_and_poll(vector_store_id=store.id, file_id=file.id)
            self._store = store.id
        return self._store

    def tools(self, names):
        hosted = {
            "file_search": lambda: {"type": "file_search", "vector_store_ids": [self.store]},
            "code_interpreter": lambda: {"type": "code_interpreter", "container": {"type": "auto"}},
        }
        return [hosted[name]() if name in hosted else function(name) for name in sorted(names)]

    def ask(self, text, *, tools=(), conversation=None, way="plain", outputs=None, **more):
        """Ask, answer all function calls, and return what the model did: texts, queries, code and arguments."""
        more |= {"tools": self.tools(tools), "include": ["code_interpreter_call.outputs"]}
        response = self.respond(way, input=text, conversation=conversation, **more)
        done = what_was_done(response)
        while any(item.type == "function_call" for item in response.output):
            calls = [item for item in response.output if item.type == "function_call"]
            given = [
                {
                    "type": "function_call_output",
                    "call_id": call.call_id,
                    "output": (outputs or {}).get(call.name, "{}"),
                }
                for call in calls
            ]
            chain = {"conversation": conversation} if conversation else {"previous_response_id": response.id}
            response = self.respond(way, input=given, **chain, **more)
            done += what_was_done(response)
        return done

    def respond(self, way, *, conversation=None, **more):
        chain = {"conversation": conversation} if conversation else {}
        create = self.client.responses.create
        if way == "stream":
            *_, last = create(model="gpt-6-luna", stream=True, **chain, **more)
            return last.response
        response = create(model="gpt-6-luna", background=way == "background", **chain, **more)
        while response.status in ("queued", "in_progress"):
            response = self.client.responses.retrieve(response.id)
        return response


def what_was_done(response):
    assert response.status == "completed", response.error
    done = []
    for item in response.output:
        if item.type == "message":
            for part in item.content:
                cited = [
                    (each.filename, each.index)
                    for each in getattr(part, "annotations", [])
                    if each.type == "file_citation"
                ]
                done.append(("says", getattr(part, "text", None) or part.refusal, cited))
        elif item.type == "file_search_call":
            done.append(("searches", item.queries))
        elif item.type == "code_interpreter_call":
            done.append(("runs", item.code, [output.logs for output in item.outputs or []]))
        elif item.type == "function_call":
            done.append(("calls", item.name, json.loads(item.arguments)))
    return done


def written(folder: Path, exchanges) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.yaml"):
        old.unlink()
    (folder / "authored.yaml").write_text(file_text(AUTHORED, PLAIN, exchanges), encoding="utf-8")
    return folder


def exchange(ask, *steps, tools=None, instructions=None, when=None, after=None):
    needed = set()
    for step in steps:
        needed |= {"file_search"} if isinstance(step, Search) else set()
        needed |= {"code_interpreter"} if isinstance(step, Run) else set()
        needed |= {call.name for call in step.calls} if isinstance(step, Calls) else set()
    return Exchange(
        ask=ask,
        steps=steps,
        file=Path("x"),
        line=1,
        source=AUTHORED,
        recorded_with=RecordedWith(instructions),
        tools=frozenset(needed if tools is None else tools),
        when=when or {},
        after=after,
    )


# -- the round trip -------------------------------------------------------------------------------------------------

questions = st.sampled_from(
    ["What is a token?", "Why  not\na textbook?", "  Café, naïve?", "é 🙂 |#: - x", "how"]
)
words = st.text("ab é🙂.,:#'\"\n|-*_>", min_size=1, max_size=30).filter(
    lambda text: text.strip() and not text.endswith("\n")
)
numbers = st.one_of(
    st.integers(0, 10**6).map(str),
    st.floats(-1e3, 1e3, allow_nan=False).map(lambda number: f"{number:.3f}"),
    st.integers(1000, 10**9).map(lambda number: f"{number:,}"),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e20, 1e20) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def conversations(draw):
    """A few questions with their answers, and the conversation each is asked in (or none)."""
    turns = []
    for number in range(draw(st.integers(1, 4))):
        steps, outputs, sayable = [], {}, []
        for kind in draw(
            st.lists(st.sampled_from(["search", "run", "call", "calls", "say"]), max_size=3, unique=True)
        ):
            if kind == "search":
                steps.append(Search(draw(st.lists(words.map(str.strip), min_size=1, max_size=2))))
            elif kind == "run":
                value = draw(numbers)
                label = draw(st.sampled_from(["loss=", "rows: ", "", "the mean is "]))
                steps.append(Run(f"print({label + value!r})"))
                sayable.append(value)
            elif kind == "say":
                steps.append(Say(draw(words)))
            else:
                names = ["count"] if kind == "call" else ["weigh", "measure"]
                steps.append(
                    Calls([Call(name, draw(st.dictionaries(words, values, max_size=2))) for name in names])
                )
                for name in names:
                    outputs[name] = json.dumps({f"{name}_result": draw(numbers)})
                    sayable.append(json.loads(outputs[name])[f"{name}_result"])
        text = draw(words)
        for value in sayable:
            if draw(st.booleans()):
                text += f" It is {value} in the end."
        if any(isinstance(step, Search) for step in steps) and draw(st.booleans()):
            text += " See there [notes.md][overview.md]. "
            text += draw(words)
        steps.append(Say(text) if draw(st.integers(0, 5)) else Refuse(text.replace("[notes.md]", "")))
        turns.append(
            {
                "ask": f"{draw(questions)} {number if draw(st.booleans()) else ''}",
                "steps": steps,
                "outputs": outputs,
                "instructions": draw(st.sampled_from([None, "Be brief.", "Be brief. Be kind.\nBe exact."])),
                "way": draw(st.sampled_from(WAYS)),
                "conversation": draw(st.sampled_from(["", "one", "two"])),
                "more_tools": draw(st.frozensets(st.sampled_from(["file_search", "spare"]))),
            }
        )
    return turns


def play(session, turns, folder=None):
    """Ask the questions; with a folder, each answer is put there just before it is asked for."""
    ids = {"": None}
    done = []
    for turn in turns:
        answer = exchange(turn["ask"], *turn["steps"], instructions=turn["instructions"])
        if folder is not None:
            written(folder, [answer])
        name = turn["conversation"]
        if name not in ids:
            ids[name] = session.client.conversations.create().id
        done.append(
            session.ask(
                turn["ask"],
                tools=answer.tools | turn["more_tools"],
                conversation=ids[name],
                way=turn["way"],
                outputs=turn["outputs"],
                **({"instructions": turn["instructions"]} if turn["instructions"] else {}),
            )
        )
    return done


@settings(
    max_examples=60,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(turns=conversations())
def test_a_recording_plays_back_what_was_recorded(tmp_path_factory, turns):
    folder = tmp_path_factory.mktemp("round trip")
    capture = folder / "captured" / "turns.yaml"
    with Session(folder / "authored", capture) as session:
        first = play(session, turns, folder / "authored")
        not_recorded = session.captures.not_recorded
    assert not_recorded == []
    assert main(["check", str(capture)]) == 0
    with Session(capture.parent, strict=True) as session:
        again = play(session, turns)
    # Of two answers to the very same request, the later one is recorded.
    latest = {}
    for turn, done in zip(turns, first, strict=True):
        latest[situation(turn, turns)] = done
    assert again == [latest[situation(turn, turns)] for turn in turns]


def situation(turn, turns):
    """All that tells one request of a session from another: the question, what came before it, and what was offered."""
    place = turns.index(turn)
    before = [
        each["ask"]
        for each in turns[:place]
        if each["conversation"] == turn["conversation"] and turn["conversation"]
    ]
    tools = exchange("", *turn["steps"]).tools | turn["more_tools"]
    norm = lambda text: " ".join(text.casefold().split()).rstrip(" ?.:-x#|")  # noqa: E731
    return norm(turn["ask"]), tuple(map(norm, before)), tools, turn["instructions"]


# -- the file ---------------------------------------------------------------------------------------------------------


def test_a_second_session_goes_on_in_the_same_file(tmp_path):
    authored = written(
        tmp_path / "authored",
        [exchange("What is a token?", Say("A piece.")), exchange("And a layer?", Say("A floor."))],
    )
    capture = tmp_path / "captured" / "session.yaml"
    with Session(authored, capture) as session:
        session.ask("What is a token?")
    written(
        authored,
        [exchange("What is a token?", Say("Another piece.")), exchange("And a layer?", Say("A floor."))],
    )
    with Session(authored, capture) as session:
        session.ask("And a layer?")
    assert asked_and_said(capture) == {"What is a token?": "A piece.", "And a layer?": "A floor."}
    with Session(authored, capture) as session:
        session.ask("What is a token?")
    assert asked_and_said(capture) == {"What is a token?": "Another piece.", "And a layer?": "A floor."}


def asked_and_said(path):
    assert main(["check", str(path)]) == 0
    return {each.ask: each.steps[-1].text for each in read_file(path, path.read_bytes())[0]}


def test_what_an_earlier_session_wrote_gives_way_where_it_would_answer_instead(tmp_path):
    authored = written(
        tmp_path / "authored",
        [exchange("Why?", Say("In a conversation."), after="How?"), exchange("How?", Say("So."))],
    )
    capture = tmp_path / "captured.yaml"
    with Session(authored, capture) as session:
        thread = session.client.conversations.create().id
        session.ask("How?", conversation=thread)
        session.ask("Why?", conversation=thread)
    written(authored, [exchange("Why?", Say("By itself."), tools=["count"]), exchange("How?", Say("So."))])
    with Session(authored, capture) as session:
        thread = session.client.conversations.create().id
        session.ask("How?", conversation=thread)
        session.ask("Why?", conversation=thread, tools=["count"], instructions="Be brief.")
    assert main(["check", str(capture)]) == 0
    last = read_file(capture, capture.read_bytes())[0][-1]
    assert (last.ask, last.steps) == ("Why?", (Say("By itself."),))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("mine.txt", None, r"ends in \.yaml, not mine\.txt"),
        (
            "mine.yaml",
            "source: authored\nexchanges:\n  - ask: A?\n    steps:\n      - say: B\n",
            "people wrote",
        ),
        ("mine.yaml", "source: captured\n", "is there and cannot be read"),
        ("file/mine.yaml", None, "Nothing can be written"),
    ],
)
def test_a_file_that_cannot_be_recorded_to_is_refused_before_anything_is_asked(tmp_path, name, content, told):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(CaptureError, match=told):
        Captures(path, tmp_path, redact)
    assert content is None or path.read_text() == content


def test_the_file_has_the_name_of_the_notebook_or_of_the_moment(tmp_path):
    named = default_path(tmp_path, {"JPY_SESSION_NAME": "/home/me/work/02_file search.ipynb"})
    assert named == tmp_path / "captured" / "02_file_search.yaml"
    for odd in ({}, {"JPY_SESSION_NAME": "5b4f7c1e-7c5f-4a86-a6cb-6f0d5b5b5b5b"}):
        assert re.fullmatch(r"session-\d{8}-\d{6}\.yaml", default_path(tmp_path, odd).name)


def test_an_interrupted_writing_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "turns.yaml"
    path.write_text("the old text")

    def cut_off(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, "the new text")
    assert path.read_text() == "the old text"


def test_a_capture_beside_recordings_is_not_played(tmp_path):
    authored = written(tmp_path / "authored", [exchange("What is a token?", Say("By hand."))])
    with Session(authored, authored / "captured" / "session.yaml") as session:
        session.ask("What is a token?")
    with Session(authored, strict=True) as session:
        assert session.client.responses.create(model="gpt-6-luna", input="What is a token?").metadata == {
            "workshop_source": "authored"
        }


def test_many_threads_record_to_one_file(tmp_path):
    questions = [f"Question {number}?" for number in range(24)]
    authored = written(tmp_path / "authored", [exchange(ask, Say(f"To {ask}")) for ask in questions])
    capture = tmp_path / "captured.yaml"
    with Session(authored, capture) as session, ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(session.ask, ask, way=way) for ask, way in zip(questions, cycle(WAYS))]
        looked = [threads.submit(lambda: session.captures.not_recorded) for _ in questions]
        assert [each.result(60)[0][1] for each in asked] == [f"To {ask}" for ask in questions]
        assert [each.result(60) for each in looked] == [[] for _ in questions]
    assert asked_and_said(capture) == {ask: f"To {ask}" for ask in questions}


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def usually(strategy):
    """Mostly what belongs there, and now and then something else."""
    return st.integers(0, 14).flatmap(lambda number: strategy if number else anything)


def one_of(*texts):
    return usually(st.sampled_from(texts))


def made_of(**fields):
    return usually(st.fixed_dictionaries({}, optional=fields))


odd_words = usually(
    words | st.sampled_from(["[notes.md]", "{loss}", "\ud83d", "a\r\nb", "\x00", "3.28", "  "])
)
cite = made_of(
    type=one_of("file_citation", "url_citation"),
    filename=one_of("notes.md", "a,b.md"),
    index=usually(st.integers(-2, 40)),
)
part = made_of(
    type=one_of("output_text", "output_text", "refusal"),
    text=odd_words,
    refusal=odd_words,
    annotations=usually(st.lists(cite, max_size=3)),
)
made_item = st.one_of(
    made_of(type=st.just("message"), role=one_of("assistant"), content=usually(st.lists(part, max_size=3))),
    made_of(type=st.just("reasoning"), summary=usually(st.lists(made_of(text=odd_words), max_size=2))),
    made_of(type=st.just("file_search_call"), queries=usually(st.lists(odd_words, max_size=2))),
    made_of(
        type=st.just("code_interpreter_call"),
        code=one_of("print(1)", "not python!", "x = '\r\n'"),
        outputs=usually(st.lists(made_of(type=one_of("logs", "image"), logs=odd_words), max_size=2)),
    ),
    made_of(
        type=st.just("function_call"),
        call_id=one_of("call_1", "call_2"),
        name=one_of("count", "file_search"),
        arguments=one_of("{}", '{"n": 1e400}', '{"a": {"b": [null, 1.5]}}', "[1]", "{"),
    ),
)
sent_item = st.one_of(
    made_of(role=one_of("user", "system"), content=odd_words),
    made_of(
        type=st.just("function_call_output"), call_id=one_of("call_1", "call_2"), output=odd_words | anything
    ),
    made_item,
)
tool = made_of(
    type=one_of("function", "file_search", "code_interpreter"),
    name=one_of("count", "file_search"),
    description=odd_words,
)
sent = st.fixed_dictionaries(
    {"input": st.just("What?") | usually(st.just("Why?") | st.lists(sent_item, max_size=4))},
    optional={
        "tools": usually(st.lists(tool, max_size=3)),
        "tool_choice": usually(tool | st.sampled_from(["none", "required"])),
        "instructions": odd_words,
        "model": one_of("gpt-6-luna"),
        "conversation": one_of("conv_1"),
        "previous_response_id": one_of("resp_0", "resp_1"),
        "metadata": anything,
        "text": made_of(format=made_of(type=one_of("text", "json_schema"))),
    },
)
closing = st.fixed_dictionaries(
    {
        "type": st.just("message"),
        "content": st.tuples(
            st.fixed_dictionaries(
                {"type": st.just("output_text"), "text": odd_words},
                optional={"annotations": usually(st.lists(cite, max_size=3))},
            )
        ).map(list),
    }
)
made = st.tuples(st.lists(made_item, max_size=3), st.lists(closing, min_size=1, max_size=1)).map(
    lambda lists: [*lists[0], *lists[1]]
)
answered = st.fixed_dictionaries(
    {
        "object": st.just("response"),
        "status": st.sampled_from(["completed"] * 5 + ["failed", "incomplete"]),
        "output": usually(made),
    },
    optional={
        "model": one_of("gpt-6-luna-2026-10-01"),
        "created_at": usually(st.integers(0, 2_000_000_000)),
        "metadata": anything,
        "error": anything,
    },
)
passing = st.tuples(st.sampled_from(["response"] * 5 + ["conversation", "missed"]), sent, answered)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(passing, max_size=4))
def test_whatever_passes_nothing_breaks_and_the_file_can_be_read(tmp_path_factory, heard):
    captures = Captures(tmp_path_factory.mktemp("odd") / "odd.yaml", Path("nowhere"), redact)
    for number, (kind, request, body) in enumerate(heard):
        if kind == "conversation":
            items = {"items": request["input"]}
            captures.heard("POST", ("conversations", "conv_1", "items"), items, {"data": body.get("output")})
            captures.heard("POST", ("conversations",), items, {"id": "conv_1"})
        elif kind == "missed":
            captures.missed(("responses",), request, "", "it was cut")
        else:
            captures.heard("POST", ("responses",), request, {**body, "id": f"resp_{number}"})
    assert all(": " in line for line in captures.not_recorded)
    if captures.path.exists():
        assert main(["check", str(captures.path)]) == 0
