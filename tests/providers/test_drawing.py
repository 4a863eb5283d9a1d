"""Who draws, each vendor's protocol as it publishes it: what it is asked, what its answers and its refusals mean."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from perquery.calls import Ask, Price, Route
from perquery.catalog import recipes
from perquery.dialects.forms import Form
from perquery.metering import images
from perquery.providers.hosts import HOSTS
from tests.providers.goldens import FOLDER, golden
from tests.providers.test_trades import once, played
from tests.providers.wire import HANG_S, Outcome
from tests.workshop import Made, Order

DRAWS: Final = sorted({name for name, host in HOSTS.items() if "image" in host.trades})
ERRORS: Final = [(name, number) for name in DRAWS for number in range(len(golden(name, "images")["errors"]))]
each = pytest.mark.parametrize("name", DRAWS)


def asked(name: str, idle_s: float = HANG_S, timeout_s: float = HANG_S) -> Ask:
    body = golden(name, "images")["asked"]
    work = images.parse(Form(body, (), b""))
    recipe = recipes.known().get((name, body["model"]))
    work.most(Route(name, body["model"], recipe.price if recipe else Price(((0, {"image": 1}),))))
    return Ask(body["model"], b"", False, timeout_s, idle_s, work=work)


def made(kept: dict[str, Any]) -> Made:
    return Made(kept["body"], kept["status"], kept.get("headers") or {})


def test_everyone_who_draws_has_a_golden() -> None:
    assert {path.parent.name for path in FOLDER.glob("*/images.json")} == set(DRAWS)


@each
def test_what_is_asked_and_what_the_answer_means(name: str) -> None:
    kept = golden(name, "images")
    answers = [made(one) for one in kept["answers"]]
    result, orders = played(name, lambda _: answers.pop(0), once(asked(name)))
    (event,) = result.events
    assert event.parsed is not None and event.usage is not None and event.whole and event.finish == "stop"
    assert {
        "images": [row["url"] for row in event.parsed["data"]],
        "counts": event.usage.counts,
        "upstream_cost_pico": event.usage.upstream_cost_pico,
    } == kept["expect"]
    sent = [{"method": one.method, "path": one.path, "body": one.body if one.data else None} for one in orders]
    assert sent == kept["requests"]
    assert all("key" in " ".join(order.headers.values()) for order in orders)


@pytest.mark.parametrize(("name", "number"), ERRORS)
def test_a_published_error(name: str, number: int) -> None:
    kept = golden(name, "images")["errors"][number]
    result, _ = played(name, lambda _: made(kept), once(asked(name)))
    error = result.error or result.events[-1].error
    assert error is not None
    assert (error.kind, error.sent) == (kept["kind"], True)
    assert "key" not in error.message.split()


@each
@pytest.mark.parametrize(
    ("answer", "kind"),
    [(Made(b"<html>"), "garbage"), (Made({}), "garbage"), (Made({"data": [{}]}), "garbage"), (Made([]), "garbage")],
    ids=["html", "empty", "odd", "list"],
)
def test_what_is_no_answer(name: str, answer: Made, kind: str) -> None:
    result, _ = played(name, lambda _: answer, once(asked(name)))
    error = result.error or result.events[-1].error
    assert error is not None and error.kind == kind


@each
def test_an_answer_that_breaks_off(name: str) -> None:
    result, _ = played(name, lambda _: Made({"data": []}, fault="break"), once(asked(name)))
    error = result.error or result.events[-1].error
    assert error is not None and (error.kind, error.sent, error.status) == ("down", True, None)


@each
def test_one_that_says_nothing_for_long(name: str) -> None:
    begun = made(golden(name, "images")["answers"][0])

    def make(order: Order) -> Made:
        """fal has taken it by then, and is told to stop."""
        return begun if name == "fal" and order.method != "GET" else Made(fault="head")

    result, _ = played(name, make, once(asked(name, timeout_s=0.1)))
    assert result.error is not None and (result.error.kind, result.error.sent) == ("timeout", True)


@each
def test_who_has_left_is_not_drawn_for(name: str) -> None:
    """A request that is cancelled while the upstream works leaves no connection behind."""

    async def steps(speaker: Any, upstream: Any) -> Outcome:
        sending = asyncio.ensure_future(speaker.send(asked(name)))
        order = await upstream.arrival()
        await order.reached.wait()
        sending.cancel()
        await order.hung_up.wait()
        return Outcome()

    _, (order,) = played(name, lambda _: Made(fault="head"), steps)
    assert order.hung_up.is_set()


def test_whoever_leaves_fals_queue_is_taken_out_of_it() -> None:
    """Closed while it waits: the queue is told to cancel, at the address made of the request's id."""
    kept = golden("fal", "images")
    waiting = Made(kept["answers"][1]["body"] | {"status": "IN_PROGRESS"}, 202)

    def make(order: Order) -> Made:
        return made(kept["answers"][0]) if order.method == "POST" else waiting

    async def steps(speaker: Any, _: Any) -> Outcome:
        reply = await speaker.send(asked("fal"))
        reply.close()
        with pytest.raises(Exception, match="given up"):
            await anext(aiter(reply))
        return Outcome()

    _, orders = played("fal", make, steps)
    assert [(one.method, one.path) for one in orders][-1] == ("PUT", kept["requests"][2]["path"] + "/cancel")
