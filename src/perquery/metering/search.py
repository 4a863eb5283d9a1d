"""Web search of a call: which routes search themselves, and our own search where none does.

A search that is demanded costs exactly one of ours, or what the upstream counts; one that is only offered to the
model is never ours. It must never search before the money is reserved, nor for a call that asked for none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final, Protocol

from perquery.calls import Call, Dialect, Findings, Route, Search, Upstream
from perquery.dialects.search import USES, words
from perquery.errors import BadRequest

CONTEXT_TOKENS: Final = 8_000  # that a search of the upstream's own may put into the prompt: for what is held
_BOUNDED: Final[Set[Dialect | None]] = frozenset({"anthropic", "openai-responses"})  # these take a bound of searches
UNBOUNDED: Final[Dialect] = "gemini"  # takes none, and may bill several: what it does beyond is not the caller's
_OPENAI: Final = re.compile(r"gpt-(?:[5-9]|\d\d)|grok")


class Finder(Protocol):
    """Whoever searches for us."""

    async def find(self, question: str, search: Search) -> Findings:
        """Raises UpstreamError."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Our own search: who does it, and what the caller pays for one (nano-USD)."""

    finder: Finder
    price_nano: int


@dataclass(frozen=True, slots=True)
class Searching:
    """How a call is searched for. routes: that may serve it. ours: our own search, where the routes have none.

    uses: searches to hold for at the routes' prices; input_tokens: that they may add to the prompt. fewer: what the
    uses may be lowered to where the balance does not cover them, from the most to the fewest. pauses: whether a route
    may pause its turn between searches, which the caller's shape has no word for.
    """

    wish: Search
    routes: Sequence[Route]
    ours: Finding | None
    uses: int
    input_tokens: int
    fewer: Sequence[int] = ()
    pauses: bool = False


def arranged(
    call: Call, routes: Sequence[Route], upstreams: Mapping[str, Upstream], ours: Finding | None
) -> Searching | None:
    """The search of a call that asks for web search; None, and the caller is told, where nobody can.

    Raises BadRequest where the caller would rather have none than an answer without it.
    """
    wish = call.search
    assert wish is not None
    native = [route for route in routes if searching(route, upstreams[route.provider].dialects)]
    if native:
        spoken = {searching(route, upstreams[route.provider].dialects) for route in native}
        pauses = "anthropic" in spoken and call.dialect != "anthropic"
        uses = _uses(call, wish, spoken)
        return Searching(wish, native, None, uses, uses * CONTEXT_TOKENS, _fewer(call, native, spoken), pauses)
    if wish.demanded and ours is not None:
        return Searching(wish, routes, ours, 0, words(wish.results))
    if call.preferences is not None and call.preferences.takes_all:
        raise BadRequest(
            "This model has no web search here; leave it out.", param="plugins", code="unsupported_parameter"
        )
    call.dropped.append("web_search")
    return None


def _uses(call: Call, wish: Search, spoken: Set[Dialect | None]) -> int:
    """The searches to hold for: no fewer than are usual where a vendor would not be told of the caller's bound."""
    if UNBOUNDED in spoken and wish.uses < USES:
        call.dropped.append("max_uses")
        return USES
    return wish.uses


def _fewer(call: Call, routes: Sequence[Route], spoken: Set[Dialect | None]) -> Sequence[int]:
    """A search that is only offered may be left out, and is bounded where every vendor takes a bound. One that
    searches whatever it is asked does so at its own price.
    """
    assert call.search is not None
    if any("sonar" in route.model for route in routes):
        return ()
    bounded = spoken <= _BOUNDED
    wanted = call.search.demanded or (call.preferences is not None and call.preferences.takes_all)
    return (*(range(call.search.uses - 1, 0, -1) if bounded else ()), *(() if wanted else (0,)))


def searching(route: Route, spoken: tuple[Dialect, ...]) -> Dialect | None:
    """The dialect in which a route searches by itself; one without a price for it is never asked to."""
    if "sonar" in route.model:  # Perplexity's search whatever they are asked
        return spoken[0]
    if not route.price.tiers[0][1].get("search"):
        return None
    if "anthropic" in spoken and "claude" in route.model:
        return "anthropic"
    if "gemini" in spoken:
        return "gemini"
    if "openai-responses" in spoken and _OPENAI.search(route.model):
        return "openai-responses"
    return None
