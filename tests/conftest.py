"""Fixtures that every test may ask for: a clean environment and a fresh PostgreSQL database.

Must never hold anything that only one area needs; that stands beside the area's tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import Server, serving

# A busy machine, or the first run with its tables of characters yet to make, is no reason to fail.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No API key and no setting of the machine reaches a test."""
    for name in list(os.environ):
        if name.startswith("PERQUERY_") or name.endswith(("_API_KEY", "_API_KEYS")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """This worker's server. Other tests share it: who restarts or crashes a server asks for `serving()`."""
    with serving() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    """The URL of a fresh, empty database, dropped after the test."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)
