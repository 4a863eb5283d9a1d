"""A scripted phoenixd: the calls of its HTTP API that the rail makes, with its plain-text errors, over a socket."""

from __future__ import annotations

import hashlib
import json
import secrets
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

from perquery.rails import bolt11
from tests.answering import Asked, answering

LIMITED = "limited-password"
_NODE_KEY = b"\x11" * 32


class ScriptedPhoenixd:
    """clock: milliseconds. spoil: (status, body) in place of every answer; change: what the next invoices are instead
    of what was asked for; fee_sat: what a payment loses to a channel that is opened for it.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self.url = ""
        self.spoil: tuple[int, str] | None = None
        self.change: dict[str, Any] = {}
        self.payments: dict[str, dict[str, Any]] = {}
        self.channels: list[dict[str, Any]] = [{"state": "Normal", "balanceSat": 1, "inboundLiquiditySat": 9}]
        self.fee_credit_sat = 0
        self.fee_sat = 0
        self._clock = clock

    def pay(self, text: str, amount_sat: int | None = None) -> None:
        wanted = bolt11.decode(text)
        row = self.payments[wanted.payment_hash.hex()]
        if row["isPaid"]:
            raise ValueError("this invoice is paid already")
        if self._clock() >= wanted.expires_at * 1000:
            raise ValueError("this invoice has expired")
        sent = amount_sat or (wanted.amount_msat or 0) // 1000
        row |= {"isPaid": True, "receivedSat": sent - self.fee_sat, "fees": self.fee_sat * 1000}
        row |= {"completedAt": self._clock()}

    def row(self, payment_hash: str) -> tuple[dict[str, Any], str]:
        """What it has written down, and where in it the amount stands."""
        return self.payments[payment_hash], "receivedSat"

    def answer(self, asked: Asked) -> tuple[int, str]:
        if self.spoil is not None:
            return self.spoil
        given = asked.headers.get("authorization", "").removeprefix("Basic ")
        if b64decode(given).decode() != f":{LIMITED}":
            return 401, "Invalid authentication (use basic auth with the http password set in phoenix.conf)"
        if asked.path == "/createinvoice":
            form = parse_qs(asked.body.decode())
            return 200, json.dumps(self._made({name: values[0] for name, values in form.items()}))
        if asked.path == "/getinfo":
            about = {"nodeId": "02" * 33, "channels": self.channels, "chain": "mainnet", "version": "0.6.2"}
            return 200, json.dumps(about)
        if asked.path == "/getbalance":
            return 200, json.dumps({"balanceSat": 7, "feeCreditSat": self.fee_credit_sat})
        row = self.payments.get(asked.path.removeprefix("/payments/incoming/"))
        return (200, json.dumps(row)) if row else (404, "Not found")

    def _made(self, asked: dict[str, str]) -> dict[str, Any]:
        hash_ = hashlib.sha256(secrets.token_bytes(32)).digest()
        invoice: dict[str, Any] = {
            "network": "bc",
            "amount_msat": int(asked["amountSat"]) * 1000,
            "created_at": self._clock() // 1000,
            "payment_hash": hash_,
            "payment_secret": b"\x33" * 32,
            "description": asked["description"],
            "expiry_s": int(asked["expirySeconds"]),
        } | self.change
        text = bolt11.encode(bolt11.Bolt11(**invoice), _NODE_KEY)
        name = hash_.hex()
        self.payments[name] = {
            "paymentHash": name,
            "invoice": text,
            "isPaid": False,
            "receivedSat": 0,
            "fees": 0,
            "completedAt": None,
            "createdAt": self._clock(),
        }
        return {"amountSat": int(asked["amountSat"]), "paymentHash": name, "serialized": text}


@contextmanager
def running(clock: Callable[[], int]) -> Iterator[ScriptedPhoenixd]:
    node = ScriptedPhoenixd(clock)

    def answer(asked: Asked) -> tuple[int, bytes]:
        status, said = node.answer(asked)
        return status, said.encode()

    with answering(answer) as node.url:
        yield node
