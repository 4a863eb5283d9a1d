"""Accounts and their keys as rows: what proves who calls, and what a key may do.

Secrets are stored only as SHA-256; they are random and long, so a fast hash is enough. Must never touch a
balance, nor a key's running figures but where a change of its period has to begin a new one (`books.Key.roll`).
Synchronous: callers run it in a thread.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import orjson
from sqlalchemy import Connection, Row, func, insert, null, select, update

from perquery.errors import BadRequest, NotFound
from perquery.store.books import period_start
from perquery.store.database import Database
from perquery.store.tables import accounts, api_keys, holds

KEY_PREFIX: Final = "sk-"
FIRST_KEY: Final = "Default"
KEYS_MAX: Final = 1_000  # keys of one account that are not deleted
_ID_LENGTH: Final = 24
_HEXADECIMAL: Final = frozenset("0123456789abcdef")
_SETTABLE: Final = frozenset({"name", "limit_nano", "reset_period", "expire_at", "models", "prompt_caching"})


@dataclass(frozen=True, slots=True)
class Made:
    """A new account; its secrets exist nowhere else."""

    account_id: int
    credit_id: str
    api_key: str


@dataclass(frozen=True, slots=True)
class Proven:
    """Whom a credential belongs to. key_id: None for the account's credit id; times in ms."""

    account_id: int
    safety_id: str | None
    key_id: str | None
    deleted_at: int | None = None
    expire_at: int | None = None


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as it stands now: times in ms, amounts in nano-USD, used_nano and held_nano of the current period.

    limit_nano None: no limit; models None: all, else canonical ids; reset_at None: nothing resets.
    """

    id: str
    account_id: int
    name: str
    created_at: int
    updated_at: int
    deleted_at: int | None
    expire_at: int | None
    limit_nano: int | None
    reset_period: str | None
    reset_at: int | None
    models: tuple[str, ...] | None
    used_nano: int
    held_nano: int
    total_nano: int
    prompt_caching: bool


_FIELDS: Final = (
    *("id", "account_id", "name", "created_at", "updated_at", "deleted_at", "expire_at", "limit_nano"),
    *("reset_period", "models", "period", "period_used", "period_held", "total_used", "prompt_caching"),
)
_COLUMNS: Final = [api_keys.c[name] for name in _FIELDS]


def digest(secret: str | bytes) -> bytes:
    """What is stored of a secret."""
    return hashlib.sha256(secret if isinstance(secret, bytes) else secret.encode("utf-8", "surrogatepass")).digest()


def period_end(reset_period: str | None, now_ms: int) -> int | None:
    """When the period that `now_ms` lies in ends and the next one begins; None where nothing resets."""
    if reset_period is None:
        return None
    start = datetime.fromtimestamp(period_start(reset_period, now_ms) // 1000, UTC)
    days = {"daily": 1, "weekly": 7}.get(reset_period, 32)  # 32 days after the first: somewhere in the next month
    return period_start(reset_period, int((start + timedelta(days=days)).timestamp()) * 1000)


def _key(row: Row[Any], now_ms: int) -> KeyRow:
    """The row as it stands at `now_ms`: usage of an earlier period no longer counts."""
    current = row.period == period_start(row.reset_period, now_ms)
    return KeyRow(
        id=row.id,
        account_id=row.account_id,
        name=row.name,
        created_at=row.created_at,
        updated_at=row.updated_at,
        deleted_at=row.deleted_at,
        expire_at=row.expire_at,
        limit_nano=row.limit_nano,
        reset_period=row.reset_period,
        reset_at=period_end(row.reset_period, now_ms),
        models=tuple(orjson.loads(row.models)) if row.models else None,
        used_nano=row.period_used if current else 0,
        held_nano=row.period_held if current else 0,
        total_nano=row.total_used,
        prompt_caching=row.prompt_caching,
    )


def create_account(database: Database) -> Made:
    """Make an account with its first key."""
    credit_id, api_key = str(uuid4()), _new_secret()
    now_ms = database.now_ms()
    row = {"credit_hash": digest(credit_id), "created_at": now_ms, "safety_id": secrets.token_hex(16)}
    account = insert(accounts).values(row).returning(accounts.c.id)
    with database.writer.begin() as connection:
        account_id: int = connection.execute(account).scalar_one()
        _insert_key(connection, account_id, {"name": FIRST_KEY}, api_key, now_ms)
    return Made(account_id, credit_id, api_key)


def proven(connection: Connection, hashed: bytes, *, is_key: bool) -> Proven | None:
    """Whom a credential belongs to, whether or not it may still be used; by an index."""
    account = (accounts.c.id, accounts.c.safety_id)
    if is_key:
        query = select(*account, api_keys.c.id, api_keys.c.deleted_at, api_keys.c.expire_at)
        query = query.join(api_keys, api_keys.c.account_id == accounts.c.id).where(api_keys.c.hash == hashed)
    else:
        query = select(*account, null()).where(accounts.c.credit_hash == hashed)
    row = connection.execute(query).one_or_none()
    return Proven(*row) if row is not None else None


def proven_again(connection: Connection, account_id: int, key_id: str | None) -> Proven | None:
    """The same for an account, or one of its keys, that was shown before."""
    account = (accounts.c.id, accounts.c.safety_id)
    if key_id is None:
        query = select(*account, null()).where(accounts.c.id == account_id)
    else:
        query = select(*account, api_keys.c.id, api_keys.c.deleted_at, api_keys.c.expire_at)
        query = query.join(api_keys, api_keys.c.account_id == accounts.c.id)
        query = query.where(accounts.c.id == account_id, api_keys.c.id == key_id)
    row = connection.execute(query).one_or_none()
    return Proven(*row) if row is not None else None


def account_named(connection: Connection, account: str) -> int | None:
    """The account that an operator means by a credit id, an API key or the account's number."""
    if account.isdecimal() and len(account) <= 18:
        return connection.scalar(select(accounts.c.id).where(accounts.c.id == int(account)))
    found = proven(connection, digest(account), is_key=account.startswith(KEY_PREFIX))
    return found.account_id if found else None


