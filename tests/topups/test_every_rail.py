"""Every rail × {paid, partial, over, late, twice, reorg, restart, down, lying}, from HTTP request to ledger: after each
the books are right and agree with the wallet. What cannot be of a rail stands in NEVER, with its reason.

A rail joins by a desk. What else a kind of rail can do is in the conformance of its kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Final

import httpx2
import pytest
from fastapi import FastAPI

from perquery import money
from perquery.accounts import Access
from perquery.config import Settings
from perquery.outbound import Client
from perquery.rails import bolt11
from perquery.rails.btcpay_invoices import BtcpayInvoices
from perquery.rails.rail import Rail
from perquery.rails.stripe import StripeCheckout
from perquery.routes import answers, topup
from perquery.routes.access import account_of
from perquery.store import audit
from perquery.topups.reconcile import reconcile
from perquery.topups.service import Topups
from tests.rails import btcpay_invoices, stripe
from tests.rails.btcpay import STORE, refusal
from tests.rails.stripe_gateway import BACK, THANKS
from tests.topups import test_chain_conformance as chains
from tests.topups import test_conformance as lightning
from tests.topups.conftest import LIGHTNING, Clock, RunTill, Till

CASES: Final = ("paid", "partial", "over", "late", "twice", "reorg", "restart", "down", "lying")
HOUR_MS: Final = 3_600_000
ABSURD: Final = 10**30
_STATED = "a payer of BOLT #11 pays what the invoice states"
_PAGE = "Stripe's page takes what it states, once, while it is open"
NEVER: Final = {
    "lightning": {"partial": _STATED, "over": _STATED, "reorg": "a Lightning payment is final"},
    "sandbox": {
        "partial": _STATED,
        "over": _STATED,
        "reorg": "it has no chain",
        "lying": "the sandbox's wallet is a file that this very program writes",
    },
    "chain": {},
    "final": {"reorg": "what the chain calls final is not undone"},
    "other": {},
    "card": {"partial": _PAGE, "over": _PAGE},
}


@dataclass
class Desk:
    """A rail and who pays into it. pay: so many quarters of what is due, so that they count; ValueError where the payer
    cannot. late: whether what has expired can be paid; again: whether what is paid can be. undo: the last payment, and
    redo, None where that is for good. down: the wallet away and back. lie: something untrue of a payment that it makes,
    and the end of it; lied: what may be credited meanwhile, in quarters, and after it. clients: to be closed.
    """

    kind: str
    rail: str
    settings: Settings
    open: Callable[[], Rail]
    pay: Callable[[str, int], object]
    usd: int = 100
    late: bool = True
    again: bool = True
    undo: Callable[[], object] | None = None
    redo: Callable[[], object] | None = None
    down: Callable[[bool], object] | None = None
    lie: Callable[[str], Callable[[], object]] | None = None
    lied: tuple[int, int] = (0, 4)
    clients: list[Client] = field(default_factory=list)


def lightning_desk(name: str, stack: ExitStack, data: Path, clock: Clock) -> Desk:
    bench = lightning.BENCHES[name]
    wallet = stack.enter_context(bench.run(data, clock))

    def pay(text: str, quarters: int) -> None:
        assert quarters == 4
        wallet.pay(text)

    def lie(text: str) -> Callable[[], object]:
        wallet.pay(text)
        assert wallet.row is not None
        row, field = wallet.row(bolt11.decode(text).payment_hash.hex())
        said = row[field]
        row[field] = type(said)(ABSURD)
        return partial(row.__setitem__, field, said)

    kind = "sandbox" if name == "sandbox" else "lightning"
    settings = Settings(mode="sandbox", data=data)
    return Desk(kind, LIGHTNING, settings, wallet.open, pay, 1, bench.late, False, down=wallet.down, lie=lie)


def chain_desk(name: str, stack: ExitStack, _data: Path, clock: Clock) -> Desk:
    bench = chains.BENCHES[name](stack, clock)
    chain, servers = bench.chain, bench.servers

    def pay(text: str, quarters: int) -> str:
        paid = chain.pay((text, bench.due * quarters // 4))
        chain.mine(4)
        return paid.id

    def undo() -> None:
        chain.reorganise(5)

    def lie(text: str) -> Callable[[], object]:
        """One of two hides it; one that is believed alone has fallen behind what it said."""
        if len(servers) > 1:
            servers[1].blind = {pay(text, 4)}
            return servers[1].blind.clear
        pay(text, 4)
        servers[0].behind = 5
        return partial(setattr, servers[0], "behind", 0)

    kind = "final" if bench.final else "chain"
    desk = Desk(kind, bench.rail, bench.offered, bench.open, pay, undo=undo, redo=lambda: chain.mine(4), lie=lie)
    desk.down = bench.down
    desk.clients = bench.clients
    return desk


def other_desk(stack: ExitStack, data: Path, clock: Clock) -> Desk:
    store = stack.enter_context(btcpay_invoices.running(clock))
    pages: list[str] = []
    client, coins = Client(), list(btcpay_invoices.COINS)

    def pay(text: str, quarters: int) -> None:
        store.pay(text, str(Decimal(quarters) / 4))
        pages.append(text)

    def lie(text: str) -> Callable[[], object]:
        """That there never was an invoice."""
        pay(text, 4)
        store.spoil = (200, "[]")
        return partial(setattr, store, "spoil", None)

    def down(away: bool) -> None:
        store.spoil = refusal(503, "generic-error", "The server is starting") if away else None

    settings = Settings(mode="sandbox", data=data)
    made = lambda: BtcpayInvoices(client, store.url, btcpay_invoices.KEY, STORE, coins, clock)  # noqa: E731
    desk = Desk("other", "other", settings, made, pay, 10, down=down, lie=lie, clients=[client])
    desk.undo = lambda: store.mark_invalid(pages[-1])
    return desk


def card_desk(stack: ExitStack, data: Path, clock: Clock) -> Desk:
    service = stack.enter_context(stripe.running(clock))
    paid: list[str] = []
    disputes: list[str] = []
    client = Client()

    def page(text: str) -> str:
        return next(name for name in service.sessions if name in text)

    def pay(text: str, quarters: int) -> None:
        assert quarters == 4
        paid.append(service.pay(page(text)))

    def lie(text: str) -> Callable[[], object]:
        """It calls the page paid, in another currency than was asked for."""
        service.pay(page(text), currency="eur")
        return lambda: None

    def down(away: bool) -> None:
        service.spoil = stripe.refusal(500, "api_error", "Something went wrong") if away else None

    def made() -> Rail:
        secrets = (stripe.KEY, stripe.WEBHOOK_SECRET, THANKS, BACK)
        return StripeCheckout(client, *secrets, clock, asyncio.Event(), service.url)

    settings = Settings(mode="sandbox", data=data)
    desk = Desk("card", "card", settings, made, pay, 10, late=False, again=False, down=down, lie=lie)
    desk.lied, desk.clients = (0, 0), [client]
    desk.undo = lambda: disputes.append(service.dispute(paid[-1]))
    desk.redo = lambda: service.decide(disputes[-1], "won")
    return desk


DESKS: Final[dict[str, Callable[[ExitStack, Path, Clock], Desk]]] = {
    **{name: partial(lightning_desk, name) for name in lightning.BENCHES},
    **{name: partial(chain_desk, name) for name in chains.BENCHES},
    "other": other_desk,
    "card": card_desk,
}


@pytest.fixture
def migrated_url(sqlite_url: str) -> str:
    """What depends on the kind of database is in the tests of the service."""
    return sqlite_url


@dataclass
class Case:
    """A caller with an invoice."""

    till: Till
    desk: Desk
    client: httpx2.AsyncClient
    app: FastAPI
    account: int
    text: str = ""
    name: str = ""

    async def create(self) -> int:
        """Ask for an invoice; the status of the answer."""
        answer = await self.client.post(f"/topup/create/{self.desk.rail}", content=b'{"amount": %d}' % self.desk.usd)
        if answer.status_code == 201:
            made = money.from_json(answer.content)
            self.name = made["invoice_id"]
            self.text = made.get("lightning_invoice") or made.get("address") or made["payment_url"]
        return answer.status_code

    async def stands(self, quarters: int, *flags: str) -> None:
        """So much is credited: by the answer, and in the ledger."""
        self.till.clock.now_ms += 601_000 if self.desk.rail == "card" else 0  # a page is asked about at a pace
        await self.topups.poll()
        answer = await self.client.get(f"/topup/status/{self.name}")
        found = money.from_json(answer.content)
        nano = self.desk.usd * 10**9 * quarters // 4
        posted, bonus, owed = self.till.figures(self.account)
        assert (money.nano(found["credited_usd"]), sorted(found["flags"])) == (nano, sorted(flags)), found
        assert (posted - bonus, owed) == (nano, 0)
        assert (found["status"] == "Settled") == (quarters >= 4)

    @property
    def topups(self) -> Topups:
        topups: Topups = self.app.state.topups
        return topups

    async def restart(self) -> None:
        await self.topups.close()
        self.begin()

    def begin(self) -> None:
        self.app.state.topups = self.till.topups(self.desk.open(), settings=self.desk.settings, name=self.desk.rail)


async def paid(case: Case) -> None:
    await case.stands(0)
    case.desk.pay(case.text, 4)
    for _ in range(2):
        await case.stands(4)


async def partial_(case: Case) -> None:
    case.desk.pay(case.text, 1)
    await case.stands(1, "partial")
    case.desk.pay(case.text, 3)
    await case.stands(4)


async def over(case: Case) -> None:
    case.desk.pay(case.text, 6)
    await case.stands(6, "over")


async def late(case: Case) -> None:
    """Whoever can pay after the time is credited, and told; elsewhere nobody can."""
    await case.stands(0)
    case.till.clock.now_ms += 2 * HOUR_MS
    await case.stands(0)
    if case.desk.late:
        case.desk.pay(case.text, 4)
        await case.stands(4, "late")
    else:
        with pytest.raises(ValueError, match="expired"):
            case.desk.pay(case.text, 4)
        await case.stands(0)


async def twice(case: Case) -> None:
    """Each payment is credited once; where a payer cannot pay again, one."""
    case.desk.pay(case.text, 4)
    await case.stands(4)
    if case.desk.again:
        case.desk.pay(case.text, 4)
        case.till.clock.now_ms += HOUR_MS if case.desk.kind == "final" else 0  # when it looks at all addresses again
        await case.topups.poll()
        await case.stands(8, "over")
    else:
        with pytest.raises(ValueError, match=r"paid already|complete"):
            case.desk.pay(case.text, 4)
        await case.stands(4)


async def reorg(case: Case) -> None:
    """What had counted is undone, by a chain or by who stands behind; and stands again, where it can."""
    assert case.desk.undo
    case.desk.pay(case.text, 4)
    await case.stands(4)
    case.desk.undo()
    await case.topups.poll()
    case.till.clock.now_ms += 601_000 if case.desk.rail == "card" else 0
    await case.topups.poll()
    assert case.till.figures(case.account) == (0, 0, 0)
    await case.restart()
    if case.desk.redo:
        case.desk.redo()
        await case.stands(4)


async def restart(case: Case) -> None:
    """Paid while there is no gateway, and heard of by each that comes."""
    await case.topups.close()
    case.desk.pay(case.text, 4)
    for _ in range(2):
        case.begin()
        await case.stands(4)
        await case.topups.close()
    case.begin()


async def down(case: Case) -> None:
    """Nothing expires, nothing is lost and nothing is made."""
    await case.stands(0)
    case.desk.pay(case.text, 4)
    if case.desk.down is None:
        await case.topups.close()  # it is away only with the gateway
    else:
        case.desk.down(True)
    await case.stands(0)
    assert await case.create() == 503
    if case.desk.down is not None:
        case.desk.down(False)
    await case.restart()
    await case.stands(4)


async def lying(case: Case) -> None:
    """An untrue word of a wallet neither gives nor takes; once it tells the truth, that counts."""
    assert case.desk.lie
    truth = case.desk.lie(case.text)
    meanwhile, after = case.desk.lied
    await case.stands(meanwhile)
    await case.restart()
    await case.stands(meanwhile)
    truth()
    await case.restart()
    await case.stands(after)


BODIES: Final[dict[str, Callable[[Case], Awaitable[None]]]] = {
    "paid": paid,
    "partial": partial_,
    "over": over,
    "late": late,
    "twice": twice,
    "reorg": reorg,
    "restart": restart,
    "down": down,
    "lying": lying,
}


@pytest.fixture(params=DESKS)
def desk(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    with ExitStack() as stack:
        yield DESKS[request.param](stack, tmp_path, clock)


@pytest.mark.parametrize("name", CASES)
def test_every_case(run: RunTill, desk: Desk, name: str) -> None:
    if reason := NEVER[desk.kind].get(name):
        pytest.skip(reason)

    async def main(till: Till) -> None:
        app, account = FastAPI(), till.account()
        app.include_router(topup.router)
        answers.install(app)
        app.state.settings = desk.settings
        app.dependency_overrides[account_of] = lambda: Access(account_id=account, key_id=None)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
            case = Case(till, desk, client, app, account)
            case.begin()
            assert await case.create() == 201
            await BODIES[name](case)
            await case.topups.close()
        rail = desk.open()
        compared = await reconcile(till.database, desk.rail, rail, patience_s=0)
        assert compared.ok, compared.differences
        await rail.close()
        for opened in desk.clients:
            await opened.close()
        assert audit.verify(till.database).ok

    run(main)
