"""Who is signed in to the site: a row for each session, gone when that ends. Ids are stored only as SHA-256.

Synchronous: callers run it in a thread.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select

from perquery.store.credentials import digest
from perquery.store.database import Database
from perquery.store.tables import web_sessions


@dataclass(frozen=True, slots=True)
class Session:
    """account_id None: the operator's own. key_id: of the key that was shown; None for the account's owner."""

    account_id: int | None
    key_id: str | None = None


def begin(database: Database, session: Session, lasts_s: int) -> str:
    """Write a session down, and forget those whose time is over; its id."""
    id, now_ms = secrets.token_urlsafe(24), database.now_ms()
    row = {"account_id": session.account_id, "key_id": session.key_id, "expires_at": now_ms + lasts_s * 1_000}
    with database.writer.begin() as connection:
        connection.execute(delete(web_sessions).where(web_sessions.c.expires_at <= now_ms))
        connection.execute(insert(web_sessions).values(row | {"id_hash": digest(id)}))
    return id


def held(connection: Connection, id: str, now_ms: int) -> Session | None:
    """The session of an id; None where it has ended."""
    query = select(web_sessions.c.account_id, web_sessions.c.key_id)
    query = query.where(web_sessions.c.id_hash == digest(id), web_sessions.c.expires_at > now_ms)
    row = connection.execute(query).one_or_none()
    return Session(*row) if row is not None else None


def is_operators(database: Database, id: str) -> bool:
    with database.reader.begin() as connection:
        found = held(connection, id, database.now_ms())
    return found is not None and found.account_id is None


def end(database: Database, id: str) -> None:
    with database.writer.begin() as connection:
        connection.execute(delete(web_sessions).where(web_sessions.c.id_hash == digest(id)))


def end_all(database: Database, account_id: int) -> None:
    """Of an account: its owner's and its keys'."""
    with database.writer.begin() as connection:
        connection.execute(delete(web_sessions).where(web_sessions.c.account_id == account_id))


def count(database: Database, account_id: int) -> int:
    """How many of an account go on."""
    query = select(func.count()).select_from(web_sessions)
    query = query.where(web_sessions.c.account_id == account_id, web_sessions.c.expires_at > database.now_ms())
    with database.reader.begin() as connection:
        return connection.scalar(query) or 0
