"""What every reader of an upstream's answer needs: values of the right type, buckets, what was delivered. Pure.

An answer is not trusted: a value of the wrong type is as good as absent.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from perquery.calls import INPUT_UNITS, OUTPUT_UNITS, Unit, Usage

COUNT_MAX: Final = 10**8  # no request has so many tokens; dearer nonsense would empty accounts


def head() -> dict[str, Any]:
    """What a chat answer begins with: it is made now."""
    return {"id": "", "created": int(time.time()), "model": ""}


def object_in(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def objects_in(holder: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = holder.get(name)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def text_in(holder: Mapping[str, Any], name: str) -> str:
    value = holder.get(name)
    return value if isinstance(value, str) else ""


def count_in(holder: Mapping[str, Any], name: str) -> int | None:
    value = holder.get(name)
    return value if type(value) is int and 0 <= value <= COUNT_MAX else None


def split(counts: dict[Unit, int], whole: int, parts: list[tuple[Unit, int | None]]) -> int:
    """Put the parts into buckets, each at most what is left of the whole; what remains."""
    for unit, count in parts:
        if part := min(max(count or 0, 0), whole):
            counts[unit] = part
            whole -= part
    return whole


def chat_usage(usage: Usage) -> dict[str, Any]:
    """Buckets as a chat completion's usage object, whose totals include their parts."""
    counts = usage.counts
    given, made = usage.total(INPUT_UNITS), usage.total(OUTPUT_UNITS)
    return {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        "prompt_tokens_details": {
            "cached_tokens": counts.get("cache_read", 0) + counts.get("audio_cache_read", 0),
            "cache_write_tokens": counts.get("cache_write_5m", 0) + counts.get("cache_write_1h", 0),
            "audio_tokens": counts.get("audio_input", 0) + counts.get("audio_cache_read", 0),
            "image_tokens": counts.get("image_input", 0),
        },
        "completion_tokens_details": {
            "reasoning_tokens": counts.get("reasoning", 0),
            "audio_tokens": counts.get("audio_output", 0),
            "image_tokens": counts.get("image_output", 0),
        },
    }


def number_entries(delta: Mapping[str, Any], counts: dict[str, int]) -> None:
    """Number the entries of a delta's lists throughout a stream: OpenAI's SDK puts deltas together by that, joins
    the texts of entries of one number, and raises where there is none.
    """
    for name in ("reasoning_details", "annotations"):
        for one in delta.get(name) or ():
            one["index"] = counts[name] = counts.get(name, -1) + 1


def delivered(message: Mapping[str, Any] | None) -> int:
    """UTF-8 bytes of output in a delta or message that a reader made: text, refusal, thinking, tool calls."""
    if not message:
        return 0
    texts = [message.get("content"), message.get("reasoning_content"), message.get("refusal")]
    for call in message.get("tool_calls") or ():
        texts += (call.get("function") or call.get("custom")).values()
    return sum(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in texts if text)
