"""Google's own API over a socket: what is sent, what is read, and every way that an answer can break."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perquery.calls import Ask
from perquery.providers.gemini import Gemini
from perquery.providers.hosts import Host
from tests.dialects.test_gemini_read import COUNTS, LAST, STREAM, said
from tests.providers.wire import HANG_S, SSE, Outcome, answer, conversed, sse

REFUSAL = {"error": {"code": 400, "message": "API key not valid. Please pass one.", "status": "INVALID_ARGUMENT"}}
BUSY = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


def answered(
    *answers: bytes, stream: bool = True, keys: tuple[str, ...] = ("key",), model: str = "gemini-3.5-flash"
) -> Outcome:
    """Ask a host that gives these answers, one a request."""
    asked = Ask(model, b"{}", stream, HANG_S, HANG_S)
    return conversed(Gemini, Host("gemini", "", dialect="gemini"), asked, *answers, keys=keys)


def streamed(*payloads: Any) -> bytes:
    return answer(200, sse(*payloads, done=False), SSE)


def plain(payload: Any, status: int = 200) -> bytes:
    return answer(status, json.dumps(payload).encode())


@pytest.mark.parametrize(
    ("stream", "model", "path"),
    [
        (True, "gemini-3.5-flash", "/v1/models/gemini-3.5-flash:streamGenerateContent?alt=sse"),
        (False, "models/gemini-3.5-flash", "/v1/models/gemini-3.5-flash:generateContent"),
        (False, "a/../b?c", "/v1/models/a%2F..%2Fb%3Fc:generateContent"),
    ],
)
def test_what_is_sent(stream: bool, model: str, path: str) -> None:
    reply = streamed(*STREAM) if stream else plain(said({"text": "Hi"}, finish="STOP"))
    (head,) = answered(reply, stream=stream, model=model).heads
    assert head.startswith(f"POST {path} HTTP/1.1")
    assert "x-goog-api-key: key" in head.lower() and "authorization" not in head.lower()


def test_a_stream_ends_with_its_connection() -> None:
    result = answered(streamed(*STREAM))
    assert result.error is None
    assert result.events[-1].usage is not None and result.events[-1].usage.counts == COUNTS
    assert [event.finish for event in result.events if event.finish] == ["tool_calls"]


def test_a_last_event_without_its_blank_line() -> None:
    result = answered(answer(200, sse(*STREAM, done=False).rstrip(b"\n"), SSE))
    assert result.error is None and result.events[-1].finish == "tool_calls"


def test_a_whole_answer() -> None:
    (event,) = answered(plain(said({"text": "Hi"}, finish="STOP", usage=LAST)), stream=False).events
    assert event.whole and event.usage is not None and event.usage.counts == COUNTS
    assert event.parsed is not None and event.parsed["choices"][0]["message"]["content"] == "Hi"


def test_a_stream_that_breaks_off() -> None:
    error = answered(streamed(*STREAM[:-1])).error
    assert error is not None and error.kind == "down"


def cut_short(*payloads: Any) -> bytes:
    head = f"HTTP/1.1 200 X\r\ncontent-type: {SSE}\r\ncontent-length: 9999\r\n\r\n"
    return head.encode() + sse(*payloads, done=False)


def test_a_connection_that_breaks_off() -> None:
    error = answered(cut_short(*STREAM[:-1])).error
    assert error is not None and error.kind == "down"


def test_a_connection_that_breaks_off_behind_the_end() -> None:
    result = answered(cut_short(*STREAM))
    assert result.error is None and result.events[-1].finish == "tool_calls"


@pytest.mark.parametrize("failure", [BUSY, [BUSY]])
def test_an_error_within_the_stream(failure: Any) -> None:
    error = answered(streamed(STREAM[0], failure, STREAM[-1])).events[-1].error
    assert error is not None and (error.kind, error.message) == ("busy", "The model is overloaded.")


def test_an_error_in_the_place_of_an_answer() -> None:
    (event,) = answered(plain([BUSY]), stream=False).events
    assert event.error is not None and event.error.kind == "busy"


def test_a_call_that_is_no_call() -> None:
    result = answered(streamed(STREAM[1], said(finish="MALFORMED_FUNCTION_CALL")))
    error = result.events[-1].error
    assert result.error is None and error is not None and error.kind == "garbage"


@pytest.mark.parametrize("body", [b"[]", b"no json", b"{}", b'"text"'])
def test_garbage(body: bytes) -> None:
    (event,) = answered(answer(200, body), stream=False).events
    assert event.error is not None and event.error.kind == "garbage"


def test_garbage_within_a_stream() -> None:
    error = answered(streamed(STREAM[0], "no json")).events[-1].error
    assert error is not None and error.kind == "garbage"


@pytest.mark.parametrize("refusal", [REFUSAL, [REFUSAL]])
def test_a_dead_key_gives_way_to_the_next(refusal: Any) -> None:
    result = answered(plain(refusal, 400), streamed(*STREAM), keys=("one", "two"))
    assert result.error is None
    assert ["x-goog-api-key: one" in head.lower() for head in result.heads] == [True, False]


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "Invalid JSON payload received.", "refused"),
        (404, "models/x is not found for API version v1beta", "model"),
        (429, "Resource has been exhausted (e.g. check quota).", "busy"),
        (503, "The model is overloaded. Please try again later.", "busy"),
        (500, "An internal error has occurred.", "down"),
    ],
)
def test_refusals(status: int, message: str, kind: str) -> None:
    error = answered(plain([{"error": {"code": status, "message": message}}], status)).error
    assert error is not None and (error.kind, error.message) == (kind, message)
