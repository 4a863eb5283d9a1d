"""One piece of work that is not chat, from quote to settlement: the same straight line, without windows and caps.

The worst case is held; the answer is passed on as it comes, or kept until it is settled and rendered with its price.
What is costly to do twice is never asked for twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from perquery import money
from perquery.accounts import Access
from perquery.calls import Ask, Route, Work
from perquery.catalog.models import Found
from perquery.catalog.price import most_nano
from perquery.errors import BadRequest, ModelNotFound, PerQueryError, UpstreamError
from perquery.metering.attempts import Answer, Attempts
from perquery.metering.caller import Caller
from perquery.metering.departure import Departure
from perquery.metering.errand import Errand, headers_of
from perquery.metering.gateway import Gateway
from perquery.metering.idempotency import Served
from perquery.metering.reserve import Held, fixed
from perquery.metering.settlement import FREE, Bill, Receipt, Rule, Seen, work_bill
from perquery.store.operations import Result


@dataclass(slots=True)
class WorkErrand(Errand):
    """One request's state. Made by `perform`."""

    work: Work
    routes: Sequence[Route]

    def ask(self, route: Route) -> Ask:
        timeouts = self.gateway.settings.timeouts
        return Ask(route.model, b"", self.work.streamed, timeouts.total_s, timeouts.idle_s, work=self.work)

    def bill(self, route: Route, rule: Rule) -> Bill:
        return work_bill(self.work, route, self.seen, rule)

    def tell_dropped(self) -> None:
        if self.work.dropped:
            self.headers[b"x-perquery-dropped"] = ", ".join(dict.fromkeys(self.work.dropped)).encode()


class Delivery(Departure):
    """An answer on its way. answer: the whole one, where it is not passed on as it comes."""

    def __init__(self, caller: Caller, seen: Seen, *, streamed: bool) -> None:
        super().__init__(caller, seen)
        self._streamed = streamed
        self.whole: dict[str, Any] | None = None

    def _worth_dropping(self, answer: Answer) -> bool:
        return answer.upstream.cancel_stops_billing and self._streamed and not self._caller.kept

    async def _batches(self, answer: Answer) -> None:
        batch = answer.first
        while batch and not self.dropped:
            for event in batch:
                if event.error is not None:
                    self._broke(event.error)
                    return
                self._seen.note(event)
                self.whole = event.parsed if event.parsed is not None else self.whole
            if self._streamed and (data := b"".join([event.data for event in batch])):
                await self._caller.write(data)
            if batch[-1].whole:
                break
            batch = await anext(answer.rest, [])
        if self.whole is None and not self._streamed:
            self._broke(UpstreamError("garbage", "the upstream's answer holds no result"))


async def perform(
    gateway: Gateway, work: Work, found: Found, access: Access, caller: Caller, source: str, named: tuple[str, int]
) -> Served:
    """Do one piece of work; how much of an answer was charged. named: the generation's id and its time in ms.

    Raises PerQueryError for what is free: the caller is still to be told, unless `caller.started`.
    """
    id, at_ms = named
    routes, most = _able(gateway, work, found)
    receipt = Receipt(id, access.account_id, access.key_id, at_ms, found.model.id, source, work.streamed, work.kind)
    errand = WorkErrand(
        gateway=gateway,
        caller=caller,
        receipt=receipt,
        attempts=Attempts(gateway.upstreams, gateway.health, once=not work.retried),
        headers=headers_of(gateway, id, found),
        began_s=gateway.now(),
        seen=Seen(),
        work=work,
        routes=routes,
    )
    asked = fixed(found.model.id, most)
    async with errand.admitted(access, asked) as held:
        return await _serve(errand, held)


def _able(gateway: Gateway, work: Work, found: Found) -> tuple[Sequence[Route], int]:
    """The model's routes whose upstreams do such work and whose models can do this, and the most that it costs there.

    Raises ModelNotFound where there are none, BadRequest where none can.
    """
    routes = [route for route in found.model.routes if work.kind in gateway.upstreams[route.provider].kinds]
    if not routes:
        hosts = ", ".join(route.provider for route in found.model.routes)
        raise ModelNotFound(f"{found.model.id}: {hosts} cannot do this.", code="model_unavailable", param="model")
    able: list[Route] = []
    most, refusal = 0, None
    for route in routes:
        try:
            most = max(most, most_nano(route, work.most(route)))
        except BadRequest as error:
            refusal = refusal or error
        else:
            able.append(route)
    if refusal is not None and not able:
        raise refusal
    return able, most


async def _serve(errand: WorkErrand, held: Held) -> Served:
    """With the money reserved: ask, relay, settle."""
    gateway, caller, work = errand.gateway, errand.caller, errand.work
    delivery = Delivery(caller, errand.seen, streamed=work.streamed)
    caller.on_gone = delivery.caller_left
    answer: Answer | None = None
    try:
        answer = await errand.attempts.begin(errand.routes, errand.ask, caller.wants)
        errand.receipt.first_event_ms = errand.elapsed_ms()
        if work.streamed:
            await _start(errand, answer, held)
        await delivery.relay(answer, drain_s=gateway.settings.timeouts.drain_s)
    except PerQueryError as error:
        errand.not_served(held, error.code, "upstream_error")
        raise
    except asyncio.CancelledError:
        delivery.stopped = True
        if answer is not None:
            errand.close(held, answer, delivery)
        else:
            errand.not_served(held, "gateway_stopped", "gateway_stopped")
        raise
    if delivery.error is not None:
        errand.attempts.note(answer.route, delivery.error)
    settled, paid = errand.close(held, answer, delivery)
    await _finish(errand, answer, delivery, paid, await settled)
    return "nothing" if paid.rule in FREE else "part" if delivery.dropped else "whole"


async def _start(errand: WorkErrand, answer: Answer, held: Held) -> None:
    """The head of a stream: with its price, where the upstream has said by then what it counts."""
    headers = {
        b"content-type": errand.work.media_type.encode(),
        b"x-perquery-balance": money.plain(held.balance).encode(),
    }
    counted = next((event.usage for event in answer.first if event.usage is not None), None)
    if counted is not None:
        expected = work_bill(errand.work, answer.route, Seen(usage=counted), "complete")
        headers[b"x-perquery-cost"] = money.plain(expected.charge).encode()
    errand.tell_dropped()
    await errand.caller.start(200, [*(errand.headers | headers).items()])


async def _finish(errand: WorkErrand, answer: Answer, delivery: Delivery, paid: Bill, settled: Result) -> None:
    """Durable: now the answer may end."""
    errand.check_served(delivery, paid)
    if errand.work.streamed:
        await errand.caller.write(b"", more=False)
        return
    assert delivery.whole is not None
    errand.tell_dropped()
    cost = money.plain(settled.amount)
    headers = errand.headers | {
        b"x-perquery-cost": cost.encode(),
        b"x-perquery-balance": money.plain(settled.balance).encode(),
        b"content-type": errand.work.media_type.encode(),
    }
    body = errand.work.render(delivery.whole, errand.figures(answer.route, paid, cost))
    await errand.caller.answer(200, headers, body)
