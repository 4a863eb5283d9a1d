"""The paying wallet's own record against the refunds that have ended. It changes neither."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from perquery.payouts.wallet import Look, PayingWallet
from perquery.store import refunds
from perquery.store.database import Database
from perquery.store.refunds import RefundRow


@dataclass(frozen=True, slots=True)
class Compared:
    """paid_msat: what the wallet says that it paid, fees included; taken_msat, taken_nano: what was taken for it;
    others: refunds that another wallet was asked to pay; differences: in words.
    """

    paid_msat: int
    taken_msat: int
    taken_nano: int
    others: int
    differences: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.differences


async def reconcile(database: Database, wallet: PayingWallet) -> Compared:
    """Ask the wallet about every refund that it was asked to pay. Raises RailDown."""
    rows = await asyncio.to_thread(_sent, database)
    looked = [(row, await wallet.look(row.payment_hash)) for row in rows]
    known = [(row, look) for row, look in looked if look.wallet == row.wallet]
    return Compared(
        paid_msat=sum(look.amount_msat + look.fee_msat for _, look in known if look.record == "paid"),
        taken_msat=sum(row.amount_msat + (row.fee_msat or 0) for row, _ in known if row.state == "paid"),
        taken_nano=sum(row.charged_nano or 0 for row, _ in known),
        others=len(looked) - len(known),
        differences=tuple(words for row, look in known if (words := _difference(row, look))),
    )


def _difference(row: RefundRow, look: Look) -> str:
    """How the two do not agree, "" where they do."""
    if row.state == "failed":
        return "" if look.record in ("absent", "failed") else f"{row.id}: failed, and {look.record} by the wallet"
    if look.record != "paid":
        return f"{row.id}: taken from the account, and {look.record} by the wallet"
    same = (look.amount_msat, look.fee_msat) == (row.amount_msat, row.fee_msat)
    return "" if same else f"{row.id}: {look.amount_msat} + {look.fee_msat} msat paid, not as taken"


def _sent(database: Database) -> list[RefundRow]:
    with database.reader.begin() as connection:
        return refunds.sent(connection)
