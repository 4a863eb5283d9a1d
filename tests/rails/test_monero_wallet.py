"""A Monero wallet: its subaddresses, what counts of what they got, and everything that it may answer instead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from perquery.outbound import Client
from perquery.rails.monero_wallet import MoneroWallet
from perquery.rails.rail import RailDown
from tests.rails import monero

AT_MS = 1_800_000_000_000


def asking(body: Callable[[MoneroWallet, monero.Wallet], Awaitable[None]], credential: str = "u:p") -> None:
    async def main(serves: monero.Wallet) -> None:
        client = Client()
        await body(MoneroWallet(client, serves.url, credential, lambda: AT_MS), serves)
        await client.close()

    with monero.running(monero.MoneroChain(lambda: AT_MS)) as serves:
        asyncio.run(main(serves))


def test_in_the_pool_then_in_a_block() -> None:
    async def body(wallet: MoneroWallet, serves: monero.Wallet) -> None:
        first, second = await wallet.address(0), await wallet.address(1)
        assert first != second
        paid = serves.chain.pay((first, 7), (second, 8), (first, 1))
        (seen,) = (await wallet.look([first])).outputs
        assert (seen.id, seen.amount, seen.confirmations, seen.mined) == (f"{paid.id}:1", 8, 0, False)
        serves.chain.mine(3)
        view = await wallet.look([first, second])
        assert (view.height, view.node) == (serves.chain.height, "monero-wallet-rpc 1.25")
        assert [(each.amount, each.confirmations, each.at_ms) for each in view.outputs] == [(8, 3, AT_MS)] * 2

    asking(body)


def test_without_a_password() -> None:
    async def body(wallet: MoneroWallet, serves: monero.Wallet) -> None:
        serves.login = False
        assert (await wallet.look([])).height == serves.chain.height

    asking(body, "")


def test_a_password_is_asked_for_anew() -> None:
    async def body(wallet: MoneroWallet, serves: monero.Wallet) -> None:
        await wallet.look([])
        serves.nonce = "another"
        await wallet.look([])

    asking(body)


@pytest.mark.parametrize(("until", "counts"), [(1, True), (99, True), (10**6, True), (10**9, True), (2 * 10**9, False)])
def test_what_is_locked_does_not_count(until: int, counts: bool) -> None:
    async def body(wallet: MoneroWallet, serves: monero.Wallet) -> None:
        address = await wallet.address(0)
        serves.locks[serves.chain.pay((address, 7)).id] = until if until != 10**6 else serves.chain.height + 3
        serves.chain.mine(3)
        (seen,) = (await wallet.look([address])).outputs
        assert (seen.confirmations, seen.mined) == (3 if counts else 0, True)

    asking(body)


def test_what_is_spent_twice_is_not_there() -> None:
    async def body(wallet: MoneroWallet, serves: monero.Wallet) -> None:
        address = await wallet.address(0)
        serves.suspects.add(serves.chain.pay((address, 7)).id)
        assert not (await wallet.look([address])).outputs

    asking(body)


@pytest.mark.parametrize(
    ("says", "spoil"),
    [
        ("answered 502", lambda serves: setattr(serves, "spoil", (502, b"<html>"))),
        ("something else than JSON", lambda serves: setattr(serves, "spoil", (200, b"<html>"))),
        ("refuses get_version", lambda serves: setattr(serves, "spoil", (200, b"[]"))),
        ("No wallet file", lambda serves: serves.refuse.update(query_key=(-13, "No wallet file"))),
        ("no connection to daemon", lambda serves: serves.refuse.update(refresh=(-38, "no connection to daemon"))),
        ("daemon is busy", lambda serves: serves.refuse.update(get_height=(-3, "daemon is busy"))),
        ("can spend", lambda serves: setattr(serves, "spends", True)),
    ],
)
def test_what_is_wrong_is_named(says: str, spoil: Callable[[Any], object]) -> None:
    async def body(wallet: MoneroWallet, serves: monero.Wallet) -> None:
        spoil(serves)
        for _ in range(2):
            with pytest.raises(RailDown, match=says):
                await wallet.look([])

    asking(body)


def test_questions_at_once_share_one_login() -> None:
    """A nonce holds for its connection alone."""

    async def body(wallet: MoneroWallet, serves: monero.Wallet) -> None:
        looks = [wallet.look([]) for _ in range(4)]
        await asyncio.gather(*(wallet.address(number) for number in range(4)), *looks)
        assert len(set(serves.made)) == len(serves.made) >= 4

    asking(body)


def test_a_wallet_that_dies_gives_no_address_twice() -> None:
    async def body(wallet: MoneroWallet, serves: monero.Wallet) -> None:
        first = await wallet.address(0)
        serves.crash()
        assert await wallet.address(1) != first and first in serves.made

    asking(body)


def test_a_restored_wallet_goes_on_behind_what_others_have() -> None:
    async def body(wallet: MoneroWallet, serves: monero.Wallet) -> None:
        assert await wallet.address(150) == serves.made[150] and len(serves.made) == 151

    asking(body)


@pytest.mark.parametrize("fresh", [True, False])
def test_another_wallet_in_its_place_is_not_believed(fresh: bool) -> None:
    async def body(wallet: MoneroWallet, serves: monero.Wallet) -> None:
        address = await wallet.address(0)
        if fresh:
            wallet = MoneroWallet(wallet._client, serves.url, "u:p", lambda: AT_MS)
        for others in ([], ["8other"]):
            serves.made = others
            with pytest.raises(RailDown, match="does not know"):
                await wallet.look([address])

    asking(body)


@pytest.mark.parametrize("letters", ["9B", "AB", "57"])
def test_a_wallet_of_a_test_network_is_not_believed(letters: str) -> None:
    async def body(wallet: MoneroWallet, serves: monero.Wallet) -> None:
        serves.letters = letters
        for question in (wallet.look([]), wallet.address(0)):
            with pytest.raises(RailDown, match="another network"):
                await question

    asking(body)


def test_a_wallet_that_can_spend_is_noticed_later_too() -> None:
    async def body(wallet: MoneroWallet, serves: monero.Wallet) -> None:
        await wallet.look([])
        assert not await wallet.may_spend()
        serves.spends = True
        assert await wallet.may_spend()
        with pytest.raises(RailDown, match="can spend"):
            await wallet.address(0)

    asking(body)


@pytest.mark.parametrize("credential", ["u:wrong", ""])
def test_a_wrong_password(credential: str) -> None:
    async def body(wallet: MoneroWallet, serves: monero.Wallet) -> None:
        with pytest.raises(RailDown, match="answered 401"):
            await wallet.look([])

    asking(body, credential)
