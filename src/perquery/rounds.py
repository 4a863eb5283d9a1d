"""What the rounds of an event loop leave for their ends: writes that are made together.

A write wakes whoever reads the socket. Spread over a round, each wakes a reader that has gone to sleep again since the
one before, which costs more than the write itself; one behind the other they find it awake. So requests and whole
answers wait for the end of their round. Must never be given what is read piece by piece, for that is to leave at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Round:
    """One event loop's. What is left for the end happens before any task or callback that is begun later."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._left: list[Callable[[], None]] = []

    def at_end(self, act: Callable[[], None]) -> None:
        if not self._left:
            self._loop.call_soon(self.end)
        self._left.append(act)

    def end(self) -> None:
        """All that is left, now: also for whoever is about to close or write where something may wait."""
        left, self._left = self._left[::-1], []
        try:
            while left:
                left.pop()()
        finally:
            for act in reversed(left):  # behind one that failed: they are other people's
                self.at_end(act)
