"""What a way to be paid is: at most three verbs, and the data that they exchange.

Amounts are in the coin's smallest unit (millisatoshi), times in milliseconds. A rail receives only; it never
knows an account, a rate or a dollar, and its receipts are facts: reporting one twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

ReceiptState: TypeAlias = Literal["pending", "confirmed", "gone"]


class RailDown(Exception):
    """The wallet or node behind a rail does not answer as it should; what there is to know is not all known, ask again
    later. found: receipts that were learnt all the same, so that one bad answer holds up no other payment.
    """

    def __init__(self, words: str, found: Sequence[Receipt] = ()) -> None:
        super().__init__(words)
        self.found = tuple(found)


class RailSilent(RailDown):
    """It does not answer at all: there is no use in asking it anything more now."""


@dataclass(frozen=True, slots=True)
class PayableRequest:
    """What to make payable: amount above 0, a description for the payer, how long it may be paid. number: of this
    payable among all of a rail on a chain, from 0 on, given once.
    """

    amount: int
    description: str
    expiry_s: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class Payable:
    """text: what a payer's wallet takes (a BOLT #11 invoice, an address); rail_ref: what receipts name it by."""

    text: str
    rail_ref: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """A payment seen. id: unique within the rail, for ever (`again`); at_ms: when the rail first saw it."""

    id: str
    rail_ref: str
    amount: int
    state: ReceiptState
    at_ms: int


def again(name: str, times: int) -> str:
    """The receipt id of a payment that has come back so often after it had counted and vanished."""
    return f"{name}~{times}" if times else name


def payment_of(receipt_id: str) -> str:
    """The payment's own name, however often it came back."""
    return receipt_id.partition("~")[0]


@dataclass(frozen=True, slots=True)
class Watched:
    """A payable that may still be paid: open, or expired less than the monitoring window ago; an address, for ever.
    since_ms: when it was asked for, 0 where that is not known.
    """

    rail_ref: str
    expires_at_ms: int
    since_ms: int = 0


class Whole(tuple[Watched, ...]):
    """All payables that a rail ever had, looked at now and then, in place of those that may soon be paid."""

    __slots__ = ()


class Rail(Protocol):
    """A way to be paid. Both questions raise RailDown where the wallet behind does not answer as it should.

    pace_s: how often it is worth asking where nobody waits and nothing was pushed. receivable: the largest amount
    that it can receive now, as far as it was told; None where the wallet does not say.
    """

    pace_s: float
    receivable: int | None

    async def make(self, request: PayableRequest) -> Payable: ...

    async def receipts(self, cursor: str, watched: Sequence[Watched]) -> tuple[Sequence[Receipt], str]:
        """All receipts that are new or changed since `cursor` ("" = the beginning), and the cursor after them.

        A receipt may be reported again; it is reported until it is final. `watched`: what a wallet that has no list
        of payments in order must look up one by one.
        """
        ...

    async def close(self) -> None: ...


@runtime_checkable
class Pushed(Protocol):
    """A rail to which its service sends webhooks: they make it ask, and are never believed."""

    def pushed(self, payload: bytes, signature_header: str) -> bool:
        """Whether the webhook is signed by whom it should be."""
        ...


@runtime_checkable
class Revalued(Protocol):
    """A rail whose unit is the dollar at a rate that was locked for an invoice, whatever coin the payer chose."""

    def present(self, rail_ref: str) -> int | None:
        """Nano-USD that such a dollar is worth now; None where that is not known."""
        ...


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a wallet says of itself. node: name and version; network: a BOLT #11 prefix such as "bc", or a chain;
    may_spend: whether our credential could pay out, None where it cannot be known; advice: how to make a
    credential that can do less, and whatever else the operator should know.
    """

    node: str
    network: str
    may_spend: bool | None
    advice: tuple[str, ...] = ()


@runtime_checkable
class Inspectable(Protocol):
    """A rail that can tell what stands behind it. Raises RailDown."""

    async def inspect(self) -> Inspection: ...
