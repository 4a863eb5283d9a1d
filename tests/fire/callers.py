"""Callers of four shapes: the same wish told in each, and what each hears, in words that are the same for all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from perquery import money
from tests.fire.client import Answer

CHAT, COMPLETIONS, MESSAGES, RESPONSES = "chat/completions", "completions", "messages", "responses"
SHAPES: Final = (CHAT, COMPLETIONS, MESSAGES, RESPONSES)
SCHEMA: Final = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
PIXEL: Final = "iVBORw0KGgo="
TOOLS: Final = {"look": {"type": "object", "properties": {"at": {"type": "string"}}}, "hear": {"type": "object"}}


@dataclass
class Heard:
    """finish: stop, tools, length or refusal. turn: the answer as this shape's history has it."""

    text: str = ""
    thinking: str = ""
    refusal: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    citations: list[str] = field(default_factory=list)
    finish: str = ""
    tokens: tuple[int, int, int] = (0, 0, 0)  # all of the input, what of it was cached, all of the output
    cost: int = 0
    turn: list[dict[str, Any]] = field(default_factory=list)


def asked(
    shape: str, model: str, scene: str, *, stream: bool, turns: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """A body that asks for the scene, with what belongs to it. turns: between the question and another one."""
    told = f"Please. scene: {scene}"
    made: dict[str, Any] = {"model": model, "stream": stream}
    if shape == COMPLETIONS:
        return made | {"prompt": told, "stream_options": {"include_usage": True}}
    history = [_said(shape, told, image=scene == "image"), *(turns or [])]
    if turns:
        history.append(_said(shape, f"Go on. scene: {scene}", image=False))
    made["input" if shape == RESPONSES else "messages"] = history
    if shape == MESSAGES:
        made["max_tokens"] = 4_000
    if shape == CHAT:
        made["stream_options"] = {"include_usage": True}
    return made | _WISHES.get((shape, scene), {})


def _said(shape: str, text: str, *, image: bool) -> dict[str, Any]:
    if not image:
        return {"role": "user", "content": text}
    url = f"data:image/png;base64,{PIXEL}"
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    parts = {
        CHAT: [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}],
        MESSAGES: [{"type": "text", "text": text}, {"type": "image", "source": source}],
        RESPONSES: [{"type": "input_text", "text": text}, {"type": "input_image", "image_url": url, "detail": "auto"}],
    }
    return {"role": "user", "content": parts[shape]}


