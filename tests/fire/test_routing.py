"""Preferences, fallback models and conversations on real sockets: who is asked, who is billed, what is held."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from perquery import money
from perquery.metering.caller import Pace
from perquery.store import credentials
from tests.fire.bed import Account, Bed, lit, model, price
from tests.fire.client import Answer, exchange
from tests.fire.hearth import Hearth, burning
from tests.upstream import Script

# By default the dearest is asked first.
PERCENT = {"dear": 150, "cheap": 105, "discreet": 120}
BIG = (10, 20)
DOWN = Script(status=500)


@pytest.fixture(scope="module")
def hearth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearth]:
    with burning(
        tmp_path_factory.mktemp("hearth"),
        upstreams=dict.fromkeys(PERCENT, True),
        models=(
            model("stub-model", *PERCENT),
            model("big-model", "cheap", usd=("10.00", "20.00"), output_tokens_max=16_000),
            model("vendor/hers:floor", "discreet"),
        ),
        markups={name: f"{percent / 100:.2f}" for name, percent in PERCENT.items()},
        discreet=("discreet",),
        timeouts={"total_s": 5.0, "idle_s": 5.0},
    ) as lasting:
        yield lasting


def asked(bed: Bed) -> dict[str, int]:
    """Who was asked how often."""
    return {name: len(each.requests) for name, each in bed.upstreams.items() if each.requests}


async def served(bed: Bed, account: Account, **how: Any) -> str:
    """Who serves a call; the price must be his."""
    before = await bed.spent(account)
    answer = await bed.ask(account, **how)
    assert answer.status == 200, answer.body
    paid = await bed.spent(account) - before
    row = bed.rows(account)[-1]
    assert paid == answer.cost() == price(10, 5, percent=PERCENT[row["provider"]])
    return str(row["provider"])


WISHES: list[tuple[dict[str, Any], str]] = [
    ({}, "dear"),
    ({"order": ["Cheap", "dear"]}, "cheap"),
    ({"order": ["nobody", "discreet"]}, "discreet"),
    ({"only": ["discreet", "cheap"]}, "cheap"),
    ({"ignore": ["dear"]}, "cheap"),
    ({"sort": "price"}, "cheap"),
    ({"sort": {"by": "price"}}, "cheap"),
    ({"sort": "price", "order": ["discreet"]}, "discreet"),
    ({"max_price": {"prompt": 1.2}}, "cheap"),
    ({"max_price": {"prompt": 1.2}, "order": ["dear", "discreet"]}, "discreet"),
    ({"max_price": {"prompt": 1.05, "completion": "2.1", "request": 0, "image": 0}}, "cheap"),
    ({"max_price": {"completion": 3}}, "dear"),
    ({"max_price": {"completion": 2.9999999}}, "cheap"),
    ({"data_collection": "deny"}, "discreet"),
    ({"data_collection": "allow"}, "dear"),
    ({"zdr": True}, "discreet"),
    ({"zdr": False, "sort": None, "only": []}, "dear"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("provider", "name"), WISHES, ids=[str(wish) for wish, _ in WISHES])
def test_who_is_wished_for_serves_at_his_price(hearth: Hearth, provider: Any, name: str, stream: bool) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        assert await served(bed, account, provider=provider, stream=stream) == name
        assert asked(bed) == {name: 1}
        assert "provider" not in bed.upstreams[name].requests[0].body

    hearth.run(run())


NOTHING: list[tuple[dict[str, Any], str]] = [
    ({"only": ["nobody"]}, "only"),
    ({"ignore": list(PERCENT)}, "ignore"),
    ({"order": ["nobody"], "allow_fallbacks": False}, "order"),
    ({"only": ["dear"], "data_collection": "deny"}, "data_collection"),
    ({"only": ["dear"], "zdr": True}, "zdr"),
    ({"max_price": {"prompt": 1.0499999999}}, "max_price"),
    ({"max_price": {"prompt": 0}}, "max_price"),
]


@pytest.mark.parametrize(("provider", "name"), NOTHING, ids=[name for _, name in NOTHING])
def test_where_nobody_is_left_the_wish_is_named_and_nothing_is_paid(
    hearth: Hearth, provider: dict[str, Any], name: str
) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        answer = await bed.ask(account, provider=provider)
        error = answer.json()["error"]
        assert (answer.status, error["code"], error["param"]) == (404, "no_upstream_left", f"provider.{name}")
        assert error["message"].endswith("there are: dear, cheap, discreet.")
        assert (asked(bed), await bed.spent(account)) == ({}, 0)

    hearth.run(run())


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions"])
def test_wishes_mean_the_same_in_every_shape(hearth: Hearth, path: str) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        said: dict[str, Any] = {"model": "stub-model", "provider": {"sort": "price"}, "max_tokens": 50}
        said |= {"messages": [{"role": "user", "content": "x"}]} if "messages" in path or "chat" in path else {}
        said |= {"input": "x"} if "responses" in path else {"prompt": "x"} if path == "/v1/completions" else {}
        for wrong, status in ((None, 200), ("cheapest", 400)):
            said["provider"]["sort"] = wrong or "price"
            async with exchange(bed.port, path, said, {"x-api-key": account.key}) as opened:
                answer = await opened.answer()
            assert answer.status == status
        assert answer.json()["error"]["param"] == "provider.sort"
        assert asked(bed) == {"cheap": 1}
        assert await bed.spent(account) == price(10, 5, percent=105)

    hearth.run(run())


def test_what_is_not_known_is_told(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        answer = await bed.ask(await bed.account(), provider={"quantizations": ["fp8"], "x\r\ny": 1})
        assert (answer.status, answer.headers["x-perquery-dropped"]) == (200, "provider.quantizations")

    hearth.run(run())


def test_the_hold_covers_who_is_left_and_nobody_else(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        held = []
        for provider in ({}, {"only": ["cheap"]}):
            gate = asyncio.Event()
            for upstream in bed.upstreams.values():
                upstream.script = Script(gate=gate)
            name = "cheap" if provider else "dear"
            async with bed.opened(account, max_tokens=1000, provider=provider) as opened:
                await asyncio.wait_for((await bed.upstreams[name].arrival()).reached.wait(), 60)
                held.append(bed.figures(account).held)
                gate.set()
                assert (await opened.answer()).status == 200
        assert held[0] > price(0, 1000, percent=150) > held[1] > price(0, 1000, percent=105)

    hearth.run(run())


def test_without_fallbacks_nobody_else_is_asked(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        bed.upstreams["cheap"].script = Script(status=429, retry_after="9")
        answer = await bed.ask(account, provider={"sort": "price", "allow_fallbacks": False})
        assert (answer.status, answer.headers["retry-after"], asked(bed)) == (503, "9", {"cheap": 1})
        assert await bed.spent(account) == 0

    hearth.run(run())


@pytest.mark.parametrize(("suffix", "name"), [(":floor", "cheap"), (":nitro", "discreet"), (":exacto", "dear")])
def test_suffixes(hearth: Hearth, suffix: str, name: str) -> None:
    """Who was never measured is tried once; then the fastest serves."""

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        for upstream in bed.upstreams.values():
            upstream.script = Script(chunks=20, completion=40, gap_ms=0 if upstream is bed.upstreams["discreet"] else 5)
        for each in PERCENT:
            await bed.ask(account, provider={"only": [each]})
        await bed.ask(account, model=f"stub-model{suffix}")
        assert asked(bed) == {each: 2 if each == name else 1 for each in PERCENT}

    hearth.run(run())


def test_a_model_of_that_very_name_wins(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        answer = await bed.ask(await bed.account(), model="vendor/hers:floor")
        assert (answer.headers["x-perquery-model"], asked(bed)) == ("vendor/hers:floor", {"discreet": 1})

    hearth.run(run())


# -- several models ---------------------------------------------------------------------------------------------


def out(bed: Bed) -> None:
    """Nobody serves the first model; the second still has its upstream."""
    for name in ("dear", "discreet"):
        bed.upstreams[name].script = DOWN
    bed.upstreams["cheap"].scripts = [DOWN]


@pytest.mark.parametrize("stream", [False, True])
def test_the_next_model_serves_at_its_own_price(hearth: Hearth, stream: bool) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        out(bed)
        bed.upstreams["cheap"].script = Script(prompt=1000, completion=70)
        answer = await bed.ask(account, models=["big-model"], route="fallback", stream=stream)
        assert (answer.status, answer.headers["x-perquery-model"]) == (200, "big-model")
        assert await bed.spent(account) == answer.cost() == price(1000, 70, BIG)
        row = await bed.only_row(account)
        assert (row["model"], row["provider"]) == ("big-model", "cheap")
        assert [each["model"] for each in row["detail"]["attempts"]] == [f"{name}-stub-model" for name in PERCENT]
        bodies = [each.body for each in bed.upstreams["cheap"].requests]
        assert [body["model"] for body in bodies] == ["cheap-stub-model", "cheap-big-model"]
        assert not {"models", "route"} & bodies[1].keys()

    hearth.run(run())


def test_the_first_model_serves_where_it_can_and_the_hold_covers_the_dearest(hearth: Hearth) -> None:
    async def run() -> None:
        bed, gate = hearth.bed, asyncio.Event()
        account = await bed.account()
        bed.upstreams["dear"].script = Script(gate=gate)
        async with bed.opened(account, models=["big-model"], max_tokens=1000) as opened:
            await asyncio.wait_for((await bed.upstreams["dear"].arrival()).reached.wait(), 60)
            assert bed.figures(account).held > price(0, 1000, BIG)
            gate.set()
            answer = await opened.answer()
        assert answer.headers["x-perquery-model"] == "stub-model"
        assert await bed.spent(account) == answer.cost() == price(10, 5, percent=150)

    hearth.run(run())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("usd", ["0.0100", "0.0300", "0.1000"])
def test_what_is_left_is_never_spent_twice_whoever_serves(hearth: Hearth, usd: str, stream: bool) -> None:
    """The dearer model may say as much as it can: the balance covers whatever of it is delivered."""

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account(usd)
        out(bed)
        bed.upstreams["cheap"].script = Script(chunks=600, completion=600)
        answer = await bed.ask(account, models=["big-model"], stream=stream)
        assert answer.status == 200
        body = bed.upstreams["cheap"].requests[-1].body
        cap = body.get("max_tokens", 16_000)
        assert 0 < answer.cost() == await bed.spent(account) <= money.nano(usd)
        assert cap <= 16_000

    hearth.run(run())


def test_each_model_is_asked_for_no_more_than_it_can_say(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("50")
        out(bed)
        await bed.ask(account, models=["big-model"], max_tokens=100_000)
        caps = [each.body["max_tokens"] for each in bed.upstreams["cheap"].requests]
        assert caps == [8_192, 16_000]

    hearth.run(run())


@pytest.mark.parametrize(
    "fields", [{"model": "no-such-thing", "models": ["big-model"]}, {"model": None, "models": ["big-model"]}]
)
def test_an_unknown_model_is_passed_over(hearth: Hearth, fields: dict[str, Any]) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        answer = await bed.ask(account, **fields)
        assert (answer.status, answer.headers["x-perquery-model"]) == (200, "big-model")
        assert await bed.spent(account) == price(10, 5, BIG)

    hearth.run(run())


def test_none_of_them_known(hearth: Hearth) -> None:
    async def run() -> None:
        answer = await hearth.bed.ask(await hearth.bed.account(), model="no-such-thing", models=["nor-this"])
        assert (answer.status, answer.json()["error"]["code"]) == (404, "model_not_found")
        assert "no-such-thing" in answer.json()["message"]

    hearth.run(run())


def test_a_model_that_the_wishes_rule_out_is_passed_over(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        answer = await bed.ask(account, model="big-model", models=["stub-model"], provider={"max_price": {"prompt": 2}})
        assert answer.headers["x-perquery-model"] == "stub-model"
        assert await bed.spent(account) == price(10, 5, percent=150)

    hearth.run(run())


def test_a_key_must_allow_every_model_that_may_answer(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        settings = {"name": "narrow", "models": ["stub-model"]}
        _, secret = await asyncio.to_thread(credentials.create_key, bed.database, account.id, settings)
        answer = await bed.ask(account, key=secret, models=["big-model"])
        assert (answer.status, answer.json()["error"]["code"]) == (403, "model_not_allowed")
        assert "big-model" in answer.json()["message"]
        assert (asked(bed), await bed.spent(account)) == ({}, 0)
        assert (await bed.ask(account, key=secret)).status == 200

    hearth.run(run())


async def message(bed: Bed, account: Account, **fields: Any) -> Answer:
    body = {"model": "stub-model", "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]} | fields
    async with exchange(bed.port, "/v1/messages", body, {"x-api-key": account.key}) as opened:
        return await opened.answer()


def test_a_message_says_which_model_it_is_of(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        out(bed)
        answer = await message(bed, await bed.account(), models=["big-model"])
        assert (answer.status, answer.json()["model"]) == (200, "big-model")

    hearth.run(run())


def test_a_stream_that_opens_early_does_not_guess_the_model(tmp_path: Path) -> None:
    async def run() -> None:
        models = (model("stub-model", "first"), model("big-model", "second", usd=("10.00", "20.00")))
        hasty = Pace(watch_after_s=0, tick_s=0.01, silence_s=0)
        async with lit(tmp_path, upstreams={"first": True, "second": True}, models=models, pace=hasty) as bed:
            account, gate = await bed.account(), asyncio.Event()
            bed.upstreams["first"].script = Script(status=500, gate=gate, gate_at="head")
            async with bed.opened(account, models=["big-model"], stream=True) as opened:
                await opened.until(b": PERQUERY PROCESSING")
                gate.set()
                answer = await opened.answer()
            assert "x-perquery-model" not in answer.headers
            assert answer.cost() == await bed.spent(account) == price(10, 5, BIG)

    asyncio.run(run())


# -- upstreams that are out of turns ------------------------------------------------------------------------------


def test_who_is_out_of_turns_is_left_alone_while_others_serve(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        bed.upstreams["dear"].script = Script(status=429, retry_after="30")
        assert [await served(bed, account) for _ in range(3)] == ["cheap"] * 3
        assert asked(bed) == {"dear": 1, "cheap": 3}

    hearth.run(run())


@pytest.mark.parametrize("status", [429, 529])
def test_only_where_all_are_out_is_the_caller_told_and_when_to_come_back(hearth: Hearth, status: int) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        for upstream, wait in zip(bed.upstreams.values(), ("30", "9", "20"), strict=True):
            upstream.script = Script(status=status, retry_after=wait)
        answer = await bed.ask(account)
        assert (answer.status, answer.headers["retry-after"]) == (503, "9")
        assert answer.json()["error"]["code"] == "upstream_unavailable"
        assert asked(bed) == dict.fromkeys(PERCENT, 1)
        told = await message(bed, account)
        assert (told.status, told.headers["retry-after"]) == (529, "9")
        assert told.json()["error"]["type"] == "overloaded_error"
        assert await bed.spent(account) == 0

    hearth.run(run())


# -- conversations ------------------------------------------------------------------------------------------------

NAMES: list[dict[str, Any]] = [{"session_id": "s"}, {"prompt_cache_key": "k"}, {}]


@pytest.mark.parametrize("named", NAMES, ids=["session", "cache", "beginning"])
def test_a_conversation_stays_where_its_cache_is_warm(hearth: Hearth, named: dict[str, Any]) -> None:
    first = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Begin."}]} | named
    more = [{"role": "assistant", "content": "So."}, {"role": "user", "content": "Go on."}]
    later = first | {"messages": [*first["messages"], *more]}
    other = {"messages": [{"role": "user", "content": "Something else."}], "session_id": "another"}
    accounts: list[Account] = []

    async def begin() -> None:
        accounts.append(await hearth.bed.account())
        hearth.bed.upstreams["dear"].script = DOWN
        assert await served(hearth.bed, accounts[0], **first) == "cheap"

    async def go_on() -> None:
        bed, account = hearth.bed, accounts[0]
        assert await served(bed, account, **later) == "cheap"
        assert await served(bed, account, **later, stream=True) == "cheap"
        assert await served(bed, account, **other) == "dear"
        assert await served(bed, await bed.account(), **later) == "dear", "another account's is another conversation"
        assert await served(bed, account, **later, provider={"order": ["discreet"]}) == "discreet"

    async def fail() -> None:
        bed = hearth.bed
        bed.upstreams["cheap"].script = DOWN
        assert await served(bed, accounts[0], **later) == "dear"

    async def end() -> None:
        assert await served(hearth.bed, accounts[0], **later) == "dear"

    hearth.run(begin())
    hearth.run(go_on())  # everybody is well again
    hearth.run(fail())
    hearth.run(end())


# -- live figures -------------------------------------------------------------------------------------------------


async def endpoints(bed: Bed, path: str) -> dict[str, dict[str, Any]]:
    async with exchange(bed.port, path, b"", {}, method="GET") as opened:
        answer = await opened.answer()
    assert answer.status == 200
    return {each["provider_name"]: each for each in answer.json()["data"]["endpoints"]}


def test_the_endpoints_of_a_model_show_their_price_and_how_they_do(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        bed.upstreams["dear"].script = Script(status=429, retry_after="30")
        bed.upstreams["cheap"].script = Script(chunks=20)
        await bed.ask(account, stream=True)
        await bed.quiet()
        found = await endpoints(bed, "/v1/models/stub-model/endpoints")
        assert list(found) == list(PERCENT)
        assert [each["pricing"]["prompt"] for each in found.values()] == ["0.0000015", "0.00000105", "0.0000012"]
        assert [each["status"] for each in found.values()] == [-1, 0, 0]
        assert [each["uptime"] for each in found.values()] == [Decimal("96.875"), 100, None]
        assert found["cheap"]["latency"] > 0 and found["cheap"]["throughput"] > 0
        assert (found["discreet"]["latency"], found["discreet"]["throughput"]) == (None, None)
        assert await endpoints(bed, "/models/Stub-Model/endpoints") == found

    hearth.run(run())


def test_the_endpoints_of_an_id_with_a_slash_and_of_none(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        assert list(await endpoints(bed, "/v1/models/vendor/hers:floor/endpoints")) == ["discreet"]
        for method, path, status in (
            ("GET", "/v1/models/no/such/endpoints", 404),
            ("POST", "/models/stub-model/endpoints", 405),
        ):
            async with exchange(bed.port, path, b"", {}, method=method) as opened:
                assert (await opened.answer()).status == status

    hearth.run(run())


def test_the_figures_are_in_the_metrics(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        await bed.ask(await bed.account(), stream=True, script="chunks=20")
        await bed.quiet()
        await bed.gateway.flush()
        async with exchange(bed.port, "/metrics", b"", {}, method="GET") as opened:
            said = (await opened.answer()).body.decode()
        for name in ("latency_seconds", "tokens_per_second", "failing_ppm"):
            assert f'perquery_route_{name}{{model="dear-stub-model",provider="dear"}}' in said

    hearth.run(run())
