"""What tools post that cannot run here (Cursor, Roo Code), as is told of them, before every kind of upstream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import pytest

from perquery.config import Dialect, ModelSetting, PriceSetting, Provider, RouteSetting
from tests.fire.callers import CHAT, heard
from tests.fire.client import exchange
from tests.fire.hearth import Hearth, burning
from tests.scenes import SCENES
from tests.vendors import KEY, Vendors, vendors

NAMES: Final[Mapping[Dialect, str]] = {
    "openai-chat": "gpt-5.4-mini",
    "openai-responses": "gpt-5.4-mini",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-3.5-flash",
}
SCHEMA: Final = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
MARK: Final = {"cache_control": {"type": "ephemeral"}}
PIXEL: Final = "data:image/png;base64,iVBORw0KGgo="
ASKED: Final = "Please. scene: text"
USAGE: Final = {"stream": True, "stream_options": {"include_usage": True}}
POSTED: Final[Mapping[str, dict[str, Any]]] = {
    "Cursor: a body of Responses": {
        "input": [
            {"role": "system", "content": "You are an agent."},
            {"role": "user", "content": [{"type": "input_text", "text": ASKED}]},
        ],
        "tools": [
            {"type": "function", "name": "read_file", "description": "d", "parameters": SCHEMA, "strict": False},
            {
                "type": "custom",
                "name": "ApplyPatch",
                "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
            },
        ],
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "medium", "summary": "auto"},
        "text": {"verbosity": "low"},
        "prompt_cache_retention": "24h",
        "truncation": "auto",
        "user": "u",
    },
    "Cursor: tools and blocks of Messages": {
        "messages": [
            {"role": "system", "content": "You are an agent."},
            {"role": "user", "content": "Read it."},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "Reading."},
                    {"type": "tool_use", "id": "toolu_1", "name": "read_file", "input": {"path": "a"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": "data"},
                    {"type": "text", "text": ASKED},
                ],
            },
        ],
        "tools": [{"name": "read_file", "description": "d", "input_schema": SCHEMA}],
    },
    "Cursor: flat tools": {
        "messages": [{"role": "user", "content": ASKED}],
        "tools": [
            {"type": "function", "name": "read_file", "parameters": SCHEMA},
            {"type": "function", "function": {"name": "look", "parameters": SCHEMA}},
        ],
    },
    "Roo Code": {
        "temperature": 0,
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "You are Roo."} | MARK]},
            {
                "role": "user",
                "content": [{"type": "text", "text": ASKED} | MARK, {"type": "image_url", "image_url": {"url": PIXEL}}],
            },
        ],
        "tools": [{"type": "function", "function": {"name": "read_file", "strict": True, "parameters": SCHEMA}}],
        "parallel_tool_calls": True,
        "max_completion_tokens": 8_192,
    },
    "Roo Code: a model that reasons": {
        "reasoning_effort": "medium",
        "messages": [{"role": "developer", "content": "You are Roo."}, {"role": "user", "content": ASKED}],
        "tools": [{"type": "function", "function": {"name": "read_file", "parameters": SCHEMA}}],
        "parallel_tool_calls": True,
    },
}
USD: Final = PriceSetting(input=Decimal(1), output=Decimal(2))
PRICE_NANO: Final = (100 + 30 * 2) * 1_050


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hearth, Vendors]]:
    with vendors() as running:
        rows = [
            Provider(name=f"at-{name}", dialect=name, base_url=running.base_url(name), api_keys=(KEY,))
            for name in NAMES
        ]
        models = [
            ModelSetting(
                id=f"by-{name}",
                routes=(RouteSetting(provider=f"at-{name}", model=model),),
                price_usd_per_million=USD,
            )
            for name, model in NAMES.items()
        ]
        with burning(tmp_path_factory.mktemp("posted"), models=models, others=rows) as hearth:
            yield hearth, running


@pytest.mark.parametrize("dialect", NAMES)
@pytest.mark.parametrize("posted", POSTED)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions?x=1"])
def test_it_is_answered_in_chat(world: tuple[Hearth, Vendors], posted: str, dialect: Dialect, path: str) -> None:
    hearth, running = world

    async def run() -> None:
        account = await hearth.bed.account()
        body = {"model": f"by-{dialect}", **POSTED[posted], **USAGE}
        async with exchange(hearth.bed.port, path, body, {"authorization": f"Bearer {account.key}"}) as opened:
            answer = await opened.answer()
        got = heard(CHAT, answer, stream=True)
        assert answer.body.endswith(b"data: [DONE]\n\n")
        assert (got.text, got.finish) == (SCENES["text"].text, "stop")
        assert got.cost == PRICE_NANO == await hearth.bed.spent(account)
        told = json.dumps(running.seen[-1][1])
        assert "scene: text" in told and '"read_file"' in told

    hearth.run(run())
