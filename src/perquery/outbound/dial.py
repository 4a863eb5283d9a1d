"""Making a connection: resolve, check, connect, ask the proxy, TLS.

Every failure here means that no byte of a request has left. A caller-given URL is resolved once, and only the
addresses that were checked are connected to, also through a proxy. This module must never send a request.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from typing import TypeVar

from perquery.outbound.connection import Connection
from perquery.outbound.guard import refused_address
from perquery.outbound.lines import Lines
from perquery.outbound.target import Proxy, Target, refuse
from perquery.outbound.websocket import WebSocket

_PROXY_HEAD_LIMIT = 16 * 1024
_KEEPALIVE_S = 30  # a plain answer may take minutes without a byte; some NATs forget a silent flow after one

Speaker = TypeVar("Speaker", Connection, WebSocket, Lines)

_SOCKS_REPLIES = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}


class DialError(OSError):
    """The proxy, or the resolver, said no."""


class Dialler:
    """Opens connections. trust: what TLS servers are verified against; proxy: where all connections go through."""

    def __init__(self, *, trust: ssl.SSLContext, proxy: Proxy | None) -> None:
        self._trust = trust
        self._proxy = proxy

    async def open(self, target: Target, *, guard: bool, within_s: float, make: Callable[[], Speaker]) -> Speaker:
        """A connection to the target, ready to be written to.

        within_s is shared among the target's addresses; ending the whole attempt is for who awaits it.
        Raises OSError (ssl.SSLError and TimeoutError are), or OutboundError("refused") by the guard.
        """
        sock = await self._socket(target, guard, within_s)
        connection = make()
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: connection,
                sock=sock,
                ssl=self._trust if target.tls else None,
                server_hostname=target.host if target.tls else None,
                ssl_handshake_timeout=within_s if target.tls else None,
            )
        except BaseException:
            connection.close()
            sock.close()
            raise
        return connection

    async def _socket(self, target: Target, guard: bool, within_s: float) -> socket.socket:
        host = target.host
        addresses: list[str] = []
        if guard:
            addresses = await _resolve(host, target.port)
            if any(refused_address(address) for address in addresses):
                raise refuse("the URL's host is not a public address")
        proxy = self._proxy
        if proxy is None:
            return await _connect(addresses or await _resolve(host, target.port), target.port, within_s)
        sock = await _connect(await _resolve(proxy.host, proxy.port), proxy.port, within_s)
        try:
            if guard:
                host = addresses[0]
            if proxy.scheme == "socks5":
                await _socks(sock, proxy, host, target.port)
            elif target.tls or guard:  # absolute-form would leave the address to the proxy's own look-up
                await _tunnel(sock, proxy, host, target.port)
        except BaseException:
            sock.close()
            raise
        return sock


async def _resolve(host: str, port: int) -> list[str]:
    """The host's addresses, in the system's order of preference, each once."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(item[4][0]) for item in found))
    if not addresses:
        raise DialError("the host has no address")
    return addresses


async def _connect(addresses: list[str], port: int, within_s: float) -> socket.socket:
    """A socket connected to the first address that answers; each gets its share of the time."""
    errors: list[OSError] = []
    for address in addresses:
        try:
            async with asyncio.timeout(within_s / len(addresses)):
                return await _connect_one(address, port)
        except OSError as error:  # a share that is over is a TimeoutError, which is one
            errors.append(error)
    raise errors[0]


async def _connect_one(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _tunnel(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """HTTP CONNECT (RFC 9110, 9.3.6)."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    head = f"CONNECT {where} HTTP/1.1\r\nhost: {where}\r\n"
    if proxy.authorization is not None:
        head += f"proxy-authorization: {proxy.authorization}\r\n"
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, (head + "\r\n").encode("ascii"))
    answer = b""
    while b"\r\n\r\n" not in answer:
        more = await loop.sock_recv(sock, 4096)
        answer += more
        if not more or len(answer) > _PROXY_HEAD_LIMIT:
            raise DialError("the proxy did not answer CONNECT")
    version, _, rest = answer.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not rest.startswith(b"2"):
        raise DialError(f"the proxy refused CONNECT with {rest[:3].decode('latin-1')!r}")
    if not answer.endswith(b"\r\n\r\n"):  # nobody but the proxy can have spoken yet
        raise DialError("the proxy sent bytes behind its answer to CONNECT")


async def _socks(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """SOCKS5 (RFC 1928), by user and password where given (RFC 1929); a name is resolved by the proxy."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, b"\x05\x01\x00" if proxy.user is None else b"\x05\x02\x00\x02")
    version, method = await _exactly(sock, 2)
    if version != 5 or method not in ((0,) if proxy.user is None else (0, 2)):
        raise DialError("the SOCKS proxy accepts none of our ways to log in")
    if method == 2:
        user, password = (proxy.user or "").encode(), (proxy.password or "").encode()
        if not 0 < len(user) < 256 or not 0 < len(password) < 256:
            raise DialError("the SOCKS user or password is empty or too long")
        login = b"\x01" + bytes([len(user)]) + user + bytes([len(password)]) + password
        await loop.sock_sendall(sock, login)
        if (await _exactly(sock, 2))[1] != 0:
            raise DialError("the SOCKS proxy refused the login")
    await loop.sock_sendall(sock, b"\x05\x01\x00" + _socks_address(host) + port.to_bytes(2, "big"))
    version, reply, _, kind = await _exactly(sock, 4)
    if version != 5 or reply != 0:
        raise DialError(f"the SOCKS proxy said no: {_SOCKS_REPLIES.get(reply, 'unknown reason')}")
    bound = {1: 4, 4: 16}.get(kind)
    if bound is None:
        bound = (await _exactly(sock, 1))[0]
    await _exactly(sock, bound + 2)


def _socks_address(host: str) -> bytes:
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        if len(name) > 255:
            raise DialError("the host's name is too long for SOCKS") from None
        return b"\x03" + bytes([len(name)]) + name
    return (b"\x01" if address.version == 4 else b"\x04") + address.packed


async def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await asyncio.get_running_loop().sock_recv(sock, count - len(data))
        if not more:
            raise DialError("the SOCKS proxy closed the connection")
        data += more
    return data
