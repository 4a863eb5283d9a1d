"""Anthropic Messages at the caller's side: a body as the internal form (docs/dialects.md). Pure.

It must never refuse a field that it does not know: Claude Code sends new ones with every release.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from perquery import media
from perquery.calls import Call
from perquery.dialects import search
from perquery.dialects.fields import (
    check_types,
    is_count,
    is_flag,
    is_list,
    is_number,
    is_object,
    object_of,
    refuse,
    require,
)
from perquery.dialects.preferences import ASKED, OURS, named, preferences
from perquery.dialects.thoughts import ANTHROPIC, PACKED, unpacked, wished
from perquery.errors import BadRequest

_TYPES: Final = {
    "max_tokens": is_count,
    "stream": is_flag,
    "temperature": is_number,
    "top_p": is_number,
    "stop_sequences": is_list,
    "tools": is_list,
    "tool_choice": is_object,
    "thinking": is_object,
    "metadata": is_object,
    "output_config": is_object,
    "output_format": is_object,
    "prompt_caching": is_flag,
}
_STATE: Final = "names state in the operator's account at the upstream; send the content itself."
_REFUSED: Final = {"container": _STATE, "mcp_servers": "would let the upstream call servers at a price of its own."}
_TIERS: Final = (None, "auto", "standard_only")
_CLIENTS: Final = ("bash_", "text_editor_", "computer_", "memory_")
_SAME: Final = ("temperature", "top_p", "top_k", "metadata", "cache_control", "session_id")
_CHOICES: Final[Mapping[str, Any]] = {"auto": "auto", "any": "required", "none": "none"}


def parse(raw: bytes) -> Call:
    """A Messages body → Call. Raises BadRequest, naming what is wrong and what would be right."""
    body = object_of(raw)
    require(body.get("max_tokens") is not None, "max_tokens", "given: the most tokens that the answer may have")
    return _call(raw, body)


def count(raw: bytes) -> Call:
    """A body whose tokens are to be counted: it needs no max_tokens."""
    return _call(raw, object_of(raw))


def _call(raw: bytes, body: dict[str, Any]) -> Call:
    model = named(body)
    require(isinstance(model, str) and 0 < len(model) <= 200, "model", "the name of a model, such as /v1/models lists")
    check_types(body, _TYPES)
    refuse(body, _REFUSED)
    for name in ("service_tier", "speed", "inference_geo"):
        if body.get(name) not in (*_TIERS, "standard", "global"):
            raise BadRequest(f"`{name}` is not offered here.", param=name, code="unsupported_parameter")
    sizes = _Sizes()
    dropped: list[str] = []
    inner = {name: body[name] for name in _SAME if body.get(name) is not None}
    inner |= {"model": model, "messages": _messages(body, sizes), "stream": bool(body.get("stream"))}
    if body.get("max_tokens") is not None:
        inner["max_tokens"] = body["max_tokens"]
    if body.get("stop_sequences"):
        inner["stop"] = body["stop_sequences"]
    inner |= _tools(body, dropped) | _thinking(body) | _format(body)
    return Call(
        dialect="anthropic",
        model=model,
        body=inner,
        raw=raw,
        stream=inner["stream"],
        wants_usage=True,
        cap_tokens=body.get("max_tokens"),
        text_bytes=max(len(raw) - sizes.data_bytes, 0),
        images=sizes.images,
        caching=body.get("prompt_caching") is not False,
        dropped=dropped,
        native=_native(body),
        search=search.of_tools(body.get("tools") or (), body.get("tool_choice")),
        preferences=None if ASKED.isdisjoint(body) else preferences(body, dropped),
    )


def _native(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body for Anthropic itself: without the tools that run there at a price that is not sold here."""
    made = {name: value for name, value in body.items() if name not in OURS}
    tools = body.get("tools") or ()
    if any(map(_hosted, tools)):
        made["tools"] = [tool for tool in tools if not _hosted(tool)]
    return made


def _hosted(tool: Any) -> bool:
    """Whether a tool runs at Anthropic. Of its own types only these run at the caller's; search is sold apart."""
    kind = tool.get("type")
    known = kind in (None, "custom") or search.is_search(tool)
    return not (known or (isinstance(kind, str) and kind.startswith(_CLIENTS)))


class _Sizes:
    """What is inline in the messages."""

    def __init__(self) -> None:
        self.images = 0
        self.data_bytes = 0


