"""A relay that can misbehave: it verifies nothing, passes on everything, and does what its switches say."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

WALLET = "requests"  # the subscription that tells a wallet's line from its callers'


@dataclass(eq=False)
class _Line:
    socket: ServerConnection
    filters: dict[str, dict[str, Any]] = field(default_factory=dict)


class LooseRelay:
    """quiet: never says that a subscription stands. refuses: what it says to every event of a caller instead of
    passing it on. closes: what it says to every subscription of a caller, but for those that ask by `serves`. noise:
    sent before everything else. stale: it takes no newer info event for the one that it has.
    log: the types of what callers sent, in order. subscribed: set when a caller's subscription has come.
    informed: set when an info event has come.
    """

    def __init__(self) -> None:
        self.url = ""
        self.quiet = False
        self.refuses = ""
        self.closes = ""
        self.serves = ""
        self.noise: list[str] = []
        self.stale = False
        self.log: list[str] = []
        self.wanted: list[dict[str, Any]] = []
        self.accepted = 0
        self.subscribed = asyncio.Event()
        self.informed = asyncio.Event()
        self._lines: list[_Line] = []
        self._info: list[dict[str, Any]] = []

    def drop(self) -> None:
        """Cut the callers off, without a word."""
        for line in self._lines:
            if WALLET not in line.filters:
                line.socket.transport.abort()

    async def accept(self, socket: ServerConnection) -> None:
        self.accepted += 1
        line = _Line(socket)
        self._lines.append(line)
        try:
            for noise in self.noise:
                await socket.send(noise)
            async for text in socket:
                await self._heard(line, json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            self._lines.remove(line)

    async def _heard(self, line: _Line, message: list[Any]) -> None:
        caller = WALLET not in line.filters and message[1] != WALLET
        if caller:
            self.log.append(message[0])
        if message[0] == "REQ":
            await self._asked(line, message[1], message[2], caller)
        elif message[0] == "CLOSE":
            line.filters.pop(message[1], None)
        elif caller and self.refuses:
            await line.socket.send(json.dumps(["OK", message[1]["id"], False, self.refuses]))
        else:
            await line.socket.send(json.dumps(["OK", message[1]["id"], True, ""]))
            await self._pass_on(message[1])

    async def _asked(self, line: _Line, name: str, wanted: dict[str, Any], caller: bool) -> None:
        if caller and self.closes and not (self.serves and self.serves in wanted):
            await line.socket.send(json.dumps(["CLOSED", name, self.closes]))
            return
        line.filters[name] = wanted
        for event in self._info:
            if _matches(event, wanted):
                await line.socket.send(json.dumps(["EVENT", name, event]))
        if not caller or not self.quiet:
            await line.socket.send(json.dumps(["EOSE", name]))
        if caller:
            self.wanted.append(wanted)
            self.subscribed.set()

    async def _pass_on(self, event: dict[str, Any]) -> None:
        if event["kind"] == 13194:
            self._info = self._info if self.stale and self._info else [event]
            self.informed.set()
        for line in list(self._lines):
            for name, wanted in list(line.filters.items()):
                if _matches(event, wanted):
                    with contextlib.suppress(ConnectionClosed):  # of whom it is passed on to, not of who sent it
                        await line.socket.send(json.dumps(["EVENT", name, event]))


def _matches(event: dict[str, Any], wanted: dict[str, Any]) -> bool:
    tagged = {f"#{tag[0]}": tag[1] for tag in event["tags"]}
    return (
        event["kind"] in wanted.get("kinds", [event["kind"]])
        and event["pubkey"] in wanted.get("authors", [event["pubkey"]])
        and all(tagged.get(name) in values for name, values in wanted.items() if name.startswith("#"))
        and event["created_at"] >= wanted.get("since", 0)
    )


@asynccontextmanager
async def loose_relay() -> AsyncIterator[LooseRelay]:
    relay = LooseRelay()
    async with serve(relay.accept, "127.0.0.1", 0, compression=None) as server:
        relay.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield relay