def list_keys(database: Database, account_id: int) -> list[KeyRow]:
    """All keys of an account, deleted ones too, oldest first."""
    now_ms = database.now_ms()
    query = select(*_COLUMNS).where(api_keys.c.account_id == account_id)
    with database.reader.begin() as connection:
        return [_key(row, now_ms) for row in connection.execute(query.order_by(api_keys.c.created_at, api_keys.c.id))]


def get_key(database: Database, account_id: int, key_id: str) -> KeyRow:
    """One key. Raises NotFound where this account has no such key."""
    now_ms = database.now_ms()
    with database.reader.begin() as connection:
        return key_at(connection, account_id, key_id, now_ms)


def key_at(connection: Connection, account_id: int, key_id: str, now_ms: int) -> KeyRow:
    """The same within a snapshot that reads more."""
    return _key(_find(connection, account_id, key_id), now_ms)


def create_key(database: Database, account_id: int, settings: Mapping[str, Any]) -> tuple[KeyRow, str]:
    """A new key and its secret. settings: `name`, and any of limit_nano, reset_period, expire_at (ms), models,
    prompt_caching.

    Raises BadRequest where the name is taken, the expiry has passed or the account has too many keys.
    """
    secret, now_ms = _new_secret(), database.now_ms()
    _refuse_past(settings, now_ms)
    with database.writer.begin() as connection:
        _lock_account(connection, account_id)
        names = _names(connection, account_id)
        if len(names) >= KEYS_MAX:
            raise BadRequest(f"An account has at most {KEYS_MAX} keys; delete one first.", code="too_many_keys")
        _refuse_taken(names, settings["name"], None)
        key_id = _insert_key(connection, account_id, settings, secret, now_ms)
        return _key(_find(connection, account_id, key_id), now_ms), secret


