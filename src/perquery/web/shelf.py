"""Models as pages list them: their names and what a caller pays, markup included. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from perquery import money
from perquery.calls import Line, Unit, Usage
from perquery.catalog.models import Catalog, Model
from perquery.catalog.price import cost
from perquery.catalog.render import dearest_atto

# Those that a newcomer looks for first; what cannot be called here is passed over.
FEATURED: Final = (
    "anthropic/claude-opus-5.5",
    "anthropic/claude-sonnet-5.5",
    "openai/gpt-6.1-sol",
    "google/gemini-3.8-flash",
    "x-ai/grok-4.7",
    "deepseek/deepseek-v4-pro",
    "moonshotai/kimi-k3",
    "qwen/qwen3-coder",
    "mistralai/mistral-large-4-0",
    "openai/gpt-5-mini",
)
SPECIMEN: Final[dict[Unit, int]] = {"input": 1_840, "cache_read": 12_288, "output": 426}


@dataclass(frozen=True, slots=True)
class Listed:
    """input_atto, output_atto: atto-USD for a token."""

    id: str
    name: str
    owner: str
    context_tokens: int
    input_atto: int
    output_atto: int


@dataclass(frozen=True, slots=True)
class Bill:
    """What a call comes to, line by line: what the upstream takes, our markup on it, what the caller pays."""

    model: Listed
    provider: str
    lines: tuple[Line, ...]
    upstream_pico: int
    markup_percent: str
    total_nano: int


def listed(model: Model) -> Listed:
    routes = model.routes or model.known_routes
    prices = (dearest_atto(routes, "input", 0), dearest_atto(routes, "output", 0))
    return Listed(model.id, model.name, model.owner, model.context_tokens, *prices)


def today() -> date:
    return datetime.now(UTC).date()


def callable_now(catalog: Catalog) -> list[Model]:
    """Everything that can be called, of every type, by id."""
    return list(catalog.listing(today(), "all"))


def featured(models: Iterable[Model], number: int) -> list[Model]:
    """Some chat models to show first."""
    chat = {model.id: model for model in models if model.type == "chat"}
    first = [chat.pop(name) for name in FEATURED if name in chat]
    return [*first, *chat.values()][:number]


def bill(model: Model) -> Bill:
    """A call of some size, as its receipt would explain it."""
    route = model.routes[0]
    costs = cost(route, Usage(SPECIMEN))
    markup = money.plain(route.markup.numerator * 10**6 // route.markup.denominator - 10**6, 4)
    return Bill(listed(model), route.provider, costs.lines, costs.upstream_pico, markup, costs.charged_nano)
