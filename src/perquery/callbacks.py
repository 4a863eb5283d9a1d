"""Callers' webhooks: tells who asked to be told that a job has ended, signed, again and again until it is taken.

The address is a caller's, so nothing inside is ever reached. Whoever comes next, in this process or another, goes on
from what is written down: a callback may come twice and never not at all, unless nobody takes it for an hour.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from perquery.config import Settings, WebhookSetting, is_loopback
from perquery.outbound import Client
from perquery.store import jobs
from perquery.store.database import Database
from perquery.store.jobs import JobRow
from perquery.store.leases import Turn
from perquery.webhooks import ANSWER_S, RETRIES_S, send

LEASE: Final = "loop:callbacks"
BATCH: Final = 16
_LEASE_MS: Final = 30_000
_LOOK_S: Final = 1.0
_log = logging.getLogger(__name__)


class Callbacks:
    """One per process. clock: milliseconds of the database."""

    def __init__(
        self,
        database: Database,
        client: Client,
        settings: Settings,
        clock: Callable[[], int],
        answer_s: float = ANSWER_S,
    ) -> None:
        self.news = asyncio.Event()
        self._database = database
        self._client = client
        self._sandbox = settings.sandbox
        self._clock = clock
        self._answer_s = answer_s
        self._turn = Turn(database, LEASE, _LEASE_MS, clock)

    async def run(self) -> None:
        """The background loop, until cancelled."""
        while True:
            self.news.clear()  # before the look: what happens during it is looked for again
            sent = 0
            try:
                sent = await self.round()
            except Exception:
                _log.exception("a round of callbacks failed; trying again")
            if not sent:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self.news.wait()

    async def round(self) -> int:
        """Send what is due, where the lease is ours; how many were sent."""
        if not await self._turn.held():
            return 0
        rows = await asyncio.to_thread(jobs.hooks_due, self._database, self._clock(), BATCH)
        await asyncio.gather(*(self._tell(row) for row in rows))
        return len(rows)

    async def close(self) -> None:
        """Give the lease up; `run` must have been cancelled."""
        await self._turn.drop()

    async def _tell(self, row: JobRow) -> None:
        assert row.hook_url is not None and row.hook_secret is not None and row.hook_body is not None
        hook = WebhookSetting(url=row.hook_url, secret=row.hook_secret)
        body = b'{"type":"video.%b","data":%b}' % (row.state.encode(), row.hook_body.encode())
        # In the sandbox, which has no network, only loopback literals are told; elsewhere only public addresses.
        inside = self._sandbox and is_loopback(row.hook_url)
        at_s = self._clock() // 1000
        answer = await send(self._client, hook, row.id, body, at_s, self._answer_s, guard=not inside)
        tried = row.hook_attempts + 1
        changes: dict[str, Any]
        if answer.taken:
            changes = {"hook_state": "delivered"}
        elif answer.worth_again and tried <= len(RETRIES_S):
            changes = {"hook_due_at": self._clock() + RETRIES_S[tried - 1] * 1000}
        else:
            changes = {"hook_state": "failed"}
        await asyncio.to_thread(jobs.note, self._database, row.id, hook_attempts=tried, **changes)
