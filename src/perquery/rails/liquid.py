"""Liquid bitcoin: confidential addresses from a watch-only descriptor, and blinded payments unblinded here.

Who serves the chain sees neither amounts nor assets, and cannot lie about them: each transaction must have the id that
it is named by, and is opened with the descriptor's blinding key. Only the network's bitcoin counts; other assets (USDt,
say) that reach an address are for the operator to see in the log. This module must never hold a key that spends.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import lwk

from perquery.outbound import Client
from perquery.rails.chain import View
from perquery.rails.esplora import Pages, Place, confirmations, place
from perquery.rails.node import Node
from perquery.rails.rail import RailDown
from perquery.rails.reported import Output
from perquery.rails.spending import ADVICE, could_spend

_NAME: Final = "Esplora of Liquid"
_TRIES: Final = 5
_REMEMBERED: Final = 10_000
_NETWORKS: Final[Mapping[str, Any]] = {
    "bc": lwk.Network.mainnet,
    "tb": lwk.Network.testnet,
    "bcrt": lwk.Network.regtest_default,
}
NETWORKS: Final = tuple(_NETWORKS)
_log = logging.getLogger(__name__)


class LiquidAccount:
    """Addresses of a descriptor such as ct(slip77(…),elwpkh(xpub…/0/*)). network: as in the settings.

    Raises ValueError, in words that never repeat a key.
    """

    def __init__(self, text: str, network: str) -> None:
        if could_spend(text):
            raise ValueError(ADVICE)
        self._network = _NETWORKS[network]()
        try:
            self._descriptor = lwk.WolletDescriptor(text.strip())
            self._wallet = lwk.Wollet(self._network, self._descriptor, None)
            self._wallet.address(0)
        except lwk.LwkError as error:
            raise ValueError("not a confidential descriptor, such as ct(slip77(…),elwpkh(xpub…/<0;1>/*))") from error
        self.bitcoin = str(self._network.policy_asset())

    def at(self, number: int) -> str:
        return str(self._wallet.address(number).address())

    def script(self, address: str) -> Any:
        try:
            return lwk.Address(address).script_pubkey()
        except lwk.LwkError as error:
            raise RailDown(f"{address} is no Liquid address") from error

    def opened(self, output: Any) -> tuple[str, int] | None:
        """Asset and amount of an output to one of our scripts; None where it is blinded for somebody else."""
        if output.value() is not None:
            return str(output.asset()), int(output.value())
        try:
            found = output.unblind(self._descriptor.derive_blinding_key(output.script_pubkey()))
        except lwk.LwkError:
            return None
        return str(found.asset()), int(found.value())


class LiquidEsplora:
    """url: of the API, such as https://blockstream.info/liquid/api."""

    def __init__(self, client: Client, url: str, account: LiquidAccount) -> None:
        self._node = Node(_NAME, url, {}, client)
        self._pages = Pages(self._node)
        self._account = account
        self._paid: dict[str, tuple[tuple[int, str, int], ...]] = {}  # by transaction: place, script, satoshis

    async def look(self, addresses: Sequence[str]) -> View:
        if len(self._paid) > _REMEMBERED:
            self._paid.clear()
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
        script = str(self._account.script(address))
        found = []
        for transaction in await self._pages.transactions(address):
            where = place(transaction)
            for index, paid, satoshis in await self._opened(where):
                if paid == script:
                    depth = confirmations(where, tip)
                    name = f"{where.txid}:{index}"
                    found.append(Output(name, address, satoshis, depth, where.height is not None, where.at_ms))
        return found

    async def _opened(self, where: Place) -> tuple[tuple[int, str, int], ...]:
        """What a transaction pays in bitcoin to scripts that we can open."""
        known = self._paid.get(where.txid)
        if known is None:
            known = self._paid[where.txid] = tuple(self._read(where.txid, await self._raw(where.txid)))
        return known

    async def _raw(self, txid: str) -> Any:
        text = await self._node.get_text(f"/tx/{txid}/hex")
        try:
            found = lwk.Transaction.from_string(text)
        except lwk.LwkError as error:
            raise RailDown(f"{_NAME} answered with something else than transaction {txid}") from error
        if str(found.txid()) != txid:
            raise RailDown(f"{_NAME} answered with another transaction than {txid}")
        return found

    def _read(self, txid: str, transaction: Any) -> list[tuple[int, str, int]]:
        found = []
        for index, output in enumerate(transaction.outputs()):
            opened = self._account.opened(output)
            if opened is None or output.is_fee() or not opened[1]:
                continue
            asset, amount = opened
            if asset == self._account.bitcoin:
                found.append((index, str(output.script_pubkey()), amount))
            else:
                _log.warning("%s:%d pays %d of the asset %s, which is not bitcoin", txid, index, amount, asset)
        return found
