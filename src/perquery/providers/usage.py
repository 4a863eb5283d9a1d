"""An upstream's usage object → disjoint buckets (calls.Usage), by the flavour of its host. Pure.

An explicit zero is a figure; a missing one is none. Figures are never summed over events: the last one counts. A
part never exceeds its whole: what a host says beyond that is cut to the whole, so nothing is billed twice. What
is no count at all (negative, text, a fraction, more than any answer has) is as good as absent, and a usage
without its two totals is no usage: an estimate is nearer the truth than a zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, Context, Decimal
from typing import Any, Final, Literal, TypeAlias

from perquery.calls import Unit, Usage

Flavour: TypeAlias = Literal["openai", "google", "openrouter", "xai", "perplexity"]
COUNT_MAX: Final = 10**8  # no request has so many tokens; dearer nonsense would empty accounts
COST_PICO_MAX: Final = 10**6 * 10**12  # a million dollars
# What a usage has that says no more than OpenAI's own.
_COMMON: Final = frozenset(
    ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details")
)
_UP: Final = Context(prec=40, rounding=ROUND_CEILING)


def found(parsed: Mapping[str, Any]) -> dict[str, Any] | None:
    """The usage object of an event, wherever the host puts it.

    Groq's last chunks have it in `x_groq.usage`, some of them only there; Moonshot's in its choice.
    """
    usage = parsed.get("usage")
    if usage is None:
        groq = parsed.get("x_groq")
        if isinstance(groq, dict):
            usage = groq.get("usage")
        elif choices := parsed.get("choices"):
            first = choices[0] if isinstance(choices, list) else None
            usage = first.get("usage") if isinstance(first, dict) else None
    return usage if isinstance(usage, dict) and usage else None


def read(flavour: Flavour, usage: Mapping[str, Any]) -> Usage | None:
    """The buckets; None where the totals are not there. Sources: the vendors' SDK types, genai-prices' extractors."""
    prompt, completion = _totals(flavour, usage)
    if prompt is None or completion is None:
        return None
    given, made = _details(usage, "prompt_tokens_details"), _details(usage, "completion_tokens_details")
    if _COMMON.issuperset(usage) and not any(given.values()) and not any(made.values()):  # as mostly
        return Usage({"input": prompt, "output": completion})
    reasoning = _count(made, "reasoning_tokens") or _count(usage, "reasoning_tokens") or 0
    if flavour == "xai":  # completion_tokens excludes the reasoning tokens
        completion += reasoning
    elif flavour == "perplexity":  # completion_tokens excludes both
        completion += reasoning + (_count(usage, "citation_tokens") or 0)
    # DeepSeek's and Moonshot's own names stand beside, or instead of, OpenAI's.
    cached = (
        _count(given, "cached_tokens") or _count(usage, "prompt_cache_hit_tokens") or _count(usage, "cached_tokens")
    )
    counts: dict[Unit, int] = {}
    if cached or any(given.values()):  # mostly there are none, or zeros
        prompt = _split(counts, prompt, [
            ("cache_read", cached),
            ("cache_write_5m", _count(given, "cache_write_tokens") or _count(given, "cache_creation_input_tokens")),
            ("audio_input", _count(given, "audio_tokens")),
            ("image_input", _count(given, "image_tokens")),
        ])  # fmt: skip
    counts["input"] = prompt
    if reasoning or any(made.values()):
        completion = _split(counts, completion, [
            ("reasoning", reasoning),
            ("audio_output", _count(made, "audio_tokens")),
            ("image_output", _count(made, "image_tokens")),
        ])  # fmt: skip
    counts["output"] = completion
    if searches := _count(usage, "num_search_queries"):
        counts["search"] = searches
    if seconds := _count(usage, "prompt_audio_seconds"):  # Mistral bills them beside the tokens
        counts["second"] = seconds
    return Usage(counts, upstream_cost_pico=cost_pico(flavour, usage))


def _totals(flavour: Flavour, usage: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """(input, output) as the host counts them; one that is missing follows from the total, where there is one."""
    prompt, completion = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    if prompt is not None and completion is not None and flavour != "google":
        return prompt, completion
    total = _count(usage, "total_tokens")
    if total is not None and prompt is not None:
        rest = max(0, total - prompt)
        # Gemini's total has the thoughts (API reference, UsageMetadata), which its count of the answer has not.
        if completion is None or (flavour == "google" and rest > completion):
            completion = rest
    elif total is not None and completion is not None and total >= completion:
        prompt = total - completion
    return prompt, completion


def _split(counts: dict[Unit, int], whole: int, parts: list[tuple[Unit, int | None]]) -> int:
    """Put the parts into buckets, each at most what is left of the whole; what remains."""
    for unit, count in parts:
        part = min(count or 0, whole)
        if part:
            counts[unit] = part
            whole -= part
    return whole


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if type(value) is int and 0 <= value <= COUNT_MAX else None


def _details(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = usage.get(name)
    return value if isinstance(value, dict) else {}


def cost_of(flavour: Flavour, usage: Mapping[str, Any]) -> Any:
    """The host's own cost, as it stands in its usage: USD (xAI: ticks of 1e-10 USD); None where it has none."""
    if flavour == "xai":
        return usage.get("cost_in_usd_ticks")
    if flavour == "openrouter":
        return usage.get("cost")
    if flavour == "perplexity":
        return _details(usage, "cost").get("total_cost")
    return None


def cost_pico(flavour: Flavour, usage: Mapping[str, Any]) -> int | None:
    """The cost that the host reports, rounded up to a whole pico-USD; None where it reports none."""
    if (reported := cost_of(flavour, usage)) is None:
        return None
    cost = pico(reported, 10 if flavour == "xai" else 0)
    if cost is not None and flavour == "openrouter" and usage.get("is_byok") is True:
        # With a key of the house's own, OpenRouter's figure is its fee; the vendor's bill comes on top.
        cost += pico(_details(usage, "cost_details").get("upstream_inference_cost"), 0) or 0
    return cost


def pico(amount: Any, digits: int) -> int | None:
    """An exact amount of 10^-digits USD in pico-USD; a float is none, for it is not what was written."""
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal):
        return None
    if not 0 <= amount < COST_PICO_MAX:
        return None
    pico = int(_UP.to_integral_value(_UP.scaleb(Decimal(amount), 12 - digits)))
    return pico if pico < COST_PICO_MAX else None
