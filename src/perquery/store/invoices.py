"""Invoices and receipts as rows, and each rail's cursor: reading and writing, no decisions.

Who changes an invoice or its receipts first locks the invoice's row (`find(..., lock=True)`), reads what is
there, and writes: so two gateways take turns. Nothing here moves money; that is the ledger's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection, Row, func, insert, or_, select, text, update
from sqlalchemy.dialects import postgresql

from perquery.errors import InternalError
from perquery.store.tables import accounts, invoices, meta, receipts

Status: TypeAlias = Literal["new", "seen", "settled", "expired", "invalid"]
OPEN: tuple[Status, ...] = ("new", "seen")
_BATCH = 100
_BEGIN = text("INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING")


@dataclass(frozen=True, slots=True)
class InvoiceRow:
    """An asking to be paid; its terms never change. amount: as asked, in `currency`; amount_nano: what the whole
    payment credits; crypto_due, crypto_paid: the coin's smallest unit; bonus: on at most `bonus_cap_nano`; times
    in milliseconds; flags: comma-separated; idempotency_key, body_hash: the caller's, where it gave a key.
    """

    id: str
    account_id: int
    rail: str
    currency: str
    amount: str
    amount_nano: int
    bonus_numerator: int
    bonus_denominator: int
    bonus_cap_nano: int
    crypto_due: int
    usd_nano_per_coin: int
    payable: str
    rail_ref: str
    created_at: int
    expires_at: int
    crypto_paid: int = 0
    status: Status = "new"
    flags: str = ""
    settled_at: int | None = None
    idempotency_key: str | None = None
    body_hash: bytes | None = None


@dataclass(frozen=True, slots=True)
class ReceiptRow:
    """A payment that a rail reported; amount: the coin's smallest unit. credit_nano and bonus_nano are decided
    once; credited_at, reversed_at: when the ledger was known to have done it.
    """

    rail: str
    receipt_id: str
    invoice_id: str
    amount: int
    state: Literal["pending", "confirmed", "gone"]
    first_seen_at: int
    confirmed_at: int | None = None
    credit_nano: int | None = None
    bonus_nano: int | None = None
    credited_at: int | None = None
    reversed_at: int | None = None

    @property
    def unfinished(self) -> bool:
        """Whether the rail or the ledger may still have a word on it."""
        if self.state == "gone":
            return self.credit_nano is not None and self.reversed_at is None
        return self.state == "pending" or self.credited_at is None


_INVOICE_COLUMNS = [invoices.c[name] for name in InvoiceRow.__slots__]
_WATCHED = (invoices.c.rail_ref, invoices.c.expires_at, invoices.c.created_at)
_RECEIPT_COLUMNS = [receipts.c[name] for name in ReceiptRow.__slots__]


def _invoice(row: Row[Any]) -> InvoiceRow:
    return InvoiceRow(**row._mapping)


def count_open(connection: Connection, account_id: int, now_ms: int) -> int:
    """How many invoices of the account wait for a payment."""
    waiting = (invoices.c.account_id == account_id, invoices.c.status.in_(OPEN), invoices.c.expires_at > now_ms)
    return connection.scalar(select(func.count()).select_from(invoices).where(*waiting)) or 0


def find_by_key(connection: Connection, account_id: int, key: str) -> InvoiceRow | None:
    """What the account has made with this Idempotency-Key."""
    query = select(*_INVOICE_COLUMNS).where(invoices.c.account_id == account_id, invoices.c.idempotency_key == key)
    row = connection.execute(query).one_or_none()
    return _invoice(row) if row is not None else None


def lock_account(connection: Connection, account_id: int) -> None:
    """Until the end of the transaction, nobody else adds an invoice to the account."""
    connection.execute(select(accounts.c.id).where(accounts.c.id == account_id).with_for_update())


def add(connection: Connection, invoice: InvoiceRow, *, open_max: int) -> bool:
    """Write a new invoice, unless the account has `open_max` open ones; whether it was written."""
    lock_account(connection, invoice.account_id)
    if count_open(connection, invoice.account_id, invoice.created_at) >= open_max:
        return False
    connection.execute(insert(invoices).values(asdict(invoice)))
    return True


def find(connection: Connection, invoice_id: str, *, lock: bool = False) -> InvoiceRow | None:
    query = select(*_INVOICE_COLUMNS).where(invoices.c.id == invoice_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    return _invoice(row) if row is not None else None


def locked(connection: Connection, invoice_id: str) -> InvoiceRow:
    """An invoice that there is, locked."""
    invoice = find(connection, invoice_id, lock=True)
    if invoice is None:
        raise InternalError(f"invoice {invoice_id} has vanished")
    return invoice


def find_by_ref(connection: Connection, rail: str, rail_ref: str) -> InvoiceRow | None:
    """The invoice to which a rail's receipt belongs, locked."""
    query = select(*_INVOICE_COLUMNS).where(invoices.c.rail == rail, invoices.c.rail_ref == rail_ref)
    row = connection.execute(query.with_for_update()).one_or_none()
    return _invoice(row) if row is not None else None


def latest(connection: Connection, account_id: int, limit: int) -> list[InvoiceRow]:
    """The account's invoices, newest first."""
    query = select(*_INVOICE_COLUMNS).where(invoices.c.account_id == account_id)
    query = query.order_by(invoices.c.created_at.desc(), invoices.c.id).limit(limit)
    return [_invoice(row) for row in connection.execute(query)]


