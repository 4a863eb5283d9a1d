"""OpenAI Responses at the caller's side: a body as the internal form (docs/dialects.md). Pure.

It must never refuse a field or an item that it does not know. Nothing is stored here, so what names earlier
responses is refused, and `store` is taken for false.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from perquery.calls import Call
from perquery.dialects import chat, search
from perquery.dialects.fields import (
    check_types,
    is_count,
    is_flag,
    is_integer,
    is_list,
    is_number,
    is_object,
    is_text,
    object_of,
    refuse,
    require,
)
from perquery.dialects.preferences import OURS
from perquery.dialects.thoughts import PACKED, RESPONSES, unpacked
from perquery.errors import BadRequest

SEPARATOR: Final = "__"  # between a namespace and its tool, in the names that upstreams see
_STATE: Final = "names state that is not kept here; send the earlier items as `input`, as tools told `store: false` do."
_REFUSED: Final = {
    "previous_response_id": _STATE,
    "conversation": _STATE,
    "prompt": "names a template in the operator's account; send its text as `instructions`.",
    "background": "is not offered; leave it out and stream the answer.",
}
_TYPES: Final = {
    "instructions": is_text,
    "max_output_tokens": is_count,
    "parallel_tool_calls": is_flag,
    "reasoning": is_object,
    "stream": is_flag,
    "temperature": is_number,
    "text": is_object,
    "tools": is_list,
    "top_logprobs": is_integer,
    "top_p": is_number,
}
_SOLD: Final = ("function", "custom", "namespace")  # run by the caller
_SAME: Final = (
    *("temperature", "top_p", "parallel_tool_calls", "metadata", "prompt_cache_key", "user", "service_tier"),
    *("stream", "safety_identifier", "top_logprobs", *sorted(OURS)),
)


def parse(raw: bytes) -> Call:
    """A Responses body → Call. Raises BadRequest, naming what is wrong and what would be right."""
    body = object_of(raw)
    dropped: list[str] = []
    call = chat.parse(orjson.dumps(_inner(body, dropped)))
    call.dialect = "openai-responses"
    call.native = _native(body)
    call.search = search.of_tools(body.get("tools") or (), body.get("tool_choice"))
    call.wants_usage = True
    call.raw = raw
    call.dropped += dropped
    return call


def _native(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body for an upstream of the same shape: nothing kept there, no tools at a price that is not sold here."""
    made = {name: value for name, value in body.items() if name not in OURS} | {"store": False}
    if body.get("tools"):
        made["tools"] = [tool for tool in body["tools"] if tool.get("type") in _SOLD or search.is_search(tool)]
    return made


def to_chat_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """A body that came to the chat path in whole or in part in another shape (Cursor's), as chat has it.

    Raises BadRequest.
    """
    if "messages" not in body:
        extras = ("stream_options", "n", "stop", "max_tokens", "max_completion_tokens")
        return _inner(body, []) | {name: body[name] for name in extras if name in body}
    made = dict(body)
    if isinstance(body.get("tools"), list):
        made["tools"] = chat_tools(body["tools"])
    if isinstance(body.get("messages"), list):
        made["messages"] = [plain for message in body["messages"] for plain in _untangled(message)]
    return made


def _inner(body: Mapping[str, Any], dropped: list[str]) -> dict[str, Any]:
    check_types(body, _TYPES)
    refuse(body, _REFUSED)
    made = {name: body[name] for name in _SAME if body.get(name) is not None}
    made |= {"model": body.get("model"), "messages": _messages(body)}
    if body.get("max_output_tokens") is not None:
        made["max_completion_tokens"] = body["max_output_tokens"]
    if body.get("top_logprobs") or "message.output_text.logprobs" in (body.get("include") or ()):
        made["logprobs"] = True
    reasoning = body.get("reasoning") or {}
    if kept := {name: reasoning[name] for name in ("effort", "summary") if reasoning.get(name) is not None}:
        made["reasoning"] = kept
    return made | _text(body.get("text") or {}) | _tools(body, dropped)


# -- items ------------------------------------------------------------------------------------------------------


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = body.get("input")
    require(isinstance(given, str | list) and bool(given), "input", "a string or a non-empty array of items")
    made: list[dict[str, Any]] = []
    if body.get("instructions"):
        made.append({"role": "system", "content": body["instructions"]})
    if isinstance(given, str):
        return [*made, {"role": "user", "content": given}]
    for number, item in enumerate(given or ()):
        require(isinstance(item, dict), f"input[{number}]", "an object")
        _take(made, item, f"input[{number}]")
    require(any(message["role"] != "system" for message in made), "input", "at least one message")
    return made


