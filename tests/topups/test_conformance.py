"""Every Lightning rail with the wallet behind it, real or scripted, beside what `test_every_rail` has of all rails. A
rail joins by a `Bench` in BENCHES.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.rails import sandbox
from perquery.rails.btcpay import BtcpayWallet
from perquery.rails.cln import ClnWallet
from perquery.rails.lnbits import LnbitsWallet
from perquery.rails.lnd import LndWallet
from perquery.rails.nwc import NwcReceiver
from perquery.rails.phoenixd import PhoenixdWallet
from perquery.rails.rail import Rail
from perquery.topups.invoice import Topup
from perquery.topups.service import Topups
from tests.nwc.wallet import Refusal
from tests.rails import btcpay, cln, lnbits, lnd, nwc, phoenixd
from tests.topups.conftest import LIGHTNING, Clock, RunTill, Till


@dataclass(frozen=True)
class Wallet:
    """A running wallet. open: the rail on it, again and again; pay: as a payer would (ValueError: the payer cannot);
    down: the wallet away and back, None where it cannot be away but by closing the rail; row: what it has written down
    of a payment hash, and where in it the amount stands.
    """

    open: Callable[[], Rail]
    pay: Callable[[str], object]
    down: Callable[[bool], None] | None = None
    row: Callable[[str], tuple[dict[str, Any], str]] | None = None


@dataclass(frozen=True)
class Bench:
    """How to run a wallet; `late`: whether what has expired can be paid."""

    run: Callable[[Path, Clock], AbstractContextManager[Wallet]]
    late: bool = False


@contextmanager
def sandbox_wallet(data: Path, clock: Clock) -> Iterator[Wallet]:
    yield Wallet(
        open=lambda: sandbox.SandboxWallet(data, clock),
        pay=lambda text: sandbox.pay(data, text, clock),
    )


@contextmanager
def lnbits_wallet(_data: Path, clock: Clock) -> Iterator[Wallet]:
    with lnbits.running(clock) as node:

        def down(away: bool) -> None:
            node.spoil = (502, "<html>Bad Gateway</html>") if away else None

        def row(name: str) -> tuple[dict[str, Any], str]:
            return next(each for each in node.rows if each["payment_hash"] == name), "amount"

        client = Client()
        yield Wallet(lambda: LnbitsWallet(client, node.url, lnbits.INVOICE_KEY, "bc"), node.pay, down, row)


@contextmanager
def lnd_wallet(_data: Path, clock: Clock) -> Iterator[Wallet]:
    with lnd.running(clock) as node:

        def down(away: bool) -> None:
            node.spoil = (
                {"/": lnd.refusal(500, 2, "wallet locked, unlock it to enable full RPC access")} if away else {}
            )

        client = Client()
        yield Wallet(lambda: LndWallet(client, node.url, lnd.RECEIVE, "bc"), node.pay, down, node.row)


@contextmanager
def cln_wallet(_data: Path, clock: Clock) -> Iterator[Wallet]:
    with cln.running(clock) as node:

        def down(away: bool) -> None:
            node.spoil = {"*": cln.refusal(500, -1, "Connection refused (os error 111)")} if away else {}

        client = Client()
        yield Wallet(lambda: ClnWallet(client, node.url, cln.RECEIVE, "bc"), node.pay, down, node.row)


@contextmanager
def nwc_wallet(_data: Path, clock: Clock) -> Iterator[Wallet]:
    with nwc.running(clock) as at:

        def down(away: bool) -> None:
            at.book.refusal = Refusal("INTERNAL", "the node is not started") if away else None

        client = Client()
        rail = lambda: NwcReceiver(client, at.connection(), "bc", clock, asyncio.Event())  # noqa: E731
        yield Wallet(rail, at.book.pay, down, lambda name: (at.book.rows[name], "amount"))


@contextmanager
def phoenixd_wallet(_data: Path, clock: Clock) -> Iterator[Wallet]:
    with phoenixd.running(clock) as node:

        def down(away: bool) -> None:
            node.spoil = (500, "cannot connect to its peer") if away else None

        client = Client()
        yield Wallet(lambda: PhoenixdWallet(client, node.url, phoenixd.LIMITED, "bc"), node.pay, down, node.row)


@contextmanager
def btcpay_wallet(_data: Path, clock: Clock) -> Iterator[Wallet]:
    with btcpay.running(clock) as server:

        def down(away: bool) -> None:
            refusal = btcpay.refusal(503, "lightning-node-unavailable", "The lightning node is unavailable")
            server.spoil = refusal if away else None

        client = Client()
        rail = lambda: BtcpayWallet(client, server.url, btcpay.RECEIVE, btcpay.STORE, "bc")  # noqa: E731
        yield Wallet(rail, server.pay, down, server.row)


BENCHES = {
    "sandbox": Bench(run=sandbox_wallet),
    "lnbits": Bench(run=lnbits_wallet, late=True),
    "cln": Bench(run=cln_wallet),
    "lnd": Bench(run=lnd_wallet),
    "btcpay": Bench(run=btcpay_wallet),
    "phoenixd": Bench(run=phoenixd_wallet),
    "nwc": Bench(run=nwc_wallet),
}


@pytest.fixture
def migrated_url(sqlite_url: str) -> str:
    """What depends on the kind of database is in the tests of the service."""
    return sqlite_url


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest) -> Bench:
    chosen: Bench = BENCHES[request.param]
    return chosen


@pytest.fixture
def wallet(bench: Bench, tmp_path: Path, clock: Clock) -> Iterator[Wallet]:
    with bench.run(tmp_path, clock) as running:
        yield running


async def asked(till: Till, wallet: Wallet) -> tuple[Topups, int, Topup]:
    topups, account = till.topups(wallet.open()), till.account()
    return topups, account, await topups.create(account, LIGHTNING, 1, "USD")


def test_at_the_last_moment(run: RunTill, wallet: Wallet) -> None:
    async def body(till: Till) -> None:
        topups, account, topup = await asked(till, wallet)
        till.clock.now_ms = topup.invoice.expires_at - 1
        wallet.pay(topup.invoice.payable)
        till.clock.now_ms += 60_000
        settled = await topups.status(account, topup.invoice.id)
        assert (settled.step.status, settled.step.flags) == ("settled", ())
        await topups.close()

    run(body)
