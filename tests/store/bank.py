"""A database with accounts for tests of the ledger: its books read back, and ledgers run on it.

Everything is read from the tables, never from the ledger under test; `verified` asks the audit as well.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import insert, select, update

from perquery.store import audit, credentials
from perquery.store.database import Database
from perquery.store.drivers import Driver
from perquery.store.jobs import add as add_job
from perquery.store.ledger import GATEWAY, Ledger
from perquery.store.opening import open_database
from perquery.store.operations import WHOLE, Credit, Hold, Release, Settle
from perquery.store.tables import accounts, api_keys, holds, jobs, refunds, requests, transfers
from tests.store.calls import job
from tests.store.calls import row as receipt


@dataclass(frozen=True, slots=True)
class Customer:
    """An account and its first key."""

    id: int
    key_id: str

    def hold(self, id: str, amount: int, *, least: int | None = None) -> Hold:
        return Hold(
            id, self.id, self.key_id, amount if least is None else least, amount, WHOLE, WHOLE, True, "some/model"
        )

    def settle(self, id: str, charge: int, **columns: Any) -> Settle:
        return Settle(id, self.id, self.key_id, charge, receipt(self.id, self.key_id, id, 1, **columns))

    def release(self, id: str) -> Release:
        return Release(id, self.id, self.key_id)

    def credit(self, amount: int, reference: str = "test:1") -> Credit:
        return Credit(self.id, reference, amount, "deposits:test")


class Bank:
    """`clock`: milliseconds instead of the database's own time."""

    def __init__(self, url: str, clock: Callable[[], int] | None = None) -> None:
        self.url = url
        self.database: Database = open_database(url, mode="sandbox", clock=clock)

    def close(self) -> None:
        self.database.close()

    def customer(self) -> Customer:
        made = credentials.create_account(self.database)
        (key,) = credentials.list_keys(self.database, made.account_id)
        return Customer(made.account_id, key.id)

    @asynccontextmanager
    async def ledger(self, driver: Driver | None = None, name: str = "") -> AsyncIterator[Ledger]:
        """A gateway's ledger, closed at the end."""
        ledger = Ledger(driver or self.database.driver(), GATEWAY + (name or uuid4().hex))
        ledger.start()
        try:
            yield ledger
        finally:
            await ledger.close()

    def figures(self, account_id: int) -> tuple[int, int, int, int]:
        """posted, held, owed, bonus."""
        columns = (accounts.c.posted, accounts.c.held, accounts.c.owed, accounts.c.bonus)
        with self.database.reader.begin() as connection:
            found = connection.execute(select(*columns).where(accounts.c.id == account_id)).one()
        return found[0], found[1], found[2], found[3]

    def key_figures(self, key_id: str) -> tuple[int, int, int]:
        """period_used, period_held, total_used."""
        columns = (api_keys.c.period_used, api_keys.c.period_held, api_keys.c.total_used)
        with self.database.reader.begin() as connection:
            found = connection.execute(select(*columns).where(api_keys.c.id == key_id)).one()
        return found[0], found[1], found[2]

    def holds(self) -> dict[str, int]:
        with self.database.reader.begin() as connection:
            return {row.id: row.amount for row in connection.execute(select(holds))}

    def moves(self) -> list[tuple[str, str, str, int]]:
        """(reference, source, target, amount) of all transfers, by reference."""
        columns = (transfers.c.reference, transfers.c.source, transfers.c.target, transfers.c.amount)
        with self.database.reader.begin() as connection:
            return [(a, b, c, d) for a, b, c, d in connection.execute(select(*columns).order_by(columns[0]))]

    def receipts(self) -> dict[str, dict[str, Any]]:
        with self.database.reader.begin() as connection:
            return {found.id: dict(found._mapping) for found in connection.execute(select(requests))}

    def note_refunds(self, left: Mapping[str, tuple[int, int]]) -> None:
        """The rows of refunds that were paid: id → account and what left; those that are there stay as they are."""
        with self.database.writer.begin() as connection:
            known = set(connection.scalars(select(refunds.c.id)))
            for name, (account_id, amount) in left.items():
                if name not in known:
                    connection.execute(insert(refunds).values(_refund(name, account_id, amount)))

    def note_job(self, id: str, account_id: int, **columns: Any) -> None:
        """A job's row, as it stands."""
        with self.database.writer.begin() as connection:
            known = connection.execute(update(jobs).where(jobs.c.id == id).values(columns)).rowcount
        if not known:
            add_job(self.database, job(id, account_id, **columns))

    def set_key(self, key_id: str, **columns: Any) -> None:
        """As another worker's control plane would."""
        with self.database.writer.begin() as connection:
            connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(columns))

    def verified(self) -> None:
        findings = audit.verify(self.database).findings
        assert not findings, findings


def _refund(name: str, account_id: int, amount: int) -> dict[str, Any]:
    figures = ("fee_most_nano", "fee_most_msat", "bonus_numerator", "created_at", "expires_at")
    return {
        "id": name,
        "account_id": account_id,
        "state": "paid",
        "amount_nano": amount,
        "amount_msat": 1,
        "usd_nano_per_coin": 1,
        "bonus_denominator": 1,
        "destination": "",
        "invoice": "",
        "payment_hash": name,
        "charged_nano": amount,
        "ended_at": 1,
        "booked_at": 1,
        **dict.fromkeys(figures, 0),
    }
