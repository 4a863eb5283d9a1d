"""What a host does beside chat: one kind of work in one protocol, from a `Work` to the events of its answer.

A protocol is a file with a `Trade` in it, named in `trades` and in the rows of `hosts`. Most are one JSON body out and
one back: those derive from `Posted`. It must never decide money, nor ask twice for what may have been done.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import orjson

from perquery.calls import Ask, Event, Reply, Usage, Work
from perquery.errors import BadRequest, UpstreamError
from perquery.providers.failures import within
from perquery.providers.hosts import Host
from perquery.providers.line import Line
from perquery.providers.replies import Whole, parsed


class Trade(ABC):
    """One host, and the line to it."""

    def __init__(self, host: Host, line: Line) -> None:
        self._base_url = host.base_url.rstrip("/")
        self._host = host
        self._line = line

    @abstractmethod
    async def do(self, ask: Ask, work: Work) -> Reply:
        """Returns at the head of the answer. The last event has `finish`, and the usage. Raises UpstreamError, and
        BadRequest or Unprocessable for what this host cannot do."""


class Posted(Trade):
    """One body out, one JSON answer back."""

    path: ClassVar[str]

    def url(self, ask: Ask, work: Work) -> str:
        return self._base_url + self.path

    def headers(self, key: str) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept": "application/json"}
        return headers | {"authorization": f"Bearer {key}"} if key else headers

    def body(self, ask: Ask, work: Work) -> bytes | Sequence[bytes]:
        """What is sent; what the host does not take is noted in `work.dropped`."""
        return written(work.body | {"model": ask.model})

    @abstractmethod
    def read(self, answer: dict[str, Any], work: Work) -> tuple[dict[str, Any], Usage]:
        """The answer in OpenAI's shape, and what it counts. Raises UpstreamError("garbage") for what is no answer."""

    async def do(self, ask: Ask, work: Work) -> Reply:
        response = await self._line.ask(
            "POST",
            self.url(ask, work),
            self.headers,
            self.body(ask, work),
            timeout_s=ask.timeout_s,
            idle_timeout_s=ask.idle_timeout_s,
            keep=not self._host.closes_after_stream,
        )
        return Whole(response, lambda data: self._event(data, work))

    def _event(self, data: bytes, work: Work) -> Event:
        found = parsed(data)
        if isinstance(found, Event):
            return found
        if found.get("error"):
            return Event(data, error=within(found["error"]))
        try:
            answer, usage = self.read(found, work)
        except UpstreamError as error:
            return Event(data, error=error)
        return Event(data, parsed=answer, usage=usage, finish="stop", whole=True)


def written(body: Mapping[str, Any]) -> bytes:
    """A JSON body. All that was read can be written, but what is nested too deeply."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise BadRequest("The body is nested too deeply.", code="malformed_json") from error


def garbage(what: str) -> UpstreamError:
    return UpstreamError("garbage", f"the upstream's answer {what}")


def counted(tokens: int | None, work: Work) -> Usage:
    """So many tokens; what is likely where the host counts none."""
    return Usage(work.likely, estimated=True) if tokens is None else Usage({"input": tokens})


def count_in(usage: Any, name: str) -> int | None:
    """A count of a usage object; None where it holds none that could be."""
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value < 2**40 else None
