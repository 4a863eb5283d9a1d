"""What a connection with messages has in common, whatever frames them: a reader that waits, a bound on what waits for
it, and one end. It must never know what a message is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Generic, TypeVar, cast

from perquery.outbound.errors import Kind, OutboundError

_HELD_MAX: Final = 1024 * 1024  # undelivered bytes above which nothing more is read
_MESSAGE_COST: Final = 64  # what a message costs beside its bytes

Message = TypeVar("Message", str, bytes)


class Inbox(asyncio.Protocol, Generic[Message]):
    """One connection, used once: `receive` until OutboundError. sent: what an error says of it, set by who sends."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._error: OutboundError | None = None
        self._messages: deque[Message] = deque()
        self._held = 0
        self._waiter: asyncio.Future[None] | None = None
        self._sent = False

    async def receive(self) -> Message:
        """The next message; after the last one OutboundError. For one task at a time."""
        while not self._messages:
            await self._wait()
        message = self._messages.popleft()
        self._held -= len(message) + _MESSAGE_COST
        if self._transport is not None and self._held <= _HELD_MAX and not self._transport.is_reading():
            self._transport.resume_reading()
        return message

    def close(self) -> None:
        """Closing twice does no harm."""
        self._end("broken", "closed here")
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("broken", "the connection was lost" if exc else "the other side closed the connection")

    def _deliver(self, message: Message) -> None:
        self._messages.append(message)
        self._held += len(message) + _MESSAGE_COST
        if self._held > _HELD_MAX and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def _fail(self, kind: Kind, message: str) -> None:
        self._end(kind, message)
        if self._transport is not None:
            self._transport.abort()

    def _end(self, kind: Kind, message: str) -> None:
        if self._error is None:
            self._error = OutboundError(kind, message, sent=self._sent)
        self._wake()

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
