"""Whom a call may be served by, in which order: from a model's routes, the caller's preferences and live figures.

`routes_for` is pure. `Conversations` remembers at which route a conversation's prompt cache is warm. Neither knows
who is well: Health puts those that cool down last, after all that is decided here. It must never decide a price, nor
add a route that the caller left out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import orjson

from perquery.calls import Call, Dialect, Preferences, Route, Sort, Unit, Upstream
from perquery.catalog.models import Found, Model
from perquery.catalog.price import caller_atto
from perquery.dialects.thoughts import ANTHROPIC, GEMINI, RESPONSES
from perquery.errors import NotFound
from perquery.metering.estimate import input_bound
from perquery.metering.live import Live
from perquery.metering.search import Searching

WARM_S: Final = 300.0
REMEMBERED: Final = 10_000
_NONE: Final = Preferences()
_SUFFIXES: Final[Mapping[str, Sort]] = {"nitro": "throughput", "floor": "price"}
_UNKNOWN: Final = -1  # sorts first: what was never measured is tried once
# What a ceiling is held against: tokens of thinking are the completion's.
_CEILED: Final[Mapping[Unit, tuple[Unit, ...]]] = {"output": ("output", "reasoning")}
_SIGNED_BY: Final[Mapping[str, Dialect]] = {ANTHROPIC: "anthropic", GEMINI: "gemini", RESPONSES: "openai-responses"}
_Key: TypeAlias = tuple[int, str, int]


@dataclass(slots=True)
class Plan:
    """routes: in the order in which they are to be tried, all of the first model before those of the next.

    found: the model of routes that `others` does not name. others: id of a route → its model, where there are several.
    usual: whether these are just the model's routes. order: "ours" (a conversation may keep its route), "live" (the
    same, and by figures that move) or "theirs". first: the route that comes first if nothing is remembered; None where
    a conversation has no choice. search: how the web is searched for it, where it is.
    """

    found: Found
    routes: Sequence[Route]
    others: Mapping[int, Found] = field(default_factory=dict)
    usual: bool = True
    order: Literal["ours", "live", "theirs"] = "ours"
    first: Route | None = None
    search: Searching | None = None

    def found_at(self, route: Route) -> Found:
        return self.others.get(id(route), self.found) if self.others else self.found

    def models(self) -> list[Model]:
        """The models that may answer, each once, in order."""
        return list({each.model.id: each.model for each in map(self.found_at, self.routes)}.values())

    def lead(self, fits: Callable[[Route], bool]) -> None:
        """Put what fits before the others, but no other model before the first."""
        self.routes = sorted(self.routes, key=lambda route: not (self.found_at(route) is self.found and fits(route)))


def planned(found: Sequence[Found], call: Call, upstreams: Mapping[str, Upstream], live: Live, most_each: int) -> Plan:
    """The plan for these models, in order; where there are several, each has at most so many routes.

    Raises NotFound, the first model's, where the preferences leave no route of any.
    """
    first: NotFound | None = None
    routes: list[Route] = []
    served: dict[int, Found] = {}
    for each in found:
        try:
            left = routes_for(each, call, upstreams, live)
        except NotFound as error:
            first = first or error
            continue
        kept = left if len(found) == 1 else left[:most_each]
        routes += kept
        served |= {id(route): each for route in kept}
    if first is not None and not routes:
        raise first
    main = served[id(routes[0])]
    others = {route: each for route, each in served.items() if each is not main}
    usual = not others and len(routes) == len(main.model.routes)
    return Plan(main, routes, others, usual, _order_of(main, call.preferences or _NONE))


def _order_of(found: Found, wishes: Preferences) -> Literal["ours", "live", "theirs"]:
    sort = _sort_of(found, wishes)
    if wishes.order or sort == "price":
        return "theirs"
    return "ours" if sort is None else "live"


def routes_for(found: Found, call: Call, upstreams: Mapping[str, Upstream], live: Live) -> list[Route]:
    """The model's routes that the caller's preferences leave, in the order that they ask for.

    Raises NotFound where none is left, with the preference that left none and the upstreams that there are.
    """
    wishes = call.preferences or _NONE
    routes = list(found.model.routes)
    for name, fits in _filters(wishes, call, upstreams):
        routes = [route for route in routes if fits(route)]
        if not routes:
            raise _nothing_left(found, name)
    if (sort := _sort_of(found, wishes)) is not None:
        routes.sort(key=_sorting(sort, live))
    if wishes.order:
        routes.sort(key=lambda route: wishes.order.index(route.provider) if route.provider in wishes.order else 10**6)
    return routes if wishes.allow_fallbacks else routes[:1]


def _filters(
    wishes: Preferences, call: Call, upstreams: Mapping[str, Upstream]
) -> Iterator[tuple[str, Callable[[Route], bool]]]:
    if wishes.only:
        yield "only", lambda route: route.provider in wishes.only
    if wishes.ignore:
        yield "ignore", lambda route: route.provider not in wishes.ignore
    if wishes.order and not wishes.allow_fallbacks:
        yield "order", lambda route: route.provider in wishes.order
    if wishes.keeps_nothing:
        yield wishes.keeps_nothing, lambda route: upstreams[route.provider].keeps_nothing
    if wishes.price_max:
        yield "max_price", lambda route: _within(route, wishes.price_max, input_bound(call))


def _within(route: Route, ceilings: Mapping[Unit, int], input_tokens: int) -> bool:
    """Whether the caller's price is at most that, in every tier that the input may reach."""
    starts = [start for start, _ in route.price.tiers if start <= input_tokens]
    return all(
        caller_atto(route, each, start) <= most
        for unit, most in ceilings.items()
        for each in _CEILED.get(unit, (unit,))
        for start in starts
    )


