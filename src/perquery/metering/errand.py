"""One paid request on its way, whatever it asks for: its place and its hold, what is noted of it, and how it ends.

Settling and releasing happen here alone, for chat (`run`) as for all other work (`works`). It must never ask an
upstream.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass

from perquery.accounts import Access
from perquery.calls import Call, Figures, Route
from perquery.catalog.models import Found
from perquery.metering.attempts import Answer, Attempts, unavailable
from perquery.metering.caller import Caller, encoded
from perquery.metering.departure import Departure
from perquery.metering.gateway import Gateway
from perquery.metering.reserve import EmptyBalance, Held, Quote, reserved
from perquery.metering.settlement import Bill, Receipt, Rule, Seen, cost_fields, rule_of
from perquery.store.operations import Result


@dataclass(slots=True)
class Errand(ABC):
    """One request's state. headers: of the answer."""

    gateway: Gateway
    caller: Caller
    receipt: Receipt
    attempts: Attempts
    headers: dict[bytes, bytes]
    began_s: float
    seen: Seen

    @abstractmethod
    def bill(self, route: Route, rule: Rule) -> Bill:
        """What it comes to at the route that served it."""

    def elapsed_ms(self) -> int:
        return round((self.gateway.now() - self.began_s) * 1000)

    def admitted(self, access: Access, asked: Quote, call: Call | None = None) -> Admitted:
        """A place and a hold; the caller is watched meanwhile. call: whose quote may be sharpened."""
        gateway, caller = self.gateway, self.caller
        id, patience_s, url = self.receipt.id, gateway.hold_patience_s, gateway.topup_url
        hold = reserved(gateway.ledger, id, access, call, asked, patience_s, caller.waits, url)
        return Admitted(gateway, caller, access.account_id, hold)

    def close(self, held: Held, answer: Answer, departure: Departure) -> tuple[asyncio.Future[Result], Bill]:
        """Hand the settlement to the ledger: from here on it happens, whatever becomes of this task."""
        self.receipt.attempts = self.attempts.log
        self.receipt.upstream_request_id = answer.reply.request_id
        gone, cut, stopped = self.caller.gone, departure.cut, departure.stopped
        rule = rule_of(self.seen, gone=gone, dropped=departure.dropped, cut=cut, stopped=stopped)
        paid = self.bill(answer.route, rule)
        code = "upstream_unavailable" if rule == "upstream_error" else None
        total_ms = self.elapsed_ms()
        row = self.receipt.row(answer.route, paid, self.seen, total_ms=total_ms, error_code=code)
        self.gateway.meters.called(answer.route.provider, paid, total_ms)
        if rule == "complete":
            lasted_s = self.gateway.now() - answer.asked_s
            self.gateway.health.live.ended(answer.route, row.output_count, lasted_s)
        return held.settle(paid.charge, row), paid

    def not_served(self, held: Held, code: str, rule: Rule) -> None:
        """Nothing was served: free, and on record, with what it may cost the house."""
        self.receipt.attempts = self.attempts.log
        unknown_nano = held.amount if self.attempts.unknown else 0
        total_ms = self.elapsed_ms()
        row = self.receipt.row(
            None, None, self.seen, total_ms=total_ms, error_code=code, rule=rule, unknown_nano=unknown_nano
        )
        held.release(row)
        self.gateway.meters.failed(code)

    def check_served(self, departure: Departure, paid: Bill) -> None:
        """Raise what the caller is told where the upstream failed: in the stream, or as a status."""
        if paid.rule == "upstream_error":
            error = departure.error
            self.gateway.meters.failed(f"upstream_{error.kind}" if error else "upstream_error")
            raise unavailable(*([error] if error else ()))

    def figures(self, route: Route, paid: Bill, cost: str) -> Figures:
        """For the end of the answer. cost: what was charged, USD."""
        comment = f'perquery {{"cost":{cost},"id":"{self.receipt.id}"}}'
        return Figures(paid.usage.counts, self.seen.usage_object, cost_fields(paid, route, cost), comment)


class Admitted:
    """`async with errand.admitted(...) as held`: entered once, left once.

    Raises Overloaded, BalanceBackoff, and what `reserved` raises. (A generator in its place would cost a plain call
    more than its admission.)
    """

    __slots__ = ("_account_id", "_caller", "_gateway", "_hold")

    def __init__(self, gateway: Gateway, caller: Caller, account_id: int, hold: reserved) -> None:
        self._gateway = gateway
        self._caller = caller
        self._account_id = account_id
        self._hold = hold

    async def __aenter__(self) -> Held:
        admission = self._gateway.admission
        admission.enter(self._account_id)
        self._caller.watch(self._gateway.watch)
        try:
            held = await self._hold.__aenter__()
        except BaseException as error:
            self._leave()
            if isinstance(error, EmptyBalance):
                admission.refused_empty(self._account_id)
            raise
        admission.credited(self._account_id)
        return held

    async def __aexit__(self, *_: object) -> None:
        self._hold.leave()
        self._leave()

    def _leave(self) -> None:
        self._caller.unwatch()
        self._gateway.admission.leave(self._account_id)


def headers_of(gateway: Gateway, id: str, found: Found) -> dict[bytes, bytes]:
    """What every paid answer's head says, in bytes from the beginning: a call has a dozen of them."""
    named = id.encode()
    headers = {b"x-perquery-generation-id": named, b"x-request-id": named, b"request-id": named}
    if found.note_headers:
        headers.update(encoded(found.note_headers))
    if gateway.settings.mode == "sandbox":
        headers[b"x-perquery-sandbox"] = b"1"
    return headers
