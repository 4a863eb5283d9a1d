"""Parameters that a model or its host refuses: dropped and told, or refused where the caller wants all or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fire.bed import Bed, lit, model

CLAUDE = "anthropic/claude-opus-4.7"  # answers 400 to temperature


def played(data: Path, work: Callable[[Bed], Awaitable[None]]) -> None:
    async def run() -> None:
        async with lit(data, upstreams={"anthropic": True}, models=[model(CLAUDE, "anthropic")]) as bed:
            await work(bed)

    asyncio.run(run())


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_model_refuses_is_dropped_and_told(tmp_path: Path, stream: bool) -> None:
    async def work(bed: Bed) -> None:
        answer = await bed.ask(await bed.account(), model=CLAUDE, stream=stream, temperature=0.5, seed=1)
        assert (answer.status, answer.headers["x-perquery-dropped"]) == (200, "seed, temperature")
        assert bed.upstream.requests[0].body.keys() & {"temperature", "seed"} == set()

    played(tmp_path, work)


def test_what_asks_for_the_default_needs_no_telling(tmp_path: Path) -> None:
    async def work(bed: Bed) -> None:
        answer = await bed.ask(await bed.account(), model=CLAUDE, temperature=1)
        assert (answer.status, "x-perquery-dropped" in answer.headers) == (200, False)

    played(tmp_path, work)


def test_all_or_nothing(tmp_path: Path) -> None:
    async def work(bed: Bed) -> None:
        account = await bed.account()
        asked: dict[str, Any] = {"temperature": 0.5, "provider": {"require_parameters": True}}
        answer = await bed.ask(account, model=CLAUDE, **asked)
        error = answer.json()["error"]
        assert (answer.status, error["code"], error["param"]) == (400, "unsupported_parameter", "temperature")
        assert (bed.upstream.requests, await bed.spent(account)) == ([], 0)

    played(tmp_path, work)


def test_all_or_nothing_where_all_is_taken(tmp_path: Path) -> None:
    async def work(bed: Bed) -> None:
        answer = await bed.ask(await bed.account(), model=CLAUDE, stop="x", provider={"require_parameters": True})
        assert (answer.status, bed.upstream.requests[0].body["stop"]) == (200, "x")

    played(tmp_path, work)


def test_who_takes_all_is_asked_instead(tmp_path: Path) -> None:
    async def run() -> None:
        models = [model("stub-model", "mistral", "scripted")]
        async with lit(tmp_path, upstreams={"mistral": True, "scripted": True}, models=models) as bed:
            account = await bed.account()
            answer = await bed.ask(account, top_k=5, provider={"require_parameters": True})
            assert (answer.status, answer.cost()) == (200, await bed.spent(account))
            assert [len(each.requests) for each in bed.upstreams.values()] == [0, 1]
            assert bed.upstreams["scripted"].requests[0].body["top_k"] == 5

    asyncio.run(run())


def test_of_two_caps_the_lower_is_bought(tmp_path: Path) -> None:
    async def work(bed: Bed) -> None:
        await bed.ask(await bed.account(), model=CLAUDE, max_tokens=5_000, max_completion_tokens=7)
        body = bed.upstream.requests[0].body
        assert (body["max_tokens"], "max_completion_tokens" in body) == (7, False)

    played(tmp_path, work)
