"""A connection on a transport that is a notebook, under a clock that is cranked by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from perquery.outbound import Response
from perquery.outbound.connection import Connection
from perquery.rounds import Round

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


class Cranked(asyncio.SelectorEventLoop):
    """An event loop whose time stands still until it is moved."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for _ in range(3):
            await asyncio.sleep(0)


class Notebook(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False
        self.paused = False
        self.unsent = 0

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        self.written.extend(bytes(data) for data in list_of_data)

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Shelf:
    """The pool's two verbs, written down."""

    def __init__(self, idle_s: float = 60) -> None:
        self.idle_s = idle_s
        self.said: list[str] = []

    def kept(self, connection: Connection) -> None:
        self.said.append("kept")

    def lost(self, connection: Connection) -> None:
        self.said.append("lost")


class Bed:
    """A connection with everything around it."""

    def __init__(self, loop: Cranked, idle_s: float = 60) -> None:
        self.loop = loop
        self.shelf = Shelf(idle_s)
        self.transport = Notebook()
        self.round = Round(loop)
        self.connection = Connection(loop, self.shelf, self.round)
        self.connection.connection_made(self.transport)

    def ask(
        self, *, timeout_s: float = 100, idle_s: float = 10, bodyless: bool = False, leave: bool = True
    ) -> Response:
        """leave: the round ends, so that the request is written."""
        response = self.connection.send([b"ask"], deadline=self.loop.now + timeout_s, idle_s=idle_s, bodyless=bodyless)
        assert response is not None
        if leave:
            self.round.end()
        return response

    async def head(self, response: Response) -> None:
        """Wait for the answer's head, as the client does."""
        await response.opened
        if not response.status:
            assert response.error is not None
            raise response.error

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            if not self.transport.closed:
                self.connection.data_received(piece)


def cranked(main: Callable[[Cranked], Coroutine[Any, Any, None]]) -> None:
    loop = Cranked()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main(loop))
