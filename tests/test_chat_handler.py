"""The chat's handler: which parts the events of a run become, in which order, and whatever servers leave out."""

from __future__ import annotations

import pytest

from helpers.chat_handler import ChatHandler, turns_of
from helpers.chat_view import Called, Ran, Said, Searched, Used
from helpers.downloads import DownloadedFile, DownloadReport, GeneratedFile
from helpers.errors import RunFailed, StreamInterrupted
from helpers.functions import FunctionResult
from tests.test_citations import NASTY, cite
from tests.test_code_interpreter import call_events, image, logs
from tests.test_file_search import COMPLETED, RESULTS, message_events, search_events


def kinds(handler):
    return [type(part).__name__ for part in handler.parts]


def function_events(name="look_up", arguments='{"topic": "GPT-2"}', number=0):
    item = {
        "type": "function_call",
        "id": f"fc_{number}",
        "call_id": f"call_{number}",
        "name": name,
        "arguments": "",
        "status": "in_progress",
    }
    where = {"item_id": item["id"], "output_index": number}
    return [
        {"type": "response.output_item.added", "output_index": number, "item": item},
        *({"type": "response.function_call_arguments.delta", **where, "delta": piece} for piece in (arguments[:5], arguments[5:])),
        {"type": "response.function_call_arguments.done", **where, "arguments": arguments},
        {"type": "response.output_item.done", "output_index": number, "item": {**item, "arguments": arguments, "status": "completed"}},
    ]  # fmt: skip


def seen_on_the_way(events):
    """Follow the events and return the parts after each of them, without repetitions, and the handler."""
    seen = []
    handler = ChatHandler(lambda: None)
    try:
        for _ in handler.iterate(events):
            if not seen or seen[-1] != handler.parts:
                seen.append(handler.parts)
    except (RunFailed, StreamInterrupted):
        seen.append(handler.parts)
    return seen, handler


def test_parts_come_in_the_order_in_which_they_began():
    events = [
        *message_events("First I look.", number=0),
        *search_events(RESULTS, "books", number=1),
        *call_events("print(1)", [logs("1")], number=2),
        *message_events("It stops.", [cite(8, "overview")], number=3),
        COMPLETED,
    ]
    handler = ChatHandler().follow(events)
    assert kinds(handler) == ["Said", "Searched", "Ran", "Said"]
    first, search, ran, last = handler.parts
    assert first.text == "First I look."
    assert search.search.queries == ("books",)
    assert (ran.call.code, ran.call.logs) == ("print(1)", "1")
    assert last.text == "It stops[1]."
    assert [citation.filename for citation in last.cited.files] == ["overview.md"]
    assert all(part.complete for part in handler.parts if isinstance(part, Said))


def test_text_and_code_grow_and_are_told_of():
    told = []
    handler = ChatHandler(lambda: told.append(handler.parts))
    handler.follow(
        [*call_events("print(1234)", [logs("1234")]), *message_events("one two three", number=1), COMPLETED]
    )
    codes = [parts[0].call.code for parts in told if parts]
    assert codes == sorted(codes, key=len)
    assert len(set(codes)) > 2
    texts = [parts[1].text for parts in told if len(parts) > 1]
    assert texts == sorted(texts, key=len)
    assert len(set(texts)) > 2
    assert told[-1] == handler.parts


def test_it_knows_when_code_runs():
    seen, _ = seen_on_the_way([*call_events("print(1)", [logs("1")]), COMPLETED])
    statuses = [parts[0].call.status for parts in seen if parts]
    assert list(dict.fromkeys(statuses)) == ["in_progress", "interpreting", "completed"]


