"""Two functions about GPT-2 for an assistant to call: how many parameters a model has, and what training it costs.

Both only calculate. A wrong argument is a ``ValueError`` whose sentence says what to give instead: here it is the
caller's mistake, and whoever runs the functions for a model turns it into an output that the model can act on. Not here:
the model itself, which is ``data/gpt2/train_gpt2.py``.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Field

__all__ = ["count_parameters", "training_cost"]

Size = Literal["124M", "355M", "774M", "1558M"]
Gpu = Literal["A100", "H100"]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the number of parameters follows from. How many heads share the width makes no difference to it."""

    n_layer: int
    n_embd: int
    vocab_size: int = 50_257
    block_size: int = 1_024


# Layers and widths of the checkpoints of https://github.com/openai/gpt-2, as data/gpt2/overview.md lists them.
_PUBLISHED: Final[dict[str, _Shape]] = {
    "124M": _Shape(12, 768),
    "355M": _Shape(24, 1_024),
    "774M": _Shape(36, 1_280),
    "1558M": _Shape(48, 1_600),
}
# Beyond these a number is a slip of the pen: a thousand times the largest GPT-2 still fits.
_MOST: Final = {"n_layer": 1_000, "n_embd": 100_000, "vocab_size": 10_000_000, "block_size": 10_000_000}


@dataclass(frozen=True, slots=True)
class _Card:
    peak_flops: float
    """Floating-point operations per second in bfloat16 on the tensor cores, dense, which is half of the number with
    sparsity that data sheets like to print."""
    price_usd_per_hour: float
    """What the runs of llm.c paid in 2024."""


_CARDS: Final[dict[str, _Card]] = {
    # https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf
    # and 14 dollars an hour for eight: https://github.com/karpathy/llm.c/blob/master/scripts/run_gpt2_124M.sh
    "A100": _Card(peak_flops=312e12, price_usd_per_hour=1.75),
    # NVIDIA's Hopper white paper for SXM5, in the table of https://glennklockwood.com/garden/processors/h100,
    # and 28 dollars an hour for eight: https://github.com/karpathy/llm.c/blob/master/scripts/run_gpt2_1558M.sh
    "H100": _Card(peak_flops=989.4e12, price_usd_per_hour=3.50),
}
_FORMULA: Final = (
    "FLOPs = (6 * parameters + 12 * n_layer * n_embd * block_size) * tokens; "
    "hours = FLOPs / (gpus * peak FLOP/s * utilisation) / 3600; price = hours * gpus * price per GPU-hour"
)


def count_parameters(
    size: Size | None = None,
    n_layer: Annotated[int, Field(ge=1, le=_MOST["n_layer"])] | None = None,
    n_embd: Annotated[int, Field(ge=1, le=_MOST["n_embd"])] | None = None,
    vocab_size: Annotated[int, Field(ge=1, le=_MOST["vocab_size"])] | None = None,
    block_size: Annotated[int, Field(ge=1, le=_MOST["block_size"])] | None = None,
) -> dict[str, Any]:
    """Count the parameters of a GPT-2 model exactly, with a breakdown by part. Give size alone for a published model,
    n_layer and n_embd for another one, or size and whatever differs from it.

    Args:
        size: A published size.
        n_layer: Number of transformer blocks; null takes that of size.
        n_embd: Width: channels of the residual stream; null takes that of size.
        vocab_size: Number of tokens in the vocabulary; null means 50257, as in GPT-2.
        block_size: Longest context in tokens; null means 1024, as in GPT-2.

    Returns:
        ``parameters``, the ``breakdown`` that adds up to them, what one block has (``per_block``), ``configuration``, the
        ``published_size`` that it is or ``None``, and ``parameters_with_untied_head``: the number if the output layer did
        not share its table with the token embedding, as it does in GPT-2.

    Raises:
        ValueError: neither a size nor both ``n_layer`` and ``n_embd``, or a number out of range.

    Example:
        >>> count_parameters("124M")["parameters"]
        124439808
    """
    shape = _shape(size, n_layer, n_embd, vocab_size, block_size)
    width = shape.n_embd
    attention = width * 3 * width + 3 * width + width * width + width
    mlp = width * 4 * width + 4 * width + 4 * width * width + width
    layer_norms = 2 * (width + width)
    breakdown = {
        "token_embeddings": shape.vocab_size * width,
        "position_embeddings": shape.block_size * width,
        "attention": shape.n_layer * attention,
        "mlp": shape.n_layer * mlp,
        "block_layer_norms": shape.n_layer * layer_norms,
        "final_layer_norm": width + width,
        "output_head": 0,
    }
    total = sum(breakdown.values())
    return {
        "parameters": total,
        "breakdown": breakdown,
        "per_block": {
            "attention": attention,
            "mlp": mlp,
            "layer_norms": layer_norms,
            "total": attention + mlp + layer_norms,
        },
        "configuration": asdict(shape),
        "published_size": next((name for name, known in _PUBLISHED.items() if known == shape), None),
        "parameters_with_untied_head": total + breakdown["token_embeddings"],
        "note": "The output head is tied to the token embeddings and has no parameters of its own.",
    }


