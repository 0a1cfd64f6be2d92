"""Drift: made-up differences become lines of an issue, and no difference becomes no issue."""

import datetime as dt
import json
import re
from pathlib import Path

import pytest
import yaml

import start
from tests import drift
from tests.drift import ListedModel

TODAY = dt.date(2026, 11, 23)
CATALOGUE = {
    "default": "gpt-6-luna",
    "checked": "2026-11-23",
    "sources": {"prices": "https://prices.example"},
    "models": [
        {"id": "gpt-6-luna", "shutdown_date": None},
        {"id": "gpt-4o", "shutdown_date": "2027-01-14"},
        {"id": "gpt-4", "shutdown_date": "2026-10-23"},
    ],
}
SHAPES = {
    "events": {
        "response.created": ["response", "response.id", "response.output", "response.output[]<message>.id"],
        "response.output_text.delta": ["delta", "sequence_number"],
    },
    "objects": {"conversation": ["id", "metadata"]},
}
AS_LISTED = [
    ListedModel("gpt-6-luna"),
    ListedModel("gpt-4o", dt.date(2027, 1, 14)),
    ListedModel("a-new-model"),
]


def changed(shapes, kind, name, *, more=(), less=()):
    fields = [field for field in [*shapes[kind].get(name, []), *more] if field not in less]
    return {**shapes, kind: {**shapes[kind], name: fields}}


@pytest.mark.parametrize(
    ("live", "line"),
    [
        (
            changed(SHAPES, "events", "response.output_text.delta", more=["obfuscation"]),
            "event `response.output_text.delta`: field `obfuscation` only live",
        ),
        (
            changed(SHAPES, "events", "response.output_text.delta", less=["delta"]),
            "event `response.output_text.delta`: field `delta` only recorded",
        ),
        (changed(SHAPES, "events", "response.steered", more=["type"]), "event `response.steered`: only live"),
        ({**SHAPES, "objects": {}}, "object `conversation`: only recorded"),
        (
            changed(SHAPES, "objects", "conversation", more=["owner", "owner.id", "owner.names[].first"]),
            "object `conversation`: field `owner` only live",
        ),
    ],
)
def test_a_difference_in_events_and_fields_is_one_line(live, line):
    assert drift.shape_differences(live, SHAPES, {}) == [line]


def test_an_accepted_difference_is_not_told_again():
    live = changed(
        changed(SHAPES, "events", "response.steered", more=["type"]),
        "objects",
        "conversation",
        more=["owner"],
    )
    assert len(drift.shape_differences(live, SHAPES, {})) == 2
    accepted = {"response.steered": "no notebook steers", "conversation: owner": "not taught"}
    assert drift.shape_differences(live, SHAPES, accepted) == []


@pytest.mark.parametrize(
    ("listed", "lines"),
    [
        (AS_LISTED, ["`gpt-4o` ends on 2027-01-14, within 90 days"]),
        (
            AS_LISTED[1:],
            [
                "the default model `gpt-6-luna` is not in the list of models",
                "`gpt-4o` ends on 2027-01-14, within 90 days",
            ],
        ),
        (AS_LISTED[:1], ["`gpt-4o` is in data/models.json and not in the list of models"]),
        (
            [ListedModel("gpt-6-luna", dt.date(2026, 12, 24)), ListedModel("gpt-4o", dt.date(2027, 6, 1))],
            [
                "`gpt-6-luna` ends on 2026-12-24; data/models.json says nothing",
                "the default model `gpt-6-luna` ends on 2026-12-24, within 90 days",
                "`gpt-4o` ends on 2027-06-01; data/models.json says 2027-01-14",
            ],
        ),
    ],
)
def test_the_list_of_models_is_compared_with_the_table(listed, lines):
    assert drift.model_differences(listed, CATALOGUE, TODAY) == lines


def test_prices_that_were_checked_long_ago_are_told():
    assert drift.price_differences(CATALOGUE, TODAY + dt.timedelta(days=60)) == []
    (line,) = drift.price_differences(CATALOGUE, TODAY + dt.timedelta(days=61))
    assert "61 days ago: compare them with https://prices.example" in line


@pytest.mark.parametrize(
    ("versions", "lines"),
    [
        (("3.54.0", "3.54.0", "3.54.0"), []),
        (("3.60.1", "3.54.0", "3.60.1"), ["the notebooks ran on openai 3.60.1; constraints.txt pins 3.54.0"]),
        (("3.54.0", "3.54.0", "4.0.0"), ["openai 4.0.0 is out; requirements.txt allows 3.54.0"]),
    ],
)
def test_the_sdk_is_compared(versions, lines):
    assert drift.sdk_differences(*versions) == lines


