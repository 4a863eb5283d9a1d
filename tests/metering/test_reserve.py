"""Holds: never lost to a cancelled request, never refused for what others hold in excess, extended or not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest
from sqlalchemy import select

from perquery.accounts import Access
from perquery.calls import Call, Price, Route
from perquery.catalog.price import bound
from perquery.errors import InsufficientCredits, LedgerUnavailable
from perquery.metering.reserve import EmptyBalance, Quote, quote, reserved
from perquery.money import ONE
from perquery.store import audit, credentials
from perquery.store.database import Database
from perquery.store.drivers import Driver, Load, Row, Write
from perquery.store.ledger import Ledger
from perquery.store.opening import open_database
from perquery.store.operations import Credit, RequestRow
from perquery.store.tables import accounts
from tests.store.calls import row as receipt

USD = 10**9
ROUTE = Route("up", "m", Price(((0, {"input": 10**6, "output": 10**6}),)), ONE)  # a dollar a million: 1,000 nano each
CALL = Call("openai-chat", "m", {}, b"x" * 100, text_bytes=100)
Patience: TypeAlias = tuple[float, Callable[[], bool]]
FOR_EVER: Patience = (20, lambda: True)
AT_ONCE: Patience = (0, lambda: True)


class Slow:
    """The real driver, whose transactions wait at a gate: the ledger is at work while the test goes on."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self.gate = threading.Event()
        self.gate.set()

    def load(self, statements: Sequence[Load]) -> tuple[int, list[list[Row]]]:
        self.gate.wait(20)
        return self._driver.load(statements)

    def finish(self, writes: Sequence[Write]) -> None:
        self._driver.finish(writes)

    def drop(self) -> None:
        self._driver.drop()


class Desk:
    """A ledger with one account."""

    def __init__(self, database: Database, ledger: Ledger, driver: Slow, access: Access) -> None:
        self.database = database
        self.ledger = ledger
        self.driver = driver
        self.access = access

    def hold(self, id: str, asked: Quote, patience: Patience = AT_ONCE, call: Call = CALL) -> reserved:
        return reserved(self.ledger, id, self.access, call, asked, *patience, "https://ai.example/top-up")

    def figures(self) -> tuple[int, int]:
        """(posted, held)"""
        with self.database.reader.begin() as connection:
            return tuple(connection.execute(select(accounts.c.posted, accounts.c.held)).one())


def asked(cap: int, *, windowed: bool = False, strict: bool = False, call: Call = CALL) -> Quote:
    given = Call("openai-chat", "m", {}, call.raw, text_bytes=call.text_bytes, cap_tokens=cap, strict_cap=strict)
    return quote(given, bound([ROUTE]), "m", 10**6, 1, windowed=windowed)


def at(tmp_path: Path, nano: int, work: Callable[[Desk], Awaitable[None]]) -> None:
    """Run the work at a desk whose account has so much; afterwards nothing is held and the books are right."""

    async def run() -> None:
        database = open_database(f"sqlite:///{tmp_path}/x.db", mode="live")
        driver = Slow(database.driver())
        ledger = Ledger(driver, "gateway:test")
        ledger.start()
        made = credentials.create_account(database)
        if nano:
            await ledger.submit(Credit(made.account_id, "test:1", nano, "deposits:test"))
        desk = Desk(database, ledger, driver, Access(made.account_id, None))
        try:
            await work(desk)
        finally:
            driver.gate.set()
            await ledger.close()
        assert desk.figures()[1] == 0
        assert audit.verify(database).ok
        database.close()

    asyncio.run(run())


def row(desk: Desk, id: str) -> RequestRow:
    return receipt(desk.access.account_id, None, id, 0)


