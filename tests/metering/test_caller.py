"""The caller's side: gone is noticed, silence bridged, a stalled write cut and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from perquery.metering.caller import KEEP_ALIVE, Caller, Pace, Watch
from perquery.metering.recording import KEPT_BYTES_MAX, Recording

QUICK = Pace(watch_after_s=0, tick_s=0.001, silence_s=0.01, keep_alive_s=0.01, stall_s=0.02)


class Server:
    """The server's side of ASGI: what was sent, a caller who may leave, a socket that may be full."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.left = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self.arrived = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        await self.room.wait()
        self.sent.append(message)
        self.arrived.set()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def within(work: Callable[[Server, Caller], Awaitable[None]], *, recorded: bool = False) -> Server:
    """Run the work as a request's own task."""

    async def run() -> Server:
        server = Server()
        caller = Caller(server.receive, server.send)
        if recorded:
            caller.recorded(Recording(server.send))
        async with asyncio.timeout(20):
            await work(server, caller)
        caller.unwatch()
        return server

    return asyncio.run(run())


def test_a_disconnect_is_told_once() -> None:
    told: list[bool] = []

    async def work(server: Server, caller: Caller) -> None:
        gone = asyncio.Event()

        def on_gone() -> None:
            told.append(caller.gone)
            gone.set()

        caller.on_gone = on_gone
        caller.watch(Watch(QUICK))
        server.left.set()
        await gone.wait()
        await caller.start(200, [])
        await caller.write(b"nobody hears this", more=False)

    assert within(work).sent == []
    assert told == [True]


def test_silence_opens_the_stream_and_goes_on_speaking() -> None:
    async def work(server: Server, caller: Caller) -> None:
        caller.opening = [(b"content-type", b"text/event-stream")]
        caller.watch(Watch(QUICK))
        while server.body.count(KEEP_ALIVE) < 3:
            server.arrived.clear()
            await server.arrived.wait()
        assert caller.started
        await caller.write(b"data", more=False)

    server = within(work)
    assert [message["type"] for message in server.sent[:2]] == ["http.response.start", "http.response.body"]
    assert server.body.endswith(b"data")


def test_nothing_is_said_in_the_silence_of_a_plain_answer() -> None:
    async def work(server: Server, caller: Caller) -> None:
        caller.watch(Watch(QUICK))
        await passed(0.05)
        await caller.answer(200, {}, b"{}")

    assert within(work).body == b"{}"


async def passed(seconds: float) -> None:
    """Wait for the clock of the loop, as the code under test does."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    await over.wait()


def test_a_write_that_nobody_reads_is_cut_and_the_request_goes_on() -> None:
    reached: list[str] = []

    async def work(server: Server, caller: Caller) -> None:
        caller.watch(Watch(QUICK))
        server.room.clear()
        await caller.write(b"piece")
        reached.append("after the write")
        await asyncio.sleep(0)
        reached.append("and after another wait")
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        assert caller.gone

    within(work)
    assert reached == ["after the write", "and after another wait"]


def test_a_comment_that_nobody_reads_cuts_no_other_wait() -> None:
    """The request waits for its upstream meanwhile: cancelled there, the call would be free."""

    async def work(server: Server, caller: Caller) -> None:
        gone = asyncio.Event()
        caller.on_gone = gone.set
        caller.opening = []
        caller.watch(Watch(QUICK))
        server.room.clear()
        await gone.wait()
        await passed(0.05)

    within(work)


def test_a_cancel_from_outside_ends_a_write() -> None:
    async def work(server: Server, caller: Caller) -> None:
        caller.watch(Watch(Pace()))
        server.room.clear()
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await caller.write(b"piece")
        task.uncancel()

    within(work)


def test_the_head_of_a_whole_answer_is_not_cut() -> None:
    """Whoever asks again would be told what the record has of it: a head without its body."""
    kept: list[bytes] = []

    async def work(server: Server, caller: Caller) -> None:
        recording = Recording(server.send)
        caller.recorded(recording).watch(Watch(QUICK))
        server.room.clear()
        asyncio.get_running_loop().call_later(5 * QUICK.stall_s, server.room.set)
        await caller.answer(200, {}, b"{}")
        kept.append(bytes(recording.body or b""))

    within(work)
    assert kept == [b"{}"]


def test_a_recorded_answer_is_noted_to_its_end_without_the_caller() -> None:
    notes: list[Recording] = []

    async def work(server: Server, caller: Caller) -> None:
        gone = asyncio.Event()
        caller.on_gone = gone.set
        caller.watch(Watch(QUICK))
        await caller.start(200, [(b"a", b"b")])
        await caller.write(b"heard ")
        server.left.set()
        await gone.wait()
        await caller.write(b"unheard", more=False)
        assert isinstance(caller._send, Recording)
        notes.append(caller._send)

    server = within(work, recorded=True)
    assert server.body == b"heard "
    assert (notes[0].status, notes[0].headers, bytes(notes[0].body or b"")) == (200, [("a", "b")], b"heard unheard")


def test_a_recording_is_bounded() -> None:
    async def run() -> Recording:
        server = Server()
        recording = Recording(server.send)
        await recording({"type": "http.response.body", "body": b"x" * KEPT_BYTES_MAX})
        assert recording.body is not None
        await recording({"type": "http.response.body", "body": b"x"})
        return recording

    assert asyncio.run(run()).body is None
