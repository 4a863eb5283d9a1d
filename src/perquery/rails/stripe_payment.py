"""From a Checkout Session as Stripe has it now to receipts: what of a payment stands after refunds and disputes.

A receipt's amount never changes, so each change of what stands ends the receipt before it and begins another,
"pi_…", "pi_…~1", "pi_…~2": a partial refund leaves the rest as a new one, a dispute that is won brings one back. How
many changes there were is counted from Stripe's refunds and disputes alone (a refund that failed changed twice), so
whoever asks, whenever, finds the same names with the same amounts. No I/O.

This module must never count what is not wholly captured, in dollars, exactly as asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from perquery.rails.node import field
from perquery.rails.rail import RailDown, Receipt, again
from perquery.rails.stripe_api import NAME

CURRENCY: Final = "usd"
MARK: Final = "perquery"  # of what we made, in its metadata
_UNDONE: Final = frozenset({"failed", "canceled"})
_INQUIRIES: Final = frozenset({"warning_needs_response", "warning_under_review", "warning_closed"})
_CENTS_MAX: Final = 10**10


def marked(session: Mapping[str, Any]) -> bool:
    """Whether a session is one that this rail makes; others in the same Stripe account are none of its business."""
    metadata = session.get("metadata")
    return isinstance(metadata, Mapping) and isinstance(metadata.get(MARK), str)


def charge_of(session: Mapping[str, Any]) -> Mapping[str, Any]:
    """The charge of a paid session. Raises RailDown where it was not expanded."""
    intent: Mapping[str, Any] = field(NAME, session, "payment_intent", dict)
    charge: Mapping[str, Any] = field(NAME, intent, "latest_charge", dict)
    return charge


def wrong(session: Mapping[str, Any], live: bool) -> str:
    """What keeps a paid session from counting, "" for nothing."""
    intent, charge = field(NAME, session, "payment_intent", dict), charge_of(session)
    asked = field(NAME, session, "amount_total", int)
    received, captured = field(NAME, intent, "amount_received", int), field(NAME, charge, "amount_captured", int)
    currencies = [field(NAME, each, "currency", str) for each in (session, intent, charge)]
    if field(NAME, session, "livemode", bool) is not live:
        return "it is of the other mode, test or live"
    if any(currency != CURRENCY for currency in currencies):
        return f"its currency is {'/'.join(sorted(set(currencies)))[:40]}, not {CURRENCY}"
    if not 0 < asked == field(NAME, session, "amount_subtotal", int) <= _CENTS_MAX:
        return f"{asked} cents in all is not what was asked for"
    if not received == captured == asked:
        return f"{received} cents were received and {captured} captured of {asked}"
    if (field(NAME, intent, "status", str), field(NAME, charge, "status", str)) != ("succeeded", "succeeded"):
        return "its payment has not succeeded"
    if not (field(NAME, charge, "paid", bool) and field(NAME, charge, "captured", bool)):
        return "its charge is not captured"
    return ""


def standing(
    session: Mapping[str, Any], refunds: Sequence[Mapping[str, Any]], disputes: Sequence[Mapping[str, Any]]
) -> list[Receipt]:
    """The receipts of a paid session that is not `wrong`: those that are over, and what stands now."""
    charge = charge_of(session)
    payment = field(NAME, field(NAME, session, "payment_intent", dict), "id", str)
    cents = field(NAME, charge, "amount_captured", int)
    left, changes = cents, 0
    for refund in refunds:
        undone = refund.get("status") in _UNDONE
        left -= 0 if undone else _refunded(refund)
        changes += 2 if undone else 1
    for dispute in disputes:
        status = field(NAME, dispute, "status", str)
        if status in _INQUIRIES:
            continue  # the bank asks, and has taken nothing
        left = left if status == "won" else 0
        changes += 1  # what stood before it never stands again, and while it lasts nothing does
    ref, at_ms = field(NAME, session, "id", str), field(NAME, charge, "created", int) * 1_000
    over = [Receipt(again(payment, times), ref, cents, "gone", at_ms) for times in range(changes)]
    return [*over, Receipt(again(payment, changes), ref, left, "confirmed", at_ms)] if left > 0 else over


def _refunded(refund: Mapping[str, Any]) -> int:
    cents = field(NAME, refund, "amount", int)
    if cents <= 0:
        raise RailDown(f"{NAME} lists a refund of {cents} cents, which cannot be")
    return cents
