"""A clock cranked by hand, and the ledger's decisions applied at once: for tests of what reads the books."""

from __future__ import annotations

import asyncio
from typing import Final

from perquery.store.database import Database
from perquery.store.ledger import Ledger
from perquery.store.operations import Operation, Result

MONDAY: Final = 1_767_571_200_000  # 2026-01-05T00:00:00Z


class Clock:
    """Milliseconds; callable as the database wants it."""

    def __init__(self, now_ms: int = MONDAY) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


def apply_all(database: Database, *operations: Operation) -> list[Result]:
    """The answers of a real ledger on that database, one operation after the other."""

    async def run() -> list[Result]:
        ledger = Ledger(database.driver(), "gateway:test")
        ledger.start()
        try:
            return [await ledger.submit(operation) for operation in operations]
        finally:
            await ledger.close()

    return asyncio.run(run())
