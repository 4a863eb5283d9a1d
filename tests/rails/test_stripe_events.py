"""Stripe's events: none is passed over, be the gateway away, the event late, or the list long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rails.stripe import (
    EVENTS_KEPT_S,
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


def test_a_payment_while_the_gateway_was_away(stripe: ScriptedStripe, tell: Tell, now: list[int]) -> None:
    async def story(gateway: Gateway) -> None:
        await gateway.paid()
        now[0] += SETTLED_MS
        await gateway.hear()
        cursor = gateway.cursor
        name = await gateway.make()
        stripe.pay(name)
        now[0] += 9 * DAY_MS
        gateway.watched.clear()
        gateway.restart()
        assert {receipt.rail_ref for receipt in await gateway.hear()} == {name}
        assert cursor == stripe.events[0]["id"] and gateway.cursor == stripe.events[1]["id"]

    tell(story)


def test_what_was_heard_but_not_written_down_is_heard_again(stripe: ScriptedStripe, tell: Tell, now: list[int]) -> None:
    async def story(gateway: Gateway) -> None:
        name = await gateway.make()
        stripe.pay(name)
        receipts, after = await gateway.rail.receipts(gateway.cursor, ())
        assert len(receipts) == 1 and after == ""
        now[0] += SETTLED_MS + 600_000
        assert len(await gateway.hear_now()) == 1 and gateway.cursor == stripe.events[0]["id"]

    tell(story)


def test_an_event_that_appears_late_is_not_passed_over(stripe: ScriptedStripe, tell: Tell, now: list[int]) -> None:
    async def story(gateway: Gateway) -> None:
        stripe.pay(await gateway.make())
        late = stripe.events.pop()
        now[0] += 60_000
        stripe.pay(await gateway.make())
        now[0] += 60_000
        gateway.watched.clear()
        assert len(await gateway.hear_now()) == 1
        stripe.events.insert(0, late)
        now[0] += 600_000
        assert len({receipt.id for receipt in await gateway.hear_now()}) == 2

    tell(story)


def test_a_cursor_that_stripe_no_longer_keeps(
    stripe: ScriptedStripe, tell: Tell, now: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    async def story(gateway: Gateway) -> None:
        payment = await gateway.paid()
        now[0] += SETTLED_MS
        await gateway.hear()
        now[0] += EVENTS_KEPT_S * 1_000
        stripe.refund(payment, 2_500)
        await gateway.hear()
        assert gateway.till.cents == 0
        assert caplog.text.count("no longer keeps") == 1
        await gateway.hear()
        assert caplog.text.count("no longer keeps") == 1

    tell(story)


def test_a_month_of_events_is_heard_from_the_oldest_on(stripe: ScriptedStripe, tell: Tell, now: list[int]) -> None:
    async def story(gateway: Gateway) -> None:
        for _ in range(230):
            name = await gateway.make()
            stripe.pay(name)
            now[0] += 3_600_000
        gateway.watched.clear()
        await gateway.hear()
        assert gateway.till.cents == 230 * 2_500 and gateway.cursor == stripe.events[-1]["id"]

    tell(story)


def test_a_crowd_within_minutes(stripe: ScriptedStripe, tell: Tell, now: list[int]) -> None:
    async def story(gateway: Gateway) -> None:
        for _ in range(130):
            stripe.pay(await gateway.make())
            now[0] += 1_000
        gateway.watched.clear()
        for _ in range(6):
            await gateway.hear_now()
        assert gateway.till.cents == 130 * 2_500 and gateway.cursor == ""

    tell(story)