def test_a_function_call_grows_waits_and_gets_its_result():
    handler = ChatHandler()
    seen = []
    with handler.running():
        for _ in handler.iterate(
            [
                *function_events(),
                {
                    "type": "response.completed",
                    "response": {"id": "resp_1", "status": "completed", "output": []},
                },
            ]
        ):
            seen += [(part.call.arguments, part.call.status) for part in handler.parts]
        handler.on_function_done(FunctionResult("call_0", "look_up", '{"topic": "GPT-2"}', "124M"))
        assert handler.parts[0].call.result.output == "124M"
        for _ in handler.iterate(
            [
                *message_events("124M."),
                {"type": "response.completed", "response": {"id": "resp_2", "status": "completed"}},
            ]
        ):
            pass
    assert list(dict.fromkeys(seen)) == [
        ("", "writing"),
        ('{"top', "writing"),
        ('{"topic": "GPT-2"}', "writing"),
        ('{"topic": "GPT-2"}', "waiting"),
    ]
    assert kinds(handler) == ["Called", "Said"]  # fmt: skip


def test_what_was_read_but_not_cited_stands_below_the_last_text():
    events = [*search_events(RESULTS, "books"), *message_events("I do not know."), COMPLETED]
    seen, handler = seen_on_the_way(events)
    assert all(part.cited is None for parts in seen[:-1] for part in parts if isinstance(part, Said))
    assert handler.parts[-1].cited.not_cited == "Read but not cited: overview.md, notes.md"


def test_a_stream_that_is_cut_leaves_what_had_come():
    events = [*search_events(RESULTS, "books", number=1)[:3], *message_events("half an answer", number=2)[:4]]
    seen, handler = seen_on_the_way(events)
    search, said = handler.parts
    assert search.search.status == "interrupted"
    assert said.text.startswith("half")
    assert "half an answer".startswith(said.text)
    assert seen[-1] == handler.parts


