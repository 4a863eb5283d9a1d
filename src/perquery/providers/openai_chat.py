"""OpenAI Chat Completions as upstreams speak it: one request out, normalised events in.

It owns the HTTP conversation, the rotation of a host's keys and the classification of its errors; what a row of
the table says is all that differs between hosts. It must never retry, never decide money, and never let a key or
a vendor's organisation into an error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

import orjson

from perquery import money
from perquery.calls import Ask, Event, Reply
from perquery.dialects.sse import Parser, TooLong
from perquery.errors import UpstreamError
from perquery.outbound import Client, OutboundError, Response
from perquery.providers import usage as usages
from perquery.providers.failures import answered, broke, in_stream
from perquery.providers.hosts import Host

PLAIN_BYTES_MAX: Final = 64 * 2**20
ERROR_BYTES_MAX: Final = 256 * 1024
BENCH_S: Final = 300.0


def prepare(host: Host, body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The body as the host takes it, and the parameters that were dropped. Pure."""
    ready = {host.renames.get(name, name): value for name, value in body.items()}
    dropped = sorted(ready.keys() & host.refuses)
    for name in dropped:
        del ready[name]
    for cap in ("max_tokens", "max_completion_tokens"):
        if cap in ready and cap != host.cap:
            ready.setdefault(host.cap, ready.pop(cap))
    if body.get("stream") and host.stream_options:
        ready["stream_options"] = {**(ready.get("stream_options") or {}), **host.stream_options}
    return ready | host.extra, dropped


class OpenAIChat:
    """One host with its keys. `now` is a monotonic clock in seconds."""

    def __init__(self, host: Host, keys: Sequence[str], client: Client, now: Callable[[], float]) -> None:
        self._host = host
        self._client = client
        self._now = now
        self._keys = list(keys) or [""]
        self._benched: dict[str, float] = {}
        self._url = host.base_url.rstrip("/") + "/chat/completions"

    @property
    def name(self) -> str:
        return self._host.name

    @property
    def cancel_stops_billing(self) -> bool:
        return self._host.cancel_stops_billing

    async def send(self, ask: Ask) -> Reply:
        """Ask; returns at the head of a 200. Raises UpstreamError."""
        key = self._key()
        headers = {"content-type": "application/json", "accept": "application/json", **self._host.headers}
        if ask.stream:
            headers["accept"] = "text/event-stream"
        if key:
            headers["authorization"] = f"Bearer {key}"
        try:
            response = await self._client.request(
                "POST",
                self._url,
                headers=headers,
                body=ask.body,
                timeout_s=ask.timeout_s,
                idle_timeout_s=ask.idle_timeout_s,
            )
            if response.status != 200:
                error = answered(response.status, response.headers, await response.read(ERROR_BYTES_MAX))
                response.abort()
                self._judge(key, error)
                raise error
        except OutboundError as error:
            raise broke(error) from error
        stream = response.headers.get("content-type", "").startswith("text/event-stream")
        return _Stream(response, self._host) if stream else _Plain(response, self._host)

    def _key(self) -> str:
        """The next key in turn that is not benched; if all are, the one that is due first."""
        now = self._now()
        for _ in self._keys:
            key = self._keys[0]
            self._keys.append(self._keys.pop(0))
            if self._benched.get(key, 0) <= now:
                return key
        return min(self._keys, key=lambda key: self._benched.get(key, 0))

    def _judge(self, key: str, error: UpstreamError) -> None:
        if error.kind in ("auth", "funds") and len(self._keys) > 1:
            self._benched[key] = self._now() + BENCH_S


class _Plain:
    """An answer in one piece: one event."""

    def __init__(self, response: Response, host: Host) -> None:
        self._response = response
        self._host = host

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        try:
            data = await self._response.read(PLAIN_BYTES_MAX)
        except OutboundError as error:
            raise broke(error) from error
        yield [event(data, self._host, whole=True)]

    async def close(self) -> None:
        self._response.abort()


class _Stream:
    """Server-sent events, in the batches that the network brought."""

    def __init__(self, response: Response, host: Host) -> None:
        self._response = response
        self._host = host

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        parser, host = Parser(), self._host
        finished = False
        try:
            async for piece in self._response:
                batch: list[Event] = []
                for data in parser.feed(piece):
                    if data == b"[DONE]":
                        finished = True
                        break
                    batch.append(one := event(data, host))
                    if one.error is not None:
                        break
                    finished = finished or one.finish is not None
                if batch:
                    yield batch
                    if batch[-1].error is not None:
                        return
        except OutboundError as error:
            if not finished:
                raise broke(error) from error
        except TooLong as error:
            raise UpstreamError("garbage", str(error)) from error
        if not finished:
            raise UpstreamError("down", "the stream broke off")

    async def close(self) -> None:
        self._response.abort()


def event(data: bytes, host: Host, *, whole: bool = False) -> Event:
    """One payload, looked into: how much output it delivers, its usage, its finish reason, its error."""
    try:
        parsed = orjson.loads(data)
    except orjson.JSONDecodeError:
        return Event(data, error=UpstreamError("garbage", "the upstream's answer is not JSON"))
    if not isinstance(parsed, dict):
        return Event(data, error=UpstreamError("garbage", "the upstream's answer is not an object"))
    if parsed.get("error"):
        return Event(data, parsed=parsed, error=in_stream(parsed["error"]))
    choices = parsed.get("choices")
    if whole and not isinstance(choices, list):
        return Event(data, parsed=parsed, error=UpstreamError("garbage", "the upstream's answer has no choices"))
    text_bytes, finish = 0, None
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            text_bytes += delivered(choice.get("message" if whole else "delta"))
            finish = choice.get("finish_reason") or finish
    figures = usages.found(parsed)
    usage = usages.read(host.usage, _exact(data, figures, host)) if figures is not None else None
    return Event(data, text_bytes, parsed, usage, finish if isinstance(finish, str) else None, None, whole)


def _exact(data: bytes, figures: dict[str, Any], host: Host) -> dict[str, Any]:
    """The usage with amounts as Decimals where the host reports a cost."""
    if not host.reports_cost:
        return figures
    return usages.found(money.from_json(data)) or figures


def delivered(message: Any) -> int:
    """UTF-8 bytes of output in a delta or message: text, reasoning, refusal, tool calls."""
    if not isinstance(message, dict):
        return 0
    total = _bytes(message.get("content")) + _bytes(message.get("refusal"))
    # Some hosts send the same reasoning under both names.
    total += _bytes(message.get("reasoning_content") or message.get("reasoning"))
    for call in message.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            total += _bytes(function.get("name")) + _bytes(function.get("arguments"))
    return total


def _bytes(value: Any) -> int:
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    return sum(_part_bytes(part) for part in value) if isinstance(value, list) else 0


def _part_bytes(part: Any) -> int:
    """A content part's text; Mistral's thinking parts hold parts of their own."""
    return _bytes(part.get("text")) + _bytes(part.get("thinking")) if isinstance(part, dict) else 0
