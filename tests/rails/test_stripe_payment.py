"""What of a card payment stands: paid as asked, refunded, disputed, won back; the same whenever it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from perquery.rails.rail import Receipt
from tests.rails.stripe import (
    KEY,
    ScriptedStripe,
    running,
)
from tests.rails.stripe_gateway import DAY_MS, SETTLED_MS, Gateway, Tell, telling


@pytest.fixture
def now() -> list[int]:
    return [1_800_000_000_000]


@pytest.fixture
def stripe(now: list[int]) -> Iterator[ScriptedStripe]:
    with running(lambda: now[0]) as server:
        yield server


@pytest.fixture
def tell(stripe: ScriptedStripe, now: list[int]) -> Tell:
    return lambda story, key=KEY: telling(stripe, now, story, key)


def test_paid_is_one_receipt_however_often_it_is_heard(stripe: ScriptedStripe, tell: Tell, now: list[int]) -> None:
    async def story(gateway: Gateway) -> None:
        name = await gateway.make()
        assert await gateway.hear_now() == []
        payment, at_ms = stripe.pay(name), now[0]
        expected = Receipt(payment, name, 2_500, "confirmed", at_ms)
        assert set(await gateway.hear()) == {expected}
        stripe.happens("checkout.session.completed", stripe.sessions[name])
        assert set(await gateway.hear()) == {expected}
        gateway.restart()
        await gateway.hear()
        assert list(gateway.till.known.values()) == [expected]
        with pytest.raises(ValueError, match="is complete"):
            stripe.pay(name)

    tell(story)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"currency": "eur"}, "eur/usd"),
        ({"intent": {"currency": "jpy"}}, "jpy/usd"),
        ({"intent": {"amount_received": 2_400}}, "2400 cents were received"),
        ({"amount_captured": 2_600}, "2600 captured"),
        ({"captured": False}, "not captured"),
        ({"paid": False}, "not captured"),
        ({"status": "pending"}, "has not succeeded"),
        ({"intent": {"status": "requires_capture"}}, "has not succeeded"),
    ],
)
def test_the_wrong_money_does_not_count(
    stripe: ScriptedStripe, tell: Tell, change: dict[str, Any], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(gateway: Gateway) -> None:
        stripe.pay(await gateway.make(), **change)
        other = stripe.pay(await gateway.make())
        assert {receipt.id for receipt in await gateway.hear()} == {other}

    tell(story)
    assert says in caplog.text


@pytest.mark.parametrize(
    ("change", "says"),
    [({"amount_total": 2_400}, "2400 cents in all"), ({"livemode": True}, "other mode"), ({"currency": "eur"}, "eur")],
)
def test_a_page_that_was_changed_does_not_count(
    stripe: ScriptedStripe, tell: Tell, change: dict[str, Any], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(gateway: Gateway) -> None:
        name = await gateway.make()
        stripe.sessions[name] |= change
        stripe.pay(name)
        assert await gateway.hear() == []

    tell(story)
    assert says in caplog.text


def test_pages_and_payments_of_others_are_none_of_ours(stripe: ScriptedStripe, tell: Tell) -> None:
    async def story(gateway: Gateway) -> None:
        name = await gateway.make()
        stripe.sessions[name]["metadata"] = {}
        stripe.refund(stripe.pay(name), 100)
        stripe.happens("charge.refunded", {"object": "charge", "id": "ch_1", "payment_intent": "pi_unknown"})
        stripe.happens("charge.refunded", {"object": "charge", "id": "ch_2", "payment_intent": None})
        assert await gateway.hear() == []

    tell(story)


def test_a_full_refund_takes_all_back(stripe: ScriptedStripe, tell: Tell) -> None:
    async def story(gateway: Gateway) -> None:
        payment = await gateway.paid()
        stripe.refund(payment, 2_500)
        await gateway.hear()
        assert gateway.till.cents == 0 and gateway.till.known[payment].state == "gone"

    tell(story)


def test_partial_refunds_leave_the_rest(stripe: ScriptedStripe, tell: Tell) -> None:
    async def story(gateway: Gateway) -> None:
        payment, stands = await gateway.paid(), []
        for cents in (700, 300, 1_500):
            stripe.refund(payment, cents)
            await gateway.hear()
            stands.append(gateway.till.cents)
        assert stands == [1_800, 1_500, 0]
        assert [receipt.amount for receipt in gateway.till.known.values()][1:] == [2_500] * 2
        assert {receipt.at_ms for receipt in gateway.till.known.values()} == {gateway.till.known[payment].at_ms}

    tell(story)


def test_a_refund_that_fails_brings_the_money_again(stripe: ScriptedStripe, tell: Tell) -> None:
    async def story(gateway: Gateway) -> None:
        payment = await gateway.paid()
        refund = stripe.refund(payment, 700, status="pending")
        await gateway.hear()
        assert gateway.till.cents == 1_800
        stripe.fail_refund(refund)
        await gateway.hear()
        assert gateway.till.cents == 2_500 and gateway.till.known[f"{payment}~2"].amount == 2_500

    tell(story)


def test_more_refunds_than_a_charge_shows(stripe: ScriptedStripe, tell: Tell) -> None:
    async def story(gateway: Gateway) -> None:
        payment = await gateway.paid()
        for _ in range(12):
            stripe.refund(payment, 100)
        await gateway.hear()
        assert gateway.till.cents == 1_300

    tell(story)


@pytest.mark.parametrize(("outcome", "cents"), [("won", 2_500), ("lost", 0), ("under_review", 0), ("prevented", 0)])
def test_a_dispute_takes_all_back_until_it_is_won(stripe: ScriptedStripe, tell: Tell, outcome: str, cents: int) -> None:
    async def story(gateway: Gateway) -> None:
        payment = await gateway.paid()
        dispute = stripe.dispute(payment)
        await gateway.hear()
        assert gateway.till.cents == 0
        stripe.decide(dispute, outcome)
        await gateway.hear()
        gateway.restart()
        await gateway.hear()
        assert gateway.till.cents == cents

    tell(story)


def test_an_inquiry_takes_nothing_until_it_becomes_a_dispute(stripe: ScriptedStripe, tell: Tell) -> None:
    async def story(gateway: Gateway) -> None:
        dispute = stripe.dispute(await gateway.paid(), "warning_needs_response")
        await gateway.hear()
        assert gateway.till.cents == 2_500
        stripe.decide(dispute, "needs_response")
        await gateway.hear()
        assert gateway.till.cents == 0

    tell(story)


def test_refunds_and_disputes_together(stripe: ScriptedStripe, tell: Tell) -> None:
    async def story(gateway: Gateway) -> None:
        payment = await gateway.paid()
        stripe.refund(payment, 500)
        await gateway.hear()
        first = stripe.dispute(payment)
        await gateway.hear()
        stripe.decide(first, "won")
        await gateway.hear()
        assert gateway.till.cents == 2_000
        stripe.refund(payment, 100)
        second = stripe.dispute(payment)
        await gateway.hear()
        assert gateway.till.cents == 0
        stripe.decide(second, "won")
        await gateway.hear()
        assert gateway.till.cents == 1_900

    tell(story)


def test_a_chargeback_four_months_later(stripe: ScriptedStripe, tell: Tell, now: list[int]) -> None:
    async def story(gateway: Gateway) -> None:
        payment = await gateway.paid()
        now[0] += SETTLED_MS
        await gateway.hear()
        gateway.watched.clear()
        now[0] += 120 * DAY_MS
        gateway.restart()
        await gateway.hear()
        stripe.dispute(payment)
        await gateway.hear()
        assert gateway.till.cents == 0

    tell(story)
