"""A scripted Core Lightning: the commands that the rail calls through clnrest, in the shapes of 25.02, over a socket.

A rune stands here for the methods that it permits. `spoil` answers every method, or one, by (status, body) instead.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from perquery.rails import bolt11
from tests.answering import Asked, answering

RECEIVE, FULL, INVOICE = "cmVjZWl2ZQ==", "ZnVsbA==", "aW52b2ljZQ=="
_RECEIVING = {"invoice", "listinvoices", "getinfo"}
PERMITTED: dict[str, set[str] | None] = {
    RECEIVE: _RECEIVING | {"listpeerchannels", "checkrune"},
    FULL: None,  # all
    INVOICE: _RECEIVING,
}
_NODE_KEY = b"\x11" * 32


def refusal(status: int, code: int, message: str) -> tuple[int, str]:
    return status, json.dumps({"code": code, "data": None, "message": message})


class ScriptedCln:
    """clock: milliseconds. change: what the next invoices are instead of what was asked for; asked: the methods and
    their parameters, in order.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self.url = ""
        self.spoil: dict[str, tuple[int, str]] = {}
        self.change: dict[str, Any] = {}
        self.invoices: dict[str, dict[str, Any]] = {}
        self.channels: list[dict[str, Any]] = []
        self.network = "bitcoin"
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._clock = clock

    def pay(self, text: str, amount_msat: int | None = None) -> None:
        wanted = bolt11.decode(text)
        invoice = self._known(wanted.payment_hash.hex())[0]
        if invoice["status"] != "unpaid":
            raise ValueError("invoice is paid already" if invoice["status"] == "paid" else "invoice expired")
        invoice |= {
            "status": "paid",
            "pay_index": 1 + sum(each["status"] == "paid" for each in self.invoices.values()),
            "amount_received_msat": amount_msat or wanted.amount_msat,
            "paid_at": self._clock() // 1000,
        }

    def row(self, payment_hash: str) -> tuple[dict[str, Any], str]:
        """What it has written down, and where in it the amount stands."""
        return self._known(payment_hash)[0], "amount_received_msat"

    def answer(self, path: str, rune: str | None, body: bytes) -> tuple[int, Any]:
        method, params = path.removeprefix("/v1/"), json.loads(body)
        self.asked.append((method, params))
        if said := self.spoil.get(method) or self.spoil.get("*"):
            return said
        if rune not in PERMITTED:
            return refusal(401, 1501, "Not authorized: Not derived from master")
        if not self._permits(rune, method):
            return refusal(401, 1502, "Not permitted: method is not equal to invoice")
        return self._called(method, params)

    def _called(self, method: str, params: dict[str, Any]) -> tuple[int, Any]:
        match method:
            case "invoice":
                return self._made(params)
            case "listinvoices":
                wanted = params.get("payment_hash")
                return 201, {"invoices": self._known(wanted) if wanted else list(self.invoices.values())[:1]}
            case "listpeerchannels":
                return 201, {"channels": self.channels}
            case "getinfo":
                return 201, {"version": "v25.02", "alias": "till", "network": self.network}
            case "checkrune":
                permitted = self._permits(params["rune"], params["method"])
                return (201, {"valid": True}) if permitted else refusal(500, 1502, "Not permitted: method is not equal")
        return refusal(404, -32601, f"Unknown command '{method}'")

    def _made(self, asked: dict[str, Any]) -> tuple[int, Any]:
        if any(each["label"] == asked["label"] for each in self.invoices.values()):
            return refusal(500, 900, f"Duplicate label '{asked['label']}'")
        hash_ = hashlib.sha256(secrets.token_bytes(32)).digest()
        invoice = {
            "network": "bc",
            "amount_msat": asked["amount_msat"],
            "created_at": self._clock() // 1000,
            "payment_hash": hash_,
            "payment_secret": b"\x33" * 32,
            "description": asked["description"],
            "expiry_s": asked["expiry"],
        } | self.change
        written = {
            "payment_hash": hash_.hex(),
            "expires_at": self._clock() // 1000 + asked["expiry"],
            "bolt11": bolt11.encode(bolt11.Bolt11(**invoice), _NODE_KEY),
        }
        self.invoices[hash_.hex()] = written | {"label": asked["label"], "status": "unpaid"}
        return 201, written | {"warning_capacity": "Insufficient incoming channel capacity to pay invoice"}

    def _known(self, payment_hash: str) -> list[dict[str, Any]]:
        invoice = self.invoices.get(payment_hash)
        if invoice is None:
            return []
        if invoice["status"] == "unpaid" and self._clock() >= invoice["expires_at"] * 1000:
            invoice["status"] = "expired"
        return [invoice]

    def _permits(self, rune: str, method: str) -> bool:
        permitted = PERMITTED[rune]
        return permitted is None or method in permitted


@contextmanager
def running(clock: Callable[[], int], *, tls: ssl.SSLContext | None = None) -> Iterator[ScriptedCln]:
    node = ScriptedCln(clock)

    def answer(asked: Asked) -> tuple[int, bytes]:
        status, said = node.answer(asked.path, asked.headers.get("rune"), asked.body)
        return status, (said if isinstance(said, str) else json.dumps(said)).encode()

    with answering(answer, tls=tls) as node.url:
        yield node
