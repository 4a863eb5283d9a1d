"""A model as `/v1/models` shows it: the fields of PPQ, OpenRouter and OpenAI side by side, as bytes.

Owns the shapes and the shown prices (the dearest active route's, markup included, rounded up in the 18th digit).
It must never show a price below one that may be charged, nor an amount with an exponent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, get_args

from perquery import money
from perquery.calls import Kind, Route, Unit
from perquery.catalog.models import Catalog, Model
from perquery.catalog.price import caller_atto
from perquery.errors import BadRequest

TYPES = frozenset({*get_args(Kind), "audio", "decision"})
_OWN_UNITS: tuple[Unit, ...] = (
    *("second", "second_480p", "second_720p", "second_1080p", "second_2160p"),
    *("character", "megapixel"),
)
# What a model may be sold by beside tokens, the first that is priced.
_BASE_UNITS: tuple[Unit, ...] = ("image", "megapixel", *_OWN_UNITS[:5], "character")
# OpenRouter's names of prices → ours, where it has one. Strings, USD per token, request, search, image, second….
_PRICES: tuple[tuple[str, Unit], ...] = (
    ("prompt", "input"),
    ("completion", "output"),
    ("request", "request"),
    ("image", "image"),
    ("web_search", "search"),
    ("internal_reasoning", "reasoning"),
    ("input_cache_read", "cache_read"),
    ("input_cache_write", "cache_write_5m"),
    ("input_image", "image_input"),
    ("output_image", "image_output"),
    ("input_audio", "audio_input"),
    ("output_audio", "audio_output"),
    *((unit, unit) for unit in _OWN_UNITS),
)
_TOKENS_DIGITS = 18  # atto-USD: USD per token
_MILLION_DIGITS = 12  # the same integer read as USD per million tokens


def entry(model: Model, reason: str | None = None) -> dict[str, Any]:
    """The JSON object of a model, for `money.json`. reason: why it cannot be called now; None where it can."""
    routes = model.routes or model.known_routes
    created_s = model.created_at_ms // 1_000
    shown: dict[str, Any] = {
        "id": model.id,
        "object": "model",
        "created": created_s,
        "created_at": model.created_at_ms,
        "owned_by": model.owner,
        "provider": model.owner,
        "name": model.name,
        "display_name": model.name,
        "description": model.description,
        "type": model.type,
        "kind": model.kind,
        "canonical_slug": model.id,
        "context_length": model.context_tokens,
        "architecture": _architecture(model),
        "pricing": _pricing(routes),
        "top_provider": {
            "context_length": model.context_tokens,
            "max_completion_tokens": model.output_tokens_max,
            "is_moderated": False,
        },
        "per_request_limits": None,
        "supported_parameters": list(model.supported_parameters),
        "default_parameters": {},
        "expiration_date": model.expires_at.isoformat() if model.expires_at is not None else None,
        "replaced_by": model.replaced_by,
        "aliases": list(model.aliases),
        "refused_parameters": sorted(model.refused_parameters),
        "is_free": model.free,
        "price_source": model.known_routes[0].price.version if model.known_routes else model.source,
        "as_of": model.as_of.isoformat(),
    }
    if reason is not None:
        shown |= {"available": False, "unavailable_reason": reason}
    return shown


def _architecture(model: Model) -> dict[str, Any]:
    return {
        "modality": f"{'+'.join(model.input_modalities)}->{'+'.join(model.output_modalities)}",
        "input_modalities": list(model.input_modalities),
        "output_modalities": list(model.output_modalities),
        "tokenizer": "Other",
        "instruct_type": None,
    }


def _pricing(routes: Sequence[Route]) -> dict[str, Any]:
    """OpenRouter's strings, PPQ's numbers per million tokens."""
    prompt = money.number(dearest_atto(routes, "input", 0), _MILLION_DIGITS)
    completion = money.number(dearest_atto(routes, "output", 0), _MILLION_DIGITS)
    nested = {"input_per_1M": prompt, "output_per_1M": completion}
    return (
        _strings(routes)
        | _base(routes)
        | {
            "input_per_1M_tokens": prompt,
            "output_per_1M_tokens": completion,
            "api": nested,
            "ui": nested,
        }
    )


def _base(routes: Sequence[Route]) -> dict[str, Any]:
    """PPQ's price of what is not sold by the token: USD for one of its unit."""
    priced = [unit for unit in _BASE_UNITS if dearest_atto(routes, unit, 0)]
    if not priced:
        return {}
    return {"base_price": money.number(dearest_atto(routes, priced[0], 0), _TOKENS_DIGITS), "base_unit": priced[0]}


