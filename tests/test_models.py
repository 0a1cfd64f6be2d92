"""Model facts: prices to the digit, shutdown dates, the default."""

import datetime as dt

import pytest

from helpers import models


@pytest.fixture(autouse=True)
def _fixed_day(monkeypatch):
    monkeypatch.setenv("WORKSHOP_TODAY", "2026-11-23")
    monkeypatch.delenv("OPENAI_MODEL", raising=False)


def test_the_default_model_can_be_overridden(monkeypatch):
    assert models.default_model() == "gpt-6-luna"
    monkeypatch.setenv("OPENAI_MODEL", "gpt-6.1-terra")
    assert models.default_model() == "gpt-6.1-terra"
    monkeypatch.setenv("OPENAI_MODEL", "  ")
    assert models.default_model() == "gpt-6-luna"


def test_the_price_of_tokens_worked_by_hand():
    # 1,000,000 input tokens of which 400,000 cached: 0.6 x $0.10 + 0.4 x $0.01; 200,000 output: 0.2 x $0.50.
    price = models.token_price_usd(
        "gpt-6-luna", input_tokens=1_000_000, cached_tokens=400_000, output_tokens=200_000
    )
    assert price == pytest.approx(0.06 + 0.004 + 0.10)


def test_where_no_cached_price_is_stated_cached_tokens_cost_the_full_price():
    price = models.token_price_usd(
        "gpt-6.1-terra", input_tokens=1_000_000, cached_tokens=500_000, output_tokens=0
    )
    assert price == pytest.approx(1.00)


def test_an_unknown_price_is_none_and_not_zero():
    assert models.token_price_usd("gpt-5", input_tokens=10, cached_tokens=0, output_tokens=10) is None
    assert models.token_price_usd("who-knows", input_tokens=10, cached_tokens=0, output_tokens=10) is None


def test_a_dated_name_counts_as_its_undated_one():
    assert models.model_facts("gpt-4.1-mini-2025-04-14").id == "gpt-4.1-mini"
    assert models.model_facts("gpt-4o-2024-08-06").id == "gpt-4o"
    assert models.model_facts("gpt-6-lunatic") is None


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("gpt-4-turbo", "was shut down on 2026-10-23"),
        ("gpt-5-mini", "will be shut down on 2026-12-11. Use gpt-6.1-terra"),
        ("gpt-4o", "will be shut down on 2027-01-14"),
    ],
)
def test_a_model_near_or_past_its_end_gives_a_warning_with_a_replacement(model, words):
    assert words in models.shutdown_warning(model)


@pytest.mark.parametrize("model", ["gpt-6-luna", "gpt-5.1", "who-knows"])
def test_a_model_without_a_near_end_gives_none(model):
    assert models.shutdown_warning(model) is None


def test_what_the_server_announces_wins_over_the_table():
    assert "2026-12-01" in models.shutdown_warning("gpt-6-luna", "2026-12-01")
    assert models.shutdown_warning("gpt-5", "2030-01-01") is None


def test_the_table_leaves_out_what_is_retired_and_shows_every_column():
    table = models.model_table()
    names = [row.id for row in table.rows]
    assert "gpt-6-luna" in names
    assert "gpt-4-turbo" not in names
    assert "gpt-4-turbo" in [row.id for row in models.model_table(include_retired=True).rows]
    assert "| gpt-6-luna | 0.10 | 0.50 | yes | not announced |" in table._repr_markdown_()
    assert "gpt-5-nano" in repr(table)


def test_the_table_follows_the_day(monkeypatch):
    monkeypatch.setenv("WORKSHOP_TODAY", "2026-12-12")
    assert models.today() == dt.date(2026, 12, 12)
    assert "gpt-5" not in [row.id for row in models.model_table().rows]


def test_every_fact_has_a_source_and_every_replacement_is_a_known_living_model():
    catalogue = models._catalogue()
    sources = {*catalogue["sources"]}
    for row in catalogue["models"]:
        assert row["source"] in sources or row["source"].startswith("https://"), row["id"]
        if row["replacement"]:
            facts = models.model_facts(row["replacement"])
            assert facts is not None
            assert facts.shutdown_date is None
