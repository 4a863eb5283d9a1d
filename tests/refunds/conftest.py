"""Databases and tills as the tests of top-ups have them."""

from __future__ import annotations

from tests.topups.conftest import clock, database, run

__all__ = ["clock", "database", "run"]
