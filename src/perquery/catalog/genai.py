"""genai-prices compiled into our integer price lines.

Owns the reading of that package's data; it must never import the package itself: its import brings pydantic
models of every price and an HTTP client, 23 MB resident and half a second, where executing its data module with
plain records in place of its classes takes 4 MB and 25 ms. Prices that depend on the date or the time of day are
taken at the dearest that may apply today; batch, flex and priority variants are other products and left out.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.metadata
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

from perquery.calls import Price, Unit
from perquery.catalog.price import dearest

Record: TypeAlias = Mapping[str, Any]

# Its price keys → (our unit, units per price). Keys that are not here are prices of things we do not sell.
_UNITS: dict[str, tuple[Unit, int]] = {
    "input_mtok": ("input", 10**6),
    "cache_read_mtok": ("cache_read", 10**6),
    "cache_write_mtok": ("cache_write_5m", 10**6),
    "cache_write_5m_mtok": ("cache_write_5m", 10**6),
    "cache_write_1h_mtok": ("cache_write_1h", 10**6),
    "output_mtok": ("output", 10**6),
    "output_reasoning_mtok": ("reasoning", 10**6),
    "input_audio_mtok": ("audio_input", 10**6),
    "output_audio_mtok": ("audio_output", 10**6),
    "cache_audio_read_mtok": ("audio_cache_read", 10**6),
    "input_image_mtok": ("image_input", 10**6),
    "output_image_mtok": ("image_output", 10**6),
    "web_searches_kcount": ("search", 1_000),
    "requests_kcount": ("request", 1_000),
    "audio_hours": ("second", 3_600),
    "input_mchars": ("character", 10**6),
}
_CLASSES = (
    *("Provider", "UsageExtractor", "UsageExtractorMapping", "ModelInfo", "ModelPrice", "TieredPrices", "Tier"),
    *("ConditionalPrice", "PriceVariant", "StartDateConstraint", "TimeOfDateConstraint", "ArrayMatch"),
    *("ClauseStartsWith", "ClauseEndsWith", "ClauseContains", "ClauseRegex", "ClauseEquals", "ClauseOr", "ClauseAnd"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One model at one of genai-prices' providers; `price` is None where it is not sold by tokens in and out.
    `refs` are exact ids that the provider accepts."""

    provider: str
    model: str
    name: str | None
    context_tokens: int | None
    description: str
    refs: tuple[str, ...]
    price: Price | None


def version() -> str:
    return importlib.metadata.version("genai-prices")


def records() -> list[Record]:
    """The package's providers as plain dictionaries, shaped as in the JSON that its project publishes."""
    spec = importlib.util.find_spec("genai_prices")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("genai-prices is not installed")
    path = Path(spec.submodule_search_locations[0]) / "data.py"
    code = importlib.machinery.SourceFileLoader("genai_prices.data", str(path)).get_code("genai_prices.data")
    if code is None:
        raise ModuleNotFoundError(f"{path} holds no code")
    plain = SimpleNamespace(__all__=_CLASSES, **dict.fromkeys(_CLASSES, dict))

    def import_plain(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        return plain if level else __import__(name, globals, locals, fromlist, level)

    namespace = {"__name__": "data", "__builtins__": {**vars(builtins), "__import__": import_plain}}
    exec(code, namespace)
    found: list[Record] = namespace["providers"]  # type: ignore[assignment]
    return found


def rows(providers: Iterable[Record], today: date) -> Iterator[Row]:
    """Every model; its price is None unless it has one above 0 for both input and output."""
    for provider in providers:
        for model in provider["models"]:
            price = _price(model.get("prices"), today)
            if price is not None and not all(table.get("input") and table.get("output") for _, table in price.tiers):
                price = None
            yield Row(
                provider["id"],
                model["id"],
                model.get("name"),
                model.get("context_window"),
                model.get("description") or "",
                tuple(_equals(model.get("match") or {})),
                price,
            )


def _equals(clause: Record) -> Iterator[str]:
    if "equals" in clause:
        yield clause["equals"]
    for part in clause.get("or", clause.get("or_", ())):
        yield from _equals(part)


def _price(prices: Any, today: date) -> Price | None:
    """The price of a model: one table, or the dearest of the dated and time-of-day tables that may apply."""
    if isinstance(prices, Mapping):
        return _table(prices) if prices else None
    candidates = [table for prices in _may_apply(prices or (), today) if (table := _table(prices)) is not None]
    if not candidates:
        return None
    return candidates[0] if len(candidates) == 1 else dearest(candidates)


def _may_apply(conditional: Iterable[Record], today: date) -> Iterator[Record]:
    """Later entries win over earlier ones; one that starts tomorrow counts, for clocks differ by zone."""
    entries = list(conditional)
    for entry in reversed(entries):
        constraint = entry.get("constraint")
        if constraint is None:
            yield entry["prices"]
            return
        start = constraint.get("start_date")
        if start is None:
            yield entry["prices"]  # a time of day: may apply, and so may what stands before it
        elif _date(start) <= today:
            yield entry["prices"]
            if _date(start) < today:
                return
        elif _date(start) <= today + timedelta(days=1):
            yield entry["prices"]
    if entries:
        yield entries[0]["prices"]


def _date(value: date | str) -> date:
    return value if isinstance(value, date) else date.fromisoformat(value)


def _table(prices: Record) -> Price | None:
    """One table of prices; None where a tier leaves a unit without price that another tier has."""
    known = {key: value for key, value in prices.items() if key in _UNITS and value is not None}
    starts = {0}
    for value in known.values():
        if isinstance(value, Mapping):
            starts |= {tier["start"] + 1 for tier in value["tiers"]}  # theirs: more than; ours: from … on
    tiers: list[tuple[int, Mapping[Unit, int]]] = []
    for start in sorted(starts):
        table: dict[Unit, int] = {}
        for key, value in known.items():
            unit, per = _UNITS[key]
            table[unit] = max(table.get(unit, 0), _pico(_at(value, start), per))
        tiers.append((start, _with_dearer_writes(table)))
    return Price(tuple(tiers)) if known else None


def _with_dearer_writes(table: dict[Unit, int]) -> Mapping[Unit, int]:
    """Google's price of a cache write is for storage and comes on top of the input: then the sum is the price."""
    input_pico, write_pico = table.get("input", 0), table.get("cache_write_5m")
    if write_pico is not None and write_pico < input_pico:
        table["cache_write_5m"] = input_pico + write_pico
    return table


def _at(value: Any, start: int) -> Decimal:
    if not isinstance(value, Mapping):
        return _decimal(value)
    chosen = value["base"]
    for tier in value["tiers"]:
        if start > tier["start"]:
            chosen = tier["price"]
    return _decimal(chosen)


def _decimal(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _pico(usd: Decimal, per: int) -> int:
    """Pico-USD per unit, rounded up where the price is finer than that."""
    return int((usd * 10**12 / per).to_integral_value(ROUND_CEILING))
