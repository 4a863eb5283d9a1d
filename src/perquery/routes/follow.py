"""Server-sent events: what happens to an account's invoices, to one caller, until one of the two ends it.

Under uvicorn only `receive` tells that the caller has gone, so it is watched beside the writing. A stream that ends
loses nothing: every event carries the number from which the next stream goes on. It must never hold a connection
of the database between two events.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from sqlalchemy.exc import OperationalError
from starlette.responses import Response

from perquery.errors import BadRequest
from perquery.metering.caller import SSE_HEADERS, Receive, Send
from perquery.topups.feed import Feed, Listener

KEEP_ALIVE_S: Final = 15.0
STALL_S: Final = 60.0  # who reads nothing for so long is gone
_KEEP_ALIVE: Final = b": keep-alive\n\n"


async def follow(
    state: Any, account_id: int, invoice_id: str | None, last_event_id: str | None, *, viewed: bool = False
) -> Response:
    """The stream of an account's invoices, or of one; last_event_id: as the caller named it. Raises BadRequest.

    state: the gateway's parts by name. viewed: for somebody who has shown no more than the invoice's address.
    """
    given = last_event_id
    if given is not None and not (given.isascii() and given.isdecimal() and len(given) <= 18):
        raise BadRequest("`Last-Event-ID` must be the id of an event of this stream.", param="Last-Event-ID")
    after = int(given) if given is not None else None
    if invoice_id is not None and after is not None and await state.feed.over(account_id, invoice_id, after):
        return Response(status_code=204)  # which tells a browser not to connect again
    place = (account_id, invoice_id if viewed else None)
    return Following(state.feed, state.stopping, place, invoice_id, after)


class Following(Response):
    """The stream as an answer. Raises TooManyRequests, before it begins."""

    media_type = "text/event-stream"

    def __init__(
        self,
        feed: Feed,
        stopping: asyncio.Event,
        place: tuple[int, str | None],
        invoice_id: str | None,
        after: int | None,
    ) -> None:
        super().__init__()
        self._feed = feed
        self._stopping = stopping
        self._place = place
        self._invoice_id = invoice_id
        self._after = after

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        with self._feed.listening(*self._place) as listener:
            await send({"type": "http.response.start", "status": 200, "headers": list(SSE_HEADERS)})
            writing = asyncio.create_task(self._write(listener, _Pen(send)))
            ends = {writing, asyncio.create_task(_gone(receive)), asyncio.create_task(self._stopping.wait())}
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in ends:
                    task.cancel()
                await asyncio.gather(*ends, return_exceptions=True)
        await _bounded(send({"type": "http.response.body", "body": b"", "more_body": False}), 1.0)

    async def _write(self, listener: Listener, pen: _Pen) -> None:
        """Every event, and comments where nothing happens."""
        silence = asyncio.create_task(pen.keep_alive())
        try:
            async for found in self._feed.news(listener, self._invoice_id, self._after):
                pieces = [f"event: invoice\nid: {each.number}\ndata: {each.body}\n\n" for each in found.events]
                # Without data it is no event, but what a browser names when it comes back.
                await pen.write("".join([*pieces, f"id: {found.newest}\n\n" if not pieces else ""]).encode())
        except (OperationalError, TimeoutError):
            return  # the database is away, or nothing is read: the caller comes back and goes on
        finally:
            silence.cancel()


class _Pen:
    """Writes pieces one after the other."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._turn = asyncio.Lock()

    async def write(self, piece: bytes) -> None:
        async with self._turn, asyncio.timeout(STALL_S):
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def keep_alive(self) -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_S)
            await self.write(_KEEP_ALIVE)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _bounded(work: Any, within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s):
            await work
    except TimeoutError:
        pass
