"""The benchmark's question and answer in Anthropic's shape: the same words, the same number of events as `bodies`.

Bytes only, no I/O.
"""

from __future__ import annotations

import json
from typing import Any

from bench import bodies

PATH = "/v1/messages"
MODEL = "stub-messages"  # served by an upstream that speaks Messages

_USAGE: dict[str, Any] = {
    "input_tokens": bodies.PROMPT_TOKENS,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens": bodies.CHUNKS,
    "service_tier": "standard",
}
_MESSAGE: dict[str, Any] = {
    "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "stop_sequence": None,
    "stop_details": None,
    "container": None,
}


def ask(*, stream: bool, model: str) -> bytes:
    """A caller's JSON body."""
    body: dict[str, Any] = {
        "model": model,
        "system": bodies.SYSTEM,
        "messages": [{"role": "user", "content": bodies.QUESTION}],
        "temperature": 0.7,
        "max_tokens": 256,
    }
    return json.dumps(body | ({"stream": True} if stream else {}), separators=(",", ":")).encode()


def plain_reply() -> bytes:
    """The upstream's whole HTTP/1.1 response to a plain request."""
    content = [{"type": "text", "text": bodies.ANSWER, "citations": None}]
    message = _MESSAGE | {"content": content, "stop_reason": "end_turn", "usage": _USAGE}
    body = json.dumps(message, separators=(",", ":")).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def stream_events() -> tuple[bytes, ...]:
    """The events of a streamed answer: CHUNKS - 1 of text between the beginnings and the ends."""
    start = _MESSAGE | {"content": [], "stop_reason": None, "usage": _USAGE | {"output_tokens": 1}}
    delta = {"type": "text_delta", "text": " word"}
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    told: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "", "citations": None}},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for _ in range(bodies.CHUNKS - 1)),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": bodies.CHUNKS}},
        {"type": "message_stop"},
    ]
    events = [_event(one) for one in told]
    return (*events[:-1], events[-1] + b"0\r\n\r\n")


def _event(payload: dict[str, Any]) -> bytes:
    """One event as one chunk of the chunked coding."""
    data = json.dumps(payload, separators=(",", ":"))
    framed = f"event: {payload['type']}\ndata: {data}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(framed), framed)
