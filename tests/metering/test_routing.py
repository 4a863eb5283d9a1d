"""Which routes are left and in which order, and where conversations are remembered to be warm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import pytest

from perquery.calls import Ask, Call, Dialect, Kind, Preferences, Price, Reply, Route, Upstream
from perquery.catalog.models import Found, Model
from perquery.catalog.price import bound, dearest
from perquery.errors import NotFound
from perquery.metering.live import Live
from perquery.metering.routing import REMEMBERED, WARM_S, Conversations, planned, routes_for, signed_by
from perquery.money import ONE, Ratio


@dataclass(frozen=True)
class Host:
    name: str
    keeps_nothing: bool = False
    dialects: tuple[Dialect, ...] = ("openai-chat",)
    cancel_stops_billing: bool = True
    kinds: frozenset[Kind] = frozenset()

    async def send(self, ask: Ask) -> Reply:
        raise NotImplementedError


def route(name: str, input: int, output: int, *, markup: Ratio = ONE, **units: int) -> Route:
    """Prices in micro-USD per million, which is pico-USD per token."""
    return Route(name, f"{name}-m", Price(((0, {"input": input, "output": output, **units}),)), markup)  # type: ignore[dict-item]


A = route("a", 3_000_000, 9_000_000)
B = route("b", 1_000_000, 2_000_000, markup=Ratio(21, 20))
C = route("c", 2_000_000, 2_000_000, reasoning=8_000_000)
HOSTS: Mapping[str, Upstream] = {"a": Host("a"), "b": Host("b"), "c": Host("c", keeps_nothing=True)}
CALL = Call("openai-chat", "m", {"messages": [{"role": "user", "content": "x"}]}, b"x" * 100, text_bytes=100)


def found(*routes: Route, id: str = "m", suffixes: tuple[str, ...] = ()) -> Found:
    day = date(2026, 1, 1)
    model = Model(
        *(id, id, "chat", 0, 1000, 100, ("text",), ("text",), (), frozenset(), None, None, routes, routes, (), "", ""),
        as_of=day,
        free=False,
        price=dearest(each.price for each in routes),
        bound=bound(routes),
    )
    return Found(model, id, {}, False, suffixes)


def left(wishes: Preferences, *, suffixes: tuple[str, ...] = (), live: Live | None = None, call: Call = CALL) -> str:
    asked = replace(call, preferences=wishes)
    kept = routes_for(found(A, B, C, suffixes=suffixes), asked, HOSTS, live or Live())
    return "".join(each.provider for each in kept)


ORDERS: list[tuple[dict[str, Any], str]] = [
    ({}, "abc"),
    ({"order": ("c", "x", "a")}, "cab"),
    ({"only": frozenset("cb")}, "bc"),
    ({"ignore": frozenset("b")}, "ac"),
    ({"sort": "price"}, "bca"),
    ({"sort": "price", "order": ("a",)}, "abc"),
    ({"allow_fallbacks": False}, "a"),
    ({"sort": "price", "allow_fallbacks": False}, "b"),
    ({"order": ("x", "c", "b"), "allow_fallbacks": False}, "c"),
    ({"keeps_nothing": "zdr"}, "c"),
    ({"price_max": {"input": 1_050_000 * 10**6}}, "b"),
    ({"price_max": {"input": 2_000_000 * 10**6}}, "bc"),
    ({"price_max": {"output": 2_100_000 * 10**6}}, "b"),
    ({"price_max": {"output": 8_000_000 * 10**6}}, "bc"),
    ({"price_max": {"request": 0, "image": 0}}, "abc"),
]


@pytest.mark.parametrize(
    ("wishes", "expected"), ORDERS, ids=[f"{n}-{'-'.join(each)}" for n, (each, _) in enumerate(ORDERS)]
)
def test_what_is_left_and_in_which_order(wishes: dict[str, Any], expected: str) -> None:
    assert left(Preferences(**wishes)) == expected


def test_a_price_that_is_above_by_the_least_is_above() -> None:
    with pytest.raises(NotFound) as caught:
        left(Preferences(price_max={"input": 1_050_000 * 10**6 - 1}))
    assert (caught.value.code, caught.value.param) == ("no_upstream_left", "provider.max_price")
    assert "there are: a, b, c." in caught.value.message


def test_the_ceiling_holds_in_every_tier_that_the_input_may_reach() -> None:
    tiered = Route("a", "m", Price(((0, {"input": 1, "output": 1}), (200, {"input": 9, "output": 1}))))
    for size, expected in ((199, 1), (200, 0)):
        call = replace(CALL, text_bytes=size, preferences=Preferences(price_max={"input": 10**6}))
        try:
            kept: Sequence[Route] = routes_for(found(tiered), call, HOSTS, Live())
        except NotFound:
            kept = ()
        assert len(kept) == expected


def test_a_fee_for_the_request_is_held_against_its_ceiling() -> None:
    fee = route("a", 1, 1, request=10**10)  # a cent
    for most, expected in ((10**16, 1), (10**16 - 1, 0)):
        call = replace(CALL, preferences=Preferences(price_max={"request": most}))
        try:
            kept: Sequence[Route] = routes_for(found(fee), call, HOSTS, Live())
        except NotFound:
            kept = ()
        assert len(kept) == expected


def test_by_live_figures_the_unknown_first() -> None:
    live = Live()
    live.spoke(A, 0.1)
    live.ended(A, 100, 10.0)
    assert left(Preferences(sort="latency"), live=live) == "bca"
    for each, waited_s, lasted_s in ((B, 0.2, 1.0), (C, 0.05, 5.0)):
        live.spoke(each, waited_s)
        live.ended(each, 100, lasted_s)
    assert left(Preferences(sort="latency"), live=live) == "cab"
    assert left(Preferences(sort="throughput"), live=live) == "bca"
    assert left(Preferences(), suffixes=("nitro",), live=live) == "bca"
    assert left(Preferences(sort="latency"), suffixes=("nitro",), live=live) == "cab"


def test_a_suffix_for_the_cheapest() -> None:
    assert left(Preferences(), suffixes=("online", "floor")) == "bca"


# -- plans --------------------------------------------------------------------------------------------------------

D = route("d", 50_000_000, 90_000_000)


def test_several_models_one_behind_the_other() -> None:
    one, two = found(A, B, C), found(D, id="n")
    plan = planned([one, two], replace(CALL, preferences=Preferences(models=("n",))), HOSTS, Live(), 2)
    assert [each.provider for each in plan.routes] == ["a", "b", "d"]
    assert [plan.found_at(each).model.id for each in plan.routes] == ["m", "m", "n"]
    assert ([each.id for each in plan.models()], plan.usual) == (["m", "n"], False)
    plan.lead(lambda route: route in (B, D))
    assert [each.provider for each in plan.routes] == ["b", "a", "d"], "never the second model before the first"


def test_a_model_of_which_nothing_is_left_is_passed_over() -> None:
    wishes = Preferences(models=("n",), only=frozenset("d"))
    plan = planned([found(A), found(D, id="n")], replace(CALL, preferences=wishes), HOSTS, Live(), 4)
    assert (plan.found.model.id, [each.provider for each in plan.routes], plan.others) == ("n", ["d"], {})
    with pytest.raises(NotFound, match="for m; there are: a"):
        planned([found(A), found(B, id="n")], replace(CALL, preferences=wishes), HOSTS, Live(), 4)


def test_the_bound_over_some_routes_is_theirs() -> None:
    model = found(A, B, C).model
    assert model.bound_over([C, A]).hold_nano(10, 10) == bound([A, C]).hold_nano(10, 10)
    assert model.bound_over([B]).hold_nano(10, 10) == bound([B]).hold_nano(10, 10) < model.bound.hold_nano(10, 10)


@pytest.mark.parametrize(
    ("wishes", "suffixes", "order"),
    [
        (Preferences(), (), "ours"),
        (Preferences(), ("nitro",), "live"),
        (Preferences(sort="latency"), ("floor",), "live"),
        (Preferences(), ("floor",), "theirs"),
        (Preferences(order=("a",)), (), "theirs"),
    ],
)
def test_whose_order_it_is(wishes: Preferences, suffixes: tuple[str, ...], order: str) -> None:
    plan = planned([found(A, B, suffixes=suffixes)], replace(CALL, preferences=wishes), HOSTS, Live(), 4)
    assert (plan.order, plan.usual) == (order, True)


# -- conversations ------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_five_minutes_after_the_last_answer_it_is_cold() -> None:
    clock = Clock()
    warm = Conversations(clock)
    key = warm.key(1, CALL, "m")
    warm.served(key, B, first=False)
    clock.now = WARM_S - 1
    assert warm.route(key) == ("b", "b-m")
    warm.served(key, B, first=False)
    clock.now = 2 * WARM_S - 2
    assert warm.route(key) == ("b", "b-m")
    clock.now = 2 * WARM_S
    assert (warm.route(key), len(warm)) == (None, 0)


def test_back_at_the_first_route_nothing_is_kept() -> None:
    warm = Conversations(Clock())
    key = warm.key(1, CALL, "m")
    warm.served(key, B, first=False)
    warm.served(key, A, first=True)
    assert (warm.route(key), len(warm)) == (None, 0)


def test_so_many_and_the_one_not_used_for_longest_goes() -> None:
    warm = Conversations(Clock())
    for account in range(REMEMBERED + 1):
        warm.served((account, "m", 0), B, first=False)
        warm.served((0, "m", 0), B, first=False)
    assert len(warm) == REMEMBERED
    assert (warm.route((0, "m", 0)) is None, warm.route((1, "m", 0)) is None) == (False, True)


def said(*messages: tuple[str, Any], **fields: Any) -> Call:
    return replace(CALL, body={"messages": [{"role": role, "content": text} for role, text in messages], **fields})


def test_what_a_conversation_is_known_by() -> None:
    key = Conversations(Clock()).key
    begun = said(("system", "s"), ("user", "a"))
    assert key(1, begun, "m") == key(1, said(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c")), "m")
    others = (
        key(2, begun, "m"),
        key(1, begun, "n"),
        key(1, said(("system", "t"), ("user", "a")), "m"),
        key(1, said(("system", "s"), ("user", [{"type": "text", "text": "b"}])), "m"),
        key(1, said(("system", "s"), ("user", "a"), session_id="x"), "m"),
        key(1, said(("system", "s"), ("user", "a"), prompt_cache_key="x"), "m"),
        key(1, said(("system", "s"), ("user", "a"), session_id="y"), "m"),
    )
    assert len({key(1, begun, "m"), *others}) == 8
    one, two = said(("user", "a"), session_id="x"), said(("user", "b"), session_id="x")
    assert key(1, one, "m") == key(1, two, "m")


@pytest.mark.parametrize("odd", [1, [], {"x": 1}, "", None])
def test_a_name_that_is_none_is_no_name(odd: Any) -> None:
    key = Conversations(Clock()).key
    assert key(1, said(("user", "a"), session_id=odd), "m") == key(1, said(("user", "a")), "m")


def test_what_is_nested_too_deeply_breaks_nothing() -> None:
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    assert Conversations(Clock()).key(1, said(("user", deep)), "m") == (1, "m", 0)


def test_whose_thinking_it_carries() -> None:
    def thought(*formats: Any) -> dict[str, Any]:
        return {"role": "assistant", "reasoning_details": [{"format": format} for format in formats]}

    assert signed_by([thought("anthropic-claude-v1"), {"role": "user"}]) == "anthropic"
    assert signed_by([thought("anthropic-claude-v1"), thought("google-gemini-v1")]) == "gemini"
    assert signed_by([thought("xai-responses-v1", None, ["x"], 3)]) is None
    assert (
        signed_by([{"role": "assistant", "reasoning_details": odd} for odd in (None, 1, "x", [1, "x"], {"format": 1})])
        is None
    )
