"""Refunds as rows: reading and writing, no decisions.

A refund moves from state to state by `move`, which changes it only where it still is in the state that the mover saw:
so of two processes one wins. The database refuses an account a second refund while one is open, and a second refund of
one invoice for ever. Nothing here moves money.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Connection, func, insert, or_, select, text, update

from perquery.money import Ratio
from perquery.store.books import REFUNDS
from perquery.store.invoices import lock_account
from perquery.store.tables import accounts, counters, holds, invoices, refunds

State: TypeAlias = Literal["requested", "held", "sent", "unknown", "paid", "failed"]
BATCH: Final = 100
_LOCK: Final = "refunds"
_MAKE_LOCK: Final = text("INSERT INTO counters (name, value) VALUES (:name, 0) ON CONFLICT (name) DO NOTHING")


@dataclass(frozen=True, slots=True)
class RefundRow:
    """amount_nano, fee_most_nano: what the account gives for the payment and at most for its fee; amount_msat,
    fee_most_msat: the same on Lightning, at `usd_nano_per_coin`; bonus: on what leaves; times in milliseconds.
    """

    id: str
    account_id: int
    state: State
    amount_nano: int
    fee_most_nano: int
    amount_msat: int
    fee_most_msat: int
    usd_nano_per_coin: int
    bonus_numerator: int
    bonus_denominator: int
    destination: str
    invoice: str
    payment_hash: str
    created_at: int
    expires_at: int
    wallet: str | None = None
    sent_at: int | None = None
    accepted_at: int | None = None
    declined_at: int | None = None
    fee_msat: int | None = None
    charged_nano: int | None = None
    preimage: str | None = None
    words: str | None = None
    ended_at: int | None = None
    booked_at: int | None = None
    idempotency_key: str | None = None
    body_hash: bytes | None = None

    @property
    def bonus(self) -> Ratio:
        return Ratio(self.bonus_numerator, self.bonus_denominator)

    @property
    def most_nano(self) -> int:
        """What may leave the account at most, bonus apart."""
        return self.amount_nano + self.fee_most_nano


_COLUMNS: Final = [refunds.c[name] for name in RefundRow.__slots__]


def lock(connection: Connection, account_id: int) -> None:
    """Until the end of the transaction nobody else adds a refund, nor the account an invoice."""
    connection.execute(_MAKE_LOCK, {"name": _LOCK})
    connection.execute(select(counters.c.value).where(counters.c.name == _LOCK).with_for_update())
    lock_account(connection, account_id)


def add(connection: Connection, row: RefundRow) -> None:
    connection.execute(insert(refunds).values(asdict(row)))


def find(connection: Connection, refund_id: str) -> RefundRow | None:
    return _one(connection, refunds.c.id == refund_id)


def open_one(connection: Connection, account_id: int) -> RefundRow | None:
    """The account's refund that has not ended."""
    return _one(connection, refunds.c.account_id == account_id, refunds.c.ended_at.is_(None))


def of_invoice(connection: Connection, payment_hash: str) -> RefundRow | None:
    """Whoever's it is."""
    return _one(connection, refunds.c.payment_hash == payment_hash)


def of_key(connection: Connection, account_id: int, key: str) -> RefundRow | None:
    """What the account has asked with this Idempotency-Key."""
    return _one(connection, refunds.c.account_id == account_id, refunds.c.idempotency_key == key)


def latest(connection: Connection, account_id: int, limit: int) -> list[RefundRow]:
    """The account's refunds, newest first."""
    query = select(*_COLUMNS).where(refunds.c.account_id == account_id)
    query = query.order_by(refunds.c.created_at.desc(), refunds.c.id).limit(limit)
    return [RefundRow(**row._mapping) for row in connection.execute(query)]


def unbooked(connection: Connection) -> list[RefundRow]:
    """Those with which something is still to be done, the oldest first; at most a batch."""
    query = select(*_COLUMNS).where(refunds.c.booked_at.is_(None)).order_by(refunds.c.created_at).limit(BATCH)
    return [RefundRow(**row._mapping) for row in connection.execute(query)]


def sent(connection: Connection) -> list[RefundRow]:
    """All that a wallet was ever asked to pay, and that have ended."""
    query = select(*_COLUMNS).where(refunds.c.sent_at.is_not(None), refunds.c.booked_at.is_not(None))
    return [RefundRow(**row._mapping) for row in connection.execute(query.order_by(refunds.c.created_at))]


def left_nano(connection: Connection, since_ms: int) -> int:
    """What has left, or may still leave, by refunds asked since then."""
    most = func.coalesce(refunds.c.charged_nano, refunds.c.amount_nano + refunds.c.fee_most_nano)
    counts = (refunds.c.state != "failed", or_(refunds.c.created_at > since_ms, refunds.c.ended_at.is_(None)))
    return int(connection.scalar(select(func.sum(most)).where(*counts)) or 0)


def spare_nano(connection: Connection, account_id: int) -> int:
    """What the account can ask back now: what is free beyond the bonus that was not taken back."""
    spare = accounts.c.posted - accounts.c.held - accounts.c.bonus
    found = connection.scalar(select(spare).where(accounts.c.id == account_id, accounts.c.owed == 0))
    return max(0, int(found or 0))


def best_bonus(connection: Connection, account_id: int) -> Ratio:
    """The highest bonus that the account was ever promised on a deposit."""
    pair = (invoices.c.bonus_numerator, invoices.c.bonus_denominator)
    rows = connection.execute(select(*pair).where(invoices.c.account_id == account_id).distinct())
    ratios = [Ratio(int(row[0]), int(row[1])) for row in rows]
    return max(ratios, key=lambda ratio: Fraction(ratio.numerator, ratio.denominator), default=Ratio(0, 1))


def lost_holds(connection: Connection) -> list[tuple[str, int]]:
    """Holds of refunds that are over, made by somebody who was late: id and account."""
    query = select(holds.c.id, holds.c.account_id).join(refunds, refunds.c.id == holds.c.id)
    query = query.where(holds.c.owner == REFUNDS, refunds.c.booked_at.is_not(None)).limit(BATCH)
    return [(row[0], int(row[1])) for row in connection.execute(query)]


def move(connection: Connection, row: RefundRow, to: State, **changes: Any) -> RefundRow:
    """Move the refund on, if it still is in the state of `row`; how it stands now."""
    same = (refunds.c.id == row.id, refunds.c.state == row.state)
    connection.execute(update(refunds).where(*same).values(state=to, **changes))
    return RefundRow(**connection.execute(select(*_COLUMNS).where(refunds.c.id == row.id)).one()._mapping)


def claim(connection: Connection, row: RefundRow, **changes: Any) -> bool:
    """From held to sent; whether it was this caller who moved it."""
    same = (refunds.c.id == row.id, refunds.c.state == "held")
    return connection.execute(update(refunds).where(*same).values(state="sent", **changes)).rowcount == 1


def mark_booked(connection: Connection, refund_id: str, at_ms: int) -> None:
    connection.execute(update(refunds).where(refunds.c.id == refund_id).values(booked_at=at_ms))


def _one(connection: Connection, *conditions: Any) -> RefundRow | None:
    row = connection.execute(select(*_COLUMNS).where(*conditions)).one_or_none()
    return RefundRow(**row._mapping) if row is not None else None
