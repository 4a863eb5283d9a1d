"""What callers see who follow their invoices: one look at the journal a process, shared by all who listen.

The journal is the database's, so a change that another gateway made is seen too; a change made here wakes the look
at once. Nothing runs while nobody listens. It must never write, and never show an account another's invoices.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import orjson

from perquery.errors import TooManyRequests
from perquery.store import events
from perquery.store.database import Database
from perquery.store.events import InvoiceEvent, News
from perquery.store.invoices import Status

STREAMS_MAX: Final = 10  # an account's, and those who view one invoice's page, in one process
LOOK_S: Final = 0.5
FINAL: Final[tuple[Status, ...]] = ("settled", "expired", "invalid")
_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Listener:
    """One caller who listens; `news` is set when the account's invoices have changed. viewed: the invoice whose page
    is looked at, by whoever has its address; None: a caller with the account's credential.
    """

    account_id: int
    viewed: str | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Feed:
    """One event loop's. look_s: how often the journal is looked at while somebody listens."""

    def __init__(self, database: Database, look_s: float = LOOK_S) -> None:
        self._database = database
        self._look_s = look_s
        self._listeners: set[Listener] = set()
        self._woken = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Something has changed here: look now."""
        self._woken.set()

    @contextmanager
    def listening(self, account_id: int, viewed: str | None = None) -> Iterator[Listener]:
        """A place among the listeners. Raises TooManyRequests where the account, or the invoice that is viewed, has its
        full number: who has only an invoice's address takes no place of the account's.
        """
        alike = sum((each.account_id, each.viewed) == (account_id, viewed) for each in self._listeners)
        if alike >= STREAMS_MAX:
            whose = "This account follows its invoices" if viewed is None else "This invoice is followed"
            text = f"{whose} on {STREAMS_MAX} connections already; close one of them."
            raise TooManyRequests(text, code="too_many_streams", headers={"retry-after": "5"})
        listener = Listener(account_id, viewed)
        self._listeners.add(listener)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._looking.cancel()
                self._looking = None

    async def news(self, listener: Listener, invoice_id: str | None, after: int | None) -> AsyncIterator[News]:
        """The listener's events for ever, or until an invoice that is named has reached a final state.

        after: the number of the last event that was seen. None, or one that is not given yet (the database is an
        older copy): begin with how the open invoices, or the one named, stand.
        """
        begin = after is None or after > await asyncio.to_thread(events.newest, self._database)
        seen = after or 0
        while True:
            listener.news.clear()  # before the look: what happens during it is looked for again
            arguments = (self._database, listener.account_id, invoice_id)
            if begin:
                found = await asyncio.to_thread(events.standing, *arguments)
            else:
                found = await asyncio.to_thread(events.since, *arguments, seen)
            whole = begin or len(found.events) < events.BATCH
            seen = found.newest if whole else found.events[-1].number
            if found.events or begin:
                yield found
            if invoice_id is not None and found.events and _final(found.events[-1]):
                return
            begin = False
            if whole:
                await listener.news.wait()

    async def over(self, account_id: int, invoice_id: str, after: int) -> bool:
        """Whether the invoice has reached a final state, and the caller has seen it."""
        found = await asyncio.to_thread(events.standing, self._database, account_id, invoice_id)
        return any(_final(event) and event.number <= after <= found.newest for event in found.events)

    async def _look(self) -> None:
        """The background loop: who has news, until nobody listens."""
        seen: int | None = None
        while True:
            self._woken.clear()
            try:
                seen = await self._tell(seen)
            except Exception:
                _log.exception("the journal of invoices could not be read; trying again")
            try:
                async with asyncio.timeout(self._look_s):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def _tell(self, seen: int | None) -> int:
        """Wake whoever has news since `seen`, at the first look everybody; the newest number."""
        if seen is None:
            newest, changed = await asyncio.to_thread(events.newest, self._database), None
        else:
            newest, changed = await asyncio.to_thread(events.accounts_since, self._database, seen)
        for listener in self._listeners:
            if changed is None or listener.account_id in changed:
                listener.news.set()
        return newest


def _final(event: InvoiceEvent) -> bool:
    return orjson.loads(event.body)["state"] in FINAL
