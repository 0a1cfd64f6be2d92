"""connect(): which mode, which key, what is said, and that a key goes nowhere else."""

import asyncio
import os
import subprocess
import sys
import types
from pathlib import Path

import openai
import pytest

from helpers import (
    ConfigurationError,
    SpendLimitReached,
    cleanup,
    connect,
    connection,
    current_mode,
    errors,
    ledger_of,
    run_summary,
)
from helpers.connection import asynchronous
from helpers.local_api.serving import serving

KEY = "sk-planted-0123456789abcdef"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch, tmp_path):
    for name in (
        "OPENAI_API_KEY",
        "OPENAI_MODEL",
        "OPENAI_BASE_URL",
        "WORKSHOP_API",
        "WORKSHOP_LIMIT_USD",
        "WORKSHOP_RECORD_TO",
        "WORKSHOP_RECORDINGS",
        "JPY_SESSION_NAME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(connection, "_all_captures", {})
    monkeypatch.setenv("WORKSHOP_TODAY", "2026-11-23")
    monkeypatch.chdir(tmp_path)
    # A developer's own .env in the project's root has no part in these tests.
    monkeypatch.setattr(connection, "__file__", str(tmp_path / "helpers" / "connection.py"))
    # Put back afterwards, so that a live client made here decides nothing in other tests.
    monkeypatch.setattr(connection, "_latest_mode", None)


@pytest.fixture
def unchecked(monkeypatch):
    """Live clients that ask no server: the check of the model is noted instead."""
    asked = []
    monkeypatch.setattr(connection, "_check_model", asked.append)
    return asked


def test_without_a_key_it_is_recorded_and_says_how_to_go_live(capsys):
    client = connect()
    assert type(client) is openai.OpenAI
    assert capsys.readouterr().out == (
        f"recorded · no key found, nothing will be spent · gpt-6-luna · openai {openai.__version__}\n"
        "To go live: put OPENAI_API_KEY in .env (or in Colab's secrets) and run this cell again.\n"
    )
    assert client.models.retrieve("gpt-6-luna").id == "gpt-6-luna"


def test_asking_for_recorded_wins_over_a_key(monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    client = connect("recorded")
    assert client.api_key != KEY
    assert capsys.readouterr().out.startswith("recorded · you asked for it")
    monkeypatch.setenv("WORKSHOP_API", "recorded")
    assert connect().api_key != KEY
    assert "recorded · WORKSHOP_API says so, your key is not used" in capsys.readouterr().out
    monkeypatch.delenv("OPENAI_API_KEY")
    connect()
    assert "recorded · no key found" in capsys.readouterr().out


def test_the_order_of_keys_is_environment_then_dotenv_then_colab(monkeypatch, capsys, tmp_path, unchecked):
    colab = types.ModuleType("google.colab")
    colab.userdata = types.SimpleNamespace(get=lambda name: f" {KEY}-colab \n")
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    assert connect().api_key == f"{KEY}-colab"
    assert "key from Colab's secrets" in capsys.readouterr().out
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY='{KEY}-file'\n")
    assert connect().api_key == f"{KEY}-file"
    assert "key from .env" in capsys.readouterr().out
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}-environment")
    assert connect().api_key == f"{KEY}-environment"
    said = capsys.readouterr().out
    assert "key from the environment" in said
    assert "sk-planted" not in said


@pytest.mark.parametrize("mode", ["live", "recorded"])
def test_a_key_from_dotenv_is_taken_out_of_what_is_shown(mode, tmp_path, monkeypatch, unchecked):
    monkeypatch.setattr(errors, "_SECRETS", errors._Secrets())
    (tmp_path / ".env").write_text("OPENAI_API_KEY=opaque-token-of-a-proxy\n")
    connect(mode)
    assert errors.redact("It is opaque-token-of-a-proxy.") == "It is [key]."


def test_a_key_that_was_typed_is_taken_out_of_what_is_shown(monkeypatch, unchecked):
    monkeypatch.setattr(errors, "_SECRETS", errors._Secrets())
    monkeypatch.setattr(connection, "_can_type", lambda: True)
    monkeypatch.setattr("getpass.getpass", lambda prompt: "typed-token-of-a-proxy")
    connect("live", ask=True)
    assert errors.redact("It is typed-token-of-a-proxy.") == "It is [key]."


def test_a_key_from_dotenv_stays_out_of_the_environment(tmp_path, unchecked):
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={KEY}\nOPENAI_MODEL=gpt-6.1-terra\n")
    connect()
    assert KEY not in os.environ.values()
    assert os.environ["OPENAI_MODEL"] == "gpt-6.1-terra"
    del os.environ["OPENAI_MODEL"]


@pytest.mark.parametrize("error", [RuntimeError("timed out"), PermissionError("no access"), Exception("odd")])
def test_a_colab_secret_that_cannot_be_read_means_recorded(monkeypatch, capsys, error):
    def get(name):
        raise error

    colab = types.ModuleType("google.colab")
    colab.userdata = types.SimpleNamespace(get=get)
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    connect()
    said = capsys.readouterr().out
    assert f"could not be read ({type(error).__name__})" in said
    assert "recorded · no key found" in said


def test_an_empty_line_in_dotenv_is_no_key(tmp_path, capsys):
    (tmp_path / ".env").write_text("OPENAI_API_KEY=\n")
    connect()
    assert "no key found" in capsys.readouterr().out


def test_a_prompt_only_when_asked_for_and_somebody_can_type(monkeypatch, capsys, unchecked):
    monkeypatch.setattr("getpass.getpass", lambda prompt: KEY)
    monkeypatch.setattr(connection, "_can_type", lambda: True)
    connect()
    assert "no key found" in capsys.readouterr().out
    assert connect(ask=True).api_key == KEY
    said = capsys.readouterr().out
    assert "what you typed" in said
    assert KEY not in said
    monkeypatch.setattr(connection, "_can_type", lambda: False)
    connect(ask=True)
    assert "no key found" in capsys.readouterr().out


# -- recording ------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    """A local API behind a socket, in the place of the live one; ``ask`` sends one question through a client."""
    recordings = tmp_path / "authored"
    recordings.mkdir()
    (recordings / "a.yaml").write_text(
        "source: authored\nexchanges:\n  - ask: What is a token?\n    steps:\n      - say: A piece of text.\n"
    )
    with serving(recordings=recordings) as address:
        yield address


def test_recording_is_live_and_writes_what_the_model_answers(monkeypatch, capsys, tmp_path, server):
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    monkeypatch.setenv("OPENAI_BASE_URL", server)
    monkeypatch.setenv("WORKSHOP_RECORD_TO", str(tmp_path / "mine" / "answers.yaml"))
    client = connect("record", limit_usd=0.5)
    assert capsys.readouterr().out == (
        "recording · key from .env, server 127.0.0.1, stops at $0.50, writes to "
        f"{Path('mine', 'answers.yaml')} · gpt-6-luna · openai {openai.__version__}\n"
    )
    assert client.api_key == KEY
    with client.responses.create(model="gpt-6-luna", input="What is a token?", stream=True) as stream:
        assert "response.completed" in [event.type for event in stream]
    text = (tmp_path / "mine" / "answers.yaml").read_text(encoding="utf-8")
    assert "A piece of text." in text
    assert KEY not in text
    (capture,) = [each for each in run_summary()["captures"] if each["path"].endswith("answers.yaml")]
    assert (capture["recorded"], capture["not_recorded"], capture["trouble"]) == (1, [], "")
    assert any(each.startswith("response resp_") for each in run_summary()["left"])
    cleanup(client)
    client.close()


def test_a_second_connect_and_every_twin_of_a_client_record_to_the_same_file(
    monkeypatch, capsys, tmp_path, server
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server)
    monkeypatch.setenv("WORKSHOP_API", "record")
    monkeypatch.setenv("WORKSHOP_RECORDINGS", str(tmp_path / "recordings"))
    question = {"model": "gpt-6-luna", "input": "What is a token?"}
    with connect() as client:
        client.responses.create(**question)

    async def ask(client):
        async with asynchronous(client) as twin:
            await twin.responses.create(**question, instructions="Be brief.")

    with connect() as client:
        asyncio.run(ask(client))
    (path,) = (tmp_path / "recordings" / "captured").glob("session-*.yaml")
    assert path.read_text(encoding="utf-8").count("A piece of text.") == 2
    assert capsys.readouterr().out.count(f"writes to {path.relative_to(tmp_path)}") == 2
    with connect("live") as client:
        client.responses.create(**question, instructions="Not recorded.")
    assert "Not recorded." not in path.read_text(encoding="utf-8")


def test_a_file_that_cannot_be_recorded_to_is_told_before_anything_is_spent(monkeypatch, tmp_path, unchecked):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("WORKSHOP_RECORD_TO", str(tmp_path / "answers.txt"))
    with pytest.raises(ConfigurationError, match=r"name a file that ends in \.yaml"):
        connect("record")
    assert unchecked == []


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (("record",), {}, "Recording needs a key"),
        ((), {"WORKSHOP_API": "record"}, "Recording needs a key"),
        (("live",), {}, "Live mode needs a key"),
        ((), {"WORKSHOP_API": "live"}, "Live mode needs a key"),
        (("local",), {}, "not built yet"),
        ((), {"WORKSHOP_API": "local"}, "not built yet"),
        (("cloud",), {}, "Unknown mode 'cloud'"),
        (("",), {}, "Unknown mode ''"),
        ((), {"WORKSHOP_API": "cloud"}, "Unknown WORKSHOP_API 'cloud'"),
        ((), {"OPENAI_API_KEY": "sk-planted 0123"}, "holds a space"),
        ((), {"OPENAI_API_KEY": "sk-plänted"}, "a character that no key has"),
        ((None, 0), {}, "above 0"),
        ((None, -1), {}, "above 0"),
        ((None, "0.5"), {}, "limit_usd must be a number"),
        ((None, float("nan")), {}, "limit_usd must be a number"),
        ((), {"WORKSHOP_LIMIT_USD": "much"}, "WORKSHOP_LIMIT_USD must be a number"),
        ((None, 0.5), {"OPENAI_API_KEY": KEY, "OPENAI_MODEL": "who-knows"}, "limit_usd could not be kept"),
        ((), {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "nonsense"}, "OPENAI_BASE_URL is not an address"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(monkeypatch, arguments, environment, sentence):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=sentence) as caught:
        connect(*arguments)
    assert "sk-pl" not in str(caught.value)


def test_another_server_is_named_without_what_a_person_put_before_the_at_sign(monkeypatch, capsys, unchecked):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://me:hunter2@api.example.com/v1")
    client = connect(limit_usd=0.5)
    said = capsys.readouterr().out
    assert "server api.example.com" in said
    assert "stops at $0.50" in said
    assert "hunter2" not in said
    assert str(client.base_url).startswith("https://me:hunter2@api.example.com/v1")


def test_the_limit_of_a_headless_run_comes_from_the_environment(monkeypatch, capsys, unchecked):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("WORKSHOP_LIMIT_USD", "0.25")
    connect()
    assert "stops at $0.25" in capsys.readouterr().out
    connect(limit_usd=0.5)
    assert "stops at $0.50" in capsys.readouterr().out


def test_a_live_client_keeps_the_proxies_of_the_environment(monkeypatch, unchecked):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    client = connect()
    mounted = [str(pattern.pattern) for pattern in client._client._mounts]
    assert "https://" in mounted


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (
            {"OPENAI_MODEL": "gpt-5-mini"},
            "Warning: The model gpt-5-mini will be shut down on 2026-12-11. Use gpt-6.1-terra",
        ),
        (
            {"OPENAI_MODEL": "gpt-4-turbo"},
            "Warning: The model gpt-4-turbo was shut down on 2026-10-23. Use gpt-6.1-sol",
        ),
        ({"OPENAI_MODEL": "gpt-6-lunar"}, "helpers.model_table()"),
    ],
)
def test_a_retired_or_misspelt_model_is_told_at_once(monkeypatch, capsys, environment, words):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    connect()
    assert words in capsys.readouterr().out


