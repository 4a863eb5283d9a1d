"""The sandbox's wallet on Nostr Wallet Connect: connected, it lifts an account that was spent below its threshold."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from tests.serving import PERQUERY, Gateway, environment, scripted_config, serving
from tests.upstream import upstream_process

WALLET = "4f355bdcb7cc0af728ef3cceb9615d90684bb5b2ca5f859ab0f0b704075871aa"
HELLO = {"model": "stub-model", "messages": [{"role": "user", "content": "hello"}]}


@contextmanager
def wallet_of(gateway: Gateway) -> Iterator[str]:
    """`perquery sandbox nwc` beside the gateway: the address that it prints."""
    words = [str(PERQUERY), "sandbox", "nwc", "--json", "--data", str(gateway.data)]
    # A shell that starts the tests in the background has them ignore SIGINT, and what they start.
    words = ["env", "--default-signal=INT", *words]
    process = subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["nwc_url"]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0


def test_spent_below_the_threshold_the_topup_arrives(tmp_path: Path) -> None:
    with upstream_process() as upstream:
        config = scripted_config(tmp_path, upstream)
        with serving(tmp_path / "data", config) as gateway, wallet_of(gateway) as address:
            _, key = gateway.account("5")
            asked = {"nwc_url": address, "threshold_usd": 5, "topup_amount_usd": 1}
            made = gateway.call("POST", "/nwc-auto-topup/connect", asked, key=key)
            assert made.status == 200, made.body
            assert not made.json()["attempts"]
            cost = Decimal(str(gateway.call("POST", "/v1/chat/completions", HELLO, key=key).json()["usage"]["cost"]))
            assert cost > 0
            assert settled(gateway, key)
            assert Decimal(str(gateway.balance(key))) == 5 - cost + Decimal("1.05")
            assert gateway.command("ledger", "reconcile", "--sandbox")[0]["ok"]


def test_a_relay_in_the_network_around_is_not_reached(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as gateway:
        _, key = gateway.account()
        for relay in ("ws://10.0.0.1:7777", "wss://192.168.0.1", "ws://127.0.0.1:1&relay=wss://169.254.169.254"):
            asked = {"nwc_url": f"nostr+walletconnect://{WALLET}?relay={relay}&secret={'22' * 32}"}
            answer = gateway.call("POST", "/nwc-auto-topup/connect", asked, key=key)
            error = answer.json()["error"]
            assert (answer.status, error["code"]) == (400, "wallet_unreachable")
            assert "not a public address" in error["message"] or "must be wss" in error["message"]


def settled(gateway: Gateway, key: str) -> bool:
    """Whether the first attempt was paid, as soon as it has ended."""
    for _ in range(5_000):
        attempts = gateway.call("GET", "/nwc-auto-topup", key=key).json()["attempts"]
        if attempts and attempts[-1]["ended_at"] is not None:
            return bool(attempts[-1]["state"] == "settled")
    raise AssertionError("no attempt has ended")
