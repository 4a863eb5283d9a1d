"""Invoices, receipts and cursors as rows, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from perquery.store import invoices
from perquery.store.database import Database
from perquery.store.invoices import InvoiceRow, ReceiptRow
from perquery.store.opening import open_database
from perquery.store.tables import accounts

INVOICE = InvoiceRow(
    id="one",
    account_id=1,
    rail="btc-lightning",
    currency="USD",
    amount="1.00",
    amount_nano=10**9,
    bonus_numerator=5,
    bonus_denominator=100,
    bonus_cap_nano=10**12,
    crypto_due=1_000_000,
    usd_nano_per_coin=10**14,
    payable="lnbcrt…",
    rail_ref="ref-one",
    created_at=1_000,
    expires_at=901_000,
)
RECEIPT = ReceiptRow("btc-lightning", "r1", "one", 1_000_000, "confirmed", 2_000, 2_000)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/perquery.db" if sqlite else request.getfixturevalue("postgres_url")
    database = open_database(url, mode="sandbox")
    with database.writer.begin() as connection:
        for number in (1, 2):
            connection.execute(insert(accounts).values(id=number, credit_hash=b"%d" % number, created_at=0))
    yield database
    database.close()


def add(database: Database, *rows: InvoiceRow, open_max: int = 100) -> list[bool]:
    with database.writer.begin() as connection:
        return [invoices.add(connection, row, open_max=open_max) for row in rows]


def named(name: str, **changes: int) -> InvoiceRow:
    return replace(INVOICE, id=name, rail_ref=f"ref-{name}", **changes)  # type: ignore[arg-type]


def put(database: Database, *rows: ReceiptRow) -> None:
    with database.writer.begin() as connection:
        for row in rows:
            invoices.put_receipt(connection, row)


def test_an_invoice_is_found_as_it_was_written(database: Database) -> None:
    assert add(database, INVOICE) == [True]
    with database.reader.begin() as connection:
        assert invoices.find(connection, "one") == INVOICE
        assert invoices.find(connection, "two") is None
    with database.writer.begin() as connection:
        assert invoices.find(connection, "one", lock=True) == INVOICE
        assert invoices.find_by_ref(connection, "btc-lightning", "ref-one") == INVOICE
        assert invoices.find_by_ref(connection, "btc", "ref-one") is None


def test_only_the_state_of_an_invoice_changes(database: Database) -> None:
    add(database, INVOICE)
    changed = replace(INVOICE, crypto_paid=7, status="settled", flags="over,late", settled_at=5_000)
    with database.writer.begin() as connection:
        invoices.put(connection, replace(changed, amount_nano=1, payable="other"))
        assert invoices.find(connection, "one") == changed


def test_open_invoices_are_counted_and_bounded_per_account(database: Database) -> None:
    assert add(database, named("a"), named("b"), named("c"), open_max=2) == [True, True, False]
    assert add(database, named("d", account_id=2), open_max=2) == [True]
    with database.reader.begin() as connection:
        assert invoices.count_open(connection, 1, 900_999) == 2
        assert invoices.count_open(connection, 1, 901_000) == 0


def test_the_bound_holds_for_simultaneous_requests(database: Database) -> None:
    outcomes: list[bool] = []

    def work(number: int) -> None:
        outcomes.extend(add(database, named(f"t{number}"), open_max=3))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 5 + [True] * 3


def test_one_reference_of_a_rail_belongs_to_one_invoice(database: Database) -> None:
    add(database, INVOICE)
    with pytest.raises(IntegrityError):
        add(database, replace(INVOICE, id="other"))


def test_an_invoice_needs_its_account(database: Database) -> None:
    with pytest.raises(IntegrityError):
        add(database, named("x", account_id=99))


def test_latest_is_the_accounts_own_newest_first(database: Database) -> None:
    add(
        database, named("a", created_at=1), named("b", created_at=3), named("c", account_id=2), named("d", created_at=2)
    )
    with database.reader.begin() as connection:
        assert [row.id for row in invoices.latest(connection, 1, 2)] == ["b", "d"]


def test_a_receipt_is_written_and_rewritten(database: Database) -> None:
    add(database, INVOICE)
    credited = replace(RECEIPT, credit_nano=10**9, bonus_nano=5, credited_at=3_000)
    put(database, RECEIPT, credited)
    with database.reader.begin() as connection:
        assert invoices.receipts_of(connection, ["one", "none"]) == [credited]


def test_a_receipt_needs_its_invoice(database: Database) -> None:
    with pytest.raises(IntegrityError):
        put(database, RECEIPT)


@pytest.mark.parametrize(
    ("receipt", "expected"),
    [
        (replace(RECEIPT, state="pending", confirmed_at=None), []),
        (RECEIPT, ["one"]),
        (replace(RECEIPT, credit_nano=5), ["one"]),
        (replace(RECEIPT, credit_nano=5, credited_at=3_000), []),
        (replace(RECEIPT, state="gone"), []),
        (replace(RECEIPT, state="gone", credit_nano=5), ["one"]),
        (replace(RECEIPT, state="gone", credit_nano=5, credited_at=3_000), ["one"]),
        (replace(RECEIPT, state="gone", credit_nano=5, credited_at=3_000, reversed_at=4_000), []),
    ],
)
def test_what_the_ledger_must_still_do(database: Database, receipt: ReceiptRow, expected: list[str]) -> None:
    add(database, INVOICE)
    put(database, receipt)
    with database.reader.begin() as connection:
        assert invoices.unfinished(connection) == expected


def test_lapsed_are_the_rails_open_invoices_whose_time_is_up(database: Database) -> None:
    settled = replace(named("c"), status="settled")
    add(database, named("a"), named("b", expires_at=902_000), settled, replace(named("d"), rail="btc"))
    with database.reader.begin() as connection:
        assert invoices.lapsed(connection, "btc-lightning", 900_999) == []
        assert invoices.lapsed(connection, "btc-lightning", 901_000) == ["a"]


def test_a_cursor_is_kept_per_rail(database: Database) -> None:
    with database.writer.begin() as connection:
        assert invoices.cursor(connection, "btc") == ""
        assert invoices.move_cursor(connection, "btc", "", "4")
        assert invoices.move_cursor(connection, "ltc", "", "9")
        assert not invoices.move_cursor(connection, "btc", "", "6")
        assert not invoices.move_cursor(connection, "btc", "3", "6")
        assert invoices.move_cursor(connection, "btc", "4", "5")
        assert (invoices.cursor(connection, "btc"), invoices.cursor(connection, "ltc")) == ("5", "9")
