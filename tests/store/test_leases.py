"""Named leases: one holder at a time, until it lapses or is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from perquery.store import leases
from perquery.store.database import Database
from perquery.store.opening import open_database


class Clock:
    """Milliseconds, cranked by hand."""

    def __init__(self) -> None:
        self.now_ms = 1_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Database]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/perquery.db" if sqlite else request.getfixturevalue("postgres_url")
    database = open_database(url, mode="sandbox", clock=clock)
    yield database
    database.close()


def test_one_holds_it_and_may_renew_it(database: Database) -> None:
    assert leases.take(database, "loop", "a", 1_000)
    assert leases.take(database, "loop", "a", 1_000)
    assert not leases.take(database, "loop", "b", 1_000)


def test_names_are_apart(database: Database) -> None:
    assert leases.take(database, "loop", "a", 1_000)
    assert leases.take(database, "other", "b", 1_000)


def test_a_lapsed_lease_goes_to_who_asks(database: Database, clock: Clock) -> None:
    leases.take(database, "loop", "a", 1_000)
    clock.now_ms += 999
    assert not leases.take(database, "loop", "b", 1_000)
    clock.now_ms += 1
    assert leases.take(database, "loop", "b", 1_000)
    assert not leases.take(database, "loop", "a", 1_000)


def test_a_lease_given_up_is_free(database: Database) -> None:
    leases.take(database, "loop", "a", 1_000)
    leases.drop(database, "loop", "a")
    assert leases.take(database, "loop", "b", 1_000)


def test_only_its_holder_gives_it_up(database: Database) -> None:
    leases.take(database, "loop", "a", 1_000)
    leases.drop(database, "loop", "b")
    assert not leases.take(database, "loop", "b", 1_000)


def test_a_loop_has_its_turn_until_it_stops_or_sleeps_too_long(database: Database, clock: Clock) -> None:
    async def body() -> None:
        one, other = (leases.Turn(database, "loop", 15_000, clock) for _ in range(2))
        assert await one.held() and not await other.held()
        clock.now_ms += 14_000
        assert await one.held() and not await other.held()
        clock.now_ms += 20_000
        assert await other.held() and not await one.held()
        await other.drop()
        assert await one.held()

    asyncio.run(body())
