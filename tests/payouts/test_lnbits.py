"""LNbits as the wallet that pays out, in the shapes of 1.6, over a socket: its record is read, whatever `pay` says."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.payouts.lnbits import LnbitsPayer
from perquery.payouts.wallet import Declined, Look, OwnInvoice, Purse
from perquery.rails import bolt11
from perquery.rails.rail import RailDown
from tests.answering import Asked, answering

ADMIN, INVOICE_KEY = "a" * 32, "b" * 32
HASH = "ab" * 32
WALLET = "w" * 32


class ScriptedLnbits:
    """pays: (status, body) of the answer to a payment; record: what is answered of it, None: nothing is known."""

    def __init__(self) -> None:
        self.url = ""
        self.pays: tuple[int, Any] = (201, {"payment_hash": HASH})
        self.record: dict[str, Any] | None = None
        self.spoil: tuple[int, str] | None = None
        self.asked: list[Any] = []

    def paid(self, **changes: Any) -> None:
        details = {"wallet_id": WALLET, "payment_hash": HASH, "amount": -5_000, "fee": -7} | changes
        self.record = {"paid": True, "status": "success", "preimage": "cd" * 32, "details": details}

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        if self.spoil is not None:
            return self.spoil[0], self.spoil[1].encode()
        key = asked.headers.get("x-api-key", "")
        if key not in (ADMIN, INVOICE_KEY):
            return 404, b'{"detail": "Wallet not found."}'
        if asked.method == "POST":
            self.asked.append(json.loads(asked.body))
            return self.pays[0], json.dumps(self.pays[1]).encode()
        if asked.path == "/api/v1/wallet":
            return 200, json.dumps({"name": "purse", "balance": 9} | ({"id": WALLET} if key == ADMIN else {})).encode()
        if asked.path.startswith("/api/v1/payments/fee-reserve?invoice=lnbc"):
            invoice = bolt11.decode(asked.path.partition("=")[2])
            return 200, json.dumps({"fee_reserve": (invoice.amount_msat or 0) // 100}).encode()
        assert asked.path == f"/api/v1/payments/{HASH}"
        if self.record is None:
            return 404, b'{"detail": "Payment does not exist."}'
        return 200, json.dumps(self.record).encode()


@pytest.fixture
def node() -> Iterator[ScriptedLnbits]:
    server = ScriptedLnbits()
    with answering(server.answer) as server.url:
        yield server


def ask(server: ScriptedLnbits, question: Callable[[LnbitsPayer], Awaitable[Any]], key: str = ADMIN) -> Any:
    async def run() -> Any:
        client = Client()
        try:
            return await question(LnbitsPayer(client, server.url, key))
        finally:
            await client.close()

    return asyncio.run(run())


def look(server: ScriptedLnbits, key: str = ADMIN) -> Look:
    found: Look = ask(server, lambda wallet: wallet.look(HASH), key)
    return found


def test_it_is_asked_to_pay(node: ScriptedLnbits) -> None:
    ask(node, lambda wallet: wallet.pay("lnbc…"))
    assert node.asked == [{"out": True, "bolt11": "lnbc…"}]


def test_its_record(node: ScriptedLnbits) -> None:
    assert look(node) == Look(WALLET, "absent")
    node.paid()
    assert look(node) == Look(WALLET, "paid", 5_000, 7, "cd" * 32)
    node.record = {"paid": False, "status": "failed", "details": node.record["details"]}  # type: ignore[index]
    assert look(node).record == "failed"
    for status in ("pending", "created", "?"):
        node.record["status"] = status
        assert look(node).record == "pending"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (520, {"detail": "Insufficient balance.", "status": "failed"}),
        (520, {"detail": "Payment is still pending.", "status": "pending"}),
        (400, {"detail": "Missing BOLT11 invoice"}),
        (403, {"detail": "Invoice (or Admin) key required."}),
    ],
)
def test_its_own_words_are_an_answer(node: ScriptedLnbits, status: int, body: dict[str, str]) -> None:
    node.pays = (status, body)
    with pytest.raises(Declined, match=re.escape(body["detail"])) as caught:
        ask(node, lambda wallet: wallet.pay("lnbc…"))
    assert ADMIN not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "body"),
    [(502, "<html>Bad Gateway</html>"), (504, "{}"), (200, "<html>"), (404, "not found"), (429, '{"message": "slow"}')],
)
def test_what_stands_between_is_no_answer(node: ScriptedLnbits, status: int, body: str) -> None:
    node.spoil = (status, body)
    for question in (lambda wallet: wallet.pay("lnbc…"), lambda wallet: wallet.look(HASH)):
        with pytest.raises(RailDown):
            ask(node, question)


def test_a_key_that_is_no_admin_key_or_none_at_all_finds_nothing_absent(node: ScriptedLnbits) -> None:
    with pytest.raises(RailDown, match="without id"):
        look(node, INVOICE_KEY)
    with pytest.raises(RailDown, match="Wallet not found"):
        look(node, "c" * 32)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"wallet_id": "x"}, "another payment"),
        ({"payment_hash": "00" * 32}, "another payment"),
        ({"amount": 5_000}, "as an invoice of this very wallet"),
        ({"amount": "5"}, "without amount"),
        ({"fee": None}, "without fee"),
    ],
)
def test_a_record_of_something_else_is_none(node: ScriptedLnbits, change: dict[str, Any], says: str) -> None:
    node.paid(**change)
    with pytest.raises(RailDown, match=says):
        look(node)


def test_what_it_says_of_itself_without_paying(node: ScriptedLnbits) -> None:
    found = ask(node, lambda wallet: wallet.inspect(700_000))
    assert found == Purse("LNbits, wallet 'purse'", WALLET, 9, 7_000)
    assert node.asked == []
    with pytest.raises(RailDown, match="not the wallet's admin key"):
        ask(node, lambda wallet: wallet.inspect(700_000), INVOICE_KEY)


def test_an_invoice_of_its_own_is_told_apart(node: ScriptedLnbits) -> None:
    node.paid(amount=5_000)
    with pytest.raises(OwnInvoice):
        look(node)
