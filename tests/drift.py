"""Drift: where the live API, its models, its prices or the SDK are no longer what this project was made for.

    python -m tests.drift compare live.json recorded.json [--run-log run.txt] [--to issue.md]
    python -m tests.drift settle issue.md

The two JSON files are what ``WORKSHOP_SHAPES`` noted while the notebooks ran live and recorded. The result is Markdown
for an issue, and nothing where nothing differs; ``settle`` opens, changes or closes that issue with GitHub's ``gh``. Here
are the comparisons, without a network, and the few look-ups that they need. Not here: noting the shapes
(helpers/shapes.py).
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import openai

import start
from helpers import connect
from helpers.errors import redact
from helpers.models import DATA_FOLDER

ACCEPTED = Path(__file__).parent / "data" / "accepted_differences.json"
SOON_DAYS = 90
OLDEST_PRICES_DAYS = 60
PYPI = "https://pypi.org/pypi/openai/json"
SHOWN = 40
TITLE = "Drift of the live API"

Shapes = Mapping[str, Mapping[str, Sequence[str]]]


@dataclass(frozen=True)
class ListedModel:
    """A model as the live API lists it."""

    id: str
    shutdown_date: dt.date | None = None


# -- comparisons ----------------------------------------------------------------------------------------------------


def shape_differences(live: Shapes, recorded: Shapes, accepted: Mapping[str, str]) -> list[str]:
    """Return one line for each type that only one side has, and for each field that it has in only one of the two.

    Args:
        live: what was noted live.
        recorded: what was noted of the recorded API in the same notebooks.
        accepted: differences that are known, such as ``"response.created: response.billing"``, with the reason.
    """
    lines = []
    for kind, word in (("events", "event"), ("objects", "object")):
        ours, theirs = recorded.get(kind, {}), live.get(kind, {})
        for name in sorted({*ours, *theirs}):
            if name not in ours:
                lines.append((name, f"{word} `{name}`: only live"))
            elif name not in theirs:
                lines.append((name, f"{word} `{name}`: only recorded"))
            else:
                for side, fields, others in (
                    ("live", theirs[name], ours[name]),
                    ("recorded", ours[name], theirs[name]),
                ):
                    for field in top_most(set(fields) - set(others)):
                        lines.append((f"{name}: {field}", f"{word} `{name}`: field `{field}` only {side}"))
    return [line for key, line in lines if key not in accepted]


def top_most(fields: set[str]) -> list[str]:
    """Return the fields without those that are inside another one of them."""
    inside = (".", "[", "<")
    return sorted(
        field
        for field in fields
        if not any(
            field != other and field.startswith(tuple(f"{other}{mark}" for mark in inside))
            for other in fields
        )
    )


def model_differences(
    listed: Sequence[ListedModel], catalogue: Mapping[str, object], today: dt.date
) -> list[str]:
    """Return what the live list of models says against ``data/models.json``.

    Args:
        listed: the live list.
        catalogue: what ``data/models.json`` holds.
        today: the day to count from.
    """
    live = {model.id: model for model in listed}
    default = str(catalogue["default"])
    lines = []
    if default not in live:
        lines.append(f"the default model `{default}` is not in the list of models")
    for row in catalogue["models"]:  # type: ignore[attr-defined]
        name, model = row["id"], live.get(row["id"])
        ours = dt.date.fromisoformat(row["shutdown_date"]) if row["shutdown_date"] else None
        if model is None:
            if name != default and (ours is None or ours > today):
                lines.append(f"`{name}` is in data/models.json and not in the list of models")
            continue
        if model.shutdown_date and model.shutdown_date != ours:
            lines.append(f"`{name}` ends on {model.shutdown_date}; data/models.json says {ours or 'nothing'}")
        if model.shutdown_date and 0 <= (model.shutdown_date - today).days <= SOON_DAYS:
            what = "the default model " if name == default else ""
            lines.append(f"{what}`{name}` ends on {model.shutdown_date}, within {SOON_DAYS} days")
    return lines


def price_differences(catalogue: Mapping[str, object], today: dt.date) -> list[str]:
    """Return whether the table of prices is too old to trust: no API tells prices, so a person compares them."""
    checked = dt.date.fromisoformat(str(catalogue["checked"]))
    age_days = (today - checked).days
    if age_days <= OLDEST_PRICES_DAYS:
        return []
    source = catalogue["sources"]["prices"]  # type: ignore[index]
    return [
        f"the prices in data/models.json were checked on {checked}, {age_days} days ago: compare them with {source}"
    ]


def sdk_differences(installed: str, tested: str, newest: str) -> list[str]:
    """Return whether the SDK moved on.

    Args:
        installed: what the notebooks ran with.
        tested: what constraints.txt pins.
        newest: the newest release on PyPI.
    """
    lines = []
    if installed != tested:
        lines.append(f"the notebooks ran on openai {installed}; constraints.txt pins {tested}")
    if newest != installed:
        lines.append(f"openai {newest} is out; requirements.txt allows {installed}")
    return lines


def failed_notebooks(run_log: str) -> list[str]:
    """Return the lines of ``start.py run`` about notebooks that failed or did not run."""
    return [
        f"`{redact(' '.join(line.split()))}`"
        for line in run_log.splitlines()
        if "  FAILED" in line or "  not run:" in line
    ]


def issue_text(sections: Mapping[str, Sequence[str]], today: dt.date) -> str:
    """Return the Markdown of the issue; empty if no section has a line."""
    if not any(sections.values()):
        return ""
    parts = [f"Found on {today} by the weekly live run. Each line is a difference to look at."]
    for title, lines in sections.items():
        if lines:
            more = [f"- … and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
            parts.append("\n".join([f"### {title}", "", *(f"- {line}" for line in lines[:SHOWN]), *more]))
    parts.append(
        "A difference that is meant to stay goes into `tests/data/accepted_differences.json`, with the reason."
    )
    return "\n\n".join(parts) + "\n"


def settle_issue(text: str, gh: Callable[[Sequence[str]], str]) -> str:
    """Open the issue, change the one that is open, or close it; return what was done.

    Args:
        text: its Markdown; empty if nothing differs.
        gh: runs GitHub's command line with these words and returns what it printed.
    """
    found = json.loads(gh(["issue", "list", "--state", "open", "--json", "number,title", "--limit", "500"]))
    numbers = [str(issue["number"]) for issue in found if issue["title"] == TITLE]
    if text and numbers:
        gh(["issue", "edit", numbers[0], "--body", text])
        return f"changed #{numbers[0]}"
    if text:
        gh(["issue", "create", "--title", TITLE, "--body", text])
        return "opened an issue"
    for number in numbers:
        gh(["issue", "close", number, "--comment", "Nothing differs any more."])
    return f"closed #{', #'.join(numbers)}" if numbers else "nothing to do"


# -- look-ups -------------------------------------------------------------------------------------------------------


def listed_models(client: openai.OpenAI) -> list[ListedModel]:
    """Ask the API for its models."""
    models = []
    for model in client.models.list():
        date = getattr(model, "shutdown_date", None)
        models.append(ListedModel(model.id, dt.date.fromisoformat(date) if date else None))
    return models


def newest_sdk() -> str:
    """Ask PyPI for the newest release of the SDK."""
    with urllib.request.urlopen(PYPI, timeout=30) as answer:
        return str(json.load(answer)["info"]["version"])


def run_gh(words: Sequence[str]) -> str:
    """Run GitHub's command line; it has its token and repository from the environment."""
    return subprocess.run(
        ["gh", *words], check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ).stdout


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.drift", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    comparer = commands.add_parser("compare", help="compare, and write the text of the issue")
    comparer.add_argument("live", type=Path, help="what was noted live")
    comparer.add_argument("recorded", type=Path, help="what was noted of the recorded API")
    comparer.add_argument("--run-log", type=Path, help="what `start.py run --live` printed")
    comparer.add_argument("--to", type=Path, help="where to write the issue; without it, it is only printed")
    settler = commands.add_parser("settle", help="open, change or close the issue on GitHub")
    settler.add_argument("issue", type=Path, help="its text; an empty file if nothing differs")
    options = parser.parse_args(arguments)
    if options.command == "settle":
        print(settle_issue(options.issue.read_text(encoding="utf-8"), run_gh))
        return 0
    return compare(options)


def compare(options: argparse.Namespace) -> int:
    """Look everything up, compare, and write and print the text of the issue."""
    today = dt.datetime.now(dt.UTC).date()
    catalogue = json.loads((DATA_FOLDER / "models.json").read_text(encoding="utf-8"))
    live, recorded = (
        json.loads(path.read_text(encoding="utf-8")) for path in (options.live, options.recorded)
    )
    run_log = options.run_log.read_text(encoding="utf-8") if options.run_log else ""
    tested = start.pinned_versions(start.ROOT / "constraints.txt")["openai"]
    client = connect("live")
    text = issue_text(
        {
            "Notebooks": failed_notebooks(run_log),
            "Events and fields": shape_differences(live, recorded, json.loads(ACCEPTED.read_text("utf-8"))),
            "Models": model_differences(listed_models(client), catalogue, today),
            "Prices": price_differences(catalogue, today),
            "SDK": sdk_differences(openai.__version__, tested, newest_sdk()),
        },
        today,
    )
    if options.to:
        options.to.write_text(text, encoding="utf-8")
    print(text or "Nothing differs.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
