"""Backup and restore of the embedded database. PostgreSQL has its own tools, and they are better.

A backup is a consistent copy made while the gateway runs; it appears under its name only when it is whole. A
restore is checked (file, stamp, books) before it takes the place of anything.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from perquery.config import ConfigError
from perquery.store import audit
from perquery.store.database import open_existing

_SUFFIXES = ("-wal", "-shm", "")  # the file itself last: a log must never lie beside another's file


def backup(url: str, target: Path) -> int:
    """Copy the database to `target`, which must not exist; its size in bytes. Raises ConfigError."""
    path = _path(url)
    if not path.exists():
        raise ConfigError(f"there is no database at {path}")
    if target.exists():
        raise ConfigError(f"{target} exists; choose another name")
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, nothing beside it
        _sync(part)
        os.link(part, target)  # refuses where somebody was faster
    except (sqlite3.Error, OSError) as error:
        raise ConfigError(f"the backup failed: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    _sync(target.parent)
    return target.stat().st_size


def restore(source: Path, url: str, *, force: bool) -> None:
    """Put a backup in the place of the database. The gateway must be stopped. Raises ConfigError."""
    path = _path(url)
    if path.exists() and not force:
        raise ConfigError(f"{path} exists; --force replaces it (it is kept beside as {path.name}.before-restore)")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        shutil.copyfile(source, part)
        mode = _check(part)
        with Path(f"{path}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                _refuse_in_use(path, mode)
                _put_aside(path)
            _sync(part)
            part.replace(path)
    except OSError as error:
        raise ConfigError(f"the restore failed: {error}") from error
    finally:
        for suffix in _SUFFIXES:
            Path(f"{part}{suffix}").unlink(missing_ok=True)
    _sync(path.parent)


def _path(url: str) -> Path:
    if not url.startswith("sqlite:///"):
        raise ConfigError("this is for the embedded database; use pg_dump and pg_restore for PostgreSQL")
    return Path(url.removeprefix("sqlite:///"))


def _put_aside(path: Path) -> None:
    for suffix in _SUFFIXES:
        old, aside = Path(f"{path}{suffix}"), Path(f"{path}.before-restore{suffix}")
        aside.unlink(missing_ok=True)
        if old.exists():
            old.replace(aside)


def _check(part: Path) -> str:
    """The file is whole, is ours, and its books are right; its mode."""
    try:
        with closing(sqlite3.connect(part)) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.Error as error:
        raise ConfigError(f"this is no backup: {error}") from error
    if verdict != "ok":
        raise ConfigError(f"the backup is damaged: {verdict}")
    database = open_existing(f"sqlite:///{part.resolve()}")
    try:
        report = audit.verify(database)
    except SQLAlchemyError as error:
        raise ConfigError(f"this is no backup of a PerQuery of this version: {error}") from error
    finally:
        database.close()
    if not report.ok:
        raise ConfigError(f"the backup's books are wrong: {report.findings[0]}")
    if database.mode is None:
        raise ConfigError("the backup does not say whether it is sandbox or live")
    return database.mode


def _refuse_in_use(path: Path, mode: str) -> None:
    """Whoever has the database open would go on writing to the file that is put aside."""
    try:
        with closing(sqlite3.connect(path, timeout=0)) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")  # only the sole user of a file can
            stamped = connection.execute("SELECT value FROM meta WHERE name = 'mode'").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise ConfigError("a process uses this database; stop the gateway first") from error
        stamped = None
    except sqlite3.DatabaseError:
        stamped = None  # damaged: what a restore is for
    if stamped is not None and stamped[0] != mode:
        raise ConfigError(f"the backup is of {mode} use and the database of {stamped[0]} use; they are never mixed")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
