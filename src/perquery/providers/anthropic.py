"""Anthropic's own API: Messages out, its events in, as they are or in chat form.

It owns the address, the headers and the errors, and the taking up of turns that it paused; what answers mean is read
in dialects. It must never decide money: whether a turn is taken up is asked of whoever does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Final

from perquery.calls import Ask, Event, Reply, Usage
from perquery.dialects.anthropic_read import Reader, completion
from perquery.dialects.anthropic_turns import resumed
from perquery.outbound import Response
from perquery.providers.conversation import Conversation
from perquery.providers.failures import within
from perquery.providers.replies import Stream, Whole, garbage, parsed

VERSION: Final = "2023-06-01"


class Anthropic(Conversation):
    """A host that speaks Messages."""

    dialect = "anthropic"

    def url(self, ask: Ask) -> str:
        return self._host.base_url.rstrip("/") + "/messages"

    def headers(self, key: str, ask: Ask) -> dict[str, str]:
        headers = {
            "content-type": "application/json",
            "anthropic-version": VERSION,
            **(ask.headers if ask.native else {}),
        }
        return headers | ({"x-api-key": key} if key else {})

    def _reply(self, response: Response, ask: Ask) -> Reply:
        if not ask.stream:
            return Whole(response, partial(_whole, native=ask.native))
        if ask.go_on is None or ask.native:
            return Stream(response, _Payloads(Reader(native=ask.native)))
        return _Turns(response, ask, self._asked)


def _whole(data: bytes, *, native: bool) -> Event:
    found = parsed(data)
    if isinstance(found, Event):
        return found
    if found.get("type") == "error":
        return Event(data, parsed=found, error=within(found.get("error")))
    if not isinstance(found.get("content"), list):
        return garbage(data, "has no content")
    return completion(data, found, native=native)


class _Payloads:
    """A `replies.Payloads`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @property
    def finished(self) -> bool:
        return self._reader.finished

    def read(self, data: bytes) -> list[Event]:
        found = parsed(data)
        if isinstance(found, Event):
            return [found]
        if found.get("type") == "error":
            return [Event(data, parsed=found, error=within(found.get("error")))]
        if found.get("type") == "ping":
            return []
        return self._reader.feed(data.replace(b"\n", b" "), found)


class _Turns:
    """A `calls.Reply` of one answer that may take several turns: where the upstream pauses one, and whoever decides it
    agrees, it is asked to go on, and what comes is more of the same.
    """

    def __init__(self, response: Response, ask: Ask, again: Callable[[Ask], Awaitable[Response]]) -> None:
        self._reader = Reader(native=False, pauses=True)
        self._reply = Stream(response, _Payloads(self._reader))
        self._ask = ask
        self._again = again
        self._closed = False
        self._request_id = self._reply.request_id

    @property
    def request_id(self) -> str | None:
        return self._request_id

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        while True:
            async for batch in self._reply:
                yield batch
            if self._reader.paused is None or self._closed:
                return
            if not await self._resume(self._reader.paused):
                yield self._reader.end()
                return

    async def _resume(self, used: Usage) -> bool:
        """Take the paused turn up again, if there is room for it and it is agreed to."""
        assert self._ask.go_on is not None
        body = resumed(self._ask.body, self._reader.said(), used)
        if body is None or not await self._ask.go_on(used):
            return False
        self._ask = replace(self._ask, body=body)
        response = await self._again(self._ask)
        self._reader.resume()
        self._reply = Stream(response, _Payloads(self._reader))
        if self._closed:
            self._reply.close()
        return True

    def close(self) -> None:
        self._closed = True
        self._reply.close()
