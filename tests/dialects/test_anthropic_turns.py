"""Paused turns: their blocks as they were told, and a request that asks for no more than the first did."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from perquery.calls import Usage
from perquery.dialects.anthropic_turns import resumed, said
from tests.scenes import Scene, messages_blocks, messages_stream

SEARCHED = Scene("It rains.", thinking="Hm.", seal="s", citation="https://x.example", searches=2, calls=())
USED = Usage({"input": 900, "output": 80, "reasoning": 20, "search": 2})
ASKED: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 500,
    "messages": [{"role": "user", "content": "Rain?"}],
    "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}, {"name": "look"}],
}
BLOCKS = [{"type": "text", "text": "It "}]


def again(used: Usage = USED, **changed: Any) -> dict[str, Any] | None:
    body = resumed(orjson.dumps(ASKED | changed), BLOCKS, used)
    return orjson.loads(body) if body is not None else None


def test_the_blocks_are_those_that_the_vendor_would_have_sent_whole() -> None:
    events = [payload for _, payload in messages_stream(SEARCHED) if isinstance(payload, dict)]
    assert said(events) == list(messages_blocks(SEARCHED))


def test_events_that_are_not_as_they_should_be_do_no_harm() -> None:
    odd: list[dict[str, Any]] = [
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "before any block"}},
        {"type": "content_block_start", "content_block": None},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": 7}},
        {"type": "content_block_delta", "delta": None},
    ]
    assert said(odd) == [{"text": ""}]


def test_the_request_asks_for_what_is_left() -> None:
    body = again()
    assert body is not None
    assert (body["max_tokens"], body["tools"][0]["max_uses"], body["tools"][1]) == (400, 1, {"name": "look"})
    assert body["messages"] == [*ASKED["messages"], {"role": "assistant", "content": BLOCKS}]


def test_a_second_pause_goes_on_in_the_same_turn() -> None:
    body = again(messages=[*ASKED["messages"], {"role": "assistant", "content": BLOCKS}])
    assert body is not None
    assert body["messages"] == [*ASKED["messages"], {"role": "assistant", "content": BLOCKS * 2}]


def test_a_search_stays_allowed_for_its_results_need_the_tool() -> None:
    body = again(Usage({"output": 1, "search": 9}))
    assert body is not None and body["tools"][0]["max_uses"] == 1


@pytest.mark.parametrize("output", [500, 501])
def test_without_room_for_output_there_is_none(output: int) -> None:
    assert again(Usage({"output": output})) is None


def test_thinking_stays_within_the_cap() -> None:
    thinking = {"type": "enabled", "budget_tokens": 3_000}
    body = again(max_tokens=2_500, thinking=thinking)
    assert body is not None and body["thinking"]["budget_tokens"] == 2_399
    assert again(max_tokens=1_100, thinking=thinking) is None
    adaptive = again(max_tokens=110, thinking={"type": "adaptive"})
    assert adaptive is not None and adaptive["thinking"] == {"type": "adaptive"}
