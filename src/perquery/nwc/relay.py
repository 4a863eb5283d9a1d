"""One relay: a socket that is opened when somebody asks something, and opened anew for as long as somebody waits.

It speaks Nostr's few messages (NIP-01) and believes nothing: what comes is handed on as it is. An event goes out
only once the subscription for its answer stands. This module must never read an event.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from perquery.nwc import wire
from perquery.outbound import Client, OutboundError, WebSocket

STANDS_S: Final = 2.0  # a relay that does not say that a subscription stands is taken to have it by then
_PAUSE_S: Final = 0.1
_PAUSE_MOST_S: Final = 10.0
_SAID_CHARS: Final = 120


@dataclass(eq=False, slots=True)
class Exchange:
    """One question to all relays. name: what its subscriptions begin with; wanted: filters for what answers it, each
    a subscription of its own, for a relay may refuse one; event: to be published, as JSON; heard: called with
    whatever comes, parsed; refused: called by a relay that will never do; said: called with the address of a relay
    that has sent all it keeps, or cannot be reached. sent: whether a relay may have the event.
    """

    name: str
    wanted: Sequence[Mapping[str, Any]]
    event: str | None
    heard: Callable[[Any], None]
    refused: Callable[[], None]
    said: Callable[[str], None] = lambda _: None
    sent: bool = field(default=False, init=False)


class Relay:
    """url: ws or wss; guard: it was given by a caller. trouble: what last went wrong here, "" for nothing."""

    def __init__(self, client: Client, url: str, *, guard: bool) -> None:
        self.trouble = ""
        self._client = client
        self._url = url
        self._guard = guard
        self._exchanges: dict[str, Exchange] = {}
        # Over the socket that is open now: subscriptions of which nothing was said yet; exchanges that have one that
        # stands; exchanges that are published, or have none.
        self._unsaid: set[str] = set()
        self._standing: set[str] = set()
        self._over: set[str] = set()
        self._socket: WebSocket | None = None
        self._task: asyncio.Task[None] | None = None

    def open(self, exchange: Exchange) -> None:
        """Ask, now and again after every reconnection, until `shut`."""
        self._exchanges[exchange.name] = exchange
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._serve())
        elif self._socket is not None:
            self._begin(exchange, self._socket)

    def shut(self, exchange: Exchange) -> None:
        if self._exchanges.pop(exchange.name, None) and self._socket is not None:
            for name in _subscriptions(exchange):
                self._socket.send(_message("CLOSE", name))
            self._unsaid.difference_update(_subscriptions(exchange))
            self._standing.discard(exchange.name)
            self._over.discard(exchange.name)

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
                for exchange in list(self._exchanges.values()):
                    exchange.said(self._url)
            finally:
                self._drop()
            await asyncio.sleep(random.uniform(pause_s / 2, pause_s))
            pause_s = min(2 * pause_s, _PAUSE_MOST_S)

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        for names in (self._unsaid, self._standing, self._over):
            names.clear()

    def _give_up(self) -> None:
        for exchange in list(self._exchanges.values()):
            exchange.refused()
            exchange.said(self._url)
        self._exchanges.clear()

    def _begin(self, exchange: Exchange, socket: WebSocket) -> None:
        for name, wanted in zip(_subscriptions(exchange), exchange.wanted, strict=True):
            self._unsaid.add(name)
            socket.send(_message("REQ", name, wanted))
        if exchange.event is not None:
            asyncio.get_running_loop().call_later(STANDS_S, self._publish, exchange, socket)

    def _publish(self, exchange: Exchange, socket: WebSocket) -> None:
        name = exchange.name
        if exchange.event is None or socket is not self._socket or self._exchanges.get(name) is not exchange:
            return
        if name not in self._over:
            self._over.add(name)
            exchange.sent = True
            socket.send('["EVENT",' + exchange.event + "]")

    def _heard(self, text: str, socket: WebSocket) -> None:
        match _parsed(text):
            case ["EVENT", str(name), dict(event), *_] if exchange := self._of(name):
                exchange.heard(event)
            case ["EOSE", str(name), *_] if exchange := self._of(name):
                self._standing.add(exchange.name)
                self._said(name, exchange, socket)
            case ["OK", _, False, *words]:
                self.trouble = _quoted("the relay refuses the request", words)
            case ["CLOSED", str(name), *words] if exchange := self._of(name):
                if exchange.name not in self._standing:
                    self.trouble = _quoted("the relay refuses to listen for the answer", words)
                self._said(name, exchange, socket)
            case _:
                pass  # an answer to nothing, a notice, a wish for authentication, or garbage

    def _of(self, subscription: str) -> Exchange | None:
        return self._exchanges.get(subscription.partition(":")[0])

    def _said(self, subscription: str, exchange: Exchange, socket: WebSocket) -> None:
        """A subscription stands or is refused; once that is known of all, publish where one stands."""
        self._unsaid.discard(subscription)
        if self._unsaid.intersection(_subscriptions(exchange)):
            return
        exchange.said(self._url)
        if exchange.name in self._standing:
            self.trouble = ""
            self._publish(exchange, socket)
        else:
            self._over.add(exchange.name)  # a payment whose answer could not be heard had better not begin


def _subscriptions(exchange: Exchange) -> list[str]:
    return [f"{exchange.name}:{number}" for number in range(len(exchange.wanted))]


def _message(*parts: Any) -> str:
    return orjson.dumps(parts).decode()


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _quoted(what: str, words: list[Any]) -> str:
    said = words[0] if words and isinstance(words[0], str) else ""
    return f"{what}: {wire.printable(said, _SAID_CHARS)}" if said else what
