"""Google's own API: generateContent out, its payloads in, in chat form.

It must never let a stream that broke off pass for one that ended: nothing but a finish reason says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Self
from urllib.parse import quote

import orjson

from perquery.calls import Ask, Event, Reply
from perquery.dialects.gemini_read import Reader
from perquery.dialects.sse import Parser, TooLong
from perquery.errors import UpstreamError
from perquery.outbound import OutboundError, Response
from perquery.providers.conversation import PLAIN_BYTES_MAX, Conversation
from perquery.providers.failures import broke, within


class Gemini(Conversation):
    """A host that speaks generateContent."""

    dialect = "gemini"

    def _url(self, ask: Ask) -> str:
        verb = "streamGenerateContent?alt=sse" if ask.stream else "generateContent"
        return f"{self._host.base_url.rstrip('/')}/models/{quote(ask.model.removeprefix('models/'), safe='')}:{verb}"

    def _headers(self, key: str, ask: Ask) -> dict[str, str]:
        return {"content-type": "application/json"} | ({"x-goog-api-key": key} if key else {})

    def _reply(self, response: Response, ask: Ask) -> Reply:
        return _Stream(response) if ask.stream else _Plain(response)


def _read(data: bytes) -> dict[str, Any] | Event:
    """A payload, or the event that says why it is none. Errors may come wrapped in an array."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        return Event(data, error=UpstreamError("garbage", "the upstream's answer is not an object"))
    if error := found.get("error"):
        return Event(data, parsed=found, error=within(error))
    return found


class _Plain:
    """A whole answer: one event."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Event]:
        if self._over:
            raise StopAsyncIteration
        self._over = True
        try:
            data = await self._response.read(PLAIN_BYTES_MAX)
        except OutboundError as error:
            raise broke(error) from error
        found = _read(data)
        return [found if isinstance(found, Event) else Reader().whole(found, data)]

    async def close(self) -> None:
        self._response.abort()


class _Stream:
    """Server-sent events, in the batches that the network brought. The end of the body is the end."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._reader = Reader()

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        parser = Parser()
        try:
            async for piece in self._response:
                if batch := self._events(parser.feed(piece)):
                    yield batch
                    if batch[-1].error is not None:
                        return
            if batch := self._events(parser.end()):
                yield batch
                if batch[-1].error is not None:
                    return
        except OutboundError as error:
            if not self._reader.finished:
                raise broke(error) from error
        except TooLong as error:
            raise UpstreamError("garbage", str(error)) from error
        if not self._reader.finished:
            raise UpstreamError("down", "the stream broke off")

    def _events(self, payloads: list[bytes]) -> list[Event]:
        """The events of one batch, up to the first error."""
        batch: list[Event] = []
        for data in payloads:
            found = _read(data)
            batch += [found] if isinstance(found, Event) else self._reader.feed(found, data)
            if batch[-1].error is not None:
                break
        return batch

    async def close(self) -> None:
        self._response.abort()
