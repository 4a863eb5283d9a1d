"""Raw servers for the outbound tests: a script a connection, bytes in and bytes out, nothing of HTTP assumed.

A script that fails fails the test: `serving` re-raises it. Nothing here sleeps; whoever must wait waits for an
event, under one bound that only a hang reaches.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from perquery.outbound import Client, Response

HANG_S = 10.0  # reached only where a test fails
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
STREAM = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

Script = Callable[["Link"], Awaitable[None]]


class Link:
    """One accepted connection. number: 0 for the server's first."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def request(self) -> tuple[bytes, bytes]:
        """The next request: (head, body)."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return head, await self.reader.readexactly(length)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Returns once the other side has closed, with a FIN or a RST."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass


async def answer_all(link: Link) -> None:
    """200 to every request, until the other side goes."""
    try:
        while True:
            await link.request()
            await link.send(OK)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass


class Server:
    def __init__(self) -> None:
        self.links: list[Link] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.port = 0
        self.scheme = "http"

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.port}{path}"


@asynccontextmanager
async def serving(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A loopback server that runs `script` for each connection; at the end every script must have finished."""
    made = Server()

    async def play(link: Link) -> None:
        try:
            await script(link)
        finally:
            link.writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(len(made.links), reader, writer)
        made.links.append(link)
        made.tasks.append(asyncio.get_running_loop().create_task(play(link)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    made.scheme = "https" if tls else "http"
    try:
        yield made
        async with asyncio.timeout(HANG_S):
            await asyncio.gather(*made.tasks)
    finally:
        server.close()
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)


@asynccontextmanager
async def asking(
    *,
    connect_timeout_s: float = 5,
    max_per_origin: int = 1000,
    proxy: str | None = None,
    trust: ssl.SSLContext | None = None,
) -> AsyncIterator[Client]:
    """A client that is closed at the end, whatever happens."""
    client = Client(
        connect_timeout_s=connect_timeout_s,
        max_per_origin=max_per_origin,
        proxy=proxy,
        trust=trust or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    )
    try:
        yield client
    finally:
        await client.close()


async def get(client: Client, url: str, *, method: str = "GET", timeout_s: float = HANG_S, **more: Any) -> Response:
    """more: as `Client.request` has it."""
    return await client.request(method, url, headers={}, timeout_s=timeout_s, idle_timeout_s=HANG_S, **more)


async def fetch(client: Client, url: str, **asked: Any) -> tuple[int, bytes]:
    """One whole exchange, as with `get`: (status, body)."""
    async with await get(client, url, **asked) as response:
        return response.status, await response.read(1 << 24)
