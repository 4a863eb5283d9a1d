"""What a way to be paid is: at most three verbs, and the data that they exchange.

Amounts are in the coin's smallest unit (millisatoshi), times in milliseconds. A rail receives only; it never
knows an account, a rate or a dollar, and its receipts are facts: reporting one twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

ReceiptState: TypeAlias = Literal["pending", "confirmed", "gone"]


class RailDown(Exception):
    """The wallet or node behind a rail does not answer; nothing is known, ask again later."""


@dataclass(frozen=True, slots=True)
class PayableRequest:
    """What to make payable: amount above 0, a description for the payer, how long it may be paid."""

    amount: int
    description: str
    expiry_s: int


@dataclass(frozen=True, slots=True)
class Payable:
    """text: what a payer's wallet takes (a BOLT #11 invoice, an address); rail_ref: what receipts name it by."""

    text: str
    rail_ref: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """A payment seen. id: unique within the rail, for ever; at_ms: when the rail first saw it."""

    id: str
    rail_ref: str
    amount: int
    state: ReceiptState
    at_ms: int


class Rail(Protocol):
    """A way to be paid. Both questions raise RailDown where the wallet behind does not answer."""

    async def make(self, request: PayableRequest) -> Payable: ...

    async def receipts(self, cursor: str) -> tuple[Sequence[Receipt], str]:
        """All receipts that are new or changed since `cursor` ("" = the beginning), and the cursor after them.

        A receipt may be reported again; it is reported until it is final.
        """
        ...

    async def close(self) -> None: ...
