"""The loop that has connected wallets pay: it carries out what `engine` decides, one written state after the other.

Never in the way of a request. Each state is committed before the next act, so a crash goes on from what is written;
should two processes run it for a moment, an attempt's moves and its one invoice are won by one of them. It must never
credit anything: that is `topups`' alone, by what the rail reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from perquery import nwc
from perquery.autotopup import engine, words
from perquery.autotopup.connections import OpenWallet, Wallet
from perquery.autotopup.vault import Sealed, Vault
from perquery.errors import PerQueryError
from perquery.rails import bolt11
from perquery.rails.backends import LIGHTNING
from perquery.store import invoices, wallets
from perquery.store.database import Database
from perquery.store.invoices import InvoiceRow
from perquery.store.leases import Turn
from perquery.store.wallets import AttemptRow, WalletRow
from perquery.topups.service import Topups

TICK_S: Final = 2.0
INFO_S: Final = 5.0
ANSWER_S: Final = 90.0
LEASE: Final = "loop:wallets"
_LEASE_MS: Final = 15_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Case:
    """An open attempt with its invoice, and its wallet, None where the account has another or none by now. coming:
    a payment of the invoice is written down that the ledger has not credited yet.
    """

    attempt: AttemptRow
    invoice: InvoiceRow | None
    wallet: WalletRow | None
    coming: bool


class Runner:
    """One per process. clock: milliseconds."""

    def __init__(
        self, database: Database, topups: Topups, open_wallet: OpenWallet, vault: Vault, clock: Callable[[], int]
    ) -> None:
        self._database = database
        self._topups = topups
        self._open = open_wallet
        self._vault = vault
        self._clock = clock
        self._turn = Turn(database, LEASE, _LEASE_MS, clock)
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._hearing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """The background loop, under its lease, until cancelled."""
        while True:
            try:
                if await self._turn.held():
                    await self.round()
            except Exception:
                _log.exception("a round of auto top-ups failed; trying again")
            await asyncio.sleep(TICK_S)

    async def close(self) -> None:
        """Give up what is under way, as it is written down, and the lease; `run` must have been cancelled."""
        for task in self._tasks():
            task.cancel()
        await self.idle()
        await self._turn.drop()

    async def round(self) -> None:
        """Claim what is due, end what is decided, and set to work on what nobody is busy with."""
        if (most_nano := self._most_nano()) is not None:
            await asyncio.to_thread(self._claim_due, most_nano)
        heard_ms = self._topups.heard_ms(LIGHTNING)  # before the look: what was heard by then is written down
        for case in await asyncio.to_thread(self._cases):
            name, ending = case.attempt.id, self._verdict(case, heard_ms)
            if ending is not None:
                if name in self._busy:
                    self._busy[name].cancel()
                await asyncio.to_thread(self._end, case, ending)
            elif name not in self._busy and self._act(case) != "wait":
                self._busy[name] = asyncio.create_task(self._work(case))
            elif case.invoice is not None and self._clock() >= engine.dead_ms(case.invoice):
                self._hear()

    async def idle(self) -> None:
        """Until all that was set to work has been done."""
        await asyncio.gather(*self._tasks(), return_exceptions=True)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [*self._busy.values(), *([self._hearing] if self._hearing is not None else [])]

    def _hear(self) -> None:
        """Have the rail heard, which is missing for a verdict, beside the rounds: it may hang."""
        if self._hearing is None or self._hearing.done():
            self._hearing = asyncio.create_task(self._heard())

    async def _heard(self) -> None:
        try:
            await self._topups.poll(LIGHTNING)
        except (PerQueryError, SQLAlchemyError) as error:
            _log.warning("the rail could not be heard for the end of an attempt: %s", error)

    def _most_nano(self) -> int | None:
        """The largest invoice that can be had now, None where there is none."""
        try:
            currencies = self._topups.method(LIGHTNING).currencies
        except PerQueryError:
            return None
        return next((int(c.most.scaleb(9)) for c in currencies if c.code == "USD"), None)

    def _act(self, case: _Case) -> engine.Act:
        return engine.act(case.attempt.state, case.invoice, self._clock())

    def _verdict(self, case: _Case, heard_ms: int | None) -> engine.Ending | None:
        if case.coming:
            return None
        return engine.verdict(case.attempt, case.invoice, case.wallet is not None, heard_ms, self._clock())

    # -- one attempt --------------------------------------------------------------------------------------

    async def _work(self, case: _Case) -> None:
        """All that can be done for an attempt now."""
        try:
            if self._act(case) == "make":
                case = await self._make(case)
            if self._act(case) == "ask" and case.wallet is not None and case.invoice is not None:
                await self._ask(case.attempt, case.invoice, case.wallet)
        except (PerQueryError, SQLAlchemyError) as error:  # as it is written down, the next round goes on
            _log.warning("attempt %s came to a halt: %s", case.attempt.id, error)
        finally:
            self._busy.pop(case.attempt.id, None)

    async def _make(self, case: _Case) -> _Case:
        """The attempt's invoice: the attempt's id as idempotency key, so that it never has two."""
        attempt = case.attempt
        amount = Decimal(attempt.amount_nano).scaleb(-9)
        try:
            key = f"auto-{attempt.id}"
            topup = await self._topups.create(attempt.account_id, LIGHTNING, amount, "USD", key=key)
        except PerQueryError as error:
            await asyncio.to_thread(self._give_up, case, f"No invoice could be made: {error.message}")
            return case
        return await asyncio.to_thread(self._note_invoice, case, topup.invoice.id)

    async def _ask(self, attempt: AttemptRow, invoice: InvoiceRow, wallet: WalletRow) -> None:
        """Have the wallet asked, by the one event that is written down before it is sent."""
        try:
            connection = nwc.Connection.parse(self._vault.open(wallet.sealed, wallet.connection_id))
        except Sealed as error:
            _log.error("the wallet of account %s cannot be used: %s", wallet.account_id, error)
            await asyncio.to_thread(self._switch_off, wallet, "Its secret cannot be read any more: connect it again.")
            return
        async with self._open(connection) as client:
            request = attempt.request
            if request is None:
                request = await self._sign(attempt, invoice, wallet, client)
            if request is None or not await asyncio.to_thread(self._mark_sent, attempt):
                return
            left_s = invoice.expires_at // 1000 - self._clock() // 1000
            outcome = await self._publish(client, request, invoice, min(ANSWER_S, left_s))
            await asyncio.to_thread(self._note_outcome, attempt, *outcome)
            if outcome[1] == "QUOTA_EXCEEDED":
                await self._await_budget(wallet, client)
            elif outcome[1] == "UNSUPPORTED_ENCRYPTION":
                await self._note_encryption(wallet, client)
        if outcome[0] == "answered":
            await self._topups.poll(invoice.rail)

    async def _sign(self, attempt: AttemptRow, invoice: InvoiceRow, wallet: WalletRow, client: Wallet) -> str | None:
        """The request in the encryption that the wallet reads now; None where another process has gone on."""
        encryption = await self._note_encryption(wallet, client)
        expires_at, created_at = invoice.expires_at // 1000, self._clock() // 1000
        request = client.sign("pay_invoice", {"invoice": invoice.payable}, encryption, expires_at, created_at)
        return await asyncio.to_thread(self._note_request, attempt, request)

    async def _publish(
        self, client: Wallet, request: str, invoice: InvoiceRow, timeout_s: float
    ) -> tuple[wallets.State, str | None, str]:
        """Send it: what the attempt's state, code and words are then."""
        try:
            result = await client.send(request, timeout_s)
        except nwc.WalletError as error:
            return "answered", error.code, words.refused(error.code, error.words)
        except nwc.NoAnswer as error:
            return "unknown", None, words.silent(str(error))
        proven = _proves(result.get("preimage"), invoice)
        return "answered", None, f"The wallet says that it has paid{'' if proven else ', without proof'}."

    async def _note_encryption(self, wallet: WalletRow, client: Wallet) -> str:
        """What the wallet reads by what it says now, else by what it last said: an attempt has one event, so a wallet
        that could not read it is asked otherwise by the next.
        """
        try:
            encryption = (await client.info(INFO_S)).encryption
        except nwc.NoAnswer:
            return wallet.encryption
        if encryption != wallet.encryption:
            await asyncio.to_thread(self._change_wallet, wallet, encryption=encryption)
        return encryption

    async def _await_budget(self, wallet: WalletRow, client: Wallet) -> None:
        """Where the wallet tells when its budget is renewed, it is left alone until then."""
        request = client.sign("get_budget", {}, wallet.encryption, None, self._clock() // 1000)
        with contextlib.suppress(nwc.NoAnswer, nwc.WalletError):
            renews_at = (await client.send(request, INFO_S)).get("renews_at")
            if isinstance(renews_at, int) and not isinstance(renews_at, bool):
                now = self._clock()
                until_ms = max(now, min(renews_at * 1000, now + engine.MONTH_MS))
                await asyncio.to_thread(self._change_wallet, wallet, next_at=until_ms)

    # -- in threads: the database -------------------------------------------------------------------------

    def _claim_due(self, most_nano: int) -> None:
        with self._database.reader.begin() as connection:
            low = wallets.low(connection, self._clock())
        for account_id in low:
            self._claim(account_id, most_nano)

    def _claim(self, account_id: int, most_nano: int) -> None:
        """Begin an attempt, if the account still needs one."""
        now = self._clock()
        with self._database.writer.begin() as connection:
            wallets.lock_account(connection, account_id)
            wallet = wallets.find(connection, account_id)
            if wallet is None or wallets.is_asked(connection, account_id):
                return
            past = wallets.past(connection, account_id, now - engine.MONTH_MS)
            step = engine.wanted(wallet, wallets.effective_nano(connection, account_id), past, most_nano, now)
            if isinstance(step, engine.Pause):
                wallets.change(connection, wallet, next_at=step.until_ms, reason=step.reason)
            elif step is None:  # a payment is about to lift it: others first
                wallets.change(connection, wallet, next_at=max(wallet.next_at, now + engine.GAP_MS))
            else:
                attempt_id = secrets.token_hex(16)
                row = AttemptRow(attempt_id, account_id, wallet.connection_id, "claimed", step.amount_nano, now)
                wallets.add(connection, row)

    def _cases(self) -> list[_Case]:
        dead_ms = self._clock() - engine.GRACE_MS
        with self._database.reader.begin() as connection:
            found = wallets.open_attempts(connection, dead_ms, wallets.BATCH + len(self._busy))
            return [self._case(connection, row) for row in found]

    def _case(self, connection: Connection, attempt: AttemptRow) -> _Case:
        wallet = wallets.find(connection, attempt.account_id)
        same = wallet is not None and wallet.connection_id == attempt.connection_id
        invoice = wallets.invoice_of(connection, attempt)
        coming = invoice is not None and any(row.unfinished for row in invoices.receipts_of(connection, [invoice.id]))
        return _Case(attempt, invoice, wallet if same else None, coming)

    def _note_invoice(self, case: _Case, invoice_id: str) -> _Case:
        with self._database.writer.begin() as connection:
            wallets.move(connection, case.attempt.id, "claimed", "invoice_created", invoice_id=invoice_id)
            return self._case(connection, wallets.attempt(connection, case.attempt.id))

    def _note_request(self, attempt: AttemptRow, request: str) -> str | None:
        """Write the event down; the one that counts, where another process was first."""
        with self._database.writer.begin() as connection:
            wallets.move(connection, attempt.id, "invoice_created", "request_signed", request=request)
            return wallets.attempt(connection, attempt.id).request

    def _mark_sent(self, attempt: AttemptRow) -> bool:
        """From now on the wallet may have been asked; whether it is still to be: it may have been disconnected."""
        with self._database.writer.begin() as connection:
            wallets.lock_account(connection, attempt.account_id)
            if self._case(connection, attempt).wallet is None:
                return False
            wallets.move(connection, attempt.id, "request_signed", "sent")
            return wallets.attempt(connection, attempt.id).state == "sent"

    def _note_outcome(self, attempt: AttemptRow, state: wallets.State, code: str | None, said: str) -> None:
        with self._database.writer.begin() as connection:
            wallets.move(connection, attempt.id, "sent", state, code=code, words=said)

    def _give_up(self, case: _Case, said: str) -> None:
        """End an attempt for which nothing was sent, through no fault of the wallet."""
        now = self._clock()
        with self._database.writer.begin() as connection:
            ended = wallets.move(connection, case.attempt.id, "claimed", "failed_final", words=said, ended_at=now)
            if ended and case.wallet is not None:
                wallets.change(connection, case.wallet, **engine.after_no_invoice(said, now))

    def _end(self, case: _Case, ending: engine.Ending) -> None:
        now, attempt = self._clock(), case.attempt
        with self._database.writer.begin() as connection:
            wallets.lock_account(connection, attempt.account_id)
            if not wallets.move(connection, attempt.id, attempt.state, ending, ended_at=now):
                return
            wallet = case.wallet
            if wallet is None:
                return
            if ending == "settled":
                left = wallets.effective_nano(connection, attempt.account_id)
                changes = engine.after_success(wallet, left, now)
            else:
                said = words.told(wallets.attempt(connection, attempt.id), case.invoice)
                changes = engine.after_failure(wallet, attempt.code, said, now)
            wallets.change(connection, wallet, **changes)

    def _switch_off(self, wallet: WalletRow, reason: str) -> None:
        self._change_wallet(wallet, enabled=False, reason=reason)

    def _change_wallet(self, wallet: WalletRow, **changes: Any) -> None:
        with self._database.writer.begin() as connection:
            wallets.change(connection, wallet, **changes)


def _proves(preimage: Any, invoice: InvoiceRow) -> bool:
    """Whether it is what only who paid this invoice can know. It decides nothing: wallets leave it out."""
    try:
        return hashlib.sha256(bytes.fromhex(preimage)).digest() == bolt11.decode(invoice.payable).payment_hash
    except (TypeError, ValueError):
        return False
