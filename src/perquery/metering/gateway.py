"""The gateway: what a paid request needs, wired once; and how a chat call is planned and quoted.

It knows no caller and moves no money: `run` and `works` do, one request each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from perquery.calls import Call, Draft, Route, Upstream
from perquery.catalog.models import Found, Model
from perquery.catalog.price import RARE, Bound, bound
from perquery.config import Settings
from perquery.metering.admission import Admission
from perquery.metering.attempts import ATTEMPTS_MAX
from perquery.metering.caller import Pace, Watch
from perquery.metering.health import Health
from perquery.metering.meters import Meters
from perquery.metering.reserve import HOLD_PATIENCE_S, Quote, quote
from perquery.metering.routing import Conversations, Plan, planned, signed_by
from perquery.metering.search import Finding, arranged
from perquery.store.ledger import Ledger

# (upstream, body, model) → the body as the upstream takes it, and the parameters that were dropped.
Prepare: TypeAlias = Callable[[str, Draft, Model], tuple[bytes, list[str]]]


@dataclass(frozen=True, slots=True)
class Terms:
    """What follows from a model's routes. windowed: a part of the worst case is enough to begin with, on each.
    mixed: they speak more than one dialect. varied: there are kinds of token that only some calls may use, at prices of
    their own.
    """

    model: Model
    floor_tokens: int
    windowed: bool
    mixed: bool
    varied: bool


@dataclass(slots=True)
class Gateway:
    """What a run needs, wired once."""

    settings: Settings
    ledger: Ledger
    upstreams: Mapping[str, Upstream]
    prepare: Prepare
    meters: Meters
    now: Callable[[], float] = time.monotonic
    watch: Watch = field(default_factory=lambda: Watch(Pace()))
    hold_patience_s: float = HOLD_PATIENCE_S
    finding: Finding | None = None
    admission: Admission = field(init=False)
    health: Health = field(init=False)
    topup_url: str = field(init=False)
    conversations: Conversations = field(init=False)
    _terms: dict[str, Terms] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.admission = Admission(self.settings.limits.in_flight_max, self.now)
        self.health = Health(self.now)
        self.topup_url = self.settings.topup_url
        self.conversations = Conversations(self.now)

    def plan(self, call: Call, found: Sequence[Found], account_id: int) -> Plan:
        """Whom to ask: the model's routes as they are, unless the caller wishes otherwise or a conversation has one.

        Raises NotFound where the caller's preferences leave nobody.
        """
        main = found[0]
        if call.preferences is None and not main.suffixes:
            plan = Plan(main, main.model.routes)
        else:
            plan = planned(found, call, self.upstreams, self.health.live, ATTEMPTS_MAX)
        if call.search is not None:
            self._search(plan, call)
        if len(plan.routes) > 1 and plan.order != "theirs":
            self._lead(plan, call, account_id)
        return plan

    def _search(self, plan: Plan, call: Call) -> None:
        """How the web is searched for the call, and by which routes alone, where they do it themselves."""
        plan.search = arranged(call, plan.routes, self.upstreams, self.finding)
        if plan.search is not None and len(plan.search.routes) < len(plan.routes):
            plan.routes, plan.usual = plan.search.routes, False
            plan.found = plan.found_at(plan.routes[0])

    def _lead(self, plan: Plan, call: Call, account_id: int) -> None:
        """Where a vendor's thinking is to come back, that vendor's dialect first; then where the cache is warm."""
        signer = signed_by(call.body["messages"]) if self.terms(plan.found.model).mixed else None
        if signer is not None:
            plan.lead(lambda route: signer in self.upstreams[route.provider].dialects)
        plan.first = plan.routes[0]
        if self.conversations:
            key = self.conversations.key(account_id, call, plan.found.model.id)
            warm = self.conversations.route(key)
            plan.lead(lambda route: (route.provider, route.model) == warm)

    def remember(self, plan: Plan, call: Call, account_id: int, route: Route) -> None:
        """An answer has begun at this route: note it, where it is not the one that comes first by itself."""
        usual = route is plan.first and plan.order == "ours"
        if plan.first is not None and (self.conversations or not usual) and plan.found_at(route) is plan.found:
            key = self.conversations.key(account_id, call, plan.found.model.id)
            self.conversations.served(key, route, first=usual)

    def quote(self, call: Call, plan: Plan) -> Quote:
        """What the call may cost at the dearest of the plan's routes, searches included."""
        asked = self._quote(call, plan)
        if (search := plan.search) is not None:
            asked.added_tokens = search.input_tokens
            asked.input_tokens += search.input_tokens
            asked.searches, asked.fewer = search.uses, search.fewer
            asked.extra_nano = search.ours.price_nano if search.ours is not None else 0
        return asked

    def _quote(self, call: Call, plan: Plan) -> Quote:
        model = plan.found.model
        terms = self.terms(model)
        # Whether tokens may be dearer than a plain call's. (`in` would first take the bytes for a number.)
        dearer = (terms.varied or not plan.usual) and (
            call.raw.find(b'"1h"') >= 0 or call.raw.find(b'"input_audio"') >= 0
        )
        if plan.usual and not dearer:
            windowed = terms.windowed
            return quote(call, model.bound, model.id, model.output_tokens_max, terms.floor_tokens, windowed=windowed)
        models = plan.models()
        if dearer:
            reach = bound(plan.routes, long_cache=True, audio=True)
        else:
            reach = Bound(tuple(reach for each in models for reach in each.bound_over(plan.routes).reaches))
        longest = max(each.output_tokens_max for each in models)
        floor = max(route.min_output_tokens for route in plan.routes)
        asked = quote(call, reach, model.id, longest, floor, windowed=self._windowed(plan.routes))
        asked.others = tuple(each.id for each in models[1:])
        return asked

    def terms(self, model: Model) -> Terms:
        terms = self._terms.get(model.id)
        if terms is None or terms.model is not model:
            floor = max(route.min_output_tokens for route in model.routes)
            spoken = {dialect for route in model.routes for dialect in self.upstreams[route.provider].dialects}
            varied = any(not RARE.isdisjoint(prices) for route in model.routes for _, prices in route.price.tiers)
            terms = Terms(model, floor, self._windowed(model.routes), len(spoken) > 1, varied)
            self._terms[model.id] = terms
        return terms

    async def flush(self) -> None:
        """Let Prometheus see what has happened."""
        self.meters.flush(self.admission.in_flight, self.health.live)

    def _windowed(self, routes: Sequence[Route]) -> bool:
        """Whether a part of the worst case is enough to begin with, on every route that may serve."""
        return all(not route.hides_output and self.upstreams[route.provider].cancel_stops_billing for route in routes)
