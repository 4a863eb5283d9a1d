"""A wallet's side of NIP-47, as far as the sandbox needs one: it pays invoices, on a relay of its own on loopback.

It serves one connection, for as long as it runs; nothing is kept. It must never hold real coins, nor listen on an
address that others can reach.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import orjson
from nostr_sdk import (
    Client,
    ClientBuilder,
    Event,
    EventBuilder,
    Filter,
    Keys,
    Kind,
    LocalRelayBuilder,
    NostrSdkError,
    ReqTarget,
    Tag,
)

from perquery.nwc import wire
from perquery.nwc.uri import Connection

METHODS: Final = ("pay_invoice", "get_info")
_CONNECT_S: Final = 5


class PayingWallet:
    """pay: pays an invoice and answers its preimage; ValueError says why it cannot be. A request is known by its
    event's id and answered once, as wallets do.
    """

    def __init__(self, pay: Callable[[str], str]) -> None:
        self._pay = pay
        self._keys, self._caller = Keys.generate(), Keys.generate()
        self._seen: set[str] = set()

    def connection(self, relay: str) -> Connection:
        """What a caller connects: it holds the secret."""
        return Connection(self._keys.public_key().to_hex(), (relay,), self._caller.secret_key().to_hex())

    async def serve(self, client: Client) -> None:
        """Answer what comes, until cancelled."""
        stream = client.notifications()
        wanted = Filter().kind(Kind(wire.REQUEST)).pubkey(self._keys.public_key()).author(self._caller.public_key())
        await client.subscribe(ReqTarget.auto([wanted]))
        offer = EventBuilder(Kind(wire.INFO), " ".join(METHODS)).tags([Tag.parse(["encryption", "nip44_v2 nip04"])])
        await client.send_event(offer.finalize(self._keys))
        while (heard := await stream.next()) is not None:
            if heard.is_new_event() and (event := heard.event).id().to_hex() not in self._seen:
                self._seen.add(event.id().to_hex())
                if (reply := await self._answered(event)) is not None:
                    await client.send_event(reply)

    async def _answered(self, event: Event) -> Event | None:
        """The answer to a request, None where it cannot be read."""
        caller, sealed = event.author(), event.content()
        old = "?iv=" in sealed
        try:
            text = self._keys.nip04_decrypt(caller, sealed) if old else self._keys.nip44_decrypt(caller, sealed)
            asked = orjson.loads(text)
            method, params = str(asked["method"]), dict(asked.get("params") or {})
        except (NostrSdkError, ValueError, KeyError, TypeError):
            return None
        body = orjson.dumps({"result_type": method} | await self._done(method, params)).decode()
        answer = self._keys.nip04_encrypt(caller, body) if old else self._keys.nip44_encrypt(caller, body)
        tags = [Tag.parse(["p", caller.to_hex()]), Tag.parse(["e", event.id().to_hex()])]
        return EventBuilder(Kind(wire.RESPONSE), answer).tags(tags).finalize(self._keys)

    async def _done(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if method == "get_info":
            return {"result": {"alias": "PerQuery's sandbox", "network": "regtest", "methods": list(METHODS)}}
        if method != "pay_invoice":
            return {"error": {"code": "NOT_IMPLEMENTED", "message": f"it does not {method[:40]}"}}
        try:
            preimage = await asyncio.to_thread(self._pay, str(params.get("invoice")))
        except ValueError as error:
            return {"error": {"code": "PAYMENT_FAILED", "message": str(error)}}
        return {"result": {"preimage": preimage, "fees_paid": 0}}


@asynccontextmanager
async def serving(wallet: PayingWallet) -> AsyncIterator[tuple[str, asyncio.Task[None]]]:
    """The wallet on a relay of its own: the relay's URL, and the task that serves."""
    relay = LocalRelayBuilder().addr("127.0.0.1").build()
    await relay.run()
    client = ClientBuilder().build()
    try:
        url = str(await relay.url())
        await client.add_relay(await relay.url())
        await client.connect(and_wait=timedelta(seconds=_CONNECT_S))
        task = asyncio.create_task(wallet.serve(client))
        try:
            yield url, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    finally:
        await client.shutdown()
        relay.shutdown()
