"""What the tests of the NIP-47 client stand on: a relay, a wallet on it, a client of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from perquery.nwc import NwcClient
from perquery.outbound import Client
from tests.nwc.relays import LooseRelay, loose_relay
from tests.nwc.wallet import NwcWallet

PREIMAGE = "ab" * 32
AT = 1_700_000_000  # in the past, as relays pass on only answers that are younger
HANG_S = 10.0  # reached only where a test fails
SOON_S = 0.2  # for what shall not come


async def pay(_invoice: str) -> str:
    return PREIMAGE


@dataclass(frozen=True)
class Scene:
    relay: LooseRelay
    wallet: NwcWallet
    nwc: NwcClient

    def payment(self, invoice: str = "lnbc1", encryption: str = "nip44_v2") -> str:
        return self.nwc.sign("pay_invoice", {"invoice": invoice}, encryption, None, AT)


@asynccontextmanager
async def reaching(*relays: str, wallet: NwcWallet, allow_private: bool = True) -> AsyncIterator[NwcClient]:
    """A client of ours on these relays."""
    outbound = Client(connect_timeout_s=5)
    try:
        async with NwcClient(wallet.connection(*relays), outbound, allow_private=allow_private) as nwc:
            yield nwc
    finally:
        await outbound.close()


@asynccontextmanager
async def scene(make: Callable[[LooseRelay], NwcWallet] | None = None) -> AsyncIterator[Scene]:
    """One relay that can misbehave, one wallet, one client."""
    async with loose_relay() as relay:
        wallet = make(relay) if make else NwcWallet(pay, drop=relay.drop)
        await wallet.start(relay.url)
        try:
            async with reaching(relay.url, wallet=wallet) as nwc:
                yield Scene(relay, wallet, nwc)
        finally:
            await wallet.stop()
