"""Work that is not chat on the same line as chat: held, asked for, answered, settled once; whoever leaves or fails.

Embeddings stand for all of it here: what is one JSON answer. Each kind's own tests say what is its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from perquery.config import ModelSetting, PriceSetting, Provider, RouteSetting
from tests.fire.bed import CHAT, Account, Bed, lit, model
from tests.fire.client import Answer, exchange
from tests.workshop import Made, Order, Workshop, workshop

EMBEDDINGS: Final = "/v1/embeddings"
ASKED: Final = {"model": "vectors", "input": ["one", "two"]}


def embedded(order: Order) -> Made:
    rows = [{"object": "embedding", "index": n, "embedding": [0.5, -n]} for n, _ in enumerate(order.body["input"])]
    usage = {"prompt_tokens": 2_000, "total_tokens": 2_000}
    return Made({"object": "list", "data": rows, "model": order.body["model"], "usage": usage})


def vectors(*hosts: str, usd: str = "0.50") -> ModelSetting:
    routes = tuple(RouteSetting(provider=name, model=f"{name}-vectors") for name in hosts)
    price = PriceSetting(input=Decimal(usd))
    return ModelSetting(id="vectors", kind="embedding", routes=routes, price_usd_per_million=price)


@asynccontextmanager
async def shop(
    data: Path, make: Callable[[Order], Made] = embedded, spare: Callable[[Order], Made] | None = None, **settings: Any
) -> AsyncIterator[tuple[Bed, Workshop]]:
    """A gateway that sells `vectors` of a workshop, and of a spare one."""
    async with workshop(make) as first, workshop(spare or make) as second:
        named = {"first": first} | ({"second": second} if spare else {})
        rows = [Provider(name=name, base_url=each.base_url, api_keys=("house",)) for name, each in named.items()]
        models = (vectors(*named), model("stub-model", "scripted"))
        async with lit(data, models=models, others=rows, **settings) as bed:
            yield bed, first


def opened(bed: Bed, account: Account, body: Any = ASKED, **headers: str) -> Any:
    return exchange(bed.port, EMBEDDINGS, body, {"authorization": f"Bearer {account.key}"} | headers)


async def ask(bed: Bed, account: Account, body: Any = ASKED, **headers: str) -> Answer:
    async with opened(bed, account, body, **headers) as sent:
        answer: Answer = await sent.answer()
        return answer


COST: Final = 1_050_000  # 2,000 tokens at 0.50 USD a million, times 1.05


def test_an_answer_says_what_it_cost(tmp_path: Path) -> None:
    async def run() -> None:
        async with shop(tmp_path) as (bed, upstream):
            account = await bed.account()
            answer = await ask(bed, account)
            assert (answer.status, answer.cost()) == (200, COST)
            assert answer.headers["x-perquery-cost"] == "0.00105"
            assert answer.headers["x-perquery-balance"] == "0.99895"
            assert [row["embedding"] for row in answer.json()["data"]] == [[Decimal("0.5"), 0], [Decimal("0.5"), -1]]
            (order,) = upstream.orders
            assert (order.path, order.headers["authorization"]) == ("/v1/embeddings", "Bearer house")
            assert (order.body["model"], order.body["input"]) == ("first-vectors", ["one", "two"])
            assert await bed.spent(account) == COST
            row = await bed.only_row(account)
            assert (row["kind"], row["rule"], row["input_count"]) == ("embedding", "complete", 2_000)
            assert row["id"] == answer.headers["x-perquery-generation-id"]

    asyncio.run(run())


def failing(status: int) -> Callable[[Order], Made]:
    return lambda _: Made({"error": {"message": "no"}}, status)


@pytest.mark.parametrize("status", [429, 500, 401])
def test_another_upstream_is_asked_where_one_fails(tmp_path: Path, status: int) -> None:
    async def run() -> None:
        async with shop(tmp_path, failing(status), embedded) as (bed, _):
            account = await bed.account()
            assert (await ask(bed, account)).status == 200
            row = await bed.only_row(account)
            assert (row["provider"], [each["status"] for each in row["detail"]["attempts"]]) == ("second", [status])

    asyncio.run(run())


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (failing(400), 400),
        (failing(503), 503),
        (lambda _: Made(b"]no["), 503),
        (lambda _: Made({"data": [{}]}), 503),
        (lambda _: Made({"error": {"message": "x", "code": 429}}), 503),
        (lambda order: Made(embedded(order).body, fault="break"), 503),
    ],
)
def test_what_fails_is_free(tmp_path: Path, make: Callable[[Order], Made], status: int) -> None:
    async def run() -> None:
        async with shop(tmp_path, make) as (bed, _):
            account = await bed.account()
            answer = await ask(bed, account)
            assert answer.status == status
            assert "first" not in answer.json()["error"]["message"]
            assert await bed.spent(account) == 0
            assert (await bed.only_row(account))["rule"] == "upstream_error"

    asyncio.run(run())


def test_who_leaves_pays_for_what_is_done(tmp_path: Path) -> None:
    """It is billed there whatever happens here, so it is waited for."""

    async def run() -> None:
        gate = asyncio.Event()
        async with shop(tmp_path, lambda order: Made(embedded(order).body, gate=gate)) as (bed, upstream):
            account = await bed.account()
            async with opened(bed, account) as sent:
                order = await upstream.arrival()
                await order.reached.wait()
                sent.hang_up()
            await bed.noticed()
            gate.set()
            assert await bed.spent(account) == COST
            assert (await bed.only_row(account))["rule"] == "caller_left_drained"

    asyncio.run(run())


def test_without_money_nobody_is_asked(tmp_path: Path) -> None:
    async def run() -> None:
        async with shop(tmp_path) as (bed, upstream):
            account = await bed.account("0.000000001")
            answer = await ask(bed, account)
            assert (answer.status, upstream.orders) == (402, [])
            assert answer.headers["x-should-retry"] == "false"

    asyncio.run(run())


def test_the_same_request_twice_is_done_once(tmp_path: Path) -> None:
    async def run() -> None:
        async with shop(tmp_path) as (bed, upstream):
            account = await bed.account()
            key = {"idempotency-key": "k"}
            first, second = [await ask(bed, account, **key) for _ in range(2)]
            assert (first.body, second.headers["x-perquery-replayed"]) == (second.body, "1")
            assert (await ask(bed, account, ASKED | {"input": "x"}, **key)).status == 409
            assert (len(upstream.orders), await bed.spent(account)) == (1, COST)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        (EMBEDDINGS, ASKED | {"model": "stub-model"}, "wrong_endpoint"),
        (CHAT, {"model": "vectors", "messages": [{"role": "user", "content": "x"}]}, "wrong_endpoint"),
        (EMBEDDINGS, ASKED | {"model": "nobody"}, "model_not_found"),
    ],
)
def test_a_model_is_called_where_it_belongs(tmp_path: Path, path: str, body: Any, code: str) -> None:
    async def run() -> None:
        async with shop(tmp_path) as (bed, _):
            account = await bed.account()
            async with exchange(bed.port, path, body, {"authorization": f"Bearer {account.key}"}) as sent:
                answer = await sent.answer()
            assert answer.json()["error"]["code"] == code

    asyncio.run(run())
