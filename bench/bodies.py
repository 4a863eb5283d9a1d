"""What caller and upstream say to each other in the benchmark: the requests, the plain answer, the events.

Bytes only, in OpenAI's published chat completion shapes; no I/O. Both sides of the benchmark read this one
module, so that the number of events and the form of the time stamp cannot differ between them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

PATH = "/v1/chat/completions"
MODEL = "stub-model"
GAP_MODEL = "stub-gap20"  # the same, 20 ms between events
GAP_MARK = b"gap20"
GAP_MS = 20
CHUNKS = 100
STAMP_DIGITS = 19
# The stamp stands in the text, the one part of an event that every gateway hands on.
STAMP = re.compile(rb"@(\d{%d})@" % STAMP_DIGITS)
COST = re.compile(rb'"cost":\s*[0-9]')

_ID = "chatcmpl-Bv2mGUvZ7QfX3yKq9sT1dWcR8hLnE"
_CREATED = 1_760_000_000
PROMPT_TOKENS = 87
_USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": CHUNKS,
    "total_tokens": PROMPT_TOKENS + CHUNKS,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
SYSTEM = (
    "You are a careful assistant. Answer in plain words, name what you do not know, and keep to the "
    "question that was asked."
)
QUESTION = "Why does a kettle get quieter just before the water boils? Two sentences, no formulas."
ANSWER = (
    "Small steam bubbles form on the hot floor of the kettle and collapse in the colder water above, which makes "
    "the hiss."
)


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def ask(*, stream: bool, model: str = MODEL) -> bytes:
    """A caller's JSON body. The cap of 256 output tokens is small, so that no gateway need watch it grow."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}],
        "temperature": 0.7,
        "max_tokens": 256,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return _compact(body)


def request(*, host: str, path: str, key: str, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """The whole HTTP/1.1 request."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"host: {host}",
        "content-type: application/json",
        "accept: */*",
        f"authorization: Bearer {key}",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def plain_reply() -> bytes:
    """The upstream's whole HTTP/1.1 response to a plain request: about 700 bytes of JSON, usage included."""
    message: dict[str, Any] = {"role": "assistant", "content": ANSWER, "refusal": None, "annotations": []}
    body = _compact(
        {
            "id": _ID,
            "object": "chat.completion",
            "created": _CREATED,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": _USAGE,
            "service_tier": "default",
            "system_fingerprint": None,
        }
    )
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def _event(data: bytes) -> bytes:
    """One event as one chunk of the chunked coding."""
    framed = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(framed), framed)


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    # With include_usage OpenAI puts `"usage":null` in every chunk but the last.
    return _compact(
        {
            "id": _ID,
            "object": "chat.completion.chunk",
            "created": _CREATED,
            "model": MODEL,
            "service_tier": "default",
            "system_fingerprint": None,
            "choices": [choice],
            "usage": None,
        }
    )


def stream_events() -> tuple[bytes, ...]:
    """The chunks of a streamed answer: CHUNKS of text, the finish, the usage, then [DONE] with the end."""
    text = [_event(_chunk({"content": " word"})) for _ in range(CHUNKS - 1)]
    usage = _compact(
        {
            "id": _ID,
            "object": "chat.completion.chunk",
            "created": _CREATED,
            "model": MODEL,
            "service_tier": "default",
            "system_fingerprint": None,
            "choices": [],
            "usage": _USAGE,
        }
    )
    first = _event(_chunk({"role": "assistant", "content": "", "refusal": None}))
    return (first, *text, _event(_chunk({}, "stop")), _event(usage), _event(b"[DONE]") + b"0\r\n\r\n")


_STAMPED = _event(_chunk({"content": "@" + "0" * STAMP_DIGITS + "@"}))
_STAMP_AT = _STAMPED.index(b"@") + 1


def stamped_event(now_ns: int) -> bytes:
    """A chunk whose text holds the moment of its sending, time.monotonic_ns() of this machine."""
    return _STAMPED[:_STAMP_AT] + b"%0*d" % (STAMP_DIGITS, now_ns) + _STAMPED[_STAMP_AT + STAMP_DIGITS :]


def stamps(data: bytes) -> Iterator[int]:
    """The moments (ns) of the stamped events in a piece of a response's body."""
    return (int(match) for match in STAMP.findall(data))
