"""A world for refunds in virtual time: processes that can die between any two acts, and a wallet with faults.

The wallet's record is the outside's truth; what it pays is counted. Time is the clock's, which only a test cranks.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, cast

from coincurve import PrivateKey
from sqlalchemy import Engine

from perquery.config import RefundSetting
from perquery.money import Ratio
from perquery.payouts.lnurl import Resolver
from perquery.payouts.wallet import Declined, Look, PayingWallet
from perquery.rails import bolt11
from perquery.rails.rail import RailDown
from perquery.rates.rate import FixedRates
from perquery.refunds.runner import Runner
from perquery.refunds.service import Refunds
from perquery.store import audit
from perquery.store.operations import Credit
from perquery.store.refunds import RefundRow
from tests.autotopup.world import Killed, Life, MortalWriter
from tests.topups.conftest import RATE, Till

DOLLAR: Final = 10**9
HOUR_MS: Final = 3_600_000
TWENTIETH: Final = Ratio(1, 20)
_KEY: Final = PrivateKey(b"\x11" * 32)
Plan: TypeAlias = Literal["pays", "pays slowly", "pays, answer lost", "never hears", "declines", "fails", "says failed"]
PLANS: Final[tuple[Plan, ...]] = (
    "pays",
    "pays slowly",
    "pays, answer lost",
    "never hears",
    "declines",
    "fails",
    "says failed",
)


def invoice(till: Till, sats: int, number: int, *, expiry_s: int = 3_600, network: str = "bcrt") -> str:
    """A payee's invoice, another one for each number."""
    preimage = number.to_bytes(32, "big")
    made = bolt11.Bolt11(
        network=network,
        amount_msat=sats * 1_000 or None,
        created_at=till.clock() // 1_000,
        payment_hash=hashlib.sha256(preimage).digest(),
        payment_secret=b"\x33" * 32,
        description="refund",
        expiry_s=expiry_s,
    )
    return bolt11.encode(made, _KEY.secret)


@dataclass
class SimulatedWallet:
    """fee_msat: of its payments; down: it does not answer; falls_silent: it does not after the next payment; lie: what
    it tells in place of its record.
    """

    plan: Plan = "pays"
    fee_msat: int = 1_000
    down: bool = False
    falls_silent: bool = False
    name: str = "purse"
    lie: Look | None = None
    records: dict[str, Look] = field(default_factory=dict)
    payments: list[str] = field(default_factory=list)  # payment hashes, as often as they were really paid

    def receive(self, text: str) -> None:
        decoded = bolt11.decode(text)
        name, amount = decoded.payment_hash.hex(), decoded.amount_msat or 0
        match self.plan:
            case "pays" | "pays, answer lost" | "says failed":
                self.payments.append(name)
                self.records[name] = Look(self.name, "paid", amount, self.fee_msat, None)
            case "pays slowly":
                self.records[name] = Look(self.name, "pending", amount)
            case "fails":
                self.records[name] = Look(self.name, "failed")
        self.down = self.down or self.falls_silent
        if self.plan in ("pays, answer lost", "never hears"):
            raise RailDown("no answer")
        if self.plan in ("declines", "fails", "says failed"):
            raise Declined("Payment failed: no route")

    def arrive(self) -> None:
        """What is under way is paid."""
        for name, look in self.records.items():
            if look.record == "pending":
                self.payments.append(name)
                self.records[name] = Look(self.name, "paid", look.amount_msat, self.fee_msat, None)

    def look(self, payment_hash: str) -> Look:
        if self.down:
            raise RailDown("it is away")
        return self.lie or self.records.get(payment_hash, Look(self.name, "absent"))


class _WalletAt:
    """The wallet as one process reaches it."""

    def __init__(self, wallet: SimulatedWallet, life: Life) -> None:
        self._wallet = wallet
        self._life = life

    async def pay(self, invoice: str) -> None:
        self._life.act()
        if self._wallet.down:
            raise RailDown("it is away")
        try:
            self._wallet.receive(invoice)
        finally:
            self._life.act()

    async def look(self, payment_hash: str) -> Look:
        self._life.act()
        return self._wallet.look(payment_hash)

    async def close(self) -> None:
        return


class Process:
    """One gateway's part: the service that is asked, and the loop."""

    def __init__(self, world: World, dies_at: int | None = None, setting: RefundSetting | None = None) -> None:
        self.life = Life(dies_at)
        till = world.till
        database = copy.copy(till.database)
        database.writer = cast(Engine, MortalWriter(till.database.writer, self.life))
        wallet: PayingWallet = _WalletAt(world.wallet, self.life)
        self.runner = Runner(database, till.ledger, wallet, till.clock)
        setting = setting or RefundSetting(backend="sandbox", network="bcrt")
        rates, resolver = FixedRates({"BTC": RATE}), cast(Resolver, world.resolver)
        self.service = Refunds(database, rates, resolver, self.runner, setting, TWENTIETH, till.clock)

    async def ask(self, account: int, destination: str, **more: Any) -> RefundRow:
        return await self.service.ask(account, {"destination": destination, **more}, key=None, raw=b"")

    async def round(self) -> None:
        """One round, as far as the process lives."""
        try:
            await self.runner.round()
        except Killed:
            pass
        await self.runner.idle()


class World:
    """An account with ten dollars of deposits and their bonus, and a wallet that pays out."""

    def __init__(self, till: Till) -> None:
        self.till = till
        self.wallet = SimulatedWallet()
        self.resolver: Any = None
        self.account = till.account()
        asyncio.get_running_loop().set_exception_handler(_without_deaths)

    async def deposit(self, account: int, dollars: int = 10, name: str = "first") -> None:
        source = "deposits:btc-lightning"
        await self.till.ledger.submit(Credit(account, f"test:{name}", dollars * DOLLAR, source, TWENTIETH))

    def posted(self) -> int:
        return self.till.figures(self.account)[0]

    def bonus(self) -> int:
        return self.till.figures(self.account)[1]

    async def rows(self, account: int | None = None) -> list[RefundRow]:
        return (await Process(self).service.latest(account or self.account, 100))[0]

    async def until_over(self) -> None:
        """Until nothing is left to do, by a process that lives."""
        for _ in range(20):
            process = Process(self)
            await process.round()
            self.wallet.arrive()
            if all(row.booked_at is not None for row in await self.rows()):
                return
            self.till.clock.now_ms += HOUR_MS // 4
        raise AssertionError("a refund does not end")

    def check(self) -> None:
        findings = audit.verify(self.till.database).findings
        assert not findings, findings


def _without_deaths(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), Killed):
        loop.default_exception_handler(context)
