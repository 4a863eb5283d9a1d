"""A BTCPay Server's Lightning node as the wallet, over its Greenfield API (BTCPay Server's API reference: "Lightning
(Store)").

What a store's node is (LND, Core Lightning, phoenixd…) BTCPay hides, and with it what an invoice's `id` is: it is
kept as it came, and awaited invoices are looked up by it. This module must never ask for anything that pays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from perquery.outbound import Client
from perquery.rails import bolt11, lightning
from perquery.rails.btcpay_api import NAME, Store
from perquery.rails.lookup import Lookups, Seen
from perquery.rails.node import Refused, field
from perquery.rails.rail import Inspection, Payable, PayableRequest, RailDown, Receipt, Watched

_UNPAID: Final[Mapping[str, Literal["open", "over"]]] = {"Unpaid": "open", "Expired": "over"}
_UNKNOWN: Final = "invoice-not-found"
_ID_CHARS_MAX: Final = 200
_ENOUGH: Final = ("btcpay.store.cancreatelightninginvoice", "btcpay.store.canviewlightninginvoice")


class BtcpayWallet:
    """The rail. key: an API key; store: the id of the store whose node is paid; network: the prefix that its invoices
    must have.
    """

    pace_s = 2.0
    receivable: int | None = None  # a key that may ask for it could also pay

    def __init__(self, client: Client, url: str, key: str, store: str, network: str) -> None:
        self._store = Store(client, url, key, store)
        self._node = self._store.node
        self._network = network
        self._lookups = Lookups()

    async def make(self, request: PayableRequest) -> Payable:
        asked = {
            "amount": str(request.amount),
            "description": request.description,
            "expiry": request.expiry_s,
            "privateRouteHints": True,
        }
        made = await self._node.post(self._path(), asked)
        text, name = field(NAME, made, "BOLT11", str), field(NAME, made, "id", str)
        if not (0 < len(name) <= _ID_CHARS_MAX and name.isprintable()):
            raise RailDown(f"{NAME} made an invoice without an id")
        invoice = lightning.payable(NAME, text, _stated_hash(made, text), request, self._network)
        return Payable(invoice.text, name)

    async def receipts(self, cursor: str, watched: Sequence[Watched]) -> tuple[Sequence[Receipt], str]:
        """The cursor means nothing here. With nothing to look up, it asks whether invoices may be read at all."""
        if not watched:
            _listed(await self._node.get(self._path(), pendingOnly="true"))
        return await self._lookups.receipts(watched, self._look), cursor

    async def close(self) -> None:
        await self._node.close()

    async def inspect(self) -> Inspection:
        """Its invoices tell the network; BTCPay itself does not."""
        return await self._store.inspect(self._network, _ENOUGH)

    def _path(self, *name: str) -> str:
        return self._store.path("lightning", "BTC", "invoices", *name)

    async def _look(self, name: str) -> Seen:
        try:
            found = await self._node.get(self._path(name))
        except Refused as error:
            if error.status == 404 and isinstance(error.body, Mapping) and error.body.get("code") == _UNKNOWN:
                return "open"
            raise
        if field(NAME, found, "id", str) != name:
            raise RailDown(f"{NAME} answered with another invoice than {name}")
        status = field(NAME, found, "status", str)
        if status == "Paid":
            return lightning.receipt(NAME, name, _msat(found), field(NAME, found, "paidAt", int))
        if status not in _UNPAID:
            raise RailDown(f"{NAME} calls {name} {status[:40]!r}, which is not known")
        return _UNPAID[status]


def _stated_hash(made: Any, text: str) -> str:
    """The payment hash as BTCPay states it; versions that do not are believed by the invoice itself."""
    stated = made.get("paymentHash")
    if isinstance(stated, str):
        return stated
    try:
        return bolt11.decode(text).payment_hash.hex()
    except ValueError:
        return ""  # which `payable` then says


def _msat(found: Any) -> int:
    """What really came, which is text in Greenfield's JSON."""
    text = field(NAME, found, "amountReceived", str)
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise RailDown(f"{NAME} wrote amountReceived as {text[:40]!r}, which is no whole number")
    return int(text)


def _listed(found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise RailDown(f"{NAME} answered without a list of invoices")
    return found
