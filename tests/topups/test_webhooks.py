"""Webhooks from a change to the operator's service: every event, an invoice's in order, signed, through every way to
fail.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from perquery.config import Settings
from perquery.outbound import Client
from perquery.store import webhooks as rows
from perquery.store.webhooks import KEPT_MS, DeliveryRow
from perquery.topups.events import Events
from perquery.topups.service import Topups
from perquery.webhooks import RETRIES_S, Webhooks
from tests.topups.conftest import LIGHTNING, RunTill, Till
from tests.topups.receiver import Receiver, receiving

DUE = 1_000_000  # a dollar at the till's rate, in millisatoshi
SECRET = "only-the-receiver-knows"
TOLD = ["invoice.created", "invoice.seen", "payment.credited", "invoice.settled"]


def settings(till: Till, *receivers: Receiver, **more: Any) -> Settings:
    hooks = [{"url": f"{receiver.url}/hook?token=quiet", "secret": SECRET} | more for receiver in receivers]
    return Settings.model_validate({"mode": "sandbox", "data": till.data, "webhooks": hooks})


@asynccontextmanager
async def sending(till: Till, chosen: Settings, answer_s: float = 10) -> AsyncIterator[Webhooks]:
    client = Client()
    webhooks = Webhooks(till.database, client, chosen, till.clock, answer_s)
    try:
        yield webhooks
    finally:
        await webhooks.close()
        await client.close()


async def created(till: Till, chosen: Settings) -> tuple[Topups, str]:
    """A top-up of a dollar: the service, and its rail's reference."""
    topups = till.topups(settings=chosen)
    return topups, (await topups.create(till.account(), LIGHTNING, 1, "USD")).invoice.rail_ref


async def paid(till: Till, chosen: Settings) -> None:
    topups, ref = await created(till, chosen)
    till.rail.pay(ref, DUE)
    await topups.poll()


async def all_sent(webhooks: Webhooks) -> None:
    while await webhooks.round():
        pass


def kept(till: Till) -> list[DeliveryRow]:
    return rows.latest(till.database, 100)[::-1]


def test_every_change_is_told_once_in_order_and_signed(run: RunTill) -> None:
    async def body(till: Till) -> None:
        async with receiving() as receiver, sending(till, chosen := settings(till, receiver)) as webhooks:
            await paid(till, chosen)
            await all_sent(webhooks)
            assert receiver.types == TOLD
            assert len(set(receiver.deliveries)) == len({event["id"] for event in receiver.events}) == 4
            credited, settled = receiver.events[2:]
            assert credited["payment"] == {"id": "tx-ref1", "amount": 0.00001, "credited_usd": 1, "bonus_usd": 0.05}
            assert (settled["account_id"], settled["mode"], settled["redelivery_of"]) == (1, "sandbox", None)
            assert (settled["invoice"]["status"], settled["invoice"]["credited_usd"]) == ("Settled", 1)
            assert settled["created_at"] * 1000 == till.clock.now_ms
            for headers, raw in receiver.came:
                said = dict(part.split("=") for part in headers["perquery-signature"].split(","))
                assert int(said["t"]) * 1000 == till.clock.now_ms
                mine = hmac.digest(SECRET.encode(), said["t"].encode() + b"." + raw, hashlib.sha256)
                assert bytes.fromhex(said["v1"]) == mine
            assert [row.state for row in kept(till)] == ["delivered"] * 4

    run(body)


def test_what_is_taken_back_and_what_expires_is_told(run: RunTill) -> None:
    async def body(till: Till) -> None:
        async with receiving() as receiver, sending(till, chosen := settings(till, receiver)) as webhooks:
            topups, ref = await created(till, chosen)
            till.rail.pay(ref, DUE)
            await topups.poll()
            till.rail.change(ref, "gone")
            await topups.poll()
            await created(till, chosen)
            till.clock.now_ms += 900_000
            await topups.poll()
            await all_sent(webhooks)
            assert receiver.types[:4] == TOLD
            assert receiver.types.count("payment.reversed") == receiver.types.count("invoice.expired") == 1

    run(body)


