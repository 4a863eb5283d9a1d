"""The client: one request in, one response out, connections kept between.

A redirect is an answer like any other, a body is passed on as it comes, nothing is logged, and nothing is sent
twice but for the one case that `request` names. This module must never look into a body.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache
from time import monotonic
from typing import TypeVar

from perquery.outbound.connection import Connection, Response
from perquery.outbound.dial import Dialler
from perquery.outbound.errors import OutboundError
from perquery.outbound.lines import Lines, lines_target
from perquery.outbound.pool import OriginPool
from perquery.outbound.target import Target, check_given, head, parse, parse_proxy, refuse
from perquery.outbound.websocket import WebSocket, websocket_target
from perquery.rounds import Round

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
_REMEMBERED = 1024  # parsed URLs: a gateway asks the same few over and over

Spoken = TypeVar("Spoken", WebSocket, Lines)


@cache
def _system_trust() -> ssl.SSLContext:
    """What the system trusts, read once: that takes a twentieth of a second."""
    return ssl.create_default_context()


class Client:
    """All that leaves the process goes through one of these; one event loop each.

    connect_timeout_s: for name, socket, proxy and TLS together, and for waiting while an origin is full.
    idle_pool_s: how long an unused connection is kept. max_per_origin: connections at once to one origin.
    proxy: "http://[user:password@]host:port" or "socks5://…". trust: a TLS context in place of
    the system's; HTTP/1.1 is set as its only ALPN protocol.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float = 10,
        idle_pool_s: float = 60,
        max_per_origin: int = 1000,
        proxy: str | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        trust = trust or _system_trust()
        trust.set_alpn_protocols(["http/1.1"])
        self._proxy = parse_proxy(proxy) if proxy is not None else None
        self._dialler = Dialler(trust=trust, proxy=self._proxy)
        self._connect_timeout_s = connect_timeout_s
        self._idle_pool_s = idle_pool_s
        self._max_per_origin = max_per_origin
        self._pools: dict[tuple[str, str, int], OriginPool] = {}
        self._unpooled = OriginPool(max_per_origin, 0)  # for caller-given URLs: one use each
        self._targets: dict[str, Target] = {}
        self._round: Round | None = None
        self._closed = False

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | Sequence[bytes] = b"",
        timeout_s: float,
        idle_timeout_s: float,
        guard: bool = False,
        keep: bool = True,
    ) -> Response:
        """Send one request; returns when the answer's head is there. Use the response with `async with`.

        timeout_s: from here to the last byte of the body. idle_timeout_s: the longest gap within the answer, once
        its head has come. guard: the URL was given by a caller; only public addresses, ports 80 and 443. keep: whether
        the connection may serve again; False asks the other side to close it.

        Cancelling closes the connection at once. Sent again, once, on a fresh connection: only where a kept connection
        turned out closed without a byte of an answer, and the method is idempotent or not one byte had been written.
        Raises OutboundError; ValueError for a header that the client writes itself.
        """
        if self._closed:
            raise refuse("the client is closed")
        target = self._target(url, guard)
        message = self._message(method, target, headers, body, guard=guard, keep=(keep := keep and not guard))
        pool = self._unpooled if guard else self._pool(target)
        deadline = monotonic() + timeout_s  # the clock of every event loop here, without asking which one runs
        sent = False
        while True:
            connection = pool.take()
            reused = connection is not None
            if connection is None:
                connection = await self._open(pool, target, deadline, guard=guard, sent=sent)
            response = connection.send(message, deadline, idle_timeout_s, bodyless=method == "HEAD", keep=keep)
            if response is None:
                connection.close()
                raise OutboundError("connect", "the connection closed as soon as it was made", sent=sent)
            try:
                await response.opened
            except asyncio.CancelledError:
                response.abort()
                raise
            if (error := response.error) is None or response.status:
                return response
            if not reused or error.kind != "broken" or not connection.silent:
                raise error
            pool.drop_idle()  # they have idled for longer still
            sent = _sent_once(error, method, sent)

    async def websocket(self, url: str, *, guard: bool = False) -> WebSocket:
        """An open WebSocket, which belongs to whoever asked; a redirect is an error. guard: as in `request`, and wss
        only. The time for a connection is also that for the handshake. Raises OutboundError.
        """
        target = websocket_target(url, guard=guard)
        made: list[WebSocket] = []

        async def opened(within_s: float) -> WebSocket:
            dialled = self._dialler.open(target, guard=guard, within_s=within_s, make=lambda: WebSocket(target))
            made.append(await dialled)
            await made[0].opened()
            return made[0]

        try:
            return await self._spoken(opened)
        except BaseException:
            for socket in made:
                socket.close()
            raise

    async def lines(self, url: str) -> Lines:
        """An open connection on which both sides write lines (ssl://host:port or tcp://host:port), which belongs to
        whoever asked. Raises OutboundError.
        """
        target = lines_target(url)
        return await self._spoken(
            lambda within_s: self._dialler.open(target, guard=False, within_s=within_s, make=Lines)
        )

    async def _spoken(self, opened: Callable[[float], Awaitable[Spoken]]) -> Spoken:
        """What is opened within the time for a connection; its failures as ours."""
        if self._closed:
            raise refuse("the client is closed")
        within_s = self._connect_timeout_s
        try:
            async with asyncio.timeout(within_s):
                return await opened(within_s)
        except OSError as error:
            if isinstance(error, TimeoutError):
                raise OutboundError("connect", f"no connection within {within_s:g} s", sent=False) from error
            raise OutboundError("connect", f"no connection: {_reason(error)}", sent=False) from error

    async def close(self) -> None:
        """Close every connection, those in use too; later requests are refused. A WebSocket is its owner's."""
        self._closed = True
        for pool in (*self._pools.values(), self._unpooled):
            pool.close()
        await asyncio.sleep(0)  # the event loop closes aborted sockets in its next round

    def _target(self, url: str, guard: bool) -> Target:
        if guard:  # callers' URLs are not worth remembering
            target = parse(url)
            check_given(target)
            return target
        known = self._targets.get(url)
        if known is None:
            if len(self._targets) >= _REMEMBERED:
                self._targets.clear()
            known = self._targets[url] = parse(url)
        return known

    def _message(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        body: bytes | Sequence[bytes],
        *,
        guard: bool,
        keep: bool,
    ) -> list[bytes]:
        """The request as bytes: its head, then its body."""
        parts = [body] if isinstance(body, bytes) else list(body)
        absolute = self._proxy is not None and self._proxy.scheme == "http" and not target.tls and not guard
        start = head(
            method,
            target,
            headers,
            sum(map(len, parts)),
            keep=keep,
            absolute=absolute,
            proxy_authorization=self._proxy.authorization if absolute and self._proxy is not None else None,
        )
        return [start, *parts]

    def _pool(self, target: Target) -> OriginPool:
        pool = self._pools.get(target.origin)
        if pool is None:
            pool = self._pools[target.origin] = OriginPool(self._max_per_origin, self._idle_pool_s)
        return pool

    async def _open(self, pool: OriginPool, target: Target, deadline: float, *, guard: bool, sent: bool) -> Connection:
        """A fresh connection, or an idle one that came free while waiting for a turn.

        sent: what errors shall say of the request, for it may have left over an earlier connection.
        """
        loop = asyncio.get_running_loop()
        left = deadline - loop.time()
        within_s = min(self._connect_timeout_s, left)
        try:
            async with asyncio.timeout(within_s):
                await pool.turn()
                if (connection := pool.take()) is not None:
                    return connection
                return await self._dial(pool, target, within_s, guard)
        except TimeoutError as error:
            if within_s == left:
                raise OutboundError("timeout", "the total time is over", sent=sent) from error
            raise OutboundError("connect", f"no connection within {within_s:g} s", sent=sent) from error
        except OSError as error:
            raise OutboundError("connect", f"no connection: {_reason(error)}", sent=sent) from error

    async def _dial(self, pool: OriginPool, target: Target, within_s: float, guard: bool) -> Connection:
        loop = asyncio.get_running_loop()
        self._round = round = self._round or Round(loop)
        connection: Connection | None = None
        pool.opens()
        try:
            connection = await self._dialler.open(
                target, guard=guard, within_s=within_s, make=lambda: Connection(loop, pool, round)
            )
        finally:
            pool.opened(connection)
        return connection


def _sent_once(error: OutboundError, method: str, sent: bool) -> bool:
    """Whether the request may have left over the connection that turned out closed. Raises where it must not again."""
    if sent or (error.sent and method not in _IDEMPOTENT):
        raise error
    return error.sent


def _reason(error: OSError) -> str:
    """What went wrong, without the number that the system gives it."""
    return error.strerror or str(error) or type(error).__name__
