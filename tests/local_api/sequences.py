"""Generated sequences of requests: every answer is what the types of the SDK promise, and none is a 500.

    python -m tests.local_api.sequences [200]    run as many sequences and print what was asked and answered

A sequence is 8 to 16 steps of a few requests through the SDK, which validates strictly: conversations, responses of all
kinds with every tool, what may happen to them, files, stores and containers, and time that goes by. Things are used after
they were deleted, and calls are answered wrongly, as people do. Code runs in a stand-in. Not here: single requests with
generated bodies (``test_requests.py``).
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import openai
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from helpers.local_api import LocalAPI
from tests.local_api.conftest import MODEL, Clock, make_client
from tests.local_api.kernels import InProcess

SEQUENCES = 200
SHORTEST, LONGEST = 8, 16
DAY = "2026-11-23"

RECORDING = r"""
source: authored
exchanges:
  - ask: Say it.
    steps:
      - think: They want a sentence.
      - say: One two three four five six seven eight nine ten eleven twelve thirteen, é 🗼.
  - ask: Refuse.
    steps:
      - refuse: I cannot do that.
  - ask: Search.
    tools: [file_search]
    steps:
      - search: [capital, Paris]
      - say: It is Paris [paris.txt], not Rome [rome.md].
  - ask: Run it.
    tools: [code_interpreter]
    steps:
      - run: |
          from pathlib import Path
          Path("table.csv").write_text("a,b")
          show()
          print("loss=3.28")
        prints: 'loss=(?P<loss>[\d.]+)'
      - run: 1 / 0
      - say: It is {loss}, see [the table](sandbox:/mnt/data/table.csv).
  - ask: Stop it.
    tools: [code_interpreter]
    steps:
      - run: limit()
      - say: It was stopped.
  - ask: Call.
    tools: [weather]
    steps:
      - - call: weather
          with: {city: Zürich}
          prints: '(?P<first>-?\d+)'
        - call: weather
          with: {city: Bern}
      - say: "{first} degrees."
  - ask: All tools.
    tools: [file_search, code_interpreter, weather]
    steps:
      - search: [capital]
      - run: |
          print("loss=3.28")
        prints: 'loss=(?P<loss>[\d.]+)'
      - call: weather
        with: {city: "{loss}"}
        prints: '(?P<degrees>-?\d+)'
      - say: "{degrees} degrees after {loss} [paris.txt]."
  - ask: As JSON.
    steps:
      - say: '{"n": 7}'
