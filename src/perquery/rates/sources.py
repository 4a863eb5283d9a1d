"""Who quotes coins in USD: a row each, where to ask and how to read the answer. Pure.

Every price is read exactly, from the digits as written. A row's parser raises ValueError, LookupError or TypeError on
anything but a price above 0, and never guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from perquery import money

_NANO_MAX: Final = 10**9 * 10**9  # a thousand million dollars for a coin is no price


@dataclass(frozen=True, slots=True)
class Source:
    """markets: our coin → the source's name for its market; path: with `{market}`; price: the price in the parsed
    answer. least_s: how often at most it may be asked.
    """

    name: str
    base_url: str
    path: str
    markets: Mapping[str, str]
    price: Callable[[Any, str], Any]
    least_s: int = 30

    def url(self, coin: str) -> str:
        return self.base_url + self.path.format(market=self.markets[coin])

    def usd_nano(self, body: bytes, coin: str) -> int:
        """nano-USD for one whole coin, rounded down. Raises ValueError, LookupError, TypeError."""
        value = money.decimal(self.price(money.from_json(body), self.markets[coin]))
        nano = int(value.scaleb(9))
        if not 0 < nano < _NANO_MAX:
            raise ValueError(f"not a price: {value}")
        return nano


def _kraken(found: Any, market: str) -> Any:
    """The result goes by Kraken's older name of the market, and there is exactly one (docs.kraken.com, Ticker)."""
    if found["error"]:
        raise ValueError(str(found["error"][0])[:100])
    ((_, ticker),) = found["result"].items()
    return ticker["c"][0]


def _binance(found: Any, market: str) -> Any:
    if found["symbol"] != market:
        raise ValueError("another market than was asked for")
    return found["price"]


def _coinbase(found: Any, market: str) -> Any:
    data = found["data"]
    if f"{data['base']}-{data['currency']}" != market:
        raise ValueError("another market than was asked for")
    return data["amount"]


def _btcpay(found: Any, market: str) -> Any:
    """Greenfield: GET /api/v1/stores/{storeId}/rates answers a list, each with its errors."""
    ((only),) = found
    if only["currencyPair"] != market or only.get("errors"):
        raise ValueError(str(only.get("errors"))[:100])
    return only["rate"]


SOURCES: Final[Mapping[str, Source]] = {
    source.name: source
    for source in (
        Source(
            "coinbase",
            "https://api.coinbase.com",
            "/v2/prices/{market}/spot",
            {"BTC": "BTC-USD", "LTC": "LTC-USD", "USDT": "USDT-USD"},
            _coinbase,
        ),
        Source(
            "kraken",
            "https://api.kraken.com",
            "/0/public/Ticker?pair={market}",
            {"BTC": "XBTUSD", "LTC": "LTCUSD", "XMR": "XMRUSD", "USDC": "USDCUSD", "USDT": "USDTUSD"},
            _kraken,
        ),
        Source(
            "bitstamp",
            "https://www.bitstamp.net",
            "/api/v2/ticker/{market}/",
            {"BTC": "btcusd", "LTC": "ltcusd", "USDC": "usdcusd", "USDT": "usdtusd"},
            lambda found, _: found["last"],
        ),
        # In USDT: should that leave the dollar, this source is the one that is far from the others, and left out.
        Source(
            "binance",
            "https://api.binance.com",
            "/api/v3/ticker/price?symbol={market}",
            {"BTC": "BTCUSDT", "LTC": "LTCUSDT"},
            _binance,
        ),
        Source(
            "coingecko",
            "https://api.coingecko.com",
            "/api/v3/simple/price?ids={market}&vs_currencies=usd&precision=full",
            {"BTC": "bitcoin", "LTC": "litecoin", "XMR": "monero", "USDC": "usd-coin", "USDT": "tether"},
            lambda found, market: found[market]["usd"],
            least_s=60,  # its public limit is a few calls a minute
        ),
        Source("mempool", "https://mempool.space", "/api/v1/prices", {"BTC": "BTC"}, lambda found, _: found["USD"]),
    )
}


def btcpay(base_url: str, store: str) -> Source:
    """The operator's own BTCPay Server, by whatever rules that store has."""
    markets = {coin: f"{coin}_USD" for coin in ("BTC", "LTC", "XMR", "USDC", "USDT")}
    return Source("btcpay", base_url, f"/api/v1/stores/{store}/rates?currencyPair={{market}}", markets, _btcpay)
