"""Web search: by the model's own vendor where it has one, by ours elsewhere; a line of its own, free where it fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from perquery.config import Dialect, ModelSetting, PriceSetting, Provider, RouteSetting, SearchSetting
from tests.fire.bed import Account, lit
from tests.fire.callers import CHAT, COMPLETIONS, MESSAGES, RESPONSES, asked, heard
from tests.fire.client import Answer, exchange
from tests.fire.hearth import Hearth, burning
from tests.scenes import SCENES
from tests.vendors import KEY, Vendors, vendors

NAMES: Final[dict[Dialect, str]] = {
    "openai-chat": "llama",
    "openai-responses": "gpt-5.4-mini",
    "anthropic": "claude-haiku-4-5",
    "gemini": "gemini-3.5-flash",
}
NATIVE: Final[tuple[Dialect, ...]] = ("openai-responses", "anthropic", "gemini")
PLUGIN: Final = {"plugins": [{"id": "web", "max_results": 3}]}
WISHES: Final[dict[str, dict[str, Any]]] = {
    CHAT: PLUGIN,
    MESSAGES: {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]},
    RESPONSES: {"tools": [{"type": "web_search"}]},
}
OFFERED: Final[dict[str, list[Any]]] = {
    MESSAGES: [{"type": "web_search_20250305", "name": "web_search"}, {"name": "look", "input_schema": {}}],
    RESPONSES: [{"type": "web_search"}, {"type": "function", "name": "look", "parameters": {}}],
}
EXA_NANO: Final = 20_000_000
SEARCHED: Final = -(-(100 + 30 * 2 + 2 * 10_000) * 1_000 * 105 // 100)  # two searches at 10 USD per thousand
TOLD: Final = -(-(100 + 30 * 2) * 1_000 * 105 // 100)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hearth, Vendors]]:
    with vendors() as running:
        rows = [
            Provider(name=dialect, dialect=dialect, base_url=running.base_url(dialect), api_keys=(KEY,))
            for dialect in NAMES
        ]
        usd = PriceSetting(input=Decimal(1), output=Decimal(2), search=Decimal(10_000))
        models = [
            ModelSetting(
                id=f"by-{dialect}",
                routes=(RouteSetting(provider=dialect, model=name),),
                price_usd_per_million=usd if dialect in NATIVE else usd.model_copy(update={"search": None}),
            )
            for dialect, name in NAMES.items()
        ]
        search = SearchSetting(api_key=KEY, base_url=f"http://127.0.0.1:{running.port}/exa")
        folder = tmp_path_factory.mktemp("search")
        with burning(folder, models=models, others=rows, search=search) as hearth:
            yield hearth, running


async def told(hearth: Hearth, account: Account, shape: str, body: dict[str, Any]) -> Answer:
    headers = {"authorization": f"Bearer {account.key}"}
    async with exchange(hearth.bed.port, f"/v1/{shape}", body, headers) as opened:
        return await opened.answer()


def tools_of(dialect: str, body: dict[str, Any]) -> list[Any]:
    """The searches among the tools that an upstream was given."""
    if dialect == "gemini":
        return [tool["googleSearch"] for tool in body.get("tools") or () if "googleSearch" in tool]
    return [tool for tool in body.get("tools") or () if str(tool.get("type")).startswith("web_search")]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", NATIVE)
@pytest.mark.parametrize("shape", [CHAT, MESSAGES, RESPONSES])
def test_a_vendor_s_own_search(world: tuple[Hearth, Vendors], shape: str, dialect: str, stream: bool) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account()
        body = asked(shape, f"by-{dialect}", "searched", stream=stream) | WISHES[shape]
        got = heard(shape, await told(hearth, account, shape, body), stream=stream)
        assert (got.text, got.citations) == (SCENES["searched"].text, [SCENES["searched"].citation])
        assert len(tools_of(dialect, running.seen[-1][1])) == 1
        assert got.cost == await hearth.bed.spent(account) == SEARCHED
        (row,) = hearth.bed.rows(account)
        assert row["detail"]["usage"]["search"] == 2

    hearth.run(run())


@pytest.mark.parametrize("dialect", ["openai-responses", "anthropic"])  # Gemini bills on, so it is read to its end
@pytest.mark.parametrize("shape", [CHAT, MESSAGES, RESPONSES])
def test_searches_are_paid_by_who_leaves_in_the_middle(world: tuple[Hearth, Vendors], shape: str, dialect: str) -> None:
    hearth, _ = world

    async def run() -> None:
        account = await hearth.bed.account()
        body = asked(shape, f"by-{dialect}", "leaving", stream=True) | WISHES[shape]
        headers = {"authorization": f"Bearer {account.key}"}
        async with exchange(hearth.bed.port, f"/v1/{shape}", body, headers) as opened:
            await opened.until(SCENES["leaving"].text[:4].encode())
            opened.hang_up()
        row = await hearth.bed.only_row(account)
        assert (row["rule"], row["detail"]["usage"]["search"]) == ("caller_left", 2)
        assert row["detail"]["usage"]["input"] > 0
        assert await hearth.bed.spent(account) > 2 * 10_000_000

    hearth.run(run())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("bound, charged", [(1, 5), (7, 7), (10, 10)])
def test_searches_beyond_what_is_held_for_are_the_house_s(
    world: tuple[Hearth, Vendors], bound: int, charged: int, stream: bool
) -> None:
    """Gemini takes no bound and bills each of its queries."""
    hearth, _ = world

    async def run() -> None:
        account = await hearth.bed.account()
        tools = [{"type": "web_search_20250305", "name": "web_search", "max_uses": bound}]
        body = asked(MESSAGES, "by-gemini", "searching_on", stream=stream) | {"tools": tools}
        answer = await told(hearth, account, MESSAGES, body)
        due = -(-(160 + charged * 10_000) * 1_000 * 105 // 100)
        assert heard(MESSAGES, answer, stream=stream).cost == await hearth.bed.spent(account) == due
        assert answer.headers.get("x-perquery-dropped") == ("max_uses" if bound < 5 else None)
        (row,) = hearth.bed.rows(account)
        assert row["held_nano"] >= due
        assert row["detail"]["usage"]["search"] == charged
        assert row["upstream_nano"] == (160 + 12 * 10_000) * 1_000
        assert row["unbilled_nano"] == (12 - charged) * 10_000_000

    hearth.run(run())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", [CHAT, MESSAGES, RESPONSES, COMPLETIONS])
def test_our_search_for_all_others(world: tuple[Hearth, Vendors], shape: str, stream: bool) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account()
        body = asked(shape, "by-openai-chat:online", "text", stream=stream)
        answer = await told(hearth, account, shape, body)
        got = heard(shape, answer, stream=stream)
        assert got.text == SCENES["text"].text
        if shape != COMPLETIONS:
            assert got.citations == [f"https://page.example/{number}" for number in range(5)]
        (exa, question), (_, given) = running.seen[-2:]
        assert (exa, question["query"]) == ("/exa/search", "Please. scene: text")
        said = json.dumps(given["messages"])
        assert "https://page.example/4" in said and "It rains in Omaha." in said
        assert given["messages"][-1]["role"] == "user"
        assert got.cost == await hearth.bed.spent(account) == TOLD + EXA_NANO
        (row,) = hearth.bed.rows(account)
        assert row["detail"]["lines"][-1] == {
            "unit": "search", "count": 1, "pico_per_unit": 20_000_000_000, "pico": 20_000_000_000, "marked_up": True,
        }  # fmt: skip
        assert row["upstream_nano"] == 160_000 + 7_000_000  # Exa's own figure

    hearth.run(run())


@pytest.mark.parametrize("stream", [False, True])
def test_as_many_results_as_were_asked_for(world: tuple[Hearth, Vendors], stream: bool) -> None:
    hearth, _ = world

    async def run() -> None:
        account = await hearth.bed.account()
        body = asked(CHAT, "by-openai-chat", "text", stream=stream) | PLUGIN
        answer = await told(hearth, account, CHAT, body)
        assert len(heard(CHAT, answer, stream=stream).citations) == 3
        assert "x-perquery-dropped" not in answer.headers

    hearth.run(run())


@pytest.mark.parametrize("stream", [False, True])
def test_a_search_that_fails_is_free_and_nothing_is_asked(world: tuple[Hearth, Vendors], stream: bool) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account()
        answer = await told(hearth, account, CHAT, asked(CHAT, "by-openai-chat:online", "broken", stream=stream))
        assert answer.status == 503 and "web search failed" in answer.json()["error"]["message"]
        assert running.seen[-1][0] == "/exa/search"
        assert await hearth.bed.spent(account) == 0

    hearth.run(run())


def test_a_search_before_an_answer_that_fails_is_the_house_s(world: tuple[Hearth, Vendors]) -> None:
    hearth, _ = world

    async def run() -> None:
        account = await hearth.bed.account()
        answer = await told(hearth, account, CHAT, asked(CHAT, "by-openai-chat:online", "refused", stream=False))
        assert answer.status == 400
        assert await hearth.bed.spent(account) == 0
        (row,) = hearth.bed.rows(account)
        assert row["upstream_nano"] == row["unbilled_nano"] == 7_000_000

    hearth.run(run())


def test_what_the_balance_does_not_cover_is_not_searched_for(world: tuple[Hearth, Vendors]) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account("0.015")
        before = len(running.seen)
        answer = await told(hearth, account, CHAT, asked(CHAT, "by-openai-chat:online", "text", stream=False))
        assert (answer.status, len(running.seen)) == (402, before)

    hearth.run(run())


@pytest.mark.parametrize("shape", [MESSAGES, RESPONSES])
def test_a_tool_that_is_only_offered_is_never_our_search(world: tuple[Hearth, Vendors], shape: str) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account()
        body = asked(shape, "by-openai-chat", "text", stream=False) | {"tools": OFFERED[shape]}
        answer = await told(hearth, account, shape, body)
        assert heard(shape, answer, stream=False).cost == TOLD
        assert answer.headers["x-perquery-dropped"] == "web_search"
        (tool,) = running.seen[-1][1]["tools"]
        assert tool["function"]["name"] == "look"

    hearth.run(run())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", NATIVE)
@pytest.mark.parametrize("shape", [MESSAGES, RESPONSES])
def test_a_search_that_is_offered_never_refuses_a_call(
    world: tuple[Hearth, Vendors], shape: str, dialect: str, stream: bool
) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account("0.015")  # less than a single search may come to
        body = asked(shape, f"by-{dialect}", "text", stream=stream) | {"tools": OFFERED[shape]}
        answer = await told(hearth, account, shape, body)
        assert heard(shape, answer, stream=stream).cost == TOLD
        assert tools_of(dialect, running.seen[-1][1]) == []
        assert answer.headers["x-perquery-dropped"] == "web_search"

    hearth.run(run())


@pytest.mark.parametrize("dialect, bound", [("anthropic", "max_uses"), ("openai-responses", "max_tool_calls")])
@pytest.mark.parametrize("shape", [MESSAGES, RESPONSES])
def test_as_many_searches_as_the_balance_covers(
    world: tuple[Hearth, Vendors], shape: str, dialect: str, bound: str
) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account("0.05")
        body = asked(shape, f"by-{dialect}", "searched", stream=False) | {"tools": OFFERED[shape]}
        answer = await told(hearth, account, shape, body)
        given = running.seen[-1][1]
        (tool,) = tools_of(dialect, given)
        assert (tool if dialect == "anthropic" else given)[bound] == 2  # each may cost $0.0189, the tokens included
        assert "x-perquery-dropped" not in answer.headers
        assert await hearth.bed.spent(account) == SEARCHED
        assert hearth.bed.rows(account)[0]["held_nano"] >= SEARCHED

    hearth.run(run())


@pytest.mark.parametrize("dialect", NATIVE)
def test_a_search_that_is_demanded_and_does_not_fit_is_a_402(world: tuple[Hearth, Vendors], dialect: str) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account("0.015")
        before = len(running.seen)
        answer = await told(hearth, account, CHAT, asked(CHAT, f"by-{dialect}", "text", stream=False) | PLUGIN)
        assert (answer.status, len(running.seen)) == (402, before)
        assert await hearth.bed.spent(account) == 0

    hearth.run(run())


@pytest.mark.parametrize(
    "shape, dialect, tool",
    [
        (MESSAGES, "anthropic", {"type": "code_execution_20250825", "name": "code_execution"}),
        (RESPONSES, "openai-responses", {"type": "code_interpreter", "container": {"type": "auto"}}),
        (RESPONSES, "openai-responses", {"type": "image_generation"}),
    ],
)
def test_what_runs_at_the_vendor_at_a_price_that_is_not_sold_does_not_pass(
    world: tuple[Hearth, Vendors], shape: str, dialect: str, tool: dict[str, Any]
) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account()
        body = asked(shape, f"by-{dialect}", "text", stream=False) | {"tools": [tool]}
        answer = await told(hearth, account, shape, body)
        assert heard(shape, answer, stream=False).cost == TOLD
        assert not running.seen[-1][1]["tools"]
        assert answer.headers["x-perquery-dropped"]

    hearth.run(run())


def test_the_sandbox_searches_only_on_loopback(tmp_path: Path) -> None:
    async def finding(base_url: str) -> object:
        search = SearchSetting(api_key=KEY, base_url=base_url)
        async with lit(tmp_path / base_url[-4:], mode="sandbox", search=search) as bed:
            return bed.gateway.finding

    assert asyncio.run(finding("https://api.exa.ai")) is None
    assert asyncio.run(finding("http://127.0.0.1:1234")) is not None