def test_a_request_cancelled_between_asking_and_getting_leaves_nothing_held(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        desk.driver.gate.clear()

        async def request() -> None:
            async with desk.hold("gen-1", asked(1_000)):
                pytest.fail("it was cancelled before")

        task = asyncio.ensure_future(request())
        await asyncio.sleep(0)  # it has asked; the ledger stands at the gate
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        desk.driver.gate.set()

    at(tmp_path, USD, work)


def test_leaving_without_a_settlement_releases(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        with pytest.raises(RuntimeError):
            async with desk.hold("gen-1", asked(1_000)) as held:
                assert desk.figures() == (USD, held.amount)
                assert (held.amount, held.balance) == (1_100 * 1_000, USD)
                raise RuntimeError

    at(tmp_path, USD, work)


def test_a_settlement_charges_once_and_ends_the_hold(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        async with desk.hold("gen-1", asked(1_000)) as held:
            result = await held.settle(5_000, row(desk, "gen-1"))
            held.release()
        assert (result.amount, result.held, desk.figures()) == (5_000, 0, (USD - 5_000, 0))

    at(tmp_path, USD, work)


def test_what_others_hold_is_waited_for(tmp_path: Path) -> None:
    """1,000 tokens' worth of credit; two requests that hold 800 each and use 10."""

    async def work(desk: Desk) -> None:
        order: list[str] = []

        async def second() -> None:
            async with desk.hold("gen-2", asked(700, strict=True), FOR_EVER) as held:
                order.append("second holds")
                await held.settle(10_000, row(desk, "gen-2"))

        async with desk.hold("gen-1", asked(700, strict=True)) as held:
            waiting = asyncio.ensure_future(second())
            for _ in range(3):
                await held.ledger.submit(Credit(desk.access.account_id, "test:1", 1_000_000, "deposits:test"))
            order.append("first ends")
            await held.settle(10_000, row(desk, "gen-1"))
        await waiting
        assert order == ["first ends", "second holds"]
        assert desk.figures() == (980_000, 0)

    at(tmp_path, 1_000_000, work)


@pytest.mark.parametrize("patience", [AT_ONCE, (20, lambda: False)], ids=["over", "nobody waits"])
def test_the_wait_has_an_end(tmp_path: Path, patience: Patience) -> None:
    async def work(desk: Desk) -> None:
        async with desk.hold("gen-1", asked(700, strict=True)):
            with pytest.raises(InsufficientCredits) as refusal:
                async with desk.hold("gen-2", asked(700, strict=True), patience):
                    pytest.fail("there is no room")
        assert "held by running requests" in refusal.value.message
        assert not isinstance(refusal.value, EmptyBalance)

    at(tmp_path, 1_000_000, work)


def test_what_the_balance_never_covers_is_refused_without_a_wait(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        async with desk.hold("gen-1", asked(700, strict=True)):
            with pytest.raises(InsufficientCredits):
                async with desk.hold("gen-2", asked(1_000, strict=True), FOR_EVER):
                    pytest.fail("there is no room")

    at(tmp_path, 1_000_000, work)


def test_an_empty_balance_is_told_apart(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        with pytest.raises(EmptyBalance) as refusal:
            async with desk.hold("gen-1", asked(100), FOR_EVER):
                pytest.fail("there is nothing")
        assert '"code":402' in refusal.value.message
        assert "insufficient credits" in refusal.value.message

    at(tmp_path, 0, work)


def test_a_bound_by_bytes_that_does_not_fit_is_sharpened(tmp_path: Path) -> None:
    """6,000 bytes of prose are some 1,300 tokens: a balance for 3,000 is enough."""

    async def work(desk: Desk) -> None:
        prose = b"The quick brown fox jumps over the lazy dog. " * 133
        call = Call("openai-chat", "m", {}, prose, text_bytes=len(prose))
        quoted = asked(300, call=call)
        async with desk.hold("gen-1", quoted, call=call) as held:
            assert quoted.input_tokens < 2_200
            assert held.amount == quoted.most

    at(tmp_path, 3_000_000, work)


def test_a_window_is_an_eighth_and_grows(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        quoted = asked(100_000, windowed=True)
        async with desk.hold("gen-1", quoted) as held:
            assert held.amount == USD // 80
            before = held.amount
            assert await held.extend(1_000, 2_000_000)
            assert held.amount == before + 2_000_000
            assert desk.figures() == (USD // 10, held.amount)
            assert not await held.extend(USD, USD)

    at(tmp_path, USD // 10, work)


def test_a_closed_ledger_refuses(tmp_path: Path) -> None:
    async def work(desk: Desk) -> None:
        await desk.ledger.close()
        with pytest.raises(LedgerUnavailable):
            async with desk.hold("gen-1", asked(100)):
                pytest.fail("the ledger is closed")

    at(tmp_path, USD, work)
