"""OpenAI Responses as upstreams speak it (OpenAI, xAI, Perplexity's Agent API, local servers), as it comes or as chat.

It owns the address, the headers, the errors and the cost that a host reports; what answers mean is read in dialects.
It must never decide money.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from perquery import money
from perquery.calls import Ask, Event, Reply
from perquery.dialects.responses_read import Reader, completion
from perquery.errors import UpstreamError
from perquery.outbound import Response
from perquery.providers import usage as usages
from perquery.providers.conversation import Conversation
from perquery.providers.failures import within
from perquery.providers.replies import Stream, Whole, garbage, parsed


class OpenAIResponses(Conversation):
    """A host that speaks Responses."""

    dialect = "openai-responses"

    def url(self, ask: Ask) -> str:
        return self._host.base_url.rstrip("/") + "/responses"

    def headers(self, key: str, ask: Ask) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        return headers | ({"authorization": f"Bearer {key}"} if key else {})

    def _reply(self, response: Response, ask: Ask) -> Reply:
        if ask.stream:
            return Stream(response, _Payloads(self._host.usage, native=ask.native))
        return Whole(response, lambda data: _whole(data, self._host.usage, native=ask.native))


def _failure(payload: Mapping[str, Any]) -> UpstreamError | None:
    """The failure that stands in an event or a response. A stream's `error` has its fields at the top, or below."""
    if payload.get("type") == "error":
        return within(payload.get("error") or payload)
    response = payload.get("response")
    found = response if isinstance(response, dict) else payload
    if found.get("status") in ("failed", "cancelled") or payload.get("type") == "response.failed":
        return within(found.get("error") or "the upstream's answer failed")
    return within(found["error"]) if found.get("error") else None


def _whole(data: bytes, flavour: usages.Flavour, *, native: bool) -> Event:
    found = parsed(data)
    if isinstance(found, Event):
        return found
    if (error := _failure(found)) is not None:
        return Event(data, parsed=found, error=error)
    if not isinstance(found.get("output"), list):
        return garbage(data, "has no output")
    return _priced(completion(data, found, native=native), found, data, flavour)


def _priced(event: Event, response: Mapping[str, Any], data: bytes, flavour: usages.Flavour) -> Event:
    """With the cost that the host reports, where it does: read again as it was written if it has a fraction."""
    given = response.get("usage")
    if event.usage is None or not isinstance(given, dict) or usages.cost_of(flavour, given) is None:
        return event
    try:
        exact = money.from_json(data)
    except ValueError:  # a number of thousands of digits, say: then without the reported cost
        return event
    exact = exact.get("response", exact)
    event.usage = replace(event.usage, upstream_cost_pico=usages.cost_pico(flavour, exact["usage"]))
    return event


class _Payloads:
    """A `replies.Payloads`."""

    def __init__(self, flavour: usages.Flavour, *, native: bool) -> None:
        self._flavour = flavour
        self._reader = Reader(native=native)

    @property
    def finished(self) -> bool:
        return self._reader.finished

    def read(self, data: bytes) -> list[Event]:
        if data.strip() in (b"", b"[DONE]"):  # of servers that speak chat besides
            return []
        found = parsed(data)
        if isinstance(found, Event):
            return [found]
        if (error := _failure(found)) is not None:
            return [Event(data, parsed=found, error=error)]
        events = self._reader.feed(data.replace(b"\n", b" "), found)
        response = found.get("response")
        if self._reader.finished and isinstance(response, dict):
            events = [_priced(event, response, data, self._flavour) for event in events]
        return events
