"""What an Electrum server (ElectrumX, Fulcrum, electrs) says of addresses, by protocol 1.4.

Amounts are not believed: every transaction is read here and must have the id that it is named by. Whether and where it
is in a block is the server's word, so several are asked (`rails.sources`). Questions of one round travel together.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from perquery import money
from perquery.outbound import Client, Lines, OutboundError
from perquery.rails import transaction
from perquery.rails.chain import View
from perquery.rails.coins import Network
from perquery.rails.descriptors import script_of
from perquery.rails.rail import RailDown
from perquery.rails.reported import Output
from perquery.rails.transaction import Transaction

TIMEOUT_S: Final = 20.0
_PROTOCOL: Final = "1.4"
_TOGETHER: Final = 200  # questions on their way at once: servers slow down who asks more
_TRIES: Final = 5
_REMEMBERED: Final = 10_000  # transactions and times of blocks


class ElectrumServer:
    """url: ssl://host:port or tcp://host:port."""

    def __init__(self, client: Client, url: str, network: Network) -> None:
        self._client = client
        self._url = url
        self._network = network
        self._lines: Lines | None = None
        self._turn = asyncio.Lock()
        self._number = 0
        self._software = ""
        self._transactions: dict[str, Transaction] = {}
        self._block_times_ms: dict[int, int] = {}

    async def look(self, addresses: Sequence[str]) -> View:
        """In two exchanges, for some servers let each answer wait for a second: histories, then what is new in them."""
        for remembered in (self._transactions, self._block_times_ms):
            if len(remembered) > _REMEMBERED:
                remembered.clear()
        scripts = {address: self._script(address) for address in addresses}
        height, places = await self._places([_scripthash(script) for script in scripts.values()])
        await self._learn([txid for txid in places if txid not in self._transactions], places.values())
        outputs = [
            Output(
                id=f"{txid}:{index}",
                address=address,
                amount=value,
                confirmations=max(0, height - place + 1) if place > 0 else 0,
                mined=place > 0,
                at_ms=self._block_times_ms[place] if place > 0 else None,
            )
            for address, script in scripts.items()
            for txid, place in places.items()
            for index, (value, paid) in enumerate(self._transactions[txid].outputs)
            if paid == script and value
        ]
        return View(height, outputs, self._software)

    def _script(self, address: str) -> bytes:
        try:
            return script_of(address, self._network)
        except ValueError as error:
            raise RailDown(f"{address} was given out for another network than is configured now") from error

    async def _places(self, scripthashes: Sequence[str]) -> tuple[int, dict[str, int]]:
        """The chain's height, and at it the height of each transaction; 0 or -1 in the pool."""
        tip: tuple[str, list[Any]] = ("blockchain.headers.subscribe", [])
        histories = [("blockchain.scripthash.get_history", [scripthash]) for scripthash in scripthashes]
        for _ in range(_TRIES):
            before, *found, after = await self._ask([tip, *histories, tip])
            if before == after:
                items = [item for history in found for item in _list(history)]
                return _whole(after, "height"), {_txid(item): _whole(item, "height") for item in items}
        raise self._down("gets blocks faster than can be looked at")

    async def close(self) -> None:
        self._drop()

    async def _learn(self, txids: Sequence[str], heights: Iterable[int]) -> None:
        """These transactions, and when the blocks at these heights were made."""
        new = sorted({height for height in heights if height > 0} - self._block_times_ms.keys())
        asked = [("blockchain.transaction.get", [txid]) for txid in txids]
        answers = await self._ask([*asked, *(("blockchain.block.header", [height]) for height in new)])
        self._read_transactions(txids, answers[: len(txids)])
        self._read_headers(new, answers[len(txids) :])

    def _read_transactions(self, txids: Sequence[str], answers: Sequence[Any]) -> None:
        for txid, raw in zip(txids, answers, strict=True):
            try:
                found = transaction.parse(bytes.fromhex(raw))
            except (TypeError, ValueError) as error:
                raise self._down(f"answers with something else than transaction {txid}") from error
            if found.id != txid:
                raise self._down(f"answers with another transaction than {txid}")
            self._transactions[txid] = found

    def _read_headers(self, heights: Sequence[int], answers: Sequence[Any]) -> None:
        for height, header in zip(heights, answers, strict=True):
            try:
                self._block_times_ms[height] = transaction.header_time_s(bytes.fromhex(header)) * 1_000
            except (TypeError, ValueError) as error:
                raise self._down(f"answers with something else than block {height}") from error

    async def _ask(self, questions: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """The answers, in order. Raises RailDown."""
        answers: list[Any] = []
        if not questions:
            return answers
        async with self._turn:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    lines = await self._connected()
                    for first in range(0, len(questions), _TOGETHER):
                        answers += await self._exchanged(lines, questions[first : first + _TOGETHER])
            except BaseException as error:
                self._drop()
                if isinstance(error, OutboundError | TimeoutError):
                    raise self._down(f"does not answer: {error}") from error
                raise
        return answers

    async def _connected(self) -> Lines:
        """The connection, opened and greeted where there is none."""
        if self._lines is None:
            self._lines = await self._client.lines(self._url)
            hello = ("server.version", ["PerQuery", _PROTOCOL])
            (greeting, features) = await self._exchanged(self._lines, [hello, ("server.features", [])])
            self._software = str(greeting[0])[:60] if isinstance(greeting, list) and greeting else "an Electrum server"
            genesis = features.get("genesis_hash") if isinstance(features, dict) else None
            if self._network.genesis not in (None, genesis):
                raise self._down("serves another chain")
        return self._lines

    async def _exchanged(self, lines: Lines, questions: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        places = {}
        for place, (method, params) in enumerate(questions):
            self._number += 1
            places[self._number] = place
            lines.send(orjson.dumps({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}))
        answers: list[Any] = [None] * len(questions)
        while places:
            answer = self._parsed(await lines.receive())
            number = answer.get("id")
            if type(number) is not int or number not in places:
                continue  # a notification
            place = places.pop(number)
            if answer.get("error") is not None:
                raise self._down(f"refuses {questions[place][0]}: {str(answer['error'])[:200]}")
            answers[place] = answer.get("result")
        return answers

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            found = money.from_json(line)
        except ValueError as error:
            raise self._down("does not speak JSON") from error
        if not isinstance(found, dict):
            raise self._down("answers with no object")
        return found

    def _drop(self) -> None:
        if self._lines is not None:
            self._lines.close()
        self._lines = None

    def _down(self, what: str) -> RailDown:
        return RailDown(f"{self._url} {what}")


def _scripthash(script: bytes) -> str:
    return hashlib.sha256(script).digest()[::-1].hex()


def _list(found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise RailDown("an Electrum server answered with no list")
    return found


def _whole(found: Any, name: str) -> int:
    value = found.get(name) if isinstance(found, dict) else None
    if type(value) is not int:
        raise RailDown(f"an Electrum server answered without {name}")
    return value


def _txid(item: Any) -> str:
    value = item.get("tx_hash") if isinstance(item, dict) else None
    if not isinstance(value, str) or len(value) != 64:
        raise RailDown("an Electrum server answered without tx_hash")
    return value
