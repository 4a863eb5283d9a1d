"""phoenixd as the Lightning wallet, over its HTTP API (ACINQ's phoenixd, "API reference").

Awaited invoices are looked up by their payment hash, for its lists are in the order of creation. What counts is what
is left of a payment: where a channel is opened for it, phoenixd takes the fee out of it. Amounts are whole satoshis.
This module must never ask for anything that pays.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Final

from perquery.outbound import Client
from perquery.rails import lightning
from perquery.rails.lookup import Lookups, Seen
from perquery.rails.node import Node, Refused, field
from perquery.rails.rail import Inspection, Payable, PayableRequest, RailDown, Receipt, Watched

NAME: Final = "phoenixd"
_NETWORKS: Final = {"mainnet": "bc", "testnet": "tb", "testnet4": "tb", "signet": "tbs", "regtest": "bcrt"}
_MSAT_PER_SAT: Final = 1_000
_NO_CHANNEL: Final = (
    "there is no channel yet: a first payment pays for one, and a small one becomes a credit for fees, which cannot"
    " be paid out but still counts as received; open a channel by a larger payment of your own first"
)
_PASSWORDS: Final = (
    "use the password for limited access (http-password-limited-access in phoenix.conf), which cannot pay invoices"
)
_FEE_CREDIT: Final = "{} sat of what was received are a credit for fees, which cannot be paid out"


class PhoenixdWallet:
    """The rail. password: the one for limited access; network: the prefix that its invoices must have."""

    pace_s = 2.0
    receivable: int | None = None  # it opens channels as they are needed

    def __init__(self, client: Client, url: str, password: str, network: str) -> None:
        token = b64encode(f":{password}".encode()).decode()
        self._node = Node(NAME, url, {"authorization": f"Basic {token}"}, client)
        self._network = network
        self._lookups = Lookups()

    async def make(self, request: PayableRequest) -> Payable:
        if request.amount % _MSAT_PER_SAT:
            raise RailDown(f"{NAME} makes invoices for whole satoshis only, not for {request.amount} msat")
        asked: dict[str, str | int] = {
            "amountSat": request.amount // _MSAT_PER_SAT,
            "description": request.description,
            "expirySeconds": request.expiry_s,
        }
        made = await self._node.post_form("/createinvoice", asked)
        text, payment_hash = field(NAME, made, "serialized", str), field(NAME, made, "paymentHash", str)
        return lightning.payable(NAME, text, payment_hash, request, self._network)

    async def receipts(self, cursor: str, watched: Sequence[Watched]) -> tuple[Sequence[Receipt], str]:
        """The cursor means nothing here. With nothing to look up, it asks whether phoenixd is there at all."""
        if not watched:
            await self._node.get("/getbalance")
        return await self._lookups.receipts(watched, self._look), cursor

    async def close(self) -> None:
        await self._node.close()

    async def inspect(self) -> Inspection:
        about = await self._node.get("/getinfo")
        credit = field(NAME, await self._node.get("/getbalance"), "feeCreditSat", int)
        advice = [_FEE_CREDIT.format(credit)] if credit else []
        if not field(NAME, about, "channels", list):
            advice.append(_NO_CHANNEL)
        chain = field(NAME, about, "chain", str)
        node = f"{NAME} {field(NAME, about, 'version', str)}"
        # Which of its two passwords ours is could only be found out by trying to pay.
        return Inspection(node, _NETWORKS.get(chain, chain), may_spend=None, advice=(_PASSWORDS, *advice))

    async def _look(self, payment_hash: str) -> Seen:
        try:
            found = await self._node.get(f"/payments/incoming/{payment_hash}")
        except Refused as error:
            if error.status == 404:
                return "open"
            raise
        if field(NAME, found, "paymentHash", str).lower() != payment_hash:
            raise RailDown(f"{NAME} answered with another payment than {payment_hash}")
        if not field(NAME, found, "isPaid", bool):
            return "open"
        received, at_ms = field(NAME, found, "receivedSat", int), field(NAME, found, "completedAt", int)
        return lightning.receipt(NAME, payment_hash, received * _MSAT_PER_SAT, at_ms // 1_000)
