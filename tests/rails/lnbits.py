"""A scripted LNbits: the routes that the rail asks, in the shapes that LNbits 1.6 answers, over a socket.

`spoil` answers everything by (status, body) instead. Like LNbits it lets what has expired be paid.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from perquery.rails import bolt11
from tests.answering import Asked, answering

INVOICE_KEY, ADMIN_KEY = "inkey", "adminkey"
WALLET = "w1"
_NODE_KEY = b"\x11" * 32


class ScriptedLnbits:
    """clock: milliseconds. change: what the next invoices are instead of what was asked for."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.url = ""
        self.spoil: tuple[int, str] | None = None
        self.change: dict[str, Any] = {}
        self.rows: list[dict[str, Any]] = []
        self.balance_msat = 0
        self.reserve_msat = 10_000_000
        self._clock = clock

    def pay(self, text: str) -> None:
        wanted = bolt11.decode(text).payment_hash.hex()
        row = next(row for row in self.rows if row["payment_hash"] == wanted)
        if row["status"] == "success":
            raise ValueError("Internal invoice already paid: this invoice is paid already")
        row |= {"status": "success", "updated_at": self._now()}

    def answer(self, method: str, url: str, key: str | None, body: bytes) -> tuple[int, Any]:
        path = urlsplit(url).path
        if self.spoil is not None:
            return self.spoil
        if key not in (INVOICE_KEY, ADMIN_KEY):
            return 404, {"detail": "Wallet not found."}
        if path == "/api/v1/wallet":
            return 200, {"name": "till", "balance": self.balance_msat} | ({"id": WALLET} if key == ADMIN_KEY else {})
        if path == "/api/v1/payments":
            return (201, self._made(json.loads(body))) if method == "POST" else (200, self._listed(url))
        if path == "/api/v1/payments/fee-reserve":
            return 200, {"fee_reserve": self.reserve_msat}
        for row in self.rows:
            if key == ADMIN_KEY and path == f"/api/v1/payments/{row['payment_hash']}":
                return 200, {"paid": row["status"] == "success", "details": row | {"wallet_id": WALLET}}
        return 404, {"detail": "Not Found"}

    def _made(self, asked: dict[str, Any]) -> dict[str, Any]:
        hash_ = hashlib.sha256(secrets.token_bytes(32)).digest()
        invoice = {
            "network": "bc",
            "amount_msat": asked["amount"] * 1000,
            "created_at": self._clock() // 1000,
            "payment_hash": hash_,
            "payment_secret": b"\x33" * 32,
            "description": asked["memo"],
            "expiry_s": asked["expiry"],
        } | self.change
        row = {
            "payment_hash": hash_.hex(),
            "bolt11": bolt11.encode(bolt11.Bolt11(**invoice), _NODE_KEY),
            "amount": asked["amount"] * 1000,
            "status": "pending",
            "updated_at": self._now(),
        }
        self.rows.append(row)
        return row

    def _listed(self, url: str) -> list[dict[str, Any]]:
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert (query["status[eq]"], query["amount[gt]"]) == ("success", "0")
        assert (query["sortby"], query["direction"]) == ("updated_at", "desc")
        paid = [row for row in self.rows if row["status"] == "success"]
        newest_first = sorted(paid, key=lambda row: str(row["updated_at"]), reverse=True)
        return newest_first[int(query["offset"]) :][: int(query["limit"])]

    def _now(self) -> str:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self._clock())).isoformat()


@contextmanager
def running(clock: Callable[[], int]) -> Iterator[ScriptedLnbits]:
    wallet = ScriptedLnbits(clock)

    def answer(asked: Asked) -> tuple[int, bytes]:
        status, said = wallet.answer(asked.method, asked.path, asked.headers.get("x-api-key"), asked.body)
        return status, (said if isinstance(said, str) else json.dumps(said)).encode()

    with answering(answer) as wallet.url:
        yield wallet
