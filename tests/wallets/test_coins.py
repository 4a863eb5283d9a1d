"""Litecoin, and Bitcoin by the same chain, on a real network: litecoind and ElectrumX, a live gateway that knows public
keys alone. Whatever becomes of a payment, the ledger agrees with the chain afterwards.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.networks.channel import Indexed, indexed, missing, until
from tests.serving import Gateway, serving, start

XPUB = "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31mGDtKsAYz2oz2AGutZYs"
BEFORE_MWEB = 431  # blocks, in regtest mode: the next one must bring something into the extension
ACCOUNTS = itertools.count()  # so that no two gateways hand out the same addresses


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Indexed]:
    if reason := missing():
        pytest.skip(reason)
    with indexed(tmp_path_factory.mktemp("chain"), blocks=BEFORE_MWEB) as running:
        call = running.chain.call
        call("sendtoaddress", call("getnewaddress", "", "mweb", wallet=True), 5, wallet=True)
        running.chain.mine(10)
        yield running


@dataclass
class Caller:
    """An account of a live gateway. rail: btc or ltc."""

    net: Indexed
    gateway: Gateway
    rail: str
    key: str

    def created(self, usd: int = 20) -> dict[str, Any]:
        answer = self.gateway.call("POST", f"/topup/create/{self.rail}", {"amount": usd}, key=self.key)
        assert answer.status == 201, answer.body
        found: dict[str, Any] = answer.json()
        assert found["payment_uri"].endswith(f"{found['address']}?amount={found['crypto_amount_due']}")
        return found

    def status(self, invoice: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.gateway.call("GET", f"/topup/status/{invoice['invoice_id']}", key=self.key).json()
        return found

    def becomes(self, invoice: dict[str, Any], state: str, credited: float = 0) -> None:
        """Sooner or later, as ElectrumX needs its time."""

        def there() -> bool:
            found = self.status(invoice)
            return (found["state"], found["credited_usd"]) == (state, credited)

        until(there, f"{state} with {credited} credited, after {self.status(invoice)}")

    def check(self) -> None:
        assert self.gateway.command("ledger", "verify")["ok"]
        (compared,) = self.gateway.command("ledger", "reconcile")
        assert compared["ok"], compared

    def again(self) -> None:
        self.gateway = start(self.gateway.data, self.gateway.config, sandbox=False)


def settings(net: Indexed, rail: str, backend: str) -> str:
    node = f'url = "http://127.0.0.1:{net.chain.port}"\nkey = "u:p"\n'
    servers = f'urls = ["tcp://127.0.0.1:{net.index_port}", "tcp://127.0.0.1:{net.index_port}"]\n'
    return (
        f'rates.fixed = {{ BTC = "10000", LTC = "100" }}\n[rails.{rail}]\nbackend = "{backend}"\nnetwork = "bcrt"\n'
        f'xpub = "wpkh({XPUB}/{next(ACCOUNTS)}/*)"\n{node if backend == "core" else servers}'
    )


SOURCES = (("ltc", "electrum-servers"), ("ltc", "core"))
# litecoind knows no address of bitcoin's, so the node is asked for Litecoin alone.
COINS = pytest.mark.parametrize("caller", [("btc", "electrum-servers"), *SOURCES], ids="-".join, indirect=True)


@pytest.fixture(params=SOURCES, ids="-".join)
def caller(request: pytest.FixtureRequest, net: Indexed, tmp_path: Path) -> Iterator[Caller]:
    rail, backend = request.param
    file = tmp_path / "perquery.toml"
    file.write_text(settings(net, rail, backend))
    gateway = start(tmp_path / "data", file, sandbox=False)
    made = Caller(net, gateway, rail, gateway.account()[1])
    try:
        yield made
    finally:
        if made.gateway.process.poll() is None:
            made.gateway.stop()


def needs(caller: Caller) -> int:
    """The confirmations of a small payment."""
    return 2 if caller.rail == "ltc" else 1


def pay(caller: Caller, invoice: dict[str, Any], part: str = "1") -> str:
    coins = Decimal(str(invoice["crypto_amount_due"])) * Decimal(part)
    return caller.net.chain.pay(invoice["address"], str(coins))


@pytest.mark.slow
@COINS
def test_seen_then_confirmed_one_by_one(caller: Caller) -> None:
    invoice = caller.created()
    pay(caller, invoice)
    caller.becomes(invoice, "seen")
    for _ in range(needs(caller) - 1):
        caller.net.chain.mine(1)
        caller.becomes(invoice, "seen")
    caller.net.chain.mine(1)
    caller.becomes(invoice, "settled", 20)
    caller.net.chain.mine(5)
    caller.becomes(invoice, "settled", 20)
    caller.check()


@pytest.mark.slow
def test_in_parts_and_over_while_the_gateway_is_away(caller: Caller) -> None:
    invoice = caller.created()
    pay(caller, invoice, "0.25")
    caller.net.chain.mine(needs(caller))
    caller.becomes(invoice, "seen", 5)
    caller.gateway.kill()
    pay(caller, invoice, "1")
    caller.net.chain.mine(needs(caller) + 2)
    caller.again()
    caller.becomes(invoice, "settled", 25)
    assert "over" in caller.status(invoice)["flags"]
    caller.check()


def send(net: Indexed, coin: dict[str, Any], address: str, coins: str, fee: str) -> None:
    """Spend one coin of the payer's, in a transaction that may be replaced."""
    call = net.chain.call
    left = Decimal(str(coin["amount"])) - Decimal(coins) - Decimal(fee)
    outputs = [{address: coins}, {call("getrawchangeaddress", wallet=True): str(left)}]
    inputs = [{"txid": coin["txid"], "vout": coin["vout"], "sequence": 0}]
    raw = call("createrawtransaction", inputs, outputs)
    call("sendrawtransaction", call("signrawtransactionwithwallet", raw, wallet=True)["hex"])


