"""Housekeeping: holds of gateways that are gone, costs of days that are over, answers nobody asks for any more.

Every round may run on any gateway, also on two at once: the ledger decides each release in its own transaction,
and a booking has one reference. It must never touch a hold whose owner's lease lives, nor a durable job's.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, delete, func, literal, select

from perquery.store.database import Database
from perquery.store.ledger import GATEWAY, Ledger
from perquery.store.operations import House, Release
from perquery.store.replies import KEPT_MS
from perquery.store.tables import HOUSE, holds, leases, replies, requests, transfers

DAY_MS: Final = 86_400_000
BATCH: Final = 500


async def sweep(database: Database, ledger: Ledger) -> int:
    """Release what gateways without a lease still hold; how many holds that were."""
    orphans = await asyncio.to_thread(_orphans, database)
    operations = [Release(row.id, row.account_id, row.key_id, if_lapsed=True, record=_lost(row)) for row in orphans]
    results = await asyncio.gather(*(ledger.submit(operation) for operation in operations))
    return sum(result.status == "APPLIED" for result in results)


def _orphans(database: Database) -> list[Row[Any]]:
    now_ms = database.now_ms()
    alive = select(literal(1)).where(leases.c.name == holds.c.owner, leases.c.expires_at >= now_ms).exists()
    with database.reader.begin() as connection:
        found = select(holds).where(holds.c.owner.startswith(GATEWAY), ~alive).limit(BATCH)
        return list(connection.execute(found))


def _lost(row: Row[Any]) -> dict[str, Any]:
    """The receipt of a call whose gateway died: free to the caller, the quote counted as unbilled."""
    return {
        "account_id": row.account_id,
        "id": row.id,
        "key_id": row.key_id,
        "at": row.created_at,
        "model": row.model,
        "provider": None,
        "upstream_id": None,
        "kind": "chat_completion",
        "source": None,
        "streamed": 0,
        "input_count": 0,
        "output_count": 0,
        "upstream_nano": 0,
        "unbilled_nano": row.quoted_nano,
        "rule": "gateway_lost",
        "error_code": "gateway_lost",
        "first_event_ms": None,
        "total_ms": 0,
        "detail": json.dumps({"usage": {}, "lines": [], "estimated": True, "attempts": [], "finish": None}),
    }


async def book_upstream_costs(database: Database, ledger: Ledger) -> int:
    """Book what upstreams took on the day before today, one transfer a provider; how many were new."""
    today = datetime.fromtimestamp(await asyncio.to_thread(database.now_ms) // 1000, UTC).date()
    day = today - timedelta(days=1)
    costs = await asyncio.to_thread(_costs_of, database, day.isoformat())
    operations = [
        House(f"cost:{provider}:{day}", f"upstream:{provider}", "costs", amount) for provider, amount in costs if amount
    ]
    results = await asyncio.gather(*(ledger.submit(operation) for operation in operations))
    return sum(result.status == "APPLIED" for result in results)


def _costs_of(database: Database, day: str) -> list[tuple[str, int]]:
    """(provider, nano-USD) of that day; nothing where it has been booked."""
    start_ms = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000
    booked = select(transfers.c.reference).where(
        transfers.c.account_id == HOUSE, transfers.c.reference.startswith("cost:"), transfers.c.reference.endswith(day)
    )
    sums = (
        select(requests.c.provider, func.sum(requests.c.upstream_nano))
        .where(requests.c.provider.is_not(None), requests.c.at >= start_ms, requests.c.at < start_ms + DAY_MS)
        .group_by(requests.c.provider)
    )
    with database.reader.begin() as connection:
        if connection.execute(booked.limit(1)).first() is not None:
            return []
        return [(provider, int(total)) for provider, total in connection.execute(sums)]


def forget_old(database: Database) -> int:
    """Delete answers kept for repeated requests after their day, and leases long lapsed."""
    now_ms = database.now_ms()
    with database.writer.begin() as connection:
        connection.execute(delete(leases).where(leases.c.expires_at < now_ms - DAY_MS))
        return connection.execute(delete(replies).where(replies.c.created_at < now_ms - KEPT_MS)).rowcount
