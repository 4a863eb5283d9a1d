"""Asking for refunds, on both databases: what is refused and why, the day's cap, races, the same request again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, TypeAlias

import pytest

from perquery.config import RefundSetting
from perquery.errors import BadRequest, Conflict, Forbidden, NotFound, PerQueryError, TooManyRequests
from perquery.payouts.lnurl import Unusable
from perquery.refunds.service import Refunds
from perquery.store.operations import WHOLE, Credit, Hold
from perquery.store.refunds import RefundRow
from tests.refunds.world import DOLLAR, Process, World, invoice
from tests.topups.conftest import RunTill, Till

RunWorld: TypeAlias = Callable[[Callable[[World], Awaitable[None]]], None]
HOURS_24_MS = 24 * 3_600_000


@pytest.fixture
def play(run: RunTill) -> RunWorld:
    def runner(body: Callable[[World], Awaitable[None]]) -> None:
        async def main(till: Till) -> None:
            world = World(till)
            await world.deposit(world.account)
            await body(world)
            world.check()

        run(main)

    return runner


class Service:
    """What stands behind a Lightning address. change: to what is asked of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[int] = []
        self.change: dict[str, Any] = {}
        world.resolver = self

    async def invoice(self, destination: str, amount_msat: int) -> str:
        self.asked.append(amount_msat)
        if destination != "me@wallet.example":
            raise Unusable("its service does not answer")
        sats = self.change.pop("sats", amount_msat // 1_000)
        return invoice(self.world.till, sats, 1_000 + len(self.asked), **self.change)


async def refused(world: World, destination: str, **more: Any) -> PerQueryError:
    with pytest.raises(PerQueryError) as caught:
        await Process(world).ask(world.account, destination, **more)
    assert await world.rows() == []
    return caught.value


@pytest.mark.parametrize(
    ("sats", "more", "code", "says"),
    [
        (9_901, {}, "refund_too_large", r"\$10 can be given back; this takes \$9.901, and up to \$0.09901 for"),
        (999, {}, "refund_too_small", r"at least \$1"),
        (0, {}, "destination_unusable", "states no amount"),
        (5_000, {"network": "bc"}, "destination_unusable", "network bc, not bcrt"),
        (5_000, {"expiry_s": 100}, "destination_unusable", "expires too soon"),
        (5_000, {"expiry_s": 9 * 86_400}, "destination_unusable", "more than eight days"),
    ],
)
def test_invoices_that_cannot_be_paid(play: RunWorld, sats: int, more: dict[str, Any], code: str, says: str) -> None:
    async def body(world: World) -> None:
        error = await refused(world, invoice(world.till, sats, 1, **more))
        assert error.code == code
        with pytest.raises(BadRequest, match=says):
            raise error

    play(body)


@pytest.mark.parametrize(
    ("destination", "more", "param"),
    [
        ("", {}, "destination"),
        (7, {}, "destination"),
        ("x" * 5_000, {}, "destination"),
        ("lnbc1garbage", {}, "destination"),
        ("me@wallet.example", {"amount": 0}, "amount"),
        ("me@wallet.example", {"amount": -1}, "amount"),
        ("me@wallet.example", {"amount": True}, "amount"),
        ("me@wallet.example", {"amount": "much"}, "amount"),
        ("me@wallet.example", {"amount": Decimal("1E+99")}, "amount"),
        ("me@wallet.example", {"amount": [1]}, "amount"),
        ("me@wallet.example", {"amount": Decimal("1.5"), "currency": "SATS"}, "amount"),
        ("me@wallet.example", {"amount": 5, "currency": "EUR"}, "currency"),
        ("you@wallet.example", {"amount": 5}, "destination"),
    ],
)
def test_bodies_that_are_wrong(play: RunWorld, destination: Any, more: dict[str, Any], param: str) -> None:
    async def body(world: World) -> None:
        Service(world)
        error = await refused(world, destination, **more)
        assert isinstance(error, BadRequest) and error.param == param

    play(body)


@pytest.mark.parametrize(
    ("more", "sats"),
    [({"amount": 5}, 5_000), ({"amount": 2_500, "currency": "SATS"}, 2_500), ({}, 9_900)],
)
def test_an_address_is_asked_for_an_invoice(play: RunWorld, more: dict[str, Any], sats: int) -> None:
    async def body(world: World) -> None:
        service, process = Service(world), Process(world)
        row = await process.ask(world.account, "me@wallet.example", **more)
        assert (service.asked, row.amount_msat) == ([sats * 1_000], sats * 1_000)
        assert (row.destination, row.state) == ("me@wallet.example", "held")
        await process.round()
        assert (await world.rows())[0].state == "paid"

    play(body)


@pytest.mark.parametrize("change", [{"sats": 4_000}, {"sats": 0}, {"network": "tb"}])
def test_an_address_that_gives_another_invoice(play: RunWorld, change: dict[str, Any]) -> None:
    async def body(world: World) -> None:
        Service(world).change = dict(change)
        error = await refused(world, "me@wallet.example", amount=5)
        assert error.code == "destination_unusable"

    play(body)


def test_an_invoice_with_an_amount_beside_it(play: RunWorld) -> None:
    async def body(world: World) -> None:
        assert (await refused(world, invoice(world.till, 5_000, 1), amount=5)).param == "amount"

    play(body)


def test_one_at_a_time_and_an_invoice_once(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process, other = Process(world), world.till.account()
        await world.deposit(other)
        text = invoice(world.till, 2_000, 1)
        await process.ask(world.account, text)
        with pytest.raises(Conflict, match="not over yet"):
            await process.ask(world.account, invoice(world.till, 2_000, 2))
        await process.round()
        for account in (world.account, other):
            with pytest.raises(Conflict, match="used for a refund already"):
                await process.ask(account, text)
        await process.ask(world.account, invoice(world.till, 2_000, 2))

    play(body)


def test_two_requests_at_once(play: RunWorld) -> None:
    async def body(world: World) -> None:
        processes = [Process(world) for _ in range(4)]
        asking = [each.ask(world.account, invoice(world.till, 2_000, n)) for n, each in enumerate(processes)]
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert sorted(type(each) is RefundRow for each in found) == [False, False, False, True]
        assert all(isinstance(each, RefundRow | Conflict) for each in found)

    play(body)


def test_what_a_call_holds_meanwhile_is_not_given_back(play: RunWorld) -> None:
    """Looked at before the call, asked for after it: the ledger decides."""

    async def body(world: World) -> None:
        service, process = Service(world), Process(world)
        hold = Hold("call", world.account, None, 8 * DOLLAR, 8 * DOLLAR, WHOLE, WHOLE, True, "some/model")
        plain = service.invoice

        async def slow(destination: str, amount_msat: int) -> str:
            await world.till.ledger.submit(hold)
            return await plain(destination, amount_msat)

        service.invoice = slow  # type: ignore[method-assign]
        with pytest.raises(BadRequest, match="less to give back by now"):
            await process.ask(world.account, "me@wallet.example", amount=5)
        assert [row.state for row in await world.rows()] == ["failed"]
        assert (await process.service.latest(world.account, 1))[1] == 2 * DOLLAR
        await process.round()

    play(body)


def test_the_days_cap_counts_for_all_accounts(play: RunWorld) -> None:
    async def body(world: World) -> None:
        setting = RefundSetting(backend="sandbox", network="bcrt", daily_usd=Decimal(8))
        process, other = Process(world, setting=setting), world.till.account()
        await world.deposit(other)
        await process.ask(world.account, invoice(world.till, 4_000, 1))
        with pytest.raises(TooManyRequests, match=r"\$3.96 are left"):
            await process.ask(other, invoice(world.till, 4_000, 2))
        await process.ask(other, invoice(world.till, 3_900, 3))
        await process.round()
        world.till.clock.now_ms += HOURS_24_MS
        await process.ask(other, invoice(world.till, 4_000, 4))

    play(body)


def test_the_cap_holds_where_many_ask_at_once(play: RunWorld) -> None:
    async def body(world: World) -> None:
        setting = RefundSetting(backend="sandbox", network="bcrt", daily_usd=Decimal(5))
        accounts = [world.till.account() for _ in range(5)]
        for account in accounts:
            await world.deposit(account)
        asking = [
            Process(world, setting=setting).ask(account, invoice(world.till, 2_000, account)) for account in accounts
        ]
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert sum(isinstance(each, RefundRow) for each in found) == 2

    play(body)


def test_the_same_request_again_is_the_same_refund(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        asked = {"destination": invoice(world.till, 2_000, 1)}
        first = await process.service.ask(world.account, asked, key="k", raw=b"one")
        await process.round()
        again = await process.service.ask(world.account, asked, key="k", raw=b"one")
        assert (again.id, again.state) == (first.id, "paid")
        with pytest.raises(Conflict, match="another body"):
            await process.service.ask(world.account, asked, key="k", raw=b"two")
        assert len(world.wallet.payments) == 1

    play(body)


def test_bonus_goes_at_the_best_rate_that_was_ever_promised(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process, account = Process(world), world.till.account()
        await world.till.ledger.submit(Credit(account, "test:x", 10 * DOLLAR, "deposits:btc"))
        row = await process.ask(account, invoice(world.till, 2_000, 1))
        assert (row.bonus_numerator, row.bonus_denominator) == (1, 20)
        await process.round()
        assert world.till.figures(account)[:2] == (8 * DOLLAR - 10**6, 0)

    play(body)


def test_others_refunds_and_a_gateway_without(play: RunWorld) -> None:
    async def body(world: World) -> None:
        process = Process(world)
        row = await process.ask(world.account, invoice(world.till, 2_000, 1))
        assert (await process.service.one(world.account, row.id)).id == row.id
        for account, name in ((world.till.account(), row.id), (world.account, "0" * 32), (world.account, "é\0")):
            with pytest.raises(NotFound):
                await process.service.one(account, name)
        none: Any = None
        closed = Refunds(world.till.database, none, none, None, None, none, world.till.clock)
        for question in (closed.latest(1, 1), closed.one(1, row.id), closed.ask(1, {}, key=None, raw=b"")):
            with pytest.raises(Forbidden, match="gives no refunds") as caught:
                await question
            assert caught.value.code == "refunds_disabled"

    play(body)
