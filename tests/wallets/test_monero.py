"""Monero on a real chain: a live gateway, and a wallet that can only view, behind a password."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.networks.channel import until
from tests.networks.monero import PICO, Network, missing, network
from tests.serving import Gateway, run_command, start

DUE = PICO // 10  # of ten dollars at 100 USD
CONFIRMATIONS = 10


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    if reason := missing():
        pytest.skip(reason)
    with network(tmp_path_factory.mktemp("monero")) as running:
        yield running


@pytest.fixture
def gateway(net: Network, tmp_path: Path) -> Iterator[Gateway]:
    file = tmp_path / "perquery.toml"
    file.write_text(
        f'rates.fixed = {{ XMR = "100" }}\n[rails.xmr]\nbackend = "monero-wallet-rpc"\nurl = "{net.url}"\nkey = "u:p"\n'
    )
    running = start(tmp_path / "data", file, sandbox=False)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


def created(gateway: Gateway, key: str) -> dict[str, Any]:
    made: dict[str, Any] = {}

    def there() -> bool:
        answer = gateway.call("POST", "/topup/create/xmr", {"amount": 10}, key=key)
        made.update(answer.json())
        return answer.status == 201

    until(there, "an invoice")
    assert made["payment_uri"] == f"monero:{made['address']}?tx_amount=0.1"
    return made


def becomes(gateway: Gateway, key: str, invoice: dict[str, Any], state: str, credited: float = 0) -> None:
    def shown() -> tuple[str, float]:
        found = gateway.call("GET", f"/topup/status/{invoice['invoice_id']}", key=key).json()
        return found["state"], found["credited_usd"]

    until(lambda: shown() == (state, credited), f"{state} with {credited} credited, after {shown()}")


def check(gateway: Gateway) -> None:
    assert gateway.command("ledger", "verify")["ok"]
    (compared,) = gateway.command("ledger", "reconcile")
    assert compared["ok"], compared


@pytest.mark.slow
def test_seen_confirmed_undone_and_confirmed_again(net: Network, gateway: Gateway) -> None:
    _, key = gateway.account()
    invoice, other = created(gateway, key), created(gateway, key)
    net.pay((invoice["address"], DUE // 2), (invoice["address"], DUE // 2), (other["address"], DUE // 4))
    becomes(gateway, key, invoice, "seen")
    net.mine(CONFIRMATIONS - 1)
    becomes(gateway, key, invoice, "seen")
    net.mine(1)
    becomes(gateway, key, invoice, "settled", 10)
    becomes(gateway, key, other, "seen", 2.5)
    check(gateway)
    net.undo(CONFIRMATIONS)
    net.mine(CONFIRMATIONS + 1)  # it waited, and is in a block again
    becomes(gateway, key, invoice, "settled", 10)
    assert gateway.balance(key) == 12.5
    check(gateway)


@pytest.mark.slow
def test_undone_for_good_while_everybody_was_away(net: Network, gateway: Gateway) -> None:
    _, key = gateway.account()
    invoice = created(gateway, key)
    gateway.kill()
    net.till.stop(signal.SIGKILL)
    net.pay((invoice["address"], DUE))
    net.mine(CONFIRMATIONS)
    net.start_till()
    again = start(gateway.data, gateway.config, sandbox=False)
    try:
        becomes(again, key, invoice, "settled", 10)
        net.undo(CONFIRMATIONS, forgetting=True)
        net.mine(CONFIRMATIONS + 1)
        becomes(again, key, invoice, "new")
        assert again.balance(key) == 0
        check(again)
    finally:
        again.stop()


@pytest.mark.slow
def test_what_the_payer_has_locked_does_not_count(net: Network, gateway: Gateway) -> None:
    _, key = gateway.account()
    invoice = created(gateway, key)
    net.pay((invoice["address"], DUE), unlock_time=2_000_000_000)  # in 2033
    net.mine(CONFIRMATIONS + 1)
    becomes(gateway, key, invoice, "seen")
    check(gateway)


@pytest.mark.slow
def test_the_wallet_is_proven(net: Network, gateway: Gateway) -> None:
    shown = run_command("wallet", "check", data=gateway.data, config=gateway.config).stdout
    assert "monero-wallet-rpc 1." in shown and "ok" in shown
