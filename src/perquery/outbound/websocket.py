"""A WebSocket (RFC 6455) as a client: text messages in both directions, over a connection of the dialler.

The framing is the package websockets', which does no I/O of its own here; this module owns the transport, bounds
what the other side may send, and asks every while whether it is still there. It must never compress, follow a
redirect or reconnect.
"""

from __future__ import annotations

import asyncio
from typing import Final

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.uri import WebSocketURI

from perquery.outbound.errors import Kind
from perquery.outbound.inbox import Inbox
from perquery.outbound.target import Target, check_given, parse, refuse

MESSAGE_BYTES_MAX: Final = 256 * 1024
BEAT_S: Final = 25.0  # how long the other side may be silent before it is asked, and then until it is given up


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


class WebSocket(Inbox[str]):
    """One connection, used once. Await `opened`, then `send` and `receive` until OutboundError."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        path, _, query = target.path.partition("?")
        uri = WebSocketURI(target.tls, target.host, target.port, path, query)
        self._frames = ClientProtocol(uri, max_size=MESSAGE_BYTES_MAX)
        self._open = False
        self._parts: list[bytes] = []
        self._silent = False
        self._beat: asyncio.TimerHandle | None = None

    async def opened(self) -> None:
        """Wait until the other side has agreed. Raises OutboundError."""
        while not self._open:
            await self._wait()

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
        super().close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
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

    def _take(self) -> None:
        """What has come: the answer to the handshake, then frames; and what they call for."""
        for event in self._frames.events_received():
            if isinstance(event, Frame):
                self._frame(event)
            elif self._frames.handshake_exc is None:
                self._open = self._sent = True
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
        self._deliver(whole.decode("utf-8", "replace"))

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

    def _end(self, kind: Kind, message: str) -> None:
        if self._beat is not None:
            self._beat.cancel()
        super()._end(kind, message)
