"""An Electrum server that lies, fails or speaks another language: nothing of it becomes a payment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.rails.coins import BITCOIN, Network
from perquery.rails.electrum_server import ElectrumServer
from perquery.rails.rail import RailDown
from tests.rails import chains

REGTEST = BITCOIN.networks["bcrt"]
ADDRESS = "bcrt1qcr8te4kr609gcawutmrza0j4xv80jy8zeqchgx"
AT_MS = 1_800_000_000_000


def asking(body: Callable[[ElectrumServer, chains.Electrum], Awaitable[None]], network: Network = REGTEST) -> None:
    async def main(serves: chains.Electrum) -> None:
        client = Client()
        server = ElectrumServer(client, serves.url, network)
        try:
            await body(server, serves)
        finally:
            await server.close()
            await client.close()

    with chains.electrum(chains.ScriptedChain(lambda: AT_MS)) as serves:
        asyncio.run(main(serves))


def refused(says: str, spoil: Callable[[chains.Electrum], object], network: Network = REGTEST) -> None:
    """The server is spoilt, refused with these words, and believed again when it is itself again."""

    async def body(server: ElectrumServer, serves: chains.Electrum) -> None:
        serves.chain.pay((ADDRESS, 1_000))
        spoil(serves)
        with pytest.raises(RailDown, match=says):
            await server.look([ADDRESS])

    asking(body, network)


def test_in_the_pool_then_in_a_block() -> None:
    async def body(server: ElectrumServer, serves: chains.Electrum) -> None:
        assert (await server.look([ADDRESS])).outputs == []
        paid = serves.chain.pay((ADDRESS, 1_000), (ADDRESS, 2_000))
        first, second = (await server.look([ADDRESS])).outputs
        assert (first.id, first.amount, first.confirmations, first.mined) == (f"{paid.id}:0", 1_000, 0, False)
        assert (second.id, second.amount) == (f"{paid.id}:1", 2_000)
        serves.chain.mine(3)
        view = await server.look([ADDRESS])
        assert (view.height, view.node) == (serves.chain.height, "ElectrumX 1.16.0")
        assert {(each.confirmations, each.mined, each.at_ms) for each in view.outputs} == {(3, True, AT_MS)}

    asking(body)


def test_notifications_are_passed_over() -> None:
    async def body(server: ElectrumServer, serves: chains.Electrum) -> None:
        serves.noise = [{"jsonrpc": "2.0", "method": "blockchain.headers.subscribe", "params": [{}]}, {"id": True}]
        assert (await server.look([ADDRESS])).height == serves.chain.height

    asking(body)


def test_a_connection_that_broke_is_opened_again() -> None:
    async def body(server: ElectrumServer, serves: chains.Electrum) -> None:
        serves.noise = [b"<html>\n"]
        with pytest.raises(RailDown, match="does not speak JSON"):
            await server.look([ADDRESS])
        serves.noise = []
        assert (await server.look([ADDRESS])).height == serves.chain.height

    asking(body)


def instead(raw: str) -> Callable[[chains.Electrum], object]:
    return lambda serves: serves.instead.update({paid.id: raw for paid, _ in serves.chain.all()})


def another(serves: chains.Electrum) -> None:
    """More than was paid, in a transaction of another id."""
    dearer = chains.ScriptedChain(lambda: AT_MS).pay((ADDRESS, 10**8))
    instead(dearer.raw)(serves)


def noise(said: Any) -> Callable[[chains.Electrum], object]:
    return lambda serves: serves.noise.append(said)


def spoilt(said: Any) -> Callable[[chains.Electrum], object]:
    return lambda serves: setattr(serves, "spoil", said)


@pytest.mark.parametrize(
    ("says", "spoil"),
    [
        ("another transaction", another),
        ("something else than transaction", instead("zz")),
        ("something else than transaction", instead("00" * 5)),
        ("refuses", spoilt({"code": -102, "message": "server busy - request timed out"})),
        ("refuses", spoilt({"code": 1, "message": "history too large"})),
        ("answers with no object", noise([1])),
        ("does not speak JSON", noise(b"HTTP/1.1 400 Bad Request\n")),
        ("longer than", noise(b"x" * (17 * 2**20))),
    ],
)
def test_what_is_wrong_is_named(says: str, spoil: Callable[[chains.Electrum], object]) -> None:
    refused(says, spoil)


def test_another_chain_is_refused() -> None:
    refused("another chain", lambda serves: None, replace(REGTEST, genesis="11" * 32))


def test_an_address_of_another_network_is_not_passed_over() -> None:
    refused("another network", lambda serves: None, BITCOIN.networks["bc"])


def test_nobody_there() -> None:
    async def main() -> None:
        client = Client()
        with pytest.raises(RailDown, match="does not answer"):
            await ElectrumServer(client, "tcp://127.0.0.1:1", REGTEST).look([])
        await client.close()

    asyncio.run(main())
