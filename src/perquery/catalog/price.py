"""What a call may cost at most (Bound) and what it did cost (cost): pure integer arithmetic over a route's price.

Owns the choice of the tier, the stand-ins for buckets without a price of their own, and the place of the one
rounding. It must never round twice, never use a float, and never price an unknown unit at zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from perquery.calls import INPUT_UNITS, OUTPUT_UNITS, STANDS_FOR, Line, Price, Route, Unit, Usage
from perquery.money import Ratio, ceil_nano

_READS: Final[tuple[tuple[Unit, Unit], ...]] = (("cache_read", "input"), ("audio_cache_read", "audio_input"))
_READ: Final = frozenset(read for read, _ in _READS)
_LONG_CACHE: Final[frozenset[Unit]] = frozenset({"cache_write_1h"})
_AUDIO: Final[frozenset[Unit]] = frozenset({"audio_input", "audio_cache_read", "audio_output"})
RARE: Final = _LONG_CACHE | _AUDIO  # without prices of their own they cost what a plain call's tokens do


class UnpricedUsage(Exception):
    """The upstream reports a unit that the route's price does not name, and nothing stands for it."""

    def __init__(self, route: Route, unit: Unit, count: int) -> None:
        super().__init__(f"{route.provider}/{route.model} has no price for {count} × {unit}")
        self.route = route
        self.unit = unit
        self.count = count


@dataclass(slots=True)
class Cost:
    """What one upstream call cost. Lines are before markup; `upstream_pico` is what the upstream takes from us:
    its own figure where it gives one, else the sum of the lines; `charged_nano` is what the caller pays."""

    lines: tuple[Line, ...]
    upstream_pico: int
    charged_nano: int


def unit_price(prices: Mapping[Unit, int], unit: Unit) -> int | None:
    """Pico-USD per unit, by the unit itself or by the one that stands for it; None if neither has a price."""
    asked: Unit | None = unit
    while asked is not None:
        if (price := prices.get(asked)) is not None:
            return price
        asked = STANDS_FOR.get(asked)
    return None


