"""Top-ups over a real Lightning channel: what the other side pays ends in the balance, once, whoever dies meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.networks.channel import Network, Refused, missing, network
from tests.serving import Gateway, start


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    if reason := missing():
        pytest.skip(reason)
    with network(tmp_path_factory.mktemp("network")) as running:
        yield running


@pytest.fixture
def gateway(net: Network, tmp_path: Path) -> Iterator[Gateway]:
    file = tmp_path / "perquery.toml"
    file.write_text(
        f'rates.fixed.BTC = "100000"\n[rails.btc-lightning]\nbackend = "electrum"\nurl = "{net.till.url}"\n'
        'key = "u:p"\nnetwork = "bcrt"\n'
    )
    running = start(tmp_path / "data", file, sandbox=False)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


def created(gateway: Gateway, key: str) -> dict[str, Any]:
    answer = gateway.call("POST", "/topup/create/btc-lightning", {"amount": 10, "currency": "USD"}, key=key)
    assert answer.status == 201, answer.body
    found: dict[str, Any] = answer.json()
    return found


def pay(net: Network, invoice: dict[str, Any]) -> bool:
    """Whether the other Electrum could pay it over its channel."""
    return bool(net.payer.call("lnpay", invoice=invoice["lightning_invoice"])["success"])


def check_credited(gateway: Gateway, key: str, invoice: dict[str, Any]) -> None:
    for _ in range(2):
        found = gateway.call("GET", f"/topup/status/{invoice['invoice_id']}", key=key).json()
        assert (found["status"], found["credited_usd"], found["bonus_usd"]) == ("Settled", 10, 0.5)
        assert gateway.balance(key) == 10.5
    assert gateway.command("ledger", "verify")["ok"]


@pytest.mark.slow
def test_paid_over_the_channel_and_not_twice(net: Network, gateway: Gateway) -> None:
    _, key = gateway.account()
    invoice = created(gateway, key)
    assert pay(net, invoice)
    check_credited(gateway, key, invoice)
    with pytest.raises(Refused, match="paid"):
        pay(net, invoice)
    check_credited(gateway, key, invoice)
    (compared,) = gateway.command("ledger", "reconcile")
    assert (compared["ok"], compared["received"], compared["credited"]) == (True, 10_000_000, 10_000_000)


@pytest.mark.slow
def test_no_more_is_offered_than_the_channel_can_bring(net: Network, gateway: Gateway) -> None:
    _, key = gateway.account()
    invoice = created(gateway, key)
    gateway.call("GET", f"/topup/status/{invoice['invoice_id']}", key=key)
    (method,) = gateway.call("GET", "/topup/payment-methods").json()["supported_methods"]
    channel = net.till.channel()
    assert channel is not None and 0 < method["limits"]["SATS"]["max"] <= channel["remote_balance"]
    answer = gateway.call("POST", "/topup/create/btc-lightning", {"amount": 1_000_000, "currency": "SATS"}, key=key)
    assert (answer.status, answer.json()["error"]["param"]) == (400, "amount")


@pytest.mark.slow
def test_the_wallet_dies_between_payment_and_credit(net: Network, gateway: Gateway) -> None:
    _, key = gateway.account()
    invoice = created(gateway, key)
    gateway.kill()  # so that it cannot have heard
    assert pay(net, invoice)
    net.till.daemon.stop(signal.SIGKILL)
    again = start(gateway.data, gateway.config, sandbox=False)
    try:
        assert again.balance(key) == 0
        down = again.call("POST", "/topup/create/btc-lightning", {"amount": 1}, key=key)
        assert (down.status, down.json()["error"]["code"]) == (503, "rail_down")
        net.till.start()
        check_credited(again, key, invoice)
    finally:
        again.stop()
