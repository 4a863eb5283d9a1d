"""Cards as a caller has them: a live gateway, a Stripe that says what Stripe says, and money that is taken back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perquery.store.drivers import wall_ms
from tests.rails import stripe
from tests.rails.stripe import WEBHOOK_SECRET, ScriptedStripe
from tests.serving import Gateway, run_command, scripted_config, serving
from tests.upstream import upstream_process

HELLO = {"model": "stub-model", "messages": [{"role": "user", "content": "hello"}]}


@dataclass
class Scene:
    stripe: ScriptedStripe
    gateway: Gateway
    key: str

    def create(self, usd: float, currency: str = "USD") -> tuple[int, dict[str, Any]]:
        body = {"amount": usd, "currency": currency}
        answer = self.gateway.call("POST", "/topup/create/card", body, key=self.key)
        return answer.status, answer.json()

    def told(self, secret: str = WEBHOOK_SECRET, body: bytes = b'{"type":"payment_intent.succeeded"}') -> int:
        """Stripe's webhook, signed with a secret; the status of the answer."""
        header = {"Stripe-Signature": stripe.signed(body, wall_ms() // 1_000, secret)}
        return self.gateway.call("POST", "/topup/webhook/card", body, headers=header).status

    def becomes(self, usd: float) -> None:
        """Stripe tells of what happened, and the balance follows."""
        assert self.told() == 200
        for _ in range(500):
            if self.gateway.balance(self.key) == usd:
                return
        raise AssertionError(f"the balance is {self.gateway.balance(self.key)}, not {usd}")

    def check(self) -> None:
        assert self.gateway.command("ledger", "verify")["ok"]
        (compared,) = self.gateway.command("ledger", "reconcile")
        assert compared["ok"], compared


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ScriptedStripe, Gateway]]:
    folder = tmp_path_factory.mktemp("card")
    with upstream_process() as upstream, stripe.running(wall_ms) as service:
        file = scripted_config(folder, upstream)
        card = (
            f'[rails.card]\nbackend = "stripe"\nurl = "{service.url}"\nkey = "{stripe.KEY}"\n'
            f'webhook_secret = "{WEBHOOK_SECRET}"\nsuccess_url = "https://gate.example/topup?paid"\n'
            'cancel_url = "https://gate.example/topup"\nfirst_week_usd = "60"\n'
        )
        file.write_text(file.read_text() + card)
        with serving(folder / "data", file, sandbox=False) as gateway:
            yield service, gateway


@pytest.fixture
def scene(running: tuple[ScriptedStripe, Gateway]) -> Scene:
    service, gateway = running
    return Scene(service, gateway, gateway.account()[1])


def paid(scene: Scene, usd: int) -> str:
    """An invoice that was paid on Stripe's page; the payment."""
    status, made = scene.create(usd)
    assert status == 201 and made["checkout_url"] == made["payment_url"] and made["crypto_amount_due"] == usd
    (name,) = (each for each in scene.stripe.sessions if each in made["checkout_url"])
    return scene.stripe.pay(name)


def test_paid_refunded_in_part_and_whole(scene: Scene) -> None:
    payment = paid(scene, 25)
    scene.becomes(25)
    scene.stripe.refund(payment, 1_000)
    scene.becomes(15)
    scene.check()
    scene.stripe.refund(payment, 1_500)
    scene.becomes(0)
    scene.check()


def test_a_dispute_of_what_was_spent_is_debt_and_a_frozen_account(scene: Scene) -> None:
    payment = paid(scene, 25)
    scene.becomes(25)
    cost = scene.gateway.call("POST", "/v1/chat/completions", HELLO, key=scene.key).json()["usage"]["cost"]
    dispute = scene.stripe.dispute(payment)
    scene.becomes(-cost)
    refused = scene.gateway.call("POST", "/v1/chat/completions", HELLO, key=scene.key)
    assert (refused.status, refused.json()["error"]["code"]) == (403, "account_frozen")
    scene.check()
    scene.stripe.decide(dispute, "won")
    scene.becomes(25 - cost)
    scene.check()


def test_a_webhook_is_signed_or_refused_and_never_believed(scene: Scene) -> None:
    scene.create(25)
    assert scene.told("whsec_" + "x" * 32) == 400
    assert scene.told(body=b'{"type":"payment_intent.succeeded","data":{"object":{"amount_received":2500}}}') == 200
    assert scene.gateway.call("POST", "/topup/webhook/card", b"{}").status == 400
    assert scene.gateway.call("POST", "/topup/webhook/btc-lightning", b"{}").status == 404
    assert scene.gateway.balance(scene.key) == 0


def test_a_new_account_starts_small(scene: Scene) -> None:
    assert scene.create(4.99)[0] == 400
    assert [scene.create(usd)[0] for usd in (40, 20)] == [201, 201]
    status, refused = scene.create(5)
    assert (status, refused["error"]["code"]) == (400, "first_week_limit") and "$60" in refused["error"]["message"]


def test_without_its_secret_there_is_no_gateway(running: tuple[ScriptedStripe, Gateway], tmp_path: Path) -> None:
    _, gateway = running
    assert gateway.config is not None
    file = tmp_path / "perquery.toml"
    file.write_text(gateway.config.read_text().replace(WEBHOOK_SECRET, ""))
    found = run_command("wallet", "check", "card", data=tmp_path, config=file, check=False)
    assert found.returncode != 0 and "webhook_secret: is empty" in found.stdout + found.stderr
