"""Exa over a socket: what is asked, what is found, what it cost, and every way that it can fail."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from perquery.calls import Findings, Search, Source
from perquery.dialects.search import PLAIN
from perquery.errors import UpstreamError
from perquery.providers.exa import Exa
from tests.outbound.wire import Link, asking, serving
from tests.providers.wire import answer

FOUND = {
    "results": [
        {"url": "https://a.example", "title": "A", "highlights": ["One.", "Two."]},
        {"url": "https://b.example", "title": None, "text": "Three."},
        {"title": "no address"},
        "nonsense",
    ],
    "costDollars": {"total": 0.0071},
}


def searched(reply: bytes, wish: Search = PLAIN) -> tuple[Findings, dict[str, Any], str]:
    """(What was found, the body that was asked with, the head)."""

    async def run() -> tuple[Findings, dict[str, Any], str]:
        seen: list[tuple[bytes, bytes]] = []

        async def script(link: Link) -> None:
            seen.append(await link.request())
            await link.send(reply)

        async with serving(script) as server, asking() as client:
            found = await Exa(server.url("/"), "exa-key", client).find("Rain?", wish)
            head, body = seen[0]
            return found, json.loads(body), head.decode().lower()

    return asyncio.run(asyncio.wait_for(run(), 20))


def test_a_search() -> None:
    found, asked, head = searched(answer(200, json.dumps(FOUND).encode()))
    assert found.sources == (Source("https://a.example", "A", "One.\nTwo."), Source("https://b.example", "", "Three."))
    assert found.cost_pico == 7_100_000_000
    assert (asked["query"], asked["numResults"], asked["type"]) == ("Rain?", 5, "auto")
    assert "x-api-key: exa-key" in head and head.startswith("post /search")


def test_domains_and_places() -> None:
    wish = Search(True, 2, 5, None, ("a.example",), ("b.example",), {"country": "US"})
    _, asked, _ = searched(answer(200, json.dumps(FOUND).encode()), wish)
    assert (asked["includeDomains"], asked["userLocation"]) == (["a.example"], "US") and "excludeDomains" not in asked
    _, asked, _ = searched(answer(200, json.dumps(FOUND).encode()), Search(True, 2, 5, blocked=("b.example",)))
    assert asked["excludeDomains"] == ["b.example"]


@pytest.mark.parametrize("cost", [None, {}, {"total": -1}, {"total": "x"}, []])
def test_a_cost_that_is_none(cost: Any) -> None:
    found, _, _ = searched(answer(200, json.dumps(FOUND | {"costDollars": cost}).encode()))
    assert found.cost_pico == 0


@pytest.mark.parametrize(
    "reply, kind",
    [
        (answer(200, b"no json"), "garbage"),
        (answer(200, b'{"results": 5}'), "garbage"),
        (answer(200, b"[]"), "garbage"),
        (answer(401, b'{"error": "Invalid API key"}'), "auth"),
        (answer(429, b"{}"), "busy"),
        (answer(500, b"{}"), "down"),
        (b"", "down"),
    ],
)
def test_failures(reply: bytes, kind: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        searched(reply)
    assert caught.value.kind == kind
