"""BTCPay Server's Greenfield API as both of its rails ask it: one store, one key, and what that key may do.

It must never ask for anything that pays, nor change what stands in the store.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import quote

from perquery.outbound import Client
from perquery.rails.node import Node, field
from perquery.rails.rail import Inspection

NAME: Final = "BTCPay"
SPENDING: Final = frozenset(
    {
        "unrestricted",
        "btcpay.store.canmodifystoresettings",
        "btcpay.store.canuselightningnode",
        "btcpay.store.cancreatepullpayments",
        "btcpay.store.canmanagepullpayments",
        "btcpay.store.canmanagepayouts",
    }
)


class Store:
    """One store of the server, by one API key. path: of a thing in it, from "invoices" on."""

    def __init__(self, client: Client, url: str, key: str, store: str) -> None:
        self.node = Node(NAME, url, {"authorization": f"token {key}"}, client)
        self._root = f"/api/v1/stores/{quote(store, safe='')}/"

    def path(self, *parts: str) -> str:
        return self._root + "/".join(quote(part, safe="") for part in parts)

    async def inspect(self, network: str, wanted: Collection[str]) -> Inspection:
        """What the server is, and whether the key may spend. wanted: permissions that are enough."""
        version = field(NAME, await self.node.get("/api/v1/server/info"), "version", str)
        allowed = field(NAME, await self.node.get("/api/v1/api-keys/current"), "permissions", list)
        spends = any(str(each).partition(":")[0] in SPENDING for each in allowed)
        advice = (
            f"this API key can spend; make one with {' and '.join(f'`{each}`' for each in wanted)} alone, for this"
            " store alone (Account, Manage Account, API Keys)"
        )
        return Inspection(f"{NAME} {version}", network, spends, (advice,) if spends else ())
