"""Auto top-up as a caller has it: a live gateway process, a wallet with faults on a true relay, one payment at most."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fire.test_live_topup import world
from tests.nwc.wallet import RECEIVING, Fault, NwcWallet, local_relay
from tests.rails import lnbits
from tests.serving import Answer, Gateway, start

CONNECT, SHOW, DISCONNECT = "/nwc-auto-topup/connect", "/nwc-auto-topup", "/nwc-auto-topup/connection"
HANG_S = 40.0  # reached only where a test fails


@dataclass
class Scene:
    gateway: Gateway
    node: lnbits.ScriptedLnbits
    wallet: NwcWallet
    relay: str
    credit_id: str
    key: str

    @property
    def address(self) -> str:
        return self.wallet.connection(self.relay).uri()

    async def call(self, method: str, path: str, body: Any = None) -> Answer:
        return await asyncio.to_thread(self.gateway.call, method, path, body, key=self.key)

    async def connect(self, **more: Any) -> Answer:
        return await self.call("POST", CONNECT, {"nwc_url": self.address} | more)

    async def attempt(self, *states: str) -> dict[str, Any]:
        """The first attempt, once it is in one of these states."""
        async with asyncio.timeout(HANG_S):
            while True:
                attempts: list[dict[str, Any]] = (await self.call("GET", SHOW)).json()["attempts"]
                if attempts and attempts[-1]["state"] in states:
                    return attempts[-1]


@asynccontextmanager
async def scene(folder: Path, encryption: str | None = "nip44_v2 nip04", **more: Any) -> AsyncIterator[Scene]:
    with world(folder, "private_relays = true\n") as (gateway, node, _):
        paid: set[str] = set()

        async def pay(invoice: str) -> str:
            assert invoice not in paid, "asked to pay one invoice twice"
            paid.add(invoice)
            await asyncio.to_thread(node.pay, invoice)
            return "00" * 32

        async with local_relay() as relay:
            wallet = NwcWallet(pay, encryption=encryption, **more)
            await wallet.start(relay)
            credit_id, key = await asyncio.to_thread(gateway.account)
            try:
                yield Scene(gateway, node, wallet, relay, credit_id, key)
            finally:
                await wallet.stop()


FAULTS = (
    Fault.NORMAL,
    Fault.SILENT,
    Fault.TWICE,
    Fault.ERROR_FIRST,
    Fault.WRONG_AUTHOR,
    Fault.UNKNOWN_REQUEST,
    Fault.GARBAGE,
)


def test_a_connected_wallet_tops_up_once_whatever_it_answers(tmp_path: Path) -> None:
    """One account for every fault, all at the same time."""

    async def main() -> None:
        async with scene(tmp_path) as at:
            at.wallet.plan.extend(FAULTS)
            keys = []
            for _ in FAULTS:
                _, at.key = await asyncio.to_thread(at.gateway.account)
                keys.append(at.key)
                answer = await at.connect(threshold_usd=5, topup_amount_usd=5)
                assert answer.status == 200, answer.body
            for at.key in keys:
                ended = await at.attempt("settled", "failed_final")
                assert (ended["state"], at.gateway.balance(at.key)) == ("settled", 5.25), ended
            assert set(at.wallet.paid.values()) == {1} and len(at.wallet.paid) == len(FAULTS)
            assert not at.wallet.plan

    asyncio.run(main())


def test_killed_while_the_wallet_is_silent_the_payment_is_credited_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path) as at:
            at.wallet.plan.append(Fault.SLOW)
            await at.connect(threshold_usd=5, topup_amount_usd=5)
            await at.attempt("sent")
            at.gateway.kill()
            at.wallet.release.set()
            again = await asyncio.to_thread(start, at.gateway.data, at.gateway.config, sandbox=False)
            try:
                at.gateway = again
                ended = await at.attempt("settled", "failed_final")
                assert (ended["state"], again.balance(at.key)) == ("settled", 5.25)
                assert list(at.wallet.paid.values()) == [1]
                assert again.command("ledger", "verify")["ok"]
            finally:
                again.stop()

    asyncio.run(main())


def test_a_wallet_that_reads_only_nip04_is_written_to_in_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, encryption=None) as at:
            await at.connect(threshold_usd=5, topup_amount_usd=5)
            assert (await at.attempt("settled"))["amount_usd"] == 5

    asyncio.run(main())


def test_connect_show_and_disconnect_say_what_clients_read(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path) as at:
            nothing = (await at.call("GET", SHOW)).json()
            assert nothing["connected"] is False and nothing["data"] is None
            at.wallet.plan.append(Fault.DEAF)
            made = (await at.connect()).json()
            fields = ("connected", "threshold_usd", "topup_amount_usd", "nwc_url")
            assert [made[name] for name in fields[:3]] == [True, 10, 10]
            assert all(made["data"][name] == made[name] for name in fields)
            shown = await at.call("GET", SHOW)
            assert at.wallet.app.secret_key().to_hex().encode() not in shown.body
            headers = {"x-credit-id": at.credit_id}
            by_credit_id = await asyncio.to_thread(at.gateway.call, "GET", SHOW, headers=headers)
            assert by_credit_id.json()["connected"] is True
            for _ in range(2):
                gone = await at.call("DELETE", DISCONNECT)
                assert gone.status == 200 and gone.json()["data"] is None

    asyncio.run(main())


def test_two_credentials_of_different_accounts_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path) as at:
            other, _ = await asyncio.to_thread(at.gateway.account)
            answer = await asyncio.to_thread(at.gateway.call, "GET", SHOW, key=at.key, headers={"x-credit-id": other})
            assert (answer.status, answer.json()["error"]["code"]) == (401, "credentials_disagree")

    asyncio.run(main())


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "nwc_url"),
    ({"nwc_url": "lnurl1abc"}, "nwc_url"),
    ({"threshold_usd": 4.99}, "threshold_usd"),
    ({"threshold_usd": "ten"}, "threshold_usd"),
    ({"topup_amount_usd": 0}, "topup_amount_usd"),
    ({"topup_amount_usd": 20, "daily_limit_usd": 10}, "daily_limit_usd"),
)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path) as at:
            for body, param in WRONG:
                address = {} if param == "nwc_url" else {"nwc_url": at.address}
                answer = await at.call("POST", CONNECT, address | body)
                assert (answer.status, answer.json()["error"]["param"]) == (400, param), body

    asyncio.run(main())


def test_a_wallet_that_cannot_pay_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path, methods=RECEIVING) as at:
            answer = await at.connect()
            assert (answer.status, answer.json()["error"]["code"]) == (400, "wallet_cannot_pay")

    asyncio.run(main())
