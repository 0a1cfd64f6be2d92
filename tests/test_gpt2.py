"""Counting and costing GPT-2: to the digit against the training program and the texts, and near two published runs."""

import importlib.util
import inspect
import json
import math
import re
import sys
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import count_parameters, training_cost
from helpers.models import DATA_FOLDER

PUBLISHED = {"124M": 124_439_808, "355M": 354_823_168, "774M": 774_030_080, "1558M": 1_557_611_200}


@pytest.fixture(scope="module")
def program():
    """Return the training program of the corpus, which counts shape by shape."""
    spec = importlib.util.spec_from_file_location(
        "train_gpt2_to_compare", DATA_FOLDER / "gpt2" / "train_gpt2.py"
    )
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        patch.setitem(sys.modules, spec.name, module)
        patch.setattr(sys, "dont_write_bytecode", True)  # no __pycache__ among the learner's files
        spec.loader.exec_module(module)
        yield module


# -- parameters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "number"), PUBLISHED.items())
def test_published_sizes_are_right_to_the_digit(size, number):
    found = count_parameters(size)
    assert found["parameters"] == number
    assert found["published_size"] == size


def test_every_published_size_can_be_asked_for(program):
    (sizes, _) = typing.get_args(typing.get_type_hints(count_parameters)["size"])
    assert set(typing.get_args(sizes)) == set(program.PUBLISHED_SIZES) == set(PUBLISHED)


@given(
    n_layer=st.integers(1, 60),
    n_embd=st.integers(1, 2_000),
    vocab=st.integers(1, 60_000),
    block=st.integers(1, 4_000),
)
def test_it_agrees_with_the_training_program_for_any_shape(program, n_layer, n_embd, vocab, block):
    config = program.Config(n_layer=n_layer, n_head=1, n_embd=n_embd, vocab_size=vocab, block_size=block)
    found = count_parameters(n_layer=n_layer, n_embd=n_embd, vocab_size=vocab, block_size=block)
    assert found["parameters"] == program.count_parameters(config)
    assert sum(found["breakdown"].values()) == found["parameters"]
    shapes = program.parameter_shapes(config)

    def sum_of(words):
        return sum(math.prod(shape) for name, shape in shapes.items() if words in name)

    assert found["breakdown"]["attention"] == sum_of(".attn.")
    assert found["breakdown"]["mlp"] == sum_of(".mlp.")
    assert found["breakdown"]["block_layer_norms"] + found["breakdown"]["final_layer_norm"] == sum_of("ln_")
    assert found["per_block"]["total"] == sum_of("h0.")


def test_the_breakdown_is_the_one_that_the_overview_shows():
    text = (DATA_FOLDER / "gpt2" / "overview.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+?) \| [^|]* \| ([\d,]+) \| [\d.]+ % \|$", text, flags=re.MULTILINE))
    shown = {name: int(number.replace(",", "")) for name, number in rows.items()}
    found = count_parameters("124M")
    parts = found["breakdown"]
    assert shown == {
        "token embedding, used again as output layer": parts["token_embeddings"],
        "position embedding": parts["position_embeddings"],
        "attention, 12 times": parts["attention"],
        "MLP, 12 times": parts["mlp"],
        "layer norms": parts["block_layer_norms"] + parts["final_layer_norm"],
    }
    assert f"{found['parameters_with_untied_head']:,} parameters" in text


def test_numbers_take_the_place_of_those_of_a_size():
    padded = count_parameters("124M", vocab_size=50_304)
    assert padded["parameters"] - PUBLISHED["124M"] == 47 * 768
    assert padded["published_size"] is None
    assert padded["configuration"] == {
        "n_layer": 12,
        "n_embd": 768,
        "vocab_size": 50_304,
        "block_size": 1_024,
    }
    # A model that fills in everything means the same as one that gives the size alone.
    assert count_parameters("355M", 24, 1_024, 50_257, 1_024) == count_parameters("355M")
    assert count_parameters(n_layer=24, n_embd=1_024) == count_parameters("355M")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "Give size (124M, 355M, 774M, 1558M), or both n_layer and n_embd."),
        ({"n_layer": 12}, "or both n_layer and n_embd"),
        (
            {"size": "117M"},
            "size must be one of 124M, 355M, 774M, 1558M, not '117M'. For another model give n_layer",
        ),
        ({"size": 124}, "size must be one of"),
        ({"size": ["124M"]}, "size must be one of"),
        ({"size": "x" * 10_000}, "size must be one of"),
        ({"size": "124M", "n_layer": 0}, "n_layer must be a whole number from 1 to 1,000, not 0."),
        ({"n_layer": 12, "n_embd": -1}, "n_embd must be a whole number"),
        ({"n_layer": 12, "n_embd": 768.0}, "n_embd must be a whole number"),
        ({"n_layer": "12", "n_embd": 768}, "n_layer must be a whole number from 1 to 1,000, not '12'."),
        ({"n_layer": True, "n_embd": 768}, "n_layer must be a whole number"),
        ({"size": "124M", "vocab_size": 10**5_000}, "vocab_size must be a whole number"),
        ({"size": "124M", "block_size": float("nan")}, "block_size must be a whole number"),
    ],
)
def test_what_cannot_be_counted_is_refused_in_a_sentence_that_says_what_to_give(arguments, words):
    with pytest.raises(ValueError, match=r"must be|Give size") as caught:
        count_parameters(**arguments)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 200


# -- cost -----------------------------------------------------------------------------------------------------------