def _take(made: list[dict[str, Any]], item: Mapping[str, Any], where: str) -> None:
    """Put an item behind the others. Reasoning and calls belong to one assistant's turn."""
    match item.get("type", "message"):
        case "message":
            role = item.get("role")
            require(isinstance(role, str), f"{where}.role", "user, assistant, system or developer")
            content = _content(item.get("content"), where)
            if role == "assistant":
                turn = _turn(made, new="content")
                turn["content"] = content
            else:
                made.append({"role": role, "content": content})
        case "function_call" | "custom_tool_call":
            _turn(made).setdefault("tool_calls", []).append(_called(item))
        case "function_call_output" | "custom_tool_call_output":
            output = item.get("output")
            content = output if isinstance(output, str) else _content(output, where)
            made.append({"role": "tool", "tool_call_id": str(item.get("call_id") or ""), "content": content})
        case "reasoning":
            _reasoned(_turn(made, new="tool_calls"), item)
        case "item_reference":
            raise BadRequest(f"`{where}` {_STATE}", param=where, code="unsupported_parameter")


def _turn(made: list[dict[str, Any]], new: str | None = None) -> dict[str, Any]:
    """The assistant's turn that goes on, or a new one where there is none or it has what `new` names already."""
    last = made[-1] if made else None
    if last is None or last["role"] != "assistant" or (new is not None and last.get(new)):
        last = {"role": "assistant", "content": None}
        made.append(last)
    return last


def _called(item: Mapping[str, Any]) -> dict[str, Any]:
    name = str(item.get("name") or "")
    if item.get("namespace"):
        name = f"{item['namespace']}{SEPARATOR}{name}"
    id = str(item.get("call_id") or item.get("id") or "")
    if item["type"] == "custom_tool_call":
        return {"id": id, "type": "custom", "custom": {"name": name, "input": str(item.get("input") or "")}}
    arguments = item.get("arguments")
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments or {}).decode()
    return {"id": id, "type": "function", "function": {"name": name, "arguments": text}}


def _reasoned(turn: dict[str, Any], item: Mapping[str, Any]) -> None:
    details = turn.setdefault("reasoning_details", [])
    sealed = item.get("encrypted_content")
    if isinstance(sealed, str) and sealed.startswith(PACKED):
        details += unpacked(sealed)
        return
    named = {"format": RESPONSES} | ({"id": item["id"]} if item.get("id") else {})
    for part in item.get("summary") or ():
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            details.append({"type": "reasoning.summary", "summary": part["text"], **named})
    if isinstance(sealed, str) and sealed:
        details.append({"type": "reasoning.encrypted", "data": sealed, **named})


def _content(given: Any, where: str) -> str | list[dict[str, Any]]:
    if isinstance(given, str):
        return given
    if given is None:
        return ""
    require(isinstance(given, list), f"{where}.content", "a string or an array of parts")
    parts = [made for part in given if isinstance(part, dict) and (made := _part(part, where))]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    return texts[0] if len(parts) == len(texts) == 1 else parts


