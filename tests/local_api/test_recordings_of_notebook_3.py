"""The recorded turns of notebook 3 take their numbers from the learner's file, not from the recording."""

import httpx2
import openai
import pytest

from helpers.local_api import LocalAPI
from tests.committed_outputs import PROJECT

INSTRUCTIONS = "Use the python tool for every number. Say in plain words what it means."


@pytest.fixture
def client():
    api = LocalAPI(recordings=PROJECT / "data" / "recordings", strict=True)
    http_client = httpx2.Client(transport=api.transport())
    with openai.OpenAI(
        api_key="recorded", base_url="https://recorded.invalid/v1", http_client=http_client
    ) as client:
        yield client
    api.close()


def answer(client, table):
    file = client.files.create(file=("training_log.csv", table.encode()), purpose="user_data")
    return client.responses.create(
        model="gpt-6-luna",
        instructions=INSTRUCTIONS,
        input="When does the validation loss stop improving?",
        tools=[{"type": "code_interpreter", "container": {"type": "auto", "file_ids": [file.id]}}],
    ).output_text


def test_another_log_gives_other_numbers(client):
    head = "step,train_loss,val_loss,learning_rate,gradient_norm,tokens_per_second\n"
    assert "It is lowest, 2.5, at step 20, among 3 rows." in answer(
        client, head + "0,5,5.5,0.1,1,9\n20,3,2.5,0.1,1,9\n40,2,2.75,0.1,1,9\n"
    )
    assert "It is lowest, 1.25, at step 8, among 2 rows." in answer(
        client, head + "4,5,5.5,0.1,1,9\n8,3,1.25,0.1,1,9\n"
    )
