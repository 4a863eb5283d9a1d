"""Seven sources of exchange rates on one port, in the shapes that they publish; each fails as the test says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.answering import Asked, answering


@dataclass
class Markets:
    """prices: by source, as text; failing: by source, (status, body) instead of its answer; asked: sources in order."""

    url: str
    prices: dict[str, str]
    failing: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    authorization: str | None = None

    def urls(self) -> dict[str, str]:
        return {name: f"{self.url}/{name}" for name in self.prices}

    def answer(self, path: str) -> tuple[int, bytes]:
        place = urlsplit(path)
        name, query = place.path.split("/")[1], parse_qs(place.query)
        self.asked.append(name)
        if name in self.failing:
            return self.failing[name]
        return 200, told(name, self.prices[name], place.path, query)


def told(name: str, price: str, path: str, query: dict[str, list[str]]) -> bytes:
    """A source's published answer, with the price's digits as they stand."""
    answer: Any
    match name:
        case "coinbase":
            base, _, currency = path.split("/")[-2].partition("-")
            answer = {"data": {"amount": price, "base": base, "currency": currency}}
        case "kraken":
            asked = query["pair"][0]
            older = {"XBTUSD": "XXBTZUSD", "LTCUSD": "XLTCZUSD", "XMRUSD": "XXMRZUSD", "USDTUSD": "USDTZUSD"}
            market = older.get(asked, asked)
            answer = {"error": [], "result": {market: {"a": ["9", "1", "1.000"], "c": [price, "0.0102"], "o": "9"}}}
        case "bitstamp":
            answer = {"timestamp": "1800000000", "last": price, "high": "9", "side": "0"}
        case "binance":
            answer = {"symbol": query["symbol"][0], "price": price}
        case "coingecko":
            return f'{{"{query["ids"][0]}":{{"usd":{price}}}}}'.encode()
        case "mempool":
            return f'{{"time":1800000000,"USD":{price},"EUR":9}}'.encode()
        case "btcpay":
            answer = [{"currencyPair": query["currencyPair"][0], "errors": [], "rate": price}]
        case _:
            raise AssertionError(name)
    return json.dumps(answer).encode()


@contextmanager
def markets(**prices: str) -> Iterator[Markets]:
    def answer(asked: Asked) -> tuple[int, bytes]:
        running.authorization = asked.headers.get("authorization") or running.authorization
        return running.answer(asked.path)

    running = Markets("", dict(prices))
    with answering(answer) as running.url:
        yield running
