"""The sandbox's Lightning wallet: a rail that issues true BOLT #11 invoices (regtest), paid from the command line.

Its state (node key, issued invoices, payments) is a small SQLite file of its own in the data folder, never
PerQuery's database: `pay` may run in another process, and what it pays reaches the gateway as any payment does,
through `receipts`. No real coin ever moves here, so it must never serve a live gateway.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from coincurve import PrivateKey

from perquery.rails import bolt11
from perquery.rails.rail import Inspection, Payable, PayableRequest, RailDown, Receipt, Watched

FILE_NAME = "sandbox-wallet.db"
NETWORK = "bcrt"
_BUSY_TIMEOUT_S = 5.0
_RECEIPTS_MAX = 500  # in one answer
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS node (id INTEGER PRIMARY KEY CHECK (id = 1), key BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS invoices (payment_hash TEXT PRIMARY KEY, preimage TEXT NOT NULL,"
    " amount_msat INTEGER NOT NULL CHECK (amount_msat > 0), expires_at INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS payments (id INTEGER PRIMARY KEY AUTOINCREMENT, payment_hash TEXT NOT NULL UNIQUE"
    " REFERENCES invoices, amount_msat INTEGER NOT NULL, paid_at_ms INTEGER NOT NULL)",
)


@dataclass(frozen=True, slots=True)
class Paid:
    """A payment made: its hash and proof (hex), the amount in millisatoshi, what it was for."""

    payment_hash: str
    preimage: str
    amount_msat: int
    description: str


class SandboxWallet:
    """The rail. `clock` answers the time in milliseconds. One connection, used by one thread at a time."""

    pace_s = 0.2
    receivable: int | None = None

    def __init__(self, data: Path, clock: Callable[[], int]) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._lock = threading.Lock()
        self._connection = _connect(data / FILE_NAME)
        with _transaction(self._connection):
            for statement in _SCHEMA:
                self._connection.execute(statement)
            self._connection.execute("INSERT OR IGNORE INTO node VALUES (1, ?)", (PrivateKey().secret,))
        self._key = _node_key(self._connection)

    async def make(self, request: PayableRequest) -> Payable:
        return await asyncio.to_thread(self._make, request)

    async def receipts(self, cursor: str, watched: Sequence[Watched]) -> tuple[Sequence[Receipt], str]:
        return await asyncio.to_thread(self._receipts, cursor)

    async def close(self) -> None:
        with self._lock:
            self._connection.close()

    async def inspect(self) -> Inspection:
        return Inspection("the sandbox's wallet", NETWORK, may_spend=False)

    def _make(self, request: PayableRequest) -> Payable:
        preimage = secrets.token_bytes(32)
        invoice = bolt11.Bolt11(
            network=NETWORK,
            amount_msat=request.amount,
            created_at=self._clock() // 1000,
            payment_hash=hashlib.sha256(preimage).digest(),
            payment_secret=secrets.token_bytes(32),
            description=request.description,
            expiry_s=request.expiry_s,
        )
        text, reference = bolt11.encode(invoice, self._key), invoice.payment_hash.hex()
        row = (reference, preimage.hex(), request.amount, invoice.expires_at)
        with self._lock, _down_if_refused(), _transaction(self._connection):
            self._connection.execute("INSERT INTO invoices VALUES (?, ?, ?, ?)", row)
        return Payable(text, reference)

    def _receipts(self, cursor: str) -> tuple[list[Receipt], str]:
        after = int(cursor or 0)
        with self._lock, _down_if_refused():
            rows = self._connection.execute(
                "SELECT id, payment_hash, amount_msat, paid_at_ms FROM payments WHERE id > ? ORDER BY id LIMIT ?",
                (after, _RECEIPTS_MAX),
            ).fetchall()
        receipts = [Receipt(hash_, hash_, amount, "confirmed", at_ms) for _, hash_, amount, at_ms in rows]
        return receipts, str(rows[-1][0]) if rows else cursor


def pay(data: Path, text: str, clock: Callable[[], int]) -> Paid:
    """Pay an invoice of the sandbox wallet in `data`, from whatever process. ValueError says why it cannot be."""
    invoice = bolt11.decode(text)
    if invoice.network != NETWORK:
        raise ValueError("this invoice asks for real coins; the sandbox pays only its own (lnbcrt…)")
    path = data / FILE_NAME
    if not path.exists():
        raise ValueError(f"there is no sandbox wallet in {data}: start `perquery serve --sandbox` with this --data")
    connection = _connect(path)
    try:
        with _transaction(connection):
            return _pay(connection, invoice, clock())
    except sqlite3.Error as error:
        raise ValueError(f"the sandbox wallet in {data} does not answer: {error}") from error
    finally:
        connection.close()


def _pay(connection: sqlite3.Connection, invoice: bolt11.Bolt11, now_ms: int) -> Paid:
    reference = invoice.payment_hash.hex()
    row = connection.execute(
        "SELECT preimage, amount_msat, expires_at FROM invoices WHERE payment_hash = ?", (reference,)
    ).fetchone()
    own = PrivateKey(_node_key(connection)).public_key.format() == invoice.payee
    if row is None or not own or row[1] != invoice.amount_msat:
        raise ValueError("this invoice was not issued by this sandbox's wallet; is --data the gateway's?")
    preimage, amount, expires_at = row
    if connection.execute("SELECT 1 FROM payments WHERE payment_hash = ?", (reference,)).fetchone():
        raise ValueError("this invoice is paid already")
    if now_ms >= expires_at * 1000:
        raise ValueError("this invoice has expired; create a new one")
    connection.execute(
        "INSERT INTO payments (payment_hash, amount_msat, paid_at_ms) VALUES (?, ?, ?)", (reference, amount, now_ms)
    )
    return Paid(reference, preimage, amount, invoice.description or "")


def _connect(path: Path) -> sqlite3.Connection:
    """Rollback journal rather than WAL: switching to WAL fails while another process opens the same new file."""
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _node_key(connection: sqlite3.Connection) -> bytes:
    row = connection.execute("SELECT key FROM node").fetchone()
    if row is None:
        raise ValueError("the sandbox wallet has no node key")
    return bytes(row[0])


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def _down_if_refused() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise RailDown(f"the sandbox wallet does not answer: {error}") from error
