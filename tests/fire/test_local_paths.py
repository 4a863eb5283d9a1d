"""A real model behind every pair of dialects: its server speaks chat, Messages and Responses itself.

The same prompt must count the same tokens, and cost the same, whichever shape the caller speaks and whichever of the
server's own it is asked in.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import pytest

from perquery.config import ModelSetting, PriceSetting, Provider, RouteSetting
from perquery.providers.local import MODEL, LocalModel
from tests.fire.callers import SHAPES, Heard, heard
from tests.fire.client import exchange
from tests.fire.hearth import Hearth, burning

DIALECTS: Final = ("openai-chat", "anthropic", "openai-responses")
QUESTION: Final = "Say the word hello."


@pytest.fixture(scope="module")
def hearth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hearth]:
    local = LocalModel()
    try:
        running = local.open()
        rows = [
            Provider(name=f"here-{dialect}", dialect=dialect, base_url=running.base_url, api_keys=(running.key,))
            for dialect in DIALECTS
        ]
        models = [
            ModelSetting(
                id=f"by-{dialect}",
                routes=(RouteSetting(provider=f"here-{dialect}", model=MODEL),),
                price_usd_per_million=PriceSetting(input=Decimal(1), output=Decimal(2), cache_read=Decimal(1)),
                context_tokens=4_096,
                output_tokens_max=256,
            )
            for dialect in DIALECTS
        ]
        with burning(tmp_path_factory.mktemp("local"), models=models, others=rows) as lasting:
            yield lasting
    finally:
        local.stop()


def body(shape: str, dialect: str, *, stream: bool) -> dict[str, Any]:
    asked = {"model": f"by-{dialect}", "stream": stream, "temperature": 0}
    said = [{"role": "user", "content": QUESTION}]
    match shape:
        case "chat/completions":
            return asked | {"messages": said, "max_tokens": 12, "stream_options": {"include_usage": True}}
        case "completions":
            return asked | {"prompt": QUESTION, "max_tokens": 12, "stream_options": {"include_usage": True}}
        case "messages":
            return asked | {"messages": said, "max_tokens": 12}
    return asked | {"input": QUESTION, "max_output_tokens": 12}


def test_the_same_prompt_costs_the_same_on_every_path(hearth: Hearth) -> None:
    async def one(shape: str, dialect: str, stream: bool) -> Heard:
        account = await hearth.bed.account()
        headers = {"authorization": f"Bearer {account.key}"}
        async with exchange(hearth.bed.port, f"/v1/{shape}", body(shape, dialect, stream=stream), headers) as opened:
            got = heard(shape, await opened.answer(), stream=stream)
        assert await hearth.bed.spent(account) == got.cost
        return got

    async def all_of_them() -> dict[tuple[str, str, bool], Heard]:
        paths = [(shape, dialect, stream) for shape in SHAPES for dialect in DIALECTS for stream in (False, True)]
        return {path: await one(*path) for path in paths}

    found = hearth.run(all_of_them())
    assert len({(got.tokens[0], got.tokens[2], got.cost) for got in found.values()}) == 1
    assert len({got.text for got in found.values()}) == 1
    assert {got.finish for got in found.values()} <= {"stop", "length"}
