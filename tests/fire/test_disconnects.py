"""The caller leaves: before the first byte, in the middle, at the last chunk; what that costs, to the nano-dollar."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.fire.bed import Account, Bed, lit, price
from tests.upstream import Request, Script

BODY = {"model": "stub-model", "messages": [{"role": "user", "content": "Say something."}], "stream": True}
INPUT_ESTIMATE = -(-len(json.dumps(BODY)) // 4)  # four bytes a token, where the upstream's figures never came


async def left(bed: Bed, account: Account, script: Script, mark: bytes | None, *, stream: bool = True) -> Request:
    """A caller who leaves when the body holds `mark`, or (None) when the upstream has stopped at its gate or fault."""
    bed.upstream.scripts = [script]
    async with bed.opened(account, stream=stream) as exchange:
        request = await bed.upstream.arrival()
        if mark is None:
            await asyncio.wait_for(request.reached.wait(), 60)
        else:
            await exchange.until(mark)
        exchange.hang_up()
    return request


async def hung_up(request: Request) -> None:
    await asyncio.wait_for(request.hung_up.wait(), 60)


def test_in_the_middle_where_a_cancel_stops_the_bill(tmp_path: Path) -> None:
    """The upstream sees the hang-up at once; the input and what was delivered are paid."""

    async def run() -> None:
        async with lit(tmp_path) as bed:
            account = await bed.account()
            request = await left(bed, account, Script(chunks=9, fault="hang", after=3), None)
            await hung_up(request)
            assert await bed.spent(account) == price(INPUT_ESTIMATE, 3)
            row = await bed.only_row(account)
            assert (row["rule"], row["detail"]["estimated"]) == ("caller_left", True)

    asyncio.run(run())


def test_in_the_middle_where_the_upstream_bills_on(tmp_path: Path) -> None:
    """It is read to its end, and its figures are the charge."""

    async def run() -> None:
        async with lit(tmp_path, upstreams={"scripted": False}) as bed:
            account, gate = await bed.account(), asyncio.Event()
            request = await left(bed, account, Script(chunks=9, gate=gate, after=3, prompt=100), b"yes")
            await bed.noticed()
            gate.set()
            assert await bed.spent(account) == price(100, 9)
            assert (request.answered.is_set(), request.hung_up.is_set()) == (True, False)
            assert (await bed.only_row(account))["rule"] == "caller_left_drained"

    asyncio.run(run())


def test_a_drain_is_bounded(tmp_path: Path) -> None:
    async def run() -> None:
        async with lit(tmp_path, upstreams={"scripted": False}, timeouts={"drain_s": 0.3}) as bed:
            account = await bed.account()
            request = await left(bed, account, Script(chunks=9, fault="hang", after=3), None)
            await hung_up(request)
            assert await bed.spent(account) == price(INPUT_ESTIMATE, 3)
            assert (await bed.only_row(account))["rule"] == "caller_left"

    asyncio.run(run())


@pytest.mark.parametrize("cancel_stops_billing", [True, False])
def test_before_the_first_chunk(tmp_path: Path, cancel_stops_billing: bool) -> None:
    """The head has not come, so the request counts as still billing until the upstream has spoken."""

    async def run() -> None:
        async with lit(tmp_path, upstreams={"scripted": cancel_stops_billing}) as bed:
            account, gate = await bed.account(), asyncio.Event()
            request = await left(bed, account, Script(chunks=9, gap_ms=20, gate=gate, prompt=100), None)
            await bed.noticed()
            gate.set()
            spent = await bed.spent(account)
            if cancel_stops_billing:
                await hung_up(request)
                assert spent == price(INPUT_ESTIMATE, 0)
            else:
                assert spent == price(100, 9)

    asyncio.run(run())


@pytest.mark.parametrize("cancel_stops_billing", [True, False])
def test_a_plain_call_is_read_to_its_end(tmp_path: Path, cancel_stops_billing: bool) -> None:
    """What a half-made plain answer cost nobody knows; its own figures decide."""

    async def run() -> None:
        async with lit(tmp_path, upstreams={"scripted": cancel_stops_billing}) as bed:
            account, gate = await bed.account(), asyncio.Event()
            await left(bed, account, Script(chunks=9, gate=gate, prompt=100), None, stream=False)
            await bed.noticed()
            gate.set()
            assert await bed.spent(account) == price(100, 9)
            assert (await bed.only_row(account))["rule"] == "caller_left_drained"

    asyncio.run(run())


def test_a_plain_call_that_is_streamed_from_upstream_is_dropped(tmp_path: Path) -> None:
    """The balance is small, so the gateway streams and counts; then a hang-up stops the bill here too."""

    async def run() -> None:
        async with lit(tmp_path) as bed:
            account = await bed.account("0.01")
            script = Script(chunks=9, fault="hang", after=3)
            request = await left(bed, account, script, None, stream=False)
            assert request.body["stream"] is True
            await hung_up(request)
            plain = -(-len(json.dumps(BODY | {"stream": False})) // 4)
            assert await bed.spent(account) == price(plain, 3)

    asyncio.run(run())


@pytest.mark.parametrize("cancel_stops_billing", [True, False])
def test_at_the_finish_reason_the_figures_are_waited_for(tmp_path: Path, cancel_stops_billing: bool) -> None:
    """Tools hang up as soon as they have the finish reason: all has been said, so what it truly cost is the charge."""

    async def run() -> None:
        async with lit(tmp_path, upstreams={"scripted": cancel_stops_billing}) as bed:
            account, gate = await bed.account(), asyncio.Event()
            script = Script(chunks=3, prompt=100, gate=gate, gate_at="figures")
            await left(bed, account, script, b'"finish_reason":"stop"')
            await bed.noticed()
            gate.set()
            assert await bed.spent(account) == price(100, 3)
            assert (await bed.only_row(account))["rule"] == "caller_left_drained"

    asyncio.run(run())


def test_nobody_else_is_asked_for_a_caller_who_has_gone(tmp_path: Path) -> None:
    async def run() -> None:
        async with lit(tmp_path) as bed:
            account, gate = await bed.account(), asyncio.Event()
            await left(bed, account, Script(status=500, gate=gate, gate_at="head"), None)
            await bed.noticed()
            gate.set()
            assert await bed.spent(account) == 0
            assert len(bed.upstream.requests) == 1
            assert (await bed.only_row(account))["rule"] == "upstream_error"

    asyncio.run(run())
