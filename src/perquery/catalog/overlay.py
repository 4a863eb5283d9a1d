"""The reviewed overlay: facts and corrections that win over the price table, each with its source and date.

Owns the reading and checking of the package's .toml files. overlay.toml says how each host's rows become routes,
corrects prices that are wrong in the table, and adds what the table does not know (modalities, maximum output, refused
parameters, ends of life, aliases); the others hold the models that are not for chat, of which the table says nothing.
It must never hold a price without a source and a date.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from importlib import resources
from typing import Any, Final, TypeVar, get_args

from perquery import money
from perquery.calls import Kind, Price, Unit

T = TypeVar("T")
FILES: Final = ("overlay.toml", "embedding.toml", "rerank.toml", "moderation.toml", "speech.toml")
# In what prices are written: 10^-digits USD a unit. All others: USD per million.
_DIGITS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("search", "request"), 9),  # USD per thousand
    **dict.fromkeys(("second", "second_480p", "second_720p", "second_1080p", "second_2160p"), 12),
    **dict.fromkeys(("image", "megapixel"), 12),
}


class OverlayError(ValueError):
    """The overlay is not as it should be; the message names the entry."""


@dataclass(frozen=True, slots=True)
class Host:
    """How the rows of one provider of the price table become routes of one of our upstreams.

    tables: providers of the price table (several where a router sells them under one key, by suffix).
    vendor: whose own models the host serves, in the catalogue's ids. only, skip: regular expressions over row ids;
    also: those that are sold although the overlay's not_chat matches; free: those for which the host takes nothing.
    named_only: rows without a display name are leftovers of models that the host has dropped.
    responses_only, responses_tools: those that answer in Responses alone, and those whose calls with tools do.
    prefix, suffix: what the upstream wants around the row's id; names: where it is quite
    different; use_ref: the table's first exact name of the model is what the upstream wants.
    join: row id → the catalogue's id, where the spelling does not tell.
    """

    tables: tuple[str, ...] = ()
    vendor: str = ""
    only: str = ""
    skip: str = ""
    also: str = ""
    free: str = ""
    responses_only: str = ""
    responses_tools: str = ""
    named_only: bool = False
    prefix: str = ""
    suffix: str = ""
    use_ref: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    join: Mapping[str, str] = field(default_factory=dict)
    last: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """Facts about all models whose id matches; later families and single models win.

    context_tokens counts only where no offer says it. hides_at: the upstreams at which output is hidden, empty
    for all; bills_reported_cost_at: the upstreams whose own figure is billed.
    """

    match: str
    input_modalities: tuple[str, ...] | None = None
    output_modalities: tuple[str, ...] | None = None
    context_tokens: int | None = None
    output_tokens_max: int | None = None
    reasoning: bool | None = None
    tools: bool | None = None
    hides_output: bool | None = None
    hides_at: tuple[str, ...] = ()
    refused_parameters: tuple[str, ...] | None = None
    bills_reported_cost_at: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """Facts about one model. `replaced_by` is followed once `expires_at` has come."""

    id: str
    source: str
    name: str | None = None
    created: date | None = None
    context_tokens: int | None = None
    output_tokens_max: int | None = None
    input_modalities: tuple[str, ...] | None = None
    output_modalities: tuple[str, ...] | None = None
    refused_parameters: tuple[str, ...] | None = None
    hides_output: bool | None = None
    expires_at: date | None = None
    replaced_by: str | None = None
    aliases: tuple[str, ...] = ()
    description: str | None = None
    supported_parameters: tuple[str, ...] | None = None
    as_of: date | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A route that the price table lacks or has wrong, and its price as `_prices` reads it."""

    host: str
    model: str
    id: str
    price: Price
    source: str
    free: bool = False
    context_tokens: int | None = None
    kind: Kind = "chat"
    as_of: date | None = None


@dataclass(frozen=True, slots=True)
class Extra:
    """Prices added to a row of the table, such as a search fee that it lacks."""

    host: str
    model: str
    prices: Mapping[Unit, int]
    source: str


