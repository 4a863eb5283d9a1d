"""Opening the database: migrations lead to the tables, once; the stamp; rules that the database itself keeps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from perquery.config import ConfigError
from perquery.store import credentials
from perquery.store.database import Database, open_existing
from perquery.store.opening import alembic_config, open_database
from perquery.store.refunds import RefundRow
from perquery.store.tables import accounts, meta, metadata, refunds
from tests.store import process
from tests.store.clock import MONDAY, Clock, apply_all
from tests.store.test_books import credit

PROCESSES = 4


@pytest.fixture
def database(migrated_url: str) -> Iterator[Database]:
    database = open_existing(migrated_url)
    yield database
    database.close()


def shape(connection: Connection) -> dict[str, Any]:
    """Everything that the catalogue of the database says about its tables."""
    inspector = inspect(connection)
    return {
        table: {
            "columns": [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(table)],
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
            "foreign": sorted(
                (f["constrained_columns"], f["referred_table"], f["referred_columns"])
                for f in inspector.get_foreign_keys(table)
            ),
            "unique": sorted(u["column_names"] for u in inspector.get_unique_constraints(table)),
            "checks": {c["name"]: c["sqltext"] for c in inspector.get_check_constraints(table)},
            "indexes": sorted((i["name"], i["column_names"], bool(i["unique"])) for i in inspector.get_indexes(table)),
        }
        for table in sorted(set(inspector.get_table_names()) - {"alembic_version"})
    }


def test_alembic_finds_no_difference(database: Database) -> None:
    with database.reader.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrations_lead_to_the_tables(database: Database, database_url: str) -> None:
    if (database.sqlite_path is None) != database_url.startswith("postgresql"):
        pytest.skip("compared within one kind of database")
    made = Database(database_url)
    with made.writer.begin() as connection:
        metadata.create_all(connection)
    with made.reader.connect() as direct, database.reader.connect() as migrated:
        assert shape(migrated) == shape(direct)
    made.close()


def test_accounts_from_before_get_ids_of_their_own(database_url: str) -> None:
    database = Database(database_url)
    with database.writer.begin() as connection:
        command.upgrade(alembic_config(connection), "0001")
        rows = [{"hash": b"%d" % number} for number in range(3)]
        connection.execute(text("INSERT INTO accounts (credit_hash, created_at) VALUES (:hash, 0)"), rows)
    database.close()
    database = open_database(database_url, mode="sandbox")
    with database.reader.connect() as connection:
        ids = list(connection.scalars(select(accounts.c.safety_id)))
    assert len(set(ids)) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", id) for id in ids)
    database.close()


def test_what_a_wallet_had_answered_for_a_refund_counts_as_its_promise(database_url: str) -> None:
    row = RefundRow(
        "one", 1, "unknown", 9, 1, 9, 1, 10**9, 0, 1, "name@example.com", "lnbc1", "ab" * 32, 1, 2, sent_at=3
    )
    older = {name: value for name, value in asdict(row).items() if name not in ("accepted_at", "declined_at")}
    database = Database(database_url)
    with database.writer.begin() as connection:
        command.upgrade(alembic_config(connection), "0009")
        connection.execute(
            text("INSERT INTO accounts (id, credit_hash, created_at) VALUES (1, :hash, 0)"), {"hash": b"1"}
        )
        names = ", ".join([*older, "answered_at"])
        values = ", ".join(f":{name}" for name in [*older, "answered_at"])
        connection.execute(text(f"INSERT INTO refunds ({names}) VALUES ({values})"), older | {"answered_at": 4})
    database.close()
    database = open_database(database_url, mode="sandbox")
    with database.reader.connect() as connection:
        assert connection.execute(select(refunds.c.accepted_at, refunds.c.declined_at)).all() == [(4, None)]
    database.close()


def test_sqlite_clusters_what_is_found_by_its_key(migrated_file: Path) -> None:
    database = open_existing(f"sqlite:///{migrated_file}")
    with database.reader.connect() as connection:
        query = text("SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%WITHOUT ROWID%' ORDER BY name")
        assert list(connection.scalars(query)) == ["holds", "requests", "transfers"]
    database.close()


def test_opening_again_changes_nothing(migrated_url: str) -> None:
    open_database(migrated_url, mode="sandbox").close()
    database = open_database(migrated_url, mode="sandbox")
    with database.reader.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(meta)) == 1
    assert database.mode == "sandbox"
    database.close()


def test_the_other_mode_is_refused(migrated_url: str) -> None:
    with pytest.raises(ConfigError, match="made for sandbox use and is never opened as live"):
        open_database(migrated_url, mode="live")
    open_database(migrated_url, mode="sandbox").close()


def test_a_newer_database_is_refused(migrated_url: str) -> None:
    database = open_existing(migrated_url)
    with database.writer.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(ConfigError, match="newer PerQuery"):
        open_database(migrated_url, mode="sandbox")


def test_there_must_be_one_to_open(database_url: str) -> None:
    with pytest.raises(ConfigError, match="no PerQuery database"):
        open_existing(database_url)


def test_several_processes_open_and_close_it_at_once_and_migrate_once(database_url: str) -> None:
    processes = [process.start("open", database_url) for _ in range(PROCESSES)]
    for opening in processes:
        opening.communicate()
    assert [opening.returncode for opening in processes] == [0] * PROCESSES
    database = open_existing(database_url)
    with database.reader.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(accounts)) == PROCESSES * process.OPENINGS
    database.close()


@pytest.mark.parametrize("folder", ["a b", "a#b", "a?b=c&mode=memory", "a%20b", "é"])
def test_any_folder_will_do(tmp_path: Path, folder: str) -> None:
    """The ledger, the control plane and the queries all open the same file."""
    database = open_database(f"sqlite:///{tmp_path / folder}/perquery.db", mode="sandbox")
    made = credentials.create_account(database)
    apply_all(database, credit(5, account_id=made.account_id))
    with database.reader.connect() as connection:
        assert connection.scalar(select(accounts.c.posted)) == 5
    database.close()
    assert [path.name for path in tmp_path.iterdir()] == [folder]


def test_readers_cannot_write(database: Database) -> None:
    with database.reader.connect() as connection, pytest.raises(DBAPIError, match=r"read.?only"):
        connection.execute(meta.insert().values(name="a", value="b"))


def test_a_clock_replaces_the_databases_time(migrated_url: str) -> None:
    own, cranked = open_existing(migrated_url), open_existing(migrated_url, Clock())
    assert cranked.now_ms() == MONDAY
    assert own.now_ms() > MONDAY
    own.close()
    cranked.close()


FORBIDDEN = [
    "INSERT INTO accounts (id, credit_hash, created_at, posted, held) VALUES (1, 'a', 0, 5, 6)",
    "INSERT INTO accounts (id, credit_hash, created_at, posted) VALUES (1, 'a', 0, -1)",
    "INSERT INTO accounts (id, credit_hash, created_at, owed) VALUES (1, 'a', 0, -1)",
    "INSERT INTO accounts (id, credit_hash, created_at, bonus) VALUES (1, 'a', 0, -1)",
    "INSERT INTO transfers VALUES (0, 'r', 'a', 'b', 0, 0)",
    "INSERT INTO transfers VALUES (0, 'r', 'a', 'a', 1, 0)",
    "INSERT INTO transfers VALUES (0, 'r', 'a', 'b', 1, 0), (0, 'r', 'c', 'd', 1, 0)",
    "INSERT INTO holds VALUES ('h', 7, NULL, 1, 'o', 0, 'm', 1, 0)",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_database_refuses_to_be_wrong(database: Database, statement: str) -> None:
    with pytest.raises(IntegrityError), database.writer.begin() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE api_keys SET period_used = -1",
        "UPDATE api_keys SET period_held = -1",
        "UPDATE api_keys SET total_used = -1",
        "UPDATE api_keys SET reset_period = 'hourly'",
        "UPDATE api_keys SET account_id = 99",
        "UPDATE accounts SET held = 1",
        "DELETE FROM accounts",
    ],
)
def test_the_database_refuses_to_become_wrong(database: Database, change: str) -> None:
    credentials.create_account(database)
    with pytest.raises(IntegrityError), database.writer.begin() as connection:
        connection.execute(text(change))
