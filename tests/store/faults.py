"""A real driver whose commits fail as told, and which can be stopped before it loads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Literal, TypeAlias

from perquery.store.drivers import Down, Driver, Load, Row, Write
from perquery.store.ledger import Ledger
from perquery.store.operations import Operation, Renew, Result

Fault: TypeAlias = Literal["lost before", "lost after", "crash before", "crash after"] | None


class Faulty:
    """faults: one a commit, in order; "lost before": it never reached the database; "lost after": it took effect
    and its answer was lost; "crash": the ledger's thread ends there. Loads wait while `stop()` is in force.
    """

    def __init__(self, driver: Driver, *faults: Fault) -> None:
        self._driver = driver
        self.faults = list(faults)
        self._open = threading.Event()
        self._open.set()
        self._entered = threading.Event()
        self.commits = 0
        self.crashed = threading.Event()

    def stop(self) -> None:
        self._entered.clear()
        self._open.clear()

    def go_on(self) -> None:
        self._open.set()

    async def stopped(self) -> None:
        """Until the ledger's thread stands before a load."""
        await asyncio.to_thread(self._entered.wait)

    def load(self, statements: Sequence[Load]) -> tuple[int, list[list[Row]]]:
        self._entered.set()
        self._open.wait()
        return self._driver.load(statements)

    def finish(self, writes: Sequence[Write]) -> None:
        fault = self.faults.pop(0) if self.faults else None
        if fault == "lost before":
            raise Down("the connection broke")
        if fault == "crash before":
            self._crash()
        self._driver.finish(writes)
        self.commits += 1
        if fault == "lost after":
            raise Down("the connection broke")
        if fault == "crash after":
            self._crash()

    def _crash(self) -> None:
        """As if the process had died: the connection breaks, nothing else is tidied up."""
        self._driver.drop()
        self.crashed.set()
        raise SystemExit

    def drop(self) -> None:
        self._driver.drop()


async def together(ledger: Ledger, driver: Faulty, *operations: Operation) -> list[Result | BaseException]:
    """The answers to operations that the ledger finds waiting all at once: one batch."""
    driver.stop()
    first = ledger.submit(Renew())
    await driver.stopped()
    waiting = [ledger.submit(operation) for operation in operations]
    driver.go_on()
    await first
    return await asyncio.gather(*waiting, return_exceptions=True)
