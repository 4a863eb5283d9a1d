"""One rate out of several quotes, or why there is none. Pure.

A single source that lies, sleeps or has renamed a market must neither move the rate beyond the others' nor stop it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perquery.money import Ratio


@dataclass(frozen=True, slots=True)
class Quote:
    """What a source said: nano-USD for a whole coin, and when it was asked (ms)."""

    source: str
    usd_nano: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Rules:
    """least: sources that must agree; max_age_ms: older quotes do not count; spread: the widest gap between the lowest
    and the highest quote, as a part of the median.
    """

    least: int
    max_age_ms: int
    spread: Ratio


@dataclass(frozen=True, slots=True)
class Agreed:
    """usd_nano: the rate, None where there is none; why: then the reason, for people; used: the quotes in it."""

    usd_nano: int | None
    why: str
    used: tuple[Quote, ...]


def agreed(quotes: Sequence[Quote], as_of_ms: int, rules: Rules) -> Agreed:
    """The median of the fresh quotes. Where they are too far apart, the one farthest from the median is left out,
    once, if enough others remain.
    """
    fresh = sorted(
        (quote for quote in quotes if as_of_ms - quote.at_ms <= rules.max_age_ms),
        key=lambda quote: (quote.usd_nano, quote.source),
    )
    if len(fresh) < rules.least:
        within_s = rules.max_age_ms // 1000
        why = f"{len(fresh)} of at least {rules.least} sources have answered in the last {within_s} s"
        return Agreed(None, why, tuple(fresh))
    if not _close(fresh, rules.spread) and len(fresh) > max(2, rules.least):
        middle = _median(fresh)
        ends = (fresh[0], fresh[-1])
        fresh.remove(max(ends, key=lambda quote: abs(quote.usd_nano - middle)))
    if not _close(fresh, rules.spread):
        return Agreed(None, "the sources disagree: " + ", ".join(q.source for q in fresh), tuple(fresh))
    return Agreed(_median(fresh), "", tuple(fresh))


def _median(ordered: Sequence[Quote]) -> int:
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle].usd_nano
    return (ordered[middle - 1].usd_nano + ordered[middle].usd_nano) // 2


def _close(ordered: Sequence[Quote], spread: Ratio) -> bool:
    apart = ordered[-1].usd_nano - ordered[0].usd_nano
    return apart * spread.denominator <= _median(ordered) * spread.numerator
