"""A body in chat form as Anthropic Messages has it, for an upstream that speaks that. Pure.

What Anthropic cannot be told is left out and named. It must never send a thought without its signature, nor one of
another vendor's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from perquery.dialects.fields import arguments_in, kinds_in, require
from perquery.dialects.search import anthropic_tool
from perquery.dialects.thoughts import ANTHROPIC, joined, wished

_DROPPED: Final = (
    *("logprobs", "top_logprobs", "logit_bias", "seed", "frequency_penalty", "presence_penalty", "prediction"),
    *("verbosity", "modalities", "audio", "min_p", "top_a", "repetition_penalty", "functions", "function_call"),
)
_UNHEARD: Final = frozenset(("input_audio", "video_url"))  # parts of messages
_CHOICES: Final[Mapping[str, Any]] = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}
_BUDGETS: Final = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 24_576, "max": 31_999}
_BUDGET_MIN: Final = 1_024
_VERSION: Final = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:[-.](\d{1,2})(?!\d))?")
ADAPTIVE: Final = (4, 6)  # from here on a model decides for itself how long it thinks
NO_SAMPLING: Final = (4, 7)  # from here on a temperature is an error
HIDES: Final = (4, 7)  # from here on a thought is shown only to who asks for it, and there is an effort more


def ask(body: Mapping[str, Any], *, output_tokens_max: int) -> tuple[dict[str, Any], list[str]]:
    """(The body for Messages, the parameters that were dropped.) Raises BadRequest for several choices."""
    require((body.get("n") or 1) == 1, "n", "1 for this model")
    dropped = [name for name in _DROPPED if body.get(name)]
    dropped += kinds_in(body.get("messages") or (), _UNHEARD)
    system, messages = _conversation(body.get("messages") or ())
    made: dict[str, Any] = {"model": body["model"], "messages": messages, "stream": bool(body.get("stream"))}
    cap = body.get("max_completion_tokens") or body.get("max_tokens") or output_tokens_max
    made["max_tokens"] = cap
    if system:
        made["system"] = system
    stop = body.get("stop")
    stops = [one for one in ([stop] if isinstance(stop, str) else stop or ()) if isinstance(one, str) and one.strip()]
    if stops:
        made["stop_sequences"] = stops
    if body.get("cache_control"):
        made["cache_control"] = body["cache_control"]
    made |= _tools(body, dropped)
    made |= _thinking(body, made, dropped)
    made |= _sampling(body, str(body["model"]), "thinking" in made, dropped)
    return _formatted(made, body, dropped), dropped


# -- messages ---------------------------------------------------------------------------------------------------


def _conversation(given: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(System blocks, turns): every system message goes to the front, turns alternate."""
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for message in given:
        role = message.get("role")
        if role in ("system", "developer"):
            system += _marked(_blocks(message.get("content")), message)
        elif role == "assistant":
            _join(turns, "assistant", _assistant(message))
        elif role in ("tool", "function"):
            _join(turns, "user", [_result(message)])
        else:
            _join(turns, "user", _marked(_blocks(message.get("content")), message))
    for turn in turns:
        if turn["role"] == "user":  # results must be first, behind the calls that they answer
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    return system, turns


