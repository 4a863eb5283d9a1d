"""Top-ups on both databases: created, paid in every way, credited once under crashes, races and restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

import pytest
from sqlalchemy import select

from perquery.config import Limits, Settings
from perquery.errors import BadRequest, NotFound, TooManyRequests, Unavailable
from perquery.rails.rail import Watched
from perquery.rates.rate import FixedRates
from perquery.store.opening import open_database
from perquery.store.operations import Operation, Result
from perquery.store.tables import invoices
from perquery.topups.ear import RETRY_MS
from perquery.topups.invoice import MONITORING_MS, Topup
from perquery.topups.service import Topups
from tests.topups.conftest import LIGHTNING, RATE, START_MS, RunTill, Till, opened

DOLLAR = 10**9
BONUS = 5 * 10**7
DUE = 1_000_000  # msat for a dollar


async def dollar(topups: Topups, account: int) -> Topup:
    return await topups.create(account, LIGHTNING, 1, "USD")


def test_a_new_invoice_has_the_terms_asked_for(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topup = await till.topups().create(till.account(), LIGHTNING, Decimal("0.50"), "usd")
        invoice = topup.invoice
        assert len(invoice.id) == 22 and invoice.id.isalnum()
        assert (invoice.amount, invoice.currency, invoice.amount_nano) == ("0.50", "USD", DOLLAR // 2)
        assert (invoice.crypto_due, invoice.payable) == (DUE // 2, "pay 500000")
        assert (invoice.created_at, invoice.expires_at) == (START_MS, START_MS + 900_000)
        assert topup.step.status == "new"

    run(body)


def test_a_payment_is_credited_with_its_bonus_and_settles(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        invoice = (await dollar(topups, account)).invoice
        till.rail.pay(invoice.rail_ref, DUE)
        topup = await topups.status(account, invoice.id)
        assert (topup.step.status, topup.credited_nano, topup.bonus_nano) == ("settled", DOLLAR, BONUS)
        assert till.figures(account) == (DOLLAR + BONUS, BONUS, 0)
        reference = f"{LIGHTNING}:tx-{invoice.rail_ref}"
        assert till.references() == [reference, f"{reference}:bonus"]

    run(body)


def test_hearing_of_a_payment_again_credits_it_once(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        invoice = (await dollar(topups, account)).invoice
        till.rail.pay(invoice.rail_ref, DUE)
        await topups.poll()
        till.rail.pay(invoice.rail_ref, DUE)
        await topups.poll()
        assert till.figures(account)[0] == DOLLAR + BONUS

    run(body)


def test_the_locked_rate_holds_when_the_price_falls(run: RunTill) -> None:
    async def body(till: Till) -> None:
        account = till.account()
        invoice = (await dollar(till.topups(), account)).invoice
        till.rail.pay(invoice.rail_ref, DUE)
        await till.topups(rates=FixedRates({"BTC": 10**9})).poll()
        assert till.figures(account)[0] == DOLLAR + BONUS

    run(body)


def test_without_a_rate_there_is_no_invoice(run: RunTill) -> None:
    async def body(till: Till) -> None:
        with pytest.raises(Unavailable) as caught:
            await dollar(till.topups(rates=FixedRates({})), till.account())
        assert caught.value.code == "rate_unavailable"

    run(body)


def test_a_late_payment_waits_for_a_rate_and_is_then_credited(run: RunTill) -> None:
    async def body(till: Till) -> None:
        account = till.account()
        invoice = (await dollar(till.topups(), account)).invoice
        till.clock.now_ms += 900_000
        till.rail.pay(invoice.rail_ref, DUE)
        without = await till.topups(rates=FixedRates({})).status(account, invoice.id)
        assert (without.step.status, till.figures(account)[0]) == ("seen", 0)
        later = await till.topups(rates=FixedRates({"BTC": 50_000 * 10**9})).status(account, invoice.id)
        assert (later.step.status, later.step.flags, later.credited_nano) == ("settled", ("late",), DOLLAR // 2)

    run(body)


def test_a_part_is_credited_and_the_invoice_expires(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        invoice = (await dollar(topups, account)).invoice
        till.rail.pay(invoice.rail_ref, DUE // 4)
        assert (await topups.status(account, invoice.id)).step.status == "seen"
        till.clock.now_ms += 900_000
        topup = await topups.status(account, invoice.id)
        assert (topup.step.status, topup.step.flags, topup.credited_nano) == ("expired", ("partial",), DOLLAR // 4)

    run(body)


def test_the_excess_is_credited_too(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        invoice = (await dollar(topups, account)).invoice
        till.rail.pay(invoice.rail_ref, 2 * DUE)
        topup = await topups.status(account, invoice.id)
        assert (topup.step.status, topup.step.flags, topup.credited_nano) == ("settled", ("over",), 2 * DOLLAR)

    run(body)


def test_a_pending_payment_counts_when_it_is_confirmed(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        invoice = (await dollar(topups, account)).invoice
        till.rail.pay(invoice.rail_ref, DUE, "pending")
        assert (await topups.status(account, invoice.id)).step.status == "seen"
        assert till.figures(account)[0] == 0
        till.rail.change(invoice.rail_ref, "confirmed")
        assert (await topups.status(account, invoice.id)).step.status == "settled"

    run(body)


def test_a_payment_that_vanishes_is_taken_back_with_its_bonus_once(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        invoice = (await dollar(topups, account)).invoice
        till.rail.pay(invoice.rail_ref, DUE)
        await topups.poll()
        till.rail.change(invoice.rail_ref, "gone")
        await topups.poll()
        await till.topups().poll()
        assert till.figures(account) == (0, 0, 0)
        topup = await topups.status(account, invoice.id)
        assert (topup.step.status, topup.credited_nano, topup.bonus_nano) == ("new", 0, 0)

    run(body)


def test_a_receipt_for_no_invoice_of_ours_is_passed_over(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        till.rail.pay("somebody else's", DUE)
        invoice = (await dollar(topups, account)).invoice
        till.rail.pay(invoice.rail_ref, DUE)
        await topups.poll()
        assert till.figures(account)[0] == DOLLAR + BONUS

    run(body)


def test_two_pollers_at_once_credit_once(run: RunTill) -> None:
    async def body(till: Till) -> None:
        one, other, account = till.topups(), till.topups(), till.account()
        made = [(await dollar(one, account)).invoice for _ in range(5)]
        for invoice in made:
            till.rail.pay(invoice.rail_ref, DUE)
        await asyncio.gather(one.poll(), other.poll(), one.poll(), other.poll())
        assert till.figures(account)[0] == 5 * (DOLLAR + BONUS)
        statuses = [(await other.status(account, invoice.id)).step.status for invoice in made]
        assert statuses == ["settled"] * 5

    run(body)


def test_two_gateways_on_one_database_credit_once(run: RunTill) -> None:
    async def body(till: Till) -> None:
        account, topups = till.account(), till.topups()
        made = [(await dollar(topups, account)).invoice for _ in range(10)]
        for invoice in made:
            till.rail.pay(invoice.rail_ref, DUE)
        database = open_database(till.database.url, mode="sandbox", clock=till.clock)
        async with opened(database, till.clock, till.data) as other:
            rounds = [topups.poll(), other.topups(till.rail).poll(), other.topups(till.rail).poll()]
            await asyncio.gather(*rounds)
        database.close()
        assert till.figures(account)[0] == 10 * (DOLLAR + BONUS)

    run(body)


class Crash(Exception):
    """The process ends here."""


class CrashingLedger:
    """The real ledger, but the process ends before it is asked, or after it has done it, until it is mended."""

    def __init__(self, till: Till, *, after: bool) -> None:
        self._till = till
        self._after = after
        self.mended = False

    def submit(self, operation: Operation) -> asyncio.Future[Result]:
        if self.mended:
            return self._till.ledger.submit(operation)
        if not self._after:
            raise Crash

        async def done_unheard() -> Result:
            await self._till.ledger.submit(operation)
            raise Crash

        return asyncio.ensure_future(done_unheard())


@pytest.mark.parametrize("after", [False, True], ids=["before the credit", "between credit and mark"])
def test_a_crash_neither_loses_nor_doubles_a_credit(run: RunTill, after: bool) -> None:
    async def body(till: Till) -> None:
        account = till.account()
        invoice = (await dollar(till.topups(), account)).invoice
        till.rail.pay(invoice.rail_ref, DUE)
        with pytest.raises(Crash):
            await till.topups(ledger=CrashingLedger(till, after=after)).poll()
        topup = await till.topups().status(account, invoice.id)
        assert (topup.step.status, till.figures(account)[0]) == ("settled", DOLLAR + BONUS)

    run(body)


def test_a_crash_after_the_decision_keeps_the_decided_amount(run: RunTill) -> None:
    """The rate moves between a crash and the restart: the ledger must be asked for the same amount again."""

    async def body(till: Till) -> None:
        account = till.account()
        invoice = (await dollar(till.topups(), account)).invoice
        till.rail.pay(invoice.rail_ref, 2 * DUE)
        with pytest.raises(Crash):
            await till.topups(ledger=CrashingLedger(till, after=True)).poll()
        topup = await till.topups(rates=FixedRates({"BTC": 10**9})).status(account, invoice.id)
        assert (topup.step.status, topup.credited_nano) == ("settled", 2 * DOLLAR)

    run(body)


def test_a_round_that_failed_is_taken_up_by_the_same_process(run: RunTill) -> None:
    async def body(till: Till) -> None:
        account, ledger = till.account(), CrashingLedger(till, after=False)
        topups = till.topups(ledger=ledger)
        invoice = (await dollar(topups, account)).invoice
        till.rail.pay(invoice.rail_ref, DUE)
        with pytest.raises(Crash):
            await topups.poll()
        ledger.mended = True
        await topups.poll()
        assert till.figures(account)[0] == DOLLAR + BONUS

    run(body)


def test_a_payment_during_an_outage_counts_as_in_time(run: RunTill) -> None:
    """Nothing expires before its rail was asked: not at boot, not while the wallet is down."""

    async def body(till: Till) -> None:
        account = till.account()
        invoice = (await dollar(till.topups(), account)).invoice
        till.rail.pay(invoice.rail_ref, DUE)
        till.clock.now_ms += 3_600_000
        till.rail.down = True
        restarted = till.topups()
        assert (await restarted.status(account, invoice.id)).step.status == "new"
        till.rail.down = False
        topup = await restarted.status(account, invoice.id)
        assert (topup.step.status, topup.step.flags) == ("settled", ())

    run(body)


def test_an_unpaid_invoice_expires(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        invoice = (await dollar(topups, account)).invoice
        till.clock.now_ms += 900_000
        await topups.poll()
        with till.database.reader.begin() as connection:
            assert connection.scalar(select(invoices.c.status)) == "expired"
        assert (await topups.status(account, invoice.id)).step.status == "expired"

    run(body)


@pytest.mark.parametrize("asker", [lambda own: own + 1, lambda own: 0])
def test_another_accounts_invoice_is_not_found(run: RunTill, asker: Callable[[int], int]) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        invoice = (await dollar(topups, account)).invoice
        with pytest.raises(NotFound, match=r"^Invoice not found$"):
            await topups.status(asker(account), invoice.id)
        assert (await topups.status(None, invoice.id)).invoice.id == invoice.id

    run(body)


@pytest.mark.parametrize("invoice_id", ["x" * 22, "", "x" * 5_000, "\x00" * 22, "ä" * 22, "' OR 1=1 --' OR 1=1 --"])
def test_an_unknown_invoice_is_not_found(run: RunTill, invoice_id: str) -> None:
    async def body(till: Till) -> None:
        with pytest.raises(NotFound):
            await till.topups().status(None, invoice_id)

    run(body)


def test_an_account_lists_its_own_invoices_newest_first(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account, other = till.topups(), till.account(), till.account()
        first = await dollar(topups, account)
        till.clock.now_ms += 1_000
        second = await dollar(topups, account)
        await dollar(topups, other)
        till.rail.pay(first.invoice.rail_ref, DUE)
        listed = await topups.latest(account, 10)
        assert [(t.invoice.id, t.step.status) for t in listed] == [
            (second.invoice.id, "new"),
            (first.invoice.id, "settled"),
        ]
        assert [t.invoice.id for t in await topups.latest(account, 1)] == [second.invoice.id]

    run(body)


def test_open_invoices_are_bounded_until_they_expire(run: RunTill) -> None:
    async def body(till: Till) -> None:
        settings = Settings(mode="sandbox", data=till.data, limits=Limits(open_invoices_per_account=3))
        topups, account = till.topups(settings=settings), till.account()
        outcomes = await asyncio.gather(*(dollar(topups, account) for _ in range(8)), return_exceptions=True)
        assert sum(isinstance(outcome, TooManyRequests) for outcome in outcomes) == 5
        assert (await dollar(topups, till.account())).step.status == "new"
        till.clock.now_ms += 900_000
        assert (await dollar(topups, account)).step.status == "new"

    run(body)


def test_a_wallet_that_is_down_makes_no_invoice(run: RunTill) -> None:
    async def body(till: Till) -> None:
        till.rail.down = True
        with pytest.raises(Unavailable) as caught:
            await dollar(till.topups(), till.account())
        assert caught.value.code == "rail_down"

    run(body)


def test_an_unknown_method_names_those_there_are(run: RunTill) -> None:
    async def body(till: Till) -> None:
        with pytest.raises(BadRequest, match="Available: btc-lightning") as caught:
            await till.topups().create(till.account(), "doge", 1, "USD")
        assert caught.value.param == "method"

    run(body)


def test_the_loop_credits_and_survives_a_failing_round(run: RunTill) -> None:
    async def body(till: Till) -> None:
        account, asked = till.account(), asyncio.Event()

        class Flaky:
            """Fails the first time it is asked, as a database that is away for a moment."""

            failed = False

            def submit(self, operation: Operation) -> asyncio.Future[Result]:
                if not self.failed:
                    self.failed = True
                    raise Crash
                asked.set()
                return till.ledger.submit(operation)

        topups = till.topups(ledger=Flaky())
        invoice = (await dollar(topups, account)).invoice
        till.rail.pay(invoice.rail_ref, DUE)
        loop = asyncio.create_task(topups.run())
        async with asyncio.timeout(30):
            await asked.wait()
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        await topups.close()
        assert till.rail.closed
        assert (await till.topups().status(account, invoice.id)).step.status == "settled"

    run(body)


def test_limits_are_what_the_wallet_can_receive(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        till.rail.receivable = 5_000_000
        most = {currency.code: currency.most for currency in (await topups.payment_methods())[0][0].currencies}
        assert most == {"USD": Decimal(5), "SATS": Decimal(5_000), "BTC": Decimal("0.00005")}
        with pytest.raises(BadRequest, match=r"between 0\.1 and 5 USD"):
            await topups.create(account, LIGHTNING, Decimal("5.01"), "USD")
        till.rail.receivable = 0
        assert [is_open for _, is_open in await topups.payment_methods()] == [False]
        with pytest.raises(Unavailable, match="can receive nothing now"):
            await dollar(topups, account)

    run(body)


def test_a_rail_is_open_once_its_wallet_has_answered(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups = till.topups()
        till.rail.down = True
        for _ in range(2):
            assert [is_open for _, is_open in await topups.payment_methods()] == [False]
        till.rail.down = False
        assert [is_open for _, is_open in await topups.payment_methods()] == [False]  # it is not asked at every listing
        till.clock.now_ms += RETRY_MS
        assert [is_open for _, is_open in await topups.payment_methods()] == [True]
        till.rail.down = True
        assert [is_open for _, is_open in await topups.payment_methods()] == [True]  # which it was: create says so

    run(body)


def test_what_may_still_be_paid_is_watched(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        paid, late = [(await dollar(topups, account)).invoice for _ in range(2)]
        till.rail.pay(paid.rail_ref, DUE)
        await topups.poll()
        till.clock.now_ms = late.expires_at + MONITORING_MS - 1
        await topups.poll()
        assert till.rail.watched == [Watched(late.rail_ref, late.expires_at, late.created_at)]
        till.clock.now_ms += 1
        await topups.poll()
        assert till.rail.watched == []

    run(body)


def test_a_payment_that_was_pushed_is_heard_at_once(run: RunTill) -> None:
    async def body(till: Till) -> None:
        till.rail.pace_s = 3_600.0
        news, rates = asyncio.Event(), FixedRates({"BTC": RATE})
        settings = Settings(mode="sandbox", data=till.data)
        topups = Topups(till.database, till.ledger, {LIGHTNING: till.rail}, rates, settings, till.clock, news)
        account = till.account()
        invoice = (await dollar(topups, account)).invoice
        loop = asyncio.create_task(topups.run())
        async with asyncio.timeout(30):
            await till.rail.asked.wait()
            till.rail.asked.clear()
            till.rail.pay(invoice.rail_ref, DUE)
            news.set()
            await till.rail.asked.wait()
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        await topups.close()

    run(body)
