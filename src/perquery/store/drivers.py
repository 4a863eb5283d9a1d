"""The two databases under the ledger: a connection, a transaction, statements by name.

A driver belongs to the ledger's one thread. It translates the drivers' errors into two: Down (the outcome may
be unknown; connect again and send the batch again) and Broken (this batch breaks a rule of the database).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import orjson

from perquery.later import Later
from perquery.store.statements import POSTGRES, SQLITE, sqlite_insert, sqlite_load

if TYPE_CHECKING:
    import psycopg
    import psycopg.conninfo
else:  # most gateways keep to SQLite
    psycopg = Later("psycopg")

Row: TypeAlias = Sequence[Any]
Load: TypeAlias = tuple[str, tuple[Any, ...]]  # a name of `statements` and its parameters
Write: TypeAlias = tuple[str, Sequence[Row]]  # a name of `statements` and its rows
BUSY_TIMEOUT_S = 5.0
BUSY_PAUSE_S = 0.001
PATIENCE: Final = MappingProxyType({"idle_in_transaction_session_timeout": "10s", "lock_timeout": "5s"})
# How many rows an insert takes: few lengths, so that statements are reused, and two of them make up most numbers.
_LENGTHS: Final = (64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
_SQLITE_ERRORS: Final = (sqlite3.Error, OverflowError, UnicodeError)  # the latter two: values it cannot take


class Down(Exception):
    """The database did not answer, is locked, full or gone; whether a commit took effect is unknown."""


class Broken(Exception):
    """A rule of the database was broken by something in the batch; nothing took effect."""


def _sqlite_error(error: Exception) -> Down | Broken:
    """A value that the database cannot take is the operation's fault; it would fail forever."""
    ours = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError)
    wrong = isinstance(error, ours) or not isinstance(error, sqlite3.Error)
    return Broken(str(error)) if wrong else Down(str(error))


def _postgres_error(error: Exception) -> Down | Broken:
    """The same; a ProgrammingError with a state is the server's (a table or a right is missing)."""
    wrong = isinstance(error, psycopg.IntegrityError | psycopg.DataError) or not isinstance(error, psycopg.Error)
    unfit = isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None
    return Broken(str(error)) if wrong or unfit else Down(str(error))


class Driver(Protocol):
    """One connection, one transaction at a time: begin and load, write, end.

    `load` begins one where none is open and answers the database's time in ms beside the rows; `finish` writes
    and commits (nothing is durable before it returns); `drop` rolls back and forgets the connection.
    """

    def load(self, statements: Sequence[Load]) -> tuple[int, list[list[Row]]]: ...

    def finish(self, writes: Sequence[Write]) -> None: ...

    def drop(self) -> None: ...


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def connect_sqlite(path: str) -> sqlite3.Connection:
    """A connection in the mode that all writers of the file use."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        prepare_writer(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def prepare_writer(connection: sqlite3.Connection) -> None:
    """WAL, fsync at each commit, foreign keys. Waits for who happens to close the file or to recover it."""
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        _insist(connection.execute, f"PRAGMA {pragma}")


def begin_immediate(execute: Callable[[str], Any]) -> None:
    """BEGIN IMMEDIATE, as soon as nobody else writes. Raises sqlite3.OperationalError after BUSY_TIMEOUT_S."""
    _insist(execute, "BEGIN IMMEDIATE")


def _insist(execute: Callable[[str], Any], statement: str) -> None:
    """Ask again each millisecond while the file is locked: SQLite's own waiting doubles its pauses up to 100 ms, and
    a busy writer would starve everybody else.
    """
    until_s = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            execute(statement)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until_s:
                raise
            time.sleep(BUSY_PAUSE_S)


class Sqlite:
    """`clock` answers milliseconds; the file's own machine is the only one that uses it."""

    def __init__(self, path: str, clock: Callable[[], int] | None = None) -> None:
        self._path = path
        self._clock = clock or wall_ms
        self._connection: sqlite3.Connection | None = None

    def load(self, statements: Sequence[Load]) -> tuple[int, list[list[Row]]]:
        try:
            if self._connection is None:
                self._connection = connect_sqlite(self._path)
            if not self._connection.in_transaction:
                begin_immediate(self._connection.execute)
            found = _found(self._connection, statements) if statements else ()
        except _SQLITE_ERRORS as error:
            raise _sqlite_error(error) from error
        return self._clock(), [orjson.loads(rows) for rows in found]

    def finish(self, writes: Sequence[Write]) -> None:
        assert self._connection is not None
        try:
            for name, rows in writes:
                _write(self._connection, name, rows)
            self._connection.execute("COMMIT")
        except _SQLITE_ERRORS as error:
            raise _sqlite_error(error) from error

    def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _found(connection: sqlite3.Connection, statements: Sequence[Load]) -> Row:
    """Each statement's rows as JSON."""
    names, values = tuple([name for name, _ in statements]), [value for _, given in statements for value in given]
    row: Row = connection.execute(sqlite_load(names), values).fetchone()
    return row


