"""A rail on a chain: an address for each invoice, and from what the chain says of them to receipts.

A payment counts with as many confirmations as the ladder asks for all that its address got. Once it is buried no more
is asked. This module must never hold a key, nor believe a source that has fallen behind what it said before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import orjson

from perquery.rails.rail import Inspection, Payable, PayableRequest, RailDown, Receipt, Watched
from perquery.rails.reported import Output, Reported

Steps: TypeAlias = Sequence[tuple[int, int]]  # from so many smallest units on, so many confirmations; ascending


@dataclass(frozen=True, slots=True)
class View:
    """What is known of some addresses at one moment: all that was ever paid to them and is in the pool or in a block.

    height: of the newest block; node: what stands behind, for people.
    """

    height: int
    outputs: Sequence[Output]
    node: str = ""


class Chain(Protocol):
    """Who knows the chain. Raises RailDown where it is not known for sure."""

    async def look(self, addresses: Sequence[str]) -> View: ...

    async def close(self) -> None: ...


class ChainRail:
    """The rail. address: makes the address of a number; buried: confirmations after which a payment stays; clock:
    milliseconds; numbered: whether a number has one address for ever, so that it may be asked for to be compared.
    """

    receivable: int | None = None

    def __init__(
        self,
        chain: Chain,
        address: Callable[[int], Awaitable[str]],
        steps: Steps,
        buried: int,
        clock: Callable[[], int],
        pace_s: float,
        network: str,
        *,
        numbered: bool = True,
    ) -> None:
        self._chain = chain
        self._address = address
        self._steps = steps
        self._buried = buried
        self._clock = clock
        self.pace_s = pace_s
        self._network = network
        self._numbered = numbered
        self._heard = False  # whether the last look at the chain succeeded

    async def make(self, request: PayableRequest) -> Payable:
        if not self._heard:  # who pays wants to be seen
            await self._chain.look(())
        address = await self._address(request.number)
        return Payable(address, address)

    async def receipts(self, cursor: str, watched: Sequence[Watched]) -> tuple[Sequence[Receipt], str]:
        seen, known = _read(cursor)
        reported = Reported(known, self._buried, self._clock)
        awaited = {each.rail_ref for each in watched}
        unsettled = {each.address for each in reported.known.values() if each.unsettled}
        self._heard = False
        view = await self._chain.look(sorted(awaited | unsettled))
        self._heard = True
        if view.height < seen:
            raise RailDown(f"the chain ends at {view.height}, and did at {seen} before: the node has fallen behind")
        needed = self._needed(view.outputs)
        found = reported.receipts(view.outputs, lambda output: needed[output.id], view.height)
        reported.forget(lambda each: each.address not in awaited)
        return found, orjson.dumps({"tip": view.height, "known": reported.written()}).decode()

    async def inspect(self) -> Inspection:
        view = await self._chain.look(())
        advice = []
        if self._numbered:
            first = await self._address(0)
            advice.append(f"Its first address is {first}: compare it with the first receiving address in your wallet.")
        return Inspection(f"{view.node}, block {view.height}", self._network, False, tuple(advice))

    async def close(self) -> None:
        await self._chain.close()

    def _needed(self, outputs: Sequence[Output]) -> dict[str, int]:
        """The confirmations that each output needs: by all that its address got, and all that its transaction pays,
        so that nobody needs fewer by paying in parts.
        """
        totals: dict[str, int] = {}
        for output in outputs:
            for whole in (output.address, _transaction(output.id)):
                totals[whole] = totals.get(whole, 0) + output.amount
        return {
            output.id: self.confirmations(max(totals[output.address], totals[_transaction(output.id)]))
            for output in outputs
        }

    def confirmations(self, amount: int) -> int:
        """How many an amount needs."""
        return max(count for least, count in self._steps if amount >= least)


def _transaction(output_id: str) -> str:
    return output_id.rpartition(":")[0]


def _read(cursor: str) -> tuple[int, Mapping[str, Sequence[Any]]]:
    """Where the chain ended, and what was known."""
    if not cursor:
        return 0, {}
    written = orjson.loads(cursor)
    return written["tip"], written["known"]
