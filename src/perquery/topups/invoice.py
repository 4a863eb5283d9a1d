"""The life of an invoice: one pure function from (invoice, receipts, time) to its state and what to credit.

    new → seen → settled          a payment arrived, was confirmed, and the ledger has credited it in full
    new → expired                 nothing arrived in time (what arrives later is still credited, once)
    seen → expired                less than asked arrived; it is credited (`partial`)
    seen → new | invalid          the payment vanished, or was not confirmed within the monitoring window

The rate is locked at creation for the invoice's amount, where a payment was seen before the expiry and confirmed
within the window. All else (the excess, and payments after that) is credited at the lower of the locked rate and
the present one. No clock, no I/O, no float; what has been decided for a receipt is never decided again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from perquery import money
from perquery.rails import rail as rails
from perquery.rails.tokens import Token
from perquery.store.invoices import InvoiceRow, ReceiptRow, Status

MONITORING_MS = 24 * 3_600_000
CREDIT_NANO_MAX = 10**18  # a thousand million dollars are no payment: whoever reports one is to be looked at


@dataclass(frozen=True, slots=True)
class Planned:
    """What one confirmed receipt is worth, in nano-USD: its credit, and the bonus on it."""

    receipt_id: str
    credit_nano: int
    bonus_nano: int


@dataclass(frozen=True, slots=True)
class Step:
    """Where an invoice stands. arrived, paid: units of the coin, seen at all and credited; credits: receipts to
    decide on now; reversals: ids of credited receipts that have vanished and must be taken back.
    """

    status: Status
    flags: tuple[str, ...]
    arrived: int
    paid: int
    credits: tuple[Planned, ...] = ()
    reversals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Topup:
    """An invoice as it stands: its row, its receipts, and what `advance` makes of them. networks: on which its address
    may be paid, where that is a choice.
    """

    invoice: InvoiceRow
    receipts: Sequence[ReceiptRow]
    step: Step
    networks: tuple[Token, ...] = ()

    @property
    def credited_nano(self) -> int:
        return sum(receipt.credit_nano or 0 for receipt in self._credited)

    @property
    def bonus_nano(self) -> int:
        return sum(receipt.bonus_nano or 0 for receipt in self._credited)

    @property
    def _credited(self) -> list[ReceiptRow]:
        return [r for r in self.receipts if r.credited_at is not None and r.reversed_at is None]


@dataclass(frozen=True, slots=True)
class Market:
    """units_per_coin: smallest units in a whole coin; usd_nano_per_coin: its rate now, None if there is none."""

    units_per_coin: int
    usd_nano_per_coin: int | None


def advance(invoice: InvoiceRow, receipts: Sequence[ReceiptRow], as_of_ms: int, market: Market) -> Step:
    """Where the invoice stands. `as_of_ms`: the time up to which the rail has been heard; nothing expires unheard."""
    live = [receipt for receipt in receipts if receipt.state != "gone"]
    arrived = sum(receipt.amount for receipt in live)
    paid = sum(receipt.amount for receipt in live if receipt.credited_at is not None)
    vanished = any(receipt.state == "gone" for receipt in receipts)
    return Step(
        status=_status(invoice, live, paid, vanished, as_of_ms),
        flags=_flags(invoice, live, arrived),
        arrived=arrived,
        paid=paid,
        credits=tuple(_credits(invoice, live, market)),
        reversals=tuple(receipt.receipt_id for receipt in receipts if _must_be_reversed(receipt)),
    )


def stands(invoice: InvoiceRow, receipts: Sequence[ReceiptRow], networks: tuple[Token, ...] = ()) -> Topup:
    """The invoice as it is written down, before anything is decided anew."""
    flags = tuple(invoice.flags.split(",")) if invoice.flags else ()
    arrived = sum(receipt.amount for receipt in receipts if receipt.state != "gone")
    step = Step(invoice.status, flags, arrived, invoice.crypto_paid)
    return Topup(invoice, tuple(receipts), step, networks)


def heard(known: ReceiptRow | None, reported: rails.Receipt, invoice: InvoiceRow, now_ms: int) -> ReceiptRow:
    """What is known of a receipt after the rail's report. A confirmed one never becomes pending again, and one
    that was taken back stays gone: if its money comes after all, the rail names it anew.
    """
    at_ms = min(reported.at_ms, now_ms)
    if known is None:
        confirmed_at = at_ms if reported.state == "confirmed" else None
        return ReceiptRow(invoice.rail, reported.id, invoice.id, reported.amount, reported.state, at_ms, confirmed_at)
    if reported.state == known.state or reported.state == "pending" or known.reversed_at is not None:
        return known
    if reported.state == "confirmed":
        return replace(known, state="confirmed", confirmed_at=known.confirmed_at or now_ms)
    return replace(known, state="gone")


def _must_be_reversed(receipt: ReceiptRow) -> bool:
    return receipt.state == "gone" and receipt.credited_at is not None and receipt.reversed_at is None


def _status(invoice: InvoiceRow, live: list[ReceiptRow], paid: int, vanished: bool, as_of_ms: int) -> Status:
    if paid >= invoice.crypto_due:
        return "settled"
    waiting = [receipt for receipt in live if receipt.credited_at is None]
    if waiting:
        unconfirmed = all(receipt.state == "pending" for receipt in waiting)
        given_up = as_of_ms >= invoice.expires_at + MONITORING_MS
        return "invalid" if given_up and unconfirmed else "seen"
    if as_of_ms < invoice.expires_at:
        return "seen" if live else "new"
    return "invalid" if vanished and not live else "expired"


def _flags(invoice: InvoiceRow, live: list[ReceiptRow], arrived: int) -> tuple[str, ...]:
    flags = {
        "partial": 0 < arrived < invoice.crypto_due,
        "late": any(receipt.first_seen_at >= invoice.expires_at for receipt in live),
        "over": arrived > invoice.crypto_due,
    }
    return tuple(name for name, holds in flags.items() if holds)


def _in_time(invoice: InvoiceRow, receipt: ReceiptRow) -> bool:
    """Seen before the expiry and confirmed within the window: the locked rate holds for it."""
    confirmed_at = receipt.confirmed_at
    end = invoice.expires_at + MONITORING_MS
    return receipt.first_seen_at < invoice.expires_at and confirmed_at is not None and confirmed_at <= end


def _credits(invoice: InvoiceRow, live: list[ReceiptRow], market: Market) -> list[Planned]:
    """Decide on the confirmed receipts that are undecided, in the order of their confirmation."""
    decided = [receipt for receipt in live if receipt.credit_nano is not None]
    covered = min(invoice.crypto_due, sum(receipt.amount for receipt in decided if _in_time(invoice, receipt)))
    credited = sum(receipt.credit_nano or 0 for receipt in decided)
    confirmed = [receipt for receipt in live if receipt.state == "confirmed" and receipt.credit_nano is None]
    planned = []
    for receipt in sorted(confirmed, key=lambda receipt: (receipt.confirmed_at or 0, receipt.receipt_id)):
        locked = min(receipt.amount, invoice.crypto_due - covered) if _in_time(invoice, receipt) else 0
        if locked < receipt.amount and market.usd_nano_per_coin is None:
            continue  # it needs a rate: decided as soon as there is one
        amount = _worth(invoice, covered, locked, receipt.amount - locked, market)
        if amount > CREDIT_NANO_MAX:
            continue
        part = money.Ratio(invoice.bonus_numerator, invoice.bonus_denominator)
        bonus = money.share(max(0, min(amount, invoice.bonus_cap_nano - credited)), part)
        planned.append(Planned(receipt.receipt_id, amount, bonus))
        covered, credited = covered + locked, credited + amount
    return planned


def _worth(invoice: InvoiceRow, covered: int, locked: int, excess: int, market: Market) -> int:
    """nano-USD of a receipt's units: `locked` of them within the invoice's amount, after `covered` of others."""
    within, due = invoice.amount_nano, invoice.crypto_due
    rate = min(invoice.usd_nano_per_coin, market.usd_nano_per_coin or invoice.usd_nano_per_coin)
    # As differences of running shares, so that parts add up to the invoice's amount to the nano-dollar.
    return within * (covered + locked) // due - within * covered // due + excess * rate // market.units_per_coin
