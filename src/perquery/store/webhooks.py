"""What the operator's webhooks are told: written with the change that it tells of, in one order per webhook.

A delivery is pending until it was taken or given up; of an invoice only the oldest pending one is ever sent, so one
that is not taken holds up what else happens to its invoice, and no other's. Nothing here opens a socket.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, TypeAlias

import orjson
from sqlalchemy import Connection, delete, func, insert, select, update

from perquery.store import events
from perquery.store.database import Database
from perquery.store.tables import webhook_deliveries

KEPT_MS = 30 * 86_400_000
State: TypeAlias = Literal["pending", "delivered", "failed"]


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """body: the event as JSON; due_at: when it may be tried next; answer: what came of the last attempt.

    redelivery_of: the id of the delivery that this one repeats by hand. Times in milliseconds.
    """

    number: int
    id: str
    webhook: str
    event_id: str
    type: str
    invoice_id: str
    body: str
    created_at: int
    due_at: int
    redelivery_of: str | None = None
    state: State = "pending"
    attempts: int = 0
    attempted_at: int | None = None
    answer_status: int | None = None
    answer: str | None = None

    @property
    def sent(self) -> bytes:
        """What is sent, the same at every attempt: the event, and which delivery this one repeats."""
        mark = orjson.dumps({"redelivery_of": self.redelivery_of})
        return self.body.removesuffix("}").encode() + b"," + mark.removeprefix(b"{")


_COLUMNS = [webhook_deliveries.c[name] for name in DeliveryRow.__slots__]


def new_id(kind: Literal["evt", "dlv"]) -> str:
    return f"{kind}_{secrets.token_hex(12)}"


def add(connection: Connection, rows: Sequence[DeliveryRow]) -> None:
    connection.execute(insert(webhook_deliveries), [asdict(row) for row in rows])


def put(database: Database, row: DeliveryRow) -> None:
    """Write what came of an attempt."""
    names = ("state", "attempts", "due_at", "attempted_at", "answer_status", "answer")
    changes = {name: getattr(row, name) for name in names}
    with database.writer.begin() as connection:
        connection.execute(update(webhook_deliveries).where(webhook_deliveries.c.number == row.number).values(changes))


def next_due(database: Database, webhook: str, now_ms: int) -> DeliveryRow | None:
    """What the webhook must be told now: of the deliveries that are first of their invoice, the oldest that is due."""
    rows = webhook_deliveries.c
    waiting = (rows.webhook == webhook, rows.state == "pending")
    first = select(func.min(rows.number)).where(*waiting).group_by(rows.invoice_id)
    query = select(*_COLUMNS).where(rows.number.in_(first), rows.due_at <= now_ms).order_by(rows.number).limit(1)
    with database.reader.begin() as connection:
        row = connection.execute(query).one_or_none()
    return DeliveryRow(**row._mapping) if row is not None else None


def latest(database: Database, limit: int) -> list[DeliveryRow]:
    """All webhooks' deliveries, newest first."""
    query = select(*_COLUMNS).order_by(webhook_deliveries.c.number.desc()).limit(limit)
    with database.reader.begin() as connection:
        return [DeliveryRow(**row._mapping) for row in connection.execute(query)]


def find(database: Database, id: str) -> DeliveryRow | None:
    with database.reader.begin() as connection:
        row = connection.execute(select(*_COLUMNS).where(webhook_deliveries.c.id == id)).one_or_none()
    return DeliveryRow(**row._mapping) if row is not None else None


def repeat(database: Database, row: DeliveryRow) -> DeliveryRow:
    """The same event once more, behind all that the webhook must be told already."""
    now_ms = database.now_ms()
    fresh = DeliveryRow(
        0, new_id("dlv"), row.webhook, row.event_id, row.type, row.invoice_id, row.body, now_ms, now_ms, row.id
    )
    with database.writer.begin() as connection:
        fresh = replace(fresh, number=events.take_numbers(connection, 1)[0])
        add(connection, [fresh])
    return fresh


def forget_old(connection: Connection, now_ms: int) -> None:
    connection.execute(delete(webhook_deliveries).where(webhook_deliveries.c.created_at < now_ms - KEPT_MS))
