"""Both databases for every test of the store: empty (`database_url`), or with a bank on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.bank import Bank
from tests.store.clock import Clock

KINDS = ("sqlite", "postgresql")


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database that nobody else uses."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/perquery.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bank(migrated_url: str, clock: Clock) -> Iterator[Bank]:
    """A database of the clock's time; its books are right at the end of every test."""
    bank = Bank(migrated_url, clock)
    yield bank
    bank.verified()
    bank.close()
