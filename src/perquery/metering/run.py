"""One request from quote to settlement: the straight line that every chat call takes.

A hold first, then the upstream; every answer is relayed as it comes and settled exactly once, before its last
byte leaves, whether the caller stays or goes, the upstream finishes or breaks, the gateway lives or is stopped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from perquery import money
from perquery.accounts import Access
from perquery.calls import Ask, Call, Dialect, Figures, Findings, Route, Upstream, Writer
from perquery.catalog.models import Found, Model
from perquery.config import Settings
from perquery.dialects import chat
from perquery.dialects.native import native_body
from perquery.dialects.search import cited, question_in, told
from perquery.errors import BadRequest, PerQueryError, UpstreamError, UpstreamUnavailable
from perquery.metering.admission import Admission
from perquery.metering.attempts import Answer, Attempts, unavailable
from perquery.metering.caller import SSE_HEADERS, Caller, Pace, encoded
from perquery.metering.health import Health
from perquery.metering.idempotency import Served
from perquery.metering.meters import Meters
from perquery.metering.relay import Relay
from perquery.metering.reserve import HOLD_PATIENCE_S, EmptyBalance, Held, Patience, Quote, quote, reserved
from perquery.metering.search import Finding, Plan, planned, searching
from perquery.metering.settlement import FREE, Bill, Receipt, Rule, Seen, bill, cost_fields, rule_of, with_search
from perquery.store.ledger import Ledger
from perquery.store.operations import Result

# (upstream, the dialect that a body in chat form is to be put in, or None, body, model) → the body as the upstream
# takes it, and the parameters that were dropped.
Prepare: TypeAlias = Callable[[str, Dialect | None, dict[str, Any], Model], tuple[bytes, list[str]]]


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
    _terms: dict[str, tuple[Model, int, bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.admission = Admission(self.settings.limits.in_flight_max, self.now)
        self.health = Health(self.now)

    def quote(self, call: Call, found: Found, plan: Plan | None = None) -> Quote:
        """What the call may cost at the dearest of the model's active routes, searches included."""
        model = found.model
        terms = self._terms.get(model.id)
        if terms is None or terms[0] is not model:
            floor = max(route.min_output_tokens for route in model.routes)
            terms = self._terms[model.id] = (model, floor, self._windowed(model.routes))
        asked = quote(call, model.bound, model.id, model.output_tokens_max, terms[1], windowed=terms[2])
        if plan is not None:
            asked.added_tokens = plan.input_tokens
            asked.input_tokens += plan.input_tokens
            asked.searches = plan.uses
            asked.extra_nano = plan.ours.price_nano if plan.ours is not None else 0
        return asked

    async def flush(self) -> None:
        """Let Prometheus see what has happened."""
        self.meters.flush(self.admission.in_flight)

    def _windowed(self, routes: tuple[Route, ...]) -> bool:
        """Whether a part of the worst case is enough to begin with, on every route that may serve."""
        return all(not route.hides_output and self.upstreams[route.provider].cancel_stops_billing for route in routes)


@dataclass(slots=True)
class Run:
    """One request's state. Made by `run`."""

    gateway: Gateway
    call: Call
    found: Found
    caller: Caller
    receipt: Receipt
    attempts: Attempts
    headers: dict[str, str]
    writer: Writer
    began_s: float
    plan: Plan | None = None
    findings: Findings | None = None
    seen: Seen = field(default_factory=Seen)

    def ask(self, route: Route, cap_tokens: int | None, *, stream: bool) -> Ask:
        """The upstream's body: the caller's own, the upstream's model name and options in it."""
        call = self.call
        dialect, native = self._dialect(route, stream=stream)
        wish = self.plan.wish if self.plan is not None and self.plan.ours is None else None
        if native:
            body = native_body(call, route.model, cap_tokens=cap_tokens, stream=stream, wish=wish)
        else:
            body = chat.upstream_body(call, route.model, cap_tokens=cap_tokens, stream=stream)
            if wish is not None:
                body["web_search"] = wish
        data, dropped = self.gateway.prepare(route.provider, None if native else dialect, body, self.found.model)
        if dropped and (self.call.body.get("provider") or {}).get("require_parameters") is True:
            raise BadRequest(
                f"{self.found.model.id} does not take {', '.join(f'`{name}`' for name in dropped)}; leave it out,"
                " or leave out `provider.require_parameters` to have it dropped.",
                param=dropped[0],
                code="unsupported_parameter",
            )
        self.call.dropped += [name for name in dropped if name not in self.call.dropped]
        timeouts = self.gateway.settings.timeouts
        return Ask(route.model, data, stream, timeouts.total_s, timeouts.idle_s, native, dialect, call.forward)

    def _dialect(self, route: Route, *, stream: bool) -> tuple[Dialect, bool]:
        """Which of an upstream's dialects it is asked in, and whether that is the caller's own.

        Chat is the internal form, so it needs no word here. What chat cannot say is said in Responses.
        """
        call, spoken = self.call, self.gateway.upstreams[route.provider].dialects
        if self.plan is not None and self.plan.ours is None:
            searching_in = searching(route, spoken)
            assert searching_in is not None
            return searching_in, call.native is not None and call.dialect == searching_in and stream == call.stream
        if call.native is not None and call.dialect in spoken and stream == call.stream and self.findings is None:
            return call.dialect, True
        if "openai-responses" in spoken and call.choices == 1 and call.body.get("reasoning"):
            return "openai-responses", False
        return spoken[0], False

    async def search(self, plan: Plan) -> None:
        """Search for the caller, and put what was found into the conversation. Raises UpstreamUnavailable."""
        if plan.ours is None:
            return
        messages = self.call.body.get("messages") or []
        try:
            self.findings = await plan.ours.finder.find(question_in(messages), plan.wish)
        except UpstreamError as error:
            self.attempts.log.append({"provider": "exa", "error": error.kind, "status": error.status})
            raise UpstreamUnavailable("The web search failed; you were not charged.") from error
        self.receipt.searched_pico = self.findings.cost_pico
        day = datetime.now(UTC).date().isoformat()
        self.call.body = {**self.call.body, "messages": told(messages, self.findings.sources, day)}

    def cited(self, answer: dict[str, Any]) -> dict[str, Any] | None:
        """An answer's event with the sources of our search, where it is to carry them."""
        return cited(answer, self.findings.sources) if self.findings is not None else None

    def elapsed_ms(self) -> int:
        return round((self.gateway.now() - self.began_s) * 1000)


