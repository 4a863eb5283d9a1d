"""LND as the Lightning wallet, over its REST API (LND's "LND API Documentation", the Lightning service).

Awaited invoices are looked up by their payment hash, so a node restored from a backup or with a new database is
heard like any other. This module must never ask for anything that pays, and never takes a held payment for a receipt.
"""

from __future__ import annotations

import ssl
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from perquery.outbound import Client
from perquery.rails import lightning
from perquery.rails.lookup import Lookups, Seen
from perquery.rails.node import Node, Refused, field
from perquery.rails.rail import Inspection, Payable, PayableRequest, RailDown, Receipt, Watched

NAME: Final = "LND"
_MSAT_PER_SAT: Final = 1_000
_NETWORKS: Final = {
    "mainnet": "bc",
    "testnet": "tb",
    "testnet4": "tb",
    "signet": "tbs",
    "regtest": "bcrt",
}
_UNPAID: Final[Mapping[str, Literal["open", "over"]]] = {
    "OPEN": "open",
    "ACCEPTED": "open",  # held: the payer may still get it back
    "CANCELED": "over",  # by LND itself, where it expired
}
_SPENDING: Final = (  # what they need, and a call that a macaroon may name instead
    ("offchain", "write", "/routerrpc.Router/SendPaymentV2"),
    ("onchain", "write", "/lnrpc.Lightning/SendCoins"),
    ("macaroon", "generate", "/lnrpc.Lightning/BakeMacaroon"),
)
_INVALID_ARGUMENT: Final = 3  # gRPC's code
_DENIED: Final = "permission denied"
_UNKNOWN: Final = ("unable to locate invoice", "there are no existing invoices")
_BAKE: Final = "`lncli bakemacaroon invoices:read invoices:write info:read offchain:read macaroon:read`"
_SPENDS: Final = f"this macaroon can spend, or make one that can; use one that can only receive: {_BAKE}"
_UNTOLD: Final = f"this macaroon may not ask what it is allowed to do; one that can only receive, and may: {_BAKE}"


class LndWallet:
    """The rail. macaroon: in hexadecimal; network: the prefix that its invoices must have; trust: as in Node.

    Raises ValueError for what is no macaroon.
    """

    pace_s = 2.0

    def __init__(
        self, client: Client, url: str, macaroon: str, network: str, *, trust: ssl.SSLContext | None = None
    ) -> None:
        try:
            self._macaroon = bytes.fromhex(macaroon)
        except ValueError:
            raise ValueError("key: LND takes the macaroon in hexadecimal (`xxd -ps -c 999 FILE`)") from None
        self._node = Node(NAME, url, {"grpc-metadata-macaroon": self._macaroon.hex()}, client, trust=trust)
        self._network = network
        self._lookups = Lookups()
        self.receivable: int | None = None

    async def make(self, request: PayableRequest) -> Payable:
        """`private`: with hints of the way, for a node whose channels are not announced could not be found else."""
        asked = {
            "value_msat": str(request.amount),
            "memo": request.description,
            "expiry": str(request.expiry_s),
            "private": True,
        }
        made = await self._node.post("/v1/invoices", asked)
        return lightning.payable(NAME, field(NAME, made, "payment_request", str), _hash(made), request, self._network)

    async def receipts(self, cursor: str, watched: Sequence[Watched]) -> tuple[Sequence[Receipt], str]:
        """The cursor stays as it is: LND lists invoices in the order in which they were made, not paid."""
        self.receivable = await self._receivable()
        return await self._lookups.receipts(watched, self._look), cursor

    async def close(self) -> None:
        await self._node.close()

    async def inspect(self) -> Inspection:
        """Whether the macaroon may spend is asked by LND's own check of permissions, which does nothing else."""
        about = await self._node.get("/v1/getinfo")
        listed = await self._node.get("/v1/invoices", num_max_invoices=1)
        field(NAME, listed, "invoices", list)  # it must be able to read them
        network = field(NAME, next(iter(field(NAME, about, "chains", list)), None), "network", str)
        spends = await self._may_spend()
        return Inspection(
            node=f"{NAME} {field(NAME, about, 'version', str)}, {field(NAME, about, 'alias', str)!r}",
            network=_NETWORKS.get(network, network),
            may_spend=spends,
            advice={True: (_SPENDS,), None: (_UNTOLD,), False: ()}[spends],
        )

    async def _look(self, payment_hash: str) -> Seen:
        try:
            invoice = await self._node.get(f"/v1/invoice/{payment_hash}")
        except Refused as error:
            if _said(error).startswith(_UNKNOWN):
                return "open"
            raise
        if _hash(invoice) != payment_hash:
            raise RailDown(f"{NAME} answered with another invoice than {payment_hash}")
        state = field(NAME, invoice, "state", str)
        if state == "SETTLED":
            return lightning.receipt(NAME, payment_hash, _int(invoice, "amt_paid_msat"), _int(invoice, "settle_date"))
        if state not in _UNPAID:
            raise RailDown(f"{NAME} calls {payment_hash} {state[:40]!r}, which is not known")
        return _UNPAID[state]

    async def _receivable(self) -> int | None:
        """Millisatoshi that the open channels can bring, all together: LND's invoices may be paid in parts. None
        where the macaroon may not see them.
        """
        try:
            answer = await self._node.get("/v1/channels", active_only="true")
        except Refused as error:
            if _DENIED in _said(error):
                return None
            raise
        return sum(_free(channel) for channel in field(NAME, answer, "channels", list)) * _MSAT_PER_SAT

    async def _may_spend(self) -> bool | None:
        for entity, action, call in _SPENDING:
            allowed = await self._permits(entity, action, call)
            if allowed is not False:
                return allowed
        return False

    async def _permits(self, entity: str, action: str, call: str) -> bool | None:
        """None where the macaroon may not ask. LND refuses the argument where the answer is no."""
        asked = {
            "macaroon": b64encode(self._macaroon).decode(),
            "permissions": [{"entity": entity, "action": action}],
            "fullMethod": call,
        }
        try:
            answer = await self._node.post("/v1/macaroon/checkpermissions", asked)
        except Refused as error:
            if _DENIED not in _said(error):
                raise
            return False if error.body.get("code") == _INVALID_ARGUMENT else None
        return isinstance(answer, Mapping) and answer.get("valid") is True


def _free(channel: Any) -> int:
    """Satoshi that the peer could send over a channel: what is its own, but for the reserve that it must keep."""
    constraints = channel.get("remote_constraints") if isinstance(channel, Mapping) else None
    return max(0, _int(channel, "remote_balance") - _int(constraints, "chan_reserve_sat"))


def _said(error: Refused) -> str:
    found = error.body.get("message") if isinstance(error.body, Mapping) else None
    return found if isinstance(found, str) else ""


def _hash(answer: Any) -> str:
    """The payment hash as hexadecimal; bytes are base64 in LND's JSON."""
    try:
        return b64decode(field(NAME, answer, "r_hash", str), validate=True).hex()
    except ValueError as error:
        raise RailDown(f"{NAME} wrote a payment hash that is none") from error


def _int(answer: Any, name: str) -> int:
    """A whole number, which is text in LND's JSON."""
    found = field(NAME, answer, name, str)
    if not (found.isascii() and found.removeprefix("-").isdigit() and len(found) <= 20):
        raise RailDown(f"{NAME} wrote {name} as {found[:40]!r}, which is no whole number")
    return int(found)
