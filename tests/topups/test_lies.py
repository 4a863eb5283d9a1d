"""Wallets that are mistaken or lie, on both databases: what they say of one payment harms no other, and nobody."""

from __future__ import annotations

import pytest

from perquery.errors import Unavailable
from perquery.store.invoices import InvoiceRow
from perquery.topups.service import Topups
from tests.topups.conftest import LIGHTNING, RunTill, Till

DOLLAR = 10**9
CREDITED = DOLLAR + 5 * 10**7
DUE = 1_000_000  # msat for a dollar


async def dollar(topups: Topups, account: int) -> InvoiceRow:
    return (await topups.create(account, LIGHTNING, 1, "USD")).invoice


def test_what_a_rail_has_found_is_credited_though_not_all_could_be_learnt(run: RunTill) -> None:
    """And nothing expires meanwhile: it may be the one of which nothing could be learnt."""

    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        paid, unheard = await dollar(topups, account), await dollar(topups, account)
        till.rail.pay(paid.rail_ref, DUE)
        till.clock.now_ms += 3_600_000
        till.rail.strange = True
        for _ in range(2):
            await topups.poll()
        assert till.figures(account)[0] == CREDITED
        assert (await topups.status(account, paid.id)).step.status == "settled"
        assert (await topups.status(account, unheard.id)).step.status == "new"

    run(body)


@pytest.mark.parametrize("amount", [2**63, 10**30, 2**62])
def test_more_than_there_can_be_is_never_credited_and_holds_up_nobody(run: RunTill, amount: int) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        liar, honest = await dollar(topups, account), await dollar(topups, account)
        till.rail.pay(liar.rail_ref, amount)
        till.rail.pay(honest.rail_ref, DUE)
        for _ in range(2):
            till.clock.now_ms += 10_000
            await topups.poll()
        assert till.figures(account)[0] == CREDITED
        assert (await topups.status(account, liar.id)).step.status in ("new", "seen")

    run(body)


def test_a_payable_that_was_handed_out_before_is_no_new_invoice(run: RunTill) -> None:
    """A wallet that is mistaken, or lies: the second account's payment would be the first one's credit."""

    async def body(till: Till) -> None:
        topups, account, other = till.topups(), till.account(), till.account()
        first = await dollar(topups, account)
        till.rail.made = 0
        with pytest.raises(Unavailable) as caught:
            await dollar(topups, other)
        assert caught.value.code == "rail_down" and not await topups.latest(other, 10)
        till.rail.pay(first.rail_ref, DUE)
        await topups.poll()
        assert (till.figures(account)[0], till.figures(other)[0]) == (CREDITED, 0)

    run(body)
