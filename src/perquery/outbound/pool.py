"""The connections of one origin: who is idle, who is busy, who waits for a turn.

This module must never open a connection or know what is sent on one. It keeps this true: busy + opening never
exceeds the limit, and a new connection is opened only when none is idle, so neither does the sum with the idle.
"""

from __future__ import annotations

import asyncio
from collections import deque

from perquery.outbound.connection import Connection


class OriginPool:
    """A pool that connections hand themselves back to. limit: connections at once; idle_s: longest stay."""

    def __init__(self, limit: int, idle_s: float) -> None:
        self.idle_s = idle_s
        self._limit = limit
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    @property
    def full(self) -> bool:
        return len(self._busy) + self._opening >= self._limit

    def take(self) -> Connection | None:
        """An idle connection, the last used first (the least likely to be stale), now busy; None if there is none."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                self._busy.add(connection)
                return connection
            connection.close()
        return None

    async def turn(self) -> None:
        """Wait until the pool is not full, first come first served. No turn is lost if the wait is cancelled."""
        while self.full and not self._closed:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._next()
                raise

    def opens(self) -> None:
        """A connection is about to be opened: it counts from now on."""
        self._opening += 1

    def opened(self, connection: Connection | None) -> None:
        """What became of it; None: nothing."""
        self._opening -= 1
        if connection is not None and self._closed:
            connection.close()
        if connection is not None and connection.usable:
            self._busy.add(connection)
        else:
            self._next()

    def drop_idle(self) -> None:
        """One was found stale: the others have idled for longer still."""
        while self._idle:
            self._idle.pop().close()

    def kept(self, connection: Connection) -> None:
        self._busy.discard(connection)
        if self._closed:
            connection.close()
            return
        self._idle.append(connection)
        self._next()

    def lost(self, connection: Connection) -> None:
        if connection in self._busy:
            self._busy.discard(connection)
            self._next()
        elif connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close every connection, the busy ones too; their readers get OutboundError("broken")."""
        self._closed = True
        for connection in [*self._idle, *self._busy]:
            connection.close()
        while self._waiting:
            self._next()

    def _next(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
