"""What the ledger has credited of a rail's payments, and what the rail was asked to watch. Read-only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import literal, select

from perquery.store.database import Database
from perquery.store.invoices import asked
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
    reference = literal(f"{rail}:") + receipts.c.receipt_id
    moved = (transfers.c.account_id == invoices.c.account_id) & (transfers.c.reference == reference)
    credited = (
        select(receipts.c.receipt_id, invoices.c.rail_ref, receipts.c.amount, receipts.c.credit_nano)
        .join(invoices, invoices.c.id == receipts.c.invoice_id)
        .join(transfers, moved)
        .where(receipts.c.rail == rail, receipts.c.credited_at.is_not(None), receipts.c.reversed_at.is_(None))
    )
    with database.reader.begin() as connection:
        deposits = [Deposit(*row) for row in connection.execute(credited)]
        return Standing(deposits, asked(connection, rail))
