"""Asking an upstream over a real socket: one `Ask`, what came of it, and canned answers to give.

Raw servers are the outbound tests'; the scripted upstream is tests/upstream.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from perquery.calls import Ask, Event
from perquery.errors import UpstreamError
from perquery.outbound import Client
from perquery.providers.conversation import Conversation
from perquery.providers.hosts import Host
from perquery.providers.keys import Keys
from perquery.providers.openai_chat import OpenAIChat
from tests.outbound.wire import Link, asking, serving

HANG_S: Final = 20.0
SSE: Final = "text/event-stream"


@dataclass
class Outcome:
    """What one `Ask` came to: batches of events, or the error that was raised; the heads of the requests, and how
    many connections they came over.
    """

    batches: list[list[Event]] = field(default_factory=list)
    error: UpstreamError | None = None
    heads: list[str] = field(default_factory=list)
    connections: int = 0

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch]

    @property
    def keys(self) -> list[str]:
        """The keys of the requests, in order."""
        lines = [line for head in self.heads for line in head.split("\r\n")]
        return [line.rpartition(" ")[2] for line in lines if line.lower().startswith("authorization:")]


def ask(model: str = "m", *, stream: bool = True, timeout_s: float = HANG_S, **fields: Any) -> Ask:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": stream} | fields
    return Ask(model, json.dumps(body).encode(), stream, timeout_s, timeout_s)


async def outcome(upstream: Conversation, asked: Ask) -> Outcome:
    """Send and read to the end."""
    result = Outcome()
    try:
        reply = await upstream.send(asked)
        async for batch in reply:
            result.batches.append(batch)
        reply.close()
    except UpstreamError as error:
        result.error = error
    return result


def answer(status: int = 200, body: bytes = b"", kind: str = "application/json", extra: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    return head.encode() + body


def sse(*payloads: Any, done: bool = True) -> bytes:
    texts = [payload if isinstance(payload, str) else json.dumps(payload) for payload in payloads]
    return "".join(f"data: {text}\n\n" for text in (*texts, *(["[DONE]"] if done else []))).encode()


def piece(text: str | None = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], **fields}


def answered(
    host: Host,
    *answers: bytes,
    keys: Sequence[str] = ("key",),
    stream: bool = True,
    now: Callable[[], float] = lambda: 0.0,
    asks: int = 1,
) -> Outcome:
    """Ask a host that speaks chat and gives these answers: the last outcome, all heads."""
    return conversed(OpenAIChat, host, ask(stream=stream), *answers, keys=keys, now=now, asks=asks)


def conversed(
    speaker: Callable[[Host, Keys, Client], Conversation],
    host: Host,
    asked: Ask,
    *answers: bytes,
    keys: Sequence[str] = ("key",),
    now: Callable[[], float] = lambda: 0.0,
    asks: int = 1,
) -> Outcome:
    """Ask a host that gives these answers, one a request, closing after the last: the last outcome, all heads."""

    async def run() -> Outcome:
        left, heads = list(answers), []

        async def script(link: Link) -> None:
            while left:
                try:
                    head, _ = await link.request()
                except (asyncio.IncompleteReadError, ConnectionError):
                    return
                heads.append(head.decode())
                await link.send(left.pop(0))

        async with serving(script) as server, asking() as client:
            upstream = speaker(replace(host, base_url=server.url("/v1")), Keys(keys, now), client)
            for _ in range(asks):
                result = await outcome(upstream, asked)
            result.heads, result.connections = heads, len(server.links)
            return result

    return within(run())


def within(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run it, under one bound that only a hang reaches."""
    return asyncio.run(asyncio.wait_for(work, HANG_S))
