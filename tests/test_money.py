"""Amounts: exact in, exact out, one rounding, no exponent."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery import money
from perquery.money import Ratio


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 10**9), ("0.000000001", 1), ("0.1", 10**8), (3, 3 * 10**9), (Decimal("1E-7"), 100), ("-2.5", -25 * 10**8)],
)
def test_nano_is_exact(text: str | int | Decimal, expected: int) -> None:
    assert money.nano(text) == expected


@pytest.mark.parametrize(
    "text", ["0.0000000001", "1e3", "NaN", "inf", "", "1,5", "9" * 19, True, "0x10", " 1", "١", Decimal("1E+999999999")]
)
def test_nano_refuses_what_it_cannot_hold_exactly(text: str) -> None:
    with pytest.raises(ValueError, match=r"digits|decimal|large"):
        money.nano(text)


@pytest.mark.parametrize("amount", [0, 1, -1, 10**9, 15 * 10**8, 123, -(10**10) - 1, money.INT64_MAX])
def test_plain_reads_back(amount: int) -> None:
    assert money.scaled(money.plain(amount), 9) == amount


@given(st.integers(-(2**62), 2**62))
def test_numbers_are_json_without_exponent_and_exact(amount: int) -> None:
    written = money.json({"cost": money.number(amount)})
    assert re.fullmatch(rb'\{"cost":-?\d+(\.\d+)?\}', written)
    assert money.from_json(written)["cost"] * 10**9 == amount


@given(st.integers(0, 10**18), st.integers(1, 10**4), st.integers(1, 10**4))
def test_ceil_rounds_up_by_less_than_one(pico: int, numerator: int, denominator: int) -> None:
    nano = money.ceil_nano(pico, Ratio(numerator, denominator))
    exact = Decimal(pico) * numerator / denominator / 1000
    assert nano - 1 < exact <= nano


@given(st.integers(0, 10**18), st.integers(0, 100), st.integers(1, 100))
def test_share_rounds_down(amount: int, numerator: int, denominator: int) -> None:
    part = money.share(amount, Ratio(numerator, denominator))
    assert part * denominator <= amount * numerator < (part + 1) * denominator


def test_ratio_is_exact() -> None:
    assert money.ratio("1.05") == Ratio(21, 20)
    with pytest.raises(ValueError, match="above 0"):
        money.ratio("0")


@pytest.mark.parametrize(("amount", "text"), [(10**8, "$0.10"), (123_000, "$0.000123"), (0, "$0.00"), (10**9, "$1.00")])
def test_dollars_for_people(amount: int, text: str) -> None:
    assert money.dollars(amount) == text


@pytest.mark.parametrize("text", [b"{", b"NaN", b"[Infinity]", b"[" * 100_000, b"\xff"])
def test_from_json_refuses_what_is_not_json(text: bytes) -> None:
    with pytest.raises(ValueError):
        money.from_json(text)


def test_from_json_keeps_the_digits() -> None:
    assert money.from_json(b'{"a": 0.1, "b": 1e-7, "c": 3}') == {"a": Decimal("0.1"), "b": Decimal("1e-7"), "c": 3}
    assert json.dumps(str(money.from_json(b"0.10"))) == '"0.10"'
