"""Killed under load, again and again, and started on the same data: no credit is lost, none charged twice."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.fire.processes import Load, config, database_url, judge, make_accounts, port_of, start
from tests.upstream import upstream_process


async def rounds(data: Path, given: str | None, upstream_url: str, seed: int, number: int) -> Load:
    """So many lives of a gateway, each ended by SIGKILL after a random piece of work."""
    chance = random.Random(seed)
    settings = config(data, upstream_url, given)
    url = database_url(data, given)
    load = Load([], seed)
    for life in range(number):
        gateway = await start(data, settings)
        try:
            if not life:
                load.accounts = await make_accounts(url, "5", "1", "2")
            working = asyncio.ensure_future(load.run([port_of(gateway)]))
            await load.after(chance.randint(20, 400))
        finally:
            gateway.kill()
        await working
    return load


def check(data: Path, given: str | None, *, seed: int, number: int) -> None:
    async def run(upstream_url: str) -> None:
        load = await rounds(data, given, upstream_url, seed, number)
        assert load.complete
        await judge(database_url(data, given), load)

    with upstream_process() as upstream_url:
        asyncio.run(run(upstream_url))


def test_killed_on_sqlite(tmp_path: Path) -> None:
    check(tmp_path, None, seed=1, number=2)


def test_killed_on_postgres(tmp_path: Path, postgres_url: str) -> None:
    check(tmp_path, postgres_url, seed=2, number=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 14))
def test_killed_over_and_over_on_sqlite(tmp_path: Path, seed: int) -> None:
    check(tmp_path, None, seed=seed, number=12)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 24))
def test_killed_over_and_over_on_postgres(tmp_path: Path, postgres_url: str, seed: int) -> None:
    check(tmp_path, postgres_url, seed=seed, number=12)
