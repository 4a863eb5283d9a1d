"""Anthropic's own API: Messages out, its events in, as they are or in chat form.

It must never let a stream that broke off pass for one that ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import orjson

from perquery.calls import Ask, Event, Reply
from perquery.dialects.anthropic_read import Reader, completion
from perquery.dialects.sse import Parser, TooLong
from perquery.errors import UpstreamError
from perquery.outbound import OutboundError, Response
from perquery.providers.conversation import Conversation, Whole
from perquery.providers.failures import broke, within

VERSION: Final = "2023-06-01"


class Anthropic(Conversation):
    """A host that speaks Messages."""

    dialect = "anthropic"

    def _url(self, ask: Ask) -> str:
        return self._host.base_url.rstrip("/") + "/messages"

    def _headers(self, key: str, ask: Ask) -> dict[str, str]:
        headers = {
            "content-type": "application/json",
            "anthropic-version": VERSION,
            **(ask.headers if ask.native else {}),
        }
        return headers | ({"x-api-key": key} if key else {})

    def _reply(self, response: Response, ask: Ask) -> Reply:
        if ask.stream:
            return _Stream(response, native=ask.native)
        return Whole(response, partial(_whole, native=ask.native))


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _garbage(data: bytes) -> Event:
    return Event(data, error=UpstreamError("garbage", "the upstream's answer is not an object"))


def _whole(data: bytes, *, native: bool) -> Event:
    found = _object(data)
    if found is not None and found.get("type") == "error":
        return Event(data, parsed=found, error=within(found.get("error")))
    if found is None or not isinstance(found.get("content"), list):
        return _garbage(data)
    return completion(data, found, native=native)


class _Stream:
    """Server-sent events, in the batches that the network brought."""

    def __init__(self, response: Response, *, native: bool) -> None:
        self._response = response
        self._reader = Reader(native=native)
        self._stopped = False

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        parser = Parser()
        try:
            async for piece in self._response:
                if batch := self._events(parser.feed(piece)):
                    yield batch
                    if batch[-1].error is not None:
                        return
        except OutboundError as error:
            if not self._stopped:
                raise broke(error) from error
        except TooLong as error:
            raise UpstreamError("garbage", str(error)) from error
        if not self._reader.finished:
            raise UpstreamError("down", "the stream broke off")

    def _events(self, payloads: list[bytes]) -> list[Event]:
        batch: list[Event] = []
        for data in payloads:
            found = _object(data)
            if found is None:
                batch.append(_garbage(data))
                break
            if found.get("type") == "error":
                batch.append(Event(data, parsed=found, error=within(found.get("error"))))
                break
            if found.get("type") == "ping":
                continue
            self._stopped = self._stopped or found.get("type") == "message_stop"
            batch += self._reader.feed(data.replace(b"\n", b" "), found)
        return batch

    async def close(self) -> None:
        self._response.abort()
