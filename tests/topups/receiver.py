"""The operator's service on a loopback port: it takes deliveries as the test says, and keeps what came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Receiver:
    """plan: what comes of the next deliveries (a status, "hang" or "drop"), then 200 for ever. came: headers and
    body of each, oldest first.
    """

    plan: list[int | str] = field(default_factory=list)
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.came]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def deliveries(self) -> list[str]:
        return [headers["perquery-delivery"] for headers, _ in self.came]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.came) < count:
                self.news.clear()
                await self.news.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[1:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head)}
        self.came.append((headers, await reader.readexactly(int(headers["content-length"]))))
        self.news.set()
        act = self.plan.pop(0) if self.plan else 200
        if act == "hang":
            await self.leaving.wait()
        elif act != "drop":
            said = b"no\x1b[31m " + b"x" * 5000 if act != 200 else b"ok"
            told = f"HTTP/1.1 {act} Said\r\nlocation: {self.url}/elsewhere\r\ncontent-length: {len(said)}\r\n\r\n"
            writer.write(told.encode() + said)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def receiving(*plan: int | str) -> AsyncIterator[Receiver]:
    receiver = Receiver(list(plan))
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield receiver
    finally:
        receiver.leaving.set()
        server.close()
        await server.wait_closed()
