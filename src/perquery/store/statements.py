"""The ledger's hot statements in both databases' words.

A load takes one JSON list of what to find; a write takes rows, as tuples in the order of `COLUMNS`. SQLite
takes inserted rows as one long VALUES, because each step of a statement hands Python's lock to the other thread
and back; PostgreSQL takes rows as one array a column.
Load statements lock what they read, accounts before keys, each in the order of their ids, so that two gateways
never wait for each other in a circle. On SQLite the transaction itself is the lock.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from sqlalchemy import BigInteger, Integer, LargeBinary, Table

from perquery.store.tables import accounts, api_keys, holds, leases, requests, transfers

ACCOUNT: Final = ("id", "posted", "held", "owed", "bonus")
KEY: Final = (
    *("id", "account_id", "deleted_at", "expire_at", "limit_nano", "reset_period", "models"),
    *("period", "period_used", "period_held", "total_used", "prompt_caching"),
)
HOLD: Final = tuple(column.name for column in holds.columns)
REQUEST: Final = tuple(column.name for column in requests.columns)
TRANSFER: Final = tuple(column.name for column in transfers.columns)
LEASE: Final = tuple(column.name for column in leases.columns)
# What a write's rows hold, in order. An update's first column is the id that it looks for.
COLUMNS: Final[dict[str, tuple[Table, tuple[str, ...]]]] = {
    "set_accounts": (accounts, ("id", "posted", "held", "owed", "bonus")),
    "set_keys": (api_keys, ("id", "period", "period_used", "period_held", "total_used")),
    "set_holds": (holds, ("id", "amount")),
    "end_holds": (holds, ("id",)),
    "add_holds": (holds, HOLD),
    "add_transfers": (transfers, TRANSFER),
    "put_requests": (requests, REQUEST),
    "renew": (leases, LEASE),
}


def _keeping_held() -> str:
    """A receipt written twice (a late settle after the sweep's) keeps the figure of the hold that there was."""
    new = {name: f"excluded.{name}" for name in REQUEST if name not in ("account_id", "id")}
    new["held_nano"] = "CASE WHEN excluded.held_nano > 0 THEN excluded.held_nano ELSE requests.held_nano END"
    changes = ", ".join(f"{name} = {value}" for name, value in new.items())
    return f" ON CONFLICT (account_id, id) DO UPDATE SET {changes}"


_TAILS: Final = {
    "put_requests": _keeping_held(),
    "renew": " ON CONFLICT (name) DO UPDATE SET expires_at = excluded.expires_at",
}


_IN_SQLITE: Final = "IN (SELECT value FROM json_each(?))"


def _sqlite_write(name: str) -> str:
    """An update or delete of one row; the first row of an insert, for `sqlite_insert` to lengthen."""
    table, columns = COLUMNS[name]
    if name.startswith("set_"):
        changes = ", ".join(f"{column} = ?{number}" for number, column in enumerate(columns[1:], 2))
        return f"UPDATE {table.name} SET {changes} WHERE id = ?1"
    if name.startswith("end_"):
        return f"DELETE FROM {table.name} WHERE id {_IN_SQLITE}"
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES "


@cache
def sqlite_insert(name: str, rows: int) -> str:
    """An insert of so many rows in one statement."""
    marks = f"({', '.join('?' * len(COLUMNS[name][1]))})"
    return SQLITE[name] + ", ".join([marks] * rows) + _TAILS.get(name, "")


def _postgres_type(table: Table, column: str) -> str:
    kind = table.columns[column].type
    if isinstance(kind, LargeBinary):
        return "bytea"
    return "bigint" if isinstance(kind, BigInteger | Integer) else "text"


def _postgres_write(name: str) -> str:
    table, columns = COLUMNS[name]
    arrays = ", ".join(f"%s::{_postgres_type(table, column)}[]" for column in columns)
    names = ", ".join(columns)
    rows = f"unnest({arrays}) AS v({names})"
    if name.startswith("set_"):
        changes = ", ".join(f"{column} = v.{column}" for column in columns[1:])
        return f"UPDATE {table.name} SET {changes} FROM {rows} WHERE {table.name}.id = v.id"
    if name.startswith("end_"):
        return f"DELETE FROM {table.name} USING {rows} WHERE {table.name}.id = v.id"
    return f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {rows}{_TAILS.get(name, '')}"


_IN_POSTGRES = "IN (SELECT value FROM json_array_elements_text(%s))"
_TRANSFERS_POSTGRES = "SELECT t.account_id, t.reference, t.amount FROM json_array_elements(%s) v JOIN transfers t"


def _sqlite_select(table: str, columns: tuple[str, ...]) -> str:
    """All rows as one JSON value: one step. (A join: IN would make an index of what is asked for, each time.)"""
    found = ", ".join(f"t.{column}" for column in columns)
    return f"SELECT json_group_array(json_array({found})) FROM json_each(?) v CROSS JOIN {table} t ON t.id = v.value"


@cache
def sqlite_load(names: tuple[str, ...]) -> str:
    """Several loads as one statement, a column each."""
    return f"SELECT {', '.join(f'({SQLITE[name]})' for name in names)}"


SQLITE: Final[dict[str, str]] = {
    "accounts": _sqlite_select("accounts", ACCOUNT),
    "keys": _sqlite_select("api_keys", KEY),
    "holds": _sqlite_select("holds", HOLD),
    "references": "SELECT json_group_array(json_array(t.account_id, t.reference, t.amount)) FROM json_each(?) v"
    " CROSS JOIN transfers t ON t.account_id = v.value->>0 AND t.reference = v.value->>1",
    "prefixes": "SELECT json_group_array(json_array(t.account_id, t.reference, t.amount)) FROM json_each(?) v"
    " CROSS JOIN transfers t ON t.account_id = v.value->>0"
    " AND t.reference >= v.value->>1 AND t.reference < (v.value->>1) || char(1114111)",
    "live": f"SELECT json_group_array(json_array(name)) FROM leases WHERE name {_IN_SQLITE} AND expires_at >= ?",
    **{name: _sqlite_write(name) for name in COLUMNS},
}

POSTGRES: Final[dict[str, str]] = {
    "accounts": f"SELECT {', '.join(ACCOUNT)} FROM accounts WHERE id IN"
    " (SELECT value::bigint FROM json_array_elements_text(%s)) ORDER BY id FOR UPDATE",
    "keys": f"SELECT {', '.join(KEY)} FROM api_keys WHERE id {_IN_POSTGRES} ORDER BY id FOR UPDATE",
    "holds": f"SELECT {', '.join(HOLD)} FROM holds WHERE id {_IN_POSTGRES}",
    "references": f"{_TRANSFERS_POSTGRES} ON t.account_id = (v->>0)::bigint AND t.reference = v->>1",
    "prefixes": f"{_TRANSFERS_POSTGRES} ON t.account_id = (v->>0)::bigint AND starts_with(t.reference, v->>1)",
    "live": f"SELECT name FROM leases WHERE name {_IN_POSTGRES} AND expires_at >= %s",
    **{name: _postgres_write(name) for name in COLUMNS},
}
