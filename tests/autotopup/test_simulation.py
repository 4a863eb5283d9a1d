"""Seeded schedules of faults over the real loop, ledger and database, in virtual time.

A schedule kills processes between any two acts, has two run at once, silences the wallet, the relay and the rail,
pays slowly, late, or after an error, spends, disconnects and connects again. Then everything is healed, and the
books are judged: never two payments for one attempt, never one uncredited, and every attempt told in words.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import SQLAlchemyError

from perquery.autotopup import engine, wire
from perquery.errors import PerQueryError
from perquery.store.opening import open_database
from perquery.store.operations import Settle
from perquery.store.wallets import AttemptRow
from tests.autotopup.world import ADDRESS, CODES, MINUTE_MS, PLANS, Chain, Killed, Process, World, settled_rounds
from tests.topups.conftest import Clock, Till, opened

FAST, SLOW = 500, 10_000
PARTS, MANY_PARTS = 4, 20
DOLLAR = 10**9


class Schedule:
    """One account's story under one seed."""

    def __init__(self, seed: int, till: Till, chain: Chain) -> None:
        self.chance = random.Random(seed)
        self.world = World(till, chain)
        self.process = Process(self.world)
        self.spent = 0
        self.calls = 0

    async def play(self) -> Counter[str]:
        """The whole story; how its attempts ended."""
        await self._connect()
        for _ in range(self.chance.randint(3, 8)):
            await self._moment()
        self.world.chain.down = False
        self.world.wallet.plan = "silent"
        self.process = Process(self.world)
        await self.world.until_ended(self.process)
        self.world.pass_time(60 * MINUTE_MS)
        await self.process.topups.poll()
        ended = await self._judge()
        await self.process.connections.disconnect(self.world.account)
        return ended

    async def _connect(self) -> None:
        # Judged by what the database holds: a process that dies in the middle has connected, or has not.
        asked = {"nwc_url": ADDRESS, "threshold_usd": 5, "topup_amount_usd": 5, "daily_limit_usd": 40}
        self.world.wallet.plan = "pays"
        await Process(self.world).connections.connect(self.world.account, asked)

    async def _moment(self) -> None:
        chance, world = self.chance, self.world
        world.chain.down = chance.random() < 0.1
        world.wallet.plan = chance.choice(PLANS)
        world.wallet.code = chance.choice((*CODES, "UNAUTHORIZED"))
        match chance.randrange(10):
            case 0 | 1 | 2:
                self.process = Process(world, chance.randint(1, 40))
            case 3:
                self.process = Process(world)
            case 4:
                await Process(world).connections.disconnect(world.account)
                await self._connect()
            case 5 | 6:
                await self._spend()
            case _:
                pass
        if chance.random() < 0.2:
            await settled_rounds(self.process, Process(world, chance.choice((None, chance.randint(1, 30)))))
        else:
            await self.process.rounds(chance.randint(1, 2))
        world.pass_time(chance.choice((2_000, 30_000, 2 * MINUTE_MS, 6 * MINUTE_MS, 20 * MINUTE_MS, 90 * MINUTE_MS)))

    async def _spend(self) -> None:
        self.calls += 1
        charge = self.chance.randrange(1, 6 * DOLLAR)
        name = f"gen-{self.world.account}-{self.calls}"
        self.spent += (await self.world.till.ledger.submit(Settle(name, self.world.account, None, charge))).amount

    async def _judge(self) -> Counter[str]:
        view = await self.process.connections.show(self.world.account)
        paid = Counter(receipt.rail_ref for receipt in self.world.chain.paid)
        amounts = 0
        for row, invoice in view.attempts:
            assert row.ended_at is not None
            if invoice is None:
                assert row.state == "failed_final"
                continue
            assert paid[invoice.rail_ref] <= 1, "two payments for one attempt"
            assert (invoice.status == "settled") == (paid[invoice.rail_ref] == 1)
            assert row.state != "settled" or paid[invoice.rail_ref] == 1
            amounts += row.amount_nano * paid[invoice.rail_ref]
        assert self.world.till.figures(self.world.account)[0] == amounts + amounts // 20 - self.spent
        assert all(attempt["words"] for attempt in wire.view(view)["attempts"])
        rows = [row for row, _ in reversed(view.attempts)]
        _one_after_another(rows)
        return Counter(row.state for row in rows)


def _one_after_another(rows: list[AttemptRow]) -> None:
    """Oldest first: none begins before the one before has ended, and no hour has more than it may."""
    for before, after in pairwise(rows):
        assert before.ended_at is not None and before.ended_at <= after.created_at
    for place, row in enumerate(rows):
        hour = [other for other in rows[place:] if other.created_at < row.created_at + engine.HOUR_MS]
        assert len(hour) <= engine.HOURLY_MAX


class Inline(ThreadPoolExecutor):
    """What is given to a thread is done at once: a schedule takes half the time, and is the same each time."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*args, **kwargs))
        except (Killed, PerQueryError, SQLAlchemyError) as error:
            done.set_exception(error)
        return done


def simulate(folder: Path, seeds: range) -> Counter[str]:
    """Play the schedules of these seeds, one after the other, on one database."""

    async def main() -> Counter[str]:
        asyncio.get_running_loop().set_default_executor(Inline(max_workers=1))
        clock = Clock()
        database = open_database(f"sqlite:///{folder}/perquery.db", mode="sandbox", clock=clock)
        ended: Counter[str] = Counter()
        async with opened(database, clock, folder) as till:
            chain = Chain(clock)
            for seed in seeds:
                try:
                    ended += await Schedule(seed, till, chain).play()
                except AssertionError as error:
                    raise AssertionError(f"seed {seed}: {error}") from error
        database.close()
        return ended

    return asyncio.run(main())


@pytest.mark.parametrize("part", range(PARTS))
def test_schedules(part: int, tmp_path: Path) -> None:
    each = FAST // PARTS
    ended = simulate(tmp_path, range(part * each, (part + 1) * each))
    assert ended["settled"] > each // 2 and ended["failed_final"] > each // 2, "schedules in which little happens"


@pytest.mark.slow
def test_many_schedules(tmp_path: Path) -> None:
    """On all cores: each part on a database of its own."""
    each = SLOW // MANY_PARTS
    firsts = range(1_000_000, 1_000_000 + SLOW, each)
    folders = [tmp_path / str(first) for first in firsts]
    for folder in folders:
        folder.mkdir()
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        ended = sum(pool.map(simulate, folders, [range(first, first + each) for first in firsts]), Counter[str]())
    assert ended["settled"] > SLOW // 2
