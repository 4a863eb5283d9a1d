"""The loop that carries refunds through: what `engine` decides, one written state after the other.

Each state is committed before the next act, so whoever comes next goes on from what is written. The sending itself is
claimed by one process (`refunds.claim`) and done once by it. This module must never end a hold of a refund that may
still be paid.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable
from typing import Any, Final, Protocol

from sqlalchemy.exc import OperationalError

from perquery.errors import PerQueryError
from perquery.payouts.wallet import Declined, Look, PayingWallet
from perquery.rails.rail import RailDown
from perquery.refunds import engine
from perquery.store import refunds
from perquery.store.database import Database
from perquery.store.leases import Turn
from perquery.store.operations import HoldRefund, Operation, Refund, Release, Result
from perquery.store.refunds import RefundRow

TICK_S: Final = 1.0
LEASE: Final = "loop:refunds"
_LEASE_MS: Final = 15_000
_WORDS_MAX: Final = 200
_log = logging.getLogger(__name__)


class Booking(Protocol):
    """What of the ledger is used here."""

    def submit(self, operation: Operation) -> asyncio.Future[Result]: ...


class Runner:
    """One per process. clock: milliseconds."""

    def __init__(self, database: Database, ledger: Booking, wallet: PayingWallet, clock: Callable[[], int]) -> None:
        self._database = database
        self._ledger = ledger
        self._wallet = wallet
        self._clock = clock
        self._turn = Turn(database, LEASE, _LEASE_MS, clock)
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._due_ms: dict[str, int] = {}
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Something was asked here: look now."""
        self._news.set()

    async def run(self) -> None:
        """The background loop, under its lease, until cancelled."""
        while True:
            self._news.clear()
            try:
                if await self._turn.held():
                    await self.round()
            except Exception:
                _log.exception("a round of refunds failed; trying again")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._news.wait()

    async def close(self) -> None:
        """Give up what is under way, as it is written down, lease and wallet; `run` must have been cancelled."""
        for task in self._busy.values():
            task.cancel()
        await self.idle()
        await self._turn.drop()
        await self._wallet.close()

    async def round(self) -> None:
        """Set to work on what nobody is busy with, and give back what was held too late."""
        rows = await asyncio.to_thread(self._unbooked)
        self._due_ms = {row.id: self._due_ms.get(row.id, 0) for row in rows}
        for row in rows:
            if row.id not in self._busy and self._clock() >= self._due_ms[row.id]:
                self._busy[row.id] = asyncio.create_task(self._work(row))
        for refund_id, account_id in await asyncio.to_thread(self._lost_holds):
            await self._ledger.submit(Release(refund_id, account_id, None))

    async def idle(self) -> None:
        """Until all that was set to work has been done."""
        await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def hold(self, row: RefundRow) -> RefundRow:
        """Reserve what a requested refund may take; how it stands then. Raises LedgerUnavailable."""
        result = await self._ledger.submit(HoldRefund(row.id, row.account_id, row.most_nano, row.bonus))
        if result.status == "REFUSED":
            said = "The account owes for a deposit that was taken back." if result.reason == "frozen" else None
            said = said or "There is less to give back by now."
            return await self._move(row, "failed", words=said, ended_at=self._clock())
        return await self._move(row, "held")

    # -- one refund ---------------------------------------------------------------------------------------

    async def _work(self, row: RefundRow) -> None:
        """All that can be done for a refund now."""
        try:
            if engine.act(row) == "hold":
                row = await self.hold(row)
            if engine.act(row) == "send":
                row = await self._send(row)
            if engine.act(row) == "look":
                row = await self._follow(row)
            if engine.act(row) == "book":
                await self._book(row)
        except (PerQueryError, OperationalError) as error:  # as it is written down, the next round goes on
            _log.warning("refund %s came to a halt: %s", row.id, error)
        finally:
            self._busy.pop(row.id, None)
            self._due_ms[row.id] = engine.next_look_ms(row, self._clock())

    async def _send(self, row: RefundRow) -> RefundRow:
        """Have the wallet asked, by the one process that has written down that it does."""
        look = await self._look(row)
        verdict = engine.verdict(row, look, self._clock())
        if verdict == "failed":
            return await self._move(row, "failed", words="It could not be sent in time.", ended_at=self._clock())
        if look is None or verdict is None:
            return row
        if verdict == "unknown":
            _log.error("refund %s: the wallet knows of its payment, but nothing is written of it", row.id)
            return await self._move(row, "unknown", wallet=look.wallet, sent_at=self._clock())
        if not await asyncio.to_thread(self._claim, row, look.wallet):
            return await asyncio.to_thread(self._load, row)
        sent = await asyncio.to_thread(self._load, row)
        try:
            await self._wallet.pay(row.invoice)
        except Declined as error:
            _log.warning("refund %s: the wallet declines: %s", row.id, error)
            return await self._move(sent, "unknown", declined_at=self._clock(), words=_told(error))
        except RailDown as error:
            _log.warning("refund %s: the wallet's answer is lost: %s", row.id, error)
            return await self._move(sent, "unknown")
        return await self._move(sent, "unknown", accepted_at=self._clock())

    async def _follow(self, row: RefundRow) -> RefundRow:
        """What has become of a payment that was sent, by the wallet's own record."""
        look = await self._look(row)
        verdict, now = engine.verdict(row, look, self._clock()), self._clock()
        if verdict == "failed":
            return await self._move(row, "failed", ended_at=now)
        if verdict != "paid" or look is None:
            gone = look is not None and look.record == "absent" and row.accepted_at is not None
            if look is not None and (gone or look.wallet != row.wallet or look.record == "paid"):
                _log.error("refund %s: the wallet has no record of this payment, or another; it stays held", row.id)
            return row
        charged_nano = engine.charge(row, look.fee_msat)
        if look.fee_msat > row.fee_most_msat:
            _log.warning("refund %s: a fee of %d msat, %d were held", row.id, look.fee_msat, row.fee_most_msat)
        proof = look.preimage if _proves(look.preimage, row.payment_hash) else None
        changes = {"fee_msat": look.fee_msat, "charged_nano": charged_nano, "preimage": proof, "words": None}
        return await self._move(row, "paid", ended_at=now, **changes)

    async def _book(self, row: RefundRow) -> None:
        """End the hold, as the refund has ended; again does no harm."""
        operation: Operation = Release(row.id, row.account_id, None)
        if row.charged_nano is not None:
            operation = Refund(row.id, row.account_id, row.charged_nano, row.bonus)
        result = await self._ledger.submit(operation)
        if result.status == "REFUSED" and result.reason != "no_hold":
            _log.error("the ledger refuses %s: %s", operation, result.reason)
            return
        await asyncio.to_thread(self._mark_booked, row)

    async def _look(self, row: RefundRow) -> Look | None:
        try:
            return await self._wallet.look(row.payment_hash)
        except RailDown as error:
            _log.warning("refund %s: the wallet does not answer: %s", row.id, error)
            return None

    async def _move(self, row: RefundRow, to: refunds.State, **changes: Any) -> RefundRow:
        return await asyncio.to_thread(self._moved, row, to, changes)

    # -- in threads: the database -------------------------------------------------------------------------

    def _unbooked(self) -> list[RefundRow]:
        with self._database.reader.begin() as connection:
            return refunds.unbooked(connection)

    def _lost_holds(self) -> list[tuple[str, int]]:
        with self._database.reader.begin() as connection:
            return refunds.lost_holds(connection)

    def _load(self, row: RefundRow) -> RefundRow:
        with self._database.reader.begin() as connection:
            return refunds.find(connection, row.id) or row

    def _claim(self, row: RefundRow, wallet: str) -> bool:
        with self._database.writer.begin() as connection:
            return refunds.claim(connection, row, wallet=wallet, sent_at=self._clock())

    def _moved(self, row: RefundRow, to: refunds.State, changes: dict[str, Any]) -> RefundRow:
        with self._database.writer.begin() as connection:
            return refunds.move(connection, row, to, **changes)

    def _mark_booked(self, row: RefundRow) -> None:
        with self._database.writer.begin() as connection:
            refunds.mark_booked(connection, row.id, self._clock())


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:_WORDS_MAX]


def _proves(preimage: str | None, payment_hash: str) -> bool:
    """Whether it is what only the payee could give for a payment. It decides nothing: wallets leave it out."""
    try:
        return hashlib.sha256(bytes.fromhex(preimage or "")).hexdigest() == payment_hash
    except ValueError:
        return False
