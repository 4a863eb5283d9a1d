"""Opening the database to serve from it: migrations under a lock, and the stamp that says sandbox or live.

No table is created anywhere but in the migrations. Who only reads or writes what is there opens `database`.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, insert, select, text

from perquery.config import ConfigError
from perquery.store.database import Database
from perquery.store.tables import meta

_MIGRATION_LOCK = 0x50514D49  # any constant: PostgreSQL's advisory lock for migrations


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


def open_database(url: str, *, mode: str, clock: Callable[[], int] | None = None) -> Database:
    """Create or migrate the database and check its stamp. Raises ConfigError where it is of the other mode."""
    database = Database(url, clock)
    if path := database.sqlite_path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        sqlite3.connect(path).close()
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
