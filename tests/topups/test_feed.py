"""Following invoices, on both databases: what happened, in order, nothing lost, nothing of others."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from perquery import money
from perquery.errors import TooManyRequests
from perquery.store import events
from perquery.store.events import News
from perquery.topups.feed import STREAMS_MAX, Feed
from tests.topups.conftest import LIGHTNING, RunTill, Till

DUE = 1_000_000
PATIENCE_S = 30


def states(news: News) -> list[str]:
    return [money.from_json(event.body)["state"] for event in news.events]


async def until(feed: Feed, account: int, after: int | None, last: str, invoice_id: str | None = None) -> list[str]:
    """The states that are told, up to the one named."""
    told: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        with feed.listening(account) as listener:
            async for news in feed.news(listener, invoice_id, after):
                told += states(news)
                if last in told:
                    break
    return told


def test_a_stream_begins_with_what_is_open_and_tells_every_change(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        invoice = (await topups.create(account, LIGHTNING, 1, "USD")).invoice
        feed = Feed(till.database)
        topups.changed = feed.wake
        with feed.listening(account) as listener:
            news = feed.news(listener, None, None)
            assert states(await anext(news)) == ["new"]
            till.rail.pay(invoice.rail_ref, DUE)
            await topups.poll()
            told: list[str] = []
            async with asyncio.timeout(PATIENCE_S):
                while "settled" not in told:
                    told += states(await anext(news))
        assert told == ["seen", "settled"]

    run(body)


def test_what_another_gateway_changed_is_told_without_being_woken(run: RunTill) -> None:
    async def body(till: Till) -> None:
        account = till.account()
        waiting = asyncio.create_task(until(Feed(till.database, 0.01), account, 0, "settled"))
        other = till.topups()
        invoice = (await other.create(account, LIGHTNING, 1, "USD")).invoice
        till.rail.pay(invoice.rail_ref, DUE)
        await other.poll()
        assert await waiting == ["new", "seen", "settled"]

    run(body)


def test_who_comes_back_misses_nothing_and_sees_nothing_twice(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        invoice = (await topups.create(account, LIGHTNING, 1, "USD")).invoice
        feed = Feed(till.database)
        with feed.listening(account) as listener:
            first = await anext(feed.news(listener, None, None))
        till.rail.pay(invoice.rail_ref, DUE)
        await topups.poll()
        assert await until(Feed(till.database), account, first.events[-1].number, "settled") == ["seen", "settled"]
        assert await until(Feed(till.database), account, 10**9, "settled", invoice.id) == ["settled"]

    run(body)


def test_a_named_invoice_ends_its_stream_and_is_over(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        invoice = (await topups.create(account, LIGHTNING, 1, "USD")).invoice
        await topups.create(account, LIGHTNING, 1, "USD")
        till.clock.now_ms += 900_000
        await topups.poll()
        feed = Feed(till.database)
        with feed.listening(account) as listener:
            told = [news async for news in feed.news(listener, invoice.id, 0)]
        assert [states(news) for news in told] == [["new", "expired"]]
        last = told[-1].events[-1].number
        assert await feed.over(account, invoice.id, last)
        assert not await feed.over(account, invoice.id, last - 1)

    run(body)


def test_others_invoices_are_never_shown(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account, other = till.topups(), till.account(), till.account()
        invoice = (await topups.create(other, LIGHTNING, 1, "USD")).invoice
        feed = Feed(till.database)
        with feed.listening(account) as listener:
            for invoice_id in (None, invoice.id):
                assert (await anext(feed.news(listener, invoice_id, None))).events == []

    run(body)


def test_an_account_has_so_many_streams(run: RunTill) -> None:
    async def body(till: Till) -> None:
        feed = Feed(till.database)
        with ExitStack() as stack:
            for _ in range(STREAMS_MAX):
                stack.enter_context(feed.listening(1))
            with pytest.raises(TooManyRequests) as caught, feed.listening(1):
                pass
            assert caught.value.code == "too_many_streams"
            stack.enter_context(feed.listening(2))

    run(body)


def test_who_has_only_an_invoices_address_takes_no_place_of_the_account(run: RunTill) -> None:
    async def body(till: Till) -> None:
        feed = Feed(till.database)
        with ExitStack() as stack:
            for _ in range(STREAMS_MAX):
                stack.enter_context(feed.listening(1, "an invoice"))
            with pytest.raises(TooManyRequests, match="This invoice"), feed.listening(1, "an invoice"):
                pass
            stack.enter_context(feed.listening(1, "another invoice"))
            for _ in range(STREAMS_MAX):
                stack.enter_context(feed.listening(1))

    run(body)


def test_how_an_invoice_stands_is_told_long_after_how_it_stood_is_forgotten(run: RunTill) -> None:
    async def body(till: Till) -> None:
        topups, account = till.topups(), till.account()
        paid = (await topups.create(account, LIGHTNING, 1, "USD")).invoice
        till.rail.pay(paid.rail_ref, DUE)
        await topups.poll()
        for later, left in ((0, 3), (1, 1)):
            with till.database.writer.begin() as connection:
                events.forget_old(connection, till.clock() + events.KEPT_MS + later)
            assert len(events.since(till.database, account, None, 0).events) == left
        assert await until(Feed(till.database), account, None, "settled", paid.id) == ["settled"]

    run(body)