def put(connection: Connection, invoice: InvoiceRow) -> None:
    """Write the part of an invoice that changes."""
    changes = {name: getattr(invoice, name) for name in ("crypto_paid", "status", "flags", "settled_at")}
    connection.execute(update(invoices).where(invoices.c.id == invoice.id).values(changes))


def receipts_of(connection: Connection, invoice_ids: Sequence[str]) -> list[ReceiptRow]:
    query = select(*_RECEIPT_COLUMNS).where(receipts.c.invoice_id.in_(invoice_ids))
    query = query.order_by(receipts.c.first_seen_at, receipts.c.receipt_id)
    return [ReceiptRow(**row._mapping) for row in connection.execute(query)]


def put_receipt(connection: Connection, receipt: ReceiptRow) -> None:
    """Write a receipt, new or changed; its invoice's row must be locked."""
    values = asdict(receipt) | {"unfinished": int(receipt.unfinished)}
    key = (receipts.c.rail == receipt.rail, receipts.c.receipt_id == receipt.receipt_id)
    if connection.execute(update(receipts).where(*key).values(values)).rowcount == 0:
        connection.execute(insert(receipts).values(values))


def unfinished(connection: Connection) -> list[str]:
    """Invoices with receipts that the ledger must still credit or reverse; at most a batch."""
    due = (receipts.c.unfinished == 1, receipts.c.state != "pending")
    query = select(receipts.c.invoice_id).where(*due).distinct().limit(_BATCH)
    return list(connection.scalars(query))


def lapsed(connection: Connection, rail: str, as_of_ms: int) -> list[str]:
    """The rail's invoices still marked open though their time had run out at `as_of_ms`; at most a batch."""
    over = (invoices.c.status.in_(OPEN), invoices.c.expires_at <= as_of_ms, invoices.c.rail == rail)
    query = select(invoices.c.id).where(*over).order_by(invoices.c.expires_at).limit(_BATCH)
    return list(connection.scalars(query))


def watched(connection: Connection, rail: str, since_ms: int) -> list[tuple[str, int, int]]:
    """The rail's unsettled invoices that expire after `since_ms`: reference, expiry and creation, the newest first."""
    waiting = (invoices.c.status != "settled", invoices.c.expires_at > since_ms, invoices.c.rail == rail)
    query = select(*_WATCHED).where(*waiting).order_by(invoices.c.expires_at.desc())
    return [(ref, ends, begins) for ref, ends, begins in connection.execute(query)]


def asked(connection: Connection, rail: str) -> list[tuple[str, int, int]]:
    """All invoices that the rail ever had: reference, expiry and creation."""
    query = select(*_WATCHED).where(invoices.c.rail == rail)
    return [(ref, ends, begins) for ref, ends, begins in connection.execute(query)]


def age_ms(connection: Connection, account_id: int, now_ms: int) -> int:
    """How long there has been the account."""
    return now_ms - int(connection.scalar(select(accounts.c.created_at).where(accounts.c.id == account_id)) or 0)


def asked_nano(connection: Connection, account_id: int, rail: str, now_ms: int) -> int:
    """What the account has asked to pay by the rail and has paid, or may still pay: nano-USD."""
    counts = or_(invoices.c.crypto_paid > 0, invoices.c.expires_at > now_ms)
    mine = (invoices.c.account_id == account_id, invoices.c.rail == rail, counts)
    return int(connection.scalar(select(func.sum(invoices.c.amount_nano)).where(*mine)) or 0)


def next_number(connection: Connection, rail: str) -> int:
    """A number from 0 on that the rail has never been given, whatever becomes of the transaction's invoice."""
    name = f"number:{rail}"
    values = {"name": name, "value": "0"}
    if connection.dialect.name == "postgresql":  # where two may come at once
        connection.execute(postgresql.insert(meta).values(values).on_conflict_do_nothing())
    elif connection.scalar(select(meta.c.value).where(meta.c.name == name)) is None:
        connection.execute(insert(meta).values(values))
    taken = int(connection.scalar(select(meta.c.value).where(meta.c.name == name).with_for_update()) or 0)
    connection.execute(update(meta).where(meta.c.name == name).values(value=str(taken + 1)))
    return taken


def numbers(connection: Connection, rail: str) -> int:
    """How many numbers the rail has been given."""
    return int(connection.scalar(select(meta.c.value).where(meta.c.name == f"number:{rail}")) or 0)


def cursor(connection: Connection, rail: str) -> str:
    """How far the rail's receipts have been written down; "" for not at all."""
    return connection.scalar(select(meta.c.value).where(meta.c.name == f"cursor:{rail}")) or ""


def move_cursor(connection: Connection, rail: str, seen: str, to: str) -> bool:
    """Move the rail's cursor on from where it was seen; whether it still was there. Then nobody else moves it, until
    the end of the transaction.
    """
    name = f"cursor:{rail}"
    there = (meta.c.name == name, meta.c.value == seen)
    if connection.execute(update(meta).where(*there).values(value=to)).rowcount == 1:
        return True
    return seen == "" and connection.execute(_BEGIN, {"name": name, "value": to}).rowcount == 1
