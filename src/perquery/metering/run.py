"""One request from quote to settlement: the straight line that every chat call takes.

A hold first, then the upstream; every answer is relayed as it comes and settled exactly once, before its last
byte leaves, whether the caller stays or goes, the upstream finishes or breaks, the gateway lives or is stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from perquery import money
from perquery.accounts import Access
from perquery.calls import Ask, Call, Dialect, Draft, Findings, Route, Search, Usage, Writer
from perquery.catalog.models import Found
from perquery.catalog.price import caching_pays
from perquery.dialects import chat, customs
from perquery.dialects.native import native_body
from perquery.dialects.search import Citations, question_in, told
from perquery.errors import BadRequest, PerQueryError, UpstreamError, UpstreamUnavailable
from perquery.metering.attempts import ATTEMPTS_MAX, Answer, Attempts
from perquery.metering.caller import SSE_HEADERS, Caller, encoded
from perquery.metering.errand import Errand, headers_of
from perquery.metering.gateway import Gateway
from perquery.metering.idempotency import Served
from perquery.metering.relay import Relay
from perquery.metering.reserve import Held, Quote
from perquery.metering.routing import Plan
from perquery.metering.search import UNBOUNDED, searching
from perquery.metering.settlement import FREE, Bill, Receipt, Rule, Seen, bill, searched_at_most, with_search
from perquery.store.operations import Result


@dataclass(slots=True)
class Run(Errand):
    """One request's state. Made by `run`."""

    call: Call
    plan: Plan
    safety_id: str | None
    writer: Writer
    go_on: Callable[[Usage], Awaitable[bool]] | None = None
    findings: Findings | None = None

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
        if dropped:
            call.dropped += [name for name in dropped if name not in call.dropped]
        timeouts = self.gateway.settings.timeouts
        headers, go_on, named = call.forward, self.go_on if wish is not None else None, customs.names_in(call.body)
        ask = Ask(route.model, data, stream, timeouts.total_s, timeouts.idle_s, native, dialect, headers, go_on)
        return replace(ask, customs=named) if named else ask

    def began(self, answer: Answer) -> None:
        """An answer has begun: what it is called by, and where the conversation goes on."""
        found = self.plan.found_at(answer.route)
        if found.requested != self.call.model:
            self.call.model = found.model.id
        if found is not self.plan.found:
            self.receipt.model = found.model.id
            for name, _ in encoded(self.plan.found.note_headers):
                del self.headers[name]
            self.headers.update(encoded(found.note_headers))
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

    def bill(self, route: Route, rule: Rule) -> Bill:
        """What was served and, where we searched, the search."""
        paid, search = bill(self.call, route, self.seen, rule), self.plan.search
        if search is None:
            return paid
        if search.ours is None:
            spoken = searching(route, self.gateway.upstreams[route.provider].dialects)
            return searched_at_most(paid, route, search.uses) if spoken == UNBOUNDED else paid
        if self.findings is None:
            return paid
        return with_search(paid, search.ours.price_nano, self.findings.cost_pico)


def _fits_responses(call: Call, route: Route) -> bool:
    """Whether a call to an upstream that speaks chat too is better asked in Responses."""
    tools = route.responses == "tools" and call.body.get("tools")
    return call.choices == 1 and bool(tools or call.body.get("reasoning"))


def run(
    gateway: Gateway,
    call: Call,
    found: Sequence[Found],
    access: Access,
    caller: Caller,
    source: str | None,
    named: tuple[str, int],
    writer: Writer,
) -> Awaitable[Served]:
    """Serve one call; how much of an answer was charged. found: the model, then those that may answer in its place.
    named: the generation's id and its time in ms.

    Raises PerQueryError, at once or when awaited, for a call that is free: the caller is still to be told, in the
    stream where `caller.started`.
    """
    id, at_ms = named
    plan = gateway.plan(call, found, access.account_id)
    receipt = Receipt(id, access.account_id, access.key_id, at_ms, plan.found.model.id, source, call.stream)
    attempts, headers = Attempts(gateway.upstreams, gateway.health), headers_of(gateway, id, plan.found)
    # By place: arguments by name to a class cost a call a dictionary.
    began_s, safety_id = gateway.now(), access.safety_id
    request = Run(gateway, caller, receipt, attempts, headers, began_s, Seen(), call, plan, safety_id, writer)
    return _serve(request, access, gateway.quote(call, plan))


