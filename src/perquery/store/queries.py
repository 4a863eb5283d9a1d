"""What is asked of the books: balances, receipts, usage. Read-only, one snapshot an answer.

SQL does the adding up. Amounts are nano-USD, times milliseconds. Synchronous: callers run it in a thread. Must
never write, and never answer with a row of another account.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    and_,
    case,
    func,
    literal_column,
    not_,
    or_,
    select,
    text,
)

from perquery.store.books import CUSTOMER, DEBTORS, period_start
from perquery.store.credentials import KeyRow, key_at
from perquery.store.database import Database
from perquery.store.tables import accounts, api_keys, requests, transfers

DAY_MS: Final = 86_400_000
GENERATION: Final = "gen-"  # how the ids of calls begin, and so the references of their charges
LOOKED_THROUGH: Final = 10_000  # how many of the newest calls are searched for an upstream's id
USAGE_ROWS_MAX: Final = 10_000
Grouping: TypeAlias = Literal["day", "key", "model"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """One call that was held. detail: usage, lines, estimated, finish, attempts, capped_to,
    cache_saved_nano; as metering wrote it.
    """

    id: str
    key_id: str | None
    at: int
    model: str
    provider: str | None
    upstream_id: str | None
    kind: str
    source: str | None
    streamed: bool
    input_count: int
    output_count: int
    held_nano: int
    cost_nano: int
    rule: str
    error_code: str | None
    first_event_ms: int | None
    total_ms: int
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What one group of calls came to; what is not grouped by is None. failed: calls that ended in an error."""

    day: int | None
    key_id: str | None
    key_name: str | None
    model: str | None
    requests: int
    failed: int
    input_count: int
    output_count: int
    cost_nano: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What a key or an account has spent: ever, and in the current UTC day, week (from Monday) and month."""

    total: int
    day: int
    week: int
    month: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A caller's standing. key: None where the credit id was shown. figures: the account's."""

    key: KeyRow | None
    spent: Spent
    figures: Mapping[str, int]


_DAY: Final = literal_column(str(DAY_MS), BigInteger)  # a parameter would make PostgreSQL see two expressions
_RECEIPT: Final = [requests.c[name] for name in Receipt.__slots__]


def ping(database: Database) -> None:
    """Whether the database answers; raises what it raises where not."""
    with database.reader.connect() as connection:
        connection.execute(text("SELECT 1"))


def figures(database: Database, account_id: int) -> dict[str, int]:
    """The account's figures in nano-USD: balance (may be below 0 where a deposit was taken back), available, held,
    owed, bonus, refundable.
    """
    with database.reader.begin() as connection:
        return _figures(connection, account_id)


def _figures(connection: Connection, account_id: int) -> dict[str, int]:
    columns = (accounts.c.posted, accounts.c.held, accounts.c.owed, accounts.c.bonus)
    row = connection.execute(select(*columns).where(accounts.c.id == account_id)).one()
    available = row.posted - row.held
    return {
        "balance": row.posted - row.owed,
        "available": available,
        "held": row.held,
        "owed": row.owed,
        "bonus": row.bonus,
        "refundable": max(0, available - row.bonus),
    }


def credited(database: Database, account_id: int) -> tuple[int, int]:
    """(all credits less what was taken back, all that was spent), in nano-USD; their difference is the balance."""
    with database.reader.begin() as connection:
        credits = _credits(connection, database, account_id)
        return credits, credits - _figures(connection, account_id)["balance"]


def _credits(connection: Connection, database: Database, account_id: int) -> int:
    """Credits and bonuses less what was taken back, be it from the balance or as a debt. Charges are not read."""
    amount = case(
        (transfers.c.target == CUSTOMER, transfers.c.amount),
        (transfers.c.target == DEBTORS, 0),  # a debt paid: the balance does not change
        else_=-transfers.c.amount,
    )
    query = select(func.coalesce(func.sum(amount), 0)).where(transfers.c.account_id == account_id)
    return int(connection.scalar(query.where(_not_of_a_call(database))) or 0)


def _not_of_a_call(database: Database) -> ColumnElement[bool]:
    """Transfers that no call made. SQLite compares bytes, so two ranges of its index do; PostgreSQL may not."""
    reference = transfers.c.reference
    if database.sqlite_path:
        return or_(reference < GENERATION, reference >= GENERATION[:-1] + chr(ord(GENERATION[-1]) + 1))
    return not_(reference.startswith(GENERATION))


def standing(database: Database, account_id: int, key_id: str | None) -> Standing:
    """How much a key, or without one the account, has spent and may spend."""
    now_ms = database.now_ms()
    with database.reader.begin() as connection:
        key = key_at(connection, account_id, key_id, now_ms) if key_id else None
        shown = _figures(connection, account_id)
        total = key.total_nano if key else _credits(connection, database, account_id) - shown["balance"]
        return Standing(key, Spent(total, *_recent(connection, account_id, key_id, now_ms)), shown)


