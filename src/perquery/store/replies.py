"""Answers kept for a day under the caller's Idempotency-Key, so that a repeated request is not paid twice.

Sync functions over short transactions; the caller runs them in a thread. The claim comes before the hold, so two
requests with one key can never both be served; a claim whose gateway's lease has lapsed may be taken over.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from perquery.store.database import Database
from perquery.store.tables import leases, replies, requests

KEPT_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Reply:
    """status is None while the first request still runs."""

    body_hash: bytes
    request_id: str
    status: int | None
    headers: str | None
    body: bytes | None


def claim(database: Database, account_id: int, key: str, body_hash: bytes, request_id: str, owner: str) -> Reply | None:
    """None: the key is ours now. Otherwise what is kept under it."""
    now_ms = database.now_ms()
    mine = and_(replies.c.account_id == account_id, replies.c.idempotency_key == key)
    alive = exists().where(leases.c.name == replies.c.owner, leases.c.expires_at >= now_ms)
    # A gateway that died between a charge and the keeping of its answer has been paid: never a second time.
    paid = exists().where(
        requests.c.account_id == account_id, requests.c.id == replies.c.request_id, requests.c.cost_nano > 0
    )
    orphaned = replies.c.status.is_(None) & ~alive
    stale = (replies.c.created_at < now_ms - KEPT_MS) | (orphaned & ~paid)
    try:
        with database.writer.begin() as connection:
            connection.execute(delete(replies).where(mine, stale))
            connection.execute(update(replies).where(mine, orphaned).values(status=200))
            row = connection.execute(select(replies).where(mine)).one_or_none()
            if row is None:
                connection.execute(
                    insert(replies).values(
                        account_id=account_id,
                        idempotency_key=key,
                        body_hash=body_hash,
                        request_id=request_id,
                        owner=owner,
                        created_at=now_ms,
                    )
                )
                return None
    except IntegrityError:  # another gateway claimed it between our look and our insert
        with database.reader.begin() as connection:
            row = connection.execute(select(replies).where(mine)).one()
    return Reply(row.body_hash, row.request_id, row.status, row.headers, row.body)


def keep(database: Database, account_id: int, key: str, status: int, headers: str, body: bytes | None) -> None:
    """The claimed request's answer, for whoever asks again; body None where it was too large to keep."""
    mine = and_(replies.c.account_id == account_id, replies.c.idempotency_key == key)
    with database.writer.begin() as connection:
        connection.execute(update(replies).where(mine).values(status=status, headers=headers, body=body))


def forget(database: Database, account_id: int, key: str) -> None:
    """Nothing was served: the key may be used again."""
    mine = and_(replies.c.account_id == account_id, replies.c.idempotency_key == key)
    with database.writer.begin() as connection:
        connection.execute(delete(replies).where(mine))
