"""LND as a rail: its invoices verified, its payments looked up by hash, its errors as RailDown."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perquery.config import ConfigError, RailSetting, Settings
from perquery.outbound import Client
from perquery.rails.backends import LIGHTNING, Means, open_rails
from perquery.rails.lnd import LndWallet
from perquery.rails.rail import Payable, PayableRequest, RailDown, Receipt, Watched
from tests.answering import Asked, answering
from tests.rails.lnd import ADMIN, INVOICE, RECEIVE, ScriptedLnd, refusal, running

ASKED = PayableRequest(1_000_001, "Top-up", 900)
OTHER = "44" * 32
CHANNEL = {"active": True, "remote_balance": "100000", "remote_constraints": {"chan_reserve_sat": "1000"}}


@pytest.fixture
def now() -> list[int]:
    return [1_800_000_000_000]


@pytest.fixture
def lnd(now: list[int]) -> Iterator[ScriptedLnd]:
    with running(lambda: now[0]) as node:
        yield node


def ask(url: str, question: Callable[[LndWallet], Awaitable[Any]], macaroon: str = RECEIVE) -> Any:
    async def run() -> Any:
        client = Client()
        try:
            return await question(LndWallet(client, url, macaroon, "bc"))
        finally:
            await client.close()

    return asyncio.run(run())


def made(lnd: ScriptedLnd) -> Payable:
    invoice: Payable = ask(lnd.url, lambda rail: rail.make(ASKED))
    return invoice


def heard(lnd: ScriptedLnd, *refs: str) -> list[Receipt]:
    receipts, cursor = ask(lnd.url, lambda rail: rail.receipts("", [Watched(ref, 0) for ref in refs]))
    assert cursor == ""
    return list(receipts)


def test_an_invoice_and_its_payment(lnd: ScriptedLnd, now: list[int]) -> None:
    invoice = made(lnd)
    assert lnd.hints and heard(lnd, invoice.rail_ref) == []
    now[0] += 5_500
    lnd.pay(invoice.text)
    expected = Receipt(invoice.rail_ref, invoice.rail_ref, 1_000_001, "confirmed", now[0] // 1000 * 1000)
    assert heard(lnd, invoice.rail_ref) == heard(lnd, invoice.rail_ref) == [expected]


def test_what_is_paid_out_of_order_and_what_is_not_awaited(lnd: ScriptedLnd) -> None:
    first, second, third = made(lnd), made(lnd), made(lnd)
    for each in (third, second, first):
        lnd.pay(each.text)
    found = heard(lnd, third.rail_ref, first.rail_ref)
    assert {receipt.id for receipt in found} == {third.rail_ref, first.rail_ref}


@pytest.mark.parametrize("amount_msat", [999, 1_000_000, 2_000_003])
def test_what_really_came_counts(lnd: ScriptedLnd, amount_msat: int) -> None:
    invoice = made(lnd)
    lnd.pay(invoice.text, amount_msat)
    assert [receipt.amount for receipt in heard(lnd, invoice.rail_ref)] == [amount_msat]


def test_a_held_payment_is_none_until_it_is_settled(lnd: ScriptedLnd, now: list[int]) -> None:
    invoice = made(lnd)
    lnd.pay(invoice.text, held=True)
    now[0] += 3_600_000
    assert heard(lnd, invoice.rail_ref) == []
    lnd.pay(invoice.text)
    assert len(heard(lnd, invoice.rail_ref)) == 1


def test_what_is_canceled_is_asked_for_no_more(lnd: ScriptedLnd, now: list[int]) -> None:
    invoice, path = made(lnd), "/v1/invoice/"

    async def rounds(rail: LndWallet) -> None:
        watched = [Watched(invoice.rail_ref, 0)]
        for _ in range(3):
            assert await rail.receipts("", watched) == ([], "")
        now[0] += 900_000
        for _ in range(3):
            assert await rail.receipts("", watched) == ([], "")

    ask(lnd.url, rounds)
    assert lnd.asked.count(path + invoice.rail_ref) == 4


def test_a_node_that_forgot_an_invoice_tells_of_the_others(lnd: ScriptedLnd) -> None:
    """A node restored from a backup: its indexes start over, what it knows is heard."""
    lost, kept = made(lnd), made(lnd)
    lnd.pay(kept.text)
    del lnd.invoices[lost.rail_ref]
    assert [receipt.id for receipt in heard(lnd, lost.rail_ref, kept.rail_ref)] == [kept.rail_ref]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"amount_msat": 1_000_000}, "for 1000000 msat"),
        ({"payment_hash": b"\x22" * 32}, "another payment hash"),
        ({"network": "tb"}, "for the network tb"),
        ({"expiry_s": 60}, "payable for 60 s"),
    ],
)
def test_another_invoice_than_asked_for(lnd: ScriptedLnd, change: dict[str, Any], says: str) -> None:
    lnd.change = change
    with pytest.raises(RailDown, match=says):
        made(lnd)


SPOILT = [
    (*refusal(500, 2, "wallet locked, unlock it to enable full RPC access"), "wallet locked"),
    (*refusal(500, 2, "wallet not created, create one to enable full RPC access"), "wallet not created"),
    (*refusal(500, 2, "the RPC server is in the process of starting up, but not yet ready"), "starting up"),
    (*refusal(500, 2, "verification failed: signature mismatch after caveat verification"), "signature mismatch"),
    (*refusal(500, 2, "cannot determine data format of binary-encoded macaroon"), "cannot determine"),
    (*refusal(404, 5, "Not Found"), "Not Found"),
    (*refusal(503, 14, "connection error: connection refused"), "connection refused"),
    (400, "Client sent an HTTP request to an HTTPS server.\n", "HTTPS server"),
    (502, "<html>Bad Gateway</html>", "502"),
    (200, "<html>welcome</html>", "something else than JSON"),
    (200, "{}", "answered without"),
    (200, "[]", "answered without"),
]


@pytest.mark.parametrize(("status", "body", "says"), SPOILT)
def test_an_error_is_no_answer(lnd: ScriptedLnd, status: int, body: str, says: str) -> None:
    lnd.spoil = {"/v1/": (status, body)}
    watched = [Watched(OTHER, 0)]
    for question in (lambda rail: rail.make(ASKED), lambda rail: rail.receipts("", watched), LndWallet.inspect):
        with pytest.raises(RailDown, match=says) as caught:
            ask(lnd.url, question)
        assert RECEIVE not in str(caught.value)


def test_a_foreign_macaroon_is_no_answer(lnd: ScriptedLnd) -> None:
    with pytest.raises(RailDown, match="signature mismatch"):
        ask(lnd.url, LndWallet.inspect, "0201dd")


SETTLED = {
    "r_hash": b64encode(bytes.fromhex(OTHER)).decode(),
    "state": "SETTLED",
    "amt_paid_msat": "1000001",
    "settle_date": "1800000000",
}


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        ({"amt_paid_msat": "0"}, "which cannot be"),
        ({"amt_paid_msat": "-5"}, "which cannot be"),
        ({"amt_paid_msat": "9" * 20}, "which cannot be"),
        ({"amt_paid_msat": "1e6"}, "no whole number"),
        ({"amt_paid_msat": 1_000_001}, "without amt_paid_msat"),
        ({"amt_paid_msat": None}, "without amt_paid_msat"),
        ({"settle_date": "0"}, "which cannot be"),
        ({"r_hash": b64encode(b"\x55" * 32).decode()}, "another invoice"),
        ({"r_hash": "not base64"}, "payment hash that is none"),
        ({"state": "PAID"}, "'PAID', which is not known"),
    ],
)
def test_a_lie_is_no_receipt(lnd: ScriptedLnd, lie: dict[str, Any], says: str) -> None:
    lnd.spoil = {"/v1/invoice/": (200, json.dumps(SETTLED | lie))}
    with pytest.raises(RailDown, match=says):
        heard(lnd, OTHER)


@pytest.mark.parametrize(
    ("channels", "sat"),
    [
        ([], 0),
        ([CHANNEL, CHANNEL], 198_000),
        ([CHANNEL, CHANNEL | {"active": False}, CHANNEL | {"remote_balance": "900"}], 99_000),
    ],
)
def test_what_can_be_received(lnd: ScriptedLnd, channels: list[dict[str, Any]], sat: int) -> None:
    async def told(rail: LndWallet) -> int | None:
        await rail.receipts("", ())
        return rail.receivable

    lnd.channels = channels
    assert ask(lnd.url, told) == sat * 1_000
    assert ask(lnd.url, told, INVOICE) is None


@pytest.mark.parametrize(
    ("macaroon", "spends", "advice"), [(RECEIVE, False, ""), (ADMIN, True, "can spend"), (INVOICE, None, "may not ask")]
)
def test_what_the_macaroon_may(lnd: ScriptedLnd, macaroon: str, spends: bool | None, advice: str) -> None:
    lnd.network = "signet"
    found = ask(lnd.url, LndWallet.inspect, macaroon)
    assert (found.node, found.network) == ("LND 0.18.4-beta commit=v0.18.4-beta, 'till'", "tbs")
    assert found.may_spend is spends and advice in "".join(found.advice)


def test_a_node_that_is_away() -> None:
    with running(lambda: 0) as node:
        url = node.url
    with pytest.raises(RailDown, match="does not answer"):
        ask(url, LndWallet.inspect)


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


def opened(url: str, **setting: Any) -> Any:
    """What the rail says of itself, opened as the settings say."""

    async def run() -> Any:
        client = Client()
        rails = {LIGHTNING: RailSetting(backend="lnd", url=url, **setting)}
        rail = open_rails(Settings(rails=rails), Means(client, lambda: 0, asyncio.Event()))[LIGHTNING]
        assert isinstance(rail, LndWallet)
        try:
            return await rail.inspect()
        finally:
            await rail.close()
            await client.close()

    return asyncio.run(run())


def test_a_certificate_of_its_own(server_tls: ssl.SSLContext, certificate: tuple[Path, Path]) -> None:
    with running(lambda: 0, tls=server_tls) as node:
        assert opened(node.url, key=RECEIVE, tls_cert=certificate[0]).network == "bc"
        with pytest.raises(RailDown, match="does not answer"):
            opened(node.url, key=RECEIVE)


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rails.btc-lightning.key: LND takes the macaroon in hexadecimal") as caught:
        opened("https://127.0.0.1:8080", key="AgEDbG5k")
    assert "AgEDbG5k" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"rails.btc-lightning.tls_cert: not a readable PEM file"):
        opened("https://127.0.0.1:8080", key=RECEIVE, tls_cert=tmp_path / "tls.cert")