@dataclass(frozen=True, slots=True)
class Overlay:
    as_of: date
    not_chat: re.Pattern[str]
    hosts: Mapping[str, Host]
    vendors: Mapping[str, str]
    families: tuple[tuple[re.Pattern[str], Family], ...]
    facts: Mapping[str, Fact]
    rows: tuple[Row, ...]
    extras: tuple[Extra, ...]
    aliases: Mapping[str, str]


def load(text: str | None = None) -> Overlay:
    """The package's overlay, or the one in `text`. Raises OverlayError."""
    texts = [resources.files("perquery.catalog").joinpath(name).read_text("utf-8") for name in FILES]
    first, *others = [tomllib.loads(each) for each in (texts if text is None else [text])]
    data = dict(first)
    for name in ("models", "rows"):
        data[name] = [_dated(each, entry) for each in (first, *others) for entry in each.get(name, ())]
    for each in others:
        data["aliases"] = data.get("aliases", {}) | each.get("aliases", {})
    as_of = data["as_of"]
    facts = [_as(Fact, entry, "models") for entry in data["models"]]
    return Overlay(
        as_of=as_of,
        not_chat=re.compile(data.get("not_chat", r"(?!)")),
        hosts={name: _as(Host, entry, f"hosts.{name}") for name, entry in data.get("hosts", {}).items()},
        vendors=data.get("vendors", {}),
        families=tuple(
            (re.compile(entry["match"]), _as(Family, entry, "families")) for entry in data.get("families", ())
        ),
        facts={fact.id: fact for fact in facts},
        rows=tuple(_row(entry) for entry in data.get("rows", ())),
        extras=tuple(
            Extra(entry["host"], entry["model"], _prices(entry["price"]), entry["source"])
            for entry in data.get("extras", ())
        ),
        aliases=data.get("aliases", {}),
    )


def _dated(file: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with its file's date."""
    return {"as_of": file["as_of"], **entry}


def _as(kind: type[T], entry: Mapping[str, Any], where: str) -> T:
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    if unknown := entry.keys() - known:
        raise OverlayError(f"{where}: unknown field {sorted(unknown)[0]}")
    try:
        return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()})
    except TypeError as error:
        raise OverlayError(f"{where}: {error}") from error


def _row(entry: Mapping[str, Any]) -> Row:
    values = dict(entry)
    prices = _prices(values.pop("price", {}))
    free, kind = values.get("free", False), values.get("kind", "chat")
    if kind not in get_args(Kind):
        raise OverlayError(f"rows: {entry.get('model')}: {kind} is no kind")
    priced = prices.get("input") and prices.get("output") if kind == "chat" else any(prices.values())
    if not free and not priced:
        raise OverlayError(f"rows: {entry.get('model')} has no price and is not marked free")
    if free:
        prices = {"input": 0, "output": 0}
    tiers: list[tuple[int, Mapping[Unit, int]]] = [(0, prices)]
    tiers += [(tier["from"], {**prices, **_prices(tier["price"])}) for tier in values.pop("tiers", ())]
    return _as(Row, {**values, "price": Price(tuple(tiers))}, "rows")


def _prices(entry: Mapping[str, str]) -> dict[Unit, int]:
    """USD per million tokens or characters, per thousand searches or requests, per image, megapixel or second
    ("0.0043/60" is a sixtieth of 0.0043) → pico-USD per unit, rounded up.
    """
    prices: dict[Any, int] = {}
    for unit, usd in entry.items():
        if not isinstance(usd, str):
            raise OverlayError(f"{unit}: write prices as strings, so that they stay exact")
        if unit not in get_args(Unit):
            raise OverlayError(f"{unit} is no unit")
        amount, _, parts = usd.partition("/")
        prices[unit] = -(-money.scaled(amount, _DIGITS.get(unit, 6)) // int(parts or 1))
    return prices
