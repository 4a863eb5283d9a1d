"""Idempotency-Key on creation, on both databases: one key, one invoice."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from perquery.config import Limits, Settings
from perquery.errors import BadRequest, Conflict, TooManyRequests
from perquery.rates.rate import FixedRates
from perquery.topups.service import Topups
from tests.topups.conftest import LIGHTNING, RATE, RunTill, Till

BODY = b'{"amount": 1}'


async def keyed(topups: Topups, account: int, key: str = "k", body: bytes = BODY) -> str:
    return (await topups.create(account, LIGHTNING, 1, "USD", key=key, body=body)).invoice.id


def test_the_same_key_and_body_get_the_same_invoice(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        first = await keyed(topups, account)
        till.clock.now_ms += 40 * 86_400_000
        till.rail.down = True  # nothing is asked again, neither the wallet nor the rate
        assert await keyed(till.topups(rates=FixedRates({})), account) == first
        assert len(await till.topups().latest(account, 10)) == 1

    run(body)


def test_another_key_or_account_makes_another_invoice(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        made = {await keyed(topups, account), await keyed(topups, account, "l"), await keyed(topups, till.account())}
        assert len(made) == 3

    run(body)


def test_the_same_key_with_another_body_or_method_is_refused(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        await keyed(topups, account)
        with pytest.raises(Conflict) as caught:
            await keyed(topups, account, body=b'{"amount": 2}')
        assert caught.value.code == "idempotency_key_reused"
        with pytest.raises(Conflict):
            await topups.create(account, "other", 1, "USD", key="k", body=BODY)

    run(body)


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_of_the_wrong_length_is_refused(run: RunTill, key: str) -> None:
    async def body(till: Till) -> None:
        with pytest.raises(BadRequest) as caught:
            await keyed(till.topups(), till.account(), key)
        assert caught.value.param == "Idempotency-Key"

    run(body)


def test_many_at_once_make_one_invoice(run: RunTill) -> None:
    async def body(till: Till) -> None:
        one, other, account = till.topups(), till.topups(), till.account()
        made = await asyncio.gather(*(keyed(topups, account) for topups in (one, other) for _ in range(6)))
        assert len(set(made)) == 1
        assert len(await one.latest(account, 10)) == 1

    run(body)


def test_a_repeated_creation_is_no_further_open_invoice(run: RunTill) -> None:
    async def body(till: Till) -> None:
        settings = Settings(mode="sandbox", data=till.data, limits=Limits(open_invoices_per_account=1))
        topups, account = till.topups(settings=settings), till.account()
        first = await keyed(topups, account)
        assert await keyed(topups, account) == first
        with pytest.raises(TooManyRequests):
            await keyed(topups, account, "l")

    run(body)


def test_the_second_at_the_last_free_place_gets_the_invoice_of_the_first(run: RunTill) -> None:
    """It finds no invoice by its key, then the limit reached: by the very one that it asks for."""

    async def body(till: Till) -> None:
        settings = Settings(mode="sandbox", data=till.data, limits=Limits(open_invoices_per_account=1))
        first, account = till.topups(settings=settings), till.account()
        made: list[str] = []

        class Overtaken(FixedRates):
            """Rates, for which there is a wait, in which the first request comes to its end."""

            def usd_nano_per_coin(self, coin: str) -> int:
                if not made:
                    with ThreadPoolExecutor(1) as thread:
                        made.append(thread.submit(asyncio.run, keyed(first, account)).result())
                return super().usd_nano_per_coin(coin)

        second = till.topups(settings=settings, rates=Overtaken({"BTC": RATE}))
        assert await keyed(second, account) == made[0]

    run(body)
