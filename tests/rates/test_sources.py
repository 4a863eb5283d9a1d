"""Each source's published answer is read exactly; anything else is no price."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from perquery.rates.sources import SOURCES, Source, btcpay
from tests.rates.markets import told

ALL = [*SOURCES.values(), btcpay("http://127.0.0.1", "store")]
PAIRS = [(source, coin) for source in ALL for coin in source.markets]


def answer(source: Source, coin: str, price: str) -> bytes:
    place = urlsplit(source.url(coin))
    return told(source.name, price, place.path, parse_qs(place.query))


@pytest.mark.parametrize(("source", "coin"), PAIRS, ids=lambda value: getattr(value, "name", value))
def test_the_price_is_read_to_the_last_digit(source: Source, coin: str) -> None:
    assert source.usd_nano(answer(source, coin, "64012.123456789"), coin) == 64_012_123_456_789
    assert source.usd_nano(answer(source, coin, "64012.1234567899"), coin) == 64_012_123_456_789
    assert source.usd_nano(answer(source, coin, "64012"), coin) == 64_012 * 10**9


@pytest.mark.parametrize("price", ["0", "-1", "0.0000000001", "9" * 15, "1e999999999", '"NaN"', '"cheap"', "[]"])
@pytest.mark.parametrize("source", ALL, ids=lambda source: source.name)
def test_what_is_no_price_is_refused(source: Source, price: str) -> None:
    with pytest.raises((ValueError, LookupError, TypeError)):
        source.usd_nano(answer(source, "BTC", price), "BTC")


@pytest.mark.parametrize("body", [b"<html>403</html>", b"", b"{}", b"[]", b"null", b'"64000"', b'{"error":["EQuery"]}'])
@pytest.mark.parametrize("source", ALL, ids=lambda source: source.name)
def test_what_is_no_answer_is_refused(source: Source, body: bytes) -> None:
    with pytest.raises((ValueError, LookupError, TypeError)):
        source.usd_nano(body, "BTC")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("coinbase", b'{"data":{"amount":"1","base":"BCH","currency":"USD"}}'),
        ("coinbase", b'{"data":{"amount":"1","base":"BTC","currency":"EUR"}}'),
        ("binance", b'{"symbol":"BTCEUR","price":"1"}'),
        ("kraken", b'{"error":["EQuery:Unknown asset pair"]}'),
        ("kraken", b'{"error":[],"result":{"XXBTZUSD":{"c":["1","1"]},"XXBTZEUR":{"c":["1","1"]}}}'),
        ("btcpay", b'[{"currencyPair":"BTC_USD","errors":["down"],"rate":"1"}]'),
        ("btcpay", b'[{"currencyPair":"BTC_EUR","errors":[],"rate":"1"}]'),
    ],
)
def test_another_market_is_refused(name: str, body: bytes) -> None:
    source = next(source for source in ALL if source.name == name)
    with pytest.raises((ValueError, LookupError, TypeError)):
        source.usd_nano(body, "BTC")
