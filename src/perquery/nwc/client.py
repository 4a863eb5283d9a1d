"""A wallet's answers over one connection: asked on all of its relays at once, the first authentic answer counts. Of
what it says about itself the newest counts: a relay may keep what is long over.

Publishing the same event again is harmless (wallets know a request by its id), a new event may pay again: whoever
asks for a payment stores what `sign` returned and sends that, however often. An answer says what the wallet thinks;
whether an invoice is paid, its payee knows. This module must never sign on its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
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
_OTHERS_S: Final = 2.0  # how long the other relays are waited for, once one has told about the wallet
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
        """What the wallet offers, by the newest of what its relays keep. Raises NoAnswer."""
        newest: Info | None = None
        silent, enough = set(self._relays), asyncio.Event()

        def heard(raw: Any) -> None:
            nonlocal newest
            info = wire.info(self._connection, raw)
            if info is None:
                return
            if newest is None:
                asyncio.get_running_loop().call_later(_OTHERS_S, enough.set)
            if newest is None or info.said_at > newest.said_at:
                newest = info
            if not silent:
                enough.set()

        def said(url: str) -> None:
            silent.discard(url)
            if not silent and newest is not None:
                enough.set()

        wanted = {"kinds": [wire.INFO], "authors": [self._connection.wallet], "limit": 1}
        exchange = Exchange(_name(), [wanted], None, heard, self._once_all_refuse(enough.set), said)
        with self._asking(exchange), contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await enough.wait()
        if newest is None:
            raise NoAnswer(self._troubles(), sent=False)
        return newest

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
        answers = {"kinds": [wire.RESPONSE], "authors": [self._connection.wallet]}
        # Wallets of Alby's SDK name only the request in an answer, and some relays serve only who asks for its own.
        to = ({"#p": [self._us]}, {"#e": [request.id]})
        wanted = [answers | each | {"since": request.created_at - _EARLIER_S} for each in to]
        return await self._ask(
            wanted, event_json, lambda raw: wire.answer(self._connection, request.id, raw), timeout_s
        )

    async def notifications(self, since: int) -> AsyncGenerator[dict[str, Any]]:
        """What the wallet tells unasked from `since` (seconds) on, without end unless all relays are refused by the
        guard: hints, which may repeat or be lost.
        """
        hints: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(_HINTS_MAX)

        def heard(raw: Any) -> None:
            told = wire.notification(self._connection, raw)
            if told is not None:
                with contextlib.suppress(asyncio.QueueFull):
                    hints.put_nowait(told)

        def refused() -> None:
            if hints.full():
                hints.get_nowait()
            hints.put_nowait(None)

        kinds = {"kinds": list(wire.NOTIFICATIONS), "authors": [self._connection.wallet]}
        wanted = kinds | {"#p": [self._us], "since": since}
        exchange = Exchange(_name(), [wanted], None, heard, self._once_all_refuse(refused))
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

    async def _ask(
        self,
        wanted: Sequence[Mapping[str, Any]],
        event: str | None,
        read: Callable[[Any], Found | None],
        timeout_s: float,
    ) -> Found:
        """The first thing heard that `read` takes for an answer."""
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()

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
            if not answer.done():
                answer.set_exception(NoAnswer(self._troubles(), sent=exchange.sent))

        exchange = Exchange(_name(), wanted, event, heard, self._once_all_refuse(refused))
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

    def _once_all_refuse(self, then: Callable[[], None]) -> Callable[[], None]:
        """What each relay that will never do is to call; the last one calls `then`."""
        left = len(self._relays)

        def refused() -> None:
            nonlocal left
            left -= 1
            if not left:
                then()

        return refused

    def _troubles(self) -> str:
        """What each relay did instead of answering, named by host alone."""
        return "; ".join(
            f"{urlsplit(url).hostname}: {relay.trouble or 'connected, but the wallet does not answer'}"
            for url, relay in self._relays.items()
        )


def _name() -> str:
    return secrets.token_hex(8)
