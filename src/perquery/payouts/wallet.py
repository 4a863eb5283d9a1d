"""What a wallet that pays out is: two questions, and the data that they exchange. Amounts are millisatoshi.

A wallet never decides anything: it pays what it is told, and `look` says what its own record has of a payment. That
record alone is believed, never the answer to `pay`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from perquery.rails.rail import RailDown

Record: TypeAlias = Literal["absent", "pending", "paid", "failed"]


class Declined(Exception):
    """The wallet itself has answered, and has not said that it pays; its words."""


class OwnInvoice(RailDown):
    """What was asked about is no payment of this wallet but an invoice that it made itself."""


@dataclass(frozen=True, slots=True)
class Purse:
    """What a wallet says of itself. node: name and version; wallet: as in `Look`; balance None: it does not say;
    reserve: what it sets aside for the fee of such a payment as was named.
    """

    node: str
    wallet: str
    balance_msat: int | None
    reserve_msat: int


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


class ProvableWallet(Protocol):
    """A wallet that can tell what it is. Raises RailDown, OwnInvoice; it never pays."""

    async def inspect(self, amount_msat: int) -> Purse:
        """amount: of the payment whose fee is asked about."""
        ...

    async def look(self, payment_hash: str) -> Look: ...
