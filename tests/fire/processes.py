"""Gateways as processes under load, and an account of one's own of every answer that reached a client completely.

The books are judged afterwards from outside: by a clock moved past every lease, a sweep, and the audit.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import select, update

from perquery import money
from perquery.store import audit, credentials, sweep
from perquery.store.database import Database, open_existing
from perquery.store.drivers import wall_ms
from perquery.store.ledger import LEASE_MS, Ledger
from perquery.store.operations import Credit
from perquery.store.tables import accounts, holds, leases, requests
from tests import serving
from tests.fire.bed import CHAT, Account
from tests.fire.client import Answer, Exchange, exchange
from tests.upstream import MARK

GONE: Final = (OSError, asyncio.IncompleteReadError, ValueError)  # a connection that broke, also within a chunk's size


def after_all_leases() -> int:
    """A clock at which whoever is not renewing has lapsed."""
    return wall_ms() + 2 * LEASE_MS


@contextmanager
def opened(url: str, clock: Callable[[], int] | None = None) -> Iterator[Database]:
    database = open_existing(url, clock)
    try:
        yield database
    finally:
        database.close()


def lapse(url: str) -> None:
    """As if the leases of whoever was killed had run out meanwhile."""
    with opened(url) as database, database.writer.begin() as connection:
        connection.execute(update(leases).values(expires_at=0))


@asynccontextmanager
async def ledger_of(database: Database) -> AsyncIterator[Ledger]:
    ledger = Ledger(database.driver(), "gateway:test")
    ledger.start()
    try:
        yield ledger
    finally:
        await ledger.close()


async def make_accounts(url: str, *usd: str) -> list[Account]:
    made = []
    with opened(url) as database:
        async with ledger_of(database) as ledger:
            for amount in usd:
                new = await asyncio.to_thread(credentials.create_account, database)
                credit = Credit(new.account_id, "test:1", money.nano(amount), "deposits:test")
                await ledger.submit(credit)
                made.append(Account(new.account_id, new.api_key, new.credit_id, money.nano(amount)))
    return made


def port_of(gateway: serving.Gateway) -> int:
    port = urlsplit(gateway.base_url).port
    assert port is not None
    return port


async def start(data: Path, config: Path, *words: str) -> serving.Gateway:
    """`perquery serve` in live mode: only the scripted upstream, no local model."""
    return await asyncio.to_thread(serving.start, data, config, *words, sandbox=False)


@dataclass
class Load:
    """Callers that go on until they are told to stop. complete: id → cost of every answer that arrived whole."""

    accounts: Sequence[Account]
    seed: int
    complete: dict[str, int] = field(default_factory=dict)
    unknown: int = 0  # broken off, or left by the caller: charged once or not at all
    refused: dict[int, int] = field(default_factory=dict)
    pieces: int = 0
    stopping: bool = False
    _waiting: list[tuple[int, asyncio.Event]] = field(default_factory=list)

    async def run(self, ports: Sequence[int], callers: int = 16) -> None:
        """Until `stopping`, or each caller has found its gateway gone."""
        await asyncio.gather(*(self._caller(random.Random(f"{self.seed}-{n}"), ports, n) for n in range(callers)))

    async def after(self, pieces: int) -> None:
        """Wait until so many more pieces of answers have arrived."""
        event = asyncio.Event()
        self._waiting.append((self.pieces + pieces, event))
        await asyncio.wait_for(event.wait(), 60)

    async def _caller(self, chance: random.Random, ports: Sequence[int], number: int) -> None:
        while not self.stopping:
            try:
                await self._call(chance, ports[number % len(ports)])
            except ConnectionRefusedError:
                return

    async def _call(self, chance: random.Random, port: int) -> None:
        account = chance.choice(self.accounts)
        script = f"chunks={chance.randint(1, 12)} gap_ms={chance.choice((0, 0, 1, 5))} prompt={chance.randint(1, 900)}"
        stream = chance.random() < 0.6
        script += chance.choice(("", "", " usage=none", " usage=repeated", " fault=break after=1" if stream else ""))
        leaves_after = chance.randint(0, 6) if chance.random() < 0.2 else None
        body = {
            "model": "stub-model",
            "messages": [{"role": "user", "content": MARK + script}],
            "stream": stream,
            "max_tokens": 200,
        }
        try:
            async with exchange(port, CHAT, body, {"authorization": f"Bearer {account.key}"}) as call:
                if await self._read(call, leaves_after):
                    self._note(Answer(call.status, call.headers, call.body))
                else:
                    self.unknown += 1
        except ConnectionRefusedError:
            raise
        except GONE:
            self.unknown += 1

    async def _read(self, call: Exchange, leaves_after: int | None) -> bool:
        """Whether the answer was read to its end."""
        pieces = 0
        while pieces != leaves_after:
            if not await call.piece():
                return True
            pieces, self.pieces = pieces + 1, self.pieces + 1
            for due, event in self._waiting:
                if self.pieces >= due:
                    event.set()
        return False

    def _note(self, answer: Answer) -> None:
        if answer.status != 200:
            self.refused[answer.status] = self.refused.get(answer.status, 0) + 1
        elif b'"finish_reason":"error"' not in answer.body:
            self.complete[answer.headers["x-perquery-generation-id"]] = answer.cost()


async def judge(url: str, load: Load) -> None:
    """After every lease has lapsed and a sweep has run: no credit lost, none charged twice, nothing held."""
    with opened(url, after_all_leases) as database:
        async with ledger_of(database) as ledger:
            while await sweep.sweep(database, ledger):
                pass
        report = audit.verify(database)
        assert report.ok, report.findings
        with database.reader.begin() as connection:
            assert not connection.execute(select(holds.c.id)).all()
            paid = {row.id: row.cost_nano for row in connection.execute(select(requests.c.id, requests.c.cost_nano))}
            posted = {row.id: row.posted for row in connection.execute(select(accounts.c.id, accounts.c.posted))}
            spent: dict[int, int] = {}
            for account_id, cost in connection.execute(select(requests.c.account_id, requests.c.cost_nano)):
                spent[account_id] = spent.get(account_id, 0) + cost
    wrong = {id: (cost, paid.get(id)) for id, cost in load.complete.items() if paid.get(id) != cost}
    assert not wrong, f"answers that arrived whole and were not charged what they said: {wrong}"
    others = [id for id, cost in paid.items() if cost and id not in load.complete]
    assert len(others) <= load.unknown, "a charge that belongs to no call"
    for account in load.accounts:
        assert posted[account.id] == account.credited - spent.get(account.id, 0) >= 0


def config(folder: Path, upstream_url: str, database_url: str | None = None, extra: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    database = f'database_url = "{database_url}"\n' if database_url else ""
    return serving.scripted_config(folder, upstream_url, database + extra)


def database_url(data: Path, given: str | None) -> str:
    """The database that a gateway on this folder uses."""
    return given or f"sqlite:///{(data / 'perquery.db').resolve()}"
