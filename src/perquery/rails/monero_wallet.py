"""Monero by monero-wallet-rpc with a view-only wallet: a subaddress for each invoice, and what was paid to them.

The wallet is refreshed before it is believed, which fails where its daemon is away; and it must be the one that made
the addresses, so that another one, opened in its place, takes no payment back. Outputs that the payer has locked do not
count before they are free. This module must never work with a wallet that can spend.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from perquery import money
from perquery.outbound import Client, OutboundError
from perquery.rails.chain import View
from perquery.rails.digest import authorization
from perquery.rails.node import field
from perquery.rails.rail import RailDown
from perquery.rails.reported import Output

ANSWER_BYTES_MAX: Final = 128 * 2**20
TIMEOUT_S: Final = 60.0  # a refresh may have many blocks to read
_NAME: Final = "monero-wallet-rpc"
_PATH: Final = "/json_rpc"
_TRIES: Final = 5
_WATCH_ONLY: Final = -29
_OUT_OF_BOUNDS: Final = -15
_MADE_AT_ONCE: Final = 64  # addresses; the wallet makes no more
# First letters of a first address (cryptonote_config.h). A regtest chain has those of the main one.
_LETTERS: Final[Mapping[str, str]] = {"bc": "4", "bcrt": "4", "tb": "9A", "tbs": "5"}
_HEIGHTS_END: Final = 500_000_000  # an unlock time below is a height, else seconds (wallet2)
_SPENDS: Final = (
    "holds a wallet that can spend: make a view-only one (`monero-wallet-cli --generate-from-view-key`) and open that"
)


class MoneroWallet:
    """url: of the RPC; credential: "user:password", or "" where it asks for none; network: bc, tb (testnet), tbs
    (stagenet) or bcrt; clock: milliseconds. Raises ValueError for another network.
    """

    def __init__(
        self,
        client: Client,
        url: str,
        credential: str,
        clock: Callable[[], int],
        network: str = "bc",
    ) -> None:
        if network not in _LETTERS:
            raise ValueError(f"network: Monero has {', '.join(_LETTERS)}")
        self._client = client
        self._url = url.rstrip("/") + _PATH
        self._user, _, self._password = credential.partition(":")
        self._clock = clock
        self._network = network
        self._minors: dict[str, int] = {}  # where the wallet has an address
        self._turn = asyncio.Lock()  # a nonce belongs to a connection: one after the other, so that one serves
        self._challenge = ""
        self._count = 0
        self._software = ""

    async def address(self, number: int) -> str:
        """A new subaddress of the first account, behind the first `number` ones: a wallet that was restored from its
        keys begins again with those that others have. It is written to the wallet's file before it is handed out.
        """
        await self._prove()
        minor, address = await self._create(1)
        while minor <= number:
            minor, address = await self._create(min(_MADE_AT_ONCE, number + 1 - minor))
        await self._call("store")
        self._minors[address] = minor
        return address

    async def _create(self, count: int) -> tuple[int, str]:
        """So many addresses; the last one, and its minor index."""
        made = await self._call("create_address", account_index=0, label="PerQuery", count=count)
        minors, addresses = (field(_NAME, made, name, list) for name in ("address_indices", "addresses"))
        if not minors or not addresses or type(minors[-1]) is not int or type(addresses[-1]) is not str:
            raise RailDown(f"{_NAME} made no address")
        return minors[-1], addresses[-1]

    async def look(self, addresses: Sequence[str]) -> View:
        await self._prove()
        for _ in range(_TRIES):
            height = await self._refreshed()
            outputs = await self._outputs(addresses, height) if addresses else []
            if await self._height() == height:
                return View(height, outputs, self._software)
        raise RailDown(f"{_NAME} gets blocks faster than can be looked at")

    async def close(self) -> None:
        """Nothing is held open here; the client is its owner's."""

    async def may_spend(self) -> bool:
        """Whether the wallet that is open has the key that spends."""
        try:
            key = field(_NAME, await self._call("query_key", key_type="spend_key"), "key", str)
        except _Error as error:
            if error.code != _WATCH_ONLY:
                raise
            return False
        return key.strip("0") != ""

    async def _prove(self) -> None:
        """That the wallet cannot spend, and is of the network: each time, as any may be opened meanwhile."""
        if not self._software:
            version = field(_NAME, await self._call("get_version"), "version", int)
            self._software = f"{_NAME} {version >> 16}.{version & 0xFFFF}"
        if await self.may_spend():
            raise RailDown(f"{_NAME} {_SPENDS}")
        first = field(
            _NAME,
            await self._call("get_address", account_index=0, address_index=[0]),
            "address",
            str,
        )
        if not first.startswith(tuple(_LETTERS[self._network])):
            raise RailDown(f"{_NAME} has a wallet of another network open than {self._network}: {first[:8]}…")

    async def _refreshed(self) -> int:
        await self._call("refresh")
        return await self._height()

    async def _height(self) -> int:
        """Of the newest block, as other chains count: the first block has height 0."""
        return field(_NAME, await self._call("get_height"), "height", int) - 1

    async def _outputs(self, addresses: Sequence[str], height: int) -> list[Output]:
        minors = await self._places(addresses)
        asked = {
            "in": True,
            "pool": True,
            "account_index": 0,
            "subaddr_indices": minors,
        }
        found = await self._call("get_transfers", **asked)
        waiting = [entry for entry in found.get("pool", ()) if not entry.get("double_spend_seen")]
        outputs: dict[str, Output] = {}
        for entry in (*found.get("in", ()), *waiting):
            output = self._output(entry, height)
            before = outputs.get(output.id)
            outputs[output.id] = output if before is None else _sum(before, output)
        return list(outputs.values())

    async def _places(self, addresses: Sequence[str]) -> list[int]:
        """The minor indices of addresses, all of which the wallet must have."""
        if not self._minors.keys() >= set(addresses):
            self._minors = await self._made()
        minors = [self._minors.get(address, 0) for address in addresses]
        there = await self._made(minors) if all(minors) else {}
        if absent := set(addresses) - there.keys():
            raise RailDown(
                f"{_NAME} does not know {min(absent)}: another wallet is open, or one that was restored and has fewer"
                " addresses (`create_address` makes them again, `rescan_blockchain` finds what they got)"
            )
        return minors

    async def _made(self, minors: Sequence[int] = ()) -> dict[str, int]:
        """The wallet's addresses, or those of them, with their minor indices."""
        asked = {"address_index": minors} if minors else {}
        try:
            listed = field(
                _NAME,
                await self._call("get_address", account_index=0, **asked),
                "addresses",
                list,
            )
        except _Error as error:
            if error.code != _OUT_OF_BOUNDS:
                raise
            return {}
        return {field(_NAME, each, "address", str): field(_NAME, each, "address_index", int) for each in listed}

    def _output(self, entry: Any, height: int) -> Output:
        mined_at = field(_NAME, entry, "height", int)
        depth = max(0, height - mined_at + 1) if mined_at else 0
        minor = field(_NAME, field(_NAME, entry, "subaddr_index", dict), "minor", int)
        return Output(
            id=f"{field(_NAME, entry, 'txid', str)}:{minor}",
            address=field(_NAME, entry, "address", str),
            amount=field(_NAME, entry, "amount", int),
            confirmations=depth if self._free(field(_NAME, entry, "unlock_time", int), height) else 0,
            mined=mined_at > 0,
            at_ms=field(_NAME, entry, "timestamp", int) * 1_000 if mined_at else None,
        )

    def _free(self, unlock_time: int, height: int) -> bool:
        return unlock_time <= (height if unlock_time < _HEIGHTS_END else self._clock() // 1_000)

    async def _call(self, method: str, **params: Any) -> Any:
        body = orjson.dumps({"jsonrpc": "2.0", "id": "perquery", "method": method, "params": params})
        async with self._turn:
            status, challenge, data = await self._post(body)
            if status == 401 and challenge and self._user:
                self._challenge, self._count = challenge, 0
                status, _, data = await self._post(body)
        if status != 200:
            raise RailDown(f"{_NAME} answered {status}: {data[:200].decode('utf-8', 'replace')}")
        try:
            answer = money.from_json(data)
        except ValueError as error:
            raise RailDown(f"{_NAME} answered something else than JSON") from error
        if not isinstance(answer, dict) or not isinstance(answer.get("result"), dict):
            raise _Error(method, answer.get("error") if isinstance(answer, dict) else answer)
        return answer["result"]

    async def _post(self, body: bytes) -> tuple[int, str, bytes]:
        """Status, challenge and body of the answer."""
        headers = {"content-type": "application/json"}
        if self._challenge:
            self._count += 1
            headers["authorization"] = self._authorization()
        try:
            async with await self._client.request(
                "POST",
                self._url,
                headers=headers,
                body=body,
                timeout_s=TIMEOUT_S,
                idle_timeout_s=TIMEOUT_S,
            ) as response:
                data = await response.read(ANSWER_BYTES_MAX)
                return (
                    response.status,
                    response.headers.get("www-authenticate", ""),
                    data,
                )
        except OutboundError as error:
            raise RailDown(f"{_NAME} does not answer: {error}") from error

    def _authorization(self) -> str:
        nonce = secrets.token_hex(8)
        given = (self._challenge, self._user, self._password)
        try:
            return authorization(*given, "POST", _PATH, count=self._count, client_nonce=nonce)
        except ValueError as error:
            raise RailDown(f"{_NAME}: {error}") from error


class _Error(RailDown):
    """It answered with an error. code: wallet_rpc_server_error_codes.h."""

    def __init__(self, method: str, said: Any) -> None:
        super().__init__(f"{_NAME} refuses {method}: {str(said)[:200]}")
        self.code = said.get("code") if isinstance(said, dict) else None


def _sum(one: Output, other: Output) -> Output:
    """Two entries of one transaction for one subaddress; as free as the less free."""
    return Output(
        one.id,
        one.address,
        one.amount + other.amount,
        min(one.confirmations, other.confirmations),
        one.mined and other.mined,
        one.at_ms,
    )
