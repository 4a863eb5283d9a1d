"""phoenixd as a rail: its invoices verified, what is left after its fees counted, its errors as RailDown."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.rails.phoenixd import PhoenixdWallet
from perquery.rails.rail import Payable, PayableRequest, RailDown, Receipt, Watched
from tests.answering import Asked, answering
from tests.rails.phoenixd import LIMITED, ScriptedPhoenixd, running

ASKED = PayableRequest(1_000_000, "Top-up", 900)
OTHER = "44" * 32


@pytest.fixture
def now() -> list[int]:
    return [1_800_000_000_000]


@pytest.fixture
def phoenixd(now: list[int]) -> Iterator[ScriptedPhoenixd]:
    with running(lambda: now[0]) as node:
        yield node


def ask(url: str, question: Callable[[PhoenixdWallet], Awaitable[Any]], password: str = LIMITED) -> Any:
    async def run() -> Any:
        client = Client()
        try:
            return await question(PhoenixdWallet(client, url, password, "bc"))
        finally:
            await client.close()

    return asyncio.run(run())


def made(node: ScriptedPhoenixd) -> Payable:
    invoice: Payable = ask(node.url, lambda rail: rail.make(ASKED))
    return invoice


def heard(node: ScriptedPhoenixd, *refs: str) -> list[Receipt]:
    return list(ask(node.url, lambda rail: rail.receipts("", [Watched(ref, 0) for ref in refs]))[0])


def test_an_invoice_and_its_payment(phoenixd: ScriptedPhoenixd, now: list[int]) -> None:
    invoice = made(phoenixd)
    assert heard(phoenixd, invoice.rail_ref) == []
    now[0] += 5_500
    phoenixd.pay(invoice.text)
    expected = Receipt(invoice.rail_ref, invoice.rail_ref, 1_000_000, "confirmed", now[0] // 1000 * 1000)
    assert heard(phoenixd, invoice.rail_ref) == heard(phoenixd, invoice.rail_ref) == [expected]


@pytest.mark.parametrize(("sent_sat", "fee_sat"), [(1_000, 250), (999, 0), (2_000, 0)])
def test_what_is_left_of_a_payment_counts(phoenixd: ScriptedPhoenixd, sent_sat: int, fee_sat: int) -> None:
    invoice = made(phoenixd)
    phoenixd.fee_sat = fee_sat
    phoenixd.pay(invoice.text, sent_sat)
    assert [receipt.amount for receipt in heard(phoenixd, invoice.rail_ref)] == [(sent_sat - fee_sat) * 1000]


def test_an_unknown_invoice_hides_no_other(phoenixd: ScriptedPhoenixd) -> None:
    invoice = made(phoenixd)
    phoenixd.pay(invoice.text)
    assert [receipt.id for receipt in heard(phoenixd, OTHER, invoice.rail_ref)] == [invoice.rail_ref]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"amount_msat": 1_000}, "for 1000 msat"),
        ({"payment_hash": b"\x22" * 32}, "another payment hash"),
        ({"network": "tb"}, "for the network tb"),
        ({"expiry_s": 60}, "payable for 60 s"),
    ],
)
def test_another_invoice_than_asked_for(phoenixd: ScriptedPhoenixd, change: dict[str, Any], says: str) -> None:
    phoenixd.change = change
    with pytest.raises(RailDown, match=says):
        made(phoenixd)


def test_a_part_of_a_satoshi_is_refused(phoenixd: ScriptedPhoenixd) -> None:
    with pytest.raises(RailDown, match="whole satoshis"):
        ask(phoenixd.url, lambda rail: rail.make(PayableRequest(1_000_001, "Top-up", 900)))


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, "Invalid authentication (use basic auth with the http password)", "Invalid authentication"),
        (400, "amountSat: value out of range", "out of range"),
        (405, "Method Not Allowed", "405"),
        (500, "cannot create invoice", "cannot create"),
        (502, "<html>Bad Gateway</html>", "502"),
        (200, "<html>welcome</html>", "something else than JSON"),
        (200, "{}", "answered without"),
        (200, "[]", "answered without"),
    ],
)
def test_an_error_is_no_answer(phoenixd: ScriptedPhoenixd, status: int, body: str, says: str) -> None:
    phoenixd.spoil = (status, body)
    watched = [Watched(OTHER, 0)]
    for question in (lambda rail: rail.make(ASKED), lambda rail: rail.receipts("", watched), PhoenixdWallet.inspect):
        with pytest.raises(RailDown, match=says) as caught:
            ask(phoenixd.url, question)
        assert LIMITED not in str(caught.value)


PAID = {"paymentHash": OTHER, "isPaid": True, "receivedSat": 1_000, "fees": 0, "completedAt": 1_800_000_000_000}


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ({"receivedSat": 0}, "which cannot be"),
        ({"receivedSat": -5}, "which cannot be"),
        ({"receivedSat": 10**16}, "which cannot be"),
        ({"receivedSat": 1.5}, "without receivedSat"),
        ({"receivedSat": True}, "without receivedSat"),
        ({"completedAt": None}, "without completedAt"),
        ({"paymentHash": "55" * 32}, "another payment"),
        ({"isPaid": "yes"}, "without isPaid"),
    ],
)
def test_a_lie_is_no_receipt(phoenixd: ScriptedPhoenixd, lie: dict[str, Any], says: str) -> None:
    phoenixd.spoil = (200, json.dumps(PAID | lie))
    with pytest.raises(RailDown, match=says):
        heard(phoenixd, OTHER)


def test_what_it_says_of_itself(phoenixd: ScriptedPhoenixd) -> None:
    found = ask(phoenixd.url, PhoenixdWallet.inspect)
    assert (found.node, found.network, found.may_spend) == ("phoenixd 0.6.2", "bc", None)
    assert "limited access" in found.advice[0] and len(found.advice) == 1
    phoenixd.fee_credit_sat, phoenixd.channels = 77, []
    warned = " ".join(ask(phoenixd.url, PhoenixdWallet.inspect).advice)
    assert "77 sat" in warned and "no channel yet" in warned


def test_a_wrong_password_is_told_without_invoices(phoenixd: ScriptedPhoenixd) -> None:
    with pytest.raises(RailDown, match="Invalid authentication"):
        ask(phoenixd.url, lambda rail: rail.receipts("", ()), "wrong")


def test_a_node_that_is_away() -> None:
    with running(lambda: 0) as node:
        url = node.url
    with pytest.raises(RailDown, match="does not answer"):
        ask(url, PhoenixdWallet.inspect)


def test_a_node_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
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