def change_key(database: Database, account_id: int, key_id: str, changes: Mapping[str, Any]) -> KeyRow:
    """Set what `changes` names, as for `create_key`. Raises NotFound (also where it is deleted), BadRequest."""
    now_ms = database.now_ms()
    _refuse_past(changes, now_ms)
    with database.writer.begin() as connection:
        _lock_account(connection, account_id)
        row = _find(connection, account_id, key_id, lock=True)
        if row.deleted_at is not None:
            raise NotFound("Key not found")
        if "name" in changes:
            _refuse_taken(_names(connection, account_id), changes["name"], key_id)
        values = _stored(changes) | {"updated_at": now_ms}
        if "reset_period" in changes:
            values |= _rolled(connection, row, changes["reset_period"], now_ms)
        connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(values))
        return _key(_find(connection, account_id, key_id), now_ms)


def delete_key(database: Database, account_id: int, key_id: str) -> KeyRow:
    """Revoke a key: the row stays, with the time. Again: nothing changes. Raises NotFound."""
    now_ms = database.now_ms()
    with database.writer.begin() as connection:
        row = _find(connection, account_id, key_id, lock=True)
        if row.deleted_at is None:
            gone = {"deleted_at": now_ms, "updated_at": now_ms}
            connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(gone))
        return _key(_find(connection, account_id, key_id), now_ms)


def _new_secret() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(32)


def _insert_key(connection: Connection, account_id: int, settings: Mapping[str, Any], api_key: str, now_ms: int) -> str:
    key_id = secrets.token_hex(_ID_LENGTH // 2)
    row = {"id": key_id, "account_id": account_id, "hash": digest(api_key), "created_at": now_ms, "updated_at": now_ms}
    period = period_start(settings.get("reset_period"), now_ms)
    connection.execute(insert(api_keys).values(row | _stored(settings) | {"period": period}))
    return key_id


def _stored(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as columns. Raises KeyError for what is not one: nothing else may be set from outside."""
    if unknown := settings.keys() - _SETTABLE:
        raise KeyError(*unknown)
    values = dict(settings)
    if values.get("models") is not None:
        values["models"] = orjson.dumps(list(values["models"])).decode()
    return values


def _lock_account(connection: Connection, account_id: int) -> None:
    """One change of an account's keys at a time; accounts are locked before keys, as everywhere."""
    connection.execute(select(accounts.c.id).where(accounts.c.id == account_id).with_for_update())


def _find(connection: Connection, account_id: int, key_id: str, *, lock: bool = False) -> Row[Any]:
    if len(key_id) != _ID_LENGTH or not _HEXADECIMAL.issuperset(key_id):
        raise NotFound("Key not found")
    query = select(*_COLUMNS).where(api_keys.c.id == key_id, api_keys.c.account_id == account_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound("Key not found")
    return row


def _names(connection: Connection, account_id: int) -> dict[str, str]:
    """The names in use, each with its key's id."""
    query = select(api_keys.c.name, api_keys.c.id)
    rows = connection.execute(query.where(api_keys.c.account_id == account_id, api_keys.c.deleted_at.is_(None)))
    return {row.name: row.id for row in rows}


def _refuse_taken(names: Mapping[str, str], name: str, mine: str | None) -> None:
    if names.get(name, mine) != mine:
        raise BadRequest(f"Another key is named {name!r}; choose another name.", code="name_taken", param="name")


def _refuse_past(settings: Mapping[str, Any], now_ms: int) -> None:
    expire_at = settings.get("expire_at")
    if expire_at is not None and expire_at <= now_ms:
        raise BadRequest("expire_at has passed; give a time to come, or delete the key.", param="expire_at")


def _rolled(connection: Connection, row: Row[Any], reset_period: str | None, now_ms: int) -> dict[str, int]:
    """The running figures after a change of the period: untouched where the new period began with the old one.

    Live holds of that very period count from the start: a key that went from one period to another and back
    still has them, and their end is subtracted.
    """
    start = period_start(reset_period, now_ms)
    if start == row.period:
        return {}
    live = select(func.coalesce(func.sum(holds.c.amount), 0)).where(holds.c.key_id == row.id, holds.c.period == start)
    return {"period": start, "period_used": 0, "period_held": int(connection.scalar(live) or 0)}
