"""A world for auto top-ups in virtual time: processes that can die between any two acts, wallets with faults, one rail.

All that stands for the outside lives here: the rail keeps what was paid, the wallet decides by a plan whether it
pays, when, and what it says of it. Time is the clock's, which only the schedule cranks.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, cast

from sqlalchemy import Connection, Engine

from perquery.autotopup.connections import Connections
from perquery.autotopup.runner import Runner
from perquery.autotopup.vault import Vault
from perquery.config import Settings
from perquery.nwc import Connection as WalletConnection
from perquery.nwc import Info, NoAnswer, WalletError
from perquery.rails.rail import Payable, PayableRequest, Rail, RailDown, Receipt, Watched
from perquery.rates.rate import FixedRates
from perquery.store.database import Database
from perquery.topups.service import Topups
from tests.topups.conftest import LIGHTNING, RATE, Clock, Till

WALLET_KEY: Final = "ab" * 32
ADDRESS: Final = f"nostr+walletconnect://{WALLET_KEY}?relay=wss://relay.example/&secret={'cd' * 32}"
MINUTE_MS: Final = 60_000
Plan: TypeAlias = Literal[
    "pays", "pays slowly", "pays too late", "silent", "pays silently", "error", "error, then pays", "unreachable"
]
PLANS: Final[tuple[Plan, ...]] = (
    "pays",
    "pays slowly",
    "pays too late",
    "silent",
    "pays silently",
    "error",
    "error, then pays",
    "unreachable",
)
CODES: Final = ("INTERNAL", "OTHER", "PAYMENT_FAILED", "INSUFFICIENT_BALANCE", "QUOTA_EXCEEDED", "RATE_LIMITED")


class Killed(BaseException):
    """The process is dead."""


class Life:
    """A process: it dies at its `dies_at`-th act, and does nothing more."""

    def __init__(self, dies_at: int | None = None) -> None:
        self._left = dies_at
        self.dead = False

    def dies_in(self, acts: int | None) -> None:
        """It lives (again), and dies at that act, or never."""
        self._left, self.dead = acts, False

    def act(self) -> None:
        if self._left is not None and not self.dead:
            self._left -= 1
            self.dead = self._left <= 0
        if self.dead:
            raise Killed


class MortalWriter:
    """A database whose transactions may be the last thing that a process begins, or commits."""

    def __init__(self, engine: Engine, life: Life) -> None:
        self._engine = engine
        self._life = life

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        self._life.act()
        with self._engine.begin() as connection:
            yield connection
        self._life.act()


class Chain:
    """The rail's wallet. What was paid is kept, and reported to whoever asks, by whichever process."""

    pace_s = 0.0
    receivable: int | None = None

    def __init__(self, clock: Clock) -> None:
        self.down = False
        self.hangs: asyncio.Event | None = None  # whoever asks for receipts waits for it
        self.paid: list[Receipt] = []
        self.expiries: dict[str, int] = {}
        self._clock = clock
        self._made = 0

    def pay(self, text: str) -> None:
        """A payment by whoever has the invoice, as often as it pays."""
        ref, amount = text.split()[1:]
        self.paid.append(Receipt(f"{ref}-{len(self.paid)}", ref, int(amount), "confirmed", self._clock()))

    def at(self, life: Life) -> Rail:
        return _ChainAt(self, life)

    def make(self, request: PayableRequest) -> Payable:
        self.answer()
        self._made += 1
        ref = f"ref{self._made}"
        self.expiries[ref] = self._clock() + request.expiry_s * 1000
        return Payable(f"lnfake {ref} {request.amount}", ref)

    def answer(self) -> None:
        if self.down:
            raise RailDown("switched off")


class _ChainAt:
    """The rail as one process sees it."""

    pace_s = 0.0
    receivable: int | None = None

    def __init__(self, chain: Chain, life: Life) -> None:
        self._chain = chain
        self._life = life

    async def make(self, request: PayableRequest) -> Payable:
        self._life.act()
        made = self._chain.make(request)
        self._life.act()
        return made

    async def receipts(self, cursor: str, watched: Sequence[Watched]) -> tuple[Sequence[Receipt], str]:
        self._life.act()
        if self._chain.hangs is not None:
            await self._chain.hangs.wait()
        self._chain.answer()
        return self._chain.paid[int(cursor or 0) :], str(len(self._chain.paid))

    async def close(self) -> None:
        return


