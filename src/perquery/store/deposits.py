"""What the ledger has credited of a rail's payments, and what the rail was asked to watch. Read-only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, literal, select

from perquery.store.database import Database
from perquery.store.invoices import asked, numbers
from perquery.store.tables import invoices, receipts, transfers


@dataclass(frozen=True, slots=True)
class Deposit:
    """A receipt that was credited and not taken back. amount: the coin's smallest unit; credit_nano: what the
    transfer moved to the customer, or paid of its debt.
    """

    receipt_id: str
    rail_ref: str
    amount: int
    credit_nano: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A rail as the ledger knows it. asked: reference, expiry and creation (ms) of every invoice that it has made."""

    deposits: Sequence[Deposit]
    asked: Sequence[tuple[str, int, int]]


def standing(database: Database, rail: str) -> Standing:
    """Everything of one rail, in one snapshot."""
    credited = _credited(rail, receipts.c.receipt_id, invoices.c.rail_ref, receipts.c.amount, receipts.c.credit_nano)
    with database.reader.begin() as connection:
        deposits = [Deposit(*row) for row in connection.execute(credited)]
        return Standing(deposits, asked(connection, rail))


@dataclass(frozen=True, slots=True)
class Paid:
    """A credited receipt, and where it went: payable is the address, the invoice is whose it was."""

    payable: str
    invoice_id: str
    receipt_id: str
    amount: int


def paid(database: Database, rail: str) -> tuple[list[Paid], int]:
    """All credited receipts of one rail, oldest invoice first; and how many numbers it was ever given."""
    credited = _credited(rail, invoices.c.payable, invoices.c.id, receipts.c.receipt_id, receipts.c.amount)
    with database.reader.begin() as connection:
        rows = connection.execute(credited.order_by(invoices.c.created_at, invoices.c.id, receipts.c.receipt_id))
        return [Paid(*row) for row in rows], numbers(connection, rail)


def _credited(rail: str, *columns: Any) -> Select[Any]:
    reference = literal(f"{rail}:") + receipts.c.receipt_id
    moved = (transfers.c.account_id == invoices.c.account_id) & (transfers.c.reference == reference)
    return (
        select(*columns)
        .join_from(receipts, invoices, invoices.c.id == receipts.c.invoice_id)
        .join(transfers, moved)
        .where(receipts.c.rail == rail, receipts.c.credited_at.is_not(None), receipts.c.reversed_at.is_(None))
    )
