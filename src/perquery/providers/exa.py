"""Exa: web search for models whose vendor has none. One question out, pages with their highlights back.

It must never decide money: what it cost is Exa's own figure.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from perquery import money
from perquery.calls import Findings, Search, Source
from perquery.errors import UpstreamError
from perquery.outbound import Client, OutboundError
from perquery.providers.failures import answered, broke
from perquery.providers.usage import pico

BASE_URL: Final = "https://api.exa.ai"
TIMEOUT_S: Final = 30.0
BODY_BYTES_MAX: Final = 4 * 2**20
HIGHLIGHT_CHARS: Final = 1_200


class Exa:
    """A `metering.search.Finder`."""

    def __init__(self, base_url: str, key: str, client: Client) -> None:
        self._url = base_url.rstrip("/") + "/search"
        self._key = key
        self._client = client

    async def find(self, question: str, search: Search) -> Findings:
        """Raises UpstreamError."""
        asked: dict[str, Any] = {"query": question, "numResults": search.results, "type": "auto"}
        asked["contents"] = {"highlights": {"maxCharacters": HIGHLIGHT_CHARS}}
        if search.allowed:
            asked["includeDomains"] = list(search.allowed)
        elif search.blocked:
            asked["excludeDomains"] = list(search.blocked)
        if country := search.place.get("country"):
            asked["userLocation"] = country
        headers = {"content-type": "application/json", "x-api-key": self._key}
        try:
            async with await self._client.request(
                "POST",
                self._url,
                headers=headers,
                body=orjson.dumps(asked),
                timeout_s=TIMEOUT_S,
                idle_timeout_s=TIMEOUT_S,
            ) as response:
                body = await response.read(BODY_BYTES_MAX)
        except OutboundError as error:
            raise broke(error) from error
        if response.status != 200:
            raise answered(response.status, response.headers, body, self._key)
        return _findings(body)


def _findings(body: bytes) -> Findings:
    try:
        found = money.from_json(body)
    except ValueError as error:
        raise UpstreamError("garbage", "the search's answer is not JSON") from error
    results = found.get("results") if isinstance(found, dict) else None
    if not isinstance(results, list):
        raise UpstreamError("garbage", "the search's answer has no results")
    cost = found.get("costDollars")
    return Findings(
        tuple(source for result in results if (source := _source(result))),
        (pico(cost.get("total"), 0) if isinstance(cost, dict) else None) or 0,
    )


def _source(result: Any) -> Source | None:
    if not isinstance(result, dict) or not isinstance(result.get("url"), str):
        return None
    parts = [part for part in result.get("highlights") or () if isinstance(part, str)]
    text = "\n".join(parts) or (result["text"] if isinstance(result.get("text"), str) else "")
    title = result["title"] if isinstance(result.get("title"), str) else ""
    return Source(result["url"], title, text)
