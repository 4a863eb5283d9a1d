"""The caller's side of one request: headers, body, keep-alive comments, and the moment the caller is gone.

It owns ASGI's `receive` from the moment of the hold. Under uvicorn a handler learns of a disconnect only there;
nothing cancels a plain ASGI handler, so the request's own task lives to settle. It must never decide money.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
Receive: TypeAlias = Callable[[], Awaitable[Any]]

WATCH_AFTER_S: Final = 0.2  # most answers are there before; a watch costs a task
TICK_S: Final = 5.0
SILENCE_S: Final = 10.0  # a stream opens after so long, whether or not the upstream has answered
KEEP_ALIVE_S: Final = 15.0
STALL_S: Final = 60.0  # a caller who reads nothing for so long is gone
KEEP_ALIVE: Final = b": PERQUERY PROCESSING\n\n"
SSE_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("utf-8")) for name, value in headers.items()]


class Caller:
    """Use `watched()` around the work; `start` and `write` for a stream, `answer` for a whole body.

    opening: the headers of a stream that must open before the upstream has answered; None for plain answers.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._timer: asyncio.TimerHandle | None = None
        self._aside: set[asyncio.Task[None]] = set()
        self._on_gone: Callable[[], None] = _nothing
        self._began_s = self._wrote_s = self._loop.time()
        self._writing_s: float | None = None
        self.opening: list[tuple[bytes, bytes]] | None = None
        self.started = False
        self.ended = False
        self.gone = False

    def watch(self, on_gone: Callable[[], None]) -> None:
        """From now on notice a disconnect (`on_gone` is called once), silence and stalls."""
        self._on_gone = on_gone
        self._timer = self._loop.call_later(WATCH_AFTER_S, self._begin_watch)

    def unwatch(self) -> None:
        self._on_gone = _nothing
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._aside:
            task.cancel()

    def _begin_watch(self) -> None:
        self._spawn(self._await_disconnect())
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _await_disconnect(self) -> None:
        while not self.gone:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._leave()

    def _leave(self) -> None:
        if not self.gone and not self.ended:
            self.gone = True
            self._on_gone()

    def _tick(self) -> None:
        now = self._loop.time()
        self._timer = self._loop.call_later(TICK_S, self._tick)
        if self._writing_s is not None:
            if now - self._writing_s >= STALL_S and self._task is not None:
                self._leave()
                self._task.cancel()
        elif self.opening is not None and not self.gone and not self.ended:
            since = now - self._wrote_s
            if since >= (KEEP_ALIVE_S if self.started else SILENCE_S):
                self._spawn(self._keep_alive())

    async def _keep_alive(self) -> None:
        if not self.started and self.opening is not None:
            await self.start(200, self.opening)
        await self.write(KEEP_ALIVE)

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.started = True
        if not self.gone:
            await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Send a piece of the body; waits while the caller reads slowly. Nothing is sent to one who is gone."""
        if self.gone or self.ended:
            return
        self.ended = not more
        self._wrote_s = self._writing_s = self._loop.time()
        try:
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
        except asyncio.CancelledError:
            if not self.gone or self._task is None or asyncio.current_task() is not self._task:
                raise
            self._task.uncancel()  # our own cancel, of a write that the caller never read
        except OSError:
            self._leave()
        finally:
            self._writing_s = None

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """A whole answer in one go."""
        await self.start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self.write(body, more=False)


def _nothing() -> None:
    return