def test_the_formula_by_hand():
    # One token, one layer, one GPU at its peak: 6 operations per parameter, and 12 per channel and position.
    found = training_cost(n_layer=1, n_embd=8, tokens_billions=1e-9, gpus=1, utilisation=1)
    parameters = count_parameters(n_layer=1, n_embd=8)["parameters"]
    assert found["flops_per_token"] == {"weights": 6 * parameters, "attention": 12 * 8 * 1_024}
    operations = 6 * parameters + 12 * 8 * 1_024
    assert found["flops"] == pytest.approx(operations, rel=1e-3)
    assert found["hours"] == pytest.approx(operations / 312e12 / 3600, rel=1e-3)
    assert found["tokens"] == 1


# steps, tokens for a step, and what the runs took: scripts/run_gpt2_124M.sh and run_gpt2_1558M.sh of karpathy/llm.c.
RUNS = {
    "124M": {
        "tokens": 18_865 * 524_288,
        "gpu": "A100",
        "hours": 18_865 * 0.300 / 3600,
        "price_usd": 20,
        "within": 0.35,
    },
    "1558M": {"tokens": 32_000 * 1_048_576, "gpu": "H100", "hours": 24, "price_usd": 672, "within": 0.02},
}


@pytest.mark.parametrize("size", RUNS)
def test_it_comes_near_the_published_runs(size):
    run = RUNS[size]
    found = training_cost(size, tokens_billions=run["tokens"] / 1e9, gpu=run["gpu"])
    assert found["hours"] == pytest.approx(run["hours"], rel=run["within"])
    assert found["price_usd"] == pytest.approx(run["price_usd"], rel=run["within"])


def test_the_docstring_tells_how_near():
    told = " ".join(inspect.getdoc(training_cost).split())
    small = training_cost("124M", tokens_billions=RUNS["124M"]["tokens"] / 1e9)
    large = training_cost("1558M", tokens_billions=RUNS["1558M"]["tokens"] / 1e9, gpu="H100")
    assert f"{large['hours']:.1f} hours and {large['price_usd']:.0f} dollars" in told
    assert f"{small['hours'] * 60:.0f} minutes and {small['price_usd']:.2f} dollars" in told
    # At the utilisation that the small run reached, the estimate is its time.
    at_06 = training_cost("124M", tokens_billions=RUNS["124M"]["tokens"] / 1e9, utilisation=0.6)
    assert at_06["hours"] == pytest.approx(RUNS["124M"]["hours"], rel=0.02)


def test_more_gpus_are_faster_and_cost_the_same():
    one, eight = training_cost("124M", gpus=1), training_cost("124M", gpus=8)
    assert one["hours"] == pytest.approx(8 * eight["hours"], rel=1e-3)
    assert one["price_usd"] == eight["price_usd"]
    assert one["gpu_hours"] == eight["gpu_hours"]


def test_a_price_that_is_given_is_used_and_named():
    default, given_price = training_cost("124M"), training_cost("124M", price_usd_per_gpu_hour=3.5)
    assert given_price["price_usd"] == pytest.approx(2 * default["price_usd"], abs=0.02)
    assert (given_price["price_source"], default["price_source"]) == (
        "given",
        "what llm.c's run paid for an A100 in 2024",
    )
    assert training_cost("124M", price_usd_per_gpu_hour=0)["price_usd"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"size": None}, "Give size"),
        ({"tokens_billions": 0}, "tokens_billions must be a number above 0 and up to 1,000,000, not 0."),
        ({"tokens_billions": 10_000_000_000}, "tokens_billions must be"),
        ({"tokens_billions": float("nan")}, "tokens_billions must be"),
        ({"tokens_billions": float("inf")}, "tokens_billions must be"),
        (
            {"tokens_billions": "10B"},
            "tokens_billions must be a number above 0 and up to 1,000,000, not '10B'.",
        ),
        ({"tokens_billions": 10**400}, "tokens_billions must be"),
        ({"gpu": "B200"}, "gpu must be one of A100, H100, not 'B200'."),
        ({"gpu": None}, "gpu must be one of"),
        ({"gpus": 0}, "gpus must be a whole number"),
        ({"gpus": 2.5}, "gpus must be a whole number"),
        ({"utilisation": 50}, "utilisation must be a number above 0 and up to 1, not 50."),
        ({"utilisation": True}, "utilisation must be"),
        (
            {"price_usd_per_gpu_hour": -1},
            "price_usd_per_gpu_hour must be a number from 0 up to 1,000, not -1.",
        ),
    ],
)
def test_what_cannot_be_costed_is_refused_in_a_sentence_that_says_what_to_give(arguments, words):
    with pytest.raises(ValueError, match=r"must be|Give size") as caught:
        training_cost(**{"size": "124M", **arguments})
    assert words in str(caught.value)
    assert len(str(caught.value)) < 200


@given(
    n_layer=st.integers(1, 1_000),
    n_embd=st.integers(1, 100_000),
    tokens=st.floats(0, 1_000_000, exclude_min=True),
    gpus=st.integers(1, 1_000_000),
    utilisation=st.floats(0.001, 1),
)
def test_every_result_is_finite_json(n_layer, n_embd, tokens, gpus, utilisation):
    found = training_cost(None, n_layer, n_embd, tokens, "H100", gpus, utilisation)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


# -- as tools -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [count_parameters, training_cost])
def test_a_model_reads_a_description_and_every_argument(function):
    first, _, rest = inspect.getdoc(function).partition("\n\n")
    assert 40 < len(first) < 400
    described = rest.split("Args:", 1)[1].split("Returns:", 1)[0]
    for name, parameter in inspect.signature(function).parameters.items():
        assert re.search(rf"^ +{name}: \S", described, flags=re.MULTILINE), name
        assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        assert typing.get_type_hints(function, include_extras=True)[name]


def test_the_examples_in_the_docstrings_are_right():
    for function in (count_parameters, training_cost):
        code, expected = re.search(r">>> (.+)\n *(\S+)$", inspect.getdoc(function)).groups()
        assert eval(code) == eval(expected)
