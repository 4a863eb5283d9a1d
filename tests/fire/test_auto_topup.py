"""Auto top-up as a caller has it: a live gateway process, a wallet with faults on a true relay, one payment at most."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fire.dying import die_of
from tests.fire.processes import database_url, lapse
from tests.fire.test_live_topup import world
from tests.nwc.relays import LooseRelay, loose_relay
from tests.nwc.wallet import RECEIVING, Fault, NwcWallet, Refusal, local_relay
from tests.rails import lnbits
from tests.serving import Answer, Gateway, start

CONNECT, SHOW, DISCONNECT = "/nwc-auto-topup/connect", "/nwc-auto-topup", "/nwc-auto-topup/connection"
HANG_S = 120.0  # reached only where a test fails


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


@dataclass(frozen=True)
class Manner:
    """How a wallet pays, and what it says then."""

    encryption: str | None = "nip44_v2 nip04"
    pays: bool = True
    refusal: Refusal | None = None
    preimage: str | None = "00" * 32


@asynccontextmanager
async def scene(
    folder: Path, manner: Manner = Manner(), relay: LooseRelay | None = None, dies_of: Sequence[str] = (), **more: Any
) -> AsyncIterator[Scene]:
    """relay: in place of a whole one. dies_of: moment and state, as in `tests.fire.dying`. more: the wallet's."""
    first = partial(die_of, *dies_of) if dies_of else None
    with world(folder, "private_relays = true\n", first) as (gateway, node, _):
        paid: set[str] = set()

        async def pay(invoice: str) -> str | None:
            assert invoice not in paid, "asked to pay one invoice twice"
            paid.add(invoice)
            if manner.pays:
                await asyncio.to_thread(node.pay, invoice)
            if manner.refusal is not None:
                raise manner.refusal
            return manner.preimage

        async with local_relay() as whole:
            wallet = NwcWallet(pay, encryption=manner.encryption, **more)
            url = relay.url if relay is not None else whole
            await wallet.start(url)
            credit_id, key = await asyncio.to_thread(gateway.account)
            try:
                yield Scene(gateway, node, wallet, url, credit_id, key)
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


def test_a_relay_that_drops_and_passes_on_forgeries_changes_nothing(tmp_path: Path) -> None:
    faults = (Fault.DROP, Fault.BAD_SIGNATURE, Fault.SLOW)

    async def main() -> None:
        async with loose_relay() as relay, scene(tmp_path, relay=relay, drop=relay.drop) as at:
            at.wallet.plan.extend(faults)
            keys = [(await asyncio.to_thread(at.gateway.account))[1] for _ in faults]
            for at.key in keys:
                assert (await at.connect(threshold_usd=5, topup_amount_usd=5)).status == 200
            for at.key in keys:
                await at.attempt("sent", "settled")
            at.wallet.release.set()
            for at.key in keys:
                ended = await at.attempt("settled", "failed_final")
                assert (ended["state"], at.gateway.balance(at.key)) == ("settled", 5.25), ended
            assert set(at.wallet.paid.values()) == {1} and len(at.wallet.paid) == len(faults)
            assert not at.wallet.plan and relay.accepted > 2 * len(faults)

    asyncio.run(main())


STATES = ("claimed", "invoice_created", "request_signed", "sent", "answered", "unknown", "settled", "failed_final")


async def a_life_and_the_next(folder: Path, moment: str, state: str) -> None:
    """The gateway kills itself at that moment, the wallet acts, and another gateway goes on with the same data."""
    async with scene(folder, dies_of=(moment, state)) as at:
        if state == "unknown":
            at.wallet.plan.append(Fault.SLOW)
        if state == "failed_final":
            at.node.spoil = (500, "no invoice can be made")
        with contextlib.suppress(OSError):  # it may die while it answers
            await at.connect(threshold_usd=5, topup_amount_usd=5)
        async with asyncio.timeout(HANG_S):
            assert await asyncio.to_thread(at.gateway.process.wait) == -9
        at.wallet.release.set()
        at.node.spoil = None
        if moment == "after":
            lapse(database_url(at.gateway.data, None))
        at.gateway = again = await asyncio.to_thread(start, at.gateway.data, at.gateway.config, sandbox=False)
        try:
            ended = await at.attempt("settled", "failed_final")
            paid = int((moment, state) != ("after", "failed_final"))
            assert (len(at.wallet.paid), again.balance(at.key)) == (paid, 5.25 * paid), ended
            assert ended["words"].startswith("Paid and credited." if paid else "Not paid. No invoice could be made")
            assert all(times == 1 for times in at.wallet.paid.values())
            assert again.command("ledger", "verify")["ok"]
        finally:
            again.stop()


def check_lives(folder: Path, moment: str) -> None:
    """All at the same time, for the next gateway may have to wait for the dead one's lease to lapse."""

    def live(state: str) -> None:
        (folder / state).mkdir()
        asyncio.run(a_life_and_the_next(folder / state, moment, state))

    with ThreadPoolExecutor(len(STATES)) as threads:
        for _ in threads.map(live, STATES):
            pass


def test_killed_in_every_state_the_next_gateway_goes_on_and_it_is_paid_once(tmp_path: Path) -> None:
    check_lives(tmp_path, "after")


@pytest.mark.slow
def test_killed_on_the_way_to_every_state_the_next_gateway_goes_on_and_it_is_paid_once(tmp_path: Path) -> None:
    check_lives(tmp_path, "before")


QUIRKS = {
    # Alby Hub answers INTERNAL, whatever it is, also while it pays.
    "Alby Hub": (Manner(refusal=Refusal("INTERNAL", "there is already a payment pending")), "settled", "INTERNAL"),
    # LNbits reads nip04 alone, and says PAYMENT_FAILED where its wallet is empty.
    "LNbits": (Manner(None, False, Refusal("PAYMENT_FAILED", "Insufficient balance")), "answered", "PAYMENT_FAILED"),
    # Primal pays without a preimage.
    "Primal": (Manner(preimage=None), "settled", None),
}


@pytest.mark.parametrize("wallet", QUIRKS)
def test_a_wallets_quirk(wallet: str, tmp_path: Path) -> None:
    manner, state, code = QUIRKS[wallet]

    async def main() -> None:
        async with scene(tmp_path, manner) as at:
            await at.connect(threshold_usd=5, topup_amount_usd=5)
            attempt = await at.attempt(state, "failed_final")
            assert (attempt["state"], attempt["wallet_error"]) == (state, code)
            assert at.gateway.balance(at.key) == (5.25 if state == "settled" else 0)
            assert [method for method, _ in at.wallet.asked] == ["pay_invoice"]

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