"""
QUESTIONS = [
    "Say it.",
    "Refuse.",
    "Search.",
    "Run it.",
    "Stop it.",
    "Call.",
    "All tools.",
    "As JSON.",
    "Not recorded?",
]
NEEDED = {
    "Search.": ["file_search"],
    "Run it.": ["code_interpreter"],
    "Stop it.": ["code_interpreter"],
    "Call.": ["weather"],
    "All tools.": ["file_search", "code_interpreter", "weather"],
}
"""The tools without which a question is not answered as it is recorded."""
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
NOW = {
    "type": "function",
    "name": "now",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
METADATA = st.dictionaries(TEXT, TEXT, max_size=2)
NAMES = st.sampled_from(["paris.txt", "rome.md", "log.csv", "a b.json", "é.txt", "x.exe"])
CONTENTS = st.sampled_from(
    [b"Paris is the capital of France.", b"# Rome\n\nA city.", b"loss\n3.28\n", b"", b"\xff\x00\xfe"]
)
TOOLS = st.lists(
    st.sampled_from(["file_search", "code_interpreter", "container", "weather", "now"]),
    max_size=3,
    unique=True,
)
CHOICES = st.sampled_from(
    [
        "auto",
        "auto",
        "none",
        "required",
        {"type": "function", "name": "weather"},
        {"type": "file_search"},
        {"type": "code_interpreter"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "weather"}]},
    ]
)
FORMATS = st.sampled_from(
    [
        {"type": "text"},
        {"type": "json_object"},
        {
            "type": "json_schema",
            "name": "number",
            "strict": True,
            "schema": {
                "type": "object",
                "properties": {"n": {"type": "integer"}},
                "required": ["n"],
                "additionalProperties": False,
            },
        },
    ]
)
INCLUDES = st.lists(
    st.sampled_from(
        ["file_search_call.results", "code_interpreter_call.outputs", "reasoning.encrypted_content"]
    ),
    max_size=3,
    unique=True,
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "instructions": TEXT,
        "metadata": METADATA,
        "tool_choice": CHOICES,
        "text": st.fixed_dictionaries({"format": FORMATS}),
        "include": INCLUDES,
        "store": st.booleans(),
        "background": st.booleans(),
        "parallel_tool_calls": st.booleans(),
        "max_output_tokens": st.sampled_from([16, 17, 40, 1000]),
        "reasoning": st.fixed_dictionaries(
            {}, optional={"effort": st.sampled_from(["none", "low", "high"]), "summary": st.just("auto")}
        ),
        "truncation": st.sampled_from(["auto", "disabled"]),
        "prompt_cache_key": TEXT,
    },
)
MODELS = st.sampled_from([*[MODEL] * 7, "gpt-4.1-mini", "gpt-5.1", "no-such-model"])
READ = st.sampled_from([None, None, 30, 30, 30, 0, 1, 2, 4, 9, 20])
"""How many events of a stream are read; ``None`` for no stream at all, 30 is nearly always the whole."""
PAGES = st.fixed_dictionaries(
    {}, optional={"limit": st.integers(1, 3), "order": st.sampled_from(["asc", "desc"])}
)

CAREFUL = st.sampled_from([True, True, True, False])


def needed(question: str, names: list[str], careful: bool) -> list[str]:
    """Return the tools to offer: a careful person also offers those that the question needs."""
    wanted = dict.fromkeys([*names, *(NEEDED.get(question, []) if careful else [])])
    if careful and "container" in wanted:
        wanted.pop("code_interpreter", None)
    return list(wanted)


def fitting(body: dict[str, Any]) -> dict[str, Any]:
    """Return a request without those options that its model and its tools refuse, as a careful person would send it."""
    body = dict(body)
    choice = body.get("tool_choice")
    offered = {name for tool in body.get("tools", []) for name in (tool["type"], tool.get("name"))}
    wanted = choice.get("name") or choice["type"] if isinstance(choice, dict) else choice
    if (
        (wanted == "required" and not offered)
        or (wanted == "allowed_tools" and "weather" not in offered)
        or (isinstance(choice, dict) and wanted not in {*offered, "allowed_tools"})
    ):
        del body["tool_choice"]
    if body["model"] == "gpt-4.1-mini":
        body.pop("reasoning", None)
    if body["input"] != "As JSON." and body.get("text", {}).get("format", {}).get("type") == "json_object":
        del body["text"]
    if body.get("background"):
        body["store"] = True
    return body


ENDS = ("response.completed", "response.incomplete", "response.failed")
WRONG = 20
"""The number of a wrong name: one name in twenty."""
NAMED = {
    "conversations": "conv_",
    "responses": "resp_",
    "files": "file-",
    "stores": "vs_",
    "batches": "vsfb_",
    "containers": "cntr_",
}


class Some(NamedTuple):
    """One of the things of a kind that a sequence has made by then; a wrong name now and then."""

    kind: str
    number: int


def some(kind: str) -> st.SearchStrategy[Some]:
    """Return a strategy for one thing of a kind."""
    # Sampled, because integers would often be the largest one, the wrong name.
    return st.sampled_from([Some(kind, number) for number in range(WRONG + 1)])


def several(kind: str, least: int = 0) -> st.SearchStrategy[list[Some]]:
    """Return a strategy for none, one or two things of a kind."""
    return st.lists(some(kind), min_size=least, max_size=2, unique=True)


STEPS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {}
"""The steps that a sequence can take: what each one makes, and what it is called with."""
_WEIGHED: list[str] = []


def step(weight: int = 1, makes: str = "", **arguments: st.SearchStrategy[Any]) -> Callable[[Any], Any]:
    """Make a method one of the steps; one of weight 3 is taken three times as often."""

    def kept(method: Any) -> Any:
        STEPS[method.__name__] = (makes, st.fixed_dictionaries(arguments))
        _WEIGHED.extend([method.__name__] * weight)
        return method

    return kept


class Sequence:
    """One sequence of requests, on an API of its own."""

    counted: ClassVar[Counter[str]] = Counter()
    answered: ClassVar[Counter[tuple[str, int]]] = Counter()
    events: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        Path(self._folder.name, "turns.yaml").write_text(RECORDING, encoding="utf-8")
        self.clock = Clock()
        self.api = LocalAPI(recordings=Path(self._folder.name), clock=self.clock, kernels=InProcess)
        # `with_options` would make a client that validates nothing.
        self.client = make_client(self.api, max_retries=0)
        assert self.client._strict_response_validation
        self.unread: list[Any] = []
        self.made: dict[str, list[Any]] = {kind: [] for kind, _ in STEPS.values() if kind}

    def begin(self) -> None:
        """Make one thing of each kind, so that every step has something to work with."""
        made, client = self.made, self.client
        for name, content in (("paris.txt", b"Paris is the capital of France."), ("rome.md", b"# Rome")):
            made["files"].append(client.files.create(file=(name, content), purpose="assistants").id)
        made["stores"].append(client.vector_stores.create(name="cities").id)
        batch = client.vector_stores.file_batches.create(made["stores"][0], file_ids=made["files"])
        made["batches"].append((batch.id, made["stores"][0]))
        made["containers"].append(client.containers.create(name="mine").id)
        made["conversations"].append(client.conversations.create().id)
        for question, more, read in (
            ("Say it.", {"background": True, "store": True}, 30),
            ("Call.", {"tools": [WEATHER]}, None),
        ):
            made["responses"].append(self.respond({"model": MODEL, "input": question, **more}, read))

    def run(self, steps: list[tuple[str, dict[str, Any]]]) -> None:
        """Take some steps."""
        self.counted["sequences"] += 1
        self.begin()
        for name, arguments in steps:
            found = getattr(self, name)(**{key: self.resolved(each) for key, each in arguments.items()})
            if found is not None:
                self.made[STEPS[name][0]].append(found)

    def resolved(self, value: Any) -> Any:
        """Return a value with the things that are meant instead of :class:`Some`."""
        if isinstance(value, list):
            # A file is named once, as a person would do.
            return list(dict.fromkeys(self.resolved(each) for each in value))
        if not isinstance(value, Some):
            return value
        made = self.made[value.kind]
        if value.number == WRONG or not made:
            wrong = f"{NAMED[value.kind]}that_is_not_there"
            return {
                "responses": (wrong, (), {"model": MODEL, "input": "Say it."}),
                "batches": (wrong, "vs_that_is_not_there"),
            }.get(value.kind, wrong)
        return made[-1 - value.number % len(made)]

    def close(self) -> None:
        """Close what it opened."""
        for stream in self.unread:
            stream.close()
        self.client.close()
        self.api.close()
        self._folder.cleanup()
        InProcess.made.clear()

    def ask(self, name: str, call: Callable[[], Any]) -> Any:
        """Make a request: its answer, or ``None`` if it was refused. A 500 and a wrong body are not refusals."""
        self.counted["requests"] += 1
        refused: openai.APIStatusError | None = None
        try:
            answer = call()
        except openai.APIStatusError as error:
            refused = error
        if refused is None:
            self.answered[name, 200] += 1
            return answer
        self.answered[name, refused.status_code] += 1
        assert refused.status_code in {400, 404}, f"{name}: {refused.status_code} {refused.message}"
        assert isinstance(refused.body, dict)
        assert set(refused.body) == {"message", "type", "param", "code"}
        assert refused.body["message"]
        return None

    def page(self, name: str, call: Callable[[], Any]) -> list[Any]:
        """Return all of a list, over as many pages as it takes."""

        def whole() -> list[Any]:
            found = list(call())
            assert len({each.id for each in found}) == len(found)
            return found

        return self.ask(name, whole) or []

    # -- conversations ------------------------------------------------------------------------------------------------

    @step(makes="conversations", metadata=METADATA, text=TEXT)
    def create_conversation(self, metadata: Any, text: str) -> Any:
        items = [{"type": "message", "role": "user", "content": text}] if text else []
        made = self.ask(
            "conversations.create", lambda: self.client.conversations.create(metadata=metadata, items=items)
        )
        return made.id if made else None

    @step(conversation=some("conversations"), metadata=METADATA)
    def update_conversation(self, conversation: str, metadata: Any) -> None:
        updated = self.ask(
            "conversations.update",
            lambda: self.client.conversations.update(conversation, metadata=metadata),
        )
        found = self.ask("conversations.retrieve", lambda: self.client.conversations.retrieve(conversation))
        assert updated == found

    @step(
        conversation=some("conversations"),
        text=TEXT,
        role=st.sampled_from(["user", "assistant", "developer"]),
    )
    def add_item(self, conversation: str, text: str, role: Any) -> None:
        added = self.ask(
            "conversations.items.create",
            lambda: self.client.conversations.items.create(
                conversation, items=[{"type": "message", "role": role, "content": text}]
            ),
        )
        if added:
            (item,) = added.data
            found = self.ask(
                "conversations.items.retrieve",
                lambda: self.client.conversations.items.retrieve(item.id, conversation_id=conversation),
            )
            assert found == item

    @step(conversation=some("conversations"), page=PAGES, place=st.integers(0, 5), delete=st.booleans())
    def list_items(self, conversation: str, page: Any, place: int, delete: bool) -> None:
        found = self.page(
            "conversations.items.list", lambda: self.client.conversations.items.list(conversation, **page)
        )
        if delete and place < len(found):
            self.ask(
                "conversations.items.delete",
                lambda: self.client.conversations.items.delete(found[place].id, conversation_id=conversation),
            )

    @step(conversation=some("conversations"))
    def delete_conversation(self, conversation: str) -> None:
        self.ask("conversations.delete", lambda: self.client.conversations.delete(conversation))

    # -- responses ----------------------------------------------------------------------------------------------------

    def tools(self, names: list[str], store: str, file: str, container: str) -> list[Any]:
        known: dict[str, Any] = {
            "file_search": {"type": "file_search", "vector_store_ids": [store], "max_num_results": 3},
            "code_interpreter": {
                "type": "code_interpreter",
                "container": {"type": "auto", "file_ids": [file] if file else []},
            },
            "container": {"type": "code_interpreter", "container": container},
            "weather": WEATHER,
            "now": NOW,
        }
        return [known[name] for name in names]

    def respond(self, body: dict[str, Any], read: int | None, careful: bool = True) -> Any:
        """Ask for a response: what names it, and its calls, for later rules."""
        body = fitting(body) if careful else body
        if read is None:
            answer = self.ask("responses.create", lambda: self.client.responses.create(**body))
            if answer is None:
                return None
            assert answer.status in {"completed", "incomplete", "queued"}
        else:
            stream = self.ask(
                "responses.create (stream)", lambda: self.client.responses.create(**body, stream=True)
            )
            if stream is None:
                return None
            answer = self.read(stream, read)
            if answer is None:
                return None
        if read is not None and answer.status in {"completed", "incomplete"} and answer.store:
            # The last event of a stream and the stored response are one thing.
            assert self.ask("responses.retrieve", lambda: self.client.responses.retrieve(answer.id)) == answer
        calls = [item for item in answer.output if item.type == "function_call"]
        offered = {tool.get("name") for tool in body.get("tools", [])}
        assert {call.name for call in calls} <= offered
        return (answer.id, tuple(call.call_id for call in calls), body)

    def read(self, stream: Any, most: int) -> Any:
        """Read some events and leave the rest, by closing the stream or not."""
        latest, number = None, None
        for _ in range(200 if most == 30 else most):
            event = next(stream, None)
            if event is None:
                break
            self.events[event.type] += 1
            assert number is None or event.sequence_number == number + 1
            number = event.sequence_number
            if hasattr(event, "response"):
                latest = event.response
            if event.type in ENDS:
                assert next(stream, None) is None
        if latest is not None and latest.status in {"completed", "incomplete", "failed"}:
            return latest
        if most % 2:
            stream.close()
        else:
            self.unread.append(stream)
        return latest

    @step(
        6,
        makes="responses",
        question=st.sampled_from(QUESTIONS),
        model=MODELS,
        names=TOOLS,
        store=some("stores"),
        file=some("files") | st.just(""),
        container=some("containers"),
        options=OPTIONS,
        careful=CAREFUL,
        read=READ,
    )
    def create_response(
        self,
        question: str,
        model: str,
        names: Any,
        store: str,
        file: str,
        container: str,
        options: Any,
        careful: bool,
        read: Any,
    ) -> Any:
        tools = self.tools(needed(question, names, careful), store, file, container)
        return self.respond({"model": model, "input": question, "tools": tools, **options}, read, careful)

    @step(
        5,
        makes="responses",
        question=st.sampled_from(QUESTIONS),
        names=TOOLS,
        store=some("stores"),
        file=some("files") | st.just(""),
        container=some("containers"),
        conversation=some("conversations"),
        options=OPTIONS,
        careful=CAREFUL,
        read=READ,
    )
    def create_in_conversation(
        self,
        question: str,
        names: Any,
        store: str,
        file: str,
        container: str,
        conversation: str,
        options: Any,
        careful: bool,
        read: Any,
    ) -> Any:
        tools = self.tools(needed(question, names, careful), store, file, container)
        body = {"model": MODEL, "input": question, "tools": tools, "conversation": conversation, **options}
        return self.respond(body, read, careful)

    @step(
        4,
        makes="responses",
        earlier=some("responses"),
        question=st.sampled_from(QUESTIONS),
        options=OPTIONS,
        read=READ,
    )
    def go_on(self, earlier: Any, question: str, options: Any, read: Any) -> Any:
        body = {**earlier[2], "input": question, **options, "previous_response_id": earlier[0]}
        body.pop("conversation", None)
        return self.respond(body, read)

    @step(
        4, makes="responses", store=some("stores"), conversation=some("conversations"), read=READ, output=TEXT
    )
    def call_and_answer(self, store: str, conversation: str, read: Any, output: str) -> Any:
        """The usual way: a question, the calls of the model, their outputs, the answer."""
        tools = self.tools(["file_search", "code_interpreter", "weather"], store, "", "")
        body = {"model": MODEL, "input": "All tools.", "tools": tools, "conversation": conversation}
        asked = self.respond(body, None)
        if not isinstance(asked, tuple):
            return None
        outputs = [
            {"type": "function_call_output", "call_id": call, "output": f"{output} 4"} for call in asked[1]
        ]
        return self.respond({**body, "input": outputs}, read) if outputs else asked

    @step(
        4,
        makes="responses",
        earlier=some("responses"),
        how=st.sampled_from(["previous", "conversation", "hand"]),
        most=st.sampled_from([0, 1, 9]),
        output=TEXT | st.just("4 degrees"),
        wrong=st.sampled_from([False, False, True]),
        options=OPTIONS,
        careful=CAREFUL,
        read=READ,
    )
    def answer_calls(
        self,
        earlier: Any,
        how: str,
        most: int,
        output: str,
        wrong: bool,
        options: Any,
        careful: bool,
        read: Any,
    ) -> Any:
        response_id, calls, before = earlier
        items: list[Any] = [
            {"type": "function_call_output", "call_id": call, "output": output} for call in calls[:most]
        ]
        if wrong:
            items.append({"type": "function_call_output", "call_id": "call_no", "output": output})
        body = {**before, **options, "input": items}
        if how == "previous" or "conversation" not in body:
            body.pop("conversation", None)
            body["previous_response_id"] = response_id
        if how == "hand":
            for name in ("conversation", "previous_response_id"):
                body.pop(name, None)
            found = self.ask("responses.retrieve", lambda: self.client.responses.retrieve(response_id))
            said: list[Any] = list(found.output) if found else []
            body["input"] = [{"role": "user", "content": "Call."}, *said, *items]
        return self.respond(body, read, careful)

    @step(3, earlier=some("responses"))
    def retrieve_response(self, earlier: Any) -> None:
        found = self.ask("responses.retrieve", lambda: self.client.responses.retrieve(earlier[0]))
        if found is not None:
            assert found.id == earlier[0]
            if found.status == "completed":
                assert found.usage is not None

    @step(
        4,
        earlier=some("responses"),
        after=st.none() | st.integers(0, 12),
        padded=st.booleans(),
        read=st.integers(0, 30),
    )
    def resume(self, earlier: Any, after: Any, padded: bool, read: int) -> None:
        options = {} if after is None else {"starting_after": after}
        stream = self.ask(
            "responses.retrieve (stream)",
            lambda: self.client.responses.retrieve(
                earlier[0], stream=True, include_obfuscation=padded, **options
            ),
        )
        if stream is not None:
            self.read(stream, read)

    @step(2, earlier=some("responses"))
    def cancel_response(self, earlier: Any) -> None:
        found = self.ask("responses.cancel", lambda: self.client.responses.cancel(earlier[0]))
        assert found is None or found.status in {"cancelled", "completed", "incomplete", "failed"}

    @step(earlier=some("responses"))
    def delete_response(self, earlier: Any) -> None:
        self.ask("responses.delete", lambda: self.client.responses.delete(earlier[0]))
        assert self.ask("responses.retrieve", lambda: self.client.responses.retrieve(earlier[0])) is None

    @step(2, earlier=some("responses"), page=PAGES)
    def input_items(self, earlier: Any, page: Any) -> None:
        self.page(
            "responses.input_items.list", lambda: self.client.responses.input_items.list(earlier[0], **page)
        )

    @step(question=st.sampled_from(QUESTIONS), earlier=some("responses"), names=TOOLS)
    def count_tokens(self, question: str, earlier: Any, names: Any) -> None:
        self.ask(
            "responses.input_tokens.count",
            lambda: self.client.responses.input_tokens.count(
                model=MODEL,
                input=question,
                previous_response_id=earlier[0],
                tools=self.tools(names, "vs_none", "", "cntr_none"),
            ),
        )

    # -- files --------------------------------------------------------------------------------------------------------

    @step(
        2,
        makes="files",
        name=NAMES,
        content=CONTENTS,
        purpose=st.sampled_from(["assistants", "user_data", "user_data"]),
        seconds=st.none() | st.sampled_from([3600, 7200]),
    )
    def upload(self, name: str, content: bytes, purpose: Any, seconds: Any) -> Any:
        expiry: Any = {"expires_after": {"anchor": "created_at", "seconds": seconds}} if seconds else {}
        made = self.ask(
            "files.create",
            lambda: self.client.files.create(file=(name, content), purpose=purpose, **expiry),
        )
        return made.id if made else None

    @step(file=some("files"), page=PAGES)
    def look_at_files(self, file: str, page: Any) -> None:
        self.ask("files.retrieve", lambda: self.client.files.retrieve(file))
        self.ask("files.content", lambda: self.client.files.content(file).read())
        self.page("files.list", lambda: self.client.files.list(**page))

    @step(file=some("files"))
    def delete_file(self, file: str) -> None:
        self.ask("files.delete", lambda: self.client.files.delete(file))

    # -- stores -------------------------------------------------------------------------------------------------------

    @step(
        2,
        makes="stores",
        name=TEXT,
        several=several("files"),
        days=st.none() | st.just(1),
        metadata=METADATA,
    )
    def create_store(self, name: str, several: Any, days: Any, metadata: Any) -> Any:
        expiry: Any = {"expires_after": {"anchor": "last_active_at", "days": days}} if days else {}
        made = self.ask(
            "vector_stores.create",
            lambda: self.client.vector_stores.create(
                name=name, file_ids=several, metadata=metadata, **expiry
            ),
        )
        return made.id if made else None

    @step(store=some("stores"), name=TEXT, page=PAGES)
    def look_at_stores(self, store: str, name: str, page: Any) -> None:
        self.ask("vector_stores.update", lambda: self.client.vector_stores.update(store, name=name))
        self.ask("vector_stores.retrieve", lambda: self.client.vector_stores.retrieve(store))
        self.page("vector_stores.list", lambda: self.client.vector_stores.list(**page))

    @step(
        2,
        store=some("stores"),
        file=some("files"),
        size=st.none() | st.sampled_from([100, 800]),
        attributes=st.dictionaries(
            st.sampled_from(["year", "kind"]), TEXT | st.booleans() | st.integers(0, 9), max_size=2
        ),
    )
    def add_to_store(self, store: str, file: str, size: Any, attributes: Any) -> None:
        chunks: Any = {
            "chunking_strategy": {
                "type": "static",
                "static": {"max_chunk_size_tokens": size, "chunk_overlap_tokens": size // 2},
            }
            if size
            else {"type": "auto"}
        }
        self.ask(
            "vector_stores.files.create",
            lambda: self.client.vector_stores.files.create(
                store, file_id=file, attributes=attributes, **chunks
            ),
        )
        for name, call in (
            ("retrieve", lambda: self.client.vector_stores.files.retrieve(file, vector_store_id=store)),
            (
                "update",
                lambda: self.client.vector_stores.files.update(
                    file, vector_store_id=store, attributes=attributes
                ),
            ),
        ):
            self.ask(f"vector_stores.files.{name}", call)
        self.ask(
            "vector_stores.files.content",
            lambda: list(self.client.vector_stores.files.content(file, vector_store_id=store)),
        )

    @step(store=some("stores"), file=some("files"), page=PAGES, delete=st.booleans())
    def look_into_store(self, store: str, file: str, page: Any, delete: bool) -> None:
        self.page("vector_stores.files.list", lambda: self.client.vector_stores.files.list(store, **page))
        if delete:
            self.ask(
                "vector_stores.files.delete",
                lambda: self.client.vector_stores.files.delete(file, vector_store_id=store),
            )

    @step(
        2,
        store=some("stores"),
        query=TEXT | st.sampled_from(["capital of France", "Rome"]),
        most=st.integers(1, 50),
        condition=st.none()
        | st.builds(
            lambda kind, value: {"type": kind, "key": "year", "value": value},
            st.sampled_from(["eq", "ne", "gt", "lte"]),
            st.integers(0, 9) | st.just("a"),
        ),
    )
    def search_store(self, store: str, query: str, most: int, condition: Any) -> None:
        options: Any = {"filters": condition} if condition else {}
        self.ask(
            "vector_stores.search",
            lambda: list(
                self.client.vector_stores.search(store, query=query, max_num_results=most, **options)
            ),
        )

    @step(makes="batches", store=some("stores"), several=several("files", least=1))
    def create_batch(self, store: str, several: Any) -> Any:
        made = self.ask(
            "vector_stores.file_batches.create",
            lambda: self.client.vector_stores.file_batches.create(store, file_ids=several),
        )
        return (made.id, store) if made else None

    @step(batch=some("batches"), page=PAGES, cancel=st.booleans())
    def look_at_batch(self, batch: Any, page: Any, cancel: bool) -> None:
        batches = self.client.vector_stores.file_batches
        self.ask(
            "vector_stores.file_batches.retrieve",
            lambda: batches.retrieve(batch[0], vector_store_id=batch[1]),
        )
        self.page(
            "vector_stores.file_batches.list_files",
            lambda: batches.list_files(batch[0], vector_store_id=batch[1], **page),
        )
        if cancel:
            self.ask(
                "vector_stores.file_batches.cancel",
                lambda: batches.cancel(batch[0], vector_store_id=batch[1]),
            )

    @step(store=some("stores"))
    def delete_store(self, store: str) -> None:
        self.ask("vector_stores.delete", lambda: self.client.vector_stores.delete(store))

    # -- containers ---------------------------------------------------------------------------------------------------

    @step(
        makes="containers",
        name=TEXT,
        several=several("files"),
        minutes=st.none() | st.integers(1, 20),
        memory=st.none() | st.sampled_from(["1g", "4g"]),
    )
    def create_container(self, name: str, several: Any, minutes: Any, memory: Any) -> Any:
        options: Any = {"file_ids": several}
        if minutes:
            options["expires_after"] = {"anchor": "last_active_at", "minutes": minutes}
        if memory:
            options["memory_limit"] = memory
        made = self.ask("containers.create", lambda: self.client.containers.create(name=name, **options))
        return made.id if made else None

    @step(container=some("containers"), page=PAGES)
    def look_at_containers(self, container: str, page: Any) -> None:
        self.ask("containers.retrieve", lambda: self.client.containers.retrieve(container))
        self.page("containers.list", lambda: self.client.containers.list(**page))

    @step(container=some("containers"), name=NAMES, content=CONTENTS, page=PAGES, delete=st.booleans())
    def use_container_files(self, container: str, name: str, content: bytes, page: Any, delete: bool) -> None:
        inside = self.client.containers.files
        self.ask("containers.files.create", lambda: inside.create(container, file=(name, content)))
        for file in self.page("containers.files.list", lambda: inside.list(container, **page)):
            self.ask(
                "containers.files.retrieve",
                lambda file=file: inside.retrieve(file.id, container_id=container),
            )
            self.ask(
                "containers.files.content",
                lambda file=file: inside.content.retrieve(file.id, container_id=container).read(),
            )
            if delete:
                self.ask(
                    "containers.files.delete",
                    lambda file=file: inside.delete(file.id, container_id=container),
                )

    @step(container=some("containers"))
    def delete_container(self, container: str) -> None:
        self.ask("containers.delete", lambda: self.client.containers.delete(container))

    # -- the rest -----------------------------------------------------------------------------------------------------

    @step(model=MODELS)
    def look_at_models(self, model: str) -> None:
        self.ask("models.retrieve", lambda: self.client.models.retrieve(model))
        self.page("models.list", lambda: self.client.models.list())

    @step(2, seconds=st.sampled_from([1, 61, 301, 1201, 3601, 90_000]))
    def time_goes_by(self, seconds: int) -> None:
        self.clock.now += seconds


A_STEP = st.sampled_from(_WEIGHED).flatmap(lambda name: st.tuples(st.just(name), STEPS[name][1]))


def run(sequences: int = SEQUENCES, *, again: bool = False, shrink: bool = True) -> None:
    """Run generated sequences and count them in :class:`Sequence`.

    Args:
        sequences: how many.
        again: whether they are the same ones in each run.
        shrink: whether to look for a short sequence that fails as well, which takes a while.

    Raises:
        Exception: what went wrong, with the steps of the sequence in its notes.
    """
    for counter in (Sequence.counted, Sequence.answered, Sequence.events):
        counter.clear()

    @settings(
        max_examples=sequences,
        deadline=None,
        derandomize=again,
        database=None,
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        suppress_health_check=list(HealthCheck),
    )
    @given(steps=st.lists(A_STEP, min_size=SHORTEST, max_size=LONGEST))
    def every_answer_is_valid(steps: list[tuple[str, dict[str, Any]]]) -> None:
        sequence = Sequence()
        try:
            sequence.run(steps)
        finally:
            sequence.close()

    every_answer_is_valid()


def report() -> Iterator[str]:
    """Yield what the last run counted, as lines of Markdown."""
    counted = Sequence.counted
    yield f"{counted['sequences']} sequences, {counted['requests']} requests, {sum(Sequence.events.values())} events read"
    yield ""
    yield "| call | 200 | 400 | 404 |"
    yield "|---|---|---|---|"
    for name in sorted({name for name, _ in Sequence.answered}):
        yield (
            f"| {name} | " + " | ".join(str(Sequence.answered[name, code]) for code in (200, 400, 404)) + " |"
        )
    yield ""
    yield "| event | read |"
    yield "|---|---|"
    for kind, number in sorted(Sequence.events.items()):
        yield f"| {kind} | {number} |"


if __name__ == "__main__":
    os.environ["WORKSHOP_TODAY"] = DAY
    run(int(sys.argv[1]) if len(sys.argv) > 1 else SEQUENCES)
    print("\n".join(report()))
