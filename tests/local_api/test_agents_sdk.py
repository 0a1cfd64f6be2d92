"""The OpenAI Agents SDK, unmodified, against the served API: its own tools, a function, streams, sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from agents import (
    Agent,
    CodeInterpreterTool,
    FileSearchTool,
    OpenAIConversationsSession,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    Tool,
    function_tool,
)

from helpers.local_api.serving import serving
from tests.local_api.conftest import DATA, MODEL
from tests.local_api.kernels import InProcess

# Tracing would send what happened to OpenAI.
CONFIG = RunConfig(tracing_disabled=True)
INSTRUCTIONS = "Answer in one sentence."


@dataclass
class World:
    """A client, an agent with all three kinds of tools, and how often its function was called with what."""

    client: openai.AsyncOpenAI
    agent: Agent[None]
    calls: list[int]


@asynccontextmanager
async def world(url: str, *kinds: str) -> AsyncIterator[World]:
    async with openai.AsyncOpenAI(base_url=url, api_key="agents") as client:
        store = await client.vector_stores.create(name="notes")
        await client.vector_stores.files.upload_and_poll(
            vector_store_id=store.id, file=("notes.md", b"# Notes\n\nThe promised loss is 3.28.\n")
        )
        log = await client.files.create(
            file=("log.csv", b"step,loss\n10,4.5\n20,3.2\n30,3.4\n"), purpose="user_data"
        )
        calls: list[int] = []

        @function_tool
        def training_hours(machines: int) -> str:
            """How long a run takes.

            Args:
                machines: on how many machines.
            """
            calls.append(machines)
            return f"{96 // machines} hours"

        container = {"type": "auto", "file_ids": [log.id]}
        tools: dict[str, Tool] = {
            "file_search": FileSearchTool(vector_store_ids=[store.id], include_search_results=True),
            "code_interpreter": CodeInterpreterTool({"type": "code_interpreter", "container": container}),
            "training_hours": training_hours,
        }
        agent = Agent(
            name="Teacher",
            instructions=INSTRUCTIONS,
            model=OpenAIResponsesModel(MODEL, client),
            tools=[tools[kind] for kind in kinds or tools],
        )
        yield World(client, agent, calls)


Ask = Callable[[World, str], Awaitable[Any]]


async def ask(world: World, question: str) -> Any:
    return await Runner.run(world.agent, question, run_config=CONFIG)


async def ask_streamed(world: World, question: str) -> Any:
    """The finished run, after a check that its stream told the same as its end does."""
    run = Runner.run_streamed(world.agent, question, run_config=CONFIG)
    written, told = "", []
    async for event in run.stream_events():
        if event.type == "run_item_stream_event":
            told.append(event.item.type)
        elif event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            written += event.data.delta
    assert written == run.final_output
    assert told == [item.type for item in run.new_items]
    return run


@pytest.fixture
def url():
    with serving(recordings=DATA / "other_clients.yaml", kernels=InProcess) as url:
        yield url


BOTH_WAYS = pytest.mark.parametrize("how", [ask, ask_streamed], ids=["at once", "streamed"])


def used(run: Any) -> list[str]:
    """The types of the tool calls of a run, in order."""
    return [item.raw_item.type for item in run.new_items if item.type == "tool_call_item"]


@BOTH_WAYS
def test_it_searches_files(url, how: Ask):
    async def main():
        async with world(url, "file_search") as here:
            return await how(here, "Which loss do the notes promise?")

    run = asyncio.run(main())
    assert run.final_output == "They promise a loss of 3.28."
    assert used(run) == ["file_search_call"]
    (search,) = (item.raw_item for item in run.new_items if item.type == "tool_call_item")
    assert "3.28" in search.results[0].text
    (citation,) = run.new_items[-1].raw_item.content[0].annotations
    assert citation.filename == "notes.md"


@BOTH_WAYS
def test_it_runs_code(url, how: Ask):
    async def main():
        async with world(url, "code_interpreter") as here:
            return await how(here, "Which step of the log is the best?")

    run = asyncio.run(main())
    assert run.final_output == "Step 20, with a loss of 3.2."
    assert used(run) == ["code_interpreter_call"]


@BOTH_WAYS
def test_it_calls_a_function(url, how: Ask):
    async def main():
        async with world(url, "training_hours") as here:
            return await how(here, "How long does a run on 8 machines take?"), here.calls

    run, calls = asyncio.run(main())
    assert calls == [8]
    assert run.final_output == "It takes 12 hours."
    assert [item.output for item in run.new_items if item.type == "tool_call_output_item"] == ["12 hours"]


@BOTH_WAYS
def test_it_uses_all_three_for_one_question(how: Ask):
    async def main(url):
        async with world(url) as here:
            return await how(here, "Is the promise kept, and when?"), here.calls

    with serving(recordings=DATA / "other_clients.yaml") as url:  # with a real kernel
        run, calls = asyncio.run(main(url))
    assert used(run) == ["file_search_call", "code_interpreter_call", "function_call"]
    assert calls == [8]
    assert run.final_output == (
        "The notes promise 3.28. The log reaches 3.2 at step 20, and a run takes 12 hours."
    )
    assert run.context_wrapper.usage.requests == 2


def test_a_session_keeps_the_conversation(url):
    async def main():
        async with world(url, "training_hours") as here:
            session = OpenAIConversationsSession(openai_client=here.client)
            question = "How long does a run on 8 machines take?"
            run = await Runner.run(here.agent, question, session=session, run_config=CONFIG)
            return run.final_output, [item["type"] for item in await session.get_items()]

    text, kinds = asyncio.run(main())
    assert text == "It takes 12 hours."
    assert kinds == ["message", "reasoning", "function_call", "function_call_output", "reasoning", "message"]


def test_a_chain_of_responses_instead_of_a_history(url):
    async def main():
        async with world(url, "training_hours") as here:
            first = await Runner.run(here.agent, "Say it long.", run_config=CONFIG)
            return await Runner.run(
                here.agent,
                "How long does a run on 8 machines take?",
                previous_response_id=first.last_response_id,
                run_config=CONFIG,
            )

    assert asyncio.run(main()).final_output == "It takes 12 hours."
