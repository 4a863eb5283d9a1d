"""What an Esplora server (Blockstream's, mempool.space's) says of addresses, by its HTTP API.

Its word is taken for amounts as for blocks (not where it cannot know them: `rails.liquid`): with one server alone it
must be the operator's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from perquery.outbound import Client
from perquery.rails.chain import View
from perquery.rails.node import Node, field
from perquery.rails.rail import RailDown
from perquery.rails.reported import Output

_NAME: Final = "Esplora"
_TRIES: Final = 5
_PAGE: Final = 25  # confirmed transactions of an address in one answer
_PAGES_MAX: Final = 400


@dataclass(frozen=True, slots=True)
class Place:
    """Where a transaction is: height and time of its block, None in no block."""

    txid: str
    height: int | None
    at_ms: int | None


class Pages:
    """What an Esplora lists, whatever its chain."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def height(self) -> int:
        height = await self._node.get("/blocks/tip/height")
        if type(height) is not int:
            raise RailDown(f"{self._node.name} answered without a height")
        return height

    async def transactions(self, address: str) -> list[Any]:
        """Those of one address, newest first; the pool's come with the first page."""
        found: list[Any] = []
        page = await self._node.get(f"/address/{address}/txs")
        for _ in range(_PAGES_MAX):
            if not isinstance(page, list):
                raise RailDown(f"{self._node.name} answered with no list of transactions")
            found += page
            confirmed = [each for each in map(place, page) if each.height is not None]
            if len(confirmed) < _PAGE:
                return found
            page = await self._node.get(f"/address/{address}/txs/chain/{confirmed[-1].txid}")
        raise RailDown(f"{self._node.name} lists more for {address} than can be")


def place(transaction: Any) -> Place:
    """Raises RailDown where it is not told."""
    txid, status = field(_NAME, transaction, "txid", str), field(_NAME, transaction, "status", dict)
    if not field(_NAME, status, "confirmed", bool):
        return Place(txid, None, None)
    at_s = field(_NAME, status, "block_time", int)
    return Place(txid, field(_NAME, status, "block_height", int), at_s * 1_000)


def confirmations(where: Place, tip: int) -> int:
    return max(0, tip - where.height + 1) if where.height is not None else 0


class Esplora:
    """url: of the API, such as https://blockstream.info/api."""

    def __init__(self, client: Client, url: str) -> None:
        self._node = Node(_NAME, url, {}, client)
        self._pages = Pages(self._node)

    async def look(self, addresses: Sequence[str]) -> View:
        height = await self._pages.height()
        for _ in range(_TRIES):
            outputs = [output for address in addresses for output in await self._of(address, height)]
            before, height = height, await self._pages.height()
            if height == before:
                return View(height, outputs, _NAME)
        raise RailDown(f"{_NAME} gets blocks faster than can be looked at")

    async def close(self) -> None:
        await self._node.close()

    async def _of(self, address: str, tip: int) -> list[Output]:
        listed = await self._pages.transactions(address)
        return [output for transaction in listed for output in _paid(transaction, address, tip)]


def _paid(transaction: Any, address: str, tip: int) -> list[Output]:
    where = place(transaction)
    return [
        Output(
            id=f"{where.txid}:{index}",
            address=address,
            amount=field(_NAME, output, "value", int),
            confirmations=confirmations(where, tip),
            mined=where.height is not None,
            at_ms=where.at_ms,
        )
        for index, output in enumerate(field(_NAME, transaction, "vout", list))
        if output.get("scriptpubkey_address") == address and output.get("value")
    ]
