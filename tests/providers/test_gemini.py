"""Google's own API over a socket: what is sent, what is read, and how an answer can break."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from perquery.calls import Ask
from perquery.dialects.gemini_ask import ask
from perquery.providers.gemini import Gemini
from perquery.providers.hosts import Host
from tests.outbound.wire import Link, asking, serving
from tests.providers.wire import HANG_S, SSE, Outcome, answer, outcome, sse, within

USAGE = {
    "promptTokenCount": 10,
    "cachedContentTokenCount": 4,
    "candidatesTokenCount": 3,
    "thoughtsTokenCount": 5,
    "totalTokenCount": 18,
}


def said(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **fields}]}


LAST = said({"text": "lo"}, finishReason="STOP") | {"usageMetadata": USAGE}


def answered(given: bytes, *, stream: bool = True) -> Outcome:
    async def run() -> Outcome:
        heads = []

        async def script(link: Link) -> None:
            try:
                head, _ = await link.request()
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            heads.append(head.decode().lower())
            await link.send(given)

        async with serving(script) as server, asking() as client:
            upstream = Gemini(Host("google", server.url("/v1beta")), ("key",), client, lambda: 0.0)
            result = await outcome(upstream, Ask("gemini-2.5-pro", b"{}", stream, HANG_S, HANG_S))
            result.heads = heads
            return result

    return within(run())


def test_a_stream() -> None:
    result = answered(answer(200, sse(said({"text": "Hel"}), LAST, done=False), SSE))
    assert result.error is None
    assert result.heads[0].startswith("post /v1beta/models/gemini-2.5-pro:streamgeneratecontent?alt=sse ")
    assert "x-goog-api-key: key" in result.heads[0]
    texts = [(event.parsed or {})["choices"][0]["delta"].get("content") for event in result.events]
    assert "".join(text or "" for text in texts) == "Hello"
    (usage,) = [event.usage for event in result.events if event.usage]
    assert usage.counts == {"input": 6, "cache_read": 4, "output": 3, "reasoning": 5}
    assert [event.finish for event in result.events if event.finish] == ["stop"]


def test_a_whole_answer() -> None:
    (event,) = answered(answer(200, json.dumps(LAST).encode()), stream=False).events
    assert event.whole and event.usage is not None and event.finish == "stop"
    assert (event.parsed or {})["choices"][0]["message"]["content"] == "lo"


def test_a_stream_that_breaks_off() -> None:
    error = answered(answer(200, sse(said({"text": "Hel"}), done=False), SSE)).error
    assert error is not None and error.kind == "down"


@pytest.mark.parametrize("body", [b"no json", b'"x"'])
def test_garbage(body: bytes) -> None:
    (event,) = answered(answer(200, body), stream=False).events
    assert event.error is not None and event.error.kind == "garbage"


def test_a_refusal() -> None:
    refusal = {"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}}
    error = answered(answer(400, json.dumps([refusal]).encode())).error
    assert error is not None


def test_a_body() -> None:
    messages = [{"role": "system", "content": "Brief."}, {"role": "user", "content": "Hi"}]
    body, dropped = ask({"model": "gemini-2.5-pro", "messages": messages, "max_tokens": 9, "stop": "x"})
    assert body["systemInstruction"]["parts"] == [{"text": "Brief."}]
    assert body["contents"] == [{"role": "user", "parts": [{"text": "Hi"}]}]
    assert body["generationConfig"]["maxOutputTokens"] == 9 and body["generationConfig"]["stopSequences"] == ["x"]
    assert dropped == []
