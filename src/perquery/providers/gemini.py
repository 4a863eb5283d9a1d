"""Google's own API: generateContent out, its payloads in, in chat form.

It owns the address, the headers and the errors; what answers mean is read in dialects. It must never decide money.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from perquery.calls import Ask, Event, Reply
from perquery.dialects.gemini_read import Reader
from perquery.outbound import Response
from perquery.providers.conversation import Conversation
from perquery.providers.failures import within
from perquery.providers.replies import Stream, Whole, parsed


class Gemini(Conversation):
    """A host that speaks generateContent."""

    dialect = "gemini"

    def url(self, ask: Ask) -> str:
        verb = "streamGenerateContent?alt=sse" if ask.stream else "generateContent"
        return f"{self._host.base_url.rstrip('/')}/models/{quote(ask.model.removeprefix('models/'), safe='')}:{verb}"

    def headers(self, key: str, ask: Ask) -> dict[str, str]:
        return {"content-type": "application/json"} | ({"x-goog-api-key": key} if key else {})

    def _reply(self, response: Response, ask: Ask) -> Reply:
        return Stream(response, _Payloads()) if ask.stream else Whole(response, _whole)


def _object(data: bytes) -> dict[str, Any] | Event:
    """A payload that is no error. Errors may come wrapped in an array."""
    found = parsed(data.strip().removeprefix(b"[").removesuffix(b"]")) if data.lstrip()[:1] == b"[" else parsed(data)
    if not isinstance(found, Event) and (error := found.get("error")):
        return Event(data, parsed=found, error=within(error))
    return found


def _whole(data: bytes) -> Event:
    found = _object(data)
    return found if isinstance(found, Event) else Reader().whole(found, data)


class _Payloads:
    """A `replies.Payloads`; nothing but a finish reason says that an answer ended."""

    def __init__(self) -> None:
        self._reader = Reader()

    @property
    def finished(self) -> bool:
        return self._reader.finished

    def read(self, data: bytes) -> list[Event]:
        found = _object(data)
        return [found] if isinstance(found, Event) else self._reader.feed(found, data)
