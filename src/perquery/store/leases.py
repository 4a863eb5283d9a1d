"""Named leases: which process runs a background loop. A row per name, judged by the database's time.

A lease saves work, it never guards money: what runs under it must be right when two hold it for a moment.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from sqlalchemy import text

from perquery.store.database import Database

# One statement: take it if it is free, lapsed or ours; zero rows changed means that another process has it.
_TAKE = text(
    "INSERT INTO leases (name, holder, expires_at) VALUES (:name, :holder, :expires_at)"
    " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at"
    " WHERE leases.holder = excluded.holder OR leases.expires_at <= :now"
)
_DROP = text("DELETE FROM leases WHERE name = :name AND holder = :holder")


def take(database: Database, name: str, holder: str, lasts_ms: int) -> bool:
    """Take or renew the lease for `lasts_ms` from now; whether it is `holder`'s."""
    now = database.now_ms()
    values = {"name": name, "holder": holder, "expires_at": now + lasts_ms, "now": now}
    with database.writer.begin() as connection:
        return connection.execute(_TAKE, values).rowcount == 1


def drop(database: Database, name: str, holder: str) -> None:
    """Give the lease up, so that another process need not wait for its end."""
    with database.writer.begin() as connection:
        connection.execute(_DROP, {"name": name, "holder": holder})


class Turn:
    """A background loop's turn, among all processes that have the same loop. clock: milliseconds; renewed three times
    while a lease lasts.
    """

    def __init__(self, database: Database, name: str, lasts_ms: int, clock: Callable[[], int]) -> None:
        self._database = database
        self._name = name
        self._lasts_ms = lasts_ms
        self._clock = clock
        self._holder = secrets.token_hex(8)
        self._renew_due_ms = 0

    async def held(self) -> bool:
        """Whether it is ours now; taken or renewed where that is due."""
        now = self._clock()
        if now < self._renew_due_ms:
            return True
        taken = await asyncio.to_thread(take, self._database, self._name, self._holder, self._lasts_ms)
        self._renew_due_ms = now + self._lasts_ms // 3 if taken else 0
        return taken

    async def drop(self) -> None:
        """Give it up, if it may be ours."""
        if self._renew_due_ms:
            await asyncio.to_thread(drop, self._database, self._name, self._holder)
