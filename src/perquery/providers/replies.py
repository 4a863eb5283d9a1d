"""Replies: an upstream's answer behind its head, whole or as a stream, as batches of events.

It must never let a stream that broke off pass for one that ended, nor pass on what could not be written again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, Protocol, Self

import orjson

from perquery.calls import Event, Reply
from perquery.dialects.sse import Parser, TooLong
from perquery.errors import UpstreamError
from perquery.outbound import OutboundError, Response
from perquery.providers.failures import broke

PLAIN_BYTES_MAX: Final = 64 * 2**20
_REQUEST_IDS: Final = (b"x-request-id", b"request-id", b"x-generation-id", b"x-goog-request-id")
DEPTH_MAX: Final = 250  # orjson reads deeper than it writes (254), and what is asked for usage is written again


def parsed(data: bytes) -> dict[str, Any] | Event:
    """A payload as an object, or the event that says why it is none."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return garbage(data, "is not JSON")
    if not isinstance(found, dict):
        return garbage(data, "is not an object")
    return garbage(data, "is nested too deep") if len(data) > 2 * DEPTH_MAX and too_deep(data, found) else found


def garbage(data: bytes, what: str) -> Event:
    return Event(data, error=UpstreamError("garbage", f"the upstream's answer {what}"))


def too_deep(data: bytes, found: Mapping[str, Any]) -> bool:
    """Whether it could not be written again. Few braces and brackets are never deep."""
    # `split` leaps from find to find, where `count` looks at every byte.
    if len(data.split(b"{", DEPTH_MAX)) + len(data.split(b"[", DEPTH_MAX)) <= DEPTH_MAX:
        return False
    try:
        orjson.dumps([[[[found]]]])  # with room for what is put around it
    except orjson.JSONEncodeError:
        return True
    return False


def request_id_in(response: Response) -> str | None:
    """What the upstream calls the request: vendors ask for it when something is to be looked into."""
    return response.header(*_REQUEST_IDS) or None


class Answering:
    """What every reply has: its head, and a connection to drop."""

    def __init__(self, response: Response) -> None:
        self._response = response

    @property
    def request_id(self) -> str | None:
        return request_id_in(self._response)

    def close(self) -> None:
        self._response.abort()


class Whole(Answering):
    """A reply in one piece, which `read` makes an event of."""

    def __init__(self, response: Response, read: Callable[[bytes], Event]) -> None:
        super().__init__(response)
        self._read = read
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
        return [self._read(data)]


class Payloads(Protocol):
    """What reads a stream's payloads: each as events, an error as the last. finished: whether the end has come."""

    @property
    def finished(self) -> bool: ...

    def read(self, data: bytes) -> list[Event]: ...


class Stream(Answering):
    """Server-sent events, in the batches that the network brought; the end of the body is the end."""

    def __init__(self, response: Response, payloads: Payloads) -> None:
        super().__init__(response)
        self._payloads = payloads

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
            if not self._payloads.finished:
                raise broke(error) from error
        except TooLong as error:
            raise UpstreamError("garbage", str(error)) from error
        if not self._payloads.finished:
            raise UpstreamError("down", "the stream broke off")

    def _events(self, payloads: list[bytes]) -> list[Event]:
        """The events of one batch, up to the first error."""
        batch: list[Event] = []
        for data in payloads:
            batch += self._payloads.read(data)
            if batch and batch[-1].error is not None:
                break
        return batch


class Mended:
    """A reply with every event as `mend` has it."""

    def __init__(self, reply: Reply, mend: Callable[[Event], Event]) -> None:
        self._reply = reply
        self._mend = mend

    @property
    def request_id(self) -> str | None:
        return self._reply.request_id

    async def __aiter__(self) -> AsyncIterator[list[Event]]:
        async for batch in self._reply:
            yield [self._mend(event) for event in batch]

    def close(self) -> None:
        self._reply.close()
