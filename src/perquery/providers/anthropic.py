"""Anthropic's own API: Messages out, its events in, as they are or in chat form.

It owns the address, the headers and the errors; what answers mean is read in dialects. It must never decide money.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from perquery.calls import Ask, Event, Reply
from perquery.dialects.anthropic_read import Reader, completion
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
        if ask.stream:
            return Stream(response, _Payloads(native=ask.native))
        return Whole(response, partial(_whole, native=ask.native))


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

    def __init__(self, *, native: bool) -> None:
        self._reader = Reader(native=native)

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
