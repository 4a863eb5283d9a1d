"""A rail on a chain: an address for each invoice, and from what the chain says of them to receipts.

What was reported and may still change is remembered in the cursor, which is written down with the receipts: so what
vanished, or came back, is noticed across restarts too. A payment counts with as many confirmations as the ladder asks
for all that its address got; it is gone where no source has it in a block any more. Once it is buried no more is asked.
This module must never hold a key, nor believe a source that has fallen behind what it said before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

import orjson

from perquery.rails.rail import Inspection, Payable, PayableRequest, RailDown, Receipt, ReceiptState, Watched, again

Steps: TypeAlias = Sequence[tuple[int, int]]  # from so many smallest units on, so many confirmations; ascending
# Pending; counted; buried, for good; gone before it counted; gone after it had counted.
_State: TypeAlias = Literal["p", "c", "b", "g", "x"]
_TOLD: Final[Mapping[_State, ReceiptState]] = {
    "p": "pending",
    "c": "confirmed",
    "b": "confirmed",
    "g": "gone",
    "x": "gone",
}
_UNSETTLED: Final = frozenset({"p", "c"})


@dataclass(frozen=True, slots=True)
class Output:
    """A payment to an address. id: its place on the chain, TXID:INDEX; confirmations: by what all sources agree on,
    0 while it is in no block; mined: some source has it in a block; at_ms: when its block was made, None in no block.
    """

    id: str
    address: str
    amount: int
    confirmations: int
    mined: bool
    at_ms: int | None = None


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


@dataclass(slots=True)
class _Known:
    """What was reported of one output. again: how often it came back after it had counted and gone."""

    again: int
    address: str
    amount: int
    state: _State


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
        awaited = {each.rail_ref for each in watched}
        unsettled = {each.address for each in known.values() if each.state in _UNSETTLED}
        self._heard = False
        view = await self._chain.look(sorted(awaited | unsettled))
        self._heard = True
        if view.height < seen:
            raise RailDown(f"the chain ends at {view.height}, and did at {seen} before: the node has fallen behind")
        found = self._changes(view.outputs, known)
        for name, each in list(known.items()):
            if each.again == 0 and each.state in ("b", "g") and each.address not in awaited:
                del known[name]
        return found, _written(view.height, known)

    async def inspect(self) -> Inspection:
        view = await self._chain.look(())
        advice = []
        if self._numbered:
            first = await self._address(0)
            advice.append(f"Its first address is {first}: compare it with the first receiving address in your wallet.")
        return Inspection(f"{view.node}, block {view.height}", self._network, False, tuple(advice))

    async def close(self) -> None:
        await self._chain.close()

    def _changes(self, outputs: Sequence[Output], known: dict[str, _Known]) -> list[Receipt]:
        """What is to be reported; `known` is brought up to it."""
        needed = self._needed(outputs)
        found = []
        for output in outputs:
            each = known.get(output.id)
            if each is None:
                each = known[output.id] = _Known(0, output.address, output.amount, "g")
            after = self._after(each.state, output, needed[output.id])
            if after == each.state:
                continue
            each.again += each.state == "x"
            told = (each.state, after) != ("c", "b")  # which changes nothing for anybody
            each.state = after
            if told:
                found.append(self._receipt(output.id, each, output.at_ms))
        present = {output.id for output in outputs}
        for name, each in known.items():
            if each.state in _UNSETTLED and name not in present:
                each.state = "x" if each.state == "c" else "g"
                found.append(self._receipt(name, each, None))
        return found

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

    def _after(self, state: _State, output: Output, needed: int) -> _State:
        """The state of an output that is there."""
        if state == "b":
            return "b"
        if output.confirmations >= needed:
            return "b" if output.confirmations >= self._buried else "c"
        if state == "c":
            return "c" if output.mined else "x"
        return "p"

    def _receipt(self, name: str, each: _Known, mined_ms: int | None) -> Receipt:
        now = self._clock()
        at_ms = now if mined_ms is None else min(now, mined_ms)
        return Receipt(again(name, each.again), each.address, each.amount, _TOLD[each.state], at_ms)


def _transaction(output_id: str) -> str:
    return output_id.rpartition(":")[0]


def _read(cursor: str) -> tuple[int, dict[str, _Known]]:
    if not cursor:
        return 0, {}
    found = orjson.loads(cursor)
    return found["tip"], {name: _Known(*fields) for name, fields in found["known"].items()}


def _written(tip: int, known: Mapping[str, _Known]) -> str:
    fields = {name: (each.again, each.address, each.amount, each.state) for name, each in sorted(known.items())}
    return orjson.dumps({"tip": tip, "known": fields}).decode()
