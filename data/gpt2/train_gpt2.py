"""A compact GPT-2 that reads from top to bottom: sizes, parameters, model, data, schedule, training, sampling.

python train_gpt2.py --count    the published sizes, counted weight by weight (needs no PyTorch)
python train_gpt2.py --toy      trains a toy on a CPU, in minutes, on the .md files beside this file

What it is not: a fast trainer, a tokenizer, or a way to load OpenAI's weights. Tokens are bytes, so nothing is
downloaded. PyTorch is the only package that training needs. code_walkthrough.md explains every section.
"""
# ruff: noqa: T201 - a program for the command line prints

import argparse
import csv
import hashlib
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent


# --- 1. Sizes: five numbers describe a GPT-2 ---------------------------------------------------------------


@dataclass(frozen=True)
class Config:
    """The shape of a model. Everything else about a GPT-2 follows from these five numbers."""

    n_layer: int  # transformer blocks, one after the other
    n_head: int  # attention heads in every block; each head gets n_embd / n_head channels
    n_embd: int  # channels: the width of the residual stream
    vocab_size: int = 50257  # 256 bytes + 50,000 merges + 1 end-of-text token
    block_size: int = 1024  # the longest context, in tokens


PUBLISHED_SIZES = {
    "124M": Config(n_layer=12, n_head=12, n_embd=768),
    "355M": Config(n_layer=24, n_head=16, n_embd=1024),
    "774M": Config(n_layer=36, n_head=20, n_embd=1280),
    "1558M": Config(n_layer=48, n_head=25, n_embd=1600),
}

# One token for each value of a byte: every text can be written, and no tokenizer has to be downloaded.
BYTE_VOCABULARY = 256
TOY = Config(n_layer=4, n_head=4, n_embd=128, vocab_size=BYTE_VOCABULARY, block_size=128)


# --- 2. Parameters: every weight by name and shape ---------------------------------------------------------


