"""A caller on a raw socket: it reads when it is told to, hangs up when it is told to, and hides nothing."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from perquery import money

PATIENCE_S: Final = 60.0


@dataclass(frozen=True)
class Answer:
    """headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, its amounts exact (Decimals)."""
        return money.from_json(self.body)

    def events(self) -> list[Any]:
        """A stream's events, `[DONE]` as text."""
        blocks = self.body.decode("utf-8").split("\n\n")
        data = [block.removeprefix("data: ") for block in blocks if block.startswith("data: ")]
        return [each if each == "[DONE]" else money.from_json(each) for each in data]

    def comments(self) -> list[str]:
        return [block[2:] for block in self.body.decode("utf-8").split("\n\n") if block.startswith(": ")]

    @property
    def complete(self) -> bool:
        """Whether a stream came to its regular end."""
        return self.body.endswith(b"data: [DONE]\n\n")

    def text(self) -> str:
        """What a stream said."""
        deltas = [each["choices"][0]["delta"] for each in self.events() if each != "[DONE]" and each["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)

    def finish(self) -> str | None:
        """A stream's finish reason."""
        found = [each["choices"][0]["finish_reason"] for each in self.events() if each != "[DONE]" and each["choices"]]
        return next((reason for reason in reversed(found) if reason), None)

    def cost(self) -> int:
        """What it says that it cost, in nano-USD: in the body, the last chunk, or the comment."""
        if not self.headers["content-type"].startswith("text/event-stream"):
            return money.nano(self.json()["usage"]["cost"])
        for event in self.events():
            if event != "[DONE]" and "cost" in (event.get("usage") or {}):
                return money.nano(event["usage"]["cost"])
        (said,) = [comment for comment in self.comments() if comment.startswith("perquery ")]
        return money.nano(money.from_json(said.removeprefix("perquery "))["cost"])


class Exchange:
    """One request on a connection of its own. Sent when it is made; nothing is read before it is asked for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._left = -1  # bytes of a body of known length; below 0: chunked
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    async def head(self) -> None:
        raw = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), PATIENCE_S)
        first, *lines = raw.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._left = int(self.headers.get("content-length", "-1"))

    async def piece(self) -> bytes:
        """The next piece of the body, b"" at its end. Raises IncompleteReadError where it breaks off."""
        data = await asyncio.wait_for(self._piece(), PATIENCE_S)
        self.body += data
        return data

    async def _piece(self) -> bytes:
        if not self.status:
            await self.head()
        if self._left >= 0:
            data, self._left = await self._reader.readexactly(self._left), 0
            return data
        size = int(await self._reader.readuntil(b"\r\n"), 16)
        return (await self._reader.readexactly(size + 2))[:-2]

    async def until(self, mark: bytes) -> None:
        """Read on until the body holds the mark."""
        while mark not in self.body:
            assert await self.piece(), f"the body ended without {mark!r}: {self.body!r}"

    async def answer(self) -> Answer:
        """Read to the end."""
        while await self.piece():
            pass
        return Answer(self.status, self.headers, self.body)

    def hang_up(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def exchange(
    port: int,
    path: str,
    body: Any,
    headers: Mapping[str, str],
    *,
    method: str = "POST",
    receive_buffer: int | None = None,
) -> AsyncIterator[Exchange]:
    """A request that has been sent. receive_buffer: bytes that the system takes in for a caller who reads nothing."""
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    limit = 2**20 if receive_buffer is None else receive_buffer
    reader, writer = await asyncio.open_connection(sock=sock, limit=limit)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"host": "gateway.test", "content-type": "application/json", "content-length": str(len(data))} | dict(
        headers
    )
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + data)
    try:
        await writer.drain()
        yield Exchange(reader, writer)
    finally:
        writer.transport.abort()
