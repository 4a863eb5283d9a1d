"""Spelling: suffixes, dates, dots and dashes, nearness."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perquery.catalog import names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("openai/gpt-4o", ("openai/gpt-4o", ())),
        ("openai/gpt-4o:online", ("openai/gpt-4o", ("online",))),
        ("openai/gpt-4o:NITRO:online", ("openai/gpt-4o", ("nitro", "online"))),
        ("amazon.nova-lite-v1:0", ("amazon.nova-lite-v1:0", ())),
        ("a:unknown:free", ("a:unknown", ("free",))),
    ],
)
def test_split(name: str, expected: tuple[str, tuple[str, ...]]) -> None:
    assert names.split(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("gpt-4o-2024-11-20", "gpt-4o"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("mistral-large-2512", "mistral-large-2512"),
        ("model-20251399", "model-20251399"),
    ],
)
def test_dateless(name: str, expected: str) -> None:
    assert names.dateless(name) == expected


@pytest.mark.parametrize("name", ["Claude Sonnet 4.5", "claude-sonnet-4-5", "CLAUDE_SONNET_4.5", " claude-sonnet-4.5 "])
def test_spelling(name: str) -> None:
    assert names.spelling(name) == "claude-sonnet-4-5"


@pytest.mark.parametrize("name", ["zai-org/GLM-5.2", "accounts/fireworks/models/glm-5p2", "z-ai/glm-5.2"])
def test_hosts_names_for_one_model_meet(name: str) -> None:
    assert names.bare(name) == "glm-5-2"


def test_nearest_is_best_first() -> None:
    known = ["openai/gpt-4o", "openai/gpt-4o-mini", "anthropic/claude-sonnet-4.5", "x-ai/grok-4.3"]
    assert names.nearest("claude-sonet-4-5", known)[0] == "anthropic/claude-sonnet-4.5"


def test_nothing_near_is_nothing() -> None:
    assert names.nearest("zzzz", ["openai/gpt-4o"]) == []


@given(st.text(max_size=300))
def test_any_text_is_spelt_the_same_twice(text: str) -> None:
    assert names.spelling(names.spelling(text)) == names.spelling(text)
    names.nearest(text, ["openai/gpt-4o"])
