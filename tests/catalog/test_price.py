"""cost and bound: exact sums, one rounding up, disjoint buckets, tiers, and holds that always cover."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.calls import INPUT_UNITS, OUTPUT_UNITS, Price, Route, Unit, Usage
from perquery.catalog.price import (
    RARE,
    Bound,
    UnpricedUsage,
    bound,
    cache_saved_nano,
    caching_pays,
    cost,
    dearest,
    unit_price,
)
from perquery.money import ONE, Ratio

TOKEN_UNITS: tuple[Unit, ...] = (*INPUT_UNITS, *OUTPUT_UNITS)
PLAIN_UNITS: tuple[Unit, ...] = ("input", "cache_read", "cache_write_5m", "image_input", "output", "reasoning")


def route(*tiers: tuple[int, Mapping[Unit, int]], markup: Ratio = ONE, reported: bool = False) -> Route:
    return Route("host", "model", Price(tiers), markup, bills_reported_cost=reported)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    """A route with one to three tiers, any prices, any markup; input and output always have a price."""
    pico = st.integers(0, 200_000_000)
    units: list[Unit] = draw(st.lists(st.sampled_from(TOKEN_UNITS), unique=True))
    starts = [0, *sorted(draw(st.sets(st.integers(1, 300_000), max_size=2)))]
    priced: list[Unit] = list(dict.fromkeys(["input", "output", *units]))
    tiers = [(start, {unit: draw(pico) for unit in priced}) for start in starts]
    markup = Ratio(draw(st.integers(1, 3_000)), draw(st.integers(1, 1_000)))
    return route(*tiers, markup=markup)


counts = st.dictionaries(st.sampled_from(TOKEN_UNITS), st.integers(0, 500_000))


@given(routes(), counts)
def test_the_lines_add_up_to_what_the_upstream_takes(way: Route, used: dict[Unit, int]) -> None:
    charge = cost(way, Usage(used))
    assert sum(line.pico for line in charge.lines) == charge.upstream_pico
    assert all(line.pico == line.count * line.pico_per_unit for line in charge.lines)


@given(routes(), counts)
def test_every_counted_unit_is_on_exactly_one_line(way: Route, used: dict[Unit, int]) -> None:
    charge = cost(way, Usage(used))
    assert {line.unit: line.count for line in charge.lines} == {unit: n for unit, n in used.items() if n}


@given(routes(), counts)
def test_the_charge_is_the_exact_product_rounded_up_once(way: Route, used: dict[Unit, int]) -> None:
    charge = cost(way, Usage(used))
    exact = Fraction(charge.upstream_pico * way.markup.numerator, 1_000 * way.markup.denominator)
    assert exact <= charge.charged_nano < exact + 1


@given(routes(), counts, st.sampled_from(TOKEN_UNITS))
def test_more_usage_in_the_same_tier_never_costs_less(way: Route, used: dict[Unit, int], unit: Unit) -> None:
    flat = route(way.price.tiers[0], markup=way.markup)
    more = used | {unit: used.get(unit, 0) + 1}
    assert cost(flat, Usage(more)).charged_nano >= cost(flat, Usage(used)).charged_nano


@given(st.lists(routes(), min_size=1, max_size=3), st.data())
def test_the_hold_covers_every_plain_call_within_its_bounds(ways: list[Route], data: st.DataObject) -> None:
    used = data.draw(st.dictionaries(st.sampled_from(PLAIN_UNITS), st.integers(0, 200_000)))
    usage = Usage(used)
    held = bound(ways).hold_nano(usage.total(INPUT_UNITS), usage.total(OUTPUT_UNITS))
    assert all(cost(way, usage).charged_nano <= held for way in ways)


@given(st.lists(routes(), min_size=1, max_size=3), counts)
def test_the_widest_hold_covers_every_call(ways: list[Route], used: dict[Unit, int]) -> None:
    usage = Usage(used)
    held = bound(ways, long_cache=True, audio=True).hold_nano(usage.total(INPUT_UNITS), usage.total(OUTPUT_UNITS))
    assert all(cost(way, usage).charged_nano <= held for way in ways)


@given(st.lists(routes(), min_size=1, max_size=3))
def test_rare_tokens_without_a_price_of_their_own_are_held_for_as_plain_ones(ways: list[Route]) -> None:
    """So that nobody has to look whether a call to such a model may use them."""
    tiers = [
        tuple((start, {unit: pico for unit, pico in prices.items() if unit not in RARE}) for start, prices in each)
        for each in (way.price.tiers for way in ways)
    ]
    plain = [replace(way, price=Price(left)) for way, left in zip(ways, tiers, strict=True)]
    assert bound(plain) == bound(plain, long_cache=True, audio=True)


@given(st.lists(routes(), min_size=1, max_size=3), st.integers(0, 300_000), st.integers(0, 10**12))
def test_output_tokens_is_the_largest_number_that_the_money_covers(ways: list[Route], tokens: int, nano: int) -> None:
    limit = bound(ways)
    fits = limit.output_tokens(tokens, nano)
    assert fits == -1 or limit.hold_nano(tokens, fits) <= nano or fits == 2**31
    if fits < 2**31:
        assert limit.hold_nano(tokens, fits + 1 if fits >= 0 else 0) > nano


@given(st.lists(routes(), min_size=1, max_size=4), counts)
def test_the_dearest_price_is_nowhere_below_any(ways: list[Route], used: dict[Unit, int]) -> None:
    merged = Route("host", "model", dearest(way.price for way in ways))
    assert all(
        cost(merged, Usage(used)).upstream_pico >= cost(Route("host", "model", way.price), Usage(used)).upstream_pico
        for way in ways
    )


def test_the_tier_is_chosen_by_all_input_together() -> None:
    way = route((0, {"input": 1, "output": 1}), (100, {"input": 2, "output": 3}))
    charge = cost(way, Usage({"input": 50, "cache_read": 50, "output": 10}))
    assert [line.pico_per_unit for line in charge.lines] == [2, 2, 3]


def test_each_of_several_turns_has_a_tier_of_its_own_and_all_are_rounded_once() -> None:
    way = route((0, {"input": 3, "cache_read": 1, "output": 5}), (100, {"input": 7, "cache_read": 2, "output": 9}))
    turns: tuple[dict[Unit, int], ...] = ({"input": 99, "output": 1}, {"input": 60, "cache_read": 40, "output": 1})
    found = cost(way, Usage({"input": 159, "cache_read": 40, "output": 2}, turns=turns))
    assert [line.pico for line in found.lines] == [297, 5, 420, 80, 9]
    assert (found.upstream_pico, found.charged_nano) == (811, 1)
    assert cache_saved_nano(replace(way, markup=Ratio(1_000, 1)), Usage({}, turns=turns)) == 40 * (7 - 2)


def test_one_token_below_the_tier_pays_the_lower_price() -> None:
    way = route((0, {"input": 1, "output": 1}), (100, {"input": 2, "output": 3}))
    assert cost(way, Usage({"input": 99, "output": 10})).upstream_pico == 99 + 10


@pytest.mark.parametrize(
    ("unit", "pico"),
    [
        ("cache_read", 1_000),
        ("cache_write_5m", 1_000),
        ("cache_write_1h", 1_000),
        ("audio_cache_read", 1_000),
        ("reasoning", 5_000),
        ("image_output", 5_000),
    ],
)
def test_a_bucket_without_price_is_billed_at_its_stand_in(unit: Unit, pico: int) -> None:
    assert cost(route((0, {"input": 1_000, "output": 5_000})), Usage({unit: 1})).upstream_pico == pico


def test_the_one_hour_write_stands_on_the_five_minute_one() -> None:
    assert unit_price({"input": 1, "cache_write_5m": 7}, "cache_write_1h") == 7


def test_a_unit_without_any_price_is_an_alarm_and_never_free() -> None:
    with pytest.raises(UnpricedUsage) as caught:
        cost(route((0, {"input": 1, "output": 1})), Usage({"search": 3}))
    assert (caught.value.unit, caught.value.count) == ("search", 3)


def test_an_explicit_zero_of_an_unpriced_unit_is_nothing() -> None:
    assert cost(route((0, {"input": 1, "output": 1})), Usage({"search": 0})).lines == ()


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        cost(route((0, {"input": 1, "output": 1})), Usage({"input": -1}))


def test_a_flat_fee_counts_once_by_itself() -> None:
    charge = cost(route((0, {"input": 1, "output": 1, "request": 12_000_000})), Usage({"input": 5}))
    assert charge.upstream_pico == 12_000_005


def test_a_flat_fee_that_the_upstream_counts_is_not_counted_again() -> None:
    charge = cost(route((0, {"input": 1, "output": 1, "request": 10})), Usage({"request": 2}))
    assert charge.upstream_pico == 20


def test_searches_have_lines_of_their_own() -> None:
    charge = cost(route((0, {"input": 1, "output": 1, "search": 10_000_000_000})), Usage({"search": 2}))
    assert charge.charged_nano == 20_000_000


def test_the_markup_is_exact() -> None:
    # 1,000 tokens at $3 per million is $0.003; times 1.05 is $0.00315 to the nano-dollar.
    way = route((0, {"input": 3_000_000, "output": 1}), markup=Ratio(21, 20))
    assert cost(way, Usage({"input": 1_000})).charged_nano == 3_150_000


def test_a_fraction_of_a_nano_dollar_rounds_up() -> None:
    assert cost(route((0, {"input": 1, "output": 1})), Usage({"input": 1})).charged_nano == 1


def test_nothing_used_costs_nothing() -> None:
    assert cost(route((0, {"input": 1, "output": 1})), Usage({})).charged_nano == 0


def test_the_upstreams_figure_is_the_upstreams_cost_and_not_the_callers() -> None:
    charge = cost(route((0, {"input": 1_000, "output": 1})), Usage({"input": 10}, upstream_cost_pico=99_000))
    assert (charge.upstream_pico, charge.charged_nano) == (99_000, 10)


def test_a_route_marked_so_bills_the_reported_cost() -> None:
    way = route((0, {"input": 1_000, "output": 1}), markup=Ratio(21, 20), reported=True)
    charge = cost(way, Usage({"input": 10}, upstream_cost_pico=100_000))
    assert (charge.upstream_pico, charge.charged_nano) == (100_000, 105)


def test_a_reported_cost_below_zero_is_zero() -> None:
    way = route((0, {"input": 1_000, "output": 1}), reported=True)
    charge = cost(way, Usage({"input": 10}, upstream_cost_pico=-5))
    assert (charge.upstream_pico, charge.charged_nano) == (0, 0)


def test_a_route_marked_so_falls_back_on_the_table() -> None:
    assert cost(route((0, {"input": 1_000, "output": 1}), reported=True), Usage({"input": 10})).charged_nano == 10


def test_the_hold_is_the_dearest_over_the_routes_with_each_its_own_markup() -> None:
    cheap = route((0, {"input": 1_000, "output": 1_000}), markup=Ratio(3, 1))
    dear = route((0, {"input": 2_000, "output": 2_000}))
    assert bound([cheap, dear]).hold_nano(10, 0) == 30


def test_a_tier_beyond_the_bound_does_not_raise_the_hold() -> None:
    way = route((0, {"input": 1_000, "output": 1_000}), (1_000, {"input": 9_000, "output": 9_000}))
    assert (bound([way]).hold_nano(999, 0), bound([way]).hold_nano(1_000, 0)) == (999, 9_000)


def test_a_plain_hold_takes_the_five_minute_write_and_not_the_hours() -> None:
    way = route((0, {"input": 1_000, "cache_write_5m": 1_250, "cache_write_1h": 2_000, "output": 1}))
    assert bound([way]).hold_nano(1_000, 0) == 1_250
    assert bound([way], long_cache=True).hold_nano(1_000, 0) == 2_000


def test_audio_prices_are_held_only_where_audio_may_come() -> None:
    way = route((0, {"input": 1_000, "audio_input": 9_000, "output": 1, "audio_output": 8_000}))
    assert bound([way]).hold_nano(1_000, 0) == 1_000
    assert bound([way], audio=True).hold_nano(1_000, 1_000) == 17_000


def test_the_hold_contains_fees_and_searches() -> None:
    way = route((0, {"input": 1_000, "output": 1_000, "request": 5_000, "search": 7_000}))
    assert bound([way]).hold_nano(1, 1, searches=2) == 1 + 1 + 5 + 14


def test_without_routes_nothing_is_held() -> None:
    assert Bound(()).hold_nano(1_000, 1_000) == 0


@given(routes(), counts)
def test_what_the_cache_saved_is_never_more_than_the_difference(way: Route, used: dict[Unit, int]) -> None:
    plain: dict[Unit, int] = dict(used)
    for unit, other in (("cache_read", "input"), ("audio_cache_read", "audio_input")):
        plain[other] = plain.get(other, 0) + plain.pop(unit, 0)  # type: ignore[index, call-overload]
    saved = cache_saved_nano(way, Usage(used))
    difference = Fraction(
        (cost(way, Usage(plain)).upstream_pico - cost(way, Usage(used)).upstream_pico) * way.markup.numerator,
        1_000 * way.markup.denominator,
    )
    assert saved == max(0, difference.__floor__())


def test_the_tier_counts_for_what_the_cache_saved() -> None:
    way = route((0, {"input": 3_000_000, "cache_read": 300_000}), (1_000, {"input": 6_000_000, "cache_read": 600_000}))
    assert cache_saved_nano(way, Usage({"cache_read": 999})) == 999 * 2_700
    assert cache_saved_nano(way, Usage({"cache_read": 999, "input": 1})) == 999 * 5_400
    assert cache_saved_nano(way, Usage({"input": 10_000})) == 0


@pytest.mark.parametrize(
    ("prices", "pays"),
    [
        ({"input": 10, "cache_write_5m": 12, "cache_read": 1}, True),
        ({"input": 10, "cache_write_5m": 12, "cache_read": 10}, False),
        ({"input": 10, "cache_write_5m": 12}, False),
        ({"input": 10, "cache_read": 1}, False),
        ({"input": 10}, False),
    ],
)
def test_when_caching_pays(prices: Mapping[Unit, int], pays: bool) -> None:
    assert caching_pays(Price(((0, prices),))) is pays
