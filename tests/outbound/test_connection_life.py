"""The life of a connection: pool, abort, cancel, back-pressure and time."""

from __future__ import annotations

import asyncio

import pytest

from perquery.outbound import OutboundError
from perquery.outbound.connection import PAUSE_ABOVE
from tests.outbound.bed import CHUNKED, HEAD, Bed, Cranked, cranked


def test_request_that_is_for_one_use_is_not_kept() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop, idle_s=0)
        bed.ask()
        bed.feed(HEAD + b"0" * 10)
        assert bed.shelf.said == ["lost"]

    cranked(main)


def test_answer_before_the_request_has_left_is_read_and_the_connection_not_kept() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask()
        bed.transport.unsent = 1
        bed.feed(HEAD + b"0" * 10)
        assert await response.read(10) == b"0" * 10
        assert bed.shelf.said == ["lost"]

    cranked(main)


def test_bytes_that_nobody_asked_for_end_an_idle_connection() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        bed.ask()
        bed.feed(HEAD + b"0" * 10)
        bed.feed(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        assert bed.shelf.said == ["kept", "lost"]
        assert not bed.connection.usable

    cranked(main)


def test_eof_ends_an_idle_connection_at_once() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        bed.ask()
        bed.feed(HEAD + b"0" * 10)
        bed.connection.eof_received()
        assert bed.shelf.said == ["kept", "lost"]
        assert bed.connection.send([b"x"], deadline=2000, idle_s=1) is None

    cranked(main)


def test_nothing_is_written_to_a_closing_transport() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        bed.transport.closed = True
        assert bed.connection.send([b"x"], deadline=2000, idle_s=1) is None
        assert bed.transport.written == []

    cranked(main)


@pytest.mark.parametrize(("size", "writes"), [(100, 1), (200_000, 2)])
def test_small_request_is_one_write(size: int, writes: int) -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        parts = [b"head", b"b" * size]
        bed.connection.send(parts, deadline=2000, idle_s=1)
        bed.round.end()
        assert len(bed.transport.written) == writes
        assert b"".join(bed.transport.written) == b"".join(parts)
        bed.connection.close()

    cranked(main)


def test_requests_of_one_round_are_written_at_its_end() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        bed.ask(leave=False)
        assert bed.transport.written == []
        await loop.pass_time(0)
        assert bed.transport.written == [b"ask"]
        bed.connection.close()

    cranked(main)


def test_what_ends_before_the_round_was_never_sent() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask(leave=False)
        bed.connection.connection_lost(None)
        with pytest.raises(OutboundError) as caught:
            await bed.head(response)
        assert not caught.value.sent
        bed.round.end()
        assert bed.transport.written == []

    cranked(main)


def test_answer_to_a_request_that_has_not_left_ends_the_connection() -> None:
    """A 408 to an idle connection, say, that a request has just taken: the next one must not find the two crossed."""

    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        bed.ask(leave=False)
        bed.feed(HEAD + b"0" * 10)
        assert bed.shelf.said == ["lost"]
        bed.round.end()
        assert bed.transport.written == []

    cranked(main)


def test_reading_is_paused_above_the_bound_and_resumed_when_taken() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask()
        bed.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n")
        fed = 0
        while not bed.transport.paused:
            bed.feed(b"x" * 10_000)
            fed += 10_000
        assert PAUSE_ABOVE - 10_000 <= fed <= PAUSE_ABOVE + 10_000
        assert len(await anext(response)) == fed
        assert not bed.transport.paused
        bed.connection.close()

    cranked(main)


def test_flood_of_tiny_chunks_is_paused_too() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        bed.ask()
        bed.feed(CHUNKED)
        fed = 0
        while not bed.transport.paused:
            bed.feed(b"1\r\nx\r\n" * 100)
            fed += 100
        assert fed < PAUSE_ABOVE // 64 + 100
        bed.connection.close()

    cranked(main)


def test_answer_that_ends_while_paused_frees_the_connection_for_reading() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask()
        size = PAUSE_ABOVE + 10
        bed.feed(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size, b"x" * (size - 1))
        assert bed.transport.paused
        bed.feed(b"x")
        assert not bed.transport.paused
        assert bed.shelf.said == ["kept"]
        assert len(await response.read(size)) == size
        bed.connection.close()

    cranked(main)


def test_read_beyond_its_limit_aborts() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask()
        bed.feed(HEAD, b"01234")
        with pytest.raises(OutboundError) as caught:
            await response.read(4)
        assert caught.value.kind == "protocol"
        assert bed.transport.closed

    cranked(main)


def test_abort_closes_at_once_and_ends_the_reader() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask()
        bed.feed(HEAD)
        reading = loop.create_task(response.read(100))
        await asyncio.sleep(0)
        response.abort()
        assert bed.transport.closed
        with pytest.raises(OutboundError) as caught:
            await reading
        assert caught.value.kind == "broken"

    cranked(main)


def test_abort_of_an_ended_answer_leaves_the_next_exchange_alone() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        async with bed.ask() as first:
            bed.feed(HEAD + b"0" * 10)
            second = bed.ask()
            first.abort()
        bed.feed(HEAD + b"1" * 10)
        assert await second.read(10) == b"1" * 10
        assert await first.read(10) == b"0" * 10
        bed.connection.close()

    cranked(main)


def test_cancelled_reader_closes_at_once() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask()
        bed.feed(HEAD)
        reading = loop.create_task(response.read(100))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert bed.transport.closed

    cranked(main)


def test_reader_cancelled_as_its_bytes_arrive_closes_too() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask()
        bed.feed(HEAD)
        reading = loop.create_task(response.read(100))
        await asyncio.sleep(0)
        bed.feed(b"0")
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert bed.transport.closed

    cranked(main)


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_total_time_bounds_the_wait_for_the_head(data: bytes) -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask(timeout_s=100, idle_s=10)
        bed.feed(data)
        await loop.pass_time(99)
        assert not bed.transport.closed
        await loop.pass_time(1)
        assert bed.transport.closed
        with pytest.raises(OutboundError) as caught:
            await bed.head(response)
        assert (caught.value.kind, caught.value.sent) == ("timeout", True)

    cranked(main)


def test_total_time_bounds_a_body_that_never_stalls() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask(timeout_s=25, idle_s=10)
        bed.feed(CHUNKED)
        for _ in range(5):
            bed.feed(b"1\r\nx\r\n")
            await loop.pass_time(5)
        with pytest.raises(OutboundError) as caught:
            await response.read(100)
        assert caught.value.kind == "timeout"

    cranked(main)


def test_stalled_body_is_idle_after_what_came() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask(timeout_s=100, idle_s=10)
        await loop.pass_time(15)
        bed.feed(CHUNKED + b"1\r\nx\r\n")
        await loop.pass_time(9)
        bed.feed(b"1\r\ny\r\n")
        await loop.pass_time(9.5)
        assert not bed.transport.closed
        await loop.pass_time(0.5)
        assert bed.transport.closed
        assert await anext(response) == b"xy"
        with pytest.raises(OutboundError) as caught:
            await anext(response)
        assert (caught.value.kind, caught.value.sent) == ("idle", True)

    cranked(main)


def test_slow_reader_is_not_an_idle_upstream() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        response = bed.ask(timeout_s=100, idle_s=10)
        bed.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n", b"x" * (PAUSE_ABOVE + 1))
        await loop.pass_time(50)
        await anext(response)
        await loop.pass_time(9)
        assert not bed.transport.closed
        await loop.pass_time(1)
        with pytest.raises(OutboundError) as caught:
            await anext(response)
        assert caught.value.kind == "idle"

    cranked(main)


def test_total_time_counts_for_a_slow_reader() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        bed.ask(timeout_s=100, idle_s=10)
        bed.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n", b"x" * (PAUSE_ABOVE + 1))
        await loop.pass_time(100)
        assert bed.transport.closed

    cranked(main)


@pytest.mark.parametrize(("announced", "stays_s"), [(b"", 60), (b"keep-alive: timeout=5, max=100\r\n", 4)])
def test_idle_connection_stays_so_long(announced: bytes, stays_s: float) -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop, idle_s=60)
        bed.ask(idle_s=300, timeout_s=1800)
        bed.feed(b"HTTP/1.1 200 OK\r\n" + announced + b"content-length: 0\r\n\r\n")
        await loop.pass_time(stays_s - 0.5)
        assert bed.connection.usable
        await loop.pass_time(0.5)
        assert bed.shelf.said == ["kept", "lost"]

    cranked(main)


def test_timer_of_a_long_stay_does_not_delay_a_short_deadline() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop, idle_s=60)
        bed.ask(idle_s=300, timeout_s=1800)
        bed.feed(HEAD + b"0" * 10)
        response = bed.ask(timeout_s=2, idle_s=300)
        await loop.pass_time(2)
        with pytest.raises(OutboundError) as caught:
            await bed.head(response)
        assert caught.value.kind == "timeout"

    cranked(main)


def test_deadline_of_an_ended_exchange_does_not_touch_the_next() -> None:
    async def main(loop: Cranked) -> None:
        bed = Bed(loop)
        bed.ask(timeout_s=2)
        bed.feed(HEAD + b"0" * 10)
        response = bed.ask(timeout_s=100)
        await loop.pass_time(50)
        bed.feed(HEAD + b"1" * 10)
        assert await response.read(10) == b"1" * 10
        bed.connection.close()

    cranked(main)
