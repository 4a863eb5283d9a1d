"""Reranking and moderation through the gateway, by the tools that callers have."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest

from perquery.calls import Kind
from perquery.config import ModelSetting, PriceSetting, Provider, RouteSetting
from tests.fire.bed import Account, Bed, lit
from tests.fire.client import Answer, exchange
from tests.providers.goldens import golden
from tests.workshop import Made, Order, workshop

RERANK: dict[str, Any] = {"model": "ranker", "query": "which?", "documents": ["one", {"text": "two"}], "top_n": 2}


def selling(kind: Kind, host: str, id: str, **usd: str) -> ModelSetting:
    price = PriceSetting(**{unit: Decimal(amount) for unit, amount in usd.items()})
    return ModelSetting(id=id, kind=kind, routes=(RouteSetting(provider=host, model="m"),), price_usd_per_million=price)


@asynccontextmanager
async def shop(folder: Path, host: str, make: Callable[[Order], Made], *models: ModelSetting) -> AsyncIterator[Bed]:
    async with workshop(make) as upstream:
        rows = (Provider(name=host, base_url=upstream.base_url, api_keys=("house",)),)
        async with lit(folder, models=models, others=rows) as bed:
            yield bed


async def ask(bed: Bed, account: Account, path: str, body: Any) -> Answer:
    async with exchange(bed.port, path, body, {"authorization": f"Bearer {account.key}"}) as sent:
        return await sent.answer()


@pytest.mark.parametrize(
    ("host", "usd", "cost"),
    [
        ("cohere", {"search": "2000"}, 2_100_000),  # one search at 2 USD a thousand, times 1.05
        ("voyage", {"input": "0.05"}, 473),  # nine tokens at 0.05 USD a million, times 1.05, rounded up
        ("jina", {"input": "0.05"}, 473),
        ("vllm", {"input": "0.05"}, 473),
    ],
)
def test_reranking(tmp_path: Path, host: str, usd: dict[str, str], cost: int) -> None:
    async def run() -> None:
        body = golden(host, "rerank")["body"]
        async with shop(tmp_path, host, lambda _: Made(body), selling("rerank", host, "ranker", **usd)) as bed:
            account = await bed.account()
            answer = await ask(bed, account, "/v1/rerank", RERANK | {"return_documents": True})
            found = [(row["index"], row["document"]["text"]) for row in answer.json()["results"]]
            assert (answer.status, found, answer.cost()) == (200, [(1, "two"), (0, "one")], cost)
            assert await bed.spent(account) == cost
            assert (await bed.only_row(account))["kind"] == "rerank"

    asyncio.run(run())


def test_moderation_is_free_and_needs_no_credit(tmp_path: Path) -> None:
    """By OpenAI's own client, at the catalogue's own model."""

    async def run() -> None:
        body = golden("openai", "moderations")["body"]
        async with shop(tmp_path, "openai", lambda _: Made(body)) as bed:
            account = await bed.account("0.000000001")
            base_url = f"http://127.0.0.1:{bed.port}/v1"
            async with openai.AsyncOpenAI(base_url=base_url, api_key=account.key, max_retries=0) as client:
                raw = await client.moderations.with_raw_response.create(input=["x"], model="omni-moderation-latest")
            (result,) = raw.parse().results
            assert (result.flagged, result.categories.violence) == (True, True)
            assert raw.headers["x-perquery-cost"] == "0"
            assert await bed.spent(account) == 0
            row = await bed.only_row(account)
            assert (row["kind"], row["rule"]) == ("moderation", "complete")
            assert row["model"] == "openai/omni-moderation-latest"

    asyncio.run(run())
