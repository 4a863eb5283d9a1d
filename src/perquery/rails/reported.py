"""What was told of payments on a chain and may still change, so that what vanished, or came back, is noticed.

It is written down with the receipts and read again after a restart. A payment counts with as many confirmations as it
needs; it is gone where no source has it in a block any more, and named anew where it comes back after it had counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from perquery.rails.rail import Receipt, ReceiptState, again

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
    0 while it is in no block; mined: some source has it in a block; at_ms: when its block was made, None in no block;
    block: its number, where a payment is to be asked for by it.
    """

    id: str
    address: str
    amount: int
    confirmations: int
    mined: bool
    at_ms: int | None = None
    block: int = 0


@dataclass(slots=True)
class Known:
    """What was reported of one output. again: how often it came back after it had counted and gone."""

    again: int
    address: str
    amount: int
    state: _State
    block: int = 0

    @property
    def unsettled(self) -> bool:
        return self.state in _UNSETTLED

    @property
    def over(self) -> bool:
        """Nothing is lost by forgetting it, unless it is found once more."""
        return self.again == 0 and self.state in ("b", "g")


class Reported:
    """written: as `written` gave it; buried: confirmations after which a payment stays; clock: milliseconds."""

    def __init__(self, written: Mapping[str, Sequence[Any]], buried: int, clock: Callable[[], int]) -> None:
        self.known = {name: Known(*fields) for name, fields in written.items()}
        self._buried = buried
        self._clock = clock

    def written(self) -> dict[str, tuple[Any, ...]]:
        return {
            name: (each.again, each.address, each.amount, each.state, each.block)
            for name, each in sorted(self.known.items())
        }

    def receipts(self, outputs: Sequence[Output], needed: Callable[[Output], int], height: int) -> list[Receipt]:
        """What is to be reported, of all outputs that are there in the blocks up to that height. needed: the
        confirmations with which one counts.
        """
        found = []
        for output in outputs:
            each = self.known.get(output.id)
            if each is None:
                each = self.known[output.id] = Known(0, output.address, output.amount, "g")
            each.block = output.block
            after = self._after(each.state, output, needed(output))
            if after == each.state:
                continue
            each.again += each.state == "x"
            told = (each.state, after) != ("c", "b")  # which changes nothing for anybody
            each.state = after
            if told:
                found.append(self._receipt(output.id, each, output.at_ms))
        present = {output.id for output in outputs}
        for name, each in self.known.items():
            if each.unsettled and name not in present and each.block <= height:
                each.state = "x" if each.state == "c" else "g"
                found.append(self._receipt(name, each, None))
        return found

    def forget(self, over: Callable[[Known], bool]) -> None:
        """Let go of what is over."""
        self.known = {name: each for name, each in self.known.items() if not (each.over and over(each))}

    def _after(self, state: _State, output: Output, needed: int) -> _State:
        """The state of an output that is there."""
        if state == "b":
            return "b"
        if output.confirmations >= needed:
            return "b" if output.confirmations >= self._buried else "c"
        if state == "c":
            return "c" if output.mined else "x"
        return "p"

    def _receipt(self, name: str, each: Known, mined_ms: int | None) -> Receipt:
        now = self._clock()
        at_ms = now if mined_ms is None else min(now, mined_ms)
        return Receipt(again(name, each.again), each.address, each.amount, _TOLD[each.state], at_ms)