def _nothing_left(found: Found, name: str) -> NotFound:
    there = ", ".join(dict.fromkeys(route.provider for route in found.model.routes))
    return NotFound(
        f"`provider.{name}` leaves no upstream for {found.model.id}; there are: {there}.",
        code="no_upstream_left",
        param=f"provider.{name}",
    )


def _sort_of(found: Found, wishes: Preferences) -> Sort | None:
    """The body's word beats the suffix."""
    if wishes.sort is not None or not found.suffixes:
        return wishes.sort
    return next((_SUFFIXES[suffix] for suffix in found.suffixes if suffix in _SUFFIXES), None)


def _sorting(sort: Sort, live: Live) -> Callable[[Route], int]:
    """Smallest first."""

    def price(route: Route) -> int:
        return caller_atto(route, "input") + caller_atto(route, "output")

    def latency(route: Route) -> int:
        known = live.of(route).latency_us
        return _UNKNOWN if known is None else known

    def slowness(route: Route) -> int:
        known = live.of(route).milli_tokens
        return _UNKNOWN if known is None else 10**18 // (known + 1)

    return {"price": price, "latency": latency, "throughput": slowness}[sort]


def signed_by(messages: Sequence[Mapping[str, Any]]) -> Dialect | None:
    """The dialect of the vendor whose thinking the conversation carries, the latest where there are several."""
    for message in reversed(messages):
        details = message.get("reasoning_details")
        for detail in details if isinstance(details, list) else ():
            if isinstance(detail, dict) and isinstance(format := detail.get("format"), str) and format in _SIGNED_BY:
                return _SIGNED_BY[format]
    return None


class Conversations:
    """Which route each conversation was served by, where it is not the one that would be tried first anyway.

    So the map is empty where all is well and nobody wishes for anything, and costs nothing there.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._warm: OrderedDict[_Key, tuple[tuple[str, str], float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._warm)

    def key(self, account_id: int, call: Call, model: str) -> _Key:
        """The conversation, by the caller's own name for it, else by how it begins."""
        body = call.body
        for name in ("session_id", "prompt_cache_key"):
            if isinstance(given := body.get(name), str) and given:
                return account_id, model, hash((name, given))
        try:
            return account_id, model, hash(orjson.dumps(list(_beginning(body["messages"]))))
        except orjson.JSONEncodeError:  # nested too deeply: it is refused when it is to be sent
            return account_id, model, 0

    def route(self, key: _Key) -> tuple[str, str] | None:
        """(provider, model there) of the route at which it is warm."""
        self._forget_cold()
        known = self._warm.get(key)
        return known[0] if known is not None else None

    def served(self, key: _Key, route: Route, *, first: bool) -> None:
        """An answer has begun. first: at the route that would be tried first if nothing were remembered."""
        if first:
            self._warm.pop(key, None)
            return
        self._forget_cold()
        self._warm[key] = ((route.provider, route.model), self._now() + WARM_S)
        self._warm.move_to_end(key)
        if len(self._warm) > REMEMBERED:
            self._warm.popitem(last=False)

    def _forget_cold(self) -> None:
        """Whoever was used last is due last, so the first are looked at alone."""
        now = self._now()
        while self._warm and next(iter(self._warm.values()))[1] <= now:
            self._warm.popitem(last=False)


def _beginning(messages: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
    """The first system message, if there is one, and the first of the user."""
    started = False
    for message in messages:
        role = message["role"]
        if role == "user":
            yield message.get("content")
            return
        if role in ("system", "developer") and not started:
            started = True
            yield message.get("content")
