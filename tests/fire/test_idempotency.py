"""Idempotency-Key: the same key and body are served and paid once, whatever happens to the first answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from perquery.store import replies
from tests.fire.bed import Account, Bed, model, price
from tests.fire.client import Answer
from tests.fire.hearth import Hearth, burning
from tests.upstream import Script

BOTH = pytest.mark.parametrize("stream", [True, False])


@pytest.fixture(scope="module")
def hearth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearth]:
    with burning(
        tmp_path_factory.mktemp("hearth"),
        upstreams={"scripted": True, "bills-on": False},
        models=(model("stub-model", "scripted"), model("drained", "bills-on")),
        timeouts={"total_s": 5.0, "idle_s": 0.2},
    ) as lasting:
        yield lasting


def named(key: str = "a-key") -> dict[str, str]:
    return {"idempotency-key": key}


async def once(bed: Bed, account: Account, **how: Any) -> Answer:
    return await bed.ask(account, headers=named(), **how)


@BOTH
def test_a_repeated_request_gets_the_same_answer_and_pays_nothing(hearth: Hearth, stream: bool) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        first = await once(bed, account, stream=stream)
        again = await once(bed, account, stream=stream)
        assert (again.status, again.body) == (200, first.body)
        assert again.headers["x-perquery-replayed"] == "1"
        assert again.headers["x-perquery-generation-id"] == first.headers["x-perquery-generation-id"]
        assert again.headers["content-type"] == first.headers["content-type"]
        assert "x-perquery-replayed" not in first.headers
        assert len(bed.upstream.requests) == 1
        assert await bed.spent(account) == price(10, 5)

    hearth.run(run())


def test_keys_belong_to_their_account(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        one, other = await bed.account(), await bed.account()
        await once(bed, one)
        answer = await once(bed, other)
        assert "x-perquery-replayed" not in answer.headers
        assert await bed.spent(other) == price(10, 5)

    hearth.run(run())


def test_another_body_is_a_conflict(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        await once(bed, account)
        answer = await once(bed, account, max_tokens=7)
        assert (answer.status, answer.json()["error"]["code"]) == (409, "idempotency_key_reused")
        assert await bed.spent(account) == price(10, 5)

    hearth.run(run())


@BOTH
def test_while_the_first_runs_it_is_a_conflict(hearth: Hearth, stream: bool) -> None:
    async def run() -> None:
        bed, gate = hearth.bed, asyncio.Event()
        account = await bed.account()
        bed.upstream.scripts = [Script(gate=gate, gate_at="head")]
        first = asyncio.ensure_future(once(bed, account, stream=stream))
        await bed.upstream.arrival()
        second = await once(bed, account, stream=stream)
        assert (second.status, second.json()["error"]["code"]) == (409, "idempotency_key_in_use")
        assert second.headers["retry-after"] == "1"
        gate.set()
        assert (await first).status == 200
        assert await bed.spent(account) == price(10, 5)

    hearth.run(run())


def test_two_at_the_same_moment_are_served_once(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        bed.upstream.script = Script(chunks=5, gap_ms=10)
        answers = await asyncio.gather(*(once(bed, account) for _ in range(8)))
        assert sorted({answer.status for answer in answers}) in ([200], [200, 409])
        assert len(bed.upstream.requests) == 1
        assert await bed.spent(account) == price(10, 5)

    hearth.run(run())


FAILURES = [
    Script(status=400),
    Script(status=401),
    Script(fault="hang", after=2),
    Script(fault="break", after=2),
    Script(fault="error_event", after=2),
    Script(finish="error"),
    Script(chunks=0, finish=""),
]


@pytest.mark.parametrize("script", FAILURES, ids=lambda script: f"{script.status}{script.fault}{script.finish}")
def test_after_a_failure_it_may_run_again(hearth: Hearth, script: Script) -> None:
    """Nothing was paid, so nothing is kept: also where the stream had begun."""

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        bed.upstream.scripts = [script]
        await once(bed, account, stream=True)
        assert await bed.spent(account) == 0
        answer = await once(bed, account, stream=True)
        assert (answer.status, answer.complete, answer.finish()) == (200, True, "stop")
        assert "x-perquery-replayed" not in answer.headers
        assert await bed.spent(account) == price(10, 5)

    hearth.run(run())


def test_after_a_402_it_may_run_again(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("0.0000001")
        assert (await once(bed, account)).status == 402
        assert (await once(bed, account)).status == 402

    hearth.run(run())


@pytest.mark.parametrize("name", ["stub-model", "drained"])
@BOTH
def test_a_caller_who_left_gets_the_answer_that_was_paid(hearth: Hearth, stream: bool, name: str) -> None:
    """The reason for such keys: the connection is lost and the request is sent again. It is finished without the
    caller, also where dropping it would have stopped the bill."""

    async def run() -> None:
        bed, gate = hearth.bed, asyncio.Event()
        account = await bed.account()
        upstream = bed.upstreams["scripted" if name == "stub-model" else "bills-on"]
        upstream.scripts = [Script(chunks=9, gate=gate, after=3)]
        async with bed.opened(account, model=name, stream=stream, headers=named()) as exchange:
            await asyncio.wait_for((await upstream.arrival()).reached.wait(), 60)
            exchange.hang_up()
        await bed.noticed()
        gate.set()
        await bed.quiet()
        answer = await bed.ask(account, model=name, stream=stream, headers=named())
        while answer.status == 409:  # settled, and just being kept: "retry-after" says to come again
            answer = await bed.ask(account, model=name, stream=stream, headers=named())
        text = answer.text() if stream else answer.json()["choices"][0]["message"]["content"]
        assert (answer.headers["x-perquery-replayed"], text) == ("1", "yes " * 9)
        assert len(upstream.requests) == 1
        assert await bed.spent(account) == answer.cost() == price(10, 9)

    hearth.run(run())


def test_an_answer_too_long_to_keep_is_not_paid_twice(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        bed.upstream.script = Script(chunks=3, text="yes " * 100_000)
        first = await once(bed, account)
        again = await once(bed, account)
        assert (again.status, again.json()["error"]["code"]) == (409, "idempotency_answer_gone")
        assert first.headers["x-perquery-generation-id"] in again.json()["message"]
        assert await bed.spent(account) == price(10, 3)

    hearth.run(run())


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_has_a_length(hearth: Hearth, key: str) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        answer = await bed.ask(account, headers=named(key))
        assert (answer.status, answer.json()["error"]["param"]) == (400, "Idempotency-Key")

    hearth.run(run())


def claimed_by_the_dead(bed: Bed, account: Account, request_id: str) -> None:
    """As a gateway leaves it that was killed: claimed, without an answer, its lease gone."""
    content = "Say something."
    body = {"model": "stub-model", "messages": [{"role": "user", "content": content}], "stream": False}
    body_hash = hashlib.sha256(json.dumps(body).encode()).digest()
    kept = replies.claim(bed.database, account.id, "a-key", body_hash, request_id, "gateway:dead")
    assert kept is None


def test_what_a_dead_gateway_had_begun_may_run_again(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        claimed_by_the_dead(bed, account, "gen-lost")
        answer = await once(bed, account)
        assert (answer.status, await bed.spent(account)) == (200, price(10, 5))

    hearth.run(run())


def test_what_a_dead_gateway_had_charged_is_not_charged_again(hearth: Hearth) -> None:
    """It died between the charge and the keeping of the answer."""

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        paid = await bed.ask(account)
        claimed_by_the_dead(bed, account, paid.headers["x-perquery-generation-id"])
        answer = await once(bed, account)
        assert (answer.status, answer.json()["error"]["code"]) == (409, "idempotency_answer_gone")
        assert await bed.spent(account) == price(10, 5)

    hearth.run(run())
