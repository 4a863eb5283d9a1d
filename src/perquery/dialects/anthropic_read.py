"""Anthropic's answers as chat form, or as they are with the figures noted. Pure.

It must never sum usage within a turn: figures come split over two events, and the later one counts. Those of turns
that were paused and taken up again add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from perquery.calls import INPUT_UNITS, Event, Unit, Usage
from perquery.dialects.anthropic_turns import said
from perquery.dialects.reading import chat_usage, count_in, delivered, head, number_entries, object_in
from perquery.dialects.thoughts import ANTHROPIC

FINISHES: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "length",  # a turn that nobody takes up again is not a whole one
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class Reader:
    """One stream's events. native: they are wanted as they come. pauses: the end of a turn that the upstream paused is
    held back until `resume` or `end`.
    """

    def __init__(self, *, native: bool, pauses: bool = False) -> None:
        self._native = native
        self._pauses = pauses
        self._turns: list[Mapping[Unit, int]] = []  # of this answer that are over
        self._told: list[Mapping[str, Any]] = []  # the events of the turn, where it may be paused
        self.paused: Usage | None = None  # what a paused turn used
        self._usage: dict[str, Any] = {}
        self._head = head()
        self._calls: dict[int, int] = {}  # a block's index → the number of its tool call
        self._called = 0
        self._before: dict[Unit, int] = {}  # what the turns before have used
        self._given: dict[Unit, int] = {}  # what has been used so far, as far as it is known
        self._counts: dict[str, int] = {}  # of the entries of lists
        self._said = 0  # characters of text so far
        self._block_at = 0  # where in them the open block begins
        self.finished = False

    def feed(self, data: bytes, payload: Mapping[str, Any]) -> list[Event]:
        """The events of one payload; an `error` is the caller's of this to look at first."""
        kind = payload.get("type")
        usage, finish, delta, given = None, None, None, None
        if self._pauses:
            self._told.append(payload)
        if kind == "message_start":
            message = object_in(payload, "message")
            self._merge(object_in(message, "usage"))
            given = self._given = _added(self._before, _given(usage_of(self._usage)))
            self._head |= {name: message[name] for name in ("id", "model") if message.get(name) and not self._turns}
            delta = {} if self._turns else {"role": "assistant", "content": ""}
        elif kind == "message_delta":
            self._merge(object_in(payload, "usage"))
            reason = str(object_in(payload, "delta").get("stop_reason"))
            self.finished = True
            if reason == "pause_turn" and self._pauses:
                self.paused = usage_of(self._usage) or Usage({})
                return []
            usage, finish = self._total(), FINISHES.get(reason, "stop")
            delta = {}
        elif kind == "content_block_start":
            block = object_in(payload, "content_block")
            delta = self._begun(payload.get("index") or 0, block)
            if block.get("type") == "server_tool_use" and block.get("name") == "web_search":
                self._given = self._given | {"search": self._given.get("search", 0) + 1}
                given, delta = self._given, {}
        elif kind == "content_block_delta":
            delta = self._delta(payload.get("index") or 0, object_in(payload, "delta"))
        if self._native:
            return [Event(data, delivered(delta), dict(payload), usage, finish, given=given)]
        return [self._chunk(delta, usage, finish, given)] if delta is not None else []

    def said(self) -> list[dict[str, Any]]:
        """The blocks of the turn that is paused."""
        return said(self._told)

    def resume(self) -> None:
        """What comes next goes on with the turn that is paused."""
        self._turns.append(self.paused.counts if self.paused is not None else {})
        searched = sum(counts.get("search", 0) for counts in self._turns)
        self._before = _added(*map(_inputs, self._turns)) | ({"search": searched} if searched else {})
        self._usage, self._told, self.paused, self.finished = {}, [], None, False

    def end(self) -> list[Event]:
        """The end of an answer whose last turn stays paused."""
        return [self._chunk({}, self._total(), FINISHES["pause_turn"], None)]

    def _total(self) -> Usage | None:
        """The figures of the whole answer."""
        last = usage_of(self._usage)
        if not self._turns or last is None:
            return last
        turns = (*self._turns, last.counts)
        return Usage(_added(*turns), turns=turns)

    def _merge(self, usage: Mapping[str, Any]) -> None:
        self._usage |= {name: value for name, value in usage.items() if value is not None}

    def _chunk(
        self, delta: dict[str, Any], usage: Usage | None, finish: str | None, given: dict[Unit, int] | None
    ) -> Event:
        number_entries(delta, self._counts)
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        chunk: dict[str, Any] = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        if usage is not None:
            chunk["usage"] = chat_usage(usage)
        return Event(orjson.dumps(chunk), delivered(delta), chunk, usage, finish, given=given)

    def _begun(self, index: int, block: Mapping[str, Any]) -> dict[str, Any] | None:
        match block.get("type"):
            case "tool_use":
                number = self._calls[index] = self._called
                self._called += 1
                function = {"name": block.get("name"), "arguments": ""}
                call = {"index": number, "id": block.get("id"), "type": "function", "function": function}
                return {"tool_calls": [call]}
            case "redacted_thinking":
                detail = {"type": "reasoning.encrypted", "data": block.get("data"), "format": ANTHROPIC}
                return {"reasoning_details": [detail]}
            case "text":
                self._block_at = self._said
                return self._text(block.get("text")) if block.get("text") else None
        return None

    def _text(self, text: Any) -> dict[str, Any]:
        self._said += len(text or "")
        return {"content": text or ""}

    def _delta(self, index: int, delta: Mapping[str, Any]) -> dict[str, Any] | None:
        match delta.get("type"):
            case "text_delta":
                return self._text(delta.get("text"))
            case "thinking_delta":
                text = delta.get("thinking") or ""
                detail = {"type": "reasoning.text", "text": text, "format": ANTHROPIC}
                return {"reasoning_content": text, "reasoning_details": [detail]}
            case "signature_delta":
                detail = {"type": "reasoning.text", "signature": delta.get("signature"), "format": ANTHROPIC}
                return {"reasoning_details": [detail]}
            case "input_json_delta" if index in self._calls:
                function = {"arguments": delta.get("partial_json") or ""}
                return {"tool_calls": [{"index": self._calls[index], "function": function}]}
            case "citations_delta":
                found = annotation(object_in(delta, "citation"), self._block_at, self._said)
                return {"annotations": [found]} if found else None
        return None