def parameter_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter, under the names that OpenAI's checkpoints use.

    This one table is counted by --count, filled with random numbers by initial_parameters, and divided into
    groups by make_optimizer. There is no output matrix in it: the embedding serves twice (weight tying).
    """
    width = config.n_embd
    shapes: dict[str, tuple[int, ...]] = {
        "wte": (config.vocab_size, width),  # token embedding, and the output layer
        "wpe": (config.block_size, width),  # position embedding, learned like any other weight
    }
    for layer in range(config.n_layer):
        block = f"h{layer}."
        shapes[block + "ln_1.weight"] = (width,)
        shapes[block + "ln_1.bias"] = (width,)
        shapes[block + "attn.c_attn.weight"] = (width, 3 * width)  # query, key and value side by side
        shapes[block + "attn.c_attn.bias"] = (3 * width,)
        shapes[block + "attn.c_proj.weight"] = (width, width)  # back into the residual stream
        shapes[block + "attn.c_proj.bias"] = (width,)
        shapes[block + "ln_2.weight"] = (width,)
        shapes[block + "ln_2.bias"] = (width,)
        shapes[block + "mlp.c_fc.weight"] = (width, 4 * width)  # four times wider inside
        shapes[block + "mlp.c_fc.bias"] = (4 * width,)
        shapes[block + "mlp.c_proj.weight"] = (4 * width, width)  # back into the residual stream
        shapes[block + "mlp.c_proj.bias"] = (width,)
    shapes["ln_f.weight"] = (width,)
    shapes["ln_f.bias"] = (width,)
    return shapes


def count_parameters(config: Config) -> int:
    """Return how many numbers the model learns."""
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())


def initial_parameters(config: Config, device: str) -> dict:
    """Return random starting values that keep the first predictions close to uniform."""
    parameters = {}
    for name, shape in parameter_shapes(config).items():
        if name.endswith("bias"):
            value = torch.zeros(shape, device=device)
        elif "ln_" in name:
            value = torch.ones(shape, device=device)  # a layer norm starts by changing nothing but the scale
        else:
            standard_deviation = 0.02
            if name.endswith("c_proj.weight"):
                # Two branches per block add to the stream; without this their sum grows with depth.
                standard_deviation /= math.sqrt(2 * config.n_layer)
            value = torch.randn(shape, device=device) * standard_deviation
        parameters[name] = value.requires_grad_()
    return parameters


# --- 3. The model: from tokens to a guess about the next token ---------------------------------------------


def layer_norm(parameters: dict, name: str, x):
    """Give every position mean 0 and variance 1, then a learned scale and shift."""
    return F.layer_norm(x, x.shape[-1:], parameters[name + ".weight"], parameters[name + ".bias"], eps=1e-5)


def linear(parameters: dict, name: str, x):
    """Multiply by a matrix and add a bias, at every position alike."""
    return x @ parameters[name + ".weight"] + parameters[name + ".bias"]


def attention(parameters: dict, name: str, x, config: Config):
    """Let every position read from itself and from earlier positions, in n_head ways at once."""
    batch, length, width = x.shape
    head_width = width // config.n_head
    query, key, value = (
        part.view(batch, length, config.n_head, head_width).transpose(1, 2)  # the heads beside the batch
        for part in linear(parameters, name + ".c_attn", x).split(width, dim=2)
    )
    # Dot products grow with the width of a head; the division keeps the softmax from saturating.
    scores = query @ key.transpose(-2, -1) / math.sqrt(head_width)
    future = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(diagonal=1)
    weights = scores.masked_fill(future, float("-inf")).softmax(dim=-1)  # nobody sees the token to be guessed
    mixed = (weights @ value).transpose(1, 2).reshape(batch, length, width)  # the heads side by side again
    return linear(parameters, name + ".c_proj", mixed)


def mlp(parameters: dict, name: str, x):
    """Work on every position alone: widen, bend, narrow."""
    # The tanh form of GELU is an approximation, and the one that GPT-2 was trained with.
    hidden = F.gelu(linear(parameters, name + ".c_fc", x), approximate="tanh")
    return linear(parameters, name + ".c_proj", hidden)


def forward(parameters: dict, tokens, config: Config):
    """Return the logits: for every position, one score for each token that could come next."""
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    x = parameters["wte"][tokens] + parameters["wpe"][positions]
    for layer in range(config.n_layer):
        block = f"h{layer}."
        # Pre-norm: the branch sees a normalised copy, the stream itself is only ever added to.
        x = x + attention(parameters, block + "attn", layer_norm(parameters, block + "ln_1", x), config)
        x = x + mlp(parameters, block + "mlp", layer_norm(parameters, block + "ln_2", x))
    return layer_norm(parameters, "ln_f", x) @ parameters["wte"].T  # weight tying


def loss_of(parameters: dict, inputs, targets, config: Config):
    """Return the mean cross-entropy in nats per token: ln(vocabulary) for a model that knows nothing."""
    logits = forward(parameters, inputs, config)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


# --- 4. Data: the course's own text, as bytes --------------------------------------------------------------


def course_text() -> bytes:
    """Return the .md files beside this file, in the order of their names."""
    return b"\n\n".join(path.read_bytes() for path in sorted(HERE.glob("*.md")))


def split(text: bytes, chunk: int = 1024) -> tuple[bytes, bytes]:
    """Return (training, validation): every tenth chunk is held out.

    The last tenth of the text would be one topic of one file. Chunks from everywhere make a fairer exam.
    """
    chunks = [text[start : start + chunk] for start in range(0, len(text), chunk)]
    training = b"".join(piece for index, piece in enumerate(chunks) if index % 10 != 9)
    validation = b"".join(piece for index, piece in enumerate(chunks) if index % 10 == 9)
    return training, validation


def random_batch(tokens, batch_size: int, length: int):
    """Return (inputs, targets): random windows, and the same windows one token later."""
    starts = torch.randint(len(tokens) - length, (batch_size,))
    windows = torch.stack([tokens[start : start + length + 1] for start in starts.tolist()])
    return windows[:, :-1], windows[:, 1:]


def validation_loss(parameters: dict, tokens, config: Config) -> float:
    """Return the loss over the whole validation text, window by window: the same exam every time."""
    length = config.block_size
    windows = tokens[: (len(tokens) - 1) // length * length + 1]
    inputs, targets = windows[:-1].view(-1, length), windows[1:].view(-1, length)
    with torch.no_grad():
        return loss_of(parameters, inputs, targets, config).item()


# --- 5. The plan: how long, how fast, how much at once -----------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """How a model is trained. The optimiser's numbers are those that the GPT-3 paper gives for this recipe."""

    steps: int
    warmup_steps: int
    max_learning_rate: float
    micro_batch: int  # sequences that fit into memory at once
    accumulation: int  # micro-batches for one update: the batch is as large as their product
    log_every: int = 2
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0


