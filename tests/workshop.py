"""A scripted upstream for what is not chat: a server on a real socket whose answers one function of the test decides.

It remembers what it was sent and who hung up, waits at gates instead of for time, and breaks off where it is told to.
It must never import the package that it tests.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Order:
    """One request, and what became of it. path: with its query."""

    method: str
    path: str
    headers: dict[str, str]
    data: bytes
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)  # the gate, or the end of what is said

    @property
    def body(self) -> Any:
        return json.loads(self.data)


@dataclass(frozen=True)
class Made:
    """An answer. body: bytes, what is written as JSON, or pieces that leave one by one, chunked. gate: waited for at
    the head, or before the last piece. fault: head (never answers) | hang (stops after it) | break (closes there).
    """

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "application/json"
    gate: asyncio.Event | None = None
    fault: str = ""


class Workshop:
    """A server on a free loopback port. make: what is answered to an order."""

    def __init__(self, make: Callable[[Order], Made]) -> None:
        self.make = make
        self.orders: list[Order] = []
        self.base_url = ""
        self._server: asyncio.Server | None = None
        self._arrivals: asyncio.Queue[Order] = asyncio.Queue()
        self._handlers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, limit=64 * 2**20)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def arrival(self) -> Order:
        """The next order that has arrived and was not taken yet."""
        return await asyncio.wait_for(self._arrivals.get(), 60)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):  # at its stop
            pass
        finally:
            self._handlers.discard(task)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One order and its answer; whether the connection may be used again."""
        order = await _read(reader)
        self.orders.append(order)
        self._arrivals.put_nowait(order)
        answering = asyncio.ensure_future(_answer(order, self.make(order), writer))
        watching = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() or isinstance(answering.exception(), OSError):
                order.hung_up.set()
                return False
            again = answering.result()
            order.answered.set()
            return again
        finally:
            for task in (answering, watching):
                task.cancel()
            await asyncio.gather(answering, watching, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Order:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    method, path, _ = head[0].split(" ")
    return Order(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


async def _answer(order: Order, made: Made, writer: asyncio.StreamWriter) -> bool:
    """Whether the connection may be used again."""
    pieces = made.body if isinstance(made.body, list) else None
    whole = b"" if pieces is not None else made.body
    whole = whole if isinstance(whole, bytes) else json.dumps(whole).encode()
    if made.fault == "head" or (made.gate is not None and pieces is None):
        await _wait(order, made.gate)
    length = "transfer-encoding: chunked" if pieces is not None else f"content-length: {len(whole)}"
    head = {"content-type": made.kind, **made.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    writer.write(f"HTTP/1.1 {made.status} Made\r\n{lines}{length}\r\n\r\n".encode())
    if pieces is None:
        writer.write(whole[: len(whole) // 2] if made.fault else whole)
    for number, piece in enumerate(pieces or (), 1):
        if number == len(pieces or ()) and made.gate is not None:
            await writer.drain()
            await _wait(order, made.gate)
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    await writer.drain()
    if made.fault == "hang":
        await _wait(order, None)
    if made.fault:
        return False
    if pieces is not None:
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    return True


async def _wait(order: Order, gate: asyncio.Event | None) -> None:
    """For the gate; without one, until whoever asked hangs up."""
    order.reached.set()
    await (gate or asyncio.Event()).wait()


@asynccontextmanager
async def workshop(make: Callable[[Order], Made]) -> AsyncIterator[Workshop]:
    """A workshop in this process."""
    made = Workshop(make)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
