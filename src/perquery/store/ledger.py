"""The ledger: one thread per process that takes whatever operations wait, applies them in one transaction and
answers once it is durable (group commit).

It owns the process's lease (its holds live as long as the lease is renewed) and every write of a balance.
Nobody is told of anything before COMMIT. A batch whose outcome is unknown is sent again whole: each operation
says REPLAYED where it had taken effect. Where one operation breaks a rule of the database, the batch is rolled
back and each is run alone, so that only the culprit fails. It must never decide anything itself: that is
`books.apply`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from perquery.errors import InternalError, LedgerUnavailable
from perquery.store.books import Account, HoldRow, Key, State, apply
from perquery.store.drivers import Broken, Down, Driver, Write
from perquery.store.operations import (
    Credit,
    Extend,
    Hold,
    HoldRefund,
    House,
    Operation,
    Refund,
    Release,
    Renew,
    Result,
    Reverse,
    Settle,
)
from perquery.store.tables import HOUSE

GATEWAY = "gateway:"  # how the names of gateways' leases begin; other owners are durable jobs
LEASE_MS = 30_000
RENEW_MS = 5_000
BATCH_MAX = 512
PATIENCE_S = 6.0  # how long an operation that may be refused waits for a database that is away
PAUSE_S = 0.1
BREATH_S = 2e-4  # for each operation of the batch before: none to speak of for a single caller
BREATH_MAX_S = 0.006
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    operation: Operation
    future: asyncio.Future[Result] | None
    since: float

    @property
    def must_be_done(self) -> bool:
        """Ends of holds and money in are kept until they are durable; a request for a hold may be refused."""
        return not isinstance(self.operation, Hold | Extend | HoldRefund)


class Ledger:
    """Start with `start()` in the event loop that will await its answers; stop with `close()`."""

    def __init__(self, driver: Driver, owner: str) -> None:
        self.owner = owner
        self._driver = driver
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._renewed_ms = 0
        self._closing = False
        self._give_up_at: float | None = None
        self._alone = 0  # how many of the next operations are run one by one
        self.down = False

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def submit(self, operation: Operation) -> asyncio.Future[Result]:
        """Hand an operation over now; await the answer, or not: cancelling the wait undoes nothing.

        Raises LedgerUnavailable (Hold, Extend: the database is away, or the ledger is closed) and InternalError
        (the operation broke a rule of the database).
        """
        assert self._loop is not None, "the ledger has not started"
        future: asyncio.Future[Result] = self._loop.create_future()
        if self._closing:
            future.set_exception(LedgerUnavailable("the gateway is shutting down"))
            return future
        self._queue.put(_Waiting(operation, future, time.monotonic()))
        return future

    def post(self, operation: Operation) -> None:
        """Hand over an operation whose answer nobody awaits: it is kept until it is durable."""
        self._queue.put(_Waiting(operation, None, time.monotonic()))

    async def close(self, patience_s: float = 10.0) -> None:
        """Finish what waits (bounded), give up the lease, end the thread."""
        if self._closing:
            return
        self._closing = True
        self._give_up_at = time.monotonic() + patience_s
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    # -- the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        pending: list[_Waiting] = []
        stop = False
        while not (stop and not pending):
            stop = self._gather(pending, wait=not pending, stop=stop)
            if not pending:
                continue
            batch = pending[: 1 if self._alone else BATCH_MAX]
            try:
                done = self._attempt(batch)
            except Exception as error:  # a fault in one operation must not end the thread that ends all holds
                _log.exception("the ledger failed")
                done = self._broken(batch, error)
            if done is None:
                self.down = True
                pending = self._wait_out(pending)
                continue
            self.down = False
            self._answer(done)
            del pending[: len(done)]
            self._alone = max(0, self._alone - len(done))
            # Others write this database too, and the next batch grows meanwhile: fewer commits, less work each.
            time.sleep(min(BREATH_MAX_S, len(done) * BREATH_S))
        self._driver.drop()

    def _gather(self, pending: list[_Waiting], *, wait: bool, stop: bool) -> bool:
        """Move what waits in the queue to `pending`; whether the end was asked for."""
        while len(pending) < BATCH_MAX:
            try:
                item = self._queue.get(block=wait and not stop)
            except queue.Empty:
                break
            wait = False
            if item is None:
                stop = True
            else:
                pending.append(item)
        return stop

    def _wait_out(self, pending: list[_Waiting]) -> list[_Waiting]:
        """The database is away: refuse what may be refused and has waited long enough, keep the rest."""
        now = time.monotonic()
        gone = LedgerUnavailable("the ledger's database does not answer")
        given_up = self._give_up_at is not None and now > self._give_up_at
        kept: list[_Waiting] = []
        refused: list[_Waiting] = []
        for waiting in pending:
            late = given_up or (not waiting.must_be_done and now - waiting.since > PATIENCE_S)
            (refused if late else kept).append(waiting)
        self._answer([(waiting, gone) for waiting in refused])
        if kept:
            time.sleep(PAUSE_S)
        return kept

    def _answer(self, done: Sequence[tuple[_Waiting, Result | Exception]]) -> None:
        waited = [(waiting.future, answer) for waiting, answer in done if waiting.future is not None]
        if waited and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(_resolve, waited)

    def _attempt(self, batch: list[_Waiting]) -> list[tuple[_Waiting, Result | Exception]] | None:
        """The batch's answers once durable; none yet where it has to be taken apart; None: the database is away."""
        try:
            results = self._transact([waiting.operation for waiting in batch])
        except Down:
            self._driver.drop()
            return None
        except Broken as error:
            return self._broken(batch, error)
        return list(zip(batch, results, strict=True))

    def _broken(self, batch: list[_Waiting], error: Exception) -> list[tuple[_Waiting, Result | Exception]]:
        """Something in the batch is wrong: run its operations one by one, or say so where there is but one."""
        self._driver.drop()
        if len(batch) > 1:
            self._alone = len(batch)
            return []
        _log.error("the ledger refused a %s: %s", type(batch[0].operation).__name__, error)
        return [(batch[0], InternalError(f"the ledger refused an operation: {error}"))]

    def _transact(self, operations: list[Operation]) -> list[Result]:
        state = self._load(operations)
        results = [apply(state, operation) for operation in operations]
        writes = _writes(state)
        renew = not 0 <= state.now_ms - self._renewed_ms < RENEW_MS
        if renew:
            writes.append(("renew", [(self.owner, self.owner, state.now_ms + LEASE_MS)]))
        self._driver.finish(writes)
        if renew:
            self._renewed_ms = state.now_ms
        return results

    def _load(self, operations: list[Operation]) -> State:
        """Lock and read the rows that the operations touch."""
        wanted = _wanted(operations)
        now_ms, rows = self._driver.load([(name, (values,)) for name, values in wanted.items()])
        found = dict(zip(wanted, rows, strict=True))
        state = State(now_ms, self.owner)
        state.accounts = {row[0]: Account(*row) for row in found.get("accounts", ())}
        state.keys = {row[0]: _key(row) for row in found.get("keys", ())}
        state.holds = {row[0]: HoldRow(*row) for row in found.get("holds", ())}
        for row in (*found.get("references", ()), *found.get("prefixes", ())):
            state.references[row[0], row[1]] = row[2]
        self._load_late(operations, state)
        return state

    def _load_late(self, operations: list[Operation], state: State) -> None:
        """What only rare operations need: transfers of settles whose hold is gone, leases of lapsed owners."""
        late = [op for op in operations if isinstance(op, Settle) and op.id not in state.holds]
        references = [(op.account_id, name) for op in late for name in (op.id, f"{op.id}:shortfall")]
        swept = [op for op in operations if isinstance(op, Release) and op.if_lapsed and op.id in state.holds]
        owners = {state.holds[op.id].owner for op in swept}
        if references:
            _, (rows,) = self._driver.load([("references", (orjson.dumps(references).decode(),))])
            state.references.update({(row[0], row[1]): row[2] for row in rows})
        if owners:
            names = orjson.dumps(sorted(owners)).decode()
            _, (rows,) = self._driver.load([("live", (names, state.now_ms))])
            gateways = {owner for owner in owners if owner.startswith(GATEWAY)}
            state.lapsed = frozenset(gateways - {row[0] for row in rows} - {self.owner})  # who asks is alive


