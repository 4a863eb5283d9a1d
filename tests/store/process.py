"""Processes of their own on a database: `python -m tests.store.process open|spend|stand URL …`.

`open` opens it as `serve` would, makes an account and closes it, ten times. `spend` runs a ledger and 100 callers on
one balance and prints what they paid. `stand` takes a hold and stands still with it until it is killed.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from perquery.store import credentials
from perquery.store.database import open_existing
from perquery.store.ledger import GATEWAY, Ledger
from perquery.store.opening import open_database
from tests.store.bank import Customer

ROOT = Path(__file__).parents[2]
CALLERS = 100
OPENINGS = 10


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.store.process", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


async def _call(ledger: Ledger, customer: Customer, id: str, number: int) -> int:
    if (await ledger.submit(customer.hold(id, 10))).status == "REFUSED":
        return 0
    if number % 7 == 0:
        ledger.post(customer.release(id))
        return 0
    return (await ledger.submit(customer.settle(id, 3 + number % 11))).amount


async def _spend(url: str, customer: Customer) -> None:
    database = open_existing(url)
    name = uuid4().hex
    ledger = Ledger(database.driver(), GATEWAY + name)
    ledger.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)  # until the other is ready too
    calls = (_call(ledger, customer, f"{name}-{number:03}", number) for number in range(CALLERS))
    paid = sum(await asyncio.gather(*calls))
    await ledger.close()
    database.close()
    sys.stdout.write(f"{paid}\n")


async def _stand(url: str, customer: Customer) -> None:
    ledger = Ledger(open_existing(url).driver(), GATEWAY + "standing")
    ledger.start()
    await ledger.submit(customer.hold("standing", 30))
    sys.stdout.write("held\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)


def main(work: str, url: str, account: str = "0", key_id: str = "") -> None:
    customer = Customer(int(account), key_id)
    if work == "open":
        for _ in range(OPENINGS):
            database = open_database(url, mode="sandbox")
            credentials.create_account(database)
            database.close()
    else:
        asyncio.run({"spend": _spend, "stand": _stand}[work](url, customer))


if __name__ == "__main__":
    main(*sys.argv[1:])
