"""Core Lightning as the Lightning wallet, over its REST plugin (Core Lightning's documentation: clnrest, and the
manual pages of the commands named here).

Awaited invoices are looked up by their payment hash, so a node restored from a backup, whose indexes start over, is
heard like any other. This module must never ask for anything that pays.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from perquery.outbound import Client
from perquery.rails import lightning
from perquery.rails.lookup import Lookups, Seen
from perquery.rails.node import Node, Refused, field
from perquery.rails.rail import Inspection, Payable, PayableRequest, RailDown, Receipt, Watched

NAME: Final = "Core Lightning"
_NETWORKS: Final = {"bitcoin": "bc", "testnet": "tb", "testnet4": "tb", "signet": "tbs", "regtest": "bcrt"}
_UNPAID: Final[Mapping[str, Literal["open", "over"]]] = {"unpaid": "open", "expired": "over"}
_OPEN: Final = "CHANNELD_NORMAL"  # of a channel
_ASKING: Final = "checkrune"
_SPENDING: Final = ("pay", "xpay", "keysend", "sendpay", "sendonion", "withdraw", "txsend", "fundchannel", "createrune")
_NOT_PERMITTED: Final = 1502
_RUNE: Final = (
    """`lightning-cli createrune restrictions='[["method=invoice","method=listinvoices","method=listpeerchannels","""
    """"method=getinfo","method=checkrune"]]'`"""
)
_SPENDS: Final = f"this rune can spend, or make one that can; use one that can only receive: {_RUNE}"
_UNTOLD: Final = f"this rune may not ask what it is allowed to do; one that can only receive, and may: {_RUNE}"


class ClnWallet:
    """The rail. rune: what authorizes; network: the prefix that its invoices must have; trust: as in Node."""

    pace_s = 2.0

    def __init__(
        self, client: Client, url: str, rune: str, network: str, *, trust: ssl.SSLContext | None = None
    ) -> None:
        self._node = Node(NAME, url, {"rune": rune}, client, trust=trust)
        self._rune = rune
        self._network = network
        self._lookups = Lookups()
        self.receivable: int | None = None

    async def make(self, request: PayableRequest) -> Payable:
        """The label, which Core Lightning wants to be unlike all others, means nothing."""
        asked = {
            "amount_msat": request.amount,
            "label": f"perquery-{secrets.token_hex(16)}",
            "description": request.description,
            "expiry": request.expiry_s,
        }
        made = await self._call("invoice", asked)
        text, payment_hash = field(NAME, made, "bolt11", str), field(NAME, made, "payment_hash", str)
        return lightning.payable(NAME, text, payment_hash, request, self._network)

    async def receipts(self, cursor: str, watched: Sequence[Watched]) -> tuple[Sequence[Receipt], str]:
        """The cursor stays as it is: an index would miss what a restored node counts a second time."""
        self.receivable = await self._receivable()
        return await self._lookups.receipts(watched, self._look), cursor

    async def close(self) -> None:
        await self._node.close()

    async def inspect(self) -> Inspection:
        about = await self._call("getinfo", {})
        field(NAME, await self._call("listinvoices", {"index": "created", "start": 1, "limit": 1}), "invoices", list)
        network = field(NAME, about, "network", str)
        spends = await self._may_spend()
        return Inspection(
            node=f"{NAME} {field(NAME, about, 'version', str)}, {field(NAME, about, 'alias', str)!r}",
            network=_NETWORKS.get(network, network),
            may_spend=spends,
            advice={True: (_SPENDS,), None: (_UNTOLD,), False: ()}[spends],
        )

    async def _look(self, payment_hash: str) -> Seen:
        found = field(NAME, await self._call("listinvoices", {"payment_hash": payment_hash}), "invoices", list)
        if not found:
            return "open"
        if len(found) > 1 or field(NAME, found[0], "payment_hash", str).lower() != payment_hash:
            raise RailDown(f"{NAME} answered with other invoices than {payment_hash}")
        status = field(NAME, found[0], "status", str)
        if status == "paid":
            received, at_s = field(NAME, found[0], "amount_received_msat", int), field(NAME, found[0], "paid_at", int)
            return lightning.receipt(NAME, payment_hash, received, at_s)
        if status not in _UNPAID:
            raise RailDown(f"{NAME} calls {payment_hash} {status[:40]!r}, which is not known")
        return _UNPAID[status]

    async def _receivable(self) -> int | None:
        """Millisatoshi that the open channels can bring, all together: its invoices may be paid in parts. None where
        the rune may not see them.
        """
        try:
            answer = await self._call("listpeerchannels", {})
        except Refused as error:
            if _code(error) == _NOT_PERMITTED:
                return None
            raise
        return sum(
            field(NAME, channel, "receivable_msat", int)
            for channel in field(NAME, answer, "channels", list)
            if field(NAME, channel, "state", str) == _OPEN and channel.get("peer_connected") is True
        )

    async def _may_spend(self) -> bool | None:
        """None where the rune may not ask: the plugin and the command refuse with the same code, so whether it may
        is asked first.
        """
        if not await self._permits(_ASKING):
            return None
        for method in _SPENDING:
            if await self._permits(method):
                return True
        return False

    async def _permits(self, method: str) -> bool:
        try:
            answer = await self._call(_ASKING, {"rune": self._rune, "method": method})
        except Refused as error:
            if _code(error) != _NOT_PERMITTED:
                raise
            return False
        return isinstance(answer, Mapping) and answer.get("valid") is True

    async def _call(self, method: str, params: Mapping[str, Any]) -> Any:
        return await self._node.post(f"/v1/{method}", params)


def _code(error: Refused) -> int | None:
    """The error's number, which some versions of the plugin put one level deeper."""
    body = error.body
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping):
        body = body["error"]
    return body.get("code") if isinstance(body, Mapping) else None
