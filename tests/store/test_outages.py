"""A server that goes away under load: what was told stays true, nothing is lost, nothing is held for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from perquery.errors import LedgerUnavailable
from perquery.store.ledger import Ledger
from tests.postgres import Server, serving
from tests.store.bank import Bank, Customer

CALLERS = 24
CALLS = 12


class Caller:
    """Calls as metering makes them, and keeps its own account of what it was told it paid."""

    def __init__(self, ledger: Ledger, customer: Customer, number: int) -> None:
        self.ledger = ledger
        self.customer = customer
        self.name = f"caller-{number:02}"
        self.paid = 0
        self.refused = 0

    async def run(self, each: Callable[[], None]) -> None:
        for number in range(CALLS):
            id = f"{self.name}-{number:02}"
            try:
                await self.ledger.submit(self.customer.hold(id, 10))
            except LedgerUnavailable:
                self.refused += 1
                self.ledger.post(self.customer.release(id))  # it may have been granted to nobody
                continue
            self.paid += (await self.ledger.submit(self.customer.settle(id, 7))).amount
            each()


async def _under_load(server: Server, bank: Bank, customer: Customer, outage: Callable[[], None]) -> list[Caller]:
    """The outage comes once a third of the calls are settled."""
    settled = asyncio.Semaphore(0)
    async with bank.ledger() as ledger:
        await ledger.submit(customer.credit(1_000_000))
        callers = [Caller(ledger, customer, number) for number in range(CALLERS)]
        running = [asyncio.create_task(caller.run(settled.release)) for caller in callers]
        for _ in range(CALLERS * CALLS // 3):
            await settled.acquire()
        outage()  # in this thread: the server ends with the thread that started it
        await asyncio.gather(*running)
    assert server.pid
    return callers


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_postgresql_goes_away_under_load(how: str) -> None:
    with serving() as server:
        bank = Bank(server.create_database())
        customer = bank.customer()

        def outage() -> None:
            if how == "crash":
                server.kill()
            server.restart()

        callers = asyncio.run(_under_load(server, bank, customer, outage))
        paid = sum(caller.paid for caller in callers)
        assert paid == 7 * (CALLERS * CALLS - sum(caller.refused for caller in callers))
        assert bank.figures(customer.id) == (1_000_000 - paid, 0, 0, 0)
        assert bank.holds() == {}
        bank.verified()
        bank.close()
