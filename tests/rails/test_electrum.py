"""An Electrum wallet over JSON-RPC: what its answers come to, and what is never taken for a payment.

The scripted daemon answers in the shapes of Electrum 4.3.4.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.rails import bolt11
from perquery.rails.electrum import ElectrumWallet
from perquery.rails.rail import Payable, PayableRequest, RailDown, Receipt, Watched
from tests.answering import Asked, answering

HASH = "22" * 32
CREDENTIAL = "user:long:password"
ASKED = PayableRequest(amount=50_000_000, description="Top-up", expiry_s=900)
INVOICE = bolt11.encode(
    bolt11.Bolt11("bcrt", 50_000_000, 1_800_000_000, bytes.fromhex(HASH), b"\x33" * 32, "Top-up", 900), b"\x11" * 32
)
REQUEST = {"status": 0, "rhash": HASH, "lightning_invoice": INVOICE, "amount_msat": 50_000_000, "can_receive": True}
PAYMENT = {
    "type": "payment",
    "timestamp": 1_800_000_100,
    "direction": 1,
    "amount_msat": 50_000_000,
    "payment_hash": HASH,
}
CHANNEL = {
    "type": "CHANNEL",
    "state": "OPEN",
    "peer_state": "GOOD",
    "remote_balance": 100_000,
    "remote_reserve": 1_000,
    "remote_unsettled_sent": 500,
}
WATCHED = (Watched(HASH, 1_800_000_900_000),)


@contextmanager
def daemon(**answers: Any) -> Iterator[tuple[str, list[Any]]]:
    """A daemon that answers each method with what is given, an unknown one with an error: its URL, and the calls."""
    calls: list[Any] = []

    def answer(asked: Asked) -> tuple[int, bytes]:
        call = json.loads(asked.body)
        calls.append((call["method"], call["params"]))
        said: dict[str, Any] = {"id": call["id"], "jsonrpc": "2.0"}
        if call["method"] in answers:
            said["result"] = answers[call["method"]]
        else:
            said["error"] = {"code": 1, "message": "wallet not loaded"}
        known = asked.headers["authorization"] == "Basic " + b64encode(CREDENTIAL.encode()).decode()
        return (200, json.dumps(said).encode()) if known else (403, b"Forbidden")

    with answering(answer) as url:
        yield url, calls


def with_wallet(url: str, ask: Callable[[ElectrumWallet], Awaitable[Any]], credential: str = CREDENTIAL) -> Any:
    async def run() -> Any:
        client = Client()
        try:
            return await ask(ElectrumWallet(client, url, credential, "bcrt"))
        finally:
            await client.close()

    return asyncio.run(run())


def heard(*payments: Any, status: int = 3) -> tuple[list[Receipt], str]:
    answers = {"list_channels": [], "get_request": REQUEST | {"status": status}, "lightning_history": payments}
    with daemon(**answers) as (url, _):
        found: tuple[list[Receipt], str] = with_wallet(url, lambda wallet: wallet.receipts("", WATCHED))
    return found


def test_an_invoice_is_asked_for_in_exact_bitcoin() -> None:
    with daemon(add_request=REQUEST) as (url, calls):
        assert with_wallet(url, lambda wallet: wallet.make(ASKED)) == Payable(INVOICE, HASH)
    wanted = {"amount": "0.00050000", "memo": "Top-up", "expiration": 900, "force": True}
    assert calls == [("add_request", wanted)]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (REQUEST | {"amount_msat": 1, "rhash": "44" * 32}, "another payment hash"),
        ({"address": "bcrt1q", "status": 0}, "no Lightning invoice"),
        (False, "no Lightning invoice"),
        (REQUEST | {"can_receive": False}, "cannot receive 0.00050000 BTC"),
    ],
)
def test_what_nobody_could_pay_is_not_handed_out(made: Any, says: str) -> None:
    with daemon(add_request=made) as (url, _), pytest.raises(RailDown, match=says):
        with_wallet(url, lambda wallet: wallet.make(ASKED))


def test_what_is_finer_than_a_satoshi_is_refused() -> None:
    fine = PayableRequest(50_000_001, "Top-up", 900)
    with daemon(add_request=REQUEST) as (url, _), pytest.raises(RailDown, match="not 50000001"):
        with_wallet(url, lambda wallet: wallet.make(fine))


def test_a_payment_is_reported_with_what_really_came() -> None:
    over = PAYMENT | {"amount_msat": 50_000_007}
    assert heard(over) == ([Receipt(HASH, HASH, 50_000_007, "confirmed", 1_800_000_100_000)], "")


@pytest.mark.parametrize(
    "other",
    [
        PAYMENT | {"amount_msat": 20_000_000},  # one part of two is settled
        PAYMENT | {"direction": 0, "amount_msat": -50_000_000},
        PAYMENT | {"direction": 3},
        PAYMENT | {"payment_hash": "44" * 32},  # something else that the wallet was paid
        {"type": "channel_opening", "amount_msat": 50_000_000, "timestamp": 1},
    ],
)
def test_nothing_else_is_a_payment(other: Any) -> None:
    assert heard(other) == ([], "")


def test_a_request_paid_on_the_chain_is_no_receipt() -> None:
    """Electrum calls the request paid, but its Lightning history knows nothing of it."""
    assert heard() == ([], "")


@pytest.mark.parametrize("status", [0, 1, 4, 7])
def test_what_is_unpaid_asks_for_no_history(status: int) -> None:
    with daemon(list_channels=[], get_request=REQUEST | {"status": status}) as (url, _):
        assert with_wallet(url, lambda wallet: wallet.receipts("", WATCHED)) == ([], "")


@pytest.mark.parametrize(
    ("channels", "sat"),
    [
        ([], 0),
        ([CHANNEL], 98_500),
        ([CHANNEL, CHANNEL, CHANNEL], 147_750),
        ([CHANNEL, CHANNEL | {"peer_state": "DISCONNECTED"}, CHANNEL | {"state": "CLOSED"}], 98_500),
        ([CHANNEL | {"remote_balance": 400}, {"type": "BACKUP", "state": "OPEN"}], 0),
    ],
)
def test_what_can_be_received(channels: Any, sat: int) -> None:
    async def ask(wallet: ElectrumWallet) -> int | None:
        await wallet.receipts("", ())
        return wallet.receivable

    with daemon(list_channels=channels) as (url, _):
        assert with_wallet(url, ask) == sat * 1_000


@pytest.mark.parametrize(("fallback", "warned"), [(False, False), (True, True), (None, True)])
def test_what_it_says_of_itself(fallback: Any, warned: bool) -> None:
    with daemon(getinfo={"version": "4.3.4", "network": "regtest"}, getconfig=fallback) as (url, _):
        found = with_wallet(url, lambda wallet: wallet.inspect())
    assert (found.node, found.network, found.may_spend) == ("Electrum 4.3.4", "bcrt", True)
    assert any("bolt11_fallback" in line for line in found.advice) == warned


def test_an_error_and_a_wrong_password_are_down() -> None:
    with daemon() as (url, _):
        with pytest.raises(RailDown, match=r"refuses list_channels.*wallet not loaded"):
            with_wallet(url, lambda wallet: wallet.receipts("", ()))
        with pytest.raises(RailDown, match="403") as caught:
            with_wallet(url, lambda wallet: wallet.inspect(), "user:wrong-one")
    assert "wrong-one" not in str(caught.value)
