"""OpenAI Chat Completions at the caller's side: an answer's events as chunks, its end, and whole answers.

Chat form is the internal form too, so events pass as they are. Pure; it must never hold text back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from perquery import money
from perquery.calls import Call, Event, Figures
from perquery.errors import PerQueryError, body_in

DONE: Final = b"data: [DONE]\n\n"
_CHUNK_ONLY_NULL: Final = b',"usage":null'
_COSTS: Final = frozenset({"cost", "cost_details", "is_byok"})  # of the upstream's own


class ChatWriter:
    """A `calls.Writer`: one answer to a caller who speaks Chat Completions."""

    def __init__(self, call: Call, id: str) -> None:
        self._call = call
        self._like: dict[str, Any] | None = None

    def begin(self, *, native: bool) -> None:
        """Both are the same here."""

    def event(self, event: Event) -> bytes:
        parsed = event.parsed
        if self._like is None:
            self._like = parsed
        if event.usage is not None and parsed is not None:
            return without_usage(parsed) or b""
        return relayed(event.data, wants_usage=self._call.wants_usage)

    def tail(self, figures: Figures, *, cut: bool) -> bytes:
        end = finish_chunk(self._like, "length") if cut else b""
        if self._call.wants_usage:
            end += chunk(self._like, [], usage=usage_object(figures))
        else:
            end += comment(figures.comment)
        return end + DONE

    def whole(self, answer: dict[str, Any], figures: Figures, *, cut: bool) -> bytes:
        return money.json(answer | {"usage": usage_object(figures)})

    def broken(self, error: PerQueryError) -> bytes:
        return error_chunk(self._like, error)


def frame(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def comment(text: str) -> bytes:
    return b": " + text.encode() + b"\n\n"


def relayed(data: bytes, *, wants_usage: bool) -> bytes:
    """One upstream chunk as the caller gets it. Upstreams are always asked for usage, which puts a null into
    every chunk; a caller who did not ask sees none of it. (Inside a JSON string the quotes would be escaped.)
    """
    if not wants_usage:
        data = data.replace(_CHUNK_ONLY_NULL, b"")
    return b"data: " + data + b"\n\n"


def without_usage(chunk: Mapping[str, Any]) -> bytes | None:
    """A chunk without its usage, which is sent apart once it is settled; None where nothing else is in it."""
    if not chunk.get("choices"):
        return None
    return frame(orjson.dumps({name: value for name, value in chunk.items() if name != "usage"}))


def usage_object(figures: Figures) -> dict[str, Any]:
    """The upstream's usage object without its own cost figures, or one made of our counts; our cost in it."""
    upstream, counts = figures.upstream, figures.counts
    if upstream is None:
        given, made = counts.get("input", 0), counts.get("output", 0)
        upstream = {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
    if not _COSTS.isdisjoint(upstream):
        upstream = {name: value for name, value in upstream.items() if name not in _COSTS}
    return upstream | figures.cost


def chunk(like: Mapping[str, Any] | None, choices: list[dict[str, Any]], **fields: Any) -> bytes:
    """A chunk of our own in the stream that `like` belongs to."""
    head = {"id": "", "object": "chat.completion.chunk", "created": 0, "model": ""}
    if like:
        head |= {name: like[name] for name in ("id", "created", "model") if name in like}
    return frame(money.json(head | {"choices": choices} | fields))


def finish_chunk(like: Mapping[str, Any] | None, reason: str) -> bytes:
    return chunk(like, [{"index": 0, "delta": {}, "finish_reason": reason}])


def error_chunk(like: Mapping[str, Any] | None, error: PerQueryError) -> bytes:
    """A failure after the stream began: SDKs raise on a top-level `error` with its text."""
    return chunk(like, [{"index": 0, "delta": {}, "finish_reason": "error"}], **body_in(error, "openai")) + DONE


def as_chunk(completion: dict[str, Any], event: Event) -> Event:
    """A whole answer of an upstream that does not stream, as one chunk for a caller who asked for a stream."""
    choices = []
    for choice in completion.get("choices") or ():
        part = {name: value for name, value in choice.items() if name != "message"}
        choices.append(part | {"delta": choice.get("message") or {}})
    parsed = {"object": "chat.completion.chunk", "choices": choices}
    parsed |= {name: completion[name] for name in ("id", "created", "model") if name in completion}
    return Event(orjson.dumps(parsed), event.text_bytes, parsed, finish=event.finish)
