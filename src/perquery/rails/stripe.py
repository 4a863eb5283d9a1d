"""Cards by Stripe Checkout: a page of Stripe's for each invoice, and what became of its payment. Amounts are US cents.

Stripe's events say what to look at (`stripe_events`); what counts is then asked anew, from Stripe's present state
(`stripe_payment`). Should an event never come, each watched page is looked up when it is first seen and when its time
is over. Stripe allows an account so many reads for each payment (and 10,000 a month without any), so it is asked at
once where a webhook came, else at a pace.

This module must never believe a webhook's body, ask for a refund, or pay out.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from perquery.outbound import Client
from perquery.rails.node import Refused, field
from perquery.rails.rail import Inspection, Payable, PayableRequest, RailDown, Receipt, Watched
from perquery.rails.stripe_api import NAME, URL, StripeApi
from perquery.rails.stripe_events import AT_ONCE, Events, concerns
from perquery.rails.stripe_payment import CURRENCY, MARK, charge_of, marked, standing, wrong
from perquery.rails.stripe_webhook import WebhookSecret

_LEAST_S, _MOST_S = 30 * 60 + 60, 24 * 3_600 - 60  # Stripe's bounds for a page's time, by clocks a minute apart
_OPEN_MS: Final = 15_000  # between two questions while somebody may be paying
_IDLE_MS: Final = 600_000  # and while nobody is
_LOOKS_AT_ONCE: Final = 4
_CHARGE: Final = "payment_intent.latest_charge.refunds"
_READS: Final = ("checkout/sessions", "events", "payment_intents", "charges", "refunds", "disputes")
_WHOLE: Final = (
    "this is a secret key, which may do all that the account may; make a restricted one (Stripe Dashboard, Developers,"
    " API keys, Create restricted key) with Checkout Sessions: write; Events, PaymentIntents, Charges and Refunds,"
    " Disputes: read; and nothing else"
)
_TEST: Final = "this key is of Stripe's test mode: its cards are no money, but would be credited"
_log = logging.getLogger(__name__)


class StripeCheckout:
    """The rail. key, webhook_secret: both are needed, ValueError "FIELD: …" else; success_url, cancel_url: where
    Stripe sends the payer back to; clock: milliseconds; news: set when Stripe says that something happened.
    """

    pace_s = 15.0
    receivable: int | None = None

    def __init__(
        self,
        client: Client,
        key: str,
        webhook_secret: str,
        success_url: str,
        cancel_url: str,
        clock: Callable[[], int],
        news: asyncio.Event,
        url: str | None = None,
    ) -> None:
        for name, page in (("success_url", success_url), ("cancel_url", cancel_url)):
            if not page.startswith(("https://", "http://")):
                raise ValueError(f"{name}: must be a web page of yours, such as https://example.com/topup")
        self._webhook = WebhookSecret(webhook_secret)
        self._api = StripeApi(client, key, url or URL)
        self._events = Events(self._api)
        self._pages = {"success_url": success_url, "cancel_url": cancel_url}
        self._clock = clock
        self._news = news
        self._pushes = self._pushes_heard = 0
        self._heard_ms: int | None = None
        self._looked: dict[str, int] = {}  # when watched pages were looked up
        self._over: set[str] = set()  # watched pages that nobody can pay any more

    async def make(self, request: PayableRequest) -> Payable:
        reference = secrets.token_hex(16)
        asked = self._asked(request, reference)
        try:
            session = await self._api.post("checkout/sessions", asked, idempotency_key=reference)
        except Refused:
            raise
        except RailDown:  # it may have come to be: the same key makes no other
            session = await self._api.post("checkout/sessions", asked, idempotency_key=reference)
        name, page = field(NAME, session, "id", str), field(NAME, session, "url", str)
        if not name.startswith("cs_") or not page.startswith("https://"):
            raise RailDown(f"{NAME} made something else than a page to pay on")
        if other := _other(session, asked | {"livemode": self._api.live}, request.amount):
            raise RailDown(f"{NAME} made a page with another {other} than asked for")
        self._looked[name] = self._clock()
        return Payable(page, name)

    async def receipts(self, cursor: str, watched: Sequence[Watched]) -> tuple[Sequence[Receipt], str]:
        """Nothing, and the same cursor, where it is too early to ask again. With refunds and disputes, a receipt that
        is over is reported again each time that its payment is looked at.
        """
        now, pushes = self._clock(), self._pushes
        if not self._is_due(watched, now):
            return [], cursor
        events, after = await self._events.after(cursor, now // 1_000)
        found: dict[str, list[Receipt]] = {}
        for name, payment in dict.fromkeys(map(concerns, events)):
            if name and name not in found:
                found[name] = await self._receipts_of(await self._session(name))
            elif payment:
                session = await self._paid_by(payment)
                if session is not None:
                    found[field(NAME, session, "id", str)] = await self._receipts_of(session)
        for each in self._to_look_up(watched, now):
            found[each.rail_ref] = found.get(each.rail_ref) or await self._look(each.rail_ref)
            self._looked[each.rail_ref] = now
        self._events.looked_at(events)
        if after == cursor and len(events) < AT_ONCE:
            self._heard_ms, self._pushes_heard = now, pushes
        return [receipt for receipts in found.values() for receipt in receipts], after

    async def close(self) -> None:
        """The client belongs to whoever made it."""

    async def inspect(self) -> Inspection:
        """Each thing that must be readable is read once."""
        for path in _READS:
            await self._api.get(path, limit=1)
        advice = ((_WHOLE,) if self._api.whole else ()) + (() if self._api.live else (_TEST,))
        return Inspection(NAME, "live" if self._api.live else "test", self._api.whole or None, advice)

    def pushed(self, payload: bytes, signature_header: str) -> bool:
        """A webhook came; whether Stripe signed it. If so, Stripe is asked at once."""
        if not self._webhook.signed(payload, signature_header, self._clock() // 1_000):
            return False
        self._pushes += 1
        self._news.set()
        return True

    def _asked(self, request: PayableRequest, reference: str) -> dict[str, Any]:
        price = {
            "currency": CURRENCY,
            "unit_amount": request.amount,
            "product_data": {"name": request.description},
        }
        return {
            "mode": "payment",
            "client_reference_id": reference,
            "metadata": {MARK: reference},
            "line_items": [{"price_data": price, "quantity": 1}],
            "payment_intent_data": {"description": request.description, "metadata": {MARK: reference}},
            "payment_method_types": ["card"],
            "payment_method_options": {"card": {"request_three_d_secure": "any"}},
            "adaptive_pricing": {"enabled": False},  # which would let the payer choose a currency
            "expires_at": self._clock() // 1_000 + min(max(request.expiry_s, _LEAST_S), _MOST_S),
            **self._pages,
        }

    def _is_due(self, watched: Sequence[Watched], now: int) -> bool:
        last = self._heard_ms
        if last is None or self._pushes != self._pushes_heard or now < last:
            return True
        if any(last < each.expires_at_ms <= now for each in watched):
            return True  # nothing shall be said to have expired unheard
        waits = any(now < each.expires_at_ms for each in watched)
        return now >= last + (_OPEN_MS if waits else _IDLE_MS)

    async def _session(self, name: str) -> Mapping[str, Any]:
        session = await self._api.get(f"checkout/sessions/{name}", expand=[_CHARGE])
        if field(NAME, session, "id", str) != name:
            raise RailDown(f"{NAME} answered with another page than {name}")
        return session

    async def _paid_by(self, payment: str) -> Mapping[str, Any] | None:
        """The session of a payment; None where it was made by something else."""
        expand = [f"data.{_CHARGE}"]
        page = await self._api.get("checkout/sessions", payment_intent=payment, limit=1, expand=expand)
        found = field(NAME, page, "data", list)
        return found[0] if found else None

    async def _look(self, name: str) -> list[Receipt]:
        try:
            session = await self._session(name)
        except Refused as error:
            if error.status != 404:
                raise
            _log.warning("%s does not know the page %s: is this the key of another account?", NAME, name)
            return []
        if field(NAME, session, "status", str) == "expired":
            self._over.add(name)
        return await self._receipts_of(session)

    async def _receipts_of(self, session: Mapping[str, Any]) -> list[Receipt]:
        if not marked(session) or field(NAME, session, "payment_status", str) != "paid":
            return []
        if why := wrong(session, self._api.live):
            _log.error("%s: the page %s was paid but does not count: %s", NAME, session.get("id"), why)
            return []
        charge = charge_of(session)
        name = field(NAME, charge, "id", str)
        refunds: Mapping[str, Any] = field(NAME, charge, "refunds", dict)
        listed = field(NAME, refunds, "data", list)
        if field(NAME, refunds, "has_more", bool):
            listed = await self._api.listed("refunds", charge=name)
        disputes = await self._api.listed("disputes", charge=name) if field(NAME, charge, "disputed", bool) else []
        return standing(session, listed, disputes)

    def _to_look_up(self, watched: Sequence[Watched], now: int) -> list[Watched]:
        """Some of the watched pages: those not looked up yet, and those whose time is over."""
        names = {each.rail_ref for each in watched}
        self._over &= names
        self._looked = {name: at for name, at in self._looked.items() if name in names}
        due = []
        for each in sorted(watched, key=lambda each: each.expires_at_ms):
            last, end = self._looked.get(each.rail_ref), each.expires_at_ms
            if each.rail_ref in self._over:
                continue
            if last is None or (now >= end and (last < end or now >= last + _IDLE_MS)):
                due.append(each)
        return due[:_LOOKS_AT_ONCE]


def _other(session: Mapping[str, Any], asked: Mapping[str, Any], cents: int) -> str:
    """The first thing in which a new session is not what was asked for, "" for none."""
    wanted = {"amount_total": cents, "amount_subtotal": cents, "currency": CURRENCY, "payment_status": "unpaid"}
    same = ("mode", "client_reference_id", "metadata", "payment_method_types", "livemode", "expires_at")
    wanted |= {name: asked[name] for name in same}
    options = session.get("payment_method_options")
    card = options.get("card") if isinstance(options, Mapping) else None
    if not isinstance(card, Mapping) or card.get("request_three_d_secure") != "any":
        return "3-D Secure"
    return next((name for name, value in wanted.items() if session.get(name) != value), "")
