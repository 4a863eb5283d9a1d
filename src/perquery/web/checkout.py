"""One invoice, for whoever has its address: how to pay it, how it stands as that changes, and its receipt.

An invoice's id is random and long; who knows it may pay it and see what became of it, and nothing else of the account.
"""

from __future__ import annotations

from typing import Final

import segno
from markupsafe import Markup
from starlette.responses import Response

from perquery import money
from perquery.routes.follow import follow
from perquery.topups import wire
from perquery.topups.invoice import Topup
from perquery.topups.methods import METHODS
from perquery.web.site import Page, Visit

_OPEN: Final = ("new", "seen")


async def checkout(visit: Visit) -> Response:
    topup = await _topup(visit)
    invoice, method = topup.invoice, METHODS[topup.invoice.rail]
    uri = _uri(topup)
    left = max(0, invoice.crypto_due - topup.step.arrived)
    return visit.page(
        "checkout.html",
        topup=topup,
        invoice=invoice,
        method=method,
        state=topup.step.status,
        open=topup.step.status in _OPEN,
        uri=uri,
        qr=qr(uri) if uri and topup.step.status == "new" else None,
        due=_coins(topup, invoice.crypto_due),
        left=_coins(topup, left) if topup.step.arrived and left else None,
        arrived=_coins(topup, topup.step.arrived),
        confirmations=_confirmations(topup),
        networks=wire.status(topup).get("networks", ()),
        data=visit.settings.data if visit.settings.sandbox else None,
    )


async def receipt(visit: Visit) -> Response:
    """What was paid and credited, to print."""
    topup = await _topup(visit)
    payments = [(payment, money.plain(payment.amount, _digits(topup))) for payment in topup.receipts]
    return visit.page(
        "receipt.html",
        topup=topup,
        invoice=topup.invoice,
        method=METHODS[topup.invoice.rail],
        payments=payments,
        due=_coins(topup, topup.invoice.crypto_due),
    )


async def events(visit: Visit) -> Response:
    """The invoice's changes as server-sent events, until there are no more."""
    topup = await _topup(visit)
    given = visit.request.headers.get("last-event-id")
    return await follow(visit.state, topup.invoice.account_id, topup.invoice.id, given, viewed=True)


async def _topup(visit: Visit) -> Topup:
    """The invoice that the path names, as it stands now. Raises NotFound."""
    topup: Topup = await visit.state.topups.status(None, visit.request.path_params["id"])
    return topup


def _uri(topup: Topup) -> str | None:
    """What a wallet opens: a BOLT #11 invoice, or a coin's address with its amount (BIP 21); None for a page, and for
    an address whose networks are not served any more.
    """
    method, shown = METHODS[topup.invoice.rail], wire.status(topup)
    if method.page or (method.uri and "payment_uri" not in shown):
        return None
    return str(shown["payment_uri"]) if method.uri else f"lightning:{topup.invoice.payable}"


def qr(text: str) -> Markup:
    """The text as a QR code, black on white in either scheme, for cameras want that."""
    content = text.upper() if text.startswith("lightning:") else text  # fewer, larger squares
    code = segno.make(content, error="l" if len(content) > 150 else "m", micro=False, boost_error=False)
    drawn: str = code.svg_inline(border=3, omitsize=True, dark="#000", light="#fff", svgclass="qr", lineclass=None)
    return Markup(drawn.replace("<svg ", '<svg role="img" aria-label="The payment as a QR code" ', 1))


def _confirmations(topup: Topup) -> int:
    """How many the payment needs; 0 where it is final at once."""
    method = METHODS[topup.invoice.rail]
    coins = money.decimal(_coins(topup, topup.invoice.crypto_due))
    return max((count for least, count in method.confirmations if coins >= least), default=0)


def _coins(topup: Topup, units: int) -> str:
    return money.plain(units, _digits(topup))


def _digits(topup: Topup) -> int:
    return METHODS[topup.invoice.rail].coin_digits


PAGES: Final = (
    Page("/checkout/{id}", checkout),
    Page("/checkout/{id}/receipt", receipt),
    Page("/checkout/{id}/events", events),
)
