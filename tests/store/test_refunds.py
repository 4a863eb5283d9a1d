"""Refunds in the ledger: what may leave, what goes back with it, what reversals find afterwards; on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perquery.money import Ratio
from perquery.store.books import Account, State, apply
from perquery.store.ledger import Ledger
from perquery.store.operations import Credit, HoldRefund, Refund, Release, Result, Reverse, Settle
from tests.store.bank import Bank, Customer

TWENTIETH = Ratio(1, 20)
NONE = Ratio(0, 1)
Body = Callable[[Ledger, Customer], Awaitable[None]]


def run(bank: Bank, body: Body) -> None:
    async def main() -> None:
        async with bank.ledger() as ledger:
            await body(ledger, bank.customer())
        left = {name.split(":")[1]: 0 for name, *_ in bank.moves() if name.startswith("refund:")}
        for name, _, book, amount in bank.moves():
            if book == "payouts":
                left[name.split(":")[1]] += amount
        bank.note_refunds({name: (1, amount) for name, amount in left.items()})

    asyncio.run(main())


async def deposited(ledger: Ledger, customer: Customer, amount: int, bonus: Ratio | None = TWENTIETH) -> Credit:
    credit = Credit(customer.id, f"test:{amount}", amount, "deposits:test", bonus)
    await ledger.submit(credit)
    return credit


def moved(bank: Bank, reference: str) -> dict[str, tuple[str, str, int]]:
    return {name: (a, b, amount) for name, a, b, amount in bank.moves() if name.startswith(reference)}


def test_a_refund_leaves_with_its_bonus(bank: Bank) -> None:
    async def body(ledger: Ledger, customer: Customer) -> None:
        await deposited(ledger, customer, 1000)
        held = await ledger.submit(HoldRefund("r", customer.id, 400, TWENTIETH))
        assert (held.status, held.amount, held.free) == ("APPLIED", 420, 630)
        for status in ("APPLIED", "REPLAYED"):
            result = await ledger.submit(Refund("r", customer.id, 390, TWENTIETH))
            assert result.status == status
        assert bank.figures(customer.id) == (1050 - 390 - 20, 0, 0, 30)
        expected = {"refund:r": ("customer", "payouts", 390), "refund:r:bonus": ("customer", "bonus", 20)}
        assert moved(bank, "refund:") == expected
        late = await ledger.submit(HoldRefund("r", customer.id, 400, TWENTIETH))
        assert late.status == "REPLAYED" and bank.holds() == {}

    run(bank, body)


@pytest.mark.parametrize(("asked", "status"), [(1000, "APPLIED"), (1001, "REFUSED")])
def test_no_more_than_what_is_free_beyond_the_bonus(bank: Bank, asked: int, status: str) -> None:
    async def body(ledger: Ledger, customer: Customer) -> None:
        await deposited(ledger, customer, 1000)
        result = await ledger.submit(HoldRefund("r", customer.id, asked, TWENTIETH))
        assert (result.status, result.free) == (status, 0 if status == "APPLIED" else 1000)

    run(bank, body)


def test_against_running_calls(bank: Bank) -> None:
    """What calls hold cannot be asked back, and what is asked back cannot be spent."""

    async def body(ledger: Ledger, customer: Customer) -> None:
        await deposited(ledger, customer, 1000, None)
        assert (await ledger.submit(customer.hold("call", 600))).status == "APPLIED"
        both = [ledger.submit(HoldRefund(name, customer.id, 300, NONE)) for name in ("a", "b")]
        assert [(await each).status for each in both] == ["APPLIED", "REFUSED"]
        assert (await ledger.submit(customer.hold("more", 101))).reason == "balance"
        settled = await ledger.submit(customer.settle("call", 900))
        assert (settled.amount, settled.shortfall) == (700, 200)
        await ledger.submit(Refund("a", customer.id, 300, NONE))
        assert bank.figures(customer.id) == (0, 0, 0, 0)

    run(bank, body)


def test_released_it_is_free_again(bank: Bank) -> None:
    async def body(ledger: Ledger, customer: Customer) -> None:
        await deposited(ledger, customer, 1000)
        await ledger.submit(HoldRefund("r", customer.id, 1000, TWENTIETH))
        for reason in (None, "no_hold"):
            assert (await ledger.submit(Release("r", customer.id, None))).reason == reason
        assert bank.figures(customer.id) == (1050, 0, 0, 50)
        assert moved(bank, "refund:") == {}

    run(bank, body)


def test_an_account_in_debt_gets_nothing(bank: Bank) -> None:
    async def body(ledger: Ledger, customer: Customer) -> None:
        credit = await deposited(ledger, customer, 1000, None)
        await ledger.submit(customer.hold("call", 500))
        await ledger.submit(customer.settle("call", 500))
        await ledger.submit(Reverse(customer.id, credit.reference, 1000))
        assert (await ledger.submit(HoldRefund("r", customer.id, 1, NONE))).reason == "frozen"

    run(bank, body)


def test_a_deposit_that_vanishes_after_its_refund_is_owed_and_its_bonus_taken_back_once(bank: Bank) -> None:
    async def body(ledger: Ledger, customer: Customer) -> None:
        credit = await deposited(ledger, customer, 1000)
        await ledger.submit(HoldRefund("r", customer.id, 1000, TWENTIETH))
        reversed_ = await ledger.submit(Reverse(customer.id, credit.reference, 600))
        assert (reversed_.status, reversed_.amount) == ("APPLIED", 630)
        await ledger.submit(Refund("r", customer.id, 1000, TWENTIETH))
        assert bank.figures(customer.id) == (0, 0, 600, 0)
        assert (await ledger.submit(Reverse(customer.id, credit.reference, 400, ":2"))).amount == 400
        assert bank.figures(customer.id) == (0, 0, 1000, 0)

    run(bank, body)


def test_two_gateways_ask_at_once(bank: Bank) -> None:
    async def body(ledger: Ledger, customer: Customer) -> None:
        await deposited(ledger, customer, 1000)
        async with bank.ledger() as other:
            asked = [each.submit(HoldRefund("r", customer.id, 1000, TWENTIETH)) for each in (ledger, other) * 5]
            statuses = sorted([(await each).status for each in asked])
            assert statuses == ["APPLIED"] + ["REPLAYED"] * 9
            ended = [each.submit(Refund("r", customer.id, 1000, TWENTIETH)) for each in (ledger, other) * 5]
            assert sorted([(await each).status for each in ended]) == ["APPLIED"] + ["REPLAYED"] * 9
        assert bank.figures(customer.id) == (0, 0, 0, 0)

    run(bank, body)


STEP = st.tuples(st.sampled_from(["deposit", "refund", "spend"]), st.integers(1, 300), st.integers(0, 2))


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=25))
def test_whoever_deposits_and_takes_back_keeps_no_bonus(steps: list[tuple[str, int, int]]) -> None:
    """What an account holds of bonus is never more than the best rate on what it deposited and did not take back; and
    when all is taken back, none is left.
    """
    state = State(0, "gateway:test", accounts={1: Account(1, 0, 0, 0, 0)})
    account, best = state.accounts[1], Ratio(1, 10)
    kept = 0
    for number, (verb, amount, bonus) in enumerate(steps):
        if verb == "deposit":
            ratio = (None, Ratio(1, 20), best)[bonus]
            apply(state, Credit(1, f"c{number}", amount, "deposits:test", ratio))
            kept += amount
        elif verb == "refund" and _refunded(state, f"r{number}", amount, best).status == "APPLIED":
            kept -= amount
        elif verb == "spend":
            kept_before = account.posted
            apply(state, Settle(f"s{number}", 1, None, min(amount, account.free)))
            assert account.posted >= kept_before - amount
        assert account.bonus * 10 <= kept and 0 <= account.held <= account.posted
    spare = account.free - account.bonus
    if spare > 0:
        assert _refunded(state, "last", spare, best).status == "APPLIED"
        assert account.posted == account.bonus and account.bonus * 10 <= kept - spare


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 10**6), min_size=1, max_size=10))
def test_a_circle_of_deposits_and_refunds_earns_nothing(base: int, deposits: list[int]) -> None:
    """Not even for who has much in the account that earned no bonus."""
    state = State(0, "gateway:test", accounts={1: Account(1, 0, 0, 0, 0)})
    if base:
        apply(state, Credit(1, "base", base, "deposits:test"))
    for number, amount in enumerate(deposits):
        apply(state, Credit(1, f"c{number}", amount, "deposits:test", TWENTIETH))
        assert _refunded(state, f"r{number}", amount, TWENTIETH).status == "APPLIED"
        assert (state.accounts[1].posted, state.accounts[1].bonus) == (base, 0)


def _refunded(state: State, name: str, amount: int, bonus: Ratio) -> Result:
    held = apply(state, HoldRefund(name, 1, amount, bonus))
    return apply(state, Refund(name, 1, amount, bonus)) if held.status == "APPLIED" else held