# -- messages ---------------------------------------------------------------------------------------------------


def _messages(body: Mapping[str, Any], sizes: _Sizes) -> list[dict[str, Any]]:
    given = body.get("messages")
    require(isinstance(given, list) and bool(given), "messages", "a non-empty array of messages")
    made: list[dict[str, Any]] = []
    if system := _system(body.get("system"), "system"):
        made.append(system)
    for number, message in enumerate(given or ()):
        where = f"messages[{number}]"
        require(isinstance(message, dict), where, "an object with `role` and `content`")
        role, content = message.get("role"), message.get("content")
        require(role in ("user", "assistant", "system"), f"{where}.role", "user, assistant or system")
        require(isinstance(content, str | list), f"{where}.content", "a string or an array of blocks")
        if role == "system":
            if system := _system(content, f"{where}.content"):
                made.append(system)
        elif isinstance(content, str):
            made.append({"role": role, "content": content})
        else:
            blocks = _blocks(content, where)
            made += [_assistant(blocks)] if role == "assistant" else _user(blocks, sizes)
    return made


def _blocks(content: list[Any], where: str) -> list[dict[str, Any]]:
    for number, block in enumerate(content):
        place = f"{where}.content[{number}]"
        require(isinstance(block, dict) and isinstance(block.get("type"), str), place, "an object with a `type`")
        text = block.get("text")
        require(block["type"] != "text" or isinstance(text, str), f"{place}.text", "a string")
    return content


def _system(given: Any, where: str) -> dict[str, Any] | None:
    if not given:
        return None
    if isinstance(given, str):
        return {"role": "system", "content": given}
    require(isinstance(given, list), where, "a string or an array of text blocks")
    parts = [_text(block) for block in given if isinstance(block, dict) and isinstance(block.get("text"), str)]
    return {"role": "system", "content": parts} if parts else None


