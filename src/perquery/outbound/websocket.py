"""A WebSocket (RFC 6455) as a client: text messages in both directions, over a connection of the dialler.

The framing is the package websockets', which does no I/O of its own here; this module owns the transport, bounds
what the other side may send, and asks every while whether it is still there. It must never compress, follow a
redirect or reconnect.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.uri import WebSocketURI

from perquery.outbound.errors import Kind, OutboundError
from perquery.outbound.target import Target, check_given, parse, refuse

MESSAGE_BYTES_MAX: Final = 256 * 1024
BEAT_S: Final = 25.0  # how long the other side may be silent before it is asked, and then until it is given up
_HELD_MAX: Final = 1024 * 1024  # undelivered bytes above which nothing more is read
_MESSAGE_COST: Final = 64  # what a message costs beside its bytes


def websocket_target(url: str, *, guard: bool) -> Target:
    """Where a ws or wss URL leads; guard: a caller gave it, so wss only. Raises OutboundError("refused")."""
    scheme, mark, rest = url.partition("://")
    if scheme.lower() not in ("ws", "wss") or not mark:
        raise refuse("the scheme must be wss")
    if guard and scheme.lower() != "wss":
        raise refuse("the scheme must be wss, not ws")
    target = parse(("https" if scheme.lower() == "wss" else "http") + mark + rest)
    if guard:
        check_given(target)
    return target


class WebSocket(asyncio.Protocol):
    """One connection, used once. Await `opened`, then `send` and `receive` until OutboundError."""

    def __init__(self, target: Target) -> None:
        path, _, query = target.path.partition("?")
        uri = WebSocketURI(target.tls, target.host, target.port, path, query)
        self._frames = ClientProtocol(uri, max_size=MESSAGE_BYTES_MAX)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._open = False
        self._error: OutboundError | None = None
        self._parts: list[bytes] = []
        self._messages: deque[str] = deque()
        self._held = 0
        self._waiter: asyncio.Future[None] | None = None
        self._silent = False
        self._beat: asyncio.TimerHandle | None = None

    async def opened(self) -> None:
        """Wait until the other side has agreed. Raises OutboundError."""
        while not self._open:
            await self._wait()

    async def receive(self) -> str:
        """The next text message; after the last one OutboundError. For one task at a time."""
        while not self._messages:
            await self._wait()
        text = self._messages.popleft()
        self._held -= len(text) + _MESSAGE_COST
        if self._transport is not None and self._held <= _HELD_MAX and not self._transport.is_reading():
            self._transport.resume_reading()
        return text

    def send(self, text: str) -> None:
        """Hand a text message to the network; where the connection has ended, nothing: `receive` says so."""
        if self._error is None:
            self._frames.send_text(text.encode())
            self._flush()

    def close(self) -> None:
        """Say good-bye and close; closing twice does no harm."""
        if self._open and self._error is None:
            self._frames.send_close()
            self._flush()
        self._end("broken", "closed here")
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._frames.send_request(self._frames.connect())
        self._flush()
        self._beat = self._loop.call_later(BEAT_S, self._ask)

    def data_received(self, data: bytes) -> None:
        self._silent = False
        if self._error is None:
            self._frames.receive_data(data)
            self._take()

    def eof_received(self) -> None:
        if self._error is None:
            self._frames.receive_eof()
            self._take()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("broken", "the connection was lost" if exc else "the other side closed the connection")

    def _take(self) -> None:
        """What has come: the answer to the handshake, then frames; and what they call for."""
        for event in self._frames.events_received():
            if isinstance(event, Frame):
                self._frame(event)
            elif self._frames.handshake_exc is None:
                self._open = True
        self._flush()
        wrong = self._frames.handshake_exc
        if wrong is not None:
            self._fail(
                "protocol", "no WebSocket: " + (str(wrong) if isinstance(wrong, InvalidHandshake) else "no HTTP")
            )
        elif self._frames.close_expected():
            self._fail("broken", "the other side ended the WebSocket")
        self._wake()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.CONT):  # the package itself answers pings; nobody sends us bytes
            return
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return
        whole, self._parts = b"".join(self._parts), []
        text = whole.decode("utf-8", "replace")
        self._messages.append(text)
        self._held += len(text) + _MESSAGE_COST
        if self._held > _HELD_MAX and self._transport is not None:
            self._transport.pause_reading()

    def _ask(self) -> None:
        """One beat: a ping; silence since the last one is the end."""
        if self._silent or not self._open:
            self._fail("idle", f"nothing was heard for {BEAT_S:g} s")
            return
        self._silent = True
        self._frames.send_ping(b"")
        self._flush()
        self._beat = self._loop.call_later(BEAT_S, self._ask)

    def _flush(self) -> None:
        data = b"".join(self._frames.data_to_send())
        if data and self._transport is not None:
            self._transport.write(data)

    def _fail(self, kind: Kind, message: str) -> None:
        self._end(kind, message)
        if self._transport is not None:
            self._transport.abort()

    def _end(self, kind: Kind, message: str) -> None:
        if self._error is None:
            self._error = OutboundError(kind, message, sent=self._open)
        if self._beat is not None:
            self._beat.cancel()
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
