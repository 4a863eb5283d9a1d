"""OpenAI Chat Completions as callers speak it: parse a request, write answers, chunks, errors and costs.

Pure: bytes and objects in, bytes and objects out. What the caller sent passes to the upstream untouched but
for the model's name, the stream options and the fields named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from perquery import media
from perquery.calls import Call, Search
from perquery.dialects import search
from perquery.dialects.fields import (
    Check,
    check_types,
    is_count,
    is_flag,
    is_integer,
    is_list,
    is_number,
    is_object,
    is_text,
    is_text_or_object,
    is_text_or_texts,
    object_of,
    refuse,
    require,
    wrong,
)
from perquery.dialects.preferences import ASKED, OURS, named, preferences
from perquery.errors import BadRequest

CHOICES_MAX: Final = 128
CAPS: Final = ("max_completion_tokens", "max_tokens")

_TYPES: Final[Mapping[str, Check]] = {
    "max_tokens": is_count,
    "max_completion_tokens": is_count,
    "n": is_count,
    "stream": is_flag,
    "stream_options": is_object,
    "temperature": is_number,
    "top_p": is_number,
    "top_k": is_number,
    "min_p": is_number,
    "frequency_penalty": is_number,
    "presence_penalty": is_number,
    "repetition_penalty": is_number,
    "stop": is_text_or_texts,
    "seed": is_integer,
    "tools": is_list,
    "functions": is_list,
    "tool_choice": is_text_or_object,
    "function_call": is_text_or_object,
    "parallel_tool_calls": is_flag,
    "response_format": is_object,
    "logprobs": is_flag,
    "top_logprobs": is_integer,
    "logit_bias": is_object,
    "user": is_text,
    "safety_identifier": is_text,
    "metadata": is_object,
    "reasoning_effort": is_text,
    "reasoning": is_object,
    "verbosity": is_text,
    "prediction": is_object,
    "modalities": is_list,
    "audio": is_object,
    "plugins": is_list,
    "usage": is_object,
    "web_search_options": is_object,
    "prompt_caching": is_flag,
}
_STATE = "names state kept in an upstream account that all callers share; send the content itself."
_PRICE = "changes what the request costs and is not sold here; leave it out."
_REFUSED: Final[Mapping[str, str]] = {
    "previous_response_id": _STATE,
    "conversation": _STATE,
    "container": _STATE,
    "background": _PRICE,
    "speed": _PRICE,
    "inference_geo": _PRICE,
    "search_parameters": _PRICE,
}
# PPQ's own fields and OpenRouter's that only its own servers understand: read here or meaningless upstream.
_OURS: Final = frozenset(
    (
        *("query_source", "chat_id", "tool_id", "zdr", "search_mode", "data_source", "web_search"),
        *("credit_id", "api_key", "usage", "store", *OURS),
    )
)
_DROPPED: Final = frozenset(("plugins", "transforms"))  # dropped, and the caller is told
_NOT_THEIRS: Final = _OURS | _DROPPED
_TIERS: Final = (None, "auto", "default", "standard", "standard_only")


def parse(raw: bytes) -> Call:
    """A request body → Call; BadRequest names the parameter that is wrong and what would be right."""
    body = object_of(raw)
    model = named(body)
    if isinstance(model, dict):
        model = model.get("id")
    if not isinstance(model, str) or not 0 < len(model) <= 200:
        raise wrong("model", "the name of a model, such as those of /v1/models")
    check_types(body, _TYPES)
    refuse(body, _REFUSED)
    wish = _search(body)
    _check_billed(body)
    images, data_bytes = _check_messages(body.get("messages"))
    options = body.get("stream_options") or {}
    stream, cap_tokens, choices = bool(body.get("stream")), lowest_cap(body), body.get("n") or 1
    wants_usage = options.get("include_usage") is True or (body.get("usage") or {}).get("include") is True
    # By place: arguments by name to a class cost a call a dictionary.
    call = Call(
        "openai-chat", model, body, raw, stream, wants_usage, cap_tokens, choices, len(raw) - data_bytes, images
    )
    if not _DROPPED.isdisjoint(body):
        asked = _DROPPED.intersection(body)
        call.dropped = [name for name in asked if body[name] and not (wish and _only_web(body[name]))]
    call.search, call.caching = wish, body.get("prompt_caching") is not False
    if not ASKED.isdisjoint(body):
        call.preferences = preferences(body, call.dropped)
    return call


def lowest_cap(body: Mapping[str, Any]) -> int | None:
    """What the output is to end at: the lowest of the caps that are stated."""
    one, other = body.get(CAPS[0]), body.get(CAPS[1])
    return other if one is None or (other is not None and other < one) else one


def _search(body: dict[str, Any]) -> Search | None:
    """The wish for web search, taken out of the body: which upstream has it is decided later."""
    wish = search.of_plugins(plugins) if (plugins := body.get("plugins")) else None
    options = body.pop("web_search_options", None)
    if options is not None:
        wish = search.of_options(options)
    tools = body.get("tools")
    if tools and any(map(search.is_search, tools)):
        wish = wish or search.of_tools(tools, body.get("tool_choice"))
        body["tools"] = [tool for tool in tools if not search.is_search(tool)]
        if not body["tools"]:
            for name in ("tools", "tool_choice", "parallel_tool_calls"):
                body.pop(name, None)
    return wish


def _only_web(plugins: Any) -> bool:
    return all(isinstance(plugin, dict) and plugin.get("id") == "web" for plugin in plugins)


def _check_billed(body: Mapping[str, Any]) -> None:
    """Fields whose values change the price: priced, or refused."""
    if (body.get("n") or 1) > CHOICES_MAX:
        raise wrong("n", f"at most {CHOICES_MAX}")
    if body.get("service_tier") not in _TIERS:
        raise BadRequest(f"`service_tier` {_PRICE}", param="service_tier", code="unsupported_parameter")
    for tool in body.get("tools") or ():
        require(isinstance(tool, dict), "tools", "an array of objects")
        if tool.get("type", "function") not in ("function", "custom"):
            raise BadRequest(
                f"`tools` of type {str(tool['type'])[:60]!r} run at the upstream at a price of their own and are not"
                " sold here; use tools of type function.",
                param="tools",
                code="unsupported_parameter",
            )


def _check_messages(messages: Any) -> tuple[int, int]:
    """(how many images and documents, bytes of inline data) in the messages; BadRequest if malformed."""
    if not isinstance(messages, list) or not messages:
        raise wrong("messages", "a non-empty array of messages")
    images = data_bytes = 0
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise wrong(f"messages[{number}]", "an object with `role` and `content`")
        if not isinstance(message.get("role"), str):
            raise wrong(f"messages[{number}].role", "a string such as user, assistant or system")
        content = message.get("content")
        if isinstance(content, list):
            for part in content:
                found, inline = _part(part, f"messages[{number}]")
                images += found
                data_bytes += inline
        elif content is not None and not isinstance(content, str):
            raise wrong(f"messages[{number}].content", "a string or an array of parts")
    return images, data_bytes


def _part(part: Any, where: str) -> tuple[int, int]:
    """(images, bytes of inline data) of one content part."""
    if isinstance(part, str):
        return 0, 0
    require(isinstance(part, dict), f"{where}.content", "a string or an array of parts")
    if isinstance(part.get("text"), str):
        return 0, 0
    file = part.get("file")
    if isinstance(file, dict) and file.get("file_id"):
        raise BadRequest(f"`{where}.content` `file_id` {_STATE}", param=where, code="unsupported_parameter")
    source = part.get("image_url")
    url = source.get("url") if isinstance(source, dict) else source
    if isinstance(url, str):
        return 1, len(url) if url.startswith("data:") else 0
    data = file.get("file_data") if isinstance(file, dict) else None
    if isinstance(data, str):
        return media.documents_as_images(len(data)), len(data)
    return 0, 0


def upstream_body(call: Call, model: str, *, cap_tokens: int | None, stream: bool) -> dict[str, Any]:
    """The body for an upstream of the same shape; `cap_tokens` replaces the caller's cap where it is given."""
    body = dict(call.body)
    for name in _NOT_THEIRS.intersection(body):
        del body[name]
    body["model"] = model
    if cap_tokens is not None:
        name = next((name for name in CAPS if body.get(name) is not None), "max_tokens")
        for other in CAPS:
            body.pop(other, None)
        body[name] = cap_tokens
    if stream:
        body["stream"] = True
        body["stream_options"] = {**(call.body.get("stream_options") or {}), "include_usage": True}
    else:
        body["stream"] = False
        body.pop("stream_options", None)
    return body
