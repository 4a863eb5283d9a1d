"""What hosts do beside chat, each host and kind at a scripted upstream: its request, its answer as it publishes it,
errors, timeouts, disconnects.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from perquery.calls import Ask, Kind, Work
from perquery.dialects import embeddings, moderations, rerank
from perquery.dialects.forms import Form
from perquery.errors import BadRequest, UpstreamError
from perquery.providers.hosts import HOSTS
from perquery.providers.table import ActiveHost, Speaker
from perquery.providers.trades import TRADES
from tests.outbound.wire import asking
from tests.providers.goldens import FOLDER, golden
from tests.providers.wire import HANG_S, Outcome
from tests.workshop import Made, Order, Workshop, workshop

ASKED: Final[dict[Kind, tuple[Callable[[Form], Work], dict[str, Any]]]] = {
    "embedding": (embeddings.parse, {"model": "m", "input": ["one", "two"], "dimensions": 2}),
    "rerank": (rerank.parse, {"model": "m", "query": "which?", "documents": ["one", "two"], "top_n": 2}),
    "moderation": (moderations.parse, {"model": "m", "input": "x"}),
}
FILES: Final[dict[Kind, str]] = {"embedding": "embeddings", "rerank": "rerank", "moderation": "moderations"}
OWN: Final = ("local-minilm",)  # asked for real, by its own tests
PAIRS: Final = [
    (name, kind)
    for name, host in HOSTS.items()
    for kind in host.trades
    if kind in ASKED and name not in OWN and (FOLDER / name / f"{FILES[kind]}.json").exists()
]
each = pytest.mark.parametrize(("name", "kind"), PAIRS, ids=[f"{name}-{kind}" for name, kind in PAIRS])
Steps = Callable[[Speaker, Workshop], Awaitable[Outcome]]


def asked(kind: Kind, idle_s: float = HANG_S, **changes: Any) -> Ask:
    parse, body = ASKED[kind]
    work = parse(Form(body | changes, (), b""))
    return Ask("m", b"", False, HANG_S, idle_s, work=work)


def played(name: str, make: Callable[[Order], Made], steps: Steps) -> tuple[Outcome, list[Order]]:
    """What is done with the host's row, at an upstream that answers so."""

    async def run() -> tuple[Outcome, list[Order]]:
        async with workshop(make) as upstream, asking() as client:
            host = replace(HOSTS[name], base_url=upstream.base_url)
            speaker = Speaker(ActiveHost(host, ("key",)), client, lambda: 0.0)
            return await steps(speaker, upstream), upstream.orders

    return asyncio.run(asyncio.wait_for(run(), HANG_S))


def once(ask: Ask) -> Steps:
    async def steps(speaker: Speaker, _: Workshop) -> Outcome:
        result = Outcome()
        try:
            reply = await speaker.send(ask)
            async for batch in reply:
                result.batches.append(batch)
        except UpstreamError as error:
            result.error = error
        return result

    return steps


def understood(kind: Kind, parsed: dict[str, Any]) -> dict[str, Any]:
    match kind:
        case "embedding":
            return {"vectors": [row["embedding"] for row in parsed["data"]]}
        case "rerank":
            return {"results": parsed["results"]}
        case _:
            return {"flagged": [row["flagged"] for row in parsed["results"]]}


def test_every_trade_of_these_kinds_has_its_golden() -> None:
    missing = {f"{name}-{kind}" for name, host in HOSTS.items() for kind in host.trades if kind in ASKED}
    assert missing - {f"{name}-{kind}" for name, kind in PAIRS} == {f"{name}-embedding" for name in OWN}


def test_every_trade_that_a_row_names_exists() -> None:
    assert {name for host in HOSTS.values() for name in host.trades.values()} == TRADES.keys()


@each
def test_plain(name: str, kind: Kind) -> None:
    kept = golden(name, FILES[kind])
    result, (order,) = played(name, lambda _: Made(kept["body"]), once(asked(kind)))
    (event,) = result.events
    assert event.parsed is not None and event.usage is not None and event.whole and event.finish
    expected = understood(kind, event.parsed) | {"counts": event.usage.counts, "estimated": event.usage.estimated}
    assert expected == kept["expect"]
    assert {"path": order.path, "body": order.body} == kept["request"]
    assert "key" in json.dumps(order.headers)


@each
@pytest.mark.parametrize(
    ("made", "kind_of_error"),
    [
        (Made({"error": {"message": "x"}}, 400), "refused"),
        (Made({"error": {"message": "x"}}, 401), "auth"),
        (Made({"error": {"message": "x"}}, 404), "model"),
        (Made({"message": "x"}, 429, {"retry-after": "3"}), "busy"),
        (Made(b"<html>", 500), "down"),
        (Made(b"<html>"), "garbage"),
        (Made({}), "garbage"),
        (Made({"data": [{}], "results": [{}], "embeddings": {}}), "garbage"),
        (Made({"error": {"message": "x", "code": 429}}), "busy"),
        (Made({"data": []}, fault="break"), "down"),
    ],
    ids=["400", "401", "404", "429", "500", "html", "empty", "odd", "within", "break"],
)
def test_error(name: str, kind: Kind, made: Made, kind_of_error: str) -> None:
    result, _ = played(name, lambda _: made, once(asked(kind)))
    error = result.error or result.events[-1].error
    assert error is not None
    assert (error.kind, error.sent) == (kind_of_error, True)


@each
def test_timeout(name: str, kind: Kind) -> None:
    result, _ = played(name, lambda _: Made({"data": []}, fault="hang"), once(asked(kind, idle_s=0.05)))
    assert result.error is not None
    assert (result.error.kind, result.error.sent) == ("timeout", True)


@each
def test_disconnect(name: str, kind: Kind) -> None:
    """A request that is cancelled while the upstream works leaves no connection behind."""

    async def steps(speaker: Speaker, upstream: Workshop) -> Outcome:
        sending = asyncio.ensure_future(speaker.send(asked(kind)))
        order = await upstream.arrival()
        await order.reached.wait()
        sending.cancel()
        await order.hung_up.wait()
        return Outcome()

    _, (order,) = played(name, lambda _: Made(fault="head"), steps)
    assert order.hung_up.is_set()


@pytest.mark.parametrize("name", ["google", "cohere", "voyage"])
def test_tokens_are_another_vendors(name: str) -> None:
    with pytest.raises(BadRequest, match="texts"):
        played(name, lambda _: Made({}), once(asked("embedding", input=[[1, 2]])))


def test_a_vector_too_few_is_no_answer() -> None:
    one = {"data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 1}}
    result, _ = played("openai", lambda _: Made(one), once(asked("embedding")))
    assert result.events[-1].error is not None


@pytest.mark.parametrize("place", [2, -1, None, "0", True])
def test_a_result_for_no_document_is_no_answer(place: Any) -> None:
    odd = {"results": [{"index": place, "relevance_score": 1.0}]}
    result, _ = played("vllm", lambda _: Made(odd), once(asked("rerank")))
    assert result.events[-1].error is not None


@pytest.mark.parametrize(
    ("billed", "counts"), [({"search_units": 3}, {"search": 3}), ({"input_tokens": 7}, {"input": 7})]
)
def test_cohere_counts_searches_or_tokens(billed: dict[str, int], counts: dict[str, int]) -> None:
    answer = {"results": [{"index": 0, "relevance_score": 1.0}], "meta": {"billed_units": billed}}
    result, _ = played("cohere", lambda _: Made(answer), once(asked("rerank")))
    (event,) = result.events
    assert event.usage is not None and event.usage.counts == counts
