"""Refunds on both databases: paid once whatever the wallet does, killed at every act, by two processes at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias

import pytest

from perquery.payouts.wallet import Look
from perquery.store.operations import Release
from perquery.store.refunds import RefundRow
from tests.autotopup.world import Killed
from tests.refunds.world import DOLLAR, HOUR_MS, PLANS, Plan, Process, World, invoice
from tests.topups.conftest import RunTill, Till

SATS = 5_000  # five dollars
FULL = 10 * DOLLAR + DOLLAR // 2
FEE = 1_000_000  # a satoshi
LEFT = FULL - 5 * DOLLAR - FEE - (5 * DOLLAR + FEE) // 20
ACTS = 20  # of a process, until it has nothing more to do
RunWorld: TypeAlias = Callable[[Callable[[World], Awaitable[None]]], None]


@pytest.fixture
def play(run: RunTill) -> RunWorld:
    """Runs a test body with a world; its books are right at the end."""

    def runner(body: Callable[[World], Awaitable[None]]) -> None:
        async def main(till: Till) -> None:
            world = World(till)
            await world.deposit(world.account)
            await body(world)
            world.check()

        run(main)

    return runner


async def asked(world: World, process: Process | None = None, number: int = 1) -> RefundRow:
    return await (process or Process(world)).ask(world.account, invoice(world.till, SATS, number))


async def only(world: World) -> RefundRow:
    (row,) = await world.rows()
    return row


def test_paid_out_with_its_bonus(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        row = await asked(world, process)
        assert row.state == "held"
        await process.round()
        paid = await only(world)
        assert (paid.state, paid.fee_msat, paid.charged_nano) == ("paid", 1_000, 5 * DOLLAR + FEE)
        assert (world.posted(), len(world.wallet.payments)) == (LEFT, 1)
        for _ in range(3):
            await process.round()
        assert (world.posted(), len(world.wallet.payments)) == (LEFT, 1)

    play(body)


@pytest.mark.parametrize("plan", PLANS)
def test_whatever_the_wallet_does_its_record_decides(plan: Plan, play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        world.wallet.plan = plan
        await asked(world, process)
        await process.round()
        if plan in ("pays slowly", "never hears"):
            assert (await only(world)).state == "unknown" and world.posted() == FULL
        await world.until_over()
        row, paid = await only(world), len(world.wallet.payments)
        assert (row.state, paid) == (("failed", 0) if plan in ("never hears", "declines", "fails") else ("paid", 1))
        assert world.posted() == (LEFT if paid else FULL)

    play(body)


@pytest.mark.parametrize("plan", ["pays", "pays slowly", "pays, answer lost", "fails"])
def test_killed_at_every_act_it_goes_on_and_is_paid_at_most_once(plan: Plan, play: RunWorld) -> None:
    async def body(world: World) -> None:
        finished = False
        for dies_at in range(1, ACTS):
            account = world.account = world.till.account()
            await world.deposit(account)
            world.wallet.plan, before = plan, len(world.wallet.payments)
            process = Process(world, dies_at)
            try:
                await asked(world, process, dies_at)
            except Killed:
                pass
            await process.round()
            finished = not process.life.dead
            world.check()
            await world.until_over()
            rows, paid = await world.rows(), len(world.wallet.payments) - before
            assert [row.state for row in rows] in ([], ["failed"], ["paid"])
            assert paid == [row.state for row in rows].count("paid") <= 1
            assert world.posted() == (LEFT if paid else FULL)
            if finished:
                break
        assert finished

    play(body)


def test_two_processes_at_once_send_once(play: RunWorld) -> None:
    async def body(world: World) -> None:
        for number in range(5):
            processes = [Process(world) for _ in range(3)]
            await asked(world, processes[0], number + 1)
            await asyncio.gather(*(process.round() for process in processes))
            await world.until_over()
            assert len(world.wallet.payments) == number + 1
            await world.deposit(world.account, name=f"again{number}")

    play(body)


def test_a_wallet_that_is_down_is_waited_for_while_the_invoice_lives(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        world.wallet.down = True
        await asked(world, process)
        await process.round()
        assert (await only(world)).state == "held"
        world.wallet.down = False
        world.till.clock.now_ms += HOUR_MS // 2
        await process.round()
        assert (await only(world)).state == "paid"
        await world.deposit(world.account, name="again")
        await asked(world, process, 2)
        world.wallet.down = True
        world.till.clock.now_ms += HOUR_MS
        await process.round()
        row = (await world.rows())[0]
        assert (row.state, row.words) == ("failed", "It could not be sent in time.")
        assert (world.posted(), len(world.wallet.payments)) == (LEFT + FULL, 1)

    play(body)


def test_what_was_sent_stays_held_while_the_wallet_is_silent(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        world.wallet.plan = "pays, answer lost"
        world.wallet.falls_silent = True
        await asked(world, process)
        await process.round()
        world.till.clock.now_ms += 100 * HOUR_MS
        await process.round()
        assert (await only(world)).state in ("sent", "unknown") and world.posted() == FULL
        world.wallet.down = world.wallet.falls_silent = False
        await world.until_over()
        assert (await only(world)).state == "paid" and world.posted() == LEFT

    play(body)


@pytest.mark.parametrize("lie", [Look("purse", "paid", 1), Look("another", "failed"), Look("another", "absent")])
def test_a_record_that_cannot_be_of_this_payment_ends_nothing(play: RunWorld, lie: Look) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        world.wallet.plan = "pays slowly"
        await asked(world, process)
        await process.round()
        world.wallet.lie = lie
        world.till.clock.now_ms += 100 * HOUR_MS
        await process.round()
        assert (await only(world)).state == "unknown" and world.posted() == FULL
        world.wallet.lie = None
        await world.until_over()
        assert (await only(world)).state == "paid"

    play(body)


def test_what_the_wallet_has_said_it_pays_is_not_given_back_because_its_record_is_gone(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        world.wallet.plan = "pays slowly"
        await asked(world, process)
        await process.round()
        world.wallet.lie = Look("purse", "absent")
        world.till.clock.now_ms += 100 * HOUR_MS
        await process.round()
        assert (await only(world)).state == "unknown" and world.posted() == FULL
        world.wallet.lie = None
        await world.until_over()
        assert (await only(world)).state == "paid" and world.posted() == LEFT

    play(body)


def test_a_fee_above_what_was_held_is_the_houses(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        world.wallet.fee_msat = 10**9
        row = await asked(world, process)
        await process.round()
        assert (await only(world)).charged_nano == row.most_nano

    play(body)


def test_a_payment_that_was_forgotten_is_not_made_again(play: RunWorld) -> None:
    """As after a database that was restored from an older copy."""

    async def body(world: World) -> None:
        process = Process(world)
        row = await asked(world, process)
        world.wallet.records[row.payment_hash] = Look("purse", "paid", SATS * 1_000, 1_000, None)
        await process.round()
        assert (await only(world)).state == "paid"
        assert (world.wallet.payments, world.posted()) == ([], LEFT)

    play(body)


def test_a_hold_that_comes_too_late_is_given_back(play: RunWorld) -> None:
    """By a process that slept between deciding to hold and doing it."""

    async def body(world: World) -> None:
        process = Process(world)
        row = await asked(world, process)
        world.wallet.plan = "declines"
        await process.round()
        assert (await only(world)).state == "failed" and world.posted() == FULL
        await process.runner.hold(row)
        assert (await world.till.ledger.submit(Release("another", world.account, None))).held > 0
        await process.round()
        assert (await world.till.ledger.submit(Release("another", world.account, None))).held == 0

    play(body)


def test_a_proof_is_kept_where_it_is_one(play: RunWorld) -> None:
    async def body(world: World) -> None:
        for number, preimage in ((7, (7).to_bytes(32, "big").hex()), (8, "00" * 32)):
            process = Process(world)
            world.wallet.plan = "pays slowly"
            row = await asked(world, process, number)
            await process.round()
            world.wallet.arrive()
            known = world.wallet.records[row.payment_hash]
            world.wallet.records[row.payment_hash] = replace(known, preimage=preimage)
            world.till.clock.now_ms += HOUR_MS
            await process.round()
            assert (await world.rows())[0].preimage == (preimage if number == 7 else None)
            await world.deposit(world.account, name=f"again{number}")

    play(body)
