"""Several processes on one database: two gateways on PostgreSQL, two workers on SQLite, a database that goes away."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.fire.bed import CHAT
from tests.fire.client import Answer, exchange
from tests.fire.processes import Load, config, database_url, judge, make_accounts, port_of, start
from tests.serving import Gateway
from tests.upstream import upstream_process

ORDER = {"model": "stub-model", "messages": [{"role": "user", "content": "script: prompt=20000"}]}  # two cents


@pytest.fixture(scope="module")
def upstream_url() -> Iterator[str]:
    with upstream_process() as url:
        yield url


async def ask(gateway: Gateway, key: str) -> Answer:
    """One call on a connection of its own, so that any worker may get it."""
    async with exchange(port_of(gateway), CHAT, ORDER, {"authorization": f"Bearer {key}"}) as call:
        return await call.answer()


async def control(gateway: Gateway, method: str, path: str, credit_id: str, body: object = None) -> Answer:
    async with exchange(port_of(gateway), path, body or {}, {"x-credit-id": credit_id}, method=method) as call:
        return await call.answer()


async def worked(load: Load, gateways: list[Gateway], pieces: int) -> None:
    """So much work, then its regular end."""
    working = asyncio.ensure_future(load.run([port_of(gateway) for gateway in gateways]))
    await load.after(pieces)
    load.stopping = True
    await working


def test_two_gateways_on_one_postgres(tmp_path: Path, postgres_url: str, upstream_url: str) -> None:
    """Under load, on the same accounts; then one of them is killed and the other goes on."""

    async def run() -> None:
        settings = [config(tmp_path / name, upstream_url, postgres_url) for name in ("one", "two")]
        one, two = await asyncio.gather(*(start(file.parent, file) for file in settings))
        try:
            load = Load(await make_accounts(postgres_url, "5", "1"), seed=31)
            await worked(load, [one, two], 200)
            whole = len(load.complete)
            assert whole
            load.stopping = False
            working = asyncio.ensure_future(load.run([port_of(one), port_of(two)]))
            await load.after(100)
            one.kill()
            await load.after(100)
            load.stopping = True
            await working
            assert len(load.complete) > whole
        finally:
            if one.process.poll() is None:
                one.kill()
            ended = await asyncio.to_thread(two.stop)
        assert ended == 0
        await judge(postgres_url, load)

    asyncio.run(run())


def test_two_workers_on_one_sqlite(tmp_path: Path, upstream_url: str) -> None:
    """Under load; and what is decided about a key on one worker is obeyed by the other at once."""

    async def run() -> None:
        gateway = await start(tmp_path, config(tmp_path, upstream_url), "--workers", "2")
        try:
            url = database_url(tmp_path, None)
            accounts = await make_accounts(url, "5", "1")
            load = Load(accounts, seed=32)
            await worked(load, [gateway], 200)
            assert load.complete
            await keys_are_obeyed_at_once(gateway, accounts[0].credit_id)
        finally:
            gateway.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(gateway.process.wait, 60)
        load.unknown += 1_000  # the keys' own calls
        await judge(url, load)

    asyncio.run(run())


async def keys_are_obeyed_at_once(gateway: Gateway, credit_id: str) -> None:
    """Revoked, or its limit spent, between two requests: whichever worker gets the second."""
    made = (await control(gateway, "POST", "/keys", credit_id, {"name": "revoked"})).json()["data"]
    assert [(await ask(gateway, made["api_key"])).status for _ in range(8)] == [200] * 8
    gone = await control(gateway, "DELETE", f"/keys/{made['_id']}", credit_id)
    assert gone.status in (200, 204)
    assert [(await ask(gateway, made["api_key"])).status for _ in range(8)] == [401] * 8
    spent = (await control(gateway, "POST", "/keys", credit_id, {"name": "limited"})).json()["data"]
    assert (await ask(gateway, spent["api_key"])).status == 200
    lower = await control(gateway, "PATCH", f"/keys/{spent['_id']}", credit_id, {"usage_limit_usd": 0.01})
    assert lower.status == 200
    answers = [await ask(gateway, spent["api_key"]) for _ in range(8)]
    assert [answer.json()["error"]["code"] for answer in answers] == ["key_limit_exceeded"] * 8


def test_postgres_restarted_under_load(tmp_path: Path, upstream_url: str) -> None:
    """Calls come through or fail with a 503; nothing is lost, and it goes on by itself."""

    async def run(server: postgres.Server) -> None:
        url = server.create_database()
        file = config(tmp_path, upstream_url, url)
        gateway = await start(tmp_path, file)
        try:
            load = Load(await make_accounts(url, "5", "1"), seed=33)
            working = asyncio.ensure_future(load.run([port_of(gateway)]))
            await load.after(100)
            await asyncio.to_thread(server.restart)
            await load.after(100)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.restart)
            await load.after(100)
            load.stopping = True
            await working
            assert set(load.refused) <= {503}, load.refused
        finally:
            ended = await asyncio.to_thread(gateway.stop)
        assert ended == 0
        await judge(url, load)

    with postgres.serving() as server:
        asyncio.run(run(server))
