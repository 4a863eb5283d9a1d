"""The gateway is stopped with calls in flight: they end and are settled; what outlasts the bound is free."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from perquery.store.tables import holds, requests
from tests.fire.bed import CHAT, price
from tests.fire.client import exchange
from tests.fire.processes import Load, config, database_url, judge, make_accounts, opened, port_of, start
from tests.upstream import Script, scripted


@pytest.mark.parametrize("stream", [True, False])
def test_what_runs_is_finished_and_settled(tmp_path: Path, stream: bool) -> None:
    async def run() -> None:
        async with scripted() as upstream:
            gateway = await start(tmp_path, config(tmp_path, upstream.base_url))
            url, gate = database_url(tmp_path, None), asyncio.Event()
            (account,) = await make_accounts(url, "1")
            upstream.script = Script(gate=gate, after=2)
            body = {"model": "stub-model", "messages": [{"role": "user", "content": "Go."}], "stream": stream}
            async with exchange(port_of(gateway), CHAT, body, {"authorization": f"Bearer {account.key}"}) as call:
                await asyncio.wait_for((await upstream.arrival()).reached.wait(), 60)
                gateway.process.send_signal(signal.SIGTERM)
                await closed_to_others(port_of(gateway))
                gate.set()
                answer = await call.answer()
            assert await asyncio.to_thread(gateway.process.wait, 30) == 0
            assert answer.status == 200
            assert answer.cost() == price(10, 5)
            load = Load([account], 0, complete={answer.headers["x-perquery-generation-id"]: answer.cost()})
            await judge(url, load)

    asyncio.run(run())


async def closed_to_others(port: int) -> None:
    """Wait until the gateway takes no new connections."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        writer.transport.abort()


@pytest.mark.parametrize("fault", ["head", "hang"])
def test_what_outlasts_the_bound_is_free_and_on_record(tmp_path: Path, fault: str) -> None:
    async def run() -> None:
        async with scripted() as upstream:
            file = config(tmp_path, upstream.base_url, extra="[timeouts]\nshutdown_s = 1\n")
            gateway = await start(tmp_path, file)
            url = database_url(tmp_path, None)
            (account,) = await make_accounts(url, "1")
            upstream.script = Script(fault=fault, after=2)
            body = {"model": "stub-model", "messages": [{"role": "user", "content": "Go."}], "stream": True}
            async with exchange(port_of(gateway), CHAT, body, {"authorization": f"Bearer {account.key}"}):
                request = await upstream.arrival()
                await asyncio.wait_for(request.reached.wait(), 60)
                gateway.process.send_signal(signal.SIGTERM)
                await asyncio.wait_for(request.hung_up.wait(), 60)
                await asyncio.to_thread(gateway.process.wait, 30)
            with opened(url) as database, database.reader.begin() as connection:
                assert not connection.execute(holds.select()).all(), "nothing is left for a sweep"
                (row,) = connection.execute(requests.select()).all()
            assert (row.rule, row.cost_nano, row.held_nano > 0) == ("gateway_stopped", 0, True)
            await judge(url, Load([account], 0))

    asyncio.run(run())
