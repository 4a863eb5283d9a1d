"""From any id to the account behind it, its calls and its money, in the order of time. Read-only, for the operator.

It must never write, and never be open to callers: it looks through all accounts. Rare, so that no index is kept for
it which every call would pay for: an id of an upstream is looked for in all calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import orjson
from sqlalchemy import ColumnElement, Connection, Table, or_, select

from perquery.store.database import Database
from perquery.store.tables import accounts, holds, invoices, receipts, requests, transfers

NEWEST: Final = 20  # of an account: calls, and invoices
ID_MAX: Final = 200
_BOOKS: Final = ("source", "target")
_BEHIND: Final = (":", "~")  # in a receipt's id, behind the payment: which output of it, how often it came back
Kind: TypeAlias = Literal["generation id", "safety id", "invoice id", "payment", "upstream's id"]
_BEFORE: Final = ("invoice", "payment", "hold", "call", "transfer")  # within one millisecond


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened. at: ms; amount: nano-USD; facts: what else is known of it, by name."""

    at: int
    what: Literal["call", "hold", "transfer", "invoice", "payment"]
    id: str
    amount: int
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trace:
    """What an id was found to be, whose it is, and what happened. account: its row, without secrets."""

    kind: Kind
    account: Mapping[str, Any]
    happenings: tuple[Happening, ...]


def find(database: Database, id: str, held: str = "") -> Trace | None:
    """None where nothing is known by that id. held: how an invoice to pay holds it, where that is another writing: for
    wallets that name their invoices otherwise than by the payment hash.
    """
    if not 0 < len(id) <= ID_MAX or not id.isprintable():
        return None
    looks: list[tuple[Kind, _Look]] = list(_LOOKS.items())
    if held:
        looks.append(("payment", lambda connection, _: _of_invoices(connection, invoices.c.payable.contains(held))))
    with database.reader.begin() as connection:
        for kind, look in looks:
            account_id, found = look(connection, id)
            if account_id is not None:
                columns = [column for column in accounts.columns if column.name != "credit_hash"]
                row = connection.execute(select(*columns).where(accounts.c.id == account_id)).mappings().one()
                ordered = sorted(found, key=lambda each: (each.at, _BEFORE.index(each.what), each.id))
                return Trace(kind, dict(row), tuple(ordered))
    return None


_Found: TypeAlias = tuple[int | None, list[Happening]]
_Look: TypeAlias = Callable[[Connection, str], _Found]


def _generation(connection: Connection, id: str) -> _Found:
    """A call that is over, or one that runs. By the key of its table: the account comes first there."""
    calls = _rows(connection, requests, requests.c.account_id.in_(select(accounts.c.id)), requests.c.id == id)
    running = _rows(connection, holds, holds.c.id == id)
    account_id = next((row["account_id"] for row in (*calls, *running)), None)
    return account_id, [*_calls(connection, calls), *map(_hold, running)]


def _safety(connection: Connection, id: str) -> _Found:
    """An account, with its newest calls and invoices."""
    account_id = connection.scalar(select(accounts.c.id).where(accounts.c.safety_id == id))
    if account_id is None:
        return None, []
    mine = requests.c.account_id == account_id
    newest = select(requests).where(mine).order_by(requests.c.id.desc()).limit(NEWEST)
    calls = [dict(row) for row in connection.execute(newest).mappings()]
    asked = select(invoices).where(invoices.c.account_id == account_id)
    asked = asked.order_by(invoices.c.created_at.desc()).limit(NEWEST)
    bills = [dict(row) for row in connection.execute(asked).mappings()]
    running = _rows(connection, holds, holds.c.account_id == account_id)
    return account_id, [*_calls(connection, calls), *map(_hold, running), *_invoices(connection, bills)]


def _invoice(connection: Connection, id: str) -> _Found:
    return _of_invoices(connection, invoices.c.id == id)


def _payment(connection: Connection, id: str) -> _Found:
    """A payment hash, a transaction (a payment is one of its outputs), or whatever else its rail names it by."""
    of_it = [receipts.c.receipt_id.startswith(id + mark, autoescape=True) for mark in _BEHIND]
    paid = select(receipts.c.invoice_id).where(or_(receipts.c.receipt_id == id, *of_it))
    return _of_invoices(connection, or_(invoices.c.rail_ref == id, invoices.c.id.in_(paid)))


