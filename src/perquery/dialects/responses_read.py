"""OpenAI Responses' answers as chat form, or as they are with the figures noted. Pure.

It must never take a stream for ended before the upstream's own last event, which alone carries usage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from perquery.calls import Event, Unit, Usage
from perquery.dialects.reading import (
    chat_usage,
    count_in,
    delivered,
    head,
    number_entries,
    object_in,
    objects_in,
    split,
    text_in,
)
from perquery.dialects.thoughts import RESPONSES

LAST: Final = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
_TEXTS: Final[Mapping[str, str]] = {
    "response.output_text.delta": "content",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "reasoning_content",
    "response.reasoning_text.delta": "reasoning_content",
}
_ARGUMENTS: Final = ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta")


@dataclass(slots=True)
class _Open:
    """A tool call that has begun. begun: whether any of its arguments have come."""

    number: int
    custom: bool
    begun: bool


class Reader:
    """One stream's events. native: they are wanted as they come."""

    def __init__(self, *, native: bool) -> None:
        self._native = native
        self._head = head()
        self._calls: dict[Any, _Open] = {}  # by the item's place in the output
        self._searches = 0
        self._counts: dict[str, int] = {}  # of the entries of lists
        self.finished = False

    def feed(self, data: bytes, payload: Mapping[str, Any]) -> list[Event]:
        """The events of one payload; a failure is the caller's of this to look at first."""
        kind = str(payload.get("type"))
        usage, finish, logprobs = None, None, None
        delta: dict[str, Any] | None = None
        given: dict[Unit, int] | None = None
        if kind in LAST:
            response = object_in(payload, "response")
            usage, finish = usage_of(response), _finish(response, called=bool(self._calls))
            self.finished = True
            delta = {}
        elif kind in _TEXTS:
            text = payload.get("delta")
            delta = {_TEXTS[kind]: text} if isinstance(text, str) and text else None
            logprobs = payload.get("logprobs") or None
        elif kind in _ARGUMENTS:
            delta = self._arguments(payload.get("output_index"), payload.get("delta"))
        elif kind == "response.created":
            self._begin(object_in(payload, "response"))
            delta = {"role": "assistant", "content": ""}
        elif kind == "response.output_item.added":
            delta = self._begun(payload.get("output_index"), object_in(payload, "item"))
        elif kind == "response.output_item.done":
            item = object_in(payload, "item")
            delta = self._done(payload.get("output_index"), item)
            if _is_search(item):  # billed there also where the stream is cut short
                self._searches += 1
                given, delta = {"search": self._searches}, {}
        elif kind == "response.output_text.annotation.added":
            found = annotation(payload.get("annotation"))
            delta = {"annotations": [found]} if found else None
        elif kind == "response.reasoning_summary_part.added" and payload.get("summary_index"):
            delta = {"reasoning_content": "\n\n"}  # between two parts
        if self._native:
            return [Event(data, delivered(delta), dict(payload), usage, finish, given=given)]
        if delta is None:
            return []
        event = self._chunk(delta, usage, finish, logprobs)
        event.given = given
        return [event]

    def _begin(self, response: Mapping[str, Any]) -> None:
        self._head |= {name: response[name] for name in ("id", "model") if isinstance(response.get(name), str)}

    def _chunk(self, delta: dict[str, Any], usage: Usage | None, finish: str | None, logprobs: Any) -> Event:
        number_entries(delta, self._counts)
        choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": finish}
        if logprobs:
            choice["logprobs"] = {"content": logprobs, "refusal": None}
        chunk: dict[str, Any] = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        if usage is not None:
            chunk["usage"] = chat_usage(usage)
        return Event(orjson.dumps(chunk), delivered(delta), chunk, usage, finish)

    def _begun(self, place: Any, item: Mapping[str, Any]) -> dict[str, Any] | None:
        made = _call(item)
        if made is None:
            return None
        opened = _Open(len(self._calls), item["type"] == "custom_tool_call", bool(_given(item)))
        self._calls[place] = opened
        return {"tool_calls": [{"index": opened.number, **made}]}

    def _arguments(self, place: Any, more: Any) -> dict[str, Any] | None:
        opened = self._calls.get(place)
        if opened is None or not isinstance(more, str) or not more:
            return None
        opened.begun = True
        piece = {"custom": {"input": more}} if opened.custom else {"function": {"arguments": more}}
        return {"tool_calls": [{"index": opened.number, **piece}]}

    def _done(self, place: Any, item: Mapping[str, Any]) -> dict[str, Any] | None:
        """What only the whole item says: a thought's seal; arguments, of servers that send no pieces of them."""
        if item.get("type") == "reasoning":
            details = _details(item)
            return {"reasoning_details": details} if details else None
        if place not in self._calls:
            return self._begun(place, item)
        return None if self._calls[place].begun else self._arguments(place, _given(item))


def completion(data: bytes, response: Mapping[str, Any], *, native: bool) -> Event:
    """A whole response as one event."""
    made, logprobs = _message(response)
    usage, finish = usage_of(response), _finish(response, called="tool_calls" in made)
    size = delivered(made)
    if native:
        return Event(data, size, dict(response), usage, finish, None, True)
    named = {name: response[name] for name in ("id", "model") if isinstance(response.get(name), str)}
    held = {"content": logprobs, "refusal": None} if logprobs else None
    choice = {"index": 0, "message": {"role": "assistant"} | made, "finish_reason": finish, "logprobs": held}
    parsed = head() | named | {"object": "chat.completion", "choices": [choice]}
    if usage is not None:
        parsed["usage"] = chat_usage(usage)
    return Event(orjson.dumps(parsed), size, parsed, usage, finish, None, True)