def test_a_notebook_that_failed_is_told_without_a_key():
    log = (
        "01_first   ok       3 cells     1.0 s  live  9 tokens  $0.0001\n"
        "02_second  FAILED   1 cells     1.0 s  live  9 tokens  $0.0001  cell [2]: Error: sk-planted-0123456789\n"
        "03_third   not run: $0.1200 of $0.10 is spent\n"
    )
    failed, not_run = drift.failed_notebooks(log)
    assert failed.startswith("`02_second FAILED")
    assert "planted" not in failed
    assert not_run.startswith("`03_third not run")


def test_nothing_different_makes_no_issue_and_a_long_list_is_cut():
    assert drift.issue_text({"Models": [], "Prices": []}, TODAY) == ""
    text = drift.issue_text({"Models": [f"line {n}" for n in range(50)], "Prices": [], "SDK": ["one"]}, TODAY)
    assert text.startswith("Found on 2026-11-23")
    assert text.count("\n- line") == drift.SHOWN
    assert "- … and 10 more" in text
    assert re.findall(r"^### (.*)$", text, re.MULTILINE) == ["Models", "SDK"]


def test_the_whole_check_writes_the_issue(tmp_path, monkeypatch, capsys):
    (tmp_path / "live.json").write_text(
        json.dumps(changed(SHAPES, "objects", "conversation", more=["owner"]))
    )
    (tmp_path / "recorded.json").write_text(json.dumps(SHAPES))
    monkeypatch.setattr(drift, "connect", lambda mode: None)
    monkeypatch.setattr(drift, "listed_models", lambda client: AS_LISTED)
    monkeypatch.setattr(drift, "newest_sdk", lambda: "99.0.0")
    command = [
        "compare",
        str(tmp_path / "live.json"),
        str(tmp_path / "recorded.json"),
        "--to",
        str(tmp_path / "issue.md"),
    ]
    assert drift.main(command) == 0
    issue = (tmp_path / "issue.md").read_text(encoding="utf-8")
    assert "- object `conversation`: field `owner` only live" in issue
    assert "openai 99.0.0 is out" in issue
    assert capsys.readouterr().out.strip() == issue.strip()


def test_the_models_of_an_api_are_read_with_their_end(tmp_path):
    from helpers import connect

    listed = {model.id: model for model in drift.listed_models(connect("recorded"))}
    assert listed["gpt-4o-mini"].shutdown_date == dt.date(2027, 1, 14)
    assert listed["gpt-6-luna"].shutdown_date is None


def test_every_accepted_difference_has_a_reason():
    accepted = json.loads(drift.ACCEPTED.read_text(encoding="utf-8"))
    assert [name for name, reason in accepted.items() if not str(reason).strip()] == []


@pytest.mark.parametrize(
    ("open_issues", "text", "commands", "told"),
    [
        (
            [],
            "differs",
            [["issue", "create", "--title", drift.TITLE, "--body", "differs"]],
            "opened an issue",
        ),
        ([drift.TITLE], "differs", [["issue", "edit", "7", "--body", "differs"]], "changed #7"),
        (
            [drift.TITLE],
            "",
            [["issue", "close", "7", "--comment", "Nothing differs any more."]],
            "closed #7",
        ),
        (["Another one about drift"], "", [], "nothing to do"),
    ],
)
def test_the_issue_is_opened_changed_or_closed(open_issues, text, commands, told):
    asked = []

    def gh(words):
        if words[1] == "list":
            return json.dumps([{"number": 7 + n, "title": title} for n, title in enumerate(open_issues)])
        asked.append(words)
        return ""

    assert drift.settle_issue(text, gh) == told
    assert asked == commands


# -- the weekly job -------------------------------------------------------------------------------------------------

WORKFLOW = Path(start.ROOT, ".github", "workflows", "live.yml").read_text(encoding="utf-8")


def test_the_weekly_job_has_the_key_only_from_the_secrets_and_no_step_that_cannot_fail():
    workflow = yaml.safe_load(WORKFLOW)
    assert workflow["permissions"] == {"contents": "read"}
    live = workflow["jobs"]["notebooks"]
    assert live["if"] == "needs.key.outputs.present == 'yes'"
    assert live["permissions"] == {"contents": "read", "issues": "write"}
    assert not re.search(r"continue-on-error|\|\| *true|set \+e|; true", WORKFLOW)
    keys = [line.strip() for line in WORKFLOW.splitlines() if "OPENAI_API_KEY" in line and "secrets." in line]
    assert all(line.endswith("${{ secrets.OPENAI_API_KEY }}") for line in keys)
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    with_key = [step for step in steps if "secrets.OPENAI_API_KEY" in json.dumps(step)]
    (settles,) = [step for step in steps if "tests.drift settle" in step.get("run", "")]
    assert settles["env"]["GH_TOKEN"] == "${{ github.token }}"
    assert settles not in with_key
