"""What the house took in, gave out and still owes, over all accounts. Read-only, for the operator alone.

Rare and over many rows, so it must never be asked on a caller's way. Amounts are nano-USD, times milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Connection, func, literal_column, select

from perquery.store.database import Database
from perquery.store.invoices import OPEN, InvoiceRow
from perquery.store.tables import accounts, invoices, receipts, requests

DAY_MS: Final = 86_400_000
OPEN_SHOWN: Final = 50
_DAY: Final = literal_column(str(DAY_MS), BigInteger)


@dataclass(frozen=True, slots=True)
class Day:
    """One day (its first ms, UTC). paid_in: deposits credited, without bonus; taken_back: deposits of any day; bonus:
    given on top; charged: what callers paid for calls; upstream: what those cost; shortfall: what was left unpaid.
    """

    day: int
    paid_in: int = 0
    taken_back: int = 0
    bonus: int = 0
    calls: int = 0
    charged: int = 0
    upstream: int = 0
    shortfall: int = 0

    @property
    def margin(self) -> int:
        return self.charged - self.upstream


@dataclass(frozen=True, slots=True)
class Owed:
    """What accounts have, of it what is held and what is bonus; what they owe."""

    accounts: int
    posted: int
    held: int
    bonus: int
    owed: int


@dataclass(frozen=True, slots=True)
class Takings:
    """days: from the oldest, those in which nothing happened too."""

    days: Sequence[Day]
    owed: Owed
    open: Sequence[InvoiceRow]


def takings(database: Database, from_ms: int, to_ms: int) -> Takings:
    """The days of [from_ms, to_ms), from_ms being a day's first; in one snapshot."""
    with database.reader.begin() as connection:
        credited = _receipts_by_day(connection, "credited_at", from_ms, to_ms)
        reversed_ = _receipts_by_day(connection, "reversed_at", from_ms, to_ms)
        calls = {day: _calls_of(connection, day, min(day + DAY_MS, to_ms)) for day in range(from_ms, to_ms, DAY_MS)}
        days = [
            Day(
                day,
                *_first(credited, day, 0),
                *_first(reversed_, day, 0),
                *_first(credited, day, 1),
                *calls[day],
            )
            for day in range(from_ms, to_ms, DAY_MS)
        ]
        return Takings(days, _owed(connection), _open(connection))


def _first(found: Mapping[int, tuple[int, int]], day: int, place: int) -> tuple[int]:
    return (found[day][place] if day in found else 0,)


def _receipts_by_day(connection: Connection, column: str, from_ms: int, to_ms: int) -> dict[int, tuple[int, int]]:
    """Credits and bonuses of the receipts by the day of that time."""
    at = receipts.c[column]
    day = (at // _DAY * _DAY).label("day")
    query = select(day, func.sum(receipts.c.credit_nano), func.sum(receipts.c.bonus_nano))
    query = query.where(at >= from_ms, at < to_ms).group_by(day)
    return {int(row[0]): (int(row[1] or 0), int(row[2] or 0)) for row in connection.execute(query)}


def _calls_of(connection: Connection, from_ms: int, to_ms: int) -> tuple[int, ...]:
    """A day's calls and sums: a stretch of one index. Grouping them all by day would sort millions first."""
    names = ("cost_nano", "upstream_nano", "shortfall_nano")
    sums = (func.coalesce(func.sum(requests.c[name]), 0) for name in names)
    query = select(func.count(), *sums).where(requests.c.at >= from_ms, requests.c.at < to_ms)
    return tuple(int(value) for value in connection.execute(query).one())


def _owed(connection: Connection) -> Owed:
    sums = (func.coalesce(func.sum(accounts.c[name]), 0) for name in ("posted", "held", "bonus", "owed"))
    return Owed(*(int(value) for value in connection.execute(select(func.count(), *sums)).one()))


def _open(connection: Connection) -> list[InvoiceRow]:
    """The newest invoices that wait for a payment."""
    columns = [invoices.c[name] for name in InvoiceRow.__slots__]
    query = select(*columns).where(invoices.c.status.in_(OPEN)).order_by(invoices.c.created_at.desc()).limit(OPEN_SHOWN)
    return [InvoiceRow(**row._mapping) for row in connection.execute(query)]