def test_no_network_is_told_at_once_and_the_next_cell_can_go_on(monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    connect()
    said = capsys.readouterr().out
    assert said.startswith("live · key from the environment, server 127.0.0.1")
    assert "Warning: There is no connection to OpenAI." in said
    assert connect("recorded").models.retrieve("gpt-6-luna").id == "gpt-6-luna"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WORKSHOP_PACE", "brisk", "WORKSHOP_PACE"),
        ("WORKSHOP_STATE", "/dev/null/here/state.db", "WORKSHOP_STATE"),
    ],
)
def test_a_setting_of_the_recorded_api_that_cannot_work_is_one_sentence(name, value, words, tmp_path):
    code = "from helpers import connect, ConfigurationError\ntry: connect('recorded')\nexcept ConfigurationError as e: print(e)"
    environment = {**os.environ, name: value, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert words in ran.stdout
    assert "Traceback" not in ran.stderr
    assert len(ran.stdout.splitlines()) == 1


def test_an_asynchronous_client_works_the_same(capsys):
    client = connect(asynchronous=True)

    async def main():
        return (await client.conversations.create()).id

    conversation_id = asyncio.run(main())
    assert conversation_id.startswith("conv_")
    capsys.readouterr()
    report = cleanup(client)
    assert conversation_id in [entry.id for entry in report.deleted]


@pytest.mark.parametrize(
    ("environment", "dotenv", "mode"),
    [
        ({}, "", "recorded"),
        ({"OPENAI_API_KEY": KEY}, "", "live"),
        ({}, f"OPENAI_API_KEY={KEY}", "live"),
        ({"OPENAI_API_KEY": KEY, "WORKSHOP_API": "recorded"}, "", "recorded"),
        ({"OPENAI_API_KEY": KEY, "WORKSHOP_API": " Live "}, "", "live"),
        ({"OPENAI_API_KEY": KEY}, "WORKSHOP_API=recorded", "recorded"),
        ({"OPENAI_API_KEY": KEY, "WORKSHOP_API": ""}, "WORKSHOP_API=recorded", "live"),
    ],
)
def test_before_connecting_the_mode_is_the_one_that_connect_would_choose(
    monkeypatch, capsys, tmp_path, unchecked, environment, dotenv, mode
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".env").write_text(dotenv)
    before = dict(os.environ)
    assert current_mode() == mode
    assert dict(os.environ) == before
    assert capsys.readouterr().out == ""
    connect()
    assert capsys.readouterr().out.startswith(mode)
    assert current_mode() == mode


@pytest.mark.parametrize(
    "environment",
    [{"WORKSHOP_API": "live"}, {"WORKSHOP_API": "sometimes"}, {"OPENAI_API_KEY": "sk-with a space"}],
)
def test_a_setting_that_connect_refuses_counts_as_recorded(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert current_mode() == "recorded"
    with pytest.raises(ConfigurationError):
        connect()


def test_the_mode_is_that_of_the_last_client(monkeypatch, unchecked):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    connect("recorded")
    assert current_mode() == "recorded"
    live = connect(asynchronous=True)
    assert current_mode() == "live"
    connect("recorded", asynchronous=True)
    assert current_mode() == "recorded"
    # A client that is made for another one is not somebody's choice.
    connection.synchronous(live)
    assert current_mode() == "recorded"
    with pytest.raises(ConfigurationError):
        connect("local")
    assert current_mode() == "recorded"


def test_asking_for_the_mode_opens_no_dialogue_in_colab(monkeypatch, capsys):
    colab = types.ModuleType("google.colab")
    colab.userdata = types.SimpleNamespace(get=lambda name: pytest.fail("Colab was asked for a secret"))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    assert current_mode() == "recorded"


@pytest.mark.parametrize("kind", [False, True], ids=["from a synchronous one", "from an asynchronous one"])
def test_an_asynchronous_twin_works_on_the_same_account(kind, capsys):
    client = connect("recorded", asynchronous=kind)

    async def main():
        async with connection.asynchronous(client) as twin:
            assert twin is not client
            assert type(twin) is openai.AsyncOpenAI
            return (await twin.conversations.create()).id

    conversation_id = asyncio.run(main())
    assert ledger_of(client).has(conversation_id)


def test_a_twin_of_a_live_client_has_its_settings_and_one_limit_with_it(monkeypatch, unchecked):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    client = connect(limit_usd=0.5).with_options(timeout=7, max_retries=0)
    client.project = "proj_1"
    twin = connection.asynchronous(client)
    assert (twin.api_key, twin.base_url, twin.timeout, twin.max_retries, twin.project) == (
        KEY,
        client.base_url,
        7,
        0,
        "proj_1",
    )
    ledger_of(client).meter.price_usd += 1
    with pytest.raises(SpendLimitReached, match=r"The limit of \$0\.50 is used up"):
        asyncio.run(twin.responses.create(model="gpt-6-luna", input="Hi"))
    again = connection.synchronous(twin)
    with pytest.raises(SpendLimitReached):
        again.responses.create(model="gpt-6-luna", input="Hi")


def test_only_a_client_has_a_twin():
    for make in (connection.asynchronous, connection.synchronous):
        with pytest.raises(ConfigurationError, match="must be the client that connect"):
            make("sk-key")


def test_the_key_is_in_nothing_that_is_shown(monkeypatch, capsys, unchecked):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    client = connect()
    assert KEY not in repr(client)
    assert KEY not in repr(connection._Key(KEY, ".env"))
    assert KEY not in str(run_summary())
    assert KEY not in capsys.readouterr().out


def test_importing_the_helpers_opens_no_client_and_loads_no_heavy_package():
    code = (
        "import sys, helpers; "
        "heavy = {'openai', 'yaml', 'IPython', 'ipywidgets', 'matplotlib', 'httpx2', 'helpers.local_api'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_a_name_that_helpers_does_not_have_lists_those_that_it_has():
    import helpers

    with pytest.raises(AttributeError, match="connect"):
        helpers.conect  # noqa: B018
    assert "stream_run" in dir(helpers)
