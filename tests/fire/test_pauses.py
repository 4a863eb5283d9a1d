"""A turn that Anthropic pauses while it searches: taken up again for those whose shape has no word for it, as one
answer under one hold, each turn on the bill; those who speak Messages do it themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import pytest

from perquery.config import ModelSetting, PriceSetting, Provider, RouteSetting
from perquery.metering.relay import PAUSES_MAX
from tests.fire.bed import Account
from tests.fire.callers import CHAT, MESSAGES, RESPONSES, asked, heard
from tests.fire.client import Answer, exchange
from tests.fire.hearth import Hearth, burning
from tests.scenes import Scene
from tests.vendors import KEY, Vendors, vendors

CITED: Final = "https://weather.example/now"
PAUSED: Final = Scene("It ", thinking="Hm.", seal="U0VBTA==", citation=CITED, searches=1, pauses=True, reasoning=5)
RESUMED: Final = Scene("rains.", citation=CITED, searches=1, input=260, cached=4_000, output=40)
USD: Final = PriceSetting(
    input=Decimal(1), output=Decimal(2), cache_read=Decimal("0.1"), cache_write_5m=Decimal("1.25"), search=Decimal(10)
)


def priced(*turns: Scene) -> int:
    """Nano-USD of all turns together, with the markup of 5 %, rounded once."""
    centipico = sum(
        turn.input * 100 + turn.cached * 10 + (turn.output + turn.reasoning) * 200 + turn.searches * 1_000
        for turn in turns
    )
    return -(-centipico * 10_000 * 105 // (1_000 * 100))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hearth, Vendors]]:
    with vendors() as running:
        row = Provider(name="claudes", dialect="anthropic", base_url=running.base_url("anthropic"), api_keys=(KEY,))
        routes = (RouteSetting(provider="claudes", model="claude-haiku-4-5"),)
        models = (ModelSetting(id="claude", routes=routes, price_usd_per_million=USD),)
        with burning(tmp_path_factory.mktemp("pauses"), models=models, others=(row,)) as hearth:
            yield hearth, running


def plays(running: Vendors, turns: Sequence[Scene]) -> None:
    """The turns one after the other, the last over and over."""
    running.seen.clear()
    running.play = lambda dialect, body: turns[min(len(running.seen), len(turns)) - 1]


def question(shape: str, *, stream: bool) -> dict[str, Any]:
    body = asked(shape, "claude", "text", stream=stream)
    if shape == CHAT:
        return body | {"plugins": [{"id": "web"}], "max_tokens": 2_000}
    named = "web_search_20250305" if shape == MESSAGES else "web_search"
    cap = "max_tokens" if shape == MESSAGES else "max_output_tokens"
    return body | {"tools": [{"type": named, "name": "web_search"}], cap: 2_000}


async def told(hearth: Hearth, account: Account, shape: str, *, stream: bool) -> Answer:
    headers = {"authorization": f"Bearer {account.key}"}
    async with exchange(hearth.bed.port, f"/v1/{shape}", question(shape, stream=stream), headers) as opened:
        return await opened.answer()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", [CHAT, RESPONSES])
def test_it_is_one_answer_and_each_turn_is_paid_once(world: tuple[Hearth, Vendors], shape: str, stream: bool) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account()
        plays(running, [PAUSED, PAUSED, RESUMED])
        got = heard(shape, await told(hearth, account, shape, stream=stream), stream=stream)
        assert (got.text, got.finish, got.citations) == ("It It rains.", "stop", [CITED] * 3)
        turns = (PAUSED, PAUSED, RESUMED)
        assert got.tokens == (100 + 100 + 4_260, 4_000, 35 + 35 + 40)
        assert got.cost == await hearth.bed.spent(account) == priced(*turns)
        (row,) = hearth.bed.rows(account)
        assert row["detail"]["usage"] == {"input": 460, "output": 100, "reasoning": 10, "search": 3, "cache_read": 4000}
        searched = [line for line in row["detail"]["lines"] if line["unit"] == "search"]
        assert [line["count"] for line in searched] == [1, 1, 1]
        assert (row["rule"], row["detail"]["estimated"]) == ("complete", False)

    hearth.run(run())


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_said_goes_back_as_it_came(world: tuple[Hearth, Vendors], stream: bool) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account()
        plays(running, [PAUSED, PAUSED, RESUMED])
        await told(hearth, account, CHAT, stream=stream)
        (_, first), _, (_, last) = running.seen
        *before, turn = last["messages"]
        assert before == first["messages"]
        kinds = ["thinking", "server_tool_use", "web_search_tool_result", "text"]
        assert turn["role"] == "assistant"
        assert [block["type"] for block in turn["content"]] == kinds * 2
        thinking, use, result, text = turn["content"][:4]
        assert (thinking["thinking"], thinking["signature"]) == ("Hm.", "U0VBTA==")
        assert use["input"] == {"query": "weather"}
        assert result["content"][0]["encrypted_content"] == "e"
        assert (text["text"], [one["url"] for one in text["citations"]]) == ("It ", [CITED])
        assert last["max_tokens"] == first["max_tokens"] - 2 * (PAUSED.output + PAUSED.reasoning)
        assert last["tools"][0]["max_uses"] == first["tools"][0]["max_uses"] - 2
        assert last["stream"] is True

    hearth.run(run())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", [CHAT, RESPONSES])
def test_what_never_ends_is_ended_and_says_so(world: tuple[Hearth, Vendors], shape: str, stream: bool) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account()
        plays(running, [PAUSED])
        got = heard(shape, await told(hearth, account, shape, stream=stream), stream=stream)
        turns = [PAUSED] * (1 + PAUSES_MAX)
        assert (got.text, got.finish, len(running.seen)) == ("It " * len(turns), "length", len(turns))
        assert got.cost == await hearth.bed.spent(account) == priced(*turns)

    hearth.run(run())


def test_the_hold_covers_each_turn_before_it_is_asked_for(world: tuple[Hearth, Vendors]) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account("0.13")
        large = replace(PAUSED, input=90_000)
        plays(running, [large, RESUMED])
        got = heard(CHAT, await told(hearth, account, CHAT, stream=True), stream=True)
        assert (got.text, got.finish, len(running.seen)) == ("It ", "length", 1)
        assert got.cost == await hearth.bed.spent(account) == priced(large)
        plenty = await hearth.bed.account("1")
        plays(running, [large, RESUMED])
        await told(hearth, plenty, CHAT, stream=True)
        assert len(running.seen) == 2
        assert hearth.bed.rows(plenty)[0]["held_nano"] > priced(large, large)

    hearth.run(run())


def test_one_without_room_for_output_is_not_taken_up(world: tuple[Hearth, Vendors]) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account()
        plays(running, [replace(PAUSED, output=1_995), RESUMED])
        got = heard(CHAT, await told(hearth, account, CHAT, stream=True), stream=True)
        assert (got.finish, len(running.seen)) == ("length", 1)

    hearth.run(run())


@pytest.mark.parametrize("broken", [Scene(status=500), replace(RESUMED, breaks=True), replace(RESUMED, fails=True)])
def test_a_turn_that_fails_makes_the_whole_answer_free(world: tuple[Hearth, Vendors], broken: Scene) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account()
        plays(running, [PAUSED, broken])
        answer = await told(hearth, account, CHAT, stream=True)
        assert b'"error"' in answer.body and b'"cost"' not in answer.body
        assert len(running.seen) == 2  # it may have been billed: nobody is asked again
        assert await hearth.bed.spent(account) == 0

    hearth.run(run())


def test_who_leaves_in_a_later_turn_pays_what_all_turns_read(world: tuple[Hearth, Vendors]) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account()
        plays(running, [PAUSED, replace(RESUMED, waits=True)])
        headers = {"authorization": f"Bearer {account.key}"}
        async with exchange(hearth.bed.port, f"/v1/{CHAT}", question(CHAT, stream=True), headers) as opened:
            await opened.until(b"rai")
            opened.hang_up()
        row = await hearth.bed.only_row(account)
        usage = row["detail"]["usage"]
        assert (row["rule"], row["detail"]["estimated"]) == ("caller_left", True)
        assert {unit: usage[unit] for unit in ("input", "cache_read", "search")} == {
            "input": 360, "cache_read": 4_000, "search": 2,
        }  # fmt: skip
        spent = priced(Scene(input=360, cached=4_000, searches=2, output=usage["output"]))
        assert await hearth.bed.spent(account) == spent

    hearth.run(run())


@pytest.mark.parametrize("stream", [False, True])
def test_who_speaks_messages_gets_the_pause_itself(world: tuple[Hearth, Vendors], stream: bool) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account()
        plays(running, [PAUSED, RESUMED])
        answer = await told(hearth, account, MESSAGES, stream=stream)
        assert b'"pause_turn"' in answer.body and len(running.seen) == 1
        assert await hearth.bed.spent(account) == priced(PAUSED)

    hearth.run(run())
