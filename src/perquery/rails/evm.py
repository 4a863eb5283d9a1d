"""A dollar token on chains of Ethereum's kind: one address for each invoice, good on all of them, watched on each.

How far a chain has been read is a block in the cursor, by number and hash. It moves on only when all addresses were
looked at, and only over blocks that are settled, so whatever a node skips, and whatever comes while nobody looks, is
read again; what the nodes do not agree on is asked for by its own block until they do. A chain that is down holds up
no other. This module must never hold a key, nor count another contract's token.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final, TypeAlias, TypeVar

import orjson

from perquery.rails.chain import View
from perquery.rails.evm_addresses import EvmAddresses
from perquery.rails.evm_node import NOWHERE, EvmNode, Span
from perquery.rails.rail import Inspection, Payable, PayableRequest, RailDown, Receipt, Watched, Whole
from perquery.rails.reported import Reported
from perquery.rails.sources import QUORUM, Sources
from perquery.rails.tokens import Token
from perquery.rails.transfers import Block

PACE_S: Final = 12.0
_PAGE: Final = 10_000  # blocks read before the cursor is written down
# Blocks that are read again, though they are settled: an address may have been given out and paid since those that are
# looked at were put together, and an operator may have found too few confirmations enough.
_UNDOABLE: Final = 256
_APART: Final = 100  # blocks: one node may know of an epoch more that is final
_AT_ONCE: Final = 8  # questions for balances
_CLOCKS_APART_MS: Final = 3_600_000
_Written: TypeAlias = Mapping[str, Any]  # a chain's part of the cursor
Answer = TypeVar("Answer")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Window:
    """What one node says of some blocks, as a source among others."""

    node: EvmNode
    span: Span

    async def look(self, addresses: Sequence[str]) -> View:
        return await self.node.look(addresses, self.span)

    async def close(self) -> None:
        """The node stays open."""


class EvmChain:
    """A token on one chain. nodes: all that must agree; clock: milliseconds."""

    def __init__(self, token: Token, nodes: Sequence[EvmNode], clock: Callable[[], int]) -> None:
        self.token = token
        self._nodes = nodes
        self._clock = clock
        self._needed = token.final or 1
        self._buried = 1 if token.final is None else token.final + _UNDOABLE
        self._again = max(self._buried - 1, _UNDOABLE)  # what is behind these blocks is buried
        self._told: set[str] = set()

    async def receipts(self, written: _Written, watched: Sequence[Watched]) -> tuple[list[Receipt], _Written]:
        """What is new since `written`, and what is to be written after it."""
        reported = Reported(written.get("known", {}), self._buried, self._clock)
        unsettled = [each for each in reported.known.values() if each.unsettled]
        addresses = sorted({each.rail_ref for each in watched} | {each.address for each in unsettled})
        if not addresses:
            return [], written
        line, whole = Block(*written["line"]) if "line" in written else None, isinstance(watched, Whole)
        after = line or await self._before(min((each.since_ms for each in watched), default=self._clock()))
        until = after.number + _PAGE if whole else None
        within = range(after.number + 1, until + 1) if until is not None else None
        apart = {e.block for e in unsettled if (e.block <= after.number if within is None else e.block not in within)}
        span = Span(after, until, sorted(apart))
        view = await self.look(addresses, span)
        found = reported.receipts(view.outputs, lambda _: self._needed, view.height)
        if whole:
            line = await self._settled(after, min(after.number + _PAGE, view.height - self._again))
            await self._tell_strays(addresses, span)
        reported.forget(lambda each: line is not None and each.block <= line.number)
        return found, {"known": reported.written()} | ({"line": list(astuple(line))} if line else {})

    async def look(self, addresses: Sequence[str] = (), span: Span = NOWHERE) -> View:
        """What the nodes agree on. Raises RailDown."""
        return await Sources([_Window(node, span) for node in self._nodes], apart=_APART).look(addresses)

    async def balances(self, addresses: Sequence[str]) -> list[int]:
        """What each holds now, in our smallest units: the least that a node says. Raises RailDown."""
        turn = asyncio.Semaphore(_AT_ONCE)

        async def held(address: str) -> int:
            async with turn:
                return min(await self._answers([node.balance(address) for node in self._nodes]))

        return [self.token.amount(units) for units in await asyncio.gather(*map(held, addresses))]

    async def close(self) -> None:
        for node in self._nodes:
            await node.close()

    async def _before(self, since_ms: int) -> Block:
        """A settled block from before that time, when no address of those had been given out."""
        asked = [node.before(since_ms - _CLOCKS_APART_MS, self._buried) for node in self._nodes]
        return min(await self._answers(asked), key=lambda block: block.number)

    async def _settled(self, before: Block, number: int) -> Block:
        """How far the chain need not be read again: that block, if the nodes agree on it, else as far as before."""
        if number <= before.number:
            return before
        blocks = set(await self._answers([node.block(number) for node in self._nodes]))
        there = blocks.pop()
        return before if blocks or there is None else there

    async def _answers(self, asked: Sequence[Awaitable[Answer]]) -> list[Answer]:
        """Of the nodes that answer. Raises RailDown where they are too few."""
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        wrong = [each for each in outcomes if isinstance(each, BaseException)]
        for each in wrong:
            if not isinstance(each, RailDown):
                raise each
        if len(outcomes) - len(wrong) < min(QUORUM, len(self._nodes)):
            raise RailDown("; ".join(str(each) for each in wrong))
        return [each for each in outcomes if not isinstance(each, BaseException)]

    async def _tell_strays(self, addresses: Sequence[str], span: Span) -> None:
        """Tell the operator what reached an address and is credited to nobody; where no node says it, no harm is done:
        it is the operator's all the same.
        """
        try:
            found = await self._nodes[0].strays(addresses, span)
        except RailDown as error:
            _log.warning("not looked for other tokens: %s", error)
            return
        told = "%s: %s got %d units of another token, credited to nobody: contract %s, log %s"
        for each in found:
            if each.id not in self._told:
                _log.warning(told, self.token.chain, each.payee, each.units, each.contract, each.id)
        self._told = {each.id for each in found}


class EvmRail:
    """The rail on all its chains."""

    receivable: int | None = None
    pace_s = PACE_S

    def __init__(self, addresses: EvmAddresses, chains: Sequence[EvmChain]) -> None:
        self.addresses = addresses
        self.chains = chains
        self._heard = False  # whether the last look at every chain succeeded

    @property
    def first(self) -> str:
        """Its first address."""
        return self.addresses.at(0)

    async def make(self, request: PayableRequest) -> Payable:
        if not self._heard:  # who pays wants to be seen, on whichever chain
            await asyncio.gather(*(chain.look() for chain in self.chains))
        address = self.addresses.at(request.number)
        return Payable(address, address.lower())

    async def receipts(self, cursor: str, watched: Sequence[Watched]) -> tuple[Sequence[Receipt], str]:
        before: Mapping[str, _Written] = orjson.loads(cursor) if cursor else {}
        names = [str(chain.token.chain_id) for chain in self.chains]
        asked = [chain.receipts(before.get(name, {}), watched) for name, chain in zip(names, self.chains, strict=True)]
        found, after, down = [], dict(before), []
        self._heard = False
        for name, outcome in zip(names, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            if isinstance(outcome, RailDown):
                down.append(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                found += outcome[0]
                after[name] = outcome[1]
        self._heard = bool(watched) and not down
        written = orjson.dumps(after).decode()
        if down and written in (cursor, "{}"):  # else what the others say is written down first
            raise RailDown("; ".join(str(each) for each in down))
        return found, written if after else cursor

    async def inspect(self) -> Inspection:
        views = await asyncio.gather(*(chain.look() for chain in self.chains))
        told = [
            f"{chain.token.chain}: {view.node}, block {view.height}"
            for chain, view in zip(self.chains, views, strict=True)
        ]
        advice = f"Its first address is {self.first}: compare it with the first one of the account in your wallet."
        network = ", ".join(chain.token.chain for chain in self.chains)
        return Inspection("; ".join(told), network, False, (advice,))

    async def close(self) -> None:
        for chain in self.chains:
            await chain.close()
