"""A turn that Anthropic paused while it searched: what was said in it, and the request that takes it up again. Pure.

Its blocks go back as they came, or the search would be forgotten. It must never ask for more output than the first
request did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from perquery.calls import OUTPUT_UNITS, Usage
from perquery.dialects.fields import arguments_in
from perquery.dialects.reading import object_in, objects_in, text_in

_BUDGET_MIN: Final = 1_024
_APPENDED: Final = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


def said(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The blocks that a stream's events told, whole."""
    blocks: list[dict[str, Any]] = []
    pieces: list[dict[str, list[str]]] = []  # what came of each, by field
    for event in events:
        kind = event.get("type")
        if kind == "content_block_start":
            block = object_in(event, "content_block")
            blocks.append({name: value for name, value in block.items() if value is not None})
            pieces.append({})
        elif kind == "content_block_delta" and blocks:
            delta = object_in(event, "delta")
            if found := _APPENDED.get(text_in(delta, "type")):
                pieces[-1].setdefault(found, []).append(text_in(delta, found))
            elif delta.get("type") == "input_json_delta":
                pieces[-1].setdefault("input", []).append(text_in(delta, "partial_json"))
            elif delta.get("type") == "citations_delta":
                blocks[-1].setdefault("citations", []).append(delta.get("citation"))
    for block, found_in in zip(blocks, pieces, strict=True):
        for name, texts in found_in.items():
            whole = "".join(texts)
            block[name] = arguments_in(whole) if name == "input" else text_in(block, name) + whole
    return blocks


def resumed(body: bytes, blocks: list[dict[str, Any]], used: Usage) -> bytes | None:
    """The request again, with what was said behind it; None where no room for output is left.

    used: by this turn. At least one search stays allowed, for the tool must remain beside its results.
    """
    asked: dict[str, Any] = orjson.loads(body)
    asked["max_tokens"] -= used.total(OUTPUT_UNITS)
    if asked["max_tokens"] < 1 or not _thinks_within(asked):
        return None
    messages = [*objects_in(asked, "messages")]
    if messages and messages[-1].get("role") == "assistant":
        messages[-1] = messages[-1] | {"content": [*messages[-1]["content"], *blocks]}
    else:
        messages.append({"role": "assistant", "content": blocks})
    searched = used.counts.get("search", 0)
    tools = [
        tool | {"max_uses": max(1, tool["max_uses"] - searched)} if tool.get("max_uses") else tool
        for tool in objects_in(asked, "tools")
    ]
    return orjson.dumps(asked | {"messages": messages, "tools": tools})


def _thinks_within(asked: dict[str, Any]) -> bool:
    """Lower the budget of thinking to below the cap; whether that can be."""
    thinking = object_in(asked, "thinking")
    if "budget_tokens" in thinking:
        budget: int = min(thinking["budget_tokens"], asked["max_tokens"] - 1)
        asked["thinking"] = thinking | {"budget_tokens": budget}
        return budget >= _BUDGET_MIN
    return True
