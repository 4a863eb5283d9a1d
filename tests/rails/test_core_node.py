"""A full node's wallet: made without keys, old and new; and a node that cannot be believed yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.rails.coins import BITCOIN, Network
from perquery.rails.core_node import CoreNode
from perquery.rails.rail import RailDown
from tests.rails import chains

REGTEST = BITCOIN.networks["bcrt"]
ADDRESS = "bcrt1qcr8te4kr609gcawutmrza0j4xv80jy8zeqchgx"
AT_MS = 1_800_000_000_000


def asking(body: Callable[[CoreNode, chains.Core], Awaitable[None]], network: Network = REGTEST) -> None:
    async def main(serves: chains.Core) -> None:
        client = Client()
        await body(CoreNode(client, serves.url, "u:p", network, lambda: AT_MS), serves)
        await client.close()

    with chains.core(chains.ScriptedChain(lambda: AT_MS)) as serves:
        asyncio.run(main(serves))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wallet", [None, "unloaded", "loaded"])
def test_its_wallet_is_found_or_made_and_watches(legacy: bool, wallet: str | None) -> None:
    async def body(node: CoreNode, serves: chains.Core) -> None:
        serves.legacy, serves.wallet = legacy, wallet
        await node.watch(ADDRESS, new=True)
        assert serves.watching == {ADDRESS: "now"}
        serves.chain.pay((ADDRESS, 12_345))
        (seen,) = (await node.look([ADDRESS])).outputs
        assert (seen.amount, seen.confirmations, seen.mined) == (12_345, 0, False)
        serves.chain.mine(2)
        (mined,) = (await node.look([ADDRESS])).outputs
        assert (mined.confirmations, mined.at_ms) == (2, AT_MS)

    asking(body)


def test_an_address_that_it_does_not_know_is_looked_for_in_older_blocks() -> None:
    async def body(node: CoreNode, serves: chains.Core) -> None:
        await node.look([ADDRESS])
        assert serves.watching[ADDRESS] == AT_MS // 1_000 - 30 * 86_400

    asking(body)


def test_what_has_left_the_pool_is_not_there() -> None:
    async def body(node: CoreNode, serves: chains.Core) -> None:
        paid = serves.chain.pay((ADDRESS, 12_345))
        assert (await node.look([ADDRESS])).outputs
        serves.chain.forget(paid)
        assert not (await node.look([ADDRESS])).outputs

    asking(body)


def test_a_wallet_that_can_spend_is_refused() -> None:
    async def body(node: CoreNode, serves: chains.Core) -> None:
        serves.wallet, serves.keys = "loaded", True
        with pytest.raises(RailDown, match="can spend"):
            await node.look([ADDRESS])

    asking(body)


MAIN = replace(REGTEST, genesis=chains.GENESIS)


@pytest.mark.parametrize(
    ("says", "network", "spoil"),
    [
        ("still catching up", MAIN, lambda serves: setattr(serves, "catching_up", True)),
        ("another chain", replace(MAIN, genesis="11" * 32), lambda serves: None),
        ("answered 401", MAIN, lambda serves: setattr(serves, "spoil", (401, b""))),
        ("answered 503", MAIN, lambda serves: setattr(serves, "spoil", (503, b"Work queue depth exceeded"))),
        (
            "Loading block index",
            MAIN,
            lambda serves: setattr(serves, "spoil", (500, {"error": {"code": -28, "message": "Loading block index"}})),
        ),
        ("without blocks", MAIN, lambda serves: setattr(serves, "spoil", (200, {"result": 1}))),
        ("something else than JSON", MAIN, lambda serves: setattr(serves, "spoil", (200, b"<html>"))),
    ],
)
def test_what_is_wrong_is_named(says: str, network: Network, spoil: Callable[[Any], object]) -> None:
    async def body(node: CoreNode, serves: chains.Core) -> None:
        spoil(serves)
        with pytest.raises(RailDown, match=says):
            await node.look([])

    asking(body, network)
