"""The two databases under the ledger say the same, and tell apart what is away from what is wrong."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from perquery.store import drivers
from perquery.store.drivers import Broken, Down, Driver, Postgres, Sqlite, Write
from perquery.store.tables import transfers
from tests.store.bank import Bank, Customer
from tests.store.calls import row
from tests.store.clock import MONDAY


@pytest.fixture
def driver(bank: Bank) -> Iterator[Driver]:
    driver = bank.database.driver()
    yield driver
    driver.drop()


@pytest.fixture
def customer(bank: Bank) -> Customer:
    return bank.customer()


def written(driver: Driver, *writes: Write) -> None:
    driver.load([])
    driver.finish(writes)


def loaded(driver: Driver, name: str, *values: Any) -> list[list[Any]]:
    _, (rows,) = driver.load([(name, (json.dumps(values[0]), *values[1:]))])
    driver.drop()
    return sorted(list(found) for found in rows)


def moved(customer: Customer, *references: str) -> Write:
    return "add_transfers", [(customer.id, name, "deposits:test", "customer", 5, MONDAY) for name in references]


def held(customer: Customer, id: str, amount: int = 7) -> tuple[Any, ...]:
    return id, customer.id, customer.key_id, amount, "gateway:a", 0, "some/model", 9, MONDAY


def undone(driver: Driver, customer: Customer, *ids: str) -> None:
    """Leave books that the audit likes."""
    written(driver, ("end_holds", [(id,) for id in ids]), ("set_accounts", [(customer.id, 0, 0, 0, 0)]))


def test_what_is_written_is_loaded(driver: Driver, bank: Bank, customer: Customer) -> None:
    many = [held(customer, f"h{number:03}", number) for number in range(150)]
    written(driver, ("add_holds", many))
    assert loaded(driver, "holds", [line[0] for line in many] + ["none"]) == [list(line) for line in many]
    written(driver, ("set_holds", [("h001", 70), ("h002", 80)]), ("end_holds", [("h003",), ("h004",), ("none",)]))
    amounts = bank.holds()
    assert (amounts["h001"], amounts["h002"], len(amounts)) == (70, 80, 148)
    undone(driver, customer, *amounts)


def test_figures_are_written_where_they_belong(driver: Driver, bank: Bank, customer: Customer) -> None:
    other = bank.customer()
    written(
        driver,
        ("set_accounts", [(customer.id, 4, 3, 2, 1), (other.id, 8, 7, 6, 5)]),
        ("set_keys", [(customer.key_id, 0, 1, 2, 3), (other.key_id, 0, 4, 5, 6)]),
    )
    assert loaded(driver, "accounts", [other.id, customer.id]) == [[customer.id, 4, 3, 2, 1], [other.id, 8, 7, 6, 5]]
    keys = {found[0]: found[7:11] for found in loaded(driver, "keys", [customer.key_id, other.key_id])}
    assert keys == {customer.key_id: [0, 1, 2, 3], other.key_id: [0, 4, 5, 6]}
    for one in (customer, other):
        written(driver, ("set_accounts", [(one.id, 0, 0, 0, 0)]), ("set_keys", [(one.key_id, 0, 0, 0, 0)]))


def test_references_and_prefixes(driver: Driver, bank: Bank, customer: Customer) -> None:
    other = bank.customer()
    names = ["r:1", "r:1:bonus", "r:1:reverse:a", "r:10", "r:2", "r:", "s:1", "r:1é"]
    written(driver, moved(customer, *names), moved(other, "r:1"))
    assert loaded(driver, "references", [[customer.id, "r:1"], [other.id, "r:2"], [customer.id, "x"]]) == [
        [customer.id, "r:1", 5]
    ]
    assert [found[1] for found in loaded(driver, "prefixes", [[customer.id, "r:1"]])] == sorted(
        ["r:1", "r:1:bonus", "r:1:reverse:a", "r:10", "r:1é"]
    )
    written(driver, ("set_accounts", [(customer.id, 40, 0, 0, 0), (other.id, 5, 0, 0, 0)]))


def test_a_live_lease_is_found_until_its_end(driver: Driver) -> None:
    written(driver, ("renew", [("gateway:a", "gateway:a", 1_000)]))
    written(driver, ("renew", [("gateway:a", "gateway:a", 2_000)]))
    assert loaded(driver, "live", ["gateway:a", "gateway:b"], 2_000) == [["gateway:a"]]
    assert loaded(driver, "live", ["gateway:a"], 2_001) == []


def test_a_receipt_written_twice_keeps_what_was_held(driver: Driver, bank: Bank, customer: Customer) -> None:
    def receipt(**figures: Any) -> tuple[Any, ...]:
        held_nano = figures.pop("held_nano", 0)
        return row(customer.id, None, "a", 1, **figures).values(held_nano, 0, 0)

    written(driver, ("put_requests", [receipt(held_nano=60, rule="gateway_lost")]))
    written(driver, ("put_requests", [receipt(upstream_nano=9)]))
    found = bank.receipts()["a"]
    assert (found["held_nano"], found["rule"], found["upstream_nano"]) == (60, "complete", 9)


def test_the_clock_is_the_databases(driver: Driver) -> None:
    assert driver.load([])[0] == MONDAY


@pytest.mark.parametrize(
    "wrong",
    [
        ("set_accounts", [(1, 5, 6, 0, 0)]),
        ("set_accounts", [(1, -1, 0, 0, 0)]),
        ("set_accounts", [(1, 5, 0, -1, 0)]),
        ("add_transfers", [(1, "r", "customer", "customer", 5, 0)]),
        ("add_transfers", [(1, "r", "revenue", "customer", 0, 0)]),
        ("add_transfers", [(1, "r", "revenue", "customer", 2**63, 0)]),
        ("add_transfers", [(1, "r", "revenue", "\ud800", 5, 0)]),
        ("add_holds", [("h", 999, None, 5, "gateway:a", 0, "m", 5, 0)]),
        ("add_holds", [("h", 1, "no such key", 5, "gateway:a", 0, "m", 5, 0)]),
        ("add_holds", [("h", 1, None, -5, "gateway:a", 0, "m", 5, 0)]),
    ],
    ids=repr,
)
def test_what_breaks_a_rule_is_broken_and_nothing_is_done(
    driver: Driver, customer: Customer, bank: Bank, wrong: Write
) -> None:
    assert customer.id == 1
    driver.load([])
    with pytest.raises(Broken):
        driver.finish([moved(customer, "good"), wrong])
    driver.drop()
    assert bank.moves() == []


def test_dropping_undoes(driver: Driver, bank: Bank) -> None:
    driver.load([])
    driver.drop()
    driver.drop()
    assert bank.moves() == []


def test_who_writes_waits_for_who_wrote_first(driver: Driver, bank: Bank, customer: Customer) -> None:
    """The second sees what the first did, not what there was when it asked."""
    second = bank.database.driver()
    seen: list[Any] = []

    def read() -> None:
        seen.extend(second.load([("accounts", (json.dumps([customer.id]),))])[1][0])
        second.drop()

    driver.load([("accounts", (json.dumps([customer.id]),))])
    waiting = threading.Thread(target=read)
    waiting.start()
    driver.finish([moved(customer, "r"), ("set_accounts", [(customer.id, 5, 0, 0, 0)])])
    waiting.join()
    assert seen[0][1] == 5


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "BUSY_TIMEOUT_S", 0.05)
    monkeypatch.setattr(drivers, "PATIENCE", dict(drivers.PATIENCE) | {"lock_timeout": "50ms"})


@pytest.mark.usefixtures("impatient")
def test_a_database_that_others_lock_is_away(bank: Bank, driver: Driver, customer: Customer) -> None:
    wanted = [("accounts", (json.dumps([customer.id]),))]
    with bank.database.writer.begin() as other:
        other.execute(text("UPDATE accounts SET created_at = 5 WHERE id = :id"), {"id": customer.id})
        with pytest.raises(Down):
            driver.load(wanted)
    driver.drop()
    assert driver.load(wanted)[1][0][0][0] == customer.id


def test_sqlite_that_cannot_be_opened_is_away(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(Down):
        Sqlite(str(tmp_path / "folder")).load([])


def test_a_file_that_is_no_database_is_away(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, though long enough to be read as one" * 100)
    with pytest.raises(Down):
        Sqlite(str(tmp_path / "text")).load([("accounts", ("[1]",))])


def test_postgresql_that_does_not_answer_is_away(postgres_url: str) -> None:
    with pytest.raises(Down):
        Postgres(postgres_url + "_missing").load([])
    empty = Postgres(postgres_url)
    with pytest.raises(Down):  # no tables
        empty.load([("accounts", ("[1]",))])
    empty.drop()


def test_a_full_disk_is_away_and_nothing_is_done(
    bank: Bank, customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bank.database.sqlite_path
    if path is None:
        pytest.skip("PostgreSQL cannot be told that its disk is full")
    whole = drivers.connect_sqlite

    def full(path: str) -> sqlite3.Connection:
        connection = whole(path)
        connection.execute("PRAGMA max_page_count = 1")  # as many as there are
        return connection

    monkeypatch.setattr(drivers, "connect_sqlite", full)
    driver = Sqlite(path)
    driver.load([])
    with pytest.raises(Down, match="full"):
        driver.finish([moved(customer, *(f"r:{number:0200}" for number in range(1_000)))])
    driver.drop()
    monkeypatch.undo()
    assert bank.moves() == []
    undone(Sqlite(path), customer)


def test_a_process_paused_amid_a_transaction_does_not_hold_others_up(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = Bank(postgres_url)
    customer = bank.customer()
    monkeypatch.setattr(drivers, "PATIENCE", {"idle_in_transaction_session_timeout": "50ms", "lock_timeout": "20s"})
    wanted = [("accounts", (json.dumps([customer.id]),))]
    paused, other = bank.database.driver(), bank.database.driver()
    paused.load(wanted)
    assert other.load(wanted)[1][0]
    with pytest.raises(Down):
        paused.finish([moved(customer, "r")])
    other.drop()
    paused.drop()
    bank.close()


def test_the_urls_own_options_stay(postgres_url: str) -> None:
    with drivers.connect_postgres(postgres_url + "?options=-c%20statement_timeout%3D1234") as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("1234ms",)
        assert connection.execute("SHOW lock_timeout").fetchone() == ("5s",)
        assert connection.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("10s",)


@pytest.mark.parametrize("change", ["UPDATE transfers SET amount = 1", "DELETE FROM transfers", "TRUNCATE transfers"])
def test_a_transfer_never_changes(driver: Driver, bank: Bank, customer: Customer, change: str) -> None:
    if "TRUNCATE" in change and bank.database.sqlite_path:
        pytest.skip("SQLite has no TRUNCATE")
    written(driver, moved(customer, "r"), ("set_accounts", [(customer.id, 5, 0, 0, 0)]))
    raised: type[Exception] = sqlite3.IntegrityError if bank.database.sqlite_path else psycopg.IntegrityError
    with bank.database.writer.connect() as connection, pytest.raises(raised, match="immutable"):
        assert connection.connection.driver_connection is not None
        connection.connection.driver_connection.execute(change)
    assert bank.moves() == [("r", "deposits:test", "customer", 5)]
    assert transfers.name in change
