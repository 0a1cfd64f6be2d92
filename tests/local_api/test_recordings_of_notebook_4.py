"""The recorded turns of notebook 4 take their numbers from what the functions really give back."""

from __future__ import annotations

import httpx2
import openai
import pytest

from helpers import Assistant, EventHandler, count_parameters, stream_run, training_cost
from helpers.local_api import LocalAPI
from tests.committed_outputs import PROJECT

INSTRUCTIONS = "Use your tools for facts and numbers. Say in plain words where each one comes from."


@pytest.fixture(params=[True, False], ids=["strict", "as learners have it"])
def strict(request):
    return request.param


@pytest.fixture
def client(strict):
    api = LocalAPI(recordings=PROJECT / "data" / "recordings", strict=strict)
    with openai.OpenAI(
        api_key="any",
        base_url="https://recorded.invalid/v1",
        http_client=httpx2.Client(transport=api.transport()),
    ) as client:
        yield client
    api.close()


def ask(client, question, *tools):
    agent = Assistant("GPT-2 teaching assistant", INSTRUCTIONS, model="gpt-6-luna", tools=tools)
    return stream_run(client, agent, None, question, event_handler=EventHandler()).until_done()


COST = "What would it cost to train the smallest GPT-2 on 10 billion tokens?"
TWO = "How many parameters do the smallest and the largest GPT-2 have?"


def test_the_numbers_are_those_of_the_functions(client):
    real = training_cost("124M", tokens_billions=10.0)
    run = ask(client, COST, training_cost)
    assert f"About {real['price_usd']} dollars" in run.text
    assert f"{real['hours']} hours" in run.text
    run = ask(client, TWO, count_parameters)
    for size in ("124M", "1558M"):
        assert str(count_parameters(size)["parameters"]) in run.text


@pytest.mark.parametrize("strict", [False], indirect=True)
def test_a_function_of_the_same_name_that_gives_other_numbers_changes_the_answer(client):
    def training_cost(
        size: str,
        tokens_billions: float,
        gpu: str,
        gpus: int,
        utilisation: float,
        n_layer: int | None = None,
        n_embd: int | None = None,
        price_usd_per_gpu_hour: float | None = None,
    ) -> dict[str, float]:
        """Estimate the cost of training, for a friend."""
        return {"hours": 3.25, "price_usd": 1.5}

    assert (
        "About 1.5 dollars: eight rented A100 cards for 3.25 hours" in ask(client, COST, training_cost).text
    )


@pytest.mark.parametrize("strict", [False], indirect=True)
def test_where_a_function_fails_the_recorded_answer_does_not_claim_its_numbers(client):
    def count_parameters(
        size: str,
        n_layer: int | None = None,
        n_embd: int | None = None,
        vocab_size: int | None = None,
        block_size: int | None = None,
    ) -> int:
        """Count the parameters of a model."""
        raise RuntimeError("the abacus is broken")

    run = ask(client, TWO, count_parameters)
    assert run.status == "completed"
    assert run.response.metadata["workshop_source"] == "offline helper"
    assert "abacus" in run.text


@pytest.mark.parametrize("strict", [False], indirect=True)
def test_a_function_of_your_own_is_called_with_your_question_by_the_offline_helper(client):
    heard = []

    def shout(text: str) -> str:
        """Say a text loudly."""
        heard.append(text)
        return text.upper()

    run = ask(client, "What do you make of this sentence?", shout)
    assert heard == ["What do you make of this sentence?"]
    assert "WHAT DO YOU MAKE OF THIS SENTENCE?" in run.text
    assert run.response.metadata["workshop_source"] == "offline helper"
