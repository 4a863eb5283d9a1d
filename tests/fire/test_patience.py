"""Silence, slow readers, readers who never read: the connection is kept alive, memory bounded, the money settled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from perquery.metering.caller import Pace
from tests.fire.bed import Bed, lit, model, price
from tests.upstream import Script

KEEP_ALIVE = b": PERQUERY PROCESSING\n\n"
SHORT = Pace(watch_after_s=0, tick_s=0.02, silence_s=0.1, keep_alive_s=0.1, stall_s=30)
MODELS = (model("stub-model", "first", "second"),)
BOTH = {"first": True, "second": True}


def test_a_silent_upstream_is_bridged_by_comments(tmp_path: Path) -> None:
    """The stream opens without an answer, and the answer then comes as if nothing had been."""

    async def run() -> None:
        async with lit(tmp_path, pace=SHORT) as bed:
            account, gate = await bed.account(), asyncio.Event()
            bed.upstream.script = Script(gate=gate, gate_at="head")
            async with bed.opened(account, stream=True) as exchange:
                await exchange.until(KEEP_ALIVE * 3)
                assert exchange.status == 200
                assert exchange.headers["x-perquery-balance"] == "1"
                gate.set()
                answer = await exchange.answer()
            assert (answer.text(), answer.complete) == ("yes " * 5, True)
            assert await bed.spent(account) == answer.cost() == price(10, 5)

    asyncio.run(run())


def test_silence_within_an_answer_is_bridged_too(tmp_path: Path) -> None:
    async def run() -> None:
        async with lit(tmp_path, pace=SHORT) as bed:
            account, gate = await bed.account(), asyncio.Event()
            bed.upstream.script = Script(gate=gate, after=2)
            async with bed.opened(account, stream=True) as exchange:
                await exchange.until(KEEP_ALIVE)
                gate.set()
                answer = await exchange.answer()
            assert answer.text() == "yes " * 5
            assert await bed.spent(account) == answer.cost() == price(10, 5)

    asyncio.run(run())


def test_a_plain_answer_is_not_opened_early(tmp_path: Path) -> None:
    async def run() -> None:
        async with lit(tmp_path, pace=SHORT) as bed:
            account = await bed.account()
            answer = await bed.ask(account, script="chunks=30 gap_ms=10")
            assert KEEP_ALIVE not in answer.body
            assert await bed.spent(account) == answer.cost() == price(10, 30)

    asyncio.run(run())


def test_another_upstream_may_still_serve_after_the_stream_has_opened(tmp_path: Path) -> None:
    """A comment is no event: failover goes on behind it."""

    async def run() -> None:
        async with lit(tmp_path, pace=SHORT, models=MODELS, upstreams=BOTH) as bed:
            account, gate = await bed.account(), asyncio.Event()
            bed.upstreams["first"].script = Script(status=500, gate=gate, gate_at="head")
            async with bed.opened(account, stream=True) as exchange:
                await exchange.until(KEEP_ALIVE)
                gate.set()
                answer = await exchange.answer()
            assert (answer.status, answer.text(), answer.finish()) == (200, "yes " * 5, "stop")
            assert await bed.spent(account) == answer.cost() == price(10, 5)

    asyncio.run(run())


@pytest.mark.parametrize(("status", "code"), [(401, "upstream_unavailable"), (400, "bad_thing")])
def test_errors_after_the_stream_has_opened_are_told_in_it(tmp_path: Path, status: int, code: str) -> None:
    async def run() -> None:
        async with lit(tmp_path, pace=SHORT) as bed:
            account, gate = await bed.account(), asyncio.Event()
            error = {"message": "no", "code": "bad_thing"}
            bed.upstream.script = Script(status=status, error=error, gate=gate, gate_at="head")
            async with bed.opened(account, stream=True) as exchange:
                await exchange.until(KEEP_ALIVE)
                gate.set()
                answer = await exchange.answer()
            (told, done) = answer.events()
            assert (answer.status, told["error"]["code"], done) == (200, code, "[DONE]")
            assert await bed.spent(account) == 0

    asyncio.run(run())


LONG = Script(chunks=300, text="yes " * 16_384)  # 20 MB: more than the system's own buffers take in
SMALL_BUFFER = 32_768


def buffered(bed: Bed) -> int:
    """Bytes that the gateway keeps for callers who have not taken them yet."""
    connections = list(bed.server.server_state.connections)
    return sum(each.transport.get_write_buffer_size() for each in connections if hasattr(each, "transport"))


def test_a_slow_reader_costs_no_memory_and_pays_all(tmp_path: Path) -> None:
    """Twenty megabytes to a caller who takes them in small bites: the upstream is slowed, not the buffer filled."""

    async def run() -> None:
        async with lit(tmp_path) as bed:
            account = await bed.account("100")
            bed.upstream.script = LONG
            most = 0
            async with bed.opened(account, stream=True, receive_buffer=SMALL_BUFFER) as exchange:
                size = 0
                while piece := await exchange.piece():
                    exchange.body, size = piece, size + len(piece)
                    most = max(most, buffered(bed))
            assert exchange.body.endswith(b"data: [DONE]\n\n")
            assert size > 300 * 65_536
            assert most < 512 * 1024  # what one read from the upstream brought, on top of what waits already
            assert await bed.spent(account) == price(10, 300)

    asyncio.run(run())


def test_a_reader_who_never_reads_is_gone_after_a_while(tmp_path: Path) -> None:
    """The upstream is dropped, what was relayed is paid, nothing stays held."""

    async def run() -> None:
        pace = Pace(watch_after_s=0, tick_s=0.02, stall_s=0.2)
        async with lit(tmp_path, pace=pace) as bed:
            account = await bed.account("100")
            bed.upstream.script = LONG
            async with bed.opened(account, stream=True, receive_buffer=SMALL_BUFFER):
                request = await bed.upstream.arrival()
                await asyncio.wait_for(request.hung_up.wait(), 60)
                await bed.quiet()
            row = await bed.only_row(account)
            assert (row["rule"], row["detail"]["estimated"]) == ("caller_left", True)
            assert row["output_count"] >= 16_384
            assert await bed.spent(account) == price(row["input_count"], row["output_count"]) > 0
            assert request.chunks < 300

    asyncio.run(run())


def test_a_reader_who_never_reads_pays_where_the_upstream_falls_silent(tmp_path: Path) -> None:
    """What stalls is the gateway's comment, while the request waits for the upstream: it is not thereby free."""

    async def run() -> None:
        pace = Pace(watch_after_s=0, tick_s=0.02, silence_s=0.1, keep_alive_s=0.1, stall_s=0.3)
        async with lit(tmp_path, pace=pace) as bed:
            account = await bed.account()
            bed.upstream.script = Script(chunks=2, text="yes " * 2_000_000, fault="hang", after=1)
            async with bed.opened(account, stream=True, receive_buffer=SMALL_BUFFER):
                await bed.upstream.arrival()
                await bed.quiet()
            row = await bed.only_row(account)
            assert row["rule"] == "caller_left"
            assert await bed.spent(account) > 0

    asyncio.run(run())


def test_a_reader_who_never_reads_is_drained_where_the_upstream_bills_on(tmp_path: Path) -> None:
    async def run() -> None:
        pace = Pace(watch_after_s=0, tick_s=0.02, stall_s=0.2)
        async with lit(tmp_path, pace=pace, upstreams={"scripted": False}) as bed:
            account = await bed.account("100")
            bed.upstream.script = LONG
            async with bed.opened(account, stream=True, receive_buffer=SMALL_BUFFER):
                await bed.upstream.arrival()
                await bed.quiet()
            assert (await bed.only_row(account))["rule"] == "caller_left_drained"
            assert await bed.spent(account) == price(10, 300)

    asyncio.run(run())