def _text(block: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": block["text"]} | _marker(block)


def _marker(block: Mapping[str, Any]) -> dict[str, Any]:
    return {"cache_control": block["cache_control"]} if block.get("cache_control") else {}


def _user(blocks: Iterable[Mapping[str, Any]], sizes: _Sizes) -> list[dict[str, Any]]:
    """Tool results come first, right behind the calls that they answer; all else is the user's own message."""
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for block in blocks:
        if block["type"] == "tool_result":
            results.append(_result(block, sizes))
        elif part := _part(block, sizes):
            parts.append(part)
    return [*results, {"role": "user", "content": parts}] if parts else results


def _result(block: Mapping[str, Any], sizes: _Sizes) -> dict[str, Any]:
    content = block.get("content")
    if isinstance(content, list):
        inner = [part for each in content if isinstance(each, dict) and (part := _part(each, sizes))]
        texts_only = all(part["type"] == "text" and len(part) == 2 for part in inner)
        content = "\n".join(part["text"] for part in inner) if texts_only else inner
    elif not isinstance(content, str):
        content = ""
    message = {"role": "tool", "tool_call_id": str(block.get("tool_use_id") or ""), "content": content}
    return message | _marker(block) | ({"is_error": True} if block.get("is_error") is True else {})


def _part(block: Mapping[str, Any], sizes: _Sizes) -> dict[str, Any] | None:
    """A block as a content part; None for what only Anthropic's own servers know."""
    kind, source = block.get("type"), block.get("source")
    if kind == "text" and isinstance(block.get("text"), str):
        return _text(block)
    if kind == "search_result":
        return {"type": "text", "text": _read(block.get("title"), source, block.get("content"))} | _marker(block)
    if kind not in ("image", "document") or not isinstance(source, dict):
        return None
    if source.get("type") == "content":
        return {"type": "text", "text": _read(block.get("title"), None, source.get("content"))} | _marker(block)
    if source.get("type") == "file":
        raise BadRequest(f"`source.file_id` {_STATE}", param="source.file_id", code="unsupported_parameter")
    data = source.get("data") if isinstance(source.get("data"), str) else None
    if source.get("type") == "text" and data is not None:
        return {"type": "text", "text": data} | _marker(block)
    url = source.get("url") if isinstance(source.get("url"), str) else None
    if data is not None:
        sizes.data_bytes += len(data)
        url = f"data:{source.get('media_type') or 'application/pdf'};base64,{data}"
    if url is None:
        return None
    if kind == "image":
        sizes.images += 1
        return {"type": "image_url", "image_url": {"url": url}} | _marker(block)
    sizes.images += media.documents_as_images(len(data or ""))
    title = block.get("title") or "document.pdf"
    file = {"filename": title, "file_data": url} if data is not None else {"filename": title, "file_url": url}
    return {"type": "file", "file": file} | _marker(block)


def _read(title: Any, source: Any, content: Any) -> str:
    """A document of blocks, or what a caller's own search found, as one text."""
    blocks = [{"text": content}] if isinstance(content, str) else content if isinstance(content, list) else ()
    texts = [title, source, *(block.get("text") for block in blocks if isinstance(block, dict))]
    return "\n".join(text for text in texts if isinstance(text, str) and text)


def _assistant(blocks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    for block in blocks:
        match block["type"]:
            case "text":
                parts.append(_text(block))
            case "thinking" | "redacted_thinking":
                details += _details(block)
            case "tool_use":
                calls.append(_tool_call(block))
    message: dict[str, Any] = {"role": "assistant", "content": parts or None}
    if len(parts) == 1 and len(parts[0]) == 2:
        message["content"] = parts[0]["text"]
    if calls:
        message["tool_calls"] = calls
    if details:
        message["reasoning_details"] = details
        message["reasoning_content"] = "".join(detail.get("text") or "" for detail in details)
    return message


def _details(block: Mapping[str, Any]) -> list[dict[str, Any]]:
    if block["type"] == "redacted_thinking":
        data = str(block.get("data") or "")
        if data.startswith(PACKED):
            return unpacked(data)
        return [{"type": "reasoning.encrypted", "data": data, "format": ANTHROPIC}]
    found = {"type": "reasoning.text", "text": str(block.get("thinking") or ""), "format": ANTHROPIC}
    return [found | ({"signature": block["signature"]} if block.get("signature") else {})]


def _tool_call(block: Mapping[str, Any]) -> dict[str, Any]:
    given = block.get("input")
    arguments = given if isinstance(given, str) else orjson.dumps(given or {}).decode()
    function = {"name": str(block.get("name") or ""), "arguments": arguments}
    return {"id": str(block.get("id") or ""), "type": "function", "function": function} | _marker(block)


# -- options ----------------------------------------------------------------------------------------------------


def _tools(body: Mapping[str, Any], dropped: list[str]) -> dict[str, Any]:
    """The caller's own tools; those that run at Anthropic have a price of their own, are left out and reported."""
    made = []
    for tool in body.get("tools") or ():
        require(isinstance(tool, dict), "tools", "an array of objects")
        kind, name = tool.get("type"), tool.get("name")
        if kind not in (None, "custom") or not isinstance(name, str):
            if not search.is_search(tool):  # which is sold, and told apart
                dropped.append(str(name or kind)[:60])
            continue
        function = {"name": name, "parameters": tool.get("input_schema") or {"type": "object"}}
        function |= {key: tool[key] for key in ("description", "strict") if tool.get(key) is not None}
        made.append({"type": "function", "function": function} | _marker(tool))
    if not made:
        return {}
    return {"tools": made} | _tool_choice(body.get("tool_choice") or {})


def _tool_choice(given: Mapping[str, Any]) -> dict[str, Any]:
    kind = given.get("type")
    if kind == "tool":
        chosen: Any = {"type": "function", "function": {"name": given.get("name")}}
    else:
        chosen = _CHOICES.get(str(kind))
    made = {"tool_choice": chosen} if chosen is not None else {}
    return made | ({"parallel_tool_calls": False} if given.get("disable_parallel_tool_use") is True else {})


def _thinking(body: Mapping[str, Any]) -> dict[str, Any]:
    """thinking and output_config.effort as `reasoning`."""
    reasoning, config = wished(body.get("thinking")), body.get("output_config") or {}
    if isinstance(config.get("effort"), str) and reasoning.get("enabled") is not False:
        reasoning["effort"] = config["effort"]
    return {"reasoning": reasoning} if reasoning else {}


def _format(body: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema for the answer, under either of its names."""
    given = (body.get("output_config") or {}).get("format") or body.get("output_format")
    if not isinstance(given, dict) or given.get("type") != "json_schema":
        return {}
    schema = {"name": str(given.get("name") or "answer"), "schema": given.get("schema") or {}, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}