def training_cost(
    size: Size | None = None,
    n_layer: Annotated[int, Field(ge=1, le=_MOST["n_layer"])] | None = None,
    n_embd: Annotated[int, Field(ge=1, le=_MOST["n_embd"])] | None = None,
    tokens_billions: Annotated[float, Field(gt=0, le=1_000_000)] = 10.0,
    gpu: Gpu = "A100",
    gpus: Annotated[int, Field(ge=1, le=1_000_000)] = 8,
    utilisation: Annotated[float, Field(gt=0, le=1)] = 0.5,
    price_usd_per_gpu_hour: Annotated[float, Field(ge=0, le=1_000)] | None = None,
) -> dict[str, Any]:
    """Estimate how many hours one training run of a GPT-2 model takes on rented GPUs and what it costs in US dollars.
    Give size for a published model, or n_layer and n_embd for another one. The estimate is right within about a third.

    Args:
        size: A published size; null if you give n_layer and n_embd.
        n_layer: Number of transformer blocks; null takes that of size.
        n_embd: Width: channels of the residual stream; null takes that of size.
        tokens_billions: Tokens that the model is trained on, in billions: 10 means 10,000,000,000.
        gpu: Kind of GPU.
        gpus: How many GPUs work at once.
        utilisation: Share of the peak speed that is reached, above 0 and up to 1; 0.4 to 0.6 is usual for good code.
        price_usd_per_gpu_hour: Rent of one GPU for one hour in US dollars; null means what llm.c paid in 2024 (A100 1.75,
            H100 3.50).

    Returns:
        ``hours``, ``gpu_hours``, ``price_usd``, and everything that they were calculated from.

    Raises:
        ValueError: neither a size nor both ``n_layer`` and ``n_embd``, an unknown GPU, or a number out of range.

    Notes:
        Only the training run itself is counted: no failed runs, data preparation, evaluation or storage. The operations are
        6 for each parameter and token (Kaplan and others, https://arxiv.org/abs/2001.08361, section 2.1), and for attention
        12 · n_layer · n_embd · 1024 for each token (PaLM, https://arxiv.org/abs/2204.02311, appendix B). ``utilisation`` is the
        share of the card's peak that these operations reach.

        How close it is to two runs of llm.c, with their numbers of tokens: the 1558M model on eight H100 took 24 hours and 672
        dollars (https://github.com/karpathy/llm.c/discussions/677), and the estimate with the default utilisation of 0.5 is
        24.2 hours and 679 dollars. The 124M model on eight A100 took 90 to 94 minutes and about 20 dollars
        (https://github.com/karpathy/llm.c/discussions/481), and the estimate is 114 minutes and 26.50 dollars; that run reached
        a utilisation of about 0.6.

    Example:
        >>> training_cost("1558M", tokens_billions=33.55, gpu="H100")["price_usd"]
        678.43
    """
    shape = _shape(size, n_layer, n_embd, None, None)
    if gpu not in _CARDS:
        raise ValueError(f"gpu must be one of {', '.join(_CARDS)}, not {_told(gpu)}.")
    card = _CARDS[gpu]
    tokens = _number("tokens_billions", tokens_billions, most=1_000_000) * 1e9
    count = _whole("gpus", gpus, most=1_000_000)
    share = _number("utilisation", utilisation, most=1)
    price, price_source = card.price_usd_per_hour, f"what llm.c's run paid for an {gpu} in 2024"
    if price_usd_per_gpu_hour is not None:
        price = _number("price_usd_per_gpu_hour", price_usd_per_gpu_hour, most=1_000, zero=True)
        price_source = "given"
    parameters: int = count_parameters(n_layer=shape.n_layer, n_embd=shape.n_embd)["parameters"]
    weights = 6 * parameters
    attention = 12 * shape.n_layer * shape.n_embd * shape.block_size
    flops = (weights + attention) * tokens
    hours = flops / (count * card.peak_flops * share) / 3600
    return {
        "hours": _rounded(hours),
        "gpu_hours": _rounded(hours * count),
        "price_usd": round(hours * count * price, 2),
        "price_usd_per_gpu_hour": price,
        "price_source": price_source,
        "parameters": parameters,
        "tokens": round(tokens),
        "flops": _rounded(flops),
        "flops_per_token": {"weights": weights, "attention": attention},
        "gpu": gpu,
        "gpus": count,
        "peak_flops_per_gpu": card.peak_flops,
        "utilisation": share,
        "formula": _FORMULA,
        "note": "An estimate of one training run alone, right within about a third.",
    }


def _shape(size: object, n_layer: object, n_embd: object, vocab_size: object, block_size: object) -> _Shape:
    """Return the published shape with the numbers that were given in place of its own."""
    given = {
        name: _whole(name, value, most=_MOST[name])
        for name, value in (
            ("n_layer", n_layer),
            ("n_embd", n_embd),
            ("vocab_size", vocab_size),
            ("block_size", block_size),
        )
        if value is not None
    }
    if size is not None:
        if not isinstance(size, str) or size not in _PUBLISHED:
            raise ValueError(
                f"size must be one of {', '.join(_PUBLISHED)}, not {_told(size)}. "
                "For another model give n_layer and n_embd."
            )
        return _Shape(**{**asdict(_PUBLISHED[size]), **given})
    if "n_layer" not in given or "n_embd" not in given:
        raise ValueError(f"Give size ({', '.join(_PUBLISHED)}), or both n_layer and n_embd.")
    return _Shape(**given)


def _whole(name: str, value: object, *, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most:,}, not {_told(value)}.")
    return value


def _number(name: str, value: object, *, most: float, zero: bool = False) -> float:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    # NaN compares as false with everything, so it is refused as well.
    if 0 < number <= most or (zero and number == 0):
        return float(number)
    low = "from 0" if zero else "above 0 and"
    raise ValueError(f"{name} must be a number {low} up to {most:,}, not {_told(value)}.")


def _told(value: object) -> str:
    """Return a value that was refused, short enough for a sentence."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number of more than 40 digits"
    text = str(value) if isinstance(value, int | float) else repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _rounded(value: float) -> float:
    """Keep four digits: an estimate with ten would look like a measurement."""
    return float(f"{value:.4g}")