# A small model takes larger steps well. The toy runs far past the point where it has read its few pages.
# training_log.csv is one run of this plan, seed 1234, on the text whose sha256 is
# a241bcf33868007e6c224d29694940fdfdb924c173cf290bd2e015fc4fa0f95f; data/README.md says more about it.
TOY_PLAN = Plan(steps=1200, warmup_steps=40, max_learning_rate=2e-3, micro_batch=16, accumulation=2)
# The shape of a full-size run (2**19 tokens for an update), for a GPU with room for 16 sequences of 1,024 tokens.
FULL_PLAN = Plan(
    steps=19073, warmup_steps=715, max_learning_rate=6e-4, micro_batch=16, accumulation=32, log_every=50
)


def learning_rate_at(step: int, plan: Plan) -> float:
    """Return the learning rate: a straight line up, then half a cosine down to a tenth."""
    if step < plan.warmup_steps:
        return plan.max_learning_rate * (step + 1) / plan.warmup_steps
    progress = (step - plan.warmup_steps) / max(1, plan.steps - plan.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))  # from 1 to 0
    return plan.max_learning_rate * (0.1 + 0.9 * cosine)


def make_optimizer(parameters: dict, plan: Plan):
    """Return AdamW with two groups: matrices are pulled towards zero, biases and layer norms are not."""
    matrices = [value for value in parameters.values() if value.dim() >= 2]
    vectors = [value for value in parameters.values() if value.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": plan.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=plan.max_learning_rate, betas=plan.betas, eps=1e-8)


# --- 6. Training -------------------------------------------------------------------------------------------

COLUMNS = ["step", "train_loss", "val_loss", "learning_rate", "gradient_norm", "tokens_per_second"]


def train(config: Config, plan: Plan, device: str, log_path: Path) -> dict:
    """Train from scratch, write the log row by row, and return the parameters."""
    parameters = initial_parameters(config, device)
    optimizer = make_optimizer(parameters, plan)
    training, validation = (torch.tensor(list(part), device=device) for part in split(course_text()))
    print(
        f"{count_parameters(config):,} parameters, {len(training):,} bytes to learn, {len(validation):,} held out"
    )

    with log_path.open("w", newline="", encoding="utf-8") as file:
        log = csv.writer(file, lineterminator="\n")
        log.writerow(COLUMNS)
        for step in range(plan.steps + 1):
            last = step == plan.steps
            measured = step % plan.log_every == 0 or last
            # Measured before the update: row 0 shows the untrained model.
            val_loss = validation_loss(parameters, validation, config) if measured else None

            started = time.perf_counter()
            learning_rate = learning_rate_at(step, plan)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate

            train_loss = 0.0
            for _ in range(plan.accumulation):
                inputs, targets = random_batch(training, plan.micro_batch, config.block_size)
                # On a GPU the matrix products run in bfloat16; the weights stay in float32.
                with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
                    # Gradients add up, so each share is divided: the sum is then the mean of the large batch.
                    share = loss_of(parameters, inputs, targets, config) / plan.accumulation
                share.backward()
                train_loss += share.item()
            gradient_norm = torch.nn.utils.clip_grad_norm_(parameters.values(), plan.clip_norm).item()
            if not last:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)

            if measured:
                tokens = plan.accumulation * plan.micro_batch * config.block_size
                speed = tokens / (time.perf_counter() - started)
                losses = [f"{train_loss:.4f}", f"{val_loss:.4f}"]
                log.writerow([step, *losses, f"{learning_rate:.6g}", f"{gradient_norm:.4f}", f"{speed:.0f}"])
                file.flush()  # a run that is stopped half way leaves a readable log
                if step % 50 == 0:
                    print(f"step {step:5d}  train {losses[0]}  validation {losses[1]}  {speed:,.0f} tokens/s")
    return parameters


