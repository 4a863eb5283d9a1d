"""One request from quote to settlement: the straight line that every chat call takes.

A hold first, then the upstream; every answer is relayed as it comes and settled exactly once, before its last
byte leaves, whether the caller stays or goes, the upstream finishes or breaks, the gateway lives or is stopped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from perquery import money
from perquery.accounts import Access
from perquery.calls import (
    OUTPUT_UNITS,
    Ask,
    Call,
    Dialect,
    Draft,
    Figures,
    Findings,
    Route,
    Search,
    Upstream,
    Usage,
    Writer,
)
from perquery.catalog.models import Found, Model
from perquery.catalog.price import Bound, bound, caching_pays
from perquery.config import Settings
from perquery.dialects import chat
from perquery.dialects.native import native_body
from perquery.dialects.search import cited, question_in, told
from perquery.errors import BadRequest, PerQueryError, UpstreamError, UpstreamUnavailable
from perquery.metering.admission import Admission
from perquery.metering.attempts import ATTEMPTS_MAX, Answer, Attempts, unavailable
from perquery.metering.caller import SSE_HEADERS, Caller, Pace, encoded
from perquery.metering.health import Health
from perquery.metering.idempotency import Served
from perquery.metering.meters import Meters
from perquery.metering.relay import Relay
from perquery.metering.reserve import HOLD_PATIENCE_S, EmptyBalance, Held, Patience, Quote, quote, reserved
from perquery.metering.routing import Conversations, Plan, planned, signed_by
from perquery.metering.search import Finding, arranged, searching
from perquery.metering.settlement import FREE, Bill, Receipt, Rule, Seen, bill, cost_fields, rule_of, with_search
from perquery.store.ledger import Ledger
from perquery.store.operations import Result

# (upstream, body, model) → the body as the upstream takes it, and the parameters that were dropped.
Prepare: TypeAlias = Callable[[str, Draft, Model], tuple[bytes, list[str]]]


@dataclass(frozen=True, slots=True)
class Terms:
    """What follows from a model's routes. windowed: a part of the worst case is enough to begin with, on each.
    mixed: they speak more than one dialect.
    """

    model: Model
    floor_tokens: int
    windowed: bool
    mixed: bool


@dataclass(slots=True)
class Gateway:
    """What a run needs, wired once."""

    settings: Settings
    ledger: Ledger
    upstreams: Mapping[str, Upstream]
    prepare: Prepare
    meters: Meters
    now: Callable[[], float] = time.monotonic
    pace: Pace = field(default_factory=Pace)
    hold_patience_s: float = HOLD_PATIENCE_S
    finding: Finding | None = None
    admission: Admission = field(init=False)
    health: Health = field(init=False)
    conversations: Conversations = field(init=False)
    _terms: dict[str, Terms] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.admission = Admission(self.settings.limits.in_flight_max, self.now)
        self.health = Health(self.now)
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
        dearer = b'"1h"' in call.raw or b'"input_audio"' in call.raw  # tokens that may be dearer than a plain call's
        if plan.usual and not dearer:
            terms = self.terms(model)
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
            terms = Terms(model, floor, self._windowed(model.routes), len(spoken) > 1)
            self._terms[model.id] = terms
        return terms

    async def flush(self) -> None:
        """Let Prometheus see what has happened."""
        self.meters.flush(self.admission.in_flight, self.health.live)

    def _windowed(self, routes: Sequence[Route]) -> bool:
        """Whether a part of the worst case is enough to begin with, on every route that may serve."""
        return all(not route.hides_output and self.upstreams[route.provider].cancel_stops_billing for route in routes)


@dataclass(slots=True)
class Run:
    """One request's state. Made by `run`."""

    gateway: Gateway
    call: Call
    plan: Plan
    safety_id: str | None
    caller: Caller
    receipt: Receipt
    attempts: Attempts
    headers: dict[str, str]
    writer: Writer
    began_s: float
    go_on: Callable[[Usage], Awaitable[bool]] | None = None
    findings: Findings | None = None
    seen: Seen = field(default_factory=Seen)

    def ask(self, route: Route, cap_tokens: int | None, *, stream: bool) -> Ask:
        """The upstream's body: the caller's own, the upstream's model name and options in it.

        cap_tokens: what the hold covers, where it is less than the caller states. Above the model's own maximum is
        nothing held for.
        """
        call, model = self.call, self.plan.found_at(route).model
        if (cap_tokens or call.cap_tokens or 0) > model.output_tokens_max:
            cap_tokens = model.output_tokens_max
        wish = self._wish()
        dialect, native = self._dialect(route, wish, stream=stream)
        if native:
            body = native_body(call, route.model, cap_tokens=cap_tokens, stream=stream, wish=wish)
        else:
            body = chat.upstream_body(call, route.model, cap_tokens=cap_tokens, stream=stream)
            if wish is not None:
                body["web_search"] = wish
        caching = call.caching and caching_pays(route.price)
        draft = Draft(body, dialect, native, caching, call.text_bytes, self.safety_id)
        data, dropped = self.gateway.prepare(route.provider, draft, model)
        if dropped and call.preferences is not None and call.preferences.takes_all:
            raise BadRequest(
                f"{model.id} does not take {', '.join(f'`{name}`' for name in dropped)}; leave it out,"
                " or leave out `provider.require_parameters` to have it dropped.",
                param=dropped[0],
                code="unsupported_parameter",
            )
        call.dropped += [name for name in dropped if name not in call.dropped]
        timeouts = self.gateway.settings.timeouts
        headers, go_on = call.forward, self.go_on if wish is not None else None
        return Ask(route.model, data, stream, timeouts.total_s, timeouts.idle_s, native, dialect, headers, go_on)

    def began(self, answer: Answer) -> None:
        """An answer has begun: what it is called by, and where the conversation goes on."""
        found = self.plan.found_at(answer.route)
        if found.requested != self.call.model:
            self.call.model = found.model.id
        if found is not self.plan.found:
            self.receipt.model = found.model.id
            for name in self.plan.found.note_headers:
                del self.headers[name]
            self.headers |= found.note_headers
        self.receipt.first_event_ms = self.elapsed_ms()
        self.gateway.remember(self.plan, self.call, self.receipt.account_id, answer.route)

    def _wish(self) -> Search | None:
        """For web search, where the upstream itself is to search."""
        search = self.plan.search
        return search.wish if search is not None and search.ours is None else None

    def _dialect(self, route: Route, wish: Search | None, *, stream: bool) -> tuple[Dialect, bool]:
        """Which of an upstream's dialects it is asked in, and whether that is the caller's own.

        Chat is the internal form, so it needs no word here. What chat cannot say, or is not answered in for this
        model, is said in Responses.
        """
        call, spoken = self.call, self.gateway.upstreams[route.provider].dialects
        if wish is not None:
            searching_in = searching(route, spoken)
            assert searching_in is not None
            return searching_in, call.native is not None and call.dialect == searching_in and stream == call.stream
        if call.native is not None and call.dialect in spoken and stream == call.stream and self.findings is None:
            return call.dialect, True
        if "openai-responses" in spoken and (route.responses == "only" or _fits_responses(call, route)):
            return "openai-responses", False
        return spoken[0], False

    async def search(self) -> None:
        """Search for the caller, and put what was found into the conversation. Raises UpstreamUnavailable."""
        search = self.plan.search
        if search is None or search.ours is None:
            return
        messages = self.call.body.get("messages") or []
        try:
            self.findings = await search.ours.finder.find(question_in(messages), search.wish)
        except UpstreamError as error:
            self.attempts.log.append({"provider": "exa", "error": error.kind, "status": error.status})
            raise UpstreamUnavailable("The web search failed; you were not charged.") from error
        self.receipt.searched_pico = self.findings.cost_pico
        day = datetime.now(UTC).date().isoformat()
        self.call.body = {**self.call.body, "messages": told(messages, self.findings.sources, day)}

    def cited(self, answer: dict[str, Any]) -> dict[str, Any] | None:
        """An answer's event with the sources of our search, where it is to carry them."""
        return cited(answer, self.findings.sources) if self.findings is not None else None

    def bill(self, route: Route, rule: Rule) -> Bill:
        """What was served and, where we searched, the search."""
        paid = bill(self.call, route, self.seen, rule)
        if self.findings is None or self.plan.search is None or self.plan.search.ours is None:
            return paid
        return with_search(paid, self.plan.search.ours.price_nano, self.findings.cost_pico)

    def elapsed_ms(self) -> int:
        return round((self.gateway.now() - self.began_s) * 1000)


