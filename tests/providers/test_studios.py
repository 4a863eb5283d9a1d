"""Who makes videos, each vendor's protocol as it publishes it: begun, looked at, told to stop; what refusals mean."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

import pytest

from perquery.catalog import recipes
from perquery.dialects.videos import VideoWish
from perquery.errors import BadRequest, UpstreamError
from perquery.providers.hosts import HOSTS
from perquery.providers.keys import Keys, printed
from perquery.providers.line import Line
from perquery.providers.studio import Look, Shot, Studio, read_ticket, shot, ticket_of
from perquery.providers.studios import STUDIOS
from tests.outbound.wire import asking
from tests.providers.goldens import FOLDER, golden
from tests.providers.wire import HANG_S
from tests.workshop import Made, Order, workshop

FILMS: Final = sorted(name for name, host in HOSTS.items() if host.studio)
LOOKS: Final = [(name, number) for name in FILMS for number in range(len(golden(name, "videos")["looks"]))]
ERRORS: Final = [(name, number) for name in FILMS for number in range(len(golden(name, "videos")["errors"]))]
each = pytest.mark.parametrize("name", FILMS)
Found = TypeVar("Found")


def wished(name: str, **changes: Any) -> Shot:
    asked = golden(name, "videos")["asked"]
    recipe = recipes.known()[name, asked["model"]]
    return shot(recipe, replace(VideoWish(shape="ppq", **asked), **changes))


def played(name: str, answers: list[Made], steps: Callable[[Studio], Awaitable[Found]]) -> tuple[Found, list[Order]]:
    """What the host's studio does where these are its answers, one after the other."""
    left = list(answers)

    async def run() -> tuple[Found, list[Order]]:
        async with workshop(lambda _: left.pop(0)) as upstream, asking() as client:
            host = replace(HOSTS[name], base_url=upstream.base_url)
            studio = STUDIOS[host.studio](host, Line(Keys(["key", "other"], lambda: 0.0), client))
            return await steps(studio), upstream.orders

    return asyncio.run(asyncio.wait_for(run(), HANG_S))


def made(*kept: dict[str, Any]) -> list[Made]:
    return [Made(one["body"], one["status"], one.get("headers") or {}) for one in kept]


def raised(name: str, answers: list[Made], steps: Callable[[Studio], Awaitable[Any]]) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        played(name, answers, steps)
    return caught.value


def ticket(name: str) -> str:
    """Of what was begun with the second key."""
    begun, _ = played(name, made(golden(name, "videos")["submitted"]), lambda studio: studio.submit(wished(name)))
    job, print = read_ticket(begun)
    assert print == printed("key")
    return ticket_of(Line(Keys(["other"], lambda: 0.0), None), job)  # type: ignore[arg-type]


def test_everyone_who_films_has_a_golden() -> None:
    assert {path.parent.name for path in FOLDER.glob("*/videos.json")} == set(FILMS)


@each
def test_what_is_asked_once_and_paid_by(name: str) -> None:
    kept = golden(name, "videos")
    _, (order,) = played(name, made(kept["submitted"]), lambda studio: studio.submit(wished(name)))
    assert {"method": order.method, "path": order.path, "body": order.body} == kept["request"]
    assert "key" in " ".join(order.headers.values())
    assert wished(name).counts == kept["counts"]


@pytest.mark.parametrize(("name", "number"), LOOKS)
def test_what_a_look_means(name: str, number: int) -> None:
    kept = golden(name, "videos")
    answers, expected = (kept["looks"][number][part] for part in ("answers", "expect"))
    there = ticket(name)
    if expected["standing"] == "raised":
        assert raised(name, made(*answers), lambda studio: studio.look(there)).kind == expected["error"]
        return
    look, orders = played(name, made(*answers), lambda studio: studio.look(there))
    assert told(look) == expected
    assert [(one.method, one.path) for one in orders] == [("GET", path) for path in kept["looked"][: len(answers)]]
    assert all("other" in " ".join(one.headers.values()) for one in orders)  # the account that has it


def told(look: Look) -> dict[str, Any]:
    return {
        "standing": look.standing,
        "percent": look.percent,
        "url": look.film.url if look.film else None,
        "seconds": look.seconds,
        "cost_pico": look.cost_pico,
        "error": look.error.kind if look.error else None,
    }


@pytest.mark.parametrize(("name", "number"), ERRORS)
def test_a_published_error_of_a_submission(name: str, number: int) -> None:
    kept = golden(name, "videos")["errors"][number]
    error = raised(name, made(kept), lambda studio: studio.submit(wished(name)))
    assert (error.kind, error.sent) == (kept["kind"], True)


@each
@pytest.mark.parametrize(
    ("answer", "kind"),
    [(Made(b"<html>"), "garbage"), (Made([]), "garbage"), (Made({}, fault="break"), "down")],
    ids=["html", "list", "break"],
)
def test_a_submission_without_an_answer_is_unknown(name: str, answer: Made, kind: str) -> None:
    error = raised(name, [answer], lambda studio: studio.submit(wished(name)))
    assert (error.kind, error.sent, error.status) == (kind, True, None)


@each
def test_a_submission_that_is_given_up_leaves_no_connection(name: str) -> None:
    async def run() -> None:
        async with workshop(lambda _: Made(fault="head")) as upstream, asking() as client:
            host = replace(HOSTS[name], base_url=upstream.base_url)
            studio = STUDIOS[host.studio](host, Line(Keys(["key"], lambda: 0.0), client))
            sending = asyncio.ensure_future(studio.submit(wished(name)))
            order = await upstream.arrival()
            await order.reached.wait()
            sending.cancel()
            await order.hung_up.wait()

    asyncio.run(asyncio.wait_for(run(), HANG_S))


def test_fal_alone_can_be_told_to_stop() -> None:
    def told_to_stop(name: str) -> list[tuple[str, str]]:
        there = ticket(name)
        _, orders = played(name, [Made({"status": "CANCELLATION_REQUESTED"}, 202)], lambda one: one.cancel(there))
        return [(one.method, one.path) for one in orders]

    asked = {name: told_to_stop(name) for name in FILMS}
    where = golden("fal", "videos")["looked"][1]
    assert asked == {"fal": [("PUT", f"{where}/cancel")], "google": [], "xai": []}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seconds": 7}, "seconds"),
        ({"resolution": "8k"}, "720p"),
        ({"ratio": "5:1"}, "16:9"),
        ({"image": "https://example.org/x.png"}, "data URL"),
    ],
)
def test_what_a_model_cannot_do_is_refused_before_anything_is_sent(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        played("google", [], lambda studio: studio.submit(wished("google", **changes)))