def _given(usage: Usage | None) -> dict[Unit, int]:
    """The input, which Anthropic counts before it answers: what a stream that is cut short is billed by."""
    found = _inputs(usage.counts if usage is not None else {})
    return found if any(found.values()) else {}


def _inputs(counts: Mapping[Unit, int]) -> dict[Unit, int]:
    return {unit: count for unit, count in counts.items() if unit in INPUT_UNITS}


def _added(*turns: Mapping[Unit, int]) -> dict[Unit, int]:
    """The counts of several turns together."""
    total: dict[Unit, int] = {}
    for counts in turns:
        for unit, count in counts.items():
            total[unit] = total.get(unit, 0) + count
    return total


def completion(data: bytes, message: Mapping[str, Any], *, native: bool) -> Event:
    """A whole message as one event."""
    usage = usage_of(object_in(message, "usage"))
    finish = FINISHES.get(str(message.get("stop_reason")), "stop")
    made = _message(message.get("content"))
    size = delivered(made)
    if native:
        return Event(data, size, dict(message), usage, finish, None, True)
    named = {"id": message.get("id") or "", "object": "chat.completion", "model": message.get("model") or ""}
    choice = {"index": 0, "message": {"role": "assistant"} | made, "finish_reason": finish, "logprobs": None}
    parsed = head() | named | {"choices": [choice]} | ({"usage": chat_usage(usage)} if usage else {})
    return Event(orjson.dumps(parsed), size, parsed, usage, finish, None, True)


def _message(content: Any) -> dict[str, Any]:
    texts: list[str] = []
    made: dict[str, Any] = {"content": None, "refusal": None, "annotations": []}
    for block in content if isinstance(content, list) else ():
        match block.get("type"):
            case "text":
                start = sum(map(len, texts))
                texts.append(block.get("text") or "")
                end = start + len(texts[-1])
                found = [one for each in block.get("citations") or () if (one := annotation(each, start, end))]
                made["annotations"] += found
            case "thinking":
                detail = {"type": "reasoning.text", "text": block.get("thinking"), "format": ANTHROPIC}
                detail |= {"signature": block["signature"]} if block.get("signature") else {}
                made.setdefault("reasoning_details", []).append(detail)
                made["reasoning_content"] = made.get("reasoning_content", "") + (block.get("thinking") or "")
            case "redacted_thinking":
                detail = {"type": "reasoning.encrypted", "data": block.get("data"), "format": ANTHROPIC}
                made.setdefault("reasoning_details", []).append(detail)
            case "tool_use":
                function = {"name": block.get("name"), "arguments": orjson.dumps(block.get("input") or {}).decode()}
                call = {"id": block.get("id"), "type": "function", "function": function}
                made.setdefault("tool_calls", []).append(call)
    if texts:
        made["content"] = "".join(texts)
    return made


def usage_of(found: Mapping[str, Any]) -> Usage | None:
    """Anthropic's figures as buckets: its input excludes what the cache read and took."""
    if not found or count_in(found, "output_tokens") is None:
        return None
    written, split = count_in(found, "cache_creation_input_tokens") or 0, object_in(found, "cache_creation")
    long = min(written, count_in(split, "ephemeral_1h_input_tokens") or 0)
    output = count_in(found, "output_tokens") or 0
    thought = min(output, count_in(object_in(found, "output_tokens_details"), "thinking_tokens") or 0)
    counts: dict[Unit, int] = {"input": count_in(found, "input_tokens") or 0, "output": output - thought}
    others: dict[Unit, int] = {
        "cache_read": count_in(found, "cache_read_input_tokens") or 0,
        "cache_write_5m": written - long,
        "cache_write_1h": long,
        "reasoning": thought,
        "search": count_in(object_in(found, "server_tool_use"), "web_search_requests") or 0,
    }
    return Usage(counts | {unit: count for unit, count in others.items() if count})


def annotation(citation: Any, start: int, end: int) -> dict[str, Any] | None:
    """A citation as chat has it; start, end: of the text that rests on it, in characters, as far as it has come."""
    if not isinstance(citation, dict) or not citation.get("url"):
        return None
    found = {"url": citation["url"], "title": citation.get("title") or "", "content": citation.get("cited_text") or ""}
    found |= {"start_index": start, "end_index": end}
    return {"type": "url_citation", "url_citation": found}
