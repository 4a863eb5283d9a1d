"""Auto top-up from end to end: a live gateway, true payments in a real LNbits, and two independent wallets over a relay
that ask LNbits to pay: a scripted one with faults, and Alby's service. Each attempt is paid once and credited once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perquery.nwc import Connection
from tests.nwc.alby import alby, needs_node
from tests.nwc.wallet import Fault, NwcWallet, Refusal, local_relay
from tests.serving import Gateway, serving
from tests.wallets.lnbits import Lnbits

HANG_S = 60.0  # reached only where a test fails
FAULTS = (
    Fault.NORMAL,
    Fault.SILENT,
    Fault.TWICE,
    Fault.ERROR_FIRST,
    Fault.WRONG_AUTHOR,
    Fault.UNKNOWN_REQUEST,
    Fault.GARBAGE,
)


@dataclass
class Scene:
    lnbits: Lnbits
    gateway: Gateway
    relay: str
    held_msat: int  # by the till, before

    async def connected(self, wallet: Connection) -> str:
        """The key of a new account with this wallet."""
        _, key = await asyncio.to_thread(self.gateway.account)
        body = {"nwc_url": wallet.uri(), "threshold_usd": 5, "topup_amount_usd": 5}
        answer = await asyncio.to_thread(self.gateway.call, "POST", "/nwc-auto-topup/connect", body, key=key)
        assert answer.status == 200, answer.body
        return key

    async def ended(self, key: str) -> dict[str, Any]:
        """The account's one attempt, once it has ended."""
        async with asyncio.timeout(HANG_S):
            while True:
                shown = await asyncio.to_thread(self.gateway.call, "GET", "/nwc-auto-topup", key=key)
                (attempt,) = shown.json()["attempts"] or [None]
                if attempt and attempt["ended_at"] is not None:
                    return dict(attempt)

    async def check(self, *keys: str) -> None:
        """Each has one payment, and the wallet's own list is what was credited, to the satoshi."""
        for key in keys:
            attempt = await self.ended(key)
            assert (attempt["state"], self.gateway.balance(key)) == ("settled", 5.25), attempt
        (compared,) = self.gateway.command("ledger", "reconcile")
        assert compared["ok"] and compared["received"] == compared["credited"] == len(keys) * 5_000_000
        assert self.lnbits.received_msat() - self.held_msat == len(keys) * 5_000_000
        assert self.gateway.command("ledger", "verify")["ok"]


@asynccontextmanager
async def scene(lnbits: Lnbits, folder: Path) -> AsyncIterator[Scene]:
    file = folder / "perquery.toml"
    file.write_text(
        f'rates.fixed.BTC = "100000"\nprivate_relays = true\n[rails.btc-lightning]\nbackend = "lnbits"\n'
        f'url = "{lnbits.url}"\nkey = "{lnbits.till["inkey"]}"\n'
    )
    with serving(folder / "data", file, sandbox=False) as gateway:
        async with local_relay() as relay:
            yield Scene(lnbits, gateway, relay, lnbits.received_msat())


@pytest.mark.slow
def test_a_wallet_with_faults(lnbits: Lnbits, tmp_path: Path) -> None:
    async def pay(invoice: str) -> str | None:
        if (status := await asyncio.to_thread(lnbits.pay, invoice)) != 201:
            raise Refusal("PAYMENT_FAILED", f"LNbits said {status}")
        return None

    async def main() -> None:
        async with scene(lnbits, tmp_path) as at:
            wallet = NwcWallet(pay)
            await wallet.start(at.relay)
            try:
                wallet.plan.extend(FAULTS)
                keys = [await at.connected(wallet.connection(at.relay)) for _ in FAULTS]
                await at.check(*keys)
                assert sorted(wallet.paid.values()) == [1] * len(FAULTS) and not wallet.plan
            finally:
                await wallet.stop()

    asyncio.run(main())


@pytest.mark.slow
@needs_node
def test_albys_wallet(lnbits: Lnbits, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            scene(lnbits, tmp_path) as at,
            alby(at.relay, tmp_path, lnbits.url, lnbits.payer["adminkey"]) as wallet,
        ):
            keys = [await at.connected(wallet) for _ in range(3)]
            await at.check(*keys)

    asyncio.run(main())
