"""BTCPay's own invoices as a rail: made as asked for, what it says of payments checked, an error no answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from perquery.config import ConfigError, RailSetting, Settings
from perquery.outbound import Client
from perquery.rails.backends import Means, open_rails
from perquery.rails.btcpay_invoices import BtcpayInvoices
from perquery.rails.rail import PayableRequest, RailDown, Receipt
from tests.rails.btcpay import STORE, refusal
from tests.rails.btcpay_invoices import BLIND, COINS, KEY, RICH, ScriptedStore, running

ASKED = PayableRequest(10_000_000, "Top-up", 3_600)
NOW_MS = 1_800_000_000_000


@pytest.fixture
def now() -> list[int]:
    return [NOW_MS]


@pytest.fixture
def store(now: list[int]) -> Iterator[ScriptedStore]:
    with running(lambda: now[0]) as server:
        yield server


def ask(server: ScriptedStore, question: Callable[[BtcpayInvoices], Awaitable[Any]], key: str = KEY) -> Any:
    async def run() -> Any:
        client = Client()
        try:
            return await question(BtcpayInvoices(client, server.url, key, STORE, list(COINS), lambda: NOW_MS))
        finally:
            await client.close()

    return asyncio.run(run())


def heard(server: ScriptedStore, key: str = KEY) -> list[Receipt]:
    return list(ask(server, lambda rail: rail.receipts("", ()), key)[0])


def test_each_payment_of_an_invoice_is_a_receipt(store: ScriptedStore) -> None:
    made = ask(store, lambda rail: rail.make(ASKED))
    assert made.text.endswith(f"/i/{made.rail_ref}") and heard(store) == []
    first = store.pay(made.text, "0.5")
    second = store.pay(made.text, "0.5", method="USDT-TRON", state="Processing")
    found = {receipt.id: (receipt.amount, receipt.state) for receipt in heard(store)}
    assert found[f"ZEC-CHAIN:{first}"] == (5_000_000, "confirmed")
    assert found[f"USDT-TRON:{second}"] == (5_000_000, "pending")
    store.settle(second, "Invalid")
    assert {receipt.id: receipt.state for receipt in heard(store)}[f"USDT-TRON:{second}"] == "gone"


def test_an_invoice_declared_invalid_has_no_payments_left(store: ScriptedStore) -> None:
    made = ask(store, lambda rail: rail.make(ASKED))
    store.pay(made.text)
    store.mark_invalid(made.text)
    assert [receipt.state for receipt in heard(store)] == ["gone"]


def test_others_invoices_in_the_store_are_passed_over(store: ScriptedStore) -> None:
    made = ask(store, lambda rail: rail.make(ASKED))
    store.invoices[made.rail_ref]["metadata"] = {"orderId": "a shop's"}
    store.pay(made.text)
    assert heard(store) == []


def test_all_pages_are_read(store: ScriptedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perquery.rails.btcpay_invoices.PAGE", 2)
    pages = [ask(store, lambda rail: rail.make(ASKED)).text for _ in range(5)]
    for page in pages:
        store.pay(page)
    assert len(heard(store)) == 5


def test_what_is_final_is_looked_at_once(store: ScriptedStore, now: list[int]) -> None:
    made = ask(store, lambda rail: rail.make(ASKED))

    async def body(rail: BtcpayInvoices) -> None:
        store.pay(made.text)
        found, cursor = await rail.receipts("", ())
        assert len(found) == 1
        store.asked.clear()
        assert await rail.receipts(cursor, ()) == ([], cursor)
        assert len(store.asked) == 1
        store.pay(made.text, "2")
        assert len((await rail.receipts(cursor, ()))[0]) == 2

    ask(store, body)


@pytest.mark.parametrize(
    "change",
    [{"amount": "9"}, {"currency": "EUR"}, {"metadata": {}}, {"status": "Settled"}, {"expirationTime": 0}, {"id": ""}],
)
def test_another_invoice_than_asked_for_is_not_handed_out(store: ScriptedStore, change: dict[str, Any]) -> None:
    store.change = change
    with pytest.raises(RailDown, match="made"):
        ask(store, lambda rail: rail.make(ASKED))


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ({"status": "Paid"}, "'Paid', which is not known"),
        ({"value": "-1"}, "no amount"),
        ({"value": "1e9"}, "no amount"),
        ({"value": 1}, "without value"),
        ({"value": "9" * 20}, "cannot be"),
        ({"receivedDate": 0}, "cannot be"),
        ({"receivedDate": "today"}, "without receivedDate"),
    ],
)
def test_a_lie_is_no_receipt(store: ScriptedStore, lie: dict[str, Any], says: str) -> None:
    made = ask(store, lambda rail: rail.make(ASKED))
    store.pay(made.text)
    row = dict(store.invoices[made.rail_ref], status="Settled")
    payment = store.payments[made.rail_ref][0] | lie
    store.answer = lambda asked: (  # type: ignore[method-assign]
        200,
        json.dumps(
            [{"paymentMethodId": "ZEC-CHAIN", "currency": "ZEC", "rate": "40", "payments": [payment]}]
            if "payment-methods" in asked.path
            else [row]
        ),
    )
    with pytest.raises(RailDown, match=says):
        heard(store)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (*refusal(401, "unauthenticated", "Authentication is required"), "Authentication is required"),
        (*refusal(403, "missing-permission", "Insufficient API Permissions"), "Insufficient API"),
        (*refusal(404, "store-not-found", "The store was not found"), "store was not found"),
        (400, '[{"path": "amount", "message": "Amount is wrong"}]', "Amount is wrong"),
        (422, '[{"path": "checkout.paymentMethods", "message": "Invalid payment method"}]', "Invalid payment method"),
        (502, "<html>Bad Gateway</html>", "502"),
        (200, "<html>welcome</html>", "something else than JSON"),
        (200, "{}", "without"),
    ],
)
def test_an_error_is_no_answer(store: ScriptedStore, status: int, body: str, says: str) -> None:
    store.spoil = (status, body)
    for question in (lambda rail: rail.make(ASKED), lambda rail: rail.receipts("", ()), BtcpayInvoices.inspect):
        with pytest.raises(RailDown, match=says) as caught:
            ask(store, question)
        assert KEY not in str(caught.value)


def test_a_key_is_proven_to_be_enough_and_not_too_much(store: ScriptedStore) -> None:
    found = ask(store, BtcpayInvoices.inspect)
    assert (found.node, found.may_spend, found.advice) == ("BTCPay 2.0.6", False, ())
    assert "cancreateinvoice" in ask(store, BtcpayInvoices.inspect, RICH).advice[0]
    with pytest.raises(RailDown, match="canviewstoresettings"):
        ask(store, BtcpayInvoices.inspect, BLIND)


def test_coins_must_be_named() -> None:
    setting = RailSetting(backend="btcpay", url="https://b.example", key="k", store="s", coins=())
    with pytest.raises(ConfigError, match=r"rails\.other\.coins: name at least one"):
        open_rails(Settings(rails={"other": setting}), Means(Client(), lambda: 0, asyncio.Event()))
