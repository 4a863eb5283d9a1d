"""The ledger's thread: batches, lost answers, bad operations, databases that are away, leases, keys."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perquery.errors import InternalError, LedgerUnavailable
from perquery.store import drivers, sweep
from perquery.store import ledger as ledgers
from perquery.store.ledger import LEASE_MS, RENEW_MS
from perquery.store.operations import WHOLE, Credit, Extend, Operation, Release, Renew, RequestRow, Result
from tests.store.bank import Bank, Customer
from tests.store.calls import row
from tests.store.clock import Clock
from tests.store.faults import Fault, Faulty, together


def status(answer: Result | BaseException) -> str:
    return answer.status if isinstance(answer, Result) else type(answer).__name__


def test_a_call_from_credit_to_receipt(bank: Bank) -> None:
    customer = bank.customer()

    async def run() -> None:
        async with bank.ledger() as ledger:
            await ledger.submit(customer.credit(1_000))
            assert (await ledger.submit(customer.hold("a", 100))).free == 900
            assert (await ledger.submit(Extend("a", customer.id, customer.key_id, 50, 50, WHOLE, WHOLE))).held == 150
            assert bank.holds() == {"a": 150}
            assert (await ledger.submit(customer.settle("a", 120))).balance == 880

    asyncio.run(run())
    assert bank.figures(customer.id) == (880, 0, 0, 0)
    assert bank.key_figures(customer.key_id) == (120, 0, 120)
    assert bank.holds() == {}
    receipt = bank.receipts()["a"]
    assert (receipt["held_nano"], receipt["cost_nano"], receipt["shortfall_nano"]) == (150, 120, 0)


def test_what_waits_is_committed_once(bank: Bank) -> None:
    customers = [bank.customer() for _ in range(5)]
    driver = Faulty(bank.database.driver())
    operations = [customer.credit(10, f"test:{number}") for number in range(40) for customer in customers]

    async def run() -> None:
        async with bank.ledger(driver) as ledger:
            answers = await together(ledger, driver, *operations)
            assert {status(answer) for answer in answers} == {"APPLIED"}

    asyncio.run(run())
    assert driver.commits == 2
    assert [bank.figures(customer.id)[0] for customer in customers] == [400] * 5


@pytest.mark.parametrize("fault", ["lost before", "lost after"])
def test_a_lost_answer_to_a_commit_changes_nothing(bank: Bank, fault: Fault) -> None:
    customer = bank.customer()
    driver = Faulty(bank.database.driver(), None, None, None, fault, fault)

    async def run() -> list[Result | BaseException]:
        async with bank.ledger(driver) as ledger:
            await ledger.submit(customer.credit(1_000))
            await ledger.submit(customer.hold("a", 100))
            return await together(
                *(ledger, driver, customer.credit(500, "test:2"), customer.hold("b", 50)),
                *(customer.settle("a", 2_000), customer.hold("c", 60), customer.release("c")),
            )

    answers = asyncio.run(run())
    again = "REPLAYED" if fault == "lost after" else "APPLIED"
    assert [status(answer) for answer in answers] == [again, again, again, "REFUSED", "REFUSED"]
    assert bank.figures(customer.id) == (50, 50, 0, 0)
    assert bank.receipts()["a"]["shortfall_nano"] == 550


def test_a_hold_that_was_released_in_its_own_batch_stays_released(bank: Bank) -> None:
    customer = bank.customer()
    driver = Faulty(bank.database.driver(), None, None, "lost after")

    async def run() -> None:
        async with bank.ledger(driver) as ledger:
            await ledger.submit(customer.credit(1_000))
            await together(ledger, driver, customer.hold("a", 60), customer.release("a"))

    asyncio.run(run())
    assert bank.figures(customer.id) == (1_000, 0, 0, 0)
    assert bank.holds() == {}


def _row(customer: Customer, **changes: Any) -> RequestRow:
    return row(customer.id, customer.key_id, "a", 1, **changes)


BAD: dict[str, Callable[[Customer], Operation]] = {
    "a hold's id of another account": lambda customer: customer.hold("taken", 1),
    "a negative charge": lambda customer: customer.settle("a", -5),
    "a negative credit": lambda customer: customer.credit(-5, "test:bad"),
    "nothing": lambda customer: customer.credit(0, "test:bad"),
    "more than there is room for": lambda customer: customer.credit(2**70, "test:bad"),
    "a balance beyond the last number": lambda customer: customer.credit(2**63 - 1, "test:bad"),
    "half a character": lambda customer: customer.settle("a", 5, upstream_id="\ud800"),
    "half a character in a reference": lambda customer: customer.credit(5, "\ud800"),
    "an object in a column": lambda customer: customer.settle("a", 5, upstream_id={}),
    "a receipt without a column": lambda customer: Release("a", customer.id, None, record=_row(customer, model=None)),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_one_bad_operation_fails_alone(
    bank: Bank, bad: Callable[[Customer], Operation], caplog: pytest.LogCaptureFixture
) -> None:
    customer, other = bank.customer(), bank.customer()
    driver = Faulty(bank.database.driver())

    async def run() -> list[Result | BaseException]:
        async with bank.ledger(driver) as ledger:
            for operation in (
                customer.credit(1_000),
                customer.hold("a", 100),
                other.credit(10),
                other.hold("taken", 1),
            ):
                await ledger.submit(operation)
            answers = await together(
                *(ledger, driver, customer.credit(1, "test:2"), customer.hold("b", 7), bad(customer)),
                *(customer.settle("b", 3), other.credit(1, "test:3")),
            )
            assert status(await ledger.submit(customer.release("a"))) == "APPLIED"
            assert status(await ledger.submit(customer.credit(1, "test:4"))) == "APPLIED"
            return answers

    answers = asyncio.run(run())
    assert [status(answer) for answer in answers] == ["APPLIED", "APPLIED", "InternalError", "APPLIED", "APPLIED"]
    assert bank.figures(customer.id) == (999, 0, 0, 0)
    assert bank.figures(other.id) == (11, 1, 0, 0)
    assert [record.levelno for record in caplog.records if "refused a" in record.message] == [logging.ERROR]


def test_a_bad_operation_by_itself_says_so(bank: Bank) -> None:
    customer = bank.customer()

    async def run() -> None:
        async with bank.ledger() as ledger:
            with pytest.raises(InternalError):
                await ledger.submit(customer.credit(0))

    asyncio.run(run())


def test_a_character_that_postgresql_cannot_store_fails_alone(postgres_url: str) -> None:
    bank = Bank(postgres_url)
    customer = bank.customer()

    async def run() -> None:
        async with bank.ledger() as ledger:
            await ledger.submit(customer.credit(10))
            with pytest.raises(InternalError):
                await ledger.submit(customer.credit(1, "a\0b"))
            assert (await ledger.submit(customer.credit(1, "test:2"))).posted == 11

    asyncio.run(run())
    bank.close()


# -- a database that is away ----------------------------------------------------------------------------------


def test_while_it_is_away_holds_are_refused_and_ends_are_kept(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "PATIENCE_S", 0.15)
    customer = bank.customer()
    lost: list[Fault] = ["lost before"] * 4
    driver = Faulty(bank.database.driver(), None, None, *lost)

    async def run() -> None:
        async with bank.ledger(driver) as ledger:
            await ledger.submit(customer.credit(100))
            await ledger.submit(customer.hold("a", 10))
            settled = ledger.submit(customer.settle("a", 4))
            extended = ledger.submit(Extend("a", customer.id, customer.key_id, 1, 1, WHOLE, WHOLE))
            with pytest.raises(LedgerUnavailable):
                await ledger.submit(customer.hold("b", 10))
            assert ledger.down
            assert (await settled).amount == 4
            assert not ledger.down
            await asyncio.wait([extended])
            assert isinstance(extended.exception(), LedgerUnavailable)

    asyncio.run(run())
    assert bank.figures(customer.id) == (96, 0, 0, 0)


def test_closing_does_not_wait_for_ever(bank: Bank) -> None:
    customer = bank.customer()
    lost: list[Fault] = ["lost before"] * 1_000
    driver = Faulty(bank.database.driver(), None, *lost)

    async def run() -> None:
        async with bank.ledger(driver) as ledger:
            await ledger.submit(Renew())
            credited = ledger.submit(customer.credit(1))
            await ledger.close(patience_s=0.05)
            with pytest.raises(LedgerUnavailable):
                await credited
            with pytest.raises(LedgerUnavailable):
                await ledger.submit(customer.credit(1))

    asyncio.run(run())


def test_closing_finishes_what_waits(bank: Bank) -> None:
    customer = bank.customer()

    async def run() -> list[Result]:
        async with bank.ledger() as ledger:
            waiting = [ledger.submit(customer.credit(1, f"test:{number}")) for number in range(700)]
            ledger.post(customer.credit(1, "test:posted"))
        return await asyncio.gather(*waiting)

    assert {answer.status for answer in asyncio.run(run())} == {"APPLIED"}
    assert bank.figures(customer.id)[0] == 701


@pytest.mark.parametrize("full_for", [1, 3])
def test_a_disk_that_is_full_for_a_while(
    migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_for: int
) -> None:
    """What had been written of a batch when there was no more room is undone before the batch is sent again."""
    bank = Bank(f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'perquery.db')}")
    customer = bank.customer()
    whole, connections = drivers.connect_sqlite, iter(range(100))

    def first_ones_full(path: str) -> sqlite3.Connection:
        connection = whole(path)
        if next(connections) < full_for:
            connection.execute("PRAGMA max_page_count = 1")  # as many as there are
        return connection

    monkeypatch.setattr(drivers, "connect_sqlite", first_ones_full)
    driver = Faulty(bank.database.driver())
    credits = [customer.credit(1, f"test:{number:0200}") for number in range(300)]

    async def run() -> list[Result | BaseException]:
        async with bank.ledger(driver) as ledger:
            return await together(ledger, driver, *credits)

    assert {status(answer) for answer in asyncio.run(run())} == {"APPLIED"}
    assert next(connections) == full_for + 1
    assert bank.figures(customer.id)[0] == 300
    bank.verified()
    bank.close()


# -- requests that leave ------------------------------------------------------------------------------------


@pytest.mark.parametrize("posted", ["in the same batch", "in a later one"])
def test_a_request_cancelled_while_the_ledger_answers_leaves_nothing(bank: Bank, posted: str) -> None:
    customer = bank.customer()
    driver = Faulty(bank.database.driver())

    async def run() -> None:
        async with bank.ledger(driver) as ledger:
            await ledger.submit(customer.credit(100))
            driver.stop()
            if posted == "in the same batch":
                renewed = ledger.submit(Renew())
                await driver.stopped()
            asking = asyncio.ensure_future(_wait(ledger.submit(customer.hold("a", 60))))
            await asyncio.sleep(0)
            if posted == "in a later one":
                await driver.stopped()
            asking.cancel()
            ledger.post(customer.release("a"))
            driver.go_on()
            if posted == "in the same batch":
                await renewed
            assert (await ledger.submit(customer.hold("b", 100))).status == "APPLIED"

    asyncio.run(run())
    assert bank.holds() == {"b": 100}


async def _wait(answer: asyncio.Future[Result]) -> Result:
    return await answer


# -- leases ---------------------------------------------------------------------------------------------------


def test_a_gateway_that_works_keeps_its_lease(bank: Bank, clock: Clock) -> None:
    customer = bank.customer()

    async def run() -> None:
        async with bank.ledger() as alive, bank.ledger() as other:
            await alive.submit(customer.credit(100))
            await alive.submit(customer.hold("a", 60))
            for _ in range(20):
                clock.now_ms += RENEW_MS
                await alive.submit(Renew())
                assert await sweep.sweep(bank.database, other) == 0

    asyncio.run(run())
    assert bank.holds() == {"a": 60}


def test_a_process_that_was_paused_settles_late_and_once(bank: Bank, clock: Clock) -> None:
    customer = bank.customer()

    async def run() -> None:
        async with bank.ledger() as paused, bank.ledger() as other:
            await paused.submit(customer.credit(100))
            await paused.submit(customer.hold("a", 60))
            await paused.submit(customer.hold("b", 30))
            clock.now_ms += LEASE_MS + 1
            assert await sweep.sweep(bank.database, other) == 2
            assert bank.figures(customer.id) == (100, 0, 0, 0)
            assert bank.receipts()["a"]["rule"] == "gateway_lost"
            assert (await paused.submit(customer.settle("a", 25))).status == "APPLIED"
            assert (await paused.submit(customer.settle("a", 25))).status == "REPLAYED"
            assert (await paused.submit(customer.settle("b", 0))).amount == 0
            assert (await paused.submit(customer.settle("b", 0))).amount == 0
            await paused.submit(customer.hold("c", 10))
            assert await sweep.sweep(bank.database, other) == 0

    asyncio.run(run())
    assert bank.figures(customer.id) == (75, 10, 0, 0)
    receipt = bank.receipts()["a"]
    assert (receipt["rule"], receipt["cost_nano"], receipt["held_nano"]) == ("complete", 25, 60)
    assert receipt["unbilled_nano"] == 0


def test_a_process_that_was_paused_does_not_sweep_itself(bank: Bank, clock: Clock) -> None:
    customer = bank.customer()

    async def run() -> None:
        async with bank.ledger() as paused:
            await paused.submit(customer.credit(100))
            await paused.submit(customer.hold("a", 60))
            clock.now_ms += LEASE_MS + 1
            assert await sweep.sweep(bank.database, paused) == 0
            mine = Release("a", customer.id, customer.key_id, if_lapsed=True)
            assert (await paused.submit(mine)).reason == "no_hold"

    asyncio.run(run())
    assert bank.holds() == {"a": 60}


def test_the_sweep_and_a_late_settlement_in_one_batch(bank: Bank, clock: Clock) -> None:
    customer = bank.customer()
    driver = Faulty(bank.database.driver())

    async def run() -> list[Result | BaseException]:
        async with bank.ledger() as gone, bank.ledger(driver) as ledger:
            await gone.submit(customer.credit(100))
            await gone.submit(customer.hold("a", 60))
            clock.now_ms += LEASE_MS + 1
            lost = Release(
                "a", customer.id, customer.key_id, if_lapsed=True, record=_row(customer, rule="gateway_lost")
            )
            return await together(ledger, driver, lost, customer.settle("a", 25), customer.settle("a", 25))

    assert [status(answer) for answer in asyncio.run(run())] == ["APPLIED", "APPLIED", "REPLAYED"]
    receipt = bank.receipts()["a"]
    assert (receipt["rule"], receipt["cost_nano"], receipt["held_nano"]) == ("complete", 25, 60)


def test_two_free_settlements_in_one_batch(bank: Bank) -> None:
    customer = bank.customer()
    driver = Faulty(bank.database.driver())

    async def run() -> list[Result | BaseException]:
        async with bank.ledger(driver) as ledger:
            await ledger.submit(customer.credit(100))
            await ledger.submit(customer.hold("a", 60))
            return await together(ledger, driver, customer.settle("a", 0), customer.settle("a", 0))

    assert not any(isinstance(answer, BaseException) for answer in asyncio.run(run()))
    assert bank.receipts()["a"]["held_nano"] == 60


def test_a_jobs_hold_is_never_swept(bank: Bank, clock: Clock) -> None:
    customer = bank.customer()

    async def run() -> None:
        async with bank.ledger() as gone, bank.ledger() as other:
            await gone.submit(customer.credit(100))
            asked = customer.hold("a", 60)
            asked.owner = "job:1"
            await gone.submit(asked)
            clock.now_ms += 10 * LEASE_MS
            assert await sweep.sweep(bank.database, other) == 0
            assert (await other.submit(Release("a", customer.id, customer.key_id, if_lapsed=True))).reason == "no_hold"
            assert bank.holds() == {"a": 60}
            await other.submit(Release("a", customer.id, customer.key_id))  # its verdict

    asyncio.run(run())
    assert bank.holds() == {}


# -- keys, between two requests of two workers -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"deleted_at": 1}, "no_key"),
        ({"expire_at": 1}, "key_expired"),
        ({"models": '["another/model"]'}, "model_not_allowed"),
        ({"limit_nano": 45}, "key_limit"),
    ],
)
def test_a_change_of_a_key_holds_at_once_everywhere(bank: Bank, change: dict[str, Any], reason: str) -> None:
    customer = bank.customer()

    async def run() -> None:
        async with bank.ledger() as one, bank.ledger() as two:
            await one.submit(customer.credit(1_000))
            await one.submit(customer.hold("a", 40))
            await two.submit(customer.hold("b", 5))
            bank.set_key(customer.key_id, **change)
            for worker, id in ((one, "c"), (two, "d")):
                assert (await worker.submit(customer.hold(id, 10))).reason == reason
            assert (await two.submit(customer.settle("a", 40))).amount == 40  # what runs is still paid

    asyncio.run(run())


def test_two_workers_spend_one_limit(bank: Bank) -> None:
    customer = bank.customer()
    bank.set_key(customer.key_id, limit_nano=100)

    async def run() -> None:
        async with bank.ledger() as one, bank.ledger() as two:
            await one.submit(customer.credit(1_000))
            asked = [
                worker.submit(customer.hold(f"{name}{number}", 10))
                for number in range(20)
                for name, worker in (("a", one), ("b", two))
            ]
            answers = await asyncio.gather(*asked)
            assert sum(answer.status == "APPLIED" for answer in answers) == 10
            assert {answer.reason for answer in answers} == {None, "key_limit"}

    asyncio.run(run())
    assert bank.key_figures(customer.key_id) == (0, 100, 0)


# -- crowds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_two_hundred_callers_never_overspend_a_small_balance(bank: Bank, workers: int) -> None:
    customer = bank.customer()

    async def call(ledger: ledgers.Ledger, number: int) -> int:
        """What it paid."""
        id = f"call-{number:03}"
        if (await ledger.submit(customer.hold(id, 10))).status == "REFUSED":
            return 0
        if number % 5 == 0:
            ledger.post(customer.release(id))
            return 0
        answer = await ledger.submit(customer.settle(id, 3 + number % 11))
        assert answer.posted >= answer.held >= 0
        return answer.amount

    async def run() -> list[int]:
        async with bank.ledger() as one, bank.ledger() as two:
            await one.submit(customer.credit(700))
            ledgers_used = (one, two)[:workers]
            return await asyncio.gather(*(call(ledgers_used[n % workers], n) for n in range(200)))

    paid = asyncio.run(run())
    assert bank.figures(customer.id) == (700 - sum(paid), 0, 0, 0)
    assert bank.holds() == {}
    assert sum(paid) > 350  # the balance was really fought for


def test_one_credit_sent_by_two_workers_at_once_counts_once(bank: Bank) -> None:
    customer = bank.customer()

    async def run() -> list[Result]:
        async with bank.ledger() as one, bank.ledger() as two:
            same = [Credit(customer.id, f"test:{n}", 10, "deposits:test") for n in range(50)]
            return await asyncio.gather(*(worker.submit(credit) for credit in same for worker in (one, two)))

    answers = asyncio.run(run())
    assert sum(answer.status == "APPLIED" for answer in answers) == 50
    assert bank.figures(customer.id)[0] == 500