@dataclass
class SimulatedWallet:
    """A payer's wallet behind its relay. It knows events by their id, as wallets do, and a second event about the same
    invoice it pays again, as some do.
    """

    clock: Clock
    chain: Chain
    plan: Plan = "pays"
    code: str = "INTERNAL"
    budget_renews_at: int | None = None
    encryption: Literal["nip44_v2", "nip04"] = "nip44_v2"
    events: list[Mapping[str, Any]] = field(default_factory=list)
    due: list[tuple[int, str]] = field(default_factory=list)  # payments under way: when they arrive, of what
    signed: int = 0
    before_info: Callable[[], Awaitable[object]] | None = None  # what happens while it is asked what it reads

    def receive(self, event: Mapping[str, Any]) -> dict[str, Any]:
        if event["id"] in [known["id"] for known in self.events]:
            raise NoAnswer("silence", sent=True)
        self.events.append(event)
        if event["method"] == "get_budget":
            if self.budget_renews_at is None:
                raise WalletError("NOT_IMPLEMENTED", "")
            return {"renews_at": self.budget_renews_at}
        invoice = event["params"]["invoice"]
        now, expires_at = self.clock(), event["expires_at"] * 1000
        match self.plan:
            case "pays" | "pays silently":
                self.chain.pay(invoice)
            case "pays slowly" | "error, then pays":
                self.due.append((now + 3 * MINUTE_MS, invoice))
            case "pays too late":
                self.due.append((expires_at + 10 * MINUTE_MS, invoice))
        if self.plan in ("error", "error, then pays"):
            raise WalletError(self.code, "no")
        if self.plan != "pays":
            raise NoAnswer("silence", sent=True)
        return {"preimage": "00" * 32}

    def go_on(self) -> None:
        """Let arrive what is due."""
        now = self.clock()
        for at, invoice in [item for item in self.due if item[0] <= now]:
            self.chain.pay(invoice)
            self.due.remove((at, invoice))

    def opened(self, life: Life) -> Any:
        @asynccontextmanager
        async def opening(_: WalletConnection) -> Any:
            yield _WalletAt(self, life)

        return opening


class _WalletAt:
    """The wallet as one process reaches it."""

    def __init__(self, wallet: SimulatedWallet, life: Life) -> None:
        self._wallet = wallet
        self._life = life

    async def info(self, timeout_s: float) -> Info:
        self._life.act()
        if self._wallet.plan == "unreachable":
            raise NoAnswer("the relay is down", sent=False)
        if self._wallet.before_info is not None:
            await self._wallet.before_info()
        return Info(frozenset({"pay_invoice", "get_budget"}), self._wallet.encryption, frozenset(), 0)

    def sign(
        self, method: str, params: Mapping[str, Any], encryption: str, expires_at: int | None, created_at: int
    ) -> str:
        self._wallet.signed += 1
        event = {"id": self._wallet.signed, "method": method, "params": params, "expires_at": expires_at}
        return json.dumps(event | {"encryption": encryption})

    async def send(self, event_json: str, timeout_s: float) -> dict[str, Any]:
        self._life.act()
        if self._wallet.plan == "unreachable":
            raise NoAnswer("the relay is down", sent=False)
        try:
            return self._wallet.receive(json.loads(event_json))
        finally:
            self._life.act()


class Process:
    """One gateway's part: top-ups, the loop of the wallets, and the care of connections."""

    def __init__(self, world: World, dies_at: int | None = None) -> None:
        self.life = Life(dies_at)
        database = copy.copy(world.till.database)
        database.writer = cast(Engine, MortalWriter(world.till.database.writer, self.life))
        self.topups = _topups(world, database, self.life)
        opening, clock = world.wallet.opened(self.life), world.clock
        self.runner = Runner(database, self.topups, opening, world.vault, clock)
        self.connections = Connections(database, self.topups, opening, world.vault, clock, lambda: clock() / 1000)

    async def round(self) -> None:
        """One round of all loops, as far as the process lives. A round may fail as a whole, as a real one may."""
        try:
            await self.topups.poll()
            await self.runner.round()
        except Killed:
            pass
        await self.runner.idle()

    async def rounds(self, count: int) -> None:
        for _ in range(count):
            await self.round()


def _topups(world: World, database: Database, life: Life) -> Topups:
    settings = Settings(mode="sandbox", data=world.till.data)
    rails: Mapping[str, Rail] = {LIGHTNING: world.chain.at(life)}
    return Topups(database, world.till.ledger, rails, FixedRates({"BTC": RATE}), settings, world.clock)


class World:
    """One account's wallet, on a till and its rail that others may use too."""

    def __init__(self, till: Till, chain: Chain | None = None) -> None:
        self.till = till
        self.clock = till.clock
        self.chain = chain or Chain(till.clock)
        self.wallet = SimulatedWallet(till.clock, self.chain)
        self.vault = Vault(b"k" * 32)
        self.account = till.account()
        asyncio.get_running_loop().set_exception_handler(_without_deaths)

    def beside(self) -> World:
        """Another account with a wallet of its own, on the same rail."""
        return World(self.till, self.chain)

    def pass_time(self, ms: int) -> None:
        self.clock.now_ms += ms
        self.wallet.go_on()

    async def until_ended(self, process: Process) -> None:
        """Until no attempt is open: every one ends, whatever has happened."""
        for _ in range(20):
            await process.rounds(2)
            shown = await process.connections.show(self.account)
            if all(row.ended_at is not None for row, _ in shown.attempts):
                return
            self.pass_time(18 * MINUTE_MS)
        raise AssertionError("an attempt does not end")


def _without_deaths(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if not isinstance(context.get("exception"), Killed):
        loop.default_exception_handler(context)


async def settled_rounds(*processes: Process) -> None:
    """A round of several processes at the same time."""
    await asyncio.gather(*(process.round() for process in processes))
