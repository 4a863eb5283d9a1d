"""Awaited invoices looked up one by one: what is over is asked for no more, all else again and again,
whatever the node says of one of them, and however slow it is."""

from __future__ import annotations

import asyncio

import pytest

from perquery.rails import lookup
from perquery.rails.lookup import Lookups, Seen
from perquery.rails.rail import RailDown, RailSilent, Receipt, Watched

PAID = Receipt("paid", "paid", 1, "confirmed", 1)
NODE: dict[str, Seen] = {"paid": PAID, "open": "open", "over": "over"}
ALL = [Watched(ref, 0) for ref in ("over", "paid", "open")]


def test_what_is_asked_for_again() -> None:
    asked: list[str] = []

    async def look(ref: str) -> Seen:
        asked.append(ref)
        return NODE[ref]

    async def rounds() -> None:
        lookups = Lookups()
        for watched in (ALL, ALL, [], ALL):
            found = await lookups.receipts(watched, look)
            assert found == ([PAID] if watched else [])

    asyncio.run(rounds())
    assert asked == ["over", "paid", "open", "paid", "open", "over", "paid", "open"]


def test_an_answer_that_makes_no_sense_holds_up_no_other() -> None:
    async def look(ref: str) -> Seen:
        if ref == "over":
            raise RailDown("nonsense about over")
        return NODE[ref]

    with pytest.raises(RailDown, match="nonsense about over") as caught:
        asyncio.run(Lookups().receipts(ALL, look))
    assert caught.value.found == (PAID,)


def test_a_silent_node_is_not_asked_for_all_the_others() -> None:
    asked = 0

    async def look(ref: str) -> Seen:
        nonlocal asked
        asked += 1
        raise RailSilent("nothing")

    with pytest.raises(RailDown, match="nothing"):
        asyncio.run(Lookups().receipts([Watched(str(number), 0) for number in range(100)], look))
    assert asked == lookup.AT_ONCE


def test_a_slow_node_is_asked_on_where_the_last_round_broke_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "ROUND_S", 0.0)
    monkeypatch.setattr(lookup, "AT_ONCE", 1)
    found: list[Receipt] = []

    async def look(ref: str) -> Seen:
        return NODE[ref]

    async def rounds() -> None:
        lookups = Lookups()
        for left in (2, 1):
            with pytest.raises(RailDown, match=f"{left} of . invoices could not be looked up") as caught:
                await lookups.receipts(ALL, look)
            found.extend(caught.value.found)
        with pytest.raises(RailDown, match="1 of 2"):  # what is over is asked for no more
            await lookups.receipts(ALL, look)

    asyncio.run(rounds())
    assert found == [PAID]