def _fits_responses(call: Call, route: Route) -> bool:
    """Whether a call to an upstream that speaks chat too is better asked in Responses."""
    tools = route.responses == "tools" and call.body.get("tools")
    return call.choices == 1 and bool(tools or call.body.get("reasoning"))


async def run(
    gateway: Gateway,
    call: Call,
    found: Sequence[Found],
    access: Access,
    caller: Caller,
    source: str | None,
    named: tuple[str, int],
    writer: Writer,
) -> Served:
    """Serve one call; how much of an answer was charged. found: the model, then those that may answer in its place.
    named: the generation's id and its time in ms.

    Raises PerQueryError for a call that is free: the caller is still to be told, in the stream where
    `caller.started`.
    """
    id, at_ms = named
    plan = gateway.plan(call, found, access.account_id)
    receipt = Receipt(id, access.account_id, access.key_id, at_ms, plan.found.model.id, source, call.stream)
    attempts = Attempts(gateway.upstreams, gateway.health)
    headers = {"x-perquery-generation-id": id, "x-request-id": id, "request-id": id, **plan.found.note_headers}
    if gateway.settings.sandbox:
        headers["x-perquery-sandbox"] = "1"
    request = Run(gateway, call, plan, access.safety_id, caller, receipt, attempts, headers, writer, gateway.now())
    with gateway.admission.place(access.account_id):
        asked = gateway.quote(call, plan)
        patience = Patience(gateway.hold_patience_s, lambda: not caller.gone)
        caller.watch(gateway.pace)
        try:
            async with reserved(gateway.ledger, id, access, call, asked, patience) as held:
                gateway.admission.credited(access.account_id)
                return await _serve(request, asked, held)
        except EmptyBalance:
            gateway.admission.refused_empty(access.account_id)
            raise
        finally:
            caller.unwatch()


