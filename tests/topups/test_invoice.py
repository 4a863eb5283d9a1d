"""The life of an invoice, by example and by property. Amounts: msat; the rate makes 1 msat worth 1,000 nano-USD."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.rails import rail
from perquery.store.invoices import InvoiceRow, ReceiptRow
from perquery.topups.invoice import MONITORING_MS, Market, Planned, advance, heard

COIN = 10**11
RATE = 100_000 * 10**9
START, EXPIRY = 1_000_000, 1_900_000
END = EXPIRY + MONITORING_MS
MARKET = Market(COIN, RATE)
INVOICE = InvoiceRow(
    id="invoice",
    account_id=1,
    rail="btc-lightning",
    currency="USD",
    amount="1",
    amount_nano=10**9,
    bonus_numerator=5,
    bonus_denominator=100,
    bonus_cap_nano=1_000 * 10**9,
    crypto_due=1_000_000,
    usd_nano_per_coin=RATE,
    payable="lnbcrt…",
    rail_ref="hash",
    created_at=START,
    expires_at=EXPIRY,
)
PAID = ReceiptRow("btc-lightning", "r1", "invoice", 1_000_000, "confirmed", START + 5, START + 5)
CREDITED = replace(PAID, credit_nano=10**9, bonus_nano=5 * 10**7, credited_at=START + 6)


def test_nothing_has_arrived() -> None:
    step = advance(INVOICE, [], EXPIRY - 1, MARKET)
    assert (step.status, step.flags, step.credits) == ("new", (), ())


def test_nothing_arrived_in_time() -> None:
    assert advance(INVOICE, [], EXPIRY, MARKET).status == "expired"


def test_an_exact_payment_credits_the_amount_and_its_bonus() -> None:
    step = advance(INVOICE, [PAID], START + 5, MARKET)
    assert step.credits == (Planned("r1", 10**9, 5 * 10**7),)
    assert (step.status, step.paid, step.arrived) == ("seen", 0, 1_000_000)


def test_it_is_settled_only_once_the_ledger_has_credited_it() -> None:
    step = advance(INVOICE, [CREDITED], END + 1, MARKET)
    assert (step.status, step.flags, step.credits, step.paid) == ("settled", (), (), 1_000_000)


def test_a_pending_payment_credits_nothing() -> None:
    pending = replace(PAID, state="pending", confirmed_at=None)
    step = advance(INVOICE, [pending], EXPIRY + 1, MARKET)
    assert (step.status, step.credits) == ("seen", ())


def test_a_payment_that_is_never_confirmed_makes_it_invalid() -> None:
    pending = replace(PAID, state="pending", confirmed_at=None)
    assert advance(INVOICE, [pending], END, MARKET).status == "invalid"


@pytest.mark.parametrize(("as_of", "status"), [(EXPIRY - 1, "seen"), (EXPIRY, "expired")])
def test_a_part_is_credited_as_a_part(as_of: int, status: str) -> None:
    part = replace(PAID, amount=400_000)
    step = advance(INVOICE, [part], as_of, MARKET)
    assert step.credits == (Planned("r1", 4 * 10**8, 2 * 10**7),)
    done = advance(INVOICE, [replace(part, credit_nano=4 * 10**8, credited_at=as_of)], as_of, MARKET)
    assert (done.status, done.flags) == (status, ("partial",))


def test_two_parts_make_a_whole() -> None:
    parts = [replace(PAID, receipt_id=name, amount=amount) for name, amount in (("a", 333_333), ("b", 666_667))]
    step = advance(INVOICE, parts, START + 5, MARKET)
    assert sum(credit.credit_nano for credit in step.credits) == 10**9


@pytest.mark.parametrize(("rate", "excess"), [(RATE, 5 * 10**8), (RATE * 2, 5 * 10**8), (RATE // 2, 25 * 10**7)])
def test_the_excess_is_credited_at_the_lower_rate(rate: int, excess: int) -> None:
    step = advance(INVOICE, [replace(PAID, amount=1_500_000)], START + 5, Market(COIN, rate))
    assert step.credits[0].credit_nano == 10**9 + excess
    assert step.flags == ("over",)


@pytest.mark.parametrize(("rate", "credit"), [(RATE * 2, 10**9), (RATE // 2, 5 * 10**8)])
def test_a_late_payment_is_credited_at_the_lower_rate(rate: int, credit: int) -> None:
    late = replace(PAID, first_seen_at=EXPIRY, confirmed_at=EXPIRY)
    step = advance(INVOICE, [late], EXPIRY, Market(COIN, rate))
    assert (step.credits[0].credit_nano, step.flags) == (credit, ("late",))


@pytest.mark.parametrize(("confirmed_at", "credit"), [(END, 10**9), (END + 1, 5 * 10**8)])
def test_the_locked_rate_ends_with_the_monitoring_window(confirmed_at: int, credit: int) -> None:
    slow = replace(PAID, confirmed_at=confirmed_at)
    assert advance(INVOICE, [slow], confirmed_at, Market(COIN, RATE // 2)).credits[0].credit_nano == credit


def test_above_the_rails_maximum_there_is_no_bonus() -> None:
    capped = replace(INVOICE, bonus_cap_nano=12 * 10**8)
    step = advance(capped, [replace(PAID, amount=1_500_000)], START + 5, MARKET)
    assert step.credits == (Planned("r1", 15 * 10**8, 6 * 10**7),)


def test_without_a_rate_only_what_is_locked_is_decided() -> None:
    late = replace(PAID, receipt_id="r2", first_seen_at=EXPIRY, confirmed_at=EXPIRY)
    step = advance(INVOICE, [late, PAID], EXPIRY, Market(COIN, None))
    assert [credit.receipt_id for credit in step.credits] == ["r1"]
    assert step.status == "seen"


def test_a_second_payment_of_a_settled_invoice_is_credited_as_excess() -> None:
    again = replace(PAID, receipt_id="r2")
    step = advance(INVOICE, [CREDITED, again], START + 9, Market(COIN, RATE // 4))
    assert step.credits == (Planned("r2", 25 * 10**7, 125 * 10**5),)
    assert (step.status, step.flags) == ("settled", ("over",))


def test_a_vanished_payment_is_taken_back() -> None:
    step = advance(INVOICE, [replace(CREDITED, state="gone")], EXPIRY, MARKET)
    assert (step.status, step.reversals, step.paid) == ("invalid", ("r1",), 0)


def test_a_vanished_payment_is_taken_back_once() -> None:
    gone = replace(CREDITED, state="gone", reversed_at=START + 7)
    step = advance(INVOICE, [gone], START + 8, MARKET)
    assert (step.status, step.reversals) == ("new", ())


def test_a_payment_that_vanishes_before_it_counts_leaves_nothing() -> None:
    gone = replace(PAID, state="gone", confirmed_at=None)
    step = advance(INVOICE, [gone], START + 8, MARKET)
    assert (step.status, step.credits, step.reversals) == ("new", (), ())


def report(state: rail.ReceiptState, at_ms: int = START) -> rail.Receipt:
    return rail.Receipt("r1", "hash", 1_000_000, state, at_ms)


def test_a_first_report_keeps_the_rails_own_time() -> None:
    row = heard(None, report("confirmed", START + 5), INVOICE, EXPIRY + 99)
    assert row == PAID


def test_a_rails_clock_that_runs_ahead_is_not_believed() -> None:
    assert heard(None, report("pending", START + 500), INVOICE, START).first_seen_at == START


def test_a_later_report_confirms() -> None:
    pending = heard(None, report("pending"), INVOICE, START)
    assert heard(pending, report("confirmed"), INVOICE, START + 9).confirmed_at == START + 9


def test_a_confirmed_receipt_is_never_pending_again() -> None:
    assert heard(CREDITED, report("pending"), INVOICE, START + 9) == CREDITED


def test_a_credited_receipt_may_vanish() -> None:
    assert heard(CREDITED, report("gone"), INVOICE, START + 9).state == "gone"


def test_what_was_taken_back_stays_gone() -> None:
    gone = replace(CREDITED, state="gone", reversed_at=START + 7)
    assert heard(gone, report("confirmed"), INVOICE, START + 9) == gone


STATES: list[rail.ReceiptState] = ["pending", "confirmed", "gone"]
RECEIPTS = st.lists(
    st.tuples(
        st.integers(1, 2_500_000),
        st.sampled_from(STATES),
        st.sampled_from([START, EXPIRY - 1, EXPIRY, END]),
        st.sampled_from([0, 1, MONITORING_MS, MONITORING_MS + 1]),
    ),
    max_size=6,
)


def rows(drawn: list[tuple[int, rail.ReceiptState, int, int]]) -> list[ReceiptRow]:
    made = []
    for number, (amount, state, seen, wait) in enumerate(drawn):
        row = replace(PAID, receipt_id=f"r{number}", amount=amount, first_seen_at=seen, confirmed_at=seen + wait)
        made.append(row if state == "confirmed" else replace(row, state=state, confirmed_at=None))
    return made


def credited(receipts: list[ReceiptRow], plans: tuple[Planned, ...]) -> list[ReceiptRow]:
    by_id = {plan.receipt_id: plan for plan in plans}
    return [
        replace(row, credit_nano=plan.credit_nano, bonus_nano=plan.bonus_nano, credited_at=row.confirmed_at)
        if (plan := by_id.get(row.receipt_id))
        else row
        for row in receipts
    ]


@given(RECEIPTS, st.integers(1, 4 * RATE), st.integers(1, 3 * 10**9))
def test_never_more_than_the_coins_at_the_locked_rate(
    drawn: list[tuple[int, rail.ReceiptState, int, int]], rate: int, amount_nano: int
) -> None:
    """amount_nano / crypto_due is the locked price within the amount; beyond it, the locked rate bounds it."""
    receipts = rows(drawn)
    invoice = replace(INVOICE, amount_nano=amount_nano)
    total = sum(plan.credit_nano for plan in advance(invoice, receipts, END, Market(COIN, rate)).credits)
    arrived = sum(row.amount for row in receipts if row.state == "confirmed")
    in_time = sum(
        row.amount
        for row in receipts
        if row.state == "confirmed" and row.first_seen_at < EXPIRY and (row.confirmed_at or 0) <= END
    )
    within = min(in_time, invoice.crypto_due)
    assert total <= amount_nano * within // invoice.crypto_due + (arrived - within) * RATE // COIN


@given(RECEIPTS)
def test_deciding_one_by_one_credits_as_much_as_all_at_once(
    drawn: list[tuple[int, rail.ReceiptState, int, int]],
) -> None:
    receipts = rows(drawn)
    at_once = sum(plan.credit_nano for plan in advance(INVOICE, receipts, END, MARKET).credits)
    known: list[ReceiptRow] = []
    for row in receipts:
        known.append(row)
        known = credited(known, advance(INVOICE, known, END, MARKET).credits)
    assert sum(row.credit_nano or 0 for row in known) == at_once


@given(RECEIPTS)
def test_what_is_decided_is_never_decided_again(drawn: list[tuple[int, rail.ReceiptState, int, int]]) -> None:
    receipts = rows(drawn)
    done = credited(receipts, advance(INVOICE, receipts, END, MARKET).credits)
    assert advance(INVOICE, done, END, MARKET).credits == ()


@given(RECEIPTS, st.sampled_from([START, EXPIRY, END, END + 1]))
def test_settled_is_exactly_all_credited(drawn: list[tuple[int, rail.ReceiptState, int, int]], as_of: int) -> None:
    receipts = rows(drawn)
    done = credited(receipts, advance(INVOICE, receipts, as_of, MARKET).credits)
    confirmed = sum(row.amount for row in receipts if row.state == "confirmed")
    step = advance(INVOICE, done, as_of, MARKET)
    assert (step.status == "settled") == (confirmed >= INVOICE.crypto_due)
    assert step.paid == confirmed


@given(RECEIPTS)
def test_the_bonus_is_its_share_of_what_is_below_the_cap(drawn: list[tuple[int, rail.ReceiptState, int, int]]) -> None:
    capped = replace(INVOICE, bonus_cap_nano=12 * 10**8)
    plans = advance(capped, rows(drawn), END, MARKET).credits
    eligible = min(sum(plan.credit_nano for plan in plans), capped.bonus_cap_nano)
    assert eligible * 5 // 100 - len(plans) <= sum(plan.bonus_nano for plan in plans) <= eligible * 5 // 100
