"""The rate that sources agree on: properties."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from perquery.money import Ratio
from perquery.rates.median import Quote, Rules, agreed

RULES = Rules(least=2, max_age_ms=300_000, spread=Ratio(2, 100))
NOW = 1_800_000_000_000
PRICE = 64_000 * 10**9


def quotes(*prices: int, age_ms: int = 0) -> list[Quote]:
    return [Quote(f"s{place}", price, NOW - age_ms) for place, price in enumerate(prices)]


@given(prices=st.lists(st.integers(1, 10**16), max_size=7), ages=st.lists(st.integers(0, 600_000), max_size=7))
def test_a_rate_lies_among_fresh_quotes_of_as_many_as_must_agree(prices: list[int], ages: list[int]) -> None:
    given_ = [Quote(f"s{i}", price, NOW - age) for i, (price, age) in enumerate(zip(prices, ages, strict=False))]
    found = agreed(given_, NOW, RULES)
    if found.usd_nano is None:
        assert found.why
        return
    assert len(found.used) >= RULES.least
    assert all(NOW - quote.at_ms <= RULES.max_age_ms for quote in found.used)
    low, high = (pick(quote.usd_nano for quote in found.used) for pick in (min, max))
    assert low <= found.usd_nano <= high
    assert (high - low) * 100 <= 2 * found.usd_nano


@given(lie=st.integers(1, 10**17), apart=st.integers(0, PRICE // 100))
def test_one_that_lies_cannot_move_it_beyond_the_others(lie: int, apart: int) -> None:
    found = agreed(quotes(PRICE, PRICE + apart, lie), NOW, RULES)
    assert found.usd_nano is not None and PRICE <= found.usd_nano <= PRICE + apart


def test_the_median() -> None:
    assert agreed(quotes(PRICE, PRICE + 3, PRICE + 1), NOW, RULES).usd_nano == PRICE + 1
    assert agreed(quotes(PRICE, PRICE + 3), NOW, RULES).usd_nano == PRICE + 1


def test_why_there_is_none() -> None:
    assert agreed(quotes(PRICE), NOW, RULES).why == "1 of at least 2 sources have answered in the last 300 s"
    assert "0 of at least 2" in agreed(quotes(PRICE, PRICE, age_ms=300_001), NOW, RULES).why
    assert agreed(quotes(PRICE, 2 * PRICE), NOW, RULES).why == "the sources disagree: s0, s1"
    assert agreed(quotes(PRICE, 2 * PRICE, 3 * PRICE), NOW, RULES).usd_nano is None
