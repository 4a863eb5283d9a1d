"""Refunds out of a real LNbits: paid once, whenever the gateway dies; what LNbits cannot pay is free again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perquery.rails import bolt11
from tests.fire.test_refunds import ask, over
from tests.serving import Gateway, start
from tests.wallets.lnbits import Lnbits, installed


@pytest.fixture(scope="module")
def wallet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lnbits]:
    yield from installed(tmp_path_factory.mktemp("lnbits"))


@pytest.fixture
def gateway(wallet: Lnbits, tmp_path: Path) -> Iterator[Gateway]:
    """Its rail is the wallet `till`, its refunds come out of the filled wallet."""
    file = tmp_path / "perquery.toml"
    file.write_text(
        f'rates.fixed.BTC = "100000"\n[rails.btc-lightning]\nbackend = "lnbits"\nurl = "{wallet.url}"\n'
        f'key = "{wallet.till["inkey"]}"\n[refunds]\nbackend = "lnbits"\nurl = "{wallet.url}"\n'
        f'key = "{wallet.payer["adminkey"]}"\n'
    )
    running = start(tmp_path / "data", file, sandbox=False)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


def payees(wallet: Lnbits, sats: int) -> str:
    """An invoice of somebody else's wallet."""
    asked = {"out": False, "amount": sats, "unit": "sat", "memo": "mine", "expiry": 3_600}
    made: dict[str, Any] = wallet.call("POST", "/api/v1/payments", asked, key=wallet.till["inkey"])[1]
    return str(made["bolt11"])


def check(gateway: Gateway) -> None:
    assert gateway.command("ledger", "verify")["ok"]
    (compared,) = gateway.command("ledger", "reconcile", "refunds")
    assert compared["ok"], compared


@pytest.mark.slow
def test_paid_out_once(wallet: Lnbits, gateway: Gateway) -> None:
    credit_id, key = gateway.account("10")
    before, text = wallet.received_msat(), payees(wallet, 2_000)
    asked = ask(gateway, credit_id, text)
    assert asked.status == 201, asked.body
    paid = over(gateway, credit_id, asked.json()["id"])
    assert (paid["state"], paid["charged_usd"]) == ("paid", 2)
    assert ask(gateway, credit_id, text).status == 409
    while gateway.balance(key) != 8:
        pass
    assert wallet.received_msat() - before == 2_000_000
    check(gateway)


@pytest.mark.slow
def test_the_gateway_dies_after_it_was_asked(wallet: Lnbits, gateway: Gateway) -> None:
    credit_id, _ = gateway.account("10")
    before, text = wallet.received_msat(), payees(wallet, 3_000)
    refund_id = ask(gateway, credit_id, text).json()["id"]
    gateway.kill()
    again = start(gateway.data, gateway.config, sandbox=False)
    try:
        ended = over(again, credit_id, refund_id)
        assert ended["state"] == "paid", ended
        assert wallet.received_msat() - before == 3_000_000
        check(again)
    finally:
        again.stop()


@pytest.mark.slow
def test_what_lnbits_cannot_pay_is_free_again(wallet: Lnbits, gateway: Gateway) -> None:
    credit_id, key = gateway.account("10")
    stranger = bolt11.Bolt11("bc", 2_000_000, int(time.time()), b"\x07" * 32, b"\x08" * 32, "a stranger's")
    asked = ask(gateway, credit_id, bolt11.encode(stranger, b"\x11" * 32))
    failed = over(gateway, credit_id, asked.json()["id"])
    assert (failed["state"], failed["charged_usd"]) == ("failed", None) and failed["message"]
    assert gateway.balance(key) == 10
    check(gateway)
