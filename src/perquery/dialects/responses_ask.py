"""A body in chat form as OpenAI Responses has it, for an upstream that speaks that. Pure.

What Responses cannot be told is left out and named. It must never have the upstream keep the answer, nor send
thinking of another vendor's, nor a thought without its seal, which a stateless upstream could not take back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from perquery.calls import Search
from perquery.dialects.efforts import nearest
from perquery.dialects.fields import kinds_in, require
from perquery.dialects.search import responses_tool
from perquery.dialects.thoughts import RESPONSES, effort_of

_DROPPED: Final = (
    *("stop", "seed", "logit_bias", "frequency_penalty", "presence_penalty", "prediction", "modalities", "audio"),
    *("top_k", "min_p", "top_a", "repetition_penalty", "functions", "function_call"),
)
_SAME: Final = (
    *("model", "stream", "temperature", "top_p", "parallel_tool_calls", "metadata", "prompt_cache_key"),
    *("prompt_cache_retention", "service_tier"),
)
_UNSEEN: Final = frozenset(("video_url",))  # parts of messages
# Models that think; of others, OpenAI answers 400 to a wish for sealed thoughts.
_THINKS: Final = re.compile(r"(?:^|/)(?:o\d|gpt-(?:[5-9]|\d\d))(?!.*chat)")
_NOTHING: Final = {"type": "object", "properties": {}}


def ask(body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(The body for Responses, the parameters that were dropped.) Raises BadRequest for several choices."""
    require((body.get("n") or 1) == 1, "n", "1 for this model")
    dropped = [name for name in _DROPPED if body.get(name)]
    dropped += kinds_in(body.get("messages") or (), _UNSEEN)
    made = {name: body[name] for name in _SAME if body.get(name) is not None}
    made |= {"input": list(_input(body.get("messages") or ())), "store": False}
    caps = [body[name] for name in ("max_completion_tokens", "max_tokens") if body.get(name)]
    if caps:
        made["max_output_tokens"] = min(caps)
    if user := body.get("safety_identifier") or body.get("user"):
        made["safety_identifier"] = user
    padding = (body.get("stream_options") or {}).get("include_obfuscation")
    if padding is not None:
        made["stream_options"] = {"include_obfuscation": padding}
    return made | _reasoning(body) | _included(body) | _text(body) | _tools(body), dropped


# -- messages ---------------------------------------------------------------------------------------------------


def _input(messages: Any) -> Iterator[dict[str, Any]]:
    for message in messages:
        role = message.get("role")
        if role == "assistant":
            yield from _assistant(message)
        elif role in ("tool", "function"):
            yield _result(message, messages)
        else:
            yield {"type": "message", "role": role, "content": _parts(message.get("content"))}


def _parts(content: Any) -> Any:
    """A string stays one; of parts, those that Responses has."""
    if not isinstance(content, list):
        return content or ""
    parts = ({"type": "text", "text": part} if isinstance(part, str) else part for part in content)
    return [made for part in parts if isinstance(part, dict) and (made := _part(part))]


def _part(part: Mapping[str, Any]) -> dict[str, Any] | None:
    match part.get("type"):
        case "image_url":
            given = part.get("image_url")
            given = given if isinstance(given, dict) else {"url": given}
            return {"type": "input_image", "image_url": given.get("url"), "detail": given.get("detail") or "auto"}
        case "file":
            return {"type": "input_file"} | _given(part.get("file"), "filename", "file_data", "file_url")
        case "input_audio":
            return {"type": "input_audio", "input_audio": part.get("input_audio")}
    text = part.get("text") or part.get("refusal")
    return {"type": "input_text", "text": text} if isinstance(text, str) else None


def _given(found: Any, *names: str) -> dict[str, Any]:
    found = found if isinstance(found, dict) else {}
    return {name: found[name] for name in names if found.get(name) is not None}


def _assistant(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """An assistant's turn as its items: thoughts, words, calls."""
    yield from _thoughts(message.get("reasoning_details") or ())
    if said := _said(message):
        yield {"type": "message", "role": "assistant", "content": said}
    for call in message.get("tool_calls") or ():
        custom = call.get("custom")
        if isinstance(custom, dict):
            own = {"type": "custom_tool_call", "name": custom.get("name"), "input": custom.get("input") or ""}
        else:
            function = call.get("function") or {}
            own = {"type": "function_call", "name": function.get("name")}
            own["arguments"] = function.get("arguments") or "{}"
        yield own | {"call_id": call.get("id")}


def _said(message: Mapping[str, Any]) -> Any:
    """Text as a string, which every server takes; refusals need parts."""
    content = message.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    parts = [part for part in parts if isinstance(part, dict)]
    refusals = [part["refusal"] for part in parts if part.get("refusal")]
    if isinstance(message.get("refusal"), str):
        refusals.append(message["refusal"])
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str) and part["text"]]
    if not refusals:
        return "".join(texts)
    made: list[dict[str, Any]] = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    return made + [{"type": "refusal", "refusal": refusal} for refusal in refusals]


