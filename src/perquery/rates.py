"""Exchange rates: what one whole coin is worth, in integer nano-USD.

Without a rate there is no invoice: callers get a clear 503, never a guess.
"""

from __future__ import annotations

from typing import Protocol

from perquery import money
from perquery.config import ConfigError, Settings
from perquery.errors import Unavailable

SANDBOX_USD_PER_BTC = "100000"


class Rates(Protocol):
    def usd_nano_per_coin(self, coin: str) -> int:
        """nano-USD for one whole `coin` ("BTC"), above 0. Raises Unavailable (`rate_unavailable`)."""
        ...


class FixedRates:
    """Rates that the operator wrote down; coins that are not in the table have none."""

    def __init__(self, usd_nano: dict[str, int]) -> None:
        self._usd_nano = usd_nano

    def usd_nano_per_coin(self, coin: str) -> int:
        rate = self._usd_nano.get(coin)
        if rate is None:
            raise Unavailable(f"There is no exchange rate for {coin} now; try again later.", code="rate_unavailable")
        return rate


def rates_from(settings: Settings) -> Rates:
    """The rates that the settings name; the sandbox has one for BTC in any case. Raises ConfigError."""
    written = settings.usd_per_btc
    if written is None:
        return FixedRates({"BTC": money.nano(SANDBOX_USD_PER_BTC)} if settings.sandbox else {})
    try:
        rate = money.nano(written)
    except ValueError as error:
        raise ConfigError(f"usd_per_btc: {error}") from error
    if rate <= 0:
        raise ConfigError(f"usd_per_btc: must be above 0, is {written}")
    return FixedRates({"BTC": rate})