# --- 7. Sampling -------------------------------------------------------------------------------------------


def sample(parameters: dict, config: Config, prompt: str, length: int = 400, top_k: int = 40) -> str:
    """Return the prompt and what the model writes after it, one byte at a time."""
    device = parameters["wte"].device
    tokens = torch.tensor([list(prompt.encode())], device=device)
    with torch.no_grad():
        for _ in range(length):
            context = tokens[:, -config.block_size :]  # there is no position embedding for more
            logits = forward(parameters, context, config)[:, -1] / 0.8  # below 1: fewer unlikely bytes
            best, index = logits.topk(min(top_k, config.vocab_size))
            choice = torch.multinomial(best.softmax(dim=-1), num_samples=1)
            tokens = torch.cat([tokens, index.gather(1, choice)], dim=1)
    return bytes(tokens[0].tolist()).decode(errors="replace")


# --- 8. The command line -----------------------------------------------------------------------------------


def main() -> None:
    """Count, or train and sample."""
    parser = argparse.ArgumentParser(description="A compact GPT-2 on bytes.")
    parser.add_argument("--count", action="store_true", help="print the parameters of the published sizes")
    parser.add_argument("--toy", action="store_true", help="train the toy size on a CPU")
    parser.add_argument(
        "--size", choices=PUBLISHED_SIZES, default="124M", help="without --toy: the size to train"
    )
    parser.add_argument("--steps", type=int, help="another number of updates")
    parser.add_argument("--seed", type=int, default=1234)
    parser.add_argument("--threads", type=int, help="CPU threads; fewer threads leave room for others")
    parser.add_argument("--log", type=Path, default=Path("training_log.csv"), help="where the log is written")
    arguments = parser.parse_args()

    if arguments.count:
        for name, config in PUBLISHED_SIZES.items():
            print(f"{name:>6}  {count_parameters(config):>13,}")
        print(f"{'toy':>6}  {count_parameters(TOY):>13,}")
        return

    # Here and not at the top, so that --count and the functions without a tensor work where PyTorch is missing.
    global torch, F
    import torch
    import torch.nn.functional as F

    torch.manual_seed(arguments.seed)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = "cuda" if torch.cuda.is_available() and not arguments.toy else "cpu"
    config = TOY if arguments.toy else replace(PUBLISHED_SIZES[arguments.size], vocab_size=BYTE_VOCABULARY)
    plan = TOY_PLAN if arguments.toy else FULL_PLAN
    plan = replace(plan, steps=arguments.steps or plan.steps)

    print(f"torch {torch.__version__}, seed {arguments.seed}, {torch.get_num_threads()} threads, {device}")
    print(f"text sha256 {hashlib.sha256(course_text()).hexdigest()}")
    started = time.perf_counter()
    parameters = train(config, plan, device, arguments.log)
    print(f"{time.perf_counter() - started:.0f} seconds\n")
    print(sample(parameters, config, "The loss at the start"))


if __name__ == "__main__":
    main()
