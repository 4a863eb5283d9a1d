"""What one node of a chain of Ethereum's kind says of a token's payments, by JSON-RPC.

A payment is a Transfer in the log of the token's own contract, in a block that the node still has at the end of the
look. That it told all of them is not believed of one node: several are asked (`rails.sources`). Ranges of blocks that
a node finds too wide are asked for in parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from perquery.outbound import Client
from perquery.rails import transfers
from perquery.rails.chain import View
from perquery.rails.keccak import keccak256
from perquery.rails.node import Node, Refused
from perquery.rails.rail import RailDown
from perquery.rails.reported import Output
from perquery.rails.tokens import Token
from perquery.rails.transfers import TRANSFER, Block, Transfer

_DECIMALS: Final = "0x" + keccak256(b"decimals()").hex()[:8]
_BALANCE: Final = "0x" + keccak256(b"balanceOf(address)").hex()[:8]
_RANGE_MAX: Final = 2_000  # blocks asked for at once
_TOGETHER: Final = 500  # addresses in one question: nodes take at most a thousand
_TRIES: Final = 5
_REMEMBERED: Final = 10_000
_AMOUNT_MAX: Final = 10**17  # a hundred million tokens: more in one payment is no payment
_ANSWER_BYTES_MAX: Final = 64 * 2**20
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Span:
    """The blocks to look through: all after `after`, which must have its hash, up to `until` (None: the newest), and
    those `besides`. after None: none but those besides.
    """

    after: Block | None = None
    until: int | None = None
    besides: Sequence[int] = ()

    def ranges(self, head: int) -> Iterator[tuple[int, int]]:
        """First and last blocks, none above the newest one."""
        if self.after is not None:
            last = head if self.until is None else min(head, self.until)
            yield self.after.number + 1, last
        for number in self.besides:
            yield number, min(number, head)


NOWHERE: Final = Span()


class EvmNode:
    """url: of the RPC; its path may be a key, so only its host is ever named."""

    def __init__(self, client: Client, url: str, token: Token) -> None:
        self.name = f"{token.chain} by {urlsplit(url).hostname}"
        self._node = Node(self.name, url, {}, client, answer_bytes_max=_ANSWER_BYTES_MAX)
        self._token = token
        self._widths = {True: _RANGE_MAX, False: _RANGE_MAX}  # of ranges, with a contract named and without
        self._times_ms: dict[str, int] = {}  # of blocks, by hash
        self._software = ""

    async def look(self, addresses: Sequence[str], span: Span) -> View:
        """The payments in those blocks. height: up to which the chain is settled, as the token's finality has it."""
        await self._prove()
        if span.after is not None:
            await self._stands(span.after)
        for _ in range(_TRIES):
            head = await self._named("latest")
            height = head.number if self._token.final is not None else (await self._named("finalized")).number
            outputs = await self._outputs(addresses, span, head.number, height)
            again = await self.block(head.number)
            if outputs is not None and again is not None and again.hash == head.hash:
                return View(height, outputs, self._software)
        raise RailDown(f"{self.name} changes its blocks faster than can be looked at")

    async def strays(self, addresses: Sequence[str], span: Span) -> list[Transfer]:
        """What other contracts' logs say has reached the addresses in those blocks."""
        head = await self._named("latest")
        found = [each for first, last in span.ranges(head.number) for each in await self._to(addresses, first, last)]
        return [each for each in found if each.contract != self._token.contract]

    async def balance(self, address: str) -> int:
        """The contract's smallest units that the address holds now."""
        await self._prove()
        asked = {"to": self._token.contract, "data": _BALANCE + transfers.padded(address)[2:]}
        return self._read(transfers.word, await self._call("eth_call", asked, "latest"))

    async def block(self, number: int | str) -> Block | None:
        """By its number, or what the chain calls "latest" or "finalized"; None where there is none."""
        asked = number if isinstance(number, str) else hex(number)
        found = await self._call("eth_getBlockByNumber", asked, False)
        if found is None:
            return None
        block = self._read(transfers.block, found)
        if isinstance(number, int) and block.number != number:
            raise RailDown(f"{self.name} answers with another block than {number}")
        return block

    async def before(self, at_ms: int, buried: int) -> Block:
        """The last settled block that was made before that time, or else the first of all. buried: how many blocks
        from the newest on are not settled, where the chain does not say it.
        """
        newest = await self._named("latest" if self._token.final is not None else "finalized")
        low, high = 0, max(0, newest.number - buried + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if (await self._named(middle)).at_ms < at_ms else (low, middle - 1)
        return await self._named(low)

    async def close(self) -> None:
        await self._node.close()

    async def _prove(self) -> None:
        """That it serves this chain and knows this token, once."""
        if self._software:
            return
        token = self._token
        chain_id = self._read(transfers.quantity, await self._call("eth_chainId"))
        if chain_id != token.chain_id:
            raise RailDown(f"{self.name} serves chain {chain_id}, not {token.chain_id}")
        called = await self._call("eth_call", {"to": token.contract, "data": _DECIMALS}, "latest")
        if called == "0x":
            raise RailDown(f"{self.name} has no token at {token.contract}")
        if (decimals := self._read(transfers.word, called)) != token.decimals:
            raise RailDown(f"{self.name}: {token.contract} has {decimals} decimals, not {token.decimals}")
        self._software = str(await self._call("web3_clientVersion"))[:60]

    async def _stands(self, final: Block) -> None:
        """That what was final still is."""
        there = await self.block(final.number)
        if there is None:
            raise RailDown(f"{self.name} has fallen behind: it has no block {final.number}")
        if there.hash != final.hash:
            raise RailDown(f"{self.name} has another block {final.number} than the one that was final")

    async def _named(self, name: int | str) -> Block:
        found = await self.block(name)
        if found is None:
            raise RailDown(f"{self.name} has no block {name}")
        return found

    async def _outputs(self, addresses: Sequence[str], span: Span, head: int, height: int) -> list[Output] | None:
        """The payments; None where a block has been replaced meanwhile."""
        found = []
        for first, last in span.ranges(head):
            for each in await self._to(addresses, first, last, self._token.contract):
                amount = self._token.amount(each.units)
                if each.contract != self._token.contract or not each.fungible or not amount:
                    continue
                if amount > _AMOUNT_MAX:
                    raise RailDown(f"{self.name} tells of a payment that cannot be: {each.id}")
                at_ms = await self._time_ms(each)
                if at_ms is None:
                    return None
                confirmations = max(0, height - each.block + 1)
                name = f"{self._token.chain_id}:{each.id}"
                found.append(Output(name, each.payee, amount, confirmations, True, at_ms, each.block))
        return found

    async def _time_ms(self, of: Transfer) -> int | None:
        """When its block was made; None where the node has another one in that place."""
        if of.block_hash not in self._times_ms:
            there = await self.block(of.block)
            if there is None or there.hash != of.block_hash:
                return None
            if len(self._times_ms) >= _REMEMBERED:
                self._times_ms.clear()
            self._times_ms[there.hash] = there.at_ms
        return self._times_ms[of.block_hash]

    async def _to(self, addresses: Sequence[str], first: int, last: int, contract: str | None = None) -> list[Transfer]:
        """Every Transfer to the addresses; of all contracts, where none is named."""
        found: list[Transfer] = []
        for start in range(0, len(addresses), _TOGETHER):
            some = addresses[start : start + _TOGETHER]
            asked: dict[str, Any] = {"topics": [TRANSFER, None, [transfers.padded(address) for address in some]]}
            if contract is not None:
                asked["address"] = contract
            read = [self._read(transfers.transfer, log) for log in await self._logs(asked, first, last)]
            # A log of which nobody was asked is nobody's.
            found += [each for each in read if each and each.payee in some and first <= each.block <= last]
        return found

    async def _logs(self, asked: dict[str, Any], first: int, last: int) -> list[Any]:
        found: list[Any] = []
        kind = "address" in asked
        while first <= last:
            end = min(last, first + self._widths[kind] - 1)
            try:
                logs = await self._call("eth_getLogs", asked | {"fromBlock": hex(first), "toBlock": hex(end)})
            except _Error:
                if end == first:  # so that its width is not why
                    self._widths[kind] = _RANGE_MAX
                    raise
                self._widths[kind] = (end - first + 1) // 2
                continue
            if not isinstance(logs, list):
                raise RailDown(f"{self.name} answered with no list of logs")
            found += logs
            self._widths[kind] = min(_RANGE_MAX, self._widths[kind] * 9 // 8 + 1)
            first = end + 1
        return found

    def _read(self, form: Callable[[Any], Read], found: Any) -> Read:
        try:
            return form(found)
        except ValueError as error:
            raise RailDown(f"{self.name} answers with something else than was asked for: {error}") from error

    async def _call(self, method: str, *params: Any) -> Any:
        try:
            answer = await self._node.post("", {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        except Refused as refused:
            if refused.status == 429 or not isinstance(refused.body, dict) or "error" not in refused.body:
                raise
            answer = refused.body
        if isinstance(answer, dict) and answer.get("error") is not None:
            raise _Error(f"{self.name} refuses {method}: {str(answer['error'])[:200]}")
        if not isinstance(answer, dict) or "result" not in answer:
            raise RailDown(f"{self.name} does not answer {method}: {str(answer)[:200]}")
        return answer["result"]


class _Error(RailDown):
    """It understood the question, and refuses it."""
