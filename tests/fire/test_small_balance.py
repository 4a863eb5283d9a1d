"""A small balance, large caps: never refused for a cap, never overspent, cut where the money truly ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.fire.bed import Account, Bed, model, price, turns
from tests.fire.client import Answer
from tests.fire.hearth import Hearth, burning
from tests.upstream import Script

WORDS: Final = "Read the file before you change it and keep every change as small as the task allows. "
DEAR: Final = ("3.00", "15.00")


@pytest.fixture(scope="module")
def hearth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearth]:
    with burning(
        tmp_path_factory.mktemp("hearth"),
        upstreams={"windowed": True, "capped": False},
        models=(
            model("stub-model", "windowed"),
            model("coder", "windowed", usd=DEAR, output_tokens_max=64_000, context_tokens=200_000),
            model("bills-on", "capped", usd=DEAR, output_tokens_max=64_000, context_tokens=200_000),
        ),
    ) as lasting:
        yield lasting


def agent_request(turn: int = 0) -> dict[str, Any]:
    """What a coding agent sends with every turn: system blocks, 24 tools, a cap of 32,000; about 12 KB."""
    parameters = {
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "The absolute path of the file."},
            "text": {"type": "string", "description": WORDS},
        },
        "required": ["path"],
    }
    tools = [
        {"type": "function", "function": {"name": f"tool_{n}", "description": WORDS, "parameters": parameters}}
        for n in range(24)
    ]
    system = [{"type": "text", "text": WORDS * 10}, {"type": "text", "text": WORDS * 5}]
    messages = [{"role": "system", "content": system}, {"role": "user", "content": f"Go on with step {turn}."}]
    return {"messages": messages, "tools": tools, "max_tokens": 32_000}


async def turn(bed: Bed, account: Account, name: str = "coder", number: int = 0) -> Answer:
    return await bed.ask(account, model=name, stream=True, **agent_request(number))


def test_the_request_has_the_size_that_agents_send() -> None:
    assert 11_000 < len(json.dumps(agent_request())) < 14_000


def test_eight_turns_at_once_on_ten_cents(hearth: Hearth) -> None:
    """$0.10 and its bonus; each turn truly costs $0.011, each hold is larger: nobody is refused for that."""

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("0.10", bonus=True)
        assert account.credited == 105_000_000
        bed.upstream.script = Script(chunks=100, gap_ms=2, prompt=3_000)
        answers = await asyncio.gather(*(turn(bed, account, number=number) for number in range(8)))
        assert [answer.status for answer in answers] == [200] * 8
        assert {answer.finish() for answer in answers} == {"stop"}
        each = price(3_000, 100, usd=(3, 15))
        assert {answer.cost() for answer in answers} == {each}
        assert await bed.spent(account) == 8 * each

    hearth.run(run())


def test_turns_until_the_balance_is_used_up(hearth: Hearth) -> None:
    """The last answers are cut or truly refused; all that was paid for stands in the answers."""

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("0.10", bonus=True)
        bed.upstream.script = Script(chunks=700, prompt=3_000)
        paid, refused, endings = 0, 0, []
        while not refused:
            answer = await turn(bed, account)
            if answer.status == 402:
                refused += 1
                needed = answer.json()["error"]["required"]
                assert answer.json()["error"]["code"] == "insufficient_credits"
                assert float(needed) > (account.credited - paid) / 10**9
            else:
                paid += answer.cost()
                endings.append(answer.finish())
            assert bed.figures(account).posted == account.credited - paid
        assert await bed.spent(account) == paid
        assert len(endings) >= 4
        assert set(endings[:-1]) == {"stop"}

    hearth.run(run())


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_outlives_its_first_window(hearth: Hearth, stream: bool) -> None:
    """A window of an eighth of the balance is extended, over and over; the answer comes whole."""

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("0.02")
        bed.upstream.script = Script(chunks=4_000, prompt=50)
        answer = await bed.ask(account, stream=stream, max_tokens=100_000)
        assert bed.upstream.requests[0].body["stream"] is True
        text = answer.text() if stream else answer.json()["choices"][0]["message"]["content"]
        finish = answer.finish() if stream else answer.json()["choices"][0]["finish_reason"]
        assert (text, finish) == ("yes " * 4_000, "stop")
        assert await bed.spent(account) == answer.cost() == price(50, 4_000)

    hearth.run(run())


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_is_cut_where_the_balance_ends(hearth: Hearth, stream: bool) -> None:
    """Finish reason `length`, the upstream's connection is closed, and exactly what was delivered is paid."""

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("0.002")
        bed.upstream.script = Script(chunks=8_000, prompt=50, gap_ms=1)
        answer = await bed.ask(account, stream=stream, max_tokens=8_000)
        request = bed.upstream.requests[0]
        await asyncio.wait_for(request.hung_up.wait(), 60)
        assert request.chunks < 8_000
        text = answer.text() if stream else answer.json()["choices"][0]["message"]["content"]
        finish = answer.finish() if stream else answer.json()["choices"][0]["finish_reason"]
        delivered = text.count("yes ")
        assert finish == "length"
        row = await bed.only_row(account)
        assert (row["rule"], row["output_count"], row["detail"]["estimated"]) == ("cut_at_balance", delivered, True)
        spent = await bed.spent(account)
        assert spent == answer.cost() == price(row["input_count"], delivered)
        left = account.credited - spent
        assert left < price(0, 256), "it is cut only where not even the smallest further window fits"

    hearth.run(run())


