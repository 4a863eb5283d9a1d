"""What happened to an invoice, from how it stood before and after: its journal, and what webhooks are told.

Both are written in the transaction that makes the change, and nothing is sent here. It must never change money.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from perquery import money
from perquery.config import Settings, WebhookEvent
from perquery.store import events, webhooks
from perquery.store.invoices import ReceiptRow, Status
from perquery.store.webhooks import DeliveryRow, new_id
from perquery.topups import wire
from perquery.topups.invoice import Topup

_REACHED: dict[Status, WebhookEvent] = {
    "seen": "invoice.seen",
    "settled": "invoice.settled",
    "expired": "invoice.expired",
    "invalid": "invoice.invalid",
}


def happened(was: Topup | None, now: Topup) -> Iterator[tuple[WebhookEvent, ReceiptRow | None]]:
    """The events between the two, payments first; was None: it has been created. A receipt that was worth nothing
    moved no money, so it is none.
    """
    if was is None:
        yield "invoice.created", None
        return
    known = {receipt.receipt_id: receipt for receipt in was.receipts}
    for receipt in now.receipts:
        before = known.get(receipt.receipt_id)
        if not receipt.credit_nano:
            continue
        if receipt.credited_at is not None and (before is None or before.credited_at is None):
            yield "payment.credited", receipt
        if receipt.reversed_at is not None and (before is None or before.reversed_at is None):
            yield "payment.reversed", receipt
    if now.step.status != was.step.status and now.step.status in _REACHED:
        yield _REACHED[now.step.status], None


class Events:
    """Writes down what happened, for callers who follow their invoices and for the operator's webhooks."""

    def __init__(self, settings: Settings) -> None:
        self._mode = settings.mode
        self._webhooks = settings.active_webhooks

    def write(self, connection: Connection, was: Topup | None, now: Topup, at_ms: int) -> None:
        """Within the transaction that changes the invoice, as the last thing in it."""
        body = money.json(wire.status(now))
        unchanged = was is not None and money.json(wire.status(was)) == body
        told = [
            (webhook.label, kind, event_id, self._payload(event_id, kind, now, receipt, at_ms))
            for kind, receipt in happened(was, now)
            for event_id in [new_id("evt")]
            for webhook in self._webhooks
            if kind in webhook.events
        ]
        if unchanged and not told:
            return
        first, *others = events.take_numbers(connection, 1 + len(told))
        invoice = now.invoice
        events.add(connection, first, invoice.account_id, invoice.id, at_ms, body.decode())
        if told:
            rows = [
                DeliveryRow(number, new_id("dlv"), label, event_id, kind, invoice.id, payload, at_ms, at_ms)
                for number, (label, kind, event_id, payload) in zip(others, told, strict=True)
            ]
            webhooks.add(connection, rows)

    def _payload(self, event_id: str, kind: WebhookEvent, topup: Topup, receipt: ReceiptRow | None, at_ms: int) -> str:
        payload: dict[str, Any] = {
            "id": event_id,
            "type": kind,
            "created_at": at_ms // 1000,
            "mode": self._mode,
            "account_id": topup.invoice.account_id,
            "invoice": wire.status(topup),
        }
        if receipt is not None:
            payload["payment"] = wire.payment(receipt)
        return money.json(payload).decode()
