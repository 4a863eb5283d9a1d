"""What the house took in and gave out by day, on both databases: each amount on its own day, nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from perquery.money import Ratio
from perquery.store import credentials, invoices
from perquery.store.database import Database
from perquery.store.invoices import InvoiceRow, ReceiptRow
from perquery.store.opening import open_database
from perquery.store.operations import WHOLE, Credit, Hold
from perquery.store.takings import Day, Owed, takings
from tests.store.calls import called
from tests.store.clock import MONDAY, Clock, apply_all

DAY = 86_400_000
TUESDAY, WEDNESDAY = MONDAY + DAY, MONDAY + 2 * DAY
INVOICE = InvoiceRow(
    id="one",
    account_id=1,
    rail="btc-lightning",
    currency="USD",
    amount="1.00",
    amount_nano=1_000,
    bonus_numerator=5,
    bonus_denominator=100,
    bonus_cap_nano=10**12,
    crypto_due=1_000_000,
    usd_nano_per_coin=10**14,
    payable="lnbcrt…",
    rail_ref="ref-one",
    created_at=MONDAY,
    expires_at=WEDNESDAY,
)
RECEIPT = ReceiptRow("btc-lightning", "r1", "one", 1_000_000, "confirmed", MONDAY, MONDAY, 1_000, 50, MONDAY + 5)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/perquery.db" if sqlite else request.getfixturevalue("postgres_url")
    database = open_database(url, mode="sandbox", clock=Clock(WEDNESDAY + 1_000))
    yield database
    database.close()


def test_each_amount_stands_on_its_own_day(database: Database) -> None:
    account_id = credentials.create_account(database).account_id
    apply_all(
        database,
        Credit(account_id, "test:1", 10_000, "deposits:test", Ratio(1, 20)),
        *called(account_id, None, TUESDAY, 70, upstream_nano=50),
        *called(account_id, None, TUESDAY + 1, 30, number=1, upstream_nano=40),
        *called(account_id, None, MONDAY - 1, 500, number=2),
        Hold("gen-live", account_id, None, 300, 300, WHOLE, WHOLE, True, "m"),
    )
    with database.writer.begin() as connection:
        invoices.add(connection, INVOICE, open_max=9)
        gone = replace(RECEIPT, receipt_id="r2", state="gone", reversed_at=WEDNESDAY + 7)
        for receipt in (RECEIPT, gone, replace(RECEIPT, receipt_id="r3", credited_at=None)):
            invoices.put_receipt(connection, receipt)
    found = takings(database, MONDAY, WEDNESDAY + 1_000)
    assert list(found.days) == [
        Day(MONDAY, paid_in=2_000, bonus=100),
        Day(TUESDAY, calls=2, charged=100, upstream=90),
        Day(WEDNESDAY, taken_back=1_000),
    ]
    assert found.days[1].margin == 10
    assert found.owed == Owed(accounts=1, posted=9_900, held=300, bonus=500, owed=0)
    assert [invoice.id for invoice in found.open] == ["one"]


def test_a_house_without_anything_has_nothing(database: Database) -> None:
    found = takings(database, MONDAY, TUESDAY)
    assert list(found.days) == [Day(MONDAY)]
    assert (found.owed, list(found.open)) == (Owed(0, 0, 0, 0, 0), [])


def test_the_days_are_added_up_by_indexes_alone(database: Database) -> None:
    """The rows of calls are wide and there are millions: what is summed must not read them."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if "FROM requests" in statement or "FROM receipts" in statement:
            asked.append((statement, parameters))

    event.listen(database.reader, "before_cursor_execute", note)
    takings(database, MONDAY, TUESDAY)
    event.remove(database.reader, "before_cursor_execute", note)
    sqlite = database.reader.dialect.name == "sqlite"
    plans = []
    with database.reader.begin() as connection:
        if not sqlite:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # which is right for no rows
        for statement, parameters in asked:
            explained = ("EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN ") + statement
            plans.append(str(connection.exec_driver_sql(explained, parameters).all()))
    indexes = ("receipts_credited", "receipts_reversed", "requests_at")
    assert [name in plan for name, plan in zip(indexes, plans, strict=True)] == [True] * 3
    assert ("COVERING INDEX requests_at" if sqlite else "Index Only Scan") in plans[2]