def _resolve(answers: list[tuple[asyncio.Future[Result], Result | Exception]]) -> None:
    for future, answer in answers:
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def _key(row: Sequence[Any]) -> Key:
    key = Key(*row)
    key.models = frozenset(orjson.loads(row[6])) if row[6] else None
    key.prompt_caching = bool(key.prompt_caching)  # SQLite answers 0 or 1
    return key


def _wanted(operations: list[Operation]) -> dict[str, str]:
    """Which rows to load, by statement, as JSON; accounts before keys: the order in which they are locked."""
    accounts: set[int] = set()
    keys: set[str] = set()
    holds: set[str] = set()
    references: list[tuple[int, str]] = []
    prefixes: list[tuple[int, str]] = []
    for op in operations:
        match op:
            case Hold() | Extend() | Settle() | Release():
                accounts.add(op.account_id)
                holds.add(op.id)
                if op.key_id:
                    keys.add(op.key_id)
            case Credit():
                accounts.add(op.account_id)
                references.append((op.account_id, op.reference))
            case Reverse():
                accounts.add(op.account_id)
                prefixes.append((op.account_id, op.of))
            case HoldRefund() | Refund():
                accounts.add(op.account_id)
                holds.add(op.id)
                references += [(op.account_id, op.reference), (op.account_id, f"{op.reference}:debt")]
            case House():
                references.append((HOUSE, op.reference))
            case Renew():
                pass
    wanted: dict[str, Sequence[Any]] = {
        "accounts": sorted(accounts),
        "keys": sorted(keys),
        "holds": sorted(holds),
        "references": references,
        "prefixes": prefixes,
    }
    return {name: orjson.dumps(values).decode() for name, values in wanted.items() if values}


def _writes(state: State) -> list[Write]:
    """The rows that bring the database to the state, in an order that its constraints accept."""
    accounts = [state.accounts[id] for id in sorted(state.touched_accounts)]
    keys = [state.keys[id] for id in sorted(state.touched_keys)]
    rows: list[Write] = [
        ("set_accounts", [(a.id, a.posted, a.held, a.owed, a.bonus) for a in accounts]),
        ("set_keys", [(k.id, k.period, k.period_used, k.period_held, k.total_used) for k in keys]),
        ("set_holds", list(state.resized.items())),
        ("end_holds", [(id,) for id in state.ended]),
        ("add_holds", [row.values() for row in state.new_holds.values()]),
        ("add_transfers", state.transfers),
        ("put_requests", list(state.records.values())),
    ]
    return [(name, values) for name, values in rows if values]
