"""Proving a wallet: what it says of itself, a smallest invoice made, verified and looked up. It moves no money."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from perquery.rails.rail import Inspectable, Inspection, Payable, PayableRequest, Rail, RailDown, Watched

PROBE = PayableRequest(amount=1_000, description="PerQuery wallet check", expiry_s=900)


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found of one rail. made: the invoice that nobody is to pay; wrong: what failed, "" for nothing;
    receivable: the coin's smallest unit; took_ms: for all questions together.
    """

    rail: str
    inspection: Inspection | None
    made: Payable | None
    receivable: int | None
    wrong: str
    took_ms: int

    @property
    def ok(self) -> bool:
        return not self.wrong


async def prove(name: str, rail: Rail, clock: Callable[[], int]) -> Proof:
    """Ask one rail all three questions. clock: milliseconds. Never raises RailDown: that is the finding.

    The rail itself verifies the invoice before it hands it out. It stays unpaid and expires.
    """
    begun, inspection, made, wrong = clock(), None, None, ""
    try:
        if isinstance(rail, Inspectable):
            inspection = await rail.inspect()
        made = await rail.make(replace(PROBE, amount=getattr(rail, "probe", PROBE.amount)))
        await rail.receipts("", (Watched(made.rail_ref, clock() + PROBE.expiry_s * 1_000, begun),))
    except RailDown as error:
        wrong = str(error)
    return Proof(name, inspection, made, rail.receivable, wrong, clock() - begun)
