"""What an Esplora server (Blockstream's, mempool.space's) says of addresses, by its HTTP API.

Its word is taken for amounts as for blocks: with one server alone it must be the operator's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from perquery.outbound import Client
from perquery.rails.chain import Output, View
from perquery.rails.node import Node, field
from perquery.rails.rail import RailDown

_NAME: Final = "Esplora"
_TRIES: Final = 5
_PAGE: Final = 25  # confirmed transactions of an address in one answer
_PAGES_MAX: Final = 400


class Esplora:
    """url: of the API, such as https://blockstream.info/api."""

    def __init__(self, client: Client, url: str) -> None:
        self._node = Node(_NAME, url, {}, client)

    async def look(self, addresses: Sequence[str]) -> View:
        height = await self._height()
        for _ in range(_TRIES):
            outputs = [output for address in addresses for output in await self._of(address, height)]
            before, height = height, await self._height()
            if height == before:
                return View(height, outputs, _NAME)
        raise RailDown(f"{_NAME} gets blocks faster than can be looked at")

    async def _height(self) -> int:
        height = await self._node.get("/blocks/tip/height")
        if type(height) is not int:
            raise RailDown(f"{_NAME} answered without a height")
        return height

    async def close(self) -> None:
        await self._node.close()

    async def _of(self, address: str, tip: int) -> list[Output]:
        """What was paid to one address, newest first; the pool's come with the first page."""
        found: list[Output] = []
        page = await self._node.get(f"/address/{address}/txs")
        for _ in range(_PAGES_MAX):
            if not isinstance(page, list):
                raise RailDown(f"{_NAME} answered with no list of transactions")
            found += [output for tx in page for output in _paid(tx, address, tip)]
            confirmed = [tx for tx in page if field(_NAME, field(_NAME, tx, "status", dict), "confirmed", bool)]
            if len(confirmed) < _PAGE:
                return found
            page = await self._node.get(f"/address/{address}/txs/chain/{field(_NAME, confirmed[-1], 'txid', str)}")
        raise RailDown(f"{_NAME} lists more for {address} than can be")


def _paid(tx: Any, address: str, tip: int) -> list[Output]:
    txid, status = field(_NAME, tx, "txid", str), field(_NAME, tx, "status", dict)
    mined = field(_NAME, status, "confirmed", bool)
    height = field(_NAME, status, "block_height", int) if mined else None
    return [
        Output(
            id=f"{txid}:{index}",
            address=address,
            amount=field(_NAME, output, "value", int),
            confirmations=max(0, tip - height + 1) if height is not None else 0,
            mined=mined,
            at_ms=field(_NAME, status, "block_time", int) * 1_000 if mined else None,
        )
        for index, output in enumerate(field(_NAME, tx, "vout", list))
        if output.get("scriptpubkey_address") == address and output.get("value")
    ]
