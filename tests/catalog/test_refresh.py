"""Refreshing prices: what changed is told, what jumps is refused, and only a written file changes the next build."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from perquery import catalog, config, money
from perquery.catalog import genai, refresh
from perquery.catalog.refresh import FILE, Change, Refresh
from tests.catalog.conftest import REVIEWED


def published(**usd: str) -> bytes:
    """A published table with one model of openrouter: gpt-4o, or another `id`."""
    model = usd.pop("id", "openai/gpt-4o")
    prices: dict[str, Any] = {f"{unit}_mtok": money.decimal(price) for unit, price in usd.items()}
    plain = {key: money.number(money.scaled(price, 9)) for key, price in prices.items()}
    return money.json([{"id": "openrouter", "models": [{"id": model, "name": "X", "match": {}, "prices": plain}]}])


def refreshing(data: Path, page: bytes) -> Refresh:
    async def fetch(url: str) -> bytes:
        assert url.startswith("https://")
        return page

    return asyncio.run(refresh.fetched(fetch, data, REVIEWED))


def gpt_4o(data: Path) -> int:
    made = catalog.build(config.Settings(data=data), ["openrouter"], today=REVIEWED)
    return made.models["openai/gpt-4o"].routes[0].price.at(0)["input"]


def test_a_change_within_the_band_is_told_and_waits_for_the_write(tmp_path: Path) -> None:
    found = refreshing(tmp_path, published(input="5", output="20", cache_read="1.25"))
    assert [(each.unit, each.before, each.after, each.applied) for each in found.changes] == [
        ("input", 2_500_000, 5_000_000, True),
        ("output", 10_000_000, 20_000_000, True),
    ]
    assert gpt_4o(tmp_path) == 2_500_000
    found.write(tmp_path)
    assert gpt_4o(tmp_path) == 5_000_000


def test_the_version_says_that_prices_were_refreshed(tmp_path: Path) -> None:
    refreshing(tmp_path, published(input="5", output="20")).write(tmp_path)
    made = catalog.build(config.Settings(data=tmp_path), ["openrouter"], today=REVIEWED)
    assert made.models["openai/gpt-4o"].routes[0].price.version.endswith("refreshed 2026-11-23")


@pytest.mark.parametrize(("usd_in", "usd_out"), [("7.51", "10"), ("0.83", "10"), ("2.5", "31"), ("25", "100")])
def test_a_jump_beyond_the_band_is_refused_as_a_whole(tmp_path: Path, usd_in: str, usd_out: str) -> None:
    found = refreshing(tmp_path, published(input=usd_in, output=usd_out, cache_read="1.25"))
    assert found.changes and not any(each.applied for each in found.changes)
    found.write(tmp_path)
    assert gpt_4o(tmp_path) == 2_500_000


def test_a_price_that_vanishes_is_refused(tmp_path: Path) -> None:
    found = refreshing(tmp_path, published(input="2.5", output="10"))
    assert [(each.unit, each.after, each.applied) for each in found.changes] == [("cache_read", None, False)]


def test_a_new_model_is_admitted(tmp_path: Path) -> None:
    found = refreshing(tmp_path, published(id="openai/gpt-99", input="1", output="2"))
    assert all(each.before is None and each.applied for each in found.changes)
    found.write(tmp_path)
    made = catalog.build(config.Settings(data=tmp_path), ["openrouter"], today=REVIEWED)
    assert made.find("gpt-99", REVIEWED).model.price.at(0) == {"input": 1_000_000, "output": 2_000_000}


def test_a_second_refresh_compares_with_the_first_and_keeps_it(tmp_path: Path) -> None:
    refreshing(tmp_path, published(input="5", output="20", cache_read="1.25")).write(tmp_path)
    again = refreshing(tmp_path, published(input="50", output="20", cache_read="1.25"))
    again.write(tmp_path)
    assert not any(each.applied for each in again.changes)
    assert gpt_4o(tmp_path) == 5_000_000


def test_the_packages_own_table_changes_nothing(tmp_path: Path) -> None:
    rows = [row for row in genai.rows(genai.records(), REVIEWED) if row.price is not None]
    assert all(list(refresh.differences(row, row)) == [] for row in rows)


def test_the_overlay_wins_over_refreshed_prices(tmp_path: Path) -> None:
    page = money.json(
        [
            {
                "id": "mistral",
                "models": [
                    {"id": "mistral-large-4", "name": "X", "match": {}, "prices": {"input_mtok": 1, "output_mtok": 3}}
                ],
            }
        ]
    )
    refreshing(tmp_path, page).write(tmp_path)
    made = catalog.build(config.Settings(data=tmp_path), ["mistral"], today=REVIEWED)
    assert made.models["mistralai/mistral-large-4-0"].routes[0].price.at(0)["input"] == 1_360_000


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (Change("p", "m", "input", 0, 2_500_000, 5_000_000, True), "p m input: 2.5 → 5"),
        (Change("p", "m", "input", 0, None, 5_000_000, True), "p m input: none → 5"),
        (
            Change("p", "m", "output", 200_001, 1_000_000, None, False),
            "p m output from 200001 tokens: 1 → none (refused: beyond a factor of 3)",
        ),
    ],
)
def test_a_change_says_itself_in_dollars(change: Change, text: str) -> None:
    assert str(change) == text


@pytest.mark.parametrize(
    "page", [b"", b"not json", b"{}", b"[]", b'[{"id":"x"}]', b'[{"id":"x","models":[{}]}]', b"[1]", b"null"]
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path, page: bytes) -> None:
    with pytest.raises(ValueError):
        refreshing(tmp_path, page)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"as_of":"2026-11-23","rows":[{"provider":"openrouter","model":"openai/gpt-4o","tiers":[[0,{"input":0.5}]]}]}',
        b'{"as_of":"2026-11-23","rows":[{"provider":"openrouter","model":"openai/gpt-4o","tiers":[[0,{"input":-1}]]}]}',
        b'{"as_of":"2026-11-23","rows":[{"provider":"openrouter","model":"openai/gpt-4o","tiers":[]}]}',
        b'{"as_of":"yesterday","rows":[]}',
    ],
)
def test_a_damaged_file_stops_the_build(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        gpt_4o(tmp_path)