def _write(connection: sqlite3.Connection, name: str, rows: Sequence[Row]) -> None:
    if name.startswith("set_"):
        connection.executemany(SQLITE[name], rows)
    elif name.startswith("end_"):
        connection.execute(SQLITE[name], (orjson.dumps([row[0] for row in rows]).decode(),))
    else:
        done = 0
        while done < len(rows):
            count = next(length for length in _LENGTHS if length <= len(rows) - done)
            values = chain.from_iterable(rows[done : done + count])
            connection.execute(sqlite_insert(name, count), tuple(values))
            done += count


def session_options(url: str, **settings: str) -> str:
    """Options of a PostgreSQL session: those of the URL, and `settings`."""
    given = str(psycopg.conninfo.conninfo_to_dict(url).get("options") or "")
    return " ".join([given, *(f"-c {name}={value}" for name, value in settings.items())]).strip()


def connect_postgres(url: str) -> psycopg.Connection[Row]:
    """The ledger's connection. A process that is paused amid a transaction holds locks that all others wait for:
    the server ends its session, and who waits gives up and asks again.
    """
    return psycopg.connect(
        url,
        autocommit=True,  # we begin and commit ourselves, within the pipelines
        connect_timeout=5,
        prepare_threshold=2,
        options=session_options(url, **PATIENCE),
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=15_000,
    )


class Postgres:
    """`clock` replaces the database's own time in tests."""

    def __init__(self, url: str, clock: Callable[[], int] | None = None) -> None:
        self._url = url
        self._clock = clock
        self._connection: psycopg.Connection[Row] | None = None

    def load(self, statements: Sequence[Load]) -> tuple[int, list[list[Row]]]:
        try:
            if self._connection is None:
                self._connection = connect_postgres(self._url)
            with self._connection.pipeline():
                if self._connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
                    self._connection.execute(_BEGIN)
                cursors = [self._connection.execute(POSTGRES[name], values) for name, values in statements]
                rows = [cursor.fetchall() for cursor in cursors]
            # The time last: what waited for a lock must not judge by a time from before the wait. And outside of the
            # pipeline, whose closing Flush would disarm the server's watch over idle transactions (PATIENCE).
            now = self._connection.execute(_NOW).fetchone()
        except (psycopg.Error, OverflowError, UnicodeError) as error:
            raise _postgres_error(error) from error
        assert now is not None
        return (self._clock() if self._clock else int(now[0])), rows

    def finish(self, writes: Sequence[Write]) -> None:
        assert self._connection is not None
        try:
            with self._connection.pipeline():
                for name, rows in writes:
                    self._connection.execute(POSTGRES[name], [list(column) for column in zip(*rows, strict=True)])
                self._connection.execute("COMMIT")
        except (psycopg.Error, OverflowError, UnicodeError) as error:
            raise _postgres_error(error) from error

    def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"  # rows are read again after a wait for their lock
_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"
