"""Ways to be paid: what an amount comes to, and which amounts are refused."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.config import ConfigError, RailSetting, Settings
from perquery.errors import BadRequest
from perquery.money import Ratio, from_json
from perquery.topups.methods import LIGHTNING, methods_from, receivable, terms

RATE = 100_000 * 10**9


@pytest.mark.parametrize(
    ("amount", "currency", "nano", "due", "cap"),
    [
        (1, "USD", 10**9, 1_000_000, 1_000 * 10**9),
        (Decimal("0.10"), None, 10**8, 100_000, 1_000 * 10**9),
        (Decimal("0.1000001"), "usd", 100_000_100, 101_000, 1_000 * 10**9),  # up to a whole satoshi
        ("25.5", "USD", 25_500_000_000, 25_500_000, 1_000 * 10**9),
        (1000, "SATS", 10**9, 1_000_000, 1_000 * 10**9),
        (Decimal("1E+3"), "SATS", 10**9, 1_000_000, 1_000 * 10**9),
        (Decimal("0.00001"), "BTC", 10**9, 1_000_000, 1_000 * 10**9),
    ],
)
def test_terms(amount: Any, currency: str | None, nano: int, due: int, cap: int) -> None:
    agreed = terms(LIGHTNING, amount, currency, RATE)
    assert (agreed.amount_nano, agreed.due, agreed.bonus_cap_nano) == (nano, due, cap)


def test_coins_are_priced_downwards() -> None:
    assert terms(LIGHTNING, 101, "SATS", 98_765_432_109_877).amount_nano == 101 * 1_000 * 98_765_432_109_877 // 10**11


@pytest.mark.parametrize(
    ("amount", "currency", "param", "says"),
    [
        (1, "EUR", "currency", "one of USD, BTC, SATS"),
        (1, 5, "currency", "one of USD, BTC, SATS"),
        (1, ["USD"], "currency", "one of USD, BTC, SATS"),
        (Decimal("0.09"), "USD", "amount", "between 0.1 and 1000 USD"),
        (Decimal("1000.01"), "USD", "amount", "between 0.1 and 1000 USD"),
        (99, "SATS", "amount", "between 100 and 1000000 SATS"),
        (1_000_001, "SATS", "amount", "between 100 and 1000000 SATS"),
        (Decimal("0.0000009"), "BTC", "amount", "at most 8|between"),
        (1, "BTC", "amount", "between 0.000001 and 0.01 BTC"),
        (Decimal("100.5"), "SATS", "amount", "no fraction"),
        (Decimal("1.0000000001"), "USD", "amount", "at most 9 digits"),
        (-5, "USD", "amount", "between"),
        (None, "USD", "amount", r'a number, such as \{"amount": 0.1'),
        (True, "USD", "amount", "a number"),
        ([1], "USD", "amount", "a number"),
        ("ten", "USD", "amount", "a plain number"),
        ("1e3", "USD", "amount", "a plain number"),
        (10**30, "SATS", "amount", "a plain number"),
        (Decimal("NaN"), "USD", "amount", "out of all bounds"),
        (Decimal("Infinity"), "USD", "amount", "out of all bounds"),
    ],
)
def test_what_is_refused_says_what_is_right(amount: Any, currency: Any, param: str, says: str) -> None:
    with pytest.raises(BadRequest, match=says) as caught:
        terms(LIGHTNING, amount, currency, RATE)
    assert caught.value.param == param


@pytest.mark.parametrize("text", ["1e999999999", "1e-999999999", "-1e999999", "0e999999999"])
def test_an_exponent_is_not_written_out(text: str) -> None:
    with pytest.raises(BadRequest):
        terms(LIGHTNING, from_json(text), "USD", RATE)


@given(st.decimals(allow_nan=True, allow_infinity=True), st.sampled_from(["USD", "BTC", "SATS"]))
def test_any_number_is_priced_or_refused(amount: Decimal, currency: str) -> None:
    try:
        agreed = terms(LIGHTNING, amount, currency, RATE)
    except BadRequest:
        return
    assert agreed.amount_nano > 0 and agreed.due > 0 and agreed.due % LIGHTNING.quantum == 0


@given(st.integers(10**8, 10**12), st.integers(10**9, 10**16))
def test_what_is_due_covers_the_amount_and_no_satoshi_more(nano: int, rate: int) -> None:
    agreed = terms(LIGHTNING, Decimal(nano).scaleb(-9), "USD", rate)
    assert agreed.due * rate >= nano * LIGHTNING.units_per_coin
    assert (agreed.due - LIGHTNING.quantum) * rate < nano * LIGHTNING.units_per_coin


def changed(**setting: Any) -> Settings:
    return Settings(rails={LIGHTNING.name: RailSetting(backend="sandbox", **setting)})


def test_settings_change_a_method() -> None:
    limits = {"USD": (Decimal(1), Decimal(5))}
    method = methods_from(changed(bonus=Decimal("0.1"), expiry_s=60, limits=limits))[LIGHTNING.name]
    assert (method.expiry_s, method.bonus) == (60, Ratio(1, 10))
    assert [(c.least, c.most) for c in method.currencies if c.code == "USD"] == [(Decimal(1), Decimal(5))]


def test_a_bonus_of_nothing_is_none() -> None:
    assert methods_from(changed(bonus=Decimal(0)))[LIGHTNING.name].bonus is None


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"bonus": Decimal("1.5")}, "bonus: must be between 0 and 1"),
        ({"bonus": Decimal(-1)}, "bonus: must be between 0 and 1"),
        ({"limits": {"EUR": (Decimal(1), Decimal(2))}}, "limits.EUR: not a currency"),
        ({"limits": {"USD": (Decimal(3), Decimal(2))}}, "limits.USD: must be"),
        ({"limits": {"SATS": (Decimal("0.5"), Decimal(2))}}, "limits.SATS: more than 0 digits"),
    ],
)
def test_wrong_settings_name_their_field(setting: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        methods_from(changed(**setting))


@given(units=st.integers(0, 10**14), rate=st.none() | st.integers(1, 10**16))
def test_no_amount_is_offered_that_the_wallet_cannot_receive(units: int, rate: int | None) -> None:
    for currency in receivable(LIGHTNING, units, rate).currencies:
        assert currency.least <= currency.most
        priced = rate or RATE
        assert terms(replace(LIGHTNING, currencies=(currency,)), currency.most, currency.code, priced).due <= max(
            units, LIGHTNING.quantum * -(-units // LIGHTNING.quantum)
        )


def test_a_wallet_that_does_not_say_keeps_the_limits_and_one_without_room_has_none() -> None:
    assert receivable(LIGHTNING, None, RATE) is LIGHTNING
    assert receivable(LIGHTNING, 99_000, RATE).currencies == ()