@pytest.mark.parametrize("stream", [True, False])
def test_a_cap_is_lowered_where_the_upstream_bills_on(hearth: Hearth, stream: bool) -> None:
    """The worst case must be held: half of what is free buys so many tokens, and the caller is told."""

    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("0.10")
        capped = bed.upstreams["capped"]
        capped.script = Script(chunks=20, prompt=50)
        answer = await bed.ask(account, model="bills-on", stream=stream, max_tokens=32_000)
        lowered = capped.requests[0].body["max_tokens"]
        assert 256 <= lowered < 32_000
        assert answer.headers["x-perquery-capped"].encode("latin-1").decode() == f"32000→{lowered}"
        assert price(0, lowered, usd=(3, 15)) <= 50_000_000 < price(200, lowered + 10, usd=(3, 15)) + 1_000_000
        assert await bed.spent(account) == answer.cost() == price(50, 20, usd=(3, 15))
        assert (await bed.only_row(account))["detail"]["capped_to"] == lowered

    hearth.run(run())


@pytest.mark.parametrize("name", ["coder", "bills-on"])
def test_a_strict_cap_asks_for_a_402_instead(hearth: Hearth, name: str) -> None:
    async def run() -> None:
        bed = hearth.bed
        account = await bed.account("0.10")
        headers = {"x-perquery-strict-cap": "true"}
        answer = await bed.ask(account, model=name, stream=True, max_tokens=32_000, headers=headers)
        assert (answer.status, answer.json()["error"]["code"]) == (402, "insufficient_credits")
        assert answer.headers["x-should-retry"] == "false"
        assert not any(each.requests for each in bed.upstreams.values())
        fits = await bed.ask(account, model=name, max_tokens=1_000, headers=headers)
        assert fits.status == 200
        assert await bed.spent(account) == fits.cost()

    hearth.run(run())


def test_a_request_waits_for_what_others_hold_in_excess(hearth: Hearth) -> None:
    """The balance covers it, only running holds stand in the way: it waits for them, and is served."""

    async def run() -> None:
        bed, gate = hearth.bed, asyncio.Event()
        account = await bed.account("0.10")
        capped = bed.upstreams["capped"]
        capped.scripts = [Script(gate=gate, gate_at="head"), Script(gate=gate, gate_at="head")]
        first = [asyncio.ensure_future(bed.ask(account, model="bills-on", max_tokens=32_000)) for _ in range(2)]
        for _ in first:
            await capped.arrival()
        held = bed.figures(account).held
        assert held > 74_000_000
        waiting = asyncio.ensure_future(
            bed.ask(account, model="bills-on", max_tokens=2_000, headers={"x-perquery-strict-cap": "true"})
        )
        while bed.gateway.admission.in_flight < 3:
            await turns(1)
        gate.set()
        answers = await asyncio.gather(*first, waiting)
        assert [answer.status for answer in answers] == [200] * 3
        assert await bed.spent(account) == sum(answer.cost() for answer in answers)

    hearth.run(run())


def test_what_can_never_fit_is_refused_at_once(hearth: Hearth) -> None:
    async def run() -> None:
        bed, gate = hearth.bed, asyncio.Event()
        account = await bed.account("0.01")
        bed.upstream.scripts = [Script(gate=gate, gate_at="head")]
        running = asyncio.ensure_future(bed.ask(account))
        await bed.upstream.arrival()
        strict = {"x-perquery-strict-cap": "1"}
        answer = await bed.ask(account, model="coder", max_tokens=32_000, headers=strict)
        assert answer.status == 402
        gate.set()
        await running

    hearth.run(run())