def _part(part: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    match part.get("type"):
        case "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text":
            return {"type": "text", "text": str(part.get("text") or "")}
        case "refusal":
            return {"type": "refusal", "refusal": str(part.get("refusal") or "")}
        case "input_image" if part.get("image_url"):
            url = part["image_url"]
            image = {"url": url if isinstance(url, str) else url.get("url")}
            return {"type": "image_url", "image_url": image | _given(part, "detail")}
        case "input_file" if part.get("file_data") or part.get("file_url"):
            return {"type": "file", "file": _given(part, "filename", "file_data", "file_url")}
        case "input_audio":
            return {"type": "input_audio", "input_audio": part.get("input_audio")}
        case "input_image" | "input_file":
            raise BadRequest(
                f"`{where}`: file ids name state in the operator's account; send the content itself.",
                param=where,
                code="unsupported_parameter",
            )
    return None


def _given(found: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: found[name] for name in names if found.get(name) is not None}


# -- options ----------------------------------------------------------------------------------------------------


def _text(text: Mapping[str, Any]) -> dict[str, Any]:
    made = _given(text, "verbosity")
    wanted = text.get("format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        schema = _given(wanted, "name", "schema", "strict", "description")
        made["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif isinstance(wanted, dict) and wanted.get("type") == "json_object":
        made["response_format"] = {"type": "json_object"}
    return made


def _tools(body: Mapping[str, Any], dropped: list[str]) -> dict[str, Any]:
    """The caller's own tools; hosted ones run at the upstream at a price of their own, are left out and reported."""
    made: list[dict[str, Any]] = []
    for tool in body.get("tools") or ():
        require(isinstance(tool, dict), "tools", "an array of objects")
        made += _tool(tool, "", dropped)
    if not made:
        return {}
    return {"tools": made} | _choice(body.get("tool_choice"))


def _tool(tool: Mapping[str, Any], prefix: str, dropped: list[str]) -> Iterable[dict[str, Any]]:
    kind, name = tool.get("type"), tool.get("name")
    if kind == "namespace" and isinstance(tool.get("tools"), list):
        inner = [one for one in tool["tools"] if isinstance(one, dict)]
        return [made for one in inner for made in _tool(one, f"{prefix}{name}{SEPARATOR}", dropped)]
    if isinstance(tool.get("function"), dict) or "input_schema" in tool:
        return [_any_tool(tool)]
    if kind == "function" and isinstance(name, str):
        function = {"name": prefix + name} | _given(tool, "description", "parameters", "strict")
        return [{"type": "function", "function": function}]
    if kind == "custom" and isinstance(name, str):
        return [{"type": "custom", "custom": {"name": prefix + name} | _given(tool, "description") | _grammar(tool)}]
    if not search.is_search(tool):  # which is sold, and told apart
        dropped.append(str(kind)[:60])
    return []


def _grammar(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A custom tool's format: where a grammar stands in itself here, chat has it a level deeper."""
    given = tool.get("format")
    if isinstance(given, dict) and given.get("type") == "grammar" and "grammar" not in given:
        given = {"type": "grammar", "grammar": {name: value for name, value in given.items() if name != "type"}}
    return {"format": given} if given else {}


def chat_tools(tools: Iterable[Any]) -> list[Any]:
    """Tools of whichever shapes as chat has them."""
    return [_any_tool(tool) for tool in tools]


def _any_tool(tool: Any) -> Any:
    """A tool in whichever shape as chat has it."""
    if not isinstance(tool, dict) or isinstance(tool.get("function"), dict) or isinstance(tool.get("custom"), dict):
        return tool
    if "input_schema" in tool:
        function = _given(tool, "name", "description", "strict") | {"parameters": tool["input_schema"]}
        return {"type": "function", "function": function} | _given(tool, "cache_control")
    return next(iter(_tool(tool, "", [])), tool)


def _choice(given: Any) -> dict[str, Any]:
    if isinstance(given, str):
        return {"tool_choice": given}
    if isinstance(given, dict) and given.get("type") == "allowed_tools":
        tools = [made["tool_choice"] for one in given.get("tools") or () if (made := _choice(one))]
        allowed = {"mode": given.get("mode") or "auto", "tools": tools}
        return {"tool_choice": {"type": "allowed_tools", "allowed_tools": allowed}}
    if not isinstance(given, dict) or given.get("type") not in ("function", "custom"):
        return {}
    name = given.get("name") or (given.get("function") or {}).get("name")
    if given.get("namespace"):
        name = f"{given['namespace']}{SEPARATOR}{name}"
    return {"tool_choice": {"type": given["type"], given["type"]: {"name": name}}}


def _untangled(message: Any) -> list[Any]:
    """A chat message that holds blocks of Anthropic's, as chat messages."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return [message]
    results, parts, calls = [], [], []
    for block in content:
        match block.get("type") if isinstance(block, dict) else None:
            case "tool_result":
                given = block.get("content")
                text = given if isinstance(given, str) else _content(given, "messages")
                results.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text})
            case "tool_use":
                arguments = orjson.dumps(block.get("input") or {}).decode()
                function = {"name": block.get("name"), "arguments": arguments}
                calls.append({"id": block.get("id"), "type": "function", "function": function})
            case _:
                parts.append(block)
    if not results and not calls:
        return [message]
    own = {**message, "content": parts or None} | ({"tool_calls": calls} if calls else {})
    return [*results, own] if parts or calls else results
