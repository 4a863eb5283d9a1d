"""Every host of the table × plain, stream, error, time-out, disconnect, against the scripted upstream on a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from perquery.calls import Ask
from perquery.providers.hosts import HOSTS as ALL_HOSTS
from perquery.providers.keys import Keys
from perquery.providers.openai_chat import OpenAIChat
from perquery.providers.request import prepare
from tests.outbound.wire import asking
from tests.providers.wire import HANG_S, Outcome, ask, outcome
from tests.upstream import Request, Script, ScriptedUpstream, scripted

HOSTS = {name: host for name, host in ALL_HOSTS.items() if host.dialect == "openai-chat" and host.chats}

Work = Callable[[OpenAIChat, ScriptedUpstream], Awaitable[Outcome]]
every_host = pytest.mark.parametrize("name", HOSTS)

# What callers send, refused somewhere: the scripted upstream sees what is left of it.
ASKED: dict[str, Any] = {
    "max_tokens": 50,
    "temperature": 0.5,
    "seed": 7,
    "n": 2,
    "user": "u",
    "logprobs": True,
    "top_k": 3,
    "frequency_penalty": 0.5,
    "logit_bias": {"1": 1},
    "reasoning": {"effort": "low"},
}


def played(name: str, script: Script, work: Work) -> tuple[Outcome, list[Request]]:
    """The work done with the host's row, at an upstream that follows the script."""

    async def run() -> tuple[Outcome, list[Request]]:
        async with scripted() as upstream, asking() as client:
            upstream.script = script
            host = replace(HOSTS[name], base_url=upstream.base_url)
            return await work(OpenAIChat(host, Keys(["key"], lambda: 0.0), client), upstream), upstream.requests

    return asyncio.run(asyncio.wait_for(run(), HANG_S))


def asking_for(name: str, *, stream: bool, timeout_s: float = HANG_S) -> Work:
    """One request of the host's own shape, read to its end."""

    async def work(upstream: OpenAIChat, _: ScriptedUpstream) -> Outcome:
        options = {"stream_options": {"include_usage": True}} if stream else {}
        plain = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
        body, _dropped = prepare(HOSTS[name], "openai-chat", plain | ASKED | options)
        return await outcome(upstream, ask(**body, timeout_s=timeout_s))

    return work


@every_host
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_answer(name: str, stream: bool) -> None:
    result, _ = played(name, Script(chunks=3, text="yö "), asking_for(name, stream=stream))
    usages = [event.usage for event in result.events if event.usage is not None]
    assert sum(event.text_bytes for event in result.events) == 12
    assert [event.finish for event in result.events if event.finish] == ["stop"]
    assert [dict(usage.counts) for usage in usages] == [{"input": 10, "output": 3}]


@every_host
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_request(name: str, stream: bool) -> None:
    _, (request,) = played(name, Script(), asking_for(name, stream=stream))
    host = HOSTS[name]
    assert (request.path, request.headers["authorization"]) == ("/v1/chat/completions", "Bearer key")
    assert request.body.keys() & host.refuses == set()
    assert request.body[host.cap] == 50
    assert ("stream_options" in request.body) == (stream and host.stream_options is not None)


@every_host
def test_torn_characters(name: str) -> None:
    result, _ = played(name, Script(chunks=2, text="é😀", split=7), asking_for(name, stream=True))
    texts = [event.parsed["choices"][0]["delta"].get("content") for event in result.events[:2] if event.parsed]
    assert texts == ["é😀", "é😀"]


@every_host
@pytest.mark.parametrize("usage", ["together", "repeated", "zero", "none"])
def test_usage(name: str, usage: str) -> None:
    """On the last chunk, on every chunk, all zeros, not at all: the last figures count, and none stay none."""
    result, _ = played(name, Script(chunks=3, usage=usage), asking_for(name, stream=True))
    found = [dict(event.usage.counts) for event in result.events if event.usage is not None]
    expected = {"zero": [{"input": 0, "output": 0}], "none": []}.get(usage, [{"input": 10, "output": 3}])
    assert found[-1:] == expected


@every_host
@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (Script(status=400), "refused"),
        (Script(status=401), "auth"),
        (Script(status=402), "funds"),
        (Script(status=404), "model"),
        (Script(status=429, retry_after="3"), "busy"),
        (Script(status=500), "down"),
        (Script(fault="error_body", error={"message": "x", "code": 429}), "busy"),
        (Script(fault="html"), "garbage"),
        (Script(fault="garbage"), "garbage"),
        (Script(fault="error_event", error={"message": "x", "code": 429}), "busy"),
        (Script(fault="break", after=1), "down"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.status}{value.fault}",
)
def test_error(name: str, script: Script, kind: str) -> None:
    result, _ = played(name, script, asking_for(name, stream=True))
    error = result.error or result.events[-1].error
    assert error is not None
    assert (error.kind, error.sent) == (kind, True)


@every_host
def test_error_says_when_to_come_back(name: str) -> None:
    result, _ = played(name, Script(status=429, retry_after="3"), asking_for(name, stream=False))
    assert result.error is not None
    assert result.error.retry_after_s == 3


@every_host
@pytest.mark.parametrize("script", [Script(fault="head"), Script(fault="hang", after=1)], ids=["head", "stream"])
def test_timeout(name: str, script: Script) -> None:
    result, _ = played(name, script, asking_for(name, stream=True, timeout_s=0.1))
    assert result.error is not None
    assert (result.error.kind, result.error.sent) == ("timeout", True)


@every_host
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_disconnect(name: str, stream: bool) -> None:
    """Closing a reply reaches the upstream at once, and whoever still reads it is told."""

    async def work(upstream: OpenAIChat, server: ScriptedUpstream) -> Outcome:
        result = Outcome()
        reply = await upstream.send(asked(stream))
        reading = asyncio.ensure_future(anext(aiter(reply)))
        request = await server.arrival()
        await request.reached.wait()
        if stream:
            result.batches.append(await reading)
        reply.close()
        await request.hung_up.wait()
        await asyncio.wait([reading])
        reading.exception()
        return result

    result, (request,) = played(name, Script(fault="hang", after=1 if stream else 0), work)
    assert (len(result.events), request.hung_up.is_set()) == (int(stream), True)


def asked(stream: bool) -> Ask:
    return ask(stream=stream)


@every_host
def test_disconnect_before_the_head(name: str) -> None:
    """A request that is cancelled while the upstream thinks leaves no connection behind."""

    async def work(upstream: OpenAIChat, server: ScriptedUpstream) -> Outcome:
        sending = asyncio.ensure_future(upstream.send(asked(True)))
        request = await server.arrival()
        await request.reached.wait()
        sending.cancel()
        await request.hung_up.wait()
        return Outcome()

    _, (request,) = played(name, Script(fault="head"), work)
    assert request.hung_up.is_set()
