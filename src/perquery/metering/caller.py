"""The caller's side of one request: headers, body, keep-alive comments, and the moment the caller is gone.

It owns ASGI's `receive` from the moment of the hold. Under uvicorn a handler learns of a disconnect only there;
nothing cancels a plain ASGI handler, so the request's own task lives to settle. It must never decide money.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, TypeAlias

from perquery.metering.recording import Recording

Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]
Receive: TypeAlias = Callable[[], Awaitable[Any]]

KEEP_ALIVE: Final = b": PERQUERY PROCESSING\n\n"
SSE_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. silence_s: a stream opens after so long, whether or not the upstream has answered; stall_s: a caller
    who reads nothing for so long is gone; watch_after_s: most answers are there before, and a watch costs a task.
    """

    watch_after_s: float = 0.2
    tick_s: float = 5.0
    silence_s: float = 10.0
    keep_alive_s: float = 15.0
    stall_s: float = 60.0


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


class Caller:
    """`watch()` before the work, `unwatch()` after; `start` and `write` for a stream, `answer` for a whole body.

    opening: the headers of a stream that must open before the upstream has answered; None for plain answers.
    on_gone: called once when the caller has gone. kept: the answer is recorded, so it is worth finishing without
    the caller.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._recording: Recording | None = None
        self._task: asyncio.Task[Any] | None = None  # the request's own, once it is watched
        self._timer: asyncio.TimerHandle | None = None
        self._watch: Watch | None = None
        self._aside: set[asyncio.Task[None]] = set()
        self._pace = _USUAL
        self._wrote_s = monotonic()
        self._writing_s: float | None = None  # since when the request's own write waits
        self._speaking_s: float | None = None  # since when a keep-alive comment waits
        self._cut = False
        self.on_gone: Callable[[], None] = _nothing
        self.opening: list[tuple[bytes, bytes]] | None = None
        self.started = False
        self.ended = False
        self.gone = False

    def recorded(self, recording: Recording) -> Caller:
        """The same, all that it is sent passing through the recording."""
        self._send = self._recording = recording
        return self

    @property
    def kept(self) -> bool:
        return self._recording is not None

    def waits(self) -> bool:
        """Whether there is somebody to be answered."""
        return not self.gone

    def wants(self) -> bool:
        """Whether an answer is of use: to the caller, or on record for when they ask again."""
        return not self.gone or self.kept

    def watch(self, watch: Watch) -> None:
        """From now on notice a disconnect, silence and stalls."""
        self._pace = watch.pace
        self._task = asyncio.current_task(watch.begin(self))
        self._watch = watch

    def unwatch(self) -> None:
        self.on_gone = _nothing
        if self._watch is not None:
            self._watch.end(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for task in self._aside:
            task.cancel()

    def look_out(self, loop: asyncio.AbstractEventLoop) -> None:
        """The call has lasted for a while: its caller is worth a task and a timer (`Watch`'s part)."""
        self._spawn(loop, self._await_disconnect())
        self._timer = loop.call_later(self._pace.tick_s, self._tick, loop)

    def _spawn(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = loop.create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    async def _await_disconnect(self) -> None:
        while not self.gone:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                if not self.ended:
                    self._leave()
                return

    def _leave(self) -> None:
        if not self.gone:
            self.gone = True
            self.on_gone()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now, pace = monotonic(), self._pace
        self._timer = loop.call_later(pace.tick_s, self._tick, loop)
        since = self._writing_s if self._writing_s is not None else self._speaking_s
        if since is not None:
            if now - since >= pace.stall_s:
                self._give_up()
        elif self.opening is not None and not self.gone and not self.ended:
            silent_s = now - self._wrote_s
            if silent_s >= (pace.keep_alive_s if self.started else pace.silence_s):
                self._spawn(loop, self._keep_alive())

    def _give_up(self) -> None:
        """Nothing is read any more. Only the request's own write is cut short, never what else it waits for."""
        self._leave()
        if self._writing_s is not None and self._task is not None and not self._cut:
            self._cut = True
            self._task.cancel()

    async def _keep_alive(self) -> None:
        self._wrote_s = self._speaking_s = monotonic()
        try:
            if not self.started and self.opening is not None:
                await self.start(200, self.opening)
            await self._send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
        except OSError:
            self._leave()
        finally:
            self._speaking_s = None

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> Awaitable[None]:
        self.started = True
        return self._pass_on({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes, *, more: bool = True, head: dict[str, Any] | None = None) -> None:
        """Send a piece of the body; waits while the caller reads slowly. Nothing is sent to one who is gone.

        head: the message that goes before it, where nothing has been sent yet.
        """
        if head is not None:
            await self._pass_on(head)  # never cut short: a record would then have it without its body
        if self.ended:
            return
        self.ended = not more
        self._wrote_s = self._writing_s = monotonic()
        try:
            await self._pass_on({"type": "http.response.body", "body": data, "more_body": more})
        except asyncio.CancelledError:
            if not self._cut or self._task is None:
                raise
            self._cut = False
            self._task.uncancel()  # our own cancel, of a write that the caller never read
        except OSError:
            self._leave()
        finally:
            self._writing_s = None

    def _pass_on(self, message: dict[str, Any]) -> Awaitable[None]:
        return self._note(message) if self.gone else self._send(message)

    async def _note(self, message: dict[str, Any]) -> None:
        """Nobody hears it; the record does."""
        if self._recording is not None:
            self._recording.note(message)

    def answer(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Awaitable[None]:
        """A whole answer in one go."""
        self.started = True
        sized = [*headers.items(), (b"content-length", b"%d" % len(body))]
        return self.write(body, more=False, head={"type": "http.response.start", "status": status, "headers": sized})


class Watch:
    """Begins to look after callers whose calls last longer than most: one timer for all of them, since one each would
    cost a plain call more than most of its own work.
    """

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._young: dict[Caller, float] = {}  # and when each is due, ascending
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # the timer's; asking for it is a system call

    def begin(self, caller: Caller) -> asyncio.AbstractEventLoop | None:
        """The loop in which it looks."""
        self._young[caller] = monotonic() + self.pace.watch_after_s
        if self._timer is None:
            self._loop = asyncio.get_running_loop()
            self._timer = self._loop.call_later(self.pace.watch_after_s, self._look, self._loop)
        return self._loop

    def end(self, caller: Caller) -> None:
        self._young.pop(caller, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = monotonic()
        while self._young:
            caller, due_s = next(iter(self._young.items()))
            if due_s > now_s:
                self._timer = loop.call_later(due_s - now_s, self._look, loop)
                return
            del self._young[caller]
            caller.look_out(loop)
        self._timer = None


def _nothing() -> None:
    return


_USUAL: Final = Pace()
