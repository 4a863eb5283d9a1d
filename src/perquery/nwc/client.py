"""A wallet's answers over one connection: asked on all of its relays at once, the first authentic answer counts.

Publishing the same event again is harmless (wallets know a request by its id), a new event may pay again: whoever
asks for a payment stores what `sign` returned and sends that, however often. An answer says what the wallet thinks;
whether an invoice is paid, its payee knows. This module must never sign on its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from nostr_sdk import Keys

from perquery.nwc import wire
from perquery.nwc.relay import Exchange, Relay
from perquery.nwc.uri import Connection
from perquery.nwc.wire import Info, NoAnswer
from perquery.outbound import Client

_EARLIER_S: Final = 600  # clocks differ
_HINTS_MAX: Final = 100  # notifications that nobody has taken yet

Found = TypeVar("Found")


class NwcClient:
    """Over one connection. client: whose dialler opens the sockets, within its time for a connection.

    allow_private: the operator allows relays at addresses that are not public, without TLS and at any port.
    Nothing is opened before the first question.
    """

    def __init__(self, connection: Connection, client: Client, *, allow_private: bool = False) -> None:
        self._connection = connection
        self._us = Keys.parse(connection.secret).public_key().to_hex()
        self._relays = {url: Relay(client, url, guard=not allow_private) for url in connection.relays}

    async def info(self, timeout_s: float) -> Info:
        """What the wallet offers, from the first relay that has it. Raises NoAnswer."""
        wanted = {"kinds": [wire.INFO], "authors": [self._connection.wallet], "limit": 1}
        return await self._ask(wanted, None, lambda raw: wire.info(self._connection, raw), timeout_s)

    def sign(
        self, method: str, params: Mapping[str, Any], encryption: str, expires_at: int | None, created_at: int
    ) -> str:
        """A request's signed event as JSON text, ready to be stored and sent; times in seconds. No I/O."""
        return wire.sign(self._connection, method, params, encryption, expires_at, created_at)

    async def send(self, event_json: str, timeout_s: float) -> dict[str, Any]:
        """Publish this very event; the result in the first authentic answer to it, numbers as int or Decimal.

        Raises WalletError (the wallet said no), NoAnswer (relays down or silent: the wallet may still act, unless
        nothing was `sent`), ValueError (not signed for this connection).
        """
        request = wire.own_request(self._connection, event_json)
        wanted = self._from_wallet(wire.RESPONSE) | {"since": request.created_at - _EARLIER_S}
        return await self._ask(
            wanted, event_json, lambda raw: wire.answer(self._connection, request.id, raw), timeout_s
        )

    async def notifications(self, since: int) -> AsyncGenerator[dict[str, Any]]:
        """What the wallet tells unasked from `since` (seconds) on, without end: hints, which may repeat or be lost."""
        hints: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(_HINTS_MAX)
        left = len(self._relays)

        def heard(raw: Any) -> None:
            told = wire.notification(self._connection, raw)
            if told is not None:
                with contextlib.suppress(asyncio.QueueFull):
                    hints.put_nowait(told)

        def refused() -> None:
            nonlocal left
            left -= 1
            if not left:
                hints.put_nowait(None)

        exchange = Exchange(_name(), self._from_wallet(*wire.NOTIFICATIONS) | {"since": since}, None, heard, refused)
        with self._asking(exchange):
            while (hint := await hints.get()) is not None:
                yield hint

    async def close(self) -> None:
        for relay in self._relays.values():
            await relay.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _from_wallet(self, *kinds: int) -> dict[str, Any]:
        """By the wallet, to us; which request an answer is for is judged here, as some relays filter by #p only."""
        return {"kinds": list(kinds), "authors": [self._connection.wallet], "#p": [self._us]}

    async def _ask(
        self, wanted: Mapping[str, Any], event: str | None, read: Callable[[Any], Found | None], timeout_s: float
    ) -> Found:
        """The first thing heard that `read` takes for an answer."""
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        left = len(self._relays)

        def heard(raw: Any) -> None:
            if answer.done():
                return
            try:
                found = read(raw)
            except wire.WalletError as error:
                answer.set_exception(error)
            else:
                if found is not None:
                    answer.set_result(found)

        def refused() -> None:
            nonlocal left
            left -= 1
            if not left and not answer.done():
                answer.set_exception(NoAnswer(self._troubles(), sent=exchange.sent))

        exchange = Exchange(_name(), wanted, event, heard, refused)
        with self._asking(exchange):
            try:
                async with asyncio.timeout(timeout_s):
                    return await answer
            except TimeoutError:
                raise NoAnswer(self._troubles(), sent=exchange.sent) from None

    @contextlib.contextmanager
    def _asking(self, exchange: Exchange) -> Iterator[None]:
        for relay in self._relays.values():
            relay.open(exchange)
        try:
            yield
        finally:
            for relay in self._relays.values():
                relay.shut(exchange)

    def _troubles(self) -> str:
        """What each relay did instead of answering, named by host alone."""
        return "; ".join(
            f"{urlsplit(url).hostname}: {relay.trouble or 'connected, but the wallet does not answer'}"
            for url, relay in self._relays.items()
        )


def _name() -> str:
    return secrets.token_hex(8)
