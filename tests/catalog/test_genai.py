"""The price table compiled: units, tiers, dates and times of day, and what is left out."""

from __future__ import annotations

import sys
from datetime import date, time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.calls import Price
from perquery.catalog import genai
from tests.catalog.conftest import REVIEWED


def compiled(prices: Any, today: date = REVIEWED) -> Price | None:
    provider = {"id": "p", "models": [{"id": "m", "match": {}, "prices": prices}]}
    (row,) = genai.rows([provider], today)
    return row.price


def starting(day: str, usd: str) -> dict[str, Any]:
    return {"constraint": {"start_date": date.fromisoformat(day)}, "prices": priced(usd)}


def priced(usd: str) -> dict[str, Decimal]:
    return {"input_mtok": Decimal(usd), "output_mtok": Decimal(usd)}


def test_the_package_is_read_without_importing_it() -> None:
    before = "genai_prices" in sys.modules
    assert len(genai.records()) >= 40
    assert ("genai_prices" in sys.modules) == before


def test_the_table_holds_thousands_of_models() -> None:
    rows = list(genai.rows(genai.records(), REVIEWED))
    assert sum(row.price is not None for row in rows) > 1_500


def test_every_compiled_price_is_a_positive_integer() -> None:
    for row in genai.rows(genai.records(), REVIEWED):
        for _, table in row.price.tiers if row.price is not None else ():
            assert all(type(pico) is int and pico >= 0 for pico in table.values())
            assert table["input"] > 0 and table["output"] > 0


def test_units_are_scaled() -> None:
    price = compiled(
        priced("1.25")
        | {"cache_read_mtok": Decimal("0.125"), "web_searches_kcount": Decimal(10), "requests_kcount": Decimal(12)}
    )
    assert price == Price(
        (
            (
                0,
                {
                    "input": 1_250_000,
                    "output": 1_250_000,
                    "cache_read": 125_000,
                    "search": 10**10,
                    "request": 12 * 10**9,
                },
            ),
        )
    )


def test_a_price_finer_than_a_pico_dollar_rounds_up() -> None:
    price = compiled({"input_mtok": Decimal("0.0000001"), "output_mtok": Decimal(1)})
    assert price is not None and price.at(0)["input"] == 1


def test_their_tier_is_more_than_and_ours_is_from() -> None:
    tiered = {"base": Decimal(1), "tiers": [{"start": 200_000, "price": Decimal(2)}]}
    price = compiled({"input_mtok": tiered, "output_mtok": Decimal(5)})
    assert price is not None
    assert (price.at(200_000)["input"], price.at(200_001)["input"], price.at(200_001)["output"]) == (
        1_000_000,
        2_000_000,
        5_000_000,
    )


def test_a_write_price_below_the_input_comes_on_top_of_it() -> None:
    price = compiled(priced("0.30") | {"cache_write_mtok": Decimal("0.0833333333333333")})
    assert price is not None and price.at(0)["cache_write_5m"] == 383_334


@pytest.mark.parametrize("prices", [None, [], {}, {"input_mtok": Decimal(1)}, priced("0"), {"audio_hours": Decimal(1)}])
def test_without_a_price_for_both_directions_there_is_none(prices: Any) -> None:
    assert compiled(prices) is None


def test_unknown_price_keys_are_left_out() -> None:
    assert compiled(priced("1") | {"storage_searches_kcount": Decimal(3)}) == compiled(priced("1"))


@pytest.mark.parametrize(
    ("today", "usd"),
    [
        ("2026-01-01", 3),
        ("2026-06-14", 3),  # the cheaper one starts tomorrow: somewhere it may have begun, so both may apply
        ("2026-06-15", 3),
        ("2026-06-16", 2),
        ("2027-01-01", 2),
    ],
)
def test_a_dated_price_is_the_dearest_that_may_apply(today: str, usd: int) -> None:
    prices = [{"prices": priced("3")}, starting("2026-06-15", "2")]
    price = compiled(prices, date.fromisoformat(today))
    assert price is not None and price.at(0)["input"] == usd * 1_000_000


@pytest.mark.parametrize(("today", "usd"), [("2026-06-13", 2), ("2026-06-14", 3), ("2026-06-15", 3)])
def test_a_rise_applies_a_day_early(today: str, usd: int) -> None:
    prices = [{"prices": priced("2")}, starting("2026-06-15", "3")]
    price = compiled(prices, date.fromisoformat(today))
    assert price is not None and price.at(0)["input"] == usd * 1_000_000


def test_an_off_peak_discount_is_not_counted_on() -> None:
    night = {"constraint": {"start_time": time(16, 30), "end_time": time(0, 30)}, "prices": priced("1")}
    price = compiled([{"prices": priced("2")}, night])
    assert price is not None and price.at(0)["input"] == 2_000_000


def test_variants_for_batches_are_other_products() -> None:
    provider = {
        "id": "p",
        "models": [
            {"id": "m", "prices": priced("2"), "price_variants": [{"when": {"batch": "1"}, "prices": priced("1")}]}
        ],
    }
    (row,) = genai.rows([provider], REVIEWED)
    assert row.price is not None and row.price.at(0)["input"] == 2_000_000


def test_exact_names_are_collected_from_nested_clauses() -> None:
    clause = {"or": [{"equals": "a"}, {"starts_with": "b"}, {"or": [{"equals": "c"}]}]}
    (row,) = genai.rows([{"id": "p", "models": [{"id": "m", "match": clause, "prices": priced("1")}]}], REVIEWED)
    assert row.refs == ("a", "c")


def test_every_day_has_prices() -> None:
    dated = [record for record in genai.records() if record["id"] == "deepseek"]

    @given(st.dates(date(2024, 1, 1), date(2030, 1, 1)))
    def on_that_day(today: date) -> None:
        assert all(row.price is not None for row in genai.rows(dated, today))

    on_that_day()
