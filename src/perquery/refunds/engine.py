"""What a refund comes to, and what is done with it next: pure functions, no clock and no I/O.

    requested → held → sent → paid | failed
                          ↘ unknown ↗

Nothing leaves that is not held, and nothing is sent whose sending was not written down before; nobody sends a second
time. From then on only the wallet's own record says how it ended: `paid`, or `failed`. Where the wallet has no record
of it, it has failed once the wallet itself has declined it, or once its invoice is dead; until then it stays held, and
for ever where the wallet had said that it pays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from perquery.payouts.wallet import Look
from perquery.store.refunds import RefundRow

MSAT_PER_COIN: Final = 10**11
QUANTUM_MSAT: Final = 1_000  # whole satoshi, which every wallet can ask for
FEE_LEAST_MSAT: Final = 10_000
FEE_PERCENT: Final = 1
MARGIN_MS: Final = 60_000  # what is sent must be payable for so long
GRACE_MS: Final = 600_000  # a question that was under way when the invoice expired has arrived so long after it
EXPIRY_MOST_MS: Final = 8 * 24 * 3_600_000

Act: TypeAlias = Literal["hold", "send", "look", "book"]
Verdict: TypeAlias = Literal["send", "paid", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Quote:
    """What a payment takes from an account: for itself, rounded up, and at most for its fee, on Lightning too."""

    amount_nano: int
    fee_most_nano: int
    fee_most_msat: int

    @property
    def most_nano(self) -> int:
        return self.amount_nano + self.fee_most_nano


def quote(amount_msat: int, usd_nano_per_coin: int) -> Quote:
    """The fee is the account's: 1 % and ten satoshi at least is what it may be."""
    fee_most_msat = max(FEE_LEAST_MSAT, -(-amount_msat * FEE_PERCENT // 100))
    return Quote(worth(amount_msat, usd_nano_per_coin), worth(fee_most_msat, usd_nano_per_coin), fee_most_msat)


def worth(msat: int, usd_nano_per_coin: int) -> int:
    """In nano-USD, rounded up: the house gives nothing away by rounding."""
    return -(-msat * usd_nano_per_coin // MSAT_PER_COIN)


def largest_msat(spare_nano: int, usd_nano_per_coin: int) -> int:
    """The largest payment in whole satoshi that fits with its fee into what is spare; 0 where none does."""
    low, high = 0, spare_nano * MSAT_PER_COIN // usd_nano_per_coin // QUANTUM_MSAT
    while low < high:
        middle = (low + high + 1) // 2
        fits = quote(middle * QUANTUM_MSAT, usd_nano_per_coin).most_nano <= spare_nano
        low, high = (middle, high) if fits else (low, middle - 1)
    return low * QUANTUM_MSAT


def act(row: RefundRow) -> Act:
    """What is to be done for a refund that nobody is busy with."""
    if row.ended_at is not None:
        return "book"
    if row.state == "requested":
        return "hold"
    return "send" if row.state == "held" else "look"


def verdict(row: RefundRow, look: Look | None, now_ms: int) -> Verdict | None:
    """What follows from the wallet's record; None: nothing yet. look None: the wallet does not answer.

    A refund that is only held and of which the wallet knows already was sent by a process whose writing is lost (a
    restored backup), so it is not sent again.
    """
    if row.state == "held":
        if look is not None and look.record != "absent":
            return "unknown"
        if now_ms >= row.expires_at - MARGIN_MS:
            return "failed"
        return "send" if look is not None else None
    if look is None or look.wallet != row.wallet or look.record == "pending":
        return None
    if look.record == "paid":
        return "paid" if look.amount_msat == row.amount_msat else None
    if look.record == "failed":
        return "failed"
    if row.accepted_at is not None:
        return None  # it has said that it pays, so a record that is gone proves nothing
    return "failed" if row.declined_at is not None or now_ms >= row.expires_at + GRACE_MS else None


def next_look_ms(row: RefundRow, now_ms: int) -> int:
    """When to look again at what is under way: after a tenth of the time that it has taken, at most half a minute."""
    return now_ms + min(30_000, (now_ms - (row.sent_at or now_ms)) // 10)


def charge(row: RefundRow, fee_msat: int) -> int:
    """What leaves the account for a payment that was made; a fee above what was held is the house's."""
    return row.amount_nano + min(worth(fee_msat, row.usd_nano_per_coin), row.fee_most_nano)