def _strings(routes: Sequence[Route]) -> dict[str, Any]:
    """OpenRouter's strings per token with its overrides by prompt length."""
    starts = sorted({start for route in routes for start, _ in route.price.tiers})
    pricing: dict[str, Any] = {name: _text(routes, unit, 0) for name, unit in _PRICES if _named(routes, unit)}
    for start in starts[1:]:
        changed = {name: _text(routes, unit, start) for name, unit in _PRICES if _named(routes, unit)}
        pricing.setdefault("overrides", []).append({"min_prompt_tokens": start, **changed})
    return pricing


def _named(routes: Iterable[Route], unit: Unit) -> bool:
    return unit in ("input", "output") or any(unit in table for route in routes for _, table in route.price.tiers)


def _text(routes: Sequence[Route], unit: Unit, start: int) -> str:
    return money.plain(dearest_atto(routes, unit, start), _TOKENS_DIGITS)


def dearest_atto(routes: Sequence[Route], unit: Unit, start: int) -> int:
    """Atto-USD per unit, markup included, rounded up: the dearest over the routes."""
    return max((caller_atto(route, unit, start) for route in routes), default=0)


class Pages:
    """The list as bytes, made once per day and selection; hold one for each catalogue."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._on: date | None = None
        self._pages: dict[tuple[frozenset[str], bool], bytes] = {}

    def page(self, on: date, type: str = "chat", *, everything: bool = False) -> bytes:
        """`{"object":"list","data":[…]}`: what can be served on that day; with `everything` also the rest and why.

        type: one of TYPES, several with commas, or "all". Raises BadRequest for another.
        """
        wanted = _wanted(type)
        if on != self._on:
            self._on, self._pages = on, {}
        page = self._pages.get((wanted, everything))
        if page is None:
            page = self._pages[wanted, everything] = self._rendered(on, ",".join(sorted(wanted)), everything)
        return page

    def anthropic(self, on: date) -> bytes:
        """The chat models in the form of Anthropic's list, which its clients ask for by their version header."""
        data = [_anthropic(model) for model in self._catalog.listing(on)]
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
        return money.json({"data": data, "has_more": False, **ends})

    def _rendered(self, on: date, types: str, everything: bool) -> bytes:
        data = [entry(model) for model in self._catalog.listing(on, types)]
        if everything:
            data += [entry(model, reason) for model, reason in self._catalog.unavailable(on, types)]
        return money.json({"object": "list", "data": data, "total_count": len(data)})


def _anthropic(model: Model) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.name,
        "created_at": f"{datetime.fromtimestamp(model.created_at_ms // 1_000, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "max_input_tokens": model.context_tokens,
        "max_tokens": model.output_tokens_max,
    }


def _wanted(type: str) -> frozenset[str]:
    parts = frozenset(part.strip() for part in type.split(","))
    if "all" in parts:
        return TYPES
    if unknown := parts - TYPES:
        known = ", ".join(sorted(TYPES))
        raise BadRequest(f"type: {sorted(unknown)[0][:40]!r} is not known; use {known} or all.", param="type")
    return parts


def endpoints(model: Model, figures: Callable[[Route], Mapping[str, Any]]) -> bytes:
    """The routes of a model in OpenRouter's form, in the order in which they are tried. figures: what is live."""
    shown = [
        {
            "name": f"{route.provider} | {model.id}",
            "model_id": model.id,
            "model_name": model.name,
            "provider_name": route.provider,
            "tag": route.provider,
            "quantization": "unknown",
            "context_length": model.context_tokens,
            "max_completion_tokens": model.output_tokens_max,
            "max_prompt_tokens": None,
            "pricing": _strings((route,)),
            "supported_parameters": list(model.supported_parameters),
            **figures(route),
        }
        for route in model.routes
    ]
    about = {
        "id": model.id,
        "name": model.name,
        "created": model.created_at_ms // 1_000,
        "description": model.description,
        "architecture": _architecture(model),
    }
    return money.json({"data": about | {"endpoints": shown}})


def one(catalog: Catalog, id: str, on: date) -> bytes:
    """One model by any of its names, also one that cannot be called now. Raises ModelNotFound for an unknown one."""
    model, reason = catalog.describe(id, on)
    return money.json(entry(model, reason))


def one_of_anthropic(catalog: Catalog, id: str, on: date) -> bytes:
    """One model by any of its names, in Anthropic's form. Raises ModelNotFound for an unknown one."""
    return money.json(_anthropic(catalog.describe(id, on)[0]))
