"""The catalogue as several operators have it, built once a session: it is immutable."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from perquery import catalog, config
from perquery.catalog import overlay

# The day on which the overlay was reviewed; the tests of expiry move away from it by hand.
REVIEWED = date(2026, 11, 23)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder without a refreshed price file."""
    return tmp_path_factory.mktemp("catalog")


@pytest.fixture(scope="session")
def openrouter(empty: Path) -> catalog.Catalog:
    return catalog.build(config.Settings(data=empty), ["openrouter"], today=REVIEWED)


@pytest.fixture(scope="session")
def full(empty: Path) -> catalog.Catalog:
    """Every host of the overlay is active."""
    return catalog.build(config.Settings(data=empty), list(overlay.load().hosts), today=REVIEWED)


@pytest.fixture(scope="session")
def sandbox(empty: Path) -> catalog.Catalog:
    return catalog.build(config.Settings(data=empty, mode="sandbox"), ["local"], today=REVIEWED)
