"""The journal of invoices: how each stood after every change, numbered in the order of commits.

A change is written in the transaction that makes it, so neither is there without the other. The counter's row is
the last thing that such a transaction locks, and it changes one invoice: so writers take turns and never cross.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Select, delete, func, insert, select, text

from perquery.store.database import Database
from perquery.store.invoices import OPEN
from perquery.store.tables import counters, invoice_events, invoices

BATCH = 100
KEPT_MS = 30 * 86_400_000
_COUNTER = "events"
# Holds the counter's row until the end of the transaction: a number seen means that all below it are to be seen.
_TAKE = text(
    "INSERT INTO counters (name, value) VALUES (:name, :count)"
    " ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value RETURNING value"
)


@dataclass(frozen=True, slots=True)
class InvoiceEvent:
    """How an invoice stood; body: the JSON of its status."""

    number: int
    invoice_id: str
    body: str


@dataclass(frozen=True, slots=True)
class News:
    """What a caller has not seen: events in their order, and the newest number that there was then."""

    events: Sequence[InvoiceEvent]
    newest: int


def take_numbers(connection: Connection, count: int) -> range:
    """The next `count` numbers; the last lock that a transaction takes."""
    last = int(connection.execute(_TAKE, {"name": _COUNTER, "count": count}).scalar_one())
    return range(last - count + 1, last + 1)


def add(connection: Connection, number: int, account_id: int, invoice_id: str, at_ms: int, body: str) -> None:
    row = {"number": number, "account_id": account_id, "invoice_id": invoice_id, "at": at_ms, "body": body}
    connection.execute(insert(invoice_events).values(row))


def newest(database: Database) -> int:
    """The newest number, 0 where there is none."""
    with database.reader.begin() as connection:
        return _newest(connection)


def accounts_since(database: Database, number: int) -> tuple[int, set[int]]:
    """The newest number, and whose invoices changed after `number`."""
    with database.reader.begin() as connection:
        last = _newest(connection)
        if last == number:
            return last, set()
        changed = select(invoice_events.c.account_id).where(invoice_events.c.number > number).distinct()
        return last, set(connection.scalars(changed))


def since(database: Database, account_id: int, invoice_id: str | None, number: int) -> News:
    """What happened to the account's invoices, or to one of them, after `number`; at most a batch."""
    rows = invoice_events.c
    chosen = _events().where(rows.account_id == account_id, rows.number > number)
    if invoice_id is not None:
        chosen = chosen.where(rows.invoice_id == invoice_id)
    with database.reader.begin() as connection:
        last = _newest(connection)
        return News(_found(connection, chosen.order_by(rows.number).limit(BATCH)), last)


def standing(database: Database, account_id: int, invoice_id: str | None) -> News:
    """The newest event of each of the account's open invoices, or of the one named, whatever its state."""
    own = invoices.c.id == invoice_id if invoice_id is not None else invoices.c.status.in_(OPEN)
    which = select(invoices.c.id).where(invoices.c.account_id == account_id, own)
    rows = invoice_events.c
    latest = select(func.max(rows.number)).where(rows.invoice_id.in_(which)).group_by(rows.invoice_id)
    with database.reader.begin() as connection:
        last = _newest(connection)
        return News(_found(connection, _events().where(rows.number.in_(latest)).order_by(rows.number)), last)


def forget_old(connection: Connection, now_ms: int) -> None:
    """Of every invoice the newest stays for ever, and how it stood before for a while."""
    later = invoice_events.alias()
    passed = select(later.c.number).where(
        later.c.invoice_id == invoice_events.c.invoice_id, later.c.number > invoice_events.c.number
    )
    connection.execute(delete(invoice_events).where(invoice_events.c.at < now_ms - KEPT_MS, passed.exists()))


def _events() -> Select[tuple[int, str, str]]:
    return select(invoice_events.c.number, invoice_events.c.invoice_id, invoice_events.c.body)


def _found(connection: Connection, query: Select[tuple[int, str, str]]) -> list[InvoiceEvent]:
    return [InvoiceEvent(row.number, row.invoice_id, row.body) for row in connection.execute(query)]


def _newest(connection: Connection) -> int:
    return connection.scalar(select(counters.c.value).where(counters.c.name == _COUNTER)) or 0
