"""Passkeys of accounts (WebAuthn), and the challenges that they sign.

A challenge is stored only as SHA-256, lasts minutes and is taken once, whatever comes of it. A passkey's counter only
grows. Synchronous: callers run it in a thread.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from perquery.errors import BadRequest
from perquery.store.credentials import digest
from perquery.store.database import Database
from perquery.store.tables import challenges, passkeys

LASTS_MS: Final = 5 * 60_000
PASSKEYS_MAX: Final = 20  # of one account


@dataclass(frozen=True, slots=True)
class Passkey:
    """id, public_key: as the authenticator gave them. used_at None: never yet."""

    id: bytes
    account_id: int
    public_key: bytes
    sign_count: int
    name: str
    created_at: int
    used_at: int | None = None


_COLUMNS: Final = [passkeys.c[name] for name in Passkey.__slots__]


def challenge(database: Database, account_id: int | None) -> bytes:
    """A new one, for an account that is to get a passkey, or (None) for whoever signs in; forgets the old ones."""
    made, now_ms = secrets.token_bytes(32), database.now_ms()
    row = {"hash": digest(made), "account_id": account_id, "expires_at": now_ms + LASTS_MS}
    with database.writer.begin() as connection:
        connection.execute(delete(challenges).where(challenges.c.expires_at <= now_ms))
        connection.execute(insert(challenges).values(row))
    return made


def take(database: Database, made: bytes, account_id: int | None) -> bool:
    """Whether the challenge was given for this, and not taken before; it is gone with this."""
    now_ms = database.now_ms()
    taking = delete(challenges).where(challenges.c.hash == digest(made))
    with database.writer.begin() as connection:
        row = connection.execute(taking.returning(challenges.c.account_id, challenges.c.expires_at)).one_or_none()
    return row is not None and row.account_id == account_id and row.expires_at > now_ms


def add(database: Database, passkey: Passkey) -> None:
    """Raises BadRequest where the account has its full number, or somebody has this one."""
    counted = select(func.count()).where(passkeys.c.account_id == passkey.account_id)
    try:
        with database.writer.begin() as connection:
            if (connection.scalar(counted) or 0) >= PASSKEYS_MAX:
                raise BadRequest(f"This account has {PASSKEYS_MAX} passkeys already; remove one first.")
            connection.execute(insert(passkeys).values(asdict(passkey)))
    except IntegrityError as error:
        raise BadRequest("This passkey is there already.") from error


def listed(database: Database, account_id: int) -> list[Passkey]:
    """An account's, oldest first."""
    query = select(*_COLUMNS).where(passkeys.c.account_id == account_id).order_by(passkeys.c.created_at)
    with database.reader.begin() as connection:
        return [Passkey(*row) for row in connection.execute(query)]


def find(database: Database, id: bytes) -> Passkey | None:
    with database.reader.begin() as connection:
        row = connection.execute(select(*_COLUMNS).where(passkeys.c.id == id)).one_or_none()
    return Passkey(*row) if row is not None else None


def used(database: Database, passkey: Passkey, sign_count: int) -> bool:
    """Note that it signed in and how far its counter is; False where it was removed or used otherwise meanwhile."""
    fresh = passkeys.c.sign_count < sign_count if sign_count else passkeys.c.sign_count == 0
    noting = update(passkeys).where(passkeys.c.id == passkey.id, fresh)
    with database.writer.begin() as connection:
        result = connection.execute(noting.values(sign_count=sign_count, used_at=database.now_ms()))
    return result.rowcount == 1


def remove(database: Database, account_id: int, id: bytes) -> None:
    with database.writer.begin() as connection:
        connection.execute(delete(passkeys).where(passkeys.c.account_id == account_id, passkeys.c.id == id))
