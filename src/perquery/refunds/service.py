"""Asking for a refund, and how refunds stand.

A refund is written down as requested within the operator's daily cap, then held, then carried through by the runner,
here or in another process. This module must never send anything, and never write a refund for what is not there.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from sqlalchemy import Connection

from perquery import money
from perquery.config import RefundSetting
from perquery.errors import BadRequest, Conflict, Forbidden, LedgerUnavailable, NotFound, TooManyRequests
from perquery.payouts.lnurl import Resolver, Unusable
from perquery.rails import bolt11
from perquery.rates.rate import Rates
from perquery.refunds import engine
from perquery.refunds.runner import Runner
from perquery.store import refunds
from perquery.store.database import Database
from perquery.store.idempotency import Once, once
from perquery.store.refunds import RefundRow

COIN: Final = "BTC"
DAY_MS: Final = 24 * 3_600_000
_DESTINATION_MAX: Final = 4_000
_ADDRESS_SHOWN: Final = 320
_MOST_DIGITS: Final = 15
_EXAMPLE: Final = 'such as {"destination": "you@wallet.example", "amount": 5}'
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """amount_msat None: what the invoice states, or as much as there is."""

    destination: str
    amount_msat: int | None


class Refunds:
    """One per process. runner, setting: None where the operator gives none. promised: the highest bonus that deposits
    earn now; clock: milliseconds.
    """

    def __init__(
        self,
        database: Database,
        rates: Rates,
        resolver: Resolver,
        runner: Runner | None,
        setting: RefundSetting | None,
        promised: money.Ratio,
        clock: Callable[[], int],
    ) -> None:
        self._database = database
        self._rates = rates
        self._resolver = resolver
        self._runner = runner
        self._setting = setting
        self._promised = promised
        self._clock = clock

    async def ask(self, account_id: int, body: dict[str, Any], *, key: str | None, raw: bytes) -> RefundRow:
        """A new refund, held if it can be. key: the caller's Idempotency-Key; with the same body it gets the refund
        that was asked with it.

        Raises Forbidden (no refunds here), BadRequest (what is wrong with it), Conflict (one is open, or the invoice
        was used), TooManyRequests (the day's cap), Unavailable (no rate).
        """
        runner, setting = self._enabled()
        asked = once(key, raw) if key is not None else None
        if asked is not None and (made := await asyncio.to_thread(self._made_before, account_id, asked)):
            return made
        wanted = _wanted(body, self._rates.usd_nano_per_coin(COIN))
        row = await self._priced(account_id, wanted, setting, asked)
        row = await asyncio.to_thread(self._add, row, setting, asked)
        if row.state == "requested":
            row = await self._hold(runner, row)
        runner.wake()
        return row

    async def latest(self, account_id: int, limit: int) -> tuple[list[RefundRow], int]:
        """The account's refunds, newest first, and what it can ask back now (nano-USD). Raises Forbidden."""
        self._enabled()
        return await asyncio.to_thread(self._latest, account_id, limit)

    async def one(self, account_id: int, refund_id: str) -> RefundRow:
        """Raises NotFound, also for another account's; Forbidden."""
        self._enabled()
        possible = len(refund_id) == 32 and refund_id.isalnum() and refund_id.isascii()
        row = await asyncio.to_thread(self._find, refund_id) if possible else None
        if row is None or row.account_id != account_id:
            raise NotFound("Refund not found")
        return row

    async def run(self) -> None:
        """The background loop, where there is one; until cancelled."""
        if self._runner is not None:
            await self._runner.run()

    async def close(self) -> None:
        """`run` must have been cancelled."""
        if self._runner is not None:
            await self._runner.close()

    def _enabled(self) -> tuple[Runner, RefundSetting]:
        if self._runner is None or self._setting is None:
            raise Forbidden("This gateway gives no refunds; ask its operator.", code="refunds_disabled")
        return self._runner, self._setting

    async def _hold(self, runner: Runner, row: RefundRow) -> RefundRow:
        try:
            held = await runner.hold(row)
        except LedgerUnavailable as error:  # it is written down: the runner goes on with it
            _log.warning("refund %s is not held yet: %s", row.id, error)
            return row
        if held.state == "failed":
            runner.wake()
            raise BadRequest(f"No refund: {held.words}", param="amount", code="refund_too_large")
        return held

    async def _priced(self, account_id: int, wanted: _Wanted, setting: RefundSetting, asked: Once | None) -> RefundRow:
        """The refund that is asked for, with an invoice to pay, which may come from a service far away."""
        spare_nano = await asyncio.to_thread(self._spare, account_id)
        rate = self._rates.usd_nano_per_coin(COIN)
        text, amount_msat = wanted.destination, wanted.amount_msat
        if not _is_invoice(text):
            amount_msat = amount_msat or engine.largest_msat(spare_nano, rate)
            _check_amount(amount_msat, rate, spare_nano, setting)
            try:
                text = await self._resolver.invoice(text, amount_msat)
            except Unusable as error:
                said = f"`destination` cannot be paid: {error}."
                raise BadRequest(said, param="destination", code="destination_unusable") from error
        invoice = _checked(text, amount_msat, setting.network, self._clock())
        amount_msat = invoice.amount_msat or 0
        quote = _check_amount(amount_msat, rate, spare_nano, setting)
        return RefundRow(
            id=secrets.token_hex(16),
            account_id=account_id,
            state="requested",
            amount_nano=quote.amount_nano,
            fee_most_nano=quote.fee_most_nano,
            amount_msat=amount_msat,
            fee_most_msat=quote.fee_most_msat,
            usd_nano_per_coin=rate,
            bonus_numerator=0,
            bonus_denominator=1,
            destination=wanted.destination[:_ADDRESS_SHOWN] if text != wanted.destination else "",
            invoice=text,
            payment_hash=invoice.payment_hash.hex(),
            created_at=self._clock(),
            expires_at=invoice.expires_at * 1000,
            idempotency_key=asked.key if asked else None,
            body_hash=asked.body_hash if asked else None,
        )

    # -- in threads: the database -------------------------------------------------------------------------

    def _add(self, row: RefundRow, setting: RefundSetting, asked: Once | None) -> RefundRow:
        """The refund written down, or what another request with the same key wrote meanwhile."""
        daily_nano = money.nano(setting.daily_usd)
        with self._database.writer.begin() as connection:
            refunds.lock(connection, row.account_id)
            if asked is not None and (made := _made_with(connection, row.account_id, asked)):
                return made
            if (current := refunds.open_one(connection, row.account_id)) is not None:
                text = f"The refund {current.id} is not over yet: one at a time."
                raise Conflict(text, code="refund_open", details={"refund_id": current.id})
            if refunds.of_invoice(connection, row.payment_hash) is not None:
                raise Conflict("This invoice was used for a refund already: make a new one.", code="invoice_used")
            left_nano = daily_nano - refunds.left_nano(connection, row.created_at - DAY_MS)
            if row.most_nano > left_nano:
                text = f"The gateway's refunds of a day are used up (${money.plain(max(0, left_nano))} are left)."
                raise TooManyRequests(text, code="refunds_capped", headers={"retry-after": "3600"})
            bonus = max(self._promised, refunds.best_bonus(connection, row.account_id), key=_fraction)
            row = replace(row, bonus_numerator=bonus.numerator, bonus_denominator=bonus.denominator)
            refunds.add(connection, row)
        return row

    def _made_before(self, account_id: int, asked: Once) -> RefundRow | None:
        with self._database.reader.begin() as connection:
            return _made_with(connection, account_id, asked)

    def _spare(self, account_id: int) -> int:
        with self._database.reader.begin() as connection:
            return refunds.spare_nano(connection, account_id)

    def _find(self, refund_id: str) -> RefundRow | None:
        with self._database.reader.begin() as connection:
            return refunds.find(connection, refund_id)

    def _latest(self, account_id: int, limit: int) -> tuple[list[RefundRow], int]:
        with self._database.reader.begin() as connection:
            return refunds.latest(connection, account_id, limit), refunds.spare_nano(connection, account_id)


def _made_with(connection: Connection, account_id: int, asked: Once) -> RefundRow | None:
    """What was asked with that key. Raises Conflict where it was asked with another body."""
    row = refunds.of_key(connection, account_id, asked.key)
    if row is not None:
        asked.check(row.body_hash or b"")
    return row


def _wanted(body: dict[str, Any], usd_nano_per_coin: int) -> _Wanted:
    destination, amount, currency = body.get("destination"), body.get("amount"), body.get("currency", "USD")
    if not isinstance(destination, str) or not 0 < len(destination.strip()) <= _DESTINATION_MAX:
        text = f"`destination` must be a Lightning invoice, a Lightning address or an LNURL, {_EXAMPLE}."
        raise BadRequest(text, param="destination")
    destination = destination.strip()
    if currency not in ("USD", "SATS"):
        raise BadRequest("`currency` must be USD or SATS.", param="currency")
    if amount is None:
        return _Wanted(destination, None)
    if _is_invoice(destination):
        raise BadRequest("The invoice states the amount: leave `amount` out.", param="amount")
    right = f"`amount` must be a number above 0, {_EXAMPLE}."
    if isinstance(amount, bool) or len(str(amount)) > _MOST_DIGITS:
        raise BadRequest(right, param="amount")
    try:
        units = money.scaled(amount, 0 if currency == "SATS" else 9)
    except (ValueError, TypeError) as error:
        raise BadRequest(right, param="amount") from error
    sats = units if currency == "SATS" else units * engine.MSAT_PER_COIN // usd_nano_per_coin // engine.QUANTUM_MSAT
    if sats <= 0:
        raise BadRequest(right, param="amount")
    return _Wanted(destination, sats * engine.QUANTUM_MSAT)


def _is_invoice(destination: str) -> bool:
    text = destination.lower().removeprefix("lightning:")
    return text.startswith("ln") and not text.startswith("lnurl") and "@" not in text


def _check_amount(amount_msat: int, rate: int, spare_nano: int, setting: RefundSetting) -> engine.Quote:
    """What it comes to. Raises BadRequest where it is too little, or more than there is."""
    quote = engine.quote(amount_msat, rate)
    least_nano = money.nano(setting.least_usd)
    details = {"refundable": money.number(spare_nano)}
    if quote.most_nano > spare_nano:
        text = (
            f"${money.plain(spare_nano)} can be given back; this takes ${money.plain(quote.amount_nano)}, and up to"
            f" ${money.plain(quote.fee_most_nano)} for the network's fee."
        )
        raise BadRequest(text, param="amount", code="refund_too_large", details=details)
    if quote.amount_nano < least_nano:
        text = f"A refund is at least ${money.plain(least_nano)}."
        raise BadRequest(text, param="amount", code="refund_too_small", details=details)
    return quote


def _checked(text: str, amount_msat: int | None, network: str, now_ms: int) -> bolt11.Bolt11:
    """The invoice, payable now, over the amount that was asked of its maker. Raises BadRequest."""
    try:
        invoice = bolt11.decode(text)
    except ValueError as error:
        raise BadRequest(f"`destination`: {error}", param="destination", code="destination_unusable") from error
    left_ms = invoice.expires_at * 1000 - now_ms
    wrong = {
        f"is of the network {invoice.network}, not {network}": invoice.network != network,
        "states no amount": invoice.amount_msat is None,
        "is over another amount than was asked for": amount_msat not in (None, invoice.amount_msat),
        "expires too soon": left_ms < 2 * engine.MARGIN_MS,
        "is payable for more than eight days": left_ms > engine.EXPIRY_MOST_MS,
    }
    for what, holds in wrong.items():
        if holds:
            raise BadRequest(f"The invoice {what}.", param="destination", code="destination_unusable")
    return invoice


def _fraction(ratio: money.Ratio) -> Fraction:
    return Fraction(ratio.numerator, ratio.denominator)
