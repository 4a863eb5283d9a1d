"""Refunds of a gateway as it is run: paid out by the sandbox's wallet, killed meanwhile, never without leave."""

from __future__ import annotations

import hashlib
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from perquery import money
from perquery.rails import bolt11
from tests.fire.processes import database_url, lapse
from tests.serving import Answer, Gateway, serving, start

ON = '[refunds]\nbackend = "sandbox"\nnetwork = "bcrt"\ndaily_usd = "6"\n'


def invoice(sats: int, number: int) -> str:
    made = bolt11.Bolt11(
        network="bcrt",
        amount_msat=sats * 1_000,
        created_at=int(time.time()),
        payment_hash=hashlib.sha256(number.to_bytes(32, "big")).digest(),
        payment_secret=b"\x33" * 32,
        description="mine",
    )
    return bolt11.encode(made, b"\x11" * 32)


def ask(gateway: Gateway, credit_id: str, destination: str, **more: Any) -> Answer:
    body = {"destination": destination, **more}
    return gateway.call("POST", "/refunds", body, headers={"x-credit-id": credit_id})


def over(gateway: Gateway, credit_id: str, refund_id: str) -> dict[str, Any]:
    while True:
        answer = gateway.call("GET", f"/refunds/{refund_id}", headers={"x-credit-id": credit_id})
        found: dict[str, Any] = money.from_json(answer.body)
        if found["ended_at"] is not None:
            return found


def test_what_was_not_spent_comes_back(tmp_path: Path) -> None:
    config = tmp_path / "perquery.toml"
    config.write_text(ON)
    with serving(tmp_path / "data", config) as gateway:
        credit_id, key = gateway.account("10")
        listed = gateway.call("GET", "/refunds", headers={"x-credit-id": credit_id}).json()
        assert listed == {"refundable_usd": 10, "data": []}
        forbidden = gateway.call("POST", "/refunds", {"destination": invoice(2_000, 1)}, key=key)
        assert (forbidden.status, forbidden.json()["error"]["code"]) == (403, "credit_id_required")
        asked = ask(gateway, credit_id, invoice(2_000, 1))
        assert asked.status == 201, asked.body
        paid = over(gateway, credit_id, asked.json()["id"])
        assert (paid["state"], paid["fee_usd"], paid["amount_sats"]) == ("paid", 0, 2_000)
        left = 10 - paid["charged_usd"]
        while Decimal(str(gateway.balance(key))) != left:
            pass
        again = ask(gateway, credit_id, invoice(2_000, 1))
        assert (again.status, again.json()["error"]["code"]) == (409, "invoice_used")
        too_much = ask(gateway, credit_id, invoice(100_000, 2))
        assert (too_much.status, too_much.json()["error"]["code"]) == (400, "refund_too_large")
        private = ask(gateway, credit_id, "me@10.0.0.1", amount=1)
        assert (private.status, private.json()["error"]["code"]) == (400, "destination_unusable")
        capped = ask(gateway, credit_id, invoice(5_000, 3))
        assert (capped.status, capped.json()["error"]["code"]) == (429, "refunds_capped")
        assert gateway.command("ledger", "verify")["ok"]
        compared = gateway.command("ledger", "reconcile", "refunds", "--sandbox")
        assert compared[0]["ok"] and compared[0]["paid_msat"] == 2_000_000


def test_killed_after_it_was_asked_it_is_paid_once(tmp_path: Path) -> None:
    config = tmp_path / "perquery.toml"
    config.write_text(ON)
    gateway = start(tmp_path / "data", config)
    credit_id, _ = gateway.account("10")
    refund_id = ask(gateway, credit_id, invoice(2_000, 1)).json()["id"]
    gateway.kill()
    lapse(database_url(gateway.data, None))
    with serving(tmp_path / "data", config) as again:
        assert over(again, credit_id, refund_id)["state"] == "paid"
        assert again.command("ledger", "reconcile", "refunds", "--sandbox")[0]["ok"]


def test_where_the_operator_gives_none(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as gateway:
        credit_id, _ = gateway.account("10")
        for answer in (
            ask(gateway, credit_id, invoice(2_000, 1)),
            gateway.call("GET", "/refunds", headers={"x-credit-id": credit_id}),
            gateway.call("GET", f"/refunds/{'0' * 32}", headers={"x-credit-id": credit_id}),
        ):
            assert (answer.status, answer.json()["error"]["code"]) == (403, "refunds_disabled")