def caller_atto(route: Route, unit: Unit, input_tokens: int = 0) -> int:
    """What a caller pays for a unit: atto-USD, markup included, rounded up; 0 where the unit has no price."""
    pico = unit_price(route.price.at(input_tokens), unit) or 0
    return -(-pico * 10**6 * route.markup.numerator // route.markup.denominator)


def caching_pays(price: Price) -> bool:
    """Whether the price says what a cache write costs and that a read costs less than input: else no call is made
    to write one."""
    prices = price.at(0)
    plain = prices.get("input", 0)
    return "cache_write_5m" in prices and prices.get("cache_read", plain) < plain


def cost(route: Route, usage: Usage) -> Cost:
    """What `usage` costs at the route's price: its tier by all input tokens together, the one rounding at the end.

    Each of several turns has a tier and lines of its own. A flat fee for the request counts once by itself. Where the
    upstream reports its own cost and the route is marked so, the caller pays that (never below 0) times the markup.
    Raises UnpricedUsage for a unit without any price, ValueError for a negative count.
    """
    lines: list[Line] = []
    table_pico = 0
    for counts in usage.turns or (usage.counts,):
        prices = route.price.of(counts)
        for unit, count in counts.items():
            if count and unit != "request":
                lines.append(line := _line(route, prices, unit, count))
                table_pico += line.pico
        if fees := counts.get("request", 1 if "request" in prices else 0):
            lines.append(line := _line(route, prices, "request", fees))
            table_pico += line.pico
    reported = usage.upstream_cost_pico
    upstream_pico = table_pico if reported is None else max(0, reported)
    billed_pico = upstream_pico if route.bills_reported_cost else table_pico
    return Cost(tuple(lines), upstream_pico, ceil_nano(billed_pico, route.markup))


def most_nano(route: Route, counts: Mapping[Unit, int]) -> int:
    """Nano-USD that surely cover these counts at the route: of each unit that its price names, at the dearest tier.

    Raises ValueError where a price names none of them, for then nothing would be held for it.
    """
    most = 0
    for _, prices in route.price.tiers:
        named = {unit: price for unit in counts if (price := unit_price(prices, unit)) is not None}
        if not named and "request" not in prices and any(prices.values()):
            raise ValueError(f"{route.provider}/{route.model}: nothing that its price names is counted")
        pico = sum(counts[unit] * price for unit, price in named.items() if unit != "request")
        fees = counts.get("request", 1) * prices.get("request", 0)
        most = max(most, ceil_nano(pico + fees, route.markup))
    return most


def cache_saved_nano(route: Route, usage: Usage) -> int:
    """How much less the caller pays for what the upstream's cache gave than for so much plain input, rounded down:
    never more is claimed than was saved. By the listed price, also where the upstream's own figure is billed."""
    if not usage.turns and _READ.isdisjoint(usage.counts):
        return 0
    pico = 0
    for counts in usage.turns or (usage.counts,):
        for unit, plain in _READS:
            if count := counts.get(unit, 0):
                prices = route.price.of(counts)
                pico += count * ((unit_price(prices, plain) or 0) - (unit_price(prices, unit) or 0))
    return max(0, pico) * route.markup.numerator // (1_000 * route.markup.denominator)


def _line(route: Route, prices: Mapping[Unit, int], unit: Unit, count: int) -> Line:
    if count < 0:
        raise ValueError(f"negative count of {unit}: {count}")
    price = prices.get(unit)
    if price is None and (price := unit_price(prices, unit)) is None:
        raise UnpricedUsage(route, unit, count)
    return Line(unit, count, price, count * price)


class _Tier(NamedTuple):
    """From `start` input tokens on: the dearest input, the dearest output, and the fixed fee, in pico-USD."""

    start: int
    input_pico: int
    output_pico: int
    fixed_pico: int
    search_pico: int


class _Reach(NamedTuple):
    tiers: tuple[_Tier, ...]
    markup: Ratio


@dataclass(frozen=True, slots=True)
class Bound:
    """The most that a call may cost over a set of routes; made once a model, asked once a request.

    The caller's input is bounded from above, so every tier up to that bound may apply, and every input token may
    be the dearest kind that it can be (a cache write, say).
    """

    reaches: tuple[_Reach, ...]

    def hold_nano(self, input_tokens: int, output_tokens: int, *, searches: int = 0) -> int:
        """Nano-USD that surely cover so many input and output tokens and searches on any of the routes."""
        most = 0
        for tiers, markup in self.reaches:
            for start, input_pico, output_pico, fixed_pico, search_pico in tiers:
                if start > input_tokens and start:
                    break
                pico = input_tokens * input_pico + output_tokens * output_pico + fixed_pico
                held = ceil_nano(pico + searches * search_pico, markup)
                if held > most:
                    most = held
        return most

    def output_tokens(self, input_tokens: int, nano: int, *, searches: int = 0) -> int:
        """The largest number of output tokens that `nano` covers after the input; -1 if not even the input."""
        if self.hold_nano(input_tokens, 0, searches=searches) > nano:
            return -1
        fewest: int | None = None
        for tiers, (numerator, denominator) in self.reaches:
            for start, input_pico, output_pico, fixed_pico, search_pico in tiers:
                if (start > input_tokens and start) or not output_pico:
                    continue
                # ceil(pico × n / (1000 × d)) <= nano is the same as pico × n <= nano × 1000 × d.
                pico = nano * 1_000 * denominator // numerator
                free = pico - input_tokens * input_pico - fixed_pico - searches * search_pico
                tokens = free // output_pico
                fewest = tokens if fewest is None else min(fewest, tokens)
        return fewest if fewest is not None else 2**31


def bound(routes: Iterable[Route], *, long_cache: bool = False, audio: bool = False) -> Bound:
    """The bound over these routes. `long_cache`: the call asks for one-hour cache writes; `audio`: it carries or
    asks for audio. Both are dearer kinds of token that a plain call cannot use."""
    units: set[Unit] = {
        "input",
        "cache_read",
        "cache_write_5m",
        "image_input",
        "output",
        "reasoning",
        "image_output",
    }
    units |= _LONG_CACHE if long_cache else set()
    units |= _AUDIO if audio else set()
    return Bound(tuple(_Reach(_tiers(route.price, units), route.markup) for route in routes))


def _tiers(price: Price, units: set[Unit]) -> tuple[_Tier, ...]:
    return tuple(
        _Tier(
            start,
            _dearest(prices, units, INPUT_UNITS),
            _dearest(prices, units, OUTPUT_UNITS),
            prices.get("request", 0),
            prices.get("search", 0),
        )
        for start, prices in price.tiers
    )


def _dearest(prices: Mapping[Unit, int], units: set[Unit], among: tuple[Unit, ...]) -> int:
    return max((unit_price(prices, unit) or 0 for unit in among if unit in units), default=0)


def dearest(prices: Iterable[Price], version: str = "") -> Price:
    """One price that is nowhere below any of these: tier by tier and unit by unit the highest."""
    given = tuple(prices)
    starts = sorted({start for price in given for start, _ in price.tiers})
    tiers: list[tuple[int, Mapping[Unit, int]]] = []
    for start in starts:
        tables = [price.at(start) for price in given]
        units = {unit for table in tables for unit in table}
        # A table without the unit bills it at its stand-in's price, which may be the higher one.
        tiers.append((start, {unit: max(unit_price(table, unit) or 0 for table in tables) for unit in sorted(units)}))
    return Price(tuple(tiers), version)