async def run(
    gateway: Gateway,
    call: Call,
    found: Found,
    access: Access,
    caller: Caller,
    source: str | None,
    named: tuple[str, int],
    writer: Writer,
) -> Served:
    """Serve one call; how much of an answer was charged. named: the generation's id and its time in ms.

    Raises PerQueryError for a call that is free: the caller is still to be told, in the stream where
    `caller.started`.
    """
    id, at_ms = named
    receipt = Receipt(id, access.account_id, access.key_id, at_ms, found.model.id, source, call.stream)
    attempts = Attempts(gateway.upstreams, gateway.health)
    headers = {"x-perquery-generation-id": id, "x-request-id": id, "request-id": id, **found.note_headers}
    if gateway.settings.sandbox:
        headers["x-perquery-sandbox"] = "1"
    plan = None
    if call.search is not None:
        plan = planned(call, found.model.routes, gateway.upstreams, gateway.finding)
    request = Run(gateway, call, found, caller, receipt, attempts, headers, writer, gateway.now(), plan)
    with gateway.admission.place(access.account_id):
        asked = gateway.quote(call, found, plan)
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
    whole = held.amount >= asked.most
    stream = call.stream or (asked.windowed and not whole)
    cap = _within_model(request) if whole or asked.windowed else _lowered(request, asked, held)
    if call.stream:  # a plain answer says what it is afterwards
        request.headers["x-perquery-balance"] = money.plain(held.balance)
    relay = Relay(caller, request.seen, held, asked, call, request.writer, windowed=asked.windowed and not whole)
    answer: Answer | None = None
    caller.on_gone = relay.caller_left
    if call.stream:
        caller.opening = _stream_headers(request)
    try:
        if request.plan is not None:
            await request.search(request.plan)
            relay.cited = request.cited
        answer = await request.attempts.begin(
            request.plan.routes if request.plan is not None else request.found.model.routes,
            lambda route: request.ask(route, cap, stream=stream),
            lambda: caller.kept or not caller.gone,
        )
        request.receipt.first_event_ms = request.elapsed_ms()
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


def _within_model(request: Run) -> int | None:
    """The model's own maximum where the caller states more: no more is held for."""
    most = request.found.model.output_tokens_max
    return most if (request.call.cap_tokens or 0) > most else None


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


def _close(request: Run, held: Held, answer: Answer, relay: Relay) -> tuple[asyncio.Future[Result], Bill]:
    """Hand the settlement to the ledger: from here on it happens, whatever becomes of this task."""
    request.receipt.attempts = request.attempts.log
    rule = rule_of(request.seen, gone=request.caller.gone, dropped=relay.dropped, cut=relay.cut, stopped=relay.stopped)
    paid = bill(request.call, answer.route, request.seen, rule)
    if request.findings is not None and request.plan is not None and request.plan.ours is not None:
        paid = with_search(paid, request.plan.ours.price_nano, request.findings.cost_pico)
    code = "upstream_unavailable" if rule == "upstream_error" else None
    total_ms = request.elapsed_ms()
    row = request.receipt.row(answer.route, paid, request.seen, total_ms=total_ms, error_code=code)
    request.gateway.meters.called(answer.route.provider, paid, total_ms)
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
        raise unavailable(relay.error)
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
