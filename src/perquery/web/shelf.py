"""Models as pages list them: their names and what a caller pays, markup included. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, Literal, TypeAlias, get_args

from perquery import money
from perquery.calls import INPUT_UNITS, OUTPUT_UNITS, Line, Route, Unit, Usage
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
TOKENS: Final[frozenset[Unit]] = frozenset({*INPUT_UNITS, *OUTPUT_UNITS})
# What a unit is called, and what its price is for: a million of the small ones.
Per: TypeAlias = Literal["million tokens", "million characters", "each"]
_UNITS: Final[dict[Unit, str]] = {
    "cache_read": "cached input",
    "cache_write_5m": "cache write",
    "cache_write_1h": "cache write for an hour",
    "audio_cache_read": "cached audio input",
    "reasoning": "thinking",
    "search": "web search",
    "second_480p": "second in 480p",
    "second_720p": "second in 720p",
    "second_1080p": "second in 1080p",
    "second_2160p": "second in 2160p",
}
_PARAMETERS: Final = {"tools": "tools", "structured_outputs": "schemas", "reasoning": "thinking"}
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
class Row:
    """A model in the list. can: of ABILITIES; price_atto: by which it is sorted and found, None where it is not
    priced by the token.
    """

    model: Listed
    kind: str
    can: tuple[str, ...]
    created_at_ms: int
    price_atto: int | None
    prices: tuple[Priced, ...]


@dataclass(frozen=True, slots=True)
class Priced:
    """What a caller pays for one of a unit: atto-USD. from_tokens: with so much input, or more."""

    name: str
    per: Per
    atto: int
    from_tokens: int = 0

    @property
    def nano(self) -> int:
        """Nano-USD for what the price is for, rounded up."""
        return -(-self.atto // (10**9 if self.per == "each" else 10**3))


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


def row(model: Model) -> Row:
    found = prices(model.routes or model.known_routes, model.price.at(0))
    shown = listed(model)
    by_token = any(each.per == "million tokens" for each in found)
    return Row(
        shown,
        model.kind,
        abilities(model),
        model.created_at_ms,
        shown.input_atto if by_token or not found else None,
        tuple(found),
    )


def abilities(model: Model) -> tuple[str, ...]:
    """What it takes beside text, gives beside text, and can do."""
    takes = [f"{each}-in" for each in model.input_modalities if each != "text"]
    gives = [f"{each}-out" for each in model.output_modalities if each in ("image", "audio", "video")]
    return (*takes, *gives, *(can for name, can in _PARAMETERS.items() if name in model.supported_parameters))


def prices(routes: Sequence[Route], units: Iterable[Unit], from_tokens: int = 0) -> list[Priced]:
    """The dearest of these routes for each unit, in the order of a receipt."""
    order = {unit: place for place, unit in enumerate(get_args(Unit))}
    return [
        Priced(
            _UNITS.get(unit, unit.replace("_", " ")), _per(unit), dearest_atto(routes, unit, from_tokens), from_tokens
        )
        for unit in sorted(units, key=order.__getitem__)
    ]


def all_prices(model: Model) -> list[Priced]:
    """Every price of a model, also those that apply from a longer input on."""
    routes = model.routes or model.known_routes
    starts = sorted({start for route in routes for start, _ in route.price.tiers})
    return [each for start in starts for each in prices(routes, model.price.at(start), start)]


def _per(unit: Unit) -> Per:
    if unit in TOKENS:
        return "million tokens"
    return "million characters" if unit == "character" else "each"


def today() -> date:
    return datetime.now(UTC).date()


def callable_now(catalog: Catalog) -> list[Model]:
    """Everything that can be called, of every type, by id."""
    return list(catalog.listing(today(), "all"))


def featured(models: Iterable[Model], number: int | None) -> list[Model]:
    """Chat models, those to show first before the others; number: so many, None: all."""
    chat = {model.id: model for model in models if model.type == "chat"}
    first = [chat.pop(name) for name in FEATURED if name in chat]
    return [*first, *chat.values()][:number]


def bill(model: Model) -> Bill:
    """A call of some size, as its receipt would explain it."""
    route = model.routes[0]
    costs = cost(route, Usage(SPECIMEN))
    markup = money.plain(route.markup.numerator * 10**6 // route.markup.denominator - 10**6, 4)
    return Bill(listed(model), route.provider, costs.lines, costs.upstream_pico, markup, costs.charged_nano)
