"""What an auto top-up does next: pure functions of (wallet, attempt, invoice, time), no clock and no I/O.

    claimed → invoice_created → request_signed → sent → answered | unknown → settled | failed_final

We are the payee, so our own invoice is the only verdict. What the wallet answers, be it a success or an error, is
words for the account and a reason to look at once: wallets answer an error and pay after all, or pay and never
answer. So an attempt ends where its invoice was paid, or where the invoice is dead: expired, and its rail heard
until a while after that. Only then may there be another attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from perquery import money
from perquery.store.invoices import InvoiceRow
from perquery.store.wallets import AttemptRow, Past, State, WalletRow

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
MONTH_MS: Final = 30 * DAY_MS
GRACE_MS: Final = 2 * MINUTE_MS  # a payment that set out in time may arrive so long after the expiry
MARGIN_MS: Final = MINUTE_MS  # what is asked of a wallet must be payable for so long
GAP_MS: Final = MINUTE_MS  # between a payment and the next attempt
REARM_MS: Final = 10 * MINUTE_MS  # the same, where the payment did not lift the balance to the threshold
HOURLY_MAX: Final = 6  # attempts
REFUSALS_MAX: Final = 3  # in a row: then it is switched off
FAILURES_MAX: Final = 10
_BACKOFF_MS: Final = 15 * MINUTE_MS
_BACKOFF_MOST_MS: Final = 6 * HOUR_MS
_REFUSED: Final = frozenset({"UNAUTHORIZED", "RESTRICTED", "NOT_IMPLEMENTED"})

Act: TypeAlias = Literal["make", "ask", "wait"]
Ending: TypeAlias = Literal["settled", "failed_final"]
_UNSENT: Final[frozenset[State]] = frozenset({"claimed", "invoice_created", "request_signed"})


@dataclass(frozen=True, slots=True)
class Claim:
    """An attempt is due, for so many nano-USD."""

    amount_nano: int


@dataclass(frozen=True, slots=True)
class Pause:
    """A cap is reached: why, and when to look again."""

    reason: str
    until_ms: int


def wanted(
    wallet: WalletRow, effective_nano: int, past: Sequence[Past], most_nano: int, now_ms: int
) -> Claim | Pause | None:
    """Whether the account needs a payment now: as many whole amounts as lift it to the threshold, within what one
    invoice can take (`most_nano`) and within the caps. past: attempts of the last 30 days, oldest first.
    """
    if not wallet.enabled or now_ms < wallet.next_at or effective_nano >= wallet.threshold_nano:
        return None
    hour = [attempt for attempt in past if attempt.created_at > now_ms - HOUR_MS]
    if len(hour) >= HOURLY_MAX:
        return Pause(f"{HOURLY_MAX} attempts were made within an hour.", hour[0].created_at + HOUR_MS)
    steps = -(-(wallet.threshold_nano - effective_nano) // wallet.amount_nano)
    steps = min(steps, max(1, most_nano // wallet.amount_nano))
    for name, cap_nano, window_ms in _caps(wallet):
        within = [attempt for attempt in past if attempt.created_at > now_ms - window_ms and attempt.counted_nano]
        steps = min(steps, (cap_nano - sum(attempt.counted_nano for attempt in within)) // wallet.amount_nano)
        if steps <= 0:
            until_ms = within[0].created_at + window_ms if within else now_ms + window_ms
            return Pause(f"The {name} limit of ${money.plain(cap_nano)} is reached.", until_ms)
    return Claim(steps * wallet.amount_nano)


def _caps(wallet: WalletRow) -> tuple[tuple[str, int, int], ...]:
    return ("daily", wallet.daily_nano, DAY_MS), ("monthly", wallet.monthly_nano, MONTH_MS)


def act(state: State, invoice: InvoiceRow | None, now_ms: int) -> Act:
    """What is to be done for an open attempt that nobody is busy with.

    One that a crash left in the state `sent` publishes the same event once more, which wallets know by its id.
    """
    if invoice is None:
        return "make"
    payable = now_ms < invoice.expires_at - MARGIN_MS
    return "ask" if payable and state not in ("answered", "unknown") else "wait"


def verdict(
    attempt: AttemptRow, invoice: InvoiceRow | None, connected: bool, heard_ms: int | None, now_ms: int
) -> Ending | None:
    """How the attempt has ended; None while its invoice may still be paid. heard_ms: until when its rail was heard.

    What was never sent ends at once where its wallet is gone, or where there is too little time left.
    """
    if invoice is not None and invoice.status == "settled":
        return "settled"
    if attempt.state in _UNSENT:
        return None if connected and act(attempt.state, invoice, now_ms) != "wait" else "failed_final"
    if invoice is None or invoice.status not in ("expired", "invalid"):
        return None
    if heard_ms is None or heard_ms < dead_ms(invoice):
        return None
    return "settled" if invoice.crypto_paid else "failed_final"


def dead_ms(invoice: InvoiceRow) -> int:
    """When a payment of the invoice that set out in time has arrived."""
    return invoice.expires_at + GRACE_MS


def after_success(wallet: WalletRow, effective_nano: int, now_ms: int) -> dict[str, Any]:
    """The wallet's columns after a payment: armed again at once where the balance is back at the threshold."""
    gap_ms = GAP_MS if effective_nano >= wallet.threshold_nano else REARM_MS
    return {"next_at": now_ms + gap_ms, "reason": None, "failures": 0, "refusals": 0}


def after_failure(wallet: WalletRow, code: str | None, words: str, now_ms: int) -> dict[str, Any]:
    """The wallet's columns after an attempt that ended unpaid: it waits longer each time, and is switched off where
    it refuses for good.
    """
    failures, refusals = wallet.failures + 1, wallet.refusals + 1 if code in _REFUSED else 0
    wait_ms = min(_BACKOFF_MS << min(failures - 1, 10), _BACKOFF_MOST_MS)
    changes = {
        "next_at": max(wallet.next_at, now_ms + wait_ms),
        "reason": words,
        "failures": failures,
        "refusals": refusals,
    }
    if refusals >= REFUSALS_MAX or failures >= FAILURES_MAX:
        many = f"{refusals} refusals" if refusals >= REFUSALS_MAX else f"{failures} failed attempts"
        return changes | {"enabled": False, "reason": f"Switched off after {many} in a row. The last: {words}"}
    return changes


def after_no_invoice(words: str, now_ms: int) -> dict[str, Any]:
    """The wallet's columns where this gateway could not make an invoice: the wallet is not to blame."""
    return {"next_at": now_ms + MINUTE_MS, "reason": words}
