"""The sandbox's wallet that pays out: it writes down that it has paid, and no coin moves.

Its record is a small SQLite file of its own in the data folder. It pays regtest invoices alone (lnbcrt…), whoever
made them, so it must never serve a live gateway.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Final

from perquery.payouts.wallet import Declined, Look, Purse
from perquery.rails import bolt11
from perquery.rails.rail import RailDown

FILE_NAME: Final = "sandbox-payouts.db"
NETWORK: Final = "bcrt"
WALLET: Final = "sandbox"
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS payments (payment_hash TEXT PRIMARY KEY, amount_msat INTEGER NOT NULL) WITHOUT ROWID"
)


class SandboxPayer:
    """The wallet. One connection, used by one thread at a time."""

    def __init__(self, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(data / FILE_NAME, timeout=5.0, isolation_level=None, check_same_thread=False)
        self._connection.execute(_SCHEMA)

    async def pay(self, invoice: str) -> None:
        await asyncio.to_thread(self._pay, invoice)

    async def look(self, payment_hash: str) -> Look:
        return await asyncio.to_thread(self._look, payment_hash)

    async def inspect(self, amount_msat: int) -> Purse:
        return Purse("the sandbox's wallet", WALLET, None, 0)

    async def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _pay(self, text: str) -> None:
        invoice = bolt11.decode(text)
        if invoice.network != NETWORK or not invoice.amount_msat:
            raise Declined("the sandbox pays only its own play money (lnbcrt…)")
        row = (invoice.payment_hash.hex(), invoice.amount_msat)
        try:
            with self._lock:
                self._connection.execute("INSERT INTO payments VALUES (?, ?)", row)
        except sqlite3.IntegrityError as error:
            raise Declined("this invoice is paid already") from error
        except sqlite3.Error as error:
            raise RailDown(f"the sandbox wallet does not answer: {error}") from error

    def _look(self, payment_hash: str) -> Look:
        query = "SELECT amount_msat FROM payments WHERE payment_hash = ?"
        try:
            with self._lock:
                row = self._connection.execute(query, (payment_hash,)).fetchone()
        except sqlite3.Error as error:
            raise RailDown(f"the sandbox wallet does not answer: {error}") from error
        return Look(WALLET, "paid", int(row[0])) if row is not None else Look(WALLET, "absent")
