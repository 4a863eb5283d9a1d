"""From any id to the account, its calls and its money; unknown ids, and ids of others that look alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from perquery.money import Ratio
from perquery.store import credentials
from perquery.store.database import Database
from perquery.store.operations import WHOLE, Credit, Hold
from perquery.store.tables import accounts
from perquery.store.trace import NEWEST, Trace, find
from tests.store.bank import Bank
from tests.store.calls import called, id_at
from tests.store.clock import MONDAY, apply_all
from tests.store.test_invoices import INVOICE, RECEIPT, add, put


@pytest.fixture
def database(bank: Bank) -> Database:
    return bank.database


def customer(database: Database, amount: int = 1_000_000) -> int:
    made = credentials.create_account(database)
    apply_all(database, Credit(made.account_id, "deposit", amount, "deposits:test"))
    return made.account_id


def found(database: Database, id: str) -> Trace:
    trace = find(database, id)
    assert trace is not None
    return trace


def happened(trace: Trace) -> list[tuple[str, str, int]]:
    return [(each.what, each.id, each.amount) for each in trace.happenings]


def test_a_call_by_its_own_id(database: Database) -> None:
    customer(database)
    account = customer(database)
    apply_all(database, *called(account, None, MONDAY, 70))
    trace = found(database, id_at(MONDAY))
    assert (trace.kind, trace.account["id"], "credit_hash" in trace.account) == ("generation id", account, False)
    assert happened(trace) == [("call", id_at(MONDAY), 70), ("transfer", id_at(MONDAY), 70)]
    call, transfer = trace.happenings
    assert (call.facts["model"], call.facts["provider"], call.facts["rule"]) == ("some/model", "host", "complete")
    assert transfer.facts == {"source": "customer", "target": "revenue"}


def test_a_call_that_runs(database: Database) -> None:
    account = customer(database)
    apply_all(database, Hold("gen-live", account, None, 5, 9, WHOLE, WHOLE, True, "m"))
    assert happened(found(database, "gen-live")) == [("hold", "gen-live", 9)]


@pytest.mark.parametrize(
    "column",
    [{"upstream_request_id": "req-7"}, {"upstream_id": "req-7"}, {"detail": '{"attempts":[{"request_id":"req-7"}]}'}],
)
def test_by_what_an_upstream_calls_it(database: Database, column: dict[str, Any]) -> None:
    account, other = customer(database), customer(database)
    apply_all(database, *called(account, None, MONDAY, 70, **column), *called(other, None, MONDAY + 1, 5))
    trace = found(database, "req-7")
    assert (trace.kind, trace.account["id"]) == ("upstream's id", account)
    assert [each.id for each in trace.happenings if each.what == "call"] == [id_at(MONDAY)]
    assert find(database, "req-_") is None
    assert find(database, "req-%") is None


def test_an_account_by_what_upstreams_know_it_by(database: Database) -> None:
    account = customer(database)
    calls = [operation for n in range(NEWEST + 2) for operation in called(account, None, MONDAY + n, 10)]
    apply_all(database, *calls, Hold("gen-live", account, None, 5, 9, WHOLE, WHOLE, True, "m"))
    add(database, replace(INVOICE, account_id=account))
    with database.reader.begin() as connection:
        safety_id = connection.scalar(select(accounts.c.safety_id).where(accounts.c.id == account))
    trace = found(database, str(safety_id))
    assert (trace.kind, trace.account["id"], trace.account["safety_id"]) == ("safety id", account, safety_id)
    named = [each.what for each in trace.happenings]
    assert [named.count(what) for what in ("call", "transfer", "hold", "invoice")] == [NEWEST, NEWEST, 1, 1]
    assert [each.at for each in trace.happenings] == sorted(each.at for each in trace.happenings)
    assert id_at(MONDAY) not in [each.id for each in trace.happenings]  # an old one


@pytest.mark.parametrize(("id", "kind"), [("one", "invoice id"), ("ref-one", "payment"), ("r1", "payment")])
def test_money_that_came_in(database: Database, id: str, kind: str) -> None:
    account = customer(database)
    add(database, replace(INVOICE, account_id=account))
    put(database, replace(RECEIPT, credit_nano=100, bonus_nano=5))
    reference = f"{RECEIPT.rail}:{RECEIPT.receipt_id}"
    apply_all(database, Credit(account, reference, 100, "deposits:btc-lightning", Ratio(1, 20)))
    trace = found(database, id)
    assert (trace.kind, trace.account["id"]) == (kind, account)
    assert sorted(happened(trace)) == [
        ("invoice", "one", INVOICE.amount_nano),
        ("payment", "r1", 105),
        ("transfer", reference, 100),
        ("transfer", f"{reference}:bonus", 5),
    ]


def test_a_transaction_that_paid_by_two_of_its_outputs(database: Database) -> None:
    """One came back after it had vanished; a transaction whose name begins alike is another."""
    account, other = customer(database), customer(database)
    for number, (name, holder) in enumerate([("beef:0~1", account), ("beef:1", account), ("beef1:0", other)]):
        add(database, replace(INVOICE, id=f"i{number}", rail_ref=f"ref-{number}", account_id=holder))
        put(database, replace(RECEIPT, receipt_id=name, invoice_id=f"i{number}", credit_nano=100))
    trace = found(database, "beef")
    assert (trace.kind, trace.account["id"]) == ("payment", account)
    assert [each.id for each in trace.happenings if each.what == "payment"] == ["beef:0~1", "beef:1"]
    assert found(database, "beef1").account["id"] == other


@pytest.mark.parametrize("id", ["", "unknown", "a\nb", "x" * 201, "%", "_"])
def test_nothing_is_known(database: Database, id: str) -> None:
    apply_all(database, *called(customer(database), None, MONDAY, 70))
    assert find(database, id) is None
