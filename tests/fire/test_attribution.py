"""Who is said to ask: through sockets, in every shape, never the caller's own word."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from perquery.store.tables import accounts
from tests.fire.bed import CHAT, Account, Bed, lit, model
from tests.fire.client import exchange
from tests.upstream import Script

THEIRS: dict[str, Any] = {"user": "them", "safety_identifier": "them", "metadata": {"user_id": "them"}}
TURNS = [{"role": "user", "content": "Hi"}]
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": TURNS},
    "/v1/messages": {"messages": TURNS, "max_tokens": 9},
    "/v1/responses": {"input": "Hi"},
    "/v1/completions": {"prompt": "Hi"},
}


def played(data: Path, name: str, dialects: Mapping[str, str], work: Callable[[Bed], Awaitable[None]]) -> None:
    async def run() -> None:
        models = [model("stub-model", name)]
        async with lit(data, upstreams={name: True}, models=models, dialects=dialects) as bed:
            await work(bed)

    asyncio.run(run())


def safety_id(bed: Bed, account: Account) -> str:
    with bed.database.reader.begin() as connection:
        return str(connection.scalar(select(accounts.c.safety_id).where(accounts.c.id == account.id)))


async def sent(bed: Bed, account: Account, path: str, secret: str) -> dict[str, Any]:
    """What the upstream got."""
    body = {"model": "stub-model"} | BODIES[path] | THEIRS
    async with exchange(bed.port, path, body, {"x-api-key": secret}) as opened:
        answer = await opened.answer()
    assert answer.status == 200, answer.body
    assert safety_id(bed, account) not in answer.body.decode() + str(answer.headers)
    return bed.upstream.requests[-1].body


@pytest.mark.parametrize("path", BODIES)
def test_openai_is_told_our_id(tmp_path: Path, path: str) -> None:
    async def work(bed: Bed) -> None:
        account, other = await bed.account(), await bed.account()
        first, again = await sent(bed, account, path, account.key), await sent(bed, account, path, account.credit_id)
        assert first["safety_identifier"] == again["safety_identifier"] == safety_id(bed, account)
        assert (await sent(bed, other, path, other.key))["safety_identifier"] == safety_id(bed, other)
        assert len({safety_id(bed, account), safety_id(bed, other)}) == 2
        assert "them" not in str(first)

    played(tmp_path, "openai", {}, work)


@pytest.mark.parametrize("path", BODIES)
def test_anthropic_is_told_our_id(tmp_path: Path, path: str) -> None:
    async def work(bed: Bed) -> None:
        account = await bed.account()
        came = await sent(bed, account, path, account.key)
        assert came["metadata"] == {"user_id": safety_id(bed, account)}
        assert "them" not in str(came)

    played(tmp_path, "anthropic", {"anthropic": "anthropic"}, work)


def test_who_takes_no_id_gets_none(tmp_path: Path) -> None:
    async def work(bed: Bed) -> None:
        account = await bed.account()
        came = await sent(bed, account, CHAT, account.key)
        assert safety_id(bed, account) not in str(came)
        assert "them" not in str(came)

    played(tmp_path, "scripted", {}, work)


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_upstream_calls_the_request_is_kept(tmp_path: Path, stream: bool) -> None:
    async def work(bed: Bed) -> None:
        account = await bed.account()
        bed.upstream.scripts = [Script(status=503), Script()]
        assert (await bed.ask(account, stream=stream)).status == 200
        row = await bed.only_row(account)
        assert (row["upstream_request_id"], row["upstream_id"]) == ("req-2", "chatcmpl-scripted")
        assert [each["request_id"] for each in row["detail"]["attempts"]] == ["req-1"]

    played(tmp_path, "scripted", {}, work)
