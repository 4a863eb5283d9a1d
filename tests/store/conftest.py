"""Both databases for every test of the store: empty (`database_url`), migrated, or with a bank on them.

Migrations run once a session; what tests get is a copy.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from perquery.store.database import open_database
from tests.postgres import Server
from tests.store.bank import Bank
from tests.store.clock import Clock

KINDS = ("sqlite", "postgresql")


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database that nobody else uses."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/perquery.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "perquery.db"
    open_database(f"sqlite:///{path}", mode="sandbox").close()
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: Server) -> str:
    """The name of a database to copy."""
    url = postgres_server.create_database()
    open_database(url, mode="sandbox").close()
    return url.rpartition("/")[2]


@pytest.fixture(params=KINDS)
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated sandbox database that nobody else uses."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "perquery.db")
        yield f"sqlite:///{tmp_path}/perquery.db"
        return
    template = request.getfixturevalue("migrated_postgres")
    server: Server = request.getfixturevalue("postgres_server")
    url = server.create_database(template)
    yield url
    server.drop_database(url)


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
