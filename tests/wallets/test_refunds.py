"""Refunds out of a real LNbits: paid once, whenever the gateway dies; what LNbits cannot pay is free again."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perquery.rails import bolt11
from tests.answering import Asked, answering
from tests.fire.test_refunds import ask, over
from tests.serving import Gateway, run_command, start
from tests.wallets.lnbits import Lnbits


@pytest.fixture(scope="session")
def wallet(lnbits: Lnbits) -> Lnbits:
    return lnbits


def configured(folder: Path, wallet: Lnbits, url: str) -> Path:
    """Its rail is the wallet `till`, its refunds come out of the filled wallet, by that url."""
    file = folder / "perquery.toml"
    file.write_text(
        f'rates.fixed.BTC = "100000"\n[rails.btc-lightning]\nbackend = "lnbits"\nurl = "{wallet.url}"\n'
        f'key = "{wallet.till["inkey"]}"\n[refunds]\nbackend = "lnbits"\nurl = "{url}"\n'
        f'key = "{wallet.payer["adminkey"]}"\n'
    )
    return file


@pytest.fixture
def gateway(wallet: Lnbits, tmp_path: Path) -> Iterator[Gateway]:
    running = start(tmp_path / "data", configured(tmp_path, wallet, wallet.url), sandbox=False)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()


class Cable:
    """What stands between a gateway and its LNbits, as a proxy does. LNbits is killed at the first question to pay:
    before that reaches it, while it works on it, or when it has answered; in no case does the answer get through.
    """

    def __init__(self, wallet: Lnbits, when: str) -> None:
        self.looks = threading.Semaphore(0)  # what LNbits has said of a payment since
        self._wallet = wallet
        self._when = when

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        if asked.method == "POST":
            if self._when != "before":
                self._passed(asked, waiting=self._when == "after")
            self._wallet.kill()
            return 502, b"<html>Bad Gateway</html>"
        try:
            return self._passed(asked)
        except (OSError, http.client.HTTPException):
            return 502, b"<html>Bad Gateway</html>"
        finally:
            if "/payments/" in asked.path and self._wallet.is_running:
                self.looks.release()

    def _passed(self, asked: Asked, *, waiting: bool = True) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._wallet.port, timeout=30)
        headers = {name: asked.headers[name] for name in ("x-api-key", "content-type") if name in asked.headers}
        try:
            connection.request(asked.method, asked.path, asked.body, headers)
            if not waiting:
                return 0, b""
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


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
@pytest.mark.parametrize("when", ["before", "while", "after"])
def test_lnbits_dies_when_it_is_asked_to_pay(wallet: Lnbits, tmp_path: Path, when: str) -> None:
    """Its own database says then what has become of it: paid, and once, or not known, and held.

    Its funding source here forgets with its process what it made and moved, so both wallets are LNbits' own: their
    payment is two rows of one transaction. An invoice that was open dies with the process, and is not paid later.
    """
    cable = Cable(wallet, when)
    before, text = wallet.received_msat(), payees(wallet, 4_000)
    with answering(cable.answer) as url:
        gateway = start(tmp_path / "data", configured(tmp_path, wallet, url), sandbox=False)
        try:
            credit_id, key = gateway.account("10")
            refund_id = ask(gateway, credit_id, text).json()["id"]
            while stands(gateway, credit_id, refund_id) != "unknown":
                pass
            wallet.start()
            received = wallet.received_msat() - before
            assert received in {"before": (0,), "while": (0, 4_000_000), "after": (4_000_000,)}[when]
            if received:
                assert over(gateway, credit_id, refund_id)["state"] == "paid"
                while gateway.balance(key) != 6:
                    pass
            else:
                for _ in range(2):  # when it looks again, it has done what the first look called for
                    assert cable.looks.acquire(timeout=60)
                assert stands(gateway, credit_id, refund_id) == "unknown"
                assert ask(gateway, credit_id, payees(wallet, 1_000)).json()["error"]["code"] == "refund_open"
            assert wallet.received_msat() - before == received
            check(gateway)
        finally:
            gateway.stop()


def stands(gateway: Gateway, credit_id: str, refund_id: str) -> str:
    found = gateway.call("GET", f"/refunds/{refund_id}", headers={"x-credit-id": credit_id}).json()
    return str(found["state"])


@pytest.mark.slow
def test_wallet_check_tells_the_paying_wallet_from_the_receiving_one(wallet: Lnbits, tmp_path: Path) -> None:
    for purse, same_as in ((wallet.payer, None), (wallet.till, "btc-lightning")):
        file = configured(tmp_path, wallet, wallet.url)
        file.write_text(file.read_text().replace(wallet.payer["adminkey"], purse["adminkey"]))
        held = wallet.call("GET", "/api/v1/wallet", key=purse["adminkey"])[1]["balance"]
        shown = json.loads(run_command("wallet", "check", "refunds", "--json", data=tmp_path, config=file).stdout)[0]
        assert (shown["ok"], shown["balance"], shown["same_as"]) == (True, held, same_as)
        assert shown["fee_reserve"] == shown["fee_most"] == 10_000_000
        assert wallet.call("GET", "/api/v1/wallet", key=purse["adminkey"])[1]["balance"] == held


@pytest.mark.slow
def test_what_lnbits_cannot_pay_is_free_again(wallet: Lnbits, gateway: Gateway) -> None:
    credit_id, key = gateway.account("10")
    stranger = bolt11.Bolt11("bc", 2_000_000, int(time.time()), b"\x07" * 32, b"\x08" * 32, "a stranger's")
    asked = ask(gateway, credit_id, bolt11.encode(stranger, b"\x11" * 32))
    failed = over(gateway, credit_id, asked.json()["id"])
    assert (failed["state"], failed["charged_usd"]) == ("failed", None) and failed["message"]
    assert gateway.balance(key) == 10
    check(gateway)
