"""Scenes, and how each of four vendors tells them: whole or as events, in the vendor's own shape.

What is told is written here from the vendors' published shapes, never by the code that is to be tested; how it is
served is tests/vendors.py's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Event = tuple[str | None, dict[str, Any] | str]


@dataclass(frozen=True)
class Scene:
    """What a model says, and what its vendor counts: disjoint buckets.

    seal: what has to come back with the thinking. calls: (id, name, arguments). breaks: the connection ends in the
    middle; waits: it says no more from there on; fails: an error comes there instead. pauses: Anthropic's alone.
    """

    text: str = "Yes, of course."
    thinking: str = ""
    seal: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    citation: str = ""
    searches: int = 0
    refusal: str = ""
    cut: bool = False
    input: int = 100
    cached: int = 0
    written: int = 0
    output: int = 30
    reasoning: int = 0
    status: int = 200
    breaks: bool = False
    fails: bool = False
    waits: bool = False
    pauses: bool = False


SCENES: Final[Mapping[str, Scene]] = {
    "text": Scene(),
    "tool": Scene(
        text="Let me see.", calls=(("call_a1", "look", '{"at": "x"}'), ("call_b2", "hear", '{"to": ["y", 1]}'))
    ),
    "custom": Scene(text="Let me see.", calls=(("call_c1", "patch", '{"input": "*** \\"x\\"\\n"}'),)),
    "schema": Scene(text='{"colour": "grün"}'),
    "thinking": Scene(thinking="Hm, well.", seal="U0VBTA==", reasoning=12),
    "image": Scene(text="A cat.", input=900),
    "search": Scene(text="It rains.", citation="https://weather.example/now"),
    "searched": Scene(text="It rains.", citation="https://weather.example/now", searches=2),
    "searching_on": Scene(text="It rains.", citation="https://weather.example/now", searches=12),
    "cached": Scene(input=20, cached=4_000, written=300),
    "refusal": Scene(text="", refusal="I cannot help with that.", output=8),
    "length": Scene(text="Once upon a", cut=True),
    "busy": Scene(status=500),
    "refused": Scene(status=400),
    "broken": Scene(breaks=True),
    "failing": Scene(fails=True),
    "leaving": Scene(waits=True, text="It rains.", citation="https://weather.example/now", searches=2),
    "waiting": Scene(waits=True, input=20, cached=4_000, written=300),
}


def pieces(text: str) -> list[str]:
    """A text in two, torn anywhere."""
    return [text[: len(text) // 2], text[len(text) // 2 :]] if len(text) > 1 else [text]


# -- Chat Completions -------------------------------------------------------------------------------------------


def chat_usage(scene: Scene) -> dict[str, Any]:
    given, made = scene.input + scene.cached + scene.written, scene.output + scene.reasoning
    return {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        "prompt_tokens_details": {"cached_tokens": scene.cached, "cache_write_tokens": scene.written},
        "completion_tokens_details": {"reasoning_tokens": scene.reasoning},
    }


def chat_finish(scene: Scene) -> str:
    return "length" if scene.cut else "tool_calls" if scene.calls else "stop"


def chat_calls(scene: Scene) -> list[dict[str, Any]]:
    return [
        {"id": id, "type": "function", "function": {"name": name, "arguments": given}}
        for id, name, given in scene.calls
    ]


def chat_citation(scene: Scene) -> dict[str, Any]:
    place = {"url": scene.citation, "title": "Weather", "start_index": 0, "end_index": 2}
    return {"annotations": [{"type": "url_citation", "url_citation": place}]} if scene.citation else {}


def chat_whole(scene: Scene) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": scene.text or None, "refusal": scene.refusal or None}
    message |= {"annotations": []} | chat_citation(scene)
    if scene.thinking:
        message["reasoning_content"] = scene.thinking
    if scene.calls:
        message["tool_calls"] = chat_calls(scene)
    choice = {"index": 0, "message": message, "finish_reason": chat_finish(scene), "logprobs": None}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
    return head | {"choices": [choice], "usage": chat_usage(scene)}


def chat_stream(scene: Scene) -> Iterator[Event]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> Event:
        return None, head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""})
    for name, text in (("reasoning_content", scene.thinking), ("content", scene.text), ("refusal", scene.refusal)):
        for piece in pieces(text) if text else ():
            yield chunk({name: piece})
    if scene.citation:
        yield chunk(chat_citation(scene))
    for number, call in enumerate(chat_calls(scene)):
        first, second = pieces(call["function"]["arguments"])
        begun = call | {"function": call["function"] | {"arguments": first}}
        yield chunk({"tool_calls": [{"index": number} | begun]})
        yield chunk({"tool_calls": [{"index": number, "function": {"arguments": second}}]})
    yield chunk({}, chat_finish(scene))
    yield None, head | {"choices": [], "usage": chat_usage(scene)}
    yield None, "[DONE]"


# -- Messages ---------------------------------------------------------------------------------------------------


def messages_usage(scene: Scene) -> dict[str, Any]:
    return {
        "input_tokens": scene.input,
        "cache_read_input_tokens": scene.cached,
        "cache_creation_input_tokens": scene.written,
        "cache_creation": {"ephemeral_5m_input_tokens": scene.written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": scene.output + scene.reasoning,
        "output_tokens_details": {"thinking_tokens": scene.reasoning},
        "server_tool_use": {"web_search_requests": scene.searches, "web_fetch_requests": 0} if scene.searches else None,
        "inference_geo": None,
        "service_tier": "standard",
    }


def messages_blocks(scene: Scene) -> Iterator[dict[str, Any]]:
    if scene.thinking:
        yield {"type": "thinking", "thinking": scene.thinking, "signature": scene.seal}
    for number in range(scene.searches):
        id = f"srvtoolu_{number}"
        yield {"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": "weather"}}
        page = {"type": "web_search_result", "url": scene.citation, "title": "Weather", "encrypted_content": "e"}
        yield {"type": "web_search_tool_result", "tool_use_id": id, "content": [page | {"page_age": None}]}
    text = scene.text or scene.refusal
    cited = {"type": "web_search_result_location", "url": scene.citation, "title": "Weather"} | {
        "cited_text": "It",
        "encrypted_index": "e",
    }
    yield {"type": "text", "text": text, "citations": [cited] if scene.citation else []}
    for id, name, given in scene.calls:
        made = {"type": "tool_use", "id": id, "name": name, "input": json.loads(given)}
        yield made | {"caller": {"type": "direct"}}


def messages_reason(scene: Scene) -> str:
    if scene.refusal:
        return "refusal"
    if scene.pauses:
        return "pause_turn"
    return "max_tokens" if scene.cut else "tool_use" if scene.calls else "end_turn"


def messages_whole(scene: Scene) -> dict[str, Any]:
    head: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_sequence": None}
    head |= {"stop_details": None, "container": None}
    content = list(messages_blocks(scene))
    return head | {"content": content, "stop_reason": messages_reason(scene), "usage": messages_usage(scene)}


def messages_stream(scene: Scene) -> Iterator[Event]:
    def event(kind: str, **fields: Any) -> Event:
        return kind, {"type": kind, **fields}

    start = messages_whole(scene) | {"content": [], "stop_reason": None}
    yield event("message_start", message=start | {"usage": messages_usage(scene) | {"output_tokens": 1}})
    yield event("ping")
    empty: dict[str, Any]
    for number, block in enumerate(messages_blocks(scene)):
        match block["type"]:
            case "thinking":
                empty = {"thinking": "", "signature": ""}
                deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
            case "text":
                empty = {"text": "", "citations": []}
                deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
                deltas += [{"type": "citations_delta", "citation": one} for one in block["citations"]]
            case "web_search_tool_result":
                empty, deltas = {}, []
            case _:
                empty = {"input": {}}
                given = pieces(json.dumps(block["input"]))
                deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in given]
        yield event("content_block_start", index=number, content_block=block | empty)
        for delta in deltas:
            yield event("content_block_delta", index=number, delta=delta)
        yield event("content_block_stop", index=number)
    ended = {"stop_reason": messages_reason(scene), "stop_sequence": None}
    begun = ("cache_creation", "inference_geo", "service_tier")
    last = {name: value for name, value in messages_usage(scene).items() if name not in begun}
    yield event("message_delta", delta=ended, usage=last)
    yield event("message_stop")


# -- generateContent --------------------------------------------------------------------------------------------


def gemini_parts(scene: Scene) -> Iterator[dict[str, Any]]:
    for piece in pieces(scene.thinking) if scene.thinking else ():
        yield {"text": piece, "thought": True}
    if scene.text:
        for piece in pieces(scene.text):
            yield {"text": piece}
    for number, (id, name, given) in enumerate(scene.calls):
        signed = {} if number else {"thoughtSignature": "U0lHTkVE"}
        yield {"functionCall": {"id": id, "name": name, "args": json.loads(given)}} | signed
    if scene.seal:
        yield {"text": "", "thoughtSignature": scene.seal}


def gemini_payload(scene: Scene, parts: list[dict[str, Any]], *, last: bool) -> dict[str, Any]:
    usage = {"promptTokenCount": scene.input + scene.cached, "totalTokenCount": scene.input + scene.cached}
    candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": parts}}
    if last:
        candidate["finishReason"] = "MAX_TOKENS" if scene.cut else "SAFETY" if scene.refusal else "STOP"
        usage |= {"cachedContentTokenCount": scene.cached, "candidatesTokenCount": scene.output}
        usage |= {"thoughtsTokenCount": scene.reasoning}
        usage["totalTokenCount"] += scene.output + scene.reasoning
        if scene.citation:
            segment = {"startIndex": 0, "endIndex": 2, "text": "It"}
            candidate["groundingMetadata"] = {
                "webSearchQueries": ["weather"] * scene.searches,
                "groundingChunks": [{"web": {"uri": scene.citation, "title": "Weather"}}],
                "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}],
            }
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r1"}


def gemini_whole(scene: Scene) -> dict[str, Any]:
    return gemini_payload(scene, list(gemini_parts(scene)), last=True)


def gemini_stream(scene: Scene) -> Iterator[Event]:
    for part in gemini_parts(scene):
        yield None, gemini_payload(scene, [part], last=False)
    yield None, gemini_payload(scene, [{"text": ""}], last=True)


# -- Responses --------------------------------------------------------------------------------------------------


def responses_usage(scene: Scene) -> dict[str, Any]:
    given, made = scene.input + scene.cached + scene.written, scene.output + scene.reasoning
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": scene.cached, "cache_write_tokens": scene.written},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": scene.reasoning},
        "total_tokens": given + made,
    }


def responses_items(scene: Scene) -> Iterator[dict[str, Any]]:
    for number in range(scene.searches):
        action = {"type": "search", "query": "weather"}
        yield {"id": f"ws_{number}", "type": "web_search_call", "status": "completed", "action": action}
    if scene.thinking:
        summary = [{"type": "summary_text", "text": scene.thinking}]
        yield {"id": "rs_1", "type": "reasoning", "summary": summary, "encrypted_content": scene.seal}
    cited = {"type": "url_citation", "url": scene.citation, "title": "Weather", "start_index": 0, "end_index": 2}
    part: dict[str, Any] = {"type": "output_text", "text": scene.text, "logprobs": []}
    part["annotations"] = [cited] if scene.citation else []
    if scene.refusal:
        part = {"type": "refusal", "refusal": scene.refusal}
    yield {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    for id, name, given in scene.calls:
        own = {"call_id": id, "name": name, "arguments": given, "status": "completed"}
        yield {"id": f"fc_{id}", "type": "function_call"} | own


def responses_whole(scene: Scene) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "completed_at": None if scene.cut else 2,
        "model": "m",
        "status": "incomplete" if scene.cut else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if scene.cut else None,
        **dict.fromkeys(("error", "instructions", "max_output_tokens", "max_tool_calls", "previous_response_id")),
        **dict.fromkeys(("prompt_cache_key", "safety_identifier")),
        **dict.fromkeys(("frequency_penalty", "presence_penalty"), 0.0),
        **dict.fromkeys(("temperature", "top_p"), 1.0),
        **dict.fromkeys(("background", "store"), False),
        "metadata": {},
        "parallel_tool_calls": True,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "truncation": "disabled",
        "output": list(responses_items(scene)),
        "usage": responses_usage(scene),
    }


def responses_stream(scene: Scene) -> Iterator[Event]:
    numbers = iter(range(1_000))

    def event(kind: str, **fields: Any) -> Event:
        return f"response.{kind}", {"type": f"response.{kind}", "sequence_number": next(numbers), **fields}

    started = responses_whole(scene) | {
        "status": "in_progress",
        "output": [],
        "usage": None,
        "incomplete_details": None,
    }
    yield event("created", response=started)
    yield event("in_progress", response=started)
    for place, item in enumerate(responses_items(scene)):
        at = {"item_id": item["id"], "output_index": place}
        match item["type"]:
            case "reasoning":
                yield event("output_item.added", output_index=place, item=item | {"summary": []})
                where = at | {"summary_index": 0}
                yield event("reasoning_summary_part.added", part={"type": "summary_text", "text": ""}, **where)
                for piece in pieces(scene.thinking):
                    yield event("reasoning_summary_text.delta", delta=piece, **where)
                yield event("reasoning_summary_text.done", text=scene.thinking, **where)
                yield event("reasoning_summary_part.done", part=item["summary"][0], **where)
            case "web_search_call":
                yield event("output_item.added", output_index=place, item=item | {"status": "in_progress"})
                yield event("web_search_call.completed", **at)
            case "message":
                yield event("output_item.added", output_index=place, item=item | {"content": []})
                yield from responses_part(event, item["content"][0], at | {"content_index": 0})
            case _:
                yield event("output_item.added", output_index=place, item=item | {"arguments": ""})
                for piece in pieces(item["arguments"]):
                    yield event("function_call_arguments.delta", delta=piece, **at)
                yield event("function_call_arguments.done", arguments=item["arguments"], **at)
        yield event("output_item.done", output_index=place, item=item)
    yield event("incomplete" if scene.cut else "completed", response=responses_whole(scene))


def responses_part(event: Any, part: dict[str, Any], where: dict[str, Any]) -> Iterator[Event]:
    name = "text" if part["type"] == "output_text" else "refusal"
    more: dict[str, Any] = {"logprobs": []} if name == "text" else {}
    yield event("content_part.added", part=part | {name: ""}, **where)
    for piece in pieces(part[name]):
        yield event(f"{part['type']}.delta", delta=piece, **more, **where)
    for number, cited in enumerate(part.get("annotations") or ()):
        yield event("output_text.annotation.added", annotation=cited, annotation_index=number, **where)
    yield event(f"{part['type']}.done", **{name: part[name]}, **more, **where)
    yield event("content_part.done", part=part, **where)


TOLD: Final[Mapping[str, tuple[Any, Any]]] = {
    "openai-chat": (chat_whole, chat_stream),
    "anthropic": (messages_whole, messages_stream),
    "gemini": (gemini_whole, gemini_stream),
    "openai-responses": (responses_whole, responses_stream),
}
