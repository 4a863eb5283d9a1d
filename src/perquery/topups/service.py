"""Top-ups: making invoices, hearing the rails, crediting what was paid, once.

The order is what makes a crash harmless at every point: a receipt is written down; what it is worth is decided
and written down; the ledger credits it under the reference `rail:receipt`, which it does only once; then the
receipt is marked. Whoever comes next, here or in another process, goes on from what is written. This module must
never credit anything but what a rail reported, nor let an invoice expire that its rail was not asked about.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from sqlalchemy import Connection

from perquery import money
from perquery.config import Settings
from perquery.errors import BadRequest, InternalError, NotFound, TooManyRequests, Unavailable
from perquery.rails.rail import PayableRequest, Pushed, Rail, RailDown, Receipt, Revalued, Watched, Whole
from perquery.rates.rate import Rates
from perquery.store import invoices
from perquery.store.database import Database
from perquery.store.idempotency import Once, once
from perquery.store.invoices import InvoiceRow, ReceiptRow
from perquery.store.leases import Turn
from perquery.store.operations import Credit, Operation, Result, Reverse
from perquery.topups import first_week
from perquery.topups.ear import Ear
from perquery.topups.events import Events
from perquery.topups.invoice import MONITORING_MS, Market, Step, Topup, advance, heard, stands
from perquery.topups.methods import Method, Terms, methods_from, receivable, terms

TICK_S = 0.2
STATUS_PATIENCE_S = 5.0
HEAR_S = 30.0  # the longest that one rail may take to answer
_IDLE_MS = 5_000  # between two questions to a rail of which nothing is awaited
_EVER_MS = 3_600_000  # between two looks at all addresses that were ever given out: they can be paid for ever
LEASE = "loop:topups"
_LEASE_MS = 15_000
_SWEEP_MS = 5_000
_STANDBY_S = 1.0
_PAGES_MAX = 20
_DOLLAR = 10**9
_ID_LETTERS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_ID_LENGTH = 22  # 128 bits, the length that PPQ's clients know
_log = logging.getLogger(__name__)


class Crediting(Protocol):
    """What of the ledger is used here."""

    def submit(self, operation: Operation) -> asyncio.Future[Result]: ...


class Topups:
    """clock: milliseconds. news: set by a rail that was pushed a payment. Several may run on one database, in one
    process or many. changed: called after every change of an invoice that is made here, for whoever waits for one.
    """

    def __init__(
        self,
        database: Database,
        ledger: Crediting,
        rails: Mapping[str, Rail],
        rates: Rates,
        settings: Settings,
        clock: Callable[[], int],
        news: asyncio.Event | None = None,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._ears = {name: Ear(rail) for name, rail in rails.items()}
        self._news = news or asyncio.Event()
        self._rates = rates
        self._clock = clock
        self._open_max = settings.limits.open_invoices_per_account
        self._methods = methods_from(settings)
        self._events = Events(settings)
        self.changed: Callable[[], None] = _nobody
        self._sweeping = asyncio.Lock()
        self._sweep_due_ms = 0
        self._turn = Turn(database, LEASE, _LEASE_MS, clock)

    async def payment_methods(self) -> list[tuple[Method, bool]]:
        """The ways to be paid, with what their wallets can receive now as the limit; and whether each is open: its
        wallet is proven and has answered this process, and can receive something.
        """
        now = self._clock()
        if first := [name for name, ear in self._ears.items() if ear.is_worth_a_wait(now)]:
            await self._poll_patiently(*first)
        listed = [(self._within(name), ear.is_open) for name, ear in self._ears.items()]
        return [(method, is_open and bool(method.currencies)) for method, is_open in listed]

    def method(self, name: str) -> Method:
        """A way to be paid. BadRequest where it is unknown, Unavailable where its wallet can receive nothing now."""
        if name not in self._ears:
            offered = ", ".join(self._ears) or "none on this gateway"
            raise BadRequest(f"Unknown payment method {name[:40]!r}. Available: {offered}.", param="method")
        method = self._within(name)
        if not method.currencies:
            raise Unavailable(f"{method.display_name} can receive nothing now; try again later.", code="rail_down")
        return method

    def rate(self, method: Method) -> int | None:
        """Nano-USD for a whole coin now; None where there is none."""
        try:
            return _DOLLAR if method.coin == "USD" else self._rates.usd_nano_per_coin(method.coin)
        except Unavailable:
            return None

    def _within(self, name: str) -> Method:
        method = self._methods[name]
        return receivable(method, self._ears[name].rail.receivable, self.rate(method))

    async def create(
        self, account_id: int, rail: str, amount: Any, currency: Any, *, key: str | None = None, body: bytes = b""
    ) -> Topup:
        """A new invoice. amount: int, Decimal or decimal text in `currency` (None: USD). key: the caller's
        Idempotency-Key; with the same body it gets the invoice that was made with it.

        Raises BadRequest (parameter and what is right), Conflict, TooManyRequests, Unavailable (no rate, rail down).
        """
        asked = once(key, rail.encode() + b"\n" + body) if key is not None else None
        if asked is not None and (made := await asyncio.to_thread(self._made_before, account_id, asked)):
            return made
        method = self.method(rail)
        rate = _DOLLAR if method.coin == "USD" else self._rates.usd_nano_per_coin(method.coin)
        agreed = terms(method, amount, currency, rate)
        if await asyncio.to_thread(self._open_invoices, account_id, self._clock()) >= self._open_max:
            # The one that has just filled it up may be this very one, made by a request beside this.
            if asked is not None and (made := await asyncio.to_thread(self._made_before, account_id, asked)):
                return made
            raise self._too_many()
        topup = await self._make(account_id, method, agreed, rate, asked)
        self.changed()
        return topup

    async def _make(self, account_id: int, method: Method, agreed: Terms, rate: int, asked: Once | None) -> Topup:
        created_at = self._clock() // 1000 * 1000
        invoice_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
        number = await asyncio.to_thread(self._number, method.name) if method.uri else 0
        request = PayableRequest(agreed.due, f"PerQuery top-up {invoice_id}", method.expiry_s, number)
        try:
            payable = await self._ears[method.name].rail.make(request)
        except RailDown as error:
            _log.warning("%s: no invoice: %s", method.name, error)
            raise Unavailable(f"{method.display_name} does not answer now; try again.", code="rail_down") from error
        bonus = method.bonus or money.Ratio(0, 1)
        invoice = InvoiceRow(
            id=invoice_id,
            account_id=account_id,
            rail=method.name,
            **agreed.columns,
            bonus_numerator=bonus.numerator,
            bonus_denominator=bonus.denominator,
            usd_nano_per_coin=rate,
            payable=payable.text,
            rail_ref=payable.rail_ref,
            created_at=created_at,
            expires_at=created_at + method.expiry_s * 1000,
            idempotency_key=asked.key if asked else None,
            body_hash=asked.body_hash if asked else None,
        )
        self._ears[method.name].due_ms = 0
        return await asyncio.to_thread(self._add, invoice, asked)

    async def status(self, account_id: int | None, invoice_id: str) -> Topup:
        """The invoice as it stands now: its rail is asked first. Another account's is NotFound; None sees all."""
        # What cannot be an id of ours is not asked for: PostgreSQL takes no text with a NUL.
        possible = len(invoice_id) == _ID_LENGTH and invoice_id.isalnum() and invoice_id.isascii()
        topup = await asyncio.to_thread(self._load, invoice_id) if possible else None
        if topup is None or account_id not in (None, topup.invoice.account_id):
            raise NotFound("Invoice not found")
        if topup.step.status == "settled":
            return topup
        await self._poll_patiently(topup.invoice.rail)
        return await asyncio.to_thread(self._load, invoice_id) or topup

    async def latest(self, account_id: int, limit: int) -> list[Topup]:
        """The account's invoices, newest first; the rails are asked first."""
        await self._poll_patiently()
        return await asyncio.to_thread(self._latest, account_id, limit)

    async def poll(self, *names: str) -> None:
        """Hear these rails (all, where none is named) and credit what has come, in a round that begins after this
        call (shared by all who ask meanwhile). Raises LedgerUnavailable; may be cancelled anywhere.
        """
        ears = [(name, ear) for name, ear in self._ears.items() if name in names or not names]
        outcomes = await asyncio.gather(*(self._listen(name, ear) for name, ear in ears), return_exceptions=True)
        await self._sweep()
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    def pushed(self, rail: str, payload: bytes, signature: str) -> bool:
        """A webhook for a rail; whether it is signed by whom the rail expects. Raises NotFound where none is taken."""
        ear = self._ears.get(rail)
        if ear is None or not isinstance(ear.rail, Pushed):
            raise NotFound("No webhook is taken here")
        return ear.rail.pushed(payload, signature)

    def heard_ms(self, rail: str) -> int | None:
        """The time up to which the rail has been heard by this process; None where it has not been."""
        ear = self._ears.get(rail)
        return ear.heard_ms if ear is not None else None

    async def _poll_patiently(self, *names: str) -> None:
        """A round for somebody who waits: where a rail hangs, go on with what is known."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STATUS_PATIENCE_S):
                await self.poll(*(name for name in names if name in self._ears))

    async def run(self) -> None:
        """The background loop: under the lease, each rail at its own pace and at once where it was pushed something,
        until cancelled.
        """
        while True:
            holding = False
            try:
                holding = await self._turn.held()
                if holding:
                    await self._due()
            except Exception:
                _log.exception("a round of top-ups failed; trying again")
                holding = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S if holding else _STANDBY_S):
                    await self._news.wait()

    async def _due(self) -> None:
        """Hear the rails whose time has come."""
        pushed, now = self._news.is_set(), self._clock()
        self._news.clear()
        due = [name for name, ear in self._ears.items() if pushed or now >= ear.due_ms]
        if due:
            await self.poll(*due)
        else:
            await self._sweep()

    async def close(self) -> None:
        """Close the rails and give up the lease; `run` must have been cancelled."""
        for ear in self._ears.values():
            await ear.rail.close()
        await self._turn.drop()

    async def _listen(self, name: str, ear: Ear) -> None:
        """One round of one rail."""
        begun = ear.rounds
        async with ear.turn:
            if ear.rounds != begun:
                return
            ear.begin(self._clock())
            touched: list[str] = []
            try:
                async with asyncio.timeout(HEAR_S):
                    await self._hear(name, ear, touched)
            except (RailDown, TimeoutError) as error:
                ear.due_ms = self._clock() + round(ear.rail.pace_s * 1000)
                _log.warning("%s: not heard: %s", name, error)
            if touched:
                self._sweep_due_ms = 0  # a failure or a cancellation here: the next sweep comes back to all of them
            for invoice_id in dict.fromkeys(touched):
                await self._finish(invoice_id)
            if ear.heard_ms is not None:  # what came is credited before the wallet is asked anything else
                await ear.prove(name, self._clock())

    async def _sweep(self) -> None:
        """Go on with what an earlier round did not finish."""
        async with self._sweeping:
            now = self._clock()
            if now < self._sweep_due_ms:
                return
            for invoice_id in dict.fromkeys(await asyncio.to_thread(self._left_over)):
                await self._finish(invoice_id)
            self._sweep_due_ms = now + _SWEEP_MS

    async def _hear(self, name: str, ear: Ear, touched: list[str]) -> None:
        """Write down what the rail has to report. touched: gets the ids of the invoices concerned."""
        asked_ms = self._clock()
        ever = self._methods[name].uri is not None and asked_ms >= ear.ever_due_ms
        before, watched = await asyncio.to_thread(self._awaited, name, asked_ms, ever=ever)
        for _ in range(_PAGES_MAX):
            try:
                reported, after = await ear.rail.receipts(before, watched)
            except RailDown as error:
                if error.found:
                    written = await asyncio.to_thread(self._write_down, name, error.found, before, before)
                    touched += written or []
                raise
            if reported or after != before:
                written = await asyncio.to_thread(self._write_down, name, reported, before, after)
                if written is None:  # another gateway was faster: what it wrote down is where to go on
                    before, _ = await asyncio.to_thread(self._awaited, name, asked_ms, ever=ever)
                    continue
                touched += written
            done, before = after == before, after
            if done:
                ear.heard_ms = asked_ms
                ear.ever_due_ms = asked_ms + _EVER_MS if ever else ear.ever_due_ms
                ear.due_ms = asked_ms + (round(ear.rail.pace_s * 1000) if watched else _IDLE_MS)
                break

    async def _finish(self, invoice_id: str) -> None:
        """Decide, credit and mark what an invoice's receipts call for; again and again does no harm."""
        invoice, decided, vanished = await asyncio.to_thread(self._decide, invoice_id)
        try:
            if credited := [row.receipt_id for row in decided if await self._credit(invoice, row)]:
                vanished = await asyncio.to_thread(self._mark, invoice_id, credited, [])
            if gone := [row.receipt_id for row in vanished if await self._take_back(invoice, row)]:
                await asyncio.to_thread(self._mark, invoice_id, [], gone)
        except InternalError:
            # This invoice breaks a rule of the database: the operator must look, the others go on.
            _log.exception("invoice %s cannot be credited", invoice_id)
        self.changed()

    async def _credit(self, invoice: InvoiceRow, row: ReceiptRow) -> bool:
        amount, bonus = row.credit_nano or 0, row.bonus_nano or 0
        if not amount:
            return True
        part = money.Ratio(bonus, amount) if bonus else None
        return await self._submit(Credit(invoice.account_id, _reference(row), amount, f"deposits:{invoice.rail}", part))

    async def _take_back(self, invoice: InvoiceRow, row: ReceiptRow) -> bool:
        if not row.credit_nano:
            return True
        return await self._submit(Reverse(invoice.account_id, _reference(row), row.credit_nano))

    async def _submit(self, operation: Credit | Reverse) -> bool:
        result = await self._ledger.submit(operation)
        if result.status == "REFUSED":
            _log.error("the ledger refuses %s: %s", operation, result.reason)
        return result.status != "REFUSED"

    # -- in threads: the database -------------------------------------------------------------------------

    def _number(self, rail: str) -> int:
        with self._database.writer.begin() as connection:
            return invoices.next_number(connection, rail)

    def _open_invoices(self, account_id: int, now_ms: int) -> int:
        with self._database.reader.begin() as connection:
            return invoices.count_open(connection, account_id, now_ms)

    def _made_before(self, account_id: int, asked: Once) -> Topup | None:
        with self._database.reader.begin() as connection:
            return self._made_with(connection, account_id, asked)

    def _made_with(self, connection: Connection, account_id: int, asked: Once) -> Topup | None:
        """The invoice that was made with that key. Raises Conflict where it was made for another body."""
        invoice = invoices.find_by_key(connection, account_id, asked.key)
        if invoice is None:
            return None
        asked.check(invoice.body_hash or b"")
        return self._topup(invoice, invoices.receipts_of(connection, [invoice.id]))

    def _add(self, invoice: InvoiceRow, asked: Once | None) -> Topup:
        """The new invoice, or what another request with the same key made meanwhile: then this one's payable stays
        unused in the wallet.
        """
        with self._database.writer.begin() as connection:
            invoices.lock_account(connection, invoice.account_id)
            if asked is not None and (made := self._made_with(connection, invoice.account_id, asked)):
                return made
            if invoices.find_by_ref(connection, invoice.rail, invoice.rail_ref) is not None:
                _log.error("%s: its wallet handed out %s a second time", invoice.rail, invoice.rail_ref)
                raise Unavailable("The wallet made no new invoice; try again.", code="rail_down")
            first_week.check(connection, self._methods[invoice.rail], invoice, self._clock())
            if not invoices.add(connection, invoice, open_max=self._open_max):
                raise self._too_many()
            topup = self._topup(invoice, [])
            self._events.write(connection, None, topup, self._clock())
        return topup

    def _load(self, invoice_id: str) -> Topup | None:
        with self._database.reader.begin() as connection:
            invoice = invoices.find(connection, invoice_id)
            return self._topup(invoice, invoices.receipts_of(connection, [invoice.id])) if invoice else None

    def _latest(self, account_id: int, limit: int) -> list[Topup]:
        with self._database.reader.begin() as connection:
            rows = invoices.latest(connection, account_id, limit)
            receipts = invoices.receipts_of(connection, [row.id for row in rows])
        return [self._topup(row, [r for r in receipts if r.invoice_id == row.id]) for row in rows]

    def _awaited(self, rail: str, now_ms: int, *, ever: bool) -> tuple[str, Sequence[Watched]]:
        """How far the rail was heard, and what may still be paid. ever: all that was ever asked for."""
        with self._database.reader.begin() as connection:
            since_ms = now_ms - MONITORING_MS
            found = invoices.asked(connection, rail) if ever else invoices.watched(connection, rail, since_ms)
            before = invoices.cursor(connection, rail)
        watched = [Watched(*each) for each in found]
        return before, Whole(watched) if ever else watched

    def _left_over(self) -> list[str]:
        """What an earlier round did not finish, and what has run out of time."""
        with self._database.reader.begin() as connection:
            found = invoices.unfinished(connection)
            for name, ear in self._ears.items():
                if ear.heard_ms is not None:
                    found += invoices.lapsed(connection, name, ear.heard_ms)
        return found

    def _write_down(self, rail: str, reported: Sequence[Receipt], before: str, after: str) -> list[str] | None:
        """Receipts and cursor in one transaction: nothing that was passed over is lost. None, and nothing is written,
        where the cursor is no longer where the rail was asked from: it holds what another gateway knows.
        """
        now, touched = self._clock(), []
        with self._database.writer.begin() as connection:
            if not invoices.move_cursor(connection, rail, before, after):
                return None
            for receipt in sorted(reported, key=lambda receipt: receipt.rail_ref):
                invoice = invoices.find_by_ref(connection, rail, receipt.rail_ref)
                if invoice is None or not 0 < receipt.amount <= money.INT64_MAX:
                    _log.warning("%s: receipt %s is for no invoice of ours, or no amount", rail, receipt.id)
                    continue
                rows = {row.receipt_id: row for row in invoices.receipts_of(connection, [invoice.id])}
                known = rows.get(receipt.id)
                if known is not None and known.amount != receipt.amount and receipt.state == "confirmed":
                    _log.error("%s: receipt %s was %d, now %d", rail, receipt.id, known.amount, receipt.amount)
                row = heard(known, receipt, invoice, now)
                if row != known:
                    invoices.put_receipt(connection, row)
                if row.unfinished:
                    touched.append(invoice.id)
        return touched

    def _decide(self, invoice_id: str) -> tuple[InvoiceRow, list[ReceiptRow], list[ReceiptRow]]:
        """Write down what each confirmed receipt is worth; the receipts that the ledger must now credit, and those
        that it must take back.
        """
        with self._database.writer.begin() as connection:
            invoice = invoices.locked(connection, invoice_id)
            rows = invoices.receipts_of(connection, [invoice_id])
            was = stands(invoice, rows, self._methods[invoice.rail].networks)
            planned = {plan.receipt_id: plan for plan in self._topup(invoice, rows).step.credits}
            for place, row in enumerate(rows):
                if row.state == "confirmed" and row.credit_nano is None and row.receipt_id not in planned:
                    _log.warning("%s: receipt %s waits for a rate, or is more than can be", row.rail, row.receipt_id)
                if plan := planned.get(row.receipt_id):
                    rows[place] = replace(row, credit_nano=plan.credit_nano, bonus_nano=plan.bonus_nano)
                    invoices.put_receipt(connection, rows[place])
            reversals = self._put_state(connection, was, rows).reversals
        uncredited = [row for row in rows if row.credit_nano is not None and row.credited_at is None]
        return invoice, uncredited, [row for row in rows if row.receipt_id in reversals]

    def _mark(self, invoice_id: str, credited: Sequence[str], gone: Sequence[str]) -> list[ReceiptRow]:
        """Write down what the ledger has done; the receipts that it must take back."""
        now = self._clock()
        with self._database.writer.begin() as connection:
            invoice = invoices.locked(connection, invoice_id)
            rows = invoices.receipts_of(connection, [invoice_id])
            was = stands(invoice, rows, self._methods[invoice.rail].networks)
            for place, row in enumerate(rows):
                if row.receipt_id in credited and row.credited_at is None:
                    rows[place] = replace(row, credited_at=now)
                elif row.receipt_id in gone and row.reversed_at is None:
                    rows[place] = replace(row, reversed_at=now)
                if rows[place] is not row:
                    invoices.put_receipt(connection, rows[place])
            reversals = self._put_state(connection, was, rows).reversals
        return [row for row in rows if row.receipt_id in reversals]

    def _put_state(self, connection: Connection, was: Topup, rows: Sequence[ReceiptRow]) -> Step:
        invoice = was.invoice
        step = self._topup(invoice, rows).step
        settled_at = (invoice.settled_at or self._clock()) if step.status == "settled" else None
        flags = ",".join(step.flags)
        changed = replace(invoice, status=step.status, flags=flags, crypto_paid=step.paid, settled_at=settled_at)
        if changed != invoice:
            invoices.put(connection, changed)
        self._events.write(connection, was, Topup(changed, rows, step, was.networks), self._clock())
        return step

    def _topup(self, invoice: InvoiceRow, rows: Sequence[ReceiptRow]) -> Topup:
        method, ear = self._methods[invoice.rail], self._ears.get(invoice.rail)
        rate = self.rate(method) if ear is not None else None  # without its rail nothing is decided at a present rate
        if ear is not None and isinstance(ear.rail, Revalued):
            rate = ear.rail.present(invoice.rail_ref)
        market = Market(method.units_per_coin, rate)
        as_of_ms = self.heard_ms(invoice.rail) or invoice.created_at
        return Topup(invoice, rows, advance(invoice, rows, as_of_ms, market), method.networks)

    def _too_many(self) -> TooManyRequests:
        text = f"There are {self._open_max} open invoices already; pay one of them, or wait until one expires."
        return TooManyRequests(text, code="too_many_open_invoices")


def _nobody() -> None:
    return


def _reference(row: ReceiptRow) -> str:
    """What makes a credit happen once."""
    return f"{row.rail}:{row.receipt_id}"
