"""A connected wallet as JSON: PPQ's fields at the top level and under `data`, for its clients read either."""

from __future__ import annotations

from typing import Any

from perquery import money
from perquery.autotopup import words
from perquery.autotopup.connections import View
from perquery.store.invoices import InvoiceRow
from perquery.store.wallets import AttemptRow, WalletRow


def view(shown: View) -> dict[str, Any]:
    """`data` is null where no wallet is connected; the attempts are told in either case."""
    attempts = [_attempt(row, invoice) for row, invoice in shown.attempts]
    if shown.wallet is None:
        return {"success": True, "connected": False, "enabled": False, "data": None, "attempts": attempts}
    fields = _wallet(shown.wallet) | {"attempts": attempts}
    return {"success": True, **fields, "data": fields}


def _wallet(wallet: WalletRow) -> dict[str, Any]:
    return {
        "connected": True,
        "enabled": wallet.enabled,
        "nwc_url": wallet.shown,
        "threshold_usd": money.number(wallet.threshold_nano),
        "topup_amount_usd": money.number(wallet.amount_nano),
        "daily_limit_usd": money.number(wallet.daily_nano),
        "monthly_limit_usd": money.number(wallet.monthly_nano),
        "connected_at": wallet.connected_at // 1000,
        "reason": wallet.reason,
        "next_attempt_at": wallet.next_at // 1000 if wallet.enabled and wallet.next_at else None,
    }


def _attempt(row: AttemptRow, invoice: InvoiceRow | None) -> dict[str, Any]:
    return {
        "id": row.id,
        "state": row.state,
        "amount_usd": money.number(row.amount_nano),
        "words": words.told(row, invoice),
        "wallet_error": row.code,
        "invoice_id": row.invoice_id,
        "created_at": row.created_at // 1000,
        "ended_at": row.ended_at // 1000 if row.ended_at is not None else None,
    }