def _recent(connection: Connection, account_id: int, key_id: str | None, now_ms: int) -> tuple[int, int, int]:
    day, week, month = (period_start(period, now_ms) for period in ("daily", "weekly", "monthly"))
    sums = [
        func.coalesce(func.sum(case((requests.c.at >= start, requests.c.cost_nano), else_=0)), 0)
        for start in (day, week, month)
    ]
    query = select(*sums).where(_calls(account_id, key_id, min(week, month)))
    row = connection.execute(query).one()
    return int(row[0]), int(row[1]), int(row[2])


def _calls(account_id: int, key_id: str | None, from_ms: int) -> ColumnElement[bool]:
    """The calls from a time on. Their ids begin with the time (UUIDv7), so the primary key finds them."""
    first = f"{GENERATION}{(max(0, from_ms) & (2**48 - 1)) << 80:032x}"
    chosen = and_(requests.c.account_id == account_id, requests.c.id >= first, requests.c.at >= from_ms)
    return and_(chosen, requests.c.key_id == key_id) if key_id else chosen


def history(database: Database, account_id: int, key_id: str | None, page: int, count: int) -> list[Receipt]:
    """A page of calls, newest first, and one more if there is a next page. key_id None: of all keys; page from 1."""
    query = select(*_RECEIPT).where(requests.c.account_id == account_id)
    if key_id is not None:
        query = query.where(requests.c.key_id == key_id)
    query = query.order_by(requests.c.id.desc()).limit(count + 1).offset((page - 1) * count)
    with database.reader.begin() as connection:
        return [_receipt(row) for row in connection.execute(query)]


def generation(database: Database, account_id: int, id: str) -> Receipt | None:
    """One call of the account: by its id, or, among the newest, by the upstream's id."""
    mine = requests.c.account_id == account_id
    with database.reader.begin() as connection:
        row = connection.execute(select(*_RECEIPT).where(mine, requests.c.id == id)).one_or_none()
        if row is None:
            newest = select(requests.c.id, requests.c.upstream_id).where(mine)
            some = newest.order_by(requests.c.id.desc()).limit(LOOKED_THROUGH).subquery()
            found = connection.scalar(
                select(some.c.id).where(some.c.upstream_id == id).order_by(some.c.id.desc()).limit(1)
            )
            row = connection.execute(select(*_RECEIPT).where(mine, requests.c.id == found)).one_or_none()
        return _receipt(row) if row is not None else None


def _receipt(row: Row[Any]) -> Receipt:
    values = dict(row._mapping)
    detail = orjson.loads(values["detail"])
    return Receipt(**values | {"streamed": bool(row.streamed), "detail": detail if isinstance(detail, dict) else {}})


def usage(
    database: Database,
    account_id: int,
    key_id: str | None,
    by: Sequence[Grouping],
    from_ms: int,
    to_ms: int,
) -> list[UsageRow]:
    """The calls in [from_ms, to_ms) added up by day (its first ms, UTC), key or model, or several of them."""
    groups: dict[Grouping, ColumnElement[Any]] = {
        "day": (requests.c.at // _DAY * _DAY).label("day"),
        "key": requests.c.key_id,
        "model": requests.c.model,
    }
    chosen = [groups[name] for name in groups if name in by]
    totals = (
        func.count().label("requests"),
        func.count(requests.c.error_code).label("failed"),
        *(func.sum(requests.c[name]).label(name) for name in ("input_count", "output_count", "cost_nano")),
    )
    query = select(*chosen, *totals).where(_calls(account_id, key_id, from_ms), requests.c.at < to_ms)
    query = query.group_by(*chosen).order_by(*chosen).limit(USAGE_ROWS_MAX)
    named = select(api_keys.c.id, api_keys.c.name).where(api_keys.c.account_id == account_id)
    with database.reader.begin() as connection:
        rows = [row._mapping for row in connection.execute(query)]
        names = {row.id: row.name for row in connection.execute(named)} if "key" in by else {}
    return [_usage_row(row, names) for row in rows if row["requests"]]


def _usage_row(row: Mapping[Any, Any], names: Mapping[str, str]) -> UsageRow:
    key_id = row.get("key_id")
    return UsageRow(
        day=int(row["day"]) if "day" in row else None,
        key_id=key_id,
        key_name=names.get(key_id) if key_id else None,
        model=row.get("model"),
        requests=int(row["requests"]),
        failed=int(row["failed"]),
        input_count=int(row["input_count"]),
        output_count=int(row["output_count"]),
        cost_nano=int(row["cost_nano"]),
    )
