"""Top-ups through a real LNbits: every payment credited exactly once, whoever dies meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perquery.rails import bolt11
from tests.serving import Gateway, run_command, start
from tests.wallets.lnbits import Lnbits


@pytest.fixture(scope="session")
def wallet(lnbits: Lnbits) -> Lnbits:
    return lnbits


@pytest.fixture
def gateway(wallet: Lnbits, tmp_path: Path) -> Iterator[Gateway]:
    running = start(tmp_path / "data", configured(tmp_path, wallet, wallet.till["inkey"]), sandbox=False)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


def configured(folder: Path, wallet: Lnbits, key: str, expiry_s: int = 900) -> Path:
    file = folder / "perquery.toml"
    file.write_text(
        f'rates.fixed.BTC = "100000"\n[rails.btc-lightning]\nbackend = "lnbits"\nurl = "{wallet.url}"\n'
        f'key = "{key}"\nexpiry_s = {expiry_s}\n'
    )
    return file


def created(gateway: Gateway, key: str) -> dict[str, Any]:
    answer = gateway.call("POST", "/topup/create/btc-lightning", {"amount": 1, "currency": "USD"}, key=key)
    assert answer.status == 201, answer.body
    found: dict[str, Any] = answer.json()
    return found


def status(gateway: Gateway, key: str, invoice: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = gateway.call("GET", f"/topup/status/{invoice['invoice_id']}", key=key).json()
    return found


def check_credited(gateway: Gateway, key: str, invoice: dict[str, Any]) -> None:
    for _ in range(2):
        found = status(gateway, key, invoice)
        assert (found["status"], found["credited_usd"], found["bonus_usd"]) == ("Settled", 1, 0.05)
        assert gateway.balance(key) == 1.05
    assert gateway.command("ledger", "verify")["ok"]
    (compared,) = gateway.command("ledger", "reconcile")
    assert compared["ok"] and compared["received"] == compared["credited"] > 0


@pytest.mark.slow
def test_paid_and_paid_twice(wallet: Lnbits, gateway: Gateway) -> None:
    _, key = gateway.account()
    invoice, before = created(gateway, key), wallet.received_msat()
    assert wallet.pay(invoice["lightning_invoice"]) == 201
    check_credited(gateway, key, invoice)
    assert wallet.pay(invoice["lightning_invoice"]) == 520
    check_credited(gateway, key, invoice)
    assert wallet.received_msat() - before == 1_000_000


@pytest.mark.slow
def test_what_the_wallet_pays_itself_is_what_it_says_that_it_received(wallet: Lnbits, gateway: Gateway) -> None:
    """It takes the key that spends, which only the operator has: credited once as any payment, and nothing has come."""
    _, payers = gateway.account()
    assert wallet.pay(created(gateway, payers)["lightning_invoice"]) == 201
    _, key = gateway.account()
    invoice, before = created(gateway, key), wallet.received_msat()
    assert wallet.pay(invoice["lightning_invoice"], by=wallet.till) == 201
    check_credited(gateway, key, invoice)
    assert wallet.pay(invoice["lightning_invoice"], by=wallet.till) == 520
    check_credited(gateway, key, invoice)
    assert wallet.received_msat() == before


@pytest.mark.slow
def test_a_webhook_is_neither_asked_for_nor_believed(wallet: Lnbits, gateway: Gateway) -> None:
    """So none can be forged, and none lost: what LNbits would send is sent to wherever it might be taken."""
    _, key = gateway.account()
    invoice = created(gateway, key)
    path = f"/api/v1/payments/{bolt11.decode(invoice['lightning_invoice']).payment_hash.hex()}"
    told = wallet.call("GET", path, key=wallet.till["inkey"])[1]["details"]
    assert told["bolt11"] == invoice["lightning_invoice"] and not told["webhook"]
    forged = told | {"status": "success", "pending": False, "paid": True}
    for where in ("/", "/webhook", "/topup/webhook", f"/topup/status/{invoice['invoice_id']}"):
        assert gateway.call("POST", where, forged).status in (404, 405)
    assert status(gateway, key, invoice)["status"] == "New" and gateway.balance(key) == 0
    assert wallet.pay(invoice["lightning_invoice"]) == 201
    check_credited(gateway, key, invoice)


@pytest.mark.slow
def test_lnbits_dies_between_payment_and_credit(wallet: Lnbits, gateway: Gateway) -> None:
    _, key = gateway.account()
    invoice = created(gateway, key)
    gateway.kill()  # so that it cannot have heard
    assert wallet.pay(invoice["lightning_invoice"]) == 201
    wallet.kill()
    again = start(gateway.data, gateway.config, sandbox=False)
    try:
        assert status(again, key, invoice)["status"] == "New" and again.balance(key) == 0
        down = again.call("POST", "/topup/create/btc-lightning", {"amount": 1}, key=key)
        assert (down.status, down.json()["error"]["code"]) == (503, "rail_down")
        wallet.start()
        check_credited(again, key, invoice)
    finally:
        again.stop()


@pytest.mark.slow
def test_what_lnbits_lets_be_paid_after_its_expiry_is_credited_as_late(wallet: Lnbits, tmp_path: Path) -> None:
    config = configured(tmp_path, wallet, wallet.till["inkey"], expiry_s=1)
    gateway = start(tmp_path / "data", config, sandbox=False)
    try:
        _, key = gateway.account()
        invoice = created(gateway, key)
        while status(gateway, key, invoice)["status"] != "Expired":
            pass
        assert wallet.pay(invoice["lightning_invoice"]) == 201
        check_credited(gateway, key, invoice)
        assert status(gateway, key, invoice)["flags"] == ["late"]
    finally:
        gateway.stop()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "spends"), [("inkey", False), ("adminkey", True)])
def test_wallet_check_tells_what_the_key_may_do(wallet: Lnbits, tmp_path: Path, name: str, spends: bool) -> None:
    config = configured(tmp_path, wallet, wallet.till[name])
    (shown,) = json.loads(run_command("wallet", "check", "--json", data=tmp_path, config=config).stdout)
    assert (shown["ok"], shown["may_spend"]) == (True, spends)
