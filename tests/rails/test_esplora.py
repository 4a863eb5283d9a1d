"""Esplora's pages, and what it may not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.rails.esplora import Esplora
from perquery.rails.rail import RailDown
from tests.rails import chains

ADDRESS = "bcrt1qcr8te4kr609gcawutmrza0j4xv80jy8zeqchgx"
AT_MS = 1_800_000_000_000


def asking(body: Callable[[Esplora, chains.Esplora], Awaitable[None]]) -> None:
    async def main(serves: chains.Esplora) -> None:
        client = Client()
        await body(Esplora(client, serves.url), serves)
        await client.close()

    with chains.esplora(chains.ScriptedChain(lambda: AT_MS)) as serves:
        asyncio.run(main(serves))


@pytest.mark.parametrize("count", [1, 25, 26, 60])
def test_all_pages_are_read(count: int) -> None:
    async def body(source: Esplora, serves: chains.Esplora) -> None:
        ids = [serves.chain.pay((ADDRESS, 1_000 + each)).id for each in range(count)]
        serves.chain.mine()
        waiting = serves.chain.pay((ADDRESS, 5))
        found = (await source.look([ADDRESS])).outputs
        assert {each.id for each in found} == {f"{id}:0" for id in (*ids, waiting.id)}
        assert [each.amount for each in found if not each.mined] == [5]

    asking(body)


@pytest.mark.parametrize(
    ("says", "spoil"),
    [
        ("answered 429", (429, b"Too Many Requests")),
        ("answered 400", (400, b"Invalid Bitcoin address")),
        ("answered 500", (500, b"electrs: timeout")),
        ("something else than JSON", (200, b"<html>")),
        ("without a height", (200, {"height": 5})),
        ("without a height", (200, True)),
        ("no list", (200, 7)),
    ],
)
def test_what_is_wrong_is_named(says: str, spoil: tuple[int, Any]) -> None:
    async def body(source: Esplora, serves: chains.Esplora) -> None:
        serves.spoil = spoil
        with pytest.raises(RailDown, match=says):
            await source.look([ADDRESS])

    asking(body)
