"""Anthropic Messages at the caller's side: an answer as Anthropic's events, its end, and whole messages. Pure.

Every event has its `event:` line: SDKs print nothing without. What comes as Anthropic's own is relayed as it is, but
for the model's name and what carries usage. It must never have two blocks open at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from perquery import money
from perquery.calls import Call, Event, Figures
from perquery.dialects.fields import arguments_in
from perquery.dialects.thoughts import ANTHROPIC, joined, packed
from perquery.errors import PerQueryError, body_in

_REASONS: Final[Mapping[str, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_OUTPUTS: Final = ("output", "reasoning", "audio_output", "image_output")
_INPUTS: Final = ("input", "audio_input", "image_input")
_DIRECT: Final = {"type": "direct"}  # the model itself calls the tool
# No citations are an empty list: Anthropic's specification wants the field, Vercel's SDK takes no null in it.
_EMPTY: Final = {"type": "text", "text": "", "citations": []}
_USAGE: Final[dict[str, Any]] = {
    "input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation": None,
    "output_tokens": 0,
    "output_tokens_details": None,
    "server_tool_use": None,
    "inference_geo": None,
    "service_tier": "standard",
}
_BEGUN: Final = ("cache_creation", "inference_geo", "service_tier")  # of the usage only as a message begins


def frame(payload: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (payload["type"].encode(), money.json(payload))


class MessagesWriter:
    """A `calls.Writer`: one answer to a caller who speaks Messages."""

    def __init__(self, call: Call, id: str) -> None:
        self._call = call
        self._id = f"msg_{id.removeprefix('gen-')}"
        self._native = False
        self._started = False
        self._index = -1  # of the block that is, or was last, open
        self._open: str | None = None  # its kind; of a tool call with its number
        self._calls: dict[int, dict[str, Any]] = {}  # tool calls by number, with what waits of them
        self._live: int | None = None  # the call whose block is written as it comes
        self._signature = ""
        self._foreign: list[dict[str, Any]] = []  # other vendors' thinking that wants to come back
        self._reason: str | None = None
        self._refused = False
        self._end: dict[str, Any] = {}  # Anthropic's own message_delta, held back

    def begin(self, *, native: bool) -> None:
        self._native = native

    def event(self, event: Event) -> bytes:
        parsed = event.parsed if event.parsed is not None else orjson.loads(event.data)
        return self._relayed(event.data, parsed) if self._native else b"".join(self._translated(parsed))

    def _relayed(self, data: bytes, parsed: dict[str, Any]) -> bytes:
        kind = parsed.get("type")
        if kind == "message_delta":
            self._end = {**self._end, **parsed}
            return b""
        if kind == "message_stop":
            return b""
        if kind == "message_start":
            self._started = True
            data = orjson.dumps({**parsed, "message": self._named(parsed.get("message"))})
        elif kind == "content_block_start":
            self._index, self._open = parsed.get("index") or 0, "block"
        elif kind == "content_block_stop":
            self._open = None
        return b"event: %b\ndata: %b\n\n" % (str(kind).encode(), data)

    def _named(self, message: Any) -> dict[str, Any]:
        """Under the model's name as asked: Claude Code drops the thoughts of an answer that has another."""
        return {**(message if isinstance(message, dict) else {}), "model": self._call.model}

    # -- chunks → events ----------------------------------------------------------------------------------------

    def _translated(self, chunk: Mapping[str, Any]) -> Iterator[bytes]:
        if not self._started:
            yield self._start()
        for choice in (chunk.get("choices") or ())[:1]:
            delta = choice.get("delta") or {}
            yield from self._thought(delta)
            text = delta.get("content") or delta.get("refusal")
            if self._foreign and (text or delta.get("tool_calls")):
                yield from self._sealed()
            if isinstance(text, str) and text:
                yield from self._turn_to("text", _EMPTY)
                yield self._delta({"type": "text_delta", "text": text})
            for annotation in delta.get("annotations") or ():
                yield from self._cited(annotation)
            for call in delta.get("tool_calls") or ():
                yield from self._called(call)
            if delta.get("refusal"):
                self._refused = True
            if choice.get("finish_reason"):
                self._reason = _REASONS.get(choice["finish_reason"], "end_turn")

    def _start(self) -> bytes:
        self._started = True
        message = self._message([], None) | {"usage": _USAGE}
        return frame({"type": "message_start", "message": message})

    def _message(self, content: list[dict[str, Any]], reason: str | None) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._call.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "stop_details": None,
            "container": None,
        }

    def _turn_to(self, kind: str, block: dict[str, Any]) -> Iterator[bytes]:
        """Make sure that a block of this kind is the open one."""
        if self._open == kind:
            return
        yield from self._close()
        self._index += 1
        self._open = kind
        yield frame({"type": "content_block_start", "index": self._index, "content_block": block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return frame({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _close(self) -> Iterator[bytes]:
        if self._open is None:
            return
        if self._open == "thinking" and self._signature:
            yield self._delta({"type": "signature_delta", "signature": self._signature})
        self._signature = ""
        self._open = None
        yield frame({"type": "content_block_stop", "index": self._index})

    def _thought(self, delta: Mapping[str, Any]) -> Iterator[bytes]:
        """Thinking: its text once, under whichever name, and what has to come back with it."""
        text = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(text, str) and text:
            yield from self._turn_to("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            yield self._delta({"type": "thinking_delta", "thinking": text})
        details = delta.get("reasoning_details") or ()
        for detail in details:
            if detail.get("format") != ANTHROPIC:
                self._foreign.append(detail)
                continue
            if detail.get("type") == "reasoning.text":
                if detail.get("text") and not text:
                    yield from self._turn_to("thinking", {"type": "thinking", "thinking": "", "signature": ""})
                    yield self._delta({"type": "thinking_delta", "thinking": detail["text"]})
                if detail.get("signature"):
                    yield from self._turn_to("thinking", {"type": "thinking", "thinking": "", "signature": ""})
                    self._signature = detail["signature"]
                    yield from self._close()
            elif detail.get("type") == "reasoning.encrypted":
                yield from self._redacted(detail.get("data") or "")

    def _sealed(self) -> Iterator[bytes]:
        """Another vendor's thinking that wants to come back, in the place that Anthropic has for it."""
        foreign, self._foreign = self._foreign, []
        if data := packed(foreign, ANTHROPIC):
            yield from self._redacted(data)

    def _redacted(self, data: str) -> Iterator[bytes]:
        yield from self._turn_to("redacted", {"type": "redacted_thinking", "data": data})
        yield from self._close()

    def _cited(self, annotation: Mapping[str, Any]) -> Iterator[bytes]:
        if citation := _citation(annotation):
            yield from self._turn_to("text", _EMPTY)
            yield self._delta({"type": "citations_delta", "citation": citation})

    def _called(self, call: Mapping[str, Any]) -> Iterator[bytes]:
        """A piece of a tool call: the first call's at once; others may come interleaved and wait for the end."""
        number, function = call.get("index") or 0, call.get("function") or call.get("custom") or {}
        known = self._calls.get(number)
        if known is None:
            known = self._calls[number] = {"id": call.get("id") or f"toolu_{self._id[4:]}{number}", "waits": ""}
        if function.get("name"):
            known["name"] = function["name"]
        known["waits"] += function.get("arguments") or function.get("input") or ""
        if self._live is None and known.get("name"):
            self._live = number
        if self._live == number:
            yield from self._spoken(number, known)

    def _spoken(self, number: int, known: dict[str, Any]) -> Iterator[bytes]:
        block = {"type": "tool_use", "id": known["id"], "name": known["name"], "input": {}, "caller": _DIRECT}
        yield from self._turn_to(f"tool {number}", block)
        if known["waits"]:
            yield self._delta({"type": "input_json_delta", "partial_json": known["waits"]})
            known["waits"] = ""

    def _rest(self) -> Iterator[bytes]:
        """Close what is open, and say what waited behind it."""
        yield from self._close()
        yield from self._sealed()
        for number, known in self._calls.items():
            if number != self._live and known.get("name"):
                yield from self._spoken(number, known)
                yield from self._close()

    # -- ends ---------------------------------------------------------------------------------------------------

    def tail(self, figures: Figures, *, cut: bool) -> bytes:
        out = [] if self._started else [self._start()]
        if self._native:
            if self._open is not None:
                out.append(frame({"type": "content_block_stop", "index": self._index}))
            delta = (self._end.get("delta") or {}) | ({"stop_reason": "max_tokens"} if cut else {})
            native = self._end.get("usage") or {}
            end = {
                **self._end,
                "type": "message_delta",
                "delta": delta,
                "usage": _last_usage(figures) | native | figures.cost,
            }
        else:
            out += self._rest()
            delta = {"stop_reason": self._stop_reason(cut), "stop_sequence": None}
            end = {"type": "message_delta", "delta": delta, "usage": _last_usage(figures)}
        return b"".join((*out, frame(end), frame({"type": "message_stop"})))

    def _stop_reason(self, cut: bool) -> str:
        if cut or self._refused:
            return "max_tokens" if cut else "refusal"
        return self._reason or ("tool_use" if self._calls else "end_turn")

    def whole(self, answer: dict[str, Any], figures: Figures, *, cut: bool) -> bytes:
        if self._native:
            return money.json(
                self._named(answer) | {"usage": usage(figures) | (answer.get("usage") or {}) | figures.cost}
            )
        choice: dict[str, Any] = next(iter(answer.get("choices") or ()), {})
        message = choice.get("message") or {}
        told = "content_filter" if message.get("refusal") else choice.get("finish_reason") or "stop"
        reason = "max_tokens" if cut else _REASONS.get(told, "end_turn")
        content = list(_content(message))
        return money.json(self._message(content, reason) | {"usage": usage(figures)})

    def broken(self, error: PerQueryError) -> bytes:
        return frame(body_in(error, "anthropic", self._id))


def usage(figures: Figures) -> dict[str, Any]:
    """Anthropic's usage object, whose input counts exclude the cached ones; what it cost beside them."""
    counts = figures.counts
    short, long = counts.get("cache_write_5m", 0), counts.get("cache_write_1h", 0)
    found: dict[str, Any] = {
        "input_tokens": sum(counts.get(unit, 0) for unit in _INPUTS),
        "cache_creation_input_tokens": short + long,
        "cache_read_input_tokens": counts.get("cache_read", 0) + counts.get("audio_cache_read", 0),
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens": sum(counts.get(unit, 0) for unit in _OUTPUTS),
    }
    if searches := counts.get("search"):
        found["server_tool_use"] = {"web_search_requests": searches, "web_fetch_requests": 0}
    return _USAGE | found | figures.cost


def _last_usage(figures: Figures) -> dict[str, Any]:
    """The same at the end of a stream, where Anthropic says less."""
    return {name: value for name, value in usage(figures).items() if name not in _BEGUN}


def _content(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The blocks of a whole message: thinking, text, tool calls."""
    given = message.get("reasoning_details") or ()
    details = joined(given, ANTHROPIC)
    thought = message.get("reasoning_content") or message.get("reasoning")
    if not details and isinstance(thought, str) and thought:
        yield {"type": "thinking", "thinking": thought, "signature": ""}
    for detail in details:
        if detail["type"] == "reasoning.encrypted":
            yield {"type": "redacted_thinking", "data": detail.get("data") or ""}
        elif detail["type"] == "reasoning.text":
            signature = detail.get("signature") or ""
            yield {"type": "thinking", "thinking": detail.get("text") or "", "signature": signature}
    if foreign := packed(given, ANTHROPIC):
        yield {"type": "redacted_thinking", "data": foreign}
    text = message.get("content") or message.get("refusal")
    citations = [found for one in message.get("annotations") or () if (found := _citation(one))]
    if isinstance(text, str) and text:
        yield {"type": "text", "text": text, "citations": citations}
    for call in message.get("tool_calls") or ():
        function = call.get("function") or call.get("custom") or {}
        own = {"id": call.get("id"), "name": function.get("name"), "caller": _DIRECT}
        yield {"type": "tool_use", "input": arguments_in(function.get("arguments") or function.get("input")), **own}


def _citation(annotation: Mapping[str, Any]) -> dict[str, Any] | None:
    found = annotation.get("url_citation")
    if not isinstance(found, dict) or not found.get("url"):
        return None
    return {
        "type": "web_search_result_location",
        "url": found["url"],
        "title": found.get("title"),
        "cited_text": found.get("content") or "",
        "encrypted_index": "",
    }
