"""Amounts, counts and times as people read them. Amounts stay exact to the last digit; nothing is computed here."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from markupsafe import Markup

from perquery import money

_SATS_PER_BTC: Final = 10**8
_PER_MILLION_DIGITS: Final = 12  # atto-USD for a token, read as USD for a million


def usd(amount_nano: int) -> Markup:
    """Every digit; those below a cent are set smaller."""
    sign, text = ("−", money.dollars(-amount_nano)) if amount_nano < 0 else ("", money.dollars(amount_nano))
    whole, _, tail = text.partition(".")
    below = Markup("<small>{}</small>").format(tail[2:]) if tail[2:] else ""
    return Markup('<span class="usd">{}{}.{}{}</span>').format(sign, _grouped(whole), tail[:2], below)


def usd_text(amount_nano: int) -> str:
    """The same as plain text."""
    whole, _, tail = money.dollars(abs(amount_nano)).partition(".")
    return f"{'−' if amount_nano < 0 else ''}{_grouped(whole)}.{tail}"


def dollars(amount: Decimal) -> str:
    """A limit in USD: "$0.10", "$1,000.00"."""
    return usd_text(money.nano(amount))


def _grouped(whole: str) -> str:
    return f"${int(whole.removeprefix('$')):,}"


def sats(amount_nano: int, usd_nano_per_btc: int | None) -> str:
    """About so many satoshi, rounded down; a dash where there is no rate."""
    if usd_nano_per_btc is None:
        return "–"
    whole = abs(amount_nano) * _SATS_PER_BTC // usd_nano_per_btc
    if amount_nano and not whole:
        return "less than 1 sat"
    return f"{'−' if amount_nano < 0 else ''}{whole:,} sats"


def breakable(text: str) -> Markup:
    """A long name that may go on in the next line after a slash."""
    return Markup("/<wbr>").join(text.split("/"))


def per_million(atto: int) -> str:
    """USD for a million tokens, from atto-USD for one."""
    return _two_digits(money.plain(atto, _PER_MILLION_DIGITS))


def each(atto: int) -> str:
    """USD for one, from atto-USD."""
    return _two_digits(money.plain(atto, 18))


def pico_per_million(pico: int) -> str:
    """USD for a million, from pico-USD for one."""
    return _two_digits(money.plain(pico, 6))


def pico_usd(pico: int) -> str:
    return _two_digits(money.plain(pico, _PER_MILLION_DIGITS))


def _two_digits(text: str) -> str:
    whole, _, tail = text.partition(".")
    return f"${int(whole):,}.{tail:0<2}"


def count(number: int) -> str:
    return f"{number:,}"


def tokens(number: int) -> str:
    """A limit, short: 128K, 1M, 1.05M."""
    if number >= 1_000_000:
        return f"{money.plain(number // 10_000, 2)}M"
    return f"{number // 1_000}K" if number >= 1_000 else str(number)


def seconds(duration_ms: int | None) -> str:
    return "–" if duration_ms is None else f"{duration_ms // 1000}.{duration_ms % 1000 // 10:02d} s"


def when(at_ms: int | None) -> Markup:
    """A moment to the second, UTC; a dash where there is none."""
    if at_ms is None:
        return Markup("–")
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    return Markup('<time datetime="{}"><span>{}</span> <span>{}</span></time>').format(
        f"{at:%Y-%m-%dT%H:%M:%SZ}", f"{at:%Y-%m-%d}", f"{at:%H:%M:%S}"
    )


def day(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%d}"