def test_only_what_was_asked_for_is_told_and_nobody_elsewhere(run: RunTill) -> None:
    async def body(till: Till) -> None:
        async with receiving() as receiver:
            chosen = settings(till, receiver, events=["payment.credited"])
            away = {"url": "https://shop.example/hook", "secret": SECRET}
            chosen = Settings.model_validate(chosen.model_dump() | {"webhooks": [*chosen.webhooks, away]})
            async with sending(till, chosen) as webhooks:
                await paid(till, chosen)
                await all_sent(webhooks)
                assert receiver.types == ["payment.credited"] and len(kept(till)) == 1

    run(body)


def test_a_change_that_is_taken_back_was_never_told(run: RunTill) -> None:
    async def body(till: Till) -> None:
        async with receiving() as receiver:
            chosen = settings(till, receiver)
            topup = await till.topups().create(till.account(), LIGHTNING, 1, "USD")
            with pytest.raises(RuntimeError), till.database.writer.begin() as connection:
                Events(chosen).write(connection, None, topup, till.clock())
                raise RuntimeError("the change fails after all")
            assert kept(till) == []

    run(body)


def test_a_failure_is_tried_again_in_time_and_the_invoices_later_ones_wait_behind_it(run: RunTill) -> None:
    async def body(till: Till) -> None:
        async with receiving(500) as receiver, sending(till, chosen := settings(till, receiver)) as webhooks:
            await paid(till, chosen)
            assert await webhooks.round() == 1
            till.clock.now_ms += 9_999
            assert await webhooks.round() == 0
            till.clock.now_ms += 1
            await all_sent(webhooks)
            assert receiver.types == [TOLD[0], *TOLD]
            assert receiver.came[0][1] == receiver.came[1][1] and receiver.deliveries[0] == receiver.deliveries[1]
            assert receiver.came[0][0]["perquery-signature"] != receiver.came[1][0]["perquery-signature"]

    run(body)


def test_what_is_not_taken_holds_up_no_other_invoice(run: RunTill) -> None:
    async def body(till: Till) -> None:
        async with receiving(500) as receiver, sending(till, chosen := settings(till, receiver)) as webhooks:
            await created(till, chosen)
            await paid(till, chosen)
            await all_sent(webhooks)
            first, *others = kept(till)
            assert receiver.deliveries == [row.id for row in (first, *others)]
            assert (first.state, {row.state for row in others}) == ("pending", {"delivered"})
            till.clock.now_ms += 10_000
            await all_sent(webhooks)
            assert receiver.deliveries[-1] == first.id and kept(till)[0].state == "delivered"

    run(body)


def test_a_receiver_that_is_out_of_order_is_told_all_invoices_in_an_hour(run: RunTill) -> None:
    """Not one invoice an hour: what waits behind a dead receiver would never come to its end."""

    async def body(till: Till) -> None:
        async with (
            receiving(*[500] * 90) as receiver,
            sending(till, chosen := settings(till, receiver, events=["invoice.created"])) as webhooks,
        ):
            for _ in range(5):
                await created(till, chosen)
            for waited_s in (0, *RETRIES_S):
                till.clock.now_ms += waited_s * 1000
                await all_sent(webhooks)
            assert [(row.state, row.attempts) for row in kept(till)] == [("failed", 1 + len(RETRIES_S))] * 5

    run(body)


