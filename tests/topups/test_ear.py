"""A rail whose wallet has yet to prove itself: not listed, credited all the same."""

from __future__ import annotations

import asyncio

from perquery.rails.rail import Inspection, RailDown
from perquery.topups.ear import RETRY_MS
from tests.topups.conftest import Clock, RunTill, ScriptedRail, Till
from tests.topups.test_service import BONUS, DOLLAR, DUE, dollar


def test_a_wallet_that_is_not_proven_is_not_listed_and_credits_all_the_same(run: RunTill) -> None:
    """Its credential lacks what it needs, though what is paid can be heard."""

    class Unproven(ScriptedRail):
        wrong = "permission denied"

        async def inspect(self) -> Inspection:
            if self.wrong:
                raise RailDown(self.wrong)
            return Inspection("node", "bc", False)

    async def body(till: Till) -> None:
        rail = Unproven(till.clock)
        topups, account = till.topups(rail), till.account()
        assert [is_open for _, is_open in await topups.payment_methods()] == [False]
        invoice = (await dollar(topups, account)).invoice
        rail.pay(invoice.rail_ref, DUE)
        assert (await topups.status(account, invoice.id)).step.status == "settled"
        rail.wrong = ""
        assert [is_open for _, is_open in await topups.payment_methods()] == [False]  # not asked at every listing
        till.clock.now_ms += RETRY_MS
        assert [is_open for _, is_open in await topups.payment_methods()] == [True]

    run(body)


def test_a_wallet_that_hangs_when_it_is_to_prove_itself_holds_up_no_credit(run: RunTill) -> None:
    class Hanging(ScriptedRail):
        def __init__(self, clock: Clock) -> None:
            super().__init__(clock)
            self.proving = asyncio.Event()

        async def inspect(self) -> Inspection:
            self.proving.set()
            await asyncio.Event().wait()
            raise AssertionError

    async def body(till: Till) -> None:
        rail = Hanging(till.clock)
        topups, account = till.topups(rail), till.account()
        rail.pay((await dollar(topups, account)).invoice.rail_ref, DUE)
        hearing = asyncio.create_task(topups.poll())
        await rail.proving.wait()
        assert till.figures(account)[0] == DOLLAR + BONUS
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)

    run(body)
