"""Stripe's list of events, heard in order: which payments something happened to.

It survives lost webhooks and restarts, and one question covers all payments, however old. The cursor is the last event
that is old enough for no other to appear before it; younger ones are handed out when they come, and once more when the
cursor passes them, so that it moves only together with what came of them. This module must never say what a payment
is worth.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from perquery.rails.node import Refused, field
from perquery.rails.rail import RailDown
from perquery.rails.stripe_api import NAME, PAGE, StripeApi
from perquery.rails.stripe_payment import marked

TYPES: Final = (
    "checkout.session.completed",
    "charge.refunded",
    "charge.refund.updated",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
)
AT_ONCE: Final = 25
SETTLED_S: Final = 300  # after which Stripe's list gets no event before another
_KEPT_S: Final = 31 * 86_400  # for how long Stripe keeps events, and a day
_FORGOTTEN: Final = (
    "%s no longer keeps the event %s: going on from the oldest that it keeps. If this gateway was away for more than"
    " 30 days, compare its top-ups with Stripe's payments, refunds and disputes."
)
_log = logging.getLogger(__name__)


class Events:
    """What was heard of them. looked_at: to be called with what `after` gave, once that was looked at."""

    def __init__(self, api: StripeApi) -> None:
        self._api = api
        self._seen: set[str] = set()  # younger than the cursor, and looked at

    async def after(self, cursor: str, now_s: int) -> tuple[list[Any], str]:
        """The events after the cursor ("": all that Stripe keeps) that must be looked at, oldest first and not too
        many; the cursor after them. Raises RailDown.
        """
        taken: list[Any] = []
        listed: set[str] = set()
        after = at = cursor
        more, settled = True, True
        while more:
            try:
                page, more = await self._page(at, now_s)
            except Refused as error:
                if at != cursor or not _is_missing(error):
                    raise
                _log.warning(_FORGOTTEN, NAME, cursor)
                after = at = ""
                continue
            for event in page:
                at = field(NAME, event, "id", str)
                listed.add(at)
                settled = settled and field(NAME, event, "created", int) <= now_s - SETTLED_S
                after = at if settled else after
                if settled or at not in self._seen:
                    taken.append(event)
                if len(taken) == AT_ONCE:
                    return taken, after
        self._seen &= listed
        return taken, after

    def looked_at(self, events: Sequence[Any]) -> None:
        self._seen.update(field(NAME, event, "id", str) for event in events)

    async def _page(self, after: str, now_s: int) -> tuple[list[Any], bool]:
        """The next events after one, oldest first, and whether there are more."""
        if not after:
            return await self._oldest(now_s)
        page = await self._api.get("events", types=TYPES, limit=PAGE, ending_before=after)
        events, more = _oldest_first(page)
        return events, more and bool(events)

    async def _oldest(self, now_s: int) -> tuple[list[Any], bool]:
        """The oldest events that Stripe keeps. Its lists begin with the newest, so the time is halved until a page
        holds all that came before.
        """
        none, most = now_s - _KEPT_S, now_s + SETTLED_S
        until, whole = most, True
        while True:
            page = await self._api.get("events", types=TYPES, limit=PAGE, created={"lte": until})
            events, earlier = _oldest_first(page)
            if not earlier and (events or whole):
                return events, not whole
            none, most = (none, until) if earlier else (until, most)
            if most - none <= 1:
                raise RailDown(f"{NAME} lists more than {PAGE} events of one second")
            until, whole = (none + most) // 2, False


def concerns(event: Any) -> tuple[str, str]:
    """What to look at because of an event: a session's name, or a payment's; both "" for nothing of ours."""
    about: Mapping[str, Any] = field(NAME, field(NAME, event, "data", dict), "object", dict)
    if about.get("object") == "checkout.session":
        return (field(NAME, about, "id", str), "") if marked(about) else ("", "")
    payment = about.get("payment_intent")
    return "", payment if isinstance(payment, str) else ""


def _oldest_first(page: Mapping[str, Any]) -> tuple[list[Any], bool]:
    return field(NAME, page, "data", list)[::-1], field(NAME, page, "has_more", bool)


def _is_missing(error: Refused) -> bool:
    code = error.body.get("code") if isinstance(error.body, Mapping) else None
    return error.status in (400, 404) and code == "resource_missing"
