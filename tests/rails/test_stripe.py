"""Cards by Stripe Checkout: pages verified, payments found at a pace, errors as RailDown, keys that are none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.rails.rail import Payable, PayableRequest, RailDown, Watched
from perquery.rails.stripe import StripeCheckout
from tests.rails.stripe import (
    KEY,
    LIVE_KEY,
    SECRET_KEY,
    WEBHOOK_SECRET,
    ScriptedStripe,
    refusal,
    running,
    signed,
)
from tests.rails.stripe_gateway import ASKED, BACK, THANKS, Gateway, Story, Tell, telling


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


def checkout(client: Client, key: str = KEY, secret: str = WEBHOOK_SECRET, thanks: str = THANKS) -> StripeCheckout:
    return StripeCheckout(client, key, secret, thanks, BACK, lambda: 0, asyncio.Event())


def test_a_page_as_asked_for(stripe: ScriptedStripe, tell: Tell, now: list[int]) -> None:
    made: Payable = tell(lambda gateway: gateway.rail.make(ASKED))
    session = stripe.sessions[made.rail_ref]
    assert made.text == session["url"] and session["amount_total"] == 2_500
    assert session["payment_method_options"] == {"card": {"request_three_d_secure": "any"}}
    assert session["client_reference_id"] == session["metadata"]["perquery"]
    assert session["expires_at"] == now[0] // 1_000 + 1_860
    (asked,) = stripe.asked
    assert asked.headers["idempotency-key"] == session["client_reference_id"]
    assert not [name for name in asked.headers if name.lower().startswith("x-stripe")]
    assert "Stripe" not in asked.headers["user-agent"]


@pytest.mark.parametrize(("expiry_s", "lasts_s"), [(60, 1_860), (3_600, 3_600), (10 * 86_400, 86_340)])
def test_a_page_lasts_as_long_as_stripe_lets_it(
    stripe: ScriptedStripe, tell: Tell, now: list[int], expiry_s: int, lasts_s: int
) -> None:
    made = tell(lambda gateway: gateway.rail.make(PayableRequest(500, "Top-up", expiry_s)))
    assert stripe.sessions[made.rail_ref]["expires_at"] - now[0] // 1_000 == lasts_s


def test_an_answer_that_got_lost_makes_no_second_page(stripe: ScriptedStripe, tell: Tell) -> None:
    stripe.lost = 1
    made = tell(lambda gateway: gateway.rail.make(ASKED))
    assert list(stripe.sessions) == [made.rail_ref] and len(stripe.asked) == 2


def test_one_key_with_other_parameters(stripe: ScriptedStripe, tell: Tell, now: list[int]) -> None:
    stripe.lost = 1

    async def story(gateway: Gateway) -> None:
        api = gateway.rail._api
        fields = gateway.rail._asked(ASKED, "reference")
        with pytest.raises(RailDown, match="something else than JSON"):
            await api.post("checkout/sessions", fields, idempotency_key="k")
        with pytest.raises(RailDown, match="idempotency_error"):
            await api.post("checkout/sessions", fields | {"expires_at": now[0]}, idempotency_key="k")

    tell(story)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"amount_total": 2_400}, "another amount_total"),
        ({"amount_subtotal": 2_600}, "another amount_subtotal"),
        ({"currency": "eur"}, "another currency"),
        ({"mode": "setup"}, "another mode"),
        ({"livemode": True}, "another livemode"),
        ({"client_reference_id": "x"}, "another client_reference_id"),
        ({"payment_status": "paid"}, "another payment_status"),
        ({"payment_method_types": ["card", "sepa_debit"]}, "another payment_method_types"),
        ({"payment_method_options": {"card": {"request_three_d_secure": "automatic"}}}, "another 3-D Secure"),
        ({"url": "http://checkout.stripe.com/c/pay"}, "something else than a page"),
        ({"url": None}, "without url"),
        ({"id": "pi_1"}, "something else than a page"),
    ],
)
def test_another_page_than_asked_for(stripe: ScriptedStripe, tell: Tell, change: dict[str, Any], says: str) -> None:
    stripe.change = change
    with pytest.raises(RailDown, match=says):
        tell(lambda gateway: gateway.rail.make(ASKED))


def test_a_webhook_is_a_reason_to_ask(stripe: ScriptedStripe, tell: Tell, now: list[int]) -> None:
    async def story(gateway: Gateway) -> None:
        name = await gateway.make()
        await gateway.hear_now()
        asked = len(stripe.asked)
        stripe.pay(name)
        assert await gateway.hear_now() == [] and len(stripe.asked) == asked, "it asks only at its pace"
        payload = json.dumps(stripe.events[-1]).encode()
        assert gateway.rail.pushed(payload, signed(payload, now[0] // 1_000))
        assert gateway.news.is_set()
        assert [receipt.amount for receipt in await gateway.hear_now()] == [2_500]
        assert gateway.rail.pushed(payload, signed(payload, now[0] // 1_000)), "again, which changes nothing"
        await gateway.hear_now()
        assert gateway.till.cents == 2_500

    tell(story)


def test_a_signed_lie_changes_nothing(stripe: ScriptedStripe, tell: Tell, now: list[int]) -> None:
    async def story(gateway: Gateway) -> None:
        name = await gateway.make()
        paid = stripe.sessions[name] | {"payment_status": "paid", "status": "complete"}
        payload = json.dumps({"type": "checkout.session.completed", "data": {"object": paid}}).encode()
        assert gateway.rail.pushed(payload, signed(payload, now[0] // 1_000))
        assert await gateway.hear_now() == []

    tell(story)


def test_a_forged_webhook_is_not_heard(stripe: ScriptedStripe, tell: Tell, now: list[int]) -> None:
    async def story(gateway: Gateway) -> None:
        assert not gateway.rail.pushed(b"{}", signed(b"{}", now[0] // 1_000, "whsec_" + "x" * 32))
        assert not gateway.news.is_set()

    tell(story)


@pytest.mark.parametrize("key", ["", " ", "pk_test_0123456789abcdef", "rk_test_", KEY + "\r\nX: y", "whatever"])
def test_without_an_api_key_there_is_no_rail(key: str) -> None:
    with pytest.raises(ValueError, match=r"^key: ") as caught:
        checkout(Client(), key)
    assert "0123456789" not in str(caught.value)


@pytest.mark.parametrize("secret", ["", " ", "secret"])
def test_without_a_webhook_secret_there_is_no_rail(secret: str) -> None:
    with pytest.raises(ValueError, match=r"^webhook_secret: "):
        checkout(Client(), secret=secret)


def test_a_page_to_come_back_to_must_be_one() -> None:
    with pytest.raises(ValueError, match=r"^success_url: "):
        checkout(Client(), thanks="")


def test_a_payment_without_an_event_is_found_when_its_time_is_over(
    stripe: ScriptedStripe, tell: Tell, now: list[int]
) -> None:
    async def story(gateway: Gateway) -> None:
        name, other = await gateway.make(), await gateway.make()
        await gateway.hear_now()
        stripe.pay(name)
        stripe.events.clear()
        assert await gateway.hear() == []
        now[0] += 1_800_000
        assert [receipt.rail_ref for receipt in await gateway.hear_now()] == [name]
        asked = len(stripe.asked)
        await gateway.hear()
        paths = [each.path for each in stripe.asked[asked:]]
        assert not any(other in path for path in paths), "what is over is not asked for again"

    tell(story)


def test_a_page_that_stripe_does_not_know_hides_no_other(stripe: ScriptedStripe, tell: Tell) -> None:
    async def story(gateway: Gateway) -> None:
        gateway.watched.append(Watched("cs_test_unknown", 0))
        payment = stripe.pay(await gateway.make())
        assert {receipt.id for receipt in await gateway.hear()} == {payment}

    tell(story)


def test_stripe_is_asked_at_a_pace(stripe: ScriptedStripe, tell: Tell, now: list[int]) -> None:
    async def story(gateway: Gateway) -> list[int]:
        counts = []
        for watched in (True, False):
            if watched:
                await gateway.make()
            else:
                gateway.watched.clear()
            await gateway.hear_now()
            asked = len(stripe.asked)
            for _ in range(120):
                now[0] += 5_000
                await gateway.hear_now()
            counts.append(len(stripe.asked) - asked)
        return counts

    assert tell(story) == [40, 1]


def test_an_expiry_is_heard_at_once(stripe: ScriptedStripe, tell: Tell, now: list[int]) -> None:
    async def story(gateway: Gateway) -> None:
        name = await gateway.make()
        now[0] += 1_799_000
        await gateway.hear_now()
        stripe.pay(name)
        now[0] += 1_000
        assert len(await gateway.hear_now()) == 1

    tell(story)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (*refusal(401, "invalid_request_error", f"Invalid API Key provided: {KEY}"), "Invalid API Key provided: …"),
        (*refusal(402, "card_error", "Your card was declined.", "card_declined"), "card_declined"),
        (*refusal(403, "invalid_request_error", "The provided key does not have the rak_event_read"), "rak_event"),
        (*refusal(429, "rate_limit_error", "Too many requests", "rate_limit"), "rate_limit"),
        (*refusal(400, "idempotency_error", "Keys for idempotent requests"), "idempotency_error"),
        (*refusal(404, "invalid_request_error", "Unrecognized request URL", "url_invalid"), "url_invalid"),
        (*refusal(500, "api_error", "Something went wrong on Stripe's end"), "went wrong"),
        (502, "<html>Bad Gateway</html>", "answered 502"),
        (500, '{"error": "oops"}', "oops"),
        (500, '["oops"]', "oops"),
        (302, "", "answered 302"),
        (200, "<html>welcome</html>", "something else than JSON"),
        (200, "[]", "without an object"),
        (200, "{}", "answered without"),
        (200, '{"data": [{}], "has_more": false}', "answered without"),
    ],
)
def test_an_error_is_no_answer(stripe: ScriptedStripe, tell: Tell, status: int, body: str, says: str) -> None:
    stripe.spoil = (status, body)
    questions: list[Story] = [lambda gateway: gateway.rail.make(ASKED), lambda gateway: gateway.hear()]
    for question in questions:
        with pytest.raises(RailDown, match=says) as caught:
            tell(question)
        assert KEY not in str(caught.value)


def test_after_an_error_it_asks_again_at_once(stripe: ScriptedStripe, tell: Tell) -> None:
    async def story(gateway: Gateway) -> None:
        name = await gateway.make()
        await gateway.hear_now()
        stripe.pay(name)
        gateway.rail.pushed(b"{}", signed(b"{}", 1_800_000_000))
        stripe.spoil = refusal(500, "api_error", "Something went wrong")
        with pytest.raises(RailDown):
            await gateway.hear_now()
        stripe.spoil = None
        assert len(await gateway.hear_now()) == 1

    tell(story)


def test_stripe_is_away(tell: Tell, stripe: ScriptedStripe) -> None:
    with running(lambda: 0) as other:
        url = other.url
    stripe.url = url
    for question in (lambda gateway: gateway.make(), lambda gateway: gateway.hear_now()):
        with pytest.raises(RailDown, match="does not answer"):
            tell(question)


@pytest.mark.parametrize(
    ("key", "network", "may_spend", "says"),
    [
        (KEY, "test", None, ("test mode",)),
        (LIVE_KEY, "live", None, ()),
        (SECRET_KEY, "test", True, ("restricted one", "test mode")),
    ],
)
def test_what_the_key_is(
    stripe: ScriptedStripe, tell: Tell, key: str, network: str, may_spend: bool | None, says: tuple[str, ...]
) -> None:
    found = tell(lambda gateway: gateway.rail.inspect(), key=key)
    assert (found.node, found.network, found.may_spend) == ("Stripe", network, may_spend)
    assert len(found.advice) == len(says)
    assert all(word in advice for word, advice in zip(says, found.advice, strict=True))