_NAMED: Final = {"name": "answer", "schema": SCHEMA, "strict": True}
_WISHES: Final[dict[tuple[str, str], dict[str, Any]]] = {
    (CHAT, "tool"): {
        "tools": [{"type": "function", "function": {"name": name, "parameters": p}} for name, p in TOOLS.items()],
        "tool_choice": "required",
    },
    (MESSAGES, "tool"): {
        "tools": [{"name": name, "input_schema": schema} for name, schema in TOOLS.items()],
        "tool_choice": {"type": "any"},
    },
    (RESPONSES, "tool"): {
        "tools": [{"type": "function", "name": name, "parameters": schema} for name, schema in TOOLS.items()],
        "tool_choice": "required",
    },
    (CHAT, "schema"): {"response_format": {"type": "json_schema", "json_schema": _NAMED}},
    (MESSAGES, "schema"): {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    (RESPONSES, "schema"): {"text": {"format": {"type": "json_schema", **_NAMED}}},
    (CHAT, "thinking"): {"reasoning_effort": "high", "max_tokens": 4_000},
    (MESSAGES, "thinking"): {"thinking": {"type": "enabled", "budget_tokens": 2_000}},
    (RESPONSES, "thinking"): {"reasoning": {"effort": "high"}, "max_output_tokens": 4_000},
}


def heard(shape: str, answer: Answer, *, stream: bool) -> Heard:
    assert answer.status == 200, answer.body
    if not stream:
        return _READERS[shape](answer.json())
    return _READERS[shape](_JOINED[shape](events_of(answer)))


def events_of(answer: Answer) -> list[dict[str, Any]]:
    """A stream's events; where they have names, each name must be the event's type."""
    found = []
    for block in answer.body.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
        if lines.get("data", "[DONE]") == "[DONE]":
            continue
        found.append(money.from_json(lines["data"].encode()))
        assert lines.get("event", found[-1].get("type")) == found[-1].get("type")
    return found


# -- Chat Completions -------------------------------------------------------------------------------------------


def _chat(whole: dict[str, Any]) -> Heard:
    (choice,) = whole["choices"]
    message, usage = choice["message"], whole["usage"]
    finish = {"stop": "stop", "tool_calls": "tools", "length": "length", "content_filter": "refusal"}
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    return Heard(
        message.get("content") or "",
        message.get("reasoning_content") or "",
        message.get("refusal") or "",
        [(call["id"], call["function"]["name"], _value(call["function"]["arguments"]))
         for call in message.get("tool_calls") or ()],
        [one["url_citation"]["url"] for one in message.get("annotations") or ()],
        finish[choice["finish_reason"]],
        (usage["prompt_tokens"], cached, usage["completion_tokens"]),
        money.nano(usage["cost"]),
        [{"role": "assistant"} | {name: value for name, value in message.items() if value}],
    )  # fmt: skip


def _value(text: str) -> Any:
    return money.from_json(text.encode())


def _chat_joined(events: list[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {}
    finish, usage = None, None
    for event in events:
        usage = event.get("usage") or usage
        for choice in event["choices"]:
            finish = choice["finish_reason"] or finish
            for name, value in choice["delta"].items():
                if name == "tool_calls":
                    _chat_calls(message.setdefault(name, []), value)
                elif isinstance(value, list):
                    message.setdefault(name, []).extend(value)
                elif value and name != "role":
                    message[name] = message.get(name, "") + value
    return {"choices": [{"message": message, "finish_reason": finish}], "usage": usage}


def _chat_calls(calls: list[dict[str, Any]], pieces: list[dict[str, Any]]) -> None:
    for piece in pieces:
        if piece["index"] == len(calls):
            calls.append(piece | {"function": {"name": "", "arguments": ""}})
        function = calls[piece["index"]]["function"]
        for name, text in piece["function"].items():
            function[name] += text


def _completion(whole: dict[str, Any]) -> Heard:
    (choice,), usage = whole["choices"], whole["usage"]
    finish = {"stop": "stop", "length": "length", "content_filter": "refusal"}[choice["finish_reason"]]
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    tokens = (usage["prompt_tokens"], cached, usage["completion_tokens"])
    return Heard(choice["text"], finish=finish, tokens=tokens, cost=money.nano(usage["cost"]))


def _completion_joined(events: list[dict[str, Any]]) -> dict[str, Any]:
    choices = [choice for event in events for choice in event["choices"]]
    reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    usage = next(event["usage"] for event in reversed(events) if event.get("usage"))
    text = "".join(choice["text"] for choice in choices)
    return {"choices": [{"text": text, "finish_reason": reasons[-1]}], "usage": usage}


# -- Messages ---------------------------------------------------------------------------------------------------


def _messages(whole: dict[str, Any]) -> Heard:
    blocks, usage = whole["content"], whole["usage"]
    finish = {"end_turn": "stop", "tool_use": "tools", "max_tokens": "length", "refusal": "refusal"}
    texts = [block for block in blocks if block["type"] == "text"]
    cached = usage["cache_read_input_tokens"]
    given = usage["input_tokens"] + cached + usage["cache_creation_input_tokens"]
    said = "".join(block["text"] for block in texts)
    refused = whole["stop_reason"] == "refusal"
    return Heard(
        "" if refused else said,
        "".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        said if refused else "",
        [(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"],
        [one["url"] for block in texts for one in block.get("citations") or ()],
        finish[whole["stop_reason"]],
        (given, cached, usage["output_tokens"]),
        money.nano(usage["cost"]),
        [{"role": "assistant", "content": blocks}],
    )


def _messages_joined(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Blocks come one after the other, each closed before the next."""
    whole: dict[str, Any] = {}
    open_at, texts = None, {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
    for event in events:
        match event["type"]:
            case "message_start":
                whole = event["message"]
            case "content_block_start":
                assert open_at is None and event["index"] == len(whole["content"])
                open_at, given = event["index"], ""
                whole["content"].append(dict(event["content_block"]))
            case "content_block_delta":
                assert event["index"] == open_at
                delta, block = event["delta"], whole["content"][-1]
                if delta["type"] in texts:
                    block[texts[delta["type"]]] += delta[texts[delta["type"]]]
                elif delta["type"] == "citations_delta":
                    block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
                else:
                    given += delta["partial_json"]
                    block["input"] = given
            case "content_block_stop":
                block, open_at = whole["content"][-1], None
                if block["type"] == "tool_use":
                    block["input"] = _value(block["input"] or "{}")
            case "message_delta":
                whole |= event["delta"] | {"usage": event["usage"]}
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    return whole


# -- Responses --------------------------------------------------------------------------------------------------


def _responses(whole: dict[str, Any]) -> Heard:
    items, usage = whole["output"], whole["usage"]
    parts = [part for item in items if item["type"] == "message" for part in item["content"]]
    calls = [
        (item["call_id"], item["name"], _value(item["arguments"])) for item in items if item["type"] == "function_call"
    ]
    finish = "tools" if calls else "stop"
    if whole["status"] == "incomplete":
        finish = {"max_output_tokens": "length", "content_filter": "refusal"}[whole["incomplete_details"]["reason"]]
    return Heard(
        "".join(part["text"] for part in parts if part["type"] == "output_text"),
        "".join(part["text"] for item in items if item["type"] == "reasoning" for part in item["summary"]),
        "".join(part["refusal"] for part in parts if part["type"] == "refusal"),
        calls,
        [one["url"] for part in parts for one in part.get("annotations") or ()],
        finish,
        (usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"], usage["output_tokens"]),
        money.nano(usage["cost"]),
        items,
    )


def _responses_joined(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The last event holds it all; the pieces must say the same."""
    assert [event["sequence_number"] for event in events] == sorted(event["sequence_number"] for event in events)
    whole: dict[str, Any] = events[-1]["response"]
    said = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert said == _responses(whole).text
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == whole["output"]
    return whole


_READERS: Final = {CHAT: _chat, COMPLETIONS: _completion, MESSAGES: _messages, RESPONSES: _responses}
_JOINED: Final = {
    CHAT: _chat_joined,
    COMPLETIONS: _completion_joined,
    MESSAGES: _messages_joined,
    RESPONSES: _responses_joined,
}
