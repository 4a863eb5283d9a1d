"""Durable jobs: a row for each, from before its upstream is asked until its caller has forgotten it.

A state is committed before the next act, and every move says from where, so that one of several processes wins it. A
verdict is written down before the money moves by it. Prompts are never kept: what was not sent is never sent later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Connection, and_, delete, insert, or_, select, update

from perquery.store.database import Database
from perquery.store.tables import jobs

# new: written down, perhaps held. sending: the upstream may have been asked. running: it has said what it calls it.
# settling, releasing: the verdict is there, the money follows. completed, failed: all is done.
State: TypeAlias = Literal["new", "sending", "running", "settling", "releasing", "completed", "failed"]
OWNER: Final = "job:"  # of holds
_ENDED: Final = ("completed", "failed")


@dataclass(frozen=True, slots=True)
class JobRow:
    """counts: the units that it will count, as JSON. price: table, version and markup, as JSON. ticket: what the
    upstream calls it. verdict: the ledger's operation, as JSON. token: opens the content without a key. hook_state:
    "" where nobody is to be told. Times in milliseconds of the database.
    """

    id: str
    account_id: int
    key_id: str | None
    kind: str
    shape: str
    source: str
    model: str
    provider: str
    upstream_model: str
    state: State
    counts: str
    price: str
    quoted_nano: int
    token: str
    created_at: int
    due_at: int
    ticket: str | None = None
    progress: int = 0
    looks: int = 0
    sent_at: int | None = None
    verdict: str | None = None
    cost_nano: int | None = None
    error_code: str | None = None
    error: str | None = None
    media_type: str | None = None
    media_bytes: int | None = None
    content_until: int | None = None
    deleted_at: int | None = None
    ended_at: int | None = None
    hook_url: str | None = None
    hook_secret: str | None = None
    hook_body: str | None = None
    hook_state: Literal["", "pending", "delivered", "failed"] = ""
    hook_attempts: int = 0
    hook_due_at: int = 0

    @property
    def ended(self) -> bool:
        return self.state in _ENDED


_COLUMNS: Final = [jobs.c[name] for name in JobRow.__slots__]


def add(database: Database, row: JobRow) -> None:
    values = {name: getattr(row, name) for name in JobRow.__slots__}
    with database.writer.begin() as connection:
        connection.execute(insert(jobs).values(values))


def drop(database: Database, id: str) -> None:
    """Forget a job for which nothing was held."""
    with database.writer.begin() as connection:
        connection.execute(delete(jobs).where(jobs.c.id == id, jobs.c.state == "new"))


def move(database: Database, id: str, before: State, after: State, **changes: Any) -> bool:
    """From one state to another; whether this process made the move."""
    statement = update(jobs).where(jobs.c.id == id, jobs.c.state == before).values(state=after, **changes)
    with database.writer.begin() as connection:
        return connection.execute(statement).rowcount == 1


def note(database: Database, id: str, **changes: Any) -> None:
    """What changes no state."""
    with database.writer.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id == id).values(**changes))


def find(database: Database, account_id: int, id: str) -> JobRow | None:
    """The account's job of that id."""
    query = select(*_COLUMNS).where(jobs.c.id == id, jobs.c.account_id == account_id)
    with database.reader.begin() as connection:
        return _one(connection, query)


def opened(database: Database, id: str) -> JobRow | None:
    """A job whoever asks: for who knows its token, and for its own loop."""
    with database.reader.begin() as connection:
        return _one(connection, select(*_COLUMNS).where(jobs.c.id == id))


def latest(database: Database, account_id: int, kind: str, before: str | None, limit: int) -> list[JobRow]:
    """The account's jobs, newest first, those before that id; forgotten ones are left out."""
    mine = [jobs.c.account_id == account_id, jobs.c.kind == kind, jobs.c.deleted_at.is_(None)]
    if before is not None:
        mine.append(jobs.c.id < before)
    query = select(*_COLUMNS).where(*mine).order_by(jobs.c.id.desc()).limit(limit)
    with database.reader.begin() as connection:
        return _all(connection, query)


def due(database: Database, now_ms: int, lost_before_ms: int, limit: int) -> list[JobRow]:
    """What has to be done next: verdicts to carry out, jobs to look at, and those whose sender is gone."""
    lost = and_(jobs.c.state.in_(("new", "sending")), jobs.c.due_at <= lost_before_ms)
    waiting = and_(jobs.c.state == "running", jobs.c.due_at <= now_ms)
    decided = and_(jobs.c.state.in_(("settling", "releasing")), jobs.c.due_at <= now_ms)
    query = select(*_COLUMNS).where(or_(waiting, decided, lost)).order_by(jobs.c.due_at).limit(limit)
    with database.reader.begin() as connection:
        return _all(connection, query)


def hooks_due(database: Database, now_ms: int, limit: int) -> list[JobRow]:
    """Ended jobs whose callers are to be told now."""
    waiting = (jobs.c.hook_state == "pending", jobs.c.hook_due_at <= now_ms, jobs.c.ended_at.is_not(None))
    with database.reader.begin() as connection:
        return _all(connection, select(*_COLUMNS).where(*waiting).order_by(jobs.c.hook_due_at).limit(limit))


def _one(connection: Connection, query: Any) -> JobRow | None:
    row = connection.execute(query).one_or_none()
    return JobRow(**row._mapping) if row is not None else None


def _all(connection: Connection, query: Any) -> list[JobRow]:
    rows: Sequence[Any] = connection.execute(query).all()
    return [JobRow(**row._mapping) for row in rows]
