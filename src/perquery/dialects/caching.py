"""Prompt-cache markers for callers who sent none: where they stand, in Messages bodies and in chat form. Pure.

It must never touch a body that has a marker anywhere, never change a word, and never set more than two markers:
upstreams take four. A body is never changed in place, for another upstream may be asked next.

Sources: the vendors' pages on prompt caching (platform.claude.com, openrouter.ai, alibabacloud.com).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from perquery.dialects.anthropic_ask import version

MARK: Final[Mapping[str, Any]] = {"cache_control": {"type": "ephemeral"}}
_NAME: Final = "cache_control"
_BYTES_PER_TOKEN: Final = 4
_LEAST: Final = 1_024
# A thought, an empty text and what we do not know are answered with 400 where they carry a marker.
_BLOCKS: Final = frozenset({"text", "image", "document", "tool_use", "tool_result", "search_result"})
_SYSTEM: Final = ("system", "developer")


def least_tokens(model: str) -> int:
    """How long a prefix must be for the upstream to keep it. A marker on a shorter one costs and does nothing."""
    if "claude" not in model:
        return _LEAST
    made = version(model)
    if "haiku" in model:
        return 2_048 if made < (4, 0) else 4_096
    if "opus" in model:
        return {(4, 5): 4_096, (4, 6): 4_096, (4, 7): 2_048}.get(made, _LEAST)
    return _LEAST


def in_messages(body: dict[str, Any], text_bytes: int) -> dict[str, Any]:
    """A Messages body with markers on the system (without one, on the tools) and on the last turn.

    text_bytes: of the whole input, as the call was measured.
    """
    least = least_tokens(str(body.get("model"))) * _BYTES_PER_TOKEN
    if text_bytes < least or _has_marker(body):
        return body
    made = dict(body)
    system, tools = body.get("system"), body.get("tools") or ()
    if _size(tools, system) >= least:
        if system:
            made["system"] = _marked(system)
        else:
            made["tools"] = _marked_tools(tools)
    if body["messages"]:  # chat may have had nothing but instructions
        made["messages"] = _last_marked(body["messages"])
    return made


def in_chat(body: dict[str, Any], text_bytes: int) -> dict[str, Any]:
    """A body in chat form with markers on the system's last text and on the last message's."""
    least = least_tokens(str(body.get("model"))) * _BYTES_PER_TOKEN
    if text_bytes < least or _has_marker(body):
        return body
    messages = list(body["messages"])
    start = next((number for number, each in enumerate(messages) if each["role"] not in _SYSTEM), len(messages))
    if start and _size(body.get("tools") or (), messages[:start]) >= least:
        messages[:start] = _last_marked(messages[:start])
    return body | {"messages": _last_marked(messages)}


def _size(*parts: Any) -> int:
    """Bytes of a prefix."""
    return sum(len(orjson.dumps(part)) for part in parts)


def _last_marked(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    last = messages[-1]
    return [*messages[:-1], {**last, "content": _marked(last.get("content"))}]


def _marked(content: Any) -> Any:
    """The content with a marker on its last block that may have one."""
    if isinstance(content, str):
        return [{"type": "text", "text": content, **MARK}] if content.strip() else content
    blocks = list(content or ())
    for number in range(len(blocks) - 1, -1, -1):
        if _may_carry(blocks[number]):
            blocks[number] = {**blocks[number], **MARK}
            return blocks
    return content


def _may_carry(block: Any) -> bool:
    if not isinstance(block, dict) or block.get("type") not in _BLOCKS:
        return False
    if block["type"] == "text":
        return isinstance(block.get("text"), str) and bool(block["text"].strip())
    return block["type"] != "tool_result" or bool(block.get("content"))


def _marked_tools(tools: Sequence[Any]) -> list[Any]:
    """The last tool that is loaded with the prompt; one that is loaded later may not carry a marker."""
    made = list(tools)
    for number in range(len(made) - 1, -1, -1):
        if not made[number].get("defer_loading"):
            made[number] = {**made[number], **MARK}
            break
    return made


def _has_marker(body: Mapping[str, Any]) -> bool:
    """Whether the caller set one, at any of the places where one may stand."""
    return bool(body.get(_NAME)) or any(_within(body.get(name)) for name in ("system", "tools", "messages"))


def _within(items: Any) -> bool:
    """Whether one of these blocks, messages or tools, or what they hold, has a marker."""
    if not isinstance(items, list):
        return False
    for item in items:
        if isinstance(item, dict) and (
            item.get(_NAME)
            or _within(item.get("content"))
            or _within(item.get("tool_calls"))
            or (isinstance(function := item.get("function"), dict) and function.get(_NAME))
        ):
            return True
    return False
