"""The audit finds each kind of wrong in the books, and nothing in right ones."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import pytest
from sqlalchemy import text

from perquery import money
from perquery.money import Ratio
from perquery.store import audit, jobs
from perquery.store.operations import WHOLE, Credit, Hold, House, Reverse
from tests.store.bank import Bank, Customer
from tests.store.calls import job
from tests.store.clock import Clock, apply_all


@pytest.fixture
def bank(migrated_url: str, clock: Clock) -> Iterator[Bank]:
    bank = Bank(migrated_url, clock)
    yield bank
    bank.close()


@pytest.fixture
def customer(bank: Bank) -> Customer:
    """One with a bit of everything: 1,050 credited with bonus, 300 spent, 7 lost, 40 held; another in debt."""
    customer, debtor = bank.customer(), bank.customer()
    apply_all(
        bank.database,
        Credit(customer.id, "test:1", 1_000, "deposits:test", Ratio(1, 20)),
        customer.hold("a", 200),
        customer.settle("a", 300, upstream_nano=250),
        customer.hold("b", 40),
        debtor.credit(10),
        debtor.hold("c", 10),
        debtor.settle("c", 17, unbilled_nano=3),
        Reverse(debtor.id, "test:1", 10),
        Hold("d", customer.id, None, 5, 5, WHOLE, WHOLE, True, "m", owner="job:1"),
        House("cost:x:2026-01-05", "upstream:x", "costs", 8),
    )
    jobs.add(bank.database, job("d", customer.id, state="running", quoted_nano=5))
    return customer


def test_right_books(bank: Bank, customer: Customer) -> None:
    report = audit.verify(bank.database)
    assert report.ok and report.findings == ()
    assert report.counts == {
        "accounts": 2,
        "transfers": 8,
        "calls": 2,
        "open holds": 2,
        "holds of lost gateways": 0,
    }
    assert report.amounts == {
        "held": 45,
        "customers' balances": 750,
        "customers' debts": 10,
        "upstream costs": 255,
        "unbilled": 3,
    }
    assert report.books == {
        "bonus": -50,
        "costs": 8,
        "customer": 750,
        "debtors": -10,
        "deposits:test": -1_010,
        "revenue": 317,
        "reversals:test": 10,
        "shortfall": -7,
        "upstream:x": -8,
    }


def test_holds_of_lost_gateways_are_counted(bank: Bank, customer: Customer, clock: Clock) -> None:
    clock.now_ms += 31_000
    report = audit.verify(bank.database)
    assert report.ok and report.counts["holds of lost gateways"] == 1


def test_an_empty_database_is_right(bank: Bank) -> None:
    report = audit.verify(bank.database)
    assert report.ok and report.books == {} and report.amounts["customers' balances"] == 0


def test_the_report_is_plain_json(bank: Bank, customer: Customer) -> None:
    told = money.from_json(money.json(audit.verify(bank.database).as_json()))
    assert told["ok"] is True and told["findings"] == []
    assert told["figures"]["customers_balances"] == Decimal("0.00000075")
    assert told["books"]["deposits:test"] == Decimal("-0.00000101")


def test_the_lines_are_for_people(bank: Bank, customer: Customer) -> None:
    lines = dict(audit.verify(bank.database).lines())
    assert (lines["accounts"], lines["held"], lines["book revenue"]) == ("2", "0.000000045", "0.000000317")


ANOTHER: Final = "INSERT INTO transfers VALUES"
WRONG: Final = [
    ("UPDATE accounts SET posted = posted + 1 WHERE id = 1", "balance differs"),
    (f"{ANOTHER} (1, 'x', 'revenue', 'customer', 1, 0)", "balance differs"),
    ("UPDATE accounts SET owed = owed + 1 WHERE id = 2", "debt differs"),
    ("UPDATE accounts SET bonus = 0 WHERE id = 1", "bonus differs"),
    ("UPDATE accounts SET held = held - 1 WHERE id = 1", "what an account holds differs"),
    ("DELETE FROM holds WHERE id = 'b'", "what an account holds differs"),
    ("UPDATE holds SET amount = 41 WHERE id = 'b'", "what a key holds differs"),
    ("UPDATE api_keys SET period_held = 0", "what a key holds differs"),
    ("UPDATE api_keys SET total_used = total_used + 1", "a key's use differs"),
    ("UPDATE api_keys SET period_used = total_used + 1", "more use than the key"),
    ("UPDATE requests SET cost_nano = 299 WHERE id = 'a'", "call's cost differs"),
    ("UPDATE requests SET shortfall_nano = 0 WHERE id = 'c'", "call's shortfall differs"),
    ("DELETE FROM requests WHERE id = 'a'", "a charge has no call"),
    ("DELETE FROM requests WHERE id = 'c'", "a shortfall has no call"),
    ("UPDATE accounts SET posted = 1 WHERE id = 2", "in debt has something free"),
    (f"{ANOTHER} (77, 'x', 'revenue', 'customer', 1, 0)", "names no account"),
    ("UPDATE jobs SET state = 'completed', ended_at = 1, cost_nano = 5", "finished job's cost differs"),
    ("UPDATE jobs SET quoted_nano = 6", "a job under way is not held"),
    ("UPDATE jobs SET id = 'e', state = 'sending', quoted_nano = 1", "a job under way is not held"),
    ("DELETE FROM jobs", "a job's hold has no job"),
]


@pytest.mark.usefixtures("customer")
@pytest.mark.parametrize(("change", "finding"), WRONG)
def test_what_is_wrong_is_found(bank: Bank, change: str, finding: str) -> None:
    with bank.database.writer.begin() as connection:
        connection.execute(text(change))
    report = audit.verify(bank.database)
    assert not report.ok
    assert any(finding in line for line in report.findings), report.findings


@pytest.mark.parametrize(("cost", "right"), [(317 - 17, True), (299, False)])
def test_a_finished_jobs_cost_is_its_transfer(bank: Bank, customer: Customer, cost: int, right: bool) -> None:
    finished = job("a", customer.id, state="completed", ended_at=1, cost_nano=cost)
    jobs.add(bank.database, finished)
    assert audit.verify(bank.database).ok is right


def test_a_credited_receipt_without_its_transfer_is_found(bank: Bank, customer: Customer) -> None:
    with bank.database.writer.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO invoices VALUES ('i', 1, 'rail', 'USD', '1', 1000, 1, 1, 1, 1, 0, 1, 'p', 'r', 'settled',"
                " '', 0, 0, 0, NULL, NULL)"
            )
        )
        connection.execute(
            text("INSERT INTO receipts VALUES ('rail', '1', 'i', 1, 'confirmed', 0, 0, 1000, 0, 5, NULL, 0)")
        )
    (finding,) = audit.verify(bank.database).findings
    assert finding == "a credited receipt differs from its transfer: 1: 1000, not 0"
