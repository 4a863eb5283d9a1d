"""Backups are whole, also of a database in use; a restore is checked before it takes the place of anything."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from perquery.config import ConfigError
from perquery.store.backup import backup, restore
from perquery.store.database import open_existing
from perquery.store.opening import open_database
from tests.store.bank import Bank, Customer
from tests.store.clock import apply_all


@pytest.fixture
def path(tmp_path: Path, migrated_file: Path) -> Path:
    shutil.copy(migrated_file, tmp_path / "perquery.db")
    return tmp_path / "perquery.db"


@pytest.fixture
def bank(path: Path) -> Iterator[Bank]:
    bank = Bank(f"sqlite:///{path}")
    yield bank
    bank.close()


@pytest.fixture
def customer(bank: Bank) -> Customer:
    customer = bank.customer()
    apply_all(bank.database, customer.credit(100), customer.hold("a", 60), customer.settle("a", 40))
    return customer


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def balance(path: Path, customer: Customer) -> int:
    bank = Bank(url(path))
    try:
        bank.verified()
        return bank.figures(customer.id)[0]
    finally:
        bank.close()


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.endswith(".lock"))


def test_a_backup_of_a_database_in_use_is_one_whole_file(bank: Bank, customer: Customer, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    target = tmp_path / "kept" / "monday.db"
    with bank.database.reader.begin() as busy:
        busy.exec_driver_sql("SELECT * FROM accounts").fetchall()
        assert backup(bank.url, target) == target.stat().st_size > 0
    assert names(target.parent) == ["monday.db"]
    apply_all(bank.database, customer.credit(1, "test:later"))
    assert balance(target, customer) == 60


def test_a_backup_does_not_hold_writers_up(bank: Bank, customer: Customer, tmp_path: Path) -> None:
    with bank.database.writer.begin() as connection:
        connection.exec_driver_sql("UPDATE accounts SET created_at = 5")
        backup(bank.url, tmp_path / "monday.db")  # and no writer holds it up
    assert balance(tmp_path / "monday.db", customer) == 60


def test_a_backup_overwrites_nothing(bank: Bank, customer: Customer, tmp_path: Path) -> None:
    target = tmp_path / "monday.db"
    target.write_text("mine")
    with pytest.raises(ConfigError, match="exists"):
        backup(bank.url, target)
    assert target.read_text() == "mine"


def test_a_backup_that_fails_leaves_nothing(bank: Bank, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the backup failed"):
        backup(bank.url, tmp_path / "no" / "folder.db")
    with pytest.raises(ConfigError, match="there is no database"):
        backup(url(tmp_path / "none.db"), tmp_path / "monday.db")
    assert names(tmp_path)[0] == "perquery.db"
    assert not (tmp_path / "none.db").exists()


def test_postgresql_has_its_own_tools(tmp_path: Path) -> None:
    for work in (backup, lambda url, path: restore(path, url, force=False)):
        with pytest.raises(ConfigError, match="pg_dump"):
            work("postgresql://127.0.0.1/perquery", tmp_path / "monday.db")


def test_a_restore_to_a_new_place(bank: Bank, customer: Customer, tmp_path: Path) -> None:
    backup(bank.url, tmp_path / "monday.db")
    restore(tmp_path / "monday.db", url(tmp_path / "new" / "perquery.db"), force=False)
    assert balance(tmp_path / "new" / "perquery.db", customer) == 60
    assert (tmp_path / "monday.db").exists()


def test_a_restore_in_place_keeps_what_was_there(bank: Bank, customer: Customer, path: Path, tmp_path: Path) -> None:
    backup(bank.url, tmp_path / "monday.db")
    apply_all(bank.database, customer.credit(7, "test:later"))
    bank.close()
    with pytest.raises(ConfigError, match="--force"):
        restore(tmp_path / "monday.db", bank.url, force=False)
    for later in (67, 60):
        restore(tmp_path / "monday.db", bank.url, force=True)
        assert balance(path, customer) == 60
        assert balance(path.with_name("perquery.db.before-restore"), customer) == later
    assert not [name for name in names(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("busy", ["ledger", "reader", "writer"])
def test_a_database_in_use_is_not_replaced(bank: Bank, customer: Customer, tmp_path: Path, busy: str) -> None:
    backup(bank.url, tmp_path / "monday.db")
    bank.close()
    driver = bank.database.driver()
    if busy == "ledger":
        driver.load([])
        driver.finish([])
    elif busy == "reader":
        bank.database.now_ms()
        bank.figures(customer.id)
    else:
        bank.set_key(customer.key_id, name="other")
    with pytest.raises(ConfigError, match="a process uses this database"):
        restore(tmp_path / "monday.db", bank.url, force=True)
    driver.drop()
    bank.close()
    assert not (tmp_path / "perquery.db.before-restore").exists()
    restore(tmp_path / "monday.db", bank.url, force=True)


def test_a_damaged_database_can_be_replaced(bank: Bank, customer: Customer, path: Path, tmp_path: Path) -> None:
    backup(bank.url, tmp_path / "monday.db")
    bank.close()
    path.write_bytes(b"no database any more" * 1_000)
    Path(f"{path}-wal").write_bytes(b"a log that belongs to the damaged file")
    restore(tmp_path / "monday.db", bank.url, force=True)
    assert balance(path, customer) == 60


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("UPDATE accounts SET posted = posted + 1", "books are wrong"),
        ("DROP TABLE receipts", "is no backup of a PerQuery of this version"),
        ("DELETE FROM meta", "does not say whether it is sandbox or live"),
        ("DROP TABLE meta", "no PerQuery database"),
    ],
)
def test_a_copy_that_is_not_right_is_not_restored(
    bank: Bank, customer: Customer, path: Path, tmp_path: Path, change: str, why: str
) -> None:
    copy = tmp_path / "monday.db"
    backup(bank.url, copy)
    bank.close()
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute(change)
        connection.commit()
    with pytest.raises(ConfigError, match=why):
        restore(copy, bank.url, force=True)
    assert balance(path, customer) == 60
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_a_damaged_copy_is_not_restored(bank: Bank, customer: Customer, path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "monday.db"
    backup(bank.url, copy)
    bank.close()
    whole = copy.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:8192] + bytes(4096) + whole[12288:], b"text" * 5_000):
        copy.write_bytes(damaged)
        with pytest.raises(ConfigError):
            restore(copy, bank.url, force=True)
    assert balance(path, customer) == 60


def test_sandbox_and_live_are_never_mixed(bank: Bank, customer: Customer, tmp_path: Path) -> None:
    backup(bank.url, tmp_path / "monday.db")
    open_database(url(tmp_path / "live.db"), mode="live").close()
    with pytest.raises(ConfigError, match="never mixed"):
        restore(tmp_path / "monday.db", url(tmp_path / "live.db"), force=True)
    opened = open_existing(url(tmp_path / "live.db"))
    assert opened.mode == "live"
    opened.close()


def test_a_restore_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the restore failed"):
        restore(tmp_path / "none.db", url(tmp_path / "perquery.db"), force=False)
    assert not (tmp_path / "perquery.db").exists()
