"""A small gateway's money side for the tests of top-ups: database, ledger, a clock cranked by hand, a scripted rail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from perquery.config import Settings
from perquery.rails.rail import Payable, PayableRequest, Rail, RailDown, Receipt, ReceiptState, Watched
from perquery.rates.rate import FixedRates, Rates
from perquery.store.database import Database
from perquery.store.ledger import Ledger
from perquery.store.opening import open_database
from perquery.store.tables import accounts, transfers
from perquery.topups.service import Crediting, Topups

START_MS = 1_800_000_000_000
LIGHTNING = "btc-lightning"
RATE = 100_000 * 10**9


class Clock:
    """Milliseconds, cranked by hand."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


class ScriptedRail:
    """A wallet whose payments the test decides: it can pay late, too little, too much, and take payments back."""

    pace_s = 0.0

    def __init__(self, clock: Clock) -> None:
        self.down = False
        self.strange = False  # it answers, but one of its answers makes no sense
        self.receivable: int | None = None
        self.addresses: Callable[[int], str] | None = None
        self.watched: Sequence[Watched] = ()
        self.asked = asyncio.Event()
        self.closed = False
        self._clock = clock
        self.made = 0
        self._log: list[Receipt] = []

    async def make(self, request: PayableRequest) -> Payable:
        self._answer()
        self.made += 1
        text = self.addresses(request.number) if self.addresses else f"pay {request.amount}"
        return Payable(text, f"ref{self.made}")

    async def receipts(self, cursor: str, watched: Sequence[Watched]) -> tuple[Sequence[Receipt], str]:
        self._answer()
        self.watched = watched
        self.asked.set()
        if self.strange:
            raise RailDown("nonsense", self._log)
        return self._log[int(cursor or 0) :], str(len(self._log))

    async def close(self) -> None:
        self.closed = True

    def pay(self, ref: str, amount: int, state: ReceiptState = "confirmed", name: str = "") -> None:
        self._log.append(Receipt(name or f"tx-{ref}", ref, amount, state, self._clock()))

    def change(self, ref: str, state: ReceiptState) -> None:
        last = next(receipt for receipt in reversed(self._log) if receipt.rail_ref == ref)
        self._log.append(replace(last, state=state))

    def _answer(self) -> None:
        if self.down:
            raise RailDown("switched off")


class Till:
    """One gateway's money side. `topups()` makes another service on the same database and ledger."""

    def __init__(self, database: Database, ledger: Ledger, clock: Clock, data: Path) -> None:
        self.database = database
        self.ledger = ledger
        self.clock = clock
        self.data = data
        self.rail = ScriptedRail(clock)

    def topups(
        self,
        rail: Rail | None = None,
        *,
        ledger: Crediting | None = None,
        rates: Rates | None = None,
        settings: Settings | None = None,
        name: str = LIGHTNING,
    ) -> Topups:
        settings = settings or Settings(mode="sandbox", data=self.data)
        rails: Mapping[str, Rail] = {name: rail or self.rail}
        rates = rates or FixedRates({"BTC": RATE, "XMR": RATE, "USDC": 10**9})
        return Topups(self.database, ledger or self.ledger, rails, rates, settings, self.clock)

    def account(self) -> int:
        with self.database.writer.begin() as connection:
            number = len(connection.execute(select(accounts.c.id)).all())
            row = insert(accounts).values(credit_hash=b"%032d" % number, created_at=START_MS)
            return int(connection.execute(row.returning(accounts.c.id)).scalar_one())

    def figures(self, account_id: int) -> tuple[int, int, int]:
        """posted, bonus, owed: nano-USD."""
        columns = (accounts.c.posted, accounts.c.bonus, accounts.c.owed)
        with self.database.reader.begin() as connection:
            row = connection.execute(select(*columns).where(accounts.c.id == account_id)).one()
        return int(row[0]), int(row[1]), int(row[2])

    def references(self) -> list[str]:
        with self.database.reader.begin() as connection:
            return sorted(connection.scalars(select(transfers.c.reference)))


RunTill = Callable[[Callable[[Till], Awaitable[None]]], None]


@asynccontextmanager
async def opened(database: Database, clock: Clock, data: Path) -> AsyncIterator[Till]:
    ledger = Ledger(database.driver(), "gateway:test")
    ledger.start()
    try:
        yield Till(database, ledger, clock, data)
    finally:
        await ledger.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(migrated_url: str, clock: Clock) -> Iterator[Database]:
    """A database of either kind, under the test's clock."""
    database = open_database(migrated_url, mode="sandbox", clock=clock)
    yield database
    database.close()


@pytest.fixture
def run(database: Database, clock: Clock, tmp_path: Path) -> RunTill:
    """Runs an async test body with a till."""

    def runner(body: Callable[[Till], Awaitable[None]]) -> None:
        async def main() -> None:
            async with opened(database, clock, tmp_path) as till:
                await body(till)

        asyncio.run(main())

    return runner
