"""Prompt caching without being asked, through sockets: what is marked, held and billed, and what was saved."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from perquery import money
from perquery.config import ModelSetting, PriceSetting, RouteSetting
from tests.fire.bed import CHAT, Account, Bed, lit
from tests.fire.client import Answer, exchange
from tests.upstream import Script

CLAUDE: Final = "anthropic/claude-sonnet-4.5"
MARK: Final = {"cache_control": {"type": "ephemeral"}}
LONG: Final = "A rule to follow. " * 400
MESSAGES: Final = "/v1/messages"
# USD per million, as whole numbers of a thousandth of that: no fractions in what the tests count.
INPUT, READ, WRITE, OUTPUT = 3_000, 300, 3_750, 15_000
WRITTEN: Final = Script(prompt=2_000, completion=10, written=1_900)
FOUND: Final = Script(prompt=2_000, completion=10, read=1_900)


def claude(provider: str, *, priced: bool = True) -> ModelSetting:
    cache = {"cache_read": Decimal("0.30"), "cache_write_5m": Decimal("3.75"), "cache_write_1h": Decimal(6)}
    price = PriceSetting(input=Decimal(3), output=Decimal(15), **(cache if priced else {}))
    upstream_name = "claude-sonnet-4-5" if provider == "anthropic" else CLAUDE
    routes = (RouteSetting(provider=provider, model=upstream_name),)
    return ModelSetting(
        id=CLAUDE, routes=routes, price_usd_per_million=price, context_tokens=200_000, output_tokens_max=8_192
    )


def nano(*parts: tuple[int, int]) -> int:
    """What counts cost at these prices with the markup of 5 percent, rounded up."""
    return -(-sum(count * price for count, price in parts) * 105 // 100)


def played(
    data: Path,
    provider: str,
    work: Callable[[Bed], Awaitable[None]],
    *,
    priced: bool = True,
    dialect: str | None = None,
) -> None:
    async def run() -> None:
        models = [claude(provider, priced=priced)]
        dialects = {provider: dialect} if dialect else {}
        async with lit(data, upstreams={provider: True}, models=models, dialects=dialects) as bed:
            await work(bed)

    asyncio.run(run())


def body(**fields: Any) -> dict[str, Any]:
    told = [{"role": "system", "content": LONG}, {"role": "user", "content": "Hi"}]
    return {"model": CLAUDE, "messages": told, "max_tokens": 100} | fields


async def said(bed: Bed, account: Account, path: str, sent: dict[str, Any], **headers: str) -> Answer:
    async with exchange(bed.port, path, sent, {"x-api-key": account.key} | headers) as opened:
        return await opened.answer()


async def receipt(bed: Bed, account: Account, answer: Answer) -> Any:
    path = f"/v1/generation?id={answer.headers['x-perquery-generation-id']}"
    async with exchange(bed.port, path, b"", {"x-api-key": account.key}, method="GET") as opened:
        return (await opened.answer()).json()["data"]


def test_the_write_is_held_and_the_read_is_billed(tmp_path: Path) -> None:
    async def work(bed: Bed) -> None:
        bed.upstream.scripts = [WRITTEN, FOUND]
        account = await bed.account("10")
        first = await said(bed, account, CHAT, body())
        second = await said(bed, account, CHAT, body())
        system, user = bed.upstream.requests[0].body["messages"]
        assert system["content"] == [{"type": "text", "text": LONG, **MARK}]
        assert user["content"] == [{"type": "text", "text": "Hi", **MARK}]
        write = nano((100, INPUT), (1_900, WRITE), (10, OUTPUT))
        read = nano((100, INPUT), (1_900, READ), (10, OUTPUT))
        assert (first.cost(), second.cost()) == (write, read)
        assert await bed.spent(account) == write + read
        held = bed.rows(account)[0]["held_nano"]
        assert held >= nano((len(LONG), WRITE), (100, OUTPUT))  # as if all of the input were written, a byte a token
        shown = await receipt(bed, account, first), await receipt(bed, account, second)
        saved = 1_900 * (INPUT - READ) * 105 // 100
        assert [money.nano(each["cache_saved"]) for each in shown] == [0, saved]

    played(tmp_path, "openrouter", work)


def test_a_body_in_anthropic_s_own_shape(tmp_path: Path) -> None:
    async def work(bed: Bed) -> None:
        bed.upstream.script = FOUND
        account = await bed.account("10")
        turns = [{"role": "user", "content": "Hi"}]
        answer = await said(bed, account, MESSAGES, body(system=LONG, messages=turns))
        assert answer.status == 200
        sent = bed.upstream.requests[0].body
        assert sent["system"] == [{"type": "text", "text": LONG, **MARK}]
        assert sent["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Hi", **MARK}]}]
        assert await bed.spent(account) == nano((100, INPUT), (1_900, READ), (10, OUTPUT))

    played(tmp_path, "anthropic", work, dialect="anthropic")


def test_chat_for_anthropic_is_marked_too(tmp_path: Path) -> None:
    async def work(bed: Bed) -> None:
        bed.upstream.script = WRITTEN
        account = await bed.account("10")
        assert (await said(bed, account, CHAT, body())).status == 200
        sent = bed.upstream.requests[0].body
        assert (sent["system"][0]["cache_control"], sent["messages"][0]["content"][0]["cache_control"]) == (
            MARK["cache_control"],
            MARK["cache_control"],
        )
        assert await bed.spent(account) == nano((100, INPUT), (1_900, WRITE), (10, OUTPUT))

    played(tmp_path, "anthropic", work, dialect="anthropic")


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize("off", ["field", "header"])
def test_who_wants_none_gets_none(tmp_path: Path, path: str, off: str) -> None:
    async def work(bed: Bed) -> None:
        account = await bed.account("10")
        sent = body(**({"prompt_caching": False} if off == "field" else {}))
        headers = {"x-perquery-cache": "off"} if off == "header" else {}
        answer = await said(bed, account, path, sent, **headers)
        assert answer.status == 200
        came = bed.upstream.requests[0].body
        assert "cache_control" not in str(came)
        assert "prompt_caching" not in came

    played(tmp_path, "anthropic", work, dialect="anthropic")


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_key_that_wants_none_gets_none_from_its_next_call_on(tmp_path: Path, path: str) -> None:
    async def work(bed: Bed) -> None:
        account = await bed.account("10")
        key = f"/keys/{bed.key_figures(account)['id']}"
        for caching in (None, False, True):
            if caching is not None:
                owner, change = {"x-credit-id": account.credit_id}, {"prompt_caching": caching}
                async with exchange(bed.port, key, change, owner, method="PATCH") as opened:
                    assert (await opened.answer()).status == 200
            assert (await said(bed, account, path, body())).status == 200
        marked = ["cache_control" in str(request.body) for request in bed.upstream.requests]
        assert marked == [True, False, True]

    played(tmp_path, "anthropic", work, dialect="anthropic")


def test_no_price_of_a_write_no_marker(tmp_path: Path) -> None:
    async def work(bed: Bed) -> None:
        account = await bed.account("10")
        assert (await said(bed, account, CHAT, body())).status == 200
        assert "cache_control" not in str(bed.upstream.requests[0].body)

    played(tmp_path, "openrouter", work, priced=False)


def test_a_host_that_knows_no_markers_gets_none(tmp_path: Path) -> None:
    async def work(bed: Bed) -> None:
        account = await bed.account("10")
        assert (await said(bed, account, CHAT, body())).status == 200
        assert "cache_control" not in str(bed.upstream.requests[0].body)

    played(tmp_path, "scripted", work)


def test_an_hour_in_the_cache_is_held_at_its_own_price(tmp_path: Path) -> None:
    async def work(bed: Bed) -> None:
        account = await bed.account("10")
        hour = {"type": "ephemeral", "ttl": "1h"}
        blocks = [{"type": "text", "text": LONG, "cache_control": hour}]
        sent = body(messages=[{"role": "system", "content": blocks}, {"role": "user", "content": "Hi"}])
        await said(bed, account, CHAT, sent)
        await bed.quiet()
        assert bed.rows(account)[0]["held_nano"] >= nano((len(LONG), 6_000), (100, OUTPUT))

    played(tmp_path, "openrouter", work)
