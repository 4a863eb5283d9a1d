"""Reconciling: what agrees, each way to differ, and a gateway that is at work meanwhile; on both databases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as some
from sqlalchemy import update

from perquery.rails.rail import Receipt, Watched
from perquery.store.deposits import Deposit, Standing
from perquery.store.tables import receipts
from perquery.topups.reconcile import Difference, compare, reconcile
from tests.topups.conftest import LIGHTNING, RunTill, ScriptedRail, Till

DUE = 1_000_000
AMOUNTS = some.dictionaries(some.sampled_from("abcdef"), some.integers(1, 10**12))


@given(AMOUNTS, AMOUNTS, AMOUNTS)
def test_the_sums_differ_by_what_is_named(
    received: Mapping[str, int], credited: Mapping[str, int], others: Mapping[str, int]
) -> None:
    ledger = Standing(
        [Deposit(name, "ours", amount, amount * 3) for name, amount in credited.items()], [("ours", 0, 0)]
    )
    seen = {name: ("ours", amount) for name, amount in received.items()}
    seen |= {f"other {name}": ("theirs", amount) for name, amount in others.items()}
    found = compare(LIGHTNING, seen, ledger)
    assert found.received - found.credited == sum(d.received - d.credited for d in found.differences)
    assert found.ok == (received == credited)
    assert (found.others, found.credited_nano) == (sum(others.values()), 3 * sum(credited.values()))


async def paid(till: Till, count: int = 1) -> list[str]:
    topups, account, refs = till.topups(), till.account(), []
    for _ in range(count):
        invoice = (await topups.create(account, LIGHTNING, 1, "USD")).invoice
        till.rail.pay(invoice.rail_ref, DUE)
        refs.append(invoice.rail_ref)
    await topups.poll()
    return refs


def test_what_was_paid_and_credited_agrees(run: RunTill) -> None:
    async def body(till: Till) -> None:
        await paid(till, 3)
        till.rail.pay("somebody else's", 7)
        found = await reconcile(till.database, LIGHTNING, till.rail, 0)
        assert (found.ok, found.received, found.credited, found.others) == (True, 3 * DUE, 3 * DUE, 7)
        assert found.credited_nano == 3 * 10**9

    run(body)


def test_what_was_not_credited_is_named(run: RunTill) -> None:
    async def body(till: Till) -> None:
        (ref,) = await paid(till)
        till.rail.pay(ref, 5, name="second")
        found = await reconcile(till.database, LIGHTNING, till.rail, 0)
        assert found.differences == (Difference("second", 5, 0),)
        assert "received and not credited" in found.differences[0].words

    run(body)


def test_what_was_credited_and_never_received_is_named(run: RunTill) -> None:
    async def body(till: Till) -> None:
        (ref,) = await paid(till)
        found = await reconcile(till.database, LIGHTNING, ScriptedRail(till.clock), 0)
        assert found.differences == (Difference(f"tx-{ref}", 0, DUE),)

    run(body)


def test_another_amount_is_named(run: RunTill) -> None:
    async def body(till: Till) -> None:
        (ref,) = await paid(till)
        with till.database.writer.begin() as connection:
            connection.execute(update(receipts).values(amount=DUE - 1))
        found = await reconcile(till.database, LIGHTNING, till.rail, 0)
        assert found.differences == (Difference(f"tx-{ref}", DUE, DUE - 1),)

    run(body)


def test_what_was_taken_back_counts_on_neither_side(run: RunTill) -> None:
    async def body(till: Till) -> None:
        (ref,) = await paid(till)
        till.rail.change(ref, "gone")
        await till.topups().poll()
        found = await reconcile(till.database, LIGHTNING, till.rail, 0)
        assert (found.ok, found.received, found.credited) == (True, 0, 0)

    run(body)


def test_a_payment_that_is_credited_meanwhile_is_no_difference(run: RunTill) -> None:
    class Working(ScriptedRail):
        """While it is read for the first time, the gateway has not heard of the payment yet."""

        rounds = 0

        async def receipts(self, cursor: str, watched: Sequence[Watched]) -> tuple[Sequence[Receipt], str]:
            self.rounds += 1
            if self.rounds == 3:
                await till_of[0].topups().poll()
            return await till_of[0].rail.receipts(cursor, watched)

    till_of: list[Till] = []

    async def body(till: Till) -> None:
        till_of.append(till)
        invoice = (await till.topups().create(till.account(), LIGHTNING, 1, "USD")).invoice
        till.rail.pay(invoice.rail_ref, DUE)
        found = await reconcile(till.database, LIGHTNING, Working(till.clock), 0)
        assert (found.ok, found.credited) == (True, DUE)

    run(body)