def _message(response: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """(A message, log probabilities) of the items of a response."""
    made: dict[str, Any] = {"content": None, "refusal": None, "annotations": []}
    texts: dict[str, list[str]] = {"content": [], "refusal": [], "reasoning_content": []}
    logprobs: list[Any] = []
    for item in objects_in(response, "output"):
        if item.get("type") == "message":
            for part in objects_in(item, "content"):
                name = "refusal" if part.get("type") == "refusal" else "content"
                texts[name].append(text_in(part, "refusal" if name == "refusal" else "text"))
                made["annotations"] += [found for one in objects_in(part, "annotations") if (found := annotation(one))]
                logprobs += objects_in(part, "logprobs")
        elif item.get("type") == "reasoning":
            parts = [text_in(part, "text") for part in objects_in(item, "summary") or objects_in(item, "content")]
            texts["reasoning_content"].append("\n\n".join(parts))
            made.setdefault("reasoning_details", []).extend(_details(item))
        elif call := _call(item):
            made.setdefault("tool_calls", []).append(call)
    made |= {name: "".join(found) for name, found in texts.items() if any(found)}
    return made, logprobs


def _call(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """A call's item as a tool call, with as much of its arguments as is there."""
    name = text_in(item, "name")
    id = text_in(item, "call_id") or text_in(item, "id")
    if item.get("type") == "function_call":
        return {"id": id, "type": "function", "function": {"name": name, "arguments": _given(item)}}
    if item.get("type") == "custom_tool_call":
        return {"id": id, "type": "custom", "custom": {"name": name, "input": _given(item)}}
    return None


def _given(item: Mapping[str, Any]) -> str:
    return text_in(item, "input" if item.get("type") == "custom_tool_call" else "arguments")


def _details(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A thought that can be sent back: its summaries, then its seal. Nothing without the seal."""
    if not (sealed := text_in(item, "encrypted_content")):
        return []
    named = {"format": RESPONSES, "id": item.get("id")}
    parts = [text_in(part, "text") for part in objects_in(item, "summary")]
    made = [{"type": "reasoning.summary", "summary": text, **named} for text in parts]
    return [*made, {"type": "reasoning.encrypted", "data": sealed, **named}]


def annotation(found: Any) -> dict[str, Any] | None:
    """A citation as chat has it."""
    if not isinstance(found, dict) or found.get("type") != "url_citation" or not found.get("url"):
        return None
    place = {name: count_in(found, name) or 0 for name in ("start_index", "end_index")}
    return {"type": "url_citation", "url_citation": {"url": found["url"], "title": text_in(found, "title"), **place}}


def _finish(response: Mapping[str, Any], *, called: bool) -> str:
    if response.get("status") == "incomplete":
        reason = object_in(response, "incomplete_details").get("reason")
        return "content_filter" if reason == "content_filter" else "length"
    return "tool_calls" if called else "stop"


# -- usage ------------------------------------------------------------------------------------------------------


def usage_of(response: Mapping[str, Any]) -> Usage | None:
    """Responses' figures as buckets: its input includes what was cached, its output the thinking."""
    found = object_in(response, "usage")
    given, made = count_in(found, "input_tokens"), count_in(found, "output_tokens")
    if given is None or made is None:
        return None
    inside, outside = object_in(found, "input_tokens_details"), object_in(found, "output_tokens_details")
    counts: dict[Unit, int] = {}
    given = split(counts, given, [
        ("cache_read", count_in(inside, "cached_tokens")),
        ("cache_write_5m", count_in(inside, "cache_write_tokens") or count_in(inside, "cache_creation_input_tokens")),
        ("audio_input", count_in(inside, "audio_tokens")),
        ("image_input", count_in(inside, "image_tokens")),
    ])  # fmt: skip
    counts["input"] = given
    counts["output"] = split(counts, made, [
        ("reasoning", count_in(outside, "reasoning_tokens")),
        ("audio_output", count_in(outside, "audio_tokens")),
        ("image_output", count_in(outside, "image_tokens")),
    ])  # fmt: skip
    if searches := _searches(response, found):
        counts["search"] = searches
    return Usage(counts)


def _searches(response: Mapping[str, Any], found: Mapping[str, Any]) -> int:
    """Searches of the upstream's own: its figure (Perplexity's, xAI's), else the items that are searches."""
    by_tool = object_in(object_in(found, "tool_calls_details"), "search_web")
    counted = count_in(by_tool, "invocation")
    if counted is None:
        counted = count_in(object_in(found, "server_side_tool_usage_details"), "web_search_calls")
    if counted is not None:
        return counted
    return sum(map(_is_search, objects_in(response, "output")))


def _is_search(item: Mapping[str, Any]) -> bool:
    """Whether an item is a search, and not the reading of a page that one found."""
    return item.get("type") == "web_search_call" and object_in(item, "action").get("type", "search") == "search"
