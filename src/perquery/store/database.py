"""The database: its URL and engines.

`writer` is for short transactions of the control plane (accounts, keys, invoices), `reader` for queries; the
ledger has a driver of its own. `opening` makes and migrates it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, select, text
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
