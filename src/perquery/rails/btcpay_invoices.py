"""Any coin that a BTCPay Server takes, by BTCPay's own invoices and their page (API reference: "Invoices").

Amounts are millionths of a dollar: what a payment was worth at the rate that BTCPay locked for its coin. Each payment
of an invoice is a receipt, under BTCPay's id of it. What BTCPay says of a whole invoice counts only where it was
declared invalid. `present` says what a dollar at the locked rate is worth now, for what came late or beyond the amount.

This module must never believe a webhook, count a payment that BTCPay does not call settled, or ask for a refund.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from perquery import money
from perquery.outbound import Client
from perquery.rails.btcpay_api import NAME, Store
from perquery.rails.node import Refused, field
from perquery.rails.rail import Inspection, Payable, PayableRequest, RailDown, Receipt, ReceiptState, Watched

DIGITS: Final = 6
MARK: Final = "perquery"  # of what we made, in its metadata; others in the same store are none of our business
PAGE: Final = 100
_MONITORING_MIN: Final = 24 * 60
_DAY_S: Final = 86_400
_WINDOW_DAYS: Final = 3  # how old an invoice may be whose payments still change: expiry, monitoring, and a margin
_DOLLAR_NANO: Final = 10**9
_UNITS_MAX: Final = 10**15
_STATES: Final[Mapping[str, ReceiptState]] = {"Processing": "pending", "Settled": "confirmed", "Invalid": "gone"}
_ENOUGH: Final = ("btcpay.store.cancreateinvoice", "btcpay.store.canviewinvoices", "btcpay.store.canviewstoresettings")
_DECIMAL: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{1,30})?")
_log = logging.getLogger(__name__)


class BtcpayInvoices:
    """The rail. coins: BTCPay's ids of the payment methods that an invoice offers; clock: milliseconds."""

    pace_s = 5.0
    receivable: int | None = None
    probe = 10**DIGITS  # the amount of an invoice that is made to prove it

    def __init__(
        self, client: Client, url: str, key: str, store: str, coins: Sequence[str], clock: Callable[[], int]
    ) -> None:
        self._store = Store(client, url, key, store)
        self._coins = list(coins)
        self._clock = clock
        self._final: dict[str, tuple[str, str, str]] = {}  # how invoices stood whose payments were all final
        self._present: dict[str, int] = {}

    async def make(self, request: PayableRequest) -> Payable:
        minutes = -(-request.expiry_s // 60)
        asked = {
            "amount": money.plain(request.amount, DIGITS),
            "currency": "USD",
            "metadata": {"orderId": request.description, "itemDesc": request.description, MARK: True},
            "checkout": {
                "paymentMethods": self._coins,
                "expirationMinutes": minutes,
                "monitoringMinutes": _MONITORING_MIN,
                "paymentTolerance": 0,
            },
        }
        made = await self._store.node.post(self._store.path("invoices"), asked)
        name, page = field(NAME, made, "id", str), field(NAME, made, "checkoutLink", str)
        amount = _decimal(made, "amount") * 10**DIGITS
        same = amount == request.amount and field(NAME, made, "currency", str) == "USD"
        if not same or _status(made) != "New" or not _marked(made):
            raise RailDown(f"{NAME} made another invoice than was asked for")
        if field(NAME, made, "expirationTime", int) < self._clock() // 1000 + request.expiry_s - 60:
            raise RailDown(f"{NAME} made an invoice that expires too soon")
        if not name or not page.startswith(("https://", "http://")):
            raise RailDown(f"{NAME} made an invoice without a page")
        return Payable(page, name)

    async def receipts(self, cursor: str, watched: Sequence[Watched]) -> tuple[Sequence[Receipt], str]:
        """The payments of all invoices that may still change. The cursor is the day (since 1970) of the last look; ""
        asks for every invoice that there ever was.
        """
        today = self._clock() // 1000 // _DAY_S
        since = max(0, min(int(cursor), today) - _WINDOW_DAYS) if cursor else 0
        listed = [each for each in await self._invoices(since * _DAY_S) if _marked(each)]
        names = {field(NAME, each, "id", str) for each in listed}
        self._final = {name: stood for name, stood in self._final.items() if name in names and cursor}
        self._present = {name: worth for name, worth in self._present.items() if name in names}
        found: list[Receipt] = []
        for invoice in listed:
            found += await self._look(invoice)
        return found, str(today)

    async def close(self) -> None:
        """Nothing is open; the client belongs to whoever made it."""

    async def inspect(self) -> Inspection:
        """The rates are asked for too: without them nothing late or beyond the amount could be credited."""
        await self._store.node.get(self._store.path("rates"), currencyPair="BTC_USD")
        return await self._store.inspect("BTCPay's", _ENOUGH)

    def present(self, rail_ref: str) -> int | None:
        """Nano-USD that a dollar of the invoice is worth now, where that was asked; None where it is not known."""
        return self._present.get(rail_ref)

    async def _invoices(self, since_s: int) -> list[Any]:
        """From the newest on. What is made meanwhile shifts the pages, so that one is seen twice, none left out."""
        found: list[Any] = []
        while True:
            path = self._store.path("invoices")
            page = await self._store.node.get(path, startDate=since_s, take=PAGE, skip=len(found))
            if not isinstance(page, list):
                raise RailDown(f"{NAME} answered without a list of invoices")
            found += page
            if len(page) < PAGE:
                return found

    async def _look(self, invoice: Mapping[str, Any]) -> list[Receipt]:
        name, status = field(NAME, invoice, "id", str), _status(invoice)
        more = field(NAME, invoice, "additionalStatus", str)
        stands = status, more, str(invoice.get("paidAmount"))
        if self._final.get(name) == stands:
            return []
        if field(NAME, invoice, "currency", str) != "USD":
            raise RailDown(f"{NAME} lists the invoice {name} in another currency than USD")
        path = self._store.path("invoices", name, "payment-methods")
        methods = await self._store.node.get(path, onlyAccountedPayments="false")
        if not isinstance(methods, list):
            raise RailDown(f"{NAME} answered without a list of payment methods")
        found = [receipt for method in methods for receipt in _payments(name, method)]
        if (status, more) == ("Invalid", "Marked"):
            found = [Receipt(each.id, each.rail_ref, each.amount, "gone", each.at_ms) for each in found]
        valued = await self._value(invoice, methods, found)
        if valued and all(receipt.state != "pending" for receipt in found):
            self._final[name] = stands
        return found

    async def _value(self, invoice: Any, methods: list[Any], found: Sequence[Receipt]) -> bool:
        """Where something came late or beyond the amount: the least that its coins are worth, as a part of then. False:
        there is no present rate.
        """
        end_ms, due = field(NAME, invoice, "expirationTime", int) * 1000, _decimal(invoice, "amount") * 10**DIGITS
        live = [receipt for receipt in found if receipt.state != "gone"]
        if all(receipt.at_ms < end_ms for receipt in live) and sum(receipt.amount for receipt in live) <= due:
            return True
        name, parts = field(NAME, invoice, "id", str), []
        for method in methods:
            if field(NAME, method, "payments", list):
                now = await self._rate(field(NAME, method, "currency", str))
                if now is None:
                    self._present.pop(name, None)
                    return False
                parts.append(now / _decimal(method, "rate"))
        self._present[name] = int(min(parts) * _DOLLAR_NANO)
        return True

    async def _rate(self, coin: str) -> Fraction | None:
        """USD for a whole coin now by the store's own rules; None where there is none."""
        pair = f"{coin}_USD"
        try:
            told = await self._store.node.get(self._store.path("rates"), currencyPair=pair)
        except Refused as error:
            _log.warning("%s: no present rate of %s: %s", NAME, coin, error)
            return None
        only = told[0] if isinstance(told, list) and len(told) == 1 else None
        if not isinstance(only, Mapping) or only.get("currencyPair") != pair or only.get("errors"):
            _log.warning("%s: no present rate of %s", NAME, coin)
            return None
        return _decimal(only, "rate")


def _status(invoice: Any) -> str:
    return field(NAME, invoice, "status", str)


def _marked(invoice: Any) -> bool:
    metadata = invoice.get("metadata") if isinstance(invoice, Mapping) else None
    return isinstance(metadata, Mapping) and metadata.get(MARK) is True


def _payments(name: str, method: Any) -> list[Receipt]:
    """The receipts of one coin. A payment that is worth less than the smallest unit is none."""
    kind, payments = field(NAME, method, "paymentMethodId", str), field(NAME, method, "payments", list)
    rate = _decimal(method, "rate") if payments else Fraction(0)
    found = []
    for payment in payments:
        status = field(NAME, payment, "status", str)
        if status not in _STATES:
            raise RailDown(f"{NAME} calls a payment of {name} {status[:40]!r}, which is not known")
        amount = int(_decimal(payment, "value") * rate * 10**DIGITS)
        at_ms = field(NAME, payment, "receivedDate", int) * 1000
        if amount > _UNITS_MAX or at_ms <= 0:
            raise RailDown(f"{NAME} lists a payment of {name} that cannot be")
        if amount:
            found.append(Receipt(f"{kind}:{field(NAME, payment, 'id', str)}", name, amount, _STATES[status], at_ms))
    return found


def _decimal(found: Any, name: str) -> Fraction:
    """A decimal in text, as Greenfield writes them. Raises RailDown."""
    text = field(NAME, found, name, str)
    if not _DECIMAL.fullmatch(text):
        raise RailDown(f"{NAME} wrote {name} as {text[:40]!r}, which is no amount")
    return Fraction(text)
