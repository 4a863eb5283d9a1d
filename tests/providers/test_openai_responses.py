"""OpenAI Responses over a socket: what is sent, what is read, what it cost, and every way that an answer can break."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perquery.calls import Ask
from perquery.providers.hosts import Host
from perquery.providers.openai_responses import OpenAIResponses
from perquery.providers.usage import Flavour
from tests.dialects.test_responses_read import COUNTS, STREAM, USAGE, WHOLE
from tests.providers.wire import HANG_S, SSE, Outcome, answer, conversed, sse


def answered(
    *answers: bytes,
    stream: bool = True,
    native: bool = False,
    keys: tuple[str, ...] = ("key",),
    flavour: Flavour = "openai",
) -> Outcome:
    """Ask a host that gives these answers, one a request."""
    asked = Ask("m", b"{}", stream, HANG_S, HANG_S, native)
    return conversed(OpenAIResponses, Host("h", "", usage=flavour), asked, *answers, keys=keys)


def streamed(*payloads: Any) -> bytes:
    return answer(200, sse(*payloads, done=False), SSE)


def plain(payload: Any, status: int = 200) -> bytes:
    return answer(status, json.dumps(payload).encode())


def last(**usage: Any) -> dict[str, Any]:
    return {"type": "response.completed", "response": WHOLE | {"usage": USAGE | usage}}


def test_what_is_sent() -> None:
    result = answered(streamed(*STREAM))
    assert result.heads[0].startswith("POST /v1/responses HTTP/1.1")
    assert result.keys == ["key"]


@pytest.mark.parametrize("native", [False, True])
def test_a_stream(native: bool) -> None:
    result = answered(streamed(*STREAM, "[DONE]"), native=native)
    assert result.error is None
    (usage,) = [event.usage for event in result.events if event.usage]
    assert usage.counts == COUNTS


@pytest.mark.parametrize("native", [False, True])
def test_a_whole_response(native: bool) -> None:
    (event,) = answered(plain(WHOLE), stream=False, native=native).events
    assert event.whole and event.usage is not None and event.usage.counts == COUNTS
    assert event.parsed is not None and ("choices" in event.parsed) is not native


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "flavour, usage, pico",
    [
        ("xai", {"cost_in_usd_ticks": 37_756_000}, 3_775_600_000),
        ("perplexity", {"cost": {"total_cost": 0.00615}}, 6_150_000_000),
        ("openai", {"cost": 5}, None),
    ],
)
def test_what_the_host_says_it_cost(flavour: Flavour, usage: dict[str, Any], pico: int | None, stream: bool) -> None:
    whole = last(**usage)
    given = streamed(*STREAM[:-1], whole) if stream else plain(whole["response"])
    found = answered(given, stream=stream, flavour=flavour).events[-1].usage
    assert found is not None and found.upstream_cost_pico == pico


def test_a_stream_that_breaks_off() -> None:
    error = answered(streamed(*STREAM[:-1])).error
    assert error is not None and error.kind == "down"


@pytest.mark.parametrize(
    "failure, kind",
    [
        ({"type": "error", "code": "rate_limit_exceeded", "message": "Slow down."}, "busy"),
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "No."}}, "refused"),
        ({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "x"}}}, "down"),
        ({"type": "response.failed", "response": {}}, "down"),
        ({"type": "response.cancelled", "response": {"status": "cancelled"}}, "down"),
    ],
)
@pytest.mark.parametrize("native", [False, True])
def test_an_error_within_the_stream(failure: dict[str, Any], kind: str, native: bool) -> None:
    error = answered(streamed(*STREAM[:5], failure, STREAM[-1]), native=native).events[-1].error
    assert error is not None and error.kind == kind


def test_a_response_that_failed() -> None:
    failed = WHOLE | {"status": "failed", "error": {"code": "server_error", "message": "x"}}
    (event,) = answered(plain(failed), stream=False).events
    assert event.error is not None and event.error.kind == "down"


DEEP = b'{"output":' + b"[" * 300 + b"]" * 300 + b"}"


@pytest.mark.parametrize("body", [b"[]", b"no json", b"{}", DEEP])
def test_garbage(body: bytes) -> None:
    (event,) = answered(answer(200, body), stream=False).events
    assert event.error is not None and event.error.kind == "garbage"


def test_garbage_within_a_stream() -> None:
    error = answered(streamed(STREAM[0], "no json")).events[-1].error
    assert error is not None and error.kind == "garbage"


def test_a_dead_key_gives_way_to_the_next() -> None:
    refusal = {"error": {"code": "invalid_api_key", "message": "Incorrect API key provided."}}
    result = answered(plain(refusal, 401), streamed(*STREAM), keys=("one", "two"))
    assert (result.error, result.keys) == (None, ["one", "two"])
