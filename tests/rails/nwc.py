"""A wallet that is paid, behind Nostr Wallet Connect: the scripted wallet with a book of invoices, and a relay, in a
thread of their own.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from perquery.nwc import Connection
from perquery.rails import bolt11
from tests.nwc.relays import LooseRelay, loose_relay
from tests.nwc.wallet import RECEIVING, NwcWallet, Refusal

_NODE_KEY = b"\x11" * 32
HANG_S = 10.0


class Book:
    """The invoices of a wallet. clock: milliseconds. change: what the next invoices are instead of what was asked for;
    found: what every look-up says besides; refusal: what every question is answered.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self.change: dict[str, Any] = {}
        self.found: dict[str, Any] = {}
        self.refusal: Refusal | None = None
        self.rows: dict[str, dict[str, Any]] = {}
        self._clock = clock

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        if method == "make_invoice":
            return self._made(params)
        if params["payment_hash"] not in self.rows:
            raise Refusal("NOT_FOUND", "no such invoice")
        row = self.rows[params["payment_hash"]] | self.found
        return {name: value for name, value in row.items() if value is not None}

    def pay(self, text: str) -> str:
        row = self.rows[bolt11.decode(text).payment_hash.hex()]
        if row["state"] == "settled":
            raise ValueError("this invoice is paid already")
        if self._clock() >= row["expires_at"] * 1000:
            raise ValueError("this invoice has expired")
        row |= {"state": "settled", "settled_at": self._clock() // 1000}
        return str(row["payment_hash"])

    def _made(self, params: dict[str, Any]) -> dict[str, Any]:
        hash_, now = hashlib.sha256(secrets.token_bytes(32)).digest(), self._clock() // 1000
        invoice = {
            "network": "bc",
            "amount_msat": params["amount"],
            "created_at": now,
            "payment_hash": hash_,
            "payment_secret": b"\x33" * 32,
            "description": params["description"],
            "expiry_s": params["expiry"],
        } | self.change
        row = {
            "type": "incoming",
            "state": "pending",
            "invoice": bolt11.encode(bolt11.Bolt11(**invoice), _NODE_KEY),
            "payment_hash": hash_.hex(),
            "amount": params["amount"],
            "created_at": now,
            "expires_at": now + params["expiry"],
        }
        self.rows[hash_.hex()] = row
        return row


class Running:
    """The wallet, its book and its relay, and how to act in their thread."""

    def __init__(self, book: Book, wallet: NwcWallet, relay: LooseRelay, loop: asyncio.AbstractEventLoop) -> None:
        self.book = book
        self.wallet = wallet
        self.relay = relay
        self._loop = loop

    def connection(self) -> Connection:
        return self.wallet.connection(self.relay.url)

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(HANG_S)

    def soon(self, act: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(act)


async def _nobody(_invoice: str) -> str:
    raise Refusal("RESTRICTED", "this wallet only receives")


@contextmanager
def running(
    clock: Callable[[], int], *, encryption: str | None = "nip44_v2 nip04", methods: Sequence[str] = RECEIVING
) -> Iterator[Running]:
    """encryption, methods: as of the scripted wallet."""
    ready, over, made = threading.Event(), asyncio.Event(), list[Running]()

    async def serve() -> None:
        async with loose_relay() as relay:
            book = Book(clock)
            wallet = NwcWallet(_nobody, encryption=encryption, methods=methods, book=book, clock=clock)
            await wallet.start(relay.url)
            made.append(Running(book, wallet, relay, asyncio.get_running_loop()))
            ready.set()
            await over.wait()
            await wallet.stop()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait(HANG_S)
    try:
        yield made[0]
    finally:
        made[0].soon(over.set)
        thread.join()