def _of_invoices(connection: Connection, which: ColumnElement[bool]) -> _Found:
    """One account's: a transaction may pay several, then that of the newest invoice."""
    rows = sorted(_rows(connection, invoices, which), key=lambda row: (row["created_at"], row["id"]), reverse=True)
    account_id = rows[0]["account_id"] if rows else None
    return account_id, _invoices(connection, [row for row in rows if row["account_id"] == account_id])


def _upstream(connection: Connection, id: str) -> _Found:
    """What an upstream calls a request or its answer, a failed attempt's too; the newest account's, if several."""
    attempt = requests.c.detail.contains(f'"request_id":{orjson.dumps(id).decode()}', autoescape=True)
    named = or_(requests.c.upstream_request_id == id, requests.c.upstream_id == id, attempt)
    query = select(requests).where(named).order_by(requests.c.at.desc()).limit(NEWEST)
    rows = [dict(row) for row in connection.execute(query).mappings()]
    account_id = rows[0]["account_id"] if rows else None
    return account_id, _calls(connection, [row for row in rows if row["account_id"] == account_id])


# The cheap ones first: only the last looks through all calls.
_LOOKS: Final[Mapping[Kind, _Look]] = {
    "generation id": _generation,
    "safety id": _safety,
    "invoice id": _invoice,
    "payment": _payment,
    "upstream's id": _upstream,
}


def _rows(connection: Connection, table: Table, *which: ColumnElement[bool]) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(select(table).where(*which)).mappings()]


def _calls(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> list[Happening]:
    """The calls, each with the transfers that it made."""
    found: list[Happening] = []
    for row in rows:
        names = ("key_id", "model", "provider", "rule", "error_code", "upstream_id", "upstream_request_id", "total_ms")
        facts = {name: row[name] for name in names} | {"held_nano": row["held_nano"]}
        attempts = orjson.loads(row["detail"]).get("attempts") or []
        found.append(Happening(row["at"], "call", row["id"], row["cost_nano"], facts | {"attempts": attempts}))
        own = transfers.c.reference.in_((row["id"], f"{row['id']}:shortfall"))
        found += _transfers(connection, row["account_id"], own)
    return found


def _hold(row: Mapping[str, Any]) -> Happening:
    facts = {"key_id": row["key_id"], "model": row["model"], "owner": row["owner"]}
    return Happening(row["created_at"], "hold", row["id"], row["amount"], facts)


def _invoices(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> list[Happening]:
    """The invoices, each with its payments and the transfers that those made."""
    found: list[Happening] = []
    for row in rows:
        names = ("rail", "status", "flags", "currency", "amount", "crypto_due", "crypto_paid", "rail_ref", "settled_at")
        facts = {name: row[name] for name in names}
        found.append(Happening(row["created_at"], "invoice", row["id"], row["amount_nano"], facts))
        for paid in _rows(connection, receipts, receipts.c.invoice_id == row["id"]):
            shown = ("rail", "invoice_id", "state", "amount", "confirmed_at", "credited_at", "reversed_at")
            facts = {name: paid[name] for name in shown}
            amount = (paid["credit_nano"] or 0) + (paid["bonus_nano"] or 0)
            found.append(Happening(paid["first_seen_at"], "payment", paid["receipt_id"], amount, facts))
            reference = f"{paid['rail']}:{paid['receipt_id']}"
            follow = transfers.c.reference.startswith(f"{reference}:", autoescape=True)  # a bonus, a reversal
            own = or_(transfers.c.reference == reference, follow)
            found += _transfers(connection, row["account_id"], own)
    return found


def _transfers(connection: Connection, account_id: int, which: ColumnElement[bool]) -> list[Happening]:
    rows = _rows(connection, transfers, transfers.c.account_id == account_id, which)
    return [
        Happening(row["at"], "transfer", row["reference"], row["amount"], {name: row[name] for name in _BOOKS})
        for row in rows
    ]
