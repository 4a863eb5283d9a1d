"""Many callers at once on one balance, on one key's limit: never overspent, nothing stranded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import update

from perquery.store import credentials
from perquery.store.tables import api_keys
from tests.fire.bed import Account, Bed, model, price
from tests.fire.hearth import Hearth, burning
from tests.upstream import Script

CALLERS = 200


@pytest.fixture(scope="module")
def hearth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearth]:
    with burning(
        tmp_path_factory.mktemp("hearth"),
        upstreams={"scripted": True, "bills-on": False},
        models=(model("stub-model", "scripted"), model("drained", "bills-on")),
    ) as lasting:
        yield lasting


async def all_at_once(bed: Bed, account: Account, number: int = CALLERS, **how: Any) -> list[int | None]:
    """So many callers; what each was charged, None where it was refused."""

    async def one(n: int) -> int | None:
        answer = await bed.ask(account, stream=bool(n % 2), **how)
        if answer.status == 200:
            return answer.cost()
        assert answer.status == 402, answer.body
        return None

    return list(await asyncio.gather(*(one(n) for n in range(number))))


@pytest.mark.parametrize("name", ["stub-model", "drained"])
def test_two_hundred_callers_on_a_small_balance(hearth: Hearth, name: str) -> None:
    """The balance covers a part of them. What all were charged together is exactly what is gone."""

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("0.05")
        for upstream in bed.upstreams.values():
            upstream.script = Script(chunks=10, prompt=600, gap_ms=1)
        charged = await all_at_once(bed, account, model=name, max_tokens=4_000)
        paid = [cost for cost in charged if cost is not None]
        spent = await bed.spent(account)
        assert sum(paid) == spent <= account.credited
        assert len(bed.rows(account)) == len(paid)
        whole = price(600, 10)
        assert spent > account.credited - 2 * (whole + price(0, 256)), "what is left is too little for one more"

    hearth.run(run())


def test_callers_who_come_and_go(hearth: Hearth) -> None:
    """Half of them hang up somewhere; nothing stays held and every charge has its receipt."""

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("0.05")
        for upstream in bed.upstreams.values():
            upstream.script = Script(chunks=20, prompt=100, gap_ms=1)

        async def one(n: int) -> None:
            name = "stub-model" if n % 4 < 2 else "drained"
            async with bed.opened(account, model=name, stream=True) as exchange:
                if n % 2:
                    await exchange.answer()
                elif n % 8:
                    await exchange.piece()

        await asyncio.gather(*(one(n) for n in range(100)))
        spent = await bed.spent(account)
        assert spent == sum(row["cost_nano"] for row in bed.rows(account)) <= account.credited

    hearth.run(run())


async def limited(bed: Bed, account: Account, **settings: Any) -> tuple[str, str]:
    """(key id, secret) of another key of the account."""
    row, secret = await asyncio.to_thread(credentials.create_key, bed.database, account.id, {"name": "x"} | settings)
    return row.id, secret


def test_a_keys_limit_holds_under_concurrency(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("1")
        limit = 3_000_000
        key_id, secret = await limited(bed, account, limit_nano=limit)
        for upstream in bed.upstreams.values():
            upstream.script = Script(chunks=20, prompt=300, gap_ms=1)
        charged = await all_at_once(bed, account, 100, key=secret, max_tokens=300)
        paid = [cost for cost in charged if cost is not None]
        assert 0 < len(paid) < 100
        assert sum(paid) == await bed.spent(account) <= limit
        row = credentials.get_key(bed.database, account.id, key_id)
        assert (row.used_nano, row.held_nano, row.total_nano) == (sum(paid), 0, sum(paid))

    hearth.run(run())


def test_a_spent_key_limit_says_so(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("1")
        _, secret = await limited(bed, account, limit_nano=1)
        answer = await bed.ask(account, key=secret)
        assert (answer.status, answer.json()["error"]["code"]) == (402, "key_limit_exceeded")
        assert answer.headers["x-should-retry"] == "false"
        assert (await bed.ask(account)).status == 200, "the account's other keys go on"

    hearth.run(run())


def test_a_revoked_key_stops_at_once_and_what_runs_is_settled(hearth: Hearth) -> None:
    async def run() -> None:
        bed, gate = hearth.bed, asyncio.Event()
        account = await bed.account("1")
        key_id, secret = await limited(bed, account)
        bed.upstream.scripts = [Script(gate=gate, after=2)]
        running = asyncio.ensure_future(bed.ask(account, key=secret, stream=True))
        await bed.upstream.arrival()
        await asyncio.to_thread(credentials.delete_key, bed.database, account.id, key_id)
        refused = await bed.ask(account, key=secret)
        assert (refused.status, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        gate.set()
        assert (await running).cost() == await bed.spent(account) == price(10, 5)

    hearth.run(run())


CHANGES: list[tuple[dict[str, Any], int, str]] = [
    ({"limit_nano": 1}, 402, "key_limit_exceeded"),
    ({"models": ["drained"]}, 403, "model_not_allowed"),
]


@pytest.mark.parametrize(("change", "status", "code"), CHANGES, ids=[code for _, _, code in CHANGES])
def test_a_changed_key_is_obeyed_at_once(hearth: Hearth, change: dict[str, Any], status: int, code: str) -> None:
    """The key was used before, so the gateway remembers whose it is: that must not be all that it remembers."""

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("1")
        key_id, secret = await limited(bed, account)
        assert (await bed.ask(account, key=secret)).status == 200
        await asyncio.to_thread(credentials.change_key, bed.database, account.id, key_id, change)
        answer = await bed.ask(account, key=secret)
        assert (answer.status, answer.json()["error"]["code"]) == (status, code)
        assert await bed.spent(account) == price(10, 5)

    hearth.run(run())


def test_an_expired_key_stops_at_once(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("1")
        key_id, secret = await limited(bed, account)
        assert (await bed.ask(account, key=secret)).status == 200
        await asyncio.to_thread(_expire, bed, key_id)
        answer = await bed.ask(account, key=secret)
        assert (answer.status, answer.json()["error"]["code"]) == (401, "api_key_expired")
        assert await bed.spent(account) == price(10, 5)

    hearth.run(run())


def _expire(bed: Bed, key_id: str) -> None:
    """As if the time had come: nobody can set an expiry in the past."""
    with bed.database.writer.begin() as connection:
        connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(expire_at=1))


def test_hammering_at_an_empty_balance_is_asked_for_patience(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("0.01")
        empty = Account(account.id, account.key, account.credit_id, 0)
        made = await asyncio.to_thread(credentials.create_account, bed.database)
        nothing = Account(made.account_id, made.api_key, made.credit_id, 0)
        statuses = [(await bed.ask(nothing)).status for _ in range(12)]
        assert statuses[0] == 402
        assert statuses[-1] == 429
        assert (await bed.ask(empty)).status == 200, "others are not concerned"
        assert await bed.spent(nothing) == 0
        assert not bed.rows(nothing), "refused requests are not written row by row"

    hearth.run(run())


def test_a_balance_that_is_merely_too_small_is_never_asked_for_patience(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("0.01")
        strict = {"x-perquery-strict-cap": "1"}
        for _ in range(15):
            assert (await bed.ask(account, max_tokens=8_000, n=4, headers=strict)).status == 402
        assert (await bed.ask(account)).status == 200

    hearth.run(run())
