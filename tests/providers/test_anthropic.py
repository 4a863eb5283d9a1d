"""Anthropic's own API over a socket: what is sent, what is read, and every way that an answer can break."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perquery.calls import Ask
from perquery.providers.anthropic import Anthropic
from perquery.providers.hosts import HOSTS
from tests.dialects.test_anthropic_read import COUNTS, STREAM
from tests.providers.wire import HANG_S, SSE, Outcome, answer, conversed, sse

WHOLE = {
    "type": "message",
    "id": "msg_1",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 9},
}


def answered(*answers: bytes, stream: bool = True, native: bool = False, keys: tuple[str, ...] = ("key",)) -> Outcome:
    """Ask a host that gives these answers, one a request."""
    asked = Ask("m", b"{}", stream, HANG_S, HANG_S, native, headers={"anthropic-beta": "b1", "anthropic-version": "v9"})
    result = conversed(Anthropic, HOSTS["anthropic"], asked, *answers, keys=keys)
    result.heads = [head.lower() for head in result.heads]
    return result


def streamed(*payloads: Any) -> bytes:
    return answer(200, sse(*payloads, done=False), SSE)


def test_what_is_sent() -> None:
    (head,) = answered(streamed(*STREAM)).heads
    assert head.startswith("post /v1/messages http/1.1") and "x-api-key: key" in head
    assert "anthropic-version: 2023-06-01" in head and "anthropic-beta" not in head


def test_a_callers_own_headers_go_along_natively() -> None:
    (head,) = answered(streamed(*STREAM), native=True).heads
    assert "anthropic-version: v9" in head and "anthropic-beta: b1" in head


@pytest.mark.parametrize("native", [False, True])
def test_a_stream(native: bool) -> None:
    result = answered(streamed({"type": "ping"}, *STREAM), native=native)
    assert result.error is None
    (usage,) = [event.usage for event in result.events if event.usage]
    assert usage.counts == COUNTS


@pytest.mark.parametrize("native", [False, True])
def test_a_whole_message(native: bool) -> None:
    (event,) = answered(answer(200, json.dumps(WHOLE).encode()), stream=False, native=native).events
    assert event.whole and event.usage is not None and event.usage.counts == {"input": 5, "output": 9}
    assert event.parsed is not None and ("choices" in event.parsed) is not native


def test_a_stream_that_breaks_off() -> None:
    error = answered(streamed(*STREAM[:7])).error
    assert error is not None and error.kind == "down"


@pytest.mark.parametrize(
    ("kind", "expected"), [("overloaded_error", "busy"), ("invalid_request_error", "refused"), ("api_error", "down")]
)
def test_an_error_within_the_stream(kind: str, expected: str) -> None:
    failure = {"type": "error", "error": {"type": kind, "message": "No."}}
    error = answered(streamed(*STREAM[:7], failure)).events[-1].error
    assert error is not None and error.kind == expected


@pytest.mark.parametrize("body", [b"[]", b"no json", b"{}", b'{"content":' + b"[" * 300 + b"]" * 300 + b"}"])
def test_garbage(body: bytes) -> None:
    (event,) = answered(answer(200, body), stream=False).events
    assert event.error is not None and event.error.kind == "garbage"


def test_garbage_within_a_stream() -> None:
    error = answered(streamed(STREAM[0], "no json")).events[-1].error
    assert error is not None and error.kind == "garbage"


def test_a_dead_key_gives_way_to_the_next() -> None:
    refusal = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
    result = answered(answer(401, json.dumps(refusal).encode()), streamed(*STREAM), keys=("one", "two"))
    assert result.error is None
    assert ["x-api-key: one" in head for head in result.heads] == [True, False]
