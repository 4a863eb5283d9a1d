"""Every rail on a chain, by each kind of source, beside what `test_every_rail` has of all rails: what is paid is
credited once, and taken back where the chain takes it back. After each case the books agree with the chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from perquery.config import RailSetting, Settings
from perquery.errors import Unavailable
from perquery.outbound import Client
from perquery.rails.backends import Means, open_rails
from perquery.rails.rail import Rail
from perquery.store import audit
from perquery.topups.invoice import MONITORING_MS, Topup
from perquery.topups.reconcile import reconcile
from perquery.topups.service import Topups
from tests.rails import chains, evm, liquid, monero
from tests.topups.conftest import Clock, RunTill, Till

XPUB = "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31mGDtKsAYz2oz2AGutZYs"
KEY: Mapping[str, object] = {"xpub": XPUB, "network": "bcrt"}
HUNDRED = 100 * 10**9
LADDER = ((Decimal(0), 2), (Decimal("0.002"), 4))
DEEP = 100
HOUR_MS = 3_600_000


@dataclass
class Bench:
    """A chain and who tells of it. settings: of the rail; servers: all that must agree; down: (away). waits: how an
    invoice stands whose payment is in no block yet; ladder: whether more needs more confirmations; final: whether what
    has counted cannot be undone.
    """

    chain: chains.ScriptedChain
    clock: Clock
    settings: Mapping[str, object]
    servers: list[chains.Server]
    away: object = (502, b"<html>Bad Gateway</html>")
    rail: str = "btc"
    due: int = 100_000  # smallest units of a hundred dollars at 100,000 USD for a coin
    waits: str = "seen"
    ladder: bool = True
    final: bool = False
    clients: list[Client] = field(default_factory=list)

    @property
    def offered(self) -> Settings:
        ladder = {"confirmations": LADDER} if self.ladder else {}
        return Settings(rails={self.rail: RailSetting.model_validate({**ladder, **self.settings})})

    def open(self) -> Rail:
        self.clients.append(Client())
        means = Means(self.clients[-1], self.clock, asyncio.Event())
        return open_rails(self.offered, means)[self.rail]

    def down(self, away: bool) -> None:
        for server in self.servers:
            server.spoil = self.away if away else None


def electrum_bench(stack: ExitStack, clock: Clock) -> Bench:
    chain = chains.ScriptedChain(clock)
    servers = [stack.enter_context(chains.electrum(chain)) for _ in range(2)]
    settings = {**KEY, "backend": "electrum-servers", "urls": [server.url for server in servers]}
    return Bench(chain, clock, settings, [*servers], {"code": -32603, "message": "internal error"})


def esplora_bench(stack: ExitStack, clock: Clock) -> Bench:
    chain = chains.ScriptedChain(clock)
    servers = [stack.enter_context(chains.esplora(chain)) for _ in range(2)]
    settings = {**KEY, "backend": "esplora", "urls": [server.url for server in servers]}
    return Bench(chain, clock, settings, [*servers])


def core_bench(stack: ExitStack, clock: Clock) -> Bench:
    chain = chains.ScriptedChain(clock)
    node = stack.enter_context(chains.core(chain))
    return Bench(chain, clock, {**KEY, "backend": "core", "url": node.url, "key": "u:p"}, [node])


def monero_bench(stack: ExitStack, clock: Clock) -> Bench:
    chain = monero.MoneroChain(clock)
    wallet = stack.enter_context(monero.running(chain))
    settings = {"backend": "monero-wallet-rpc", "url": wallet.url, "key": "u:p"}
    return Bench(chain, clock, settings, [wallet], rail="xmr", due=10**9)


def liquid_bench(stack: ExitStack, clock: Clock) -> Bench:
    chain = liquid.LiquidChain(clock)
    servers = [stack.enter_context(liquid.running(chain)) for _ in range(2)]
    settings = {"backend": "esplora", "urls": [server.url for server in servers]}
    return Bench(chain, clock, {**settings, "xpub": liquid.DESCRIPTOR, "network": "bcrt"}, [*servers], rail="lbtc")


def evm_bench(stack: ExitStack, clock: Clock, decimals: int, final: int | str) -> Bench:
    chain = evm.EvmChain(clock)
    nodes = [stack.enter_context(evm.running(chain, decimals=decimals, final_depth=1)) for _ in range(2)]
    settings = {"backend": "evm", "xpub": evm.XPUB, "chains": {"local": evm.chain_setting(nodes, final)}}
    bench = Bench(chain, clock, settings, [*nodes], rail="usdc", due=HUNDRED, waits="new", ladder=False)
    bench.final = final == "finalized"
    return bench


BENCHES: dict[str, Callable[[ExitStack, Clock], Bench]] = {
    "electrum-servers": electrum_bench,
    "esplora": esplora_bench,
    "core": core_bench,
    "liquid": liquid_bench,
    "monero": monero_bench,
    "evm": lambda stack, clock: evm_bench(stack, clock, 6, 2),
    "evm, 18 decimals, finalized": lambda stack, clock: evm_bench(stack, clock, 18, "finalized"),
}


@pytest.fixture
def migrated_url(sqlite_url: str) -> str:
    """What depends on the kind of database is in the tests of the service."""
    return sqlite_url


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield BENCHES[request.param](stack, clock)


@dataclass
class Case:
    """An account with an invoice for a hundred dollars."""

    till: Till
    bench: Bench
    topups: Topups
    account: int
    invoice_id: str
    address: str

    @property
    def due(self) -> int:
        return self.bench.due

    @property
    def chain(self) -> chains.ScriptedChain:
        return self.bench.chain

    async def look(self) -> Topup:
        await self.topups.poll()
        return await self.topups.status(None, self.invoice_id)

    async def stands(self, status: str, posted: int, *flags: str) -> None:
        found = await self.look()
        assert (found.step.status, found.step.flags) == (status, flags)
        assert self.till.figures(self.account)[0] == posted

    async def restart(self) -> None:
        await self.topups.close()
        self.topups = self.till.topups(self.bench.open(), settings=self.bench.offered, name=self.bench.rail)


Play = Callable[[Callable[[Case], Awaitable[None]]], None]


@pytest.fixture
def play(run: RunTill, bench: Bench, tmp_path: Path) -> Play:
    """Runs a case; then verifies the books, and compares them with the chain."""

    def runner(body: Callable[[Case], Awaitable[None]]) -> None:
        async def main(till: Till) -> None:
            topups, account = till.topups(bench.open(), settings=bench.offered, name=bench.rail), till.account()
            made = (await topups.create(account, bench.rail, 100, "USD")).invoice
            assert made.crypto_due == bench.due
            case = Case(till, bench, topups, account, made.id, made.payable)
            await body(case)
            await case.topups.close()
            rail = bench.open()
            compared = await reconcile(till.database, bench.rail, rail, patience_s=0)
            assert compared.ok, compared.differences
            await rail.close()
            assert audit.verify(till.database).ok
            for client in bench.clients:
                await client.close()

        run(main)

    return runner


@pytest.fixture
def undoable(bench: Bench) -> None:
    if bench.final:
        pytest.skip("what counts there is final")


def test_paid(play: Play) -> None:
    async def body(case: Case) -> None:
        await case.stands("new", 0)
        case.chain.pay((case.address, case.due))
        await case.stands(case.bench.waits, 0)
        case.chain.mine()
        await case.stands("seen", 0)
        case.chain.mine()
        for _ in range(2):
            await case.stands("settled", HUNDRED)

    play(body)


def test_more_needs_more_confirmations(play: Play, bench: Bench) -> None:
    if not bench.ladder:
        pytest.skip("the chain says when a block is final, whatever is in it")

    async def body(case: Case) -> None:
        case.chain.pay((case.address, case.due), (case.address, 2 * case.due))
        case.chain.mine(3)
        await case.stands("seen", 0, "over")
        case.chain.mine()
        await case.stands("settled", 3 * HUNDRED, "over")

    play(body)


def test_partial(play: Play) -> None:
    async def body(case: Case) -> None:
        case.chain.pay((case.address, case.due // 4))
        case.chain.mine(2)
        await case.stands("seen", HUNDRED // 4, "partial")
        case.till.clock.now_ms += HOUR_MS
        await case.stands("expired", HUNDRED // 4, "partial")
        case.chain.pay((case.address, 3 * case.due // 4))
        case.chain.mine(2)
        await case.stands("settled", HUNDRED, "late")

    play(body)


def test_two_outputs_of_one_transaction_are_two_payments(play: Play) -> None:
    async def body(case: Case) -> None:
        case.chain.pay((case.address, case.due // 2), (case.address, case.due // 2))
        case.chain.mine(2)
        await case.stands("settled", HUNDRED)

    play(body)


def test_an_address_is_paid_again_a_year_later(play: Play) -> None:
    async def body(case: Case) -> None:
        case.chain.pay((case.address, case.due))
        case.chain.mine(DEEP + 1)
        await case.stands("settled", HUNDRED)
        case.till.clock.now_ms += 365 * MONITORING_MS
        case.chain.pay((case.address, case.due))
        case.chain.mine(4)
        await case.stands("settled", 2 * HUNDRED, "late", "over")
        case.till.clock.now_ms += HOUR_MS
        await case.stands("settled", 2 * HUNDRED, "late", "over")

    play(body)


def test_replaced_within_it_is_paid_once(play: Play) -> None:
    async def body(case: Case) -> None:
        first = case.chain.pay((case.address, case.due))
        await case.stands(case.bench.waits, 0)
        case.chain.forget(first)
        case.chain.pay((case.address, case.due))
        await case.stands(case.bench.waits, 0)
        case.chain.mine(2)
        await case.stands("settled", HUNDRED)

    play(body)


def test_replaced_by_a_payment_elsewhere_it_is_new_again(play: Play) -> None:
    async def body(case: Case) -> None:
        first = case.chain.pay((case.address, case.due))
        await case.stands(case.bench.waits, 0)
        case.chain.forget(first)
        await case.stands("new", 0)
        case.till.clock.now_ms += HOUR_MS
        await case.stands("invalid" if case.bench.waits == "seen" else "expired", 0)

    play(body)


def test_a_reorganisation_takes_it_back_and_a_new_block_gives_it_again(play: Play, undoable: None) -> None:
    async def body(case: Case) -> None:
        case.chain.pay((case.address, case.due))
        case.chain.mine(2)
        await case.stands("settled", HUNDRED)
        case.chain.reorganise(3)
        await case.stands(case.bench.waits, 0)
        await case.restart()
        case.chain.mine(2)
        for _ in range(2):
            await case.stands("settled", HUNDRED)

    play(body)


def test_a_reorganisation_that_forgets_it_takes_it_back_for_good(play: Play, undoable: None) -> None:
    async def body(case: Case) -> None:
        paid = case.chain.pay((case.address, case.due))
        case.chain.mine(2)
        await case.stands("settled", HUNDRED)
        await case.restart()
        case.chain.reorganise(3, forgetting=[paid])
        await case.stands("new", 0)

    play(body)


def test_a_reorganisation_that_leaves_it_in_a_block_changes_nothing(play: Play, undoable: None) -> None:
    async def body(case: Case) -> None:
        case.chain.pay((case.address, case.due))
        case.chain.mine(2)
        await case.stands("settled", HUNDRED)
        case.chain.reorganise(1)
        await case.stands("settled", HUNDRED)

    play(body)


def test_what_one_gateway_credited_another_takes_back(play: Play, undoable: None) -> None:
    """Two gateways hear the rail in turns; the one that has seen the payment counted stops before it vanishes."""

    async def body(case: Case) -> None:
        other = case.till.topups(case.bench.open(), settings=case.bench.offered, name=case.bench.rail)
        await other.poll()
        paid = case.chain.pay((case.address, case.due))
        case.chain.mine(2)
        await case.stands("settled", HUNDRED)
        case.chain.mine()
        await other.poll()
        await case.restart()
        case.chain.reorganise(4, forgetting=[paid])
        await case.stands("new", 0)
        await other.close()

    play(body)


def test_beyond_a_wallets_gap(play: Play) -> None:
    """Every address is watched by itself, however many before it stay unpaid."""

    async def body(case: Case) -> None:
        for _ in range(25):
            other = case.till.account()
            made = (await case.topups.create(other, case.bench.rail, 100, "USD")).invoice
        case.chain.pay((made.payable, case.due))
        case.chain.mine(2)
        await case.topups.poll()
        assert case.till.figures(other)[0] == HUNDRED

    play(body)


def test_down_nothing_expires_and_nothing_is_lost(play: Play) -> None:
    async def body(case: Case) -> None:
        await case.stands("new", 0)
        case.chain.pay((case.address, case.due))
        case.bench.down(True)
        case.till.clock.now_ms += HOUR_MS + MONITORING_MS
        await case.stands("new", 0)
        with pytest.raises(Unavailable):
            await case.topups.create(case.account, case.bench.rail, 100, "USD")
        case.bench.down(False)
        case.chain.mine(2)
        await case.stands("settled", HUNDRED, "late")

    play(body)


def test_a_source_that_has_fallen_behind_takes_nothing_back(play: Play) -> None:
    async def body(case: Case) -> None:
        case.chain.pay((case.address, case.due))
        case.chain.mine(2)
        await case.stands("settled", HUNDRED)
        for server in case.bench.servers:
            server.behind = 5
        await case.stands("settled", HUNDRED)
        for server in case.bench.servers:
            server.behind = 0

    play(body)


def test_what_one_of_two_sources_hides_or_invents_waits(play: Play, bench: Bench) -> None:
    if len(bench.servers) < 2:
        pytest.skip("a full node verifies the chain itself")

    async def body(case: Case) -> None:
        paid = case.chain.pay((case.address, case.due))
        case.chain.mine(2)
        case.bench.servers[1].blind = {paid.id}
        await case.stands("seen", 0)
        case.bench.servers[1].blind = set()
        await case.stands("settled", HUNDRED)
        case.bench.servers[0].blind = {paid.id}
        await case.stands("settled", HUNDRED)
        case.bench.servers[0].blind = set()

    play(body)
