"""Tiny proxies for the outbound tests, as scripts of `wire.serving`: HTTP CONNECT and SOCKS5."""

from __future__ import annotations

import asyncio

from tests.outbound.wire import Link, Script


async def relay(link: Link, port: int) -> None:
    """Both ways between the link and a loopback port, until either side ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()

    await asyncio.gather(pump(link.reader, writer), pump(reader, link.writer))


def connect_proxy(port: int, seen: list[bytes], answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> Script:
    async def script(link: Link) -> None:
        head, _ = await link.request()
        seen.append(head)
        await link.send(answer)
        if b" 200 " in answer:
            await relay(link, port)
        else:
            await link.gone()

    return script


def socks_proxy(port: int, seen: list[bytes], *, login: bytes = b"", reply: int = 0) -> Script:
    """login: the RFC 1929 message that is asked for; empty: none is."""

    async def script(link: Link) -> None:
        _, count = await link.reader.readexactly(2)
        methods = await link.reader.readexactly(count)
        chosen = 2 if login else 0
        await link.send(bytes([5, chosen if chosen in methods else 255]))
        if chosen not in methods:
            await link.gone()
            return
        if login:
            given = await link.reader.readexactly(len(login))
            await link.send(bytes([1, 0 if given == login else 1]))
            if given != login:
                await link.gone()
                return
        start = await link.reader.readexactly(5)
        rest = {1: 3, 3: start[4], 4: 15}[start[3]] + 2
        seen.append(start + await link.reader.readexactly(rest))
        await link.send(bytes([5, reply, 0, 3, 4]) + b"name" + b"\0\0")
        if reply:
            await link.gone()
        else:
            await relay(link, port)

    return script
