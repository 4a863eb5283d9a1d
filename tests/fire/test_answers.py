"""What each answer says of its price, and that it is the truth: `usage.cost` is the balance's difference, always."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from perquery import money
from tests.fire.bed import model, price
from tests.fire.client import Answer
from tests.fire.hearth import Hearth, burning
from tests.upstream import Script


@pytest.fixture(scope="module")
def hearth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearth]:
    models = (model("stub-model", "scripted"), model("odd", "scripted", usd=("0.000037", "0.123457")))
    with burning(tmp_path_factory.mktemp("hearth"), models=models) as lasting:
        yield lasting


def test_a_plain_answer_explains_itself(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("2")
        answer = await bed.ask(account, script="prompt=1000 completion=50")
        body, cost = answer.json(), price(1000, 50)
        assert body["usage"]["cost"] == Decimal(cost) / 10**9
        assert answer.headers["x-perquery-cost"] == money.plain(cost)
        assert answer.headers["x-perquery-balance"] == money.plain(account.credited - cost)
        assert answer.headers["x-perquery-generation-id"] == (await bed.only_row(account))["id"]
        details = body["usage"]["cost_details"]
        assert (details["rule"], details["estimated"], details["markup"]) == ("complete", False, "1.05")
        assert [(line["unit"], line["count"]) for line in details["lines"]] == [("input", 1000), ("output", 50)]
        assert sum(line["usd"] for line in details["lines"]) * Decimal("1.05") == body["usage"]["cost"]
        assert await bed.spent(account) == cost

    hearth.run(run())


@pytest.mark.parametrize("usage", ["openai", "repeated", "together", "none"])
def test_a_stream_with_usage_tells_it_once_in_its_last_chunk(hearth: Hearth, usage: str) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        asked = {"stream_options": {"include_usage": True}}
        answer = await bed.ask(account, stream=True, script=f"usage={usage}", **asked)
        events = answer.events()
        assert events[-1] == "[DONE]"
        figures = [event["usage"] for event in events[:-1] if event.get("usage")]
        assert figures == [events[-2]["usage"]]
        assert events[-2]["choices"] == []
        assert set(figures[0]["cost_details"]) == {"rule", "estimated", "markup", "lines"}
        assert not answer.comments()
        assert await bed.spent(account) == answer.cost()
        assert answer.headers["x-perquery-balance"] == "1"
        assert answer.headers["x-perquery-generation-id"] == (await bed.only_row(account))["id"]

    hearth.run(run())


@pytest.mark.parametrize("usage", ["openai", "repeated", "together", "none"])
def test_a_stream_without_usage_tells_it_in_a_comment(hearth: Hearth, usage: str) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        answer = await bed.ask(account, stream=True, script=f"usage={usage}")
        assert not [event for event in answer.events() if event != "[DONE]" and "usage" in event]
        (said,) = answer.comments()
        told = money.from_json(said.removeprefix("perquery "))
        assert told["id"] == answer.headers["x-perquery-generation-id"]
        assert await bed.spent(account) == money.nano(told["cost"])

    hearth.run(run())


@pytest.mark.parametrize("stream", [True, False])
def test_odd_prices_are_rounded_once_and_up(hearth: Hearth, stream: bool) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        answers: list[Answer] = []
        for prompt, completion in [(1, 1), (3, 7), (999, 1), (12_345, 678)]:
            script = f"prompt={prompt} completion={completion}"
            answers.append(await bed.ask(account, model="odd", stream=stream, script=script))
            pico = prompt * 37 + completion * 123_457
            assert answers[-1].cost() == -(-pico * 105 // 100_000)
        assert await bed.spent(account) == sum(answer.cost() for answer in answers)
        assert b"e-" not in b"".join(answer.body for answer in answers)

    hearth.run(run())


def test_the_vendors_own_cost_is_not_shown(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        bed.upstream.script = Script(usage="cost", cost="7.25")
        for stream in (True, False):
            answer = await bed.ask(account, stream=stream, stream_options={"include_usage": True} if stream else None)
            assert answer.cost() == price(10, 5)
            assert b"7.25" not in answer.body

    hearth.run(run())


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"service_tier": "priority"}, "service_tier"),
    ({"service_tier": "flex"}, "service_tier"),
    ({"speed": "fast"}, "speed"),
    ({"inference_geo": "us"}, "inference_geo"),
    ({"background": True}, "background"),
    ({"search_parameters": {"mode": "on"}}, "search_parameters"),
    ({"search_parameters": {}}, "search_parameters"),
    ({"models": "gpt-5-pro"}, "models"),
    ({"route": "cheapest"}, "route"),
    ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, "tools"),
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"container": "cntr_1"}, "container"),
    ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]}, "messages[0]"),
    ({"n": 129}, "n"),
    ({"n": 0}, "n"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 10**30}, "max_tokens"),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED, ids=[f"{param}-{n}" for n, (_, param) in enumerate(REFUSED)])
@pytest.mark.parametrize("stream", [True, False])
def test_what_changes_the_price_or_reaches_for_others_is_refused(
    hearth: Hearth, fields: dict[str, Any], param: str, stream: bool
) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        answer = await bed.ask(account, stream=stream, **fields)
        assert (answer.status, answer.json()["error"]["param"]) == (400, param)
        assert not bed.upstream.requests
        assert not bed.rows(account)
        assert await bed.spent(account) == 0

    hearth.run(run())


def test_state_in_the_upstream_is_never_asked_for(hearth: Hearth) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        await bed.ask(account, store=True, metadata={"a": "b"}, provider={"order": ["dear"]}, credit_id="secret")
        body = bed.upstream.requests[0].body
        assert not {"provider", "credit_id"} & body.keys()
        assert body.get("store") in (None, False)

    hearth.run(run())


def test_several_choices_are_held_for(hearth: Hearth) -> None:
    """`n` multiplies the worst case."""

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account()
        strict = {"x-perquery-strict-cap": "1"}
        one = await bed.ask(account, max_tokens=8_000, n=1, headers=strict)
        many = await bed.ask(account, max_tokens=8_000, n=100, headers=strict)
        assert (one.status, many.status) == (200, 402)
        assert money.nano(many.json()["error"]["required"]) > price(0, 800_000)

    hearth.run(run())
