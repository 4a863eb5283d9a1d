"""Every rail through the same cases, with the wallet that really stands behind it: what is paid is credited, once.

A rail joins by a `Bench` in BENCHES; a case that its kind of payment cannot have is named there with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from perquery.rails import sandbox
from perquery.rails.rail import Rail
from perquery.topups.invoice import Topup
from perquery.topups.service import Topups
from tests.topups.conftest import LIGHTNING, Clock, RunTill, Till

DOLLAR = 10**9
CREDITED = DOLLAR + 5 * 10**7


@dataclass(frozen=True)
class Bench:
    """How to open a rail's wallet on a folder, and how a payer pays; `never`: cases that it cannot have."""

    open: Callable[[Path, Clock], Rail]
    pay: Callable[[Path, str, Clock], object]
    never: Mapping[str, str]


BENCHES = {
    "sandbox": Bench(
        open=sandbox.SandboxWallet,
        pay=sandbox.pay,
        never={
            "partial": "a BOLT #11 payer pays the amount stated",
            "over": "a BOLT #11 payer pays the amount stated",
            "gone": "a Lightning payment is final",
        },
    )
}


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest) -> Bench:
    chosen = BENCHES[request.param]
    case = request.node.originalname.removeprefix("test_")
    if case in chosen.never:
        pytest.skip(chosen.never[case])
    return chosen


async def asked(till: Till, bench: Bench) -> tuple[Topups, int, Topup]:
    topups, account = till.topups(bench.open(till.data, till.clock)), till.account()
    return topups, account, await topups.create(account, LIGHTNING, 1, "USD")


def test_paid(run: RunTill, bench: Bench) -> None:
    async def body(till: Till) -> None:
        topups, account, topup = await asked(till, bench)
        assert (await topups.status(account, topup.invoice.id)).step.status == "new"
        bench.pay(till.data, topup.invoice.payable, till.clock)
        assert (await topups.status(account, topup.invoice.id)).step.status == "settled"
        assert till.figures(account)[0] == CREDITED
        await topups.close()

    run(body)


def test_twice(run: RunTill, bench: Bench) -> None:
    async def body(till: Till) -> None:
        topups, account, topup = await asked(till, bench)
        bench.pay(till.data, topup.invoice.payable, till.clock)
        with pytest.raises(ValueError, match="paid already"):
            bench.pay(till.data, topup.invoice.payable, till.clock)
        await topups.poll()
        await topups.poll()
        assert till.figures(account)[0] == CREDITED
        await topups.close()

    run(body)


def test_late(run: RunTill, bench: Bench) -> None:
    async def body(till: Till) -> None:
        topups, account, topup = await asked(till, bench)
        till.clock.now_ms = topup.invoice.expires_at
        with pytest.raises(ValueError, match="expired"):
            bench.pay(till.data, topup.invoice.payable, till.clock)
        assert (await topups.status(account, topup.invoice.id)).step.status == "expired"
        await topups.close()

    run(body)


def test_at_the_last_moment(run: RunTill, bench: Bench) -> None:
    async def body(till: Till) -> None:
        topups, account, topup = await asked(till, bench)
        till.clock.now_ms = topup.invoice.expires_at - 1
        bench.pay(till.data, topup.invoice.payable, till.clock)
        till.clock.now_ms += 60_000
        settled = await topups.status(account, topup.invoice.id)
        assert (settled.step.status, settled.step.flags) == ("settled", ())
        await topups.close()

    run(body)


def test_restart(run: RunTill, bench: Bench) -> None:
    """Both the wallet and the service restart between the invoice and the payment, and hear of it once."""

    async def body(till: Till) -> None:
        first, account, topup = await asked(till, bench)
        await first.close()
        bench.pay(till.data, topup.invoice.payable, till.clock)
        for _ in range(2):
            again = till.topups(bench.open(till.data, till.clock))
            assert (await again.status(account, topup.invoice.id)).step.status == "settled"
            await again.close()
        assert till.figures(account)[0] == CREDITED

    run(body)


def test_node_down(run: RunTill, bench: Bench) -> None:
    """While the wallet is away nothing expires and nothing is lost."""

    async def body(till: Till) -> None:
        first, account, topup = await asked(till, bench)
        bench.pay(till.data, topup.invoice.payable, till.clock)
        await first.close()
        till.clock.now_ms = topup.invoice.expires_at + 1
        assert (await first.status(account, topup.invoice.id)).step.status == "new"
        again = till.topups(bench.open(till.data, till.clock))
        assert (await again.status(account, topup.invoice.id)).step.status == "settled"
        await again.close()

    run(body)


def test_partial(run: RunTill, bench: Bench) -> None:
    raise AssertionError("a rail that can be paid in parts needs a payer that does so here")


def test_over(run: RunTill, bench: Bench) -> None:
    raise AssertionError("a rail that can be overpaid needs a payer that does so here")


def test_gone(run: RunTill, bench: Bench) -> None:
    raise AssertionError("a rail whose payments can vanish needs a chain that forgets one here")
