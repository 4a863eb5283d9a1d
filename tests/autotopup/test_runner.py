"""Attempts on both databases: paid once whatever the wallet says, killed at every act, and two processes at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeAlias

import pytest

from perquery import money
from perquery.autotopup import engine, wire
from perquery.nwc import NoAnswer
from perquery.store import invoices, wallets
from perquery.store.wallets import AttemptRow, State
from tests.autotopup.world import ADDRESS, MINUTE_MS, PLANS, Killed, Plan, Process, World, settled_rounds
from tests.topups.conftest import RunTill, Till

TEN = 10 * 10**9
BONUS = TEN // 20
ACTS = 39  # of a process, until it has nothing more to do
RunWorld: TypeAlias = Callable[[Callable[[World], Awaitable[None]]], None]


@pytest.fixture
def play(run: RunTill) -> RunWorld:
    """Runs a test body with a world whose wallet is connected: threshold 5 dollars, amount 10."""

    def runner(body: Callable[[World], Awaitable[None]]) -> None:
        async def main(till: Till) -> None:
            world = World(till)
            await connect(world)
            await body(world)

        run(main)

    return runner


async def connect(world: World, **more: object) -> None:
    asked = {"nwc_url": ADDRESS, "threshold_usd": 5, "topup_amount_usd": 10}
    await Process(world).connections.connect(world.account, asked | more)


async def attempts(world: World) -> list[AttemptRow]:
    return [row for row, _ in (await Process(world).connections.show(world.account)).attempts]


async def last(world: World) -> AttemptRow:
    return (await attempts(world))[0]


def posted(world: World) -> int:
    return world.till.figures(world.account)[0]


def paid_once(world: World) -> None:
    assert len(world.chain.paid) == 1 and posted(world) == TEN + BONUS


def test_a_low_balance_is_topped_up(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        await process.rounds(2)
        paid_once(world)
        ended = await last(world)
        assert (ended.state, ended.words) == ("settled", "The wallet says that it has paid, without proof.")
        await process.rounds(3)
        assert len(await attempts(world)) == 1

    play(body)


def test_a_balance_at_the_threshold_is_left_alone(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        topup = await process.topups.create(world.account, "btc-lightning", 5, "USD")
        world.chain.pay(topup.invoice.payable)
        await process.topups.poll()
        await process.rounds(3)
        assert not await attempts(world)

    play(body)


@pytest.mark.parametrize("plan", PLANS)
def test_whatever_the_wallet_does_an_attempt_is_paid_at_most_once(plan: Plan, play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        world.wallet.plan = plan
        await process.rounds(3)
        world.wallet.plan = "silent"
        await world.until_ended(process)
        assert len(await attempts(world)) == 1
        ended = await last(world)
        if plan in ("pays", "pays slowly", "pays silently", "error, then pays"):
            assert ended.state == "settled"
            paid_once(world)
        else:
            assert (ended.state, posted(world)) == ("failed_final", 0)

    play(body)


def test_what_comes_after_the_end_is_credited_and_told(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        world.wallet.plan = "pays too late"
        await process.rounds(3)
        world.wallet.plan = "silent"
        await world.until_ended(process)
        assert (await last(world)).state == "failed_final"
        world.pass_time(30 * MINUTE_MS)
        await process.topups.poll()
        assert len(world.chain.paid) == 1 and posted(world) == TEN + BONUS
        view = wire.view(await process.connections.show(world.account))
        assert view["attempts"][-1]["words"] == "Paid after all, late, and credited."

    play(body)


@pytest.mark.parametrize("plan", ["pays", "pays silently"])
def test_killed_at_every_act_it_goes_on_and_is_paid_once(plan: Plan, play: RunWorld) -> None:
    """The states in which the deaths leave an attempt show that the acts reach through all of them."""
    seen: set[State] = set()

    async def body(first: World) -> None:
        await Process(first).connections.disconnect(first.account)
        for dies_at in range(1, ACTS + 1):
            world = World(first.till, first.chain)
            world.wallet.plan = plan
            await connect(world)
            paid = len(world.chain.paid)
            await Process(world, dies_at).rounds(4)
            seen.update(row.state for row in await attempts(world))
            process = Process(world)
            await process.rounds(3)
            await world.until_ended(process)
            assert [row.state for row in await attempts(world)] == ["settled"], dies_at
            assert len(world.chain.paid) == paid + 1 and posted(world) == TEN + BONUS, dies_at
            await process.connections.disconnect(world.account)

    play(body)
    reached: set[State] = {"claimed", "invoice_created", "request_signed", "sent", "settled"}
    assert seen >= reached | ({"answered"} if plan == "pays" else {"unknown"})


def test_two_processes_at_once_ask_the_wallet_once(play: RunWorld) -> None:
    async def body(world: World) -> None:
        processes = [Process(world) for _ in range(2)]
        for _ in range(4):
            await settled_rounds(*processes)
        paid_once(world)
        assert len({event["id"] for event in world.wallet.events}) == 1

    play(body)


def test_a_disconnected_wallet_is_asked_no_more_and_what_it_pays_is_credited(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        world.wallet.plan = "pays slowly"
        await process.rounds(1)
        view = await process.connections.disconnect(world.account)
        assert view.wallet is None
        world.pass_time(4 * MINUTE_MS)
        await process.rounds(3)
        paid_once(world)
        assert [row.state for row in await attempts(world)] == ["settled"]
        world.pass_time(24 * 60 * MINUTE_MS)
        await process.rounds(3)
        assert len(await attempts(world)) == 1

    play(body)


def test_disconnected_before_it_was_asked_it_never_is(play: RunWorld) -> None:
    async def body(world: World) -> None:
        for dies_at in range(1, 40):
            await Process(world, dies_at).rounds(1)
            if (found := await attempts(world)) and found[0].state == "request_signed":
                break
        process = Process(world)
        await process.connections.disconnect(world.account)
        await process.rounds(3)
        assert (await last(world)).state == "failed_final" and not world.chain.paid

    play(body)


def test_disconnected_while_it_is_being_asked_it_is_not(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        world.wallet.before_info = lambda: process.connections.disconnect(world.account)
        await process.rounds(3)
        assert not world.wallet.events and (await last(world)).state == "failed_final"

    play(body)


def test_another_wallet_in_its_place_waits_for_the_open_attempt(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        world.wallet.plan = "silent"
        await process.rounds(2)
        await connect(world)
        world.wallet.plan = "pays"
        await process.rounds(3)
        assert [row.state for row in await attempts(world)] == ["unknown"]
        world.pass_time(18 * MINUTE_MS)
        await process.rounds(4)
        assert sorted(row.state for row in await attempts(world)) == ["failed_final", "settled"]
        paid_once(world)

    play(body)


def test_a_rail_that_is_not_heard_ends_nothing(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        world.wallet.plan = "silent"
        await process.rounds(2)
        world.chain.down = True
        world.pass_time(600 * MINUTE_MS)
        await process.rounds(3)
        assert (await last(world)).state == "unknown"
        world.chain.down = False
        for _ in range(2):
            world.pass_time(10_000)
            await process.rounds(2)
        assert (await last(world)).state == "failed_final"

    play(body)


def test_a_rail_that_hangs_holds_up_nobody_elses_attempt(play: RunWorld) -> None:
    async def body(world: World) -> None:
        world.wallet.plan = "silent"
        await Process(world).rounds(2)
        world.pass_time(18 * MINUTE_MS)
        process, other = Process(world), world.beside()  # this one has not heard the rail, so it must for the end
        world.chain.hangs = asyncio.Event()
        async with asyncio.timeout(10):
            await process.runner.round()
        await connect(other)
        await process.runner.round()
        assert [row.state for row in await attempts(other)] != []
        world.chain.hangs.set()
        await process.runner.idle()
        await process.rounds(2)
        assert (await last(world)).state == "failed_final"

    play(body)


def test_what_is_written_down_and_not_credited_yet_is_no_failure(play: RunWorld) -> None:
    """Between hearing of a late payment and deciding on it, the invoice still says that it expired unpaid."""

    async def body(world: World) -> None:
        process = Process(world)
        world.wallet.plan = "silent"
        await process.rounds(2)
        world.pass_time(18 * MINUTE_MS)
        await process.topups.poll()
        ((_, invoice),) = (await process.connections.show(world.account)).attempts
        assert invoice is not None and invoice.status == "expired"
        world.chain.pay(invoice.payable)
        process.life.dies_in(4)  # asked, the receipt begun, and committed; then the decision
        with contextlib.suppress(Killed):
            await process.topups.poll()
        process.life.dies_in(None)
        assert posted(world) == 0
        await process.runner.round()
        assert (await last(world)).state == "unknown"
        world.pass_time(10_000)
        await process.rounds(2)
        assert (await last(world)).state == "settled"
        paid_once(world)

    play(body)


def test_many_attempts_that_only_wait_do_not_stand_in_the_way(play: RunWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wallets, "BATCH", 2)

    async def body(world: World) -> None:
        world.wallet.plan = "silent"
        silent = [world, world.beside(), world.beside()]
        for other in silent[1:]:
            other.wallet.plan = "silent"
            await connect(other)
        for each in silent:
            await Process(each).rounds(3)
        assert {row.state for each in silent for row in await attempts(each)} == {"unknown"}
        late = world.beside()
        await connect(late)
        await Process(late).rounds(3)
        assert [row.state for row in await attempts(late)] == ["settled"]

    play(body)


def test_accounts_that_wait_for_a_payment_do_not_stand_in_the_way(
    play: RunWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wallets, "BATCH", 1)

    async def body(world: World) -> None:
        topup = await Process(world).topups.create(world.account, "btc-lightning", 5, "USD")
        with world.till.database.writer.begin() as connection:
            invoices.put(connection, replace(topup.invoice, status="seen"))
        other = world.beside()
        await connect(other)
        await Process(other).runner.round()
        await Process(other).runner.round()
        assert len(await attempts(other)) == 1 and not await attempts(world)

    play(body)


def test_without_a_rail_the_wallet_is_not_asked_nor_blamed(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        world.chain.down = True
        await process.rounds(2)
        ended = await last(world)
        assert ended.state == "failed_final" and "No invoice could be made" in (ended.words or "")
        view = await process.connections.show(world.account)
        assert view.wallet is not None and view.wallet.failures == 0 and view.wallet.enabled
        world.chain.down = False
        world.pass_time(2 * MINUTE_MS)
        await process.rounds(3)
        paid_once(world)

    play(body)


def test_a_wallet_that_refuses_is_switched_off_and_told(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        world.wallet.plan, world.wallet.code = "error", "UNAUTHORIZED"
        for _ in range(engine.REFUSALS_MAX):
            await process.rounds(2)
            await world.until_ended(process)
            world.pass_time(600 * MINUTE_MS)
        await process.rounds(3)
        view = wire.view(await process.connections.show(world.account))
        assert view["enabled"] is False and "3 refusals" in view["reason"] and "Connect it again" in view["reason"]
        assert len(view["attempts"]) == engine.REFUSALS_MAX
        world.wallet.plan = "pays"
        await connect(world)
        await process.rounds(3)
        paid_once(world)

    play(body)


def test_a_spent_budget_is_waited_for(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        renews_at = world.clock() // 1000 + 5 * 3600
        world.wallet.plan, world.wallet.code, world.wallet.budget_renews_at = "error", "QUOTA_EXCEEDED", renews_at
        await process.rounds(2)
        await world.until_ended(process)
        view = await process.connections.show(world.account)
        assert view.wallet is not None and view.wallet.next_at == renews_at * 1000 and view.wallet.enabled

    play(body)


@pytest.mark.parametrize("renews_at", [-(10**30), 0, 10**30])
def test_a_budget_that_is_renewed_at_no_time_is_bounded(renews_at: int, play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        world.wallet.plan, world.wallet.code, world.wallet.budget_renews_at = "error", "QUOTA_EXCEEDED", renews_at
        await process.rounds(2)
        view = await process.connections.show(world.account)
        assert view.wallet is not None
        assert world.clock() <= view.wallet.next_at <= world.clock() + engine.MONTH_MS

    play(body)


def test_the_encryption_is_the_one_that_the_wallet_reads_now(play: RunWorld) -> None:
    async def body(world: World) -> None:
        world.wallet.encryption = "nip04"
        await Process(world).rounds(2)
        assert [event["encryption"] for event in world.wallet.events] == ["nip04"]

    play(body)


def test_a_wallet_that_cannot_read_the_request_is_asked_at_once_what_it_reads(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process, wallet, looks = Process(world), world.wallet, 0

        async def look() -> None:
            nonlocal looks
            looks += 1
            if looks == 2:  # after the refusal
                wallet.encryption = "nip04"
            if looks > 2:
                raise NoAnswer("the relay has lost it", sent=False)

        wallet.plan, wallet.code, wallet.before_info = "error", "UNSUPPORTED_ENCRYPTION", look
        await process.rounds(2)
        assert looks == 2 and len(wallet.events) == 1  # one event an attempt, come what may
        await world.until_ended(process)
        wallet.plan = "pays"
        world.pass_time(60 * MINUTE_MS)
        await process.rounds(3)
        assert [event["encryption"] for event in wallet.events] == ["nip44_v2", "nip04"]
        paid_once(world)

    play(body)


def test_a_deeper_hole_takes_several_amounts(play: RunWorld) -> None:
    async def body(world: World) -> None:
        await connect(world, threshold_usd=25, topup_amount_usd=10)
        await Process(world).rounds(3)
        assert (await last(world)).amount_nano == money.nano(30) and len(world.chain.paid) == 1

    play(body)


def test_a_secret_that_cannot_be_read_switches_it_off(play: RunWorld) -> None:
    async def body(world: World) -> None:
        world.vault = type(world.vault)(b"x" * 32)
        process = Process(world)
        await process.rounds(3)
        view = await process.connections.show(world.account)
        assert view.wallet is not None and not view.wallet.enabled and "connect it again" in (view.wallet.reason or "")
        await world.until_ended(process)
        assert not world.chain.paid

    play(body)
