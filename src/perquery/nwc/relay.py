"""One relay: a socket that is opened when somebody asks something, and opened anew for as long as somebody waits.

It speaks Nostr's few messages (NIP-01) and believes nothing: what comes is handed on as it is. An event goes out
only once the subscription for its answer stands. This module must never read an event.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from perquery.outbound import Client, OutboundError, WebSocket

STANDS_S: Final = 2.0  # a relay that does not say that a subscription stands is taken to have it by then
_PAUSE_S: Final = 0.1
_PAUSE_MOST_S: Final = 10.0
_SAID_CHARS: Final = 120


@dataclass(eq=False, slots=True)
class Exchange:
    """One question to all relays. subscription: its name; wanted: the filter for what answers it; event: to be
    published, as JSON; heard: called with whatever comes, parsed; refused: called by a relay that will never do.
    sent: whether a relay may have the event.
    """

    subscription: str
    wanted: Mapping[str, Any]
    event: str | None
    heard: Callable[[Any], None]
    refused: Callable[[], None]
    sent: bool = field(default=False, init=False)


class Relay:
    """url: ws or wss; guard: it was given by a caller. trouble: what last went wrong here, "" for nothing."""

    def __init__(self, client: Client, url: str, *, guard: bool) -> None:
        self.trouble = ""
        self._client = client
        self._url = url
        self._guard = guard
        self._exchanges: dict[str, Exchange] = {}
        self._over: set[str] = set()  # published, or refused an ear, over the socket that is open now
        self._socket: WebSocket | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self, exchange: Exchange) -> None:
        """Ask, now and again after every reconnection, until `shut`."""
        self._exchanges[exchange.subscription] = exchange
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._serve())
        elif self._socket is not None:
            self._begin(exchange, self._socket)

    def shut(self, exchange: Exchange) -> None:
        if self._exchanges.pop(exchange.subscription, None) and self._socket is not None:
            self._socket.send(_message("CLOSE", exchange.subscription))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _serve(self) -> None:
        pause_s = _PAUSE_S
        while self._exchanges:
            try:
                self._socket = await self._client.websocket(self._url, guard=self._guard)
                self.trouble = ""
                for exchange in list(self._exchanges.values()):
                    self._begin(exchange, self._socket)
                while True:
                    self._heard(await self._socket.receive(), self._socket)
                    pause_s = _PAUSE_S
            except OutboundError as error:
                self.trouble = str(error)
                if error.kind == "refused":
                    self._give_up()
                    return
            finally:
                self._drop()
            await asyncio.sleep(random.uniform(pause_s / 2, pause_s))
            pause_s = min(2 * pause_s, _PAUSE_MOST_S)

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._over.clear()

    def _give_up(self) -> None:
        for exchange in list(self._exchanges.values()):
            exchange.refused()
        self._exchanges.clear()

    def _begin(self, exchange: Exchange, socket: WebSocket) -> None:
        socket.send(_message("REQ", exchange.subscription, exchange.wanted))
        if exchange.event is not None:
            asyncio.get_running_loop().call_later(STANDS_S, self._publish, exchange, socket)

    def _publish(self, exchange: Exchange, socket: WebSocket) -> None:
        name = exchange.subscription
        if exchange.event is None or socket is not self._socket or self._exchanges.get(name) is not exchange:
            return
        if name not in self._over:
            self._over.add(name)
            exchange.sent = True
            socket.send('["EVENT",' + exchange.event + "]")

    def _heard(self, text: str, socket: WebSocket) -> None:
        match _parsed(text):
            case ["EVENT", str(name), dict(event), *_] if name in self._exchanges:
                self._exchanges[name].heard(event)
            case ["EOSE", str(name), *_] if name in self._exchanges:
                self._publish(self._exchanges[name], socket)
            case ["OK", _, False, *words]:
                self.trouble = _said("the relay refuses the request", words)
            case ["CLOSED", str(name), *words] if name in self._exchanges:
                self._over.add(name)  # a payment whose answer could not be heard had better not begin
                self.trouble = _said("the relay refuses to listen for the answer", words)
            case _:
                pass  # an answer to nothing, a notice, a wish for authentication, or garbage


def _message(*parts: Any) -> str:
    return orjson.dumps(parts).decode()


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _said(what: str, words: list[Any]) -> str:
    said = words[0] if words and isinstance(words[0], str) else ""
    return f"{what}: {said[:_SAID_CHARS]}" if said else what