def test_tool_calls_of_which_only_the_end_tells():
    output = [
        {
            "type": "file_search_call",
            "id": "fs_1",
            "status": "completed",
            "queries": ["books"],
            "results": RESULTS,
        },
        {
            "type": "code_interpreter_call",
            "id": "ci_1",
            "status": "completed",
            "code": "1",
            "outputs": [image()],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look_up", "arguments": "{}"},
        {
            "type": "message",
            "id": "msg_1",
            "content": [{"type": "output_text", "text": "So.", "annotations": []}],
        },
    ]
    handler = ChatHandler().follow(
        [{"type": "response.completed", "response": {"id": "r", "status": "completed", "output": output}}]
    )
    assert kinds(handler) == ["Searched", "Ran", "Called", "Said"]
    assert handler.parts[-1].text == "So."
    assert len(handler.parts[1].call.images) == 1


def test_items_without_ids_are_told_apart():
    def without_ids(events):
        for event in events:
            event = {key: value for key, value in event.items() if key != "item_id"}
            if "item" in event:
                event["item"] = {key: value for key, value in event["item"].items() if key != "id"}
            yield event

    events = [
        *search_events(RESULTS, "one", number=0),
        *search_events(RESULTS, "two", number=1),
        *call_events("print(1)", [logs("1")], number=2),
        *message_events("So.", number=3),
        COMPLETED,
    ]
    handler = ChatHandler().follow(without_ids(events))
    assert kinds(handler) == ["Searched", "Searched", "Ran", "Said"]
    assert [part.search.queries for part in handler.parts[:2]] == [("one",), ("two",)]
    assert handler.parts[2].call.logs == "1"


def test_other_tools_and_things_to_come_are_named_or_left_out():
    events = [
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs_1", "summary": []}},
        {"type": "response.output_item.added", "output_index": 1, "item": {"type": "web_search_call", "id": "ws_1", "status": "in_progress"}},
        {"type": "response.output_item.done", "output_index": 1, "item": {"type": "web_search_call", "id": "ws_1", "status": "completed"}},
        {"type": "response.brand_new.delta", "delta": "x"},
        {"type": "response.output_item.added", "output_index": 2, "item": {"type": "shiny_new", "id": "s_1"}},
        COMPLETED,
    ]  # fmt: skip
    seen, handler = seen_on_the_way(events)
    assert handler.parts == (Used("web_search_call"),)
    assert (Used("web_search_call", "in_progress"),) in seen


def test_a_refusal_is_a_text_of_its_kind():
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events = [
        {"type": "response.refusal.delta", **where, "delta": "I will not."},
        {"type": "response.refusal.done", **where, "refusal": "I will not."},
        COMPLETED,
    ]
    assert ChatHandler().follow(events).parts == (Said("I will not.", refusal=True),)


def test_a_link_becomes_a_path_once_the_file_is_there(tmp_path):
    text = "In [it](sandbox:/mnt/data/a.csv)."
    start = text.index("sandbox")
    note = {
        "type": "container_file_citation",
        "container_id": "cntr_1",
        "file_id": "cfile_1",
        "filename": "a.csv",
        "index": 0,
        "start_index": start,
        "end_index": len(text) - 2,
    }
    handler = ChatHandler().follow(
        [*call_events("1", [], number=0), *message_events(text, [note]), COMPLETED]
    )
    assert handler.parts[-1].text == text
    row = DownloadedFile(GeneratedFile("a.csv", "cfile_1", "cntr_1"), "saved", tmp_path / "a.csv", 3)
    handler.take_downloads(DownloadReport([row], tmp_path))
    assert handler.parts[-1].text == f"In [it]({(tmp_path / 'a.csv').as_posix()})."  # fmt: skip


def test_it_needs_what_all_its_parents_need():
    from helpers.run import _included

    tools = {"tools": [{"type": "file_search"}, {"type": "code_interpreter"}]}
    assert set(_included(ChatHandler(), tools)) == {
        "file_search_call.results",
        "code_interpreter_call.outputs",
    }


def test_a_conversation_is_read_back_as_turns():
    def message(role, text, annotations=()):
        kind = "input_text" if role == "user" else "output_text"
        return {
            "type": "message",
            "role": role,
            "content": [{"type": kind, "text": text, "annotations": list(annotations)}],
        }

    items = [
        message("assistant", "Nobody asked."),
        message("user", "One?"),
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": "{}"},
        {"type": "function_call", "call_id": "call_2", "name": "look_up", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "124M"},
        message("assistant", "It stops.", [cite(8, "overview")]),
        message("user", NASTY[0]),
        {"type": "file_search_call", "id": "fs_1", "queries": ["books"], "results": None},
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    ]
    first, second = turns_of(items, "Librarian")
    assert (first.question, first.assistant, first.status) == ("One?", "Librarian", "completed")
    answered, unanswered, said = first.parts
    assert isinstance(answered, Called)
    assert answered.call.result.output == "124M"
    assert unanswered.call.result is None
    assert said.text == "It stops[1]."
    assert second.question == NASTY[0]
    assert second.parts == (Used("file_search_call"), Said("No.", refusal=True))
    assert turns_of([], "Librarian") == []


@pytest.mark.parametrize("part", [Searched, Ran])
def test_parts_of_two_responses_do_not_mix(part):
    make = {
        Searched: lambda n: search_events(RESULTS, f"query {n}", number=0),
        Ran: lambda n: call_events(f"print({n})", [logs(str(n))], number=0),
    }[part]
    handler = ChatHandler()
    with handler.running():
        for number in (1, 2):
            events = [
                {**event, **({"item_id": f"x_{number}"} if "item_id" in event else {})}
                for event in make(number)
            ]
            for event in events:
                if "item" in event:
                    event["item"] = {**event["item"], "id": f"x_{number}"}
            for _ in handler.iterate(
                [
                    *events,
                    {
                        "type": "response.completed",
                        "response": {"id": f"resp_{number}", "status": "completed"},
                    },
                ]
            ):
                pass
    assert kinds(handler) == [part.__name__] * 2
    assert handler.parts[0] != handler.parts[1]
