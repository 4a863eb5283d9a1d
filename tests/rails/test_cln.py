"""Core Lightning as a rail: its invoices verified, its payments looked up by hash, its errors as RailDown."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perquery.config import RailSetting, Settings
from perquery.outbound import Client
from perquery.rails.backends import LIGHTNING, Means, open_rails
from perquery.rails.cln import ClnWallet
from perquery.rails.rail import Payable, PayableRequest, RailDown, Receipt, Watched
from tests.answering import Asked, answering
from tests.rails.cln import FULL, INVOICE, RECEIVE, ScriptedCln, refusal, running

ASKED = PayableRequest(1_000_001, "Top-up", 900)
OTHER = "44" * 32
CHANNEL = {"state": "CHANNELD_NORMAL", "peer_connected": True, "receivable_msat": 98_765_432}


@pytest.fixture
def now() -> list[int]:
    return [1_800_000_000_000]


@pytest.fixture
def cln(now: list[int]) -> Iterator[ScriptedCln]:
    with running(lambda: now[0]) as node:
        yield node


def ask(url: str, question: Callable[[ClnWallet], Awaitable[Any]], rune: str = RECEIVE) -> Any:
    async def run() -> Any:
        client = Client()
        try:
            return await question(ClnWallet(client, url, rune, "bc"))
        finally:
            await client.close()

    return asyncio.run(run())


def made(cln: ScriptedCln) -> Payable:
    invoice: Payable = ask(cln.url, lambda rail: rail.make(ASKED))
    return invoice


def heard(cln: ScriptedCln, *refs: str) -> list[Receipt]:
    receipts, cursor = ask(cln.url, lambda rail: rail.receipts("", [Watched(ref, 0) for ref in refs]))
    assert cursor == ""
    return list(receipts)


def test_an_invoice_and_its_payment(cln: ScriptedCln, now: list[int]) -> None:
    invoice = made(cln)
    assert heard(cln, invoice.rail_ref) == []
    now[0] += 5_500
    cln.pay(invoice.text)
    expected = Receipt(invoice.rail_ref, invoice.rail_ref, 1_000_001, "confirmed", now[0] // 1000 * 1000)
    assert heard(cln, invoice.rail_ref) == heard(cln, invoice.rail_ref) == [expected]


def test_what_is_paid_out_of_order_and_what_is_not_awaited(cln: ScriptedCln) -> None:
    first, second, third = made(cln), made(cln), made(cln)
    for each in (third, second, first):
        cln.pay(each.text)
    found = heard(cln, third.rail_ref, first.rail_ref)
    assert {receipt.id for receipt in found} == {third.rail_ref, first.rail_ref}


@pytest.mark.parametrize("amount_msat", [999, 1_000_000, 2_000_003])
def test_what_really_came_counts(cln: ScriptedCln, amount_msat: int) -> None:
    invoice = made(cln)
    cln.pay(invoice.text, amount_msat)
    assert [receipt.amount for receipt in heard(cln, invoice.rail_ref)] == [amount_msat]


def test_what_has_expired_is_asked_for_no_more(cln: ScriptedCln, now: list[int]) -> None:
    invoice = made(cln)

    async def rounds(rail: ClnWallet) -> None:
        watched = [Watched(invoice.rail_ref, 0)]
        for _ in range(3):
            assert await rail.receipts("", watched) == ([], "")
        now[0] += 900_000
        for _ in range(3):
            assert await rail.receipts("", watched) == ([], "")

    ask(cln.url, rounds)
    assert cln.asked.count(("listinvoices", {"payment_hash": invoice.rail_ref})) == 4


def test_a_node_that_forgot_an_invoice_tells_of_the_others(cln: ScriptedCln) -> None:
    """A node restored from a backup: its indexes start over, what it knows is heard."""
    lost, kept = made(cln), made(cln)
    cln.pay(kept.text)
    del cln.invoices[lost.rail_ref]
    assert [receipt.id for receipt in heard(cln, lost.rail_ref, kept.rail_ref)] == [kept.rail_ref]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"amount_msat": 1_000_000}, "for 1000000 msat"),
        ({"payment_hash": b"\x22" * 32}, "another payment hash"),
        ({"network": "tb"}, "for the network tb"),
        ({"expiry_s": 60}, "payable for 60 s"),
    ],
)
def test_another_invoice_than_asked_for(cln: ScriptedCln, change: dict[str, Any], says: str) -> None:
    cln.change = change
    with pytest.raises(RailDown, match=says):
        made(cln)


SPOILT = [
    (*refusal(403, 1501, "Not authorized: Missing rune"), "Missing rune"),
    (*refusal(401, 1501, "Not authorized: Not derived from master"), "Not derived from master"),
    (*refusal(401, 1503, "Not authorized: Blacklisted rune"), "Blacklisted rune"),
    (401, '{"error": {"code": 1501, "message": "Not authorized: Not derived from master"}}', "Not derived"),
    (*refusal(404, -32601, "Unknown command 'invoice'"), "Unknown command"),
    (*refusal(500, -32602, "msat: unexpected token"), "unexpected token"),
    (*refusal(500, 900, "Duplicate label 'perquery-1'"), "Duplicate label"),
    (500, '{"code": null, "data": null, "message": "Connection refused (os error 111)"}', "Connection refused"),
    (502, "<html>Bad Gateway</html>", "502"),
    (201, "<html>welcome</html>", "something else than JSON"),
    (201, "{}", "answered without"),
    (201, "[]", "answered without"),
]


@pytest.mark.parametrize(("status", "body", "says"), SPOILT)
def test_an_error_is_no_answer(cln: ScriptedCln, status: int, body: str, says: str) -> None:
    cln.spoil = {"*": (status, body)}
    watched = [Watched(OTHER, 0)]
    for question in (lambda rail: rail.make(ASKED), lambda rail: rail.receipts("", watched), ClnWallet.inspect):
        with pytest.raises(RailDown, match=says) as caught:
            ask(cln.url, question)
        assert RECEIVE not in str(caught.value)


PAID = {
    "label": "perquery-1",
    "payment_hash": OTHER,
    "status": "paid",
    "pay_index": 1,
    "amount_received_msat": 1_000_001,
    "paid_at": 1_800_000_000,
}


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ({"amount_received_msat": 0}, "which cannot be"),
        ({"amount_received_msat": -5}, "which cannot be"),
        ({"amount_received_msat": 10**19}, "which cannot be"),
        ({"amount_received_msat": 1.5}, "without amount_received_msat"),
        ({"amount_received_msat": "1000001msat"}, "without amount_received_msat"),
        ({"amount_received_msat": True}, "without amount_received_msat"),
        ({"amount_received_msat": None}, "without amount_received_msat"),
        ({"paid_at": 0}, "which cannot be"),
        ({"payment_hash": "55" * 32}, "other invoices"),
        ({"status": "settled"}, "'settled', which is not known"),
    ],
)
def test_a_lie_is_no_receipt(cln: ScriptedCln, lie: dict[str, Any], says: str) -> None:
    cln.spoil = {"listinvoices": (201, json.dumps({"invoices": [PAID | lie]}))}
    with pytest.raises(RailDown, match=says):
        heard(cln, OTHER)


def test_two_invoices_of_one_hash_are_a_lie(cln: ScriptedCln) -> None:
    cln.spoil = {"listinvoices": (201, json.dumps({"invoices": [PAID, PAID]}))}
    with pytest.raises(RailDown, match="other invoices"):
        heard(cln, OTHER)


@pytest.mark.parametrize(
    ("channels", "msat"),
    [
        ([], 0),
        ([CHANNEL, CHANNEL], 197_530_864),
        ([CHANNEL, CHANNEL | {"peer_connected": False}, {"state": "ONCHAIN"}], 98_765_432),
    ],
)
def test_what_can_be_received(cln: ScriptedCln, channels: list[dict[str, Any]], msat: int) -> None:
    async def told(rail: ClnWallet) -> int | None:
        await rail.receipts("", ())
        return rail.receivable

    cln.channels = channels
    assert ask(cln.url, told) == msat
    assert ask(cln.url, told, INVOICE) is None


@pytest.mark.parametrize(
    ("rune", "spends", "advice"), [(RECEIVE, False, ""), (FULL, True, "can spend"), (INVOICE, None, "may not ask")]
)
def test_what_the_rune_may(cln: ScriptedCln, rune: str, spends: bool | None, advice: str) -> None:
    cln.network = "regtest"
    found = ask(cln.url, ClnWallet.inspect, rune)
    assert (found.node, found.network) == ("Core Lightning v25.02, 'till'", "bcrt")
    assert found.may_spend is spends and advice in "".join(found.advice)


def test_an_older_plugin_refuses_one_level_deeper(cln: ScriptedCln) -> None:
    cln.spoil = {"checkrune": (401, '{"error": {"code": 1502, "message": "Not permitted"}}')}
    assert ask(cln.url, ClnWallet.inspect).may_spend is None


def test_a_node_that_is_away() -> None:
    with running(lambda: 0) as node:
        url = node.url
    with pytest.raises(RailDown, match="does not answer"):
        ask(url, ClnWallet.inspect)


def test_a_node_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perquery.rails.node.TIMEOUT_S", 0.1)
    done = threading.Event()

    def answer(_asked: Asked) -> tuple[int, bytes]:
        done.wait(10)
        return 201, b"{}"

    with answering(answer) as url:
        try:
            with pytest.raises(RailDown, match="does not answer"):
                ask(url, lambda rail: rail.make(ASKED))
        finally:
            done.set()


def test_a_certificate_of_its_own(server_tls: ssl.SSLContext, certificate: tuple[Path, Path]) -> None:
    async def network(url: str) -> str:
        client = Client()
        setting = RailSetting(backend="cln", url=url, key=RECEIVE, tls_cert=certificate[0])
        rail = open_rails(Settings(rails={LIGHTNING: setting}), Means(client, lambda: 0, asyncio.Event()))[LIGHTNING]
        assert isinstance(rail, ClnWallet)
        try:
            return (await rail.inspect()).network
        finally:
            await rail.close()
            await client.close()

    with running(lambda: 0, tls=server_tls) as node:
        assert asyncio.run(network(node.url)) == "bc"
