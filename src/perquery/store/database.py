"""Opening the database: its URL, engines, migrations under a lock, and the stamp that says sandbox or live.

`writer` is for short transactions of the control plane (accounts, keys, invoices), `reader` for queries; the
ledger has a driver of its own. No table is created anywhere but in the migrations.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from perquery.config import ConfigError
from perquery.store.drivers import (
    PATIENCE,
    Driver,
    Postgres,
    Sqlite,
    begin_immediate,
    prepare_writer,
    session_options,
    wall_ms,
)
from perquery.store.tables import meta

_MIGRATION_LOCK = 0x50514D49  # any constant: PostgreSQL's advisory lock for migrations


class Database:
    """A database that is migrated and stamped. `clock` (ms) replaces its own time in tests."""

    def __init__(self, url: str, clock: Callable[[], int] | None = None) -> None:
        self.url = url
        self.sqlite_path = _sqlite_path(url)
        self._clock = clock
        self.mode: str | None = None
        self.writer = _engine(url, read_only=False)
        self.reader = _engine(url, read_only=True)

    def driver(self) -> Driver:
        if self.sqlite_path:
            return Sqlite(self.sqlite_path, self._clock)
        return Postgres(_libpq_url(self.url), self._clock)

    def now_ms(self) -> int:
        """The database's time, by which leases and expiries are judged."""
        if self._clock is not None:
            return self._clock()
        if self.sqlite_path:
            return wall_ms()
        with self.reader.connect() as connection:
            return int(connection.scalar(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")) or 0)

    def close(self) -> None:
        self.writer.dispose()
        self.reader.dispose()


def _sqlite_path(url: str) -> str | None:
    return url.removeprefix("sqlite:///") if url.startswith("sqlite:///") else None


def _libpq_url(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def _engine(url: str, *, read_only: bool) -> Engine:
    if path := _sqlite_path(url):
        options = {"uri": "true", "mode": "ro"} if read_only else {"uri": "true"}
        engine = create_engine(
            URL.create("sqlite", database=f"file:{quote(path)}", query=options),
            connect_args={"timeout": 5 if read_only else 0, "check_same_thread": False},
        )
        _own_transactions(engine, read_only=read_only)
        return engine
    settings = {"default_transaction_read_only": "on"} if read_only else PATIENCE
    return create_engine(
        _libpq_url(url).replace("postgresql://", "postgresql+psycopg://", 1),
        connect_args={"connect_timeout": 5, "options": session_options(_libpq_url(url), **settings)},
        pool_pre_ping=True,
        isolation_level="REPEATABLE READ" if read_only else "READ COMMITTED",
    )


def _own_transactions(engine: Engine, *, read_only: bool) -> None:
    """sqlite3 begins transactions late and in its own way: begin them ourselves, writers with the lock."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        if read_only:
            connection.execute("PRAGMA foreign_keys = ON")
        else:
            prepare_writer(connection)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if read_only:
            connection.exec_driver_sql("BEGIN")
        else:
            begin_immediate(connection.connection.cursor().execute)


@contextmanager
def _migration_lock(engine: Engine, sqlite_path: str | None) -> Iterator[Connection]:
    """One migrator at a time, over all processes: a file lock beside SQLite, an advisory lock on PostgreSQL."""
    if sqlite_path:
        with Path(f"{sqlite_path}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with engine.begin() as connection:
                yield connection
        return
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        yield connection


def alembic_config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("perquery.store") / "migrations"))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    try:
        command.upgrade(alembic_config(connection), "head")
    except CommandError as error:
        raise ConfigError(f"this database was made by a newer PerQuery: {error}") from error


def open_existing(url: str, clock: Callable[[], int] | None = None) -> Database:
    """Open a database that `serve` has made, whatever its mode, for the command line. Raises ConfigError."""
    path = _sqlite_path(url)
    missing = ConfigError(f"no PerQuery database at {path or 'this database_url'} yet: start `perquery serve` first")
    if path and not Path(path).exists():
        raise missing
    database = Database(url, clock)
    try:
        with database.reader.begin() as connection:
            database.mode = connection.scalar(select(meta.c.value).where(meta.c.name == "mode"))
    except SQLAlchemyError as error:
        database.close()
        raise missing from error
    return database


def open_database(url: str, *, mode: str, clock: Callable[[], int] | None = None) -> Database:
    """Create or migrate the database and check its stamp. Raises ConfigError where it is of the other mode."""
    path = _sqlite_path(url)
    if path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        sqlite3.connect(path).close()
    database = Database(url, clock)
    try:
        with _migration_lock(database.writer, path) as connection:
            _upgrade(connection)
            stamped = connection.scalar(select(meta.c.value).where(meta.c.name == "mode"))
            if stamped is None:
                connection.execute(insert(meta).values(name="mode", value=mode))
        if stamped not in (None, mode):
            raise ConfigError(
                f"this database was made for {stamped} use and is never opened as {mode}: sandbox credit must not"
                f" become real; use another --data folder or database_url"
            )
    except BaseException:
        database.close()
        raise
    database.mode = mode
    return database
