"""LNbits as the wallet that pays out, by the admin key of a wallet of its own.

How high a fee may be is LNbits' own setting (`LNBITS_RESERVE_FEE_PERCENT`, 1 % unless set): its API takes no bound.
This module must never ask anything of a wallet whose id LNbits does not tell: without the admin key, it answers about
other people's payments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from perquery.outbound import Client
from perquery.payouts.wallet import Declined, Look
from perquery.rails.node import Node, Refused, field
from perquery.rails.rail import RailDown

NAME: Final = "LNbits"
_WORDS_MAX: Final = 200


class LnbitsPayer:
    """The wallet. key: its admin key."""

    def __init__(self, client: Client, url: str, key: str) -> None:
        self._node = Node(NAME, url, {"x-api-key": key}, client)

    async def pay(self, invoice: str) -> None:
        try:
            await self._node.post("/api/v1/payments", {"out": True, "bolt11": invoice})
        except Refused as error:
            if (said := _said(error)) is None:
                raise  # by something between us and LNbits, which may have passed the question on
            raise Declined(said) from error

    async def look(self, payment_hash: str) -> Look:
        """Its id is asked first: a key that has become wrong is then an error, and not an empty record."""
        wallet = field(NAME, await self._node.get("/api/v1/wallet"), "id", str)
        try:
            found = await self._node.get(f"/api/v1/payments/{payment_hash}")
        except Refused as error:
            if error.status == 404 and _said(error) is not None:
                return Look(wallet, "absent")
            raise
        details: Mapping[str, Any] = field(NAME, found, "details", dict)
        if (
            field(NAME, details, "wallet_id", str) != wallet
            or field(NAME, details, "payment_hash", str) != payment_hash
        ):
            raise RailDown(f"{NAME} answered with another payment than {payment_hash}")
        amount = field(NAME, details, "amount", int)
        if amount >= 0:
            raise RailDown(f"{NAME} has {payment_hash} as an invoice of this very wallet")
        if field(NAME, found, "paid", bool):
            preimage = found.get("preimage")
            fee_msat = abs(field(NAME, details, "fee", int))
            return Look(wallet, "paid", -amount, fee_msat, preimage if isinstance(preimage, str) else None)
        return Look(wallet, "failed" if found.get("status") == "failed" else "pending")

    async def close(self) -> None:
        """Nothing is open; the client belongs to whoever made it."""


def _said(error: Refused) -> str | None:
    """LNbits' own words, None where the answer is not its own."""
    detail = error.body.get("detail") if isinstance(error.body, Mapping) else None
    return detail[:_WORDS_MAX] if isinstance(detail, str) else None
