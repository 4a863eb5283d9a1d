"""What is not chat, as its users meet it: the sandbox as a process, OpenAI's own client, the local models.

Whatever was called explains itself afterwards in its own unit, and the books are right.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import openai
import pytest

from perquery import money
from tests.serving import Gateway, serving

MODEL: Final = "local/all-minilm-l6-v2"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("modalities") / "data") as running:
        yield running
        books = running.command("ledger", "verify")
        assert (books["ok"], books["figures"]["held"], books["figures"]["open_holds"]) == (True, 0, 0)


@pytest.fixture(scope="module")
def key(gateway: Gateway) -> str:
    return gateway.account("1")[1]


@pytest.fixture
def client(gateway: Gateway, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.base_url}/v1", api_key=key, max_retries=0) as made:
        yield made


def likeness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_embeddings_by_openais_client(gateway: Gateway, key: str, client: openai.OpenAI) -> None:
    """It asks for base64 by itself."""
    texts = ["A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose in March."]
    raw = client.embeddings.with_raw_response.create(model=MODEL, input=texts)
    answer = raw.parse()
    cat, kitten, rates = [row.embedding for row in answer.data]
    assert likeness(cat, kitten) > 0.6 > 0.1 > abs(likeness(cat, rates))
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 26
    cost = Decimal(raw.headers["x-perquery-cost"])
    assert cost == Decimal(money.plain(-(-26 * 10_000 * 105 // 100_000)))  # at 0.01 USD a million, times 1.05
    (floats,) = client.embeddings.create(model=MODEL, input=texts[0], encoding_format="float").data
    assert floats.embedding == pytest.approx(cat, abs=1e-6)
    found = gateway.call("GET", f"/v1/generation?id={raw.headers['x-perquery-generation-id']}", key=key)
    data = money.from_json(found.body)["data"]
    assert (data["cost"], data["usage_counts"], data["rule"]) == (cost, {"input": 26}, "complete")
    assert data["lines"] == [
        {
            "unit": "input",
            "count": 26,
            "usd_per_million": Decimal("0.01"),
            "usd_per_unit": Decimal("0.00000001"),
            "usd": Decimal("0.00000026"),
        }
    ]
    newest = gateway.call("GET", "/queries/history?page_count=2", key=key).json()["data"]
    assert {(row["query_type"], row["model"]) for row in newest} == {("embedding", MODEL)}


def test_the_local_model_stands_in_for_all_of_its_kind(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="text-embedding-3-small", input=["x", "y"], dimensions=100)
    assert [len(row.embedding) for row in answer.data] == [100, 100]


def test_what_it_cannot_do_is_told(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="384"):
        client.embeddings.create(model=MODEL, input="x", dimensions=1_536)


def test_kinds_without_a_local_model_are_listed_with_the_reason(gateway: Gateway, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.moderations.create(model="omni-moderation-latest", input="x")
    assert raised.value.code == "model_unavailable"
    listed = gateway.call("GET", "/v1/models?type=moderation,rerank&availability=all").json()["data"]
    assert {(row["kind"], row["available"]) for row in listed} == {("moderation", False), ("rerank", False)}
    assert all("not active" in row["unavailable_reason"] for row in listed)


def test_models_by_kind(gateway: Gateway) -> None:
    def listed(type: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = gateway.call("GET", f"/v1/models?type={type}").json()["data"]
        return found

    assert {row["type"] for row in listed("embedding")} == {"embedding"}
    assert MODEL in {row["id"] for row in listed("embedding")}
    assert {row["type"] for row in listed("chat")} == {"chat"}
    assert len(listed("all")) >= len(listed("chat")) + len(listed("embedding"))
