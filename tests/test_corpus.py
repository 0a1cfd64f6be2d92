"""The corpus in data/gpt2 keeps its promises: sizes, order, quotations, figures, links, and the log of a real run.

Nothing here imports PyTorch: the training program is loaded with its import blocked. What the texts say about the
world is backed by the links in them; here only what can be computed or looked up in the folder is checked.
"""

import ast
import csv
import hashlib
import importlib.util
import itertools
import math
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

DATA = Path(__file__).resolve().parent.parent / "data"
CORPUS = DATA / "gpt2"
TEXTS = ["overview.md", "lecture_notes.md", "code_walkthrough.md", "plain_c.md"]
SCRIPT = CORPUS / "train_gpt2.py"
PUBLISHED = {"124M": 124_439_808, "355M": 354_823_168, "774M": 774_030_080, "1558M": 1_557_611_200}


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the training program, loaded where PyTorch cannot be imported."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # no __pycache__ among the learner's files
    spec = importlib.util.spec_from_file_location("train_gpt2_under_test", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def log() -> list[dict[str, str]]:
    with (CORPUS / "training_log.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def without_code(text: str) -> str:
    """Return Markdown without its fenced blocks and code spans: a # in code is no heading, a [x](y) no link."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))


def headings(name: str) -> list[tuple[int, str]]:
    text = re.sub(r"^```.*?^```", "", (CORPUS / name).read_text(encoding="utf-8"), flags=re.M | re.S)
    return [(len(marks), title) for marks, title in re.findall(r"^(#+) (.+)$", text, flags=re.M)]


def quotations(name: str) -> list[str]:
    return re.findall(
        r"^```python\n(.*?)^```", (CORPUS / name).read_text(encoding="utf-8"), flags=re.M | re.S
    )


# --- the texts ---------------------------------------------------------------------------------------------


def test_together_the_texts_have_the_promised_size():
    sizes = {name: (CORPUS / name).stat().st_size for name in TEXTS}
    assert 60_000 <= sum(sizes.values()) <= 120_000, sizes
    assert min(sizes.values()) >= 10_000, sizes


@pytest.mark.parametrize("name", TEXTS)
def test_headings_form_an_outline(name: str):
    found = headings(name)
    levels = [level for level, _ in found]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels)), found
    assert levels.count(2) >= 12, "too few sections to be found by a search"
    titles = [title for _, title in found]
    assert len(set(titles)) == len(titles), "two sections with one heading cannot be told apart in a citation"
    assert any("Sources" in title for title in titles)


def test_the_lecture_notes_follow_the_order_in_which_one_builds():
    assert [title for level, title in headings("lecture_notes.md") if level == 2][:-1] == [
        "Data and tokenizer",
        "Embeddings",
        "Attention",
        "MLP",
        "Residual stream",
        "Initialisation",
        "Loss at the start",
        "Optimiser",
        "Learning-rate schedule",
        "Mixed precision and compile",
        "Gradient accumulation",
        "Evaluation",
        "Results",
    ]


@pytest.mark.parametrize(
    "topic",
    ["memory", "linear", "layer norm", "attention", "adamw", "finite differences", "reference", "openmp"],
)
def test_the_notes_on_c_have_a_section_on(topic: str):
    assert any(topic in title.lower() for _, title in headings("plain_c.md"))


@pytest.mark.parametrize(
    "path", [*(CORPUS / name for name in TEXTS), DATA / "README.md"], ids=lambda p: p.name
)
def test_links_lead_somewhere(path: Path):
    targets = re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text(encoding="utf-8")))
    assert targets
    for target in targets:
        if target.startswith("https://"):
            continue
        assert "://" not in target, f"{target}: only https"
        assert (path.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize(
    "path", [*(CORPUS / name for name in TEXTS), DATA / "README.md", SCRIPT], ids=lambda p: p.name
)
def test_nothing_is_left_unfinished(path: Path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(TODO|FIXME|TBD|XXX|citation needed|lorem ipsum)\b", text, flags=re.I)
    assert not re.search(r"\b(simply|just)\b", without_code(text), flags=re.I)


def test_the_predicted_losses_are_logarithms():
    section = (CORPUS / "lecture_notes.md").read_text(encoding="utf-8").partition("## Loss at the start")[2]
    rows = re.findall(r"^\| ([\d,]+) [^|]*\| ([\d.]+) \|$", section, flags=re.M)
    assert [row[0] for row in rows] == ["50,257", "50,304", "256"]
    for size, loss in rows:
        assert float(loss) == round(math.log(int(size.replace(",", ""))), 3)


# --- the program -------------------------------------------------------------------------------------------


def test_the_program_imports_only_the_standard_library_at_its_top():
    imports = [
        node
        for node in ast.parse(SCRIPT.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in imports if isinstance(node, ast.ImportFrom)}
    assert names <= sys.stdlib_module_names


def test_parameters_are_counted_as_published(program: ModuleType):
    assert {
        name: program.count_parameters(size) for name, size in program.PUBLISHED_SIZES.items()
    } == PUBLISHED


def test_count_prints_the_sizes_where_pytorch_is_missing(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["train_gpt2.py", "--count"])
    program.main()
    printed = capsys.readouterr().out
    for name, count in PUBLISHED.items():
        assert re.search(rf"^ *{name} +{count:,}$", printed, flags=re.M), printed


def test_the_overview_has_the_same_sizes_as_the_program(program: ModuleType):
    text = (CORPUS / "overview.md").read_text(encoding="utf-8")
    for name, size in program.PUBLISHED_SIZES.items():
        row = f"| {name} | {PUBLISHED[name]:,} | {size.n_layer} | {size.n_head} | {size.n_embd:,} | {size.n_embd // size.n_head} |"
        assert row in text
    assert f"{program.count_parameters(program.TOY):,} parameters" in text


def test_every_part_of_the_small_model_in_the_overview_adds_up():
    text = (CORPUS / "overview.md").read_text(encoding="utf-8").partition("## Where the 124,439,808")[2]
    parts = re.findall(r"^\|[^|]+\|[^|]+\| ([\d,]+) \| [\d.]+ % \|$", text, flags=re.M)
    assert len(parts) == 5
    assert sum(int(part.replace(",", "")) for part in parts) == PUBLISHED["124M"]


def test_what_the_walk_through_quotes_is_in_the_program():
    quotes = quotations("code_walkthrough.md")
    assert len(quotes) >= 20
    # Quotations lose their indentation, so the program is compared from every line on, with that line's indent off.
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    for quote in quotes:
        wanted = quote.splitlines()
        assert any(
            textwrap.dedent("\n".join(lines[start : start + len(wanted)])).splitlines() == wanted
            for start in range(len(lines))
        ), f"not in {SCRIPT.name}:\n{quote}"


def test_every_function_is_explained_in_the_walk_through():
    text = (CORPUS / "code_walkthrough.md").read_text(encoding="utf-8")
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    missing = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not re.search(rf"\b{node.name}\b", text)
    ]
    assert not missing


def test_the_split_holds_out_a_tenth_and_loses_nothing(program: ModuleType):
    text = program.course_text()
    training, validation = program.split(text)
    assert len(training) + len(validation) == len(text)
    assert 0.08 < len(validation) / len(text) < 0.12
    assert validation[:1024] in text
    assert validation[:1024] not in training


# --- the log -----------------------------------------------------------------------------------------------


def test_the_log_has_its_columns_and_enough_rows(program: ModuleType, log: list[dict[str, str]]):
    assert list(log[0]) == program.COLUMNS
    assert len(log) >= 300
    for row in log:
        assert all(math.isfinite(float(value)) for value in row.values()), row
        assert float(row["tokens_per_second"]) > 0


def test_the_log_is_one_whole_run_of_the_toy(program: ModuleType, log: list[dict[str, str]]):
    plan = program.TOY_PLAN
    assert [int(row["step"]) for row in log] == list(range(0, plan.steps + 1, plan.log_every))


def test_the_learning_rates_in_the_log_are_those_of_the_schedule(
    program: ModuleType, log: list[dict[str, str]]
):
    for row in log:
        expected = program.learning_rate_at(int(row["step"]), program.TOY_PLAN)
        assert float(row["learning_rate"]) == pytest.approx(expected, rel=1e-5)


def test_the_first_loss_is_the_one_that_the_notes_predict(log: list[dict[str, str]]):
    assert "the prediction is therefore 5.55, give or take 0.1" in (CORPUS / "lecture_notes.md").read_text(
        encoding="utf-8"
    )
    assert float(log[0]["train_loss"]) == pytest.approx(math.log(256), abs=0.1)
    assert float(log[0]["val_loss"]) == pytest.approx(math.log(256), abs=0.1)


def test_the_validation_loss_turns_before_the_run_ends(log: list[dict[str, str]]):
    losses = [float(row["val_loss"]) for row in log]
    best = losses.index(min(losses))
    assert 0.2 < best / len(losses) < 0.95
    assert losses[-1] - losses[best] > 0.02, "the turn is too small to be seen in a plot"
    assert float(log[-1]["train_loss"]) < losses[-1] - 0.3, "the toy has not begun to memorise"


def test_the_readme_says_which_text_the_log_belongs_to(program: ModuleType):
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    recorded = re.search(r"`([0-9a-f]{64})`", readme)
    assert recorded, "data/README.md must give the sha256 of the text of the recorded run"
    assert recorded[1] in SCRIPT.read_text(encoding="utf-8"), (
        "the comment beside TOY_PLAN must give the same sha256"
    )
    current = hashlib.sha256(program.course_text()).hexdigest()
    assert current == recorded[1] or "The texts have been edited since" in readme, (
        f"The text of data/gpt2 is now {current}. Train again, or write into data/README.md: "
        "'The texts have been edited since this run.'"
    )