def test_what_is_never_taken_is_given_up_and_the_next_is_told(run: RunTill) -> None:
    async def body(till: Till) -> None:
        attempts = 1 + len(RETRIES_S)
        async with (
            receiving(*[503] * attempts) as receiver,
            sending(till, chosen := settings(till, receiver, events=[TOLD[0], TOLD[3]])) as webhooks,
        ):
            await paid(till, chosen)
            waited = []
            for _ in range(attempts):
                assert await webhooks.round() == 1
                waited.append((kept(till)[0].due_at - till.clock.now_ms) // 1000)
                till.clock.now_ms = max(till.clock.now_ms, kept(till)[0].due_at)
            assert waited == [10, 60, 600, 600, 600, 600, 600, 600, 0]
            first, second = kept(till)
            assert (first.state, first.attempts, first.answer_status) == ("failed", 9, 503)
            assert first.answer == "no [31m " + "x" * 192
            await all_sent(webhooks)
            assert receiver.deliveries == [first.id] * 9 + [second.id]

    run(body)


@pytest.mark.parametrize(
    ("act", "state"),
    [(302, "failed"), (400, "failed"), (404, "failed"), (410, "failed"), (204, "delivered")]
    + [(act, "pending") for act in (408, 429, 500, 502, "drop", "hang")],
)
def test_what_comes_of_an_answer(run: RunTill, act: int | str, state: str) -> None:
    async def body(till: Till) -> None:
        async with (
            receiving(act) as receiver,
            sending(till, chosen := settings(till, receiver), 0.2) as webhooks,
        ):
            await created(till, chosen)
            assert await webhooks.round() == 1
            (row,) = kept(till)
            assert (row.state, row.attempts) == (state, 1)
            assert row.answer_status == (act if isinstance(act, int) else None)
            assert len(receiver.came) == 1

    run(body)


def test_a_receiver_that_hangs_holds_up_no_other(run: RunTill) -> None:
    async def body(till: Till) -> None:
        async with (
            receiving("hang") as dead,
            receiving() as alive,
            sending(till, chosen := settings(till, dead, alive)) as webhooks,
        ):
            running = asyncio.create_task(webhooks.run())
            await paid(till, chosen)
            webhooks.wake()
            await alive.until(4)
            assert alive.types == TOLD and dead.types == TOLD[:1]
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    run(body)


def test_who_dies_while_it_sends_is_followed_by_another_with_the_same_delivery(run: RunTill) -> None:
    async def body(till: Till) -> None:
        async with receiving("hang") as receiver:
            chosen = settings(till, receiver)
            await created(till, chosen)
            async with sending(till, chosen) as first, sending(till, chosen) as second:
                dying = asyncio.create_task(first.round())
                await receiver.until(1)
                dying.cancel()
                await asyncio.gather(dying, return_exceptions=True)
                assert await second.round() == 0  # the lease is the other's as long as it may live
                till.clock.now_ms += 20_000
                assert await second.round() == 1
            assert receiver.deliveries[0] == receiver.deliveries[1]
            assert [row.state for row in kept(till)] == ["delivered"]

    run(body)


def test_a_redelivery_says_what_it_repeats(run: RunTill) -> None:
    async def body(till: Till) -> None:
        async with receiving(404) as receiver, sending(till, chosen := settings(till, receiver)) as webhooks:
            await created(till, chosen)
            await all_sent(webhooks)
            (lost,) = kept(till)
            again = rows.repeat(till.database, lost)
            await all_sent(webhooks)
            first, second = receiver.events
            assert receiver.deliveries == [lost.id, again.id] and lost.id != again.id
            assert (first["redelivery_of"], second["redelivery_of"]) == (None, lost.id)
            assert first | {"redelivery_of": lost.id} == second
            assert rows.find(till.database, lost.id) == lost

    run(body)


def test_old_deliveries_are_forgotten(run: RunTill) -> None:
    async def body(till: Till) -> None:
        async with receiving() as receiver:
            await created(till, settings(till, receiver))
            for later, left in ((0, 1), (1, 0)):
                with till.database.writer.begin() as connection:
                    rows.forget_old(connection, till.clock() + KEPT_MS + later)
                assert len(kept(till)) == left

    run(body)


def test_neither_secret_nor_query_is_written_anywhere(run: RunTill, caplog: pytest.LogCaptureFixture) -> None:
    async def body(till: Till) -> None:
        async with receiving(404) as receiver, sending(till, chosen := settings(till, receiver)) as webhooks:
            await created(till, chosen)
            await all_sent(webhooks)
            (row,) = kept(till)
            assert row.webhook == f"{receiver.url}/hook"
            assert "given up" in caplog.text
            for text in (caplog.text, repr(chosen), repr(row)):
                assert SECRET not in text and "quiet" not in text

    run(body)
