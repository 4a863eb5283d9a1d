"""Rates of the market: several sources asked in the background, the median of what they said lately.

Whoever wants a rate is answered from memory and never waits for a source. It must never give a rate that fewer
sources than configured stand behind, nor one that is too old.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from types import MappingProxyType

from perquery import money
from perquery.config import ConfigError, RatesSetting, Settings
from perquery.outbound import Client, OutboundError
from perquery.rates.median import Agreed, Quote, Rules, agreed
from perquery.rates.rate import SANDBOX_USD_PER_BTC, FixedRates, Rates, pegged, unavailable
from perquery.rates.sources import SOURCES, Source, btcpay

TIMEOUT_S = 10.0
_ANSWER_BYTES_MAX = 256 * 1024
_BACK_OFF_MAX_S = 600
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Asking:
    """One source's side: when it is due again, and how often in a row it has failed."""

    source: Source
    headers: Mapping[str, str]
    due_ms: int = 0
    failures: int = 0


class LiveRates:
    """coins: those that are kept fresh. fixed: nano-USD for others, which the operator wrote down. clock:
    milliseconds.
    """

    def __init__(
        self,
        sources: Sequence[tuple[Source, Mapping[str, str]]],
        setting: RatesSetting,
        coins: Sequence[str],
        client: Client,
        clock: Callable[[], int],
        fixed: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._fixed = fixed
        self._asking = [_Asking(source, headers) for source, headers in sources]
        self._rules = Rules(setting.least_sources, setting.max_age_s * 1000, money.ratio(setting.spread))
        self._refresh_s = setting.refresh_s
        self._coins = coins
        self._client = client
        self._clock = clock
        self._quotes: dict[tuple[str, str], Quote] = {}

    def usd_nano_per_coin(self, coin: str) -> int:
        found = self.standing(coin)
        if found.usd_nano is None:
            raise unavailable(coin, found.why)
        return found.usd_nano

    def standing(self, coin: str) -> Agreed:
        """The rate as it stands, and what it is made of."""
        if coin in self._fixed:
            return Agreed(self._fixed[coin], "", ())
        quotes = [quote for (name, _), quote in self._quotes.items() if name == coin]
        found = agreed(quotes, self._clock(), self._rules)
        return found if found.usd_nano is None else replace(found, usd_nano=pegged(coin, found.usd_nano))

    async def run(self) -> None:
        while True:
            try:
                await self.refresh()
            except Exception:
                _log.exception("a round of exchange rates failed; trying again")
            await asyncio.sleep(self._refresh_s)

    async def refresh(self) -> None:
        """Ask all sources that are due, at once."""
        now = self._clock()
        await asyncio.gather(*(self._ask(asking) for asking in self._asking if asking.due_ms <= now))

    async def _ask(self, asking: _Asking) -> None:
        """All coins of one source. A source that fails is asked more and more rarely; its last word grows old."""
        source = asking.source
        try:
            for coin in self._coins:
                if coin in source.markets:
                    self._quotes[coin, source.name] = await self._quote(asking, coin)
        except (OutboundError, ValueError, LookupError, TypeError) as error:
            if not asking.failures:
                _log.warning("exchange rates: %s gives none: %s: %s", source.name, type(error).__name__, error)
            asking.failures += 1
            pause_s = min(self._refresh_s * 2**asking.failures, _BACK_OFF_MAX_S)
        else:
            if asking.failures:
                _log.warning("exchange rates: %s is back", source.name)
            asking.failures = 0
            pause_s = max(source.least_s, self._refresh_s) / 2  # a round that comes a little early is not missed
        asking.due_ms = self._clock() + round(pause_s * 1000)

    async def _quote(self, asking: _Asking, coin: str) -> Quote:
        asked_ms, source = self._clock(), asking.source
        async with await self._client.request(
            "GET",
            source.url(coin),
            headers={"accept": "application/json", "user-agent": "perquery", **asking.headers},
            timeout_s=TIMEOUT_S,
            idle_timeout_s=TIMEOUT_S,
        ) as response:
            body = await response.read(_ANSWER_BYTES_MAX)
        if response.status != 200:
            raise ValueError(f"it answered {response.status}")
        return Quote(source.name, source.usd_nano(body, coin), asked_ms)


def rates_from(settings: Settings, coins: Sequence[str], client: Client, clock: Callable[[], int]) -> Rates:
    """The operator's fixed rates, the sandbox's, the market's for the rest. Raises ConfigError."""
    fixed = {coin.upper(): _written(coin, usd) for coin, usd in settings.rates.fixed.items()}
    if settings.sandbox:
        return FixedRates({"BTC": money.nano(SANDBOX_USD_PER_BTC)} | fixed)
    left = [coin for coin in coins if coin not in fixed]
    if fixed and not left:
        return FixedRates(fixed)
    return LiveRates(_sources(settings.rates), settings.rates, left, client, clock, fixed)


def _written(coin: str, usd: Decimal) -> int:
    try:
        rate = money.nano(usd)
    except ValueError as error:
        raise ConfigError(f"rates.fixed.{coin}: {error}") from error
    if rate <= 0:
        raise ConfigError(f"rates.fixed.{coin}: must be above 0, is {usd}")
    return rate


def _sources(setting: RatesSetting) -> list[tuple[Source, Mapping[str, str]]]:
    if not 0 < setting.spread < 1:
        raise ConfigError(f"rates.spread: must be between 0 and 1, is {setting.spread}")
    known = dict(SOURCES)
    headers: dict[str, Mapping[str, str]] = {}
    if setting.btcpay_store is not None:
        known["btcpay"] = btcpay(setting.urls.get("btcpay", ""), setting.btcpay_store)
        headers["btcpay"] = {"authorization": f"token {setting.btcpay_key}"} if setting.btcpay_key else {}
    for name in (*setting.sources, *setting.urls):
        if name not in known:
            needs = "; btcpay needs rates.btcpay_store" if name == "btcpay" else ""
            raise ConfigError(f'rates: "{name}" is not a source; known are {", ".join(known)}{needs}')
    if len(setting.sources) < setting.least_sources:
        raise ConfigError(f"rates.sources: {setting.least_sources} must agree (rates.least_sources), so name as many")
    chosen = [replace(known[name], base_url=setting.urls.get(name, known[name].base_url)) for name in setting.sources]
    return [(source, headers.get(source.name, {})) for source in chosen]
