"""A BTCPay Server as a rail: its invoices verified, its payments looked up by its own ids, its errors as RailDown."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.rails.btcpay import BtcpayWallet
from perquery.rails.rail import Payable, PayableRequest, RailDown, Receipt, Watched
from tests.answering import Asked, answering
from tests.rails.btcpay import BLIND, FULL, RECEIVE, STORE, ScriptedBtcpay, refusal, running

ASKED = PayableRequest(1_000_001, "Top-up", 900)
OTHER = "label/unknown"


@pytest.fixture
def now() -> list[int]:
    return [1_800_000_000_000]


@pytest.fixture
def btcpay(now: list[int]) -> Iterator[ScriptedBtcpay]:
    with running(lambda: now[0]) as server:
        yield server


def ask(url: str, question: Callable[[BtcpayWallet], Awaitable[Any]], key: str = RECEIVE, store: str = STORE) -> Any:
    async def run() -> Any:
        client = Client()
        try:
            return await question(BtcpayWallet(client, url, key, store, "bc"))
        finally:
            await client.close()

    return asyncio.run(run())


def made(server: ScriptedBtcpay) -> Payable:
    invoice: Payable = ask(server.url, lambda rail: rail.make(ASKED))
    return invoice


def heard(server: ScriptedBtcpay, *refs: str) -> list[Receipt]:
    return list(ask(server.url, lambda rail: rail.receipts("", [Watched(ref, 0) for ref in refs]))[0])


@pytest.mark.parametrize("tells_hash", [True, False])
def test_an_invoice_and_its_payment(btcpay: ScriptedBtcpay, now: list[int], tells_hash: bool) -> None:
    btcpay.tells_hash = tells_hash
    invoice = made(btcpay)
    assert invoice.rail_ref in btcpay.rows and heard(btcpay, invoice.rail_ref) == []
    now[0] += 5_500
    btcpay.pay(invoice.text)
    expected = Receipt(invoice.rail_ref, invoice.rail_ref, 1_000_001, "confirmed", now[0] // 1000 * 1000)
    assert heard(btcpay, invoice.rail_ref) == heard(btcpay, invoice.rail_ref) == [expected]


@pytest.mark.parametrize("amount_msat", [999, 1_000_000, 2_000_003])
def test_what_really_came_counts(btcpay: ScriptedBtcpay, amount_msat: int) -> None:
    invoice = made(btcpay)
    btcpay.pay(invoice.text, amount_msat)
    assert [receipt.amount for receipt in heard(btcpay, invoice.rail_ref)] == [amount_msat]


def test_an_unknown_invoice_hides_no_other(btcpay: ScriptedBtcpay) -> None:
    invoice = made(btcpay)
    btcpay.pay(invoice.text)
    assert [receipt.id for receipt in heard(btcpay, OTHER, invoice.rail_ref)] == [invoice.rail_ref]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"amount_msat": 1_000}, "for 1000 msat"),
        ({"payment_hash": b"\x22" * 32}, "another payment hash"),
        ({"network": "tb"}, "for the network tb"),
        ({"expiry_s": 60}, "payable for 60 s"),
    ],
)
def test_another_invoice_than_asked_for(btcpay: ScriptedBtcpay, change: dict[str, Any], says: str) -> None:
    btcpay.change = change
    with pytest.raises(RailDown, match=says):
        made(btcpay)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (*refusal(401, "unauthenticated", "Authentication is required"), "Authentication is required"),
        (*refusal(403, "missing-permission", "Insufficient API Permissions"), "Insufficient API"),
        (*refusal(404, "store-not-found", "The store was not found"), "store was not found"),
        (*refusal(503, "lightning-node-unavailable", "The lightning node is unavailable"), "node is unavailable"),
        (422, '[{"path": "expiry", "message": "Expiry can\'t be in the past"}]', "in the past"),
        (500, '{"code": "generic-error", "message": "oops"}', "oops"),
        (502, "<html>Bad Gateway</html>", "502"),
        (200, "<html>welcome</html>", "something else than JSON"),
        (200, "{}", "answered without"),
    ],
)
def test_an_error_is_no_answer(btcpay: ScriptedBtcpay, status: int, body: str, says: str) -> None:
    btcpay.spoil = (status, body)
    watched = [Watched(OTHER, 0)]
    for question in (lambda rail: rail.make(ASKED), lambda rail: rail.receipts("", watched), BtcpayWallet.inspect):
        with pytest.raises(RailDown, match=says) as caught:
            ask(btcpay.url, question)
        assert RECEIVE not in str(caught.value)


PAID = {"id": OTHER, "status": "Paid", "amountReceived": "1000001", "paidAt": 1_800_000_000}


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ({"amountReceived": "0"}, "which cannot be"),
        ({"amountReceived": "-5"}, "no whole number"),
        ({"amountReceived": "1.5"}, "no whole number"),
        ({"amountReceived": None}, "without amountReceived"),
        ({"amountReceived": "9" * 20}, "which cannot be"),
        ({"paidAt": None}, "without paidAt"),
        ({"paidAt": 0}, "which cannot be"),
        ({"id": "another"}, "another invoice"),
        ({"status": "Settled"}, "'Settled', which is not known"),
    ],
)
def test_a_lie_is_no_receipt(btcpay: ScriptedBtcpay, lie: dict[str, Any], says: str) -> None:
    btcpay.spoil = (200, json.dumps(PAID | lie))
    with pytest.raises(RailDown, match=says):
        heard(btcpay, OTHER)


@pytest.mark.parametrize(("key", "spends"), [(RECEIVE, False), (FULL, True)])
def test_what_the_key_may(btcpay: ScriptedBtcpay, key: str, spends: bool) -> None:
    found = ask(btcpay.url, BtcpayWallet.inspect, key)
    assert (found.node, found.network, found.may_spend) == ("BTCPay 2.0.6", "bc", spends)
    assert ("can spend" in "".join(found.advice)) == spends


def test_a_key_that_may_not_see_invoices_is_told_without_any(btcpay: ScriptedBtcpay) -> None:
    with pytest.raises(RailDown, match="Insufficient API"):
        ask(btcpay.url, lambda rail: rail.receipts("", ()), BLIND)


def test_another_store_is_told(btcpay: ScriptedBtcpay) -> None:
    with pytest.raises(RailDown, match="store was not found"):
        ask(btcpay.url, lambda rail: rail.make(ASKED), store="another/one")


def test_a_server_that_is_away() -> None:
    with running(lambda: 0) as server:
        url = server.url
    with pytest.raises(RailDown, match="does not answer"):
        ask(url, BtcpayWallet.inspect)


def test_a_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perquery.rails.node.TIMEOUT_S", 0.1)
    done = threading.Event()

    def answer(_asked: Asked) -> tuple[int, bytes]:
        done.wait(10)
        return 200, b"{}"

    with answering(answer) as url:
        try:
            with pytest.raises(RailDown, match="does not answer"):
                ask(url, lambda rail: rail.make(ASKED))
        finally:
            done.set()
