"""Who searches for a call: its upstream, we, or nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from perquery.calls import Call, Dialect, Findings, Preferences, Price, Route, Search
from perquery.dialects.search import PLAIN
from perquery.errors import BadRequest
from perquery.metering.search import CONTEXT_TOKENS, Finding, arranged, searching

PRICED = Price(((0, {"input": 1, "output": 1, "search": 10}),))
BARE = Price(((0, {"input": 1, "output": 1}),))


class Nobody:
    async def find(self, question: str, search: Search) -> Findings:
        raise AssertionError("not to be called")


@dataclass
class Host:
    dialects: tuple[Dialect, ...]


UPSTREAMS: Any = {
    "a": Host(("anthropic",)),
    "c": Host(("openai-chat",)),
    "o": Host(("openai-chat", "openai-responses")),
}
OURS = Finding(Nobody(), 20)
OFFERED = Search(demanded=False, results=5, uses=3)


def call(search: Search, preferences: Preferences | None = None) -> Call:
    return Call("openai-chat", "m", {}, b"", search=search, preferences=preferences)


@pytest.mark.parametrize(
    "dialects, model, price, expected",
    [
        (("anthropic",), "claude-x", PRICED, "anthropic"),
        (("anthropic",), "deepseek-x", PRICED, None),
        (("anthropic",), "claude-x", BARE, None),
        (("gemini",), "gemini-x", PRICED, "gemini"),
        (("openai-chat", "openai-responses"), "gpt-5.4", PRICED, "openai-responses"),
        (("openai-chat", "openai-responses"), "gpt-4o", PRICED, None),
        (("openai-chat", "openai-responses"), "grok-4.5", PRICED, "openai-responses"),
        (("openai-chat",), "gpt-5.4", PRICED, None),
        (("openai-chat",), "sonar-pro", BARE, "openai-chat"),
    ],
)
def test_who_searches_by_itself(
    dialects: tuple[Dialect, ...], model: str, price: Price, expected: Dialect | None
) -> None:
    assert searching(Route("h", model, price), dialects) == expected


def test_routes_that_search_are_the_only_ones() -> None:
    own, other = Route("a", "claude-x", PRICED), Route("c", "claude-x", BARE)
    plan = arranged(call(OFFERED), (other, own), UPSTREAMS, OURS)
    assert plan is not None
    assert (plan.routes, plan.ours, plan.uses, plan.input_tokens) == ([own], None, 3, 3 * CONTEXT_TOKENS)


def test_ours_is_for_what_is_demanded() -> None:
    route = Route("c", "m", BARE)
    plan = arranged(call(PLAIN), (route,), UPSTREAMS, OURS)
    assert plan is not None and (plan.routes, plan.ours, plan.uses) == ((route,), OURS, 0) and plan.input_tokens > 0


@pytest.mark.parametrize("wish, ours", [(OFFERED, OURS), (PLAIN, None)])
def test_nobody_searches_and_the_caller_is_told(wish: Search, ours: Finding | None) -> None:
    asked = call(wish)
    assert arranged(asked, (Route("c", "m", BARE),), UPSTREAMS, ours) is None
    assert asked.dropped == ["web_search"]
    with pytest.raises(BadRequest, match="no web search"):
        arranged(call(wish, Preferences(takes_all=True)), (Route("c", "m", BARE),), UPSTREAMS, ours)
