"""A full node (Bitcoin Core, Litecoin Core) by its RPC, with a wallet of its own that watches and holds no key.

The wallet is made here where there is none; every address is imported before it is handed out. The node verifies the
chain itself, so it is believed alone. This module must never import a key, nor call what spends.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence, Set
from decimal import Decimal
from typing import Any, Final

from embit.descriptor.checksum import add_checksum

from perquery import money
from perquery.outbound import Client
from perquery.rails.chain import View
from perquery.rails.coins import Network
from perquery.rails.node import Node, Refused, field
from perquery.rails.rail import RailDown
from perquery.rails.reported import Output

WALLET: Final = "perquery"
_NAME: Final = "the node"
_TRIES: Final = 5
_LOOK_BACK_S: Final = 30 * 86_400  # how far a wallet that did not know an address looks for what was paid to it
_NOT_FOUND: Final = frozenset({-18})  # no such wallet, or not loaded
_NOT_THERE: Final = frozenset({-4, -8, -18})  # no file of that wallet
_NOT_IN_POOL: Final = frozenset({-5})
_ANSWER_BYTES_MAX: Final = 128 * 2**20


class CoreNode:
    """url: of the RPC, without a wallet's path; credential: "user:password"; clock: milliseconds."""

    def __init__(self, client: Client, url: str, credential: str, network: Network, clock: Callable[[], int]) -> None:
        headers = {"authorization": "Basic " + b64encode(credential.encode()).decode()}
        self._node = Node(_NAME, url, headers, client, answer_bytes_max=_ANSWER_BYTES_MAX)
        self._network = network
        self._clock = clock
        self._descriptors: bool | None = None  # how its wallet imports; None: not asked yet
        self._watching: set[str] = set()
        self._turn = asyncio.Lock()  # the wallet is made once, and refuses everything while it looks through blocks
        self._software = ""

    async def look(self, addresses: Sequence[str]) -> View:
        for address in addresses:
            await self.watch(address, new=False)
        tip = await self._tip()
        for _ in range(_TRIES):
            outputs = await self._outputs(frozenset(addresses)) if addresses else []
            before, tip = tip, await self._tip()
            if tip == before:
                return View(tip[0], outputs, self._software)
        raise RailDown(f"{_NAME} gets blocks faster than can be looked at")

    async def _tip(self) -> tuple[int, str]:
        """Height and hash of the newest block."""
        about = await self._call("getblockchaininfo")
        height = field(_NAME, about, "blocks", int)
        if self._network.genesis is not None and about.get("initialblockdownload"):
            raise RailDown(f"{_NAME} is still catching up, at block {height} of {about.get('headers')}")
        if not self._software:
            genesis = await self._call("getblockhash", 0)
            if self._network.genesis not in (None, genesis):
                raise RailDown(f"{_NAME} serves another chain")
            self._software = str((await self._call("getnetworkinfo")).get("subversion"))[:60]
        return height, field(_NAME, about, "bestblockhash", str)

    async def _outputs(self, addresses: Set[str]) -> list[Output]:
        listed = await self._ask_wallet("listsinceblock", "", 1, True)
        found = []
        for entry in field(_NAME, listed, "transactions", list):
            if entry.get("category") != "receive" or entry.get("address") not in addresses:
                continue
            confirmations = field(_NAME, entry, "confirmations", int)
            if confirmations > 0 or (confirmations == 0 and await self._in_pool(field(_NAME, entry, "txid", str))):
                found.append(_output(entry, confirmations))
        return found

    async def close(self) -> None:
        await self._node.close()

    async def watch(self, address: str, *, new: bool) -> None:
        """Have the wallet notice what is paid to the address. new: nobody can have paid it yet."""
        if address in self._watching:
            return
        about = await self._ask_wallet("getaddressinfo", address)
        if not (about.get("iswatchonly") or about.get("ismine")):
            await self._import(address, new=new)
        self._watching.add(address)

    async def _import(self, address: str, *, new: bool) -> None:
        since: int | str = "now" if new else self._clock() // 1_000 - _LOOK_BACK_S
        if self._descriptors:
            request = {"desc": add_checksum(f"addr({address})"), "timestamp": since}
            (done,) = await self._ask_wallet("importdescriptors", [request])
        else:
            request = {"scriptPubKey": {"address": address}, "timestamp": since, "watchonly": True}
            (done,) = await self._ask_wallet("importmulti", [request])
        if done.get("success") is not True:
            raise RailDown(f"{_NAME} does not watch {address}: {str(done.get('error'))[:200]}")

    async def _in_pool(self, txid: str) -> bool:
        """A wallet keeps what was replaced or thrown out; only what waits in the pool may still be mined."""
        try:
            await self._call("getmempoolentry", txid)
        except Refused as refused:
            if _code(refused) in _NOT_IN_POOL:
                return False
            raise
        return True

    async def _ask_wallet(self, method: str, *params: Any) -> Any:
        async with self._turn:
            if self._descriptors is None:
                await self._open_wallet()
            return await self._call(method, *params, path=f"/wallet/{WALLET}")

    async def _open_wallet(self) -> None:
        """Load the wallet, or make it: without private keys, and empty."""
        ways: tuple[Callable[[], Awaitable[Any]], ...] = (
            lambda: self._call("getwalletinfo", path=f"/wallet/{WALLET}"),
            lambda: self._call("loadwallet", WALLET),
            lambda: self._call("createwallet", WALLET, True, True),
        )
        for way, missing in zip(ways, (_NOT_FOUND, _NOT_THERE, frozenset[int]()), strict=True):
            try:
                await way()
            except Refused as refused:
                if _code(refused) in missing:
                    continue
                raise
            break
        about = await self._call("getwalletinfo", path=f"/wallet/{WALLET}")
        if about.get("private_keys_enabled") is not False:
            raise RailDown(f'{_NAME} has a wallet "{WALLET}" that can spend; rename it, and one that cannot is made')
        self._descriptors = about.get("descriptors") is True

    async def _call(self, method: str, *params: Any, path: str = "/") -> Any:
        answer = await self._node.post(path, {"jsonrpc": "1.0", "id": "perquery", "method": method, "params": params})
        if not isinstance(answer, dict) or answer.get("error") is not None or "result" not in answer:
            raise RailDown(f"{_NAME} does not answer {method}: {str(answer)[:200]}")
        return answer["result"]


def _output(entry: Any, confirmations: int) -> Output:
    amount = entry.get("amount")
    if not isinstance(amount, int | Decimal) or isinstance(amount, bool) or amount <= 0:
        raise RailDown(f"{_NAME} lists a payment without its amount")
    return Output(
        id=f"{field(_NAME, entry, 'txid', str)}:{field(_NAME, entry, 'vout', int)}",
        address=field(_NAME, entry, "address", str),
        amount=money.scaled(amount, 8),
        confirmations=confirmations,
        mined=confirmations > 0,
        at_ms=field(_NAME, entry, "blocktime", int) * 1_000 if confirmations > 0 else None,
    )


def _code(refused: Refused) -> int:
    error = refused.body.get("error") if isinstance(refused.body, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 0
