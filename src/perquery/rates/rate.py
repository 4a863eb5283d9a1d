"""What a rate is to those who ask for one: integer nano-USD for one whole coin.

Without a rate there is no invoice: callers get a clear 503 with the reason, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from perquery.errors import Unavailable

SANDBOX_USD_PER_BTC = "100000"


class Rates(Protocol):
    def usd_nano_per_coin(self, coin: str) -> int:
        """nano-USD for one whole `coin` ("BTC"), above 0. Raises Unavailable (`rate_unavailable`)."""
        ...

    async def run(self) -> None:
        """Keep them fresh, until cancelled; returns where there is nothing to keep."""
        ...


class FixedRates:
    """Rates that the operator wrote down; coins that are not in the table have none."""

    def __init__(self, usd_nano: Mapping[str, int]) -> None:
        self._usd_nano = usd_nano

    def usd_nano_per_coin(self, coin: str) -> int:
        rate = self._usd_nano.get(coin)
        if rate is None:
            raise unavailable(coin, "none is configured")
        return rate

    async def run(self) -> None:
        return


def unavailable(coin: str, why: str) -> Unavailable:
    return Unavailable(f"There is no exchange rate for {coin} now ({why}); try again later.", code="rate_unavailable")
