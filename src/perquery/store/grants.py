"""What a user allowed an app: a code, exchanged once and soon for a key of the account (OAuth's PKCE, RFC 7636).

Codes are stored only as SHA-256. Taking one removes it, whether or not it is then good for anything: it can never be
tried twice. Synchronous: callers run it in a thread.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeAlias

from sqlalchemy import delete, insert

from perquery.store.credentials import digest
from perquery.store.database import Database
from perquery.store.tables import grants

LASTS_MS: Final = 10 * 60_000
Method: TypeAlias = Literal["S256", "plain"]


@dataclass(frozen=True, slots=True)
class Grant:
    """challenge, method: None where the app sent none. limit_nano None: the key has no limit."""

    account_id: int
    challenge: str | None
    method: Method | None
    name: str
    limit_nano: int | None
    reset_period: str | None


_COLUMNS: Final = [grants.c[name] for name in Grant.__slots__]


def put(database: Database, grant: Grant) -> str:
    """Write it down, and forget those that nobody came for; the code."""
    code, now_ms = secrets.token_urlsafe(32), database.now_ms()
    row = asdict(grant) | {"code_hash": digest(code), "expires_at": now_ms + LASTS_MS}
    with database.writer.begin() as connection:
        connection.execute(delete(grants).where(grants.c.expires_at <= now_ms))
        connection.execute(insert(grants).values(row))
    return code


def take(database: Database, code: str) -> Grant | None:
    """The grant of a code, which is gone with this; None for one that there is not, or whose time is over."""
    now_ms = database.now_ms()
    taking = delete(grants).where(grants.c.code_hash == digest(code)).returning(*_COLUMNS, grants.c.expires_at)
    with database.writer.begin() as connection:
        row = connection.execute(taking).one_or_none()
    return Grant(*row[:-1]) if row is not None and row.expires_at > now_ms else None
