"""Containers for a person: what is inside, and a fresh one when the old one is gone."""

from __future__ import annotations

import pytest

from helpers.containers import (
    container_problem,
    fresh_container,
    session_price_usd,
    show_container,
    what_is_visible_where,
)
from helpers.errors import ConfigurationError, RunFailed, WorkshopError
from tests.test_downloads import BOX, ContainerServer, refusal


@pytest.fixture
def server() -> ContainerServer:
    return ContainerServer()


def test_what_is_inside(server: ContainerServer) -> None:
    server.put("cfile_1", "/mnt/data/log.csv", b"x" * 1_234, "user")
    server.put("cfile_2", "/mnt/data/<b>.png", b"x", "assistant")
    view = show_container(server.client(), BOX)
    text = repr(view)
    assert "/mnt/data/log.csv  1.2 kB  you" in text
    assert "the assistant's code" in text
    assert "20 minutes after its last use" in text
    assert "$0.03" in text
    assert "<b>.png" not in view._repr_html_()
    assert view.expires_at is not None
    assert view.expires_at.timestamp() == 1_000 + 20 * 60
    assert [file.size_bytes for file in view.files] == [1_234, 1]


def test_an_empty_one(server: ContainerServer) -> None:
    assert "There is no file in it." in repr(show_container(server.client(), BOX))


@pytest.mark.parametrize("gone", ["deleted", "expired"])
def test_looking_into_one_that_is_gone(server: ContainerServer, gone: str) -> None:
    if gone == "deleted":
        del server.boxes[BOX]
    else:
        server.boxes[BOX]["status"] = "expired"
    with pytest.raises(WorkshopError, match="expires after 20 minutes without use") as caught:
        show_container(server.client(), BOX)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_one_that_is_there_is_kept_and_gets_what_is_missing(
    server: ContainerServer, capsys: pytest.CaptureFixture[str]
) -> None:
    client = server.client()
    made = fresh_container(client, file_ids=["file-1"])
    again = fresh_container(client, made, file_ids=["file-1", "file-2"])
    assert again.id == made.id
    assert {path for path, *_ in server.files[made.id].values()} == {
        "/mnt/data/log.csv",
        "/mnt/data/script.py",
    }
    fresh_container(client, made.id, file_ids=["file-1", "file-2"])
    assert capsys.readouterr().out.splitlines() == [
        f"Made the container {made.id} with 1 file attached.",
        f"The container {made.id} is still there, and 1 file attached.",
        f"The container {made.id} is still there.",
    ]


@pytest.mark.parametrize("gone", ["deleted", "expired", "refused"])
def test_one_that_is_gone_is_replaced(
    server: ContainerServer, gone: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if gone == "deleted":
        del server.boxes[BOX]
    elif gone == "expired":
        server.boxes[BOX]["status"] = "expired"
    else:
        server.answers[f"GET /containers/{BOX}"] = refusal(400, f"Expected container_id: {BOX}")
    made = fresh_container(server.client(), BOX, file_ids=["file-1", "file-2"])
    assert made.id != BOX
    assert len(server.files[made.id]) == 2
    said = capsys.readouterr().out
    assert f"{BOX} is gone" in said
    assert "2 files attached again" in said
    assert "lost" in said


def test_other_errors_are_not_taken_for_an_expired_one(server: ContainerServer) -> None:
    server.answers[f"GET /containers/{BOX}"] = refusal(401, "Incorrect API key provided: sk-abcdef.")
    with pytest.raises(WorkshopError, match="does not accept this key"):
        fresh_container(server.client(), BOX)
    assert not any(route.startswith("POST") for route in server.requests)


def test_a_file_that_is_gone(server: ContainerServer) -> None:
    with pytest.raises(WorkshopError, match=r"file-9 is not there any more\. Upload it again"):
        fresh_container(server.client(), file_ids=["file-9"])
    with pytest.raises(WorkshopError, match="file-9 is not there any more"):
        fresh_container(server.client(), BOX, file_ids=["file-9"])


def test_arguments_that_cannot_work(server: ContainerServer) -> None:
    client = server.client()
    with pytest.raises(ConfigurationError, match="is a list"):
        fresh_container(client, file_ids="file-1")
    with pytest.raises(ConfigurationError, match="ids of uploaded files"):
        fresh_container(client, file_ids=["log.csv"])
    with pytest.raises(ConfigurationError, match="1g, 4g, 16g, 64g"):
        fresh_container(client, memory_limit="2g")
    with pytest.raises(ConfigurationError, match="cntr_"):
        show_container(client, "file-1")
    assert server.requests == []


def test_the_sentence_for_a_thread_that_remembers_an_expired_container() -> None:
    said = container_problem(RunFailed("The API refused the request: Expected container_id: cntr_9."))
    assert said.startswith("The container cntr_9 is gone")
    assert "new conversation" in said
    assert container_problem(RunFailed("The model gpt-9 does not exist.")) == ""


def test_prices() -> None:
    assert [session_price_usd(size) for size in ("1g", "4g", "16g", "64g")] == [0.03, 0.12, 0.48, 1.92]
    with pytest.raises(ConfigurationError):
        session_price_usd("2g")


def test_what_is_visible_where() -> None:
    table = what_is_visible_where()
    assert len(table.rows) == 5
    assert "20 minutes without use" in repr(table)
