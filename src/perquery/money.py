"""Amounts: integer nano-USD, integer pico-USD prices, ratios for markup, the one rounding, and JSON.

The only module in which a decimal number becomes an integer or the reverse; nothing here or elsewhere
computes an amount with a float. JSON numbers for money are written as plain decimals: orjson prints a
small float as 1e-7, which PPQ's clients refuse (they want an unquoted number without an exponent).
"""

from __future__ import annotations

import json as stdlib_json
import re
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any, NamedTuple

import orjson

NANO_PER_USD = 10**9
PICO_PER_NANO = 1_000
INT64_MAX = 2**63 - 1
_PLAIN = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")


class Ratio(NamedTuple):
    """An exact positive fraction, for markups and bonuses."""

    numerator: int
    denominator: int


ONE = Ratio(1, 1)


def decimal(value: str | int | Decimal) -> Decimal:
    """A plain, finite decimal of at most 18 digits before and after the point; ValueError otherwise."""
    small = isinstance(value, Decimal) and value.is_finite() and -36 < value.adjusted() < 36  # no gigabyte of zeros
    text = format(value, "f") if small else str(value)
    if isinstance(value, bool) or not _PLAIN.fullmatch(text):
        raise ValueError(f"not a plain decimal number: {text[:40]!r}")
    return Decimal(text)


def scaled(value: str | int | Decimal, digits: int) -> int:
    """`value` × 10^digits as an exact integer; ValueError where it has more digits than that or leaves int64."""
    with localcontext() as context:
        context.prec = 60
        shifted = decimal(value).scaleb(digits)
        whole = int(shifted)
    if whole != shifted:
        raise ValueError(f"more than {digits} digits after the point: {value}")
    if abs(whole) > INT64_MAX:
        raise ValueError(f"too large: {value}")
    return whole


def nano(usd: str | int | Decimal) -> int:
    """USD → nano-USD, exactly."""
    return scaled(usd, 9)


def pico_per_unit(usd_per_million: str | int | Decimal) -> int:
    """A price in USD per million units → pico-USD per unit, exactly."""
    return scaled(usd_per_million, 6)


def ratio(text: str | int | Decimal) -> Ratio:
    """A positive decimal such as "1.05" → an exact ratio."""
    value = decimal(text)
    if value <= 0:
        raise ValueError(f"a ratio must be above 0: {text}")
    return Ratio(*value.as_integer_ratio())


def ceil_nano(pico: int, markup: Ratio = ONE) -> int:
    """The one rounding, up, once a request: pico-USD × markup → nano-USD."""
    return -(-pico * markup[0] // (PICO_PER_NANO * markup[1]))


def share(amount: int, part: Ratio) -> int:
    """amount × part, rounded down: bonuses, never charges."""
    return amount * part.numerator // part.denominator


def plain(amount: int, digits: int = 9) -> str:
    """An integer of 10^-digits units as a plain decimal without trailing zeros: 1500000000 → "1.5"."""
    if amount < 0:
        return "-" + plain(-amount, digits)
    text = str(amount)
    if not digits:
        return text
    missing = digits - len(text)
    text = f"0.{'0' * missing}{text}" if missing >= 0 else f"{text[:-digits]}.{text[-digits:]}"
    return text.rstrip("0").rstrip(".")


def dollars(amount_nano: int) -> str:
    """For people: at least two digits after the point, "$0.10", "$0.000123"."""
    text = plain(amount_nano)
    whole, _, tail = text.partition(".")
    return f"${whole}.{tail:0<2}"


def number(amount: int, digits: int = 9) -> orjson.Fragment:
    """An amount as a JSON number without exponent, for use inside a value given to `json()`."""
    return orjson.Fragment(plain(amount, digits))


def json(value: Any) -> bytes:
    """JSON bytes; amounts in it are `number()`s."""
    return orjson.dumps(value)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def from_json(data: bytes | str) -> Any:
    """JSON whose numbers with a point or exponent are Decimals, exactly as written; ValueError if malformed."""
    try:
        return stdlib_json.loads(data, parse_float=Decimal, parse_constant=_no_constant)
    except (InvalidOperation, RecursionError) as error:
        raise ValueError("malformed JSON") from error
