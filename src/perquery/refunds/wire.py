"""Refunds as JSON. Amounts are `money.number` fragments; they never show which wallet pays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perquery import money
from perquery.store.refunds import RefundRow


def refund(row: RefundRow) -> dict[str, Any]:
    """A refund as it stands. The fee that was held at most, and what was taken in the end; `preimage` proves that the
    invoice was paid.
    """
    charged = row.charged_nano
    return {
        "id": row.id,
        "state": row.state,
        "amount_usd": money.number(row.amount_nano),
        "amount_sats": money.number(row.amount_msat, 3),
        "fee_most_usd": money.number(row.fee_most_nano),
        "fee_usd": money.number(charged - row.amount_nano) if charged is not None else None,
        "charged_usd": money.number(charged) if charged is not None else None,
        "destination": row.destination or row.invoice,
        "invoice": row.invoice,
        "payment_hash": row.payment_hash,
        "preimage": row.preimage,
        "message": row.words,
        "created_at": row.created_at // 1000,
        "expires_at": row.expires_at // 1000,
        "ended_at": row.ended_at // 1000 if row.ended_at is not None else None,
    }


def listing(rows: Sequence[RefundRow], spare_nano: int) -> dict[str, Any]:
    """refundable_usd: what could be asked back now, network fees included."""
    return {"refundable_usd": money.number(spare_nano), "data": [refund(row) for row in rows]}
