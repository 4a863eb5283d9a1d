"""What a rate is to those who ask for one: integer nano-USD for one whole coin.

Without a rate there is no invoice: callers get a clear 503 with the reason, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from perquery.errors import Unavailable

SANDBOX_USD_PER_BTC = "100000"
PEGGED: Final = frozenset({"USDC", "USDT"})
_DOLLAR: Final = 10**9
_PAR: Final = 998 * 10**6  # nano-USD, from which on a token counts as a dollar: the noise of order books


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


def pegged(coin: str, usd_nano: int) -> int:
    """What is credited for a coin of that price: for one that promises a dollar never more than that, so that a
    promise that is broken costs nobody but its holder.
    """
    if coin not in PEGGED:
        return usd_nano
    return _DOLLAR if usd_nano >= _PAR else usd_nano