async def _serve(request: Run, asked: Quote, held: Held) -> Served:
    """With the money reserved: ask, relay, settle."""
    gateway, caller, call = request.gateway, request.caller, request.call
    call.caching = call.caching and held.caching
    _bound_searches(request, asked.searches)
    whole = held.amount >= asked.most
    search = request.plan.search
    stream = call.stream or (asked.windowed and not whole) or (search is not None and search.pauses)
    cap = None if whole or asked.windowed else _lowered(request, asked, held)
    if call.stream:  # a plain answer says what it is afterwards
        request.headers["x-perquery-balance"] = money.plain(held.balance)
    relay = Relay(caller, request.seen, held, asked, call, request.writer, windowed=asked.windowed and not whole)
    answer: Answer | None = None
    caller.on_gone = relay.caller_left
    if call.stream:
        caller.opening = _opening_headers(request)
    try:
        if search is not None:
            await request.search()
            relay.cited, request.go_on = request.cited, relay.go_on
        routes = _eligible(request, cap, stream=stream)
        answer = await request.attempts.begin(
            routes,
            lambda route: request.ask(route, cap, stream=stream),
            lambda: caller.kept or not caller.gone,
            max(ATTEMPTS_MAX, len(routes)) if request.plan.others else ATTEMPTS_MAX,
        )
        request.began(answer)
        if call.stream and not caller.started:
            await caller.start(200, _stream_headers(request))
        await relay.relay(answer, drain_s=gateway.settings.timeouts.drain_s)
    except PerQueryError as error:
        _not_served(request, held, error.code, "upstream_error")
        raise
    except asyncio.CancelledError:
        relay.stopped = True
        if answer is not None:
            _close(request, held, answer, relay)
        else:
            _not_served(request, held, "gateway_stopped", "gateway_stopped")
        raise
    if relay.error is not None:
        request.attempts.note(answer.route, relay.error)
    settled, paid = _close(request, held, answer, relay)
    await _finish(request, answer, relay, paid, await settled)
    return "nothing" if paid.rule in FREE else "part" if relay.dropped else "whole"


def _bound_searches(request: Run, uses: int) -> None:
    """No more searches than are held for; where that is none, the caller is told that they are left out."""
    search = request.plan.search
    if search is None or uses >= search.uses:
        return
    if uses:
        request.plan.search = replace(search, wish=replace(search.wish, uses=uses), uses=uses)
    else:
        request.plan.search = None
        request.call.dropped.append("web_search")


