"""An upstream that costs next to nothing, in OpenAI's and in Anthropic's shape: raw asyncio, httptools, uvloop.

It answers every POST in the shape of its path; it must never check, count or log anything, so that its own cost
stays out of the figures. Run by `python -m bench.upstream`; prints its port on the first line, ends with its
standard input.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from typing import cast

import httptools
import uvloop

from bench import bodies, messages

Replies = tuple[bytes, tuple[bytes, ...]]  # the plain answer, the events of a stream
_STREAM_MARKS = (b'"stream":true', b'"stream": true')


class Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time."""

    def __init__(self, chat: Replies, in_messages: Replies) -> None:
        self._chat = chat
        self._in_messages = in_messages
        self._plain, self._events = chat
        self._body = bytearray()
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's; it sets TCP_NODELAY itself.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            if self._transport:
                self._transport.close()

    def on_url(self, url: bytes) -> None:
        self._plain, self._events = self._in_messages if url.endswith(b"/messages") else self._chat

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, bytearray()
        if self._transport is None:
            return
        if not any(mark in body for mark in _STREAM_MARKS):
            self._transport.write(self._plain)
            return
        self._transport.write(bodies.STREAM_HEAD)
        if bodies.GAP_MARK in body:
            self._stamped(0, time.monotonic())
        else:
            self._next(iter(self._events))

    def _next(self, events: Iterator[bytes]) -> None:
        """One event a turn of the loop: uvloop joins all writes of one turn into one segment."""
        event = next(events, None)
        if event is not None and self._transport is not None:
            self._transport.write(event)
            self._loop.call_soon(self._next, events)

    def _stamped(self, sent: int, started: float) -> None:
        """The paced stream: CHUNKS stamped events, then the ordinary end."""
        if self._transport is None:
            return
        if sent == bodies.CHUNKS:
            self._next(iter(self._events[bodies.CHUNKS :]))
            return
        self._transport.write(bodies.stamped_event(time.monotonic_ns()))
        due = started + (sent + 1) * bodies.GAP_MS / 1_000
        self._loop.call_later(max(0.0, due - time.monotonic()), self._stamped, sent + 1, started)


async def serve() -> None:
    """Serves on a free loopback port until standard input ends: whoever started it is then gone."""
    loop = asyncio.get_running_loop()
    chat = bodies.plain_reply(), bodies.stream_events()
    in_messages = messages.plain_reply(), messages.stream_events()
    server = await loop.create_server(lambda: Connection(chat, in_messages), "127.0.0.1", 0, backlog=1_024)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 64):
            ended.set()

    loop.add_reader(sys.stdin.fileno(), read)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(serve())