def _thoughts(details: Any) -> Iterator[dict[str, Any]]:
    """Sealed thoughts as they came: the summaries of each stand before its seal."""
    summaries: list[dict[str, Any]] = []
    for detail in details:
        if not isinstance(detail, dict) or detail.get("format") != RESPONSES:
            continue
        if detail.get("type") == "reasoning.summary":
            summaries.append({"type": "summary_text", "text": detail.get("summary") or ""})
        elif detail.get("type") == "reasoning.encrypted":
            named = {"id": detail["id"]} if detail.get("id") else {}
            yield {"type": "reasoning", "summary": summaries, "encrypted_content": detail.get("data"), **named}
            summaries = []


def _result(message: Mapping[str, Any], messages: Any) -> dict[str, Any]:
    id = message.get("tool_call_id") or message.get("name")
    calls = (call for one in messages for call in one.get("tool_calls") or () if isinstance(call, dict))
    custom = any(call.get("id") == id and isinstance(call.get("custom"), dict) for call in calls)
    kind = "custom_tool_call_output" if custom else "function_call_output"
    return {"type": kind, "call_id": id, "output": _parts(message.get("content"))}


# -- options ----------------------------------------------------------------------------------------------------


def _reasoning(body: Mapping[str, Any]) -> dict[str, Any]:
    """Effort, and a summary for those who asked for thinking as such."""
    asked = body.get("reasoning") or {}
    effort = asked.get("effort") or body.get("reasoning_effort") or ("none" if asked.get("enabled") is False else None)
    if not effort and asked.get("max_tokens"):  # a budget: it has none
        effort = effort_of(asked["max_tokens"])
    made: dict[str, Any] = {"effort": nearest(str(body.get("model")), effort)} if effort else {}
    if asked and effort != "none" and not asked.get("exclude"):
        made["summary"] = asked.get("summary") or "auto"
    return {"reasoning": made} if made else {}


def _included(body: Mapping[str, Any]) -> dict[str, Any]:
    included = []
    asked = _reasoning(body).get("reasoning") or {}
    sealed = any(
        isinstance(detail, dict) and detail.get("format") == RESPONSES
        for message in body.get("messages") or ()
        for detail in message.get("reasoning_details") or ()
    )
    if sealed or asked.get("effort", "none") != "none" or _THINKS.search(str(body.get("model"))):
        included.append("reasoning.encrypted_content")
    made: dict[str, Any] = {}
    if body.get("logprobs"):
        included.append("message.output_text.logprobs")
        made["top_logprobs"] = body.get("top_logprobs") or 0
    return made | ({"include": included} if included else {})


def _text(body: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        schema = _given(wanted.get("json_schema"), "name", "schema", "strict", "description")
        made["format"] = {"type": "json_schema", "name": "answer"} | schema
    elif wanted.get("type") == "json_object":
        made["format"] = {"type": "json_object"}
    if body.get("verbosity"):
        made["verbosity"] = body["verbosity"]
    return {"text": made} if made else {}


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    made = [_tool(tool) for tool in body.get("tools") or ()]
    wish: Search | None = body.get("web_search")
    if wish is not None:
        made.append(responses_tool(wish))
    if not made:
        return {}
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        choice = _choice(choice)
    bounded = {"max_tool_calls": wish.uses} if wish is not None else {}
    return {"tools": made} | ({"tool_choice": choice} if choice else {}) | bounded


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(tool.get("custom"), dict):
        custom = dict(tool["custom"])
        grammar = custom.get("format")
        if isinstance(grammar, dict) and isinstance(grammar.get("grammar"), dict):
            custom["format"] = {"type": "grammar", **grammar["grammar"]}
        return {"type": "custom", **custom}
    function = tool.get("function") or {}
    own = {"type": "function"} | _given(function, "name", "description")
    # Unsaid, it is true in Responses and false in chat.
    return own | {"parameters": function.get("parameters") or _NOTHING, "strict": function.get("strict") is True}


def _choice(choice: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = choice.get("type")
    if kind == "allowed_tools":
        allowed = choice.get("allowed_tools") or {}
        tools = [made for tool in allowed.get("tools") or () if (made := _choice(tool))]
        return {"type": kind, "mode": allowed.get("mode") or "auto", "tools": tools}
    named = choice.get(str(kind))
    return {"type": kind, "name": named.get("name")} if isinstance(named, dict) else None
