"""The ledger against an auditor of its own arithmetic: random work of two gateways, with lost answers, crashes,
restarts, lapsed leases and everything sent again; some holds are a durable job's. After every step all figures are the
auditor's.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from perquery.money import Ratio
from perquery.store import leases, sweep
from perquery.store import ledger as ledgers
from perquery.store.jobs import OWNER
from perquery.store.ledger import GATEWAY, LEASE_MS, Ledger
from perquery.store.operations import (
    WHOLE,
    Credit,
    Extend,
    Hold,
    HoldRefund,
    Operation,
    Refund,
    Release,
    Renew,
    Result,
    Reverse,
    Settle,
)
from perquery.store.tables import api_keys
from tests.postgres import Server
from tests.store.bank import Bank
from tests.store.calls import row
from tests.store.clock import Clock
from tests.store.faults import Fault, Faulty
from tests.store.machine.auditor import Auditor, KeyTerms

RATIOS: Final = (WHOLE, WHOLE, Ratio(1, 2), Ratio(1, 8))
BONUSES: Final = (None, Ratio(1, 20), Ratio(1, 3))
FAULTS: Final[tuple[Fault, ...]] = (*[None] * 4, "lost before", "lost after", "crash before", "crash after")
AMOUNT_MAX: Final = 100
SEEDS: Final = st.integers(0, 2**32 - 1)
TIMES: Final = (1, 4_999, 5_000, 29_999, 30_001)
VERBS: Final = (
    "credit",
    "reverse",
    *["hold"] * 6,
    "extend",
    "extend",
    *["settle"] * 3,
    *["release"] * 2,
    *["ask back", "give back"] * 2,
    "again",
    "again",
)


class Worker:
    """A gateway: a ledger with a name of its own and a driver that fails as told."""

    def __init__(self, bank: Bank) -> None:
        self.driver = Faulty(bank.database.driver())
        self.ledger = Ledger(self.driver, GATEWAY + uuid4().hex)
        self.ledger.start()

    @property
    def owner(self) -> str:
        return self.ledger.owner


class Machine(RuleBasedStateMachine):
    """Two accounts, each with a key without limit and one with a daily limit; two gateways."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.clock = Clock()
        self.auditor = Auditor(self.clock())
        self.bank = Bank(url, self.clock)
        self.customers = [self.bank.customer() for _ in range(3)]
        for number, customer in enumerate(self.customers):
            self.auditor.keys[customer.key_id] = KeyTerms(daily=number == 1, limit=150 if number == 1 else None)
        self.bank.set_key(self.customers[1].key_id, limit_nano=150, reset_period="daily", period=self.clock())
        self.numbers = iter(range(1_000_000))
        self.steps = 0
        self.credits: list[Credit] = []
        self.granted: list[Hold] = []
        self.jobs: dict[str, int] = {}  # id → account, of those that were granted a hold of their own
        self.noted: dict[str, dict[str, Any]] = {}
        self.settled: set[str] = set()
        self.refunds: list[HoldRefund] = []
        self.given_back: set[str] = set()
        self.done: list[Operation] = []
        self.loop = asyncio.new_event_loop()
        self.workers = [self.loop.run_until_complete(self._start()) for _ in range(2)]

    def _random(self, seed: int) -> Random:
        """Another sequence at every step, also where Hypothesis prefers simple seeds."""
        return Random(seed * 1_000_003 + next(self.numbers))

    async def _start(self) -> Worker:
        return Worker(self.bank)

    def teardown(self) -> None:
        self.bank.verified()
        for worker in self.workers:
            self.loop.run_until_complete(worker.ledger.close())
        self.loop.close()
        self.bank.close()

    # -- work ---------------------------------------------------------------------------------------------

    def _draw(self, random: Random, planned: list[Hold]) -> Operation | None:
        """An operation such as a gateway would send now."""
        verb = random.choice(VERBS)
        name = f"op-{next(self.numbers)}"
        if verb == "credit":
            return self._credit(random, name)
        if verb == "hold":
            customer = random.choice(self.customers)
            least, most = sorted(random.choices(range(AMOUNT_MAX), k=2))
            fits, share, sharp = random.choice(RATIOS), random.choice(RATIOS), random.random() < 0.7
            key_id = random.choice([customer.key_id, customer.key_id, None])
            owner = OWNER + name if least and random.random() < 0.25 else None  # no job is quoted nothing
            planned.append(Hold(name, customer.id, key_id, least, most, fits, share, sharp, "some/model", owner=owner))
            return planned[-1]
        if verb == "reverse" and self.credits:
            of = random.choice(self.credits[-10:])
            return Reverse(of.account_id, of.reference, random.randint(1, of.amount), f":{name}")
        if verb == "ask back":
            customer = random.choice(self.customers)
            ratio = random.choice(BONUSES) or Ratio(0, 1)
            self.refunds.append(HoldRefund(name, customer.id, random.randint(1, 200), ratio))
            return self.refunds[-1]
        if verb == "give back":
            return self._about_a_refund(random)
        if verb == "again" and self.done:
            return random.choice(self.done[-30:])
        if verb == "release" and (self.granted or planned):
            hold = random.choice(self.granted[-10:] + planned)
            return Release(hold.id, hold.account_id, hold.key_id, if_lapsed=random.random() < 0.4)
        return self._about_a_hold(random, verb) if self.granted else None

    def _credit(self, random: Random, name: str) -> Credit:
        customer = random.choice(self.customers)
        return Credit(customer.id, name, random.randint(1, 200), "deposits:test", random.choice(BONUSES))

    def _about_a_hold(self, random: Random, verb: str) -> Operation | None:
        """Settle and extend only what was granted: a gateway knows the answer before it goes on."""
        hold = random.choice(self.granted[-10:])
        if verb == "extend":
            least, most = sorted(random.choices(range(AMOUNT_MAX), k=2))
            ratios = random.choice(RATIOS), random.choice(RATIOS)
            return Extend(hold.id, hold.account_id, hold.key_id, least, most, *ratios)
        if verb == "settle" and hold.id not in self.settled:
            record = row(hold.account_id, hold.key_id, hold.id, self.clock())
            charge = random.choice([0, random.randrange(AMOUNT_MAX), random.randrange(AMOUNT_MAX)])
            self.settled.add(hold.id)  # one call settles with one charge; again only the same
            return Settle(hold.id, hold.account_id, hold.key_id, charge, record)
        return None

    def _about_a_refund(self, random: Random) -> Operation | None:
        """Paid for not more than was held, or not at all; a refund ends once."""
        held = [each for each in self.refunds if each.id in self.auditor.holds and each.id not in self.given_back]
        if not held:
            return None
        chosen = random.choice(held)
        self.given_back.add(chosen.id)
        if random.random() < 0.3:
            return Release(chosen.id, chosen.account_id, None)
        return Refund(chosen.id, chosen.account_id, random.randint(1, chosen.amount), chosen.bonus)

    @initialize(seed=SEEDS)
    def begin(self, seed: int) -> None:
        random = self._random(seed)
        self._run(0, [self._credit(random, f"first-{number}") for number in range(6)], [], None)

    @rule(seed=SEEDS)
    def step(self, seed: int) -> None:
        random = self._random(seed)
        if random.random() < 0.7:
            self.work(random)
        else:
            self.meanwhile(random)

    def work(self, random: Random) -> None:
        """A batch of one gateway, whose commit may fail or be its last."""
        planned: list[Hold] = []
        drawn = [self._draw(random, planned) for _ in range(random.randint(1, 10))]
        if operations := [operation for operation in drawn if operation is not None]:
            self._run(random.randrange(2), operations, planned, random.choice(FAULTS))

    def _run(self, number: int, operations: list[Operation], planned: list[Hold], fault: Fault) -> None:
        worker = self.workers[number]
        self.auditor.now_ms = self.clock()
        self.auditor.worked(worker.owner)
        expected = []
        for _ in range({"crash before": 0, "lost after": 2}.get(fault or "", 1)):
            expected = [self.auditor.apply(operation, worker.owner) for operation in operations]
        results = self.loop.run_until_complete(self._batch(worker, operations, fault))
        if fault in ("crash before", "crash after"):
            self.workers[number] = self.loop.run_until_complete(self._start())
        else:
            assert [(r.status, r.reason, r.amount, r.shortfall) for r in results] == expected
        self._remember(operations, planned)

    async def _batch(self, worker: Worker, operations: list[Operation], fault: Fault) -> list[Result]:
        worker.driver.faults = [None, fault]
        worker.driver.stop()
        renewed = worker.ledger.submit(Renew())
        await worker.driver.stopped()
        waiting = [worker.ledger.submit(operation) for operation in operations]
        worker.driver.go_on()
        await renewed
        if fault in ("crash before", "crash after"):
            await asyncio.to_thread(worker.driver.crashed.wait)
            return []
        return await asyncio.gather(*waiting)

    def _remember(self, operations: list[Operation], planned: list[Hold]) -> None:
        granted = [hold for hold in planned if hold.id in self.auditor.holds]
        self.granted += granted
        self.jobs |= {hold.id: hold.account_id for hold in granted if hold.owner is not None}
        for operation in operations:
            if isinstance(operation, Credit) and (operation.account_id, operation.reference) in self.auditor.credits:
                self.credits.append(operation)
            # A hold sent again after its end would be a new hold: gateways never do that.
            if isinstance(operation, Credit | Reverse | Settle | Release | Refund):
                self.done.append(operation)

    # -- what happens meanwhile ---------------------------------------------------------------------------

    def meanwhile(self, random: Random) -> None:
        number = random.randrange(2)
        match random.choice(["day", "time", "time", "lapse", "sweep", "restart", "renewal", "key", "job"]):
            case "day":
                self._time_passes(86_400_000)
            case "time":
                self._time_passes(random.choice(TIMES))
            case "lapse":  # of every lease; a sweep finds what the other gateway and crashed ones hold
                self._time_passes(LEASE_MS + 1)
                self.a_gateway_sweeps(number)
            case "renewal":
                self.a_gateway_renews(number)
            case "sweep":
                self.a_gateway_sweeps(number)
            case "restart":
                self.a_gateway_restarts(number)
            case "key":
                limit = random.choice([None, random.randrange(AMOUNT_MAX), 3 * AMOUNT_MAX])
                self.a_key_changes(random.choice(self.customers).key_id, limit, random.random() < 0.2)
            case "job":  # given up, while its hold was still on its way: the next sweep finds it
                held = [id for id in self.jobs if id in self.auditor.holds]
                self.auditor.jobs_over |= set(random.sample(held, min(1, len(held))))
                self._note_jobs()
                self.a_gateway_sweeps(number)

    def _time_passes(self, ms: int) -> None:
        self.clock.now_ms += ms
        self.auditor.now_ms = self.clock()

    def a_gateway_renews(self, number: int) -> None:
        self.loop.run_until_complete(self._wait(Renew(), number))
        self.auditor.worked(self.workers[number].owner)

    async def _wait(self, operation: Operation, number: int) -> Result:
        return await self.workers[number].ledger.submit(operation)

    def a_gateway_sweeps(self, number: int) -> None:
        owner = self.workers[number].owner
        expected = self.auditor.sweep(owner)
        swept = self.loop.run_until_complete(sweep.sweep(self.bank.database, self.workers[number].ledger))
        assert swept == expected
        if swept:
            self.auditor.worked(owner)

    def a_gateway_restarts(self, number: int) -> None:
        worker = self.workers[number]
        self.loop.run_until_complete(worker.ledger.close())
        leases.drop(self.bank.database, worker.owner, worker.owner)
        self.auditor.leases[worker.owner] = -1
        self.workers[number] = self.loop.run_until_complete(self._start())

    def a_key_changes(self, key_id: str, limit: int | None, revoked: bool) -> None:
        terms = self.auditor.keys[key_id]
        terms.limit, terms.revoked = limit, revoked
        self.bank.set_key(key_id, limit_nano=limit, deleted_at=1 if revoked else None)

    def _note_jobs(self) -> None:
        """As their own loop would: under way for as long as they are held, then ended at their cost."""
        for id, account_id in self.jobs.items():
            hold, charge = self.auditor.holds.get(id), self.auditor.charges.get(id)
            columns: dict[str, Any] = {"state": "running", "quoted_nano": hold.amount if hold else 0}
            if hold is None or id in self.auditor.jobs_over:
                cost = charge.amount if charge else None
                columns = {"state": "completed" if charge else "failed", "ended_at": 1, "cost_nano": cost}
            if self.noted.get(id) != columns:
                self.bank.note_job(id, account_id, **columns)
                self.noted[id] = columns

    # -- what must be true after every step -----------------------------------------------------------------

    @invariant()
    def figures_are_the_auditors(self) -> None:
        auditor = self.auditor
        for customer in self.customers:
            id = customer.id
            expected = auditor.posted(id), auditor.held(id), auditor.owed(id), auditor.bonus(id)
            assert self.bank.figures(id) == expected
            assert 0 <= auditor.held(id) <= auditor.posted(id)
        self.bank.note_refunds({id: (account, left) for id, (account, left, _) in auditor.refunds.items()})
        self._note_jobs()
        assert self.bank.holds() == {id: hold.amount for id, hold in auditor.holds.items()}

    @invariant()
    def the_books_are_right(self) -> None:
        """At every fourth step, and at the end: it reads all that there is."""
        self.steps += 1
        if self.steps % 4 == 0:
            self.bank.verified()

    @invariant()
    def keys_are_the_auditors(self) -> None:
        with self.bank.database.reader.begin() as connection:
            rows: dict[str, Any] = {found.id: found for found in connection.execute(select(api_keys))}
        for key_id in self.auditor.keys:
            found = rows[key_id]
            current = found.period // 86_400_000 == self.auditor.today(key_id)
            used, held = (found.period_used, found.period_held) if current else (0, 0)
            assert (used, held) == (self.auditor.used(key_id), self.auditor.key_held(key_id))
            assert found.total_used == self.auditor.used_ever(key_id)

    @invariant()
    def receipts_are_the_auditors(self) -> None:
        receipts = self.bank.receipts()
        for id, charge in self.auditor.charges.items():
            assert (receipts[id]["cost_nano"], receipts[id]["shortfall_nano"]) == (charge.amount, charge.lost)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses, and threads that crash on purpose do so in silence."""
    told = threading.excepthook
    monkeypatch.setattr(ledgers, "PAUSE_S", 0.001)
    monkeypatch.setattr(threading, "excepthook", lambda args: None if args.exc_type is SystemExit else told(args))


@pytest.fixture
def fresh_file(tmp_path: Path, migrated_file: Path) -> Callable[[], str]:
    numbers = iter(range(1_000_000))

    def fresh() -> str:
        path = tmp_path / f"{next(numbers)}.db"
        shutil.copy(migrated_file, path)
        return f"sqlite:///{path}"

    return fresh


@pytest.fixture
def fresh_postgres(postgres_server: Server, migrated_postgres: str) -> Iterator[Callable[[], str]]:
    made: list[str] = []

    def fresh() -> str:
        made.append(postgres_server.create_database(migrated_postgres))
        return made[-1]

    yield fresh
    for url in made:
        postgres_server.drop_database(url)


def run(fresh: Callable[[], str], examples: int, steps: int) -> None:
    """The same examples every time."""
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # shrinking takes minutes
        suppress_health_check=list(HealthCheck),
    )

    class Fresh(Machine):
        def __init__(self) -> None:
            super().__init__(fresh())

    run_state_machine_as_test(Fresh, settings=chosen)


@pytest.mark.usefixtures("quick")
def test_sqlite(fresh_file: Callable[[], str]) -> None:
    run(fresh_file, 12, 35)


@pytest.mark.usefixtures("quick")
def test_postgresql(fresh_postgres: Callable[[], str]) -> None:
    run(fresh_postgres, 6, 30)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_sqlite_long(fresh_file: Callable[[], str]) -> None:
    run(fresh_file, 150, 60)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_postgresql_long(fresh_postgres: Callable[[], str]) -> None:
    run(fresh_postgres, 30, 60)