def largest_coin(net: Indexed) -> dict[str, Any]:
    coins: list[dict[str, Any]] = net.chain.call("listunspent", 1, wallet=True)
    return max((coin for coin in coins if "vout" in coin), key=lambda each: each["amount"])


@pytest.mark.slow
def test_replaced_within_and_away(caller: Caller) -> None:
    kept, lost = caller.created(), caller.created()
    call, own = caller.net.chain.call, caller.net.chain.own
    for invoice, instead in ((kept, own(kept["address"])), (lost, call("getnewaddress", wallet=True))):
        coin, due = largest_coin(caller.net), str(invoice["crypto_amount_due"])
        send(caller.net, coin, own(invoice["address"]), due, "0.001")
        caller.becomes(invoice, "seen")
        send(caller.net, coin, instead, due, "0.01")
        caller.becomes(invoice, "seen" if invoice is kept else "new")
    caller.net.chain.mine(needs(caller))
    caller.becomes(kept, "settled", 20)
    caller.becomes(lost, "new")
    caller.check()


@pytest.mark.slow
def test_three_blocks_are_undone(caller: Caller) -> None:
    """Once with the payment in the new blocks again, once spent elsewhere in them."""
    net = caller.net
    for forgotten in (False, True):
        invoice, coin = caller.created(), largest_coin(net)
        own, due = net.chain.own(invoice["address"]), str(invoice["crypto_amount_due"])
        before = caller.gateway.balance(caller.key)
        send(net, coin, own, due, "0.001")
        net.chain.mine(3)
        caller.becomes(invoice, "settled", 20)
        net.chain.call("invalidateblock", net.chain.call("getblockhash", net.chain.call("getblockcount") - 2))
        if forgotten:
            send(net, coin, net.chain.call("getnewaddress", wallet=True), due, "0.01")
        net.chain.mine(4)
        if forgotten:
            caller.becomes(invoice, "new")
            assert caller.gateway.balance(caller.key) == before
        else:
            caller.becomes(invoice, "settled", 20)
        caller.check()


@pytest.mark.slow
def test_beyond_a_wallets_gap(caller: Caller) -> None:
    for _ in range(22):
        _, caller.key = caller.gateway.account()
        invoice = caller.created()
    pay(caller, invoice)
    caller.net.chain.mine(needs(caller))
    caller.becomes(invoice, "settled", 20)
    caller.check()


@pytest.mark.slow
def test_late_and_again(net: Indexed, tmp_path: Path) -> None:
    file = tmp_path / "perquery.toml"
    file.write_text(settings(net, "ltc", "electrum-servers") + "expiry_s = 1\n")
    with serving(tmp_path / "data", file, sandbox=False) as gateway:
        caller = Caller(net, gateway, "ltc", gateway.account()[1])
        invoice = caller.created()
        caller.becomes(invoice, "expired")
        pay(caller, invoice)
        net.chain.mine(2)
        caller.becomes(invoice, "settled", 20)
        assert caller.status(invoice)["flags"] == ["late"]
        caller.check()


@pytest.mark.slow
def test_a_payment_out_of_the_extension_block(net: Indexed, tmp_path: Path) -> None:
    """Litecoin's MWEB: it is never in the pool, and the transaction that pays is not the payer's."""
    call = net.chain.call
    plain = [coin for coin in call("listunspent", wallet=True) if "vout" in coin]
    locked = [{"txid": coin["txid"], "vout": coin["vout"]} for coin in plain]
    file = tmp_path / "perquery.toml"
    file.write_text(settings(net, "ltc", "electrum-servers"))
    with serving(tmp_path / "data", file, sandbox=False) as gateway:
        caller = Caller(net, gateway, "ltc", gateway.account()[1])
        invoice = caller.created()
        call("lockunspent", False, locked, wallet=True)
        try:
            payers_id = pay(caller, invoice)
        finally:
            call("lockunspent", True, wallet=True)
        net.chain.mine(2)
        caller.becomes(invoice, "settled", 20)
        assert payers_id not in call("getblock", call("getbestblockhash"), 1)["tx"]
        caller.check()
