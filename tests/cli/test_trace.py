"""`perquery trace`: a timeline for people, JSON for programs, one line and status 1 for what nobody knows."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from perquery import money
from perquery.rails import bolt11
from perquery.store import credentials, invoices
from perquery.store.opening import open_database
from perquery.store.operations import Credit
from tests.serving import run_command
from tests.store.calls import called, id_at
from tests.store.clock import MONDAY, apply_all
from tests.store.test_invoices import INVOICE


def test_trace(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/perquery.db", mode="sandbox")
    made = credentials.create_account(database)
    apply_all(database, Credit(made.account_id, "deposit", 1_000_000, "deposits:test"))
    apply_all(database, *called(made.account_id, None, MONDAY, 70_000, upstream_request_id="req-7"))
    database.close()

    told = run_command("trace", "req-7", data=tmp_path).stdout
    assert told.startswith(f"req-7: upstream's id, account {made.account_id}, made ")
    assert "0.00007" in told and "customer → revenue" in told

    shown = money.from_json(run_command("trace", "req-7", "--json", data=tmp_path).stdout)
    call, transfer = shown["events"]
    assert (shown["account"]["id"], shown["account"]["posted"]) == (made.account_id, Decimal("0.00093"))
    assert (call["what"], call["id"], call["usd"], call["upstream_request_id"]) == (
        "call",
        id_at(MONDAY),
        Decimal("0.00007"),
        "req-7",
    )
    assert (transfer["what"], transfer["usd"], transfer["source"]) == ("transfer", Decimal("0.00007"), "customer")
    assert made.credit_id not in told

    unknown = run_command("trace", "req-8", data=tmp_path, check=False)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr.startswith("perquery: nothing is known by 'req-8'") and unknown.stderr.count("\n") == 1


def test_an_invoice_by_its_payment_hash_whatever_its_wallet_calls_it(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/perquery.db", mode="sandbox")
    made = credentials.create_account(database)
    hash_ = bytes(range(32))
    asked = bolt11.Bolt11("bcrt", 1_000, 1_800_000_000, hash_, b"s" * 32, "Top-up")
    invoice = replace(INVOICE, account_id=made.account_id, rail_ref="7Xy", payable=bolt11.encode(asked, b"k" * 32))
    with database.writer.begin() as connection:
        invoices.add(connection, invoice, open_max=1)
    database.close()
    shown = money.from_json(run_command("trace", hash_.hex(), "--json", data=tmp_path).stdout)
    assert (shown["kind"], shown["events"][0]["id"]) == ("payment", invoice.id)
    assert run_command("trace", "ab" * 32, data=tmp_path, check=False).returncode == 1
