"""A scripted LND: the routes of its REST API that the rail asks, in the shapes that LND 0.18 answers, over a socket.

Whole numbers are text, bytes are base64, errors are those of its gRPC gateway. `spoil` answers everything, or one
path, by (status, body) instead.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from perquery.rails import bolt11
from tests.answering import Asked, answering

RECEIVE, ADMIN, INVOICE = "0201aa", "0201bb", "0201cc"  # macaroons
_READS = {("invoices", "read"), ("invoices", "write"), ("info", "read"), ("offchain", "read"), ("macaroon", "read")}
_SPENDS = {("offchain", "write"), ("onchain", "write"), ("macaroon", "generate")}
PERMISSIONS = {
    RECEIVE: _READS,
    ADMIN: _READS | _SPENDS,
    INVOICE: {("invoices", "read"), ("invoices", "write"), ("info", "read")},
}
_NEEDS = {
    "invoice": ("invoices", "read"),
    "invoices": ("invoices", "read"),
    "getinfo": ("info", "read"),
    "channels": ("offchain", "read"),
    "macaroon": ("macaroon", "read"),
}
_NODE_KEY = b"\x11" * 32


def refusal(status: int, code: int, message: str) -> tuple[int, str]:
    return status, json.dumps({"code": code, "message": message, "details": []})


class ScriptedLnd:
    """clock: milliseconds. change: what the next invoices are instead of what was asked for; state: what an invoice
    says of itself instead; asked: the paths, in order.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self.url = ""
        self.spoil: dict[str, tuple[int, str]] = {}
        self.change: dict[str, Any] = {}
        self.invoices: dict[str, dict[str, Any]] = {}
        self.channels: list[dict[str, Any]] = []
        self.network = "mainnet"
        self.asked: list[str] = []
        self.hints = False
        self._clock = clock

    def pay(self, text: str, amount_msat: int | None = None, *, held: bool = False) -> None:
        """held: as to a hold invoice, whose receiver has not decided."""
        wanted = bolt11.decode(text)
        invoice = self._found(wanted.payment_hash.hex())
        if invoice is None or invoice["state"] == "SETTLED":
            raise ValueError("invoice is paid already")
        if invoice["state"] == "CANCELED":
            raise ValueError("invoice expired")
        paid = {"amt_paid_msat": str(amount_msat or wanted.amount_msat), "settle_date": str(self._clock() // 1000)}
        invoice |= {"state": "ACCEPTED"} if held else {"state": "SETTLED"} | paid

    def row(self, payment_hash: str) -> tuple[dict[str, Any], str]:
        """What it has written down, and where in it the amount stands."""
        found = self._found(payment_hash)
        assert found is not None
        return found, "amt_paid_msat"

    def answer(self, method: str, url: str, macaroon: str | None, body: bytes) -> tuple[int, Any]:
        path = urlsplit(url).path
        self.asked.append(path)
        for begins, said in self.spoil.items():
            if path.startswith(begins):
                return said
        if macaroon not in PERMISSIONS:
            return refusal(500, 2, "verification failed: signature mismatch after caveat verification")
        verb = path.removeprefix("/v1/").partition("/")[0]
        need = ("invoices", "write") if method == "POST" and verb == "invoices" else _NEEDS.get(verb)
        if need is None:
            return refusal(404, 5, "Not Found")
        if need not in PERMISSIONS[macaroon]:
            return refusal(500, 2, "permission denied")
        return self._answer(method, path, json.loads(body) if body else {})

    def _answer(self, method: str, path: str, asked: dict[str, Any]) -> tuple[int, Any]:
        match method, path.split("/")[2:]:
            case "POST", ["invoices"]:
                return 200, self._made(asked)
            case "GET", ["invoices"]:
                return 200, {"invoices": list(self.invoices.values())[:1], "first_index_offset": "0"}
            case "GET", ["invoice", wanted]:
                found = self._found(wanted)
                return (200, found) if found else refusal(404, 5, "unable to locate invoice")
            case "GET", ["channels"]:
                return 200, {"channels": [channel for channel in self.channels if channel["active"]]}
            case "GET", ["getinfo"]:
                chains = [{"chain": "bitcoin", "network": self.network}]
                return 200, {"version": "0.18.4-beta commit=v0.18.4-beta", "alias": "till", "chains": chains}
            case "POST", ["macaroon", "checkpermissions"]:
                return self._checked(asked)
        return refusal(501, 12, "Method Not Allowed")

    def _made(self, asked: dict[str, Any]) -> dict[str, Any]:
        hash_ = hashlib.sha256(secrets.token_bytes(32)).digest()
        self.hints = asked["private"]
        invoice = {
            "network": "bc",
            "amount_msat": int(asked["value_msat"]),
            "created_at": self._clock() // 1000,
            "payment_hash": hash_,
            "payment_secret": b"\x33" * 32,
            "description": asked["memo"],
            "expiry_s": int(asked["expiry"]),
        } | self.change
        written = {
            "r_hash": b64encode(hash_).decode(),
            "payment_request": bolt11.encode(bolt11.Bolt11(**invoice), _NODE_KEY),
            "add_index": str(len(self.invoices) + 1),
        }
        self.invoices[hash_.hex()] = written | {
            "creation_date": str(invoice["created_at"]),
            "expiry": asked["expiry"],
            "state": "OPEN",
            "settle_date": "0",
            "amt_paid_msat": "0",
        }
        return written

    def _found(self, payment_hash: str) -> dict[str, Any] | None:
        """Invoices whose time is over are canceled, as LND does, but those that are held."""
        invoice = self.invoices.get(payment_hash)
        if invoice and invoice["state"] == "OPEN":
            ends_s = int(invoice["creation_date"]) + int(invoice["expiry"])
            invoice["state"] = "CANCELED" if self._clock() >= ends_s * 1000 else "OPEN"
        return invoice

    def _checked(self, asked: dict[str, Any]) -> tuple[int, Any]:
        wanted = {(each["entity"], each["action"]) for each in asked["permissions"]}
        assert asked["fullMethod"].startswith("/")
        held = PERMISSIONS[b64decode(asked["macaroon"]).hex()]
        return (200, {"valid": True}) if wanted <= held else refusal(400, 3, "permission denied")


@contextmanager
def running(clock: Callable[[], int], *, tls: ssl.SSLContext | None = None) -> Iterator[ScriptedLnd]:
    node = ScriptedLnd(clock)

    def answer(asked: Asked) -> tuple[int, bytes]:
        status, said = node.answer(asked.method, asked.path, asked.headers.get("grpc-metadata-macaroon"), asked.body)
        return status, (said if isinstance(said, str) else json.dumps(said)).encode()

    with answering(answer, tls=tls) as node.url:
        yield node
