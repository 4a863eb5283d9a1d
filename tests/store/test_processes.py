"""Gateways in processes of their own on one database: they share a balance, and one may die."""

from __future__ import annotations

import asyncio
import subprocess

from perquery.store import sweep
from perquery.store.ledger import LEASE_MS
from tests.store import process
from tests.store.bank import Bank
from tests.store.clock import Clock, apply_all


def told(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


def go_on(running: subprocess.Popen[str]) -> None:
    assert running.stdin is not None
    running.stdin.write("\n")
    running.stdin.flush()


def test_two_processes_never_overspend_one_balance(migrated_url: str) -> None:
    bank = Bank(migrated_url)
    customer = bank.customer()
    apply_all(bank.database, customer.credit(600))
    arguments = ("spend", migrated_url, str(customer.id), customer.key_id)
    with process.start(*arguments) as one, process.start(*arguments) as two:
        assert [told(one), told(two)] == ["ready", "ready"]
        go_on(one)
        go_on(two)
        paid = int(told(one)) + int(told(two))
    assert bank.figures(customer.id) == (600 - paid, 0, 0, 0)
    assert bank.holds() == {}
    assert paid > 300
    bank.verified()
    bank.close()


def test_what_a_killed_process_held_comes_back(migrated_url: str) -> None:
    bank = Bank(migrated_url)
    customer = bank.customer()
    apply_all(bank.database, customer.credit(100))
    with process.start("stand", migrated_url, str(customer.id), customer.key_id) as killed:
        assert told(killed) == "held"
        killed.kill()
    assert bank.holds() == {"standing": 30}
    later = Bank(migrated_url, Clock(bank.database.now_ms() + LEASE_MS + 1))

    async def run() -> int:
        async with later.ledger() as ledger:
            return await sweep.sweep(later.database, ledger)

    assert asyncio.run(run()) == 1
    assert bank.figures(customer.id) == (100, 0, 0, 0)
    assert bank.receipts()["standing"]["rule"] == "gateway_lost"
    bank.verified()
    later.close()
    bank.close()
