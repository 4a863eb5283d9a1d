"""A wallet's own list of what it received against what the ledger credited. It changes neither.

A gateway may be at work meanwhile: the wallet is read first, then the ledger, and what differs is looked at again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from perquery.rails.rail import Rail, RailDown, Watched, Whole, payment_of
from perquery.store import deposits
from perquery.store.database import Database
from perquery.store.deposits import Standing

PATIENCE_S: Final = 5.0  # a gateway that is at work credits sooner
ALL_S: Final = 20.0  # the longest that somebody who looks at a page waits


@dataclass(frozen=True, slots=True)
class Difference:
    """A payment on which the two do not agree; amounts in the coin's smallest unit, 0 for not there at all."""

    receipt_id: str
    received: int
    credited: int

    @property
    def words(self) -> str:
        if not self.credited:
            return f"{self.receipt_id}: {self.received} received and not credited"
        if not self.received:
            return f"{self.receipt_id}: {self.credited} credited and not received"
        return f"{self.receipt_id}: {self.received} received, {self.credited} credited"


@dataclass(frozen=True, slots=True)
class Reconciled:
    """One rail. received, credited: sums of the coin's smallest unit; credited_nano: USD; others: what the wallet
    received for no invoice of ours.
    """

    rail: str
    received: int
    credited: int
    credited_nano: int
    others: int
    differences: tuple[Difference, ...]

    @property
    def ok(self) -> bool:
        return not self.differences


def compare(rail: str, received: Mapping[str, tuple[str, int]], ledger: Standing) -> Reconciled:
    """received: by receipt id, its reference and amount. Pure."""
    ours = {ref for ref, _, _ in ledger.asked}
    known = {name: amount for name, (ref, amount) in received.items() if ref in ours}
    credited = {payment_of(deposit.receipt_id): deposit.amount for deposit in ledger.deposits}
    names = sorted(known.keys() | credited.keys())
    differences = [Difference(name, known.get(name, 0), credited.get(name, 0)) for name in names]
    return Reconciled(
        rail=rail,
        received=sum(known.values()),
        credited=sum(credited.values()),
        credited_nano=sum(deposit.credit_nano for deposit in ledger.deposits),
        others=sum(amount for ref, amount in received.values() if ref not in ours),
        differences=tuple(each for each in differences if each.received != each.credited),
    )


async def reconcile(database: Database, name: str, rail: Rail, patience_s: float = PATIENCE_S) -> Reconciled:
    """Ask the wallet and the ledger, twice where they differ. Raises RailDown."""
    first = await _look(database, name, rail)
    if first.ok:
        return first
    await asyncio.sleep(patience_s)
    return await _look(database, name, rail)


async def reconcile_all(database: Database, rails: Mapping[str, Rail]) -> dict[str, Reconciled | None]:
    """Every rail, at once; None where its wallet did not answer in time."""

    async def one(name: str, rail: Rail) -> Reconciled | None:
        try:
            async with asyncio.timeout(ALL_S):
                return await reconcile(database, name, rail)
        except (RailDown, TimeoutError):
            return None

    found = await asyncio.gather(*(one(name, rail) for name, rail in rails.items()))
    return dict(zip(rails, found, strict=True))


async def _look(database: Database, name: str, rail: Rail) -> Reconciled:
    asked = (await asyncio.to_thread(deposits.standing, database, name)).asked
    watched = Whole(Watched(*each) for each in asked)
    received: dict[str, tuple[str, int]] = {}
    before, after = None, ""
    while after != before:
        before = after
        reported, after = await rail.receipts(before, watched)
        for receipt in reported:
            if receipt.state == "confirmed":
                received[receipt.id] = (receipt.rail_ref, receipt.amount)
            else:
                received.pop(receipt.id, None)
    received = {payment_of(receipt_id): found for receipt_id, found in received.items()}
    return compare(name, received, await asyncio.to_thread(deposits.standing, database, name))