def _join(turns: list[dict[str, Any]], role: str, blocks: list[dict[str, Any]]) -> None:
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _marked(blocks: list[dict[str, Any]], holder: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A marker on a whole message stands on its last block."""
    if blocks and holder.get("cache_control"):
        blocks[-1]["cache_control"] = holder["cache_control"]
    return blocks


def _blocks(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    parts = content if isinstance(content, list) else ()
    return [_marked([block], part)[0] for part in parts if isinstance(part, dict) and (block := _block(part))]


def _block(part: Mapping[str, Any]) -> dict[str, Any] | None:
    match part.get("type"):
        case "text" | "refusal":
            text = part.get("text") or part.get("refusal")
            return {"type": "text", "text": text} if text else None
        case "image_url":
            given = part.get("image_url")
            return {"type": "image", "source": _source(given.get("url") if isinstance(given, dict) else given)}
        case "file":
            file = part.get("file") or {}
            block = {"type": "document", "source": _source(file.get("file_data") or file.get("file_url"))}
            return block | ({"title": file["filename"]} if file.get("filename") else {})
    return None


def _source(url: Any) -> dict[str, Any]:
    if isinstance(url, str) and url.startswith("data:"):
        kind, _, data = url[5:].partition(";base64,")
        return {"type": "base64", "media_type": kind, "data": data}
    return {"type": "url", "url": url}


def _assistant(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Thinking first and unchanged, then text, then calls."""
    details = joined(message.get("reasoning_details") or (), ANTHROPIC)
    blocks = [block for detail in details if (block := _thought(detail))]
    blocks += _marked([*_blocks(message.get("content")), *_blocks(message.get("refusal"))], message)
    for call in message.get("tool_calls") or ():
        function = call.get("function") or {}
        given = arguments_in(function.get("arguments"))
        blocks.append({"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": given})
        _marked(blocks, call)
    return blocks


def _thought(detail: Mapping[str, Any]) -> dict[str, Any] | None:
    if detail.get("type") == "reasoning.encrypted":
        return {"type": "redacted_thinking", "data": detail.get("data")}
    if detail.get("type") == "reasoning.text" and detail.get("signature"):
        return {"type": "thinking", "thinking": detail.get("text") or "", "signature": detail["signature"]}
    return None


def _result(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.get("tool_call_id")}
    block["content"] = content if isinstance(content, str) else _blocks(content)
    if message.get("is_error"):
        block["is_error"] = True
    return _marked([block], message)[0]


# -- options ----------------------------------------------------------------------------------------------------


def _tools(body: Mapping[str, Any], dropped: list[str]) -> dict[str, Any]:
    made = []
    for tool in body.get("tools") or ():
        function = tool.get("function")
        if not isinstance(function, dict):
            dropped.append("tools")
            continue
        own = {"name": function.get("name"), "input_schema": function.get("parameters") or {"type": "object"}}
        own |= {name: function[name] for name in ("description", "strict") if function.get(name) is not None}
        made.append(_marked([own], tool)[0])
    if body.get("web_search"):
        made.append(anthropic_tool(body["web_search"]))
    if not made:
        return {}
    given = body.get("tool_choice")
    if isinstance(given, dict) and isinstance(given.get("allowed_tools"), dict):
        made, given = _allowed(made, given["allowed_tools"])
    choice = _CHOICES.get(given) if isinstance(given, str) else None
    if isinstance(given, dict) and isinstance(given.get("function"), dict):
        choice = {"type": "tool", "name": given["function"].get("name")}
    if body.get("parallel_tool_calls") is False and (choice or {}).get("type") != "none":
        choice = (choice or {"type": "auto"}) | {"disable_parallel_tool_use": True}
    return {"tools": made} | ({"tool_choice": choice} if choice else {})


def _allowed(tools: list[dict[str, Any]], given: Mapping[str, Any]) -> tuple[list[dict[str, Any]], Any]:
    """Some tools of several: the others are not shown, for Anthropic has no other word for it."""
    names = {(one.get("function") or {}).get("name") for one in given.get("tools") or () if isinstance(one, dict)}
    return [tool for tool in tools if tool["name"] in names] or tools, given.get("mode")


def version(model: str) -> tuple[int, int]:
    """(4, 5) of claude-sonnet-4-5; a Claude that is not recognised counts as new, another vendor's model as old."""
    if "claude" not in model:
        return (0, 0)
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else (99, 0)


def _thinking(body: Mapping[str, Any], made: Mapping[str, Any], dropped: list[str]) -> dict[str, Any]:
    """Effort and budget as the model's generation takes them; left out, and named, where a thought would be an error:
    beside a forced tool, below the least budget, and behind a turn whose own thought did not come back.
    """
    asked = body.get("reasoning") or wished(body.get("thinking"))
    name = "reasoning" if asked else "reasoning_effort"
    effort, budget = asked.get("effort") or body.get("reasoning_effort"), asked.get("max_tokens")
    if effort == "none" or asked.get("enabled") is False:
        return {"thinking": {"type": "disabled"}}
    if not effort and not budget and asked.get("enabled") is not True:
        return {}
    generation = version(str(body["model"]))
    forced = (made.get("tool_choice") or {}).get("type") in ("any", "tool")
    if generation >= ADAPTIVE:
        config = {"output_config": {"effort": _effort(effort, generation)}} if effort else {}
        if forced:
            dropped += [] if config else [name]
            return config
        shown = {"display": "summarized"} if generation >= HIDES and not asked.get("exclude") else {}
        return {"thinking": {"type": "adaptive"} | shown} | config
    budget = min(budget or _BUDGETS.get(effort or "medium", _BUDGETS["medium"]), made["max_tokens"] - 1)
    if budget < _BUDGET_MIN or forced or not _thought_of(made["messages"]):
        dropped.append(name)
        return {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _effort(effort: str, generation: tuple[int, int]) -> str:
    if effort == "xhigh" and generation < HIDES:
        return "high"
    return "low" if effort == "minimal" else effort


def _thought_of(turns: list[dict[str, Any]]) -> bool:
    """Whether the last of the model's turns, where it called tools, still begins with its thought."""
    said: list[dict[str, Any]] = next((turn["content"] for turn in reversed(turns) if turn["role"] == "assistant"), [])
    called = any(block["type"] == "tool_use" for block in said)
    return not called or said[0]["type"] in ("thinking", "redacted_thinking")


def _sampling(body: Mapping[str, Any], model: str, thinks: bool, dropped: list[str]) -> dict[str, Any]:
    """Temperature and its like, where the model takes them: 0 to 1, and none beside a thought."""
    given = {name: body[name] for name in ("temperature", "top_p", "top_k") if body.get(name) is not None}
    if not given:
        return {}
    if version(model) >= NO_SAMPLING or thinks:
        dropped += [name for name, value in given.items() if value != 1]
        return {}
    if "temperature" in given:
        given["temperature"] = min(1, max(0, given["temperature"]))
        if version(model) >= (4, 1) and "top_p" in given:  # from here on only one of the two
            del given["top_p"]
            dropped.append("top_p")
    return given


def _formatted(made: dict[str, Any], body: Mapping[str, Any], dropped: list[str]) -> dict[str, Any]:
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        schema = (wanted.get("json_schema") or {}).get("schema") or {}
        made["output_config"] = (made.get("output_config") or {}) | {
            "format": {"type": "json_schema", "schema": schema}
        }
    elif wanted.get("type") == "json_object":
        dropped.append("response_format")
    return made
