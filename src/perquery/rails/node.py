"""The HTTP API of a wallet or node: one question, JSON back, everything else is RailDown.

Keys travel in headers and never appear in an error. Nothing is sent twice: whether a question may be repeated is
known only to whoever asks.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import orjson

from perquery import money
from perquery.outbound import Client, OutboundError
from perquery.rails.rail import RailDown, RailSilent

TIMEOUT_S: Final = 20.0
ANSWER_BYTES_MAX: Final = 8 * 2**20
_SAID_CHARS: Final = 200
Found = TypeVar("Found")


class Refused(RailDown):
    """The node answered, but not with success. body: what it said, parsed where that is JSON, else text."""

    def __init__(self, node: str, status: int, body: Any) -> None:
        said = body if isinstance(body, str) else orjson.dumps(body, default=str).decode()
        super().__init__(f"{node} answered {status}: {said[:_SAID_CHARS]}")
        self.status = status
        self.body = body


class Node:
    """name: for messages; url: without a final slash; headers: those that every question carries; trust: whom this
    node is believed by in place of the system's authorities, with connections of its own.
    """

    def __init__(
        self,
        name: str,
        url: str,
        headers: Mapping[str, str],
        client: Client,
        *,
        trust: ssl.SSLContext | None = None,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
    ) -> None:
        self.name = name
        self._url = url.rstrip("/")
        self._headers = dict(headers)
        self._own = Client(trust=trust) if trust is not None else None
        self._client = self._own or client
        self._answer_bytes_max = answer_bytes_max

    async def get(self, path: str, **query: str | int) -> Any:
        """Raises Refused, RailDown. Numbers in the answer are int or Decimal."""
        return await self._ask("GET", path + ("?" + urlencode(query, quote_via=quote) if query else ""), b"", "")

    async def get_text(self, path: str) -> str:
        """As `get`, of an answer that is plain text."""
        return (await self._answer("GET", path, b"", "")).decode("utf-8", "replace").strip()

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """As `get`, with a JSON body."""
        return await self._ask("POST", path, orjson.dumps(body), "application/json")

    async def post_form(self, path: str, fields: Mapping[str, str | int]) -> Any:
        """As `get`, with a form."""
        return await self._ask("POST", path, urlencode(fields).encode(), "application/x-www-form-urlencoded")

    async def close(self) -> None:
        """Close connections of its own; a client that was given belongs to whoever made it."""
        if self._own is not None:
            await self._own.close()

    async def _ask(self, method: str, path: str, body: bytes, content_type: str) -> Any:
        found = _parsed(await self._answer(method, path, body, content_type))
        if isinstance(found, str):
            raise RailDown(f"{self.name} answered something else than JSON: {found[:_SAID_CHARS]!r}")
        return found

    async def _answer(self, method: str, path: str, body: bytes, content_type: str) -> bytes:
        headers = self._headers | ({"content-type": content_type} if content_type else {})
        try:
            async with await self._client.request(
                method,
                self._url + path,
                headers=headers,
                body=body,
                timeout_s=TIMEOUT_S,
                idle_timeout_s=TIMEOUT_S,
            ) as response:
                data = await response.read(self._answer_bytes_max)
        except OutboundError as error:
            raise RailSilent(f"{self.name} does not answer: {error}") from error
        if response.status >= 300:
            raise Refused(self.name, response.status, _parsed(data))
        return data


def field(node: str, answer: Any, name: str, kind: type[Found]) -> Found:
    """One field of a node's answer. Raises RailDown where it is not there, or not exactly of that kind."""
    found = answer.get(name) if isinstance(answer, Mapping) else None
    if type(found) is not kind:
        raise RailDown(f"{node} answered without {name}" + (" as a whole number" if kind is int else ""))
    return found


def _parsed(data: bytes) -> Any:
    try:
        return money.from_json(data)
    except ValueError:
        return data.decode("utf-8", "replace")
