"""Amounts and times as people read them: exact to the last digit, and what is large stays short."""

from __future__ import annotations

from decimal import Decimal

import pytest

from perquery.web import charts, figures


@pytest.mark.parametrize(
    ("amount_nano", "shown", "text"),
    [
        (0, "$0.00", "$0.00"),
        (1, "$0.00<small>0000001</small>", "$0.000000001"),
        (1_500_000_000, "$1.50", "$1.50"),
        (1_234_567_890_123_456_789, "$1,234,567,890.12<small>3456789</small>", "$1,234,567,890.123456789"),
        (-500_000_000, "−$0.50", "−$0.50"),
    ],
)
def test_an_amount_keeps_every_digit(amount_nano: int, shown: str, text: str) -> None:
    assert figures.usd(amount_nano) == f'<span class="usd">{shown}</span>'
    assert figures.usd_text(amount_nano) == text


@pytest.mark.parametrize(
    ("amount_nano", "rate", "shown"),
    [
        (10**9, 10**14, "1,000 sats"),
        (-(10**9), 10**14, "−1,000 sats"),
        (1, 10**14, "less than 1 sat"),
        (0, 10**14, "0 sats"),
        (10**9, None, "–"),
    ],
)
def test_satoshi_are_rounded_down(amount_nano: int, rate: int | None, shown: str) -> None:
    assert figures.sats(amount_nano, rate) == shown


def test_prices_and_limits() -> None:
    assert figures.per_million(4_200_000_000_000) == "$4.20"
    assert figures.per_million(787_500_000_000) == "$0.7875"
    assert figures.pico_per_million(1_500_000) == "$1.50"
    assert figures.pico_usd(7_360_000_000) == "$0.00736"
    assert figures.dollars(Decimal("0.1")) == "$0.10"
    assert [figures.tokens(number) for number in (512, 131_072, 1_000_000, 1_050_000)] == ["512", "131K", "1M", "1.05M"]
    assert figures.seconds(3_204) == "3.20 s"


def test_times_are_utc_and_may_be_missing() -> None:
    assert 'datetime="2026-01-05T00:00:01Z"' in figures.when(1_767_571_201_000)
    assert (figures.when(None), figures.seconds(None)) == ("–", "–")


def test_a_name_breaks_after_a_slash_and_is_escaped() -> None:
    assert figures.breakable("a/<b>") == "a/<wbr>&lt;b&gt;"


def test_a_picture_has_a_bar_a_day_and_says_what_it_shows() -> None:
    days = charts.every_day({86_400_000: 5}, 0, 3 * 86_400_000)
    assert days == [(0, 0), (86_400_000, 5), (172_800_000, 0)]
    drawn = charts.by_day(days, 'Spent <by> "day"')
    assert drawn.count("<rect") == 3 and 'height="100"' in drawn
    assert 'aria-label="Spent &lt;by&gt; &#34;day&#34;"' in drawn and "style" not in drawn
    assert "<rect" not in charts.by_day([], "nothing")
    assert 'width="1"' in charts.share(1, 10**9) and 'width="0"' in charts.share(0, 0)
