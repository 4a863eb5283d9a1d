"""A scripted BTCPay Server: the Greenfield calls that the rail makes, in the shapes of 2.x, over a socket."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from perquery.rails import bolt11
from tests.answering import Asked, answering

RECEIVE, FULL, BLIND = "receive-key", "full-key", "blind-key"
STORE = "9f8e7d6c"
_CREATE, _VIEW = "btcpay.store.cancreatelightninginvoice", "btcpay.store.canviewlightninginvoice"
PERMISSIONS: dict[str, list[str]] = {
    RECEIVE: [f"{_CREATE}:{STORE}", f"{_VIEW}:{STORE}"],
    FULL: [f"{_CREATE}:{STORE}", f"{_VIEW}:{STORE}", f"btcpay.store.canuselightningnode:{STORE}"],
    BLIND: [f"{_CREATE}:{STORE}"],
}
_NODE_KEY = b"\x11" * 32


def refusal(status: int, code: str, message: str) -> tuple[int, str]:
    return status, json.dumps({"code": code, "message": message})


class ScriptedBtcpay:
    """clock: milliseconds. spoil: (status, body) in place of every answer; change: what the next invoices are instead
    of what was asked for; tells_hash: whether it is a version that states payment hashes.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self.url = ""
        self.spoil: tuple[int, str] | None = None
        self.change: dict[str, Any] = {}
        self.tells_hash = True
        self.rows: dict[str, dict[str, Any]] = {}
        self._clock = clock

    def pay(self, text: str, amount_msat: int | None = None) -> None:
        row = next(row for row in self.rows.values() if row["BOLT11"] == text)
        self._age(row)
        if row["status"] != "Unpaid":
            raise ValueError("this invoice is paid already" if row["status"] == "Paid" else "this invoice has expired")
        received = str(amount_msat or bolt11.decode(text).amount_msat)
        row |= {"status": "Paid", "amountReceived": received, "paidAt": self._clock() // 1000}

    def row(self, payment_hash: str) -> tuple[dict[str, Any], str]:
        """What it has written down, and where in it the amount stands."""
        ours = (row for row in self.rows.values() if bolt11.decode(row["BOLT11"]).payment_hash.hex() == payment_hash)
        return next(ours), "amountReceived"

    def answer(self, asked: Asked) -> tuple[int, str]:
        if self.spoil is not None:
            return self.spoil
        key = asked.headers.get("authorization", "").removeprefix("token ")
        if key not in PERMISSIONS:
            return refusal(401, "unauthenticated", "Authentication is required for accessing this endpoint")
        path = urlsplit(asked.path).path
        invoices = f"/api/v1/stores/{STORE}/lightning/BTC/invoices"
        if path == "/api/v1/server/info":
            return 200, json.dumps({"version": "2.0.6", "fullySynced": True})
        if path == "/api/v1/api-keys/current":
            return 200, json.dumps({"apiKey": key, "label": "till", "permissions": PERMISSIONS[key]})
        if not path.startswith(invoices):
            return refusal(404, "store-not-found", "The store was not found")
        if asked.method == "POST":
            return 200, json.dumps(self._made(json.loads(asked.body)))
        if not any(each.startswith(_VIEW) for each in PERMISSIONS[key]):
            return refusal(403, "missing-permission", f"Insufficient API Permissions. Please use {_VIEW}")
        if path == invoices:
            return 200, json.dumps(list(self.rows.values()))
        row = self.rows.get(unquote(path.removeprefix(invoices + "/")))
        if row is None:
            return refusal(404, "invoice-not-found", "Impossible to find a lightning invoice with this id")
        self._age(row)
        return 200, json.dumps(row)

    def _made(self, asked: dict[str, Any]) -> dict[str, Any]:
        hash_, name = hashlib.sha256(secrets.token_bytes(32)).digest(), f"label/{secrets.token_hex(8)}"
        invoice: dict[str, Any] = {
            "network": "bc",
            "amount_msat": int(asked["amount"]),
            "created_at": self._clock() // 1000,
            "payment_hash": hash_,
            "payment_secret": b"\x33" * 32,
            "description": asked["description"],
            "expiry_s": asked["expiry"],
        } | self.change
        row = {
            "id": name,
            "status": "Unpaid",
            "BOLT11": bolt11.encode(bolt11.Bolt11(**invoice), _NODE_KEY),
            "paidAt": None,
            "expiresAt": self._clock() // 1000 + asked["expiry"],
            "amount": asked["amount"],
            "amountReceived": None,
        }
        self.rows[name] = row | ({"paymentHash": hash_.hex()} if self.tells_hash else {})
        return self.rows[name]

    def _age(self, row: dict[str, Any]) -> None:
        if row["status"] == "Unpaid" and self._clock() >= row["expiresAt"] * 1000:
            row["status"] = "Expired"


@contextmanager
def running(clock: Callable[[], int]) -> Iterator[ScriptedBtcpay]:
    server = ScriptedBtcpay(clock)

    def answer(asked: Asked) -> tuple[int, bytes]:
        status, said = server.answer(asked)
        return status, said.encode()

    with answering(answer) as server.url:
        yield server
