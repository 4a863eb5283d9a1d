"""An invoice's journal: how it stood after every change, as callers are shown it.

It is written in the transaction that makes the change, as the last thing in it. It must never change money.
"""

from __future__ import annotations

from sqlalchemy import Connection

from perquery import money
from perquery.store import events
from perquery.topups import wire
from perquery.topups.invoice import Topup


def write(connection: Connection, was: Topup | None, now: Topup, at_ms: int) -> None:
    """Write down how the invoice stands now, where that is not as it stood; was None: it is new."""
    body = money.json(wire.status(now))
    if was is not None and money.json(wire.status(was)) == body:
        return
    (number,) = events.take_numbers(connection, 1)
    events.add(connection, number, now.invoice.account_id, now.invoice.id, at_ms, body.decode())
