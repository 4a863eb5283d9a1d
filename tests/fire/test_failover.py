"""Two upstreams at different prices: who serves is who is billed, and the receipt tells who did not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fire.bed import HOUSE_KEY, lit, model, price
from tests.fire.hearth import Hearth, burning
from tests.upstream import Script

VENDOR = "Vendor Inc. says no"
ERROR = {"message": VENDOR}


@pytest.fixture(scope="module")
def hearth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearth]:
    with burning(
        tmp_path_factory.mktemp("hearth"),
        upstreams={"first": True, "second": True},
        models=(model("stub-model", "first", "second"),),
        markups={"first": "1.05", "second": "1.50"},
        timeouts={"total_s": 5.0, "idle_s": 0.1},
    ) as lasting:
        yield lasting


TROUBLES = [
    ("auth", Script(status=401, error=ERROR)),
    ("funds", Script(status=402, error=ERROR)),
    ("model", Script(status=404, error=ERROR)),
    ("busy", Script(status=429, retry_after="9", error=ERROR)),
    ("busy", Script(status=529, error=ERROR)),
    ("down", Script(status=500, error=ERROR)),
    ("garbage", Script(fault="garbage")),
    ("garbage", Script(fault="html")),
    ("down", Script(fault="error_body", error=ERROR)),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("kind", "script"), TROUBLES, ids=[f"{k}-{s.status}{s.fault}" for k, s in TROUBLES])
def test_the_next_one_serves_and_is_billed(hearth: Hearth, kind: str, script: Script, stream: bool) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        bed.upstreams["first"].script = script
        bed.upstreams["second"].script = Script(prompt=1000, completion=70)
        answer = await bed.ask(account, stream=stream)
        assert await bed.spent(account) == answer.cost() == price(1000, 70, percent=150)
        row = await bed.only_row(account)
        assert row["provider"] == "second"
        assert [(each["provider"], each["error"]) for each in row["detail"]["attempts"]] == [("first", kind)]
        said = answer.body + repr(answer.headers).encode()
        assert VENDOR.encode() not in said
        assert HOUSE_KEY.encode() not in said

    hearth.run(run())


def test_a_benched_upstream_is_tried_last(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        bed.upstreams["first"].script = Script(status=401)
        await bed.ask(account)
        await bed.ask(account)
        assert [len(each.requests) for each in bed.upstreams.values()] == [1, 2]

    hearth.run(run())


def test_one_budget_of_attempts(hearth: Hearth) -> None:
    """Both fail: four attempts in all, then a 503 that says when to come back."""

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        for upstream in bed.upstreams.values():
            upstream.script = Script(status=500)
        answer = await bed.ask(account)
        assert (answer.status, await bed.spent(account)) == (503, 0)
        assert [len(each.requests) for each in bed.upstreams.values()] == [2, 2]
        assert int(answer.headers["retry-after"]) >= 1

    hearth.run(run())


def test_a_fault_of_the_callers_goes_to_nobody_else(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        bed.upstreams["first"].script = Script(status=400, error={"message": "no such parameter"})
        answer = await bed.ask(account)
        assert (answer.status, await bed.spent(account)) == (400, 0)
        assert not bed.upstreams["second"].requests

    hearth.run(run())


@pytest.mark.parametrize("stream", [True, False])
def test_the_dearest_is_held_and_the_cheaper_is_charged(hearth: Hearth, stream: bool) -> None:
    """Routes are tried in their order; the hold covers the dearest of them."""

    async def run() -> None:
        bed, gate = hearth.bed, asyncio.Event()
        account = await bed.account()
        bed.upstreams["first"].script = Script(gate=gate)
        async with bed.opened(account, stream=stream, max_tokens=1000) as exchange:
            await asyncio.wait_for((await bed.upstreams["first"].arrival()).reached.wait(), 60)
            held = bed.figures(account).held
            assert held > price(0, 1000, percent=150)
            gate.set()
            answer = await exchange.answer()
        assert await bed.spent(account) == answer.cost() == price(10, 5, percent=105)

    hearth.run(run())


def test_a_spent_key_gives_way_to_the_next_of_the_same_host(tmp_path: Path) -> None:
    """Several keys of a host are one upstream: a dead one is passed over, and nobody notices."""

    async def run() -> None:
        async with lit(tmp_path, keys=("sk-dead-key-0001", "sk-good-key-0002")) as bed:
            account = await bed.account()
            bed.upstream.scripts = [Script(status=401)]
            answer = await bed.ask(account)
            assert (answer.status, await bed.spent(account)) == (200, price(10, 5))
            used = [request.headers["authorization"] for request in bed.upstream.requests]
            assert used == ["Bearer sk-dead-key-0001", "Bearer sk-good-key-0002"]
            await bed.ask(account)
            assert bed.upstream.requests[-1].headers["authorization"] == "Bearer sk-good-key-0002"

    asyncio.run(run())
