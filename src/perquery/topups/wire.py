"""Top-ups as JSON: PPQ's fields, and ours beside them. Amounts are `money.number` fragments.

PPQ's clients probe several names for the text to pay (`lightning_invoice`, `bolt11`, `address`, …) and test
`status` for exactly New, Settled or Expired; numbers must be unquoted and without exponent.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import orjson

from perquery import money
from perquery.rails.evm_addresses import checksummed
from perquery.rails.tokens import Token
from perquery.store.invoices import InvoiceRow, ReceiptRow, Status
from perquery.topups.invoice import Topup
from perquery.topups.methods import METHODS, Method

_STATUS: dict[Status, str] = {
    "new": "New",
    "seen": "New",
    "settled": "Settled",
    "expired": "Expired",
    "invalid": "Expired",
}


def created(topup: Topup, base_url: str) -> dict[str, Any]:
    """The answer to a creation (201). `base_url`: where callers reach this gateway, without a final slash."""
    invoice = topup.invoice
    return {
        "invoice_id": invoice.id,
        "amount": _asked(invoice),
        "currency": invoice.currency,
        "created_at": invoice.created_at // 1000,
        "expires_at": invoice.expires_at // 1000,
        "checkout_url": invoice.payable if METHODS[invoice.rail].page else f"{base_url}/checkout/{invoice.id}",
        **_payable(topup),
        "crypto_amount_due": _coins(invoice, invoice.crypto_due),
    }


def status(topup: Topup) -> dict[str, Any]:
    """An invoice as it stands; amount_paid and amount_due in whole coins, credits in USD."""
    invoice, step = topup.invoice, topup.step
    return {
        "invoice_id": invoice.id,
        "status": _STATUS[step.status],
        "amount": _asked(invoice),
        "currency": invoice.currency,
        "created_at": invoice.created_at // 1000,
        "expires_at": invoice.expires_at // 1000,
        "payment_method": METHODS[invoice.rail].display_name,
        "amount_paid": _coins(invoice, step.paid),
        "amount_due": _coins(invoice, max(0, invoice.crypto_due - step.paid)),
        **_payable(topup),
        "state": step.status,
        "flags": list(step.flags),
        "credited_usd": money.number(topup.credited_nano),
        "bonus_usd": money.number(topup.bonus_nano),
    }


def _payable(topup: Topup) -> dict[str, Any]:
    """What is to be paid, under the names by which PPQ's clients look for it: a BOLT #11 invoice, an address and
    its payment URI (BIP 21; ERC-681 for each network, where it is good on several), or a page.
    """
    invoice = topup.invoice
    method = METHODS[invoice.rail]
    if method.page:
        return {"payment_url": invoice.payable}
    if method.uri is None:
        return dict.fromkeys(("lightning_invoice", "bolt11", "payment_request"), invoice.payable)
    named = {"address": invoice.payable, "payment_address": invoice.payable}
    if method.networked:
        networks = [_network(token) | {"payment_uri": _uri(method.uri, invoice, token)} for token in topup.networks]
        return named | ({"payment_uri": networks[0]["payment_uri"], "networks": networks} if networks else {})
    coins = money.plain(invoice.crypto_due, method.coin_digits)
    return named | {"payment_uri": method.uri.format(address=invoice.payable, coins=coins)}


def _uri(template: str, invoice: InvoiceRow, token: Token) -> str:
    units = token.units(invoice.crypto_due)
    contract = checksummed(token.contract)
    return template.format(contract=contract, chain_id=token.chain_id, address=invoice.payable, units=units)


def _network(token: Token) -> dict[str, Any]:
    final = token.final if token.final is not None else "finalized"
    contract = checksummed(token.contract)
    return {"network": token.chain, "chain_id": token.chain_id, "contract": contract, "confirmations": final}


def payment(receipt: ReceiptRow) -> dict[str, Any]:
    """One payment of an invoice: whole coins, and USD that it credited."""
    return {
        "id": receipt.receipt_id,
        "amount": money.number(receipt.amount, METHODS[receipt.rail].coin_digits),
        "credited_usd": money.number(receipt.credit_nano or 0),
        "bonus_usd": money.number(receipt.bonus_nano or 0),
    }


def listing(topups: Sequence[Topup]) -> dict[str, Any]:
    return {"data": [status(topup) for topup in topups]}


def payment_methods(methods: Sequence[tuple[Method, int | None, bool]]) -> dict[str, Any]:
    """Each with its present rate, nano-USD for a whole coin, None where there is none, and whether it is open."""
    return {"success": True, "supported_methods": [_method(*method) for method in methods]}


def _method(method: Method, usd_nano_per_coin: int | None, available: bool) -> dict[str, Any]:
    limits = {c.code: {"min": _number(c.least), "max": _number(c.most)} for c in method.currencies}
    bonus = method.bonus or money.Ratio(0, 1)
    return {
        "method": method.name,
        "display_name": method.display_name,
        "supported_currencies": [currency.code for currency in method.currencies],
        "limits": limits,
        "expires_in_seconds": method.expiry_s,
        "bonus_percent": money.number(money.share(100 * 10**6, bonus), 6),
        "confirmations": [{"from": _number(least), "count": count} for least, count in method.confirmations],
        **({"networks": [_network(token) for token in method.networks]} if method.networks else {}),
        "coin": method.coin,
        "coins": list(method.coins) or [method.coin],
        "usd_per_coin": money.number(usd_nano_per_coin) if usd_nano_per_coin is not None else None,
        "available": available,
    }


def _asked(invoice: InvoiceRow) -> orjson.Fragment:
    return _number(money.decimal(invoice.amount))


def _coins(invoice: InvoiceRow, units: int) -> orjson.Fragment:
    return money.number(units, METHODS[invoice.rail].coin_digits)


def _number(value: Decimal) -> orjson.Fragment:
    """A limit or an amount as asked: no currency has more than 9 digits after the point."""
    return money.number(money.scaled(value, 9))
