"""Housekeeping: holds of lost gateways end, days' costs are booked once, old answers and leases go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from sqlalchemy import insert, select

from perquery.store import sweep
from perquery.store.database import Database
from perquery.store.ledger import LEASE_MS, Ledger
from perquery.store.operations import Operation, Renew
from perquery.store.tables import leases, replies
from tests.store.bank import Bank, Customer
from tests.store.calls import called
from tests.store.clock import MONDAY, Clock, apply_all

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR


def run(bank: Bank, work: Callable[[Database, Ledger], Coroutine[Any, Any, int]]) -> int:
    async def once() -> int:
        async with bank.ledger() as ledger:
            return await work(bank.database, ledger)

    return asyncio.run(once())


def lost(bank: Bank, clock: Clock, *operations: Operation) -> None:
    """What a gateway did before it died."""
    apply_all(bank.database, *operations)
    clock.now_ms += LEASE_MS + 1


def test_holds_of_a_lost_gateway_end_with_a_receipt(bank: Bank, clock: Clock) -> None:
    customer = bank.customer()
    lost(bank, clock, customer.credit(100), customer.hold("a", 60), customer.hold("b", 70, least=5))
    assert run(bank, sweep.sweep) == 2
    assert run(bank, sweep.sweep) == 0
    assert bank.figures(customer.id) == (100, 0, 0, 0)
    assert bank.key_figures(customer.key_id) == (0, 0, 0)
    receipt = bank.receipts()["b"]
    assert (receipt["rule"], receipt["error_code"], receipt["key_id"]) == (
        "gateway_lost",
        "gateway_lost",
        customer.key_id,
    )
    assert (receipt["cost_nano"], receipt["held_nano"], receipt["unbilled_nano"]) == (0, 40, 70)
    assert receipt["at"] == MONDAY


def test_holds_of_a_living_gateway_stay(bank: Bank, clock: Clock) -> None:
    customer = bank.customer()
    apply_all(bank.database, customer.credit(100), customer.hold("a", 60))
    clock.now_ms += LEASE_MS
    assert run(bank, sweep.sweep) == 0
    assert bank.holds() == {"a": 60}


def test_two_gateways_sweep_at_once(bank: Bank, clock: Clock) -> None:
    customer = bank.customer()
    lost(bank, clock, customer.credit(1_000), *(customer.hold(f"h{number}", 10) for number in range(20)))

    async def both() -> list[int]:
        async with bank.ledger() as one, bank.ledger() as two:
            return await asyncio.gather(*(sweep.sweep(bank.database, ledger) for ledger in (one, two, one)))

    assert sum(asyncio.run(both())) == 20
    assert bank.figures(customer.id) == (1_000, 0, 0, 0)


def test_nothing_to_sweep(bank: Bank) -> None:
    assert run(bank, sweep.sweep) == 0


def costs(bank: Bank) -> dict[str, int]:
    return {reference: amount for reference, _, target, amount in bank.moves() if target == "costs"}


def spend(bank: Bank, customer: Customer, *calls: tuple[int, str | None, int]) -> None:
    """Calls at a time, by a provider, that took so much upstream."""
    for number, (at_ms, provider, upstream) in enumerate(calls):
        apply_all(
            bank.database,
            *called(customer.id, None, at_ms, 1, number=number, provider=provider, upstream_nano=upstream),
        )


def test_a_days_costs_are_booked_once_it_is_over(bank: Bank, clock: Clock) -> None:
    customer = bank.customer()
    apply_all(bank.database, customer.credit(1_000))
    spend(bank, customer, (MONDAY, "x", 5), (MONDAY + DAY - 1, "x", 7), (MONDAY + HOUR, "y", 2), (MONDAY, None, 0))
    spend(bank, customer, (MONDAY + DAY, "x", 100))
    clock.now_ms = MONDAY + DAY + HOUR  # a call of Monday may still run
    assert run(bank, sweep.book_upstream_costs) == 0
    clock.now_ms = MONDAY + DAY + sweep.LONGEST_CALL_MS
    assert run(bank, sweep.book_upstream_costs) == 2
    assert run(bank, sweep.book_upstream_costs) == 0
    assert costs(bank) == {"cost:x:2026-01-05": 12, "cost:y:2026-01-05": 2}


def test_days_on_which_nothing_ran_are_made_up_for(bank: Bank, clock: Clock) -> None:
    customer = bank.customer()
    apply_all(bank.database, customer.credit(1_000))
    spend(bank, customer, (MONDAY, "x", 5), (MONDAY + 2 * DAY, "x", 7))
    clock.now_ms = MONDAY + 9 * DAY
    assert run(bank, sweep.book_upstream_costs) == 2
    spend(bank, customer, (MONDAY + 9 * DAY, "x", 1))
    clock.now_ms = MONDAY + 12 * DAY
    assert run(bank, sweep.book_upstream_costs) == 1
    assert list(costs(bank)) == ["cost:x:2026-01-05", "cost:x:2026-01-07", "cost:x:2026-01-14"]


def test_what_costs_nothing_is_no_transfer(bank: Bank, clock: Clock) -> None:
    customer = bank.customer()
    apply_all(bank.database, customer.credit(1_000))
    spend(bank, customer, (MONDAY, "local", 0))
    clock.now_ms = MONDAY + 3 * DAY
    assert run(bank, sweep.book_upstream_costs) == 0


def test_old_answers_and_leases_are_forgotten(bank: Bank, clock: Clock) -> None:
    customer = bank.customer()
    apply_all(bank.database, Renew())
    with bank.database.writer.begin() as connection:
        for name, age in (("old", DAY + 1), ("young", DAY)):
            reply = {
                "account_id": customer.id,
                "idempotency_key": name,
                "body_hash": b"",
                "request_id": "r",
                "owner": "o",
            }
            connection.execute(insert(replies).values(reply | {"created_at": MONDAY - age}))
            connection.execute(insert(leases).values(name=name, holder="h", expires_at=MONDAY - age))
    assert sweep.forget_old(bank.database) == 1
    with bank.database.reader.begin() as connection:
        assert list(connection.scalars(select(replies.c.idempotency_key))) == ["young"]
        assert set(connection.scalars(select(leases.c.name))) == {"young", "gateway:test"}
