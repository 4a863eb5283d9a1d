"""Any wallet that speaks Nostr Wallet Connect as the Lightning wallet (NIP-47): invoices made, and looked up.

What a connection may do is what the wallet's info event says, never what get_info does, which many refuse. A
notification only makes us look sooner. This module must never send a request that pays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from perquery.nwc import Connection, Info, NoAnswer, NwcClient, WalletError
from perquery.outbound import Client
from perquery.rails import lightning
from perquery.rails.lookup import Lookups, Seen
from perquery.rails.rail import Inspection, Payable, PayableRequest, RailDown, RailSilent, Receipt, Watched

NAME: Final = "The NWC wallet"
TIMEOUT_S: Final = 10.0
_ASKED_OFTEN_S: Final = 2.0
_ASKED_SELDOM_S: Final = 10.0  # where the wallet tells of payments by itself
_OVER_MS: Final = 300_000  # so long after its end an invoice is asked about as before, and from then on
_OVER_EVERY_MS: Final = 600_000  # at this pace: a payment is hardly to be expected, and a day of them are watched
_NEEDED: Final = ("make_invoice", "lookup_invoice")
_SPENDING: Final = frozenset({"pay_invoice", "pay_keysend", "multi_pay_invoice", "multi_pay_keysend"})
_TOLD: Final = "payment_received"
_NETWORKS: Final = {"mainnet": "bc", "testnet": "tb", "signet": "tbs", "regtest": "bcrt"}
_ADVICE: Final = (
    "this connection can spend: make one in the wallet that may only receive (make_invoice, lookup_invoice), in Alby"
    " Hub by an isolated app connection without the permission to send payments"
)
_UNTOLD: Final = "the wallet tells nothing of payments by itself, so each awaited invoice is asked about every 2 s"


class NwcReceiver:
    """The rail. network: the prefix that its invoices have; clock: milliseconds; news: set when the wallet tells of
    a payment. Its relays are the operator's choice, so they may be anywhere.
    """

    def __init__(
        self,
        client: Client,
        connection: Connection,
        network: str,
        clock: Callable[[], int],
        news: asyncio.Event,
    ) -> None:
        self.pace_s = _ASKED_OFTEN_S
        self.receivable: int | None = None
        self._nwc = NwcClient(connection, client, allow_private=True)
        self._network = network
        self._clock = clock
        self._news = news
        self._known: Info | None = None
        self._lookups = Lookups()
        self._ear: asyncio.Task[None] | None = None
        self._looked_ms: dict[str, int] = {}

    async def make(self, request: PayableRequest) -> Payable:
        asked = {"amount": request.amount, "description": request.description, "expiry": request.expiry_s}
        made = await self._ask("make_invoice", asked)
        text, payment_hash = made.get("invoice"), made.get("payment_hash")
        if not isinstance(text, str) or not isinstance(payment_hash, str):
            raise RailDown(f"{NAME} made no invoice")
        return lightning.payable(NAME, text, payment_hash, request, self._network)

    async def receipts(self, cursor: str, watched: Sequence[Watched]) -> tuple[Sequence[Receipt], str]:
        """The cursor stays as it is: NIP-47's list is in the order of invoices, not of payments, so each watched one
        is looked up.
        """
        self._listen(await self._info())
        return await self._lookups.receipts(self._due(watched), self._look), cursor

    async def close(self) -> None:
        if self._ear is not None:
            self._ear.cancel()
            await asyncio.gather(self._ear, return_exceptions=True)
        await self._nwc.close()

    async def inspect(self) -> Inspection:
        info = await self._info()
        about: Mapping[str, Any] = {}
        if "get_info" in info.methods:
            try:
                about = await self._send("get_info", {})
            except WalletError:
                pass  # many wallets grant it to nobody
        may_spend = bool(info.methods & _SPENDING)
        return Inspection(
            node=f"NWC wallet {about.get('alias') or ''}".strip(),
            network=_NETWORKS.get(str(about.get("network")), "unknown"),
            may_spend=may_spend,
            advice=((_ADVICE,) if may_spend else ()) + (() if _TOLD in info.notifications else (_UNTOLD,)),
        )

    def _due(self, watched: Sequence[Watched]) -> list[Watched]:
        now = self._clock()
        self._looked_ms = {each.rail_ref: self._looked_ms.get(each.rail_ref, 0) for each in watched}
        return [
            each
            for each in watched
            if now < each.expires_at_ms + _OVER_MS or now >= self._looked_ms[each.rail_ref] + _OVER_EVERY_MS
        ]

    async def _look(self, payment_hash: str) -> Seen:
        """What was received for an invoice, once it is all settled."""
        try:
            found = await self._send("lookup_invoice", {"payment_hash": payment_hash})
        except WalletError as error:
            if error.code != "NOT_FOUND":
                raise RailDown(f"{NAME} refuses lookup_invoice: {error}") from error
            found = {"state": "pending"}
        self._looked_ms[payment_hash] = self._clock()
        state, settled_at, amount = found.get("state"), found.get("settled_at"), found.get("amount")
        if state not in (None, "settled") or (state is None and not settled_at):
            return "open"
        if found.get("payment_hash", payment_hash) != payment_hash or type(amount) is not int:
            raise RailDown(f"{NAME} calls {payment_hash} paid, but not how much")
        at_s = settled_at if type(settled_at) is int else self._clock() // 1000
        return lightning.receipt(NAME, payment_hash, amount, at_s)

    async def _ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return await self._send(method, params)
        except WalletError as error:
            raise RailDown(f"{NAME} refuses {method}: {error}") from error

    async def _send(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Raises RailDown, WalletError."""
        info = await self._info()
        event = self._nwc.sign(method, params, info.encryption, None, self._clock() // 1000)
        try:
            return await self._nwc.send(event, TIMEOUT_S)
        except NoAnswer as error:
            self._known = None  # it may have become another wallet, or speak otherwise
            raise RailSilent(f"{NAME} does not answer: {error}") from error
        except WalletError as error:
            if error.code == "UNSUPPORTED_ENCRYPTION":
                self._known = None
            raise

    async def _info(self) -> Info:
        """What the connection may do. Raises RailDown where it cannot serve a rail."""
        if self._known is None:
            try:
                info = await self._nwc.info(TIMEOUT_S)
            except NoAnswer as error:
                raise RailSilent(f"{NAME} does not answer: {error}") from error
            for method in _NEEDED:
                if method not in info.methods:
                    raise RailDown(f"{NAME} does not let this connection {method}; allow it in the wallet")
            self._known = info
        return self._known

    def _listen(self, info: Info) -> None:
        """Be told of payments, where the wallet does so."""
        tells = _TOLD in info.notifications
        self.pace_s = _ASKED_SELDOM_S if tells else _ASKED_OFTEN_S
        if tells and (self._ear is None or self._ear.done()):
            self._ear = asyncio.get_running_loop().create_task(self._hear())

    async def _hear(self) -> None:
        async for _ in self._nwc.notifications(self._clock() // 1000):
            self._looked_ms.clear()
            self._news.set()
