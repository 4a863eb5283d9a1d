"""What a token that promises a dollar is worth here: never more than that."""

from __future__ import annotations

import pytest

from perquery.rates.rate import pegged

DOLLAR = 10**9


@pytest.mark.parametrize(
    ("price", "worth"),
    [
        (2 * DOLLAR, DOLLAR),
        (1_000_000_001, DOLLAR),
        (DOLLAR, DOLLAR),
        (999_100_000, DOLLAR),  # the noise of order books
        (998_000_000, DOLLAR),
        (997_999_999, 997_999_999),
        (870_000_000, 870_000_000),
        (1, 1),
    ],
)
def test_a_promise_is_worth_what_it_is_kept(price: int, worth: int) -> None:
    assert [pegged(coin, price) for coin in ("USDC", "USDT")] == [worth, worth]


def test_other_coins_promise_nothing() -> None:
    assert pegged("BTC", 64_000 * DOLLAR) == 64_000 * DOLLAR
