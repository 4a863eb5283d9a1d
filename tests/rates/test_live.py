"""Rates kept fresh from sources over a socket, under a clock cranked by hand; and which rates the settings name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from perquery.config import ConfigError, RatesSetting, Settings
from perquery.errors import Unavailable
from perquery.outbound import Client
from perquery.rates.live import LiveRates, rates_from
from perquery.rates.rate import FixedRates, Rates
from tests.rates.markets import Markets, markets
from tests.topups.conftest import START_MS, Clock

DOLLAR = 10**9


def opened(
    settings: Settings, clock: Callable[[], int] = lambda: START_MS, client: Client | None = None, coin: str = "BTC"
) -> Rates:
    return rates_from(settings, [coin], client or Client(), clock)


def live(
    running: Markets, body: Callable[[LiveRates, Clock], Awaitable[None]], coin: str = "BTC", **changes: Any
) -> None:
    setting = RatesSetting(sources=tuple(running.prices), urls=running.urls(), **changes)

    async def main() -> None:
        clock, client = Clock(), Client()
        try:
            rates = opened(Settings(rates=setting), clock, client, coin)
            assert isinstance(rates, LiveRates)
            await body(rates, clock)
        finally:
            await client.close()

    asyncio.run(main())


def test_the_median_of_all_seven() -> None:
    async def body(rates: LiveRates, clock: Clock) -> None:
        with pytest.raises(Unavailable, match="0 of at least 2 sources"):
            rates.usd_nano_per_coin("BTC")
        await rates.refresh()
        assert rates.usd_nano_per_coin("BTC") == 64_003 * DOLLAR
        with pytest.raises(Unavailable):
            rates.usd_nano_per_coin("XMR")

    names = ("coinbase", "kraken", "bitstamp", "binance", "coingecko", "mempool", "btcpay")
    with markets(**{name: f"6400{place}" for place, name in enumerate(names)}) as running:
        live(running, body, btcpay_store="s1", btcpay_key="secret")
        assert sorted(running.asked) == sorted(names)
        assert running.authorization == "token secret"


@pytest.mark.parametrize(("kraken", "bitstamp", "worth"), [("1.004", "1.002", DOLLAR), ("0.95", "0.94", 945 * 10**6)])
def test_a_dollar_token_that_falls_costs_nobody_but_its_holder(kraken: str, bitstamp: str, worth: int) -> None:
    async def body(rates: LiveRates, clock: Clock) -> None:
        await rates.refresh()
        assert rates.usd_nano_per_coin("USDC") == worth

    with markets(kraken=kraken, bitstamp=bitstamp) as running:
        live(running, body, "USDC")


def test_a_source_that_fails_is_asked_more_rarely_and_grows_old() -> None:
    async def body(rates: LiveRates, clock: Clock) -> None:
        await rates.refresh()
        running.failing["kraken"] = (403, b"<html>forbidden</html>")
        asked = []
        for _ in range(10):
            clock.now_ms += 30_000
            running.asked.clear()
            await rates.refresh()
            asked.append(running.asked.count("kraken"))
        assert rates.usd_nano_per_coin("BTC") == 64_000 * DOLLAR  # its last word is 300 s old, and the last to count
        assert asked == [1, 0, 1, 0, 0, 0, 1, 0, 0, 0]
        clock.now_ms += 30_000
        await rates.refresh()
        with pytest.raises(Unavailable, match="1 of at least 2 sources have answered in the last 300 s") as caught:
            rates.usd_nano_per_coin("BTC")
        assert (caught.value.status, caught.value.code) == (503, "rate_unavailable")
        del running.failing["kraken"]
        clock.now_ms += 600_000
        await rates.refresh()
        assert rates.usd_nano_per_coin("BTC") == 64_000 * DOLLAR

    with markets(coinbase="64000", kraken="64000") as running:
        live(running, body)


def test_a_failure_is_logged_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    async def body(rates: LiveRates, clock: Clock) -> None:
        running.failing["kraken"] = (200, b'{"error":["EService:Unavailable"]}')
        for _ in range(3):
            await rates.refresh()
            clock.now_ms += 600_000
        running.failing.clear()
        await rates.refresh()

    with markets(coinbase="64000", kraken="64000") as running:
        live(running, body)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("perquery.rates")]
    assert said == [
        "exchange rates: kraken gives none: ValueError: EService:Unavailable",
        "exchange rates: kraken is back",
    ]


def test_a_source_that_is_down_and_one_that_has_drifted_change_nothing() -> None:
    async def body(rates: LiveRates, clock: Clock) -> None:
        await rates.refresh()
        assert rates.usd_nano_per_coin("BTC") == 64_005 * DOLLAR // 1

    with markets(coinbase="64000", kraken="64010", binance="80000", mempool="0") as running:
        live(running, body)


def test_the_loop_refreshes_at_once_and_ends_when_cancelled() -> None:
    async def body(rates: LiveRates, clock: Clock) -> None:
        loop = asyncio.create_task(rates.run())
        async with asyncio.timeout(30):
            while rates.standing("BTC").usd_nano is None:
                await asyncio.wait([loop], timeout=0.01)
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)

    with markets(coinbase="64000", kraken="64010") as running:
        live(running, body)


def test_the_sandbox_has_a_rate_of_its_own_and_asks_nobody() -> None:
    rates = opened(Settings(mode="sandbox"))
    assert isinstance(rates, FixedRates) and rates.usd_nano_per_coin("BTC") == 100_000 * DOLLAR
    asyncio.run(rates.run())


def test_a_written_rate_is_exact() -> None:
    settings = Settings(rates=RatesSetting(fixed={"BTC": Decimal("98765.123456789")}))
    assert opened(settings).usd_nano_per_coin("BTC") == 98_765_123_456_789


@pytest.mark.parametrize("rate", ["0", "-1", "0.0000000001"])
def test_a_rate_that_is_none_is_refused(rate: str) -> None:
    with pytest.raises(ConfigError, match=r"rates\.fixed\.BTC"):
        opened(Settings(rates=RatesSetting(fixed={"BTC": Decimal(rate)})))


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"sources": ("coinbase", "krakken")}, '"krakken" is not a source; known are coinbase, kraken'),
        ({"sources": ("coinbase", "btcpay")}, "btcpay needs rates.btcpay_store"),
        ({"sources": ("coinbase",)}, "2 must agree"),
        ({"urls": {"mtgox": "http://127.0.0.1"}}, '"mtgox" is not a source'),
        ({"spread": Decimal(1)}, r"rates\.spread: must be between 0 and 1"),
    ],
)
def test_wrong_settings_say_what_is_right(setting: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        opened(Settings(rates=RatesSetting(**setting)))