async def _serve(request: Run, access: Access, asked: Quote) -> Served:
    """With the money reserved: ask, relay, settle."""
    async with request.admitted(access, asked, request.call) as held:
        stream, cap, relay = _prepared(request, asked, held)
        answer: Answer | None = None
        try:
            if request.plan.search is not None:
                await _search(request, relay)
            answer = await _asked(request, cap, stream=stream)
            request.began(answer)
            if request.call.stream and not request.caller.started:
                await request.caller.start(200, _stream_headers(request))
            if not relay.took(answer):
                await relay.relay(answer, drain_s=request.gateway.settings.timeouts.drain_s)
        except PerQueryError as error:
            request.not_served(held, error.code, "upstream_error")
            raise
        except asyncio.CancelledError:
            relay.stopped = True
            if answer is not None:
                request.close(held, answer, relay)
            else:
                request.not_served(held, "gateway_stopped", "gateway_stopped")
            raise
        if relay.error is not None:
            request.attempts.note(answer.route, relay.error)
        settled, paid = request.close(held, answer, relay)
        await _finish(request, answer, relay, paid, await settled)
        return "nothing" if paid.rule in FREE else "part" if relay.dropped else "whole"


def _prepared(request: Run, asked: Quote, held: Held) -> tuple[bool, int | None, Relay]:
    """What follows from the hold: whether the upstream is to stream, the cap where it is lowered, and who relays."""
    caller, call = request.caller, request.call
    call.caching = call.caching and held.caching
    _bound_searches(request, asked.searches)
    whole, search = held.amount >= asked.most, request.plan.search
    stream = call.stream or (asked.windowed and not whole) or (search is not None and search.pauses)
    cap = None if whole or asked.windowed else _lowered(request, asked, held)
    if call.stream:  # a plain answer says what it is afterwards
        request.headers[b"x-perquery-balance"] = money.plain(held.balance).encode()
        caller.opening = _opening_headers(request)
    relay = Relay(caller, request.seen, held, asked, call, request.writer, asked.windowed and not whole)
    caller.on_gone = relay.caller_left
    return stream, cap, relay


async def _search(request: Run, relay: Relay) -> None:
    """Search for the caller, or let the upstream's own go on as long as the balance does."""
    await request.search()
    request.go_on = relay.go_on
    if request.findings is not None:
        relay.cited = Citations(request.findings.sources).cited


def _asked(request: Run, cap: int | None, *, stream: bool) -> Awaitable[Answer]:
    """The first answer that begins, of the upstreams that may give it."""
    routes = _eligible(request, cap, stream=stream)
    return request.attempts.begin(
        routes,
        partial(request.ask, cap_tokens=cap, stream=stream),
        request.caller.wants,
        max(ATTEMPTS_MAX, len(routes)) if request.plan.others else ATTEMPTS_MAX,
    )


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
    request.headers[b"x-perquery-capped"] = f"{stated}→{lowered}".encode()
    return lowered


def _stream_headers(request: Run) -> list[tuple[bytes, bytes]]:
    if request.call.dropped:
        request.headers[b"x-perquery-dropped"] = ", ".join(request.call.dropped).encode()
    return [*SSE_HEADERS, *request.headers.items()]


def _opening_headers(request: Run) -> list[tuple[bytes, bytes]]:
    """For a stream that opens before anybody has answered, so that one of several models is not known yet."""
    headers = _stream_headers(request)
    unknown = dict(encoded(request.plan.found.note_headers)) if request.plan.others else ()
    return [(name, value) for name, value in headers if name not in unknown]


def _finish(request: Run, answer: Answer, relay: Relay, paid: Bill, settled: Result) -> Awaitable[None]:
    """Durable: now the last bytes may leave."""
    caller = request.caller
    request.check_served(relay, paid)
    cost = money.plain(settled.amount)
    figures = request.figures(answer.route, paid, cost)
    if request.call.stream:
        return caller.write(request.writer.tail(figures, cut=relay.cut), more=False)
    headers = request.headers
    headers[b"x-perquery-cost"] = cost.encode()
    headers[b"x-perquery-balance"] = money.plain(settled.balance).encode()
    headers[b"content-type"] = b"application/json"
    if request.call.dropped:
        headers[b"x-perquery-dropped"] = ", ".join(request.call.dropped).encode()
    return caller.answer(200, headers, request.writer.whole(relay.completion(), figures, cut=relay.cut))
