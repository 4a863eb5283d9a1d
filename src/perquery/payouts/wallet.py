"""What a wallet that pays out is: two questions, and the data that they exchange. Amounts are millisatoshi.

A wallet never decides anything: it pays what it is told, and `look` says what its own record has of a payment. That
record alone is believed, never the answer to `pay`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Record: TypeAlias = Literal["absent", "pending", "paid", "failed"]


class Declined(Exception):
    """The wallet itself has answered, and has not said that it pays; its words."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a wallet has of one payment. wallet: whose record this is, for ever the same for the same wallet; amount,
    fee: of what is paid; preimage: the proof of it, where the wallet has one.
    """

    wallet: str
    record: Record
    amount_msat: int = 0
    fee_msat: int = 0
    preimage: str | None = None


class PayingWallet(Protocol):
    """Both questions raise RailDown where no answer of the wallet itself came: then nothing is known."""

    async def pay(self, invoice: str) -> None:
        """Ask it to pay a BOLT #11 invoice. Raises Declined. It is asked at most once for each invoice."""
        ...

    async def look(self, payment_hash: str) -> Look: ...

    async def close(self) -> None: ...
