"""Housekeeping: holds of gateways that are gone, costs of days that are over, answers nobody asks for any more.

Every round may run on any gateway, also on two at once: the ledger decides each release in its own transaction,
and a booking has one reference. It must never touch a hold whose owner's lease lives, nor that of a durable job that
has no verdict.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Row, delete, func, insert, literal, literal_column, select

from perquery.store import events, webhooks
from perquery.store.database import Database
from perquery.store.jobs import OWNER
from perquery.store.ledger import GATEWAY, Ledger
from perquery.store.operations import House, Release, RequestRow
from perquery.store.replies import KEPT_MS
from perquery.store.tables import holds, jobs, leases, meta, replies, requests

DAY_MS: Final = 86_400_000
LONGEST_CALL_MS: Final = 2 * 3_600_000  # far above every time-out
BATCH: Final = 500
_BOOKED: Final = "costs_booked_until"


async def sweep(database: Database, ledger: Ledger) -> int:
    """Release what gateways without a lease still hold; how many holds that were."""
    orphans = await asyncio.to_thread(_orphans, database, ledger.owner)
    operations = [Release(row.id, row.account_id, row.key_id, if_lapsed=True, record=_lost(row)) for row in orphans]
    late = await asyncio.to_thread(_ended_jobs, database)
    operations += [Release(row.id, row.account_id, row.key_id) for row in late]
    results = await asyncio.gather(*(ledger.submit(operation) for operation in operations))
    return sum(result.status == "APPLIED" for result in results)


def _orphans(database: Database, sweeper: str) -> list[Row[Any]]:
    """Holds whose gateway's lease has run out. The sweeper is alive, also where it was too busy to renew its own."""
    now_ms = database.now_ms()
    alive = select(literal(1)).where(leases.c.name == holds.c.owner, leases.c.expires_at >= now_ms).exists()
    with database.reader.begin() as connection:
        found = select(holds).where(holds.c.owner.startswith(GATEWAY), holds.c.owner != sweeper, ~alive).limit(BATCH)
        return list(connection.execute(found))


def _ended_jobs(database: Database) -> list[Row[Any]]:
    """Holds of jobs that have ended: granted to a gateway so slow that the job was given up before."""
    ended = select(literal(1)).where(jobs.c.id == holds.c.id, jobs.c.ended_at.is_not(None)).exists()
    with database.reader.begin() as connection:
        return list(connection.execute(select(holds).where(holds.c.owner.startswith(OWNER), ended).limit(BATCH)))


def _lost(row: Row[Any]) -> RequestRow:
    """The receipt of a call whose gateway died: free to the caller, the quote counted as unbilled."""
    return RequestRow(
        account_id=row.account_id,
        id=row.id,
        key_id=row.key_id,
        at=row.created_at,
        model=row.model,
        provider=None,
        upstream_id=None,
        kind="chat_completion",
        source=None,
        streamed=0,
        input_count=0,
        output_count=0,
        upstream_nano=0,
        unbilled_nano=row.quoted_nano,
        rule="gateway_lost",
        error_code="gateway_lost",
        first_event_ms=None,
        total_ms=0,
        detail=json.dumps({"usage": {}, "lines": [], "estimated": True, "attempts": [], "finish": None}),
        upstream_request_id=None,
    )


async def book_upstream_costs(database: Database, ledger: Ledger) -> int:
    """Book what upstreams took, one transfer a provider and day (UTC), for the days that are over; how many were new.

    A day is over once no call that began in it can still run.
    """
    end_ms = (await asyncio.to_thread(database.now_ms) - LONGEST_CALL_MS) // DAY_MS * DAY_MS
    costs = await asyncio.to_thread(_costs_until, database, end_ms)
    operations = [
        House(f"cost:{provider}:{_date(day)}", f"upstream:{provider}", "costs", amount)
        for day, provider, amount in costs
        if amount
    ]
    results = await asyncio.gather(*(ledger.submit(operation) for operation in operations))
    await asyncio.to_thread(_mark_booked, database, end_ms)
    return sum(result.status == "APPLIED" for result in results)


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * (DAY_MS // 1000), UTC).date().isoformat()


def _costs_until(database: Database, end_ms: int) -> list[tuple[int, str, int]]:
    """(day since 1970, provider, nano-USD) of the calls from what is booked already to `end_ms`."""
    day = (requests.c.at // literal_column(str(DAY_MS), BigInteger)).label("day")
    sums = select(day, requests.c.provider, func.sum(requests.c.upstream_nano))
    with database.reader.begin() as connection:
        start_ms = _booked_until(connection)
        if start_ms >= end_ms:
            return []
        chosen = sums.where(requests.c.provider.is_not(None), requests.c.at >= start_ms, requests.c.at < end_ms)
        rows = connection.execute(chosen.group_by(day, requests.c.provider))
        return [(int(row[0]), row[1], int(row[2])) for row in rows]


def _booked_until(connection: Connection) -> int:
    return int(connection.scalar(select(meta.c.value).where(meta.c.name == _BOOKED)) or 0)


def _mark_booked(database: Database, end_ms: int) -> None:
    """Remember how far the costs are booked, so that the calls of a day are added up once."""
    with database.writer.begin() as connection:
        if _booked_until(connection) < end_ms:
            connection.execute(delete(meta).where(meta.c.name == _BOOKED))
            connection.execute(insert(meta).values(name=_BOOKED, value=str(end_ms)))


def forget_old(database: Database) -> int:
    """Delete answers kept for repeated requests after their day, webhooks' old deliveries, how invoices stood long ago,
    and leases long lapsed.
    """
    now_ms = database.now_ms()
    with database.writer.begin() as connection:
        webhooks.forget_old(connection, now_ms)
        events.forget_old(connection, now_ms)
        connection.execute(delete(leases).where(leases.c.expires_at < now_ms - DAY_MS))
        return connection.execute(delete(replies).where(replies.c.created_at < now_ms - KEPT_MS)).rowcount
