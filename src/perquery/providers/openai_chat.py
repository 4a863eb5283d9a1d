"""OpenAI Chat Completions as upstreams speak it: one request out, normalised events in.

It owns the HTTP conversation, the rotation of a host's keys and the classification of its errors; what a row of
the table says is all that differs between hosts. It must never retry, never decide money, and never let a key or
a vendor's organisation into an error.
"""

from __future__ import annotations

import asyncio
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
FAREWELL_S: Final = 0.25


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
    return {**ready, **host.extra}, dropped


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
        """Ask; returns at the head of a 200. Raises UpstreamError.

        A key that is dead or spent is benched and the next one asked: nothing was served, nothing is billed.
        """
        for _ in range(len(self._keys)):
            key = self._key()
            try:
                response = await self._post(ask, key)
                if response.status == 200:
                    break
                error = answered(response.status, response.headers, await response.read(ERROR_BYTES_MAX))
                response.abort()
            except OutboundError as failure:
                raise broke(failure) from failure
            if not self._bench(key, error):
                raise error
        else:
            raise error
        stream = response.headers.get("content-type", "").lower().startswith("text/event-stream")
        return _Stream(response, self._host) if stream else _Plain(response, self._host)

    async def _post(self, ask: Ask, key: str) -> Response:
        headers = {"content-type": "application/json", "accept": "application/json", **self._host.headers}
        if ask.stream:
            headers["accept"] = "text/event-stream"
        if key:
            headers["authorization"] = f"Bearer {key}"
        return await self._client.request(
            "POST",
            self._url,
            headers=headers,
            body=ask.body,
            timeout_s=ask.timeout_s,
            idle_timeout_s=ask.idle_timeout_s,
        )

    def _key(self) -> str:
        """The next key in turn that is not benched; if all are, the one that is due first."""
        now = self._now()
        for _ in range(len(self._keys)):
            key = self._keys[0]
            self._keys.append(self._keys.pop(0))
            if self._benched.get(key, 0) <= now:
                return key
        return min(self._keys, key=lambda key: self._benched.get(key, 0))

    def _bench(self, key: str, error: UpstreamError) -> bool:
        """Whether it is the key's fault and another one may do."""
        if error.kind not in ("auth", "funds") or len(self._keys) == 1:
            return False
        self._benched[key] = self._now() + BENCH_S
        return True


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
        finished = done = False
        try:
            async for piece in self._response:
                batch: list[Event] = []
                for data in parser.feed(piece):
                    if data == b"[DONE]":
                        finished = done = True
                        break
                    batch.append(one := event(data, host))
                    if one.error is not None:
                        break
                    finished = finished or one.finish is not None
                if batch:
                    yield batch
                    if batch[-1].error is not None:
                        return
                if done:
                    await self._farewell()
                    return
        except OutboundError as error:
            if not finished:
                raise broke(error) from error
        except TooLong as error:
            raise UpstreamError("garbage", str(error)) from error
        if not finished:
            raise UpstreamError("down", "the stream broke off")

    async def _farewell(self) -> None:
        """Read the end of the body, so that the connection can serve again; some hosts leave it open for long."""
        try:
            async with asyncio.timeout(FAREWELL_S):
                async for _ in self._response:
                    pass
        except (TimeoutError, OutboundError):
            self._response.abort()

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
    choices: Any = parsed.get("choices")
    if choices is None and not whole:
        choices = ()
    part = "message" if whole else "delta"
    if not _well_formed(choices, part):
        return Event(data, parsed=parsed, error=UpstreamError("garbage", "the upstream's answer has no proper choices"))
    text_bytes, finish = 0, None
    for choice in choices:
        text_bytes += delivered(choice.get(part))
        finish = choice.get("finish_reason") or finish
    figures = usages.found(parsed)
    usage = usages.read(host.usage, _exact(data, figures, host)) if figures is not None else None
    if b"\n" in data:  # between tokens, as strings cannot hold one; a frame is one line
        data = data.replace(b"\n", b" ")
    return Event(data, text_bytes, parsed, usage, finish if isinstance(finish, str) else None, None, whole)


def _well_formed(choices: Any, part: str) -> bool:
    """Whether these are choices as the protocol has them, so that nobody behind this has to ask again."""
    if not isinstance(choices, list | tuple):
        return False
    for choice in choices:
        if not isinstance(choice, dict) or not isinstance(choice.get("index") or 0, int):
            return False
        message = choice.get(part)
        if message is not None and not (isinstance(message, dict) and _calls_well_formed(message)):
            return False
    return True


def _calls_well_formed(message: Mapping[str, Any]) -> bool:
    if not isinstance(message.get("content"), str | list | None):
        return False
    calls = message.get("tool_calls")
    if not calls:
        return True
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        return False
    functions = [call.get("function") or {} for call in calls]
    return all(isinstance(each, dict) and isinstance(each.get("arguments") or "", str) for each in functions)


def _exact(data: bytes, figures: dict[str, Any], host: Host) -> dict[str, Any]:
    """The usage with amounts as Decimals where the host reports a cost."""
    if not host.reports_cost:
        return figures
    try:
        exact = money.from_json(data)
    except ValueError:  # a number of thousands of digits, say: then without the reported cost
        return {name: value for name, value in figures.items() if name != "cost"}
    return usages.found(exact) or figures


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
