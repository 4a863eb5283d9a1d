"""LNbits as the wallet that pays out, by the admin key of a wallet of its own.

How high a fee may be is LNbits' own setting (`LNBITS_RESERVE_FEE_PERCENT`, 1 % unless set): its API takes no bound.
This module must never ask anything of a wallet whose id LNbits does not tell: without the admin key, it answers about
other people's payments.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from secrets import token_bytes
from typing import Any, Final

from perquery.outbound import Client
from perquery.payouts.wallet import Declined, Look, OwnInvoice, Purse
from perquery.rails import bolt11
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
        wallet = _id(await self._node.get("/api/v1/wallet"))
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
            raise OwnInvoice(f"{NAME} has {payment_hash} as an invoice of this very wallet")
        if field(NAME, found, "paid", bool):
            preimage = found.get("preimage")
            fee_msat = abs(field(NAME, details, "fee", int))
            return Look(wallet, "paid", -amount, fee_msat, preimage if isinstance(preimage, str) else None)
        return Look(wallet, "failed" if found.get("status") == "failed" else "pending")

    async def inspect(self, amount_msat: int) -> Purse:
        """The fee is asked for by an invoice that nobody can pay or be paid: its maker's key is thrown away."""
        about = await self._node.get("/api/v1/wallet")
        made = bolt11.Bolt11(
            "bc", amount_msat, int(time.time()), token_bytes(32), token_bytes(32), "PerQuery wallet check"
        )
        invoice = bolt11.encode(made, token_bytes(32))
        fee = await self._node.get("/api/v1/payments/fee-reserve", invoice=invoice)
        return Purse(
            node=f"{NAME}, wallet {field(NAME, about, 'name', str)!r}",
            wallet=_id(about),
            balance_msat=field(NAME, about, "balance", int),
            reserve_msat=field(NAME, fee, "fee_reserve", int),
        )

    async def close(self) -> None:
        """Nothing is open; the client belongs to whoever made it."""


def _id(about: Any) -> str:
    """Which wallet it is. Raises RailDown: only the admin key is told that."""
    if isinstance(about, Mapping) and "id" not in about:
        raise RailDown(f"{NAME} answered without id: the key is not the wallet's admin key, so it cannot pay")
    return field(NAME, about, "id", str)


def _said(error: Refused) -> str | None:
    """LNbits' own words, None where the answer is not its own."""
    detail = error.body.get("detail") if isinstance(error.body, Mapping) else None
    return detail[:_WORDS_MAX] if isinstance(detail, str) else None
