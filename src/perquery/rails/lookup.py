"""Looking up awaited invoices one by one: for nodes that list no payments in the order in which they came.

What a node says for ever of an invoice that nobody can pay any more is remembered, so that a day of expired ones is
not asked for again and again. This module must never pass over an invoice that may still be paid, nor one that was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeAlias

from perquery.rails.rail import Receipt, Watched

# "open": nothing received yet, or not known to the node; "over": it can never be paid.
Seen: TypeAlias = Receipt | Literal["open", "over"]


class Lookups:
    """What is over, for as long as it is watched."""

    def __init__(self) -> None:
        self._over: set[str] = set()

    async def receipts(self, watched: Sequence[Watched], look: Callable[[str], Awaitable[Seen]]) -> list[Receipt]:
        """The receipts of what is watched. look: asks the node for one `rail_ref`; what it raises is raised."""
        self._over &= {each.rail_ref for each in watched}
        found = []
        for each in watched:
            if each.rail_ref in self._over:
                continue
            seen = await look(each.rail_ref)
            if isinstance(seen, Receipt):
                found.append(seen)
            elif seen == "over":
                self._over.add(each.rail_ref)
        return found
