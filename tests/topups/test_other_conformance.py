"""Any coin by BTCPay through the cases of every rail: what is paid is credited once, at the locked rate within the
amount and never above the present one beyond it, and taken back where BTCPay declares it invalid.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

import pytest

from perquery.errors import Unavailable
from perquery.outbound import Client
from perquery.rails.btcpay_invoices import BtcpayInvoices
from perquery.store import audit
from perquery.topups.invoice import Topup
from perquery.topups.reconcile import reconcile
from perquery.topups.service import Topups
from tests.rails.btcpay import STORE, refusal
from tests.rails.btcpay_invoices import COINS, KEY, ScriptedStore, running
from tests.topups.conftest import Clock, RunTill, Till

TEN = 10 * 10**9
HOUR_MS = 3_600_000


@dataclass
class Case:
    till: Till
    store: ScriptedStore
    topups: Topups
    account: int
    page: str
    invoice: str
    client: Client

    def rail(self) -> BtcpayInvoices:
        return BtcpayInvoices(self.client, self.store.url, KEY, STORE, list(COINS), self.till.clock)

    async def now(self) -> Topup:
        return await self.topups.status(self.account, self.invoice)

    async def stands(self, status: str, credited: int, *flags: str) -> None:
        found = await self.now()
        assert (found.step.status, found.step.flags) == (status, flags)
        assert self.till.figures(self.account)[0] == credited

    async def restart(self) -> None:
        await self.topups.close()
        self.topups = self.till.topups(self.rail(), name="other")


Play: TypeAlias = Callable[[Callable[[Case], Awaitable[None]]], None]


@pytest.fixture
def migrated_url(sqlite_url: str) -> str:
    """What depends on the kind of database is in the tests of the service."""
    return sqlite_url


@pytest.fixture
def store(clock: Clock) -> Iterator[ScriptedStore]:
    with running(clock) as server:
        yield server


@pytest.fixture
def play(run: RunTill, store: ScriptedStore, tmp_path: Path) -> Play:
    """Runs a body with an invoice over ten dollars; the books and BTCPay agree after it."""

    def runner(body: Callable[[Case], Awaitable[None]]) -> None:
        async def main(till: Till) -> None:
            client = Client()
            rail = BtcpayInvoices(client, store.url, KEY, STORE, list(COINS), till.clock)
            topups, account = till.topups(rail, name="other"), till.account()
            made = (await topups.create(account, "other", 10, "USD")).invoice
            case = Case(till, store, topups, account, made.payable, made.id, client)
            await body(case)
            await case.topups.close()
            compared = await reconcile(till.database, "other", case.rail(), patience_s=0)
            assert compared.ok, compared.differences
            assert audit.verify(till.database).ok
            await client.close()

        run(main)

    return runner


def test_paid_twice_is_credited_twice_and_each_once(play: Play) -> None:
    async def body(case: Case) -> None:
        await case.stands("new", 0)
        payment = case.store.pay(case.page, state="Processing")
        await case.stands("seen", 0)
        case.store.settle(payment)
        for _ in range(2):
            await case.stands("settled", TEN)
        case.store.pay(case.page)
        await case.topups.poll()
        for _ in range(2):
            await case.stands("settled", 2 * TEN, "over")

    play(body)


def test_in_parts_by_two_coins(play: Play) -> None:
    async def body(case: Case) -> None:
        case.store.pay(case.page, "0.5")
        await case.stands("seen", TEN // 2, "partial")
        case.till.clock.now_ms += HOUR_MS
        await case.stands("expired", TEN // 2, "partial")
        case.store.rates["ZEC"] = Decimal(60)
        case.store.pay(case.page, "0.5")
        await case.stands("settled", TEN, "late")

    play(body)


def test_what_is_late_or_beyond_the_amount_is_worth_no_more_than_now(play: Play) -> None:
    async def body(case: Case) -> None:
        case.store.rates["ZEC"] = Decimal(30)
        case.store.pay(case.page, "3")
        await case.stands("settled", TEN + TEN * 2 * 3 // 4, "over")
        case.till.clock.now_ms += 2 * HOUR_MS
        case.store.rates["ZEC"] = Decimal(20)
        case.store.pay(case.page, "1")
        await case.topups.poll()
        await case.stands("settled", TEN + TEN * 2 * 3 // 4 + TEN // 2, "late", "over")

    play(body)


def test_without_a_present_rate_what_is_late_waits(play: Play) -> None:
    async def body(case: Case) -> None:
        rate = case.store.rates.pop("ZEC")
        case.till.clock.now_ms += HOUR_MS
        case.store.pay(case.page)
        await case.stands("seen", 0, "late")
        case.store.rates["ZEC"] = rate
        await case.stands("settled", TEN, "late")

    play(body)


def test_gone_before_it_counted(play: Play) -> None:
    async def body(case: Case) -> None:
        payment = case.store.pay(case.page, state="Processing")
        await case.stands("seen", 0)
        case.store.settle(payment, "Invalid")
        await case.stands("new", 0)
        case.store.pay(case.page)
        await case.stands("settled", TEN)

    play(body)


def test_declared_invalid_after_it_counted(play: Play) -> None:
    async def body(case: Case) -> None:
        case.store.pay(case.page)
        await case.stands("settled", TEN)
        case.store.mark_invalid(case.page)
        await case.topups.poll()
        assert case.till.figures(case.account)[0] == 0
        await case.restart()
        await case.topups.poll()
        assert case.till.figures(case.account) == (0, 0, 0)

    play(body)


def test_a_server_that_is_down_for_four_days(play: Play) -> None:
    """What was paid in time is found when it is back, at the locked rate."""

    async def body(case: Case) -> None:
        await case.topups.poll()
        case.store.pay(case.page)
        case.store.spoil = refusal(503, "generic-error", "The server is starting")
        case.till.clock.now_ms += 96 * HOUR_MS
        await case.stands("new", 0)
        with pytest.raises(Unavailable, match="does not answer"):
            await case.topups.create(case.account, "other", 10, "USD")
        case.store.spoil = None
        await case.restart()
        await case.stands("settled", TEN)

    play(body)
