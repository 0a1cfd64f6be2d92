"""Interrupts: at any moment of any stage, the cell ends in a sentence, the notebook goes on, and clean-up leaves nothing.

One real kernel goes through all of it, as a learner's does. The moments are drawn at random, with seeds, from the time
that a stage takes when nobody interrupts it; answers arrive at reading speed meanwhile.
"""

import random
import time

import pytest

from tests.committed_outputs import PROJECT
from tests.kernel import Kernel

pytestmark = pytest.mark.notebook

MOMENTS = 2
"""How many random moments of each stage."""

RECORDING = """
source: authored
exchanges:
  - ask: Tell me something.
    steps:
      - say: |
          A transformer reads the pieces of a text, one after another, and says which one it expects to come next.
  - ask: Look into the files.
    tools: [file_search]
    steps:
      - search: [how GPT-2 was released]
      - say: |
          It was released in stages, the smallest one first [overview.md], and that is what the file says.
  - ask: Run some code.
    tools: [code_interpreter]
    steps:
      - run: |
          import time
          time.sleep(0.7)
          print("the code has ended")
      - say: |
          The code has ended, and this is what it printed.
  - ask: Wait for me.
    tools: [wait_a_little]
    steps:
      - call: wait_a_little
        with: {seconds: 0.4}
      - say: |
          The function waited as long as it was asked to, and then it said so.
  - ask: Do all of it.
    tools: [wait_a_little, file_search, code_interpreter]
    steps:
      - search: [how GPT-2 was released]
      - call: wait_a_little
        with: {seconds: 0.1}
      - run: |
          print("the code has ended")
      - say: |
          It was released in stages [overview.md]; the code has ended.
"""

SETUP = """
import time
from helpers import (Assistant, CodeInterpreterHandler, FileSearchHandler, FunctionCallingHandler, ToolboxHandler,
                     chat, cleanup, connect, ledger_of, stream_run, upload_files, wait_for)

def wait_a_little(seconds: float) -> str:
    '''Wait a little.'''
    print("the function runs", flush=True)
    time.sleep(seconds)
    return "waited"

class Pieces(FunctionCallingHandler):
    def on_requires_action(self, calls):
        print("it asks for", calls[0].name, flush=True)
        super().on_requires_action(calls)
    def on_text_delta(self, delta, snapshot):
        print(delta.value, end="", flush=True)

client = connect()
teacher = Assistant("Teacher", "Explain.")
store = client.vector_stores.create(name="Notes")
upload_files(client, store, ["data/gpt2/overview.md"], show=False)
librarian = teacher.with_tools({"type": "file_search", "vector_store_ids": [store.id]})
analyst = teacher.with_tools({"type": "code_interpreter", "container": {"type": "auto"}})
waiter = teacher.with_tools(wait_a_little)
agent = waiter.with_tools(*librarian.tools, *analyst.tools)
thread = client.conversations.create()
"""

RUN = "print(stream_run(client, {}, thread, '{}', event_handler={}).until_done().status)"
STAGES = {
    "connect": "client = connect()",
    "create": (
        "for number in range(15):\n"
        "    client.conversations.create()\n"
        "    client.vector_stores.create(name='More')\n"
        "    client.files.create(file=('more.md', b'More.'), purpose='assistants')\n"
        "    client.containers.create(name='More')\n"
        "    client.responses.create(input='Tell me something.', **teacher)"
    ),
    "upload": (
        "more = client.vector_stores.create(name='More')\n"
        "upload_files(client, more, [f'data/gpt2/{name}' for name in "
        "('overview.md', 'lecture_notes.md', 'code_walkthrough.md', 'plain_c.md', 'train_gpt2.py')])"
    ),
    "background": (
        "response = client.responses.create(conversation=thread.id, input='Tell me something.', background=True, **teacher)\n"
        "print(wait_for(client, response).status)"
    ),
    "text": RUN.format("teacher", "Tell me something.", "Pieces()"),
    "raw stream": (
        "for event in client.responses.create(conversation=thread.id, input='Tell me something.', stream=True, **teacher):\n"
        "    print(event.type)"
    ),
    "file search": RUN.format("librarian", "Look into the files.", "FileSearchHandler()"),
    "code": RUN.format("analyst", "Run some code.", "CodeInterpreterHandler()"),
    "function": RUN.format("waiter", "Wait for me.", "Pieces()"),
    "toolbox": RUN.format("agent", "Do all of it.", "ToolboxHandler(client)"),
    "chat": "talk = chat(client, teacher)\ntalk.ask('Tell me something.')\nprint(talk.thread)",
    "clean-up": (
        "for number in range(10):\n"
        "    extra = client.conversations.create(items=[{'type': 'message', 'role': 'user', 'content': 'Hi'}] * 3)\n"
        "cleanup(client)\n"
        "store = client.vector_stores.create(name='Notes')\n"
        "upload_files(client, store, ['data/gpt2/overview.md'], show=False)\n"
        "librarian = teacher.with_tools({'type': 'file_search', 'vector_store_ids': [store.id]})\n"
        "agent = waiter.with_tools(*librarian.tools, *analyst.tools)\n"
        "thread = client.conversations.create()"
    ),
}
WHAT_IS_LEFT = """
import os
from helpers import local_api
from helpers.local_api import processes
with local_api.shared()._state.transaction() as state:
    count = lambda table: state.execute(f"select count(*) from {table}").fetchone()[0]
    tables = ("responses", "files", "file_parts", "chunks", "vector_stores", "vector_store_files", "containers",
              "container_files", "conversation_items", "conversations where not deleted")
    print({table: count(table) for table in tables if count(table)})
print(len(processes.below(os.getpid())), "processes")
"""


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "interrupts.yaml").write_text(RECORDING)
    return folder


