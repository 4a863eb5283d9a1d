"""A caller's body for an upstream of the same dialect, other than chat: untouched but for what must be ours. Pure.

Ours are the model's name, the cap, the bounds of a search, and the seals in which other vendors' thinking travels
through the caller's shape (dialects/thoughts): an upstream that did not make them would refuse the whole request.
"""

from __future__ import annotations

from typing import Any, Final

from perquery.calls import Call, Dialect, Search
from perquery.dialects.search import anthropic_tool, is_search, responses_tool
from perquery.dialects.thoughts import PACKED

_CAPS: Final[dict[Dialect, str]] = {"anthropic": "max_tokens", "openai-responses": "max_output_tokens"}
_MARKS: Final = (PACKED.encode(), b'"signature":""', b'"signature": ""')


def native_body(
    call: Call, model: str, *, cap_tokens: int | None, stream: bool, wish: Search | None = None
) -> dict[str, Any]:
    """The body with the upstream's model name; `cap_tokens` replaces the caller's cap where it is given.

    wish: for web search, where this upstream is to search; elsewhere a search among the tools is taken out.
    """
    body = {**(call.native or {}), "model": model, "stream": stream}
    if cap_tokens is not None:
        body[_CAPS[call.dialect]] = cap_tokens
    if call.search is not None or wish is not None:
        body |= _searching(call.dialect, body.get("tools") or (), wish)
    if any(mark in call.raw for mark in _MARKS):
        if call.dialect == "anthropic":
            body["messages"] = [_own(message) for message in body.get("messages") or ()]
        elif isinstance(body.get("input"), list):
            body["input"] = [item for item in body["input"] if not _foreign(item)]
    return body


def _searching(dialect: Dialect, given: Any, wish: Search | None) -> dict[str, Any]:
    """The tools, with a search that is bounded or with none."""
    tools = [tool for tool in given if not is_search(tool)]
    if wish is None:
        return {"tools": tools}
    if dialect == "anthropic":
        own = next((tool for tool in given if is_search(tool)), anthropic_tool(wish))
        return {"tools": [*tools, own | {"max_uses": wish.uses}]}
    own = next((tool for tool in given if is_search(tool)), responses_tool(wish))
    return {"tools": [*tools, own], "max_tool_calls": wish.uses}


def _own(message: Any) -> Any:
    """A message without other models' thinking; one that had nothing else keeps a word, as it must not be empty."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list) or not any(map(_foreign, content)):
        return message
    left = [block for block in content if not _foreign(block)]
    return {**message, "content": left or [{"type": "text", "text": "…"}]}


def _foreign(block: Any) -> bool:
    """Whether a block or an item is another vendor's thinking."""
    if not isinstance(block, dict):
        return False
    if block.get("type") == "thinking":
        return not block.get("signature")
    sealed = block.get("data") if block.get("type") == "redacted_thinking" else block.get("encrypted_content")
    return isinstance(sealed, str) and sealed.startswith(PACKED)
