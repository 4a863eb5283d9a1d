"""A live gateway as its operator runs it: a wallet and sources of rates over sockets, killed at the worst moments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from perquery.store.drivers import wall_ms
from tests.rails import lnbits
from tests.rates.markets import Markets, markets
from tests.serving import Gateway, start

DOLLAR_MSAT = 2_000_000  # at 50,000 USD for a bitcoin


@contextmanager
def world(
    folder: Path, settings: str = "", first: Callable[[], None] | None = None
) -> Iterator[tuple[Gateway, lnbits.ScriptedLnbits, Markets]]:
    """A gateway with its wallet and two sources that agree. settings: lines that begin them; first: what its process
    does before it begins.
    """
    with markets(coinbase="50000", kraken="50000") as quoting, lnbits.running(wall_ms) as wallet:
        config = folder / "perquery.toml"
        urls = ", ".join(f'{name} = "{url}"' for name, url in quoting.urls().items())
        config.write_text(
            f'{settings}[rails.btc-lightning]\nbackend = "lnbits"\nurl = "{wallet.url}"\nkey = "{lnbits.INVOICE_KEY}"\n'
            f'[rates]\nsources = ["coinbase", "kraken"]\nurls = {{ {urls} }}\n'
        )
        gateway = start(folder / "data", config, sandbox=False, first=first)
        try:
            yield gateway, wallet, quoting
        finally:
            if gateway.process.poll() is None:
                gateway.stop()


def created(gateway: Gateway, key: str) -> dict[str, Any]:
    """A dollar's invoice, as soon as there is a rate."""
    for _ in range(200):
        answer = gateway.call("POST", "/topup/create/btc-lightning", {"amount": 1, "currency": "USD"}, key=key)
        if answer.status != 503:
            break
    assert answer.status == 201, answer.body
    found: dict[str, Any] = answer.json()
    return found


def test_a_payment_is_credited_once_though_the_gateway_dies_before_it_hears_of_it(tmp_path: Path) -> None:
    with world(tmp_path) as (gateway, wallet, _):
        _, key = gateway.account()
        invoice = created(gateway, key)
        assert Decimal(str(invoice["crypto_amount_due"])) * 10**11 == DOLLAR_MSAT
        gateway.kill()
        wallet.pay(invoice["lightning_invoice"])
        for _ in range(2):
            again = start(gateway.data, gateway.config, sandbox=False)
            try:
                status = again.call("GET", f"/topup/status/{invoice['invoice_id']}", key=key).json()
                assert (status["status"], status["credited_usd"], status["bonus_usd"]) == ("Settled", 1, 0.05)
                assert again.balance(key) == 1.05
            finally:
                again.kill()
        assert again.command("ledger", "verify")["ok"]


def test_without_a_wallet_or_a_rate_there_is_a_reason_and_no_invoice(tmp_path: Path) -> None:
    with world(tmp_path) as (gateway, wallet, quoting):
        _, key = gateway.account()
        created(gateway, key)
        wallet.spoil = (500, "<html>")
        assert refusal(gateway, key) == "rail_down"
        gateway.stop()
        quoting.failing["kraken"] = (403, b"<html>")
        again = start(gateway.data, gateway.config, sandbox=False)
        try:
            assert refusal(again, key) == "rate_unavailable"
        finally:
            again.stop()


def refusal(gateway: Gateway, key: str) -> str:
    answer = gateway.call("POST", "/topup/create/btc-lightning", {"amount": 1}, key=key)
    assert answer.status == 503
    return str(answer.json()["error"]["code"])


def test_a_payment_to_the_wallet_that_is_for_no_invoice_of_ours_changes_nothing(tmp_path: Path) -> None:
    with world(tmp_path) as (gateway, wallet, _):
        _, key = gateway.account()
        invoice = created(gateway, key)
        wallet.pay(invoice["lightning_invoice"])
        wallet.rows[0]["payment_hash"] = "ab" * 32
        status = gateway.call("GET", f"/topup/status/{invoice['invoice_id']}", key=key).json()
        assert (status["status"], status["credited_usd"]) == ("New", 0) and gateway.balance(key) == 0