def _eligible(request: Run, cap: int | None, *, stream: bool) -> Sequence[Route]:
    """The plan's routes; where the caller wants every parameter taken, those that do so."""
    routes, wishes = request.plan.routes, request.call.preferences
    if wishes is None or not wishes.takes_all:
        return routes
    kept: list[Route] = []
    refusal: BadRequest | None = None
    for route in routes:
        try:
            request.ask(route, cap, stream=stream)
        except BadRequest as error:
            refusal = refusal or error
        else:
            kept.append(route)
    if refusal is not None and not kept:
        raise refusal
    return kept


def _lowered(request: Run, asked: Quote, held: Held) -> int:
    """The cap that the hold covers, per choice; the caller is told."""
    choices = request.call.choices
    stated = min(request.call.cap_tokens or asked.cap_tokens, asked.cap_tokens // choices)
    lowered = asked.tokens(held.amount) // choices
    request.receipt.capped_to = lowered
    request.headers["x-perquery-capped"] = f"{stated}→{lowered}"
    return lowered


def _stream_headers(request: Run) -> list[tuple[bytes, bytes]]:
    if request.call.dropped:
        request.headers["x-perquery-dropped"] = ", ".join(request.call.dropped)
    return [*SSE_HEADERS, *encoded(request.headers)]


def _opening_headers(request: Run) -> list[tuple[bytes, bytes]]:
    """For a stream that opens before anybody has answered, so that one of several models is not known yet."""
    headers = _stream_headers(request)
    unknown = {name.encode() for name in request.plan.found.note_headers} if request.plan.others else ()
    return [(name, value) for name, value in headers if name not in unknown]


def _close(request: Run, held: Held, answer: Answer, relay: Relay) -> tuple[asyncio.Future[Result], Bill]:
    """Hand the settlement to the ledger: from here on it happens, whatever becomes of this task."""
    request.receipt.attempts = request.attempts.log
    request.receipt.upstream_request_id = answer.reply.request_id
    rule = rule_of(request.seen, gone=request.caller.gone, dropped=relay.dropped, cut=relay.cut, stopped=relay.stopped)
    paid = request.bill(answer.route, rule)
    code = "upstream_unavailable" if rule == "upstream_error" else None
    total_ms = request.elapsed_ms()
    row = request.receipt.row(answer.route, paid, request.seen, total_ms=total_ms, error_code=code)
    request.gateway.meters.called(answer.route.provider, paid, total_ms)
    if rule == "complete":
        lasted_s = request.gateway.now() - answer.asked_s
        request.gateway.health.live.ended(answer.route, paid.usage.total(OUTPUT_UNITS), lasted_s)
    return held.settle(paid.charge, row), paid


def _not_served(request: Run, held: Held, code: str, rule: Rule) -> None:
    """Nothing was served: free, and on record."""
    request.receipt.attempts = request.attempts.log
    held.release(
        request.receipt.row(None, None, request.seen, total_ms=request.elapsed_ms(), error_code=code, rule=rule)
    )
    request.gateway.meters.failed(code)


async def _finish(request: Run, answer: Answer, relay: Relay, paid: Bill, settled: Result) -> None:
    """Durable: now the last bytes may leave."""
    caller, seen = request.caller, request.seen
    if paid.rule == "upstream_error":
        # Free to the caller, who is told: in the stream, or as a status.
        request.gateway.meters.failed(f"upstream_{relay.error.kind}" if relay.error else "upstream_error")
        raise unavailable(*([relay.error] if relay.error else ()))
    cost = money.plain(settled.amount)
    figures = Figures(
        paid.usage.counts,
        seen.usage_object,
        cost_fields(paid, answer.route, settled.amount),
        f'perquery {{"cost":{cost},"id":"{request.receipt.id}"}}',
    )
    if request.call.stream:
        await caller.write(request.writer.tail(figures, cut=relay.cut), more=False)
    else:
        headers = request.headers | {
            "x-perquery-cost": cost,
            "x-perquery-balance": money.plain(settled.balance),
            "content-type": "application/json",
        }
        if request.call.dropped:
            headers["x-perquery-dropped"] = ", ".join(request.call.dropped)
        await caller.answer(200, encoded(headers), request.writer.whole(relay.completion(), figures, cut=relay.cut))
