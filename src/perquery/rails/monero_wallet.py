"""Monero by monero-wallet-rpc with a view-only wallet: a subaddress for each invoice, and what was paid to them.

The wallet is refreshed before it is believed, which fails where its daemon is away. Outputs that the payer has locked
do not count before they are free. This module must never work with a wallet that can spend.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from perquery import money
from perquery.outbound import Client, OutboundError
from perquery.rails.chain import Output, View
from perquery.rails.digest import authorization
from perquery.rails.node import ANSWER_BYTES_MAX, field
from perquery.rails.rail import RailDown

TIMEOUT_S: Final = 60.0  # a refresh may have many blocks to read
_NAME: Final = "monero-wallet-rpc"
_PATH: Final = "/json_rpc"
_TRIES: Final = 5
_HEIGHTS_END: Final = 500_000_000  # an unlock time below is a height, else seconds (wallet2)
_SPENDS: Final = (
    "holds a wallet that can spend: make a view-only one (`monero-wallet-cli --generate-from-view-key`) and open that"
)


class MoneroWallet:
    """url: of the RPC; credential: "user:password", or "" where it asks for none; clock: milliseconds."""

    def __init__(self, client: Client, url: str, credential: str, clock: Callable[[], int]) -> None:
        self._client = client
        self._url = url.rstrip("/") + _PATH
        self._user, _, self._password = credential.partition(":")
        self._clock = clock
        self._challenge = ""
        self._count = 0
        self._software = ""

    async def address(self, _number: int) -> str:
        """A new subaddress of the first account; the wallet itself counts them."""
        await self._prove()
        made = await self._call("create_address", account_index=0, label="PerQuery")
        return field(_NAME, made, "address", str)

    async def look(self, addresses: Sequence[str]) -> View:
        await self._prove()
        for _ in range(_TRIES):
            height = await self._refreshed()
            outputs = await self._outputs(frozenset(addresses), height) if addresses else []
            if await self._height() == height:
                return View(height, outputs, self._software)
        raise RailDown(f"{_NAME} gets blocks faster than can be looked at")

    async def close(self) -> None:
        """Nothing is held open here; the client is its owner's."""

    async def _prove(self) -> None:
        """Once: what it is, and that it cannot spend."""
        if self._software:
            return
        version = field(_NAME, await self._call("get_version"), "version", int)
        try:
            key = (await self._call("query_key", key_type="spend_key")).get("key", "")
        except _Error as error:
            if "watch-only" not in str(error):
                raise
            key = ""
        if key.strip("0"):
            raise RailDown(f"{_NAME} {_SPENDS}")
        self._software = f"{_NAME} {version >> 16}.{version & 0xFFFF}"

    async def _refreshed(self) -> int:
        await self._call("refresh")
        return await self._height()

    async def _height(self) -> int:
        """Of the newest block, as other chains count: the first block has height 0."""
        return field(_NAME, await self._call("get_height"), "height", int) - 1

    async def _outputs(self, addresses: frozenset[str], height: int) -> list[Output]:
        asked = {"in": True, "pool": True, "account_index": 0}
        found = await self._call("get_transfers", **asked)
        outputs: dict[str, Output] = {}
        for entry in (*found.get("in", ()), *found.get("pool", ())):
            if entry.get("address") in addresses and not entry.get("double_spend_seen"):
                output = self._output(entry, height)
                before = outputs.get(output.id)
                outputs[output.id] = output if before is None else _sum(before, output)
        return list(outputs.values())

    def _output(self, entry: Any, height: int) -> Output:
        mined_at = field(_NAME, entry, "height", int)
        depth = max(0, height - mined_at + 1) if mined_at else 0
        minor = field(_NAME, field(_NAME, entry, "subaddr_index", dict), "minor", int)
        return Output(
            id=f"{field(_NAME, entry, 'txid', str)}:{minor}",
            address=entry["address"],
            amount=field(_NAME, entry, "amount", int),
            confirmations=depth if self._free(field(_NAME, entry, "unlock_time", int), height) else 0,
            mined=mined_at > 0,
            at_ms=field(_NAME, entry, "timestamp", int) * 1_000 if mined_at else None,
        )

    def _free(self, unlock_time: int, height: int) -> bool:
        return unlock_time <= (height if unlock_time < _HEIGHTS_END else self._clock() // 1_000)

    async def _call(self, method: str, **params: Any) -> Any:
        body = orjson.dumps({"jsonrpc": "2.0", "id": "perquery", "method": method, "params": params})
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
            said = answer.get("error") if isinstance(answer, dict) else answer
            raise _Error(f"{_NAME} refuses {method}: {str(said)[:200]}")
        return answer["result"]

    async def _post(self, body: bytes) -> tuple[int, str, bytes]:
        """Status, challenge and body of the answer."""
        headers = {"content-type": "application/json"}
        if self._challenge:
            self._count += 1
            headers["authorization"] = self._authorization()
        try:
            async with await self._client.request(
                "POST", self._url, headers=headers, body=body, timeout_s=TIMEOUT_S, idle_timeout_s=TIMEOUT_S
            ) as response:
                data = await response.read(ANSWER_BYTES_MAX)
                return response.status, response.headers.get("www-authenticate", ""), data
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
    """It answered with an error."""


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
