"""What holds for every pytest run of this repository: recorded mode, and which groups of tests this machine can run.

It is in the root, because ``pytest --nbmake notebooks`` must be recorded as well and never reads tests/. Here live the
forced settings, the options ``--live`` and ``--left-out``, and the fixture ``chromium``. Not here: the isolation from
the network (start.py and tests/isolation).
"""

from __future__ import annotations

import importlib.metadata
import os

import pytest
from nbclient import NotebookClient

import start

# A graceful shutdown of a kernel now and then waits for seconds; nothing here needs a kernel to say goodbye.
NotebookClient.shutdown_kernel.default_value = "immediate"

GROUPS = ("browser", "netns", "pinned", "install", "node")
# What installs packages only runs when somebody asks for it.
ON_REQUEST = {
    "install": "minutes long, and needs a package index: pytest -m install",
    "node": "needs npm and its registry: pytest -m node",
}
# How start.py isolated this run, where the browser tests leave their pictures, and how much a live run may spend.
KEPT_SETTINGS = ("WORKSHOP_NETWORK", "WORKSHOP_PICTURES", "WORKSHOP_LIMIT_USD")
LEFT_OUT = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--live`` and ``--left-out``."""
    parser.addoption(
        "--live", action="store_true", help="run on OpenAI with the key that is found; without it, recorded"
    )
    parser.addoption(
        "--left-out",
        metavar="GROUPS",
        help="groups of tests to leave out, with commas; without it, those that this machine cannot run",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Force recorded mode and strictness, or with ``--live`` the live mode."""
    # Settings of the person who runs the tests must not change what is tested. Kernels inherit all of this.
    for name in list(os.environ):
        if name.upper().startswith("WORKSHOP_") and name.upper() not in KEPT_SETTINGS:
            del os.environ[name]
    if config.getoption("--live"):
        os.environ["WORKSHOP_API"] = "live"  # without a key this is refused, and never recorded by accident
        return
    recorded = start.recorded_environment(os.environ)
    os.environ.clear()
    os.environ.update(recorded)
    os.environ["WORKSHOP_STRICT"] = "1"
    # What tests make is gone with them, and no line about it belongs into a person's home.
    os.environ["WORKSHOP_JOURNAL"] = "off"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out the groups that cannot run here. They are named at the end, so that nobody takes them for passed."""
    wanted = {name for name in GROUPS if any(item.get_closest_marker(name) for item in items)}
    left_out = groups_to_leave_out(config, wanted) if wanted else {}
    config.stash[LEFT_OUT] = left_out
    out = [item for item in items if any(item.get_closest_marker(name) for name in left_out)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]


def groups_to_leave_out(config: pytest.Config, wanted: set[str]) -> dict[str, str]:
    """Return the groups to leave out among ``wanted``, each with the reason."""
    named = config.getoption("--left-out")
    if named is not None:
        return {name: "start.py leaves it out" for name in named.split(",") if name in wanted}
    found = {name: group.why for name, group in start.missing_groups(start.Project()).items()}
    if "pinned" in wanted and "pinned" not in found:
        why = start.why_not_pinned(installed_version)
        if why is not None:
            found["pinned"] = why.why
    for name, why in ON_REQUEST.items():
        if name not in config.option.markexpr:
            found.setdefault(name, why)
    return {name: why for name, why in found.items() if name in wanted}


def installed_version(name: str) -> str | None:
    """Return the version of an installed package; ``None`` if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the groups that were left out, with the reason."""
    for name, why in config.stash.get(LEFT_OUT, {}).items():
        terminalreporter.write_line(f"left out: {name} ({why})")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of an installed Chromium; for tests with the mark ``browser``."""
    found = start.find_chromium()
    assert found, "a test with the mark `browser` ran although there is no Chromium here"
    return found
