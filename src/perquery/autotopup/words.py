"""What happened, in words for the account. They never hold a secret, and of a wallet's own text only a short part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from perquery import money
from perquery.store.invoices import InvoiceRow
from perquery.store.wallets import AttemptRow, State

WALLET_TEXT_MAX: Final = 200
_CODES: Final[Mapping[str, str]] = {
    "INSUFFICIENT_BALANCE": "The wallet has too little money for the amount and its fee.",
    "QUOTA_EXCEEDED": "The budget that the wallet gives this connection is used up.",
    "UNAUTHORIZED": "The wallet does not know this connection (any more). Connect it again.",
    "RESTRICTED": "The wallet does not allow this connection to pay.",
    "NOT_IMPLEMENTED": "The wallet does not offer to pay invoices.",
    "RATE_LIMITED": "The wallet was asked too often.",
    "UNSUPPORTED_ENCRYPTION": "The wallet could not read the request; it is asked anew which encryption it reads.",
    "PAYMENT_FAILED": "The wallet says that the payment failed.",
}
_STATES: Final[Mapping[State, str]] = {
    "claimed": "An invoice is being made.",
    "invoice_created": "The invoice is made; the request to the wallet is being written.",
    "request_signed": "The request is about to be sent to the wallet.",
    "sent": "The wallet was asked to pay.",
    "answered": "The wallet has answered; the payment is awaited.",
    "unknown": "The wallet has not answered yet; it may still pay until the invoice expires.",
    "settled": "Paid and credited.",
    "failed_final": "Not paid.",
}


def refused(code: str, text: str) -> str:
    """A wallet's error."""
    said = " ".join(text.split())[:WALLET_TEXT_MAX]
    meaning = _CODES.get(code, "The wallet answered with an error.")
    return f'{meaning} It said: "{said}"' if said else meaning


def silent(reason: str) -> str:
    return f"The wallet did not answer: {reason}"


def told(attempt: AttemptRow, invoice: InvoiceRow | None) -> str:
    """How the attempt stands."""
    if attempt.state == "failed_final" and invoice is not None and invoice.crypto_paid:
        return "Paid after all, late, and credited."
    text = _STATES[attempt.state]
    if attempt.state == "settled":
        return f"{text} (${money.plain(attempt.amount_nano)})"
    return f"{text} {attempt.words}" if attempt.words else text