@pytest.fixture(scope="module")
def kernel(recordings):
    kernel = Kernel(
        folder=PROJECT,
        WORKSHOP_PACE="human",
        WORKSHOP_DISPLAY="lines",
        WORKSHOP_RECORDINGS=str(recordings),
        WORKSHOP_STRICT="0",  # the recordings here go with any instructions
        PYTHONPATH=str(PROJECT),
    )
    _, error, shown = kernel.run(SETUP)
    assert error == "", shown
    yield kernel
    kernel.close()


hits = []
"""The stages of the interrupts that came while the cell ran."""


def succeeds(kernel, source):
    text, error, shown = kernel.run(source)
    assert error == "", f"{shown}\n{text}"
    return text


@pytest.mark.parametrize("stage", STAGES)
def test_at_a_random_moment_the_cell_ends_and_can_be_run_again(kernel, stage):
    source = STAGES[stage]
    began = time.monotonic()
    succeeds(kernel, source)
    took_s = time.monotonic() - began
    chance = random.Random(f"interrupt {stage}")
    for _ in range(MOMENTS):
        moment_s = chance.uniform(0.03, 0.9) * took_s
        text, error, shown = kernel.run(source, interrupt_in_s=moment_s)
        assert error in {"", "KeyboardInterrupt", "Stopped"}, f"after {moment_s:.3f} s: {shown}\n{text}"
        if error:
            hits.append(stage)
        if error == "Stopped":
            assert "\n" not in shown.strip(), "one sentence, and no stack"
        succeeds(kernel, source)


MIDDLES = {
    "background": ("background", "queued"),
    "text": ("text", "pieces of"),
    "file search: the answer": ("file search", "released in"),
    "code: it is written": ("code", "import time"),
    "code: it runs": ("code", 'has ended")'),
    "function: its arguments": ("function", "Calling wait_a_little"),
    "function: it runs": ("function", "it asks for wait_a_little"),
    "function: the second answer": ("function", "waited as"),
    "upload": ("upload", "overview.md: parsing"),
}


@pytest.mark.parametrize("middle", MIDDLES)
def test_in_the_middle_of_a_stage_the_cell_ends_and_can_be_run_again(kernel, middle):
    stage, marker = MIDDLES[middle]
    for _ in range(3):
        text, error, shown = kernel.run(STAGES[stage], interrupt_after=marker)
        assert marker in text
        # Python drops an interrupt that arrives while an object is being finalized, and says so. A person tries again.
        if error or "Exception ignored in" not in text:
            break
    assert error in {"KeyboardInterrupt", "Stopped"}, f"{shown}\n{text}"
    hits.append(middle)
    succeeds(kernel, STAGES[stage])


def test_clean_up_leaves_nothing_after_all_of_that(kernel, request):
    if len(request.session.items) > len(STAGES) + len(MIDDLES):
        assert len(hits) >= 20, "too few interrupts came while something ran"
    assert succeeds(kernel, "report = cleanup(client)").endswith("0 left\n")
    assert succeeds(kernel, WHAT_IS_LEFT) == "{}\n0 processes\n"
    assert succeeds(kernel, "print(ledger_of(client))").startswith("Nothing is there")
