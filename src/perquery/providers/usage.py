"""An upstream's usage object → disjoint buckets (calls.Usage), by the flavour of its host. Pure.

An explicit zero is a figure; a missing object is None. Figures are never summed over events: the last one
counts. A part never exceeds its whole: what a host says beyond that is cut to the whole, so nothing is billed
twice; what is no count at all (negative, text, a fraction) is as good as absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from perquery.calls import Unit, Usage

Flavour: TypeAlias = Literal["openai", "openrouter", "xai", "deepseek", "perplexity"]
_COUNT_MAX: Final = 2**53


def found(parsed: Mapping[str, Any]) -> dict[str, Any] | None:
    """The usage object of an event, wherever the host puts it (Groq: `x_groq.usage`, on some chunks only there)."""
    usage = parsed.get("usage")
    if not isinstance(usage, dict):
        groq = parsed.get("x_groq")
        usage = groq.get("usage") if isinstance(groq, dict) else None
    return usage if isinstance(usage, dict) and ("prompt_tokens" in usage or "completion_tokens" in usage) else None


def read(flavour: Flavour, usage: Mapping[str, Any]) -> Usage:
    """The buckets. Sources: the vendors' SDK types and genai-prices' extractors."""
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    given, made = _details(usage, "prompt_tokens_details"), _details(usage, "completion_tokens_details")
    reasoning = _count(made, "reasoning_tokens") or _count(usage, "reasoning_tokens")
    if flavour == "xai":  # completion_tokens excludes the reasoning tokens
        completion += reasoning
    elif flavour == "perplexity":  # completion_tokens excludes both
        completion += reasoning + _count(usage, "citation_tokens")
    cached = _count(given, "cached_tokens") or _count(usage, "prompt_cache_hit_tokens")
    counts: dict[Unit, int] = {}
    _split(counts, prompt, "input", [
        ("cache_read", cached),
        ("cache_write_5m", _count(given, "cache_write_tokens")),
        ("audio_input", _count(given, "audio_tokens")),
        ("image_input", _count(given, "image_tokens")),
    ])  # fmt: skip
    _split(counts, completion, "output", [
        ("reasoning", reasoning),
        ("audio_output", _count(made, "audio_tokens")),
        ("image_output", _count(made, "image_tokens")),
    ])  # fmt: skip
    if searches := _count(usage, "num_search_queries"):
        counts["search"] = searches
    return Usage(counts, upstream_cost_pico=_cost_pico(flavour, usage))


def _split(counts: dict[Unit, int], whole: int, rest: Unit, parts: list[tuple[Unit, int]]) -> None:
    """Put the parts into buckets, each at most what is left of the whole, and what remains into `rest`."""
    for unit, count in parts:
        part = min(count, whole)
        if part:
            counts[unit] = part
            whole -= part
    counts[rest] = whole


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _COUNT_MAX:
        return 0
    return value


def _details(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = usage.get(name)
    return value if isinstance(value, dict) else {}


def _cost_pico(flavour: Flavour, usage: Mapping[str, Any]) -> int | None:
    """The cost that the host reports, rounded up to a whole pico-USD; None where it reports none."""
    if flavour == "xai":  # 1 tick = 1e-10 USD
        ticks = usage.get("cost_in_usd_ticks")
        return ticks * 100 if isinstance(ticks, int) and not isinstance(ticks, bool) and ticks >= 0 else None
    cost = usage.get("cost")
    if flavour == "perplexity" and isinstance(cost, dict):
        cost = cost.get("total_cost")
    if isinstance(cost, bool) or not isinstance(cost, int | Decimal):
        return None
    exact = Decimal(cost)
    if not exact.is_finite() or not 0 <= exact < 1_000_000:
        return None
    scaled = exact.scaleb(12)
    whole = int(scaled)
    return whole if whole == scaled else whole + 1
