"""Looking up awaited invoices one by one: for nodes that list no payments in the order in which they came.

What a node says for ever of an invoice that nobody can pay any more is remembered, so that a day of expired ones is
not asked for again and again. An answer that makes no sense holds up no other invoice, and a slow node is asked on
where the last round broke off. This module must never pass over an invoice that may still be paid, nor one that was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, Literal, TypeAlias

from perquery.rails.rail import RailDown, RailSilent, Receipt, Watched

# "open": nothing received yet, or not known to the node; "over": it can never be paid.
Seen: TypeAlias = Receipt | Literal["open", "over"]
Look: TypeAlias = Callable[[str], Awaitable[Seen]]

AT_ONCE: Final = 8
ROUND_S: Final = 9.0  # with one answer more, less than a rail has for a round: so what was found is not lost


class Lookups:
    """What is over, for as long as it is watched; and when each was last asked for, counted in questions."""

    def __init__(self) -> None:
        self._over: set[str] = set()
        self._asked: dict[str, int] = {}
        self._questions = 0

    async def receipts(self, watched: Sequence[Watched], look: Look) -> list[Receipt]:
        """The receipts of what is watched. look: asks the node for one `rail_ref`.

        Raises RailDown where not all could be looked up, with what was found.
        """
        refs = {each.rail_ref: None for each in watched}
        self._over &= refs.keys()
        self._asked = {ref: self._asked.get(ref, 0) for ref in refs}
        due = sorted((ref for ref in refs if ref not in self._over), key=self._asked.__getitem__)
        left, found, wrong = iter(due), list[Receipt](), list[RailDown]()
        until_s = asyncio.get_running_loop().time() + ROUND_S
        await asyncio.gather(*(self._some(left, look, found, wrong, until_s) for _ in range(AT_ONCE)))
        if wrong:
            raise RailDown(str(wrong[0]), found) from wrong[0]
        if (unasked := len(list(left))) > 0:
            raise RailDown(f"{unasked} of {len(due)} invoices could not be looked up within {ROUND_S:g} s", found)
        return found

    async def _some(
        self, left: Iterator[str], look: Look, found: list[Receipt], wrong: list[RailDown], until_s: float
    ) -> None:
        """One of those who ask at once, until nothing is left, the time is over, or the node is silent."""
        for ref in left:
            self._questions += 1
            self._asked[ref] = self._questions
            try:
                seen = await look(ref)
            except RailDown as error:
                wrong.append(error)
                if isinstance(error, RailSilent):
                    return
            else:
                if isinstance(seen, Receipt):
                    found.append(seen)
                elif seen == "over":
                    self._over.add(ref)
            if asyncio.get_running_loop().time() >= until_s:
                return
